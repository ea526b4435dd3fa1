// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What the terminal tells: everything when the page opens or a connection was lost, then each event.
 *
 * @module
 */
import { call, complain } from "./api.js";
import { openSoon } from "./detail.js";
import { $, put } from "./elements.js";
import { draw, entryOf, fromTransaction, isReal, keep, keepOnly, known, state } from "./state.js";
import { t } from "./texts.js";

/** @typedef {import("./types.ts").Happened} Happened */

const ON_SCREEN = 8_000; // milliseconds that an answer stays on the screen of the terminal
const REFRESH = 250; // milliseconds until the settings are read again
const RETRY = 1_000; // milliseconds until a lost connection is tried again
const LOOK = 5_000; // milliseconds between looks for what no event tells

// ---------------------------------------------------------------- events

/**
 * Takes an event; one that is known already changes nothing.
 *
 * @param {Happened} event
 */
function take(event) {
  if (event.event === "closed") takeClosed(event.connection);
  else if (event.event === "asleep" || event.event === "listening") {
    use({ listening: event.event === "listening" });
  } else takeOf(event);
  refreshSoon();
  draw();
}

/** @param {number} connection */
function takeClosed(connection) {
  for (const one of known.values()) {
    if (one.connection !== connection) continue;
    if (!one.answer) one.ended = one.changed = true;
    if (one.number === state.opened) openSoon();
  }
}

/** @param {import("./types.ts").HappenedTo} event */
function takeOf(event) {
  const number = event.transaction;
  const entry = known.get(number);
  if (event.event === "request" || event.event === "invalid") {
    const { connection, time, raw, message, warnings, error } = event;
    // Numbers begin again after a reset.
    if (entry && entry.received !== +new Date(time)) return void sync();
    if (!entry) {
      keep(entryOf({ number, connection, received: time, raw, message, warnings, error }));
    }
  } else if (!entry) return;
  else if (event.event === "waiting") {
    if (!entry.answer && !state.waiting.includes(number)) state.waiting.push(number);
  } else if (event.event === "warning") {
    const { code, text, tag } = event;
    if (!entry.warnings.some((one) => one.code === code && one.text === text)) {
      entry.warnings.push({ code, text, ...(tag !== undefined && { tag }) });
    }
  } else if (event.event === "decided") entry.decided = event.by;
  else if (event.event === "gone") entry.gone = true;
  else takeAnswer(entry, event);
  if (entry) entry.changed = true;
  if (number === state.opened) openSoon();
}

/**
 * @param {import("./types.ts").Entry} entry
 * @param {Extract<Happened, { event: "due" } | { event: "answer" }>} event
 */
function takeAnswer(entry, { event, time, raw, message, lost, outcome, milliseconds }) {
  // Only the last answer tells the outcome; of a real terminal none is known.
  const mayGoOn = isReal() || outcome === undefined;
  if (message.AE === "11" && entry.message.BA !== "1" && mayGoOn) {
    // A simulated terminal sends one, which the interface may have told already.
    const isKnown = entry.interims.some(({ at }) => at === milliseconds || !isReal());
    if (!isKnown) entry.interims.push({ at: milliseconds, bytes: raw.length });
    return;
  }
  entry[event] = { raw, message, lost };
  // As it is read after a reload: both moments are those that the transaction has.
  if (event === "answer") entry.took = +new Date(time) - entry.received;
  state.waiting = state.waiting.filter((number) => number !== entry.number);
  if (entry.message.CD !== "I") state.result = { entry, until: performance.now() + ON_SCREEN };
  setTimeout(draw, ON_SCREEN + 50);
}

// ---------------------------------------------------------------- reading

/**
 * Takes what the terminal tells of its settings, or of some of them.
 *
 * @param {Partial<import("./types.ts").Settings>} value
 */
export function use(value) {
  // The first time it tells all of them.
  state.settings = /** @type {import("./types.ts").Settings} */ ({ ...state.settings, ...value });
  if (value.waiting) {
    const before = state.waiting;
    state.waiting = value.waiting.filter((number) => known.has(number));
    for (const number of [...before, ...state.waiting]) {
      const entry = known.get(number);
      if (entry) entry.changed = true;
    }
  }
  draw();
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let refreshing;

/** Reads the settings again, at most four times a second: the queue and who waits have changed. */
export function refreshSoon() {
  refreshing ??= setTimeout(async () => {
    refreshing = undefined;
    try {
      use(await call("GET", "terminal"));
    } catch { /* the stream tells */ }
  }, REFRESH);
}

/**
 * Events that come while everything is being read.
 *
 * @type {Happened[] | undefined}
 */
let caught;

/** Reads everything. Events that come meanwhile are taken after it. */
export async function sync() {
  if (caught) return;
  /** @type {Happened[]} */
  const events = caught = [];
  try {
    const [terminal, transactions] = await Promise.all([
      call("GET", "terminal"),
      // Where they are too much for this browser, it still shows what happens from now on.
      call("GET", "transactions").then((all) => {
        state.isPart = false;
        complain("try");
        return all;
      }, (error) => {
        state.isPart = true;
        complain("try", error, t("notRead"));
        return [];
      }),
    ]);
    keepOnly(transactions.map(fromTransaction));
    use(terminal);
    state.isLoaded = true;
    if (state.opened !== undefined) openSoon();
  } finally {
    caught = undefined;
    events.forEach(take);
  }
}

/**
 * Does something that the server may refuse, and says why beside the field.
 *
 * @param {string} id
 * @param {() => Promise<unknown>} doing
 * @returns {Promise<boolean>} whether it was done
 */
export async function attempt(id, doing) {
  try {
    await doing();
    complain(id);
    return true;
  } catch (error) {
    complain(id, error);
    state.areControlsStale = true;
    return false;
  } finally {
    refreshSoon();
  }
}

// ---------------------------------------------------------------- the connection

/** @type {Happened["event"][]} */
const NAMES = [
  "request",
  "invalid",
  "decided",
  "warning",
  "waiting",
  "due",
  "answer",
  "gone",
  "closed",
  "asleep",
  "listening",
];

/** Listens to what happens, and begins again after a connection was lost. */
export function listen() {
  const stream = new EventSource("api/events");
  const fail = () => {
    showLink(true);
    stream.close();
    setTimeout(listen, RETRY);
  };
  stream.onopen = () => void sync().then(() => showLink(false), fail);
  stream.onerror = fail;
  for (const name of NAMES) {
    stream.addEventListener(name, ({ data }) => {
      const event = JSON.parse(data);
      if (caught) caught.push(event);
      else take(event);
    });
  }
}

/** Whether the connection is lost. */
export const isBroken = () => $("link").classList.contains("broken");

/** Shows whether it is. */
export function showLink(is = isBroken()) {
  $("link").classList.toggle("broken", is);
  put($("link"), t(is ? "broken" : "live"));
}

/** Somebody else may have changed or reset it, which no event tells. */
setInterval(async () => {
  if (document.hidden || caught || isBroken()) return;
  refreshSoon();
  const last = [...known.values()].pop();
  if (!last) return;
  try {
    const [same] = await call("GET", "transactions?after=" + (last.number - 1));
    if (!same || +new Date(same.received) !== last.received) await sync();
  } catch { /* the stream tells */ }
}, LOOK);
