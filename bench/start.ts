// SPDX-License-Identifier: GPL-3.0-or-later
// Servers as processes, for what measures and attacks them.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync } from "node:fs";
import net from "node:net";
import { fileURLToPath } from "node:url";

/** A file of this folder. */
export const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** A server that listens. */
export interface Server {
  port: number;
  process: ChildProcess;
  /** Milliseconds from the start of the process until it listens. */
  started: number;
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Whether somebody listens on a port. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: "127.0.0.1" }, () => resolve(true)).on(
      "error",
      () => resolve(false),
    );
    socket.on("connect", () => socket.destroy());
  });
}

/** Starts a server, and waits until it listens. */
export async function start(
  command: string[],
  args: (port: number) => string[],
  log?: string,
): Promise<Server> {
  const port = await freePort();
  const [program = "", ...before] = command;
  const target = log === undefined ? "ignore" : openSync(log, "w");
  const from = performance.now();
  const child = spawn(program, [...before, ...args(port)], { stdio: ["ignore", "ignore", target] });
  while (!await accepts(port)) await new Promise((resolve) => setTimeout(resolve, 1));
  const started = performance.now() - from;
  if (typeof target === "number") closeSync(target);
  return { port, process: child, started };
}

/** Ends servers. */
export async function stop(...servers: Server[]): Promise<void> {
  for (const server of servers) {
    server.process.kill("SIGKILL");
    await once(server.process, "close");
  }
}

/** Kilobytes that a server has in memory. */
export const memory = ({ process: { pid } }: Server): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

/** The most kilobytes that it has had. */
export const peak = ({ process: { pid } }: Server): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);

/** The arguments of a terminal that answers after so many seconds, alone or with web.ts around it. */
export const terminal =
  (duration: number, level: string, webPort?: number) => (port: number): string[] => [
    file(webPort === undefined ? "../server.ts" : "../workbench/web.ts"),
    ...(webPort === undefined ? [] : ["--web-port", `${webPort}`]),
    ...["--host", "127.0.0.1", "-p", `${port}`, "-d", `${duration}`, "--gap", "0", "-l", level],
  ];
