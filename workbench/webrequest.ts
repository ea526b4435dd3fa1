// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A request over HTTP and its answer: from whom it is taken, how its body is read, how JSON is
 * written, and what keeps one reader, or many, from taking too much.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type http from "node:http";
import net from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { jsonLine } from "../protocol.ts";

// ---------------------------------------------------------------- bounds

/** What keeps readers from taking too much. The numbers are our choice. */
export const WEB_BOUNDS = {
  /** Bytes of a body: thousands of outcomes. */
  bodyBytes: 65_536,
  /** Milliseconds that a request may take to be sent. */
  request: 10_000,
  /** Connections at once: all streams and waits there may be, and as many again. */
  connections: 2_200,
  /** Event streams at once: more than a team has pages open. */
  streams: 100,
  /** Bytes of events that a reader may leave unread before it is dropped: a thousand payments. */
  unreadBytes: 1_048_576,
  /** Milliseconds between the comments that keep an event stream open. */
  heartbeat: 15_000,
  /** Waits for a transaction at once: more than tests run side by side. */
  waits: 1_000,
  /** Milliseconds that a wait takes, if nothing is said. */
  wait: 30_000,
  /** Payments of this program's own at once, and milliseconds that one waits for its answer. */
  tries: 5,
  try: 120_000,
};

/** See {@linkcode WEB_BOUNDS}. */
export type WebBounds = { readonly [Name in keyof typeof WEB_BOUNDS]: number };

// ---------------------------------------------------------------- what goes wrong

/** An answer that is not what was asked for: a status, and the reason in words. */
export class HttpError extends Error {
  /** @ignore */
  override name = "HttpError";
  /** The status of the answer. */
  readonly status: number;
  /** More headers of it. */
  readonly headers: Record<string, string>;

  /** An error with its status and reason. */
  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** The host of an authority, such as that of the header Host, in lower case and without brackets. */
const AUTHORITY = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/;

/** Ports that a URL leaves out. */
const SCHEME_PORTS: Readonly<Record<string, string>> = { http: "80", https: "443" };

/**
 * Why a request must not be served, if so: a page of another site, or another program's on another
 * port of this machine, sends it from somebody's browser.
 *
 * @param names The names besides localhost and addresses by which this may be asked for, in lower
 * case: those that were given, and the one that it listens on.
 */
export function refusal(
  { headers, headersDistinct }: http.IncomingMessage,
  names: { readonly given: ReadonlySet<string>; readonly own: string },
): string | undefined {
  const host = (headersDistinct["host"] ?? []).join(", "); // two are none
  const { origin, "sec-fetch-site": site } = headers;
  const [, inHost] = AUTHORITY.exec(host) ?? [];
  const name = inHost?.toLowerCase().replace(/^\[|\]$/g, "");
  const isKnown = name === "localhost" || name === names.own || names.given.has(name ?? "");
  if (name === undefined || !(isKnown || net.isIP(name))) {
    return `expected Host to be localhost, an IP address or a --web-name, got "${host}"`;
  }
  if (origin !== undefined && !isOwn(origin, host, names.given)) {
    const expected = `expected no Origin but http://${host}, https://${host} or a --web-name`;
    return `${expected}, got "${origin}"`;
  }
  if (site === undefined || site === "same-origin" || site === "none") return undefined;
  return `expected no page of another site or port, got Sec-Fetch-Site "${site}"`;
}

/**
 * Whether an origin is that of this page: host and port are those of the header Host, whatever the
 * scheme, for a proxy before it may speak TLS; or it is one of the names that were given.
 */
function isOwn(origin: string, host: string, names: ReadonlySet<string>): boolean {
  const [, scheme = "", authority = ""] = /^(https?):\/\/(.*)$/.exec(origin.toLowerCase()) ?? [];
  const standard = SCHEME_PORTS[scheme];
  const [, name, port = standard] = AUTHORITY.exec(authority) ?? [];
  const [, ownName, ownPort = standard] = AUTHORITY.exec(host.toLowerCase()) ?? [];
  if (standard === undefined || !name) return false;
  return name === ownName && port === ownPort || names.has(name);
}

// ---------------------------------------------------------------- a body

/** Types of a body of words; also what curl -d and fetch say that it is, unless they are told. */
const BODY_TYPES = /^(?:|text\/plain|application\/json|application\/x-www-form-urlencoded)$/;

/**
 * The body of a request: words, or what it is in JSON. It is JSON where its type says so, or where
 * it begins as no words of an outcome do.
 *
 * @throws {HttpError} It is too large, too slow, of another type, or no JSON where it should be.
 */
export async function readBody(
  request: http.IncomingMessage,
  { bodyBytes, request: timeout }: WebBounds,
): Promise<unknown> {
  const [type = ""] = (request.headers["content-type"] ?? "").toLowerCase().split(";");
  if (!BODY_TYPES.test(type.trim())) {
    throw new HttpError(415, `expected text/plain or application/json, got "${type}"`);
  }
  const tooLarge = new HttpError(413, `expected a body of at most ${bodyBytes} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > bodyBytes) throw tooLarge;
  const reading = Promise.withResolvers<string>();
  const parts: Uint8Array[] = [];
  let size = 0;
  // Not by for await: it destroys a connection whose body is too large before that can be said.
  request.on("data", (part: Uint8Array) => {
    size += part.length;
    if (size <= bodyBytes) parts.push(part);
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

/** Reads JSON, which `what` of the body says that it is. */
function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new HttpError(400, `expected JSON, as the ${what} says: ${(error as Error).message}`);
  }
}

// ---------------------------------------------------------------- an answer

/**
 * Answers with JSON. What can be gone through is written one by one and as fast as it is read: a
 * runtime has no string for a thousand transactions of the largest size, and no memory for many.
 */
export async function sendJson(
  response: http.ServerResponse,
  status: number,
  headers: Record<string, string>,
  value: unknown,
): Promise<void> {
  response.setHeader("content-type", "application/json");
  if (typeof value === "object" && value !== null && Symbol.iterator in value) {
    response.writeHead(status, headers);
    if (response.req.method === "HEAD") return void response.end();
    await pipeline(Readable.from(listPieces(value as Iterable<unknown>)), response);
    return;
  }
  const text = jsonLine(value);
  response.writeHead(status, { "content-length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

/** What {@linkcode jsonLine} makes of a list, piece by piece. */
function* listPieces(list: Iterable<unknown>): Generator<string> {
  let before = "[";
  for (const one of list) {
    yield before + jsonLine(one).trimEnd();
    before = ",";
  }
  yield before === "[" ? "[]\n" : "]\n";
}

/** Whether who asks reads French: then errors and warnings tell that beside their English. */
export function readsFrench({ headers }: http.IncomingMessage): boolean {
  return /^fr\b/i.test(headers["accept-language"] ?? "");
}
