// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * The examination of tills: the sheet of a cash register, and what its till says of each case.
 *
 * @module
 */
import { call, complain } from "./api.js";
import { DATA } from "./data.js";
import { $, h, put, visible } from "./elements.js";
import { draw as drawAll } from "./state.js";
import { french, pick, t } from "./texts.js";

/** @typedef {import("./types.ts").ExamRow} Row */
/** @typedef {import("./types.ts").ExamReport} Report */

const PAUSE = 200; // milliseconds until the sheet is read again when something has happened
const LOOK = 2_000; // milliseconds between looks for what no event tells

/** What a till can say, and what the page calls that. */
const WORDS = /** @type {const} */ ([
  ["paid", "saysPaid"],
  ["not-paid", "saysNotPaid"],
  ["check", "saysCheck"],
  ["crashed", "saysCrashed"],
]);

/** How a verdict is drawn. */
const TONES = { passed: "good", failed: "bad", remark: "warned", "not-sat": "muted" };

/**
 * The cash register whose sheet is shown; the only one there is, if none is chosen.
 *
 * @type {string | undefined}
 */
let chosen;

let drawn = ""; // the report that is shown, and the language

/** Whether the examination is looked at. */
const isShown = () => DATA.exam && !$("exam").hidden;

/** The query that names a cash register. */
const query = (register = chosen) =>
  register === undefined ? "" : "?register=" + encodeURIComponent(register);

// ---------------------------------------------------------------- drawing

/**
 * @param {Row} row
 * @returns {HTMLElement}
 */
function wordsNode({ name, till }) {
  const buttons = WORDS.map(([word, key]) =>
    h("button", {
      id: "say-" + name + "-" + word,
      "aria-pressed": String(till === word),
      async click() {
        try {
          await call("POST", "exam/" + name + query() + (query() ? "&" : "?") + "by=person", word);
          complain("exam");
        } catch (error) {
          complain("exam", error);
        }
        await read();
      },
    }, t(key))
  );
  return h("div", { class: "says", role: "group", "aria-label": t("tillSays") }, ...buttons);
}

/** @param {Row} row */
function rowNode(row) {
  const { name, amount, verdict, does, right, transactions } = row;
  const isSat = verdict !== "not-sat" || transactions.length > 0;
  const text = french ? pick([row.text, row.french]) : row.text;
  const links = transactions.slice(0, 10).map((number) =>
    h("a", { href: "#/t/" + number }, t("transaction", number))
  );
  return h(
    "li",
    { class: "case " + verdict },
    h(
      "h3",
      {},
      h(
        "span",
        { class: "sum" },
        amount === undefined ? "" : french ? amount.replace(".", ",") : amount,
      ),
      " ",
      name,
    ),
    h("p", { class: "verdict " + TONES[verdict] }, pick(row.called)),
    h(
      "div",
      { class: "about" },
      h("p", { class: verdict === "not-sat" ? "muted" : "text" }, visible(text)),
      h("p", { class: "muted" }, pick(does), " · ", pick(right)),
      links.length > 0 ? h("p", { class: "links" }, ...links) : undefined,
    ),
    isSat && amount !== undefined ? wordsNode(row) : undefined,
  );
}

/**
 * Draws the sheet, where it has changed.
 *
 * @param {Report} report
 * @param {readonly string[]} registers
 */
function draw(report, registers) {
  const text = JSON.stringify([report, registers, french]);
  if (text === drawn) return;
  drawn = text;
  const { passed, failed, remarks, notSat } = report;
  const counts = [
    t("passed", passed),
    t("failed", failed),
    ...(remarks > 0 ? [t("remarks", remarks)] : []),
    ...(notSat > 0 ? [t("notSat", notSat)] : []),
  ];
  put($("exam-count"), counts.join(" · "));
  const select = $("exam-register", HTMLSelectElement);
  $("exam-registers").hidden = registers.length < 2;
  select.replaceChildren(...registers.map((register) =>
    h("option", {
      value: register,
      ...(register === report.register && { selected: "" }),
    }, visible(register) || "—")
  ));
  const focused = document.activeElement?.id ?? "";
  $("exam-list").replaceChildren(...report.cases.map(rowNode));
  if (focused.startsWith("say-")) document.getElementById(focused)?.focus();
  for (const [id, path] of /** @type {const} */ ([["exam-json", ""], ["exam-xml", ".xml"]])) {
    $(id, HTMLAnchorElement).href = "api/exam" + path + query(report.register || undefined);
  }
}

// ---------------------------------------------------------------- reading

let isReading = false;

/** Reads the sheet. */
async function read() {
  if (isReading || !isShown()) return;
  isReading = true;
  try {
    /** @type {{ registers: string[] }} */
    const { registers } = await call("GET", "exam/registers");
    if (chosen === undefined || !registers.includes(chosen)) {
      chosen = registers.length > 1 ? registers[0] : undefined;
    }
    draw(await call("GET", "exam" + query()), registers);
  } catch {
    /* the line at the top says that the connection is lost */
  } finally {
    isReading = false;
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let reading;

/** Reads the sheet again soon, since something has happened. */
export function drawExam() {
  if (!isShown()) return;
  reading ??= setTimeout(() => {
    reading = undefined;
    read();
  }, PAUSE);
}

/** Shows the examination, if the address names it and there is one. */
export function routeExam() {
  const isExam = DATA.exam && location.hash === "#/exam";
  $("exam-link").hidden = !DATA.exam;
  $("exam").hidden = !isExam;
  if (!isExam) return;
  $("home").hidden = true;
  read();
}

$("exam-reset").addEventListener("click", async () => {
  try {
    await call("POST", "exam/reset" + query());
    complain("exam");
  } catch (error) {
    complain("exam", error);
  }
  chosen = undefined;
  await read();
  drawAll();
});
$("exam-register").addEventListener("change", () => {
  chosen = $("exam-register", HTMLSelectElement).value;
  read();
});
setInterval(() => document.hidden || read(), LOOK);
