// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A request on its way through a proxy, until its answer is through: what is told of both, and how an
 * answer is changed.
 *
 * @module
 */
import {
  callBack,
  cutFields,
  describe,
  type Deviation,
  fieldText,
  interpret,
  inWords,
  type LogLevel,
  type Message,
  movesMoney,
  printable,
  problemOf,
  readable,
  type Verdict,
} from "../protocol.ts";
import {
  drawDelay,
  type Happened,
  type Line,
  type Outcome,
  Request,
  type Segment,
  send,
  type Sent,
  type Wire,
  type WireMessage,
} from "../server.ts";
import { type HeardMessage, segmentsOf } from "./ear.ts";
import { isBetween, type Mask } from "./mask.ts";
import { changes, wordsOf } from "./steering.ts";

/** What was sent or would have been, and what is known of it where another terminal has said it. */
export interface Relayed extends Sent {
  /** The line ends and control characters right behind it. */
  readonly ending?: string;
  /** What it means for the request. */
  readonly verdict?: Verdict;
}

/** A request, and what the terminal has answered. */
export class Turn extends Request {
  /** What is done to its answer, if anything. */
  change: Outcome | undefined;
  /** Ends what is still done about it. */
  readonly stopping: AbortController = new AbortController();
  /** Its POS left when a part of the answer was sent, and gets no more of it. */
  isCut = false;
  /** It was ended while its answer is yet to come, which then goes nowhere. */
  isDropped = false;
  /** How many messages came after its answer that nobody had asked for. */
  unasked = 0;
  readonly #mask: Mask;
  readonly #said: Relayed;
  #hasEnding = false; // what stood behind the answer was sent too

  /** A request that was heard, and what the protocol does not want of it. */
  constructor(line: Line, number: number, heard: HeardMessage, found: Deviation[], mask: Mask) {
    const { received, ending, pieces, at } = heard;
    super(line, number, received, found, segmentsOf(pieces, at), at);
    this.#mask = mask;
    const { raw, message } = mask.received(received);
    this.#said = wireMessage({ raw, message }, ending, this.segments);
    this.noted = { request: this.#said };
  }

  /** Its fields as they may be shown. */
  get asked(): Readonly<Message> {
    return this.#said.message;
  }

  /** Tells that it has come. */
  tellRequest(): void {
    const { error } = this.#mask.received(this.received);
    this.#tell("request", () => ({
      ...(error && { event: "invalid", error: error.message, at: error.at ?? 0 }),
      address: this.line.address,
      ...this.#said,
      warnings: [...this.warnings],
    }), () => `received: ${logText(this.#said)}`);
  }

  /** Takes what is to be done to its answer. */
  decide(outcome: Outcome, by: string): void {
    if (!changes(outcome)) return;
    this.change = outcome;
    this.outcome = this.#mask.outcome(outcome);
    this.decided = by;
    const words = wordsOf(this.outcome);
    this.#tell("decided", () => ({ outcome: words, by }), () => `${by}: ${words}`);
  }

  /** What the terminal has answered, as it may be shown, and what that means. */
  answerOf({ received, ending, pieces }: HeardMessage): Relayed {
    const { raw, message, error } = this.#mask.received(received);
    const problem = problemOf({ ...received, message, ...(error && { error }) });
    return {
      ...wireMessage({ raw, message }, ending, segmentsOf(pieces, this.at)),
      // One that is malformed or has a tag twice is not usable.
      verdict: problem === undefined
        ? interpret(this.asked, message)
        : { status: "invalid", error: problem },
    };
  }

  /** Takes note of how much of the answer has been passed on. */
  noteSent(passed: string): void {
    const before = /^[^A-Z]*/.exec(passed)?.[0] ?? "";
    const answer = isBetween(before) ? passed.slice(before.length) : passed;
    const more = answer.startsWith(this.sent) ? answer.slice(this.sent.length) : answer;
    if (more !== "") this.note(more);
  }

  /** Tells that AE 11 has come, before the answer. */
  tellInterim(heard: HeardMessage, isThere: boolean): void {
    if (this.over) return;
    const answer = this.answerOf(heard);
    const milliseconds = Math.round(heard.at - this.at);
    // Not by note(): what it means is told too, and when it came.
    if (isThere && !this.gone) this.interim = { raw: heard.received.raw, milliseconds };
    const told = { ...answer, milliseconds, ...(!isThere && { lost: "all" as const }) };
    this.noted = { ...this.noted, interim: told };
    this.#tell(
      "interim",
      () => ({ ...this.#words, ...told }),
      () => `${isThere ? "sent" : "not sent"}: ${logText(answer)}`,
    );
  }

  /** The answer has come, and goes on as it is. */
  pass(heard: HeardMessage, isThere: boolean): void {
    if (this.over) return; // it was ended meanwhile
    const answer = this.#tellDue(heard, this.isCut);
    if (this.isCut || !isThere) this.note("");
    else this.noteSent(heard.received.raw);
    const { lost } = this;
    const told = lost === "rest" ? wireMessage(this.#shown(this.sent), "", []) : answer;
    const milliseconds = Math.round(heard.at - this.at);
    this.#tellAnswer({ ...told, ...(lost && { lost }) }, milliseconds);
    this.#tellVerdict(answer, milliseconds);
  }

  /** The answer has come, and something else is to be sent. */
  hold(heard: HeardMessage): void {
    const answer = this.#tellDue(heard, true);
    this.#tellVerdict(answer, Math.round(heard.at - this.at));
  }

  /**
   * Sends what is made of the answer, the way our own terminal does.
   *
   * @param write Sends to the POS; gives whether it is there.
   */
  async sendChanged(heard: HeardMessage, write: (bytes: string) => boolean): Promise<void> {
    const { change = {}, line: { settings: { clock } } } = this;
    const { received, ending } = heard;
    const { tags, delay = 0, ...others } = change;
    if (this.over) return; // it was ended meanwhile
    if (tags && received.error) {
      const names = Object.keys(tags).join(", ");
      const text = `${names} not set: expected an answer that is well-formed`;
      this.warn({ code: "not-set", text, about: { tags: names } });
      const { tags: _, ...rest } = change;
      this.outcome = changes(rest) ? rest : undefined;
    }
    const raw = tags && !received.error ? withTags(received.raw, tags) : received.raw;
    try {
      const isAtOnce = this.action === "I" || this.asked["BA"] === "1";
      const wait = this.at + 1000 * drawDelay(delay, clock) - clock.now();
      if (!isAtOnce && wait > 0) await clock.sleep(wait, this.stopping.signal);
      const sending = send(raw, others, this.#wire(raw, ending, write), clock);
      if (sending) await sending;
    } catch (error) {
      if (!this.stopping.signal.aborted) callBack(() => Promise.reject(error));
      else if (!this.over) this.note("");
    }
    if (!this.over) this.#tellChanged(raw, ending);
  }

  /** The way back for an answer; what stood right behind it goes out with its last byte. */
  #wire(raw: string, ending: string, write: (bytes: string) => boolean): Wire {
    const sent = (): string => this.sent;
    return {
      get sent() {
        return sent();
      },
      ended: this.stopping.signal,
      send: (bytes) => {
        this.#hasEnding = this.sent + bytes === raw && ending !== "";
        const isThere = !this.over && !this.isCut &&
          write(this.#hasEnding ? bytes + ending : bytes);
        this.note(isThere ? bytes : "");
        return isThere;
      },
      end: (how) => this.end(how),
    };
  }

  #tell(event: string, fields?: () => object, text?: () => string): void {
    const happened: Happened = { event, request: this };
    this.line.tell({ ...happened, ...(fields && { fields }), ...(text && { text }) });
  }

  #log(level: LogLevel, text: () => string): void {
    this.line.tell({ event: "log", connection: this.line.number, text, level });
  }

  get #words(): { outcome?: string } {
    return this.outcome ? { outcome: wordsOf(this.outcome) } : {};
  }

  /** Tells what the terminal has answered; to subscribers only where the POS gets something else. */
  #tellDue(heard: HeardMessage, isOther: boolean): Relayed {
    const answer = this.answerOf(heard);
    this.due = heard.received.raw;
    if (movesMoney(this.action)) this.attempt = this.due;
    if (!isOther) this.#tell("due");
    else {
      const milliseconds = Math.round(heard.at - this.at);
      this.noted = { ...this.noted, due: { milliseconds, ...answer } };
      this.#tell(
        "due",
        () => ({ milliseconds, ...answer }),
        () => `the terminal answered: ${logText(answer)}`,
      );
    }
    return answer;
  }

  /** Tells what was sent to the POS, or would have been. */
  #tellAnswer(answer: Relayed, milliseconds: number): void {
    const { lost } = answer;
    this.answered = new Date();
    this.noted = { ...this.noted, answer };
    const all = this.gone ? "too late, the POS has gone" : "not sent";
    const how = lost === "all" ? all : lost ? "sent in part" : "sent";
    this.#tell(
      "answered",
      () => ({ ...this.#words, milliseconds, ...answer }),
      () => `${how}${this.#fault}: ${logText(answer)}`,
    );
  }

  #shown(sent: string): WireMessage {
    const raw = this.#mask.raw(sent);
    return { raw, message: readable(raw) };
  }

  get #fault(): string {
    const fault = this.outcome?.fault;
    return typeof fault === "string" ? ` (${fault})` : "";
  }

  /** Tells what an answer means. */
  #tellVerdict({ verdict }: Relayed, milliseconds: number): void {
    if (!verdict) return;
    const { status } = verdict;
    const after = `after ${milliseconds} ms`;
    if (status === "invalid") {
      return this.#log("warn", () => `the answer ${after} is not usable: ${verdict.error}`);
    }
    const { failure } = { failure: undefined, ...verdict };
    const code = failure?.code ? `, AF ${failure.code}` : "";
    this.#log("info", () => `${status} ${after}${failure ? `: ${inWords(failure)}${code}` : ""}`);
  }

  /** Tells what was made of an answer, and what of that was sent. */
  #tellChanged(raw: string, ending: string): void {
    if (!this.sendsAnswer) return this.#log("info", () => `sent nothing${this.#fault}`);
    const { sent, lost } = this;
    const segments = [...this.sentSegments];
    const last = segments.pop();
    const more = this.#hasEnding ? ending : "";
    if (last) segments.push({ ...last, bytes: last.bytes + more.length });
    const shown = this.#shown(lost === "all" ? sent || raw : sent);
    const answer = wireMessage(shown, more, segments);
    this.#tellAnswer({ ...answer, ...(lost && { lost }) }, this.milliseconds);
  }
}

/** A message, with what stood behind it and its segments, if there were several. */
function wireMessage(
  message: WireMessage,
  ending: string,
  segments: readonly Segment[],
): Relayed {
  return { ...message, ...(ending && { ending }), ...(segments.length > 1 && { segments }) };
}

/** A message as the log shows it: its bytes, and a line a field. */
function logText({ raw, message, ending = "" }: Relayed): string {
  const fields = describe(message);
  return printable(raw + ending) + (fields && `\n${fields}`);
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
