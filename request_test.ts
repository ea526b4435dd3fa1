// SPDX-License-Identifier: GPL-3.0-or-later
// The requests of a POS: how they are cut out of what comes, what is refused, and what is noticed.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { decode, encodeText as text, mandatoryTags, type Message } from "./protocol.ts";
import {
  ask,
  askAndClose,
  BASE,
  codes,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  logged,
  named,
  payAt,
  Peer,
  recorded,
  sideBySide,
  slow,
  slowTable,
  terminalWith,
} from "./test_helpers.ts";

sideBySide();

// ---------------------------------------------------------------- requests

slow(
  "a deciding function gets the request, and an unknown action is not its business",
  async () => {
    let asked = 0;
    await using terminal = await terminalWith({ outcome: () => asked++ ? "04" : "05" });
    for (const change of [{ CD: "X" }, { CD: "T", BA: "1" }]) {
      const request = { ...DEBIT_MESSAGE, ...change };
      assert.deepEqual(await ask(terminal.port, request), { ...request, AE: "01", AF: "12" });
    }
    assert.equal((await ask(terminal.port, DEBIT))["AF"], "05");
  },
);

slow(
  "identifications and requests that are not served are answered without the duration",
  async () => {
    await using terminal = await terminalWith({ duration: 60 });
    const answer = await ask(terminal.port, { ...DEBIT_MESSAGE, CD: "I" });
    assert.deepEqual(answer, { ...BASE, BA: "0", CD: "I", AE: "10" });
    assert.equal((await ask(terminal.port, { ...DEBIT_MESSAGE, BA: "1" }))["AE"], "11");
    for (const tag of mandatoryTags("0")) {
      const { [tag]: _, ...request } = DEBIT_MESSAGE;
      const expected = { CZ: "0300", ...request, AE: "01", AF: "09" };
      assert.equal(text(await askAndClose(terminal.port, request)), text(expected), tag);
    }
    const empty = await ask(terminal.port, DEBIT.replace("CB00511245", "CB000"));
    assert.equal(empty["AF"], "09");
    assert.equal("CB" in empty, false);
  },
);

slow("a status that the POS sent and an empty field are not given back", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  const answer = await ask(terminal.port, `${DEBIT}AE00210AF00201CF000`);
  assert.deepEqual(answer, { ...DEBIT_MESSAGE, AE: "01", AF: "04" });
});

for (const strict of [false, true]) {
  slowTable(`an amount that is none is AF 09${strict ? ", strict or not" : ""}`, {
    "with a dot": "112.45",
    "below zero": "-11245",
    "of blanks": "     ",
    "with a letter": "O11245",
  }, async (CB) => {
    await using terminal = await terminalWith({ strict });
    const request = { ...DEBIT_MESSAGE, CB };
    assert.deepEqual(await ask(terminal.port, request), { ...request, AE: "01", AF: "09" });
    assert.deepEqual(codes(terminal), ["not-an-amount"]);
  });
}

const MALFORMED: Record<string, [raw: string, expected: Message]> = {
  "HTTP": ["GET / HTTP/1.1\r\n\r\n", {}],
  "serial framing": [`\x02${DEBIT}\x03\x55`, {}],
  "ENQ": ["\x05", {}],
  "a length that is none": ["CZ0040300CA00x01", { CZ: "0300" }],
  "a length cut by a line end": ["CZ0040300CB0\r\n", { CZ: "0300" }],
};
slowTable("a malformed request is answered with what could be read, and closed", MALFORMED, async ([
  raw,
  expected,
]) => {
  await using terminal = await terminalWith();
  await using peer = await Peer.connect(terminal.port);
  peer.send(raw);
  assert.equal(await peer.closed, "ended");
  assert.deepEqual(decode(peer.text), { CZ: "0300", ...expected, AE: "01", AF: "09" });
  assert.equal(codes(terminal)?.[0], "malformed");
});

slow("a request cut at the end of the connection is answered with what could be read", async () => {
  await using terminal = await terminalWith();
  const cut = await askAndClose(terminal.port, DEBIT.slice(0, -2));
  assert.equal(text(cut), `${DEBIT.slice(0, -"CB00511245".length)}AE00201AF00209`);
});

slow("a connection on which a request stays incomplete is answered and closed", async () => {
  await using terminal = await terminalWith({ bounds: { request: 50 } });
  await using peer = await Peer.connect(terminal.port);
  peer.send("CZ0040300CB00511");
  assert.equal(await peer.closed, "ended");
  assert.equal(peer.text, "CZ0040300AE00201AF00209");
});

slow("a request is put together however it is split", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  await using patient = await terminalWith({ outcome: "refused", gap: 5000 });
  const [inside, between] = [[0, 1, 2, 4, 5, 7, DEBIT.length - 1], [9, DEBIT.length - 10]];
  await Promise.all([...inside, ...between].map(async (cut) => {
    // Between fields nothing but the gap tells that more is to come.
    const { port } = between.includes(cut) ? patient : terminal;
    await using peer = await Peer.connect(port);
    peer.send(DEBIT.slice(0, cut));
    await sleep(40); // longer than the other's gap: the rest comes as a segment of its own
    peer.send(`${DEBIT.slice(cut)}\n`);
    assert.equal(await peer.until(/AF00204$/), text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }));
  }));
});

slow(
  "CZ may come anywhere: a request whose fields are in another order is one request",
  async () => {
    await using terminal = await terminalWith({ outcome: "refused" });
    await using peer = await Peer.connect(terminal.port);
    const mixed = "CA00242CZ0040300CJ012012345678901CB0041250CD0010CE003978";
    const last = "CE003978CD0010CB0041250CA00242CJ012012345678901CZ0040300";
    for (const [raw, first] of [[mixed, "CA"], [last, "CE"]] as const) {
      assert.equal((await peer.ask(raw))["AF"], "04");
      assert.deepEqual(terminal.transactions.at(-1)?.warnings, [
        { code: "order", text: `expected CZ to come first, got ${first}` },
      ]);
    }
    peer.text = "";
    peer.send(`${mixed}${DEBIT}${DEBIT}\n`); // each CZ but the first of a message is of the next one
    await peer.until(/(AF00204.*){3}/);
  },
);

slow("a request without a line end is over after the gap, and not before", async () => {
  // Nothing else ends it: a time that does would be another one.
  await using terminal = await terminalWith({
    outcome: "refused",
    gap: 200,
    bounds: { request: 60_000 },
  });
  await using peer = await Peer.connect(terminal.port);
  const started = performance.now();
  peer.send(DEBIT);
  await peer.until(/AF00204$/);
  const took = performance.now() - started;
  assert.ok(took >= 195, `${took} ms`);
  assert.equal(peer.socket.writable, true); // it came by the pause, not because this side was closed
});

slow("CR, LF and the next request end one, and the answers come in order", async () => {
  await using terminal = await terminalWith({ outcome: "refused", gap: 5000 });
  await using peer = await Peer.connect(terminal.port);
  const request = (CF: string) => text({ ...DEBIT_MESSAGE, CF });
  peer.send(`\n${request("1")}\r\n\r\n${request("2")}\n${request("3")}${request("4")}\r`);
  await peer.until(/CF0014AE00201AF00204$/);
  assert.deepEqual([...peer.text.matchAll(/CF001(\d)/g)].map(([, number]) => number), [
    "1",
    "2",
    "3",
    "4",
  ]);
});

slow("the connection stays open after an answer", async () => {
  await using terminal = await terminalWith({ outcome: "refused" });
  await using peer = await Peer.connect(terminal.port);
  for (const CF of ["1", "2", "3"]) {
    const request = { ...DEBIT_MESSAGE, CF };
    assert.deepEqual(await peer.ask(request), { ...request, AE: "01", AF: "04" });
  }
});

slow(
  "ten payments of one second sent together, on one connection or not, are answered after one second",
  async () => {
    await using terminal = await terminalWith({ duration: 1 });
    await using kept = await Peer.connect(terminal.port);
    const started = performance.now();
    kept.send(`${DEBIT}\r\n`.repeat(10)); // one after another they take ten seconds
    const others = Array.from({ length: 10 }, () => askAndClose(terminal.port, DEBIT));
    const answers = [...await kept.finish(), ...await Promise.all(others)];
    const took = performance.now() - started;
    assert.deepEqual(answers.map(({ AE }) => AE), Array(20).fill("10"));
    assert.ok(took >= 990 && took < 9000, `${took} ms`);
  },
);

slow(
  "what POS made for the serial dialogue send between messages is skipped, with a line of the log",
  async () => {
    await using seen = await recorded({ outcome: "refused", logLevel: "debug" });
    await using peer = await Peer.connect(seen.port);
    for (
      const [talk, told] of [["\x06\x04", "\\x06\\x04"], ["\x04", "\\x04"], [
        "\x18\x18\x18\x04",
        "\\x18\\x18\\x18\\x04",
      ]] as const
    ) {
      assert.equal((await peer.ask(DEBIT))["AF"], "04");
      const before = seen.log.length;
      peer.send(talk);
      await eventually(() => seen.log.length > before, "a line of the log");
      assert.deepEqual(seen.log.slice(before), [
        ["debug", `#1 skipped between messages: ${told}`],
      ]);
    }
    assert.equal((await peer.ask(DEBIT))["AF"], "04");
    assert.equal(peer.text, text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" }).repeat(4));
    assert.equal(seen.terminal.transactions.length, 4);
    assert.deepEqual(seen.terminal.transactions.flatMap(({ warnings }) => warnings), []);
  },
);

slow("a connection without a byte is told in the log at level debug only", async () => {
  for (const logLevel of ["info", "debug"] as const) {
    await using seen = await recorded({ logLevel });
    const silent = await Promise.all([1, 2, 3].map(() => Peer.connect(seen.port)));
    const lines = (pattern: RegExp): number =>
      seen.log.filter(([level, line]) => level === "debug" && pattern.test(line)).length;
    if (logLevel === "debug") await eventually(() => lines(/ connected /) === 3, "connected");
    silent[0]!.reset();
    await Promise.all(silent.slice(1).map((peer) => peer.finish()));
    await ask(seen.port, DEBIT);
    await eventually(() => named(seen.events, "closed").length === 1, "closed");
    if (logLevel === "debug") await eventually(() => lines(/ closed/) === 4, "four closed");
    assert.equal(named(seen.events, "closed")[0]?.transaction, undefined);
    assert.equal(lines(/./), logLevel === "debug" ? 8 : 0);
    if (logLevel === "info") assert.equal(seen.log.length, 4); // listening, received, outcome, sent
  }
});

slow("the log tells what came, what it means and what is wrong with it", async () => {
  await using seen = await recorded({ outcome: "refused", logLevel: "debug" });
  await ask(seen.port, DEBIT);
  await ask(seen.port, "GET / HTTP/1.1\r\n\r\n");
  await ask(seen.port, "\x16\x03\x01");
  await ask(seen.port, `\x02${DEBIT}\x03`);
  await ask(seen.port, "CZ0040300CA00201XX005\x1b[2J\n");
  const { log } = seen;
  logged(log, "info", /^listening on 127\.0\.0\.1 port \d+, failure mode \(refused\)/);
  logged(log, "debug", /^#1 connected from 127\.0\.0\.1/);
  logged(log, "info", /^#1 received: CZ0040300CJ.*\n.*\n.*\n.*\n.*\n.*\n.*CD 0 +action: debit/);
  logged(log, "info", /^#1 sent: CZ0040300CJ.*AF00204\n[^]*failure: refused/);
  logged(log, "warn", /^#2 malformed at byte 2: .* got "T"; this looks like HTTP/);
  logged(log, "warn", /^#3 malformed at byte 0: .*; this looks like TLS/);
  logged(log, "warn", /^#4 malformed at byte 0: .*; this looks like serial framing \(STX\)/);
  logged(log, "warn", /^#5 expected the mandatory tags CJ, CD$/);
  logged(log, "info", /^#5 received: CZ0040300CA00201XX005\\x1b\[2J\\x0a/);
  for (const [, text] of log) assert.doesNotMatch(text, /[^\P{Cc}\n]/u);
});

slow("every deviation from the protocol is a warning, and refused when strict", async () => {
  const cases: [request: string, code: string, text: string, tag?: string, tolerated?: boolean][] =
    [
      [
        DEBIT.replace("CJ012012345678901", "CJ003012"),
        "size",
        "CJ: expected 12 characters, got 3",
        "CJ",
      ],
      [`${DEBIT}CG003\t12`, "not-ascii", 'CG: expected ASCII, got "\\x0912"', "CG"],
      [
        `CA00201${DEBIT}`.replace("CZ0040300", "") + "\n",
        "order",
        "expected CZ to come first, got CA",
      ],
      [
        `${DEBIT}CB00511245`,
        "repeated-tag",
        "expected a tag at most once, got CB again at byte 63",
        "CB",
      ],
      [`${DEBIT}CF000`, "empty", "CF: expected the field to be left out, got length 000", "CF"],
      [`${DEBIT}AE00210`, "terminal-tag", "AE: expected from the terminal only", "AE"],
      [`${DEBIT}CI0019`, "unknown-value", 'CI: expected a known read mode, got "9"', "CI"],
      [`${DEBIT}XX0011`, "unknown-tag", "XX: expected a tag of the protocol", "XX", true],
      [
        `${DEBIT}CC00300X`,
        "unknown-application",
        'CC: expected a known payment application, got "00X"',
        "CC",
        true,
      ],
      [
        `${DEBIT}BF0011`,
        "partial-payment",
        "BF: expected none, newer Ingenico software fails on it",
        "BF",
        true,
      ],
      [
        `\x02${DEBIT}\x03\x11`,
        "malformed",
        'malformed at byte 0: expected a tag of two letters A-Z, got "\\x02"; this looks like serial framing (STX): over IP a message goes without STX, ETX and LRC',
      ],
    ];
  for (const strict of [false, true]) {
    await using terminal = await terminalWith({ strict, outcome: "abandon" });
    for (const [request, code, text, tag, tolerated] of cases) {
      const { AE, AF } = await askAndClose(terminal.port, request);
      const warnings = terminal.transactions.at(-1)?.warnings;
      assert.deepEqual(warnings?.find((warning) => warning.code === code), {
        code,
        text,
        ...(tag && { tag }),
      });
      const readable = request.startsWith("CZ");
      assert.deepEqual([AE, AF], ["01", (strict && !tolerated) || !readable ? "09" : "11"], text);
    }
    for (const amount of ["112.45", "-1"]) {
      assert.equal((await payAt(terminal.port, { amount, receipt: true })).failure?.code, "11");
      assert.deepEqual(codes(terminal), []);
    }
  }
});

slowTable("strict serves with a warning", {
  "private data of 183 characters, as Viva publishes": [
    `${DEBIT}CF183${"x".repeat(183)}`,
    "private-data",
  ],
  "private data with §, as HiPay sends": [`${DEBIT}CF003a§b`, "private-data"],
  "a tag of a vendor": [`${DEBIT}TI0011`, "unknown-tag"],
  "an amount of one digit": [DEBIT.replace("CB00511245", "CB0015"), "one-digit-amount"],
  "an amount of zero": [DEBIT.replace("CB00511245", "CB00500000"), "zero-amount"],
}, async ([request = "", code = ""]) => {
  await using terminal = await terminalWith({ strict: true });
  assert.equal((await ask(terminal.port, request))["AE"], "10");
  assert.deepEqual(codes(terminal), [code]);
});

slow("a request that is wrong through and through has a bounded list of warnings", async () => {
  await using terminal = await terminalWith({ gap: 5000 }); // it may come in pieces
  await ask(terminal.port, `CZ0040300${"XX000".repeat(13_000)}\n`);
  const warnings = terminal.transactions[0]?.warnings ?? [];
  assert.equal(warnings.length, 22);
  assert.deepEqual(warnings.slice(-2), [
    { code: "more", text: "there may be more that is not listed here" },
    { code: "missing-tags", text: "expected the mandatory tags CJ, CA, CD" },
  ]);
});

slow(
  "fields that come after the answer are told from a request that does not start with CZ",
  async () => {
    await using terminal = await terminalWith({ outcome: "refused", gap: 0 });
    await using peer = await Peer.connect(terminal.port);
    peer.send(DEBIT);
    await peer.until(/AF00204$/);
    peer.send("CF0011");
    await peer.until(/AF00209$/);
    assert.deepEqual(terminal.transactions[1]?.warnings[0], {
      code: "late",
      text: "expected no more fields after the answer",
    });
  },
);
