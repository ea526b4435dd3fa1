// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The report of an examination: as text for people in both languages, as JSON, and as the XML of
 * JUnit, which CI servers show.
 *
 * @module
 */
import { printable } from "../protocol.ts";
import { type Case, CASES, fill, SENDS, TIMES, type Times } from "./exam_cases.ts";
import { CALLED, CLASSES } from "./exam_verdicts.ts";
import type { Row } from "./examiner.ts";

/** A language of the report. */
export type Language = "en" | "fr";

/** What has come of an examination. */
export interface Report {
  /** Cases that passed. */
  readonly passed: number;
  /** Cases that failed. */
  readonly failed: number;
  /** Cases that passed with a remark. */
  readonly remarks: number;
  /** Cases that were not sat. */
  readonly notSat: number;
  /** The cases in their order. */
  readonly cases: readonly Row[];
}

/** The report on some cases. */
export function reportOf(cases: readonly Row[]): Report {
  const count = (wanted: Row["verdict"]): number =>
    cases.filter(({ verdict }) => verdict === wanted).length;
  return {
    passed: count("passed"),
    failed: count("failed"),
    remarks: count("remark"),
    notSat: count("not-sat"),
    cases,
  };
}

/** The place of a row in the report: faults that cost money first, then as the cases go. */
function rankOf({ class: of, verdict }: Row): number {
  if (of) return CLASSES.indexOf(of);
  const order: readonly Row["verdict"][] = ["failed", "remark", "passed", "not-sat"];
  return CLASSES.length + order.indexOf(verdict);
}

/** Index of a language in a pair. */
function at(language: Language): 0 | 1 {
  return language === "fr" ? 1 : 0;
}

/** How many characters wide the amounts, the names and the verdicts are. */
const WIDTHS = [6, 15, 18] as const;
/** Where a text goes on in the next line (our choice: screens have 80 columns or more). */
const WIDTH = 100;

/** Cuts a text into lines. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/ (?![;:!?»])/)) { // a French line begins with none of these
    if (line !== "" && line.length + word.length >= width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}

/** What a line of a report is made of. */
export type Line =
  & Pick<
    Row,
    "name" | "amount" | "verdict" | "class" | "text" | "french"
  >
  & {
    /** The cash register that it is of, where there are several. */
    readonly register?: string;
  };

/** A case in a line, without what happened. */
export function headText(row: Line, language: Language = "en"): string {
  const called = CALLED[row.class ?? row.verdict][at(language)];
  const amount = amountText(row, language);
  return [amount.padStart(WIDTHS[0]), row.name.padEnd(WIDTHS[1]), called].join("  ");
}

/** A case in a line or more. */
export function rowText(row: Line, language: Language = "en"): string {
  const head = headText(row, language).padEnd(WIDTHS[0] + WIDTHS[1] + WIDTHS[2] + 4);
  const text = registerText(row, language) + printable(language === "fr" ? row.french : row.text);
  const [first = "", ...others] = wrapped(text, WIDTH - head.length - 2);
  const indent = "\n".padEnd(head.length + 3);
  return [`${head}  ${first}`, ...others].join(indent);
}

/** The cash register of a case, before what happened there; "" is one without a number. */
function registerText({ register }: Line, language: Language): string {
  if (register === undefined) return "";
  const name = printable(register);
  if (language === "fr") return `caisse ${name === "" ? "sans numéro" : name} : `;
  return name === "" ? "register without a number: " : `register ${name}: `;
}

/** The amount of a case as a language writes it. */
function amountText({ amount = "" }: Line, language: Language): string {
  return language === "fr" ? amount.replace(".", ",") : amount;
}

/** How many of each there are. */
export function countText(report: Report, language: Language = "en"): string {
  const { passed, failed, remarks, notSat } = report;
  const many = (count: number, word: string): string => `${count} ${word}${count > 1 ? "s" : ""}`;
  const words = language === "fr"
    ? [
      many(passed, "réussie"),
      many(failed, "échouée"),
      `${remarks} avec remarque`,
      many(notSat, "non passée"),
    ]
    : [`${passed} passed`, `${failed} failed`, `${remarks} with a remark`, `${notSat} not sat`];
  const [first, second, ...more] = words;
  const others = more.filter((_, index) => [remarks, notSat][index]! > 0);
  return [first, second, ...others].join(", ");
}

/** The whole report as text: what is to be mended first, faults that cost money before all others. */
export function reportText(report: Report, language: Language = "en"): string {
  const sorted = report.cases.toSorted((one, other) => rankOf(one) - rankOf(other));
  const lines = sorted.map((row) => rowText(row, language));
  return `${[...lines, "", countText(report, language)].join("\n")}\n`;
}

/** A text as XML has it; control characters, which it may not have, as they are printed. */
function xml(text: string): string {
  const names: Readonly<Record<string, string>> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return printable(text).replace(/[&<>"]/g, (character) => names[character] ?? character);
}

/** The report as JUnit XML. A remark is the output of a case that passed. */
export function reportXml(report: Report): string {
  const { failed, notSat, cases } = report;
  const caseXml = (row: Row): string => {
    const text = xml(row.text);
    const amount = row.amount === undefined ? "" : ` ${row.amount}`;
    const head = `  <testcase classname="till" name="${xml(row.name + amount)}"`;
    switch (row.verdict) {
      case "failed": {
        const failure = `<failure type="${row.class}" message="${text}">${text}</failure>`;
        return `${head}>\n    ${failure}\n  </testcase>`;
      }
      case "not-sat":
        return `${head}>\n    <skipped message="${text}"/>\n  </testcase>`;
      case "remark":
        return `${head}>\n    <system-out>${text}</system-out>\n  </testcase>`;
      case "passed":
        return `${head}/>`;
    }
  };
  const counts = `tests="${cases.length}" failures="${failed}" errors="0" skipped="${notSat}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite name="till" ${counts}>`,
    ...cases.map(caseXml),
    "</testsuite>",
    "",
  ].join("\n");
}

/** The cases with their amounts, for who is to sit them. */
export function listText(
  cases: readonly Case[] = CASES,
  times: Times = TIMES,
  language: Language = "en",
): string {
  const rows = cases.map((one) => {
    const [does, right] = [fill(one.does, times), fill(one.right, times)];
    const sign = one.kind === "credit" ? "-" : "";
    const amount = `${sign}${one.amount}`.replace(".", language === "fr" ? "," : ".");
    const head = `${amount.padStart(WIDTHS[0])}  ${one.name.padEnd(WIDTHS[1])}  `;
    const text = [does, right].map((pair) => pair[at(language)])
      .join(language === "fr" ? " ; " : "; ");
    return head + wrapped(text, WIDTH - head.length).join("\n".padEnd(head.length + 1));
  });
  return rows.join("\n");
}

/** Whether a name is what all requests are held against, which no amount chooses. */
export function isSends(name: string): boolean {
  return name === SENDS;
}
