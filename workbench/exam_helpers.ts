// SPDX-License-Identifier: GPL-3.0-or-later
// Tills for the tests of the examination: a right one, and its faults, each of which makes it wrong in
// one thing.
import net from "node:net";
import { encodeText, type Message, MessageFramer, readable } from "../protocol.ts";
import type { Word } from "./exam_verdicts.ts";
import type { Asked } from "./examination.ts";

/** What is wrong with a till. */
export type TillFault =
  | "reads-once"
  | "ends-at-a-pause"
  | "takes-interim"
  | "crashes-at-zeros"
  | "impatient"
  | "waits-for-ever"
  | "compares-cb-as-text"
  | "compares-identity"
  | "wants-its-order"
  | "takes-af-for-refused"
  | "wants-it-kept-open"
  | "waits-for-the-close"
  | "lost-is-refused"
  | "pays-again"
  | "crashes-at-garbage"
  | "unsure-of-refusals"
  | "believes-refusals"
  | "ignores-cb"
  | "ignores-ce"
  | "sends-short-cj";

/** How long a till waits, in milliseconds. */
export type Patience = { readonly wait: number; readonly pause: number };

/** What came of a request. */
type Came = { text: string; how: "whole" | "closed" | "reset" | "timeout" };

/** What a till does after an answer got lost. */
export type After = "check" | "duplicate" | "cancel";

/** A till that pays over a socket. */
export class Till {
  readonly #patience: Patience;
  readonly #fault: TillFault | undefined;
  readonly #after: After;

  /** A till that waits so long, with a fault or without. */
  constructor(patience: Patience, fault?: TillFault, after: After = "check") {
    this.#patience = patience;
    this.#fault = fault;
    this.#after = after;
  }

  /** Pays, and says what has come of it. */
  async pay({ host, port, amount, kind }: Asked): Promise<Word> {
    const CB = amount.replace(/\D/g, "");
    const request: Message = {
      CZ: "0300",
      CJ: this.#fault === "sends-short-cj" ? "012" : "012345678901",
      CA: "01",
      CE: "978",
      BA: "0",
      CD: kind === "credit" ? "1" : "0",
      ...(kind === "cheque" && { CC: "00C" }),
      CB,
    };
    const came = await this.#exchange(host, port, request);
    return await this.#judge(host, port, request, came);
  }

  async #judge(host: string, port: number, request: Message, came: Came): Promise<Word> {
    const fault = this.#fault;
    const { text, how } = came;
    if (fault === "crashes-at-garbage" && text !== "" && !text.startsWith("CZ")) {
      throw new RangeError("no length at byte 2");
    }
    if (how === "whole" && isAnswer(text)) return this.#understand(request, readable(text));
    if (fault === "lost-is-refused" || fault === "reads-once" && text !== "") return "not-paid";
    if (fault === "pays-again") {
      await this.#exchange(host, port, request);
      return "check";
    }
    if (this.#after === "check") return "check";
    const { CB: _CB, ...other } = request;
    const CD = this.#after === "duplicate" ? "3" : "2";
    const about = CD === "3" ? { ...other, CD } : { ...request, CD };
    const { text: told } = await this.#exchange(host, port, about);
    const { AE, CB = "" } = readable(told);
    if (AE !== "10" || Number(CB) !== Number(request["CB"])) return "check";
    return CD === "3" ? "paid" : "not-paid";
  }

  #understand(request: Message, answer: Message): Word {
    const fault = this.#fault;
    const { AE, AF, CB = "", CE } = answer;
    if (fault === "crashes-at-zeros" && /^0+$/.test(CB)) throw new RangeError("an amount of zero");
    if (fault === "compares-identity" && answer["CJ"] !== request["CJ"]) return "check";
    if (fault === "compares-cb-as-text" && AE === "10" && CB !== request["CB"]) return "check";
    if (fault === "wants-its-order" && Object.keys(answer)[1] !== "CJ") return "check";
    if (fault === "takes-af-for-refused" && AF !== undefined) return "not-paid";
    if (AE === "11") return "not-paid";
    if (AE !== "10") {
      if (fault === "unsure-of-refusals") return "check";
      return fault === "believes-refusals" ? "paid" : "not-paid";
    }
    const isPart = fault !== "ignores-cb" && Number(CB) !== Number(request["CB"]);
    const isOther = fault !== "ignores-ce" && CE !== request["CE"];
    return isPart || isOther ? "check" : "paid";
  }

  /** Sends a request, and gives what comes. */
  #exchange(host: string, port: number, request: Message): Promise<Came> {
    const { wait, pause } = this.#patience;
    const fault = this.#fault;
    const { promise, resolve } = Promise.withResolvers<Came>();
    const socket = net.connect({ host, port, noDelay: true });
    let text = "";
    const end = (how: Came["how"]): void => {
      clearTimeout(timer);
      framer.end();
      socket.destroy();
      resolve({ text, how });
    };
    const limit = fault === "impatient" ? 1_900 : fault === "waits-for-ever" ? 60_000 : wait;
    const timer = setTimeout(() => end("timeout"), limit);
    const framer = new MessageFramer({
      pause: () => fault === "ends-at-a-pause" ? 50 : pause,
      onMessage(received) {
        const { AE } = received.message;
        if (AE === "11" && fault !== "takes-interim") return;
        text = received.raw;
        if (fault !== "waits-for-the-close") end("whole");
      },
    });
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      if (fault === "reads-once") return end(isAnswer(text) ? "whole" : "closed");
      framer.feed(chunk);
    });
    socket.on("end", () => {
      if (fault === "wants-it-kept-open") return end("closed");
      const left = framer.end();
      if (left) text = left.raw;
      end(isAnswer(text) ? "whole" : "closed");
    });
    socket.on("error", () => end("reset"));
    socket.write(encodeText(request), "latin1");
    return promise;
  }
}

/** Whether a text is an answer with all that it should have. */
function isAnswer(text: string): boolean {
  const { AE, CG, AF, CD, CC, CE } = readable(text);
  if (AE === undefined || CE === undefined) return false;
  if (AE === "11" || CD === "3" || CD === "2") return true;
  return AE === "01" ? AF !== undefined : CG !== undefined || CC === "00C";
}
