// SPDX-License-Identifier: GPL-3.0-or-later
// Between a till and a terminal: what goes through, what is told and masked, broken, played, compared.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  encodeReceipt,
  encodeText,
  jsonLine,
  type LogLevel,
  type Message,
  OptionError,
} from "./protocol.ts";
import {
  compareRecording,
  type Comparison,
  type Proxy,
  type ProxyOptions,
  startProxy,
  startReplay,
} from "./proxy.ts";
import { type ModelName, MODELS, type OutcomeText, type TerminalEvent } from "./server.ts";
import {
  APPROVAL,
  ask,
  BASE,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  patience,
  payAt,
  Peer,
  run,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";
import { startWeb } from "./web.ts";

/** A proxy on a free port of this machine, and all that it tells. */
async function proxyTo(
  port: number,
  options: Omit<ProxyOptions, "terminal"> = {},
): Promise<
  {
    proxy: Proxy;
    port: number;
    events: TerminalEvent[];
    log: string[];
    recording: () => string;
  } & AsyncDisposable
> {
  const events: TerminalEvent[] = [];
  const log: string[] = [];
  const proxy = await startProxy({
    port: 0,
    host: "127.0.0.1",
    terminal: `127.0.0.1:${port}`,
    onEvent: (event) => void events.push(event),
    log: (level: LogLevel, text) => void log.push(`${level} ${text}`),
    ...options,
  });
  return {
    proxy,
    port: proxy.port,
    events,
    log,
    recording: () => events.map(jsonLine).join(""),
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}

/** A recording of what tills do at a simulated terminal, through a proxy. */
async function recordingOf(
  use: (port: number, proxy: Proxy) => Promise<unknown>,
  options: Parameters<typeof terminalWith>[0] = {},
): Promise<string> {
  await using terminal = await terminalWith(options);
  await using seen = await proxyTo(terminal.port);
  await use(seen.port, seen.proxy);
  const connections = new Set(
    seen.events.map((event) => "connection" in event && event.connection),
  );
  connections.delete(false);
  await closed(seen.events, connections.size);
  return prompt(seen.recording());
}

/** Resolves when something of a kind has been told, so many times. */
function happened(
  events: readonly TerminalEvent[],
  kind: TerminalEvent["event"],
  count = 1,
): Promise<void> {
  return eventually(
    () => events.filter(({ event }) => event === kind).length >= count,
    `${count} ${kind}`,
  );
}

/** Resolves when so many connections are closed. */
function closed(events: readonly TerminalEvent[], count = 1): Promise<void> {
  return happened(events, "closed", count);
}

/** Resolves when all that was sent has come: what is sent then is a segment of its own. */
function came(peer: Peer, text: string): Promise<void> {
  return eventually(() => peer.text.length >= text.length, `all of "${text}" at the other side`);
}

/** What work gives, and whether the machine stalled meanwhile: longer than all else here takes. */
async function watched<T>(work: Promise<T>): Promise<{ result: T; isStalled: boolean }> {
  let [last, longest] = [performance.now(), 0];
  const look = (): void => {
    const now = performance.now();
    [last, longest] = [now, Math.max(longest, now - last)];
  };
  const timer = setInterval(look, 10);
  try {
    const result = await work;
    look();
    return { result, isStalled: longest > 200 };
  } finally {
    clearInterval(timer);
  }
}

/** Compares a recording. An answer at once that a stall has made late is at once. */
async function compare(...args: Parameters<typeof compareRecording>): Promise<Comparison[]> {
  const { result, isStalled } = await watched(compareRecording(...args));
  return result.map((comparison) => {
    const differences = comparison.differences.filter(({ what, simulated }) =>
      !(isStalled && what === "time" && simulated === "after seconds")
    );
    return { ...comparison, differences };
  });
}

/** A recording of a terminal that answers at once, whatever a busy machine took for that. */
function prompt(recording: string): string {
  return recording.replace(/(?<="milliseconds":)\d{4,}/g, "999");
}

/** What happened, without what is not the same each time. */
function timeless(events: readonly TerminalEvent[]): unknown[] {
  return events.slice(1).map(({ time: _, ...event }) => {
    const told: Record<string, unknown> = { ...event };
    if ("milliseconds" in told) told["milliseconds"] = "some";
    return told;
  });
}

/** What a socket receives, as it was cut. */
function chunksOf(peer: Peer): string[] {
  const chunks: string[] = [];
  peer.socket.on("data", (chunk: string) => chunks.push(chunk));
  return chunks;
}

/** All bytes, those that are no message among them. */
const ALL_BYTES = String.fromCharCode(...Array.from({ length: 256 }, (_, index) => index));

// ---------------------------------------------------------------- what goes through

sideBySide();

slow("bytes go through both ways as they are and as they were cut, whatever they are", async () => {
  const arrived = Promise.withResolvers<{ peer: Peer; chunks: string[] }>();
  await using real = await listening((peer) => arrived.resolve({ peer, chunks: chunksOf(peer) }));
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  const answers = chunksOf(till);
  const parts = [ALL_BYTES, "CZ004", "\x06", DEBIT, "\r\n", `${DEBIT}${DEBIT}`];
  till.send(parts[0]!);
  const { peer, chunks } = await arrived.promise;
  let sent = parts[0]!;
  for (const part of parts.slice(1)) {
    await came(peer, sent);
    till.send(part);
    sent += part;
  }
  await came(peer, sent);
  assert.deepEqual(chunks, parts);
  sent = "";
  for (const part of [...parts, APPROVAL]) {
    peer.send(part);
    sent += part;
    await came(till, sent);
  }
  assert.deepEqual(answers, [...parts, APPROVAL]);
});

slow(
  "the terminal is connected to when the first byte comes, once for each connection",
  async () => {
    const reals: Peer[] = [];
    await using real = await listening((peer) => reals.push(peer));
    await using seen = await proxyTo(real.port);
    const tills = [await Peer.connect(seen.port), await Peer.connect(seen.port)];
    const nothing = await Peer.connect(seen.port);
    assert.deepEqual(await nothing.finish(), []);
    await sleep(50);
    assert.equal(reals.length, 0);
    assert.equal(seen.proxy.reached, undefined);
    for (const till of tills) till.send("CZ0040300");
    await eventually(() => reals.length === 2, "2 connections");
    for (const till of tills) till.send("CJ003012");
    for (const peer of reals) await peer.until(/CJ003012$/);
    await sleep(50);
    assert.equal(reals.length, 2);
    assert.equal(seen.proxy.reached, true);
    for (const till of tills) await till[Symbol.asyncDispose]();
  },
);

/** A till and a terminal that are connected through a proxy. */
async function pair(): Promise<
  { till: Peer; real: Peer; seen: Awaited<ReturnType<typeof proxyTo>> } & AsyncDisposable
> {
  const arrived = Promise.withResolvers<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, arrived.resolve).listen(0, "127.0.0.1");
  await once(server, "listening");
  const seen = await proxyTo((server.address() as net.AddressInfo).port);
  const socket = net.connect({ port: seen.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  const till = new Peer(socket);
  till.send(DEBIT);
  const real = new Peer(await arrived.promise);
  await real.until(/11245/);
  return {
    till,
    real,
    seen,
    async [Symbol.asyncDispose]() {
      for (const peer of [till, real]) peer.socket.destroy();
      await seen.proxy.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

slow("the POS closes its side: the terminal sees that, and can still answer", async () => {
  await using both = await pair();
  const { till, real } = both;
  till.socket.end();
  await once(real.socket, "end");
  assert.equal(real.socket.destroyed, false);
  real.send(APPROVAL);
  assert.equal(await till.until(/AC006123456/), APPROVAL);
  real.socket.end();
  assert.deepEqual([await till.closed, await real.closed], ["ended", "ended"]);
});

slow("the terminal closes its side: the POS sees that, and can still send", async () => {
  await using both = await pair();
  const { till, real } = both;
  real.socket.end(APPROVAL, "latin1");
  await once(till.socket, "end");
  assert.equal(till.text, APPROVAL);
  till.socket.end("more");
  assert.equal(await real.until(/more/), `${DEBIT}more`);
  assert.deepEqual([await till.closed, await real.closed], ["ended", "ended"]);
});

slow("a reset by the POS resets the terminal's connection", async () => {
  await using both = await pair();
  both.till.reset();
  assert.equal(await both.real.closed, "reset");
  await closed(both.seen.events);
  const told = both.seen.events.at(-1);
  assert.ok(told?.event === "closed" && told.by === "pos" && told.reset);
});

slow("a reset by the terminal resets the POS's connection, after what it had sent", async () => {
  await using both = await pair();
  both.real.send(APPROVAL);
  await both.till.until(/AC006123456/);
  both.real.reset();
  assert.equal(await both.till.closed, "reset");
  await closed(both.seen.events);
  const told = both.seen.events.at(-1);
  assert.ok(told?.event === "closed" && told.by === "terminal" && told.reset);
});

test(
  "10,000 exchanges, cut at random: equal bytes on both sides, each noted",
  patience,
  async (t) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    t.diagnostic?.(`seed ${seed}`);
    const random = randomFrom(seed);
    const [tills, each] = [20, 500];
    const sent = new Map<string, string>(); // by cash register, what came at the terminal
    await using real = await listening((peer) => {
      let done = 0;
      peer.socket.setNoDelay();
      peer.socket.on("data", async () => {
        const asked = peer.text.slice(done);
        if (!asked.endsWith("CF004.end")) return;
        done = peer.text.length;
        sent.set(asked.slice(31, 33), peer.text);
        await sendCut(peer, answerOf(asked), random);
      });
    });
    // However long a busy machine waits between two pieces, they are one message: the gap is long
    // enough, and an answer whose AE comes last seems whole only when it is.
    await using seen = await proxyTo(real.port, { logLevel: "error", gap: 60_000 });
    const counts = { request: 0, answer: 0 };
    seen.proxy.subscribe(({ event }) => {
      if (event === "request" || event === "answer") counts[event]++;
    });
    const answerOf = (asked: string): string => `${asked.slice(0, -9)}AC006123456CF004.endAE00210`;
    await Promise.all(Array.from({ length: tills }, async (_, index) => {
      const CA = String(index + 10);
      await using till = await Peer.connect(seen.port);
      let [all, expected] = ["", ""];
      for (let count = 0; count < each; count++) {
        const CB = String(1 + Math.floor(random() * 10 ** (1 + Math.floor(random() * 9))));
        const raw = `CZ0040300CJ012012345678901CA002${CA}${
          encodeText({ CB, CD: "0", CE: "978", CF: ".end" })
        }`;
        all += raw;
        expected += answerOf(raw);
        await sendCut(till, raw, random);
        while (till.text.length < expected.length) await once(till.socket, "data");
      }
      assert.ok(till.text === expected, `other answers, seed ${seed}`);
      assert.ok(sent.get(CA) === all, `other requests, seed ${seed}`);
    }));
    await eventually(() => counts.answer === tills * each, "all answered");
    assert.equal(counts.request, tills * each, `seed ${seed}`);
    assert.equal(seen.proxy.transactions.length, 1000);
  },
);

/** What a proxy has recorded and logged, without port numbers, which may look like those of cards. */
function toldBy({ recording, log }: Awaited<ReturnType<typeof proxyTo>>): string {
  return (recording() + log.join("\n")).replace(/(port"?:?) ?\d+/g, "$1");
}

/** Numbers from 0 to 1 that are the same for a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Sends a text in up to four pieces. */
async function sendCut(peer: Peer, raw: string, random: () => number): Promise<void> {
  let from = 0;
  for (let count = Math.floor(random() * 4); count > 0; count--) {
    const to = from + Math.floor(random() * (raw.length - from));
    peer.send(raw.slice(from, to));
    from = to;
    await new Promise((resolve) => setImmediate(resolve));
  }
  peer.send(raw.slice(from));
}

// ---------------------------------------------------------------- what is told

sideBySide();

slow(
  "events tell each message, its segments, its ending, what it means, and who closed",
  async () => {
    await using real = await listening(async (peer) => {
      peer.socket.setNoDelay();
      await came(peer, DEBIT.slice(0, 10));
      await sleep(30);
      till.send(`${DEBIT.slice(10)}\r\n`);
      await peer.until(/11245/);
      await sleep(30);
      peer.send(APPROVAL.slice(0, 20));
      await came(till, APPROVAL.slice(0, 20));
      await sleep(30);
      peer.send(`${APPROVAL.slice(20)}\r\n`);
      await came(till, `${APPROVAL}\r\n`);
      await sleep(30);
      peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    const started = performance.now();
    till.send(DEBIT.slice(0, 10));
    assert.equal(await till.closed, "ended");
    await closed(seen.events);
    const most = Math.ceil(performance.now() - started); // that anything has taken
    const [, request, answer, end] = seen.events;
    assert.ok(
      request?.event === "request" && answer?.event === "answer" && end?.event === "closed",
    );
    const [before, last] = request.segments ?? [];
    assert.ok(
      before && before.milliseconds <= -20 && before.milliseconds >= -most,
      JSON.stringify(request),
    );
    assert.deepEqual([before.bytes, last], [10, { milliseconds: 0, bytes: DEBIT.length - 10 + 2 }]);
    const [first, second] = answer.segments ?? [];
    assert.ok(first && second && first.milliseconds >= 20, JSON.stringify(answer));
    assert.ok(second.milliseconds - first.milliseconds >= 20);
    assert.deepEqual([first.bytes, second.bytes], [20, APPROVAL.length - 20 + 2]);
    assert.equal(answer.milliseconds, second.milliseconds);
    assert.ok((end.milliseconds ?? 0) >= answer.milliseconds + 20, JSON.stringify(end));
    assert.ok((end.milliseconds ?? 0) <= most + 5, JSON.stringify(end)); // of another clock
    const about = { connection: 1, transaction: 1 };
    const masked = { ...DEBIT_MESSAGE, AE: "10", CC: "001", AC: "******" };
    assert.deepEqual(timeless(seen.events), [
      {
        event: "request",
        ...about,
        address: "127.0.0.1",
        raw: DEBIT,
        message: DEBIT_MESSAGE,
        ending: "\r\n",
        segments: request.segments,
        warnings: [],
      },
      {
        event: "answer",
        ...about,
        milliseconds: "some",
        raw: encodeText(masked),
        message: masked,
        ending: "\r\n",
        segments: answer.segments,
        verdict: { status: "approved" },
      },
      { event: "closed", connection: 1, by: "terminal", milliseconds: "some" },
    ]);
    const { request: told, answer: said, closed: how } = seen.proxy.transactions[0] ?? {};
    assert.deepEqual([told?.raw, said?.verdict?.status, how?.by], [DEBIT, "approved", "terminal"]);
    assert.match(seen.log[0] ?? "", /^info listening on 127\.0\.0\.1 port \d+, passing on to 127/);
    assert.match(seen.log[1] ?? "", /^info #1 received: CZ.*11245\\x0d\\x0a\n {2}CZ 0300/);
    assert.match(seen.log[2] ?? "", /^info #1 sent: CZ.*AE00210.*\\x0d\\x0a\n {2}CZ 0300/);
    assert.match(seen.log[3] ?? "", /^info #1 approved after \d+ ms$/);
  },
);

slowTable(
  "what an answer means is told",
  {
    "refused": ["refused", /^info #1 declined after \d+ ms: refused \(refusée\), AF 04$/],
    "another amount": [
      "CB=11246",
      /^warn #1 the answer after \d+ ms is not usable: expected CB to be/,
    ],
    "no status": [
      "AE=99",
      /^warn #1 the answer after \d+ ms is not usable: expected the status AE/,
    ],
  } satisfies Record<string, [OutcomeText, RegExp]>,
  async ([outcome, pattern]) => {
    await using real = await terminalWith({ outcome: outcome as OutcomeText });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(`${DEBIT}\n`);
    await eventually(() => seen.log.some((line) => pattern.test(line)), `${pattern}`);
  },
);

slow(
  "AE 11 first: both answers are told as such, and the transaction is over after the second",
  async () => {
    await using real = await listening(async (peer) => {
      await peer.until(/11245\n/);
      peer.send(encodeText({ ...DEBIT_MESSAGE, AE: "11" }));
      await happened(seen.events, "answer");
      assert.equal(seen.proxy.transactions[0]?.ended, undefined);
      peer.send(APPROVAL);
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(`${DEBIT}\n`);
    const { answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.equal(answer?.message["AE"], "10");
    const answers = seen.events.filter((event) => event.event === "answer");
    assert.deepEqual(answers.map(({ message }) => message["AE"]), ["11", "10"]);
    assert.ok(answers[0]!.milliseconds < answers[1]!.milliseconds);
  },
);

slow(
  "several requests on a connection: pipelined, in turn, and one after another at once",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    const requests = ["1", "2", "3", "4", "5"].map((CB) => ({ ...DEBIT_MESSAGE, CB: `${CB}00` }));
    till.send(requests.slice(0, 3).map((request) => encodeText(request)).join(""));
    await till.until(/CB003300.*CG006/);
    till.send(encodeText(requests[3]!));
    await till.until(/CB003400.*CG006/);
    till.send(`${encodeText(requests[4]!)}\n`);
    await till.until(/CB003500.*CG006/);
    await till.finish();
    await closed(seen.events);
    const told = seen.proxy.transactions.map(({ request, answer }) => [
      request.message["CB"],
      answer?.message["CB"],
      answer?.verdict?.status,
    ]);
    assert.deepEqual(told, requests.map(({ CB }) => [CB, CB, "approved"]));
    assert.ok(
      seen.proxy.transactions.every(({ gone, warnings }) =>
        !gone && warnings.every(({ code }) => code === "overlap")
      ),
    );
  },
);

slowTable(
  "what a request deserves is told, and it goes through as it is",
  {
    "a size": ["CZ0040300CJ003012CA00201CB00242CD0010CE003978\n", ["size"], true],
    "malformed": ["GET / HTTP/1.1\r\n\r\n", ["malformed"], true],
    "cut": ["CZ0040300CJ0120", ["malformed"], false],
    "later fields": [`${DEBIT}\rBA0010`, ["", "late"], true],
  } satisfies Record<string, [raw: string, codes: string[], isToldBefore: boolean]>,
  async (row) => {
    const [raw, codes, isToldBefore] = row as [string, string[], boolean];
    const arrived = Promise.withResolvers<Peer>();
    await using real = await listening(arrived.resolve);
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(raw);
    const peer = await arrived.promise;
    await came(peer, raw);
    assert.equal(peer.text, raw);
    const count = isToldBefore ? codes.length : 0; // before the POS leaves
    await eventually(() => seen.proxy.transactions.length === count, `${count} told`);
    await till[Symbol.asyncDispose]();
    await closed(seen.events);
    const own = (one: { code: string }): boolean => one.code !== "impatient";
    const told = seen.proxy.transactions.map(({ warnings }) => warnings.find(own)?.code ?? "");
    assert.deepEqual(told, codes);
  },
);

slow(
  "a second payment after an approval that got lost is told, as by our own terminal",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, { next: ["close"] });
    await assert.rejects(payAt(seen.port));
    await payAt(seen.port);
    assert.deepEqual(seen.proxy.transactions.at(-1)?.warnings.map(({ code }) => code), [
      "paid-twice",
    ]);
  },
);

slow(
  "a POS that gives up is told as gone, and what the terminal answers then as lost",
  async () => {
    const asked = Promise.withResolvers<void>();
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {}).on("end", () => socket.end(APPROVAL));
      socket.on("data", () => asked.resolve());
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await using seen = await proxyTo((server.address() as net.AddressInfo).port);
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    await asked.promise; // so the proxy has it too
    await sleep(200);
    await till[Symbol.asyncDispose]();
    const transaction = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    server.close();
    assert.equal(transaction.gone?.sent, "");
    assert.ok((transaction.gone?.milliseconds ?? 0) >= 150);
    assert.equal(transaction.answer?.lost, "all");
    assert.equal(transaction.answer?.verdict?.status, "approved");
    assert.ok(seen.log.some((line) => /^info #1 too late, the POS has gone: CZ/.test(line)));
  },
);

slowTable(
  "a terminal that does not answer, or not whole",
  {
    "closes": ["", false, ["unanswered"], undefined],
    "resets": ["", true, ["unanswered"], undefined],
    "closes within a field": ["CZ0040300CB0051", false, [], "invalid"],
    "resets between two fields": ["CZ0040300", true, [], "invalid"],
  } satisfies Record<string, [string, boolean, string[], string | undefined]>,
  async (row) => {
    const [raw, reset, codes, status] = row;
    await using real = await listening(async (peer) => {
      await peer.until(/11245/);
      peer.send(raw);
      await came(till, raw);
      if (reset) peer.reset();
      else peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, reset ? "reset" : "ended");
    assert.equal(till.text, raw);
    const { warnings, answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.deepEqual([warnings.map(({ code }) => code), answer?.verdict?.status], [codes, status]);
  },
);

slow("what a terminal sends without being asked goes through, and is told", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await happened(seen.events, "answer");
    await sleep(200);
    peer.send(`\x06\x04${APPROVAL}`);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await till.until(/AC006123456[^]*AC006123456/);
  await eventually(
    () => seen.proxy.transactions[0]?.warnings.some(({ code }) => code === "unasked"),
    "told",
  );
  const told = seen.events.find((event) => event.event === "warning" && event.code === "unasked");
  assert.ok(told?.event === "warning");
  assert.equal(
    told.raw,
    APPROVAL.replace(/AC006.*/, "AC006******"),
  );
  assert.ok((told.milliseconds ?? 0) >= 190, `${told.milliseconds}`);
  assert.ok(seen.log.includes("info #1 the terminal sent between messages: \\x06\\x04"));
});

slow("of what is sent without being asked little is kept, and all goes through", async () => {
  const messages = Array.from(
    { length: 30 },
    (_, at) => encodeText({ ...DEBIT_MESSAGE, AE: "10", CH: `${at}`, XX: "x".repeat(999) }),
  );
  const flood = `${messages.join("\n")}\n`;
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await happened(seen.events, "answer");
    peer.send(flood);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await came(till, APPROVAL + flood);
  assert.equal(till.text, APPROVAL + flood);
  await till[Symbol.asyncDispose]();
  await closed(seen.events);
  const [transaction] = seen.proxy.transactions;
  const warnings = transaction?.warnings ?? [];
  const codes = [...Array.from({ length: 20 }, () => "unasked"), "more"];
  assert.deepEqual(warnings.map(({ code }) => code), codes);
  const [first, last] = [warnings[0]?.text, warnings.at(-1)?.text];
  assert.equal(first, `the terminal sent without being asked: "${messages[0]!.slice(0, 80)}..."`);
  assert.equal(last, "the terminal sends on without being asked, which is told no more");
  const told = seen.events.filter((event) => event.event === "warning");
  assert.deepEqual(
    told.slice(0, 20).map(({ raw }) => raw),
    messages.slice(0, 20).map((one) => `${one}\n`),
  );
  assert.equal(told.length, 21);
});

slow("what comes between messages is told, of either side, and with its time", async () => {
  await using real = await listening(async (peer) => {
    peer.send("\x04");
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await eventually(() => seen.events.some(({ event }) => event === "answer"), "answered");
    peer.send("\r\n");
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send("\r\n");
  await till.until(/\x04/);
  till.send(DEBIT);
  await till.until(/\r\n$/);
  till.send("\x06");
  await eventually(() => seen.events.length === 7, "all of it");
  const told = seen.events.filter((event) => event.event === "between");
  assert.deepEqual(told.map(({ by, raw }) => [by, raw]), [
    ["pos", "\r\n"],
    ["terminal", "\x04"],
    ["terminal", "\r\n"],
    ["pos", "\x06"],
  ]);
  const [before, early, late, last] = told.map(({ milliseconds }) => milliseconds);
  assert.deepEqual([before, early], [undefined, undefined]);
  assert.ok(late !== undefined && late >= 95 && last !== undefined && last >= late);
});

// ---------------------------------------------------------------- what is masked

/** Values that are nowhere else in what is told: no four digits, which a port may have. */
const SECRETS: Message = {
  AA: "497Q10QQQQQQ7Q31",
  AB: "3Q08",
  AC: "66QY22",
  CF: "REF/77-A9 de \xe9t\xe9",
  CG: "86Q29Y5",
  BH: "+336QY765Q32",
  BI: "jean.dupont@boite.example",
  AM: "07QY44Q322",
  AN: "marie@poste.example",
  ZT: encodeReceipt({ copy: "customer", format: "text", text: "KARTE QQQQ\n24/12/29 à 13:37" }),
};
const WITH_SECRETS = encodeText({ ...DEBIT_MESSAGE, ...SECRETS });
/** What of them must be nowhere: every four characters, but not blanks and the head of ZT. */
const TRACES = [...Object.entries(SECRETS)].flatMap(([tag, value]) => {
  const text = tag === "ZT" ? value.slice(16) : value;
  return Array.from({ length: text.length - 3 }, (_, at) => text.slice(at, at + 4));
});

/** What of the secrets is in a text. */
function traces(text: string): string[] {
  const plain = JSON.stringify(text).slice(1, -1);
  return TRACES.filter((trace) =>
    text.includes(trace) || plain.includes(trace) ||
    text.includes(JSON.stringify(trace).slice(1, -1))
  );
}

slow(
  "the values of some tags and the text of receipts are masked, their lengths true",
  async () => {
    await using real = await listening(async (peer) => {
      const asked = await peer.until(/ZT049.{49}$/s);
      peer.send(`${asked}AE00210`);
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(WITH_SECRETS);
    assert.equal(await till.until(/AE00210/), `${WITH_SECRETS}AE00210`); // on the wire nothing is
    const { request, answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    const zt = encodeReceipt({
      copy: "customer",
      format: "text",
      text: "***** ****\n**/**/** * **:**",
    });
    const masked = Object.entries({ ...SECRETS, ZT: zt }).map(([tag, value]) => [
      tag,
      tag === "ZT" ? value : "*".repeat(value.length),
    ]);
    assert.deepEqual(request.message, { ...DEBIT_MESSAGE, ...Object.fromEntries(masked) });
    assert.equal(request.raw, encodeText(request.message));
    assert.equal(answer?.raw, `${request.raw}AE00210`);
    assert.deepEqual(traces(seen.log.join("\n")), []);
    assert.deepEqual(traces(seen.recording()), []);
  },
);

slowTable(
  "of what is malformed all is masked that may be a value whose length is wrong",
  {
    "a request, a reference like a field": [
      `${DEBIT}CF000FA2025123456 Jean Dupont`,
      `${DEBIT}CF000************ **** ******`,
      "at byte 92: expected *** characters for **, got **",
    ],
    "an answer, a number like an amount": [
      `${DEBIT}AE00210AC000CB497010123456`,
      `${DEBIT}AE00210AC000**************`,
      "at byte 89: expected *** characters for **, got *",
    ],
    "a tag that was there": [
      `${DEBIT}CF004REF-CB00543212 Dupont`,
      `${DEBIT}CF004************** ******`,
      'at byte 82: expected a tag of two letters A-Z, got " "',
    ],
    "a size that cannot be": [
      `${DEBIT}AE00210AC002XXCC049701`,
      `${DEBIT}AE00210AC002**********`,
      "at byte 85: expected ** characters for **, got *",
    ],
    "swallowed by a field before it": [
      `${DEBIT}AE00210CC010001AA0164970101234560014`,
      `${DEBIT}AE00210CC010001AA016****************`,
      'at byte 85: expected a tag of two letters A-Z, got "*"; perhaps the length of CC before it, 010, is too short',
    ],
    "a control character": [
      `${DEBIT}CF001x\x02`,
      `${DEBIT}CF001*\x02`,
      'at byte 69: expected a tag of two letters A-Z, got "\\x02"; perhaps the length of CF before it, 001, is too short',
    ],
    "a character that is no ASCII": [
      `${DEBIT}CF001x\x9f`,
      `${DEBIT}CF001**`,
      'at byte 69: expected a tag of two letters A-Z, got "*"; perhaps the length of CF before it, 001, is too short',
    ],
    "cut": [
      `${DEBIT}AE00210AA0164970101234560014AC006XYZ123CC00300`,
      `${DEBIT}AE00210AA016****************AC006******CC003**`,
      "at byte 109: expected 3 characters for CC, got 2",
    ],
  } satisfies Record<string, [string, string, string]>,
  async ([raw, shown, error]) => {
    await using real = await listening(async (peer) => {
      await peer.until(/./);
      peer.socket.end(raw, "latin1");
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(raw);
    assert.equal(await till.closed, "ended");
    assert.equal(till.text, raw); // on the wire nothing is
    await closed(seen.events);
    const [, request, answer] = seen.events;
    assert.ok(request?.event === "invalid" && answer?.event === "answer");
    assert.deepEqual([request.raw, request.error], [shown, error]);
    assert.deepEqual([answer.raw, answer.verdict], [shown, { status: "invalid", error }]);
    assert.doesNotMatch(toldBy(seen), /FA2|2025|Dupont|REF|CB497|97010|4321|CC049/);
  },
);

slow("what follows something malformed is masked, unless it begins as a message does", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  for (const [index, raw] of [`${DEBIT}CF002FA2-25`, "AI010Jean 98765", DEBIT].entries()) {
    till.send(raw);
    await eventually(() => seen.proxy.transactions.length > index, `${raw} told`);
  }
  assert.deepEqual(seen.proxy.transactions.map(({ request }) => request.raw), [
    `${DEBIT}CF002***-**`,
    "********* *****",
    DEBIT,
  ]);
  assert.doesNotMatch(toldBy(seen), /Jean|9876|FA2/);
});

slow("the value of a tag in an outcome is masked as in a message", async () => {
  await using real = await terminalWith();
  for (const unmasked of [false, true]) {
    await using seen = await proxyTo(real.port, { unmasked, outcome: "AA=497011,CB=1,hangup" });
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, "ended");
    assert.match(till.text, /AA006497011/);
    const AA = unmasked ? "497011" : "******";
    const told = seen.events.find((event) => event.event === "answer");
    assert.ok(told?.event === "answer");
    assert.equal(told.outcome, `hangup,AA=${AA},CB=1`);
    assert.equal(seen.proxy.transactions[0]?.outcome?.tags?.["AA"], AA);
    assert.equal(/497011/.test(toldBy(seen)), unmasked);
  }
});

slow("--unmasked shows all", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port, { unmasked: true });
  await using till = await Peer.connect(seen.port);
  till.send(`${WITH_SECRETS}\n`);
  await eventually(() => seen.proxy.transactions.length === 1, "a request");
  assert.equal(seen.proxy.transactions[0]?.request.raw, WITH_SECRETS);
  assert.ok(seen.log.some((line) => line.includes("497Q10QQQQQQ7Q31")));
});

test(
  "nothing of it is told of a message that is cut, or malformed anywhere",
  patience,
  async () => {
    const cut = Array.from(
      { length: WITH_SECRETS.length },
      (_, at) => WITH_SECRETS.slice(0, at + 1),
    );
    const lengths = [...WITH_SECRETS.matchAll(/[A-Z]{2}\d{3}/g)].flatMap(({ index, 0: head }) =>
      [-3, -2, -1, 1, 2, 5, 7, 20].map((more) => {
        const length = String(Math.max(0, Number(head.slice(2)) + more)).padStart(3, "0");
        return WITH_SECRETS.slice(0, index + 2) + length + WITH_SECRETS.slice(index + 5);
      })
    );
    const odd = [
      `${WITH_SECRETS}?`,
      `x${WITH_SECRETS}`,
      WITH_SECRETS.toLowerCase(),
      `POST / HTTP/1.1\r\n\r\n${JSON.stringify(SECRETS)}`,
      ...Object.entries(SECRETS).map(([tag, value]) =>
        encodeText({ ...BASE, CD: "0", XX: value, [tag]: value })
      ),
    ].filter((raw) => !raw.includes("XX"));
    const all = [...cut, ...lengths, ...odd];
    await using real = await listening(async (peer) => {
      await peer.until(/./s);
      peer.send(all[Number(/^(\d+)/.exec(peer.text)?.[1] ?? NaN)] ?? peer.text);
      peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    for (let at = 0; at < all.length; at += 20) {
      await Promise.all(
        all.slice(at, at + 20).map(async (raw) => {
          await using till = await Peer.connect(seen.port);
          till.send(raw);
          await till.closed;
        }),
      );
    }
    await closed(seen.events, all.length);
    const told = toldBy(seen);
    const found = traces(told);
    const where = seen.events.filter((event) => traces(jsonLine(event)).length > 0).slice(0, 3);
    assert.deepEqual(found, [], `${JSON.stringify(where)} of ${all.length}`);
    assert.ok(seen.events.length > 2 * all.length);
  },
);

// ---------------------------------------------------------------- what is broken

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
    assert.deepEqual(kinds.slice(0, 3), ["listening", "request", "due"]);
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
    assert.deepEqual(warnings, [{ code: "not-set", text }]);
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

// ---------------------------------------------------------------- a terminal that is not there

test(
  "a terminal that cannot be reached: the POS is closed, and log and events say why",
  patience,
  async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    await using seen = await proxyTo(port);
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, "ended");
    assert.equal(till.text, "");
    const why = `cannot reach the terminal at 127.0.0.1 port ${port}: nothing listens there; ` +
      "check its address, the port (8888 on most), and that it is set to Caisse-AP over IP";
    const { warnings } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.deepEqual(warnings, [{ code: "unreachable", text: why }]);
    assert.ok(seen.log.includes(`error #1 ${why}`));
    assert.equal(seen.proxy.reached, false);
  },
);

test("a terminal that is the proxy itself, by an address of this machine", patience, async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const log: string[] = [];
  await using proxy = await startProxy({
    port,
    host: "127.0.0.1",
    terminal: `[::ffff:127.0.0.1]:${port}`, // which is no address that is known to be its own
    logLevel: "debug",
    log: (level, text) => void log.push(`${level} ${text}`),
  });
  await using till = await Peer.connect(port);
  till.send(DEBIT);
  assert.equal(await till.closed, "ended");
  await sleep(200);
  const why = `cannot reach the terminal at ::ffff:127.0.0.1 port ${port}: ` +
    `expected another port than ${port}, on which the proxy listens; check its`;
  assert.ok(log.some((line) => line.startsWith(`error #1 ${why}`)), log.join("\n"));
  assert.equal(log.filter((line) => line.includes(" connected from ")).length, 2);
  assert.equal(proxy.reached, false);
});

// ---------------------------------------------------------------- what is played

sideBySide();

/** An event of a recording. */
function line(event: string, connection: number, transaction: number, more: object): string {
  return jsonLine({ event, connection, transaction, ...more });
}

/** A recording of one exchange. */
function exchanged(raw: string, answer: object | undefined, close: object = {}): string {
  return line("request", 1, 1, { raw }) +
    (answer ? line("answer", 1, 1, { milliseconds: 0, ...answer }) : "") +
    jsonLine({ event: "closed", connection: 1, by: "pos", milliseconds: 9_999, ...close });
}

/** A terminal that plays a recording. */
async function played(recording: string): Promise<
  & { port: number; log: string[]; terminal: Awaited<ReturnType<typeof startReplay>> }
  & AsyncDisposable
> {
  const log: string[] = [];
  const terminal = await startReplay(recording, {
    port: 0,
    host: "127.0.0.1",
    log: (level, text) => void log.push(`${level} ${text}`),
  });
  const { port } = terminal;
  return { port, log, terminal, [Symbol.asyncDispose]: () => terminal.close() };
}

slow(
  "a recorded answer, with amount, register, private data and identifiers of the request",
  async () => {
    const recording = await recordingOf((port) =>
      ask(port, { ...DEBIT_MESSAGE, CF: "before", CH: "1", CK: "100" })
    );
    await using terminal = await played(recording);
    const request = {
      ...DEBIT_MESSAGE,
      CA: "77",
      CB: "5",
      CJ: "210987654321",
      CF: "much later",
      CH: "22",
    };
    const answer = await ask(terminal.port, { ...request, CK: "100" });
    const { AC, AA, AB, CG, AI, ZT: _, ...others } = answer;
    assert.deepEqual([AC, AA, AB, CG, AI], [
      "*".repeat(6),
      "*".repeat(16),
      "****",
      "*".repeat(6),
      "A0000000421010",
    ]);
    assert.deepEqual(others, { ...request, CK: "100", AE: "10", CC: "001", CI: "1" });
    const again = await ask(terminal.port, { ...request, CB: "000123456789", CK: "100" });
    assert.equal(again["CB"], "000123456789");
  },
);

slow("a padded amount stays padded, and a reference that was cut is cut", async () => {
  const before = { ...DEBIT_MESSAGE, CF: "0123456789" };
  const raw = encodeText({ ...before, CB: "000000011245", CF: "01234567", AE: "10" });
  await using terminal = await played(exchanged(encodeText(before), { raw }));
  const answer = await ask(terminal.port, { ...before, CB: "2000", CF: "abcdefghijk" });
  assert.deepEqual([answer["CB"], answer["CF"]], ["000000002000", "abcdefgh"]);
});

slow("a field without a value, of the terminal or of a till, is played as it is", async () => {
  const before = `${DEBIT}CF001x`;
  const raw = `${before}AE00210AI000`;
  await using terminal = await played(exchanged(before, { raw }));
  await using till = await Peer.connect(terminal.port);
  till.send(`${DEBIT}CF000\n`);
  assert.equal(await till.until(/AI000$/), `${DEBIT}CF000AE00210AI000`);
});

slow("what is played is masked as what goes through is, or shown with --unmasked", async () => {
  const answer = encodeText({ ...DEBIT_MESSAGE, AE: "10", ...SECRETS });
  const recording = exchanged(WITH_SECRETS, { raw: answer }) +
    exchanged(DEBIT, { raw: `${answer.slice(0, -1)}` });
  for (const unmasked of [false, true]) {
    const told: string[] = [];
    await using terminal = await startReplay(recording, {
      port: 0,
      host: "127.0.0.1",
      unmasked,
      log: (_, text) => void told.push(text),
      onEvent: (event) => void told.push(jsonLine(event)),
    });
    const said = await ask(terminal.port, WITH_SECRETS);
    assert.equal(said["BI"], SECRETS["BI"]); // on the wire nothing is masked
    for (const raw of [`${DEBIT}\n`, `${WITH_SECRETS}?\n`]) {
      await using till = await Peer.connect(terminal.port);
      till.send(raw);
      await till.until(/AE002/);
      await till[Symbol.asyncDispose]();
    }
    await eventually(() => terminal.transactions.every(({ ended }) => ended), "over");
    told.push(JSON.stringify(terminal.transactions));
    const found = traces(told.join("\n").replace(/(port"?:?) ?\d+/g, "$1"));
    assert.deepEqual(found.length > 0, unmasked, found.join());
    assert.equal(terminal.transactions.length, 3);
  }
});

slow("a request that is like none gets AE 01 AF 12, and what was asked is told", async () => {
  await using terminal = await played(exchanged(DEBIT, { raw: APPROVAL }));
  const request = { ...DEBIT_MESSAGE, CK: "100" };
  const { BA: _, ...echo } = DEBIT_MESSAGE;
  assert.deepEqual(await ask(terminal.port, request), { ...echo, AE: "01", AF: "12" });
  const [transaction] = terminal.terminal.transactions;
  const text = "the recording has no request with BA 0, CA, CB, CD 0, CE 978, CJ, CK 100, CZ 0300";
  assert.deepEqual(transaction?.warnings, [{ code: "not-recorded", text }]);
  assert.ok(terminal.log.includes(`warn #1 ${text}`));
});

slowTable("a request that has other tags than a recorded one is not like it", {
  "no amount": { ...DEBIT_MESSAGE, CB: "" },
  "no identifier": { ...DEBIT_MESSAGE, CJ: "" },
  "a reference more": { ...DEBIT_MESSAGE, CF: "other" },
}, async (request) => {
  await using terminal = await played(exchanged(DEBIT, { raw: APPROVAL }));
  const tags = Object.entries(request).filter(([, value]) => value !== "");
  const { AE, AF } = await ask(terminal.port, Object.fromEntries(tags));
  assert.deepEqual([AE, AF], ["01", "12"]);
});

slow("several that are alike take turns, and start anew after a reset", async () => {
  const recording = ["04", "05", "11"].map((AF, index) =>
    line("request", 1, index + 1, { raw: DEBIT }) +
    line("answer", 1, index + 1, {
      milliseconds: 1,
      raw: encodeText({ ...DEBIT_MESSAGE, AE: "01", AF }),
    })
  ).join("");
  await using terminal = await played(recording);
  const asked = async (): Promise<string | undefined> => (await ask(terminal.port, DEBIT))["AF"];
  assert.deepEqual([await asked(), await asked(), await asked(), await asked()], [
    "04",
    "05",
    "11",
    "04",
  ]);
  terminal.terminal.reset();
  assert.equal(await asked(), "04");
});

slow("segments and pauses are as recorded, their sizes as the values now are", async () => {
  const answer = { ...DEBIT_MESSAGE, AE: "10" };
  const raw = encodeText(answer);
  const cut = raw.indexOf("CB005") + 7; // within the amount
  const segments = [
    { milliseconds: 150, bytes: cut },
    { milliseconds: 400, bytes: raw.length - cut - 7 },
    { milliseconds: 450, bytes: 7 + 2 },
  ];
  const given = { raw, ending: "\r\n", segments, milliseconds: 450 };
  await using terminal = await played(
    exchanged(DEBIT, given, { by: "terminal", milliseconds: 600 }),
  );
  await using till = await Peer.connect(terminal.port);
  const chunks: [string, number][] = [];
  const started = performance.now();
  till.socket.on("data", (chunk: string) => chunks.push([chunk, performance.now() - started]));
  till.send(`${encodeText({ ...DEBIT_MESSAGE, CB: "9876543" })}\n`);
  assert.equal(await till.closed, "ended");
  const over = performance.now() - started;
  const now = encodeText({ ...answer, CB: "9876543" });
  const after = now.indexOf("CB007") + 7;
  assert.equal(till.text, `${now}\r\n`);
  // As they were written: where the machine is busy, a till reads several at once.
  const { answer: told } = await terminal.terminal.waitForTransaction({ timeout: 5_000 });
  const written = told?.segments ?? [];
  assert.deepEqual(written.map(({ bytes }) => bytes), [after, now.length - after - 7, 7 + 2]);
  const times = written.map(({ milliseconds }) => milliseconds);
  // When a byte has come.
  let count = 0;
  const cameAt: number[] = chunks.flatMap(([chunk, time]) => Array.from(chunk, () => time));
  const read = written.map(({ bytes }) => cameAt[(count += bytes) - bytes]!);
  for (const [first, second, third] of [times, read]) {
    assert.ok(
      first! >= 145 && second! >= 390 && third! >= 435 && over >= 580,
      `${times} ${read} ${over}`,
    );
  }
});

slowTable(
  "how a recorded connection ended is played too",
  {
    "closed without an answer": [undefined, { by: "terminal", milliseconds: 100 }, "ended", ""],
    "reset without an answer": [
      undefined,
      { by: "terminal", milliseconds: 100, reset: true },
      "reset",
      "",
    ],
    "reset after the answer": [
      { raw: APPROVAL },
      { by: "terminal", milliseconds: 2_500, reset: true }, // what is not read by then is lost
      "reset",
      APPROVAL,
    ],
    "half of an answer": [
      { raw: APPROVAL.slice(0, 70) },
      { by: "terminal", milliseconds: 100 },
      "ended",
      APPROVAL.slice(0, 70),
    ],
  } satisfies Record<string, [object | undefined, object, "ended" | "reset", string]>,
  async ([answer, close, how, text]) => {
    await using terminal = await played(exchanged(DEBIT, answer, close));
    await using till = await Peer.connect(terminal.port);
    till.send(`${DEBIT}\n`);
    assert.deepEqual([await till.closed, till.text], [how, text]);
  },
);

slow("a reset is played after its pause, as a close is", async () => {
  const answer = { raw: APPROVAL, milliseconds: 20 };
  const close = { by: "terminal", milliseconds: 2_500, reset: true };
  await using terminal = await played(exchanged(DEBIT, answer, close));
  await using till = await Peer.connect(terminal.port);
  const started = performance.now();
  till.send(`${DEBIT}\n`);
  await till.until(/AC006123456$/);
  assert.equal(await till.closed, "reset");
  assert.ok(performance.now() - started >= 2_490, `${performance.now() - started}`);
});

slow("a line end that came later is played later; a second answer is not played", async () => {
  const recording = line("request", 1, 1, { raw: DEBIT }) +
    line("answer", 1, 1, { raw: APPROVAL, milliseconds: 10 }) +
    jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\r\n", milliseconds: 300 }) +
    jsonLine({ event: "between", connection: 1, by: "pos", raw: "\x06", milliseconds: 310 }) +
    line("warning", 1, 1, { code: "unasked", text: "", raw: APPROVAL, milliseconds: 400 }) +
    jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\n", milliseconds: 450 }) +
    jsonLine({ event: "closed", connection: 1, by: "terminal", milliseconds: 600 });
  await using terminal = await played(recording);
  await using till = await Peer.connect(terminal.port);
  const started = performance.now();
  till.send(`${DEBIT}\n`);
  await till.until(/\r\n$/);
  assert.ok(performance.now() - started >= 290);
  assert.equal(await till.closed, "ended");
  assert.ok(performance.now() - started >= 585);
  assert.equal(till.text, `${APPROVAL}\r\n`);
  const { answer } = await terminal.terminal.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual(answer?.segments?.map(({ bytes }) => bytes), [APPROVAL.length, 2]);
});

slow("no answer is played as none, until the POS leaves", async () => {
  await using terminal = await played(exchanged(DEBIT, undefined));
  await using till = await Peer.connect(terminal.port);
  till.send(`${DEBIT}\n`);
  await eventually(() => terminal.terminal.transactions.length === 1, "a request");
  await sleep(200);
  assert.deepEqual([till.text, till.socket.readyState], ["", "open"]);
});

slow(
  "AE 11 is played when it came, and what a fault has hidden as the terminal had it",
  async () => {
    const interim = encodeText({ ...DEBIT_MESSAGE, AE: "11" });
    const recording = line("request", 1, 1, { raw: DEBIT }) +
      line("answer", 1, 1, { raw: interim, milliseconds: 100 }) +
      line("due", 1, 1, { raw: APPROVAL, milliseconds: 300 }) +
      line("answer", 1, 1, { raw: APPROVAL.slice(0, -1), milliseconds: 400 }) +
      jsonLine({ event: "closed", connection: 1, by: "terminal", milliseconds: 400 });
    await using terminal = await played(recording);
    await using till = await Peer.connect(terminal.port);
    const started = performance.now();
    till.send(`${DEBIT}\n`);
    await till.until(/AE00211/);
    assert.ok(performance.now() - started >= 95);
    await till.until(/AC006123456$/);
    assert.ok(performance.now() - started >= 290);
    assert.equal(till.socket.readyState, "open");
  },
);

table(
  "a recording that is none, and options that mean nothing to one",
  {
    "no JSON": [
      "\n\nhello\n",
      {},
      /^recording: expected the event of a recording on line 3, got "hello"$/,
    ],
    "no event": ['{"event":"listening"}\n[1]', {}, /on line 2, got "\[1\]"$/],
    "an event without what it must have": [
      '{"event":"answer","connection":1,"transaction":1}',
      {},
      /on line 1/,
    ],
    "a request without its numbers": ['{"event":"request","raw":"CZ0040300"}', {}, /on line 1/],
    "none": [
      "",
      {},
      /^recording: expected the lines that proxy.ts --json has printed, .* got none$/,
    ],
    "no request": ['{"event":"listening"}\n', {}, /^recording: expected the lines .* got none$/],
    "an outcome": [
      "",
      { outcome: "split" },
      /^outcome: expected none: the recording decides that, got "success,split"$/,
    ],
    "a duration": ["", { duration: 1 }, /^duration: expected none: the recording decides that/],
    "unmasked": ["", { unmasked: 1 }, /^unmasked: expected true or false, got 1$/],
  } satisfies Record<string, [string, object, RegExp]>,
  async ([recording, options, pattern]) => {
    const all = { port: 0, ...options } as object;
    await assert.rejects(startReplay(recording, all), (error) => {
      assert.ok(error instanceof OptionError, String(error));
      assert.match(error.message, pattern);
      return true;
    });
  },
);

// ---------------------------------------------------------------- what is compared

/** Everything that our own terminal answers, once. */
async function everything(port: number): Promise<void> {
  const receipt = { ...DEBIT_MESSAGE, CK: "100", CF: "ref" };
  const identify = { ...BASE, CD: "I" };
  for (const request of [DEBIT_MESSAGE, receipt, { ...receipt, CK: "111" }, identify]) {
    await ask(port, request);
  }
  for (const CC of ["001", "00B", "002", "00D", "00E", "10E", "00V", "00C", "006"]) {
    await ask(port, { ...DEBIT_MESSAGE, CC });
  }
  for (const CD of ["1", "2", "7", "3", "B", "3", "P", "9"]) {
    await ask(port, { ...DEBIT_MESSAGE, CD });
  }
  await using immediate = await Peer.connect(port); // some models do not answer that
  immediate.send(`${encodeText({ ...DEBIT_MESSAGE, BA: "1" })}\n`);
  await sleep(300);
  immediate.socket.end();
  await ask(port, "CZ0040300CA00201\n");
  await ask(port, `${DEBIT}\r\n`);
  await using browser = await Peer.connect(port);
  browser.send("GET / HTTP/1.1\r\n\r\n");
  assert.equal(await browser.closed, "ended"); // by the terminal, however late a busy machine does it
  assert.match(browser.text, /AE00201AF00209$/);
  await using till = await Peer.connect(port);
  await till.ask(DEBIT);
  await till.ask({ ...DEBIT_MESSAGE, CB: "2" });
  till.send(DEBIT.slice(0, 20));
  await sleep(50);
  assert.equal((await till.ask(DEBIT.slice(20)))["AE"], "10");
  await till.finish();
  await using nc = await Peer.connect(port);
  nc.send(DEBIT);
  assert.equal((await nc.finish()).length, 1);
}

slowTable(
  "recorded, compared, played and compared again, our own terminal differs in nothing",
  Object.fromEntries(Object.keys(MODELS).map((model) => [model, { model: model as ModelName }])),
  async (as) => {
    const next: OutcomeText[] = ["refused", "abandon", "success,cbcontactless"];
    const first = await recordingOf(everything, { ...as, next });
    const compared = await compare(first, as);
    assert.ok(compared.length >= 29);
    assert.deepEqual(differing(compared), []);
    await using terminal = await played(first);
    await using seen = await proxyTo(terminal.port);
    await everything(seen.port);
    await closed(seen.events, compared.length - 2);
    assert.deepEqual(differing(await compare(prompt(seen.recording()), as)), []);
  },
);

/** Where there are differences. */
function differing(comparisons: readonly Comparison[]): Comparison[] {
  return comparisons.filter(({ differences }) => differences.length > 0);
}

slowTable(
  "each difference is told",
  {
    "a tag more": [{ ...DEBIT_MESSAGE, AE: "01", AF: "04", AL: "1" }, {}, {
      what: "tags",
      recorded: "AL",
      simulated: "",
    }],
    "a tag less": [{ AE: "01", AF: "04" }, {}, {
      what: "tags",
      recorded: "",
      simulated: "CZ CJ CA CE BA CD CB",
    }],
    "the order": [
      {
        CZ: "0300",
        AE: "01",
        AF: "04",
        CJ: "012345678901",
        CA: "01",
        CE: "978",
        BA: "0",
        CD: "0",
        CB: "11245",
      },
      {},
      {
        what: "order",
        recorded: "CZ AE AF CJ CA CE BA CD CB",
        simulated: "CZ CJ CA CE BA CD CB AE AF",
      },
    ],
    "a value": [{ ...DEBIT_MESSAGE, CZ: "0301", AE: "01", AF: "04" }, {}, {
      what: "value",
      tag: "CZ",
      recorded: "0301",
      simulated: "0300",
    }],
    "a detail of AF": [{ ...DEBIT_MESSAGE, AE: "01", AF: "0448NO" }, {}, {
      what: "value",
      tag: "AF",
      recorded: "0448NO",
      simulated: "04",
    }],
    "segments": [
      { ...DEBIT_MESSAGE, AE: "01", AF: "04" },
      { segments: [{ milliseconds: 0, bytes: 70 }, { milliseconds: 1, bytes: 7 }] },
      { what: "segments", recorded: "2", simulated: "1" },
    ],
    "an ending": [{ ...DEBIT_MESSAGE, AE: "01", AF: "04" }, { ending: "\r\n" }, {
      what: "ending",
      recorded: "\r\n",
      simulated: "",
    }],
  } satisfies Record<string, [Message, object, object]>,
  async ([answer, more, difference]) => {
    const [comparison] = await compare(
      exchanged(DEBIT, { raw: encodeText(answer), ...more }),
    );
    assert.deepEqual(comparison?.differences, [difference]);
    assert.deepEqual([comparison?.line, comparison?.outcome], [1, "refused,delay=0"]);
  },
);

slow(
  "an identification that takes seconds, and other ways to end a connection, are differences",
  async () => {
    const raw = encodeText({ ...BASE, CD: "I" });
    const answer = { raw: encodeText({ ...BASE, CD: "I", AE: "10" }), milliseconds: 2_000 };
    const { result: [late], isStalled } = await watched(compareRecording(exchanged(raw, answer)));
    const time = { what: "time", recorded: "after seconds", simulated: "at once" };
    const isLate = isStalled && late?.differences.length === 0; // the simulated one too
    assert.deepEqual(late?.differences, isLate ? [] : [time]);
    const [closing] = await compare(
      exchanged(raw, { ...answer, milliseconds: 1 }, { by: "terminal", milliseconds: 5 }),
    );
    const [closes, keeps] = ["closes the connection", "keeps it open"];
    assert.deepEqual(closing?.differences, [{
      what: "closed",
      recorded: closes,
      simulated: keeps,
    }]);
    const none = await watched(compareRecording(exchanged(raw, undefined)));
    const [silent] = none.result;
    const isSilent = none.isStalled && silent?.differences.length === 0; // for 300 ms, as recorded
    assert.deepEqual(
      silent?.differences,
      isSilent ? [] : [
        { what: "answer", recorded: "none within 9999 ms, when the POS left", simulated: "one" },
      ],
    );
    const bad = exchanged("CZ0040300CA00201", { raw: "CZ0040300CA00201AE00201AF00209" });
    const [open] = await compare(bad.replace('"request"', '"invalid"'));
    assert.deepEqual(open?.differences, []);
  },
);

slow("an answer after seconds, in part, with another card or AE 11 first", async () => {
  const paid = { ...DEBIT_MESSAGE, BF: "1" };
  const raw = encodeText({
    ...paid,
    CB: "5000",
    AE: "10",
    CC: "006",
    CI: "3",
    AC: "******",
    CF: "**********",
    CG: "1234567",
  });
  const recording = line("request", 1, 1, { raw: encodeText(paid) }) +
    line("answer", 1, 1, { raw: encodeText({ ...paid, AE: "11" }), milliseconds: 100 }) +
    line("answer", 1, 1, { raw, milliseconds: 12_345 });
  const [comparison] = await compare(recording);
  assert.equal(comparison?.outcome, "success,pending,delay=1,CC=006,CI=3,CB=5000");
  const found = comparison?.differences.map(({ what }) => what);
  assert.deepEqual(found, ["tags"]); // AA, AI and AB: it cannot be told that this card has none
});

slow("our own terminal that sends AE 11 first differs in nothing", async () => {
  const next: OutcomeText[] = ["pending,delay=0.2", "refused,pending,delay=0.2"];
  const recording = await recordingOf(async (port) => {
    await payAt(port);
    await payAt(port);
  }, { next });
  const compared = await compare(recording);
  assert.deepEqual(differing(compared), []);
  assert.deepEqual(compared.map(({ outcome }) => outcome), [
    "success,cbcontact,pending,delay=0",
    "refused,pending,delay=0",
  ]);
});

slow("a terminal that answered more than once, and one whose line end came later", async () => {
  const answer = encodeText({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });
  const [twice] = await compare(
    exchanged(DEBIT, { raw: answer }) +
      line("warning", 1, 1, { code: "unasked", text: "", raw: answer, milliseconds: 9 }),
  );
  assert.deepEqual(twice?.differences, [{ what: "answer", recorded: "2", simulated: "one" }]);
  const [late] = await compare(
    exchanged(DEBIT, { raw: answer }) +
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\r\n", milliseconds: 150 }),
  );
  assert.deepEqual(late?.differences, [
    { what: "ending", recorded: "\r\n", simulated: "" },
    { what: "segments", recorded: "2", simulated: "1" },
  ]);
});

const REFUSAL = encodeText({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });

slowTable(
  "what is wrong with an answer as a whole is told",
  {
    "a tag twice": [exchanged(DEBIT, { raw: `${REFUSAL}AF00205` }), [
      { what: "tags", recorded: "AF again", simulated: "" },
    ]],
    "garbage": [exchanged(DEBIT, { raw: "\x15?!" }), [
      { what: "answer", recorded: "one, malformed", simulated: "one" },
    ]],
    "malformed from a byte on": [
      exchanged(DEBIT, { raw: encodeText({ ...DEBIT_MESSAGE, CZ: "0301", AE: "01" }) + "AF0" }),
      [
        { what: "answer", recorded: "one, malformed", simulated: "one" },
        { what: "value", tag: "CZ", recorded: "0301", simulated: "0300" },
      ],
    ],
    "bytes before it": [
      line("request", 1, 1, { raw: DEBIT }) +
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\x06", milliseconds: 3 }) +
      jsonLine({ event: "between", connection: 1, by: "pos", raw: "\x05", milliseconds: 4 }) +
      line("answer", 1, 1, { raw: REFUSAL, milliseconds: 9 }),
      [{ what: "before", recorded: "\x06", simulated: "" }],
    ],
    "bytes before it, which came before the request was read": [
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\x06" }) +
      exchanged(DEBIT, { raw: REFUSAL }),
      [{ what: "before", recorded: "\x06", simulated: "" }],
    ],
    "a reset after it": [
      exchanged(DEBIT, { raw: REFUSAL }, { by: "terminal", milliseconds: 5, reset: true }),
      [{ what: "closed", recorded: "resets the connection", simulated: "keeps it open" }],
    ],
  } satisfies Record<string, [string, object[]]>,
  async ([recording, differences]) => {
    const [comparison] = await compare(recording);
    assert.deepEqual(comparison?.differences, differences);
  },
);

slow("a report has nothing of the private data of a recording that is not masked", async () => {
  const answer = { ...DEBIT_MESSAGE, ...SECRETS, AE: "01", AF: "04" };
  const more = `${DEBIT}CH020AA016${SECRETS["AA"]}`.slice(0, -1);
  const recording = exchanged(WITH_SECRETS, { raw: encodeText(answer) }) +
    exchanged(more, { raw: `${REFUSAL}CH006AC066Q` });
  const report = await compare(recording);
  assert.deepEqual(traces(JSON.stringify(report)), []);
  assert.equal(report[0]?.request["BH"], "*".repeat(12));
});

slow("of a value that is masked only the size is compared", async () => {
  // As of an answer that is malformed behind it, or cut.
  for (const status of ["10", "**"]) {
    const raw = `${DEBIT.slice(0, -5)}*****AE002${status}CC003***CI002**AC006******C`;
    const [comparison] = await compare(exchanged(DEBIT, { raw }));
    assert.deepEqual(comparison?.differences, [
      { what: "answer", recorded: "one, malformed", simulated: "one" },
      { what: "size", tag: "CI", recorded: "2", simulated: "1" },
    ]);
    assert.equal(comparison?.outcome, "success,delay=0");
  }
});

slow("an AE 11 that came first is held against ours as an answer is", async () => {
  const { CB: _, ...others } = DEBIT_MESSAGE;
  const interim = { raw: encodeText({ ...others, AE: "11", XX: "1" }), milliseconds: 2_000 };
  const recording = line("request", 1, 1, { raw: DEBIT }) +
    line("answer", 1, 1, { ...interim, ending: "\n" }) +
    line("answer", 1, 1, { raw: REFUSAL, milliseconds: 4_000 });
  const [comparison] = await compare(recording);
  assert.deepEqual(comparison?.differences, [
    { interim: true, what: "tags", recorded: "XX", simulated: "CB" },
    { interim: true, what: "ending", recorded: "\n", simulated: "" },
    { interim: true, what: "time", recorded: "after seconds", simulated: "at once" },
  ]);
  const { stdout } = await withStdin(recording, "--compare");
  assert.match(stdout, /\n {2}AE 11, tags: recorded XX, simulated CB\n/);
});

// ---------------------------------------------------------------- with web.ts

test("web.ts shows and steers a proxy", patience, async () => {
  await using real = await terminalWith();
  await using web = await startWeb({
    port: 0,
    host: "127.0.0.1",
    webPort: 0,
    terminal: `127.0.0.1:${real.port}`,
  });
  const call = async (path: string, init: RequestInit = {}): Promise<[number, unknown]> => {
    const response = await fetch(new URL(path, web.url), {
      ...init,
      signal: AbortSignal.timeout(10_000),
    });
    return [response.status, await response.json()];
  };
  assert.equal((await call("/api/next", { method: "POST", body: "truncate" }))[0], 200);
  const [status, refused] = await call("/api/next", { method: "POST", body: "refused" });
  assert.equal(status, 400);
  assert.match(JSON.stringify(refused), /the real terminal decides the rest/);
  await assert.rejects(payAt(web.port));
  const [, told] = await call("/api/transactions/next");
  const { due, answer } = told as { due: { raw: string }; answer: { raw: string } };
  assert.equal(due.raw.length - 1, answer.raw.length);
  assert.match(due.raw, /AC006\*{6}/);
  const [, about] = await call("/api/terminal");
  assert.equal((about as { terminal: string }).terminal, `127.0.0.1:${real.port}`);
  assert.equal("model" in (about as object), false);
  const outcomes = [(about as { outcome: string }).outcome];
  for (const outcome of ["CC=003,split", ""]) {
    const body = JSON.stringify({ outcome });
    const headers = { "content-type": "application/json" };
    const [, changed] = await call("/api/terminal", { method: "PATCH", body, headers });
    outcomes.push((changed as { outcome: string }).outcome);
  }
  const [, again] = await call("/api/reset", { method: "POST" });
  outcomes.push((again as { outcome: string }).outcome);
  assert.deepEqual(outcomes, ["", "split,CC=003", "", ""]); // success is for the terminal to decide
  assert.deepEqual(await call("/api/try", { method: "POST" }), [409, {
    error: `expected a simulated terminal, 127.0.0.1:${real.port} is a real one`,
  }]);
  assert.equal(real.transactions.length, 1);
  await assert.rejects(startWeb({ webPort: 0, terminal: "127.0.0.1:1", duration: 1 }), OptionError);
  await assert.rejects(startWeb({ webPort: 0, unmasked: true }), OptionError);
});

// ---------------------------------------------------------------- the command

/** A proxy as a command on a free port, once it listens. */
async function proxyCommand(...args: string[]): Promise<{ command: Command; port: number }> {
  const command = Command.start("proxy.ts", "-p", "0", "--host", "127.0.0.1", ...args);
  return {
    command,
    port: Number(await command.prints("stderr", /listening on 127\.0\.0\.1 port (\d+)/)),
  };
}

/** Runs the command with a recording on stdin. */
async function withStdin(recording: string, ...args: string[]): ReturnType<typeof run> {
  await using command = Command.start("proxy.ts", ...args);
  command.process.stdin!.on("error", () => {}).end(recording);
  return await command.ran();
}

test("proxy.ts records, plays and compares", patience, async () => {
  await using real = await terminalWith();
  const { command, port } = await proxyCommand("--terminal", `127.0.0.1:${real.port}`, "--json");
  await using _proxy = command;
  assert.equal((await payAt(port)).status, "approved");
  await command.prints("stdout", /"closed"/);
  command.signal("SIGTERM");
  const { status, stdout } = await command.ran();
  // As if it had taken seconds, which the simulated terminal then takes too: however late a busy
  // machine is, that is no difference.
  const recording = stdout.replace(/(?<="milliseconds":)\d+/g, "1500");
  assert.equal(status, 0);
  assert.equal(recording.split("\n").length, 5);

  const [same, other, asJson] = await Promise.all([
    withStdin(recording, "--compare"),
    withStdin(recording.replaceAll("AE00210", "AE00211"), "--compare"),
    withStdin(recording.replaceAll("AE00210", "AE00211"), "--compare", "--json"),
  ]);
  assert.deepEqual([same.status, same.stderr], [0, ""]);
  assert.equal(
    same.stdout,
    "line 2: debit 112.45 EUR of 01, simulated as success,cbcontact,delay=1: no difference\n0 of 1 differ\n",
  );
  assert.deepEqual([other.status, other.stderr], [1, ""]);
  assert.match(other.stdout, /^line 2: .*\n {2}AE: recorded 11, simulated 10\n1 of 1 differ\n$/);
  const { differences } = JSON.parse(asJson.stdout);
  assert.deepEqual(differences, [{ what: "value", tag: "AE", recorded: "11", simulated: "10" }]);

  await using player = Command.start("proxy.ts", "-p", "0", "--host", "127.0.0.1", "--replay");
  player.process.stdin!.end(recording);
  const playing = await player.prints("stderr", /port (\d+), playing 1 kinds? of requests?/);
  assert.equal((await payAt(Number(playing), { amount: "5" })).amount, "5.00");
});

test("proxy.ts whose terminal could never be reached ends with status 3", patience, async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: free } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const { command, port } = await proxyCommand("--terminal", `127.0.0.1:${free}`);
  await using _proxy = command;
  await assert.rejects(payAt(port));
  await command.prints("stderr", /error #1 cannot reach the terminal at .*: nothing listens there/);
  command.signal("SIGTERM");
  assert.equal((await command.ran()).status, 3);
});

test("proxy.ts says what is wrong with its arguments", patience, async () => {
  const cases: [string[], RegExp][] = [
    [
      [],
      /^proxy\.ts: --terminal: expected one of --terminal HOST, --replay and --compare, got none /,
    ],
    [["--replay", "--compare"], /: expected one of .* got "--replay, --compare"/],
    [["--terminal", "x", "--replay"], /: expected one of .* got "--terminal, --replay"/],
    [["--terminal", "a b"], /: --terminal: expected an address or a name, /],
    [
      ["--terminal", "x", "--outcome", "refused"],
      /: --outcome: expected a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest, got "refused"/,
    ],
    [["--terminal", "x", "-f"], /: --outcome: .* got "abandon"/],
    [
      ["--terminal", "x", "-d", "3"],
      /: --duration: expected none: the real terminal decides that, got 3/,
    ],
    [["--terminal", "x", "--strict"], /: --strict: expected none: the real terminal decides that/],
    [["--terminal", "x", "-i"], /: --interactive: expected none: the real terminal decides that/],
    [["--terminal", "x", "--model", "y"], /: --model: expected --compare, got "--terminal"/],
    [
      ["--compare", "--unmasked"],
      /: --unmasked: expected --terminal or --replay, got "--compare"/,
    ],
    [["--replay", "--next", "split"], /: --next: expected none: the recording decides that/],
    [["--compare", "-p", "1"], /: --port: expected none with --compare, got 1/],
    [["--compare", "--next", "split"], /: --next: expected none with --compare, got /],
    [["--compare", "--outcome", "split"], /: --outcome: expected none: the recording decides that/],
    [["--terminl", "x"], /: Unknown option '--terminl'.*; did you mean --terminal\?/],
  ];
  await Promise.all(cases.map(async ([args, pattern]) => {
    const { status, stdout, stderr } = await withStdin("", ...args);
    assert.deepEqual([status, stdout], [2, ""], stderr);
    assert.match(stderr, pattern);
    assert.equal(stderr.split("\n").length, 2, stderr);
  }));
  const bad = await withStdin("hello", "--compare");
  assert.equal(bad.status, 2);
  assert.match(bad.stderr, /--compare: expected the event of a recording on line 1, got "hello"/);
  for (const mode of ["--replay", "--compare"]) {
    const empty = await withStdin("", mode);
    assert.deepEqual([empty.status, empty.stdout], [2, ""]);
    assert.match(
      empty.stderr,
      new RegExp(`: ${mode}: expected the lines that proxy.ts --json has `),
    );
  }
  const { status, stdout } = await run("proxy.ts", "--help");
  assert.equal(status, 0);
  assert.match(stdout, /--terminal HOST .*--replay .*--compare .*hangup .*truncate /s);
  assert.doesNotMatch(stdout, /--duration|--strict|pending|refused|AF codes/);
  assert.ok(stdout.split("\n").every((line) => line.length <= 80), "at most 80 columns");
});

// ---------------------------------------------------------------- what must not hurt it

test("tills and terminals that vanish at any moment leave nothing behind", patience, async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  t.diagnostic?.(`seed ${seed}`);
  const random = randomFrom(seed);
  const vanish = (peer: Peer): void => {
    const how = random();
    if (how < 0.3 && peer.socket.writable) peer.reset();
    else if (how < 0.6) peer.socket.destroy();
    else if (how < 0.8) peer.socket.end();
  };
  await using real = await listening(async (peer) => {
    peer.socket.on("error", () => {});
    await peer.until(random() < 0.5 ? /./ : /11245/).catch(() => {});
    if (random() < 0.7) await sendCut(peer, APPROVAL.slice(0, random() * 200), random);
    await sleep(random() * 20);
    vanish(peer);
    setTimeout(() => peer.socket.destroy(), 200);
  });
  const outcomes: OutcomeText[] = [
    "truncate",
    "split",
    "delay=0.05",
    "hangup",
    "close",
    "reset",
    "garbage",
  ];
  // So that a connection is told too that is gone before anything of it could be read.
  await using seen = await proxyTo(real.port, { logLevel: "debug" });
  const count = 600;
  for (let at = 0; at < count; at += 30) {
    await Promise.all(Array.from({ length: 30 }, async () => {
      if (random() < 0.4) seen.proxy.nextOutcome(outcomes[Math.floor(random() * outcomes.length)]!);
      await using till = await Peer.connect(seen.port);
      await sendCut(till, DEBIT.slice(0, random() < 0.5 ? undefined : 1 + random() * 60), random);
      await sleep(random() * 40);
      vanish(till);
      await Promise.race([till.closed, sleep(random() * 100)]);
    }));
  }
  await closed(seen.events, count);
  await eventually(
    () => seen.proxy.transactions.every(({ ended }) => ended),
    `all over, seed ${seed}: ${
      JSON.stringify(seen.proxy.transactions.find(({ ended }) => !ended))
    }`,
  );
  assert.equal(seen.events.filter(({ event }) => event === "closed").length, count, `seed ${seed}`);
});

slowTable("a slow reader holds the other side back, and little is kept", {
  "a till that does not read": true,
  "a terminal that does not read": false,
}, async (tillIsSlow) => {
  const sockets = new Set<net.Socket>();
  const { write } = net.Socket.prototype;
  net.Socket.prototype.write = function (this: net.Socket, ...args: Parameters<typeof write>) {
    sockets.add(this);
    return write.apply(this, args);
  } as typeof write;
  const arrived = Promise.withResolvers<net.Socket>();
  const server = net.createServer((socket) => arrived.resolve(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  await using seen = await proxyTo((server.address() as net.AddressInfo).port, {
    logLevel: "error",
  });
  const till = net.connect({ port: seen.port, host: "127.0.0.1" });
  await once(till, "connect");
  till.write(DEBIT);
  const terminal = await arrived.promise;
  const [fast, slow] = tillIsSlow ? [terminal, till] : [till, terminal];
  slow.pause();
  // Messages without end, and bytes that are none.
  const flood = `${encodeText({ ...DEBIT_MESSAGE, AE: "10", XX: "x".repeat(999) })}\n`.repeat(60);
  let [sent, most, held] = [0, 0, 0];
  let stuck = 0;
  while (stuck < 20) {
    if (fast.writableLength === 0) {
      fast.write(flood, "latin1");
      sent += flood.length;
      stuck = 0;
    } else stuck++;
    await sleep(5);
    held = 0;
    for (const socket of sockets) {
      if (socket !== fast && socket !== slow) held += socket.writableLength + socket.readableLength;
    }
    most = Math.max(most, held);
    assert.ok(sent < 2 ** 27, "nothing is held back");
  }
  assert.ok(most > 0 && most < 2 ** 20, `${most} bytes are held`);
  let received = 0;
  slow.on("data", (chunk) => received += chunk.length).resume();
  const expected = sent + (tillIsSlow ? 0 : DEBIT.length);
  await eventually(() => received === expected, "all of it has come");
  net.Socket.prototype.write = write;
  till.destroy();
  terminal.destroy();
  await new Promise((resolve) => server.close(resolve));
});

test("a long report is printed to its end for one who reads late", patience, async () => {
  const value = (letter: string): string =>
    encodeText({ ...BASE, CD: "I", XX: letter.repeat(999) });
  const recording = Array.from(
    { length: 80 },
    (_, at) =>
      exchanged(value("x"), { raw: `${value("y")}AE00210` }).replaceAll(":1,", `:${at + 1},`),
  ).join("");
  const script = fileURLToPath(new URL("proxy.ts", import.meta.url));
  const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
  const reading = spawn(
    "sh",
    ["-c", '"$@" --compare | { sleep 6; wc -c; }', "sh", process.execPath, ...deno, script],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  let stdout = "";
  reading.stdout.setEncoding("utf8").on("data", (chunk: string) => stdout += chunk);
  reading.stdin.end(recording);
  await once(reading, "close");
  assert.ok(Number(stdout) > 160_000, stdout);
});

sideBySide();

slow("what comes behind an answer that is held waits for it, and is held back itself", async () => {
  const arrived = Promise.withResolvers<net.Socket>();
  const server = net.createServer((socket) => arrived.resolve(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await using seen = await proxyTo(port, { logLevel: "error", outcome: "delay=5" });
  await using till = await Peer.connect(seen.port);
  till.send(`${DEBIT}\n`);
  const terminal = await arrived.promise;
  terminal.write(`${APPROVAL}\n`, "latin1");
  await eventually(() => seen.events.some(({ event }) => event === "due"), "due");
  const flood = `${encodeText({ ...DEBIT_MESSAGE, XX: "x".repeat(999) })}\n`.repeat(600);
  let sent = `${APPROVAL}\n`.length;
  for (let stuck = 0; stuck < 20 && till.text === "";) {
    if (terminal.writableLength === 0) {
      terminal.write(flood, "latin1");
      sent += flood.length;
      stuck = 0;
    } else stuck++;
    await sleep(5);
  }
  assert.equal(till.text, "");
  assert.ok(terminal.writableLength > 0, "the terminal is not held back");
  await eventually(() => till.text.length === sent, "all of it has come");
  assert.ok(till.text.startsWith(`${APPROVAL}\nCZ`));
  terminal.destroy();
  await new Promise((resolve) => server.close(resolve));
});

slow("a connection too many is closed", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port, { maxConnections: 1 });
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await eventually(() => seen.proxy.transactions.length === 1, "a request");
  await using other = await Peer.connect(seen.port);
  assert.equal(await other.closed, "ended");
  assert.ok(seen.log.includes("warn #2 closed: 1 connections are open already"));
});

slow("a reset ends what is under way at a cash register, close all of it", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  await using other = await Peer.connect(seen.port);
  till.send(`${DEBIT}\n`);
  other.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
  await eventually(() => seen.proxy.transactions.length === 2, "two requests");
  seen.proxy.reset("01");
  await till.closed;
  assert.equal(other.socket.readyState, "open");
  const waiting = assert.rejects(seen.proxy.waitForTransaction(), { reason: "closed" });
  await seen.proxy.close();
  await waiting;
  await other.closed;
});
