// SPDX-License-Identifier: GPL-3.0-or-later
// What a proxy does to answers, and what it refuses to do.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText, type Message, OptionError } from "../protocol.ts";
import type { Fault, OutcomeText } from "../server.ts";
import { APPROVAL } from "../test_helpers.ts";
import { came, closed, happened, proxyTo } from "./proxy_helpers.ts";
import { type ProxyOptions, startProxy } from "./relay.ts";
import {
  ask,
  BASE,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  patience,
  payAt,
  Peer,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

const WHOLE = /AE00210.*CG006\d{6}$/;

slowTable(
  "what is done to the real terminal's answer, which is told all the same",
  {
    "truncate": ["truncate", (text) => /CG006\d{5}$/.test(text), "ended"],
    "close": ["close", (text) => text === "", "ended"],
    "reset": ["reset", (text) => text === "", "reset"],
    "garbage": ["garbage,hangup", (text) => text === "\x00\xff?!garbage\r\n", "ended"],
    "split": ["split,hangup", (text) => WHOLE.test(text), "ended"],
    "dribble": ["dribble,hangup", (text) => WHOLE.test(text), "ended"],
    "hangup": ["hangup", (text) => WHOLE.test(text), "ended"],
    "a tag, and one left out": [
      "CB=1,AI=,hangup",
      (text) => /CB0011.*AB004/.test(text) && !/AI/.test(text),
      "ended",
    ],
    "a tag more": ["AF=01,hangup", (text) => /CG006\d{6}AF00201$/.test(text), "ended"],
  } satisfies Record<string, [OutcomeText, (text: string) => boolean, "ended" | "reset"]>,
  async (
    [outcome, fits, how],
  ) => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, { next: [outcome as OutcomeText] });
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, how);
    assert.ok(fits(till.text), till.text);
    const { due, answer, outcome: told } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.equal(due?.verdict?.status, "approved");
    assert.match(due?.raw ?? "", /AE00210.*AC006\*{6}.*CG006\*{6}$/);
    assert.equal(answer?.raw.length ?? 0, till.text.length);
    assert.ok(told);
    await closed(seen.events);
    const kinds = seen.events.map(({ event }) => event);
    assert.deepEqual(kinds.slice(0, 4), ["listening", "request", "decided", "due"]);
    assert.ok(seen.log.some((line) => /^info #1 the terminal answered: CZ.*AE00210/.test(line)));
    assert.equal(real.transactions[0]?.gone, undefined);
    const end = seen.events.at(-1);
    assert.ok(end?.event === "closed" && end.by === "terminal" && !end.reset === (how !== "reset"));
  },
);

slow("silent: nothing is sent, and the connection stays until the POS closes it", async () => {
  await using real = await terminalWith();
  await using seen = await proxyTo(real.port, { outcome: "silent" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await eventually(() => seen.events.some(({ event }) => event === "due"), "due");
  await sleep(150);
  assert.deepEqual([till.text, till.socket.readyState], ["", "open"]);
  await till[Symbol.asyncDispose]();
  const { due, answer, gone } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual([due?.verdict?.status, answer, gone?.sent], ["approved", undefined, ""]);
});

slowTable("silent: the connection stays though the terminal closes or resets its own", {
  "closes": false,
  "resets": true,
}, async (resets) => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    if (!resets) return void peer.socket.end(APPROVAL, "latin1");
    peer.send(APPROVAL);
    await happened(seen.events, "due");
    peer.reset();
  });
  await using seen = await proxyTo(real.port, { outcome: "silent" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  const line = "info #1 the terminal has hung up, the POS waits: its answer is withheld";
  await eventually(() => seen.log.includes(line), line);
  assert.ok(seen.log.includes("info #1 sent nothing (silent)"));
  await sleep(150);
  assert.deepEqual([till.text, till.socket.readyState], ["", "open"]);
  till.socket.end();
  assert.equal(await till.closed, "ended");
  const { due, answer, gone } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual([due?.verdict?.status, answer, gone?.sent], ["approved", undefined, ""]);
  await closed(seen.events);
  const end = seen.events.at(-1);
  assert.ok(end?.event === "closed" && end.by === "pos", JSON.stringify(end));
});

slowTable("what stands right behind an answer goes out behind it", {
  "split": "split",
  "dribble": "dribble",
  "a tag": "CC=003",
  "delay": "delay=0.1",
}, async (outcome) => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(`${APPROVAL}\r\n`);
  });
  await using seen = await proxyTo(real.port, { outcome: outcome as OutcomeText });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await till.until(/\r\n$/);
  const sent = outcome === "CC=003" ? APPROVAL.replace("CC003001", "CC003003") : APPROVAL;
  assert.equal(till.text, `${sent}\r\n`);
  const { answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual([answer?.raw.length, answer?.ending], [sent.length, "\r\n"]);
});

slow("TAG=VALUE changes the tags it names, and leaves every other byte as it came", async () => {
  const doubled = `${APPROVAL}CI0011AB0011CC003002AB0012`;
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(doubled);
  });
  await using seen = await proxyTo(real.port, { outcome: "CI=2,AL=1,BA=" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  const expected = `${doubled.replace("CI0011", "CI0012").replace("BA0010", "")}AL0011`;
  assert.equal(await till.until(/AL0011$/), expected);
});

slow("TAG=VALUE on a malformed answer is not told as done", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(`${APPROVAL}xx`);
  });
  await using seen = await proxyTo(real.port, { next: ["CI=2", "CI=2,delay=0.1"] });
  for (const outcome of [undefined, "delay=0.1"]) {
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    await till.until(new RegExp(`^${APPROVAL}xx$`));
    const { warnings } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    const text = "CI not set: expected an answer that is well-formed";
    assert.deepEqual(warnings, [{ code: "not-set", text, about: { tags: "CI" } }]);
    assert.ok(seen.log.includes(`warn #${outcome ? 2 : 1} ${text}`));
    const told = seen.events.findLast((event) => event.event === "answer");
    assert.ok(told?.event === "answer");
    assert.equal(told.outcome, outcome);
  }
});

slow(
  "a terminal that closes while its answer is held: told is when the POS was closed",
  async () => {
    await using real = await terminalWith({ outcome: "hangup" });
    await using seen = await proxyTo(real.port, { outcome: "delay=0.4" });
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, "ended");
    await closed(seen.events);
    const end = seen.events.at(-1);
    assert.ok(end?.event === "closed" && end.by === "terminal");
    assert.ok((end.milliseconds ?? 0) >= 395, `${end.milliseconds}`);
  },
);

slow(
  "delay: the answer goes out so long after the request, not if the terminal takes longer",
  async () => {
    await using real = await terminalWith({ next: ["success", "success,delay=1.2"] });
    await using seen = await proxyTo(real.port, { outcome: "delay=0.8" });
    // What goes out as soon as the terminal has answered waits for no timer.
    const isAtOnce: boolean[] = [];
    seen.proxy.subscribe((due) => {
      if (due.event !== "due") return;
      const isOut = (): boolean =>
        seen.events.some((one) => one.event === "answer" && one.transaction === due.transaction);
      setTimeout(() => isAtOnce.push(isOut()), 0);
    });
    for (const least of [800, 1_200]) {
      const { milliseconds } = await payAt(seen.port);
      assert.ok(milliseconds >= least && milliseconds < least + 10_000, `${milliseconds}`);
    }
    const identified = await ask(seen.port, { ...BASE, CD: "I" });
    assert.equal(identified["AE"], "10");
    await eventually(() => isAtOnce.length === 3, "three answers");
    assert.deepEqual(isAtOnce.slice(1), [true, true]);
  },
);

slow("a POS that leaves while an answer is held: it is told what it lost", async () => {
  await using real = await terminalWith();
  await using seen = await proxyTo(real.port, { outcome: "delay=3" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await happened(seen.events, "due");
  await sleep(100); // a POS that leaves at once may be one that waits, as nc does
  await till[Symbol.asyncDispose]();
  const { due, answer, gone } = await seen.proxy.waitForTransaction({ timeout: 10_000 });
  assert.deepEqual([due?.verdict?.status, answer?.lost, gone?.sent], ["approved", "all", ""]);
});

slow("a POS that left before its changed answer is told the same of one in segments", async () => {
  await using real = await terminalWith();
  await using seen = await proxyTo(real.port, { outcome: "split,delay=3" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await happened(seen.events, "due");
  await sleep(100);
  till.socket.end(); // it may read on
  const { due, answer, gone } = await seen.proxy.waitForTransaction({ timeout: 10_000 });
  assert.deepEqual([due?.verdict?.status, answer?.lost, gone?.sent], ["approved", "all", ""]);
  assert.match(await till.until(/CG/), /AE00210/);
});

slow(
  "outcomes by amount, queued, and the one for all others; the answers around stay as they are",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, { when: { "*01": "CC=003" }, outcome: "CC=004" });
    seen.proxy.nextOutcomeOf("02", "CC=005");
    await using till = await Peer.connect(seen.port);
    const cards: (string | undefined)[] = [];
    const pay = async (request: Message): Promise<void> => {
      cards.push((await till.ask(request))["CC"]);
    };
    await pay({ ...DEBIT_MESSAGE, CB: "1101" });
    await pay(DEBIT_MESSAGE);
    await pay({ ...DEBIT_MESSAGE, CA: "02" });
    seen.proxy.setOutcome({});
    await pay(DEBIT_MESSAGE);
    seen.proxy.change({ when: {} });
    await pay({ ...DEBIT_MESSAGE, CB: "1101" });
    assert.deepEqual(cards, ["003", "004", "005", "001", "001"]);
    seen.proxy.reset();
    assert.equal(seen.proxy.settings.outcome, "success,CC=004");
    assert.deepEqual(seen.proxy.transactions, []);
  },
);

slow(
  "pipelined requests, one answer of them broken: the others are whole, and in their order",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, {
      when: { "200": "split,CC=003", "400": "silent" },
    });
    await using till = await Peer.connect(seen.port);
    const requests = ["100", "200", "300", "400", "500"].map((CB) => ({ ...DEBIT_MESSAGE, CB }));
    till.send(requests.map((request) => encodeText(request)).join(""));
    await till.until(/CB003500.*CG006\d{6}/);
    const found = [...till.text.matchAll(/CB003(\d+)AE00210CC003(\w+)CI/g)].map(([, ...of]) => of);
    assert.deepEqual(found, [["100", "001"], ["200", "003"], ["300", "001"], ["500", "001"]]);
  },
);

slowTable("an answer behind one whose connection was closed is told as lost", {
  "that comes while the other is sent": 0,
  "that comes after": 250,
}, async (pause) => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245[^]*22200/);
    peer.send(APPROVAL);
    await sleep(pause);
    peer.send(APPROVAL.replace("11245", "22200"));
  });
  await using seen = await proxyTo(real.port, { next: ["truncate"] });
  // So the first half is sent, and the till does not close at once when the proxy does.
  const socket = net.connect({ port: seen.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  await using till = new Peer(socket);
  till.send(DEBIT + DEBIT.replace("11245", "22200"));
  await happened(seen.events, "answer", 2);
  assert.equal(till.text, APPROVAL.slice(0, -1));
  const told = seen.events.filter((event) => event.event === "answer");
  assert.deepEqual(told.map(({ lost }) => lost), [undefined, "all"]);
  assert.ok(seen.log.some((line) => line.startsWith("info #1 not sent: CZ")));
  assert.ok(!seen.log.some((line) => line.startsWith("info #1 sent: CZ")));
});

slow("an AE 11 goes out before an answer that is broken", async () => {
  await using real = await terminalWith({ outcome: "pending,delay=0.3" });
  await using seen = await proxyTo(real.port, { outcome: "truncate" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  assert.equal(await till.closed, "ended");
  assert.match(till.text, /^CZ.*AE00211CZ.*AE00210.*CG006\d{5}$/);
});

slow("what stands before an answer that is broken goes through", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send("\x06");
    await came(till, "\x06");
    peer.send(`\x04${APPROVAL}`);
  });
  await using seen = await proxyTo(real.port, { outcome: "truncate" });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  assert.equal(await till.closed, "ended");
  assert.equal(till.text, `\x06\x04${APPROVAL.slice(0, -1)}`);
});

// ---------------------------------------------------------------- what is refused

table(
  "what only a simulated terminal can mean is refused",
  {
    "a failure": [
      { outcome: "refused" },
      /^outcome: expected a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest, got "refused"$/,
    ],
    "a card": [{ next: ["ancv"] }, /^next: expected a fault, .* got "success,ancv"$/],
    "pending": [{ when: { "1": "pending" } }, /^when: expected a fault, /],
    "an object": [{ outcome: { failure: "04" } }, /^outcome: expected a fault, /],
    "a function": [
      { outcome: () => "success" },
      /^outcome: expected an outcome or the words for it, got function$/,
    ],
    "duration": [
      { duration: 1 },
      /^duration: expected none: the real terminal decides that, got 1$/,
    ],
    "strict": [
      { strict: true },
      /^strict: expected none: the real terminal decides that, got true$/,
    ],
    "interactive": [{ interactive: true }, /^interactive: expected none: /],
    "a name that is none": [{ termnal: 1 }, /^options: expected names from /],
    "no terminal": [
      { terminal: undefined },
      /^terminal: expected an address or a name, .* got none$/,
    ],
    "a terminal with a path": [{ terminal: "http://1.2.3.4/" }, /^terminal: expected an address/],
    "a port that is none": [{ terminal: "1.2.3.4:0" }, /^terminal: expected an address/],
    "itself": [{ terminal: "localhost", port: 8888 }, /^terminal: expected another port than 8888/],
    "unmasked": [{ unmasked: 1 }, /^unmasked: expected true or false/],
  } satisfies Record<string, [object, RegExp]>,
  async ([options, pattern]) => {
    const all = { port: 0, terminal: "192.0.2.1", ...options } as unknown as ProxyOptions;
    await assert.rejects(startProxy(all), (error) => {
      assert.ok(error instanceof OptionError, String(error));
      assert.match(error.message, pattern);
      return true;
    });
  },
);

test("what a running proxy is told to do is held against the same", patience, async () => {
  await using real = await terminalWith();
  await using seen = await proxyTo(real.port);
  const { proxy } = seen;
  assert.throws(() => proxy.nextOutcome("refused"), OptionError);
  assert.throws(() => proxy.setOutcome("split,07"), OptionError);
  assert.throws(
    () => proxy.setOutcome(() => "split"),
    /outcome: expected an outcome or the words for it, got function/,
  );
  assert.throws(() => proxy.change({ duration: 1 }), /settings: expected names from outcome, when/);
  assert.equal(proxy.decide(1, "success"), false);
  assert.deepEqual(proxy.settings.next, []);
});

// ---------------------------------------------------------------- what an answer that is held ends with

type Both = { till: Peer; seen: Awaited<ReturnType<typeof proxyTo>> };

slowTable(
  "an answer that is held ends with",
  {
    "its till": ({ till }) => till.reset(),
    "a reset": ({ seen }) => seen.proxy.reset(),
    "a close": ({ seen }) => seen.proxy.close(),
  } satisfies Record<string, (both: Both) => unknown>,
  async (end) => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, { outcome: "delay=3600" });
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    await happened(seen.events, "due");
    const over = seen.proxy.waitForTransaction({ timeout: 5_000 }).catch(({ reason }) => reason);
    await end({ till, seen });
    const ended = await over;
    if (typeof ended !== "string") assert.equal(ended.answer?.lost, "all");
    await till.closed;
    await closed(seen.events);
    if (ended === "closed") return;
    seen.proxy.reset();
    seen.proxy.setOutcome({});
    assert.deepEqual(seen.proxy.transactions, []);
    await payAt(seen.port, { amount: "5" });
    const { number, request } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.deepEqual([number, request.message["CB"]], [1, "500"]);
  },
);

slow("a reset of one register ends nothing of another on the same connection", async () => {
  const asked = Promise.withResolvers<Peer>();
  await using real = await listening(async (peer) => {
    await peer.until(/CB00322/);
    asked.resolve(peer);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  const [one, other] = [{ ...DEBIT_MESSAGE, CB: "111" }, { ...DEBIT_MESSAGE, CA: "02", CB: "222" }];
  till.send(`${encodeText(one)}\n${encodeText(other)}\n`);
  const peer = await asked.promise;
  await eventually(() => seen.proxy.transactions.length === 2, "two requests");
  seen.proxy.reset("01");
  peer.send(`${encodeText({ ...one, AE: "10" })}\n${encodeText({ ...other, AE: "10" })}\n`);
  await till.until(/CB003222AE00210/);
  assert.doesNotMatch(till.text, /CB003111/);
  const { answer, gone } = await seen.proxy.waitForTransaction({ timeout: 5_000, register: "02" });
  assert.deepEqual([answer?.message["CB"], gone], ["222", undefined]);
});

slow("a fault of one's own works here too", async () => {
  await using real = await terminalWith();
  const fault: Fault = { help: "", send: (answer, wire) => wire.send(answer.toLowerCase()) };
  await using seen = await proxyTo(real.port, { next: [{ fault, hangup: true }] });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  assert.equal(await till.closed, "ended");
  assert.match(till.text, /^cz.*ae00210/);
});
