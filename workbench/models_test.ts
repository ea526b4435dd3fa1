// SPDX-License-Identifier: GPL-3.0-or-later
// The models over sockets: what is seen of each trait, and that refusals come before outcomes.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeReceipts, encodeText, type Message } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import {
  MODEL_NAMES,
  type ModelName,
  modelOf,
  MODELS,
  modelsInWords,
  modelsText,
} from "./models.ts";
import type { Terminal } from "./terminal.ts";
import {
  ask,
  BASE,
  DEBIT_MESSAGE,
  eventually,
  Peer,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";
import type { Traits } from "./traits.ts";

/** A debit with nothing but what it must have, as HiPay publishes it (2). */
const PUBLISHED: Message = {
  CZ: "0300",
  CJ: "247300123456",
  CA: "01",
  CB: "12345",
  CD: "0",
  CE: "978",
};
const { CB: _amount, CE: _currency, CD: _action, ...MONEYLESS } = PUBLISHED;

/** All that a terminal answers to a request, as it comes. */
async function rawAnswer(port: number, request: Message): Promise<string> {
  await using peer = await Peer.connect(port);
  await peer.ask(request);
  return peer.text;
}

/** The lines of the receipt of an answer, and its AK as it came. */
function receiptOf({ ZT = "" }: Message): { AK: string; lines: string[]; text: string } {
  const [receipt] = decodeReceipts(ZT);
  const text = receipt?.text ?? "";
  return { AK: ZT.slice("CK003100AK000".length), lines: text.split("\n"), text };
}

/** What a terminal answers to the same request as the reference, without what is drawn at random. */
async function alike(terminal: Terminal, request: Message): Promise<void> {
  await using reference = await terminalWith();
  const drawn = { AA: "", AB: "", AC: "", ID: "" };
  const [own, theirs] = await Promise.all(
    [terminal, reference].map(({ port }) => ask(port, request)),
  );
  assert.deepEqual({ ...own, ...drawn }, { ...theirs, ...drawn });
}

type Check = (terminal: Terminal) => Promise<void>;

/** What is seen of each trait of each model, on a terminal that is one. */
const SEEN: Record<ModelName, Partial<Record<keyof Traits, Check>>> = {
  reference: {},
  desk5000: {
    async identity({ port }) {
      const answer = "CZ0040301CJ012330538600404CA00201CD001IAE00210"; // (5)
      assert.equal(await rawAnswer(port, { ...BASE, CD: "I" }), answer);
      const { CZ, CJ } = await ask(port, DEBIT_MESSAGE);
      assert.deepEqual([CZ, CJ], ["0301", "330538600404"]);
    },
    async zeros(terminal) {
      terminal.nextOutcome("abandon", "abandon", "abandon,padded", "abandon,CB=7", "refused");
      const cancelled = await ask(terminal.port, DEBIT_MESSAGE);
      assert.deepEqual([cancelled["AF"], cancelled["CB"]], ["11", "00000"]);
      const cheque = await ask(terminal.port, { ...DEBIT_MESSAGE, CB: "042", CC: "00C" });
      assert.deepEqual([cheque["AF"], cheque["CB"]], ["04", "000"]);
      const amounts: unknown[] = [];
      for (const _ of [1, 2, 3]) amounts.push((await ask(terminal.port, DEBIT_MESSAGE))["CB"]);
      assert.deepEqual(amounts, ["000000000000", "7", "11245"]);
    },
    async failsOn(terminal) {
      const { AE, AF } = await ask(terminal.port, { ...DEBIT_MESSAGE, BF: "0" });
      assert.deepEqual([AE, AF], ["01", "09"]);
      const [{ warnings }] = terminal.transactions as [Terminal["transactions"][0]];
      assert.deepEqual(warnings.at(-1), {
        code: "refused-tag",
        text: "BF: desk5000 answers AF 09 to it",
        tag: "BF",
        about: { tag: "BF", model: "desk5000" },
      });
      terminal.nextOutcome("close");
      await using lost = await Peer.connect(terminal.port);
      lost.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
      await lost.closed;
      await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "02", BF: "0" });
      const codes = (): unknown => terminal.transactions.at(-1)?.warnings.map(({ code }) => code);
      assert.deepEqual(codes(), ["partial-payment", "refused-tag"]); // it is not paid twice
      await ask(terminal.port, { ...DEBIT_MESSAGE, CA: "02" });
      assert.deepEqual(codes(), ["paid-twice"]);
      terminal.nextOutcome("05", "truncate", "AE=10,AF="); // which the refusal comes before
      const refused = { ...DEBIT_MESSAGE, BF: "1" };
      assert.deepEqual(await ask(terminal.port, refused), {
        ...refused,
        CZ: "0301",
        CJ: "330538600404",
        AE: "01",
        AF: "09",
      });
      assert.equal((await ask(terminal.port, DEBIT_MESSAGE))["AF"], "05");
    },
    async busy(terminal) {
      terminal.change({ exclusive: true, interactive: true });
      await using first = await Peer.connect(terminal.port);
      first.send(encodeText(DEBIT_MESSAGE));
      await eventually(() => terminal.settings.waiting.length === 1, "the first");
      terminal.change({ interactive: false });
      let answered = 0;
      const others = ["02", "03"].map((CA) =>
        ask(terminal.port, { ...DEBIT_MESSAGE, CA }).finally(() => answered++)
      );
      await eventually(() => terminal.transactions.length === 3, "the others");
      await sleep(50); // in which they would be answered
      assert.equal(answered, 0, "others are read when the first is over");
      terminal.decide(1, "success");
      assert.equal((await Promise.all(others)).every(({ AE }) => AE === "10"), true);
      await first.until(/AE00210/);
      const [, second] = terminal.transactions;
      assert.deepEqual(second?.warnings.map(({ code }) => code), ["busy"]);
    },
    async notes({ port }) {
      const cheque = { ...DEBIT_MESSAGE, CC: "00C" };
      assert.equal("AA" in await ask(port, cheque), false);
    },
  },
  dx8000: {
    port() {
      assert.equal(modelOf("dx8000").port, 20_002);
      return Promise.resolve();
    },
    notes: (terminal) => alike(terminal, DEBIT_MESSAGE),
  },
  hipay: {
    async identity({ port }) {
      const { CZ, CJ } = await ask(port, PUBLISHED);
      assert.deepEqual([CZ, CJ], ["0320", "999999999999"]);
    },
    async refusal(terminal) {
      terminal.nextOutcome("refused,AC=184118,AF=04", "refused", "forbidden");
      assert.equal(
        await rawAnswer(terminal.port, PUBLISHED),
        "CZ0040320CJ012999999999999CA00201CB00512345CD0010CE003978AC006184118AE00201AF00204", // (2)
      );
      const { AC, AF = "" } = await ask(terminal.port, PUBLISHED);
      assert.match(AC ?? "", /^\d{6}$/);
      assert.equal(AF.length, 29);
      assert.match(AF, /^04904148HOLDER INVALID +$/);
      const { AC: none, AF: forbidden } = await ask(terminal.port, PUBLISHED);
      assert.deepEqual([none, forbidden], [undefined, "05"]);
    },
    async published(terminal) {
      const { port } = terminal;
      const whole: Message = {
        ...PUBLISHED,
        BB: "1",
        CF: "f",
        CH: "h",
        CI: "0",
        CK: "100",
        XX: "1",
      };
      const tags = async (change: Message = {}): Promise<string> =>
        Object.keys(await ask(port, { ...whole, ...change })).join(" ");
      terminal.nextOutcome("cbcontactless,AC=424806", "refused", "abandon", "success,XX=1");
      // The orders that HiPay publishes. (2)
      const approval = await rawAnswer(port, whole);
      assert.match(
        approval,
        /^CZ0040320CJ012999999999999CA00201CB00512345CC00300BCD0010CE003978AC006424806AE00210CF001f/,
      );
      assert.match(approval, /CF001fCG0070424242ZT\d{3}CK003100AK/);
      assert.equal(await tags(), "CZ CJ CA CB CD CE AC AE AF CF ZT");
      assert.equal(await tags(), "CZ CJ CA CB CD CE AE AF CF ZT");
      assert.equal(await tags({ CK: "000" }), "CZ CJ CA CB CC CD CE AC AE CF CG XX");
      assert.equal(await tags({ CC: "00C" }), "CZ CJ CA CB CC CD CE AE CF ZT");
      const { CJ: _, ...bad } = whole;
      assert.equal(
        await rawAnswer(port, bad),
        "CZ0040320CJ012999999999999AE00201AF00209CA00201CB00512345CD0010CE003978",
      );
      assert.match(await rawAnswer(port, { ...MONEYLESS, CD: "X" }), /AE00201AF00212$/);
      assert.equal(await tags({ CD: "2" }), "CZ CJ CA CB CD CE AE AF CF");
    },
    async contract({ port }) {
      assert.equal((await ask(port, PUBLISHED))["CG"], "0424242");
      await using other = await terminalWith({ model: "hipay", sellerContract: "1234567" });
      assert.equal((await ask(other.port, PUBLISHED))["CG"], "1234567");
    },
    async receipt(terminal) {
      terminal.nextOutcome("cbcontact,AA=497010######0014", "refused");
      const { AK, lines, text } = receiptOf(await ask(terminal.port, { ...PUBLISHED, CK: "100" }));
      assert.equal(AK, `${btoa(text)}\n`);
      assert.ok(lines.every((line) => line.length <= 28), text);
      assert.ok(lines.includes(`MONTANT${"123,45 EUR".padStart(21)}`), text);
      const refused = receiptOf(await ask(terminal.port, { ...PUBLISHED, CK: "100" }));
      assert.ok(refused.lines.includes("TRANSACTION NON ABOUTIE"));
    },
    async lacks({ port }) {
      const { AE, AF } = await ask(port, { ...PUBLISHED, CD: "2" });
      assert.deepEqual([AE, AF], ["01", "12"]);
      assert.equal((await ask(port, { ...MONEYLESS, CD: "3" }))["AF"], "10"); // there was no attempt
    },
    async returnsCF(terminal) {
      terminal.nextOutcome("success", "abandon");
      const CF = "x".repeat(40);
      for (const _ of [1, 2]) {
        assert.equal((await ask(terminal.port, { ...PUBLISHED, CF }))["CF"], "x".repeat(32));
      }
    },
    async notes(terminal) {
      terminal.nextOutcome("success,XX=1");
      assert.equal((await ask(terminal.port, PUBLISHED))["XX"], "1");
    },
  },
  payxpert: {
    async copies({ port }) {
      const more = { ...PUBLISHED, BA: "0", BB: "1", CK: "000", XX: "1", CF: "f", CH: "h" };
      const answer = await ask(port, more);
      assert.deepEqual([answer["CF"], answer["CH"]], ["f", "h"]);
      assert.deepEqual(Object.keys(answer).slice(0, 6), ["CZ", "CJ", "CA", "CB", "CD", "CE"]);
      for (const tag of ["BA", "BB", "CK", "XX"]) assert.equal(tag in answer, false, tag);
    },
    async takesCA(terminal) {
      terminal.change({ strict: true });
      const raw = encodeText({ ...PUBLISHED, CA: "1" });
      assert.match(raw, /CA0011/); // (3)
      assert.equal((await ask(terminal.port, { ...PUBLISHED, CA: "1" }))["AE"], "10");
      assert.equal((await ask(terminal.port, { ...PUBLISHED, CA: "123" }))["AF"], "09");
      assert.equal((await ask(terminal.port, { ...PUBLISHED, CJ: "1" }))["AF"], "09");
      const codes = terminal.transactions.map(({ warnings }) => warnings.map(({ code }) => code));
      assert.deepEqual(codes, [[], ["size"], ["size"]]);
      await using reference = await terminalWith({ strict: true });
      assert.equal((await ask(reference.port, { ...PUBLISHED, CA: "1" }))["AF"], "09");
    },
    async omits(terminal) {
      const answer = await ask(terminal.port, { ...PUBLISHED, CK: "100" });
      assert.equal("CG" in answer, false);
      assert.match(receiptOf(answer).text, /^CONTRAT 424242 +$/m);
      assert.equal("CG" in await ask(terminal.port, { ...MONEYLESS, CD: "3" }), false);
    },
    async cancels(terminal) {
      const ends = async (change: Message): Promise<string> => {
        const { AE, AF } = await ask(terminal.port, { ...PUBLISHED, ...change });
        return `${AE} ${AF}`;
      };
      assert.equal(await ends({ CD: "2" }), "01 07"); // there was no debit
      assert.equal(await ends({ CB: "500" }), "10 01");
      assert.equal(await ends({}), "10 01");
      assert.equal(await ends({ CD: "2", CB: "500" }), "01 07"); // which is not the last
      assert.equal(await ends({ CD: "2", CE: "840" }), "01 07");
      assert.equal(await ends({ CD: "2", CA: "02" }), "01 07"); // of another cash register
      assert.equal(await ends({ CD: "2", CB: "0012345" }), "10 01");
      assert.equal(await ends({ CD: "2" }), "01 07"); // it is cancelled already
      terminal.nextOutcome("success,CB=700", "refused");
      assert.equal(await ends({}), "10 01"); // paid in part
      assert.equal(await ends({}), "01 04");
      assert.equal(await ends({ CD: "2" }), "01 07");
      assert.equal(await ends({ CD: "2", CB: "700" }), "10 01");
    },
    async abandon(terminal) {
      terminal.nextOutcome("abandon", "timeout", "abandon,AF=11");
      for (const expected of ["06", "08", "11"]) {
        assert.equal((await ask(terminal.port, PUBLISHED))["AF"], expected);
      }
      terminal.nextOutcome("abandon");
      assert.equal((await ask(terminal.port, { ...MONEYLESS, CD: "B" }))["AF"], "06");
    },
    async approvedAF({ port }) {
      for (const CC of ["000", "00C"]) {
        const { AE, AF } = await ask(port, { ...PUBLISHED, CC });
        assert.deepEqual([AE, AF], ["10", "01"]);
      }
    },
    async mask({ port }) {
      assert.match((await ask(port, PUBLISHED))["AA"] ?? "", /^\d{6}\*{6}\d{4}$/);
    },
    async AL({ port }) {
      assert.equal((await ask(port, PUBLISHED))["AL"], "1");
    },
    async receipt(terminal) {
      const cheque = await ask(terminal.port, { ...PUBLISHED, CC: "00C", CK: "100" });
      assert.match(receiptOf(cheque).text, /^CHEQUE +$/m);
      const requests = [
        { ...PUBLISHED, CK: "100" },
        { ...PUBLISHED, CK: "101" },
        { ...MONEYLESS, CD: "3", CK: "100" },
      ];
      for (const request of requests) {
        const { AK, lines, text } = receiptOf(await ask(terminal.port, request));
        assert.ok(AK.length <= 900 && AK.endsWith("\n"), AK);
        const [last, ...whole] = AK.split("\n").slice(0, -1).reverse();
        assert.ok(last && whole.every((line) => line.length === 76), AK);
        if (request["CK"] !== "100") continue;
        assert.ok(lines.every((line) => line.length === 50), text);
        for (const part of [/^SIMULATION/, /^MONTANT +123,45 EUR$/m, /^TICKET CLIENT +$/m]) {
          assert.match(text, part);
        }
      }
    },
    async atOnce(terminal) {
      terminal.change({ duration: 60 });
      const { AE, AF } = await ask(terminal.port, { ...PUBLISHED, BA: "1" });
      assert.deepEqual([AE, AF], ["10", undefined]);
      terminal.nextOutcome("07,close", "07", "refused");
      const request = { ...PUBLISHED, BA: "1" };
      await using lost = await Peer.connect(terminal.port);
      lost.send(encodeText(request));
      await lost.closed;
      const cannot = await ask(terminal.port, request);
      assert.deepEqual([cannot["AE"], cannot["AF"]], ["01", "07"]);
      assert.deepEqual(terminal.transactions.at(-1)?.warnings, []); // the first was not paid
      assert.equal((await ask(terminal.port, request))["AE"], "10"); // can be taken, fails later
    },
    async vendorTags({ port }) {
      const { AP, AQ, ID, CH } = await ask(port, { ...PUBLISHED, CH: "my reference" });
      assert.match(AP ?? "", /^\d{13}$/);
      assert.match(AQ ?? "", /^.{2,20}$/);
      assert.match(ID ?? "", /./);
      assert.equal(CH, "my reference");
    },
    async credits(terminal) {
      const { ID = "" } = await ask(terminal.port, PUBLISHED);
      const credit = { ...PUBLISHED, CD: "1" };
      const known = await ask(terminal.port, { ...credit, IM: ID });
      assert.deepEqual([known["AE"], known["IM"]], ["10", ID]);
      const unknown = await ask(terminal.port, { ...credit, IM: "1" });
      assert.deepEqual([unknown["AE"], unknown["AF"]], ["01", "07"]);
      const deferred = await ask(terminal.port, { ...PUBLISHED, CD: "7" });
      const credited = await ask(terminal.port, { ...credit, IM: deferred["ID"] ?? "" });
      assert.equal(credited["AE"], "10");
      assert.equal((await ask(terminal.port, credit))["AE"], "10");
      await ask(terminal.port, { ...MONEYLESS, CD: "B" }); // what was debited stays so
      terminal.reset("02");
      assert.equal((await ask(terminal.port, { ...credit, IM: ID }))["AE"], "10");
      terminal.reset("01");
      assert.equal((await ask(terminal.port, { ...credit, IM: ID }))["AE"], "01");
    },
    async status(terminal) {
      const told = async (): Promise<unknown[]> => {
        const { AE, AF, AC, CB, ZT } = await ask(terminal.port, { ...MONEYLESS, CD: "T" });
        return [AE, AF, AC, CB, ZT];
      };
      assert.deepEqual(await told(), ["01", "10", undefined, undefined, undefined]);
      terminal.nextOutcome("abandon");
      await ask(terminal.port, PUBLISHED);
      assert.deepEqual(await told(), ["01", "06", undefined, "12345", undefined]);
      terminal.nextOutcome("success,AC=424242");
      await ask(terminal.port, { ...PUBLISHED, CK: "100" });
      assert.deepEqual(await told(), ["10", "01", "424242", "12345", undefined]);
      terminal.change({ outcome: "refused" }); // which is about payments
      assert.deepEqual(await told(), ["10", "01", "424242", "12345", undefined]);
      assert.deepEqual(terminal.transactions[0]?.warnings, []);
      terminal.nextOutcome("forbidden"); // nor does it take what is queued, or ask a person
      terminal.change({ interactive: true, duration: 60 });
      assert.deepEqual(await told(), ["10", "01", "424242", "12345", undefined]);
      terminal.change({ interactive: false, duration: 0 });
      assert.equal((await ask(terminal.port, PUBLISHED))["AF"], "05");
    },
    async notes(terminal) {
      terminal.change({ duration: 60, outcome: "07,delay=0" });
      assert.equal((await ask(terminal.port, PUBLISHED))["AF"], "07");
    },
  },
  viva: {
    async takesCF(terminal) {
      const request = { ...DEBIT_MESSAGE, CF: "x".repeat(183) };
      assert.equal((await ask(terminal.port, request))["CF"], request.CF);
      await ask(terminal.port, { ...request, CF: `${request.CF}x` });
      await ask(terminal.port, { ...request, CF: "\xa7" });
      const codes = terminal.transactions.map(({ warnings }) => warnings.map(({ code }) => code));
      assert.deepEqual(codes, [[], ["private-data"], ["private-data"]]);
    },
    async notes(terminal) {
      assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, CK: "121" }))["AE"], "10");
      const [{ warnings }] = terminal.transactions as [Terminal["transactions"][0]];
      assert.deepEqual(warnings.map(({ code }) => code), ["one-receipt"]); // which is no deviation
    },
  },
  v240m: {
    async screens() {
      const log: string[] = [];
      const options = {
        model: "v240m",
        log: (_: unknown, text: string) => log.push(text),
      } as const;
      await using terminal = await terminalWith(options);
      const duplicate = { ...BASE, CD: "3", CB: "1", CE: "840" };
      const told = async (): Promise<unknown[]> => {
        const { AE, CB, CE } = await ask(terminal.port, duplicate);
        return [AE, CB, CE];
      };
      assert.deepEqual(await told(), ["01", "1", "840"]);
      terminal.nextOutcome("refused");
      await ask(terminal.port, DEBIT_MESSAGE);
      assert.deepEqual(await told(), ["01", "1", "840"]);
      await ask(terminal.port, DEBIT_MESSAGE);
      assert.deepEqual(await told(), ["10", "11245", "978"]); // (9)
      terminal.nextOutcome("refused");
      assert.deepEqual(await told(), ["01", "1", "840"]); // its screen says nothing of a failure
      const screens = log.filter((line) => line.includes(" screen:"))
        .map((line) => line.split("\n  ")[1]);
      assert.deepEqual(screens, [
        "DUPLICATA IMPOSSIBLE",
        "DERNIERE TRANSACTION NON ABOUTIE PAS DE DUPLICATA",
      ]);
    },
    notes: (terminal) => alike(terminal, DEBIT_MESSAGE),
  },
};

sideBySide();

for (const [name, checks] of Object.entries(SEEN)) {
  const model = name as ModelName;
  slowTable<Check>(model, checks, async (check) => {
    await using terminal = await terminalWith({ model });
    await check(terminal);
  });
}

table(
  "every trait of a model has a test",
  Object.fromEntries(MODEL_NAMES.map((name) => [name, name])),
  (name) => {
    const traits = Object.values(MODELS[name].known).flatMap((traits) => Object.keys(traits));
    assert.deepEqual(Object.keys(SEEN[name]).sort(), traits.sort());
  },
);

sideBySide();

slow("the answer that the reference's simulator is known for comes byte by byte", async () => {
  const words = "AC=424806,AA=477310######1151,AI=A00000000329563706431,AB=2711";
  await using terminal = await terminalWith({ outcome: words });
  assert.equal(
    await rawAnswer(terminal.port, DEBIT_MESSAGE),
    "CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511245AE00210CC003001CI0011" +
      "AC006424806AA016477310######1151AI021A00000000329563706431AB0042711CF0101010000000" +
      "CG006424242", // (1)
  );
});

slow("a model is named by the start line and the settings, and can be changed", async () => {
  const log: string[] = [];
  await using terminal = await terminalWith({
    model: "hipay",
    log: (_, text) => log.push(text),
  });
  assert.match(log[0] ?? "", /, model hipay$/);
  assert.equal(terminal.settings.model, "hipay");
  terminal.change({ model: "payxpert" });
  assert.equal((await ask(terminal.port, PUBLISHED))["CZ"], "0300");
  assert.equal(terminal.settings.model, "payxpert");
  terminal.reset();
  assert.equal(terminal.settings.model, "hipay");
  assert.throws(
    () => terminal.change({ model: "desk500" as ModelName }),
    /^OptionError: model: got "desk500"; did you mean desk5000\?/,
  );
});

/** A request that a model, or every terminal, refuses, and the AF that it says. */
type Refused = readonly [
  request: Message,
  AF: string | Readonly<Partial<Record<ModelName, string>>>,
];

const REFUSED: Readonly<Record<string, Refused>> = {
  "BF": [{ ...DEBIT_MESSAGE, BF: "1" }, { desk5000: "09" }],
  "BF in a cancellation": [{ ...DEBIT_MESSAGE, CD: "2", BF: "1" }, {
    desk5000: "09",
    hipay: "12",
    payxpert: "07", // there is no debit
  }],
  "a cancellation": [{ ...DEBIT_MESSAGE, CD: "2" }, { hipay: "12", payxpert: "07" }],
  "a credit of an unknown debit": [{ ...DEBIT_MESSAGE, CD: "1", IM: "1" }, { payxpert: "07" }],
  "no CJ": [{ ...DEBIT_MESSAGE, CJ: "" }, "09"],
  "an action that nobody knows": [{ ...BASE, CD: "X" }, "12"],
};

/** Ends, of which none changes what a model refuses. */
const ENDS: readonly OutcomeText[] = [
  "success",
  "abandon",
  "timeout",
  "refused",
  "07",
  "AE=10,AF=",
];

sideBySide();

slowTable("what is refused is refused whatever the outcome", REFUSED, async ([whole, AFs]) => {
  const { CJ = "", ...others } = whole;
  const request: Message = CJ === "" ? others : whole;
  const raw = `${encodeText(request)}\n`; // with its end: one that lacks a tag is waited for
  await Promise.all(MODEL_NAMES.map(async (model) => {
    await using terminal = await terminalWith({ model });
    const AF = typeof AFs === "string" ? AFs : AFs[model];
    for (const outcome of ENDS) {
      terminal.setOutcome(outcome);
      const answer = await ask(terminal.port, raw);
      const { warnings = [] } = terminal.transactions.at(-1) ?? {};
      const why = `${model}, ${outcome}: ${encodeText(answer)}`;
      // What a warning says is what happens.
      for (const { text } of warnings) {
        const [, said] = /answers AF (\d\d)/.exec(text) ?? [];
        if (said !== undefined) assert.equal(answer["AF"], said, `${text}; ${why}`);
      }
      const end = [answer["AE"], answer["AF"]];
      if (AF === "09" || AF === "12") {
        assert.deepEqual(end, ["01", AF], why);
        const isTold = warnings.some(({ code }) => code === "refused-tag");
        assert.equal(isTold, AF === "09" && "BF" in request, why);
      } else if (outcome === "success") {
        assert.equal(end[0], AF === undefined ? "10" : "01", why);
        if (AF !== undefined) assert.equal(end[1], AF, why);
      }
    }
  }));
});

test("modelOf(): what is not there is told, with what was perhaps meant", () => {
  assert.throws(
    () => modelOf("desk500"),
    /^OptionError: model: got "desk500"; did you mean desk5000\?/,
  );
  assert.throws(() => modelOf("constructor"), /^OptionError: model: .*expected one of reference, /);
  assert.throws(() => modelOf("move500"), /^OptionError: model: .*expected one of reference, /);
});

test("modelsInWords() tells each trait in both languages", () => {
  const models = modelsInWords();
  assert.deepEqual(models.map(({ name }) => name), MODEL_NAMES);
  for (const { name, is, known } of models) {
    for (const [english, french] of [is, ...known.map(({ text }) => text)]) {
      assert.ok(english !== "" && french !== "", name);
    }
    for (const { text: [english, french] } of known) assert.notEqual(english, french, name);
  }
  assert.equal(models.find(({ name }) => name === "v240m")?.screens?.none, "DUPLICATA IMPOSSIBLE");
});

test("--model list tells what is known of each, and where it was seen", () => {
  const text = modelsText();
  for (const line of text.split("\n")) assert.ok(line.length <= 80, line);
  for (const name of MODEL_NAMES) {
    const { is: [english], known } = MODELS[name];
    assert.ok(text.includes(`${name.padEnd(11)}${english}\n`), name);
    for (const source of Object.keys(known)) assert.ok(text.includes(`(${source}) `));
  }
  assert.match(text, /^ +\(5\) CZ 0301 and CJ 330538600404 of its own$/m);
});
