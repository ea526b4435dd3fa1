// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What the tills did: the list of the transactions, the newest first.
 *
 * @module
 */
import { $, clock, h, input, put, seconds, visible } from "./elements.js";
import { actionText, decidedText, isNoAmount, sumOf } from "./meaning.js";
import { draw, endingOf, known, state } from "./state.js";
import { french, t } from "./texts.js";

/** @typedef {import("./types.ts").Entry} Entry */

const MOST_ROWS = 200; // that are shown before somebody asks for more, and each time they do

let most = MOST_ROWS;

/**
 * An empty row.
 *
 * @param {number} number
 * @returns {import("./types.ts").Row}
 */
function newRow(number) {
  const heard = /** @type {const} */ ([
    h("span", { class: "unseen" }),
    h("span", { class: "unseen" }),
  ]);
  const [register, count, ending] = [h("span"), h("span"), h("span")];
  const by = h("small");
  const columns = [
    h("time"),
    h("span", {}, heard[0], register),
    h("span"),
    h("span", { class: "sum" }),
    h("span", {}, ending, " ", by),
    h("span", { class: "took" }),
    h("span", {}, count, heard[1]),
  ];
  const link = h("a", { class: "row", href: "#/t/" + number }, ...columns);
  const written = new Map([[1, register], [4, ending], [6, count]]);
  const cells = columns.map((column, at) => written.get(at) ?? column);
  return { item: h("li", {}, link), link, cells, by, heard, hay: "" };
}

/**
 * The row of a transaction, made when it is seen for the first time.
 *
 * @param {Entry} entry
 */
function rowOf(entry) {
  const { message, warnings, took, decided } = entry;
  if (entry.row && !entry.changed && entry.row.french === french) return entry.row;
  const row = entry.row ??= newRow(entry.number);
  const [ending, tone] = endingOf(entry);
  const texts = [
    clock(entry.received),
    visible(message.CA || "").slice(0, 40),
    actionText(message),
    sumOf(entry),
    ending,
    took === undefined ? "" : seconds(took),
    warnings.length ? String(warnings.length) : "",
  ];
  row.cells.forEach((cell, at) => put(cell, texts[at] ?? ""));
  // What the settings say of all is said there.
  const by = decided === undefined || decided === "outcome" ? "" : decidedText(decided);
  put(row.by, by);
  const [, , , sum, , , warned] = row.link.children;
  const [, , , , end] = row.cells;
  if (sum) sum.className = isNoAmount(message.CB) ? "sum warned" : "sum";
  if (end) end.className = tone;
  if (warned) warned.className = warnings.length ? "count warned" : "count";
  const [register, noun] = row.heard;
  put(register, t("register") + " "); // for who hears it, without the heads of the columns
  put(noun, warnings.length ? " " + t(warnings.length === 1 ? "warning" : "warnings") : "");
  entry.changed = false;
  row.french = french;
  const told = warnings.map(({ code, text }) => code + " " + text);
  row.hay = [...texts, by, entry.raw.slice(0, 4096), ...told].join(" ").toLowerCase();
  return row;
}

/** Draws the list. */
export function drawList() {
  if (!state.isLoaded) return;
  const needle = input("filter").value.trim().toLowerCase();
  const isWarned = input("only-warned").checked;
  /** @type {Set<Element>} */
  const wanted = new Set();
  let fitting = 0;
  for (const entry of [...known.values()].reverse()) {
    if (isWarned && entry.warnings.length === 0) continue;
    if (needle !== "" && !rowOf(entry).hay.includes(needle)) continue;
    fitting++;
    if (wanted.size < most) wanted.add(rowOf(entry).item);
  }
  const list = $("list");
  for (const item of [...list.children]) if (!wanted.has(item)) item.remove();
  let at = list.firstElementChild;
  for (const item of wanted) {
    if (item === at) at = at.nextElementSibling;
    else list.insertBefore(item, at);
  }
  $("first").hidden = known.size > 0 || state.isPart;
  $("log").hidden = known.size === 0;
  $("none").hidden = fitting > 0;
  $("more").hidden = fitting <= most;
  put($("count"), fitting === known.size ? String(fitting) : fitting + " / " + known.size);
}

$("filter").addEventListener("input", draw);
$("only-warned").addEventListener("change", draw);
$("more").addEventListener("click", () => {
  most += MOST_ROWS;
  draw();
});
