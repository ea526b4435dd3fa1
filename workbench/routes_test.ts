// SPDX-License-Identifier: GPL-3.0-or-later
// What the HTTP interface steers: settings, models, the queue, a payment of its own, reset.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Message, VERSION } from "../protocol.ts";
import type { OutcomeText, Transaction } from "../server.ts";
import { MODELS, modelsText } from "./models.ts";
import {
  ask,
  BASE,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  patience,
  Peer,
  table,
  terminalWith,
} from "./test_helpers.ts";
import { countWaits, debitOf, done, JSON_TYPE, refused, webWith } from "./web_helpers.ts";

// ---------------------------------------------------------------- /api/terminal

const INITIAL = {
  model: "reference",
  outcome: "success",
  when: {},
  duration: 0,
  strict: false,
  exclusive: false,
  interactive: false,
  listening: true,
  next: [],
  waiting: [],
};

test("GET /api/terminal tells what it does", async () => {
  await using plain = await webWith();
  const { port } = plain;
  const about = { version: VERSION, host: "127.0.0.1", port };
  assert.deepEqual(await done(plain, "GET /api/terminal"), { ...about, ...INITIAL });
  await using other = await webWith({
    model: "hipay",
    outcome: "refused,delay=1..2",
    when: { "0100": "abandon" },
    next: ["07"],
    duration: 2,
    strict: true,
    exclusive: true,
    interactive: true,
  });
  assert.deepEqual(await done(other, "GET /api/terminal"), {
    version: VERSION,
    host: "127.0.0.1",
    port: other.port,
    model: "hipay",
    outcome: "refused,delay=1..2",
    when: { "100": "abandon" },
    next: [{ outcome: "07" }],
    duration: 2,
    strict: true,
    exclusive: true,
    interactive: true,
    listening: true,
    waiting: [],
  });
  await using decided = await webWith({ outcome: () => "refused" });
  assert.equal((await done(decided, "GET /api/terminal")).outcome, null);
});

table<[changes: object, expected: object]>("PATCH /api/terminal", {
  "model": [{ model: "desk5000" }, { model: "desk5000" }],
  "outcome in words": [{ outcome: " Refused,hangup\n" }, { outcome: "refused,hangup" }],
  "outcome as an object": [{ outcome: { failure: "07" } }, { outcome: "07" }],
  "when": [{ when: { "*34": "abandon", "5": { failure: "05" } } }, {
    when: { "5": "forbidden", "*34": "abandon" },
  }],
  "duration": [{ duration: 0.25 }, { duration: 0.25 }],
  "strict": [{ strict: true }, { strict: true }],
  "exclusive": [{ exclusive: true }, { exclusive: true }],
  "interactive": [{ interactive: true }, { interactive: true }],
  "several": [{ outcome: "silent", duration: 1, strict: true }, {
    outcome: "success,silent",
    duration: 1,
    strict: true,
  }],
  "nothing": [{}, {}],
}, async ([changes, expected]) => {
  for (const headers of [{}, JSON_TYPE]) {
    await using web = await webWith();
    const given = await done(web, "PATCH /api/terminal", JSON.stringify(changes), headers);
    assert.deepEqual(given, { ...INITIAL, ...expected });
    assert.deepEqual(web.settings, given);
  }
});

test("PATCH /api/terminal counts from the next request on", async () => {
  await using web = await webWith({ outcome: "refused", interactive: true });
  await using peer = await Peer.connect(web.port);
  const first = peer.ask(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  await done(web, "PATCH /api/terminal", '{"interactive": false, "when": {"11245": "05"}}');
  assert.equal((await ask(web.port, DEBIT))["AF"], "05");
  assert.equal((await ask(web.port, { ...DEBIT_MESSAGE, CB: "1" }))["AF"], "04");
  assert.deepEqual(web.settings.waiting, [1]);
  web.decide(1, "abandon");
  assert.equal((await first)["AF"], "11");
});

table<[body: string, expected: RegExp]>("PATCH /api/terminal, wrong", {
  "no JSON": ["strict=true", /^(?:settings: expected an object in JSON such as|expected JSON,) /],
  "JSON in part": ['{"strict":true', /^expected JSON, as /],
  "a list": ["[]", /^settings: expected an object in JSON such as .*, got object$/],
  "a word": ['"refused"', /^settings: expected an object in JSON such as .*, got "refused"$/],
  "null": ["null", /^settings: expected an object in JSON such as .*, got (?:none|"null")$/],
  "another name": [
    '{"strict":true,"port":1}',
    /^settings: expected names from model, outcome, .*\blistening\b.*, got "port"$/,
  ],
  "a misspelt name": [
    '{"strict":true,"durations":1}',
    /^settings: got "durations"; did you mean duration\? \(expected names from /,
  ],
  "next, as GET tells it": [
    '{"strict":true,"next":[]}',
    /^settings: expected POST and DELETE \/api\/next for what is queued, got "next"$/,
  ],
  "reached, which nobody sets": ['{"reached":true}', /^settings: expected names from model, /],
  "waiting, as GET tells it": [
    '{"strict":true,"waiting":[1]}',
    /^settings: expected POST \/api\/transactions\/N\/outcome for what waits, got "waiting"$/,
  ],
  "listening as a text": [
    '{"strict":true,"listening":"no"}',
    /^listening: expected true or false, got "no"$/,
  ],
  "listening null": ['{"strict":true,"listening":null}', /^listening: expected true or false, /],
  "a name of every object": ['{"strict":true,"__proto__":{}}', /got "__proto__"/],
  "a wrong outcome": [
    '{"strict":true,"outcome":"refussed"}',
    /^outcome: got "refussed"; did you mean refused\? \(expected words from /,
  ],
  "no outcome": [
    '{"strict":true,"outcome":null}',
    /^outcome: expected an outcome or the words for it, got none$/,
  ],
  "an unknown key": [
    '{"strict":true,"outcome":{"failures":"07"}}',
    /^outcome: got "failures"; did you mean failure\? /,
  ],
  "a card that is none": [
    '{"strict":true,"outcome":{"card":"visa"}}',
    /^outcome: expected one of c/,
  ],
  "a tag that is none": ['{"strict":true,"outcome":"abc=1"}', /^outcome: expected words from /],
  "a value that cannot be sent": ['{"strict":true,"outcome":"ZZ=€"}', /./],
  "when of no amount": ['{"strict":true,"when":{"1.00":"refused"}}', /^when: expected minor units/],
  "when of no outcome": ['{"strict":true,"when":{"100":"x"}}', /^when: expected words from/],
  "duration below 0": ['{"strict":true,"duration":-1}', /^duration: expected a number from 0 to/],
  "duration as text": ['{"strict":true,"duration":"1"}', /^duration: expected a number from 0 to/],
  "duration null": ['{"strict":true,"duration":null}', /^duration: expected a number from 0 to/],
  "strict as text": [
    '{"duration":9,"strict":"true"}',
    /^strict: expected true or false, got "true"/,
  ],
  "exclusive as a number": ['{"duration":9,"exclusive":1}', /^exclusive: expected true or false/],
  "interactive null": ['{"duration":9,"interactive":null}', /^interactive: expected true or false/],
}, async ([body, expected]) => {
  await using web = await webWith();
  for (const headers of [{}, JSON_TYPE]) {
    assert.match(await refused(400, web, "PATCH /api/terminal", body, headers), expected);
    assert.deepEqual(web.settings, INITIAL);
  }
});

// ---------------------------------------------------------------- /api/models

test("GET /api/models tells of each what --model list prints", async () => {
  await using web = await webWith();
  const models = await done(web, "GET /api/models");
  assert.deepEqual(models.map(({ name }: { name: string }) => name), Object.keys(MODELS));
  const list = modelsText().replace(/\s+/g, " ");
  for (const { name, is, known, ...others } of models) {
    assert.deepEqual(others, {});
    assert.equal(known.length === 0, name === "reference");
    const texts = known.map(({ source, text }: { source: number; text: string }) =>
      ` (${source}) ${text}`
    );
    assert.ok(list.includes([name, " ", is, ...texts].join("")), name);
  }
  assert.deepEqual(models.find(({ name }: { name: string }) => name === "viva"), {
    name: "viva",
    is: "Viva on Android: PAX",
    known: [
      { source: 8, text: "takes a CF of 183 characters" },
      { source: 8, text: "takes CK 121, as the reference" },
    ],
  });
});

// ---------------------------------------------------------------- /api/try

test(
  "POST /api/try pays as cash register 00, and gets what is queued for that or for any",
  patience,
  async () => {
    await using web = await webWith();
    await done(web, "POST /api/next?register=01", "silent");
    const { sent, received } = await done(web, "POST /api/try");
    assert.match(sent, /CA00200.*CB0041234/);
    assert.match(received, /CA00200.*AE00210/);
    assert.deepEqual(web.settings.next, [{ register: "01", outcome: "success,silent" }]);
    await done(web, "POST /api/next", "05\n07");
    await done(web, "POST /api/next?register=00", "refused");
    for (const code of ["04", "05"]) {
      assert.match((await done(web, "POST /api/try")).received, new RegExp(`AF002${code}`));
    }
    assert.deepEqual(web.settings.next, [
      { register: "01", outcome: "success,silent" },
      { outcome: "07" },
    ]);
    await done(web, "POST /api/reset?register=00");
    assert.deepEqual(web.transactions, []);
  },
);

table<[words: OutcomeText, received: RegExp, why: RegExp | undefined]>(
  "POST /api/try tells what came, whatever that is",
  {
    "in segments": ["split", /^CZ.*AE00210/, undefined],
    "AE 11 first": ["pending", /AE00211.*AE00210/, undefined],
    "an answer that is cut": ["truncate", /^CZ.*.$/, /^the terminal closed the connection after a/],
    "no message": ["garbage", /garbage/, /^the answer is not usable/],
    "nothing": ["close", /^$/, /^the terminal closed the connection without an answer; the paym/],
    "a reset": ["reset", /^$/, /^the connection was lost/],
  },
  async ([words, expected, why]) => {
    await using web = await webWith({ outcome: words });
    const { received, error } = await done(web, "POST /api/try");
    assert.match(received.replace(/[^]*(?=garbage)/, ""), expected);
    if (why) assert.match(error, why);
    else assert.equal(error, undefined);
  },
);

test("POST /api/try pays at the address that listens, with or without IPv6", patience, async () => {
  for (const host of ["127.0.0.1", "0.0.0.0", ""]) {
    await using web = await webWith({ host });
    assert.match((await done(web, "POST /api/try")).received, /AE00210/);
    // What a runtime says of every interface on a machine that has IPv4 alone.
    if (web.host === "0.0.0.0") Object.assign(web.replaced, { host: "::" });
    assert.match((await done(web, "POST /api/try")).received, /AE00210/);
  }
});

test("POST /api/try: a terminal that cannot be reached is an error", async () => {
  await using web = await webWith();
  await using gone = await terminalWith();
  await gone.close();
  Object.assign(web.replaced, { host: "::", port: gone.port });
  const why = await refused(502, web, "POST /api/try");
  assert.equal(
    why,
    `cannot reach the terminal at 127.0.0.1 port ${gone.port}: nothing listens there`,
  );
});

test("PATCH /api/terminal puts it asleep and wakes it: what is under way goes on", async () => {
  await using web = await webWith({ interactive: true });
  await using peer = await Peer.connect(web.port);
  const answer = peer.ask(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  const asleep = await done(web, "PATCH /api/terminal", '{"listening": false, "strict": true}');
  assert.deepEqual([asleep.listening, asleep.strict], [false, true]);
  assert.equal((await done(web, "GET /api/terminal")).listening, false);
  await assert.rejects(Peer.connect(web.port));
  assert.match(
    await refused(409, web, "POST /api/try"),
    /^expected a terminal that listens: PATCH/,
  );
  await refused(400, web, "PATCH /api/terminal", '{"listening": true, "duration": -1}');
  await assert.rejects(Peer.connect(web.port));
  await done(web, "POST /api/transactions/1/outcome", "refused");
  assert.equal((await answer)["AF"], "04");
  await done(web, "PATCH /api/terminal", '{"listening": false}'); // it is already
  const awake = await done(web, "PATCH /api/terminal", '{"listening": true, "interactive": false}');
  assert.equal(awake.listening, true);
  assert.equal((await ask(web.port, DEBIT))["AE"], "10");
  assert.equal((await done(web, "GET /api/transactions")).length, 2);
});

test("what decided is told, and whether a real terminal was reached", async () => {
  await using web = await webWith({ when: { "*45": "refused" } });
  await ask(web.port, DEBIT);
  const [{ decided }] = await done(web, "GET /api/transactions");
  assert.equal(decided, "when *45");
  Object.assign(web.replaced, { settings: { ...web.settings, reached: false } });
  assert.equal((await done(web, "GET /api/terminal")).reached, false);
});

// ---------------------------------------------------------------- no body

test("a body where none is taken is an error, and nothing is done", async () => {
  await using web = await webWith({ outcome: "refused" });
  await done(web, "POST /api/next?register=07", "silent");
  for (const what of ["POST /api/reset", "DELETE /api/next", "POST /api/try"]) {
    for (const body of ['{"register":"07"}', "register=07", "[]", '"07"']) {
      const why = await refused(400, web, what, body);
      assert.match(why, /^body: expected none, and \?register=07 in the path for one cash /, what);
    }
  }
  assert.deepEqual([web.settings.next.length, web.transactions.length], [1, 0]);
  for (const body of ["", "{}", " {} "]) {
    await done(web, "DELETE /api/next?register=08", body);
    await done(web, "POST /api/reset?register=08", body);
  }
  await done(web, "POST /api/reset", undefined, JSON_TYPE);
  assert.deepEqual(web.settings.next, []);
});

// ---------------------------------------------------------------- /api/reset

test("POST /api/reset puts all back as it was started", patience, async () => {
  await using web = await webWith({ outcome: "refused", next: ["abandon"] });
  assert.equal((await ask(web.port, DEBIT))["AF"], "11");
  await done(web, "PATCH /api/terminal", '{"outcome":"success","interactive":true,"strict":true}');
  await done(web, "POST /api/next?register=09", "05");
  await using under = await Peer.connect(web.port);
  under.send(DEBIT);
  await eventually(() => web.settings.waiting.length === 1, "waiting");
  const waits = countWaits(web);
  const wait = refused(409, web, "GET /api/transactions/next?after=2");
  await eventually(() => waits() === 1, "waited for");
  const settings = { ...INITIAL, outcome: "refused", next: [{ outcome: "abandon" }] };
  assert.deepEqual(await done(web, "POST /api/reset"), settings);
  assert.equal(await wait, "the terminal was reset");
  await under.closed;
  assert.equal(under.text, "");
  assert.deepEqual(await done(web, "GET /api/transactions"), []);
  assert.equal((await ask(web.port, DEBIT))["AF"], "11");
  assert.equal((await done(web, "GET /api/transactions/next")).number, 1);
});

test("POST /api/reset?register= touches nothing of another register", patience, async () => {
  await using web = await webWith();
  const duplicate = (CA: string): Message => ({ ...BASE, CA, CD: "3", CB: "0", CE: "978" });
  for (const register of ["01", "02"]) {
    await ask(web.port, debitOf(register));
    await done(web, `POST /api/next?register=${register}`, "refused\nabandon");
  }
  await done(web, "POST /api/next", "05");
  await done(web, "PATCH /api/terminal", '{"interactive":true,"duration":0.01}');
  const pays = async (register: string): Promise<Peer> => {
    const peer = await Peer.connect(web.port);
    peer.send(`${DEBIT.replace("CA00201", `CA002${register}`)}`);
    return peer;
  };
  await done(web, "DELETE /api/next");
  await using one = await pays("01");
  await using other = await pays("02");
  await eventually(() => web.settings.waiting.length === 2, "waiting");
  for (const register of ["01", "02"]) {
    await done(web, `POST /api/next?register=${register}`, "refused");
  }
  await done(web, "POST /api/next", "05");
  const waits = countWaits(web);
  const ended = refused(409, web, "GET /api/transactions/next?after=2&register=01");
  const goes = done(web, "GET /api/transactions/next?after=2&register=02");
  await eventually(() => waits() === 2, "waited for");
  const settings = await done(web, "POST /api/reset?register=01");
  assert.deepEqual(settings.next, [{ register: "02", outcome: "refused" }, {
    outcome: "forbidden",
  }]);
  assert.deepEqual([settings.interactive, settings.duration], [true, 0.01]);
  assert.equal(await ended, "the terminal was reset");
  await one.closed;
  assert.equal(one.text, "");
  assert.equal(web.settings.waiting.length, 1);
  const [number] = web.settings.waiting;
  await done(web, `POST /api/transactions/${number}/outcome`, "07");
  await other.until(/AE00201.*AF00207|AF00207.*AE00201/);
  assert.equal((await goes).number, number);
  assert.deepEqual(
    (await done(web, "GET /api/transactions")).map((one: Transaction) => one.request.message["CA"]),
    ["02", "02"],
  );
  await done(web, "PATCH /api/terminal", '{"interactive":false}');
  await done(web, "DELETE /api/next");
  assert.equal((await ask(web.port, duplicate("01")))["AF"], "10"); // no last attempt
  assert.equal((await ask(web.port, duplicate("02")))["AF"], "07"); // that one failed
});

test("fifty tests side by side share a terminal by their registers", patience, async () => {
  await using web = await webWith();
  const registers = Array.from({ length: 50 }, (_, at) => String(at + 10));
  await Promise.all(registers.map(async (CA, at) => {
    const query = `register=${CA}`;
    const codes = ["02", "04", "05", "07", "08", "09", "11"];
    const code = codes[at % codes.length]!;
    for (let round = 0; round < 2; round++) {
      await done(web, `POST /api/next?${query}`, `${code}\nsuccess,CF=${CA}`);
      const before = done(web, `GET /api/transactions/next?${query}`);
      assert.equal((await ask(web.port, debitOf(CA)))["AF"], code);
      const first = await before;
      assert.equal(first.request.message.CA, CA);
      assert.equal(first.outcome.failure, code);
      assert.equal((await ask(web.port, debitOf(CA)))["CF"], CA);
      const next = `GET /api/transactions/next?after=${first.number}&${query}`;
      const second = await done(web, next);
      assert.equal(second.answer.message.CF, CA);
      const numbers = (await done(web, `GET /api/transactions?${query}`)).map(
        ({ number }: Transaction) => number,
      );
      assert.deepEqual(numbers, [first.number, second.number]);
      await done(web, `POST /api/next?${query}`, "silent");
      await done(web, `POST /api/reset?${query}`);
      assert.deepEqual(await done(web, `GET /api/transactions?${query}`), []);
    }
  }));
  assert.deepEqual(web.settings.next, []);
  assert.deepEqual(web.transactions, []);
});
