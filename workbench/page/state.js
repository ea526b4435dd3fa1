// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What is known: the settings, the transactions, and which of them is looked at.
 *
 * @module
 */
import { termText, told } from "./meaning.js";
import { t } from "./texts.js";

/** @typedef {import("./types.ts").Entry} Entry */
/** @typedef {import("./types.ts").Settings} Settings */

/**
 * What changes.
 *
 * @type {{
 *   settings: Settings | undefined,
 *   waiting: number[],
 *   chosen: number | undefined,
 *   result: { entry: Entry, until: number } | undefined,
 *   opened: number | undefined,
 *   isLoaded: boolean,
 *   isPart: boolean,
 *   areControlsStale: boolean,
 * }}
 */
export const state = {
  /** As the terminal tells them; nothing before it has. */
  settings: undefined,
  /** The transactions that wait for a person. */
  waiting: [],
  /** The one of those that somebody has chosen. */
  chosen: undefined,
  /** The last one that was answered, and until when that is on the screen (performance.now). */
  result: undefined,
  /** The transaction that is looked at. */
  opened: undefined,
  /** Whether all that was before has been read. */
  isLoaded: false,
  /** Whether it could not be. */
  isPart: false,
  /** Whether the controls may show something else than is set. */
  areControlsStale: false,
};

/**
 * The transactions by their numbers, in their order.
 *
 * @type {Map<number, Entry>}
 */
export const known = new Map();

const MOST_KEPT = 1000; // transactions, as the terminal keeps them

/** Whether a real terminal is behind this one. */
export const isReal = () => Boolean(state.settings?.terminal);

// ---------------------------------------------------------------- transactions

/**
 * A transaction of which only the request is known.
 *
 * @param {Pick<Entry, "number" | "connection" | "raw" | "message" | "error"> & {
 *   received: string, warnings: readonly import("./types.ts").Warning[] }} request
 * @returns {Entry}
 */
export function entryOf({ received, warnings, ...others }) {
  return { ...others, received: +new Date(received), warnings: [...warnings], interims: [] };
}

/**
 * A transaction as the interface tells it.
 *
 * @param {import("./types.ts").Transaction} one
 * @returns {Entry}
 */
export function fromTransaction(one) {
  const { number, connection, received, request: { raw, message }, warnings, error } = one;
  const entry = entryOf({ number, connection, received, raw, message, warnings, error });
  const before = known.get(number);
  // The interface tells of one AE 11; a real terminal may have sent more, which events told.
  if (before?.received === entry.received) entry.interims = before.interims;
  const { interim } = one;
  const at = interim?.milliseconds ?? interim?.segments?.[0]?.milliseconds;
  if (interim && at !== undefined && entry.interims.length === 0) {
    entry.interims = [{ at, bytes: interim.raw.length }];
  }
  if (one.decided !== undefined) entry.decided = one.decided;
  if (one.due) entry.due = one.due;
  if (one.answer) entry.answer = one.answer;
  if (one.answered) entry.took = +new Date(one.answered) - entry.received;
  entry.gone = one.gone !== undefined;
  entry.ended = one.ended !== undefined || one.closed !== undefined;
  return entry;
}

/**
 * Keeps a transaction, and lets go of the oldest ones where there are too many.
 *
 * @param {Entry} entry
 */
export function keep(entry) {
  known.set(entry.number, entry);
  for (const [oldest, { row }] of known) {
    if (known.size <= MOST_KEPT) break;
    row?.item.remove();
    known.delete(oldest);
    state.waiting = state.waiting.filter((number) => number !== oldest);
  }
}

/**
 * Keeps these, and none of those before.
 *
 * @param {Entry[]} entries
 */
export function keepOnly(entries) {
  for (const { row } of known.values()) row?.item.remove();
  known.clear();
  for (const entry of entries) known.set(entry.number, entry);
  const { result } = state;
  if (result && known.get(result.entry.number)?.received !== result.entry.received) {
    state.result = undefined;
  }
}

/** The one that waits and is on the screen: the chosen one, else the oldest. */
export function asked() {
  const { waiting, chosen } = state;
  const number = chosen !== undefined && waiting.includes(chosen) ? chosen : waiting[0];
  return number === undefined ? undefined : known.get(number);
}

/**
 * What the terminal has decided, if the till did not get that as it is.
 *
 * @param {Pick<Entry, "due" | "answer">} entry
 */
export function lostOf({ due, answer }) {
  if (due && (answer?.raw !== due.raw || answer.lost)) return due;
  return answer?.lost ? answer : undefined;
}

/**
 * How a transaction ended.
 *
 * @param {Entry} entry
 * @returns {import("./meaning.js").Ending}
 */
export function endingOf(entry) {
  const { answer, interims, gone, ended, error, message } = entry;
  if (state.waiting.includes(entry.number)) {
    return [(gone ? t("gone") + " · " : "") + t("waits"), "wait"];
  }
  if (error) return [t("unreadable"), "bad"];
  const lost = lostOf(entry);
  if (lost) {
    // What was cut has perhaps no AE.
    const said = lost.message.AE === undefined ? "" : told(lost, message)[0];
    if (!isReal() || !entry.due) return [said ? t("lostAfter", said) : t("lostAnswer"), "bad"];
    const isOver = answer || gone || ended;
    return isOver ? [t("notWhole", said), "bad"] : [t("notYet", said), "muted"];
  }
  if (!answer) {
    if (gone) return [t("gone"), "bad"];
    if (!ended) return [t("underWay"), "muted"];
    return interims.length > 0 ? [termText("AE", "11"), "good"] : [t("unanswered"), "bad"];
  }
  return told(answer, message);
}

// ---------------------------------------------------------------- drawing

/** @type {(() => void)[]} */
const drawings = [];
let isDue = false;

/**
 * Tells what draws a part of the page, in the order in which it is drawn.
 *
 * @param {...(() => void)} parts
 */
export function drawsWith(...parts) {
  drawings.push(...parts);
}

/** Draws what has changed, once a frame however much comes. */
export function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const part of drawings) part();
  });
}
