// SPDX-License-Identifier: GPL-3.0-or-later
// Measures what proxy.ts adds to an exchange beside a bare pipe, in Deno and in Bun, and prints the
// table of bench/README.md. Needs Linux and Bun.
//
// usage: deno run -A bench/proxy.ts
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { encode } from "../protocol.ts";
import { file, start, stop } from "./start.ts";

const [ROUNDS, EXCHANGES] = [7, 2_000];
const RUNTIMES: [name: string, command: string[]][] = [
  ["Deno", [process.execPath, "run", "--no-prompt", "--allow-net"]],
  ["Bun", ["bun"]],
];
const request = encode({
  CZ: "0300",
  CJ: "012345678901",
  CA: "01",
  CE: "978",
  BA: "0",
  CD: "0",
  CB: "11245",
});
const median = (values: number[]): number =>
  values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/** The median of the milliseconds that exchanges one after another on a connection take. */
async function exchange(port: number): Promise<number> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  socket.write(request);
  const [{ length }] = await once(socket, "data"); // which is the whole answer
  const took: number[] = [];
  for (let count = 0; count < EXCHANGES; count++) {
    const started = performance.now();
    socket.write(request);
    for (let left = length; left > 0;) left -= (await once(socket, "data"))[0].length;
    took.push(performance.now() - started);
  }
  socket.destroy();
  await once(socket, "close");
  return median(took);
}

process.stdout.write(
  "| runtime | an exchange, its median | ms | added |\n| --- | --- | --- | --- |\n",
);
for (const [name, command] of RUNTIMES) {
  const echo = await start(command, (port) => [file("echo.ts"), `${port}`]);
  const through = (...more: string[]) => (port: number): string[] => [
    file("../workbench/proxy.ts"),
    ...["--terminal", `127.0.0.1:${echo.port}`, "--host", "127.0.0.1", "-p", `${port}`, ...more],
  ];
  const servers = {
    "without anything between": echo,
    "a bare pipe": await start(command, (port) => [file("pipe.ts"), `${port}`, `${echo.port}`]),
    "proxy.ts": await start(command, through("-l", "error")),
    "proxy.ts with the log at info in a file": await start(
      command,
      through(),
      "/dev/shm/caisse-ap-proxy.log",
    ),
  };
  const times = new Map(Object.keys(servers).map((what): [string, number[]] => [what, []]));
  for (let round = -1; round < ROUNDS; round++) { // the first one warms up
    for (const [what, { port }] of Object.entries(servers)) {
      const time = await exchange(port);
      if (round >= 0) times.get(what)?.push(time);
    }
  }
  const alone = median(times.get("without anything between") ?? []);
  for (const [what, all] of times) {
    const time = median(all);
    process.stdout.write(
      `| ${name} | ${what} | ${time.toFixed(3)} | ${(time - alone).toFixed(3)} |\n`,
    );
  }
  await stop(...Object.values(servers));
}
process.exit(0);
