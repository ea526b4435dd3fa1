#!/usr/bin/env -S deno run
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Explains the messages of Caisse-AP over IP ("Concert V3") that stand in a log, a hex dump or a
 * capture: a line a field, with what it means, where it deviates, and what an answer says.
 *
 * ```sh
 * deno run workbench/decode.ts CZ0040320CJ012999999999999AE00201AF00204
 * deno run workbench/decode.ts AF
 * tcpdump -X -r capture.pcap | deno run workbench/decode.ts -
 * ```
 *
 * @example In a test, what a program has logged
 * ```ts
 * import assert from "node:assert/strict";
 * import { explain } from "./decode.ts";
 *
 * const [found] = explain("12:01 sent CZ0040300CJ012012345678901CA00201CD001I");
 * assert.deepEqual([found?.kind, found?.message.CD, found?.warnings], ["request", "I", []]);
 * ```
 *
 * @module
 */
import { Buffer, isUtf8 } from "node:buffer";
import process from "node:process";
import { parseArgs } from "node:util";
import { ACCEPTED, failureText, type Outputs, runCommand, shortened } from "../client.ts";
import {
  BETWEEN,
  decodeReceipts,
  describe,
  deviations,
  type Field,
  interpret,
  jsonLine,
  meaning,
  type Message,
  MessageReader,
  printable,
  printableLines,
  problemOf,
  ProtocolError,
  type Receipt,
  type Received,
  TAGS,
  type Verdict,
  VERSION,
  type Warning,
} from "../protocol.ts";

// ---------------------------------------------------------------- what is found

/** A message found in a text, and what it means. */
export interface Explained {
  /** An answer has AE, which no request has. What is malformed is no message. */
  kind: "request" | "answer" | "malformed";
  /** Its bytes as Latin-1 text. */
  raw: string;
  /** Its fields, as far as it could be read. */
  fields: readonly Field[];
  /** The same as an object. */
  message: Message;
  /** What deviates in a request, what cannot be read of an answer's receipt. */
  warnings: Warning[];
  /** What an answer means for the request before it; without one, what it means alone. */
  verdict?: Verdict;
  /** The receipts in an answer, decoded. */
  receipts?: Receipt[];
  /** Why it is malformed: at which byte of it, and what was expected there. */
  error?: string;
  /** What stands before it and is no message. */
  before?: string;
  /** What stands after it and is no message, if it is the last. */
  after?: string;
}

// ---------------------------------------------------------------- dumps

/** A line of a hex dump: indent, offset, bytes. Two blanks stand before the text, or amid 16 bytes. */
const DUMP_LINE =
  /^(\s*)(?:0x)?([\da-f]{4,8})(?::?\s+((?:[\da-f]{2} ){8}(?: [\da-f]{2}){1,8}(?=\s|$)|(?:[\da-f]{2} ?)+)(?:\s\s.*)?)?\s*$/i;

function fromHex(hex: string): string {
  return Buffer.from(hex.replace(/\s/g, ""), "hex").toString("latin1");
}

/** What a hex dump shows without a break. */
interface Packet {
  text: string;
  /** What is missing in it, or before it. */
  gap?: string;
  /** Where the rest of a message stands in it, whose begin is not there. */
  rest?: number;
}

/** Bytes before the head of IP: none, BSD's loopback, Ethernet, Linux' "any" (two), a VLAN. */
const LINKS = [0, 4, 14, 16, 20, 18];

/** What a packet of TCP carries: between whom, from which byte of it to which, and its number. */
function segmentIn(
  text: string,
): { from: string; to: string; at: number; end: number; sequence: string } | undefined {
  const bytes = Buffer.from(text, "latin1");
  for (const link of LINKS) {
    const first = bytes[link] ?? 0;
    const isOld = first >> 4 === 4; // IPv4
    const [size, field, protocol] = isOld ? [(first & 15) * 4, 2, 9] : [40, 4, 6];
    const tcp = link + size;
    const isTcp = bytes[link + protocol] === 6 && (isOld ? size >= 20 : first >> 4 === 6);
    if (!isTcp || bytes.length < tcp + 20) continue;
    const at = tcp + (bytes[tcp + 12]! >> 4) * 4;
    const length = link + bytes.readUInt16BE(link + field) + (isOld ? 0 : size);
    const end = length < at ? bytes.length : Math.min(length, bytes.length);
    const [sender, receiver] = isOld ? [12, 16] : [8, 24]; // to the end of the head
    const address = (from: number, to: number, port: number): string =>
      text.slice(link + from, link + to) + text.slice(port, port + 2);
    return {
      from: address(sender, receiver, tcp),
      to: address(receiver, isOld ? 20 : 40, tcp + 2),
      at,
      end,
      sequence: text.slice(tcp + 4, tcp + 8),
    };
  }
  return undefined;
}

/**
 * The bytes that a hex dump shows: one of xxd, hexdump -C, od -t x1, tcpdump -X or Wireshark, or
 * nothing but hex digits. A packet begins at offset 0, at a gap, and with the other side of a
 * connection, which Wireshark indents. What goes on with a message belongs to its packet.
 */
function packetsIn(dump: string): Packet[] {
  const packets: (Packet & { indent: string; start: string })[] = [];
  for (const line of dump.split(/\r?\n/)) {
    const [, indent = "", offset = "", hex = ""] = DUMP_LINE.exec(line) ?? [];
    const last = packets.at(-1);
    const { start = offset, text = "" } = last ?? {};
    const isNext = [16, 8, 10] // which od can count in
      .some((radix) => parseInt(offset, radix) - parseInt(start, radix) === text.length);
    if (isNext && last?.indent === indent) last.text += fromHex(hex);
    else if (hex || offset && last) {
      packets.push({ text: fromHex(hex), indent, start: offset });
      if (last?.indent !== indent || /^0+$/.test(offset)) continue;
      last.gap = `expected the next line of the dump, got the offset ${offset}`;
    }
  }
  const isHex = packets.length === 0 && /^(?:\s*[\da-f]{2})+\s*$/i.test(dump);
  if (isHex) return [{ text: fromHex(dump) }];
  const begun = new Map<string, { from: string; next: number; packet: Packet }>(); // by connection
  const seen = new Set<string>();
  return packets.filter((packet) => {
    const { text, indent, start } = packet;
    const segment = segmentIn(text);
    const { from, to, at, end } = segment ?? { from: indent, to: "", at: 0, end: text.length };
    const carried = text.slice(at, end);
    if (carried === "") return true;
    const connection = segment ? [from, to].sort().join() : "";
    const next = parseInt(start, 16) + text.length;
    const last = begun.get(connection);
    const isRepeated = segment && seen.size === seen.add(from + segment.sequence + carried).size;
    if (carried.includes(START)) {
      packet.text = text.slice(0, end);
      begun.set(connection, { from, next, packet });
    } else if (last?.from === from && (segment || parseInt(start, 16) === last.next)) {
      if (!isRepeated) last.packet.text += carried;
      last.next = next;
      return false;
    } else if (segment && /^[A-Z]{2}\d{3}/.test(carried)) {
      packet.rest = at;
      packet.gap = "expected a message that begins with CZ, got the rest of one";
    }
    return true;
  });
}

// ---------------------------------------------------------------- messages

/** Takes escapes back: those of {@linkcode printable}, of JSON and of C. */
function unescaped(text: string): string {
  return text.replace(
    /\\(?:(?:x|u00)([\da-f]{2})|([rn"\\]))/gi,
    (_, hex, char) => hex ? fromHex(hex) : char === "r" ? "\r" : char === "n" ? "\n" : char,
  );
}

/**
 * Finds the messages in a text, such as a log or a hex dump, and explains them. Characters stand for
 * bytes of Latin-1 or of UTF-8, and in each line are as they are or escaped: however most messages
 * are whole. (our choice)
 *
 * @returns At least one; where there is no message, why.
 */
export function explain(text: string): Explained[] {
  const packets = packetsIn(text);
  const forms = [text, Buffer.from(text).toString("latin1")]
    .filter((form) => /^[\0-\xff]*$/.test(form));
  const lines = (form: string): Piece[] =>
    form.split(/\r?\n/).flatMap((line) => mostWhole([[piece(line)], [piece(unescaped(line))]]));
  const swapped = packets.map((packet) => packet.text.replace(/([^])([^])/g, "$2$1"));
  const hint = "expected bytes, got words with their bytes swapped; hint: hexdump -C";
  const pieces = mostWhole([
    packets.map(({ text, gap, rest }) => piece(text, AT_END, gap, rest)),
    ...forms.map((form) => [piece(form, ANYWHERE)]),
    ...forms.map(lines),
    [piece(forms[0]!.trimStart(), ANYWHERE, swapped.join().includes(START) ? hint : "", 0)],
  ]);
  let request: Message = {};
  return pieces.flatMap(messagesIn).map(({ error, ...received }) => {
    const { message } = received;
    if (error) return { kind: "malformed", ...received, warnings: [], error: error.message };
    if (message["AE"] === undefined) {
      request = message;
      return { kind: "request", ...received, warnings: deviations(received) };
    }
    const warnings: Warning[] = [];
    const receipts = message["ZT"]
      ? decodeReceipts(message["ZT"], (one) => warnings.push(one))
      : [];
    const problem = problemOf(received);
    const verdict: Verdict = problem
      ? { status: "invalid", error: problem }
      : interpret(request, message);
    return { kind: "answer", ...received, warnings, verdict, receipts };
  });
}

/** A text, where messages stand in it, and why the last is not whole, if something is missing. */
interface Piece {
  text: string;
  spans: { at: number; end: number; isWhole: boolean }[];
  gap: string;
}

/** The first reading with most whole messages; a cut message is more than none. */
function mostWhole(readings: Piece[][]): Piece[] {
  const scores = readings.map((pieces) => {
    const spans = pieces.flatMap((piece) => piece.spans);
    return spans.filter(({ isWhole }) => isWhole).length + (spans.length > 0 ? 0.5 : 0);
  });
  return readings[scores.indexOf(Math.max(...scores))] ?? [];
}

/** How a message begins: CZ has four digits. */
const START = "CZ00";
/** Where a line end is taken for the end of a message, unless a field follows: in a log, in a dump. */
const [ANYWHERE, AT_END] = [/[\r\n]/, /(?<![\r\n])[\r\n]+$/];

/** Finds messages. Takes linear time: fields that lead to no end are gone over once. */
function piece(text: string, lineEnd = AT_END, gap = "", first = text.indexOf(START)): Piece {
  const spans: Piece["spans"] = [];
  const bad = new Set<number>(); // where such fields begin
  const fieldEnd = (at: number): number => {
    const [, size] = /^[A-Z]{2}(\d{3})/.exec(text.slice(at, at + 5)) ?? [];
    const end = at + 5 + Number(size);
    const field = text.slice(at, end);
    const isCut = lineEnd.test(field) && !/^(?:ZT|AK)[\dA-Za-z+/=\r\n]+$/.test(field) &&
      !/^(?!CZ)[A-Z]{2}\d{3}/.test(text.slice(end, end + 5));
    return bad.has(at) || isCut || end > text.length ? NaN : end;
  };
  for (let at = first, next: number; at >= 0; at = next) {
    const passed = [at];
    let [end, isWhole] = [at, false];
    for (let to = fieldEnd(at); to >= 0 && !isWhole; to = fieldEnd(end)) {
      passed.push(end = to);
      const behind = text.slice(end, end + 2);
      // In a log, a blank, quote or bracket may end it.
      isWhole = /^(?:$|CZ|[\s"'`,;|<>)\]}])/.test(behind) ||
        behind.replace(BETWEEN, "") !== behind || isFramed(text, at, end);
    }
    next = text.indexOf(START, isWhole ? end : at + START.length);
    if (!isWhole) {
      for (const place of passed) bad.add(place);
      const until = next < 0 ? text.length : next;
      const line = text.slice(end, until).search(lineEnd);
      end = line < 0 ? until : end + line;
    }
    spans.push({ at, end, isWhole: isWhole && !(gap && next < 0) });
  }
  return { text, spans, gap };
}

/** The messages of a text, and what stands around them. */
function messagesIn(
  { text, spans, gap }: Piece,
): (Received & Pick<Explained, "before" | "after">)[] {
  let told = 0; // until there
  return spans.map(({ at, end }, index) => {
    const reader = new MessageReader();
    const nothing = { raw: "", fields: [], message: {} };
    const [received = reader.end() ?? nothing]: Received[] = reader.feed(text.slice(at, end));
    const isLast = index === spans.length - 1;
    const why = isLast && gap || received === nothing && "expected a message, got nothing";
    if (why) received.error = new ProtocolError(why, end - at);
    const before = text.slice(told, at);
    told = at + (received.error?.at ?? received.raw.length);
    if (isFramed(text, at, told)) received.error = serialError();
    const after = isLast ? text.slice(told) : "";
    return { ...received, ...(before.trim() && { before }), ...(after.trim() && { after }) };
  });
}

/** Whether what stands there is between STX and ETX. */
function isFramed(text: string, at: number, end: number): boolean {
  return text[at - 1] === "\x02" && text[end] === "\x03";
}

/** Why such a message is none, in the words of one who reads it. */
function serialError(): ProtocolError {
  const [received] = new MessageReader().feed(`\x02${START}`);
  return new ProtocolError(received!.error!.message.replace(/^at byte 0: /, ""));
}

// ---------------------------------------------------------------- words

/** What a tag means, alone or with a value: one term, or one for each of its codes. */
function explainTag(text: string): Message[] | undefined {
  const [, tag = "", ...either] = /^([A-Z]{2})(?:[ :=]+(\S+)|(\S{0,3}))$/.exec(text) ?? [];
  const [apart, value = ""] = [either[0] !== undefined, either.join("")];
  const { label, codes } = TAGS.get(tag) ?? {};
  const isCode = meaning(tag, value) !== undefined;
  if (!label || (value !== "" && !apart && !isCode)) return undefined; // perhaps a message
  if (codes && value !== "" && !isCode) {
    const expected = `expected for ${tag} one of ${[...codes.keys()].join(", ")}`;
    throw new ProtocolError(`${expected}, got "${printable(value)}"`);
  }
  const values = codes && value === "" ? [...codes.keys()] : [value];
  return values.map((value) => ({ tag, value, label, ...meaning(tag, value) }));
}

/** A message explained for people: a line a field, after the byte where it begins. */
function explainedText(
  { kind, raw, fields, message, warnings, verdict, receipts, error, before, after }: Explained,
): string {
  const skipped = (text: string): string => `skipped ${shortened(text)}, length ${text.length}`;
  const lines = [error ? `${kind} ${error}` : `${kind}, length ${raw.length}`];
  if (before) lines.unshift(skipped(before));
  for (const { tag, value, at } of fields) {
    const line = describe({ CE: message["CE"] ?? "", [tag]: value }).split("\n").at(-1);
    lines.push(`${String(at).padStart(5)}${line}`);
  }
  for (const { text } of warnings) {
    lines.push(`  ${kind === "request" ? "deviates" : "warning"}: ${text}`);
  }
  if (verdict) lines.push(`  means: ${verdictText(verdict)}`);
  for (const { copy, format, text } of receipts ?? []) {
    lines.push(`  receipt of the ${copy}, ${format}:`, printableLines(text));
  }
  if (after) lines.push(skipped(after));
  return `${lines.join("\n")}\n`;
}

function verdictText(verdict: Verdict): string {
  if (verdict.status === "declined") return `declined, ${failureText(verdict.failure)}`;
  if (verdict.status === "invalid") return `not usable, ${verdict.error}`;
  return verdict.status === "accepted" ? `accepted, ${ACCEPTED}` : verdict.status;
}

// ---------------------------------------------------------------- the command

const HELP = `Explains messages of Caisse-AP over IP (Concert V3).

usage: decode.ts [options] TEXT
       decode.ts [options] -

TEXT is a log, a hex dump or a message, or a tag such as AF, with a value or
without; - reads a log or a dump from stdin.

options:
       --json               one JSON object on stdout
  -h,  --help               this text
       --version            ${VERSION}

exit status:
  0 all are messages   2 wrong arguments   5 something is no message

examples:
  decode.ts "AF 04"
  tcpdump -X -r capture.pcap | decode.ts -
`;

const ARGUMENTS = {
  "json": { type: "boolean" },
  "help": { type: "boolean", short: "h" },
  "version": { type: "boolean" },
} as const;

/** Explains what it is told to, and gives the exit status. */
async function execute(args: string[], { stdout }: Outputs): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: ARGUMENTS, allowPositionals: true });
  if (values.help || values.version) {
    stdout.print(values.help ? HELP : `${VERSION}\n`);
    return 0;
  }
  const [text, ...others] = positionals;
  if (text === undefined || others.length > 0) {
    const got = positionals.length === 0 ? "none" : positionals.length;
    throw new ProtocolError(`expected one TEXT to explain, or - for that on stdin, got ${got}`);
  }
  const terms = text === "-" ? undefined : explainTag(text);
  if (terms) {
    const lines = terms.map(({ tag = "", value = "" }) => `${describe({ [tag]: value })}\n`);
    stdout.print(values.json ? jsonLine({ terms }) : lines.join(""));
    return 0;
  }
  const messages = explain(text === "-" ? await readInput() : text);
  const shown = values.json ? jsonLine({ messages }) : messages.map(explainedText).join("\n");
  stdout.print(shown);
  return messages.some(({ error }) => error) ? 5 : 0;
}

/** All that comes on stdin: UTF-8, or else Latin-1. */
async function readInput(): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  return bytes.toString(isUtf8(bytes) ? "utf8" : "latin1");
}

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  await runCommand("decode.ts", Object.keys(ARGUMENTS), (outputs) => execute(args, outputs));
}

if (import.meta.main) main();
