// SPDX-License-Identifier: GPL-3.0-or-later
// The limit that a runtime sets: a server that answers any bytes with the same, and nothing else.
//
// usage: deno run --allow-net bench/echo.ts PORT, bun bench/echo.ts PORT, node bench/echo.ts PORT
import net from "node:net";
import process from "node:process";
import { encode } from "../protocol.ts";

const request = {
  CZ: "0300",
  CJ: "012345678901",
  CA: "01",
  CE: "978",
  BA: "0",
  CD: "0",
  CB: "11245",
};
const card = {
  CC: "001",
  CI: "1",
  AC: "424806",
  AA: "477310######1151",
  AI: "A0000000421010",
  AB: "2711",
};
const answer = encode({ ...request, AE: "10", ...card, CF: "1010000000", CG: "424242" });

net.createServer((socket) => {
  socket.on("data", () => socket.write(answer));
  socket.on("error", () => {});
}).listen(
  { port: Number(process.argv[2] ?? 0), host: "127.0.0.1", backlog: 4096 },
  () => process.stderr.write("listening\n"),
);
