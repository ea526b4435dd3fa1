// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests share: messages, sockets and processes that play the other side. Every wait has a
// limit, and its error says what came until then.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ExchangeError, pay, type PaymentOptions } from "./client.ts";
import {
  answerPause,
  encodeText,
  type LogLevel,
  type Message,
  MessageFramer,
  MessageReader,
  type Received,
} from "./protocol.ts";
import {
  type Clock,
  type Decide,
  HALF_CLOSE_WINDOW,
  type OutcomeText,
  startTerminal,
  type Terminal,
  type TerminalEvent,
  type TerminalOptions,
} from "./server.ts";

/** A debit of 112.45 EUR, as the reference client sends it. */
export const DEBIT = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
/** What every request has, without its action. */
export const BASE: Message = { CZ: "0300", CJ: "012345678901", CA: "01" };
/** {@linkcode DEBIT} as an object. */
export const DEBIT_MESSAGE: Message = { ...BASE, CE: "978", BA: "0", CD: "0", CB: "11245" };
/** An approval of {@linkcode DEBIT}. */
export const APPROVAL = encodeText({ ...DEBIT_MESSAGE, AE: "10", CC: "001", AC: "123456" });

/** Milliseconds that a test waits for something before it fails. */
export const LIMIT = 10_000;
const PROCESS_LIMIT = 30_000; // the same for a process, which starts a runtime first
const GAP = 30; // milliseconds without a byte after which an answer that seems whole is one

/** What a promise gives; fails when that takes longer than the limit. */
async function within<T>(promise: Promise<T>, what: () => string, limit = LIMIT): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${limit / 1000} s: ${what()}`)), limit);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until a condition holds; fails when it does not within the limit. */
export async function eventually(
  condition: () => boolean | undefined,
  what: string,
): Promise<void> {
  const end = performance.now() + LIMIT;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`after ${LIMIT / 1000} s: not yet ${what}`);
    await sleep(3);
  }
}

/** A test for each row of a table, by its name. */
export function table<Row>(
  title: string,
  rows: Readonly<Record<string, Row>>,
  check: (row: Row) => void | Promise<void>,
): void {
  for (const [name, row] of Object.entries(rows)) {
    test(`${title}: ${name}`, patience, () => check(row));
  }
}

/** A terminal on a free port of this machine that answers at once. */
export function terminalWith(options: TerminalOptions = {}): Promise<Terminal> {
  return startTerminal({ port: 0, host: "127.0.0.1", duration: 0, ...options });
}

/** A terminal, and all that it tells. */
export interface Recorded<T = Terminal> extends AsyncDisposable {
  /** The terminal itself. */
  terminal: T;
  /** Its TCP port. */
  port: number;
  /** What happened. */
  events: TerminalEvent[];
  /** The lines of its log. */
  log: [level: LogLevel, text: string][];
}

/** What a terminal tells, recorded; `start` is given where to tell it. */
export async function recordedBy<T extends Terminal>(
  start: (seen: Required<Pick<TerminalOptions, "onEvent" | "log">>) => Promise<T>,
): Promise<Recorded<T>> {
  const events: TerminalEvent[] = [];
  const log: [level: LogLevel, text: string][] = [];
  const terminal = await start({
    onEvent: (event) => void events.push(event),
    log: (level, text) => void log.push([level, text]),
  });
  const { port } = terminal;
  return { terminal, port, events, log, [Symbol.asyncDispose]: () => terminal.close() };
}

/** A terminal of {@linkcode terminalWith}, and all that it tells. */
export function recorded(options: TerminalOptions = {}): Promise<Recorded> {
  return recordedBy((seen) => terminalWith({ ...seen, ...options }));
}

/** The events of a name. */
export function named(events: readonly TerminalEvent[], name: string): TerminalEvent[] {
  return events.filter(({ event }) => event === name);
}

/** What a terminal is, as far as these helpers look at it. */
type Told = Pick<Terminal, "port" | "transactions">;

/** The codes of the warnings about a request, the last if none is said. */
export function codes(terminal: Told, at = -1): string[] | undefined {
  return terminal.transactions.at(at)?.warnings.map(({ code }) => code);
}

/** Fails unless a line of a log matches. */
export function logged(log: Recorded["log"], level: LogLevel, pattern: RegExp): void {
  const lines = log.map((line) => line.join(" "));
  assert.ok(
    log.some(([at, line]) => at === level && pattern.test(line)),
    `no ${level} ${pattern} in\n${lines.join("\n")}`,
  );
}

/** Resolves when so many requests have come. */
export function came(terminal: Told, count: number): Promise<void> {
  return eventually(() => terminal.transactions.length >= count, `${count} requests`);
}

/** Sends a request, and leaves later than a POS does that only closes its side, as nc. */
export async function giveUp(terminal: Told, request = `${DEBIT}\n`): Promise<void> {
  const last = terminal.transactions.at(-1)?.number;
  await using peer = await Peer.connect(terminal.port);
  peer.send(request);
  await eventually(() => terminal.transactions.at(-1)?.number !== last, "a request");
  await sleep(HALF_CLOSE_WINDOW + 20);
}

/** Decides on the first payment when its POS has left, and not sooner. */
export function onceLeft(words: OutcomeText): Decide {
  return async (_request, number, left) => {
    if (number > 1) return "success";
    if (!left.aborted) await new Promise((resolve) => left.addEventListener("abort", resolve));
    return words;
  };
}

/**
 * A clock that a test holds: time goes by when it says so. A sleep of a millisecond is a turn of the
 * event loop, and takes none.
 */
export class HeldClock implements Clock {
  /** What chance gives next. */
  chance = 0;
  /** What a turn of the event loop is. */
  turn: () => Promise<unknown> = () => sleep(1);
  #now = 0;
  readonly #sleeps = new Map<() => void, number>(); // what wakes each, and when

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.chance;
  }

  async sleep(milliseconds: number, until?: AbortSignal): Promise<void> {
    until?.throwIfAborted();
    if (milliseconds <= 1) await this.turn();
    else await this.#wake(this.#now + milliseconds, until);
    until?.throwIfAborted();
  }

  #wake(at: number, until?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#sleeps.delete(wake);
        resolve();
      };
      this.#sleeps.set(wake, at);
      until?.addEventListener("abort", wake);
    });
  }

  /** How many milliseconds each has yet to sleep. */
  get sleeping(): number[] {
    return [...this.#sleeps.values()].map((at) => at - this.#now);
  }

  /** Resolves when somebody sleeps so long. */
  asleep(milliseconds: number): Promise<void> {
    const sleeps = (): boolean => this.sleeping.includes(milliseconds);
    return eventually(sleeps, `a sleep of ${milliseconds} ms`);
  }

  /** Lets so many milliseconds go by. */
  pass(milliseconds: number): void {
    this.#now += milliseconds;
    for (const [wake, at] of [...this.#sleeps]) if (at <= this.#now) wake();
  }
}

/** The point of sale against a port of this machine. */
export function payAt(port: number, options: PaymentOptions = {}): ReturnType<typeof pay> {
  return pay({ host: "127.0.0.1", port, amount: "112.45", timeout: 20, ...options });
}

/** Whether an error is of an exchange that ended so; for assert.rejects(). */
export function failed(
  status: ExchangeError["status"],
  expected = /./,
): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ExchangeError, String(error));
    assert.equal(error.status, status);
    assert.match(error.message, expected);
    if (status !== "unreachable") assert.match(error.message, /check it on the terminal$/);
    return true;
  };
}

/** A plain socket that plays a POS, or the other side of a fake terminal. */
export class Peer implements AsyncDisposable {
  /** The socket itself. */
  readonly socket: net.Socket;
  /** All that came, as Latin-1 text. */
  text = "";
  readonly #closed: Promise<"ended" | "reset">;
  #changed = Promise.withResolvers<void>();

  /** Reads a socket from now on. */
  constructor(socket: net.Socket) {
    this.socket = socket;
    let how: "ended" | "reset" = "ended";
    this.#closed = new Promise((resolve) => {
      socket.on("close", () => {
        resolve(how);
        this.#wake();
      });
    });
    socket.on("error", () => how = "reset");
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      this.text += chunk;
      this.#wake();
    });
  }

  /** A connection to a port of this machine; of some kind, if that is said. */
  static async connect(port: number, options: { allowHalfOpen?: boolean } = {}): Promise<Peer> {
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true, ...options });
    await within(once(socket, "connect"), () => `no connection to port ${port}`);
    return new Peer(socket);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** How the connection ended, once it has. */
  get closed(): Promise<"ended" | "reset"> {
    return within(this.#closed, () => `not closed after "${this.text}"`);
  }

  /** Sends Latin-1 text as it is. */
  send(raw: string): void {
    this.socket.write(raw, "latin1");
  }

  /** Ends the connection at once, with a reset. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Resolves with all that came when it matches; fails if the connection closes before. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      if (this.socket.destroyed) {
        throw new Error(`closed after "${this.text}", which is not ${pattern}`);
      }
      await within(this.#changed.promise, () => `"${this.text}" is not ${pattern}`);
    }
    return this.text;
  }

  /**
   * Sends a request and gives the answer to it, reading with the care of a POS: it is over when the
   * terminal closes, or when it is whole, has AE, and no more comes. Keeps the connection.
   */
  async ask(request: Message | string): Promise<Message> {
    const raw = typeof request === "string" ? request : encodeText(request);
    const asked = messages(raw)[0]?.message ?? {};
    const answer = Promise.withResolvers<Received | undefined>();
    const framer = new MessageFramer({
      pause: (fields) => answerPause(asked, fields, GAP),
      onMessage: answer.resolve,
    });
    const take = (chunk: string): void => framer.feed(chunk);
    const close = (): void => answer.resolve(framer.end());
    this.socket.on("data", take).on("close", close);
    try {
      this.send(raw);
      const received = await within(answer.promise, () => `"${this.text}" is no whole answer`);
      assert.ok(received, "closed without an answer");
      assert.equal(received.error, undefined);
      assert.equal(framer.state, "empty", `more than one answer: "${this.text}"`);
      return received.message;
    } finally {
      framer.end(); // which stops its clock
      this.socket.off("data", take).off("close", close);
    }
  }

  /** Closes this side, as nc does, and gives the messages that come until the other closes too. */
  async finish(): Promise<Message[]> {
    this.socket.end();
    assert.equal(await this.closed, "ended");
    return messages(this.text).map(({ message, error }) => {
      assert.equal(error, undefined);
      return message;
    });
  }

  /** Ends the connection, if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

/** The messages in a text. */
function messages(raw: string): Received[] {
  const reader = new MessageReader();
  const received = reader.feed(raw);
  const last = reader.end();
  return last ? [...received, last] : received;
}

/**
 * Sends a request on a connection of its own, and gives the answer. Keeps its side open until then,
 * as tills do.
 */
export async function ask(port: number, request: Message | string): Promise<Message> {
  await using peer = await Peer.connect(port);
  const answer = await peer.ask(request);
  assert.deepEqual((await peer.finish()).slice(1), []);
  return answer;
}

/** The same as nc does it: closes its side right after the request, and reads until the end. */
export async function askAndClose(port: number, request: Message | string): Promise<Message> {
  await using peer = await Peer.connect(port);
  peer.send(typeof request === "string" ? request : encodeText(request));
  const [answer, ...others] = await peer.finish();
  assert.deepEqual(others, []);
  assert.ok(answer, "closed without an answer");
  return answer;
}

/** A listener that does with each connection what a test wants. */
export async function listening(
  serve: (peer: Peer) => unknown,
): Promise<{ port: number } & AsyncDisposable> {
  const peers: Peer[] = [];
  const server = net.createServer((socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    serve(peer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const peer of peers) peer.socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * Something that answers as no outcome can: with these pieces, or a "reset". Each is written by
 * itself; where the machine is busy, several of them are read at once.
 */
export function answering(...pieces: string[]): ReturnType<typeof listening> {
  return listening(async (peer) => {
    // The POS may have gone, which its test sees.
    const asked = await peer.until(/./).catch(() => undefined);
    for (const piece of asked === undefined ? [] : pieces) {
      if (piece === "reset") peer.reset();
      else peer.send(piece);
      await sleep(10);
    }
  });
}

/** How a process ended, and what it printed. */
export interface Ran {
  /** Its exit status; null when a signal ended it. */
  status: number | null;
  /** All of its standard output. */
  stdout: string;
  /** All of its standard error. */
  stderr: string;
}

/** A command of this project. */
export type Script = "client.ts" | "server.ts" | `workbench/${string}.ts`;

/** How this runtime runs a file with --allow-net alone. */
export const RUNTIME: readonly string[] = [
  process.execPath,
  ..."deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [],
];

/** A process of its own, under the runtime that runs the test. */
export class Command implements AsyncDisposable {
  /** The process itself. */
  readonly process: ChildProcess;
  /** What it has printed on its standard output so far. */
  stdout = "";
  /** What it has printed on its standard error so far. */
  stderr = "";
  readonly #ended: Promise<number | null>;
  #changed = Promise.withResolvers<void>();

  /** Starts the runtime with these arguments. */
  constructor(args: string[]) {
    this.process = spawn(process.execPath, args, { stdio: "pipe" });
    for (const name of ["stdout", "stderr"] as const) {
      this.process[name]!.setEncoding("utf8").on("data", (chunk: string) => {
        this[name] += chunk;
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      });
    }
    this.#ended = once(this.process, "close").then(([status]) => status);
  }

  /** Starts a command of this project. */
  static start(script: Script, ...args: string[]): Command {
    const file = fileURLToPath(new URL(script, import.meta.url));
    return new Command([...RUNTIME.slice(1), file, ...args]);
  }

  /** Resolves when it has ended. */
  async ran(): Promise<Ran> {
    const status = await within(this.#ended, () => `not ended: ${this.#printed}`, PROCESS_LIMIT);
    return { status, stdout: this.stdout, stderr: this.stderr };
  }

  /** The part of what it prints on a stream that matches, once it is there. */
  async prints(name: "stdout" | "stderr", pattern: RegExp): Promise<string> {
    for (;;) {
      const match = pattern.exec(this[name]);
      if (match) return match[1] ?? match[0];
      const ended = await within(
        Promise.race([this.#changed.promise, this.#ended.then(() => true)]),
        () => `no ${pattern} on ${name}: ${this.#printed}`,
        PROCESS_LIMIT,
      );
      if (ended) throw new Error(`ended without ${pattern} on ${name}: ${this.#printed}`);
    }
  }

  get #printed(): string {
    return JSON.stringify({ stdout: this.stdout, stderr: this.stderr });
  }

  /** By its number: killed through the object, Deno gives the signal and not the status. */
  signal(name: "SIGINT" | "SIGTERM"): void {
    process.kill(this.process.pid!, name);
  }

  /** Kills it, if it has not ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await within(this.#ended, () => `not killed: ${this.#printed}`);
  }
}

/** Runs a program that uses the library in a process of its own, to its end. */
export async function program(code: string): Promise<Ran> {
  const whole = `import net from "node:net"; import process from "node:process";
    import { startTerminal } from "${new URL("server.ts", import.meta.url).href}";
    const DEBIT = "${DEBIT}"; ${code}`;
  const args = "deno" in process.versions
    ? ["run", "--no-prompt", "--allow-net", `data:text/typescript,${encodeURIComponent(whole)}`]
    : ["--input-type=module", "-e", whole];
  await using command = new Command(args);
  return await command.ran();
}

/** Runs a command of this project to its end. */
export async function run(script: Script, ...args: string[]): Promise<Ran> {
  await using command = Command.start(script, ...args);
  return await command.ran();
}

/** The terminal as a command on a free port, once it listens. */
export async function serverCommand(
  ...args: string[]
): Promise<{ command: Command; port: string }> {
  const command = Command.start("server.ts", "-p", "0", "--host", "127.0.0.1", ...args);
  return { command, port: await command.prints("stderr", /listening on 127\.0\.0\.1 port (\d+)/) };
}

/** Whether the package that other currencies need is installed. */
export const hasCurrencies = await import("iso4217" as string).then(() => true, () => false);

/** For tests that need it. */
export const needsCurrencies = {
  skip: hasCurrencies ? false : "the package iso4217 is not installed",
};

/** For tests that start many processes: in Bun a test has 5 s unless it says otherwise. */
export const patience = { timeout: 60_000 };

/** Tests that mostly wait: when the first of a group runs, all of them start. */
let group: { checks: (() => Promise<void>)[]; started?: Promise<void>[] };

/** Starts a group. */
export function sideBySide(): void {
  group = { checks: [] };
}

/** Like test(), side by side with the others of its group. */
export function slow(name: string, check: () => Promise<void>): void {
  const mine = group;
  const at = mine.checks.push(check) - 1;
  test(name, patience, () => {
    mine.started ??= mine.checks.map((check) => {
      const result = check();
      result.catch(() => {}); // which its own test tells
      return result;
    });
    return mine.started[at];
  });
}

/** Like table(), side by side with the others of its group. */
export function slowTable<Row>(
  title: string,
  rows: Readonly<Record<string, Row>>,
  check: (row: Row) => Promise<void>,
): void {
  for (const [name, row] of Object.entries(rows)) slow(`${title}: ${name}`, () => check(row));
}
