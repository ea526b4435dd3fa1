// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What the commands of the workbench share, and the port has not.
 *
 * @module
 */
import { OptionError } from "../protocol.ts";
import { type Outcome, parseOutcome } from "../server.ts";

/**
 * Outcomes by amount, as they are given on the command line.
 *
 * @param texts Each an AMOUNT=OUTCOME.
 * @throws {OptionError} One of them is not, or an amount comes twice.
 * @throws {ProtocolError} An outcome sets a tag or a value that cannot be sent.
 */
export function readWhen(texts: readonly string[]): Record<string, Outcome> {
  const when: Record<string, Outcome> = Object.create(null);
  for (const text of texts) {
    const [, amount, words = ""] = /^([^=]*)=(.*)$/s.exec(text) ?? [];
    if (amount === undefined) throw new OptionError("when", "AMOUNT=OUTCOME", text);
    if (amount in when) throw new OptionError("when", "each amount once", text);
    when[amount] = parseOutcome(words, "when");
  }
  return { ...when };
}
