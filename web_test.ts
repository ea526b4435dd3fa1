// SPDX-License-Identifier: GPL-3.0-or-later
// The terminal over HTTP: each path, whom it refuses, its bounds, its events, its end, its command.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { type Message, OptionError, VERSION } from "./protocol.ts";
import {
  ListenError,
  MODELS,
  parseOutcome,
  readArguments,
  startTerminal,
  type TerminalEvent,
  type Transaction,
} from "./server.ts";
import {
  ask,
  askAndClose,
  BASE,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  patience,
  Peer,
  program,
  type Ran,
  run,
  table,
} from "./test_helpers.ts";
import { startWeb, type WebOptions, type WebTerminal } from "./web.ts";

const LIMIT = 10_000; // milliseconds that a request may take before its test fails
const STREAM_LIMIT = 50_000; // the same for all that a test reads of a stream
const JSON_TYPE = { "content-type": "application/json" };

/** A terminal on free ports of this machine that answers at once. */
function webWith(options: WebOptions = {}): Promise<WebTerminal> {
  return startWeb({ port: 0, host: "127.0.0.1", webPort: 0, duration: 0, ...options });
}

/** The port of the HTTP interface. */
function webPort({ url }: { url: string }): number {
  return Number(new URL(url).port);
}

/** A debit of a cash register. */
function debitOf(CA: string): Message {
  return { ...DEBIT_MESSAGE, CA };
}

/** What was answered. */
interface Answer {
  status: number;
  headers: Headers;
  // deno-lint-ignore no-explicit-any
  value: any;
}

/** Asks for something as `METHOD /path`, and gives what is answered. */
async function call(
  { url }: { url: string },
  what: string,
  body?: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const [method = "", path = ""] = what.split(" ");
  const signal = AbortSignal.timeout(LIMIT);
  const init = { method, headers, signal, ...(body !== undefined && { body }) };
  const response = await fetch(new URL(path, url), init);
  const text = await response.text();
  const { status } = response;
  return { status, headers: response.headers, value: text === "" ? "" : JSON.parse(text) };
}

/** The same, which must be done; gives what is in it. */
async function done(...args: Parameters<typeof call>): Promise<Answer["value"]> {
  const { status, value } = await call(...args);
  assert.equal(status, 200, JSON.stringify(value));
  return value;
}

/** The same, which must not be done; gives why. */
async function refused(status: number, ...args: Parameters<typeof call>): Promise<string> {
  const { status: got, value } = await call(...args);
  assert.equal(got, status, JSON.stringify(value));
  assert.deepEqual(Object.keys(value), ["error"]);
  return value.error;
}

/** Sends a request as it is, and gives the status and all of the answer. */
async function exchange(
  web: { url: string },
  head: readonly string[],
  body = "",
): Promise<{ status: number; text: string }> {
  await using peer = await Peer.connect(webPort(web));
  peer.send([...head, "Connection: close", "", body].join("\r\n"));
  await peer.closed;
  return { status: Number(/^HTTP\/1\.[01] (\d+)/.exec(peer.text)?.[1]), text: peer.text };
}

/** How many waits have been asked for so far: nothing over HTTP tells. */
function countWaits(web: WebTerminal): () => number {
  const terminal = Object.getPrototypeOf(web) as WebTerminal;
  const { waitForTransaction } = terminal;
  let count = 0;
  terminal.waitForTransaction = (options) => {
    const wait = waitForTransaction(options);
    count++;
    return wait;
  };
  return () => count;
}

/** Does something while the timers of so many milliseconds are short. */
async function shortening<T>(milliseconds: number, during: () => Promise<T>): Promise<T> {
  const { setTimeout, setInterval } = globalThis;
  const short = (wanted?: number): number | undefined => wanted === milliseconds ? 10 : wanted;
  globalThis.setTimeout =
    ((call: () => void, wanted?: number) => setTimeout(call, short(wanted))) as typeof setTimeout;
  globalThis.setInterval =
    ((call: () => void, wanted?: number) => setInterval(call, short(wanted))) as typeof setInterval;
  try {
    return await during();
  } finally {
    Object.assign(globalThis, { setTimeout, setInterval });
  }
}

/** An event as a reader of the stream gets it. */
interface Streamed {
  id: number;
  event: string;
  data: string;
}

/** A reader of the events. */
class Reader implements AsyncDisposable {
  // What the types of Deno, Bun and Node agree on.
  readonly #body: { read(): Promise<{ value?: Uint8Array | undefined; done: boolean }> };
  readonly #abort: AbortController;
  readonly #decoder = new TextDecoder();
  #rest = "";
  /** The comments so far. */
  readonly comments: string[] = [];

  private constructor(body: ReadableStream<Uint8Array>, abort: AbortController) {
    this.#body = body.getReader();
    this.#abort = abort;
  }

  static async open(web: { url: string }, after?: number): Promise<Reader> {
    const abort = new AbortController();
    const response = await fetch(new URL("/api/events", web.url), {
      headers: after === undefined ? {} : { "last-event-id": String(after) },
      signal: AbortSignal.any([abort.signal, AbortSignal.timeout(STREAM_LIMIT)]),
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    const reader = new Reader(response.body!, abort);
    await reader.#block(); // the comment at its start: it is open
    assert.deepEqual(reader.comments, [VERSION]);
    return reader;
  }

  /** What comes until an empty line; nothing when the stream has ended. */
  async #block(): Promise<string | undefined> {
    for (;;) {
      const at = this.#rest.indexOf("\n\n");
      if (at >= 0) {
        const block = this.#rest.slice(0, at);
        this.#rest = this.#rest.slice(at + 2);
        if (block.startsWith(": ")) this.comments.push(block.slice(2));
        return block;
      }
      const { value, done } = await this.#body.read();
      if (done) {
        assert.equal(this.#rest, "");
        return undefined;
      }
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  /** The next event; nothing when the stream has ended. */
  async next(): Promise<Streamed | undefined> {
    for (;;) {
      const block = await this.#block();
      if (block?.startsWith(":")) continue;
      if (block === undefined) return undefined;
      const [, id, event, data] = /^id: (\d+)\nevent: (\S+)\ndata: (.*)$/.exec(block) ?? [];
      assert.ok(data !== undefined && event !== undefined, `not an event: ${block}`);
      return { id: Number(id), event, data };
    }
  }

  /** The next comment. */
  async comment(): Promise<string | undefined> {
    await this.#block();
    return this.comments.at(-1);
  }

  /** The next events, until one of a name. */
  async until(name: string): Promise<Streamed[]> {
    const events: Streamed[] = [];
    while (events.at(-1)?.event !== name) {
      const event = await this.next();
      assert.ok(event, `ended before ${name}`);
      events.push(event);
    }
    return events;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    return Promise.resolve();
  }
}

// ---------------------------------------------------------------- what it is

test("startWeb() gives what startTerminal() gives, and where the HTTP interface is", async () => {
  await using terminal = await startTerminal({ port: 0, host: "127.0.0.1" });
  await using web = await webWith({ outcome: "refused" });
  const missing = [...Object.keys(terminal), Symbol.asyncDispose].filter((name) => !(name in web));
  assert.deepEqual(missing, []);
  assert.match(web.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
  assert.notEqual(web.port, webPort(web));
  web.nextOutcome("abandon");
  assert.equal((await ask(web.port, DEBIT))["AF"], "11");
  assert.equal((await ask(web.port, DEBIT))["AF"], "04");
  assert.equal(web.transactions.length, 2);
  assert.equal((await web.waitForTransaction({ timeout: LIMIT })).number, 1);
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
  await using web = await webWith({ maxStreams: 1 });
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

test("the page reads the same whichever runtime serves it", async () => {
  await using web = await webWith();
  for (const path of ["/", "/page.css"]) {
    const text = await (await fetch(new URL(path, web.url))).text();
    assert.ok(!text.includes("\\"), path); // String.raw of Bun would make \\u00B7 of a dot
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

// ---------------------------------------------------------------- /api/terminal

const INITIAL = {
  model: "reference",
  outcome: "success",
  when: {},
  duration: 0,
  strict: false,
  exclusive: false,
  interactive: false,
  next: [],
  waiting: [],
};

test("GET /api/terminal tells what it does", async () => {
  await using plain = await webWith();
  const { port } = plain;
  const about = { version: VERSION, host: "127.0.0.1", port };
  assert.deepEqual(await done(plain, "GET /api/terminal"), { ...about, ...INITIAL });
  await using other = await webWith({
    model: "hipay",
    outcome: "refused,delay=1..2",
    when: { "0100": "abandon" },
    next: ["07"],
    duration: 2,
    strict: true,
    exclusive: true,
    interactive: true,
  });
  assert.deepEqual(await done(other, "GET /api/terminal"), {
    version: VERSION,
    host: "127.0.0.1",
    port: other.port,
    model: "hipay",
    outcome: "refused,delay=1..2",
    when: { "100": "abandon" },
    next: [{ outcome: "07" }],
    duration: 2,
    strict: true,
    exclusive: true,
    interactive: true,
    waiting: [],
  });
  await using decided = await webWith({ outcome: () => "refused" });
  assert.equal((await done(decided, "GET /api/terminal")).outcome, null);
});

table<[changes: object, expected: object]>("PATCH /api/terminal", {
  "model": [{ model: "desk5000" }, { model: "desk5000" }],
  "outcome in words": [{ outcome: " Refused,hangup\n" }, { outcome: "refused,hangup" }],
  "outcome as an object": [{ outcome: { failure: "07" } }, { outcome: "07" }],
  "when": [{ when: { "*34": "abandon", "5": { failure: "05" } } }, {
    when: { "5": "forbidden", "*34": "abandon" },
  }],
  "duration": [{ duration: 0.25 }, { duration: 0.25 }],
  "strict": [{ strict: true }, { strict: true }],
  "exclusive": [{ exclusive: true }, { exclusive: true }],
  "interactive": [{ interactive: true }, { interactive: true }],
  "several": [{ outcome: "silent", duration: 1, strict: true }, {
    outcome: "success,silent",
    duration: 1,
    strict: true,
  }],
  "nothing": [{}, {}],
}, async ([changes, expected]) => {
  for (const headers of [{}, JSON_TYPE]) {
    await using web = await webWith();
    const given = await done(web, "PATCH /api/terminal", JSON.stringify(changes), headers);
    assert.deepEqual(given, { ...INITIAL, ...expected });
    assert.deepEqual(web.settings, given);
  }
});

test("PATCH /api/terminal counts from the next request on", async () => {
  await using web = await webWith({ outcome: "refused", interactive: true });
  await using peer = await Peer.connect(web.port);
  const first = peer.ask(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  await done(web, "PATCH /api/terminal", '{"interactive": false, "when": {"11245": "05"}}');
  assert.equal((await ask(web.port, DEBIT))["AF"], "05");
  assert.equal((await ask(web.port, { ...DEBIT_MESSAGE, CB: "1" }))["AF"], "04");
  assert.deepEqual(web.settings.waiting, [1]);
  web.decide(1, "abandon");
  assert.equal((await first)["AF"], "11");
});

table<[body: string, expected: RegExp]>("PATCH /api/terminal, wrong", {
  "no JSON": ["strict=true", /^(?:settings: expected an object in JSON such as|expected JSON,) /],
  "JSON in part": ['{"strict":true', /^expected JSON, as /],
  "a list": ["[]", /^settings: expected an object in JSON such as .*, got object$/],
  "a word": ['"refused"', /^settings: expected an object in JSON such as .*, got "refused"$/],
  "null": ["null", /^settings: expected an object in JSON such as .*, got (?:none|"null")$/],
  "another name": [
    '{"strict":true,"port":1}',
    /^settings: expected names from model, outcome, when, du/,
  ],
  "a misspelt name": ['{"strict":true,"durations":1}', /got "durations"; did you mean duration\?$/],
  "next, which has a path of its own": ['{"strict":true,"next":[]}', /got "next"/],
  "a name of every object": ['{"strict":true,"__proto__":{}}', /got "__proto__"/],
  "a wrong outcome": ['{"strict":true,"outcome":"refussed"}', /^outcome: .*mean refused\?$/],
  "no outcome": [
    '{"strict":true,"outcome":null}',
    /^outcome: expected an outcome or the words for it, got none$/,
  ],
  "an unknown key": ['{"strict":true,"outcome":{"failures":"07"}}', /^outcome: .*mean failure\?$/],
  "a card that is none": [
    '{"strict":true,"outcome":{"card":"visa"}}',
    /^outcome: expected one of c/,
  ],
  "a tag that is none": ['{"strict":true,"outcome":"abc=1"}', /^outcome: expected words from /],
  "a value that cannot be sent": ['{"strict":true,"outcome":"ZZ=€"}', /./],
  "when of no amount": ['{"strict":true,"when":{"1.00":"refused"}}', /^when: expected minor units/],
  "when of no outcome": ['{"strict":true,"when":{"100":"x"}}', /^when: expected words from/],
  "duration below 0": ['{"strict":true,"duration":-1}', /^duration: expected a number from 0 to/],
  "duration as text": ['{"strict":true,"duration":"1"}', /^duration: expected a number from 0 to/],
  "duration null": ['{"strict":true,"duration":null}', /^duration: expected a number from 0 to/],
  "strict as text": [
    '{"duration":9,"strict":"true"}',
    /^strict: expected true or false, got "true"/,
  ],
  "exclusive as a number": ['{"duration":9,"exclusive":1}', /^exclusive: expected true or false/],
  "interactive null": ['{"duration":9,"interactive":null}', /^interactive: expected true or false/],
}, async ([body, expected]) => {
  await using web = await webWith();
  for (const headers of [{}, JSON_TYPE]) {
    assert.match(await refused(400, web, "PATCH /api/terminal", body, headers), expected);
    assert.deepEqual(web.settings, INITIAL);
  }
});

// ---------------------------------------------------------------- /api/models

test("GET /api/models tells of each what --model list prints", async () => {
  await using web = await webWith();
  const models = await done(web, "GET /api/models");
  assert.deepEqual(models.map(({ name }: { name: string }) => name), Object.keys(MODELS));
  const list = String(readArguments(["--model", "list"])).replace(/\s+/g, " ");
  for (const { name, is, known, ...others } of models) {
    assert.deepEqual(others, {});
    assert.equal(known.length === 0, name === "reference");
    const texts = known.map(({ source, text }: { source: number; text: string }) =>
      ` (${source}) ${text}`
    );
    assert.ok(list.includes([name, " ", is, ...texts].join("")), name);
  }
  assert.deepEqual(models.find(({ name }: { name: string }) => name === "viva"), {
    name: "viva",
    is: "Viva on Android: PAX",
    known: [
      { source: 8, text: "takes a CF of 183 characters" },
      { source: 8, text: "takes CK 121, as the reference" },
    ],
  });
});

// ---------------------------------------------------------------- /api/next

table<[body: string, headers: Record<string, string>, expected: string[]]>("POST /api/next", {
  "a word": ["refused", {}, ["refused"]],
  "as curl -d sends it": [
    "refused",
    { "content-type": "application/x-www-form-urlencoded" },
    ["refused"],
  ],
  "as fetch sends it": ["refused", { "content-type": "text/plain;charset=UTF-8" }, ["refused"]],
  "several lines": ["refused\r\n\n 07,delay=1 \nsilent\n", {}, [
    "refused",
    "07,delay=1",
    "success,silent",
  ]],
  "a list of words": ['["abandon","success,hangup"]', JSON_TYPE, ["abandon", "success,hangup"]],
  "a list of objects": ['[{"failure":"08"},{"card":"ancv"}]', JSON_TYPE, [
    "timeout",
    "success,ancv",
  ]],
  "a list of both": ['["refused",{"delay":[1,2]}]', JSON_TYPE, ["refused", "success,delay=1..2"]],
  "one in JSON": ['{"pending":true}', JSON_TYPE, ["success,pending"]],
  "a word in JSON": ['"refused"', { "content-type": "Application/JSON; charset=utf-8" }, [
    "refused",
  ]],
  "a value beyond ASCII, with a comma": ["ZT=é\\,b", {}, ["success,ZT=é\\,b"]],
  "a list in JSON, as curl -d sends it": [
    ' \n["abandon",{"failure":"08"}]\n',
    { "content-type": "application/x-www-form-urlencoded" },
    ["abandon", "timeout"],
  ],
  "one in JSON, as fetch sends a text": [
    '{"pending":true}',
    { "content-type": "text/plain;charset=UTF-8" },
    ["success,pending"],
  ],
  "a word in JSON, of no type": ['"refused"', {}, ["refused"]],
  "JSON after the mark of UTF-8": ['\ufeff"refused"', JSON_TYPE, ["refused"]],
}, async ([body, headers, expected]) => {
  await using web = await webWith({ next: ["05"] });
  const next = [{ outcome: "forbidden" }, ...expected.map((outcome) => ({ outcome }))];
  assert.deepEqual(await done(web, "POST /api/next", body, headers), { next });
  const register = "42";
  const own = expected.map((outcome) => ({ register, outcome }));
  const both = await done(web, "POST /api/next?register=42", body, headers);
  assert.deepEqual(both, { next: [...next, ...own] });
  assert.deepEqual(web.settings.next, both.next);
});

test("what is queued is what payments get, a register's own first", patience, async () => {
  await using web = await webWith();
  await done(web, "POST /api/next", "refused\nabandon");
  await done(web, "POST /api/next?register=07", "05");
  assert.equal((await ask(web.port, debitOf("07")))["AF"], "05");
  assert.equal((await ask(web.port, debitOf("07")))["AF"], "04");
  assert.equal((await ask(web.port, debitOf("08")))["AF"], "11");
  assert.equal((await ask(web.port, debitOf("08")))["AE"], "10");
});

test("DELETE /api/next empties the queue, or that of one register", async () => {
  await using web = await webWith();
  const fill = async (): Promise<void> => {
    await done(web, "POST /api/next", "refused");
    await done(web, "POST /api/next?register=07", "abandon");
    await done(web, "POST /api/next?register=08", "05");
  };
  await fill();
  assert.deepEqual(await done(web, "DELETE /api/next?register=07"), {
    next: [{ outcome: "refused" }, { register: "08", outcome: "forbidden" }],
  });
  await fill();
  assert.deepEqual(await done(web, "DELETE /api/next"), { next: [] });
  assert.deepEqual(web.settings.next, []);
});

table<[body: string, headers?: Record<string, string>]>("POST /api/next, wrong", {
  "nothing": [""],
  "empty lines": ["\n \r\n"],
  "a misspelt word": ["refussed"],
  "one of several": ["refused\nabandom"],
  "two of a kind": ["refused,abandon"],
  "a tag too long": ["ABC=1"],
  "an empty list": ["[]", JSON_TYPE],
  "no JSON": ["refused", JSON_TYPE],
  "no body in JSON": ["", JSON_TYPE],
  "one of a list": ['["refused","abandom"]', JSON_TYPE],
  "one of a list of objects": ['["refused",{"failure":"7"}]', JSON_TYPE],
  "a number": ["7", JSON_TYPE],
  "null": ["null", JSON_TYPE],
  "null in a list": ["[null]", JSON_TYPE],
  "a list in a list": ['[["refused"]]', JSON_TYPE],
  "a delay of a year": ["delay=31536000"],
  "bytes that are no UTF-8 in a value": ["ZT=\ufffd"],
}, async ([body, headers]) => {
  await using web = await webWith();
  for (const what of ["POST /api/next", "POST /api/next?register=07"]) {
    assert.notEqual(await refused(400, web, what, body, headers), "");
    assert.deepEqual(web.settings.next, []);
  }
});

table<[what: string, body: string, headers: Record<string, string>, why: RegExp]>(
  "a body that is wrong is told what was expected",
  {
    "words, where the type says JSON": [
      "POST /api/next",
      "refused",
      JSON_TYPE,
      /^expected JSON, as the content type says: ./,
    ],
    "nothing, where the type says JSON": [
      "POST /api/next",
      "",
      JSON_TYPE,
      /^expected JSON, as the content type says: ./,
    ],
    "JSON in part, of another type": [
      "POST /api/next",
      '{"failure":"08"',
      {},
      /^expected JSON, as the first character says: ./,
    ],
    "an object a line": [
      "POST /api/transactions/1/outcome",
      '{"failure":"08"}\n{"failure":"08"}',
      { "content-type": "text/plain" },
      /^expected JSON, as the first character says: ./,
    ],
    "a number in JSON": [
      "POST /api/next",
      "7",
      JSON_TYPE,
      /^next: expected an outcome or the words for it, got 7$/,
    ],
    "a form": [
      "PATCH /api/terminal",
      "outcome=refused",
      { "content-type": "application/x-www-form-urlencoded" },
      /^settings: expected an object in JSON such as {"duration": 0}, got "outcome=refused"$/,
    ],
    "nothing to change": [
      "PATCH /api/terminal",
      "",
      {},
      /^settings: expected an object in JSON such as {"duration": 0}, got ""$/,
    ],
  },
  async ([what, body, headers, why]) => {
    await using web = await webWith();
    assert.match(await refused(400, web, what, body, headers), why);
  },
);

test("what is wrong is told in the sentence of the command line", async () => {
  await using web = await webWith();
  const sentence = (text: string, option: string): string => {
    try {
      parseOutcome(text, option);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error("not wrong");
  };
  assert.equal(
    await refused(400, web, "POST /api/next", "refussed"),
    sentence("refussed", "next"),
  );
  const change = { outcome: "refused,abandon" };
  assert.equal(
    await refused(400, web, "PATCH /api/terminal", JSON.stringify(change)),
    sentence("refused,abandon", "outcome"),
  );
});

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
  Object.defineProperty(Object.getPrototypeOf(web), "transactions", {
    get: () => assert.fail("all were asked for"),
  });
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
function keeping(web: WebTerminal, transactions: unknown): void {
  Object.defineProperty(Object.getPrototypeOf(web), "transactions", { value: transactions });
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

test("what cannot be written is 500, and the end of that connection only", async () => {
  await using web = await webWith();
  const toJSON = (): never => {
    throw new RangeError("Invalid string length");
  };
  keeping(web, [{ number: 1, toJSON: () => "{}" }, { number: 2, toJSON }]);
  await assert.rejects(call(web, "GET /api/transactions"));
  Object.defineProperty(Object.getPrototypeOf(web), "transaction", { value: () => ({ toJSON }) });
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
  await using web = await webWith();
  const wait = (): Promise<string> => refused(408, web, "GET /api/transactions/next");
  assert.match(await shortening(30_000, wait), / was over within 30000 ms;/);
});

table<[query: string, expected: RegExp]>("GET /api/transactions, a wrong number", {
  "more than 300 s": [
    "/next?timeout=300.5",
    /^timeout: expected a number from 0 to 300, got 300\.5$/,
  ],
  "less than none": ["/next?timeout=-1", /^timeout: expected a number from 0 to 300, got -1$/],
  "a word for a time": [
    "/next?timeout=long",
    /^timeout: expected a number from 0 to 300, got NaN$/,
  ],
  "no time": ["/next?timeout=", /^timeout: expected a number from 0 to 300, got NaN$/],
  "a wait after a word": ["/next?after=last", /^after: expected a number from 0 to .*, got NaN$/],
  "a wait after less than none": [
    "/next?after=-1",
    /^after: expected a number from 0 to .*, got -1$/,
  ],
  "a list after a word": ["?after=last", /^after: expected a number from 0 to .*, got NaN$/],
  "a list after nothing": ["?after=", /^after: expected a number from 0 to .*, got NaN$/],
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
    assert.match(await refused(400, web, decide, "refussed"), /^outcome: .*mean refused\?$/);
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

// ---------------------------------------------------------------- /api/try

test(
  "POST /api/try pays as cash register 00, and gets what is queued for that or for any",
  patience,
  async () => {
    await using web = await webWith();
    await done(web, "POST /api/next?register=01", "silent");
    const { sent, received } = await done(web, "POST /api/try");
    assert.match(sent, /CA00200.*CB0041234/);
    assert.match(received, /CA00200.*AE00210/);
    assert.deepEqual(web.settings.next, [{ register: "01", outcome: "success,silent" }]);
    await done(web, "POST /api/next", "05\n07");
    await done(web, "POST /api/next?register=00", "refused");
    for (const code of ["04", "05"]) {
      assert.match((await done(web, "POST /api/try")).received, new RegExp(`AF002${code}`));
    }
    assert.deepEqual(web.settings.next, [
      { register: "01", outcome: "success,silent" },
      { outcome: "07" },
    ]);
    await done(web, "POST /api/reset?register=00");
    assert.deepEqual(web.transactions, []);
  },
);

// ---------------------------------------------------------------- /api/reset

test("POST /api/reset puts all back as it was started", patience, async () => {
  await using web = await webWith({ outcome: "refused", next: ["abandon"] });
  assert.equal((await ask(web.port, DEBIT))["AF"], "11");
  await done(web, "PATCH /api/terminal", '{"outcome":"success","interactive":true,"strict":true}');
  await done(web, "POST /api/next?register=09", "05");
  await using under = await Peer.connect(web.port);
  under.send(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  const waits = countWaits(web);
  const wait = refused(409, web, "GET /api/transactions/next?after=2");
  await eventually(() => waits() === 1, "waited for");
  const settings = { ...INITIAL, outcome: "refused", next: [{ outcome: "abandon" }] };
  assert.deepEqual(await done(web, "POST /api/reset"), settings);
  assert.equal(await wait, "the terminal was reset");
  await under.closed;
  assert.equal(under.text, "");
  assert.deepEqual(await done(web, "GET /api/transactions"), []);
  assert.equal((await ask(web.port, DEBIT))["AF"], "11");
  assert.equal((await done(web, "GET /api/transactions/next")).number, 1);
});

test("POST /api/reset?register= touches nothing of another register", patience, async () => {
  await using web = await webWith();
  const duplicate = (CA: string): Message => ({ ...BASE, CA, CD: "3", CB: "0", CE: "978" });
  for (const register of ["01", "02"]) {
    await ask(web.port, debitOf(register));
    await done(web, `POST /api/next?register=${register}`, "refused\nabandon");
  }
  await done(web, "POST /api/next", "05");
  await done(web, "PATCH /api/terminal", '{"interactive":true,"duration":0.01}');
  const pays = async (register: string): Promise<Peer> => {
    const peer = await Peer.connect(web.port);
    peer.send(`${DEBIT.replace("CA00201", `CA002${register}`)}`);
    return peer;
  };
  await done(web, "DELETE /api/next");
  await using one = await pays("01");
  await using other = await pays("02");
  await eventually(() => web.settings.waiting.length === 2, "waiting");
  for (const register of ["01", "02"]) {
    await done(web, `POST /api/next?register=${register}`, "refused");
  }
  await done(web, "POST /api/next", "05");
  const waits = countWaits(web);
  const ended = refused(409, web, "GET /api/transactions/next?after=2&register=01");
  const goes = done(web, "GET /api/transactions/next?after=2&register=02");
  await eventually(() => waits() === 2, "waited for");
  const settings = await done(web, "POST /api/reset?register=01");
  assert.deepEqual(settings.next, [{ register: "02", outcome: "refused" }, {
    outcome: "forbidden",
  }]);
  assert.deepEqual([settings.interactive, settings.duration], [true, 0.01]);
  assert.equal(await ended, "the terminal was reset");
  await one.closed;
  assert.equal(one.text, "");
  assert.equal(web.settings.waiting.length, 1);
  const [number] = web.settings.waiting;
  await done(web, `POST /api/transactions/${number}/outcome`, "07");
  await other.until(/AE00201.*AF00207|AF00207.*AE00201/);
  assert.equal((await goes).number, number);
  assert.deepEqual(
    (await done(web, "GET /api/transactions")).map((one: Transaction) => one.request.message["CA"]),
    ["02", "02"],
  );
  await done(web, "PATCH /api/terminal", '{"interactive":false}');
  await done(web, "DELETE /api/next");
  assert.equal((await ask(web.port, duplicate("01")))["AF"], "10"); // no last attempt
  assert.equal((await ask(web.port, duplicate("02")))["AF"], "07"); // that one failed
});

test("fifty tests side by side share a terminal by their registers", patience, async () => {
  await using web = await webWith();
  const registers = Array.from({ length: 50 }, (_, at) => String(at + 10));
  await Promise.all(registers.map(async (CA, at) => {
    const query = `register=${CA}`;
    const codes = ["02", "04", "05", "07", "08", "09", "11"];
    const code = codes[at % codes.length]!;
    for (let round = 0; round < 2; round++) {
      await done(web, `POST /api/next?${query}`, `${code}\nsuccess,CF=${CA}`);
      const before = done(web, `GET /api/transactions/next?${query}`);
      assert.equal((await ask(web.port, debitOf(CA)))["AF"], code);
      const first = await before;
      assert.equal(first.request.message.CA, CA);
      assert.equal(first.outcome.failure, code);
      assert.equal((await ask(web.port, debitOf(CA)))["CF"], CA);
      const next = `GET /api/transactions/next?after=${first.number}&${query}`;
      const second = await done(web, next);
      assert.equal(second.answer.message.CF, CA);
      const numbers = (await done(web, `GET /api/transactions?${query}`)).map(
        ({ number }: Transaction) => number,
      );
      assert.deepEqual(numbers, [first.number, second.number]);
      await done(web, `POST /api/next?${query}`, "silent");
      await done(web, `POST /api/reset?${query}`);
      assert.deepEqual(await done(web, `GET /api/transactions?${query}`), []);
    }
  }));
  assert.deepEqual(web.settings.next, []);
  assert.deepEqual(web.transactions, []);
});

// ---------------------------------------------------------------- /api/events

test("GET /api/events tells what --json prints, to each reader", async () => {
  const events: TerminalEvent[] = [];
  await using web = await webWith({ onEvent: (event) => void events.push(event) });
  await using one = await Reader.open(web);
  await using other = await Reader.open(web);
  await askAndClose(web.port, DEBIT);
  const streamed = await one.until("closed");
  assert.deepEqual(streamed.map(({ id }) => id), [1, 2, 3]);
  assert.deepEqual(streamed.map(({ event }) => event), ["request", "answer", "closed"]);
  assert.deepEqual(streamed.map(({ data }) => JSON.parse(data)), events.slice(1));
  assert.deepEqual(await other.until("closed"), streamed);
});

test("a stream of events that breaks goes on where it broke", patience, async () => {
  await using web = await webWith();
  let last: number;
  {
    await using reader = await Reader.open(web);
    await askAndClose(web.port, debitOf("01"));
    const [request] = await reader.until("request");
    last = request!.id;
  }
  await askAndClose(web.port, debitOf("02"));
  await using again = await Reader.open(web, last);
  await askAndClose(web.port, debitOf("03"));
  const events: Streamed[] = [];
  for (const _payment of [1, 2, 3]) events.push(...await again.until("closed"));
  assert.deepEqual(events.map(({ id }) => id), [2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(
    events.filter(({ event }) => event === "request")
      .map(({ data }) => JSON.parse(data).message.CA),
    ["02", "03"],
  );
  await using fresh = await Reader.open(web); // has nothing of what was before
  await using nonsense = await Reader.open(web, NaN);
  await askAndClose(web.port, debitOf("04"));
  for (const reader of [fresh, nonsense]) {
    assert.equal((await reader.next())?.id, 10);
  }
});

test("the last 1,000 events are kept for a stream that breaks", patience, async () => {
  let closed = 0;
  await using web = await webWith({ onEvent: ({ event }) => event === "closed" && closed++ });
  await (await Reader.open(web))[Symbol.asyncDispose]();
  for (let payments = 0; payments < 340; payments += 34) {
    await Promise.all(Array.from({ length: 34 }, () => askAndClose(web.port, DEBIT)));
  }
  await eventually(() => closed === 340, "all closed");
  await using reader = await Reader.open(web);
  await askAndClose(web.port, DEBIT);
  const { id: newest } = (await reader.until("closed")).at(-1)!;
  assert.equal(newest, 3 * 341);
  await using again = await Reader.open(web, 1);
  const first = await again.next();
  assert.equal(first?.id, newest - 999);
  for (let id = newest - 998; id <= newest; id++) assert.equal((await again.next())?.id, id);
});

test("a stream of events has a comment every 15 s", async () => {
  await using web = await webWith();
  await shortening(15_000, async () => {
    await using reader = await Reader.open(web);
    assert.equal(await reader.comment(), "still here");
    assert.equal(await reader.comment(), "still here");
    await askAndClose(web.port, DEBIT);
    assert.equal((await reader.next())?.id, 1);
  });
});

// ---------------------------------------------------------------- whom it refuses

const NAMED = { webName: ["Terminal", "pay.test"] };

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
  await using web = await webWith(NAMED);
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
  await using web = await webWith({ webHost: "localhost" });
  const { port } = new URL(web.url);
  for (const url of [`http://localhost:${port}/`, web.url]) await done({ url }, "GET /api/health");
});

table<[headers: readonly string[], status: number]>("pages of a browser", {
  "its own": [["Origin: http://localhost:8889", "Sec-Fetch-Site: same-origin"], 200],
  "typed in": [["Sec-Fetch-Site: none"], 200],
  "another site": [["Origin: https://evil.example"], 403],
  "another port": [["Origin: http://localhost:3000"], 403],
  "another scheme": [["Origin: https://localhost:8889"], 403],
  "another name of this machine": [["Origin: http://127.0.0.1:8889"], 403],
  "a frame without an origin": [["Origin: null"], 403],
  "another site without an origin": [["Sec-Fetch-Site: cross-site"], 403],
}, async ([headers, status]) => {
  await using web = await webWith();
  const head = ["POST /api/next HTTP/1.1", "Host: localhost:8889", "Content-Length: 7", ...headers];
  const got = await exchange(web, head, "refused");
  assert.equal(got.status, status, got.text);
  assert.doesNotMatch(got.text, /access-control/i);
  assert.equal(web.settings.next.length, status === 200 ? 1 : 0);
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

test("maxBody: 64 KiB, then 413, whether the size is told or not", patience, async () => {
  await using web = await webWith();
  const [whole, more] = [wordsOf(65_536), wordsOf(65_544)];
  assert.equal((await done(web, "POST /api/next", whole)).next.length, 8192);
  const expected = "expected a body of at most 65536 bytes";
  assert.equal(await refused(413, web, "POST /api/next", more), expected);
  assert.equal(await refused(413, web, "PATCH /api/terminal", wordsOf(3_000_000)), expected);
  const head = ["POST /api/next HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked"];
  assert.equal((await exchange(web, head, chunks(whole))).status, 200);
  assert.equal((await exchange(web, head, chunks(more))).status, 413);
  assert.equal((await exchange(web, head, chunks(wordsOf(3_000_000)))).status, 413);
  assert.equal(web.settings.next.length, 2 * 8192);
  await using small = await webWith({ maxBody: 7 });
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

test("bodyTimeout: a body that takes too long, 408 and the end", patience, async () => {
  await using web = await webWith({ bodyTimeout: 2000 }); // the head must be there in that time, too
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

test("bodyTimeout: a head that takes too long, 408 and the end", patience, async () => {
  await using web = await webWith({ bodyTimeout: 1500 });
  const heads = ["GET /api/health HTTP/1.1\r\n", "GET /api/health HTTP/1.1\r\nHost: local"];
  await Promise.all(heads.map(async (head) => {
    await using peer = await Peer.connect(webPort(web));
    peer.send(head);
    await peer.closed;
    assert.match(peer.text, /^HTTP\/1\.1 408 /);
  }));
});

test("bodyTimeout: a body that nobody asked for is read no longer", patience, async () => {
  await using web = await webWith({ bodyTimeout: 1500 });
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

test("bodyTimeout: 10 s, if nothing is said", patience, async () => {
  await using web = await webWith();
  await using peer = await Peer.connect(webPort(web));
  const { socket } = peer; // whose own limit is as long
  await shortening(10_000, async () => {
    const closed = once(socket, "close", { signal: AbortSignal.timeout(LIMIT) });
    peer.send("POST /api/next HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n");
    await closed;
  });
  assert.match(peer.text, /^HTTP\/1\.1 408 [^]*expected the body within 10000 ms/);
});

test("maxStreams: 100 at once, then 503; one that leaves makes room", patience, async () => {
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

test("maxUnreadEvents: who does not read is dropped, who does is not", patience, async () => {
  await using web = await webWith({ maxUnreadEvents: 300_000, gap: 5000 }); // a request comes in pieces
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

test("maxWaits: 1,000 at once, then 503; those that leave make room", patience, async () => {
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

test("maxWaits: a wait that is over makes room", async () => {
  await using web = await webWith({ maxWaits: 1 });
  for (const _time of [1, 2, 3]) await refused(408, web, "GET /api/transactions/next?timeout=0");
  await ask(web.port, DEBIT);
  for (const _time of [1, 2, 3]) await done(web, "GET /api/transactions/next");
});

table<[options: WebOptions, option: string]>("an option out of bounds", {
  "a port below 0": [{ webPort: -1 }, "webPort"],
  "a port above all": [{ webPort: 65_536 }, "webPort"],
  "a port in part": [{ webPort: 1.5 }, "webPort"],
  "no body": [{ maxBody: 0 }, "maxBody"],
  "no time": [{ bodyTimeout: 0 }, "bodyTimeout"],
  "no number": [{ maxStreams: NaN }, "maxStreams"],
  "a negative number": [{ maxWaits: -1 }, "maxWaits"],
  "a text": [{ maxUnreadEvents: "1" as unknown as number }, "maxUnreadEvents"],
  "one of the terminal": [{ duration: -1 }, "duration"],
  "an unknown one": [{ webPrt: 1 } as WebOptions, "options"],
}, async ([options, expected]) => {
  await assert.rejects(webWith(options), (error) => {
    assert.ok(error instanceof OptionError);
    assert.equal(error.option, expected);
    return true;
  });
});

// ---------------------------------------------------------------- start and end

test("a port that is taken, the other one is free again", patience, async () => {
  await using taken = await webWith();
  await assert.rejects(webWith({ webPort: webPort(taken) }), ListenError);
  const other = net.createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as net.AddressInfo;
  await new Promise((resolve) => other.close(resolve));
  await assert.rejects(webWith({ port: taken.port, webPort: port }), ListenError);
  await using again = await webWith({ webPort: port });
  assert.equal(webPort(again), port);
});

test("the log tells the URL after the terminal's line, unless it is to be quiet", async () => {
  const log: string[] = [];
  await using web = await webWith({ log: (level, text) => void log.push(`${level} ${text}`) });
  assert.match(log[0]!, /^info listening on 127\.0\.0\.1 port \d+/);
  assert.deepEqual(log.slice(1), [`info HTTP interface at ${web.url}`]);
  const quiet: string[] = [];
  await using _quiet = await webWith({ logLevel: "warn", log: (_, text) => void quiet.push(text) });
  assert.deepEqual(quiet, []);
});

test(
  "close() ends waits with 503, streams, bodies, heads and payments, at once",
  patience,
  async () => {
    await using web = await webWith({ interactive: true, bodyTimeout: 60_000 });
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
    const closing = web.close();
    assert.equal(web.close(), closing);
    await closing;
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
    import { startWeb } from "${new URL("web.ts", import.meta.url).href}";
    let thrown = 0;
    process.on("uncaughtException", ({ message }) => { if (message === "of the log") thrown++; });
    const log = () => { throw new Error("of the log") };
    const web = await startWeb({ port: 0, host: "127.0.0.1", webPort: 0, log, interactive: true, bodyTimeout: 60_000 });
    const { port } = new URL(web.url);
    const open = (sent) => new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => socket.write(sent));
      socket.on("error", () => {}).once("data", resolve);
    });
    const wait = fetch(web.url + "api/transactions/next?after=1&timeout=300").then(({ status }) => status);
    const half = open("POST /api/next HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 7\\r\\n\\r\\n");
    await open("POST /api/no HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 7\\r\\n\\r\\nref");
    await open("GET /api/events HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n");
    net.connect(web.port, "127.0.0.1").on("error", () => {}).write(DEBIT);
    while (web.settings.waiting.length === 0) await new Promise((done) => setTimeout(done, 5));
    await web.close();
    console.log("wait", await wait, "thrown", thrown);
    globalThis.at = Date.now();
    process.on("exit", () => console.log("in time", Date.now() - globalThis.at < 10_000));
  `);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^wait 503 thrown [23]\nin time true\n$/);
});

// ---------------------------------------------------------------- the command

/** Holds one line on stderr and nothing else against what is expected. */
function assertLine({ status, stdout, stderr }: Ran, expected: number, line: RegExp): void {
  assert.equal(stdout, "");
  assert.match(stderr, line);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.equal(status, expected);
}

test("web.ts: --json, a person decides over HTTP without a screen, SIGTERM", patience, async () => {
  await using command = Command.start(
    "web.ts",
    ...["-p", "0", "--host", "127.0.0.1", "-d", "5", "-i", "--strict", "--json"],
    ...["--web-port", "0", "--web-name", "terminal", "--web-name=till.test"],
  );
  const lines = await command.prints("stdout", /^.*\n.*\n/);
  const [listening, web] = lines.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(listening.event, "listening");
  const { event, time, host, port, url, ...others } = web;
  assert.deepEqual([event, host, others], ["web", "127.0.0.1", {}]);
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Number.isInteger(port) && port > 0);
  assert.equal(url, `http://127.0.0.1:${port}/`);
  const logged = await command.prints("stderr", /listening[^]*HTTP interface at (\S+)\n/);
  assert.equal(logged, url);
  const terminal = await done(web, "GET /api/terminal");
  assert.deepEqual([terminal.strict, terminal.interactive, terminal.duration], [true, true, 5]);
  for (const [name, status] of [["terminal", 200], ["till.test", 200], ["till", 403]] as const) {
    const got = await exchange(web, ["GET /api/health HTTP/1.1", `Host: ${name}`]);
    assert.equal(got.status, status, name);
  }
  await using peer = await Peer.connect(listening.port);
  const answer = peer.ask(DEBIT);
  await command.prints("stdout", /"event":"waiting"/);
  await done(web, "POST /api/transactions/1/outcome", "refused");
  assert.equal((await answer)["AF"], "04");
  await using _reader = await Reader.open(web);
  const wait = refused(503, web, "GET /api/transactions/next?after=1&timeout=300");
  wait.catch(() => {}); // on Windows a signal ends it at once
  command.signal("SIGTERM");
  assert.equal((await command.ran()).status, 0);
});

test("web.ts prints nothing on stdout without --json", patience, async () => {
  await using command = Command.start(
    "web.ts",
    ...["-p", "0", "--host", "127.0.0.1", "--web-port", "0"],
  );
  const url = await command.prints("stderr", /HTTP interface at (\S+)\n/);
  await done({ url }, "GET /api/health");
  command.signal("SIGINT");
  const { status, stdout } = await command.ran();
  assert.deepEqual([status, stdout], [0, ""]);
});

test("web.ts: an address of IPv6", patience, async (context) => {
  const probe = net.createServer().listen(0, "::1");
  const hasIPv6 = await once(probe, "listening").then(() => true, () => false);
  probe.close();
  if (!hasIPv6) return context.skip("this machine has no IPv6");
  await using command = Command.start(
    "web.ts",
    ...["-p", "0", "--host", "::1", "--web-host", "::1", "--web-port", "0", "--json"],
  );
  const line = await command.prints("stdout", /\n(.*)\n/);
  const { host, port, url } = JSON.parse(line);
  assert.deepEqual([host, url], ["::1", `http://[::1]:${port}/`]);
  await done({ url }, "GET /api/health");
});

test("web.ts --help has every option of server.ts, in lines of 80", patience, async () => {
  const [server, web] = await Promise.all([run("server.ts", "--help"), run("web.ts", "--help")]);
  assert.deepEqual([web.status, web.stderr], [0, ""]);
  for (const line of web.stdout.split("\n")) assert.ok(line.length <= 80, line);
  const options = (help: string): string[] =>
    help.split("\n").filter((line) => /^ {2}(?:-\w+, *| +)--/.test(line));
  const own = options(web.stdout).filter((line) => !options(server.stdout).includes(line));
  assert.ok(options(server.stdout).length > 15);
  assert.deepEqual(
    options(server.stdout).filter((line) => !options(web.stdout).includes(line)),
    ["  -i,  --interactive             3. a person decides, on this screen"],
  );
  assert.equal(
    own.shift(),
    "  -i,  --interactive             3. a person decides, on the page or over HTTP",
  );
  assert.deepEqual(own.map((line) => /--\S+ \S+/.exec(line)?.[0]), [
    "--web-port PORT",
    "--web-host HOST",
    "--web-name NAME",
    "--terminal HOST",
    undefined, // --unmasked
  ]);
  assert.match(web.stdout, /--web-port PORT .*\(8889\)/);
  assert.match(web.stdout, /--web-host HOST .*\(127\.0\.0\.1\)/);
  assert.match(web.stdout, /^usage: web\.ts \[options\]$/m);
});

test("web.ts: either port taken, status 1 and one line", patience, async () => {
  await using taken = await webWith();
  const [own, others] = [webPort(taken), taken.port].map(String) as [string, string];
  const quiet = ["--host", "127.0.0.1", "--json"];
  const [one, other] = await Promise.all([
    run("web.ts", "-p", "0", "--web-port", own, ...quiet),
    run("web.ts", "-p", others, "--web-port", "0", ...quiet),
  ]);
  const line = (port: string): RegExp =>
    new RegExp(
      `^web.ts: cannot listen on host 127\\.0\\.0\\.1, port ${port}: the port is in use by another program\n$`,
    );
  assertLine(one, 1, line(own));
  assertLine(other, 1, line(others));
});

test("web.ts: wrong arguments, status 2 and one line", patience, async () => {
  const cases: [args: string[], line: RegExp][] = [
    [
      ["--web-port", "http"],
      /^web\.ts: --web-port: expected a number such as 3 or 0\.5, got "http"/,
    ],
    [["--web-port", "65536"], /^web\.ts: --web-port: expected a whole number from 0 to 65535, got/],
    [["--web-prot", "1"], /^web\.ts: Unknown option '--web-prot'.*; did you mean --web-port\?/],
    [["--max-body", "1"], /^web\.ts: Unknown option '--max-body'/],
    [["--next", "refussed"], /^web\.ts: --next: expected words from .*; did you mean refused\?/],
  ];
  await using web = await webWith();
  const problem = (await refused(400, web, "POST /api/next", "refussed")).replace("next: ", "");
  await Promise.all(cases.map(async ([args, line]) => {
    const ran = await run("web.ts", "-p", "0", "--web-port", "0", ...args);
    assertLine(ran, 2, line);
    if (args[0] === "--next") assert.ok(ran.stderr.includes(problem), ran.stderr);
  }));
});
