// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests of the workbench share beyond those of the port: its terminal.
import { type Recorded, recordedBy } from "../test_helpers.ts";
import { startTerminal, type Terminal, type TerminalOptions } from "./terminal.ts";

export {
  ask,
  askAndClose,
  BASE,
  came,
  codes,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  giveUp,
  HeldClock,
  LIMIT,
  listening,
  logged,
  named,
  onceLeft,
  patience,
  payAt,
  Peer,
  run,
  sideBySide,
  slow,
  slowTable,
  table,
} from "../test_helpers.ts";

/** A terminal on a free port of this machine that answers at once. */
export function terminalWith(options: TerminalOptions = {}): Promise<Terminal> {
  return startTerminal({ port: 0, host: "127.0.0.1", duration: 0, ...options });
}

/** The same, and all that it tells. */
export function recorded(options: TerminalOptions = {}): Promise<Recorded<Terminal>> {
  return recordedBy((seen) => terminalWith({ ...seen, ...options }));
}
