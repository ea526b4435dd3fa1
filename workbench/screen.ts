// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What the screen of a terminal shows, and its printer prints: lines of the log.
 *
 * @module
 */
import { decodeReceipts, printableLines, readable } from "../protocol.ts";
import type { Journal, Listener, Request } from "../server.ts";
import type { Traits } from "./models.ts";

/** Tells what a POS has printed (CD P), and what a model shows instead of a duplicate (CD 3). */
export function showing(journal: Journal, traits: () => Traits): Listener {
  return ({ event, request }) => {
    if (event !== "due" || !request?.outcome) return;
    const { action, message, register } = request;
    const { AE } = readable(request.due);
    if (action === "P" && AE === "10") {
      const receipts = decodeReceipts(message["ZT"] ?? "", (warning) => request.warn(warning));
      for (const { text } of receipts) show(request, "printed", text);
    } else if (action === "3" && AE !== "10") {
      const { screens } = traits();
      const last = journal.attempts(register).at(-1);
      if (last?.answer["AE"] === "10") return; // the outcome says so, and not the attempt
      const text = screens?.[last ? "failed" : "none"];
      if (text !== undefined) show(request, "screen", text);
    }
  };
}

function show(request: Request, where: "screen" | "printed", text: string): void {
  request.line.tell({ event: "log", request, text: () => `${where}:\n${printableLines(text)}` });
}
