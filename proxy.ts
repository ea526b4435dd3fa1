#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Stands between a till and a real card payment terminal that speaks Caisse-AP over IP ("Concert
 * V3"): shows and records what they say to each other, breaks answers on purpose, plays a recording
 * without the terminal, and tells where the simulated terminal of server.ts differs from it.
 *
 * ```sh
 * deno run --allow-net proxy.ts --terminal 192.168.1.20 --json > session.jsonl
 * deno run --allow-net proxy.ts --replay < session.jsonl
 * deno run --allow-net proxy.ts --compare < session.jsonl
 * ```
 *
 * @example In a test suite: the customer has paid, and the till gets half of the answer
 * ```ts
 * import assert from "node:assert/strict";
 * import { pay } from "./client.ts";
 * import { startProxy } from "./proxy.ts";
 * import { startTerminal } from "./server.ts";
 *
 * await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
 * await using proxy = await startProxy({ port: 0, host: "127.0.0.1", terminal: `127.0.0.1:${real.port}` });
 * proxy.nextOutcome("truncate");
 * await assert.rejects(pay({ port: proxy.port, amount: "112.45" }));
 * const { due } = await proxy.waitForTransaction();
 * assert.equal(due?.verdict?.status, "approved");
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { shortened, whyNotReached } from "./client.ts";
import {
  BETWEEN,
  type Deviation,
  DEVIATIONS,
  deviations,
  encodeText,
  type FramerOwner,
  HEAD,
  interpret,
  inWords,
  jsonLine,
  type LogLevel,
  mandatoryTags,
  type Message,
  MessageFramer,
  missingTags,
  movesMoney,
  OptionError,
  type Options,
  printable,
  problemOf,
  ProtocolError,
  type Received,
  seemsWhole,
  TAGS,
  type Verdict,
  type Warning,
} from "./protocol.ts";
import {
  type About,
  acceptAll,
  type Card,
  CARDS,
  checkOptions,
  CLOSE_TIMEOUT,
  type Closing,
  drawDelay,
  FAULTS,
  formatOutcome,
  type Gone,
  HALF_CLOSE_WINDOW,
  Journal,
  lostOf,
  MISSING_TAGS_GAP,
  type ModelName,
  type Outcome,
  outcomeFor,
  type OutcomeOrText,
  pauseBefore,
  type ReadOutcome,
  type Reply,
  requestText,
  reset,
  runCommand,
  type Segment,
  type Sent,
  serve,
  type Session,
  type Settings,
  type Side,
  startTerminal,
  type Steered,
  type Terminal,
  type TerminalEvent,
  terminalOf,
  type TerminalOptions,
  toOutcome,
  type Transmission,
  type WireMessage,
} from "./server.ts";

// ---------------------------------------------------------------- options

/** How a recording is played: the options of a terminal that have to do with connections. */
export interface ReplayOptions extends
  Pick<
    TerminalOptions,
    | ("host" | "port" | "gap" | "keepAlive" | "maxRequest" | "maxConnections")
    | ("log" | "logLevel" | "onEvent")
  > {
  /**
   * Shows and keeps what is masked otherwise: the values of AA, AB, AC, AM, AN, BH, BI, CF and CG,
   * and the text of receipts. Default: off. On the wire nothing is ever masked.
   */
  unmasked?: boolean;
}

/**
 * What a proxy does. Outcomes are what is done to the real terminal's answer: faults, hangup, delay
 * and TAG=VALUE. All other words of an outcome are an error, for the real terminal decides them.
 */
export interface ProxyOptions extends ReplayOptions, Pick<TerminalOptions, "next" | "when"> {
  /** Address or name of the real terminal, with :port if that is not 8888. */
  terminal: string;
  /** What is done to answers for which neither `when` nor `next` says it. Default: nothing. */
  outcome?: OutcomeOrText;
}

/** Reads outcomes, and refuses those that only a simulated terminal can mean, or any. */
function reader(expected: string, mayChange: boolean): ReadOutcome {
  return (outcome, option = "outcome") => {
    const read = toOutcome(outcome, option);
    const isSimulated = read.failure || read.card || read.pending;
    if (!isSimulated && (mayChange || !changes(read))) return read;
    throw new OptionError(option, expected, formatOutcome(read));
  };
}

const readChange = reader(
  "a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest",
  true,
);
const readNothing = reader("none: the recording decides that", false);

/** Whether an outcome changes an answer that is there. */
function changes({ fault, hangup, delay, tags }: Outcome): boolean {
  return fault !== undefined || hangup === true || delay !== undefined || tags !== undefined;
}

/** The options that mean something where another terminal answers. Outcomes are read one by one. */
const OWN: ReadonlySet<string> = new Set([
  ...["host", "port", "gap", "keepAlive", "maxRequest", "maxConnections"],
  ...["log", "logLevel", "onEvent", "outcome", "next", "when"],
]);

/** Checks options, and refuses those of a simulated terminal. Outcomes are refused by `read`. */
function check(options: TerminalOptions, who: string, read: ReadOutcome): Settings {
  const settings = checkOptions({ ...options, duration: options.duration ?? 0 }, read);
  for (const [name, value] of Object.entries(options)) {
    if (OWN.has(name) || value === undefined || value === false) continue;
    throw new OptionError(name, `none: ${who} decides that`, value);
  }
  return settings;
}

const anotherPort = (port: number): string =>
  `another port than ${port}, on which the proxy listens`;

/** Where the real terminal is. */
type Place = Pick<Terminal, "host" | "port">;

function readPlace(text: unknown, { host, port }: Settings): Place {
  const address = typeof text === "string" ? text : "";
  const [, inner, name, digits = "8888"] =
    /^(?:\[([^\]\s]+)\]|([^\s\x00-\x1f\x7f:/[\]]+))(?::(\d{1,5}))?$/.exec(address) ?? [];
  const place = { host: net.isIPv6(address) ? address : inner ?? name ?? "", port: Number(digits) };
  if (place.host === "" || place.port < 1 || place.port > 65_535) {
    const expected = "an address or a name, and :port if that is not 8888";
    throw new OptionError("terminal", expected, text);
  }
  const own = /^(?:localhost|127\..*|::1|0\.0\.0\.0|::)?$/;
  if (place.port === port && (place.host === host || (own.test(place.host) && own.test(host)))) {
    throw new OptionError("terminal", anotherPort(port), text);
  }
  return place;
}

// ---------------------------------------------------------------- masking

/** Tags whose values a person should not find in a file. */
const MASKED: ReadonlySet<string> = new Set("AA AB AC AM AN BH BI CF CG".split(" "));

/** The head of a field that has to be masked, perhaps inside of another whose length is wrong. */
const SECRET = new RegExp(`(?:${[...MASKED, "AK", "ZT"].join("|")})\\d{3}`);

/** The fields that a text begins with, and what is behind them. */
function cutFields(raw: string): { fields: { tag: string; value: string }[]; rest: string } {
  const fields: { tag: string; value: string }[] = [];
  for (let at = 0;;) {
    const [head = "", tag = "", length] = /^([A-Z]{2})(\d{3})/.exec(raw.slice(at, at + 5)) ?? [];
    const end = at + head.length + Number(length);
    if (!(end <= raw.length)) return { fields, rest: raw.slice(at) };
    fields.push({ tag, value: raw.slice(at + head.length, end) });
    at = end;
  }
}

function fieldText(tag: string, value: string): string {
  return tag + String(value.length).padStart(3, "0") + value;
}

/** Letters and digits, and whatever is not ASCII, as "*". */
function maskText(text: string): string {
  return text.replace(/[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]/g, "*");
}

/** Base64, with the line feeds that are in it, of a text that is masked. */
function maskReceipt(value: string): string {
  const base64 = value.replace(/[\r\n=]/g, "");
  if (/[^A-Za-z0-9+/]/.test(base64)) return maskText(value);
  const whole = base64.length % 4 === 1 ? base64.slice(0, -1) : base64; // it may be cut
  const text = atob(whole);
  // It is none where a character is missing: its bits are those of others then.
  const isText = !/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/.test(text);
  const masked = [...btoa(isText ? maskText(text) : "*".repeat(text.length)).replace(/=/g, "")];
  return value.replace(/[^\r\n=]/g, () => masked.shift() ?? "A");
}

function maskValue(tag: string, value: string): string {
  if (MASKED.has(tag)) return "*".repeat(value.length);
  if (tag === "AK") return maskReceipt(value);
  if (tag === "ZT") return maskRaw(value);
  const secret = SECRET.exec(value);
  if (!secret) return value;
  const end = secret.index + HEAD;
  return value.slice(0, end) + "*".repeat(value.length - end);
}

/** A message as it may be shown, its length unchanged. */
function maskRaw(raw: string): string {
  const { fields, rest } = cutFields(raw);
  if (!isBetween(rest)) return maskMalformed(raw, raw.length - rest.length);
  return fields.map(({ tag, value }) => fieldText(tag, maskValue(tag, value))).join("") + rest;
}

/**
 * The same of one that is malformed behind `end`. A length before it is wrong, perhaps that of a
 * secret, whose rest may then look like fields. So from the first secret on only heads are shown,
 * and those as long as each surely is one.
 */
function maskMalformed(raw: string, end: number): string {
  const secret = (SECRET.exec(raw)?.index ?? Infinity) + HEAD;
  const seen = new Set<string>();
  let shown = "";
  for (;;) {
    const [at, start] = [shown.length, shown.length + HEAD];
    const [, tag = "", digits] = /^([A-Z]{2})(\d{3})$/.exec(raw.slice(at, start)) ?? [];
    const next = start + Number(digits);
    const isClear = next <= end && next < secret;
    const isSure = canBe(tag, next - start) && !seen.has(tag);
    if (!isClear && !(isSure && (start >= secret || at === end))) break;
    seen.add(tag);
    const value = raw.slice(start, next);
    const masked = start === secret ? maskValue(tag, value) : maskText(value);
    shown += raw.slice(at, start) + (isClear ? value : masked);
  }
  const clear = Math.max(shown.length, Math.min(secret, end));
  return shown + raw.slice(shown.length, clear) + maskText(raw.slice(clear));
}

/** Whether the protocol has a tag, and values of that size for it. */
function canBe(tag: string, size: number): boolean {
  const known = TAGS.get(tag);
  const [min, max] = known?.size ?? [1, 999];
  return known !== undefined && size >= min && size <= max;
}

/** The same of what is quoted in a remark on a field, or on a message that cannot be read. */
function maskQuoted(text: string, tag?: string): string {
  const mask = (quoted: string): string =>
    tag === undefined ? maskText(quoted) : maskValue(tag, quoted);
  // It is printable, but its escapes are not what is masked.
  const plain = (quoted: string): string =>
    quoted.replace(/\\x([0189][\da-f]|7f)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return text.replace(/"([^]*)"/, (_, quoted: string) => `"${printable(mask(plain(quoted)))}"`);
}

/** What is wrong with a message, which may name only what is shown of it. */
function maskError(
  { message, at }: ProtocolError,
  { raw, fields }: Received,
  shown: string,
): ProtocolError {
  const before = fields.at(-1);
  const end = before ? before.at + HEAD + before.value.length : 0;
  const isShown = (from: number): boolean => shown.startsWith(raw.slice(from, from + HEAD), from);
  const [what = "", ...hints] = message.replace(/^at byte \d+: /, "").split(";");
  const told = isShown(end)
    ? what
    : what.replace(/(".*")|\b[A-Z]{2}\b|\d/g, (all, quoted) => quoted ?? "*".repeat(all.length));
  const kept = !before || isShown(before.at) ? hints : [];
  return new ProtocolError(maskQuoted([told, ...kept].join(";")), at);
}

/** What is given to the journal, and so to log, events and transactions. */
const MASKING = {
  raw: maskRaw,
  /** Of what is malformed, or follows such, only the fields that are shown as they are. */
  received(received: Received, isDoubtful: boolean): Received {
    const masked = wireMessage(isDoubtful ? maskText(received.raw) : maskRaw(received.raw));
    if (!received.error && !isDoubtful) return { ...received, ...masked };
    const fields = received.fields.filter(({ tag, value, at }) =>
      masked.raw.startsWith(fieldText(tag, value), at)
    );
    const { message } = wireMessage(fields.map(({ tag, value }) => fieldText(tag, value)).join(""));
    const error = received.error && maskError(received.error, received, masked.raw);
    return { raw: masked.raw, fields, message, ...(error && { error }) };
  },
  deviations(received: Received, isDoubtful: boolean): Deviation[] {
    const { error } = received;
    const judged = error || isDoubtful ? MASKING.received(received, isDoubtful) : received;
    return deviations(judged).map((deviation) => ({
      ...deviation,
      text: maskQuoted(deviation.text, deviation.tag),
    }));
  },
  outcome(outcome: Outcome): Outcome {
    if (!outcome.tags) return outcome;
    const tags: Message = {};
    for (const [tag, value] of Object.entries(outcome.tags)) tags[tag] = maskValue(tag, value);
    return { ...outcome, tags };
  },
};

type Shown = typeof MASKING;

const same = <Value>(value: Value): Value => value;
const UNMASKED: Shown = { raw: same, received: same, deviations, outcome: same };

function shownBy({ unmasked = false }: ReplayOptions): Shown {
  if (typeof unmasked !== "boolean") throw new OptionError("unmasked", "true or false", unmasked);
  return unmasked ? UNMASKED : MASKING;
}

/** A text as the message that it is, as far as it can be read. */
function wireMessage(raw: string): WireMessage {
  const message: Message = {};
  for (const { tag, value } of cutFields(raw).fields) message[tag] ??= value;
  return { raw, message };
}

// ---------------------------------------------------------------- reading along

/** A part of a stream, and when it came, on the clock of performance.now(). */
interface Piece {
  at: number;
  bytes: number;
}

/** A message, and how it came. */
interface Heard {
  received: Received;
  /** Whether it may be the rest of one that was malformed: it does not begin as a message does. */
  isDoubtful: boolean;
  /** Line ends and control characters right behind it. */
  ending: string;
  pieces: readonly Piece[];
  /** When its last byte came. */
  at: number;
  /** What of it has not been passed on yet. */
  unsent: string;
}

/** Whether a text is nothing but what may stand between messages. */
function isBetween(text: string): boolean {
  return BETWEEN.exec(text)?.[0] === text;
}

/** Who has an ear: knows how long to wait, and receives what was heard. */
interface EarOwner extends Pick<FramerOwner, "pause"> {
  onHeard(heard: Heard): void;
  /** Receives what stood between messages, when it came, and what of it has not been passed on yet. */
  onBetween(bytes: string, at: number, unsent: string): void;
}

/** Reads one direction of a connection beside it. Whatever it makes of the bytes, they go through. */
class Ear {
  readonly #owner: EarOwner;
  readonly #newFramer: () => MessageFramer;
  framer: MessageFramer;
  #pieces: Piece[] = [];
  #isBroken = false; // the message before was malformed
  /** What is not a message yet. */
  text = "";
  /** Bytes of it that have been passed on. */
  passed = 0;

  constructor(owner: EarOwner, most?: number) {
    const { pause } = owner;
    const onMessage = (received: Received): void => this.#onMessage(received);
    this.#owner = owner;
    this.#newFramer = () => new MessageFramer({ pause, onMessage }, most);
    this.framer = this.#newFramer();
  }

  hear(chunk: string, isPassed: boolean): void {
    // What comes after something malformed may be messages again.
    if (this.framer.state === "malformed") this.framer = this.#newFramer();
    this.text += chunk;
    if (isPassed) this.passed = this.text.length;
    this.#pieces.push({ at: performance.now(), bytes: chunk.length });
    this.framer.feed(chunk);
    if (this.framer.state === "empty" || this.framer.state === "malformed") {
      this.#skip(this.text.length);
    }
  }

  /** Takes what is there as a message: whoever sent it waits for the other side now. */
  take(): void {
    const left = this.framer.end();
    if (left) this.#onMessage(left);
  }

  #onMessage(received: Received): void {
    this.#skip(this.text.indexOf(received.raw));
    const [ending = ""] = BETWEEN.exec(this.text.slice(received.raw.length)) ?? [];
    const { length } = received.raw + ending;
    const unsent = this.text.slice(this.passed, length);
    const pieces = this.#cut(length);
    const isDoubtful = this.#isBroken && !received.raw.startsWith("CZ");
    this.#isBroken = isDoubtful || received.error !== undefined;
    const { at } = pieces.at(-1)!; // a message has at least one byte
    this.#owner.onHeard({ received, isDoubtful, ending, pieces, at, unsent });
  }

  #skip(bytes: number): void {
    const [skipped, unsent] = [this.text.slice(0, bytes), this.text.slice(this.passed, bytes)];
    const last = this.#cut(bytes).at(-1);
    if (last) this.#owner.onBetween(skipped, last.at, unsent);
  }

  /** Takes so many bytes away; gives the pieces that they came in. */
  #cut(bytes: number): Piece[] {
    const cut: Piece[] = [];
    this.text = this.text.slice(bytes);
    this.passed = Math.max(0, this.passed - bytes);
    for (let left = bytes; left > 0;) {
      const piece = this.#pieces[0]!;
      const part = Math.min(left, piece.bytes);
      cut.push({ at: piece.at, bytes: part });
      left -= part;
      piece.bytes -= part;
      if (piece.bytes === 0) this.#pieces.shift();
    }
    return cut;
  }
}

/** Pieces with their milliseconds from a moment on. */
function segmentsOf(pieces: readonly Piece[], from: number): Segment[] {
  return pieces.map(({ at, bytes }) => ({ milliseconds: Math.round(at - from), bytes }));
}

/** A moment of performance.now() as a date. */
function dateOf(at: number): Date {
  return new Date(Date.now() - performance.now() + at);
}

// ---------------------------------------------------------------- the relay

/** Milliseconds without a byte after which an answer that seems whole is one, as in client.ts. */
const ANSWER_GAP = 100;
/** Most milliseconds to wait for a connection (our choice: in a shop it takes a few). */
const CONNECT_TIMEOUT = 10_000;
/** Requests of a connection that may wait for answers; older ones count as not answered (our choice). */
const MAX_WAITING = 100;
/** What is noticed of the terminal behind the proxy, or of a recording, besides what a till does. */
export type RelayWarning =
  | "unreachable"
  | "unanswered"
  | "unasked"
  | "not-set"
  | "not-recorded";

function noted(code: RelayWarning, text: string): Warning {
  return { code, text };
}

/** Messages after the answer to a request that are told, without being asked for (our choice). */
const MAX_UNASKED = 20;

/** A request on its way to the terminal, until its answer is through. */
interface Turn extends Session {
  transaction: number;
  /** The request, as it is told. */
  readonly request: Readonly<Message>;
  /** When its last byte came, on the clock of performance.now(). */
  readonly arrived: number;
  /** What is done to its answer, if anything. */
  readonly outcome: Outcome | undefined;
  /** What the POS was sent of an answer that was changed. */
  sent: string;
  /** What it had been sent when it left, if it left before the whole answer. */
  gone?: string;
  /** How many messages came after its answer that nobody had asked for. */
  unasked: number;
}

/** Milliseconds since the last byte of a request. */
function since({ arrived }: Turn): number {
  return Math.round(performance.now() - arrived);
}

/** What the relays of a proxy share. */
interface Shared {
  /** What the proxy does, which may change from one request to the next. */
  readonly script: Settings;
  readonly journal: Journal;
  readonly place: Place;
  readonly shown: Shown;
  /** Is told whether the terminal could be reached. */
  readonly onTried: (reached: boolean) => void;
}

/**
 * A connection of the POS, and the one to the terminal that belongs to it. Bytes go through as they
 * come, both ways; only an answer that is to be changed is held until it is whole. Beside that, both
 * directions are read.
 */
class Relay {
  readonly #onDone: () => void;
  readonly #pos: net.Socket;
  readonly #number: number;
  readonly #shared: Shared;
  readonly #address: string; // which a closed socket does not know any more
  readonly #left = new AbortController();
  readonly #asked: Ear;
  readonly #answered: Ear;
  readonly #turns: Turn[] = []; // that wait for the terminal, in their order
  readonly #open = new Set<Turn>(); // not over: those, and the ones whose answer is being changed
  #last: Turn | undefined; // the one answered last
  #terminal: net.Socket | undefined;
  #work = Promise.resolve(); // answers that are being changed, and what is to be sent after them
  #held = 0; // pieces of that work
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isWithheld = false; // the last answer: the connection stays until the POS closes it
  #isKept = false; // by that, though the terminal has closed its own
  #closing: Closing & { by: Side } | undefined;
  #isDone = false;

  constructor(pos: net.Socket, number: number, shared: Shared, onDone: () => void) {
    this.#pos = pos;
    this.#number = number;
    this.#shared = shared;
    this.#onDone = onDone;
    this.#address = pos.remoteAddress ?? "";
    const { gap, maxRequest } = shared.script;
    const tell = (by: Side, bytes: string, at: number): void =>
      shared.journal.between(number, by, shared.shown.raw(bytes), dateOf(at));
    this.#asked = new Ear({
      pause: (fields) => missingTags(fields).length === 0 ? gap : Math.max(gap, MISSING_TAGS_GAP),
      onHeard: (heard) => this.#onRequest(heard),
      onBetween: (bytes, at) => tell("pos", bytes, at),
    }, maxRequest);
    this.#answered = new Ear({
      pause: (fields) => {
        if (fields["AE"] === undefined) return Infinity;
        return seemsWhole(this.#turn?.request ?? {}, fields) ? ANSWER_GAP : 10 * ANSWER_GAP;
      },
      onHeard: (heard) => this.#onAnswer(heard),
      onBetween: (bytes, at, unsent) => {
        tell("terminal", bytes, at);
        if (unsent !== "") this.#afterHeld(() => void this.#write(unsent));
      },
    });
    this.#log("debug", () => `connected from ${this.#address} port ${pos.remotePort}`);
    prepare(pos, shared.script);
    pos.on("data", (chunk: Buffer) => this.#ask(chunk));
    pos.on("end", () => this.#end());
    pos.on("error", () => {}); // which "close" follows
    pos.on("close", () => this.#lost());
  }

  /** The request that the terminal is answering. What is there of one is all of it by then. */
  get #turn(): Turn | undefined {
    if (this.#turns.length === 0) this.#asked.take();
    return this.#turns[0];
  }

  /** Closes both connections if one of their transactions matches. */
  drop(wanted: (session: Session) => boolean): void {
    if ([...this.#open].some(wanted)) this.stop();
  }

  /** Ends both connections at once, with all that is under way. */
  stop(): void {
    this.#close("terminal");
    clearTimeout(this.#timer);
    this.#turns.length = 0;
    for (const turn of this.#open) this.#over(turn);
    this.#terminal?.destroy();
    this.#pos.destroy();
  }

  #log(level: LogLevel, text: () => string): void {
    this.#shared.journal.log(level, () => `#${this.#number} ${text()}`);
  }

  // ---- bytes

  #connect(): net.Socket {
    const { place, script, onTried } = this.#shared;
    const terminal = net.connect({ ...place, allowHalfOpen: true });
    let isConnected = false;
    const patience = setTimeout(() => {
      terminal.destroy(new Error(`no connection within ${CONNECT_TIMEOUT / 1000} s`));
    }, CONNECT_TIMEOUT);
    terminal.on("connect", () => {
      clearTimeout(patience);
      const { localAddress, remoteAddress = "", remotePort = 0 } = terminal;
      const isHere = remoteAddress === localAddress && remotePort === this.#pos.localPort;
      const isEverywhere = /^(?:|::|0\.0\.0\.0)$/.test(script.host);
      if (isHere && (isEverywhere || remoteAddress.endsWith(this.#pos.localAddress ?? ""))) {
        terminal.destroy(new Error(`expected ${anotherPort(remotePort)}`));
        return;
      }
      isConnected = true;
      prepare(terminal, script);
      onTried(true);
    });
    terminal.on("data", (chunk: Buffer) => this.#answer(chunk));
    terminal.on("end", () => this.#hangUp());
    terminal.on("error", () => {}).on("close", () => {
      clearTimeout(patience);
      const { errored } = terminal;
      if (errored && !isConnected) this.#unreachable(errored);
      else if (errored) this.#hangUp(true);
      this.#done();
    });
    return terminal;
  }

  /** Passes on what the POS sends. */
  #ask(chunk: Buffer): void {
    if (this.#terminal?.destroyed) return reset(this.#pos);
    this.#terminal ??= this.#connect();
    if (this.#terminal.writable && !this.#terminal.write(chunk)) {
      this.#pos.pause();
      this.#terminal.once("drain", () => this.#pos.resume());
    }
    this.#takeAnswer();
    this.#asked.hear(chunk.toString("latin1"), true);
  }

  /** Passes on what the terminal sends, unless an answer in it is to be changed. */
  #answer(chunk: Buffer): void {
    const text = chunk.toString("latin1");
    const ear = this.#answered;
    // A terminal that answers has got the whole request.
    if (!isBetween(text)) void this.#turn;
    const isFree = this.#held === 0 && !this.#turns.some(({ outcome }) => outcome);
    if (isFree && ear.passed < ear.text.length) this.#write(ear.text.slice(ear.passed)); // was held
    ear.hear(text, isFree && this.#write(chunk));
  }

  /** Sends to the POS, and waits with the terminal if it does not read; tells whether it is there. */
  #write(bytes: Buffer | string): boolean {
    const { writable } = this.#pos;
    if (writable && !this.#pos.write(bytes, "latin1")) {
      this.#terminal?.pause();
      this.#pos.once("drain", () => this.#resume());
    }
    return writable;
  }

  /** Reads on from the terminal, unless something has to be out before. */
  #resume(): void {
    if (this.#held === 0 && !this.#pos.writableNeedDrain) this.#terminal?.resume();
  }

  /** Does something after all that is held is out. */
  #afterHeld(work: () => void | Promise<void>): void {
    this.#held++;
    this.#work = this.#work.then(work).then(() => {
      this.#held--;
      this.#resume();
    });
  }

  /** Resolves at a time of performance.now(), which may be over; never if the relay is stopped. */
  async #sleepUntil(time: number): Promise<void> {
    const wait = Math.ceil(time - performance.now());
    if (wait > 0) await new Promise((resolve) => this.#timer = setTimeout(resolve, wait));
  }

  // ---- ends

  /** Remembers which side was closed first, and how. */
  #close(by: Side, reset = false): void {
    this.#closing ??= { by, at: new Date(), ...(reset && { reset }) };
  }

  /** The POS has closed its side. It may have gone, or wait for its answer as nc does. */
  #end(): void {
    if (this.#isDone) return; // Bun ends sockets that are closed
    this.#leave();
    (this.#isKept ? this.#pos : this.#terminal ?? this.#pos).end();
  }

  /** The connection to the POS is closed. */
  #lost(): void {
    const { errored } = this.#pos;
    if (errored) this.#leave(true);
    if (errored && this.#terminal?.connecting === false) reset(this.#terminal);
    else this.#terminal?.destroy();
    this.#done();
  }

  /** The POS has left. Its transactions end without it, unless it may still wait for an answer. */
  #leave(isReset = false): void {
    this.#close("pos", isReset);
    this.#takeAnswer();
    this.#asked.take();
    this.#left.abort("the POS has closed its side");
    const { journal, shown } = this.#shared;
    const { text, passed } = this.#answered;
    for (const turn of this.#open) {
      const milliseconds = since(turn);
      if (turn.gone !== undefined || (!isReset && milliseconds < HALF_CLOSE_WINDOW)) continue;
      turn.gone = turn === this.#turns[0] ? text.slice(0, passed) : turn.sent;
      journal.gone(turn, { milliseconds, sent: shown.raw(turn.gone) });
    }
  }

  /** The terminal has closed its side, or reset the connection. */
  #hangUp(isReset = false): void {
    if (this.#isKept) return;
    if (isReset || this.#asked.framer.state === "whole") this.#asked.take();
    this.#answered.take();
    for (const turn of this.#turns.splice(0)) {
      const how = isReset ? "reset" : "closed";
      const text = `the terminal ${how} the connection without an answer`;
      if (turn.gone === undefined) this.#shared.journal.warn(turn, noted("unanswered", text));
      this.#over(turn);
    }
    this.#afterHeld(() => {
      this.#isKept = this.#isWithheld && !this.#left.signal.aborted;
      if (this.#isKept) {
        this.#log("info", () => "the terminal has hung up, the POS waits: its answer is withheld");
        if (!isReset) this.#terminal?.end();
        return;
      }
      this.#close("terminal", isReset);
      if (isReset) reset(this.#pos);
      else this.#pos.end();
    });
  }

  #unreachable(error: NodeJS.ErrnoException): void {
    const { journal, place: { host, port }, onTried } = this.#shared;
    onTried(false);
    this.#close("terminal");
    const text = whyNotReached(error, `${host} port ${port}`);
    const turn = this.#turn;
    if (turn) journal.warn(turn, noted("unreachable", text), "error");
    else this.#log("error", () => text);
    for (const turn of this.#turns.splice(0)) this.#over(turn);
    this.#pos.destroy();
  }

  /** Both connections are closed. */
  #done(): void {
    const isOpen = !this.#pos.destroyed || (this.#terminal && !this.#terminal.destroyed);
    if (isOpen || this.#isDone) return;
    this.#isDone = true;
    this.#asked.take();
    this.#answered.take();
    const { by = "pos", ...how } = this.#closing ?? { at: new Date() };
    this.#log("debug", () => "closed");
    this.#shared.journal.closed(this.#number, by, this.#terminal !== undefined, how);
    this.#afterHeld(() => {
      for (const turn of this.#open) this.#over(turn);
    });
    this.#onDone();
  }

  // ---- messages

  #over(turn: Turn): void {
    this.#open.delete(turn);
    this.#shared.journal.over(turn);
  }

  #onRequest({ received, isDoubtful, ending, pieces, at: arrived }: Heard): void {
    const { script, journal, shown } = this.#shared;
    const found = shown.deviations(received, isDoubtful);
    const isRest = received.fields.length > 0 && received.message["CZ"] === undefined;
    const isLate = isRest && this.#turns.length > 0; // it gets no answer of its own
    if (isLate || (isRest && this.#last)) {
      const text = "expected the whole request at once, these fields came later";
      found.unshift({ code: "late", text });
    }
    const isRefused = isLate || found.some(({ code }) => DEVIATIONS[code] === "always");
    const outcome: Outcome = isRefused
      ? {}
      : outcomeFor(received.message, script) ?? script.outcome as Outcome;
    const told = shown.received(received, isDoubtful);
    const turn: Turn = {
      connection: this.#number,
      transaction: 0,
      address: this.#address,
      received: dateOf(arrived),
      deviations: found,
      segments: segmentsOf(pieces, arrived),
      ending,
      signal: this.#left.signal,
      request: told.message,
      arrived,
      outcome: changes(outcome) ? outcome : undefined,
      sent: "",
      unasked: 0,
    };
    turn.transaction = journal.request(turn, told);
    if (isLate) return journal.over(turn);
    journal.decided(turn, turn.outcome && shown.outcome(turn.outcome));
    if (movesMoney(turn.request["CD"])) journal.pays(turn);
    this.#open.add(turn);
    this.#turns.push(turn);
    if (this.#turns.length > MAX_WAITING) this.#over(this.#turns.shift()!);
  }

  /** Takes an answer that seems whole as such, since the POS does: it asks again, or leaves. */
  #takeAnswer(): void {
    const [turn] = this.#turns;
    const ear = this.#answered;
    if (turn && ear.framer.state === "whole" && seemsWhole(turn.request, ear.framer.message)) {
      ear.take();
    }
  }

  #onAnswer(heard: Heard): void {
    const { journal, shown } = this.#shared;
    const { received, isDoubtful, ending, pieces, at, unsent } = heard;
    const turn = this.#turn;
    const isInterim = turn !== undefined && !received.error && received.message["AE"] === "11" &&
      turn.request["BA"] !== "1";
    const outcome = isInterim ? undefined : turn?.outcome;
    const { raw, message, error } = shown.received(received, isDoubtful);
    if (!turn) {
      if (unsent !== "") this.#afterHeld(() => void this.#write(unsent));
      const last = this.#last;
      if (!last) return journal.between(this.#number, "terminal", raw + ending, dateOf(at));
      last.unasked++;
      if (last.unasked > MAX_UNASKED + 1) return;
      if (last.unasked > MAX_UNASKED) {
        const text = "the terminal sends on without being asked, which is told no more";
        return journal.warn(last, { code: "more", text });
      }
      const text = `the terminal sent without being asked: ${shortened(raw)}`;
      const came = { raw: raw + ending, milliseconds: Math.round(at - last.arrived) };
      return journal.warn(last, noted("unasked", text), "warn", came);
    }
    const segments = segmentsOf(pieces, turn.arrived);
    const milliseconds = Math.round(at - turn.arrived);
    const answer: Sent = {
      raw,
      message,
      ...(ending && { ending }),
      ...(segments.length > 1 && { segments }),
      verdict: verdictOf(turn.request, { ...received, message, ...(error && { error }) }),
    };
    if (isInterim) {
      return this.#send(unsent, (isThere) => {
        const sent: Sent = { ...answer, ...(!isThere && { lost: "all" }) };
        journal.answer(turn, sent, milliseconds, dateOf(at));
      });
    }
    this.#turns.shift();
    this.#last = turn;
    this.#isWithheld = outcome?.fault === "silent";
    if (outcome) {
      journal.due(turn, answer, milliseconds);
      this.#tell(answer, milliseconds);
      this.#terminal?.pause(); // so that little is held behind it
      return this.#afterHeld(() => this.#change(turn, outcome, heard));
    }
    this.#send(unsent, (isThere) => {
      const { gone } = turn;
      const isPart = gone !== undefined && gone !== "" && gone.length < received.raw.length;
      journal.due(turn, answer, isPart ? milliseconds : undefined);
      const isLost = gone !== undefined || !isThere;
      const sent: Sent = isPart
        ? { ...wireMessage(shown.raw(gone)), lost: "rest" }
        : { ...answer, ...(isLost && { lost: "all" }) };
      journal.answer(turn, sent, milliseconds, dateOf(at));
      this.#tell(answer, milliseconds);
      this.#over(turn);
    });
  }

  /** Sends what has not been passed on, after what is held; then tells whether the POS was there. */
  #send(unsent: string, onSent: (isThere: boolean) => void): void {
    if (unsent === "") onSent(true);
    else if (this.#held === 0) onSent(this.#write(unsent));
    else this.#afterHeld(() => onSent(this.#write(unsent)));
  }

  /** Tells what an answer means. */
  #tell({ verdict }: Sent, milliseconds: number): void {
    if (!verdict) return;
    const { status } = verdict;
    const after = `after ${milliseconds} ms`;
    if (status === "invalid") {
      this.#log("warn", () => `the answer ${after} is not usable: ${verdict.error}`);
      return;
    }
    const { failure } = { failure: undefined, ...verdict };
    const code = failure?.code ? `, AF ${failure.code}` : "";
    this.#log("info", () => `${status} ${after}${failure ? `: ${inWords(failure)}${code}` : ""}`);
  }

  /** Sends something else than what the terminal has answered, the way our own terminal does. */
  async #change(
    turn: Turn,
    { tags, ...others }: Outcome,
    { received: { raw: answered, error }, ending }: Heard,
  ): Promise<void> {
    const { fault, hangup, delay = 0 } = others;
    const { journal, shown } = this.#shared;
    const { CD: action, BA: atOnce } = turn.request;
    if (action !== "I" && atOnce !== "1") {
      await this.#sleepUntil(turn.arrived + drawDelay(delay) * 1000);
    }
    if (tags && error) {
      const names = Object.keys(tags).join(", ");
      const text = `${names} not set: expected an answer that is well-formed`;
      journal.warn(turn, noted("not-set", text));
      journal.decided(turn, changes(others) ? others : undefined);
    }
    const raw = tags && !error ? withTags(answered, tags) : answered;
    const transmission: Transmission = fault ? FAULTS[fault].send(raw) : { segments: [raw] };
    const { then } = transmission;
    const segments = [...transmission.segments];
    // What stood right behind the answer goes out behind one that is sent to its end.
    const end = segments.length === 0 || then || fault === "garbage" ? "" : ending;
    if (end !== "") segments.push(segments.pop() + end);
    const sent: Segment[] = [];
    for (const [index, segment] of segments.entries()) {
      const wait = pauseBefore(index, transmission);
      if (index > 0) await this.#sleepUntil(performance.now() + wait);
      if (turn.gone || !this.#write(segment)) break; // it left in the middle
      turn.sent += segment;
      sent.push({ milliseconds: since(turn), bytes: segment.length });
    }
    const whole = segments.join("");
    const lost = lostOf(turn.sent, whole, turn.gone);
    if (whole === "") journal.nothing(turn);
    else {
      const told = lost === "rest" ? turn.sent : whole;
      const length = whole.length - end.length;
      journal.answer(turn, {
        ...wireMessage(shown.raw(told.slice(0, length))),
        ...(told.length > length && { ending: told.slice(length) }),
        ...(lost && { lost }),
        ...(sent.length > 1 && { segments: sent }),
      }, since(turn));
    }
    if (whole !== "" || then || this.#pos.destroyed) this.#over(turn);
    if (!then && !(hangup && whole !== "")) return;
    this.#close("terminal", then === "reset");
    if (then === "reset") return reset(this.#pos);
    this.#pos.removeAllListeners("data").resume(); // no terminal is asked for what it cannot answer
    this.#pos.end();
    setTimeout(() => this.#pos.destroy(), CLOSE_TIMEOUT).unref();
  }
}

/** Has a socket send each segment at once, and the system notice a peer that has no power. */
function prepare(socket: net.Socket, { keepAlive }: Settings): void {
  socket.setNoDelay();
  if (keepAlive > 0) socket.setKeepAlive(true, keepAlive);
}

/** What an answer means for its request; one that is malformed or has a tag twice is not usable. */
function verdictOf(request: Readonly<Message>, answer: Received): Verdict {
  const error = problemOf(answer);
  return error === undefined ? interpret(request, answer.message) : { status: "invalid", error };
}

/** A message with tags set, or left out where the value is "". */
function withTags(raw: string, tags: Readonly<Message>): string {
  const { fields } = cutFields(raw);
  const isThere = (tag: string): boolean => fields.some((field) => field.tag === tag);
  const added = Object.entries(tags).filter(([tag]) => !isThere(tag));
  const all = [...fields, ...added.map(([tag, value]) => ({ tag, value }))];
  return all.map(({ tag, value }) => tags[tag] === "" ? "" : fieldText(tag, tags[tag] ?? value))
    .join("");
}

// ---------------------------------------------------------------- the proxy

/** A proxy that is running: a terminal, as its POS and its tests see it. */
export interface Proxy extends Terminal {
  /** Whether the real terminal could be reached so far; undefined before the first try. */
  readonly reached: boolean | undefined;
}

/**
 * Starts a proxy. It connects to the real terminal when the first byte of a POS comes.
 *
 * @throws {OptionError} An option is not as it must be, or one that only a simulated terminal has.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const { terminal, unmasked: _, ...others } = options;
  const settings = check(others, "the real terminal", readChange);
  const place = readPlace(terminal, settings);
  const shown = shownBy(options);
  const script: Settings = { ...settings, next: [...settings.next] };
  const words = (outcome: Outcome): string => formatOutcome(outcome).replace(/^success,?/, "");
  const journal = new Journal(settings, words);
  let reached: boolean | undefined;
  const onTried = (isThere: boolean): void => void (reached ||= isThere);
  const shared: Shared = { script, journal, place, shown, onTried };
  const listening = await acceptAll(
    script,
    journal,
    new Set<Relay>(),
    (socket, number, onDone) => new Relay(socket, number, shared, onDone),
  );
  const to = `passing on to ${place.host} port ${place.port}`;
  journal.listening(listening.host, listening.port, to);
  const steered = { ...UNSTEERED, script };
  const changeable = ["outcome", "when"];
  const proxy = terminalOf(settings, steered, journal, listening, readChange, changeable);
  const get = (): boolean | undefined => reached;
  return Object.defineProperty(proxy, "reached", { get, enumerable: true }) as Proxy;
}

/** What of a terminal is not there where another one decides. */
const UNSTEERED: Omit<Steered, "script"> = { waiting: [], decide: () => false, forget() {} };

// ---------------------------------------------------------------- recordings

/** A message of a recording. */
interface Wire extends WireMessage {
  segments: readonly Segment[];
  /** From the last byte of the request to its own. */
  milliseconds: number;
}

/** A request of a recording, and what the terminal made of it. */
interface Exchange {
  /** The line that the request is on, from 1. */
  line: number;
  /** Which connection it was on: the run that was recorded, and its number. */
  connection: string;
  transaction: number | undefined;
  request: Wire;
  /** What the terminal sent before it answered, that is no message. */
  before?: string;
  interim?: Wire;
  answer?: Wire;
  /** Whether the POS was sent something else than the answer. */
  isChanged?: boolean;
  /** How many more answers came, which nobody had asked for. */
  others?: number;
  /** How the connection was closed after it. */
  closed?: { by: Side; milliseconds: number; reset: boolean };
}

/** What is read of the event on a line. */
type Recorded = Wire & Partial<About> & {
  event: string;
  code?: string;
  by?: Side;
  reset?: boolean;
};

/** Reads a line of a recording. */
function readEvent(text: string): Recorded | undefined {
  try {
    const { raw = "", ending = "", segments = [], milliseconds = 0, ...about } = JSON.parse(text);
    const isMessage = /^(?:request|invalid|answer|due)$/.test(about.event);
    const numbers = [
      milliseconds,
      ...segments.flatMap((one: Segment) => [one.bytes, one.milliseconds]),
    ];
    if (isMessage) numbers.push(about.connection, about.transaction);
    const fits = [about.event, raw, ending].every((text) => typeof text === "string") &&
      numbers.every((number) => Number.isFinite(number)) && !(isMessage && raw === "");
    return fits ? { ...about, ...wireMessage(raw), ending, segments, milliseconds } : undefined;
  } catch {
    return undefined; // no JSON, or null
  }
}

/** Reads a recording: the lines that `--json` prints, of one run or of several. */
function readRecording(text: string, option = "recording"): Exchange[] {
  const exchanges: Exchange[] = [];
  const greetings = new Map<string, string>(); // by connection, before its first request is told
  let run = 0;
  for (const [index, lineText] of text.split("\n").entries()) {
    if (lineText.trim() === "") continue;
    const line = index + 1;
    const recorded = readEvent(lineText);
    if (!recorded) {
      const got = lineText.length > 80 ? `${lineText.slice(0, 80)}...` : lineText;
      throw new OptionError(option, `the event of a recording on line ${line}`, got);
    }
    const { event, connection: number, transaction, code, by, reset = false, ...wire } = recorded;
    if (event === "listening") run++;
    const connection = `${run}/${number}`;
    const isBetween = event === "between" && by === "terminal";
    if (event === "request" || event === "invalid") {
      const before = greetings.get(connection);
      greetings.delete(connection);
      exchanges.push({ line, connection, transaction, request: wire, ...(before && { before }) });
      continue;
    }
    const exchange = exchanges.findLast((one) =>
      one.connection === connection &&
      (event === "closed" || event === "between" || one.transaction === transaction)
    );
    if (!exchange) {
      if (isBetween) greetings.set(connection, (greetings.get(connection) ?? "") + wire.raw);
      continue;
    }
    if (event === "due" || (event === "answer" && !exchange.isChanged)) {
      if (exchange.answer) exchange.interim = exchange.answer;
      exchange.answer = wire;
      exchange.isChanged = event === "due";
    } else if (code === "unasked") exchange.others = (exchange.others ?? 0) + 1;
    else if (isBetween && !exchange.answer) exchange.before = (exchange.before ?? "") + wire.raw;
    else if (isBetween && exchange.answer && !exchange.others) {
      exchange.answer = withLater(exchange.answer, wire);
    } else if (event === "closed" && by && !exchange.isChanged) {
      exchange.closed = { by, milliseconds: wire.milliseconds, reset };
    }
  }
  return exchanges;
}

/** An answer with what came a while behind it, which is its ending too. */
function withLater(answer: Wire, { raw, milliseconds }: Wire): Wire {
  const { ending = "", segments } = answer;
  const bytes = answer.raw.length + ending.length;
  const before = segments.length > 0 ? segments : [{ milliseconds: answer.milliseconds, bytes }];
  const later = { milliseconds, bytes: raw.length };
  return { ...answer, ending: ending + raw, segments: [...before, later] };
}

/** Reads a recording that must have something to play, or to compare. */
function readExchanges(text: string, option?: string): Exchange[] {
  const exchanges = readRecording(text, option);
  if (exchanges.length > 0) return exchanges;
  const expected = "the lines that proxy.ts --json has printed, with a request among them";
  throw new OptionError(option ?? "recording", expected, undefined);
}

// ---- playing one

/** Tags whose values may differ from the recorded request: what changes from payment to payment. */
const FREE: ReadonlySet<string> = new Set([..."CA CB CH CJ ID IM ZT".split(" "), ...MASKED]);

/** What of a request decides which recorded one it is like; all of one that is malformed. */
function likeness(raw: string): string {
  const shown = maskRaw(raw); // which a recording has
  const { fields, rest } = cutFields(shown);
  if (rest !== "") return shown;
  return fields.map(({ tag, value }) => FREE.has(tag) ? tag : `${tag} ${value}`).sort().join(", ");
}

/** Is told all, and tells it as it may be shown. */
class ShownJournal extends Journal {
  readonly #shown: Shown;

  constructor(settings: Settings, shown: Shown) {
    super(settings);
    this.#shown = shown;
  }

  #show(sent: Sent): Sent {
    return { ...sent, ...wireMessage(this.#shown.raw(sent.raw)) };
  }

  override request(session: Session, received: Received): number {
    return super.request(session, this.#shown.received(received, false));
  }

  override due(session: Session, answer: Sent, milliseconds?: number): void {
    super.due(session, this.#show(answer), milliseconds);
  }

  override answer(session: Session, sent: Sent, milliseconds: number, at?: Date): void {
    super.answer(session, this.#show(sent), milliseconds, at);
  }

  override gone(session: Session, { milliseconds, sent }: Gone): void {
    super.gone(session, { milliseconds, sent: this.#shown.raw(sent) });
  }
}

/**
 * Plays a recording: a request with the tags of a recorded one, and the same values but for amount,
 * register, private data and identifiers, gets its answer, with those of the request in it, in the
 * segments and after the pauses of the recording. Several that are alike take turns. Others get AE
 * 01, AF 12.
 *
 * @param recording The lines that `proxy.ts --json` has printed.
 * @throws {OptionError} A line is no event, or an option is not as it must be.
 * @throws {ListenError} It cannot listen there.
 */
export async function startReplay(
  recording: string,
  options: ReplayOptions = {},
): Promise<Terminal> {
  const { unmasked: _, ...others } = options;
  const settings = check(others, "the recording", readNothing);
  const shown = shownBy(options);
  const script: Settings = { ...settings, next: [] };
  const recorded = new Map<string, Exchange[]>();
  for (const exchange of readExchanges(recording)) {
    const key = likeness(exchange.request.raw);
    recorded.set(key, [...recorded.get(key) ?? [], exchange]);
  }
  const turns = new Map<string, number>();
  const journal = new ShownJournal(settings, shown);
  const judge = (received: Received): Deviation[] => shown.deviations(received, false);
  const listening = await serve(
    settings,
    (received, session) => {
      const key = likeness(received.raw);
      const alike = recorded.get(key) ?? [];
      const turn = turns.get(key) ?? 0;
      const exchange = alike[turn % alike.length];
      turns.set(key, turn + 1);
      if (exchange) return replyOf(exchange, received.message);
      const text = `the recording has no request with ${printable(key)}`;
      journal.warn(session, noted("not-recorded", text));
      return { answer: unknownAction(received.message) };
    },
    journal,
    judge,
  );
  journal.listening(listening.host, listening.port, `playing ${recorded.size} kinds of requests`);
  const steered = { ...UNSTEERED, script, forget: () => turns.clear() };
  return terminalOf(settings, steered, journal, listening, readNothing, []);
}

/** The answer to what a terminal does not know. (3) */
function unknownAction(request: Readonly<Message>): WireMessage {
  const tags = mandatoryTags(request["CD"]).filter((tag) => request[tag]);
  const echo = Object.fromEntries(tags.map((tag) => [tag, request[tag] ?? ""]));
  return wireMessage(encodeText({ ...echo, AE: "01", AF: "12" }));
}

/** What is answered to a request as it was to a recorded one. */
function replyOf({ request, interim, answer, closed }: Exchange, asked: Message): Reply {
  const own = (tag: string, said: string): string => {
    const [before, now] = [request.message[tag], asked[tag]];
    if (before === undefined || now === undefined || !FREE.has(tag)) return said;
    if (said === before) return now;
    if (tag === "CB" && Number(said) === Number(before)) return now.padStart(said.length, "0"); // (5)
    return tag === "CF" && before.startsWith(said) ? now.slice(0, said.length) : said; // (9)
  };
  const by = closed?.by === "terminal" ? closed : undefined;
  const { milliseconds = 0 } = answer ?? {};
  const segments = answer ? cutAs(answer, own) : [];
  const [first = answer ? milliseconds : by?.milliseconds ?? 0, ...times] =
    answer?.segments.map(({ milliseconds }) => milliseconds) ?? [];
  return {
    answer: answer ? wireMessage(segments.join("")) : unknownAction(asked),
    delay: first / 1000,
    transmission: {
      segments,
      pause: times.map((time, index) => time - (times[index - 1] ?? first)),
      ...(by?.reset ? { then: "reset" } : by && !answer ? { then: "close" } : {}),
    },
    ...(by && { close: answer ? (by.milliseconds - (times.at(-1) ?? first)) / 1000 : 0 }),
    ...(interim && {
      interim: wireMessage(cutAs(interim, own).join("")),
      interimDelay: interim.milliseconds / 1000,
    }),
  };
}

/** A message in its recorded segments, with other values in it, to which their sizes adapt. */
function cutAs(
  { raw, ending = "", segments }: Wire,
  other = (_tag: string, value: string): string => value,
): string[] {
  const { fields, rest } = cutFields(raw);
  // What stands now for each recorded byte; the last one of a field stands for all that is more.
  const bytes = fields.flatMap(({ tag, value }) => {
    const [before, now] = [fieldText(tag, value), fieldText(tag, other(tag, value))];
    return Array.from(before, (_, at) => at < before.length - 1 ? now[at] ?? "" : now.slice(at));
  });
  bytes.push(...rest, ...ending);
  const cut = segments.slice(0, -1).map((segment) => bytes.splice(0, segment.bytes).join(""));
  return [...cut, bytes.join("")];
}

// ---- comparing one

/** Something in which the simulated terminal differs from the recorded one. */
export interface Difference {
  /** Whether it is about the AE 11 that came first. */
  interim?: true;
  /** In what. */
  what:
    | "answer"
    | "before"
    | "interim"
    | "tags"
    | "order"
    | "size"
    | "value"
    | "ending"
    | "segments"
    | "time"
    | "closed";
  /** The tag, if it is about one. */
  tag?: string;
  /** What the recorded terminal did. */
  recorded: string;
  /** What the simulated one does. */
  simulated: string;
}

/** A recorded exchange, held against what the simulated terminal answers to the same bytes. */
export interface Comparison {
  /** The line of the recording that the request is on, from 1. */
  line: number;
  /** The request, masked. */
  request: Readonly<Message>;
  /** The outcome that the simulated terminal was given, for its answer to be like the recorded. */
  outcome: string;
  /** In what it differs. */
  differences: Difference[];
}

/** Milliseconds within which an answer is at once: longer, and a person had part in it (our choice). */
const AT_ONCE = 1_000;
/** Seconds that the simulated terminal takes for one that is not. */
const LATER = 1;
/** Most milliseconds that a pause between segments is waited for, and an answer. */
const [MAX_PAUSE, ANSWER_TIMEOUT] = [2_000, 5_000];
/** Milliseconds after which the simulated terminal gives no answer either. */
const SILENCE = 300;
/** Milliseconds in which the simulated terminal would have closed the connection. */
const CLOSES_WITHIN = 50;
/** Tags whose values are random, of a card, or a terminal's own: only their sizes are compared. */
const BY_SIZE: ReadonlySet<string> = new Set([
  ...MASKED,
  ..."AD AG AH AI AK AP AQ ID IM ZT".split(" "),
]);

/**
 * Holds a recording against the simulated terminal of server.ts: it is sent what the recorded one
 * was sent, in the same segments, and told how each transaction ended.
 *
 * @param recording The lines that `proxy.ts --json` has printed.
 * @param options Which model of a terminal is simulated. Default: that of server.ts.
 * @throws {OptionError} A line is no event, or there is no such model.
 */
export async function compareRecording(
  recording: string,
  { model }: { model?: ModelName } = {},
): Promise<Comparison[]> {
  const exchanges = readExchanges(recording);
  let [events, requests] = ["", 0];
  const onEvent = (event: TerminalEvent): void => {
    events += jsonLine(event);
    if (event.event === "request" || event.event === "invalid") requests++;
  };
  await using terminal = await startTerminal({
    port: 0,
    host: "127.0.0.1",
    duration: 0,
    ...(model && { model }),
    onEvent,
  });
  const to = { port: terminal.port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true };
  const tills = new Map<string, net.Socket>(); // by their recorded connections
  const comparisons: Comparison[] = [];
  for (const exchange of exchanges) {
    const { line, connection, request, closed } = exchange;
    const outcome = outcomeOf(exchange);
    terminal.clearNext();
    terminal.nextOutcome(outcome);
    events = "";
    const till = tills.get(connection) ?? net.connect(to);
    if (!tills.has(connection)) till.on("error", () => {}).resume();
    tills.set(connection, till);
    const before = requests;
    await sendTo(till, exchange);
    const timeout = exchange.answer ? ANSWER_TIMEOUT : SILENCE;
    await terminal.waitForTransaction({ after: before, timeout }).catch(() => {});
    const leaves = closed?.by === "terminal";
    const isEnded = await ends(till, leaves ? AT_ONCE : closed ? CLOSES_WITHIN : 0);
    const [own] = readRecording(events);
    const differences = differencesOf(exchange, own);
    const isLeft = isEnded && !till.writableEnded;
    const told = (closes: boolean, resets = false): string =>
      !closes ? "keeps it open" : resets ? "resets the connection" : "closes the connection";
    const [recorded, simulated] = [told(leaves, closed?.reset), told(isLeft, !!till.errored)];
    if (recorded !== simulated && (closed || isLeft)) {
      differences.push({ what: "closed", recorded, simulated });
    }
    if (closed || isLeft) {
      tills.delete(connection);
      till.destroy();
    }
    const { message } = wireMessage(maskRaw(request.raw)); // the report is sent to others
    comparisons.push({ line, request: message, outcome: formatOutcome(outcome), differences });
  }
  for (const till of tills.values()) till.destroy();
  return comparisons;
}

/** Sends what a recorded till has sent, as it was cut. */
async function sendTo(till: net.Socket, { request, answer, closed }: Exchange): Promise<void> {
  const times = request.segments.map(({ milliseconds }) => milliseconds);
  for (const [index, part] of cutAs(request).entries()) {
    const pause = (times[index] ?? 0) - (times[index - 1] ?? 0);
    if (index > 0) await sleep(Math.min(pause, MAX_PAUSE));
    till.write(part, "latin1");
  }
  // One that had closed its side right away, as nc does.
  if (closed?.by === "pos" && answer && closed.milliseconds < answer.milliseconds) till.end();
}

/** Whether the terminal closes a connection, or has closed it, within so many milliseconds. */
async function ends(till: net.Socket, within: number): Promise<boolean> {
  const hasEnded = (): boolean => till.readableEnded || till.destroyed;
  if (!hasEnded()) await once(till, "end", { signal: AbortSignal.timeout(within) }).catch(() => {});
  return hasEnded();
}

/** The outcome that makes the simulated terminal answer like a recorded one, but for its habits. */
function outcomeOf({ request: { message: request }, interim, answer }: Exchange): Outcome {
  if (!answer) return {};
  const known = Object.entries(answer.message).filter(([, value]) => !isMasked(value));
  const said: Message = Object.fromEntries(known);
  const { AE: status, AF: reason = "", CC: application, CI: mode, CB: paid } = said;
  const isLate = answer.milliseconds >= AT_ONCE;
  const when = { delay: isLate ? LATER : 0, ...(interim && { pending: true }) };
  if (status === "01") return { failure: /^\d\d/.exec(reason)?.[0] ?? "07", ...when };
  if (status !== "10" || !movesMoney(request["CD"])) return when;
  const cards = Object.keys(CARDS) as Card[];
  const card = cards.find((card) => CARDS[card].CC === application);
  const tags: Message = {};
  if (!card && application && application !== request["CC"]) tags["CC"] = application;
  if (mode && !(card && CARDS[card].CI === mode)) tags["CI"] = mode;
  if (paid && Number(paid) !== Number(request["CB"])) tags["CB"] = paid; // in part
  return { ...when, ...(card && { card }), ...(Object.keys(tags).length > 0 && { tags }) };
}

/** Compares a recorded text with the simulated one, and adds what differs to a list. */
function comparingInto(
  found: Difference[],
): (what: Difference["what"], recorded: string, simulated: string, tag?: string) => void {
  return (what, recorded, simulated, tag) => {
    if (recorded !== simulated) found.push({ what, ...(tag && { tag }), recorded, simulated });
  };
}

/** In what an answer of the simulated terminal differs from that of a recorded one. */
function differencesOf(recorded: Exchange, simulated?: Exchange): Difference[] {
  const found: Difference[] = [];
  const compare = comparingInto(found);
  const { answer: one, closed } = recorded;
  const other = simulated?.answer;
  if (!one || !other) {
    const none = closed?.by === "pos"
      ? `none within ${closed.milliseconds} ms, when the POS left`
      : "none";
    if (one ?? other) compare("answer", one ? "one" : none, other ? "one" : "none");
    return found;
  }
  const answers = ({ answer, others = 0 }: Exchange): string =>
    (others > 0 ? `${1 + others}` : "one") + (answer && isMalformed(answer) ? ", malformed" : "");
  compare("answer", answers(recorded), simulated ? answers(simulated) : "none");
  compare("before", recorded.before ?? "", simulated?.before ?? "");
  const status = (interim?: Wire): string => interim ? `AE ${interim.message["AE"]}` : "";
  compare("interim", status(recorded.interim), status(simulated?.interim));
  if (recorded.interim && simulated?.interim) {
    const ofInterim = wireDifferences(recorded.interim, simulated.interim);
    found.push(...ofInterim.map((one) => ({ interim: true as const, ...one })));
  }
  return [...found, ...wireDifferences(one, other)];
}

/** Whether of a recorded value only its size is known. */
function isMasked(value: string): boolean {
  return /^\*+$/.test(value);
}

/** Whether a message is none, at least not to its end. */
function isMalformed({ raw }: Wire): boolean {
  const { rest } = cutFields(raw);
  return !isBetween(rest);
}

/** In what a message of the simulated terminal differs from a recorded one. */
function wireDifferences(one: Wire, other: Wire): Difference[] {
  const found: Difference[] = [];
  const compare = comparingInto(found);
  const tagsOf = ({ raw }: Wire): string[] => {
    const all = cutFields(raw).fields.map(({ tag }) => tag);
    return all.map((tag, at) => all.indexOf(tag) < at ? `${tag} again` : tag);
  };
  const [tags, others] = [tagsOf(one), tagsOf(other)];
  const both = (all: string[]): string =>
    all.filter((tag) => tags.includes(tag) && others.includes(tag)).join(" ");
  const only = (all: string[], not: string[]): string =>
    all.filter((tag) => !not.includes(tag)).join(" ");
  // Of what is malformed, which tags it would have is not known.
  if (!isMalformed(one)) compare("tags", only(tags, others), only(others, tags));
  compare("order", both(tags), both(others));
  for (const tag of tags) {
    const [value = "", ours] = [one.message[tag], other.message[tag]];
    if (ours === undefined || tag === "CG") continue; // which is the shop's
    const isBySize = BY_SIZE.has(tag) || isMasked(value);
    if (isBySize) compare("size", `${value.length}`, `${ours.length}`, tag);
    else compare("value", maskValue(tag, value), maskValue(tag, ours), tag);
  }
  compare("ending", one.ending ?? "", other.ending ?? "");
  const count = ({ segments }: Wire): string => `${segments.length || 1}`;
  compare("segments", count(one), count(other));
  const time = ({ milliseconds }: Wire, late: number): string =>
    milliseconds >= late ? "after seconds" : "at once";
  compare("time", time(one, AT_ONCE), time(other, LATER * 900)); // timers may be early
  return found;
}

/** A comparison for people. */
function comparisonText({ line, request, outcome, differences }: Comparison): string {
  const what = `line ${line}: ${requestText(request)}, simulated as ${outcome}`;
  if (differences.length === 0) return `${what}: no difference\n`;
  const rows = differences.map(({ interim, what, tag, recorded, simulated }) => {
    const about = (interim ? "AE 11, " : "") + (what === "size" ? `${tag}, size` : tag ?? what);
    return `  ${about}: recorded ${recorded || "none"}, simulated ${simulated || "none"}`;
  });
  return `${[what, ...rows].map(printable).join("\n")}\n`;
}

// ---------------------------------------------------------------- the command

/** The options of the command besides those of a terminal, and what it says of some of these. */
const OPTIONS = {
  model: {
    heading: "What --compare simulates",
    value: "NAME",
    default: "reference",
    help: "the model of a terminal, see server.ts",
  },
  when: {
    heading: "What is done to the terminal's answer. The first of these that applies decides",
    value: "AMOUNT=OUTCOME",
    multiple: true,
    help:
      "1. for an amount such as 1234, in minor units, or its last digits, *34; may be given again",
  },
  outcome: { value: "OUTCOME", help: "3. for all others (nothing)" },
  gap: {
    heading: "What it prints",
    value: "MS",
    default: 20,
    max: 86_400_000,
    help: "the pause that ends a request",
  },
  json: { help: "what happens, on stdout, a JSON object a line: the recording" },
  terminal: {
    heading: "What it does, one of these",
    value: "HOST",
    help: "pass on to the real terminal there, HOST:PORT if that is not 8888",
  },
  replay: { help: "play the recording on stdin" },
  compare: {
    help:
      "tell where the simulated terminal differs from the recording on stdin; exit status 1 if it does",
  },
  unmasked: { help: "not with --compare: show and record what is masked otherwise" },
} satisfies Options;

/** What the command was asked to do. */
type Asked = TerminalOptions & Partial<Pick<ProxyOptions, "terminal" | "unmasked">> & {
  replay?: boolean;
  compare?: boolean;
};

/** Reads all of stdin, which needs no permission. */
async function readStdin(option: "replay" | "compare"): Promise<string> {
  if (process.stdin.isTTY) throw new OptionError(option, "a recording on stdin", "a keyboard");
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const isWide = bytes[0] === 0xff && bytes[1] === 0xfe; // as PowerShell writes files
  const text = new TextDecoder(isWide ? "utf-16le" : "utf-8").decode(bytes);
  readExchanges(text, option); // or an error would not name the option
  return text;
}

async function startCommand(asked: Asked, isJson: boolean): Promise<Terminal> {
  const { terminal, replay, compare, unmasked = false, model, ...options } = asked;
  const words = (["terminal", "replay", "compare"] as const).filter((name) =>
    asked[name] !== undefined
  ).map((name) => `--${name}`);
  if (words.length !== 1) {
    const expected = "one of --terminal HOST, --replay and --compare";
    throw new OptionError("terminal", expected, words.join(", ") || undefined);
  }
  if (unmasked && compare) throw new OptionError("unmasked", "--terminal or --replay", words[0]);
  if (model !== undefined && !compare) throw new OptionError("model", "--compare", words[0]);
  if (terminal !== undefined) {
    return startProxy({ ...options as ReplayOptions, terminal, unmasked });
  }
  if (replay) {
    check(options, "the recording", readNothing);
    return startReplay(await readStdin("replay"), { ...options as ReplayOptions, unmasked });
  }
  const { outcome = {}, ...others } = options;
  readNothing(outcome as Outcome);
  const none = Object.entries(others).find(([name]) => !/^(?:log|logLevel|onEvent)$/.test(name));
  if (none) throw new OptionError(none[0], "none with --compare", none[1]);
  const comparisons = await compareRecording(await readStdin("compare"), model && { model });
  const differing = comparisons.filter(({ differences }) => differences.length > 0).length;
  const lines = comparisons.map((one) => isJson ? jsonLine(one) : comparisonText(one));
  if (!isJson) lines.push(`${differing} of ${comparisons.length} differ\n`);
  // Until all of it is taken, or nobody reads it; Deno throws then.
  await new Promise((resolve) => process.stdout.on("error", resolve).write(lines.join(""), resolve))
    .catch(() => {});
  process.exit(differing > 0 ? 1 : 0);
}

if (import.meta.main) {
  runCommand<Terminal>({
    name: "proxy.ts",
    summary: "Stands between a till and a real card payment terminal; plays what was recorded\n" +
      "so, and compares it with the simulated terminal.",
    examples: [
      "--terminal 192.168.1.20 --json > session.jsonl",
      "--terminal 192.168.1.20 --next truncate",
      "--replay < session.jsonl",
      "--compare < session.jsonl",
    ],
    options: OPTIONS,
    takes: "port host when next outcome gap json logLevel help version".split(" "),
    start: (options, { interactive, json }) =>
      startCommand({ ...options, ...(interactive && { interactive }) }, json),
    status: (started) => "reached" in started && started.reached === false ? 3 : 0,
  });
}
