// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What a terminal has decided where its POS does not get that whole: the payment is made all the same,
 * and who looks at it must see so. It is told as a proxy tells what the real terminal has answered.
 *
 * @module
 */
import { readable } from "../protocol.ts";
import { faultOf, type Journal, type Listener } from "../server.ts";

/** Notes and tells what was to be sent, as `due`, where something else is sent or nothing. */
export function tellingLost(journal: Journal): Listener {
  return ({ event, request }) => {
    if (!request || request.due === "" || "due" in (request.noted ?? {})) return;
    const isLosing = event === "due" && faultOf(request.outcome ?? {})?.loses === true;
    // Of what is lost as a whole the answer itself tells.
    const isCut = (event === "gone" || event === "answered") && request.lost === "rest";
    if (!isLosing && !isCut) return;
    const { due: raw, milliseconds, line: { number: connection } } = request;
    const due = { milliseconds, raw, message: readable(raw) };
    request.noted = { ...request.noted, due };
    const transaction = journal.numberOf(request);
    // Of the connection, for it is not due once more.
    request.line.tell({ event: "due", connection, fields: () => ({ transaction, ...due }) });
  };
}
