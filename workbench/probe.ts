#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Asks a terminal that speaks Caisse-AP over IP ("Concert V3") what moves no money, and tells how it
 * behaves: its identity, its segments and line ends, when it closes, what it does not understand.
 *
 * ```sh
 * deno run --allow-net workbench/probe.ts --destination 192.168.1.20
 * ```
 *
 * @example In a test, whether a terminal takes a line end after a request
 * ```ts
 * import assert from "node:assert/strict";
 * import { startTerminal } from "../server.ts";
 * import { probe } from "./probe.ts";
 *
 * await using terminal = await startTerminal({ port: 0 });
 * const probed = await probe({ port: terminal.port, gap: 50 });
 * assert.equal(probed.find(({ probe }) => probe === "with CR LF")?.status, "answered");
 * ```
 *
 * @module
 */
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  type Command,
  connected,
  ExchangeError,
  type ExchangeOptions,
  type ExchangeStatus,
  EXIT,
  IDENTITY,
  messagesOn,
  type OnMessage,
  type Outputs,
  type Place,
  PLACE_ARGUMENTS,
  readPlace,
  readPlaceArguments,
  receive,
  runCommand,
  shortened,
  showSeconds,
  whyNotReached,
} from "../client.ts";
import {
  BETWEEN,
  callBack,
  decode,
  encodeText,
  jsonLine,
  type Message,
  OptionError,
  printable,
  VERSION,
} from "../protocol.ts";

// ---------------------------------------------------------------- what is asked

/** Where the terminal is, and what it is asked. By default `timeout` is 10, for each probe. */
export interface ProbeOptions extends Omit<ExchangeOptions, "raw" | "signal"> {
  /** Asks for the last receipt again too (CD 3). Default: false. */
  duplicate?: boolean;
}

/** How a terminal behaved when it was asked something. Times are since the request was sent. */
export interface Probed {
  /** What was asked, in words. */
  probe: string;
  /** What was sent, in its segments. */
  sent: string[];
  /** Whether an answer with a status came, or why there is none. */
  status: "answered" | ExchangeStatus;
  /** The answer, as far as it came. */
  answer?: Message;
  /** Milliseconds until the answer was whole. */
  milliseconds?: number;
  /** Whether AE 11 came first. */
  interim?: true;
  /** Line ends and control characters behind the answer. */
  ending?: string;
  /** Those of CZ and CJ in the answer that are the terminal's own, not the request's. */
  own: string[];
  /** The answer with its ending, in its segments; all that came where there is none. */
  segments: { milliseconds: number; raw: string }[];
  /** How the terminal ended the connection, if it did within half a second after the answer. */
  closed?: { how: "closed" | "reset"; milliseconds: number };
  /** What is wrong with the answer, or why there is none. */
  error?: string;
  /** What came before the last segment of the request was sent. */
  early?: string;
  /** What came then before the answer, and is no part of it. */
  before?: string;
  /** What came after the answer, before anything else was sent. */
  after?: string;
}

/** Seconds for each probe (our choice: nobody has to do anything). */
const PROBE_SECONDS = 10;
/** Milliseconds between two segments of a request (our choice). */
const BETWEEN_SEGMENTS_MS = 50;
/** Milliseconds that a connection is looked at after the answer, and a terminal rests (our choice). */
const LOOK_AFTER_MS = 500;

const NOT_SENT = "not sent";
/** Most bytes that are read on a connection (our choice: an answer has a few hundred). */
const MOST_READ = 65_536;
/** Most characters behind an answer that are shown as its ending. */
const MOST_ENDING = 9;
const TOO_MUCH = `it sent more than ${MOST_READ} bytes`;

/**
 * What a terminal is asked: requests on one connection, each in its segments. Nothing here moves
 * money, or has an amount; no source knows CD Q.
 */
function probes(duplicate: boolean): Record<string, string[][]> {
  const request = (action: string): string => encodeText({ ...IDENTITY, CD: action });
  const identify = request("I");
  const cut = identify.indexOf("CA");
  return {
    "identification": [[identify]],
    "with CR LF": [[`${identify}\r\n`]],
    "in two segments": [[identify.slice(0, cut), identify.slice(cut)]],
    "two on a connection": [[identify], [identify]],
    "unknown action": [[request("Q")]],
    "without CJ": [[identify.replace(/CJ\d{15}/, "")]],
    ...(duplicate && { "duplicate": [[request("3")]] }),
  };
}

/**
 * Asks a terminal what moves no money, one thing after another, and tells how it behaves.
 *
 * @returns What came of each request; of the first alone where the terminal cannot be reached.
 * @throws {OptionError} An option is not as it must be. Nothing is sent.
 */
export async function probe(options: ProbeOptions = {}): Promise<Probed[]> {
  const place = readPlace({ timeout: PROBE_SECONDS, ...options });
  const onMessage: OnMessage = (...args) => callBack(() => options.onMessage?.(...args));
  const probed: Probed[] = [];
  for (const [name, requests] of Object.entries(probes(options.duplicate === true))) {
    const found = requests.map((sent, index): Probed => {
      const probe = index === 0 ? name : `${name}, again`;
      return { probe, sent, status: "unanswered", own: [], segments: [], error: NOT_SENT };
    });
    await probeOn(found, place, onMessage, options.connect);
    probed.push(...found);
    if (probed[0]?.status === "unreachable") break;
  }
  return probed;
}

/** Sends requests on a connection of their own, and notes what comes of them. */
async function probeOn(
  probed: readonly Probed[],
  { host, port, timeout, gap }: Place,
  onMessage: OnMessage,
  connect: ExchangeOptions["connect"] = net.connect,
): Promise<void> {
  let now = probed[0]!;
  let sentAt = 0;
  let read = 0;
  const milliseconds = (): number => Math.round(performance.now() - sentAt);
  const onClosed = (how: "closed" | "reset"): void => {
    now.closed ??= { how, milliseconds: milliseconds() };
  };
  const socket = connect({ host, port, noDelay: true });
  socket.setEncoding("latin1").on("error", () => {}); // seen by those who wait
  const stop = (why = `no answer within ${timeout} s`): unknown => socket.destroy(new Error(why));
  let timer = setTimeout(stop, timeout * 1000);
  const lookAfter = async (): Promise<void> => {
    await sleep(Math.min(LOOK_AFTER_MS, timeout * 1000));
    if (read > MOST_READ) now.error = TOO_MUCH;
  };
  try {
    let early = await connected(socket).catch((error) => {
      throw new ExchangeError("unreachable", whyNotReached(error, `${host} port ${port}`), {});
    });
    socket.on("data", (raw: string) => {
      read += raw.length;
      if (read > MOST_READ) stop(TOO_MUCH);
      else now.segments.push({ milliseconds: milliseconds(), raw });
    });
    socket.on("end", () => onClosed("closed"));
    socket.on("error", ({ code }: NodeJS.ErrnoException) => code && onClosed("reset"));
    for (const one of probed) {
      if (now.closed || socket.destroyed) break;
      clearTimeout(timer);
      timer = setTimeout(stop, timeout * 1000);
      now = one;
      const request = decode(one.sent.join(""));
      const came: { raw: string; message: Message }[] = [];
      const onReceived: OnMessage = (direction, raw, message) => {
        if (came.at(-1)?.message["AE"] === "11") one.interim = true;
        came.push({ raw, message });
        onMessage(direction, raw, message);
      };
      const answered = receive(socket, request, gap, onReceived, []);
      answered.catch(() => {}); // it is waited for below, once all is sent
      for (const [index, segment] of one.sent.entries()) {
        if (index > 0) await sleep(BETWEEN_SEGMENTS_MS);
        early += one.segments.map(({ raw }) => raw).join("");
        socket.write(segment, "latin1");
        sentAt = performance.now();
      }
      if (early !== "") one.early = early;
      early = "";
      onMessage("sent", one.sent.join(""), request);
      const answer = await answered;
      if (answer["AE"] === undefined) {
        throw new ExchangeError("invalid", "expected the status AE, got none", request, answer);
      }
      const own = ["CZ", "CJ"].filter((tag) => answer[tag] && answer[tag] !== request[tag]);
      const last = one.segments.at(-1)?.milliseconds;
      Object.assign(one, { status: "answered", answer, milliseconds: last, own });
      delete one.error;
      clearTimeout(timer);
      await lookAfter(); // what still comes is no answer to the next request
      const parts = came.slice(0, 1 + came.findIndex(({ message }) => message === answer));
      cutAround(one, parts.map(({ raw }) => raw));
    }
  } catch (error) {
    if (!(error instanceof ExchangeError)) throw error;
    const { status, answer, message } = error;
    Object.assign(now, { status, ...(answer && { answer }), error: message });
    if (status === "invalid") await lookAfter();
  } finally {
    clearTimeout(timer);
    socket.removeAllListeners().on("error", () => {}).destroy();
  }
  const why = now.closed ? "the connection had ended" : "what was sent before has no usable answer";
  for (const one of probed) if (one.error === NOT_SENT) one.error += `, ${why}`;
}

// ---------------------------------------------------------------- what is told

/** Leaves of what came only the answer, which is these messages, and tells what was around it. */
function cutAround(one: Probed, parts: readonly string[]): void {
  const came = one.segments.map(({ raw }) => raw).join("");
  const start = came.indexOf(parts[0] ?? "");
  let end = start;
  for (const part of parts) end = came.indexOf(part, end) + part.length;
  const [ending = ""] = BETWEEN.exec(came.slice(end, end + MOST_ENDING)) ?? [];
  end += ending.length;
  const [before, after] = [came.slice(0, start), came.slice(end)];
  if (before !== "" && !one.early?.endsWith(before)) one.before = before;
  if (ending !== "") one.ending = ending;
  if (after !== "") one.after = after;
  let at = 0;
  one.segments = one.segments.flatMap(({ milliseconds, raw }) => {
    const part = raw.slice(Math.max(0, start - at), Math.max(0, end - at));
    at += raw.length;
    return part === "" ? [] : [{ milliseconds, raw: part }];
  });
}

/** What {@linkcode probe} found, as a table for people, and below it what went wrong. */
export function probeTable(probed: readonly Probed[]): string {
  const head = "probe answer AE AF CZ CJ tags ending segments connection".split(" ");
  const rows = probed.map((one) => {
    const { probe, status, answer = {}, milliseconds, own, segments, closed, error } = one;
    const wasThere = status !== "unreachable" && !error?.startsWith(NOT_SENT);
    const whose = (tag: string): string =>
      own.includes(tag) ? `own ${answer[tag]}` : answer[tag] ? "as sent" : "none";
    const { AE = "none", AF = "none" } = answer;
    const statuses = one.interim ? `11, ${AE}` : AE;
    const { ending = status === "answered" ? "none" : "" } = one;
    const lineEnd = ending.replace(/\r/g, "CR ").replace(/\n/g, "LF ").trimEnd();
    const cells = [
      probe,
      ...status === "answered"
        ? [`${milliseconds} ms`, statuses, AF, whose("CZ"), whose("CJ")]
        : [status, "", "", "", ""],
      Object.keys(answer).join(" "),
      lineEnd,
      `${segments.length}`,
      closed ? `${closed.how} at ${closed.milliseconds} ms` : wasThere ? "kept" : "",
    ];
    return cells.map(printable);
  });
  const table = [head, ...rows];
  const widths = head.map((_, at) => Math.max(...table.map((row) => row[at]!.length)));
  const lines = table.map((row) => row.map((cell, at) => cell.padEnd(widths[at]!)).join("  "));
  for (const { probe, early, before, after, error } of probed) {
    if (early) lines.push(`${probe}: before all was sent came ${shortened(early)}`);
    if (before) lines.push(`${probe}: before the answer came ${shortened(before)}`);
    if (after) lines.push(`${probe}: after the answer came ${shortened(after)}`);
    if (error) lines.push(`${probe}: ${error}`);
  }
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

// ---------------------------------------------------------------- the command

/** What is taken where nothing is given. */
const STANDARD = readPlace({ timeout: PROBE_SECONDS });

const HELP = `Asks a terminal over Caisse-AP over IP (Concert V3) what moves no money, one
thing after another, and shows how it behaves. It asks before it sends.

usage: probe.ts [options]

Where the terminal is:
  -d,  --destination HOST   address or DNS name (${STANDARD.host})
  -p,  --port PORT          TCP port (${STANDARD.port})
       --timeout SECONDS    how long to wait for each answer (${STANDARD.timeout})
       --gap MS             pause after which whole fields are an answer
                            (${STANDARD.gap})

What it is asked for:
       --duplicate          ask for a duplicate too (CD 3)
       --yes                do not ask before

What it prints:
       --json               one JSON object on stdout
  -l,  --log-level LEVEL    debug, info, warn or error (info)
  -h,  --help               this text
       --version            ${VERSION}

exit status:
  0 answered                2 wrong arguments, or nothing sent
  3 terminal not reached    4 no whole answer  5 an answer that is not usable
`;

const ARGUMENTS = {
  ...PLACE_ARGUMENTS,
  "duplicate": { type: "boolean" },
  "yes": { type: "boolean" },
} as const;

/** What the command was asked to do. */
export interface ProbeCommand extends Command {
  /** Asks for a duplicate too. */
  duplicate: boolean;
  /** Does not ask a person before. */
  yes: boolean;
}

/**
 * Turns the arguments of the command into what it is to do, or into the text that is asked for
 * instead. Nothing else happens.
 *
 * @throws {OptionError} An argument is not as it must be.
 * @throws {TypeError} An argument is unknown, or lacks its value.
 */
export function readArguments(args: string[]): ProbeCommand | string {
  const { values } = parseArgs({ args, options: ARGUMENTS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  const { duplicate = false, yes = false } = values;
  return { ...readPlaceArguments(values), duplicate, yes };
}

/** Probes the terminal, once a person agrees, prints how it behaves, and gives the exit status. */
async function execute(
  { payment, duplicate, yes, json, logLevel }: ProbeCommand,
  { stdout, stderr }: Outputs,
): Promise<number> {
  const { host, port } = readPlace(payment);
  if (!yes && !process.stdin.isTTY) {
    throw new OptionError("yes", "it, or a keyboard (a TTY) to be asked at", undefined);
  }
  if (!yes) {
    stderr.print(`The terminal at ${host} port ${port} is asked what moves no money:\n`);
    for (const [name, requests] of Object.entries(probes(duplicate))) {
      for (const sent of requests) stderr.print(`  ${name}: ${printable(sent.join(" | "))}\n`);
    }
    stderr.print("Send this? (yes, oui) ");
    if (!/^(y|yes|o|oui)$/i.test(await readLine())) {
      stderr.print("probe.ts: nothing sent\n");
      return 2;
    }
  }
  const onMessage = messagesOn(stderr, logLevel, true);
  const hideSeconds = showSeconds(stderr);
  const probed = await probe({ ...payment, onMessage, duplicate }).finally(hideSeconds);
  const best = probed.find(({ status }) => status === "answered") ??
    probed.find(({ status }) => status === "invalid");
  const status = (best ?? probed[0])?.status ?? "unanswered";
  await stderr.drained();
  stdout.print(json ? jsonLine({ status, host, port, probed }) : probeTable(probed));
  return status === "answered" ? 0 : EXIT[status];
}

/** A line that a person types; "" at the end of input. */
async function readLine(): Promise<string> {
  for await (const chunk of process.stdin) return `${chunk}`.trim();
  return "";
}

async function main(): Promise<void> {
  await runCommand("probe.ts", Object.keys(ARGUMENTS), (outputs) => {
    const command = readArguments(process.argv.slice(2));
    if (typeof command !== "string") return execute(command, outputs);
    outputs.stdout.print(command);
    return 0;
  });
}

if (import.meta.main) main();
