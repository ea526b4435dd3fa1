// SPDX-License-Identifier: GPL-3.0-or-later
// The limit that a runtime sets to a proxy: two sockets, each piped into the other, and nothing else.
//
// usage: deno run --allow-net bench/pipe.ts PORT TO, bun bench/pipe.ts PORT TO, node bench/pipe.ts PORT TO
import net from "node:net";
import process from "node:process";

const [port, to] = process.argv.slice(2).map(Number);

net.createServer({ noDelay: true }, (socket) => {
  const other = net.connect({ port: to!, host: "127.0.0.1", noDelay: true });
  socket.on("error", () => {}).pipe(other).on("error", () => {}).pipe(socket);
}).listen({ port: port!, host: "127.0.0.1", backlog: 4096 });
