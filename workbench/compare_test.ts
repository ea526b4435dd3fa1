// SPDX-License-Identifier: GPL-3.0-or-later
// Recordings that are compared with the simulated terminal.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText, jsonLine, type Message } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import { compareRecording } from "./compare.ts";
import { MODEL_NAMES } from "./models.ts";
import {
  closed,
  compare,
  differing,
  exchanged,
  line,
  played,
  prompt,
  proxyTo,
  recordingOf,
  REFUSAL,
  SECRETS,
  traces,
  watched,
  WITH_SECRETS,
  withStdin,
} from "./proxy_helpers.ts";
import {
  ask,
  BASE,
  DEBIT,
  DEBIT_MESSAGE,
  payAt,
  Peer,
  sideBySide,
  slow,
  slowTable,
} from "./test_helpers.ts";

sideBySide();

/** Everything that our own terminal answers, once. */
async function everything(port: number): Promise<void> {
  const receipt = { ...DEBIT_MESSAGE, CK: "100", CF: "ref" };
  const identify = { ...BASE, CD: "I" };
  for (const request of [DEBIT_MESSAGE, receipt, { ...receipt, CK: "111" }, identify]) {
    await ask(port, request);
  }
  for (const CC of ["001", "00B", "002", "00D", "00E", "10E", "00V", "00C", "006"]) {
    await ask(port, { ...DEBIT_MESSAGE, CC });
  }
  for (const CD of ["1", "2", "7", "3", "B", "3", "P", "9"]) {
    await ask(port, { ...DEBIT_MESSAGE, CD });
  }
  await using immediate = await Peer.connect(port); // some models do not answer that
  immediate.send(`${encodeText({ ...DEBIT_MESSAGE, BA: "1" })}\n`);
  await sleep(300);
  immediate.socket.end();
  await ask(port, "CZ0040300CA00201\n");
  await ask(port, `${DEBIT}\r\n`);
  await using browser = await Peer.connect(port);
  browser.send("GET / HTTP/1.1\r\n\r\n");
  assert.equal(await browser.closed, "ended"); // by the terminal, however late a busy machine does it
  assert.match(browser.text, /AE00201AF00209$/);
  await using till = await Peer.connect(port);
  await till.ask(DEBIT);
  await till.ask({ ...DEBIT_MESSAGE, CB: "2" });
  till.send(DEBIT.slice(0, 20));
  await sleep(50);
  assert.equal((await till.ask(DEBIT.slice(20)))["AE"], "10");
  await till.finish();
  await using nc = await Peer.connect(port);
  nc.send(DEBIT);
  assert.equal((await nc.finish()).length, 1);
}

slowTable(
  "recorded, compared, played and compared again, our own terminal differs in nothing",
  Object.fromEntries(MODEL_NAMES.map((model) => [model, { model: model }])),
  async (as) => {
    const next: OutcomeText[] = ["refused", "abandon", "success,cbcontactless"];
    const first = await recordingOf(everything, { ...as, next });
    const compared = await compare(first, as);
    assert.ok(compared.length >= 29);
    assert.deepEqual(differing(compared), []);
    await using terminal = await played(first);
    await using seen = await proxyTo(terminal.port);
    await everything(seen.port);
    await closed(seen.events, compared.length - 2);
    assert.deepEqual(differing(await compare(prompt(seen.recording()), as)), []);
  },
);

slowTable(
  "each difference is told",
  {
    "a tag more": [{ ...DEBIT_MESSAGE, AE: "01", AF: "04", AL: "1" }, {}, {
      what: "tags",
      recorded: "AL",
      simulated: "",
    }],
    "a tag less": [{ AE: "01", AF: "04" }, {}, {
      what: "tags",
      recorded: "",
      simulated: "CZ CJ CA CE BA CD CB",
    }],
    "the order": [
      {
        CZ: "0300",
        AE: "01",
        AF: "04",
        CJ: "012345678901",
        CA: "01",
        CE: "978",
        BA: "0",
        CD: "0",
        CB: "11245",
      },
      {},
      {
        what: "order",
        recorded: "CZ AE AF CJ CA CE BA CD CB",
        simulated: "CZ CJ CA CE BA CD CB AE AF",
      },
    ],
    "a value": [{ ...DEBIT_MESSAGE, CZ: "0301", AE: "01", AF: "04" }, {}, {
      what: "value",
      tag: "CZ",
      recorded: "0301",
      simulated: "0300",
    }],
    "a detail of AF": [{ ...DEBIT_MESSAGE, AE: "01", AF: "0448NO" }, {}, {
      what: "value",
      tag: "AF",
      recorded: "0448NO",
      simulated: "04",
    }],
    "segments": [
      { ...DEBIT_MESSAGE, AE: "01", AF: "04" },
      { segments: [{ milliseconds: 0, bytes: 70 }, { milliseconds: 1, bytes: 7 }] },
      { what: "segments", recorded: "2", simulated: "1" },
    ],
    "an ending": [{ ...DEBIT_MESSAGE, AE: "01", AF: "04" }, { ending: "\r\n" }, {
      what: "ending",
      recorded: "\r\n",
      simulated: "",
    }],
  } satisfies Record<string, [Message, object, object]>,
  async ([answer, more, difference]) => {
    const [comparison] = await compare(
      exchanged(DEBIT, { raw: encodeText(answer), ...more }),
    );
    assert.deepEqual(comparison?.differences, [difference]);
    assert.deepEqual([comparison?.line, comparison?.outcome], [1, "refused,delay=0"]);
  },
);

slow(
  "an identification that takes seconds, and other ways to end a connection, are differences",
  async () => {
    const raw = encodeText({ ...BASE, CD: "I" });
    const answer = { raw: encodeText({ ...BASE, CD: "I", AE: "10" }), milliseconds: 2_000 };
    const { result: [late], isStalled } = await watched(compareRecording(exchanged(raw, answer)));
    const time = { what: "time", recorded: "after seconds", simulated: "at once" };
    const isLate = isStalled && late?.differences.length === 0; // the simulated one too
    assert.deepEqual(late?.differences, isLate ? [] : [time]);
    const [closing] = await compare(
      exchanged(raw, { ...answer, milliseconds: 1 }, { by: "terminal", milliseconds: 5 }),
    );
    const [closes, keeps] = ["closes the connection", "keeps it open"];
    assert.deepEqual(closing?.differences, [{
      what: "closed",
      recorded: closes,
      simulated: keeps,
    }]);
    const none = await watched(compareRecording(exchanged(raw, undefined)));
    const [silent] = none.result;
    const isSilent = none.isStalled && silent?.differences.length === 0; // for 300 ms, as recorded
    assert.deepEqual(
      silent?.differences,
      isSilent ? [] : [
        { what: "answer", recorded: "none within 9999 ms, when the POS left", simulated: "one" },
      ],
    );
    const bad = exchanged("CZ0040300CA00201", { raw: "CZ0040300CA00201AE00201AF00209" });
    const [open] = await compare(bad.replace('"request"', '"invalid"'));
    assert.deepEqual(open?.differences, []);
  },
);

slow("an answer after seconds, in part, with another card or AE 11 first", async () => {
  const paid = { ...DEBIT_MESSAGE, BF: "1" };
  const raw = encodeText({
    ...paid,
    CB: "5000",
    AE: "10",
    CC: "006",
    CI: "3",
    AC: "******",
    CF: "**********",
    CG: "1234567",
  });
  const recording = line("request", 1, 1, { raw: encodeText(paid) }) +
    line("answer", 1, 1, { raw: encodeText({ ...paid, AE: "11" }), milliseconds: 100 }) +
    line("answer", 1, 1, { raw, milliseconds: 12_345 });
  const [comparison] = await compare(recording);
  assert.equal(comparison?.outcome, "success,pending,delay=1,CC=006,CI=3,CB=5000");
  const found = comparison?.differences.map(({ what }) => what);
  assert.deepEqual(found, ["tags"]); // AA, AI and AB: it cannot be told that this card has none
});

slow("our own terminal that sends AE 11 first differs in nothing", async () => {
  const next: OutcomeText[] = ["pending,delay=0.2", "refused,pending,delay=0.2"];
  const recording = await recordingOf(async (port) => {
    await payAt(port);
    await payAt(port);
  }, { next });
  const compared = await compare(recording);
  assert.deepEqual(differing(compared), []);
  assert.deepEqual(compared.map(({ outcome }) => outcome), [
    "success,cbcontact,pending,delay=0",
    "refused,pending,delay=0",
  ]);
});

slow("a terminal that answered more than once, and one whose line end came later", async () => {
  const answer = encodeText({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });
  const [twice] = await compare(
    exchanged(DEBIT, { raw: answer }) +
      line("warning", 1, 1, { code: "unasked", text: "", raw: answer, milliseconds: 9 }),
  );
  assert.deepEqual(twice?.differences, [{ what: "answer", recorded: "2", simulated: "one" }]);
  const [late] = await compare(
    exchanged(DEBIT, { raw: answer }) +
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\r\n", milliseconds: 150 }),
  );
  assert.deepEqual(late?.differences, [
    { what: "ending", recorded: "\r\n", simulated: "" },
    { what: "segments", recorded: "2", simulated: "1" },
  ]);
});

slowTable(
  "what is wrong with an answer as a whole is told",
  {
    "a tag twice": [exchanged(DEBIT, { raw: `${REFUSAL}AF00205` }), [
      { what: "tags", recorded: "AF again", simulated: "" },
    ]],
    "garbage": [exchanged(DEBIT, { raw: "\x15?!" }), [
      { what: "answer", recorded: "one, malformed", simulated: "one" },
    ]],
    "malformed from a byte on": [
      exchanged(DEBIT, { raw: encodeText({ ...DEBIT_MESSAGE, CZ: "0301", AE: "01" }) + "AF0" }),
      [
        { what: "answer", recorded: "one, malformed", simulated: "one" },
        { what: "value", tag: "CZ", recorded: "0301", simulated: "0300" },
      ],
    ],
    "bytes before it": [
      line("request", 1, 1, { raw: DEBIT }) +
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\x06", milliseconds: 3 }) +
      jsonLine({ event: "between", connection: 1, by: "pos", raw: "\x05", milliseconds: 4 }) +
      line("answer", 1, 1, { raw: REFUSAL, milliseconds: 9 }),
      [{ what: "before", recorded: "\x06", simulated: "" }],
    ],
    "bytes before it, which came before the request was read": [
      jsonLine({ event: "between", connection: 1, by: "terminal", raw: "\x06" }) +
      exchanged(DEBIT, { raw: REFUSAL }),
      [{ what: "before", recorded: "\x06", simulated: "" }],
    ],
    "a reset after it": [
      exchanged(DEBIT, { raw: REFUSAL }, { by: "terminal", milliseconds: 5, reset: true }),
      [{ what: "closed", recorded: "resets the connection", simulated: "keeps it open" }],
    ],
  } satisfies Record<string, [string, object[]]>,
  async ([recording, differences]) => {
    const [comparison] = await compare(recording);
    assert.deepEqual(comparison?.differences, differences);
  },
);

slow("our own ends the connection of what cannot be read, and that is always told", async () => {
  const bad = { raw: "\x02?" };
  const recording = line("invalid", 1, 1, bad) + line("answer", 1, 1, { raw: REFUSAL });
  for (let round = 0; round < 8; round++) {
    const [comparison] = await compare(recording);
    const told = comparison?.differences.find(({ what }) => what === "closed");
    assert.deepEqual(told, {
      what: "closed",
      recorded: "keeps it open",
      simulated: "closes the connection",
    });
  }
});

slow("a report has nothing of the private data of a recording that is not masked", async () => {
  const answer = { ...DEBIT_MESSAGE, ...SECRETS, AE: "01", AF: "04" };
  const more = `${DEBIT}CH020AA016${SECRETS["AA"]}`.slice(0, -1);
  const recording = exchanged(WITH_SECRETS, { raw: encodeText(answer) }) +
    exchanged(more, { raw: `${REFUSAL}CH006AC066Q` });
  const report = await compare(recording);
  assert.deepEqual(traces(JSON.stringify(report)), []);
  assert.equal(report[0]?.request["BH"], "*".repeat(12));
});

slow("of a value that is masked only the size is compared", async () => {
  // As of an answer that is malformed behind it, or cut.
  for (const status of ["10", "**"]) {
    const raw = `${DEBIT.slice(0, -5)}*****AE002${status}CC003***CI002**AC006******C`;
    const [comparison] = await compare(exchanged(DEBIT, { raw }));
    assert.deepEqual(comparison?.differences, [
      { what: "answer", recorded: "one, malformed", simulated: "one" },
      { what: "size", tag: "CI", recorded: "2", simulated: "1" },
    ]);
    assert.equal(comparison?.outcome, "success,delay=0");
  }
});

slow("an AE 11 that came first is held against ours as an answer is", async () => {
  const { CB: _, ...others } = DEBIT_MESSAGE;
  const interim = { raw: encodeText({ ...others, AE: "11", XX: "1" }), milliseconds: 2_000 };
  const recording = line("request", 1, 1, { raw: DEBIT }) +
    line("answer", 1, 1, { ...interim, ending: "\n" }) +
    line("answer", 1, 1, { raw: REFUSAL, milliseconds: 4_000 });
  const [comparison] = await compare(recording);
  assert.deepEqual(comparison?.differences, [
    { interim: true, what: "tags", recorded: "XX", simulated: "CB" },
    { interim: true, what: "ending", recorded: "\n", simulated: "" },
    { interim: true, what: "time", recorded: "after seconds", simulated: "at once" },
  ]);
  const { stdout } = await withStdin(recording, "--compare");
  assert.match(stdout, /\n {2}AE 11, tags: recorded XX, simulated CB\n/);
});

slow("what stood before an answer is masked in a report, in lower case too", async () => {
  const before = "AA0164970123456789012aa0164970123456789012cf004Q77Q\x06";
  const recording = line("request", 1, 1, { raw: DEBIT }) +
    jsonLine({ event: "between", connection: 1, by: "terminal", raw: before, milliseconds: 3 }) +
    line("answer", 1, 1, { raw: REFUSAL, milliseconds: 9 });
  const report = JSON.stringify(await compare(recording));
  assert.match(report, /"what":"before"/);
  assert.doesNotMatch(report, /4970|Q77Q/);
});
