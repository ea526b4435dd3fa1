// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A till that is a command: run for one payment, and what its exit status says.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { stripVTControlCharacters } from "node:util";
import { oneOf, OptionError, printable } from "../protocol.ts";
import { type Word, WORDS } from "./exam_verdicts.ts";
import type { Pair } from "./page/tables.ts";

/** What exit statuses say; any other is a crash. */
export type Statuses = ReadonlyMap<number, Word>;

/** What they say if nothing else is given (our choice). */
export const STATUSES: Statuses = new Map<number, Word>([[0, "paid"], [1, "not-paid"], [
  2,
  "check",
]]);

/**
 * Reads what exit statuses say, such as "0=paid,1=not-paid,4=check".
 *
 * @throws {OptionError} It is not of that kind.
 */
export function readStatuses(text: string): Statuses {
  const statuses = new Map<number, Word>();
  for (const part of text.split(",")) {
    const [, status, word] = /^\s*(\d{1,3})=([a-z-]+)\s*$/.exec(part) ?? [];
    if (status === undefined || word === undefined) {
      throw new OptionError("statuses", "STATUS=WORD,... such as 0=paid,1=not-paid", text);
    }
    if (statuses.has(Number(status))) throw new OptionError("statuses", "each status once", text);
    statuses.set(Number(status), oneOf("statuses", WORDS, word));
  }
  return statuses;
}

/**
 * Cuts a command into its arguments, as a shell would: at spaces, but not between quotes, and a
 * backslash keeps the next character. Nothing else is done: no shell has part in it.
 *
 * @throws {OptionError} A quote is not closed, or there is nothing.
 */
export function splitCommand(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (character === "\\" && quote !== "'" && at + 1 < text.length) {
      word = (word ?? "") + text[++at]!;
    } else if (quote !== "" && character === quote) quote = "";
    else if (quote === "" && /["']/.test(character)) {
      quote = character;
      word ??= "";
    } else if (quote === "" && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + character;
  }
  if (quote !== "") throw new OptionError("till", `a closing ${quote}`, text);
  if (word !== undefined) words.push(word);
  if (words.length === 0) throw new OptionError("till", "a command", text);
  return words;
}

/** What is filled into a command. */
export type Filling = Readonly<Record<"host" | "port" | "amount" | "register" | "kind", string>>;

/** The names that can be filled in. */
const FILLINGS: readonly string[] = ["host", "port", "amount", "register", "kind"];

/**
 * Which names in braces a command has.
 *
 * @throws {OptionError} It has one that is none, or lacks the amount or the port.
 */
export function fillingsOf(words: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (const [, name = ""] of words.join(" ").matchAll(/\{([a-z]+)\}/g)) {
    names.add(oneOf("till", FILLINGS, name));
  }
  for (const name of ["port", "amount"]) {
    if (!names.has(name)) {
      throw new OptionError("till", `a command with {${name}}`, words.join(" "));
    }
  }
  return names;
}

/** What a command came to: its word, more about a crash, and the last line that it wrote on stderr. */
export type Ended = { readonly word: Word; readonly how?: Pair; readonly last?: string };

/** Characters of what a command prints on stderr that are kept (our choice: a long stack is less). */
const KEPT = 64_000;
/** Most characters of a line that are shown (our choice). */
const SHOWN = 200;

/** The statuses that languages give to what nobody caught: Python and JavaScript 1, Node 7, PHP 255. */
const UNCAUGHT: readonly (number | null)[] = [1, 7, 255];
/** A line of a stack in JavaScript. */
const STACK = /^[ \t]+at .*:\d+:\d+\)?\s*$/m;
/** What they print then: Python, PHP. */
const TRACE =
  /Traceback \(most recent call last\):|Fatal error: +(?:Uncaught |.* on line \d+\s*$)/m;

/**
 * Runs a command, and gives what its exit status says. An exception that nobody caught is a crash,
 * whatever its status says; with a status that none has, a trace is one that the till has logged.
 *
 * @param words The program and its arguments, with names in braces.
 * @param limit Seconds after which it is ended.
 * @param signal Ends it.
 * @throws {OptionError} It cannot be started.
 */
export async function runTill(
  words: readonly string[],
  filling: Filling,
  statuses: Statuses,
  limit: number,
  signal?: AbortSignal,
): Promise<Ended> {
  const filled = words.map((word) =>
    word.replace(
      /\{([a-z]+)\}/g,
      (all, name: string) => Object.hasOwn(filling, name) ? filling[name as keyof Filling] : all,
    )
  );
  const [program = "", ...args] = filled;
  if (signal?.aborted) return { word: "crashed" };
  const child = start(program, args);
  let printed = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    printed = (printed + text).slice(-KEPT);
  });
  const stop = (): void => void child.kill("SIGKILL");
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    stop();
  }, 1000 * limit);
  signal?.addEventListener("abort", stop);
  try {
    const [code, by] = await once(child, "exit") as [number | null, string | null];
    if (!isLate) await ended(child);
    printed = stripVTControlCharacters(printed); // Deno colours its stacks
    const last = lastLine(printed);
    if (isLate) return { word: "crashed", how: lateText(limit, last) };
    const word = code === null ? undefined : statuses.get(code);
    if (word && word !== "crashed" && !isUncaught(code, printed)) {
      return { word, ...(last !== "" && { last }) };
    }
    return { word: "crashed", how: crashText(code, by, last) };
  } catch (error) {
    throw notRun(program, error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
    child.stderr?.destroy();
  }
}

/** Starts a program, of which only stderr is read. Deno refuses here what it may not run. */
function start(program: string, args: readonly string[]): ChildProcess {
  try {
    return spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    throw notRun(program, error);
  }
}

/** That a program cannot be run, and why. */
function notRun(program: string, cause: unknown): OptionError {
  const expected = `a command that can be run (${(cause as Error).message})`;
  return Object.assign(new OptionError("till", expected, program), { cause });
}

/** Milliseconds that what a command printed last has to come (our choice). */
const LAST_WORDS = 1_000;

/** Resolves when all that a command printed has come; a process of its own may hold that back. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.stderr?.destroyed || child.stderr?.readableEnded) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, LAST_WORDS);
    child.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** Whether a command has ended by an exception that nobody caught. */
function isUncaught(code: number | null, printed: string): boolean {
  return UNCAUGHT.includes(code) && (TRACE.test(printed) || STACK.test(printed));
}

/** The last line that says something: not one of a stack, nor the name of what ran the program. */
function lastLine(printed: string): string {
  const says = (line: string): boolean =>
    /[\p{L}\p{N}]/u.test(line) && !STACK.test(line) && !/^(?:Node\.js|Bun) v\d/.test(line);
  const line = printed.split(/[\r\n]+/).findLast(says) ?? "";
  return printable(line.trim().slice(0, SHOWN)).slice(0, SHOWN);
}

/** What is shown of the last line, behind what happened. */
function behind(last: string): string {
  return last === "" ? "" : ` (${last})`;
}

/** That a command ran too long. */
function lateText(limit: number, last: string): Pair {
  const said = behind(last);
  return [
    `your till was still at it after ${limit} s${said}`,
    `votre caisse n'avait pas fini après ${limit} s${said}`,
  ];
}

/** How a command crashed, with the last line that it printed. */
function crashText(code: number | null, by: string | null, last: string): Pair {
  const said = behind(last);
  return code === null
    ? [`your till was ended by ${by}${said}`, `votre caisse a été arrêtée par ${by}${said}`]
    : [
      `your till ended with status ${code}${said}`,
      `votre caisse a fini avec le statut ${code}${said}`,
    ];
}
