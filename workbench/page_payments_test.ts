// SPDX-License-Identifier: GPL-3.0-or-later
// What the page shows of payments, and how a person decides on them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Message } from "../protocol.ts";
import type { Outcome, OutcomeOrText } from "../server.ts";
import { startTerminal } from "./terminal.ts";
import { debit, field, type Loose, MONEY, skip, till, until, withPage } from "./page_helpers.ts";

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
      await until(() => terminal.transactions[0]?.answered, "an answer"); // all of it
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
      await until(async () => await text("#detail dd .bad") === "refused, answer lost", "its end");
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
      // Who comes later sees it too.
      assert.equal(terminal.transaction(2)?.ended, undefined);
      await page.reload();
      await page.locator(".picture text", { hasText: "AE 11 · " }).waitFor();
      assert.equal(await page.locator("path.segment").count(), 2);
      assert.equal(await text("#detail dd .muted"), "under way");
    }),
);

test(
  "what a till sends is looked for in no table by the names that each object has",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      const names = ["constructor", "toString", "__proto__"];
      for (const [at, name] of names.entries()) {
        terminal.nextOutcome({ tags: { AE: "01", AF: name } });
        const request = debit("01", "100").replace("CE003978", field("CE", name));
        till(terminal, `${request}${field("CC", name)}\n`);
        await page.locator(`#list a[href="#/t/${at + 1}"] .bad`).waitFor();
        const sum = (await text("#list .sum")).trim();
        assert.equal(sum, `100 ${name}`);
        await page.evaluate(`location.hash = "#/t/${at + 1}"`);
        await page.locator("#detail table").nth(1).waitFor();
        await page.evaluate('location.hash = "#/"');
      }
      for (const [at, name] of names.entries()) { // as an action
        till(terminal, `${debit("01", "100").replace("CD0010", field("CD", name))}\n`);
        const row = page.locator(`#list a[href="#/t/${names.length + at + 1}"]`);
        await until(async () => (await row.allTextContents()).join().includes(name), name);
      }
    }),
);

test(
  "a duplicate that there is not is shown as the model shows it, and by no other",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      const duplicate = (register: string) =>
        till(terminal, debit(register, "100").replace("CD0010", "CD0013") + "\n");
      let count = 0;
      const shows = async (register: string, screen: string): Promise<void> => {
        duplicate(register);
        await page.locator(`#list a[href="#/t/${++count}"] .bad`).waitFor();
        await until(async () => await text("#screen-main") === screen, screen);
      };
      await shows("01", "NON ABOUTI");
      terminal.change({ model: "v240m" });
      await page.locator("#where-model").waitFor();
      await shows("02", "DUPLICATA IMPOSSIBLE");
      terminal.nextOutcome("refused");
      till(terminal, debit("02", "100") + "\n");
      await page.locator(`#list a[href="#/t/${++count}"] .bad`).waitFor();
      await shows("02", "DERNIERE TRANSACTION NON ABOUTIE PAS DE DUPLICATA");
    }),
);

test(
  "before a real terminal it has nothing that pays there, or that only a simulated one knows",
  { skip },
  async () => {
    await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
    const place = `127.0.0.1:${real.port}`;
    await withPage({ real: place }, async ({ terminal, page, text }) => {
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
      const options = { real: `127.0.0.1:${real.port}` };
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
  const options = { real: `127.0.0.1:${free.port}` };
  await free.close();
  await withPage(options, async ({ terminal, page, text }) => {
    till(terminal, debit("01", "700"));
    await page.locator("#list a").click();
    await page.locator("#detail .note").waitFor();
    assert.match(await text("#detail .note"), /^terminal injoignable à 127\.0\.0\.1 port \d+\xa0:/);
    assert.equal(await page.locator("#detail .note [lang]").count(), 0);
    // What was never passed on is not drawn as if it had been.
    assert.equal(await page.locator(".picture .segment, .picture .work").count(), 0);
    assert.equal(await page.locator(".picture .lost").count(), 1);
    await page.getByText("non remise").waitFor();
    await until(async () => await text("#screen-main") === "INJOIGNABLE", "on the screen");
  }, { locale: "fr-FR" });
});
