// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The receipts of a simulated terminal: a layer around {@linkcode Answer} that adds what CK asks
 * for. They have what those of real terminals have, in French like them. (2)(3) What differs is our
 * choice, and the first line says that they are worth nothing.
 *
 * @module
 */
import {
  encodeReceipt,
  meaning,
  type Message,
  moneyText,
  movesMoney,
  printable,
  type Receipt,
  wantedReceipt,
} from "../protocol.ts";
import { type Answer, askedFor, type Attempt, type Card, CARDS } from "../server.ts";

/** How a terminal lays out its receipts. */
export interface Layout {
  /** Characters of a line. */
  readonly columns: number;
  /** Whether lines are filled up with blanks. */
  readonly filled?: boolean;
  /** Characters of AK after which, and at its end, a line feed stands; 0: there is none. */
  readonly wrap: number;
}

/** What a receipt says of the brand of a card. */
type Brand = { readonly scheme: string; readonly label: string };

const CB: Brand = { scheme: "CARTE BANCAIRE", label: "CB" };
const AMEX: Brand = { scheme: "AMERICAN EXPRESS", label: "AMEX" };
const CONECS: Brand = { scheme: "CONECS", label: "TITRE RESTAURANT" };

/** The brands of the cards. A card without one goes by the name of its application. */
const BRANDS: { readonly [Name in Card]?: Brand } = {
  cbcontact: CB,
  cbcontactless: CB,
  amexcontact: AMEX,
  amexcontactless: AMEX,
  conecscontact: CONECS,
  conecscontactless: CONECS,
  ancv: { scheme: "ANCV", label: "CHEQUE VACANCES" },
};

/** The layout of the reference: a text of about 24 columns. (2)(3) */
const LAYOUT: Layout = { columns: 24, wrap: 0 };
/** The number of the terminal. */
export const TERMINAL = "00000001";
/** Lines of a receipt that fit into AK when they are filled up: 50 columns are the most. (3) */
const FILLED_LINES = 12;

/**
 * Adds the receipt that CK asks for, if any, to the answers that tell how money was moved; a
 * duplicate has one even where CK asks for none (our choice).
 */
export function withReceipt(next: Answer, layout: Layout = LAYOUT): Answer {
  return (request, outcome, context) => {
    const answer = next(request, outcome, context);
    const { CD: action, CK = "", BA } = request;
    if (context.isInterim || BA === "1" || outcome.tags?.["ZT"] !== undefined) return answer;
    if (movesMoney(action)) {
      const receipt = receiptOf(CK, answer, context.time, layout);
      if (receipt !== undefined) answer["ZT"] = receipt;
    } else if (action === "3" && !outcome.failure) {
      const last = context.attempts().at(-1);
      const receipt = last && duplicate(CK || "100", last, context.sellerContract, layout);
      if (receipt !== undefined) answer["ZT"] = receipt;
    }
    return answer;
  };
}

/** The duplicate of the receipt of an approval, with the time of the payment. */
function duplicate(
  ck: string,
  { answer, time }: Attempt,
  sellerContract: string,
  layout: Layout,
): string | undefined {
  if (answer["AE"] !== "10") return undefined;
  const card = cardOf(answer)?.[1];
  // What a terminal keeps out of its answers stands on its receipts all the same.
  const known = card && { CI: card.CI, AI: card.AI, CG: sellerContract };
  return receiptOf(ck, { ...known, ...answer }, time, layout, true);
}

/** The card of an application, with its name. */
function cardOf({ CC }: Readonly<Message>) {
  return Object.entries(CARDS).find(([, card]) => card.CC === CC);
}

function two(number: number): string {
  return String(number).padStart(2, "0");
}

/** The amount of a message as a person in France reads it. */
function amountText(message: Readonly<Message>): string {
  const { CB = "", CE = "" } = message;
  return moneyText(message)?.replace(".", ",") ?? `${CB} ${CE}`;
}

/** ZT for an answer; undefined when no receipt is wanted. */
function receiptOf(
  ck: string,
  answer: Readonly<Message>,
  time: Date,
  layout: Layout,
  isDuplicate = false,
): string | undefined {
  const wanted = wantedReceipt(ck);
  if (!wanted) return undefined;
  // Of both, the one that fits into one ZT.
  const copy = wanted.copy === "merchant" ? "merchant" : "customer";
  const { format } = wanted;
  const text = linesOf(answer, time, copy, layout, isDuplicate).join("\n");
  // Escaped they would not fit into AK.
  const html = `<pre>${text.replace(/[<&]/g, " ")}</pre>`;
  return encodeReceipt({ copy, format, text: format === "html" ? html : text }, layout.wrap);
}

/** The lines of a receipt; which go where AK has no room for all is our choice. */
function linesOf(
  answer: Readonly<Message>,
  time: Date,
  copy: Receipt["copy"],
  { columns, filled = false }: Layout,
  isDuplicate: boolean,
): string[] {
  const [name] = cardOf(answer) ?? [];
  const brand = name === undefined ? undefined : BRANDS[name as Card];
  const done = answer["AE"] === "10";
  const date = [time.getDate(), time.getMonth() + 1, time.getFullYear() % 100].map(two).join("/");
  const [merchant, number] = ["COMMERCE SIMULE", `TERMINAL ${TERMINAL}`];
  const lines = [
    "SIMULATION SANS VALEUR",
    isDuplicate && "DUPLICATA",
    brand?.scheme ?? (answer["CC"] === "00C" && "CHEQUE"),
    !brand && meaning("CC", askedFor(answer))?.french.toUpperCase(),
    meaning("CI", answer["CI"])?.french.toUpperCase(),
    answer["AI"],
    brand?.label,
    `LE ${date} A ${time.toTimeString().slice(0, 8)}`,
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
  while (filled && printed.length > FILLED_LINES) {
    const spare = [brand?.label, number, merchant].find((line) => line && printed.includes(line));
    printed.splice(spare === undefined ? 1 : printed.indexOf(spare), 1);
  }
  return printed.map((line) => line.slice(0, columns).padEnd(filled ? columns : 0));
}
