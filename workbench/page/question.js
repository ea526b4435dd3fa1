// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * A person decides: who waits, with which card, and how it ends.
 *
 * @module
 */
import { call, complain } from "./api.js";
import { DATA } from "./data.js";
import { $, h, input, put, s, visible } from "./elements.js";
import { attempt } from "./live.js";
import { movesMoney, summaryOf } from "./meaning.js";
import { asked, draw, known, state } from "./state.js";
import { pick, t, textOf } from "./texts.js";

/** @typedef {import("./types.ts").Entry} Entry */

/**
 * The keys by which a person decides, and the words of the outcome: the first letter of each.
 *
 * @type {ReadonlyMap<string, string>}
 */
const KEYS = new Map([
  ["Enter", "success"],
  ["a", "abandon"],
  ["r", "refused"],
  ["f", "forbidden"],
  ["t", "timeout"],
  ["s", "silent"],
]);

const MOST_TILLS = 50; // that are shown

// ---------------------------------------------------------------- deciding

/**
 * The payment that is shown: what somebody does is about this one.
 *
 * @type {Entry | undefined}
 */
let questioned;

/**
 * The one that is being decided on here.
 *
 * @type {Entry | undefined}
 */
let deciding;

/** The card that is chosen, as a word of an outcome; nothing where it is the one of the request. */
function card() {
  const checked = document.querySelector('[name="card"]:checked');
  return checked instanceof HTMLInputElement ? checked.value : "";
}

/** @param {string} words */
async function decide(words) {
  const question = questioned;
  if (!question) return;
  deciding = question;
  const withCard = words === "success" && card() && movesMoney(question.message);
  const done = await attempt("answer", async () => {
    await call(
      "POST",
      "transactions/" + question.number + "/outcome",
      withCard ? words + "," + card() : words,
    );
    state.waiting = state.waiting.filter((number) => number !== question.number);
    question.changed = true;
  });
  if (!done) deciding = undefined;
  else if (questioned === question) correct();
  draw();
}

function correct() {
  input("card-").checked = true;
  input("answer-words").value = "";
  complain("answer");
}

$("answer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const { value } = input("answer-words");
  if (value.trim()) decide(value);
});
$("red").addEventListener("click", () => decide("abandon"));
$("yellow").addEventListener("click", correct);
$("green").addEventListener("click", () => decide("success"));
addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const words = KEYS.get(key);
  const { target, ctrlKey, metaKey, altKey, repeat } = event;
  if (!words || ctrlKey || metaKey || altKey || repeat || !questioned) return;
  if ($("ask", HTMLDialogElement).open || !(target instanceof Element)) return;
  const { opened } = state;
  if (opened !== undefined && opened !== questioned.number) return; // somebody reads of another
  const typed = "select, input:not([type=radio], [type=checkbox]), #list, #detail";
  if (target.closest(typed)) return;
  if (key === "Enter" && target.closest("a, button, summary, [type=checkbox]")) return;
  event.preventDefault();
  decide(words);
});

// ---------------------------------------------------------------- drawing

/**
 * The buttons of the tills that wait, by transaction.
 *
 * @type {Map<number, { node: HTMLButtonElement, what: HTMLElement, since: HTMLElement }>}
 */
const tills = new Map();

/** Draws who waits for a person, and what can be decided. */
export function drawQuestion() {
  const question = asked();
  const isOther = question?.number !== questioned?.number ||
    question?.received !== questioned?.received;
  const isBegun = isOther && questioned !== deciding && (card() || input("answer-words").value);
  questioned = question;
  if (isOther) {
    correct(); // what was meant for one payment is not for another
    if (isBegun && question) $("answer-error").textContent = t("another");
  }
  const { activeElement: active } = document;
  const held = active instanceof HTMLElement && $("question").contains(active) && active;
  $("decide").hidden = !state.settings?.interactive && !question;
  $("nobody").hidden = Boolean(question);
  $("question").hidden = !question;
  if (question) drawTills(question);
  if (!held || held.offsetParent) return;
  (question && tills.get(question.number)?.node || $("decide-title")).focus();
}

/** @param {Entry} question */
function drawTills(question) {
  for (const [number, { node }] of tills) {
    if (state.waiting.includes(number)) continue;
    node.remove();
    tills.delete(number);
  }
  for (const number of state.waiting.slice(0, MOST_TILLS)) {
    const entry = known.get(number);
    if (!entry) continue;
    const { message, received, gone } = entry;
    const { node, what, since } = tills.get(number) ?? addTill(number);
    const till = t("till", visible(message.CA || "?").slice(0, 12));
    put(what, till + " · " + summaryOf(entry));
    const waited = Math.max(0, Math.round((Date.now() - received) / 1000));
    put(since, waited + " s" + (gone ? " · " + t("gone") : ""));
    node.setAttribute("aria-pressed", String(question.number === number));
  }
}

/** @param {number} number */
function addTill(number) {
  const [what, since] = [h("b"), h("span")];
  const click = () => {
    state.chosen = number;
    drawQuestion();
    draw();
  };
  const till = { node: h("button", { type: "button", click }, what, since), what, since };
  $("tills").append(till.node);
  tills.set(number, till);
  return till;
}
setInterval(() => state.waiting.length > 0 && draw(), 1000);

/**
 * How a card is read, as a picture, by CI.
 *
 * @type {ReadonlyMap<string, string>}
 */
const READ = new Map([
  ["2", "M4 6a4 4 0 0 1 0 4M7 4a8 8 0 0 1 0 8M10 2a12 12 0 0 1 0 12"],
  ["1", "M2 4h12v8H2zM2 8h4m4 0h4M6 4v8m4-8v8"],
]);

/** Makes the cards and the choices, in the language that is read. */
export function speakQuestion() {
  const now = card();
  /** @param {string} name @param {string} label @param {string} [read] */
  const option = (name, label, read = "") => {
    const field = h("input", { type: "radio", name: "card", value: name, id: "card-" + name });
    field.checked = name === now;
    const icon = s(
      "svg",
      { viewBox: "0 0 16 16", "aria-hidden": "true" },
      s("path", { d: READ.get(read) ?? "" }),
    );
    const word = name ? h("code", {}, name) : "";
    return h("label", {}, field, h("span", {}, h("b", {}, label), word, icon));
  };
  const cards = $("cards");
  const legend = cards.querySelector("legend") ?? "";
  cards.replaceChildren(
    legend,
    option("", t("anyCard")),
    ...Object.entries(DATA.cards).map(([name, [, read]]) => {
      const words = DATA.words[name];
      return option(name, words ? pick(words) : name, read);
    }),
  );
  $("choices").replaceChildren(
    ...[...KEYS].map(([key, words]) =>
      h(
        "button",
        { class: words === "success" ? "main" : "", click: () => decide(words) },
        textOf(words),
        h("kbd", { "aria-hidden": "true" }, key === "Enter" ? "↵" : key.toUpperCase()),
      )
    ),
  );
}
