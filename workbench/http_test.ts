// SPDX-License-Identifier: GPL-3.0-or-later
// The HTTP interface: what there is not, whom it refuses, its start and its end.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { OptionError } from "../protocol.ts";
import { ListenError } from "../server.ts";
import { program } from "../test_helpers.ts";
import { startWeb, type WebOptions } from "./http.ts";
import type { Asked, Routes } from "./routes.ts";
import {
  ask,
  DEBIT,
  eventually,
  LIMIT,
  patience,
  Peer,
  table,
  terminalWith,
} from "./test_helpers.ts";
import {
  call,
  countWaits,
  done,
  exchange,
  Reader,
  refused,
  webPort,
  webWith,
} from "./web_helpers.ts";

// ---------------------------------------------------------------- what it is

test("startWeb() tells where it is, and its end is not that of the terminal", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  {
    await using web = await startWeb(terminal, { port: 0 });
    assert.match(web.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
    assert.deepEqual([web.host, web.port], ["127.0.0.1", webPort(web)]);
    assert.notEqual(web.port, terminal.port);
    terminal.nextOutcome("abandon");
    assert.equal((await ask(terminal.port, DEBIT))["AF"], "11");
    assert.equal((await done(web, "GET /api/transactions")).length, 1);
  }
  assert.equal((await ask(terminal.port, DEBIT))["AF"], "04");
  assert.equal((await terminal.waitForTransaction({ timeout: LIMIT })).number, 1);
});

test("GET /api/health, and the headers of an answer", async () => {
  await using web = await webWith();
  const { status, headers, value } = await call(web, "GET /api/health");
  assert.equal(status, 200);
  assert.deepEqual(value, { status: "ok" });
  for (
    const [name, expected] of Object.entries({
      "content-type": "application/json",
      "content-length": "16",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    })
  ) assert.equal(headers.get(name), expected, name);
  const refusal = await call(web, "GET /nothing");
  assert.equal(refusal.headers.get("x-content-type-options"), "nosniff");
  for (const { headers: given } of [{ headers }, refusal]) {
    assert.deepEqual([...given.keys()].filter((name) => name.startsWith("access-control")), []);
  }
});

test("HEAD is GET without a body, for the events too", async () => {
  await using web = await webWith({}, { bounds: { streams: 1 } });
  const head = ["HEAD /api/health HTTP/1.1", "Host: localhost"];
  const { status, text } = await exchange(web, head);
  assert.equal(status, 200);
  assert.match(text, /^content-length: 16\r$/im);
  assert.match(text, /\r\n\r\n$/);
  for (const _time of [1, 2]) {
    const events = await exchange(web, ["HEAD /api/events HTTP/1.1", "Host: localhost"]);
    assert.equal(events.status, 200);
    assert.match(events.text, /^content-type: text\/event-stream\r$/im);
    assert.match(events.text, /\r\n\r\n$/);
  }
  await using _reader = await Reader.open(web); // no place is taken
});

test("HEAD gives no transaction to nobody", async () => {
  await using web = await webWith();
  for (const _time of [1, 2]) await ask(web.port, DEBIT);
  const head = await exchange(web, ["HEAD /api/transactions HTTP/1.1", "Host: localhost"]);
  assert.equal(head.status, 200);
  assert.match(head.text, /\r\n\r\n$/);
  const next = ["HEAD /api/transactions/next HTTP/1.1", "Host: localhost"];
  const { status, text } = await exchange(web, next);
  assert.equal(status, 405);
  assert.match(text, /^allow: GET\r$/im);
  // A wait of a program gets what has been given to none so far.
  assert.equal((await web.waitForTransaction({ timeout: LIMIT })).number, 1);
});

test("what is added to it comes before the terminal's, and is checked as that is", async () => {
  const answer = ({ query, number }: Asked): unknown => ({ by: query.get("by"), number });
  const routes: Routes = [
    [/^\/api\/sheets\/(\d+)$/, { GET: { takes: ["by"], answer } }],
    [/^\/api\/health$/, { GET: { answer: () => ({ status: "other" }) } }],
  ];
  await using web = await webWith({}, { routes });
  assert.deepEqual(await done(web, "GET /api/sheets/7?by=me"), { by: "me", number: 7 });
  assert.match(
    await refused(400, web, "GET /api/sheets/7?from=me"),
    /^query: expected names from b/,
  );
  await refused(405, web, "POST /api/sheets/7");
  assert.deepEqual(await done(web, "GET /api/health"), { status: "other" });
});

test("the page reads the same whichever runtime serves it", async () => {
  await using web = await webWith();
  for (const path of ["/", "/style.css"]) {
    const text = await (await fetch(new URL(path, web.url))).text();
    assert.ok(!text.includes("\\"), path); // as an escape for a dot would have
  }
  assert.match(await (await fetch(web.url)).text(), /· <span data-t="model">/);
});

// ---------------------------------------------------------------- what there is not

table<[what: string, allow: string]>("405 with Allow", {
  "health": ["POST /api/health", "GET"],
  "terminal": ["PUT /api/terminal", "GET, PATCH"],
  "next": ["GET /api/next", "POST, DELETE"],
  "transactions": ["DELETE /api/transactions", "GET"],
  "the next transaction": ["POST /api/transactions/next", "GET"],
  "a transaction": ["POST /api/transactions/1", "GET"],
  "models": ["POST /api/models", "GET"],
  "a try": ["GET /api/try", "POST"],
  "an outcome": ["GET /api/transactions/1/outcome", "POST"],
  "reset": ["GET /api/reset", "POST"],
  "events": ["POST /api/events", "GET"],
  "a preflight": ["OPTIONS /api/next", "POST, DELETE"],
}, async ([what, allow]) => {
  await using web = await webWith();
  const { status, headers, value } = await call(web, what);
  assert.equal(status, 405);
  assert.equal(headers.get("allow"), allow);
  assert.deepEqual(value, { error: `expected ${allow}, got ${what.split(" ")[0]}` });
});

table("404", {
  "another path": "/nothing",
  "the folder": "/api",
  "a slash at the end": "/api/health/",
  "a name before the path": "//localhost/api/health",
  "no name": "//",
  "no port": "//a:b/",
  "a whole URL": "http://localhost/api/health",
  "the whole URL of another site": "http://evil.example/api/health",
  "dots": "/x/../api/health",
  "dots in percent": "/x/%2e%2e/api/health",
  "a letter in percent": "/api/%68ealth",
  "no number": "/api/transactions/-1",
  "the number of none": "/api/transactions/1",
  "a number beyond all": "/api/transactions/99999999999999999999999",
  "a property of every object": "/__proto__",
}, async (target) => {
  await using web = await webWith();
  const { status, text } = await exchange(web, [`GET ${target} HTTP/1.1`, "Host: localhost"]);
  assert.equal(status, 404);
  assert.match(
    text,
    /\{"error":"(?:there is nothing at|expected the number of a trans)[^"]+"\}\n$/,
  );
});

table("415", {
  "of a form with files": "multipart/form-data; boundary=x",
  "of a picture": "image/png",
  "like JSON": "application/jsonp",
}, async (type) => {
  await using web = await webWith();
  for (
    const what of ["POST /api/next", "PATCH /api/terminal", "POST /api/transactions/1/outcome"]
  ) {
    const why = await refused(415, web, what, "refused", { "content-type": type });
    assert.equal(why, `expected text/plain or application/json, got "${type.split(";")[0]}"`);
  }
  assert.deepEqual(web.settings.next, []);
});

// ---------------------------------------------------------------- whom it refuses

const NAMED = { names: ["Terminal", "pay.test"] };

table<[host: readonly string[], status: number]>("Host", {
  "localhost": [["localhost"], 200],
  "localhost and a port": [["LocalHost:8889"], 200],
  "an address": [["127.0.0.1:8889"], 200],
  "another address": [["192.168.1.20"], 200],
  "an address of IPv6": [["[::1]:8889"], 200],
  "a --web-name": [["terminal:8889"], 200],
  "another --web-name": [["PAY.TEST"], 200],
  "another name": [["evil.example"], 403],
  "another name and the port": [["evil.example:8889"], 403],
  "a name below localhost": [["localhost.evil.example"], 403],
  "a name above": [["evil.localhost"], 403],
  "an address in a name": [["127.0.0.1.evil.example"], 403],
  "a user before": [["localhost:8889@evil.example"], 403],
  "half a bracket": [["[::1"], 403],
  "a port that is none": [["localhost:http"], 403],
  "nothing": [[""], 403],
  "two": [["localhost", "evil.example"], 403],
  "two, the other way round": [["evil.example", "localhost"], 403],
}, async ([hosts, status]) => {
  await using web = await webWith({}, NAMED);
  const headers = hosts.map((host) => `Host: ${host}`);
  const got = await exchange(web, ["GET /api/health HTTP/1.1", ...headers]);
  assert.equal(got.status, status, got.text);
  if (status === 200) return;
  assert.match(got.text, /"expected Host to be localhost, an IP address or a --web-name, got /);
});

test("Host: none at all is refused", async () => {
  await using web = await webWith();
  assert.equal((await exchange(web, ["GET /api/health HTTP/1.0"])).status, 403);
  assert.equal((await exchange(web, ["GET /api/health HTTP/1.1"])).status, 400);
});

test("Host: the name that it listens on", async () => {
  await using web = await webWith({}, { host: "localhost" });
  const { port } = new URL(web.url);
  for (const url of [`http://localhost:${port}/`, web.url]) await done({ url }, "GET /api/health");
});

test("on every interface its URL is one that a browser opens", patience, async () => {
  await using web = await webWith({}, { host: "0.0.0.0" });
  assert.equal(new URL(web.url).hostname, "localhost");
  await done({ url: web.url }, "GET /api/health");
});

const HERE = "Host: localhost:8889";

table<[headers: readonly string[], status: number]>("pages of a browser", {
  "its own": [[HERE, "Origin: http://localhost:8889", "Sec-Fetch-Site: same-origin"], 200],
  "typed in": [[HERE, "Sec-Fetch-Site: none"], 200],
  "its own behind a proxy with TLS": [[HERE, "Origin: https://localhost:8889"], 200],
  "its own behind one on another port": [
    ["Host: pay.test:8443", "Origin: https://pay.test:8443"],
    200,
  ],
  "its own behind one on the port of TLS": [
    ["Host: pay.test:443", "Origin: https://pay.test"],
    200,
  ],
  "its own, of an address": [["Host: [::1]:8889", "Origin: http://[::1]:8889"], 200],
  "its own in another case": [["Host: LOCALHOST:8889", "Origin: http://localhost:8889"], 200],
  "a --web-name, where the proxy changes Host": [[HERE, "Origin: https://pay.test"], 200],
  "another site": [[HERE, "Origin: https://evil.example"], 403],
  "another site with the port": [[HERE, "Origin: http://evil.example:8889"], 403],
  "another port": [[HERE, "Origin: http://localhost:3000"], 403],
  "no port": [[HERE, "Origin: http://localhost"], 403],
  "another name of this machine": [[HERE, "Origin: http://127.0.0.1:8889"], 403],
  "the address that it listens on, another port": [[HERE, "Origin: http://127.0.0.1:3000"], 403],
  "a name above a --web-name": [[HERE, "Origin: https://evil.pay.test"], 403],
  "another scheme": [[HERE, "Origin: ftp://localhost:8889"], 403],
  "a frame without an origin": [[HERE, "Origin: null"], 403],
  "another site without an origin": [[HERE, "Sec-Fetch-Site: cross-site"], 403],
  "another port without an origin": [[HERE, "Sec-Fetch-Site: same-site"], 403],
}, async ([headers, status]) => {
  await using web = await webWith({}, NAMED);
  const head = ["POST /api/next HTTP/1.1", "Content-Length: 7", ...headers];
  const got = await exchange(web, head, "refused");
  assert.equal(got.status, status, got.text);
  assert.doesNotMatch(got.text, /access-control/i);
  assert.equal(web.settings.next.length, status === 200 ? 1 : 0);
});

// ---------------------------------------------------------------- start and end

test("a port that is taken, the other one is free again", patience, async () => {
  await using taken = await webWith();
  await assert.rejects(webWith({}, { port: webPort(taken) }), (error) => {
    assert.ok(error instanceof ListenError);
    assert.match(error.message, /in use by another program: .*\(--web-port\)$/);
    return true;
  });
  const other = net.createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as net.AddressInfo;
  await new Promise((resolve) => other.close(resolve));
  await assert.rejects(webWith({ port: taken.port }, { port }), ListenError);
  await using again = await webWith({}, { port });
  assert.equal(webPort(again), port);
});

test("the port of the terminal is told as that, not as another program's", async () => {
  for (const host of ["127.0.0.1", ""]) {
    await using terminal = await terminalWith({ host });
    const { port } = terminal;
    await assert.rejects(startWeb(terminal, { port }), (error) => {
      assert.ok(error instanceof OptionError);
      const expected = `another port than ${port}, on which the terminal listens`;
      assert.equal(error.message, `webPort: expected ${expected}, got ${port}`);
      return true;
    });
  }
});

test("the log tells the URL", async () => {
  const log: string[] = [];
  await using web = await webWith({}, { log: (level, text) => void log.push(`${level} ${text}`) });
  assert.deepEqual(log, [`info HTTP interface at ${web.url}`]);
});

table<[options: WebOptions, option: string]>("an option out of bounds", {
  "a port below 0": [{ port: -1 }, "webPort"],
  "a port above all": [{ port: 65_536 }, "webPort"],
  "a port in part": [{ port: 1.5 }, "webPort"],
  "a URL for a name": [{ names: ["till", "http://x"] }, "webName"],
  "a name with a port": [{ names: ["till:8889"] }, "webName"],
  "no name": [{ names: [""] }, "webName"],
  "no body": [{ bounds: { bodyBytes: 0 } }, "bounds.bodyBytes"],
  "no time": [{ bounds: { request: 0 } }, "bounds.request"],
  "no number": [{ bounds: { streams: NaN } }, "bounds.streams"],
  "a negative number": [{ bounds: { waits: -1 } }, "bounds.waits"],
  "a text": [{ bounds: { unreadBytes: "1" as unknown as number } }, "bounds.unreadBytes"],
  "an unknown bound": [{ bounds: { maxBody: 1 } as WebOptions["bounds"] & object }, "bounds"],
  "an unknown one": [{ webPort: 1 } as WebOptions, "options"],
}, async ([options, expected]) => {
  await assert.rejects(webWith({}, options), (error) => {
    assert.ok(error instanceof OptionError);
    assert.equal(error.option, expected);
    return true;
  });
});

test(
  "close() ends waits with 503, streams, bodies, heads and payments, at once",
  patience,
  async () => {
    await using web = await webWith({ interactive: true }, { bounds: { request: 60_000 } });
    const waits = countWaits(web);
    await using payment = await Peer.connect(web.port);
    payment.send(DEBIT);
    await eventually(() => web.settings.waiting.length === 1, "waiting");
    const asked = Array.from(
      { length: 10 },
      () => refused(503, web, "GET /api/transactions/next?after=1"),
    );
    const peers = await Promise.all([ // not one that sends nothing: Bun does not tell of it
      "GET /api/health HTTP/1.1\r\nHost: local",
      "POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nref",
      "POST /api/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nref",
      "GET /api/events HTTP/1.1\r\nHost: localhost\r\n",
      "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
      "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ].map(async (sent) => {
      const peer = await Peer.connect(webPort(web));
      peer.send(sent);
      return peer;
    }));
    await using reader = await Reader.open(web);
    await peers.at(-1)!.until(/\r\n: /);
    await peers.at(-2)!.until(/"ok"/);
    await peers.at(-4)!.until(/ 404 /);
    await eventually(() => waits() === 10, "waited for");
    const since = performance.now();
    peers.at(-3)!.send("\r\n"); // it asks for events just now
    await web.close();
    assert.ok(performance.now() - since < LIMIT, "took long");
    for (const why of await Promise.all(asked)) assert.equal(why, "the terminal was closed");
    while (await reader.next()); // until it ends
    for (const peer of [payment, ...peers]) await peer.closed;
    for (const peer of [peers[1], peers.at(-3)]) assert.doesNotMatch(peer!.text, / 200 /);
    for (const port of [web.port, webPort(web)]) await assert.rejects(Peer.connect(port));
    await assert.rejects(call(web, "GET /api/health"));
  },
);

test("a program that has closed it ends by itself", patience, async () => {
  const { stdout, stderr, status } = await program(`
    import { startWeb } from "${new URL("http.ts", import.meta.url).href}";
    import { startTerminal as start } from "${new URL("terminal.ts", import.meta.url).href}";
    let thrown = 0;
    process.on("uncaughtException", ({ message }) => { if (message === "of the log") thrown++; });
    const log = () => { throw new Error("of the log") };
    const terminal = await start({ port: 0, host: "127.0.0.1", log, interactive: true });
    const web = await startWeb(terminal, { port: 0, log, bounds: { request: 60_000 } });
    const { port } = new URL(web.url);
    const open = (sent) => new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => socket.write(sent));
      socket.on("error", () => {}).once("data", resolve);
    });
    const wait = fetch(web.url + "api/transactions/next?after=1&timeout=300").then(({ status }) => status);
    const half = open("POST /api/next HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 7\\r\\n\\r\\n");
    await open("POST /api/no HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 7\\r\\n\\r\\nref");
    await open("GET /api/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n");
    net.connect(terminal.port, "127.0.0.1").on("error", () => {}).write(DEBIT);
    while (terminal.settings.waiting.length === 0) await new Promise((done) => setTimeout(done, 5));
    await terminal.close();
    await web.close();
    console.log("wait", await wait, "thrown", thrown);
    globalThis.at = Date.now();
    process.on("exit", () => console.log("in time", Date.now() - globalThis.at < 10_000));
  `);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^wait 503 thrown [23]\nin time true\n$/);
});
