// SPDX-License-Identifier: GPL-3.0-or-later
// The language: tables, messages, where they end, conformance, receipts, amounts, what answers mean,
// the words for people, and what the commands share.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { parseArgs } from "node:util";
import {
  ACTIONS,
  answerPause,
  argumentError,
  CURRENCIES,
  cutFields,
  decode,
  decodeReceipts,
  describe,
  type Deviation,
  DEVIATIONS,
  deviations,
  encode,
  encodeReceipt,
  encodeText,
  fieldText,
  type FramerOwner,
  inRange,
  interpret,
  jsonLine,
  mandatoryTags,
  MAX_MESSAGE,
  meaning,
  type Message,
  MessageFramer,
  MessageReader,
  MISSING_TAGS_GAP,
  missingTags,
  moneyText,
  nearest,
  oneOf,
  OptionError,
  printable,
  printableLines,
  ProtocolError,
  readable,
  type Received,
  repeatedField,
  requestPause,
  seemsWhole,
  TAGS,
  toDecimal,
  toMinorUnits,
  type Verdict,
  type Warning,
} from "./protocol.ts";
import { BASE, DEBIT, DEBIT_MESSAGE, patience, table } from "./test_helpers.ts";

/** All messages of a stream, the last one ended by the end. */
function read(chunks: string[], onControl?: (characters: string) => void): Received[] {
  const reader = new MessageReader(MAX_MESSAGE, onControl);
  const received = chunks.flatMap((chunk) => reader.feed(chunk));
  const last = reader.end();
  return last ? [...received, last] : received;
}

/** What is wrong with the last message of a stream. */
function problem(raw: string): string | undefined {
  return read([raw]).at(-1)?.error?.message;
}

// ---------------------------------------------------------------- tables

test("every table has the codes of its tag's size, and every tag two letters", () => {
  for (const [tag, { size, codes, label }] of TAGS) {
    assert.match(tag, /^[A-Z]{2}$/);
    assert.notEqual(label, "");
    for (const code of codes?.keys() ?? []) assert.equal(code.length, size?.[0], `${tag} ${code}`);
  }
  const counts = ["CD", "AE", "AF", "CC", "CI", "BA"].map((tag) => TAGS.get(tag)?.codes?.size);
  assert.deepEqual([TAGS.size, ACTIONS.size, ...counts], [35, 8, 8, 3, 14, 37, 5, 2]);
});

test("an action that moves money needs six tags with values, any other four", () => {
  for (const action of ["0", "1", "2", "7"]) {
    assert.deepEqual(mandatoryTags(action), ["CZ", "CJ", "CA", "CB", "CD", "CE"], action);
  }
  for (const action of ["3", "I", "P", "B", "Z", "", undefined]) {
    assert.deepEqual(mandatoryTags(action), ["CZ", "CJ", "CA", "CD"], `${action}`);
  }
  assert.deepEqual(missingTags(DEBIT_MESSAGE), []);
  assert.deepEqual(missingTags({ CD: "0", CZ: "0300", CB: "" }), ["CJ", "CA", "CB", "CE"]);
  assert.deepEqual(missingTags({ CD: "I", CZ: "0300" }), ["CJ", "CA"]);
  assert.deepEqual(missingTags({}), ["CZ", "CJ", "CA", "CD"]);
});

// ---------------------------------------------------------------- messages

test("encode() writes tag, length and value, CZ first and the rest in order", () => {
  assert.equal(encodeText({ CB: "11245", CZ: "0300", CA: "01" }), "CZ0040300CB00511245CA00201");
  assert.equal(encodeText({ CF: "x".repeat(999) }), `CF999${"x".repeat(999)}`);
  assert.deepEqual([...encode({ CF: "é" })].slice(5), [0xe9]);
});

table<[message: Message, expected: RegExp]>("encode() names the tag that cannot be sent", {
  "lower case": [{ CZ: "0300", cb: "1" }, /tag "cb": expected two letters A-Z/],
  "three letters": [{ CBB: "1" }, /tag "CBB"/],
  "a line end": [{ "C\n": "1" }, /tag "C\\n"/],
  "a prototype": [JSON.parse('{"CZ":"0300","__proto__":"x"}'), /tag "__proto__": expected two/],
  "no character": [{ CB: "" }, /tag CB: expected text of 1 to 999 characters, got 0/],
  "1000 characters": [
    { CF: "x".repeat(1000) },
    /tag CF: expected text of 1 to 999 characters, got 1000/,
  ],
  "a character beyond Latin-1": [{ CF: "5 €" }, /tag CF: expected characters of Latin-1, got "€"/],
  "an emoji": [{ CF: "😀" }, /tag CF: expected characters of Latin-1, got "😀"/],
  "undefined": [{ CZ: undefined } as unknown as Message, /tag CZ: expected text/],
  "a number": [{ CF: 12 } as unknown as Message, /tag CF: expected text/],
}, ([message, expected]) => {
  assert.throws(() => encode(message), (error) => {
    assert.ok(error instanceof ProtocolError);
    assert.match(error.message, expected);
    return true;
  });
});

table<[raw: string, expected: Message]>("decode() reads what is seen in the field", {
  "the reference client": [DEBIT, DEBIT_MESSAGE],
  "a CJ of 3 characters": [
    "CZ0040300CJ003012CA00201CB0042500CD0010CE003978",
    { CZ: "0300", CJ: "012", CA: "01", CB: "2500", CD: "0", CE: "978" },
  ],
  "an Ingenico": [
    "CZ0040301CJ012330538600404CA00201CD001IAE00210",
    { CZ: "0301", CJ: "330538600404", CA: "01", CD: "I", AE: "10" },
  ],
  "an empty value and line ends around": [
    "\r\nCZ0040300CB000AE00201\r\n",
    { CZ: "0300", CB: "", AE: "01" },
  ],
  "a line end in a value": ["CZ0040300CF003é\r\n", { CZ: "0300", CF: "é\r\n" }],
  "a serial cancellation around": ["\x06\x04CZ0040300\x18\x18\x18\x04", { CZ: "0300" }],
}, ([raw, expected]) => {
  assert.deepEqual(decode(raw), expected);
  assert.deepEqual(decode(Uint8Array.from(raw, (char) => char.charCodeAt(0))), expected);
});

table<[raw: string, at: number, expected: RegExp]>("decode() says what is wrong and where", {
  "nothing": ["", 0, /expected a message, got nothing/],
  "line ends": ["\r\n", 0, /expected a message, got nothing/],
  "a lower-case tag": ["CZ0040300cb00211", 9, /at byte 9: expected a tag of two .*, got "c"/],
  "a digit in a tag": ["CZ0040300C100211", 10, /at byte 10: expected a tag/],
  "a letter in a length": [
    "CZ00x0300",
    4,
    /at byte 4: expected the length of CZ in three digits, got "x"/,
  ],
  "a line end in a length": [
    "CZ0040300CB0\r\n",
    12,
    /expected the length of CB in three digits, got "\\x0d"/,
  ],
  "cut in a tag": [
    "CZ0040300C",
    10,
    /expected the second letter of the tag after "C", got the end$/,
  ],
  "cut in a length": [
    "CZ0040300CB00",
    13,
    /expected the length of CB in three digits, got the end$/,
  ],
  "cut in a value": ["CZ0040300CJ01201234", 19, /expected 12 characters for CJ, got 5$/],
  "a tag twice": ["CZ0040300CB00212CA00201CB00213", 23, /tag CB is there twice/],
  "serial framing": ["\x02CZ0040300\x03", 0, /expected a tag of two letters A-Z, got "\\x02"/],
}, ([raw, at, expected]) => {
  assert.throws(() => decode(raw), (error) => {
    assert.ok(error instanceof ProtocolError);
    assert.match(error.message, expected);
    assert.equal(error.at, at);
    return true;
  });
});

table("decode() takes one message only", {
  "CZ again": "CZ0040300CZ0040300",
  "a line end between": "CZ0040300\r\nCZ0040300",
  "something else after it": "CZ0040300\n?",
}, (raw) => {
  assert.throws(() => decode(raw), /^ProtocolError: expected one message, got more after it$/);
});

test("bytes and characters are the same in both directions", () => {
  const value = String.fromCharCode(...Array.from({ length: 256 }, (_, code) => code));
  assert.deepEqual(decode(encode({ CZ: "0300", CF: value })), { CZ: "0300", CF: value });
});

test("a message object survives any tag", () => {
  const { message } = read(["CZ0040300__0011\n"])[0] ?? {};
  assert.deepEqual(message, { CZ: "0300" });
});

test("repeatedField() is the second of two fields of a tag, the message has the first", () => {
  const [received] = read([`${DEBIT}CF001aCF001bCB00212`]);
  assert.equal(received?.message["CF"], "a");
  assert.deepEqual(received && repeatedField(received), {
    tag: "CF",
    value: "b",
    at: DEBIT.length + 6,
  });
  assert.equal(read(["CZ0040300CF000CF001b"])[0]?.message["CF"], "");
  const [proper] = read([DEBIT]);
  assert.equal(proper && repeatedField(proper), undefined);
});

// ---------------------------------------------------------------- the reader

test("MessageReader gives the same messages however the stream is split", () => {
  const stream = `\r\n${DEBIT}\r\n\n${DEBIT}CZ0040300CB000CF003\r\nC\x06\x04CZ0040301`;
  const expected = read([stream]);
  assert.deepEqual(expected.map(({ raw }) => raw), [
    DEBIT,
    DEBIT,
    "CZ0040300CB000CF003\r\nC",
    "CZ0040301",
  ]);
  assert.deepEqual(expected.map(({ fields }) => fields.map(({ at }) => at)), [
    [0, 9, 26, 33, 41, 47, 53],
    [0, 9, 26, 33, 41, 47, 53],
    [0, 9, 14],
    [0],
  ]);
  assert.deepEqual(read([...stream]), expected);
  for (let at = 0; at <= stream.length; at++) {
    assert.deepEqual(read([stream.slice(0, at), stream.slice(at)]), expected, `split at ${at}`);
  }
});

test("MessageReader tells empty, incomplete, whole and malformed", () => {
  const reader = new MessageReader();
  const states: [chunk: string, state: string, message: Message][] = [
    ["", "empty", {}],
    ["\r\n", "empty", {}],
    ["C", "incomplete", {}],
    ["Z004030", "incomplete", {}],
    ["0", "whole", { CZ: "0300" }],
    ["CB", "incomplete", { CZ: "0300" }],
    ["000", "whole", { CZ: "0300", CB: "" }],
    ["\n", "empty", {}],
    ["CZ0040301CZ0", "incomplete", {}],
    ["1", "incomplete", {}],
    ["x", "malformed", {}],
    ["CZ0040300\n", "malformed", {}],
  ];
  for (const [chunk, state, message] of states) {
    reader.feed(chunk);
    assert.deepEqual([reader.state, reader.message], [state, message], chunk);
  }
  assert.equal(reader.end(), undefined);
});

test("MessageReader.end() gives what is there, if anything is, and goes on after it", () => {
  const reader = new MessageReader();
  assert.equal(reader.end(), undefined);
  reader.feed(DEBIT);
  assert.deepEqual(reader.end(), {
    raw: DEBIT,
    fields: read([DEBIT])[0]?.fields,
    message: DEBIT_MESSAGE,
  });
  assert.equal(reader.end(), undefined);
  reader.feed("CZ0040300CA002");
  const cut = reader.end();
  assert.deepEqual([cut?.raw, cut?.message], ["CZ0040300CA002", { CZ: "0300" }]);
  assert.equal(cut?.error?.message, "at byte 14: expected 2 characters for CA, got 0");
  assert.deepEqual([reader.state, reader.message], ["empty", {}]);
  reader.feed("CZ0040301");
  assert.deepEqual(reader.end()?.message, { CZ: "0301" });
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
  assert.match(
    received?.error?.message ?? "",
    /at most 131072 bytes$/,
  );
  assert.equal(reader.state, "malformed");
});

test("MessageReader takes a message of exactly its maximum, and refuses a byte more unread", () => {
  const [whole] = new MessageReader(DEBIT.length).feed(`${DEBIT}\n`);
  assert.deepEqual([whole?.raw, whole?.error], [DEBIT, undefined]);
  const [received] = new MessageReader(DEBIT.length - 1).feed(DEBIT.slice(0, -5));
  const expected = "expected the end of the message, which has at most 62 bytes";
  assert.equal(received?.error?.message, `at byte 58: ${expected}`);
});

/** The least time of the processor that something took in a few attempts: a stall takes none. */
function fastest(run: () => void): number {
  const times = Array.from({ length: 4 }, () => {
    const before = process.cpuUsage();
    run();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return Math.min(...times);
}

test("MessageReader takes linear time, wherever the chunks are cut", patience, () => {
  const message = `${DEBIT}CF400${"x".repeat(400)}\n`;
  const stream = message.repeat(8000);
  const inChunks = (size: number): number =>
    fastest(() => {
      const reader = new MessageReader();
      let count = 0;
      for (let at = 0; at < stream.length; at += size) {
        count += reader.feed(stream.slice(at, at + size)).length;
      }
      assert.equal(count, 8000);
    });
  const whole = inChunks(message.length * 140);
  const cut = inChunks(65_536);
  assert.ok(cut < 10 * whole, `${cut} ms cut inside fields, ${whole} ms between messages`);
  const one = inChunks(stream.length);
  assert.ok(one < 10 * whole, `${one} ms in one chunk, ${whole} ms in many`);
});

test("MessageReader takes linear time, byte by byte", patience, () => {
  const byBytes = (text: string): number =>
    fastest(() => {
      const reader = new MessageReader();
      for (const byte of text) assert.deepEqual(reader.feed(byte), []);
      assert.equal(reader.state, "whole");
    });
  const few = byBytes("CF008xxxxxxxx".repeat(1200));
  const many = byBytes("CF008xxxxxxxx".repeat(9600));
  assert.ok(many < 40 * few, `${many} ms for eight times as many as in ${few} ms`);
});

// ---------------------------------------------------------------- what else comes

test("control characters of the serial dialogue end a message, and are told", () => {
  const told: string[] = [];
  const received = read(
    ["\x06\x04", DEBIT, "\x04", `\r\n${DEBIT}\x18\x18`, "\x18\x04CZ0040300\r\n"],
    (characters) => told.push(characters),
  );
  assert.deepEqual(received.map(({ raw }) => raw), [DEBIT, DEBIT, "CZ0040300"]);
  assert.deepEqual(received.map(({ error }) => error), [undefined, undefined, undefined]);
  assert.deepEqual(told, ["\x06\x04", "\x04", "\x18\x18", "\x18\x04"]);
});

test("a message is ended by a control character before the next one comes", () => {
  for (const end of ["\x04", "\x06", "\x18", "\r", "\n"]) {
    const reader = new MessageReader();
    assert.deepEqual(reader.feed(DEBIT + end).map(({ raw }) => raw), [DEBIT]);
    assert.equal(reader.state, "empty");
  }
});

const V2 = "0100011245110978          A010B010";
const V3_LENGTH = String.fromCharCode(DEBIT.length);

table<[raw: string, expected: RegExp]>("an error tells what else it is that came", {
  "HTTP request": ["GET / HTTP/1.1\r\n", /; this looks like HTTP/],
  "HTTP answer": ["HTTP/1.1 400 Bad Request", /; this looks like HTTP/],
  "TLS": ["\x16\x03\x01\x02\x00", /; this looks like TLS/],
  "TLS alert": ["\x15\x03\x03\x00\x02\x02\x46", /; this looks like TLS/],
  "serial framing": [`\x02${DEBIT}\x03\x11`, /; this looks like serial framing \(STX\)/],
  "ENQ": ["\x05", /^at byte 0: .*; this looks like the serial dialogue \(ENQ\)/],
  "ENQ after a message": [`${DEBIT}\n\x05`, /^at byte 0: .* the serial dialogue \(ENQ\)/],
  "Concert V2 of 34 characters": [V2, /; this looks like Concert V2/],
  "Concert V2 of 33 characters": [V2.slice(1), /; this looks like Concert V2/],
  "Concert V2 in serial framing": [`\x02${V2}\x03\x1f`, /; this looks like Concert V2/],
  "Concert V2 of 33 in serial framing": [`\x02${V2.slice(1)}\x03\x1f`, /like Concert V2/],
  "a JSON object": ['{"amount":1}', /; this looks like JSON/],
  "a JSON list": [' [{"amount":1}]', /; this looks like JSON/],
  "XML": ["<?xml version='1.0'?>", /; this looks like XML/],
  "XML without a declaration": ["\n<SaleToPOIRequest>", /; this looks like XML/],
  "two bytes, big endian": [`\0${V3_LENGTH}${DEBIT}`, /; this looks like a length before/],
  "two bytes, little endian": [`${V3_LENGTH}\0${DEBIT}`, /; this looks like a length before/],
  "four bytes, big endian": [`\0\0\0${V3_LENGTH}${DEBIT}`, /; this looks like a length before/],
  "four bytes, little endian": [`${V3_LENGTH}\0\0\0${DEBIT}`, /; this looks like a length before/],
  "two digits": [`${DEBIT.length}${DEBIT}`, /; this looks like a length before/],
  "three digits": [`0${DEBIT.length}${DEBIT}`, /; this looks like a length before/],
  "four digits": [`00${DEBIT.length}${DEBIT}`, /; this looks like a length before/],
  "lower-case tags": [DEBIT.toLowerCase(), /"c"; this looks like a tag in lower-case letters$/],
  "one lower-case letter": ["Cz0040300", /; this looks like a tag in lower-case letters$/],
  "a lower-case tag later": [`${DEBIT}cf0011`, /; this looks like a tag in lower-case letters$/],
  "nothing known": ["?", /^at byte 0: expected a tag of two letters A-Z, got "\?"$/],
  "digits alone": ["0123456789", /^at byte 0: expected a tag of two letters A-Z, got "0"$/],
}, ([raw, expected]) => assert.match(problem(raw) ?? "", expected));

/** A string in UTF-8, as Latin-1 text. */
function utf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

table<[length: string, value: string, after: string]>(
  "an error tells a value in UTF-8 whose length counts characters",
  {
    "a last letter": ["004", "café", ""],
    "a last letter and a line end": ["004", "café", "\r\n"],
    "a letter in the middle": ["008", "téléphone".slice(0, 8), ""],
    "a letter in the middle, capitals after it": ["006", "ANDRÉE", ""],
    "before another field": ["004", "café", "CD0010"],
    "capitals before another field": ["006", "ANDRÉE", "CD0010"],
    "a separator": ["007", "one§two", "CD0010"],
    "three bytes": ["003", "5 €", "CD0010"],
    "an emoji, as Python counts": ["003", "ok😀", "CD0010"],
    "an emoji, as Java counts": ["004", "ok😀", "CD0010"],
  },
  ([length, value, after]) => {
    const hint = "; this looks like a CF in UTF-8 whose length counts characters: it counts bytes";
    const error = problem(`${DEBIT}CF${length}${utf8(value)}${after}`) ?? "";
    assert.ok(error.endsWith(hint), error);
  },
);

table<[raw: string, expected: RegExp | string]>(
  "an error suspects the length of the field before",
  {
    "too short": [
      "CZ0040300CB00411245CD0010",
      'at byte 18: expected a tag of two letters A-Z, got "5"; ' +
      "perhaps the length of CB before it, 004, is too short",
    ],
    "too long by one": [
      "CZ0040300CB00611245CD0010",
      'at byte 21: expected a tag of two letters A-Z, got "0"; ' +
      "perhaps the length of CB before it, 006, is too long",
    ],
    "too long by two": ["CZ0040300CB00711245CD0010", /perhaps .* CB before it, 007, is too long$/],
    "too long by four": ["CZ0040300CB00911245CD0010", /perhaps .* CB before it, 009, is too long$/],
    "too short, of UTF-8 whose length counts bytes": [
      `CZ0040300CF005${utf8("café")}12CD0010`,
      /perhaps the length of CF before it, 005, is too short$/,
    ],
    "none before it": ["CB00x", /^at byte 4: expected the length of CB in three digits, got "x"$/],
  },
  ([raw, expected]) => {
    if (typeof expected === "string") assert.equal(problem(raw), expected);
    else assert.match(problem(raw) ?? "", expected);
  },
);

// ---------------------------------------------------------------- the framer

/** Keeps the program busy: no timer ends meanwhile. */
function keepBusy(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/** A pause of a framer in these tests, in milliseconds; a timer of Node may end up to 1 ms early. */
const PAUSE = 40;

/** A framer, the messages it has told of, and when it told the first. */
function framing(
  pause: FramerOwner["pause"],
  { most, ...options }: Partial<FramerOwner> & { most?: number } = {},
): { framer: MessageFramer; told: string[]; first: Promise<number> } {
  const told: string[] = [];
  const first = Promise.withResolvers<number>();
  const onMessage = ({ raw, error }: Received): void => {
    told.push(error ? error.message : raw);
    first.resolve(performance.now());
  };
  const framer = new MessageFramer({ pause, onMessage, ...options }, most);
  return { framer, told, first: first.promise };
}

/** Waits until a timer has ended that is set now, and so any that was to end before. */
async function waitFor(milliseconds: number): Promise<void> {
  const { framer, first } = framing(() => milliseconds);
  framer.feed(DEBIT);
  await first;
}

test("MessageFramer takes whole fields as a message after a pause, and no sooner", async () => {
  const { framer, told, first } = framing(() => PAUSE);
  const fedAt = performance.now();
  framer.feed(DEBIT);
  assert.deepEqual([told, framer.state], [[], "whole"]);
  const took = await first - fedAt;
  assert.ok(took >= PAUSE - 1, `${took} ms`);
  assert.deepEqual([told, framer.state], [[DEBIT], "empty"]);
  await waitFor(2 * PAUSE);
  assert.deepEqual(told, [DEBIT]);
});

test("MessageFramer starts the pause again with each chunk", async () => {
  const { framer, told, first } = framing(() => PAUSE);
  framer.feed("CZ0040300");
  keepBusy(PAUSE);
  framer.feed("CA00201");
  keepBusy(PAUSE);
  framer.feed("CD001");
  await waitFor(2 * PAUSE);
  assert.deepEqual([told, framer.state], [[], "incomplete"]);
  assert.deepEqual(framer.message, { CZ: "0300", CA: "01" });
  const fedAt = performance.now();
  framer.feed("I");
  const took = await first - fedAt;
  assert.ok(took >= PAUSE - 1, `${took} ms`);
  assert.deepEqual(told, ["CZ0040300CA00201CD001I"]);
});

test("MessageFramer asks how long the pause is each time that the fields are whole", async () => {
  const asked: Message[] = [];
  const { framer, told, first } = framing((fields) => {
    asked.push({ ...fields });
    return missingTags(fields).length > 0 ? 600_000 : 20;
  });
  framer.feed("CZ0040300CJ003012CA");
  framer.feed("00201");
  framer.feed("CD001I");
  await first;
  assert.deepEqual(told, ["CZ0040300CJ003012CA00201CD001I"]);
  const part = { CZ: "0300", CJ: "012", CA: "01" };
  assert.deepEqual(asked, [part, { ...part, CD: "I" }]);
});

test("MessageFramer waits for ever at a pause of Infinity, and not at all at 0", async () => {
  const patient = framing(() => Infinity);
  patient.framer.feed(DEBIT);
  await waitFor(PAUSE);
  assert.deepEqual(patient.told, []);
  assert.equal(patient.framer.end()?.raw, DEBIT);
  assert.deepEqual(patient.told, []);
  const hasty = framing(() => 0);
  hasty.framer.feed(DEBIT);
  assert.deepEqual(hasty.told, [DEBIT]);
});

test("MessageFramer reads first what came while the program was busy", async () => {
  const { framer, told, first } = framing(() => PAUSE);
  await using server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = net.connect((server.address() as net.AddressInfo).port, "127.0.0.1");
  const [[socket]] = await Promise.all([once(server, "connection"), once(client, "connect")]);
  client.setEncoding("latin1").on("data", (chunk: string) => framer.feed(chunk));
  framer.feed("CZ0040300");
  await new Promise((resolve) => socket.end("AE00210", resolve));
  keepBusy(2 * PAUSE);
  await first;
  assert.deepEqual(told, ["CZ0040300AE00210"]);
  client.destroy();
});

test("MessageFramer takes a line end, control characters and the next CZ without a pause", () => {
  const controls: string[] = [];
  const { framer, told } = framing(() => PAUSE, { onControl: (text) => controls.push(text) });
  framer.feed(`${DEBIT}\r\nCZ0040300\x06\x04CZ0040301CZ0040302`);
  assert.deepEqual([told, controls], [[DEBIT, "CZ0040300", "CZ0040301"], ["\x06\x04"]]);
  assert.equal(framer.end()?.raw, "CZ0040302");
});

test("MessageFramer.end() gives what is left, and waits no longer", async () => {
  const { framer, told } = framing(() => PAUSE);
  assert.equal(framer.end(), undefined);
  framer.feed(DEBIT);
  assert.deepEqual(framer.end()?.message, DEBIT_MESSAGE);
  framer.feed("CZ00403");
  assert.match(framer.end()?.error?.message ?? "", /expected 4 characters for CZ, got 2$/);
  assert.deepEqual([framer.state, framer.end()], ["empty", undefined]);
  framer.feed(DEBIT);
  framer.end();
  framer.end = () => assert.fail("a timer is left behind");
  await waitFor(2 * PAUSE);
  assert.deepEqual(told, []);
});

test("MessageFramer tells a malformed message at once, and reads no more", () => {
  const { framer, told } = framing(() => PAUSE, { most: 20 });
  framer.feed(`${"CZ0040300"}\n?`);
  assert.deepEqual(told, [
    "CZ0040300",
    'at byte 0: expected a tag of two letters A-Z, got "?"',
  ]);
  framer.feed(DEBIT);
  assert.deepEqual([told.length, framer.state, framer.end()], [2, "malformed", undefined]);
  const long = framing(() => PAUSE, { most: 20 });
  long.framer.feed(DEBIT);
  assert.match(long.told[0] ?? "", /at most 20 bytes$/);
});

// ---------------------------------------------------------------- what shows and changes messages

test("cutFields() gives the fields that a text begins with, and the rest", () => {
  assert.deepEqual(cutFields(""), { fields: [], rest: "" });
  assert.deepEqual(cutFields("?CZ0040300"), { fields: [], rest: "?CZ0040300" });
  assert.deepEqual(cutFields("CZ0040300CF003a\nbCB000CZ0040301CJ012"), {
    fields: [
      { tag: "CZ", value: "0300", at: 0 },
      { tag: "CF", value: "a\nb", at: 9 },
      { tag: "CB", value: "", at: 17 },
      { tag: "CZ", value: "0301", at: 22 },
    ],
    rest: "CJ012",
  });
  for (const rest of ["C", "CZ", "CZ00", "CZ004", "CZ00403", "cz0011", "CZ+010", "\n"]) {
    assert.equal(cutFields(`${DEBIT}${rest}`).rest, rest);
  }
});

test("fieldText() is a field of any value, and puts together what cutFields() cut", () => {
  assert.equal(fieldText("CB", ""), "CB000");
  const { fields } = cutFields(DEBIT);
  assert.equal(fields.map(({ tag, value }) => fieldText(tag, value)).join(""), DEBIT);
});

test("readable() reads what there is of a message, and of a tag that comes twice the first", () => {
  assert.deepEqual(readable(`${DEBIT}CB00299CF`), DEBIT_MESSAGE);
  assert.deepEqual(readable("garbage"), {});
});

test("a request has a longer pause while a tag that it must hold is missing", () => {
  assert.equal(requestPause(DEBIT_MESSAGE, 50), 50);
  assert.equal(requestPause(BASE, 50), MISSING_TAGS_GAP);
  assert.equal(requestPause(BASE, 1000), 1000);
});

test("an answer has a longer pause while it lacks something, and none ends it without a status", () => {
  assert.equal(answerPause(DEBIT_MESSAGE, { ...DEBIT_MESSAGE, AE: "10" }, 50), 50);
  assert.equal(answerPause(DEBIT_MESSAGE, { AE: "10" }, 50), 500);
  assert.equal(answerPause(DEBIT_MESSAGE, DEBIT_MESSAGE, 50), Infinity);
});

// ---------------------------------------------------------------- conformance

/** What a request that comes as this text has that the protocol does not want. */
function deviationsOf(raw: string) {
  const [request] = read([raw]);
  assert.ok(request);
  return deviations(request);
}

type DeviationRow = [
  raw: string,
  code: Deviation["code"],
  text: string,
  tag: string | undefined,
  refused: "always" | "strict" | "never",
];

const deviating: Record<string, DeviationRow> = {
  "a byte that is no tag": [
    `${DEBIT}?`,
    "malformed",
    'malformed at byte 63: expected a tag of two letters A-Z, got "?"; ' +
    "perhaps the length of CB before it, 005, is too short",
    undefined,
    "always",
  ],
  "no currency": [
    DEBIT.replace("CE003978", ""),
    "missing-tags",
    "expected the mandatory tags CE",
    undefined,
    "always",
  ],
  "no identifier, no register": [
    "CZ0040300CD001I",
    "missing-tags",
    "expected the mandatory tags CJ, CA",
    undefined,
    "always",
  ],
  "a decimal amount": [
    DEBIT.replace("CB00511245", "CB006112.45"),
    "not-an-amount",
    'CB: expected minor units, 11245 for 112.45, got "112.45"',
    "CB",
    "always",
  ],
  "a negative amount": [
    DEBIT.replace("CB00511245", "CB006-11245"),
    "not-an-amount",
    'CB: expected minor units, 11245 for 112.45, got "-11245"',
    "CB",
    "always",
  ],
  "CZ last": [
    `${DEBIT.slice(9)}${DEBIT.slice(0, 9)}`.replace(/^/, "CF0011"),
    "order",
    "expected CZ to come first, got CF",
    undefined,
    "strict",
  ],
  "a tag twice": [
    `${DEBIT}CA00202`,
    "repeated-tag",
    "expected a tag at most once, got CA again at byte 63",
    "CA",
    "strict",
  ],
  "a tag of the terminal": [
    `${DEBIT}AC006123456`,
    "terminal-tag",
    "AC: expected from the terminal only",
    "AC",
    "strict",
  ],
  "length 000": [
    `${DEBIT}CF000`,
    "empty",
    "CF: expected the field to be left out, got length 000",
    "CF",
    "strict",
  ],
  "a CJ of 3 characters": [
    DEBIT.replace("CJ012012345678901", "CJ003012"),
    "size",
    "CJ: expected 12 characters, got 3",
    "CJ",
    "strict",
  ],
  "a contract of 11 characters": [
    `${DEBIT}CG01112345678901`,
    "size",
    "CG: expected 1 to 10 characters, got 11",
    "CG",
    "strict",
  ],
  "a letter in CK": [
    `${DEBIT}CK0031x0`,
    "not-digits",
    'CK: expected digits, got "1x0"',
    "CK",
    "strict",
  ],
  "an accent": [`${DEBIT}CH001é`, "not-ascii", 'CH: expected ASCII, got "é"', "CH", "strict"],
  "a control character": [
    `${DEBIT}CH001\x1b`,
    "not-ascii",
    'CH: expected ASCII, got "\\x1b"',
    "CH",
    "strict",
  ],
  "BA 7": [
    DEBIT.replace("BA0010", "BA0017"),
    "unknown-value",
    'BA: expected a known answer at once, got "7"',
    "BA",
    "strict",
  ],
  "an amount of zero": [
    DEBIT.replace("CB00511245", "CB00200"),
    "zero-amount",
    "CB: expected more than zero",
    "CB",
    "never",
  ],
  "an amount of one digit": [
    DEBIT.replace("CB00511245", "CB0015"),
    "one-digit-amount",
    "CB: expected 2 to 12 characters, got 1",
    "CB",
    "never",
  ],
  "an amount of 13 digits": [
    DEBIT.replace("CB00511245", "CB0131234567890123"),
    "size",
    "CB: expected 2 to 12 characters, got 13",
    "CB",
    "strict",
  ],
  "private data of 183 characters": [
    `${DEBIT}CF183${"x".repeat(183)}`,
    "private-data",
    "CF: expected 1 to 99 characters, got 183",
    "CF",
    "never",
  ],
  "private data with a separator": [
    `${DEBIT}CF003a§b`,
    "private-data",
    'CF: expected ASCII, got "a§b"',
    "CF",
    "never",
  ],
  "partial payment": [
    `${DEBIT}BF0011`,
    "partial-payment",
    "BF: expected none, newer Ingenico software fails on it",
    "BF",
    "never",
  ],
  "a tag of a vendor": [
    `${DEBIT}LB0011`,
    "unknown-tag",
    "LB: expected a tag of the protocol",
    "LB",
    "never",
  ],
  "CC 999": [
    `${DEBIT}CC003999`,
    "unknown-application",
    'CC: expected a known payment application, got "999"',
    "CC",
    "never",
  ],
  "CD T": [
    "CZ0040300CJ012012345678901CA00201CD001T",
    "unknown-action",
    'CD: expected a known action, got "T"',
    "CD",
    "never",
  ],
};

table("deviations() tells", deviating, ([raw, code, text, tag, refused]) => {
  const expected = tag === undefined ? { code, text } : { code, text, tag };
  const found = deviationsOf(raw);
  assert.deepEqual(code === "order" ? found.slice(0, 1) : found, [expected]);
  assert.equal(DEVIATIONS[code], refused);
});

test("deviations() tells every deviation that there is; the terminal tells what is late", () => {
  const codes = Object.values(deviating).map(([, code]) => code);
  assert.deepEqual(
    new Set<string>([...codes, "more", "late"]),
    new Set(Object.keys(DEVIATIONS)),
  );
  assert.deepEqual([DEVIATIONS["more"], DEVIATIONS["late"]], ["never", "strict"]);
});

test("deviations() finds nothing wrong with what the sources send", () => {
  for (
    const raw of [
      DEBIT,
      "CZ0040300CJ012247300123456CA00201CB00512345CD0010CE003978",
      "CZ0040300CJ012247300123456CA00201CB0046700CD0011CE003978BB0011CF0142023-05-04-010CK003100BH0100606060606",
      "CZ0040320CJ012012345678901CA00201CD001I",
    ]
  ) assert.deepEqual(deviationsOf(raw), []);
});

test("deviations() tells of each field by itself, also of one with the value of a bad amount", () => {
  const raw = DEBIT.replace("CB00511245", "CB003x.1").replace("CE003978", "CE003x.1");
  assert.deepEqual(deviationsOf(raw).map(({ code, tag }) => [code, tag]), [
    ["not-an-amount", "CB"],
    ["not-digits", "CE"],
  ]);
});

test("deviations() lists 20 and that there may be more, then the mandatory tags", () => {
  const found = deviationsOf(`CZ0040300${"AA000".repeat(13_000)}`);
  assert.equal(found.length, 23);
  assert.equal(found[0]?.code, "repeated-tag");
  assert.deepEqual(found.slice(-2), [
    { code: "more", text: "there may be more that is not listed here" },
    { code: "missing-tags", text: "expected the mandatory tags CJ, CA, CD" },
  ]);
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const fields = (count: number): string =>
    letters.slice(0, count).map((letter) => `X${letter}0011`).join("");
  assert.equal(deviationsOf(DEBIT + fields(20)).length, 20);
  assert.deepEqual(deviationsOf(DEBIT + fields(21)).map(({ code }) => code), [
    ...Array(20).fill("unknown-tag"),
    "more",
  ]);
});

test("deviations() finds an amount that is none after any number of others", () => {
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const vendors = letters.map((letter) => `X${letter}0011`).join("");
  const raw = `${DEBIT.replace("CB00511245", "")}${vendors}CB006112.45`;
  const found = deviationsOf(raw);
  assert.deepEqual(found.filter(({ code }) => DEVIATIONS[code] === "always"), [{
    code: "not-an-amount",
    text: 'CB: expected minor units, 11245 for 112.45, got "112.45"',
    tag: "CB",
  }]);
});

test("deviations() takes an amount for one only where money moves", () => {
  const raw = encodeText({ ...BASE, CD: "3", CB: "000", CE: "978" });
  assert.deepEqual(deviationsOf(raw), []);
  const letters = encodeText({ ...BASE, CD: "3", CB: "none", CE: "978" });
  assert.deepEqual(deviationsOf(letters), [
    { code: "not-digits", text: 'CB: expected digits, got "none"', tag: "CB" },
  ]);
});

// ---------------------------------------------------------------- receipts

const RECEIPT = { copy: "customer", format: "text", text: "x".repeat(675) } as const;

test("encodeReceipt() refuses what does not fit", () => {
  assert.ok(encodeReceipt(RECEIPT).length <= 999);
  assert.throws(
    () => encodeReceipt({ ...RECEIPT, text: "x".repeat(676) }),
    /at most 675 characters, got 676/,
  );
  assert.throws(() => encodeReceipt({ ...RECEIPT, text: "€" }), ProtocolError);
  assert.throws(() => encodeReceipt({ ...RECEIPT, text: "" }), ProtocolError);
});

test("decodeReceipts() reads what encodeReceipt() wrote", () => {
  for (const copy of ["customer", "merchant"] as const) {
    for (const format of ["text", "html"] as const) {
      for (const text of [RECEIPT.text, "D", "DÉ", "DÉB", "DÉBI\nT"]) {
        const receipt = { copy, format, text };
        assert.deepEqual(decodeReceipts(encodeReceipt(receipt)), [receipt]);
      }
    }
  }
});

/** A receipt whose base64 has a line feed after each 76 characters and at the end. */
function wrapped(text: string, kind = "100"): string {
  const base64 = btoa(text).replace(/.{1,76}/g, "$&\n");
  return encodeText({ CK: kind, AK: base64 });
}

test("decodeReceipts() reads base64 with line feeds, and a ZT that is one off", () => {
  for (const text of ["a".repeat(447), "b".repeat(448), "c".repeat(449)]) {
    const zt = wrapped(text, "110");
    const expected = [{ copy: "merchant", format: "text", text }];
    const warnings: Warning[] = [];
    const decoded = (zt: string) => decodeReceipts(zt, (warning) => warnings.push(warning));
    assert.deepEqual(decoded(zt), expected);
    assert.deepEqual(
      decoded(
        zt.replaceAll("\n", "\r\n").replace(/AK\d{3}/, (head) => {
          return `AK${Number(head.slice(2)) + Math.ceil(btoa(text).length / 76)}`;
        }),
      ),
      expected,
    );
    assert.deepEqual(decoded(zt.slice(0, -1)), expected, "one too short");
    assert.deepEqual(decoded(`${zt}\n`), expected, "one too long, by a line feed");
    assert.deepEqual(decoded(`${zt}A`), expected, "one too long, by a letter of the next tag");
    assert.deepEqual(warnings, []);
  }
  assert.equal(decodeReceipts("CK003100AK008REVCSVQ")[0]?.text, "DEBIT");
});

test("decodeReceipts() reads several receipts, each with the CK before it", () => {
  const zt = wrapped("one", "101") + encodeText({ CK: "110", AK: btoa("two") });
  assert.deepEqual(decodeReceipts(zt), [
    { copy: "customer", format: "html", text: "one" },
    { copy: "merchant", format: "text", text: "two" },
  ]);
});

table<[zt: string, text: string, tag: string]>("decodeReceipts() tells what it cannot read", {
  "nothing": ["", 'ZT: expected the fields CK and AK, got ""', "ZT"],
  "no fields": ["garbage\n", 'ZT: expected the fields CK and AK, got "garbage\\x0a"', "ZT"],
  "no AK": ["CK003100", 'ZT: expected the fields CK and AK, got "CK003100"', "ZT"],
  "two too short": [
    "CK003100AK008REVCSV",
    'ZT: expected the fields CK and AK, got "CK003100AK008REVCSV"',
    "ZT",
  ],
  "base64 of one character": ["CK003100AK004a===", 'AK: expected base64, got "a==="', "AK"],
  "no base64": ["AK004é=!=", 'AK: expected base64, got "é=!="', "AK"],
  "an empty AK": ["CK003100AK000", 'AK: expected base64, got ""', "AK"],
  "padding inside": ["AK009QQ==QQ==Q", 'AK: expected base64, got "QQ==QQ==Q"', "AK"],
  "what is long, cut at 40": [
    `AK050${"é".repeat(50)}`,
    `AK: expected base64, got "${"é".repeat(40)}..."`,
    "AK",
  ],
}, ([zt, text, tag]) => {
  const warnings: Warning[] = [];
  assert.deepEqual(decodeReceipts(zt, (warning) => warnings.push(warning)), []);
  assert.deepEqual(warnings, [{ code: "receipt", text, tag }]);
  assert.deepEqual(decodeReceipts(zt), []);
});

// ---------------------------------------------------------------- amounts

table<[amount: string, decimals: number, units: string, back?: string]>(
  "amounts go to minor units and back without floats",
  {
    "euros and cents": ["112.45", 2, "11245"],
    "no decimals given": ["10", 2, "1000", "10.00"],
    "negative": ["-10", 2, "-1000", "-10.00"],
    "less than one": ["0.05", 2, "5"],
    "one decimal given": ["0.5", 2, "50", "0.50"],
    "less than nothing, rounded to it": ["-0.00", 2, "0", "0.00"],
    "no decimals": ["0007", 0, "7", "7"],
    "three decimals": ["1.005", 3, "1005"],
    "the most": ["9999999999.99", 2, "999999999999"],
    "what a float gets wrong": ["4503599627.37", 2, "450359962737"],
  },
  ([amount, decimals, units, back = amount]) => {
    assert.equal(toMinorUnits(amount, decimals), units);
    assert.equal(toDecimal(units, decimals), back);
  },
);

test("toDecimal() takes zeros before, and nothing but digits", () => {
  assert.equal(toDecimal("000000011245", 2), "112.45");
  assert.throws(() => toDecimal("1.5", 2), RangeError);
  assert.throws(() => toDecimal("", 2), RangeError);
});

table<[amount: string, decimals: number, expected: RegExp]>(
  "toMinorUnits() refuses what is not exactly an amount",
  {
    "too many decimals": ["1.005", 2, /expected at most 2 decimals, got "1.005"/],
    "decimals where there are none": ["500.5", 0, /expected no decimals/],
    "a comma": [
      "112,45",
      2,
      /expected a decimal number with a dot, such as 112.45, got "112,45"/,
    ],
    "nothing": ["", 2, /got ""/],
    "an exponent": ["1e3", 2, /got "1e3"/],
    "no whole part": [".5", 2, /got ".5"/],
    "two signs": ["--1", 2, /got "--1"/],
    "13 digits": ["10000000000", 2, /expected at most 12 digits/],
  },
  ([amount, decimals, expected]) => {
    assert.throws(() => toMinorUnits(amount, decimals), (error) => {
      assert.ok(error instanceof RangeError);
      assert.match(error.message, expected);
      return true;
    });
  },
);

test("every currency stands under its own number", () => {
  for (const [number, currency] of CURRENCIES) assert.equal(currency.number, number);
});

test("moneyText() is for amounts in currencies common in France", () => {
  assert.equal(moneyText({ CB: "000000011245", CE: "978" }), "112.45 EUR");
  assert.equal(moneyText({ CB: "500", CE: "953" }), "500 XPF");
  assert.equal(moneyText({ CB: "500", CE: "999" }), undefined);
  assert.equal(moneyText({ CB: "5.00", CE: "978" }), undefined);
  assert.equal(moneyText({ CB: "500" }), undefined);
});

// ---------------------------------------------------------------- answers

/** A verdict of a decline. */
function declined(code: string, label: string, french: string, detail = ""): Verdict {
  return { status: "declined", failure: { code, label, french, detail } };
}

table<[change: Message, expected: Verdict, extra?: Message]>(
  "interpret() tells what an answer means",
  {
    "AE 10": [{ AE: "10" }, { status: "approved" }],
    "AE 10 with AF 01": [{ AE: "10", AF: "01" }, { status: "approved" }],
    "AE 10 with AF 01 and detail": [{ AE: "10", AF: "0151OK" }, { status: "approved" }],
    "AE 10 with an empty AF": [{ AE: "10", AF: "" }, { status: "approved" }],
    "zeros before the amount": [{ AE: "10", CB: "000000011245" }, { status: "approved" }],
    "a part of the amount": [{ AE: "10", CB: "500" }, { status: "approved" }, { BF: "1" }],
    "AE 11": [{ AE: "11" }, { status: "accepted" }],
    "AE 11 after BA 1": [{ AE: "11" }, { status: "accepted" }, { BA: "1" }],
    "AE 10 after BA 1": [{ AE: "10" }, { status: "accepted" }, { BA: "1" }],
    "AE 10 with a card after BA 1": [
      { AE: "10", AA: "497010######1234" },
      { status: "approved" },
      { BA: "1" },
    ],
    "AE 10 with an authorisation after BA 1": [
      { AE: "10", AC: "123456" },
      { status: "approved" },
      { BA: "1" },
    ],
    "AE 11 with an authorisation after BA 1": [
      { AE: "11", AC: "123456" },
      { status: "accepted" },
      { BA: "1" },
    ],
    "AE 10 with AF 01 after BA 1": [
      { AE: "10", AF: "0100" },
      { status: "accepted" },
      { BA: "1" },
    ],
    "AE 01 after BA 1": [
      { AE: "01", AF: "07" },
      declined("07", "not completed", "non aboutie"),
      { BA: "1" },
    ],
    "a refusal": [{ AE: "01", AF: "04" }, declined("04", "refused", "refusée")],
    "a refusal with detail": [
      { AE: "01", AF: "0451INSUFFICIENT FUNDS     " },
      declined("04", "refused", "refusée", "51INSUFFICIENT FUNDS"),
    ],
    "a reason that is not documented": [
      { AE: "01", AF: "77" },
      declined("77", "undocumented reason", "motif non documenté"),
    ],
    "no reason": [{ AE: "01" }, declined("", "no reason given", "motif non précisé")],
    "the red button of an Ingenico Desk/5000: an amount of zeros only": [
      { AE: "01", AF: "11", CB: "000000000000" },
      declined("11", "abandoned by the operator", "abandon opérateur"),
    ],
  },
  ([change, expected, extra]) => {
    const request = { ...DEBIT_MESSAGE, ...extra };
    assert.deepEqual(interpret(request, { ...request, ...change }), expected);
  },
);

const contradiction = (AF: string, extra?: Message): [Message, RegExp, Message?] => [
  { AE: "10", AF },
  new RegExp(`^expected no AF beside AE 10 but 01, got "${AF}"$`),
  ...(extra ? [extra] : []) as [Message?],
];

table<[change: Message, expected: RegExp, extra?: Message]>(
  "interpret() refuses what does not fit the request, or itself",
  {
    "another currency": [
      { AE: "10", CE: "840" },
      /^expected CE to be "978" as in the request, got "840"$/,
    ],
    "another register": [{ AE: "10", CA: "02" }, /expected CA to be "01"/],
    "another action": [{ AE: "10", CD: "1" }, /expected CD to be "0"/],
    "another amount": [{ AE: "10", CB: "500" }, /expected CB to be "11245"/],
    "more than was asked": [{ AE: "10", CB: "11246" }, /expected CB/, { BF: "1" }],
    "a part that is nothing": [{ AE: "10", CB: "00" }, /expected CB/, { BF: "1" }],
    "a card for another amount after BA 1": [
      { AE: "10", AA: "497010######1234", CB: "500" },
      /expected CB/,
      { BA: "1" },
    ],
    "a part without BF 1": [{ AE: "10", CB: "500" }, /expected CB/, { BF: "0" }],
    "an empty amount": [{ AE: "10", CB: "" }, /expected CB/],
    "an amount that is none": [{ AE: "10", CB: "112.45" }, /expected CB/],
    "AE 99": [{ AE: "99" }, /expected the status AE to be 01, 10, 11, got "99"/],
    "no AE": [{}, /got none/],
    "an AE that objects have": [{ AE: "constructor" }, /got "constructor"/],
    "AE 10 with AF 00": contradiction("00"),
    "AE 10 with AF 04": contradiction("04"),
    "AE 10 with AF 11": contradiction("11"),
    "AE 10 with AF 10": contradiction("10"),
    "AE 10 with AF 77": contradiction("77"),
    "AE 10 with half an AF": contradiction("0"),
    "AE 10 with AF 04 after BA 1": contradiction("0451REFUSED", { BA: "1" }),
  },
  ([change, expected, extra]) => {
    const request = { ...DEBIT_MESSAGE, ...extra };
    const verdict = interpret(request, { ...request, ...change });
    assert.equal(verdict.status, "invalid");
    assert.match(verdict.status === "invalid" ? verdict.error : "", expected);
  },
);

test("interpret() refuses an approval without the amount", () => {
  const { CB: _, ...withoutAmount } = DEBIT_MESSAGE;
  assert.equal(interpret(DEBIT_MESSAGE, { ...withoutAmount, AE: "10" }).status, "invalid");
});

test("seemsWhole() tells an answer that has its reason, or what the request had", () => {
  const { CB: _, ...withoutAmount } = DEBIT_MESSAGE;
  assert.equal(seemsWhole(DEBIT_MESSAGE, DEBIT_MESSAGE), false);
  assert.equal(seemsWhole(DEBIT_MESSAGE, { ...DEBIT_MESSAGE, AE: "10" }), true);
  assert.equal(seemsWhole(DEBIT_MESSAGE, { ...withoutAmount, AE: "10" }), false);
  assert.equal(seemsWhole(DEBIT_MESSAGE, { ...withoutAmount, AE: "11" }), false);
  assert.equal(seemsWhole(withoutAmount, { ...withoutAmount, AE: "10" }), true);
  assert.equal(seemsWhole(DEBIT_MESSAGE, { ...DEBIT_MESSAGE, AE: "01" }), false);
  assert.equal(seemsWhole(DEBIT_MESSAGE, { AE: "01", AF: "04" }), true);
});

// ---------------------------------------------------------------- for people

test("describe() explains every tag and code on a line, whatever the peer sent", () => {
  const lines = describe(decode(`${DEBIT}AE00201AF00204XX004a\n\x1b[CI0011`)).split("\n");
  assert.match(lines[0]!, /CZ 0300 +protocol version/);
  assert.match(lines[6]!, /CB 11245 +amount in minor units: 112\.45 EUR$/);
  assert.match(lines[5]!, /CD 0 +action: debit \(débit\)/);
  assert.match(lines[8]!, /AF 04 +failure: refused \(refusée\)/);
  assert.match(lines[9]!, /XX a\\x0a\\x1b\[ +unknown tag/);
  assert.match(lines[10]!, /CI 1 +read mode: contact$/);
});

test("describe() knows the applications and tags of HiPay and PayXpert", () => {
  const words = (message: Message): string => describe(message).replace(/ +/g, " ");
  assert.equal(words({ CC: "30F" }), " CC 30F payment application: PLBS-DCC-GB");
  assert.equal(words({ CC: "609" }), " CC 609 payment application: PNF-HPS");
  assert.equal(
    words({ CC: "701" }),
    " CC 701 payment application: PPFCA (Crédit Agricole)",
  );
  assert.equal(
    words({ AP: "2024-01-01", AQ: "S1", ID: "7", IM: "6" }),
    " AP 2024-01-01 date of the operation\n" +
      " AQ S1 serial number of the terminal\n" +
      " ID 7 transaction identifier\n" +
      " IM 6 identifier (ID) of the debit that a credit refers to",
  );
});

test("meaning() reads the first two characters of AF, and the whole of any other", () => {
  assert.equal(meaning("AF", "0451FUNDS")?.label, "refused");
  assert.equal(meaning("CC", "00C")?.french, "chèque");
  assert.equal(meaning("CC", "604")?.label, "Préauto-CM");
  assert.equal(meaning("CC", "00C1"), undefined);
  assert.equal(meaning("CB", "10"), undefined);
  assert.equal(meaning("XX", "10"), undefined);
  assert.equal(meaning("CC", undefined), undefined);
});

test("what a peer sent moves no cursor and forges no line", () => {
  assert.equal(printable("é\r\x9b\x00\x7f\xa0"), "é\\x0d\\x9b\\x00\\x7f\xa0");
  assert.equal(printableLines("a\r\nb\rc\n\x1b[1m"), "  a\n  b\n  c\n  \\x1b[1m");
  assert.equal(jsonLine({ a: "\x1b\x7f\x9b\xa0é\n" }), '{"a":"\\u001b\\u007f\\u009b\xa0é\\n"}\n');
});

// ---------------------------------------------------------------- the commands

table<[text: string, expected: string | undefined]>("nearest() knows what was perhaps meant", {
  "the word": ["refused", "refused"],
  "another case": ["REFUSED", "refused"],
  "a letter too many": ["reffused", "refused"],
  "two letters": ["rfsed", "refused"],
  "its start": ["unk", "unknown"],
  "three letters": ["rfsd", undefined],
  "something else": ["banana", undefined],
  "too short to be any": ["x", undefined],
  "nothing": ["", undefined],
}, ([text, expected]) => assert.equal(nearest(text, ["refused", "unknown", "on"]), expected));

test("oneOf() takes a word in any case, and suggests one", () => {
  assert.equal(oneOf("level", ["debug", "info"], "INFO"), "info");
  assert.throws(
    () => oneOf("level", ["debug", "info"], "inof"),
    /^OptionError: level: got "inof"; did you mean info\? \(expected one of debug, info\)$/,
  );
});

test("inRange() takes a number from the least to the greatest, and the default", () => {
  const option = { default: 5, min: 2, max: 10 };
  for (const number of [2, 2.5, 10]) assert.equal(inRange("delay", option, number), number);
  assert.equal(inRange("delay", option), 5);
  assert.equal(inRange("delay", {}, 0), 0);
  for (const number of [1.999, 10.001, NaN, Infinity, "5", null, {}]) {
    assert.throws(() => inRange("delay", option, number), (error) => {
      assert.ok(error instanceof OptionError);
      assert.equal(error.option, "delay");
      assert.match(error.problem, /^expected a number from 2 to 10, got /);
      return true;
    });
  }
  assert.throws(() => inRange("delay", {}, -1), /expected a number from 0 to Infinity, got -1$/);
  assert.throws(() => inRange("delay", {}), /got none$/);
});

test("inRange() takes whole numbers only where they must be", () => {
  const option = { min: 0, max: 65535, whole: true };
  assert.equal(inRange("port", option, 65535), 65535);
  assert.throws(
    () => inRange("port", option, 80.5),
    /^OptionError: port: expected a whole number from 0 to 65535, got 80.5$/,
  );
});

test("argumentError() says in one line what is wrong with the arguments, and with nothing else", () => {
  const help = "(--help lists the options)";
  const names = ["failure-type", "port", "json"];
  assert.equal(
    argumentError(new OptionError("failureType", "a word", "x\n"), names),
    `--failure-type: expected a word, got "x\\x0a" ${help}`,
  );
  assert.equal(argumentError(new ProtocolError("tag x"), names), `tag x ${help}`);
  const unknown = Object.assign(new Error("Unknown option '--prot'. To specify\nmore"), {
    code: "ERR_PARSE_ARGS_UNKNOWN_OPTION",
  });
  assert.equal(
    argumentError(unknown, names),
    `Unknown option '--prot'. To specify; did you mean --port? ${help}`,
  );
  for (const error of [new Error("else"), undefined, "text"]) {
    assert.equal(argumentError(error, names), undefined);
  }
});

table<[args: string[], expected: string]>("argumentError() says what parseArgs() means", {
  "a value that is missing": [
    ["--outcome"],
    "--outcome: expected a value, got none",
  ],
  "a value that begins as an option": [
    ["-d", "-1"],
    "--duration: expected a value; one that begins with - is written --duration=-1",
  ],
  "an option for a value": [
    ["--outcome", "--json"],
    "--outcome: expected a value; one that begins with - is written --outcome=-1",
  ],
  "a value of a flag": [["--json=1"], "--json: expected no value"],
  "a word alone": [
    ["refused"],
    'expected options, which begin with --, got "refused"; did you mean --outcome refused?',
  ],
}, ([args, expected]) => {
  const options = {
    outcome: { type: "string" },
    duration: { type: "string", short: "d" },
    json: { type: "boolean" },
  } as const;
  assert.throws(() => parseArgs({ args, options }), (error) => {
    const text = argumentError(error, Object.keys(options));
    assert.equal(text, `${expected} (--help lists the options)`);
    return true;
  });
});

// ---------------------------------------------------------------- properties

// Its types are not at hand where it is not installed.
// deno-lint-ignore no-explicit-any
const fc: any = await import("fast-check" as string).then(
  (module) => module.default ?? module,
  () => undefined,
);
const properties = { ...patience, skip: fc ? false : "the package fast-check is not installed" };

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
  const end = fc.constantFrom("", "\r", "\n", "\r\n", "\x06\x04", "\x18\x18\x18\x04");
  const ends = fc.array(end, { minLength: 4, maxLength: 4 });
  fc.assert(
    fc.property(messages, cuts, ends, (messages: Message[], cuts: number[], ends: string[]) => {
      const stream = messages.map((message, index) => encodeText(message) + ends[index]).join("");
      const sorted = [0, ...cuts.sort((a, b) => a - b), stream.length];
      const chunks = sorted.map((cut, index) =>
        stream.slice(cut, Math.max(cut, sorted[index + 1] ?? cut))
      );
      assert.deepEqual(read(chunks).map(({ message }) => message), messages);
    }),
  );
});

test("property: decode() never throws anything but the protocol's error", properties, () => {
  const codes = fc.array(
    fc.oneof(
      fc.constantFrom(..."CZAB0123\r\n\x04\x06\x18\xc3\xa9".split("").map((c) => c.charCodeAt(0))),
      fc.nat(255),
    ),
  );
  fc.assert(fc.property(codes, (codes: number[]) => {
    try {
      decode(Uint8Array.from(codes));
    } catch (error) {
      assert.ok(error instanceof ProtocolError);
    }
  }));
});

test("property: decodeReceipts() and deviations() take anything", properties, () => {
  const code = fc.oneof(
    fc.constantFrom(..."CKABZ01=".split("").map((c) => c.charCodeAt(0))),
    fc.nat(255),
  );
  fc.assert(fc.property(fc.array(code, { maxLength: 60 }), (codes: number[]) => {
    const text = String.fromCharCode(...codes);
    decodeReceipts(text, () => {});
    decodeReceipts(encodeText({ CK: "100", AK: text + "A" }), () => {});
    for (const received of read([`CZ0040300${text}`])) deviations(received);
  }));
});
