// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Which outcome a request gets by rules: by its amount, else the next that is queued for its cash
 * register, else the next that is queued for any. Where no rule says anything, somebody else decides.
 *
 * @module
 */
import { type Message, OptionError } from "../protocol.ts";
import { formatOutcome, type Outcome, type OutcomeOrText, toOutcome } from "../server.ts";

/** Outcomes by amount: CB without leading zeros, or "*" and its last digits. */
export type When = Readonly<Record<string, OutcomeOrText>>;

/** Reads an outcome: it may refuse some. `option` is what an error calls it. */
export type ReadOutcome = (given: OutcomeOrText, option: string) => Outcome;

/** An outcome for one transaction, of one cash register (CA) or of any. */
export interface Queued {
  /** How it ends. */
  readonly outcome: Outcome;
  /** The cash register. Default: any. */
  readonly register?: string;
}

/** What a rule says of a request. */
export interface Found {
  /** How it ends. */
  readonly outcome: Outcome;
  /** The rule: "next", or "when" and the amount as it was given, such as "when *01". */
  readonly by: string;
}

/** An outcome for an amount. */
type Rule = { readonly given: string; readonly amount: string; readonly outcome: Outcome };

/** The rules of a terminal, which may change while it runs. */
export class Rules {
  readonly #read: ReadOutcome;
  readonly #initial: { readonly when: readonly Rule[]; readonly next: readonly Queued[] };
  #when: readonly Rule[];
  #next: Queued[];

  /**
   * Rules as they are at the start, to which {@linkcode Rules.reset} goes back.
   *
   * @throws {OptionError} An amount is none, comes twice, or its outcome is not as it must be.
   * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
   */
  constructor(when: When = {}, next: readonly OutcomeOrText[] = [], read: ReadOutcome = toOutcome) {
    this.#read = read;
    this.#when = readWhen(when, read);
    this.#next = next.map((outcome) => ({ outcome: read(outcome, "next") }));
    this.#initial = { when: this.#when, next: [...this.#next] };
  }

  /**
   * The outcome that a rule says, which is taken from the queue if it comes from there. An
   * identification takes none.
   */
  find(request: Readonly<Message>): Found | undefined {
    const { CA, CB = "", CD } = request;
    if (CD === "I") return undefined;
    const amount = withoutZeros(CB);
    const rule = amount === "" ? undefined : this.#when.find((one) => fits(one.amount, amount));
    if (rule) return { outcome: rule.outcome, by: `when ${rule.given}` };
    const own = this.#next.findIndex(({ register }) => register !== undefined && register === CA);
    const at = own < 0 ? this.#next.findIndex(({ register }) => register === undefined) : own;
    const [queued] = at < 0 ? [] : this.#next.splice(at, 1);
    return queued && { outcome: queued.outcome, by: "next" };
  }

  /** What is queued. */
  get next(): readonly Queued[] {
    return this.#next;
  }

  /** Queues outcomes, for transactions of one cash register or of any. Throws as the constructor. */
  queue(outcomes: readonly OutcomeOrText[], register?: string): void {
    const count = this.#next.length + outcomes.length;
    if (count > MAX_QUEUED) {
      throw new OptionError("next", `at most ${MAX_QUEUED} outcomes that are queued`, count);
    }
    const read = outcomes.map((outcome) => ({ outcome: this.#read(outcome, "next") }));
    this.#next.push(...read.map((one) => register === undefined ? one : { ...one, register }));
  }

  /** Empties the queue, or what of it is for one cash register. */
  clear(register?: string): void {
    this.#next = this.#next.filter((queued) =>
      register !== undefined && queued.register !== register
    );
  }

  /** The outcomes by amount in words: the whole amounts first, then more last digits before fewer. */
  get when(): Record<string, string> {
    return Object.fromEntries(this.#when.map(({ amount, outcome }) => [
      amount,
      formatOutcome(outcome),
    ]));
  }

  /** Sets the outcomes by amount. Throws as the constructor. */
  setWhen(when: When): void {
    this.#when = readWhen(when, this.#read);
  }

  /** Puts all back as it was at the start; with a cash register, only empties its queue. */
  reset(register?: string): void {
    if (register !== undefined) return this.clear(register);
    this.#when = this.#initial.when;
    this.#next = [...this.#initial.next];
  }
}

/** Outcomes that may be queued: a day of tests. All of them are told to who queues one (our choice). */
const MAX_QUEUED = 10_000;

/**
 * Reads outcomes by amount, in the order in which they are tried. Throws as {@linkcode Rules}.
 */
function readWhen(when: When, read: ReadOutcome): readonly Rule[] {
  if (Object.prototype.toString.call(when) !== "[object Object]") {
    throw new OptionError("when", "outcomes by amount", when);
  }
  const rules: Rule[] = [];
  for (const [given, outcome] of Object.entries(when)) {
    const amount = withoutZeros(given);
    if (!/^\*?\d+$/.test(amount)) {
      throw new OptionError("when", "minor units such as 1234, or * and last digits", given);
    }
    if (rules.some((rule) => rule.amount === amount)) {
      throw new OptionError("when", "each amount once", given);
    }
    rules.push({ given, amount, outcome: read(outcome, "when") });
  }
  const digits = ({ amount }: Rule): number => amount.startsWith("*") ? amount.length : Infinity;
  return rules.sort((one, other) => digits(other) - digits(one) || 0);
}

/** Whether an amount is the one of a rule, or ends as it. */
function fits(rule: string, amount: string): boolean {
  if (!rule.startsWith("*")) return amount === rule;
  return amount.padStart(rule.length - 1, "0").endsWith(rule.slice(1));
}

function withoutZeros(amount: string): string {
  return amount.replace(/^0+(?=\d)/, "");
}
