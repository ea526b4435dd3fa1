// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Tells where the simulated terminal differs from a recorded one: it is asked the same, byte by byte.
 * The recording is masked before anything is done with it, so the report has nothing that is secret.
 *
 * @module
 */
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { cutFields, jsonLine, type Message, movesMoney, printable, readable } from "../protocol.ts";
import { type Card, CARDS, formatOutcome, type Outcome, requestText } from "../server.ts";
import { isBetween, MASKED, maskRaw } from "./mask.ts";
import type { ModelName } from "./models.ts";
import {
  cutAs,
  type Exchange,
  readExchanges,
  readRecording,
  type RecordedMessage,
} from "./recording.ts";
import { startTerminal } from "./terminal.ts";

/** Something in which the simulated terminal differs from the recorded one. */
export interface Difference {
  /** Whether it is about the AE 11 that came first. */
  interim?: true;
  /** In what. */
  what:
    | ("answer" | "before" | "interim" | "tags" | "order" | "size" | "value" | "ending")
    | ("segments" | "time" | "closed");
  /** The tag, if it is about one. */
  tag?: string;
  /** What the recorded terminal did. */
  recorded: string;
  /** What the simulated one does. */
  simulated: string;
}

/** A recorded exchange, held against what the simulated terminal answers to the same bytes. */
export interface Comparison {
  /** The line of the recording that the request is on, from 1. */
  line: number;
  /** The request, masked. */
  request: Readonly<Message>;
  /** The outcome that the simulated terminal was given, for its answer to be like the recorded. */
  outcome: string;
  /** In what it differs. */
  differences: Difference[];
}

/** Milliseconds within which an answer is at once: longer, and a person had part in it (our choice). */
const AT_ONCE_MS = 1_000;
/** Seconds that the simulated terminal takes for one that is not. */
const LATER = 1;
/** Most milliseconds that a pause between segments is waited for, and an answer. */
const [MAX_PAUSE_MS, ANSWER_MS] = [2_000, 5_000];
/** Milliseconds after which the simulated terminal gives no answer either. */
const SILENCE_MS = 300;
/** Milliseconds in which the simulated terminal would have closed the connection. */
const CLOSES_WITHIN_MS = 50;
/** Tags whose values are random, of a card, or a terminal's own: only their sizes are compared. */
const BY_SIZE: ReadonlySet<string> = new Set([
  ...MASKED,
  ..."AG AH AI AK AP AQ ID IM ZT".split(" "),
]);

/**
 * Holds a recording against the simulated terminal: it is sent what the recorded one was sent, in the
 * same segments, and told how each transaction ended.
 *
 * @param recording The lines that `proxy.ts --json` has printed.
 * @param options Which model of a terminal is simulated. Default: that of server.ts.
 * @throws {OptionError} A line is no event, or there is no such model.
 */
export async function compareRecording(
  recording: string,
  { model }: { model?: ModelName } = {},
): Promise<Comparison[]> {
  const exchanges = readExchanges(recording).map(masked);
  let [events, requests] = ["", 0];
  await using terminal = await startTerminal({
    port: 0,
    host: "127.0.0.1",
    duration: 0,
    ...(model && { model }),
    onEvent(event) {
      events += jsonLine(event);
      if (event.event === "request" || event.event === "invalid") requests++;
    },
  });
  const to = { port: terminal.port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true };
  const tills = new Map<string, net.Socket>(); // by their recorded connections
  const comparisons: Comparison[] = [];
  for (const exchange of exchanges) {
    const { line, connection, request, closed } = exchange;
    const outcome = outcomeOf(exchange);
    terminal.clearNext();
    terminal.nextOutcome(outcome);
    events = "";
    const till = tills.get(connection) ?? net.connect(to);
    if (!tills.has(connection)) till.on("error", () => {}).resume();
    tills.set(connection, till);
    const before = requests;
    await sendTo(till, exchange);
    const timeout = exchange.answer ? ANSWER_MS : SILENCE_MS;
    await terminal.waitForTransaction({ after: before, timeout }).catch(() => {});
    const leaves = closed?.by === "terminal";
    // What cannot be read ends our own, too: it must not depend on how busy this machine is.
    const mayLeave = closed !== undefined || events.includes('"event":"invalid"');
    const isEnded = await ends(till, leaves ? AT_ONCE_MS : mayLeave ? CLOSES_WITHIN_MS : 0);
    const [own] = readRecording(events);
    const differences = differencesOf(exchange, own && masked(own));
    const isLeft = isEnded && !till.writableEnded;
    const told = (closes: boolean, resets = false): string =>
      !closes ? "keeps it open" : resets ? "resets the connection" : "closes the connection";
    const [recorded, simulated] = [told(leaves, closed?.reset), told(isLeft, !!till.errored)];
    if (recorded !== simulated && (closed || isLeft)) {
      differences.push({ what: "closed", recorded, simulated });
    }
    if (closed || isLeft) {
      tills.delete(connection);
      till.destroy();
    }
    const about = { request: request.message, outcome: formatOutcome(outcome) };
    comparisons.push({ line, ...about, differences });
  }
  for (const till of tills.values()) till.destroy();
  return comparisons;
}

/** An exchange as it may be shown. */
function masked(exchange: Exchange): Exchange {
  const { request, before, interim, answer } = exchange;
  const hide = (message: RecordedMessage): RecordedMessage => {
    const raw = maskRaw(message.raw);
    return { ...message, raw, message: readable(raw) };
  };
  return {
    ...exchange,
    request: hide(request),
    ...(before !== undefined && { before: maskRaw(before) }),
    ...(interim && { interim: hide(interim) }),
    ...(answer && { answer: hide(answer) }),
  };
}

/** Sends what a recorded till has sent, as it was cut. */
async function sendTo(till: net.Socket, { request, answer, closed }: Exchange): Promise<void> {
  const times = request.segments.map(({ milliseconds }) => milliseconds);
  for (const [index, part] of cutAs(request).entries()) {
    const pause = (times[index] ?? 0) - (times[index - 1] ?? 0);
    if (index > 0) await sleep(Math.min(pause, MAX_PAUSE_MS));
    till.write(part, "latin1");
  }
  // One that had closed its side right away, as nc does.
  if (closed?.by === "pos" && answer && closed.milliseconds < answer.milliseconds) till.end();
}

/** Whether the terminal closes a connection, or has closed it, within so many milliseconds. */
async function ends(till: net.Socket, within: number): Promise<boolean> {
  const hasEnded = (): boolean => till.readableEnded || till.destroyed;
  if (!hasEnded()) await once(till, "end", { signal: AbortSignal.timeout(within) }).catch(() => {});
  return hasEnded();
}

/** The outcome that makes the simulated terminal answer like a recorded one, but for its habits. */
function outcomeOf({ request: { message: request }, interim, answer }: Exchange): Outcome {
  if (!answer) return {};
  const known = Object.entries(answer.message).filter(([, value]) => !isMasked(value));
  const said: Message = Object.fromEntries(known);
  const { AE: status, AF: reason = "", CC: application, CI: mode, CB: paid } = said;
  const isLate = answer.milliseconds >= AT_ONCE_MS;
  const when = { delay: isLate ? LATER : 0, ...(interim && { pending: true }) };
  if (status === "01") return { failure: /^\d\d/.exec(reason)?.[0] ?? "07", ...when };
  if (status !== "10" || !movesMoney(request["CD"])) return when;
  const cards = Object.keys(CARDS) as Card[];
  const card = cards.find((card) => CARDS[card].CC === application);
  const tags: Message = {};
  if (!card && application && application !== request["CC"]) tags["CC"] = application;
  if (mode && !(card && CARDS[card].CI === mode)) tags["CI"] = mode;
  if (paid && Number(paid) !== Number(request["CB"])) tags["CB"] = paid; // in part
  return { ...when, ...(card && { card }), ...(Object.keys(tags).length > 0 && { tags }) };
}

/** Compares a recorded text with the simulated one, and adds what differs to a list. */
function comparingInto(
  found: Difference[],
): (what: Difference["what"], recorded: string, simulated: string, tag?: string) => void {
  return (what, recorded, simulated, tag) => {
    if (recorded !== simulated) found.push({ what, ...(tag && { tag }), recorded, simulated });
  };
}

/** In what an answer of the simulated terminal differs from that of a recorded one. */
function differencesOf(recorded: Exchange, simulated?: Exchange): Difference[] {
  const found: Difference[] = [];
  const compare = comparingInto(found);
  const { answer: one, closed } = recorded;
  const other = simulated?.answer;
  if (!one || !other) {
    const none = closed?.by === "pos"
      ? `none within ${closed.milliseconds} ms, when the POS left`
      : "none";
    if (one ?? other) compare("answer", one ? "one" : none, other ? "one" : "none");
    return found;
  }
  const answers = ({ answer, others = 0 }: Exchange): string =>
    (others > 0 ? `${1 + others}` : "one") + (answer && isMalformed(answer) ? ", malformed" : "");
  compare("answer", answers(recorded), simulated ? answers(simulated) : "none");
  compare("before", recorded.before ?? "", simulated?.before ?? "");
  const status = (interim?: RecordedMessage): string =>
    interim ? `AE ${interim.message["AE"]}` : "";
  compare("interim", status(recorded.interim), status(simulated?.interim));
  if (recorded.interim && simulated?.interim) {
    const ofInterim = messageDifferences(recorded.interim, simulated.interim);
    found.push(...ofInterim.map((one) => ({ interim: true as const, ...one })));
  }
  return [...found, ...messageDifferences(one, other)];
}

/** Whether of a recorded value only its size is known. */
function isMasked(value: string): boolean {
  return /^\*+$/.test(value);
}

/** Whether a message is none, at least not to its end. */
function isMalformed({ raw }: RecordedMessage): boolean {
  const { rest } = cutFields(raw);
  return !isBetween(rest);
}

/** In what a message of the simulated terminal differs from a recorded one. */
function messageDifferences(one: RecordedMessage, other: RecordedMessage): Difference[] {
  const found: Difference[] = [];
  const compare = comparingInto(found);
  const tagsOf = ({ raw }: RecordedMessage): string[] => {
    const all = cutFields(raw).fields.map(({ tag }) => tag);
    return all.map((tag, at) => all.indexOf(tag) < at ? `${tag} again` : tag);
  };
  const [tags, others] = [tagsOf(one), tagsOf(other)];
  const both = (all: string[]): string =>
    all.filter((tag) => tags.includes(tag) && others.includes(tag)).join(" ");
  const only = (all: string[], not: string[]): string =>
    all.filter((tag) => !not.includes(tag)).join(" ");
  // Of what is malformed, which tags it would have is not known.
  if (!isMalformed(one)) compare("tags", only(tags, others), only(others, tags));
  compare("order", both(tags), both(others));
  for (const tag of tags) {
    const [value = "", ours] = [one.message[tag], other.message[tag]];
    if (ours === undefined || tag === "CG") continue; // which is the shop's
    const isBySize = BY_SIZE.has(tag) || isMasked(value);
    if (isBySize) compare("size", `${value.length}`, `${ours.length}`, tag);
    else compare("value", value, ours, tag);
  }
  compare("ending", one.ending, other.ending);
  const count = ({ segments }: RecordedMessage): string => `${segments.length || 1}`;
  compare("segments", count(one), count(other));
  const time = ({ milliseconds }: RecordedMessage, late: number): string =>
    milliseconds >= late ? "after seconds" : "at once";
  compare("time", time(one, AT_ONCE_MS), time(other, LATER * 900)); // timers may be early
  return found;
}

/** A comparison for people. */
export function comparisonText({ line, request, outcome, differences }: Comparison): string {
  const what = `line ${line}: ${requestText(request)}, simulated as ${outcome}`;
  if (differences.length === 0) return `${what}: no difference\n`;
  const rows = differences.map(({ interim, what, tag, recorded, simulated }) => {
    const about = (interim ? "AE 11, " : "") + (what === "size" ? `${tag}, size` : tag ?? what);
    return `  ${about}: recorded ${recorded || "none"}, simulated ${simulated || "none"}`;
  });
  return `${[what, ...rows].map(printable).join("\n")}\n`;
}
