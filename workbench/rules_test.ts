// SPDX-License-Identifier: GPL-3.0-or-later
// Which outcome a request gets by rules.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, OptionError, ProtocolError } from "../protocol.ts";
import { formatOutcome, type Outcome, type OutcomeText } from "../server.ts";
import { Rules, type When } from "./rules.ts";
import {
  ask,
  BASE,
  DEBIT_MESSAGE,
  named,
  Peer,
  recorded,
  table,
  terminalWith,
} from "./test_helpers.ts";

/** What rules say of a debit. */
function found(rules: Rules, change: Message): [words: string, by: string] | undefined {
  const { outcome, by } = rules.find({ ...DEBIT_MESSAGE, ...change }) ?? {};
  return outcome && by ? [formatOutcome(outcome), by] : undefined;
}

test("an amount, or its last digits: the whole amount first, then more digits before fewer", () => {
  const rules = new Rules({
    "*1": "02",
    "*01": "07",
    "00500": "refused",
    "*2": "timeout",
    "502": "05",
  });
  const cases: [CB: string, words: string, by: string][] = [
    ["500", "refused", "when 00500"], // the rule as it was given
    ["0000500", "refused", "when 00500"],
    ["1201", "07", "when *01"],
    ["1", "07", "when *01"], // as 01
    ["11", "02", "when *1"],
    ["502", "forbidden", "when 502"],
    ["512", "timeout", "when *2"],
  ];
  for (const [CB, words, by] of cases) assert.deepEqual(found(rules, { CB }), [words, by], CB);
  assert.equal(found(rules, { CB: "7" }), undefined);
  assert.equal(found(rules, { CB: "" }), undefined);
  assert.deepEqual(rules.when, {
    "500": "refused",
    "502": "forbidden",
    "*01": "07",
    "*1": "02",
    "*2": "timeout",
  });
});

test("the queue: what is for a register comes first, an identification takes nothing", () => {
  const rules = new Rules({}, ["04", "05"]);
  rules.queue(["08"], "02");
  rules.queue(["11", { failure: "13" }]);
  assert.equal(found(rules, { CD: "I", CA: "02" }), undefined);
  const taken = ["02", "02", "01", "03"].map((CA) => found(rules, { CA })?.[0]);
  assert.deepEqual(taken, ["timeout", "refused", "forbidden", "abandon"]);
  assert.deepEqual(rules.next, [{ outcome: { failure: "13" } }]);
  assert.deepEqual(found(rules, {}), ["13", "next"]);
  assert.equal(found(rules, {}), undefined);
});

test("what is queued for a register does not fit a request without one", () => {
  const rules = new Rules();
  rules.queue(["04"], "02");
  const { CA: _, ...nobody } = DEBIT_MESSAGE;
  assert.equal(rules.find(nobody), undefined);
});

test("no more can be queued than a day of tests, and what is queued stays", () => {
  const rules = new Rules();
  for (let count = 0; count < 10; count++) rules.queue(Array<OutcomeText>(1_000).fill("04"));
  assert.throws(() => rules.queue(["06"], "01"), /^OptionError: next: expected at most 10000 /);
  assert.equal(rules.next.length, 10_000);
  rules.find({ CA: "01", CD: "0", CB: "100" });
  rules.queue(["06"], "01");
});

test("clear() and reset() of a register empty its queue only, reset() puts all back", () => {
  const rules = new Rules({ "1": "04" }, ["05"]);
  rules.queue(["06"], "01");
  rules.queue(["06"], "02");
  rules.clear("01");
  rules.reset("02");
  assert.deepEqual(rules.next.map(({ outcome }) => outcome.failure), ["05"]);
  rules.setWhen({ "2": "07" });
  rules.clear();
  assert.deepEqual([rules.next, rules.when], [[], { "2": "07" }]);
  rules.queue(["13"]);
  for (const _ of [1, 2]) {
    rules.reset();
    assert.deepEqual(found(rules, { CB: "1" }), ["refused", "when 1"]);
    assert.deepEqual(found(rules, {}), ["forbidden", "next"]);
  }
});

table<[when: unknown, expected: RegExp]>("rules refuse", {
  "a decimal amount": [{ "1.50": "04" }, /^when: expected minor units such as 1234/],
  "an amount twice": [
    { "500": "04", "0500": "05" },
    /^when: expected each amount once, got "0500"/,
  ],
  "no amount": [{ "x": "04" }, /^when: expected minor units/],
  "null": [null, /^when: expected outcomes by amount, got none/],
  "a number": [5, /^when: expected outcomes by amount, got 5/],
  "no outcome": [{ "1": "maybe" }, /^when: expected words from/],
}, ([when, expected]) => {
  const rules = new Rules({ "3": "04" });
  for (const give of [() => new Rules(when as When), () => rules.setWhen(when as When)]) {
    assert.throws(give, (error) => error instanceof OptionError && expected.test(error.message));
  }
  assert.deepEqual(rules.when, { "3": "refused" });
});

table<unknown>("what a program gives is no outcome", {
  "a card in capitals": { card: "CBCONTACT" },
  "a name that there is not": { failed: "04" },
  "undefined for a tag": { tags: { CF: undefined } },
  "undefined": undefined,
  "null": null,
  "a list": [],
}, async (given) => {
  const wrong = given as Outcome;
  await using terminal = await terminalWith();
  const { nextOutcome, setOutcome, setWhen, nextOutcomeOf } = terminal;
  const gives = [
    () => nextOutcome(wrong),
    () => setOutcome(wrong),
    () => setWhen({ "1": wrong }),
    () => nextOutcomeOf("01", wrong),
  ];
  for (const give of gives) {
    assert.throws(give, (error) => error instanceof OptionError || error instanceof ProtocolError);
  }
  assert.deepEqual([terminal.settings.next, terminal.settings.when], [[], {}]);
});

test("an outcome comes from the amount, then the queue, then the default, and it is told", async () => {
  await using seen = await recorded({
    when: { "*01": "07", "500": "refused" },
    next: ["abandon"],
    outcome: "08",
  });
  const { terminal } = seen;
  await using peer = await Peer.connect(seen.port);
  const failure = async (CB: string): Promise<string | undefined> =>
    (await peer.ask({ ...DEBIT_MESSAGE, CB }))["AF"];
  assert.equal(await failure("1201"), "07");
  assert.equal((await peer.ask({ ...BASE, CD: "I" }))["AE"], "10"); // takes none of the queue
  assert.deepEqual([await failure("1000"), await failure("1000")], ["11", "08"]);
  const rules = ["when *01", "outcome", "next", "outcome"];
  assert.deepEqual(terminal.transactions.map(({ decided }) => decided), rules);
  assert.deepEqual(named(seen.events, "decided").map(({ by }) => by), rules);
  assert.ok(seen.log.some(([, line]) => line === "#1 when *01: 07"), seen.log.join("\n"));
  terminal.nextOutcomeOf("02", "05");
  terminal.nextOutcome("04");
  assert.deepEqual([await failure("7"), await failure("7")], ["04", "08"]);
  assert.equal((await ask(seen.port, { ...DEBIT_MESSAGE, CA: "02" }))["AF"], "05");
  assert.throws(() => terminal.nextOutcome("maybe" as OutcomeText), OptionError);
});
