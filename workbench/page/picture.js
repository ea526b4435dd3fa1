// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * The picture of a transaction: two lines of life, and what went between them.
 *
 * @module
 */
import { inBytes, s, seconds } from "./elements.js";
import { endingOf, lostOf } from "./state.js";
import { t } from "./texts.js";

/** @typedef {import("./types.ts").Transaction} Transaction */
/** @typedef {import("./types.ts").Entry} Entry */

/**
 * Something that happened. Bytes that went: from the till (0) or the terminal (1). Or a mark at the
 * side of either.
 *
 * @typedef {{ at: number, side: 0 | 1, y: number } & (
 *   | { bytes: number, isInterim?: boolean, isLost?: boolean, note?: string, mark?: undefined }
 *   | { mark: "gone" | "tillCloses" | "terminalCloses" | "proxyCloses" }
 * )} Moment
 */

/**
 * What happened, in the order in which it did. What was said never arrives where the terminal cannot be
 * reached; a decision that the till did not get is told at what it got instead.
 *
 * @param {Transaction} one
 * @param {Entry} entry
 */
function momentsOf(one, entry) {
  const { request, answer, due, gone, closed, received, answered, warnings } = one;
  const isUnreached = warnings.some(({ code }) => code === "unreachable");
  /** @param {import("./types.ts").Answer} message @param {number} at */
  const segments = ({ segments, raw }, at) => segments ?? [{ milliseconds: at, bytes: raw.length }];
  /** @type {Moment[]} */
  const moments = segments(request, 0).map(({ milliseconds: at, bytes }) => ({
    at,
    bytes,
    side: 0,
    y: 0,
    isLost: isUnreached,
  }));
  for (const { at, bytes } of entry.interims) {
    moments.push({ at, bytes, side: 1, isInterim: true, y: 0 });
  }
  if (answer?.raw && answered) {
    const isLost = answer.lost === "all";
    for (
      const { milliseconds: at, bytes } of segments(
        answer,
        +new Date(answered) - +new Date(received),
      )
    ) {
      moments.push({ at, bytes, side: 1, isLost, y: 0 });
    }
  } else if (due) {
    const at = due.milliseconds ?? due.segments?.at(-1)?.milliseconds ?? 0;
    moments.push({ at, bytes: due.raw.length, side: 1, isLost: true, y: 0 });
  }
  const last = moments.filter(({ side }) => side === 1).pop();
  if (last && last.mark === undefined && lostOf(entry)) [last.note] = endingOf(entry);
  if (gone) moments.push({ at: gone.milliseconds, mark: "gone", side: 0, y: 0 });
  if (closed?.by === "pos") {
    moments.push({ at: closed.milliseconds, mark: "tillCloses", side: 0, y: 0 });
  } else if (closed) {
    const mark = isUnreached ? "proxyCloses" : "terminalCloses";
    moments.push({ at: closed.milliseconds, mark, side: 1, y: 0 });
  }
  return moments.sort((a, b) => a.at - b.at);
}

const NOTE = 16; // pixels that a note below an arrow takes

/**
 * Gives each moment its height: pauses in proportion, but never so short that two arrows touch.
 *
 * @param {Moment[]} moments
 */
function lay(moments) {
  const [first] = moments;
  const last = moments.at(-1);
  const floor = moments.length > 30 ? 8 : 32;
  const lasted = Math.max(1, (last?.at ?? 0) - (first?.at ?? 0));
  let y = 72;
  let before = first?.at ?? 0;
  let isNoted = false;
  const pauses = [];
  for (const moment of moments) {
    const pause = moment.at - before;
    if (moment !== first) {
      const least = isNoted ? floor + NOTE : floor;
      const step = Math.max(least, pause * 240 / lasted);
      if (step > 56) pauses.push({ y: y + step / 2, text: seconds(pause) });
      y += step;
    }
    moment.y = y;
    before = moment.at;
    isNoted = moment.mark === undefined && moment.note !== undefined;
  }
  return { pauses, end: isNoted ? y + NOTE : y };
}

/**
 * That it did not arrive.
 *
 * @param {Moment} moment
 */
const lostText = ({ side }) => t(side === 0 ? "notDelivered" : "notSent");

/**
 * What went, in words.
 *
 * @param {Moment} moment
 */
function wordsOf(moment) {
  if (moment.mark !== undefined) return t(moment.mark);
  const what = moment.side === 0 ? t("request") : moment.isInterim ? "AE 11" : t("answer");
  const lost = moment.isLost ? ", " + lostText(moment) : "";
  return what + ", " + inBytes(moment.bytes) + lost + (moment.note ? ", " + moment.note : "");
}

/**
 * Draws the conversation in time.
 *
 * @param {Transaction} one
 * @param {Entry} entry the same, as the list has it
 * @param {number} width in pixels
 */
export function picture(one, entry, width) {
  const moments = momentsOf(one, entry);
  const { pauses, end } = lay(moments);
  const isOpen = !one.ended && !one.closed;
  const bottom = end + (isOpen ? 64 : 32);
  const isNarrow = width < 480;
  const [left, right] = [isNarrow ? 80 : 120, width - (isNarrow ? 48 : 120)];
  const middle = (left + right) / 2;
  const drawing = s("svg", {
    width,
    height: bottom + 8,
    viewBox: [0, 0, width, bottom + 8].join(" "),
    role: "img",
    "aria-label": moments.slice(0, 40).map((one) => one.at + " ms: " + wordsOf(one)).join("; "),
  });
  /**
   * @param {number} x
   * @param {number} y
   * @param {"start" | "middle" | "end"} anchor
   * @param {string} text
   * @param {Record<string, string>} [about]
   */
  const write = (x, y, anchor, text, about) =>
    drawing.append(s("text", { x, y, "text-anchor": anchor, ...about }, text));
  for (const [x, name] of /** @type {const} */ ([[left, t("register")], [right, t("terminal")]])) {
    drawing.append(s("line", { x1: x, x2: x, y1: 32, y2: bottom, class: "life" }));
    drawing.append(s("rect", { x: x - 40, y: 8, width: 80, height: 24, rx: 6, class: "box" }));
    write(x, 24, "middle", name);
  }
  const start = moments.findLast(({ side, mark }) => side === 0 && !mark)?.y ?? 0;
  const last = moments.findLast(({ side, mark }) => side === 1 || mark)?.y ?? start;
  const height = Math.max(8, (isOpen ? bottom : last) - start);
  const isAsked = moments.some(({ side, mark, ...about }) =>
    side === 0 && !mark && !("isLost" in about && about.isLost)
  );
  if (isAsked) {
    drawing.append(s("rect", { x: right - 4, y: start, width: 8, height, rx: 2, class: "work" }));
  }
  for (const { y, text } of pauses) write(middle, y + 4, "middle", text, { class: "dim" });
  let labelled = -Infinity;
  for (const moment of moments) {
    const { at, y } = moment;
    const isLabelled = y - labelled >= 16;
    if (isLabelled) {
      labelled = y;
      const time = Math.abs(at) < 10_000 ? at + " ms" : seconds(at);
      write(left - (isNarrow ? 12 : 16), y + 4, "end", time, { class: "dim" });
    }
    if (moment.mark !== undefined) {
      const [x, to] = moment.side ? [right, -16] : [left, 16];
      const cross = "M" + (x - 5) + " " + (y - 5) + "l10 10m0-10l-10 10";
      drawing.append(s("path", { d: cross, class: moment.mark === "gone" ? "mark" : "shut" }));
      write(x + to, y + 4, moment.side ? "end" : "start", t(moment.mark));
      continue;
    }
    const { isLost, isInterim, bytes, note } = moment;
    const to = moment.side ? left + 2 : right - 6;
    const [x1, x2] = [moment.side ? right - 6 : left + 2, isLost ? middle : to];
    const back = -7 * Math.sign(x2 - x1);
    const arrow = "M" + x1 + " " + y + "H" + x2 + "m" + back + "-4l" + -back + " 4l" + back + " 4";
    drawing.append(s("path", { d: arrow, class: isLost ? "arrow lost" : "arrow segment" }));
    if (isLabelled) {
      const text = (isInterim ? "AE 11 · " : "") + inBytes(bytes) +
        (isLost ? " · " + lostText(moment) : "");
      write(middle, y - 6, "middle", text);
    }
    if (note) write(middle, y + NOTE, "middle", note, { class: "told" });
  }
  return drawing;
}
