// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The examiner of tills: says how the terminal answers each case, looks at what a till does, takes
 * down what it says, and keeps a sheet for each cash register.
 *
 * It decides before anything else of a terminal does, and listens to what happens there.
 *
 * @module
 */
import { DEVIATIONS, type Message, readable, type Warning } from "../protocol.ts";
import type { Decision, Listener, Outcome, Request } from "../server.ts";
import {
  amountOf,
  type Case,
  caseOf,
  CASES,
  fill,
  kindOf,
  SENDS,
  SENDS_WORDS,
  TIMES,
  type Times,
} from "./exam_cases.ts";
import { CALLED, judge, type Said, type Seen, type Verdict, type Word } from "./exam_verdicts.ts";
import type { Pair } from "./page/tables.ts";
import { inFrench } from "./warnings.ts";

/** A case on a sheet, and what has come of it. */
export interface Row {
  /** Its name. */
  readonly name: string;
  /** The amount that chooses it, with a sign where it is a refund; none for what all requests are. */
  readonly amount?: string;
  /** What is asked for: debit, credit or cheque. */
  readonly kind?: Case["kind"];
  /** What has come of it. */
  readonly verdict: Verdict["verdict"];
  /** What that is called: the kind of fault, if it failed. */
  readonly called: Pair;
  /** What kind of fault it is, if it failed. */
  readonly class?: NonNullable<Verdict["class"]>;
  /** What happened and what to do. */
  readonly text: string;
  /** The same in French. */
  readonly french: string;
  /** What the till said, if that is known. */
  readonly till?: Word;
  /** What the terminal does. */
  readonly does: Pair;
  /** What a right till does. */
  readonly right: Pair;
  /** The numbers of the transactions that belong to it. */
  readonly transactions: readonly number[];
}

/** What an examination is made of. Everything has a default. */
export interface ExaminerOptions {
  /** The cases that are sat. Default: all. */
  cases?: readonly Case[];
  /** Whether what tills send is judged as well. Default: it is. */
  sends?: boolean;
  /** How long things take. Default: {@linkcode TIMES}. */
  times?: Partial<Times>;
  /** The number of a transaction. Default: that of the request. */
  numberOf?: (request: Request) => number;
}

/** Cash registers whose sheets are kept (our choice: more than a shop has). */
const MAX_SHEETS = 200;
/** Requests of a case that are kept (our choice). */
const MAX_REQUESTS = 50;
/** What is wrong with requests that is kept of a cash register (our choice). */
const MAX_DEVIATIONS = 20;

/** A case that a cash register sits. */
type Sitting = {
  readonly one: Case;
  readonly first: Request;
  readonly gone: AbortController;
  readonly run: OneRun | undefined;
  readonly requests: Request[]; // all that belong to it
  left: Seen["left"] | undefined;
  hasStayed: boolean;
  again: number;
  duplicates: number;
  cancelled: number;
  said: Said | undefined;
  told: string; // the verdict that was told last
};

/** What is known of a cash register. */
type Sheet = {
  readonly sittings: Map<string, Sitting>;
  readonly whyNot: Map<string, Pair>; // by the name of the case that was not sat
  readonly deviations: Map<string, Warning>; // by their texts
  requests: number;
  asking: Request | undefined; // the last with something to deviate in
  open: Sitting | undefined; // of which the answer got lost, and what comes next may be about it
};

/** A program sits one case. */
export interface Run {
  /** The case. */
  readonly one: Case;
  /** The cash register that it uses, if that is known. */
  readonly register: string | undefined;
  /** Takes down what it says at its end, and the last line that it wrote on stderr. */
  end(word: Word, how?: Pair, last?: string): void;
  /** What has come of it. */
  row(): Row;
}

/** A sheet that nobody has written on. */
function emptySheet(): Sheet {
  return {
    sittings: new Map(),
    whyNot: new Map(),
    deviations: new Map(),
    requests: 0,
    asking: undefined,
    open: undefined,
  };
}

/** Examines tills. */
export class Examiner {
  /** The cases that are sat. */
  readonly cases: readonly Case[];
  /** How long things take. */
  readonly times: Times;
  readonly #hasSends: boolean;
  readonly #numberOf: (request: Request) => number;
  readonly #sheets = new Map<string, Sheet>();
  readonly #sittings = new WeakMap<Request, Sitting>();
  readonly #belongs = new WeakMap<Request, Sitting>(); // what comes after a lost answer
  readonly #closing = new Map<number, AbortController>(); // by the connection that is to be closed
  readonly #last = new Map<number, Request>(); // the last request of each connection
  readonly #runs = new Set<OneRun>();

  /** An examiner of some cases, or of all. */
  constructor({ cases = CASES, sends = true, times, numberOf }: ExaminerOptions = {}) {
    this.cases = cases;
    this.times = { ...TIMES, ...times };
    this.#hasSends = sends;
    this.#numberOf = numberOf ?? (({ number }) => number);
  }

  /** The cash registers that have sent something; "" is one without a number that sits cases. */
  get registers(): string[] {
    const all = [...this.#sheets.keys()];
    const isOne = (name: string): boolean =>
      name !== "" || this.#sheets.get(name)!.sittings.size > 0;
    const named = all.filter(isOne); // what is malformed names none, and comes from one of them
    return named.length > 0 ? named : all;
  }

  /** Starts anew: all sheets are empty, or one is. */
  reset(register?: string): void {
    if (register === undefined) this.#sheets.clear();
    else this.#sheets.delete(register);
  }

  // -------------------------------------------------------------- what the terminal does

  /** How a request ends, if it sits a case or belongs to one. */
  decide(request: Request): Decision | undefined {
    const { message } = request;
    const sheet = this.#sheetOf(request);
    const { open } = sheet;
    if (open && (message["CD"] === "3" || message["CD"] === "2")) {
      this.#add(open, request);
      return { outcome: { delay: 0 }, by: `after ${open.one.name}` };
    }
    if (kindOf(message) === undefined) return undefined;
    const one = caseOf(message, this.cases);
    if (open && one === open.one) {
      this.#add(open, request);
      return { outcome: { delay: 0 }, by: `${one.name} again` };
    }
    sheet.open = undefined;
    const why = whyNot(message, one);
    if (why) {
      if (one) sheet.whyNot.set(one.name, why);
      if (one || message["CD"] === "0") this.#say(request, why);
      return undefined;
    }
    return { outcome: this.#sit(one!, request, sheet), by: `case ${one!.name}` };
  }

  /** Begins a case, or goes on with the one that a program sits. */
  #sit(one: Case, request: Request, sheet: Sheet): Outcome {
    const run = [...this.#runs].find((run) => run.isOf(one, request.register));
    const before = run?.sitting;
    const sitting: Sitting = before ?? {
      one,
      first: request,
      gone: new AbortController(),
      run,
      requests: [],
      left: undefined,
      hasStayed: false,
      again: 0,
      duplicates: 0,
      cancelled: 0,
      said: undefined,
      told: "",
    };
    this.#add(sitting, request);
    if (!before) {
      if (run) run.sitting = sitting;
      sheet.sittings.set(one.name, sitting);
      this.#sittings.set(request, sitting);
      if (one.truth === "lost") sheet.open = sitting;
    }
    const gone = before ? new AbortController() : sitting.gone;
    const about = { request: request.message, times: this.times, gone: gone.signal };
    return { delay: 0, ...one.outcome(about) };
  }

  #add(sitting: Sitting, request: Request): void {
    this.#belongs.set(request, sitting);
    if (sitting.requests.length < MAX_REQUESTS) sitting.requests.push(request);
  }

  #say(request: Request, [text, french]: Pair): void {
    const fields = (): object => ({ text, french });
    request.line.tell({ event: "no-case", request, fields, text: () => text });
  }

  // -------------------------------------------------------------- what the till does

  /** Takes note of what happens. */
  readonly listener: Listener = (happened) => {
    const { event, request, connection } = happened;
    if (event === "closed" && connection !== undefined) {
      this.#closing.get(connection)?.abort();
      this.#last.delete(connection);
    } else if (request) this.#onRequest(event, request);
  };

  #onRequest(event: string, request: Request): void {
    const sitting = this.#sittings.get(request);
    if (event === "request") this.#onCame(request);
    else if (event === "due") this.#onDue(request);
    else if (event === "gone") this.#onGone(request);
    else if (event === "answered") {
      if (sitting?.one.name === "silent" && !sitting.left) sitting.hasStayed = true;
      if (request.sendsAnswer && !request.gone) void this.#closeLater(request, sitting?.one.isKept);
    }
    const about = this.#belongs.get(request);
    if (about && /^(gone|answered|over)$/.test(event)) this.#tell(about);
  }

  #onGone(request: Request): void {
    const { gone, over } = request;
    const sitting = this.#sittings.get(request);
    if (sitting && gone && !over) {
      sitting.left = leftNow(request, gone.milliseconds);
    }
    sitting?.gone.abort();
  }

  #onCame(request: Request): void {
    const sheet = this.#sheetOf(request);
    sheet.requests++;
    const { number } = request.line;
    this.#last.set(number, request);
    this.#closing.get(number)?.abort(); // the connection goes on
    for (const warning of request.warnings) {
      if (sheet.deviations.size >= MAX_DEVIATIONS) break;
      if (!Object.hasOwn(DEVIATIONS, warning.code)) continue;
      sheet.deviations.set(warning.text, warning);
      sheet.asking = request;
    }
  }

  /** The answer is known: a second payment, a duplicate or a cancellation counts if it is done. */
  #onDue(request: Request): void {
    const { message } = request;
    const { AE, AF } = readable(request.due);
    const sitting = this.#belongs.get(request);
    if (!sitting) {
      const one = AF === "09" ? caseOf(message, this.cases) : undefined;
      if (one) this.#sheetOf(request).whyNot.set(one.name, REFUSED);
      return;
    }
    if (request === sitting.first || AE !== "10") return;
    const isSame = Number(message["CB"]) === Number(sitting.first.message["CB"]);
    if (message["CD"] === "3") sitting.duplicates++;
    else if (message["CD"] !== "2") sitting.again++;
    else if (isSame) sitting.cancelled++;
  }

  /** Closes the connection when nothing more comes on it. */
  async #closeLater(request: Request, isKept = false): Promise<void> {
    const { number, settings: { clock } } = request.line;
    if (this.#last.get(number) !== request) return;
    const stop = new AbortController();
    this.#closing.set(number, stop);
    const { hold, close } = this.times;
    try {
      await clock.sleep(1000 * (isKept ? hold : close), stop.signal);
      const sitting = this.#sittings.get(request);
      if (sitting && isKept) sitting.hasStayed = true;
      request.end();
    } catch {
      /* it was closed, or goes on */
    } finally {
      if (this.#closing.get(number) === stop) this.#closing.delete(number);
    }
  }

  /** Tells a verdict that is new. */
  #tell(sitting: Sitting): void {
    const row = this.#rowOf(sitting.one, sitting);
    const { name, verdict, text } = row;
    if (verdict === "not-sat" || text === sitting.told) return;
    sitting.told = text;
    const { first } = sitting;
    const fields = (): object => {
      const { name: of, called: _called, does: _does, right: _right, ...others } = row;
      const { transactions: _all, ...more } = others;
      return {
        case: of,
        ...(first.register !== undefined && { register: first.register }),
        ...more,
      };
    };
    const level = verdict === "failed" ? "warn" : "info";
    first.line.tell({
      event: "verdict",
      request: first,
      fields,
      text: () => `${name}: ${CALLED[verdict][0]}, ${text}`,
      level,
    });
  }

  // -------------------------------------------------------------- what the till says

  /**
   * Takes down what a till said, gives what that makes of the case; undefined if the cash register has
   * not sat it.
   */
  say(register: string, name: string, word: Word, by: Said["by"]): Row | undefined {
    const sitting = this.#sheets.get(register)?.sittings.get(name);
    if (!sitting) return undefined;
    this.#takeDown(sitting, { word, by });
    return this.#rowOf(sitting.one, sitting);
  }

  #takeDown(sitting: Sitting, said: Said): void {
    const { first } = sitting;
    // A program that says so before all was sent has left, whether that is seen yet or not.
    if (said.by === "program" && !first.over) sitting.left ??= leftNow(first);
    const isLate = said.by === "program" && sitting.one.isKept && sitting.hasStayed;
    sitting.said = { ...said, ...(isLate && { isLate }) };
    this.#tell(sitting);
  }

  /** A program begins to sit a case, on a cash register if that is known. */
  begin(one: Case, register?: string): Run {
    const run = new OneRun(one, register);
    this.#runs.add(run);
    for (const sheet of this.#sheets.values()) {
      if (sheet.open?.one === one && run.isOf(one, sheet.open.first.register)) {
        sheet.open = undefined;
      }
    }
    return {
      one,
      register,
      end: (word, how, last) => {
        this.#runs.delete(run);
        run.said = { word, by: "program", ...(how && { how }), ...(last && { last }) };
        if (run.sitting) this.#takeDown(run.sitting, run.said);
        for (const sheet of this.#sheets.values()) {
          if (sheet.open === run.sitting) sheet.open = undefined;
        }
      },
      row: () => {
        if (run.sitting) return this.#rowOf(one, run.sitting);
        const sheet = [...this.#sheets.values()].find(({ whyNot }) => whyNot.has(one.name));
        return this.#rowOf(one, undefined, sheet?.whyNot.get(one.name), run.said);
      },
    };
  }

  // -------------------------------------------------------------- the sheets

  #sheetOf(request: Request): Sheet {
    const register = request.register ?? "";
    const known = this.#sheets.get(register);
    if (known) return known;
    const [oldest] = this.#sheets.keys();
    if (this.#sheets.size >= MAX_SHEETS && oldest !== undefined) this.#sheets.delete(oldest);
    const sheet = emptySheet();
    this.#sheets.set(register, sheet);
    return sheet;
  }

  /** The sheet of a cash register: all cases in their order. */
  sheet(register: string): Row[] {
    const sheet = this.#sheets.get(register) ?? emptySheet();
    const rows = this.cases.map((one) =>
      this.#rowOf(one, sheet.sittings.get(one.name), sheet.whyNot.get(one.name))
    );
    const { registers } = this;
    const isOnly = registers.length === 1 && registers[0] === register;
    const all = isOnly ? [...this.#sheets.values()] : [sheet];
    return this.#hasSends ? [...rows, this.#sends(all)] : rows;
  }

  /** What all cash registers send. */
  sends(): Row | undefined {
    return this.#hasSends ? this.#sends([...this.#sheets.values()]) : undefined;
  }

  #rowOf(one: Case, sitting?: Sitting, whyNot?: Pair, said?: Said): Row {
    const seen: Seen = {
      isSat: sitting !== undefined,
      again: sitting?.again ?? 0,
      duplicates: sitting?.duplicates ?? 0,
      cancelled: sitting?.cancelled ?? 0,
      ...(whyNot && { whyNot }),
      ...(sitting && !sitting.first.over && { isOpen: true }),
      ...(sitting?.left && { left: sitting.left }),
      ...(sitting?.hasStayed && { hasStayed: true }),
      ...((sitting?.run ?? sitting?.said?.by === "program") && { isByItself: true }),
      ...((sitting?.said ?? said) && { said: (sitting?.said ?? said)! }),
    };
    const { verdict, class: of, text: [text, french] } = judge(one, seen, this.times);
    return {
      name: one.name,
      amount: amountOf(one),
      kind: one.kind,
      verdict,
      called: CALLED[of ?? verdict],
      ...(of && { class: of }),
      text,
      french,
      ...(seen.said && { till: seen.said.word }),
      does: fill(one.does, this.times),
      right: fill(one.right, this.times),
      transactions: this.#numbersOf(sitting?.requests ?? []),
    };
  }

  /** The numbers of the transactions of requests, but for those before the last reset. */
  #numbersOf(requests: readonly Request[]): number[] {
    return requests.map(this.#numberOf).filter((number) => number > 0);
  }

  #sends(sheets: readonly Sheet[]): Row {
    const all = sheets.flatMap(({ deviations }) => [...deviations.values()]);
    const isRefused = ({ code }: Warning): boolean =>
      DEVIATIONS[code as keyof typeof DEVIATIONS] !== "never";
    const [worst] = [...all.filter(isRefused), ...all];
    const isWrong = worst !== undefined && isRefused(worst);
    const count = sheets.reduce((sum, { requests }) => sum + requests, 0);
    const more = new Set(all.map(({ text }) => text)).size - 1;
    const asking = sheets.flatMap(({ asking }) => asking ?? []);
    const [text, french]: Pair = worst
      ? [
        worst.text + (more > 0 ? `, and ${more} more` : ""),
        (inFrench(worst) ?? worst.text) + (more > 0 ? `, et ${more} de plus` : ""),
      ]
      : count === 0
      ? ["nothing was sent", "rien n'a été envoyé"]
      : [`${count} requests, all as they should be`, `${count} demandes, toutes en règle`];
    const verdict = isWrong ? "failed" : worst ? "remark" : count === 0 ? "not-sat" : "passed";
    return {
      name: SENDS,
      verdict,
      called: CALLED[isWrong ? "protocol" : verdict],
      ...(isWrong && { class: "protocol" }),
      text,
      french,
      ...SENDS_WORDS,
      transactions: this.#numbersOf(asking),
    };
  }
}

/** How far a request has come when its till leaves. */
function leftNow(
  { interim, sent, milliseconds: now }: Request,
  milliseconds = now,
): NonNullable<Seen["left"]> {
  const after = interim && { interim: interim.milliseconds };
  return { milliseconds, bytes: sent.length, ...after };
}

/** A program that sits one case. */
class OneRun {
  readonly one: Case;
  readonly register: string | undefined;
  sitting: Sitting | undefined;
  said: Said | undefined;

  constructor(one: Case, register: string | undefined) {
    this.one = one;
    this.register = register;
  }

  isOf(one: Case, register: string | undefined): boolean {
    return one === this.one && (this.register === undefined || this.register === register);
  }
}

/** Why a request that was refused sits no case. */
const REFUSED: Pair = [
  'the request was refused with AF 09: see "sends"',
  "la demande a été refusée, AF 09 : voyez « sends »",
];

/** Why a request sits no case, if it does not. */
function whyNot(request: Readonly<Message>, one: Case | undefined): Pair | undefined {
  if (!one) {
    return [
      "this amount is no case of the examination",
      "ce montant n'est pas une épreuve de l'examen",
    ];
  }
  const { name, truth } = one;
  if (request["BA"] === "1") {
    return [
      `BA 1 asks for an answer at once: ${name} is not sat`,
      `BA 1 demande une réponse immédiate : ${name} n'est pas passée`,
    ];
  }
  if (truth === "part" && request["BF"] === "1") {
    return [
      `BF 1 allows a part: ${name} is not sat`,
      `BF 1 permet une partie : ${name} n'est pas passée`,
    ];
  }
  return undefined;
}
