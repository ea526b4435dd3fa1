// SPDX-License-Identifier: GPL-3.0-or-later
// Terminals that are not there, tills that vanish, peers that do not read.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import { APPROVAL } from "../test_helpers.ts";
import { closed, proxyTo, randomFrom, sendCut } from "./proxy_helpers.ts";
import { startProxy } from "./relay.ts";
import {
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  patience,
  Peer,
  sideBySide,
  slow,
  slowTable,
} from "./test_helpers.ts";

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
    assert.deepEqual(warnings, [{ code: "unreachable", text: why, about: { why } }]);
    assert.ok(seen.log.includes(`error #1 ${why}`));
    assert.equal(seen.proxy.reached, false);
  },
);

test(
  "a terminal that cannot be reached is told of once, whenever the request comes",
  patience,
  async () => {
    await using gone = await listening(() => {});
    const { port } = gone;
    await gone[Symbol.asyncDispose]();
    await using seen = await proxyTo(port);
    const reasons = (): string[] => seen.log.filter((line) => line.includes("cannot reach"));
    await using late = await Peer.connect(seen.port);
    await eventually(() => seen.proxy.reached === false, "the try has failed");
    late.send(DEBIT);
    await late.closed;
    await closed(seen.events);
    assert.equal(reasons().length, 1, seen.log.join("\n"));
    const told = seen.events.find(({ event }) => event === "closed");
    assert.ok(Number(told?.["milliseconds"]) >= 0, JSON.stringify(told));
    await using idle = await Peer.connect(seen.port);
    idle.socket.end();
    await idle.closed;
    await eventually(() => reasons().length === 2, "one that says nothing is told of as well");
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

sideBySide();

slowTable("a slow reader holds the other side back, and all of it comes in the end", {
  "a till that does not read": true,
  "a terminal that does not read": false,
}, async (tillIsSlow) => {
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
  await once(terminal, "data"); // the request is passed on
  const [fast, slow] = tillIsSlow ? [terminal, till] : [till, terminal];
  slow.pause();
  // Messages without end, and bytes that are none.
  const flood = `${encodeText({ ...DEBIT_MESSAGE, AE: "10", XX: "x".repeat(999) })}\n`.repeat(60);
  let sent = 0;
  for (let stuck = 0; stuck < 20;) {
    if (fast.writableLength === 0) {
      fast.write(flood, "latin1");
      sent += flood.length;
      stuck = 0;
    } else stuck++;
    await sleep(5);
    assert.ok(sent < 2 ** 26, "nothing is held back"); // what the system keeps is less
  }
  let received = 0;
  slow.on("data", (chunk) => received += chunk.length).resume();
  await eventually(() => received === sent, `all of ${sent} bytes has come`);
  till.destroy();
  terminal.destroy();
  await new Promise((resolve) => server.close(resolve));
});

slow("what comes behind an answer that is held waits for it, and is held back itself", async () => {
  const arrived = Promise.withResolvers<net.Socket>();
  const server = net.createServer((socket) => arrived.resolve(socket)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  await using seen = await proxyTo(port, { logLevel: "error", outcome: "delay=5" });
  await using till = await Peer.connect(seen.port);
  till.send(`${DEBIT}\n`);
  const terminal = await arrived.promise;
  await once(terminal, "data"); // the request is passed on
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
  await using seen = await proxyTo(real.port, { bounds: { connections: 1 } });
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
