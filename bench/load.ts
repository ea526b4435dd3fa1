// SPDX-License-Identifier: GPL-3.0-or-later
// Loads a terminal, or a bridge that speaks like one, on this machine. It prints one JSON line, and
// ends with status 1 if a payment was not answered.
//
// usage:
//   load.ts rate PORT [--total 20000] [--concurrency 50] [--keep]
//     payments per second, each on a connection of its own, or on some that are kept
//   load.ts burst PORT [--total 1000]
//     so many payments at the same moment
//   load.ts flood PORT
//     60 POS that send requests of 26 KB as fast as they can and read no answer, until it is stopped
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { encode, encodeText, MessageReader } from "../protocol.ts";

const { values, positionals: [measure, port] } = parseArgs({
  allowPositionals: true,
  options: {
    total: { type: "string" },
    concurrency: { type: "string", default: "50" },
    keep: { type: "boolean", default: false },
  },
});
if (!/^(?:rate|burst|flood)$/.test(measure ?? "") || !/^\d+$/.test(port ?? "")) {
  process.stderr.write(
    "load.ts: expected rate, burst or flood and a port, see the head of this file\n",
  );
  process.exit(2);
}
const total = Number(values.total ?? (measure === "burst" ? 1_000 : 20_000));
const PAYMENT = {
  CZ: "0300",
  CJ: "012345678901",
  CA: "01",
  CE: "978",
  BA: "0",
  CD: "0",
  CB: "11245",
};
const request = encode(PAYMENT);

async function connect(): Promise<net.Socket> {
  const socket = net.connect({ port: Number(port), host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Resolves when the answer is whole: only whole fields, AE among them. */
function payOn(socket: net.Socket): Promise<void> {
  const reader = new MessageReader();
  return new Promise((resolve, reject) => {
    const onClose = (): void => reject(new Error("closed without an answer"));
    const onData = (chunk: Uint8Array): void => {
      reader.feed(chunk);
      if (reader.state !== "whole" || reader.message["AE"] === undefined) return;
      socket.off("data", onData).off("close", onClose);
      resolve();
    };
    socket.on("data", onData).once("close", onClose).write(request);
  });
}

/** A POS that sends and never reads. */
async function floodFrom(): Promise<void> {
  const letters = [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"];
  const large = letters.map((letter): [string, string] => [`X${letter}`, "x".repeat(999)]);
  const text = `${encodeText({ ...PAYMENT, ...Object.fromEntries(large) })}\n`.repeat(20);
  const socket = await connect();
  const send = (): unknown => socket.writable && socket.write(text);
  socket.on("error", () => {}).on("drain", send).pause();
  send();
}

const latencies: number[] = [];
async function payOnce(kept?: net.Socket): Promise<void> {
  const started = performance.now();
  const socket = kept ?? await connect();
  await payOn(socket);
  latencies.push(performance.now() - started);
  if (!kept) socket.destroy();
}

if (measure === "flood") {
  await Promise.all(Array.from({ length: 60 }, floodFrom));
  await new Promise(() => {});
}

let started = 0;
async function worker(): Promise<void> {
  const socket = values.keep ? await connect() : undefined;
  while (started++ < total) await payOnce(socket);
  socket?.destroy();
}

const count = measure === "burst" ? total : Number(values.concurrency);
const begun = performance.now();
const results = await Promise.allSettled(
  Array.from({ length: count }, () => measure === "burst" ? payOnce() : worker()),
);
const seconds = (performance.now() - begun) / 1000;
latencies.sort((a, b) => a - b);
const percentile = (share: number): number =>
  Math.round(latencies[Math.floor(latencies.length * share)] ?? 0);
const failed = results.filter(({ status }) => status === "rejected").length;
process.stdout.write(`${
  JSON.stringify({
    measure,
    answered: latencies.length,
    failed,
    seconds: Number(seconds.toFixed(3)),
    perSecond: Math.round(latencies.length / seconds),
    p50: percentile(0.5),
    p99: percentile(0.99),
  })
}\n`);
process.exit(failed > 0 ? 1 : 0);
