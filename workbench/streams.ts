// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Events as they happen, over HTTP ("server-sent events"): to whoever has asked for them, and to
 * nobody who does not read them.
 *
 * @module
 */
import type http from "node:http";
import { jsonLine, VERSION } from "../protocol.ts";
import type { TerminalEvent } from "../server.ts";
import { HttpError, type WebBounds } from "./webrequest.ts";

/** What events come from. */
export interface EventSource {
  /** Calls a function with each event. Returns a function that stops this. */
  subscribe(subscriber: (event: TerminalEvent) => void): () => void;
}

/** The streams of events. What happens costs nothing while there are none. */
export class EventStreams {
  readonly #source: EventSource;
  readonly #bounds: WebBounds;
  readonly #streams = new Set<http.ServerResponse>();
  #stop: (() => void) | undefined;
  #isClosed = false;

  /** Streams of what a terminal tells. */
  constructor(source: EventSource, bounds: WebBounds) {
    this.#source = source;
    this.#bounds = bounds;
  }

  /**
   * Opens a stream.
   *
   * @throws {HttpError} There are too many, or they have been closed.
   */
  open(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { streams } = this.#bounds;
    if (this.#isClosed) throw new HttpError(503, "the terminal was closed");
    if (this.#streams.size >= streams) {
      throw new HttpError(503, `expected at most ${streams} event streams`);
    }
    // Or nginx keeps the events until it has a page of them.
    const headers = { "content-type": "text/event-stream", "x-accel-buffering": "no" };
    response.writeHead(200, headers);
    if (request.method === "HEAD") return void response.end();
    response.write(`: ${VERSION}\n\n`);
    this.#streams.add(response);
    response.on("close", () => this.#leave(response));
    this.#stop ??= this.#begin();
  }

  /** Ends all streams, and opens no more. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) stream.end();
  }

  #begin(): () => void {
    const unsubscribe = this.#source.subscribe((event) =>
      this.#write(`event: ${event.event}\ndata: ${jsonLine(event)}\n`)
    );
    const beating = setInterval(() => this.#write(": still here\n\n"), this.#bounds.heartbeat);
    return () => {
      unsubscribe();
      clearInterval(beating);
    };
  }

  #leave(response: http.ServerResponse): void {
    this.#streams.delete(response);
    if (this.#streams.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }

  #write(text: string): void {
    for (const stream of this.#streams) {
      stream.write(text);
      if (stream.writableLength > this.#bounds.unreadBytes) stream.destroy(); // nobody reads it
    }
  }
}
