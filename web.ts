#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The terminal of server.ts, steered and seen over HTTP while it runs: from any language, a shell or
 * a browser. What HTTP can do, a method of `Terminal` can do, and this file calls just that.
 *
 * ```sh
 * deno run --allow-net web.ts --help
 * ```
 *
 * @example In a test suite: what a till in another process did
 * ```ts
 * import assert from "node:assert/strict";
 * import { startWeb } from "./web.ts";
 *
 * await using terminal = await startWeb({ port: 0, host: "127.0.0.1", webPort: 0 });
 * const response = await fetch(new URL("/api/health", terminal.url));
 * assert.deepEqual(await response.json(), { status: "ok" });
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import http from "node:http";
import net from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { URLSearchParams } from "node:url";
import { PAGE } from "./page.ts";
import {
  callBack,
  encodeText,
  inRange,
  jsonLine,
  MessageFramer,
  OptionError,
  type Options,
  ProtocolError,
  VERSION,
} from "./protocol.ts";
import { type ReplayOptions, startProxy } from "./proxy.ts";
import {
  listen,
  modelsInWords,
  type Outcome,
  parseOutcome,
  printEvent,
  runCommand,
  startTerminal,
  type Terminal,
  type TerminalChanges,
  type TerminalEvent,
  type TerminalOptions,
  type TerminalSettings,
  WaitError,
} from "./server.ts";

// ---------------------------------------------------------------- options

/** What a terminal with an HTTP interface does. Everything has a default. */
export interface WebOptions extends TerminalOptions {
  /**
   * Address or name of a real terminal that everything is passed on to, with :port if that is not
   * 8888, see proxy.ts. Default: none, the terminal is simulated.
   */
  terminal?: string;
  /** Shows what is masked otherwise of what goes through. Default: off. */
  unmasked?: boolean;
  /** TCP port of the HTTP interface; 0 takes a free one, see {@linkcode WebTerminal.url}. Default: 8889. */
  webPort?: number;
  /** Address or name that it listens on. Default: 127.0.0.1, which only this machine can reach. */
  webHost?: string;
  /**
   * Names besides localhost by which it may be asked for, such as that of a compose service. Any
   * other name is refused, so that no page of another site reaches it by DNS rebinding.
   */
  webName?: readonly string[];
  /** Bytes that a body may have. Default: 64 KiB (our choice: thousands of outcomes). */
  maxBody?: number;
  /** Milliseconds that a request may take to be sent. Default: 10,000 (our choice). */
  bodyTimeout?: number;
  /** Event streams at once. Default: 100 (our choice: more than a team has pages open). */
  maxStreams?: number;
  /**
   * Bytes of events that a reader may leave unread before it is dropped. Default: 1 MiB (our choice:
   * a thousand payments).
   */
  maxUnreadEvents?: number;
  /** Waits for a transaction at once. Default: 1,000 (our choice: more than tests run side by side). */
  maxWaits?: number;
}

const OPTIONS = {
  webPort: {
    heading: "The HTTP interface",
    value: "PORT",
    default: 8889,
    min: 0,
    max: 65_535,
    whole: true,
    help: "its TCP port, 0 for a free one",
  },
  webHost: { value: "HOST", default: "127.0.0.1", help: "address or name that it listens on" },
  webName: {
    value: "NAME",
    multiple: true,
    help: "another name that it may be asked for by; may be given again",
  },
  terminal: {
    heading: "The terminal",
    value: "HOST",
    help: "pass on to the real one there, HOST:PORT if that is not 8888 (simulated)",
  },
  unmasked: { help: "show what is masked of what goes through" },
  maxBody: { default: 65_536, min: 1, max: 2 ** 40 },
  bodyTimeout: { default: 10_000, min: 1, max: 86_400_000 },
  maxStreams: { default: 100, min: 0, max: 2 ** 40 },
  maxUnreadEvents: { default: 2 ** 20, min: 0, max: 2 ** 40 },
  maxWaits: { default: 1_000, min: 0, max: 2 ** 40 },
} satisfies Options;

/** Milliseconds between the comments that keep an event stream open. */
const HEARTBEAT = 15_000;
/** Events that are kept for streams that broke. */
const MAX_KEPT_EVENTS = 1_000;
/** Seconds that a wait takes at most, and by default. */
const [MAX_WAIT, DEFAULT_WAIT] = [300, 30];
/** Payments of this program's own at once, and milliseconds that one waits for its answer. */
const [MAX_TRIES, TRY_TIMEOUT] = [5, 120_000];
/** Milliseconds without a byte after which whole fields are taken as the answer. */
const TRY_GAP = 200;

// ---------------------------------------------------------------- requests and answers

/** An answer that is not what was asked for: a status and the reason in words. */
class HttpError extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** A request, as far as a route needs it. */
interface Asked {
  query: URLSearchParams;
  /** The number in the path, if there is one. */
  number: number;
  body: () => Promise<unknown>;
  request: http.IncomingMessage;
  response: http.ServerResponse;
}

/** Gives what is answered as JSON; nothing, if the route has answered itself. */
type Route = (asked: Asked) => unknown;

/** Why a request must not be served, if so: a page of another site in somebody's browser sends it. */
function refusal(
  { headers, headersDistinct }: http.IncomingMessage,
  names: ReadonlySet<string>,
): string | undefined {
  const host = (headersDistinct["host"] ?? []).join(", "); // two are none
  const { origin } = headers;
  const name = /^(\[[^\]]*\]|[^:]*)(?::\d+)?$/.exec(host)?.[1]?.toLowerCase().replace(
    /^\[|\]$/g,
    "",
  );
  if (name === undefined || !(names.has(name) || net.isIP(name))) {
    return `expected Host to be localhost, an IP address or a --web-name, got "${host}"`;
  }
  if (origin !== undefined && origin !== `http://${host}`) {
    return `expected no Origin but http://${host}, got "${origin}"`;
  }
  return headers["sec-fetch-site"] === "cross-site"
    ? "expected no page of another site"
    : undefined;
}

/**
 * The body of a request: words, or what it is in JSON. It is JSON where its type says so, or where
 * it begins as no words of an outcome do: curl -d and fetch send another type unless they are told.
 */
async function readBody(
  request: http.IncomingMessage,
  most: number,
  timeout: number,
): Promise<unknown> {
  const [type = ""] = (request.headers["content-type"] ?? "").toLowerCase().split(";");
  if (
    !/^(?:|text\/plain|application\/json|application\/x-www-form-urlencoded)$/.test(type.trim())
  ) {
    throw new HttpError(415, `expected text/plain or application/json, got "${type}"`);
  }
  const tooLarge = new HttpError(413, `expected a body of at most ${most} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > most) throw tooLarge;
  const reading = Promise.withResolvers<string>();
  const parts: Uint8Array[] = [];
  let size = 0;
  // Not by for await: it destroys a connection whose body is too large before that can be said.
  request.on("data", (part: Uint8Array) => {
    size += part.length;
    if (size <= most) parts.push(part);
    else reading.reject(tooLarge); // and the rest is read, or a reset could overtake the answer
  });
  request.on("end", () => reading.resolve(Buffer.concat(parts).toString("utf8")));
  request.on("error", reading.reject);
  request.on("close", () => reading.reject(new HttpError(400, "expected the whole body")));
  const timer = setTimeout(() => {
    reading.reject(new HttpError(408, `expected the body within ${timeout} ms`));
  }, timeout);
  try {
    const text = (await reading.promise).trim();
    if (type.trim() === "application/json") return parseJson(text, "content type");
    return /^[[{"]/.test(text) ? parseJson(text, "first character") : text;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Answers with JSON. A list is written one by one and as fast as it is read: a runtime has no string
 * for a thousand transactions of the largest size.
 */
async function sendJson(
  response: http.ServerResponse,
  status: number,
  headers: Record<string, string>,
  value: unknown,
): Promise<void> {
  response.setHeader("content-type", "application/json");
  if (Array.isArray(value)) {
    response.writeHead(status, headers);
    await pipeline(Readable.from(listPieces(value)), response);
    return;
  }
  const text = jsonLine(value);
  response.writeHead(status, { "content-length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

/** What {@linkcode jsonLine} makes of a list, piece by piece. */
function* listPieces(list: readonly unknown[]): Generator<string> {
  for (const [index, one] of list.entries()) {
    yield `${index === 0 ? "[" : ","}${jsonLine(one).trimEnd()}`;
  }
  yield list.length === 0 ? "[]\n" : "]\n";
}

/** Ends the connection of a request that is still being sent. */
function dropUnfinished(request: http.IncomingMessage): void {
  if (!request.complete) request.socket.destroy();
}

/** Reads a number of the query. */
function numberOf(query: URLSearchParams, name: string, standard: number, max: number): number {
  const text = query.get(name);
  return inRange(name, { default: standard, max }, text === null ? undefined : Number(text || NaN));
}

/** An outcome of a body, in words or as an object. */
function outcomeOf(value: unknown, option = "outcome"): Outcome {
  return typeof value === "string" ? parseOutcome(value.trim(), option) : value as Outcome;
}

// ---------------------------------------------------------------- events

/** Streams of what happens. Nothing is kept before somebody has asked for one. */
class EventStreams {
  readonly #terminal: Terminal;
  readonly #maxStreams: number;
  readonly #maxUnread: number;
  readonly #streams = new Set<http.ServerResponse>();
  readonly #kept: { id: number; text: string }[] = [];
  #count = 0;
  #heartbeat: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;

  constructor(terminal: Terminal, maxStreams: number, maxUnread: number) {
    this.#terminal = terminal;
    this.#maxStreams = maxStreams;
    this.#maxUnread = maxUnread;
  }

  /** Opens a stream, with the kept events after the last one that the reader has had. */
  open({ request, response }: Asked): void {
    if (this.#isClosed) throw new HttpError(503, "the terminal was closed");
    if (this.#streams.size >= this.#maxStreams) {
      throw new HttpError(503, `expected at most ${this.#maxStreams} event streams`);
    }
    if (!this.#heartbeat) {
      this.#terminal.subscribe((event) => this.#tell(event));
      this.#heartbeat = setInterval(() => this.#write(": still here\n\n"), HEARTBEAT);
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    const last = request.headers["last-event-id"];
    const missed = last === undefined ? [] : this.#kept.filter(({ id }) => id > Number(last));
    response.write(`: ${VERSION}\n\n`);
    for (const { text } of missed) response.write(text);
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#heartbeat);
    for (const stream of this.#streams) stream.end();
  }

  #tell(event: TerminalEvent): void {
    const id = ++this.#count;
    const text = `id: ${id}\nevent: ${event.event}\ndata: ${jsonLine(event)}\n`;
    this.#kept.push({ id, text });
    if (this.#kept.length > MAX_KEPT_EVENTS) this.#kept.shift();
    this.#write(text);
  }

  #write(text: string): void {
    for (const stream of this.#streams) {
      stream.write(text);
      if (stream.writableLength > this.#maxUnread) stream.destroy(); // nobody reads it
    }
  }
}

// ---------------------------------------------------------------- the page

/** The page loads nothing from elsewhere, and nothing of what a POS sends can become a script. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** The routes of the page: a browser asks again whether it has changed. */
const PAGE_ROUTES = Object.entries(PAGE).map(([path, { type, text }]): [RegExp, { GET: Route }] => {
  const etag = `"${createHash("sha256").update(text).digest("base64url")}"`;
  const GET: Route = ({ request, response }) => {
    const isKnown = request.headers["if-none-match"]?.includes(etag) ?? false;
    response.writeHead(isKnown ? 304 : 200, {
      ...(!isKnown && { "content-type": type }),
      "cache-control": "no-cache",
      "content-security-policy": POLICY,
      etag,
    }).end(isKnown ? undefined : text);
  };
  return [new RegExp(`^${path.replace(".", "\\.")}$`), { GET }];
});

/**
 * A debit of 12.34 EUR with a receipt, as a POS sends it. Its cash register, 00, should be no till's
 * (our choice): then it takes nothing that is queued for a till, and is no till's last attempt. What
 * is queued for any register is for this one too, so that a person sees what has just been queued.
 */
const TRY = encodeText({
  CZ: "0300",
  CJ: "012345678901",
  CA: "00",
  CE: "978",
  BA: "0",
  CD: "0",
  CB: "1234",
  CK: "100",
});

/** Pays at the terminal over TCP; gives what came until its answer, its end or the time limit. */
async function tryOut(
  { host, port }: Terminal,
  response: http.ServerResponse,
): Promise<{ sent: string; received: string }> {
  let received = "";
  const over = Promise.withResolvers<void>();
  const framer = new MessageFramer({
    pause: () => TRY_GAP,
    onMessage: ({ message }) => message["AE"] === "11" || over.resolve(),
  });
  const own = host === "::" ? "::1" : host === "0.0.0.0" ? "127.0.0.1" : host;
  const socket = net.connect(port, own, () => socket.write(TRY, "latin1"));
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    received += chunk;
    framer.feed(chunk);
  });
  socket.on("error", () => {}); // which "close" follows
  socket.on("close", () => over.resolve());
  response.on("close", () => over.resolve()); // nobody waits for it any more
  const timer = setTimeout(() => over.resolve(), TRY_TIMEOUT);
  await over.promise;
  clearTimeout(timer);
  framer.hold();
  socket.destroy();
  return { sent: TRY, received };
}

// ---------------------------------------------------------------- the interface

/** What can be asked of a terminal, by path and method. `real` is the one behind it, if one is. */
function routesOf(
  terminal: Terminal,
  real: string | undefined,
  streams: EventStreams,
  maxWaits: number,
): [RegExp, Record<string, Route>][] {
  let [waits, tries] = [0, 0];
  const register = (query: URLSearchParams): string | undefined =>
    query.get("register") ?? undefined;
  const next = (): unknown => ({ next: terminal.settings.next });
  // What a real terminal is and how its payments end is not for this one to say.
  const settings = (): Partial<TerminalSettings> => {
    if (real === undefined) return terminal.settings;
    const { outcome, model: _, ...others } = terminal.settings;
    return { ...others, outcome: outcome?.replace(/^success,?/, "") ?? null };
  };
  const found = (number: number): unknown => {
    const transaction = terminal.transaction(number);
    if (transaction) return transaction;
    throw new HttpError(404, `expected the number of a transaction that is kept, got ${number}`);
  };
  return [
    ...PAGE_ROUTES,
    [/^\/api\/health$/, { GET: () => ({ status: "ok" }) }],
    [/^\/api\/terminal$/, {
      GET: () => {
        const { host, port } = terminal;
        return { version: VERSION, host, port, ...(real && { terminal: real }), ...settings() };
      },
      async PATCH({ body }) {
        const changes = await body();
        if (Object.prototype.toString.call(changes) !== "[object Object]") {
          throw new OptionError("settings", 'an object in JSON such as {"duration": 0}', changes);
        }
        const { outcome, ...others } = changes as TerminalChanges;
        const isUnchanged = real !== undefined && (outcome as unknown) === "";
        terminal.change(
          outcome === undefined
            ? others
            : { ...others, outcome: isUnchanged ? {} : outcomeOf(outcome) },
        );
        return settings();
      },
    }],
    [/^\/api\/models$/, { GET: () => modelsInWords() }],
    [/^\/api\/next$/, {
      async POST({ query, body }) {
        const given = await body();
        const lines = typeof given === "string"
          ? given.split("\n").filter((line) => line.trim())
          : given;
        const outcomes = (Array.isArray(lines) ? lines : [lines]).map((one) =>
          outcomeOf(one, "next")
        );
        if (outcomes.length === 0) throw new OptionError("next", "an outcome a line", "");
        const of = register(query);
        if (of === undefined) terminal.nextOutcome(...outcomes);
        else terminal.nextOutcomeOf(of, ...outcomes);
        return next();
      },
      DELETE({ query }) {
        terminal.clearNext(register(query));
        return next();
      },
    }],
    [/^\/api\/transactions$/, {
      GET({ query }) {
        const after = numberOf(query, "after", 0, Infinity);
        const of = register(query);
        return terminal.transactions.filter(({ number, request }) =>
          number > after && (of === undefined || request.message["CA"] === of)
        );
      },
    }],
    [/^\/api\/transactions\/next$/, {
      async GET({ query, request, response }) {
        // It is given once: not to who does not see it.
        if (request.method === "HEAD") {
          throw new HttpError(405, "expected GET, got HEAD", { allow: "GET" });
        }
        const after = numberOf(query, "after", 0, Infinity);
        const timeout = numberOf(query, "timeout", DEFAULT_WAIT, MAX_WAIT) * 1000;
        const of = register(query);
        if (waits >= maxWaits) {
          throw new HttpError(503, `expected at most ${maxWaits} waits at once`);
        }
        waits++;
        const left = new AbortController();
        response.on("close", () => left.abort());
        try {
          return await terminal.waitForTransaction({
            after,
            timeout,
            signal: left.signal,
            ...(of !== undefined && { register: of }),
          });
        } finally {
          waits--;
        }
      },
    }],
    [/^\/api\/transactions\/(\d+)$/, { GET: ({ number }) => found(number) }],
    [/^\/api\/transactions\/(\d+)\/outcome$/, {
      async POST({ number, body }) {
        const outcome = outcomeOf(await body());
        if (terminal.decide(number, outcome)) return { decided: number };
        found(number);
        throw new HttpError(
          409,
          `expected a transaction that waits for a person, ${number} does not`,
        );
      },
    }],
    [/^\/api\/reset$/, {
      POST({ query }) {
        terminal.reset(register(query));
        return settings();
      },
    }],
    [/^\/api\/try$/, {
      async POST({ response }) {
        if (real) throw new HttpError(409, `expected a simulated terminal, ${real} is a real one`);
        if (tries >= MAX_TRIES) throw new HttpError(503, `expected at most ${MAX_TRIES} at once`);
        tries++;
        return await tryOut(terminal, response).finally(() => tries--);
      },
    }],
    [/^\/api\/events$/, { GET: (asked) => streams.open(asked) }],
  ];
}

/** Reads JSON, which `what` of the body says that it is. */
function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpError(400, `expected JSON, as the ${what} says: ${(error as Error).message}`);
  }
}

/** What an error of a route is in HTTP. */
function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof OptionError || error instanceof ProtocolError) {
    return new HttpError(400, error.message);
  }
  if (error instanceof WaitError) return new HttpError(WAIT_STATUS[error.reason], error.message);
  return new HttpError(500, "something went wrong, which is a mistake of this program");
}

const WAIT_STATUS = { timeout: 408, reset: 409, closed: 503, aborted: 499 } as const;

/** A terminal that is running, with its HTTP interface. */
export interface WebTerminal extends Terminal {
  /** Where the HTTP interface is, with a slash at its end. */
  readonly url: string;
}

/**
 * Starts a terminal and its HTTP interface.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} One of them cannot listen there.
 */
export async function startWeb(options: WebOptions = {}): Promise<WebTerminal> {
  type NumberOption = Exclude<
    keyof typeof OPTIONS,
    "webHost" | "webName" | "terminal" | "unmasked"
  >;
  const number = (name: NumberOption): number => inRange(name, OPTIONS[name], options[name]);
  const {
    terminal: real,
    unmasked,
    webPort: _port,
    webHost = OPTIONS.webHost.default,
    webName = [],
    maxBody: _body,
    bodyTimeout: _timeout,
    maxStreams: _streams,
    maxUnreadEvents: _unread,
    maxWaits: _waits,
    ...others
  } = options;
  const [port, most, timeout] = [number("webPort"), number("maxBody"), number("bodyTimeout")];
  const [maxStreams, maxUnread, maxWaits] = [
    number("maxStreams"),
    number("maxUnreadEvents"),
    number("maxWaits"),
  ];
  if (unmasked && real === undefined) throw new OptionError("unmasked", "a terminal", real);
  const names = new Set(["localhost", webHost, ...webName].map((name) => name.toLowerCase()));

  let routes: ReturnType<typeof routesOf> = [];
  const server = http.createServer({
    requestTimeout: 2 * timeout, // of bodies that nobody reads: of others readBody() tells
    headersTimeout: timeout,
    connectionsCheckingInterval: Math.min(1_000, timeout),
  });
  server.on("request", (request, response) => answer(request, response));
  const answer = async (
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> => {
    response.setHeader("x-content-type-options", "nosniff");
    response.setHeader("referrer-policy", "no-referrer");
    response.setHeader("cache-control", "no-store");
    response.on("error", () => {}); // it has gone
    response.on("finish", () => {
      // What is left of the body is read, so that no reset overtakes the answer, but not for ever.
      if (!request.complete) setTimeout(() => dropUnfinished(request), timeout).unref();
    });
    try {
      const why = refusal(request, names);
      if (why) throw new HttpError(403, why);
      if (routes.length === 0) throw new HttpError(503, "the terminal does not listen yet");
      const { url = "" } = request; // as it came: what a URL would make of "//name/" is not meant
      const [pathname = ""] = url.split("?", 1);
      const query = new URLSearchParams(url.slice(pathname.length));
      const [pattern, methods] = routes.find(([pattern]) => pattern.test(pathname)) ?? [];
      if (!pattern || !methods) throw new HttpError(404, `there is nothing at ${pathname}`);
      const method = request.method === "HEAD" ? "GET" : request.method ?? "";
      const route = Object.hasOwn(methods, method) ? methods[method] : undefined;
      const allow = Object.keys(methods).join(", ");
      if (!route) throw new HttpError(405, `expected ${allow}, got ${method}`, { allow });
      const value = await route({
        query,
        number: Number(pattern.exec(pathname)?.[1]),
        body: () => readBody(request, most, timeout),
        request,
        response,
      });
      if (value !== undefined && !response.destroyed) await sendJson(response, 200, {}, value);
    } catch (error) {
      const { status, message, headers } = toHttpError(error);
      // What fails in the middle of an answer can be told by its end only.
      if (response.headersSent || response.destroyed) return void response.destroy();
      const more = status === 408 ? { ...headers, connection: "close" } : headers;
      await sendJson(response, status, more, { error: message }).catch(() => response.destroy());
    }
  };

  const address = await listen(server, port, webHost);
  const starting = real === undefined
    ? startTerminal(others)
    : startProxy({ ...others as ReplayOptions, terminal: real, ...(unmasked && { unmasked }) });
  const terminal = await starting.catch((error) => {
    server.close();
    server.closeAllConnections();
    throw error;
  });
  const streams = new EventStreams(terminal, maxStreams, maxUnread);
  routes = routesOf(terminal, real, streams, maxWaits);
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  const url = `http://${host}:${address.port}/`;
  const { log, logLevel = "info" } = others;
  if (log && (logLevel === "info" || logLevel === "debug")) {
    callBack(() => log("info", `HTTP interface at ${url}`));
  }

  const shut = async (): Promise<void> => {
    const ended = new Promise((resolve) => server.close(resolve));
    streams.close();
    await terminal.close(); // which ends the waits
    server.closeAllConnections();
    await ended;
  };
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => closed ??= shut();
  return Object.create(terminal, {
    url: { value: url, enumerable: true },
    close: { value: close },
    [Symbol.asyncDispose]: { value: close },
  });
}

// ---------------------------------------------------------------- the command

if (import.meta.main) {
  runCommand({
    name: "web.ts",
    summary: "A card payment terminal that is steered and seen over HTTP while it runs.",
    examples: ["-d 0 --web-port 8889", "-i", "-p 0 --web-port 0 --json"],
    options: {
      ...OPTIONS,
      interactive: { short: "i", help: "3. a person decides, on the page or over HTTP" },
    },
    async start(options, { interactive, json }) {
      const terminal = await startWeb({ ...options, interactive });
      const [, host, port] = /^http:\/\/\[?(.*?)\]?:(\d+)\/$/.exec(terminal.url) ?? [];
      if (json) {
        const time = new Date().toISOString();
        printEvent({ event: "web", time, host, port: Number(port), url: terminal.url });
      }
      return terminal;
    },
  });
}
