// SPDX-License-Identifier: GPL-3.0-or-later
// What a proxy tells of what goes through it.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeText } from "../protocol.ts";
import type { OutcomeText, Segment, TerminalEvent } from "../server.ts";
import { APPROVAL } from "../test_helpers.ts";
import { came, closed, happened, proxyTo, timeless } from "./proxy_helpers.ts";
import {
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  payAt,
  Peer,
  sideBySide,
  slow,
  slowTable,
  terminalWith,
} from "./test_helpers.ts";

/** The segments that an event tells. */
const segments = (event: TerminalEvent): readonly Segment[] => event["segments"] as Segment[] ?? [];

sideBySide();

slow(
  "events tell each message, its segments, its ending, what it means, and who closed",
  async () => {
    await using real = await listening(async (peer) => {
      peer.socket.setNoDelay();
      await came(peer, DEBIT.slice(0, 10));
      await sleep(30);
      till.send(`${DEBIT.slice(10)}\r\n`);
      await peer.until(/11245/);
      await sleep(30);
      peer.send(APPROVAL.slice(0, 20));
      await came(till, APPROVAL.slice(0, 20));
      await sleep(30);
      peer.send(`${APPROVAL.slice(20)}\r\n`);
      await came(till, `${APPROVAL}\r\n`);
      await sleep(30);
      peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    const started = performance.now();
    till.send(DEBIT.slice(0, 10));
    assert.equal(await till.closed, "ended");
    await closed(seen.events);
    const most = Math.ceil(performance.now() - started); // that anything has taken
    const [, request, answer, end] = seen.events;
    assert.ok(
      request?.event === "request" && answer?.event === "answer" && end?.event === "closed",
    );
    const [before, last] = segments(request);
    assert.ok(
      before && before.milliseconds <= -20 && before.milliseconds >= -most,
      JSON.stringify(request),
    );
    assert.deepEqual([before.bytes, last], [10, { milliseconds: 0, bytes: DEBIT.length - 10 + 2 }]);
    const [first, second] = segments(answer);
    assert.ok(first && second && first.milliseconds >= 20, JSON.stringify(answer));
    assert.ok(second.milliseconds - first.milliseconds >= 20);
    assert.deepEqual([first.bytes, second.bytes], [20, APPROVAL.length - 20 + 2]);
    assert.equal(answer.milliseconds, second.milliseconds);
    assert.ok((end.milliseconds ?? 0) >= (answer.milliseconds ?? NaN) + 20, JSON.stringify(end));
    assert.ok((end.milliseconds ?? 0) <= most + 5, JSON.stringify(end)); // of another clock
    const about = { connection: 1, transaction: 1 };
    const masked = { ...DEBIT_MESSAGE, AE: "10", CC: "001", AC: "******" };
    assert.deepEqual(timeless(seen.events), [
      {
        event: "request",
        ...about,
        address: "127.0.0.1",
        raw: DEBIT,
        message: DEBIT_MESSAGE,
        ending: "\r\n",
        segments: request.segments,
        warnings: [],
      },
      {
        event: "answer",
        ...about,
        milliseconds: "some",
        raw: encodeText(masked),
        message: masked,
        ending: "\r\n",
        segments: answer.segments,
        verdict: { status: "approved" },
      },
      { event: "closed", connection: 1, by: "terminal", milliseconds: "some" },
    ]);
    const { request: told, answer: said, closed: how } = seen.proxy.transactions[0] ?? {};
    assert.deepEqual([told?.raw, said?.verdict?.status, how?.by], [DEBIT, "approved", "terminal"]);
    assert.match(seen.log[0] ?? "", /^info listening on 127\.0\.0\.1 port \d+, passing on to 127/);
    assert.match(seen.log[1] ?? "", /^info #1 received: CZ.*11245\\x0d\\x0a\n {2}CZ 0300/);
    assert.match(seen.log[2] ?? "", /^info #1 sent: CZ.*AE00210.*\\x0d\\x0a\n {2}CZ 0300/);
    assert.match(seen.log[3] ?? "", /^info #1 approved after \d+ ms$/);
  },
);

slowTable(
  "what an answer means is told",
  {
    "refused": ["refused", /^info #1 declined after \d+ ms: refused \(refusée\), AF 04$/],
    "another amount": [
      "CB=11246",
      /^warn #1 the answer after \d+ ms is not usable: expected CB to be/,
    ],
    "no status": [
      "AE=99",
      /^warn #1 the answer after \d+ ms is not usable: expected the status AE/,
    ],
  } satisfies Record<string, [OutcomeText, RegExp]>,
  async ([outcome, pattern]) => {
    await using real = await terminalWith({ outcome: outcome as OutcomeText });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(`${DEBIT}\n`);
    await eventually(() => seen.log.some((line) => pattern.test(line)), `${pattern}`);
  },
);

slow(
  "AE 11 first: both answers are told as such, and the transaction is over after the second",
  async () => {
    await using real = await listening(async (peer) => {
      await peer.until(/11245\n/);
      peer.send(encodeText({ ...DEBIT_MESSAGE, AE: "11" }));
      await happened(seen.events, "answer");
      assert.equal(seen.proxy.transactions[0]?.ended, undefined);
      peer.send(APPROVAL);
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(`${DEBIT}\n`);
    const { answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.equal(answer?.message["AE"], "10");
    const answers = seen.events.filter((event) => event.event === "answer");
    assert.deepEqual(answers.map(({ message }) => message?.["AE"]), ["11", "10"]);
    assert.ok((answers[0]?.milliseconds ?? NaN) < (answers[1]?.milliseconds ?? NaN));
  },
);

slow(
  "several requests on a connection: pipelined, in turn, and one after another at once",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    const requests = ["1", "2", "3", "4", "5"].map((CB) => ({ ...DEBIT_MESSAGE, CB: `${CB}00` }));
    till.send(requests.slice(0, 3).map((request) => encodeText(request)).join(""));
    await till.until(/CB003300.*CG006/);
    till.send(encodeText(requests[3]!));
    await till.until(/CB003400.*CG006/);
    till.send(`${encodeText(requests[4]!)}\n`);
    await till.until(/CB003500.*CG006/);
    await till.finish();
    await closed(seen.events);
    const told = seen.proxy.transactions.map(({ request, answer }) => [
      request.message["CB"],
      answer?.message["CB"],
      answer?.verdict?.status,
    ]);
    assert.deepEqual(told, requests.map(({ CB }) => [CB, CB, "approved"]));
    assert.ok(
      seen.proxy.transactions.every(({ gone, warnings }) =>
        !gone && warnings.every(({ code }) => code === "overlap")
      ),
    );
  },
);

slowTable(
  "what a request deserves is told, and it goes through as it is",
  {
    "a size": ["CZ0040300CJ003012CA00201CB00242CD0010CE003978\n", ["size"], true],
    "malformed": ["GET / HTTP/1.1\r\n\r\n", ["malformed"], true],
    "cut": ["CZ0040300CJ0120", ["malformed"], false],
    "later fields": [`${DEBIT}\rBA0010`, ["", "late"], true],
  } satisfies Record<string, [raw: string, codes: string[], isToldBefore: boolean]>,
  async (row) => {
    const [raw, codes, isToldBefore] = row as [string, string[], boolean];
    const arrived = Promise.withResolvers<Peer>();
    await using real = await listening(arrived.resolve);
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(raw);
    const peer = await arrived.promise;
    await came(peer, raw);
    assert.equal(peer.text, raw);
    const count = isToldBefore ? codes.length : 0; // before the POS leaves
    await eventually(() => seen.proxy.transactions.length === count, `${count} told`);
    await till[Symbol.asyncDispose]();
    await closed(seen.events);
    const own = (one: { code: string }): boolean => one.code !== "impatient";
    const told = seen.proxy.transactions.map(({ warnings }) => warnings.find(own)?.code ?? "");
    assert.deepEqual(told, codes);
  },
);

slow(
  "a second payment after an approval that got lost is told, as by our own terminal",
  async () => {
    await using real = await terminalWith();
    await using seen = await proxyTo(real.port, { next: ["close"] });
    await assert.rejects(payAt(seen.port));
    await payAt(seen.port);
    assert.deepEqual(seen.proxy.transactions.at(-1)?.warnings.map(({ code }) => code), [
      "paid-twice",
    ]);
  },
);

slow(
  "a POS that gives up is told as gone, and what the terminal answers then as lost",
  async () => {
    const asked = Promise.withResolvers<void>();
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {}).on("end", () => socket.end(APPROVAL));
      socket.on("data", () => asked.resolve());
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await using seen = await proxyTo((server.address() as net.AddressInfo).port);
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    await asked.promise; // so the proxy has it too
    await sleep(200);
    await till[Symbol.asyncDispose]();
    const transaction = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    server.close();
    assert.equal(transaction.gone?.sent, "");
    assert.ok((transaction.gone?.milliseconds ?? 0) >= 150);
    assert.equal(transaction.answer?.lost, "all");
    assert.equal(transaction.answer?.verdict?.status, "approved");
    assert.ok(seen.log.some((line) => /^info #1 too late, the POS has gone: CZ/.test(line)));
  },
);

slowTable(
  "a terminal that does not answer, or not whole",
  {
    "closes": ["", false, ["unanswered"], undefined],
    "resets": ["", true, ["unanswered"], undefined],
    "closes within a field": ["CZ0040300CB0051", false, [], "invalid"],
    "resets between two fields": ["CZ0040300", true, [], "invalid"],
  } satisfies Record<string, [string, boolean, string[], string | undefined]>,
  async (row) => {
    const [raw, reset, codes, status] = row;
    await using real = await listening(async (peer) => {
      await peer.until(/11245/);
      peer.send(raw);
      await came(till, raw);
      if (reset) peer.reset();
      else peer.socket.end();
    });
    await using seen = await proxyTo(real.port);
    await using till = await Peer.connect(seen.port);
    till.send(DEBIT);
    assert.equal(await till.closed, reset ? "reset" : "ended");
    assert.equal(till.text, raw);
    const { warnings, answer } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
    assert.deepEqual([warnings.map(({ code }) => code), answer?.verdict?.status], [codes, status]);
  },
);

slow("what a terminal sends without being asked goes through, and is told", async () => {
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await happened(seen.events, "answer");
    await sleep(200);
    peer.send(`\x06\x04${APPROVAL}`);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await till.until(/AC006123456[^]*AC006123456/);
  await eventually(
    () => seen.proxy.transactions[0]?.warnings.some(({ code }) => code === "unasked"),
    "told",
  );
  const told = seen.events.find((event) => event.event === "warning" && event.code === "unasked");
  assert.ok(told?.event === "warning");
  assert.equal(
    told.raw,
    APPROVAL.replace(/AC006.*/, "AC006******"),
  );
  assert.ok((told.milliseconds ?? 0) >= 190, `${told.milliseconds}`);
  assert.ok(seen.log.includes("info #1 the terminal sent between messages: \\x06\\x04"));
});

slow("of what is sent without being asked little is kept, and all goes through", async () => {
  const messages = Array.from(
    { length: 30 },
    (_, at) => encodeText({ ...DEBIT_MESSAGE, AE: "10", CH: `${at}`, XX: "x".repeat(999) }),
  );
  const flood = `${messages.join("\n")}\n`;
  await using real = await listening(async (peer) => {
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await happened(seen.events, "answer");
    peer.send(flood);
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await came(till, APPROVAL + flood);
  assert.equal(till.text, APPROVAL + flood);
  await till[Symbol.asyncDispose]();
  await closed(seen.events);
  const [transaction] = seen.proxy.transactions;
  const warnings = transaction?.warnings ?? [];
  const codes = [...Array.from({ length: 20 }, () => "unasked"), "more"];
  assert.deepEqual(warnings.map(({ code }) => code), codes);
  const [first, last] = [warnings[0]?.text, warnings.at(-1)?.text];
  assert.equal(first, `the terminal sent without being asked: "${messages[0]!.slice(0, 80)}..."`);
  assert.equal(last, "the terminal sends on without being asked, which is told no more");
  const told = seen.events.filter((event) => event.event === "warning");
  assert.deepEqual(
    told.slice(0, 20).map(({ raw }) => raw),
    messages.slice(0, 20).map((one) => `${one}\n`),
  );
  assert.equal(told.length, 21);
});

slow("what comes between messages is told, of either side, and with its time", async () => {
  await using real = await listening(async (peer) => {
    peer.send("\x04");
    await peer.until(/11245/);
    peer.send(APPROVAL);
    await eventually(() => seen.events.some(({ event }) => event === "answer"), "answered");
    peer.send("\r\n");
  });
  await using seen = await proxyTo(real.port);
  await using till = await Peer.connect(seen.port);
  till.send("\r\n");
  await eventually(() => till.text === "\x04", "EOT");
  till.send(DEBIT);
  await till.until(/\r\n$/);
  till.send("\x06");
  await eventually(() => seen.events.length === 7, "all of it");
  const told = seen.events.filter((event) => event.event === "between");
  assert.deepEqual(told.map(({ by, raw }) => [by, raw]), [
    ["pos", "\r\n"],
    ["terminal", "\x04"],
    ["terminal", "\r\n"],
    ["pos", "\x06"],
  ]);
  const [before, early, late, last] = told.map(({ milliseconds }) => milliseconds);
  assert.deepEqual([before, early], [undefined, undefined]);
  assert.ok(late !== undefined && late >= 95 && last !== undefined && last >= late);
});

slow("a till that leaves after AE 11 has taken it for the result, and pays twice", async () => {
  let count = 0;
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {}).on("end", () => socket.end(count === 1 ? APPROVAL : ""));
    socket.on("data", () => {
      count++;
      socket.write(count === 1 ? encodeText({ ...DEBIT_MESSAGE, AE: "11" }) : APPROVAL);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  await using seen = await proxyTo((server.address() as net.AddressInfo).port);
  await using till = await Peer.connect(seen.port);
  till.send(DEBIT);
  await till.until(/AE00211/);
  till.socket.end();
  const { gone, answer, interim, warnings } = await seen.proxy.waitForTransaction({
    timeout: 5_000,
  });
  assert.deepEqual(warnings.map(({ code }) => code), ["took-interim"]);
  assert.deepEqual([interim?.raw, gone?.sent], [
    till.text.slice(0, interim?.raw.length),
    interim?.raw,
  ]);
  assert.deepEqual([answer?.lost, answer?.message["AE"]], ["all", "10"]);
  await payAt(seen.port);
  const again = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  assert.deepEqual(again.warnings.map(({ code }) => code), ["paid-twice"]);
  await new Promise((resolve) => server.close(resolve));
});

slow("refused and approved again is no second payment, approved twice is", async () => {
  await using real = await terminalWith({ next: ["success", "refused", "success"] });
  await using seen = await proxyTo(real.port, { next: ["close"] });
  await assert.rejects(payAt(seen.port));
  await payAt(seen.port);
  await payAt(seen.port);
  await eventually(() => seen.proxy.transactions.every(({ ended }) => ended), "all over");
  const told = seen.proxy.transactions.map(({ warnings }) => warnings.map(({ code }) => code));
  assert.deepEqual(told, [[], [], ["paid-twice"]]);
});

slow("of a request that comes byte by byte few segments are kept", async () => {
  await using real = await terminalWith();
  await using seen = await proxyTo(real.port, { gap: 5_000 });
  await using till = await Peer.connect(seen.port);
  for (const byte of encodeText({ ...DEBIT_MESSAGE, CF: "x".repeat(99) })) {
    till.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  till.send("\n");
  const { request } = await seen.proxy.waitForTransaction({ timeout: 5_000 });
  const parts = request.segments ?? [];
  assert.ok(parts.length <= 100, `${parts.length}`);
  assert.equal(parts.reduce((sum, { bytes }) => sum + bytes, 0), request.raw.length + 1);
});
