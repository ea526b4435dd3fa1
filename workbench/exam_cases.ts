// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The cases of the examination as data: the amount that chooses each, what the terminal does, what
 * has become of the money, what a right till does, and what to mend in one that does not.
 *
 * A number in brackets is a source of docs/PROTOCOL.md. Amounts and pauses are our choice. To add a
 * case is one entry here, a test, and a row of docs/REFERENCE.md.
 *
 * @module
 */
import { cutFields, encodeReceipt, type Message } from "../protocol.ts";
import { type Clock, type Fault, type Outcome, sendSegments, type Wire } from "../server.ts";
import type { Pair } from "./page/tables.ts";

/** How long things take, in seconds. */
export interface Times {
  /** Until `slow` is answered: a person needs 10 to 60 s. (1) */
  readonly slow: number;
  /** Least that a till must wait in `silent`. */
  readonly patience: number;
  /** Until `silent` ends: a till that is still there waits for ever. POS wait up to 180 s. (1) */
  readonly silent: number;
  /** From AE 11 to the answer. */
  readonly interim: number;
  /** From the answer to the close of the connection. */
  readonly close: number;
  /** The same in `kept-open`. */
  readonly hold: number;
  /** Until `reset` resets the connection. */
  readonly work: number;
}

/** See {@linkcode Times}; all are our choice. */
export const TIMES: Times = {
  slow: 45,
  patience: 60,
  silent: 200,
  interim: 2,
  close: 1,
  hold: 10,
  work: 0.2,
};

/**
 * What has become of the money: it is `paid`, `not-paid`, paid in `part`, `unclear`, or `lost`: paid,
 * and the answer that would tell it does not arrive.
 */
export type Truth = "paid" | "not-paid" | "part" | "unclear" | "lost";

/** What a till is asked for: a debit, a credit, or a debit by cheque. */
export type Kind = "debit" | "credit" | "cheque";

/** What a case knows of its request. */
export type Sat = {
  readonly request: Readonly<Message>;
  readonly times: Times;
  /** Aborted when the till has gone. */
  readonly gone: AbortSignal;
};

/** A case. In its texts `{slow}` is that time. */
export interface Case {
  /** Its name. */
  readonly name: string;
  /** The amount that chooses it, as people write it; of a credit without a sign. */
  readonly amount: string;
  /** What is asked for. */
  readonly kind: Kind;
  /** What has become of the money. */
  readonly truth: Truth;
  /** Where the terminal's behaviour is known from. */
  readonly source: string;
  /** What the terminal does. */
  readonly does: Pair;
  /** What a right till does. */
  readonly right: Pair;
  /** What to do about a till that does not. */
  readonly mend: Pair;
  /** How it ends. */
  readonly outcome: (sat: Sat) => Outcome;
  /** Whether the connection stays open for long after the answer. */
  readonly isKept?: true;
  /** Whether tills need not have it. */
  readonly isOptional?: true;
}

/** A fault that is made for one case. */
function fault(send: (answer: string, wire: Wire, clock: Clock) => unknown): Fault {
  return { help: "as the case says", send };
}

/** Where a field of a message ends; at its end if there is none. */
function endOf(raw: string, wanted: string): number {
  const at = cutFields(raw).fields.find(({ tag }) => tag === wanted);
  return at ? at.at + 5 + at.value.length : raw.length;
}

/** The answer with its fields in another order: CZ first, then the others from the last to the first. */
function reordered(raw: string): string {
  const { fields } = cutFields(raw);
  const texts = fields.map(({ at, value }) => raw.slice(at, at + 5 + value.length));
  const isReceipt = (text: string): boolean => text.startsWith("ZT");
  const [first = "", ...others] = texts;
  const plain = others.filter((text) => !isReceipt(text)).reverse();
  return [first, ...plain, ...others.filter(isReceipt)].join("");
}

/** A receipt whose base64 ends in a line feed, as published ones do. (2)(3)(9) */
const RECEIPT: string = encodeReceipt(
  { copy: "customer", format: "text", text: "CARTE BANCAIRE\nMONTANT 10,11 EUR\nDEBIT\n" },
  76,
);

/** Nothing, until the till goes or the time is up, when the connection is closed. */
function silence({ times, gone }: Sat): Fault {
  return fault(async (_answer, wire, clock) => {
    const until = AbortSignal.any([gone, wire.ended]);
    await clock.sleep(1000 * times.silent, until).catch(() => {});
    wire.end();
  });
}

/** What to do when an answer is lost. */
const ASK: Pair = [
  "a lost answer is not a refusal: say that it is not known, or ask for the duplicate (CD 3); never pay again by yourself",
  "une réponse perdue n'est pas un refus : dites que l'issue est inconnue, ou demandez le duplicata (CD 3) ; ne repayez jamais de vous-même",
];
/** What a right till then does. */
const UNSURE: Pair = [
  'says "check", asks for the duplicate (CD 3), or both; never pays again by itself',
  "dit « à vérifier », demande le duplicata (CD 3), ou les deux ; ne repaie jamais d'elle-même",
];
const PAID: Pair = ["says paid", "dit payé"];
const NOT_PAID: Pair = ["says not paid", "dit non payé"];
const READS_ON: Pair = ["reads on", "continue de lire"];
const INTERIM: Pair = [
  "AE 11 is not the result, read on until AE 10 or AE 01",
  "AE 11 n'est pas le résultat, lisez jusqu'à AE 10 ou AE 01",
];

/** The cases, in the order in which a command sits them. */
export const CASES: readonly Case[] = [
  {
    name: "approved",
    amount: "10.01",
    kind: "debit",
    truth: "paid",
    source: "(1)",
    does: ["AE 10 at once", "AE 10 aussitôt"],
    right: PAID,
    mend: ["AE 10 is paid", "AE 10, c'est payé"],
    outcome: () => ({}),
  },
  {
    name: "refused",
    amount: "10.02",
    kind: "debit",
    truth: "not-paid",
    source: "(2)",
    does: ["AE 01, AF 04", "AE 01, AF 04"],
    right: NOT_PAID,
    mend: ["AE 01 is not paid, AF says why", "AE 01, ce n'est pas payé ; AF dit pourquoi"],
    outcome: () => ({ failure: "04" }),
  },
  {
    name: "red-button",
    amount: "10.03",
    kind: "debit",
    truth: "not-paid",
    source: "(5)",
    does: [
      "as an Ingenico Desk/5000: CZ and CJ of its own, CB of zeros, AE 01, AF 11",
      "comme un Ingenico Desk/5000 : CZ et CJ à lui, CB de zéros, AE 01, AF 11",
    ],
    right: ["says not paid, does not crash", "dit non payé, ne plante pas"],
    mend: [
      "AE 01 is not paid; a CB of zeros is no error, and CZ and CJ are the terminal's own",
      "AE 01, ce n'est pas payé ; CB de zéros n'est pas une erreur, CZ et CJ sont ceux du terminal",
    ],
    outcome: ({ request: { CB = "" } }) => ({
      failure: "11",
      tags: { CZ: "0301", CJ: "330538600404", CB: CB.replace(/./g, "0") },
    }),
  },
  {
    name: "slow",
    amount: "10.04",
    kind: "debit",
    truth: "paid",
    source: "(1)",
    does: ["answers after {slow} s", "répond après {slow} s"],
    right: [
      "is still there: a person needs 10 to 60 s",
      "est encore là : une personne met 10 à 60 s",
    ],
    mend: [
      "a person needs 10 to 60 s to pay, wait for 180",
      "une personne met 10 à 60 s pour payer, attendez 180 s",
    ],
    outcome: ({ times }) => ({ delay: times.slow }),
  },
  {
    name: "split",
    amount: "10.05",
    kind: "debit",
    truth: "paid",
    source: "(5)",
    does: [
      "segments 250 ms apart, cut in a tag, a length and a value",
      "segments à 250 ms d'écart, coupés dans un champ, une longueur et une valeur",
    ],
    right: READS_ON,
    mend: [
      "read on until the last field is whole: one read need not give all of the answer",
      "lisez jusqu'à ce que le dernier champ soit entier : une lecture ne donne pas toujours toute la réponse",
    ],
    outcome: () => ({ fault: "split" }),
  },
  {
    name: "between-fields",
    amount: "10.06",
    kind: "debit",
    truth: "paid",
    source: "(5)",
    does: [
      "the second half, after AE, comes 250 ms later",
      "la seconde moitié, après AE, vient 250 ms plus tard",
    ],
    right: READS_ON,
    mend: [
      "read on for at least 300 ms after whole fields: the answer may go on",
      "lisez encore au moins 300 ms après des champs entiers : la réponse peut continuer",
    ],
    outcome: () => ({
      fault: fault((answer, wire, clock) => {
        const at = endOf(answer, "AE");
        return sendSegments([answer.slice(0, at), answer.slice(at)], 250, wire, clock);
      }),
    }),
  },
  {
    name: "interim",
    amount: "10.07",
    kind: "debit",
    truth: "paid",
    source: "(4)",
    does: ["AE 11, after {interim} s AE 10", "AE 11, après {interim} s AE 10"],
    right: READS_ON,
    mend: INTERIM,
    outcome: ({ times }) => ({ pending: true, delay: times.interim }),
  },
  {
    name: "interim-refused",
    amount: "10.08",
    kind: "debit",
    truth: "not-paid",
    source: "(4)",
    does: ["AE 11, after {interim} s AE 01", "AE 11, après {interim} s AE 01"],
    right: READS_ON,
    mend: INTERIM,
    outcome: ({ times }) => ({ failure: "04", pending: true, delay: times.interim }),
  },
  {
    name: "padded",
    amount: "10.09",
    kind: "debit",
    truth: "paid",
    source: "(5)",
    does: ["CB of 12 digits, with zeros before it", "CB de 12 chiffres, complété par des zéros"],
    right: ["takes it as 10.09", "le prend pour 10,09"],
    mend: [
      "read CB as a number: 000000001009 is 10.09",
      "lisez CB comme un nombre : 000000001009, c'est 10,09",
    ],
    outcome: () => ({ padded: true }),
  },
  {
    name: "own-identity",
    amount: "10.10",
    kind: "debit",
    truth: "paid",
    source: "(2)(5)",
    does: ["CZ 0320 and a CJ of its own", "CZ 0320 et un CJ à lui"],
    right: PAID,
    mend: [
      "CZ and CJ of an answer are the terminal's own, they need not be yours",
      "CZ et CJ d'une réponse sont ceux du terminal, pas forcément les vôtres",
    ],
    outcome: () => ({ tags: { CZ: "0320", CJ: "999999999999" } }),
  },
  {
    name: "more-tags",
    amount: "10.11",
    kind: "debit",
    truth: "paid",
    source: "(2)(3)(9)",
    does: [
      "a tag that no POS knows, a ZT that ends in a line feed, fields in another order",
      "un champ qu'aucune caisse ne connaît, un ZT qui finit par un saut de ligne, un autre ordre",
    ],
    right: PAID,
    mend: [
      "go from field to field by their lengths, and skip what you do not know",
      "avancez de champ en champ par leur longueur, et sautez ce que vous ne connaissez pas",
    ],
    // A tag that no source has: vendors have tags of their own. (2)(3)
    outcome: () => ({
      tags: { QX: "1", ZT: RECEIPT },
      fault: fault((answer, wire) => wire.send(reordered(answer))),
    }),
  },
  {
    name: "authorised",
    amount: "10.12",
    kind: "debit",
    truth: "paid",
    source: "(3)",
    does: ["AF 01 beside AE 10", "AF 01 à côté de AE 10"],
    right: PAID,
    mend: [
      "AE tells the result; AF 01 beside AE 10 is authorised",
      "c'est AE qui dit le résultat ; AF 01 à côté de AE 10 veut dire autorisé",
    ],
    outcome: () => ({ tags: { AF: "01" } }),
  },
  {
    name: "hangup",
    amount: "10.13",
    kind: "debit",
    truth: "paid",
    source: "(4)",
    does: ["closes right after the answer", "ferme juste après la réponse"],
    right: PAID,
    mend: [
      "what came before the close is the answer",
      "ce qui est venu avant la fermeture est la réponse",
    ],
    outcome: () => ({ hangup: true }),
  },
  {
    name: "kept-open",
    amount: "10.14",
    kind: "debit",
    truth: "paid",
    source: "(1)(5)",
    does: [
      "leaves the connection open for {hold} s; in all other cases it closes {close} s after its answer",
      "laisse la connexion ouverte {hold} s ; dans les autres épreuves il ferme {close} s après sa réponse",
    ],
    right: ["says paid before it closes", "dit payé avant qu'il ne ferme"],
    mend: [
      "do not wait for the close: an answer with all its fields is whole",
      "n'attendez pas la fermeture : une réponse qui a tous ses champs est entière",
    ],
    outcome: () => ({}),
    isKept: true,
  },
  {
    name: "lost",
    amount: "10.15",
    kind: "debit",
    truth: "lost",
    source: "(4)",
    does: ["closes without an answer", "ferme sans répondre"],
    right: UNSURE,
    mend: ASK,
    outcome: () => ({ fault: "close" }),
  },
  {
    name: "cut",
    amount: "10.16",
    kind: "debit",
    truth: "lost",
    source: "(4)",
    does: [
      "cut inside the last field, then closed",
      "réponse coupée dans le dernier champ, puis connexion fermée",
    ],
    right: UNSURE,
    mend: ASK,
    outcome: () => ({ fault: "truncate" }),
  },
  {
    name: "garbage",
    amount: "10.17",
    kind: "debit",
    truth: "lost",
    source: "(4)",
    does: [
      "bytes that are no message, then closed",
      "des octets qui ne sont pas un message, puis connexion fermée",
    ],
    right: UNSURE,
    mend: ASK,
    outcome: () => ({
      fault: fault((_answer, wire) => {
        wire.send("\x00\xff?!garbage\r\n");
        wire.end();
      }),
    }),
  },
  {
    name: "silent",
    amount: "10.18",
    kind: "debit",
    truth: "lost",
    source: "(4)",
    does: ["nothing, the connection stays", "rien, la connexion reste"],
    right: [
      'gives up, not before {patience} s and before {silent} s; then says "check", asks for the duplicate (CD 3), or both',
      "renonce, pas avant {patience} s et avant {silent} s ; puis dit « à vérifier », demande le duplicata (CD 3), ou les deux",
    ],
    mend: ASK,
    outcome: (sat) => ({ fault: silence(sat) }),
  },
  {
    name: "busy",
    amount: "10.19",
    kind: "debit",
    truth: "not-paid",
    source: "(3)",
    does: ["AE 01, AF 07", "AE 01, AF 07"],
    right: NOT_PAID,
    mend: ["AE 01 is not paid, AF says why", "AE 01, ce n'est pas payé ; AF dit pourquoi"],
    outcome: () => ({ failure: "07" }),
  },
  {
    name: "partial",
    amount: "10.20",
    kind: "debit",
    truth: "part",
    source: "(5)",
    does: [
      "AE 10 with CB 500 though BF was not sent",
      "AE 10 avec CB 500, sans que BF soit demandé",
    ],
    right: ["does not say that 10.20 is paid", "ne dit pas que 10,20 sont payés"],
    mend: [
      "hold CB of the answer against the amount that was asked for",
      "comparez CB de la réponse au montant demandé",
    ],
    outcome: () => ({ tags: { CB: "500" } }),
  },
  {
    name: "currency",
    amount: "10.21",
    kind: "debit",
    truth: "unclear",
    source: "(1)",
    does: ["AE 10 with CE 840", "AE 10 avec CE 840"],
    right: ["does not say that 10.21 EUR is paid", "ne dit pas que 10,21 EUR sont payés"],
    mend: [
      "hold CE of the answer against the currency asked for",
      "comparez CE de la réponse à la devise demandée",
    ],
    outcome: () => ({ tags: { CE: "840" } }),
  },
  {
    name: "reset",
    amount: "10.23",
    kind: "debit",
    truth: "lost",
    source: "(4)",
    does: ["resets the connection while it works", "rompt la connexion pendant son travail"],
    right: UNSURE,
    mend: ASK,
    outcome: ({ times }) => ({ fault: "reset", delay: times.work }),
  },
  {
    name: "refund",
    amount: "10.01",
    kind: "credit",
    truth: "paid",
    source: "(1)",
    does: ["AE 10 at once", "AE 10 aussitôt"],
    right: ["says paid, where it has refunds", "dit payé, si elle a les remboursements"],
    mend: ["AE 10 is paid back", "AE 10, c'est remboursé"],
    outcome: () => ({}),
    isOptional: true,
  },
  {
    name: "cheque",
    amount: "10.22",
    kind: "cheque",
    truth: "paid",
    source: "(1)",
    does: ["AE 10 without card data", "AE 10 sans données de carte"],
    right: ["says paid, where it has cheques", "dit payé, si elle a les chèques"],
    mend: [
      "AE 10 is paid: for a cheque there is no card data",
      "AE 10, c'est payé : pour un chèque il n'y a pas de données de carte",
    ],
    outcome: () => ({}),
    isOptional: true,
  },
];

/** The name of what all requests are held against: what the protocol does not want of them. */
export const SENDS = "sends";

/** What all requests are held against, in words. */
export const SENDS_WORDS: { readonly does: Pair; readonly right: Pair } = {
  does: ["reads all that is sent to it", "lit tout ce qu'on lui envoie"],
  right: ["sends what the protocol wants", "envoie ce que le protocole demande"],
};

/** All names that can be chosen. */
export const NAMES: readonly string[] = [...CASES.map(({ name }) => name), SENDS];

/** The amount of a case as people write it: a refund has a sign. */
export function amountOf({ amount, kind }: Case): string {
  return kind === "credit" ? `-${amount}` : amount;
}

/** An amount in minor units, without zeros before it. */
export function unitsOf(amount: string): string {
  return amount.replace(/\D/g, "").replace(/^0+/, "");
}

/** A text of a case with the times in it. */
export function fill([english, french]: Pair, times: Times): Pair {
  const put = (text: string, comma: string): string =>
    text.replace(/\{(\w+)\}/g, (all, name: string) => {
      const value = Object.hasOwn(times, name) ? times[name as keyof Times] : undefined;
      return value === undefined ? all : String(value).replace(".", comma);
    });
  return [put(english, "."), put(french, ",")];
}

/** What a request is about, if its amount can choose a case. */
export function kindOf({ CD, CC }: Readonly<Message>): Kind | undefined {
  if (CD === "0") return CC === "00C" ? "cheque" : "debit";
  return CD === "1" ? "credit" : undefined;
}

/** The case that a request chooses, among those that are sat. */
export function caseOf(
  request: Readonly<Message>,
  cases: readonly Case[] = CASES,
): Case | undefined {
  const kind = kindOf(request);
  const units = (request["CB"] ?? "").replace(/^0+/, "");
  return cases.find((one) => one.kind === kind && unitsOf(one.amount) === units);
}
