// SPDX-License-Identifier: GPL-3.0-or-later
// The command exam.ts: a till that is a command, the reports on stdout, the exit status, its errors.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Ran, RUNTIME } from "../test_helpers.ts";
import { NAMES } from "./exam_cases.ts";
import type { Report } from "./exam_report.ts";
import { fillingsOf, readStatuses, runTill, splitCommand, STATUSES } from "./exam_till.ts";
import { ask, BASE, Command, patience, run, table } from "./test_helpers.ts";

const DENO = "deno" in process.versions;
const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** A program that ends with a status, as a command. */
function ending(code: string): string[] {
  const args = DENO ? ["eval", code] : ["-e", code];
  return [process.execPath, ...args];
}

/** The command, with what only --till needs. */
function exam(...args: string[]): Command {
  const more = DENO ? ["--allow-run", "--allow-env"] : [];
  return new Command([...RUNTIME.slice(1), ...more, file("exam.ts"), ...args]);
}

/** The same to its end. */
async function ran(...args: string[]): Promise<Ran> {
  await using command = exam(...args);
  return await command.ran();
}

/** client.ts as a till. */
const CLIENT = [...RUNTIME, file("../client.ts")].map((word) => `'${word}'`).join(" ") +
  " -d {host} -p {port} -a {amount} --timeout 8 -l error";
const SHORT = ["--slow", "2", "--patience", "6", "--silent", "12"];
const ENDS = ["--statuses", "0=paid,1=not-paid,4=check,5=check"];

test("client.ts passes every case, side by side", patience, async () => {
  const till = `${CLIENT} --tag CA={register}`;
  const { status, stdout, stderr } = await ran("--till", till, ...ENDS, ...SHORT, "--json");
  assert.equal(stdout.split("\n").length, 2);
  const { cases, passed, failed, notSat }: Report = JSON.parse(stdout);
  const wrong = cases.filter(({ verdict }) => verdict !== "passed");
  assert.deepEqual(wrong.map(({ name, text }) => [name, text]), [
    ["refund", "pay -10.01"],
    ["cheque", "pay 10.22 by cheque"],
  ]);
  assert.deepEqual([passed, failed, notSat], [NAMES.length - 2, 0, 2]);
  assert.match(stderr, /^ 10\.05 {2}split +passed\n/m);
  assert.equal(status, 0);
});

test("client.ts pays a refund where {kind} is filled in", patience, async () => {
  const till = `${CLIENT} --action {kind}`;
  const { status, stdout } = await ran("--till", till, "--only", "refund,sends", ...ENDS);
  assert.match(stdout, /^-10\.01 {2}refund +passed +says paid\n/m);
  assert.equal(status, 0);
});

test("a till that is wrong: the report as text, in French and as XML", patience, async () => {
  const { status, stdout } = await ran("--till", CLIENT, "--statuses", "1=paid", "--only", "busy");
  assert.match(stdout, /^ 10\.19 {2}busy +goods given away +the answer was AE 01, not paid, and/);
  assert.match(stdout, /\n0 passed, 1 failed\n$/);
  assert.equal(status, 1);
  const french = await ran("--till", CLIENT, "--only", "busy", "--language", "fr", "--junit");
  assert.match(french.stdout, /^<\?xml [^]*<testcase classname="till" name="busy 10\.19"\/>/);
  assert.match(french.stderr, /^ 10,19 {2}busy +réussie\n/);
  assert.equal(french.status, 0);
});

test("a command that pays nothing fails", patience, async () => {
  const till = ending("throw new Error('no such till')").map((word) => `"${word}"`).join(" ");
  const { status, stdout } = await ran("--till", `${till} {port} {amount}`, "--only", "approved");
  assert.match(stdout.replace(/\s+/g, " "), /hangs or crashes no payment of 10\.01 was asked for/);
  assert.equal(status, 1);
});

test("a mistyped command: what it wrote is in the report", patience, async () => {
  const code = "console.error(`can't open file`); process.exit(2)";
  const till = ending(code).map((word) => `"${word}"`).join(" ");
  const { stdout } = await ran("--till", `${till} {port} {amount}`, "--only", "approved");
  assert.match(
    stdout.replace(/\s+/g, " "),
    /no payment of 10\.01 was asked for, and your till does not know \(can't open file\): look at/,
  );
});

table<readonly [args: string[], expected: RegExp]>("wrong arguments", {
  "a case that is none": [["--only", "splitt"], /^exam\.ts: --only: .*did you mean split/],
  "no port": [["--till", "pay {amount}"], /^exam\.ts: --till: expected a command with \{port\}/],
  "an unknown name": [["--till", "pay {prot}"], /^exam\.ts: --till: .*did you mean port/],
  "no command": [["--limit", "3"], /^exam\.ts: --limit: expected --till with it/],
  "statuses": [
    ["--till", "pay {port} {amount}", "--statuses", "0=payed"],
    /^exam\.ts: --statuses: .*did you mean paid/,
  ],
  "both kinds": [["--json", "--junit"], /^exam\.ts: --junit: expected either this or --json/],
  "a language": [["--language", "de"], /^exam\.ts: --language: expected one of en, fr/],
}, async ([args, expected]) => {
  const { status, stderr, stdout } = await run("workbench/exam.ts", ...args);
  assert.match(stderr, expected);
  assert.deepEqual([status, stdout], [2, ""]);
});

test("a command that cannot be run", patience, async () => {
  const { status, stderr } = await ran("--till", "./no-such-till {port} {amount}");
  assert.match(stderr, /^exam\.ts: --till: expected a command that can be run .*no-such-till/m);
  assert.equal(status, 2);
});

test("by hand: the list at the start, a line a case, the report at the end", patience, async () => {
  await using command = Command.start(
    "workbench/exam.ts",
    ...["-p", "0", "--host", "127.0.0.1", "--web-port", "0"],
  );
  const port = await command.prints(
    "stderr",
    /pays on port (\d+); the amount chooses the case, any other/,
  );
  await command.prints("stderr", / 10\.07 {2}interim .*\n/);
  const url = await command.prints("stderr", /told on the page: (\S+)#\/exam/);
  const about = { ...BASE, CE: "978", BA: "0", CD: "0" };
  assert.equal((await ask(Number(port), { ...about, CB: "1234" }))["AE"], "10");
  await command.prints("stderr", /this amount is no case of the examination/);
  assert.equal((await ask(Number(port), { ...about, CB: "1002" }))["AE"], "01");
  await command.prints("stderr", /10\.02 {2}refused +passed +right as far as the wire/);
  const response = await fetch(`${url}api/exam/refused`, { method: "POST", body: "paid" });
  const { class: worst } = await response.json() as { class: string };
  assert.equal(worst, "goods-given-away");
  await command.prints("stderr", /10\.02 {2}refused +goods given away/);
  command.signal("SIGTERM");
  const { status, stdout } = await command.ran();
  assert.match(
    stdout,
    /^ 10\.02 {2}refused +goods given away[^]*\n1 passed, 1 failed, 23 not sat\n$/,
  );
  assert.equal(status, 0);
});

test("by hand, in French: no case, several cash registers", patience, async () => {
  await using command = Command.start(
    "workbench/exam.ts",
    ...["-p", "0", "--host", "127.0.0.1", "--web-port", "0", "--language", "fr"],
  );
  const port = Number(await command.prints("stderr", /paie sur le port (\d+) ; le montant/));
  const about = { ...BASE, CE: "978", BA: "0", CD: "0" };
  await ask(port, { ...about, CB: "1234" });
  await command.prints("stderr", /ce montant n'est pas une épreuve de l'examen\n/);
  await ask(port, { ...about, CB: "1001" });
  await command.prints("stderr", /10,01 {2}approved +réussie +(?!caisse)\S/);
  await ask(port, { ...about, CB: "1002", CA: "07" });
  await command.prints("stderr", /10,02 {2}refused +réussie +caisse 07 : /);
  command.signal("SIGTERM");
  const { stdout, stderr } = await command.ran();
  assert.match(stdout, /10,02 {2}refused +réussie +caisse 07 : /);
  assert.match(stderr, /\n\n$/); // before the report
});

test("commands are cut into arguments without a shell", () => {
  assert.deepEqual(splitCommand(`a  "b c"d '\\e' f\\ g ""`), ["a", "b cd", "\\e", "f g", ""]);
  assert.deepEqual(splitCommand("a $HOME;b|c"), ["a", "$HOME;b|c"]);
  assert.throws(() => splitCommand("a 'b"), /expected a closing '/);
  assert.throws(() => splitCommand(" "), /expected a command/);
  assert.deepEqual([...fillingsOf(["{port}x{amount}"])], ["port", "amount"]);
  assert.deepEqual([...readStatuses("0=paid, 7=crashed")], [[0, "paid"], [7, "crashed"]]);
});

test("a command that runs too long, or is ended, has crashed", patience, async () => {
  const filling = { host: "", port: "7", amount: "10.01", register: "01", kind: "debit" };
  const code = "setTimeout(() => {}, 60000)";
  const late = await runTill(ending(code), filling, STATUSES, 0.3);
  assert.deepEqual(late.how?.[0], "your till was still at it after 0.3 s");
  const thrown = await runTill(ending("throw new Error('{amount}')"), filling, STATUSES, 20);
  assert.equal(thrown.word, "crashed"); // status 1, as a refusal
  assert.match(thrown.how?.[0] ?? "", /^your till ended with status 1 \(.*10\.01/);
  const other = await runTill(
    ending("console.error('amount {amount}'); process.exit(9)"),
    filling,
    STATUSES,
    20,
  );
  assert.deepEqual(other.how?.[0], "your till ended with status 9 (amount 10.01)");
  const trace = "Traceback (most recent call last):\\n  File 1, line 2\\nValueError: no CB";
  const python = (status: number): string => `console.error(\`${trace}\`); process.exit(${status})`;
  const crash = await runTill(ending(python(1)), filling, STATUSES, 20);
  assert.deepEqual(crash.how?.[1], "votre caisse a fini avec le statut 1 (ValueError: no CB)");
  const logged = await runTill(ending(python(2)), filling, STATUSES, 20);
  assert.deepEqual(logged, { word: "check", last: "ValueError: no CB" }); // it has caught that
  const php = "console.error('PHP Fatal error:  Uncaught Error in a.php:3'); process.exit(255)";
  const fatal = await runTill(ending(php), filling, new Map([[255, "check"]]), 20);
  assert.equal(fatal.word, "crashed");
  const long = "console.error('\\x01'.repeat(150)); process.exit(1)";
  const { last } = await runTill(ending(`${long.replace("'.", "a'.")}`), filling, STATUSES, 20);
  assert.equal(last?.length, 200);
  assert.match(last, /^(?:\\x01a)+/);
  const stop = new AbortController();
  const stopped = runTill(ending(code), filling, STATUSES, 20, stop.signal);
  stop.abort();
  assert.equal((await stopped).word, "crashed");
});
