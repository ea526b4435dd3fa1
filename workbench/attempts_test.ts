// SPDX-License-Identifier: GPL-3.0-or-later
// What a till does wrong that takes more than one request to see.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeText as text, type Message } from "../protocol.ts";
import type { Decide, OutcomeText } from "../server.ts";
import type { Terminal } from "./terminal.ts";
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
  logged,
  named,
  onceLeft,
  Peer,
  recorded,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

const DUPLICATE = text({ ...BASE, CD: "3" });

/** A payment whose answer gets lost. */
async function losing(
  { terminal, port }: { terminal: Terminal; port: number },
  lose: "reads" | "leaves" | "resets" = "reads",
  request: Message | string = DEBIT,
): Promise<void> {
  const { number = 0 } = terminal.transactions.at(-1) ?? {};
  const raw = typeof request === "string" ? request : text(request);
  if (lose === "leaves") await giveUp(terminal, `${raw}\n`);
  else {
    const peer = await Peer.connect(port);
    peer.send(`${raw}\n`);
    await terminal.waitForTransaction({ timeout: LIMIT, after: number });
    if (lose === "resets") peer.reset();
    else if (!peer.socket.destroyed) peer.socket.end();
    await peer.closed;
  }
  await terminal.waitForTransaction({ timeout: LIMIT, after: number });
  if (lose === "resets") {
    await eventually(() => terminal.transaction(number + 1)?.gone !== undefined, "gone");
  }
}

/** Whether the last request was told to have been paid twice, and how often that was told at all. */
function twice(terminal: Terminal): [last: boolean, all: number] {
  const all = terminal.transactions.map(({ warnings }) =>
    warnings.some(({ code }) => code === "paid-twice")
  );
  return [all.at(-1) ?? false, all.filter(Boolean).length];
}

// ---------------------------------------------------------------- paid twice

sideBySide();

slowTable<[outcome: OutcomeText | Decide, lose: "reads" | "leaves" | "resets"]>(
  "the same payment again may have been paid twice, after",
  {
    "close": ["close", "reads"],
    "silence": ["silent", "leaves"],
    "a cut answer": ["truncate", "reads"],
    "garbage": ["garbage", "reads"],
    "a POS that left": [onceLeft("success"), "leaves"],
    "a POS that reset the connection": ["success", "resets"],
    "AE 11 and no more": ["pending,silent", "leaves"],
  },
  async ([outcome, lose]) => {
    await using seen = await recorded(
      typeof outcome === "function" ? { outcome } : { next: [outcome] },
    );
    const { terminal, port, events, log } = seen;
    await losing(seen, lose);
    assert.equal((await ask(port, DEBIT))["AE"], "10");
    assert.ok(codes(terminal)?.includes("paid-twice"), `${codes(terminal)}`);
    const told = named(events, "warning").at(-1);
    const how = lose === "resets" ? "perhaps got lost" : "got lost";
    assert.match(
      String(told?.["text"]),
      new RegExp(`^debit 112\\.45 EUR of 01 again, although .* and its answer ${how}: `),
    );
    assert.deepEqual(told?.["about"], {
      what: "debit 112.45 EUR of 01",
      action: "0",
      amount: "112.45 EUR",
      register: "01",
    });
    logged(
      log,
      "warn",
      /^#2 debit 112\.45 EUR of 01 again, although the last attempt was approved/,
    );
    assert.equal((await ask(port, DEBIT))["AE"], "10"); // whose answer before it has arrived
    assert.deepEqual(codes(terminal), []);
  },
);

slow("a till that takes AE 11 for the result, and pays again, has paid twice", async () => {
  const clock = new HeldClock();
  await using seen = await recorded({ clock, next: ["pending,delay=10"] });
  const { terminal } = seen;
  await using peer = await Peer.connect(seen.port);
  peer.send(`${DEBIT}\n`);
  await clock.asleep(10_000); // AE 11 is out
  peer.socket.destroy();
  await eventually(() => terminal.transactions[0]?.gone !== undefined, "gone");
  clock.pass(10_000);
  const { warnings, answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.deepEqual([warnings.map(({ code }) => code), answer?.lost], [["took-interim"], "all"]);
  await ask(seen.port, DEBIT);
  assert.deepEqual(twice(terminal), [true, 1]);
});

slow("it is told before the second approval is sent, and not of a refusal", async () => {
  await using seen = await recorded({ next: ["close", "refused", "success"] });
  const { terminal, port, events } = seen;
  await losing(seen);
  assert.equal((await ask(port, DEBIT))["AF"], "04");
  assert.deepEqual(twice(terminal), [false, 0]); // nobody has paid twice
  assert.equal((await ask(port, DEBIT))["AE"], "10");
  assert.deepEqual(twice(terminal), [true, 1]);
  const names = events.filter(({ transaction }) => transaction === 3).map(({ event }) => event);
  assert.deepEqual(names.slice(0, 4), ["request", "decided", "warning", "answer"]);
  const [{ text } = { text: "" }] = terminal.transactions[2]!.warnings;
  assert.match(text, /again, although an earlier attempt was approved and its answer got lost: /);
});

slow("a payment that is approved and answered is the end of it, whatever its amount", async () => {
  await using seen = await recorded({ next: ["close"] });
  await losing(seen);
  for (const CB of ["500", "11245"]) await ask(seen.port, { ...DEBIT_MESSAGE, CB });
  assert.deepEqual(twice(seen.terminal), [false, 0]);
});

slow("one that is approved and lost is not, even if its amount is another", async () => {
  await using seen = await recorded({ next: ["close", "close"] });
  await losing(seen);
  await losing(seen, "reads", { ...DEBIT_MESSAGE, CB: "500" });
  await ask(seen.port, DEBIT);
  assert.deepEqual(twice(seen.terminal), [true, 1]);
});

slow("a till that has read the duplicate may take the same amount again", async () => {
  await using seen = await recorded({ next: ["close", "success", "success", "close", "close"] });
  const { terminal, port } = seen;
  await losing(seen);
  assert.equal((await ask(port, DUPLICATE))["AE"], "10");
  assert.equal((await ask(port, DEBIT))["AE"], "10");
  assert.deepEqual(codes(terminal), []);
  await losing(seen);
  await using peer = await Peer.connect(port);
  peer.send(`${DUPLICATE}\n`);
  await peer.closed; // the duplicate is lost, too
  await ask(port, DEBIT);
  assert.deepEqual(codes(terminal), ["paid-twice"]);
});

slow(
  "a duplicate that tells of another payment, or of a refusal, tells nothing of it",
  async () => {
    await using seen = await recorded({ next: ["close", "close"] });
    const { terminal, port } = seen;
    await losing(seen);
    await losing(seen, "reads", { ...DEBIT_MESSAGE, CB: "500" });
    assert.equal((await ask(port, DUPLICATE))["CB"], "500");
    terminal.nextOutcome("refused");
    await ask(port, { ...DEBIT_MESSAGE, CB: "7" });
    assert.equal((await ask(port, DUPLICATE))["AF"], "07");
    await ask(port, DEBIT);
    assert.deepEqual(twice(terminal), [true, 1]);
  },
);

test("after ten minutes it is another purchase", async () => {
  for (const [seconds, told] of [[599, true], [600, false]] as const) {
    const clock = new HeldClock();
    await using seen = await recorded({ clock, next: ["close"] });
    await losing(seen);
    clock.pass(seconds * 1000);
    await ask(seen.port, DEBIT);
    assert.equal(twice(seen.terminal)[0], told, `${seconds} s`);
  }
});

slowTable<[outcome: OutcomeText, change: Message]>("a payment is not paid twice after", {
  "a refusal whose answer got lost": ["refused,close", {}],
  "another amount": ["close", { CB: "500" }],
  "another currency": ["close", { CE: "756" }],
  "a debit, when it is a credit": ["close", { CD: "1" }],
  "a payment of another register": ["close", { CA: "02" }],
  "an answer that arrived": ["success", {}],
  "an answer in segments that arrived": ["success,split,hangup", {}],
}, async ([outcome, change]) => {
  await using seen = await recorded({ next: [outcome] });
  await losing(seen);
  await ask(seen.port, { ...DEBIT_MESSAGE, ...change });
  assert.deepEqual(codes(seen.terminal), []);
});

slow("zeros before an amount make no other payment of it", async () => {
  await using seen = await recorded({ next: ["close"] });
  await losing(seen);
  await ask(seen.port, { ...DEBIT_MESSAGE, CB: "00011245" });
  assert.deepEqual(twice(seen.terminal), [true, 1]);
});

slow("an answer that could not be written to a POS that has closed is lost", async () => {
  await using seen = await recorded({ next: ["hangup,delay=0.05", "success", "success"] });
  const { terminal } = seen;
  await using peer = await Peer.connect(seen.port);
  peer.send(`${DEBIT}\n${DEBIT}\n`);
  await peer.closed;
  await came(terminal, 2);
  await eventually(() => terminal.transactions[1]?.ended !== undefined, "over");
  await ask(seen.port, DEBIT);
  assert.ok(codes(terminal)?.includes("paid-twice"));
});

slow("reset() forgets what got lost, of one register or of all", async () => {
  for (const [register, expected] of [[undefined, false], ["01", false], ["02", true]] as const) {
    await using seen = await recorded({ outcome: "success" });
    seen.terminal.nextOutcome("close");
    await losing(seen);
    seen.terminal.reset(register);
    await ask(seen.port, DEBIT);
    assert.equal(twice(seen.terminal)[0], expected, `${register}`);
  }
});

// ---------------------------------------------------------------- cancellations

slowTable<[before: Message[], request: Message, form?: RegExp]>("a cancellation", {
  "of a debit": [[{}], { CD: "2" }],
  "of one of two debits": [[{}, {}, { CD: "2" }], { CD: "2" }],
  "of a deferred debit": [[{ CD: "7" }], { CD: "2" }],
  "of a debit that got other zeros": [[{ CB: "0011245" }], { CD: "2" }],
  "of nothing": [[], { CD: "2" }, /^no debit of 112\.45 EUR of this cash register was approved: /],
  "of another amount": [[{}], { CD: "2", CB: "11244" }, /^no debit of 112\.44 EUR /],
  "of another currency": [[{}], { CD: "2", CE: "756" }, /^no debit of 112\.45 CHF /],
  "of the debit of another register": [[{ CA: "02" }], { CD: "2" }, /^no debit/],
  "of a credit": [[{ CD: "1" }], { CD: "2" }, /^no debit/],
  "of a debit that was refused": [[{ CF: "refuse" }], { CD: "2" }, /^no debit/],
  "the second of the same": [
    [{}, { CD: "2" }],
    { CD: "2" },
    /^the debit of 112\.45 EUR of this cash register has been cancelled already: /,
  ],
  "in a currency that has no name here": [[], { CD: "2", CE: "036" }, /^no debit of that amount /],
}, async ([before, request, form]) => {
  await using terminal = await terminalWith({
    outcome: ({ CF }) => CF === "refuse" ? "refused" : "success",
  });
  await using peer = await Peer.connect(terminal.port);
  for (const change of before) await peer.ask({ ...DEBIT_MESSAGE, ...change });
  assert.equal((await peer.ask({ ...DEBIT_MESSAGE, ...request }))["AE"], "10");
  const { warnings } = terminal.transactions.at(-1)!;
  assert.deepEqual(warnings.map(({ code }) => code), form ? ["nothing-to-cancel"] : []);
  if (form) assert.match(warnings[0]!.text, form);
});

slow("a cancellation that is refused cancels nothing", async () => {
  await using terminal = await terminalWith({ next: ["success", "refused"] });
  await using peer = await Peer.connect(terminal.port);
  for (const CD of ["0", "2", "2", "2"]) await peer.ask({ ...DEBIT_MESSAGE, CD });
  const told = terminal.transactions.map(({ warnings }) => warnings.length);
  assert.deepEqual(told, [0, 0, 0, 1]);
});

// ---------------------------------------------------------------- several at once

slow(
  "a second payment of a register while its first is under way is a warning, others are none",
  async () => {
    await using terminal = await terminalWith({ duration: 60 });
    const registers = ["01", "02", "03", "01"];
    for (const CA of registers) {
      const till = await Peer.connect(terminal.port);
      till.send(`${text({ ...DEBIT_MESSAGE, CA })}\n`);
    }
    await came(terminal, registers.length);
    const overlapping = terminal.transactions.filter(({ warnings }) => warnings.length > 0);
    assert.deepEqual(overlapping.map(({ request }) => request.message["CA"]), ["01"]);
    assert.deepEqual(overlapping[0]?.warnings, [{
      code: "overlap",
      text:
        "a second payment of this cash register while its first is under way: if both are approved, the customer pays twice",
    }]);
    assert.notEqual(overlapping[0], terminal.transactions[0]);
  },
);

slow(
  "a second payment of a register is a warning too while a person decides on its first",
  async () => {
    await using terminal = await terminalWith({ interactive: true });
    const first = ask(terminal.port, DEBIT);
    await eventually(() => terminal.settings.waiting.length === 1, "the first");
    const others = ["01", "02"].map((CA) => ask(terminal.port, { ...DEBIT_MESSAGE, CA }));
    await eventually(() => terminal.settings.waiting.length === 3, "the others");
    terminal.decide(1, "success");
    await first;
    const last = ask(terminal.port, DEBIT); // while the second is under way
    await eventually(() => terminal.settings.waiting.length === 3, "the last");
    for (const number of terminal.settings.waiting) terminal.decide(number, "refused");
    await Promise.all([...others, last]);
    const warned = terminal.transactions.filter(({ warnings }) => warnings[0]?.code === "overlap")
      .map(({ request }) => request.message["CA"]);
    assert.deepEqual(warned, ["01", "01"]);
    await ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    const paying = ask(terminal.port, DEBIT); // when nothing is under way
    await eventually(() => terminal.settings.waiting.length === 1, "the next");
    terminal.decide(terminal.settings.waiting[0]!, "success");
    await paying;
    assert.deepEqual(codes(terminal), []);
  },
);

slow("connections of one machine side by side are no warning", async () => {
  await using terminal = await terminalWith();
  await using one = await Peer.connect(terminal.port);
  await using other = await Peer.connect(terminal.port);
  for (const peer of [one, other, one]) {
    await peer.ask(DEBIT);
    await ask(terminal.port, { ...BASE, CD: "I" });
  }
  assert.deepEqual(terminal.transactions.flatMap(({ warnings }) => warnings), []);
});

slow("a request whose amount is none overlaps with nothing", async () => {
  await using terminal = await terminalWith({ next: ["success,delay=60"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  for (const CB of ["112.45", "-5"]) {
    assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, CB }))["AF"], "09");
    assert.deepEqual(codes(terminal), ["not-an-amount"]);
  }
});

slow(
  "a duplicate while its payment is under way is too early, of another register it is not",
  async () => {
    await using terminal = await terminalWith();
    await ask(terminal.port, DEBIT);
    terminal.nextOutcome("success,delay=60");
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await came(terminal, 2);
    assert.equal((await ask(terminal.port, DUPLICATE))["AF"], "07");
    assert.deepEqual(terminal.transactions.at(-1)?.warnings, [{
      code: "too-early",
      text:
        "the payment of this cash register that it asks about is under way, answered AF 07: ask again",
    }]);
    assert.equal((await ask(terminal.port, { ...BASE, CA: "02", CD: "3" }))["AF"], "10");
  },
);

slow("a duplicate is not too early for a payment that was asked for after it", async () => {
  const clock = new HeldClock();
  await using terminal = await terminalWith({ clock, next: ["success,delay=5"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n${DUPLICATE}\n${DEBIT}\n`);
  await came(terminal, 3);
  await clock.asleep(5_000);
  clock.pass(5_000);
  await eventually(() => terminal.transactions.every(({ ended }) => ended), "over");
  assert.equal(terminal.transactions[1]?.answer?.message["AE"], "10");
});

table<[CD: string, told: boolean]>("a model's question for the status, while it pays", {
  "is too early": ["T", true],
}, async ([CD, told]) => {
  await using terminal = await terminalWith({ model: "payxpert", next: ["success,delay=60"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${DEBIT}\n`);
  await came(terminal, 1);
  assert.equal((await ask(terminal.port, { ...BASE, CD }))["AF"], "07");
  assert.equal(codes(terminal)?.includes("too-early"), told);
});
