// SPDX-License-Identifier: GPL-3.0-or-later
// The words for an outcome, and what a terminal answers to a request: no socket is needed for most.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogLevel, type Message, OptionError } from "./protocol.ts";
import {
  type AnswerContext,
  answerTo,
  BOUNDS,
  CARDS,
  ENDINGS,
  FAULTS,
  FLAGS,
  formatOutcome,
  ListenError,
  notServed,
  type Outcome,
  outcomeHelp,
  type OutcomeText,
  parseOutcome,
  setTags,
  type TerminalOptions,
  toOutcome,
} from "./server.ts";
import {
  BASE,
  DEBIT_MESSAGE,
  recorded,
  sideBySide,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

// ---------------------------------------------------------------- what is answered

const CONTEXT: AnswerContext = {
  sellerContract: "1234567890",
  time: new Date(2026, 1, 3, 4, 5, 6),
  attempts: () => [],
  random: Math.random,
};

/** The same, with attempts of the cash register, each by its answer. */
function after(...answers: Message[]): AnswerContext {
  const attempts = answers.map((answer) => ({ request: DEBIT_MESSAGE, answer, time: new Date() }));
  return { ...CONTEXT, attempts: () => attempts };
}

/** What an answer adds to its request. */
function added(answer: Message, request: Message): Message {
  const entries = Object.entries(answer);
  const echoed = Object.keys(request).length;
  assert.deepEqual(Object.fromEntries(entries.slice(0, echoed)), request);
  return Object.fromEntries(entries.slice(echoed));
}

table("a card approves with its fields", {
  "CB, contact": ["cbcontact", "001", "1", "A0000000421010"],
  "CB, contactless": ["cbcontactless", "00B", "2", "A0000000421010"],
  "American Express, contact": ["amexcontact", "002", "1", "A00000002501"],
  "American Express, contactless": ["amexcontactless", "00D", "2", "A00000002501"],
  "meal vouchers, contact": ["conecscontact", "00E", "1", undefined],
  "meal vouchers, contactless": ["conecscontactless", "10E", "2", undefined],
}, ([card = "", CC = "", CI = "", AI]) => {
  const asked = { ...DEBIT_MESSAGE, CC };
  for (const [request, outcome] of [[DEBIT_MESSAGE, parseOutcome(card)], [asked, {}]] as const) {
    const { AC, AA, AB, CC: paid, ...others } = answerTo(request, outcome, CONTEXT);
    const expected = { ...DEBIT_MESSAGE, AE: "10", CI, CF: "1010000000", CG: "1234567890" };
    assert.deepEqual(others, { ...expected, ...(AI && { AI }) });
    assert.equal(paid, CC);
    assert.match(AC ?? "", /^\d{6}$/);
    assert.match(AA ?? "", /^\d{6}#{6}\d{4}$/);
    assert.match(AB ?? "", /^27(0[1-9]|1[0-2])$/); // a year after the payment
  }
});

test("what is drawn for a card comes from the chance that is given, and has its digits", () => {
  const drawn = (chance: number): unknown[] => {
    const { AA, AB, AC } = answerTo(DEBIT_MESSAGE, {}, { ...CONTEXT, random: () => chance });
    return [AA, AB, AC];
  };
  assert.deepEqual(drawn(0), ["000000######0000", "2701", "000000"]);
  assert.deepEqual(drawn(0.99999999), ["999999######9999", "2712", "999999"]);
});

const CARD_TAGS = ["AA", "AB", "AC", "AE", "AI", "CC", "CF", "CG", "CI"];
const without = (...tags: string[]): string[] => CARD_TAGS.filter((tag) => !tags.includes(tag));

table<[change: Message, added: Message | string[], words?: OutcomeText]>("answerTo()", {
  "a debit": [{ CD: "0" }, CARD_TAGS],
  "a credit": [{ CD: "1" }, CARD_TAGS],
  "a cancellation": [{ CD: "2" }, CARD_TAGS],
  "a deferred debit": [{ CD: "7" }, CARD_TAGS],
  "an abandon": [{}, { AE: "01", AF: "11" }, "abandon"],
  "a timeout": [{}, { AE: "01", AF: "08" }, "timeout"],
  "a refusal": [{}, { AE: "01", AF: "04" }, "refused"],
  "a card that is forbidden": [{}, { AE: "01", AF: "05" }, "forbidden"],
  "a cheque": [{ CC: "00C" }, { AE: "10" }],
  "a cheque, with a card in hand": [{ CC: "00C" }, { AE: "10" }, "ancv"],
  "a cheque that fails": [{ CC: "00C" }, { AE: "01", AF: "04" }, "abandon"],
  "an answer at once": [{ BA: "1" }, { AE: "11" }],
  "an answer at once, though it fails": [{ BA: "1" }, { AE: "11" }, "refused"],
  "unusual sizes, an unknown tag": [{ CJ: "012", CB: "1", XX: "é" }, CARD_TAGS],
  "private data": [{ CF: "my reference" }, without("CF")],
  "any application": [{ CC: "000" }, { AE: "01", AF: "04" }, "refused"],
  "an application that is asked for": [{ CC: "10E" }, without("CC", "AI")],
  "an application without a card": [{ CC: "006" }, ["AC", "AE", "CF", "CG"]],
  "holiday vouchers that are asked for": [{ CC: "00V" }, ["AC", "AE", "CF", "CG"]],
  "holiday vouchers": [{}, ["AC", "AE", "CC", "CF", "CG"], "ancv"],
}, ([change, expected, words = "success"]) => {
  const request = { ...DEBIT_MESSAGE, ...change };
  const got = added(answerTo(request, parseOutcome(words), CONTEXT), request);
  if (!Array.isArray(expected)) return assert.deepEqual(got, expected);
  assert.equal(got["AE"], "10");
  assert.deepEqual(Object.keys(got).sort(), expected);
});

test("answerTo() says which application paid: any, the one asked for, the card that is named", () => {
  const paid = (CC: string, words: OutcomeText): (string | undefined)[] => {
    const answer = answerTo({ ...DEBIT_MESSAGE, CC }, parseOutcome(words), CONTEXT);
    return [answer["CC"], answer["CI"], answer["AI"]];
  };
  assert.deepEqual(paid("000", "success"), ["001", "1", "A0000000421010"]);
  assert.deepEqual(paid("00D", "success"), ["00D", "2", "A00000002501"]);
  assert.deepEqual(paid("00D", "cbcontactless"), ["00B", "2", "A0000000421010"]);
  assert.deepEqual(paid("00I", "success"), ["00I", undefined, undefined]);
});

const LAST = { ...DEBIT_MESSAGE, AE: "10", CB: "500", AC: "424242", CC: "001", ZT: "x" };
const { CB: _amount, CE: _currency, CD: _action, ...MONEYLESS } = DEBIT_MESSAGE;

table<[request: Message, expected: Message, words?: OutcomeText, last?: Message]>(
  "answerTo() without money",
  {
    "a collection": [{ CD: "B" }, { AE: "10" }],
    "a print": [{ CD: "P" }, { AE: "10" }],
    "a print of a text, which is not given back": [{ CD: "P", ZT: "" }, { AE: "10" }],
    "an action that fails": [{ CD: "B" }, { AE: "01", AF: "04" }, "refused"],
    "a duplicate that fails": [{ CD: "3" }, { AE: "01", AF: "04" }, "refused", LAST],
    "an identification": [{ CD: "I" }, { AE: "10" }],
    "an identification that fails": [{ CD: "I" }, { AE: "10" }, "refused"],
    "a duplicate of nothing": [{ CD: "3" }, { AE: "01", AF: "10" }],
    "a duplicate of nothing, with an amount": [
      { CD: "3", CB: "1", CE: "840" },
      { AE: "01", AF: "10" },
    ],
    "a duplicate of a refusal": [
      { CD: "3", CB: "1", CE: "840" },
      { AE: "01", AF: "07" },
      "success",
      { ...DEBIT_MESSAGE, AE: "01", AF: "04" },
    ],
  },
  ([request, expected, words = "success", answer]) => {
    const { ZT: _, ...whole } = { ...MONEYLESS, ...request };
    const context = after(...answer ? [answer] : []);
    assert.deepEqual(answerTo({ ...MONEYLESS, ...request }, parseOutcome(words), context), {
      ...whole,
      ...expected,
    });
  },
);

test("answerTo() a duplicate: what was paid at last, without the receipt of then", () => {
  const request = { ...MONEYLESS, CD: "3", CB: "1", CE: "840", CK: "100" };
  const before = { ...LAST, CB: "9", AC: "111111" };
  assert.deepEqual(answerTo(request, {}, after(before, LAST)), {
    ...request,
    ...{ AE: "10", CB: "500", CE: "978", AC: "424242", CC: "001" },
  });
});

test("answerTo() gives back neither the amount to an identification nor what the POS must not say", () => {
  assert.deepEqual(answerTo({ ...DEBIT_MESSAGE, CD: "I" }, {}, CONTEXT), {
    ...BASE,
    BA: "0",
    CD: "I",
    AE: "10",
  });
  const request = { ...DEBIT_MESSAGE, AE: "10", AF: "01", ZT: "x", CF: "" };
  const refused = { ...DEBIT_MESSAGE, AE: "01", AF: "04" };
  assert.deepEqual(answerTo(request, { failure: "04" }, CONTEXT), refused);
  assert.deepEqual(notServed(request, "04"), refused);
  assert.deepEqual(Object.keys(notServed({ CB: "1" }, "09")), ["CZ", "CB", "AE", "AF"]);
});

test("answerTo() the AE 11 before an answer is the request and that, whatever the outcome", () => {
  for (const words of ["refused", "success,CB=1", "padded"] as const) {
    const context = { ...CONTEXT, isInterim: true };
    const answer = answerTo(DEBIT_MESSAGE, parseOutcome(words), context);
    assert.deepEqual(answer, { ...DEBIT_MESSAGE, AE: "11" });
  }
});

table<[change: Message, words: OutcomeText, CB: string | undefined]>("padded: CB of 12 digits", {
  "after success": [{}, "padded", "000000011245"],
  "after a refusal": [{}, "refused,padded", "000000011245"],
  "of the greatest amount": [{ CB: "999999999999" }, "padded", "999999999999"],
  "which the outcome may set all the same": [{}, "padded,CB=7", "7"],
  "where there is an amount": [{ CD: "I" }, "padded", undefined],
}, ([change, words, CB]) => {
  const answer = answerTo({ ...DEBIT_MESSAGE, ...change }, parseOutcome(words), CONTEXT);
  assert.equal(answer["CB"], CB);
});

test("setTags() sets tags and leaves out those of no value", () => {
  assert.deepEqual(setTags({ CA: "01", CB: "1" }, { CA: "02", CB: "", CC: "", CD: "0" }), {
    CA: "02",
    CD: "0",
  });
});

// ---------------------------------------------------------------- words

table<[words: string, expected: Outcome, formatted?: string]>("parseOutcome() reads", {
  "success": ["success", { failure: "" }],
  "an ending": ["refused", { failure: "04" }],
  "a code": ["07", { failure: "07" }],
  "the code of an ending": ["04", { failure: "04" }, "refused"],
  "any case, and blanks": ["Abandon, CB=", { failure: "11", tags: { CB: "" } }, "abandon,CB="],
  "a tag": ["success,CB=500", { failure: "", tags: { CB: "500" } }],
  "two tags": ["success,CZ=0301,CJ=3305", { failure: "", tags: { CZ: "0301", CJ: "3305" } }],
  "words in any order": ["delay=5,pending", { pending: true, delay: 5 }, "success,pending,delay=5"],
  "a range": ["delay=0.5..2.5", { delay: [0.5, 2.5] }, "success,delay=0.5..2.5"],
  "hangup": ["hangup", { hangup: true }, "success,hangup"],
  "padded": ["padded", { padded: true }, "success,padded"],
  "a fault and a card": ["split,ancv", { fault: "split", card: "ancv" }, "success,ancv,split"],
  "commas in values": ["success,CF=a\\,b=c\\,", { failure: "", tags: { CF: "a,b=c," } }],
  "backslashes in values": [
    "success,CF=a\\\\,CG=\\\\\\,b",
    { failure: "", tags: { CF: "a\\", CG: "\\,b" } },
  ],
}, ([words, expected, formatted = words]) => {
  const outcome = parseOutcome(words);
  assert.deepEqual(outcome, expected);
  assert.equal(formatOutcome(outcome), formatted);
  assert.equal(formatOutcome(parseOutcome(formatted)), formatted);
});

test("parseOutcome() reads every word of the tables, and formatOutcome() writes it", () => {
  const help = outcomeHelp();
  for (const word of [...Object.keys(CARDS), ...Object.keys(FLAGS), ...Object.keys(FAULTS)]) {
    assert.equal(formatOutcome(parseOutcome(word)), `success,${word}`);
    assert.match(help, new RegExp(`\\b${word}\\b`));
  }
  for (const word of Object.keys(ENDINGS)) assert.equal(formatOutcome(parseOutcome(word)), word);
  const own = { fault: { help: "", send: () => {} }, card: "ancv" } as const;
  assert.equal(formatOutcome(own), "success,ancv"); // a fault of one's own has no word
});

table<[words: string, expected: RegExp]>("parseOutcome() refuses", {
  "a misspelt word": [
    "refusd",
    /^OptionError: outcome: got "refusd"; did you mean refused\? \(expected words from success, .*, dribble, an AF code .*, TAG=VALUE\)$/,
  ],
  "another word": ["maybe", /^OptionError: outcome: expected words from .*, got "maybe"$/],
  "a word for refused": ["declined", /did you mean refused\?/],
  "a word for success": ["approved", /did you mean success\?/],
  "another word for success": ["accepted", /did you mean success\?/],
  "nothing": ["", /got ""/],
  "nothing between commas": ["success,,silent", /got ""/],
  "no delay": ["delay=", /got "delay="/],
  "a word for a delay": ["delay=soon", /got "delay=soon"/],
  "a range that ends before it starts": [
    "delay=5..1",
    /^OptionError: outcome: expected a number from/,
  ],
  "more than a day": ["delay=100000", /expected a number from 0 to 86400/],
  "one digit": ["7", /got "7"; did you mean 07\?/],
  "a tag before the code": ["AF04", /did you mean 04\?/],
  "what has gone": ["emptyamount", /got "emptyamount"/],
  "a tag in lower-case letters": ["cb=500", /got "cb=500"/],
  "two endings": [
    "success,refused",
    /expected at most one word of each kind \(refused is a second\), and \\, in values, got "success,refused"$/,
  ],
  "two cards": ["cbcontact,ancv", /at most one word of each kind/],
  "two faults": ["split,silent", /at most one word of each kind/],
  "two delays": ["delay=1,delay=2", /at most one word of each kind/],
  "a tag twice": ["CB=1,CB=2", /at most one word of each kind/],
  "what is no Latin-1": ["CF=€", /tag CF: expected characters of Latin-1/],
}, ([words, expected]) => assert.throws(() => parseOutcome(words), expected));

table<string[]>("parseOutcome() reads French, with accents and without, as", {
  "success": ["success", "accepté", "acceptée", "accepte", "ACCEPTÉE", "accepte\u0301"],
  "refused": ["refused", "refusé", "refusée", "refuse"],
  "forbidden": ["forbidden", "interdit", "interdite"],
  "silent": ["silent", "silence"],
  "a delay": ["delay=1..2", "délai=1..2"],
}, ([meant = "", ...words]) => {
  for (const word of words) assert.deepEqual(parseOutcome(word), parseOutcome(meant), word);
});

test("parseOutcome() finds no word in what every object has", () => {
  for (const word of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
    assert.throws(() => parseOutcome(word), OptionError);
    assert.throws(() => toOutcome({ card: word } as unknown as Outcome), OptionError);
    assert.throws(() => toOutcome({ fault: word } as unknown as Outcome), OptionError);
  }
});

test("a misspelt single word of an outcome does not compile", async () => {
  // @ts-expect-error The type of the words has each single one.
  await assert.rejects(terminalWith({ outcome: "refusd" }), /did you mean refused\?/);
});

/** What is no outcome. */
const NO_OUTCOMES: Record<string, unknown> = {
  "a card in capitals": { card: "CBCONTACT" },
  "a card in a list": { card: ["ancv"] },
  "a name that there is not": { failed: "04" },
  "a fault in capitals": { fault: "SILENT" },
  "a fault that does nothing": { fault: { help: "" } },
  "a number for the failure": { failure: 11 },
  "text for the delay": { delay: "55" },
  "half a range": { delay: [1] },
  "three delays": { delay: [1, 2, 3] },
  "text for a flag": { pending: "no" },
  "a number for a flag": { hangup: 0 },
  "no tags": { tags: null },
  "a number for the tags": { tags: 7 },
  "a number for a tag": { tags: { CF: 1 } },
  "undefined for a tag": { tags: { CF: undefined } },
  "undefined": undefined,
  "null": null,
  "a number": 5,
  "a list": [],
  "a date": new Date(),
  "a map": new Map(),
};

slowTable("what a program gives is no outcome", NO_OUTCOMES, async (given) => {
  const wrong = given as Outcome;
  const expected = /^(OptionError: next|ProtocolError: tag CF): expected/;
  await assert.rejects(terminalWith({ next: [wrong] }), expected);
  await using terminal = await terminalWith();
  assert.throws(() => terminal.nextOutcome(wrong), expected);
});

test("an outcome that was given can be changed, and changes nothing", () => {
  const delay: [number, number] = [1, 2];
  const given = { failure: "04", delay, tags: { CF: "1" } };
  const outcome = toOutcome(given);
  delay[0] = 0;
  given.tags.CF = "2";
  assert.deepEqual(outcome, { failure: "04", delay: [1, 2], tags: { CF: "1" } });
});

// ---------------------------------------------------------------- options

slowTable<[options: TerminalOptions, expected: RegExp]>("startTerminal() refuses", {
  "a port that is none": [{ port: 65536 }, /^port: expected a whole number from 0 to 65535, got/],
  "half a port": [{ port: 1.5 }, /^port: expected a whole number/],
  "a duration below 0": [{ duration: -1 }, /^duration: expected a number from 0 to 86400, got -1$/],
  "a duration that is none": [{ duration: NaN }, /^duration: expected .* got NaN$/],
  "a gap below 0": [{ gap: -1 }, /^gap: expected a number from 0 to 86400000, got -1$/],
  "a long contract": [
    { sellerContract: "12345678901" },
    /^sellerContract: expected 1 to 10 characters of Latin-1/,
  ],
  "no contract": [{ sellerContract: "" }, /^sellerContract: .* got ""$/],
  "text for strict": [
    { strict: "no" } as unknown as TerminalOptions,
    /^strict: expected true or false, got "no"$/,
  ],
  "an option that there is not": [
    { outcomes: "refused" } as TerminalOptions,
    /^options: got "outcomes"; did you mean outcome\? \(expected names from /,
  ],
  "an option of the workbench": [
    { model: "desk5000" } as TerminalOptions,
    /^options: expected names from .*, got "model"$/,
  ],
  "a bound that there is not": [
    { bounds: { connection: 5 } } as TerminalOptions,
    /^bounds: got "connection"; did you mean connections\? \(expected names from /,
  ],
  "a bound that is none": [
    { bounds: { left: -1 } },
    /^bounds\.left: expected a number from 0 to Infinity, got -1$/,
  ],
  "another word": [
    { outcome: "maybe" as OutcomeText },
    /^outcome: .*expected words from success, abandon, .* got "maybe"/,
  ],
  "another level": [
    { logLevel: "loud" as LogLevel },
    /^logLevel: expected one of debug, info, warn, error/,
  ],
}, async ([options, message]) => {
  await assert.rejects(terminalWith(options), (error) => {
    assert.ok(error instanceof OptionError);
    assert.match(error.message, message);
    return true;
  });
});

test("startTerminal() says where it cannot listen, and what to do", async () => {
  await using terminal = await terminalWith();
  await assert.rejects(terminalWith({ port: terminal.port }), (error) => {
    assert.ok(error instanceof ListenError);
    assert.match(
      error.message,
      /^cannot listen on host 127\.0\.0\.1, port \d+: the port is in use by another program: .*-p/,
    );
    assert.ok(error.cause instanceof Error);
    return true;
  });
});

test("each bound has a default, and one that is given leaves the others as they are", async () => {
  for (const [name, bound] of Object.entries(BOUNDS)) assert.ok(bound > 0, name);
  await using terminal = await terminalWith({ bounds: { left: 3 } });
  assert.notEqual(terminal.port, 0);
});

slowTable<[options: TerminalOptions, expected: RegExp]>("the log tells at the start", {
  "what is the default": [{ duration: 3 }, /, success mode \(success\), answers after 3 s$/],
  "a failure with a delay": [{ outcome: "07,delay=1..2" }, /, failure mode \(07,delay=1\.\.2\)$/],
  "the rest": [
    { next: ["04"], strict: true },
    /, success mode \(success\), answers after 0 s, outcomes queued: 1, strict$/,
  ],
  "a function": [
    { outcome: () => "success" },
    /port \d+, each outcome decided on when it is asked for$/,
  ],
  "silence": [{ outcome: "silent" }, /, success mode \(success,silent\)$/],
  "a fault of a failure": [{ outcome: "refused,split" }, /, failure mode \(refused,split\)$/],
}, async ([options, expected]) => {
  await using seen = await recorded(options);
  assert.match(seen.log[0]?.[1] ?? "", /^listening on 127\.0\.0\.1 port \d+, /);
  assert.match(seen.log[0]?.[1] ?? "", expected);
});
