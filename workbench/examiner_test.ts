// SPDX-License-Identifier: GPL-3.0-or-later
// What the examiner sees and is told by hand: over sockets and over HTTP, register by register.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeText, type Message } from "../protocol.ts";
import { amountOf, caseOf, CASES, fill, NAMES, TIMES } from "./exam_cases.ts";
import { listText, reportOf, reportText, reportXml } from "./exam_report.ts";
import { examRoutes } from "./exam_routes.ts";
import { CALLED, CLASSES, judge, type Seen, type Verdict } from "./exam_verdicts.ts";
import { type Exam, examine, type ExamOptions, startExam } from "./examination.ts";
import type { Row } from "./examiner.ts";
import { startWeb } from "./http.ts";
import { ask, BASE, eventually, patience, Peer } from "./test_helpers.ts";

const HERE = { port: 0, host: "127.0.0.1" };

/** An examination on a free port. */
function examWith(options: ExamOptions = {}): Promise<Exam> {
  return startExam({ times: { close: 0.05, interim: 0.2 }, ...options, terminal: HERE });
}

/** A debit of an amount, in minor units. */
function debit(CB: string, more: Message = {}): Message {
  return { ...BASE, CE: "978", BA: "0", CD: "0", CB, ...more };
}

/** A row of a sheet. */
function rowOf({ examiner }: Exam, name: string, register = "01"): Row {
  const row = examiner.sheet(register).find((row) => row.name === name);
  assert.ok(row, name);
  return row;
}

/** Sends a request whose answer gets lost. */
async function lose(exam: Exam, request: Message): Promise<void> {
  await assert.rejects(ask(exam.terminal.port, request), /closed without an answer/);
}

test("each case has an amount of its own, and words in both languages", () => {
  const amounts = new Set(CASES.map((one) => `${one.kind} ${one.amount}`));
  assert.equal(amounts.size, CASES.length);
  assert.equal(new Set(NAMES).size, NAMES.length);
  for (const { name, does, right, mend, source } of CASES) {
    assert.match(source, /^(\(\d\))+$/, name);
    for (const [english, french] of [right, mend]) assert.notEqual(english, french, name);
    for (const text of [...fill(does, TIMES), ...fill(right, TIMES)]) {
      assert.doesNotMatch(text, /[{}]/, name);
    }
  }
  for (const one of CASES) {
    const CC: Message = one.kind === "cheque" ? { CC: "00C" } : {};
    const CD = one.kind === "credit" ? "1" : "0";
    const CB = amountOf(one).replace(/\D/g, "").padStart(8, "0");
    assert.equal(caseOf(debit(CB, { ...CC, CD })), one);
  }
});

test("what is no case is answered as ever, and says so", patience, async () => {
  await using exam = await examWith();
  const { port } = exam.terminal;
  const said: string[] = [];
  exam.terminal.subscribe(({ event, ...more }) => {
    if (event === "no-case") said.push(String(more["text"]));
  });
  assert.equal((await ask(port, debit("1234")))["AE"], "10");
  assert.equal((await ask(port, debit("1002", { BA: "1" })))["AE"], "11");
  assert.equal((await ask(port, debit("1020", { BF: "1" })))["CB"], "1020");
  assert.equal((await ask(port, debit("1002", { CD: "2" })))["AE"], "10");
  assert.equal((await ask(port, debit("1002", { CD: "1" })))["AE"], "10");
  assert.equal((await ask(port, debit("1001", { CD: "1", BA: "1" })))["AE"], "11");
  assert.equal((await ask(port, debit("1002", { CC: "00C" })))["AE"], "10");
  assert.equal((await ask(port, { ...BASE, CD: "I" }))["AE"], "10");
  const none = "this amount is no case of the examination";
  assert.deepEqual(said, [
    none,
    "BA 1 asks for an answer at once: refused is not sat",
    "BF 1 allows a part: partial is not sat",
    "BA 1 asks for an answer at once: refund is not sat",
    none,
  ]);
  assert.equal(rowOf(exam, "partial").text, "BF 1 allows a part: partial is not sat");
  const sat = exam.examiner.sheet("01").filter(({ verdict }) => verdict !== "not-sat");
  assert.deepEqual(sat.map(({ name }) => name), ["sends"]); // BF
});

test("without a word of the till the verdict is about the wire", patience, async () => {
  await using exam = await examWith();
  const { port } = exam.terminal;
  assert.equal((await ask(port, debit("1001")))["AE"], "10");
  assert.equal(rowOf(exam, "approved").verdict, "passed");
  assert.match(rowOf(exam, "approved").text, /as far as the wire tells/);
  await using peer = await Peer.connect(port);
  peer.send("CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB0041007\n");
  await peer.until(/AE00211/);
  peer.socket.destroy();
  await eventually(() => rowOf(exam, "interim").verdict === "failed", "a verdict");
  const { class: of, text, french } = rowOf(exam, "interim");
  assert.equal(of, "money-lost");
  assert.match(text, /^you closed \d+ ms after AE 11: AE 11 is not the result, read on until/);
  assert.match(french, /^vous avez fermé \d+ ms après AE 11 : AE 11 n'est pas le résultat, lisez/);
});

test("after a lost answer: the duplicate, a second payment, a cancellation", patience, async () => {
  await using exam = await examWith();
  const { port } = exam.terminal;
  const { examiner } = exam;
  await lose(exam, debit("1015"));
  const { AE, CB } = await ask(port, { ...BASE, CD: "3" });
  assert.deepEqual([AE, CB], ["10", "1015"]);
  assert.deepEqual(rowOf(exam, "lost").transactions, [1, 2]);
  assert.equal(examiner.say("01", "lost", "paid", "person")?.verdict, "passed");
  assert.equal(examiner.say("01", "lost", "not-paid", "person")?.class, "money-lost");
  assert.equal((await ask(port, debit("1015")))["AE"], "10");
  const twice = examiner.say("01", "lost", "check", "person");
  assert.equal(twice?.verdict, "remark");
  assert.match(twice?.text ?? "", /^10\.15 was paid twice: if your till did it by itself/);
  assert.match(twice?.french ?? "", /^10,15 a été payé 2 fois/);
  const byItself = examiner.say("01", "lost", "check", "program");
  assert.equal(byItself?.class, "money-lost");
  assert.match(byItself?.text ?? "", /never pay again without asking for the duplicate/);
  // Another amount is the next case, and the same once more a new sitting.
  await ask(port, debit("1001"));
  await lose(exam, debit("1015"));
  assert.equal(rowOf(exam, "lost").verdict, "passed");
  assert.equal((await ask(port, debit("1015", { CD: "2" })))["AE"], "10");
  assert.equal(examiner.say("01", "lost", "not-paid", "person")?.verdict, "passed");
  assert.equal(examiner.say("01", "lost", "paid", "person")?.class, "goods-given-away");
});

test("what a till sends is judged over all requests", patience, async () => {
  await using exam = await examWith();
  const { port } = exam.terminal;
  assert.equal(rowOf(exam, "sends").verdict, "not-sat");
  await ask(port, debit("1001"));
  assert.equal(rowOf(exam, "sends").verdict, "passed");
  await ask(port, debit("1002", { BF: "0" }));
  assert.equal(rowOf(exam, "sends").verdict, "remark");
  assert.equal((await ask(port, debit("10.03")))["AF"], "09");
  const { class: of, text, french, transactions } = rowOf(exam, "sends");
  assert.equal(of, "protocol");
  assert.match(text, /^CB: expected minor units, 11245 for 112\.45, got "10\.03", and 1 more$/);
  assert.match(french, /centimes.*, et 1 de plus$/);
  assert.deepEqual(transactions, [3]);
  const { CE: _, ...lacking } = debit("1005");
  await ask(port, lacking);
  assert.match(rowOf(exam, "split").text, /^the request was refused with AF 09: see "sends"/);
});

test("what names no cash register is of the only one there is", patience, async () => {
  await using exam = await examWith();
  const { examiner, terminal } = exam;
  await using peer = await Peer.connect(terminal.port);
  peer.send("GET / HTTP/1.1\r\n\r\n");
  await peer.closed;
  assert.deepEqual(examiner.registers, [""]);
  await ask(terminal.port, debit("1001"));
  assert.deepEqual(examiner.registers, ["01"]);
  const { class: of, transactions } = rowOf(exam, "sends");
  assert.deepEqual([of, transactions], ["protocol", [1]]);
  await ask(terminal.port, debit("1001", { CA: "02" }));
  assert.deepEqual(examiner.registers, ["01", "02"]);
  assert.equal(rowOf(exam, "sends").verdict, "passed");
  assert.equal(examiner.sends()?.class, "protocol");
});

test("the interface over HTTP: words, reports, cash registers", patience, async () => {
  await using exam = await examWith();
  const { port } = exam.terminal;
  const routes = examRoutes(exam.examiner);
  await using web = await startWeb(exam.terminal, { port: 0, routes });
  const call = async (path: string, body?: string): Promise<[number, Row & { error: string }]> => {
    const init = body === undefined ? {} : { method: "POST", body };
    const response = await fetch(`${web.url}api/exam${path}`, init);
    return [response.status, await response.json() as Row & { error: string }];
  };
  const report = async (path = ""): Promise<ReturnType<typeof reportOf>> =>
    await (await fetch(`${web.url}api/exam${path}`)).json() as ReturnType<typeof reportOf>;

  assert.equal((await report()).notSat, NAMES.length);
  assert.deepEqual((await call("/split", "paid"))[0], 409);
  await ask(port, debit("1002"));
  const [status, row] = await call("/refused", "paid");
  assert.deepEqual([status, row.class, row.till], [200, "goods-given-away", "paid"]);
  assert.deepEqual((await call("/refused", "not-paid"))[1].verdict, "passed");
  const [wrong, { error }] = await call("/refused", "payed");
  assert.equal(wrong, 400);
  assert.match(error, /did you mean paid/);
  assert.equal((await call("/refuse", "paid"))[0], 404);

  await ask(port, debit("1001", { CA: "02" }));
  assert.deepEqual(await report("/registers") as unknown, { registers: ["01", "02"] });
  assert.equal((await call("/approved", "paid"))[0], 409);
  const [several, { error: which }] = await call("");
  assert.equal(several, 409);
  assert.match(which, /expected \?register= with one of the cash registers 01, 02/);
  assert.equal((await call("/approved?register=02", "paid"))[1].verdict, "passed");
  assert.equal((await call("/approved?register=01", "paid"))[0], 409);
  const { cases, passed } = await report("?register=02");
  assert.equal(passed, 2);
  assert.deepEqual(
    cases.filter(({ verdict }) => verdict === "passed").map(({ name }) => name),
    ["approved", "sends"],
  );
  const xml = await fetch(`${web.url}api/exam.xml?register=01`);
  assert.match(xml.headers.get("content-type") ?? "", /^application\/xml/);
  assert.match(await xml.text(), /<testcase classname="till" name="refused 10\.02"\/>/);
  assert.equal((await call("/reset?register=02", "paid"))[0], 409); // a case is called so as well
  assert.equal((await report("?register=02")).passed, 2);
  await lose(exam, debit("1023", { CA: "02" }));
  assert.equal((await call("/reset?register=02", "paid"))[1].verdict, "remark");
  assert.equal((await call("/reset", ""))[0], 200);
  assert.equal((await report()).notSat, NAMES.length);
});

test("a word counts as late only where a program said it", patience, async () => {
  await using exam = await examWith({ times: { hold: 0.05 } });
  const { examiner, terminal } = exam;
  await using peer = await Peer.connect(terminal.port);
  await peer.ask(debit("1014"));
  await peer.closed;
  assert.equal(examiner.say("01", "kept-open", "paid", "person")?.verdict, "passed");
  assert.equal(examiner.say("01", "kept-open", "paid", "program")?.class, "hangs");
});

test("a connection that goes on is not closed", patience, async () => {
  await using exam = await examWith({ times: { close: 0.3, interim: 0.5 } });
  await using peer = await Peer.connect(exam.terminal.port);
  await peer.ask(debit("1001"));
  peer.send(encodeText(debit("1007"))); // AE 10 comes when the first would have been closed
  await peer.until(/AE00211[^]*AE00210/);
  await peer.closed;
});

test("the report: what costs money first, in both languages, as XML", () => {
  const row = (name: string, verdict: Verdict["verdict"], more: Partial<Row> = {}): Row => ({
    name,
    verdict,
    text: `text of ${name}`,
    french: `texte de ${name}`,
    called: ["", ""],
    does: ["", ""],
    right: ["", ""],
    transactions: [],
    amount: "10.01",
    ...more,
  });
  const report = reportOf([
    row("one", "passed"),
    row("two", "failed", { class: "gives-up" }),
    row("three", "failed", { class: "money-lost", text: '<"&\x00> '.repeat(30) }),
    row("four", "remark"),
    row("five", "not-sat"),
  ]);
  const text = reportText(report);
  const order = ["three", "two", "four", "one", "five"];
  assert.deepEqual([...text.matchAll(/^ 10\.01 +(\w+)/gm)].map(([, name]) => name), order);
  assert.match(text, /\n1 passed, 2 failed, 1 with a remark, 1 not sat\n$/);
  for (const line of text.split("\n")) assert.ok(line.length <= 100, line);
  assert.match(reportText(report, "fr"), /10,01 {2}two +renonce trop tôt +texte de two/);
  const xml = reportXml(report);
  assert.match(xml, /<testsuite name="till" tests="5" failures="2" errors="0" skipped="1">/);
  assert.match(xml, /<failure type="money-lost" message="&lt;&quot;&amp;\\x00&gt; /);
  assert.match(xml, /<skipped message="text of five"\/>/);
  assert.match(listText(), /^ 10\.07 {2}interim +AE 11, after 2 s AE 10; reads on$/m);
  const french = listText(undefined, undefined, "fr");
  assert.match(french, /^ 10,01 {2}approved +AE 10 aussitôt ; dit payé$/m);
  assert.doesNotMatch(french, /\S;|^\s*[;:]/m);
});

test("every verdict has both languages, whatever was seen", () => {
  const words = ["paid", "not-paid", "check", "crashed", undefined] as const;
  const lefts = [undefined, { milliseconds: 38, bytes: 0 }, { milliseconds: 38, bytes: 7 }];
  for (const one of CASES) {
    for (const word of words) {
      for (const by of ["program", "person"] as const) {
        for (const left of lefts) {
          for (const isSat of [true, false]) {
            for (const [again, cancelled] of [[0, 0], [1, 0], [1, 1], [0, 1]] as const) {
              const seen: Seen = {
                isSat,
                again,
                cancelled,
                duplicates: 0,
                isByItself: by === "program",
                ...(left && { left }),
                ...(word && { said: { word, by } }),
              };
              const { text: [english, french], verdict, class: of } = judge(one, seen, TIMES);
              assert.notEqual(english, french, english);
              assert.doesNotMatch(`${english} ${french}`, /undefined|NaN|[{}]/);
              assert.equal(verdict === "failed", of !== undefined);
              if (word === "crashed" && isSat) assert.equal(verdict, "failed");
            }
          }
        }
      }
    }
  }
  for (const name of CLASSES) assert.notEqual(CALLED[name][0], CALLED[name][1]);
});

test("examine(): options that are wrong say so", patience, async () => {
  const pay = () => "paid" as const;
  await assert.rejects(examine({ pay, only: ["splitt"] }), /did you mean split/);
  await assert.rejects(examine({ pay, times: { slow: -1 } }), /slow: expected/);
  await assert.rejects(examine({ pay, times: { silent: 3 } }), /patience: expected at most 3 s/);
  const wrong = { pay: () => "payed" as "paid", only: ["approved"] };
  await assert.rejects(examine(wrong), /did you mean paid/);
  const idle = await examine({ pay, only: ["approved", "refund"] });
  assert.deepEqual(idle.cases.map(({ class: of }) => of), ["goods-given-away", undefined]);
  assert.match(idle.cases[0]!.text, /no payment of 10\.01 was asked for/);
  const late = await examine({ pay: () => new Promise(() => {}), only: ["busy"], limit: 0.1 });
  assert.match(late.cases[0]!.text, /your till was still at it after 0\.1 s/);
});
