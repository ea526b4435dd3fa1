// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * From what was seen of a case and what the till said to a verdict: a pure function. Its sentence is
 * for the author of the till.
 *
 * @module
 */
import { amountOf, type Case, type Times } from "./exam_cases.ts";
import type { Pair } from "./page/tables.ts";

/** What a till can say: paid, not paid, that it does not know, or nothing since it has crashed. */
export const WORDS = ["paid", "not-paid", "check", "crashed"] as const;
/** See {@linkcode WORDS}. */
export type Word = typeof WORDS[number];

/** Classes of faults, the worst first. */
export const CLASSES = [
  "money-lost",
  "goods-given-away",
  "hangs",
  "gives-up",
  "protocol",
] as const;
/** See {@linkcode CLASSES}. */
export type FaultClass = typeof CLASSES[number];

/** What classes and verdicts are called. */
export const CALLED: Readonly<Record<FaultClass | Verdict["verdict"], Pair>> = {
  "money-lost": ["money lost", "argent perdu"],
  "goods-given-away": ["goods given away", "marchandise donnée"],
  "hangs": ["hangs or crashes", "bloquée ou plantée"],
  "gives-up": ["gives up too soon", "renonce trop tôt"],
  "protocol": ["protocol", "protocole"],
  "passed": ["passed", "réussie"],
  "failed": ["failed", "échouée"],
  "remark": ["remark", "remarque"],
  "not-sat": ["not sat", "non passée"],
};

/** What has come of a case. */
export type Verdict = {
  readonly verdict: "passed" | "failed" | "remark" | "not-sat";
  readonly class?: FaultClass;
  readonly text: Pair;
};

/** What the till said, and how it is known. */
export interface Said {
  /** What it said. */
  readonly word: Word;
  /** Who told: a program, which decides by itself, or perhaps a person. */
  readonly by: "program" | "person";
  /** Whether the connection had been closed before, though the answer had come long ago. */
  readonly isLate?: boolean;
  /** More about a crash, such as a status. */
  readonly how?: Pair;
  /** The last line that it wrote on stderr, which is shown where nothing was asked for. */
  readonly last?: string;
}

/** What was seen of a case. Milliseconds are from the last byte of the request. */
export interface Seen {
  /** Whether a request has chosen the case. */
  readonly isSat: boolean;
  /** Why a request of its amount has not chosen it. */
  readonly whyNot?: Pair;
  /** Whether the answer is yet to come. */
  readonly isOpen?: boolean;
  /** That the till left before all was sent: when, how many bytes of the answer it had, and AE 11. */
  readonly left?: {
    readonly milliseconds: number;
    readonly bytes: number;
    readonly interim?: number;
  };
  /** Whether it was still there when the time of the case was up. */
  readonly hasStayed?: boolean;
  /** Further payments of the same amount that were approved. */
  readonly again: number;
  /** Whether one of them was made by a program, without a person. */
  readonly isByItself?: boolean;
  /** Duplicates (CD 3) that told of the payment. */
  readonly duplicates: number;
  /** Cancellations (CD 2) that were done. */
  readonly cancelled: number;
  /** What the till said, if that is known. */
  readonly said?: Said;
}

/** Something that a verdict may be about; a remark has no class. */
type Finding = { readonly class?: FaultClass; readonly text: Pair };

/** Joins pairs. */
function join(parts: readonly Pair[], by: Pair): Pair {
  return [parts.map(([en]) => en).join(by[0]), parts.map(([, fr]) => fr).join(by[1])];
}

/** A sentence: what happened, and what to do. */
function sentence(what: Pair, mend: Pair): Pair {
  return [`${what[0]}: ${mend[0]}`, `${what[1]} : ${mend[1]}`];
}

/** A number as it is written in French. */
function inFrench(text: string): string {
  return text.replace(".", ",");
}

/** Seconds with a digit after the point, or milliseconds where they are few. */
function duration(milliseconds: number): Pair {
  if (milliseconds < 1000) return [`${milliseconds} ms`, `${milliseconds} ms`];
  const text = (Math.floor(milliseconds / 100) / 10).toFixed(1); // not 60.0 before 60 s
  return [`${text} s`, `${inFrench(text)} s`];
}

const SAYS: Readonly<Record<Word, Pair>> = {
  "paid": ["your till says paid", "votre caisse dit payé"],
  "not-paid": ["your till says not paid", "votre caisse dit non payé"],
  "check": ["your till does not know", "votre caisse ne sait pas"],
  "crashed": ["your till crashed", "votre caisse a planté"],
};

/** What a till says, with the line that it wrote, if it did. */
function behind([en, fr]: Pair, line: string | undefined): Pair {
  return line === undefined ? [en, fr] : [`${en} (${line})`, `${fr} (${line})`];
}

/** What the money of a case has come to, in words. */
const MONEY: Readonly<Record<Case["truth"], Pair>> = {
  "paid": ["the answer was AE 10, paid", "la réponse était AE 10, payé"],
  "not-paid": ["the answer was AE 01, not paid", "la réponse était AE 01, non payé"],
  "part": ["AE 10 came with CB 500: 5.00 was paid", "AE 10 avec CB 500 : 5,00 ont été payés"],
  "unclear": ["AE 10 came with CE 840", "AE 10 est venu avec CE 840"],
  "lost": ["the payment went through", "le paiement a abouti"],
};

/** How it left before all was sent. */
function leftText({ milliseconds, bytes, interim }: NonNullable<Seen["left"]>): Pair {
  if (bytes > 0) {
    return [
      `you closed after ${bytes} bytes of the answer`,
      `vous avez fermé après ${bytes} octets de la réponse`,
    ];
  }
  const [en, fr] = duration(milliseconds - (interim ?? 0));
  if (interim !== undefined) {
    return [`you closed ${en} after AE 11`, `vous avez fermé ${fr} après AE 11`];
  }
  return [`you gave up after ${en}`, `vous avez renoncé après ${fr}`];
}

/** Payments that have been made and not taken back. */
function netOf(one: Case, { again, cancelled }: Seen): number {
  const first = one.truth === "not-paid" ? 0 : 1;
  return Math.max(0, first + again - cancelled);
}

/** What a till does wrong by paying again. */
function paidAgain(one: Case, seen: Seen): Finding | undefined {
  const { again, isByItself, cancelled } = seen;
  if (again === 0 || one.truth === "not-paid") return undefined;
  const what: Pair = [
    `${one.amount} was paid ${again === 1 ? "twice" : `${again + 1} times`}${
      cancelled > 0 ? ", and taken back" : ""
    }`,
    `${inFrench(one.amount)} a été payé ${again + 1} fois${cancelled > 0 ? ", puis annulé" : ""}`,
  ];
  const isLost = netOf(one, seen) > 1;
  if (isByItself && isLost) {
    const mend: Pair = [
      "never pay again without asking for the duplicate (CD 3) first",
      "ne repayez jamais sans demander d'abord le duplicata (CD 3)",
    ];
    return { class: "money-lost", text: sentence(what, mend) };
  }
  const mend: Pair = isByItself
    ? ["ask for the duplicate (CD 3) instead", "demandez plutôt le duplicata (CD 3)"]
    : [
      "if your till did it by itself, and no cashier, the customer has paid twice",
      "si votre caisse l'a fait d'elle-même, sans caissier, le client a payé deux fois",
    ];
  return { text: sentence(what, mend) };
}

/** How much of the patience is enough: a till's clock begins before its request is here (our choice). */
const EARLY = 0.95;

/** What is wrong with what the wire shows; its class without what the till says. */
function wireFault(one: Case, seen: Seen, times: Times): Finding | undefined {
  const { left, hasStayed, said } = seen;
  const isSilent = one.name === "silent";
  if (isSilent && hasStayed) {
    return {
      class: "hangs",
      text: [
        `after ${times.silent} s without an answer you were still waiting`,
        `après ${inFrench(String(times.silent))} s sans réponse vous attendiez encore`,
      ],
    };
  }
  if (one.truth === "lost") {
    const least = 1000 * times.patience * EARLY;
    if (!isSilent || !left || left.milliseconds >= least) return undefined;
    return { class: "gives-up", text: leftText(left) };
  }
  if (!left) return undefined;
  const isResult = left.bytes > 0 || left.interim !== undefined;
  const isLost = isResult && one.truth !== "not-paid" && said === undefined;
  return { class: isLost ? "money-lost" : "gives-up", text: leftText(left) };
}

/** Which class of fault a word is, held against the truth. */
function wordFault(one: Case, seen: Seen): FaultClass | undefined {
  const { word } = seen.said ?? {};
  const isTakenBack = seen.cancelled > 0 && netOf(one, seen) === 0;
  switch (word) {
    case undefined:
      return undefined;
    case "crashed":
      return "hangs";
    case "paid":
      if (isTakenBack || one.truth === "not-paid") return "goods-given-away";
      return one.truth === "part" || one.truth === "unclear" ? "goods-given-away" : undefined;
    case "not-paid":
      if (isTakenBack || one.truth === "not-paid" || one.truth === "unclear") return undefined;
      return "money-lost";
    case "check":
      return one.truth === "paid" || one.truth === "not-paid" ? "gives-up" : undefined;
  }
}

/** What to do about a till that waits for ever. */
const GIVE_UP: Pair = [
  "give up after 180 s, and then ask for the duplicate (CD 3)",
  "renoncez après 180 s, et demandez alors le duplicata (CD 3)",
];
const WAIT: Pair = [
  "a person needs 10 to 60 s to pay, wait for 180",
  "une personne met 10 à 60 s pour payer, attendez 180 s",
];

/** What is wrong with what the till says, in the light of what the wire shows. */
function saidWrong(one: Case, seen: Seen, wire: Finding | undefined): Finding | undefined {
  const { said } = seen;
  const fault = wordFault(one, seen);
  if (!said || !fault) return undefined;
  const isTakenBack = seen.cancelled > 0 && netOf(one, seen) === 0;
  const before: Pair = isTakenBack
    ? ["the payment was taken back (CD 2)", "le paiement a été annulé (CD 2)"]
    : wire?.text ?? MONEY[one.truth];
  const what = join([before, said.how ?? SAYS[said.word]], [", and ", ", et "]);
  return { class: fault, text: sentence(what, one.mend) };
}

/** What a till that passes may still be told. */
function remarkOf(one: Case, { said, duplicates }: Seen): Finding | undefined {
  if (one.truth !== "lost" || said?.word !== "paid" || duplicates > 0) return undefined;
  const what: Pair = one.name === "cut"
    ? [
      "your till says paid on an answer that was cut, AE 10, CB and CE whole in it",
      "votre caisse dit payé sur une réponse coupée, où AE 10, CB et CE sont entiers",
    ]
    : [
      "your till says paid, and there was no answer",
      "votre caisse dit payé, et il n'y avait pas de réponse",
    ];
  const mend: Pair = [
    "that is true here, but ask for the duplicate (CD 3) to know it",
    "c'est vrai ici, mais demandez le duplicata (CD 3) pour le savoir",
  ];
  return { text: sentence(what, mend) };
}

/** What a till did right. */
function praise(one: Case, { said, duplicates, cancelled }: Seen): Pair {
  const parts: Pair[] = [];
  if (one.truth === "lost" && duplicates > 0) {
    parts.push(["asked for the duplicate (CD 3)", "a demandé le duplicata (CD 3)"]);
  }
  if (cancelled > 0) parts.push(["took the payment back (CD 2)", "a annulé le paiement (CD 2)"]);
  const says: Readonly<Record<string, Pair>> = {
    "paid": ["says paid", "dit payé"],
    "not-paid": ["says not paid", "dit non payé"],
    "check": ["says that it does not know", "dit qu'elle ne sait pas"],
  };
  parts.push(
    says[said?.word ?? ""] ??
      [
        "right as far as the wire tells: what the till says is not known",
        "juste, d'après la ligne seule : on ne sait pas ce que dit la caisse",
      ],
  );
  return join(parts, [", ", ", "]);
}

/** The verdict on one that no request has chosen. */
function notSat(one: Case, { said, whyNot }: Seen): Verdict {
  const amount = amountOf(one);
  if (whyNot) return { verdict: "not-sat", text: whyNot };
  if (!said || said.by !== "program" || one.isOptional) {
    const cheque: Pair = one.kind === "cheque" ? [" by cheque", " par chèque"] : ["", ""];
    return {
      verdict: "not-sat",
      text: [`pay ${amount}${cheque[0]}`, `payez ${inFrench(amount)}${cheque[1]}`],
    };
  }
  const what = join([
    [
      `no payment of ${amount} was asked for`,
      `aucun paiement de ${inFrench(amount)} n'a été demandé`,
    ],
    said.how ?? behind(SAYS[said.word], said.last),
  ], [", and ", ", et "]);
  const isGiven = said.word === "paid";
  const mend: Pair = isGiven ? ["say paid after AE 10 only", "ne dites payé qu'après AE 10"] : [
    "look at the command, its address, port and amount",
    "regardez la commande, son adresse, son port et son montant",
  ];
  return {
    verdict: "failed",
    class: isGiven ? "goods-given-away" : "hangs",
    text: sentence(what, mend),
  };
}

/** Judges a case. */
export function judge(one: Case, seen: Seen, times: Times): Verdict {
  if (!seen.isSat) return notSat(one, seen);
  const { said } = seen;
  const wire = wireFault(one, seen, times);
  if (seen.isOpen && !said && !wire) {
    return { verdict: "not-sat", text: ["under way", "en cours"] };
  }
  const findings: Finding[] = [];
  const again = paidAgain(one, seen);
  if (again) findings.push(again);
  const wrong = saidWrong(one, seen, wire);
  if (wrong) findings.push(wrong);
  if (wire) {
    const mend = one.name !== "silent" ? one.mend : wire.class === "hangs" ? GIVE_UP : WAIT;
    findings.push({ ...wire, text: sentence(wire.text, mend) });
  }
  if (said?.isLate) {
    const what: Pair = [
      "it said so only when the terminal had closed the connection",
      "elle ne l'a dit que lorsque le terminal avait fermé la connexion",
    ];
    findings.push({ class: "hangs", text: sentence(what, one.mend) });
  }
  const rank = ({ class: of }: Finding): number => of ? CLASSES.indexOf(of) : CLASSES.length;
  const [worst] = findings.toSorted((one, other) => rank(one) - rank(other));
  if (worst?.class) return { verdict: "failed", class: worst.class, text: worst.text };
  const remark = worst ?? remarkOf(one, seen);
  if (remark) return { verdict: "remark", text: remark.text };
  return { verdict: "passed", text: praise(one, seen) };
}
