// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What the interface tells in English, and perhaps in French, in the language that is read.
 *
 * @module
 */
import { french, spaced, t } from "./texts.js";

/** What the interface has refused. */
export class Refusal extends Error {
  /** @param {string} english @param {string} [inFrench] */
  constructor(english, inFrench) {
    super(english);
    /** Why, in French, if that is known. */
    this.french = inFrench;
  }
}

/**
 * A warning in the language that is read; one that has no French is told as it is, and as English.
 *
 * @param {import("./types.ts").Warning} warning
 * @returns {{ text: string, lang?: string }}
 */
export function warningTold({ text, french: words }) {
  if (!french) return { text };
  return words === undefined ? { text, lang: "en" } : { text: spaced(words) };
}

/**
 * Why something was refused, in the language that is read: of what has no French only that, for half
 * a sentence in each language helps nobody. The English is there to be looked for.
 *
 * @param {unknown} error
 * @returns {{ text: string, title?: string }}
 */
export function errorTold(error) {
  if (!(error instanceof Refusal)) return { text: t("noServer") };
  const { message, french: words } = error;
  if (!french) return { text: message };
  return words === undefined
    ? { text: t("notTaken"), title: message }
    : { text: spaced(words), title: message };
}
