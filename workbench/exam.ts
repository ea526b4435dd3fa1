#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The command that examines a till: a terminal on which the amount chooses the case, and a report on
 * what is to be mended. The library is examination.ts.
 *
 * ```sh
 * deno run --allow-net workbench/exam.ts --help
 * ```
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { argumentError, jsonLine, oneOf, OptionError, printable, VERSION } from "../protocol.ts";
import {
  ARGUMENTS,
  numberOf,
  outcomeHelp,
  print,
  readOptions,
  runCommand,
  type TerminalEvent,
  twoLetters,
} from "../server.ts";
import { amountOf, type Case, TIMES, type Times } from "./exam_cases.ts";
import {
  countText,
  headText,
  type Language,
  type Line,
  listText,
  type Report,
  reportOf,
  reportText,
  reportXml,
  rowText,
} from "./exam_report.ts";
import { examRoutes } from "./exam_routes.ts";
import { fillingsOf, readStatuses, runTill, splitCommand, STATUSES } from "./exam_till.ts";
import { type Exam, hostOf, sitAll, startExam } from "./examination.ts";
import type { Row } from "./examiner.ts";
import { startWeb, type Web, type WebOptions } from "./http.ts";
import { type ModelName, modelsText } from "./models.ts";

export { examine } from "./examination.ts";

const HELP = `Examines a till: a terminal on which the amount chooses the case, 10.01, 10.02 and
so on. A report says what is to be mended in the till, the faults that cost money
first.

usage: exam.ts [options]

      --till COMMAND          a till that is a command: run for each case in turn,
                              without a shell. {host}, {port}, {amount},
                              {register} and {kind} (debit, credit, cheque) are
                              filled in. Without {kind} refund and cheque are
                              not sat; with {register} cases that wait are sat
                              side by side. It takes --allow-run and --allow-env
      --statuses LIST         what its exit statuses say
                              (0=paid,1=not-paid,2=check)
      --limit SECONDS         most that it may take (those of silent and 30 more)
      --only NAMES            sit these cases, with commas between them
      --without NAMES         leave these out
      --slow SECONDS          until slow is answered (${TIMES.slow})
      --patience SECONDS      least that a till must wait in silent (${TIMES.patience})
      --silent SECONDS        until silent ends (${TIMES.silent})
      --json                  the report on stdout, as one JSON object
      --junit                 the report on stdout, as JUnit XML
      --language LANGUAGE     of the report: en or fr (en)

The terminal:
  -p, --port PORT             TCP port, 0 for a free one (8888; with --till 0)
      --host HOST             address or name to listen on (every interface; with
                              --till 127.0.0.1)
      --model MODEL           a terminal that exists; list tells what is known
                              of them (reference)
      --next OUTCOME          how the next payment ends that is no case; may be
                              given again
      --outcome OUTCOME       how all others end that are no case (success)
  -f, --failure               every payment fails that is no case
  -ft, --failure-type TYPE    how: abandon, timeout, refused, forbidden (abandon)
  -pt, --payment-type CARD    the card that pays (cbcontact)
  -d, --duration SECONDS      from the request to the answer (0)
  -sc, --seller-contract NUM  the merchant contract number, CG (424242)
      --strict                AF 09 to what deviates from the protocol
      --gap MS                the pause that ends a request (20)
  -l, --log-level LEVEL       debug, info, warn or error (error)
  -h, --help                  this text
      --version               ${VERSION}

The HTTP interface, with --till only if one of these is given:
      --web-port PORT         its TCP port, 0 for a free one (8889)
      --web-host HOST         address or name that it listens on (127.0.0.1)
      --web-name NAME         another name that it may be asked for by; may be
                              given again
${outcomeHelp()}
exit status, with --till:
  0 no case failed   1 some failed   2 wrong arguments

examples:
  exam.ts
  exam.ts --till 'python3 pay.py {host} {port} {amount}' --without slow,silent
  exam.ts --till './till {port} {amount}' --junit > report.xml
`;

/** The options of the command, for parseArgs of node:util. */
const OPTIONS = {
  ...ARGUMENTS,
  "model": { type: "string" },
  "till": { type: "string" },
  "statuses": { type: "string" },
  "limit": { type: "string" },
  "only": { type: "string" },
  "without": { type: "string" },
  "slow": { type: "string" },
  "patience": { type: "string" },
  "silent": { type: "string" },
  "junit": { type: "boolean" },
  "language": { type: "string" },
  "web-port": { type: "string" },
  "web-host": { type: "string" },
  "web-name": { type: "string", multiple: true },
} as const;

/** The values that parseArgs has found. */
type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

/** How the report is printed. */
type Printing = { readonly kind: "text" | "json" | "junit"; readonly language: Language };

function readPrinting({ json, junit, language }: Values): Printing {
  if (json && junit) throw new OptionError("junit", "either this or --json", undefined);
  return {
    kind: json ? "json" : junit ? "junit" : "text",
    language: oneOf("language", ["en", "fr"], language ?? "en"),
  };
}

/** The times that arguments say. */
function readTimes(values: Values): Partial<Times> {
  const times: { -readonly [Name in keyof Times]?: number } = {};
  for (const name of ["slow", "patience", "silent"] as const) {
    const text = values[name];
    if (text !== undefined) times[name] = numberOf(name, text);
  }
  const { silent, patience } = times;
  if (silent !== undefined && patience === undefined) {
    times.patience = Math.min(TIMES.patience, silent);
  }
  return times;
}

/** Names with commas between them. */
function readNames(text: string): string[] {
  return text.split(",").map((name) => name.trim()).filter((name) => name !== "");
}

/** A till that is a command, as arguments say. */
type Till = {
  readonly words: string[];
  readonly names: Set<string>;
  readonly statuses: typeof STATUSES;
  readonly limit: number;
};

function readTill({ till, statuses, limit }: Values, { silent }: Times): Till | undefined {
  if (till === undefined) {
    for (const [option, value] of Object.entries({ statuses, limit })) {
      if (value !== undefined) throw new OptionError(option, "--till with it", value);
    }
    return undefined;
  }
  const words = splitCommand(till);
  return {
    words,
    names: fillingsOf(words),
    statuses: statuses === undefined ? STATUSES : readStatuses(statuses),
    limit: limit === undefined ? silent + 30 : numberOf("limit", limit),
  };
}

/** The options of the HTTP interface; none where there is to be none. */
function readWeb(values: Values, till: Till | undefined): WebOptions | undefined {
  const { "web-port": port, "web-host": host, "web-name": names } = values;
  if (till && (port ?? host ?? names) === undefined) return undefined;
  return {
    ...(port !== undefined && { port: numberOf("webPort", port) }),
    ...(host !== undefined && { host }),
    ...(names && { names }),
  };
}

/** Prints a report on stdout. */
function printReport(report: Report, { kind, language }: Printing): void {
  const text = kind === "json"
    ? jsonLine(report)
    : kind === "junit"
    ? reportXml(report)
    : reportText(report, language);
  print(process.stdout, text);
}

/** Prints a line for who looks on. */
function say(text: string): void {
  print(process.stderr, `${text}\n`);
}

// ---------------------------------------------------------------- a till that comes by itself

/** What is to be done, for who pays by hand. */
function welcome(exam: Exam, web: Web | undefined, { language }: Printing): string {
  const { terminal, examiner: { cases, times } } = exam;
  const list = listText(cases, times, language);
  const [first, page] = language === "fr"
    ? [
      `La caisse paie sur le port ${terminal.port} ; le montant choisit l'épreuve, tout autre est accepté :`,
      web ? `Ce que dit la caisse se note sur la page : ${web.url}#/exam` : "",
    ]
    : [
      `The till pays on port ${terminal.port}; the amount chooses the case, any other is approved:`,
      web ? `What the till says is told on the page: ${web.url}#/exam` : "",
    ];
  return `${first}\n\n${list}\n\n${page}`;
}

/** Tells each verdict as it comes. */
function follow({ terminal, examiner }: Exam, { language }: Printing): void {
  terminal.subscribe((event: TerminalEvent) => {
    if (event.event === "no-case") {
      say(`        ${printable(String(event[language === "fr" ? "french" : "text"]))}`);
    }
    if (event.event !== "verdict") return;
    const { case: name, register = "", ...row } = event as unknown as Line & { case: string };
    const isOneOfSeveral = examiner.registers.length > 1;
    say(rowText({ ...row, name, ...(isOneOfSeveral && { register }) }, language));
  });
}

/** What has come of all that was sat: of one cash register as it is, of several one after another. */
function allRows({ examiner }: Exam): Row[] {
  const { registers } = examiner;
  if (registers.length < 2) return examiner.sheet(registers[0] ?? "");
  return registers.flatMap((register) =>
    examiner.sheet(register).filter(({ verdict }) => verdict !== "not-sat")
      .map((row) => ({ ...row, register }))
  );
}

// ---------------------------------------------------------------- a till that is a command

/** Has a command sit the cases. */
async function sitTill(
  exam: Exam,
  till: Till,
  { language }: Printing,
  signal: AbortSignal,
): Promise<Report> {
  const { words, names, statuses, limit } = till;
  const { port } = exam.terminal;
  const place = { host: hostOf(exam.terminal), port: String(port) };
  const hasKind = names.has("kind");
  const sit = (one: Case, register = "01") => {
    if (one.isOptional && !hasKind) return Promise.resolve(undefined);
    const filling = { ...place, amount: amountOf(one), register, kind: one.kind };
    return runTill(words, filling, statuses, limit, signal);
  };
  return await sitAll(exam, sit, {
    registers: names.has("register"),
    onRow: (row) => say(headText(row, language)),
  });
}

/** Sits all, prints the report, and ends with the status that says it. */
async function runAll(
  exam: Exam,
  till: Till,
  printing: Printing,
  close: () => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  try {
    const report = await sitTill(exam, till, printing, signal);
    if (signal.aborted) return;
    if (printing.kind === "text") say("");
    else say(countText(report, printing.language));
    printReport(report, printing);
    process.exitCode = report.failed > 0 ? 1 : 0;
  } catch (error) {
    const wrong = argumentError(error, Object.keys(OPTIONS));
    if (wrong === undefined) throw error;
    say(`exam.ts: ${wrong}`);
    process.exitCode = 2;
  } finally {
    await close();
  }
}

// ---------------------------------------------------------------- the command

async function main(): Promise<{ close(): Promise<void>; status?: () => number } | string> {
  const { values } = parseArgs({ args: twoLetters(process.argv.slice(2)), options: OPTIONS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  if (values.model === "list") return modelsText();
  const printing = readPrinting(values);
  const times = readTimes(values);
  const till = readTill(values, { ...TIMES, ...times });
  const webOptions = readWeb(values, till);
  const { json: _, "log-level": level = "error", ...others } = values;
  const { model, only, without } = values;
  const exam = await startExam({
    times,
    ...(only !== undefined && { only: readNames(only) }),
    ...(without !== undefined && { without: readNames(without) }),
    terminal: {
      ...(till && { port: 0, host: "127.0.0.1" }),
      duration: 0,
      ...readOptions({ ...others, "log-level": level }),
      ...(model !== undefined && { model: model as ModelName }),
    },
  });
  const { terminal, examiner } = exam;
  let web: Web | undefined;
  try {
    const routes = examRoutes(examiner);
    web = webOptions && await startWeb(terminal, { ...webOptions, routes });
  } catch (error) {
    await exam.close();
    throw error;
  }
  const stop = new AbortController();
  const close = async (): Promise<void> => {
    stop.abort();
    await exam.close();
    await web?.close();
  };
  if (till) {
    void runAll(exam, till, printing, close, stop.signal);
    return { close, status: () => 1 }; // where it is stopped before its end
  }
  say(welcome(exam, web, printing));
  follow(exam, printing);
  return {
    async close() {
      // Ctrl-C has left the cursor behind "^C".
      if (printing.kind === "text") say(process.stderr.isTTY ? "\n" : "");
      printReport(reportOf(allRows(exam)), printing);
      await close();
    },
  };
}

if (import.meta.main) runCommand("exam.ts", main, Object.keys(OPTIONS));
