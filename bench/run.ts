// SPDX-License-Identifier: GPL-3.0-or-later
// Measures the terminal beside a bare server in Deno and in Bun, and prints the table of
// bench/README.md. Needs Linux (for /proc), and Bun, which also runs the load generator.
//
// usage: deno task bench
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { file, freePort, memory, start, stop, terminal } from "./start.ts";

const ROUNDS = 5;
const RUNTIMES: [name: string, command: string[]][] = [
  ["Deno", [process.execPath, "run", "--no-prompt", "--allow-net"]],
  ["Bun", ["bun"]],
];
const median = (values: number[]): number =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

async function load(
  ...args: string[]
): Promise<{ answered: number; seconds: number; perSecond: number }> {
  const child = spawn("bun", [file("load.ts"), ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => text += chunk);
  await once(child, "close");
  return JSON.parse(text);
}

const bare = (port: number): string[] => [file("echo.ts"), `${port}`];
/** KB that each of 5,000 connections takes that wait for an answer. */
async function sizeOfWaiting(command: string[]): Promise<number> {
  const server = await start(command, terminal(600, "error"));
  const idle = memory(server);
  const request = "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245";
  const sockets = await Promise.all(Array.from({ length: 5_000 }, async () => {
    const socket = net.connect({ port: server.port, host: "127.0.0.1" });
    await once(socket, "connect");
    socket.write(request);
    return socket;
  }));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const each = (memory(server) - idle) / sockets.length;
  for (const socket of sockets) socket.destroy();
  await stop(server);
  return each;
}

function print(runtime: string, what: string, result: string, target: string): void {
  process.stdout.write(`| ${runtime} | ${what} | ${result} | ${target} |\n`);
}

process.stdout.write("| runtime | measure | result | target |\n| --- | --- | --- | --- |\n");
for (const [name, command] of RUNTIMES) {
  const quiet = await start(command, terminal(0, "error"));
  const logging = await start(command, terminal(0, "info"), "/dev/shm/caisse-ap-bench.log");
  const echo = await start(command, bare);
  const web = await start(command, terminal(0, "error", await freePort()));
  const watchedPort = await freePort();
  const watched = await start(command, terminal(0, "error", watchedPort));
  const reader = net.connect({ port: watchedPort, host: "127.0.0.1" }, () => {
    reader.resume().write("GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
  });
  for (
    const [what, args, target] of [
      ["a new connection each", ["--total", "4000"], 0.9],
      ["kept connections", ["--total", "12000", "--keep"], 0.7],
    ] as const
  ) {
    const servers = { echo, quiet, logging, web, watched };
    const rates: Record<keyof typeof servers, number[]> = {
      echo: [],
      quiet: [],
      logging: [],
      web: [],
      watched: [],
    };
    for (let round = -1; round < ROUNDS; round++) { // the first one warms up
      for (const [key, { port }] of Object.entries(servers)) {
        const { perSecond } = await load("rate", `${port}`, ...args);
        if (round >= 0) rates[key as keyof typeof rates].push(perSecond);
      }
    }
    const share = (rate: number[], of: number[]): string =>
      median(rate.map((value, i) => value / of[i]!)).toFixed(2);
    const ratio = share(rates.quiet, rates.echo);
    const loud = share(rates.logging, rates.quiet);
    print(
      name,
      `${what}: of ${median(rates.echo)} payments/s of the bare server`,
      ratio,
      `${target}`,
    );
    print(name, `${what}: with the log at info in a file, of the rate without`, loud, "0.50");
    const [alone, seen] = [share(rates.web, rates.quiet), share(rates.watched, rates.quiet)];
    print(name, `${what}: web.ts with nobody connected, of the rate of server.ts`, alone, "0.95");
    print(name, `${what}: web.ts with one reader of events, of the same`, seen, "0.7");
  }
  reader.destroy();
  await stop(quiet, logging, echo, web, watched);

  for (
    const [count, target] of name === "Deno"
      ? [[1000, 1.5], [5000, 3]] as const
      : [[1000, 1.5]] as const
  ) {
    const took: number[] = [];
    let least: number = count;
    for (let round = 0; round < ROUNDS; round++) {
      const server = await start(command, terminal(1, "error"));
      const { answered, seconds } = await load("burst", `${server.port}`, "--total", `${count}`);
      took.push(seconds);
      least = Math.min(least, answered);
      await stop(server);
    }
    print(
      name,
      `${count} payments of 1 s at once, at least ${least} answered, the last after`,
      `${median(took).toFixed(2)} s`,
      `${target} s`,
    );
  }

  const starts: [bare: number, terminal: number][] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const [one, other] = [await start(command, bare), await start(command, terminal(0, "error"))];
    if (round >= 0) starts.push([one.started, other.started]);
    await stop(one, other);
  }
  const [first, second] = [0, 1].map((index) => median(starts.map((pair) => pair[index]!)));
  const ratio = median(starts.map(([one, other]) => other / one)).toFixed(2);
  print(
    name,
    `start to listening: ${second!.toFixed(0)} ms, of the bare server's ${first!.toFixed(0)} ms`,
    ratio,
    "1.30",
  );

  const sizes: number[] = [];
  for (let round = 0; round < ROUNDS; round++) sizes.push(await sizeOfWaiting(command));
  print(
    name,
    "5,000 connections waiting on an answer, each above the idle server",
    `${median(sizes).toFixed(1)} KB`,
    "20 KB",
  );
}
process.exit(0);
