// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A connection of a POS to a proxy, and the one to the real terminal that belongs to it. Bytes go
 * through as they come, both ways; only an answer that is to be changed is held until it is whole.
 * Beside that, both directions are read.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import net from "node:net";
import { shortened, whyNotReached } from "../client.ts";
import {
  answerPause,
  DEVIATIONS,
  type LogLevel,
  type Message,
  printable,
  requestPause,
  seemsWhole,
} from "../protocol.ts";
import {
  isEverywhere,
  type Line,
  type Listener,
  type Outcome,
  type Request,
  reset,
  type Served,
  type Settings,
  type Side,
} from "../server.ts";
import { Ear, type HeardMessage } from "./ear.ts";
import { isBetween, type Mask } from "./mask.ts";
import { Turn } from "./turn.ts";

/** Where the real terminal is. */
export type Place = { readonly host: string; readonly port: number };

/** What the passages of a proxy share. */
export type Shared = {
  readonly settings: Settings;
  readonly tell: Listener; // shows records as they may be, see mask.ts
  readonly mask: Mask;
  readonly place: Place;
  /** What is done to the answer to a request, and by which rule. */
  readonly find: (request: Readonly<Message>) => { outcome: Outcome; by: string };
  readonly onTried: (reached: boolean) => void;
  requests: number; // how many there were
  first: Promise<void> | undefined; // the first try to reach the terminal, until it has ended
  isItself: boolean; // the terminal has proved to be the proxy
};

/**
 * Milliseconds without a byte after which an answer that seems whole is one, as in client.ts: the
 * pauses of an answer are up to 250. (5)
 */
const ANSWER_GAP_MS = 350;
/** Most milliseconds to wait for a connection (our choice: in a shop it takes a few). */
const CONNECT_MS = 10_000;
/**
 * Milliseconds after the connection before the first bytes are passed on, as client.ts waits: what the
 * terminal says first is about an earlier payment, and must not look like the answer to these.
 */
const LISTEN_FIRST_MS = 10;
/** Most milliseconds to wait for a first request if the terminal cannot be reached (our choice). */
const UNREACHABLE_MS = 1_000;
/** Messages after the answer to a request that are told, without being asked for (our choice). */
const MAX_UNASKED = 20;

/** A connection through the proxy. */
export class Passage implements Line, Served {
  /** Counted from 1. */
  readonly number: number;
  /** The address of the POS, which a closed socket does not know any more. */
  readonly address: string;
  /** The connection of the POS. */
  readonly socket: net.Socket;
  /** What the proxy does. */
  readonly settings: Settings;
  /** Is told what happens. */
  readonly tell: Listener;
  readonly #shared: Shared;
  readonly #onDone: () => void;
  readonly #asked: Ear;
  readonly #answered: Ear;
  readonly #turns: Turn[] = []; // that wait for the terminal, in their order
  #turnBytes = 0; // of these
  readonly #givenUp: boolean[] = []; // those before them, too many to keep: whether AE 11 answers it
  readonly #open = new Set<Turn>(); // not over: of #turns, and those whose answer is being changed
  #latest: Turn | undefined; // the request that came last
  #last: Turn | undefined; // the one that was answered last
  #terminal: net.Socket | undefined;
  #waiting: Buffer[] = []; // what the POS sent before it may be passed on
  #waitingBytes = 0;
  #isUp = false; // the terminal has been reached
  #mayPass = false; // and what it says first is heard
  #hasPassed = false; // the terminal was sent something
  #hasEnded = false; // the POS has closed its side
  #isUsed = false; // the POS has sent something
  #early = ""; // messages of the terminal before it was asked, as they may be shown
  #unreachable: string | undefined; // why, if the terminal cannot be reached
  #isGivenUp = false; // and that was told
  #work = Promise.resolve(); // answers that are being changed, and what is to be sent after them
  #works = 0; // pieces of that work
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isSilent = false; // the last answer is withheld: the connection stays until the POS closes it
  #outlives = false; // so it stays although the terminal has closed its own
  #closing: { readonly by: Side; readonly at: number; readonly isReset: boolean } | undefined;
  #isDone = false;

  /** Serves a POS; `onDone` is called when both connections are closed, and nothing is under way. */
  constructor(socket: net.Socket, number: number, shared: Shared, onDone: () => void) {
    const { settings, mask } = shared;
    this.socket = socket;
    this.number = number;
    this.settings = settings;
    this.tell = shared.tell;
    this.address = socket.remoteAddress ?? "";
    this.#shared = shared;
    this.#onDone = onDone;
    const { clock, gap, bounds } = settings;
    const now = (): number => clock.now();
    this.#asked = new Ear(
      {
        pause: (fields) => requestPause(fields, gap),
        onHeard: (heard) => this.#onRequest(heard),
        onBetween: (bytes, at) => this.#between("pos", mask.raw(bytes), at),
      },
      now,
      bounds.requestBytes,
    );
    this.#answered = new Ear({
      pause: (fields) => answerPause(this.#turn?.asked ?? {}, fields, ANSWER_GAP_MS),
      onHeard: (heard) => this.#onAnswer(heard),
      onBetween: (bytes, at, unsent) => {
        this.#between("terminal", mask.raw(bytes), at);
        if (isBetween(unsent) || this.#hasPassed) this.#send(unsent);
      },
    }, now);
    this.#log("debug", () => `connected from ${this.address} port ${socket.remotePort}`);
    prepare(socket, settings);
    socket.on("data", (chunk: Buffer) => this.#ask(chunk));
    socket.on("drain", () => this.#readOn());
    socket.on("end", () => this.#onEnd());
    socket.on("close", () => this.#onClose());
    this.#connect();
  }

  /** The request that the terminal is answering. What is there of one is all of it by then. */
  get #turn(): Turn | undefined {
    if (!this.#hasPassed) return undefined;
    if (this.#turns.length === 0) this.#asked.take();
    return this.#turns[0];
  }

  /** Ends what is under way that is wanted, or all since something is wrong. */
  drop(what: string | ((request: Request) => boolean)): void {
    if (typeof what === "string") {
      this.#log("warn", () => `dropped: ${what}`);
      return this.stop();
    }
    const dropped = [...this.#open].filter(what);
    if (this.#last && what(this.#last)) this.#last = undefined;
    if (this.#latest && what(this.#latest)) this.#latest = undefined;
    for (const turn of dropped) {
      turn.isDropped = true;
      this.#endTurn(turn, true);
    }
    if (dropped.length > 0 && this.#open.size === 0) this.stop();
  }

  /** Ends both connections at once, with all that is under way. */
  stop(): void {
    this.#noteClosing("terminal");
    this.#turns.length = 0;
    for (const turn of this.#open) this.#endTurn(turn, false);
    this.#terminal?.destroy();
    this.socket.destroy();
  }

  #endTurn(turn: Turn, isGone: boolean): void {
    turn.leave("ended", isGone);
    this.#over(turn);
    turn.stopping.abort("ended");
  }

  #log(level: LogLevel, text: () => string): void {
    this.tell({ event: "log", connection: this.number, text, level });
  }

  // ---- the connection to the terminal

  async #connect(): Promise<void> {
    const { shared, place, settings } = { shared: this.#shared, ...this.#shared };
    await shared.first;
    if (this.#isDone || this.socket.destroyed) return;
    const itself = `expected another port than ${place.port}, on which the proxy listens`;
    if (shared.isItself) return this.#onUnreachable(new Error(itself));
    const tried = Promise.withResolvers<void>();
    shared.first ??= tried.promise;
    const terminal = this.#terminal = net.connect({ ...place, allowHalfOpen: true });
    const patience = setTimeout(() => {
      terminal.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`));
    }, CONNECT_MS);
    terminal.on("connect", () => {
      clearTimeout(patience);
      shared.isItself ||= this.#isItself(terminal);
      tried.resolve();
      if (shared.isItself) return void terminal.destroy(new Error(itself));
      this.#isUp = true;
      prepare(terminal, settings);
      shared.onTried(true);
      // The turns after it: what came while the program was too busy to read is read before.
      const wait = (milliseconds: number, turns: number): void => {
        const then = (): void => turns > 0 ? wait(1, turns - 1) : this.#passOn();
        this.#timer = setTimeout(then, milliseconds);
      };
      wait(LISTEN_FIRST_MS, 3);
    });
    terminal.on("data", (chunk: Buffer) => this.#answer(chunk));
    terminal.on("drain", () => this.#readOn());
    terminal.on("end", () => this.#hangUp());
    terminal.on("error", () => {}).on("close", () => {
      clearTimeout(patience);
      tried.resolve();
      const { errored } = terminal;
      if (errored && !this.#isUp) this.#onUnreachable(errored);
      else if (errored) this.#hangUp(true);
      this.#done();
    });
  }

  /** Whether a connection to the terminal leads to the proxy itself. */
  #isItself(terminal: net.Socket): boolean {
    const { localAddress, remoteAddress = "", remotePort } = terminal;
    return remoteAddress === localAddress && remotePort === this.socket.localPort &&
      (isEverywhere(this.settings.host) || remoteAddress.endsWith(this.socket.localAddress ?? ""));
  }

  /** Passes on what has waited, and from now on all at once. */
  #passOn(): void {
    this.#mayPass = true;
    this.#answered.take(); // it was said before
    for (const chunk of this.#waiting) this.#pass(chunk);
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#hasEnded) this.#terminal?.end();
    this.#readOn();
  }

  /** The POS is closed as soon as there is a request to tell that of; it may send one yet. */
  #onUnreachable(error: NodeJS.ErrnoException): void {
    const { place: { host, port }, onTried } = this.#shared;
    onTried(false);
    this.#noteClosing("terminal");
    this.#unreachable = whyNotReached(error, `${host} port ${port}`);
    if (this.#turns.length > 0) return this.#giveUp();
    this.#timer = setTimeout(() => this.#giveUp(), this.#hasEnded ? 0 : UNREACHABLE_MS);
  }

  /** Closes the connection of a POS whose terminal cannot be reached. */
  #giveUp(): void {
    clearTimeout(this.#timer);
    this.#asked.take(); // which gives up as well if it is a request
    const text = this.#unreachable!;
    const [turn] = this.#turns;
    if (turn) turn.warn({ code: "unreachable", text, about: { why: text } }, "error");
    else if (!this.#isGivenUp) this.#log("error", () => text);
    this.#isGivenUp = true;
    for (const one of this.#turns.splice(0)) this.#over(one);
    this.socket.destroy();
  }

  // ---- bytes

  /** Takes what the POS sends, to pass it on. */
  #ask(chunk: Buffer): void {
    if (this.#isUp && this.#terminal?.destroyed) return reset(this.socket);
    this.#isUsed = true;
    this.#takeAnswer();
    // Nothing was asked: what is there of the terminal belongs to no request that comes now.
    if (this.#turns.length === 0 && this.#asked.text === "") this.#answered.take();
    if (this.#mayPass) this.#pass(chunk);
    else {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
    }
    this.#asked.hear(chunk.toString("latin1"), true);
    if (this.#isFull) this.socket.pause();
  }

  #pass(chunk: Buffer): void {
    this.#hasPassed = true;
    const terminal = this.#terminal;
    if (terminal?.writable && !terminal.write(chunk)) this.socket.pause();
  }

  /** Whether the POS has to wait before more of it is read. */
  get #isFull(): boolean {
    const { waitingBytes } = this.settings.bounds;
    return this.#waitingBytes >= waitingBytes || this.#terminal?.writableNeedDrain === true;
  }

  /** Passes on what the terminal sends, unless an answer in it is to be changed. */
  #answer(chunk: Buffer): void {
    const text = chunk.toString("latin1");
    const ear = this.#answered;
    // A terminal that answers has got the whole request.
    if (!isBetween(text)) void this.#turn;
    // Before anything was asked a message is never passed on: the POS may be sending its request now,
    // and would take it for the answer.
    const isFree = this.#hasPassed && this.#works === 0 &&
      !this.#turns.some(({ change, isDropped }) => change ?? isDropped);
    if (isFree) this.#write(ear.pass()); // what was held of it
    ear.hear(text, isFree && this.#write(chunk));
  }

  /** Sends to the POS, and waits with the terminal if it does not read; gives whether it is there. */
  #write(bytes: Buffer | string): boolean {
    const { writable } = this.socket;
    const isRead = !writable || bytes.length === 0 || this.socket.write(bytes, "latin1");
    if (!isRead) this.#terminal?.pause();
    return writable;
  }

  /** Reads on from either side, unless something has to be out before. */
  #readOn(): void {
    if (this.#works === 0 && !this.socket.writableNeedDrain) this.#terminal?.resume();
    if (!this.#isFull) this.socket.resume();
  }

  /** Does something after all that is held is out. */
  #afterHeld(work: () => void | Promise<void>): Promise<void> {
    this.#works++;
    return this.#work = this.#work.then(work).then(() => {
      this.#works--;
      this.#readOn();
    });
  }

  /** Sends what has not been passed on, after what is held; then tells whether the POS was there. */
  #send(unsent: string, onSent: (isThere: boolean) => void = () => {}): void {
    if (unsent === "") onSent(true);
    else if (this.#works === 0) onSent(this.#write(unsent));
    else this.#afterHeld(() => onSent(this.#write(unsent)));
  }

  // ---- ends

  /** Remembers which side was closed first, and how. */
  #noteClosing(by: Side, isReset = false): void {
    this.#closing ??= { by, at: this.settings.clock.now(), isReset };
  }

  /** Closes the connection to the POS after something else than the answer; no request counts then. */
  hangUp(how?: "reset"): void {
    this.#noteClosing("terminal", how === "reset");
    if (how) return reset(this.socket);
    this.socket.removeAllListeners("data").resume();
    this.socket.end();
    setTimeout(() => this.socket.destroy(), this.settings.bounds.close).unref();
  }

  /** The POS has closed its side. It may have gone, or wait for its answer as nc does. */
  #onEnd(): void {
    if (this.#isDone) return; // Bun ends sockets that are closed
    this.#hasEnded = true;
    this.#leave("closed", false);
    if (this.#unreachable !== undefined) this.#giveUp();
    else if (this.#outlives) this.socket.end();
    else if (this.#mayPass) this.#terminal?.end();
  }

  /** The connection to the POS is closed. */
  #onClose(): void {
    const { errored, writableEnded } = this.socket;
    const isReset = errored !== null && errored !== undefined;
    if (isReset || !writableEnded) this.#leave(isReset ? "reset" : "closed", true);
    for (const turn of this.#open) turn.stopping.abort("closed");
    if (isReset && this.#terminal?.connecting === false) reset(this.#terminal);
    else this.#terminal?.destroy();
    this.#done();
  }

  /** The POS has left. Its requests end without it, unless it may still wait for an answer. */
  #leave(why: "closed" | "reset", forGood: boolean): void {
    this.#noteClosing("pos", why === "reset");
    this.#takeAnswer();
    this.#asked.take();
    const [front] = this.#turns;
    if (front && !front.gone && this.#givenUp.length === 0) front.noteSent(this.#answered.passed);
    for (const turn of this.#open) {
      const wasGone = turn.gone !== undefined;
      turn.leave(why, forGood);
      if (!wasGone && turn.gone && turn.sent !== "") turn.isCut = true;
    }
    const last = this.#last;
    if (why === "reset" && last?.over && last.sent !== "") last.leave(why, true);
  }

  /** The terminal has closed its side, or reset the connection. */
  #hangUp(isReset = false): void {
    if (this.#outlives) return;
    if (isReset || this.#asked.framer.state === "whole") this.#asked.take();
    this.#answered.take();
    for (const turn of this.#turns.splice(0)) {
      const how = isReset ? "reset" : "closed";
      const text = `the terminal ${how} the connection without an answer`;
      if (!turn.gone) turn.warn({ code: "unanswered", text });
      this.#over(turn);
    }
    this.#afterHeld(() => {
      this.#outlives = this.#isSilent && !this.#hasEnded && !this.socket.destroyed;
      if (this.#outlives) {
        this.#log("info", () => "the terminal has hung up, the POS waits: its answer is withheld");
        if (!isReset) this.#terminal?.end();
        return;
      }
      this.#noteClosing("terminal", isReset);
      if (isReset) reset(this.socket);
      else this.socket.end();
    });
  }

  /** Ends what is left when both connections are closed. */
  #done(): void {
    const isOpen = !this.socket.destroyed || (this.#terminal && !this.#terminal.destroyed);
    if (isOpen || this.#isDone) return;
    this.#isDone = true;
    clearTimeout(this.#timer);
    if (this.#unreachable !== undefined) this.#giveUp();
    this.#asked.take();
    this.#answered.take();
    this.#log("debug", () => "closed");
    this.#tellClosed();
    this.#afterHeld(() => {
      for (const turn of this.#open) this.#over(turn);
      this.#onDone();
    });
  }

  #tellClosed(): void {
    const { by = "pos", at = 0, isReset = false } = this.#closing ?? {};
    const last = this.#latest;
    // A request may still come when the terminal has failed.
    const milliseconds = last && Math.max(0, Math.round(at - last.at));
    if (last && milliseconds !== undefined) last.closed = { milliseconds, by };
    const fields = (): object => ({
      by,
      ...(milliseconds !== undefined && { milliseconds }),
      ...(isReset && { reset: true }),
    });
    const isTold = this.#isUsed || this.settings.logLevel === "debug";
    this.tell({ event: "closed", connection: this.number, ...(isTold && { fields }) });
  }

  // ---- messages

  #over(turn: Turn): void {
    if (turn.over) return;
    turn.over = turn.answered ?? new Date();
    turn.received = { ...turn.received, fields: [], message: {} };
    this.#open.delete(turn);
    turn.tell("over");
  }

  /** Tells what came between messages, or before there was a request. */
  #between(by: Side, raw: string, at: number): void {
    const last = this.#latest;
    const milliseconds = last && Math.round(at - last.at);
    const who = by === "pos" ? "POS" : "terminal";
    this.tell({
      event: "between",
      connection: this.number,
      fields: () => ({ by, raw, ...(milliseconds !== undefined && { milliseconds }) }),
      text: () => `the ${who} sent between messages: ${printable(raw)}`,
    });
  }

  #onRequest(heard: HeardMessage): void {
    const { mask, find } = this.#shared;
    const { received } = heard;
    const found = mask.deviations(received);
    const isRest = received.fields.length > 0 && received.message["CZ"] === undefined;
    const isLate = isRest && this.#turns.length > 0; // it gets no answer of its own
    if (isLate || (isRest && this.#last)) {
      const text = "expected the whole request at once, these fields came later";
      found.unshift({ code: "late", text });
    }
    const turn = new Turn(this, ++this.#shared.requests, heard, found, mask);
    this.#latest = turn;
    turn.tellRequest();
    if (isLate) return this.#over(turn);
    this.#open.add(turn);
    this.#turns.push(turn);
    this.#turnBytes += turn.received.raw.length;
    const { waiting, waitingBytes } = this.settings.bounds;
    while (this.#turns.length > waiting || this.#turnBytes > waitingBytes) this.#giveUpFirst();
    const refused = found.some(({ code }) => DEVIATIONS[code] === "always");
    if (!refused) {
      const { outcome, by } = find(received.message);
      turn.decide(outcome, by);
    }
    if (this.#early !== "") this.#warnEarly(this.#early);
    this.#early = "";
    if (this.#unreachable !== undefined) this.#giveUp();
  }

  #takeTurn(): Turn | undefined {
    const turn = this.#turns.shift();
    this.#turnBytes -= turn?.received.raw.length ?? 0;
    return turn;
  }

  /** Waits no longer for an answer, which is still to come before that to the next request. */
  #giveUpFirst(): void {
    const first = this.#takeTurn()!;
    this.#givenUp.push(first.asked["BA"] === "1");
    this.#over(first);
  }

  /** Tells a first request what the terminal had said before it was asked. */
  #warnEarly(raw: string): void {
    const about = { what: shortened(raw) };
    const text = `the terminal sent before it was asked: ${about.what}`;
    this.#turns[0]?.warn({ code: "early", text, about });
  }

  /** Takes an answer that seems whole as such, since the POS does: it asks again, or leaves. */
  #takeAnswer(): void {
    const [turn] = this.#turns;
    const { framer } = this.#answered;
    if (!turn || !this.#hasPassed || framer.state !== "whole") return;
    if (seemsWhole(turn.asked, framer.message)) this.#answered.take();
  }

  #onAnswer(heard: HeardMessage): void {
    const { received, unsent } = heard;
    const turn = this.#turn;
    const [isAtOnce] = this.#givenUp;
    if (isAtOnce !== undefined && this.#hasPassed) {
      if (received.message["AE"] !== "11" || isAtOnce) this.#givenUp.shift();
      return this.#send(unsent);
    }
    if (!turn) return this.#onUnasked(heard);
    const isInterim = !received.error && received.message["AE"] === "11" &&
      turn.asked["BA"] !== "1";
    if (isInterim && !turn.isDropped) {
      return this.#send(unsent, (isThere) => turn.tellInterim(heard, isThere));
    }
    if (isInterim) return;
    this.#takeTurn();
    if (turn.isDropped) return;
    this.#last = turn;
    this.#isSilent = turn.change?.fault === "silent";
    if (!turn.change) {
      return this.#send(unsent, (isThere) => {
        turn.pass(heard, isThere);
        this.#over(turn);
      });
    }
    turn.hold(heard);
    this.#terminal?.pause(); // so that little is held behind it
    this.#afterHeld(async () => {
      await turn.sendChanged(heard, (bytes) => this.#write(bytes));
      if (turn.isDone || this.socket.destroyed) this.#over(turn);
    });
  }

  /** A message of the terminal that nobody has asked for. */
  #onUnasked({ received, ending, at, unsent }: HeardMessage): void {
    const last = this.#last;
    const { raw } = this.#shared.mask.received(received);
    if (this.#hasPassed) this.#send(unsent);
    if (!last) {
      this.#between("terminal", raw + ending, at);
      if (this.#turns.length > 0) this.#warnEarly(raw);
      else if (this.#early === "") this.#early = raw;
      return;
    }
    last.unasked++;
    if (last.unasked > MAX_UNASKED + 1) return;
    if (last.unasked > MAX_UNASKED) {
      const text = "the terminal sends on without being asked, which is told no more";
      return last.warn({ code: "more", text });
    }
    const about = { what: shortened(raw) };
    const text = `the terminal sent without being asked: ${about.what}`;
    const came = { raw: raw + ending, milliseconds: Math.round(at - last.at) };
    last.warn({ code: "unasked", text, about }, "warn", came);
  }
}

/** Has a socket send each segment at once, and the system notice a peer that has no power. */
function prepare(socket: net.Socket, { bounds: { keepAlive } }: Settings): void {
  socket.setNoDelay();
  if (keepAlive > 0) socket.setKeepAlive(true, keepAlive);
}
