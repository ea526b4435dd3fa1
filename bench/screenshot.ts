// SPDX-License-Identifier: GPL-3.0-or-later
// Makes the pictures of the page for the papers, in English and in French: a payment that waits, and
// a few before it.
//
//   node bench/screenshot.ts [PORT]
//
// It needs playwright-core and /usr/bin/chromium.
import { statSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encodeText } from "../protocol.ts";
import { startWeb } from "../workbench/http.ts";
import { startTerminal, type Terminal } from "../workbench/terminal.ts";

/** The locale of the browser, by the file that shows it. */
const PICTURES: Readonly<Record<string, string>> = {
  "page.png": "en-GB",
  "page.fr.png": "fr-FR",
};

/** A payment of a till, until its answer or for good. */
function pay(
  terminal: Terminal,
  register: string,
  amount: string,
  more: Record<string, string> = {},
): Promise<void> {
  const request = { CZ: "0300", CJ: "012345678901", CA: register, CB: amount, CD: "0", CE: "978" };
  const socket = net.connect(terminal.port, "127.0.0.1");
  socket.on("connect", () => socket.write(encodeText({ ...request, ...more }) + "\n", "latin1"));
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("data", () => resolve()));
}

const { chromium } = await import("playwright-core" as string);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
for (const [name, locale] of Object.entries(PICTURES)) {
  const terminal = await startTerminal({
    port: Number(process.argv[2] ?? 8888),
    host: "127.0.0.1",
    duration: 0,
    when: { "*01": "refused" },
  });
  const web = await startWeb(terminal, { port: 0 });
  const context = await browser.newContext({
    locale,
    viewport: { width: 1280, height: 1120 },
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  await page.goto(web.url);
  terminal.nextOutcome("split,delay=1.1", "success,delay=3");
  await pay(terminal, "03", "5");
  await pay(terminal, "02", "1201", { CF: "commande 42" });
  await pay(terminal, "01", "6230", { CK: "100", CC: "00B" });
  terminal.change({ interactive: true });
  pay(terminal, "01", "11245", { CK: "100" });
  await sleep(300);
  pay(terminal, "03", "890");
  await page.locator("#tills button").nth(1).waitFor();
  await sleep(1500);
  const file = fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
  await page.screenshot({ path: file });
  await context.close();
  await web.close();
  await terminal.close();
  process.stdout.write(`${file}: ${statSync(file).size} bytes\n`);
}
await browser.close();
