// SPDX-License-Identifier: GPL-3.0-or-later
// Events over HTTP, and what keeps readers from taking too much.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TerminalEvent } from "../server.ts";
import { ask, askAndClose, DEBIT, eventually, LIMIT, patience, Peer } from "./test_helpers.ts";
import {
  call,
  countWaits,
  debitOf,
  done,
  exchange,
  Reader,
  refused,
  webPort,
  webWith,
} from "./web_helpers.ts";
import { WEB_BOUNDS } from "./webrequest.ts";

// ---------------------------------------------------------------- /api/events

test("GET /api/events tells what --json prints, to each reader", async () => {
  const events: TerminalEvent[] = [];
  await using web = await webWith({ onEvent: (event) => void events.push(event) });
  await using one = await Reader.open(web);
  await using other = await Reader.open(web);
  await askAndClose(web.port, DEBIT);
  const streamed = await one.until("closed");
  assert.deepEqual(
    streamed.map(({ event }) => event),
    ["request", "decided", "answer", "closed"],
  );
  assert.deepEqual(streamed.map(({ data }) => JSON.parse(data)), events.slice(1));
  assert.deepEqual(await other.until("closed"), streamed);
});

test("a stream of events begins with what happens from now on", async () => {
  let closed = 0;
  await using web = await webWith({ onEvent: ({ event }) => event === "closed" && closed++ });
  {
    await using reader = await Reader.open(web);
    await askAndClose(web.port, debitOf("01"));
    await reader.until("closed");
  }
  await askAndClose(web.port, debitOf("02")); // while nobody listens
  await eventually(() => closed === 2, "closed");
  await using again = await Reader.open(web);
  await askAndClose(web.port, debitOf("03"));
  const [request] = await again.until("request");
  assert.equal(JSON.parse(request!.data).message.CA, "03");
});

test("a stream of events has a comment every 15 s", async () => {
  assert.equal(WEB_BOUNDS.heartbeat, 15_000);
  await using web = await webWith({}, { bounds: { heartbeat: 10 } });
  await using reader = await Reader.open(web);
  assert.equal(await reader.comment(), "still here");
  assert.equal(await reader.comment(), "still here");
  await askAndClose(web.port, DEBIT);
  assert.equal((await reader.next())?.event, "request");
});

// ---------------------------------------------------------------- bounds

/** Some words of exactly so many bytes. */
function wordsOf(bytes: number): string {
  return "refused\n".repeat(Math.ceil(bytes / 8)).slice(0, bytes - 1) + "\n";
}

/** A body that is sent in chunks. */
function chunks(text: string): string {
  const parts = text.match(/[^]{1,10000}/g) ?? [];
  return [...parts, ""].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join("");
}

test("bodyBytes: 64 KiB, then 413, whether the size is told or not", patience, async () => {
  await using web = await webWith();
  const [whole, more] = [wordsOf(65_536), wordsOf(65_544)];
  assert.equal((await done(web, "POST /api/next", whole)).next.length, 8192);
  await done(web, "DELETE /api/next"); // no more than 10,000 can be queued
  const expected = "expected a body of at most 65536 bytes";
  assert.equal(await refused(413, web, "POST /api/next", more), expected);
  assert.equal(await refused(413, web, "PATCH /api/terminal", wordsOf(3_000_000)), expected);
  const head = ["POST /api/next HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"];
  assert.equal((await exchange(web, head, chunks(whole))).status, 200);
  assert.equal((await exchange(web, head, chunks(more))).status, 413);
  assert.equal((await exchange(web, head, chunks(wordsOf(3_000_000)))).status, 413);
  assert.equal(web.settings.next.length, 8192);
  await using small = await webWith({}, { bounds: { bodyBytes: 7 } });
  await done(small, "POST /api/next", "refused");
  await refused(413, small, "POST /api/next", "refused\n");
});

test("after a body that was too large the connection goes on", async () => {
  await using web = await webWith();
  await using peer = await Peer.connect(webPort(web));
  const body = wordsOf(1_000_000);
  peer.send(`POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`);
  await peer.until(/^HTTP\/1\.1 413 /);
  peer.send(`${body}GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await peer.until(/HTTP\/1\.1 200 [^]*\{"status":"ok"\}/);
});

test("request: a body that takes too long, 408 and the end", patience, async () => {
  assert.equal(WEB_BOUNDS.request, 10_000);
  await using web = await webWith({}, { bounds: { request: 2000 } }); // the head must be there in that time, too
  const heads = ["Content-Length: 7", "Transfer-Encoding: chunked"];
  await Promise.all(heads.map(async (head) => {
    const since = performance.now();
    const got = await exchange(web, ["POST /api/next HTTP/1.1", "Host: localhost", head]);
    assert.equal(got.status, 408);
    assert.match(got.text, /\{"error":"expected the body within 2000 ms"\}/);
    assert.ok(performance.now() - since > 1990);
  }));
  await done(web, "POST /api/next", "refused");
});

test("request: a head that takes too long, 408 and the end", patience, async () => {
  await using web = await webWith({}, { bounds: { request: 1500 } });
  const heads = ["GET /api/health HTTP/1.1\r\n", "GET /api/health HTTP/1.1\r\nHost: local"];
  await Promise.all(heads.map(async (head) => {
    await using peer = await Peer.connect(webPort(web));
    peer.send(head);
    await peer.closed;
    assert.match(peer.text, /^HTTP\/1\.1 408 /);
  }));
});

test("request: a body that nobody asked for is read no longer", patience, async () => {
  await using web = await webWith({}, { bounds: { request: 1500 } });
  const statuses = {
    "/nothing": 404,
    "/api/next": 413,
  };
  await Promise.all(
    Object.entries(statuses).map(async ([path, status]) => {
      await using peer = await Peer.connect(webPort(web));
      peer.send(
        `POST ${path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${
          chunks(wordsOf(70_000)).slice(0, -5)
        }`,
      );
      await peer.until(new RegExp(`^HTTP/1.1 ${status} `));
      const sending = setInterval(() => peer.send(chunks("endless").slice(0, -5)), 10);
      try {
        await peer.closed;
      } finally {
        clearInterval(sending);
      }
    }),
  );
});

test("connections: those beyond it are closed; one that leaves makes room", patience, async () => {
  await using web = await webWith({}, { bounds: { connections: 3 } });
  await using stack = new AsyncDisposableStack();
  const open = async (): Promise<Peer | undefined> => {
    const peer = stack.use(await Peer.connect(webPort(web)));
    peer.send("GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return await peer.until(/"ok"/).then(() => peer, () => undefined);
  };
  const peers = [await open(), await open(), await open()];
  assert.ok(peers.every((peer) => peer));
  assert.equal(await open(), undefined);
  await peers[0]![Symbol.asyncDispose]();
  const end = performance.now() + LIMIT;
  let last = await open();
  while (!last && performance.now() < end) last = await open();
  assert.ok(last);
});

test("streams: 100 at once, then 503; one that leaves makes room", patience, async () => {
  await using web = await webWith();
  await using stack = new AsyncDisposableStack();
  const open = async (): Promise<Peer> => {
    const peer = stack.use(await Peer.connect(webPort(web)));
    peer.send("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await peer.until(/^HTTP\/1\.1 (?:503|200 [^]*\r\n: )/);
    return peer;
  };
  const peers = await Promise.all(Array.from({ length: 100 }, open));
  assert.ok(peers.every(({ text }) => text.startsWith("HTTP/1.1 200")));
  const why = await refused(503, web, "GET /api/events");
  assert.equal(why, "expected at most 100 event streams");
  await peers[50]![Symbol.asyncDispose]();
  const end = performance.now() + LIMIT;
  let last = await open();
  while (last.text.startsWith("HTTP/1.1 503") && performance.now() < end) last = await open();
  assert.match(last.text, /^HTTP\/1\.1 200 /);
});

test("unreadBytes: who does not read is dropped, who does is not", patience, async () => {
  await using web = await webWith({ gap: 5000 }, { bounds: { unreadBytes: 300_000 } }); // a request comes in pieces
  await using idle = await Peer.connect(webPort(web));
  idle.send("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await idle.until(/\r\n: /);
  idle.socket.pause();
  await using reader = await Reader.open(web);
  const tags = ["AA", "AB", "AC", "AI"].map((tag) => `${tag}999${"x".repeat(999)}`).join("");
  const large = DEBIT + tags.repeat(15); // 60,000 bytes
  for (let count = 0; count < 120; count++) {
    await askAndClose(web.port, large);
    await reader.until("closed");
  }
  idle.socket.resume();
  await idle.closed;
  assert.ok(idle.text.length < 120 * 60_000, String(idle.text.length));
  await done(web, "GET /api/health");
});

test("waits: 1,000 at once, then 503; those that leave make room", patience, async () => {
  await using web = await webWith();
  const waits = countWaits(web);
  const stack = new AsyncDisposableStack();
  for (let count = 0; count < 1000; count += 100) {
    await Promise.all(Array.from({ length: 100 }, async () => {
      const peer = stack.use(await Peer.connect(webPort(web)));
      peer.send("GET /api/transactions/next?timeout=300 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }));
  }
  await eventually(() => waits() === 1000, "waited for");
  const wait = "GET /api/transactions/next?timeout=0";
  assert.equal(await refused(503, web, wait), "expected at most 1000 waits at once");
  await stack.disposeAsync();
  const end = performance.now() + LIMIT;
  let { status } = await call(web, wait);
  while (status === 503 && performance.now() < end) ({ status } = await call(web, wait));
  assert.equal(status, 408);
});

test("waits: a wait that is over makes room", async () => {
  await using web = await webWith({}, { bounds: { waits: 1 } });
  for (const _time of [1, 2, 3]) await refused(408, web, "GET /api/transactions/next?timeout=0");
  await ask(web.port, DEBIT);
  for (const _time of [1, 2, 3]) await done(web, "GET /api/transactions/next");
});
