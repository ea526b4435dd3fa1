// SPDX-License-Identifier: GPL-3.0-or-later
// The page in a real browser, with POS at the socket. Without playwright-core or Chromium these
// tests are skipped.
import assert from "node:assert/strict";
import diagnostics from "node:diagnostics_channel";
import { existsSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { PAGE } from "./page.ts";
import type { Message } from "./protocol.ts";
import { MODELS, type Outcome, type OutcomeOrText, startTerminal } from "./server.ts";
import { startWeb, type WebOptions, type WebTerminal } from "./web.ts";

const CHROMIUM = "/usr/bin/chromium";
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
ARGS.push("--disable-component-update", "--disable-sync", "--no-first-run");

// deno-lint-ignore no-explicit-any -- these packages are no dependencies, nor are their types
type Loose = any;

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

const LIMIT = 30_000; // milliseconds that a test waits for something before it fails

const browser = await launch();
const skip = typeof browser === "string" ? browser : false;
const axe = skip ? undefined : await import("axe-core" as string).catch(() => undefined);
after(async () => skip || await browser.close());

const MONEY = "CZ0040300CJ012012345678901CE003978BA0010CD0010";
const field = (tag: string, value: string): string =>
  tag + String(value.length).padStart(3, "0") + value;
const debit = (register: string, amount: string, more = ""): string =>
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
function till(terminal: WebTerminal, ...parts: string[]) {
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

async function until(condition: () => unknown, what: string): Promise<void> {
  for (const end = performance.now() + LIMIT; !await condition(); await sleep(10)) {
    if (performance.now() > end) throw new Error(`not yet: ${what}`);
  }
}

interface Opened {
  terminal: WebTerminal;
  page: Loose;
  /** CSP reports, errors and requests to other hosts. */
  wrong: string[];
  text: (selector: string) => Promise<string>;
}

/** What of the page nobody sees: what makes it scroll sideways, and what is cut off. */
function outside(page: Loose): Promise<string[]> {
  return page.evaluate(`(() => {
    const wide = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
    const cells = [...document.querySelectorAll("a.row > *, #tills *")].filter((node) =>
      node.getBoundingClientRect().right > innerWidth || node.scrollWidth > node.clientWidth + 1
    );
    const shown = cells.filter((node) => node.offsetParent && !node.querySelector(".unseen"));
    return [...wide, ...shown.map((node) => node.outerHTML)];
  })()`);
}

/** A terminal with its page open. All that goes wrong on the page fails the test. */
async function withPage(
  options: WebOptions,
  use: (opened: Opened) => Promise<void>,
  context: object = {},
): Promise<void> {
  await using terminal = await startWeb({
    port: 0,
    host: "127.0.0.1",
    webPort: 0,
    ...(options.terminal === undefined && { duration: 0 }), // a real one decides that
    ...options,
  });
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
    const url: string = request.url();
    if (!url.startsWith(terminal.url) && !/^(data|about):/.test(url)) wrong.push(url);
  });
  await page.addInitScript(
    'addEventListener("securitypolicyviolation", (e) => console.log("Content Security Policy", e.violatedDirective))',
  );
  try {
    await page.goto(terminal.url);
    await page.locator("#port:not(:empty)").waitFor();
    const text = (selector: string): Promise<string> =>
      page.locator(selector).first().textContent();
    await use({ terminal, page, wrong, text });
    assert.deepEqual(wrong, []);
  } finally {
    await own.close();
  }
}

test("the page comes with its policy, and is not sent twice", { skip }, async () => {
  await using terminal = await startWeb({ port: 0, host: "127.0.0.1", webPort: 0 });
  for (const path of ["", "page.css", "page.js"]) {
    const first = await fetch(terminal.url + path);
    assert.equal(first.status, 200);
    assert.match(first.headers.get("content-security-policy") ?? "", /^default-src 'none';/);
    assert.ok((await first.text()).length > 1000);
    const headers = { "if-none-match": first.headers.get("etag") ?? "" };
    const second = await fetch(terminal.url + path, { headers });
    assert.equal(second.status, 304);
  }
});

test(
  "a payment is refused by a click, and by a key",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page, text }) => {
      const one = till(terminal, debit("01", "11245"));
      await page.getByRole("button", { name: "Refuse" }).click();
      await until(() => one.text.includes("AF00204"), "refused by a click");
      await until(async () => await text("#screen-main") === "PAIEMENT REFUSÉ", "on the screen");
      const two = till(terminal, debit("02", "500"));
      await page.getByText("5,00").waitFor(); // the screen is French
      await page.keyboard.press("r");
      await until(() => two.text.includes("AF00204"), "refused by a key");
      const three = till(terminal, debit("02", "600"));
      await page.getByText("6,00").waitFor();
      await page.locator("#answer-words").fill("far"); // the keys are letters in a field
      assert.equal(three.text, "");
      await page.locator("#answer-words").press("Enter");
      await page.locator("#answer-error:not(:empty)").waitFor();
      await page.locator("#answer-words").fill("07,CG=9");
      await page.locator("#answer-words").press("Enter");
      await until(() => three.text.includes("AF00207"), "answered in words");
    }),
);

test(
  "two tills wait: the oldest is on the screen, any can be taken first",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page, text }) => {
      const one = till(terminal, debit("01", "100", field("CK", "100")));
      await page.getByText("1,00").waitFor();
      const two = till(terminal, debit("02", "200", field("CK", "101")));
      await page.locator("#tills button").nth(1).waitFor();
      assert.match(await text("#screen-main"), /^1,00/);
      await page.locator("#tills button").nth(1).click();
      await page.locator('[name="card"][value="amexcontact"]').check();
      await page.locator("#green").click();
      await until(() => two.text.includes("CC003002"), "paid with the card of choice");
      assert.equal(one.text, "");
      // Its receipt is HTML, in a frame that may do nothing.
      await page.locator("#printer iframe").waitFor();
      assert.equal(await page.locator("#printer iframe").getAttribute("sandbox"), "");
      const frame = page.frameLocator("#printer iframe");
      await frame.getByText("AMERICAN EXPRESS").waitFor();
      await page.locator("#red").click();
      await until(() => one.text.includes("AF00211"), "abandoned with the red key");
      await page.locator("#printer pre").waitFor();
      assert.match(await text("#printer pre"), /TRANSACTION NON ABOUTIE/);
    }),
);

test(
  "one transaction is drawn with its segments, and explained",
  { skip },
  () =>
    withPage({ outcome: "split" }, async ({ terminal, page, text }) => {
      const request = debit("01", "11245", field("CF", "50%'\\é"));
      const pos = till(terminal, request.slice(0, 20), request.slice(20));
      await page.locator("#list a").click();
      const answer = () => terminal.transactions[0]?.answer;
      await until(() => answer(), "an answer");
      const count = answer()?.segments?.length ?? 0;
      assert.ok(count > 2);
      await until(
        async () => await page.locator("path.segment").count() === count + 2,
        "the arrows of the request and of the answer",
      );
      assert.match(page.url(), /#\/t\/1$/);
      assert.match(await text("#detail table"), /amount in minor units: 112.45/);
      assert.match(await text("tr:has(.note)"), /^CF6.*private-data/);
      pos.socket.destroy();
      await page.getByText("till closes").waitFor();
      // What is copied gives the bytes back, where there is a shell.
      await page.evaluate(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }",
      );
      await page.getByRole("button", { name: "printf" }).click();
      const copied: string = await page.evaluate("copied");
      const [, format = "", port] = /^printf '(.*)' \| nc 127\.0\.0\.1 (\d+)$/.exec(copied) ?? [];
      assert.equal(Number(port), terminal.port);
      const given = format.replaceAll("%%", "%")
        .replace(/\\(\d{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8)));
      assert.equal(given, request);
      await page.goBack();
      await page.locator("#list a:focus").waitFor();
    }),
);

test(
  "every control sets what the interface tells",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      const is = (what: string, condition: () => unknown) => until(condition, what);
      const type = async (id: string, value: string): Promise<void> => {
        await page.locator(id).fill(value);
        await page.locator(id).press("Enter");
      };
      await page.locator("#outcome").fill("refused,am");
      const options = await page.locator("#words option").evaluateAll((all: Loose[]) =>
        all.map(({ value }) => value)
      );
      assert.deepEqual(options, ["refused,amexcontact", "refused,amexcontactless"]);
      await type("#outcome", "refuse");
      await page.locator("#outcome-error:not(:empty)").waitFor();
      assert.match(await text("#outcome-error"), /did you mean refused/);
      await type("#outcome", "refused");
      await is("outcome", () => terminal.settings.outcome === "refused");
      await type("#duration", "0,5");
      await is("duration", () => terminal.settings.duration === 0.5);
      await page.locator("#strict").check();
      await is("strict", () => terminal.settings.strict);
      await page.locator("#exclusive").check();
      await is("exclusive", () => terminal.settings.exclusive);
      await page.locator("#interactive").check();
      await is("interactive", () => terminal.settings.interactive);
      await page.locator("#automatic").check();
      await is("automatic", () => !terminal.settings.interactive);
      await page.locator("#when-amount").fill("*01");
      await type("#when-words", "timeout");
      await is("when", () => terminal.settings.when["*01"] === "timeout");
      await page.getByRole("button", { name: "Remove *01" }).click();
      await is("no when", () => Object.keys(terminal.settings.when).length === 0);
      await page.locator("#next-register").fill("07");
      await type("#next-words", "split");
      await is("next", () => terminal.settings.next[0]?.register === "07");
      await page.locator("#next-clear").click();
      await is("no next", () => terminal.settings.next.length === 0);
      await page.locator("#reset").click();
      await page.locator("#ask-no").click();
      assert.equal(terminal.settings.outcome, "refused");
      await page.locator("#reset").click();
      await page.locator("#ask-yes").click();
      await is("reset", () => terminal.settings.outcome === "success");
      await page.locator("#try-first").click();
      await page.locator("#list a").waitFor();
      assert.match(await text("#list a"), /12\.34/);
      terminal.setOutcome("abandon"); // by somebody else: the page finds out
      await is("shown", async () => await page.locator("#outcome").inputValue() === "abandon");
    }),
);

test(
  "a till that has given up is told of while a person can still decide",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page, text }) => {
      const pos = till(terminal, debit("01", "100"));
      await page.locator("#list .wait").waitFor();
      assert.equal(await text("#list .wait"), "waits for you");
      // A till that closes sooner may be one that has only closed its side, as nc does.
      await page.locator("#tills span", { hasText: /^[1-9]\d* s$/ }).waitFor();
      pos.socket.destroy();
      await page.getByText("till gave up · waits for you").waitFor();
      assert.match(await text("#tills button"), /^Till 01 · debit 1\.00.*\d s · till gave up$/);
      await page.evaluate('location.hash = "#/t/1"');
      await until(
        async () => await text("#detail dd .wait") === "till gave up · waits for you",
        "told of one transaction",
      );
      await page.keyboard.press("r"); // who reads decides on nothing
      await page.locator("#yellow").press("r");
      await until(() => terminal.transactions[0]?.ended, "decided");
      assert.equal(terminal.transactions[0]?.outcome?.failure, "04");
      await until(async () => await text("#detail dd .bad") === "answer lost", "its end");
    }),
);

for (
  const [locale, mark] of [["en-GB", "no amount"], [
    "fr-FR",
    "pas un montant",
  ]] as const
) {
  test(
    `an amount that is none is shown as it came, ${locale}`,
    { skip },
    () =>
      withPage({}, async ({ terminal, page, text }) => {
        till(terminal, debit("02", "112.45") + "\n");
        till(terminal, `${MONEY}${field("CA", "03")}\n`); // none at all
        await page.locator("#list a").nth(1).waitFor();
        const sums = async (): Promise<string[]> =>
          (await page.locator("#list .sum").allTextContents()).sort();
        assert.deepEqual(await sums(), ["", `112.45 (${mark})`]);
        assert.equal(await text("#list .sum.warned"), `112.45 (${mark})`);
        const number = terminal.transactions.find(({ request }) => "CB" in request.message)?.number;
        await page.evaluate(`location.hash = "#/t/${number}"`);
        await page.locator("#detail table").first().waitFor();
        assert.match(await text("#detail h2"), new RegExp(`^d.bit 112\\.45 \\(${mark}\\)$`));
        assert.match(await text("tr:has(.note)"), new RegExp(`: 112\\.45 \\(${mark}\\)`));
        assert.doesNotMatch(await text("main"), /112\.45 978/);
      }, { locale }),
  );
}

for (
  const [locale, texts] of [
    ["en-GB", ["Model hipay", "7 known differences", "gives back 32 characters of CF (9)"]],
    ["fr-FR", ["Modèle hipay", "7 différences connues", "renvoie 32 caractères de CF (9)"]],
  ] as const
) {
  const [header, summary, difference] = texts;
  test(
    `the model is named, told of and changed, ${locale}`,
    { skip },
    () =>
      withPage({ interactive: true }, async ({ terminal, page, text }) => {
        assert.equal(await page.locator("#where-model").isVisible(), false);
        assert.equal(await page.locator("#differences").isVisible(), false);
        assert.equal(await page.locator("#model option").count(), Object.keys(MODELS).length);
        await page.locator("#model").selectOption("hipay");
        await until(() => terminal.settings.model === "hipay", "the model");
        await page.locator("#where-model").waitFor();
        assert.ok((await text(".where")).endsWith(header));
        assert.match(await page.locator("#model option:checked").textContent(), /HiPay .* Nepting/);
        assert.equal((await text("#differences summary")).slice(0, summary.length), summary);
        // A letter chooses a model there, and Enter opens what is known: they decide nothing.
        const pos = till(terminal, debit("01", "100"));
        await page.locator("#question:visible").waitFor();
        await page.locator("#model").press("h");
        await page.locator("#model").press("s");
        await page.locator("#differences summary").press("Enter");
        await page.getByText(difference).waitFor();
        assert.equal(await page.locator("#differences li").count(), 7);
        assert.equal(pos.text, "");
        assert.deepEqual(terminal.settings.waiting, [1]);
        assert.equal(terminal.settings.model, "hipay");
        await page.locator("#reset").click();
        await page.locator("#ask-yes").click();
        await until(() => terminal.settings.model === "reference", "the reset");
        await until(async () => await page.locator("#model").inputValue() === "reference", "shown");
        assert.equal(await page.locator("#where-model").isVisible(), false);
        terminal.change({ model: "viva" }); // by somebody else
        await until(async () => await page.locator("#model").inputValue() === "viva", "found out");
      }, { locale }),
  );
}

test("the page has all that is known of the models in French too", () => {
  const { text } = PAGE["/page.js"];
  const { models } = JSON.parse(/^const DATA = (.*);\n/.exec(text)?.[1] ?? "");
  assert.deepEqual(Object.keys(models), Object.keys(MODELS));
  for (const { known } of Object.values<Loose>(models)) {
    for (const { text: [english, french] } of known) assert.notEqual(french, english);
  }
});

test(
  "seconds cannot be set where they do nothing",
  { skip },
  () =>
    withPage({ duration: 2 }, async ({ terminal, page }) => {
      const duration = page.locator("#duration");
      const is = (state: "enabled" | "disabled"): Promise<void> =>
        until(async () => await duration.isDisabled() === (state === "disabled"), state);
      await is("enabled");
      assert.equal(await duration.getAttribute("title"), null);
      await page.locator("#interactive").check();
      await is("disabled");
      assert.equal(
        await duration.getAttribute("title"),
        "What a person decides is answered at once. Seconds count for rules and the queue.",
      );
      await page.locator("#next-words").fill("refused");
      await page.locator("#next-words").press("Enter");
      await is("enabled");
      await page.locator("#next-clear").click();
      await is("disabled");
      await page.locator("#when-amount").fill("*01");
      await page.locator("#when-words").fill("refused");
      await page.locator("#when-words").press("Enter");
      await is("enabled");
      // For these they count, whoever decides on the others.
      terminal.change({ duration: 0.3 });
      const start = performance.now();
      const pos = till(terminal, debit("01", "101"));
      await until(() => pos.text.includes("AF00204"), "refused by its amount");
      assert.ok(performance.now() - start >= 300);
    }),
);

test(
  "a change that the terminal refuses is undone on the page",
  { skip },
  () =>
    withPage({}, async ({ page, text }) => {
      await page.route("**/api/terminal", (route: Loose) =>
        route.request().method() === "PATCH"
          ? route.fulfill({ status: 400, json: { error: "strict: not here" } })
          : route.continue());
      await page.locator("#strict").click();
      await page.locator("#outcome-error:not(:empty)").waitFor();
      assert.equal(await text("#outcome-error"), "strict: not here");
      await until(async () =>
        !await page.locator("#strict").isChecked(), "undone");
    }),
);

test(
  "a hostile till changes nothing of the page",
  { skip },
  () =>
    withPage({ gap: 5000 }, async ({ terminal, page, text }) => { // a line end is what ends each
      const evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>";
      const came = (count: number) =>
        until(() => terminal.transactions.length === count, `${count} requests`);
      till(terminal, debit("<b>\x00\x1b[2J", "<i>1", field("CF", evil) + field("XX", evil)) + "\n");
      await came(1);
      till(terminal, "<script>alert(3)</script>\n");
      await came(2);
      let many = debit("01", "100");
      for (let at = 0; many.length < 64_000; at++) {
        many += field(`X${String.fromCharCode(65 + at % 26)}`, `</td>${at}\x07\x9b`);
      }
      till(terminal, `${many}\n`);
      await until(async () => await page.locator("#list a").count() === 3, "three in the list");
      for (const number of [1, 2, 3]) {
        await page.goto(`${terminal.url}#/t/${number}`);
        await page.locator("#detail .raw").first().waitFor();
        assert.equal(await page.locator("#detail img, main script, #detail b b").count(), 0);
      }
      await until(
        async () => /<\/td>0\\x07\\x9b/.test(await text("#detail table")),
        "the third transaction",
      );
      assert.ok(await page.locator("#detail tr").count() < 300);
      // A receipt that somebody has set, with a script in it.
      const html = btoa("<script>parent.document.title = 'evil'</script>DEBIT");
      terminal.nextOutcome({ tags: { ZT: field("CK", "101") + field("AK", html) } });
      await page.goto(`${terminal.url}#/`);
      till(terminal, `${debit("01", "100")}\n`);
      await page.frameLocator("#printer iframe").getByText("DEBIT").waitFor();
      assert.equal(await page.title(), "Simulated terminal");
    }),
);

test("it comes back after a reload and a broken connection", { skip }, async () => {
  let port = 0;
  await withPage({ interactive: true }, async ({ terminal, page, text }) => {
    port = Number(new URL(terminal.url).port);
    const pos = till(terminal, debit("01", "4321"));
    await page.getByText("43,21").waitFor();
    await page.reload();
    await page.getByText("43,21").waitFor();
    await terminal.close();
    await page.locator("#link.broken").waitFor();
    assert.match(await text("#link"), /connection lost/);
    pos.socket.destroy();
    await using _again = await startWeb({ port: 0, host: "127.0.0.1", webPort: port });
    await page.locator("#link:not(.broken)").waitFor();
    await page.locator("#first:visible").waitFor(); // the new one has no transactions yet
  });
});

test(
  "2,000 transactions leave the list quick",
  { skip },
  () =>
    withPage({}, async ({ terminal, page }) => {
      const pos = till(terminal);
      for (let at = 0; at < 2000; at++) {
        pos.socket.write(`${debit("01", String(1000 + at))}\n`);
        if (at % 50 === 49) await sleep(20);
      }
      const { length } = pos.text;
      await until(() => terminal.transactions.at(-1)?.number === 2000, `${length} answered`);
      await page.locator('#list a[href="#/t/2000"]').waitFor();
      assert.ok(await page.locator("#list a").count() <= 200);
      // What it costs, and not how long it takes: other programs may have the machine meanwhile.
      const browser = await page.context().newCDPSession(page);
      await browser.send("Performance.enable", { timeDomain: "threadTicks" });
      const spent = async (): Promise<number> => {
        const { metrics } = await browser.send("Performance.getMetrics");
        return 1000 * metrics.find(({ name }: Loose) => name === "TaskDuration").value;
      };
      const before = await spent();
      await page.evaluate(`new Promise((resolve) => {
      const field = document.querySelector("#filter");
      field.value = "29.99";
      field.dispatchEvent(new Event("input"));
      const look = () => document.querySelectorAll("#list li").length === 1
        ? resolve()
        : requestAnimationFrame(look);
      look();
    })`);
      const took = await spent() - before;
      assert.ok(took > 0 && took < 100, `${took} ms`);
    }),
);

for (const locale of ["en-GB", "fr-FR"]) {
  for (const colorScheme of ["light", "dark"]) {
    const name = `axe finds nothing, ${locale} ${colorScheme}`;
    test(
      name,
      { skip: skip || (axe ? false : "no axe-core") },
      () =>
        withPage({}, async ({ terminal, page }) => {
          const check = async (what: string): Promise<void> => {
            for (const width of [1280, 1001, 1000, 761, 760, 360, 320]) {
              await page.setViewportSize({ width, height: 900 });
              assert.deepEqual(await outside(page), [], `${what} ${width}`);
              if (width !== 1280 && width !== 360) continue;
              const { violations } = await page.evaluate("axe.run()");
              const found = violations.map(({ id, nodes }: Loose) => `${id} ${nodes[0].html}`);
              assert.deepEqual(found, [], `${what} ${width}`);
            }
            await page.setViewportSize({ width: 1280, height: 900 });
          };
          await page.evaluate((axe.default ?? axe).source);
          assert.equal(await page.evaluate("document.documentElement.lang"), locale.slice(0, 2));
          await check("first use");
          terminal.change({ model: "hipay" });
          await page.locator("#differences summary").click();
          await check("a model and what is known of it");
          till(terminal, debit("01", "11245", field("CK", "100")) + "\n");
          till(terminal, debit("02", "5") + "\n");
          await page.locator("#list li").nth(1).waitFor();
          till(terminal, debit("02", "112.45") + "\n");
          terminal.nextOutcome("success,CB=999999999999");
          till(terminal, debit("04", "999999999999") + "\n");
          await page.locator("#list li").nth(3).waitFor();
          terminal.nextOutcome("success,CB=123456");
          till(terminal, debit("04", "9999999999999999") + "\n");
          await page.locator("#list li").nth(4).waitFor();
          terminal.change({ interactive: true });
          const big = till(terminal, debit("05", "99999999999999"));
          await page.locator("#tills button").waitFor();
          const { socket } = till(terminal, debit("03", "999"));
          await page.locator("#tills button", { hasText: " 03 " })
            .locator("span", { hasText: /^[1-9]\d* s$/ }).waitFor();
          socket.destroy();
          await page.locator("#duration:disabled").waitFor();
          await page.locator("#tills span", { hasText: " · " }).waitFor(); // it has given up
          await check("waiting");
          big.socket.destroy();
          await page.evaluate('location.hash = "#/t/1"');
          await page.locator("#detail table").nth(1).waitFor();
          await check("one transaction");
        }, { locale, colorScheme }),
    );
  }
}

test(
  "what happens is shown although what was before cannot be read",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      await page.route("**/api/transactions", (route: Loose) =>
        route.fulfill({ status: 500, json: { error: "too much" } }));
      await page.reload();
      await page.locator("#try-error:not(:empty)").waitFor();
      assert.equal(await text("#try-error"), "What was before could not be read: too much");
      await page.locator("#link:not(.broken)").waitFor();
      assert.equal(await page.isVisible("#first"), false); // perhaps a till has called
      till(terminal, debit("01", "4321"));
      await page.locator("#list a").waitFor();
      assert.match(await text("#list .sum"), /^43\.21/);
    }),
);

for (
  const [locale, paid, dollars] of [
    ["en-GB", "5.00 EUR of 12.34 EUR", "12.34 USD of 12.34 EUR"],
    ["fr-FR", "5,00 EUR sur 12,34 EUR", "12,34 USD sur 12,34 EUR"],
  ] as const
) {
  test(
    `what an approval says was paid is shown as paid, ${locale}`,
    { skip },
    () =>
      withPage({}, async ({ terminal, page, text }) => {
        const plain = async (selector: string): Promise<string> =>
          (await text(selector)).replaceAll("\xa0", " ");
        let count = 0;
        const pay = async (tags: Message, sum: string, screen: string): Promise<void> => {
          terminal.nextOutcome({ tags });
          till(terminal, debit("01", "1234"));
          await page.locator(`#list a[href="#/t/${++count}"] .good`).waitFor();
          assert.equal(await plain("#list .sum"), sum);
          await until(async () => (await plain("#screen-top")).endsWith(`  ${screen}`), screen);
        };
        await pay({ CB: "500" }, paid, "5,00 EUR");
        await pay({ CE: "840" }, dollars, "12,34 USD");
        await pay({ CB: "0001234" }, paid.slice(-9), "12,34 EUR"); // the same
        await page.evaluate('location.hash = "#/t/1"');
        await page.locator("#detail table").first().waitFor();
        assert.ok((await plain("#detail h2")).endsWith(` ${paid}`));
        // What was refused was not paid, whatever the answer says.
        terminal.nextOutcome({ failure: "04", tags: { CB: "500" } });
        await page.evaluate('location.hash = "#/"');
        till(terminal, debit("01", "1234"));
        await page.locator('#list a[href="#/t/4"] .bad').waitFor();
        assert.equal(await plain("#list .sum"), paid.slice(-9));
      }, { locale }),
  );
}

test(
  "a decision is about the payment that was shown",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page, text }) => {
      const pos = ["100", "200", "300"].map((amount, at) =>
        till(terminal, debit(`0${at}`, amount))
      );
      await page.locator("#tills button").nth(2).waitFor();
      const [first, second, third] = terminal.settings.waiting.map((number) => ({
        number,
        sum: terminal.transaction(number)?.request.message["CB"]?.replace("00", ",00"),
      }));
      const shows = (one: { sum?: string | undefined } | undefined) =>
        until(async () => (await text("#screen-main")).startsWith(one?.sum ?? "?"), "shown");
      await shows(first);
      // Words that were typed for one that somebody else decides on.
      await page.locator("#answer-words").fill("refused");
      terminal.decide(first!.number, "success");
      await shows(second);
      assert.match(await text("#answer-error"), /does not wait any more/);
      assert.equal(await page.locator("#answer-words").inputValue(), "");
      await page.locator("#answer-words").press("Enter");
      assert.match(await text("#answer-error"), /does not wait any more/);
      // A card, when another till is chosen.
      await page.locator('[name="card"][value="ancv"]').check();
      await page.locator("#tills button").nth(1).click();
      await shows(third);
      assert.equal(await page.locator("#card-").isChecked(), true);
      // Keys, while somebody reads of another one.
      await page.evaluate(`location.hash = "#/t/${second!.number}"`);
      await page.locator("#detail-title:focus").waitFor();
      await page.keyboard.press("Enter");
      await page.evaluate("document.activeElement.blur()");
      await page.keyboard.press("r");
      await page.evaluate('location.hash = "#/"');
      await page.locator("#list a:focus").waitFor();
      await page.keyboard.press("r");
      await page.locator("#yellow").press("a"); // what was sent before would have come by now
      await until(() => terminal.transaction(third!.number)?.ended, "decided");
      assert.equal(terminal.transaction(third!.number)?.outcome?.failure, "11");
      assert.deepEqual(terminal.settings.waiting, [second!.number]);
      await until(() => pos.filter((one) => one.text !== "").length === 2, "two answers");
    }),
);

test(
  "what is decided by keyboard leaves the focus where it can go on",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page }) => {
      const one = till(terminal, debit("01", "100"));
      await page.getByText("1,00").waitFor();
      const two = till(terminal, debit("02", "200"));
      await page.locator("#tills button").nth(1).press("Enter"); // which chooses it
      await page.keyboard.press("r");
      await until(() => two.text.includes("AF00204"), "refused");
      await page.locator("#tills button:focus", { hasText: "Till 01" }).waitFor();
      await page.keyboard.press("r");
      await until(() => one.text.includes("AF00204"), "refused");
      await page.locator("#decide-title:focus").waitFor();
    }),
);

test(
  "the screen asks for no card back that was not put in",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      const rows: [sub: string, request: string, outcome?: Outcome][] = [
        ["RETIREZ CARTE", debit("01", "100")],
        ["TICKET EN COURS", debit("01", "100", field("CK", "100"))],
        ["", debit("01", "100"), { card: "cbcontactless" }],
        ["", debit("01", "100", field("CC", "00C"))],
        ["", debit("01", "100").replace("CD0010", "CD001B")],
        ["RETIREZ CARTE", debit("01", "100")],
      ];
      for (const [at, [sub, request, outcome]] of rows.entries()) {
        if (outcome) terminal.nextOutcome(outcome);
        till(terminal, request);
        await page.locator(`#list a[href="#/t/${at + 1}"] .good`).waitFor();
        await until(async () => await text("#screen-sub") === sub, `${sub} ${at}`);
        await page.locator("#device.done").waitFor();
      }
    }),
);

test(
  "an AE 11 is told as such, whether it is the last answer or not",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      terminal.nextOutcome({ tags: { AE: "11" } });
      const pos = till(terminal, debit("01", "100"));
      await page.locator("#list .good").waitFor();
      assert.equal(await text("#list .good"), "taken into account");
      pos.socket.destroy();
      terminal.nextOutcome("success,pending,delay=300");
      const other = till(terminal, debit("02", "100"));
      await until(() => other.text.includes("AE00211"), "AE 11");
      await page.locator('#list a[href="#/t/2"] .muted').waitFor();
      assert.equal(await text('#list a[href="#/t/2"] .muted'), "under way");
      await page.evaluate('location.hash = "#/t/2"');
      await page.locator("path.segment").nth(1).waitFor();
      assert.doesNotMatch(await page.locator(".picture").innerHTML(), /NaN/);
    }),
);

test(
  "what the interface says in English is marked as such on a French page",
  { skip },
  () =>
    withPage({}, async ({ page, text }) => {
      await page.locator("#duration").fill("x");
      await page.locator("#duration").press("Enter");
      await page.locator("#duration-error [lang=en]").waitFor();
      assert.match(await text("#duration-error"), /^erreur\xa0: duration: expected a number/);
    }, { locale: "fr-FR" }),
);

test(
  "before a real terminal it has nothing that pays there, or that only a simulated one knows",
  { skip },
  async () => {
    await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
    const place = `127.0.0.1:${real.port}`;
    await withPage({ terminal: place }, async ({ terminal, page, text }) => {
      await page.locator("#where-real:visible").waitFor();
      assert.equal(await text("#real-name"), place);
      assert.equal(await text("h1"), "Real terminal");
      assert.equal(await page.title(), "Real terminal");
      const hidden = [
        "try",
        "try-first",
        "interactive",
        "duration",
        "strict",
        "exclusive",
        "model",
      ];
      for (const id of hidden) assert.equal(await page.isVisible(`#${id}`), false, id);
      // What is changed of its answers, and no more.
      const outcome = page.locator("#outcome");
      assert.equal(await outcome.inputValue(), "");
      assert.equal(await outcome.getAttribute("placeholder"), "unchanged");
      await outcome.focus();
      const words = await page.locator("#words option").evaluateAll((all: Loose[]) =>
        all.map(({ value }) => value)
      );
      assert.ok(words.includes("truncate") && !words.includes("refused"), words.join());
      for (const word of words) terminal.nextOutcome(word); // each is one that it takes
      await outcome.fill("split");
      await outcome.press("Enter");
      await until(() => terminal.settings.outcome === "success,split", "changed");
      await page.locator("#next li").nth(words.length - 1).waitFor();
      assert.deepEqual(await page.locator("#next code").allTextContents(), words);
      await outcome.fill("");
      await outcome.press("Enter");
      await until(() => terminal.settings.outcome === "success", "unchanged");
      const amount = page.locator("#when-amount");
      for (const [count, ending] of ["*01", "*02"].entries()) {
        await amount.fill(ending);
        const word: string = await page.locator("#when-words").getAttribute("placeholder");
        await page.locator("#when-words").fill(word);
        await page.locator("#when-words").press("Enter");
        await page.locator("#when li").nth(count).waitFor();
      }
      assert.deepEqual(await page.locator("#when code").allTextContents(), [
        ...["*01", "truncate"],
        ...["*02", "truncate"],
      ]);
    });
  },
);

for (
  const [locale, approved, refused, open, ...sections] of [
    [
      "en-GB",
      "terminal: approved, the till did not get that answer whole",
      "terminal: refused, the till did not get that answer whole",
      "terminal: approved, the till has no answer yet",
      "What the terminal answered",
      "What the till was sent",
    ],
    [
      "fr-FR",
      "terminal\xa0: acceptée, la caisse n'a pas reçu cette réponse entière",
      "terminal\xa0: refusée, la caisse n'a pas reçu cette réponse entière",
      "terminal\xa0: acceptée, la caisse n'a pas encore de réponse",
      "Ce que le terminal a répondu",
      "Ce qui a été envoyé à la caisse",
    ],
  ] as const
) {
  test(
    `what a real terminal answered is told where the till did not get it, ${locale}`,
    { skip },
    async () => {
      await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
      const options = { terminal: `127.0.0.1:${real.port}` };
      await withPage(options, async ({ terminal, page, text }) => {
        let count = 0;
        const pay = async (change: OutcomeOrText, ending: string): Promise<Loose> => {
          terminal.nextOutcome(change);
          const pos = till(terminal, debit("01", "700"));
          const row = page.locator(`#list a[href="#/t/${++count}"]`);
          await until(async () => await row.count() === 1, "a row");
          await until(
            async () => (await row.locator("span").allTextContents()).includes(ending),
            ending,
          );
          return pos;
        };
        await pay("close", approved);
        await until(async () => await text("#screen-main") === "PAIEMENT ACCEPTÉ", "on the screen");
        await pay("truncate", approved);
        await pay({ tags: { AE: "01", AF: "04" } }, approved);
        await pay("split", locale === "en-GB" ? "approved" : "acceptée"); // whole, if in pieces
        real.nextOutcome("refused");
        await pay("close", refused);
        const pos = await pay("silent", open);
        await sleep(150); // sooner it might wait as nc does
        pos.socket.destroy();
        await until(
          async () =>
            await text('#list a[href="#/t/6"] .bad') ===
              approved,
          "it has left",
        );
        await page.reload(); // the same, when it is read later
        await until(
          async () =>
            (await page.locator("#list .bad").allTextContents()).join() ===
              [approved, refused, approved, approved, approved].join(),
          "read again",
        );
        await page.evaluate('location.hash = "#/t/1"');
        await page.locator("#detail table").nth(1).waitFor();
        assert.equal(await text("#detail dd .bad"), approved);
        const titles = await page.locator("#detail h3").allTextContents();
        assert.deepEqual(titles.slice(-2), sections);
      }, { locale });
    },
  );
}

test("a terminal that cannot be reached is told of in French", { skip }, async () => {
  const free = await startTerminal({ port: 0, host: "127.0.0.1" });
  const options = { terminal: `127.0.0.1:${free.port}` };
  await free.close();
  await withPage(options, async ({ terminal, page, text }) => {
    till(terminal, debit("01", "700"));
    await page.locator("#list a").click();
    await page.locator("#detail .note").waitFor();
    assert.equal(await text("#detail .note b"), "terminal injoignable");
  }, { locale: "fr-FR" });
});
