// SPDX-License-Identifier: GPL-3.0-or-later
// What is warned of, in two languages.
import assert from "node:assert/strict";
import { test } from "node:test";
import { whyNotReached } from "../client.ts";
import { DEVIATIONS, deviations, encodeText, MessageReader, type Warning } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import {
  ask,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  HeldClock,
  LIMIT,
  logged,
  named,
  Peer,
  recorded,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";
import { inFrench, warning, WARNINGS } from "./warnings.ts";

// ---------------------------------------------------------------- two languages

for (const [code, forms] of Object.entries(WARNINGS)) {
  test(`both languages tell ${code} with the same values`, () => {
    for (const [english, french] of Object.values(forms)) {
      const values = (words: string) => new Set(words.match(/\{\w+\}/g));
      for (const value of values(french)) assert.ok(values(english).has(value), french);
      assert.notEqual(french, english);
      assert.doesNotMatch(french, /[^ ]:( |$)|[^ ];/, "a space before a colon");
    }
  });
}

test("every deviation has its French", () => {
  for (const code of Object.keys(DEVIATIONS)) assert.ok(Object.hasOwn(WARNINGS, code), code);
});

/** The deviations of a request. */
function deviationsOf(raw: string): Warning[] {
  const reader = new MessageReader();
  const [received = reader.end()] = reader.feed(raw);
  return deviations(received!);
}

table<[raw: string, ...french: string[]]>("a deviation in French", {
  "a short tag": ["CZ0040300CJ003012CA00201CD001I", "CJ : 12 caractères attendus, 3 reçus"],
  "what is no amount": [
    DEBIT.replace("CB00511245", "CB006112.45"),
    'CB : un montant en centimes est attendu, 11245 pour 112,45, reçu "112.45"',
  ],
  "a repeated tag": [`${DEBIT}CD0010`, "un champ ne vient qu'une fois, CD revient à l'octet 63"],
  "missing tags": ["CZ0040300CD0010", "il manque les champs obligatoires CJ, CA, CB, CE"],
  "an unknown value": [
    DEBIT.replace("BA0010", "BA0017"),
    'BA : valeur inconnue, reçu "7"',
  ],
  "private data": [
    `${DEBIT}CF120${"x".repeat(120)}`,
    "CF : de 1 à 99 caractères attendus, 120 reçus",
  ],
  "HTTP": [
    "GET / HTTP/1.1",
    'message illisible à l\'octet 2 : la longueur de GE en trois chiffres est attendue, reçu "T" ; ' +
    "cela ressemble à HTTP : Caisse-AP, ce sont des champs sur une simple connexion TCP",
  ],
  "a cut value": [
    "CZ0040300CB005112",
    "message illisible à l'octet 17 : 5 caractères attendus pour CB, 3 reçus",
  ],
  "a length that is too short": [
    "CZ0040300CB00411245CD0010",
    'message illisible à l\'octet 18 : un champ de deux lettres A-Z est attendu, reçu "5" ; ' +
    "peut-être la longueur de CB, juste avant, 004, est-elle trop petite",
  ],
  "several": [
    "CA00201CZ0040300CJ012012345678901CD001XZZ0011",
    "CZ doit venir en premier, reçu CA",
    'CD : action inconnue, reçu "X"',
    "ZZ : champ inconnu du protocole",
  ],
}, ([raw, ...french]) => assert.deepEqual(deviationsOf(raw).map(inFrench), french));

test("a warning in French has its values as French writes them", () => {
  const about = { what: "debit 1.50 EUR of 01", action: "0", amount: "1.50 EUR", register: "01" };
  const cases: [warning: Warning, french: string][] = [
    [
      warning("paid-twice", "perhaps", about),
      "débit de 1,50 EUR de la caisse 01 de nouveau, alors que la dernière tentative a été acceptée et que sa réponse s'est peut-être perdue : sur un vrai terminal, le client a maintenant payé deux fois. Demandez d'abord le duplicata (CD 3)",
    ],
    [
      warning("nothing-to-cancel", "none", { amount: "that amount" }),
      "aucun débit de ce montant de cette caisse n'a été accepté : un vrai terminal n'a rien à annuler",
    ],
    [
      warning("application", "", { tag: "CC", asked: "002", paid: "none" }),
      "CC : 002 demandé, rien n'est payé, comme le veut l'issue choisie",
    ],
    [
      { code: "impatient", text: "the POS gave up after 2.3 s: a person needs 10 to 60 s to pay" },
      "la caisse a renoncé au bout de 2,3 s : il faut 10 à 60 s à une personne pour payer",
    ],
  ];
  for (const [one, french] of cases) assert.equal(inFrench(one), french);
});

test("what the client and the relay tell has its French", () => {
  const where = "127.0.0.1 port 1";
  const text = whyNotReached({ name: "", message: "", code: "ECONNREFUSED" }, where);
  assert.equal(
    inFrench({ code: "unreachable", text }),
    "terminal injoignable à 127.0.0.1 port 1 : rien n'y écoute ; vérifiez son adresse, le port (8888 le plus souvent) et qu'il est réglé sur Caisse-AP sur IP",
  );
  assert.equal(
    inFrench({ code: "unanswered", text: "the terminal reset the connection without an answer" }),
    "le terminal a rompu la connexion sans réponse",
  );
});

test("what is not known in French is not guessed at", () => {
  assert.equal(inFrench({ code: "constructor", text: "x" }), undefined);
  assert.equal(inFrench({ code: "busy", text: "other words" }), undefined);
});

// ---------------------------------------------------------------- what the port tells

sideBySide();

slow("what the port warns of has its French", async () => {
  const clock = new HeldClock();
  await using terminal = await terminalWith({
    clock,
    next: ["pending,delay=10", "success,delay=20", "split", "success"],
    outcome: () => new Promise<OutcomeText>(() => {}),
  });
  /** Asks, and leaves when the terminal sleeps so long; after that the rest of the time goes by. */
  const leave = async (sleep: number, before = 0): Promise<void> => {
    await using peer = await Peer.connect(terminal.port);
    peer.send(`${DEBIT}\n`);
    await clock.asleep(sleep);
    clock.pass(before);
    peer.socket.destroy();
    await eventually(() => terminal.transactions.at(-1)?.gone !== undefined, "gone");
    clock.pass(sleep);
    await terminal.waitForTransaction({ timeout: LIMIT });
  };
  await leave(10_000); // took-interim
  await leave(20_000, 5_000); // impatient
  await leave(250); // read-once
  const reset = await Peer.connect(terminal.port);
  reset.send(`${DEBIT}\n`);
  await terminal.waitForTransaction({ timeout: LIMIT });
  reset.reset(); // not-read
  await reset.closed;
  await eventually(() => terminal.transactions.at(-1)?.gone !== undefined, "gone");
  const undecided = ask(terminal.port, DEBIT);
  await clock.asleep(600_000);
  clock.pass(600_000);
  await undecided;
  const all = terminal.transactions.flatMap(({ warnings }) => warnings);
  const codes = new Set(all.map(({ code }) => code));
  for (const code of ["took-interim", "impatient", "read-once", "not-read", "undecided"]) {
    assert.ok(codes.has(code), `${code} of ${[...codes]}`);
  }
  for (const one of all) assert.ok(inFrench(one), one.text);
});

// ---------------------------------------------------------------- otherwise than asked

slowTable<[change: Record<string, string>, words: OutcomeText, warning: Warning]>(
  "what is done otherwise than asked is a warning:",
  {
    "another card": [{ CC: "002" }, "cbcontact", {
      code: "application",
      text: "CC: 002 was asked for, 001 paid, as the outcome says",
      tag: "CC",
      about: { tag: "CC", asked: "002", paid: "001" },
    }],
    "no card": [{ CC: "002" }, "success,CC=", {
      code: "application",
      text: "CC: 002 was asked for, none paid, as the outcome says",
      tag: "CC",
      about: { tag: "CC", asked: "002", paid: "none" },
    }],
    "one receipt of two": [{ CK: "120" }, "success", {
      code: "one-receipt",
      text: "CK: both receipts are asked for, only the customer's is sent",
      tag: "CK",
      about: { tag: "CK" },
    }],
  },
  async ([change, words, expected]) => {
    await using seen = await recorded({ outcome: words });
    await ask(seen.port, { ...DEBIT_MESSAGE, ...change });
    assert.deepEqual(seen.terminal.transactions[0]?.warnings, [expected]);
    const [{ time: _, ...told } = { time: "" }] = named(seen.events, "warning");
    assert.deepEqual(told, { event: "warning", connection: 1, transaction: 1, ...expected });
    logged(seen.log, "warn", new RegExp(`^#1 ${expected.tag}: `));
  },
);

slow("a model that refuses a tag is told, and what is told is what happens", async () => {
  await using terminal = await terminalWith({ model: "desk5000", outcome: "abandon" });
  const { AF } = await ask(terminal.port, { ...DEBIT_MESSAGE, BF: "1" });
  assert.equal(AF, "09");
  const told = terminal.transactions[0]?.warnings.find(({ code }) => code === "refused-tag");
  assert.deepEqual(told, {
    code: "refused-tag",
    text: "BF: desk5000 answers AF 09 to it",
    tag: "BF",
    about: { tag: "BF", model: "desk5000" },
  });
});

slow("an outcome that is decided on after close() warns of nothing", async () => {
  const decided = Promise.withResolvers<OutcomeText>();
  await using terminal = await terminalWith({ outcome: () => decided.promise });
  await using peer = await Peer.connect(terminal.port);
  peer.send(`${encodeText({ ...DEBIT_MESSAGE, CK: "120", CC: "002" })}\n`);
  await eventually(() => terminal.transactions.length === 1, "the request");
  await terminal.close();
  decided.resolve("cbcontact");
  await peer.closed;
  assert.deepEqual(terminal.transactions[0]?.warnings, []);
});
