// SPDX-License-Identifier: GPL-3.0-or-later
// Attacks a terminal in each runtime on the PATH. Needs Linux (for /proc).
//
// - Mutated requests: every answer must decode, a good request must be approved after each hundred,
//   and memory must stay within 50 MB of where it was after the first thousand.
// - POS that pipeline the largest requests and read no answer: memory must stay below 500 MB, and a
//   good request must be approved within a second meanwhile.
// - What a terminal could be made to keep, with its HTTP interface: large requests with event streams
//   and lists that nobody reads, requests sent byte by byte, tills that reset and leave their payments
//   under way. Memory must stay below 600 MB, and a good request must be approved within five seconds.
// - The reader alone (feed.ts): 40 MB/s whatever the chunks, and kept messages that hold at most three
//   times their text.
//
// usage: deno task fuzz [SEED]
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { decode, MessageReader } from "../protocol.ts";
import { accepts, file, freePort, memory, peak, start, stop, terminal } from "./start.ts";

const REQUESTS = 20_000;
const GOOD = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
const SEEDS = [
  GOOD,
  `${GOOD}CK003100CF0123\r\n`,
  "CZ0040300CJ012012345678901CA00201CD001I",
  "CZ0040300CJ012012345678901CA00201CD0013CK003111",
  "CZ0040300CJ012012345678901CA00201CD001PZT024CK003100AK008VEVYVEU9",
  "CZ0040320CJ012999999999999CA00202CB00512345CD0012CE003978CC00300CBF0011",
];
const seed = Number(process.argv[2] ?? Date.now() % 2 ** 31);

/** Numbers from 0 up to a limit, the same for the same seed (mulberry32). */
function numbers(state: number): (limit: number) => number {
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * limit);
  };
}

function mutate(random: (limit: number) => number): string {
  let text = SEEDS[random(SEEDS.length)]!;
  for (let count = 1 + random(4); count > 0; count--) {
    const at = random(text.length + 1);
    const byte = String.fromCharCode(random(256));
    const digit = String(random(10));
    switch (random(6)) {
      case 0:
        text = text.slice(0, at) + byte + text.slice(at + 1);
        break;
      case 1:
        text = text.slice(0, at) + byte.repeat(random(50)) + text.slice(at);
        break;
      case 2:
        text = text.slice(0, at);
        break;
      case 3:
        text = text.slice(0, at) + digit + text.slice(at + 1);
        break;
      case 4:
        text += text.slice(random(text.length + 1));
        break;
      default:
        text = text.slice(0, at) + text.slice(at + random(10));
    }
  }
  return text;
}

/** Sends a request as nc does, and gives all that comes back. */
function send(port: number, request: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const socket = net.connect(
      { port, host: "127.0.0.1", allowHalfOpen: true },
      () => socket.end(request, "latin1"),
    );
    socket.setEncoding("latin1").on("data", (chunk: string) => text += chunk);
    socket.on("error", () => {}).on("close", () => resolve(text));
  });
}

/** POS that send request after request of 26 KB and never read, in a process of their own. */
async function flood(name: string, command: string[]): Promise<void> {
  const server = await start(command, terminal(0, "error"));
  const attack = spawn("bun", [file("load.ts"), "flood", `${server.port}`], { stdio: "inherit" });
  let [most, slowest] = [0, 0];
  for (let count = 0; count < 50; count++) {
    const started = performance.now();
    if (decode(await send(server.port, GOOD)).AE !== "10") throw new Error("no approval meanwhile");
    slowest = Math.max(slowest, performance.now() - started);
    most = Math.max(most, memory(server) / 1024);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  attack.kill("SIGKILL");
  await once(attack, "close");
  await stop(server);
  process.stdout.write(
    `${name}: 60 POS that read nothing: ${most.toFixed(0)} MB, others paid within ${
      slowest.toFixed(0)
    } ms\n`,
  );
  if (most > 500 || slowest > 1000) throw new Error("the flood was not held");
}

/** 63 KB, all of which is answered. */
const LARGE = GOOD +
  [..."WXY"].flatMap((first) => [..."ABCDEFGHIJKLMNOPQRSTU"].map((second) => first + second))
    .slice(0, 63).map((tag) => `${tag}999${"x".repeat(999)}`).join("");

/** Connects to a port of this machine; what goes wrong there is no matter. */
async function connect(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

/** Does something so many times, as many at once. */
async function times(count: number, atOnce: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0) await act();
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** Asks for something over HTTP, and reads none of it. */
async function askUnread(port: number, path: string): Promise<net.Socket> {
  const socket = await connect(port);
  socket.pause().write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  return socket;
}

/** What makes a terminal keep much. Each gives what must stay open until memory is measured. */
const HOARDS: Readonly<
  Record<string, (port: number, web: number) => Promise<readonly net.Socket[]>>
> = {
  "1,000 requests of 63 KB, 40 streams and 40 lists that nobody reads": async (port, web) => {
    const streams = Array.from({ length: 40 }, () => askUnread(web, "/api/events"));
    const open = await Promise.all(streams);
    await times(1_000, 10, () => send(port, LARGE));
    const lists = Array.from({ length: 40 }, () => askUnread(web, "/api/transactions"));
    return [...open, ...await Promise.all(lists)];
  },
  "50 requests of 10,000 bytes, byte by byte": async (port) => {
    await times(50, 10, async () => {
      const socket = await connect(port);
      const closed = once(socket.resume(), "close"); // it may end sooner: it waits 10 s for a request
      for (const byte of LARGE.slice(0, 10_000)) {
        if (socket.writable) socket.write(byte);
        await new Promise(setImmediate);
      }
      socket.end();
      await closed;
    });
    return [];
  },
  "5,000 tills that leave payments of 63 KB under way": async (port) => {
    const slow = LARGE.replace("CB00511245", "CB00511299");
    await times(5_000, 100, async () => {
      const socket = await connect(port);
      await new Promise((resolve) => socket.write(slow, resolve));
      await new Promise((resolve) => setTimeout(resolve, 30)); // it becomes a request after 20
      socket.resetAndDestroy();
    });
    return [];
  },
};

async function hoard(name: string, command: string[]): Promise<void> {
  for (const [what, attack] of Object.entries(HOARDS)) {
    const web = await freePort();
    const args = terminal(0, "error", web);
    const server = await start(
      command,
      (port) => [...args(port), "--gap", "20", "--when", "*99=success,delay=600"],
    );
    while (!await accepts(web)) await new Promise((resolve) => setTimeout(resolve, 1));
    const open = await attack(server.port, web);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const started = performance.now();
    const answer = await send(server.port, GOOD);
    if (!answer.includes("AE00210")) throw new Error(`${name}: ${what}: no approval`);
    const took = performance.now() - started;
    const most = peak(server) / 1024;
    for (const socket of open) socket.destroy();
    await stop(server);
    process.stdout.write(
      `${name}: ${what}: ${most.toFixed(0)} MB, then paid within ${took.toFixed(0)} ms\n`,
    );
    if (most > 600) throw new Error("too much was kept");
    if (took > 5000) throw new Error("it was busy for too long");
  }
}

/** The reader alone, in a process of the runtime. */
async function read(name: string, command: string[]): Promise<void> {
  const [program = "", ...before] = command;
  const args = [...before, file("feed.ts")];
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    process.stdout.write(text.replace(/^/gm, `${name}: `).replace(/\S+: $/, ""));
  });
  const [status] = await once(child, "close");
  if (status !== 0) throw new Error("the reader is too slow, or keeps too much");
}

async function fuzz(name: string, command: string[]): Promise<void> {
  const server = await start(command, terminal(0, "error"));
  const { port } = server;
  const random = numbers(seed);
  const started = performance.now();
  let after1000 = 0;
  for (let sent = 0; sent < REQUESTS; sent += 100) {
    const requests = Array.from({ length: 100 }, () => mutate(random));
    const answers = await Promise.all(requests.map((request) => send(port, request)));
    for (const [index, raw] of answers.entries()) {
      const reader = new MessageReader();
      const received = reader.feed(raw);
      const last = reader.end();
      if (last) received.push(last);
      const wrong = received.find(({ error }) => error)?.error;
      if (wrong) {
        throw new Error(
          `seed ${seed}: ${JSON.stringify(requests[index])} got ${JSON.stringify(raw)}: ${wrong}`,
        );
      }
    }
    if (decode(await send(port, GOOD)).AE !== "10") {
      throw new Error(`seed ${seed}: no approval after ${sent + 100}`);
    }
    if (sent === 1000) after1000 = memory(server) / 1024;
  }
  const grown = memory(server) / 1024 - after1000;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stdout.write(
    `${name}: ${REQUESTS} mutated requests in ${seconds} s, memory ${
      grown.toFixed(1)
    } MB more, seed ${seed}\n`,
  );
  await stop(server);
  if (grown > 50) throw new Error(`seed ${seed}: memory grew by ${grown.toFixed(1)} MB`);
}

// V8 lets its young generation grow by some 50 MB whatever runs in it, the bare server of echo.ts
// too, and its old one as long as there is memory. Both are held small here, so that what is measured
// is what the terminal keeps; one that keeps more than this ends.
const SMALL = ["--max-semi-space-size=1", "--max-old-space-size=80"];
const RUNTIMES: [name: string, command: string[], small: string[]][] = [
  [
    "Deno",
    [process.execPath, "run", "--no-prompt", "--allow-net"],
    [`--v8-flags=${SMALL.join()}`],
  ],
  ["Bun", ["bun"], []],
  ["Node", ["node"], SMALL],
];
for (const [name, command, small] of RUNTIMES) {
  await read(name, command);
  await fuzz(name, [...command, ...small]);
  await flood(name, command);
  await hoard(name, command);
}
process.exit(0);
