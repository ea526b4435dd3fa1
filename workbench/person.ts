// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * A person who decides how a payment ends, such as one who presses the keys of the drawn terminal.
 *
 * @module
 */
import type { Listener, Outcome, Request } from "../server.ts";

/** The payments that wait for a person. */
export class Person {
  readonly #questions = new Map<Request, (outcome: Outcome) => void>();

  /** Asks how a request ends: resolves when a person has decided. */
  ask(request: Request): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#questions.set(request, resolve);
    request.line.tell({
      event: "waiting",
      request,
      fields: () => ({}),
      text: () => "waits for a person to decide",
      level: "debug",
    });
    return promise;
  }

  /** The requests that wait, the one that has waited longest first. */
  get waiting(): Request[] {
    return [...this.#questions.keys()];
  }

  /**
   * Decides on a request, at once: what is decided is added to the standard outcome, tag by tag.
   *
   * @returns Whether it was waiting.
   */
  decide(request: Request | undefined, decided: Outcome, standard: Outcome): boolean {
    const resolve = request && this.#questions.get(request);
    if (!resolve) return false;
    this.#questions.delete(request);
    const tags = { ...standard.tags, ...decided.tags };
    const tagged = Object.keys(tags).length > 0 && { tags };
    resolve({ delay: 0, ...standard, ...decided, ...tagged });
    return true;
  }

  /** Is told what happens: nobody is asked any more about what is decided or over. */
  readonly listener: Listener = ({ event, request }) => {
    if (request && (event === "decided" || event === "over")) this.#questions.delete(request);
  };
}
