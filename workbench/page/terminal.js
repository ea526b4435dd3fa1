// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * The terminal on the page: its screen, its keys, and the receipts that it prints.
 *
 * @module
 */
import { DATA, own } from "./data.js";
import { $, h, put, visible } from "./elements.js";
import {
  actionText,
  decisionOf,
  isMasked,
  isNoAmount,
  money,
  movesMoney,
  paidOf,
  receiptsOf,
  term,
} from "./meaning.js";
import { asked, isReal, known, lostOf, state } from "./state.js";
import { FRENCH, t } from "./texts.js";

/** @typedef {import("./types.ts").Entry} Entry */

const GLYPHS = {
  none: "",
  wave: "M6 9a5 5 0 0 1 0 6M10 6a10 10 0 0 1 0 12M14 3a15 15 0 0 1 0 18",
  done: "M4 13l5 5L20 6",
  failed: "M6 6l12 12M18 6L6 18",
};

/** @typedef {{ top: string, main: string, sub: string, glyph: keyof typeof GLYPHS }} Screen */

// ---------------------------------------------------------------- the screen

/** What is accepted, by the action (CD). */
const ACCEPTED = {
  0: "PAIEMENT ACCEPTÉ",
  1: "CRÉDIT ACCEPTÉ",
  2: "ANNULATION ACCEPTÉE",
  7: "PAIEMENT ACCEPTÉ",
};

/** How it failed, by the first two digits of AF. */
const FAILED = {
  "04": "PAIEMENT REFUSÉ",
  "05": "CARTE INTERDITE",
  "06": "ABANDON",
  "11": "ABANDON",
  "08": "DÉLAI DÉPASSÉ",
};

/** What the screen says when nothing is under way. */
function restingOn() {
  const { listening, reached } = state.settings ?? {};
  if (listening === false) return "EN VEILLE";
  return isReal() && reached === false ? "INJOIGNABLE" : "PRÊT";
}

/**
 * What the screen says of a transaction. Where the till did not get what was decided, it says so.
 *
 * @param {Entry} [entry]
 */
function screenOf(entry) {
  const screen = decidedScreen(entry);
  return entry && lostOf(entry) && !isStillSent(entry)
    ? { ...screen, sub: "RÉPONSE PERDUE" }
    : screen;
}

/**
 * Whether a real terminal's answer may still be sent.
 *
 * @param {Entry} entry
 */
const isStillSent = ({ answer, ended, gone }) => isReal() && !answer && !ended && !gone;

/**
 * What the screen of a real one would say. It is French.
 *
 * @param {Entry} [entry]
 * @returns {Screen}
 */
function decidedScreen(entry) {
  if (!entry) return { top: "", main: restingOn(), sub: "", glyph: "none" };
  const { message } = entry;
  const answer = decisionOf(entry);
  const top = ("CAISSE " + visible(message.CA || "").slice(0, 12)).trim();
  const action = actionText(message, FRENCH).toUpperCase();
  const moves = movesMoney(message) && !isNoAmount(message.CB);
  if (!answer) {
    const sub = !moves ? "PATIENTEZ" : message.CC === "00C" ? "INSÉREZ CHÈQUE" : "PRÉSENTEZ CARTE";
    return {
      top: moves ? top + " · " + action : top,
      main: moves ? money(message, FRENCH) : action,
      sub,
      glyph: moves ? "wave" : "none",
    };
  }
  const { AE, AF = "" } = answer.message;
  const sum = moves ? money(paidOf(entry), FRENCH) : "";
  if (AE === "10" || AE === "11") {
    const main = own(ACCEPTED, message.CD) || action + " OK";
    return {
      top: [top, sum].join("  "),
      main: AE === "11" ? "PRISE EN COMPTE" : main,
      sub: answer.message.ZT ? "TICKET EN COURS" : answer.message.CI === "1" ? "RETIREZ CARTE" : "",
      glyph: "done",
    };
  }
  if (AE !== "01") return { top, main: "ERREUR DE LIAISON", sub: "", glyph: "failed" };
  const duplicate = message.CD === "3" ? duplicateScreen(AF) : undefined;
  if (duplicate) return { top, main: duplicate, sub: "", glyph: "failed" };
  const why = (term("AF", AF)?.[FRENCH] ?? "motif inconnu").toUpperCase();
  return {
    top: [top, sum].join("  "),
    main: own(FAILED, AF.slice(0, 2)) || "NON ABOUTI",
    sub: "AF " + visible(AF.slice(0, 2)) + " · " + why,
    glyph: "failed",
  };
}

/**
 * What the model shows when it has no duplicate to give, if that is known.
 *
 * @param {string} AF
 */
function duplicateScreen(AF) {
  const screens = own(DATA.models, state.settings?.model)?.screens;
  return AF === "07" ? screens?.failed : AF === "10" ? screens?.none : undefined;
}

// ---------------------------------------------------------------- receipts

/**
 * A receipt on paper.
 *
 * @param {import("./meaning.js").Receipt} receipt
 */
export function paper({ text, html }) {
  if (!html) {
    return h("div", { class: "paper" }, h("pre", {}, text.replace(/[^\n -~\u00a0-\u00ff]/g, "")));
  }
  // Without a word in it the sandbox allows nothing: no script, no form, no way out.
  return h(
    "div",
    { class: "paper" },
    h("iframe", { sandbox: "", title: t("receipt"), srcdoc: text }),
  );
}

/**
 * The answer whose receipts hang out of the terminal.
 *
 * @type {import("./types.ts").Answer | undefined}
 */
let printed;

/** Prints again, in the language that is read now. */
export function printAgain() {
  printed = undefined;
}

// ---------------------------------------------------------------- drawing

/** Draws the terminal. */
export function drawTerminal() {
  const question = asked();
  const { result } = state;
  const isNew = result && performance.now() < result.until;
  const open = [...known.values()].slice(-50).filter((one) =>
    !one.answer && !one.ended && !one.gone && !one.error
  );
  // One that it is silent about stays on the screen, behind all others.
  const busy = open.find((one) => !one.due) ?? open.at(-1);
  const entry = question || (isNew ? result.entry : busy);
  const { top, main, sub, glyph } = screenOf(entry);
  put($("screen-top"), top);
  put($("screen-main"), main);
  put($("screen-sub"), sub);
  $("screen-main").classList.toggle("long", main.length > 13);
  document.getElementById("glyph-path")?.setAttribute("d", GLYPHS[glyph]);
  const isDecided = entry && decisionOf(entry) !== undefined;
  $("device").classList.toggle("busy", isDecided === false);
  $("device").classList.toggle("done", isDecided === true);
  for (const id of ["red", "yellow", "green"]) $(id, HTMLButtonElement).disabled = !question;
  drawPrinter(result && decisionOf(result.entry));
}

/** @param {import("./types.ts").Answer} [answer] */
function drawPrinter(answer) {
  if (printed === answer) return;
  printed = answer;
  const receipts = answer ? receiptsOf(answer.message) : [];
  const papers = receipts.map(paper);
  const note = receipts.some(isMasked) ? [h("p", { class: "muted" }, t("masked"))] : [];
  const printer = $("printer");
  printer.hidden = papers.length === 0;
  const tear = h("button", { class: "quiet", click: () => printer.hidden = true }, t("tear"));
  printer.replaceChildren(...papers, ...note, tear);
}
