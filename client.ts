// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A point of sale (POS) that pays on a French card payment terminal over Caisse-AP over IP
 * ("Concert V3"), as a command and as a library. The facts of the protocol and where they come from
 * are in protocol.ts; a number in brackets is a source named there.
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
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { parseArgs, styleText } from "node:util";
import {
  ACTIONS,
  argumentError,
  callBack,
  decodeReceipts,
  describe,
  encodeText,
  type Failure,
  inRange,
  interpret,
  inWords,
  isComplete,
  jsonLine,
  LOG_LEVELS,
  meaning,
  type Message,
  MessageReader,
  oneOf,
  OptionError,
  parseNumber,
  printable,
  printableLines,
  ProtocolError,
  type Receipt,
  type Received,
  toDecimal,
  toMinorUnits,
  VERSION,
} from "./protocol.ts";

// ---------------------------------------------------------------- errors

/**
 * What became of a request that has no usable answer: not sent; not answered, at least not whole;
 * or answered by something that is malformed, has no usable status, or does not fit.
 */
export type ExchangeStatus = "unreachable" | "unanswered" | "invalid";

/**
 * There is no usable answer to a request. Unless the status is "unreachable", the payment may have
 * gone through. (4)
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ExchangeError, pay } from "./client.ts";
 *
 * const error = await pay({ port: 1, amount: "1" }).catch((error) => error);
 * assert.ok(error instanceof ExchangeError);
 * assert.equal(error.status, "unreachable");
 * ```
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

  /** An error about a request, and what came of its answer. */
  constructor(
    status: ExchangeStatus,
    why: string,
    request: Message,
    answer?: Message,
    cause?: unknown,
  ) {
    const unsure = status === "unreachable" ? "" : `; ${CHECK_TERMINAL}`;
    super(`${status === "invalid" ? "the answer is not usable: " : ""}${why}${unsure}`, { cause });
    this.status = status;
    this.request = request;
    this.answer = answer;
  }
}

const CHECK_TERMINAL = "the payment may have gone through, check it on the terminal";

// ---------------------------------------------------------------- one request and its answer

/** Where the terminal is, and how long to wait for it. Everything has a default. */
export interface ExchangeOptions {
  /** Address or DNS name of the terminal. Default: 127.0.0.1. */
  host?: string;
  /** TCP port of the terminal. Default: 8888. (1)(2)(3) */
  port?: number;
  /** Seconds to wait for the answer. Default: 180: a card payment takes a person 10 to 60 s. (1) */
  timeout?: number;
  /**
   * Milliseconds without a byte after which whole fields are taken as the answer, and ten times
   * that while it lacks something: terminals split one over several segments, also between two
   * fields. (5) Default: 100 (our choice).
   */
  settle?: number;
  /** Gives up: an {@linkcode ExchangeError} whose cause is the signal's reason. */
  signal?: AbortSignal;
  /**
   * Receives what is sent and received, at the moment it is, by default nobody. What it throws goes
   * to the runtime as uncaught.
   */
  log?: Log;
}

/** A function that takes note of a message. */
export type Log = (direction: "sent" | "received", raw: string, message: Message) => void;

/** Most seconds to wait for a connection (our choice: in a shop it takes milliseconds). */
const CONNECT_TIMEOUT = 10;
/** Most seconds that an answer can be waited for (our choice: a day). */
const MAX_TIMEOUT = 86_400;

/**
 * Sends a request to a terminal and waits for its answer.
 *
 * It reads until the answer is whole. An AE 11 to a request without BA 1 is not: the final answer
 * comes later on the same connection. (4)
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
  const { host = "127.0.0.1", signal } = options;
  const port = inRange("port", options.port ?? 8888, 1, 65535, "a whole number");
  const timeout = inRange("timeout", options.timeout ?? 180, 0.001, MAX_TIMEOUT);
  const settle = inRange("settle", options.settle ?? 100, 0, MAX_TIMEOUT * 1000);
  const log: Log = (...args) => callBack(() => options.log?.(...args));
  const raw = encodeText(request);
  if (raw === "") throw new ProtocolError("expected a request, got no tag");

  const where = `${host} port ${port}`;
  const socket = net.connect({ host, port, noDelay: true });
  // Whatever ends the wait does so as an error of the socket: the network, a timeout or the signal.
  const stop = (why: string, cause?: unknown): unknown => socket.destroy(new Error(why, { cause }));
  const onAbort = (): unknown => stop("given up", signal?.reason);
  const patience = Math.min(timeout, CONNECT_TIMEOUT);
  let timer = setTimeout(stop, patience * 1000, `no connection within ${patience} s`);
  try {
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort);
    await once(socket, "connect").catch((error) => {
      const why = CONNECT_ERRORS[error.code] ?? error.message;
      const check = signal?.aborted ? "" : `; ${CHECK_SETTINGS}`;
      const message = `cannot reach the terminal at ${where}: ${why}${check}`;
      throw new ExchangeError("unreachable", message, request, undefined, error.cause ?? error);
    });
    clearTimeout(timer);
    timer = setTimeout(stop, timeout * 1000, `no answer from ${where} within ${timeout} s`);
    const answer = receive(socket, request, settle, log);
    socket.write(raw, "latin1");
    log("sent", raw, request);
    return await answer;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    socket.removeAllListeners().on("error", () => {}).destroy();
  }
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
  settle: number,
  log: Log,
): Promise<Message> {
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const reader = new MessageReader();
  let interim: Message | undefined; // AE 11: the final answer is yet to come
  let settled: ReturnType<typeof setTimeout> | undefined;

  const take = ({ raw, message, repeated, error }: Received): void => {
    log("received", raw, message);
    const problem = error?.message ?? (repeated && `tag ${repeated.tag} is there twice`);
    if (problem) reject(new ExchangeError("invalid", problem, request, message, error));
    else if (message["AE"] === "11" && request["BA"] !== "1") interim = message;
    else if (interim && message["AE"] === undefined) return; // the rest of it
    else resolve(message);
  };
  /** No more is to come: what is there is the answer, or there is none. */
  const finish = (why: string, cause?: unknown): void => {
    if (reader.state === "whole" && isComplete(request, reader.fields)) take(reader.take());
    const partly = reader.state === "empty" ? undefined : reader.take();
    if (partly) log("received", partly.raw, partly.message);
    const after = partly ? `a part of an answer, "${printable(partly.raw)}"` : interim && "AE 11";
    const message = why + (after ? ` after ${after}` : "");
    reject(new ExchangeError("unanswered", message, request, partly?.message ?? interim, cause));
  };
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    clearTimeout(settled);
    for (const received of reader.feed(chunk)) take(received);
    if (reader.state !== "whole" || !reader.fields.some(({ tag }) => tag === "AE")) return;
    const pause = isComplete(request, reader.fields) ? settle : settle * 10;
    settled = setTimeout(() => take(reader.take()), pause);
  });
  socket.on("end", () => {
    if (reader.state === "whole") take(reader.take());
    const nothing = reader.state === "empty" && !interim;
    finish(`the terminal closed the connection${nothing ? " without an answer" : ""}`);
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    const why = error.code ? `the connection was lost (${error.code})` : error.message;
    finish(why, error.cause ?? error);
  });
  try {
    return await promise;
  } finally {
    clearTimeout(settled);
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
  const currency = await findCurrency(options.currency ?? "EUR");
  const request = buildRequest(options, currency);
  const answer = await exchange(request, options);
  const milliseconds = Math.round(performance.now() - started);
  const verdict = interpret(request, answer);
  if (verdict.status === "invalid") {
    throw new ExchangeError("invalid", verdict.error, request, answer);
  }
  const receipts = decodeReceipts(answer["ZT"] ?? "");
  return {
    ...verdict,
    request,
    answer,
    ...amounts(request, verdict.status === "approved" ? answer : request, currency),
    ...(receipts.length > 0 && { receipts }),
    milliseconds,
  };
}

/** The amount of a message as decimal text, if the request has one in that currency. */
function amounts(
  request: Message,
  told: Message,
  { number, decimals, name }: Currency,
): Pick<PaymentResult, "amount" | "asked" | "currency"> {
  const units = request["CB"] ?? "";
  if (request["CE"] !== number || !/^\d+$/.test(units)) return {};
  const asked = toDecimal(units, decimals);
  const amount = toDecimal(told["CB"] ?? units, decimals);
  return { amount, currency: name, ...(asked === amount ? {} : { asked }) };
}

/** The request, in the order of the reference client (1); a receipt is asked for by CK. (2)(3) */
function buildRequest(options: PaymentOptions, currency: Currency): Message {
  if (options.amount !== undefined && typeof options.amount !== "string") {
    throw new OptionError("amount", 'text such as "112.45"', options.amount);
  }
  const negative = options.amount?.startsWith("-") ?? false;
  const action = findAction(options.action ?? (negative ? "credit" : "debit"));
  const money = ACTIONS.get(action)?.money ?? false;
  if (negative && action !== "1") {
    throw new OptionError("amount", "no sign with an action other than credit", options.amount);
  }
  const request: Message = { CZ: "0300", CJ: "012345678901", CA: "01" };
  if (money) request["CE"] = currency.number;
  if (money || options.immediate) request["BA"] = options.immediate ? "1" : "0";
  request["CD"] = action;
  if (options.check) request["CC"] = "00C";
  if (money) request["CB"] = amountField(options.amount, currency);
  else if (options.amount !== undefined) {
    throw new OptionError(
      "amount",
      `none with an action without money (CD ${action})`,
      options.amount,
    );
  }
  if (options.receipt) request["CK"] = "100";
  const tagged = { ...request, ...options.tags };
  for (const [tag, value] of Object.entries(tagged)) if (value === "") delete tagged[tag];
  return tagged;
}

function findAction(action: string): string {
  const code = ACTION_WORDS.get(action.toLowerCase()) ?? action.toUpperCase();
  if (/^[0-9A-Z]$/.test(code)) return code;
  const words = [...ACTION_WORDS.keys()];
  throw new OptionError("action", `one of ${words.join(", ")}, or a value of CD`, action, words);
}

/** CB: at least 2 digits, no sign. (1) */
function amountField(amount: string | undefined, currency: Currency): string {
  if (amount === undefined) throw new OptionError("amount", "an amount such as 112.45", amount);
  const units = toMinorUnits(amount, currency.decimals).replace("-", "");
  if (units === "0") throw new OptionError("amount", "an amount other than zero", amount);
  return units.padStart(2, "0");
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

/** EUR needs no package; the others are looked up in one that is loaded only then. */
async function findCurrency(text: string): Promise<Currency> {
  const name = text.toUpperCase();
  if (name === "EUR") return EUR;
  const [, number, decimals] = /^(\d{3}):(\d)$/.exec(name) ?? [];
  if (number !== undefined) return { name: number, number, decimals: Number(decimals) };
  const instead = "its ISO 4217 number and decimals, such as 933:2";
  if (!/^[A-Z]{3}$/.test(name)) {
    throw new OptionError("currency", `three letters of ISO 4217, or ${instead}`, text);
  }
  for (const [number, { Code, Fraction }] of Object.entries(await loadCurrencies(name))) {
    if (Code === name) return { name, number, decimals: Number(Fraction) }; // "" for none
  }
  throw new OptionError("currency", `one that the package iso4217 has, or ${instead}`, text);
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

// ---------------------------------------------------------------- the command

const HELP = `A point of sale that pays on a card payment terminal over Caisse-AP over IP
(Concert V3).

usage: client.ts [options]

Where the terminal is:
  -d,  --destination HOST   address or DNS name (127.0.0.1)
  -p,  --port PORT          TCP port (8888)
       --timeout SECONDS    how long to wait for the answer (180)
       --settle MS          pause after which whole fields are an answer (100)

What it is asked for:
  -a,  --amount AMOUNT      decimal, a dot before the decimals; negative for a
                            refund (112.45)
  -c,  --currency CURRENCY  ISO 4217 letters, or number:decimals such as 933:2
                            (EUR)
  -ck, --check              pay by cheque
       --action ACTION      debit, credit, cancel, duplicate, identify, or the
                            value of CD (debit)
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

const EXIT = {
  approved: 0,
  accepted: 0,
  declined: 1,
  unreachable: 3,
  unanswered: 4,
  invalid: 5,
} as const;

/** What the command was asked to do. */
interface Command {
  payment: PaymentOptions;
  json: boolean;
}

const OPTIONS = {
  "destination": { type: "string", short: "d", default: "127.0.0.1" },
  "port": { type: "string", short: "p", default: "8888" },
  "amount": { type: "string", short: "a" },
  "currency": { type: "string", short: "c", default: "EUR" },
  "check": { type: "boolean", default: false },
  "action": { type: "string" },
  "receipt": { type: "boolean", default: false },
  "immediate": { type: "boolean", default: false },
  "tag": { type: "string", multiple: true, default: [] as string[] },
  "timeout": { type: "string", default: "180" },
  "settle": { type: "string", default: "100" },
  "json": { type: "boolean", default: false },
  "log-level": { type: "string", short: "l", default: "info" },
  "help": { type: "boolean", short: "h", default: false },
  "version": { type: "boolean", default: false },
} as const;

/** Turns arguments into the options of a payment, or into the text that is asked for instead. */
function readArguments(args: string[]): Command | string {
  const { values } = parseArgs({
    args: joinNegativeAmount(args.map((arg) => (arg === "-ck" ? "--check" : arg))),
    options: OPTIONS,
  });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  if (/^[^:]*:\d+$|\//.test(values.destination)) {
    throw new OptionError(
      "destination",
      "a host alone (--port is for the port)",
      values.destination,
    );
  }
  const level = oneOf("log-level", LOG_LEVELS, values["log-level"]);
  const payment: PaymentOptions = {
    host: values.destination,
    port: parseNumber("port", values.port),
    currency: values.currency,
    check: values.check,
    receipt: values.receipt,
    immediate: values.immediate,
    tags: Object.fromEntries(values.tag.map(readTag)),
    timeout: parseNumber("timeout", values.timeout),
    settle: parseNumber("settle", values.settle),
  };
  if (values.action !== undefined) payment.action = values.action;
  const money = ACTIONS.get(findAction(values.action ?? "debit"))?.money;
  const amount = values.amount ?? (money ? "112.45" : undefined);
  if (amount !== undefined) payment.amount = amount;
  if (level === "debug" || level === "info") {
    payment.log = (direction, raw, message) => {
      const text = `${direction}: ${printable(raw)}\n${describe(message)}\n`;
      print(process.stderr, process.stderr.isTTY ? CLEAR_LINE + text : text);
    };
  }
  return { payment, json: values.json };
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

/** A result in one line. */
function summary(
  { status, request, answer, failure, amount, asked, currency }: PaymentResult,
): string {
  const code = request["CD"];
  const action = code === "0" ? "" : ` ${termText("CD", request) ?? `action ${code ?? "unknown"}`}`;
  const money = amount === undefined ? "" : ` ${amount} ${currency}`;
  const what = `${status.toUpperCase()}${action}${money}`;
  if (failure) {
    const reason = failure.code === "" ? "no AF" : `AF ${failure.code}`;
    return `${what}: ${inWords(failure)}, ${reason}${failure.detail && `, ${failure.detail}`}`;
  }
  if (status === "accepted") {
    return `${what}: the terminal has taken it into account and does not tell the outcome`;
  }
  const part = (text: string, value: string | undefined): string =>
    value ? `, ${text}${value}` : "";
  const application = termText("CC", answer) ?? answer["CC"];
  const card = part("card ", answer["AA"]) + part("authorisation ", answer["AC"]);
  return what + (asked ? ` of ${asked}` : "") + part("", application) + card;
}

/**
 * Prints, whether anybody reads it or not: the exit status must tell the outcome all the same. Deno
 * and Bun throw when nobody reads any more, Node emits an error.
 */
function print(stream: NodeJS.WriteStream, text: string): void {
  if (stream.listenerCount("error") === 0) stream.on("error", () => {});
  try {
    stream.write(text);
  } catch { /* see above */ }
}

/** What takes the seconds off the screen. */
const CLEAR_LINE = "\r\x1b[K";

/** Shows on a screen the seconds that the terminal takes, until called again. */
function showSeconds(): () => void {
  if (!process.stderr.isTTY) return () => {};
  const started = performance.now();
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - started) / 1000);
    print(process.stderr, `\rwaiting for the terminal, ${seconds} s`);
  }, 1000);
  return () => {
    clearInterval(timer);
    print(process.stderr, CLEAR_LINE);
  };
}

function printResult(result: PaymentResult): void {
  for (const { text } of result.receipts ?? []) {
    print(process.stdout, `${printableLines(text)}\n`);
  }
  const line = printable(summary(result));
  const colour = result.status === "declined" ? "red" : "green";
  // Not left to styleText: to know whether the screen has colours it reads the environment, and
  // Deno would ask for that.
  const shown = process.stdout.isTTY ? styleText(colour, line, { validateStream: false }) : line;
  print(process.stdout, `${shown}\n`);
}

/** Pays, and prints what came of it. */
async function execute({ payment, json }: Command): Promise<keyof typeof EXIT> {
  const interrupt = new AbortController();
  const onInterrupt = (): void => interrupt.abort();
  process.once("SIGINT", onInterrupt);
  const hideSeconds = showSeconds();
  const started = performance.now();
  try {
    const result = await pay({ ...payment, signal: interrupt.signal });
    hideSeconds();
    if (json) print(process.stdout, jsonLine(result));
    else printResult(result);
    return result.status;
  } catch (error) {
    hideSeconds();
    if (!(error instanceof ExchangeError)) throw error;
    const { message, status, request, answer } = error;
    print(process.stderr, `client.ts: ${message}\n`);
    const money = amounts(request, request, await findCurrency(payment.currency ?? "EUR"));
    const milliseconds = Math.round(performance.now() - started);
    const result = { status, request, answer, ...money, milliseconds, error: message };
    if (json) print(process.stdout, jsonLine(result));
    return status;
  } finally {
    process.off("SIGINT", onInterrupt);
  }
}

/** The command; its exit statuses are in the help. */
async function main(): Promise<void> {
  try {
    const command = readArguments(process.argv.slice(2));
    if (typeof command === "string") print(process.stdout, command);
    else process.exitCode = EXIT[await execute(command)];
  } catch (error) {
    const message = argumentError(error, Object.keys(OPTIONS));
    if (message === undefined) throw error;
    print(process.stderr, `client.ts: ${message}\n`);
    process.exitCode = 2;
  }
}

if (import.meta.main) main();
