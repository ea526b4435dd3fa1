// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What there is over HTTP, by path and method: each does what a method of the terminal does.
 *
 * @module
 */
import type { URLSearchParams } from "node:url";
import { createHash } from "node:crypto";
import type http from "node:http";
import { exchange, ExchangeError, type OnMessage } from "../client.ts";
import {
  encodeText,
  inRange,
  type Message,
  nearest,
  OptionError,
  VERSION,
  type Warning,
} from "../protocol.ts";
import {
  checkBoolean,
  checkNames,
  type Outcome,
  parseOutcome,
  type Transaction,
  WaitError,
} from "../server.ts";
import { modelsInWords } from "./models.ts";
import type { PageFile } from "./page/page.ts";
import type { EventStreams } from "./streams.ts";
import type { Terminal, TerminalChanges, TerminalSettings } from "./terminal.ts";
import { inFrench } from "./warnings.ts";
import { HttpError, readBody, readsFrench, type WebBounds } from "./webrequest.ts";

/** A request, as far as a route needs it. */
export interface Asked {
  /** The query; all of its names are among those that the route takes. */
  readonly query: URLSearchParams;
  /** The number in the path, if there is one. */
  readonly number: number;
  /** The request itself. */
  readonly request: http.IncomingMessage;
  /** The way back. */
  readonly response: http.ServerResponse;
}

/** What one method of a path does. */
export interface Route {
  /** The names that its query may have. */
  readonly takes?: readonly string[];
  /** Gives what is answered as JSON; nothing, if it has answered itself. */
  answer(asked: Asked): unknown;
}

/** The methods of a path. */
export type Methods = Readonly<Record<string, Route>>;

/** What routes share. */
export interface RouteParts {
  /** The terminal, or the proxy, that is steered. */
  readonly terminal: Terminal;
  /** The real terminal behind it, if one is. */
  readonly real: string | undefined;
  /** The streams of events. */
  readonly streams: EventStreams;
  /** The files of the page, by their paths. */
  readonly page: ReadonlyMap<string, PageFile>;
  /** What keeps readers from taking too much. */
  readonly bounds: WebBounds;
  /** What ends the answers that somebody waits for, when all is to end. */
  readonly waiting: Set<AbortController>;
}

/** Most milliseconds that a wait can be asked to take (our choice: a payment takes a minute). */
const MAX_WAIT = 300_000;

// ---------------------------------------------------------------- queries and bodies

/**
 * Refuses a query with a name that the path does not take, or one twice: to leave it out would do
 * something else than was meant.
 *
 * @throws {OptionError} It has one.
 */
export function checkQuery(query: URLSearchParams, { takes = [] }: Route): void {
  for (const name of query.keys()) {
    const expected = takes.length > 0 ? `names from ${takes.join(", ")}` : "no names";
    if (!takes.includes(name)) {
      throw new OptionError("query", expected, name, nearest(name, takes));
    }
    const all = query.getAll(name);
    if (all.length > 1) throw new OptionError(name, "one value", all.join(", "));
  }
}

/** The cash register that a query names, if it does. */
function registerOf(query: URLSearchParams): string | undefined {
  const register = query.get("register") ?? undefined;
  if (register !== "") return register;
  throw new OptionError("register", "a cash register (CA) such as 01", register);
}

/** A number of a query. */
function numberOf(query: URLSearchParams, name: string, standard: number, max: number): number {
  const text = query.get(name);
  const isNumber = text !== null && /^-?\d+(\.\d+)?$/.test(text);
  return inRange(name, { default: standard, max }, isNumber ? Number(text) : text ?? undefined);
}

/** Whether a value is an object that has a name of its own. */
function has(value: unknown, name: string): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name);
}

/** An outcome of a body, in words or as an object. */
function outcomeOf(value: unknown, option = "outcome"): Outcome {
  if (typeof value === "string") return parseOutcome(value.trim(), option);
  if (has(value, "outcome")) { // as what is queued is told
    const { register } = value;
    const path = typeof register === "string" ? `, with ?register=${register} in the path` : "";
    const expected = `the outcome itself, such as "refused" or {"failure": "04"}${path}`;
    throw new OptionError(option, expected, value);
  }
  return value as Outcome; // which is held against what it may be where it is taken
}

/** The outcomes of a body: one a line, or in JSON one or a list. */
function outcomesOf(body: unknown): Outcome[] {
  if (has(body, "next")) { // as GET tells the queue
    throw new OptionError("next", 'a list such as ["refused", "success"], without a name', body);
  }
  const lines = typeof body === "string" ? body.split("\n").filter((line) => line.trim()) : body;
  const outcomes = (Array.isArray(lines) ? lines : [lines]).map((one) => outcomeOf(one, "next"));
  if (outcomes.length === 0) throw new OptionError("next", "an outcome a line", "");
  return outcomes;
}

/**
 * Refuses a body where none is taken: a register in it would be left out, and all registers be meant.
 * An object without names is none, as some programs send one with each request.
 */
async function checkNoBody(asked: Asked, bounds: WebBounds): Promise<void> {
  const { "content-length": length, "transfer-encoding": coding } = asked.request.headers;
  if (coding === undefined && Number(length ?? 0) === 0) return;
  const body = await readBody(asked.request, bounds);
  if (body === "" || JSON.stringify(body) === "{}") return;
  throw new OptionError("body", "none, and ?register=07 in the path for one cash register", body);
}

/** What GET tells beside the settings, and where that is changed. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  next: "POST and DELETE /api/next for what is queued",
  waiting: "POST /api/transactions/N/outcome for what waits",
};

/** What GET tells beside the settings, and nobody changes. */
const TOLD: ReadonlySet<string> = new Set([...Object.keys(ELSEWHERE), "reached"]);

/** The changes of a body, and whether to listen; `settings`: what there is to change. */
function changesOf(
  body: unknown,
  settings: object,
): { changes: TerminalChanges; listening: boolean | undefined } {
  if (Object.prototype.toString.call(body) !== "[object Object]") {
    throw new OptionError("settings", 'an object in JSON such as {"duration": 0}', body);
  }
  const { listening, ...changes } = body as TerminalChanges & { listening?: boolean };
  for (const [name, where] of Object.entries(ELSEWHERE)) {
    if (has(changes, name)) throw new OptionError("settings", where, name);
  }
  const names = Object.keys(settings).filter((name) => !TOLD.has(name));
  checkNames("settings", "names from", names, body as object);
  const isGiven = has(body, "listening");
  return { changes, listening: isGiven ? checkBoolean("listening", listening ?? null) : undefined };
}

// ---------------------------------------------------------------- the page

/** The page loads nothing from elsewhere, and nothing of what a POS sends can become a script. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; " +
  "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/** The routes of the page, by their paths: a browser asks again whether it has changed. */
function pageRoutes(page: RouteParts["page"]): ReadonlyMap<string, Methods> {
  const methodsOf = ({ type, text }: PageFile): Methods => {
    const etag = `"${createHash("sha256").update(text).digest("base64url")}"`;
    const answer = ({ request, response }: Asked): void => {
      const isKnown = request.headers["if-none-match"]?.includes(etag) ?? false;
      response.writeHead(isKnown ? 304 : 200, {
        ...(!isKnown && { "content-type": type }),
        "cache-control": "no-cache",
        "content-security-policy": POLICY,
        etag,
      }).end(isKnown ? undefined : text);
    };
    return { GET: { answer } };
  };
  return new Map([...page].map(([path, file]) => [path, methodsOf(file)]));
}

// ---------------------------------------------------------------- a payment of its own

/**
 * A debit of 12.34 EUR with a receipt, as a POS sends it. Its cash register, 00, should be no till's
 * (our choice): then it takes nothing that is queued for a till, and is no till's last attempt. What
 * is queued for any register is for this one too, so that a person sees what has just been queued.
 */
const TRY: Readonly<Message> = {
  CZ: "0300",
  CJ: "012345678901",
  CA: "00",
  CE: "978",
  BA: "0",
  CD: "0",
  CB: "1234",
  CK: "100",
};

/** The addresses of this machine at which something that listens can be reached, the best first. */
function addressesOf(host: string): string[] {
  if (host === "::") return ["::1", "127.0.0.1"]; // it says so without IPv6, too
  return [host === "0.0.0.0" ? "127.0.0.1" : host];
}

/** Pays at the terminal over TCP. That its answer is not usable is no error: it may be made so. */
async function tryOut(
  { host, port }: Terminal,
  milliseconds: number,
  signal: AbortSignal,
): Promise<{ sent: string; received: string; error?: string }> {
  const sent = encodeText(TRY);
  let [received, why] = ["", ""];
  const onMessage: OnMessage = (direction, raw) => {
    if (direction === "received") received += raw;
  };
  for (const address of addressesOf(host)) {
    const place = { host: address, port, timeout: milliseconds / 1000 };
    try {
      await exchange(TRY, { ...place, signal, onMessage });
      return { sent, received };
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error;
      if (error.status !== "unreachable") return { sent, received, error: error.message };
      [why = ""] = error.message.split(";", 1);
    }
  }
  throw new HttpError(502, why);
}

// ---------------------------------------------------------------- waits

/** Cash registers that differ from one in zeros before them only, as CA has 2 to 8 digits. */
function alike(register: string): string[] {
  const digits = register.replace(/^0+(?=.)/, "");
  const all = Array.from({ length: 8 }, (_, length) => digits.padStart(length + 1, "0"));
  return [...new Set([digits, ...all])].filter((other) => other !== register);
}

/** Waits for a transaction, and says why none comes, as a POS may write its register otherwise. */
async function waitFor(
  terminal: Terminal,
  wanted: NonNullable<Parameters<Terminal["waitForTransaction"]>[0]>,
): Promise<unknown> {
  try {
    return await terminal.waitForTransaction(wanted);
  } catch (error) {
    const { register, after = 0 } = wanted;
    if (!(error instanceof WaitError) || error.reason !== "timeout" || !register) throw error;
    const isThere = (other: string): boolean =>
      !terminal.transactionsAfter(after, other).next().done;
    const other = alike(register).find(isThere);
    if (other === undefined) throw error;
    const hint = `there are transactions of cash register ${other}, which is another one`;
    throw new WaitError("timeout", `${error.message}; ${hint}`);
  }
}

/** A warning with its French beside it, if that is known. */
function inBoth(warning: Warning): Warning & { french?: string } {
  const french = inFrench(warning);
  return french === undefined ? warning : { ...warning, french };
}

// ---------------------------------------------------------------- all of it

/** Finds what there is at a path: its methods, and the number in it. */
export type Find = (pathname: string) => { methods: Methods; number: number } | undefined;

/** Paths, by patterns, and what there is. Digits that a pattern captures are {@linkcode Asked.number}. */
export type Routes = readonly (readonly [RegExp, Methods])[];

/** What there is of a terminal, and `more`. */
export function routesOf(parts: RouteParts, more: Routes = []): Find {
  const page = pageRoutes(parts.page);
  const routes = [...more, ...apiRoutes(parts)];
  return (pathname) => {
    const file = page.get(pathname);
    if (file) return { methods: file, number: NaN };
    for (const [pattern, methods] of routes) {
      const match = pattern.exec(pathname);
      if (match) return { methods, number: Number(match[1]) };
    }
    return undefined;
  };
}

/** The interface, by the patterns of its paths. */
function apiRoutes(parts: RouteParts): Routes {
  const { terminal, real, streams, bounds } = parts;
  const next = (): unknown => ({ next: terminal.settings.next });
  // What a real terminal is and how its payments end is not for this one to say.
  const settings = (): Partial<TerminalSettings> => {
    if (real === undefined) return terminal.settings;
    const { outcome, model: _, ...others } = terminal.settings;
    return { ...others, outcome: outcome?.replace(/^success,?/, "") ?? null };
  };
  const found = (number: number): Transaction => {
    const transaction = terminal.transaction(number);
    if (transaction) return transaction;
    throw new HttpError(404, `expected the number of a transaction that is kept, got ${number}`);
  };
  const body = ({ request }: Asked): Promise<unknown> => readBody(request, bounds);
  let [waits, tries] = [0, 0];

  const change = async (asked: Asked): Promise<unknown> => {
    const { changes: { outcome, ...others }, listening } = changesOf(await body(asked), settings());
    const isUnchanged = real !== undefined && (outcome as unknown) === "";
    terminal.change(
      outcome === undefined
        ? others
        : { ...others, outcome: isUnchanged ? {} : outcomeOf(outcome) },
    );
    if (listening === false) await terminal.pause();
    else if (listening) await terminal.resume();
    return settings();
  };

  const wait = async ({ query, request, response }: Asked): Promise<unknown> => {
    // It is given once: not to who does not see it.
    if (request.method === "HEAD") {
      throw new HttpError(405, "expected GET, got HEAD", { allow: "GET" });
    }
    const after = numberOf(query, "after", 0, Infinity);
    const seconds = numberOf(query, "timeout", bounds.wait / 1000, MAX_WAIT / 1000);
    const register = registerOf(query);
    if (waits >= bounds.waits) {
      throw new HttpError(503, `expected at most ${bounds.waits} waits at once`);
    }
    waits++;
    const signal = leftBy(response, parts.waiting);
    const wanted = { after, timeout: seconds * 1000, signal, ...(register && { register }) };
    return await waitFor(terminal, wanted).finally(() => waits--);
  };

  const pay = async (asked: Asked): Promise<unknown> => {
    await checkNoBody(asked, bounds);
    if (real) throw new HttpError(409, `expected a simulated terminal, ${real} is a real one`);
    if (terminal.listening === false) {
      throw new HttpError(409, 'expected a terminal that listens: PATCH {"listening": true}');
    }
    if (tries >= bounds.tries) throw new HttpError(503, `expected at most ${bounds.tries} at once`);
    tries++;
    const signal = leftBy(asked.response, parts.waiting);
    return await tryOut(terminal, bounds.try, signal).finally(() => tries--);
  };

  return [
    [/^\/api\/health$/, { GET: { answer: () => ({ status: "ok" }) } }],
    [/^\/api\/terminal$/, {
      GET: {
        answer() {
          const { host, port } = terminal;
          return { version: VERSION, host, port, ...(real && { terminal: real }), ...settings() };
        },
      },
      PATCH: { answer: change },
    }],
    [/^\/api\/models$/, {
      GET: {
        answer: () =>
          modelsInWords().map(({ name, is, known }) => ({
            name,
            is: is[0],
            known: known.map(({ source, text }) => ({ source, text: text[0] })),
          })),
      },
    }],
    [/^\/api\/next$/, {
      POST: {
        takes: ["register"],
        async answer(asked) {
          const register = registerOf(asked.query);
          const outcomes = outcomesOf(await body(asked));
          if (register === undefined) terminal.nextOutcome(...outcomes);
          else terminal.nextOutcomeOf(register, ...outcomes);
          return next();
        },
      },
      DELETE: {
        takes: ["register"],
        async answer(asked) {
          await checkNoBody(asked, bounds);
          terminal.clearNext(registerOf(asked.query));
          return next();
        },
      },
    }],
    [/^\/api\/transactions$/, {
      GET: {
        takes: ["after", "register"],
        answer({ query }) {
          const after = numberOf(query, "after", 0, Infinity);
          return terminal.transactionsAfter(after, registerOf(query));
        },
      },
    }],
    [/^\/api\/transactions\/next$/, {
      GET: { takes: ["after", "register", "timeout"], answer: wait },
    }],
    [/^\/api\/transactions\/(\d+)$/, {
      GET: {
        answer({ number, request }) {
          const transaction = found(number);
          if (!readsFrench(request)) return transaction;
          return { ...transaction, warnings: transaction.warnings.map(inBoth) };
        },
      },
    }],
    [/^\/api\/transactions\/(\d+)\/outcome$/, {
      POST: {
        async answer(asked) {
          const { number } = asked;
          if (terminal.decide(number, outcomeOf(await body(asked)))) return { decided: number };
          found(number);
          const expected = `expected a transaction that waits for a person, ${number} does not`;
          throw new HttpError(409, expected);
        },
      },
    }],
    [/^\/api\/reset$/, {
      POST: {
        takes: ["register"],
        async answer(asked) {
          await checkNoBody(asked, bounds);
          terminal.reset(registerOf(asked.query));
          return settings();
        },
      },
    }],
    [/^\/api\/try$/, { POST: { answer: pay } }],
    [/^\/api\/events$/, {
      GET: { answer: ({ request, response }) => streams.open(request, response) },
    }],
  ];
}

/** Aborted when nobody waits for an answer any more, or all is to end. */
function leftBy(response: http.ServerResponse, waiting: Set<AbortController>): AbortSignal {
  const left = new AbortController();
  waiting.add(left);
  response.on("close", () => {
    waiting.delete(left);
    left.abort();
  });
  return left.signal;
}
