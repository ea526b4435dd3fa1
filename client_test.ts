// SPDX-License-Identifier: GPL-3.0-or-later
// The point of sale against terminals, simulated and otherwise, and as a command.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  exchange,
  type ExchangeError,
  type ExchangeOptions,
  pay,
  type PaymentOptions,
  readArguments,
} from "./client.ts";
import { encodeReceipt, encodeText as text, ProtocolError, VERSION } from "./protocol.ts";
import type { OutcomeText } from "./server.ts";
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
  terminalWith,
} from "./test_helpers.ts";

const DECLINE = text({ ...DEBIT_MESSAGE, AE: "01", AF: "04" });

/**
 * A client that learns that it is connected when there is something to read: then that came first,
 * however busy the machine is.
 */
class LateSocket extends net.Socket {
  override emit(name: string | symbol, ...args: unknown[]): boolean {
    const goOn = (): boolean => super.emit(name as string, ...args);
    if (name !== "connect") return goOn();
    eventually(() => this.readableLength > 0, "something to read").then(goOn, goOn);
    return true;
  }
}

/** For the option of that name. */
function connectLate(to: net.TcpNetConnectOpts): net.Socket {
  return new LateSocket().connect(to);
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
    const result = await payAt(terminal.port, { gap: 50, ...options });
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
  let connections = 0;
  await using terminal = await listening(() => connections++);
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
    [
      { action: "refund" },
      /^action: got "refund"; did you mean credit\? \(expected one of debit, /,
    ],
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
  assert.equal(connections, 0);
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

slow(
  "pay() takes a card or an authorisation for an approval, also of an answer at once",
  async () => {
    const cases = [
      [{ AE: "10", AA: "497010######1234" }, "approved"],
      [{ AE: "10", AC: "123456" }, "approved"],
      [{ AE: "10" }, "accepted"],
      [{ AE: "11", AC: "123456" }, "accepted"],
    ] as const;
    await Promise.all(cases.map(async ([fields, expected]) => {
      await using terminal = await answering(`${text({ ...DEBIT_MESSAGE, BA: "1", ...fields })}\n`);
      const { status, amount } = await payAt(terminal.port, { immediate: true });
      assert.deepEqual([status, amount], [expected, "112.45"]);
    }));
  },
);

slow("pay() takes a decline with an amount of zeros only, as after the red button", async () => {
  for (const CB of ["00", "000000000000"]) {
    await using terminal = await answering(text({ ...DEBIT_MESSAGE, CB, AE: "01", AF: "11" }));
    const { status, failure, amount, currency } = await payAt(terminal.port, { gap: 20 });
    assert.deepEqual([status, failure?.code, amount, currency], [
      "declined",
      "11",
      "112.45",
      "EUR",
    ]);
  }
});

/** Sends a text again and again, as fast as it is read, and counts its bytes. */
async function flood(peer: Peer, text: string, count: (bytes: number) => void): Promise<void> {
  const chunk = text.repeat(Math.ceil(65_536 / text.length));
  while (!peer.socket.destroyed) {
    count(chunk.length);
    if (!peer.socket.write(chunk, "latin1")) {
      await Promise.race([once(peer.socket, "drain"), once(peer.socket, "close")]).catch(() => {});
    }
  }
}

test(
  "pay() under an endless flood of AE 11 ends at its time and holds little",
  patience,
  async () => {
    let sent = 0;
    await using terminal = await listening(async (peer) => {
      await peer.until(/11245/);
      await flood(peer, text({ ...DEBIT_MESSAGE, AE: "11", CF: "x".repeat(900) }), (bytes) => {
        sent += bytes;
      });
    });
    const before = process.memoryUsage().rss;
    const started = performance.now();
    const expected =
      /^no answer from .* within 1 s after (AE 11|a part of an answer, .*); the payment/;
    await assert.rejects(payAt(terminal.port, { timeout: 1 }), failed("unanswered", expected));
    const seconds = (performance.now() - started) / 1000;
    const grown = process.memoryUsage().rss - before;
    assert.ok(seconds < 5, `${seconds} s`);
    assert.ok(grown < 150_000_000, `${grown} bytes more, of ${sent} that were sent`);
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
  const told: [string, string, string | undefined][] = [];
  const { status, warnings } = await payAt(terminal.port, {
    connect: connectLate,
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

slow("however busy the program is, what came before the request is no answer to it", async () => {
  const answered = Promise.withResolvers<Peer>();
  await using terminal = await listening(async (peer) => {
    answered.resolve(peer);
    await peer.until(/CB00511245/);
    peer.send(DECLINE);
  });
  // What keeps the program busy while the approval comes, longer than the client listens first.
  await using busy = await listening(async (peer) => {
    await peer.until(/now/);
    (await answered.promise).send(APPROVAL);
    for (const until = performance.now() + 40; performance.now() < until;);
  });
  const other = net.connect({ port: busy.port, host: "127.0.0.1" });
  await once(other, "connect");
  const paid = payAt(terminal.port);
  await answered.promise;
  other.write("now");
  const { status, warnings } = await paid;
  other.destroy();
  assert.equal(status, "declined");
  assert.deepEqual(warnings?.map(({ code }) => code), ["early"]);
});

slow("an error too tells what came before the request", async () => {
  await using terminal = await listening(async (peer) => {
    peer.send("\x1b[2Jhello");
    await peer.until(/CB00511245/);
    peer.socket.end();
  });
  const paid = payAt(terminal.port, { connect: connectLate });
  await assert.rejects(paid, (error: ExchangeError) => {
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
  await assert.rejects(payAt(port, { timeout: 0.3 }), failed("unreachable", expected));
  for (const socket of sockets) socket.destroy();
});

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
    [["--action", "identfy"], /got "identfy"; did you mean identify\? \(expected one of debit, /],
    [["-c", "EURO"], /^OptionError: currency: expected three letters of ISO 4217/],
    [["-l", "loud"], /^OptionError: logLevel: expected one of debug, info, warn, error/],
    [["--tag", "CF"], /^OptionError: tag: expected TAG=VALUE, got "CF"$/],
    [["--tag", "cf=1"], /^ProtocolError: tag "cf": expected two letters A-Z/],
    [["--settle", "5"], /Unknown option '--settle'/],
    [
      ["--decode", "CZ"],
      /^OptionError: decode: expected no --decode here: .* workbench\/decode\.ts/,
    ],
    [["--decode=-"], /^OptionError: decode: .* moved to workbench\/decode\.ts, got "--decode=-"$/],
    [["-p", "8888", "--probe"], /^OptionError: probe: .* it has moved to workbench\/probe\.ts/],
    [["--probe-duplicate"], /^OptionError: probe: .* it has moved to workbench\/probe\.ts/],
    [["--prob"], /Unknown option '--prob'/],
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
      "     --json ",
      "-l,  --log-level LEVEL ",
      "-h,  --help ",
      "     --version ",
    ]
  ) assert.ok(help.includes(`\n  ${option}`), option);
  assert.match(
    help,
    /\(127\.0\.0\.1\)[^]*\(8888\)[^]*\(180\)[^]*\(350\)[^]*\(112\.45\)[^]*\(EUR\)[^]*exit status:/,
  );
});

// ---------------------------------------------------------------- the command

sideBySide();

test(
  "client.ts tells by its exit status that nothing was reached, answered or usable",
  patience,
  async () => {
    await using silent = await terminalWith({ outcome: "silent" });
    await using wrong = await terminalWith({ outcome: "success,CE=840" });
    const closed = await terminalWith();
    await closed.close();
    // What does not end by itself has time enough to get so far.
    const cases: [port: number, timeout: number, status: number, word: string, expected: RegExp][] =
      [
        [
          closed.port,
          20,
          3,
          "unreachable",
          /^client\.ts: cannot reach the terminal at 127\.0\.0\.1 port \d+: nothing/,
        ],
        [
          silent.port,
          3,
          4,
          "unanswered",
          /^client\.ts: no answer .* within 3 s; the payment may have gone through/,
        ],
        [
          wrong.port,
          20,
          5,
          "invalid",
          /^client\.ts: the answer is not usable: expected CE to be "978"/,
        ],
      ];
    await Promise.all(cases.map(async ([port, timeout, expectedStatus, word, expected]) => {
      const args = [
        "-p",
        `${port}`,
        "--json",
        "-l",
        "error",
        "--timeout",
        `${timeout}`,
        "-c",
        "eur",
      ];
      const { status, stdout, stderr } = await run("client.ts", ...args);
      assert.equal(status, expectedStatus);
      assert.match(stderr, expected);
      assert.equal(stderr.trim().split("\n").length, 1);
      const result = JSON.parse(stdout);
      assert.deepEqual(
        [result.status, result.request, result.amount, result.currency],
        [word, DEBIT_MESSAGE, "112.45", "EUR"],
      );
      assert.equal(`client.ts: ${result.error}\n`, stderr);
    }));
  },
);

test(
  "client.ts tells the outcome by its exit status though its readers have gone",
  patience,
  async () => {
    await using terminal = await terminalWith({ outcome: "success,delay=0.3" });
    await Promise.all([[], ["--json"], ["--receipt", "-l", "error"]].map(async (args) => {
      await using command = Command.start("client.ts", "-p", `${terminal.port}`, ...args);
      command.process.stdout!.destroy();
      command.process.stderr!.destroy();
      assert.equal((await command.ran()).status, 0, args.join(" "));
    }));
  },
);

test(
  "client.ts --receipt shows the receipt before the result, and has it in --json",
  patience,
  async () => {
    const ZT = encodeReceipt({ copy: "customer", format: "text", text: "DEBIT\nTICKET CLIENT" });
    await using terminal = await answering(`${APPROVAL}${text({ ZT })}`);
    const args = ["-p", `${terminal.port}`, "--receipt", "-l", "error"];
    const [{ stdout }, json] = await Promise.all([
      run("client.ts", ...args),
      run("client.ts", ...args, "--json"),
    ]);
    assert.match(stdout, /^ {2}DEBIT\n {2}TICKET CLIENT\nAPPROVED 112\.45 EUR, .*\n$/);
    assert.equal(JSON.parse(json.stdout).receipts[0].text, "DEBIT\nTICKET CLIENT");
  },
);

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

slow(
  "client.ts under a flood of AE 11 ends with 4 in time though nobody reads its log",
  async () => {
    await using terminal = await listening(async (peer) => {
      await peer.until(/11245/);
      await flood(peer, `${text({ ...DEBIT_MESSAGE, AE: "11" })}\n`, () => {});
    });
    const script = `{ "$@" 2>&1; echo "status $?" >&3; } | ${UNREAD}`;
    const args = ["-p", `${terminal.port}`, "--timeout", "3", "--json"];
    assert.equal(await pipeline(script, args), "status 4\n");
  },
);

slow("client.ts says where its log leaves messages out", async () => {
  await using terminal = await listening(async (peer) => {
    await peer.until(/11245/);
    await flood(peer, `${text({ ...DEBIT_MESSAGE, AE: "11" })}\n`, () => {});
  });
  const { status, stderr } = await run("client.ts", "-p", `${terminal.port}`, "--timeout", "2");
  assert.equal(status, 4);
  assert.match(stderr, /^messages are left out here, which came faster than this is read\n/m);
  assert.match(stderr, /within 2 s after .*; the payment may have gone through, .*\n$/);
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
