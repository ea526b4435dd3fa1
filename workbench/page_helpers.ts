// SPDX-License-Identifier: GPL-3.0-or-later
// What the tests of the page share: a browser, and POS at the socket. Without playwright-core or
// Chromium these tests are skipped.
import assert from "node:assert/strict";
import diagnostics from "node:diagnostics_channel";
import { existsSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startWeb } from "./http.ts";
import { startProxy } from "./relay.ts";
import type { Routes } from "./routes.ts";
import { startTerminal, type Terminal, type TerminalOptions } from "./terminal.ts";

const CHROMIUM = "/usr/bin/chromium";
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
ARGS.push("--disable-component-update", "--disable-sync", "--no-first-run");

// deno-lint-ignore no-explicit-any -- these packages are no dependencies, nor are their types
export type Loose = any;

/** The browser, or why there is none. */
async function launch(): Promise<Loose> {
  const { bun, deno } = process.versions;
  if (bun || deno) return "playwright-core is for Node";
  try {
    if (!existsSync(CHROMIUM)) return `no ${CHROMIUM}`;
    const { chromium } = await import("playwright-core" as string);
    return await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
  } catch (error) {
    return `no browser: ${String((error as Error).message).split("\n", 1)[0]}`;
  }
}

export const LIMIT = 30_000; // milliseconds that a test waits for something before it fails

export const browser = await launch();
export const skip = typeof browser === "string" ? browser : false;
export const axe = skip ? undefined : await import("axe-core" as string).catch(() => undefined);
after(async () => skip || await browser.close());

export const MONEY = "CZ0040300CJ012012345678901CE003978BA0010CD0010";
export const field = (tag: string, value: string): string =>
  tag + String(value.length).padStart(3, "0") + value;
export const debit = (register: string, amount: string, more = ""): string =>
  `${MONEY}${field("CA", register)}${field("CB", amount)}${more}`;

// The sockets of the terminals, by the port of the other side.
const accepted = new Map<number | undefined, net.Socket>();
diagnostics.subscribe("net.server.socket", (message) => {
  const { socket } = message as { socket: net.Socket };
  const { remotePort } = socket;
  accepted.set(remotePort, socket);
  socket.on("close", () => accepted.delete(remotePort));
});

/** A POS: sends a request as Latin-1, each part when the one before has been read, and collects what comes. */
export function till(terminal: { port: number }, ...parts: string[]) {
  const socket = net.connect(terminal.port, "127.0.0.1");
  const seen = { text: "", socket };
  socket.setNoDelay().setEncoding("latin1").on("data", (text: string) => seen.text += text);
  socket.on("error", () => {});
  socket.on("connect", async () => {
    let sent = 0;
    for (const part of parts) {
      const isRead = () => (accepted.get(socket.localPort)?.bytesRead ?? 0) >= sent;
      await until(isRead, "read");
      socket.write(part, "latin1");
      sent += part.length;
    }
  });
  return seen;
}

export async function until(condition: () => unknown, what: string): Promise<void> {
  for (const end = performance.now() + LIMIT; !await condition(); await sleep(10)) {
    if (performance.now() > end) throw new Error(`not yet: ${what}`);
  }
}

export interface Opened {
  terminal: Terminal;
  /** What serves the page. */
  web: Awaited<ReturnType<typeof startWeb>>;
  /** Where the page is, with a slash at its end. */
  url: string;
  page: Loose;
  /** CSP reports, errors and requests to other hosts. */
  wrong: string[];
  text: (selector: string) => Promise<string>;
}

/** What of the page nobody sees: what makes it scroll sideways, and what is cut off. */
export function outside(page: Loose): Promise<string[]> {
  return page.evaluate(`(() => {
    const wide = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
    const cells = [...document.querySelectorAll("a.row > *, #tills *")].filter((node) =>
      node.getBoundingClientRect().right > innerWidth || node.scrollWidth > node.clientWidth + 1
    );
    const shown = cells.filter((node) => node.offsetParent && !node.querySelector(".unseen"));
    return [...wide, ...shown.map((node) => node.outerHTML)];
  })()`);
}

/** A simulated terminal, or one that passes on to a real one, `real`, on a free port. */
export function start({ real, routes: _, ...options }: PageOptions): Promise<Terminal> {
  const here = { port: 0, host: "127.0.0.1" };
  return real === undefined
    ? startTerminal({ ...here, duration: 0, ...options })
    : startProxy({ ...here, terminal: real });
}

/** The page of a terminal. */
export function serve(
  terminal: Terminal,
  { real, routes, port = 0 }: PageOptions = {},
): ReturnType<typeof startWeb> {
  return startWeb(terminal, {
    port,
    ...(real !== undefined && { real }),
    ...(routes && { routes }),
  });
}

export interface PageOptions extends TerminalOptions {
  /** The real terminal behind it, as HOST:PORT. */
  real?: string;
  /** More paths of the interface. */
  routes?: Routes;
}

/** A terminal with its page open. All that goes wrong on the page fails the test. */
export async function withPage(
  options: PageOptions,
  use: (opened: Opened) => Promise<void>,
  context: object = {},
): Promise<void> {
  await using terminal = await start(options);
  await using web = await serve(terminal, { ...options, port: 0 });
  const { url } = web;
  const own = await browser.newContext({
    locale: "en-GB",
    viewport: { width: 1280, height: 900 },
    reducedMotion: "reduce",
    ...context,
  });
  const page = await own.newPage();
  page.setDefaultTimeout(LIMIT);
  const wrong: string[] = [];
  page.on("pageerror", (error: Error) => wrong.push(error.message));
  page.on("console", (message: Loose) => {
    if (/Content Security Policy/.test(message.text())) wrong.push(message.text());
  });
  page.on("request", (request: Loose) => {
    const asked: string = request.url();
    if (!asked.startsWith(url) && !/^(data|about):/.test(asked)) wrong.push(asked);
  });
  await page.addInitScript(
    'addEventListener("securitypolicyviolation", (e) => console.log("Content Security Policy", e.violatedDirective))',
  );
  try {
    await page.goto(url);
    await page.locator("#port:not(:empty)").waitFor();
    const text = (selector: string): Promise<string> =>
      page.locator(selector).first().textContent();
    await use({ terminal, web, url, page, wrong, text });
    assert.deepEqual(wrong, []);
  } finally {
    await own.close();
  }
}
