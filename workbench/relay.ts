// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A proxy between a POS and a real terminal, as a library: shows what they say to each other, and
 * breaks answers on purpose.
 *
 * @example In a test suite: the customer has paid, and the till gets half of the answer
 * ```ts
 * import assert from "node:assert/strict";
 * import { pay } from "../client.ts";
 * import { startTerminal } from "../server.ts";
 * import { startProxy } from "./relay.ts";
 *
 * await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
 * await using proxy = await startProxy({ port: 0, host: "127.0.0.1", terminal: `127.0.0.1:${real.port}` });
 * proxy.nextOutcome("truncate");
 * await assert.rejects(pay({ port: proxy.port, amount: "112.45" }));
 * const { due } = await proxy.waitForTransaction();
 * assert.equal(due?.verdict?.status, "approved");
 * ```
 *
 * @module
 */
import net from "node:net";
import { OptionError } from "../protocol.ts";
import {
  accept,
  Journal,
  type Outcome,
  type Settings,
  tellers,
  type Transaction,
  type WaitOptions,
} from "../server.ts";
import { Attempts } from "./attempts.ts";
import { maskFor, showing } from "./mask.ts";
import { Passage, type Place, type Shared } from "./passage.ts";
import { Rules } from "./rules.ts";
import { type ConnectionOptions, reader, settingsOf, steer } from "./steering.ts";
import type { Terminal, TerminalOptions, TerminalSettings } from "./terminal.ts";
import type { Relayed } from "./turn.ts";

export type { Relayed } from "./turn.ts";

/**
 * What a proxy does. Outcomes are what is done to the real terminal's answer: faults, hangup, delay
 * and TAG=VALUE. All other words of an outcome are an error, for the real terminal decides them.
 */
export interface ProxyOptions extends ConnectionOptions, Pick<TerminalOptions, "next" | "when"> {
  /** Address or name of the real terminal, with :port if that is not 8888. */
  terminal: string;
  /** What is done to answers for which neither `when` nor `next` says it. Default: nothing. */
  outcome?: TerminalOptions["outcome"];
  /**
   * Shows and keeps what is masked otherwise: the values of AA, AB, AC, AD, AM, AN, BH, BI, CF and
   * CG, and the text of receipts. Default: off. On the wire nothing is ever masked.
   */
  unmasked?: boolean;
}

/** A request, and what became of it between the POS and the real terminal. */
export interface RelayedTransaction extends Transaction {
  /** What the terminal has answered, where something else was sent. */
  readonly due?: Relayed;
  /** What was sent. */
  readonly answer?: Relayed;
}

/** What a proxy does with the next request. */
export interface ProxySettings extends TerminalSettings {
  /** See {@linkcode Proxy.reached}. */
  reached: boolean | undefined;
}

/** A proxy that is running: a terminal, as its POS and its tests see it. */
export interface Proxy extends Terminal {
  /** What it does with the next request. */
  readonly settings: ProxySettings;
  /** Whether the terminal could be reached when a POS last connected; undefined before the first. */
  readonly reached: boolean | undefined;
  /** Whether it could be reached at least once. */
  readonly wasReached: boolean;
  /** What POS did: copies of the last 1,000 requests and their answers, the newest last. */
  readonly transactions: readonly RelayedTransaction[];
  /** A copy of one transaction by its number, if it is kept. */
  transaction(number: number): RelayedTransaction | undefined;
  /** Copies of the transactions above a number, of a cash register or of any, made one by one. */
  transactionsAfter(after?: number, register?: string): Generator<RelayedTransaction>;
  /** Resolves with the next transaction that is over, see {@linkcode Terminal}. */
  waitForTransaction(options?: WaitOptions): Promise<RelayedTransaction>;
}

const readChange = reader(
  "a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest",
  true,
);

function readPlace(text: unknown, { host, port }: Settings): Place {
  const address = typeof text === "string" ? text : "";
  const [, inner, name, digits = "8888"] =
    /^(?:\[([^\]\s]+)\]|((?:(?![\s:/[\]])\P{Cc})+))(?::(\d{1,5}))?$/u.exec(address) ?? [];
  const place = { host: net.isIPv6(address) ? address : inner ?? name ?? "", port: Number(digits) };
  if (place.host === "" || place.port < 1 || place.port > 65_535) {
    const expected = "an address or a name, and :port if that is not 8888";
    throw new OptionError("terminal", expected, text);
  }
  const own = /^(?:localhost|127\..*|::1|0\.0\.0\.0|::)?$/;
  if (place.port === port && (place.host === host || (own.test(place.host) && own.test(host)))) {
    throw new OptionError(
      "terminal",
      `another port than ${port}, on which the proxy listens`,
      text,
    );
  }
  return place;
}

/**
 * Starts a proxy. It connects to the real terminal when a POS connects.
 *
 * @throws {OptionError} An option is not as it must be, or one that only a simulated terminal has.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const { terminal, unmasked, ...others } = options;
  const settings = settingsOf({ ...others }, "the real terminal");
  const mask = maskFor(unmasked);
  // A function is no outcome here, which is said when it is read.
  const outcome = { now: readChange(options.outcome as Outcome ?? {}, "outcome") };
  const rules = new Rules(options.when, options.next, readChange);
  const place = readPlace(terminal, settings);
  const journal = new Journal(settings.bounds);
  const { tell, listeners } = tellers(settings, journal);
  const attempts = new Attempts({ seesAll: false }); // other tills may pay there directly
  listeners.add(attempts.listener);
  let reached: boolean | undefined;
  let wasReached = false;
  const shared: Shared = {
    settings,
    tell: showing(tell, mask),
    mask,
    place,
    find: (request) => rules.find(request) ?? { outcome: outcome.now, by: "outcome" },
    onTried(isThere) {
      reached = isThere;
      wasReached ||= isThere;
    },
    requests: 0,
    first: undefined,
    isItself: false,
  };
  const listening = await accept(
    settings,
    shared.tell,
    (socket, number, onDone) => new Passage(socket, number, shared, onDone),
  );
  const steered = steer({
    settings,
    journal,
    listening,
    tell: shared.tell,
    rules,
    read: readChange,
    outcome,
    what: `passing on to ${place.host} port ${place.port}`,
    forget: (register) => attempts.forget(register),
    more: () => ({ reached }),
  });
  return Object.defineProperties(steered, {
    reached: { get: () => reached, enumerable: true },
    wasReached: { get: () => wasReached, enumerable: true },
  }) as Proxy;
}
