#!/usr/bin/env -S deno run --allow-net
// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The command: a terminal with everything, or a proxy before a real one, that is steered and seen
 * over HTTP while it runs. The library is http.ts with terminal.ts or relay.ts.
 *
 * ```sh
 * deno run --allow-net workbench/web.ts --help
 * ```
 *
 * @module
 */
import { once } from "node:events";
import process from "node:process";
import { parseArgs } from "node:util";
import { jsonLine, OptionError, VERSION } from "../protocol.ts";
import {
  ARGUMENTS,
  ListenError,
  numberOf,
  outcomeHelp,
  print,
  readOptions,
  runCommand,
  twoLetters,
} from "../server.ts";
import { readWhen } from "./cli.ts";
import { checkWebOptions, startWeb, type Web, type WebOptions } from "./http.ts";
import { type ModelName, modelsText } from "./models.ts";
import { startProxy } from "./relay.ts";
import { startTerminal, type Terminal, type TerminalOptions } from "./terminal.ts";

const HELP = `A card payment terminal that is steered and seen over HTTP while it runs.

usage: web.ts [options]

  -p, --port PORT             TCP port, 0 for a free one (8888)
      --host HOST             address or name to listen on (every interface)
      --model MODEL           a terminal that exists; list tells what is known
                              of them (reference)

How a transaction ends. The first of these that applies decides:
      --when AMOUNT=OUTCOME   1. for an amount such as 1234, in minor units, or
                              its last digits, *34; may be given again
      --next OUTCOME          2. how the next transaction ends; may be given
                              again
  -i, --interactive           3. a person decides, on the page or over HTTP
      --outcome OUTCOME       4. how all others end (success)
  -f, --failure               every payment fails
  -ft, --failure-type TYPE    abandon, timeout, refused, forbidden (abandon)
  -pt, --payment-type CARD    the card that pays (cbcontact)

  -d, --duration SECONDS      from the request to the answer, 0 with -i (3)
  -sc, --seller-contract NUM  the merchant contract number, CG (424242)
      --callback PORT         answers go to this port of the POS
      --exclusive             one transaction at a time: AF 07 to others, as far
                              as the model reads them
      --strict                AF 09 to what deviates from the protocol
      --gap MS                the pause that ends a request (20)
      --json                  what happens, on stdout, a JSON object a line
  -l, --log-level LEVEL       debug, info, warn or error (info)
  -h, --help                  this text
      --version               ${VERSION}

The HTTP interface:
      --web-port PORT         its TCP port, 0 for a free one (8889)
      --web-host HOST         address or name that it listens on (127.0.0.1)
      --web-name NAME         another name that it may be asked for by; may be
                              given again

A real terminal behind it:
      --terminal HOST         pass on to the one there, HOST:PORT if that is not
                              8888
      --unmasked              show what is masked of what goes through
${outcomeHelp()}
examples:
  web.ts -d 0 --web-port 8889
  web.ts -i
  web.ts -p 0 --web-port 0 --json
`;

/** The options of the command, for parseArgs of node:util. */
const OPTIONS = {
  ...ARGUMENTS,
  "model": { type: "string" },
  "when": { type: "string", multiple: true },
  "interactive": { type: "boolean", short: "i" },
  "callback": { type: "string" },
  "exclusive": { type: "boolean" },
  "web-port": { type: "string" },
  "web-host": { type: "string" },
  "web-name": { type: "string", multiple: true },
  "terminal": { type: "string" },
  "unmasked": { type: "boolean" },
} as const;

/** The values that parseArgs has found. */
type Values = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>["values"];

/** The options of the terminal, or of the proxy, that arguments say. */
function terminalOptions(values: Values): TerminalOptions {
  const { model, when, callback, interactive, exclusive } = values;
  return {
    ...readOptions(values),
    ...(model !== undefined && { model: model as ModelName }),
    ...(when && { when: readWhen(when) }),
    ...(callback !== undefined && { callback: numberOf("callback", callback) }),
    ...(interactive && { interactive }),
    ...(exclusive && { exclusive }),
  };
}

/** The options of the HTTP interface that arguments say. */
function webOptions(values: Values): WebOptions {
  const { "web-port": port, "web-host": host, "web-name": names, terminal: real } = values;
  return {
    ...(port !== undefined && { port: numberOf("webPort", port) }),
    ...(host !== undefined && { host }),
    ...(names && { names }),
    ...(real !== undefined && { real }),
  };
}

/** Starts the terminal, or the proxy. */
function start(options: TerminalOptions, { terminal, unmasked }: Values): Promise<Terminal> {
  if (terminal === undefined) {
    if (unmasked) throw new OptionError("unmasked", "--terminal with it", undefined);
    return startTerminal(options);
  }
  // What a real terminal decides is refused there, with the reason.
  return startProxy({ ...options, terminal, ...(unmasked && { unmasked }) });
}

/** What is told before both listen, which is nothing where one of them cannot. */
class Held {
  #held: (() => void)[] | undefined = [];

  /** Tells something, once it may be told. */
  tell(call: () => void): void {
    if (this.#held) this.#held.push(call);
    else call();
  }

  /** Tells all of it, and what follows at once. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const call of held) call();
  }
}

/** Starts the terminal and its interface. */
async function startBoth(values: Values): Promise<{ terminal: Terminal; web: Web }> {
  const { log, onEvent, logLevel = "info", ...others } = terminalOptions(values);
  const about = webOptions(values);
  checkWebOptions(about);
  const held = new Held();
  const options: TerminalOptions = { ...others, logLevel };
  if (log) options.log = (...line) => held.tell(() => log(...line));
  if (onEvent) options.onEvent = (event) => held.tell(() => onEvent(event));
  const terminal = await start(options, values);
  try {
    const isTold = logLevel === "info" || logLevel === "debug";
    const web = await startWeb(terminal, {
      ...about,
      ...(options.log && isTold && { log: options.log }),
    });
    held.release();
    return { terminal, web };
  } catch (error) {
    await terminal.close();
    throw error;
  }
}

// ---------------------------------------------------------------- a screen of its own

/** Whether it was started as a double click starts it: without arguments, on a screen. */
function isOnOwnScreen(): boolean {
  return process.argv.length === 2 && process.stdin.isTTY && process.stderr.isTTY;
}

/** Says where it is, to who has not started it on a command line. */
function welcome({ port }: Terminal, { url }: Web): string {
  return `
Le terminal simulé est prêt. Sa page, à ouvrir dans un navigateur : ${url}
La caisse le trouve à l'adresse de cet ordinateur, port ${port}.
Pour l'arrêter, fermez cette fenêtre.

`;
}

/** Says why it cannot start, and waits for a key: the window closes with the program. */
async function explain(error: unknown): Promise<void> {
  const { message, cause } = error as ListenError;
  const isTaken = (cause as NodeJS.ErrnoException)?.code === "EADDRINUSE";
  const why = isTaken
    ? "un autre programme utilise déjà le port ; peut-être ce simulateur, dans une autre fenêtre"
    : "voir ci-dessous";
  const { stdin, stderr } = process;
  print(
    stderr,
    `Le terminal ne peut pas démarrer : ${why}.
  ${message}
Appuyez sur une touche pour fermer cette fenêtre.
`,
  );
  stdin.setRawMode(true).resume();
  const ends = ["SIGTERM", "SIGHUP"].map((signal) => once(process, signal)); // the window is closed
  await Promise.race([once(stdin, "data"), once(stdin, "end"), ...ends]).catch(() => {});
  stdin.setRawMode(false);
}

// ---------------------------------------------------------------- the command

async function main(): Promise<{ close(): Promise<void> } | string> {
  const { values } = parseArgs({ args: twoLetters(process.argv.slice(2)), options: OPTIONS });
  if (values.help) return HELP;
  if (values.version) return `${VERSION}\n`;
  if (values.model === "list") return modelsText();
  const isAlone = isOnOwnScreen();
  const { terminal, web } = await startBoth(values).catch(async (error) => {
    if (isAlone && error instanceof ListenError) await explain(error);
    throw error;
  });
  if (values.json) {
    const { host, port, url } = web;
    const event = { event: "web", time: new Date().toISOString(), host, port, url };
    print(process.stdout, jsonLine(event));
  }
  if (isAlone) print(process.stderr, welcome(terminal, web));
  return {
    async close() {
      await terminal.close(); // first, so that waits are told that it was
      await web.close();
    },
  };
}

if (import.meta.main) runCommand("web.ts", main, Object.keys(OPTIONS));
