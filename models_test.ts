// SPDX-License-Identifier: GPL-3.0-or-later
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { decodeReceipts, encodeText, type Message } from "./protocol.ts";
import {
  formatOutcome,
  type Model,
  type ModelName,
  MODELS,
  readArguments,
  startTerminal,
  type Terminal,
  type TerminalOptions,
  type Traits,
} from "./server.ts";
import {
  ask,
  BASE,
  DEBIT_MESSAGE,
  eventually,
  listening,
  Peer,
  program,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

const LIMIT = 20_000; // milliseconds until a wait for a transaction gives up

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
    async dropsCB(terminal) {
      terminal.nextOutcome("abandon", "abandon", "abandon,emptyamount", "abandon,CB=7", "refused");
      const [none, cheque, empty, own, kept] = [
        await ask(terminal.port, DEBIT_MESSAGE),
        await ask(terminal.port, { ...DEBIT_MESSAGE, CC: "00C" }),
        await ask(terminal.port, DEBIT_MESSAGE),
        await ask(terminal.port, DEBIT_MESSAGE),
        await ask(terminal.port, DEBIT_MESSAGE),
      ];
      assert.deepEqual([none["AF"], "CB" in none], ["11", false]);
      assert.deepEqual([cheque["AF"], "CB" in cheque], ["04", false]);
      assert.deepEqual([empty["AF"], empty["CB"]], ["11", ""]);
      assert.deepEqual([own["CB"], kept["CB"]], ["7", "11245"]);
    },
    async failsOn(terminal) {
      const { AE, AF } = await ask(terminal.port, { ...DEBIT_MESSAGE, BF: "0" });
      assert.deepEqual([AE, AF], ["01", "09"]);
      const [{ warnings }] = terminal.transactions as [Terminal["transactions"][0]];
      assert.deepEqual(warnings.at(-1), {
        code: "refused-tag",
        text: "BF: desk5000 answers AF 09 to it",
        tag: "BF",
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
      terminal.nextOutcome("05", "truncate", "AE=10,AF=");
      const request = { ...DEBIT_MESSAGE, BF: "1" };
      assert.equal((await ask(terminal.port, request))["AF"], "05");
      await using peer = await Peer.connect(terminal.port);
      peer.send(encodeText(request));
      await peer.closed;
      assert.match(peer.text, /AE00201AF0020$/);
      assert.deepEqual(await ask(terminal.port, request), {
        ...request,
        CZ: "0301",
        CJ: "330538600404",
        AE: "10",
      });
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
  move500: {
    async atOnce(terminal) {
      terminal.change({ exclusive: true });
      await using peer = await Peer.connect(terminal.port);
      peer.send(encodeText({ ...DEBIT_MESSAGE, BA: "1" }));
      await terminal.waitForTransaction({ timeout: LIMIT }); // over, though the POS is there
      const { AE } = await ask(terminal.port, { ...BASE, CD: "3" });
      assert.deepEqual([AE, peer.text], ["10", ""]);
      terminal.nextOutcome("success,AE=11");
      assert.equal((await peer.ask({ ...DEBIT_MESSAGE, BA: "1" }))["AE"], "11");
      const { AF } = await ask(terminal.port, { ...DEBIT_MESSAGE, BA: "1", TI: "x" });
      assert.equal(AF, "09");
      // The till heard nothing, and pays again.
      peer.send(encodeText({ ...DEBIT_MESSAGE, CA: "05", BA: "1" }));
      peer.send(encodeText({ ...DEBIT_MESSAGE, CA: "05", BA: "1" }));
      await eventually(() => terminal.transactions.length === 6, "the second");
      const codes = terminal.transactions.at(-1)?.warnings.map(({ code }) => code);
      assert.deepEqual(codes, ["paid-twice"]);
    },
    async refuses({ port }) {
      for (const tag of ["TI", "LB"]) {
        const { AE, AF } = await ask(port, { ...DEBIT_MESSAGE, [tag]: "x" });
        assert.deepEqual([AE, AF], ["01", "09"]);
      }
    },
    async AL(terminal) {
      terminal.nextOutcome("success", "ancv", "refused");
      assert.equal((await ask(terminal.port, DEBIT_MESSAGE))["AL"], "1");
      assert.equal("AL" in await ask(terminal.port, DEBIT_MESSAGE), false); // no AA
      assert.equal("AL" in await ask(terminal.port, DEBIT_MESSAGE), false);
    },
  },
  dx8000: {
    async port() {
      const taken = await startTerminal({ model: "dx8000", host: "127.0.0.1", duration: 0 })
        .then(async (terminal) => {
          await using own = terminal;
          return String(own.port);
        }, (error) => /port (\d+)/.exec(error.message)?.[1]);
      assert.equal(taken, "20002"); // or it is in use, which the error says
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
    async statusFirst({ port }) {
      const { CJ: _, ...bad } = PUBLISHED;
      assert.equal(
        await rawAnswer(port, bad),
        "CZ0040320CJ012999999999999AE00201AF00209CA00201CB00512345CD0010CE003978", // (2)
      );
      const unknown = await rawAnswer(port, { ...MONEYLESS, CD: "X" });
      assert.match(unknown, /AE00201AF00212$/);
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
    async vendorTags(terminal) {
      const { AP, AQ, ID = "", CH } = await ask(terminal.port, {
        ...PUBLISHED,
        CH: "my reference",
      });
      assert.match(AP ?? "", /^\d{13}$/);
      assert.match(AQ ?? "", /^.{2,20}$/);
      assert.match(ID, /./);
      assert.equal(CH, "my reference");
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

table<Model>("every trait of a model has a test", MODELS, (model) => {
  const [name = ""] = Object.entries<Model>(MODELS).find(([, other]) => other === model) ?? [];
  const traits = Object.values(model.known).flatMap((traits) => Object.keys(traits));
  assert.deepEqual(Object.keys(SEEN[name as ModelName]).sort(), traits.sort());
});

sideBySide();

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
    /^OptionError: model: expected one of reference, .*, got "desk500".* desk5000/,
  );
});

/** A busy Desk/5000, and POS whose requests it does not read until then. */
async function busyDesk5000(options: TerminalOptions = {}): Promise<
  { terminal: Terminal; unread: (request: Message) => Promise<Peer> } & AsyncDisposable
> {
  const terminal = await terminalWith({
    model: "desk5000",
    exclusive: true,
    next: ["success,delay=60"],
    ...options,
  });
  const unread = async (request: Message): Promise<Peer> => {
    const peer = await Peer.connect(terminal.port);
    const before = terminal.transactions.length;
    peer.send(`${encodeText(request)}\n`);
    await eventually(() => terminal.transactions.length > before, "a request");
    return peer;
  };
  await unread({ ...DEBIT_MESSAGE, CA: "99" }); // which it reads, and is busy with
  return { terminal, unread, [Symbol.asyncDispose]: () => terminal.close() };
}

slow("a busy Desk/5000 reads nothing, not even what it refuses", async () => {
  await using desk = await busyDesk5000();
  const { CB: _, ...lacking } = DEBIT_MESSAGE;
  const requests = [lacking, { ...DEBIT_MESSAGE, BF: "1" }, { ...BASE, CD: "X" }, DEBIT_MESSAGE];
  const peers: Peer[] = [];
  for (const request of requests) peers.push(await desk.unread(request));
  assert.deepEqual(peers.map(({ text }) => text), ["", "", "", ""]);
  desk.terminal.reset("99");
  const answers = await Promise.all(peers.map((peer) => peer.until(/AE00210|AF002../)));
  assert.deepEqual(answers.map((text) => /AF002(..)/.exec(text)?.[1]), [
    "09",
    "09",
    "12",
    undefined,
  ]);
});

slow("what a Desk/5000 has not read waits for nobody when the model changes", async () => {
  await using desk = await busyDesk5000();
  const cancel = await desk.unread({ ...DEBIT_MESSAGE, CD: "2" });
  const debit = await desk.unread(DEBIT_MESSAGE);
  desk.terminal.change({ model: "hipay" });
  desk.terminal.reset("99");
  await cancel.until(/AF00212/);
  await debit.until(/AE00210/);
});

slow("what a Desk/5000 has not read is not decided on when it is closed or reset", async () => {
  for (const how of ["close", "reset"] as const) {
    const asked: number[] = [];
    const outcome = (_: Message, number: number): "success" => {
      asked.push(number);
      return "success";
    };
    await using desk = await busyDesk5000({ outcome });
    await desk.unread(DEBIT_MESSAGE);
    await desk.unread({ ...DEBIT_MESSAGE, CA: "02" });
    await desk.terminal[how]();
    await sleep(20);
    assert.deepEqual(asked, [], how);
  }
});

slow("what a Desk/5000 has not read is lost with a reset, and read after a close", async () => {
  await using desk = await busyDesk5000();
  const gone = await desk.unread({ ...DEBIT_MESSAGE, CA: "02" });
  const closed = await desk.unread({ ...DEBIT_MESSAGE, CA: "03" });
  gone.reset();
  await sleep(150); // sooner it might wait as nc does
  closed.socket.destroy();
  await eventually(() => desk.terminal.transactions[2]?.gone !== undefined, "seen to leave");
  const lost = await desk.terminal.waitForTransaction({ register: "02", timeout: LIMIT });
  assert.equal(lost.answer, undefined);
  desk.terminal.reset("99");
  const { answer } = await desk.terminal.waitForTransaction({ register: "03", timeout: LIMIT });
  assert.deepEqual([answer?.message["AE"], answer?.lost], ["10", "all"]);
});

slow("what a busy Desk/5000 has not read is forgotten when it is reset or closed", async () => {
  const terminal = await terminalWith({ model: "desk5000", exclusive: true, duration: 60 });
  await using first = await Peer.connect(terminal.port);
  first.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => terminal.transactions.length === 1, "the first");
  await using second = await Peer.connect(terminal.port);
  second.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
  await eventually(() => terminal.transactions.length === 2, "the second");
  terminal.reset("02");
  await second.closed;
  terminal.change({ duration: 0 });
  terminal.reset("01");
  await first.closed;
  assert.equal((await ask(terminal.port, DEBIT_MESSAGE))["AE"], "10");
  assert.equal(terminal.transactions.length, 1);
  await terminal.close();
});

slow(
  "of what a busy Desk/5000 has not read, one that is refused does not hold up the next",
  async () => {
    await using terminal = await terminalWith({
      model: "desk5000",
      exclusive: true,
      interactive: true,
    });
    const first = ask(terminal.port, DEBIT_MESSAGE);
    await eventually(() => terminal.settings.waiting.length === 1, "the first");
    const second = ask(terminal.port, { ...DEBIT_MESSAGE, CA: "002" });
    await eventually(() => terminal.transactions.length === 2, "the second");
    const third = ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    await eventually(() => terminal.transactions.length === 3, "the third");
    terminal.change({ strict: true });
    terminal.decide(1, "success");
    assert.equal((await first)["AE"], "10");
    assert.equal((await second)["AF"], "09");
    assert.equal((await third)["AE"], "10");
  },
);

test("--model list tells what is known of each, and where it was seen", () => {
  const text = readArguments(["--model", "list"]);
  assert.ok(typeof text === "string");
  for (const line of text.split("\n")) assert.ok(line.length <= 80, line);
  for (const [name, { is, known }] of Object.entries<Model>(MODELS)) {
    assert.ok(text.includes(`${name.padEnd(11)}${is}\n`), name);
    for (const source of Object.keys(known)) assert.ok(text.includes(`(${source}) `));
  }
  assert.match(text, /^ +\(5\) CZ 0301 and CJ 330538600404 of its own$/m);
});

test("--model: the port is the model's, unless one is given", () => {
  const portOf = (...args: string[]): unknown => {
    const command = readArguments(args);
    return typeof command === "string" ? command : command.terminal.port;
  };
  assert.equal(portOf("--model", "dx8000"), undefined);
  assert.equal(portOf("--model", "dx8000", "-p", "9"), 9);
  assert.throws(() => readArguments(["--model", "x"]), /^OptionError: model: expected one of/);
});

// ---------------------------------------------------------------- answers on another connection

sideBySide();

/** A till that asks on one connection and hears on another; gives what it heard, once closed. */
async function calledBack(
  words: string,
  left = false,
): Promise<{ heard: string; asked: string; how: string; terminal: Terminal }> {
  const done = Promise.withResolvers<{ heard: string; how: string }>();
  await using till = await listening(async (peer) => {
    const how = await peer.closed;
    done.resolve({ heard: peer.text, how });
  });
  const terminal = await terminalWith({ callback: till.port, outcome: `${words},delay=0.05` });
  try {
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    if (left) {
      await eventually(() => terminal.transactions.length === 1, "the request");
      peer.socket.destroy();
    }
    return { ...await done.promise, asked: peer.text, terminal };
  } finally {
    await terminal.close();
  }
}

slowTable<[words: string, heard: RegExp, how?: string]>("--callback", {
  "an approval": ["success", /^CZ0040300.*AE00210/],
  "AE 11 first, both on one connection": ["pending", /^CZ0040300.*AE00211CZ0040300.*AE00210/],
  "in segments": ["split", /^CZ0040300.*AE00210/],
  "a truncated answer": ["truncate", /AE00210.*CG00642424$/],
  "nothing, and closed": ["close", /^$/],
  "a reset": ["reset", /^$/, "reset"],
}, async ([words, heard, how = "ended"]) => {
  for (const left of [false, true]) {
    const got = await calledBack(words, left);
    assert.match(got.heard, heard);
    assert.deepEqual([got.how, got.asked], [how, ""]);
    const [transaction] = got.terminal.transactions;
    assert.deepEqual([transaction?.warnings, transaction?.gone], [[], undefined]);
  }
});

slow(
  "--callback: a till that does not listen is warned of, and has been told nothing",
  async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: callback } = server.address() as net.AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const log: string[] = [];
    await using terminal = await terminalWith({ callback, log: (_, text) => log.push(text) });
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    const { warnings, answer } = await terminal.waitForTransaction({ timeout: LIMIT });
    const text = `the answer cannot go to 127.0.0.1 port ${callback}: nothing listens there`;
    assert.deepEqual(warnings, [{ code: "callback", text }]);
    assert.equal(answer?.lost, "all");
    assert.ok(log.includes(`#1 ${text}`));
    assert.ok(log.some((line) => line.startsWith("#1 not sent: CZ")), log.join("\n"));
    assert.match(log[0] ?? "", new RegExp(`, answers to port ${callback} of the POS$`));
    assert.equal(formatOutcome(terminal.transactions[0]?.outcome ?? {}), "success");
  },
);

slow("--callback: no connection for an answer that is none", async () => {
  let connections = 0;
  await using till = await listening(() => connections++);
  await using terminal = await terminalWith({ callback: till.port, next: ["silent"] });
  await using peer = await Peer.connect(terminal.port);
  peer.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => terminal.transactions.length === 1, "the request");
  await using other = await Peer.connect(terminal.port);
  other.send(encodeText(DEBIT_MESSAGE));
  await eventually(() => connections > 0, "an answer to the second");
  assert.equal(connections, 1);
});

slow("--callback: a till that closes that connection is warned of", async () => {
  await using till = await listening((peer) => peer.socket.once("data", () => peer.reset()));
  await using terminal = await terminalWith({ callback: till.port, outcome: "dribble" });
  await using peer = await Peer.connect(terminal.port);
  peer.send(encodeText(DEBIT_MESSAGE));
  const { warnings, answer } = await terminal.waitForTransaction({ timeout: LIMIT });
  assert.equal(answer?.lost, "rest");
  const where = `127.0.0.1 port ${till.port}`;
  const text = `the answer cannot go to ${where}: the POS has closed that connection`;
  assert.deepEqual(warnings, [{ code: "callback", text }]);
});

slow(
  "--callback: a till that has got its answer there may reset the connection it asked on",
  async () => {
    const heard = Promise.withResolvers<void>();
    await using till = await listening((peer) => peer.closed.then(() => heard.resolve()));
    const events: string[] = [];
    await using terminal = await terminalWith({
      callback: till.port,
      onEvent: ({ event }) => events.push(event),
    });
    for (const _ of [1, 2]) {
      const peer = await Peer.connect(terminal.port);
      peer.send(`${encodeText(DEBIT_MESSAGE)}\n`);
      await heard.promise;
      await terminal.waitForTransaction({ timeout: LIMIT });
      peer.reset();
      await peer.closed;
    }
    const closed = (): number => events.filter((event) => event === "closed").length;
    await eventually(() => closed() === 2, "closed");
    assert.deepEqual(terminal.transactions.map(({ gone, warnings }) => [gone, warnings]), [
      [undefined, []],
      [undefined, []],
    ]);
  },
);

slow(
  "--callback: a payment ends with a reset while the terminal connects to the till",
  async () => {
    let isReset = false;
    await using till = await listening(() => {});
    await using terminal = await terminalWith({
      callback: till.port,
      next: ["pending"],
      async onEvent({ event }) {
        if (event !== "request" || isReset) return;
        isReset = true;
        for (let turns = 0; turns < 50; turns++) await undefined; // which no connection comes before
        terminal.reset("01");
      },
    });
    await using peer = await Peer.connect(terminal.port);
    peer.send(encodeText(DEBIT_MESSAGE));
    await peer.closed;
    await using other = await Peer.connect(terminal.port); // whose answer goes to the till, after it
    other.send(encodeText({ ...DEBIT_MESSAGE, CA: "02" }));
    await terminal.waitForTransaction({ register: "02", timeout: LIMIT });
    await other.finish();
    const { transactions } = terminal;
    await using asking = await Peer.connect(terminal.port);
    asking.send(encodeText({ ...BASE, CD: "3" }));
    const { answer } = await terminal.waitForTransaction({ register: "01", timeout: LIMIT });
    assert.deepEqual([transactions.length, answer?.message["AF"]], [1, "10"]);
  },
);

slow("a reset or the end of the terminal is told to who decides by the signal", async () => {
  for (const callback of [0, 1]) {
    for (const how of ["reset", "close"] as const) {
      const asked = Promise.withResolvers<AbortSignal>();
      const terminal = await terminalWith({
        callback,
        outcome: (_request, _number, signal) => {
          asked.resolve(signal);
          return new Promise(() => {});
        },
      });
      const peer = await Peer.connect(terminal.port);
      peer.send(encodeText(DEBIT_MESSAGE));
      const signal = await asked.promise;
      assert.equal(signal.aborted, false);
      await terminal[how]();
      assert.equal(signal.aborted, true, `${how}, ${callback}`);
      await terminal.close();
    }
  }
});

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

slow("the last attempt is one too whose outcome nobody could tell", async () => {
  const told = await program(`
    process.on("uncaughtException", () => {});
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
    const ask = (raw) => new Promise((resolve) => {
      const socket = net.connect(terminal.port, "127.0.0.1", () => socket.write(raw + "\\n"));
      socket.on("data", (data) => resolve(socket.destroy() && String(data)));
    });
    await ask(DEBIT);
    terminal.setOutcome(() => { throw new Error("no"); });
    await ask(DEBIT);
    terminal.setOutcome("success");
    console.log(/AE002../.exec(await ask(DEBIT.replace("CD0010", "CD0013")))[0]);
    await terminal.close();`);
  assert.equal(told.stdout, "AE00201\n", told.stderr);
});
