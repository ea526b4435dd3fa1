// SPDX-License-Identifier: GPL-3.0-or-later
// How fast the reader of protocol.ts cuts a stream into messages, whatever its chunks, and what the
// messages hold that are kept. Ends with status 1 below 40 MB/s (10 for small messages, which cost by
// the field), or above three times their text.
//
// usage: RUNTIME feed.ts (deno run, bun, node)
import process from "node:process";
import { MessageReader, type Received } from "../protocol.ts";

const DEBIT = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
const LARGE = DEBIT +
  [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].map((letter) => `X${letter}999${"x".repeat(999)}`).join("");

/** Text as it comes from a socket: every chunk a string of its own. */
function chunks(message: string, count: number, size: number): string[] {
  const stream = `${message}\n`.repeat(count);
  const bytes = new TextEncoder().encode(stream);
  const decoder = new TextDecoder();
  return Array.from(
    { length: Math.ceil(bytes.length / size) },
    (_, index) => decoder.decode(bytes.subarray(index * size, (index + 1) * size)),
  );
}

function megabytesPerSecond(pieces: string[]): number {
  const length = pieces.reduce((sum, { length }) => sum + length, 0);
  let best = 0; // of five: the machine has other things to do
  for (let round = 0; round < 5; round++) {
    const reader = new MessageReader();
    const started = performance.now();
    for (const piece of pieces) reader.feed(piece);
    best = Math.max(best, length / 1e3 / (performance.now() - started));
  }
  return best;
}

let ok = true;
for (
  const [name, message, count, size, least] of [
    ["small messages, chunks of 64 KiB", DEBIT, 80_000, 65_536, 10],
    ["large messages, chunks of 64 KiB, cut inside a field", LARGE, 200, 65_536, 40],
    ["large messages, chunks of 1,000 bytes", LARGE, 200, 1_000, 40],
    ["large messages, chunks of 100 bytes", LARGE, 200, 100, 40],
  ] as const
) {
  const rate = megabytesPerSecond(chunks(message, count, size));
  process.stdout.write(`${name}: ${rate.toFixed(0)} MB/s\n`);
  ok &&= rate > least;
}

const before = process.memoryUsage().heapUsed;
const kept: Received[] = [];
const reader = new MessageReader();
for (let round = 0; round < 10; round++) {
  for (const piece of chunks(LARGE, 100, 61_441)) kept.push(...reader.feed(piece));
}
const length = kept.reduce((sum, { raw }) => sum + raw.length, 0);
const times = (process.memoryUsage().heapUsed - before) / length;
process.stdout.write(`${kept.length} kept messages: ${times.toFixed(1)} times their text\n`);
process.exit(ok && times < 3 ? 0 : 1);
