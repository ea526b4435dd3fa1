// SPDX-License-Identifier: GPL-3.0-or-later
// Makes the picture of the page for the README: a payment that waits, and a few before it.
//
//   node bench/screenshot.ts [FILE [PORT]]
//
// It needs playwright-core and /usr/bin/chromium.
import { statSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encodeText } from "../protocol.ts";
import { startWeb } from "../web.ts";

const file = process.argv[2] ?? fileURLToPath(new URL("../page.png", import.meta.url));
const { chromium } = await import("playwright-core" as string);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
const terminal = await startWeb({
  port: Number(process.argv[3] ?? 8888),
  host: "127.0.0.1",
  webPort: 0,
  duration: 0,
  when: { "*01": "refused" },
});

/** A payment of a till, until its answer or for good. */
function pay(register: string, amount: string, more: Record<string, string> = {}): Promise<void> {
  const request = { CZ: "0300", CJ: "012345678901", CA: register, CB: amount, CD: "0", CE: "978" };
  const socket = net.connect(terminal.port, "127.0.0.1");
  socket.on("connect", () => socket.write(encodeText({ ...request, ...more }) + "\n", "latin1"));
  socket.on("error", () => {});
  return new Promise((resolve) => socket.once("data", () => resolve()));
}

const context = await browser.newContext({
  locale: "en-GB",
  viewport: { width: 1280, height: 1120 },
  reducedMotion: "reduce",
});
const page = await context.newPage();
await page.goto(terminal.url);
terminal.nextOutcome("split,delay=1.1", "success,delay=3");
await pay("03", "5");
await pay("02", "1201", { CF: "commande 42" });
await pay("01", "6230", { CK: "100", CC: "00B" });
terminal.change({ interactive: true });
pay("01", "11245", { CK: "100" });
await sleep(300);
pay("03", "890");
await page.locator("#tills button").nth(1).waitFor();
await sleep(1500);
await page.screenshot({ path: file });
await browser.close();
await terminal.close();
process.stdout.write(`${file}: ${statSync(file).size} bytes\n`);
