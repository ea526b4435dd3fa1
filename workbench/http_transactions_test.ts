// SPDX-License-Identifier: GPL-3.0-or-later
// What tills did, over HTTP: lists, single transactions, waits, decisions.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Transaction } from "../server.ts";
import { ask, askAndClose, DEBIT, eventually, patience, Peer, table } from "./test_helpers.ts";
import {
  call,
  countWaits,
  debitOf,
  done,
  exchange,
  JSON_TYPE,
  Reader,
  refused,
  webPort,
  type WebTerminal,
  webWith,
} from "./web_helpers.ts";
import { WEB_BOUNDS } from "./webrequest.ts";

// ---------------------------------------------------------------- /api/transactions

test("GET /api/transactions tells what tills did, all or some of it", patience, async () => {
  await using web = await webWith();
  assert.deepEqual(await done(web, "GET /api/transactions"), []);
  for (const register of ["01", "07", "01", "07"]) await ask(web.port, debitOf(register));
  const numbers = async (query: string): Promise<number[]> =>
    (await done(web, `GET /api/transactions${query}`)).map(({ number }: Transaction) => number);
  assert.deepEqual(await numbers(""), [1, 2, 3, 4]);
  assert.deepEqual(await numbers("?after=2"), [3, 4]);
  assert.deepEqual(await numbers("?after=4"), []);
  assert.deepEqual(await numbers("?register=07"), [2, 4]);
  assert.deepEqual(await numbers("?register=07&after=2"), [4]);
  assert.deepEqual(await numbers("?register=7"), []);
  const all = await done(web, "GET /api/transactions");
  assert.deepEqual(all, JSON.parse(JSON.stringify(web.transactions)));
  assert.equal(all[1].request.message.CA, "07");
  assert.deepEqual(await done(web, "GET /api/transactions/2"), all[1]);
  const why = await refused(404, web, "GET /api/transactions/5");
  assert.equal(why, "expected the number of a transaction that is kept, got 5");
});

test("one transaction is given without a copy of all", async () => {
  await using web = await webWith({ interactive: true });
  await using peer = await Peer.connect(web.port);
  peer.send(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  const fail = (): never => assert.fail("all were asked for");
  web.replaced.transactionsAfter = fail;
  Object.defineProperty(web.replaced, "transactions", { get: fail });
  assert.equal((await done(web, "GET /api/transactions/1")).request.raw, DEBIT);
  await refused(404, web, "GET /api/transactions/2");
  await done(web, "POST /api/transactions/1/outcome", "success");
  await refused(409, web, "POST /api/transactions/1/outcome", "success");
  const copy = web.transaction(1);
  Object.assign(copy ?? {}, { number: 7 });
  assert.equal(web.transaction(1)?.number, 1);
});

test("what a POS sent is escaped in JSON, C1 too", async () => {
  await using web = await webWith();
  await using reader = await Reader.open(web);
  await askAndClose(web.port, `${DEBIT}CF010a\x1b[31m\x9b\x85\x7f<`);
  for (const path of ["", "/1", "/next"]) {
    const { text } = await exchange(web, [
      `GET /api/transactions${path} HTTP/1.1`,
      "Host: localhost",
    ]);
    assert.match(text, /"CF":"a\\u001b\[31m\\u009b\\u0085\\u007f<"/);
    assert.match(text, /^[\r\n\x20-\x7e]*$/);
  }
  const [event] = await reader.until("request");
  assert.match(event!.data, /"CF":"a\\u001b\[31m\\u009b\\u0085\\u007f<"/);
});

/** Has a terminal tell of other transactions than those it had. */
function keeping(web: WebTerminal, transactions: readonly unknown[]): void {
  web.replaced.transactionsAfter = () => transactions.values();
}

test("GET /api/transactions is not bound by what a string can hold", patience, async () => {
  await using web = await webWith();
  const [count, text] = [60, "x".repeat(10_000_000)]; // more than half a gigabyte
  keeping(web, Array(count).fill({ number: 1, text }));
  const response = await fetch(new URL("/api/transactions", web.url));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  let size = 0;
  for await (const part of response.body!) size += part.length;
  assert.equal(size, count * (JSON.stringify({ number: 1, text }).length + 1) + 2);
});

test(
  "GET /api/transactions is written as fast as it is read, until the reader leaves",
  patience,
  async () => {
    await using web = await webWith();
    const [text, all] = ["x".repeat(100_000), 10_000];
    let count = 0;
    const toJSON = (): string => (count++, text);
    keeping(web, Array(all).fill({ number: 1, toJSON }));
    await using peer = await Peer.connect(webPort(web));
    peer.socket.pause();
    peer.send("GET /api/transactions HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => count > 0, "written");
    await done(web, "GET /api/health");
    assert.ok(count < all, `${count} for nobody`);
    peer.reset();
    await peer.closed;
    await done(web, "GET /api/health");
    assert.ok(count < all, `${count} after the end`);
  },
);

test("a list that nobody reads holds few copies, and HEAD none", patience, async () => {
  await using web = await webWith();
  let copies = 0;
  const request = "x".repeat(260_000);
  web.replaced.transactionsAfter = function* () {
    for (let number = 1; number <= 1000; number++, copies++) yield { number, request };
  };
  await exchange(web, ["HEAD /api/transactions HTTP/1.1", "Host: localhost"]);
  assert.equal(copies, 0);
  await using stack = new AsyncDisposableStack();
  for (let count = 0; count < 40; count++) {
    const peer = stack.use(await Peer.connect(webPort(web)));
    peer.socket.pause();
    peer.send("GET /api/transactions HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
  let before = -1;
  while (copies === 0 || copies !== before) { // until nothing more is written
    before = copies;
    for (let turns = 0; turns < 20; turns++) await done(web, "GET /api/health");
  }
  assert.ok(copies < 40 * 100, `${copies} copies`);
});

test("?after= copies what it gives, and a slow reader gets what there was", patience, async () => {
  await using web = await webWith();
  for (let count = 0; count < 3; count++) await ask(web.port, DEBIT);
  const copied: number[] = [];
  const all = web.transactionsAfter;
  web.replaced.transactionsAfter = function* (after: number, register?: string) {
    for (const one of all(after, register)) {
      copied.push(one.number);
      yield one;
    }
  };
  const list = await done(web, "GET /api/transactions?after=2");
  assert.deepEqual(list.map(({ number }: Transaction) => number), [3]);
  assert.deepEqual(copied, [3]);
  const slow = all();
  assert.equal(slow.next().value?.number, 1);
  await ask(web.port, DEBIT);
  assert.deepEqual([...slow].map(({ number }) => number), [2, 3]);
});

test("a wait for register 7 says that 07 has transactions", async () => {
  await using web = await webWith();
  await ask(web.port, debitOf("07"));
  const wait = (query: string): Promise<string> =>
    refused(408, web, `GET /api/transactions/next?timeout=0&${query}`);
  const hint = "; there are transactions of cash register 07, which is another one";
  assert.ok((await wait("register=7")).endsWith(hint));
  assert.ok((await wait("register=007")).endsWith(hint));
  for (const query of ["register=7&after=1", "register=8", "register=70", "after=1"]) {
    assert.doesNotMatch(await wait(query), /which is another one/, query);
  }
});

test("what cannot be written is 500, and the end of that connection only", async () => {
  await using web = await webWith();
  const toJSON = (): never => {
    throw new RangeError("Invalid string length");
  };
  keeping(web, [{ number: 1, toJSON: () => "{}" }, { number: 2, toJSON }]);
  await assert.rejects(call(web, "GET /api/transactions"));
  web.replaced.transaction = () => ({ toJSON });
  const why = await refused(500, web, "GET /api/transactions/2");
  assert.match(why, /^something went wrong/);
  await done(web, "GET /api/health");
});

test(
  "GET /api/transactions/next gives what is over, asked for before or after",
  patience,
  async () => {
    await using web = await webWith();
    const waits = countWaits(web);
    const before = done(web, "GET /api/transactions/next");
    const register = done(web, "GET /api/transactions/next?register=07&timeout=300");
    const above = done(web, "GET /api/transactions/next?after=2");
    await eventually(() => waits() === 3, "waited for");
    await ask(web.port, debitOf("01"));
    const first = await before;
    assert.equal(first.number, 1);
    assert.equal(first.answer.message.AE, "10");
    assert.ok(first.ended);
    await ask(web.port, debitOf("07"));
    assert.equal((await register).number, 2);
    await ask(web.port, debitOf("01"));
    assert.equal((await above).number, 3);
    // Now all of it is over: it is given at once, as often as it is asked for.
    const after = async (query: string): Promise<number> =>
      (await done(web, `GET /api/transactions/next?${query}`)).number;
    for (const _time of [1, 2]) {
      assert.equal(await after(""), 1);
      assert.equal(await after("after=0"), 1);
      assert.equal(await after("after=1"), 2);
      assert.equal(await after("after=1&register=01"), 3);
      assert.equal(await after("register=07"), 2);
    }
    const why = await refused(
      408,
      web,
      "GET /api/transactions/next?after=2&register=07&timeout=0.05",
    );
    assert.match(
      why,
      /^no transaction of cash register 07 was over within 50 ms; nothing is under/,
    );
  },
);

test("GET /api/transactions/next waits for the end of what is under way", async () => {
  await using web = await webWith({ interactive: true });
  await using peer = await Peer.connect(web.port);
  const answer = peer.ask(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  const why = await refused(408, web, "GET /api/transactions/next?timeout=0");
  assert.match(why, /under way: transaction 1 \(.*112\.45 EUR of 01\) for \d+\.\d s$/);
  const waits = countWaits(web);
  const wait = done(web, "GET /api/transactions/next");
  await eventually(() => waits() === 1, "waited for");
  web.decide(1, "refused");
  assert.equal((await answer)["AF"], "04");
  assert.equal((await wait).outcome.failure, "04");
});

test("GET /api/transactions/next waits 30 s, if nothing is said", async () => {
  assert.equal(WEB_BOUNDS.wait, 30_000);
  await using web = await webWith({}, { bounds: { wait: 10 } });
  assert.match(await refused(408, web, "GET /api/transactions/next"), / was over within 10 ms;/);
});

table<[query: string, expected: RegExp]>("GET /api/transactions, a wrong number", {
  "more than 300 s": [
    "/next?timeout=300.5",
    /^timeout: expected a number from 0 to 300, got 300\.5$/,
  ],
  "less than none": ["/next?timeout=-1", /^timeout: expected a number from 0 to 300, got -1$/],
  "a word for a time": [
    "/next?timeout=long",
    /^timeout: expected a number from 0 to 300, got "long"$/,
  ],
  "no time": ["/next?timeout=", /^timeout: expected a number from 0 to 300, got ""$/],
  "a wait after a word": [
    "/next?after=last",
    /^after: expected a number from 0 to .*, got "last"$/,
  ],
  "a wait after less than none": [
    "/next?after=-1",
    /^after: expected a number from 0 to .*, got -1$/,
  ],
  "a list after a word": ["?after=last", /^after: expected a number from 0 to .*, got "last"$/],
  "a list after nothing": ["?after=", /^after: expected a number from 0 to .*, got ""$/],
}, async ([query, expected]) => {
  await using web = await webWith();
  await ask(web.port, DEBIT);
  assert.match(await refused(400, web, `GET /api/transactions${query}`), expected);
});

test(
  "POST /api/transactions/N/outcome decides once; 409 after that, 404 of none",
  patience,
  async () => {
    await using web = await webWith({ interactive: true });
    await using one = await Peer.connect(web.port);
    await using other = await Peer.connect(web.port);
    const first = one.ask(debitOf("01"));
    await eventually(() => web.settings.waiting.length === 1, "waiting");
    const second = other.ask(debitOf("02"));
    await eventually(() => web.settings.waiting.length === 2, "waiting both");
    assert.deepEqual((await done(web, "GET /api/terminal")).waiting, [1, 2]);
    const decide = "POST /api/transactions/2/outcome";
    assert.match(
      await refused(400, web, decide, "refussed"),
      /^outcome: got "refussed"; did you mean refused\? /,
    );
    assert.match(await refused(400, web, decide, ""), /^outcome: /);
    assert.match(await refused(400, web, decide, "[]", JSON_TYPE), /^outcome: expected an outcome/);
    assert.deepEqual(web.settings.waiting, [1, 2]);
    assert.deepEqual(await done(web, decide, '{"failure":"05"}', JSON_TYPE), { decided: 2 });
    assert.equal((await second)["AF"], "05");
    const why = await refused(409, web, decide, "success");
    assert.equal(why, "expected a transaction that waits for a person, 2 does not");
    await refused(404, web, "POST /api/transactions/3/outcome", "success");
    await done(web, "POST /api/transactions/1/outcome", "hangup,CF=78\r\n");
    const { AE, CF } = await first;
    assert.deepEqual([AE, CF], ["10", "78"]);
  },
);
