// SPDX-License-Identifier: GPL-3.0-or-later
// Tills sit the examination: a right one, which passes every case, and one for each fault, of which
// exactly those cases fail.
import assert from "node:assert/strict";
import { NAMES, type Times } from "./exam_cases.ts";
import type { Report } from "./exam_report.ts";
import { Till, type TillFault } from "./exam_helpers.ts";
import type { FaultClass } from "./exam_verdicts.ts";
import { examine } from "./examination.ts";
import { sideBySide, slow } from "./test_helpers.ts";

/** Short times, with room between what a right till waits and what a wrong one does. */
const TIMES: Partial<Times> = {
  slow: 2.3,
  patience: 2.6,
  silent: 4.8,
  interim: 0.7,
  hold: 1.5,
  close: 0.9,
  work: 0.1,
};
/** What a right till waits for an answer, and for more of one. */
const PATIENCE = { wait: 3_800, pause: 350 };

/** What a till gets in the examination. */
function sit(till: Till, more: object = {}): Promise<Report> {
  return examine({ pay: (asked) => till.pay(asked), times: TIMES, ...more });
}

/** The cases that did not pass, with their classes. */
function wrongIn({ cases }: Report): Record<string, string> {
  return Object.fromEntries(
    cases.filter(({ verdict }) => verdict !== "passed")
      .map(({ name, class: of, verdict }) => [name, of ?? verdict]),
  );
}

sideBySide();

for (const after of ["check", "duplicate", "cancel"] as const) {
  slow(`a right till passes every case: after a lost answer ${after}`, async () => {
    const report = await sit(new Till(PATIENCE, undefined, after));
    assert.deepEqual(report.cases.map(({ name }) => name), [...NAMES]);
    assert.deepEqual(wrongIn(report), {});
    assert.equal(report.passed, NAMES.length);
    const lost = report.cases.find(({ name }) => name === "lost")!;
    const said = { check: "check", duplicate: "paid", cancel: "not-paid" } as const;
    assert.equal(lost.till, said[after]);
    assert.equal(lost.transactions.length, after === "check" ? 1 : 2);
  });
}

/** The cases that a fault makes fail, each with its class, and a sentence that is to be read. */
const FAULTS: Readonly<
  Record<TillFault, readonly [failed: Readonly<Record<string, FaultClass>>, sentence: RegExp]>
> = {
  "reads-once": [
    {
      "split": "money-lost",
      "between-fields": "money-lost",
      "interim": "money-lost",
      "interim-refused": "gives-up",
      "cut": "money-lost",
      "garbage": "money-lost",
    },
    /^split: you closed after \d+ bytes of the answer, and your till says not paid: read on until /m,
  ],
  "ends-at-a-pause": [
    { "split": "gives-up", "between-fields": "gives-up" },
    /^between-fields: you closed after \d+ bytes of the answer, and your till does not know: read on for at least /m,
  ],
  "takes-interim": [
    { "interim": "money-lost", "interim-refused": "gives-up" },
    /^interim: you closed \d+ ms after AE 11, and your till says not paid: AE 11 is not the result, read on until AE 10 or AE 01$/m,
  ],
  "crashes-at-zeros": [
    { "red-button": "hangs" },
    /^red-button: .* your till threw "an amount of zero": AE 01 is not paid; a CB of zeros /m,
  ],
  "impatient": [
    { "slow": "gives-up", "silent": "gives-up" },
    /^slow: you gave up after \d\.\d s, and your till does not know: a person needs 10 to 60 s/m,
  ],
  "waits-for-ever": [
    { "silent": "hangs" },
    /^silent: after 4.8 s without an answer you were still waiting: give up after 180 s/m,
  ],
  "compares-cb-as-text": [
    { "padded": "gives-up" },
    /^padded: the answer was AE 10, paid, and your till does not know: read CB as a number/m,
  ],
  "compares-identity": [
    { "red-button": "gives-up", "own-identity": "gives-up" },
    /^own-identity: .* CZ and CJ of an answer are the terminal's own/m,
  ],
  "wants-its-order": [
    { "more-tags": "gives-up" },
    /^more-tags: .* go from field to field by their lengths, and skip what you do not know/m,
  ],
  "takes-af-for-refused": [
    { "authorised": "money-lost" },
    /^authorised: the answer was AE 10, paid, and your till says not paid: AE tells the result/m,
  ],
  "wants-it-kept-open": [
    { "hangup": "gives-up" },
    /^hangup: .* what came before the close is the answer/m,
  ],
  "waits-for-the-close": [
    { "kept-open": "hangs" },
    /^kept-open: it said so only when the terminal had closed the connection: do not wait/m,
  ],
  "lost-is-refused": [
    {
      "lost": "money-lost",
      "cut": "money-lost",
      "garbage": "money-lost",
      "silent": "money-lost",
      "reset": "money-lost",
    },
    /^lost: the payment went through, and your till says not paid: a lost answer is not a refusal/m,
  ],
  "pays-again": [
    {
      "lost": "money-lost",
      "cut": "money-lost",
      "garbage": "money-lost",
      "silent": "money-lost",
      "reset": "money-lost",
    },
    /^cut: 10\.16 was paid twice: never pay again without asking for the duplicate \(CD 3\) first/m,
  ],
  "crashes-at-garbage": [
    { "garbage": "hangs" },
    /^garbage: the payment went through, and your till threw "no length at byte 2": a lost answer/m,
  ],
  "unsure-of-refusals": [
    {
      "refused": "gives-up",
      "red-button": "gives-up",
      "interim-refused": "gives-up",
      "busy": "gives-up",
    },
    /^busy: the answer was AE 01, not paid, and your till does not know: AE 01 is not paid/m,
  ],
  "believes-refusals": [
    {
      "refused": "goods-given-away",
      "red-button": "goods-given-away",
      "interim-refused": "goods-given-away",
      "busy": "goods-given-away",
    },
    /^refused: the answer was AE 01, not paid, and your till says paid: AE 01 is not paid/m,
  ],
  "ignores-cb": [
    { "partial": "goods-given-away" },
    /^partial: AE 10 came with CB 500: 5\.00 was paid, and your till says paid: hold CB /m,
  ],
  "ignores-ce": [
    { "currency": "goods-given-away" },
    /^currency: AE 10 came with CE 840, and your till says paid: hold CE of the answer/m,
  ],
  "sends-short-cj": [
    { "sends": "protocol" },
    /^sends: CJ: expected 12 characters, got 3/m,
  ],
};

for (const [fault, [failed, sentence]] of Object.entries(FAULTS)) {
  slow(`a till that ${fault}`, async () => {
    const report = await sit(new Till(PATIENCE, fault as TillFault));
    assert.deepEqual(wrongIn(report), failed);
    const texts = report.cases.map(({ name, text }) => `${name}: ${text}`).join("\n");
    assert.match(texts, sentence);
  });
}
