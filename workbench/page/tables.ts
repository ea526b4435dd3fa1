// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The data of the page: the tables of the port and of the workbench in the form in which its scripts
 * read them, in both languages. What is looked up by a code or a word is found here and nowhere else.
 *
 * @module
 */
import { ACTIONS, CURRENCIES, TAGS } from "../../protocol.ts";
import { FRENCH_TAGS, FRENCH_WORDS } from "./french.ts";
import { REASONS } from "./reasons.ts";

// ---------------------------------------------------------------- what the page reads

/** A text in both languages. */
export type Pair = readonly [english: string, french: string];

/** A table by words or codes; what is looked up in it must be its own. */
export type Table<Value> = Readonly<Record<string, Value>>;

/** What a model is, and in what it differs from the reference. */
export interface PageModel {
  /** Which device it is. */
  readonly is: Pair;
  /** Its differences, each with the number of its source in docs/PROTOCOL.md. */
  readonly known: readonly { readonly source: number; readonly text: Pair }[];
  /** What its screen shows for a duplicate of a failure, and of nothing, where that is known. */
  readonly screens?: { readonly failed: string; readonly none: string };
}

/** The tables that the scripts of the page need. */
export interface PageData {
  /** What the tags are. */
  readonly tags: Table<Pair>;
  /** The codes of the tags that have a list of them, by tag. Those of AF have two digits. */
  readonly codes: Table<Table<Pair>>;
  /** The values of CD that move money. */
  readonly money: readonly string[];
  /** The cards that can pay: the application (CC) and how they are read (CI). */
  readonly cards: Table<readonly [CC: string, CI: string]>;
  /** The words of an outcome, and what they do. */
  readonly words: Table<Pair>;
  /** Those that change the answer of a real terminal. */
  readonly changes: readonly string[];
  /** The models, the reference first. */
  readonly models: Table<PageModel>;
  /** What is known of a failure besides its name, by the two digits of AF. */
  readonly reasons: Table<Pair>;
  /** The currencies that are written with their letters, by the value of CE. */
  readonly currencies: Table<readonly [letters: string, decimals: number]>;
  /** Whether tills are examined here. */
  readonly exam: boolean;
}

// ---------------------------------------------------------------- what it is made of

/** A model, in words. */
export interface ModelInBoth extends PageModel {
  /** The word that chooses it. */
  readonly name: string;
}

/** The tables beyond those of protocol.ts. */
export interface TableSource {
  /** The words for how a payment ends: the code of AF, none where it is paid. */
  readonly endings: Table<string>;
  /** The words for cards, with the tags that tell of them. */
  readonly cards: Table<{ readonly CC: string; readonly CI: string }>;
  /** The words for what goes wrong with an answer, and what they do, in English. */
  readonly faults: Table<{ readonly help: string }>;
  /** The other words without a value, and what they do, in English. */
  readonly flags: Table<string>;
  /** The models, the reference first. */
  readonly models: readonly ModelInBoth[];
  /** Whether tills are examined here. Default: they are not. */
  readonly exam?: boolean;
}

/** The codes of a tag. */
function codesOf(tag: string): Record<string, Pair> {
  const codes = TAGS.get(tag)?.codes ?? new Map();
  return Object.fromEntries([...codes].map(([code, { label, french }]) => [code, [label, french]]));
}

/** What the words of an outcome do. */
function wordsOf({ endings, cards, faults, flags }: TableSource): Record<string, Pair> {
  const [failures, applications] = [codesOf("AF"), codesOf("CC")];
  const inBoth = (word: string, help: string): Pair => [help, FRENCH_WORDS[word] ?? help];
  const words: [word: string, does: Pair][] = [
    ...Object.entries(endings).map(([word, AF]): [string, Pair] => [
      word,
      failures[AF] ?? ["paid", "payé"],
    ]),
    ...Object.entries(cards).map(([word, { CC }]): [string, Pair] => [
      word,
      applications[CC] ?? [CC, CC],
    ]),
    ...Object.entries(faults).map(([word, { help }]): [string, Pair] => [word, inBoth(word, help)]),
    ...Object.entries(flags).map(([word, help]): [string, Pair] => [word, inBoth(word, help)]),
  ];
  return Object.fromEntries(words);
}

/** The data of the page. */
export function pageData(source: TableSource): PageData {
  const { cards, faults, models } = source;
  const tags = [...TAGS];
  return {
    tags: Object.fromEntries(
      tags.map(([tag, { label }]) => [tag, [label, FRENCH_TAGS[tag] ?? label]]),
    ),
    codes: Object.fromEntries(
      tags.filter(([, { codes }]) => codes).map(([tag]) => [tag, codesOf(tag)]),
    ),
    money: [...ACTIONS].filter(([, { money }]) => money).map(([code]) => code),
    cards: Object.fromEntries(Object.entries(cards).map(([card, { CC, CI }]) => [card, [CC, CI]])),
    words: wordsOf(source),
    changes: [...Object.keys(faults), "hangup"],
    models: Object.fromEntries(
      models.map((
        { name, is, known, screens },
      ) => [name, { is, known, ...(screens && { screens }) }]),
    ),
    reasons: REASONS,
    currencies: Object.fromEntries(
      [...CURRENCIES.values()].map(({ number, name, decimals }) => [number, [name, decimals]]),
    ),
    exam: source.exam ?? false,
  };
}
