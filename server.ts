// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A simulated French card payment terminal that speaks Caisse-AP over IP ("Concert V3"), as a
 * command and as a library. The facts of the protocol and where they come from are in protocol.ts;
 * a number in brackets is a source named there.
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
import { parseArgs, styleText } from "node:util";
import {
  ACTIONS,
  argumentError,
  callBack,
  decodeReceipts,
  describe,
  deviations,
  encodeReceipt,
  encodeText,
  inRange,
  jsonLine,
  LOG_LEVELS,
  type LogLevel,
  meaning,
  type Message,
  MessageReader,
  missingTags,
  moneyText,
  oneOf,
  OptionError,
  parseNumber,
  printable,
  printableLines,
  type Received,
  VERSION,
  wantedReceipt,
} from "./protocol.ts";

// ---------------------------------------------------------------- outcomes

/** Most seconds that an answer can be put off (our choice: a day; no POS waits that long). */
const MAX_DURATION = 86_400;

/** AF for each word that ends a transaction, "" for success. (1) */
const ENDINGS: ReadonlyMap<string, string> = new Map([
  ["success", ""],
  ["abandon", "11"],
  ["timeout", "08"],
  ["refused", "04"],
  ["forbidden", "05"],
]);

/** The card that a simulated person holds, and how it is read. */
export type Card =
  | "cbcontact"
  | "cbcontactless"
  | "amexcontact"
  | "amexcontactless"
  | "conecscontact"
  | "conecscontactless"
  | "ancv";

/** What a card puts into an answer, and what a receipt says of it. */
interface CardData {
  CC: string;
  CI?: string;
  AI?: string;
  scheme: string;
  label: string;
}

const CB = { AI: "A0000000421010", scheme: "CARTE BANCAIRE", label: "CB" }; // (2)(6)
const AMEX = { AI: "A00000002501", scheme: "AMERICAN EXPRESS", label: "AMEX" }; // (7)
const CONECS = { scheme: "CONECS", label: "TITRE RESTAURANT" };

/** The cards. (1)(2)(5) No source has an AID for vouchers, nor how those of ANCV are read. */
const CARDS: Readonly<Record<Card, CardData>> = {
  cbcontact: { CC: "001", CI: "1", ...CB },
  cbcontactless: { CC: "00B", CI: "2", ...CB },
  amexcontact: { CC: "002", CI: "1", ...AMEX },
  amexcontactless: { CC: "00D", CI: "2", ...AMEX },
  conecscontact: { CC: "00E", CI: "1", ...CONECS },
  conecscontactless: { CC: "10E", CI: "2", ...CONECS },
  ancv: { CC: "00V", scheme: "ANCV", label: "CHEQUE VACANCES" },
};
const CARD_NAMES = Object.keys(CARDS) as Card[];

/**
 * What goes wrong with an answer. It never comes, and the connection is kept until the POS closes
 * its side (silent); the connection is closed or reset instead; it is cut inside a field, then the
 * connection closed (truncate); bytes that are no message come instead (garbage); it comes in
 * segments, cut inside a tag, a length, a value and between two fields (split), or byte by byte
 * (dribble).
 */
export type Fault = "silent" | "close" | "reset" | "truncate" | "garbage" | "split" | "dribble";

/** What goes on the wire for an answer, and what becomes of the connection then. */
interface Transmission {
  /** Latin-1 text, each sent on its own. */
  segments: string[];
  /** Milliseconds between segments. */
  pause?: number;
  then?: "close" | "reset";
}

/** What each fault makes of an answer. Bytes and pauses are our choice. */
const FAULTS: Readonly<Record<Fault, (raw: string) => Transmission>> = {
  silent: () => ({ segments: [] }),
  close: () => ({ segments: [], then: "close" }),
  reset: () => ({ segments: [], then: "reset" }),
  truncate: (raw) => ({ segments: [raw.slice(0, -1)], then: "close" }),
  garbage: () => ({ segments: ["\x00\xff?!garbage\r\n"] }), // not even the start of a message
  split: (raw) => ({ segments: split(raw), pause: 50 }), // arrives apart, and before a POS gives up
  dribble: (raw) => ({ segments: [...raw], pause: 5 }), // takes about a second
};
const FAULT_NAMES = Object.keys(FAULTS) as Fault[];

/** Cuts a message inside a value and a length, before its last field and inside that one's tag. */
function split(raw: string): string[] {
  const reader = new MessageReader();
  reader.feed(raw);
  const { fields } = reader;
  const last = fields.at(-1)?.at ?? 0;
  const long = fields.find(({ value }) => value.length > 1)?.at ?? 0;
  const cuts = [0, long + 6, (fields.at(-2)?.at ?? 0) + 3, last, last + 1].sort((a, b) => a - b);
  return cuts.map((from, index) => raw.slice(from, cuts[index + 1])).filter((part) => part !== "");
}

/** How a transaction ends. Everything has a default: it is approved, with a contact CB card. */
export interface Outcome {
  /** AF, two digits, if it fails; "" for success. Default: success. */
  failure?: string;
  /** The card that pays. Default: cbcontact. */
  card?: Card;
  /** AE 11 first, the final answer after the delay, on the same connection. (4) */
  pending?: boolean;
  /** Seconds from request to answer, or a range to draw them from. Default: the terminal's. */
  delay?: number | readonly [min: number, max: number];
  /** What goes wrong with the answer. */
  fault?: Fault;
  /** Closes the connection after the answer, as some terminals do. (4) */
  hangup?: boolean;
  /** Tags of the answer to set; "" leaves one out. */
  tags?: Message;
}

/**
 * Reads an outcome from words separated by commas, at most one of each kind: how it ends (success,
 * abandon, timeout, refused, forbidden, or two digits of AF), which card, pending, delay=SECONDS or
 * delay=FROM..TO, a fault, hangup, and any number of TAG=VALUE. TAG= leaves the tag out; in a value
 * `\,` is a comma and `\\` a backslash.
 *
 * @param option What an error calls it.
 * @throws {OptionError} A word is none of these, or the second of its kind.
 * @throws {ProtocolError} A value cannot be sent.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseOutcome } from "./server.ts";
 *
 * const { failure, tags } = parseOutcome("abandon,CB=,delay=1..5"); // the red button of an Ingenico
 * assert.equal(failure, "11");
 * assert.equal(tags?.CB, "");
 * ```
 */
export function parseOutcome(text: string, option = "outcome"): Outcome {
  const outcome: Outcome = {};
  for (const word of text.split(UNESCAPED_COMMA)) {
    const [, tag, value = ""] = /^\s*([A-Z]{2})=(.*)$/s.exec(word) ?? [];
    const part = tag === undefined
      ? parseWord(word.trim().toLowerCase())
      : { tags: { ...outcome.tags, [tag]: value.replace(/\\([\\,])/g, "$1") } };
    if (!part) {
      const words = [...ENDINGS.keys(), ...CARD_NAMES, ...FAULT_NAMES, "pending", "hangup"];
      const others = "an AF code such as 07, delay=SECONDS, delay=FROM..TO, TAG=VALUE";
      const expected = `words from ${words.join(", ")}, ${others}`;
      throw new OptionError(option, expected, word.trim(), [...words, "delay="]);
    }
    const again = tag === undefined
      ? Object.keys(part).some((kind) => kind in outcome)
      : outcome.tags && tag in outcome.tags;
    if (again) {
      throw new OptionError(option, "at most one word of each kind, and \\, in values", text);
    }
    Object.assign(outcome, part);
  }
  return checkOutcome(outcome, option);
}

/** A comma that no backslash makes a part of a value. */
const UNESCAPED_COMMA = /(?<=(?<!\\)(?:\\\\)*),/;

/** What a word other than TAG=VALUE says of an outcome. */
function parseWord(word: string): Outcome | undefined {
  const failure = /^\d\d$/.test(word) ? word : ENDINGS.get(word);
  if (failure !== undefined) return { failure };
  const card = CARD_NAMES.find((card) => card === word);
  if (card) return { card };
  const fault = FAULT_NAMES.find((fault) => fault === word);
  if (fault) return { fault };
  if (word === "pending") return { pending: true };
  if (word === "hangup") return { hangup: true };
  const [, from, to] = /^delay=(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?$/.exec(word) ?? [];
  if (from === undefined) return undefined;
  return { delay: to === undefined ? Number(from) : [Number(from), Number(to)] };
}

/** Copies an outcome, if it is one: a program need not be type-checked. */
function checkOutcome(outcome: Outcome, option: string): Outcome {
  if (typeof outcome !== "object" || outcome === null) {
    throw new OptionError(option, "an outcome or the words for it", outcome);
  }
  const { failure = "", card = "cbcontact", delay = 0, fault = "silent", tags = {} } = outcome;
  const [unknown] = Object.keys(outcome).filter((key) => !OUTCOME_KEYS.includes(key));
  if (unknown !== undefined) {
    throw new OptionError(
      option,
      `an outcome of ${OUTCOME_KEYS.join(", ")}`,
      unknown,
      OUTCOME_KEYS,
    );
  }
  if (typeof failure !== "string" || !/^(\d\d)?$/.test(failure)) {
    throw new OptionError(option, "an AF code of two digits", failure);
  }
  if (!CARD_NAMES.includes(card)) {
    throw new OptionError(option, `one of ${CARD_NAMES.join(", ")}`, card);
  }
  if (!FAULT_NAMES.includes(fault)) {
    throw new OptionError(option, `one of ${FAULT_NAMES.join(", ")}`, fault);
  }
  const [min, max] = Array.isArray(delay) ? delay : [delay, delay];
  inRange(option, max, inRange(option, min, 0, MAX_DURATION), MAX_DURATION);
  encodeText(Object.fromEntries(Object.entries(tags).map(([tag, value]) => [tag, value || "-"])));
  return outcome.tags ? { ...outcome, tags: { ...tags } } : { ...outcome };
}

const OUTCOME_KEYS = ["failure", "card", "pending", "delay", "fault", "hangup", "tags"];

/**
 * An outcome in the words of {@linkcode parseOutcome}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { formatOutcome } from "./server.ts";
 *
 * assert.equal(formatOutcome({ failure: "04", fault: "split" }), "refused,split");
 * ```
 */
export function formatOutcome(outcome: Outcome): string {
  const { failure = "", card, pending, delay, fault, hangup, tags = {} } = outcome;
  const ending = [...ENDINGS].find(([, code]) => code === failure)?.[0] ?? failure;
  const words = [ending, card, pending && "pending"];
  if (delay !== undefined) {
    words.push(`delay=${typeof delay === "number" ? delay : delay.join("..")}`);
  }
  words.push(fault, hangup && "hangup");
  for (const [tag, value] of Object.entries(tags)) {
    words.push(`${tag}=${value.replace(/[\\,]/g, "\\$&")}`);
  }
  return words.filter((word) => word).join(",");
}

/** An outcome, or the words for it. */
export type OutcomeOrText = Outcome | string;

/** Decides how a transaction ends. `gone` is aborted when the POS has closed its side. */
export type Decide = (
  request: Message,
  number: number,
  gone: AbortSignal,
) => OutcomeOrText | Promise<OutcomeOrText>;

function toOutcome(outcome: OutcomeOrText, option = "outcome"): Outcome {
  return typeof outcome === "string"
    ? parseOutcome(outcome, option)
    : checkOutcome(outcome, option);
}

// ---------------------------------------------------------------- options

/**
 * What a terminal does. Everything has a default. An outcome comes from `when`, else `next`, else
 * `outcome`. An identification takes only the tags, the fault and the hangup of `outcome`.
 */
export interface TerminalOptions {
  /** Address or name to listen on. Default: every interface. */
  host?: string;
  /** TCP port; 0 takes a free one, see {@linkcode Terminal.port}. Default: 8888. (1)(2)(3) */
  port?: number;
  /** How a transaction ends. Default: success. */
  outcome?: OutcomeOrText | Decide;
  /** Outcomes for one transaction each, in order. */
  next?: readonly OutcomeOrText[];
  /** Outcomes by amount: CB without leading zeros, else "*" and most of its last digits. */
  when?: Readonly<Record<string, OutcomeOrText>>;
  /** Seconds from the last byte of a request to the answer; none after BA 1. Default: 3. (1) */
  duration?: number;
  /**
   * Does one thing at a time, like a real one: while a transaction is under way any other request
   * is answered at once AE 01 (3), AF 07 (our choice); on the same connection, in its turn.
   * Default: off, so that test suites run side by side.
   */
  exclusive?: boolean;
  /**
   * Answers AE 01, AF 09 to a request that deviates from the protocol, but for BF and tags and
   * values that are unknown. Default: off, it only warns.
   */
  strict?: boolean;
  /** CG, the merchant contract number, 1 to 10 characters. Default: 424242. (1) */
  sellerContract?: string;
  /**
   * Milliseconds without a byte after which whole fields are taken as a request. Default: 20 (our
   * choice: far more than the pause between two segments of one write, far less than a person
   * notices).
   */
  settle?: number;
  /**
   * Milliseconds from its first byte that a request may take; then what is there is taken as one,
   * answered, and the connection closed. Default: 10,000 (our choice: POS send it in one write).
   */
  requestTimeout?: number;
  /**
   * Milliseconds that a connection may stay open before its first request. Default: 600,000 (our
   * choice: a POS that connects when it starts may wait for its first customer).
   */
  idleTimeout?: number;
  /**
   * Bytes that a request may have; a longer one is malformed. Default: 64 KiB (our choice: seven
   * times all known tags at their longest).
   */
  maxRequest?: number;
  /**
   * Bytes of answers that a POS may leave unread before its connection is dropped. Default: 1 MiB
   * (our choice: hundreds of the longest answers with a receipt, which no POS asks for without
   * reading one).
   */
  maxUnread?: number;
  /**
   * Connections at once; further ones are closed. Default: 10,000 (our choice: more than any chain
   * of shops has tills on one terminal, few enough for the memory of a small machine).
   */
  maxConnections?: number;
  /** Receives the log. What it throws goes to the runtime as uncaught. Default: nobody. */
  log?: (level: LogLevel, text: string) => void;
  /** The least level that is given to `log`. Default: info. */
  logLevel?: LogLevel;
  /** Receives what happens. What it throws goes to the runtime as uncaught. Default: nobody. */
  onEvent?: (event: TerminalEvent) => void;
}

/** Something that happened, as `--json` prints it. */
export type TerminalEvent =
  | { event: "listening"; host: string; port: number }
  | ({ event: "request"; warnings: readonly string[] } & About & Exchanged)
  | (
    & { event: "invalid"; error: string; at: number; warnings: readonly string[] }
    & About
    & Exchanged
  )
  | ({ event: "answer"; outcome?: string } & About & Exchanged)
  | { event: "closed"; connection: number };

/** Which transaction an event is about. */
export interface About {
  /** The number of the connection, from 1. */
  connection: number;
  /** The number of the transaction, from 1. */
  transaction: number;
}

/** A message that was sent or received. */
export interface Exchanged {
  /** Its bytes as Latin-1 text. */
  readonly raw: string;
  /** Its fields, as far as they can be read. */
  readonly message: Readonly<Message>;
}

/**
 * Milliseconds that whole fields without all mandatory tags wait for the rest (our choice: a POS
 * that sends field by field).
 */
const PATIENCE = 300;
/** Most milliseconds that something can be waited for (our choice: a day, as above). */
const MAX_TIMEOUT = MAX_DURATION * 1000;
/** Most bytes or connections that a bound can be set to (our choice: beyond any memory). */
const MAX_BOUND = 2 ** 40;
/**
 * Connections that the system keeps until they are accepted: with 511, the default, tills that
 * connect at the same moment wait a second for their second SYN.
 */
const BACKLOG = 4_096;
/**
 * Milliseconds that a peer has to read its answers and close its side after this one did (our
 * choice).
 */
const CLOSE_TIMEOUT = 5_000;
/** Requests of one connection that may wait for answers (our choice: POS send one, tests many). */
const MAX_WAITING = 1_000;
/** Transactions, and cash registers with a last one, that are kept (our choice: a day of tests). */
const MAX_KEPT = 1_000;

/** The options with their defaults, each held against what it may be. */
type Settings = ReturnType<typeof settings>;

function settings(options: TerminalOptions) {
  const contract = options.sellerContract ?? "424242";
  if (!/^[\x20-\xff]{1,10}$/.test(contract)) {
    throw new OptionError("sellerContract", "1 to 10 characters of Latin-1", contract);
  }
  const outcome = options.outcome ?? "success";
  const checked = {
    host: options.host ?? "",
    port: inRange("port", options.port ?? 8888, 0, 65535, "a whole number"),
    outcome: typeof outcome === "function" ? outcome : toOutcome(outcome),
    next: (options.next ?? []).map((outcome) => toOutcome(outcome, "next")),
    when: byAmount(options.when ?? {}),
    duration: inRange("duration", options.duration ?? 3, 0, MAX_DURATION),
    exclusive: options.exclusive ?? false,
    strict: options.strict ?? false,
    sellerContract: contract,
    settle: inRange("settle", options.settle ?? 20, 0, MAX_TIMEOUT),
    requestTimeout: inRange("requestTimeout", options.requestTimeout ?? 10_000, 1, MAX_TIMEOUT),
    idleTimeout: inRange("idleTimeout", options.idleTimeout ?? 600_000, 1, MAX_TIMEOUT),
    maxRequest: inRange("maxRequest", options.maxRequest ?? 65_536, 1, MAX_BOUND),
    maxUnread: inRange("maxUnread", options.maxUnread ?? 2 ** 20, 0, MAX_BOUND),
    maxConnections: inRange("maxConnections", options.maxConnections ?? 10_000, 1, MAX_BOUND),
    log: options.log,
    logLevel: oneOf("logLevel", LOG_LEVELS, options.logLevel ?? "info"),
    onEvent: options.onEvent,
  };
  const [unknown] = Object.keys(options).filter((name) => !(name in checked));
  if (unknown === undefined) return checked;
  const names = Object.keys(checked);
  throw new OptionError("options", `names from ${names.join(", ")}`, unknown, names);
}

/** Outcomes by amount: the whole amounts first, then more last digits before fewer. */
function byAmount(when: NonNullable<TerminalOptions["when"]>): [amount: string, Outcome][] {
  const outcomes = new Map<string, Outcome>();
  for (const [text, outcome] of Object.entries(when)) {
    const amount = withoutZeros(text);
    if (!/^\*?\d+$/.test(amount)) {
      throw new OptionError("when", "minor units such as 1234, or * and last digits", text);
    }
    if (outcomes.has(amount)) throw new OptionError("when", "each amount once", text);
    outcomes.set(amount, toOutcome(outcome, "when"));
  }
  const lastDigits = (amount: string): number => amount.startsWith("*") ? amount.length : Infinity;
  return [...outcomes].sort(([one], [other]) => lastDigits(other) - lastDigits(one) || 0);
}

function withoutZeros(amount: string): string {
  return amount.replace(/^0+(?=\d)/, "");
}

// ---------------------------------------------------------------- what a terminal answers

/**
 * The fields of a request that its answer gives back, in their order, CZ first (1): the terminal's
 * own where there is none (our choice: that of the reference). Not those without a value, which a
 * terminal leaves out (2)(6), nor AE, AF and ZT, which are the terminal's to say.
 */
function echo(request: Readonly<Message>): Message {
  const fields: Message = { CZ: request["CZ"] || "0300" };
  for (const [tag, value] of Object.entries(request)) {
    if (value !== "" && tag !== "AE" && tag !== "AF" && tag !== "ZT") fields[tag] = value;
  }
  return fields;
}

/** Whether a request is answered without asking anybody: an identification, or after BA 1. */
function answersAtOnce(request: Readonly<Message>): boolean {
  return request["CD"] === "I" || request["BA"] === "1";
}

/** The fields that tell how money was moved, or why not. */
function moneyResult(
  request: Readonly<Message>,
  { failure, card = "cbcontact" }: Outcome,
  contract: string,
): Message {
  const cheque = request["CC"] === "00C";
  // For cheques an Ingenico answers AF 04 whatever the reason, and no card data on success. (1)
  if (failure) return { AE: "01", AF: cheque ? "04" : failure };
  if (cheque) return { AE: "10" };
  const { CC, CI, AI } = CARDS[card];
  const month = two(1 + Math.floor(Math.random() * 12));
  return { // in the order of the reference (1)
    AE: "10",
    CC,
    ...(CI && { CI }),
    AC: randomDigits(6),
    AA: `${randomDigits(6)}######${randomDigits(4)}`,
    ...(AI && { AI }),
    AB: two((new Date().getFullYear() + 1) % 100) + month,
    CF: request["CF"] || "1010000000",
    CG: contract,
  };
}

function randomDigits(count: number): string {
  return String(Math.floor(Math.random() * 10 ** count)).padStart(count, "0");
}

/** Sets tags of an answer; "" leaves one out. */
function setTags(answer: Message, tags: Message = {}): void {
  for (const [tag, value] of Object.entries(tags)) {
    if (value === "") delete answer[tag];
    else answer[tag] = value;
  }
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

function clock(time: Date): string {
  return time.toTimeString().slice(0, 8);
}

/** The amount of a message as a person in France reads it. */
function amountText(message: Readonly<Message>): string {
  const { CB = "", CE = "" } = message;
  return moneyText(message)?.replace(".", ",") ?? `${CB} ${CE}`;
}

/**
 * Adds the receipt that CK asks for, if any: lines of 24 columns that have what those of real
 * terminals have, in French like them. (2)(3) The first line, those about a failure, the duplicate
 * and the cancellation are our choice.
 */
function addReceipt(
  to: Message,
  ck: string,
  answer: Readonly<Message>,
  time: Date,
  duplicate = false,
): void {
  const wanted = wantedReceipt(ck);
  if (!wanted) return;
  const copy = wanted.copy === "merchant" ? "merchant" : "customer"; // of both, the one that fits into one ZT
  const card = Object.values(CARDS).find(({ CC }) => CC === answer["CC"]);
  const done = answer["AE"] === "10";
  const date = [time.getDate(), time.getMonth() + 1, time.getFullYear() % 100].map(two).join("/");
  const lines = [
    "SIMULATION SANS VALEUR",
    duplicate && "DUPLICATA",
    card?.scheme ?? (answer["CC"] === "00C" && "CHEQUE"),
    meaning("CI", answer["CI"])?.french.toUpperCase(),
    answer["AI"],
    card?.label,
    `LE ${date} A ${clock(time)}`,
    "COMMERCE SIMULE",
    answer["CG"] && `CONTRAT ${answer["CG"]}`,
    "TERMINAL 00000001",
    answer["AA"],
    answer["AC"] && `AUTORISATION ${answer["AC"]}`,
    answer["CB"] && `MONTANT${amountText(answer).padStart(17)}`,
    answer["CD"] === "1" ? "CREDIT" : answer["CD"] === "2" ? "ANNULATION" : "DEBIT",
    !done && (meaning("AF", answer["AF"])?.french ?? "non effectuée").toUpperCase(),
    !done && "TRANSACTION NON ABOUTIE",
    copy === "customer" ? "TICKET CLIENT" : "TICKET COMMERCANT",
  ];
  const text = lines.filter((line) => line).map((line) => printable(String(line)).slice(0, 24))
    .join("\n");
  const html = `<pre>${text.replace(/[<&]/g, " ")}</pre>`; // escaped they would not fit into AK
  to["ZT"] = encodeReceipt({
    copy,
    format: wanted.format,
    text: wanted.format === "html" ? html : text,
  });
}

// ---------------------------------------------------------------- the device behind all connections

/** A request, and what became of it. */
export interface Transaction {
  /** Counted from 1. */
  readonly number: number;
  /** The connection it came on, counted from 1. */
  readonly connection: number;
  /** The address of the POS. */
  readonly address: string;
  /** When it was there as a whole. */
  readonly received: Date;
  /** What came. */
  readonly request: Exchanged;
  /** What is wrong with it, if it is malformed. */
  readonly error?: string;
  /** Each deviation of the request from the protocol, and what else was noticed about it. */
  readonly warnings: readonly string[];
  /** How it was to end, if it came that far. */
  readonly outcome?: Outcome;
  /** What was sent, if anything was; after AE 11, the final answer. */
  readonly answer?: Exchanged;
  /** When the answer was sent. */
  readonly answered?: Date;
}

/** A transaction that may still change. */
type Current = { -readonly [Property in keyof Transaction]: Transaction[Property] } & {
  warnings: string[];
};

/** What is to be answered, and how. */
interface Plan {
  answer: Exchanged;
  /** Sent before the answer, as soon as it is known. */
  interim?: Exchanged;
  /** Seconds from the last byte of the request. */
  delay: number;
}

/** The answer to a request that is not served. */
function notServed(request: Readonly<Message>, AF: string): Plan {
  return { answer: exchanged({ ...echo(request), AE: "01", AF }), delay: 0 };
}

function exchanged(message: Message): Exchanged {
  return { raw: encodeText(message), message };
}

/** Decides on answers, remembers what happened and tells of it. */
class Device {
  readonly settings: Settings;
  readonly transactions: Current[] = [];
  readonly next: Outcome[];
  readonly #underWay = new Set<Current>();
  readonly #approved = new Map<string, { answer: Readonly<Message>; time: Date }>(); // by cash register
  #waiters: PromiseWithResolvers<Transaction>[] = [];
  #count = 0;
  #stopped = false;

  constructor(settings: Settings) {
    this.settings = settings;
    this.next = settings.next;
  }

  log(level: LogLevel, text: () => string): void {
    const { log, logLevel } = this.settings;
    if (!log || LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(logLevel)) return;
    callBack(() => log(level, text()));
  }

  emit(event: () => TerminalEvent): void {
    const { onEvent } = this.settings;
    if (onEvent) callBack(() => onEvent(event()));
  }

  /**
   * Takes a request: notes it, and decides on its answer.
   *
   * @param late Whether its fields came after the answer to those before, as the rest of that
   * request.
   * @param gone Gives a signal that is aborted when the POS has closed its side.
   */
  take(
    received: Received,
    connection: number,
    address: string,
    late: boolean,
    gone: () => AbortSignal,
  ): { transaction: Current; plan: Plan | Promise<Plan> } {
    const { raw, message, error } = received;
    const { warnings, refusal } = this.#examine(received, late);
    const transaction: Current = {
      number: ++this.#count,
      connection,
      address,
      received: new Date(),
      request: { raw, message },
      ...(error && { error: error.message }),
      warnings,
    };
    if (this.transactions.push(transaction) > MAX_KEPT) this.transactions.shift();
    this.emit(() => {
      const about = { connection, transaction: transaction.number, raw, message, warnings };
      return error
        ? { event: "invalid", ...about, error: error.message, at: error.at ?? 0 }
        : { event: "request", ...about };
    });
    this.log("info", () => `#${connection} received: ${logText(transaction.request)}`);
    for (const warning of warnings) this.log("warn", () => `#${connection} ${warning}`);
    if (refusal) return { transaction, plan: notServed(message, refusal) };
    this.#underWay.add(transaction);
    return { transaction, plan: this.#plan(transaction, gone) };
  }

  /** What is to be noticed about a request, and the AF that it is refused with, if it is. */
  #examine(received: Received, late: boolean): { warnings: string[]; refusal?: string } {
    const { message: request, fields, error } = received;
    const found = deviations(received);
    if (late) {
      found.unshift({ message: "expected no more fields after the answer", tolerated: false });
    }
    const warnings = found.map(({ message }) => message);
    if (error || (this.settings.strict && found.some(({ tolerated }) => !tolerated))) {
      return { warnings, refusal: "09" };
    }
    const missing = missingTags(fields);
    if (missing.length > 0) {
      warnings.push(`expected the mandatory tags ${missing.join(", ")}`);
      return { warnings, refusal: "09" };
    }
    if (!ACTIONS.has(request["CD"] ?? "")) return { warnings, refusal: "12" };
    if (this.settings.exclusive && this.#underWay.size > 0) {
      warnings.push("busy with another transaction");
      return { warnings, refusal: "07" };
    }
    if (wantedReceipt(request["CK"] ?? "")?.copy === "both") {
      warnings.push("CK: both receipts are asked for, only the customer's is sent");
    }
    return { warnings };
  }

  /**
   * Takes note that an answer is due, whatever becomes of it on the wire: from then on an approval
   * can be had again as a duplicate, also by a POS that the answer has not reached.
   */
  conclude({ request: { message }, received }: Transaction, { answer }: Plan): void {
    const { CD = "", CA = "" } = message;
    if (!ACTIONS.get(CD)?.money || answer.message["AE"] !== "10") return;
    this.#approved.delete(CA); // so that it becomes the newest
    this.#approved.set(CA, { answer: answer.message, time: received });
    if (this.#approved.size <= MAX_KEPT) return;
    const [oldest = ""] = this.#approved.keys();
    this.#approved.delete(oldest);
  }

  /** Takes note of what was sent. */
  answered(transaction: Current, sent: Exchanged, fault?: Fault): void {
    transaction.answer = sent;
    transaction.answered = new Date();
    const { connection, number, outcome } = transaction;
    this.emit(() => ({
      event: "answer",
      connection,
      transaction: number,
      ...(outcome && { outcome: formatOutcome(outcome) }),
      ...sent,
    }));
    this.log("info", () => `#${connection} sent${fault ? ` (${fault})` : ""}: ${logText(sent)}`);
  }

  /** Takes note that a transaction is over: answered, or its connection is gone. */
  end(transaction: Current): void {
    this.#underWay.delete(transaction);
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(transaction);
  }

  wait(): Promise<Transaction> {
    if (this.#stopped) return Promise.reject(new Error("the terminal was closed"));
    const waiter = Promise.withResolvers<Transaction>();
    waiter.promise.catch(() => {}); // a test that fails before it awaits this has an error of its own to tell
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  stop(): void {
    this.#stopped = true;
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(new Error("the terminal was closed"));
    }
  }

  /** Decides on the answer to a request that is served. */
  async #plan(transaction: Current, gone: () => AbortSignal): Promise<Plan> {
    const { request: { message }, number, connection } = transaction;
    try {
      const source = this.#ownOutcome(message) ?? this.settings.outcome;
      transaction.outcome = typeof source === "function"
        ? toOutcome(await source({ ...message }, number, gone()))
        : source;
      return this.#execute(transaction, transaction.outcome);
    } catch (error) {
      const why = error instanceof Error ? String(error.message) : "what was thrown is no Error";
      const warning = `no outcome could be decided on: ${printable(why)}`;
      transaction.warnings.push(warning);
      this.log("error", () => `#${connection} ${warning}`);
      return notServed(message, "07"); // not completed (our choice)
    }
  }

  /** The outcome for a request by its amount, else the next that is queued, if any. */
  #ownOutcome(request: Readonly<Message>): Outcome | undefined {
    if (request["CD"] === "I") return undefined;
    const amount = withoutZeros(request["CB"] ?? "");
    const matches = ([wanted]: [amount: string, outcome: Outcome]): boolean =>
      wanted.startsWith("*")
        ? amount.padStart(wanted.length - 1, "0").endsWith(wanted.slice(1))
        : amount === wanted;
    const found = amount === "" ? undefined : this.settings.when.find(matches);
    return found?.[1] ?? this.next.shift();
  }

  /** Does what is asked for. */
  #execute(
    { request: { message: request }, received, connection }: Current,
    outcome: Outcome,
  ): Plan {
    const { tags, pending, delay = this.settings.duration } = outcome;
    const [min, max] = typeof delay === "number" ? [delay, delay] : delay;
    const answer = echo(request);
    if (answersAtOnce(request)) {
      const identification = request["CD"] === "I";
      if (identification) setTags(answer, { CB: "", CE: "" });
      setTags(answer, { AE: identification ? "10" : "11", ...tags });
      return { answer: exchanged(answer), delay: 0 };
    }
    const interim = pending && exchanged({ ...answer, AE: "11" });
    const ck = request["CK"] ?? "";
    if (ACTIONS.get(request["CD"] ?? "")?.money) {
      Object.assign(answer, moneyResult(request, outcome, this.settings.sellerContract));
      setTags(answer, tags); // which the receipt has too
      addReceipt(answer, ck, answer, received);
    } else if (outcome.failure) setTags(answer, { AE: "01", AF: outcome.failure });
    else if (request["CD"] === "3") this.#repeat(answer, request["CA"] ?? "", ck);
    else {
      answer["AE"] = "10";
      if (request["CD"] === "P") this.#print(request["ZT"] ?? "", connection);
    }
    setTags(answer, tags);
    return {
      answer: exchanged(answer),
      delay: min + Math.random() * (max - min),
      ...(interim && { interim }),
    };
  }

  /**
   * Puts the last approved transaction of a cash register into an answer, with a receipt also where
   * CK asks for none (our choice).
   */
  #repeat(answer: Message, register: string, ck: string): void {
    const last = this.#approved.get(register);
    if (!last) return setTags(answer, { AE: "01", AF: "10" }); // a selection error (our choice)
    const { CZ: _CZ, CJ: _CJ, CD: _CD, CK: _CK, ZT: _ZT, ...result } = last.answer;
    Object.assign(answer, result);
    addReceipt(answer, ck || "100", last.answer, last.time, true);
  }

  #print(zt: string, connection: number): void {
    const receipts = decodeReceipts(zt);
    for (const { text } of receipts) {
      this.log("info", () => `#${connection} printed:\n${printableLines(text)}`);
    }
    if (receipts.length > 0) return;
    this.log("warn", () => `#${connection} nothing to print in ZT: "${printable(zt)}"`);
  }
}

// ---------------------------------------------------------------- one connection

/**
 * The conversation with one POS: cuts what it sends into requests, and answers them in their order,
 * each when it is due. Requests are read, and their delay starts, while earlier ones wait for
 * answers.
 */
class Connection {
  readonly #socket: net.Socket;
  readonly #number: number;
  readonly #device: Device;
  readonly #address: string; // which a closed socket does not know any more
  readonly #reader: MessageReader;
  readonly #open = new Set<Current>(); // not over yet
  #gone: AbortController | undefined; // for functions that decide; most outcomes need none
  #idle: Timer; // no request has come by then
  #settled: Timer; // the request is whole if nothing comes until then
  #overdue: Timer; // the request has taken too long by then
  #due: Timer; // of what is to be done next: sending an answer or a part of it, or closing
  #arrived = 0; // when the last byte came
  #answered = false; // an earlier request
  #ended = false; // the POS has closed its side
  #lastAnswer: Promise<void> = Promise.resolve();

  constructor(socket: net.Socket, number: number, device: Device) {
    this.#socket = socket;
    this.#number = number;
    this.#device = device;
    this.#address = socket.remoteAddress ?? "";
    this.#reader = new MessageReader(device.settings.maxRequest);
    this.#idle = setTimeout(() => this.#drop("no request has come"), device.settings.idleTimeout);
    this.#log("debug", () => `connected from ${this.#address} port ${socket.remotePort}`);
    socket.setEncoding("latin1").on("data", (chunk: string) => this.#read(chunk));
    socket.on("end", () => this.#end());
    socket.on("error", () => {}); // which "close" follows
    socket.on("close", () => this.#close());
  }

  #log(level: LogLevel, text: () => string): void {
    this.#device.log(level, () => `#${this.#number} ${text()}`);
  }

  #read(chunk: string): void {
    this.#arrived = performance.now();
    for (const received of this.#reader.feed(chunk)) this.#serve(received);
    clearTimeout(this.#settled);
    const { state, fields } = this.#reader;
    if (state !== "whole" && state !== "incomplete") return;
    const { settle, requestTimeout } = this.#device.settings;
    const complete = state === "whole" && missingTags(fields).length === 0;
    if (complete && settle === 0) return this.#serveRest();
    this.#overdue ??= setTimeout(() => this.#finish(), requestTimeout);
    if (state === "incomplete") return;
    this.#settled = setTimeout(() => this.#serveRest(), complete ? settle : PATIENCE);
  }

  /** Takes what is there as a request. */
  #serveRest(): void {
    this.#serve(this.#reader.take());
  }

  #serve(received: Received): void {
    if (!this.#socket.writable) return; // closed on this side: nothing is served any more
    for (const timer of [this.#idle, this.#settled, this.#overdue]) clearTimeout(timer);
    this.#overdue = undefined;
    const [first] = received.fields;
    const late = this.#answered && first !== undefined && first.tag !== "CZ";
    const { transaction, plan } = this.#device.take(
      received,
      this.#number,
      this.#address,
      late,
      () => this.#signal(),
    );
    this.#open.add(transaction);
    if (this.#open.size > MAX_WAITING) this.#drop(`${this.#open.size} requests wait`);
    this.#lastAnswer = this.#answer(transaction, plan, this.#arrived, this.#lastAnswer);
  }

  /** A signal that is aborted when the POS has closed its side. */
  #signal(): AbortSignal {
    this.#gone ??= new AbortController();
    if (this.#ended) this.#gone.abort(GONE);
    return this.#gone.signal;
  }

  /** Answers a request when its answer is due and the earlier ones are out. */
  async #answer(
    transaction: Current,
    planned: Plan | Promise<Plan>,
    arrived: number,
    earlier: Promise<void>,
  ): Promise<void> {
    await earlier;
    const plan = await planned;
    if (!this.#socket.writable) return;
    if (plan.interim) {
      this.#write(plan.interim.raw);
      this.#device.answered(transaction, plan.interim);
    }
    if (plan.delay > 0) await this.#sleep(arrived + plan.delay * 1000 - performance.now());
    this.#device.conclude(transaction, plan);

    const { answer } = plan;
    const { fault, hangup } = transaction.outcome ?? {};
    const { segments, pause = 0, then }: Transmission = fault
      ? FAULTS[fault](answer.raw)
      : { segments: [answer.raw] };
    if (segments.length > 1) this.#socket.setNoDelay(); // or the system puts them together
    for (const [index, segment] of segments.entries()) {
      if (index > 0) await this.#sleep(pause);
      this.#write(segment);
    }
    const raw = segments.join("");
    this.#answered = true;
    if (raw === "") this.#log("info", () => `sent nothing (${fault})`);
    else this.#device.answered(transaction, fault ? readable(raw) : answer, fault);
    if (fault !== "silent") { // that one is over when the POS has gone
      this.#open.delete(transaction);
      this.#device.end(transaction);
    }
    if (then === "reset") this.#socket.resetAndDestroy();
    else if (then === "close" || hangup || transaction.error !== undefined) this.#hangUp();
  }

  #write(segment: string): void {
    this.#socket.write(segment, "latin1");
    const unread = this.#socket.writableLength;
    if (unread > this.#device.settings.maxUnread) {
      this.#drop(`${unread} bytes of answers are not read`);
    }
  }

  /** Resolves after so many milliseconds; never if the connection closes before. */
  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (milliseconds > 0) this.#due = setTimeout(resolve, Math.ceil(milliseconds));
      else resolve();
    });
  }

  /** The POS has closed its side. It may have gone, or wait for its answers as nc does. */
  #end(): void {
    this.#ended = true;
    this.#gone?.abort(GONE);
    this.#finish();
  }

  /** Takes what is there as the last request, and closes the connection after its answer. */
  #finish(): void {
    const { state } = this.#reader;
    if (state === "whole" || state === "incomplete") this.#serveRest();
    this.#socket.removeAllListeners("data").resume();
    this.#lastAnswer.then(() => this.#hangUp());
  }

  /** Closes this side, and the other soon: bytes not read yet would make that a reset. */
  #hangUp(): void {
    this.#socket.end();
    if (this.#ended && this.#socket.writableLength === 0) return;
    clearTimeout(this.#due);
    this.#due = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT);
  }

  #drop(why: string): void {
    this.#log("warn", () => `dropped: ${why}`);
    this.#socket.destroy();
  }

  #close(): void {
    for (const timer of [this.#idle, this.#settled, this.#overdue, this.#due]) clearTimeout(timer);
    this.#ended = true;
    this.#gone?.abort(GONE);
    const unanswered = this.#open.size > 0 ? `, ${this.#open.size} without an answer` : "";
    const lost = this.#socket.errored ? `: ${this.#socket.errored.message}` : "";
    this.#log("debug", () => `closed${unanswered}${lost}`);
    this.#device.emit(() => ({ event: "closed", connection: this.#number }));
    for (const transaction of this.#open) this.#device.end(transaction);
  }
}

type Timer = ReturnType<typeof setTimeout> | undefined;

/** Why a signal is aborted. A text, because the error that stands for none is slow to make. */
const GONE = "the POS has closed its side";

/** A message as the log shows it. */
function logText({ raw, message }: Exchanged): string {
  const fields = describe(message);
  return printable(raw) + (fields && `\n${fields}`);
}

/** What a POS can read of bytes that may be no message. */
function readable(raw: string): Exchanged {
  const reader = new MessageReader();
  const [{ message } = reader.take()] = reader.feed(raw);
  return { raw, message };
}

// ---------------------------------------------------------------- the terminal

/** A terminal that is running. */
export interface Terminal extends AsyncDisposable {
  /** The address it listens on; "::" or "0.0.0.0" is every interface. */
  readonly host: string;
  /** The TCP port it listens on. */
  readonly port: number;
  /** What POS did: the last 1,000 requests and their answers, the newest last. */
  readonly transactions: readonly Transaction[];
  /** Queues outcomes for one transaction each, after those that are queued already. */
  nextOutcome(...outcomes: OutcomeOrText[]): void;
  /**
   * Resolves with the next transaction that is over: its answer is sent, or its connection is gone.
   * Call it before the POS pays; what is over already is in `transactions`. It rejects when the
   * terminal is closed before.
   */
  waitForTransaction(): Promise<Transaction>;
  /** Stops it: no more connections, those that are there are closed without waiting for answers. */
  close(): Promise<void>;
}

/**
 * A terminal cannot listen. The message names host and port and says why, `cause` is the error of
 * the system.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ListenError, startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1" });
 * await assert.rejects(startTerminal({ port: terminal.port, host: "127.0.0.1" }), ListenError);
 * ```
 */
export class ListenError extends Error {
  /** @ignore */
  override name = "ListenError";
}

/**
 * Starts a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1" });
 * terminal.nextOutcome("refused", "success,delay=10");
 * assert.notEqual(terminal.port, 0);
 * ```
 */
export async function startTerminal(options: TerminalOptions = {}): Promise<Terminal> {
  const device = new Device(settings(options));
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const number = ++accepted;
    if (sockets.size >= device.settings.maxConnections) {
      device.log("warn", () => `#${number} closed: ${sockets.size} connections are open already`);
      socket.on("error", () => {}).destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    new Connection(socket, number, device);
  });
  const { address: host, port } = await listen(server, device.settings);
  device.log(
    "info",
    () => `listening on ${everywhere(host)} port ${port}, ${mode(device.settings)}`,
  );
  device.emit(() => ({ event: "listening", host, port }));

  const shut = async (): Promise<void> => {
    const ended = [...sockets].map((socket) => once(socket.destroy(), "close"));
    server.close();
    device.stop();
    await Promise.all([once(server, "close"), ...ended]);
  };
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => closed ??= shut();
  return {
    host,
    port,
    transactions: device.transactions,
    nextOutcome: (...outcomes) =>
      void device.next.push(...outcomes.map((outcome) => toOutcome(outcome))),
    waitForTransaction: () => device.wait(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use by another program",
  EADDRNOTAVAIL: "this machine has no such address",
  EINVAL: "this machine has no such address", // what Deno says for EADDRNOTAVAIL
  ENOTFOUND: "there is no host of that name",
  EACCES: "not permitted; ports below 1024 are reserved",
};

async function listen(server: net.Server, { host, port }: Settings): Promise<net.AddressInfo> {
  try {
    // Without a host the system's every-interface address is taken, IPv6 and IPv4 where it has
    // both.
    server.listen(host ? { port, host, backlog: BACKLOG } : { port, backlog: BACKLOG });
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const where = `${host ? `host ${host}` : "every interface"}, port ${port}`;
    const why = LISTEN_ERRORS[code ?? ""] ?? message;
    throw new ListenError(`cannot listen on ${where}: ${why}`, { cause });
  }
  return server.address() as net.AddressInfo;
}

function everywhere(address: string): string {
  return address === "::" || address === "0.0.0.0" ? "every interface," : address;
}

function mode({ outcome, duration, when, next, strict, exclusive }: Settings): string {
  const parts = typeof outcome === "function" ? ["each outcome decided on when it is asked for"] : [
    `${outcome.failure ? "failure" : "success"} mode (${formatOutcome(outcome)})`,
    outcome.delay === undefined && `answers after ${duration} s`,
  ];
  parts.push(
    when.length > 0 && `outcomes by amount: ${when.length}`,
    next.length > 0 && `outcomes queued: ${next.length}`,
    strict && "strict",
    exclusive && "exclusive",
  );
  return parts.filter((part) => part).join(", ");
}

// ---------------------------------------------------------------- the command

const HELP = `A card payment terminal that speaks Caisse-AP over IP (Concert V3).

usage: server.ts [options]

Where it listens:
  -p,  --port PORT              TCP port, 0 for a free one (8888)
       --host HOST              address or name (every interface)

How a transaction ends, by the first of these that knows:
       --when AMOUNT=OUTCOME    by amount in minor units, or * and last digits,
                                the whole amount first; may be given again
       --next OUTCOME           for one transaction; again for those after it
  -i,  --interactive            a person decides, on this screen
       --outcome OUTCOME        for all others (success)

OUTCOME is words separated by commas, at most one of each kind:
  success, abandon, timeout, refused, forbidden, or an AF code such as 07
  cbcontact, cbcontactless, amexcontact, amexcontactless,
  conecscontact, conecscontactless, ancv
  pending                       AE 11 first, the final answer after the delay
  delay=SECONDS, delay=1..5     instead of --duration; from a range, at random
  silent, close, reset, truncate, garbage, split, dribble
  hangup                        closes the connection after the answer
  TAG=VALUE                     sets a tag of the answer, TAG= leaves it out;
                                in a value \\, is a comma, \\\\ a backslash

Short forms of an outcome:
  -f,  --failure                every payment fails
  -ft, --failure-type TYPE      how, with -f: abandon, timeout, refused or
                                forbidden (abandon)
  -pt, --payment-type CARD      the card that pays (cbcontact)
  -d,  --duration SECONDS       from the request to the answer (3); with
                                --interactive none

What else it does:
  -sc, --seller-contract NUMBER the merchant contract number, CG (424242)
       --exclusive              one transaction at a time: AF 07 to others
       --strict                 AF 09 to requests that deviate from the protocol
       --settle MS              pause after which fields are a request (20)

What it prints:
       --json                   what happens on stdout, a JSON object a line
  -l,  --log-level LEVEL        debug, info, warn or error (info)
  -h,  --help                   this text
       --version                ${VERSION}

examples:
  server.ts --outcome refused
  server.ts -d 10 --next silent --when "*01=07"
  server.ts -p 0 --json
`;

/** The short options of two letters, which parseArgs would read as two options. */
const TWO_LETTERS: ReadonlyMap<string, string> = new Map([
  ["-ft", "--failure-type"],
  ["-pt", "--payment-type"],
  ["-sc", "--seller-contract"],
]);

const OPTIONS = {
  "port": { type: "string", short: "p", default: "8888" },
  "host": { type: "string" },
  "when": { type: "string", multiple: true, default: [] as string[] },
  "next": { type: "string", multiple: true, default: [] as string[] },
  "interactive": { type: "boolean", short: "i", default: false },
  "outcome": { type: "string" },
  "failure": { type: "boolean", short: "f", default: false },
  "failure-type": { type: "string" },
  "payment-type": { type: "string" },
  "duration": { type: "string", short: "d", default: "3" },
  "seller-contract": { type: "string", default: "424242" },
  "exclusive": { type: "boolean", default: false },
  "strict": { type: "boolean", default: false },
  "settle": { type: "string", default: "20" },
  "json": { type: "boolean", default: false },
  "log-level": { type: "string", short: "l", default: "info" },
  "help": { type: "boolean", short: "h", default: false },
  "version": { type: "boolean", default: false },
} as const;

/** Turns arguments into the options of a terminal, or into the text that is asked for instead. */
function readArguments(args: string[]): TerminalOptions | string {
  const { values } = parseArgs({
    args: args.map((arg) => TWO_LETTERS.get(arg) ?? arg),
    options: OPTIONS,
  });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  const { failure, "failure-type": failureType, "payment-type": card } = values;
  if (
    values.outcome !== undefined && (failure || failureType !== undefined || card !== undefined)
  ) {
    throw new OptionError(
      "outcome",
      "either this or --failure, --failure-type and --payment-type",
      values.outcome,
    );
  }
  const [success = "", ...failures] = ENDINGS.keys();
  const ending = oneOf("failure-type", failures, failureType ?? "abandon");
  const words = [failure ? ending : success];
  if (card !== undefined) words.push(oneOf("payment-type", CARD_NAMES, card));
  const outcome = parseOutcome(values.outcome ?? words.join(","));
  const logLevel = oneOf("log-level", LOG_LEVELS, values["log-level"]);
  if (failureType !== undefined && !failure && logLevel !== "error") {
    logToStderr("warn", "--failure-type is ignored without --failure");
  }
  return {
    port: parseNumber("port", values.port),
    ...(values.host !== undefined && { host: values.host }),
    when: readWhen(values.when),
    next: values.next,
    outcome: values.interactive ? askPerson(outcome) : outcome,
    duration: parseNumber("duration", values.duration),
    sellerContract: values["seller-contract"],
    exclusive: values.exclusive,
    strict: values.strict,
    settle: parseNumber("settle", values.settle),
    logLevel,
    log: logToStderr,
    ...(values.json && { onEvent: printEvent }),
  };
}

/**
 * Prints on a stream whose reader may be gone: Deno and Bun then throw, Node emits an error. A pipe
 * that is full and does not block makes Deno throw EAGAIN: that text is lost. The streams are not
 * touched before they are needed: to set them up takes Bun a fifth of its start.
 */
function print(stream: NodeJS.WriteStream, text: string, onLost: () => void): void {
  if (stream.listenerCount("error") === 0) stream.on("error", onLost);
  try {
    stream.write(text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") onLost();
  }
}

/** Prints an event. When nobody reads them any more, nobody waits for the terminal either. */
function printEvent(event: TerminalEvent): void {
  print(process.stdout, jsonLine(event), () => process.exit(0));
}

function readWhen(texts: string[]): Record<string, string> {
  const when: Record<string, string> = Object.create(null);
  for (const text of texts) {
    const at = text.indexOf("=");
    if (at < 0) throw new OptionError("when", "AMOUNT=OUTCOME", text);
    const amount = text.slice(0, at);
    if (amount in when) throw new OptionError("when", "each amount once", text);
    when[amount] = text.slice(at + 1);
  }
  return when;
}

/** What is on the screen below the log, where a person decides. */
let question = "";

const COLOURS = { debug: "gray", info: undefined, warn: "yellow", error: "red" } as const;

function logToStderr(level: LogLevel, text: string): void {
  const now = new Date();
  const time = `${clock(now)}.${String(now.getMilliseconds()).padStart(3, "0")}`;
  const colour = process.stderr.isTTY ? COLOURS[level] : undefined;
  const line = `${time} ${level.padEnd(5)} ${text}`;
  // Not left to styleText: to know whether the screen has colours it reads the environment, and
  // Deno would ask for that.
  const shown = colour ? styleText(colour, line, { validateStream: false }) : line;
  updateScreen(question, `${shown}\n`);
}

/** Prints a line of the log, if there is one, and below it what a person is asked. */
function updateScreen(text: string, line = ""): void {
  const { columns = 80 } = process.stderr;
  const rows = question.split("\n").slice(0, -1).map((row) => Math.ceil(row.length / columns));
  const height = rows.reduce((sum, row) => sum + row, 0);
  const erase = height > 0 ? `\x1b[${height}A\x1b[J` : "";
  question = text;
  print(process.stderr, erase + line + text, () => {}); // without a reader of the log it goes on
}

/** The keys by which a person decides, what they are called, and the words of the outcome. */
const KEYS: ReadonlyMap<string, [key: string, words: string]> = new Map([
  ["\r", ["Enter", "success"]],
  ["a", ["a", "abandon"]],
  ["r", ["r", "refused"]],
  ["f", ["f", "forbidden"]],
  ["t", ["t", "timeout"]],
  ["s", ["s", "silent"]],
]);

/** Has a person at this screen decide on each transaction, one after the other. */
function askPerson(base: Outcome): Decide {
  const { stdin } = process;
  if (!stdin.isTTY || !process.stderr.isTTY) {
    throw new OptionError("interactive", "a terminal screen to ask on", undefined);
  }
  stdin.setRawMode(true);
  stdin.setEncoding("utf8");
  stdin.on("data", (keys: string) => keys.includes("\x03") && process.emit("SIGINT")); // Ctrl-C, in raw mode
  let turn: Promise<string> = Promise.resolve("");
  return async (request, _number, gone) => {
    if (answersAtOnce(request)) return base;
    turn = turn.then(() => ask(request, gone));
    return { delay: 0, ...base, ...parseOutcome(await turn) };
  };
}

/** Shows a request as a terminal's screen would, until a key is pressed or the POS has gone. */
function ask(request: Message, gone: AbortSignal): Promise<string> {
  const { stdin } = process;
  const amount = request["CB"] === undefined ? "" : amountText(request);
  const action = ACTIONS.get(request["CD"] ?? "")?.french.toUpperCase() ?? "";
  const keys = [...KEYS.values()].map(([key, words]) => `${key}: ${words}`.padEnd(16));
  const rule = "-".repeat(46);
  const row = (left: string, right = ""): string =>
    `| ${printable(left).padEnd(42 - right.length)}${printable(right)} |`.slice(0, rule.length);
  const screen = [
    rule,
    row(action, amount),
    row(`POS ${request["CA"] ?? ""}`),
    rule,
    keys.slice(0, 3).join("").trimEnd(),
    keys.slice(3).join("").trimEnd(),
  ];
  return new Promise((resolve) => {
    const decide = (words: string): void => {
      stdin.off("data", onKeys);
      gone.removeEventListener("abort", onGone);
      updateScreen("");
      resolve(words);
    };
    const onKeys = (keys: string): void => {
      const [, words] = KEYS.get(keys.toLowerCase().replace("\n", "\r")) ?? [];
      if (words) decide(words);
    };
    const onGone = (): void => {
      logToStderr("warn", printable(`the POS has gone, ${action} ${amount} is off the screen`));
      decide("abandon");
    };
    if (gone.aborted) return onGone();
    updateScreen(`${screen.join("\n")}\n`);
    stdin.on("data", onKeys);
    gone.addEventListener("abort", onGone);
  });
}

/** The command: status 0 when stopped, 1 when it cannot listen, 2 for wrong arguments. */
async function main(): Promise<void> {
  try {
    const options = readArguments(process.argv.slice(2));
    if (typeof options === "string") return print(process.stdout, options, () => {});
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
    const message = unable ?? argumentError(error, Object.keys(OPTIONS));
    if (message === undefined) throw error;
    print(process.stderr, `server.ts: ${message}\n`, () => {});
    process.exit(unable ? 1 : 2); // not left to itself: with --interactive stdin is being listened to
  }
}

if (import.meta.main) main();
