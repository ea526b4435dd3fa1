// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Reads one direction of a connection beside it. Whatever it makes of the bytes, others pass them on.
 *
 * @module
 */
import { BETWEEN, type FramerOwner, MessageFramer, type Received } from "../protocol.ts";
import { addSegment, type Segment } from "../server.ts";
import type { Heard } from "./mask.ts";

/** A message, and how it came. */
export interface HeardMessage {
  /** What was heard. */
  received: Heard;
  /** Line ends and control characters right behind it. */
  ending: string;
  /** Its parts, with the moments of the clock at which they came. */
  pieces: readonly Segment[];
  /** When its last byte came. */
  at: number;
  /** What of it has not been passed on yet. */
  unsent: string;
}

/** Who has an ear: knows how long to wait, and receives what was heard. */
export interface EarOwner extends Pick<FramerOwner, "pause"> {
  /** Receives a message, whole or malformed. */
  onHeard(heard: HeardMessage): void;
  /** Receives what stood between messages, when it came, and what of it has not been passed on yet. */
  onBetween(bytes: string, at: number, unsent: string): void;
}

/** Cuts what it hears into messages and what stands between them. */
export class Ear {
  readonly #owner: EarOwner;
  readonly #now: () => number;
  readonly #newFramer: () => MessageFramer;
  #framer: MessageFramer;
  #pieces: Segment[] = []; // of #text
  #isBroken = false; // the message before was malformed
  #text = "";
  #passed = 0;

  /** An ear with a clock in milliseconds, for messages of at most so many bytes. */
  constructor(owner: EarOwner, now: () => number, most?: number) {
    const { pause } = owner;
    const onMessage = (received: Received): void => this.#onMessage(received);
    this.#owner = owner;
    this.#now = now;
    this.#newFramer = () => new MessageFramer({ pause, onMessage }, most);
    this.#framer = this.#newFramer();
  }

  /** What the message in progress is so far. */
  get framer(): Pick<MessageFramer, "state" | "message"> {
    return this.#framer;
  }

  /** What is heard and not told yet. */
  get text(): string {
    return this.#text;
  }

  /** What of that has been passed on. */
  get passed(): string {
    return this.#text.slice(0, this.#passed);
  }

  /** What of it has not been passed on, which the caller does now. */
  pass(): string {
    const unsent = this.#text.slice(this.#passed);
    this.#passed = this.#text.length;
    return unsent;
  }

  /** Hears some bytes as Latin-1 text, which may have been passed on. */
  hear(chunk: string, isPassed: boolean): void {
    // What comes after something malformed may be messages again.
    if (this.#framer.state === "malformed") this.#framer = this.#newFramer();
    this.#text += chunk;
    if (isPassed) this.#passed = this.#text.length;
    addSegment(this.#pieces, this.#now(), chunk.length);
    this.#framer.feed(chunk);
    const { state } = this.#framer;
    if (state === "empty" || state === "malformed") this.#skip(this.#text.length);
  }

  /** Takes what is there as a message: whoever sent it waits for the other side now. */
  take(): void {
    const left = this.#framer.end();
    if (left) this.#onMessage(left);
  }

  #onMessage(received: Received): void {
    this.#skip(this.#text.indexOf(received.raw));
    const [ending = ""] = BETWEEN.exec(this.#text.slice(received.raw.length)) ?? [];
    const { length } = received.raw + ending;
    const unsent = this.#text.slice(this.#passed, length);
    const pieces = this.#cut(length);
    const isDoubtful = this.#isBroken && !received.raw.startsWith("CZ");
    this.#isBroken = isDoubtful || received.error !== undefined;
    const { milliseconds: at } = pieces.at(-1)!; // a message has at least one byte
    const heard = { ...received, ...(isDoubtful && { isDoubtful }) };
    this.#owner.onHeard({ received: heard, ending, pieces, at, unsent });
  }

  #skip(bytes: number): void {
    const [skipped, unsent] = [this.#text.slice(0, bytes), this.#text.slice(this.#passed, bytes)];
    const last = this.#cut(bytes).at(-1);
    if (last) this.#owner.onBetween(skipped, last.milliseconds, unsent);
  }

  /** Takes so many bytes away; gives the pieces that they came in. */
  #cut(bytes: number): Segment[] {
    const cut: Segment[] = [];
    this.#text = this.#text.slice(bytes);
    this.#passed = Math.max(0, this.#passed - bytes);
    for (let left = bytes; left > 0;) {
      const piece = this.#pieces.shift()!;
      const part = Math.min(left, piece.bytes);
      cut.push({ ...piece, bytes: part });
      left -= part;
      if (part < piece.bytes) this.#pieces.unshift({ ...piece, bytes: piece.bytes - part });
    }
    return cut;
  }
}

/** Pieces as segments, with their milliseconds from a moment on. */
export function segmentsOf(pieces: readonly Segment[], from: number): Segment[] {
  return pieces.map(({ milliseconds, bytes }) => ({
    milliseconds: Math.round(milliseconds - from),
    bytes,
  }));
}
