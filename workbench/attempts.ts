// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What a till does wrong that takes more than one request to see: it pays twice what was approved and
 * got lost, it pays while a payment of its own is under way, it cancels what was not paid.
 *
 * It listens to what happens to requests, whoever answers them.
 *
 * @module
 */
import { type Message, movesMoney, readable } from "../protocol.ts";
import type { Listener, Request } from "../server.ts";
import { aboutPayment, warning } from "./warnings.ts";

/** Milliseconds after which two payments of one amount are two purchases (our choice). */
const SAME_PURCHASE = 600_000;
/** Approvals that are kept of a cash register, cash registers, and amounts of debits (our choice). */
const MAX_APPROVALS = 20;
const MAX_REGISTERS = 1_000;
const MAX_DEBITS = 10_000;

/** A payment that was approved. It does not hold the request, which may be long. */
type Approval = {
  readonly number: number;
  readonly asked: string; // see askedText()
  readonly paid: Payment;
  readonly since: number; // when it was known, on the clock of the terminal
  isDone: boolean; // what there was to send is out
  isSent: boolean; // all of the answer, while its POS was there
  hasArrived: boolean; // as far as can be told
};

/** How a payment is told of in an answer. */
type Payment = { readonly amount: string; readonly AC: string | undefined };

/** Debits of one amount: how many can be cancelled, and how many were. */
type Debits = { open: number; cancelled: number };

/** What is known of a cash register. */
type Register = {
  readonly paying: Set<Request>; // payments that are not over
  approvals: Approval[]; // the last that is known to have arrived, and those after it
  last: number; // of the request that was the last to move money, or should have
};

/** Follows the payments of cash registers, and warns of what they do wrong. */
export class Attempts {
  readonly #registers = new Map<string, Register>();
  readonly #debits = new Map<string, Debits>(); // by register, amount and currency
  readonly #seesAll: boolean;

  /** `seesAll`: every debit of the terminal is seen here, so that one that was not is none. */
  constructor({ seesAll = true }: { seesAll?: boolean } = {}) {
    this.#seesAll = seesAll;
  }

  /** Is told what happens. */
  readonly listener: Listener = ({ event, request }) => {
    if (!request) return;
    if (event === "request" && movesMoney(request.action)) this.#onPayment(request);
    else if (event === "due" && request.attempt !== "") this.#onKnown(request);
    else if (event === "answered" || event === "over" || event === "gone") {
      this.#onSent(request, event);
    }
  };

  /** Whether a payment is under way that came before a request of its cash register. */
  isPaying({ register = "", number }: Request): boolean {
    const paying = this.#registers.get(register)?.paying ?? [];
    return [...paying].some((payment) => payment.number < number && payment.due === "");
  }

  /** Forgets what is known of a cash register, or of all. */
  forget(register?: string): void {
    if (register === undefined) this.#registers.clear();
    else this.#registers.delete(register);
    for (const key of this.#debits.keys()) {
      if (register === undefined || key.startsWith(`${register}:`)) this.#debits.delete(key);
    }
  }

  #registerOf({ register: key = "" }: Request): Register {
    const known = this.#registers.get(key);
    const register = known ?? { paying: new Set(), approvals: [], last: 0 };
    keep(this.#registers, key, register, MAX_REGISTERS);
    return register;
  }

  /** A payment is asked for. One whose amount is none is not made. */
  #onPayment(request: Request): void {
    if (request.received.error || !/^\d+$/.test(request.message["CB"] ?? "")) return;
    const { paying } = this.#registerOf(request);
    if (paying.size > 0) request.warn(warning("overlap", ""));
    paying.add(request);
  }

  /** How a payment ended is known, and not sent yet. */
  #onKnown(request: Request): void {
    const { number, message, line: { settings: { clock } } } = request;
    const register = this.#registerOf(request);
    const answer = readable(request.attempt);
    const isApproved = answer["AE"] === "10";
    if (this.#seesAll) {
      this.#count(request, isApproved ? { ...message, ...answer } : message, isApproved);
    }
    if (isApproved) {
      const [asked, since] = [askedText(message), clock.now()];
      const lost = register.approvals.findLast((approval) =>
        approval.asked === asked && since - approval.since < SAME_PURCHASE && isLost(approval)
      );
      if (lost) warnTwice(request, lost.isSent, lost.number === register.last);
      const state = { isDone: false, isSent: false, hasArrived: false };
      register.approvals.push({ number, asked, paid: paymentOf(answer), since, ...state });
      if (register.approvals.length > MAX_APPROVALS) register.approvals.shift();
    }
    register.last = number;
  }

  /** Something of an answer, or all of it, is out, or its POS has gone. */
  #onSent(request: Request, event: string): void {
    const { number, action, due, sent, gone, lost } = request;
    const register = this.#registers.get(request.register ?? "");
    if (!register) return;
    if (event === "over") register.paying.delete(request);
    const isSent = due !== "" && sent === due && !lost;
    const hasArrived = isSent && !gone;
    const own = register.approvals.findIndex((approval) => approval.number === number);
    const approval = register.approvals[own];
    if (approval) {
      const isDone = approval.isDone || event !== "gone";
      Object.assign(approval, { isDone, isSent, hasArrived });
      // It stays itself: its POS may yet reset the connection, and has perhaps not read it then.
      if (isDone && hasArrived) register.approvals.splice(0, own);
    } else if (action === "3" && hasArrived && event === "answered") {
      const answer = readable(sent);
      const told = answer["AE"] === "10" &&
        register.approvals.findLast(({ paid }) => isSame(paid, paymentOf(answer)));
      if (told) register.approvals = register.approvals.filter((one) => one !== told);
    }
  }

  /** Counts a debit, and takes one off for its cancellation; warns where there is none. */
  #count(request: Request, { CB = "", CE = "" }: Message, isApproved: boolean): void {
    const { action, message } = request;
    const key = `${request.register ?? ""}:${plain(CB)} ${CE.slice(0, 3)}`;
    const { open, cancelled } = this.#debits.get(key) ?? { open: 0, cancelled: 0 };
    if (action === "2" && open === 0) {
      const { amount = "that amount", ...about } = aboutPayment(message);
      const form = cancelled > 0 ? "again" : "none";
      request.warn(warning("nothing-to-cancel", form, { amount, ...about }));
    } else if (action === "2" && isApproved) {
      keep(this.#debits, key, { open: open - 1, cancelled: cancelled + 1 }, MAX_DEBITS);
    } else if ((action === "0" || action === "7") && isApproved) {
      keep(this.#debits, key, { open: open + 1, cancelled }, MAX_DEBITS);
    }
  }
}

/** Sets what is kept by a key, and forgets the one that was set longest ago, if there are too many. */
function keep<Value>(kept: Map<string, Value>, key: string, value: Value, most: number): void {
  kept.delete(key); // so that it becomes the newest
  kept.set(key, value);
  if (kept.size <= most) return;
  const [oldest = ""] = kept.keys();
  kept.delete(oldest);
}

/** Whether the POS does not know of an approval, as far as can be told. */
function isLost({ isDone, hasArrived }: Approval): boolean {
  return isDone && !hasArrived;
}

/** What two requests have in common that ask for the same payment; short. */
function askedText({ CD = "", CB = "", CE = "" }: Readonly<Message>): string {
  return `${CD} ${plain(CB)} ${CE.slice(0, 3)}`;
}

function paymentOf({ CB = "", CE = "", AC }: Readonly<Message>): Payment {
  return { amount: `${plain(CB)} ${CE.slice(0, 3)}`, AC: AC?.slice(0, 10) };
}

/** An amount without zeros before it, as long as the protocol lets it be. (1)(2) */
function plain(CB: string): string {
  return CB.replace(/^0+(?=\d)/, "").slice(0, 12);
}

/** Whether two answers tell of the same payment; not every terminal gives the number (AC) again. */
function isSame(one: Payment, other: Payment): boolean {
  return one.amount === other.amount &&
    (one.AC === undefined || other.AC === undefined || one.AC === other.AC);
}

function warnTwice(request: Request, isPerhaps: boolean, isLast: boolean): void {
  const form = isLast ? isPerhaps ? "perhaps" : "lost" : isPerhaps ? "earlierPerhaps" : "earlier";
  request.warn(warning("paid-twice", form, aboutPayment(request.message)));
}
