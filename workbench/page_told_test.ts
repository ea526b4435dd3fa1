// SPDX-License-Identifier: GPL-3.0-or-later
// What the page tells of payments whose answer got lost, of who decided, of a terminal that sleeps, and
// that a French page is French.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FAULTS } from "../server.ts";
import { REASONS } from "./page/reasons.ts";
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
import { startTerminal } from "./terminal.ts";

// ---------------------------------------------------------------- French

test("each error that the page can meet has its French", async () => {
  await using terminal = await start({});
  await using proxy = await start({ real: `127.0.0.1:${terminal.port}` });
  await using web = await serve(terminal);
  await using behind = await serve(proxy, { real: `127.0.0.1:${terminal.port}` });
  const patch = (body: object) => ["PATCH", "terminal", JSON.stringify(body)] as const;
  const rows: [url: string, method: string, path: string, body: string, french: RegExp][] = [
    [
      web.url,
      ...patch({ outcome: "refussed" }),
      /^"refussed" n'est pas connu\. Vouliez-vous dire refused \?/,
    ],
    [
      web.url,
      ...patch({ outcome: "xyzxyz" }),
      /^"xyzxyz" n'est pas connu\. Mots possibles : success/,
    ],
    [web.url, ...patch({ outcome: "split,dribble" }), /^Un seul mot de chaque sorte/],
    [
      web.url,
      ...patch({ outcome: "delay=99999" }),
      /^Un nombre de 0 à 86400 est attendu, reçu 99999\.$/,
    ],
    [web.url, ...patch({ outcome: `CB=${"1".repeat(1000)}` }), /^Champ CB : de 1 à 999 caractères/],
    [web.url, ...patch({ outcome: "CB=€" }), /^Champ CB : des caractères de Latin-1/],
    [
      web.url,
      ...patch({ duration: "x" }),
      /^Secondes : un nombre de 0 à 86400 est attendu, reçu "x"\.$/,
    ],
    [
      web.url,
      ...patch({ when: { "1x": "refused" } }),
      /^Un montant comme 1234 ou 12,34 est attendu/,
    ],
    [web.url, ...patch({ when: { "1": "refused", "01": "refused" } }), /^Il y a déjà une règle/],
    [web.url, "POST", "next", "", /^Une issue est attendue/],
    [web.url, "POST", "next?register=", "refused", /^Un numéro de caisse \(CA\)/],
    [
      web.url,
      "POST",
      "transactions/1/outcome",
      "refused",
      /^La transaction 1 n'est plus gardée\.$/,
    ],
    [behind.url, "POST", "try", "", /^Ce n'est possible que sur un terminal simulé/],
    [behind.url, ...patch({ outcome: "refused" }), /^Le vrai terminal décide du reste/],
    [behind.url, ...patch({ strict: true }), /^La valeur "strict" n'est pas acceptée\.$/],
  ];
  const french = async (
    url: string,
    method: string,
    path: string,
    body: string,
  ): Promise<string> => {
    const isJson = method === "PATCH";
    const headers = {
      "content-type": isJson ? "application/json" : "text/plain",
      "accept-language": "fr-FR,fr;q=0.9",
    };
    const answer = await fetch(`${url}api/${path}`, { method, headers, body });
    const { error, french } = await answer.json() as { error: string; french?: string };
    assert.ok(error, `${method} ${path} ${body}`);
    return french ?? error;
  };
  for (const [url, method, path, body, expected] of rows) {
    assert.match(await french(url, method, path, body), expected);
  }
  terminal.change({ interactive: true });
  terminal.pause();
  assert.match(await french(web.url, "POST", "try", ""), /^Le terminal est endormi/);
});

test("a code of which something is known has it in both languages", () => {
  for (const [code, [english, french]] of Object.entries(REASONS)) {
    assert.match(code, /^\d\d$|^cheque$/);
    assert.notEqual(english, french);
  }
  assert.match(REASONS["04"]?.[1] ?? "", /ni la caisse ni le réseau/);
});

test(
  "on a French page no warning and no error is half in English",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      await page.locator("#outcome").fill("refussed");
      await page.locator("#outcome").press("Enter");
      await page.locator("#outcome-error:not(:empty)").waitFor();
      assert.match(
        await text("#outcome-error"),
        /^"refussed" n'est pas connu\. Vouliez-vous dire refused\xa0\?/,
      );
      // What has no French is not told half.
      await page.route(
        "**/api/next*",
        (route: Loose) => route.fulfill({ status: 400, json: { error: "such words are nowhere" } }),
      );
      await page.locator("#next-words").fill("split");
      await page.locator("#next-words").press("Enter");
      await page.locator("#next-error:not(:empty)").waitFor();
      assert.equal(await text("#next-error"), "Cela n'a pas été accepté.");
      assert.equal(
        await page.locator("#next-error span").getAttribute("title"),
        "such words are nowhere",
      );

      terminal.nextOutcome("close");
      for (const _ of [1, 2]) {
        till(terminal, debit("01", "11245", field("CF", "é") + field("BF", "1")));
      }
      await page.locator("#list li").nth(1).waitFor();
      await until(
        () => terminal.transaction(2)?.warnings.some(({ code }) => code === "paid-twice"),
        "paid twice",
      );
      await page.evaluate('location.hash = "#/t/2"');
      await page.getByText("Demandez d'abord le duplicata (CD 3)").waitFor();
      const notes: string[] = await page.locator("#detail .note").allTextContents();
      assert.ok(
        notes.some((note) => /^débit de 112,45 EUR de la caisse 01 de nouveau/.test(note)),
        notes.join(),
      );
      for (const note of notes) assert.doesNotMatch(note, /expected|got|the /, note);
      assert.equal(await page.locator("#detail .note [lang]").count(), 0);
      const titles = await page.locator("#detail .note").evaluateAll((all: Loose[]) =>
        all.map(({ title }) => title)
      );
      assert.ok(titles.includes("paid-twice"));
    }, { locale: "fr-FR" }),
);

test(
  "AE 11 taken for the result is told of in French",
  { skip },
  () =>
    withPage({ outcome: "success,pending,delay=20" }, async ({ terminal, page }) => {
      const pos = till(terminal, debit("01", "100"));
      await until(() => pos.text.includes("AE00211"), "AE 11");
      pos.socket.destroy();
      await until(() => terminal.transaction(1)?.gone, "gone");
      await page.evaluate('location.hash = "#/t/1"');
      await page.getByText("AE 11 n'est pas le résultat, il faut lire jusqu'à AE 10 ou AE 01")
        .waitFor();
    }, { locale: "fr-FR" }),
);

// ---------------------------------------------------------------- lost answers

const LOST = Object.entries(FAULTS).filter(([, { loses }]) => loses).map(([word]) => word);

for (
  const [locale, approved, refused] of [
    ["en-GB", "approved, answer lost", "refused, answer lost"],
    ["fr-FR", "acceptée, réponse perdue", "refusée, réponse perdue"],
  ] as const
) {
  test(
    `a payment whose answer gets lost is told as decided, ${locale}`,
    { skip },
    () =>
      withPage({}, async ({ terminal, page, text }) => {
        let count = 0;
        const shows = async (outcome: string, ending: string, screen: string): Promise<void> => {
          terminal.nextOutcome(outcome as "success");
          till(terminal, debit(String(++count).padStart(2, "0"), "11245"));
          const row = page.locator(`#list a[href="#/t/${count}"]`);
          await row.locator(".bad", { hasText: ending }).waitFor();
          await until(async () => await text("#screen-main") === screen, outcome);
          assert.equal(await text("#screen-sub"), "RÉPONSE PERDUE", outcome);
          assert.match(await text("#screen-top"), new RegExp(`^CAISSE 0${count} .*112,45`));
        };
        for (const fault of LOST) {
          assert.ok(fault in FAULTS);
          await shows(fault, approved, "PAIEMENT ACCEPTÉ");
        }
        await shows("refused,close", refused, "PAIEMENT REFUSÉ");
        const said = await page.locator("#list .bad").allTextContents();
        await page.reload();
        await page.locator("#list li").nth(count - 1).waitFor();
        assert.deepEqual(await page.locator("#list .bad").allTextContents(), said);
        for (let number = 1; number <= count; number++) {
          await page.evaluate(`location.hash = "#/t/${number}"`);
          await page.locator("#detail h2", { hasText: "" }).waitFor();
          const ending = number === count ? refused : approved;
          await page.locator("#detail dd .bad", { hasText: ending }).waitFor();
          await page.locator(".picture .told", { hasText: ending }).waitFor();
          await page.evaluate('location.hash = "#/"');
        }
      }, { locale }),
  );
}

test(
  "the screen shows the payment that a person is silent about",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page, text }) => {
      const pos = till(terminal, debit("01", "11245"));
      await page.locator("#question:visible").waitFor();
      await page.keyboard.press("s");
      await until(async () => await text("#screen-main") === "PAIEMENT ACCEPTÉ", "silent");
      assert.match(await text("#screen-top"), /^CAISSE 01 .*112,45/);
      await page.reload(); // it stays as long as its till
      await until(async () => await text("#screen-sub") === "RÉPONSE PERDUE", "still");
      const other = till(terminal, debit("02", "500"));
      await until(async () => (await text("#screen-main")).startsWith("5,00"), "the next one");
      await page.keyboard.press("Enter");
      await until(() => other.text.includes("AE00210"), "paid");
      assert.equal(pos.text, "");
      pos.socket.destroy();
      await until(() => terminal.transaction(1)?.ended, "left");
      await page.reload();
      await until(async () => await text("#screen-main") === "PRÊT", "ready");
    }),
);

test(
  "times are the same after a reload",
  { skip },
  () =>
    withPage({ duration: 0.02 }, async ({ terminal, page }) => {
      for (let at = 0; at < 20; at++) {
        till(terminal, debit("01", "100") + "\n");
        await until(() => terminal.transactions[at]?.answered, "answered");
      }
      const took = page.locator("#list .took");
      await until(
        async () =>
          (await took.allTextContents()).filter((text: string) => text !== "").length === 20,
        "all of them",
      );
      const before = await took.allTextContents();
      await page.reload();
      await page.locator("#list li").nth(19).waitFor();
      assert.deepEqual(await took.allTextContents(), before);
    }),
);

// ---------------------------------------------------------------- who decided, and why

for (
  const [locale, rule, queue, person, standard, why, cheque] of [
    [
      "en-GB",
      "rule *45",
      "queue",
      "person",
      "standard outcome",
      /neither the till nor/,
      /a cheque/,
    ],
    [
      "fr-FR",
      "règle *45",
      "file d'attente",
      "personne",
      "issue générale",
      /ni la caisse ni le réseau/,
      /Pour un chèque/,
    ],
  ] as const
) {
  test(
    `which rule decided is told, and why it failed, ${locale}`,
    { skip },
    () =>
      withPage({ when: { "*45": "refused" } }, async ({ terminal, page, text }) => {
        const row = (number: number): Loose => page.locator(`#list a[href="#/t/${number}"]`);
        till(terminal, debit("01", "11245", field("CC", "00C")) + "\n");
        await row(1).locator("small", { hasText: rule }).waitFor();
        terminal.nextOutcome("abandon");
        till(terminal, debit("01", "100") + "\n");
        await row(2).locator("small", { hasText: queue }).waitFor();
        assert.ok((await row(2).innerText()).includes(` ${queue}`), "apart from how it ended");
        till(terminal, debit("01", "100") + "\n");
        await row(3).locator(".good").waitFor();
        assert.equal(await row(3).locator("small").textContent(), "");
        terminal.change({ interactive: true });
        till(terminal, debit("01", "100") + "\n");
        await until(() => terminal.decide(4, "success"), "it waits");
        await row(4).locator("small", { hasText: person }).waitFor();
        for (const [number, by] of [[1, rule], [2, queue], [3, standard], [4, person]] as const) {
          await page.evaluate(`location.hash = "#/t/${number}"`);
          await page.locator("#detail dd", { hasText: by }).waitFor();
          if (number !== 1) continue;
          assert.match(await text(".reason"), why);
          assert.match(await text(".reason"), cheque);
        }
        assert.equal(await page.locator(".reason").count(), 0);
      }, { locale }),
  );
}

// ---------------------------------------------------------------- asleep, out of reach, masked

test(
  "a terminal is put to sleep and woken up by a switch",
  { skip },
  () =>
    withPage({}, async ({ terminal, page, text }) => {
      await page.locator("#asleep").check();
      await until(() => !terminal.listening, "asleep");
      await until(async () => await text("#screen-main") === "EN VEILLE", "on the screen");
      await page.locator("#try-first").click();
      await page.getByText("Le terminal est endormi").waitFor();
      await page.locator("#asleep").uncheck();
      await until(() => terminal.listening, "awake");
      await until(async () => await text("#screen-main") === "PRÊT", "on the screen");
      terminal.pause(); // by somebody else, which an event tells
      await until(async () => await page.locator("#asleep").isChecked(), "found out");
      await page.reload();
      await until(async () => await page.locator("#asleep").isChecked(), "read");
      await terminal.resume();
      await until(async () => !await page.locator("#asleep").isChecked(), "found out");
    }, { locale: "fr-FR" }),
);

test("a masked receipt says so, and how to see it", { skip }, async () => {
  await using real = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
  const options = { real: `127.0.0.1:${real.port}` };
  await withPage(options, async ({ terminal, page }) => {
    till(terminal, debit("01", "700", field("CK", "100")));
    const note = "Masqué\xa0: pour le voir, lancez le proxy avec --unmasked.";
    await page.locator("#printer", { hasText: note }).waitFor();
    await page.locator("#list a").click();
    await page.locator(".papers figure", { hasText: note }).waitFor();
  }, { locale: "fr-FR" });
  await withPage({}, async ({ terminal, page }) => {
    till(terminal, debit("01", "700", field("CK", "100")));
    await page.locator("#printer pre").waitFor();
    assert.equal(await page.locator("#printer .muted").count(), 0);
  });
});

// ---------------------------------------------------------------- narrow

test(
  "on a phone the receipt is whole, and no choice stands alone",
  { skip },
  () =>
    withPage({ interactive: true }, async ({ terminal, page }) => {
      for (const width of [320, 360, 400, 700, 800, 1280]) {
        await page.setViewportSize({ width, height: 900 });
        const pos = till(terminal, debit("01", "700", field("CK", "100")));
        await page.locator("#question:visible").waitFor();
        const tops: number[] = await page.locator("#choices button").evaluateAll((all: Loose[]) =>
          all.map((node) => node.offsetTop)
        );
        assert.equal(tops.length, 6);
        for (const top of tops) {
          assert.ok(tops.filter((other) => other === top).length > 1, `${width}: ${tops}`);
        }
        assert.deepEqual(await outside(page), [], String(width));
        await page.locator("#green").click();
        await until(() => pos.text.includes("AE00210"), "paid");
        await page.locator("#printer pre").waitFor();
        const hidden: number = await page.locator("#printer .paper").evaluate((node: Loose) =>
          node.scrollHeight - node.clientHeight
        );
        assert.ok(hidden <= 0, `${width}: ${hidden} pixels of the receipt are cut off`);
        await page.locator("#printer button").click();
      }
    }, { locale: "fr-FR" }),
);

test(
  "axe finds nothing where answers got lost",
  { skip: skip || (axe ? false : "no axe-core") },
  () =>
    withPage({ outcome: "close" }, async ({ terminal, page }) => {
      await page.evaluate((axe.default ?? axe).source);
      till(terminal, debit("01", "700", field("CK", "100") + field("BF", "1")));
      await page.locator("#list .bad").waitFor();
      terminal.pause();
      for (const hash of ["#/", "#/t/1"]) {
        await page.evaluate(`location.hash = "${hash}"`);
        if (hash !== "#/") await page.locator("#detail table").first().waitFor();
        for (const width of [1280, 400, 360]) {
          await page.setViewportSize({ width, height: 900 });
          assert.deepEqual(await outside(page), [], `${hash} ${width}`);
          const { violations } = await page.evaluate("axe.run()");
          const told = violations.map(({ id, nodes }: Loose) => `${id} ${nodes[0].html}`);
          assert.deepEqual(told, [], `${hash} ${width}`);
        }
      }
    }, { locale: "fr-FR" }),
);
