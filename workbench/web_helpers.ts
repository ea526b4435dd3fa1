// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests of the HTTP interface share: a terminal that is steered, requests, a reader of events.
import assert from "node:assert/strict";
import { type Message, VERSION } from "../protocol.ts";
import { startWeb, type WebOptions } from "./http.ts";
import type { Terminal, TerminalOptions } from "./terminal.ts";
import { DEBIT_MESSAGE, LIMIT, Peer, terminalWith } from "./test_helpers.ts";

const STREAM_LIMIT = 50_000; // milliseconds for all that a test reads of a stream
export const JSON_TYPE = { "content-type": "application/json" };

/** A terminal and its interface, which end together. */
export interface WebTerminal extends Terminal {
  /** Where the interface is. */
  readonly url: string;
  /** What HTTP calls instead of what the terminal has. */
  readonly replaced: Partial<Record<keyof Terminal, unknown>>;
}

/** What the terminal has, but for some of it. */
function but(terminal: Terminal, others: object): Terminal {
  return new Proxy(terminal, {
    get(target, name) {
      if (Object.hasOwn(others, name)) return Reflect.get(others, name);
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A terminal on free ports of this machine that answers at once, and its interface. */
export async function webWith(
  options: TerminalOptions = {},
  about: WebOptions = {},
): Promise<WebTerminal> {
  const terminal = await terminalWith(options);
  const replaced: WebTerminal["replaced"] = {};
  try {
    const { url, close: closeWeb } = await startWeb(but(terminal, replaced), { port: 0, ...about });
    const close = async (): Promise<void> => {
      await terminal.close();
      await closeWeb();
    };
    const own = { url, replaced, close, [Symbol.asyncDispose]: close };
    return but(terminal, own) as WebTerminal;
  } catch (error) {
    await terminal.close();
    throw error;
  }
}

/** The port of the interface. */
export function webPort({ url }: { url: string }): number {
  return Number(new URL(url).port);
}

/** A debit of a cash register. */
export function debitOf(CA: string): Message {
  return { ...DEBIT_MESSAGE, CA };
}

/** How many waits have been asked for so far: nothing over HTTP tells. */
export function countWaits(web: WebTerminal): () => number {
  let count = 0;
  web.replaced.waitForTransaction = (...args: Parameters<Terminal["waitForTransaction"]>) => {
    const wait = web.waitForTransaction(...args);
    count++;
    return wait;
  };
  return () => count;
}

/** What was answered. */
export interface Answer {
  status: number;
  headers: Headers;
  // deno-lint-ignore no-explicit-any
  value: any;
}

/** Asks for something as `METHOD /path`, and gives what is answered. */
export async function call(
  { url }: { url: string },
  what: string,
  body?: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const [method = "", path = ""] = what.split(" ");
  const signal = AbortSignal.timeout(LIMIT);
  const init = { method, headers, signal, ...(body !== undefined && { body }) };
  const response = await fetch(new URL(path, url), init);
  const text = await response.text();
  const { status } = response;
  return { status, headers: response.headers, value: text === "" ? "" : JSON.parse(text) };
}

/** The same, which must be done; gives what is in it. */
export async function done(...args: Parameters<typeof call>): Promise<Answer["value"]> {
  const { status, value } = await call(...args);
  assert.equal(status, 200, JSON.stringify(value));
  return value;
}

/** The same, which must not be done; gives why. */
export async function refused(status: number, ...args: Parameters<typeof call>): Promise<string> {
  const { status: got, value } = await call(...args);
  assert.equal(got, status, JSON.stringify(value));
  assert.deepEqual(Object.keys(value), ["error"]);
  return value.error;
}

/** Sends a request as it is, and gives the status and all of the answer. */
export async function exchange(
  web: { url: string },
  head: readonly string[],
  body = "",
): Promise<{ status: number; text: string }> {
  await using peer = await Peer.connect(webPort(web));
  peer.send([...head, "Connection: close", "", body].join("\r\n"));
  await peer.closed;
  return { status: Number(/^HTTP\/1\.[01] (\d+)/.exec(peer.text)?.[1]), text: peer.text };
}

/** An event as a reader of the stream gets it. */
export interface Streamed {
  event: string;
  data: string;
}

/** A reader of the events. */
export class Reader implements AsyncDisposable {
  // What the types of Deno, Bun and Node agree on.
  readonly #body: { read(): Promise<{ value?: Uint8Array | undefined; done: boolean }> };
  readonly #abort: AbortController;
  readonly #decoder = new TextDecoder();
  #rest = "";
  /** The comments so far. */
  readonly comments: string[] = [];

  private constructor(body: ReadableStream<Uint8Array>, abort: AbortController) {
    this.#body = body.getReader();
    this.#abort = abort;
  }

  static async open(web: { url: string }): Promise<Reader> {
    const abort = new AbortController();
    const response = await fetch(new URL("/api/events", web.url), {
      signal: AbortSignal.any([abort.signal, AbortSignal.timeout(STREAM_LIMIT)]),
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "text/event-stream");
    assert.equal(response.headers.get("x-accel-buffering"), "no"); // nginx would keep the events
    const reader = new Reader(response.body!, abort);
    await reader.#block(); // the comment at its start: it is open
    assert.deepEqual(reader.comments, [VERSION]);
    return reader;
  }

  /** What comes until an empty line; nothing when the stream has ended. */
  async #block(): Promise<string | undefined> {
    for (;;) {
      const at = this.#rest.indexOf("\n\n");
      if (at >= 0) {
        const block = this.#rest.slice(0, at);
        this.#rest = this.#rest.slice(at + 2);
        if (block.startsWith(": ")) this.comments.push(block.slice(2));
        return block;
      }
      const { value, done } = await this.#body.read();
      if (done) {
        assert.equal(this.#rest, "");
        return undefined;
      }
      this.#rest += this.#decoder.decode(value, { stream: true });
    }
  }

  /** The next event; nothing when the stream has ended. */
  async next(): Promise<Streamed | undefined> {
    for (;;) {
      const block = await this.#block();
      if (block?.startsWith(":")) continue;
      if (block === undefined) return undefined;
      const [, event, data] = /^event: (\S+)\ndata: (.*)$/.exec(block) ?? [];
      assert.ok(data !== undefined && event !== undefined, `not an event: ${block}`);
      return { event, data };
    }
  }

  /** The next comment. */
  async comment(): Promise<string | undefined> {
    await this.#block();
    return this.comments.at(-1);
  }

  /** The next events, until one of a name. */
  async until(name: string): Promise<Streamed[]> {
    const events: Streamed[] = [];
    while (events.at(-1)?.event !== name) {
      const event = await this.next();
      assert.ok(event, `ended before ${name}`);
      events.push(event);
    }
    return events;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    return Promise.resolve();
  }
}
