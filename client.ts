#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A point of sale (POS) that pays on a French card payment terminal over Caisse-AP over IP
 * ("Concert V3"), as a command and as a library. The facts of the protocol and where they come from
 * are in protocol.ts; a number in brackets is a source named there. It is a port of client.py of
 * akretion/caisse-ap-ip, copyright (C) 2023 Alexis de Lattre and Rémi de Lattre,
 * GPL-3.0-or-later.
 *
 * ```sh
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
import { Buffer, isUtf8 } from "node:buffer";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import process from "node:process";
import type { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs, styleText } from "node:util";
import {
  argumentError,
  callBack,
  decode,
  decodeReceipts,
  describe,
  deviations,
  encodeText,
  type Failure,
  type Field,
  helpText,
  inRange,
  interpret,
  inWords,
  jsonLine,
  LOG_LEVELS,
  type LogLevel,
  meaning,
  type Message,
  MessageFramer,
  MessageReader,
  movesMoney,
  nearest,
  oneOf,
  OptionError,
  type Options,
  parseArgsConfig,
  printable,
  printableLines,
  problemOf,
  ProtocolError,
  readValues,
  type Receipt,
  type Received,
  seemsWhole,
  TAGS,
  toDecimal,
  toMinorUnits,
  type Verdict,
  VERSION,
  type Warning,
} from "./protocol.ts";

// ---------------------------------------------------------------- options

/** The options of the command. Those of the library have their defaults and bounds here too. */
const OPTIONS = {
  destination: {
    heading: "Where the terminal is",
    short: "d",
    value: "HOST",
    default: "127.0.0.1",
    help: "address or DNS name",
  },
  port: {
    short: "p",
    value: "PORT",
    default: 8888, // (1)(2)(3)
    min: 1,
    max: 65535,
    whole: true,
    help: "TCP port",
  },
  timeout: {
    value: "SECONDS",
    default: 180, // a card payment takes a person 10 to 60 s (1)
    min: 0.001,
    max: 86_400, // a day (our choice)
    help: "how long to wait for the answer",
  },
  gap: {
    value: "MS",
    default: 100, // our choice
    min: 0,
    max: 86_400_000, // a day (our choice)
    help: "pause after which whole fields are an answer",
  },
  amount: {
    heading: "What it is asked for",
    short: "a",
    value: "AMOUNT",
    default: "112.45",
    help: "decimal, a dot before the decimals; negative for a refund",
  },
  currency: {
    short: "c",
    value: "CURRENCY",
    default: "EUR",
    help: "ISO 4217 letters, or number:decimals such as 933:2",
  },
  check: { short: "ck", help: "pay by cheque" },
  action: {
    value: "ACTION",
    default: "debit",
    help: "debit, credit, cancel, duplicate, identify, or the value of CD",
  },
  receipt: { help: "ask for the customer's receipt (CK 100)" },
  immediate: { help: "ask for an answer at once (BA 1)" },
  tag: {
    value: "TAG=VALUE",
    multiple: true,
    help: "set a tag of the request, TAG= leaves it out; may be given again",
  },
  decode: {
    heading: "Instead of a payment",
    value: "TEXT",
    help: "explain messages of a log or a hex dump, or a tag; - reads them from stdin",
  },
  probe: { help: "ask a terminal what moves no money, 10 s each, and show how it behaves" },
  probeDuplicate: { help: "with --probe, ask for a duplicate too (CD 3)" },
  yes: { help: "with --probe, do not ask before" },
  json: { heading: "What it prints", help: "one JSON object on stdout" },
  logLevel: {
    short: "l",
    value: "LEVEL",
    default: "info",
    help: "debug, info, warn or error",
  },
  help: { short: "h", help: "this text" },
  version: { help: VERSION },
} satisfies Options;

/** The options of {@linkcode exchange} that have a default, all there and as they must be. */
interface Place {
  host: string;
  port: number;
  timeout: number;
  gap: number;
}

/** Where the terminal is. `name` is what the caller calls the host. */
function readPlace(options: ExchangeOptions, name: "host" | "destination"): Place {
  const { host = OPTIONS.destination.default } = options;
  const expected = "an address or a DNS name";
  // Without this check "" would be this machine, and NUL a TypeError in Node and Deno.
  if (!/^[^\s\x00-\x1f\x7f]+$/.test(checkText(name, host, expected))) {
    throw new OptionError(name, expected, host);
  }
  if (/^[^:]*:\d+$|\//.test(host)) {
    const port = name === "host" ? "port" : "--port";
    throw new OptionError(name, `a host alone (${port} is for the port)`, host);
  }
  return {
    host,
    port: inRange("port", OPTIONS.port, options.port),
    timeout: inRange("timeout", OPTIONS.timeout, options.timeout),
    gap: inRange("gap", OPTIONS.gap, options.gap),
  };
}

/** Programs without types, and JSON, give whatever they like. */
function checkText(option: string, value: unknown, expected: string): string {
  if (typeof value === "string") return value;
  throw new OptionError(option, expected, value);
}

// ---------------------------------------------------------------- errors

/**
 * What became of a request that has no usable answer: not sent; not answered, at least not whole;
 * or answered by something that is malformed, has no usable status, or does not fit.
 */
export type ExchangeStatus = "unreachable" | "unanswered" | "invalid";

/**
 * There is no usable answer to a request. Unless the status is "unreachable", a payment may have gone
 * through. (4)
 */
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
    const unsure = isUnsure ? `; ${CHECK_TERMINAL}` : "";
    super(`${status === "invalid" ? "the answer is not usable: " : ""}${why}${unsure}`, { cause });
    this.status = status;
    this.request = request;
    this.answer = answer;
    this.warnings = warnings;
  }
}

const CHECK_TERMINAL = "the payment may have gone through, check it on the terminal";

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
   * Milliseconds without a byte after which whole fields are taken as the answer, and ten times
   * that while it lacks something: terminals split one over several segments, also between two
   * fields. (5) Default: 100.
   */
  gap?: number;
  /**
   * Sent unchanged instead of the encoded request, as Latin-1. What comes is judged by the request
   * all the same.
   */
  raw?: string;
  /** Gives up: an {@linkcode ExchangeError} whose cause is the signal's reason. */
  signal?: AbortSignal;
  /**
   * Receives what is sent and received, at the moment it is, an AE 11 too. Default: nobody. What it
   * throws goes to the runtime as uncaught.
   */
  onMessage?: OnMessage;
}

/** A function that takes note of a message. */
export type OnMessage = (direction: "sent" | "received", raw: string, message: Message) => void;

/** Most seconds to wait for a connection (our choice: in a shop it takes milliseconds). */
const CONNECT_TIMEOUT = 10;
/** Milliseconds from the connection to the request, in which nothing should come (our choice). */
const LISTEN_FIRST = 10;

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
 * @throws {ExchangeError} The terminal cannot be reached, or sends no whole answer, or something
 * that is no message.
 * @example Asking whether a terminal is there
 * ```ts
 * import assert from "node:assert/strict";
 * import { exchange } from "./client.ts";
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0 });
 * const request = { CZ: "0300", CJ: "012345678901", CA: "01", CD: "I" };
 * const answer = await exchange(request, { port: terminal.port, timeout: 5 });
 * assert.equal(answer.AE, "10");
 * ```
 */
export async function exchange(request: Message, options: ExchangeOptions = {}): Promise<Message> {
  return (await converse(request, options)).answer;
}

/** What came of an exchange. */
interface Exchanged {
  answer: Message;
  warnings: Warning[];
}

async function converse(request: Message, options: ExchangeOptions): Promise<Exchanged> {
  const { signal } = options;
  const { host, port, timeout, gap } = readPlace(options, "host");
  const raw = options.raw === undefined ? encodeRequest(request) : checkRaw(options.raw);
  const onMessage: OnMessage = (...args) => callBack(() => options.onMessage?.(...args));

  const where = `${host} port ${port}`;
  const warnings: Warning[] = [];
  const socket = net.connect({ host, port, noDelay: true });
  socket.setEncoding("latin1").on("error", () => {}); // seen by those who wait
  // Whatever ends the wait does so as an error of the socket: the network, a timeout or the signal.
  const stop = (why: string, cause?: unknown): unknown => socket.destroy(new Error(why, { cause }));
  const onAbort = (): unknown => stop("given up", signal?.reason);
  const patience = Math.min(timeout, CONNECT_TIMEOUT);
  let timer = setTimeout(stop, patience * 1000, `no connection within ${patience} s`);
  try {
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort);
    const early = await connected(socket).catch((error) => {
      throw notReached(error, where, request, signal?.aborted);
    });
    clearTimeout(timer);
    timer = setTimeout(stop, timeout * 1000, `no answer from ${where} within ${timeout} s`);
    if (early !== "") {
      const text = "what came before the request was sent is no answer to it and ignored, ";
      warnings.push({ code: "early", text: text + shortened(early) });
      const reader = new MessageReader();
      const [received = reader.end()] = reader.feed(early);
      onMessage("received", early, received?.message ?? {});
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
  if (/^[\x00-\xff]+$/.test(checkText("raw", raw, expected))) return raw as string;
  throw new OptionError("raw", expected, raw);
}

/** Waits for the connection, and gives what the terminal sends before it is asked anything. */
async function connected(socket: net.Socket): Promise<string> {
  await once(socket, "connect");
  await sleep(LISTEN_FIRST);
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
  const check = isGivenUp ? "" : `; ${CHECK_SETTINGS}`;
  return `cannot reach the terminal at ${where}: ${CONNECT_ERRORS[code] ?? message}${check}`;
}

function notReached(
  error: NodeJS.ErrnoException,
  where: string,
  request: Message,
  isGivenUp = false,
): ExchangeError {
  const message = whyNotReached(error, where, isGivenUp);
  return new ExchangeError("unreachable", message, request, undefined, error.cause ?? error);
}

const CHECK_SETTINGS =
  "check its address, the port (8888 on most), and that it is set to Caisse-AP over IP";

const CONNECT_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no host of that name",
  EAI_AGAIN: "the name cannot be looked up",
  EHOSTUNREACH: "there is no way to that host",
  ENETUNREACH: "there is no way to that network",
  ETIMEDOUT: "it does not respond",
};

/** Reads what a terminal sends until the final answer is whole. */
async function receive(
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
    pause: (fields) => {
      if (fields["AE"] === undefined) return Infinity;
      return seemsWhole(request, fields) ? gap : gap * 10;
    },
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

/** What is asked for, in words, and the value of CD. */
const ACTION_WORDS: ReadonlyMap<string, string> = new Map([
  ["debit", "0"],
  ["credit", "1"],
  ["cancel", "2"],
  ["duplicate", "3"],
  ["identify", "I"],
]);

/** A payment, or another action. */
export interface PaymentOptions extends ExchangeOptions {
  /**
   * Decimal text such as "112.45", for actions that move money. A negative one is a refund: a
   * credit of that amount. At most as many decimals as the currency has, and 12 digits in all.
   */
  amount?: string;
  /** ISO 4217 letters in any case, or number and decimals such as "933:2". Default: EUR. */
  currency?: string;
  /**
   * Debit, credit, cancel, duplicate, identify, or a value of CD. Default: by the amount's sign.
   */
  action?: string;
  /** Pays by cheque. */
  check?: boolean;
  /** Asks for an answer at once, which does not tell the outcome (BA 1). */
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
   * What else a person should know, if there is anything: "application" when another was paid with
   * than was asked for, "receipt" for one that cannot be read, "early" for what came before the
   * request was sent.
   */
  warnings?: Warning[];
  /** From the call to the answer, in milliseconds. */
  milliseconds: number;
}

/**
 * Pays on a terminal, or has it do something else, and tells what came of it.
 *
 * @throws {OptionError} An option is not as it must be, or the currency is not known. Nothing is
 * sent.
 * @throws {ProtocolError} A tag or its value cannot be sent. Nothing is sent.
 * @throws {ExchangeError} The terminal cannot be reached, or sends no whole answer, or one that is
 * not usable.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { pay } from "./client.ts";
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, duration: 0, outcome: "refused" });
 * const { status, failure } = await pay({ port: terminal.port, amount: "-10" });
 * assert.equal(status, "declined");
 * assert.equal(failure?.code, "04");
 * ```
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
  // Without ZT there is no receipt that could be unreadable.
  const receipts = answer["ZT"]
    ? decodeReceipts(answer["ZT"], (warning) => warnings.push(warning))
    : [];
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
function otherApplication(
  { CC: asked = "000" }: Message,
  { CC: paid }: Message,
): string | undefined {
  if (asked === "000" || paid === undefined || paid === asked) return undefined;
  const name = (code: string): string => {
    const term = meaning("CC", code);
    return printable(code) + (term ? ` (${term.label})` : "");
  };
  return `CC ${name(asked)} was asked for, ${name(paid)} paid`;
}

/**
 * The amount that a message tells as decimal text, if the request has one in that currency, or has
 * none, as for a duplicate.
 */
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
  const amount = options.amount === undefined
    ? undefined
    : checkText("amount", options.amount, 'text such as "112.45"');
  const negative = amount?.startsWith("-") ?? false;
  const action = findAction(options.action ?? (negative ? "credit" : OPTIONS.action.default));
  const money = movesMoney(action);
  if (negative && action !== "1") {
    throw new OptionError("amount", "no sign with an action other than credit", amount);
  }
  const request: Message = { CZ: "0300", CJ: "012345678901", CA: "01" };
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
  throw new OptionError("action", expected, action, nearest(action, words));
}

/** CB: at least 2 digits, no sign. (1) */
function amountField(amount: string | undefined, currency: Currency): string {
  if (amount === undefined) throw new OptionError("amount", "an amount such as 112.45", amount);
  const units = minorUnits(amount, currency).replace("-", "");
  if (units === "0") throw new OptionError("amount", "an amount other than zero", amount);
  return units.padStart(2, "0");
}

function minorUnits(amount: string, { decimals }: Currency): string {
  try {
    return toMinorUnits(amount, decimals);
  } catch (error) {
    const [, expected] = /^expected (.*?), got /.exec((error as Error).message) ?? [];
    if (expected === undefined) throw error;
    throw new OptionError("amount", expected, amount);
  }
}

// ---------------------------------------------------------------- currencies

interface Currency {
  /** ISO 4217 letters, or its number where that was given. */
  name: string;
  /** ISO 4217 numeric, three digits. */
  number: string;
  /** How many decimals an amount has. */
  decimals: number;
}

const EUR: Currency = { name: "EUR", number: "978", decimals: 2 };

const CURRENCY_BY_NUMBER = "its ISO 4217 number and decimals, such as 933:2";

/** A currency that no table is needed for: EUR, or one given by its number and decimals. */
function plainCurrency(text: string = OPTIONS.currency.default): Currency | undefined {
  const expected = `three letters of ISO 4217, or ${CURRENCY_BY_NUMBER}`;
  const name = checkText("currency", text, expected).toUpperCase();
  if (name === "EUR") return EUR;
  const [, number, decimals] = /^(\d{3}):(\d)$/.exec(name) ?? [];
  if (number !== undefined) return { name: number, number, decimals: Number(decimals) };
  if (!/^[A-Z]{3}$/.test(name)) throw new OptionError("currency", expected, text);
  return undefined;
}

/** The others are looked up in a package that is loaded only then. */
async function findCurrency(text: string | undefined): Promise<Currency> {
  const plain = plainCurrency(text);
  if (plain || text === undefined) return plain ?? EUR;
  const name = text.toUpperCase();
  for (const [number, { Code, Fraction }] of Object.entries(await loadCurrencies(name))) {
    if (Code === name) return { name, number, decimals: Number(Fraction) }; // "" for none
  }
  const expected = `one that the package iso4217 has, or ${CURRENCY_BY_NUMBER}`;
  throw new OptionError("currency", expected, text);
}

/** The table of the npm package iso4217. Only its keys have three digits: elsewhere 048 is 48. */
async function loadCurrencies(
  name: string,
): Promise<Record<string, { Code?: string; Fraction?: number | "" }>> {
  const specifier: string = "iso4217"; // not in the import itself, or Deno looks for it at every start
  try {
    return (await import(specifier)).default;
  } catch (cause) {
    const add = "deno add npm:iso4217@0.2.0, bun add iso4217@0.2.0 or npm install iso4217@0.2.0";
    const expected =
      `EUR or number:decimals such as 933:2, or the package iso4217 to look others up (${add})`;
    throw Object.assign(new OptionError("currency", expected, name), { cause });
  }
}

// ---------------------------------------------------------------- messages of a capture

/** A message found in a text, and what it means. */
export interface Explained {
  /** An answer has AE, which no request has. What is malformed is no message. */
  kind: "request" | "answer" | "malformed";
  /** Its bytes as Latin-1 text. */
  raw: string;
  /** Its fields, as far as it could be read. */
  fields: readonly Field[];
  /** The same as an object. */
  message: Message;
  /** What deviates in a request, what cannot be read of an answer's receipt. */
  warnings: Warning[];
  /** What an answer means for the request before it; without one, what it means alone. */
  verdict?: Verdict;
  /** The receipts in an answer, decoded. */
  receipts?: Receipt[];
  /** Why it is malformed: at which byte of it, and what was expected there. */
  error?: string;
  /** What stands before it and is no message. */
  before?: string;
  /** What stands after it and is no message, if it is the last. */
  after?: string;
}

/** A line of a hex dump: indent, offset, bytes. Two blanks stand before the text, or amid 16 bytes. */
const DUMP_LINE =
  /^(\s*)(?:0x)?([\da-f]{4,8})(?::?\s+((?:[\da-f]{2} ){8}(?: [\da-f]{2}){1,8}(?=\s|$)|(?:[\da-f]{2} ?)+)(?:\s\s.*)?)?\s*$/i;

function fromHex(hex: string): string {
  return Buffer.from(hex.replace(/\s/g, ""), "hex").toString("latin1");
}

/** What a hex dump shows without a break. */
interface Packet {
  text: string;
  /** What is missing in it, or before it. */
  gap?: string;
  /** Where the rest of a message stands in it, whose begin is not there. */
  rest?: number;
}

/** Bytes before the head of IP: none, BSD's loopback, Ethernet, Linux' "any" (two), a VLAN. */
const LINKS = [0, 4, 14, 16, 20, 18];

/** What a packet of TCP carries: between whom, from which byte of it to which, and its number. */
function segmentIn(
  text: string,
): { from: string; to: string; at: number; end: number; sequence: string } | undefined {
  const bytes = Buffer.from(text, "latin1");
  for (const link of LINKS) {
    const first = bytes[link] ?? 0;
    const isOld = first >> 4 === 4; // IPv4
    const [size, field, protocol] = isOld ? [(first & 15) * 4, 2, 9] : [40, 4, 6];
    const tcp = link + size;
    const isTcp = bytes[link + protocol] === 6 && (isOld ? size >= 20 : first >> 4 === 6);
    if (!isTcp || bytes.length < tcp + 20) continue;
    const at = tcp + (bytes[tcp + 12]! >> 4) * 4;
    const length = link + bytes.readUInt16BE(link + field) + (isOld ? 0 : size);
    const end = length < at ? bytes.length : Math.min(length, bytes.length);
    const [sender, receiver] = isOld ? [12, 16] : [8, 24]; // to the end of the head
    const address = (from: number, to: number, port: number): string =>
      text.slice(link + from, link + to) + text.slice(port, port + 2);
    return {
      from: address(sender, receiver, tcp),
      to: address(receiver, isOld ? 20 : 40, tcp + 2),
      at,
      end,
      sequence: text.slice(tcp + 4, tcp + 8),
    };
  }
  return undefined;
}

/**
 * The bytes that a hex dump shows: one of xxd, hexdump -C, od -t x1, tcpdump -X or Wireshark, or
 * nothing but hex digits. A packet begins at offset 0, at a gap, and with the other side of a
 * connection, which Wireshark indents. What goes on with a message belongs to its packet.
 */
function packetsIn(dump: string): Packet[] {
  const packets: (Packet & { indent: string; start: string })[] = [];
  for (const line of dump.split(/\r?\n/)) {
    const [, indent = "", offset = "", hex = ""] = DUMP_LINE.exec(line) ?? [];
    const last = packets.at(-1);
    const { start = offset, text = "" } = last ?? {};
    const isNext = [16, 8, 10] // which od can count in
      .some((radix) => parseInt(offset, radix) - parseInt(start, radix) === text.length);
    if (isNext && last?.indent === indent) last.text += fromHex(hex);
    else if (hex || offset && last) {
      packets.push({ text: fromHex(hex), indent, start: offset });
      if (last?.indent !== indent || /^0+$/.test(offset)) continue;
      last.gap = `expected the next line of the dump, got the offset ${offset}`;
    }
  }
  const isHex = packets.length === 0 && /^(?:\s*[\da-f]{2})+\s*$/i.test(dump);
  if (isHex) return [{ text: fromHex(dump) }];
  const begun = new Map<string, { from: string; next: number; packet: Packet }>(); // by connection
  const seen = new Set<string>();
  return packets.filter((packet) => {
    const { text, indent, start } = packet;
    const segment = segmentIn(text);
    const { from, to, at, end } = segment ?? { from: indent, to: "", at: 0, end: text.length };
    const carried = text.slice(at, end);
    if (carried === "") return true;
    const connection = segment ? [from, to].sort().join() : "";
    const next = parseInt(start, 16) + text.length;
    const last = begun.get(connection);
    const isRepeated = segment && seen.size === seen.add(from + segment.sequence + carried).size;
    if (carried.includes(START)) {
      packet.text = text.slice(0, end);
      begun.set(connection, { from, next, packet });
    } else if (last?.from === from && (segment || parseInt(start, 16) === last.next)) {
      if (!isRepeated) last.packet.text += carried;
      last.next = next;
      return false;
    } else if (segment && /^[A-Z]{2}\d{3}/.test(carried)) {
      packet.rest = at;
      packet.gap = "expected a message that begins with CZ, got the rest of one";
    }
    return true;
  });
}

/** Takes escapes back: those of {@linkcode printable}, of JSON and of C. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:(?:x|u00)([\da-f]{2})|([rn"\\]))/gi,
    (_, hex, char) => hex ? fromHex(hex) : char === "r" ? "\r" : char === "n" ? "\n" : char,
  );
}

/**
 * Finds the messages in a text, such as a log or a hex dump, and explains them. Characters stand for
 * bytes of Latin-1 or of UTF-8, and in each line are as they are or escaped: however most messages
 * are whole. (our choice)
 *
 * @returns At least one; where there is no message, why.
 */
export function explain(text: string): Explained[] {
  const packets = packetsIn(text);
  const forms = [text, Buffer.from(text).toString("latin1")]
    .filter((form) => /^[\0-\xff]*$/.test(form));
  const lines = (form: string): Piece[] =>
    form.split(/\r?\n/).flatMap((line) => mostWhole([[piece(line)], [piece(unescaped(line))]]));
  const swapped = packets.map((packet) => packet.text.replace(/([^])([^])/g, "$2$1"));
  const hint = "expected bytes, got words with their bytes swapped; hint: hexdump -C";
  const pieces = mostWhole([
    packets.map(({ text, gap, rest }) => piece(text, AT_END, gap, rest)),
    ...forms.map((form) => [piece(form, ANYWHERE)]),
    ...forms.map(lines),
    [piece(forms[0]!.trimStart(), ANYWHERE, swapped.join().includes(START) ? hint : "", 0)],
  ]);
  let request: Message = {};
  return pieces.flatMap(messagesIn).map(({ error, ...received }) => {
    const { message } = received;
    if (error) return { kind: "malformed", ...received, warnings: [], error: error.message };
    if (message["AE"] === undefined) {
      request = message;
      return { kind: "request", ...received, warnings: deviations(received) };
    }
    const warnings: Warning[] = [];
    const receipts = message["ZT"]
      ? decodeReceipts(message["ZT"], (one) => warnings.push(one))
      : [];
    const problem = problemOf(received);
    const verdict: Verdict = problem
      ? { status: "invalid", error: problem }
      : interpret(request, message);
    return { kind: "answer", ...received, warnings, verdict, receipts };
  });
}

/** A text, where messages stand in it, and why the last is not whole, if something is missing. */
interface Piece {
  text: string;
  spans: { at: number; end: number; isWhole: boolean }[];
  gap: string;
}

/** The first reading with most whole messages; a cut message is more than none. */
function mostWhole(readings: Piece[][]): Piece[] {
  const scores = readings.map((pieces) => {
    const spans = pieces.flatMap((piece) => piece.spans);
    return spans.filter(({ isWhole }) => isWhole).length + (spans.length > 0 ? 0.5 : 0);
  });
  return readings[scores.indexOf(Math.max(...scores))] ?? [];
}

/** How a message begins: CZ has four digits. */
const START = "CZ00";
/** Line ends that are no part of a value, unless a field follows: in a log, and where bytes are exact. */
const [ANYWHERE, AT_END] = [/[\r\n]/, /(?<![\r\n])[\r\n]+$/];

/** Finds messages. Takes linear time: fields that lead to no end are gone over once. */
function piece(text: string, lineEnd = AT_END, gap = "", first = text.indexOf(START)): Piece {
  const spans: Piece["spans"] = [];
  const bad = new Set<number>(); // where such fields begin
  const fieldEnd = (at: number): number => {
    const [, size] = /^[A-Z]{2}(\d{3})/.exec(text.slice(at, at + 5)) ?? [];
    const end = at + 5 + Number(size);
    const field = text.slice(at, end);
    const isCut = lineEnd.test(field) && !/^(?:ZT|AK)[\dA-Za-z+/=\r\n]+$/.test(field) &&
      !/^(?!CZ)[A-Z]{2}\d{3}/.test(text.slice(end, end + 5));
    return bad.has(at) || isCut || end > text.length ? NaN : end;
  };
  for (let at = first, next: number; at >= 0; at = next) {
    const passed = [at];
    let [end, isWhole] = [at, false];
    for (let to = fieldEnd(at); to >= 0 && !isWhole; to = fieldEnd(end)) {
      passed.push(end = to);
      // In a log, a blank, quote or bracket may end it.
      isWhole = /^(?:$|CZ|[\s"'`,;|<>)\]}\x04\x06\x18])/.test(text.slice(end, end + 2)) ||
        isFramed(text, at, end);
    }
    next = text.indexOf(START, isWhole ? end : at + START.length);
    if (!isWhole) {
      for (const place of passed) bad.add(place);
      const until = next < 0 ? text.length : next;
      const line = text.slice(end, until).search(lineEnd);
      end = line < 0 ? until : end + line;
    }
    spans.push({ at, end, isWhole: isWhole && !(gap && next < 0) });
  }
  return { text, spans, gap };
}

/** The messages of a text, and what stands around them. */
function messagesIn(
  { text, spans, gap }: Piece,
): (Received & Pick<Explained, "before" | "after">)[] {
  let told = 0; // until there
  return spans.map(({ at, end }, index) => {
    const reader = new MessageReader();
    const nothing = { raw: "", fields: [], message: {} };
    const [received = reader.end() ?? nothing]: Received[] = reader.feed(text.slice(at, end));
    const isLast = index === spans.length - 1;
    const why = isLast && gap || received === nothing && "expected a message, got nothing";
    if (why) received.error = new ProtocolError(why, end - at);
    const before = text.slice(told, at);
    told = at + (received.error?.at ?? received.raw.length);
    if (isFramed(text, at, told)) received.error = serialError();
    const after = isLast ? text.slice(told) : "";
    return { ...received, ...(before.trim() && { before }), ...(after.trim() && { after }) };
  });
}

/** Whether what stands there is between STX and ETX. */
function isFramed(text: string, at: number, end: number): boolean {
  return text[at - 1] === "\x02" && text[end] === "\x03";
}

/** Why such a message is none, in the words of one who reads it. */
function serialError(): ProtocolError {
  const [received] = new MessageReader().feed(`\x02${START}`);
  return new ProtocolError(received!.error!.message.replace(/^at byte 0: /, ""));
}

/** What a tag means, alone or with a value: one term, or one for each of its codes. */
function explainTag(text: string): Message[] | undefined {
  const [, tag = "", ...either] = /^([A-Z]{2})(?:[ :=]+(\S+)|(\S{0,3}))$/.exec(text) ?? [];
  const [apart, value = ""] = [either[0] !== undefined, either.join("")];
  const { label, codes } = TAGS.get(tag) ?? {};
  const isCode = meaning(tag, value) !== undefined;
  if (!label || (value !== "" && !apart && !isCode)) return undefined; // perhaps a message
  if (codes && value !== "" && !isCode) {
    throw new OptionError("decode", `for ${tag} one of ${[...codes.keys()].join(", ")}`, value);
  }
  const values = codes && value === "" ? [...codes.keys()] : [value];
  return values.map((value) => ({ tag, value, label, ...meaning(tag, value) }));
}

/** A message explained for people: a line a field, after the byte where it begins. */
function explainedText(
  { kind, raw, fields, message, warnings, verdict, receipts, error, before, after }: Explained,
): string {
  const skipped = (text: string): string => `skipped ${shortened(text)}, length ${text.length}`;
  const lines = [error ? `${kind} ${error}` : `${kind}, length ${raw.length}`];
  if (before) lines.unshift(skipped(before));
  for (const { tag, value, at } of fields) {
    const line = describe({ CE: message["CE"] ?? "", [tag]: value }).split("\n").at(-1);
    lines.push(`${String(at).padStart(5)}${line}`);
  }
  for (const { text } of warnings) {
    lines.push(`  ${kind === "request" ? "deviates" : "warning"}: ${text}`);
  }
  if (verdict) lines.push(`  means: ${verdictText(verdict)}`);
  for (const { copy, format, text } of receipts ?? []) {
    lines.push(`  receipt of the ${copy}, ${format}:`, printableLines(text));
  }
  if (after) lines.push(skipped(after));
  return `${lines.join("\n")}\n`;
}

function verdictText(verdict: Verdict): string {
  if (verdict.status === "declined") return `declined, ${failureText(verdict.failure)}`;
  if (verdict.status === "invalid") return `not usable, ${verdict.error}`;
  return verdict.status === "accepted" ? `accepted, ${ACCEPTED}` : verdict.status;
}

// ---------------------------------------------------------------- how a terminal behaves

/** Where the terminal is, and what it is asked. By default `timeout` is 10, for each probe. */
export interface ProbeOptions extends Omit<ExchangeOptions, "raw" | "signal"> {
  /** Asks for the last receipt again too (CD 3). Default: false. */
  duplicate?: boolean;
}

/** How a terminal behaved when it was asked something. Times are since the request was sent. */
export interface Probed {
  /** What was asked, in words. */
  probe: string;
  /** What was sent, in its segments. */
  sent: string[];
  /** Whether an answer with a status came, or why there is none. */
  status: "answered" | ExchangeStatus;
  /** The answer, as far as it came. */
  answer?: Message;
  /** Milliseconds until the answer was whole. */
  milliseconds?: number;
  /** Whether AE 11 came first. */
  interim?: true;
  /** Line ends and control characters behind the answer. */
  ending?: string;
  /** Those of CZ and CJ in the answer that are the terminal's own, not the request's. */
  own: string[];
  /** The answer with its ending, in its segments; all that came where there is none. */
  segments: { milliseconds: number; raw: string }[];
  /** How the terminal ended the connection, if it did within half a second after the answer. */
  closed?: { how: "closed" | "reset"; milliseconds: number };
  /** What is wrong with the answer, or why there is none. */
  error?: string;
  /** What came before the last segment of the request was sent. */
  early?: string;
  /** What came then before the answer, and is no part of it. */
  before?: string;
  /** What came after the answer, before anything else was sent. */
  after?: string;
}

/** Seconds for each probe (our choice: nobody has to do anything). */
const PROBE_TIMEOUT = 10;
/** Milliseconds between two segments of a request (our choice). */
const BETWEEN_SEGMENTS = 50;
/** Milliseconds that a connection is looked at after the answer, and a terminal rests (our choice). */
const LOOK_AFTER = 500;

const NOT_SENT = "not sent";
/** Most bytes that are read on a connection (our choice: an answer has a few hundred). */
const MOST_READ = 65_536;
const TOO_MUCH = `it sent more than ${MOST_READ} bytes`;

/**
 * What a terminal is asked: requests on one connection, each in its segments. Nothing here moves
 * money, or has an amount; no source knows CD Q.
 */
function probes(duplicate: boolean): Record<string, string[][]> {
  const request = (action: string): string => encodeText(buildRequest({ action }, EUR));
  const identify = request("I");
  const cut = identify.indexOf("CA");
  return {
    "identification": [[identify]],
    "with CR LF": [[`${identify}\r\n`]],
    "in two segments": [[identify.slice(0, cut), identify.slice(cut)]],
    "two on a connection": [[identify], [identify]],
    "unknown action": [[request("Q")]],
    "without CJ": [[identify.replace(/CJ\d{15}/, "")]],
    ...(duplicate && { "duplicate": [[request("3")]] }),
  };
}

/**
 * Asks a terminal what moves no money, one thing after another, and tells how it behaves.
 *
 * @returns What came of each request; of the first alone where the terminal cannot be reached.
 * @throws {OptionError} An option is not as it must be. Nothing is sent.
 */
export async function probe(options: ProbeOptions = {}): Promise<Probed[]> {
  const place = readPlace({ timeout: PROBE_TIMEOUT, ...options }, "host");
  const onMessage: OnMessage = (...args) => callBack(() => options.onMessage?.(...args));
  const probed: Probed[] = [];
  for (const [name, requests] of Object.entries(probes(options.duplicate === true))) {
    const found = requests.map((sent, index): Probed => {
      const probe = index === 0 ? name : `${name}, again`;
      return { probe, sent, status: "unanswered", own: [], segments: [], error: NOT_SENT };
    });
    await probeOn(found, place, onMessage);
    probed.push(...found);
    if (probed[0]?.status === "unreachable") break;
  }
  return probed;
}

/** Sends requests on a connection of their own, and notes what comes of them. */
async function probeOn(
  probed: readonly Probed[],
  { host, port, timeout, gap }: Place,
  onMessage: OnMessage,
): Promise<void> {
  let now = probed[0]!;
  let sentAt = 0;
  let read = 0;
  const milliseconds = (): number => Math.round(performance.now() - sentAt);
  const onClosed = (how: "closed" | "reset"): void => {
    now.closed ??= { how, milliseconds: milliseconds() };
  };
  const socket = net.connect({ host, port, noDelay: true });
  socket.setEncoding("latin1").on("error", () => {}); // seen by those who wait
  const stop = (why = `no answer within ${timeout} s`): unknown => socket.destroy(new Error(why));
  let timer = setTimeout(stop, timeout * 1000);
  const lookAfter = async (): Promise<void> => {
    await sleep(Math.min(LOOK_AFTER, timeout * 1000));
    if (read > MOST_READ) now.error = TOO_MUCH;
  };
  try {
    let early = await connected(socket).catch((error) => {
      throw notReached(error, `${host} port ${port}`, {});
    });
    socket.on("data", (raw: string) => {
      read += raw.length;
      if (read > MOST_READ) stop(TOO_MUCH);
      else now.segments.push({ milliseconds: milliseconds(), raw });
    });
    socket.on("end", () => onClosed("closed"));
    socket.on("error", ({ code }: NodeJS.ErrnoException) => code && onClosed("reset"));
    for (const one of probed) {
      if (now.closed || socket.destroyed) break;
      clearTimeout(timer);
      timer = setTimeout(stop, timeout * 1000);
      now = one;
      const request = decode(one.sent.join(""));
      const came: { raw: string; message: Message }[] = [];
      const onReceived: OnMessage = (direction, raw, message) => {
        if (came.at(-1)?.message["AE"] === "11") one.interim = true;
        came.push({ raw, message });
        onMessage(direction, raw, message);
      };
      const answered = receive(socket, request, gap, onReceived, []);
      answered.catch(() => {}); // it is waited for below, once all is sent
      for (const [index, segment] of one.sent.entries()) {
        if (index > 0) await sleep(BETWEEN_SEGMENTS);
        early += one.segments.map(({ raw }) => raw).join("");
        socket.write(segment, "latin1");
        sentAt = performance.now();
      }
      if (early !== "") one.early = early;
      early = "";
      onMessage("sent", one.sent.join(""), request);
      const answer = await answered;
      if (answer["AE"] === undefined) {
        throw new ExchangeError("invalid", "expected the status AE, got none", request, answer);
      }
      const own = ["CZ", "CJ"].filter((tag) => answer[tag] && answer[tag] !== request[tag]);
      const last = one.segments.at(-1)?.milliseconds;
      Object.assign(one, { status: "answered", answer, milliseconds: last, own });
      delete one.error;
      clearTimeout(timer);
      await lookAfter(); // what still comes is no answer to the next request
      const parts = came.slice(0, 1 + came.findIndex(({ message }) => message === answer));
      cutAround(one, parts.map(({ raw }) => raw));
    }
  } catch (error) {
    if (!(error instanceof ExchangeError)) throw error;
    const { status, answer, message } = error;
    Object.assign(now, { status, ...(answer && { answer }), error: message });
    if (status === "invalid") await lookAfter();
  } finally {
    clearTimeout(timer);
    socket.removeAllListeners().on("error", () => {}).destroy();
  }
  const why = now.closed ? "the connection had ended" : "what was sent before has no usable answer";
  for (const one of probed) if (one.error === NOT_SENT) one.error += `, ${why}`;
}

/** Leaves of what came only the answer, which is these messages, and tells what was around it. */
function cutAround(one: Probed, parts: readonly string[]): void {
  const came = one.segments.map(({ raw }) => raw).join("");
  const start = came.indexOf(parts[0] ?? "");
  let end = start;
  for (const part of parts) end = came.indexOf(part, end) + part.length;
  const [ending = ""] = /^[\r\n\x04\x06\x18]{1,9}/.exec(came.slice(end)) ?? [];
  end += ending.length;
  const [before, after] = [came.slice(0, start), came.slice(end)];
  if (before !== "" && !one.early?.endsWith(before)) one.before = before;
  if (ending !== "") one.ending = ending;
  if (after !== "") one.after = after;
  let at = 0;
  one.segments = one.segments.flatMap(({ milliseconds, raw }) => {
    const part = raw.slice(Math.max(0, start - at), Math.max(0, end - at));
    at += raw.length;
    return part === "" ? [] : [{ milliseconds, raw: part }];
  });
}

/** What {@linkcode probe} found, as a table for people, and below it what went wrong. */
export function probeTable(probed: readonly Probed[]): string {
  const head = "probe answer AE AF CZ CJ tags ending segments connection".split(" ");
  const rows = probed.map((one) => {
    const { probe, status, answer = {}, milliseconds, own, segments, closed, error } = one;
    const wasThere = status !== "unreachable" && !error?.startsWith(NOT_SENT);
    const whose = (tag: string): string =>
      own.includes(tag) ? `own ${answer[tag]}` : answer[tag] ? "as sent" : "none";
    const { AE = "none", AF = "none" } = answer;
    const statuses = one.interim ? `11, ${AE}` : AE;
    const { ending = status === "answered" ? "none" : "" } = one;
    const lineEnd = ending.replace(/\r/g, "CR ").replace(/\n/g, "LF ").trimEnd();
    const cells = [
      probe,
      ...status === "answered"
        ? [`${milliseconds} ms`, statuses, AF, whose("CZ"), whose("CJ")]
        : [status, "", "", "", ""],
      Object.keys(answer).join(" "),
      lineEnd,
      `${segments.length}`,
      closed ? `${closed.how} at ${closed.milliseconds} ms` : wasThere ? "kept" : "",
    ];
    return cells.map(printable);
  });
  const table = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...table.map((row) => row[at]!.length)));
  const lines = table.map((row) => row.map((cell, at) => cell.padEnd(widths[at]!)).join("  "));
  for (const { probe, early, before, after, error } of probed) {
    if (early) lines.push(`${probe}: before all was sent came ${shortened(early)}`);
    if (before) lines.push(`${probe}: before the answer came ${shortened(before)}`);
    if (after) lines.push(`${probe}: after the answer came ${shortened(after)}`);
    if (error) lines.push(`${probe}: ${error}`);
  }
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

// ---------------------------------------------------------------- the command

const HELP = `A point of sale that pays on a card payment terminal over Caisse-AP over IP
(Concert V3).

usage: client.ts [options]
${helpText(OPTIONS)}
exit status:
  0 approved, or accepted   1 declined         2 wrong arguments, nothing sent
  3 terminal not reached    4 no whole answer  5 an answer that is not usable
  After 4 and 5 the payment may have gone through: check it on the terminal.
  --decode: 0 messages, 5 something that is none. --probe: 0 answered, 3, 4, 5.

examples:
  client.ts -d localhost -a 9.90
  client.ts -a -10 --receipt
  client.ts --action identify --timeout 5 --json
  tcpdump -X -r capture.pcap | client.ts --decode -
`;

const EXIT = {
  approved: 0,
  accepted: 0,
  explained: 0,
  answered: 0,
  declined: 1,
  unsent: 2,
  unreachable: 3,
  unanswered: 4,
  invalid: 5,
  malformed: 5,
} as const;

/** What the command was asked to do. */
export interface Command {
  /** The options of {@linkcode pay}; with `probe`, those of where the terminal is. */
  payment: PaymentOptions;
  /** A text that is explained instead; "-" is what comes on stdin. */
  decode?: string;
  /** The terminal is probed instead: with a duplicate too, and without asking a person. */
  probe?: { duplicate: boolean; yes: boolean };
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
  const config = parseArgsConfig(OPTIONS, joinNegativeAmount(args));
  const { values } = parseArgs(config);
  if (values["help"]) return HELP;
  if (values["version"]) return `${VERSION}\n`;
  checkTogether(values);
  const found = readValues(OPTIONS, values);
  const logLevel = oneOf(
    "logLevel",
    LOG_LEVELS,
    (found["logLevel"] ?? OPTIONS.logLevel.default) as string,
  );
  const { destination, tag, json, logLevel: _, decode, probe, probeDuplicate, yes, ...others } =
    found;
  const payment: PaymentOptions = others;
  if (destination !== undefined) payment.host = destination as string;
  if (tag !== undefined) payment.tags = Object.fromEntries((tag as string[]).map(readTag));
  readPlace(payment, "destination");
  const command: Command = { payment, json: json === true, logLevel };
  if (decode !== undefined) return { ...command, decode: decode as string };
  if (probe) {
    return { ...command, probe: { duplicate: probeDuplicate === true, yes: yes === true } };
  }
  if (movesMoney(findAction(payment.action ?? OPTIONS.action.default))) {
    payment.amount ??= OPTIONS.amount.default;
  }
  const currency = plainCurrency(payment.currency);
  if (currency) encodeRequest(buildRequest(payment, currency));
  return command;
}

/** What goes with the options that are no payment, by the names of the command line. */
const BESIDE: Readonly<Record<string, string>> = {
  decode: "--json, --log-level",
  probe: "--probe-duplicate, --yes, --destination, --port, --timeout, --gap, --json, --log-level",
};

/** Says which options do not go together. */
function checkTogether(values: Readonly<Record<string, unknown>>): void {
  const names = Object.keys(values);
  const mode = names.find((name) => name in BESIDE);
  for (const name of names) {
    const beside = mode && BESIDE[mode];
    if (beside && name !== mode && !beside.split(", ").includes(`--${name}`)) {
      throw new OptionError(mode, `no payment, and beside it only ${beside}`, `--${name}`);
    }
    if (!mode && (name === "probe-duplicate" || name === "yes")) {
      throw new OptionError(name, "--probe beside it", undefined);
    }
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

function readTag(text: string): [tag: string, value: string] {
  const at = text.indexOf("=");
  if (at < 0) throw new OptionError("tag", "TAG=VALUE", text);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** What a tag of a message means, if that is known. */
function termText(tag: string, message: Message): string | undefined {
  const term = meaning(tag, message[tag]);
  return term && inWords(term);
}

const ACCEPTED = "the terminal has taken it into account and does not tell the outcome";

function failureText(failure: Failure): string {
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
/** Milliseconds until a piece that nobody takes is given up at the end (our choice). */
const STALLED = 1000;

/**
 * A stream that the command prints on, whether anybody reads it or not: the exit status must tell
 * the outcome all the same, and in time.
 */
class Output {
  readonly isTTY: boolean;
  readonly #stream: Writable;
  #printed: Promise<void> = Promise.resolve();
  #pieces = 0; // that were taken, or failed
  #stalledAt = -1; // so many pieces
  #broken = false;

  constructor(stream: NodeJS.WriteStream & { fd: number }) {
    this.isTTY = stream.isTTY ?? false;
    this.#stream = withoutBlocking(stream);
    this.#stream.on("error", () => {}); // see #write()
  }

  /** Prints behind all that was printed before. */
  print(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      this.#printed = this.#printed.then(() => this.#write(piece));
    }
  }

  /** Resolves too when it fails: what cannot be printed does not change what became of a payment. */
  async #write(piece: Uint8Array): Promise<void> {
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
      if (await Promise.race([all, sleep(STALLED, false)])) return;
      if (this.#pieces === before) this.#stalledAt = before;
    }
  }
}

/**
 * The stream itself where writing to it does not wait for the reader of a pipe: sockets and
 * fs.WriteStream. Others, such as Deno's, would wait for ever, and a socket on the same pipe does
 * not. There can be none on a file, which takes all at once.
 */
function withoutBlocking(stream: Writable & { fd: number }): Writable {
  if (stream instanceof net.Socket || stream instanceof fs.WriteStream) return stream;
  try {
    return new net.Socket({ fd: stream.fd, readable: false, writable: true });
  } catch {
    return stream;
  }
}

/** What the command prints on. */
interface Outputs {
  stdout: Output;
  stderr: Output;
}

/** What takes the seconds off the screen. */
const CLEAR_LINE = "\r\x1b[K";

/** Shows on a screen the seconds that the terminal takes, until called again. */
function showSeconds(stderr: Output): () => void {
  if (!stderr.isTTY) return () => {};
  const started = performance.now();
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - started) / 1000);
    stderr.print(`\rwaiting for the terminal, ${seconds} s`);
  }, 1000);
  return () => {
    clearInterval(timer);
    stderr.print(CLEAR_LINE);
  };
}

function printResult(result: PaymentResult, stdout: Output): void {
  for (const { text } of result.receipts ?? []) stdout.print(`${printableLines(text)}\n`);
  const line = printable(summary(result));
  const colour = result.status === "declined" ? "red" : "green";
  // Not left to styleText: to know whether the screen has colours it reads the environment, and
  // Deno would ask for that.
  const shown = stdout.isTTY ? styleText(colour, line, { validateStream: false }) : line;
  stdout.print(`${shown}\n`);
}

/** What asks the command to end: Ctrl-C, kill, and the end of the screen it runs on. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Shows every message, if the log tells so much; of a probe, only what is sent at "info". */
function messagesOn(stderr: Output, logLevel: LogLevel, isProbe = false): OnMessage {
  const isShort = isProbe && logLevel === "info";
  return (direction, raw, message) => {
    if (!/debug|info/.test(logLevel) || isShort && direction === "received") return;
    const text = `${direction}: ${printable(raw)}\n${isShort ? "" : `${describe(message)}\n`}`;
    stderr.print(stderr.isTTY ? CLEAR_LINE + text : text);
  };
}

/** Pays, and prints what came of it. */
async function execute(
  { payment, json, logLevel }: Command,
  { stdout, stderr }: Outputs,
): Promise<keyof typeof EXIT> {
  const interrupt = new AbortController();
  // Until the end, so that a second signal does not take the outcome with it.
  for (const name of SIGNALS) process.on(name, () => interrupt.abort());
  const hideSeconds = showSeconds(stderr);
  const onMessage = messagesOn(stderr, logLevel);
  const warn = (warnings: readonly Warning[] = []): void => {
    if (logLevel === "error") return;
    for (const { text } of warnings) stderr.print(`client.ts: warning: ${text}\n`);
  };
  const started = performance.now();
  try {
    const result = await pay({ ...payment, onMessage, signal: interrupt.signal });
    hideSeconds();
    warn(result.warnings);
    await stderr.drained(); // first, should both go to the same place
    if (json) stdout.print(jsonLine(result));
    else printResult(result, stdout);
    return result.status;
  } catch (error) {
    hideSeconds();
    if (!(error instanceof ExchangeError)) throw error;
    const { message, status, request, answer, warnings } = error;
    warn(warnings);
    stderr.print(`client.ts: ${message}\n`);
    await stderr.drained();
    const money = amounts(request, request, await findCurrency(payment.currency));
    const milliseconds = Math.round(performance.now() - started);
    const result = {
      status,
      request,
      answer,
      ...money,
      ...(warnings.length > 0 && { warnings }),
      milliseconds,
      error: message,
    };
    if (json) stdout.print(jsonLine(result));
    return status;
  }
}

/** Explains the messages of a text, or of stdin. */
async function executeDecode(
  { decode = "", json }: Command,
  { stdout }: Outputs,
): Promise<keyof typeof EXIT> {
  const isInput = decode === "-";
  const text = isInput ? await readInput() : decode;
  const terms = isInput ? undefined : explainTag(text);
  if (terms) {
    const lines = terms.map(({ tag = "", value = "" }) => `${describe({ [tag]: value })}\n`);
    stdout.print(json ? jsonLine({ terms }) : lines.join(""));
    return "explained";
  }
  const messages = explain(text);
  stdout.print(json ? jsonLine({ messages }) : messages.map(explainedText).join("\n"));
  return messages.some(({ error }) => error) ? "malformed" : "explained";
}

/** All that comes on stdin: UTF-8, or else Latin-1. */
async function readInput(): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  return bytes.toString(isUtf8(bytes) ? "utf8" : "latin1");
}

/** Probes the terminal, once a person agrees, and prints how it behaves. */
async function executeProbe(
  { payment, probe: asked, json, logLevel }: Command,
  { stdout, stderr }: Outputs,
): Promise<keyof typeof EXIT> {
  const { duplicate = false, yes = false } = asked ?? {};
  const { host = OPTIONS.destination.default, port = OPTIONS.port.default } = payment;
  if (!yes && !process.stdin.isTTY) {
    throw new OptionError("probe", "--yes, or a keyboard (a TTY) to be asked at", undefined);
  }
  if (!yes) {
    stderr.print(`The terminal at ${host} port ${port} is asked what moves no money:\n`);
    for (const [name, requests] of Object.entries(probes(duplicate))) {
      for (const sent of requests) stderr.print(`  ${name}: ${printable(sent.join(" | "))}\n`);
    }
    stderr.print("Send this? (yes, oui) ");
    if (!/^(y|yes|o|oui)$/i.test(await readLine())) {
      stderr.print("client.ts: nothing sent\n");
      return "unsent";
    }
  }
  const onMessage = messagesOn(stderr, logLevel, true);
  const hideSeconds = showSeconds(stderr);
  const probed = await probe({ ...payment, onMessage, duplicate }).finally(hideSeconds);
  const best = probed.find(({ status }) => status === "answered") ??
    probed.find(({ status }) => status === "invalid");
  const status = (best ?? probed[0])?.status ?? "unanswered";
  await stderr.drained();
  stdout.print(json ? jsonLine({ status, host, port, probed }) : probeTable(probed));
  return status;
}

/** A line that a person types; "" at the end of input. */
async function readLine(): Promise<string> {
  for await (const chunk of process.stdin) return `${chunk}`.trim();
  return "";
}

/** The command; its exit statuses are in the help. */
async function main(): Promise<void> {
  const outputs: Outputs = {
    stdout: new Output(process.stdout),
    stderr: new Output(process.stderr),
  };
  let status = 0;
  try {
    const command = readArguments(process.argv.slice(2));
    if (typeof command === "string") outputs.stdout.print(command);
    else {
      const { decode, probe } = command;
      const execution = decode !== undefined ? executeDecode : probe ? executeProbe : execute;
      status = EXIT[await execution(command, outputs)];
    }
  } catch (error) {
    const message = argumentError(error, OPTIONS);
    if (message === undefined) throw error;
    outputs.stderr.print(`client.ts: ${message}\n`);
    status = 2;
  }
  await Promise.all([outputs.stdout.drained(), outputs.stderr.drained()]);
  process.exit(status); // what nobody reads would keep Node alive
}

if (import.meta.main) main();
