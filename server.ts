// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A simulated French card payment terminal that speaks Caisse-AP over IP ("Concert V3"), as a command and as a
 * library. The facts of the protocol and where they come from are in protocol.ts; a number in brackets is a source
 * named there.
 *
 * ```sh
 * deno run --allow-net server.ts --help
 * ```
 *
 * @example In a test suite: a terminal on a free port
 * ```ts
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1", outcome: "refused", duration: 0 });
 * console.log(`the POS under test pays on port ${terminal.port}`);
 * ```
 *
 * @module
 */
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  ACTIONS,
  argumentError,
  describe,
  encode,
  foreignProtocol,
  inRange,
  latin1,
  mandatoryTags,
  type Message,
  MessageReader,
  oneOf,
  OptionError,
  parseNumber,
  printable,
  type Received,
} from "./protocol.ts";

// ---------------------------------------------------------------- options

/** How much a log tells, from all to little. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = typeof LOG_LEVELS[number];

/** How a transaction ends. */
export const OUTCOMES = ["success", "abandon", "timeout", "refused", "forbidden"] as const;
/** One of {@linkcode OUTCOMES}. */
export type Outcome = typeof OUTCOMES[number];

/** AF for each outcome that is a failure. (1) */
const FAILURE_OF: Readonly<Partial<Record<Outcome, string>>> = {
  abandon: "11",
  timeout: "08",
  refused: "04",
  forbidden: "05",
};

/** The card that a simulated person holds, and how the terminal reads it. */
export type Card = "cbcontact" | "cbcontactless" | "amexcontact" | "amexcontactless";

/** CC, CI (1) and AI for each card: the AID of CB (2)(6) and of American Express (7). */
const CARDS: Readonly<Record<Card, { CC: string; CI: string; AI: string }>> = {
  cbcontact: { CC: "001", CI: "1", AI: "A0000000421010" },
  cbcontactless: { CC: "00B", CI: "2", AI: "A0000000421010" },
  amexcontact: { CC: "002", CI: "1", AI: "A00000002501" },
  amexcontactless: { CC: "00D", CI: "2", AI: "A00000002501" },
};
const CARD_NAMES = Object.keys(CARDS) as Card[];

/** What a terminal does. Everything has a default. */
export interface TerminalOptions {
  /** Address or name to listen on. Default: every interface. */
  host?: string;
  /** TCP port; 0 takes a free one, see {@linkcode Terminal.port}. Default: 8888. (1) */
  port?: number;
  /** How every transaction ends. Default: success. */
  outcome?: Outcome;
  /** The card that pays. Default: cbcontact. */
  card?: Card;
  /** Seconds from the last byte of a request to the answer, decimals allowed. Not used when BA is 1. Default: 3. (1) */
  duration?: number;
  /** CG, the merchant contract number, 1 to 10 characters. Default: 424242. (1) */
  sellerContract?: string;
  /**
   * Milliseconds without a byte after which whole fields are taken as a request. Default: 20 (our choice: far more than
   * the pause between two segments of one write, far less than a person notices).
   */
  settle?: number;
  /**
   * Milliseconds from its first byte that a request may take to come whole; then it is answered as malformed and the
   * connection closed. Default: 10,000 (our choice: POS send it in one write).
   */
  requestTimeout?: number;
  /** Receives the log, by default nobody. */
  log?: (level: LogLevel, text: string) => void;
  /** The least level that is given to `log`. Default: info. */
  logLevel?: LogLevel;
}

/** Most seconds that an answer can be put off (our choice: a day; no POS waits that long). */
const MAX_DURATION = 86_400;
/** Milliseconds that whole fields without all mandatory tags wait for the rest (our choice). */
const PATIENCE = 300;
/** Most milliseconds that a request can be waited for (our choice: an hour). */
const MAX_REQUEST_TIMEOUT = 3_600_000;
/** Milliseconds that a peer has to close its side after this one closed the connection (our choice). */
const CLOSE_TIMEOUT = 1_000;
/** Requests of one connection that may wait for an answer before no more are read (our choice: POS send one). */
const MAX_WAITING = 100;

type Settings = Required<TerminalOptions>;

/** The options with their defaults, each held against what it may be. */
function settings(options: TerminalOptions): Settings {
  const contract = options.sellerContract ?? "424242";
  if (!/^[\x20-\xff]{1,10}$/.test(contract)) {
    throw new OptionError("sellerContract", "1 to 10 characters of Latin-1", contract);
  }
  return {
    host: options.host ?? "",
    port: inRange("port", options.port ?? 8888, 0, 65535, "a whole number"),
    outcome: oneOf("outcome", OUTCOMES, options.outcome ?? "success"),
    card: oneOf("card", CARD_NAMES, options.card ?? "cbcontact"),
    duration: inRange("duration", options.duration ?? 3, 0, MAX_DURATION),
    sellerContract: contract,
    settle: inRange("settle", options.settle ?? 20, 0, MAX_REQUEST_TIMEOUT),
    requestTimeout: inRange(
      "requestTimeout",
      options.requestTimeout ?? 10_000,
      1,
      MAX_REQUEST_TIMEOUT,
    ),
    log: options.log ?? (() => {}),
    logLevel: oneOf("logLevel", LOG_LEVELS, options.logLevel ?? "info"),
  };
}

// ---------------------------------------------------------------- what a terminal answers

/** An answer, and the seconds after the request when it is due. */
interface Reply {
  message: Message;
  wait: number;
  /** Why the request could not be served, for the log. */
  problem?: string;
}

/** Decides on the answer to a request. */
function reply({ message: request, error }: Received, settings: Settings): Reply {
  const missing = mandatoryTags(request["CD"]).filter((tag) => !request[tag]);
  const action = ACTIONS.get(request["CD"] ?? "");
  if (error) return refusal(request, "09", `malformed request, ${error.message}`);
  if (missing.length > 0) {
    return refusal(request, "09", `mandatory tags missing: ${missing.join(", ")}`);
  }
  if (!action) return refusal(request, "12", `unknown action ${request["CD"]}`);
  if (request["CD"] === "I") {
    const { CB: _amount, CE: _currency, ...others } = given(request);
    return { message: { ...others, AE: "10" }, wait: 0 };
  }
  if (request["BA"] === "1") return { message: { ...given(request), AE: "11" }, wait: 0 };
  return {
    message: { ...given(request), ...result(request, action.money, settings) },
    wait: settings.duration,
  };
}

function refusal(request: Message, failure: string, problem: string): Reply {
  return { message: { ...given(request), AE: "01", AF: failure }, wait: 0, problem };
}

/**
 * The fields of a request that its answer gives back, in their order (1). Not those without a value, which a
 * terminal leaves out (2)(6), nor AE and AF, which are the terminal's to say.
 */
function given(request: Message): Message {
  const fields = Object.entries(request).filter(([tag, value]) =>
    value && tag !== "AE" && tag !== "AF"
  );
  return Object.fromEntries(fields);
}

/** The fields that tell how a transaction ended. */
function result(
  request: Message,
  money: boolean,
  { outcome, card, sellerContract }: Settings,
): Message {
  const cheque = request["CC"] === "00C";
  const failure = FAILURE_OF[outcome];
  // For cheques an Ingenico answers AF 04 whatever the reason, and no card data on success. (1)
  if (failure) return { AE: "01", AF: cheque ? "04" : failure };
  if (cheque || !money) return { AE: "10" };
  const { CC, CI, AI } = CARDS[card];
  const expiry = `${new Date().getFullYear() + 1}`.slice(2) +
    String(1 + Math.floor(Math.random() * 12)).padStart(2, "0");
  return {
    AE: "10",
    CC,
    CI,
    AC: randomDigits(6),
    AA: `${randomDigits(6)}######${randomDigits(4)}`,
    AI,
    AB: expiry,
    CF: request["CF"] || "1010000000",
    CG: sellerContract,
  };
}

function randomDigits(count: number): string {
  return Array.from({ length: count }, () => Math.floor(Math.random() * 10)).join("");
}

// ---------------------------------------------------------------- one connection

type Log = (level: LogLevel, text: () => string) => void;

/**
 * The conversation with one POS: cuts what it sends into requests, and answers them in order, each when it is due.
 * A request that waits for its answer keeps no other from being read and timed.
 */
class Connection {
  readonly #socket: net.Socket;
  readonly #settings: Settings;
  readonly #log: Log;
  readonly #reader = new MessageReader();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>(); // of answers that are not due yet
  #settled: ReturnType<typeof setTimeout> | undefined; // the request is whole if nothing comes until then
  #overdue: ReturnType<typeof setTimeout> | undefined; // the request has taken too long by then
  #arrived = 0; // when its last byte came
  #waiting = 0; // requests without their answer
  #lastAnswer: Promise<void> = Promise.resolve();
  #ended = false; // the POS sends no more

  constructor(socket: net.Socket, settings: Settings, log: Log) {
    this.#socket = socket;
    this.#settings = settings;
    this.#log = log;
    log("debug", () => `connected from ${socket.remoteAddress} port ${socket.remotePort}`);
    socket.on("data", (chunk: Uint8Array) => this.#read(chunk));
    socket.on("end", () => this.#end());
    socket.on("error", (error) => log("debug", () => `connection lost: ${error.message}`));
    socket.on("close", () => this.#close());
  }

  #read(chunk: Uint8Array): void {
    this.#arrived = performance.now();
    for (const received of this.#reader.feed(chunk)) this.#serve(received);
    clearTimeout(this.#settled);
    const { state } = this.#reader;
    if (state !== "whole" && state !== "incomplete") return;
    this.#overdue ??= setTimeout(
      () => this.#serve(this.#reader.take()),
      this.#settings.requestTimeout,
    );
    if (state === "incomplete") return;
    if (!this.#hasMandatoryTags()) this.#takeAfter(PATIENCE);
    else if (this.#settings.settle > 0) this.#takeAfter(this.#settings.settle);
    else this.#serve(this.#reader.take());
  }

  #takeAfter(milliseconds: number): void {
    this.#settled = setTimeout(() => this.#serve(this.#reader.take()), milliseconds);
  }

  #hasMandatoryTags(): boolean {
    const { fields } = this.#reader;
    const action = fields.find(({ tag }) => tag === "CD")?.value;
    return mandatoryTags(action).every((mandatory) =>
      fields.some(({ tag, value }) => tag === mandatory && value)
    );
  }

  /** Answers a request when its answer is due and the earlier ones are out. */
  #serve(received: Received): void {
    clearTimeout(this.#settled);
    clearTimeout(this.#overdue);
    this.#overdue = undefined;
    const { message, wait, problem } = reply(received, this.#settings);
    this.#log("info", () => `received: ${told(received.raw, received.message)}`);
    if (problem) this.#log("warn", () => printable(problem) + hint(received.raw));
    if (++this.#waiting >= MAX_WAITING) this.#socket.pause();
    const due = this.#due(wait);
    const earlier = this.#lastAnswer;
    this.#lastAnswer = (async () => {
      await due;
      await earlier;
      this.#write(message);
      if (received.error) this.#hangUp();
      if (--this.#waiting === 0 && this.#ended) this.#hangUp();
      if (this.#socket.isPaused()) this.#socket.resume();
    })();
  }

  /** Resolves so many seconds after the last byte of the request; never once the connection is closed. */
  #due(seconds: number): Promise<void> {
    const left = Math.ceil(seconds * 1000 - (performance.now() - this.#arrived));
    if (left <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        resolve();
      }, left);
      this.#timers.add(timer);
    });
  }

  #write(answer: Message): void {
    if (!this.#socket.writable) return;
    const bytes = encode(answer);
    this.#socket.write(bytes);
    this.#log("info", () => `sent: ${told(latin1(bytes), answer)}`);
  }

  /** The POS has closed its side: what it sent is all. It still gets its answers. */
  #end(): void {
    this.#ended = true;
    const { state } = this.#reader;
    if (state === "whole" || state === "incomplete") this.#serve(this.#reader.take());
    else if (this.#waiting === 0) this.#hangUp();
  }

  /** Closes the connection once all answers are sent. Not at once: unread bytes would make that a reset. */
  #hangUp(): void {
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT);
    this.#timers.add(timer);
  }

  #close(): void {
    clearTimeout(this.#settled);
    clearTimeout(this.#overdue);
    for (const timer of this.#timers) clearTimeout(timer);
    const unanswered = this.#waiting > 0 ? `, ${this.#waiting} without an answer` : "";
    this.#log("debug", () => `closed${unanswered}`);
  }
}

function told(raw: string, message: Message): string {
  const fields = describe(message);
  return printable(raw) + (fields && "\n" + fields);
}

function hint(raw: string): string {
  const other = foreignProtocol(raw);
  return other ? `; this looks like ${other}` : "";
}

// ---------------------------------------------------------------- the terminal

/** A terminal that is running. */
export interface Terminal extends AsyncDisposable {
  /** The address it listens on; "::" or "0.0.0.0" is every interface. */
  readonly host: string;
  /** The TCP port it listens on. */
  readonly port: number;
  /** Stops it: no more connections, those that are there are closed without waiting for answers. */
  close(): Promise<void>;
}

/** A terminal cannot listen. The message names host and port and says why, `cause` is the error of the system. */
export class ListenError extends Error {
  /** @ignore */
  override name = "ListenError";
}

/**
 * Starts a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ListenError} It cannot listen there.
 * @example
 * ```ts
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1" });
 * if (terminal.port === 0) throw new Error("not as expected");
 * ```
 */
export async function startTerminal(options: TerminalOptions = {}): Promise<Terminal> {
  const set = settings(options);
  const least = LOG_LEVELS.indexOf(set.logLevel);
  const log: Log = (level, text) => {
    if (LOG_LEVELS.indexOf(level) >= least) set.log(level, text());
  };
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const name = `#${++accepted} `;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    new Connection(socket, set, (level, text) => log(level, () => name + text()));
  });
  const { address, port } = await listen(server, set);
  log("info", () => `listening on ${everywhere(address)} port ${port}, ${mode(set)}`);

  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    closed ??= new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  return { host: address, port, close, [Symbol.asyncDispose]: close };
}

async function listen(server: net.Server, { host, port }: Settings): Promise<net.AddressInfo> {
  try {
    // Without a host the system's every-interface address is taken, IPv6 and IPv4 where it has both.
    server.listen(host ? { port, host } : { port });
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const where = `${host ? `host ${host}` : "every interface"}, port ${port}`;
    const why = LISTEN_ERRORS[code ?? ""] ?? message;
    throw new ListenError(`cannot listen on ${where}: ${why}`, { cause });
  }
  return server.address() as net.AddressInfo;
}

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use by another program",
  EADDRNOTAVAIL: "this machine has no such address",
  EINVAL: "this machine has no such address", // what Deno says for EADDRNOTAVAIL
  ENOTFOUND: "there is no host of that name",
  EACCES: "not permitted; ports below 1024 are reserved",
};

function everywhere(address: string): string {
  return address === "::" || address === "0.0.0.0" ? "every interface," : address;
}

function mode({ outcome, card, duration }: Settings): string {
  const result = outcome === "success" ? `success mode (${card})` : `failure mode (${outcome})`;
  return `${result}, answers after ${duration} s`;
}

// ---------------------------------------------------------------- the command

const HELP = `A card payment terminal that speaks Caisse-AP over IP (Concert V3).

usage: server.ts [options]

  -p,  --port PORT               TCP port, 0 for a free one (8888)
       --host HOST               address or name to listen on (every interface)
  -f,  --failure                 every payment fails
  -ft, --failure-type TYPE       how, with -f: abandon, timeout, refused or forbidden (abandon)
  -d,  --duration SECONDS        from the request to the answer (3)
  -pt, --payment-type TYPE       cbcontact, cbcontactless, amexcontact or amexcontactless (cbcontact)
  -sc, --seller-contract NUMBER  the merchant contract number, CG (424242)
       --settle MS               pause after which whole fields are a request (20)
  -l,  --log-level LEVEL         debug, info, warn or error (info)
  -h,  --help                    this text
`;

/** The short options of two letters, which parseArgs would read as two options. */
const TWO_LETTERS: Readonly<Record<string, string>> = {
  "-ft": "--failure-type",
  "-pt": "--payment-type",
  "-sc": "--seller-contract",
};

/** Turns arguments into the options of a terminal; undefined when only help is asked for. */
function readArguments(args: string[]): TerminalOptions | undefined {
  const { values } = parseArgs({
    args: args.map((arg) => TWO_LETTERS[arg] ?? arg),
    options: {
      "port": { type: "string", short: "p", default: "8888" },
      "host": { type: "string" },
      "failure": { type: "boolean", short: "f", default: false },
      "failure-type": { type: "string" },
      "duration": { type: "string", short: "d", default: "3" },
      "payment-type": { type: "string", default: "cbcontact" },
      "seller-contract": { type: "string", default: "424242" },
      "settle": { type: "string", default: "20" },
      "log-level": { type: "string", short: "l", default: "info" },
      "help": { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  const [, ...failures] = OUTCOMES;
  const failure = oneOf("failure-type", failures, values["failure-type"] ?? "abandon");
  const level = oneOf("log-level", LOG_LEVELS, values["log-level"]);
  const options: TerminalOptions = {
    port: parseNumber("port", values.port),
    outcome: values.failure ? failure : "success",
    card: oneOf("payment-type", CARD_NAMES, values["payment-type"]),
    duration: parseNumber("duration", values.duration),
    sellerContract: values["seller-contract"],
    settle: parseNumber("settle", values.settle),
    logLevel: level,
    log: logToStderr,
  };
  if (values.host !== undefined) options.host = values.host;
  if (values["failure-type"] !== undefined && !values.failure && level !== "error") {
    logToStderr("warn", "--failure-type is ignored without --failure");
  }
  return options;
}

function logToStderr(level: LogLevel, text: string): void {
  const now = new Date();
  const time = `${now.toTimeString().slice(0, 8)}.${
    String(now.getMilliseconds()).padStart(3, "0")
  }`;
  process.stderr.write(`${time} ${level.padEnd(5)} ${text}\n`);
}

/** The command: exit status 0 when stopped by a signal, 1 when it cannot listen, 2 for wrong arguments. */
async function main(): Promise<void> {
  try {
    const options = readArguments(process.argv.slice(2));
    if (!options) return void process.stdout.write(HELP);
    const starting = startTerminal(options);
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.once(signal, async () => {
        await (await starting).close();
        process.exit(0);
      });
    }
    await starting;
  } catch (error) {
    const unable = error instanceof ListenError ? error.message : undefined;
    const message = unable ?? argumentError(error);
    if (message === undefined) throw error;
    process.stderr.write(`server.ts: ${message}\n`);
    process.exitCode = unable ? 1 : 2;
  }
}

if (import.meta.main) await main();
