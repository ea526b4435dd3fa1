// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeReceipts, type Message } from "../protocol.ts";
import {
  type Answer,
  type AnswerContext,
  answerTo,
  type Attempt,
  type OutcomeText,
  parseOutcome,
} from "../server.ts";
import { modelOf } from "./models.ts";
import { withReceipt } from "./receipts.ts";
import { BASE, DEBIT_MESSAGE, table } from "../test_helpers.ts";

const answer: Answer = withReceipt(answerTo);

/** What an answer depends on, with the last attempts of the cash register. */
function context(...attempts: Attempt[]): AnswerContext {
  return {
    sellerContract: "1234567890",
    time: new Date(2026, 1, 3, 4, 5, 6),
    attempts: () => attempts,
    random: () => 0.5,
  };
}

/** The receipt of a request. */
function receiptOf(change: Message, words: OutcomeText = "success") {
  const { ZT = "" } = answer({ ...DEBIT_MESSAGE, ...change }, parseOutcome(words), context());
  assert.ok(ZT.length <= 999);
  const [receipt, ...others] = decodeReceipts(ZT);
  assert.deepEqual(others, []);
  return receipt;
}

table("CK asks for a receipt", {
  "the customer's, as text": ["100", "customer", "text"],
  "the merchant's, as text": ["110", "merchant", "text"],
  "the customer's, as HTML": ["101", "customer", "html"],
  "the merchant's, as HTML": ["111", "merchant", "html"],
  "both, of which the customer's comes": ["120", "customer", "text"],
}, ([CK = "", copy, format]) => {
  const receipt = receiptOf({ CK }, "cbcontactless,AC=424242,AA=497010######0014");
  assert.deepEqual([receipt?.copy, receipt?.format], [copy, format]);
  const lines = receipt?.text ?? "";
  if (format === "html") assert.match(lines, /^<pre>[^]*<\/pre>$/);
  else for (const line of lines.split("\n")) assert.ok(line.length <= 24, line);
  for (
    const expected of [
      /SIMULATION/,
      /^CARTE BANCAIRE$/m,
      /^SANS CONTACT$/m,
      /^A0000000421010$/m,
      /^LE 03\/02\/26 A 04:05:06$/m,
      /^CONTRAT 1234567890$/m,
      /^497010######0014$/m,
      /^AUTORISATION 424242$/m,
      /^MONTANT +112,45 EUR$/m,
      /^DEBIT$/m,
      copy === "merchant" ? /^TICKET COMMERCANT/m : /^TICKET CLIENT/m,
    ]
  ) assert.match(lines, expected);
});

test("CK asks for no receipt", () => {
  for (const CK of ["000", "012"]) assert.equal(receiptOf({ CK }), undefined);
});

table<[change: Message, words: OutcomeText, ...expected: RegExp[]]>("a receipt of", {
  "a credit": [{ CD: "1" }, "success", /^CREDIT$/m],
  "a cancellation": [{ CD: "2" }, "success", /^ANNULATION$/m],
  "a decline": [{}, "refused", /^REFUSÉE$/m, /^TRANSACTION NON ABOUTIE$/m, /112,45 EUR/],
  "a decline in detail": [{}, "refused,AF=0451HELLO", /^REFUSÉE$/m],
  "a decline that nobody knows": [{}, "99", /^NON EFFECTUÉE$/m],
  "no amount": [{}, "abandon,CB=", /^TERMINAL 00000001\nDEBIT$/m],
  "the greatest amount": [{ CB: "999999999999" }, "success", /^MONTANT9999999999,99 EUR$/m],
  "a line feed in a field": [{}, "success,AC=1\n2", /^AUTORISATION 1\\x0a2$/m],
  "a cheque": [{ CC: "00C" }, "success", /^CHEQUE$/m],
  "yens": [{ CE: "392", CB: "500" }, "success", /^MONTANT +500 JPY$/m],
  "a currency without a name": [{ CE: "933" }, "success", /^MONTANT +11245 933$/m],
  "an application without a card": [{ CC: "006" }, "success", /^DINERS$/m],
}, ([change, words, ...expected]) => {
  const lines = receiptOf({ ...change, CK: "100" }, words)?.text ?? "";
  for (const line of expected) assert.match(lines, line);
});

test("a receipt fits, whatever the POS puts on it, and HTML has none of it as a mark", () => {
  const odd = "<b>&amp;".repeat(3);
  const fields = { CB: odd, CD: "2", CC: "00E", CK: "111", CI: "3", AI: odd, CG: odd };
  for (const words of ["timeout", "refused", "success"] as const) {
    const receipt = receiptOf({ ...fields, AA: odd, AC: odd }, words);
    assert.equal(receipt?.format, "html");
    assert.match(receipt?.text ?? "", /^<pre>[^<&]*<\/pre>$/);
    if (words === "refused") assert.match(receipt?.text ?? "", /^ b> amp;/m);
  }
});

/** A payment that was approved. */
const LAST: Attempt = {
  request: DEBIT_MESSAGE,
  answer: { ...DEBIT_MESSAGE, AE: "10", CB: "500", AC: "424242", CC: "001", ZT: "x" },
  time: new Date(2025, 11, 31, 23, 59, 58),
};

test("a duplicate: what was paid, and its receipt with the time that it was paid", () => {
  for (const CK of ["", "000", "110", "101"]) {
    const request: Message = { ...BASE, CD: "3", CB: "1", CE: "840", ...(CK && { CK }) };
    const { ZT = "", ...told } = answer(request, {}, context(LAST));
    const expected = { AE: "10", CB: "500", CE: "978", AC: "424242", CC: "001" };
    assert.deepEqual(told, { ...request, ...expected });
    const [receipt] = decodeReceipts(ZT);
    if (CK === "000") assert.equal(ZT, "");
    else {
      assert.match(receipt?.text ?? "", /^DUPLICATA$/m);
      assert.match(receipt?.text ?? "", /^DEBIT$/m);
      assert.match(receipt?.text ?? "", /^LE 31\/12\/25 A 23:59:58$/m);
      assert.match(receipt?.text ?? "", /^MONTANT +5,00 EUR$/m);
    }
    assert.equal(receipt?.copy, CK === "110" ? "merchant" : CK === "000" ? undefined : "customer");
  }
});

table<[change: Message, words: OutcomeText, change?: Partial<AnswerContext>]>(
  "no receipt comes with",
  {
    "AE 11 before the answer": [{}, "success", { isInterim: true }],
    "the answer at once to BA 1": [{ BA: "1" }, "success"],
    "a collection": [{ CD: "B" }, "success"],
    "an identification": [{ CD: "I" }, "success"],
    "a duplicate that fails": [{ CD: "3" }, "refused"],
    "a duplicate of a refusal": [{ CD: "3" }, "success", {
      attempts: () => [LAST, { ...LAST, answer: { ...DEBIT_MESSAGE, AE: "01", AF: "04" } }],
    }],
    "a duplicate of nothing": [{ CD: "3" }, "success", { attempts: () => [] }],
    "a payment whose outcome leaves it out": [{}, "success,ZT="],
  },
  ([change, words, more]) => {
    const request = { ...DEBIT_MESSAGE, CK: "100", ...change };
    const { ZT } = answer(request, parseOutcome(words), { ...context(LAST), ...more });
    assert.equal(ZT, undefined);
  },
);

test("an outcome's ZT comes as it is, and its other tags stand on the receipt", () => {
  const request = { ...DEBIT_MESSAGE, CK: "100" };
  assert.equal(answer(request, parseOutcome("success,ZT=x"), context())["ZT"], "x");
  for (const name of ["reference", "hipay", "payxpert"]) {
    const own = modelOf(name).answer(answerTo);
    const { ZT = "" } = own(request, parseOutcome("success,AC=424242"), context());
    assert.match(decodeReceipts(ZT)[0]?.text ?? "", /^AUTORISATION 424242 *$/m, name);
    assert.equal(own(request, parseOutcome("success,ZT=x"), context())["ZT"], "x", name);
    assert.equal(own(request, parseOutcome("success,ZT="), context())["ZT"], undefined, name);
  }
});

test("a terminal that keeps card data out of its answers has them on receipts and duplicates", () => {
  const hipay = modelOf("hipay").answer(answerTo);
  const request = { ...DEBIT_MESSAGE, CK: "100" };
  const paid = hipay(request, parseOutcome("cbcontactless"), context());
  assert.equal("AI" in paid || "AA" in paid || "CI" in paid, false);
  const [receipt] = decodeReceipts(paid["ZT"] ?? "");
  const last = { request, answer: paid, time: new Date(2026, 1, 3, 4, 5, 6) };
  const [again] = decodeReceipts(
    hipay({ ...BASE, CD: "3" }, {}, context(last))["ZT"] ?? "",
  );
  const lines = [
    /^SANS CONTACT$/m,
    /^A0000000421010$/m,
    /^CONTRAT 4567890$/m,
    /^LE 03.* 04:05:06$/m,
  ];
  for (const line of lines) {
    assert.match(receipt?.text ?? "", line);
    assert.match(again?.text ?? "", line);
  }
  assert.match(receipt?.text ?? "", /^\d{6}#{6}\d{4}$/m);
  assert.match(again?.text ?? "", /^DUPLICATA$/m);
});
