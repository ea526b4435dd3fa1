#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The command: stands between a till and a real card payment terminal that speaks Caisse-AP over IP
 * ("Concert V3"), shows and records what they say to each other, breaks answers on purpose, plays a
 * recording without the terminal, and tells where the simulated terminal differs from it.
 *
 * ```sh
 * deno run --allow-net workbench/proxy.ts --terminal 192.168.1.20 --json > session.jsonl
 * deno run --allow-net workbench/proxy.ts --replay < session.jsonl
 * deno run --allow-net workbench/proxy.ts --compare < session.jsonl
 * ```
 *
 * As a library see relay.ts, recording.ts and compare.ts.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { parseArgs } from "node:util";
import { jsonLine, OptionError, VERSION } from "../protocol.ts";
import {
  ARGUMENTS,
  outcomeHelp,
  readOptions,
  runCommand,
  type TerminalOptions as PortOptions,
  twoLetters,
} from "../server.ts";
import { readWhen } from "./cli.ts";
import { compareRecording, comparisonText } from "./compare.ts";
import type { ModelName } from "./models.ts";
import { checkReplay, readExchanges, startReplay } from "./recording.ts";
import { startProxy } from "./relay.ts";
import type { Terminal } from "./terminal.ts";

const HELP = `Stands between a till and a real card payment terminal; plays what was recorded
so, and compares it with the simulated terminal.

usage: proxy.ts --terminal HOST | --replay | --compare [options]

What it does, one of these:
      --terminal HOST         pass on to the real terminal there, HOST:PORT if
                              that is not 8888; status 3 if it was never reached
      --replay                play the recording on stdin
      --compare               tell where the simulated terminal differs from the
                              recording on stdin; exit status 1 if it does
      --model NAME            with --compare: the model of a terminal that is
                              simulated, see web.ts (reference)
      --unmasked              not with --compare: show and record what is masked
                              otherwise

Where it listens:
  -p, --port PORT             TCP port, 0 for a free one (8888)
      --host HOST             address or name to listen on (every interface)

What is done to the terminal's answer. The first of these that applies decides:
      --when AMOUNT=OUTCOME   1. for an amount such as 1234, in minor units, or
                              its last digits, *34; may be given again
      --next OUTCOME          2. for the next transaction; may be given again
      --outcome OUTCOME       3. for all others (nothing)

What it prints:
      --gap MS                the pause that ends a request (20)
      --json                  what happens, on stdout, a JSON object a line: the
                              recording
  -l, --log-level LEVEL       debug, info, warn or error (info)
  -h, --help                  this text
      --version               ${VERSION}
${outcomeHelp(false)}
examples:
  proxy.ts --terminal 192.168.1.20 --json > session.jsonl
  proxy.ts --terminal 192.168.1.20 --next truncate
  proxy.ts --replay < session.jsonl
  proxy.ts --compare < session.jsonl
`;

/** The options: those of the port, to say of each that means nothing here why, and its own. */
const OPTIONS = {
  ...ARGUMENTS,
  "terminal": { type: "string" },
  "replay": { type: "boolean" },
  "compare": { type: "boolean" },
  "unmasked": { type: "boolean" },
  "model": { type: "string" },
  "when": { type: "string", multiple: true },
  "interactive": { type: "boolean", short: "i" },
} as const;

/** The values that parseArgs has found. */
type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

/** What it is asked to do. */
const MODES = ["terminal", "replay", "compare"] as const;

function modeOf(values: Values): typeof MODES[number] {
  const given = MODES.filter((name) => values[name] !== undefined);
  const [mode] = given;
  if (mode !== undefined && given.length === 1) {
    if (values.unmasked && mode === "compare") {
      throw new OptionError("unmasked", "--terminal or --replay", "--compare");
    }
    if (values.model !== undefined && mode !== "compare") {
      throw new OptionError("model", "--compare", `--${mode}`);
    }
    return mode;
  }
  const words = given.map((name) => `--${name}`).join(", ");
  const expected = "one of --terminal HOST, --replay and --compare";
  throw new OptionError("terminal", expected, words || undefined);
}

/** The options that arguments say: only those that were given, but for where it tells what happens. */
function optionsOf(values: Values, others: string): PortOptions {
  const options = readOptions(values);
  const { outcome, ...rest } = options;
  const isOutcome = values.outcome !== undefined || values.failure ||
    values["payment-type"] !== undefined;
  if (values.interactive) throw new OptionError("interactive", others, true);
  return isOutcome && outcome ? options : rest;
}

/** Reads all of stdin, which needs no permission. */
async function readStdin(option: "replay" | "compare"): Promise<string> {
  if (process.stdin.isTTY) throw new OptionError(option, "a recording on stdin", "a keyboard");
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const isWide = bytes[0] === 0xff && bytes[1] === 0xfe; // as PowerShell writes files
  const text = new TextDecoder(isWide ? "utf-16le" : "utf-8").decode(bytes);
  readExchanges(text, option); // or an error would not name the option
  return text;
}

/** Compares the recording on stdin, prints the report, and ends with the status that it has. */
async function compare(values: Values): Promise<never> {
  const options = optionsOf(values, "none with --compare");
  const { outcome, ...others } = options;
  if (outcome !== undefined) {
    throw new OptionError("outcome", "none: the recording decides that", values.outcome ?? "-f");
  }
  const given = { ...others, ...(values.when && { when: values.when }) };
  const none = Object.entries(given).find(([name]) => !/^(?:log|logLevel|onEvent)$/.test(name));
  if (none) throw new OptionError(none[0], "none with --compare", none[1]);
  const { model } = values;
  const recording = await readStdin("compare");
  const comparisons = await compareRecording(recording, model ? { model: model as ModelName } : {});
  const differing = comparisons.filter(({ differences }) => differences.length > 0).length;
  const lines = comparisons.map((one) => values.json ? jsonLine(one) : comparisonText(one));
  if (!values.json) lines.push(`${differing} of ${comparisons.length} differ\n`);
  // Until all of it is taken, or nobody reads it; Deno throws then.
  await new Promise((resolve) => process.stdout.on("error", resolve).write(lines.join(""), resolve))
    .catch(() => {});
  process.exit(differing > 0 ? 1 : 0);
}

/** The statuses of what a signal ended before it listens, as shells have them. */
const SIGNALLED = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Does something that may take its time, and that a signal ends at any moment. */
async function interruptible<Result>(work: () => Promise<Result>): Promise<Result> {
  const onSignal = (name: NodeJS.Signals): never =>
    process.exit(SIGNALLED[name as keyof typeof SIGNALLED]);
  const names = Object.keys(SIGNALLED) as NodeJS.Signals[];
  for (const name of names) process.on(name, onSignal);
  try {
    return await work();
  } finally {
    for (const name of names) process.off(name, onSignal);
  }
}

type Started = Pick<Terminal, "close"> & { status?: () => number };

async function main(): Promise<Started | string> {
  const { values } = parseArgs({ args: twoLetters(process.argv.slice(2)), options: OPTIONS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  const mode = modeOf(values);
  if (mode === "compare") return await interruptible(() => compare(values));
  const when = values.when && { when: readWhen(values.when) };
  if (mode === "replay") {
    const options = { ...optionsOf(values, "none: the recording decides that"), ...when };
    const about = { ...options, unmasked: values.unmasked ?? false };
    checkReplay(about); // before the recording is read
    return await interruptible(async () => startReplay(await readStdin("replay"), about));
  }
  const options = { ...optionsOf(values, "none: the real terminal decides that"), ...when };
  const proxy = await startProxy({
    ...options,
    terminal: values.terminal ?? "",
    unmasked: values.unmasked ?? false,
  });
  const status = (): number => proxy.reached === undefined || proxy.wasReached ? 0 : 3;
  return { close: () => proxy.close(), status };
}

if (import.meta.main) runCommand("proxy.ts", main, Object.keys(OPTIONS));
