// SPDX-License-Identifier: GPL-3.0-or-later
// Answers on a connection of the terminal's own, as an AXIUM DX8000 with Nepting makes it.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { encodeText } from "../protocol.ts";
import { formatOutcome } from "../server.ts";
import type { Terminal } from "./terminal.ts";
import {
  BASE,
  DEBIT_MESSAGE,
  eventually,
  LIMIT,
  listening,
  Peer,
  sideBySide,
  slow,
  slowTable,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

/** A till that asks on one connection and hears on another; gives what it heard, once closed. */
async function calledBack(
  words: string,
  left = false,
): Promise<{ heard: string; asked: string; how: string; terminal: Terminal }> {
  const done = Promise.withResolvers<{ heard: string; how: string }>();
  await using till = await listening(async (peer) => {
    const how = await peer.closed;
    done.resolve({ heard: peer.text, how });
  });
  const terminal = await terminalWith({ callback: till.port, outcome: `${words},delay=0.05` });
  try {
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    if (left) {
      await eventually(() => terminal.transactions.length === 1, "the request");
      peer.socket.destroy();
    }
    return { ...await done.promise, asked: peer.text, terminal };
  } finally {
    await terminal.close();
  }
}

slowTable<[words: string, heard: RegExp, how?: string]>("--callback", {
  "an approval": ["success", /^CZ0040300.*AE00210/],
  "AE 11 first, both on one connection": ["pending", /^CZ0040300.*AE00211CZ0040300.*AE00210/],
  "in segments": ["split", /^CZ0040300.*AE00210/],
  "a truncated answer": ["truncate", /AE00210.*CG00642424$/],
  "nothing, and closed": ["close", /^$/],
  "a reset": ["reset", /^$/, "reset"],
}, async ([words, heard, how = "ended"]) => {
  for (const left of [false, true]) {
    const got = await calledBack(words, left);
    assert.match(got.heard, heard);
    assert.deepEqual([got.how, got.asked], [how, ""]);
    const [transaction] = got.terminal.transactions;
    assert.deepEqual([transaction?.warnings, transaction?.gone], [[], undefined]);
  }
});

slow(
  "--callback: a till that does not listen is warned of, and has been told nothing",
  async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: callback } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const log: string[] = [];
    await using terminal = await terminalWith({ callback, log: (_, text) => log.push(text) });
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    const { warnings, answer } = await terminal.waitForTransaction({ timeout: LIMIT });
    const text = `the answer cannot go to 127.0.0.1 port ${callback}: nothing listens there`;
    const about = { host: "127.0.0.1", port: callback };
    assert.deepEqual(warnings, [{ code: "callback", text, about }]);
    assert.equal(answer?.lost, "all");
    assert.ok(log.includes(`#1 ${text}`));
    assert.ok(log.some((line) => line.startsWith("#1 not sent: CZ")), log.join("\n"));
    assert.match(log[0] ?? "", new RegExp(`, answers to port ${callback} of the POS$`));
    assert.equal(formatOutcome(terminal.transactions[0]?.outcome ?? {}), "success");
  },
);

slow("--callback: no connection for an answer that is none", async () => {
  let connections = 0;
  await using till = await listening(() => connections++);
  await using terminal = await terminalWith({ callback: till.port, next: ["silent"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => terminal.transactions.length === 1, "the request");
  await using other = await Peer.connect(terminal.port);
  other.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => connections > 0, "an answer to the second");
  assert.equal(connections, 1);
});

slow("--callback: a till that closes that connection is warned of", async () => {
  await using till = await listening((peer) => peer.socket.once("data", () => peer.reset()));
  await using terminal = await terminalWith({ callback: till.port, outcome: "dribble" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(encodeText(DEBIT_MESSAGE));
  const { warnings, answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.equal(answer?.lost, "rest");
  const where = `127.0.0.1 port ${till.port}`;
  const text = `the answer cannot go to ${where}: the POS has closed that connection`;
  const about = { host: "127.0.0.1", port: till.port };
  assert.deepEqual(warnings, [{ code: "callback", text, about }]);
});

slow(
  "--callback: a till that has got its answer there may reset the connection it asked on",
  async () => {
    const heard = Promise.withResolvers<void>();
    await using till = await listening((peer) => peer.closed.then(() => heard.resolve()));
    const events: string[] = [];
    await using terminal = await terminalWith({
      callback: till.port,
      onEvent: ({ event }) => events.push(event),
    });
    for (const _ of [1, 2]) {
      const peer = await Peer.connect(terminal.port);
      peer.send(`${encodeText(DEBIT_MESSAGE)}\n`);
      await heard.promise;
      await terminal.waitForTransaction({ timeout: LIMIT });
      peer.reset();
      await peer.closed;
    }
    const closed = (): number => events.filter((event) => event === "closed").length;
    await eventually(() => closed() === 2, "closed");
    assert.deepEqual(terminal.transactions.map(({ gone, warnings }) => [gone, warnings]), [
      [undefined, []],
      [undefined, []],
    ]);
  },
);

slow(
  "--callback: a payment ends with a reset while the terminal connects to the till",
  async () => {
    let isReset = false;
    await using till = await listening(() => {});
    await using terminal = await terminalWith({
      callback: till.port,
      next: ["pending"],
      async onEvent({ event }) {
        if (event !== "request" || isReset) return;
        isReset = true;
        for (let turns = 0; turns < 50; turns++) await undefined; // which no connection comes before
        terminal.reset("01");
      },
    });
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    await peer.closed;
    await using other = await Peer.connect(terminal.port); // whose answer goes to the till, after it
    other.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
    await terminal.waitForTransaction({ register: "02", timeout: LIMIT });
    await other.finish();
    const { transactions } = terminal;
    await using asking = await Peer.connect(terminal.port);
    asking.send(encodeText({ ...BASE, CD: "3" }));
    const { answer } = await terminal.waitForTransaction({ register: "01", timeout: LIMIT });
    assert.deepEqual([transactions.length, answer?.message["AF"]], [1, "10"]);
  },
);

slow("a reset or the end of the terminal is told to who decides by the signal", async () => {
  for (const callback of [0, 1]) {
    for (const how of ["reset", "close"] as const) {
      const asked = Promise.withResolvers<AbortSignal>();
      const terminal = await terminalWith({
        callback,
        outcome: (_request, _number, signal) => {
          asked.resolve(signal);
          return new Promise(() => {});
        },
      });
      const peer = await Peer.connect(terminal.port);
      peer.send(encodeText(DEBIT_MESSAGE));
      const signal = await asked.promise;
      assert.equal(signal.aborted, false);
      await terminal[how]();
      assert.equal(signal.aborted, true, `${how}, ${callback}`);
      await terminal.close();
    }
  }
});
