// SPDX-License-Identifier: GPL-3.0-or-later
// What goes through a proxy: bytes, and how connections end.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText, type Message } from "../protocol.ts";
import { APPROVAL } from "../test_helpers.ts";
import {
  ALL_BYTES,
  came,
  chunksOf,
  closed,
  proxyTo,
  randomFrom,
  REFUSAL,
  sendCut,
} from "./proxy_helpers.ts";
import {
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
} from "./test_helpers.ts";

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

slow("the terminal is connected to when a POS connects, once for each connection", async () => {
  const reals: Peer[] = [];
  await using real = await listening((peer) => reals.push(peer));
  await using seen = await proxyTo(real.port);
  assert.equal(seen.proxy.reached, undefined);
  const tills = [await Peer.connect(seen.port), await Peer.connect(seen.port)];
  await eventually(() => reals.length === 2, "2 connections");
  assert.equal(seen.proxy.reached, true);
  for (const till of tills) till.send("CZ0040300");
  await eventually(() => reals.every(({ text }) => text === "CZ0040300"), "passed on");
  for (const till of tills) till.send("CJ003012");
  for (const peer of reals) await peer.until(/CJ003012$/);
  const nothing = await Peer.connect(seen.port);
  await eventually(() => reals.length === 3, "3 connections");
  assert.deepEqual(await nothing.finish(), []);
  assert.deepEqual(seen.events.filter(({ event }) => event === "closed"), []);
  assert.equal(reals.length, 3);
  assert.deepEqual(seen.proxy.settings.reached, true);
  for (const till of tills) await till[Symbol.asyncDispose]();
});

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

// ---------------------------------------------------------------- what a terminal says first

sideBySide();

slow("what a terminal says on connecting is no answer to what a POS sends then", async () => {
  const late = `${APPROVAL}AA006497011`;
  await using real = await listening(async (peer) => {
    peer.send(late);
    await peer.until(/11245/);
    await sleep(20);
    peer.send(REFUSAL);
  });
  await using seen = await proxyTo(real.port);
  await Promise.all(Array.from({ length: 20 }, async () => {
    const { status } = await payAt(seen.port)
      .catch((error: { answer?: Message }) => ({ status: error.answer?.["AE"] }));
    assert.notEqual(status, "approved");
  }));
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  assert.equal(await till.until(/AF00204/), REFUSAL);
  await eventually(() => seen.proxy.transactions.at(-1)?.answer !== undefined, "answered");
  const { answer, warnings, connection } = seen.proxy.transactions.at(-1)!;
  assert.equal(answer?.verdict?.status, "declined");
  assert.deepEqual(warnings.map(({ code }) => code), ["early"]);
  assert.match(warnings[0]!.text, /^the terminal sent before it was asked: "CZ0040300CJ/);
  const said = seen.events.find((one) => one.event === "between" && one.connection === connection);
  assert.equal(said?.raw, late.replace(/(AC006|AA006)\w{6}/g, "$1******"));
  assert.equal(said?.["by"], "terminal");
});

slow("what is said before a request on a kept connection is no answer to it", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(`${REFUSAL}\n`);
    await peer.until(/CD0013/);
    peer.send(APPROVAL); // nobody asked for it
    await peer.until(/22200/);
    peer.send(`${REFUSAL.replace("11245", "22200")}\n`);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(`${DEBIT}\n`);
  await till.until(/AF00204/);
  till.send(`${encodeText({ ...BASE, CD: "3" })}\n`);
  await till.until(/AC006123456/);
  till.send(`${DEBIT.replace("11245", "22200")}\n`);
  await till.until(/22200.*AF00204/);
  await eventually(() => seen.proxy.transactions.at(-1)?.answer !== undefined, "answered");
  const told = seen.proxy.transactions.map(({ answer }) => answer?.message["CB"]);
  assert.deepEqual(told, ["11245", "11245", "22200"]);
});

slow("a terminal's message without being asked is told before the next request", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(`${REFUSAL}\n`);
    await came(till, `${REFUSAL}\n`);
    peer.send(APPROVAL);
    await peer.until(/22200/);
    peer.send(`${REFUSAL.replace("11245", "22200")}\n`);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(`${DEBIT}\n`);
  await till.until(/AF00204[^]*AC006123456/);
  till.send(`${DEBIT.replace("11245", "22200")}\n`);
  await till.until(/22200.*AF00204/);
  await eventually(() => seen.proxy.transactions.at(-1)?.answer !== undefined, "answered");
  const [first, second] = seen.proxy.transactions;
  assert.deepEqual(first?.warnings.map(({ code }) => code), ["unasked"]);
  assert.deepEqual([second?.warnings, second?.answer?.message["AF"]], [[], "04"]);
});

slow("more requests than are waited for: each answer goes to its own", async () => {
  const count = 12;
  const amounts = Array.from({ length: count }, (_, at) => `${100 + at}`);
  await using real = await listening(async (peer) => {
    await peer.until(new RegExp(`CB003${amounts.at(-1)}`));
    const { length } = seen.proxy.transactions; // told, whatever was given up
    assert.equal(length, count);
    for (const CB of amounts) peer.send(`${encodeText({ ...DEBIT_MESSAGE, CB, AE: "10" })}\n`);
  });
  await using seen = await proxyTo(real.port, { bounds: { waiting: 4 } });
  await using till = await Peer.connect(seen.port);
  till.send(amounts.map((CB) => `${encodeText({ ...DEBIT_MESSAGE, CB })}\n`).join(""));
  await till.until(/CB003111AE/);
  await eventually(() => seen.proxy.transactions.every(({ ended }) => ended), "all over");
  const told = seen.proxy.transactions.map(({ request, answer }) => [
    request.message["CB"],
    answer?.message["CB"],
  ]);
  assert.deepEqual(told, amounts.map((CB, at) => [CB, at < count - 4 ? undefined : CB]));
});

slow("whether the terminal was reached is that of the last try", async () => {
  const first = await listening(() => {});
  await using seen = await proxyTo(first.port);
  await using _till = await Peer.connect(seen.port);
  await eventually(() => seen.proxy.reached === true, "reached");
  await first[Symbol.asyncDispose]();
  await using other = await Peer.connect(seen.port);
  other.send(DEBIT);
  await other.closed;
  assert.deepEqual([seen.proxy.reached, seen.proxy.settings.reached], [false, false]);
  assert.equal(seen.proxy.wasReached, true);
  const { warnings } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  assert.equal(warnings.at(-1)?.code, "unreachable");
});
