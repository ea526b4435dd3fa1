// SPDX-License-Identifier: GPL-3.0-or-later
// The point of sale against terminals, simulated and otherwise, and as a command.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  exchange,
  type ExchangeError,
  type ExchangeOptions,
  explain,
  pay,
  type PaymentOptions,
  probe,
  type Probed,
  type ProbeOptions,
  probeTable,
  readArguments,
} from "./client.ts";
import { decode, encodeText as text, movesMoney, ProtocolError, VERSION } from "./protocol.ts";
import type { OutcomeText, TerminalEvent } from "./server.ts";
import {
  answering,
  APPROVAL,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  failed,
  hasCurrencies,
  listening,
  needsCurrencies,
  patience,
  payAt,
  type Peer,
  program,
  run,
  sideBySide,
  slow,
  table,
  terminalWith,
} from "./test_helpers.ts";

const DECLINE = text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });

/** What a client in this process has done so far, seen from inside. */
interface Client {
  /** Each text that it has written. */
  written: string[];
  /** When, on the clock of performance.now(). */
  writtenAt: number[];
  /** What it has been given to read. */
  read: string;
}

const watchers = new Map<unknown, (socket: net.Socket) => void>(); // by the port that is connected to
const { connect } = net;
Object.assign(net, {
  connect(...args: [options: net.NetConnectOpts]): net.Socket {
    const socket = connect(...args); // a port and a host too
    const [options] = args;
    if (typeof options === "object" && "port" in options) watchers.get(options.port)?.(socket);
    return socket;
  },
});
after(() => void Object.assign(net, { connect })); // in Bun other suites run in this process

/**
 * The clients of a port from now on, for what their sockets do not tell the other side: how it was
 * cut, and what of the other side's they have read. One that `isLate` learns that it is connected
 * when there is something to read: then that came first, however busy the machine is. And `replyTo`
 * gives what comes at once after what was written.
 */
function clientsOf(
  port: number,
  { isLate = false, replyTo }: { isLate?: boolean; replyTo?: (sent: string) => string } = {},
): Client[] {
  const clients: Client[] = [];
  watchers.set(port, (socket) => {
    const client: Client = { written: [], writtenAt: [], read: "" };
    clients.push(client);
    const { emit, write } = socket;
    socket.write = ((...args: Parameters<typeof write>) => {
      const [sent] = args.map(String);
      client.written.push(sent!);
      client.writtenAt.push(performance.now());
      const result = write.apply(socket, args);
      const reply = replyTo?.(sent!);
      if (reply) socket.emit("data", reply);
      return result;
    }) as typeof write;
    socket.emit = ((name: string, ...args: unknown[]): boolean => {
      const goOn = (): boolean => Reflect.apply(emit, socket, [name, ...args]);
      if (name === "connect" && isLate) {
        eventually(() => socket.readableLength > 0, "something to read").then(goOn, goOn);
        return true;
      }
      const result = goOn();
      if (name === "data") client.read += args[0];
      return result;
    }) as typeof emit;
  });
  return clients;
}

// ---------------------------------------------------------------- a payment

sideBySide();

slow("pay() is approved, declined or accepted, and tells what was asked and answered", async () => {
  await using approving = await terminalWith();
  const approved = await payAt(approving.port);
  assert.equal(approved.status, "approved");
  assert.deepEqual(approved.request, DEBIT_MESSAGE);
  assert.deepEqual([approved.answer["CC"], approved.amount, approved.currency], [
    "001",
    "112.45",
    "EUR",
  ]);
  assert.equal("failure" in approved, false);
  assert.ok(approved.milliseconds >= 0);

  const accepted = await payAt(approving.port, { immediate: true });
  assert.deepEqual([accepted.status, accepted.request["BA"]], ["accepted", "1"]);

  await using refusing = await terminalWith({ outcome: "refused" });
  const { status, failure, amount } = await payAt(refusing.port);
  assert.deepEqual([status, failure, amount], [
    "declined",
    { code: "04", label: "refused", french: "refusée", detail: "" },
    "112.45",
  ]);
});

slow("pay() sends the tags of the reference client, in its order", async () => {
  await using terminal = await terminalWith();
  const base = "CZ0040300CJ012012345678901CA00201";
  const cases: [options: PaymentOptions, request: string][] = [
    [{}, DEBIT],
    [{ amount: "-10" }, `${base}CE003978BA0010CD0011CB0041000`],
    [{ amount: "10", action: "credit" }, `${base}CE003978BA0010CD0011CB0041000`],
    [{ check: true }, `${base}CE003978BA0010CD0010CC00300CCB00511245`],
    [{ amount: "0.05" }, `${base}CE003978BA0010CD0010CB00205`],
    [{ immediate: true }, `${base}CE003978BA0011CD0010CB00511245`],
    [{ action: "cancel" }, `${base}CE003978BA0010CD0012CB00511245`],
    [{ action: "7" }, `${base}CE003978BA0010CD0017CB00511245`],
    [{ currency: "933:2" }, `${base}CE003933BA0010CD0010CB00511245`],
    [{ currency: "392:0", amount: "500" }, `${base}CE003392BA0010CD0010CB003500`],
    [{ tags: { CF: "é", BA: "" } }, `${base}CE003978CD0010CB00511245CF001é`],
  ];
  for (const [options, request] of cases) {
    const result = await payAt(terminal.port, options);
    assert.equal(text(result.request), request);
    assert.notEqual(result.status, "declined");
  }
  const moneyless = [["identify", "I"], ["duplicate", "3", "112.45"], ["b", "B"]] as const;
  for (const [action, letter, amount] of moneyless) {
    const result = await pay({ host: "127.0.0.1", port: terminal.port, action });
    assert.equal(text(result.request), `${base}CD001${letter}`);
    assert.deepEqual([result.status, result.amount], ["approved", amount]);
  }
});

slow("pay() sends nothing when an option is not as it must be", async () => {
  const events: TerminalEvent[] = [];
  await using terminal = await terminalWith({ onEvent: (event) => void events.push(event) });
  const cases: [options: PaymentOptions, expected: RegExp][] = [
    [{ amount: "0" }, /^amount: expected an amount other than zero, got "0"$/],
    [{ amount: "-0.00" }, /^amount: expected an amount other than zero/],
    [{ amount: "1.005" }, /^amount: expected at most 2 decimals, got "1.005"$/],
    [{ amount: "10000000000" }, /^amount: expected at most 12 digits/],
    [
      { amount: "-10", action: "debit" },
      /^amount: expected no sign with an action other than credit/,
    ],
    [{ amount: 10 as unknown as string }, /^amount: expected text such as "112.45", got 10$/],
    [{ amount: "10", action: "identify" }, /^amount: expected none with an action without money/],
    [{ action: "refund" }, /^action: expected one of debit, credit, .* got "refund"$/],
    [
      { currency: "EURO" },
      /^currency: expected three letters of ISO 4217, or .* 933:2, got "EURO"$/,
    ],
    [{ port: 0 }, /^port: expected a whole number from 1 to 65535, got 0$/],
    [{ timeout: 0 }, /^timeout: expected/],
    [{ tags: { cf: "1" } }, /tag "cf": expected two letters A-Z/],
    [{ tags: { CF: "€" } }, /tag CF: expected characters of Latin-1/],
    [{ tags: JSON.parse('{"__proto__":"x"}') }, /tag "__proto__": expected two letters A-Z/],
    [
      { tags: { CZ: "", CJ: "", CA: "", CE: "", BA: "", CD: "", CB: "" } },
      /^expected a request, got no tag$/,
    ],
  ];
  for (const [options, message] of cases) {
    await assert.rejects(payAt(terminal.port, options), { message });
  }
  const { amount: _, ...noAmount }: PaymentOptions = { amount: "1", port: terminal.port };
  await assert.rejects(pay(noAmount), /^OptionError: amount: expected an amount such as 112.45/);
  assert.deepEqual(events.map(({ event }) => event), ["listening"]);
});

slow(
  "pay() reads an answer split anywhere, with line ends around it, and padded with zeros",
  async () => {
    const outcomes = ["split", "dribble", "success,CB=000000011245", "abandon,split"] as const;
    await Promise.all(outcomes.map(async (outcome) => {
      await using terminal = await terminalWith({ outcome });
      const { status } = await payAt(terminal.port, { gap: 2_000 });
      assert.equal(status, outcome.startsWith("abandon") ? "declined" : "approved", outcome);
    }));
    for (const pieces of [["\r\n", `${APPROVAL}\n`], [`${APPROVAL}\r\n`], [`\r${APPROVAL}\n\n`]]) {
      await using terminal = await answering(...pieces);
      assert.equal(
        (await payAt(terminal.port, { gap: 10_000 })).status,
        "approved",
        pieces.join("|"),
      );
    }
    await using closing = await terminalWith({ outcome: "hangup" });
    assert.equal((await payAt(closing.port, { gap: 10_000 })).status, "approved");
  },
);

slow("pay() waits longer for the rest of an answer that does not fit yet", async () => {
  const cases = [
    ["CZ0040300AE00210", "CA00201CE003978CD0010CB00511245", "approved"],
    ["CZ0040300AE00201", "AF00204CA00201", "declined"],
  ] as const;
  await Promise.all(cases.map(async ([first, rest, expected]) => {
    await using terminal = await listening(async (peer) => {
      await peer.until(/11245/);
      peer.send(first);
      await sleep(500);
      peer.send(rest);
    });
    const { status, answer } = await payAt(terminal.port, { gap: 400 }); // 4 s for the rest
    assert.deepEqual([status, text(answer)], [expected, first + rest]);
  }));
});

slow("pay() is not misled by an AE 11 that comes in parts", async () => {
  await using terminal = await answering(
    "CZ0040300AE00211",
    "CA00201CE003978CD0010CB00511245",
    APPROVAL,
  );
  assert.equal((await payAt(terminal.port, { gap: 5 })).status, "approved");
});

slow("pay() gives up on an answer that does not fit yet when the time is up", async () => {
  await using terminal = await answering("CZ0040300AE00210");
  const paid = payAt(terminal.port, { timeout: 3, gap: 10_000 });
  await assert.rejects(paid, failed("unanswered", /after a part of an answer, "CZ0040300AE00210"/));
});

slow(
  "pay() takes a whole answer though the connection breaks or the time is up after it",
  async () => {
    await using breaking = await listening(async (peer) => {
      await peer.until(/11245/);
      peer.send(APPROVAL);
      await sleep(2_000); // what is not read by then is lost
      peer.reset();
    });
    assert.equal((await payAt(breaking.port, { gap: 10_000 })).status, "approved");
    await using open = await terminalWith({ outcome: "refused" });
    const { status, failure } = await payAt(open.port, { gap: 10_000, timeout: 3 });
    assert.deepEqual([status, failure?.code], ["declined", "04"]);
  },
);

slow("pay() takes the first of two answers, and leaves no timer behind", async () => {
  const told: string[] = [];
  await using terminal = await answering(`${APPROVAL}\n${DEBIT}AE00201AF00204`);
  const result = await payAt(terminal.port, {
    gap: 50,
    onMessage: (direction) => told.push(direction),
  });
  assert.equal(result.status, "approved");
  await sleep(100);
  assert.deepEqual(told, ["sent", "received"]);
});

slow(
  "pay() waits after AE 11 for the final answer, unless it asked for an answer at once",
  async () => {
    await using terminal = await terminalWith({ outcome: "refused,pending,delay=0.3" });
    const { status, milliseconds } = await payAt(terminal.port);
    assert.equal(status, "declined");
    assert.ok(milliseconds >= 290, `${milliseconds} ms`);
    terminal.nextOutcome("pending,delay=0", "AE=10");
    assert.equal((await payAt(terminal.port)).status, "approved");
    assert.equal((await payAt(terminal.port, { immediate: true })).status, "accepted");
    terminal.nextOutcome("pending,close,delay=0.2");
    await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
      assert.equal(error.answer?.["AE"], "11");
      return failed("unanswered", /closed the connection after AE 11; .*check it on/)(error);
    });
  },
);

slow("pay() tells a payment in part when the POS allowed it", async () => {
  await using terminal = await terminalWith({ outcome: "success,CB=00500" });
  const result = await payAt(terminal.port, { tags: { BF: "1" } });
  assert.deepEqual([result.status, result.amount, result.asked], ["approved", "5.00", "112.45"]);
});

slow("pay() says when no terminal can be reached", async () => {
  const terminal = await terminalWith();
  await terminal.close();
  await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
    assert.deepEqual(error.request, DEBIT_MESSAGE);
    return failed(
      "unreachable",
      /^cannot reach the terminal at 127\.0\.0\.1 port \d+: nothing listens there; check its address/,
    )(error);
  });
  const nowhere = payAt(8888, { host: "nohost.invalid" });
  await assert.rejects(nowhere, failed("unreachable", /nohost\.invalid port 8888: /));
});

slow("pay() says that the payment may have gone through when no whole answer comes", async () => {
  const cases: [outcome: OutcomeText, expected: RegExp][] = [
    ["silent", /^no answer from 127\.0\.0\.1 port \d+ within 2\.5 s; the payment may/],
    ["success,AE=,CC=", /within 2\.5 s after a part of an answer, "CZ0040300CJ/],
    ["close", /closed the connection without an answer; /],
    ["truncate", /closed the connection after a part of an answer, "CZ0040300CJ.*CG00642424"; /],
    ["reset", /^the connection was lost \(ECONNRESET\); /],
  ];
  await Promise.all(cases.map(async ([outcome, expected]) => {
    await using terminal = await terminalWith({ outcome });
    await assert.rejects(payAt(terminal.port, { timeout: 2.5 }), failed("unanswered", expected));
  }));
});

slow("pay() says what is not usable about an answer", async () => {
  const rejected = (port: number, expected: RegExp) =>
    assert.rejects(payAt(port, { gap: 10 }), failed("invalid", expected));
  for (
    const [outcome, expected] of [
      ["garbage", /at byte 0: expected a tag of two letters A-Z, got "\\x00"/],
      ["success,CE=840", /expected CE to be "978" as in the request, got "840"/],
      ["success,CB=11246", /expected CB to be "11245"/],
      ["success,AE=99", /expected the status AE to be 01, 10, 11, got "99"/],
    ] as const
  ) {
    await using terminal = await terminalWith({ outcome });
    await rejected(terminal.port, expected);
  }
  for (
    const [answer, expected] of [
      ["HTTP/1.1 400 Bad Request\r\n\r\n", /this looks like HTTP/],
      [`${APPROVAL}AE00201`, /tag AE is there twice/],
      [`${DEBIT}\r\n`, /got none/],
    ] as const
  ) {
    await using terminal = await answering(answer);
    await rejected(terminal.port, expected);
  }
});

slow("a signal gives up on a payment, and the error says whether it was sent", async () => {
  await using terminal = await terminalWith({ duration: 60 });
  const sent = new AbortController();
  const options = { signal: sent.signal, onMessage: () => sent.abort("enough") };
  await assert.rejects(payAt(terminal.port, options), (error: ExchangeError) => {
    assert.equal(error.cause, "enough");
    return failed("unanswered", /^given up; /)(error);
  });
  const never = payAt(terminal.port, { signal: AbortSignal.abort() });
  await assert.rejects(never, failed("unreachable", /port \d+: given up$/));
});

slow("exchange() sends any request and gives the answer whatever it says", async () => {
  await using terminal = await terminalWith({ outcome: "forbidden" });
  const where = { host: "127.0.0.1", port: terminal.port };
  const told: string[] = [];
  const request = { ...DEBIT_MESSAGE, CF: "é" };
  const answer = await exchange(request, {
    ...where,
    onMessage: (...[how, raw]) => told.push(`${how} ${raw}`),
  });
  assert.deepEqual(answer, { ...request, AE: "01", AF: "05" });
  assert.deepEqual(told, [`sent ${text(request)}`, `received ${text(answer)}`]);
  await assert.rejects(exchange({ CZ: "" }, where), ProtocolError);
});

test(
  "other currencies are looked up, with the number and decimals that they have",
  { ...patience, ...needsCurrencies },
  async () => {
    await using terminal = await terminalWith();
    for (
      const [currency, amount, CE, CB] of [
        ["usd", "112.45", "840", "11245"],
        ["JPY", "500", "392", "500"],
        ["BHD", "1.005", "048", "1005"],
      ] as const
    ) {
      const { request, ...result } = await payAt(terminal.port, { currency, amount });
      assert.deepEqual([request["CE"], request["CB"]], [CE, CB]);
      assert.deepEqual([result.amount, result.currency], [amount, currency.toUpperCase()]);
    }
    await assert.rejects(
      payAt(terminal.port, { currency: "JPY", amount: "1.5" }),
      /expected no decimals/,
    );
    await assert.rejects(
      payAt(terminal.port, { currency: "BYN" }),
      /expected one that .* 933:2, got "BYN"/,
    );
  },
);

slow("what onMessage throws is reported, and the payment told all the same", async () => {
  const { status, stdout } = await program(`
    const { pay } = await import("${new URL("client.ts", import.meta.url).href}");
    let reported = 0;
    process.on("uncaughtException", () => reported++);
    const onMessage = () => { throw new Error("my mistake"); };
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0 });
    const result = await pay({ port: terminal.port, amount: "1", onMessage });
    await terminal.close();
    console.log(result.status, reported);`);
  assert.deepEqual([status, stdout], [0, "approved 2\n"]);
});

slow("onMessage is told of an AE 11 when it comes", async () => {
  await using terminal = await listening(async (peer) => {
    await peer.until(/CB00511245/);
    peer.send(text({ ...DEBIT_MESSAGE, AE: "11" }));
  });
  const gaveUp = new AbortController(); // the final answer never comes
  const told: string[] = [];
  const paid = payAt(terminal.port, {
    signal: gaveUp.signal,
    onMessage: (direction, _raw, message) => {
      told.push(`${direction} ${message["AE"]}`);
      if (direction === "received") gaveUp.abort();
    },
  });
  await assert.rejects(paid, failed("unanswered", /^given up after AE 11/));
  assert.deepEqual(told, ["sent undefined", "received 11"]);
});

slow("exchange() sends a raw text unchanged, and judges the answer by the request", async () => {
  const sent = Promise.withResolvers<string>();
  await using terminal = await listening(async (peer) => {
    sent.resolve(await peer.until(/\n/));
    peer.send(APPROVAL);
  });
  const raw = "cz oops \xe9\0\n";
  const told: [string, string][] = [];
  const where = { host: "127.0.0.1", port: terminal.port, timeout: 10 };
  const answer = await exchange(DEBIT_MESSAGE, {
    ...where,
    raw,
    onMessage: (direction, raw) => told.push([direction, raw]),
  });
  assert.equal(await sent.promise, raw);
  assert.equal(answer["AE"], "10");
  assert.deepEqual(told, [["sent", raw], ["received", APPROVAL]]);
  for (const wrong of ["", "\u20ac", 5 as unknown as string]) {
    const options: ExchangeOptions = { ...where, raw: wrong };
    await assert.rejects(exchange(DEBIT_MESSAGE, options), /^OptionError: raw: expected text of/);
  }
});

slow("what came before the request was sent is no answer to it, and told", async () => {
  await using terminal = await listening(async (peer) => {
    peer.send(APPROVAL);
    await peer.until(/CB00511245/);
    peer.send(DECLINE);
  });
  clientsOf(terminal.port, { isLate: true });
  const told: [string, string, string | undefined][] = [];
  const { status, warnings } = await payAt(terminal.port, {
    onMessage: (direction, raw, { AE }) => told.push([direction, raw, AE]),
  });
  assert.equal(status, "declined");
  assert.deepEqual(told, [
    ["received", APPROVAL, "10"],
    ["sent", DEBIT, undefined],
    ["received", DECLINE, "01"],
  ]);
  assert.deepEqual(warnings?.map(({ code }) => code), ["early"]);
  assert.match(warnings?.[0]?.text ?? "", /before the request was sent .*"CZ0040300CJ/);
});

slow("an error too tells what came before the request", async () => {
  await using terminal = await listening(async (peer) => {
    peer.send("\x1b[2Jhello");
    await peer.until(/CB00511245/);
    peer.socket.end();
  });
  clientsOf(terminal.port, { isLate: true });
  await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
    assert.match(error.warnings[0]?.text ?? "", /"\\x1b\[2Jhello"$/);
    return failed("unanswered", /closed the connection without an answer/)(error);
  });
});

slow("a terminal that closes every connection at once is told as such", async () => {
  await using terminal = await listening((peer) => peer.socket.destroy());
  await assert.rejects(payAt(terminal.port), (error: ExchangeError) => {
    assert.notEqual(error.status, "invalid");
    return failed(error.status, /closed the connection|connection was lost|ECONNRESET/)(error);
  });
});

slow("pay() warns when another application paid than was asked for", async () => {
  await using terminal = await terminalWith();
  const cases: [asked: string, outcome: OutcomeText, expected: string | undefined][] = [
    [
      "002",
      "CC=001",
      "CC 002 (American Express contact) was asked for, 001 (CB contact) paid",
    ],
    ["001", "CC=XYZ", "CC 001 (CB contact) was asked for, XYZ paid"],
    ["001", "CC=001", undefined],
    ["000", "CC=001", undefined],
    ["001", "CC=", undefined],
    ["001", "refused", undefined],
  ];
  for (const [asked, outcome, expected] of cases) {
    terminal.nextOutcome(outcome);
    const { warnings } = await payAt(terminal.port, { tags: { CC: asked } });
    const warning = { code: "application", text: expected, tag: "CC" };
    assert.deepEqual(warnings, expected && [warning], `${asked} ${outcome}`);
  }
  const result = await payAt(terminal.port);
  assert.equal("warnings" in result, false);
});

slow("pay() warns of a receipt that cannot be read", async () => {
  await using terminal = await terminalWith({ outcome: "ZT=CK003100AK003***" });
  const { status, warnings, receipts } = await payAt(terminal.port);
  assert.deepEqual([status, receipts], ["approved", undefined]);
  assert.deepEqual(warnings, [
    { code: "receipt", text: 'AK: expected base64, got "***"', tag: "AK" },
  ]);
});

slow("an approval with a reason why not is not usable", async () => {
  await using terminal = await terminalWith({ outcome: "success,AF=04" });
  const expected = /^the answer is not usable: expected no AF beside AE 10 but 01, got "04"; /;
  await assert.rejects(payAt(terminal.port), failed("invalid", expected));
  terminal.nextOutcome("success,AF=01");
  assert.equal((await payAt(terminal.port)).status, "approved");
});

slow("pay() refuses a host that is none, and says when there is none of that name", async () => {
  const expected = "expected an address or a DNS name";
  const cases: [host: unknown, message: string][] = [
    ["\0", `host: ${expected}, got "\\x00"`],
    ["a\0b", `host: ${expected}, got "a\\x00b"`],
    ["", `host: ${expected}, got ""`],
    [" ", `host: ${expected}, got " "`],
    [null, `host: ${expected}, got none`],
    [5, `host: ${expected}, got 5`],
    ["localhost:8888", 'host: expected a host alone (port is for the port), got "localhost:8888"'],
  ];
  for (const [host, message] of cases) {
    const paid = payAt(8888, { host } as PaymentOptions);
    await assert.rejects(paid, { name: "OptionError", message });
  }
  for (const host of ["a..b", "x".repeat(70_000), "\ud800", "%"]) {
    await assert.rejects(payAt(8888, { host }), failed("unreachable"));
  }
});

test("what a program without types gives is refused by its name", patience, async () => {
  const cases: [options: unknown, expected: RegExp][] = [
    [{ amount: null }, /^OptionError: amount: expected text such as "112.45", got none$/],
    [{ currency: 978 }, /^OptionError: currency: expected three letters .* got 978$/],
    [{ action: 0 }, /^OptionError: action: expected one of .* got 0$/],
    [{ port: "8888" }, /^OptionError: port: expected a whole number .* got "8888"$/],
    [{ gap: -1 }, /^OptionError: gap: expected a number from 0 to 86400000, got -1$/],
    [{ timeout: NaN }, /^OptionError: timeout: expected a number from 0\.001 to 86400, got NaN$/],
    [{ amount: "1,5" }, /^OptionError: amount: expected a decimal .* 112\.45, got "1,5"$/],
    [{ amount: "1, got 5" }, /^OptionError: amount: expected a .* 112\.45, got "1, got 5"$/],
  ];
  for (const [options, expected] of cases) {
    await assert.rejects(payAt(1, options as PaymentOptions), expected);
  }
});

// ---------------------------------------------------------------- messages of a capture

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
  assert.ok(before.endsWith("\x02") && /^\x03a$/i.test(after ?? ""));
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

/** Listens, and does nothing more: soon no connection is made any more. */
const FULL = `import net from "node:net";
  import process from "node:process";
  const wait = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
  const server = net.createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    process.stdout.write(server.address().port + "\\n", wait);
  });`;
const needsLinux = { ...patience, skip: process.platform === "linux" ? false : "not on Linux" };

test("a connection that takes longer than its bound is given up", needsLinux, async () => {
  const args = "deno" in process.versions
    ? ["run", "--no-prompt", "--allow-net", `data:text/javascript,${encodeURIComponent(FULL)}`]
    : ["--input-type=module", "-e", FULL];
  await using full = new Command(args);
  const port = Number(await full.prints("stdout", /^(\d+)\n/));
  const sockets: net.Socket[] = [];
  const connects = async (): Promise<boolean> => {
    const socket = net.connect({ port, host: "127.0.0.1" }).on("error", () => {});
    sockets.push(socket);
    // In each of these turns a connection that is there is seen, however long the machine is busy.
    for (let turn = 0; turn < 100 && socket.connecting; turn++) await sleep(10);
    return !socket.connecting;
  };
  while (await connects());
  const expected = new RegExp(
    `^cannot reach the terminal at 127\\.0\\.0\\.1 port ${port}: no connection within 0.3 s; check its`,
  );
  const [paid, probed] = await Promise.all([
    payAt(port, { timeout: 0.3 }).then(() => undefined, (error) => error),
    probe({ port, timeout: 0.3 }),
  ]);
  for (const socket of sockets) socket.destroy();
  failed("unreachable", expected)(paid);
  assert.deepEqual([probed.length, probed[0]?.status], [1, "unreachable"]);
});

// ---------------------------------------------------------------- how a terminal behaves

/** What is found at a port of this machine, by what was asked. */
async function probeAt(port: number, options: ProbeOptions = {}): Promise<Map<string, Probed>> {
  const probed = await probe({ host: "127.0.0.1", port, timeout: 5, gap: 20, ...options });
  return new Map(probed.map((one) => [one.probe, one]));
}

const PROBES = [
  "identification",
  "with CR LF",
  "in two segments",
  "two on a connection",
  "two on a connection, again",
  "unknown action",
  "without CJ",
];

sideBySide();

slow("pay() a duplicate tells what was paid", async () => {
  await using terminal = await terminalWith({ next: ["success,CB=0500"] });
  await payAt(terminal.port, { tags: { BF: "1" } }); // paid in part
  const { status, amount, asked, currency } = await pay({
    host: "127.0.0.1",
    port: terminal.port,
    action: "duplicate",
  });
  assert.deepEqual([status, amount, asked, currency], ["approved", "5.00", undefined, "EUR"]);
});

slow("probe() asks what moves no money, a duplicate only when told", async () => {
  await using terminal = await terminalWith();
  const told: string[] = [];
  const probed = await probeAt(terminal.port, {
    duplicate: true,
    onMessage: (direction, raw) => told.push(`${direction} ${raw}`),
  });
  assert.deepEqual([...probed.keys()], [...PROBES, "duplicate"]);
  assert.equal(told.length, 2 * probed.size);
  for (
    const { probe, sent, status, answer, milliseconds, segments, own, closed } of probed.values()
  ) {
    const request = decode(sent.join(""));
    assert.equal(movesMoney(request["CD"]), false);
    assert.equal(request["CB"], undefined);
    assert.ok(told.includes(`sent ${sent.join("")}`));
    assert.ok(told.includes(`received ${text(answer!)}`));
    assert.deepEqual(segments, [{ milliseconds, raw: text(answer!) }], probe);
    assert.deepEqual([status, own, closed], ["answered", [], undefined], probe);
  }
  const answered = (probe: string) => {
    const { AE, AF, CJ } = probed.get(probe)?.answer ?? {};
    return [AE, AF, CJ];
  };
  for (const probe of PROBES.slice(0, 5)) {
    assert.deepEqual(answered(probe), ["10", undefined, "012345678901"], probe);
  }
  assert.deepEqual(answered("unknown action"), ["01", "12", "012345678901"]);
  assert.deepEqual(answered("without CJ"), ["01", "09", undefined]);
  assert.deepEqual(answered("duplicate"), ["01", "10", "012345678901"]); // there was no payment
  assert.deepEqual(probed.get("with CR LF")?.sent, [`${IDENTIFICATION}\r\n`]);
  assert.deepEqual(probed.get("in two segments")?.sent, [
    "CZ0040300CJ012012345678901",
    "CA00201CD001I",
  ]);
  assert.deepEqual([...(await probeAt(terminal.port)).keys()], PROBES);
});

slow("probe() sends two segments, and two requests on one connection", async () => {
  await using terminal = await listening((peer) => {
    peer.socket.on("data", (piece: string) => {
      if (/CD001.(\r\n)?$/.test(piece)) peer.send(IDENTIFIED);
    });
  });
  const clients = clientsOf(terminal.port);
  const probed = await probeAt(terminal.port);
  assert.deepEqual(clients.map(({ written }) => written), [
    [IDENTIFICATION],
    [`${IDENTIFICATION}\r\n`],
    ["CZ0040300CJ012012345678901", "CA00201CD001I"],
    [IDENTIFICATION, IDENTIFICATION],
    ["CZ0040300CJ012012345678901CA00201CD001Q"],
    ["CZ0040300CA00201CD001I"],
  ]);
  const [first, second] = clients[2]!.writtenAt;
  assert.ok(second! - first! >= 45, `${first} ${second}`); // or the system puts them together
  assert.deepEqual(probed.get("unknown action")?.own, ["CZ"]);
  assert.deepEqual(probed.get("without CJ")?.own, ["CZ", "CJ"]);
});

slow("probe() tells the identity, the segments, and the end of the connection", async () => {
  const pieces = ["CZ0040301CJ0123305386", "00404CA00201CD0", "01IAE00210"];
  await using terminal = await listening(async (peer) => {
    const client = clients.at(-1)!;
    await peer.until(/CD001/);
    for (const [index, piece] of pieces.entries()) {
      const before = pieces.slice(0, index).join("");
      await eventually(() => client.read === before, `"${before}" read`);
      if (index < pieces.length - 1) peer.send(piece);
      else peer.socket.end(piece);
    }
  });
  const clients = clientsOf(terminal.port);
  // The end of the connection ends the answer, not a pause before it.
  const probed = await probeAt(terminal.port, { gap: 2_000 });
  const { status, own, segments, milliseconds, closed } = probed.get("identification")!;
  assert.deepEqual([status, own, closed?.how], ["answered", ["CZ", "CJ"], "closed"]);
  assert.deepEqual(segments.map(({ raw }) => raw), pieces);
  assert.equal(milliseconds, segments.at(-1)?.milliseconds);
  assert.ok(closed && milliseconds !== undefined && closed.milliseconds >= milliseconds);
  assert.deepEqual(probed.get("two on a connection, again"), {
    probe: "two on a connection, again",
    sent: [IDENTIFICATION],
    status: "unanswered",
    own: [],
    segments: [],
    error: "not sent, the connection had ended",
  });
});

slow("probe() tells of a connection that ends a while after the answer", async () => {
  let asked: Peer | undefined;
  await using terminal = await listening(async (peer) => {
    await peer.until(/CD001/);
    asked = peer;
    peer.send("CZ0040300AE00201AF00209\n");
  });
  // From the answer on there is half a second. So all that the while takes is in here, and the end is
  // there before that begins.
  const onMessage: ProbeOptions["onMessage"] = (direction) => {
    if (direction === "sent" || !asked?.socket.writable) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    asked.socket.end();
  };
  const { own, milliseconds, closed } = (await probeAt(terminal.port, { onMessage }))
    .get("identification")!;
  assert.deepEqual(own, []);
  assert.ok(closed && milliseconds !== undefined && closed.milliseconds >= milliseconds + 150);
});

slow("probe() tells of a connection that ends amid a request", async () => {
  await using terminal = await listening(async (peer) => {
    await peer.until(/CJ012/).catch(() => {}); // the one without
    peer.socket.end();
  });
  const { status, closed, error } = (await probeAt(terminal.port)).get("in two segments")!;
  assert.deepEqual([status, closed?.how], ["unanswered", "closed"]);
  assert.equal(error, "the terminal closed the connection without an answer");
});

slow("probe() tells what is no answer, and goes on", async () => {
  const cases: [outcome: OutcomeText, status: string, how: string | undefined, error: RegExp][] = [
    ["silent", "unanswered", undefined, /^no answer within 2 s$/],
    ["close", "unanswered", "closed", /^the terminal closed the connection without an answer$/],
    ["reset", "unanswered", "reset", /^the connection was lost \(ECONNRESET\)$/],
    ["truncate", "unanswered", "closed", /after a part of an answer, "CZ004/],
    ["garbage", "invalid", undefined, /^the answer is not usable: at byte 0: /],
    ["AE=", "unanswered", undefined, /^no answer within 2 s after a part of an answer/],
  ];
  await Promise.all(cases.map(async ([outcome, status, how, error]) => {
    await using terminal = await terminalWith({ outcome });
    const probed = await probeAt(terminal.port, { timeout: 2 });
    const { error: told, ...found } = probed.get("identification")!;
    assert.deepEqual([found.status, found.closed?.how], [status, how], outcome);
    assert.match(told ?? "", error);
    assert.deepEqual([...probed.keys()], PROBES);
    // Which no outcome is for.
    assert.equal(probed.get("unknown action")?.status, "answered", outcome);
  }));
});

slow(
  "probe() tells of a second request that is not answered, and of what came before",
  async () => {
    await using terminal = await listening(async (peer) => {
      peer.send("late");
      await peer.until(/CD001/);
      peer.send(`${IDENTIFIED}\n`);
      await peer.until(/CD001.+CD001/).catch(() => {}); // the others leave
      peer.socket.end();
    });
    clientsOf(terminal.port, { isLate: true });
    const probed = await probeAt(terminal.port);
    const [first, second] = [
      probed.get("two on a connection"),
      probed.get("two on a connection, again"),
    ];
    assert.deepEqual([first?.status, first?.closed, first?.early], ["answered", undefined, "late"]);
    assert.deepEqual([second?.status, second?.closed?.how], ["unanswered", "closed"]);
    assert.match(second?.error ?? "", /closed the connection without an answer/);
  },
);

slow("probe() tells who closed after what is no answer, AE 11, and a line end", async () => {
  await using http = await listening(async (peer) => {
    await peer.until(/CD001/);
    peer.socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  const interim = text({ ...decode(IDENTIFICATION), AE: "11" });
  let asked: Peer | undefined;
  await using terminal = await listening(async (peer) => {
    await peer.until(/CD001/);
    asked = peer;
    peer.send(interim);
  });
  const onMessage: ProbeOptions["onMessage"] = (direction, _raw, { AE }) => {
    if (direction === "received") asked?.send(AE === "11" ? IDENTIFIED : "\r\n");
  };
  const [refused, told] = await Promise.all([
    probeAt(http.port),
    probeAt(terminal.port, { onMessage }),
  ]);
  const { status, closed } = refused!.get("identification")!;
  assert.deepEqual([status, closed?.how], ["invalid", "closed"]);
  const one = told!.get("identification")!;
  assert.deepEqual([one.status, one.interim, one.ending], ["answered", true, "\r\n"]);
  const table = probeTable([...refused!.values(), ...told!.values()]);
  assert.match(table, /identification +invalid +1 +closed at \d+ ms\n/);
  assert.match(table, /identification +\d+ ms +11, 10 +none +own 0301 .* CR LF +3 +kept\n/);
});

slow("probe() gives each request its own time", async () => {
  let connections = 0;
  await using terminal = await listening((peer) => {
    const wait = ++connections === 4 ? 2_000 : 0; // two on a connection
    peer.socket.on("data", () => void sleep(wait).then(() => peer.send(`${IDENTIFIED}\n`)));
  });
  const probed = await probeAt(terminal.port, { timeout: 3.5 });
  assert.equal(probed.get("two on a connection")?.status, "answered");
  assert.equal(probed.get("two on a connection, again")?.status, "answered");
});

slow("probe() tells of an answer to the first segment of a request", async () => {
  await using terminal = await listening((peer) => {
    peer.socket.on("data", () => /CD001.\s*$/.test(peer.text) && peer.send(`${IDENTIFIED}\n`));
  });
  // The second one follows after 50 ms, in which a busy machine would not answer.
  clientsOf(terminal.port, {
    replyTo: (sent) => /^CZ.*CJ\d{15}$/.test(sent) ? `${IDENTIFIED}\n` : "",
  });
  const probed = await probeAt(terminal.port);
  const { status, early } = probed.get("in two segments")!;
  assert.deepEqual([status, early], ["answered", `${IDENTIFIED}\n`]);
  for (const [name, one] of probed) {
    if (name !== "in two segments") assert.equal(one.early, undefined, name);
  }
});

slow("probe() tells what came before an answer and after it, and counts neither", async () => {
  const late = IDENTIFIED.replace("AE00210", "AE00201AF00207");
  let asked: Peer | undefined;
  await using terminal = await listening(async (peer) => {
    if (await peer.until(/CD001/).then(() => false, () => true)) return;
    asked = peer;
    const client = clients.at(-1)!;
    peer.send("\x06");
    await eventually(() => client.read.endsWith("\x06"), "the first byte read");
    peer.send(`${IDENTIFIED}\r\n`);
    peer.socket.on("data", () => peer.send(`\x06${IDENTIFIED}\r\n`)); // to the second request
  });
  const clients = clientsOf(terminal.port);
  // It comes once the answer is taken as such, and before the next request.
  let sent: Peer | undefined;
  const onMessage: ProbeOptions["onMessage"] = (direction) => {
    if (direction === "received" && sent !== asked) (sent = asked)?.send(late);
  };
  const probed = await probeAt(terminal.port, { onMessage });
  for (const name of ["identification", "two on a connection"]) {
    const { status, before, after, segments, ending, answer, early } = probed.get(name)!;
    assert.deepEqual([status, early, before, after], ["answered", undefined, "\x06", late], name);
    assert.deepEqual([segments.map(({ raw }) => raw), ending], [[`${IDENTIFIED}\r\n`], "\r\n"]);
    assert.equal(answer?.["AE"], "10");
  }
  const second = probed.get("two on a connection, again")!;
  assert.deepEqual([second.answer?.["AE"], second.before, second.after], ["10", "\x06", undefined]);
  assert.equal(second.segments.length, 1);
  const table = probeTable([...probed.values()]);
  assert.match(table, /^identification +\d+ ms +10 .* CR LF +1 +kept$/m);
  assert.match(table, /^identification: before the answer came "\\x06"$/m);
  assert.match(table, /^identification: after the answer came "CZ.*AF00207"$/m);
});

slow("probe() does not say that a terminal ended what it ended itself", async () => {
  const errors = [undefined, "GET /"].map(async (answer) => {
    await using terminal = await (answer ? answering(answer) : listening(() => {}));
    const { closed, error } = (await probeAt(terminal.port, { timeout: 2 }))
      .get("two on a connection, again")!;
    assert.equal(closed, undefined);
    return error;
  });
  for (const error of await Promise.all(errors)) {
    assert.equal(error, "not sent, what was sent before has no usable answer");
  }
});

slow("probe() stops reading what does not end", async () => {
  const floods = ["A", "\r"].flatMap((text) =>
    ["", `${IDENTIFIED}\n`].map((answer) => ({ text, answer }))
  );
  await Promise.all(floods.map(async ({ text, answer }) => {
    let asked: Peer | undefined;
    const flood = async (): Promise<void> => {
      const peer = asked!;
      for (let sent = 0; sent < 100 && !peer.socket.destroyed; sent++) {
        peer.send(text.repeat(65_536));
        await sleep(1);
      }
    };
    await using terminal = await listening(async (peer) => {
      if (await peer.until(/CD001/).then(() => false, () => true)) return;
      asked = peer;
      peer.send(answer);
      if (!answer) await flood();
    });
    const onMessage: ProbeOptions["onMessage"] = (direction) => {
      if (direction === "received" && answer) void flood();
    };
    const { status, segments, error } = (await probeAt(terminal.port, { onMessage }))
      .get("identification")!;
    assert.ok(segments.map(({ raw }) => raw).join("").length <= 65_536);
    assert.equal(status, answer ? "answered" : text === "A" ? "invalid" : "unanswered");
    if (answer || text === "\r") assert.match(error ?? "", /^it sent more than 65536 bytes/);
  }));
});

slow("probe() says when the terminal cannot be reached, and asks no more", async () => {
  const terminal = await terminalWith();
  await terminal.close();
  const probed = await probe({ host: "127.0.0.1", port: terminal.port });
  assert.deepEqual(probed.map(({ probe, status }) => [probe, status]), [
    ["identification", "unreachable"],
  ]);
  assert.match(probed[0]?.error ?? "", /^cannot reach the terminal at 127\.0\.0\.1 port \d+: /);
  await assert.rejects(probe({ port: 0 }), /^OptionError: port: expected a whole number from 1/);
});

slow("probe() says that what answers has no status", async () => {
  await using echo = await answering(`${IDENTIFICATION}\n`);
  const { status, error } = (await probeAt(echo.port)).get("identification")!;
  assert.equal(status, "invalid");
  assert.equal(error, "the answer is not usable: expected the status AE, got none");
});

test("probeTable() is a row a request, and what went wrong below", () => {
  const sent = [IDENTIFICATION];
  const probed: Probed[] = [
    {
      probe: "identification",
      sent,
      status: "answered",
      answer: { CZ: "0301", CJ: "\x1b[2J", AE: "01", AF: "12" },
      milliseconds: 12,
      own: ["CZ", "CJ"],
      segments: [{ milliseconds: 5, raw: "C" }, { milliseconds: 12, raw: "Z" }],
      closed: { how: "closed", milliseconds: 15 },
    },
    {
      probe: "with CR LF",
      sent,
      status: "answered",
      answer: { CZ: "0300", AE: "10" },
      milliseconds: 3,
      interim: true,
      ending: "\r\n\x04",
      own: [],
      segments: [{ milliseconds: 3, raw: "CZ" }],
    },
    {
      probe: "two",
      sent,
      status: "unanswered",
      answer: { CZ: "0301" },
      own: [],
      segments: [],
      error: "not sent, the connection had ended",
      early: "late",
    },
  ];
  assert.equal(
    probeTable(probed),
    `\
probe           answer      AE      AF    CZ        CJ           tags         ending      segments  connection
identification  12 ms       01      12    own 0301  own \\x1b[2J  CZ CJ AE AF  none        2         closed at 15 ms
with CR LF      3 ms        11, 10  none  as sent   none         CZ AE        CR LF \\x04  1         kept
two             unanswered                                       CZ                       0
two: before all was sent came "late"
two: not sent, the connection had ended
`,
  );
});

// ---------------------------------------------------------------- the arguments

test("readArguments() turns arguments into the options of a payment", () => {
  const cases: [args: string[], payment: PaymentOptions][] = [
    [[], { amount: "112.45" }],
    [["-d", "::1", "-p", "20002"], { host: "::1", port: 20002, amount: "112.45" }],
    [["-a", "-10", "-c", "chf"], { amount: "-10", currency: "chf" }],
    [["--amount", "-.5", "-c", "usd"], { amount: "-.5", currency: "usd" }], // pay() looks it up
    [["-ck", "-a9.90"], { amount: "9.90", check: true }],
    [["--action", "identify"], { action: "identify" }],
    [["--receipt", "--immediate"], { amount: "112.45", receipt: true, immediate: true }],
    [["--timeout", "0.5", "--gap", "20"], { amount: "112.45", timeout: 0.5, gap: 20 }],
    [["--tag", "CF=a=b", "--tag=BA="], { amount: "112.45", tags: { CF: "a=b", BA: "" } }],
  ];
  for (const [args, payment] of cases) {
    assert.deepEqual(readArguments(args), { payment, json: false, logLevel: "info" });
  }
  assert.deepEqual(readArguments(["--json", "-l", "ERROR"]), {
    payment: { amount: "112.45" },
    json: true,
    logLevel: "error",
  });
  assert.equal(readArguments(["--version"]), `${VERSION}\n`);
  const others = { payment: {}, json: false, logLevel: "info" };
  for (const decode of ["CZ0040300", "-", ""]) {
    assert.deepEqual(readArguments(["--decode", decode]), { ...others, decode });
  }
  assert.deepEqual(readArguments(["--probe"]), {
    ...others,
    probe: { duplicate: false, yes: false },
  });
  const all = ["--probe", "--probe-duplicate", "--yes", "-d", "::1", "-p", "1", "--timeout", "2"];
  assert.deepEqual(readArguments([...all, "--gap", "3", "--json", "-l", "warn"]), {
    payment: { host: "::1", port: 1, timeout: 2, gap: 3 },
    json: true,
    logLevel: "warn",
    probe: { duplicate: true, yes: true },
  });
});

test("readArguments() says what is wrong with them", () => {
  const cases: [args: string[], expected: RegExp][] = [
    [["-p", "0"], /^OptionError: port: expected a whole number from 1 to 65535, got 0$/],
    [["-p", "1e3"], /^OptionError: port: expected a number such as 3 or 0\.5, got "1e3"$/],
    [["--gap", "1e9"], /^OptionError: gap: /],
    [["--timeout", "86401"], /^OptionError: timeout: expected .* to 86400, got 86401$/],
    [["-d", "localhost:8888"], /^OptionError: destination: expected a host alone \(--port is/],
    [["-d", ""], /^OptionError: destination: expected an address or a DNS name, got ""$/],
    [["-a", "1.005"], /^OptionError: amount: expected at most 2 decimals, got "1\.005"$/],
    [["-a", "0"], /^OptionError: amount: expected an amount other than zero/],
    [["-a", "1", "--action", "identify"], /^OptionError: amount: expected none with an action/],
    [["--action", "identfy"], /got "identfy"; did you mean identify\?$/],
    [["-c", "EURO"], /^OptionError: currency: expected three letters of ISO 4217/],
    [["-l", "loud"], /^OptionError: logLevel: expected one of debug, info, warn, error/],
    [["--tag", "CF"], /^OptionError: tag: expected TAG=VALUE, got "CF"$/],
    [["--tag", "cf=1"], /^ProtocolError: tag "cf": expected two letters A-Z/],
    [["--settle", "5"], /Unknown option '--settle'/],
    [
      ["--decode", "CZ", "--amount", "5"],
      /^OptionError: decode: expected no payment, and beside it only --json, .* got "--amount"$/,
    ],
    [["-p", "8888", "--decode", "CZ"], /^OptionError: decode: .* got "--port"$/],
    [["--decode", "CZ", "--yes"], /^OptionError: decode: .* got "--yes"$/],
    [["--probe", "-ck"], /^OptionError: probe: expected no payment, .* got "--check"$/],
    [["--probe", "--tag", "CD=0"], /^OptionError: probe: .* got "--tag"$/],
    [["--yes"], /^OptionError: yes: expected --probe beside it, got none$/],
    [["--probe-duplicate"], /^OptionError: probe-duplicate: expected --probe beside it/],
    [["extra"], /extra/],
    [["-a"], /--amount/],
  ];
  for (const [args, expected] of cases) assert.throws(() => readArguments(args), expected);
});

test("--help has every option, with its default, in 80 columns", () => {
  const help = readArguments(["--help", "-p", "wrong"]);
  assert.ok(typeof help === "string");
  for (const line of help.split("\n")) assert.ok(line.length <= 80, line);
  for (
    const option of [
      "-d,  --destination HOST ",
      "-p,  --port PORT ",
      "     --timeout SECONDS ",
      "     --gap MS ",
      "-a,  --amount AMOUNT ",
      "-c,  --currency CURRENCY ",
      "-ck, --check ",
      "     --action ACTION ",
      "     --receipt ",
      "     --immediate ",
      "     --tag TAG=VALUE ",
      "     --decode TEXT ",
      "     --probe ",
      "     --probe-duplicate ",
      "     --yes ",
      "     --json ",
      "-l,  --log-level LEVEL ",
      "-h,  --help ",
      "     --version ",
    ]
  ) assert.ok(help.includes(`\n  ${option}`), option);
  assert.match(
    help,
    /\(127\.0\.0\.1\)[^]*\(8888\)[^]*\(180\)[^]*\(100\)[^]*\(EUR\)[^]*exit status:/,
  );
});

// ---------------------------------------------------------------- the command

sideBySide();

slow("client.ts prints warnings on stderr, not with --log-level error", async () => {
  await using terminal = await terminalWith({ outcome: "CC=001,ZT=x" });
  const args = ["-p", `${terminal.port}`, "--tag", "CC=002"];
  const warned = await run("client.ts", ...args, "-l", "warn");
  assert.equal(
    warned.stderr,
    "client.ts: warning: CC 002 (American Express contact) was asked for, 001 (CB contact) paid\n" +
      'client.ts: warning: ZT: expected the fields CK and AK, got "x"\n',
  );
  assert.match(
    warned.stdout,
    /^APPROVED 112\.45 EUR, CB contact instead of American Express contact, card /,
  );
  const silent = await run("client.ts", ...args, "-l", "error", "--json");
  assert.deepEqual([silent.status, silent.stderr], [0, ""]);
  const { warnings } = JSON.parse(silent.stdout);
  assert.deepEqual(
    warnings.map(({ code }: { code: string }) => code),
    ["application", "receipt"],
  );
});

slow("client.ts ends with 5 after an approval that contradicts itself", async () => {
  await using terminal = await terminalWith({ outcome: "success,AF=04" });
  const { status, stdout, stderr } = await run("client.ts", "-p", `${terminal.port}`, "-l", "warn");
  assert.deepEqual([status, stdout], [5, ""]);
  assert.match(stderr, /^client\.ts: the answer is not usable: expected no AF beside AE 10 but 01/);
});

test(
  "client.ts says in one line what is wrong with an argument, exit status 2",
  patience,
  async () => {
    const { status, stdout, stderr } = await run("client.ts", "-d", "a/b");
    const expected =
      'client.ts: --destination: expected a host alone (--port is for the port), got "a/b" ' +
      "(--help lists the options)\n";
    assert.deepEqual([status, stdout, stderr], [2, "", expected]);
  },
);

test("client.ts says how to add the package that other currencies need", {
  ...patience,
  skip: hasCurrencies && "the package iso4217 is installed",
}, async () => {
  const { status, stderr } = await run("client.ts", "-c", "USD", "-p", "1");
  // Bun fetches a package that is missing where there is no node_modules folder: then the terminal
  // is not reached.
  if (status === 3 && "bun" in process.versions) return;
  assert.equal(status, 2);
  assert.match(
    stderr,
    /^client\.ts: --currency: .*deno add npm:iso4217@0\.2\.0, bun add .* or npm install/,
  );
});

test(
  "client.ts, interrupted, killed or without its screen, still prints the result",
  patience,
  async () => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      await using silent = await terminalWith({ outcome: "silent" });
      await using command = Command.start("client.ts", "-p", `${silent.port}`, "--json");
      await command.prints("stderr", /sent: /);
      process.kill(command.process.pid!, name);
      const { status, stdout, stderr } = await command.ran();
      assert.equal(status, 4, name);
      assert.match(stderr, /client\.ts: given up; the payment may have gone through/);
      const result = JSON.parse(stdout);
      assert.deepEqual([result.status, result.amount], ["unanswered", "112.45"]);
      assert.equal(`client.ts: ${result.error}\n`, stderr.slice(-result.error.length - 12));
    }
  },
);

/**
 * The client in a pipeline of sh, in which "$@" is the client and fd 3 is what the test reads.
 * Gives what came there. After the status its input ends, and with that a reader of fd 4.
 */
async function pipeline(
  script: string,
  args: string[],
  { go, onTold }: { go?: Promise<void>; onTold?: () => void } = {},
): Promise<string> {
  const client = fileURLToPath(new URL("client.ts", import.meta.url));
  const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
  const command = ["-c", `exec 3>&1 4<&0; ${script}`, "sh", process.execPath, ...deno, client];
  const sh = spawn("sh", [...command, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  let told = "";
  let late = false;
  const stop = (): unknown => sh.stdin.end();
  const limit = setTimeout(() => {
    late = true;
    stop();
  }, 30_000);
  go?.then(() => sh.stdin.write("go\n"));
  sh.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    told += chunk;
    onTold?.();
    if (/^status \d+$/m.test(told)) stop();
  });
  try {
    await once(sh, "close");
    assert.equal(late, false, `no status within 30 s: "${told}"`);
    return told;
  } finally {
    clearTimeout(limit);
  }
}

/** A reader that reads nothing, until the input of the whole ends. */
const UNREAD = "cat 5<&0 <&4 >/dev/null";

/** An answer that, printed raw and decoded, fills a pipe of 64 KiB. */
const LONG = APPROVAL + text(Object.fromEntries(
  [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].flatMap((letter) =>
    [`Q${letter}`, `X${letter}`].map((tag) => [tag, letter.repeat(999)])
  ),
));

slow("client.ts ends in time though nobody reads what it prints", async () => {
  const cases: [script: string, args: string[], expected: RegExp][] = [
    ['{ "$@" 2>&1; echo "status $?" >&3; }', [], /^status 0\n$/],
    ['{ "$@" 2>&1; echo "status $?" >&3; }', ["--json"], /^status 0\n$/],
    ['{ "$@"; echo "status $?" >&3; }', ["--json", "-l", "error"], /^status 0\n$/],
    // What is read is all there.
    ['{ "$@" 2>&1 >&3; echo "status $?" >&3; }', [], /^APPROVED .*\nstatus 0\n$/],
    [
      '{ "$@" 2>&1 >&3; echo "status $?" >&3; }',
      ["--json"],
      /^{.*"}*,"milliseconds":\d+}\nstatus 0\n$/,
    ],
  ];
  await Promise.all(cases.map(async ([script, args, expected]) => {
    await using terminal = await answering(LONG);
    const told = await pipeline(`${script} | ${UNREAD}`, ["-p", `${terminal.port}`, ...args]);
    assert.match(told, expected, `${script} ${args}`);
  }));
});

slow("client.ts ends with 4 in time though nobody reads what it prints", async () => {
  // The request alone fills the pipe, and no answer comes.
  const tags = [...LONG.matchAll(/([QX][A-Z])999(.)/g)].map(([, tag, letter]) =>
    `--tag=${tag}=${letter!.repeat(999)}`
  );
  await using silent = await terminalWith({ outcome: "silent" });
  const script = `{ "$@" 2>&1; echo "status $?" >&3; } | ${UNREAD}`;
  const args = ["-p", `${silent.port}`, "--timeout", "3", ...tags];
  assert.equal(await pipeline(script, args), "status 4\n");
});

slow("client.ts prints everything to a reader who reads late", async () => {
  // The pipe is full long before anybody reads. As the client waits no more than a second at its end,
  // somebody does by then.
  const interim = LONG.replace("AE00210", "AE00211");
  const [full, isRead] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using terminal = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(`${interim}\n`);
    await sleep(500);
    full.resolve();
    await isRead.promise;
    peer.send(`${LONG}\n`);
  });
  const script = '{ "$@" 2>&1; echo "status $?"; } | { read -r go <&4; cat; }';
  const told = await pipeline(script, ["-p", `${terminal.port}`, "--json"], {
    go: full.promise,
    onTold: isRead.resolve,
  });
  const [, sent, first, received, json] =
    /^sent: ([^\n]*)\n[^]*^received: ([^\n]*)\n[^]*^received: ([^\n]*)\n[^]*^({.*})\nstatus 0\n$/m
      .exec(told) ?? [];
  assert.deepEqual([sent, first, received], [DEBIT, interim, LONG]);
  assert.equal(text(JSON.parse(json!).answer), LONG);
});

test(
  "client.ts prints to a file, and tells the outcome though there is nothing to print on",
  patience,
  async () => {
    const cases: [script: string, expected: RegExp][] = [
      ['"$@" >/dev/null 2>&1; echo "status $?"', /^status 0\n$/],
      ['"$@" >&- 2>&-; echo "status $?"', /^status 0\n$/],
      ['"$@" >/dev/full 2>&1; echo "status $?"', /^status 0\n$/],
      // All of it is in the file, in order.
      [
        'file=$(mktemp) && "$@" >"$file" 2>&1; echo "status $?"; cat "$file"; rm "$file"',
        /^status 0\nsent: [^]*\nreceived: [^]*\nAPPROVED .*\n$/,
      ],
    ];
    for (const [script, expected] of cases) {
      await using terminal = await answering(LONG);
      assert.match(await pipeline(script, ["-p", `${terminal.port}`]), expected, script);
    }
  },
);
