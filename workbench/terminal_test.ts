// SPDX-License-Identifier: GPL-3.0-or-later
// The terminal with everything, as one composes it: what can be changed, a person, registers, sleep.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeReceipt, encodeText as text, OptionError } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import type { ModelName } from "./models.ts";
import type { TerminalChanges, TerminalOptions } from "./terminal.ts";
import {
  ask,
  askAndClose,
  BASE,
  came,
  codes,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  giveUp,
  HeldClock,
  LIMIT,
  logged,
  named,
  Peer,
  recorded,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

// ---------------------------------------------------------------- options

table<[options: TerminalOptions, expected: RegExp]>("startTerminal() refuses", {
  "a name that there is not": [
    { outcomes: "refused" } as TerminalOptions,
    /^options: got "outcomes"; did you mean outcome\?/,
  ],
  "a model that there is not": [
    { model: "desk500" as ModelName },
    /^model: got "desk500"; did you mean desk5000\?/,
  ],
  "an amount that is none": [
    { when: { "1.50": "04" } },
    /^when: expected minor units such as 1234/,
  ],
  "a port that there is not": [{ callback: 65_536 }, /^callback: expected a whole number from 0/],
  "a word for true": [{ exclusive: "yes" as unknown as boolean }, /^exclusive: expected true or/],
  "what the port refuses": [{ duration: -1 }, /^duration: expected a number from 0 to 86400/],
}, async ([options, expected]) => {
  await assert.rejects(
    terminalWith(options),
    (error) => error instanceof OptionError && expected.test(error.message),
  );
});

table<[options: TerminalOptions, expected: RegExp]>("the log tells at the start", {
  "what is the default": [{ duration: 3 }, /, success mode \(success\), answers after 3 s$/],
  "what depends on the request, and the rest": [
    {
      when: { "5": "04", "*1": "05" },
      next: ["04"],
      strict: true,
      exclusive: true,
      model: "v240m",
      callback: 7,
    },
    /after 0 s, outcomes queued: 1, strict, outcomes by amount: 2, exclusive, model v240m, answers to port 7 of the POS$/,
  ],
  "a person": [{ interactive: true }, /port \d+, a person decides$/],
}, async ([options, expected]) => {
  await using seen = await recorded(options);
  assert.match(seen.log[0]?.[1] ?? "", expected);
});

// ---------------------------------------------------------------- a person

sideBySide();

slow("a person decides: who waits is told, and what is decided is answered at once", async () => {
  await using seen = await recorded({ interactive: true, duration: 60, logLevel: "debug" });
  const { terminal, events, log } = seen;
  const answer = ask(seen.port, DEBIT);
  await eventually(() => terminal.settings.waiting.length === 1, "waiting");
  assert.deepEqual(terminal.settings.waiting, [1]);
  const [{ time: _, ...told } = { time: "" }] = named(events, "waiting");
  assert.deepEqual(told, { event: "waiting", connection: 1, transaction: 1 });
  logged(log, "debug", /^#1 waits for a person to decide$/);
  assert.throws(() => terminal.decide(1, "maybe" as OutcomeText), OptionError);
  assert.equal(terminal.decide(2, "success"), false);
  assert.equal(terminal.decide(1, "refused"), true);
  assert.equal(terminal.decide(1, "success"), false);
  assert.deepEqual(terminal.settings.waiting, []);
  assert.equal((await answer)["AF"], "04");
  assert.equal(terminal.transactions[0]?.decided, "person");
  assert.deepEqual(named(events, "decided").map(({ by, outcome }) => [by, outcome]), [
    ["person", "refused,delay=0"],
  ]);
});

slow("what a person decides is added to the outcome, tag by tag", async () => {
  await using terminal = await terminalWith({ interactive: true, outcome: "success,CF=77" });
  const answer = ask(terminal.port, DEBIT);
  await eventually(() => terminal.settings.waiting.length === 1, "waiting");
  assert.equal(terminal.decide(1, "CG=5"), true);
  const { CF, CG } = await answer;
  assert.deepEqual([CF, CG], ["77", "5"]);
});

slow(
  "AE 11 is sent at once where a person decides and the standard outcome is pending",
  async () => {
    await using terminal = await terminalWith({ interactive: true, outcome: "success,pending" });
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await peer.until(/AE00211$/);
    assert.deepEqual(terminal.settings.waiting, [1]); // nobody has decided yet
    assert.equal(terminal.transactions[0]?.interim?.message["AE"], "11");
    terminal.decide(1, "refused");
    await peer.until(/AE00211CZ.*AE00201AF00204$/);
    assert.equal(peer.text.match(/AE00211/g)?.length, 1);
  },
);

slow("nobody is asked about what is answered at once, or has a rule", async () => {
  await using terminal = await terminalWith({
    interactive: true,
    when: { "1": "refused" },
    next: ["05"],
    model: "payxpert",
  });
  await using peer = await Peer.connect(terminal.port);
  assert.equal((await peer.ask({ ...BASE, CD: "I" }))["AE"], "10");
  assert.equal((await peer.ask({ ...BASE, CD: "T" }))["AE"], "01");
  assert.equal((await peer.ask({ ...DEBIT_MESSAGE, CB: "1" }))["AF"], "04");
  assert.equal((await peer.ask(DEBIT))["AF"], "05");
  assert.equal((await peer.ask({ ...DEBIT_MESSAGE, BA: "1" }))["AE"], "10");
  assert.deepEqual(terminal.settings.waiting, []);
});

slow("nobody is asked any more about what is over", async () => {
  await using terminal = await terminalWith({ interactive: true });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await eventually(() => terminal.settings.waiting.length === 1, "waiting");
  terminal.reset("01");
  assert.deepEqual([terminal.settings.waiting, terminal.decide(1, "success")], [[], false]);
});

slow("a person who does not decide in time is not asked any more", async () => {
  const clock = new HeldClock();
  await using terminal = await terminalWith({ interactive: true, clock });
  const answer = ask(terminal.port, DEBIT);
  await clock.asleep(600_000);
  clock.pass(600_000);
  assert.equal((await answer)["AF"], "08");
  assert.deepEqual([terminal.settings.waiting, codes(terminal)], [[], ["undecided"]]);
});

slow("a till that gives up leaves its payment to the person", async () => {
  await using terminal = await terminalWith({ interactive: true });
  await giveUp(terminal);
  await eventually(() => codes(terminal)?.includes("impatient"), "gone");
  assert.equal(terminal.decide(1, "success"), true);
  const { answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
});

// ---------------------------------------------------------------- what can be changed

sideBySide();

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

slow("settings tell what it does in words, and change() changes it, all or nothing", async () => {
  await using terminal = await terminalWith({
    next: ["refused"],
    when: { "05": "abandon,delay=1" },
  });
  terminal.nextOutcomeOf("02", { failure: "05" });
  const settings = {
    model: "reference",
    outcome: "success" as string | null,
    when: { "5": "abandon,delay=1" },
    duration: 0,
    strict: false,
    exclusive: false,
    interactive: false,
    next: [{ outcome: "refused" }, { outcome: "forbidden", register: "02" }],
    waiting: [],
    listening: true,
  };
  assert.deepEqual(terminal.settings, settings);
  const wrong: unknown[] = [
    { duration: 5, strict: "yes" },
    { strict: true, when: { x: "04" } },
    { exclusive: true, model: "desk500" },
    { interactive: true, port: 1 },
  ];
  for (const changes of wrong) {
    assert.throws(() => terminal.change(changes as TerminalChanges), OptionError);
    assert.deepEqual(terminal.settings, settings);
  }
  terminal.change({ model: "viva", strict: true, outcome: () => "success", when: {} });
  const changed = { ...settings, model: "viva", strict: true, outcome: null, when: {} };
  assert.deepEqual(terminal.settings, changed);
  terminal.clearNext("02");
  assert.deepEqual(terminal.settings.next, [{ outcome: "refused" }]);
  terminal.clearNext();
  assert.deepEqual(terminal.settings.next, []);
});

slow("the queue of a register comes before the others, and is its own", async () => {
  await using terminal = await terminalWith({ next: ["04"] });
  terminal.nextOutcomeOf("02", "05", "06");
  const failure = async (CA: string) => (await ask(terminal.port, { ...DEBIT_MESSAGE, CA }))["AF"];
  assert.equal(await failure("02"), "05");
  terminal.reset("02");
  assert.deepEqual([await failure("02"), await failure("02")], ["04", undefined]);
});

// ---------------------------------------------------------------- reset

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
  terminal.change({ model: "desk5000" });
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
  assert.equal(terminal.settings.model, "reference");
  terminal.reset();
  assert.equal((await kept.ask(DEBIT))["AE"], "10"); // and again
});

slow("reset() of a register ends nothing of another on the same connection", async () => {
  await using seen = await recorded({ interactive: true });
  const { terminal } = seen;
  await using peer = await Peer.connect(seen.port);
  const [first, other] = ["01", "02"].map((CA) => `${text({ ...DEBIT_MESSAGE, CA })}\n`);
  peer.send(first!);
  peer.send(other!);
  await came(terminal, 2);
  const waiting = terminal.waitForTransaction({ register: "02" });
  await eventually(() => terminal.settings.waiting.length === 1, "the first");
  terminal.reset("01");
  await eventually(() => terminal.settings.waiting.includes(2), "the other is asked about");
  terminal.decide(2, "success");
  await peer.until(/CA00202.*AE00210.*CG/);
  assert.doesNotMatch(peer.text, /CA00201/);
  assert.equal((await waiting).number, 2);
  assert.deepEqual(terminal.transactions.map(({ number }) => number), [2]);
  assert.equal((await peer.finish()).length, 1);
});

slow("reset() of a register leaves the waits, attempts and transactions of others", async () => {
  await using terminal = await terminalWith();
  for (const CA of ["01", "02"]) await ask(terminal.port, { ...DEBIT_MESSAGE, CA });
  const waits = ["01", "02"].map((register) => terminal.waitForTransaction({ register, after: 2 }));
  terminal.reset("01");
  await assert.rejects(waits[0]!, /the terminal was reset/);
  const duplicate = async (CA: string) =>
    (await ask(terminal.port, { ...BASE, CA, CD: "3" }))["AE"];
  assert.deepEqual([await duplicate("01"), await duplicate("02")], ["01", "10"]);
  assert.equal((await waits[1]!).number, 4);
  assert.deepEqual([...terminal.transactionsAfter(0, "02")].map(({ number }) => number), [2, 4]);
});

slow("waitForTransaction() waits for a register, and says what is under way", async () => {
  await using terminal = await terminalWith({ when: { "100": "success,delay=60" } });
  const other = terminal.waitForTransaction({ register: "02" });
  const timeless = terminal.waitForTransaction({ register: "03", timeout: 60_000 });
  for (const CA of ["01", "02", "03"]) await ask(terminal.port, { ...DEBIT_MESSAGE, CA });
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
  const next = terminal.waitForTransaction(); // the wait that gave up takes none
  await ask(terminal.port, DEBIT);
  assert.equal((await next).number, 5);
  assert.equal((await terminal.waitForTransaction({ after: 2 })).number, 3); // given again
});

slow("transactions are told one by one, above a number, and by their numbers", async () => {
  await using terminal = await terminalWith();
  for (const _ of [1, 2, 3]) await ask(terminal.port, DEBIT);
  assert.deepEqual([...terminal.transactionsAfter(1)].map(({ number }) => number), [2, 3]);
  assert.deepEqual([...terminal.transactionsAfter()].length, 3);
  assert.equal(terminal.transaction(2)?.number, 2);
  assert.equal(terminal.transaction(4), undefined);
  const given = terminal.transactionsAfter(2);
  (given.next().value as { address: string }).address = "changed";
  assert.equal(terminal.transaction(3)?.address, "127.0.0.1");
});

slow("payments whose till has left are bounded: the oldest ends", async () => {
  await using terminal = await terminalWith({ duration: 60, bounds: { left: 3 } });
  for (let count = 1; count <= 5; count++) {
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await came(terminal, count);
    peer.reset();
  }
  const under = () => terminal.transactions.filter(({ ended }) => !ended).length;
  await eventually(() => under() === 3, "three under way");
  assert.deepEqual(terminal.transactions.map(({ ended }) => ended !== undefined), [
    true,
    true,
    false,
    false,
    false,
  ]);
});

// ---------------------------------------------------------------- asleep

slow(
  "asleep, it refuses connections; what is under way goes on, and the journal stays",
  async () => {
    await using seen = await recorded({ interactive: true });
    const { terminal, port, events } = seen;
    await using peer = await Peer.connect(port);
    peer.send(`${DEBIT}\n`);
    await eventually(() => terminal.settings.waiting.length === 1, "waiting");
    terminal.pause();
    terminal.pause();
    assert.deepEqual([terminal.listening, terminal.settings.listening], [false, false]);
    await assert.rejects(Peer.connect(port));
    terminal.decide(1, "success");
    await peer.until(/AE00210.*CG/);
    peer.send(`${DEBIT}\n`); // a connection that is kept
    await came(terminal, 2);
    await terminal.resume();
    await terminal.resume();
    assert.deepEqual([terminal.listening, terminal.settings.listening], [true, true]);
    assert.equal((await ask(port, { ...BASE, CD: "I" }))["AE"], "10");
    assert.equal(terminal.transactions.length, 3);
    const told = events.map(({ event }) => event).filter((event) => /listening|asleep/.test(event));
    assert.deepEqual(told, ["listening", "asleep", "listening"]);
  },
);

slow("reset() wakes it up, close() ends it asleep", async () => {
  const terminal = await terminalWith();
  terminal.pause();
  terminal.reset("01");
  assert.equal(terminal.listening, false);
  terminal.reset();
  await eventually(() => terminal.listening, "awake");
  let answer: string | undefined;
  while (answer === undefined) {
    answer = await ask(terminal.port, DEBIT).then(({ AE }) => AE, () => undefined);
  }
  assert.equal(answer, "10");
  terminal.pause();
  await terminal.close();
  await terminal.resume();
  await assert.rejects(Peer.connect(terminal.port));
});

// ---------------------------------------------------------------- what it shows and prints

slow("print: the text in ZT goes to the log", async () => {
  await using seen = await recorded();
  const ZT = encodeReceipt({ copy: "customer", format: "text", text: "Merci\nà bientôt\x1b\x9b" });
  const request = { ...BASE, CD: "P" };
  assert.deepEqual(await ask(seen.port, { ...request, ZT }), { ...request, AE: "10" });
  logged(seen.log, "info", /^#1 printed:\n {2}Merci\n {2}à bientôt\\x1b\\x9b$/);
  await ask(seen.port, { ...request, ZT: "not a receipt" });
  logged(seen.log, "warn", /^#2 ZT: expected the fields CK and AK, got "not a receipt"$/);
});

slow("a model's screen tells what a duplicate has failed of", async () => {
  await using seen = await recorded({ model: "v240m", next: ["success", "refused"] });
  const duplicate = { ...BASE, CD: "3" };
  await ask(seen.port, duplicate); // takes what is queued
  logged(seen.log, "info", /^#1 screen:\n {2}DUPLICATA IMPOSSIBLE$/);
  await ask(seen.port, DEBIT);
  await ask(seen.port, duplicate);
  logged(seen.log, "info", /^#3 screen:\n {2}DERNIERE TRANSACTION NON ABOUTIE PAS DE DUPLICATA$/);
});

// ---------------------------------------------------------------- words

slowTable<[words: string, AF: string]>("an outcome in French", {
  "with an accent": ["refusé", "04"],
  "without one": ["refuse", "04"],
  "in capitals, of a card": ["REFUSÉE", "04"],
  "forbidden": ["interdit", "05"],
  "a time-out": ["expiré,délai=0", "08"],
}, async ([words, AF]) => {
  await using terminal = await terminalWith({ outcome: words as OutcomeText });
  assert.equal((await askAndClose(terminal.port, DEBIT))["AF"], AF);
  terminal.setOutcome("accepté" as OutcomeText);
  assert.equal((await ask(terminal.port, DEBIT))["AE"], "10");
});

test("silence in French", async () => {
  await using terminal = await terminalWith({ outcome: "silence" as OutcomeText });
  assert.equal(terminal.settings.outcome, "success,silent");
});
