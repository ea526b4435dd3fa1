// SPDX-License-Identifier: GPL-3.0-or-later
// What is told of an answer that its POS does not get whole.
import assert from "node:assert/strict";
import net from "node:net";
import { test } from "node:test";
import type { OutcomeText, TerminalEvent } from "../server.ts";
import type { Relayed } from "./relay.ts";
import { startTerminal, type Terminal } from "./terminal.ts";
import { DEBIT, eventually } from "./test_helpers.ts";

/** A terminal, and the events that it tells. */
async function listening(
  outcome: OutcomeText,
): Promise<{ terminal: Terminal; events: TerminalEvent[] }> {
  const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0, outcome });
  const events: TerminalEvent[] = [];
  terminal.subscribe((event) => void events.push(event));
  return { terminal, events };
}

/** What was due in the first transaction. */
const dueOf = (terminal: Terminal): Relayed | undefined =>
  (terminal.transaction(1) as { due?: Relayed } | undefined)?.due;

for (const fault of ["silent", "close", "reset", "truncate", "garbage"] as const) {
  test(`what was decided is told where the outcome is ${fault}`, async () => {
    const { terminal, events } = await listening(fault);
    await using _ = terminal;
    const socket = net.connect(terminal.port, "127.0.0.1").on("error", () => {});
    socket.write(DEBIT);
    await eventually(() => dueOf(terminal) !== undefined, "due");
    socket.resume().destroy();
    await eventually(() => terminal.transaction(1)?.ended !== undefined, "over");
    const due = dueOf(terminal);
    assert.equal(due?.message["AE"], "10");
    assert.notEqual(terminal.transaction(1)?.answer?.raw, due?.raw);
    const told = events.filter(({ event }) => event === "due");
    assert.equal(told.length, 1);
    assert.deepEqual({ ...told[0], time: 0 }, {
      event: "due",
      time: 0,
      connection: 1,
      transaction: 1,
      ...due,
    });
  });
}

for (const outcome of ["success", "split", "refused", "hangup"] as const) {
  test(`nothing is due besides the answer where the outcome is ${outcome}`, async () => {
    const { terminal, events } = await listening(outcome);
    await using _ = terminal;
    const socket = net.connect(terminal.port, "127.0.0.1").on("error", () => {});
    socket.resume().write(DEBIT);
    await eventually(() => terminal.transaction(1)?.ended !== undefined, "over");
    socket.destroy();
    assert.equal(dueOf(terminal), undefined);
    assert.equal(events.some(({ event }) => event === "due"), false);
    const answer = events.find(({ event }) => event === "answer");
    assert.equal(answer?.time, terminal.transaction(1)?.answered?.toISOString());
  });
}
