// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * One transaction: its conversation, and its messages field by field.
 *
 * @module
 */
import { call } from "./api.js";
import { DATA, own } from "./data.js";
import { $, clock, h, put, visible } from "./elements.js";
import {
  decidedText,
  decisionOf,
  fieldsOf,
  isMasked,
  money,
  reasonOf,
  receiptsOf,
  summaryOf,
  termText,
} from "./meaning.js";
import { picture } from "./picture.js";
import { endingOf, fromTransaction, known, state } from "./state.js";
import { paper } from "./terminal.js";
import { french, pick, t } from "./texts.js";
import { warningTold } from "./told.js";

/** @typedef {import("./types.ts").Transaction} Transaction */
/** @typedef {import("./types.ts").Warning} Warning */
/** @typedef {import("./meaning.js").Field} Field */

const MOST_FIELDS = 100; // that are shown one by one
const COPIED = 1_500; // milliseconds that a button says so
const PAUSE = 150; // milliseconds until a transaction to which something happens is read again
const WIDEST = 720; // pixels of the picture

// ---------------------------------------------------------------- messages

/** @param {Warning} warning */
function warningNode(warning) {
  const { text, lang } = warningTold(warning);
  const { code } = warning;
  // The codes are English: where French is read, they are there to be looked for only.
  const lead = french ? [] : [h("b", {}, code), " · "];
  return h("p", { class: "note", title: code }, ...lead, h("span", { lang }, visible(text)));
}

/**
 * A message field by field, each warning at the field it is about.
 *
 * @param {import("./types.ts").Wire} wire
 * @param {readonly Warning[]} warnings
 */
function fieldsNode({ raw, message }, warnings) {
  const { fields, rest } = fieldsOf(raw);
  const few = fields.slice(0, MOST_FIELDS);
  const left = new Set(warnings);
  const rows = few.map((field) => {
    const here = [...left].filter((warning) => warning.tag === field.tag);
    here.forEach((warning) => left.delete(warning));
    return fieldRow(field, message.CE, here);
  });
  const nodes = [...[...left].map(warningNode), rawNode(raw, few, rest)];
  if (rows.length > 0) nodes.push(tableNode(rows));
  const more = fields.length - few.length;
  if (more > 0) nodes.push(h("p", { class: "muted" }, t("rest", more)));
  return nodes;
}

/**
 * The bytes, with the first fields marked, and what cannot be read.
 *
 * @param {string} raw
 * @param {Field[]} few
 * @param {string} rest
 */
function rawNode(raw, few, rest) {
  const node = h("code", { class: "raw", tabindex: 0, role: "group", "aria-label": t("value") });
  for (const { tag, size, value } of few) {
    node.append(h("b", {}, tag), h("i", {}, size), visible(value));
  }
  const shown = few.reduce((sum, { value }) => sum + 5 + value.length, 0);
  node.append(visible(raw.slice(shown, raw.length - rest.length)));
  if (rest) node.append(h("em", {}, visible(rest)));
  return node;
}

/**
 * @param {Field} field
 * @param {string} [CE]
 * @param {Warning[]} [warnings]
 */
function fieldRow({ tag, size, value }, CE, warnings = []) {
  const known = own(DATA.tags, tag);
  const label = known ? pick(known) : t("unknownTag");
  const means = tag === "CB" && CE ? money({ CB: value, CE }) : termText(tag, value);
  const colon = french ? " : " : ": ";
  return h(
    "tr",
    {},
    h("td", {}, h("code", {}, tag)),
    h("td", {}, String(Number(size))),
    h("td", {}, h("code", {}, visible(value))),
    h("td", {}, label + (means ? colon + means : ""), ...warnings.map(warningNode)),
  );
}

/** @param {HTMLElement[]} rows */
function tableNode(rows) {
  const columns = /** @type {const} */ (["tag", "size", "value", "meaning"]);
  const head = h("tr", {}, ...columns.map((key) => h("th", { scope: "col" }, t(key))));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": t("meaning") },
    h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
  );
}

// ---------------------------------------------------------------- copies

/**
 * Bytes as the format of printf, which gives them back in sh and bash.
 *
 * @param {string} raw
 */
function printf(raw) {
  return raw.replace(/%/g, "%%").replace(
    /^-|[^ -~]|['\\]/g,
    (char) => "\\" + char.charCodeAt(0).toString(8).padStart(3, "0"),
  );
}

/** @param {string} raw */
const inHex = (raw) =>
  [...raw].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join("");

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not over plain HTTP from another machine
    const field = h("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  put($("said"), "");
  requestAnimationFrame(() => put($("said"), t("copied")));
}

/**
 * A button that copies a text, which is made when it is asked for.
 *
 * @param {import("./texts.js").TextKey} key
 * @param {() => string} text
 */
function copyButton(key, text) {
  const button = h("button", {
    click: async () => {
      await copy(text());
      button.textContent = t("copied");
      setTimeout(() => button.textContent = t(key), COPIED);
    },
  }, t(key));
  return button;
}

// ---------------------------------------------------------------- drawing

/**
 * Draws the picture again in another width.
 *
 * @type {(() => void) | undefined}
 */
let drawPicture;

/** @param {Transaction} one */
function drawDetail(one) {
  const { message } = one.request;
  const { answer, due } = one;
  /** @param {Warning} warning */
  const isOfAnswer = ({ tag }) =>
    tag !== undefined && Object.hasOwn(answer?.message ?? {}, tag) && !Object.hasOwn(message, tag);
  const answerTitle = h("h3", {}, t(due ? "sent" : "answer"));
  $("detail").replaceChildren(
    backNode(),
    headNode(one),
    conversationNode(one),
    panel(
      barNode(one),
      ...fieldsNode(one.request, one.warnings.filter((warning) => !isOfAnswer(warning))),
    ),
    ...(due
      ? [panel(h("h3", {}, t("due")), ...fieldsNode(due, []), ...papersNode(due.message))]
      : []),
    answer
      ? panel(
        answerTitle,
        ...fieldsNode(answer, one.warnings.filter(isOfAnswer)),
        ...papersNode(answer.message),
      )
      : panel(answerTitle, h("p", { class: "muted" }, t("noAnswer"))),
  );
  drawPicture?.();
}

/** @param {...(Node | string)} children */
const panel = (...children) => h("section", { class: "panel" }, ...children);

const backNode = () => h("p", {}, h("a", { href: "#/" }, "← " + t("back")));

/** @param {string} text */
const titleNode = (text) => h("h2", { id: "detail-title", tabindex: -1 }, text);

/** @param {Transaction} one */
function headNode(one) {
  const entry = fromTransaction(one);
  const [ending, tone] = endingOf(entry);
  const reason = reasonOf(entry.message, decisionOf(entry)?.message ?? {});
  /** @param {string} name @param {Node | string} value */
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h(
    "div",
    { class: "panel" },
    titleNode(one.error ? t("unreadable") : summaryOf(entry)),
    h(
      "dl",
      { class: "facts line" },
      fact(t("transaction", one.number), h("span", { class: tone }, ending)),
      fact(t("time"), clock(one.received)),
      fact(t("register"), visible(entry.message.CA || "")),
      fact(t("from"), h("code", {}, one.address.replace("::ffff:", ""))),
      fact(t("connection"), String(one.connection)),
      one.decided === undefined ? "" : fact(t("decided"), decidedText(one.decided)),
    ),
    reason && h("p", { class: "reason" }, reason),
  );
}

/** @param {Transaction} one */
function conversationNode(one) {
  const { interims } = fromTransaction(one);
  const drawing = h("div", { class: "picture" });
  drawPicture = () => {
    const width = Math.min(WIDEST, drawing.clientWidth || WIDEST);
    drawing.replaceChildren(picture(one, fromTransaction(one), width));
  };
  // Where it is not told when, it has no place in the picture.
  const isOnlyTold = one.interim && interims.length === 0;
  const note = isOnlyTold ? [h("p", { class: "muted" }, t("interim"))] : [];
  return panel(h("h3", {}, t("timeline")), drawing, ...note);
}

/** @param {Transaction} one */
function barNode(one) {
  const { raw } = one.request;
  const host = location.hostname.replace(/^\[|\]$/g, "");
  return h(
    "div",
    { class: "bar" },
    h("h3", {}, t("request")),
    copyButton(
      "copyNc",
      () => "printf '" + printf(raw) + "' | nc " + host + " " + state.settings?.port,
    ),
    copyButton("copyHex", () => inHex(raw)),
    copyButton("copyJson", () => JSON.stringify(one, null, 2)),
  );
}

/** @param {import("./types.ts").Message} message */
function papersNode(message) {
  const receipts = receiptsOf(message);
  if (receipts.length === 0) return [];
  const figures = receipts.map((receipt) => {
    const copy = t(receipt.merchant ? "merchant" : "customer");
    const note = isMasked(receipt) && h("p", { class: "muted" }, t("masked"));
    return h("figure", {}, h("figcaption", {}, copy), paper(receipt), note || "");
  });
  return [h("div", { class: "papers" }, ...figures)];
}

addEventListener("resize", () => state.opened !== undefined && drawPicture?.());

// ---------------------------------------------------------------- opening

/** @type {ReturnType<typeof setTimeout> | undefined} */
let opening;

/** Reads the open transaction again, when what happens to it has paused. */
export function openSoon() {
  opening ??= setTimeout(() => {
    opening = undefined;
    open();
  }, PAUSE);
}

let drawn = ""; // the transaction that is shown, and how

/** Reads the open transaction and draws it, if it is another than before. */
export async function open(isNew = false) {
  const number = state.opened;
  if (number === undefined) return;
  /** @type {Transaction | undefined} */
  const one = await call("GET", "transactions/" + number).catch(() => undefined);
  const isBroken = $("link").classList.contains("broken");
  if (number !== state.opened || isBroken && !one) return;
  const text = JSON.stringify([one, french, state.waiting.includes(number)]);
  if (!isNew && text === drawn) return;
  drawn = text;
  if (one) drawDetail(one);
  else $("detail").replaceChildren(backNode(), titleNode(t("notKept", number)));
  if (isNew) $("detail-title").focus({ preventScroll: true });
}

/** Opens the transaction that the address names, or the list where it names none. */
export function route() {
  const [, digits] = /^#\/t\/(\d{1,15})$/.exec(location.hash) ?? [];
  const before = state.opened;
  const number = digits === undefined ? undefined : Number(digits);
  state.opened = number;
  $("detail").hidden = number === undefined;
  $("home").hidden = number !== undefined;
  if (number === undefined) {
    drawPicture = undefined;
    if (before !== undefined) known.get(before)?.row?.link.focus();
    return;
  }
  open(true);
  // On a narrow page it stands below the terminal.
  if ($("detail").getBoundingClientRect().top > innerHeight || before !== undefined) {
    $("detail").scrollIntoView();
  }
}
