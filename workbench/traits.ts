// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * In what terminals differ from the reference. One entry a trait: what it does to an answer, where
 * it does something, and how it is told, in English and in French. models.ts says which terminal has
 * which, and from what source. What no source tells of a trait is our choice, and said to be so.
 *
 * @module
 */
import { type Message, movesMoney } from "../protocol.ts";
import {
  type Answer,
  type AnswerContext,
  type Attempt,
  ENDINGS,
  type Outcome,
  resultOf,
} from "../server.ts";
import { type Layout, TERMINAL } from "./receipts.ts";

/** A text in both languages. */
export type Pair = readonly [english: string, french: string];

/** In what a terminal differs from the reference. What is absent is as there. */
export interface Traits {
  /** CZ and CJ of its own, in every answer. */
  readonly identity?: { readonly CZ: string; readonly CJ: string };
  /** The only tags of a request that it gives back. */
  readonly copies?: readonly string[];
  /** Characters of CF that it gives back. */
  readonly returnsCF?: number;
  /** Characters of CF that are no deviation. */
  readonly takesCF?: number;
  /** Characters of CA that are no deviation, beside the two of the protocol. */
  readonly takesCA?: number;
  /** AF for what a person abandons. */
  readonly abandon?: string;
  /** Whether the amount has zeros only then. */
  readonly zeros?: true;
  /** AF beside AE 10. */
  readonly approvedAF?: string;
  /** What AF says of a card that was refused after its two digits; AC is there too. */
  readonly refusal?: string;
  /** The tags of its answers about money, in this order and no others. */
  readonly published?: {
    readonly approval: readonly string[];
    readonly refusal: readonly string[];
    readonly formatError: readonly string[];
  };
  /** Characters of CG. */
  readonly contract?: number;
  /** Tags that its answers do not have. */
  readonly omits?: readonly string[];
  /** What hides digits of AA. */
  readonly mask?: string;
  /** AL, with AA. */
  readonly AL?: string;
  /** The layout of its receipts. */
  readonly receipt?: Layout;
  /** AE for BA 1. A terminal that answers AE 10 says so when it cannot take the request. (3) */
  readonly atOnce?: "10";
  /** Tags of a request that it fails on. */
  readonly failsOn?: readonly string[];
  /** Values of CD that it does not know. */
  readonly lacks?: readonly string[];
  /** Whether it has AP, AQ and ID in its answers. */
  readonly vendorTags?: true;
  /** Whether a credit names its debit. */
  readonly credits?: true;
  /** Whether only the last debit can be cancelled, as a whole. */
  readonly cancels?: true;
  /** The action that asks for the status of a transaction. */
  readonly status?: string;
  /** The port that it listens on by default. */
  readonly port?: number;
  /** That it reads no request while it is busy; otherwise it answers AE 01, AF 07. */
  readonly busy?: "unread";
  /** What its screen shows for a duplicate of a failure, and of nothing. */
  readonly screens?: { readonly failed: string; readonly none: string };
  /** What else is known of it, and how to have it. */
  readonly notes?: readonly Pair[];
}

/** What a terminal remembers beyond the attempts that every terminal keeps. */
export interface Memory {
  /** The cash registers of the debits that were approved, by their ID. */
  readonly debits: ReadonlyMap<string, string>;
}

/** Something around what is answered. */
export type Deed = (next: Answer) => Answer;

/** What there is to a trait. What has neither deed nor form is a fact that others read. */
export interface Trait<Value> {
  /** How it is told, in a sentence or several. */
  readonly words: (value: Value) => readonly Pair[];
  /** What it does, before tags of an outcome are set and a receipt is printed. */
  readonly deed?: (value: Value, memory: Memory) => Deed;
  /** How any answer looks in the end, with its receipt, and one to what is not served too. */
  readonly form?: (value: Value) => (answer: Message, request: Readonly<Message>) => Message;
}

/** Characters after AF's two digits: an authorisation response, a text, and two more codes. (2) */
const AF_DETAIL = 2 + 21 + 2 + 2;

/** The traits. Deeds and forms are done in this order. */
export const TRAITS: { readonly [Name in keyof Traits]-?: Trait<NonNullable<Traits[Name]>> } = {
  identity: {
    words: ({ CZ, CJ }) => [
      [`CZ ${CZ} and CJ ${CJ} of its own`, `CZ ${CZ} et CJ ${CJ}, qui lui sont propres`],
    ],
    form: (identity) => (answer) => {
      const { CZ: _CZ, CJ: _CJ, ...others } = answer;
      return { ...identity, ...others };
    },
  },
  copies: {
    words: (tags) => [
      [`gives back ${tags.join(" ")} only`, `ne renvoie que ${tags.join(" ")}`],
    ],
    form: (tags) => (answer, request) => {
      const isApproval = answer["AE"] === "10" && answer["CB"] !== undefined &&
        request["BA"] !== "1";
      // The terminal's own, though the request may have them too: always, and in an approval.
      const own = ["AE", "AF", "ZT", ...(isApproval ? ["CC", "CI", "AC", "AA", "AI", "AB"] : [])];
      const isGiven = (tag: string): boolean =>
        tags.includes(tag) || own.includes(tag) || !(tag in request);
      return Object.fromEntries(Object.entries(answer).filter(([tag]) => isGiven(tag)));
    },
  },
  returnsCF: {
    words: (count) => [
      [`gives back ${count} characters of CF`, `renvoie ${count} caractères de CF`],
    ],
    form: (count) => (answer) => {
      if (answer["CF"] !== undefined) answer["CF"] = answer["CF"].slice(0, count);
      return answer;
    },
  },
  takesCF: {
    words: (count) => [
      [`takes a CF of ${count} characters`, `accepte un CF de ${count} caractères`],
    ],
  },
  takesCA: {
    words: (count) => [
      [`takes a CA of ${count} character`, `accepte un CA de ${count} caractère`],
    ],
  },
  abandon: {
    words: (code) => [[`abandon: AF ${code}`, `abandon : AF ${code}`]],
    deed: (code) => (next) => (request, outcome, context) => {
      const failure = outcome.failure === ENDINGS.abandon ? code : outcome.failure ?? "";
      return next(request, { ...outcome, failure }, context);
    },
  },
  zeros: {
    words: () => [[
      "abandon: CB of zeros only (as many as the request has digits: our choice)",
      "abandon : CB fait de zéros (autant que la demande a de chiffres : notre choix)",
    ]],
    deed: () =>
      ofPayment((answer, _request, { failure }) => {
        const { CB } = answer;
        if (failure === ENDINGS.abandon && CB) answer["CB"] = CB.replace(/./gs, "0");
        return answer;
      }),
  },
  approvedAF: {
    words: (code) => [
      [`AF ${code} beside AE 10 of a payment`, `AF ${code} à côté d'AE 10 d'un paiement`],
    ],
    deed: (code) => ofApproval((answer) => after(answer, "AE", { AF: code })),
  },
  refusal: {
    words: (detail) => [[
      `refused: with AC, and AF 04 followed by ${detail}`,
      `refus : avec AC, et AF 04 suivi de ${detail}`,
    ]],
    deed: (detail) =>
      ofPayment((answer, request, { failure }, { random }) => {
        if (failure !== ENDINGS.refused || request["CC"] === "00C") return answer;
        const AC = digits(6, random);
        return { ...answer, AC, AF: failure + detail.padEnd(AF_DETAIL) };
      }),
  },
  contract: {
    words: (count) => [[
      `CG of ${count} characters (zeros before it: our choice)`,
      `CG de ${count} caractères (des zéros devant : notre choix)`,
    ]],
    deed: (count) =>
      ofApproval((answer) => {
        const { CG } = answer;
        if (CG !== undefined) answer["CG"] = CG.padStart(count, "0").slice(-count);
        return answer;
      }),
  },
  mask: {
    words: (character) => [[`AA is masked with ${character}`, `AA est masqué par ${character}`]],
    deed: (character) =>
      ofApproval((answer) => {
        const { AA } = answer;
        if (AA !== undefined) answer["AA"] = AA.replaceAll("#", character);
        return answer;
      }),
  },
  AL: {
    words: (value) => [[`AL ${value} with AA`, `AL ${value} avec AA`]],
    deed: (value) => ofApproval((answer) => after(answer, "AA", { AL: value })),
  },
  vendorTags: {
    words: () => [["AP, AQ and ID in answers", "AP, AQ et ID dans les réponses"]],
    deed: () =>
      ofApproval((answer, request, _outcome, { time, random }) => {
        if (request["CC"] === "00C") return answer;
        // Of 13 characters, 2 to 20, and a text (3): the rest of their form is our choice.
        return { ...answer, AP: `${time.getTime()}`, AQ: TERMINAL, ID: digits(12, random) };
      }),
  },
  credits: {
    words: () => [[
      "IM of a credit is the ID of a debit (AF 07 to another is our choice)",
      "IM d'un crédit reprend l'ID du débit (AF 07 si ce débit est inconnu : notre choix)",
    ]],
    deed: (_, { debits }) =>
      notCompleted(({ CD, IM = "" }) => CD === "1" && IM !== "" && !debits.has(IM)),
  },
  cancels: {
    words: () => [[
      "CD 2: of the last debit, for its amount (AF 07 to others is our choice)",
      "CD 2 : du dernier débit, pour son montant (AF 07 aux autres : notre choix)",
    ]],
    deed: () =>
      notCompleted((request, { attempts }) =>
        request["CD"] === "2" && !isLastDebit(request, attempts())
      ),
  },
  atOnce: {
    words: (AE) => [[`BA 1: AE ${AE}`, `BA 1 : AE ${AE}`]],
    deed: (AE) => (next) => (request, outcome, context) => {
      const answer = next(request, outcome, context);
      if (context.isInterim || answer["AE"] !== "11") return answer;
      const cannot = outcome.failure === "07";
      return { ...answer, ...(cannot ? { AE: "01", AF: "07" } : { AE }) };
    },
  },
  status: {
    words: (action) => [[
      `CD ${action} tells how the last transaction ended (its form is our choice)`,
      `CD ${action} dit comment la dernière transaction a fini (sa forme est notre choix)`,
    ]],
    deed: (action) => (next) => (request, outcome, context) => {
      const answer = next(request, outcome, context);
      if (request["CD"] !== action || context.isInterim) return answer;
      const last = context.attempts().at(-1);
      if (!last) return { ...answer, AE: "01", AF: "10" };
      delete answer["AF"];
      return { ...answer, ...resultOf(last.answer) };
    },
  },
  published: {
    words: ({ approval, refusal, formatError }) => [
      [`an approval has ${approval.join(" ")} only`, `un accord n'a que ${approval.join(" ")}`],
      [`a refusal has ${refusal.join(" ")} only`, `un refus n'a que ${refusal.join(" ")}`],
      [`AF 09 comes with ${formatError.join(" ")}`, `AF 09 vient avec ${formatError.join(" ")}`],
    ],
    form: ({ approval, refusal, formatError }) => (answer, request) => {
      const { AE, AF } = answer;
      if (AE === "01" && AF === "09") return ordered(answer, formatError);
      if (!movesMoney(request["CD"]) || AE === "11") return answer; // which no source prints
      return ordered(answer, AE === "10" ? approval : refusal);
    },
  },
  omits: {
    words: (tags) => [[`answers without ${tags.join(" ")}`, `répond sans ${tags.join(" ")}`]],
    form: (tags) => (answer) => {
      for (const tag of tags) delete answer[tag];
      return answer;
    },
  },
  receipt: {
    words: ({ columns, filled, wrap }) => [[
      `receipts of ${columns} columns${filled ? ", filled up with blanks" : ""}, a line feed ${
        wrap < 900 ? `after every ${wrap} characters and ` : ""
      }at the end of AK`,
      `tickets de ${columns} colonnes${
        filled ? ", complétées par des blancs" : ""
      }, saut de ligne ${wrap < 900 ? `tous les ${wrap} caractères et ` : ""}à la fin d'AK`,
    ]],
  },
  failsOn: {
    words: (tags) => [[
      `fails on ${tags.join(" and ")} (AF 09 is our choice)`,
      `échoue sur ${tags.join(" et ")} (AF 09 est notre choix)`,
    ]],
  },
  lacks: {
    words: (actions) => [
      [`AF 12 to CD ${actions.join(" ")}`, `AF 12 à CD ${actions.join(" ")}`],
    ],
  },
  port: {
    words: (port) => [[`listens on port ${port}`, `écoute sur le port ${port}`]],
  },
  busy: {
    words: () => [[
      "busy, it reads no request until it is free: with --exclusive",
      "occupé, il ne lit aucune demande avant d'être libre : avec --exclusive",
    ]],
  },
  screens: {
    words: ({ failed, none }) => [
      [
        `a duplicate of a failure: its screen shows ${failed}`,
        `duplicata d'un échec : son écran affiche ${failed}`,
      ],
      [
        `a duplicate of nothing: its screen shows ${none}`,
        `duplicata sans paiement avant : son écran affiche ${none}`,
      ],
    ],
  },
  notes: { words: (texts) => texts },
};

/** Whether an answer to it tells how money was moved, or why not. */
export function isTold({ CD, BA }: Readonly<Message>, { isInterim }: AnswerContext): boolean {
  return movesMoney(CD) && BA !== "1" && !isInterim;
}

/** Changes an answer; it may be the same message. */
type Change = (
  answer: Message,
  request: Readonly<Message>,
  outcome: Outcome,
  context: AnswerContext,
) => Message;

/** A deed on the answers that tell how money was moved, or why not. */
function ofPayment(change: Change): Deed {
  return (next) => (request, outcome, context) => {
    const answer = next(request, outcome, context);
    return isTold(request, context) ? change(answer, request, outcome, context) : answer;
  };
}

/** A deed on those that tell that it was. */
function ofApproval(change: Change): Deed {
  return ofPayment((answer, ...more) => answer["AE"] === "10" ? change(answer, ...more) : answer);
}

/** A deed that lets payments end with AF 07, which no outcome has failed already. */
function notCompleted(
  isWrong: (request: Readonly<Message>, context: AnswerContext) => boolean,
): Deed {
  return (next) => (request, outcome, context) => {
    if (outcome.failure || !isTold(request, context) || !isWrong(request, context)) {
      return next(request, outcome, context);
    }
    return { ...next(request, { ...outcome, failure: "07" }, context), AF: "07" };
  };
}

/** Whether a cancellation is of the last debit that was approved and is not cancelled yet. */
function isLastDebit(request: Readonly<Message>, attempts: readonly Attempt[]): boolean {
  const approved = attempts.filter(({ answer }) => answer["AE"] === "10");
  const last = approved.findLast(({ request: { CD = "" } }) => ["0", "2", "7"].includes(CD));
  if (!last || last.request["CD"] === "2") return false;
  const [asked, paid] = [request, { ...last.request, ...last.answer }];
  return Number(asked["CB"]) === Number(paid["CB"]) && asked["CE"] === paid["CE"];
}

/** Adds tags behind another, if that is there. */
function after(answer: Message, tag: string, more: Readonly<Message>): Message {
  return Object.fromEntries(
    Object.entries(answer).flatMap((field) =>
      field[0] === tag ? [field, ...Object.entries(more)] : [field]
    ),
  );
}

/** The tags that are there, in an order. */
function ordered(answer: Readonly<Message>, tags: readonly string[]): Message {
  return Object.fromEntries(
    tags.flatMap((tag) => answer[tag] === undefined ? [] : [[tag, answer[tag]]]),
  );
}

/** So many digits, by chance. */
function digits(count: number, random: () => number): string {
  return String(Math.floor(random() * 10 ** count)).padStart(count, "0");
}
