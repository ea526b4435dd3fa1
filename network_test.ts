// SPDX-License-Identifier: GPL-3.0-or-later
// The terminal on the network: what goes wrong with an answer, tills that leave, bounds, the end.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encodeText as text, type Message, ProtocolError } from "./protocol.ts";
import {
  addSegment,
  answering,
  BOUNDS,
  checkOptions,
  type Fault,
  Journal,
  listen,
  type OutcomeText,
  type Segment,
  tellers,
  type Terminal,
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
  giveUp,
  HeldClock,
  LIMIT,
  logged,
  named,
  onceLeft,
  patience,
  Peer,
  program,
  recorded,
  sideBySide,
  slow,
  slowTable,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

// ---------------------------------------------------------------- faults

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

slow("a fault of one's own acts on the way back, and has the clock", async () => {
  const clock = new HeldClock();
  const twice: Fault = {
    help: "the answer twice",
    async send(answer, wire, { sleep }) {
      wire.send(answer);
      await sleep.call(clock, 7000, wire.ended);
      wire.send(answer);
      wire.end();
    },
  };
  await using terminal = await terminalWith({ clock, next: [{ fault: twice, failure: "04" }] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await clock.asleep(7000);
  clock.pass(7000);
  const answer = `${DEBIT}AE00201AF00204`;
  assert.deepEqual([await peer.closed, peer.text], ["ended", answer + answer]);
  const { answer: sent } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual(sent?.segments, [
    { milliseconds: 0, bytes: answer.length },
    { milliseconds: 7000, bytes: answer.length },
  ]);
});

slow("many pauses of an answer leave no listener behind", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  let listeners = 0;
  const slowly: Fault = {
    help: "the answer after fifty pauses",
    async send(answer, wire, clock) {
      const { ended } = wire;
      const { addEventListener, removeEventListener } = ended;
      ended.addEventListener = (...args: Parameters<typeof addEventListener>) => {
        listeners++;
        addEventListener.apply(ended, args);
      };
      ended.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
        listeners--;
        removeEventListener.apply(ended, args);
      };
      for (let count = 0; count < 50; count++) await clock.sleep(1, ended);
      resolve(listeners);
      wire.send(answer);
    },
  };
  await using terminal = await terminalWith({ outcome: { fault: slowly, failure: "04" } });
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
  assert.equal(await promise, 0);
});

slow("padded: the amount has 12 digits, which a till takes for the same", async () => {
  await using terminal = await terminalWith({ next: ["refused,padded", "padded"] });
  assert.equal((await ask(terminal.port, DEBIT))["CB"], "000000011245");
  assert.equal((await ask(terminal.port, DEBIT))["CB"], "000000011245");
});

slow("hangup: the connection ends after the answer", async () => {
  await using seen = await watch("refused,hangup,split");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["ended", `${DEBIT}AE00201AF00204`]);
});

slow(
  "pending: AE 11 at once, the final answer after the delay on the same connection",
  async () => {
    const clock = new HeldClock();
    await using seen = await recorded({ clock, outcome: "refused,pending,delay=60" });
    await using peer = await Peer.connect(seen.port);
    peer.send(`${DEBIT}\n`);
    await peer.until(/AE00211$/);
    await clock.asleep(60_000);
    const interim = { raw: `${DEBIT}AE00211`, message: { ...DEBIT_MESSAGE, AE: "11" } };
    const waiting = seen.terminal.transactions[0];
    assert.deepEqual(waiting?.interim, { ...interim, milliseconds: 0 });
    assert.deepEqual([waiting?.answer, waiting?.ended], [undefined, undefined]);
    clock.pass(60_000);
    assert.equal(await peer.until(/AF00204$/), `${DEBIT}AE00211${DEBIT}AE00201AF00204`);
    const { answer } = await seen.terminal.waitForTransaction({ timeout: LIMIT });
    assert.deepEqual(answer?.raw, `${DEBIT}AE00201AF00204`); // of which AE 11 is none
    const told = named(seen.events, "answer").map(({ raw, milliseconds }) => [raw, milliseconds]);
    assert.deepEqual(told, [[interim.raw, 0], [answer?.raw, 60_000]]);
    logged(seen.log, "info", /^#1 sent: CZ.*AE00211\n/);
  },
);

slow("pending: no AE 11 before an answer for which nobody is asked", async () => {
  await using terminal = await terminalWith({ outcome: "pending" });
  await using peer = await Peer.connect(terminal.port);
  for (const request of [{ ...DEBIT_MESSAGE, BA: "1" }, { ...BASE, CD: "I" }]) {
    const { AE, CD } = await peer.ask(request); // which fails when there are two
    assert.equal(AE, CD === "I" ? "10" : "11");
  }
  assert.deepEqual(terminal.transactions.map(({ interim }) => interim), [undefined, undefined]);
});

slow("an answer that could not be written is not told as sent", async () => {
  await using seen = await recorded({ next: ["hangup,delay=0.1", "refused", "success"] });
  const { terminal, events } = seen;
  await using peer = await Peer.connect(seen.port);
  peer.send(`${DEBIT}\n`.repeat(3));
  assert.equal(await peer.closed, "ended");
  assert.match(peer.text, /^CZ.*AE00210/);
  await eventually(() => named(events, "closed").length === 1, "closed");
  const lost = named(events, "answer").map((answer) => answer["lost"]);
  assert.deepEqual(lost, [undefined, "all", "all"]);
  assert.deepEqual(terminal.transactions.map(({ answer }) => answer?.lost), [
    undefined,
    "all",
    "all",
  ]);
});

slowTable<OutcomeText>("nothing is served on a connection whose side the terminal has closed", {
  "hangup": "hangup",
  "close": "close",
  "truncate": "truncate",
}, async (outcome) => {
  await using terminal = await terminalWith({ next: [outcome, "refused"] });
  await using peer = await Peer.connect(terminal.port, { allowHalfOpen: true });
  peer.send(`${DEBIT}\n`);
  await once(peer.socket, "end");
  peer.send(`${DEBIT}\n`);
  peer.socket.end();
  await peer.closed;
  assert.equal(terminal.transactions.length, 1);
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
});

// ---------------------------------------------------------------- a POS that leaves

sideBySide();

slow("a till that gives up: its payment goes on and ends as its outcome says", async () => {
  const clock = new HeldClock();
  const decided = Promise.withResolvers<OutcomeText>();
  await using seen = await recorded({ clock, outcome: () => decided.promise });
  const { terminal, events, log } = seen;
  {
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await came(terminal, 1);
    clock.pass(3250);
  }
  await eventually(() => named(events, "gone").length === 1, "gone");
  decided.resolve("success,delay=10");
  await clock.asleep(6750);
  assert.equal(terminal.transactions[0]?.ended, undefined);
  clock.pass(6750);
  const { answer, answered, ended, gone, warnings, outcome } = await terminal
    .waitForTransaction({ timeout: LIMIT });
  assert.deepEqual(outcome, { failure: "", delay: 10 });
  assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
  assert.equal(answer?.raw, text({ ...answer?.message }));
  assert.ok(answered && ended);
  assert.deepEqual(gone, { milliseconds: 3250, sent: "" });
  assert.deepEqual(warnings, [{
    code: "impatient",
    text: "the POS gave up after 3.2 s: a person needs 10 to 60 s to pay",
  }]);
  await eventually(() => named(events, "closed").length === 1, "closed");
  const about = { connection: 1, transaction: 1 };
  assert.deepEqual(
    events.slice(1).map(({ time: _, event, ...told }) => {
      if (event === "gone") assert.deepEqual(told, { ...about, ...gone });
      if (event === "closed") assert.deepEqual(told, { connection: 1, by: "pos" });
      if (event !== "answer") return event;
      assert.deepEqual([told["lost"], told.raw, told.milliseconds], ["all", answer?.raw, 10_000]);
      return event;
    }),
    ["request", "gone", "warning", "decided", "answer", "closed"],
  );
  logged(log, "info", /^#1 the POS left after 3\.3 s$/);
  logged(log, "warn", /^#1 the POS gave up after 3\.2 s: a person needs 10 to 60 s to pay$/);
  logged(log, "info", /^#1 too late, the POS has gone: CZ0040300.*AE00210/);
});

slow("a till that gave up is told the same of an answer in segments", async () => {
  await using terminal = await terminalWith({ outcome: onceLeft("success,split") });
  await giveUp(terminal);
  const { answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
});

slowTable<[request: Message, milliseconds: number, told?: string]>("who gives up is impatient:", {
  "with money, at once": [DEBIT_MESSAGE, 100, "0.1"],
  "with money, within a minute": [DEBIT_MESSAGE, 59_999, "59.9"],
  "not after a minute": [DEBIT_MESSAGE, 60_000],
  "not without money": [{ ...BASE, CD: "B" }, 500],
}, async ([request, milliseconds, told]) => {
  const clock = new HeldClock();
  await using seen = await recorded({ clock, duration: 61 });
  const { terminal } = seen;
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${text(request)}\n`);
  await clock.asleep(61_000);
  clock.pass(milliseconds);
  peer.socket.end();
  await eventually(() => terminal.transactions[0]?.gone !== undefined, "gone");
  assert.deepEqual(codes(terminal), told ? ["impatient"] : []);
  if (told) logged(seen.log, "warn", new RegExp(`^#1 the POS gave up after ${told} s: a person`));
  else logged(seen.log, "info", /^#1 the POS left after \d+\.\d s$/);
});

// ---------------------------------------------------------------- AE 11

slowTable<[milliseconds: number, code: string, text: string]>(
  "a till that leaves after AE 11, before the answer,",
  {
    "at once": [
      0,
      "took-interim",
      "left 0 ms after AE 11: AE 11 is not the result: read on until AE",
    ],
    "within 5 s": [4999, "took-interim", "left 4999 ms after AE 11: AE 11 is not the result"],
    "later": [5000, "impatient", "gave up after 5.0 s: a person needs 10 to 60 s to pay"],
  },
  async ([milliseconds, code, text]) => {
    const clock = new HeldClock();
    await using seen = await recorded({ clock, next: ["pending,delay=30"] });
    const { terminal, events } = seen;
    const peer = await Peer.connect(seen.port);
    peer.send(`${DEBIT}\n`);
    await peer.until(/AE00211$/);
    await clock.asleep(30_000);
    clock.pass(milliseconds);
    peer.socket.destroy();
    await eventually(() => named(events, "gone").length === 1, "gone");
    clock.pass(30_000);
    const { interim, answer, gone, warnings } = await terminal
      .waitForTransaction({ timeout: LIMIT });
    const AE11 = `${DEBIT}AE00211`;
    assert.deepEqual([interim?.raw, interim?.milliseconds], [AE11, 0]);
    assert.deepEqual(gone, { milliseconds, sent: AE11 });
    assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
    assert.deepEqual(warnings.map((warning) => warning.code), [code]);
    assert.match(warnings[0]?.text ?? "", new RegExp(`^the POS ${text}`));
    const again = await ask(terminal.port, { ...BASE, CD: "3" });
    assert.equal(again["AC"], answer?.message["AC"]); // it was paid all the same
  },
);

slow(
  "AE 11 leaves a turn of the event loop later: a FIN with the request counts as before",
  async () => {
    const clock = new HeldClock();
    const settings = checkOptions({ port: 0, host: "127.0.0.1", clock });
    const journal = new Journal(settings.bounds);
    const outcome = { failure: "04", pending: true, delay: 30 };
    const handle = answering({ settings, journal, decide: () => ({ outcome, by: "outcome" }) });
    let turns = 0;
    const { tell } = tellers(settings, journal);
    const listening = await listen(settings, (request, wire) => {
      clock.turn = () => {
        turns++;
        assert.equal(request.interim, undefined);
        return eventually(() => request.left.aborted, "the FIN");
      };
      return handle(request, wire);
    }, tell);
    await using _ends = { [Symbol.asyncDispose]: () => listening.close() };
    await using peer = await Peer.connect(listening.port);
    peer.send(`${DEBIT}\n`);
    peer.socket.end();
    await clock.asleep(30_000);
    assert.notEqual(turns, 0);
    clock.pass(30_000);
    assert.equal(await peer.closed, "ended");
    assert.equal(peer.text, `${DEBIT}AE00211${DEBIT}AE00201AF00204`);
    const transaction = journal.transaction(1);
    assert.deepEqual([transaction?.gone, transaction?.warnings], [undefined, []]);
    assert.equal(transaction?.answer?.lost, undefined);
  },
);

// ---------------------------------------------------------------- a POS that leaves, or stays

sideBySide();

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
    "decided",
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
    assert.equal(named(events, "closed").at(-1)?.["by"], by);
  }
});

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
    await using small = await terminalWith({ bounds: { requestBytes: 100 } });
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

test("a connection on which nothing comes is probed or not, which does no harm", async () => {
  for (const keepAlive of [40, 0]) {
    await using terminal = await terminalWith({ bounds: { keepAlive } });
    await using peer = await Peer.connect(terminal.port);
    await sleep(100);
    assert.equal((await peer.ask(DEBIT))["AE"], "10");
  }
});

test(
  "a peer that does not read its answers is dropped, and none is told as sent that was not",
  patience,
  async () => {
    await using seen = await recorded({
      gap: 5000,
      bounds: { unreadBytes: 10_000, requestBytes: 2 ** 20 },
    });
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
    assert.notEqual(answers.at(-1)?.["lost"], undefined);
    assert.equal(named(events, "closed")[0]?.["by"], "terminal");
    assert.equal((await ask(port, `${DEBIT}\n`))["AE"], "10"); // which is served all the same
  },
);

slow("connections beyond the bound are closed", async () => {
  await using seen = await recorded({
    bounds: { connections: 2 },
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
    await using terminal = await terminalWith({ outcome: "refused", bounds: { request: 60_000 } });
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
  await using terminal = await terminalWith({ bounds: { request: 2000 }, outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  for (const _ of [1, 2]) assert.equal((await peer.ask(DEBIT))["AF"], "04");
  await sleep(2050);
  assert.equal(peer.socket.writable, true);
  assert.equal((await peer.ask(DEBIT))["AF"], "04");
});

slow("after a request that took too long nothing more is read", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using terminal = await terminalWith({
    bounds: { request: 50 },
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
    await using seen = await recorded({
      bounds: { request: 1500 },
      outcome: () => decided.promise,
    });
    await using peer = await Peer.connect(seen.port);
    peer.send(`${DEBIT}\n`.repeat(1_000) + DEBIT.slice(0, 43));
    await eventually(() => named(seen.events, "request").length === 1_000, "1,000 requests");
    peer.send(`${DEBIT.slice(43)}\n`);
    await sleep(1600); // longer than a request may take
    decided.resolve("04");
    await eventually(() => named(seen.events, "answer").length === 1_001, "1,001 answers");
    assert.equal(named(seen.events, "answer").at(-1)?.message?.["AF"], "04");
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

/** How each of them ends; the others wait for a decision. */
const AMOUNTS = new Map<string, OutcomeText>([
  ["1", "success,delay=60"],
  ["2", "pending,delay=60"],
  ["3", "dribble"],
  ["4", "silent"],
]);

for (const end of ["close", "reset"] as const) {
  slow(`${end}() ends whatever is under way, and nothing happens after it`, async () => {
    const seen = await recorded({
      outcome: ({ CD, CB = "" }) => {
        const words = AMOUNTS.get(CB);
        if (words !== undefined || CD === "I") return words ?? "success";
        return new Promise<OutcomeText>(() => {});
      },
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
    // That of a POS that has sent no request is not told.
    const told = names.length + 1 - (end === "close" ? 2 : open.length);
    await eventually(() => named(events, "closed").length === told, "closed");
    const count = events.length;
    await sleep(50);
    assert.equal(events.length, count);
    const late = named(events, "answer").filter(({ message }) => message?.["CF"] === "gone");
    assert.deepEqual(late, []);
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

// ---------------------------------------------------------------- segments, on a clock that is held

sideBySide();

/** Lets pauses go by until a condition holds. */
async function passing(
  clock: HeldClock,
  milliseconds: number,
  condition: () => boolean,
  what: string,
): Promise<void> {
  await eventually(() => {
    if (condition()) return true;
    if (clock.sleeping.length > 0) clock.pass(milliseconds);
    return false;
  }, what);
}

slowTable<[pause: number, pieces: string[]]>(
  "the answer comes in segments, each of which arrives by itself, of the fault",
  {
    // In a tag, a length and a value.
    "split": [250, ["CZ0040", DEBIT.slice(6) + "AE0", "0201", "A", "F00204"]],
    "dribble": [5, [...`${DEBIT}AE00201AF00204`]],
  },
  async ([pause, pieces]) => {
    const clock = new HeldClock();
    const fault = pause === 5 ? "dribble" : "split";
    await using terminal = await terminalWith({ clock, outcome: `refused,${fault}` });
    await using peer = await Peer.connect(terminal.port);
    const chunks: string[] = [];
    peer.socket.on("data", (chunk: string) => chunks.push(chunk));
    peer.send(`${DEBIT}\n`);
    for (const [at, piece] of pieces.entries()) {
      if (at > 0) {
        await clock.asleep(pause);
        clock.pass(pause);
      }
      await eventually(() => chunks.length === at + 1, `"${piece}"`);
    }
    assert.deepEqual(chunks, pieces);
    const { answer } = await terminal.waitForTransaction({ timeout: LIMIT });
    const segments = pieces.map((piece, at) => ({ milliseconds: at * pause, bytes: piece.length }));
    assert.deepEqual(answer?.segments?.slice(0, 99), segments.slice(0, 99));
  },
);

slowTable<[fault: "split" | "dribble", leave: (peer: Peer) => unknown]>(
  "a till that closes in the middle of an answer",
  {
    "split, by closing its side": ["split", (peer) => peer.socket.end()],
    "split, altogether": ["split", (peer) => peer.socket.destroy()],
    "split, with a reset": ["split", (peer) => peer.reset()],
    "dribble, by closing its side": ["dribble", (peer) => peer.socket.end()],
    "dribble, altogether": ["dribble", (peer) => peer.socket.destroy()],
    "dribble, with a reset": ["dribble", (peer) => peer.reset()],
  },
  async ([fault, leave]) => {
    const clock = new HeldClock();
    await using seen = await recorded({ clock, next: [`success,${fault}`] });
    const { terminal, port, events, log } = seen;
    const pause = fault === "split" ? 250 : 5;
    const peer = await Peer.connect(port);
    peer.send(`${DEBIT}\n`);
    await passing(clock, pause, () => peer.text.length > 3, "some of the answer");
    leave(peer);
    await eventually(() => named(events, "gone").length > 0, "gone");
    await passing(clock, pause, () => named(events, "answer").length > 0, "over");
    const { answer, gone, warnings } = await terminal.waitForTransaction({ timeout: LIMIT });
    const whole = `${DEBIT}AE00210`;
    assert.equal(answer?.lost, "rest");
    assert.ok(answer.raw.length > 3 && answer.raw.length < 190, answer.raw);
    assert.equal(answer.raw.slice(0, whole.length), whole.slice(0, answer.raw.length));
    assert.equal(gone?.sent, answer.raw);
    assert.deepEqual(warnings, [{
      code: "read-once",
      text:
        `the POS left after ${answer.raw.length} bytes of the answer were sent: it must read on until the answer is whole`,
    }]);
    assert.deepEqual(named(events, "gone").map(({ sent }) => sent), [answer.raw]);
    assert.deepEqual(named(events, "answer").map(({ lost, raw }) => [lost, raw]), [
      ["rest", answer.raw],
    ]);
    logged(log, "warn", /^#1 the POS left after \d+ bytes of the answer were sent/);
    logged(log, "info", /^#1 sent in part: CZ00/);
    await eventually(() => named(events, "closed").length === 1, "closed");
    assert.equal((await ask(port, { ...BASE, CD: "3" }))["AE"], "10"); // it was paid all the same
  },
);

slow("the segments of an answer are sent at once, and not put together by the system", async () => {
  const settings = checkOptions({ port: 0, host: "127.0.0.1", duration: 0 });
  const journal = new Journal(settings.bounds);
  const outcome = { failure: "04", fault: "split" } as const;
  const handle = answering({ settings, journal, decide: () => ({ outcome, by: "outcome" }) });
  let delayed = true;
  const { tell } = tellers(settings, journal);
  const listening = await listen(settings, (request, wire) => {
    const { socket } = request.line;
    const { setNoDelay } = socket;
    socket.setNoDelay = (isOn = true) => {
      delayed = !isOn;
      return setNoDelay.call(socket, isOn);
    };
    return handle(request, wire);
  }, tell);
  await using _ends = { [Symbol.asyncDispose]: () => listening.close() };
  await using peer = await Peer.connect(listening.port);
  peer.send(`${DEBIT}\n`);
  await peer.until(/AF00204$/);
  assert.equal(delayed, false);
});

slowTable("a POS that closes its side after the request, as nc does, gets its answer", {
  "without a line end": DEBIT,
  "with a line end": `${DEBIT}\n`,
}, async (request) => {
  const clock = new HeldClock(); // until it has closed its side no time goes by
  await using seen = await recorded({ clock, outcome: onceLeft("refused,delay=30") });
  const answer = askAndClose(seen.port, request);
  await clock.asleep(30_000);
  clock.pass(30_000);
  assert.equal((await answer)["AF"], "04");
  const transaction = await seen.terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([transaction.gone, transaction.warnings], [undefined, []]);
  assert.equal(transaction.answer?.lost, undefined);
  assert.deepEqual(named(seen.events, "gone"), []);
});

slow(
  "requests of a connection are handled one after another, each when the one before is over",
  async () => {
    const decisions = [1, 2, 3].map(() => Promise.withResolvers<OutcomeText>());
    const asked: number[] = [];
    await using terminal = await terminalWith({
      outcome: (_request, number) => {
        asked.push(number);
        return decisions[number - 1]!.promise;
      },
    });
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`.repeat(3));
    await came(terminal, 3);
    for (const [at, { resolve }] of decisions.entries()) {
      assert.deepEqual(asked, [1, 2, 3].slice(0, at + 1));
      resolve("refused");
      await peer.until(new RegExp(`(AF00204.*){${at + 1}}`));
      await eventually(() => asked.length >= Math.min(at + 2, 3), "the next");
    }
    assert.deepEqual(terminal.transactions.map(({ number, answer }) => [number, answer?.lost]), [
      ...[[1, undefined], [2, undefined], [3, undefined]],
    ]);
  },
);

// ---------------------------------------------------------------- times that are up

slow(
  "fields that keep coming without making a request are given up, and the connection closed",
  async () => {
    await using terminal = await terminalWith({ bounds: { request: 300 }, gap: 60_000 });
    await using peer = await Peer.connect(terminal.port);
    const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
    for (const letter of [...letters, ...letters]) {
      if (/AF00209$/.test(peer.text)) break; // from the first on, and not anew with each
      peer.send(`W${letter}0011`);
      await sleep(50);
    }
    assert.match(await peer.until(/AF00209$/), /^CZ0040300WA0011.*AE00201AF00209$/);
    await peer.closed;
  },
);

slow("mandatory tags are waited for, other fields are not", async () => {
  await using hasty = await terminalWith({ outcome: "refused", gap: 0 });
  await using peer = await Peer.connect(hasty.port);
  const started = performance.now();
  peer.send("CZ0040300CA00201");
  await peer.until(/CZ0040300CA00201AE00201AF00209$/);
  const waited = performance.now() - started;
  assert.ok(waited >= 290, `${waited} ms`);
  await using patient = await terminalWith({ outcome: "refused", gap: 5000 });
  await using other = await Peer.connect(patient.port);
  other.send("CZ0040300CJ012012345678901CA00201CD0010CE003978");
  await sleep(350); // a gap above 300 ms is waited for, too
  other.send("CB00511245\n");
  assert.match(await other.until(/AF002\d\d$/), /^CZ.*CB00511245AE00201AF00204$/);
});

slowTable<[used: boolean, name: "idle" | "keep", dropped: RegExp]>(
  "a connection is closed after a while",
  {
    "without any request": [false, "idle", /^#1 dropped: no request has come for 1500 ms$/],
    "with a request, after another": [true, "keep", /^#1 dropped: nothing has come for 1500 ms$/],
  },
  async ([used, name, dropped]) => {
    await using seen = await recorded({ outcome: "refused", bounds: { [name]: 1500 } });
    const started = performance.now();
    await using left = await Peer.connect(seen.port);
    await using kept = await Peer.connect(seen.port);
    await (used ? left : kept).ask(`${DEBIT}\n`);
    await left.closed;
    assert.ok(performance.now() - started >= 1400);
    logged(seen.log, "warn", dropped);
    assert.equal((await kept.ask(`${DEBIT}\n`))["AF"], "04");
  },
);

slow("neither time is up while a payment is under way", async () => {
  const decided = [1, 2].map(() => Promise.withResolvers<OutcomeText>());
  await using terminal = await terminalWith({
    bounds: { idle: 1000, keep: 1000 },
    outcome: (_request, number) => decided[number - 1]!.promise,
  });
  await using peer = await Peer.connect(terminal.port);
  for (const [at, { resolve }] of decided.entries()) {
    peer.text = "";
    peer.send(`${DEBIT}\n`);
    await came(terminal, at + 1);
    await sleep(2200);
    resolve("success");
    await peer.until(/AE00210/);
  }
});

slow(
  "a peer that does not close its side after the terminal has is cut off after a while",
  async () => {
    assert.equal(BOUNDS.close, 5000);
    await using seen = await recorded({ outcome: "hangup", bounds: { close: 500 } });
    await using peer = await Peer.connect(seen.port, { allowHalfOpen: true });
    const started = performance.now();
    peer.send(`${DEBIT}\n`);
    await once(peer.socket, "end");
    await eventually(() => named(seen.events, "closed").length === 1, "closed");
    const took = performance.now() - started;
    assert.ok(took >= 490, `${took} ms`);
    assert.deepEqual(named(seen.events, "closed")[0]?.["by"], "terminal");
  },
);

// ---------------------------------------------------------------- what is kept

slow(
  "a request that comes byte by byte keeps at most 100 segments, which are all of it",
  async () => {
    await using terminal = await terminalWith({ gap: 5000 });
    await using peer = await Peer.connect(terminal.port);
    const raw = text({ ...DEBIT_MESSAGE, CF: "x".repeat(90) });
    for (const byte of `${raw}\n`) {
      peer.send(byte);
      await sleep(1);
    }
    await peer.until(/AE00210/);
    const segments = terminal.transactions[0]?.request.segments ?? [];
    assert.ok(segments.length <= 100, `${segments.length}`);
    assert.equal(segments.reduce((sum, { bytes }) => sum + bytes, 0), raw.length + 1);
  },
);

test("of very many segments the last that is told stands for the rest", () => {
  const segments: Segment[] = [];
  for (let at = 0; at < 12_000; at++) addSegment(segments, at, 2);
  assert.equal(segments.length, 100);
  assert.deepEqual(segments[98], { milliseconds: 98, bytes: 2 });
  assert.deepEqual(segments[99], { milliseconds: 11_999, bytes: 2 * (12_000 - 99) });
});

slow("no more bytes of requests are kept than the bound, and the last at least", async () => {
  await using terminal = await terminalWith({ gap: 5000, bounds: { transactionBytes: 5000 } });
  await using peer = await Peer.connect(terminal.port);
  const request = text({ ...DEBIT_MESSAGE, CD: "I", CF: "x".repeat(900) });
  peer.send(`${request}\n`.repeat(20));
  await eventually(() => terminal.transactions.at(-1)?.number === 20, "20 requests");
  const kept = Math.floor(5000 / request.length);
  assert.deepEqual(terminal.transactions.map(({ number }) => number), [
    ...Array.from({ length: kept }, (_, at) => 21 - kept + at),
  ]);
});

slow("payments whose till has left are bounded, and of more the oldest ends", async () => {
  await using seen = await recorded({
    bounds: { left: 2 },
    outcome: () => new Promise<OutcomeText>(() => {}),
  });
  const { terminal } = seen;
  for (const count of [1, 2, 3]) {
    const peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await came(terminal, count);
    peer.reset();
    await eventually(() => named(seen.events, "closed").length === count, "closed");
  }
  await eventually(() => terminal.transactions[0]?.ended !== undefined, "the end of the first");
  const [first, ...others] = terminal.transactions;
  assert.deepEqual([first?.answer, first?.answered], [undefined, undefined]);
  assert.deepEqual(others.map(({ ended }) => ended), [undefined, undefined]);
  assert.equal((await terminal.waitForTransaction({ timeout: LIMIT })).number, 1);
  await assert.rejects(
    terminal.waitForTransaction({ timeout: 10 }),
    /under way: transaction 2 \(.*\) for .* s, transaction 3 \(/,
  );
});

slow(
  "a connection on which more bytes wait than the bound is not read, and all is answered",
  async () => {
    const decided = Promise.withResolvers<OutcomeText>();
    await using terminal = await terminalWith({
      bounds: { waitingBytes: 10_000 },
      outcome: () => decided.promise,
    });
    await using peer = await Peer.connect(terminal.port);
    const request = `${text({ ...DEBIT_MESSAGE, CF: "x".repeat(900) })}\n`;
    peer.send(request.repeat(500)); // more than a chunk
    await came(terminal, 10);
    await sleep(100);
    assert.ok(terminal.transactions.length < 400, `${terminal.transactions.length} were read`);
    decided.resolve("04");
    await peer.until(/^(CZ[^C]*(?:C[^Z][^C]*)*AF00204){500}$/);
  },
);

slow(
  "beyond the bytes that wait on all connections no POS gets ahead of its answers, others pay",
  async () => {
    const decided = Promise.withResolvers<OutcomeText>();
    await using terminal = await terminalWith({
      bounds: { allWaitingBytes: 10_000 },
      outcome: ({ CA }) => CA === "02" ? "success" : decided.promise,
    });
    await using one = await Peer.connect(terminal.port);
    await using other = await Peer.connect(terminal.port);
    const request = `${text({ ...DEBIT_MESSAGE, CF: "x".repeat(900) })}\n`;
    for (const peer of [one, other]) peer.send(request.repeat(500)); // more than a chunk
    await came(terminal, 20);
    await sleep(100);
    assert.ok(terminal.transactions.length < 800, `${terminal.transactions.length} were read`);
    await using third = await Peer.connect(terminal.port);
    third.send(`${text({ ...DEBIT_MESSAGE, CA: "02" })}\n`);
    await third.until(/AE00210/);
    decided.resolve("04");
    for (const peer of [one, other]) {
      await peer.until(/^(CZ[^C]*(?:C[^Z][^C]*)*AF00204){500}$/);
    }
  },
);

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
  await using terminal = await terminalWith({ gap: 0, bounds: { request: 20 } });
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
