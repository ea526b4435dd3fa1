#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A simulated French card payment terminal that speaks Caisse-AP over IP ("Concert V3"), as a
 * command and as a library. It is a port of the server script of akretion/caisse-ap-ip, copyright
 * (C) 2023 Rémi de Lattre. The facts of the protocol and where they come from are in protocol.ts; a
 * number in brackets is a source named there.
 *
 * ```sh
 * deno run --allow-net server.ts --help
 * ```
 *
 * @example In a test suite: a terminal on a free port
 * ```ts
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
 * terminal.nextOutcome("refused", "success,delay=10");
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
  cutFields,
  describe,
  type Deviation,
  DEVIATIONS,
  deviations,
  encodeText,
  type FramerOwner,
  inRange,
  jsonLine,
  LOG_LEVELS,
  type LogLevel,
  meaning,
  type Message,
  MessageFramer,
  moneyText,
  movesMoney,
  nearest,
  oneOf,
  OptionError,
  printable,
  readable,
  type Received,
  requestPause,
  TAGS,
  VERSION,
  type Warning,
} from "./protocol.ts";

// ---------------------------------------------------------------- how a transaction can end

/** How a transaction ends, by the word for it: AF, "" for success. (1) */
export const ENDINGS = {
  success: "",
  abandon: "11",
  timeout: "08",
  refused: "04",
  forbidden: "05",
} as const;

/** The cards: CC, CI and AID. (1)(2)(5)(6)(7) "" where no source has one. */
export const CARDS = {
  cbcontact: { CC: "001", CI: "1", AI: "A0000000421010" },
  cbcontactless: { CC: "00B", CI: "2", AI: "A0000000421010" },
  amexcontact: { CC: "002", CI: "1", AI: "A00000002501" },
  amexcontactless: { CC: "00D", CI: "2", AI: "A00000002501" },
  conecscontact: { CC: "00E", CI: "1", AI: "" },
  conecscontactless: { CC: "10E", CI: "2", AI: "" },
  ancv: { CC: "00V", CI: "", AI: "" },
} as const;

/** The card that a simulated person holds, and how it is read. */
export type Card = keyof typeof CARDS;

/** What else a word can say of an answer. */
export const FLAGS = {
  pending: "AE 11 first, the final answer after the delay",
  hangup: "the connection is closed after the answer",
  padded: "CB of 12 digits, with zeros before it", // (5)
} as const;

/** Time and chance, so that a test can hold both. */
export interface Clock {
  /** Milliseconds of a clock that does not jump. */
  now(): number;
  /** Resolves after so many milliseconds, at once after none; rejects when the signal is aborted. */
  sleep(milliseconds: number, until?: AbortSignal): Promise<void>;
  /** From 0 to below 1. */
  random(): number;
}

/** What goes wrong with an answer: it acts on the way back. Bytes and pauses are our choice. */
export interface Fault {
  /** What it does, for the help. */
  readonly help: string;
  /** Whether the POS never gets the whole answer. Default: it does. */
  readonly loses?: true;
  /** Does it to an answer, Latin-1 text. */
  send(answer: string, wire: Wire, clock: Clock): unknown;
}

/** The word of a fault. */
export type FaultName =
  | ("silent" | "close" | "reset" | "truncate" | "garbage")
  | ("split" | "dribble");

/** The faults by their words. */
export const FAULTS: Readonly<Record<FaultName, Fault>> = {
  silent: {
    help: "no answer, the connection stays until the POS closes it",
    loses: true,
    send: () => {},
  },
  close: {
    help: "the connection is closed without an answer",
    loses: true,
    send: (_answer, wire) => wire.end(),
  },
  reset: {
    help: "the connection is reset without an answer",
    loses: true,
    send: (_answer, wire) => wire.end("reset"),
  },
  truncate: {
    help: "the answer is cut inside its last field, then closed",
    loses: true,
    send(answer, wire) {
      wire.send(answer.slice(0, -1));
      wire.end();
    },
  },
  garbage: {
    help: "bytes that are no message instead of the answer",
    loses: true,
    send: (_answer, wire) => wire.send("\x00\xff?!garbage\r\n"),
  },
  // 250 ms: other fake terminals pause 200 (5), and delayed acknowledgements make as much.
  split: {
    help: "the answer in segments 250 ms apart, cut inside its fields",
    send: (answer, wire, clock) => sendSegments(split(answer), 250, wire, clock),
  },
  dribble: {
    help: "the answer byte by byte, 5 ms apart",
    send: (answer, wire, clock) => sendSegments([...answer], 5, wire, clock),
  },
};

/** What goes wrong with the answer of an outcome, if anything does. */
export function faultOf({ fault }: Outcome): Fault | undefined {
  return typeof fault === "string" ? FAULTS[fault] : fault;
}

/** Sends an answer in pieces, so many milliseconds apart, as long as somebody is there. */
export async function sendSegments(
  segments: readonly string[],
  pause: number,
  wire: Wire,
  clock: Clock,
): Promise<void> {
  await settle(wire, clock);
  for (const [index, segment] of segments.entries()) {
    if (index > 0) await clock.sleep(pause, wire.ended);
    if (!wire.send(segment)) return;
  }
}

/** Lets the event loop turn, so that a FIN that came with the request, as nc sends it, is read. */
async function settle(wire: Wire, clock: Clock): Promise<void> {
  for (let turns = 0; turns < 2; turns++) await clock.sleep(1, wire.ended);
}

/** Cuts a message inside a value and a length, before its last field and inside that one's tag. */
function split(raw: string): string[] {
  const { fields } = cutFields(raw);
  const last = fields.at(-1)?.at ?? 0;
  const long = fields.find(({ value }) => value.length > 1)?.at ?? 0;
  const cuts = [0, long + 6, (fields.at(-2)?.at ?? 0) + 3, last, last + 1].sort((a, b) => a - b);
  return cuts.map((from, index) => raw.slice(from, cuts[index + 1])).filter((part) => part !== "");
}

/** How a transaction ends. Everything has a default: it is approved, with a contact CB card. */
export interface Outcome {
  /** AF, two digits, if it fails; "" for success. Default: success. */
  failure?: string;
  /** The card that pays. Default: one of the application that is asked for, else cbcontact. */
  card?: Card;
  /** AE 11 first, the final answer after the delay, on the same connection. (4) */
  pending?: boolean;
  /** Seconds from request to answer, or a range to draw them from. Default: the terminal's. */
  delay?: number | readonly [min: number, max: number];
  /** What goes wrong with the answer: its word, or one of your own. Default: nothing. */
  fault?: FaultName | Fault;
  /** Closes the connection after the answer, as some terminals do. (4) */
  hangup?: boolean;
  /** Answers CB with 12 digits, zeros before it. (5) */
  padded?: boolean;
  /** Tags of the answer to set; "" leaves one out. */
  tags?: Message;
}

/** What each word says of an outcome; AF codes, delay= and TAG= aside. */
const WORDS: ReadonlyMap<string, Outcome> = new Map<string, Outcome>([
  ...Object.entries(ENDINGS).map(([word, failure]): [string, Outcome] => [word, { failure }]),
  ...keysOf(CARDS).map((card): [string, Outcome] => [card, { card }]),
  ...keysOf(FLAGS).map((flag): [string, Outcome] => [flag, { [flag]: true }]),
  ...keysOf(FAULTS).map((fault): [string, Outcome] => [fault, { fault }]),
]);

/** Words that people try, and the one that they mean. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ["approved", "success"],
  ["accepted", "success"],
  ["declined", "refused"],
]);

/** French words without accents, and the ones that they are taken for. */
const FRENCH: ReadonlyMap<string, string> = new Map([
  ["accepte", "success"],
  ["succes", "success"],
  ["refus", "refused"],
  ["abandonne", "abandon"],
  ["expire", "timeout"],
  ["refuse", "refused"],
  ["interdit", "forbidden"],
  ["interdite", "forbidden"],
  ["silence", "silent"],
  ["ferme", "close"],
  ["coupe", "truncate"],
  ["attente", "pending"],
]);

/** A word as it is read: in lower case, its French put into English. */
function plainWord(word: string): string {
  const plain = word.trim().toLowerCase();
  const french = plain.normalize("NFD").replace(/\p{Mn}/gu, "").replace(/ee$/, "e");
  return FRENCH.get(french) ?? plain.replace(/^délai=/, "delay=");
}

/** Words for an outcome, see {@linkcode parseOutcome}. A misspelt single word is a type error. */
export type OutcomeText =
  | keyof typeof ENDINGS
  | Card
  | FaultName
  | keyof typeof FLAGS
  | `${number}`
  | `${string}=${string}`
  | `${string},${string}`;

/** An outcome, or the words for it. */
export type OutcomeOrText = Outcome | OutcomeText;

/**
 * Decides how a transaction ends. `signal` is aborted when the POS has closed its side. What it
 * throws goes to the runtime as uncaught, and the POS gets AF 07.
 */
export type Decide = (
  request: Message,
  number: number,
  signal: AbortSignal,
) => OutcomeOrText | Promise<OutcomeOrText>;

/**
 * Reads an outcome from words separated by commas, at most one of each kind: how it ends (success,
 * abandon, timeout, refused, forbidden, or two digits of AF), which card, pending, delay=SECONDS or
 * delay=FROM..TO, a fault, hangup, padded, and any number of TAG=VALUE. TAG= leaves the tag out; in
 * a value `\,` is a comma and `\\` a backslash.
 *
 * @param option What an error calls it.
 * @throws {OptionError} A word is none of these, or the second of its kind.
 * @throws {ProtocolError} A value cannot be sent.
 */
export function parseOutcome(text: string, option = "outcome"): Outcome {
  const outcome: Outcome = {};
  for (const word of text.split(UNESCAPED_COMMA)) {
    const [, tag, value = ""] = /^\s*([A-Z]{2})=(.*)$/s.exec(word) ?? [];
    const part = tag === undefined
      ? parseWord(plainWord(word), option)
      : { [tag]: value.replace(/\\([\\,])/g, "$1") };
    const into = tag === undefined ? outcome : outcome.tags ??= {};
    if (Object.keys(part).some((kind) => kind in into)) {
      const second = word.trim();
      const expected = `at most one word of each kind (${second} is a second), and \\, in values`;
      throw new OptionError(option, expected, text);
    }
    Object.assign(into, part);
  }
  return checkOutcome(outcome, option);
}

/** A comma that no backslash makes a part of a value. */
const UNESCAPED_COMMA = /(?<=(?<!\\)(?:\\\\)*),/;

/** What a word other than TAG=VALUE says of an outcome. */
function parseWord(word: string, option: string): Outcome {
  const known = /^\d\d$/.test(word) ? { failure: word } : WORDS.get(word);
  if (known) return known;
  const [, from, to] = /^delay=(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?$/.exec(word) ?? [];
  if (from !== undefined) {
    return { delay: to === undefined ? Number(from) : [Number(from), Number(to)] };
  }
  const others = "an AF code such as 07, delay=SECONDS, delay=FROM..TO, TAG=VALUE";
  const expected = `words from ${[...WORDS.keys()].join(", ")}, ${others}`;
  const [, digits] = /^(?:af ?)?(\d{1,2})$/.exec(word) ?? [];
  const near = digits?.padStart(2, "0") ??
    nearest(word, [...WORDS.keys(), ...MEANT.keys(), "delay="]);
  throw new OptionError(option, expected, word, near && (MEANT.get(near) ?? near));
}

/** Reads an outcome, or copies one if it is one; throws as {@linkcode parseOutcome}. */
export function toOutcome(given: OutcomeOrText, option = "outcome"): Outcome {
  return typeof given === "string" ? parseOutcome(given, option) : checkOutcome(given, option);
}

/** A copy of an outcome that is one: a program need not be type-checked. */
function checkOutcome(outcome: Outcome, option: string): Outcome {
  checkObject(option, "an outcome or the words for it", outcome);
  const { failure = "", card = "cbcontact", delay = 0, fault = "silent", tags = {} } = outcome;
  const names = ["failure", "card", "delay", "fault", "tags", ...keysOf(FLAGS)];
  checkNames(option, "an outcome of", names, outcome);
  if (typeof failure !== "string" || !/^(\d\d)?$/.test(failure)) {
    throw new OptionError(option, "an AF code of two digits", failure);
  }
  for (const [value, table] of [[card, CARDS], [fault, FAULTS]] as const) {
    if (typeof value === "string" && Object.hasOwn(table, value)) continue;
    if (value === fault && typeof (value as Partial<Fault>)?.send === "function") continue;
    throw new OptionError(option, `one of ${Object.keys(table).join(", ")}`, value);
  }
  for (const flag of keysOf(FLAGS)) checkBoolean(option, outcome[flag]);
  const [min, max, ...more] = Array.isArray(delay) ? delay : [delay, delay];
  if (more.length > 0) throw new OptionError(option, "a delay of one or two numbers", delay);
  inRange(option, { min: inRange(option, SECONDS, min ?? null), max: SECONDS.max }, max ?? null);
  checkObject(option, "tags and their values", tags);
  for (const [tag, value] of Object.entries(tags)) {
    encodeText({ [tag]: value === "" ? "-" : value });
  }
  return {
    ...outcome,
    ...(typeof delay === "object" && { delay: [...delay] as const }),
    ...(outcome.tags && { tags: { ...tags } }),
  };
}

/** Refuses an object with a name that is none of those known, and suggests the nearest. */
export function checkNames(
  option: string,
  what: string,
  known: readonly string[],
  given: object,
): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new OptionError(option, `${what} ${known.join(", ")}`, unknown, nearest(unknown, known));
}

function checkObject(option: string, expected: string, got: unknown): void {
  if (Object.prototype.toString.call(got) === "[object Object]") return;
  throw new OptionError(option, expected, got);
}

/** Refuses what is neither true nor false; absent is false. */
export function checkBoolean(option: string, got: unknown = false): boolean {
  if (typeof got === "boolean") return got;
  throw new OptionError(option, "true or false", got);
}

/** An outcome in the words of {@linkcode parseOutcome}; a fault of one's own has none. */
export function formatOutcome(outcome: Outcome): string {
  const { failure = "", delay, tags = {} } = outcome;
  const words = [failure];
  for (const [word, part] of WORDS) {
    const [[kind, value] = []] = Object.entries(part);
    if (kind === "failure" && value === failure) words[0] = word;
    else if (kind !== "failure" && value === outcome[kind as keyof Outcome]) words.push(word);
  }
  if (delay !== undefined) words.push(`delay=${[delay].flat().join("..")}`);
  for (const [tag, value] of Object.entries(tags)) {
    words.push(`${tag}=${value.replace(/[\\,]/g, "\\$&")}`);
  }
  return words.join(",");
}

/** The keys of a table as what they are. */
function keysOf<Key extends string>(table: Readonly<Record<Key, unknown>>): Key[] {
  return Object.keys(table) as Key[];
}

// ---------------------------------------------------------------- what is answered

/** What an answer depends on besides the request and the outcome. */
export interface AnswerContext {
  /** CG. */
  sellerContract: string;
  /** The moment of the request. */
  time: Date;
  /** The last attempts of the cash register to move money, the newest last. */
  attempts: () => readonly Attempt[];
  /** Chance, see {@linkcode Clock}. */
  random: () => number;
  /** Whether it is the AE 11 that comes before the answer. (4) */
  isInterim?: boolean;
}

/** An attempt of a cash register to move money, as a duplicate tells it. */
export interface Attempt {
  /** What was asked for. */
  readonly request: Readonly<Message>;
  /** How it ended, whether the answer arrived or not. */
  readonly answer: Readonly<Message>;
  /** When it was asked for. */
  readonly time: Date;
}

/** Tells what is answered: {@linkcode answerTo}, or something around it. */
export type Answer = typeof answerTo;

/** What a terminal answers to a request that it serves. */
export function answerTo(
  request: Readonly<Message>,
  outcome: Outcome,
  context: AnswerContext,
): Message {
  const { failure = "", tags, padded = false } = outcome;
  const answer = echo(request);
  const { CD: action, BA } = request;
  if (context.isInterim) return setTags(answer, { AE: "11" });
  if (action === "I") setTags(answer, { CB: "", CE: "", AE: "10" });
  else if (BA === "1") answer["AE"] = "11";
  else if (movesMoney(action)) setTags(answer, moneyResult(request, outcome, context));
  else if (failure) setTags(answer, { AE: "01", AF: failure });
  else if (action === "3") setTags(answer, duplicateOf(context.attempts().at(-1)));
  else answer["AE"] = "10";
  if (padded && answer["CB"]) answer["CB"] = answer["CB"].padStart(12, "0");
  return setTags(answer, tags);
}

/** The answer to a request that is not served: AE 01, and AF. */
export function notServed(request: Readonly<Message>, AF: string): Message {
  return setTags(echo(request), { AE: "01", AF });
}

/**
 * The fields of a request that its answer gives back, in their order, CZ first (1): the terminal's
 * own where there is none (our choice: that of the reference). Not those without a value, which a
 * terminal leaves out (2)(6), nor AE, AF and ZT, which are the terminal's to say.
 */
function echo(request: Readonly<Message>): Message {
  const fields: Message = { CZ: request["CZ"] || "0300" };
  for (const tag in request) {
    const value = request[tag]!;
    if (value !== "" && tag !== "AE" && tag !== "AF" && tag !== "ZT") fields[tag] = value;
  }
  return fields;
}

/** The application that a request asks for. CC 000 (any) and 00C (cheque) ask for none. */
export function askedFor({ CC = "000" }: Readonly<Message>): string | undefined {
  return CC === "000" || CC === "00C" ? undefined : CC;
}

/**
 * The fields that tell how money was moved, or why not (AF), in the order of the reference. (1) One
 * without a value is left out.
 */
function moneyResult(
  request: Readonly<Message>,
  { failure, card }: Outcome,
  { sellerContract, time, random }: AnswerContext,
): Message {
  const cheque = request["CC"] === "00C";
  // For cheques an Ingenico answers AF 04 whatever the reason, and no card data on success. (1)
  if (failure) return { AE: "01", AF: cheque ? "04" : failure };
  if (cheque) return { AE: "10" };
  const asked = askedFor(request);
  const known = asked === undefined || card
    ? CARDS[card ?? "cbcontact"]
    : Object.values(CARDS).find(({ CC }) => CC === asked);
  const digits = (count: number): string =>
    String(Math.floor(random() * 10 ** count)).padStart(count, "0");
  const expiry = two((time.getFullYear() + 1) % 100) + two(1 + Math.floor(random() * 12));
  return {
    AE: "10",
    CC: known?.CC ?? asked ?? "",
    CI: known?.CI ?? "",
    AC: digits(6),
    // No source has any card data of holiday vouchers.
    ...(known?.CI && { AA: `${digits(6)}######${digits(4)}`, AI: known.AI, AB: expiry }),
    CF: request["CF"] || "1010000000",
    CG: sellerContract,
  };
}

/**
 * What a duplicate tells: how the last attempt ended if it was approved, else AE 01. (9) AF is our
 * choice.
 */
export function duplicateOf(last: Attempt | undefined): Message {
  if (last?.answer["AE"] !== "10") return { AE: "01", AF: last ? "07" : "10" };
  return resultOf(last.answer);
}

/** What of the answer to an attempt tells how it ended, apart from what is of its own request. */
export function resultOf(answer: Readonly<Message>): Message {
  const { CZ: _CZ, CJ: _CJ, CD: _CD, CK: _CK, BA: _BA, ZT: _ZT, ...result } = answer;
  return result;
}

/** Sets tags of an answer; "" leaves one out. */
export function setTags(answer: Message, tags: Readonly<Message> = {}): Message {
  for (const tag in tags) {
    const value = tags[tag]!;
    if (value !== "") answer[tag] = value;
    else if (tag in answer) delete answer[tag]; // which makes it slow, even where there is none
  }
  return answer;
}

/** A number of two digits. */
function two(number: number): string {
  return String(number).padStart(2, "0");
}

// ---------------------------------------------------------------- a request, and the way back

/** A part of a message, as it came or went. */
export interface Segment {
  /** When, from the request's last byte, in milliseconds; before it they are negative. */
  readonly milliseconds: number;
  /** How many bytes. */
  readonly bytes: number;
}

/** That a POS has left without the whole answer, or without reading it. */
export interface Gone {
  /** From the request's last byte, in milliseconds. */
  readonly milliseconds: number;
  /** What had been sent, AE 11 too, as Latin-1 text. */
  readonly sent: string;
}

/** One of the two sides of a connection. */
export type Side = "pos" | "terminal";

/** Something that happens. The record of the request has all about it. */
export type Happened = {
  /**
   * `listening`, `request`, `decided`, `interim` (AE 11 was sent), `due` (the answer is, and nothing
   * of it is sent yet), `gone`, `answered` (what there was to send is out), `over` (nothing more
   * comes of the request), `warning`, `closed`, `log`, or another that only subscribers know.
   */
  event: string;
  request?: Request;
  connection?: number; // where there is no request
  fields?: () => object; // what subscribers are told
  text?: () => string; // a line for the log
  level?: LogLevel; // of that line; info if not given
};

/** Is told what happens, in the order in which it does. */
export type Listener = (happened: Happened) => void;

/** Answers a request. It is done when the promise is, or at once where there is none. */
export type Handler = (request: Request, wire: Wire) => void | Promise<void>;

/** The way back to a POS. */
export interface Wire {
  /** What has been sent of the answer, as Latin-1 text. AE 11 is none of it. */
  readonly sent: string;
  /** Aborted when the terminal was closed or reset: nothing more is to be done. */
  readonly ended: AbortSignal;
  /** Sends Latin-1 text; gives whether the POS was still there. */
  send(bytes: string, part?: "interim"): boolean;
  /** Closes the connection, or resets it. */
  end(how?: "reset"): void;
}

/** The connection that requests come on, as far as they need it. */
export type Line = {
  readonly number: number; // from 1
  readonly address: string; // of the POS
  readonly socket: net.Socket;
  readonly settings: Settings;
  readonly tell: Listener;
  hangUp(how?: "reset"): void;
  drop(why: string): void; // at once, since something is wrong
};

/**
 * Milliseconds after its request within which a POS that has been sent nothing may close its side
 * and still wait for the answer, as nc does. One that closes it later has given up (our choice).
 */
export const HALF_CLOSE_WINDOW = 100;
/** Milliseconds after AE 11 within which a POS that leaves has taken it for the result (our choice). */
const TAKES_INTERIM = 5_000;
/** Least milliseconds that a POS must wait: a person needs 10 to 60 s. (1) */
const LEAST_WAIT = 60_000;
/** Segments of a message that are told one by one (our choice). */
const MAX_SEGMENTS = 100;

/** A request of a POS, and the way back to it: the one record of what becomes of it. */
export class Request implements Wire {
  /** Counted from 1, unique as long as the terminal lives. */
  readonly number: number;
  /** The connection it came on. */
  readonly line: Line;
  /** What came. Once it is over without fields: kept, they cost time. */
  received: Received;
  /** Its cash register, CA. */
  readonly register: string | undefined;
  /** Its action, CD. */
  readonly action: string | undefined;
  /** The segments it came in; of very many, the last stands for the rest. */
  readonly segments: readonly Segment[];
  /** When its last byte came, in milliseconds of {@linkcode Clock.now}. */
  readonly at: number;
  /** When the terminal began with it, in the same: a busy one may do that later. */
  begun: number;
  /** The same as a date. */
  readonly time: Date = new Date();
  /** Each deviation of it from the protocol, and what else was noticed about it. */
  readonly warnings: Warning[];
  /** How it is to end, if it came that far. */
  outcome: Outcome | undefined;
  /** What decided that: an option, or who. */
  decided: string | undefined;
  /** The answer, once it is due, as Latin-1 text. */
  due = "";
  /** The same where it moved money or should have: after BA 1, what the answer does not tell. */
  attempt = "";
  /** AE 11, once it is sent before the answer. */
  interim: { readonly raw: string; readonly milliseconds: number } | undefined;
  sent = "";
  /** The segments of the answer. */
  readonly sentSegments: Segment[] = [];
  /** Whether something of the answer was to be sent. */
  sendsAnswer = false;
  /** What of the answer was lost since the POS had gone: the rest, or all. */
  lost: "rest" | "all" | undefined;
  /** That the POS has gone, if so. */
  gone: Gone | undefined;
  /** Whether the answer goes to the POS another way: that it leaves here says nothing then. */
  isElsewhere = false;
  /** Whether the connection is done with it. */
  isDone = false;
  /** When its answer was out. */
  answered: Date | undefined;
  /** When it was over: nothing more comes of it. */
  over: Date | undefined;
  /** That the connection was closed after it: when, from its last byte, and by whom first. */
  closed: { readonly milliseconds: number; readonly by: Side } | undefined;
  /** What others know of it, for its transaction. */
  noted: object | undefined;
  #why: "closed" | "reset" | "ended" | undefined;
  #left: AbortController | undefined; // made when it is asked for: most handlers need none
  #ended: AbortController | undefined;

  /** A request that is there as a whole. */
  constructor(
    line: Line,
    number: number,
    received: Received,
    deviations: readonly Deviation[],
    segments: readonly Segment[],
    at: number,
  ) {
    this.line = line;
    this.number = number;
    this.received = received;
    this.register = received.message["CA"];
    this.action = received.message["CD"];
    this.warnings = [...deviations];
    this.segments = segments;
    this.at = this.begun = at;
  }

  /** Its fields. */
  get message(): Readonly<Message> {
    return this.over ? readable(this.received.raw) : this.received.message;
  }

  /** Milliseconds since its last byte. */
  get milliseconds(): number {
    return Math.round(this.line.settings.clock.now() - this.at);
  }

  /** Aborted when nobody waits for it: its POS has "closed" or "reset", or it is "ended". */
  get left(): AbortSignal {
    this.#left ??= new AbortController();
    if (this.#why) this.#left.abort(this.#why);
    return this.#left.signal;
  }

  get ended(): AbortSignal {
    this.#ended ??= new AbortController();
    if (this.#why === "ended") this.#ended.abort(this.#why);
    return this.#ended.signal;
  }

  /** Tells what happens to it. */
  tell(event: string, fields?: () => object): void {
    this.line.tell({ event, request: this, ...(fields && { fields }) });
  }

  /** Tells what was noticed about it, and perhaps `more` of that to subscribers. */
  warn(warning: Warning, level: LogLevel = "warn", more?: object): void {
    this.warnings.push(warning);
    const fields = (): object => ({ ...warning, ...more });
    this.line.tell({ event: "warning", request: this, fields, text: () => warning.text, level });
  }

  send(bytes: string, part?: "interim"): boolean {
    const { socket, settings: { bounds } } = this.line;
    // It may still read after it has closed its side, but not what it has left in the middle.
    const isThere = socket.writable && this.#why !== "ended" && !(this.gone && this.sent !== "");
    if (!isThere) return this.note("", part);
    if (this.sentSegments.length === 1) socket.setNoDelay(); // or the system puts them together
    socket.write(bytes, "latin1");
    const unread = socket.writableLength;
    if (unread <= bounds.unreadBytes) return this.note(bytes, part, true);
    this.line.drop(`${unread} bytes of answers are not read`);
    return this.note(bytes.slice(0, -unread), part, false);
  }

  end(how?: "reset"): void {
    this.isDone = true;
    if (this.#why !== "ended") this.line.hangUp(how);
  }

  /** Takes note of what went out, and whether that is all; gives whether the POS was there. */
  note(bytes: string, part?: "interim", isAll: boolean = bytes !== ""): boolean {
    const { milliseconds, gone } = this;
    if (part && isAll) {
      this.interim = { raw: bytes, milliseconds };
      this.tell("interim");
    } else if (!part) {
      this.isDone = this.sendsAnswer = true;
      const isNone = this.sent === "" && (gone || bytes === "");
      if (gone || !isAll) this.lost ??= isNone ? "all" : "rest";
      this.sent += bytes;
      if (bytes !== "") addSegment(this.sentSegments, milliseconds, bytes.length);
    }
    return gone === undefined && isAll;
  }

  /**
   * Its POS has left. One that has only closed its side may wait for the answer as nc does;
   * `forGood`: the whole connection has ended.
   */
  leave(why: "closed" | "reset" | "ended", forGood: boolean): void {
    if (this.isElsewhere && why !== "ended") return;
    if (this.#why !== "ended") this.#why = why;
    this.#left?.abort(why);
    if (why === "ended") this.#ended?.abort(why);
    const { milliseconds, sent } = this;
    const all = (this.interim?.raw ?? "") + sent;
    const mayWait = all === "" && milliseconds < HALF_CLOSE_WINDOW;
    if (this.gone || !forGood && (why === "ended" || mayWait)) return;
    const gone = this.gone = { milliseconds, sent: all };
    if (sent !== "" && !this.over) this.lost = "rest";
    this.tell("gone", () => gone);
    const [code, text] = why === "ended" ? [] : this.#goneWarning(milliseconds) ?? [];
    if (code !== undefined && text !== undefined) this.warn({ code, text });
  }

  /** What its POS does wrong by leaving now, if it does. */
  #goneWarning(milliseconds: number): [code: string, text: string] | undefined {
    const { sent, interim } = this;
    const unread = "it has perhaps not read the answer";
    if (this.over) return ["not-read", `the POS reset the connection: ${unread}`];
    const left = `the POS left after ${sent.length} bytes of the answer were sent`;
    if (sent !== "") return ["read-once", `${left}: it must read on until the answer is whole`];
    const after = milliseconds - (interim?.milliseconds ?? -Infinity);
    if (after < TAKES_INTERIM) {
      const advice = "AE 11 is not the result: read on until AE 10 or AE 01";
      return ["took-interim", `the POS left ${after} ms after AE 11: ${advice}`];
    }
    if (!movesMoney(this.action) || milliseconds >= LEAST_WAIT) return undefined;
    const seconds = (Math.floor(milliseconds / 100) / 10).toFixed(1); // not 60.0 before 60 s
    return ["impatient", `the POS gave up after ${seconds} s: a person needs 10 to 60 s to pay`];
  }
}

/** Adds a segment to those that are told; the last of very many stands for the rest. */
export function addSegment(segments: Segment[], milliseconds: number, bytes: number): void {
  if (segments.length < MAX_SEGMENTS) segments.push({ milliseconds, bytes });
  else segments.push({ milliseconds, bytes: bytes + segments.pop()!.bytes });
}

/** Tells several listeners; what one tells meanwhile comes after. */
export function telling(listeners: Iterable<Listener>): Listener {
  const queue: Happened[] = [];
  return (happened) => {
    if (queue.push(happened) > 1) return;
    for (let next = queue[0]; next; queue.shift(), next = queue[0]) {
      for (const listener of listeners) listener(next);
    }
  };
}

// ---------------------------------------------------------------- the network

/** Something that listens. */
export interface Listening {
  /** The address; "::" or "0.0.0.0" is every interface. */
  readonly host: string;
  /** The TCP port. */
  readonly port: number;
  /** What accepts connections: closed, it refuses them, and what is under way goes on. */
  readonly server: net.Server;
  /** Ends requests as if their POS had gone, and connections on which no other is under way. */
  drop(wanted: (request: Request) => boolean): void;
  /** Stops, and ends all connections. */
  close(): Promise<void>;
}

/** What serves a connection, and perhaps lives longer. */
export type Served = {
  drop: (wanted: (request: Request) => boolean) => void; // as that of Listening
  stop: () => void; // ends it at once, with all that is under way
};

/**
 * Listens for the requests of POS, and has each answered.
 *
 * @param judge What the protocol does not want of a request. Default: {@linkcode deviations}.
 * @throws {ListenError} It cannot listen there.
 */
export async function listen(
  settings: Settings,
  handle: Handler,
  tell: Listener,
  judge: (received: Received) => Deviation[] = deviations,
): Promise<Listening> {
  const service: Service = {
    settings,
    handle,
    tell,
    judge,
    requests: 0,
    left: new Map(),
    queued: 0,
  };
  const connections = new Set<Connection>();
  const listening = await accept(settings, tell, (socket, number, done) => {
    const one = new Connection(service, socket, number, () => {
      connections.delete(one);
      done();
    });
    connections.add(one);
    return one;
  });
  // One look at all of them: a timeout of each socket is a tenth of a payment's time in Deno.
  const { idle, keep, keepAlive } = settings.bounds;
  const look = setInterval(() => {
    for (const connection of connections) connection.checkIdle();
  }, Math.min(IDLE_CHECK, idle, keep, keepAlive || Infinity));
  return {
    ...listening,
    close() {
      clearInterval(look);
      return listening.close();
    },
  };
}

/** Most milliseconds between two looks for idle connections (our choice). */
const IDLE_CHECK = 10_000;

/**
 * Listens, and has each connection served, up to the bound at once.
 *
 * @param serve Serves one; `done` says when it is over.
 * @throws {ListenError} It cannot listen there.
 */
export async function accept(
  { host: name, port: wanted, bounds }: Settings,
  tell: Listener,
  serve: (socket: net.Socket, number: number, done: () => void) => Served,
): Promise<Listening> {
  const sockets = new Set<net.Socket>();
  const all = new Set<Served>();
  let accepted = 0;
  let onEmpty = (): void => {};
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const connection = ++accepted;
    socket.on("error", () => {}); // which "close" follows
    if (sockets.size >= bounds.connections) { // not by maxConnections, of which Deno tells nothing
      const text = (): string => `closed: ${sockets.size} connections are open already`;
      tell({ event: "log", connection, text, level: "warn" });
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    const one = serve(socket, connection, () => {
      all.delete(one);
      if (all.size === 0) onEmpty();
    });
    all.add(one);
  });
  const { address: host, port } = await listenOn(server, wanted, name);
  const shut = async (): Promise<void> => {
    const empty = new Promise<void>((resolve) => {
      onEmpty = resolve;
      if (all.size === 0) resolve();
    });
    for (const one of all) one.stop();
    if (server.listening) await Promise.all([once(server.close(), "close"), empty]);
    else await empty;
  };
  let closed: Promise<void> | undefined;
  return {
    host,
    port,
    server,
    drop: (wanted) => all.forEach((one) => one.drop(wanted)),
    close: () => closed ??= shut(),
  };
}

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use by another program: stop it, or take another port (-p)",
  EADDRNOTAVAIL: "this machine has no such address",
  EINVAL: "this machine has no such address", // what Deno says for EADDRNOTAVAIL
  ENOTFOUND: "there is no host of that name",
  EACCES: "not permitted; ports below 1024 are reserved",
  EPERM: "not permitted; Deno needs --allow-net for a name as well",
};

/** A terminal cannot listen. The message names host and port and says why; `cause` is the system's. */
export class ListenError extends Error {
  /** @ignore */
  override name = "ListenError";

  /** An error about a host, "" for every interface, and a port. */
  constructor(host: string, port: number, cause: NodeJS.ErrnoException) {
    const where = `${host ? `host ${host}` : "every interface"}, port ${port}`;
    const why = LISTEN_ERRORS[cause.code ?? ""] ?? cause.message;
    super(`cannot listen on ${where}: ${why}`, { cause });
  }
}

/**
 * Connections that the system keeps until they are accepted: with 511, the default, tills that
 * connect at the same moment wait a second for their second SYN.
 */
const BACKLOG = 4_096;

/** Has a server listen. Without a host it takes every interface, IPv6 and IPv4 where there are both. */
export async function listenOn(
  server: net.Server,
  port: number,
  host: string = "",
): Promise<net.AddressInfo> {
  try {
    server.listen({ port, backlog: BACKLOG, ...(host && { host }) });
    await once(server, "listening");
  } catch (cause) {
    throw new ListenError(host, port, cause as Error);
  }
  return server.address() as net.AddressInfo;
}

/** What the connections of a terminal share. */
type Service = {
  settings: Settings;
  handle: Handler;
  tell: Listener;
  judge: (received: Received) => Deviation[];
  requests: number; // how many there were
  left: Map<Request, Connection>; // under way on connections that have ended, the oldest first
  queued: number; // bytes of requests that wait, or are being handled
};

/**
 * The conversation with one POS: cuts what it sends into requests, and has them handled one after
 * another; a delay counts from its request all the same. A POS that leaves does not end its payment:
 * the person at the terminal may still pay.
 */
class Connection implements FramerOwner, Line, Served {
  readonly socket: net.Socket;
  readonly number: number;
  readonly address: string; // which a closed socket does not know any more
  readonly settings: Settings;
  readonly tell: Listener;
  readonly #service: Service;
  readonly #done: () => void;
  readonly #framer: MessageFramer;
  readonly #queue: Request[] = []; // the one that is being handled, and those after it
  readonly #open = new Set<Request>(); // that are not over: some are never answered
  #queued = 0; // bytes of #queue
  #last: Request | undefined;
  #overdue: ReturnType<typeof setTimeout> | undefined; // the request has taken too long by then
  #closing: ReturnType<typeof setTimeout> | undefined; // the POS must have closed its side by then
  #arrived = 0; // when the last byte came
  #pieces: Segment[] = []; // of the request in progress, by the clock
  #active: number; // when the last request or answer was there
  #hasEnded = false; // the POS has closed its side
  #by: Side | undefined; // who closed first

  constructor(service: Service, socket: net.Socket, number: number, done: () => void) {
    this.#service = service;
    this.socket = socket;
    this.number = number;
    this.#done = done;
    this.settings = service.settings;
    this.tell = service.tell;
    this.address = socket.remoteAddress ?? "";
    this.#active = this.settings.clock.now();
    this.#framer = new MessageFramer(this, this.settings.bounds.requestBytes);
    this.#log("debug", () => `connected from ${this.address} port ${socket.remotePort}`);
    socket.setEncoding("latin1").on("data", (chunk: string) => this.#read(chunk));
    socket.on("end", () => this.#onEnd());
    socket.on("close", () => this.#onClose());
  }

  pause(fields: Readonly<Message>): number {
    return requestPause(fields, this.settings.gap);
  }

  onControl(characters: string): void {
    this.#log("debug", () => `skipped between messages: ${printable(characters)}`);
  }

  drop(what: string | ((request: Request) => boolean)): void {
    if (typeof what === "string") {
      this.#log("warn", () => `dropped: ${what}`);
      this.#by ??= "terminal";
      this.socket.destroy();
      return;
    }
    const dropped = [...this.#open].filter(what);
    for (const request of dropped) this.#end(request, true);
    if (dropped.length > 0 && this.#open.size === 0) this.stop();
  }

  stop(): void {
    this.#by ??= "terminal";
    for (const request of this.#open) this.#end(request, false);
    this.socket.destroy();
  }

  #end(request: Request, isGone: boolean): void {
    request.leave("ended", isGone);
    this.#over(request);
    const at = this.#queue.indexOf(request);
    if (at > 0) this.#dequeue(at); // the first goes when its handler is done
  }

  #dequeue(at: number): void {
    const [request] = this.#queue.splice(at, 1);
    this.#queued -= request!.received.raw.length;
    this.#service.queued -= request!.received.raw.length;
  }

  #log(level: LogLevel, text: () => string): void {
    this.tell({ event: "log", connection: this.number, text, level });
  }

  #read(chunk: string): void {
    const { clock, bounds } = this.settings;
    this.#arrived = clock.now();
    if (chunk !== "") addSegment(this.#pieces, this.#arrived, chunk.length);
    this.#framer.feed(chunk);
    const { state } = this.#framer;
    if (state === "whole" || state === "incomplete") {
      this.#overdue ??= setTimeout(() => this.#finish(), bounds.request);
    } else this.#pieces = [];
    const { length } = this.#queue;
    const isFull = length >= bounds.waiting || this.#queued >= bounds.waitingBytes;
    // Of a POS that waits for one answer is read on, or it could not be seen to leave.
    const isTooMuch = length > 1 && this.#service.queued >= bounds.allWaitingBytes;
    if (!isFull && !isTooMuch) return;
    this.socket.pause(); // and nothing is cut where reading stopped
    this.#framer.hold();
    this.#inTime();
  }

  #inTime(): void {
    clearTimeout(this.#overdue);
    this.#overdue = undefined;
  }

  onMessage(received: Received): void {
    if (!this.socket.writable) return; // nothing is served any more
    this.#inTime();
    const found = this.#service.judge(received);
    if (this.#last && received.fields.length > 0 && received.message["CZ"] === undefined) {
      found.unshift({ code: "late", text: "expected no more fields after the answer" });
    }
    const at = this.#arrived;
    const segments = this.#pieces.map(({ milliseconds, bytes }) => ({
      milliseconds: Math.round(milliseconds - at),
      bytes,
    }));
    this.#pieces = [];
    const request = new Request(this, ++this.#service.requests, received, found, segments, at);
    this.#last = request;
    this.#active = at;
    this.#open.add(request);
    this.#queue.push(request);
    this.#queued += received.raw.length;
    this.#service.queued += received.raw.length;
    request.tell("request");
    if (this.#hasEnded) request.leave("closed", false);
    if (this.#queue.length === 1) this.#handle();
  }

  /** Has the requests handled that are there, each after the one before it. */
  #handle(): void {
    for (let request = this.#queue[0]; request; request = this.#queue[0]) {
      const one = request;
      const done = one.over ? undefined : this.#service.handle(one, one);
      if (done) {
        const failed = (error: unknown): void => {
          if (error !== "ended") callBack(() => Promise.reject(error));
        };
        done.catch(failed).then(() => {
          this.#onHandled(one);
          this.#handle();
        });
        return;
      }
      this.#onHandled(one);
    }
    if (this.socket.isPaused()) {
      this.socket.resume();
      this.#read("");
    }
    if (this.#hasEnded) this.hangUp();
  }

  #onHandled(request: Request): void {
    this.#dequeue(0);
    if (request.over) return;
    this.#active = this.settings.clock.now();
    if (request.sendsAnswer) request.answered = new Date();
    request.tell("answered");
    if (request.isDone || this.socket.destroyed) this.#over(request);
  }

  #over(request: Request): void {
    if (request.over) return;
    request.over = request.answered ?? new Date();
    request.received = { ...request.received, fields: [], message: {} };
    this.#open.delete(request);
    this.#service.left.delete(request);
    request.tell("over");
    if (this.socket.destroyed && this.#open.size === 0) this.#done();
  }

  /** The POS has closed its side. It may have gone, or wait for its answers as nc does. */
  #onEnd(): void {
    this.#by ??= "pos";
    for (const request of this.#open) request.leave("closed", false);
    this.#finish();
  }

  /** Takes what is there as the last request, and closes the connection after its answer. */
  #finish(): void {
    this.#hasEnded = true;
    const left = this.#framer.end();
    if (left) this.onMessage(left);
    this.socket.removeAllListeners("data").resume();
    if (this.#queue.length === 0) this.hangUp();
  }

  /** Closes the connection if nothing has come for too long, and probes whether the POS is there. */
  checkIdle(): void {
    const { clock, bounds: { idle, keep, keepAlive } } = this.settings;
    const [most, what] = this.#last ? [keep, "nothing"] : [idle, "no request"];
    const quiet = clock.now() - this.#active;
    if (this.#open.size === 0 && quiet >= most) this.drop(`${what} has come for ${most} ms`);
    else if (keepAlive > 0 && quiet >= keepAlive) this.socket.setKeepAlive(true, keepAlive);
  }

  /** Half-closes: to destroy would send RST if input is unread, and the POS could lose the answer. */
  hangUp(how?: "reset"): void {
    this.#by ??= "terminal";
    if (how) return reset(this.socket);
    if (!this.socket.writable) return; // it is closed already
    this.socket.end();
    if (this.#by === "pos" && this.socket.writableLength === 0) return; // it is closed with that
    this.#closing = setTimeout(() => this.socket.destroy(), this.settings.bounds.close);
  }

  #onClose(): void {
    this.#inTime();
    clearTimeout(this.#closing);
    this.#framer.end();
    this.#hasEnded = true;
    const { errored, writableEnded } = this.socket;
    const how = (errored as NodeJS.ErrnoException)?.code === "ECONNRESET" ? "reset" : "closed";
    const last = this.#last;
    const unanswered = this.#open.size > 0 ? `, ${this.#open.size} without an answer` : "";
    this.#log("debug", () => `closed${unanswered}${errored ? `: ${errored.message}` : ""}`);
    if (!writableEnded) { for (const request of this.#open) request.leave(how, true); }
    if (how === "reset" && last?.over && last.sent !== "") last.leave(how, true);
    const by = this.#by ??= "pos";
    if (last) last.closed = { milliseconds: last.milliseconds, by };
    const fields = last && (() => ({ by }));
    this.tell({ event: "closed", connection: this.number, ...(fields && { fields }) });
    const { left } = this.#service;
    for (const request of this.#open) {
      if (this.#queue.includes(request)) left.set(request, this);
      else this.#over(request); // it is never answered
    }
    for (const [request, connection] of left) {
      if (left.size <= this.settings.bounds.left) break;
      connection.#end(request, false);
    }
    if (this.#open.size === 0) this.#done();
  }
}

/** Resets a connection. While it is being ended Node cannot, and would keep the socket for ever. */
export function reset(socket: net.Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}

// ---------------------------------------------------------------- how a request is handled

/** How a request is to end, what decided that, and whether AE 11 is sent before it is known. */
export type Decision = {
  outcome: Outcome | Promise<Outcome>;
  by: string;
  pending?: boolean | undefined;
};

/** What a terminal is made of, for {@linkcode answering}. Settings may change while it runs. */
export type Parts = {
  settings: Settings;
  journal: Journal;
  decide: (request: Request) => Decision; // on one that is served
  answer?: Answer; // answerTo, if not given
  refuse?: (request: Request) => string | undefined; // refusal(), if not given
  unserved?: (request: Readonly<Message>, AF: string) => Message; // notServed(), if not given
};

/** The AF that a request is refused with, whatever the outcome, if it is. */
export function refusal(request: Request, strict: boolean): string | undefined {
  const isRefused = ({ code }: Warning): boolean => {
    const by = DEVIATIONS[code as Deviation["code"]];
    return by === "always" || (strict && by === "strict");
  };
  if (request.warnings.some(isRefused)) return "09";
  return ACTIONS.has(request.action ?? "") ? undefined : "12";
}

/** The handler of a terminal: refuses or decides, and answers when it is time. */
export function answering(parts: Parts): Handler {
  const { settings, journal, decide, answer = answerTo, unserved = notServed } = parts;
  const { refuse = (request) => refusal(request, settings.strict) } = parts;
  const { clock, bounds } = settings;

  const answerOf = (request: Request, outcome: Outcome, more?: object, isInterim = false) =>
    answer(more ? { ...request.message, ...more } : request.message, outcome, {
      sellerContract: settings.sellerContract,
      time: request.time,
      attempts: () => journal.attempts(request.register),
      random: () => clock.random(),
      isInterim,
    });

  const sendInterim = async (request: Request, wire: Wire): Promise<void> => {
    if (isAtOnce(request)) return;
    await settle(wire, clock);
    wire.send(encodeText(answerOf(request, {}, undefined, true)), "interim");
  };

  /** Answers as an outcome says, when it is time. */
  const serve = (request: Request, wire: Wire, outcome: Outcome): void | Promise<void> => {
    const reply = (): void | Promise<void> => {
      const due = answerOf(request, outcome);
      // After BA 1 the payment is made all the same, though its answer does not tell how it ended.
      const isTold = request.message["BA"] !== "1";
      const attempt = movesMoney(request.action) &&
        (isTold ? due : answerOf(request, outcome, { BA: "0" }));
      return sendDue(request, wire, due, outcome, attempt || undefined);
    };
    const { delay = settings.duration } = outcome;
    const seconds = isAtOnce(request) ? 0 : drawDelay(delay, clock);
    const wait = request.begun + 1000 * seconds - clock.now();
    return wait > 0 ? clock.sleep(wait, wire.ended).then(reply) : reply();
  };

  const sendDue = (
    request: Request,
    wire: Wire,
    due: Message,
    outcome: Outcome,
    attempt?: Message,
  ): void | Promise<void> => {
    request.due = encodeText(due);
    if (attempt) request.attempt = attempt === due ? request.due : encodeText(attempt);
    request.tell("due");
    return send(request.due, outcome, wire, clock);
  };

  /** Answers once it is decided how, but does not wait for ever. */
  const serveLater = async (request: Request, wire: Wire, decision: Decision): Promise<void> => {
    const stop = new AbortController();
    const tooLong = async (): Promise<Outcome> => {
      await clock.sleep(bounds.decide, AbortSignal.any([stop.signal, wire.ended]));
      const text = `nobody decided within ${bounds.decide / 1000} s, answered AF 08`;
      request.warn({ code: "undecided", text });
      return { failure: "08" };
    };
    const { outcome: promise, by, pending } = decision;
    try {
      const deciding = Promise.race([promise, tooLong()]);
      deciding.catch(() => {}); // seen below
      if (pending) await sendInterim(request, wire);
      const outcome = await deciding;
      tellDecided(request, outcome, by);
      if (outcome.pending && !pending) await sendInterim(request, wire);
      await serve(request, wire, outcome);
    } catch (error) {
      if (wire.ended.aborted) return;
      const text = `the function that decides failed, answered AF 07: ${messageOf(error)}`;
      request.warn({ code: "no-outcome", text }, "error");
      callBack(() => {
        throw error; // or a test that is waiting for a decline would pass
      });
      const due = unserved(request.message, "07"); // not completed (our choice)
      sendDue(request, wire, due, {}, movesMoney(request.action) ? due : undefined);
    } finally {
      stop.abort("decided");
    }
  };

  return (request, wire) => {
    const AF = refuse(request);
    if (AF !== undefined) {
      const hangup = request.received.error !== undefined;
      return sendDue(request, wire, unserved(request.message, AF), { hangup });
    }
    const decision = decide(request);
    const { outcome, by } = decision;
    if (outcome instanceof Promise) return serveLater(request, wire, decision);
    tellDecided(request, outcome, by);
    if (!outcome.pending) return serve(request, wire, outcome);
    return sendInterim(request, wire).then(() => serve(request, wire, outcome));
  };
}

/** Tells how a request ends. */
function tellDecided(request: Request, outcome: Outcome, by: string): void {
  request.outcome = outcome;
  request.decided = by;
  request.tell("decided", () => ({ outcome: formatOutcome(outcome), by }));
}

/** Seconds of a delay, drawn if it is a range. */
export function drawDelay(delay: NonNullable<Outcome["delay"]>, clock: Clock): number {
  const [min, max] = typeof delay === "number" ? [delay, delay] : delay;
  return min + clock.random() * (max - min);
}

/** Whether no person has part in the answer: it waits for nothing. */
function isAtOnce({ action, message }: Request): boolean {
  return action === "I" || message["BA"] === "1";
}

/** Sends an answer, with what goes wrong with it. */
export function send(
  raw: string,
  outcome: Outcome,
  wire: Wire,
  clock: Clock,
): void | Promise<void> {
  const { hangup } = outcome;
  const fault = faultOf(outcome);
  const sending = fault ? fault.send(raw, wire, clock) : wire.send(raw);
  const end = (): void => hangup && (!fault || wire.sent !== "") ? wire.end() : undefined;
  return sending instanceof Promise ? sending.then(end) : end();
}

/** What an error says, whatever was thrown. */
function messageOf(error: unknown): string {
  try {
    return printable(error instanceof Error ? `${error.message}` : "what was thrown is no Error");
  } catch {
    return "what was thrown cannot be told";
  }
}

// ---------------------------------------------------------------- what happened

/** A message that was sent or received. */
export interface WireMessage {
  /** Its bytes as Latin-1 text. */
  readonly raw: string;
  /** Its fields, as far as they can be read. */
  readonly message: Readonly<Message>;
  /** Its segments, if there were several. */
  readonly segments?: readonly Segment[];
}

/** What was sent of an answer; where all of it was lost, the answer. */
export interface Sent extends WireMessage {
  /** What was lost since the POS had gone: the rest, or all. Default: nothing. */
  readonly lost?: "rest" | "all";
}

/** A request, and what became of it. */
export interface Transaction {
  /** Counted from 1, since the last reset. */
  readonly number: number;
  /** The connection it came on, counted from 1. */
  readonly connection: number;
  /** The address of the POS. */
  readonly address: string;
  /** When it was there as a whole. */
  readonly received: Date;
  /** What came. */
  readonly request: WireMessage;
  /** What is wrong with it, if it is malformed. */
  readonly error?: string;
  /** Each deviation of the request from the protocol, and what else was noticed about it. */
  readonly warnings: readonly Warning[];
  /** How it was to end, if it came that far. */
  readonly outcome?: Outcome;
  /** What decided that: an option, or who. */
  readonly decided?: string;
  /** AE 11, if it was sent before the answer. */
  readonly interim?: WireMessage & { readonly milliseconds: number };
  /** What was sent, if anything was or would have been. */
  readonly answer?: Sent;
  /** When that was out. */
  readonly answered?: Date;
  /** That the POS left without the whole answer or did not read it, if so. */
  readonly gone?: Gone;
  /** When it was over: answered, or never to be. */
  readonly ended?: Date;
  /** After it the connection was closed: when, from the request's last byte, and by whom first. */
  readonly closed?: { readonly milliseconds: number; readonly by: Side };
}

/**
 * Something that happened, as `--json` prints it: `listening` (host, port), `request` (address, raw,
 * message, segments, warnings; `invalid` where it is malformed, with error and at), `decided`
 * (outcome, by), `answer` (raw, message, segments, lost, outcome; AE 11 is one too), `gone` (sent),
 * `warning` (code, text, tag), `closed` (by).
 */
export type TerminalEvent = {
  readonly event: string;
  readonly time: string; // ISO 8601 with milliseconds
  readonly connection?: number;
  readonly transaction?: number;
  readonly milliseconds?: number; // from the request's last byte
  readonly raw?: string;
  readonly message?: Message;
  readonly [more: string]: unknown;
};

/** A transaction that was waited for does not come. */
export class WaitError extends Error {
  /** @ignore */
  override name = "WaitError";
  /** Why: the time is up, the terminal was reset or closed, or the signal was aborted. */
  readonly reason: "timeout" | "reset" | "closed" | "aborted";

  /** An error with the reason as a word and in words. */
  constructor(reason: WaitError["reason"], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Which transaction is waited for, and how long. */
export type WaitOptions = {
  timeout?: number | undefined; // milliseconds; for ever if not given
  signal?: AbortSignal | undefined; // gives up: the error has the reason "aborted"
  register?: string | undefined; // the cash register (CA) it is of; any if not given
  after?: number | undefined; // its number is above this one; else none is given twice
};

/** Keeps what happened, tells it as events, and is waited on. */
export class Journal {
  readonly #subscribers = new Set<(event: TerminalEvent) => void>();
  readonly #bounds: Bounds;
  readonly #kept = new Map<number, Request>(); // by their numbers
  readonly #attempts = new Map<string, Request[]>(); // by cash register
  readonly #given = new WeakSet<Request>(); // to a wait
  readonly #waits = new Map<(next: Request | WaitError) => void, WaitOptions>();
  #bytes = 0; // of what is kept
  #last = 0; // number of a request
  #base = 0; // requests before the last reset
  #isClosed = false;

  /** A journal that keeps so much. */
  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  /** Takes note of what happens, and tells it. */
  readonly listener: Listener = (happened) => {
    const { event, request } = happened;
    if (event === "request") this.#keep(request!);
    if (event === "due" && request) this.#keepAttempt(request);
    if (this.#subscribers.size > 0) this.#publish(happened);
    if (event !== "over" || this.#waits.size === 0) return;
    for (const next of [...this.#waits.keys()]) next(request!);
  };

  #publish({ event, request, connection = request?.line.number, fields }: Happened): void {
    const more = fields ?? (request && fieldsOf(event, request));
    if (!more) return;
    const told = {
      event: event === "interim" || event === "answered" ? "answer" : event,
      time: timeOf(event, request).toISOString(),
      ...(connection !== undefined && { connection }),
      ...(request && { transaction: this.numberOf(request) }),
      ...more(),
    };
    for (const subscriber of this.#subscribers) callBack(() => subscriber(told));
  }

  /** Has a function called with each event; gives one that stops this. */
  subscribe(subscriber: (event: TerminalEvent) => void): () => void {
    this.#subscribers.add(subscriber);
    return () => void this.#subscribers.delete(subscriber);
  }

  /** Keeps a request, and forgets the oldest if that makes too much. */
  #keep(request: Request): void {
    this.#last = request.number;
    this.#kept.set(request.number, request);
    this.#bytes += request.received.raw.length;
    const { transactions, transactionBytes } = this.#bounds;
    for (const oldest of this.#kept.values()) {
      if (this.#kept.size <= transactions && this.#bytes <= transactionBytes) break;
      this.#forget(oldest);
    }
  }

  #forget(request: Request): void {
    this.#kept.delete(request.number);
    this.#bytes -= request.received.raw.length;
  }

  /** The number of the transaction of a request. */
  numberOf(request: Request): number {
    return request.number - this.#base;
  }

  /** Copies of what is known, one by one: above a number, of a cash register or of any. */
  *transactions(after = 0, register?: string): Generator<Transaction> {
    const last = this.#last; // or one who reads slowly would come to no end
    for (const request of this.#kept.values()) {
      if (request.number > last) return;
      const number = this.numberOf(request);
      if (number > after && isOf(request, register)) yield transactionOf(request, number);
    }
  }

  /** A copy of what is known of one, if it is kept. */
  transaction(number: number): Transaction | undefined {
    const request = this.#kept.get(number + this.#base);
    return request && transactionOf(request, number);
  }

  /** Keeps what a duplicate may be asked about, longer than transactions: a till may ask for others. */
  #keepAttempt(request: Request): void {
    const { register = "", action, due, attempt } = request;
    // Of the register that collects only, so that tests run side by side (our choice).
    if (action === "B" && readable(due)["AE"] === "10") this.#attempts.delete(register);
    if (attempt === "") return;
    const attempts = this.#attempts.get(register) ?? [];
    if (attempts.push(request) > MAX_ATTEMPTS) attempts.shift();
    this.#attempts.delete(register); // so that it becomes the newest
    this.#attempts.set(register, attempts);
    const [oldest = ""] = this.#attempts.keys();
    if (this.#attempts.size > MAX_REGISTERS) this.#attempts.delete(oldest);
  }

  /** The attempts of a cash register to move money since its last collection (CD B), the newest last. */
  attempts(register = ""): Attempt[] {
    return (this.#attempts.get(register) ?? []).map((request) => ({
      request: request.message,
      answer: readable(request.attempt),
      time: request.time,
    }));
  }

  /** See {@linkcode Terminal.waitForTransaction}. */
  wait(options: WaitOptions = {}): Promise<Transaction> {
    const { timeout, signal, register, after } = options;
    if (timeout !== undefined) inRange("timeout", MILLISECONDS, timeout);
    const { promise, resolve, reject } = Promise.withResolvers<Transaction>();
    const settle = (next: Request | WaitError): void => {
      if (next instanceof WaitError) reject(next);
      else {
        const number = this.numberOf(next);
        const isNew = after === undefined ? !this.#given.has(next) : number > after;
        if (!next.over || !isNew || !isOf(next, register)) return;
        if (after === undefined) this.#given.add(next);
        resolve(transactionOf(next, number));
      }
      this.#waits.delete(settle);
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = (): void => settle(new WaitError("aborted", "nobody waits any more"));
    const onTimeout = (): void => {
      const of = register === undefined ? "" : ` of cash register ${register}`;
      const text = `no transaction${of} was over within ${timeout} ms; ${this.#status()}`;
      settle(new WaitError("timeout", text));
    };
    const timer = timeout === undefined ? undefined : setTimeout(onTimeout, timeout);
    this.#waits.set(settle, options);
    signal?.addEventListener("abort", onAbort);
    if (this.#isClosed) settle(new WaitError("closed", "the terminal was closed"));
    if (signal?.aborted) onAbort();
    for (const request of this.#kept.values()) if (this.#waits.has(settle)) settle(request);
    promise.catch(() => {}); // no error if nobody awaits it: a test may have failed before
    return promise;
  }

  /** What is under way, for people. */
  #status(): string {
    const texts = [...this.#kept.values()].filter(({ over }) => !over).map((request) => {
      const about = `${this.numberOf(request)} (${requestText(request.message)})`;
      return `transaction ${about} for ${(request.milliseconds / 1000).toFixed(1)} s`;
    });
    return texts.length === 0 ? "nothing is under way" : `under way: ${texts.join(", ")}`;
  }

  /** Ends the waits for a cash register, or all. */
  endWaits(reason: "reset" | "closed", register?: string): void {
    this.#isClosed ||= reason === "closed";
    const error = new WaitError(reason, `the terminal was ${reason}`);
    for (const [settle, wait] of [...this.#waits]) {
      if (register === undefined || wait.register === register) settle(error);
    }
  }

  /** Forgets what happened, at one cash register or at all. */
  forget(register?: string): void {
    for (const request of this.#kept.values()) if (isOf(request, register)) this.#forget(request);
    if (register !== undefined) return void this.#attempts.delete(register);
    this.#attempts.clear();
    this.#base = this.#last;
  }
}

/** When something happened: of a request and its answer, the moment that its transaction tells. */
function timeOf(event: string, request: Request | undefined): Date {
  const known = event === "request" ? request?.time : event === "answered" && request?.answered;
  return known || new Date();
}

/** Attempts that are kept of a cash register, and registers of which some are (our choice). */
const [MAX_ATTEMPTS, MAX_REGISTERS] = [20, 1_000];

/** Whether a request is of a cash register, or of any. */
export function isOf(request: Request, register: string | undefined): boolean {
  return register === undefined || request.register === register;
}

/** A copy of what is known of a request. */
function transactionOf(request: Request, number: number): Transaction {
  const { received: { raw, error }, outcome, decided, interim, answered, gone, over } = request;
  return {
    number,
    connection: request.line.number,
    address: request.line.address,
    received: request.time,
    request: wireMessage(raw, request.segments),
    ...(error && { error: error.message }),
    warnings: request.warnings.map((warning) => ({ ...warning })),
    ...(outcome && { outcome: toOutcome(outcome) }),
    ...(decided && { decided }),
    ...(interim && { interim: { ...wireMessage(interim.raw), ...interim } }),
    ...((answered ?? request.sendsAnswer) && { answer: sentOf(request) }),
    ...(answered && { answered }),
    ...(gone && { gone }),
    ...(over && { ended: over }),
    ...(request.closed && { closed: request.closed }),
    ...request.noted,
  };
}

/** What was sent of an answer. */
function sentOf({ lost, due, sent, sentSegments }: Request): Sent {
  return { ...wireMessage(lost === "all" ? due : sent, sentSegments), ...(lost && { lost }) };
}

function wireMessage(raw: string, segments: readonly Segment[] = []): WireMessage {
  return { raw, message: readable(raw), ...(segments.length > 1 && { segments }) };
}

/** What an event tells of a request, where that is all in its record. */
function fieldsOf(event: string, request: Request): (() => object) | undefined {
  const { received: { raw, error }, milliseconds, outcome, warnings, line: { address } } = request;
  const name = error && { event: "invalid", error: error.message, at: error.at ?? 0 };
  const words = outcome && { outcome: formatOutcome(outcome) };
  switch (event) {
    case "request":
      return () => ({
        ...name,
        address,
        ...wireMessage(raw, request.segments),
        warnings: [...warnings],
      });
    case "interim":
      return () => ({ ...wireMessage(request.interim!.raw), ...request.interim });
    case "answered":
      return request.sendsAnswer
        ? () => ({ ...words, milliseconds, ...sentOf(request) })
        : undefined;
  }
  return undefined;
}

/** What a request asks for, for people. */
export function requestText(request: Readonly<Message>): string {
  const { CA, CD } = request;
  const action = meaning("CD", CD)?.label ?? `action ${CD ?? "none"}`;
  return printable([action, moneyText(request), CA && `of ${CA}`].filter(Boolean).join(" "));
}

/** Writes what happens to a log, from a level on. */
export function logging(log: Log, least: LogLevel): Listener {
  const isTold = (level: LogLevel): boolean =>
    LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(least);
  return ({ event, request, connection = request?.line.number, text, level = "info" }) => {
    const tell = text ?? (request && lineOf(event, request));
    const from = connection === undefined ? "" : `#${connection} `;
    if (tell && isTold(level)) callBack(() => log(level, from + tell()));
    if (event !== "request" || !isTold("warn")) return;
    for (const { text } of request!.warnings) callBack(() => log("warn", from + text));
  };
}

/** The line of a log for an event of a request that has no text of its own. */
function lineOf(event: string, request: Request): (() => string) | undefined {
  const { received: { raw, message }, interim, outcome, gone, lost, sendsAnswer, decided } =
    request;
  switch (event) {
    case "request":
      return () => `received: ${logText({ raw, message })}`;
    case "decided":
      return () => `${decided}: ${formatOutcome(outcome!)}`;
    case "interim":
      return () => `sent: ${logText(wireMessage(interim!.raw))}`;
    case "gone":
      return () => `the POS left after ${(gone!.milliseconds / 1000).toFixed(1)} s`;
    case "answered": {
      const all = gone ? "too late, the POS has gone" : "not sent";
      const how = lost === "all" ? all : lost ? "sent in part" : "sent";
      return () => sendsAnswer ? `${how}: ${logText(sentOf(request))}` : "sent nothing";
    }
  }
  return undefined;
}

/** A message as the log shows it: its bytes, and a line a field. */
function logText({ raw, message }: WireMessage): string {
  const fields = describe(message);
  return printable(raw) + (fields && `\n${fields}`);
}

// ---------------------------------------------------------------- the terminal

/** The clock and the chance of this machine. */
const CLOCK: Clock = {
  now: () => performance.now(),
  sleep(milliseconds, until) {
    if (until?.aborted) return Promise.reject(until.reason);
    if (milliseconds <= 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        reject(until?.reason);
      };
      const timer = setTimeout(() => {
        until?.removeEventListener("abort", stop);
        resolve();
      }, Math.ceil(milliseconds));
      until?.addEventListener("abort", stop);
    });
  },
  random: Math.random,
};

/** What keeps one peer, or many, from taking too much. The numbers are our choice. */
export const BOUNDS = {
  /** Milliseconds from a request's first byte to its last: POS send it in one write. */
  request: 10_000,
  /** Milliseconds before a first request: a POS that connects at its start may wait for a customer. */
  idle: 600_000,
  /** Milliseconds without another request: a POS that keeps its connection may sleep overnight. */
  keep: 86_400_000,
  /** Milliseconds of silence until the system probes whether the POS has lost power; 0: never. */
  keepAlive: 60_000,
  /** Milliseconds to decide on an outcome: ten times what a payment takes. */
  decide: 600_000,
  /** Milliseconds that a peer has to close its side after this one did. */
  close: 5_000,
  /** Bytes of a request: seven times all known tags at their longest. */
  requestBytes: 65_536,
  /** Bytes of answers that a POS may leave unread: hundreds of the longest. */
  unreadBytes: 1_048_576,
  /** Requests of a connection that wait for answers, until no more is read of it, and their bytes. */
  waiting: 1_000,
  waitingBytes: 1_048_576,
  /** The same of all connections: of one beyond it no more is read while two of its requests wait. */
  allWaitingBytes: 67_108_864,
  /** Connections at once: more than a chain of shops has tills on one terminal. */
  connections: 10_000,
  /** Payments under way whose POS has left: of more, the oldest ends. */
  left: 1_000,
  /** Transactions that are kept, a day of tests, and bytes of their requests. */
  transactions: 1_000,
  transactionBytes: 16_777_216,
};

/** See {@linkcode BOUNDS}. */
export type Bounds = { readonly [Name in keyof typeof BOUNDS]: number };

/** Receives a line of the log. What it throws goes to the runtime as uncaught. */
export type Log = (level: LogLevel, text: string) => void;

/** What a terminal does. Everything has a default. */
export interface TerminalOptions {
  /** Address or name to listen on. Default: every interface. */
  host?: string;
  /** TCP port; 0 takes a free one, see {@linkcode Terminal.port}. Default: 8888. (1)(2)(3) */
  port?: number;
  /** How a transaction ends. Default: success. */
  outcome?: OutcomeOrText | Decide;
  /** Outcomes for one transaction each, in order, before `outcome`. */
  next?: readonly OutcomeOrText[];
  /** Seconds from the last byte of a request to the answer; none after BA 1. Default: 3. (1) */
  duration?: number;
  /**
   * Answers AE 01, AF 09 to a request that deviates from the protocol, but for what vendors publish
   * and what is not known: see DEVIATIONS in protocol.ts. Default: off, it only warns.
   */
  strict?: boolean;
  /** CG, the merchant contract number, 1 to 10 characters. Default: 424242. (1) */
  sellerContract?: string;
  /**
   * Milliseconds without a byte after which whole fields are taken as a request. Default: 20 (our
   * choice: far more than the pause between two segments of one write, far less than a person
   * notices).
   */
  gap?: number;
  /** What keeps peers from taking too much. Default: {@linkcode BOUNDS}. */
  bounds?: Partial<Bounds>;
  /** Time and chance. Default: those of this machine. */
  clock?: Clock;
  /** Receives the log. Default: nobody. */
  log?: Log;
  /** The least level that is given to `log`. Default: info. */
  logLevel?: LogLevel;
  /** Receives what happens. What it throws goes to the runtime as uncaught. Default: nobody. */
  onEvent?: (event: TerminalEvent) => void;
}

/** The options with their defaults, each held against what it may be. */
export type Settings =
  & Required<Omit<TerminalOptions, "outcome" | "next" | "bounds" | "log" | "onEvent">>
  & Pick<TerminalOptions, "log" | "onEvent">
  & { outcome: Outcome | Decide; next: Outcome[]; bounds: Bounds };

/** Bounds of options: seconds and milliseconds up to a day (our choice), and ports. */
const SECONDS = { max: 86_400 };
const MILLISECONDS = { max: 86_400_000 };
const PORTS = { max: 65_535, whole: true };

/**
 * The options with their defaults, each held against what it may be.
 *
 * @param others The names of options that somebody else looks at.
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 */
export function checkOptions(options: TerminalOptions, others: readonly string[] = []): Settings {
  const { sellerContract = "424242", outcome = "success", bounds } = options;
  if (!/^[\x20-\xff]{1,10}$/.test(sellerContract)) {
    throw new OptionError("sellerContract", "1 to 10 characters of Latin-1", sellerContract);
  }
  const checked: Settings = {
    host: options.host ?? "",
    port: inRange("port", { ...PORTS, default: 8888 }, options.port),
    outcome: typeof outcome === "function" ? outcome : toOutcome(outcome),
    next: (options.next ?? []).map((outcome) => toOutcome(outcome, "next")),
    duration: inRange("duration", { ...SECONDS, default: 3 }, options.duration),
    strict: checkBoolean("strict", options.strict),
    sellerContract,
    gap: inRange("gap", { ...MILLISECONDS, default: 20 }, options.gap),
    bounds: { ...BOUNDS, ...bounds },
    clock: options.clock ?? CLOCK,
    logLevel: oneOf("logLevel", LOG_LEVELS, options.logLevel ?? "info"),
    ...(options.log && { log: options.log }),
    ...(options.onEvent && { onEvent: options.onEvent }),
  };
  const names = [...Object.keys(checked), "log", "onEvent", ...others];
  checkNames("options", "names from", names, options);
  checkNames("bounds", "names from", Object.keys(BOUNDS), bounds ?? {});
  for (const [name, bound] of Object.entries(bounds ?? {})) inRange(`bounds.${name}`, {}, bound);
  return checked;
}

/** A terminal that is running. */
export interface Terminal extends AsyncDisposable {
  /** The address it listens on; "::" or "0.0.0.0" is every interface. */
  readonly host: string;
  /** The TCP port it listens on. */
  readonly port: number;
  /** What POS did: copies of the last 1,000 requests and their answers, the newest last. */
  readonly transactions: readonly Transaction[];
  /** Queues outcomes for one transaction each, after those that are queued already. */
  nextOutcome(...outcomes: OutcomeOrText[]): void;
  /**
   * Resolves with the next transaction that is over and that no call has given yet, whether it was
   * over before or not. Over is one whose answer is out, or would be if the POS had not gone.
   *
   * @throws {WaitError} The time is up, which says what is under way, or the terminal was closed.
   */
  waitForTransaction(options?: WaitOptions): Promise<Transaction>;
  /** Calls a function with each event. Returns a function that stops this. */
  subscribe(subscriber: (event: TerminalEvent) => void): () => void;
  /**
   * Puts all back as it was started: queue, transactions and their numbers, the last attempts for
   * duplicates. What is under way ends as if the POS had gone; waits reject.
   */
  reset(): void;
  /** Stops it: no more connections, those that are there are closed without waiting for answers. */
  close(): Promise<void>;
}

/**
 * Starts a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 */
export async function startTerminal(options: TerminalOptions = {}): Promise<Terminal> {
  const settings = checkOptions(options);
  const journal = new Journal(settings.bounds);
  const next = [...settings.next];
  const decide = (request: Request): Decision => {
    const queued = request.action === "I" ? undefined : next.shift();
    if (queued) return { outcome: queued, by: "next" };
    return decisionOf(settings.outcome, request, journal);
  };
  const handler = answering({ settings, journal, decide });
  const { tell } = tellers(settings, journal);
  const listening = await listen(settings, handler, tell);
  const { host, port } = listening;
  tell({
    event: "listening",
    fields: () => ({ host, port }),
    text: () => startText(listening, settings),
  });
  const close = (): Promise<void> => {
    journal.endWaits("closed"); // before what is under way ends
    return listening.close();
  };
  return {
    host,
    port,
    get transactions() {
      return [...journal.transactions()];
    },
    nextOutcome(...outcomes) {
      next.push(...outcomes.map((outcome) => toOutcome(outcome, "next")));
    },
    waitForTransaction: (options) => journal.wait(options),
    subscribe: (subscriber) => journal.subscribe(subscriber),
    reset() {
      journal.endWaits("reset"); // before what is under way ends
      listening.drop(() => true);
      next.splice(0, Infinity, ...settings.next);
      journal.forget();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The listeners that every terminal has, to which others can be added, and what tells them. */
export function tellers(
  { log, logLevel, onEvent }: Settings,
  journal: Journal,
): { tell: Listener; listeners: Set<Listener> } {
  const listeners = new Set([journal.listener]);
  if (log) listeners.add(logging(log, logLevel));
  if (onEvent) journal.subscribe(onEvent);
  return { tell: telling(listeners), listeners };
}

/** The standard outcome, or what a function decides. */
export function decisionOf(
  outcome: Outcome | Decide,
  request: Request,
  journal: Journal,
): Decision {
  if (typeof outcome !== "function") return { outcome, by: "outcome" };
  const decide = async (): Promise<Outcome> =>
    toOutcome(await outcome({ ...request.message }, journal.numberOf(request), request.left));
  return { outcome: decide(), by: "function" };
}

/** Whether an address to listen on is every interface. */
export function isEverywhere(host: string): boolean {
  return host === "" || host === "::" || host === "0.0.0.0";
}

/** That a terminal listens, and what it will do. */
export function startText(
  { host, port }: Pick<Terminal, "host" | "port">,
  { outcome, duration, next, strict }: Settings,
): string {
  const where = isEverywhere(host) ? "every interface," : host;
  const isFunction = typeof outcome === "function";
  const { failure, fault, delay } = isFunction ? {} : outcome;
  const parts = [
    isFunction
      ? "each outcome decided on when it is asked for"
      : `${failure ? "failure" : "success"} mode (${formatOutcome(outcome)})`,
    !isFunction && !fault && delay === undefined && `answers after ${duration} s`,
    next.length > 0 && `outcomes queued: ${next.length}`,
    strict && "strict",
  ];
  return `listening on ${where} port ${port}, ${parts.filter((part) => part).join(", ")}`;
}

// ---------------------------------------------------------------- the command

/** What the help says of outcomes: of all, or of what happens to an answer that is there. */
export function outcomeHelp(isSimulated = true): string {
  const rows = (entries: readonly (readonly [word: string, help: string])[]): string =>
    entries.map(([word, help]) => {
      const lines = help.match(/.{1,62}(?: |$)/g)!.map((line) => line.trimEnd());
      return `  ${word.padEnd(16)}${lines.join(`\n${" ".repeat(18)}`)}\n`;
    }).join("");
  const faults = keysOf(FAULTS).map((word) => [word, FAULTS[word].help] as const);
  const codes = [...TAGS.get("AF")?.codes ?? []].map(([code, { label }]) => [code, label] as const);
  const simulated = {
    "how it ends": `${keysOf(ENDINGS).join(", ")}, or an AF code`,
    "which card": keysOf(CARDS).join(", "),
    ...FLAGS,
  };
  return `
OUTCOME is words separated by commas, at most one of each kind:
${rows(Object.entries(isSimulated ? simulated : { hangup: FLAGS.hangup }))}${
    rows(Object.entries({
      "delay=SECONDS": "from request to answer; delay=1..5: from a range, at random",
      "TAG=VALUE": "sets a tag of the answer; TAG= leaves it out, \\, is a comma",
    }))
  }and what goes wrong with the answer, at most one of these:
${rows(faults)}${isSimulated ? `AF codes:\n${rows(codes)}` : ""}`;
}

const HELP = `A card payment terminal that speaks Caisse-AP over IP (Concert V3).

usage: server.ts [options]

  -p, --port PORT             TCP port, 0 for a free one (8888)
      --host HOST             address or name to listen on (every interface)
      --next OUTCOME          how the next transaction ends; may be given again
      --outcome OUTCOME       how all others end (success)
  -f, --failure               every payment fails
  -ft, --failure-type TYPE    abandon, timeout, refused, forbidden (abandon)
  -pt, --payment-type CARD    the card that pays (cbcontact)
  -d, --duration SECONDS      from the request to the answer (3)
  -sc, --seller-contract NUM  the merchant contract number, CG (424242)
      --strict                AF 09 to what deviates from the protocol
      --gap MS                the pause that ends a request (20)
      --json                  what happens, on stdout, a JSON object a line
  -l, --log-level LEVEL       debug, info, warn or error (info)
  -h, --help                  this text
      --version               ${VERSION}
${outcomeHelp()}
examples:
  server.ts --outcome refused
  server.ts -d 10 --next silent
  server.ts -p 0 --json
`;

/** The options of the command, for parseArgs of node:util. */
export const ARGUMENTS = {
  "port": { type: "string", short: "p" },
  "host": { type: "string" },
  "next": { type: "string", multiple: true },
  "outcome": { type: "string" },
  "failure": { type: "boolean", short: "f" },
  "failure-type": { type: "string" },
  "payment-type": { type: "string" },
  "duration": { type: "string", short: "d" },
  "seller-contract": { type: "string" },
  "strict": { type: "boolean" },
  "gap": { type: "string" },
  "json": { type: "boolean" },
  "log-level": { type: "string", short: "l" },
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean" },
} as const;

/** Options of this command in earlier versions, and where they are now. */
const MOVED: Readonly<Record<string, string>> = Object.fromEntries(
  ["model", "when", "exclusive", "callback", "interactive", "i", "web-port", "web-host", "web-name"]
    .map((name) => [name, "workbench/web.ts"]),
);

/** Arguments with the two letters after one dash as parseArgs takes them: it would see two options. */
export function twoLetters(args: readonly string[]): string[] {
  const long: Readonly<Record<string, string>> = {
    "-ft": "--failure-type",
    "-pt": "--payment-type",
    "-sc": "--seller-contract",
  };
  return args.map((arg) => Object.hasOwn(long, arg) ? long[arg]! : arg);
}

/** The values of {@linkcode ARGUMENTS} that parseArgs has found. */
export type Values = {
  readonly [Name in keyof typeof ARGUMENTS]?:
    | (typeof ARGUMENTS[Name] extends { multiple: true } ? string[]
      : typeof ARGUMENTS[Name] extends { type: "boolean" } ? boolean
      : string)
    | undefined;
};

/** A number of the command line. */
export function numberOf(option: string, text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new OptionError(option, "a number such as 3 or 0.5", text);
}

/**
 * The options of a terminal that arguments say.
 *
 * @throws {OptionError} An argument is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 */
export function readOptions(values: Values): TerminalOptions {
  const { "failure-type": type, "payment-type": payment, failure = false } = values;
  const { port, duration, gap, next, host, strict, outcome, json } = values;
  const { "seller-contract": sellerContract, "log-level": level = "info" } = values;
  if (outcome !== undefined && (failure || (type ?? payment) !== undefined)) {
    const expected = "either this or --failure, --failure-type and --payment-type";
    throw new OptionError("outcome", expected, outcome);
  }
  const [, ...failures] = keysOf(ENDINGS);
  const ending = oneOf("failureType", failures, type ?? "abandon");
  const card = oneOf("paymentType", keysOf(CARDS), payment ?? "cbcontact");
  const short = `${failure ? ending : "success"}${payment === undefined ? "" : `,${card}`}`;
  const logLevel = oneOf("logLevel", LOG_LEVELS, level);
  if (type !== undefined && !failure && logLevel !== "error") {
    logToStderr("warn", "--failure-type is ignored without --failure");
  }
  return {
    outcome: parseOutcome(outcome ?? short),
    logLevel,
    log: logToStderr,
    ...(port !== undefined && { port: numberOf("port", port) }),
    ...(duration !== undefined && { duration: numberOf("duration", duration) }),
    ...(gap !== undefined && { gap: numberOf("gap", gap) }),
    ...(next && { next: next.map((text) => parseOutcome(text, "next")) }),
    ...(host !== undefined && { host }),
    ...(sellerContract !== undefined && { sellerContract }),
    ...(strict && { strict }),
    ...(json && { onEvent: (event) => print(process.stdout, jsonLine(event)) }),
  };
}

/** The command that runs, for people. */
let running = "server.ts";

/**
 * Prints on a stream that may not take it: Deno and Bun then throw, Node emits an error. The streams
 * are not touched before they are needed: to set them up takes Bun a fifth of its start.
 */
export function print(stream: NodeJS.WriteStream, text: string): void {
  const onError = ({ code, message }: NodeJS.ErrnoException): void => {
    // Without a reader of the log the terminal goes on. EAGAIN is Deno's, when a pipe is full.
    if (stream === process.stderr || code === "EAGAIN") return;
    if (code !== "EPIPE") print(process.stderr, `${running}: cannot print on stdout: ${message}\n`);
    process.exit(code === "EPIPE" ? 0 : 1); // without a reader of the events nobody needs it
  };
  if (stream.listenerCount("error") === 0) stream.on("error", onError);
  try {
    stream.write(text);
  } catch (error) {
    onError(error as Error);
  }
}

const COLOURS = { debug: "gray", info: undefined, warn: "yellow", error: "red" } as const;

/** A line of the log on stderr. */
export function logToStderr(level: LogLevel, text: string): void {
  const now = new Date();
  const time = `${now.toTimeString().slice(0, 8)}.${
    String(now.getMilliseconds()).padStart(3, "0")
  }`;
  const line = `${time} ${level.padEnd(5)} ${text}`;
  const colour = process.stderr.isTTY ? COLOURS[level] : undefined;
  // Not left to styleText: to know whether the screen has colours it reads the environment, and
  // Deno would ask for that.
  print(process.stderr, `${colour ? styleText(colour, line, { validateStream: false }) : line}\n`);
}

/**
 * Runs a command until it is stopped: status 0 then, 1 when it cannot listen or print, 2 for wrong
 * arguments.
 *
 * @param start Reads the arguments, and starts it; gives a text instead if one was asked for.
 * @param names The options, for what was perhaps meant.
 * @param moved Options that other commands have.
 */
export async function runCommand(
  name: string,
  start: () => Promise<{ close(): Promise<void>; status?: () => number } | string>,
  names: readonly string[],
  moved: Readonly<Record<string, string>> = {},
): Promise<void> {
  running = name;
  const fail = (message: string, status: number): never => {
    print(process.stderr, `${name}: ${message}\n`);
    process.exit(status);
  };
  const onError = (error: unknown): never => {
    if (error instanceof ListenError) return fail(error.message, 1);
    const { code, message = "" } = Object(error) as NodeJS.ErrnoException;
    const [, unknown = ""] = /^Unknown option '(-*[^']*)'/.exec(message) ?? [];
    const own = unknown.replace(/^-+/, "");
    if (Object.hasOwn(moved, own)) fail(`${unknown}: it is an option of ${moved[own]}`, 2);
    const wrong = argumentError(error, names);
    if (wrong !== undefined) fail(wrong, 2);
    // Deno throws past every promise when it may not listen on an address.
    if (code === "EPERM" || /^Requires net access/.test(message)) fail(message, 1);
    throw error;
  };
  process.on("uncaughtException", onError);
  try {
    const starting = start();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, async () => {
        const started = await starting;
        if (typeof started !== "string") await started.close();
        process.exit(typeof started === "string" ? 0 : started.status?.() ?? 0);
      });
    }
    const started = await starting;
    if (typeof started === "string") print(process.stdout, started);
    process.off("uncaughtException", onError);
  } catch (error) {
    onError(error);
  }
}

async function main(): Promise<Terminal | string> {
  const { values } = parseArgs({ args: twoLetters(process.argv.slice(2)), options: ARGUMENTS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  return await startTerminal(readOptions(values));
}

if (import.meta.main) runCommand("server.ts", main, Object.keys(ARGUMENTS), MOVED);
