// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * The tables of the protocol and of the simulator, which page.ts makes and the server serves.
 *
 * @module
 */

const response = await fetch("data.json");

/** @type {import("./tables.ts").PageData} */
export const DATA = await response.json();

/**
 * What a table has for a key, which may come from a till: only what is the table's own, so that
 * "constructor" is not found.
 *
 * @template Value
 * @param {import("./tables.ts").Table<Value>} table
 * @param {string} [key]
 * @returns {Value | undefined}
 */
export function own(table, key) {
  return key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
}
