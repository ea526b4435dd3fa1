// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What a proxy and a played recording share as terminals: the options that mean something where
 * another terminal answers, and the terminal that a POS and its tests see.
 *
 * @module
 */
import { OptionError } from "../protocol.ts";
import {
  checkNames,
  checkOptions,
  formatOutcome,
  isEverywhere,
  isOf,
  type Journal,
  type Listener,
  type Listening,
  listenOn,
  type Outcome,
  type Settings,
  toOutcome,
} from "../server.ts";
import type { ReadOutcome, Rules } from "./rules.ts";
import type { Terminal, TerminalOptions } from "./terminal.ts";

/** The options of a terminal that have to do with connections and with what is told. */
export type ConnectionOptions = Pick<
  TerminalOptions,
  "host" | "port" | "gap" | "bounds" | "clock" | "log" | "logLevel" | "onEvent"
>;

/** Whether an outcome changes an answer that is there. */
export function changes({ fault, hangup, delay, tags }: Outcome): boolean {
  return fault !== undefined || hangup === true || delay !== undefined || tags !== undefined;
}

/** What is done to an answer, in words. */
export function wordsOf(outcome: Outcome): string {
  return formatOutcome(outcome).replace(/^success,?/, "");
}

/** Reads outcomes, and refuses those that only a simulated terminal can mean, or any. */
export function reader(expected: string, mayChange: boolean): ReadOutcome {
  return (given, option) => {
    const read = toOutcome(given, option);
    const isSimulated = read.failure || read.card || read.pending || read.padded;
    if (!isSimulated && (mayChange || !changes(read))) return read;
    throw new OptionError(option, expected, formatOutcome(read));
  };
}

/** Options that mean something here, or are looked at by others. */
const OWN = "host port gap bounds clock log logLevel onEvent outcome next when".split(" ");
/** Options that only a simulated terminal has. */
const SIMULATED = "duration strict sellerContract model exclusive interactive callback".split(" ");

/**
 * The settings of where another terminal answers.
 *
 * @param who That one, for an error: "the real terminal".
 * @throws {OptionError} An option is not as it must be, or only a simulated terminal has it.
 */
export function settingsOf(options: Readonly<Record<string, unknown>>, who: string): Settings {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  checkNames("options", "names from", [...OWN, ...SIMULATED], Object.fromEntries(given));
  for (const [name, value] of given) {
    if (OWN.includes(name) || value === false) continue;
    throw new OptionError(name, `none: ${who} decides that`, value);
  }
  const { outcome: _outcome, next: _next, when: _when, ...others } = options;
  const own = Object.entries(others).filter(([name]) => OWN.includes(name));
  return checkOptions({ ...Object.fromEntries(own), duration: 0 });
}

/** What a terminal is steered by where another one answers. */
export type Steered = {
  settings: Settings;
  journal: Journal;
  listening: Listening;
  tell: Listener;
  rules: Rules;
  read: ReadOutcome;
  /** What is done to all answers for which no rule says anything; undefined: it cannot be changed. */
  outcome?: { now: Outcome };
  /** What it does, for the log. */
  what: string;
  /** Forgets what was noted of a cash register, or of all. */
  forget: (register?: string) => void;
  /** What its settings tell besides. */
  more?: () => object;
};

/** The terminal that its parts make, once it listens. */
export function steer(parts: Steered): Terminal {
  const { settings, journal, listening, tell, rules, read, outcome, what, forget, more } = parts;
  const { host, port, server } = listening;
  const initial = outcome?.now ?? {};
  let [isAsleep, isClosed] = [false, false];

  const tellListening = (): void => {
    const where = isEverywhere(host) ? "every interface," : host;
    const text = (): string => `listening on ${where} port ${port}, ${what}`;
    tell({ event: "listening", fields: () => ({ host, port }), text });
  };
  tellListening();

  const change: Terminal["change"] = (changes) => {
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    const known = outcome ? ["outcome", "when"] : [];
    checkNames("settings", "names from", known, Object.fromEntries(given));
    const { outcome: wanted, when } = changes;
    // A function is no outcome here, which is said when it is read.
    const checked = wanted === undefined ? undefined : read(wanted as Outcome, "outcome");
    if (when !== undefined) rules.setWhen(when);
    if (checked && outcome) outcome.now = checked;
  };
  const resume = async (): Promise<void> => {
    if (!isAsleep || isClosed) return;
    isAsleep = false;
    try {
      await listenOn(server, port, settings.host);
    } catch (error) {
      isAsleep = true;
      throw error;
    }
    tellListening();
  };
  const close = (): Promise<void> => {
    isClosed = true;
    journal.endWaits("closed"); // before what is under way ends
    return listening.close();
  };
  return {
    host,
    port,
    get transactions() {
      return [...journal.transactions()];
    },
    transactionsAfter: (after, register) => journal.transactions(after, register),
    transaction: (number) => journal.transaction(number),
    get settings() {
      return {
        model: "reference" as const,
        outcome: formatOutcome(outcome?.now ?? {}),
        when: rules.when,
        duration: 0,
        strict: false,
        exclusive: false,
        interactive: false,
        next: rules.next.map(({ outcome, ...of }) => ({ ...of, outcome: formatOutcome(outcome) })),
        waiting: [],
        listening: !isAsleep,
        ...more?.(),
      };
    },
    change,
    setOutcome: (outcome) => change({ outcome }),
    setWhen: (when) => change({ when }),
    nextOutcome: (...outcomes) => rules.queue(outcomes),
    nextOutcomeOf: (register, ...outcomes) => rules.queue(outcomes, register),
    clearNext: (register) => rules.clear(register),
    decide: () => false,
    get listening() {
      return !isAsleep;
    },
    pause() {
      if (isAsleep || isClosed) return;
      isAsleep = true;
      server.close();
      tell({ event: "asleep", fields: () => ({}), text: () => "asleep: connections are refused" });
    },
    resume,
    reset(register) {
      journal.endWaits("reset", register); // before what is under way ends
      listening.drop((request) => isOf(request, register));
      rules.reset(register);
      forget(register);
      journal.forget(register);
      if (register !== undefined) return;
      if (outcome) outcome.now = initial;
      resume().catch(({ message }: Error) => {
        tell({ event: "log", text: () => message, level: "error" });
      });
    },
    waitForTransaction: (options) => journal.wait(options),
    subscribe: (subscriber) => journal.subscribe(subscriber),
    close,
    [Symbol.asyncDispose]: close,
  };
}
