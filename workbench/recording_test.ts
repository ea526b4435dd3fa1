// SPDX-License-Identifier: GPL-3.0-or-later
// Recordings that are played.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText, jsonLine, OptionError } from "../protocol.ts";
import { APPROVAL } from "../test_helpers.ts";
import {
  exchanged,
  line,
  played,
  recordingOf,
  SECRETS,
  traces,
  WITH_SECRETS,
} from "./proxy_helpers.ts";
import { readRecording, startReplay } from "./recording.ts";
import {
  ask,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  Peer,
  sideBySide,
  slow,
  slowTable,
  table,
} from "./test_helpers.ts";

sideBySide();

slow(
  "a recorded answer, with amount, register, private data and identifiers of the request",
  async () => {
    const recording = await recordingOf((port) =>
      ask(port, { ...DEBIT_MESSAGE, CF: "before", CH: "1", CK: "100" })
    );
    await using terminal = await played(recording);
    const request = {
      ...DEBIT_MESSAGE,
      CA: "77",
      CB: "5",
      CJ: "210987654321",
      CF: "much later",
      CH: "22",
    };
    const answer = await ask(terminal.port, { ...request, CK: "100" });
    const { AC, AA, AB, CG, AI, ZT: _, ...others } = answer;
    assert.deepEqual([AC, AA, AB, CG, AI], [
      "*".repeat(6),
      "*".repeat(16),
      "****",
      "*".repeat(6),
      "A0000000421010",
    ]);
    assert.deepEqual(others, { ...request, CK: "100", AE: "10", CC: "001", CI: "1" });
    const again = await ask(terminal.port, { ...request, CB: "000123456789", CK: "100" });
    assert.equal(again["CB"], "000123456789");
  },
);

slow("a padded amount stays padded, and a reference that was cut is cut", async () => {
  const before = { ...DEBIT_MESSAGE, CF: "0123456789" };
  const raw = encodeText({ ...before, CB: "000000011245", CF: "01234567", AE: "10" });
  await using terminal = await played(exchanged(encodeText(before), { raw }));
  const answer = await ask(terminal.port, { ...before, CB: "2000", CF: "abcdefghijk" });
  assert.deepEqual([answer["CB"], answer["CF"]], ["000000002000", "abcdefgh"]);
});

slow("a field without a value, of the terminal or of a till, is played as it is", async () => {
  const before = `${DEBIT}CF001x`;
  const raw = `${before}AE00210AI000`;
  await using terminal = await played(exchanged(before, { raw }));
  await using till = await Peer.connect(terminal.port);
  till.send(`${DEBIT}CF000\n`);
  assert.equal(await till.until(/AI000$/), `${DEBIT}CF000AE00210AI000`);
});

slow("what is played is masked as what goes through is, or shown with --unmasked", async () => {
  const answer = encodeText({ ...DEBIT_MESSAGE, AE: "10", ...SECRETS });
  const recording = exchanged(WITH_SECRETS, { raw: answer }) +
    exchanged(DEBIT, { raw: `${answer.slice(0, -1)}` });
  for (const unmasked of [false, true]) {
    const told: string[] = [];
    await using terminal = await startReplay(recording, {
      port: 0,
      host: "127.0.0.1",
      unmasked,
      log: (_, text) => void told.push(text),
      onEvent: (event) => void told.push(jsonLine(event)),
    });
    const said = await ask(terminal.port, WITH_SECRETS);
    assert.equal(said["BI"], SECRETS["BI"]); // on the wire nothing is masked
    for (const raw of [`${DEBIT}\n`, `${WITH_SECRETS}?\n`]) {
      await using till = await Peer.connect(terminal.port);
      till.send(raw);
      await till.until(/AE002/);
      await till[Symbol.asyncDispose]();
    }
    await eventually(() => terminal.transactions.every(({ ended }) => ended), "over");
    told.push(JSON.stringify(terminal.transactions));
    const found = traces(told.join("\n").replace(/(port"?:?) ?\d+/g, "$1"));
    assert.deepEqual(found.length > 0, unmasked, found.join());
    assert.equal(terminal.transactions.length, 3);
  }
});

slow("a request that is like none gets AE 01 AF 12, and what was asked is told", async () => {
  await using terminal = await played(exchanged(DEBIT, { raw: APPROVAL }));
  const request = { ...DEBIT_MESSAGE, CK: "100" };
  const { BA: _, ...echo } = DEBIT_MESSAGE;
  assert.deepEqual(await ask(terminal.port, request), { ...echo, AE: "01", AF: "12" });
  const [transaction] = terminal.terminal.transactions;
  const key = "BA 0, CA, CB, CD 0, CE 978, CJ, CK 100, CZ 0300";
  const text = `the recording has no request with ${key}`;
  assert.deepEqual(transaction?.warnings, [{ code: "not-recorded", text, about: { key } }]);
  assert.ok(terminal.log.includes(`warn #1 ${text}`));
});

slowTable("a request that has other tags than a recorded one is not like it", {
  "no amount": { ...DEBIT_MESSAGE, CB: "" },
  "no identifier": { ...DEBIT_MESSAGE, CJ: "" },
  "a reference more": { ...DEBIT_MESSAGE, CF: "other" },
}, async (request) => {
  await using terminal = await played(exchanged(DEBIT, { raw: APPROVAL }));
  const tags = Object.entries(request).filter(([, value]) => value !== "");
  const { AE, AF } = await ask(terminal.port, Object.fromEntries(tags));
  assert.deepEqual([AE, AF], ["01", "12"]);
});

slow("several that are alike take turns, and start anew after a reset", async () => {
  const recording = ["04", "05", "11"].map((AF, index) =>
    line("request", 1, index + 1, { raw: DEBIT }) +
    line("answer", 1, index + 1, {
      milliseconds: 1,
      raw: encodeText({ ...DEBIT_MESSAGE, AE: "01", AF }),
    })
  ).join("");
  await using terminal = await played(recording);
  const asked = async (): Promise<string | undefined> => (await ask(terminal.port, DEBIT))["AF"];
  assert.deepEqual([await asked(), await asked(), await asked(), await asked()], [
    "04",
    "05",
    "11",
    "04",
  ]);
  terminal.terminal.reset();
  assert.equal(await asked(), "04");
});

slow("segments and pauses are as recorded, their sizes as the values now are", async () => {
  const answer = { ...DEBIT_MESSAGE, AE: "10" };
  const raw = encodeText(answer);
  const cut = raw.indexOf("CB005") + 7; // within the amount
  const segments = [
    { milliseconds: 150, bytes: cut },
    { milliseconds: 400, bytes: raw.length - cut - 7 },
    { milliseconds: 450, bytes: 7 + 2 },
  ];
  const given = { raw, ending: "\r\n", segments, milliseconds: 450 };
  await using terminal = await played(
    exchanged(DEBIT, given, { by: "terminal", milliseconds: 600 }),
  );
  await using till = await Peer.connect(terminal.port);
  const chunks: [string, number][] = [];
  const started = performance.now();
  till.socket.on("data", (chunk: string) => chunks.push([chunk, performance.now() - started]));
  till.send(`${encodeText({ ...DEBIT_MESSAGE, CB: "9876543" })}\n`);
  assert.equal(await till.closed, "ended");
  const over = performance.now() - started;
  const now = encodeText({ ...answer, CB: "9876543" });
  const after = now.indexOf("CB007") + 7;
  assert.equal(till.text, `${now}\r\n`);
  // As they were written: where the machine is busy, a till reads several at once.
  const { answer: told } = await terminal.terminal.waitForTransaction({ timeout: 5_000 });
  const written = told?.segments ?? [];
  assert.deepEqual(written.map(({ bytes }) => bytes), [after, now.length - after - 7, 7 + 2]);
  const times = written.map(({ milliseconds }) => milliseconds);
  // When a byte has come.
  let count = 0;
  const cameAt: number[] = chunks.flatMap(([chunk, time]) => Array.from(chunk, () => time));
  const read = written.map(({ bytes }) => cameAt[(count += bytes) - bytes]!);
  for (const [first, second, third] of [times, read]) {
    assert.ok(
      first! >= 145 && second! >= 390 && third! >= 435 && over >= 580,
      `${times} ${read} ${over}`,
    );
  }
});

slowTable(
  "how a recorded connection ended is played too",
  {
    "closed without an answer": [undefined, { by: "terminal", milliseconds: 100 }, "ended", ""],
    "reset without an answer": [
      undefined,
      { by: "terminal", milliseconds: 100, reset: true },
      "reset",
      "",
    ],
    "reset after the answer": [
      { raw: APPROVAL },
      { by: "terminal", milliseconds: 2_500, reset: true }, // what is not read by then is lost
      "reset",
      APPROVAL,
    ],
    "half of an answer": [
      { raw: APPROVAL.slice(0, 70) },
      { by: "terminal", milliseconds: 100 },
      "ended",
      APPROVAL.slice(0, 70),
    ],
  } satisfies Record<string, [object | undefined, object, "ended" | "reset", string]>,
  async ([answer, close, how, text]) => {
    await using terminal = await played(exchanged(DEBIT, answer, close));
    await using till = await Peer.connect(terminal.port);
    till.send(`${DEBIT}\n`);
    assert.deepEqual([await till.closed, till.text], [how, text]);
  },
);

slow("a reset is played after its pause, as a close is", async () => {
  const answer = { raw: APPROVAL, milliseconds: 20 };
  const close = { by: "terminal", milliseconds: 2_500, reset: true };
  await using terminal = await played(exchanged(DEBIT, answer, close));
  await using till = await Peer.connect(terminal.port);
  const started = performance.now();
  till.send(`${DEBIT}\n`);
  await till.until(/AC006123456$/);
  assert.equal(await till.closed, "reset");
  assert.ok(performance.now() - started >= 2_490, `${performance.now() - started}`);
});

slow("a line end that came later is played later; a second answer is not played", async () => {
  const recording = line("request", 1, 1, { raw: DEBIT }) +
    line("answer", 1, 1, { raw: APPROVAL, milliseconds: 10 }) +
    jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\r\n", milliseconds: 300 }) +
    jsonLine({ event: "between", connection: 1, by: "pos", raw: "\x06", milliseconds: 310 }) +
    line("warning", 1, 1, { code: "unasked", text: "", raw: APPROVAL, milliseconds: 400 }) +
    jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\n", milliseconds: 450 }) +
    jsonLine({ event: "closed", connection: 1, by: "terminal", milliseconds: 600 });
  await using terminal = await played(recording);
  await using till = await Peer.connect(terminal.port);
  const started = performance.now();
  till.send(`${DEBIT}\n`);
  await till.until(/\r\n$/);
  assert.ok(performance.now() - started >= 290);
  assert.equal(await till.closed, "ended");
  assert.ok(performance.now() - started >= 585);
  assert.equal(till.text, `${APPROVAL}\r\n`);
  const { answer } = await terminal.terminal.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual(answer?.segments?.map(({ bytes }) => bytes), [APPROVAL.length, 2]);
});

slow("no answer is played as none, until the POS leaves", async () => {
  await using terminal = await played(exchanged(DEBIT, undefined));
  await using till = await Peer.connect(terminal.port);
  till.send(`${DEBIT}\n`);
  await eventually(() => terminal.terminal.transactions.length === 1, "a request");
  await sleep(200);
  assert.deepEqual([till.text, till.socket.readyState], ["", "open"]);
});

slow(
  "AE 11 is played when it came, and what a fault has hidden as the terminal had it",
  async () => {
    const interim = encodeText({ ...DEBIT_MESSAGE, AE: "11" });
    const recording = line("request", 1, 1, { raw: DEBIT }) +
      line("answer", 1, 1, { raw: interim, milliseconds: 100 }) +
      line("due", 1, 1, { raw: APPROVAL, milliseconds: 300 }) +
      line("answer", 1, 1, { raw: APPROVAL.slice(0, -1), milliseconds: 400 }) +
      jsonLine({ event: "closed", connection: 1, by: "terminal", milliseconds: 400 });
    await using terminal = await played(recording);
    await using till = await Peer.connect(terminal.port);
    const started = performance.now();
    till.send(`${DEBIT}\n`);
    await till.until(/AE00211/);
    assert.ok(performance.now() - started >= 95);
    await till.until(/AC006123456$/);
    assert.ok(performance.now() - started >= 290);
    assert.equal(till.socket.readyState, "open");
  },
);

table(
  "a recording that is none, and options that mean nothing to one",
  {
    "no JSON": [
      "\n\nhello\n",
      {},
      /^recording: expected the event of a recording on line 3, got "hello"$/,
    ],
    "no event": ['{"event":"listening"}\n[1]', {}, /on line 2, got "\[1\]"$/],
    "an event without what it must have": [
      '{"event":"answer","connection":1,"transaction":1}',
      {},
      /on line 1/,
    ],
    "a request without its numbers": ['{"event":"request","raw":"CZ0040300"}', {}, /on line 1/],
    "none": [
      "",
      {},
      /^recording: expected the lines that proxy.ts --json has printed, .* got none$/,
    ],
    "no request": ['{"event":"listening"}\n', {}, /^recording: expected the lines .* got none$/],
    "an outcome": [
      "",
      { outcome: "split" },
      /^outcome: expected none: the recording decides that, got "success,split"$/,
    ],
    "a duration": ["", { duration: 1 }, /^duration: expected none: the recording decides that/],
    "unmasked": ["", { unmasked: 1 }, /^unmasked: expected true or false, got 1$/],
  } satisfies Record<string, [string, object, RegExp]>,
  async ([recording, options, pattern]) => {
    const all = { port: 0, ...options } as object;
    await assert.rejects(startReplay(recording, all), (error) => {
      assert.ok(error instanceof OptionError, String(error));
      assert.match(error.message, pattern);
      return true;
    });
  },
);

table(
  "a line that is no event of a recording is told by its number, and what is secret is not",
  {
    "line ends without end": { raw: DEBIT, ending: "\n".repeat(200_000) },
    "an object for a number": { raw: DEBIT, milliseconds: {} },
    "an object for a connection": { raw: DEBIT, connection: { toString: 1 } },
    "an object for the segments": { raw: DEBIT, segments: {} },
    "segments of nothing": { raw: DEBIT, segments: [null] },
    "no text of Latin-1": { raw: `${DEBIT}CF001\u2603` },
    "an ending that is more": { raw: DEBIT, ending: "CZ" },
    "a secret": { raw: `aa006497012`, segments: 1 },
  } satisfies Record<string, object>,
  async (more) => {
    const one = { event: "request", connection: 1, transaction: 1, ...more };
    await assert.rejects(startReplay(`\n${JSON.stringify(one)}\n`, { port: 0 }), (error) => {
      assert.ok(error instanceof OptionError, String(error));
      assert.match(error.message, /^recording: expected the event of a recording on line 2, got /);
      assert.doesNotMatch(error.message, /4970/);
      return true;
    });
  },
);

test("an event of no request with an object for a number is none", async () => {
  const odd = '{"event":"closed","connection":{"toString":1},"by":"pos"}\n';
  await assert.rejects(
    startReplay(exchanged(DEBIT, { raw: APPROVAL }) + odd, { port: 0 }),
    /line 4/,
  );
});

test("events of connections without a request take no longer than others", () => {
  const count = 20_000;
  const lines = (connectionOf: (number: number) => number): string =>
    ["request", "between"].flatMap((event) =>
      Array.from({ length: count }, (_, number) => {
        const connection = event === "request" ? number : connectionOf(number);
        return jsonLine({ event, by: "terminal", connection, transaction: number, raw: DEBIT });
      })
    ).join("");
  const took = (recording: string): number => {
    const started = performance.now();
    assert.equal(readRecording(recording).length, count);
    return performance.now() - started;
  };
  const known = took(lines(() => count - 1));
  const unknown = took(lines((number) => count + number));
  assert.ok(unknown < 5 * known + 1_000, `${unknown} ms instead of ${known}`);
});
