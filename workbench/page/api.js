// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * Calls of the HTTP interface, and what it refuses said beside the field.
 *
 * @module
 */
import { $, h } from "./elements.js";
import { french } from "./texts.js";
import { errorTold, Refusal } from "./told.js";

/**
 * Asks the interface. A text is sent as such, anything else as JSON.
 *
 * @param {"GET" | "POST" | "PATCH" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>} what it tells in JSON
 */
export async function call(method, path, body) {
  const isText = typeof body === "string";
  const response = await fetch("api/" + path, {
    method,
    headers: {
      "accept-language": french ? "fr" : "en",
      ...(body !== undefined && { "content-type": isText ? "text/plain" : "application/json" }),
    },
    ...(body !== undefined && { body: isText ? body : JSON.stringify(body) }),
  });
  const value = await response.json();
  if (!response.ok) throw new Refusal(value.error, value.french);
  return value;
}

/**
 * Says what went wrong at the field it is about, or that nothing did.
 *
 * @param {string} id
 * @param {unknown} [error] what was thrown
 * @param {string} [lead]
 */
export function complain(id, error, lead = "") {
  const { text = "", title } = error === undefined ? {} : errorTold(error);
  $(id + "-error").replaceChildren(...(text ? [lead, h("span", { title }, text)] : []));
  for (const field of document.querySelectorAll('[aria-describedby="' + id + '-error"]')) {
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
}
