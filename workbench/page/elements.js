// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * Elements of the page, found and made, and how times and sizes are written.
 *
 * @module
 */
import { french, t } from "./texts.js";

// ---------------------------------------------------------------- elements

/**
 * An element of index.html, of the kind that is asked for.
 *
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @param {new () => Kind} [kind]
 * @returns {Kind}
 */
export function $(id, kind) {
  const node = document.getElementById(id);
  if (node instanceof (kind ?? HTMLElement)) return /** @type {Kind} */ (node);
  throw new Error(`expected ${kind?.name ?? "an element"} with the id ${id}`);
}

/**
 * A field of index.html.
 *
 * @param {string} id
 */
export const input = (id) => $(id, HTMLInputElement);

/** @typedef {string | number | ((event: Event) => void) | undefined} Attribute a function: what is done at an event */

/**
 * Makes an element. Children are elements or text: text never becomes markup.
 *
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, Attribute>} [about]
 * @param {...(Node | string | undefined)} children
 */
export function h(name, about = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(about)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== undefined) node.setAttribute(key, String(value));
  }
  for (const child of children) if (child) node.append(child);
  return node;
}

/**
 * Makes an element of SVG.
 *
 * @param {string} name
 * @param {Record<string, string | number>} about
 * @param {...(Node | string)} children
 */
export function s(name, about, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) node.setAttribute(key, String(value));
  node.append(...children);
  return node;
}

/**
 * Changes a text only if it is another one: a live region says it again otherwise.
 *
 * @param {Node} node
 * @param {string} text
 */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// ---------------------------------------------------------------- texts

/**
 * Text with its control characters to be seen.
 *
 * @param {string} text
 */
export const visible = (text) =>
  text.replace(
    /\p{Cc}/gu,
    (char) => "\\x" + char.charCodeAt(0).toString(16).padStart(2, "0"),
  );

/** @param {number} milliseconds */
export const seconds = (milliseconds) =>
  Math.abs(milliseconds) < 1000
    ? milliseconds + " ms"
    : (milliseconds / 1000).toFixed(1).replace(".", french ? "," : ".") + " s";

/** @param {number} count */
export const inBytes = (count) => count === 1 ? t("byte") : t("bytes", count);

/**
 * The time of day.
 *
 * @param {string | number} date
 */
export const clock = (date) => new Date(date).toTimeString().slice(0, 8);
