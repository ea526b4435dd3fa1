// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What messages mean: codes, amounts, fields, receipts and answers in words.
 *
 * @module
 */
import { DATA, own } from "./data.js";
import { visible } from "./elements.js";
import { FRENCH, language, pick, t, TEXT } from "./texts.js";

/** @typedef {import("./types.ts").Message} Message */
/** @typedef {import("./types.ts").Entry} Entry */

/**
 * What a code of a tag is. Of AF the first two digits are one, a vendor may add to them.
 *
 * @param {string} tag
 * @param {string} [value]
 */
export function term(tag, value) {
  const codes = own(DATA.codes, tag);
  return codes && own(codes, tag === "AF" ? value?.slice(0, 2) : value);
}

/**
 * The same in the language that is read, or nothing.
 *
 * @param {string} tag
 * @param {string} [value]
 */
export function termText(tag, value) {
  const pair = term(tag, value);
  return pair ? pick(pair) : "";
}

// ---------------------------------------------------------------- amounts

/**
 * Whether what should be an amount is none, such as 112.45.
 *
 * @param {string} [CB]
 */
export const isNoAmount = (CB = "") => /\D/.test(CB);

/**
 * An amount as it is read in a language; as it came, and marked, if it is none.
 *
 * @param {Message} message
 */
export function money({ CB = "", CE = "" }, index = language()) {
  if (CB === "") return "";
  if (isNoAmount(CB)) return visible(CB.slice(0, 40)) + " (" + TEXT.noAmount[index] + ")";
  const currency = own(DATA.currencies, CE);
  if (!currency || CB.length > 15) return visible((CB + " " + CE).trim().slice(0, 40));
  const [letters, decimals] = currency;
  const digits = CB.replace(/^0+(?=\d)/, "").padStart(decimals + 1, "0");
  const at = digits.length - decimals;
  const whole = digits.slice(0, at).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const point = index === FRENCH ? "," : ".";
  return whole + (decimals ? point + digits.slice(at) : "") + "\u00a0" + letters;
}

/** @param {Message} message */
export const movesMoney = ({ CD = "" }) => DATA.money.includes(CD);

/**
 * What the terminal answered, whatever of it the till got.
 *
 * @param {Entry} entry
 */
export const decisionOf = ({ due, answer }) => due || answer;

/**
 * A request with the amount that was paid, where an approval tells one.
 *
 * @param {Entry} entry
 * @returns {Message}
 */
export function paidOf(entry) {
  const { AE, CB, CE } = decisionOf(entry)?.message ?? {};
  return AE === "10" ? { ...entry.message, ...(CB && { CB }), ...(CE && { CE }) } : entry.message;
}

/**
 * The amount that a request is about, if it is about one, and what of it was paid.
 *
 * @param {Entry} entry
 */
export function sumOf(entry) {
  if (!movesMoney(entry.message)) return "";
  const [asked, paid] = [money(entry.message), money(paidOf(entry))];
  return paid === asked || !asked ? paid : t("of", paid) + " " + asked;
}

/** @param {Message} message */
export function actionText({ CD = "" }, index = language()) {
  return term("CD", CD)?.[index] || visible(CD).slice(0, 40) || "?";
}

/**
 * What was asked for and about how much.
 *
 * @param {Entry} entry
 */
export const summaryOf = (entry) => (actionText(entry.message) + " " + sumOf(entry)).trim();

// ---------------------------------------------------------------- answers

/** @typedef {readonly [words: string, tone: "good" | "bad" | "wait" | "muted"]} Ending how a transaction ended, in words and as a class */

/**
 * What an answer says.
 *
 * @param {import("./types.ts").Answer} answer
 * @param {Message} request
 * @returns {Ending}
 */
export function told({ message: { AE, AF } }, request) {
  if (AE === "10") return [movesMoney(request) ? t("paid") : termText("AE", AE), "good"];
  if (AE === "01") return [termText("AF", AF) || termText("AE", AE), "bad"];
  return AE === "11" ? [termText("AE", AE), "good"] : [t("unreadableAnswer"), "bad"];
}

/**
 * What decided how a payment ends, in words.
 *
 * @param {string} decided as the interface tells it: "next", or "when *01"
 */
export function decidedText(decided) {
  const [kind = "", rule = ""] = decided.split(/ (.*)/);
  if (kind === "when") return t("byRule", rule);
  if (kind === "next") return t("byNext");
  if (kind === "person") return t("byPerson");
  if (kind === "function") return t("byFunction");
  return kind === "outcome" ? t("byOutcome") : visible(decided);
}

/**
 * What is known of a failure besides its name.
 *
 * @param {Message} request
 * @param {Message} answer
 */
export function reasonOf({ CC }, { AE, AF = "" }) {
  if (AE !== "01") return "";
  const code = AF.slice(0, 2);
  const about = own(DATA.reasons, code);
  const cheque = code === "04" && CC === "00C" ? DATA.reasons["cheque"] : undefined;
  return [about, cheque].map((pair) => pair ? pick(pair) : "").join(" ").trim();
}

// ---------------------------------------------------------------- fields

/** @typedef {{ tag: string, size: string, value: string }} Field */

/**
 * The fields of a message and what is left of it.
 *
 * @param {string} raw
 */
export function fieldsOf(raw) {
  /** @type {Field[]} */
  const fields = [];
  let at = 0;
  while (/^[A-Z]{2}\d{3}/.test(raw.slice(at, at + 5))) {
    const end = at + 5 + Number(raw.slice(at + 2, at + 5));
    if (end > raw.length) break;
    fields.push({
      tag: raw.slice(at, at + 2),
      size: raw.slice(at + 2, at + 5),
      value: raw.slice(at + 5, end),
    });
    at = end;
  }
  return { fields, rest: raw.slice(at) };
}

/** @typedef {{ text: string, html: boolean, merchant: boolean }} Receipt */

/**
 * Whether nothing of a receipt is to be read: a proxy puts "*" for its letters and digits.
 *
 * @param {Receipt} receipt
 */
export const isMasked = ({ text }) => text.includes("*") && !/[0-9A-Za-z]/.test(text);

/**
 * The receipts in ZT: CK tells of which kind the AK after it is.
 *
 * @param {Message} message
 */
export function receiptsOf({ ZT = "" }) {
  /** @type {Receipt[]} */
  const receipts = [];
  let kind = "";
  for (const { tag, value } of fieldsOf(ZT).fields) {
    if (tag === "CK") kind = value;
    if (tag !== "AK") continue;
    try {
      const text = atob(value.replace(/[\r\n]|=+[\r\n]*$/g, ""));
      receipts.push({ text, html: kind[2] === "1", merchant: kind[1] === "1" });
    } catch { /* no base64 */ }
  }
  return receipts;
}
