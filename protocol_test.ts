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
import config from "./deno.json" with { type: "json" };
import { exchange, ExchangeError, pay, type PaymentOptions } from "./client.ts";
import {
  ACTIONS,
  decode,
  decodeReceipts,
  describe,
  encode,
  encodeReceipt,
  encodeText as text,
  interpret,
  type LogLevel,
  mandatoryTags,
  MAX_MESSAGE,
  type Message,
  MessageReader,
  OptionError,
  printable,
  ProtocolError,
  type Received,
  TAGS,
  toDecimal,
  toMinorUnits,
} from "./protocol.ts";
import {
  formatOutcome,
  ListenError,
  type Outcome,
  parseOutcome,
  startTerminal,
  type TerminalEvent,
  type TerminalOptions,
} from "./server.ts";

/** A debit of 112.45 EUR, as the reference client sends it. */
const DEBIT = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
const BASE: Message = { CZ: "0300", CJ: "012345678901", CA: "01" };
const DEBIT_MESSAGE: Message = { ...BASE, CE: "978", BA: "0", CD: "0", CB: "11245" };

// ---------------------------------------------------------------- helpers

/** A terminal on a free port of this machine that answers at once. */
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
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      this.text += chunk;
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

  /** Resolves with all that came when it matches; fails if the connection closes before. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      if (this.socket.destroyed) {
        throw new Error(`closed after "${this.text}", which is not ${pattern}`);
      }
      await this.#changed.promise;
    }
    return this.text;
  }

  /** Closes this side, as nc does, and gives the messages that come until the other closes too. */
  async finish(): Promise<Message[]> {
    this.socket.end();
    assert.equal(await this.closed, "ended");
    const reader = new MessageReader();
    const received = reader.feed(this.text);
    if (reader.state !== "empty") received.push(reader.take());
    for (const { error } of received) assert.equal(error, undefined);
    return received.map(({ message }) => message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

/** Sends a request on a connection of its own and gives the answer. */
async function ask(port: number, request: Message | string): Promise<Message> {
  await using peer = await Peer.connect(port);
  peer.send(typeof request === "string" ? request : text(request));
  const [answer, ...others] = await peer.finish();
  assert.deepEqual(others, []);
  return answer!;
}

/** Something that answers as no outcome can: with these pieces, each a segment, or a "reset". */
async function answering(...pieces: string[]): Promise<{ port: number } & AsyncDisposable> {
  const peers: Peer[] = [];
  const server = net.createServer(async (socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    await peer.until(/./).catch(() => pieces = []); // the POS has gone, which its test sees
    for (const piece of pieces) {
      if (piece === "reset") socket.resetAndDestroy();
      else peer.send(piece);
      await sleep(10);
    }
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

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A process of its own, under the runtime that runs the test. */
class Command implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #ended: Promise<number | null>;
  #changed = Promise.withResolvers<void>();
  stdout = "";
  stderr = "";

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

  /** A command of this project. */
  static start(script: "client.ts" | "server.ts", ...args: string[]): Command {
    const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
    return new Command([...deno, fileURLToPath(new URL(script, import.meta.url)), ...args]);
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

  /** By its number: killed through the object, Deno gives the signal and not the status. */
  signal(name: "SIGINT" | "SIGTERM"): void {
    process.kill(this.process.pid!, name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#ended;
  }
}

/** A program that uses the library, in a process of its own. */
async function program(code: string): Promise<Ran> {
  const whole = `import net from "node:net"; import process from "node:process";
    import { startTerminal } from "${new URL("server.ts", import.meta.url).href}";
    const DEBIT = "${DEBIT}"; ${code}`;
  const args = "deno" in process.versions
    ? ["run", "--no-prompt", "--allow-net", `data:text/typescript,${encodeURIComponent(whole)}`]
    : ["--input-type=module", "-e", whole];
  await using command = new Command(args);
  return await command.ran();
}

async function run(script: "client.ts" | "server.ts", ...args: string[]): Promise<Ran> {
  await using command = Command.start(script, ...args);
  return await command.ran();
}

const hasCurrencies = await import("iso4217" as string).then(() => true, () => false);

/** For tests that start many processes: in Bun a test has 5 s unless it says otherwise. */
const patience = { timeout: 60_000 };
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
    [{ CF: "😀" }, /tag CF: expected characters of Latin-1, got "😀"/],
    [{ CZ: undefined } as unknown as Message, /tag CZ: expected text/],
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

test("decode() takes one message only", () => {
  for (const raw of ["CZ0040300CZ0040300", "CZ0040300\r\nCZ0040300", "CZ0040300\n?"]) {
    assert.throws(() => decode(raw), /^ProtocolError: expected one message, got more after it$/);
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
  assert.match(received?.error?.message ?? "", /at most 131072 bytes/);
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
    ["112,45", 2, /expected a decimal number with a dot, such as 112.45, got "112,45"/],
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
      failure: { code: "04", label: "refused", french: "refusée", detail: "" },
    }],
    [{ AE: "01", AF: "0451INSUFFICIENT FUNDS     " }, {
      status: "declined",
      failure: { code: "04", label: "refused", french: "refusée", detail: "51INSUFFICIENT FUNDS" },
    }],
    [{ AE: "01", AF: "77" }, {
      status: "declined",
      failure: {
        code: "77",
        label: "undocumented reason",
        french: "motif non documenté",
        detail: "",
      },
    }],
    [{ AE: "01" }, {
      status: "declined",
      failure: { code: "", label: "no reason given", french: "motif non précisé", detail: "" },
    }],
    // the red button of an Ingenico Desk/5000: a decline without the amount
    [{ AE: "01", AF: "11", CB: "" }, {
      status: "declined",
      failure: {
        code: "11",
        label: "abandoned by the operator",
        french: "abandon opérateur",
        detail: "",
      },
    }],
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
  const counts = ["CD", "AE", "AF", "CC", "CI", "BA"].map((tag) => TAGS.get(tag)?.codes?.size);
  assert.deepEqual([TAGS.size, ACTIONS.size, ...counts], [31, 8, 8, 3, 14, 25, 5, 2]);
  assert.deepEqual(mandatoryTags("7"), ["CZ", "CJ", "CA", "CB", "CD", "CE"]);
  assert.deepEqual(mandatoryTags("I"), ["CZ", "CJ", "CA", "CD"]);
});

test("describe() explains every tag and code on a line, whatever the peer sent", () => {
  const lines = describe(decode(`${DEBIT}AE00201AF00204XX004a\n\x1b[CI0011`)).split("\n");
  assert.match(lines[0]!, /CZ 0300 +protocol version/);
  assert.match(lines[6]!, /CB 11245 +amount in minor units: 112\.45 EUR$/);
  assert.match(lines[5]!, /CD 0 +action: debit \(débit\)/);
  assert.match(lines[8]!, /AF 04 +failure: refused \(refusée\)/);
  assert.match(lines[9]!, /XX a\\x0a\\x1b\[ +unknown tag/);
  assert.match(lines[10]!, /CI 1 +read mode: contact$/);
  assert.equal(printable("é\r\x9b"), "é\\x0d\\x9b");
});

test("an error tells what else it is that knocks on port 8888, or listens there", () => {
  for (
    const [raw, expected] of [
      ["GET / HTTP/1.1\r\n", /this looks like HTTP/],
      ["HTTP/1.1 400 Bad Request", /this looks like HTTP/],
      ["\x16\x03\x01\x02\x00", /this looks like TLS/],
      ["\x15\x03\x03\x00\x02\x02\x46", /this looks like TLS/],
      [`\x02${DEBIT}\x03\x11`, /this looks like serial framing \(STX\)/],
      ["?", /at byte 0: expected a tag of two letters A-Z, got "\?"$/],
    ] as const
  ) assert.throws(() => decode(raw), expected);
});

// ---------------------------------------------------------------- properties

// Its types are not at hand where it is not installed.
// deno-lint-ignore no-explicit-any
const fc: any = await import("fast-check" as string).then(
  (module) => module.default ?? module,
  () => undefined,
);
const properties = { skip: fc ? false : "the package fast-check is not installed" };

/** A message of any tags but CZ, which it starts with, and values of any Latin-1. */
// deno-lint-ignore no-explicit-any
function anyMessage(): any {
  const letter = fc.constantFrom(..."ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  const tag = fc.tuple(letter, letter).map((letters: string[]) => letters.join("")).filter((
    tag: string,
  ) => tag !== "CZ");
  const code = fc.integer({ min: 0, max: 255 });
  const value = fc.array(code, { minLength: 1, maxLength: 40 }).map((codes: number[]) =>
    String.fromCharCode(...codes)
  );
  return fc.dictionary(tag, value, { maxKeys: 20 }).map((fields: Message) => ({
    CZ: "0300",
    ...fields,
  }));
}

test("property: encode then decode gives the same message", properties, () => {
  fc.assert(fc.property(anyMessage(), (message: Message) => {
    assert.deepEqual(decode(encode(message)), message);
  }));
});

test("property: for every split of a stream the reader gives the same messages", properties, () => {
  const messages = fc.array(anyMessage(), { minLength: 1, maxLength: 4 });
  const cuts = fc.array(fc.nat(400), { maxLength: 20 });
  const ends = fc.array(fc.constantFrom("", "\r", "\n", "\r\n"), { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(messages, cuts, ends, (messages: Message[], cuts: number[], ends: string[]) => {
      const stream = messages.map((message, index) => text(message) + ends[index]).join("");
      const sorted = [0, ...cuts.sort((a, b) => a - b), stream.length];
      const reader = new MessageReader();
      const received = sorted.flatMap((cut, index) =>
        reader.feed(stream.slice(cut, Math.max(cut, sorted[index + 1] ?? cut)))
      );
      if (reader.state === "whole") received.push(reader.take());
      assert.deepEqual(received.map(({ message }) => message), messages);
    }),
  );
});

test("property: decode() never throws anything but the protocol's error", properties, () => {
  const codes = fc.array(
    fc.oneof(fc.constantFrom(..."CZAB0123\r\n".split("").map((c) => c.charCodeAt(0))), fc.nat(255)),
  );
  fc.assert(fc.property(codes, (codes: number[]) => {
    try {
      decode(Uint8Array.from(codes));
    } catch (error) {
      assert.ok(error instanceof ProtocolError);
    }
  }));
});

test("property: whatever comes, the terminal's answers decode", properties, async () => {
  await using terminal = await terminalWith({ settle: 0, requestTimeout: 20 });
  const junk = fc.array(fc.nat(255), { maxLength: 8 }).map((codes: number[]) =>
    String.fromCharCode(...codes)
  );
  const at = fc.nat(DEBIT.length);
  await fc.assert(
    fc.asyncProperty(at, at, junk, async (from: number, to: number, junk: string) => {
      await using peer = await Peer.connect(terminal.port);
      peer.send(DEBIT.slice(0, from) + junk + DEBIT.slice(to));
      await peer.finish(); // which fails for an answer that does not decode
    }),
    { numRuns: 50 },
  );
});

// ---------------------------------------------------------------- the terminal

/** What an answer adds to its request. */
function added(answer: Message, request: Message): Message {
  const entries = Object.entries(answer);
  assert.deepEqual(Object.fromEntries(entries.slice(0, Object.keys(request).length)), request);
  return Object.fromEntries(entries.slice(Object.keys(request).length));
}

test("the terminal approves with the fields of a card", async () => {
  const cases: [card: string, CC: string, CI: string, AI: string][] = [
    ["cbcontact", "001", "1", "A0000000421010"],
    ["cbcontactless", "00B", "2", "A0000000421010"],
    ["amexcontact", "002", "1", "A00000002501"],
    ["amexcontactless", "00D", "2", "A00000002501"],
  ];
  for (const [card, CC, CI, AI] of cases) {
    await using terminal = await terminalWith({ outcome: card, sellerContract: "1234567890" });
    const { AC, AA, AB, ...others } = added(await ask(terminal.port, DEBIT), DEBIT_MESSAGE);
    assert.deepEqual(others, { AE: "10", CC, CI, AI, CF: "1010000000", CG: "1234567890" });
    assert.match(AC ?? "", /^\d{6}$/);
    assert.match(AA ?? "", /^\d{6}#{6}\d{4}$/);
    assert.match(AB ?? "", /^\d\d(0[1-9]|1[0-2])$/);
    assert.equal(2000 + Number(AB?.slice(0, 2)), new Date().getFullYear() + 1);
  }
});

test("the terminal answers each kind of request as the protocol says", async () => {
  const { CB: _amount, CE: _currency, ...moneyless } = DEBIT_MESSAGE;
  const card = ["AA", "AB", "AC", "AE", "AI", "CC", "CF", "CG", "CI"];
  const cases: [
    name: string,
    request: Message,
    added: Message | string[],
    options?: TerminalOptions,
  ][] = [
    ["debit", { CD: "0" }, card],
    ["credit", { CD: "1" }, card],
    ["cancellation", { CD: "2" }, card],
    ["deferred debit", { CD: "7" }, card],
    ["abandon", {}, { AE: "01", AF: "11" }, { outcome: "abandon" }],
    ["timeout", {}, { AE: "01", AF: "08" }, { outcome: "timeout" }],
    ["refused", {}, { AE: "01", AF: "04" }, { outcome: "refused" }],
    ["forbidden", {}, { AE: "01", AF: "05" }, { outcome: "forbidden" }],
    ["cheque", { CC: "00C" }, { AE: "10" }],
    ["cheque, failure", { CC: "00C" }, { AE: "01", AF: "04" }, { outcome: "abandon" }],
    ["answer at once", { BA: "1" }, { AE: "11" }],
    ["answer at once, failure", { BA: "1" }, { AE: "11" }, { outcome: "refused" }],
    ["unknown action", { CD: "X" }, { AE: "01", AF: "12" }],
    ["unknown action before BA", { CD: "T", BA: "1" }, { AE: "01", AF: "12" }],
    ["unusual sizes, unknown tag", { CJ: "012", CB: "1", XX: "é" }, card],
    ["private data", { CF: "my reference" }, card.filter((tag) => tag !== "CF")],
  ];
  for (const [name, change, expected, options] of cases) {
    await using terminal = await terminalWith(options);
    const request = { ...DEBIT_MESSAGE, ...change };
    const got = added(await ask(terminal.port, request), request);
    if (Array.isArray(expected)) {
      assert.equal(got["AE"], "10", name);
      assert.deepEqual(Object.keys(got).sort(), expected, name);
    } else assert.deepEqual(got, expected, name);
  }
  for (
    const [CD, options, expected] of [
      ["3", {}, { AE: "01", AF: "10" }],
      ["B", {}, { AE: "10" }],
      ["P", {}, { AE: "10" }],
      ["3", { outcome: "refused" }, { AE: "01", AF: "04" }],
      ["I", { outcome: "refused", duration: 60 }, { AE: "10" }],
    ] as [string, TerminalOptions, Message][]
  ) {
    await using terminal = await terminalWith(options);
    const request = { ...moneyless, CD };
    assert.deepEqual(
      await ask(terminal.port, request),
      { ...request, ...expected },
      `action ${CD}`,
    );
  }
});

test("the terminal answers an identification without the amount, should the POS have sent one", async () => {
  await using terminal = await terminalWith({ duration: 60 });
  const answer = await ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
  assert.deepEqual(answer, { ...BASE, BA: "0", CD: "I", AE: "10" });
});

test("the terminal gives back neither a status that the POS sent nor an empty field", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const answer = await ask(terminal.port, `${DEBIT}AE00210AF00201CF000`);
  assert.deepEqual(answer, { ...DEBIT_MESSAGE, AE: "01", AF: "04" });
});

test("the terminal answers AF 09 when a mandatory tag is missing or empty", async () => {
  await using terminal = await terminalWith({ duration: 60 });
  for (const tag of mandatoryTags("0")) {
    const { [tag]: _, ...request } = DEBIT_MESSAGE;
    const expected = { CZ: "0300", ...request, AE: "01", AF: "09" };
    assert.equal(text(await ask(terminal.port, request)), text(expected), tag);
  }
  const answer = await ask(terminal.port, DEBIT.replace("CB00511245", "CB000"));
  assert.equal(answer["AF"], "09");
  assert.equal("CB" in answer, false);
});

test("the terminal answers a malformed request with what it could read, then closes", async () => {
  await using terminal = await terminalWith();
  const cases: [raw: string, expected: Message][] = [
    ["GET / HTTP/1.1\r\n\r\n", {}],
    [`\x02${DEBIT}\x03\x55`, {}],
    ["CZ0040300CA00x01", { CZ: "0300" }],
    ["CZ0040300CB0\r\n", { CZ: "0300" }],
  ];
  for (const [raw, expected] of cases) {
    await using peer = await Peer.connect(terminal.port);
    peer.send(raw);
    assert.equal(await peer.closed, "ended");
    assert.deepEqual(decode(peer.text), { CZ: "0300", ...expected, AE: "01", AF: "09" });
  }
  const cut = await ask(terminal.port, DEBIT.slice(0, -2));
  assert.equal(text(cut), `${DEBIT.slice(0, -"CB00511245".length)}AE00201AF00209`);
});

test("the terminal closes a connection on which a request stays incomplete", async () => {
  await using terminal = await terminalWith({ requestTimeout: 50 });
  await using peer = await Peer.connect(terminal.port);
  peer.send("CZ0040300CB00511");
  assert.equal(await peer.closed, "ended");
  assert.equal(peer.text, "CZ0040300AE00201AF00209");
});

test("the terminal puts a request together however it is split", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const cuts = [0, 1, 2, 4, 5, 7, 9, DEBIT.length - 10, DEBIT.length - 1];
  await Promise.all(cuts.map(async (cut) => {
    await using peer = await Peer.connect(terminal.port);
    peer.send(DEBIT.slice(0, cut));
    await sleep(40); // longer than the settle time: the rest comes as a segment of its own
    peer.send(DEBIT.slice(cut));
    assert.equal(await peer.until(/AF00204$/), text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }));
  }));
});

test("the terminal waits for mandatory tags, and not for other fields", async () => {
  await using terminal = await terminalWith({ outcome: "refused", settle: 0 });
  await using peer = await Peer.connect(terminal.port);
  peer.send("CZ0040300CJ012012345678901CA00201CD0010CE003978");
  await sleep(50);
  assert.equal(peer.text, "");
  peer.send("CB00511245");
  await peer.until(/CB00511245AE00201AF00204$/);
  const started = performance.now();
  peer.send("CZ0040300CA00201");
  await peer.until(/CZ0040300CA00201AE00201AF00209$/);
  const waited = performance.now() - started;
  assert.ok(waited >= 290, `${waited} ms`);
});

test("the terminal takes CR, LF and the next request as the end of one, and answers in order", async () => {
  await using terminal = await terminalWith({ outcome: "refused", settle: 5000 });
  await using peer = await Peer.connect(terminal.port);
  const request = (CF: string) => text({ ...DEBIT_MESSAGE, CF });
  peer.send(`\n${request("1")}\r\n\r\n${request("2")}\n${request("3")}${request("4")}\r`);
  await peer.until(/CF0014AE00201AF00204$/);
  assert.deepEqual([...peer.text.matchAll(/CF001(\d)/g)].map(([, number]) => number), [
    "1",
    "2",
    "3",
    "4",
  ]);
});

test("the terminal keeps the connection open after an answer", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  for (const count of [1, 2, 3]) {
    peer.send(DEBIT);
    await peer.until(new RegExp(`^(CZ.*?AF00204){${count}}$`));
  }
});

test("ten payments of one second sent together are answered after one second", async () => {
  await using terminal = await terminalWith({ duration: 1 });
  await using kept = await Peer.connect(terminal.port);
  const started = performance.now();
  kept.send(`${DEBIT}\r\n`.repeat(5));
  const others = Array.from({ length: 5 }, () => ask(terminal.port, DEBIT));
  const answers = [...await kept.finish(), ...await Promise.all(others)];
  const took = performance.now() - started;
  assert.deepEqual(answers.map(({ AE }) => AE), Array(10).fill("10"));
  assert.ok(took >= 990 && took < 2000, `${took} ms`);
});

test("the settle time is inside the duration, which takes decimals", async () => {
  await using terminal = await terminalWith({ outcome: "refused", duration: 1.2, settle: 1000 });
  await using peer = await Peer.connect(terminal.port);
  const started = performance.now();
  peer.send(DEBIT);
  await peer.until(/AF00204$/);
  const took = performance.now() - started;
  assert.ok(took >= 1190 && took < 2000, `${took} ms`);
});

test("close() ends connections and payments that wait", async () => {
  const terminal = await terminalWith({ duration: 60 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\r\nCZ004`);
  await sleep(20);
  await Promise.all([terminal.close(), terminal.close(), peer.closed]);
  assert.equal(peer.text, "");
  await assert.rejects(Peer.connect(terminal.port));
});

test("the log tells what came, what it means and what is wrong with it", async () => {
  const log: [level: LogLevel, text: string][] = [];
  const logged = (level: LogLevel, pattern: RegExp) =>
    assert.ok(
      log.some(([l, t]) => l === level && pattern.test(t)),
      `no ${level} ${pattern} in ${log.join("\n")}`,
    );
  {
    await using terminal = await terminalWith({
      outcome: "refused",
      logLevel: "debug",
      log: (level, text) => log.push([level, text]),
    });
    await ask(terminal.port, DEBIT);
    await ask(terminal.port, "GET / HTTP/1.1\r\n\r\n");
    await ask(terminal.port, "\x16\x03\x01");
    await ask(terminal.port, `\x02${DEBIT}\x03`);
    await ask(terminal.port, "CZ0040300CA00201XX005\x1b[2J\n");
  }
  logged("info", /^listening on 127\.0\.0\.1 port \d+, failure mode \(refused\)/);
  logged("debug", /^#1 connected from 127\.0\.0\.1/);
  logged("info", /^#1 received: CZ0040300CJ.*\n.*\n.*\n.*\n.*\n.*\n.*CD 0 +action: debit/);
  logged("info", /^#1 sent: CZ0040300CJ.*AF00204\n[^]*failure: refused/);
  logged("warn", /^#2 malformed at byte 2: .* got "T"; this looks like HTTP/);
  logged("warn", /^#3 malformed at byte 0: .*; this looks like TLS/);
  logged("warn", /^#4 malformed at byte 0: .*; this looks like serial framing \(STX\)/);
  logged("warn", /^#5 expected the mandatory tags CJ, CD$/);
  logged("info", /^#5 received: CZ0040300CA00201XX005\\x1b\[2J\\x0a/);
  for (const [, text] of log) assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f]/);
});

test("startTerminal() refuses options that are not as they must be, and says where it cannot listen", async () => {
  const cases: [options: TerminalOptions, expected: RegExp][] = [
    [{ port: 65536 }, /^port: expected a whole number from 0 to 65535, got 65536$/],
    [{ port: 1.5 }, /^port: expected a whole number/],
    [{ duration: -1 }, /^duration: expected a number from 0 to 86400, got -1$/],
    [{ duration: NaN }, /^duration: expected .* got NaN$/],
    [{ sellerContract: "12345678901" }, /^sellerContract: expected 1 to 10 characters of Latin-1/],
    [{ sellerContract: "" }, /^sellerContract: .* got ""$/],
    [
      { outcomes: "refused" } as TerminalOptions,
      /^options: expected names from host, .* got "outcomes"; did you mean outcome\?$/,
    ],
    [
      { outcome: "maybe" },
      /^outcome: expected words from success, abandon, .* got "maybe"$/,
    ],
  ];
  for (const [options, message] of cases) {
    await assert.rejects(terminalWith(options), (error) => {
      assert.ok(error instanceof OptionError);
      assert.match(error.message, message);
      return true;
    });
  }
  await using terminal = await terminalWith();
  await assert.rejects(terminalWith({ port: terminal.port }), (error) => {
    assert.ok(error instanceof ListenError);
    assert.match(
      error.message,
      /^cannot listen on host 127\.0\.0\.1, port \d+: the port is in use/,
    );
    return true;
  });
});

// ---------------------------------------------------------------- outcomes and faults

test("the log tells at the start what will be answered", async () => {
  const cases: [options: TerminalOptions, expected: RegExp][] = [
    [{ duration: 3 }, /, success mode \(success\), answers after 3 s$/],
    [{ outcome: "07,delay=1..2" }, /, failure mode \(07,delay=1\.\.2\)$/],
    [
      { when: { "5": "04", "*1": "05" }, next: ["04"], strict: true, exclusive: true },
      /after 0 s, outcomes by amount: 2, outcomes queued: 1, strict, exclusive$/,
    ],
    [{ outcome: () => "success" }, /, each outcome decided on when it is asked for$/],
  ];
  for (const [options, expected] of cases) {
    const log: string[] = [];
    await using _terminal = await terminalWith({
      ...options,
      log: (_level, text) => log.push(text),
    });
    assert.match(log[0] ?? "", expected);
  }
});

test("parseOutcome() reads words in any order and case", () => {
  const cases: [text: string, expected: Outcome, formatted?: string][] = [
    ["success", { failure: "" }],
    ["refused", { failure: "04" }],
    ["07", { failure: "07" }],
    ["04", { failure: "04" }, "refused"],
    ["Abandon, CB=", { failure: "11", tags: { CB: "" } }, "abandon,CB="],
    ["success,CB=500", { failure: "", tags: { CB: "500" } }],
    ["success,CZ=0301,CJ=330538600404", { failure: "", tags: { CZ: "0301", CJ: "330538600404" } }],
    ["delay=5,pending", { pending: true, delay: 5 }, "success,pending,delay=5"],
    ["delay=0.5..2.5", { delay: [0.5, 2.5] }, "success,delay=0.5..2.5"],
    ["hangup", { hangup: true }, "success,hangup"],
    ["split,ancv", { fault: "split", card: "ancv" }, "success,ancv,split"],
    ["success,CF=a\\,b=c\\,", { failure: "", tags: { CF: "a,b=c," } }],
    ["success,CF=a\\\\,CG=\\\\\\,b", { failure: "", tags: { CF: "a\\", CG: "\\,b" } }],
  ];
  for (const [words, expected, formatted = words] of cases) {
    const outcome = parseOutcome(words);
    assert.deepEqual(outcome, expected);
    assert.equal(formatOutcome(outcome), formatted);
    assert.equal(formatOutcome(parseOutcome(formatted)), formatted);
  }
});

test("parseOutcome() names the words that there are, and what stands twice", () => {
  const cases: [text: string, expected: RegExp][] = [
    [
      "refuse",
      /^OptionError: outcome: expected words from success, .*, dribble, pending, hangup, an AF code .*, TAG=VALUE, got "refuse"; did you mean refused\?$/,
    ],
    ["", /got ""$/],
    ["success,,silent", /got ""$/],
    ["delay=", /got "delay="/],
    ["delay=soon", /got "delay=soon"/],
    ["delay=5..1", /^OptionError: outcome: expected a number from/],
    ["delay=100000", /expected a number from 0 to 86400/],
    ["7", /got "7"/],
    ["cb=500", /got "cb=500"/],
    [
      "success,refused",
      /expected at most one word of each kind, and \\, in values, got "success,refused"$/,
    ],
    ["cbcontact,ancv", /at most one word of each kind/],
    ["split,silent", /at most one word of each kind/],
    ["delay=1,delay=2", /at most one word of each kind/],
    ["CB=1,CB=2", /at most one word of each kind/],
    ["CF=€", /tag CF: expected characters of Latin-1/],
  ];
  for (const [words, expected] of cases) assert.throws(() => parseOutcome(words), expected);
});

test("vouchers pay too, without an AID that no source tells", async () => {
  for (
    const [card, expected] of [
      ["conecscontact", ["00E", "1", undefined]],
      ["conecscontactless", ["10E", "2", undefined]],
      ["ancv", ["00V", undefined, undefined]],
    ] as const
  ) {
    await using terminal = await terminalWith({ outcome: card });
    const { CC, CI, AI } = await ask(terminal.port, DEBIT);
    assert.deepEqual([CC, CI, AI], expected);
  }
});

test("an outcome sets and leaves out tags of the answer", async () => {
  await using terminal = await terminalWith({
    next: ["abandon,CB=", "success,AC=424242,AA=497010######0014,XX=\\,"],
    outcome: { tags: { CZ: "0301", CJ: "330538600404" } },
  });
  assert.equal("CB" in await ask(terminal.port, DEBIT), false);
  const { AC, AA, XX } = await ask(terminal.port, DEBIT);
  assert.deepEqual([AC, AA, XX], ["424242", "497010######0014", ","]);
  const own = await ask(terminal.port, { ...BASE, CD: "I" });
  assert.deepEqual(own, { CZ: "0301", CJ: "330538600404", CA: "01", CD: "I", AE: "10" });
});

/** What a plain socket sees of an outcome: segments as they arrive, and how the connection ends. */
async function watch(outcome: string): Promise<{ chunks: string[]; peer: Peer } & AsyncDisposable> {
  const terminal = await terminalWith({ outcome });
  const peer = await Peer.connect(terminal.port);
  const chunks: string[] = [];
  peer.socket.on("data", (chunk: string) => chunks.push(chunk));
  peer.send(DEBIT);
  return {
    chunks,
    peer,
    async [Symbol.asyncDispose]() {
      await peer[Symbol.asyncDispose]();
      await terminal.close();
    },
  };
}

test("fault silent: no answer, the connection stays open", async () => {
  await using seen = await watch("silent,delay=0.05");
  await sleep(200);
  assert.deepEqual([seen.chunks, seen.peer.socket.destroyed], [[], false]);
});

test("fault close: the connection ends without an answer", async () => {
  await using seen = await watch("close");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["ended", ""]);
});

test("fault reset: the connection is reset without an answer", async () => {
  await using seen = await watch("reset");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["reset", ""]);
});

test("fault truncate: the answer is cut inside a field, then the connection ends", async () => {
  await using seen = await watch("success,truncate");
  assert.equal(await seen.peer.closed, "ended");
  assert.match(seen.peer.text, /^CZ.*AE00210.*CG00642424$/);
  assert.throws(() => decode(seen.peer.text), /expected 6 characters for CG, got 5/);
});

test("fault garbage: bytes come that are no message", async () => {
  await using seen = await watch("garbage");
  await seen.peer.until(/garbage/);
  assert.throws(() => decode(seen.peer.text), ProtocolError);
});

test("fault split: at least four segments, cut inside tag, length and value and between two fields", async () => {
  await using seen = await watch("refused,split");
  await seen.peer.until(/AF00204$/);
  assert.deepEqual(seen.chunks, ["CZ0040", DEBIT.slice(6) + "AE0", "0201", "A", "F00204"]);
});

test("fault dribble: the answer comes byte by byte", async () => {
  await using seen = await watch("refused,dribble");
  await seen.peer.until(/AF00204$/);
  assert.ok(seen.chunks.length > DEBIT.length / 2, `${seen.chunks.length} segments`);
  assert.equal(seen.peer.text, `${DEBIT}AE00201AF00204`);
});

test("hangup: the connection ends after the answer", async () => {
  await using seen = await watch("refused,hangup,split");
  assert.deepEqual([await seen.peer.closed, seen.peer.text], ["ended", `${DEBIT}AE00201AF00204`]);
});

test("pending: AE 11 at once, the final answer after the delay on the same connection", async () => {
  await using seen = await watch("refused,pending,delay=0.2");
  const started = performance.now();
  await seen.peer.until(/AE00211$/);
  await seen.peer.until(/AF00204$/);
  assert.ok(performance.now() - started > 100);
  assert.equal(seen.peer.text, `${DEBIT}AE00211${DEBIT}AE00201AF00204`);
});

test("delay: instead of the duration, also drawn from a range", async () => {
  await using terminal = await terminalWith({ duration: 60, outcome: "success,delay=0.1..0.2" });
  const started = performance.now();
  await ask(terminal.port, DEBIT);
  const took = performance.now() - started;
  assert.ok(took >= 99 && took < 1000, `${took} ms`);
});

test("an outcome comes from the amount, then the queue, then the default", async () => {
  await using terminal = await terminalWith({
    when: {
      "*1": "02",
      "*01": "07",
      "00500": "refused",
      "*2": "timeout",
      "502": "05",
      "99999999902": "13",
    },
    next: ["abandon"],
    outcome: "08",
  });
  const failure = async (CB: string): Promise<string | undefined> =>
    (await ask(terminal.port, { ...DEBIT_MESSAGE, CB })).AF;
  assert.equal(await failure("500"), "04");
  assert.equal(await failure("0000500"), "04");
  assert.equal(await failure("1201"), "07");
  assert.equal(await failure("1"), "07"); // as 01
  assert.equal(await failure("11"), "02");
  assert.equal(await failure("502"), "05"); // the exact amount before the last digits
  assert.equal(await failure("99999999902"), "13");
  assert.equal(await failure("512"), "08");
  assert.equal((await ask(terminal.port, { ...BASE, CD: "I" })).AE, "10"); // takes none of the queue
  assert.equal(await failure("1000"), "11");
  assert.equal(await failure("1000"), "08");
  terminal.nextOutcome("04", { failure: "05" });
  assert.deepEqual([await failure("7"), await failure("7"), await failure("7")], [
    "04",
    "05",
    "08",
  ]);
  assert.throws(() => terminal.nextOutcome("maybe"), OptionError);
  await assert.rejects(
    terminalWith({ when: { "1.50": "04" } }),
    /^OptionError: when: expected minor units such as 1234/,
  );
  await assert.rejects(
    terminalWith({ when: { "500": "04", "0500": "05" } }),
    /^OptionError: when: expected each amount once, got "0500"/,
  );
});

test("an outcome can be a function, async or not, and its error does not stop the terminal", async () => {
  await using terminal = await terminalWith({
    outcome: async (request, number) => {
      await Promise.resolve();
      if (request.CB === "99") throw new Error("my mistake");
      return number === 1 ? "refused" : { tags: { AC: `${number}` } };
    },
  });
  assert.equal((await ask(terminal.port, DEBIT)).AF, "04");
  assert.equal((await ask(terminal.port, DEBIT)).AC, "2");
  assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, CB: "99" })).AF, "07");
  assert.deepEqual(terminal.transactions.at(-1)?.warnings, [
    "no outcome could be decided on: my mistake",
  ]);
});

test("what a program gives as an outcome is held against what it may be", async () => {
  for (
    const outcome of [
      { card: "CBCONTACT" },
      { failed: "04" },
      { fault: "SILENT" },
      { failure: 11 },
      { delay: "55" },
      { delay: [1] },
      { tags: { CF: 1 } },
      undefined,
      null,
      5,
    ]
  ) {
    const wrong = outcome as unknown as Outcome;
    await assert.rejects(
      terminalWith({ next: [wrong] }),
      /^(OptionError: next|ProtocolError: tag CF): expected/,
    );
    await using terminal = await terminalWith({ outcome: () => wrong });
    assert.deepEqual((await ask(terminal.port, DEBIT)).AF, "07");
  }
  for (
    const thrown of [
      Object.create(null),
      Symbol("s"),
      new Error("\x1b[31m"),
      Object.assign(new Error(), { message: 5 }),
    ]
  ) {
    await using terminal = await terminalWith({
      outcome: (request) => {
        delete request["CD"];
        throw thrown;
      },
    });
    assert.deepEqual(await ask(terminal.port, DEBIT), { ...DEBIT_MESSAGE, AE: "01", AF: "07" });
  }
});

test("an answer that could not be written is not told as sent", async () => {
  const events: TerminalEvent[] = [];
  await using terminal = await terminalWith({
    next: ["hangup", "success", "refused"],
    onEvent: (event) => events.push(event),
  });
  assert.equal(
    (await Promise.resolve(ask(terminal.port, `${DEBIT}\n${DEBIT}\n${DEBIT}\n`))).AE,
    "10",
  );
  assert.equal(events.filter(({ event }) => event === "answer").length, 1);
  assert.deepEqual(terminal.transactions.map(({ answer }) => answer === undefined), [
    false,
    true,
    true,
  ]);
});

test("a request on a connection that the terminal has closed on its side is not served", async () => {
  for (const outcome of ["hangup", "close", "truncate"]) {
    await using terminal = await terminalWith({ next: [outcome, "refused"] });
    const socket = net.connect({ port: terminal.port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    await using peer = new Peer(socket);
    peer.send(`${DEBIT}\n`);
    await once(socket, "end");
    peer.send(`${DEBIT}\n`);
    socket.end();
    await peer.closed;
    assert.equal(terminal.transactions.length, 1, outcome);
    assert.equal((await ask(terminal.port, DEBIT)).AF, "04", outcome);
  }
});

test("an outcome that is decided on after close() does nothing", async () => {
  const decided = Promise.withResolvers<string>();
  const events: string[] = [];
  const terminal = await terminalWith({
    outcome: () => decided.promise,
    onEvent: ({ event }) => events.push(event),
  });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  while (terminal.transactions.length === 0) await sleep(5);
  await terminal.close();
  await assert.rejects(terminal.waitForTransaction(), /the terminal was closed/);
  assert.deepEqual(events, ["listening", "request", "closed"]);
  decided.resolve("success,delay=0.05");
  await sleep(100);
  assert.deepEqual(events, ["listening", "request", "closed"]);
});

test("a function that decides is told when the POS goes away", async () => {
  const gone = Promise.withResolvers<void>();
  await using terminal = await terminalWith({
    outcome: (_request, _number, signal) => {
      signal.addEventListener("abort", () => gone.resolve());
      return gone.promise.then(() => "success");
    },
  });
  const over = terminal.waitForTransaction();
  const peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  while (terminal.transactions.length === 0) await sleep(5);
  peer.socket.destroy();
  await gone.promise;
  assert.deepEqual((await over).outcome, { failure: "" });
});

test("a function that decides is told, too, that the POS has closed its side already", async () => {
  const told = Promise.withResolvers<boolean>();
  await using terminal = await terminalWith({
    outcome: async (_request, _number, gone) => {
      await sleep(50);
      told.resolve(gone.aborted);
      return "success";
    },
  });
  await ask(terminal.port, DEBIT); // as nc does: request and end in one go
  assert.equal(await told.promise, true);
});

test("what onEvent or log throws is reported, and the terminal goes on", async () => {
  const { status, stdout } = await program(`
    let reported = 0;
    process.on("uncaughtException", () => reported++);
    const fail = () => { throw new Error("my mistake"); };
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0, onEvent: fail, log: fail });
    const socket = net.connect(terminal.port, "127.0.0.1", () => socket.write(DEBIT));
    const chunk = await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    await terminal.close();
    console.log(String(chunk).slice(0, 4), reported);`);
  assert.deepEqual([status, stdout], [0, "CZ00 7\n"]); // listening, request, answer with their lines, closed
});

test("what the log of pay() throws is reported, and the payment told all the same", async () => {
  const { status, stdout } = await program(`
    const { pay } = await import("${new URL("client.ts", import.meta.url).href}");
    let reported = 0;
    process.on("uncaughtException", () => reported++);
    const log = () => { throw new Error("my mistake"); };
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
    const result = await pay({ port: terminal.port, amount: "1", log });
    await terminal.close();
    console.log(result.status, reported);`);
  assert.deepEqual([status, stdout], [0, "approved 2\n"]);
});

test("exclusive: while a transaction is under way, others are answered AF 07 at once", async () => {
  await using terminal = await terminalWith({
    exclusive: true,
    next: ["success,delay=0.3"],
    outcome: "silent",
  });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  while (terminal.transactions.length === 0) await sleep(5);
  for (const request of [DEBIT_MESSAGE, { ...BASE, CD: "I" }]) {
    assert.deepEqual(await ask(terminal.port, request), { ...request, AE: "01", AF: "07" });
  }
  await peer.until(/AE00210.*CG/);
  peer.send(`${DEBIT}\n`); // which is never answered, so that the terminal stays busy until the POS goes
  while (terminal.transactions.length < 4) await sleep(5);
  assert.equal((await ask(terminal.port, DEBIT)).AF, "07");
  const over = terminal.waitForTransaction();
  peer.socket.destroy();
  await over;
  terminal.nextOutcome("refused");
  assert.equal((await ask(terminal.port, DEBIT)).AF, "04");
});

// ---------------------------------------------------------------- what the POS did

test("transactions tell what came, what was sent and when", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const next = terminal.waitForTransaction();
  await ask(terminal.port, `${DEBIT}CB000`);
  const transaction = await next;
  const { received, answered, ...others } = transaction;
  assert.deepEqual(others, {
    number: 1,
    connection: 1,
    address: "127.0.0.1",
    request: { raw: `${DEBIT}CB000`, message: DEBIT_MESSAGE },
    warnings: [
      "expected a tag at most once, got CB again at byte 63",
      "CB: expected the field to be left out, got length 000",
    ],
    outcome: { failure: "04" },
    answer: {
      raw: `${DEBIT}AE00201AF00204`,
      message: { ...DEBIT_MESSAGE, AE: "01", AF: "04" },
    },
  });
  assert.ok(answered && answered >= received);
  await ask(terminal.port, "GET /");
  const [first, second] = terminal.transactions;
  assert.equal(first, transaction);
  assert.match(
    second?.error ?? "",
    /^at byte 2: expected the length of GE .*; this looks like HTTP/,
  );
  assert.deepEqual(second?.warnings, [`malformed ${second?.error}`]);
  assert.equal(second?.outcome, undefined);
});

test("waitForTransaction() rejects when the terminal is closed, and only the last 1,000 are kept", async () => {
  const terminal = await terminalWith({ settle: 0 });
  await using peer = await Peer.connect(terminal.port);
  for (let sent = 0; sent < 1001; sent += 91) {
    peer.send(`${text({ ...BASE, CD: "I" })}\n`.repeat(91));
    while (terminal.transactions.at(-1)?.number !== sent + 91) await sleep(1);
  }
  assert.equal((await peer.finish()).length, 1001);
  assert.deepEqual([terminal.transactions.length, terminal.transactions[0]?.number], [1000, 2]);
  const waiting = assert.rejects(terminal.waitForTransaction(), /the terminal was closed/);
  terminal.waitForTransaction(); // which nobody awaits: a test may have failed before
  await terminal.close();
  await waiting;
});

test("every deviation from the protocol is a warning, and refused when strict", async () => {
  const cases: [request: string, warning: string, tolerated?: boolean][] = [
    [DEBIT.replace("CB00511245", "CB0015"), "CB: expected 2 to 12 characters, got 1"],
    [DEBIT.replace("CJ012012345678901", "CJ003012"), "CJ: expected 12 characters, got 3"],
    [DEBIT.replace("CB00511245", "CB00511.45"), 'CB: expected digits, got "11.45"'],
    [`${DEBIT}CF001é`, 'CF: expected ASCII, got "é"'],
    [`${DEBIT}CF001\t`, 'CF: expected ASCII, got "\\x09"'],
    [`CA00201${DEBIT}`.replace("CZ0040300", "") + "\n", "expected CZ to come first, got CA"],
    [`${DEBIT}CB00511245`, "expected a tag at most once, got CB again at byte 63"],
    [`${DEBIT}CF000`, "CF: expected the field to be left out, got length 000"],
    [`${DEBIT}AE00210`, "AE: expected from the terminal only"],
    [`${DEBIT}XX0011`, "XX: expected a tag of the protocol", true],
    [`${DEBIT}CI0019`, 'CI: expected a known read mode, got "9"'],
    [`${DEBIT}CC00300X`, 'CC: expected a known payment application, got "00X"', true],
    [`${DEBIT}BF0011`, "BF: expected none, newer Ingenico software fails on it", true],
    [
      `\x02${DEBIT}\x03\x11`,
      'malformed at byte 0: expected a tag of two letters A-Z, got "\\x02"; this looks like serial framing (STX): over IP a message goes without STX, ETX and LRC',
    ],
  ];
  for (const strict of [false, true]) {
    await using terminal = await terminalWith({ strict, outcome: "abandon" });
    for (const [request, warning, tolerated] of cases) {
      const { AE, AF } = await ask(terminal.port, request);
      assert.ok(terminal.transactions.at(-1)?.warnings.includes(warning), `no "${warning}"`);
      const readable = request.startsWith("CZ");
      assert.deepEqual(
        [AE, AF],
        ["01", (strict && !tolerated) || !readable ? "09" : "11"],
        warning,
      );
    }
    for (const amount of ["112.45", "-1"]) {
      assert.equal((await payAt(terminal.port, { amount, receipt: true })).failure?.code, "11");
      assert.deepEqual(terminal.transactions.at(-1)?.warnings, []);
    }
  }
});

test("a request that is wrong through and through has a bounded list of warnings", async () => {
  await using terminal = await terminalWith();
  await ask(terminal.port, `CZ0040300${"AA000".repeat(13_000)}`);
  const warnings = terminal.transactions[0]?.warnings ?? [];
  assert.ok(warnings.length < 25, `${warnings.length} warnings`);
  assert.deepEqual(warnings.slice(-2), [
    "there may be more that is not listed here",
    "expected the mandatory tags CJ, CA, CD",
  ]);
});

test("fields that come after the answer are told from a request that does not start with CZ", async () => {
  await using terminal = await terminalWith({ outcome: "refused", settle: 0 });
  await using peer = await Peer.connect(terminal.port);
  peer.send(DEBIT);
  await peer.until(/AF00204$/);
  peer.send("CF0011");
  await peer.until(/AF00209$/);
  assert.deepEqual(terminal.transactions[1]?.warnings.slice(0, 1), [
    "expected no more fields after the answer",
  ]);
});

// ---------------------------------------------------------------- bounds

test("a request longer than the bound is answered as malformed, and the connection closed", async () => {
  await using terminal = await terminalWith();
  await using peer = await Peer.connect(terminal.port);
  const field = `XX999${"x".repeat(999)}`;
  peer.send(`CZ0040300${field.repeat(70)}`);
  assert.equal(await peer.closed, "ended");
  assert.match(peer.text, /^CZ0040300XX999x+AE00201AF00209$/);
  assert.match(terminal.transactions[0]?.error ?? "", /at most 65536 bytes/);
  await using small = await terminalWith({ maxRequest: 100 });
  assert.equal((await ask(small.port, { ...DEBIT_MESSAGE, CF: "x".repeat(60) })).AF, "09");
});

test("a connection without any request is closed after a while, one with a request is kept", async () => {
  await using terminal = await terminalWith({ idleTimeout: 100, outcome: "refused" });
  await using idle = await Peer.connect(terminal.port);
  await using used = await Peer.connect(terminal.port);
  used.send(`${DEBIT}\n`);
  await idle.closed;
  used.send(`${DEBIT}\n`);
  await used.until(/(AF00204.*){2}$/);
});

test("a peer that does not read its answers is dropped", async () => {
  const log: string[] = [];
  await using terminal = await terminalWith({
    settle: 0,
    maxUnread: 10_000,
    log: (_level, text) => log.push(text),
  });
  await using peer = await Peer.connect(terminal.port);
  peer.socket.pause();
  const request = `${text({ ...BASE, CD: "I", CF: "x".repeat(900) })}\n`;
  const dropped = terminal.waitForTransaction().then(async () => {
    while (!log.some((line) => /dropped: \d+ bytes of answers are not read/.test(line))) {
      await sleep(5);
    }
    return true;
  });
  for (let done = false; !done;) {
    peer.send(request.repeat(100));
    done = await Promise.race([dropped, sleep(1).then(() => false)]);
  }
  await ask(terminal.port, DEBIT); // which is served all the same
});

test("connections beyond the bound are closed", async () => {
  await using terminal = await terminalWith({ maxConnections: 2, outcome: "refused" });
  await using first = await Peer.connect(terminal.port);
  await using _second = await Peer.connect(terminal.port);
  await using third = await Peer.connect(terminal.port);
  await third.closed;
  assert.equal(third.text, "");
  first.send(DEBIT);
  await first.until(/AF00204$/);
});

test("peers that vanish at any point leave nothing behind but a line of the log", async () => {
  const log: string[] = [];
  await using terminal = await terminalWith({
    logLevel: "debug",
    next: ["split", "dribble", "success,delay=0.1", "pending,delay=0.1"],
    log: (level, text) => level === "debug" && !/ connected /.test(text) && log.push(text),
  });
  for (
    const [request, wait] of [["", 0], ["CZ0040300CB0", 20], ...Array(4).fill([`${DEBIT}\n`, 60])]
  ) {
    const peer = await Peer.connect(terminal.port);
    peer.send(request);
    await sleep(wait);
    peer.socket.resetAndDestroy();
  }
  while (log.length < 6) await sleep(5);
  assert.equal((await ask(terminal.port, DEBIT)).AE, "10");
  assert.deepEqual(log.slice(0, 6).filter((line) => !/^#\d closed/.test(line)), []);
});

test("500 peers that send half a request and wait cost nobody else anything", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const waiting = await Promise.all(Array.from({ length: 500 }, () => Peer.connect(terminal.port)));
  for (const peer of waiting) peer.send(DEBIT.slice(0, 30));
  const started = performance.now();
  for (let count = 0; count < 5; count++) assert.equal((await ask(terminal.port, DEBIT)).AF, "04");
  const took = performance.now() - started;
  await Promise.all(waiting.map((peer) => peer[Symbol.asyncDispose]()));
  assert.ok(took < 1000, `${took} ms`);
});

test("a message object survives any tag", () => {
  const { message } = new MessageReader().feed("CZ0040300__0011\n")[0] ?? {};
  assert.deepEqual(message, { CZ: "0300" });
  const proto = JSON.parse('{"CZ":"0300","__proto__":"x"}');
  assert.throws(() => encode(proto), /tag "__proto__": expected two letters A-Z/);
});

test("a program ends by itself after close()", async () => {
  const { status } = await program(`
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 60 });
    const socket = net.connect(terminal.port, "127.0.0.1", () => socket.write(DEBIT + "\\nCZ0"));
    socket.on("error", () => {});
    setTimeout(() => terminal.close(), 100);`);
  assert.equal(status, 0);
});

test("fields that keep coming without making a request are given up, and the connection closed", async () => {
  await using terminal = await terminalWith({ requestTimeout: 150 });
  await using peer = await Peer.connect(terminal.port);
  for (let count = 0; count < 3; count++) {
    peer.send(`C${"FGH"[count]}0011`);
    await sleep(40);
  }
  assert.equal(await peer.closed, "ended");
  assert.equal(peer.text, "CZ0040300CF0011CG0011CH0011AE00201AF00209");
});

test("after a request that took too long nothing more is read", async () => {
  await using terminal = await terminalWith({
    requestTimeout: 50,
    next: ["success,delay=0.3", "refused"],
  });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\rCZ0`);
  while (terminal.transactions.length < 2) await sleep(5);
  peer.send(`${DEBIT}\n`);
  assert.equal(await peer.closed, "ended");
  assert.equal(terminal.transactions.length, 2);
  assert.equal((await ask(terminal.port, DEBIT)).AF, "04");
});

test("a POS that sends request after request without waiting is dropped", async () => {
  await using terminal = await terminalWith({ outcome: "silent" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`.repeat(1000));
  while (terminal.transactions.length < 1000) await sleep(1);
  assert.equal(peer.socket.destroyed, false);
  peer.send(`${DEBIT}\n`);
  await peer.closed;
});

test("the answer to the longest request can be read", async () => {
  await using terminal = await terminalWith({ outcome: "abandon" });
  const tags = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].flatMap((a) => [`W${a}`, `X${a}`, `Y${a}`]);
  const request = { ...DEBIT_MESSAGE };
  for (const tag of tags.slice(0, 65)) request[tag] = "x".repeat(999);
  assert.equal((await ask(terminal.port, request)).AF, "11");
});

// ---------------------------------------------------------------- receipts and the other actions

test("CK asks for a receipt, the customer's or the merchant's, as text or HTML", async () => {
  await using terminal = await terminalWith({
    outcome: "cbcontactless,AC=424242,AA=497010######0014",
  });
  for (
    const [CK, copy, format] of [
      ["100", "customer", "text"],
      ["110", "merchant", "text"],
      ["101", "customer", "html"],
      ["111", "merchant", "html"],
      ["120", "customer", "text"],
    ] as const
  ) {
    const { ZT = "" } = await ask(terminal.port, { ...DEBIT_MESSAGE, CK });
    assert.ok(ZT.length <= 999);
    const [receipt, ...others] = decodeReceipts(ZT);
    assert.deepEqual([receipt?.copy, receipt?.format, others], [copy, format, []]);
    const lines = receipt?.text.split("\n") ?? [];
    if (format === "text") { for (const line of lines) assert.ok(line.length <= 24, line); }
    else assert.match(receipt?.text ?? "", /^<pre>[^]*<\/pre>$/);
    for (
      const expected of [
        /SIMULATION/,
        /^CARTE BANCAIRE$/m,
        /^SANS CONTACT$/m,
        /^A0000000421010$/m,
        /^LE \d\d\/\d\d\/\d\d A \d\d:\d\d:\d\d$/m,
        /^CONTRAT 424242$/m,
        /^497010######0014$/m,
        /^AUTORISATION 424242$/m,
        /^MONTANT +112,45 EUR$/m,
        /^DEBIT$/m,
        copy === "merchant" ? /^TICKET COMMERCANT/m : /^TICKET CLIENT/m,
      ]
    ) assert.match(receipt?.text ?? "", expected);
    const warnings = terminal.transactions.at(-1)?.warnings;
    assert.deepEqual(
      warnings,
      CK === "120" ? ["CK: both receipts are asked for, only the customer's is sent"] : [],
    );
  }
  for (const CK of ["000", "012"]) {
    assert.equal("ZT" in await ask(terminal.port, { ...DEBIT_MESSAGE, CK }), false);
  }
});

test("a receipt knows credits, declines, cheques and currencies", async () => {
  const cases: [change: Message, outcome: string, expected: RegExp[]][] = [
    [{ CD: "1" }, "success", [/^CREDIT$/m]],
    [{ CD: "2" }, "success", [/^ANNULATION$/m]],
    [{}, "refused", [/^REFUSÉE$/m, /^TRANSACTION NON ABOUTIE$/m, /112,45 EUR/]],
    [{}, "refused,AF=0451HELLO", [/^REFUSÉE$/m]],
    [{}, "abandon,CB=", [/^TERMINAL 00000001\nDEBIT$/m]],
    [{ CB: "999999999999" }, "success", [/^MONTANT9999999999,99 EUR$/m]],
    [{}, "success,AC=1\n2", [/^AUTORISATION 1\\x0a2$/m]],
    [{ CC: "00C" }, "success", [/^CHEQUE$/m]],
    [{ CE: "392", CB: "500" }, "success", [/^MONTANT +500 JPY$/m]],
    [{ CE: "933" }, "success", [/^MONTANT +11245 933$/m]],
  ];
  for (const [change, outcome, expected] of cases) {
    await using terminal = await terminalWith({ outcome });
    const { ZT = "" } = await ask(terminal.port, { ...DEBIT_MESSAGE, ...change, CK: "100" });
    for (const line of expected) assert.match(decodeReceipts(ZT)[0]?.text ?? "", line);
  }
});

test("a receipt fits, whatever the POS puts on it", async () => {
  const odd = "&".repeat(24);
  for (const failure of ["timeout", "refused"]) {
    await using terminal = await terminalWith({ outcome: failure });
    const request = {
      ...DEBIT_MESSAGE,
      CB: odd,
      CD: "2",
      CC: "00E",
      CK: "111",
      CI: "3",
      AI: odd,
      CG: odd,
      AA: odd,
      AC: odd,
    };
    const { ZT = "" } = await ask(terminal.port, request);
    assert.equal(decodeReceipts(ZT)[0]?.format, "html");
  }
});

test("a duplicate is the last approved transaction of that cash register again", async () => {
  await using terminal = await terminalWith();
  const duplicate = (CA: string) => ask(terminal.port, { ...BASE, CA, CD: "3" });
  assert.equal((await duplicate("01")).AF, "10");
  const { AC } = await ask(terminal.port, DEBIT);
  terminal.nextOutcome("refused");
  await ask(terminal.port, { ...DEBIT_MESSAGE, CB: "99" });
  const again = await duplicate("01");
  assert.deepEqual([again.CD, again.AE, again.AC, again.CB, again.CE], [
    "3",
    "10",
    AC,
    "11245",
    "978",
  ]);
  const [receipt] = decodeReceipts(again.ZT ?? "");
  assert.match(receipt?.text ?? "", /^DUPLICATA$/m);
  assert.match(receipt?.text ?? "", /^DEBIT$/m);
  assert.equal((await duplicate("02")).AF, "10");

  terminal.nextOutcome("success,CA=77,CB=4");
  await ask(terminal.port, DEBIT);
  assert.equal((await duplicate("01")).CB, "4");
  terminal.nextOutcome("close,CB=5");
  await using lost = await Peer.connect(terminal.port);
  lost.send(`${DEBIT}\n`);
  await lost.closed;
  assert.equal((await duplicate("01")).CB, "5"); // a payment whose answer did not arrive
  terminal.nextOutcome("success,delay=0.2,CB=6");
  const slow = ask(terminal.port, DEBIT);
  while (terminal.transactions.at(-1)?.request.message["CD"] === "3") await sleep(1);
  assert.equal((await duplicate("01")).CB, "5"); // not yet the one that is under way
  await slow;
  await ask(terminal.port, DEBIT);

  const result = await pay({ host: "127.0.0.1", port: terminal.port, action: "duplicate" });
  assert.equal(result.status, "approved");
  assert.match(result.receipts?.[0]?.text ?? "", /^DUPLICATA$/m);
});

test("print: the text in ZT goes to the log", async () => {
  const log: string[] = [];
  await using terminal = await terminalWith({ log: (_level, text) => log.push(text) });
  const ZT = encodeReceipt({ copy: "customer", format: "text", text: "Merci\nà bientôt\x1b" });
  assert.deepEqual(await ask(terminal.port, { ...BASE, CD: "P", ZT }), {
    ...BASE,
    CD: "P",
    AE: "10",
  });
  assert.ok(log.includes("#1 printed:\n  Merci\n  à bientôt\\x1b"));
  await ask(terminal.port, { ...BASE, CD: "P", ZT: "not a receipt" });
  assert.ok(log.includes('#2 nothing to print in ZT: "not a receipt"'));
});

test("encodeReceipt() refuses what does not fit, decodeReceipts() what is none", () => {
  const receipt = { copy: "customer", format: "text", text: "x".repeat(675) } as const;
  assert.ok(encodeReceipt(receipt).length <= 999);
  assert.throws(
    () => encodeReceipt({ ...receipt, text: "x".repeat(676) }),
    /at most 675 characters, got 676/,
  );
  assert.throws(() => encodeReceipt({ ...receipt, text: "€" }), ProtocolError);
  assert.deepEqual(decodeReceipts(encodeReceipt(receipt)), [receipt]);
  for (const zt of ["", "garbage", "CK003100AK004a===", "AK004é=!="]) {
    assert.deepEqual(decodeReceipts(zt), []);
  }
});

// ---------------------------------------------------------------- the point of sale

/** The point of sale against a port of this machine. */
function payAt(port: number, options: PaymentOptions = {}) {
  return pay({ host: "127.0.0.1", port, amount: "112.45", timeout: 20, ...options });
}

/** Whether an error is of an exchange that ended so. */
function failed(status: ExchangeError["status"], expected = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ExchangeError, String(error));
    assert.equal(error.status, status);
    assert.match(error.message, expected);
    if (status !== "unreachable") assert.match(error.message, /check it on the terminal$/);
    return true;
  };
}

const APPROVAL = text({ ...DEBIT_MESSAGE, AE: "10", CC: "001", AC: "123456" });

test("pay() is approved, declined or accepted, and tells what was asked and answered", async () => {
  await using approving = await terminalWith();
  const approved = await payAt(approving.port);
  assert.equal(approved.status, "approved");
  assert.deepEqual(approved.request, DEBIT_MESSAGE);
  assert.deepEqual([approved.answer["CC"], approved.amount, approved.currency], [
    "001",
    "112.45",
    "EUR",
  ]);
  assert.equal("failure" in approved, false);
  assert.ok(approved.milliseconds >= 0);

  const accepted = await payAt(approving.port, { immediate: true });
  assert.deepEqual([accepted.status, accepted.request["BA"]], ["accepted", "1"]);

  await using refusing = await terminalWith({ outcome: "refused" });
  const { status, failure, amount } = await payAt(refusing.port);
  assert.deepEqual([status, failure, amount], [
    "declined",
    { code: "04", label: "refused", french: "refusée", detail: "" },
    "112.45",
  ]);
});

test("pay() sends the tags of the reference client, in its order", async () => {
  await using terminal = await terminalWith();
  const base = "CZ0040300CJ012012345678901CA00201";
  const cases: [options: PaymentOptions, request: string][] = [
    [{}, DEBIT],
    [{ amount: "-10" }, `${base}CE003978BA0010CD0011CB0041000`],
    [{ amount: "10", action: "credit" }, `${base}CE003978BA0010CD0011CB0041000`],
    [{ check: true }, `${base}CE003978BA0010CD0010CC00300CCB00511245`],
    [{ amount: "0.05" }, `${base}CE003978BA0010CD0010CB00205`],
    [{ immediate: true }, `${base}CE003978BA0011CD0010CB00511245`],
    [{ action: "cancel" }, `${base}CE003978BA0010CD0012CB00511245`],
    [{ action: "7" }, `${base}CE003978BA0010CD0017CB00511245`],
    [{ currency: "933:2" }, `${base}CE003933BA0010CD0010CB00511245`],
    [{ currency: "392:0", amount: "500" }, `${base}CE003392BA0010CD0010CB003500`],
    [{ tags: { CF: "é", BA: "" } }, `${base}CE003978CD0010CB00511245CF001é`],
  ];
  for (const [options, request] of cases) {
    const result = await payAt(terminal.port, options);
    assert.equal(text(result.request), request);
    assert.notEqual(result.status, "declined");
  }
  for (const [action, letter] of [["identify", "I"], ["duplicate", "3"], ["b", "B"]] as const) {
    const result = await pay({ host: "127.0.0.1", port: terminal.port, action });
    assert.equal(text(result.request), `${base}CD001${letter}`);
    assert.deepEqual([result.status, result.amount], ["approved", undefined]);
  }
});

test("pay() sends nothing when an option is not as it must be", async () => {
  const events: TerminalEvent[] = [];
  await using terminal = await terminalWith({ onEvent: (event) => void events.push(event) });
  const cases: [options: PaymentOptions, expected: RegExp][] = [
    [{ amount: "0" }, /^amount: expected an amount other than zero, got "0"$/],
    [{ amount: "-0.00" }, /^amount: expected an amount other than zero/],
    [{ amount: "1.005" }, /^amount: expected at most 2 decimals, got "1.005"$/],
    [{ amount: "10000000000" }, /^amount: expected at most 12 digits/],
    [
      { amount: "-10", action: "debit" },
      /^amount: expected no sign with an action other than credit/,
    ],
    [{ amount: 10 as unknown as string }, /^amount: expected text such as "112.45", got 10$/],
    [{ amount: "10", action: "identify" }, /^amount: expected none with an action without money/],
    [{ action: "refund" }, /^action: expected one of debit, credit, .* got "refund"$/],
    [
      { currency: "EURO" },
      /^currency: expected three letters of ISO 4217, or .* 933:2, got "EURO"$/,
    ],
    [{ port: 0 }, /^port: expected a whole number from 1 to 65535, got 0$/],
    [{ timeout: 0 }, /^timeout: expected/],
    [{ tags: { cf: "1" } }, /tag "cf": expected two letters A-Z/],
    [{ tags: { CF: "€" } }, /tag CF: expected characters of Latin-1/],
    [{ tags: JSON.parse('{"__proto__":"x"}') }, /tag "__proto__": expected two letters A-Z/],
    [
      { tags: { CZ: "", CJ: "", CA: "", CE: "", BA: "", CD: "", CB: "" } },
      /^expected a request, got no tag$/,
    ],
  ];
  for (const [options, message] of cases) {
    await assert.rejects(payAt(terminal.port, options), { message });
  }
  const { amount: _, ...noAmount }: PaymentOptions = { amount: "1", port: terminal.port };
  await assert.rejects(pay(noAmount), /^OptionError: amount: expected an amount such as 112.45/);
  assert.deepEqual(events.map(({ event }) => event), ["listening"]);
});

test("pay() reads an answer split anywhere, with line ends around it, and padded with zeros", async () => {
  for (const outcome of ["split", "dribble", "success,CB=000000011245", "abandon,split"]) {
    await using terminal = await terminalWith({ outcome });
    const { status } = await payAt(terminal.port);
    assert.equal(status, outcome.startsWith("abandon") ? "declined" : "approved", outcome);
  }
  for (const pieces of [["\r\n", `${APPROVAL}\n`], [`${APPROVAL}\r\n`], [`\r${APPROVAL}\n\n`]]) {
    await using terminal = await answering(...pieces);
    assert.equal(
      (await payAt(terminal.port, { settle: 10_000 })).status,
      "approved",
      pieces.join("|"),
    );
  }
  await using closing = await terminalWith({ outcome: "hangup" });
  assert.equal((await payAt(closing.port, { settle: 10_000 })).status, "approved");
});

test("pay() waits longer for the rest of an answer that does not fit yet", async () => {
  for (
    const [first, rest, expected] of [
      ["CZ0040300AE00210", "CA00201CE003978CD0010CB00511245", "approved"],
      ["CZ0040300AE00201", "AF00204CA00201", "declined"],
    ] as const
  ) {
    await using terminal = await answering(first, rest);
    const { status, answer } = await payAt(terminal.port, { settle: 5 }); // less than between pieces
    assert.deepEqual([status, text(answer)], [expected, first + rest]);
  }
});

test("pay() is not misled by an AE 11 that comes in parts", async () => {
  await using terminal = await answering(
    "CZ0040300AE00211",
    "CA00201CE003978CD0010CB00511245",
    APPROVAL,
  );
  assert.equal((await payAt(terminal.port, { settle: 5 })).status, "approved");
});

test("pay() gives up on an answer that does not fit yet when the time is up", async () => {
  await using terminal = await answering("CZ0040300AE00210");
  const paid = payAt(terminal.port, { timeout: 0.3 });
  await assert.rejects(paid, failed("unanswered", /after a part of an answer, "CZ0040300AE00210"/));
});

test("pay() takes a whole answer though the connection breaks or the time is up after it", async () => {
  await using breaking = await answering(APPROVAL, "reset");
  assert.equal((await payAt(breaking.port, { settle: 10_000 })).status, "approved");
  await using open = await terminalWith({ outcome: "refused" });
  const { status, failure } = await payAt(open.port, { settle: 10_000, timeout: 0.3 });
  assert.deepEqual([status, failure?.code], ["declined", "04"]);
});

test("pay() takes the first of two answers, and leaves no timer behind", async () => {
  const log: string[] = [];
  await using terminal = await answering(`${APPROVAL}\n${DEBIT}AE00201AF00204`);
  const result = await payAt(terminal.port, {
    settle: 50,
    log: (direction) => log.push(direction),
  });
  assert.equal(result.status, "approved");
  await sleep(100);
  assert.deepEqual(log, ["sent", "received"]);
});

test("pay() waits after AE 11 for the final answer, unless it asked for an answer at once", async () => {
  await using terminal = await terminalWith({ outcome: "refused,pending,delay=0.3" });
  const { status, milliseconds } = await payAt(terminal.port);
  assert.equal(status, "declined");
  assert.ok(milliseconds >= 290, `${milliseconds} ms`);
  terminal.nextOutcome("pending,delay=0", "AE=10");
  assert.equal((await payAt(terminal.port)).status, "approved");
  assert.equal((await payAt(terminal.port, { immediate: true })).status, "accepted");
  terminal.nextOutcome("pending,close,delay=0.2");
  await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
    assert.equal(error.answer?.["AE"], "11");
    return failed("unanswered", /closed the connection after AE 11; .*check it on/)(error);
  });
});

test("pay() tells a payment in part when the POS allowed it", async () => {
  await using terminal = await terminalWith({ outcome: "success,CB=00500" });
  const result = await payAt(terminal.port, { tags: { BF: "1" } });
  assert.deepEqual([result.status, result.amount, result.asked], ["approved", "5.00", "112.45"]);
});

test("pay() says when no terminal can be reached", async () => {
  const terminal = await terminalWith();
  await terminal.close();
  await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
    assert.deepEqual(error.request, DEBIT_MESSAGE);
    return failed(
      "unreachable",
      /^cannot reach the terminal at 127\.0\.0\.1 port \d+: nothing listens there; check its address/,
    )(error);
  });
  const nowhere = payAt(8888, { host: "nohost.invalid" });
  await assert.rejects(nowhere, failed("unreachable", /nohost\.invalid port 8888: /));
});

test("pay() says that the payment may have gone through when no whole answer comes", async () => {
  const cases: [outcome: string, expected: RegExp][] = [
    ["silent", /^no answer from 127\.0\.0\.1 port \d+ within 0\.5 s; the payment may/],
    ["success,AE=,CC=", /within 0\.5 s after a part of an answer, "CZ0040300CJ/],
    ["close", /closed the connection without an answer; /],
    ["truncate", /closed the connection after a part of an answer, "CZ0040300CJ.*CG00642424"; /],
    ["reset", /^the connection was lost \(ECONNRESET\); /],
  ];
  for (const [outcome, expected] of cases) {
    await using terminal = await terminalWith({ outcome });
    await assert.rejects(payAt(terminal.port, { timeout: 0.5 }), failed("unanswered", expected));
  }
});

test("pay() says what is not usable about an answer", async () => {
  const rejected = (port: number, expected: RegExp) =>
    assert.rejects(payAt(port, { settle: 10 }), failed("invalid", expected));
  for (
    const [outcome, expected] of [
      ["garbage", /at byte 0: expected a tag of two letters A-Z, got "\\x00"/],
      ["success,CE=840", /expected CE to be "978" as in the request, got "840"/],
      ["success,CB=11246", /expected CB to be "11245"/],
      ["success,AE=99", /expected the status AE to be 01, 10, 11, got "99"/],
    ] as const
  ) {
    await using terminal = await terminalWith({ outcome });
    await rejected(terminal.port, expected);
  }
  for (
    const [answer, expected] of [
      ["HTTP/1.1 400 Bad Request\r\n\r\n", /this looks like HTTP/],
      [`${APPROVAL}AE00201`, /tag AE is there twice/],
      [`${DEBIT}\r\n`, /got none/],
    ] as const
  ) {
    await using terminal = await answering(answer);
    await rejected(terminal.port, expected);
  }
});

test("a signal gives up on a payment, and the error says whether it was sent", async () => {
  await using terminal = await terminalWith({ duration: 60 });
  const sent = new AbortController();
  const options = { signal: sent.signal, log: () => sent.abort("enough") };
  await assert.rejects(payAt(terminal.port, options), (error: ExchangeError) => {
    assert.equal(error.cause, "enough");
    return failed("unanswered", /^given up; /)(error);
  });
  const never = payAt(terminal.port, { signal: AbortSignal.abort() });
  await assert.rejects(never, failed("unreachable", /port \d+: given up$/));
});

test("exchange() sends any request and gives the answer whatever it says", async () => {
  await using terminal = await terminalWith({ outcome: "forbidden" });
  const where = { host: "127.0.0.1", port: terminal.port };
  const log: string[] = [];
  const request = { ...DEBIT_MESSAGE, CF: "é" };
  const answer = await exchange(request, {
    ...where,
    log: (...[how, raw]) => log.push(`${how} ${raw}`),
  });
  assert.deepEqual(answer, { ...request, AE: "01", AF: "05" });
  assert.deepEqual(log, [`sent ${text(request)}`, `received ${text(answer)}`]);
  await assert.rejects(exchange({ CZ: "" }, where), ProtocolError);
});

test(
  "other currencies are looked up, with the number and decimals that they have",
  needsCurrencies,
  async () => {
    await using terminal = await terminalWith();
    for (
      const [currency, amount, CE, CB] of [
        ["usd", "112.45", "840", "11245"],
        ["JPY", "500", "392", "500"],
        ["BHD", "1.005", "048", "1005"],
      ] as const
    ) {
      const { request, ...result } = await payAt(terminal.port, { currency, amount });
      assert.deepEqual([request["CE"], request["CB"]], [CE, CB]);
      assert.deepEqual([result.amount, result.currency], [amount, currency.toUpperCase()]);
    }
    await assert.rejects(
      payAt(terminal.port, { currency: "JPY", amount: "1.5" }),
      /expected no decimals/,
    );
    await assert.rejects(
      payAt(terminal.port, { currency: "BYN" }),
      /expected one that .* 933:2, got "BYN"/,
    );
  },
);

// ---------------------------------------------------------------- the fake terminals that people wrote

test("as the reference server: success, four failures, a delay, cheque, immediate answer", async () => {
  await using terminal = await terminalWith({ duration: 0.1 });
  for (
    const [failure, code] of [["abandon", "11"], ["timeout", "08"], ["refused", "04"], [
      "forbidden",
      "05",
    ]]
  ) {
    terminal.nextOutcome(failure!);
    assert.equal((await payAt(terminal.port)).failure?.code, code);
  }
  const { status, milliseconds } = await payAt(terminal.port);
  assert.deepEqual([status, milliseconds >= 99], ["approved", true]);
  assert.equal((await payAt(terminal.port, { check: true })).answer["CC"], "00C");
  assert.equal((await payAt(terminal.port, { immediate: true })).status, "accepted");
});

test("as its fork with a web page: outcome and delay changed while it runs, what happens seen", async () => {
  let outcome = "success";
  const events: string[] = [];
  const onEvent = ({ event }: TerminalEvent) => void events.push(event);
  await using terminal = await terminalWith({ outcome: () => outcome, onEvent });
  assert.equal((await payAt(terminal.port)).status, "approved");
  outcome = "forbidden,delay=0.1";
  assert.equal((await payAt(terminal.port)).failure?.code, "05");
  assert.deepEqual(events.filter((event) => event !== "closed"), [
    "listening",
    "request",
    "answer",
    "request",
    "answer",
  ]);
});

test("as the Odoo module's: whatever an answer can do to a POS, and what the POS sent", async () => {
  await using terminal = await terminalWith();
  const statuses: [outcome: string, status: string][] = [
    ["success", "approved"],
    ["refused", "declined"],
    ["success,split", "approved"],
    ["success,dribble", "approved"],
    ["success,delay=0.1", "approved"],
    ["success,CB=000000011245", "approved"],
    ["success,hangup", "approved"],
    ["06", "declined"],
    ["success,CE=840", "invalid"],
    ["garbage", "invalid"],
    ["silent", "unanswered"],
  ];
  for (const [outcome, expected] of statuses) {
    terminal.nextOutcome(outcome);
    const result = payAt(terminal.port, { timeout: outcome === "silent" ? 0.3 : 20 });
    const { status } = await result.catch((error) => error);
    assert.equal(status, expected, outcome);
    assert.deepEqual(terminal.transactions.at(-1)?.request.message, DEBIT_MESSAGE);
  }
});

test("as the shop bridge's: amounts choose the outcome, delays and log are the test's", async () => {
  const log: string[] = [];
  await using terminal = await terminalWith({
    when: { "*01": "11", "*02": "silent", "*03": "pending,delay=0.1" },
    log: (_level, text) => log.push(text),
  });
  assert.equal((await payAt(terminal.port, { amount: "10.01" })).failure?.code, "11");
  await assert.rejects(
    payAt(terminal.port, { amount: "10.02", timeout: 0.3 }),
    failed("unanswered"),
  );
  assert.equal((await payAt(terminal.port, { amount: "10.03" })).status, "approved");
  assert.equal((await payAt(terminal.port, { amount: "10.04" })).status, "approved");
  assert.ok(log.some((text) => /received: .*1003/.test(text)));
});

test("as the salon bridge's: one outcome or another after a delay, here or by calling the POS back", async () => {
  let count = 0;
  await using terminal = await terminalWith({
    outcome: () => count++ % 2 ? "refused" : "success",
    duration: 0.05,
  });
  const statuses = [(await payAt(terminal.port)).status, (await payAt(terminal.port)).status];
  assert.deepEqual(statuses, ["approved", "declined"]);

  const called = Promise.withResolvers<Message>();
  const pos = net.createServer((socket) => {
    socket.once("data", (chunk: Uint8Array) => {
      called.resolve(decode(chunk));
      socket.end();
    });
  });
  pos.listen(0, "127.0.0.1");
  await once(pos, "listening");
  await using calling = await terminalWith({
    outcome: async (request) => {
      const { port } = pos.address() as net.AddressInfo;
      await using peer = await Peer.connect(port);
      peer.send(text({ ...request, AE: "10" }));
      await peer.closed;
      return "close";
    },
  });
  await assert.rejects(payAt(calling.port), failed("unanswered"));
  assert.deepEqual(await called.promise, { ...DEBIT_MESSAGE, AE: "10" });
  await new Promise((resolve) => pos.close(resolve));
});

// ---------------------------------------------------------------- the commands

/** The terminal as a command on a free port, once it listens. */
async function serverCommand(...args: string[]): Promise<{ command: Command; port: string }> {
  const command = Command.start("server.ts", "-p", "0", "--host", "127.0.0.1", ...args);
  return { command, port: await command.prints("stderr", /listening on 127\.0\.0\.1 port (\d+)/) };
}

test("server.ts and client.ts: payment, refund, cheque, identification, answer at once", async () => {
  const { command, port } = await serverCommand(
    "-d",
    "0.05",
    "-pt",
    "AmexContactless",
    "-sc",
    "12345",
  );
  await using _server = command;
  const cases: [args: string[], expected: RegExp][] = [
    [
      [],
      /^APPROVED 112\.45 EUR, American Express contactless \(American Express sans contact\), card \d{6}######\d{4}, authorisation \d{6}\n$/,
    ],
    [["-a", "-10"], /^APPROVED credit \(crédit\) 10\.00 EUR, American/],
    [["-ck", "-c", "eur"], /^APPROVED 112\.45 EUR, cheque \(chèque\)\n$/],
    [["--action", "identify"], /^APPROVED identification\n$/],
    [
      ["--immediate", "--settle", "20"],
      /^ACCEPTED 112\.45 EUR: the terminal has taken it into account/,
    ],
    [["--tag", "CF=a=b", "--tag=BA=", "-l", "error"], /^APPROVED 112\.45 EUR/],
  ];
  for (const [args, expected] of cases) {
    const { status, stdout, stderr } = await run("client.ts", "-p", port, ...args);
    assert.match(stdout, expected);
    assert.equal(status, 0);
    if (args.includes("error")) assert.equal(stderr, "");
    else {assert.match(
        stderr,
        /^sent: CZ0040300[^]*\n {2}CD . +action: [^]*received: CZ0040300[^]*AE 1/,
      );}
  }
  await command.prints("stderr", /CF003a=b/);
  await command.prints("stderr", /CG 12345 +merchant contract number/);
});

test("server.ts and client.ts: a decline, as text and as JSON", async () => {
  const { command, port } = await serverCommand("-f", "-ft", "Refused", "-d", "0");
  await using _server = command;
  const person = await run("client.ts", "-p", port);
  assert.deepEqual([person.status, person.stdout], [
    1,
    "DECLINED 112.45 EUR: refused (refusée), AF 04\n",
  ]);
  const { status, stdout } = await run("client.ts", "-p", port, "--json", "-a", "5");
  const { milliseconds, ...result } = JSON.parse(stdout);
  const request = { ...DEBIT_MESSAGE, CB: "500" };
  assert.equal(status, 1);
  assert.equal(typeof milliseconds, "number");
  assert.deepEqual(result, {
    status: "declined",
    failure: { code: "04", label: "refused", french: "refusée", detail: "" },
    request,
    answer: { ...request, AE: "01", AF: "04" },
    amount: "5.00",
    currency: "EUR",
  });
});

test("client.ts tells by its exit status that nothing was reached, answered or usable", async () => {
  await using silent = await terminalWith({ outcome: "silent" });
  await using wrong = await terminalWith({ outcome: "success,CE=840" });
  const closed = await terminalWith();
  await closed.close();
  const cases: [port: number, status: number, word: string, expected: RegExp][] = [
    [
      closed.port,
      3,
      "unreachable",
      /^client\.ts: cannot reach the terminal at 127\.0\.0\.1 port \d+: nothing/,
    ],
    [
      silent.port,
      4,
      "unanswered",
      /^client\.ts: no answer .* within 0\.3 s; the payment may have gone through/,
    ],
    [wrong.port, 5, "invalid", /^client\.ts: the answer is not usable: expected CE to be "978"/],
  ];
  for (const [port, expectedStatus, word, expected] of cases) {
    const args = ["-p", `${port}`, "--json", "-l", "error", "--timeout", "0.3", "-c", "eur"];
    const { status, stdout, stderr } = await run("client.ts", ...args);
    assert.equal(status, expectedStatus);
    assert.match(stderr, expected);
    assert.equal(stderr.trim().split("\n").length, 1);
    const result = JSON.parse(stdout);
    assert.deepEqual([result.status, result.request, result.amount, result.currency], [
      word,
      DEBIT_MESSAGE,
      "112.45",
      "EUR",
    ]);
    assert.equal(`client.ts: ${result.error}\n`, stderr);
  }
});

test("wrong arguments: one line that says what was expected, exit status 2", patience, async () => {
  const cases: [script: "client.ts" | "server.ts", args: string[], expected: RegExp][] = [
    ["server.ts", ["-p", "65536"], /^--port: expected a whole number from 0 to 65535, got 65536/],
    [
      "server.ts",
      ["-l", "loud"],
      /^--log-level: expected one of debug, info, warn, error, got "loud"/,
    ],
    [
      "server.ts",
      ["-ft", "maybe"],
      /^--failure-type: expected one of abandon, timeout, refused, forbidden/,
    ],
    ["server.ts", ["-pt", "visa"], /^--payment-type: expected one of cbcontact, .* got "visa"/],
    ["server.ts", ["-sc", "12345678901"], /^--seller-contract: expected 1 to 10 characters/],
    ["server.ts", ["-d", "soon"], /^--duration: expected a number such as 3 or 0\.5, got "soon"/],
    [
      "server.ts",
      ["--outcome", "refuse"],
      /^--outcome: expected words from success, .* got "refuse"/,
    ],
    ["server.ts", ["--outcome", "CF=€"], /^tag CF: expected characters of Latin-1, got "€"/],
    ["client.ts", ["-a", "-1.005", "-a", "-1.006"], /^--amount: .* decimals, got "-1\.006"/],
    ["server.ts", ["--next", "success,refused"], /^--next: expected at most one word of each kind/],
    ["server.ts", ["--when", "refused"], /^--when: expected AMOUNT=OUTCOME, got "refused"/],
    ["server.ts", ["--when", "1.5=refused"], /^--when: expected minor units such as 1234/],
    ["server.ts", ["--when", "5=04", "--when", "5=05"], /^--when: expected each amount once/],
    ["server.ts", ["--outcome", "refused", "-f"], /^--outcome: expected either this or --failure/],
    ["server.ts", ["-i"], /^--interactive: expected a terminal screen to ask on, got none/],
    ["server.ts", ["--unknown"], /'--unknown' \(--help/],
    ["server.ts", ["--outcom", "refused"], /'--outcom'; did you mean --outcome\?/],
    ["server.ts", ["--outcome", "succes,split"], /got "succes"; did you mean success\?/],
    ["client.ts", ["--destinaton", "localhost"], /'--destinaton'; did you mean --destination\?/],
    ["client.ts", ["--action", "identfy"], /got "identfy"; did you mean identify\?/],
    ["server.ts", ["extra"], /'extra'/],
    ["client.ts", ["-p", "0"], /^--port: expected a whole number from 1 to 65535, got 0/],
    ["client.ts", ["-a", "1.005"], /^--amount: expected at most 2 decimals, got "1\.005"/],
    ["client.ts", ["-a", "0"], /^--amount: expected an amount other than zero/],
    ["client.ts", ["-a"], /--amount/],
    ["client.ts", ["-d", "localhost:8888"], /^--destination: expected a host alone \(--port/],
    ["client.ts", ["--tag", "CF"], /^--tag: expected TAG=VALUE, got "CF"/],
    ["client.ts", ["--tag", "cf=1"], /^tag "cf": expected two letters A-Z/],
    ["client.ts", ["--action", "refund"], /^--action: expected one of debit, credit, /],
    ["client.ts", ["-c", "EURO"], /^--currency: expected three letters of ISO 4217/],
  ];
  await Promise.all(cases.map(async ([script, args, expected]) => {
    const { status, stdout, stderr } = await run(script, ...args);
    const [line, rest] = stderr.split("\n", 2);
    assert.equal(line?.slice(0, 11), `${script}: `);
    assert.match(line?.slice(11) ?? "", expected);
    assert.deepEqual([status, stdout, rest], [2, "", ""], args.join(" "));
  }));
});

test("client.ts says how to add the package that other currencies need", {
  skip: hasCurrencies && "the package iso4217 is installed",
}, async () => {
  const { status, stderr } = await run("client.ts", "-c", "USD", "-p", "1");
  // Bun fetches a package that is missing where there is no node_modules folder: then the terminal
  // is not reached.
  if (status === 3 && "bun" in process.versions) return;
  assert.equal(status, 2);
  assert.match(
    stderr,
    /^client\.ts: --currency: .*deno add npm:iso4217@0\.2\.0, bun add .* or npm install/,
  );
});

test("server.ts says in one line that it cannot listen, exit status 1", async () => {
  await using terminal = await terminalWith();
  for (
    const [host, port, expected] of [
      [
        "127.0.0.1",
        terminal.port,
        /host 127\.0\.0\.1, port \d+: the port is in use by another program\n$/,
      ],
      ["192.0.2.1", 0, /host 192\.0\.2\.1, port 0: this machine has no such address\n$/],
      ["nohost.invalid", 0, /host nohost\.invalid, port 0: .+\n$/],
    ] as const
  ) {
    const { status, stderr } = await run("server.ts", "--host", host, "-p", `${port}`);
    assert.match(stderr, expected);
    assert.match(stderr, /^server\.ts: cannot listen on [^\n]*\n$/);
    assert.equal(status, 1);
  }
});

test("server.ts stops at SIGINT and SIGTERM, a payment under way or not", async () => {
  for (const [signal, request] of [["SIGINT", DEBIT], ["SIGTERM", ""]] as const) {
    const { command, port } = await serverCommand("-d", "60");
    await using _server = command;
    await using peer = await Peer.connect(Number(port));
    peer.send(request);
    if (request) await command.prints("stderr", /received: /);
    const started = performance.now();
    command.signal(signal);
    assert.equal((await command.ran()).status, 0);
    assert.ok(performance.now() - started < 1000);
  }
});

test(
  "client.ts tells the outcome by its exit status though nobody reads what it prints",
  patience,
  async () => {
    await using terminal = await terminalWith({ outcome: "success,delay=0.3" });
    for (const args of [[], ["--json"], ["--receipt", "-l", "error"]]) {
      await using command = Command.start("client.ts", "-p", `${terminal.port}`, ...args);
      command.process.stdout!.destroy();
      command.process.stderr!.destroy();
      assert.equal((await command.ran()).status, 0, args.join(" "));
    }
  },
);

test("client.ts, interrupted while it waits, says that the payment may have gone through", async () => {
  await using silent = await terminalWith({ outcome: "silent" });
  await using command = Command.start("client.ts", "-p", `${silent.port}`);
  await command.prints("stderr", /sent: /);
  command.signal("SIGINT");
  const { status, stderr } = await command.ran();
  assert.match(stderr, /client\.ts: given up; the payment may have gone through/);
  assert.equal(status, 4);
});

test("server.ts --json prints what happens, one object a line, and the log stays on stderr", async () => {
  const args = [
    "--when",
    "*01=success,garbage",
    "--next",
    "refused",
    "--outcome",
    "silent",
    "--json",
    "-d",
    "0",
  ];
  await using command = Command.start("server.ts", "-p", "0", "--host", "127.0.0.1", ...args);
  const { port } = JSON.parse(await command.prints("stdout", /^{"event":"listening".*\n/));
  await ask(port, `${DEBIT}XX0011`);
  const garbage = await Peer.connect(port);
  garbage.send(text({ ...DEBIT_MESSAGE, CB: "101" }));
  await garbage.until(/garbage/);
  garbage.socket.destroy();
  await ask(port, "CZ0040300CB0x");
  await command.prints("stdout", /"closed","connection":3}/);
  const events: TerminalEvent[] = command.stdout.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(events.filter(({ event }) => event !== "closed"), [
    { event: "listening", host: "127.0.0.1", port },
    {
      event: "request",
      connection: 1,
      transaction: 1,
      raw: `${DEBIT}XX0011`,
      message: { ...DEBIT_MESSAGE, XX: "1" },
      warnings: ["XX: expected a tag of the protocol"],
    },
    {
      event: "answer",
      connection: 1,
      transaction: 1,
      outcome: "refused",
      raw: `${DEBIT}XX0011AE00201AF00204`,
      message: { ...DEBIT_MESSAGE, XX: "1", AE: "01", AF: "04" },
    },
    {
      event: "request",
      connection: 2,
      transaction: 2,
      raw: text({ ...DEBIT_MESSAGE, CB: "101" }),
      message: { ...DEBIT_MESSAGE, CB: "101" },
      warnings: [],
    },
    {
      event: "answer",
      connection: 2,
      transaction: 2,
      outcome: "success,garbage",
      raw: "\x00\xff?!garbage\r\n",
      message: {},
    },
    {
      event: "invalid",
      connection: 3,
      transaction: 3,
      error: 'at byte 12: expected the length of CB in three digits, got "x"',
      at: 12,
      raw: "CZ0040300CB0x",
      message: { CZ: "0300" },
      warnings: ['malformed at byte 12: expected the length of CB in three digits, got "x"'],
    },
    {
      event: "answer",
      connection: 3,
      transaction: 3,
      raw: "CZ0040300AE00201AF00209",
      message: { CZ: "0300", AE: "01", AF: "09" },
    },
  ]);
  assert.match(command.stderr, /info +#1 received: /);
});

test("server.ts --json stops when nobody reads it any more", async () => {
  await using command = Command.start(
    "server.ts",
    "-p",
    "0",
    "--host",
    "127.0.0.1",
    "-d",
    "0",
    "--json",
  );
  const { port } = JSON.parse(await command.prints("stdout", /^{"event":"listening".*\n/));
  command.process.stdout!.destroy();
  await using peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`.repeat(3));
  await peer.closed;
  const { status, stderr } = await command.ran();
  assert.equal(status, 0);
  assert.doesNotMatch(stderr, /EPIPE|^ +at /m);
});

test("client.ts --receipt shows the receipt before the result, and has it in --json", async () => {
  await using terminal = await terminalWith();
  const port = `${terminal.port}`;
  const { stdout } = await run("client.ts", "-p", port, "--receipt", "-l", "error");
  assert.match(
    stdout,
    /^ {2}SIMULATION SANS VALEUR\n[^]*\n {2}TICKET CLIENT\nAPPROVED 112\.45 EUR, .*\n$/,
  );
  const { receipts } = JSON.parse(
    (await run("client.ts", "-p", port, "--receipt", "--json")).stdout,
  );
  assert.match(receipts[0].text, /^SIMULATION SANS VALEUR\n/);
});

test("server.ts warns that -ft does nothing without -f", async () => {
  const { command } = await serverCommand("-ft", "refused");
  await using _server = command;
  assert.match(command.stderr, /warn +--failure-type is ignored without --failure\n.*success mode/);
});

test("--help names every option", async () => {
  for (
    const [script, expected] of [
      ["server.ts", [
        "-h",
        "-l",
        "-p",
        "-f",
        "-ft",
        "-d",
        "-pt",
        "-sc",
        "-i",
        "--host",
        "--settle",
        "--when",
        "--next",
        "--outcome",
        "--json",
        "--strict",
        "--exclusive",
      ]],
      ["client.ts", [
        "-h",
        "-l",
        "-d",
        "-p",
        "-a",
        "-ck",
        "-c",
        "--timeout",
        "--json",
        "--immediate",
        "--tag",
      ]],
    ] as const
  ) {
    const { status, stdout, stderr } = await run(script, "--help");
    assert.deepEqual([status, stderr], [0, ""]);
    for (const line of stdout.split("\n")) assert.ok(line.length <= 80, line);
    assert.deepEqual(await run(script, "--version"), {
      status: 0,
      stdout: `${config.version}\n`,
      stderr: "",
    });
    for (const option of expected) {
      assert.match(stdout, new RegExp(`^ +(-\\w+, +)?${option}\\b|^ +${option}\\b`, "m"));
    }
  }
});
