// SPDX-License-Identifier: GPL-3.0-or-later
// One thing at a time, and answers on a connection of the terminal's own; more of both in
// busy_test.ts and callback_test.ts.
import assert from "node:assert/strict";
import { encodeText, type Message } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import type { Terminal, TerminalOptions } from "./terminal.ts";
import {
  ask,
  BASE,
  came,
  codes,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  giveUp,
  HeldClock,
  LIMIT,
  listening,
  named,
  Peer,
  recorded,
  sideBySide,
  slow,
  terminalWith,
} from "./test_helpers.ts";

// ---------------------------------------------------------------- one thing at a time

sideBySide();

slow("exclusive: while a transaction is under way, others are answered AF 07 at once", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using seen = await recorded({
    exclusive: true,
    outcome: (_request, number) => number === 1 ? decided.promise : "silent",
  });
  const { terminal, port } = seen;
  await using peer = await Peer.connect(port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  for (const request of [DEBIT_MESSAGE, { ...BASE, CD: "I" }]) {
    assert.deepEqual(await ask(port, request), { ...request, AE: "01", AF: "07" });
    assert.ok(codes(terminal)?.includes("busy"));
  }
  decided.resolve("success");
  await peer.until(/AE00210.*CG/);
  peer.send(`${DEBIT}\n`); // which is never answered, so that the terminal stays busy until the POS goes
  await came(terminal, 4);
  assert.equal((await ask(port, DEBIT))["AF"], "07");
  peer.socket.destroy();
  await eventually(
    () => named(seen.events, "closed").some(({ connection }) => connection === 1),
    "closed",
  );
  terminal.nextOutcome("refused");
  assert.equal((await ask(port, DEBIT))["AF"], "04");
});

slow("exclusive: what cannot be served is told so, and makes nobody wait", async () => {
  await using terminal = await terminalWith({ exclusive: true, next: ["success,delay=60"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  assert.equal((await ask(terminal.port, { ...BASE, CD: "X" }))["AF"], "12");
  assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, CB: "1.5" }))["AF"], "09");
});

slow("exclusive: a till that gives up leaves it busy until its payment is over", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using seen = await recorded({
    exclusive: true,
    outcome: (_request, number) => number === 1 ? decided.promise : "success",
  });
  const { terminal, port, events } = seen;
  await giveUp(terminal);
  await eventually(() => named(events, "gone").length === 1, "gone");
  assert.equal((await ask(port, DEBIT))["AF"], "07"); // busy: the person may still pay
  decided.resolve("success");
  assert.equal((await terminal.waitForTransaction({ timeout: LIMIT })).number, 2);
  assert.equal((await terminal.waitForTransaction({ timeout: LIMIT })).number, 1);
  assert.equal((await ask(port, DEBIT))["AE"], "10"); // not busy any more
});

slow("exclusive: a function that does not settle does not keep it busy for ever", async () => {
  await using terminal = await terminalWith({
    bounds: { decide: 50 },
    exclusive: true,
    outcome: () => new Promise<OutcomeText>(() => {}),
  });
  for (const number of [1, 2]) {
    assert.equal((await ask(terminal.port, DEBIT))["AF"], "08", `${number}`);
    assert.deepEqual(codes(terminal), ["undecided"]);
  }
});

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
    await came(terminal, before + 1);
    return peer;
  };
  await unread({ ...DEBIT_MESSAGE, CA: "99" }); // which it reads, and is busy with
  return { terminal, unread, [Symbol.asyncDispose]: () => terminal.close() };
}

slow("the duration of what a Desk/5000 reads later begins when it reads it", async () => {
  const clock = new HeldClock();
  await using desk = await busyDesk5000({ clock, next: ["success,delay=10"], duration: 5 });
  const peer = await desk.unread(DEBIT_MESSAGE);
  await clock.asleep(10_000);
  clock.pass(10_000);
  await clock.asleep(5_000);
  assert.equal(peer.text, "");
  clock.pass(5_000);
  await peer.until(/AE00210/);
});

slow("what a Desk/5000 has not read is read when it does several things at once", async () => {
  await using desk = await busyDesk5000();
  const debit = await desk.unread(DEBIT_MESSAGE);
  desk.terminal.change({ exclusive: false });
  await debit.until(/AE00210/);
});

// ---------------------------------------------------------------- answers on another connection

sideBySide();

slow("callback: hangup closes the connection it asked on, too", async () => {
  await using till = await listening(() => {});
  await using terminal = await terminalWith({ callback: till.port, outcome: "refused,hangup" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  assert.equal(await peer.closed, "ended");
  assert.equal(terminal.transactions[0]?.answer?.lost, undefined);
});

slow("callback: what was made twice there is told as well", async () => {
  await using till = await listening((peer) => peer.socket.once("data", () => peer.reset()));
  await using terminal = await terminalWith({ callback: till.port, next: ["split"] });
  await using peer = await Peer.connect(terminal.port);
  for (const _ of [1, 2]) {
    peer.send(`${DEBIT}\n`);
    await terminal.waitForTransaction({ timeout: LIMIT });
  }
  assert.ok(codes(terminal)?.includes("paid-twice"), `${codes(terminal)}`);
});
