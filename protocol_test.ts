// SPDX-License-Identifier: GPL-3.0-or-later
// How the three files behave, in each runtime: deno task test, bun test, node --test.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  exchange,
  InvalidAnswerError,
  pay,
  type PaymentOptions,
  UnansweredError,
  UnreachableError,
} from "./client.ts";
import {
  ACTIONS,
  APPLICATIONS,
  decode,
  describe,
  encode,
  FAILURES,
  foreignProtocol,
  interpret,
  latin1,
  mandatoryTags,
  MAX_MESSAGE,
  type Message,
  MessageReader,
  OptionError,
  printable,
  ProtocolError,
  READ_MODES,
  type Received,
  STATUSES,
  TAGS,
  toDecimal,
  toMinorUnits,
} from "./protocol.ts";
import { ListenError, type LogLevel, startTerminal, type TerminalOptions } from "./server.ts";

/** A debit of 112.45 EUR, as the reference client sends it. */
const DEBIT = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
const BASE: Message = { CZ: "0300", CJ: "012345678901", CA: "01" };
const DEBIT_MESSAGE: Message = { ...BASE, CE: "978", BA: "0", CD: "0", CB: "11245" };

// ---------------------------------------------------------------- helpers

const text = (message: Message): string => latin1(encode(message));

/** A terminal on a free port of this machine that answers at once, unless the options say otherwise. */
function terminalWith(options: TerminalOptions = {}) {
  return startTerminal({ port: 0, host: "127.0.0.1", duration: 0, ...options });
}

/** A plain socket that plays a POS, or the other side of a fake terminal. */
class Peer implements AsyncDisposable {
  readonly socket: net.Socket;
  /** All that came, as Latin-1 text. */
  text = "";
  /** How the connection ended, once it has. */
  readonly closed: Promise<"ended" | "reset">;
  #changed = Promise.withResolvers<void>();

  constructor(socket: net.Socket) {
    this.socket = socket;
    let how: "ended" | "reset" = "ended";
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        resolve(how);
        this.#wake();
      });
    });
    socket.on("error", () => how = "reset");
    socket.on("data", (chunk: Uint8Array) => {
      this.text += latin1(chunk);
      this.#wake();
    });
  }

  static async connect(port: number): Promise<Peer> {
    const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new Peer(socket);
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  send(raw: string): void {
    this.socket.write(raw, "latin1");
  }

  /** Resolves when what came satisfies a condition; fails if the connection closes before. */
  async until(condition: (text: string) => boolean): Promise<string> {
    while (!condition(this.text)) {
      if (this.socket.destroyed) throw new Error(`closed after "${this.text}"`);
      await this.#changed.promise;
    }
    return this.text;
  }

  /** The first messages that come, once each has its status and, for the last, its failure if it is a decline. */
  async answers(count = 1): Promise<Message[]> {
    await this.until((text) => messagesOf(text).filter(isAnswer).length >= count);
    return messagesOf(this.text);
  }

  async answer(): Promise<Message> {
    const [first] = await this.answers();
    return first!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

function messagesOf(raw: string): Message[] {
  const reader = new MessageReader();
  const received = reader.feed(raw);
  if (reader.state === "whole") received.push(reader.take());
  return received.map(({ message }) => message);
}

function isAnswer({ AE, AF, CG, CC, CD, BA }: Message): boolean {
  if (AE === undefined) return false;
  const card = AE === "10" && BA !== "1" && CC !== "00C" && ACTIONS.get(CD ?? "")?.money;
  return AE === "01" ? AF !== undefined : card ? CG !== undefined : true;
}

/** Sends a request to a new connection and gives the answer. */
async function ask(port: number, request: Message | string): Promise<Message> {
  await using peer = await Peer.connect(port);
  peer.send(typeof request === "string" ? request : text(request));
  return await peer.answer();
}

/** A terminal that does with a connection what no real one should. */
async function fakeTerminal(
  play: (peer: Peer) => void | Promise<void>,
): Promise<{ port: number } & AsyncDisposable> {
  const peers: Peer[] = [];
  const server = net.createServer((socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    // What the POS under test makes of it is for the test to see, not whether all of it could be played.
    Promise.resolve(play(peer)).catch(() => {});
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

/** A terminal that waits for a request and then writes pieces, as segments of their own. */
function answering(...pieces: string[]): ReturnType<typeof fakeTerminal> {
  return fakeTerminal(async (peer) => {
    await peer.until((text) => text !== "");
    for (const piece of pieces) {
      peer.send(piece);
      await sleep(10);
    }
  });
}

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A command of this project in a process of its own, under the runtime that runs the test. */
class Command implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #ended: Promise<number | null>;
  #changed = Promise.withResolvers<void>();
  stdout = "";
  stderr = "";

  constructor(script: "client.ts" | "server.ts", ...args: string[]) {
    const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
    const path = fileURLToPath(new URL(script, import.meta.url));
    this.process = spawn(process.execPath, [...deno, path, ...args], { stdio: "pipe" });
    for (const name of ["stdout", "stderr"] as const) {
      this.process[name]!.setEncoding("utf8").on("data", (chunk: string) => {
        this[name] += chunk;
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      });
    }
    this.#ended = once(this.process, "close").then(([status]) => status);
  }

  async ran(): Promise<Ran> {
    return { status: await this.#ended, stdout: this.stdout, stderr: this.stderr };
  }

  /** The part of what it prints on a stream that matches, once it is there. */
  async prints(name: "stdout" | "stderr", pattern: RegExp): Promise<string> {
    for (;;) {
      const match = pattern.exec(this[name]);
      if (match) return match[1] ?? match[0];
      const ended = await Promise.race([this.#changed.promise, this.#ended.then(() => true)]);
      if (ended) throw new Error(`ended without ${pattern}: ${this.stdout}${this.stderr}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#ended;
  }
}

async function run(script: "client.ts" | "server.ts", ...args: string[]): Promise<Ran> {
  await using command = new Command(script, ...args);
  return await command.ran();
}

const hasCurrencies = await import("iso4217" as string).then(() => true, () => false);
const needsCurrencies = { skip: hasCurrencies ? false : "the package iso4217 is not installed" };

// ---------------------------------------------------------------- the language

test("encode() writes tag, length and value, CZ first and the rest in order", () => {
  assert.equal(text({ CB: "11245", CZ: "0300", CA: "01" }), "CZ0040300CB00511245CA00201");
  assert.equal(text({ CF: "x".repeat(999) }), `CF999${"x".repeat(999)}`);
  assert.deepEqual([...encode({ CF: "é" })].slice(5), [0xe9]);
});

test("encode() names the tag that cannot be sent", () => {
  const cases: [message: Message, expected: RegExp][] = [
    [{ CZ: "0300", cb: "1" }, /tag "cb": expected two letters A-Z/],
    [{ CBB: "1" }, /tag "CBB"/],
    [{ "C\n": "1" }, /tag "C\\n"/],
    [{ CB: "" }, /tag CB: expected text of 1 to 999 characters, got 0/],
    [{ CF: "x".repeat(1000) }, /tag CF: expected text of 1 to 999 characters, got 1000/],
    [{ CF: "5 €" }, /tag CF: expected characters of Latin-1, got "€"/],
    [{ CF: 12 } as unknown as Message, /tag CF: expected text/],
  ];
  for (const [message, expected] of cases) {
    assert.throws(() => encode(message), (error) => {
      assert.ok(error instanceof ProtocolError);
      assert.match(error.message, expected);
      return true;
    });
  }
});

test("decode() reads the messages seen in the field", () => {
  const cases: [raw: string, expected: Message][] = [
    [DEBIT, DEBIT_MESSAGE],
    [
      "CZ0040300CJ003012CA00201CB0042500CD0010CE003978",
      { CZ: "0300", CJ: "012", CA: "01", CB: "2500", CD: "0", CE: "978" },
    ],
    [
      "CZ0040301CJ012330538600404CA00201CD001IAE00210",
      { CZ: "0301", CJ: "330538600404", CA: "01", CD: "I", AE: "10" },
    ],
    ["\r\nCZ0040300CB000AE00201\r\n", { CZ: "0300", CB: "", AE: "01" }],
    ["CZ0040300CF003é\r\n", { CZ: "0300", CF: "é\r\n" }],
  ];
  for (const [raw, expected] of cases) {
    const message = decode(raw);
    assert.deepEqual(message, expected);
    assert.deepEqual(decode(Uint8Array.from(raw, (char) => char.charCodeAt(0))), expected);
  }
});

test("decode() says what is wrong and at which byte", () => {
  const cases: [raw: string, at: number, expected: RegExp][] = [
    ["", 0, /expected a message, got nothing/],
    ["\r\n", 0, /expected a message, got nothing/],
    ["CZ0040300cb00211", 9, /at byte 9: expected a tag of two letters A-Z, got "c"/],
    ["CZ0040300C100211", 10, /at byte 10: expected a tag/],
    ["CZ00x0300", 4, /at byte 4: expected the length of CZ in three digits, got "x"/],
    ["CZ0040300CB0\r\n", 12, /expected the length of CB in three digits, got "\\x0d"/],
    ["CZ0040300C", 10, /expected the second letter of the tag after "C", got the end/],
    ["CZ0040300CB00", 13, /expected the length of CB in three digits, got the end/],
    ["CZ0040300CJ01201234", 19, /expected 12 characters for CJ, got 5/],
    ["CZ0040300CB00212CA00201CB00213", 23, /tag CB is there twice/],
    ["CZ0040300CZ0040300", 9, /expected the end of the message, got another one/],
    ["\x02CZ0040300\x03", 0, /expected a tag of two letters A-Z, got "\\x02"/],
  ];
  for (const [raw, at, expected] of cases) {
    assert.throws(() => decode(raw), (error) => {
      assert.ok(error instanceof ProtocolError, raw);
      assert.match(error.message, expected);
      assert.equal(error.at, at, raw);
      return true;
    });
  }
});

test("bytes and characters are the same in both directions", () => {
  const value = String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code));
  assert.deepEqual(decode(encode({ CZ: "0300", CF: value })), { CZ: "0300", CF: value });
});

test("MessageReader gives the same messages however the stream is split", () => {
  const stream = `\r\n${DEBIT}\r\n\n${DEBIT}CZ0040300CB000CF003\r\nCCZ0040301`;
  const read = (chunks: string[]): Received[] => {
    const reader = new MessageReader();
    const received = chunks.flatMap((chunk) => reader.feed(chunk));
    assert.equal(reader.state, "whole");
    return [...received, reader.take()];
  };
  const expected = read([stream]);
  assert.deepEqual(expected.map(({ raw }) => raw), [
    DEBIT,
    DEBIT,
    "CZ0040300CB000CF003\r\nC",
    "CZ0040301",
  ]);
  assert.deepEqual(read([...stream]), expected);
  for (let at = 0; at <= stream.length; at++) {
    assert.deepEqual(read([stream.slice(0, at), stream.slice(at)]), expected, `split at ${at}`);
  }
});

test("MessageReader tells empty, incomplete, whole and malformed", () => {
  const reader = new MessageReader();
  const states: [chunk: string, state: string][] = [
    ["", "empty"],
    ["\r\n", "empty"],
    ["C", "incomplete"],
    ["Z004030", "incomplete"],
    ["0", "whole"],
    ["CB", "incomplete"],
    ["000", "whole"],
    ["\n", "empty"],
    ["CZ1", "incomplete"],
    ["x", "malformed"],
    ["CZ0040300\n", "malformed"],
  ];
  for (const [chunk, state] of states) {
    reader.feed(chunk);
    assert.equal(reader.state, state, chunk);
  }
});

test("MessageReader gives the fields before a malformed byte, and all of the bytes", () => {
  const reader = new MessageReader();
  const [first, second] = reader.feed(`${DEBIT}\nCZ0040300CA0x201`);
  assert.equal(first?.error, undefined);
  assert.deepEqual(second?.message, { CZ: "0300" });
  assert.equal(second?.raw, "CZ0040300CA0x201");
  assert.equal(second?.error?.at, 12);
});

test("MessageReader holds no more than its maximum", () => {
  const reader = new MessageReader();
  const field = `XX999${"x".repeat(999)}`;
  const fits = Math.floor(MAX_MESSAGE / field.length);
  assert.deepEqual(reader.feed(field.repeat(fits)), []);
  const [received] = reader.feed(field);
  assert.match(received?.error?.message ?? "", /at most 65536 bytes/);
  assert.equal(reader.state, "malformed");
});

test("amounts go to minor units and back without floats", () => {
  const cases: [amount: string, decimals: number, units: string, back?: string][] = [
    ["112.45", 2, "11245"],
    ["10", 2, "1000", "10.00"],
    ["-10", 2, "-1000", "-10.00"],
    ["0.05", 2, "5"],
    ["0.5", 2, "50", "0.50"],
    ["-0.00", 2, "0", "0.00"],
    ["0007", 0, "7", "7"],
    ["1.005", 3, "1005"],
    ["9999999999.99", 2, "999999999999"],
    ["4503599627.37", 2, "450359962737"],
  ];
  for (const [amount, decimals, units, back = amount] of cases) {
    assert.equal(toMinorUnits(amount, decimals), units);
    assert.equal(toDecimal(units, decimals), back);
  }
  assert.equal(toDecimal("000000011245", 2), "112.45");
  assert.throws(() => toDecimal("1.5", 2), RangeError);
});

test("toMinorUnits() refuses what is not exactly an amount", () => {
  const cases: [amount: string, decimals: number, expected: RegExp][] = [
    ["1.005", 2, /expected at most 2 decimals, got "1.005"/],
    ["500.5", 0, /expected no decimals/],
    ["112,45", 2, /expected a decimal number such as 112.45, got "112,45"/],
    ["", 2, /got ""/],
    ["1e3", 2, /got "1e3"/],
    [".5", 2, /got ".5"/],
    ["--1", 2, /got "--1"/],
    ["10000000000", 2, /expected at most 12 digits/],
  ];
  for (const [amount, decimals, expected] of cases) {
    assert.throws(() => toMinorUnits(amount, decimals), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, expected);
      return true;
    });
  }
});

test("interpret() tells what an answer means", () => {
  const cases: [change: Message, expected: ReturnType<typeof interpret>, request?: Message][] = [
    [{ AE: "10" }, { status: "approved" }],
    [{ AE: "10", AF: "01" }, { status: "approved" }],
    [{ AE: "10", CB: "000000011245" }, { status: "approved" }],
    [{ AE: "10", CB: "500" }, { status: "approved" }, { BF: "1" }],
    [{ AE: "11" }, { status: "accepted" }, { BA: "1" }],
    [{ AE: "10" }, { status: "accepted" }, { BA: "1" }],
    [{ AE: "01", AF: "04" }, {
      status: "declined",
      failure: { code: "04", label: "refused", detail: "" },
    }],
    [
      { AE: "01", AF: "0451INSUFFICIENT FUNDS     " },
      {
        status: "declined",
        failure: { code: "04", label: "refused", detail: "51INSUFFICIENT FUNDS" },
      },
    ],
    [
      { AE: "01", AF: "77" },
      { status: "declined", failure: { code: "77", label: "undocumented reason", detail: "" } },
    ],
    [{ AE: "01" }, {
      status: "declined",
      failure: { code: "", label: "no reason given", detail: "" },
    }],
    // the red button of an Ingenico Desk/5000: a decline without the amount
    [
      { AE: "01", AF: "11", CB: "" },
      {
        status: "declined",
        failure: { code: "11", label: "abandoned by the operator", detail: "" },
      },
    ],
  ];
  for (const [change, expected, extra] of cases) {
    const request = { ...DEBIT_MESSAGE, ...extra };
    assert.deepEqual(interpret(request, { ...request, ...change }), expected);
  }
});

test("interpret() refuses an approval that does not fit the request, and a status that is none", () => {
  const cases: [change: Message, expected: RegExp, extra?: Message][] = [
    [{ AE: "10", CE: "840" }, /expected CE to be "978" as in the request, got "840"/],
    [{ AE: "10", CA: "02" }, /expected CA to be "01"/],
    [{ AE: "10", CD: "1" }, /expected CD to be "0"/],
    [{ AE: "10", CB: "500" }, /expected CB to be "11245"/],
    [{ AE: "10", CB: "11246" }, /expected CB/, { BF: "1" }],
    [{ AE: "10", CB: "00" }, /expected CB/, { BF: "1" }],
    [{ AE: "10", CB: "" }, /expected CB/],
    [{ AE: "99" }, /expected the status AE to be 01, 10, 11, got "99"/],
    [{}, /got none/],
    [{ AE: "constructor" }, /got "constructor"/],
  ];
  for (const [change, expected, extra] of cases) {
    const request = { ...DEBIT_MESSAGE, ...extra };
    const verdict = interpret(request, { ...request, ...change });
    assert.equal(verdict.status, "invalid");
    assert.match(verdict.status === "invalid" ? verdict.error : "", expected);
  }
  const { CB: _, ...withoutAmount } = DEBIT_MESSAGE;
  assert.equal(interpret(DEBIT_MESSAGE, { ...withoutAmount, AE: "10" }).status, "invalid");
});

test("every table has the codes of its tag's size, and every tag two letters", () => {
  for (const [tag, { size, codes, label }] of TAGS) {
    assert.match(tag, /^[A-Z]{2}$/);
    assert.notEqual(label, "");
    for (const code of codes?.keys() ?? []) assert.equal(code.length, size?.[0], `${tag} ${code}`);
  }
  const counts = [TAGS, ACTIONS, STATUSES, FAILURES, APPLICATIONS, READ_MODES].map(({ size }) =>
    size
  );
  assert.deepEqual(counts, [31, 8, 3, 14, 25, 5]);
  assert.deepEqual(mandatoryTags("7"), ["CZ", "CJ", "CA", "CB", "CD", "CE"]);
  assert.deepEqual(mandatoryTags("I"), ["CZ", "CJ", "CA", "CD"]);
});

test("describe() explains every tag and code on a line, whatever the peer sent", () => {
  const lines = describe(decode(`${DEBIT}AE00201AF00204XX004a\n\x1b[CI0011`)).split("\n");
  assert.match(lines[0]!, /CZ 0300 +protocol version/);
  assert.match(lines[5]!, /CD 0 +action: debit \(débit\)/);
  assert.match(lines[8]!, /AF 04 +failure: refused \(refusée\)/);
  assert.match(lines[9]!, /XX a\\x0a\\x1b\[ +unknown tag/);
  assert.match(lines[10]!, /CI 1 +read mode: contact$/);
  assert.equal(printable("é\r\x9b"), "é\\x0d\\x9b");
});

test("foreignProtocol() recognises what else may knock on port 8888", () => {
  assert.match(foreignProtocol("GET / HTTP/1.1\r\n") ?? "", /^HTTP/);
  assert.match(foreignProtocol("HTTP/1.1 400 Bad Request") ?? "", /^HTTP/);
  assert.match(foreignProtocol("\x16\x03\x01\x02\x00") ?? "", /^TLS/);
  assert.match(foreignProtocol(`\x02${DEBIT}\x03\x11`) ?? "", /^serial framing \(STX\)/);
  assert.equal(foreignProtocol(DEBIT), undefined);
});
