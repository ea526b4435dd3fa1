#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A simulated French card payment terminal that speaks Caisse-AP over IP ("Concert V3"), as a
 * command and as a library. It is a port of the server script of akretion/caisse-ap-ip, copyright
 * (C) 2023 Rémi de Lattre. The facts of the protocol and where they come from are in protocol.ts; a
 * number in brackets is a source named there.
 *
 * ```sh
 * deno run --allow-net server.ts --help
 * ```
 *
 * @example In a test suite: a terminal on a free port
 * ```ts
 * import { startTerminal } from "./server.ts";
 *
 * await using terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
 * terminal.nextOutcome("refused", "success,delay=10");
 * console.log(`the POS under test pays on port ${terminal.port}`);
 * ```
 *
 * @module
 */
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { parseArgs, styleText } from "node:util";
import {
  ACTIONS,
  argumentError,
  callBack,
  decodeReceipts,
  describe,
  type Deviation,
  DEVIATIONS,
  deviations,
  encodeReceipt,
  encodeText,
  type Field,
  type FramerOwner,
  helpRow,
  helpText,
  inRange,
  inWords,
  jsonLine,
  LOG_LEVELS,
  type LogLevel,
  meaning,
  type Message,
  MessageFramer,
  MessageReader,
  missingTags,
  moneyText,
  movesMoney,
  nearest,
  oneOf,
  type Option,
  OptionError,
  type Options,
  parseArgsConfig,
  printable,
  printableLines,
  readValues,
  type Received,
  TAGS,
  type Verdict,
  VERSION,
  wantedReceipt,
  type Warning,
  wrap,
} from "./protocol.ts";

// ---------------------------------------------------------------- outcomes

/** How a transaction ends, by the word for it: AF, "" for success. (1) */
export const ENDINGS = {
  success: "",
  abandon: "11",
  timeout: "08",
  refused: "04",
  forbidden: "05",
} as const;

/** The brands of cards, and what a receipt says of them. AI is "" where no source has one. */
const BRANDS = {
  cb: { AI: "A0000000421010", scheme: "CARTE BANCAIRE", label: "CB" }, // (2)(6)
  amex: { AI: "A00000002501", scheme: "AMERICAN EXPRESS", label: "AMEX" }, // (7)
  conecs: { AI: "", scheme: "CONECS", label: "TITRE RESTAURANT" },
  ancv: { AI: "", scheme: "ANCV", label: "CHEQUE VACANCES" },
} as const;

/** The cards. (1)(2)(5) No source has any card data of holiday vouchers. */
export const CARDS = {
  cbcontact: { CC: "001", CI: "1", brand: "cb" },
  cbcontactless: { CC: "00B", CI: "2", brand: "cb" },
  amexcontact: { CC: "002", CI: "1", brand: "amex" },
  amexcontactless: { CC: "00D", CI: "2", brand: "amex" },
  conecscontact: { CC: "00E", CI: "1", brand: "conecs" },
  conecscontactless: { CC: "10E", CI: "2", brand: "conecs" },
  ancv: { CC: "00V", CI: "", brand: "ancv" },
} as const;

/** The card that a simulated person holds, and how it is read. */
export type Card = keyof typeof CARDS;

/** What goes on the wire for an answer, and what becomes of the connection then. */
export interface Transmission {
  /** Latin-1 text, each sent on its own. */
  segments: readonly string[];
  /** Milliseconds between segments, or those before the second, the third and so on. Default: 0. */
  pause?: number | readonly number[];
  /** What is done to the connection after them. Default: it stays as it is. */
  then?: "close" | "reset";
}

/** Milliseconds to wait before a segment, by its index. */
export function pauseBefore(index: number, { pause = 0 }: Transmission): number {
  return typeof pause === "number" ? pause : pause[index - 1] ?? 0;
}

/** What can go wrong with an answer: in words, and on the wire. Bytes and pauses are our choice. */
export const FAULTS = {
  silent: {
    told: "silent",
    help: "no answer, the connection stays until the POS closes it",
    send: (_raw: string): Transmission => ({ segments: [] }),
  },
  close: {
    told: "closes without an answer",
    help: "the connection is closed without an answer",
    send: (_raw: string): Transmission => ({ segments: [], then: "close" }),
  },
  reset: {
    told: "resets the connection",
    help: "the connection is reset without an answer",
    send: (_raw: string): Transmission => ({ segments: [], then: "reset" }),
  },
  truncate: {
    told: "truncated answers",
    help: "the answer is cut inside its last field, then closed",
    send: (raw: string): Transmission => ({ segments: [raw.slice(0, -1)], then: "close" }),
  },
  garbage: {
    told: "garbage",
    help: "bytes that are no message instead of the answer",
    send: (_raw: string): Transmission => ({ segments: ["\x00\xff?!garbage\r\n"] }),
  },
  split: {
    told: "split answers",
    help: "the answer in segments, cut in a tag, a length, a value and between fields",
    send: (raw: string): Transmission => ({ segments: split(raw), pause: 50 }),
  },
  emptyamount: {
    told: "empty amounts",
    help: "CB with length 000 in the answer, whatever the amount", // a Desk/5000 after its red button (5)
    send: (raw: string): Transmission => ({ segments: [withEmptyAmount(raw)] }),
  },
  dribble: {
    told: "dribbled answers",
    help: "the answer byte by byte, 5 ms apart",
    send: (raw: string): Transmission => ({ segments: [...raw], pause: 5 }),
  },
} as const;

/** What goes wrong with an answer. */
export type Fault = keyof typeof FAULTS;

/** The fields of an answer. */
function fieldsOf(raw: string): readonly Field[] {
  const [received] = new MessageReader().feed(`${raw}\n`);
  return received?.fields ?? [];
}

/** An answer with CB of no length, before AE if it has none. What is no answer stays as it is. */
function withEmptyAmount(raw: string): string {
  const fields = fieldsOf(raw);
  const amount = fields.find(({ tag }) => tag === "CB");
  const { at } = amount ?? fields.find(({ tag }) => tag === "AE") ?? {};
  if (at === undefined) return raw;
  const empty = "CB000";
  const taken = amount ? empty.length + amount.value.length : 0;
  return raw.slice(0, at) + empty + raw.slice(at + taken);
}

/** Cuts a message inside a value and a length, before its last field and inside that one's tag. */
function split(raw: string): string[] {
  const fields = fieldsOf(raw);
  const last = fields.at(-1)?.at ?? 0;
  const long = fields.find(({ value }) => value.length > 1)?.at ?? 0;
  const cuts = [0, long + 6, (fields.at(-2)?.at ?? 0) + 3, last, last + 1].sort((a, b) => a - b);
  return cuts.map((from, index) => raw.slice(from, cuts[index + 1])).filter((part) => part !== "");
}

/** How a transaction ends. Everything has a default: it is approved, with a contact CB card. */
export interface Outcome {
  /** AF, two digits, if it fails; "" for success. Default: success. */
  failure?: string;
  /** The card that pays. Default: one of the application that is asked for, else cbcontact. */
  card?: Card;
  /** AE 11 first, the final answer after the delay, on the same connection. (4) */
  pending?: boolean;
  /** Seconds from request to answer, or a range to draw them from. Default: the terminal's. */
  delay?: number | readonly [min: number, max: number];
  /** What goes wrong with the answer. Default: nothing. */
  fault?: Fault;
  /** Closes the connection after the answer, as some terminals do. (4) */
  hangup?: boolean;
  /** Tags of the answer to set; "" leaves one out. */
  tags?: Message;
}

/** Seconds of a delay, drawn if it is a range. */
export function drawDelay(delay: NonNullable<Outcome["delay"]>): number {
  if (typeof delay === "number") return delay;
  const [min, max] = delay;
  return min + Math.random() * (max - min);
}

/** What else a word can say of an answer. */
export const FLAGS = {
  pending: "AE 11 first, the final answer after the delay",
  hangup: "the connection is closed after the answer",
} as const;

/** What each word says of an outcome; AF codes, delay= and TAG= aside. */
const WORDS: ReadonlyMap<string, Outcome> = new Map<string, Outcome>([
  ...Object.entries(ENDINGS).map(([word, failure]): [string, Outcome] => [word, { failure }]),
  ...keysOf(CARDS).map((card): [string, Outcome] => [card, { card }]),
  ...keysOf(FLAGS).map((flag): [string, Outcome] => [flag, { [flag]: true }]),
  ...keysOf(FAULTS).map((fault): [string, Outcome] => [fault, { fault }]),
]);

/** Words that people try, and the one that they mean. */
const MEANT: ReadonlyMap<string, string> = new Map([
  ["approved", "success"],
  ["accepted", "success"],
  ["declined", "refused"],
]);

/** Words for an outcome, see {@linkcode parseOutcome}. A misspelt single word is a type error. */
export type OutcomeText =
  | keyof typeof ENDINGS
  | Card
  | Fault
  | keyof typeof FLAGS
  | `${number}`
  | `${string}=${string}`
  | `${string},${string}`;

/** An outcome, or the words for it. */
export type OutcomeOrText = Outcome | OutcomeText;

/**
 * Decides how a transaction ends. `signal` is aborted when the POS has closed its side. What it
 * throws goes to the runtime as uncaught, and the POS gets AF 07.
 */
export type Decide = (
  request: Message,
  number: number,
  signal: AbortSignal,
) => OutcomeOrText | Promise<OutcomeOrText>;

/**
 * Reads an outcome from words separated by commas, at most one of each kind: how it ends (success,
 * abandon, timeout, refused, forbidden, or two digits of AF), which card, pending, delay=SECONDS or
 * delay=FROM..TO, a fault, hangup, and any number of TAG=VALUE. TAG= leaves the tag out; in a value
 * `\,` is a comma and `\\` a backslash.
 *
 * @param option What an error calls it.
 * @throws {OptionError} A word is none of these, or the second of its kind.
 * @throws {ProtocolError} A value cannot be sent.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseOutcome } from "./server.ts";
 *
 * const { failure, tags } = parseOutcome("abandon,CB=,delay=1..5"); // the red button of an Ingenico
 * assert.equal(failure, "11");
 * assert.equal(tags?.CB, "");
 * ```
 */
export function parseOutcome(text: string, option = "outcome"): Outcome {
  return toOutcome(text as OutcomeText, option);
}

function parseWords(text: string, option: string): Outcome {
  const outcome: Outcome = {};
  for (const word of text.split(UNESCAPED_COMMA)) {
    const [, tag, value = ""] = /^\s*([A-Z]{2})=(.*)$/s.exec(word) ?? [];
    const part = tag === undefined
      ? parseWord(word.trim().toLowerCase(), option)
      : { [tag]: value.replace(/\\([\\,])/g, "$1") };
    const into = tag === undefined ? outcome : outcome.tags ??= {};
    if (Object.keys(part).some((kind) => kind in into)) {
      throw new OptionError(option, "at most one word of each kind, and \\, in values", text);
    }
    Object.assign(into, part);
  }
  return outcome;
}

/** A comma that no backslash makes a part of a value. */
const UNESCAPED_COMMA = /(?<=(?<!\\)(?:\\\\)*),/;

/** What a word other than TAG=VALUE says of an outcome. */
function parseWord(word: string, option: string): Outcome {
  const known = /^\d\d$/.test(word) ? { failure: word } : WORDS.get(word);
  if (known) return known;
  const [, from, to] = /^delay=(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?$/.exec(word) ?? [];
  if (from !== undefined) {
    return { delay: to === undefined ? Number(from) : [Number(from), Number(to)] };
  }
  const others = "an AF code such as 07, delay=SECONDS, delay=FROM..TO, TAG=VALUE";
  const expected = `words from ${[...WORDS.keys()].join(", ")}, ${others}`;
  const near = nearest(word, [...WORDS.keys(), ...MEANT.keys(), "delay="]);
  throw new OptionError(option, expected, word, near && (MEANT.get(near) ?? near));
}

/** Reads an outcome, or copies one if it is one: a program need not be type-checked. */
export function toOutcome(given: OutcomeOrText, option = "outcome"): Outcome {
  const outcome = typeof given === "string" ? parseWords(given, option) : given;
  checkObject(option, "an outcome or the words for it", outcome);
  const { failure = "", card = "cbcontact", delay = 0, fault = "silent", tags = {} } = outcome;
  const names = ["failure", "card", "delay", "fault", "tags", ...keysOf(FLAGS)];
  checkNames(option, "an outcome of", names, Object.keys(outcome));
  if (typeof failure !== "string" || !/^(\d\d)?$/.test(failure)) {
    throw new OptionError(option, "an AF code of two digits", failure);
  }
  for (const [value, table] of [[card, CARDS], [fault, FAULTS]] as const) {
    if (typeof value === "string" && Object.hasOwn(table, value)) continue;
    throw new OptionError(option, `one of ${Object.keys(table).join(", ")}`, value);
  }
  for (const flag of keysOf(FLAGS)) checkBoolean(option, outcome[flag]);
  const [min, max, ...more] = Array.isArray(delay) ? delay : [delay, delay];
  if (more.length > 0) throw new OptionError(option, "a delay of one or two numbers", delay);
  const { max: most } = OPTIONS.duration;
  inRange(option, { min: inRange(option, { max: most }, min ?? null), max: most }, max ?? null);
  checkObject(option, "tags and their values", tags);
  for (const [tag, value] of Object.entries(tags)) {
    encodeText({ [tag]: value === "" ? "-" : value });
  }
  return {
    ...outcome,
    ...(typeof delay === "object" && { delay: [...delay] as const }),
    ...(outcome.tags && { tags: { ...tags } }),
  };
}

/** Refuses a name that is none of those known, and suggests the nearest. */
function checkNames(option: string, what: string, known: readonly string[], names: string[]): void {
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new OptionError(option, `${what} ${known.join(", ")}`, unknown, nearest(unknown, known));
}

function checkObject(option: string, expected: string, got: unknown): void {
  if (Object.prototype.toString.call(got) === "[object Object]") return;
  throw new OptionError(option, expected, got);
}

/** Reads an outcome, see {@linkcode parseOutcome}; `option` is what an error calls it. */
export type ReadOutcome = (outcome: OutcomeOrText, option?: string) => Outcome;

/** An outcome in the words of {@linkcode parseOutcome}. */
export function formatOutcome(outcome: Outcome): string {
  const { failure = "", delay, tags = {} } = outcome;
  const words = [failure];
  for (const [word, part] of WORDS) {
    const [[kind, value] = []] = Object.entries(part);
    if (kind === "failure" && value === failure) words[0] = word;
    else if (kind !== "failure" && value === outcome[kind as keyof Outcome]) words.push(word);
  }
  if (delay !== undefined) words.push(`delay=${[delay].flat().join("..")}`);
  for (const [tag, value] of Object.entries(tags)) {
    words.push(`${tag}=${value.replace(/[\\,]/g, "\\$&")}`);
  }
  return words.join(",");
}

/** The keys of a table as what they are. */
function keysOf<Key extends string>(table: Readonly<Record<Key, unknown>>): Key[] {
  return Object.keys(table) as Key[];
}

// ---------------------------------------------------------------- models

/** In what a terminal differs from the reference. What is absent is as there. */
export interface Traits {
  /** CZ and CJ of its own, in every answer. */
  identity?: { readonly CZ: string; readonly CJ: string };
  /** The only tags of a request that it gives back. */
  copies?: readonly string[];
  /** Characters of CF that it gives back. */
  returnsCF?: number;
  /** Characters of CF that are no deviation. */
  takesCF?: number;
  /** AF for what a person abandons. */
  abandon?: string;
  /** Whether the amount is missing then. */
  dropsCB?: true;
  /** AF beside AE 10. */
  approvedAF?: string;
  /** Whether a card that was refused has an AC, and what AF says after its two digits. */
  refusal?: { readonly AC: true; readonly detail: string };
  /** Whether AE and AF of AF 09 come before what is given back. */
  statusFirst?: true;
  /** What hides digits of AA. */
  mask?: string;
  /** AL, with AA. */
  AL?: string;
  /** Columns of a receipt, whether lines are filled up with blanks, and characters of AK to a line. */
  receipt?: { readonly columns: number; readonly filled?: boolean; readonly wrap: number };
  /** AE for BA 1, or that nothing is answered. */
  atOnce?: "10" | "nothing";
  /** Tags of a request that it answers AF 09 to. */
  refuses?: readonly string[];
  /** Tags of a request that it fails on: AF 09 is our choice. */
  failsOn?: readonly string[];
  /** Values of CD that it does not know. */
  lacks?: readonly string[];
  /** Whether it has AP, AQ and ID in its answers. */
  vendorTags?: true;
  /** The action that asks for the status of a transaction. */
  status?: string;
  /** The port that it listens on by default. */
  port?: number;
  /** That it reads no request while it is busy; otherwise it answers AE 01, AF 07. */
  busy?: "unread";
  /** What its screen shows for a duplicate of a failure, and of nothing. */
  screens?: { readonly failed: string; readonly none: string };
  /** What else is known of it, and how to have it. */
  notes?: readonly string[];
}

/** A terminal that exists. */
export interface Model {
  /** What it is. */
  readonly is: string;
  /** What is known of it, by the sources that say so: their numbers in protocol.ts. */
  readonly known: Readonly<Record<string, Traits>>;
}

/** The models of terminals. Nothing is known of one but what its row says. */
export const MODELS = {
  reference: {
    is: "the scripts of akretion/caisse-ap-ip",
    known: {},
  },
  desk5000: {
    is: "Ingenico Desk/5000, Concert V3",
    known: {
      "5": {
        identity: { CZ: "0301", CJ: "330538600404" },
        dropsCB: true,
        failsOn: ["BF"],
        busy: "unread",
      },
      "1": { notes: ["cheques: AF 04 whatever the reason, and no card data, as the reference"] },
    },
  },
  move500: {
    is: "Ingenico Move/500",
    known: { "4": { atOnce: "nothing", refuses: ["TI", "LB"], AL: "1" } },
  },
  dx8000: {
    is: "Ingenico AXIUM DX8000 with Nepting",
    known: {
      "10": {
        port: 20_002,
        notes: [
          "if set so, it connects to port 20006 of the POS to answer: --callback 20006",
          "asleep, or without the protocol, it refuses connections: stop the terminal",
        ],
      },
    },
  },
  hipay: {
    is: "HiPay with Nepting: PAX A920Pro, A80, A50, A35",
    known: {
      "2": {
        identity: { CZ: "0320", CJ: "999999999999" },
        refusal: { AC: true, detail: "904148HOLDER INVALID" },
        statusFirst: true,
        receipt: { columns: 28, wrap: 900 }, // one line feed, at the end
        lacks: ["2"],
      },
      "9": { returnsCF: 32, notes: ["other tags may appear: TAG=VALUE of an outcome"] },
    },
  },
  payxpert: {
    is: "PayXpert: Castles S1F2, S1P, Sunmi P2",
    known: {
      "3": {
        copies: ["CZ", "CJ", "CA", "CB", "CD", "CE", "CF", "CH", "IM"], // the last two: our choice
        abandon: "06",
        approvedAF: "01",
        mask: "*",
        AL: "1",
        receipt: { columns: 50, filled: true, wrap: 76 },
        atOnce: "10",
        vendorTags: true,
        status: "T",
        notes: ["not in the foreground, it answers AE 01 at once: --outcome 07,delay=0"],
      },
    },
  },
  viva: {
    is: "Viva on Android: PAX",
    known: { "8": { takesCF: 183, notes: ["takes CK 121, as the reference"] } },
  },
  v240m: {
    is: "Verifone V240m",
    known: {
      "9": {
        screens: {
          failed: "DERNIERE TRANSACTION NON ABOUTIE PAS DE DUPLICATA",
          none: "DUPLICATA IMPOSSIBLE",
        },
        notes: ["a duplicate is about the last attempt, as with the reference"],
      },
    },
  },
} as const;

/** The name of a model. */
export type ModelName = keyof typeof MODELS;

/** What is known of each model, from all its sources. */
const TRAITS = Object.fromEntries(
  Object.entries<Model>(MODELS).map(([name, { known }]) => [
    name,
    Object.assign({}, ...Object.values(known)),
  ]),
) as Record<ModelName, Traits>;

/** How each trait is told, in a language: a sentence or several. */
export type Told = {
  readonly [Name in keyof Traits]-?: (
    trait: NonNullable<Traits[Name]>,
  ) => string | readonly string[];
};

/** How each trait is told in English. */
const TOLD: Told = {
  identity: ({ CZ, CJ }) => `CZ ${CZ} and CJ ${CJ} of its own`,
  copies: (tags) => `gives back ${tags.join(" ")} only`,
  returnsCF: (count) => `gives back ${count} characters of CF`,
  takesCF: (count) => `takes a CF of ${count} characters`,
  abandon: (code) => `abandon: AF ${code}`,
  dropsCB: () => "abandon: without CB, or with an empty one (abandon,emptyamount)",
  approvedAF: (code) => `AF ${code} beside AE 10 of a payment`,
  refusal: ({ detail }) => `refused: with AC, and AF 04 followed by ${detail}`,
  statusFirst: () => "AF 09: AE and AF before what is given back",
  mask: (character) => `AA is masked with ${character}`,
  AL: (value) => `AL ${value} with AA`,
  receipt: ({ columns, filled, wrap }) =>
    `receipts of ${columns} columns${filled ? ", filled up with blanks" : ""}, a line feed ${
      wrap < 900 ? `after every ${wrap} characters and ` : ""
    }at the end of AK`,
  atOnce: (AE) => `BA 1: ${AE === "10" ? "AE 10" : "no answer"}`,
  refuses: (tags) => `AF 09 to ${tags.join(" and ")}`,
  failsOn: (tags) => `fails on ${tags.join(" and ")} (AF 09 is our choice)`,
  lacks: (actions) => `AF 12 to CD ${actions.join(" ")}`,
  vendorTags: () => [
    "AP, AQ and ID in answers",
    "IM of a credit is the ID of a debit (AF 07 to another is our choice)",
  ],
  status: (action) => `CD ${action} tells how the last transaction ended (its form is our choice)`,
  port: (port) => `listens on port ${port}`,
  busy: () => "busy, it reads no request until it is free: with --exclusive",
  screens: ({ failed, none }) => [
    `a duplicate of a failure: its screen shows ${failed}`,
    `a duplicate of nothing: its screen shows ${none}`,
  ],
  notes: (texts) => texts,
};

/** A model for people: its name, what it is, and what is known of it, each with its source. */
export interface ModelInWords {
  /** Its name. */
  name: ModelName;
  /** What it is. */
  is: string;
  /** In what it differs from the reference; the number of a source is as in protocol.ts. */
  known: { source: number; text: string }[];
}

/** The models for people, in English or as they are `told`. */
export function modelsInWords(told: Told = TOLD): ModelInWords[] {
  return Object.entries<Model>(MODELS).map(([name, { is, known }]) => ({
    name: name as ModelName,
    is,
    known: Object.entries(known).flatMap(([source, traits]) =>
      Object.entries(traits).flatMap(([trait, value]) => {
        const tell = told[trait as keyof Traits] as (value: unknown) => string | readonly string[];
        return [tell(value)].flat().map((text) => ({ source: Number(source), text }));
      })
    ),
  }));
}

/** What --model list prints. */
function modelsText(): string {
  const texts = modelsInWords().map(({ name, is, known }) => {
    const lines = known.flatMap(({ source, text }) =>
      wrap(`(${source}) ${text}`, 66).map((line, at) => (at ? "    " : "") + line)
    );
    return [`${name.padEnd(11)}${is}`, ...lines.map((line) => `           ${line}`)].join("\n");
  });
  return `${texts.join("\n\n")}\n
Listed: in what each is known to differ from the reference.
In brackets: where it was seen, see PROTOCOL.md.\n`;
}

// ---------------------------------------------------------------- options

/**
 * What a terminal does. Everything has a default. An outcome comes from `when`, else `next`, else
 * `outcome`. An identification takes only the tags, the fault and the hangup of `outcome`.
 */
export interface TerminalOptions {
  /** Address or name to listen on. Default: every interface. */
  host?: string;
  /**
   * TCP port; 0 takes a free one, see {@linkcode Terminal.port}. Default: that of the model, else
   * 8888. (1)(2)(3)
   */
  port?: number;
  /** The terminal that it behaves as, see {@linkcode MODELS}. Default: reference. */
  model?: ModelName;
  /** How a transaction ends. Default: success. */
  outcome?: OutcomeOrText | Decide;
  /** Outcomes for one transaction each, in order. */
  next?: readonly OutcomeOrText[];
  /** Outcomes by amount: CB without leading zeros, else "*" and most of its last digits. */
  when?: Readonly<Record<string, OutcomeOrText>>;
  /** Seconds from the last byte of a request to the answer; none after BA 1. Default: 3. (1) */
  duration?: number;
  /**
   * Does one thing at a time, like a real one: while a transaction is under way any other request
   * is answered at once AE 01 (3), AF 07 (our choice); on the same connection, in its turn.
   * Default: off, so that test suites run side by side.
   */
  exclusive?: boolean;
  /**
   * Answers AE 01, AF 09 to a request that deviates from the protocol, but for what vendors publish
   * and what is not known: see DEVIATIONS in protocol.ts. Default: off, it only warns.
   */
  strict?: boolean;
  /**
   * A person decides on each transaction, see {@linkcode Terminal.decide}. Default: off. What is
   * decided is added to `outcome`, and answered at once.
   */
  interactive?: boolean;
  /**
   * TCP port of the POS that answers go to, on a connection of the terminal's own to the address
   * that the request came from. (4)(10) Default: 0, answers go where the request came from.
   */
  callback?: number;
  /** CG, the merchant contract number, 1 to 10 characters. Default: 424242. (1) */
  sellerContract?: string;
  /**
   * Milliseconds without a byte after which whole fields are taken as a request. Default: 20 (our
   * choice: far more than the pause between two segments of one write, far less than a person
   * notices).
   */
  gap?: number;
  /**
   * Longest time from a request's first byte to its last, in milliseconds. After that, the fields
   * so far are answered and the connection closed. Default: 10,000 (our choice: POS send it in one
   * write).
   */
  requestTimeout?: number;
  /**
   * Milliseconds that a connection may stay open before its first request. Default: 600,000 (our
   * choice: a POS that connects when it starts may wait for its first customer).
   */
  idleTimeout?: number;
  /**
   * Milliseconds without a request, after an answer, until a connection is closed. Default: 86,400,000
   * (our choice: a POS that keeps its connection may sleep overnight).
   */
  keepTimeout?: number;
  /**
   * Milliseconds without a byte after which the system probes whether the POS is still there, so
   * that one that has lost power does not keep its place; 0: never. Default: 60,000 (our choice).
   */
  keepAlive?: number;
  /**
   * Milliseconds that a function or a person may take to decide on an outcome; then it is AF 08
   * (our choice). Without a limit, a function that never settles would keep an exclusive terminal
   * busy for ever. Default: 600,000 (our choice: ten times what a payment takes).
   */
  decideTimeout?: number;
  /**
   * Bytes that a request may have; a longer one is malformed. Default: 64 KiB (our choice: seven
   * times all known tags at their longest).
   */
  maxRequest?: number;
  /**
   * Bytes of answers that a POS may leave unread before its connection is dropped. Default: 1 MiB
   * (our choice: hundreds of the longest answers with a receipt, which no POS asks for without
   * reading one).
   */
  maxUnread?: number;
  /**
   * Connections at once; further ones are closed. Default: 10,000 (our choice: more than any chain
   * of shops has tills on one terminal, few enough for the context of a small machine).
   */
  maxConnections?: number;
  /** Receives the log. What it throws goes to the runtime as uncaught. Default: nobody. */
  log?: (level: LogLevel, text: string) => void;
  /** The least level that is given to `log`. Default: info. */
  logLevel?: LogLevel;
  /** Receives what happens. What it throws goes to the runtime as uncaught. Default: nobody. */
  onEvent?: Listener;
}

/** Longest time in milliseconds that anything is waited for (our choice: a day). */
const DAY = 86_400_000;

/** What each option is by default and may be, and what the help says of it. */
const OPTIONS = {
  port: {
    heading: "Where it listens",
    short: "p",
    value: "PORT",
    default: 8888,
    min: 0,
    max: 65_535,
    whole: true,
    help: "TCP port, 0 for a free one",
  },
  host: { value: "HOST", help: "address or name (every interface)" },
  model: {
    heading: "Which terminal it is",
    value: "MODEL",
    default: "reference",
    help: "a terminal that exists; list tells what is known of them",
  },
  when: {
    heading: "How a transaction ends. The first of these that applies decides",
    value: "AMOUNT=OUTCOME",
    multiple: true,
    help:
      "1. for an amount such as 1234, in minor units, or its last digits, *34; may be given again",
  },
  next: {
    value: "OUTCOME",
    multiple: true,
    help: "2. for the next transaction; given again, for those after it",
  },
  interactive: { short: "i", help: "3. a person decides, on this screen" },
  outcome: { value: "OUTCOME", default: "success", help: "4. for all others" },
  failure: { heading: "Short forms of --outcome", short: "f", help: "every payment fails" },
  failureType: {
    short: "ft",
    value: "TYPE",
    default: "abandon",
    help: "how, with -f: abandon, timeout, refused or forbidden",
  },
  paymentType: { short: "pt", value: "CARD", default: "cbcontact", help: "the card that pays" },
  duration: {
    heading: "What else it does",
    short: "d",
    value: "SECONDS",
    default: 3,
    min: 0,
    max: DAY / 1000,
    help: "from the request to the answer, 0 with -i",
  },
  sellerContract: {
    short: "sc",
    value: "NUMBER",
    default: "424242",
    help: "the merchant contract number, CG",
  },
  callback: {
    value: "PORT",
    default: 0,
    min: 0,
    max: 65_535,
    whole: true,
    help: "answers go to this port of the POS",
  },
  exclusive: { help: "one transaction at a time: AF 07 to others, as far as the model reads them" },
  strict: { help: "AF 09 to what deviates from the protocol" },
  gap: { value: "MS", default: 20, min: 0, max: DAY, help: "the pause that ends a request" },
  json: { heading: "What it prints", help: "what happens, on stdout, a JSON object a line" },
  logLevel: { short: "l", value: "LEVEL", default: "info", help: "debug, info, warn or error" },
  help: { short: "h", help: "this text" },
  version: { help: VERSION },
  requestTimeout: { default: 10_000, min: 1, max: DAY },
  idleTimeout: { default: 600_000, min: 1, max: DAY },
  keepTimeout: { default: DAY, min: 1, max: DAY },
  keepAlive: { default: 60_000, min: 0, max: DAY },
  decideTimeout: { default: 600_000, min: 1, max: DAY },
  maxRequest: { default: 65_536, min: 1, max: 2 ** 40 },
  maxUnread: { default: 2 ** 20, min: 0, max: 2 ** 40 },
  maxConnections: { default: 10_000, min: 1, max: 2 ** 40 },
} satisfies Options;

/** The options with their defaults, each held against what it may be. */
export interface Settings extends
  Required<
    Omit<TerminalOptions, "outcome" | "next" | "when" | "log" | "onEvent">
  > {
  /** How transactions end for which nothing else decides. */
  outcome: Outcome | Decide;
  /** Outcomes for one transaction each. */
  next: Queued[];
  /** Outcomes by amount: the whole amounts first, then more last digits before fewer. */
  when: readonly (readonly [amount: string, Outcome])[];
  /** Receives the log. */
  log: TerminalOptions["log"] | undefined;
  /** Receives what happens. */
  onEvent: Listener | undefined;
}

/** An outcome for one transaction, of one cash register (CA) or of any. */
export interface Queued {
  /** How it ends. */
  outcome: Outcome;
  /** The cash register. Default: any. */
  register?: string;
}

/** The options that are numbers. */
type NumberOption = {
  [Name in keyof typeof OPTIONS]: typeof OPTIONS[Name] extends { min: number } ? Name : never;
}[keyof typeof OPTIONS];

function checkBoolean(name: string, got: unknown = false): boolean {
  if (typeof got === "boolean") return got;
  throw new OptionError(name, "true or false", got);
}

/**
 * The options with their defaults, each held against what it may be.
 *
 * @param read Reads an outcome: it may refuse some.
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 */
export function checkOptions(options: TerminalOptions, read: ReadOutcome = toOutcome): Settings {
  const { model: name = OPTIONS.model.default } = options;
  const model = oneOf("model", keysOf(MODELS), name);
  const given = { ...options, port: options.port ?? TRAITS[model].port };
  const numbers = Object.entries<Option>(OPTIONS).filter(([, { min }]) => min !== undefined)
    .map(([name, option]) => [name, inRange(name, option, given[name as NumberOption])]);
  const { sellerContract = OPTIONS.sellerContract.default } = options;
  if (!/^[\x20-\xff]{1,10}$/.test(sellerContract)) {
    throw new OptionError("sellerContract", "1 to 10 characters of Latin-1", sellerContract);
  }
  const checked: Settings = {
    ...Object.fromEntries(numbers) as Record<NumberOption, number>,
    host: options.host ?? "",
    model,
    outcome: toSource(options.outcome === undefined ? "success" : options.outcome, read),
    next: (options.next ?? []).map((outcome): Queued => ({ outcome: read(outcome, "next") })),
    when: byAmount(options.when === undefined ? {} : options.when, read),
    exclusive: checkBoolean("exclusive", options.exclusive),
    strict: checkBoolean("strict", options.strict),
    interactive: checkBoolean("interactive", options.interactive),
    sellerContract,
    log: options.log,
    logLevel: oneOf("logLevel", LOG_LEVELS, options.logLevel ?? OPTIONS.logLevel.default),
    onEvent: options.onEvent,
  };
  checkNames("options", "names from", Object.keys(checked), Object.keys(options));
  return checked;
}

/** Reads an outcome, or takes a function that decides, unless some outcomes are refused. */
function toSource(outcome: OutcomeOrText | Decide, read: ReadOutcome): Outcome | Decide {
  const decides = typeof outcome === "function" && read === toOutcome;
  return decides ? outcome : read(outcome as OutcomeOrText);
}

function byAmount(
  when: NonNullable<TerminalOptions["when"]>,
  read: ReadOutcome,
): Settings["when"] {
  const outcomes = new Map<string, Outcome>();
  checkObject("when", "outcomes by amount", when);
  for (const [text, outcome] of Object.entries(when)) {
    const amount = withoutZeros(text);
    if (!/^\*?\d+$/.test(amount)) {
      throw new OptionError("when", "minor units such as 1234, or * and last digits", text);
    }
    if (outcomes.has(amount)) throw new OptionError("when", "each amount once", text);
    outcomes.set(amount, read(outcome, "when"));
  }
  const lastDigits = (amount: string): number => amount.startsWith("*") ? amount.length : Infinity;
  return [...outcomes].sort(([one], [other]) => lastDigits(other) - lastDigits(one) || 0);
}

function withoutZeros(amount: string): string {
  return amount.replace(/^0+(?=\d)/, "");
}

// ---------------------------------------------------------------- what a terminal answers

/** What an answer depends on besides the request and the outcome. */
export interface AnswerContext {
  /** CG. */
  sellerContract: string;
  /** The moment that a receipt tells. */
  time: Date;
  /** The last attempt of the cash register to move money, if it made one. */
  last: Attempt | undefined;
  /** Whether a debit was approved that has this ID. Default: none was. */
  isDebit?: (id: string) => boolean;
  /** In what the terminal differs from the reference. Default: in nothing. */
  traits?: Traits;
}

/** An attempt to move money, as a duplicate tells it. */
export interface Attempt {
  /** The answer, whether it arrived or not. */
  answer: Readonly<Message>;
  /** When it was asked for. */
  time: Date;
}

/** What a terminal answers to a request that it serves. */
export function answerTo(
  request: Readonly<Message>,
  outcome: Outcome,
  context: AnswerContext,
): Message {
  const { traits = {}, time, last } = context;
  const failure = outcome.failure === ENDINGS.abandon
    ? traits.abandon ?? ENDINGS.abandon
    : outcome.failure;
  const refusal = refusalOf(request, traits);
  if (refusal) return setTags(notServed(request, failure || refusal, traits), outcome.tags);
  const answer = echo(request, traits);
  const { CD: action = "", CK: ck = "" } = request;
  if (action === "I") setTags(answer, { CB: "", CE: "", AE: "10" });
  else if (action === traits.status) addLast(answer, last);
  else if (request["BA"] === "1") setTags(answer, takenAtOnce(failure, traits));
  else if (movesMoney(action)) {
    setTags(answer, moneyResult(request, outcome, failure, context));
    setTags(answer, outcome.tags); // which the receipt has too
    addReceipt(answer, ck, { answer, time }, traits.receipt);
  } else if (failure) setTags(answer, { AE: "01", AF: failure });
  else if (action === "3") {
    // AF is our choice, and so is a receipt where CK asks for none.
    if (last?.answer["AE"] !== "10") setTags(answer, { AE: "01", AF: last ? "07" : "10" });
    else {
      addLast(answer, last);
      addReceipt(answer, ck || "100", last, traits.receipt, true);
    }
  } else answer["AE"] = "10";
  return setTags(answer, outcome.tags);
}

/** The answer to a request that is not served. */
function notServed(request: Readonly<Message>, AF: string, traits: Traits): Message {
  const status = { AE: "01", AF };
  const echoed = echo(request, traits);
  const first = traits.statusFirst && AF === "09" ? { ...traits.identity, ...status } : {};
  return { ...first, ...echoed, ...status };
}

/**
 * The fields of a request that its answer gives back, in their order, CZ first (1): the terminal's
 * own where there is none (our choice: that of the reference). Not those without a value, which a
 * terminal leaves out (2)(6), nor AE, AF and ZT, which are the terminal's to say.
 */
function echo(request: Readonly<Message>, { identity, copies, returnsCF }: Traits): Message {
  const fields: Message = { CZ: request["CZ"] || "0300", ...identity };
  for (const tag in request) {
    const value = request[tag]!;
    if (value === "" || tag === "AE" || tag === "AF" || tag === "ZT") continue;
    if ((copies && !copies.includes(tag)) || (identity && tag in identity)) continue;
    fields[tag] = tag === "CF" ? value.slice(0, returnsCF) : value;
  }
  return fields;
}

/** The AF with which a model refuses a request that the reference serves, if it does. */
function refusalOf(request: Readonly<Message>, traits: Traits): string | undefined {
  if (traits.lacks?.includes(request["CD"] ?? "")) return "12";
  return refusedTag(request, traits) && "09";
}

/** The tag of a request that a model refuses, if there is one. */
function refusedTag(request: Readonly<Message>, traits: Traits): string | undefined {
  const isThere = (tag: string): boolean => tag in request;
  return traits.refuses?.find(isThere) ?? traits.failsOn?.find(isThere);
}

/** The answer to BA 1. A terminal that answers AE 10 says so when it cannot take the request. (3) */
function takenAtOnce(failure: string | undefined, { atOnce }: Traits): Message {
  if (atOnce !== "10") return { AE: "11" };
  return failure === "07" ? { AE: "01", AF: failure } : { AE: "10" };
}

/** Whether no person has part in the answer, and the duration does not apply. */
function answersAtOnce(request: Readonly<Message>, traits: Traits): boolean {
  const { CD, BA } = request;
  return CD === "I" || CD === traits.status || BA === "1" ||
    refusalOf(request, traits) !== undefined;
}

/** The application that a request asks for. CC 000 (any) and 00C (cheque) ask for none. */
function askedFor({ CC = "000" }: Readonly<Message>): string | undefined {
  return CC === "000" || CC === "00C" ? undefined : CC;
}

/**
 * The fields that tell how money was moved, or why not (AF), in the order of the reference. (1) One
 * without a value is left out.
 */
function moneyResult(
  request: Readonly<Message>,
  { failure, card }: Outcome,
  AF: string | undefined,
  { sellerContract, time, isDebit, traits = {} }: AnswerContext,
): Message {
  const { CF = "", IM = "" } = request;
  const { dropsCB, refusal, approvedAF = "", mask = "#", AL = "" } = traits;
  const { returnsCF, vendorTags } = traits;
  const cheque = request["CC"] === "00C";
  if (AF === ENDINGS.refused && refusal && !cheque) {
    return { AC: randomDigits(6), AE: "01", AF: AF + refusal.detail.padEnd(AF_DETAIL) };
  }
  const isCBLess = dropsCB && failure === ENDINGS.abandon;
  // For cheques an Ingenico answers AF 04 whatever the reason, and no card data on success. (1)
  if (AF) return { ...(isCBLess && { CB: "" }), AE: "01", AF: cheque ? "04" : AF };
  if (vendorTags && request["CD"] === "1" && IM !== "" && !isDebit?.(IM)) {
    return { AE: "01", AF: "07" }; // the reason is our choice
  }
  if (cheque) return { AE: "10", AF: approvedAF, CC: "00C" };
  const asked = askedFor(request);
  const known = asked === undefined || card
    ? CARDS[card ?? "cbcontact"]
    : Object.values(CARDS).find(({ CC }) => CC === asked);
  const { AI = "" } = known ? BRANDS[known.brand] : {};
  const AA = known?.CI ? `${randomDigits(6)}${mask.repeat(6)}${randomDigits(4)}` : "";
  const expiry = two((new Date().getFullYear() + 1) % 100) +
    two(1 + Math.floor(Math.random() * 12));
  return {
    AE: "10",
    AF: approvedAF,
    CC: known?.CC ?? asked ?? "",
    CI: known?.CI ?? "",
    AC: randomDigits(6),
    AA,
    AL: AA && AL,
    AI,
    AB: AA && expiry,
    CF: CF.slice(0, returnsCF) || "1010000000",
    CG: sellerContract,
    // Of 13 characters, 2 to 20, and a text (3): the rest of their form is our choice.
    ...(vendorTags && { AP: `${time.getTime()}`, AQ: TERMINAL, ID: randomDigits(12) }),
  };
}

/** Characters after AF's two digits: an authorisation response, a text, and two more codes. (2) */
const AF_DETAIL = 2 + 21 + 2 + 2;
/** The number of the terminal. */
const TERMINAL = "00000001";

/** Adds to an answer how the last attempt of a cash register ended. (9) */
function addLast(answer: Message, last: Attempt | undefined): void {
  if (!last) return void setTags(answer, { AE: "01", AF: "10" });
  const { CZ: _CZ, CJ: _CJ, CD: _CD, CK: _CK, BA: _BA, ZT: _ZT, ...result } = last.answer;
  Object.assign(answer, result);
}

function randomDigits(count: number): string {
  return String(Math.floor(Math.random() * 10 ** count)).padStart(count, "0");
}

/** Sets tags of an answer; "" leaves one out. */
function setTags(answer: Message, tags: Readonly<Message> = {}): Message {
  for (const tag in tags) {
    const value = tags[tag]!;
    if (value !== "") answer[tag] = value;
    else if (tag in answer) delete answer[tag]; // which makes it slow, even where there is none
  }
  return answer;
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

function clock(time: Date): string {
  return time.toTimeString().slice(0, 8);
}

/** The amount of a message as a person in France reads it. */
function amountText(message: Readonly<Message>): string {
  const { CB = "", CE = "" } = message;
  return moneyText(message)?.replace(".", ",") ?? `${CB} ${CE}`;
}

/**
 * Adds the receipt that CK asks for, if any: lines, of 24 columns by default, that have what those
 * of real terminals have, in French like them. (2)(3) The first line, those about a failure, the
 * duplicate and the cancellation are our choice, and which go where AK has no room for all.
 */
function addReceipt(
  to: Message,
  ck: string,
  { answer, time }: Attempt,
  { columns, filled = false, wrap }: NonNullable<Traits["receipt"]> = { columns: 24, wrap: 0 },
  duplicate = false,
): void {
  const wanted = wantedReceipt(ck);
  if (!wanted) return;
  const copy = wanted.copy === "merchant" ? "merchant" : "customer"; // of both, the one that fits into one ZT
  const card = Object.values(CARDS).find(({ CC }) => CC === answer["CC"]);
  const done = answer["AE"] === "10";
  const date = [time.getDate(), time.getMonth() + 1, time.getFullYear() % 100].map(two).join("/");
  const [merchant, number] = ["COMMERCE SIMULE", `TERMINAL ${TERMINAL}`];
  const label = card && BRANDS[card.brand].label;
  const lines = [
    "SIMULATION SANS VALEUR",
    duplicate && "DUPLICATA",
    card ? BRANDS[card.brand].scheme : answer["CC"] === "00C" && "CHEQUE",
    !card && meaning("CC", askedFor(answer))?.french.toUpperCase(),
    meaning("CI", answer["CI"])?.french.toUpperCase(),
    answer["AI"],
    label,
    `LE ${date} A ${clock(time)}`,
    merchant,
    answer["CG"] && `CONTRAT ${answer["CG"]}`,
    number,
    answer["AA"],
    answer["AC"] && `AUTORISATION ${answer["AC"]}`,
    answer["CB"] && `MONTANT${amountText(answer).padStart(columns - 7)}`,
    answer["CD"] === "1" ? "CREDIT" : answer["CD"] === "2" ? "ANNULATION" : "DEBIT",
    !done && (meaning("AF", answer["AF"])?.french ?? "non effectuée").toUpperCase(),
    !done && "TRANSACTION NON ABOUTIE",
    copy === "customer" ? "TICKET CLIENT" : "TICKET COMMERCANT",
  ];
  const printed = lines.filter((line) => line).map((line) => printable(String(line)));
  while (filled && printed.length > 12) {
    const spare = [label, number, merchant].find((line) => line && printed.includes(line));
    printed.splice(spare === undefined ? 1 : printed.indexOf(spare), 1);
  }
  const text = printed.map((line) => line.slice(0, columns).padEnd(filled ? columns : 0))
    .join("\n");
  const html = `<pre>${text.replace(/[<&]/g, " ")}</pre>`; // escaped they would not fit into AK
  const { format } = wanted;
  to["ZT"] = encodeReceipt({ copy, format, text: format === "html" ? html : text }, wrap);
}

// ---------------------------------------------------------------- what a terminal decides

/** A message that was sent or received. */
export interface WireMessage {
  /** Its bytes as Latin-1 text. */
  readonly raw: string;
  /** Its fields, as far as they can be read. */
  readonly message: Readonly<Message>;
  /** The line ends and control characters right behind it, where somebody has looked for them. */
  readonly ending?: string;
}

/** Which transaction something is about. */
export interface About {
  /** The number of the connection, from 1. */
  readonly connection: number;
  /** The number of the transaction, from 1. */
  readonly transaction: number;
}

/** A request of a POS, from its last byte until what is answered to it is out. */
export interface Session extends About {
  /** The address of the POS. */
  readonly address: string;
  /** When the request was there as a whole. */
  readonly received: Date;
  /** What the protocol does not want of it. */
  readonly deviations: readonly Deviation[];
  /** The segments it came in. */
  readonly segments: readonly Segment[];
  /** See {@linkcode WireMessage.ending}. */
  readonly ending?: string;
  /** Aborted when the POS has closed its side. */
  readonly signal: AbortSignal;
  /** Set while the terminal has not read the request, as far as its POS can tell. */
  unread?: boolean;
  /** Whether money was moved, once that is known. Default: as the answer says. */
  paid?: boolean;
  /** Called once, when the transaction is over in whatever way. */
  onOver?: (session: Session) => void;
}

/** What is answered to a request, and how. */
export interface Reply {
  /** The final answer. */
  answer: WireMessage;
  /** Sent before the answer, as soon as it is its turn: AE 11. (4) */
  interim?: WireMessage;
  /** Seconds from the last byte of the request until that is sent. Default: 0. */
  interimDelay?: number;
  /** Seconds from the last byte of the request until the answer is due. Default: 0. */
  delay?: number;
  /** What goes on the wire instead of the answer as it is. */
  transmission?: Transmission;
  /** Whether the transaction is over when the answer is due, though nothing of it is sent. */
  unanswered?: boolean;
  /** Whether the connection is closed after it, or so many seconds after it; so for a reset too. */
  close?: boolean | number;
  /** Called when the answer is due, before any of it is written. */
  onDue?: () => void;
}

/** Gives the reply to a request. It must not throw or reject. */
export type Handler = (received: Received, session: Session) => Reply | Promise<Reply>;

/** What is noticed besides deviations: codes and words. A warning about a tag begins with it. */
export const WARNINGS = {
  "paid-twice": (money: string, isWritten: boolean): string =>
    `${money} again, although the last attempt was approved and its answer ${
      isWritten ? "perhaps " : ""
    }got lost: on a real terminal the customer has now paid twice. Ask for the duplicate (CD 3) first`,
  "overlap": (): string =>
    "a second payment of this cash register while its first is under way: if both are approved, the customer pays twice",
  "too-early": (): string =>
    "the payment of this cash register that it asks about is under way, answered AF 07: ask again",
  "impatient": (seconds: string): string =>
    `the POS gave up after ${seconds} s: a person needs 10 to 60 s to pay`,
  "read-once": (bytes: number): string =>
    `the POS left after ${bytes} bytes of the answer: it must read on until the answer is whole`,
  "not-read": (): string => "the POS reset the connection: it has perhaps not read the answer",
  "busy": (then: string): string => `the terminal is busy with another transaction, ${then}`,
  "refused-tag": (tag: string, model: string): string => `${tag}: ${model} answers AF 09 to it`,
  "callback": (where: string, why: string): string => `the answer cannot go to ${where}: ${why}`,
  "application": (asked: string, paid: string): string =>
    `CC: ${asked} was asked for, ${paid} paid, as the outcome says`,
  "one-receipt": (): string => "CK: both receipts are asked for, only the customer's is sent",
  "undecided": (seconds: number): string => `nobody decided within ${seconds} s, answered AF 08`,
  "no-outcome": (why: string): string => `the function that decides failed, answered AF 07: ${why}`,
} as const;

function warning<Code extends keyof typeof WARNINGS>(
  code: Code,
  ...about: Parameters<typeof WARNINGS[Code]>
): Warning {
  const text = (WARNINGS[code] as (...about: unknown[]) => string)(...about);
  const [, tag] = /^([A-Z]{2}): /.exec(text) ?? [];
  return { code, text, ...(tag && { tag }) };
}

/** What of a terminal can be steered while it runs. */
export interface Steered {
  /** What it does, which may change from one request to the next. */
  readonly script: Settings;
  /** The numbers of the transactions that wait for a person. */
  readonly waiting: readonly number[];
  /** Decides on a transaction for a person, if it waits for one. */
  decide(transaction: number, outcome: OutcomeOrText): boolean;
  /** Forgets the last attempt of a cash register, or of all. */
  forget(register?: string): void;
}

/**
 * The outcome for a request by its amount, else the next that is queued, which is taken from the
 * queue, if any.
 */
export function outcomeFor(request: Readonly<Message>, script: Settings): Outcome | undefined {
  const { CD } = request;
  if (CD === "I" || CD === TRAITS[script.model].status) return undefined;
  const amount = withoutZeros(request["CB"] ?? "");
  const matches = ([wanted]: readonly [amount: string, outcome: Outcome]): boolean =>
    wanted.startsWith("*")
      ? amount.padStart(wanted.length - 1, "0").endsWith(wanted.slice(1))
      : amount === wanted;
  const found = amount === "" ? undefined : script.when.find(matches);
  if (found) return found[1];
  const { next } = script;
  const own = next.findIndex(({ register }) => register === request["CA"]);
  const at = own < 0 ? next.findIndex(({ register }) => register === undefined) : own;
  return at < 0 ? undefined : next.splice(at, 1)[0]?.outcome;
}

/** Decides what a terminal answers, and remembers what a duplicate repeats. */
class Simulation implements Steered {
  readonly script: Settings;
  readonly #journal: Journal;
  readonly #attempts = new Map<string, Attempt>(); // by cash register
  readonly #debits = new Map<string, string>(); // the cash registers of those approved, by their ID
  readonly #questions = new Map<number, (outcome: Outcome) => void>(); // by transaction
  readonly #paying = new Map<number, string>(); // cash registers of payments that are not due yet
  readonly #unread = new Set<() => void>(); // requests that came while it was busy
  #underWay = 0;
  readonly #onOver = ({ transaction }: Session): void => {
    this.#underWay--;
    this.#paying.delete(transaction);
    // Not at once: a reset or the end of the terminal ends those that are not read yet with it.
    if (this.#unread.size > 0) queueMicrotask(this.#readOn);
  };

  constructor(script: Settings, journal: Journal) {
    this.script = script;
    this.#journal = journal;
  }

  forget(register?: string): void {
    if (register === undefined) this.#attempts.clear();
    else this.#attempts.delete(register);
    for (const [id, CA] of this.#debits) if (CA === (register ?? CA)) this.#debits.delete(id);
  }

  /** What a request has that the protocol, and the model, do not want. */
  readonly judge = (received: Received): Deviation[] => {
    const { takesCF = 0, status } = this.#traits;
    const found = deviations(received);
    if (found.length === 0 || !(takesCF || status)) return found;
    const { CD, CF = "" } = received.message;
    return found.filter(({ code }) =>
      !(code === "private-data" && CF.length <= takesCF && !/[^\x20-\x7e]/.test(CF)) &&
      !(code === "unknown-action" && CD === status)
    );
  };

  readonly handle: Handler = (received, session) => {
    const { message: request, error } = received;
    const traits = this.#traits;
    if (this.#isBusy && traits.busy) return this.#later(received, session);
    const failure = this.#refusal(request, session);
    if (failure) {
      const answer = wireMessage(notServed(request, failure, traits));
      return { answer, close: error !== undefined };
    }
    this.#underWay++;
    session.onOver = this.#onOver;
    const { CA = "", CD } = request;
    if (movesMoney(CD)) this.#paying.set(session.transaction, CA);
    const refused = refusedTag(request, traits);
    if (refused) this.#journal.warn(session, warning("refused-tag", refused, this.script.model));
    const asksPerson = this.script.interactive && !answersAtOnce(request, traits);
    const source = outcomeFor(request, this.script) ??
      (asksPerson ? this.#askPerson : this.script.outcome);
    return typeof source === "function"
      ? this.#ask(source, request, session, traits)
      : this.#execute(request, source, session, traits);
  };

  get #isBusy(): boolean {
    return this.script.exclusive && this.#underWay > 0;
  }

  get #traits(): Traits {
    return TRAITS[this.script.model];
  }

  /** The AF that a request is refused with, if it is. */
  #refusal(request: Readonly<Message>, session: Session): string | undefined {
    const { strict } = this.script;
    const { status } = this.#traits;
    const isRefused = ({ code }: Deviation): boolean =>
      DEVIATIONS[code] === "always" || (strict && DEVIATIONS[code] === "strict");
    if (session.deviations.some(isRefused)) return "09";
    const { CA = "", CD = "" } = request;
    if (!ACTIONS.has(CD) && CD !== status) return "12";
    if (this.#isBusy) this.#journal.warn(session, warning("busy", "answered AF 07"));
    else if ((CD === "3" || CD === status) && [...this.#paying.values()].includes(CA)) {
      this.#journal.warn(session, warning("too-early")); // busy (3), as far as this register knows
    } else return undefined;
    return "07";
  }

  /**
   * Handles a request when the terminal is free: until then it has not been read. If the POS has
   * closed its side meanwhile, it is still read. If it has reset the connection, it is not.
   */
  #later(received: Received, session: Session): Promise<Reply> {
    this.#journal.warn(session, warning("busy", "read when it is free"));
    const { promise, resolve } = Promise.withResolvers<Reply>();
    const start = performance.now();
    const handle = async (): Promise<void> => {
      this.#unread.delete(handle);
      session.unread = false;
      const waited = (performance.now() - start) / 1000;
      const { delay = 0, ...reply } = await this.handle(received, session);
      resolve({ ...reply, delay: delay && waited + delay });
    };
    this.#unread.add(handle);
    session.unread = true;
    session.onOver = () => this.#unread.delete(handle);
    return promise;
  }

  /** Handles what was not read, until the terminal is busy again. */
  readonly #readOn = (): void => {
    for (const handle of this.#unread) if (!this.#isBusy) handle();
  };

  readonly #askPerson: Decide = (_request, number) =>
    new Promise((resolve) => this.#questions.set(number, resolve));

  get waiting(): number[] {
    return [...this.#questions.keys()];
  }

  decide(number: number, outcome: OutcomeOrText): boolean {
    const decided = toOutcome(outcome);
    const resolve = this.#questions.get(number);
    this.#questions.delete(number);
    const { outcome: base } = this.script;
    const standard = typeof base === "object" ? base : {};
    const tags = { ...standard.tags, ...decided.tags };
    const tagged = Object.keys(tags).length > 0 && { tags };
    resolve?.({ delay: 0, ...standard, ...decided, ...tagged });
    return resolve !== undefined;
  }

  /** Has a function decide. */
  async #ask(
    decide: Decide,
    request: Readonly<Message>,
    session: Session,
    traits: Traits,
  ): Promise<Reply> {
    const { decideTimeout } = this.script;
    const tooLong = Promise.withResolvers<Outcome>();
    const timer = setTimeout(() => {
      this.#journal.warn(session, warning("undecided", decideTimeout / 1000));
      tooLong.resolve({ failure: "08" });
    }, decideTimeout);
    const { transaction } = session;
    let isOver = false; // the terminal was closed or reset
    const done = (): void => {
      clearTimeout(timer);
      this.#questions.delete(transaction);
    };
    session.onOver = () => {
      isOver = true;
      done();
      this.#onOver(session);
    };
    try {
      const decided = decide({ ...request }, transaction, session.signal);
      if (this.#questions.has(transaction)) this.#journal.waiting(session);
      const outcome = toOutcome(await Promise.race([decided, tooLong.promise]));
      if (!isOver) return this.#execute(request, outcome, session, traits);
    } catch (error) {
      if (!isOver) {
        this.#journal.warn(session, warning("no-outcome", printable(messageOf(error))), "error");
        callBack(() => {
          throw error; // or a test that is waiting for a decline would pass
        });
      }
    } finally {
      done();
    }
    const answer = notServed(request, "07", traits); // not completed (our choice)
    return { answer: wireMessage(answer), onDue: () => this.#remember(request, answer, session) };
  }

  /** Keeps an attempt to move money for duplicates. */
  #remember({ CA = "", CD }: Readonly<Message>, answer: Message, session: Session): void {
    if (!movesMoney(CD)) return;
    this.#paying.delete(session.transaction);
    keep(this.#attempts, CA, { answer, time: session.received });
    const { AE, ID } = answer;
    session.paid = AE === "10";
    if (session.paid && ID && (CD === "0" || CD === "7")) keep(this.#debits, ID, CA);
  }

  /** Does what is asked for. */
  #execute(
    request: Readonly<Message>,
    outcome: Outcome,
    session: Session,
    traits: Traits,
  ): Reply {
    this.#journal.decided(session, outcome);
    const { CA = "", CD: action } = request;
    const { duration, sellerContract } = this.script;
    const { delay = duration, fault, hangup = false, pending } = outcome;
    const atOnce = answersAtOnce(request, traits);
    const last = this.#attempts.get(CA);
    const context: AnswerContext = {
      sellerContract,
      time: session.received,
      last,
      isDebit: (id) => this.#debits.has(id),
      traits,
    };
    const message = answerTo(request, outcome, context);
    this.#warn(request, message, session);
    const answer = wireMessage(message);
    const reply: Reply = { answer, close: hangup };
    if (!atOnce) reply.delay = drawDelay(delay);
    if (pending && !atOnce) reply.interim = wireMessage({ ...echo(request, traits), AE: "11" });
    if (traits.atOnce === "nothing" && message["AE"] === "11" && !outcome.tags?.["AE"]) {
      reply.transmission = { segments: [] };
      reply.unanswered = true;
    }
    if (fault) reply.transmission = FAULTS[fault].send(answer.raw);
    if (action === "P" && message["AE"] === "10") this.#print(request["ZT"] ?? "", session);
    const screen = traits.screens?.[last ? "failed" : "none"];
    if (action === "3" && last?.answer["AE"] !== "10" && screen) {
      this.#journal.shows(session, screen);
    }
    if (action === "B" && message["AE"] !== "01") reply.onDue = () => this.#attempts.delete(CA); // of that register only, so that tests run side by side (our choice)
    const isRefused = message["AE"] === "01" && refusalOf(request, traits) !== undefined;
    if (movesMoney(action) && !isRefused) {
      this.#journal.pays(session);
      // After BA 1 the payment is made all the same, though its answer does not tell how it ended.
      const result = request["BA"] === "1"
        ? answerTo({ ...request, BA: "0" }, outcome, context)
        : message;
      reply.onDue = () => this.#remember(request, result, session);
    }
    return reply;
  }

  /** Warns of what is done otherwise than the request asks. */
  #warn(request: Readonly<Message>, answer: Readonly<Message>, session: Session): void {
    const asked = askedFor(request);
    if (asked !== undefined && answer["AE"] === "10" && movesMoney(request["CD"])) {
      const paid = answer["CC"] ?? "none";
      if (paid !== asked) this.#journal.warn(session, warning("application", asked, paid));
    }
    if (wantedReceipt(request["CK"] ?? "")?.copy === "both") {
      this.#journal.warn(session, warning("one-receipt"));
    }
  }

  #print(zt: string, session: Session): void {
    const receipts = decodeReceipts(zt, (warning) => this.#journal.warn(session, warning));
    for (const { text } of receipts) this.#journal.shows(session, text, "printed");
  }
}

/** Sets what is kept by a key, such as a cash register, and forgets the one that was set longest ago. */
function keep<Value>(kept: Map<string, Value>, key: string, value: Value): void {
  kept.delete(key); // so that it becomes the newest
  kept.set(key, value);
  if (kept.size <= MAX_KEPT) return;
  const [oldest = ""] = kept.keys();
  kept.delete(oldest);
}

function wireMessage(message: Message): WireMessage {
  return { raw: encodeText(message), message };
}

/** What an error says, whatever was thrown. */
function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : "what was thrown is no Error";
  } catch {
    return "what was thrown cannot be told";
  }
}

// ---------------------------------------------------------------- the terminal on the network

/** What reached the POS of an answer. */
export interface Sent extends WireMessage {
  /**
   * What was lost because the POS had gone. The rest: `raw` is what was sent until then. All: `raw`
   * is the answer, which reached nobody. Default: nothing.
   */
  readonly lost?: "rest" | "all";
  /** Its segments, if there were several. */
  readonly segments?: readonly Segment[];
  /** What it means for the request, where another terminal has given it. */
  readonly verdict?: Verdict;
}

/** A part of a message, as it came or went. */
export interface Segment {
  /** When, from the request's last byte, in milliseconds; before it they are negative. */
  readonly milliseconds: number;
  /** How many bytes. */
  readonly bytes: number;
}

/** That a POS has left without the whole answer, or without reading it. */
export interface Gone {
  /** From the request's last byte, in milliseconds. */
  readonly milliseconds: number;
  /** What of the answer had been sent, as Latin-1 text. */
  readonly sent: string;
}

/** How a connection was closed, where another terminal may have done it. */
export interface Closing {
  /** When its first side was. */
  at: Date;
  /** By a reset. */
  reset?: boolean;
}

/** One of the two sides of a connection. */
export type Side = "pos" | "terminal";

/**
 * Milliseconds that whole fields without all mandatory tags wait for the rest (our choice: a POS
 * that sends field by field).
 */
export const MISSING_TAGS_GAP = 300;
/**
 * Milliseconds after its request within which a POS may close its side and still wait for the
 * answer, as nc does. One that closes it later has given up (our choice).
 */
export const HALF_CLOSE_WINDOW = 100;
/**
 * Milliseconds that a peer has to read its answers and close its side after this one did (our
 * choice).
 */
export const CLOSE_TIMEOUT = 5_000;
/** Requests of one connection that may wait for answers until no more is read of it (our choice). */
const MAX_WAITING = 1_000;
/**
 * Connections that the system keeps until they are accepted: with 511, the default, tills that
 * connect at the same moment wait a second for their second SYN.
 */
const BACKLOG = 4_096;
/** Most milliseconds between two looks for idle connections (our choice). */
const IDLE_CHECK = 10_000;
/** The reason of the signal. It is a text because to make an error is slow. */
const LEFT = "the POS has closed its side, or the terminal was closed or reset";

/** Something that listens. */
export interface Listening {
  /** The address. */
  host: string;
  /** The TCP port. */
  port: number;
  /** Ends each connection that has a transaction under way which `wanted` picks. */
  drop(wanted: (session: Session) => boolean): void;
  /** Stops, and ends all connections. */
  close(): Promise<void>;
}

/**
 * Serves requests on TCP: sockets, their order, their bounds and what goes wrong on the wire.
 *
 * @throws {ListenError} It cannot listen there.
 */
export async function serve(
  settings: Settings,
  handler: Handler,
  journal: Journal,
  judge: (received: Received) => Deviation[] = deviations,
): Promise<Listening> {
  const service: Service = { settings, handler, journal, judge };
  const connections = new Set<Connection>();
  const listening = await acceptAll(
    settings,
    journal,
    connections,
    (socket, number, onDone) => new Connection(socket, number, service, onDone),
  );
  // One look at all of them is cheaper than a timer for each.
  const { idleTimeout, keepTimeout, keepAlive } = settings;
  const often = Math.min(IDLE_CHECK, idleTimeout, keepTimeout, keepAlive || Infinity);
  const idleCheck = setInterval(() => {
    for (const connection of connections) connection.checkIdle(performance.now());
  }, often);
  return {
    ...listening,
    close() {
      clearInterval(idleCheck);
      return listening.close();
    },
  };
}

/** What serves a connection, and perhaps lives longer. */
export interface Served {
  /** Ends the connection if it has a transaction under way which `wanted` picks. */
  drop(wanted: (session: Session) => boolean): void;
  /** Ends it at once. */
  stop(): void;
}

/**
 * Listens, and has each connection served, up to `maxConnections` at once.
 *
 * @param all Those that are served: it is kept up to date.
 * @param serveOne Serves one, and says when it is over.
 * @throws {ListenError} It cannot listen there.
 */
export async function acceptAll<One extends Served>(
  { host: name, port: wanted, maxConnections }: Settings,
  journal: Journal,
  all: Set<One>,
  serveOne: (socket: net.Socket, number: number, onDone: () => void) => One,
): Promise<Listening> {
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const number = ++accepted;
    if (sockets.size >= maxConnections) {
      journal.log("warn", () => `#${number} closed: ${sockets.size} connections are open already`);
      socket.on("error", () => {}).destroy();
      return;
    }
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    const one = serveOne(socket, number, () => {
      all.delete(one);
      if (all.size === 0) onEmpty();
    });
    all.add(one);
  });
  let onEmpty = (): void => {};
  const { address: host, port } = await listen(server, wanted, name);
  const shut = async (): Promise<void> => {
    const empty = new Promise<void>((resolve) => {
      onEmpty = resolve;
      if (all.size === 0) resolve();
    });
    for (const one of all) one.stop();
    server.close();
    await Promise.all([once(server, "close"), empty]);
  };
  let closed: Promise<void> | undefined;
  return {
    host,
    port,
    drop: (wanted) => all.forEach((one) => one.drop(wanted)),
    close: () => closed ??= shut(),
  };
}

const LISTEN_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use by another program",
  EADDRNOTAVAIL: "this machine has no such address",
  EINVAL: "this machine has no such address", // what Deno says for EADDRNOTAVAIL
  ENOTFOUND: "there is no host of that name",
  EACCES: "not permitted; ports below 1024 are reserved",
  EPERM: "not permitted; Deno needs --allow-net for a name as well",
};

/** A terminal cannot listen. The message names host and port and says why; `cause` is the system's. */
export class ListenError extends Error {
  /** @ignore */
  override name = "ListenError";

  /** An error about a host, "" for every interface, and a port. */
  constructor(host: string, port: number, cause: NodeJS.ErrnoException) {
    const where = `${host ? `host ${host}` : "every interface"}, port ${port}`;
    const why = LISTEN_ERRORS[cause.code ?? ""] ?? cause.message;
    super(`cannot listen on ${where}: ${why}`, { cause });
  }
}

/** Has a server listen. Without a host it takes every interface, IPv6 and IPv4 where there are both. */
export async function listen(
  server: net.Server,
  port: number,
  host: string = "",
): Promise<net.AddressInfo> {
  try {
    server.listen({ port, backlog: BACKLOG, ...(host && { host }) });
    await once(server, "listening");
  } catch (cause) {
    throw new ListenError(host, port, cause as Error);
  }
  return server.address() as net.AddressInfo;
}

type Timer = ReturnType<typeof setTimeout> | undefined;

/** What connections have in common: what they are, do, tell, and find wrong. */
interface Service {
  settings: Settings;
  handler: Handler;
  journal: Journal;
  judge: (received: Received) => Deviation[];
}

/** A request on a connection. */
class Turn implements Session {
  readonly connection: number;
  readonly address: string;
  readonly received = new Date();
  readonly deviations: readonly Deviation[];
  readonly segments: readonly Segment[];
  /** When its last byte came, on the clock of performance.now(). */
  readonly arrived: number;
  transaction = 0;
  unread = false;
  onOver?: (session: Session) => void;
  reply?: Reply | Promise<Reply>;
  /** What of the answer has been written. */
  sent = "";
  sentSegments: Segment[] | undefined; // if there are several
  /** When the POS had gone without the whole answer, and what it had been sent, if so. */
  gone: Gone | undefined;
  isOver = false;
  #left: AbortController | undefined; // made when it is asked for: most handlers need none
  #hasLeft = false;

  constructor(
    connection: number,
    address: string,
    deviations: readonly Deviation[],
    segments: readonly Segment[],
    arrived: number,
  ) {
    this.connection = connection;
    this.address = address;
    this.deviations = deviations;
    this.segments = segments;
    this.arrived = arrived;
  }

  get signal(): AbortSignal {
    this.#left ??= new AbortController();
    if (this.#hasLeft) this.#left.abort(LEFT);
    return this.#left.signal;
  }

  /** Milliseconds since its last byte. */
  get milliseconds(): number {
    return Math.round(performance.now() - this.arrived);
  }

  leave(): void {
    this.#hasLeft = true;
    this.#left?.abort(LEFT);
  }
}

/**
 * The conversation with one POS: cuts what it sends into requests, and answers them in their order,
 * each when it is due. Requests are read, and their delay starts, while earlier ones wait for
 * answers. A POS that leaves does not end its payment: the person at the terminal may still pay.
 */
class Connection implements FramerOwner {
  readonly #socket: net.Socket;
  readonly #number: number;
  readonly #settings: Settings;
  readonly #journal: Journal;
  readonly #service: Service;
  readonly #onDone: () => void;
  readonly #address: string; // which a closed socket does not know any more
  readonly #framer: MessageFramer;
  readonly #calledBack = new Set<net.Socket>(); // connections of its own to the POS
  readonly #turns: Turn[] = []; // to be answered, in their order
  readonly #open = new Set<Turn>(); // not over: those, and the ones that are never answered
  #last: Turn | undefined; // the one answered last
  #overdue: Timer; // the request has taken too long by then
  #due: Timer; // of the answer, or of its next segment
  #closing: Timer; // the POS must have closed its side by then
  #arrived = 0; // when the last byte came
  #pieces: { at: number; bytes: number }[] = []; // of the request in progress
  #active = performance.now(); // when the last request or answer was there
  #ended = false; // the POS has closed its side
  #by: Side | undefined; // who closed first

  constructor(socket: net.Socket, number: number, service: Service, onDone: () => void) {
    this.#socket = socket;
    this.#number = number;
    this.#settings = service.settings;
    this.#journal = service.journal;
    this.#service = service;
    this.#onDone = onDone;
    this.#address = socket.remoteAddress ?? "";
    this.#framer = new MessageFramer(this, this.#settings.maxRequest);
    this.#log("debug", () => `connected from ${this.#address} port ${socket.remotePort}`);
    socket.setEncoding("latin1").on("data", (chunk: string) => this.#read(chunk));
    socket.on("end", () => this.#end());
    socket.on("error", () => {}); // which "close" follows
    socket.on("close", () => this.#close());
  }

  pause(fields: Readonly<Message>): number {
    const { gap } = this.#settings;
    return missingTags(fields).length === 0 ? gap : Math.max(gap, MISSING_TAGS_GAP);
  }

  onControl(characters: string): void {
    this.#log("debug", () => `skipped between messages: ${printable(characters)}`);
  }

  /** Closes the connection if one of its transactions matches. The POS counts as gone. */
  drop(wanted: (session: Session) => boolean): void {
    if (![...this.#open].some(wanted)) return;
    this.#leave(0);
    this.stop();
  }

  /** Ends it at once, with all that is under way. */
  stop(): void {
    clearTimeout(this.#due);
    for (const socket of this.#calledBack) socket.destroy();
    this.#by ??= "terminal";
    this.#turns.length = 0;
    for (const turn of this.#open) {
      turn.leave();
      this.#over(turn);
    }
    this.#socket.destroy();
  }

  /** Closes the connection if it has been idle for too long, and probes whether the POS is there. */
  checkIdle(now: number): void {
    const { idleTimeout, keepTimeout, keepAlive } = this.#settings;
    const idle = now - this.#active;
    const [most, what] = this.#last ? [keepTimeout, "nothing"] : [idleTimeout, "no request"];
    if (this.#open.size === 0 && idle >= most) this.#drop(`${what} has come for ${most} ms`);
    else if (keepAlive > 0 && idle >= keepAlive) this.#socket.setKeepAlive(true, keepAlive);
  }

  #log(level: LogLevel, text: () => string): void {
    this.#journal.log(level, () => `#${this.#number} ${text()}`);
  }

  #read(chunk: string): void {
    this.#arrived = performance.now();
    const piece = { at: this.#arrived, bytes: chunk.length };
    if (this.#pieces.length > 0) this.#pieces.push(piece);
    this.#framer.feed(chunk);
    const { state } = this.#framer;
    if (state === "whole" || state === "incomplete") {
      if (this.#pieces.length === 0) this.#pieces.push(piece);
      this.#overdue ??= setTimeout(() => this.#finish(), this.#settings.requestTimeout);
    }
    if (this.#turns.length < MAX_WAITING) return;
    this.#socket.pause(); // and nothing is cut where reading stopped
    this.#framer.hold();
    clearTimeout(this.#overdue);
    this.#overdue = undefined;
  }

  onMessage(received: Received): void {
    if (!this.#socket.writable) return; // nothing is served any more
    clearTimeout(this.#overdue);
    this.#overdue = undefined;
    const found = this.#service.judge(received);
    if (this.#last && received.fields.length > 0 && received.message["CZ"] === undefined) {
      found.unshift({ code: "late", text: "expected no more fields after the answer" });
    }
    const segments = this.#pieces.map(({ at, bytes }): Segment => ({
      milliseconds: Math.round(at - this.#arrived),
      bytes,
    }));
    if (segments.length > 0) this.#pieces = [];
    const turn = new Turn(this.#number, this.#address, found, segments, this.#arrived);
    if (this.#ended) turn.leave();
    this.#active = this.#arrived;
    turn.transaction = this.#journal.request(turn, received);
    turn.reply = this.#service.handler(received, turn);
    this.#open.add(turn);
    this.#turns.push(turn);
    if (this.#turns.length === 1) this.#answerAll(); // else it goes on
  }

  async #answerAll(): Promise<void> {
    for (let turn = this.#turns[0]; turn; turn = this.#turns[0]) {
      await this.#answer(turn);
      if (turn === this.#turns[0]) this.#turns.shift();
      if (this.#turns.length < MAX_WAITING && this.#socket.isPaused()) {
        this.#socket.resume();
        this.#read("");
      }
    }
    if (this.#ended) this.#hangUp();
  }

  /** Answers a request when its answer is due. */
  async #answer(turn: Turn): Promise<void> {
    const reply = await turn.reply; // later than the requests that came with it
    if (turn.isOver || !reply) return;
    const { answer, interim, interimDelay = 0, delay = 0, onDue } = reply;
    const { unanswered = false, close = false } = reply;
    const { callback } = this.#settings;
    let to = callback > 0 ? undefined : this.#socket;
    if (interimDelay > 0) await this.#sleepUntil(turn.arrived + interimDelay * 1000);
    if (interim) {
      to ??= await this.#callBack(turn, callback);
      if (to?.writable) {
        this.#write(to, interim.raw);
        this.#journal.answer(turn, interim, turn.milliseconds);
      }
    }
    if (turn.isOver) return; // the terminal was closed or reset while it connected to the POS
    if (delay > 0) await this.#sleepUntil(turn.arrived + delay * 1000);
    onDue?.();
    this.#journal.due(turn, answer);
    const transmission = reply.transmission ?? { segments: [answer.raw] };
    const { segments, then } = transmission;
    const isEnding = segments.length > 0 || then !== undefined;
    if (isEnding) to ??= await this.#callBack(turn, callback);
    if (turn.isOver) return; // as above
    if (segments.length > 1) to?.setNoDelay(); // or the system puts them together
    for (const [index, segment] of segments.entries()) {
      if (index > 0) await this.#sleep(pauseBefore(index, transmission));
      if (!to?.writable || turn.gone?.sent) break; // it left in the middle
      this.#send(turn, to, segment, segments.length > 1);
    }
    this.#last = turn;
    this.#active = performance.now();
    this.#tell(turn, segments.join(""), answer);
    if (to && to !== this.#socket && isEnding) this.#hangUpBack(turn, to, segments.join(""), then);
    if (isEnding || unanswered || this.#socket.destroyed) this.#over(turn);
    if (then === undefined && (close === false || segments.length === 0)) return;
    if (typeof close === "number") await this.#sleep(close * 1000);
    if (then === "reset") {
      this.#by ??= "terminal";
      reset(this.#socket);
    } else this.#hangUp();
  }

  /** Writes an answer, or one of its segments. */
  #send(turn: Turn, to: net.Socket, segment: string, isOneOfSeveral: boolean): void {
    const unread = this.#write(to, segment);
    turn.sent += segment;
    if (to.destroyed) turn.sent = turn.sent.slice(0, -unread); // it was dropped just now
    if (!isOneOfSeveral) return;
    turn.sentSegments ??= [];
    turn.sentSegments.push({ milliseconds: turn.milliseconds, bytes: segment.length });
  }

  /** Tells what was sent of an answer. */
  #tell(turn: Turn, whole: string, answer: WireMessage): void {
    const { sent, gone, milliseconds, sentSegments: segments } = turn;
    if (whole === "" && answer.raw !== "") return this.#journal.nothing(turn);
    const lost = lostOf(sent, whole, gone?.sent);
    const raw = lost === "rest" ? sent : whole;
    const told = raw === answer.raw ? answer : readable(raw);
    const more = { ...(lost && { lost }), ...(segments && { segments }) };
    this.#journal.answer(turn, lost || segments ? { ...told, ...more } : told, milliseconds);
  }

  /** Writes, and gives how many bytes the system has not taken. */
  #write(to: net.Socket, segment: string): number {
    to.write(segment, "latin1");
    const unread = to.writableLength;
    if (unread > this.#settings.maxUnread) this.#drop(`${unread} bytes of answers are not read`);
    return unread;
  }

  /** Connects to the POS for an answer, if it listens. */
  async #callBack(turn: Turn, port: number): Promise<net.Socket | undefined> {
    const socket = net.connect({ host: this.#address, port, noDelay: true });
    this.#calledBack.add(socket);
    socket.on("close", () => this.#calledBack.delete(socket));
    socket.resume(); // what the POS says there is not read
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT);
    const isThere = await new Promise<boolean>((resolve) => {
      socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
      socket.on("close", () => resolve(false));
    });
    clearTimeout(timer);
    if (isThere) return socket;
    const why = socket.errored ? "nothing listens there" : "nothing has answered there";
    if (!turn.isOver) this.#warnCallBack(turn, why);
    return undefined;
  }

  /** Closes a connection that the terminal has made. */
  #hangUpBack(turn: Turn, socket: net.Socket, whole: string, how: Transmission["then"]): void {
    if (turn.sent !== whole) this.#warnCallBack(turn, "the POS has closed that connection");
    if (how === "reset") reset(socket);
    else socket.end();
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT);
    socket.on("close", () => clearTimeout(timer));
  }

  #warnCallBack(turn: Turn, why: string): void {
    const where = `${this.#address} port ${this.#settings.callback}`;
    this.#journal.warn(turn, warning("callback", where, why));
  }

  /** Resolves at a time of performance.now(), which may be over. */
  async #sleepUntil(time: number): Promise<void> {
    const wait = time - performance.now();
    if (wait > 0) await this.#sleep(wait);
  }

  /** Resolves after so many milliseconds; never if the terminal is closed before. */
  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.#due = setTimeout(resolve, Math.ceil(milliseconds));
    });
  }

  /** The POS has closed its side. It may have gone, or wait for its answers as nc does. */
  #end(): void {
    this.#by ??= "pos";
    this.#ended = true;
    this.#leave(HALF_CLOSE_WINDOW);
    this.#finish();
  }

  /** The POS has closed its side. It counts as gone if its request is at least so old. */
  #leave(notBefore: number): void {
    if (this.#settings.callback > 0) return; // its answer goes elsewhere
    for (const turn of this.#open) {
      turn.leave();
      if (turn.gone === undefined && turn.milliseconds >= notBefore) this.#tellGone(turn);
    }
  }

  #tellGone(turn: Turn): void {
    const { milliseconds, sent } = turn;
    turn.gone = { milliseconds, sent };
    this.#journal.gone(turn, turn.gone);
  }

  /** Takes what is there as the last request, and closes the connection after its answer. */
  #finish(): void {
    const left = this.#framer.end();
    if (left) this.onMessage(left);
    this.#ended = true;
    this.#socket.removeAllListeners("data").resume();
    if (this.#turns.length === 0) this.#hangUp();
  }

  /** Half-closes. Destroying at once would send RST if input is still unread, and the POS could lose the answer. */
  #hangUp(): void {
    if (!this.#socket.writable) return; // it is closed already
    this.#by ??= "terminal";
    this.#socket.end();
    if (this.#by === "pos" && this.#socket.writableLength === 0) return; // it is closed with that
    this.#closing = setTimeout(() => this.#socket.destroy(), CLOSE_TIMEOUT);
  }

  #drop(why: string): void {
    this.#log("warn", () => `dropped: ${why}`);
    this.#by ??= "terminal";
    this.#socket.destroy();
  }

  #close(): void {
    clearTimeout(this.#overdue);
    clearTimeout(this.#closing);
    this.#framer.end();
    this.#ended = true;
    const { errored } = this.#socket;
    this.#by ??= "pos";
    const unanswered = this.#open.size > 0 ? `, ${this.#open.size} without an answer` : "";
    this.#log("debug", () => `closed${unanswered}${errored ? `: ${errored.message}` : ""}`);
    if (!this.#socket.writableEnded) this.#leave(0);
    const last = this.#last;
    const wasReset = (errored as NodeJS.ErrnoException | null)?.code === "ECONNRESET";
    const isUnread = wasReset && this.#settings.callback === 0; // or it went elsewhere
    if (isUnread && this.#open.size === 0 && last?.sent && last.gone === undefined) {
      this.#tellGone(last);
    }
    this.#journal.closed(this.#number, this.#by, this.#arrived > 0);
    for (const turn of this.#open) {
      if ((wasReset && turn.unread) || !this.#turns.includes(turn)) this.#over(turn);
    }
    if (this.#open.size === 0) this.#onDone();
  }

  #over(turn: Turn): void {
    if (turn.isOver) return;
    turn.isOver = true;
    this.#open.delete(turn);
    turn.onOver?.(turn);
    this.#journal.over(turn);
    if (this.#socket.destroyed && this.#open.size === 0) this.#onDone();
  }
}

/**
 * What of an answer was lost. `sent`: what went out. `gone`: what had gone out when the POS left. A
 * POS that left before any of it went out gets nothing.
 */
export function lostOf(sent: string, whole: string, gone: string | undefined): Sent["lost"] {
  if (sent === whole && gone === undefined) return undefined;
  return sent === "" || sent === whole || gone === "" ? "all" : "rest";
}

/** Resets a connection. While it is being ended Node cannot, and would keep the socket for ever. */
export function reset(socket: net.Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}

/** What a POS can read of bytes that may be no message. */
function readable(raw: string): WireMessage {
  const reader = new MessageReader(Infinity);
  const [received = reader.end()] = reader.feed(raw);
  return { raw, message: received?.message ?? {} };
}

// ---------------------------------------------------------------- what happened

/** A request, and what became of it. */
export interface Transaction {
  /** Counted from 1. */
  readonly number: number;
  /** The connection it came on, counted from 1. */
  readonly connection: number;
  /** The address of the POS. */
  readonly address: string;
  /** When it was there as a whole. */
  readonly received: Date;
  /** What came. */
  readonly request: WireMessage & { readonly segments?: readonly Segment[] };
  /** What is wrong with it, if it is malformed. */
  readonly error?: string;
  /** Each deviation of the request from the protocol, and what else was noticed about it. */
  readonly warnings: readonly Warning[];
  /** How it was to end, if it came that far. */
  readonly outcome?: Outcome;
  /** What another terminal has answered, where something else was sent. */
  readonly due?: Sent;
  /** What was sent, if anything was or would have been; after AE 11, the final answer. */
  readonly answer?: Sent;
  /** When the answer was due. */
  readonly answered?: Date;
  /** That the POS left without the whole answer or did not read it, if so. */
  readonly gone?: Gone;
  /** When it was over: answered, or never to be. */
  readonly ended?: Date;
  /** After it the connection was closed: when, from the request's last byte, and by whom first. */
  readonly closed?: { readonly milliseconds: number; readonly by: Side };
}

/** Something that happened, as `--json` prints it. `time` is ISO 8601 with milliseconds. */
export type TerminalEvent =
  & { time: string }
  & (
    | { event: "listening"; host: string; port: number }
    // A request that is malformed has another name, an error, and the byte where it went wrong.
    | (About & WireMessage & {
      event: "request" | "invalid";
      address: string;
      segments?: readonly Segment[]; // if there are several
      warnings: readonly Warning[];
      error?: string;
      at?: number;
    })
    // What was noticed after the request; of an answer that was not asked for, what came and when.
    | (About & Warning & { event: "warning"; raw?: string; milliseconds?: number })
    // A person is to decide on it.
    | (About & { event: "waiting" })
    // Milliseconds are from the last byte of the request.
    | (About & Sent & { event: "answer"; outcome?: string; milliseconds: number })
    // What another terminal has answered, where something else is sent.
    | (About & Sent & { event: "due"; milliseconds: number })
    | (About & Gone & { event: "gone" })
    // What came between messages, where somebody has looked for it.
    | { event: "between"; connection: number; by: Side; raw: string; milliseconds?: number }
    // Milliseconds are those of the last request.
    | { event: "closed"; connection: number; by: Side; milliseconds?: number; reset?: boolean }
  );

/** Receives what happens. */
export type Listener = (event: TerminalEvent) => void;

/** Which transaction is waited for. */
export interface WaitOptions {
  /** Milliseconds to wait. Default: for ever. */
  timeout?: number;
  /** The cash register (CA) it is of. Default: any. */
  register?: string;
  /**
   * Its number is above this one. With it, a transaction is given whether an earlier call has had
   * it or not. Default: none is given twice.
   */
  after?: number;
  /** Gives up: the error has the reason "aborted". */
  signal?: AbortSignal;
}

/** A transaction that was waited for does not come. */
export class WaitError extends Error {
  /** @ignore */
  override name = "WaitError";
  /** Why: the time is up, the terminal was reset or closed, or the signal was aborted. */
  readonly reason: "timeout" | "reset" | "closed" | "aborted";

  /** An error with the reason as a word and in words. */
  constructor(reason: WaitError["reason"], message: string = NO_TRANSACTION[reason]) {
    super(message);
    this.reason = reason;
  }
}

const NO_TRANSACTION = {
  timeout: "the time is up",
  reset: "the terminal was reset",
  closed: "the terminal was closed",
  aborted: "nobody waits any more",
} as const;

/** How many transactions are kept, and last attempts of cash registers (our choice: a day of tests). */
const MAX_KEPT = 1_000;

/** What is kept of a transaction besides its messages. */
type Rest = Omit<Transaction, "request" | "due" | "answer">;

/**
 * A transaction as it is kept, and may still change. The fields of its messages are read from their
 * raw texts again when somebody asks: kept, they would be what garbage collection copies most.
 */
type Kept = { -readonly [Name in keyof Rest]: Rest[Name] } & {
  register: string | undefined;
  request: Omit<Transaction["request"], "message">;
  due?: Omit<Sent, "message">;
  answer?: Omit<Sent, "message">;
  warnings: Warning[];
  given?: true; // to a wait
};

/** A transaction under way, or the last payment of a cash register. */
interface Entry {
  session: Session;
  kept: Kept;
  request: Readonly<Message>;
  /** The final answer, once it is due. */
  due?: WireMessage;
}

/** Somebody who waits for a transaction. */
interface Waiter extends PromiseWithResolvers<Transaction> {
  register: string | undefined;
  after: number | undefined;
  timer?: Timer;
}

/** Takes note of all that happens, and tells it: transactions, events, log, waits. */
export class Journal {
  /** Who is told each event. */
  readonly listeners: Set<Listener> = new Set();
  readonly #settings: Settings;
  readonly #words: (outcome: Outcome) => string;
  readonly #transactions: Kept[] = [];
  readonly #underWay = new Map<Session, Entry>();
  readonly #lastPayments = new Map<string, Entry>(); // by cash register
  readonly #payments = new Map<string, number>(); // by cash register, how many are under way
  readonly #waiters = new Set<Waiter>();
  #count = 0;
  #isClosed = false;

  /** A journal that tells the log and the events of these settings, outcomes in these words. */
  constructor(settings: Settings, words: (outcome: Outcome) => string = formatOutcome) {
    this.#settings = settings;
    this.#words = words;
    if (settings.onEvent) this.listeners.add(settings.onEvent);
  }

  /** Copies of what is kept. */
  get transactions(): Transaction[] {
    return this.#transactions.map(transactionOf);
  }

  /** A copy of one of them, if it is kept. */
  transaction(number: number): Transaction | undefined {
    const found = this.#transactions.find((kept) => kept.number === number);
    return found && transactionOf(found);
  }

  /** A line for the log; the text is asked for if the level is wanted. */
  log(level: LogLevel, text: () => string): void {
    const { log, logLevel } = this.#settings;
    if (!log || LOG_LEVELS.indexOf(level) < LOG_LEVELS.indexOf(logLevel)) return;
    callBack(() => log(level, text()));
  }

  /** It listens, and what it will do, in words. */
  listening(host: string, port: number, what: string = told(this.#settings)): void {
    const where = host === "::" || host === "0.0.0.0" ? "every interface," : host;
    this.log("info", () => `listening on ${where} port ${port}, ${what}`);
    this.#emit(() => ({ event: "listening", host, port }));
  }

  /** A request is there. Gives the transaction its number. */
  request(session: Session, { raw, message, error }: Received): number {
    const { connection, address, received, segments, ending } = session;
    const kept: Kept = {
      number: ++this.#count,
      register: message["CA"],
      connection,
      address,
      received,
      request: { raw, ...(ending && { ending }), ...(segments.length > 1 && { segments }) },
      ...(error && { error: error.message }),
      warnings: session.deviations.map((deviation) => ({ ...deviation })),
    };
    this.#transactions.push(kept);
    if (this.#transactions.length > MAX_KEPT) this.#transactions.shift();
    const { CA = "", CD } = message;
    if (movesMoney(CD)) {
      const others = this.#payments.get(CA) ?? 0;
      if (others > 0) kept.warnings.push(warning("overlap"));
      this.#payments.set(CA, others + 1);
    }
    this.#underWay.set(session, { session, kept, request: message });
    const { number, warnings } = kept;
    this.#emit(() => ({
      event: error ? "invalid" : "request",
      connection,
      transaction: number,
      address,
      ...kept.request,
      message,
      warnings: [...warnings],
      ...(error && { error: error.message, at: error.at ?? 0 }),
    }), received);
    this.log("info", () => `#${connection} received: ${logText({ ...kept.request, message })}`);
    for (const { text } of warnings) this.log("warn", () => `#${connection} ${text}`);
    return number;
  }

  /** How it is to end, unless another terminal decides that. */
  decided(session: Session, outcome?: Outcome): void {
    const entry = this.#underWay.get(session);
    if (!entry) return;
    if (outcome) entry.kept.outcome = outcome;
    else delete entry.kept.outcome;
  }

  /** A payment is made, however it ends. It is the last one of its cash register then. */
  pays(session: Session): void {
    const entry = this.#underWay.get(session);
    if (!entry) return;
    const { CA = "" } = entry.request;
    const last = this.#lastPayments.get(CA);
    if (last && this.#wasLost(last, entry.request)) {
      this.warn(session, warning("paid-twice", requestText(entry.request), isWritten(last)));
    }
    keep(this.#lastPayments, CA, entry);
  }

  /** Something was noticed. */
  warn(
    session: Session,
    warning: Warning,
    level: LogLevel = "warn",
    came?: { raw: string; milliseconds: number },
  ): void {
    const { connection, transaction: number } = session;
    this.#find(session)?.warnings.push(warning);
    this.#emit(() => ({ event: "warning", connection, transaction: number, ...warning, ...came }));
    this.log(level, () => `#${connection} ${warning.text}`);
  }

  /** A person is to decide. */
  waiting({ connection, transaction }: Session): void {
    this.#emit(() => ({ event: "waiting", connection, transaction }));
    this.log("debug", () => `#${connection} waits for a person to decide`);
  }

  /** What its screen shows, or its printer prints. */
  shows({ connection }: Session, text: string, where: "screen" | "printed" = "screen"): void {
    this.log("info", () => `#${connection} ${where}:\n${printableLines(text)}`);
  }

  /** The final answer is due, and not yet written. With `milliseconds` the event `due` tells it. */
  due(session: Session, answer: Sent, milliseconds?: number): void {
    const entry = this.#underWay.get(session);
    if (!entry) return;
    entry.due = answer;
    if (milliseconds === undefined) return;
    const { connection, number } = entry.kept;
    const { message: _, ...raw } = answer;
    entry.kept.due = raw;
    this.#emit(() => ({ event: "due", connection, transaction: number, milliseconds, ...answer }));
    this.log("info", () => `#${connection} the terminal answered: ${logText(answer)}`);
  }

  /** An answer was written, or would have been. */
  answer(session: Session, sent: Sent, milliseconds: number, at: Date = new Date()): void {
    const kept = this.#find(session);
    if (!kept) return;
    const { message: _, ...raw } = sent;
    kept.answer = raw;
    if (this.#underWay.get(session)?.due) kept.answered = at; // else it is an AE 11
    const { connection, number, outcome } = kept;
    this.#emit(() => ({
      event: "answer",
      connection,
      transaction: number,
      ...(outcome && { outcome: this.#words(outcome) }),
      milliseconds,
      ...sent,
    }), at);
    const fault = outcome?.fault ? ` (${outcome.fault})` : "";
    const all = kept.gone ? "too late, the POS has gone" : "not sent";
    const how = sent.lost === "all" ? all : sent.lost ? "sent in part" : "sent";
    this.log("info", () => `#${connection} ${how}${fault}: ${logText(sent)}`);
  }

  /** Nothing is written for an answer. */
  nothing(session: Session): void {
    const { fault } = this.#find(session)?.outcome ?? {};
    this.log("info", () => `#${session.connection} sent nothing${fault ? ` (${fault})` : ""}`);
  }

  /** The POS has left without the whole answer. */
  gone(session: Session, gone: Gone): void {
    const kept = this.#find(session);
    if (!kept) return;
    kept.gone = gone;
    const { connection, number } = kept;
    this.#emit(() => ({ event: "gone", connection, transaction: number, ...gone }));
    const { milliseconds, sent } = gone;
    const seconds = (Math.floor(milliseconds / 100) / 10).toFixed(1); // not 60.0 before 60 s
    const entry = this.#underWay.get(session);
    if (!entry) return this.warn(session, warning("not-read"));
    if (sent !== "") return this.warn(session, warning("read-once", sent.length));
    if (movesMoney(entry.request["CD"]) && milliseconds < LEAST_WAIT) {
      this.warn(session, warning("impatient", seconds));
    } else this.log("warn", () => `#${connection} the POS gave up after ${seconds} s`);
  }

  /** The transaction is over. */
  over(session: Session): void {
    const entry = this.#underWay.get(session);
    if (!entry) return;
    this.#underWay.delete(session);
    const { kept, due, request: { CA = "", CD } } = entry;
    kept.ended = kept.answered ?? new Date();
    if (movesMoney(CD)) {
      const others = this.#payments.get(CA)! - 1;
      if (others > 0) this.#payments.set(CA, others);
      else this.#payments.delete(CA);
    }
    const isTold = CD === "3" && due?.message["AE"] === "10" && isWritten(entry);
    if (isTold && !kept.gone) this.#lastPayments.delete(CA); // the till knows of the last one now
    if (this.#waiters.size === 0) return;
    const fits = (waiter: Waiter): boolean =>
      isOf(waiter.register, kept) && kept.number > (waiter.after ?? 0);
    const first = [...this.#waiters].find((waiter) => waiter.after === undefined && fits(waiter));
    if (first) kept.given = true;
    this.#settle(
      (waiter) => waiter === first || (waiter.after !== undefined && fits(waiter)),
      ({ resolve }) => resolve(transactionOf(kept)),
    );
  }

  /** Something came between messages, or before there was a request. */
  between(connection: number, by: Side, raw: string, at: Date): void {
    const last = this.#transactions.findLast((one) => one.connection === connection);
    const milliseconds = last && at.getTime() - last.received.getTime();
    const who = by === "pos" ? "POS" : "terminal";
    this.#emit(() => ({
      event: "between",
      connection,
      by,
      raw,
      ...(milliseconds !== undefined && { milliseconds }),
    }), at);
    this.log("info", () => `#${connection} the ${who} sent between messages: ${printable(raw)}`);
  }

  /** A connection is closed; `used`: whether anything came on it. */
  closed(connection: number, by: Side, used: boolean, how?: Closing): void {
    const last = used && this.#transactions.findLast((one) => one.connection === connection);
    const at = how?.at ?? new Date();
    if (last) last.closed = { milliseconds: at.getTime() - last.received.getTime(), by };
    if (!used && this.#settings.logLevel !== "debug") return;
    const milliseconds = how && last ? last.closed?.milliseconds : undefined;
    this.#emit(() => ({
      event: "closed",
      connection,
      by,
      ...(milliseconds !== undefined && { milliseconds }),
      ...(how?.reset && { reset: true }),
    }));
  }

  /** See {@linkcode Terminal.waitForTransaction}. */
  wait({ timeout, register, after, signal }: WaitOptions = {}): Promise<Transaction> {
    if (timeout !== undefined) inRange("timeout", { min: 0, max: DAY }, timeout);
    if (this.#isClosed) return Promise.reject(new WaitError("closed"));
    if (signal?.aborted) return Promise.reject(new WaitError("aborted"));
    const found = this.#transactions.find((kept) =>
      kept.ended && isOf(register, kept) &&
      (after === undefined ? !kept.given : kept.number > after)
    );
    if (found) {
      if (after === undefined) found.given = true;
      return Promise.resolve(transactionOf(found));
    }
    const waiter: Waiter = { register, after, ...Promise.withResolvers<Transaction>() };
    this.#waiters.add(waiter);
    const fail = (error: WaitError): void =>
      this.#settle((other) => other === waiter, ({ reject }) => reject(error));
    const onAbort = (): void => fail(new WaitError("aborted"));
    signal?.addEventListener("abort", onAbort);
    const stop = (): void => signal?.removeEventListener("abort", onAbort);
    waiter.promise.then(stop, stop); // a rejection that nobody awaits must be no error: a test may have failed before
    if (timeout !== undefined) {
      waiter.timer = setTimeout(() => {
        const of = register === undefined ? "" : ` of cash register ${register}`;
        const text = `no transaction${of} was over within ${timeout} ms; ${this.#status()}`;
        fail(new WaitError("timeout", text));
      }, timeout);
    }
    return waiter.promise;
  }

  /** Forgets what happened, at one cash register or at all. */
  reset(register?: string): void {
    const others = this.#transactions.filter((kept) => !isOf(register, kept));
    this.#transactions.splice(0, Infinity, ...others);
    if (register === undefined) {
      this.#lastPayments.clear();
      this.#count = 0;
    } else this.#lastPayments.delete(register);
  }

  /** Ends the waits for a cash register, or all. */
  rejectWaits(register?: string): void {
    this.#settle(
      (waiter) => register === undefined || waiter.register === register,
      ({ reject }) => reject(new WaitError("reset")),
    );
  }

  /** Ends all waits: nothing more happens. */
  close(): void {
    this.#isClosed = true;
    this.#settle(() => true, ({ reject }) => reject(new WaitError("closed")));
  }

  /** Whether a transaction under way is of a cash register. */
  isOf(register: string | undefined, session: Session): boolean {
    const entry = this.#underWay.get(session);
    return entry !== undefined && isOf(register, entry.kept);
  }

  /** Settles the waits that match. */
  #settle(wanted: (waiter: Waiter) => boolean, how: (waiter: Waiter) => void): void {
    for (const waiter of [...this.#waiters].filter(wanted)) {
      this.#waiters.delete(waiter);
      clearTimeout(waiter.timer);
      how(waiter);
    }
  }

  /** What is under way, for people. */
  #status(): string {
    const texts = [...this.#underWay.values()].map(({ kept, request }) => {
      const seconds = ((Date.now() - kept.received.getTime()) / 1000).toFixed(1);
      return `transaction ${kept.number} (${requestText(request)}) for ${seconds} s`;
    });
    return texts.length === 0 ? "nothing is under way" : `under way: ${texts.join(", ")}`;
  }

  #emit(event: () => Distributed, at = new Date()): void {
    if (this.listeners.size === 0) return;
    const { event: name, ...about } = event();
    const told = { event: name, time: at.toISOString(), ...about } as TerminalEvent;
    for (const listener of this.listeners) callBack(() => listener(told));
  }

  /** The transaction of a session, which may be over. */
  #find(session: Session): Kept | undefined {
    return this.#underWay.get(session)?.kept ??
      this.#transactions.findLast(({ received }) => received === session.received);
  }

  /** Whether the last payment was the same one, and was approved, and the POS does not know it. */
  #wasLost(last: Entry, { CD, CB, CE }: Readonly<Message>): boolean {
    const { session, kept: { gone }, request, due } = last;
    const same = request["CD"] === CD && request["CB"] === CB && request["CE"] === CE;
    const isPaid = session.paid ?? due?.message["AE"] === "10";
    return same && isPaid && !this.#underWay.has(session) && (!isWritten(last) || !!gone);
  }
}

/** Whether the answer that was due was written as a whole to a POS that was there. */
function isWritten({ kept: { answer }, due }: Entry): boolean {
  return answer?.lost === undefined && answer?.raw === due?.raw;
}

/** Whether a transaction is of a cash register, or of any. */
function isOf(register: string | undefined, kept: Kept): boolean {
  return register === undefined || kept.register === register;
}

/** A copy of what is kept of a transaction, with its messages. */
function transactionOf({ register: _register, given: _given, ...kept }: Kept): Transaction {
  const { number, connection, address, received, request, due, answer, ...others } =
    structuredClone(kept);
  return {
    number,
    connection,
    address,
    received,
    request: { ...request, ...readable(request.raw) },
    ...(due && { due: { ...due, ...readable(due.raw) } }),
    ...(answer && { answer: { ...answer, ...readable(answer.raw) } }),
    ...others,
  };
}

/** Least milliseconds that a POS must wait: a person needs 10 to 60 s. (1) */
const LEAST_WAIT = 60_000;

/** An event before it has its time. */
type Distributed = TerminalEvent extends infer Event
  ? Event extends unknown ? Omit<Event, "time"> : never
  : never;

/** What a request asks for, for people. */
export function requestText(request: Readonly<Message>): string {
  const { CA, CD } = request;
  const action = meaning("CD", CD)?.label ?? `action ${CD ?? "none"}`;
  return printable([action, moneyText(request), CA && `of ${CA}`].filter(Boolean).join(" "));
}

/** A message as the log shows it. */
function logText({ raw, message, ending = "" }: WireMessage): string {
  const fields = describe(message);
  return printable(raw + ending) + (fields && `\n${fields}`);
}

/** What a terminal will do, for the line of the log at its start. */
function told({ outcome, interactive, duration, ...settings }: Settings): string {
  const { model, when, next, strict, exclusive, callback } = settings;
  const parts = interactive
    ? ["a person decides"]
    : typeof outcome === "function"
    ? ["each outcome decided on when it is asked for"]
    : toldOutcome(outcome, duration);
  return [
    ...parts,
    when.length > 0 && `outcomes by amount: ${when.length}`,
    next.length > 0 && `outcomes queued: ${next.length}`,
    strict && "strict",
    exclusive && "exclusive",
    model !== OPTIONS.model.default && `model ${model}`,
    callback > 0 && `answers to port ${callback} of the POS`,
  ].filter((part) => part).join(", ");
}

function toldOutcome({ fault, ...others }: Outcome, duration: number): (string | false)[] {
  const answers = !fault || FAULTS[fault].send("CZ0040300").segments.length > 0;
  const mode = `${others.failure ? "failure" : "success"} mode (${formatOutcome(others)})`;
  return [
    (!fault || Object.values(others).some((part) => part)) && mode,
    fault !== undefined && FAULTS[fault].told,
    answers && others.delay === undefined && `answers after ${duration} s`,
  ];
}

// ---------------------------------------------------------------- the terminal

/** What can be changed while a terminal runs. */
export type TerminalChanges = Pick<
  TerminalOptions,
  "model" | "outcome" | "when" | "duration" | "strict" | "exclusive" | "interactive"
>;

const CHANGEABLE = ["model", "outcome", "when", "duration", "strict", "exclusive", "interactive"];

/** What a terminal does with the next request, outcomes in words. */
export interface TerminalSettings extends
  Required<
    Pick<TerminalOptions, "model" | "duration" | "strict" | "exclusive" | "interactive">
  > {
  /** How transactions end; null where a function decides. */
  outcome: string | null;
  /** Outcomes by amount. */
  when: Record<string, string>;
  /** What is queued for one transaction each. */
  next: { outcome: string; register?: string }[];
  /** The numbers of the transactions that wait for a person. */
  waiting: number[];
}

/** A terminal that is running. */
export interface Terminal extends AsyncDisposable {
  /** The address it listens on; "::" or "0.0.0.0" is every interface. */
  readonly host: string;
  /** The TCP port it listens on. */
  readonly port: number;
  /** What POS did: copies of the last 1,000 requests and their answers, the newest last. */
  readonly transactions: readonly Transaction[];
  /** A copy of one of them by its number, if it is kept. */
  transaction(number: number): Transaction | undefined;
  /** What it does with the next request. */
  readonly settings: TerminalSettings;
  /** Changes what it does, from the next request on. Nothing changes if one of it is wrong. */
  change(changes: TerminalChanges): void;
  /** Sets how transactions end: short for `change({ outcome })`. */
  setOutcome(outcome: OutcomeOrText | Decide): void;
  /** Sets the outcomes by amount: short for `change({ when })`. */
  setWhen(when: Readonly<Record<string, OutcomeOrText>>): void;
  /** Queues outcomes for one transaction each, after those that are queued already. */
  nextOutcome(...outcomes: OutcomeOrText[]): void;
  /** Queues outcomes for transactions of one cash register (CA), which come before the others. */
  nextOutcomeOf(register: string, ...outcomes: OutcomeOrText[]): void;
  /** Empties the queue, or that of one cash register. */
  clearNext(register?: string): void;
  /**
   * Decides on a transaction that waits for a person, see {@linkcode TerminalOptions.interactive}.
   *
   * @returns Whether it was waiting.
   */
  decide(transaction: number, outcome: OutcomeOrText): boolean;
  /**
   * Puts all back as it was started: what it does, queue, transactions and their numbers, the last
   * attempts for duplicates. What is under way ends as if the POS had gone; waits reject. With a
   * cash register (CA), only its queue, its transactions and its last attempt.
   */
  reset(register?: string): void;
  /**
   * Resolves with the next transaction that is over and that no call has given yet, whether it was
   * over before or not. Over is one whose answer is out, or would be if the POS had not gone. It
   * rejects when the time is up, saying what is under way, and when the terminal is closed.
   */
  waitForTransaction(options?: WaitOptions): Promise<Transaction>;
  /** Calls a function with each event. Returns a function that stops this. */
  subscribe(listener: Listener): () => void;
  /** Stops it: no more connections, those that are there are closed without waiting for answers. */
  close(): Promise<void>;
}

/**
 * Starts a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 * @example As terminals that exist: an Ingenico Desk/5000 whose red button is pressed, and HiPay's
 * ```ts
 * import { startTerminal } from "./server.ts";
 *
 * const options = { port: 0, host: "127.0.0.1", duration: 0 };
 * await using desk5000 = await startTerminal({ ...options, model: "desk5000", outcome: "abandon" });
 * await using hipay = await startTerminal({ ...options, model: "hipay", outcome: "refused" });
 * console.log(`the POS pays on ports ${desk5000.port} and ${hipay.port}`);
 * ```
 */
export async function startTerminal(options: TerminalOptions = {}): Promise<Terminal> {
  const initial = checkOptions(options);
  const journal = new Journal(initial);
  const simulation = new Simulation({ ...initial, next: [...initial.next] }, journal);
  const listening = await serve(initial, simulation.handle, journal, simulation.judge);
  journal.listening(listening.host, listening.port);
  return terminalOf(initial, simulation, journal, listening);
}

/**
 * The terminal that its parts make: what was asked for, what decides, what happened, what listens.
 *
 * @param read Reads the outcomes that it is given: it may refuse some.
 * @param changeable The names of what can be changed while it runs.
 */
export function terminalOf(
  initial: Settings,
  steered: Steered,
  journal: Journal,
  listening: Listening,
  read: ReadOutcome = toOutcome,
  changeable: readonly string[] = CHANGEABLE,
): Terminal {
  const { script } = steered;
  const { host, port } = listening;
  const change = (changes: TerminalChanges): void => {
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    const names = given.map(([name]) => name as keyof TerminalChanges);
    checkNames("settings", "names from", changeable, names);
    const checked = checkOptions(changes, read);
    Object.assign(script, Object.fromEntries(names.map((name) => [name, checked[name]])));
  };
  const queue = (outcomes: readonly OutcomeOrText[], register?: string): void => {
    const queued = outcomes.map((outcome) => ({ outcome: read(outcome, "next") }));
    script.next.push(...queued.map((one) => register === undefined ? one : { ...one, register }));
  };
  const close = (): Promise<void> => {
    journal.close(); // before what is under way ends
    return listening.close();
  };
  return {
    host,
    port,
    get transactions() {
      return journal.transactions;
    },
    transaction: (number) => journal.transaction(number),
    get settings() {
      const { model, outcome, when, duration, strict, exclusive, interactive, next } = script;
      return {
        model,
        outcome: typeof outcome === "function" ? null : formatOutcome(outcome),
        when: Object.fromEntries(when.map(([amount, outcome]) => [amount, formatOutcome(outcome)])),
        duration,
        strict,
        exclusive,
        interactive,
        next: next.map(({ outcome, ...of }) => ({ ...of, outcome: formatOutcome(outcome) })),
        waiting: [...steered.waiting],
      };
    },
    change,
    setOutcome: (outcome) => change({ outcome: toSource(outcome, read) }),
    setWhen: (when) => change({ when }),
    nextOutcome: (...outcomes) => queue(outcomes),
    nextOutcomeOf: (register, ...outcomes) => queue(outcomes, register),
    clearNext(register) {
      script.next = script.next.filter((queued) =>
        register !== undefined && queued.register !== register
      );
    },
    decide: (transaction, outcome) => steered.decide(transaction, outcome),
    reset(register) {
      journal.rejectWaits(register); // before what is under way ends
      listening.drop((session) => journal.isOf(register, session));
      if (register === undefined) Object.assign(script, initial, { next: [...initial.next] });
      else script.next = script.next.filter((queued) => queued.register !== register);
      steered.forget(register);
      journal.reset(register);
    },
    waitForTransaction: (options) => journal.wait(options),
    subscribe(listener) {
      journal.listeners.add(listener);
      return () => void journal.listeners.delete(listener);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

// ---------------------------------------------------------------- the command

/** A command that starts a terminal, alone or with something around it. */
export interface Program<Started extends { close(): Promise<void> }> {
  /** The name of its file. */
  name: string;
  /** What it is, for the help. */
  summary: string;
  /** Arguments that show how it is used, for the help. */
  examples: readonly string[];
  /** The options that it has besides those of a terminal. */
  options: Options;
  /**
   * The options of a terminal that it has, where another one answers than the simulated. The others
   * are known all the same, so that they can be refused in words. Default: all.
   */
  takes?: readonly string[];
  /** Starts it. */
  start: (options: TerminalOptions, command: Command) => Promise<Started>;
  /** Its exit status when it is stopped. Default: 0. */
  status?: (started: Started) => number;
}

/** What a command was asked to do. */
export interface Command {
  /** The options of the terminal, and the program's own. */
  terminal: TerminalOptions;
  /** Whether a person decides; `terminal.outcome` is what it does then without asking. */
  interactive: boolean;
  /** Whether what happens is printed on stdout. */
  json: boolean;
  /** Arguments that have no effect, in words. */
  warnings: string[];
}

/** What the help says of outcomes, with or without what only a simulated terminal can do. */
function aboutOutcomes(simulated: boolean): string {
  const list = (table: object): string => Object.keys(table).join(", ");
  const rows = (table: Readonly<Record<string, string>>): string =>
    Object.entries(table).map(([word, help]) => helpRow(`  ${word}`, 18, help)).join("");
  const endings = `${list(ENDINGS)}, or an AF code such as 07`;
  const from = simulated ? "instead of --duration" : "from the request to the answer";
  const words = rows({
    ...(simulated && { "how it ends": endings, "which card": list(CARDS) }),
    "delay=SECONDS": `${from}; delay=1..5: from a range, at random`,
    ...(simulated ? FLAGS : { hangup: FLAGS.hangup }),
    "TAG=VALUE": "sets a tag of the answer, TAG= leaves it out; may be given again; " +
      "in a value \\, is a comma and \\\\ a backslash",
  });
  const faults = Object.entries(FAULTS).map(([word, { help }]) => [word, help]);
  const text = `
OUTCOME is words separated by commas, at most one of each kind:
${words}and what goes wrong with the answer, at most one of these:
${rows(Object.fromEntries(faults))}`;
  if (!simulated) return text;
  const codes = [...TAGS.get("AF")?.codes ?? []].map(([code, { label }]) => `${code} ${label}`);
  const half = Math.ceil(codes.length / 2);
  const twoColumns = codes.slice(0, half)
    .map((left, at) => `${`  ${left.padEnd(26)}${codes[at + half] ?? ""}`.trimEnd()}\n`);
  return `${text}\nAF codes:\n${twoColumns.join("")}`;
}

/** The arguments as they were given. */
type Values =
  & Omit<TerminalOptions, "outcome" | "when" | "next">
  & { [Name in "outcome" | "failureType" | "paymentType"]?: string }
  & { [Name in "when" | "next"]?: string[] }
  & { [Name in "failure" | "json"]?: boolean };

/**
 * Reads the arguments of a command that starts a terminal, without any effect.
 *
 * @returns What it was asked to do, or the text that was asked for instead.
 * @throws {OptionError} An argument is not as it must be; parseArgs of node:util throws as well.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 */
export function readArguments(
  args: readonly string[],
  program: Omit<Program<Terminal>, "start" | "status"> = SERVER,
): Command | string {
  const { name, summary, examples, options: own, takes } = program;
  const options = optionsOf(program);
  const { values } = parseArgs(parseArgsConfig(options, args));
  if (values["help"]) {
    const shown = examples.map((args) => `  ${name} ${args}\n`).join("");
    return `${summary}\n\nusage: ${name} [options]\n${helpText(options)}${aboutOutcomes(!takes)}
examples:\n${shown}`;
  }
  if (values["version"]) return `${VERSION}\n`;
  if (values["model"] === "list") return modelsText();
  const {
    failure = false,
    failureType,
    paymentType,
    interactive = false,
    json = false,
    outcome,
    when,
    next,
    ...others
  } = readValues(options, values) as Values;
  if (outcome !== undefined && (failure || (failureType ?? paymentType) !== undefined)) {
    const expected = "either this or --failure, --failure-type and --payment-type";
    throw new OptionError("outcome", expected, outcome);
  }
  const [success = "", ...failures] = Object.keys(ENDINGS);
  const ending = oneOf("failureType", failures, failureType ?? OPTIONS.failureType.default);
  const card = oneOf("paymentType", keysOf(CARDS), paymentType ?? OPTIONS.paymentType.default);
  const short = [failure ? ending : success, ...(paymentType === undefined ? [] : [card])];
  const terminal: TerminalOptions = {
    ...others,
    outcome: parseOutcome(outcome ?? short.join(",")),
    ...(when && { when: readWhen(when) }),
    ...(next && { next: next.map((text) => parseOutcome(text, "next")) }),
  };
  checkOptions(Object.fromEntries(Object.entries(terminal).filter(([name]) => !(name in own))));
  const ignored = failureType !== undefined && !failure;
  const warnings = ignored ? ["--failure-type is ignored without --failure"] : [];
  return { terminal, interactive, json, warnings };
}

/** The options of a program. An empty help hides those of a terminal that it does not have. */
function optionsOf({ options, takes }: Pick<Program<Terminal>, "options" | "takes">): Options {
  const all = Object.entries<Option>(OPTIONS).map(([name, option]) => {
    const isHidden = takes?.includes(name) === false && option.help !== undefined;
    return [name, isHidden ? { ...option, help: "" } : option];
  });
  return { ...Object.fromEntries(all), ...options };
}

function readWhen(texts: string[]): Record<string, Outcome> {
  const when: Record<string, Outcome> = Object.create(null);
  for (const text of texts) {
    const [, amount, words = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (amount === undefined) throw new OptionError("when", "AMOUNT=OUTCOME", text);
    if (amount in when) throw new OptionError("when", "each amount once", text);
    when[amount] = parseOutcome(words, "when");
  }
  return when;
}

/**
 * Prints on a stream that may not take it: Deno and Bun then throw, Node emits an error. The streams
 * are not touched before they are needed: to set them up takes Bun a fifth of its start.
 */
function print(stream: NodeJS.WriteStream, text: string): void {
  const onError = ({ code, message }: NodeJS.ErrnoException): void => {
    // Without a reader of the log the terminal goes on. EAGAIN is Deno's, when a pipe is full.
    if (stream === process.stderr || code === "EAGAIN") return;
    if (code !== "EPIPE") print(process.stderr, `${running}: cannot print on stdout: ${message}\n`);
    process.exit(code === "EPIPE" ? 0 : 1); // without a reader of the events nobody needs it
  };
  if (stream.listenerCount("error") === 0) stream.on("error", onError);
  try {
    stream.write(text);
  } catch (error) {
    onError(error as Error);
  }
}

/** Prints an event above what a person is asked, should both go to the same screen. */
export function printEvent(event: object): void {
  const below = shown;
  if (below) updateScreen("");
  print(process.stdout, jsonLine(event));
  if (below) updateScreen(below);
}

const COLOURS = { debug: "gray", info: undefined, warn: "yellow", error: "red" } as const;

function logToStderr(level: LogLevel, text: string): void {
  const now = new Date();
  const time = `${clock(now)}.${String(now.getMilliseconds()).padStart(3, "0")}`;
  const colour = process.stderr.isTTY ? COLOURS[level] : undefined;
  const line = `${time} ${level.padEnd(5)} ${text}`;
  // Not left to styleText: to know whether the screen has colours it reads the environment, and
  // Deno would ask for that.
  updateScreen(shown, `${colour ? styleText(colour, line, { validateStream: false }) : line}\n`);
}

/** The name of the command that runs, for what it says. */
let running = "server.ts";

/** What is on the screen below the log, where a person decides. */
let shown = "";

/** Prints a line of the log, if there is one, and below it what a person is asked. */
function updateScreen(text: string, line = ""): void {
  const columns = process.stderr.columns || 80; // 0 on a screen that does not tell
  const heights = shown.split("\n").slice(0, -1).map((row) => Math.ceil(row.length / columns) || 1);
  const height = heights.reduce((sum, rows) => sum + rows, 0);
  shown = text;
  print(process.stderr, (height > 0 ? `\x1b[${height}A\x1b[J` : "") + line + text);
}

/** The keys by which a person decides, with the words of the outcome and what they are in French. */
export const KEYS: ReadonlyMap<string, readonly [words: OutcomeText, french: string]> = new Map([
  ["\r", ["success", "accepter"]],
  ["a", ["abandon", "abandon"]],
  ["r", ["refused", "refuser"]],
  ["f", ["forbidden", "interdire"]],
  ["t", ["timeout", "délai"]],
  ["s", ["silent", "silence"]],
]);

/** What a terminal sends for an arrow, a function key, or a letter with Alt, which are no letters. */
const OTHER_KEYS = /\x1b[[O]?[\d;]*./gs;

/** A request that waits for a person. */
interface Question extends WireMessage {
  number: number;
  gone: boolean;
}

/** Starts a terminal whose outcomes a person at this screen decides. */
async function startOnScreen(options: TerminalOptions): Promise<Terminal> {
  const { stdin } = process;
  const questions: Question[] = [];
  let isRaw = false;
  const show = (): void => updateScreen(screenText(questions, isRaw));
  const terminal = await startTerminal({ ...options, interactive: true });
  const press = (key: string): void => {
    const [question] = questions;
    const [words] = KEYS.get(key) ?? [];
    if (key === "\x03") process.emit("SIGINT"); // Ctrl-C, in raw mode
    else if (question && key === "w") isRaw = !isRaw;
    else if (question && words) {
      questions.shift();
      isRaw = false;
      logToStderr("info", `${requestText(question.message)}: ${words}`);
      terminal.decide(question.number, words);
    } else return;
    show();
  };
  terminal.subscribe((event) => {
    if (event.event === "waiting") {
      const number = event.transaction;
      const { raw = "", message = {} } = terminal.transaction(number)?.request ?? {};
      questions.push({ number, raw, message, gone: false });
    } else if (event.event === "gone" || event.event === "answer") {
      const at = questions.findIndex(({ number }) => number === event.transaction);
      if (at < 0) return;
      if (event.event === "gone") questions[at]!.gone = true;
      else questions.splice(at, 1); // the person took too long
    } else return;
    show();
  });
  process.stderr.on("resize", show);
  stdin.setRawMode(true);
  stdin.setEncoding("utf8").on("data", (keys: string) => {
    for (const key of keys.replace(OTHER_KEYS, "").toLowerCase().replaceAll("\n", "\r")) press(key);
  });
  show();
  return terminal;
}

/** What a terminal's screen would show, in a box that fits the width, and the keys. */
function screenText([question, ...behind]: readonly Question[], isRaw: boolean): string {
  const width = Math.max(20, Math.min(60, (process.stderr.columns || 80) - 1));
  const rule = "-".repeat(width);
  const row = (left: string, right = ""): string[] => {
    const inner = width - 4;
    const texts = wrap(printable(left).slice(0, 2 * inner), inner).map((text) =>
      text.slice(0, inner)
    );
    if (right && right.length >= inner - texts.at(-1)!.length) texts.push("");
    const last = texts.pop()!;
    texts.push(last + printable(right).slice(0, inner).padStart(inner - last.length));
    return texts.map((text) => `| ${text.padEnd(inner)} |`);
  };
  const lines = (parts: string[][]): string => `${parts.flat().join("\n")}\n`;
  if (!question) return lines([[rule], row("PRÊT / READY"), [rule, "Ctrl-C: stop (arrêter)"]]);
  const { raw, message, gone } = question;
  const { label = "", french = "" } = meaning("CD", message["CD"]) ?? {};
  const keys = [...KEYS].map(([key, [words, french]]) =>
    `${key === "\r" ? "Enter" : key}: ${inWords({ label: words, french })}`
  );
  const help = [...keys, "w: raw request (trame)"].map((text) => text.replaceAll(" ", "\xa0"));
  return lines([
    [rule],
    row(
      french === label ? french.toUpperCase() : `${french} / ${label}`.toUpperCase(),
      message["CB"] === undefined ? "" : amountText(message),
    ),
    row(`CAISSE / POS ${message["CA"] ?? ""}`, gone ? "PARTIE / GONE" : ""),
    behind.length > 0 ? row(`EN ATTENTE / WAITING: ${behind.length}`) : [],
    [rule],
    isRaw ? printable(raw).match(new RegExp(`.{1,${width}}`, "g")) ?? [] : [],
    wrap(help.join("  "), width).map((line) => line.replaceAll("\xa0", " ").trimEnd()),
  ]);
}

/** The terminal alone, as a command. */
const SERVER: Program<Terminal> = {
  name: "server.ts",
  summary: "A card payment terminal that speaks Caisse-AP over IP (Concert V3).",
  examples: ["--outcome refused", '-d 10 --next silent --when "*01=07"', "-p 0 --json"],
  options: {},
  start(options, { interactive }) {
    if (!interactive) return startTerminal(options);
    if (!process.stdin.isTTY || !process.stderr.isTTY) {
      throw new OptionError("interactive", "a screen and a keyboard (a TTY)", undefined);
    }
    return startOnScreen(options);
  },
};

/**
 * Runs a command that starts a terminal: status 0 when it is stopped, 1 when it cannot listen or
 * print, 2 for wrong arguments.
 */
export async function runCommand<Started extends { close(): Promise<void> }>(
  program: Program<Started>,
): Promise<void> {
  const fail = (message: string, status: number): never => {
    updateScreen("", `${program.name}: ${message}\n`);
    process.exit(status); // not left to itself: with --interactive stdin is being listened to
  };
  running = program.name;
  try {
    const command = readArguments(process.argv.slice(2), program);
    if (typeof command === "string") return print(process.stdout, command);
    const { terminal: options, json, warnings } = command;
    if (options.logLevel !== "error") warnings.forEach((text) => logToStderr("warn", text));
    // Deno throws past every promise when it may not listen on an address.
    const { host = "", model = OPTIONS.model.default } = options;
    const own = TRAITS[model as ModelName]?.port; // whether there is such a model is told later
    const { port = own ?? OPTIONS.port.default } = options;
    const onUncaught = (error: Error): never => fail(new ListenError(host, port, error).message, 1);
    process.on("uncaughtException", onUncaught);
    const log = { ...(json && { onEvent: printEvent }), log: logToStderr };
    const starting = program.start({ ...options, ...log }, command);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.once(signal, async () => {
        const started = await starting;
        await started.close();
        updateScreen("");
        process.exit(program.status?.(started) ?? 0);
      });
    }
    await starting;
    process.off("uncaughtException", onUncaught);
  } catch (error) {
    if (error instanceof ListenError) fail(error.message, 1);
    const message = argumentError(error, optionsOf(program));
    if (message === undefined) throw error;
    fail(message, 2);
  }
}

if (import.meta.main) runCommand(SERVER);
