// SPDX-License-Identifier: GPL-3.0-or-later
// What is explained of logs, dumps and captures, by the library and by the command.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { encodeText as text, VERSION } from "../protocol.ts";
import {
  APPROVAL,
  BASE,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  patience,
  type Ran,
  table,
} from "../test_helpers.ts";
import { explain } from "./decode.ts";

const IDENTIFICATION = "CZ0040300CJ012012345678901CA00201CD001I";
const IDENTIFIED = "CZ0040301CJ012012345678901CA00201CD001IAE00210";

/** An answer of 300 bytes. */
const LONG_ANSWER = `${IDENTIFIED}CF200${"x".repeat(200)}CH043${"y".repeat(43)}`;

/** What xxd prints of a text. */
function xxd(text: string, columns = 16): string {
  return text.match(new RegExp(`.{1,${columns}}`, "gs"))!.map((line, index) => {
    const offset = (index * columns).toString(16).padStart(8, "0");
    const hex = Buffer.from(line, "latin1").toString("hex").replace(/.{4}(?=.)/g, "$& ");
    return `${offset}: ${hex.padEnd(columns * 2.5)} ${line}\n`;
  }).join("");
}

table<[dump: string, ...messages: string[]]>("explain() reads what prints", {
  "xxd": [
    `00000000: 435a 3030 3430 3330 3043 4a30 3132 3031  CZ0040300CJ01201
00000010: 3233 3435 3637 3839 3031 4341 3030 3230  2345678901CA0020
00000020: 3143 4430 3031 49                        1CD001I
`,
    IDENTIFICATION,
  ],
  "xxd -g1 -u, with CR LF": [
    "00000000: 43 5A 30 30 34 30 33 30 30 43 4A 30 31 32 30 31  CZ0040300CJ01201\r\n" +
    "00000010: 32 33 34 35 36 37 38 39 30 31 43 41 30 30 32 30  2345678901CA0020\r\n" +
    "00000020: 31 43 44 30 30 31 49                             1CD001I\r\n",
    IDENTIFICATION,
  ],
  "xxd -p": [
    "435a30303430333030434a30313230313233343536373839303143413030\n323031434430303149\n",
    IDENTIFICATION,
  ],
  "hexdump -C": [
    `00000000  43 5a 30 30 34 30 33 30  30 43 4a 30 31 32 30 31  |CZ0040300CJ01201|
00000010  32 33 34 35 36 37 38 39  30 31 43 41 30 30 32 30  |2345678901CA0020|
00000020  31 43 44 30 30 31 49                              |1CD001I|
00000027
`,
    IDENTIFICATION,
  ],
  "od -A x -t x1z": [
    `000000 43 5a 30 30 34 30 33 30 30 43 4a 30 31 32 30 31  >CZ0040300CJ01201<
000010 32 33 34 35 36 37 38 39 30 31 43 41 30 30 32 30  >2345678901CA0020<
000020 31 43 44 30 30 31 49                             >1CD001I<
000027
`,
    IDENTIFICATION,
  ],
  "od -A x -t x1": [
    "000000 43 5a 30 30 34 30 33 30 30 43 4a 30 31 32 30 31\n000010 32 33\n000012\n",
    "CZ0040300CJ0120123",
  ],
  "od -t x1": [
    `0000000 43 5a 30 30 34 30 33 30 30 43 4a 30 31 32 30 31
0000020 32 33 34 35 36 37 38 39 30 31 43 41 30 30 32 30
0000040 31 43 44 30 30 31 49
0000047
`,
    IDENTIFICATION,
  ],
  "od -A n -t x1": [
    ` 43 5a 30 30 34 30 33 30 30 43 4a 30 31 32 30 31
 32 33 34 35 36 37 38 39 30 31 43 41 30 30 32 30
 31 43 44 30 30 31 49
`,
    IDENTIFICATION,
  ],
  "Wireshark, copied as hex dump": [
    `0000   43 5a 30 30 34 30 33 30 30 43 4a 30 31 32 30 31   CZ0040300CJ01201
0010   32 33 34 35 36 37 38 39 30 31 43 41 30 30 32 30   2345678901CA0020
0020   31 43 44 30 30 31 49                              1CD001I
`,
    IDENTIFICATION,
  ],
  "Wireshark, copied as hex stream": [
    "435a30303430333030434a303132303132333435363738393031434130303230314344303031490a",
    IDENTIFICATION,
  ],
  "Wireshark, a followed stream as hex dump": [
    `00000000  43 5a 30 30 34 30 33 30  30                        CZ004030 0
00000009  43 44 30 30 31 49                                  CD001I
    00000000  43 5a 30 30 34 30 33 30  31 41 45 30 30 32 31 30   CZ004030 1AE00210
    00000010  0d 0a                                              ..
`,
    "CZ0040300CD001I",
    "CZ0040301AE00210",
  ],
  "Wireshark, two exchanges": [
    `00000000  43 5a 30 30 34 30 33 30  30                        CZ004030 0
    00000000  43 5a 30 30 34 30 33 30  31 41 45 30 30 32 31 30   CZ004030 1AE00210
00000009  43 5a 30 30 34 30 33 30  30                        CZ004030 0
    00000010  43 5a 30 30 34 30 33 30  31 41 45 30 30 32 30 31   CZ004030 1AE00201
`,
    "CZ0040300",
    "CZ0040301AE00210",
    "CZ0040300",
    "CZ0040301AE00201",
  ],
  "xxd, of 300 bytes": [xxd(LONG_ANSWER), LONG_ANSWER],
  "xxd -c 24": [xxd(LONG_ANSWER, 24), LONG_ANSWER],
  "xxd -c 40, one line": [xxd(IDENTIFICATION, 40), IDENTIFICATION],
  "a text that looks like hex digits": [xxd("CZ0040300CF0040011"), "CZ0040300CF0040011"],
  "lines that look like those of a dump": [
    `20261125  09 41\nrecu ${IDENTIFICATION}\n1234  56\n`,
    IDENTIFICATION,
  ],
  "hex digits by chance": ["CC00300B", "CC00300B"],
  "nothing of the kind": [
    "0001 CZ0040300AE00210\n2026 AE00210\nabc\n0: 41 42\n4142434\n",
    "CZ0040300AE00210",
  ],
}, ([dump, ...messages]) => assert.deepEqual(explain(dump).map(({ raw }) => raw), messages));

/** An identification on a connection of its own, as tcpdump -X prints it; less of its addresses. */
const TCPDUMP = String
  .raw`02:47:24.650137 IP 127.0.0.1.39464 > 127.0.0.1.8888: Flags [.], ack 1, length 0
	0x0000:  4500 0034 4b59 4000 4006 f168 7f00 0001  E..4KY@.@..h....
	0x0010:  7f00 0001 9a28 7081 1f0a 8737 7322 d537  .....(p....7s".7
	0x0020:  8010 0040 fe28 0000 0101 080a 3da0 1b6d  ...@.(......=..m
	0x0030:  b982 cba2                                ....
02:47:24.663169 IP 127.0.0.1.39464 > 127.0.0.1.8888: Flags [P.], seq 1:40, ack 1, length 39
	0x0000:  4500 005b 4b5a 4000 4006 f140 7f00 0001  E..[KZ@.@..@....
	0x0010:  7f00 0001 9a28 7081 1f0a 8737 7322 d537  .....(p....7s".7
	0x0020:  8018 0040 fe4f 0000 0101 080a 3da0 1b7a  ...@.O......=..z
	0x0030:  b982 cba2 435a 3030 3430 3330 3043 4a30  ....CZ0040300CJ0
	0x0040:  3132 3031 3233 3435 3637 3839 3031 4341  12012345678901CA
	0x0050:  3030 3230 3143 4430 3031 49              00201CD001I
02:47:24.686042 IP 127.0.0.1.8888 > 127.0.0.1.39464: Flags [P.], seq 1:47, ack 40, length 46
	0x0000:  4500 0062 f80f 4000 4006 4484 7f00 0001  E..b..@.@.D.....
	0x0010:  7f00 0001 7081 9a28 7322 d537 1f0a 875e  ....p..(s".7...^
	0x0020:  8018 0040 fe56 0000 0101 080a b982 cbc6  ...@.V..........
	0x0030:  3da0 1b7a 435a 3030 3430 3330 3143 4a30  =..zCZ0040301CJ0
	0x0040:  3132 3031 3233 3435 3637 3839 3031 4341  12012345678901CA
	0x0050:  3030 3230 3143 4430 3031 4941 4530 3032  00201CD001IAE002
	0x0060:  3130                                     10
`;

test("explain() finds the messages in the packets of tcpdump -X", () => {
  const found = explain(TCPDUMP);
  assert.deepEqual(found.map(({ kind, raw }) => [kind, raw]), [
    ["request", IDENTIFICATION],
    ["answer", IDENTIFIED],
  ]);
  for (const { before, after } of found) {
    assert.match(before ?? "", /^E\0\0[^]{49}$/); // the headers of IP and TCP
    assert.equal(after, undefined);
  }
  assert.deepEqual(found[1]?.verdict, { status: "approved" });
});

/** What tcpdump -X prints of a packet of TCP that carries a text, to the terminal or from it. */
function packet(
  isAsked: boolean,
  sent: string,
  { seq = 1, till = 40_000, link = "", padding = "", isIpv6 = false } = {},
): string {
  const [source, destination] = isAsked ? [till, 8888] : [8888, till];
  const head = isIpv6
    ? Buffer.from(`6000000000000640${"0".repeat(31)}1${"0".repeat(31)}1`, "hex")
    : Buffer.from("4500000000004000400600007f0000017f000001", "hex");
  head.writeUInt16BE((isIpv6 ? 20 : 40) + sent.length, isIpv6 ? 4 : 2);
  const tcp = Buffer.from("0000000000000000000000005018020000000000", "hex");
  tcp.writeUInt16BE(source, 0);
  tcp.writeUInt16BE(destination, 2);
  tcp.writeUInt32BE(seq, 4);
  const lines = xxd(link + head.toString("latin1") + tcp.toString("latin1") + sent + padding)
    .replace(/^0000(....):(.*) {2}.*$/gm, "\t0x$1: $2");
  return `12:01 IP 127.0.0.1.${source} > 127.0.0.1.${destination}: Flags [P.]\n${lines}`;
}

const [FIRST, REST] = [IDENTIFIED.slice(0, -7), IDENTIFIED.slice(-7)];
const IN_VALUE = IDENTIFIED.slice(0, 20);
const ETHERNET = "\0".repeat(12) + "\x08\0";

table<[dump: string, ...messages: string[]]>("explain() puts together what was sent in packets", {
  "an answer": [
    packet(true, IDENTIFICATION) + packet(false, FIRST) + packet(true, "") +
    packet(false, REST, { seq: 40 }),
    IDENTIFICATION,
    IDENTIFIED,
  ],
  "a request, cut in a value": [
    packet(true, IDENTIFICATION.slice(0, 20)) +
    packet(true, IDENTIFICATION.slice(20), { seq: 21 }) + packet(false, IDENTIFIED),
    IDENTIFICATION,
    IDENTIFIED,
  ],
  "one that was sent again": [
    packet(false, FIRST) + packet(false, REST, { seq: 40 }) + packet(false, REST, { seq: 40 }),
    IDENTIFIED,
  ],
  "two connections": [
    packet(false, FIRST) + packet(false, IN_VALUE, { till: 5 }) + packet(false, REST) +
    packet(false, IDENTIFIED.slice(20), { till: 5 }),
    IDENTIFIED,
    IDENTIFIED,
  ],
  "with the head and the padding of Ethernet": [
    packet(false, FIRST, { link: ETHERNET, padding: "\0\0" }) +
    packet(false, REST, { link: ETHERNET, padding: "\0\0" }),
    IDENTIFIED,
  ],
  "with IPv6": [
    packet(false, FIRST, { isIpv6: true, padding: "xx" }) + packet(false, REST, { isIpv6: true }),
    IDENTIFIED,
  ],
  "a followed stream": [
    `00000000  43 5a 30 30 34 30 33 30  30                        CZ004030 0
    00000000  43 5a 30 30 34 30 33 30  31                        CZ004030 1
00000009  06                                                 .
    00000009  41 45 30 30 32 31 30                               AE00210
`,
    "CZ0040300",
    "CZ0040301AE00210",
  ],
}, ([dump, ...messages]) => {
  const found = explain(dump);
  assert.deepEqual(found.map(({ raw }) => raw), messages);
  assert.ok(found.every(({ error }) => error === undefined));
});

test("explain() shows a packet that has only the rest of a message", () => {
  const found = explain(packet(true, IDENTIFICATION) + packet(false, REST));
  assert.deepEqual(found.map(({ kind, raw, error }) => [kind, raw, error]), [
    ["request", IDENTIFICATION, undefined],
    [
      "malformed",
      REST,
      "at byte 7: expected a message that begins with CZ, got the rest of one",
    ],
  ]);
});

table<[log: string, ...found: [raw: string, before?: string, after?: string][]]>(
  "explain() finds the messages in",
  {
    "a log": [
      `09:41 received: ${DEBIT}\r\n09:42 sent: ${APPROVAL} (3 ms)\n`,
      [DEBIT, "09:41 received: "],
      [APPROVAL, "\r\n09:42 sent: ", " (3 ms)\n"],
    ],
    "JSON": [
      `{"raw":"${text({ CZ: "0300", CF: 'a"\n\x07é' })}","more":1}`
        .replace('a"\n\x07', 'a\\"\\n\\u0007'),
      [text({ CZ: "0300", CF: 'a"\n\x07é' }), '{"raw":"', '","more":1}'],
    ],
    "a log of this project": [
      "received: CZ0040300CF003\\x07\\x9faCD001I",
      ["CZ0040300CF003\x07\x9faCD001I", "received: "],
    ],
    "what looks like an escape": ["CZ0040300CF004\\x07CD001I", ["CZ0040300CF004\\x07CD001I"]],
    "an escaped line end": [`${DEBIT}\\x0d\\x0a`, [DEBIT]],
    "escapes of C": ["\\x43\\x5a\\x30\\x30\\x34\\x30\\x33\\x30\\x30", ["CZ0040300"]],
    "bytes of UTF-8 that were counted": ["CZ0040300CF002éCD001I", ["CZ0040300CF002Ã©CD001I"]],
    "characters of Latin-1": ["CZ0040300CF001éCD001I", ["CZ0040300CF001éCD001I"]],
    "one line": [DEBIT + APPROVAL, [DEBIT], [APPROVAL]],
    "what looks like STX": [`\x02${DEBIT}`, [DEBIT, "\x02"]],
    "a message in a value": ["CZ0040300CF009CZ0040300 x", ["CZ0040300CF009CZ0040300", "", " x"]],
    "a message without CZ": ["CD001I\n", ["CD001I"]],
    "lines with and without escapes": [
      "CZ0040300CF003\\x07ab\nCZ0040300CF004\\x41\n",
      ["CZ0040300CF003\x07ab"],
      ["CZ0040300CF004\\x41"],
    ],
    "a receipt of several lines": [
      "CZ0040300AE00210ZT022CK003100AK009REVC\nSVQ=\n 3 ms\n",
      ["CZ0040300AE00210ZT022CK003100AK009REVC\nSVQ=", "", "\n 3 ms\n"],
    ],
    "a value of several lines": ["CZ0040300CF003a\nbCD001I\n", ["CZ0040300CF003a\nbCD001I"]],
    "many messages in values": ["CF009CZ0040300".repeat(9000).replace(/^/, "CZ0040300"), [
      `CZ0040300${"CF009CZ0040300".repeat(9000)}`,
    ]],
  },
  ([log, ...found]) => {
    const got = explain(log).map(({ raw, before = "", after = "", error }) => {
      assert.equal(error, undefined);
      return [raw, before, after];
    });
    assert.deepEqual(got, found.map(([raw, before = "", after = ""]) => [raw, before, after]));
  },
);

table<[text: string, ...errors: (RegExp | undefined)[]]>("explain() says what is no message in", {
  "nothing": ["", /^at byte 0: expected a message, got nothing$/],
  "blanks": [" \n", /^at byte 0: expected a message, got nothing$/],
  "HTTP": ["GET / HTTP/1.1\r\n", /this looks like HTTP/],
  "a cut answer": [
    `a ${APPROVAL.slice(0, -2)}`,
    /^at byte \d+: expected 6 characters for AC, got 4/,
  ],
  "a cut answer, and another": [
    `${APPROVAL.slice(0, -2)}\n${DEBIT}\n`,
    /expected 6 characters for AC, got 4/,
    undefined,
  ],
  "a wrong length": [
    "CZ0040300CA00301CD001I",
    /^at byte 18: expected .* perhaps the length of CA before it, 003, is too long$/,
  ],
  "a blank in a length": ["CZ0040300CA0 201", /^at byte 12: expected the length of CA .* got " "/],
  "characters counted in UTF-8": ["CZ0040300CF001€CD001I", /a CF in UTF-8 whose length counts/],
  "a cut line": [`${IDENTIFIED}CG00642424\n`, /^at byte 56: expected 6 characters for CG, got 5$/],
  "a cut line, and another": [
    `${IDENTIFIED}CG00842424\n09 41\n${DEBIT}`,
    /^at byte 56: expected 8 characters for CG, got 5$/,
    undefined,
  ],
  "a cut line, escaped": [
    `"${IDENTIFIED}CG00642424\\r\\n"`,
    /^at byte 57: expected a tag of two letters A-Z, got "r"/,
  ],
  "many cut messages": [
    "CZ0040300A".repeat(2000),
    ...Array.from({ length: 2000 }, () => /expected the second letter of the tag after "A"/),
  ],
  "many cut messages in values": [
    "CZ0040300CF005CZ004AB0".repeat(2000),
    ...Array.from({ length: 4000 }, () => /expected 5 .* CF, got 0|expected 4 .* CZ, got 3/),
  ],
  "messages in values that end in none": [
    `CZ0040300${"CF009CZ0040300".repeat(2000)}CF0!`,
    ...Array.from({ length: 2001 }, () => /expected/),
  ],
  "a cut begin of many": ["CZ0".repeat(9000), /expected the length of CZ in three digits/],
  "a dump with lines left out": [
    xxd(LONG_ANSWER).replace(/^00000070.*\n00000080.*/m, "*"),
    /^at byte 112: expected the next line of the dump, got the offset 00000090$/,
  ],
  "a dump whose last lines are left out": [
    `${xxd(LONG_ANSWER).slice(0, 69 * 3)}*\n0000012c\n`,
    /^at byte 48: expected the next line of the dump, got the offset 0000012c$/,
  ],
  "a dump of words": [
    "0000000 5a43 3030 3034 3033 4330 3044 3130 0049\n000000f\n",
    /: expected bytes, got words with their bytes swapped; hint: hexdump -C$/,
  ],
  "a dump": ["435a30303430", /^at byte 6: expected 4 characters for CZ, got 1$/],
}, ([log, ...errors]) => {
  const found = explain(log);
  assert.equal(found.length, errors.length);
  for (const [index, expected] of errors.entries()) {
    const { kind, error, warnings, verdict } = found[index]!;
    if (expected) assert.match(error ?? "", expected);
    else assert.equal(error, undefined);
    if (expected) assert.deepEqual([kind, warnings, verdict], ["malformed", [], undefined]);
  }
});

table<string>("explain() shows a message of a serial line, and says that it is one", {
  "as it is": `\x02${DEBIT}\x03a`,
  "escaped, in a log": `12:01 sent \\x02${DEBIT}\\x03a`,
  "a dump": xxd(`\x06\x02${DEBIT}\x03A`),
}, (log) => {
  const [found, ...others] = explain(log);
  const { kind, raw, message, error, before = "", after } = found!;
  assert.deepEqual([kind, raw, message, others], ["malformed", DEBIT, DEBIT_MESSAGE, []]);
  const hint =
    "this looks like serial framing (STX): over IP a message goes without STX, ETX and LRC";
  assert.equal(error, `expected a tag of two letters A-Z, got "\\x02"; ${hint}`);
  assert.ok(before.endsWith("\x02") && /^\p{Cc}a$/iu.test(after ?? ""));
});

test("explain() tells the deviations of a request, and what an answer means for it", () => {
  const receipt = "CK003100AK008REVCSVQ=";
  const answers = [
    { ...DEBIT_MESSAGE, AE: "11", CC: "001" },
    { ...DEBIT_MESSAGE, AE: "10", ZT: receipt, CB: "011245" },
    { ...DEBIT_MESSAGE, AE: "10", ZT: "x", CE: "840" },
    { AE: "01", AF: "904148HOLDER INVALID" },
  ].map((answer) => text({ CZ: "0320", ...answer }));
  const [request, accepted, approved, misfit, declined, twice] = explain(
    [text({ ...DEBIT_MESSAGE, CA: "1" }), ...answers, `${DEBIT}AE00201AE00201`].join("\n")
      .replaceAll("CA00201", "CA0011"),
  );
  assert.deepEqual(request?.warnings, [
    { code: "size", text: "CA: expected 2 characters, got 1", tag: "CA" },
  ]);
  assert.equal(request?.verdict, undefined);
  assert.deepEqual(accepted?.verdict, { status: "accepted" });
  assert.deepEqual([approved?.verdict, approved?.warnings], [{ status: "approved" }, []]);
  assert.deepEqual(approved?.receipts, [{ copy: "customer", format: "text", text: "DEBIT" }]);
  assert.deepEqual(misfit?.verdict, {
    status: "invalid",
    error: 'expected CE to be "978" as in the request, got "840"',
  });
  assert.deepEqual(misfit?.warnings.map(({ code }) => code), ["receipt"]);
  assert.ok(declined?.verdict?.status === "declined");
  assert.equal(declined.verdict.failure.label, "undocumented reason");
  assert.deepEqual(twice?.verdict, { status: "invalid", error: "tag AE is there twice" });
  // Without the request an answer is judged alone.
  assert.deepEqual(explain(answers[2]!)[0]?.verdict, { status: "approved" });
});

// ---------------------------------------------------------------- the command

/** The command, with these arguments and this on its stdin. */
async function decode(args: string[], input: string | Uint8Array = ""): Promise<Ran> {
  const deno = "deno" in process.versions ? ["run", "--no-prompt"] : [];
  const script = fileURLToPath(new URL("decode.ts", import.meta.url));
  await using command = new Command([...deno, script, ...args]);
  command.process.stdin!.end(input);
  return await command.ran();
}

test("decode.ts explains a message, of an argument or of stdin", patience, async () => {
  const answer = text({ ...BASE, CD: "0", CB: "500", CE: "978", AE: "01", AF: "04" });
  const explained = `answer, length 69
    0  CZ 0300                     protocol version
    9  CJ 012345678901             protocol identifier
   26  CA 01                       cash register number
   33  CD 0                        action: debit (débit)
   39  CB 500                      amount in minor units: 5.00 EUR
   47  CE 978                      currency, ISO 4217 numeric
   55  AE 01                       status: not done (non effectuée)
   62  AF 04                       failure: refused (refusée)
  means: declined, refused (refusée), AF 04
`;
  const latin1 = Uint8Array.from("CZ0040300CF001\xe9CD001I", (char) => char.charCodeAt(0));
  const [argument, log, bytes, json, none, nothing, code, tag, unknown, ...others] = await Promise
    .all([
      decode([answer]),
      decode(["-"], `é: ${DEBIT}\né: ${answer}\n`),
      decode(["-"], latin1),
      decode(["-", "--json"], `${DEBIT}AE00210`),
      decode(["CZ0040300CB003112x"]),
      decode(["--json", "-"]),
      decode(["AF11"]),
      decode(["AE", "--json"]),
      decode(["CC 99"]),
      ...["OK", "ae", "AF99", "CA00", "AF \n"].map((text) => decode([text])),
      ...["OK\n", "AF\n", "AF 04"].map((text) => decode(["-"], text)),
    ]);
  assert.equal(others.length, 8);
  for (const { status, stdout, stderr } of others) {
    assert.deepEqual([status, stderr], [5, ""]);
    assert.match(stdout, /^malformed at byte \d+: expected /);
  }
  assert.deepEqual(code, {
    status: 0,
    stdout:
      "  AF 11                       failure: abandoned by the operator (abandon opérateur)\n",
    stderr: "",
  });
  assert.equal(tag.status, 0);
  assert.deepEqual(JSON.parse(tag.stdout).terms[1], {
    tag: "AE",
    value: "10",
    label: "done",
    french: "effectuée",
  });
  assert.equal(unknown.status, 2);
  assert.match(
    unknown.stderr,
    /^decode\.ts: expected for CC one of 000, 001, .* got "99" \(--help lists the options\)\n$/,
  );
  assert.deepEqual(argument, { status: 0, stdout: explained, stderr: "" });
  assert.equal(log.status, 0);
  assert.match(
    log.stdout,
    /^skipped "é: ", length 3\nrequest, length 63\n[^]* CB 11245 .*: 112\.45 EUR\n\n/,
  );
  assert.ok(log.stdout.endsWith(`\n\nskipped "\\x0aé: ", length 4\n${explained}`), log.stdout);
  assert.match(
    bytes.stdout,
    / CF é +private data\n[^]*\n {2}deviates: CF: expected ASCII, got "é"\n/,
  );
  const { messages: [message] } = JSON.parse(json.stdout);
  assert.deepEqual([json.status, message.kind, message.verdict], [0, "answer", {
    status: "approved",
  }]);
  assert.deepEqual(message.fields[1], { tag: "CJ", value: "012345678901", at: 9 });
  assert.deepEqual(none, {
    status: 5,
    stdout:
      `malformed at byte 17: expected a tag of two letters A-Z, got "x"; perhaps the length of CB before it, 003, is too short
    0  CZ 0300                     protocol version
    9  CB 112                      amount in minor units
skipped "x", length 1
`,
    stderr: "",
  });
  assert.equal(nothing.status, 5);
  assert.equal(
    JSON.parse(nothing.stdout).messages[0].error,
    "at byte 0: expected a message, got nothing",
  );
});

test("decode.ts --help, --version, and what is wrong with its arguments", patience, async () => {
  const [help, version, none, two, unknown] = await Promise.all([
    decode(["--help"]),
    decode(["--version"]),
    decode([]),
    decode(["CZ", "CJ"]),
    decode(["--jsom", "CZ"]),
  ]);
  assert.deepEqual([help.status, help.stderr], [0, ""]);
  for (const line of help.stdout.split("\n")) assert.ok(line.length <= 80, line);
  assert.match(help.stdout, /usage: decode\.ts [^]* --json [^]* --help [^]* --version /);
  assert.deepEqual(version, { status: 0, stdout: `${VERSION}\n`, stderr: "" });
  for (const { status, stdout } of [none, two, unknown]) {
    assert.deepEqual([status, stdout], [2, ""]);
  }
  assert.match(none.stderr, /^decode\.ts: expected one TEXT to explain, .* got none \(--help/);
  assert.match(two.stderr, /^decode\.ts: expected one TEXT to explain, .* got 2 \(--help/);
  assert.match(unknown.stderr, /^decode\.ts: Unknown option '--jsom'.*; did you mean --json\?/);
});
