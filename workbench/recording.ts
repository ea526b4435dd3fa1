// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Recordings, the lines that `proxy.ts --json` prints: reads them, and plays one without the terminal.
 *
 * @module
 */
import {
  cutFields,
  type Deviation,
  encodeText,
  fieldText,
  mandatoryTags,
  MAX_MESSAGE,
  type Message,
  OptionError,
  printable,
  readable,
} from "../protocol.ts";
import {
  type Clock,
  Journal,
  listen,
  type Request,
  type Segment,
  type Settings,
  type Side,
  tellers,
  type Wire,
  type WireMessage,
} from "../server.ts";
import { isBetween, type Mask, MASKED, maskFor, maskRaw, maskValue, showing } from "./mask.ts";
import { type ReadOutcome, Rules } from "./rules.ts";
import { type ConnectionOptions, reader, settingsOf, steer } from "./steering.ts";
import type { Terminal } from "./terminal.ts";

/** How a recording is played: the options of a terminal that have to do with connections. */
export interface ReplayOptions extends ConnectionOptions {
  /** Shows and keeps what is masked otherwise, as for a proxy. Default: off. */
  unmasked?: boolean;
}

/** A message of a recording. */
export interface RecordedMessage extends WireMessage {
  /** Line ends and control characters right behind it. */
  readonly ending: string;
  /** Its segments, none if it came in one. */
  readonly segments: readonly Segment[];
  /** From the last byte of the request to its own. */
  readonly milliseconds: number;
}

/** A request of a recording, and what the terminal made of it. */
export interface Exchange {
  /** The line that the request is on, from 1. */
  line: number;
  /** Which connection it was on: the run that was recorded, and its number. */
  connection: string;
  /** The number of its transaction. */
  transaction: number | undefined;
  /** The request. */
  request: RecordedMessage;
  /** What the terminal sent before it answered, that is no answer. */
  before?: string;
  /** AE 11, if it came before the answer. */
  interim?: RecordedMessage;
  /** The answer. */
  answer?: RecordedMessage;
  /** Whether the POS was sent something else than the answer. */
  isChanged?: boolean;
  /** How many more answers came, which nobody had asked for. */
  others?: number;
  /** How the connection was closed after it. */
  closed?: { by: Side; milliseconds: number; reset: boolean };
}

// ---------------------------------------------------------------- reading

/** What is read of the event on a line. */
type RecordedEvent = RecordedMessage & {
  event: string;
  connection: number | undefined;
  transaction: number | undefined;
  code: unknown;
  by: unknown;
  isReset: boolean;
};

const isText = (value: unknown): value is string => typeof value === "string";
const isNumber = (value: unknown): value is number => Number.isFinite(value);
const isSegment = (value: unknown): value is Segment => {
  const { bytes, milliseconds } = Object(value);
  return isNumber(bytes) && isNumber(milliseconds);
};

/** Reads a line of a recording; undefined: it is none. */
function readEvent(text: string): RecordedEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { event, raw = "", ending = "", segments = [], milliseconds = 0, ...about } = Object(value);
  const { connection, transaction, code, by, reset } = about;
  const isMessage = /^(?:request|invalid|answer|due)$/.test(isText(event) ? event : "");
  const fits = isText(event) && isText(raw) && isText(ending) && isNumber(milliseconds) &&
    raw.length + ending.length <= MAX_MESSAGE && isBetween(ending) &&
    !/[^\p{Cc}\x20-\xff]/u.test(raw) &&
    Array.isArray(segments) && segments.every(isSegment) &&
    [connection, transaction].every((one) => isNumber(one) || (one === undefined && !isMessage)) &&
    !(isMessage && raw === "");
  if (!fits) return undefined;
  const message: RecordedMessage = {
    raw,
    message: readable(raw),
    ending,
    segments,
    milliseconds,
  };
  return { ...message, event, connection, transaction, code, by, isReset: reset === true };
}

/**
 * Reads a recording: the lines that `--json` prints, of one run or of several.
 *
 * @throws {OptionError} A line is no event.
 */
export function readRecording(text: string, option = "recording"): Exchange[] {
  const exchanges: Exchange[] = [];
  const onConnection = new Map<string, Exchange[]>();
  const greetings = new Map<string, string>(); // by connection, before its first request is told
  let run = 0;
  for (const [index, lineText] of text.split("\n").entries()) {
    if (lineText.trim() === "") continue;
    const line = index + 1;
    const recorded = readEvent(lineText);
    if (!recorded) {
      const got = maskValue("", lineText);
      const shown = got.length > 80 ? `${got.slice(0, 80)}...` : got;
      throw new OptionError(option, `the event of a recording on line ${line}`, shown);
    }
    const { event, connection: number, transaction, code, by, isReset, ...wire } = recorded;
    if (event === "listening") run++;
    const connection = `${run}/${number}`;
    const isBefore = event === "between" && by === "terminal";
    if (event === "request" || event === "invalid") {
      const before = greetings.get(connection);
      greetings.delete(connection);
      const one: Exchange = { line, connection, transaction, request: wire };
      if (before) one.before = before;
      exchanges.push(one);
      const others = onConnection.get(connection);
      if (others) others.push(one);
      else onConnection.set(connection, [one]);
      continue;
    }
    const exchange = onConnection.get(connection)?.findLast((one) =>
      event === "closed" || event === "between" || one.transaction === transaction
    );
    if (!exchange) {
      if (isBefore) greetings.set(connection, (greetings.get(connection) ?? "") + wire.raw);
      continue;
    }
    if (event === "due" || (event === "answer" && !exchange.isChanged)) {
      if (exchange.answer) exchange.interim = exchange.answer;
      exchange.answer = wire;
      exchange.isChanged = event === "due";
    } else if (code === "unasked") exchange.others = (exchange.others ?? 0) + 1;
    else if (isBefore && !exchange.answer) exchange.before = (exchange.before ?? "") + wire.raw;
    else if (isBefore && exchange.answer && !exchange.others) {
      exchange.answer = withLater(exchange.answer, wire);
    } else if (event === "closed" && (by === "pos" || by === "terminal") && !exchange.isChanged) {
      exchange.closed = { by, milliseconds: wire.milliseconds, reset: isReset };
    }
  }
  return exchanges;
}

/** An answer with what came a while behind it, which is its ending too. */
function withLater(
  answer: RecordedMessage,
  { raw, milliseconds }: RecordedMessage,
): RecordedMessage {
  const { ending, segments } = answer;
  const bytes = answer.raw.length + ending.length;
  const before = segments.length > 0 ? segments : [{ milliseconds: answer.milliseconds, bytes }];
  const later = { milliseconds, bytes: raw.length };
  return { ...answer, ending: ending + raw, segments: [...before, later] };
}

/**
 * Reads a recording that must have something to play, or to compare.
 *
 * @throws {OptionError} A line is no event, or there is no request.
 */
export function readExchanges(text: string, option = "recording"): Exchange[] {
  const exchanges = readRecording(text, option);
  if (exchanges.length > 0) return exchanges;
  const expected = "the lines that proxy.ts --json has printed, with a request among them";
  throw new OptionError(option, expected, undefined);
}

/** A message in its recorded segments, with other values in it, to which their sizes adapt. */
export function cutAs(
  { raw, ending, segments }: RecordedMessage,
  other = (_tag: string, value: string): string => value,
): string[] {
  const { fields, rest } = cutFields(raw);
  // What stands now for each recorded byte; the last one of a field stands for all that is more.
  const bytes = fields.flatMap(({ tag, value }) => {
    const [before, now] = [fieldText(tag, value), fieldText(tag, other(tag, value))];
    return Array.from(before, (_, at) => at < before.length - 1 ? now[at] ?? "" : now.slice(at));
  }).concat([...rest], [...ending]);
  const cut = segments.slice(0, -1).map((segment) => bytes.splice(0, segment.bytes).join(""));
  return [...cut, bytes.join("")].filter((part) => part !== "");
}

// ---------------------------------------------------------------- playing

/** Tags whose values may differ from the recorded request: what changes from payment to payment. */
const FREE: ReadonlySet<string> = new Set([..."CA CB CH CJ ID IM ZT".split(" "), ...MASKED]);

/** What of a request decides which recorded one it is like; all of one that is malformed. */
function likeness(raw: string): string {
  const shown = maskRaw(raw); // which a recording has
  const { fields, rest } = cutFields(shown);
  if (rest !== "") return shown;
  return fields.map(({ tag, value }) => FREE.has(tag) ? tag : `${tag} ${value}`).sort().join(", ");
}

/**
 * Holds the options of a replay against what they may be.
 *
 * @throws {OptionError} One of them is not as it must be, or only a simulated terminal has it.
 */
export function checkReplay(
  options: ReplayOptions,
): { settings: Settings; rules: Rules; read: ReadOutcome; mask: Mask } {
  const { unmasked, ...others } = options;
  const read = reader("none: the recording decides that", false);
  const { outcome, next, when, ...rest } = { outcome: {}, next: [], when: {}, ...others };
  read(outcome, "outcome");
  const rules = new Rules(when, next, read);
  return { settings: settingsOf(rest, "the recording"), rules, read, mask: maskFor(unmasked) };
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
  const { settings, rules, read, mask } = checkReplay(options);
  const recorded = new Map<string, Exchange[]>();
  for (const exchange of readExchanges(recording)) {
    const key = likeness(exchange.request.raw);
    const alike = recorded.get(key);
    if (alike) alike.push(exchange);
    else recorded.set(key, [exchange]);
  }
  const turns = new Map<string, number>();
  const journal = new Journal(settings.bounds);
  const { tell: tellAll } = tellers(settings, journal);
  const tell = showing(tellAll, mask);
  const handle = (request: Request, wire: Wire): void | Promise<void> => {
    const { clock } = settings;
    const key = likeness(request.received.raw);
    const alike = recorded.get(key) ?? [];
    const turn = turns.get(key) ?? 0;
    const exchange = alike[turn % alike.length];
    if (exchange) {
      turns.set(key, turn + 1);
      return play(exchange, request, wire, clock);
    }
    const about = { key: printable(key) };
    const text = `the recording has no request with ${about.key}`;
    request.warn({ code: "not-recorded", text, about });
    answer(request, unknownAction(request.message));
    wire.send(request.due);
  };
  const judge = (received: Request["received"]): Deviation[] => mask.deviations(received);
  const listening = await listen(settings, handle, tell, judge);
  const what = `playing ${recorded.size} kinds of requests`;
  const forget = (): void => turns.clear();
  return steer({ settings, journal, listening, tell, rules, read, what, forget });
}

/** Takes note of what is answered. */
function answer(request: Request, due: string): void {
  request.due = due;
  request.tell("due");
}

/** The answer to what a terminal does not know. (3) */
function unknownAction(request: Readonly<Message>): string {
  const tags = mandatoryTags(request["CD"]).filter((tag) => request[tag]);
  const echo = Object.fromEntries(tags.map((tag) => [tag, request[tag] ?? ""]));
  return encodeText({ ...echo, AE: "01", AF: "12" });
}

/** Answers a request as a recorded one was answered. */
async function play(
  { request: { message: before }, interim, answer: recorded, closed }: Exchange,
  request: Request,
  wire: Wire,
  clock: Clock,
): Promise<void> {
  const asked = request.message;
  const own = (tag: string, said: string): string => {
    const [then, now] = [before[tag], asked[tag]];
    if (then === undefined || now === undefined || !FREE.has(tag)) return said;
    if (said === then) return now;
    if (tag === "CB" && Number(said) === Number(then)) return now.padStart(said.length, "0"); // (5)
    return tag === "CF" && then.startsWith(said) ? now.slice(0, said.length) : said; // (9)
  };
  const until = async (milliseconds: number): Promise<void> => {
    const wait = request.at + milliseconds - clock.now();
    if (wait > 0) await clock.sleep(wait, wire.ended);
  };
  if (interim) {
    await until(interim.milliseconds);
    wire.send(cutAs(interim, own).join(""), "interim");
  }
  const by = closed?.by === "terminal" ? closed : undefined;
  const how = by?.reset ? "reset" : undefined;
  if (!recorded) {
    if (!by) return;
    await until(by.milliseconds);
    return wire.end(how);
  }
  const parts = cutAs(recorded, own);
  const times = parts.map((_, at) => recorded.segments[at]?.milliseconds ?? recorded.milliseconds);
  await until(times[0] ?? 0);
  answer(request, parts.join(""));
  for (const [at, part] of parts.entries()) {
    const pause = at === 0 ? 0 : times[at]! - times[at - 1]!;
    if (pause > 0) await clock.sleep(pause, wire.ended);
    if (!wire.send(part)) return;
  }
  if (by) closeAfter(by.milliseconds - (times.at(-1) ?? 0), how, request, clock);
}

/** Closes the connection a while after an answer, for which no request waits. */
function closeAfter(
  milliseconds: number,
  how: "reset" | undefined,
  request: Request,
  clock: Clock,
): void {
  const { socket } = request.line;
  if (milliseconds <= 0) return request.end(how);
  const closing = new AbortController();
  socket.once("close", () => closing.abort("closed"));
  clock.sleep(milliseconds, closing.signal).then(() => request.end(how), () => {});
}
