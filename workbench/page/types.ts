// SPDX-License-Identifier: GPL-3.0-or-later
/// <reference lib="dom" />
/**
 * What the scripts of the page work with, as types: what the HTTP interface tells in JSON, and what
 * the page makes of it. No code, and no browser gets it: the scripts name these types in comments.
 *
 * @module
 */
import type { Pair, Table } from "./tables.ts";

// ---------------------------------------------------------------- the HTTP interface

/** The fields of a message; those are named that the page asks for. */
export type Message = Readonly<
  Partial<Record<"AE" | "AF" | "BA" | "CA" | "CB" | "CC" | "CD" | "CE" | "CI" | "ZT", string>>
>;

/** What went over the wire: its bytes as Latin-1 text, and its fields as far as they can be read. */
export interface Wire {
  readonly raw: string;
  readonly message: Message;
}

/** Bytes that came or went at once; milliseconds are from the last byte of the request. */
export interface Segment {
  readonly milliseconds: number;
  readonly bytes: number;
}

/** An answer, and what of it was lost because the till had gone. */
export interface Answer extends Wire {
  readonly lost?: "rest" | "all" | undefined;
  readonly segments?: readonly Segment[];
}

/** What was noticed about a transaction. Its text is in English; French is told of one that is read. */
export interface Warning {
  readonly code: string;
  readonly text: string;
  readonly tag?: string;
  readonly french?: string;
}

/** A transaction. Times are ISO 8601. */
export interface Transaction {
  readonly number: number;
  readonly connection: number;
  readonly address: string;
  readonly received: string;
  readonly request: Wire & { readonly segments?: readonly Segment[] };
  readonly error?: string;
  readonly warnings: readonly Warning[];
  /** What decided how it ends: "next", or "when *01". */
  readonly decided?: string;
  /** What the terminal has decided, where the till was sent something else or nothing. */
  readonly due?: Answer & { readonly milliseconds?: number };
  /** The AE 11 that was sent before the answer, and when. */
  readonly interim?: Wire & {
    readonly milliseconds?: number;
    readonly segments?: readonly Segment[];
  };
  readonly answer?: Answer;
  readonly answered?: string;
  readonly gone?: { readonly milliseconds: number };
  readonly ended?: string;
  readonly closed?: { readonly milliseconds: number; readonly by: "pos" | "terminal" };
}

/** The settings of the terminal. A real one has no model. */
export interface Settings {
  readonly host: string;
  readonly port: number;
  /** The real terminal behind it, if one is. */
  readonly terminal?: string;
  /** In words; null: a function decides. */
  readonly outcome: string | null;
  /** Seconds. */
  readonly duration: number;
  readonly strict: boolean;
  readonly exclusive: boolean;
  readonly interactive: boolean;
  readonly model?: string;
  readonly when: Table<string>;
  readonly next: readonly { readonly register?: string; readonly outcome: string }[];
  /** The numbers of the transactions that wait for a person. */
  readonly waiting: readonly number[];
  /** Whether it takes connections; asleep, it refuses them. */
  readonly listening: boolean;
  /** Whether a real terminal could be reached when a till last tried; none has yet where it is not there. */
  readonly reached?: boolean;
}

/** Events of these names, one by one, so that a name tells which one it is. */
type Named<Name extends string, About> = Name extends string ? { readonly event: Name } & About
  : never;

/** What happens to a transaction. Milliseconds are from the last byte of its request. */
export type HappenedTo =
  | Named<
    "request" | "invalid",
    Wire & {
      readonly time: string;
      readonly transaction: number;
      readonly connection: number;
      readonly warnings: readonly Warning[];
      readonly error?: string;
    }
  >
  | Named<"warning", Warning & { readonly transaction: number }>
  | Named<"waiting" | "gone", { readonly transaction: number }>
  | Named<"decided", { readonly transaction: number; readonly by: string }>
  | Named<
    "due" | "answer",
    Answer & {
      readonly time: string;
      readonly transaction: number;
      readonly milliseconds: number;
      /** In words; the AE 11 before the answer has none. */
      readonly outcome?: string;
    }
  >;

/** What happens, of what the page listens to. */
export type Happened =
  | HappenedTo
  | Named<"closed", { readonly connection: number }>
  | Named<"asleep" | "listening", object>;

/** A case of an examination, and what has come of it. */
export interface ExamRow {
  readonly name: string;
  readonly amount?: string;
  readonly verdict: "passed" | "failed" | "remark" | "not-sat";
  readonly called: Pair;
  readonly text: string;
  readonly french: string;
  readonly till?: string;
  readonly does: Pair;
  readonly right: Pair;
  readonly transactions: readonly number[];
}

/** The sheet of a cash register. */
export interface ExamReport {
  readonly register: string;
  readonly passed: number;
  readonly failed: number;
  readonly remarks: number;
  readonly notSat: number;
  readonly cases: readonly ExamRow[];
}

// ---------------------------------------------------------------- the page's own

/** A transaction as the list shows it, and its row. */
export interface Entry {
  readonly number: number;
  readonly connection: number;
  /** Milliseconds since 1970. */
  readonly received: number;
  readonly raw: string;
  readonly message: Message;
  readonly warnings: Warning[];
  readonly error: string | undefined;
  /** The AE 11 before the answer; a real terminal may send several. */
  interims: { readonly at: number; readonly bytes: number }[];
  decided?: string;
  due?: Answer;
  answer?: Answer;
  /** Milliseconds until the answer. */
  took?: number;
  gone?: boolean;
  ended?: boolean;
  /** Whether its row shows something else than is known now. */
  changed?: boolean;
  row?: Row;
}

/** The row of a transaction. */
export interface Row {
  readonly item: HTMLLIElement;
  readonly link: HTMLAnchorElement;
  /** The cells that are written, in the order of the columns. */
  readonly cells: readonly HTMLElement[];
  /** What decided it. */
  readonly by: HTMLElement;
  /** What is said of the till and of the warnings to who hears the row. */
  readonly heard: readonly [register: HTMLElement, warnings: HTMLElement];
  /** The language that it is in. */
  french?: boolean;
  /** What the filter looks for, in lower case. */
  hay: string;
}
