#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A point of sale (POS) that pays on a French card payment terminal over Caisse-AP over IP
 * ("Concert V3"), as a command and as a library. It needs protocol.ts beside it, which has the
 * facts of the protocol and where they come from; a number in brackets is a source named there. It
 * is a port of client.py of akretion/caisse-ap-ip, copyright (C) 2023 Alexis de Lattre and Rémi de
 * Lattre, GPL-3.0-or-later.
 *
 * ```sh
 * deno run --allow-net client.ts --destination 192.168.1.20 --amount 9.90
 * deno run --allow-net client.ts --help
 * ```
 *
 * @example A payment of 112.45 EUR on a simulated terminal; a real one needs its `host`
 * ```ts
 * import assert from "node:assert/strict";
 * import { pay } from "./client.ts";
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, duration: 0 });
 * const result = await pay({ port: terminal.port, amount: "112.45" });
 * assert.equal(result.status, "approved");
 * console.log(`paid with card ${result.answer.AA}`);
 * ```
 *
 * @module
 */
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import process from "node:process";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, styleText } from "node:util";
import {
  answerPause,
  argumentError,
  BETWEEN,
  callBack,
  CURRENCIES,
  type Currency,
  decodeReceipts,
  describe,
  encodeText,
  type Failure,
  inRange,
  interpret,
  inWords,
  jsonLine,
  LOG_LEVELS,
  type LogLevel,
  meaning,
  type Message,
  MessageFramer,
  movesMoney,
  nearest,
  oneOf,
  OptionError,
  printable,
  printableLines,
  problemOf,
  ProtocolError,
  readable,
  type Receipt,
  type Received,
  seemsWhole,
  toDecimal,
  toMinorUnits,
  VERSION,
  type Warning,
} from "./protocol.ts";

// ---------------------------------------------------------------- options

/** What is taken where an option is not given, and the bounds of the numbers; a day is our choice. */
const DEFAULT = { host: "127.0.0.1", amount: "112.45", currency: "EUR", action: "debit" } as const;
const PORT = { default: 8888, min: 1, max: 65535, whole: true }; // (1)(2)(3)
const TIMEOUT = { default: 180, min: 0.001, max: 86_400 }; // seconds; a person takes 10 to 60 (1)
const GAP = { default: 350, min: 0, max: 86_400_000 }; // ms; an answer pauses for 200 (5)

/** The options of {@linkcode exchange} that have a default, all there and as they must be. */
export type Place = Required<Pick<ExchangeOptions, "host" | "port" | "timeout" | "gap">>;

/**
 * Where the terminal is, with the defaults. `name` is what the caller calls the host.
 *
 * @throws {OptionError} An option is not as it must be.
 */
export function readPlace(options: ExchangeOptions, name: "host" | "destination" = "host"): Place {
  const { host = DEFAULT.host } = options;
  const expected = "an address or a DNS name";
  // Without this check "" would be this machine, and NUL a TypeError in Node and Deno.
  if (!/^[^\s\p{Cc}]+$/u.test(checkText(name, host, expected))) {
    throw new OptionError(name, expected, host);
  }
  if (/^[^:]*:\d+$|\//.test(host)) {
    const port = name === "host" ? "port" : "--port";
    throw new OptionError(name, `a host alone (${port} is for the port)`, host);
  }
  return {
    host,
    port: inRange("port", PORT, options.port),
    timeout: inRange("timeout", TIMEOUT, options.timeout),
    gap: inRange("gap", GAP, options.gap),
  };
}

/** Programs without types give whatever they like. */
function checkText(option: string, value: unknown, expected: string): string {
  if (typeof value === "string") return value;
  throw new OptionError(option, expected, value);
}

// ---------------------------------------------------------------- errors

/** A request was not sent; has no whole answer; or one that cannot be used. */
export type ExchangeStatus = "unreachable" | "unanswered" | "invalid";

/** There is no usable answer. Unless it is "unreachable", a payment may have gone through. (4) */
export class ExchangeError extends Error {
  /** @ignore */
  override name = "ExchangeError";
  /** What became of the request. */
  readonly status: ExchangeStatus;
  /** The request. */
  readonly request: Message;
  /** The fields of the answer, as far as they came. */
  readonly answer: Message | undefined;
  /** What else a person should know. */
  readonly warnings: readonly Warning[];

  /** An error about a request, and what came of its answer. */
  constructor(
    status: ExchangeStatus,
    why: string,
    request: Message,
    answer?: Message,
    cause?: unknown,
    warnings: readonly Warning[] = [],
  ) {
    const isUnsure = status !== "unreachable" && movesMoney(request["CD"]);
    const check = "; the payment may have gone through, check it on the terminal";
    const what = status === "invalid" ? "the answer is not usable: " : "";
    super(`${what}${why}${isUnsure ? check : ""}`, { cause });
    this.status = status;
    this.request = request;
    this.answer = answer;
    this.warnings = warnings;
  }
}

// ---------------------------------------------------------------- one request and its answer

/** Where the terminal is, and how long to wait for it. Everything has a default. */
export interface ExchangeOptions {
  /** Address or DNS name of the terminal. Default: 127.0.0.1. */
  host?: string;
  /** TCP port of the terminal. Default: 8888. */
  port?: number;
  /** Seconds to wait for the answer. Default: 180. */
  timeout?: number;
  /**
   * Milliseconds without a byte after which whole fields are the answer, and ten times that while
   * it lacks something: terminals pause 200 ms within one, also between fields. (5) Default: 350.
   */
  gap?: number;
  /** Sent unchanged instead of the request, as Latin-1. What comes is judged by the request. */
  raw?: string;
  /** Makes the connection, for a tunnel or a test. Default: that of node:net. */
  connect?: (to: { host: string; port: number; noDelay: true }) => net.Socket;
  /** Gives up: an {@linkcode ExchangeError} whose cause is the signal's reason. */
  signal?: AbortSignal;
  /** Receives what is sent and received, an AE 11 too. What it throws goes to the runtime. */
  onMessage?: OnMessage;
}

/** A function that takes note of a message. */
export type OnMessage = (direction: "sent" | "received", raw: string, message: Message) => void;

/** Most seconds to wait for a connection (our choice: in a shop it takes milliseconds). */
const CONNECT_SECONDS = 10;
/** Milliseconds from the connection to the request, in which nothing should come (our choice). */
const LISTEN_FIRST_MS = 10;

/**
 * Sends a request to a terminal and waits for its answer.
 *
 * It reads until the answer is whole. An AE 11 to a request without BA 1 is not: the final answer
 * comes later on the same connection. (4) What comes before the request is sent, such as the late
 * answer to another, is no answer to it and only told to `onMessage`.
 *
 * @returns The answer, whatever its status.
 * @throws {ProtocolError} The request cannot be encoded. Nothing is sent.
 * @throws {OptionError} An option is not as it must be. Nothing is sent.
 * @throws {ExchangeError} The terminal is not reached, or sends no whole answer, or no message.
 * @example Asking whether a terminal is there
 * ```ts
 * import assert from "node:assert/strict";
 * import { exchange, IDENTITY } from "./client.ts";
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0 });
 * const answer = await exchange({ ...IDENTITY, CD: "I" }, { port: terminal.port, timeout: 5 });
 * assert.equal(answer.AE, "10");
 * ```
 */
export async function exchange(request: Message, options: ExchangeOptions = {}): Promise<Message> {
  return (await converse(request, options)).answer;
}

/** The same, and what a person should know of it. */
async function converse(
  request: Message,
  options: ExchangeOptions,
): Promise<{ answer: Message; warnings: Warning[] }> {
  const { signal, connect = net.connect } = options;
  const { host, port, timeout, gap } = readPlace(options);
  const raw = options.raw === undefined ? encodeRequest(request) : checkRaw(options.raw);
  const onMessage: OnMessage = (...args) => callBack(() => options.onMessage?.(...args));

  const where = `${host} port ${port}`;
  const warnings: Warning[] = [];
  const socket = connect({ host, port, noDelay: true });
  socket.setEncoding("latin1").on("error", () => {}); // seen by those who wait
  // Whatever ends the wait does so as an error of the socket: the network, a timeout or the signal.
  const stop = (why: string, cause?: unknown): unknown => socket.destroy(new Error(why, { cause }));
  const onAbort = (): unknown => stop("given up", signal?.reason);
  const patience = Math.min(timeout, CONNECT_SECONDS);
  let timer = setTimeout(stop, patience * 1000, `no connection within ${patience} s`);
  try {
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort);
    const early = await connected(socket).catch((error) => {
      const why = whyNotReached(error, where, signal?.aborted);
      throw new ExchangeError("unreachable", why, request, undefined, error.cause ?? error);
    });
    clearTimeout(timer);
    timer = setTimeout(stop, timeout * 1000, `no answer from ${where} within ${timeout} s`);
    if (early !== "") {
      const text = "what came before the request was sent is no answer to it and ignored";
      warnings.push({ code: "early", text: `${text}, ${shortened(early)}` });
      onMessage("received", early, readable(early.replace(BETWEEN, "")));
    }
    const answer = receive(socket, request, gap, onMessage, warnings);
    socket.write(raw, "latin1");
    onMessage("sent", raw, request);
    return { answer: await answer, warnings };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    socket.removeAllListeners().on("error", () => {}).destroy();
  }
}

function encodeRequest(request: Message): string {
  const raw = encodeText(request);
  if (raw === "") throw new ProtocolError("expected a request, got no tag");
  return raw;
}

function checkRaw(raw: unknown): string {
  const expected = "text of Latin-1";
  if (/^[\0-\xff]+$/.test(checkText("raw", raw, expected))) return raw as string;
  throw new OptionError("raw", expected, raw);
}

/** Waits for the connection, and gives what the terminal sends before it is asked anything. */
export async function connected(socket: net.Socket): Promise<string> {
  await once(socket, "connect");
  // The turns after it: what came while the program was too busy to read is read before.
  for (const pause of [LISTEN_FIRST_MS, 1, 1, 1]) await sleep(pause);
  if (socket.destroyed) throw socket.errored ?? new Error("the terminal closed the connection");
  return socket.read() ?? "";
}

/** How a text begins, for a message to a person. */
export function shortened(text: string, most = 80): string {
  return `"${printable(text.length > most ? `${text.slice(0, most)}...` : text)}"`;
}

/** What is told to a person of a terminal that cannot be reached. */
export function whyNotReached(
  { code = "", message }: NodeJS.ErrnoException,
  where: string,
  isGivenUp = false,
): string {
  const why = `cannot reach the terminal at ${where}: ${CONNECT_ERRORS[code] ?? message}`;
  if (isGivenUp) return why;
  return `${why}; check its address, the port (8888 on most), and that it is set to Caisse-AP over IP`;
}

const CONNECT_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no host of that name",
  EAI_AGAIN: "the name cannot be looked up",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  ETIMEDOUT: "it does not respond",
};

/** Reads what a terminal sends until the final answer is whole, or else throws an ExchangeError. */
export async function receive(
  socket: net.Socket,
  request: Message,
  gap: number,
  onMessage: OnMessage,
  warnings: readonly Warning[],
): Promise<Message> {
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  let interim: Message | undefined; // AE 11: the final answer is yet to come

  const fail = (status: ExchangeStatus, why: string, answer?: Message, cause?: unknown): void =>
    reject(new ExchangeError(status, why, request, answer, cause, warnings));
  const take = (received: Received): void => {
    const { raw, message, error } = received;
    onMessage("received", raw, message);
    const problem = problemOf(received);
    if (problem) fail("invalid", problem, message, error);
    else if (message["AE"] === "11" && request["BA"] !== "1") interim = message;
    else if (interim && message["AE"] === undefined) return; // the rest of it
    else resolve(message);
  };
  const framer = new MessageFramer({
    pause: (fields) => answerPause(request, fields, gap),
    onMessage: take,
  });
  /** No more is to come: what is there is the answer, or there is none. */
  const finish = (why: string, cause?: unknown): void => {
    const whole = framer.state === "whole" && seemsWhole(request, framer.message);
    const left = framer.end();
    if (left && whole) take(left);
    else if (left) onMessage("received", left.raw, left.message);
    const partly = whole ? undefined : left;
    const after = partly
      ? `a part of an answer, ${shortened(partly.raw, 2000)}`
      : interim && "AE 11";
    const message = why + (after ? ` after ${after}` : "");
    fail("unanswered", message, partly?.message ?? interim, cause);
  };
  const onData = (chunk: string): void => framer.feed(chunk);
  const onEnd = (): void => {
    const nothing = framer.state === "empty" && !interim;
    const left = framer.state === "whole" ? framer.end() : undefined;
    if (left) take(left);
    finish(`the terminal closed the connection${nothing ? " without an answer" : ""}`);
  };
  const onError = (error: NodeJS.ErrnoException): void => {
    const why = error.code ? `the connection was lost (${error.code})` : error.message;
    finish(why, error.cause ?? error);
  };
  socket.on("data", onData).on("end", onEnd).on("error", onError);
  try {
    return await promise;
  } finally {
    framer.end();
    socket.off("data", onData).off("end", onEnd).off("error", onError);
  }
}

// ---------------------------------------------------------------- a payment

/** What every request has besides its action: version, the placeholder of a vendor, register. (1) */
export const IDENTITY: Readonly<Message> = { CZ: "0300", CJ: "012345678901", CA: "01" };

/** What is asked for, in words, and the value of CD. */
const ACTION_WORDS = new Map(
  Object.entries({ debit: "0", credit: "1", cancel: "2", duplicate: "3", identify: "I" }),
);

/** A payment, or another action. */
export interface PaymentOptions extends ExchangeOptions {
  /**
   * Decimal text such as "112.45", for actions that move money. A negative one is a refund: a
   * credit of that amount. At most as many decimals as the currency has, and 12 digits in all.
   */
  amount?: string;
  /** ISO 4217 letters in any case, or number and decimals such as "933:2". Default: EUR. */
  currency?: string;
  /** Debit, credit, cancel, duplicate, identify, or a value of CD. Default: by the amount's sign. */
  action?: string;
  /** Pays by cheque. */
  check?: boolean;
  /** Asks for an answer at once, which as a rule does not tell the outcome (BA 1). */
  immediate?: boolean;
  /** Asks for the customer's receipt as text (CK 100). */
  receipt?: boolean;
  /** Tags of the request to set; "" leaves one out. */
  tags?: Message;
}

/** What a terminal said. */
export interface PaymentResult {
  /** Approved, declined, or accepted: asked to answer at once, the terminal has not said more. */
  status: "approved" | "declined" | "accepted";
  /** The request. */
  request: Message;
  /** The answer. */
  answer: Message;
  /** Why, if declined. */
  failure?: Failure;
  /** Decimal text, without a sign: what was asked, or if approved what was paid. */
  amount?: string;
  /** What was asked, when less was paid: that can be after BF 1. */
  asked?: string;
  /** What `amount` is in: ISO 4217 letters, or its number where the letters are not known. */
  currency?: string;
  /** The receipts in the answer, decoded, if there are any. */
  receipts?: Receipt[];
  /**
   * What else a person should know: "application" when another paid than was asked for, "receipt"
   * for one that cannot be read, "early" for what came before the request was sent.
   */
  warnings?: Warning[];
  /** From the call to the answer, in milliseconds. */
  milliseconds: number;
}

/**
 * Pays on a terminal, or has it do something else, and tells what came of it.
 *
 * @throws {OptionError} An option is not as it must be. Nothing is sent.
 * @throws {ProtocolError} A tag or its value cannot be sent. Nothing is sent.
 * @throws {ExchangeError} The terminal is not reached, or sends no whole answer, or no usable one.
 */
export async function pay(options: PaymentOptions): Promise<PaymentResult> {
  const started = performance.now();
  const currency = await findCurrency(options.currency);
  const request = buildRequest(options, currency);
  const { answer, warnings } = await converse(request, options);
  const milliseconds = Math.round(performance.now() - started);
  const verdict = interpret(request, answer);
  if (verdict.status === "invalid") {
    throw new ExchangeError("invalid", verdict.error, request, answer, undefined, warnings);
  }
  const approved = verdict.status === "approved";
  const other = approved ? otherApplication(request, answer) : undefined;
  if (other !== undefined) warnings.push({ code: "application", text: other, tag: "CC" });
  const receipts = answer["ZT"] ? decodeReceipts(answer["ZT"], (one) => warnings.push(one)) : [];
  return {
    ...verdict,
    request,
    answer,
    ...amounts(request, approved ? answer : request, currency),
    ...(receipts.length > 0 && { receipts }),
    ...(warnings.length > 0 && { warnings }),
    milliseconds,
  };
}

/** Which application paid instead of the one that was asked for, if so. CC 000 asks for none. */
function otherApplication(request: Message, answer: Message): string | undefined {
  const [asked = "000", paid] = [request["CC"], answer["CC"]];
  if (asked === "000" || paid === undefined || paid === asked) return undefined;
  const name = (code: string): string => {
    const term = meaning("CC", code);
    return printable(code) + (term ? ` (${term.label})` : "");
  };
  return `CC ${name(asked)} was asked for, ${name(paid)} paid`;
}

/** The amount that a message tells, if the request has one in that currency, or none (CD 3). */
function amounts(
  request: Message,
  told: Message,
  { number, decimals, name }: Currency,
): Pick<PaymentResult, "amount" | "asked" | "currency"> {
  const { CB: units = told["CB"] ?? "", CE = told["CE"] } = request;
  if (CE !== number || !/^\d+$/.test(units)) return {};
  const asked = toDecimal(units, decimals);
  const amount = toDecimal(told["CB"] ?? units, decimals);
  return { amount, currency: name, ...(asked === amount ? {} : { asked }) };
}

/** The request, in the order of the reference client (1); a receipt is asked for by CK. (2)(3) */
function buildRequest(options: PaymentOptions, currency: Currency): Message {
  const { amount } = options;
  if (amount !== undefined) checkText("amount", amount, 'text such as "112.45"');
  const negative = amount?.startsWith("-") ?? false;
  const action = findAction(options.action ?? (negative ? "credit" : DEFAULT.action));
  const money = movesMoney(action);
  if (negative && action !== "1") {
    throw new OptionError("amount", "no sign with an action other than credit", amount);
  }
  const request: Message = { ...IDENTITY };
  if (money) request["CE"] = currency.number;
  if (money || options.immediate) request["BA"] = options.immediate ? "1" : "0";
  request["CD"] = action;
  if (options.check) request["CC"] = "00C";
  if (money) request["CB"] = amountField(amount, currency);
  else if (amount !== undefined) {
    throw new OptionError("amount", `none with an action without money (CD ${action})`, amount);
  }
  if (options.receipt) request["CK"] = "100";
  const tagged = { ...request, ...options.tags };
  for (const [tag, value] of Object.entries(tagged)) if (value === "") delete tagged[tag];
  return tagged;
}

function findAction(action: string): string {
  const words = [...ACTION_WORDS.keys()];
  const expected = `one of ${words.join(", ")}, or a value of CD`;
  const word = checkText("action", action, expected);
  const code = ACTION_WORDS.get(word.toLowerCase()) ?? word.toUpperCase();
  if (/^[0-9A-Z]$/.test(code)) return code;
  const meant = word.toLowerCase() === "refund" ? "credit" : nearest(action, words);
  throw new OptionError("action", expected, action, meant);
}

/** CB: at least 2 digits, no sign. (1) */
function amountField(amount: string | undefined, { decimals }: Currency): string {
  if (amount === undefined) throw new OptionError("amount", "an amount such as 112.45", amount);
  let units: string;
  try {
    units = toMinorUnits(amount, decimals).replace("-", "");
  } catch (error) {
    const [, expected = ""] = /^expected (.*?), got /.exec((error as RangeError).message) ?? [];
    throw new OptionError("amount", expected, amount);
  }
  if (units === "0") throw new OptionError("amount", "an amount other than zero", amount);
  return units.padStart(2, "0");
}

// ---------------------------------------------------------------- currencies

const CURRENCY_BY_NUMBER = "its ISO 4217 number and decimals, such as 933:2";

/** A currency that no table is needed for: EUR, or one given by its number and decimals. */
function plainCurrency(text: string = DEFAULT.currency): Currency | undefined {
  const expected = `three letters of ISO 4217, or ${CURRENCY_BY_NUMBER}`;
  const name = checkText("currency", text, expected).toUpperCase();
  if (name === "EUR") return CURRENCIES.get("978");
  const [, number, decimals] = /^(\d{3}):(\d)$/.exec(name) ?? [];
  if (number !== undefined) return { name: number, number, decimals: Number(decimals) };
  if (!/^[A-Z]{3}$/.test(name)) throw new OptionError("currency", expected, text);
  return undefined;
}

/**
 * Others are looked up in the npm package iso4217, which is loaded only then. Only the keys of its
 * table have three digits: elsewhere 048 is 48.
 */
async function findCurrency(text: string = DEFAULT.currency): Promise<Currency> {
  const plain = plainCurrency(text);
  if (plain) return plain;
  const name = text.toUpperCase();
  const specifier: string = "iso4217"; // not in the import itself, or Deno looks for it at every start
  const { default: table } = await import(specifier).catch((cause) => {
    const add = "deno add npm:iso4217@0.2.0, bun add iso4217@0.2.0 or npm install iso4217@0.2.0";
    const expected =
      `EUR or number:decimals such as 933:2, or the package iso4217 to look others up (${add})`;
    throw Object.assign(new OptionError("currency", expected, name), { cause });
  });
  const rows = Object.entries<{ Code?: string; Fraction?: number | "" }>(table);
  for (const [number, { Code, Fraction }] of rows) {
    if (Code === name) return { name, number, decimals: Number(Fraction) }; // "" for none
  }
  const expected = `one that the package iso4217 has, or ${CURRENCY_BY_NUMBER}`;
  throw new OptionError("currency", expected, text);
}

// ---------------------------------------------------------------- the command

const HELP = `A point of sale that pays on a card payment terminal over Caisse-AP over IP
(Concert V3).

usage: client.ts [options]

Where the terminal is:
  -d,  --destination HOST   address or DNS name (${DEFAULT.host})
  -p,  --port PORT          TCP port (${PORT.default})
       --timeout SECONDS    how long to wait for the answer (${TIMEOUT.default})
       --gap MS             pause after which whole fields are an answer; pauses
                            of 200 ms occur in the midst of one (${GAP.default})

What it is asked for:
  -a,  --amount AMOUNT      decimal, a dot before the decimals; negative for a
                            refund (${DEFAULT.amount})
  -c,  --currency CURRENCY  ISO 4217 letters, or number:decimals such as 933:2
                            (${DEFAULT.currency})
  -ck, --check              pay by cheque
       --action ACTION      debit, credit, cancel, duplicate, identify, or the
                            value of CD (${DEFAULT.action})
       --receipt            ask for the customer's receipt (CK 100)
       --immediate          ask for an answer at once (BA 1)
       --tag TAG=VALUE      set a tag of the request, TAG= leaves it out; may be
                            given again

What it prints:
       --json               one JSON object on stdout
  -l,  --log-level LEVEL    debug, info, warn or error (info)
  -h,  --help               this text
       --version            ${VERSION}

exit status:
  0 approved, or accepted   1 declined         2 wrong arguments, nothing sent
  3 terminal not reached    4 no whole answer  5 an answer that is not usable
  After 4 and 5 the payment may have gone through: check it on the terminal.

examples:
  client.ts -d localhost -a 9.90
  client.ts -a -10 --receipt
  client.ts --action identify --timeout 5 --json
`;

/** The exit status of what became of a request that was sent, or was to be. */
export const EXIT = {
  approved: 0,
  accepted: 0,
  declined: 1,
  unreachable: 3,
  unanswered: 4,
  invalid: 5,
} as const;

/** The arguments of every command that asks a terminal, as parseArgs of node:util takes them. */
export const PLACE_ARGUMENTS = {
  "destination": { type: "string", short: "d" },
  "port": { type: "string", short: "p" },
  "timeout": { type: "string" },
  "gap": { type: "string" },
  "json": { type: "boolean" },
  "log-level": { type: "string", short: "l" },
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean" },
} as const;

const ARGUMENTS = {
  ...PLACE_ARGUMENTS,
  "amount": { type: "string", short: "a" },
  "currency": { type: "string", short: "c" },
  "check": { type: "boolean" },
  "action": { type: "string" },
  "receipt": { type: "boolean" },
  "immediate": { type: "boolean" },
  "tag": { type: "string", multiple: true },
} as const;

/** What the command was asked to do. */
export interface Command {
  /** The options of {@linkcode pay}. */
  payment: PaymentOptions;
  /** Whether the result is printed as JSON. */
  json: boolean;
  /** How much is told on stderr. */
  logLevel: LogLevel;
}

/**
 * Turns the arguments of the command into what it is to do, or into the text that is asked for
 * instead. Nothing else happens.
 *
 * @throws {OptionError} An argument is not as it must be. A currency that is to be looked up, and
 * an amount in it, are checked by {@linkcode pay}.
 * @throws {ProtocolError} A tag or its value cannot be sent.
 * @throws {TypeError} An argument is unknown, or lacks its value.
 */
export function readArguments(args: string[]): Command | string {
  refuseMoved(args);
  const plain = args.map((arg) => arg === "-ck" ? "--check" : arg); // parseArgs takes it for two
  const { values } = parseArgs({ args: joinNegativeAmount(plain), options: ARGUMENTS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  const command = readPlaceArguments(values);
  const { payment } = command;
  for (const name of ["amount", "currency", "action"] as const) {
    const value = values[name];
    if (value !== undefined) payment[name] = value;
  }
  for (const name of ["check", "receipt", "immediate"] as const) {
    if (values[name]) payment[name] = true;
  }
  if (values.tag) payment.tags = Object.fromEntries(values.tag.map(readTag));
  if (movesMoney(findAction(payment.action ?? DEFAULT.action))) payment.amount ??= DEFAULT.amount;
  const currency = plainCurrency(payment.currency);
  if (currency) encodeRequest(buildRequest(payment, currency));
  return command;
}

/**
 * What {@linkcode PLACE_ARGUMENTS} say, as parseArgs gives them.
 *
 * @throws {OptionError} One of them is not as it must be.
 */
export function readPlaceArguments(
  values: Readonly<Record<string, string | boolean | string[] | undefined>>,
): Command {
  const { destination, json, "log-level": logLevel = "info" } = values;
  const payment: PaymentOptions = {};
  if (destination !== undefined) payment.host = `${destination}`;
  for (const name of ["port", "timeout", "gap"] as const) {
    const text = values[name];
    if (text === undefined) continue;
    if (!/^\d+(\.\d+)?$/.test(`${text}`)) {
      throw new OptionError(name, "a number such as 3 or 0.5", text);
    }
    payment[name] = Number(text);
  }
  readPlace(payment, "destination");
  return { payment, json: json === true, logLevel: oneOf("logLevel", LOG_LEVELS, `${logLevel}`) };
}

/** Refuses what other commands do. */
function refuseMoved(args: readonly string[]): void {
  for (const arg of args) {
    const [, name] = /^--(decode|probe)\b/.exec(arg) ?? [];
    if (name === undefined) continue;
    throw new OptionError(name, `no --${name} here: it has moved to workbench/${name}.ts`, arg);
  }
}

/** "-a -10" to "--amount=-10": parseArgs would take -10 for options. */
function joinNegativeAmount(args: string[]): string[] {
  return args.flatMap((arg, index) => {
    const isAmount = (at: number): boolean =>
      /^(-a|--amount)$/.test(args[at] ?? "") && /^-[\d.]/.test(args[at + 1] ?? "");
    return isAmount(index) ? `--amount=${args[index + 1]}` : isAmount(index - 1) ? [] : arg;
  });
}

function readTag(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 0) throw new OptionError("tag", "TAG=VALUE", text);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** What a tag of a message means, if that is known. */
function termText(tag: string, message: Message): string | undefined {
  const term = meaning(tag, message[tag]);
  return term && inWords(term);
}

/** What an answer at once says. */
export const ACCEPTED = "the terminal has taken it into account and does not tell the outcome";

/** Why a terminal did not do what was asked, in one line. */
export function failureText(failure: Failure): string {
  const reason = failure.code === "" ? "no AF" : `AF ${failure.code}`;
  return `${inWords(failure)}, ${reason}${failure.detail && `, ${failure.detail}`}`;
}

/** A result in one line. */
function summary(
  { status, request, answer, failure, amount, asked, currency }: PaymentResult,
): string {
  const code = request["CD"];
  const action = code === "0" ? "" : ` ${termText("CD", request) ?? `action ${code ?? "unknown"}`}`;
  const money = amount === undefined ? "" : ` ${amount} ${currency}`;
  const what = `${status.toUpperCase()}${action}${money}`;
  if (failure) return `${what}: ${failureText(failure)}`;
  if (status === "accepted") return `${what}: ${ACCEPTED}`;
  const part = (text: string, value: string | undefined): string =>
    value ? `, ${text}${value}` : "";
  const paid = termText("CC", answer) ?? answer["CC"];
  const application = otherApplication(request, answer) === undefined
    ? paid
    : `${paid} instead of ${termText("CC", request) ?? request["CC"]}`;
  const card = part("card ", answer["AA"]) + part("authorisation ", answer["AC"]);
  return what + (asked ? ` of ${asked}` : "") + part("", application) + card;
}

/** Bytes that are printed at a time: a page, which a pipe takes as a whole. */
const PIECE = 4096;
/** Bytes that wait to be printed, from which on the log leaves messages out (our choice). */
const BEHIND = 1_048_576;
/** Milliseconds until a piece that nobody takes is given up at the end (our choice). */
const STALLED_MS = 1000;

/** A stream to print on. Whether anybody reads it or not, the command must end in time. */
export class Output {
  /** Whether it is a screen. */
  readonly isTTY: boolean;
  readonly #stream: Writable;
  #printed: Promise<void> = Promise.resolve();
  #waiting = 0; // bytes
  #pieces = 0; // that were taken, or failed
  #stalledAt = -1; // so many pieces
  #broken = false;

  /** An output on a standard stream. */
  constructor(stream: NodeJS.WriteStream & { fd: number }) {
    this.isTTY = stream.isTTY ?? false;
    this.#stream = withoutBlocking(stream);
    this.#stream.on("error", () => {}); // see #write()
  }

  /** Whether so much waits that a log should not add to it. */
  get isBehind(): boolean {
    return this.#waiting > BEHIND;
  }

  /** Prints behind all that was printed before. */
  print(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      this.#waiting += piece.length;
      this.#printed = this.#printed.then(() => this.#write(piece));
    }
  }

  /** Resolves too when it fails: what cannot be printed does not change what became of a payment. */
  async #write(piece: Uint8Array): Promise<void> {
    this.#waiting -= piece.length;
    if (this.#broken) return;
    await new Promise<void>((resolve) => {
      try {
        this.#stream.write(piece, () => resolve());
      } catch {
        this.#broken = true; // Deno's stream calls back no more after that
        resolve();
      }
    });
    this.#pieces++;
  }

  /** Waits until all is printed, as long as somebody reads. */
  async drained(): Promise<void> {
    while (this.#pieces !== this.#stalledAt) {
      const before = this.#pieces;
      const all = this.#printed.then(() => true);
      if (await Promise.race([all, sleep(STALLED_MS, false)])) return;
      if (this.#pieces === before) this.#stalledAt = before;
    }
  }
}

/**
 * The stream itself, if writing to it does not wait for the reader of a pipe. Deno's would wait for
 * ever, and a socket on the same pipe does not. On a file there can be none, nor need be.
 */
function withoutBlocking(stream: Writable & { fd: number }): Writable {
  if (stream instanceof net.Socket || stream instanceof fs.WriteStream) return stream;
  try {
    return new net.Socket({ fd: stream.fd, readable: false, writable: true });
  } catch {
    return stream;
  }
}

/** What a command prints on: the result on stdout, the log and what is wrong on stderr. */
export type Outputs = Readonly<Record<"stdout" | "stderr", Output>>;

/** What takes the seconds off the screen. */
const CLEAR_LINE = "\r\x1b[K";

/** Shows on a screen the seconds that the terminal takes, until called again. */
export function showSeconds(stderr: Output): () => void {
  if (!stderr.isTTY) return () => {};
  let seconds = 0;
  const show = (): void => stderr.print(`\rwaiting for the terminal, ${++seconds} s`);
  const timer = setInterval(show, 1000);
  return () => {
    clearInterval(timer);
    stderr.print(CLEAR_LINE);
  };
}

function printResult(result: PaymentResult, stdout: Output): void {
  for (const { text } of result.receipts ?? []) stdout.print(`${printableLines(text)}\n`);
  const line = printable(summary(result));
  const colour = result.status === "declined" ? "red" : "green";
  // Not left to styleText: it would read the environment, and Deno ask whether it may.
  const shown = stdout.isTTY ? styleText(colour, line, { validateStream: false }) : line;
  stdout.print(`${shown}\n`);
}

/** Shows every message, if the log tells so much; of a probe, only what is sent at "info". */
export function messagesOn(stderr: Output, logLevel: LogLevel, isProbe = false): OnMessage {
  const isShort = isProbe && logLevel === "info";
  let isCut = false;
  return (direction, raw, message) => {
    if (!/debug|info/.test(logLevel) || isShort && direction === "received") return;
    const text = stderr.isBehind
      ? isCut ? "" : "messages are left out here, which came faster than this is read\n"
      : `${direction}: ${printable(raw)}\n${isShort ? "" : `${describe(message)}\n`}`;
    isCut = stderr.isBehind;
    if (text) stderr.print(stderr.isTTY ? CLEAR_LINE + text : text);
  };
}

/** Pays, prints what came of it, and gives the exit status. */
async function execute(
  { payment, json, logLevel }: Command,
  { stdout, stderr }: Outputs,
): Promise<number> {
  const interrupt = new AbortController();
  // Ctrl-C, kill, the end of the screen; until the end, or a second one takes the outcome with it.
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => interrupt.abort());
  const hideSeconds = showSeconds(stderr);
  const onMessage = messagesOn(stderr, logLevel);
  const started = performance.now();
  const result = await pay({ ...payment, onMessage, signal: interrupt.signal })
    .catch((error) => {
      if (error instanceof ExchangeError) return error;
      throw error;
    }).finally(hideSeconds);
  const milliseconds = Math.round(performance.now() - started);
  for (const { text } of logLevel === "error" ? [] : result.warnings ?? []) {
    stderr.print(`client.ts: warning: ${text}\n`);
  }
  const isFailed = result instanceof ExchangeError;
  if (isFailed) stderr.print(`client.ts: ${result.message}\n`);
  await stderr.drained(); // first, should both go to the same place
  if (!json && !isFailed) printResult(result, stdout);
  else if (!isFailed) stdout.print(jsonLine(result));
  else if (json) {
    const { status, request, answer, warnings, message: error } = result;
    const money = amounts(request, request, await findCurrency(payment.currency));
    const told = warnings.length > 0 ? { warnings } : {};
    stdout.print(jsonLine({ status, request, answer, ...money, ...told, milliseconds, error }));
  }
  return EXIT[result.status];
}

/**
 * Runs a command, which gives its exit status, to the end of the process. What is wrong with its
 * arguments is told in one line, and the status then 2. `options` are their names.
 */
export async function runCommand(
  name: string,
  options: readonly string[],
  act: (outputs: Outputs) => number | Promise<number>,
): Promise<void> {
  const stdout = new Output(process.stdout);
  const stderr = new Output(process.stderr);
  let status = 2;
  try {
    status = await act({ stdout, stderr });
  } catch (error) {
    const message = argumentError(error, options);
    if (message === undefined) throw error;
    stderr.print(`${name}: ${message}\n`);
  }
  await Promise.all([stdout.drained(), stderr.drained()]);
  process.exit(status); // what nobody reads would keep Node alive
}

async function main(): Promise<void> {
  await runCommand("client.ts", Object.keys(ARGUMENTS), (outputs) => {
    const command = readArguments(process.argv.slice(2));
    if (typeof command !== "string") return execute(command, outputs);
    outputs.stdout.print(command);
    return 0;
  });
}

if (import.meta.main) main();
