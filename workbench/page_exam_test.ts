// SPDX-License-Identifier: GPL-3.0-or-later
// The examination on the page: by clicks alone, in both languages, wide and narrow.
import assert from "node:assert/strict";
import { test } from "node:test";
import { examRoutes } from "./exam_routes.ts";
import { Examiner } from "./examiner.ts";
import { axe, debit, type Loose, outside, skip, till, until, withPage } from "./page_helpers.ts";

/** An examiner, and what a page of it takes. */
function examining() {
  const examiner = new Examiner({ times: { close: 0.05, interim: 0.2 } });
  return { examiner, options: { part: () => examiner, routes: examRoutes(examiner) } };
}

test(
  "a terminal without an examination has no link to one",
  { skip },
  () =>
    withPage({}, async ({ page, url }) => {
      assert.equal(await page.locator("#exam-link").isVisible(), false);
      await page.goto(`${url}#/exam`);
      assert.equal(await page.locator("#exam").isVisible(), false);
      assert.equal(await page.locator("#home").isVisible(), true);
    }),
);

for (
  const [locale, words] of [
    ["en-GB", [
      ...["Examination", "goods given away", "money lost", "your till says paid", "paid"],
      ...["pay 10.22 by cheque", "BA 1 asks for an answer at once: busy is not sat"],
    ]],
    ["fr-FR", [
      ...["Examen", "marchandise donnée", "argent perdu", "votre caisse dit payé", "payé"],
      ...["payez 10,22 par chèque", "BA 1 demande une réponse immédiate : busy n'est pas passée"],
    ]],
  ] as const
) {
  const [title, given, lost, sentence, paid, cheque, atOnce] = words;
  test(`a till is examined by clicks alone, ${locale}`, { skip }, () => {
    const { examiner, options } = examining();
    return withPage(options, async ({ terminal, page, text }) => {
      const row = (name: string): Loose => page.locator("#exam-list li", { hasText: name }).first();
      const verdict = (name: string, expected: string): Promise<void> =>
        row(name).locator(".verdict", { hasText: expected }).waitFor();
      await page.locator("#exam-link").click();
      assert.equal(await text("#exam-title"), title);
      await page.locator("#exam-list li").nth(24).waitFor();
      assert.equal(await page.locator("#exam-list li").count(), 25);
      assert.equal(await page.locator("#exam-list button").count(), 0);

      till(terminal, debit("01", "1002"));
      await row("refused").locator("button").first().click();
      await verdict("refused", given);
      assert.match(await row("refused").textContent(), new RegExp(sentence));
      assert.equal(examiner.say("01", "refused", "paid", "person")?.class, "goods-given-away");
      const pressed = row("refused").locator('[aria-pressed="true"]');
      assert.equal(await pressed.textContent(), paid);
      await row("refused").locator("button").nth(1).click();
      await until(async () => await row("refused").locator(".good").count() > 0, "passed");

      const { socket } = till(terminal, debit("01", "1007"));
      await until(() => terminal.transaction(2)?.interim, "AE 11");
      socket.destroy();
      await verdict("interim", lost);
      await row("interim").locator("a").click();
      await page.locator("#detail-title:not(:empty)").waitFor();
      assert.equal(await page.locator("#exam").isVisible(), false);
      assert.equal(await page.locator(".picture svg").isVisible(), true);
      await page.locator("#exam-link").click();

      // Why a case was not sat.
      await row("cheque").locator("p", { hasText: cheque }).waitFor();
      till(terminal, debit("01", "1019").replace("BA0010", "BA0011"));
      await row("busy").locator("p", { hasText: atOnce }).waitFor();

      till(terminal, debit("02", "1001"));
      await page.locator("#exam-registers").waitFor();
      await page.locator("#exam-register").selectOption("02");
      await until(async () => await row("approved").locator("button").count() > 0, "sheet of 02");
      assert.equal(await row("interim").locator("button").count(), 0);
      const xml = await page.locator("#exam-xml").getAttribute("href");
      assert.equal(xml, "api/exam.xml?register=02");

      if (axe) {
        await page.evaluate((axe.default ?? axe).source);
        await page.locator("#exam-register").selectOption("01");
        await verdict("interim", lost);
        for (const width of [1280, 1160, 760, 360]) {
          await page.setViewportSize({ width, height: 900 });
          assert.deepEqual(await outside(page), [], String(width));
          const { violations } = await page.evaluate("axe.run()");
          const found = violations.map(({ id, nodes }: Loose) => `${id} ${nodes[0].html}`);
          assert.deepEqual(found, [], String(width));
        }
      }
      await page.locator("#exam-reset").click();
      await until(async () => await row("interim").locator("button").count() === 0, "anew");
    }, { locale });
  });
}
