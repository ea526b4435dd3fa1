// SPDX-License-Identifier: GPL-3.0-or-later
// The page itself: its files and words, what its controls set, what it withstands.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TAGS } from "../protocol.ts";
import { FILES } from "./page/files.ts";
import type { PageData } from "./page/tables.ts";
import {
  axe,
  debit,
  field,
  type Loose,
  outside,
  serve,
  skip,
  start,
  till,
  until,
  withPage,
} from "./page_helpers.ts";

test("the page comes with its policy, and is not sent twice", async () => {
  await using terminal = await start({});
  await using web = await serve(terminal);
  const paths = ["", "data.json", ...Object.keys(FILES).filter((name) => name !== "index.html")];
  for (const path of paths) {
    const first = await fetch(web.url + path);
    assert.equal(first.status, 200, path);
    assert.match(first.headers.get("content-security-policy") ?? "", /^default-src 'none';/);
    assert.match(first.headers.get("content-type") ?? "", TYPES[path.replace(/.*\./, "")] ?? /./);
    assert.ok((await first.text()).length > 300, path);
    const headers = { "if-none-match": first.headers.get("etag") ?? "" };
    const second = await fetch(web.url + path, { headers });
    assert.equal(second.status, 304);
    await second.body?.cancel();
  }
});

/** What a browser must be told of a file, or it does not take it. */
const TYPES: Record<string, RegExp> = {
  "": /^text\/html/,
  css: /^text\/css/,
  js: /^text\/javascript/,
  json: /^application\/json/,
};

test("each file that the page names is one of the page, and it has no script in it", async () => {
  await using terminal = await start({});
  await using web = await serve(terminal);
  for (const name of Object.keys(FILES)) {
    const text = await (await fetch(web.url + (name === "index.html" ? "" : name))).text();
    const names = name.endsWith(".html")
      ? [...text.matchAll(/ (?:src|href)="(?!api\/)([^"#][^":]*)"/g)]
      : name.endsWith(".js")
      ? [...text.matchAll(/^(?:import|\}).* from "\.\/([^"]*)";$/gm)]
      : [];
    if (name === "index.html") assert.ok(names.length >= 5);
    for (const [, named = ""] of names) assert.ok(named in FILES, `${named} in ${name}`);
    assert.doesNotMatch(text, /<script(?! type="module" src="[\w.]+"><\/script>)/, name);
  }
});

/** The data of the page. */
async function dataOf(url: string): Promise<PageData> {
  return await (await fetch(`${url}data.json`)).json() as PageData;
}

test("the page has all its words in French too", async () => {
  await using terminal = await start({});
  await using web = await serve(terminal);
  const { tags, words, changes, models } = await dataOf(web.url);
  assert.deepEqual(Object.keys(tags), [...TAGS.keys()]);
  for (const [english, french] of Object.values(tags)) {
    assert.ok(french !== english || english === "action", english); // which is the same word
  }
  for (const word of [...changes, "pending"]) {
    const [english, french] = words[word] ?? [];
    assert.ok(english && french && french !== english, word);
  }
  assert.ok(Object.keys(models).length > 5);
  for (const { known } of Object.values(models)) {
    for (const { text: [english, french] } of known) assert.notEqual(french, english);
  }
});

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
      await type("#outcome", "refussed");
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

for (
  const [locale, texts] of [
    ["en-GB", ["Model hipay", " known differences", "gives back 32 characters of CF (9)"]],
    ["fr-FR", ["Modèle hipay", " différences connues", "renvoie 32 caractères de CF (9)"]],
  ] as const
) {
  const [header, summary, difference] = texts;
  test(
    `the model is named, told of and changed, ${locale}`,
    { skip },
    () =>
      withPage({ interactive: true }, async ({ terminal, url, page, text }) => {
        assert.equal(await page.locator("#where-model").isVisible(), false);
        assert.equal(await page.locator("#differences").isVisible(), false);
        assert.equal(
          await page.locator("#model option").count(),
          Object.keys((await dataOf(url)).models).length,
        );
        await page.locator("#model").selectOption("hipay");
        await until(() => terminal.settings.model === "hipay", "the model");
        await page.locator("#where-model").waitFor();
        assert.ok((await text(".where")).trim().endsWith(header));
        assert.match(await page.locator("#model option:checked").textContent(), /HiPay .* Nepting/);
        const { known = [] } = (await dataOf(url)).models["hipay"] ?? {};
        assert.ok(known.length > 3);
        assert.equal(await text("#differences summary"), `${known.length}${summary}`);
        // A letter chooses a model there, and Enter opens what is known: they decide nothing.
        const pos = till(terminal, debit("01", "100"));
        await page.locator("#question:visible").waitFor();
        await page.locator("#model").press("h");
        await page.locator("#model").press("s");
        await page.locator("#differences summary").press("Enter");
        await page.getByText(difference).waitFor();
        assert.equal(await page.locator("#differences li").count(), known.length);
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
  "what is typed with a comma is understood, and shown as it was typed",
  { skip },
  () =>
    withPage({}, async ({ terminal, page }) => {
      const duration = page.locator("#duration");
      await duration.fill("0,5");
      await duration.press("Enter");
      await until(() => terminal.settings.duration === 0.5, "half a second");
      await page.locator("#strict").check(); // the focus leaves, and the settings are read again
      await until(() => terminal.settings.strict, "read again");
      assert.equal(await duration.inputValue(), "0,5");
      terminal.change({ duration: 1.5 }); // by somebody else
      await until(async () => await duration.inputValue() === "1,5", "as French writes it");
      const rules = [["12,34", "1234"], ["12.5", "1250"], ["1 000,00 €", "100000"], [
        "*,07",
        "*07",
      ]];
      for (const [amount = "", cents = ""] of rules) {
        await page.locator("#when-amount").fill(amount);
        await page.locator("#when-words").fill("refused");
        await page.locator("#when-words").press("Enter");
        await until(() => terminal.settings.when[cents] === "refused", amount);
      }
    }, { locale: "fr-FR" }),
);

test(
  "a hostile till changes nothing of the page",
  { skip },
  () =>
    withPage({ gap: 5000 }, async ({ terminal, url, page, text }) => { // a line end is what ends each
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
        await page.goto(`${url}#/t/${number}`);
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
      await page.goto(`${url}#/`);
      till(terminal, `${debit("01", "100")}\n`);
      await page.frameLocator("#printer iframe").getByText("DEBIT").waitFor();
      assert.equal(await page.title(), "Simulated terminal");
    }),
);

test(
  "it comes back after a reload and a broken connection",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, web, page, text }) => {
      const port = Number(new URL(web.url).port);
      const pos = till(terminal, debit("01", "4321"));
      await page.getByText("43,21").waitFor();
      await page.reload();
      await page.getByText("43,21").waitFor();
      await web.close();
      await page.locator("#link.broken").waitFor();
      assert.match(await text("#link"), /connection lost/);
      pos.socket.destroy();
      await using again = await start({});
      await using _web = await serve(again, { port });
      await page.locator("#link:not(.broken)").waitFor();
      await page.locator("#first:visible").waitFor(); // the new one has no transactions yet
    }),
);

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

// Contrast is a matter of the colours, and words of the language: each is there once.
for (const [locale, colorScheme] of [["en-GB", "light"], ["fr-FR", "dark"]] as const) {
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
