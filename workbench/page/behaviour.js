// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * How the terminal behaves: its settings, rules and queue, shown and changed.
 *
 * @module
 */
import { call, complain } from "./api.js";
import { DATA, own } from "./data.js";
import { $, h, input, put } from "./elements.js";
import { attempt, sync, use } from "./live.js";
import { isReal, state } from "./state.js";
import { french, pick, t } from "./texts.js";

const MOST_QUEUED = 50; // that are shown

// ---------------------------------------------------------------- drawing

/**
 * An outcome as it is read: a real terminal decides whether it is a success.
 *
 * @param {string} outcome
 */
const inWords = (outcome) => isReal() ? outcome.replace(/^success,?/, "") : outcome;

/**
 * Shows what is set in a field, unless somebody is there or what they typed was refused.
 *
 * @param {string} id
 * @param {string} value
 */
function fill(id, value) {
  const field = input(id);
  if (document.activeElement !== field && !field.hasAttribute("aria-invalid")) field.value = value;
}

/** Says on the page and in its tab what this is. */
export function entitle() {
  if (!state.settings) return;
  const title = t(isReal() ? "realTitle" : "title");
  put($("title"), title);
  const where = state.opened === undefined ? "" : t("transaction", state.opened) + " · ";
  document.title = where + title;
}

/**
 * A number as it may be typed, with a decimal comma too; NaN if it is none.
 *
 * @param {string} text
 */
const numberOf = (text) => text.trim() === "" ? NaN : Number(text.trim().replace(",", "."));

let typed = ""; // the seconds as somebody has typed them

let drawn = ""; // the settings that the controls show, and the language

/** Draws the settings, where they have changed. */
export function drawSettings() {
  const { settings } = state;
  if (!settings) return;
  const now = JSON.stringify([settings, french]);
  if (now === drawn && !state.areControlsStale) return;
  drawn = now;
  state.areControlsStale = false;
  entitle();
  drawControls(settings);
  drawModel(settings.model);
  drawRules(settings);
  const { host = "", port } = settings;
  put($("port"), String(port));
  put($("first-port"), String(port));
  const isEverywhere = host === "::" || host === "0.0.0.0";
  put($("address"), isEverywhere ? t("addressOf") : host);
  $("find").hidden = !isEverywhere;
}

/** @param {import("./types.ts").Settings} settings */
function drawControls(settings) {
  const { outcome, duration, strict, exclusive, interactive, when, next, terminal = "" } = settings;
  const { listening } = settings;
  const real = terminal !== "";
  put($("outcome-label"), t(real ? "change" : "outcome"));
  fill("outcome", inWords(outcome ?? ""));
  input("outcome").placeholder = outcome === null ? t("byFunction") : real ? t("unchanged") : "";
  input("when-words").placeholder = real ? "truncate" : "refused";
  const standard = french ? String(duration).replace(".", ",") : String(duration);
  fill("duration", numberOf(typed) === duration ? typed : standard);
  const isIdle = interactive && next.length === 0 && Object.keys(when).length === 0;
  const field = input("duration");
  field.disabled = isIdle;
  if (isIdle) field.title = t("durationIdle");
  else field.removeAttribute("title");
  input(interactive ? "interactive" : "automatic").checked = true;
  input("strict").checked = strict;
  input("exclusive").checked = exclusive;
  input("asleep").checked = !listening;
  document.body.classList.toggle("real", real);
  $("where-real").hidden = !real;
  put($("real-name"), terminal);
}

/** @param {string} [name] of the model; a real terminal has none */
function drawModel(name = "") {
  const { is, known } = own(DATA.models, name) ?? { is: ["", ""], known: [] };
  $("model", HTMLSelectElement).value = name;
  put($("model-name"), name);
  $("where-model").hidden = known.length === 0;
  $("differences").hidden = known.length === 0;
  const count = known.length === 1 ? t("difference") : t("differences", known.length);
  put($("difference-count"), count);
  put($("model-is"), pick(is));
  $("difference-list").replaceChildren(
    ...known.map(({ source, text }) => h("li", {}, pick(text) + " (" + source + ")")),
  );
}

/** @param {import("./types.ts").Settings} settings */
function drawRules({ when, next }) {
  /** @param {string} amount @param {string} words @param {HTMLElement} [remove] */
  const rule = (amount, words, remove) =>
    h("li", {}, amount && h("code", {}, amount), h("code", {}, words), remove);
  $("when").replaceChildren(
    ...Object.entries(when).map(([amount, words]) => {
      const { [amount]: _, ...others } = when;
      const click = () => change("when", { when: others });
      const remove = h("button", { click, "aria-label": t("remove", amount) }, "×");
      return rule(amount, inWords(words), remove);
    }),
  );
  $("next-clear").hidden = next.length === 0;
  $("next").replaceChildren(
    ...next.slice(0, MOST_QUEUED).map((one) => rule(one.register || "", inWords(one.outcome))),
  );
}

/** Makes the list of the models, in the language that is read. */
export function speakSettings() {
  $("model").replaceChildren(
    ...Object.entries(DATA.models).map(([name, { is }]) =>
      h("option", { value: name }, name + " · " + pick(is))
    ),
  );
}

// ---------------------------------------------------------------- changing

/**
 * Words that complete what is typed after the last comma.
 *
 * @param {HTMLInputElement} field
 */
function complete({ value }) {
  const before = value.slice(0, value.lastIndexOf(",") + 1);
  const typed = value.slice(before.length).trim();
  const fitting = Object.entries(DATA.words).filter(([word]) =>
    word.startsWith(typed) && (!isReal() || DATA.changes.includes(word))
  );
  $("words").replaceChildren(
    ...fitting.map(([word, help]) =>
      h("option", { value: before + word, label: word + " · " + pick(help) })
    ),
  );
}

/**
 * Changes settings; what is refused is said at the field.
 *
 * @param {string} id
 * @param {object} changes
 */
function change(id, changes) {
  return attempt(id, async () => use(await call("PATCH", "terminal", changes)));
}

/**
 * Does what a form is for, and empties its fields when it is done.
 *
 * @param {string} id
 * @param {() => Promise<unknown>} doing
 */
function onSubmit(id, doing) {
  const form = $(id + "-form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!await attempt(id, doing)) return;
    for (const field of form.querySelectorAll("input")) field.value = "";
  });
}

/**
 * An amount in cents, which may be typed as 12,34 or 12.34 EUR.
 *
 * @param {string} text
 */
function centsOf(text) {
  const plain = text.replace(/\s|€|EUR/giu, "");
  const [, whole = "", cents = ""] = /^(\*?\d*)[.,](\d{1,2})$/.exec(plain) ?? [];
  return cents === "" ? plain : (whole + cents.padEnd(2, "0")).replace(/^0+(?=\d)/, "");
}

onSubmit("when", async () => {
  const rule = { [centsOf(input("when-amount").value)]: input("when-words").value };
  use(await call("PATCH", "terminal", { when: { ...state.settings?.when, ...rule } }));
});
onSubmit("next", async () => {
  const register = input("next-register").value.trim();
  const query = register ? "?register=" + encodeURIComponent(register) : "";
  use(await call("POST", "next" + query, input("next-words").value));
});
$("outcome").addEventListener("change", () => {
  const words = input("outcome").value;
  change("outcome", { outcome: isReal() && !words.trim() ? "success" : words });
});
$("duration").addEventListener("change", () => {
  typed = input("duration").value.trim();
  const duration = numberOf(typed);
  change("duration", { duration: Number.isNaN(duration) ? typed : duration });
});
for (const id of ["outcome", "duration"]) {
  // A change event comes only where the value is another one than before: Enter says it anyway.
  $(id).addEventListener("input", () => complain(id));
}
for (const id of ["strict", "exclusive"]) {
  $(id).addEventListener("change", () => change("outcome", { [id]: input(id).checked }));
}
$("asleep").addEventListener(
  "change",
  () => change("asleep", { listening: !input("asleep").checked }),
);
const model = $("model", HTMLSelectElement);
model.addEventListener("change", () => change("model", { model: model.value }));
for (const id of ["automatic", "interactive"]) {
  $(id).addEventListener("change", () => change("outcome", { interactive: id === "interactive" }));
}
$("next-clear").addEventListener(
  "click",
  () => attempt("next", async () => use(await call("DELETE", "next"))),
);
const ask = $("ask", HTMLDialogElement);
for (const id of ["reset", "clear"]) $(id).addEventListener("click", () => ask.showModal());
$("ask-no").addEventListener("click", () => ask.close());
$("ask-yes").addEventListener("click", () => {
  ask.close();
  attempt("outcome", async () => {
    use(await call("POST", "reset"));
    state.result = undefined;
    await sync();
  });
});
for (const id of ["try", "try-first"]) {
  $(id).addEventListener("click", () => attempt("try", () => call("POST", "try")));
}
for (const field of document.querySelectorAll(".words")) {
  if (!(field instanceof HTMLInputElement)) continue;
  field.addEventListener("input", () => complete(field));
  field.addEventListener("focus", () => complete(field));
}
