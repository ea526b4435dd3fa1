// SPDX-License-Identifier: GPL-3.0-or-later
// The simulated terminal: what it answers, what goes wrong, what it tells, and its bounds.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pay } from "./client.ts";
import {
  decode,
  decodeReceipts,
  encodeReceipt,
  encodeText as text,
  type LogLevel,
  mandatoryTags,
  type Message,
  OptionError,
  ProtocolError,
} from "./protocol.ts";
import {
  answerTo,
  type Attempt,
  CLOSE_TIMEOUT,
  type Decide,
  formatOutcome,
  ListenError,
  MISSING_TAGS_GAP,
  type Outcome,
  type OutcomeText,
  parseOutcome,
  type Terminal,
  type TerminalEvent,
  type TerminalOptions,
} from "./server.ts";
import {
  ask,
  askAndClose,
  BASE,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  failed,
  patience,
  payAt,
  Peer,
  program,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

const LIMIT = 20_000; // milliseconds until a wait for a transaction gives up

/** A terminal of {@linkcode terminalWith}, and all that it tells. */
async function recorded(options: TerminalOptions = {}): Promise<
  {
    terminal: Terminal;
    port: number;
    events: TerminalEvent[];
    log: [level: LogLevel, text: string][];
  } & AsyncDisposable
> {
  const events: TerminalEvent[] = [];
  const log: [level: LogLevel, text: string][] = [];
  const terminal = await terminalWith({
    onEvent: (event) => void events.push(event),
    log: (level, text) => void log.push([level, text]),
    ...options,
  });
  return {
    terminal,
    port: terminal.port,
    events,
    log,
    [Symbol.asyncDispose]: () => terminal.close(),
  };
}

/** An event of a name. */
type Named<Name, Event = TerminalEvent> = Event extends { event: infer Names }
  ? Name extends Names ? Event : never
  : never;

/** The events of a name. */
function named<Name extends TerminalEvent["event"]>(
  events: readonly TerminalEvent[],
  name: Name,
): Named<Name>[] {
  return events.filter((event) => event.event === name) as Named<Name>[];
}

/** The codes of the warnings about a request, the last if none is named. */
function codes(terminal: Terminal, at = -1): string[] | undefined {
  return terminal.transactions.at(at)?.warnings.map(({ code }) => code);
}

/** What one of the log has to match. */
function logged(log: readonly [LogLevel, string][], level: LogLevel, pattern: RegExp): void {
  const lines = log.map((line) => line.join(" "));
  assert.ok(
    log.some(([at, line]) => at === level && pattern.test(line)),
    `no ${level} ${pattern} in\n${lines.join("\n")}`,
  );
}

/** Sends a request, and leaves later than a POS does that only closes its side, as nc. */
async function giveUp(terminal: Terminal, request = `${DEBIT}\n`): Promise<void> {
  const last = terminal.transactions.at(-1)?.number;
  await using peer = await Peer.connect(terminal.port);
  peer.send(request);
  await eventually(() => terminal.transactions.at(-1)?.number !== last, "a request");
  await sleep(120);
}

/** Decides on the first payment when its POS has left, and not sooner. */
function onceLeft(words: OutcomeText): Decide {
  return async (_request, number, left) => {
    if (number > 1) return "success";
    if (!left.aborted) await new Promise((resolve) => left.addEventListener("abort", resolve));
    return words;
  };
}

/** Resolves when a number of requests has come. */
function came(terminal: Terminal, count: number): Promise<void> {
  return eventually(() => terminal.transactions.length >= count, `${count} requests`);
}

// ---------------------------------------------------------------- what is answered

sideBySide();

const MEMORY = {
  sellerContract: "1234567890",
  time: new Date(2026, 1, 3, 4, 5, 6),
  last: undefined as Attempt | undefined,
};

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
    const { AC, AA, AB, CC: paid, ...others } = answerTo(request, outcome, MEMORY);
    const expected = { ...DEBIT_MESSAGE, AE: "10", CI, CF: "1010000000", CG: "1234567890" };
    assert.deepEqual(others, { ...expected, ...(AI && { AI }) });
    assert.equal(paid, CC);
    assert.match(AC ?? "", /^\d{6}$/);
    assert.match(AA ?? "", /^\d{6}#{6}\d{4}$/);
    assert.match(AB ?? "", /^\d\d(0[1-9]|1[0-2])$/);
    assert.equal(2000 + Number(AB?.slice(0, 2)), new Date().getFullYear() + 1);
  }
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
  const got = added(answerTo(request, parseOutcome(words), MEMORY), request);
  if (!Array.isArray(expected)) return assert.deepEqual(got, expected);
  assert.equal(got["AE"], "10");
  assert.deepEqual(Object.keys(got).sort(), expected);
});

test("answerTo() says which application paid: any, the one asked for, the card that is named", () => {
  const paid = (CC: string, words: OutcomeText): (string | undefined)[] => {
    const { CC: application, CI, AI } = answerTo(
      { ...DEBIT_MESSAGE, CC },
      parseOutcome(words),
      MEMORY,
    );
    return [application, CI, AI];
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
    const last = answer && { answer, time: MEMORY.time };
    const { ZT: _, ...whole } = { ...MONEYLESS, ...request };
    assert.deepEqual(
      answerTo({ ...MONEYLESS, ...request }, parseOutcome(words), { ...MEMORY, last }),
      { ...whole, ...expected },
    );
  },
);

test("answerTo() a duplicate: what was paid, and its receipt with the time that it was paid", () => {
  const last = { answer: LAST, time: new Date(2025, 11, 31, 23, 59, 58) };
  for (const CK of ["", "000", "110", "101"]) {
    const request = { ...MONEYLESS, CD: "3", CB: "1", CE: "840", ...(CK && { CK }) };
    const { ZT = "", ...answer } = answerTo(request, {}, { ...MEMORY, last });
    const expected = { AE: "10", CB: "500", CE: "978", AC: "424242", CC: "001" };
    assert.deepEqual(answer, { ...request, ...expected });
    const [receipt] = decodeReceipts(ZT);
    if (CK === "000") assert.equal(ZT, "");
    else {
      assert.match(receipt?.text ?? "", /^DUPLICATA$/m);
      assert.match(receipt?.text ?? "", /^DEBIT$/m);
      assert.match(receipt?.text ?? "", /^LE 31\/12\/25 A 23:59:58$/m);
      assert.match(receipt?.text ?? "", /^MONTANT +5,00 EUR$/m);
    }
    assert.equal(receipt?.copy, CK === "110" ? "merchant" : CK === "000" ? undefined : "customer");
  }
});

test("answerTo() gives back neither the amount to an identification nor what the POS must not say", () => {
  assert.deepEqual(answerTo({ ...DEBIT_MESSAGE, CD: "I" }, {}, MEMORY), {
    ...BASE,
    BA: "0",
    CD: "I",
    AE: "10",
  });
  const request = { ...DEBIT_MESSAGE, AE: "10", AF: "01", ZT: "x", CF: "" };
  assert.deepEqual(answerTo(request, { failure: "04" }, MEMORY), {
    ...DEBIT_MESSAGE,
    AE: "01",
    AF: "04",
  });
});

slow("an outcome sets and leaves out tags of the answer", async () => {
  await using terminal = await terminalWith({
    next: ["abandon,CB=", "success,AC=424242,AA=497010######0014,XX=\\,"],
    outcome: { tags: { CZ: "0301", CJ: "330538600404" } },
  });
  assert.equal("CB" in await ask(terminal.port, DEBIT), false);
  const { AC, AA, XX } = await ask(terminal.port, DEBIT);
  assert.deepEqual([AC, AA, XX], ["424242", "497010######0014", ","]);
  const own = await ask(terminal.port, { ...BASE, CD: "I" });
  assert.deepEqual(own, { CZ: "0301", CJ: "330538600404", CA: "01", CD: "I", AE: "10" });
});

slow("an answer of which all tags are left out is told as nothing, and nothing else", async () => {
  await using seen = await recorded();
  const { terminal, events, log } = seen;
  const tags = Object.fromEntries(
    Object.keys(answerTo(DEBIT_MESSAGE, {}, MEMORY)).map((tag) => [tag, ""]),
  );
  terminal.nextOutcome({ tags, hangup: true });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  assert.deepEqual([await peer.closed, peer.text], ["ended", ""]);
  const [answer] = named(events, "answer");
  assert.deepEqual([answer?.raw, answer?.message, answer?.lost], ["", {}, undefined]);
  for (const [, line] of log) assert.doesNotMatch(line, /undefined/);
});

// ---------------------------------------------------------------- receipts and the other actions

/** The receipt of a request. */
function receiptOf(change: Message, words: OutcomeText = "success") {
  const { ZT = "" } = answerTo({ ...DEBIT_MESSAGE, ...change }, parseOutcome(words), MEMORY);
  assert.ok(ZT.length <= 999);
  const [receipt, ...others] = decodeReceipts(ZT);
  assert.deepEqual(others, []);
  return receipt;
}

table("CK asks for a receipt", {
  "the customer's, as text": ["100", "customer", "text"],
  "the merchant's, as text": ["110", "merchant", "text"],
  "the customer's, as HTML": ["101", "customer", "html"],
  "the merchant's, as HTML": ["111", "merchant", "html"],
  "both, of which the customer's comes": ["120", "customer", "text"],
}, ([CK = "", copy, format]) => {
  const receipt = receiptOf({ CK }, "cbcontactless,AC=424242,AA=497010######0014");
  assert.deepEqual([receipt?.copy, receipt?.format], [copy, format]);
  const lines = receipt?.text ?? "";
  if (format === "html") assert.match(lines, /^<pre>[^]*<\/pre>$/);
  else for (const line of lines.split("\n")) assert.ok(line.length <= 24, line);
  for (
    const expected of [
      /SIMULATION/,
      /^CARTE BANCAIRE$/m,
      /^SANS CONTACT$/m,
      /^A0000000421010$/m,
      /^LE 03\/02\/26 A 04:05:06$/m,
      /^CONTRAT 1234567890$/m,
      /^497010######0014$/m,
      /^AUTORISATION 424242$/m,
      /^MONTANT +112,45 EUR$/m,
      /^DEBIT$/m,
      copy === "merchant" ? /^TICKET COMMERCANT/m : /^TICKET CLIENT/m,
    ]
  ) assert.match(lines, expected);
});

test("CK asks for no receipt", () => {
  for (const CK of ["000", "012"]) assert.equal(receiptOf({ CK }), undefined);
});

table<[change: Message, words: OutcomeText, ...expected: RegExp[]]>("a receipt of", {
  "a credit": [{ CD: "1" }, "success", /^CREDIT$/m],
  "a cancellation": [{ CD: "2" }, "success", /^ANNULATION$/m],
  "a decline": [{}, "refused", /^REFUSÉE$/m, /^TRANSACTION NON ABOUTIE$/m, /112,45 EUR/],
  "a decline in detail": [{}, "refused,AF=0451HELLO", /^REFUSÉE$/m],
  "a decline that nobody knows": [{}, "99", /^NON EFFECTUÉE$/m],
  "no amount": [{}, "abandon,CB=", /^TERMINAL 00000001\nDEBIT$/m],
  "the greatest amount": [{ CB: "999999999999" }, "success", /^MONTANT9999999999,99 EUR$/m],
  "a line feed in a field": [{}, "success,AC=1\n2", /^AUTORISATION 1\\x0a2$/m],
  "a cheque": [{ CC: "00C" }, "success", /^CHEQUE$/m],
  "yens": [{ CE: "392", CB: "500" }, "success", /^MONTANT +500 JPY$/m],
  "a currency without a name": [{ CE: "933" }, "success", /^MONTANT +11245 933$/m],
  "an application without a card": [{ CC: "006" }, "success", /^DINERS$/m],
}, ([change, words, ...expected]) => {
  const lines = receiptOf({ ...change, CK: "100" }, words)?.text ?? "";
  for (const line of expected) assert.match(lines, line);
});

test("a receipt fits, whatever the POS puts on it, and HTML has none of it as a mark", () => {
  const odd = "<b>&amp;".repeat(3);
  const fields = { CB: odd, CD: "2", CC: "00E", CK: "111", CI: "3", AI: odd, CG: odd };
  for (const words of ["timeout", "refused", "success"] as const) {
    const receipt = receiptOf({ ...fields, AA: odd, AC: odd }, words);
    assert.equal(receipt?.format, "html");
    assert.match(receipt?.text ?? "", /^<pre>[^<&]*<\/pre>$/);
    if (words === "refused") assert.match(receipt?.text ?? "", /^ b> amp;/m);
  }
});

slow("a duplicate is about the last attempt of that cash register, and its amount", async () => {
  await using terminal = await terminalWith();
  const { port } = terminal;
  const duplicate = (CA: string) => ask(port, { ...BASE, CA, CD: "3", CB: "1", CE: "840" });
  const none = { ...BASE, CD: "3", CB: "1", CE: "840", AE: "01" };
  assert.deepEqual(await duplicate("01"), { ...none, AF: "10" });
  const { AC } = await ask(port, DEBIT);
  const again = await duplicate("01");
  assert.deepEqual([again["CD"], again["AE"], again["AC"], again["CB"], again["CE"]], [
    "3",
    "10",
    AC,
    "11245",
    "978",
  ]);
  const [receipt] = decodeReceipts(again["ZT"] ?? "");
  assert.match(receipt?.text ?? "", /^DUPLICATA$/m);
  assert.match(receipt?.text ?? "", /^DEBIT$/m);
  assert.deepEqual(await duplicate("02"), { ...none, CA: "02", AF: "10" });

  terminal.nextOutcome("refused");
  await ask(port, { ...DEBIT_MESSAGE, CB: "99" });
  assert.deepEqual(await duplicate("01"), { ...none, AF: "07" });
  terminal.nextOutcome("success,CA=77,CB=4");
  await ask(port, DEBIT);
  assert.equal((await duplicate("01"))["CB"], "4");
  terminal.nextOutcome("close,CB=5");
  await using lost = await Peer.connect(port);
  lost.send(`${DEBIT}\n`);
  await lost.closed;
  assert.equal((await duplicate("01"))["CB"], "5"); // a payment whose answer did not arrive
  const before = terminal.transactions.length;
  const decided = Promise.withResolvers<OutcomeText>();
  terminal.setOutcome(() => decided.promise);
  const slow = ask(port, DEBIT);
  await came(terminal, before + 1);
  terminal.setOutcome("success");
  // Neither the one that is under way nor the one before, which a till would take for it.
  assert.deepEqual(await duplicate("01"), { ...none, AF: "07" });
  assert.equal(terminal.transactions.at(-1)?.warnings.at(-1)?.code, "too-early");
  assert.equal((await duplicate("02"))["AF"], "10");
  decided.resolve("success,CB=6");
  await slow;
  assert.equal((await duplicate("01"))["CB"], "6");
  assert.equal((await ask(port, { ...DEBIT_MESSAGE, CB: "700", BA: "1" }))["AE"], "11");
  assert.equal((await duplicate("01"))["CB"], "700"); // whose answer did not tell that it was paid

  const result = await pay({ host: "127.0.0.1", port, action: "duplicate" });
  assert.equal(result.status, "approved");
  assert.match(result.receipts?.[0]?.text ?? "", /^DUPLICATA$/m);

  await ask(port, { ...DEBIT_MESSAGE, CA: "02" });
  assert.equal((await ask(port, { ...BASE, CD: "B" }))["AE"], "10");
  assert.deepEqual(await duplicate("01"), { ...none, AF: "10" });
  assert.equal((await duplicate("02"))["AE"], "10"); // the collection was the other register's
});

slow("a duplicate tells a payment that was made after its POS had left", async () => {
  await using terminal = await terminalWith({ outcome: onceLeft("success") });
  await giveUp(terminal);
  const ended = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.equal(ended.answer?.lost, "all");
  const again = await ask(terminal.port, { ...BASE, CD: "3" });
  assert.deepEqual([again["AE"], again["AC"]], ["10", ended.answer?.message["AC"]]);
});

test("the last attempts of 1,000 cash registers are kept, the latest ones", patience, async () => {
  await using terminal = await terminalWith({ gap: 5000 }); // a line end is what ends each
  await using peer = await Peer.connect(terminal.port);
  const paid = (registers: number[]): string =>
    registers.map((register) => `${text({ ...DEBIT_MESSAGE, CA: `${register}` })}\n`).join("");
  const all = Array.from({ length: 1_000 }, (_, register) => register);
  peer.send(paid([...all, 0, 1_000])); // 0 again, so that 1 is the one of longest ago
  await eventually(() => terminal.transactions.at(-1)?.number === 1_002, "all requests");
  await peer.until(/CA0041000/);
  const found = await Promise.all(
    [0, 1, 2, 1_000].map(async (register) =>
      (await ask(terminal.port, `${text({ ...BASE, CA: `${register}`, CD: "3" })}\n`))["AE"]
    ),
  );
  assert.deepEqual(found, ["10", "01", "10", "10"]);
});

test("a misspelt single word of an outcome does not compile", async () => {
  // @ts-expect-error The type of the words has each single one.
  await assert.rejects(terminalWith({ outcome: "refuse" }), /did you mean refused\?$/);
});

slow("close() rejects a wait for what is under way, and a signal ends one", async () => {
  const terminal = await terminalWith({ duration: 60 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  const left = new AbortController();
  const given = terminal.waitForTransaction({ signal: left.signal });
  left.abort();
  await assert.rejects(given, { name: "WaitError", reason: "aborted" });
  const waiting = assert.rejects(terminal.waitForTransaction(), { reason: "closed" });
  await terminal.close();
  await waiting;
});

slow("a signal that outlives many waits keeps nothing of them", async () => {
  await using terminal = await terminalWith();
  const { signal } = new AbortController();
  let listening = 0;
  signal.addEventListener = () => listening++;
  signal.removeEventListener = () => listening--;
  await assert.rejects(terminal.waitForTransaction({ timeout: 1, signal }), { reason: "timeout" });
  const given = terminal.waitForTransaction({ signal });
  assert.equal(listening, 1);
  await ask(terminal.port, DEBIT);
  await given;
  assert.equal(listening, 0);
});

slow("what a person decides is added to the outcome, tag by tag", async () => {
  await using terminal = await terminalWith({ interactive: true, outcome: "success,CF=77" });
  const answer = ask(terminal.port, DEBIT);
  await eventually(() => terminal.settings.waiting.length === 1, "waiting");
  assert.equal(terminal.decide(1, "CG=5"), true);
  const { CF, CG } = await answer;
  assert.deepEqual([CF, CG], ["77", "5"]);
});

test("the parts of an outcome are held against what they may be", async () => {
  for (
    const wrong of [
      { tags: null },
      { tags: 7 },
      { pending: "no" },
      { hangup: 0 },
      { card: ["ancv"] },
      { delay: [1, 2, 3] },
    ]
  ) {
    const next = [wrong as unknown as Outcome];
    await assert.rejects(terminalWith({ next }), /^OptionError: next: expected /);
  }
  for (const when of [null, 5] as unknown as Record<string, Outcome>[]) {
    await assert.rejects(terminalWith({ when }), /^OptionError: when: expected /);
  }
});

slow("a collection that fails empties nothing", async () => {
  await using terminal = await terminalWith();
  await ask(terminal.port, DEBIT);
  terminal.nextOutcome("refused");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "B" }))["AE"], "01");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "3" }))["AE"], "10");
});

slow("an AE 11 without a final answer is what was sent, and no answer that was due", async () => {
  await using terminal = await terminalWith({ outcome: "pending,close,delay=0.05" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await peer.closed;
  const { answer, answered } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([answer?.message["AE"], answered], ["11", undefined]);
});

slow("print: the text in ZT goes to the log", async () => {
  await using seen = await recorded();
  const ZT = encodeReceipt({ copy: "customer", format: "text", text: "Merci\nà bientôt\x1b\x9b" });
  const request = { ...BASE, CD: "P" };
  assert.deepEqual(await ask(seen.port, { ...request, ZT }), { ...request, AE: "10" });
  logged(seen.log, "info", /^#1 printed:\n {2}Merci\n {2}à bientôt\\x1b\\x9b$/);
  await ask(seen.port, { ...request, ZT: "not a receipt" });
  logged(seen.log, "warn", /^#2 ZT: expected the fields CK and AK, got "not a receipt"$/);
});

// ---------------------------------------------------------------- requests

slow(
  "a deciding function gets the request, and an unknown action is not its business",
  async () => {
    let asked = 0;
    await using terminal = await terminalWith({ outcome: () => asked++ ? "04" : "05" });
    for (const change of [{ CD: "X" }, { CD: "T", BA: "1" }]) {
      const request = { ...DEBIT_MESSAGE, ...change };
      assert.deepEqual(await ask(terminal.port, request), { ...request, AE: "01", AF: "12" });
    }
    assert.equal((await ask(terminal.port, DEBIT))["AF"], "05");
  },
);

slow(
  "identifications and requests that are not served are answered without the duration",
  async () => {
    await using terminal = await terminalWith({ duration: 60 });
    const answer = await ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    assert.deepEqual(answer, { ...BASE, BA: "0", CD: "I", AE: "10" });
    assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, BA: "1" }))["AE"], "11");
    for (const tag of mandatoryTags("0")) {
      const { [tag]: _, ...request } = DEBIT_MESSAGE;
      const expected = { CZ: "0300", ...request, AE: "01", AF: "09" };
      assert.equal(text(await askAndClose(terminal.port, request)), text(expected), tag);
    }
    const empty = await ask(terminal.port, DEBIT.replace("CB00511245", "CB000"));
    assert.equal(empty["AF"], "09");
    assert.equal("CB" in empty, false);
  },
);

slow("a status that the POS sent and an empty field are not given back", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const answer = await ask(terminal.port, `${DEBIT}AE00210AF00201CF000`);
  assert.deepEqual(answer, { ...DEBIT_MESSAGE, AE: "01", AF: "04" });
});

for (const strict of [false, true]) {
  slowTable(`an amount that is none is AF 09${strict ? ", strict or not" : ""}`, {
    "with a dot": "112.45",
    "below zero": "-11245",
    "of blanks": "     ",
    "with a letter": "O11245",
  }, async (CB) => {
    await using terminal = await terminalWith({ strict });
    const request = { ...DEBIT_MESSAGE, CB };
    assert.deepEqual(await ask(terminal.port, request), { ...request, AE: "01", AF: "09" });
    assert.deepEqual(codes(terminal), ["not-an-amount"]);
  });
}

const MALFORMED: Record<string, [raw: string, expected: Message]> = {
  "HTTP": ["GET / HTTP/1.1\r\n\r\n", {}],
  "serial framing": [`\x02${DEBIT}\x03\x55`, {}],
  "ENQ": ["\x05", {}],
  "a length that is none": ["CZ0040300CA00x01", { CZ: "0300" }],
  "a length cut by a line end": ["CZ0040300CB0\r\n", { CZ: "0300" }],
};
slowTable("a malformed request is answered with what could be read, and closed", MALFORMED, async ([
  raw,
  expected,
]) => {
  await using terminal = await terminalWith();
  await using peer = await Peer.connect(terminal.port);
  peer.send(raw);
  assert.equal(await peer.closed, "ended");
  assert.deepEqual(decode(peer.text), { CZ: "0300", ...expected, AE: "01", AF: "09" });
  assert.equal(codes(terminal)?.[0], "malformed");
});

slow("a request cut at the end of the connection is answered with what could be read", async () => {
  await using terminal = await terminalWith();
  const cut = await askAndClose(terminal.port, DEBIT.slice(0, -2));
  assert.equal(text(cut), `${DEBIT.slice(0, -"CB00511245".length)}AE00201AF00209`);
});

slow("a connection on which a request stays incomplete is answered and closed", async () => {
  await using terminal = await terminalWith({ requestTimeout: 50 });
  await using peer = await Peer.connect(terminal.port);
  peer.send("CZ0040300CB00511");
  assert.equal(await peer.closed, "ended");
  assert.equal(peer.text, "CZ0040300AE00201AF00209");
});

slow("a request is put together however it is split", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  await using patient = await terminalWith({ outcome: "refused", gap: 5000 });
  const [inside, between] = [[0, 1, 2, 4, 5, 7, DEBIT.length - 1], [9, DEBIT.length - 10]];
  await Promise.all([...inside, ...between].map(async (cut) => {
    // Between fields nothing but the gap tells that more is to come.
    const { port } = between.includes(cut) ? patient : terminal;
    await using peer = await Peer.connect(port);
    peer.send(DEBIT.slice(0, cut));
    await sleep(40); // longer than the other's gap: the rest comes as a segment of its own
    peer.send(`${DEBIT.slice(cut)}\n`);
    assert.equal(await peer.until(/AF00204$/), text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }));
  }));
});

slow(
  "CZ may come anywhere: a request whose fields are in another order is one request",
  async () => {
    await using terminal = await terminalWith({ outcome: "refused" });
    await using peer = await Peer.connect(terminal.port);
    const mixed = "CA00242CZ0040300CJ012012345678901CB0041250CD0010CE003978";
    const last = "CE003978CD0010CB0041250CA00242CJ012012345678901CZ0040300";
    for (const [raw, first] of [[mixed, "CA"], [last, "CE"]] as const) {
      assert.equal((await peer.ask(raw))["AF"], "04");
      assert.deepEqual(terminal.transactions.at(-1)?.warnings, [
        { code: "order", text: `expected CZ to come first, got ${first}` },
      ]);
    }
    peer.text = "";
    peer.send(`${mixed}${DEBIT}${DEBIT}\n`); // each CZ but the first of a message is of the next one
    await peer.until(/(AF00204.*){3}/);
  },
);

slow("a request without a line end is over after the gap, and not before", async () => {
  // Nothing else ends it: a time that does would be another one.
  await using terminal = await terminalWith({
    outcome: "refused",
    gap: 200,
    requestTimeout: 60_000,
  });
  await using peer = await Peer.connect(terminal.port);
  const started = performance.now();
  peer.send(DEBIT);
  await peer.until(/AF00204$/);
  const took = performance.now() - started;
  assert.ok(took >= 195, `${took} ms`);
  assert.equal(peer.socket.writable, true); // it came by the pause, not because this side was closed
});

slow("CR, LF and the next request end one, and the answers come in order", async () => {
  await using terminal = await terminalWith({ outcome: "refused", gap: 5000 });
  await using peer = await Peer.connect(terminal.port);
  const request = (CF: string) => text({ ...DEBIT_MESSAGE, CF });
  peer.send(`\n${request("1")}\r\n\r\n${request("2")}\n${request("3")}${request("4")}\r`);
  await peer.until(/CF0014AE00201AF00204$/);
  assert.deepEqual([...peer.text.matchAll(/CF001(\d)/g)].map(([, number]) => number), [
    "1",
    "2",
    "3",
    "4",
  ]);
});

slow("the connection stays open after an answer", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  for (const CF of ["1", "2", "3"]) {
    const request = { ...DEBIT_MESSAGE, CF };
    assert.deepEqual(await peer.ask(request), { ...request, AE: "01", AF: "04" });
  }
});

slow(
  "ten payments of one second sent together, on one connection or not, are answered after one second",
  async () => {
    await using terminal = await terminalWith({ duration: 1 });
    await using kept = await Peer.connect(terminal.port);
    const started = performance.now();
    kept.send(`${DEBIT}\r\n`.repeat(10)); // one after another they take ten seconds
    const others = Array.from({ length: 10 }, () => askAndClose(terminal.port, DEBIT));
    const answers = [...await kept.finish(), ...await Promise.all(others)];
    const took = performance.now() - started;
    assert.deepEqual(answers.map(({ AE }) => AE), Array(20).fill("10"));
    assert.ok(took >= 990 && took < 9000, `${took} ms`);
  },
);

slow(
  "what POS made for the serial dialogue send between messages is skipped, with a line of the log",
  async () => {
    await using seen = await recorded({ outcome: "refused", logLevel: "debug" });
    await using peer = await Peer.connect(seen.port);
    for (
      const [talk, told] of [["\x06\x04", "\\x06\\x04"], ["\x04", "\\x04"], [
        "\x18\x18\x18\x04",
        "\\x18\\x18\\x18\\x04",
      ]] as const
    ) {
      assert.equal((await peer.ask(DEBIT))["AF"], "04");
      const before = seen.log.length;
      peer.send(talk);
      await eventually(() => seen.log.length > before, "a line of the log");
      assert.deepEqual(seen.log.slice(before), [
        ["debug", `#1 skipped between messages: ${told}`],
      ]);
    }
    assert.equal((await peer.ask(DEBIT))["AF"], "04");
    assert.equal(peer.text, text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }).repeat(4));
    assert.equal(seen.terminal.transactions.length, 4);
    assert.deepEqual(seen.terminal.transactions.flatMap(({ warnings }) => warnings), []);
  },
);

slow("a connection without a byte is told at level debug only", async () => {
  for (const logLevel of ["info", "debug"] as const) {
    await using seen = await recorded({ logLevel });
    const silent = await Promise.all([1, 2, 3].map(() => Peer.connect(seen.port)));
    const known = (): number => seen.log.filter(([, line]) => / connected /.test(line)).length;
    if (logLevel === "debug") await eventually(() => known() === 3, "three connected");
    silent[0]!.reset();
    await Promise.all(silent.slice(1).map((peer) => peer.finish()));
    await ask(seen.port, DEBIT);
    const count = logLevel === "debug" ? 4 : 1;
    await eventually(() => named(seen.events, "closed").length >= count, `${count} closed`);
    assert.equal(named(seen.events, "closed").length, count);
    const lines = seen.log.filter(([level]) => level === "debug");
    assert.equal(lines.length, logLevel === "debug" ? 8 : 0);
    if (logLevel === "info") assert.equal(seen.log.length, 3); // listening, received, sent
  }
});

slow("the log tells what came, what it means and what is wrong with it", async () => {
  await using seen = await recorded({ outcome: "refused", logLevel: "debug" });
  await ask(seen.port, DEBIT);
  await ask(seen.port, "GET / HTTP/1.1\r\n\r\n");
  await ask(seen.port, "\x16\x03\x01");
  await ask(seen.port, `\x02${DEBIT}\x03`);
  await ask(seen.port, "CZ0040300CA00201XX005\x1b[2J\n");
  const { log } = seen;
  logged(log, "info", /^listening on 127\.0\.0\.1 port \d+, failure mode \(refused\)/);
  logged(log, "debug", /^#1 connected from 127\.0\.0\.1/);
  logged(log, "info", /^#1 received: CZ0040300CJ.*\n.*\n.*\n.*\n.*\n.*\n.*CD 0 +action: debit/);
  logged(log, "info", /^#1 sent: CZ0040300CJ.*AF00204\n[^]*failure: refused/);
  logged(log, "warn", /^#2 malformed at byte 2: .* got "T"; this looks like HTTP/);
  logged(log, "warn", /^#3 malformed at byte 0: .*; this looks like TLS/);
  logged(log, "warn", /^#4 malformed at byte 0: .*; this looks like serial framing \(STX\)/);
  logged(log, "warn", /^#5 expected the mandatory tags CJ, CD$/);
  logged(log, "info", /^#5 received: CZ0040300CA00201XX005\\x1b\[2J\\x0a/);
  for (const [, text] of log) assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f]/);
});

slow("every deviation from the protocol is a warning, and refused when strict", async () => {
  const cases: [request: string, code: string, text: string, tag?: string, tolerated?: boolean][] =
    [
      [
        DEBIT.replace("CJ012012345678901", "CJ003012"),
        "size",
        "CJ: expected 12 characters, got 3",
        "CJ",
      ],
      [`${DEBIT}CG003\t12`, "not-ascii", 'CG: expected ASCII, got "\\x0912"', "CG"],
      [
        `CA00201${DEBIT}`.replace("CZ0040300", "") + "\n",
        "order",
        "expected CZ to come first, got CA",
      ],
      [
        `${DEBIT}CB00511245`,
        "repeated-tag",
        "expected a tag at most once, got CB again at byte 63",
        "CB",
      ],
      [`${DEBIT}CF000`, "empty", "CF: expected the field to be left out, got length 000", "CF"],
      [`${DEBIT}AE00210`, "terminal-tag", "AE: expected from the terminal only", "AE"],
      [`${DEBIT}CI0019`, "unknown-value", 'CI: expected a known read mode, got "9"', "CI"],
      [`${DEBIT}XX0011`, "unknown-tag", "XX: expected a tag of the protocol", "XX", true],
      [
        `${DEBIT}CC00300X`,
        "unknown-application",
        'CC: expected a known payment application, got "00X"',
        "CC",
        true,
      ],
      [
        `${DEBIT}BF0011`,
        "partial-payment",
        "BF: expected none, newer Ingenico software fails on it",
        "BF",
        true,
      ],
      [
        `\x02${DEBIT}\x03\x11`,
        "malformed",
        'malformed at byte 0: expected a tag of two letters A-Z, got "\\x02"; this looks like serial framing (STX): over IP a message goes without STX, ETX and LRC',
      ],
    ];
  for (const strict of [false, true]) {
    await using terminal = await terminalWith({ strict, outcome: "abandon" });
    for (const [request, code, text, tag, tolerated] of cases) {
      const { AE, AF } = await askAndClose(terminal.port, request);
      const warnings = terminal.transactions.at(-1)?.warnings;
      assert.deepEqual(warnings?.find((warning) => warning.code === code), {
        code,
        text,
        ...(tag && { tag }),
      });
      const readable = request.startsWith("CZ");
      assert.deepEqual([AE, AF], ["01", (strict && !tolerated) || !readable ? "09" : "11"], text);
    }
    for (const amount of ["112.45", "-1"]) {
      assert.equal((await payAt(terminal.port, { amount, receipt: true })).failure?.code, "11");
      assert.deepEqual(codes(terminal), []);
    }
  }
});

slowTable("strict serves with a warning", {
  "private data of 183 characters, as Viva publishes": [
    `${DEBIT}CF183${"x".repeat(183)}`,
    "private-data",
  ],
  "private data with §, as HiPay sends": [`${DEBIT}CF003a§b`, "private-data"],
  "a tag of a vendor": [`${DEBIT}TI0011`, "unknown-tag"],
  "an amount of one digit": [DEBIT.replace("CB00511245", "CB0015"), "one-digit-amount"],
  "an amount of zero": [DEBIT.replace("CB00511245", "CB00500000"), "zero-amount"],
}, async ([request = "", code = ""]) => {
  await using terminal = await terminalWith({ strict: true });
  assert.equal((await ask(terminal.port, request))["AE"], "10");
  assert.deepEqual(codes(terminal), [code]);
});

slow("a request that is wrong through and through has a bounded list of warnings", async () => {
  await using terminal = await terminalWith({ gap: 5000 }); // it may come in pieces
  await ask(terminal.port, `CZ0040300${"XX000".repeat(13_000)}\n`);
  const warnings = terminal.transactions[0]?.warnings ?? [];
  assert.equal(warnings.length, 22);
  assert.deepEqual(warnings.slice(-2), [
    { code: "more", text: "there may be more that is not listed here" },
    { code: "missing-tags", text: "expected the mandatory tags CJ, CA, CD" },
  ]);
});

slow(
  "fields that come after the answer are told from a request that does not start with CZ",
  async () => {
    await using terminal = await terminalWith({ outcome: "refused", gap: 0 });
    await using peer = await Peer.connect(terminal.port);
    peer.send(DEBIT);
    await peer.until(/AF00204$/);
    peer.send("CF0011");
    await peer.until(/AF00209$/);
    assert.deepEqual(terminal.transactions[1]?.warnings[0], {
      code: "late",
      text: "expected no more fields after the answer",
    });
  },
);

// ---------------------------------------------------------------- options

slow(
  "startTerminal() refuses options that are not as they must be, and says where it cannot listen",
  async () => {
    const cases: [options: TerminalOptions, expected: RegExp][] = [
      [{ port: 65536 }, /^port: expected a whole number from 0 to 65535, got 65536$/],
      [{ port: 1.5 }, /^port: expected a whole number/],
      [{ duration: -1 }, /^duration: expected a number from 0 to 86400, got -1$/],
      [{ duration: NaN }, /^duration: expected .* got NaN$/],
      [{ gap: -1 }, /^gap: expected a number from 0 to 86400000, got -1$/],
      [
        { sellerContract: "12345678901" },
        /^sellerContract: expected 1 to 10 characters of Latin-1/,
      ],
      [{ sellerContract: "" }, /^sellerContract: .* got ""$/],
      [
        { outcomes: "refused" } as TerminalOptions,
        /^options: expected names from .*, got "outcomes"; did you mean outcome\?$/,
      ],
      [
        { outcome: "maybe" as OutcomeText },
        /^outcome: expected words from success, abandon, .* got "maybe"$/,
      ],
      [{ logLevel: "loud" as LogLevel }, /^logLevel: expected one of debug, info, warn, error/],
      [{ when: { "1.50": "04" } }, /^when: expected minor units such as 1234/],
      [{ when: { "500": "04", "0500": "05" } }, /^when: expected each amount once, got "0500"/],
    ];
    for (const [options, message] of cases) {
      await assert.rejects(terminalWith(options), (error) => {
        assert.ok(error instanceof OptionError);
        assert.match(error.message, message);
        return true;
      });
    }
    await using terminal = await terminalWith();
    await assert.rejects(terminalWith({ port: terminal.port }), (error) => {
      assert.ok(error instanceof ListenError);
      assert.match(
        error.message,
        /^cannot listen on host 127\.0\.0\.1, port \d+: the port is in use/,
      );
      return true;
    });
  },
);

slowTable<[options: TerminalOptions, expected: RegExp]>("the log tells at the start", {
  "what is the default": [{ duration: 3 }, /, success mode \(success\), answers after 3 s$/],
  "a failure with a delay": [{ outcome: "07,delay=1..2" }, /, failure mode \(07,delay=1\.\.2\)$/],
  "what depends on the request, and the rest": [
    { when: { "5": "04", "*1": "05" }, next: ["04"], strict: true, exclusive: true },
    /after 0 s, outcomes by amount: 2, outcomes queued: 1, strict, exclusive$/,
  ],
  "a function": [
    { outcome: () => "success" },
    /, each outcome decided on when it is asked for$/,
  ],
  "silence": [{ outcome: "silent" }, /port \d+, silent$/],
  "a person": [{ interactive: true }, /port \d+, a person decides$/],
  "a cut": [{ outcome: "truncate" }, /port \d+, truncated answers, answers after 0 s$/],
  "a fault of a failure": [
    { outcome: "refused,split" },
    /, failure mode \(refused\), split answers, answers after 0 s$/,
  ],
}, async ([options, expected]) => {
  await using seen = await recorded(options);
  assert.match(seen.log[0]?.[1] ?? "", expected);
});

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

table<[words: string, expected: RegExp]>("parseOutcome() refuses", {
  "a misspelt word": [
    "refuse",
    /^OptionError: outcome: expected words from success, .*, dribble, an AF code .*, TAG=VALUE, got "refuse"; did you mean refused\?$/,
  ],
  "a word for refused": ["declined", /did you mean refused\?$/],
  "a word for success": ["approved", /did you mean success\?$/],
  "another word for success": ["accepted", /did you mean success\?$/],
  "nothing": ["", /got ""$/],
  "nothing between commas": ["success,,silent", /got ""$/],
  "no delay": ["delay=", /got "delay="/],
  "a word for a delay": ["delay=soon", /got "delay=soon"/],
  "a range that ends before it starts": [
    "delay=5..1",
    /^OptionError: outcome: expected a number from/,
  ],
  "more than a day": ["delay=100000", /expected a number from 0 to 86400/],
  "one digit": ["7", /got "7"/],
  "a tag in lower-case letters": ["cb=500", /got "cb=500"/],
  "two endings": [
    "success,refused",
    /expected at most one word of each kind, and \\, in values, got "success,refused"$/,
  ],
  "two cards": ["cbcontact,ancv", /at most one word of each kind/],
  "two faults": ["split,silent", /at most one word of each kind/],
  "two delays": ["delay=1,delay=2", /at most one word of each kind/],
  "a tag twice": ["CB=1,CB=2", /at most one word of each kind/],
  "what is no Latin-1": ["CF=€", /tag CF: expected characters of Latin-1/],
}, ([words, expected]) => assert.throws(() => parseOutcome(words), expected));

/** What is no outcome, as source text, since some of it goes to a process of its own. */
const NO_OUTCOMES = {
  "a card in capitals": '{ card: "CBCONTACT" }',
  "a name that there is not": '{ failed: "04" }',
  "a fault in capitals": '{ fault: "SILENT" }',
  "a number for the failure": "{ failure: 11 }",
  "text for the delay": '{ delay: "55" }',
  "half a range": "{ delay: [1] }",
  "a number for a tag": "{ tags: { CF: 1 } }",
  "undefined for a tag": "{ tags: { CF: undefined } }",
  "undefined": "undefined",
  "null": "null",
  "a number": "5",
  "a list": "[]",
  "a date": "new Date()",
  "a map": "new Map()",
};

slowTable("what a program gives is no outcome", NO_OUTCOMES, async (source) => {
  const wrong = new Function(`return ${source}`)();
  const expected = /^(OptionError: next|ProtocolError: tag CF): expected/;
  await assert.rejects(terminalWith({ next: [wrong] }), expected);
  await using terminal = await terminalWith();
  for (const give of [terminal.nextOutcome, terminal.setOutcome]) {
    assert.throws(() => give(wrong), /^(OptionError: \w+|ProtocolError: tag CF): expected/);
  }
  assert.throws(() => terminal.setWhen({ "1": wrong }), /^(OptionError: when|ProtocolError)/);
});

/** For programs: the answer to DEBIT. */
const ASK = `const ask = (port) => new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(DEBIT + "\\n"));
    socket.on("error", reject).once("data", (chunk) => (socket.destroy(), resolve(String(chunk))));
  });
  const reported = [];
  process.on("uncaughtException", (error) => reported.push(error));
  const options = { port: 0, host: "127.0.0.1", duration: 0 };`;

slow(
  "a function that gives no outcome: AF 07, and its mistake goes to the runtime",
  async () => {
    const { status, stdout, stderr } = await program(`${ASK}
    for (const wrong of [${Object.values(NO_OUTCOMES).join(", ")}, "maybe"]) {
      const terminal = await startTerminal({ ...options, outcome: async () => wrong });
      const answer = await ask(terminal.port);
      const { warnings } = terminal.transactions[0];
      console.log(answer.slice(-14), warnings.map(({ code }) => code).join(), reported.length);
      await terminal.close();
    }
    console.log(reported.every(({ message }) => /expected/.test(message)));`);
    const lines = Array.from(
      { length: Object.keys(NO_OUTCOMES).length + 1 },
      (_, index) => `AE00201AF00207 no-outcome ${index + 1}\n`,
    );
    assert.deepEqual([status, stdout], [0, `${lines.join("")}true\n`], stderr);
  },
);

slow(
  "a function that throws anything: AF 07, what it threw goes to the runtime, the next is served",
  async () => {
    const { status, stdout, stderr } = await program(`${ASK}
    const evil = Object.defineProperty(new Error(), "message", { get() { throw new Error("evil"); } });
    const thrown = [new Error("my\\x1bmistake"), Object.create(null), Symbol("s"), "text", undefined,
      Object.assign(new Error(), { message: 5 }), evil];
    const log = [];
    let at = 0;
    const terminal = await startTerminal({
      ...options,
      log: (level, text) => level === "error" && log.push(text),
      outcome: (request) => {
        delete request.CD;
        if (at < thrown.length) throw thrown[at++];
        return "refused";
      },
    });
    for (const _ of thrown) console.log((await ask(terminal.port)) === DEBIT + "AE00201AF00207");
    console.log((await ask(terminal.port)) === DEBIT + "AE00201AF00204");
    console.log(reported[0] === thrown[0], reported.length);
    console.log(log.join("\\n"));
    console.log(JSON.stringify(terminal.transactions[0].warnings));
    await terminal.close();`);
    assert.deepEqual([status, stdout.split("\n")], [0, [
      ...Array(8).fill("true"),
      "true 7",
      "#1 the function that decides failed, answered AF 07: my\\x1bmistake",
      "#2 the function that decides failed, answered AF 07: what was thrown is no Error",
      "#3 the function that decides failed, answered AF 07: what was thrown is no Error",
      "#4 the function that decides failed, answered AF 07: what was thrown is no Error",
      "#5 the function that decides failed, answered AF 07: what was thrown is no Error",
      "#6 the function that decides failed, answered AF 07: 5",
      "#7 the function that decides failed, answered AF 07: what was thrown cannot be told",
      '[{"code":"no-outcome","text":"the function that decides failed, answered AF 07: my\\\\x1bmistake"}]',
      "",
    ]], stderr);
  },
);

slow(
  "a mistake of a deciding function that nobody handles ends the program",
  async () => {
    const { status, stderr } = await program(`${ASK}
    process.removeAllListeners("uncaughtException");
    const terminal = await startTerminal({ ...options, outcome: () => { throw new Error("my mistake"); } });
    await ask(terminal.port);
    await new Promise((resolve) => setTimeout(resolve, 5000));`);
    assert.notEqual(status, 0);
    assert.match(stderr, /my mistake/);
  },
);

slow(
  "what onEvent, log or a listener throws is reported, and the terminal goes on",
  async () => {
    const { status, stdout, stderr } = await program(`${ASK}
    const fail = () => { throw new Error("my mistake"); };
    const events = [];
    const terminal = await startTerminal({ ...options, onEvent: fail, log: fail });
    terminal.subscribe(() => fail());
    terminal.subscribe(({ event }) => events.push(event));
    const answer = await ask(terminal.port);
    await terminal.close();
    console.log(answer.slice(0, 4), events.join(), reported.length);`);
    // of the log: listening, received, sent; of onEvent: listening and the three; of fail(): the three
    assert.deepEqual([status, stdout], [0, "CZ00 request,answer,closed 10\n"], stderr);
  },
);

// ---------------------------------------------------------------- outcomes and faults

/** What a plain socket sees of an outcome: segments as they arrive, and how the connection ends. */
async function watch(outcome: OutcomeText): Promise<
  { chunks: string[]; peer: Peer; terminal: Terminal } & AsyncDisposable
> {
  const terminal = await terminalWith({ outcome });
  const peer = await Peer.connect(terminal.port);
  const chunks: string[] = [];
  peer.socket.on("data", (chunk: string) => chunks.push(chunk));
  peer.send(`${DEBIT}\n`);
  return {
    chunks,
    peer,
    terminal,
    async [Symbol.asyncDispose]() {
      await peer[Symbol.asyncDispose]();
      await terminal.close();
    },
  };
}

slowTable<OutcomeText>("fault silent: no answer, the connection stays until the POS closes it", {
  "alone": "silent,delay=0.05",
  "with hangup": "hangup,silent,delay=0.05",
}, async (outcome) => {
  await using seen = await watch(outcome);
  await sleep(200);
  assert.deepEqual([seen.chunks, seen.peer.socket.destroyed], [[], false]);
  assert.deepEqual(await seen.peer.finish(), []);
  assert.equal((await seen.terminal.waitForTransaction({ timeout: LIMIT })).answer, undefined);
});

slow("fault close: the connection ends without an answer", async () => {
  await using seen = await watch("close");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["ended", ""]);
});

slow("fault reset: the connection is reset without an answer", async () => {
  await using seen = await watch("reset");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["reset", ""]);
});

slow("fault truncate: the answer is cut inside a field, then the connection ends", async () => {
  await using seen = await watch("success,truncate");
  assert.equal(await seen.peer.closed, "ended");
  assert.match(seen.peer.text, /^CZ.*AE00210.*CG00642424$/);
  assert.throws(() => decode(seen.peer.text), /expected 6 characters for CG, got 5/);
});

slow("fault garbage: bytes come that are no message", async () => {
  await using seen = await watch("garbage");
  await seen.peer.until(/garbage/);
  assert.throws(() => decode(seen.peer.text), ProtocolError);
});

slow("fault emptyamount: CB has no length, also where the answer has none", async () => {
  await using terminal = await terminalWith({ next: ["emptyamount", "abandon,CB=,emptyamount"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  assert.match(await peer.until(/CG/), /^CZ.*CD0010CB000AE00210CC/);
  peer.text = "";
  peer.send(`${DEBIT}\n`);
  assert.match(await peer.until(/AF/), /^CZ.*CD0010CB000AE00201AF00211$/);
});

slow("hangup: the connection ends after the answer", async () => {
  await using seen = await watch("refused,hangup,split");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["ended", `${DEBIT}AE00201AF00204`]);
});

slow(
  "pending: AE 11 at once, the final answer after the delay on the same connection",
  async () => {
    await using seen = await watch("refused,pending,delay=0.2");
    const started = performance.now();
    await seen.peer.until(/AE00211/);
    await seen.peer.until(/AF00204$/);
    assert.ok(performance.now() - started > 100);
    await using undecided = await watch("refused,pending,delay=60");
    await undecided.peer.until(/AE00211$/);
    assert.equal(seen.peer.text, `${DEBIT}AE00211${DEBIT}AE00201AF00204`);
  },
);

slow("an outcome comes from the amount, then the queue, then the default", async () => {
  await using terminal = await terminalWith({
    when: {
      "*1": "02",
      "*01": "07",
      "00500": "refused",
      "*2": "timeout",
      "502": "05",
      "99999999902": "13",
    },
    next: ["abandon"],
    outcome: "08",
  });
  await using peer = await Peer.connect(terminal.port);
  const failure = async (CB: string): Promise<string | undefined> =>
    (await peer.ask({ ...DEBIT_MESSAGE, CB }))["AF"];
  assert.equal(await failure("500"), "04");
  assert.equal(await failure("0000500"), "04");
  assert.equal(await failure("1201"), "07");
  assert.equal(await failure("1"), "07"); // as 01
  assert.equal(await failure("11"), "02");
  assert.equal(await failure("502"), "05"); // the exact amount before the last digits
  assert.equal(await failure("99999999902"), "13");
  assert.equal(await failure("512"), "08");
  assert.equal((await peer.ask({ ...BASE, CD: "I" }))["AE"], "10"); // takes none of the queue
  assert.equal(await failure("1000"), "11");
  assert.equal(await failure("1000"), "08");
  terminal.nextOutcome("04", { failure: "05" });
  assert.deepEqual([await failure("7"), await failure("7"), await failure("7")], [
    "04",
    "05",
    "08",
  ]);
  assert.throws(() => terminal.nextOutcome("maybe" as OutcomeText), OptionError);
});

slow("an outcome can be a function, async or not", async () => {
  await using terminal = await terminalWith({
    outcome: async (_request, number) => {
      await Promise.resolve();
      return number === 1 ? "refused" : { tags: { AC: `${number}` } };
    },
  });
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
  assert.equal((await ask(terminal.port, DEBIT))["AC"], "2");
  terminal.setOutcome(({ CB }) => CB === "11245" ? "05" : "04");
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "05");
});

slow("a function that does not settle is not waited for longer than decideTimeout", async () => {
  await using terminal = await terminalWith({
    decideTimeout: 50,
    exclusive: true,
    outcome: () => new Promise<OutcomeText>(() => {}),
  });
  for (const number of [1, 2]) { // the terminal is not busy for ever
    assert.equal((await ask(terminal.port, DEBIT))["AF"], "08", `${number}`);
    assert.deepEqual(terminal.transactions.at(-1)?.warnings, [
      { code: "undecided", text: "nobody decided within 0.05 s, answered AF 08" },
    ]);
  }
});

slow("an answer that could not be written is not told as sent", async () => {
  await using seen = await recorded({ next: ["hangup", "refused", "success"] });
  const { terminal, events } = seen;
  assert.equal((await askAndClose(seen.port, `${DEBIT}\n${DEBIT}\n${DEBIT}\n`))["AE"], "10");
  await eventually(() => named(events, "closed").length === 1, "closed");
  assert.deepEqual(named(events, "answer").map(({ lost }) => lost), [undefined, "all", "all"]);
  assert.deepEqual(terminal.transactions.map(({ answer }) => answer?.lost), [
    undefined,
    "all",
    "all",
  ]);
  await ask(seen.port, DEBIT);
  assert.deepEqual(codes(terminal), ["paid-twice"]);
});

slowTable<OutcomeText>("nothing is served on a connection whose side the terminal has closed", {
  "hangup": "hangup",
  "close": "close",
  "truncate": "truncate",
}, async (outcome) => {
  await using terminal = await terminalWith({ next: [outcome, "refused"] });
  const socket = net.connect({ port: terminal.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  await using peer = new Peer(socket);
  peer.send(`${DEBIT}\n`);
  await once(socket, "end");
  peer.send(`${DEBIT}\n`);
  socket.end();
  await peer.closed;
  assert.equal(terminal.transactions.length, 1);
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
});

slow(
  "a function that decides is told when the POS goes away, and the payment ends as it says",
  async () => {
    const gone = Promise.withResolvers<void>();
    await using terminal = await terminalWith({
      outcome: (_request, _number, signal) => {
        signal.addEventListener("abort", () => gone.resolve());
        return gone.promise.then(() => "refused");
      },
    });
    const over = terminal.waitForTransaction({ timeout: LIMIT });
    await giveUp(terminal);
    await gone.promise;
    const { outcome, answer } = await over;
    assert.deepEqual([outcome, answer?.lost, answer?.message["AF"]], [
      { failure: "04" },
      "all",
      "04",
    ]);
  },
);

slow("a function that decides is told, too, that the POS has closed its side already", async () => {
  const told = Promise.withResolvers<boolean>();
  await using terminal = await terminalWith({
    outcome: async (_request, _number, gone) => {
      await eventually(() => gone.aborted, "told");
      told.resolve(gone.aborted);
      return {};
    },
  });
  await askAndClose(terminal.port, DEBIT); // as nc does: request and end in one go
  assert.equal(await told.promise, true);
});

slow("exclusive: while a transaction is under way, others are answered AF 07 at once", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using seen = await recorded({
    exclusive: true,
    outcome: (_request, number) => number === 1 ? decided.promise : "silent",
  });
  const { terminal, port } = seen;
  await using peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  for (const request of [DEBIT_MESSAGE, { ...BASE, CD: "I" }]) {
    assert.deepEqual(await ask(port, request), { ...request, AE: "01", AF: "07" });
    assert.ok(codes(terminal)?.includes("busy"));
  }
  decided.resolve("success");
  await peer.until(/AE00210.*CG/);
  peer.send(`${DEBIT}\n`); // which is never answered, so that the terminal stays busy until the POS goes
  await came(terminal, 4);
  assert.equal((await ask(port, DEBIT))["AF"], "07");
  peer.socket.destroy();
  await eventually(
    () => named(seen.events, "closed").some(({ connection }) => connection === 1),
    "closed",
  );
  terminal.nextOutcome("refused");
  assert.equal((await ask(port, DEBIT))["AF"], "04");
});

// ---------------------------------------------------------------- a POS that leaves

sideBySide();

slow("a till that gives up: its payment goes on and ends as its outcome says", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using seen = await recorded({
    exclusive: true,
    outcome: (_request, number) => number === 1 ? decided.promise : "success",
  });
  const { terminal, port, events, log } = seen;
  const started = performance.now();
  await giveUp(terminal);
  await eventually(() => named(events, "gone").length === 1, "gone");
  assert.equal((await ask(port, DEBIT))["AF"], "07"); // busy: the person may still pay
  decided.resolve("success,delay=1.5");
  const ended = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.equal(ended.number, 2); // which was over first
  const { answer, answered, gone, received, warnings, outcome } = await terminal
    .waitForTransaction({ timeout: LIMIT });
  assert.deepEqual(outcome, { failure: "", delay: 1.5 });
  assert.equal(answer?.lost, "all");
  assert.deepEqual([answer?.message["AE"], answer?.raw], ["10", text({ ...answer?.message })]);
  assert.ok(answered!.getTime() - received.getTime() >= 1490);
  assert.equal(gone?.sent, "");
  assert.ok(gone!.milliseconds >= 100, `${gone?.milliseconds} ms`);
  assert.deepEqual(warnings.map(({ code }) => code), ["impatient"]);
  await eventually(() => named(events, "closed").length === 2, "closed");
  const told = events.filter((event) => "connection" in event && event.connection === 1);
  assert.deepEqual(told.map(({ event }) => event), [
    "request",
    "gone",
    "warning",
    "answer",
    "closed",
  ]);
  const [{ event: _event, time: _time, ...about }] = named(events, "gone") as [TerminalEvent];
  assert.deepEqual(about, { connection: 1, transaction: 1, ...gone });
  assert.deepEqual(named(events, "closed").map(({ by }) => by), ["pos", "pos"]);
  const last = named(events, "answer").at(-1);
  assert.deepEqual([last?.lost, last?.raw], ["all", answer?.raw]);
  assert.ok(last!.milliseconds >= 1490 && last!.milliseconds >= gone!.milliseconds);
  assert.ok(last!.milliseconds <= Math.ceil(performance.now() - started));
  logged(log, "warn", /^#1 the POS gave up after \d+\.\d s: a person needs 10 to 60 s to pay$/);
  logged(log, "info", /^#1 too late, the POS has gone: CZ0040300.*AE00210/);
  assert.equal((await ask(port, DEBIT))["AE"], "10"); // not busy any more
});

slow("a till that gave up is told the same of an answer in segments", async () => {
  await using seen = await recorded({ outcome: onceLeft("success,split") });
  await giveUp(seen.terminal);
  const { answer, due } = await seen.terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
  assert.equal(due, undefined);
});

slow("a till that resets the connection after the answer has perhaps not read it", async () => {
  await using seen = await recorded();
  const { terminal, port, events, log } = seen;
  const peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`);
  await terminal.waitForTransaction({ timeout: LIMIT });
  peer.reset();
  await eventually(() => named(events, "closed").length === 1, "closed");
  const [transaction] = terminal.transactions;
  assert.equal(transaction?.answer?.lost, undefined);
  assert.equal(transaction?.gone?.sent, transaction?.answer?.raw);
  assert.deepEqual(codes(terminal), ["not-read"]);
  assert.deepEqual(events.map(({ event }) => event), [
    "listening",
    "request",
    "answer",
    "gone",
    "warning",
    "closed",
  ]);
  logged(log, "warn", /^#1 the POS reset the connection: it has perhaps not read the answer$/);
});

slow("a till that closes after its answer is not gone, whoever closes first", async () => {
  await using seen = await recorded({ next: ["success", "success,hangup"] });
  const { terminal, port, events } = seen;
  for (const by of ["pos", "terminal"] as const) {
    await using peer = await Peer.connect(port);
    const answer = await peer.ask(DEBIT);
    assert.equal(answer["AE"], "10");
    await peer.finish();
    const { gone, warnings } = await terminal.waitForTransaction({ timeout: LIMIT });
    assert.deepEqual([gone, warnings], [undefined, []]);
    const count = by === "pos" ? 1 : 2;
    await eventually(() => named(events, "closed").length === count, "closed");
    assert.equal(named(events, "closed").at(-1)?.by, by);
  }
});

slowTable<[outcome: OutcomeText | Decide, lose: "reads" | "leaves" | "resets"]>(
  "the same payment again may have been paid twice, after",
  {
    "close": ["close", "reads"],
    "silence": ["silent", "leaves"],
    "a cut answer": ["truncate", "reads"],
    "garbage": ["garbage", "reads"],
    "a POS that left": [onceLeft("success"), "leaves"],
    "a POS that reset the connection": ["success", "resets"],
    "AE 11 and no more": ["pending,silent", "leaves"],
  },
  async ([outcome, lose]) => {
    await using seen = await recorded(
      typeof outcome === "function" ? { outcome } : { next: [outcome] },
    );
    const { terminal, port, events, log } = seen;
    await losing(seen, lose);
    assert.equal((await ask(port, DEBIT))["AE"], "10");
    assert.ok(codes(terminal)?.includes("paid-twice"), `${codes(terminal)}`);
    const told = named(events, "warning").at(-1);
    const how = lose === "resets" ? "perhaps got lost" : "got lost";
    assert.match(
      told?.text ?? "",
      new RegExp(`^debit 112\\.45 EUR of 01 again, although .* and its answer ${how}: `),
    );
    logged(
      log,
      "warn",
      /^#2 debit 112\.45 EUR of 01 again, although the last attempt was approved/,
    );
    assert.equal((await ask(port, DEBIT))["AE"], "10"); // whose answer before it has arrived
    assert.deepEqual(codes(terminal), []);
  },
);

slow("a till that has read the duplicate may take the same amount again", async () => {
  await using seen = await recorded({ next: ["close", "success", "success", "close", "close"] });
  const { terminal, port } = seen;
  const duplicate = text({ ...BASE, CD: "3" });
  await losing(seen, "reads");
  assert.equal((await ask(port, duplicate))["AE"], "10");
  assert.equal((await ask(port, DEBIT))["AE"], "10");
  assert.deepEqual(codes(terminal), []);
  await losing(seen, "reads");
  await using peer = await Peer.connect(port);
  peer.send(`${duplicate}\n`);
  await peer.closed; // the duplicate is lost, too
  await ask(port, DEBIT);
  assert.deepEqual(codes(terminal), ["paid-twice"]);
});

/** A payment whose answer gets lost. */
async function losing(
  { terminal, port }: { terminal: Terminal; port: number },
  lose: "reads" | "leaves" | "resets",
): Promise<void> {
  const over = terminal.waitForTransaction({ timeout: LIMIT });
  if (lose === "leaves") await giveUp(terminal);
  else {
    const peer = await Peer.connect(port);
    peer.send(`${DEBIT}\n`);
    await over;
    if (lose === "resets") peer.reset();
    else if (!peer.socket.destroyed) peer.socket.end();
    await peer.closed;
  }
  await over;
  if (lose === "resets") {
    await eventually(() => terminal.transactions[0]?.gone !== undefined, "gone");
  }
}

slowTable<[outcome: OutcomeText, change: Message]>("a payment is not paid twice after", {
  "a refusal whose answer got lost": ["refused,close", {}],
  "another amount": ["close", { CB: "500" }],
  "another currency": ["close", { CE: "756" }],
  "a debit, when it is a credit": ["close", { CD: "1" }],
  "a payment of another register": ["close", { CA: "02" }],
  "an answer that arrived": ["success", {}],
  "an answer in segments that arrived": ["success,split,hangup", {}],
}, async ([outcome, change]) => {
  await using seen = await recorded({ next: [outcome] });
  await losing(seen, "reads");
  await ask(seen.port, { ...DEBIT_MESSAGE, ...change });
  assert.deepEqual(codes(seen.terminal), []);
});

slow(
  "a second payment of a register while its first is under way is a warning, others are none",
  async () => {
    await using terminal = await terminalWith({ duration: 60 });
    const registers = ["01", "02", "03", "01"];
    for (const CA of registers) {
      const till = await Peer.connect(terminal.port);
      till.send(`${text({ ...DEBIT_MESSAGE, CA })}\n`);
    }
    await came(terminal, registers.length);
    const overlapping = terminal.transactions.filter(({ warnings }) => warnings.length > 0);
    assert.deepEqual(overlapping.map(({ request }) => request.message["CA"]), ["01"]);
    assert.deepEqual(overlapping[0]?.warnings, [{
      code: "overlap",
      text:
        "a second payment of this cash register while its first is under way: if both are approved, the customer pays twice",
    }]);
    assert.notEqual(overlapping[0], terminal.transactions[0]);
  },
);

slow(
  "a second payment of a register is a warning too while a person decides on its first",
  async () => {
    await using terminal = await terminalWith({ interactive: true });
    const first = ask(terminal.port, DEBIT);
    await eventually(() => terminal.settings.waiting.length === 1, "the first");
    const others = ["01", "02"].map((CA) => ask(terminal.port, { ...DEBIT_MESSAGE, CA }));
    await eventually(() => terminal.settings.waiting.length === 3, "the others");
    terminal.decide(1, "success");
    await first;
    const last = ask(terminal.port, DEBIT); // while the second is under way
    await eventually(() => terminal.settings.waiting.length === 3, "the last");
    for (const number of terminal.settings.waiting) terminal.decide(number, "refused");
    await Promise.all([...others, last]);
    const warned = terminal.transactions.filter(({ warnings }) => warnings[0]?.code === "overlap")
      .map(({ request }) => request.message["CA"]);
    assert.deepEqual(warned, ["01", "01"]);
    await ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    const paying = ask(terminal.port, DEBIT); // when nothing is under way
    await eventually(() => terminal.settings.waiting.length === 1, "the next");
    terminal.decide(terminal.settings.waiting[0]!, "success");
    await paying;
    assert.deepEqual(codes(terminal), []);
  },
);

slow("connections of one machine side by side are no warning", async () => {
  await using terminal = await terminalWith();
  await using one = await Peer.connect(terminal.port);
  await using other = await Peer.connect(terminal.port);
  for (const peer of [one, other, one]) {
    await peer.ask(DEBIT);
    await ask(terminal.port, { ...BASE, CD: "I" });
  }
  assert.deepEqual(terminal.transactions.flatMap(({ warnings }) => warnings), []);
});

slowTable<[change: Message, words: OutcomeText, code: string, text: string, tag: string]>(
  "what is done otherwise than asked is a warning:",
  {
    "another card": [
      { CC: "002" },
      "cbcontact",
      "application",
      "CC: 002 was asked for, 001 paid, as the outcome says",
      "CC",
    ],
    "no card": [
      { CC: "002" },
      "success,CC=",
      "application",
      "CC: 002 was asked for, none paid, as the outcome says",
      "CC",
    ],
    "one receipt of two": [
      { CK: "120" },
      "success",
      "one-receipt",
      "CK: both receipts are asked for, only the customer's is sent",
      "CK",
    ],
  },
  async ([change, words, code, text, tag]) => {
    await using seen = await recorded({ outcome: words });
    await ask(seen.port, { ...DEBIT_MESSAGE, ...change });
    assert.deepEqual(seen.terminal.transactions[0]?.warnings, [{ code, text, tag }]);
    const [told] = named(seen.events, "warning");
    assert.deepEqual(
      told,
      {
        event: "warning",
        time: told?.time,
        connection: 1,
        transaction: 1,
        code,
        text,
        tag,
      } as TerminalEvent,
    );
    logged(seen.log, "warn", new RegExp(`^#1 ${tag}: `));
  },
);

// ---------------------------------------------------------------- what is told

slow("transactions tell what came, what was sent and when", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const next = terminal.waitForTransaction({ timeout: LIMIT });
  await ask(terminal.port, `${DEBIT}CB000\n`);
  const transaction = await next;
  const { received, answered, ended, ...others } = transaction;
  assert.deepEqual(others, {
    number: 1,
    connection: 1,
    address: "127.0.0.1",
    request: { raw: `${DEBIT}CB000`, message: DEBIT_MESSAGE },
    warnings: [
      {
        code: "repeated-tag",
        text: "expected a tag at most once, got CB again at byte 63",
        tag: "CB",
      },
      { code: "empty", text: "CB: expected the field to be left out, got length 000", tag: "CB" },
    ],
    outcome: { failure: "04" },
    answer: {
      raw: `${DEBIT}AE00201AF00204`,
      message: { ...DEBIT_MESSAGE, AE: "01", AF: "04" },
    },
  });
  assert.ok(answered && answered >= received && ended && ended >= answered);
  await eventually(() => terminal.transactions[0]?.closed !== undefined, "closed");
  await ask(terminal.port, "GET /");
  const [{ closed, ...first } = transaction, second] = terminal.transactions;
  assert.deepEqual(first, transaction);
  assert.equal(closed?.by, "pos");
  assert.match(
    second?.error ?? "",
    /^at byte 2: expected the length of GE .*; this looks like HTTP/,
  );
  assert.deepEqual(second?.warnings, [{ code: "malformed", text: `malformed ${second?.error}` }]);
  assert.equal(second?.outcome, undefined);
});

slow("events tell what happens and when, a transaction's with its numbers", async () => {
  await using seen = await recorded({ next: ["refused"] });
  const { events } = seen;
  const [before, started] = [Date.now(), performance.now()];
  await ask(seen.port, `${DEBIT}\n`);
  await eventually(() => named(events, "closed").length === 1, "one closed");
  await ask(seen.port, "CZ0040300CB0x");
  await eventually(() => named(events, "closed").length === 2, "two closed");
  for (const { time } of events) {
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.ok(Date.parse(time) >= before - 1000 && Date.parse(time) <= Date.now());
  }
  const answers = named(events, "answer");
  const took = Math.ceil(performance.now() - started);
  assert.ok(answers.every(({ milliseconds }) => milliseconds >= 0 && milliseconds <= took));
  const about = { connection: 2, transaction: 2 };
  const error = named(events, "invalid")[0]?.error ?? "";
  assert.match(error, /^at byte 12: expected the length of CB in three digits, got "x"/);
  const message = { ...DEBIT_MESSAGE, AE: "01", AF: "04" };
  assert.deepEqual(
    events.map(({ time: _time, ...event }) => {
      if ("milliseconds" in event) event.milliseconds = 0;
      return event;
    }),
    [
      { event: "listening", host: "127.0.0.1", port: seen.port },
      {
        event: "request",
        connection: 1,
        transaction: 1,
        address: "127.0.0.1",
        raw: DEBIT,
        message: DEBIT_MESSAGE,
        warnings: [],
      },
      {
        event: "answer",
        connection: 1,
        transaction: 1,
        outcome: "refused",
        milliseconds: 0,
        raw: text(message),
        message,
      },
      { event: "closed", connection: 1, by: "pos" },
      {
        event: "invalid",
        ...about,
        address: "127.0.0.1",
        error,
        at: 12,
        raw: "CZ0040300CB0x",
        message: { CZ: "0300" },
        warnings: [{ code: "malformed", text: `malformed ${error}` }],
      },
      {
        event: "answer",
        ...about,
        milliseconds: 0,
        raw: "CZ0040300AE00201AF00209",
        message: { CZ: "0300", AE: "01", AF: "09" },
      },
      { event: "closed", connection: 2, by: "terminal" },
    ] as unknown[],
  );
});

slow("the milliseconds of an answer are from the request's last byte", async () => {
  await using seen = await recorded({ duration: 0.5, gap: 300 });
  const started = performance.now();
  await ask(seen.port, DEBIT);
  const took = Math.ceil(performance.now() - started);
  const [answer] = named(seen.events, "answer");
  assert.ok(answer!.milliseconds >= 495 && answer!.milliseconds <= took, `${answer?.milliseconds}`);
});

slow("what transactions and waits gave can be changed, and changes nothing", async () => {
  await using terminal = await terminalWith({ outcome: "success,CF=1" });
  const early = terminal.waitForTransaction({ timeout: LIMIT });
  for (const _ of [1, 2]) await ask(terminal.port, `${DEBIT}XX0011\n`);
  const waited = [await early, await terminal.waitForTransaction({ timeout: LIMIT })];
  const before = terminal.transactions;
  for (const given of [[...terminal.transactions], ...waited.map((one) => [one])]) {
    const [transaction] = given as unknown as {
      warnings: { text: string }[];
      outcome: Outcome;
      request: { message: Message };
      answer: { message: Message };
      received: Date;
    }[];
    assert.ok(transaction);
    transaction.warnings[0]!.text = "changed";
    transaction.warnings.push({ text: "more" });
    transaction.outcome.tags!["CF"] = "changed";
    transaction.request.message["CB"] = transaction.answer.message["AE"] = "changed";
    transaction.received.setTime(0);
    (given as unknown[]).length = 0;
  }
  assert.deepEqual(terminal.transactions, before);
  assert.equal((await ask(terminal.port, DEBIT))["CF"], "1");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "3" }))["AE"], "10");
});

slow(
  "waitForTransaction() gives each transaction that is over once, in order, before or after",
  async () => {
    const decided = Promise.withResolvers<"success">();
    await using terminal = await terminalWith({
      outcome: ({ CB }) => CB === "100" ? decided.promise : "success",
    });
    const first = terminal.waitForTransaction();
    const second = terminal.waitForTransaction({ timeout: LIMIT });
    const slow = ask(terminal.port, { ...DEBIT_MESSAGE, CB: "100" });
    await came(terminal, 1);
    for (const CB of ["200", "300", "400"]) await ask(terminal.port, { ...DEBIT_MESSAGE, CB });
    const later = [terminal.waitForTransaction(), terminal.waitForTransaction({ timeout: LIMIT })];
    decided.resolve("success");
    await slow;
    const given = await Promise.all([first, second, ...later]);
    assert.deepEqual(given.map(({ request }) => request.message["CB"]), [
      "200",
      "300",
      "400",
      "100",
    ]);
    assert.ok(given.every(({ answer }) => answer?.message["AE"] === "10"));
  },
);

slow(
  "waitForTransaction() waits for a register, and says what is under way when the time is up",
  async () => {
    await using terminal = await terminalWith({ when: { "100": "success,delay=60" } });
    const other = terminal.waitForTransaction({ register: "02" });
    const timeless = terminal.waitForTransaction({ register: "03", timeout: 60_000 });
    await ask(terminal.port, DEBIT);
    await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "02" });
    await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "03" });
    assert.equal((await other).number, 2);
    assert.equal((await timeless).number, 3);
    await assert.rejects(terminal.waitForTransaction({ register: "02", timeout: 20 }), {
      message: "no transaction of cash register 02 was over within 20 ms; nothing is under way",
    });
    assert.equal((await terminal.waitForTransaction({ timeout: 20 })).number, 1);
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${text({ ...DEBIT_MESSAGE, CB: "100" })}\n`);
    await came(terminal, 4);
    await assert.rejects(
      terminal.waitForTransaction({ timeout: 20 }),
      /^WaitError: no transaction was over within 20 ms; under way: transaction 4 \(debit 1\.00 EUR of 01\) for \d+\.\d s$/,
    );
    terminal.nextOutcome("refused");
    const next = terminal.waitForTransaction(); // the wait that gave up takes none
    await ask(terminal.port, DEBIT);
    assert.equal((await next).number, 5);
  },
);

slow("setOutcome() and setWhen() are for the requests that come after them", async () => {
  await using terminal = await terminalWith({
    outcome: "04,delay=0.2",
    when: { "1": "05", "*2": "06" },
  });
  const { port } = terminal;
  const before = ask(port, DEBIT);
  await came(terminal, 1);
  terminal.setOutcome("07");
  terminal.setWhen({ "2": "08" });
  const failure = async (CB: string) => (await ask(port, { ...DEBIT_MESSAGE, CB }))["AF"];
  assert.deepEqual([await failure("1"), await failure("2"), await failure("12")], [
    "07",
    "08",
    "07",
  ]);
  assert.equal((await before)["AF"], "04");
  assert.throws(() => terminal.setOutcome("maybe" as OutcomeText), OptionError);
  assert.throws(() => terminal.setWhen({ "x": "04" }), OptionError);
  assert.deepEqual([await failure("1"), await failure("2")], ["07", "08"]);
});

slow("reset() puts all back as it was started, and ends what is under way", async () => {
  await using seen = await recorded({
    exclusive: true,
    outcome: "04",
    next: ["success", "05"],
    when: { "1": "06" },
  });
  const { terminal, port } = seen;
  await using kept = await Peer.connect(port);
  assert.equal((await kept.ask(DEBIT))["AE"], "10"); // takes the first of the queue
  terminal.setOutcome("success,delay=60");
  terminal.setWhen({});
  terminal.nextOutcome("success,delay=60");
  assert.equal((await ask(port, DEBIT))["AF"], "05");
  await using peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 3);
  terminal.nextOutcome("success");
  const none = terminal.waitForTransaction({ register: "02" });

  terminal.reset();
  await assert.rejects(none, /the terminal was reset/);
  await peer.closed;
  assert.equal(peer.text, "");
  assert.deepEqual(terminal.transactions, []);
  await assert.rejects(terminal.waitForTransaction({ timeout: 10 }), /nothing is under way/);
  const answers = [];
  answers.push(await kept.ask({ ...BASE, CD: "3", CB: "1" })); // takes the amount's
  answers.push(await kept.ask(DEBIT)); // the first of the queue again
  for (const _ of [1, 2]) answers.push(await kept.ask({ ...DEBIT_MESSAGE, CF: "1" }));
  assert.deepEqual(answers.map(({ AE, AF }) => AF ?? AE), ["06", "10", "05", "04"]);
  assert.deepEqual(terminal.transactions.map(({ number }) => number), [1, 2, 3, 4]);
  terminal.reset();
  assert.equal((await kept.ask(DEBIT))["AE"], "10"); // and again
});

slow("reset() forgets the last attempts, and what they tell of a POS", async () => {
  await using terminal = await terminalWith({ next: ["close"] });
  await using lost = await Peer.connect(terminal.port);
  lost.send(`${DEBIT}\n`);
  await lost.closed;
  terminal.reset();
  terminal.nextOutcome(); // none
  terminal.setOutcome("success");
  await using again = await Peer.connect(terminal.port);
  again.send(`${text({ ...BASE, CD: "3" })}\n`); // which takes the outcome of the queue again
  await again.closed;
  assert.equal((await ask(terminal.port, { ...BASE, CD: "3" }))["AF"], "10");
  await ask(terminal.port, DEBIT);
  assert.deepEqual(codes(terminal), []);
});

slow("reset() rejects the waits, also when something is under way that it ends", async () => {
  await using terminal = await terminalWith({ duration: 60 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  const waiting = assert.rejects(terminal.waitForTransaction(), /the terminal was reset/);
  terminal.reset();
  await waiting;
});

slow("subscribe() gives what happens to as many as want it, until they do not", async () => {
  await using terminal = await terminalWith();
  const one: string[] = [];
  const other: string[] = [];
  const stop = terminal.subscribe(({ event }) => void one.push(event));
  terminal.subscribe(({ event }) => void other.push(event));
  await ask(terminal.port, DEBIT);
  await eventually(() => other.includes("closed"), "closed");
  stop();
  stop();
  await ask(terminal.port, DEBIT);
  await eventually(() => other.length === 6, "six events");
  assert.deepEqual(one, ["request", "answer", "closed"]);
  assert.deepEqual(other, [...one, ...one]);
});

test(
  "waits reject when the terminal is closed, and only the last 1,000 transactions are kept",
  patience,
  async () => {
    const terminal = await terminalWith({ gap: 5000 }); // a line end is what ends each
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${text({ ...BASE, CD: "I" })}\n`.repeat(1_001));
    await eventually(() => terminal.transactions.at(-1)?.number === 1_001, "1,001 requests");
    assert.equal((await peer.finish()).length, 1_001);
    assert.deepEqual([terminal.transactions.length, terminal.transactions[0]?.number], [1_000, 2]);
    const waiting = assert.rejects(
      terminal.waitForTransaction({ register: "02" }),
      /the terminal was closed/,
    );
    terminal.waitForTransaction({ register: "03" }); // which nobody awaits: a test may have failed
    await terminal.close();
    await waiting;
    await assert.rejects(terminal.waitForTransaction(), /the terminal was closed/);
  },
);

test("no more transactions are kept for waits than are kept at all", patience, async () => {
  await using terminal = await terminalWith({ gap: 5000 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${text({ ...BASE, CD: "I" })}\n`.repeat(3_000));
  await eventually(() => terminal.transactions.at(-1)?.number === 3_000, "3,000 requests");
  await peer.finish();
  let given = 0;
  const give = (): Promise<void> =>
    terminal.waitForTransaction({ timeout: 1 }).then(() => void given++, () => {});
  await Promise.all(Array.from({ length: 3_000 }, give));
  assert.equal(given, 1_000);
});

// ---------------------------------------------------------------- bounds

sideBySide();

slow(
  "a request longer than the bound is answered as malformed, and the connection closed",
  async () => {
    await using terminal = await terminalWith();
    await using peer = await Peer.connect(terminal.port);
    const field = `XX999${"x".repeat(999)}`;
    peer.send(`CZ0040300${field.repeat(70)}`);
    assert.equal(await peer.closed, "ended");
    assert.match(peer.text, /^CZ0040300XX999x+AE00201AF00209$/);
    assert.match(terminal.transactions[0]?.error ?? "", /at most 65536 bytes/);
    await using small = await terminalWith({ maxRequest: 100 });
    const answer = await askAndClose(small.port, { ...DEBIT_MESSAGE, CF: "x".repeat(60) });
    assert.equal(answer["AF"], "09");
  },
);

test("the answer to the longest request can be read", async () => {
  await using terminal = await terminalWith({ outcome: "abandon" });
  const tags = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].flatMap((a) => [`W${a}`, `X${a}`, `Y${a}`]);
  const request: Message = { ...DEBIT_MESSAGE };
  for (const tag of tags.slice(0, 65)) request[tag] = "x".repeat(999);
  assert.equal((await askAndClose(terminal.port, request))["AF"], "11");
});

test("a connection on which nothing comes is probed, which does no harm", async () => {
  const { setKeepAlive } = net.Socket.prototype;
  const probes: unknown[][] = [];
  const spy = function (this: net.Socket, on: boolean, milliseconds: number): net.Socket {
    probes.push([on, milliseconds]);
    return setKeepAlive.call(this, on, milliseconds);
  };
  net.Socket.prototype.setKeepAlive = spy as typeof setKeepAlive;
  try {
    await using terminal = await terminalWith({ keepAlive: 40 });
    await using never = await terminalWith({ keepAlive: 0, keepTimeout: 86_000 });
    await using peer = await Peer.connect(terminal.port);
    await using other = await Peer.connect(never.port);
    await eventually(() => probes.length > 1, "probed");
    for (const at of [peer, other]) assert.equal((await at.ask(DEBIT))["AE"], "10");
    assert.deepEqual(probes[0], [true, 40]);
  } finally {
    net.Socket.prototype.setKeepAlive = setKeepAlive;
  }
});

test(
  "a peer that does not read its answers is dropped, and none is told as sent that was not",
  patience,
  async () => {
    await using seen = await recorded({ gap: 5000, maxUnread: 10_000, maxRequest: 2 ** 20 });
    const { port, events, log } = seen;
    await using peer = await Peer.connect(port);
    peer.socket.pause();
    const tags = Array.from({ length: 500 }, (_, at) => `W${at}`).map((_, at) =>
      String.fromCharCode(68 + at % 22, 65 + Math.floor(at / 22))
    );
    const long = Object.fromEntries(tags.map((tag) => [tag, "x".repeat(999)]));
    const request = `${text({ ...BASE, CD: "I", ...long })}\n`;
    for (let count = 0; count < 40; count++) peer.send(request);
    await eventually(() => named(events, "closed").length === 1, "closed");
    logged(log, "warn", /^#1 dropped: \d+ bytes of answers are not read$/);
    const answers = named(events, "answer");
    assert.ok(answers.length < 40);
    assert.notEqual(answers.at(-1)?.lost, undefined);
    assert.equal(named(events, "closed")[0]?.by, "terminal");
    assert.equal((await ask(port, `${DEBIT}\n`))["AE"], "10"); // which is served all the same
  },
);

slow("connections beyond the bound are closed", async () => {
  await using seen = await recorded({
    maxConnections: 2,
    outcome: "refused",
    logLevel: "debug",
  });
  await using first = await Peer.connect(seen.port);
  const second = await Peer.connect(seen.port);
  await using third = await Peer.connect(seen.port);
  await third.closed;
  assert.equal(third.text, "");
  logged(seen.log, "warn", /^#3 closed: 2 connections are open already$/);
  assert.equal((await first.ask(DEBIT))["AF"], "04");
  await second.finish();
  await eventually(() => seen.log.some(([, line]) => /^#2 closed/.test(line)), "closed");
  assert.equal((await ask(seen.port, DEBIT))["AF"], "04"); // there is room again
});

slow("peers that vanish at any point leave nothing behind but a line of the log", async () => {
  let connected = 0;
  const closed: string[] = [];
  const strange: string[] = [];
  await using terminal = await terminalWith({
    logLevel: "debug",
    next: ["split", "dribble", "success,delay=0.1", "pending,delay=0.1"],
    log: (level, text) => {
      if (level !== "debug") return;
      if (/ connected /.test(text)) connected++;
      else (/^#\d closed/.test(text) ? closed : strange).push(text);
    },
  });
  const vanish = async (request: string, wait: number, requests = 0): Promise<void> => {
    const before = connected;
    const peer = await Peer.connect(terminal.port);
    await eventually(() => connected > before, "connected");
    peer.send(request);
    await came(terminal, requests);
    await sleep(wait);
    peer.reset();
  };
  await vanish("", 0);
  await vanish("CZ0040300CB0", 20);
  for (let count = 1; count <= 4; count++) await vanish(`${DEBIT}\n`, 60, count);
  await eventually(() => closed.length === 6, "six closed");
  assert.equal((await ask(terminal.port, DEBIT))["AE"], "10");
  assert.deepEqual(strange, []);
});

test(
  "500 peers that send half a request and wait cost nobody else anything",
  patience,
  async () => {
    await using terminal = await terminalWith({ outcome: "refused", requestTimeout: 60_000 });
    const waiting = await Promise.all(
      Array.from({ length: 500 }, () => Peer.connect(terminal.port)),
    );
    for (const peer of waiting) peer.send(DEBIT.slice(0, 30));
    const started = performance.now();
    for (let count = 0; count < 5; count++) {
      assert.equal((await askAndClose(terminal.port, DEBIT))["AF"], "04");
    }
    const took = performance.now() - started;
    assert.ok(waiting.every(({ text, socket }) => text === "" && !socket.destroyed)); // they still wait
    await Promise.all(waiting.map((peer) => peer[Symbol.asyncDispose]()));
    assert.ok(took < 10_000, `${took} ms`);
  },
);

slow("a request that was there in time does not end its connection later", async () => {
  await using terminal = await terminalWith({ requestTimeout: 2000, outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  for (const _ of [1, 2]) assert.equal((await peer.ask(DEBIT))["AF"], "04");
  await sleep(2050);
  assert.equal(peer.socket.writable, true);
  assert.equal((await peer.ask(DEBIT))["AF"], "04");
});

slow("after a request that took too long nothing more is read", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using terminal = await terminalWith({
    requestTimeout: 50,
    outcome: (_request, number) => number === 1 ? decided.promise : "refused",
  });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\rCZ0`);
  await came(terminal, 2);
  peer.send(`${DEBIT}\n`);
  await sleep(50); // in which it would be read
  decided.resolve("success");
  assert.equal(await peer.closed, "ended");
  assert.equal(terminal.transactions.length, 2);
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
});

test(
  "more requests than may wait are all answered, and reading stops until then",
  patience,
  async () => {
    let read = 0;
    const decided = Promise.withResolvers<OutcomeText>();
    await using terminal = await terminalWith({
      outcome: () => decided.promise,
      onEvent: ({ event }) => event === "request" && read++,
    });
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`.repeat(2_000));
    peer.send(`${DEBIT}\n`.repeat(4_000));
    await eventually(() => read >= 1_000, "1,000 requests");
    await sleep(100);
    assert.ok(read < 4_000, `${read} were read`);
    decided.resolve("04");
    const expected = text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }).repeat(6_000);
    await eventually(() => peer.text.length >= expected.length, "6,000 answers");
    assert.ok(peer.text === expected);
  },
);

test(
  "a request of which half was read before reading stopped is not cut there",
  patience,
  async () => {
    const decided = Promise.withResolvers<OutcomeText>();
    await using seen = await recorded({ requestTimeout: 1500, outcome: () => decided.promise });
    await using peer = await Peer.connect(seen.port);
    peer.send(`${DEBIT}\n`.repeat(1_000) + DEBIT.slice(0, 43));
    await eventually(() => named(seen.events, "request").length === 1_000, "1,000 requests");
    peer.send(`${DEBIT.slice(43)}\n`);
    await sleep(1600); // longer than a request may take
    decided.resolve("04");
    await eventually(() => named(seen.events, "answer").length === 1_001, "1,001 answers");
    assert.equal(named(seen.events, "answer").at(-1)?.message["AF"], "04");
  },
);

// ---------------------------------------------------------------- the end

test("close() ends connections and payments that wait", async () => {
  const terminal = await terminalWith({ duration: 60 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\r\nCZ004`);
  await came(terminal, 1);
  await Promise.all([terminal.close(), terminal.close(), peer.closed]);
  assert.equal(peer.text, "");
  await assert.rejects(Peer.connect(terminal.port));
});

slow("an outcome that is decided on after close() does nothing", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  const seen = await recorded({ outcome: () => decided.promise });
  const { terminal, events, log } = seen;
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${text({ ...DEBIT_MESSAGE, CK: "120", CC: "002" })}\n`);
  await came(terminal, 1);
  await terminal.close();
  await assert.rejects(terminal.waitForTransaction(), /the terminal was closed/);
  const names = () => events.map(({ event }) => event);
  assert.deepEqual(names(), ["listening", "request", "closed"]);
  const lines = log.length;
  decided.resolve("cbcontact,delay=0.05");
  await sleep(100);
  assert.deepEqual(names(), ["listening", "request", "closed"]);
  assert.equal(log.length, lines);
  assert.deepEqual(codes(terminal), []);
});

/** What may be under way on a connection, until it is. */
const UNDER_WAY: Record<string, (peer: Peer) => unknown> = {
  "nothing": () => {},
  "half a request": (peer) => peer.send("CZ0040300CB0"),
  "a payment": (peer) => peer.send(`${text({ ...DEBIT_MESSAGE, CB: "1" })}\n`),
  "a payment of a POS that closed its side": (peer) => {
    peer.send(`${text({ ...DEBIT_MESSAGE, CB: "1" })}\n`);
    peer.socket.end();
  },
  "a payment of which AE 11 was sent": (peer) => {
    peer.send(`${text({ ...DEBIT_MESSAGE, CB: "2" })}\n`);
    return peer.until(/AE00211$/);
  },
  "an answer byte by byte": (peer) => {
    // Of so many bytes that it is not over before the end.
    const long = Object.fromEntries(["WA", "WB", "WC", "WD"].map((tag) => [tag, "x".repeat(999)]));
    peer.send(`${text({ ...DEBIT_MESSAGE, CB: "3", ...long })}\n`);
    return peer.until(/^CZ004/);
  },
  "no answer": (peer) => peer.send(`${text({ ...DEBIT_MESSAGE, CB: "4" })}\n`),
  "a decision": (peer) => peer.send(`${text({ ...DEBIT_MESSAGE, CB: "5" })}\n`),
  "an answer": (peer) => peer.ask({ ...BASE, CD: "I" }),
  "more requests than may wait": (peer) =>
    peer.send(`${text({ ...DEBIT_MESSAGE, CB: "1" })}\n`.repeat(2_000)),
};

for (const end of ["close", "reset"] as const) {
  slow(`${end}() ends whatever is under way, and nothing happens after it`, async () => {
    const seen = await recorded({
      when: {
        "1": "success,delay=60",
        "2": "pending,delay=60",
        "3": "dribble",
        "4": "silent",
      },
      outcome: ({ CD }) => CD === "I" ? {} : new Promise<OutcomeText>(() => {}),
    });
    const { terminal, port, events } = seen;
    const peers = await Promise.all(
      Object.values(UNDER_WAY).map(async (start) => {
        const peer = await Peer.connect(port);
        await start(peer);
        return peer;
      }),
    );
    await giveUp(terminal, `${text({ ...DEBIT_MESSAGE, CB: "1", CF: "gone" })}\n`);
    await eventually(() => named(events, "gone").length > 0, "gone");
    const names = Object.keys(UNDER_WAY);
    // All requests have come: one of each but the first two, and the one of the POS that has gone.
    const asking = () => new Set(named(events, "request").map(({ connection }) => connection)).size;
    await eventually(() => asking() === names.length - 2 + 1, "all requests");
    await terminal[end]();
    const open = end === "close" ? [] : ["nothing", "half a request", "an answer"];
    await Promise.all(peers.map(async (peer, at) => {
      if (open.includes(names[at]!)) assert.equal(peer.socket.destroyed, false, `${names[at]}`);
      else await peer.closed;
    }));
    // That of a POS that has sent nothing is not told.
    const told = names.length + 1 - (end === "close" ? 1 : open.length);
    await eventually(() => named(events, "closed").length === told, "closed");
    const count = events.length;
    await sleep(50);
    assert.equal(events.length, count);
    assert.deepEqual(named(events, "answer").filter(({ message }) => message["CF"] === "gone"), []);
    if (end === "reset") {
      assert.equal((await peers[0]!.ask({ ...BASE, CD: "I" }))["AE"], "10");
      await terminal.close();
    }
    await Promise.all(peers.map((peer) => peer.closed));
  });
}

slow("a program ends by itself after close(), whatever waits", async () => {
  const started = performance.now();
  const { status, stdout, stderr } = await program(`
    const decide = ({ CB }) => CB === "1" ? new Promise(() => {}) : "success";
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 60, outcome: decide });
    const connect = (text) => {
      const socket = net.connect(terminal.port, "127.0.0.1", () => socket.write(text));
      return socket.on("error", () => {});
    };
    connect(DEBIT + "\\nCZ0");
    connect(DEBIT.replace("CB00511245", "CB0011") + "\\n");
    const leaves = connect(DEBIT + "\\n"); // whose payment goes on
    let requests = 0;
    terminal.subscribe(({ event }) => event === "request" && ++requests === 3 && setTimeout(() => leaves.resetAndDestroy(), 50));
    terminal.subscribe(({ event }) => event === "gone" && setTimeout(() => terminal.close().then(() => console.log("closed")), 50));`);
  assert.deepEqual([status, stdout], [0, "closed\n"], stderr);
  assert.ok(performance.now() - started < 15_000);
});

// ---------------------------------------------------------------- the fake terminals that people wrote

slow(
  "as the reference server: success, four failures, a delay, cheque, immediate answer",
  async () => {
    await using terminal = await terminalWith({ duration: 0.1 });
    const failures = { abandon: "11", timeout: "08", refused: "04", forbidden: "05" };
    for (const [failure, code] of Object.entries(failures)) {
      terminal.nextOutcome(failure as OutcomeText);
      assert.equal((await payAt(terminal.port)).failure?.code, code);
    }
    const { status, milliseconds } = await payAt(terminal.port);
    assert.deepEqual([status, milliseconds >= 99], ["approved", true]);
    assert.equal((await payAt(terminal.port, { check: true })).answer["CC"], "00C");
    assert.equal((await payAt(terminal.port, { immediate: true })).status, "accepted");
  },
);

slow(
  "as its fork with a web page: outcome and delay changed while it runs, what happens seen",
  async () => {
    await using seen = await recorded();
    assert.equal((await payAt(seen.port)).status, "approved");
    seen.terminal.setOutcome("forbidden,delay=0.1");
    assert.equal((await payAt(seen.port)).failure?.code, "05");
    assert.deepEqual(
      seen.events.map(({ event }) => event).filter((event) => event !== "closed"),
      ["listening", "request", "answer", "request", "answer"],
    );
  },
);

slowTable<[outcome: OutcomeText, status: string]>(
  "as the Odoo module's: what an answer can do to a POS",
  {
    "an approval": ["success", "approved"],
    "a refusal": ["refused", "declined"],
    "several segments": ["success,split", "approved"],
    "byte by byte": ["success,dribble", "approved"],
    "a delay": ["success,delay=0.1", "approved"],
    "zeros before the amount": ["success,CB=000000011245", "approved"],
    "a connection that ends": ["success,hangup", "approved"],
    "an abandon": ["06", "declined"],
    "another currency": ["success,CE=840", "invalid"],
    "garbage": ["garbage", "invalid"],
    "silence": ["silent", "unanswered"],
  },
  async ([outcome, expected]) => {
    await using terminal = await terminalWith({ outcome });
    const result = payAt(terminal.port, { timeout: outcome === "silent" ? 2 : 20 });
    const { status } = await result.catch((error) => error);
    assert.equal(status, expected);
    assert.deepEqual(terminal.transactions.at(-1)?.request.message, DEBIT_MESSAGE);
  },
);

slow(
  "as the shop bridge's: amounts choose the outcome, delays and log are the test's",
  async () => {
    await using seen = await recorded({
      when: { "*01": "11", "*02": "silent", "*03": "pending,delay=0.1" },
    });
    assert.equal((await payAt(seen.port, { amount: "10.01" })).failure?.code, "11");
    await assert.rejects(
      payAt(seen.port, { amount: "10.02", timeout: 2 }),
      failed("unanswered"),
    );
    assert.equal((await payAt(seen.port, { amount: "10.03" })).status, "approved");
    assert.equal((await payAt(seen.port, { amount: "10.04" })).status, "approved");
    logged(seen.log, "info", /received: .*1003/);
  },
);

slow(
  "as the salon bridge's: one outcome or another after a delay, here or by calling the POS back",
  async () => {
    let count = 0;
    await using terminal = await terminalWith({
      outcome: () => count++ % 2 ? "refused" : "success",
      duration: 0.05,
    });
    const statuses = [(await payAt(terminal.port)).status, (await payAt(terminal.port)).status];
    assert.deepEqual(statuses, ["approved", "declined"]);

    const called = Promise.withResolvers<Message>();
    const pos = net.createServer((socket) => {
      socket.once("data", (chunk: Uint8Array) => {
        called.resolve(decode(chunk));
        socket.end();
      });
    });
    pos.listen(0, "127.0.0.1");
    await once(pos, "listening");
    await using calling = await terminalWith({
      outcome: async (request) => {
        const { port } = pos.address() as net.AddressInfo;
        await using peer = await Peer.connect(port);
        peer.send(text({ ...request, AE: "10" }));
        await peer.closed;
        return { fault: "close" };
      },
    });
    await assert.rejects(payAt(calling.port), failed("unanswered"));
    assert.deepEqual(await called.promise, { ...DEBIT_MESSAGE, AE: "10" });
    await new Promise((resolve) => pos.close(resolve));
  },
);

// ---------------------------------------------------------------- with another clock or chance

/** Sets a timer as setTimeout() does. */
type SetTimer = (call: () => void, milliseconds?: number, ...args: unknown[]) => unknown;

/** Does something while timers are set by a function, which is given the one that there was. */
async function timing(by: (set: SetTimer) => SetTimer, during: () => Promise<void>): Promise<void> {
  const { setTimeout } = globalThis;
  globalThis.setTimeout = by(setTimeout as SetTimer) as typeof setTimeout;
  try {
    await during();
  } finally {
    globalThis.setTimeout = setTimeout;
  }
}

/** Does something while pauses of so many milliseconds are as long as a function says, at least one. */
async function pausing(
  milliseconds: number,
  pause: (milliseconds: number) => Promise<unknown>,
  during: () => Promise<void>,
): Promise<void> {
  let count = 0;
  const by = (set: SetTimer): SetTimer => (call, wanted, ...args) => {
    if (wanted !== milliseconds) return set(call, wanted, ...args);
    count++;
    pause(milliseconds).then(call, () => {}); // whose test has failed
    return set(() => {}, 0);
  };
  await timing(by, during);
  assert.notEqual(count, 0, `no pause of ${milliseconds} ms`);
}

/** Milliseconds between the segments of an answer. */
const PAUSES = { split: 50, dribble: 5 };

table<string[]>("the answer comes in segments, each of which arrives by itself, of the fault", {
  "split": ["CZ0040", DEBIT.slice(6) + "AE0", "0201", "A", "F00204"], // in tag, length and value
  "dribble": [...`${DEBIT}AE00201AF00204`],
}, async (pieces) => {
  const fault = pieces.length > 10 ? "dribble" : "split";
  await using terminal = await terminalWith({ outcome: `refused,${fault}` });
  await using peer = await Peer.connect(terminal.port);
  const chunks: string[] = [];
  peer.socket.on("data", (chunk: string) => chunks.push(chunk));
  let sent = 0;
  const arrived = (): Promise<void> => {
    const length = pieces.slice(0, ++sent).join("").length;
    return eventually(() => peer.text.length === length, `${length} bytes`);
  };
  await pausing(PAUSES[fault], arrived, async () => {
    peer.send(`${DEBIT}\n`);
    await peer.until(/AF00204$/);
  });
  assert.deepEqual(chunks, pieces);
  const { answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual(answer?.segments?.map(({ bytes }) => bytes), pieces.map((one) => one.length));
});

table<[outcome: OutcomeText, leave: (peer: Peer) => unknown]>(
  "a till that closes in the middle of an answer",
  {
    "split, by closing its side": [
      "success,split,delay=0.15",
      (peer) => peer.socket.end(),
    ],
    "split, altogether": ["success,split", (peer) => peer.socket.destroy()],
    "split, with a reset": ["success,split", (peer) => peer.reset()],
    "dribble, by closing its side": ["success,dribble,delay=0.15", (peer) => peer.socket.end()],
    "dribble, altogether": ["success,dribble", (peer) => peer.socket.destroy()],
    "dribble, with a reset": ["success,dribble", (peer) => peer.reset()],
  },
  async ([outcome, leave]) => {
    await using seen = await recorded({ next: [outcome] });
    const { terminal, port, events, log } = seen;
    const peer = await Peer.connect(port);
    const fault = outcome.includes("split") ? "split" : "dribble";
    const left = Promise.withResolvers<void>();
    const pause = async (milliseconds: number): Promise<void> => {
      await eventually(() => peer.text !== "", "some of the answer");
      if (peer.text.length > 3) await left.promise;
      await sleep(milliseconds);
    };
    await pausing(PAUSES[fault], pause, async () => {
      peer.send(`${DEBIT}\n`);
      await peer.until(/^CZ00/);
      leave(peer);
      // Who closes its side alone is told of by that; else by what it does not take any more.
      if (!peer.socket.destroyed) await eventually(() => named(events, "gone").length > 0, "gone");
      else await peer.closed;
      left.resolve();
      await eventually(() => named(events, "answer").length > 0, "over");
    });
    const { answer, gone, warnings } = await terminal.waitForTransaction({ timeout: LIMIT });
    const whole = `${DEBIT}AE00210`;
    assert.equal(answer?.lost, "rest");
    assert.ok(answer.raw.length > 3 && answer.raw.length < 190, answer.raw);
    assert.equal(answer.raw.slice(0, whole.length), whole.slice(0, answer.raw.length));
    assert.equal(gone?.sent, answer.raw);
    assert.deepEqual(warnings, [{
      code: "read-once",
      text:
        `the POS left after ${answer.raw.length} bytes of the answer: it must read on until the answer is whole`,
    }]);
    assert.deepEqual(named(events, "gone").map(({ sent }) => sent), [answer.raw]);
    assert.deepEqual(named(events, "answer").map(({ lost, raw }) => [lost, raw]), [
      ["rest", answer.raw],
    ]);
    logged(log, "warn", /^#1 the POS left after \d+ bytes of the answer/);
    logged(log, "info", /^#1 sent in part \((split|dribble)\): CZ00/);
    await eventually(() => named(events, "closed").length === 1, "closed");
    assert.equal((await ask(port, { ...BASE, CD: "3" }))["AE"], "10"); // it was paid all the same
  },
);

test("a gap that only a busy program saw is none: what has come is read first", async () => {
  const gap = 4321;
  await using terminal = await terminalWith({ outcome: "refused", gap });
  await using peer = await Peer.connect(terminal.port);
  const over = Promise.withResolvers<() => void>(); // what is done when the gap is over
  const by = (set: SetTimer): SetTimer => (call, wanted, ...args) => {
    if (wanted !== gap) return set(call, wanted, ...args);
    over.resolve(call); // the terminal has read what came, and waits for more
    return set(() => {}, 0);
  };
  await timing(by, async () => {
    peer.send(DEBIT);
    await over.promise;
  });
  const call = await over.promise;
  setImmediate(() => { // after which a runtime looks at its timers first
    peer.send("CF004late\n");
    setTimeout(call, 0);
    const end = performance.now() + 60;
    while (performance.now() < end);
  });
  assert.match(await peer.until(/AF/), /CF004lateAE00201AF00204$/);
});

test("mandatory tags are waited for longer, other fields are not", async () => {
  await using terminal = await terminalWith({ outcome: "refused", gap: 0 });
  await using peer = await Peer.connect(terminal.port);
  const most = (_: number): Promise<unknown> => new Promise(() => {}); // until they are there
  await pausing(MISSING_TAGS_GAP, most, async () => {
    peer.send("CZ0040300CJ012012345678901CA00201CD0010CE003978");
    await sleep(50);
    assert.equal(peer.text, "");
    peer.send("CB00511245");
    await peer.until(/CB00511245AE00201AF00204$/);
  });
  const started = performance.now();
  peer.send("CZ0040300CA00201");
  await peer.until(/CZ0040300CA00201AE00201AF00209$/);
  const waited = performance.now() - started;
  assert.ok(waited >= 290, `${waited} ms`);
});

test("a gap above 300 ms is waited for, too, while mandatory tags are missing", async () => {
  const gap = 4321;
  await using terminal = await terminalWith({ gap, outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  const waits: (number | undefined)[] = [];
  const by = (set: SetTimer): SetTimer => (call, wanted, ...args) => {
    waits.push(wanted);
    return set(call, wanted, ...args);
  };
  await timing(by, async () => {
    peer.send("CZ0040300CJ012012345678901CA00201CD0010CE003978");
    await eventually(() => waits.includes(gap), "waited for");
  });
  assert.ok(!waits.includes(MISSING_TAGS_GAP), waits.join());
  peer.send("CB00511245\n");
  assert.match(await peer.until(/AF002\d\d$/), /^CZ.*CB00511245AE00201AF00204$/);
});

test("fields that keep coming without making a request are given up, and the connection closed", async () => {
  const [requestTimeout, gap] = [54_321, 60_000];
  await using terminal = await terminalWith({ requestTimeout, gap });
  await using peer = await Peer.connect(terminal.port);
  const over: (() => void)[] = []; // what is done when it has taken too long
  let read = 0;
  const by = (set: SetTimer): SetTimer => (call, wanted, ...args) => {
    if (wanted === gap) read++; // for another field
    if (wanted !== requestTimeout) return set(call, wanted, ...args);
    over.push(call);
    return set(() => {}, 0);
  };
  await timing(by, async () => {
    for (const [at, letter] of [..."ABCDE"].entries()) {
      peer.send(`W${letter}0011`);
      await eventually(() => read > at, `${letter} read`);
    }
  });
  assert.equal(over.length, 1); // from the first on, and not anew
  over[0]!();
  assert.equal(await peer.closed, "ended");
  assert.equal(peer.text, "CZ0040300WA0011WB0011WC0011WD0011WE0011AE00201AF00209");
});

test("the gap is inside the duration, which takes decimals", async () => {
  await using terminal = await terminalWith({ outcome: "refused", duration: 0.6, gap: 500 });
  await using peer = await Peer.connect(terminal.port);
  const waits: number[] = [];
  const by = (set: SetTimer): SetTimer => (call, wanted = 0, ...args) => {
    waits.push(wanted);
    return set(call, wanted, ...args);
  };
  const started = performance.now();
  await timing(by, async () => {
    peer.send(DEBIT);
    await peer.until(/AF00204$/);
  });
  const took = performance.now() - started;
  assert.ok(took >= 590, `${took} ms`);
  // After the gap the terminal waits for the rest of the duration, if there is one.
  assert.ok(waits.includes(500), waits.join());
  const others = waits.filter((wait) => wait !== 500 && wait < 5000);
  assert.ok(others.every((wait) => wait <= 101), waits.join());
});

table("a POS that closes its side after the request, as nc does, gets its answer and is not gone", {
  "without a line end": DEBIT,
  "with a line end": `${DEBIT}\n`,
}, async (request) => {
  const { now } = performance;
  const left = Promise.withResolvers<void>();
  await using seen = await recorded({
    outcome: async (_request, _number, signal) => {
      if (signal.aborted) left.resolve();
      signal.addEventListener("abort", () => left.resolve());
      await left.promise;
      performance.now = now;
      return "refused,delay=0.1" as const;
    },
  });
  try {
    const at = now.call(performance); // until it has closed its side no time goes by
    performance.now = () => at;
    assert.equal((await askAndClose(seen.port, request))["AF"], "04");
  } finally {
    performance.now = now;
  }
  const { gone, answer, warnings } = await seen.terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([gone, answer?.lost, warnings], [undefined, undefined, []]);
  assert.deepEqual(named(seen.events, "gone"), []);
});

/** Does something with a clock that can be put on, and told when terminals have looked for idle POS. */
async function putOn(
  during: (later: (milliseconds: number) => Promise<void>) => Promise<void>,
): Promise<void> {
  const { now } = performance;
  const { setKeepAlive } = net.Socket.prototype;
  let [ahead, looks] = [0, 0];
  performance.now = () => now.call(performance) + ahead;
  net.Socket.prototype.setKeepAlive = function (this: net.Socket, ...options: unknown[]) {
    looks++; // one that is not dropped is probed
    return Reflect.apply(setKeepAlive, this, options);
  };
  try {
    await during(async (milliseconds) => {
      ahead += milliseconds;
      const before = looks;
      await eventually(() => looks >= before + 5, "a look for idle POS");
    });
  } finally {
    performance.now = now;
    net.Socket.prototype.setKeepAlive = setKeepAlive;
  }
}

table<[used: boolean, options: TerminalOptions, dropped: RegExp]>(
  "a connection is closed after a while",
  {
    "without any request": [
      false,
      { idleTimeout: 60_000 },
      /^#1 dropped: no request has come for 60000 ms$/,
    ],
    "with a request, after another": [
      true,
      { keepTimeout: 60_000 },
      /^#1 dropped: nothing has come for 60000 ms$/,
    ],
  },
  async ([used, options, dropped]) => {
    await using seen = await recorded({ outcome: "refused", keepAlive: 20, ...options });
    await putOn(async (later) => {
      await using left = await Peer.connect(seen.port);
      await using kept = await Peer.connect(seen.port);
      await (used ? left : kept).ask(`${DEBIT}\n`);
      await later(30_000);
      assert.deepEqual([left.socket.destroyed, kept.socket.destroyed], [false, false]);
      await later(35_000);
      await left.closed;
      logged(seen.log, "warn", dropped);
      assert.equal((await kept.ask(`${DEBIT}\n`))["AF"], "04");
    });
  },
);

test("neither time is up while a payment is under way", async () => {
  const decided = [1, 2].map(() => Promise.withResolvers<OutcomeText>());
  await using terminal = await terminalWith({
    idleTimeout: 60_000,
    keepTimeout: 60_000,
    keepAlive: 20,
    outcome: (_request, number) => decided[number - 1]!.promise,
  });
  await putOn(async (later) => {
    await using peer = await Peer.connect(terminal.port);
    for (const [at, { resolve }] of decided.entries()) {
      peer.text = "";
      peer.send(`${DEBIT}\n`);
      await came(terminal, at + 1);
      await later(120_000);
      resolve("success");
      await peer.until(/AE00210/);
    }
  });
});

test("a peer that does not close its side after the terminal has is cut off after five seconds", async () => {
  // In a tenth of the time.
  await using seen = await recorded({ outcome: "hangup" });
  const socket = net.connect({ port: seen.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  await using peer = new Peer(socket);
  const by = (set: SetTimer): SetTimer => (call, wanted, ...args) =>
    set(call, wanted === CLOSE_TIMEOUT ? wanted / 10 : wanted, ...args);
  const started = performance.now();
  await timing(by, async () => {
    peer.send(`${DEBIT}\n`);
    await once(socket, "end");
    await eventually(() => named(seen.events, "closed").length === 1, "closed");
  });
  const took = performance.now() - started;
  assert.equal(CLOSE_TIMEOUT, 5000);
  assert.ok(took >= 490 && took < 4500, `${took} ms`);
  assert.deepEqual(named(seen.events, "closed")[0]?.by, "terminal");
});

test("delay: instead of the duration, also drawn from a range, from its least to its most", async () => {
  const { random } = Math;
  try {
    // Whatever takes a minute takes too long.
    for (const [drawn, least, most] of [[0, 0.1, 60], [0.999, 0.1, 1]] as const) {
      const delay: [number, number] = [least, most];
      await using terminal = await terminalWith({ duration: 60, outcome: { delay } });
      delay[0] = delay[1] = 60; // which changes nothing any more
      Math.random = () => drawn;
      const started = performance.now();
      await using peer = await Peer.connect(terminal.port);
      peer.send(`${DEBIT}\n`);
      await peer.until(/AE00210/);
      const took = performance.now() - started;
      const wanted = 1000 * (least + drawn * (most - least));
      assert.ok(took >= wanted - 1, `${took} ms, drawn ${drawn}`);
    }
  } finally {
    Math.random = random;
  }
});

test("a till that gives up without money, or after a minute, is not impatient", async () => {
  await using seen = await recorded({ outcome: onceLeft("success") });
  const { terminal, port, log } = seen;
  const { now } = performance;
  await giveUp(terminal, text({ ...BASE, CD: "B" }) + "\n");
  await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual(codes(terminal), []);
  logged(log, "warn", /^#1 the POS gave up after \d\.\d s$/);

  terminal.setOutcome("success,delay=61");
  const peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 2);
  try {
    performance.now = () => now.call(performance) + 60_500;
    peer.socket.end();
    await eventually(() => terminal.transactions[1]?.gone !== undefined, "gone");
  } finally {
    performance.now = now;
  }
  assert.deepEqual(codes(terminal), []);
  logged(log, "warn", /^#2 the POS gave up after 6\d\.\d s$/);
});

test("the segments of an answer are sent at once, and not put together by the system", async () => {
  const { setNoDelay } = net.Socket.prototype;
  const ports: (number | undefined)[] = [];
  net.Socket.prototype.setNoDelay = function (...options) {
    if (options[0] ?? true) ports.push(this.localPort);
    return setNoDelay.apply(this, options);
  };
  try {
    await using terminal = await terminalWith({ next: ["refused,split"] });
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await peer.until(/AF00204$/);
    assert.ok(ports.includes(terminal.port));
  } finally {
    net.Socket.prototype.setNoDelay = setNoDelay;
  }
});

// ---------------------------------------------------------------- properties

// Its types are not at hand where it is not installed.
// deno-lint-ignore no-explicit-any
const fc: any = await import("fast-check" as string).then(
  (module) => module.default ?? module,
  () => undefined,
);
const properties = { skip: fc ? false : "the package fast-check is not installed" };

test("property: whatever comes, the terminal's answers decode", {
  ...properties,
  ...patience,
}, async () => {
  await using terminal = await terminalWith({ gap: 0, requestTimeout: 20 });
  const junk = fc.array(fc.nat(255), { maxLength: 8 }).map((codes: number[]) =>
    String.fromCharCode(...codes)
  );
  const at = fc.nat(DEBIT.length);
  await fc.assert(
    fc.asyncProperty(at, at, junk, async (from: number, to: number, junk: string) => {
      await using peer = await Peer.connect(terminal.port);
      peer.send(DEBIT.slice(0, from) + junk + DEBIT.slice(to));
      await peer.finish(); // which fails for an answer that does not decode
    }),
    { numRuns: 50 },
  );
});
