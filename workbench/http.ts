// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A terminal, or a proxy, steered and seen over HTTP while it runs: from any language, a shell or a
 * browser. What HTTP can do, a method of `Terminal` can do, and this calls just that.
 *
 * @example In a test suite: what a till in another process did
 * ```ts
 * import assert from "node:assert/strict";
 * import { startWeb } from "./http.ts";
 * import { startTerminal } from "./terminal.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1" });
 * await using web = await startWeb(terminal, { port: 0 });
 * const response = await fetch(new URL("/api/health", web.url));
 * assert.deepEqual(await response.json(), { status: "ok" });
 * ```
 *
 * @module
 */
import http from "node:http";
import { URLSearchParams } from "node:url";
import { callBack, inRange, OptionError, ProtocolError } from "../protocol.ts";
import {
  CARDS,
  checkNames,
  ENDINGS,
  FAULTS,
  FLAGS,
  isEverywhere,
  ListenError,
  listenOn,
  type Log,
  WaitError,
} from "../server.ts";
import { errorInFrench } from "./errors.ts";
import { modelsInWords } from "./models.ts";
import { pageFiles } from "./page/page.ts";
import { checkQuery, type Find, type Routes, routesOf } from "./routes.ts";
import { EventStreams } from "./streams.ts";
import type { Terminal } from "./terminal.ts";
import {
  HttpError,
  readsFrench,
  refusal,
  sendJson,
  WEB_BOUNDS,
  type WebBounds,
} from "./webrequest.ts";

// ---------------------------------------------------------------- options

/** Where the interface is and who may ask for it. Everything has a default. */
export interface WebOptions {
  /** TCP port; 0 takes a free one, see {@linkcode Web.url}. Default: 8889. An error calls it webPort. */
  port?: number;
  /** Address or name to listen on. Default: 127.0.0.1, which only this machine can reach. */
  host?: string;
  /**
   * Names besides localhost by which it may be asked for, such as that of a compose service. Any
   * other name is refused, so that no page of another site reaches it by DNS rebinding. An error
   * calls one webName.
   */
  names?: readonly string[];
  /** The real terminal behind it, in words, if it is a proxy that is steered. Default: none. */
  real?: string;
  /** What keeps readers from taking too much. Default: {@linkcode WEB_BOUNDS}. */
  bounds?: Partial<WebBounds>;
  /** More paths than there are, tried before the others. Default: none. */
  routes?: Routes;
  /** Receives where it is, once it listens. Default: nobody. */
  log?: Log;
}

/** The HTTP interface of a terminal. */
export interface Web extends AsyncDisposable {
  /** Where it is, with a slash at its end; at localhost if it listens on every interface. */
  readonly url: string;
  /** The address it listens on. */
  readonly host: string;
  /** The TCP port it listens on. */
  readonly port: number;
  /** Stops it: waits get an answer, streams end. The terminal goes on. */
  close(): Promise<void>;
}

/** The options with their defaults. */
export type WebSettings = Required<Pick<WebOptions, "port" | "host" | "names">> & {
  readonly bounds: WebBounds;
};

/**
 * The options with their defaults, each held against what it may be.
 *
 * @throws {OptionError} An option is not as it must be.
 */
export function checkWebOptions(options: WebOptions): WebSettings {
  const { host = "127.0.0.1", names = [], bounds = {} } = options;
  checkNames("options", "names from", "port host names real bounds routes log".split(" "), options);
  const port = inRange("webPort", { max: 65_535, whole: true }, options.port ?? 8889);
  for (const name of names) {
    // Not with :port: of that, the header Host says another one behind a proxy.
    if (typeof name === "string" && /^[^\s\p{Cc}:/?#@[\]]+$/u.test(name)) continue;
    throw new OptionError("webName", "a host name alone, such as terminal", name);
  }
  checkNames("bounds", "names from", Object.keys(WEB_BOUNDS), bounds);
  for (const [name, bound] of Object.entries(bounds)) {
    inRange(`bounds.${name}`, { min: /^(bodyBytes|request)$/.test(name) ? 1 : 0 }, bound);
  }
  return { port, host, names, bounds: { ...WEB_BOUNDS, ...bounds } };
}

// ---------------------------------------------------------------- listening

/** Has it listen, but not where the terminal does: some systems give one port to both. */
async function listenBeside(
  terminal: Terminal,
  server: http.Server,
  { port, host }: { port: number; host: string },
): Promise<{ host: string; port: number; url: string }> {
  const isShared = isEverywhere(terminal.host) || isEverywhere(host) || host === terminal.host;
  if (port === terminal.port && isShared) {
    const expected = `another port than ${port}, on which the terminal listens`;
    throw new OptionError("webPort", expected, port);
  }
  try {
    const { address, family, port: taken } = await listenOn(server, port, host);
    // No browser opens the address of every interface, least of all one on Windows.
    const inUrl = isEverywhere(address)
      ? "localhost"
      : family === "IPv6"
      ? `[${address}]`
      : address;
    return { host: address, port: taken, url: `http://${inUrl}:${taken}/` };
  } catch (error) {
    if (error instanceof ListenError) error.message = error.message.replace("(-p)", "(--web-port)");
    throw error;
  }
}

/** Milliseconds that answers have to leave at the end (our choice: they are short). */
const LAST_ANSWERS = 1_000;

/** Resolves when these have an answer, but not much later. */
function answered(waiting: ReadonlySet<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const end = performance.now() + LAST_ANSWERS;
    const look = (): void => {
      if (waiting.size === 0 || performance.now() > end) resolve();
      else setTimeout(look, 1);
    };
    look();
  });
}

// ---------------------------------------------------------------- answering

const WAIT_STATUS = { timeout: 408, reset: 409, closed: 503, aborted: 503 } as const;

/** What an error of a route is in HTTP. */
function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof OptionError || error instanceof ProtocolError) {
    return new HttpError(400, error.message);
  }
  if (error instanceof WaitError) return new HttpError(WAIT_STATUS[error.reason], error.message);
  if (error instanceof ListenError) return new HttpError(409, error.message);
  return new HttpError(500, "something went wrong, which is a mistake of this program");
}

/** Does what a request asks for, and gives what is answered as JSON, if that is left to do. */
function serve(
  find: Find,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): unknown {
  const { url = "" } = request; // as it came: what a URL would make of "//name/" is not meant
  const [pathname = ""] = url.split("?", 1);
  const { methods, number } = find(pathname) ?? {};
  if (!methods || number === undefined) {
    throw new HttpError(404, `there is nothing at ${pathname}`);
  }
  const method = request.method === "HEAD" ? "GET" : request.method ?? "";
  const route = Object.hasOwn(methods, method) ? methods[method] : undefined;
  const allow = Object.keys(methods).join(", ");
  if (!route) throw new HttpError(405, `expected ${allow}, got ${method}`, { allow });
  const query = new URLSearchParams(url.slice(pathname.length));
  checkQuery(query, route);
  return route.answer({ query, number, request, response });
}

/** Ends the connection of a request that is still being sent. */
function dropUnfinished(request: http.IncomingMessage): void {
  if (!request.complete) request.socket.destroy();
}

/**
 * Starts the HTTP interface of a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ListenError} It cannot listen there.
 */
export async function startWeb(terminal: Terminal, options: WebOptions = {}): Promise<Web> {
  const { bounds, names, ...place } = checkWebOptions(options);
  const { real, routes = [], log } = options;
  const known = {
    given: new Set(names.map((name) => name.toLowerCase())),
    own: place.host.toLowerCase(),
  };
  const streams = new EventStreams(terminal, bounds);
  const waiting = new Set<AbortController>();
  const models = modelsInWords();
  const page = await pageFiles({
    endings: ENDINGS,
    cards: CARDS,
    faults: FAULTS,
    flags: FLAGS,
    models,
    exam: routes.some(([pattern]) => pattern.test("/api/exam")),
  });
  const find = routesOf({ terminal, real, streams, page, bounds, waiting }, routes);

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
      if (!request.complete) setTimeout(() => dropUnfinished(request), bounds.request).unref();
    });
    try {
      const why = refusal(request, known);
      if (why) throw new HttpError(403, why);
      const value = await serve(find, request, response);
      if (value !== undefined && !response.destroyed) await sendJson(response, 200, {}, value);
    } catch (error) {
      const { status, message, headers } = toHttpError(error);
      // What fails in the middle of an answer can be told by its end only.
      if (response.headersSent || response.destroyed) return void response.destroy();
      const more = status === 408 ? { ...headers, connection: "close" } : headers;
      const french = readsFrench(request) ? errorInFrench(message) : undefined;
      const value = { error: message, ...(french !== undefined && { french }) };
      await sendJson(response, status, more, value).catch(() => response.destroy());
    }
  };

  const server = http.createServer({
    requestTimeout: 2 * bounds.request, // of bodies that nobody reads: of others readBody() tells
    headersTimeout: bounds.request,
    connectionsCheckingInterval: Math.min(1_000, bounds.request),
  });
  server.maxConnections = bounds.connections; // or no descriptor is left for tills
  server.on("request", (request, response) => void answer(request, response));
  const { host, port, url } = await listenBeside(terminal, server, place);
  callBack(() => log?.("info", `HTTP interface at ${url}`));

  const shut = async (): Promise<void> => {
    const ended = new Promise((resolve) => server.close(resolve));
    streams.close();
    for (const left of waiting) left.abort();
    await answered(waiting);
    server.closeAllConnections();
    await ended;
  };
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => closed ??= shut();
  return { url, host, port, close, [Symbol.asyncDispose]: close };
}
