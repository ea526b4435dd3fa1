// SPDX-License-Identifier: GPL-3.0-or-later
// What is masked, wherever a proxy tells something.
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeReceipt, encodeText, jsonLine } from "../protocol.ts";
import { checkOptions, type Handler, type Happened, listen } from "../server.ts";
import { MASKING, maskRaw, showing } from "./mask.ts";
import { closed, proxyTo, SECRETS, toldBy, traces, WITH_SECRETS } from "./proxy_helpers.ts";
import {
  BASE,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  patience,
  Peer,
  sideBySide,
  slow,
  slowTable,
  table,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

slow(
  "the values of some tags and the text of receipts are masked, their lengths true",
  async () => {
    await using real = await listening(async (peer) => {
      const asked = await peer.until(/ZT049.{49}$/s);
      peer.send(`${asked}AE00210`);
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(WITH_SECRETS);
    assert.equal(await till.until(/AE00210/), `${WITH_SECRETS}AE00210`); // on the wire nothing is
    const { request, answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    const zt = encodeReceipt({
      copy: "customer",
      format: "text",
      text: "***** ****\n**/**/** * **:**",
    });
    const masked = Object.entries({ ...SECRETS, ZT: zt }).map(([tag, value]) => [
      tag,
      tag === "ZT" ? value : "*".repeat(value.length),
    ]);
    assert.deepEqual(request.message, { ...DEBIT_MESSAGE, ...Object.fromEntries(masked) });
    assert.equal(request.raw, encodeText(request.message));
    assert.equal(answer?.raw, `${request.raw}AE00210`);
    assert.deepEqual(traces(seen.log.join("\n")), []);
    assert.deepEqual(traces(seen.recording()), []);
  },
);

slowTable(
  "of what is malformed all is masked that may be a value whose length is wrong",
  {
    "a request, a reference like a field": [
      `${DEBIT}CF000FA2025123456 Jean Dupont`,
      `${DEBIT}CF000************ **** ******`,
      "at byte 92: expected *** characters for **, got **",
    ],
    "an answer, a number like an amount": [
      `${DEBIT}AE00210AC000CB497010123456`,
      `${DEBIT}AE00210AC000**************`,
      "at byte 89: expected *** characters for **, got *",
    ],
    "a tag that was there": [
      `${DEBIT}CF004REF-CB00543212 Dupont`,
      `${DEBIT}CF004************** ******`,
      'at byte 82: expected a tag of two letters A-Z, got " "',
    ],
    "a size that cannot be": [
      `${DEBIT}AE00210AC002XXCC049701`,
      `${DEBIT}AE00210AC002**********`,
      "at byte 85: expected ** characters for **, got *",
    ],
    "swallowed by a field before it": [
      `${DEBIT}AE00210CC010001AA0164970101234560014`,
      `${DEBIT}AE00210CC010001AA016****************`,
      'at byte 85: expected a tag of two letters A-Z, got "*"; perhaps the length of CC before it, 010, is too short',
    ],
    "a control character": [
      `${DEBIT}CF001x\x02`,
      `${DEBIT}CF001*\x02`,
      'at byte 69: expected a tag of two letters A-Z, got "\\x02"; perhaps the length of CF before it, 001, is too short',
    ],
    "a character that is no ASCII": [
      `${DEBIT}CF001x\x9f`,
      `${DEBIT}CF001**`,
      'at byte 69: expected a tag of two letters A-Z, got "*"; perhaps the length of CF before it, 001, is too short',
    ],
    "cut": [
      `${DEBIT}AE00210AA0164970101234560014AC006XYZ123CC00300`,
      `${DEBIT}AE00210AA016****************AC006******CC003**`,
      "at byte 109: expected 3 characters for CC, got 2",
    ],
  } satisfies Record<string, [string, string, string]>,
  async ([raw, shown, error]) => {
    await using real = await listening(async (peer) => {
      await peer.until(/./);
      peer.socket.end(raw, "latin1");
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(raw);
    assert.equal(await till.closed, "ended");
    assert.equal(till.text, raw); // on the wire nothing is
    await closed(seen.events);
    const [, request, answer] = seen.events;
    assert.ok(request?.event === "invalid" && answer?.event === "answer");
    assert.deepEqual([request.raw, request.error], [shown, error]);
    assert.deepEqual([answer.raw, answer.verdict], [shown, { status: "invalid", error }]);
    assert.doesNotMatch(toldBy(seen), /FA2|2025|Dupont|REF|CB497|97010|4321|CC049/);
  },
);

slow("what follows something malformed is masked, unless it begins as a message does", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  for (const [index, raw] of [`${DEBIT}CF002FA2-25`, "AI010Jean 98765", DEBIT].entries()) {
    till.send(raw);
    await eventually(() => seen.proxy.transactions.length > index, `${raw} told`);
  }
  assert.deepEqual(seen.proxy.transactions.map(({ request }) => request.raw), [
    `${DEBIT}CF002***-**`,
    "********* *****",
    DEBIT,
  ]);
  assert.doesNotMatch(toldBy(seen), /Jean|9876|FA2/);
});

slow("the value of a tag in an outcome is masked as in a message", async () => {
  await using real = await terminalWith();
  for (const unmasked of [false, true]) {
    await using seen = await proxyTo(real.port, { unmasked, outcome: "AA=497011,CB=1,hangup" });
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, "ended");
    assert.match(till.text, /AA006497011/);
    const AA = unmasked ? "497011" : "******";
    const told = seen.events.find((event) => event.event === "answer");
    assert.ok(told?.event === "answer");
    assert.equal(told.outcome, `hangup,AA=${AA},CB=1`);
    assert.equal(seen.proxy.transactions[0]?.outcome?.tags?.["AA"], AA);
    assert.equal(/497011/.test(toldBy(seen)), unmasked);
  }
});

slow("--unmasked shows all", async () => {
  await using real = await listening(() => {});
  await using seen = await proxyTo(real.port, { unmasked: true });
  await using till = await Peer.connect(seen.port);
  till.send(`${WITH_SECRETS}\n`);
  await eventually(() => seen.proxy.transactions.length === 1, "a request");
  assert.equal(seen.proxy.transactions[0]?.request.raw, WITH_SECRETS);
  assert.ok(seen.log.some((line) => line.includes("497Q10QQQQQQ7Q31")));
});

test(
  "nothing of it is told of a message that is cut, or malformed anywhere",
  patience,
  async () => {
    const cut = Array.from(
      { length: WITH_SECRETS.length },
      (_, at) => WITH_SECRETS.slice(0, at + 1),
    );
    const lengths = [...WITH_SECRETS.matchAll(/[A-Z]{2}\d{3}/g)].flatMap(({ index, 0: head }) =>
      [-3, -2, -1, 1, 2, 5, 7, 20].map((more) => {
        const length = String(Math.max(0, Number(head.slice(2)) + more)).padStart(3, "0");
        return WITH_SECRETS.slice(0, index + 2) + length + WITH_SECRETS.slice(index + 5);
      })
    );
    const odd = [
      `${WITH_SECRETS}?`,
      `x${WITH_SECRETS}`,
      WITH_SECRETS.toLowerCase(),
      `POST / HTTP/1.1\r\n\r\n${JSON.stringify(SECRETS)}`,
      ...Object.entries(SECRETS).map(([tag, value]) =>
        encodeText({ ...BASE, CD: "0", XX: value, [tag]: value })
      ),
    ].filter((raw) => !raw.includes("XX"));
    const all = [...cut, ...lengths, ...odd];
    await using real = await listening(async (peer) => {
      await peer.until(/./s);
      peer.send(all[Number(/^(\d+)/.exec(peer.text)?.[1] ?? NaN)] ?? peer.text);
      peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    for (let at = 0; at < all.length; at += 20) {
      await Promise.all(
        all.slice(at, at + 20).map(async (raw) => {
          await using till = await Peer.connect(seen.port);
          till.send(raw);
          await till.closed;
        }),
      );
    }
    await closed(seen.events, all.length);
    const told = toldBy(seen);
    const found = traces(told);
    const where = seen.events.filter((event) => traces(jsonLine(event)).length > 0).slice(0, 3);
    assert.deepEqual(found, [], `${JSON.stringify(where)} of ${all.length}`);
    assert.ok(seen.events.length > 2 * all.length);
  },
);

table(
  "what may be shown of a message",
  {
    "the line of a cheque": ["AD0081234 567CC00300C", "AD008********CC00300C"],
    "a secret tag in lower case, in a value": [
      "CC003001CH012aa0074970123",
      "CC003001CH012aa007*******",
    ],
    "a secret tag in lower case": ["CC003001aa0074970123", "CC003001************"],
  } satisfies Record<string, [string, string]>,
  ([raw, shown]) => assert.equal(maskRaw(raw), shown),
);

table(
  "of a frame of a serial line tags and lengths are shown",
  {
    "with a check character": ["\x03K", "\x03*"],
    "with ETX as one": ["\x03\x03", "\x03\x03"],
    "without": ["\x03", "\x03"],
  } satisfies Record<string, [string, string]>,
  ([end, shown]) => {
    const hidden = "CZ004****CB005*****AA006******ZT003***";
    assert.equal(
      maskRaw(`\x02CZ0040300CB00511245AA006497012ZT003a b${end}`),
      `\x02${hidden}${shown}`,
    );
    const cut = `\x02CZ0040300CB00511245AA00749701${end}`;
    assert.doesNotMatch(maskRaw(cut), /\d{4}/);
  },
);

test("a record of a request shows what is masked, and follows what becomes of it", async () => {
  const happened: Happened[] = [];
  const tell = showing((one) => void happened.push(one), MASKING);
  const handle: Handler = (request, wire) => {
    request.due = `${WITH_SECRETS}AE00210`;
    request.tell("due");
    wire.send(request.due);
  };
  const settings = checkOptions({ port: 0, host: "127.0.0.1" });
  const terminal = await listen(settings, handle, tell);
  await using till = await Peer.connect(terminal.port);
  till.send(`${WITH_SECRETS}\n`);
  await till.until(/AE00210/);
  await eventually(() => happened.some(({ event }) => event === "over"), "over");
  const [view] = new Set(happened.flatMap(({ request }) => request ?? []));
  assert.equal(view?.sent, view?.due);
  assert.deepEqual(traces([view?.received.raw, view?.sent, view?.due].join("\n")), []);
  assert.equal(new Set(happened.flatMap(({ request }) => request ?? [])).size, 1);
  await terminal.close();
});
