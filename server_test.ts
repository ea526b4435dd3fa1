// SPDX-License-Identifier: GPL-3.0-or-later
// The terminal as a test suite has it: the requests it serves, what decides on them, and what it
// tells of them. What goes wrong on the network is in network_test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { pay } from "./client.ts";
import { encodeText as text, type Message, OptionError } from "./protocol.ts";
import {
  answering,
  answerTo,
  BOUNDS,
  checkOptions,
  decisionOf,
  type Handler,
  type Happened,
  Journal,
  listen,
  type Listening,
  type Outcome,
  type OutcomeText,
  type Request,
  tellers,
  telling,
  type TerminalEvent,
  type TerminalOptions,
} from "./server.ts";
import {
  ask,
  askAndClose,
  BASE,
  came,
  codes,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  failed,
  giveUp,
  HeldClock,
  LIMIT,
  listening,
  logged,
  named,
  onceLeft,
  patience,
  payAt,
  Peer,
  program,
  recorded,
  sideBySide,
  slow,
  slowTable,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

// ---------------------------------------------------------------- outcomes

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
    Object.keys(answerTo(DEBIT_MESSAGE, {}, {
      ...{ sellerContract: "1", time: new Date(), attempts: () => [], random: Math.random },
    })).map((tag) => [tag, ""]),
  );
  terminal.nextOutcome({ tags, hangup: true });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  assert.deepEqual([await peer.closed, peer.text], ["ended", ""]);
  const [answer] = named(events, "answer");
  assert.deepEqual([answer?.raw, answer?.message, answer?.["lost"]], ["", {}, undefined]);
  for (const [, line] of log) assert.doesNotMatch(line, /undefined/);
});

slow(
  "an outcome comes from the queue, then the default; an identification takes none",
  async () => {
    await using terminal = await terminalWith({ next: ["abandon"], outcome: "08" });
    await using peer = await Peer.connect(terminal.port);
    const failure = async (): Promise<string | undefined> => (await peer.ask(DEBIT))["AF"];
    assert.equal((await peer.ask({ ...BASE, CD: "I" }))["AE"], "10");
    assert.deepEqual([await failure(), await failure()], ["11", "08"]);
    terminal.nextOutcome("04", { failure: "05" });
    terminal.nextOutcome("07");
    const failures = [await failure(), await failure(), await failure(), await failure()];
    assert.deepEqual(failures, ["04", "05", "07", "08"]);
    assert.throws(() => terminal.nextOutcome("maybe" as OutcomeText), OptionError);
    assert.equal(await failure(), "08");
  },
);

slowTable<[words: OutcomeText, by: string, next?: true]>("what decided is told:", {
  "the standard outcome": ["refused", "outcome"],
  "the queue": ["refused", "next", true],
}, async ([words, by, next]) => {
  await using seen = await recorded(next ? { next: [words] } : { outcome: words });
  await ask(seen.port, DEBIT);
  const [decided] = named(seen.events, "decided");
  assert.deepEqual([decided?.["outcome"], decided?.["by"]], [words, by]);
  assert.equal(seen.terminal.transactions[0]?.decided, by);
  logged(seen.log, "info", new RegExp(`^#1 ${by}: ${words}$`));
});

slow("what decided is told: a function, and of what is refused nothing", async () => {
  await using seen = await recorded({ outcome: () => "04,delay=0" });
  await ask(seen.port, DEBIT);
  await ask(seen.port, "GET /");
  const told = named(seen.events, "decided").map(({ transaction, outcome, by }) => [
    transaction,
    outcome,
    by,
  ]);
  assert.deepEqual(told, [[1, "refused,delay=0", "function"]]);
  assert.deepEqual(seen.terminal.transactions.map(({ decided }) => decided), [
    "function",
    undefined,
  ]);
});

slow("an outcome can be a function, async or not", async () => {
  await using terminal = await terminalWith({
    outcome: ({ CB }, number) => {
      if (CB === "1") return "05";
      return Promise.resolve(number === 1 ? "refused" : { tags: { AC: `${number}` } });
    },
  });
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
  assert.equal((await ask(terminal.port, DEBIT))["AC"], "2");
  assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, CB: "1" }))["AF"], "05");
});

slow("a function that does not settle is waited for ten minutes, and no longer", async () => {
  const clock = new HeldClock();
  const never = (): Promise<OutcomeText> => new Promise(() => {});
  await using terminal = await terminalWith({ clock, outcome: never });
  const answer = ask(terminal.port, DEBIT);
  await clock.asleep(600_000);
  clock.pass(599_999);
  await sleep(20);
  assert.equal(terminal.transactions[0]?.ended, undefined);
  clock.pass(1);
  assert.equal((await answer)["AF"], "08");
  const [transaction] = terminal.transactions;
  assert.deepEqual(transaction?.warnings, [
    { code: "undecided", text: "nobody decided within 600 s, answered AF 08" },
  ]);
  assert.deepEqual([transaction?.outcome, transaction?.decided], [{ failure: "08" }, "function"]);
});

slow("a decision ends the wait for it", async () => {
  const clock = new HeldClock();
  const decided = Promise.withResolvers<OutcomeText>();
  await using terminal = await terminalWith({ clock, outcome: () => decided.promise });
  const answer = ask(terminal.port, DEBIT);
  await clock.asleep(BOUNDS.decide);
  decided.resolve("refused");
  assert.equal((await answer)["AF"], "04");
  assert.deepEqual(clock.sleeping, []);
});

slowTable<[chance: number, milliseconds: number, options?: OutcomeText]>("a delay", {
  "is the duration": [0.5, 60_000],
  "is the outcome's instead": [0.5, 100, "success,delay=0.1"],
  "from a range, the least": [0, 100, "success,delay=0.1..60"],
  "from a range, the most": [1, 60_000, "success,delay=0.1..60"],
  "from a range, in the middle": [0.5, 550, "success,delay=0.1..1"],
}, async ([chance, milliseconds, outcome = "success"]) => {
  const clock = new HeldClock();
  clock.chance = Math.min(chance, 0.999999);
  await using terminal = await terminalWith({ clock, duration: 60, outcome });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  const least = Math.floor(milliseconds) - 1;
  await eventually(() => clock.sleeping.some((left) => left >= least), "asleep");
  assert.equal(Math.round(clock.sleeping[0]!), milliseconds);
  assert.equal(peer.text, "");
  clock.pass(milliseconds);
  await peer.until(/AE00210/);
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

slow("a duplicate is about the last attempt of that cash register, and its amount", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using terminal = await terminalWith({
    outcome: ({ CB }) => CB === "600" ? decided.promise : "success",
  });
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
  const slow = ask(port, { ...DEBIT_MESSAGE, CB: "600" });
  await came(terminal, before + 1);
  assert.equal((await duplicate("01"))["CB"], "5"); // what is under way is no attempt yet
  decided.resolve("success,CB=6");
  await slow;
  assert.equal((await duplicate("01"))["CB"], "6");
  assert.equal((await ask(port, { ...DEBIT_MESSAGE, CB: "700", BA: "1" }))["AE"], "11");
  assert.equal((await duplicate("01"))["CB"], "700"); // whose answer did not tell that it was paid

  const result = await pay({ host: "127.0.0.1", port, action: "duplicate" });
  assert.equal(result.status, "approved");

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

slow("a collection that fails empties nothing", async () => {
  await using terminal = await terminalWith();
  await ask(terminal.port, DEBIT);
  terminal.nextOutcome("refused");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "B" }))["AE"], "01");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "3" }))["AE"], "10");
});

slow("an AE 11 without a final answer is an interim one, and no answer that was due", async () => {
  await using terminal = await terminalWith({ outcome: "pending,close,delay=0.05" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await peer.closed;
  const { interim, answer, answered, ended } = await terminal.waitForTransaction({
    timeout: LIMIT,
  });
  assert.deepEqual([interim?.message["AE"], interim?.raw], ["11", `${DEBIT}AE00211`]);
  assert.deepEqual([answer, answered], [undefined, undefined]);
  assert.ok(ended);
});

// ---------------------------------------------------------------- functions of the user

/** What is no outcome, as source text for a process of its own. */
const NO_OUTCOMES = [
  ...['{ card: "CBCONTACT" }', '{ failed: "04" }', "{ failure: 11 }", '{ delay: "55" }'],
  ...["{ tags: { CF: 1 } }", "undefined", "null", "5", "[]", "new Date()", '"maybe"'],
];

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
    for (const wrong of [${NO_OUTCOMES.join(", ")}]) {
      const terminal = await startTerminal({ ...options, outcome: async () => wrong });
      const answer = await ask(terminal.port);
      const { warnings } = terminal.transactions[0];
      console.log(answer.slice(-14), warnings.map(({ code }) => code).join(), reported.length);
      await terminal.close();
    }
    console.log(reported.every(({ message }) => /expected/.test(message)));`);
    const lines = Array.from(
      NO_OUTCOMES,
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
    // Of the log: listening, received, outcome, sent; of onEvent: listening and the four; of fail():
    // the four.
    assert.deepEqual([status, stdout], [0, "CZ00 request,decided,answer,closed 13\n"], stderr);
  },
);

// ---------------------------------------------------------------- what is told

sideBySide();

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
    decided: "outcome",
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
  assert.ok(answers.every(({ milliseconds = -1 }) => milliseconds >= 0 && milliseconds <= took));
  const about = { connection: 2, transaction: 2 };
  const error = `${named(events, "invalid")[0]?.["error"]}`;
  assert.match(error, /^at byte 12: expected the length of CB in three digits, got "x"/);
  const message = { ...DEBIT_MESSAGE, AE: "01", AF: "04" };
  assert.deepEqual(
    events.map(({ time: _time, ...event }) =>
      "milliseconds" in event ? { ...event, milliseconds: 0 } : event
    ),
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
      { event: "decided", connection: 1, transaction: 1, outcome: "refused", by: "next" },
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

slow("milliseconds are from the request's last byte, on the clock that does not jump", async () => {
  const clock = new HeldClock();
  await using seen = await recorded({ clock, outcome: "delay=1.5" });
  await using peer = await Peer.connect(seen.port);
  peer.send(`${DEBIT}\n`);
  await clock.asleep(1500);
  clock.pass(1500);
  await peer.until(/AE00210/);
  clock.pass(250);
  await peer.finish();
  await eventually(() => named(seen.events, "closed").length === 1, "closed");
  assert.equal(named(seen.events, "answer")[0]?.milliseconds, 1500);
  assert.deepEqual(seen.terminal.transactions[0]?.closed, { milliseconds: 1750, by: "pos" });
});

slow("the gap is inside the duration", async () => {
  const clock = new HeldClock();
  let reads = 0;
  await using terminal = await terminalWith({
    ...{ gap: 200, duration: 0.6, outcome: "refused" },
    clock: {
      now: () => (reads++, clock.now()),
      sleep: (milliseconds, until) => clock.sleep(milliseconds, until),
      random: () => 0,
    },
  });
  await using peer = await Peer.connect(terminal.port);
  peer.send(DEBIT);
  // Once when it connects; then the moment is that of the last byte.
  await eventually(() => reads > 1, "read");
  clock.pass(500);
  await clock.asleep(100);
  clock.pass(100);
  await peer.until(/AF00204$/);
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
    await using terminal = await terminalWith({
      outcome: ({ CB }) => CB === "100" ? "success,delay=60" : "success",
    });
    const other = terminal.waitForTransaction({ register: "02" });
    const timeless = terminal.waitForTransaction({ register: "03", timeout: 60_000 });
    await ask(terminal.port, DEBIT);
    await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "02" });
    await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "03" });
    assert.equal((await other).number, 2);
    assert.equal((await timeless).number, 3);
    await assert.rejects(
      terminal.waitForTransaction({ register: "02", timeout: 20 }),
      /no transaction of cash register 02 was over within 20 ms; nothing is under way/,
    );
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

slow("waitForTransaction() after a number gives the same one again", async () => {
  await using terminal = await terminalWith();
  for (const _ of [1, 2]) await ask(terminal.port, DEBIT);
  const given = [];
  for (const after of [1, 0, 1]) {
    given.push((await terminal.waitForTransaction({ after, timeout: LIMIT })).number);
  }
  assert.deepEqual(given, [2, 1, 2]);
  assert.equal((await terminal.waitForTransaction({ timeout: LIMIT })).number, 1);
  const third = terminal.waitForTransaction({ after: 2 });
  await ask(terminal.port, DEBIT);
  assert.equal((await third).number, 3);
});

slow("waitForTransaction() refuses a time that is none", async () => {
  await using terminal = await terminalWith();
  assert.throws(() => terminal.waitForTransaction({ timeout: NaN }), OptionError);
});

slow("reset() puts all back as it was started, and ends what is under way", async () => {
  await using terminal = await terminalWith({
    outcome: ({ CB }) => CB === "700" ? "success,delay=60" : "04",
    next: ["success", "05"],
  });
  const { port } = terminal;
  await using kept = await Peer.connect(port);
  assert.equal((await kept.ask(DEBIT))["AE"], "10"); // takes the first of the queue
  assert.equal((await ask(port, DEBIT))["AF"], "05");
  await using peer = await Peer.connect(port);
  peer.send(`${text({ ...DEBIT_MESSAGE, CB: "700" })}\n`);
  await came(terminal, 3);
  terminal.nextOutcome("07");
  const none = terminal.waitForTransaction({ register: "02" });

  terminal.reset();
  await assert.rejects(none, /the terminal was reset/);
  await peer.closed;
  assert.equal(peer.text, "");
  assert.deepEqual(terminal.transactions, []);
  await assert.rejects(terminal.waitForTransaction({ timeout: 10 }), /nothing is under way/);
  const answers = [];
  for (const _ of [1, 2, 3]) answers.push(await kept.ask({ ...DEBIT_MESSAGE, CF: "1" }));
  assert.deepEqual(answers.map(({ AE, AF }) => AF ?? AE), ["10", "05", "04"]);
  assert.deepEqual(terminal.transactions.map(({ number }) => number), [1, 2, 3]);
  terminal.reset();
  assert.equal((await kept.ask(DEBIT))["AE"], "10"); // and again
});

slow(
  "an outcome that was queued to start with cannot be changed by its first payment",
  async () => {
    const queued: Outcome = { tags: { CF: "1" } };
    await using terminal = await terminalWith({ next: [queued] });
    queued.tags!["CF"] = "2";
    assert.equal((await ask(terminal.port, DEBIT))["CF"], "1");
    terminal.transactions[0]!.outcome!.tags = { CF: "3" };
    terminal.reset();
    assert.equal((await ask(terminal.port, DEBIT))["CF"], "1");
  },
);

slow("a duplicate is found behind more requests than are kept", async () => {
  await using terminal = await terminalWith({ bounds: { transactions: 2 } });
  const paid = await ask(terminal.port, DEBIT);
  for (const _ of [1, 2, 3]) await ask(terminal.port, { ...BASE, CD: "I" });
  const again = await ask(terminal.port, { ...BASE, CD: "3" });
  assert.deepEqual([again["AE"], again["AC"]], ["10", paid["AC"]]);
});

slow("reset() forgets the last attempts", async () => {
  await using terminal = await terminalWith();
  await ask(terminal.port, DEBIT);
  const duplicate = async () => (await ask(terminal.port, { ...BASE, CD: "3" }))["AE"];
  assert.equal(await duplicate(), "10");
  terminal.reset();
  assert.equal(await duplicate(), "01");
});

slow("reset() is not told as what a till does wrong", async () => {
  await using seen = await recorded({ duration: 60 });
  await using peer = await Peer.connect(seen.port);
  peer.send(`${DEBIT}\n`);
  await came(seen.terminal, 1);
  seen.terminal.reset();
  await eventually(() => named(seen.events, "closed").length === 1, "closed");
  const told = seen.events.map(({ event }) => event);
  assert.deepEqual(told, ["listening", "request", "decided", "gone", "closed"]);
  assert.equal(named(seen.events, "closed")[0]?.["by"], "terminal");
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
  await eventually(() => other.length === 8, "eight events");
  assert.deepEqual(one, ["request", "decided", "answer", "closed"]);
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

// ---------------------------------------------------------------- what others build with it

/** A terminal that is put together as the workbench does it, and what happens inside it. */
async function built(
  layer: (next: Handler) => Handler,
  { judge, ...options }: TerminalOptions & { judge?: Parameters<typeof listen>[3] } = {},
): Promise<
  { listening: Listening; journal: Journal; happened: Happened[] } & AsyncDisposable
> {
  const settings = checkOptions({ port: 0, host: "127.0.0.1", duration: 0, ...options });
  const journal = new Journal(settings.bounds);
  const decide = (request: Request) => decisionOf(settings.outcome, request, journal);
  const { tell, listeners } = tellers(settings, journal);
  const happened: Happened[] = [];
  listeners.add((one) => void happened.push(one));
  const handler = layer(answering({ settings, journal, decide }));
  const listening = await listen(settings, handler, tell, judge);
  return { listening, journal, happened, [Symbol.asyncDispose]: () => listening.close() };
}

slow("a layer may answer instead of the terminal, and tell and note what it likes", async () => {
  const events: TerminalEvent[] = [];
  await using parts = await built((next) => (request, wire) => {
    if (request.register !== "02") return next(request, wire);
    request.noted = { between: 7 };
    request.tell("noted", () => ({ between: 7 }));
    request.warn({ code: "own", text: "of my own", tag: "CA" });
    wire.send("CZ0040300AE00201");
    return undefined;
  }, { onEvent: (event) => void events.push(event) });
  const { listening: { port }, journal, happened } = parts;
  assert.equal((await ask(port, DEBIT))["AE"], "10");
  const own = await ask(port, { ...DEBIT_MESSAGE, CA: "02" });
  assert.deepEqual(own, { CZ: "0300", AE: "01" });
  const [first, second] = [...journal.transactions()];
  assert.equal(first && "between" in first, false);
  assert.equal((second as { between?: number } | undefined)?.between, 7);
  assert.deepEqual(second?.warnings, [{ code: "own", text: "of my own", tag: "CA" }]);
  assert.deepEqual(journal.transaction(2)?.answer, second?.answer);
  assert.equal(journal.transaction(3), undefined);
  assert.deepEqual([...journal.transactions(0, "02"), ...journal.transactions(1)].length, 2);
  const told = events.filter(({ transaction }) => transaction === 2).map(({ event }) => event);
  assert.deepEqual(told, ["request", "noted", "warning", "answer"]);
  // What only listeners are told, no subscriber is.
  const inside = happened.filter(({ request }) => request?.number === 1).map(({ event }) => event);
  assert.deepEqual(inside, ["request", "decided", "due", "answered", "over"]);
});

slow("a journal gives the last 20 attempts of a register since its collection", async () => {
  await using parts = await built((next) => next, { gap: 5000, outcome: "refused,AC=1" });
  const { listening: { port }, journal } = parts;
  const amounts = (register: string): (string | undefined)[] =>
    journal.attempts(register).map(({ request }) => request["CB"]);
  await using peer = await Peer.connect(port);
  for (let CB = 101; CB <= 125; CB++) peer.send(`${text({ ...DEBIT_MESSAGE, CB: `${CB}` })}\n`);
  peer.send(`${text({ ...DEBIT_MESSAGE, CA: "02", CB: "7" })}\n`);
  await peer.until(/CA00202.*AF00204AC0011$/);
  assert.deepEqual(amounts("01"), Array.from({ length: 20 }, (_, at) => `${106 + at}`));
  const [attempt] = journal.attempts("02");
  assert.deepEqual([attempt?.answer["AF"], attempt?.request["CB"]], ["04", "7"]);
  peer.send(`${text({ ...BASE, CD: "B" })}\n`); // which fails, and empties nothing
  await peer.until(/CD001BAE00201/);
  assert.equal(amounts("01").length, 20);
});

slow("drop() ends one request of a connection, and the others go on", async () => {
  await using parts = await built((next) => next, {
    outcome: ({ CA }) => CA === "01" ? "success,delay=60" : "refused",
  });
  const { listening: { port, drop }, journal } = parts;
  await using peer = await Peer.connect(port);
  peer.send([`${DEBIT}\n`, `${text({ ...DEBIT_MESSAGE, CA: "02" })}\n`].join(""));
  await eventually(() => [...journal.transactions()].length === 2, "two requests");
  drop(({ register }) => register === "01");
  assert.match(await peer.until(/AF00204$/), /^CZ0040300CJ012012345678901CA00202/);
  const [first, second] = [...journal.transactions()];
  assert.deepEqual([first?.answer, second?.answer?.message["AF"]], [undefined, "04"]);
  assert.ok(first?.ended);
  assert.equal(peer.socket.destroyed, false);
});

slow("AE 11 leaves before it is decided, where the decision says so", async () => {
  const settings = checkOptions({ port: 0, host: "127.0.0.1", duration: 0 });
  const journal = new Journal(settings.bounds);
  const decided = Promise.withResolvers<Outcome>();
  const decide = () => ({ outcome: decided.promise, by: "person", pending: true });
  const { tell } = tellers(settings, journal);
  const listening = await listen(settings, answering({ settings, journal, decide }), tell);
  await using _ends = { [Symbol.asyncDispose]: () => listening.close() };
  await using peer = await Peer.connect(listening.port);
  peer.send(`${DEBIT}\n`);
  await peer.until(/AE00211$/);
  const [waiting] = [...journal.transactions()];
  assert.deepEqual([waiting?.interim?.message["AE"], waiting?.decided], ["11", undefined]);
  decided.resolve({ failure: "04", pending: true });
  assert.equal(await peer.until(/AF00204$/), `${DEBIT}AE00211${DEBIT}AE00201AF00204`);
  assert.equal(journal.transaction(1)?.decided, "person");
});

slow("what a request is judged by can be another", async () => {
  const judge = () => [{ code: "empty" as const, text: "of my own" }];
  await using parts = await built((next) => next, { strict: true, judge });
  assert.equal((await ask(parts.listening.port, DEBIT))["AF"], "09");
  assert.deepEqual(parts.journal.transaction(1)?.warnings, judge());
});

test("what a listener tells while it is told comes after", () => {
  const told: string[] = [];
  const tell = telling([
    ({ event }) => {
      if (event === "one") tell({ event: "two" });
    },
    ({ event }) => void told.push(event),
  ]);
  tell({ event: "one" });
  tell({ event: "three" });
  assert.deepEqual(told, ["one", "two", "three"]);
});

slow("an event is of its moment: what is noticed later changes none", async () => {
  await using seen = await recorded({ outcome: onceLeft("success") });
  await giveUp(seen.terminal, `${DEBIT}XX0011\n`);
  await eventually(() => codes(seen.terminal)?.length === 2, "two warnings");
  const [request] = named(seen.events, "request");
  assert.deepEqual((request?.["warnings"] as { code: string }[]).map(({ code }) => code), [
    "unknown-tag",
  ]);
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
    let outcome: OutcomeText = "success";
    await using seen = await recorded({ outcome: () => outcome });
    assert.equal((await payAt(seen.port)).status, "approved");
    outcome = "forbidden,delay=0.1";
    assert.equal((await payAt(seen.port)).failure?.code, "05");
    assert.deepEqual(
      seen.events.map(({ event }) => event).filter((event) => event !== "closed"),
      ["listening", "request", "decided", "answer", "request", "decided", "answer"],
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
    "zeros before the amount": ["success,padded", "approved"],
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
      outcome: ({ CB = "" }) => {
        if (CB.endsWith("01")) return "11";
        if (CB.endsWith("02")) return "silent";
        return CB.endsWith("03") ? "pending,delay=0.1" : "success";
      },
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

    const called = Promise.withResolvers<string>();
    await using pos = await listening(async (peer) => {
      await peer.closed;
      called.resolve(peer.text);
    });
    await using calling = await terminalWith({
      outcome: async (request) => {
        await using peer = await Peer.connect(pos.port);
        peer.send(text({ ...request, AE: "10" }));
        await peer.finish();
        return { fault: "close" };
      },
    });
    await assert.rejects(payAt(calling.port), failed("unanswered"));
    assert.equal(await called.promise, `${DEBIT}AE00210`);
  },
);
