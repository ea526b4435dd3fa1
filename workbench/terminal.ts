// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A simulated card payment terminal with everything: the port's, and with it models of terminals that
 * exist, outcomes by amount and by cash register, a person who decides, and more that it warns of.
 *
 * It composes what stands in the files beside it, and does nothing else.
 *
 * @example As terminals that exist: an Ingenico Desk/5000 whose red button is pressed, and HiPay's
 * ```ts
 * import { startTerminal } from "./terminal.ts";
 *
 * const options = { port: 0, host: "127.0.0.1", duration: 0 };
 * await using desk5000 = await startTerminal({ ...options, model: "desk5000", outcome: "abandon" });
 * await using hipay = await startTerminal({ ...options, model: "hipay", outcome: "refused" });
 * console.log(`the POS pays on ports ${desk5000.port} and ${hipay.port}`);
 * ```
 *
 * @module
 */
import { inRange } from "../protocol.ts";
import {
  answering,
  answerTo,
  checkBoolean,
  checkNames,
  checkOptions,
  type Decide,
  type Decision,
  decisionOf,
  formatOutcome,
  type Handler,
  isOf,
  Journal,
  listen,
  type Listener,
  listenOn,
  type Outcome,
  type OutcomeOrText,
  refusal,
  type Request,
  type Settings as PortSettings,
  startText,
  tellers,
  type Terminal as PortTerminal,
  type TerminalOptions as PortOptions,
  toOutcome,
  type Transaction,
  type WaitOptions,
} from "../server.ts";
import { Attempts } from "./attempts.ts";
import { Busy, CallingBack } from "./layers.ts";
import { tellingLost } from "./lost.ts";
import { type Model, type ModelName, modelOf } from "./models.ts";
import { Person } from "./person.ts";
import { Rules, type When } from "./rules.ts";
import { showing } from "./screen.ts";
import { warning, warnOfOthers } from "./warnings.ts";

/**
 * What a terminal does. Everything has a default. An outcome comes from `when`, else `next`, else a
 * person, else `outcome`. An identification takes only the tags, the fault and the hangup of `outcome`.
 */
export interface TerminalOptions extends PortOptions {
  /** TCP port; 0 takes a free one. Default: that of the model, else 8888. (1)(2)(3) */
  port?: number;
  /** The terminal that it behaves as, see models.ts. Default: reference. */
  model?: ModelName;
  /** Outcomes by amount: CB without leading zeros, else "*" and most of its last digits. */
  when?: When;
  /**
   * Does one thing at a time, like a real one: while a transaction is under way any other request
   * is answered at once AE 01 (3), AF 07 (our choice); on the same connection, in its turn.
   * Default: off, so that test suites run side by side.
   */
  exclusive?: boolean;
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
  /** A part of one's own, made with the journal of the terminal. Default: none. */
  part?: (journal: Journal) => TerminalPart;
}

/** A part of a terminal from elsewhere, such as one that examines tills. */
export interface TerminalPart {
  /** Decides on a request that is served, before all others; undefined leaves it to them. */
  decide(request: Request): Decision | undefined;
  /** Is told what happens. */
  readonly listener: Listener;
}

/** The options beyond those of the port. */
const OTHERS = ["model", "when", "exclusive", "interactive", "callback", "part"];

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
  /** Whether it takes connections: asleep, it refuses them. */
  listening: boolean;
}

/** A terminal that is running. */
export interface Terminal extends PortTerminal {
  /** Copies of the transactions above a number, of a cash register or of any, made one by one. */
  transactionsAfter(after?: number, register?: string): Generator<Transaction>;
  /** A copy of one transaction by its number, if it is kept. */
  transaction(number: number): Transaction | undefined;
  /** What it does with the next request. */
  readonly settings: TerminalSettings;
  /**
   * Changes what it does, from the next request on. Nothing changes if one of it is wrong.
   *
   * @throws {OptionError} A change is not as it must be.
   * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
   */
  change(changes: TerminalChanges): void;
  /** Sets how transactions end: short for `change({ outcome })`. */
  setOutcome(outcome: OutcomeOrText | Decide): void;
  /** Sets the outcomes by amount: short for `change({ when })`. */
  setWhen(when: When): void;
  /** Queues outcomes for transactions of one cash register (CA), which come before the others. */
  nextOutcomeOf(register: string, ...outcomes: OutcomeOrText[]): void;
  /** Empties the queue, or that of one cash register. */
  clearNext(register?: string): void;
  /**
   * Decides on a transaction that waits for a person, see {@linkcode TerminalOptions.interactive}.
   *
   * @returns Whether it was waiting.
   * @throws {OptionError} It is no outcome.
   */
  decide(transaction: number, outcome: OutcomeOrText): boolean;
  /** Whether it takes connections. */
  readonly listening: boolean;
  /** Falls asleep: connections are refused, what is under way goes on, nothing is forgotten. */
  pause(): void;
  /**
   * Wakes up again, on the same port.
   *
   * @throws {ListenError} It cannot listen there any more.
   */
  resume(): Promise<void>;
  /**
   * Puts all back as it was started, awake too. With a cash register (CA), only its queue, its
   * transactions and its attempts.
   */
  reset(register?: string): void;
  /** With a cash register, its transactions only; with `after`, those above a number, given again. */
  waitForTransaction(options?: WaitOptions): Promise<Transaction>;
}

/** The options with their defaults, each held against what it may be. */
type Settings =
  & PortSettings
  & Required<Pick<TerminalOptions, "model" | "exclusive" | "interactive" | "callback">>;

function checked(options: TerminalOptions): Settings {
  const { name: model, port = 8888 } = modelOf(options.model ?? "reference");
  const { callback = 0 } = options;
  return {
    ...checkOptions({ ...options, port: options.port ?? port }, OTHERS),
    model,
    exclusive: checkBoolean("exclusive", options.exclusive),
    interactive: checkBoolean("interactive", options.interactive),
    callback: inRange("callback", { max: 65_535, whole: true }, callback),
  };
}

/**
 * Starts a terminal.
 *
 * @throws {OptionError} An option is not as it must be.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 * @throws {ListenError} It cannot listen there.
 */
export async function startTerminal(options: TerminalOptions = {}): Promise<Terminal> {
  const initial = checked(options);
  const settings = { ...initial };
  const journal = new Journal(settings.bounds);
  const rules = new Rules(options.when, options.next);
  const person = new Person();
  const attempts = new Attempts();
  const part = options.part?.(journal);
  let model = modelOf(settings.model);
  let answer = model.answer(answerTo);
  const busy = new Busy(() => settings.exclusive, () => model.traits.busy !== "unread");
  const callingBack = settings.callback > 0 ? new CallingBack(settings.callback) : undefined;

  /** Takes on the model that is set. */
  const become = (): void => {
    if (model.name === settings.model) return;
    model = modelOf(settings.model);
    answer = model.answer(answerTo);
  };

  /** The AF that a request is refused with, before anything decides on it. */
  const refuse = (request: Request): string | undefined => {
    const asksStatus = isStatus(request, model);
    const AF = refusal(request, settings.strict);
    if (AF !== undefined && !(AF === "12" && asksStatus)) return AF;
    if (busy.isBusy) {
      request.warn(warning("busy", "refused"));
      return "07";
    }
    if ((asksStatus || request.action === "3") && attempts.isPaying(request)) {
      request.warn(warning("too-early", "")); // busy (3), as far as this register knows
      return "07";
    }
    const tag = model.refusedTag(request.message);
    if (tag !== undefined) {
      request.warn(warning("refused-tag", "", { tag, model: model.name }));
    }
    return model.refusal(request.message);
  };

  const decide = (request: Request): Decision => {
    busy.serve(request);
    const own = part?.decide(request);
    if (own) return own;
    const { outcome } = settings;
    const asksStatus = isStatus(request, model);
    const found = asksStatus ? undefined : rules.find(request.message);
    if (found) return found;
    const isAtOnce = asksStatus || request.action === "I" || request.message["BA"] === "1";
    if (settings.interactive && !isAtOnce) {
      return { outcome: person.ask(request), by: "person", pending: standardOf(outcome).pending };
    }
    const decision = decisionOf(outcome, request, journal);
    return asksStatus ? atOnce(decision) : decision;
  };

  const handler = answering({
    settings,
    journal,
    decide,
    refuse,
    answer: (...about) => answer(...about),
    unserved: (request, AF) => model.unserved(request, AF),
  });
  const handle: Handler = busy.layer(callingBack ? callingBack.layer(handler) : handler);

  const { tell, listeners } = tellers(settings, journal);
  listeners.add(attempts.listener).add(person.listener).add(busy.listener).add(warnOfOthers)
    .add(showing(journal, () => model.traits)).add(tellingLost(journal));
  if (callingBack) listeners.add(callingBack.listener);
  if (part) listeners.add(part.listener);

  const listening = await listen(settings, handle, tell, (received) => model.judge(received));
  const { host, port, server } = listening;
  const tellListening = (): void =>
    tell({
      event: "listening",
      fields: () => ({ host, port }),
      text: () => told(listening, settings, Object.keys(rules.when).length),
    });
  tellListening();

  let isClosed = false;
  let isAsleep = false;
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
  const change = (changes: TerminalChanges): void => {
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    checkNames("settings", "names from", CHANGEABLE, Object.fromEntries(given));
    const { when, ...others } = Object.fromEntries(given) as TerminalChanges;
    const wanted = checked(others);
    if (when !== undefined) rules.setWhen(when);
    for (const name of Object.keys(others)) {
      Object.assign(settings, { [name]: wanted[name as keyof Settings] });
    }
    become();
    busy.readOn();
  };
  const close = async (): Promise<void> => {
    isClosed = true;
    journal.endWaits("closed"); // before what is under way ends
    await listening.close();
    callingBack?.close();
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
      const { outcome, duration, strict, exclusive, interactive } = settings;
      return {
        model: model.name,
        outcome: typeof outcome === "function" ? null : formatOutcome(outcome),
        when: rules.when,
        duration,
        strict,
        exclusive,
        interactive,
        next: rules.next.map(({ outcome, ...of }) => ({ ...of, outcome: formatOutcome(outcome) })),
        waiting: person.waiting.map((request) => journal.numberOf(request)),
        listening: !isAsleep,
      };
    },
    change,
    setOutcome(outcome) {
      change({ outcome: typeof outcome === "function" ? outcome : toOutcome(outcome) });
    },
    setWhen: (when) => change({ when }),
    nextOutcome: (...outcomes) => rules.queue(outcomes),
    nextOutcomeOf: (register, ...outcomes) => rules.queue(outcomes, register),
    clearNext: (register) => rules.clear(register),
    decide(number, given) {
      const decided = toOutcome(given);
      const request = person.waiting.find((one) => journal.numberOf(one) === number);
      return person.decide(request, decided, standardOf(settings.outcome));
    },
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
      attempts.forget(register);
      model.forget(register);
      journal.forget(register);
      if (register !== undefined) return;
      Object.assign(settings, initial);
      become();
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

/** Whether a request asks a model that knows such a question for the status of a transaction. */
function isStatus({ action }: Request, { traits }: Model): boolean {
  return action !== undefined && action === traits.status;
}

/** The standard outcome, as far as it is one. */
function standardOf(outcome: Outcome | Decide): Outcome {
  return typeof outcome === "function" ? {} : outcome;
}

/** A decision on what is answered without a delay: no person has part in it. */
function atOnce({ outcome, by }: Decision): Decision {
  const now = ({ pending: _, ...others }: Outcome): Outcome => ({ ...others, delay: 0 });
  return { outcome: outcome instanceof Promise ? outcome.then(now) : now(outcome), by };
}

/** What the port tells at the start of an outcome that is none yet. */
const UNDECIDED = "each outcome decided on when it is asked for";

/** That a terminal listens, and what it will do. */
function told(
  listening: { host: string; port: number },
  settings: Settings,
  amounts: number,
): string {
  const { interactive, exclusive, model, callback } = settings;
  const parts = [
    interactive
      ? startText(listening, { ...settings, outcome: () => ({}) })
        .replace(UNDECIDED, "a person decides")
      : startText(listening, settings),
    amounts > 0 && `outcomes by amount: ${amounts}`,
    exclusive && "exclusive",
    model !== "reference" && `model ${model}`,
    callback > 0 && `answers to port ${callback} of the POS`,
  ];
  return parts.filter((part) => part).join(", ");
}
