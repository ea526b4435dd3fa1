// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests of the proxy share.
import { encodeReceipt, encodeText, jsonLine, type LogLevel, type Message } from "../protocol.ts";
import type { TerminalEvent } from "../server.ts";
import { compareRecording, type Comparison } from "./compare.ts";
import { startReplay } from "./recording.ts";
import { type Proxy, type ProxyOptions, startProxy } from "./relay.ts";
import {
  Command,
  DEBIT_MESSAGE,
  eventually,
  type Peer,
  type run,
  terminalWith,
} from "./test_helpers.ts";

/** A proxy on a free port of this machine, and all that it tells. */
export async function proxyTo(
  port: number,
  options: Omit<ProxyOptions, "terminal"> = {},
): Promise<
  {
    proxy: Proxy;
    port: number;
    events: TerminalEvent[];
    log: string[];
    recording: () => string;
  } & AsyncDisposable
> {
  const events: TerminalEvent[] = [];
  const log: string[] = [];
  const proxy = await startProxy({
    port: 0,
    host: "127.0.0.1",
    terminal: `127.0.0.1:${port}`,
    onEvent: (event) => void events.push(event),
    log: (level: LogLevel, text) => void log.push(`${level} ${text}`),
    ...options,
  });
  return {
    proxy,
    port: proxy.port,
    events,
    log,
    recording: () => events.map(jsonLine).join(""),
    [Symbol.asyncDispose]: () => proxy.close(),
  };
}

/** A recording of what tills do at a simulated terminal, through a proxy. */
export async function recordingOf(
  use: (port: number, proxy: Proxy) => Promise<unknown>,
  options: Parameters<typeof terminalWith>[0] = {},
): Promise<string> {
  await using terminal = await terminalWith(options);
  await using seen = await proxyTo(terminal.port);
  await use(seen.port, seen.proxy);
  const connections = new Set(
    seen.events.map((event) => "connection" in event && event.connection),
  );
  connections.delete(false);
  await closed(seen.events, connections.size);
  return prompt(seen.recording());
}

/** Resolves when something of a kind has been told, so many times. */
export function happened(
  events: readonly TerminalEvent[],
  kind: TerminalEvent["event"],
  count = 1,
): Promise<void> {
  return eventually(
    () => events.filter(({ event }) => event === kind).length >= count,
    `${count} ${kind}`,
  );
}

/** Resolves when so many connections are closed. */
export function closed(events: readonly TerminalEvent[], count = 1): Promise<void> {
  return happened(events, "closed", count);
}

/** Resolves when all that was sent has come: what is sent then is a segment of its own. */
export function came(peer: Peer, text: string): Promise<void> {
  return eventually(() => peer.text.length >= text.length, `all of "${text}" at the other side`);
}

/** What work gives, and whether the machine stalled meanwhile: longer than all else here takes. */
export async function watched<T>(work: Promise<T>): Promise<{ result: T; isStalled: boolean }> {
  let [last, longest] = [performance.now(), 0];
  const look = (): void => {
    const now = performance.now();
    [last, longest] = [now, Math.max(longest, now - last)];
  };
  const timer = setInterval(look, 10);
  try {
    const result = await work;
    look();
    return { result, isStalled: longest > 200 };
  } finally {
    clearInterval(timer);
  }
}

/** Compares a recording. An answer at once that a stall has made late is at once. */
export async function compare(...args: Parameters<typeof compareRecording>): Promise<Comparison[]> {
  const { result, isStalled } = await watched(compareRecording(...args));
  return result.map((comparison) => {
    const differences = comparison.differences.filter(({ what, simulated }) =>
      !(isStalled && what === "time" && simulated === "after seconds")
    );
    return { ...comparison, differences };
  });
}

/** A recording of a terminal that answers at once, whatever a busy machine took for that. */
export function prompt(recording: string): string {
  return recording.replace(/(?<="milliseconds":)\d{4,}/g, "999");
}

/** What happened, without what is not the same each time. */
export function timeless(events: readonly TerminalEvent[]): unknown[] {
  return events.slice(1).map(({ time: _, ...event }) => {
    const told: Record<string, unknown> = { ...event };
    if ("milliseconds" in told) told["milliseconds"] = "some";
    return told;
  });
}

/** What a socket receives, as it was cut. */
export function chunksOf(peer: Peer): string[] {
  const chunks: string[] = [];
  peer.socket.on("data", (chunk: string) => chunks.push(chunk));
  return chunks;
}

/** All bytes, those that are no message among them. */
export const ALL_BYTES = String.fromCharCode(...Array.from({ length: 256 }, (_, index) => index));

/** What a proxy has recorded and logged, without port numbers, which may look like those of cards. */
export function toldBy({ recording, log }: Awaited<ReturnType<typeof proxyTo>>): string {
  return (recording() + log.join("\n")).replace(/(port"?:?) ?\d+/g, "$1");
}

/** Numbers from 0 to 1 that are the same for a seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Sends a text in up to four pieces. */
export async function sendCut(peer: Peer, raw: string, random: () => number): Promise<void> {
  let from = 0;
  for (let count = Math.floor(random() * 4); count > 0; count--) {
    const to = from + Math.floor(random() * (raw.length - from));
    peer.send(raw.slice(from, to));
    from = to;
    await new Promise((resolve) => setImmediate(resolve));
  }
  peer.send(raw.slice(from));
}

/** Values that are nowhere else in what is told: no four digits, which a port may have. */
export const SECRETS: Message = {
  AA: "497Q10QQQQQQ7Q31",
  AB: "3Q08",
  AC: "66QY22",
  CF: "REF/77-A9 de \xe9t\xe9",
  CG: "86Q29Y5",
  BH: "+336QY765Q32",
  BI: "jean.dupont@boite.example",
  AM: "07QY44Q322",
  AN: "marie@poste.example",
  ZT: encodeReceipt({ copy: "customer", format: "text", text: "KARTE QQQQ\n24/12/29 à 13:37" }),
};
export const WITH_SECRETS = encodeText({ ...DEBIT_MESSAGE, ...SECRETS });
/** What of them must be nowhere: every four characters, but not blanks and the head of ZT. */
export const TRACES = [...Object.entries(SECRETS)].flatMap(([tag, value]) => {
  const text = tag === "ZT" ? value.slice(16) : value;
  return Array.from({ length: text.length - 3 }, (_, at) => text.slice(at, at + 4));
});

/** What of the secrets is in a text. */
export function traces(text: string): string[] {
  const plain = JSON.stringify(text).slice(1, -1);
  return TRACES.filter((trace) =>
    text.includes(trace) || plain.includes(trace) ||
    text.includes(JSON.stringify(trace).slice(1, -1))
  );
}

/** An event of a recording. */
export function line(event: string, connection: number, transaction: number, more: object): string {
  return jsonLine({ event, connection, transaction, ...more });
}

/** A recording of one exchange. */
export function exchanged(raw: string, answer: object | undefined, close: object = {}): string {
  return line("request", 1, 1, { raw }) +
    (answer ? line("answer", 1, 1, { milliseconds: 0, ...answer }) : "") +
    jsonLine({ event: "closed", connection: 1, by: "pos", milliseconds: 9_999, ...close });
}

/** A terminal that plays a recording. */
export async function played(recording: string): Promise<
  & { port: number; log: string[]; terminal: Awaited<ReturnType<typeof startReplay>> }
  & AsyncDisposable
> {
  const log: string[] = [];
  const terminal = await startReplay(recording, {
    port: 0,
    host: "127.0.0.1",
    log: (level, text) => void log.push(`${level} ${text}`),
  });
  const { port } = terminal;
  return { port, log, terminal, [Symbol.asyncDispose]: () => terminal.close() };
}

/** Runs the command with a recording on stdin. */
export async function withStdin(recording: string, ...args: string[]): ReturnType<typeof run> {
  await using command = Command.start("workbench/proxy.ts", ...args);
  command.process.stdin!.on("error", () => {}).end(recording);
  return await command.ran();
}

export const REFUSAL = encodeText({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });

/** Where there are differences. */
export function differing(comparisons: readonly Comparison[]): Comparison[] {
  return comparisons.filter(({ differences }) => differences.length > 0);
}
