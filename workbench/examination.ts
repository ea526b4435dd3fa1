// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * An examination that runs: a terminal with an examiner, and a program that sits its cases, in a test
 * suite or as a command.
 *
 * @example In a test suite
 * ```ts
 * import { pay } from "../client.ts";
 * import { examine } from "./examination.ts";
 *
 * const report = await examine({
 *   only: ["approved", "refused"],
 *   async pay({ host, port, amount }) {
 *     const { status } = await pay({ host, port, amount });
 *     return status === "approved" ? "paid" : "not-paid";
 *   },
 * });
 * console.log(report.failed); // 0
 * ```
 *
 * @module
 */
import { inRange, nearest, oneOf, OptionError, printable } from "../protocol.ts";
import { isEverywhere } from "../server.ts";
import { amountOf, type Case, CASES, NAMES, SENDS, TIMES, type Times } from "./exam_cases.ts";
import { type Report, reportOf } from "./exam_report.ts";
import type { Ended } from "./exam_till.ts";
import { type Word, WORDS } from "./exam_verdicts.ts";
import { Examiner, type Row } from "./examiner.ts";
import { startTerminal, type Terminal, type TerminalOptions } from "./terminal.ts";

// ---------------------------------------------------------------- the terminal

/** Which cases are sat, and how long they take. Everything has a default. */
export interface ExamOptions {
  /** Names of the cases that are sat. Default: all. */
  only?: readonly string[];
  /** Names of cases that are not. */
  without?: readonly string[];
  /** How long things take, in seconds. Default: {@linkcode TIMES}. */
  times?: Partial<Times>;
  /** The terminal. Its cases come before any other outcome. Default: it answers at once. */
  terminal?: TerminalOptions;
}

/** An examination that is running. */
export interface Exam extends AsyncDisposable {
  /** The terminal that tills pay on. */
  readonly terminal: Terminal;
  /** Who examines them. */
  readonly examiner: Examiner;
  /** Stops it. */
  close(): Promise<void>;
}

/** Seconds that an option can take (our choice: a day). */
const SECONDS = { max: 86_400 };

/** The cases that are chosen, and whether what is sent is judged as well. */
function choose({ only, without = [] }: ExamOptions): { cases: Case[]; sends: boolean } {
  for (const [option, names] of [["only", only ?? []], ["without", without]] as const) {
    for (const name of names) {
      if (NAMES.includes(name)) continue;
      const expected = `names from ${NAMES.join(", ")}`;
      throw new OptionError(option, expected, name, nearest(name, NAMES));
    }
  }
  const isChosen = (name: string): boolean =>
    (only ?? NAMES).includes(name) && !without.includes(name);
  return { cases: CASES.filter(({ name }) => isChosen(name)), sends: isChosen(SENDS) };
}

/**
 * Starts an examination: a terminal on which the amount chooses the case.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 */
export async function startExam(options: ExamOptions = {}): Promise<Exam> {
  const { times = {}, terminal: given = {} } = options;
  for (const [name, value] of Object.entries(times)) {
    oneOf("times", Object.keys(TIMES), name);
    inRange(name, SECONDS, value);
  }
  const { patience, silent } = { ...TIMES, ...times };
  if (patience > silent) {
    throw new OptionError("patience", `at most ${silent} s, when silent ends`, patience);
  }
  const chosen = choose(options);
  let numberOf = ({ number }: { number: number }): number => number;
  const examiner = new Examiner({ ...chosen, times, numberOf: (request) => numberOf(request) });
  const terminal = await startTerminal({
    duration: 0,
    ...given,
    part(journal) {
      numberOf = (request) => journal.numberOf(request as Parameters<typeof journal.numberOf>[0]);
      return examiner;
    },
  });
  const close = (): Promise<void> => terminal.close();
  return { terminal, examiner, close, [Symbol.asyncDispose]: close };
}

// ---------------------------------------------------------------- sitting it

/** Has one case sat, and gives what the till said; undefined if it does not have that. */
export type Sit = (one: Case, register: string | undefined) => Promise<Ended | undefined>;

/** How a program sits the cases. */
export interface SitOptions {
  /** Whether each case has a cash register of its own: those that wait are then sat side by side. */
  registers?: boolean;
  /** Is given each case when it is done. */
  onRow?: (row: Row) => void;
}

/** Cases that are sat side by side (our choice: tills are processes). */
const SIDE_BY_SIDE = 6;
/** The cases that wait, those that wait longest first. */
const WAITING: readonly string[] = ["silent", "slow", "interim", "interim-refused", "split"];

/** Has a program sit the cases, and gives the report. */
export async function sitAll(
  { examiner }: Exam,
  sit: Sit,
  { registers = false, onRow = () => {} }: SitOptions = {},
): Promise<Report> {
  const { cases } = examiner;
  const rows = new Map<string, Row>();
  const sitOne = async (one: Case): Promise<void> => {
    const index = 1 + cases.indexOf(one);
    const run = examiner.begin(one, registers ? String(index).padStart(2, "0") : undefined);
    const ended = await sit(one, run.register);
    if (ended) run.end(ended.word, ended.how, ended.last);
    else run.end("crashed");
    const row = run.row();
    rows.set(one.name, row);
    onRow(row);
  };
  const rank = ({ name }: Case): number => (WAITING.indexOf(name) + 1) || Infinity;
  const queue = registers ? cases.toSorted((a, b) => rank(a) - rank(b) || 0) : [...cases];
  const work = async (): Promise<void> => {
    for (let one = queue.shift(); one; one = queue.shift()) await sitOne(one);
  };
  await Promise.all(Array.from({ length: registers ? SIDE_BY_SIDE : 1 }, work));
  const sends = examiner.sends();
  if (sends) onRow(sends);
  const inOrder = cases.map(({ name }) => rows.get(name)!);
  return reportOf(sends ? [...inOrder, sends] : inOrder);
}

/** What a suite is asked to pay. */
export interface Asked {
  /** Where the terminal is. */
  readonly host: string;
  /** Its TCP port. */
  readonly port: number;
  /** Decimal text such as "10.05", with a sign where it is a refund. */
  readonly amount: string;
  /** The name of the case. */
  readonly name: string;
  /** What is asked for. */
  readonly kind: Case["kind"];
}

/** How a suite examines its till. */
export interface ExamineOptions extends ExamOptions {
  /**
   * Has the till pay, and gives what it says of it; undefined where it has no refunds or cheques. What
   * it throws is a crash.
   */
  pay: (asked: Asked) => Promise<Word | undefined> | Word | undefined;
  /** Most seconds that a payment may take. Default: those of `silent` and 30 more. */
  limit?: number;
  /** Is given each case when it is done. */
  onRow?: (row: Row) => void;
}

/** The address at which a terminal is reached from this machine. */
export function hostOf({ host }: Pick<Terminal, "host">): string {
  return isEverywhere(host) ? "127.0.0.1" : host;
}

/**
 * Examines a till in a test suite: starts a terminal, has it pay each case in turn, and gives the
 * report.
 *
 * @throws {OptionError} An option is not as it must be, or `pay` gives something else than a word.
 * @throws {ListenError} The terminal cannot listen.
 */
export async function examine(options: ExamineOptions): Promise<Report> {
  const { pay, onRow, times } = options;
  const { silent } = { ...TIMES, ...times };
  const limit = inRange("limit", SECONDS, options.limit ?? silent + 30);
  const terminal = { port: 0, host: "127.0.0.1", ...options.terminal };
  await using exam = await startExam({ ...options, terminal });
  const { port } = exam.terminal;
  const host = hostOf(exam.terminal);
  const sit: Sit = async (one) => {
    const { name, kind } = one;
    const late = Promise.withResolvers<Ended>();
    const text = [`your till was still at it after ${limit} s`] as const;
    const how = [text[0], `votre caisse n'avait pas fini après ${limit} s`] as const;
    const timer = setTimeout(() => late.resolve({ word: "crashed", how }), 1000 * limit);
    const asked = async (): Promise<Ended | undefined> => {
      let word: Word | undefined;
      try {
        word = await pay({ host, port, amount: amountOf(one), name, kind });
      } catch (error) {
        const why = printable(error instanceof Error ? error.message : String(error));
        return {
          word: "crashed",
          how: [`your till threw "${why}"`, `votre caisse a levé « ${why} »`],
        };
      }
      if (word === undefined && one.isOptional) return undefined;
      return { word: oneOf("pay", WORDS, word as string) };
    };
    try {
      return await Promise.race([asked(), late.promise]);
    } finally {
      clearTimeout(timer);
    }
  };
  return await sitAll(exam, sit, onRow ? { onRow } : {});
}
