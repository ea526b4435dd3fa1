// SPDX-License-Identifier: GPL-3.0-or-later
// A terminal that reads nothing while it is busy, as a Desk/5000.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText, type Message } from "../protocol.ts";
import type { Terminal, TerminalOptions } from "./terminal.ts";
import {
  ask,
  BASE,
  DEBIT_MESSAGE,
  eventually,
  LIMIT,
  Peer,
  sideBySide,
  slow,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

/** A busy Desk/5000, and POS whose requests it does not read until then. */
async function busyDesk5000(options: TerminalOptions = {}): Promise<
  { terminal: Terminal; unread: (request: Message) => Promise<Peer> } & AsyncDisposable
> {
  const terminal = await terminalWith({
    model: "desk5000",
    exclusive: true,
    next: ["success,delay=60"],
    ...options,
  });
  const unread = async (request: Message): Promise<Peer> => {
    const peer = await Peer.connect(terminal.port);
    const before = terminal.transactions.length;
    peer.send(`${encodeText(request)}\n`);
    await eventually(() => terminal.transactions.length > before, "a request");
    return peer;
  };
  await unread({ ...DEBIT_MESSAGE, CA: "99" }); // which it reads, and is busy with
  return { terminal, unread, [Symbol.asyncDispose]: () => terminal.close() };
}

slow("a busy Desk/5000 reads nothing, not even what it refuses", async () => {
  await using desk = await busyDesk5000();
  const { CB: _, ...lacking } = DEBIT_MESSAGE;
  const requests = [lacking, { ...DEBIT_MESSAGE, BF: "1" }, { ...BASE, CD: "X" }, DEBIT_MESSAGE];
  const peers: Peer[] = [];
  for (const request of requests) peers.push(await desk.unread(request));
  assert.deepEqual(peers.map(({ text }) => text), ["", "", "", ""]);
  desk.terminal.reset("99");
  const answers = await Promise.all(peers.map((peer) => peer.until(/AE00210|AF002../)));
  assert.deepEqual(answers.map((text) => /AF002(..)/.exec(text)?.[1]), [
    "09",
    "09",
    "12",
    undefined,
  ]);
});

slow("what a Desk/5000 has not read waits for nobody when the model changes", async () => {
  await using desk = await busyDesk5000();
  const cancel = await desk.unread({ ...DEBIT_MESSAGE, CD: "2" });
  const debit = await desk.unread(DEBIT_MESSAGE);
  desk.terminal.change({ model: "hipay" });
  desk.terminal.reset("99");
  await cancel.until(/AF00212/);
  await debit.until(/AE00210/);
});

slow("what a Desk/5000 has not read is not decided on when it is closed or reset", async () => {
  for (const how of ["close", "reset"] as const) {
    const asked: number[] = [];
    const outcome = (_: Message, number: number): "success" => {
      asked.push(number);
      return "success";
    };
    await using desk = await busyDesk5000({ outcome });
    await desk.unread(DEBIT_MESSAGE);
    await desk.unread({ ...DEBIT_MESSAGE, CA: "02" });
    await desk.terminal[how]();
    await sleep(20);
    assert.deepEqual(asked, [], how);
  }
});

slow("what a Desk/5000 has not read is lost with a reset, and read after a close", async () => {
  await using desk = await busyDesk5000();
  const gone = await desk.unread({ ...DEBIT_MESSAGE, CA: "02" });
  const closed = await desk.unread({ ...DEBIT_MESSAGE, CA: "03" });
  gone.reset();
  await sleep(150); // sooner it might wait as nc does
  closed.socket.destroy();
  await eventually(() => desk.terminal.transactions[2]?.gone !== undefined, "seen to leave");
  const lost = await desk.terminal.waitForTransaction({ register: "02", timeout: LIMIT });
  assert.equal(lost.answer, undefined);
  desk.terminal.reset("99");
  const { answer } = await desk.terminal.waitForTransaction({ register: "03", timeout: LIMIT });
  assert.deepEqual([answer?.message["AE"], answer?.lost], ["10", "all"]);
});

slow("what a busy Desk/5000 has not read is forgotten when it is reset or closed", async () => {
  const terminal = await terminalWith({ model: "desk5000", exclusive: true, duration: 60 });
  await using first = await Peer.connect(terminal.port);
  first.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => terminal.transactions.length === 1, "the first");
  await using second = await Peer.connect(terminal.port);
  second.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
  await eventually(() => terminal.transactions.length === 2, "the second");
  terminal.reset("02");
  await second.closed;
  terminal.change({ duration: 0 });
  terminal.reset("01");
  await first.closed;
  assert.equal((await ask(terminal.port, DEBIT_MESSAGE))["AE"], "10");
  assert.equal(terminal.transactions.length, 1);
  await terminal.close();
});

slow(
  "of what a busy Desk/5000 has not read, one that is refused does not hold up the next",
  async () => {
    await using terminal = await terminalWith({
      model: "desk5000",
      exclusive: true,
      interactive: true,
    });
    const first = ask(terminal.port, DEBIT_MESSAGE);
    await eventually(() => terminal.settings.waiting.length === 1, "the first");
    const second = ask(terminal.port, { ...DEBIT_MESSAGE, CA: "002" });
    await eventually(() => terminal.transactions.length === 2, "the second");
    const third = ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    await eventually(() => terminal.transactions.length === 3, "the third");
    terminal.change({ strict: true });
    terminal.decide(1, "success");
    assert.equal((await first)["AE"], "10");
    assert.equal((await second)["AF"], "09");
    assert.equal((await third)["AE"], "10");
  },
);
