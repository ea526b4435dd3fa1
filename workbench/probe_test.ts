// SPDX-License-Identifier: GPL-3.0-or-later
// How terminals behave, as the library and the command find it.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { decode, encodeText as text, movesMoney, VERSION } from "../protocol.ts";
import type { OutcomeText } from "../server.ts";
import {
  answering,
  Command,
  eventually,
  listening,
  patience,
  type Peer,
  type Ran,
  sideBySide,
  slow,
  terminalWith,
} from "../test_helpers.ts";
import { probe, type Probed, type ProbeOptions, probeTable, readArguments } from "./probe.ts";

const IDENTIFICATION = "CZ0040300CJ012012345678901CA00201CD001I";
const IDENTIFIED = "CZ0040301CJ012012345678901CA00201CD001IAE00210";

/** What a client has done so far, seen from inside: its socket does not tell the other side. */
interface Client {
  /** Each text that it has written. */
  written: string[];
  /** When, on the clock of performance.now(). */
  writtenAt: number[];
  /** What it has been given to read. */
  read: string;
}

/**
 * Clients that are watched, and for the option of that name what connects them. One that `isLate`
 * learns that it is connected when there is something to read: then that came first, however busy
 * the machine is. And `replyTo` gives what comes at once after what was written.
 */
function watching(
  { isLate = false, replyTo }: { isLate?: boolean; replyTo?: (sent: string) => string } = {},
): { clients: Client[]; connect: NonNullable<ProbeOptions["connect"]> } {
  const clients: Client[] = [];
  const connect = (to: net.TcpNetConnectOpts): net.Socket => {
    const socket = net.connect(to);
    const client: Client = { written: [], writtenAt: [], read: "" };
    clients.push(client);
    const { emit, write } = socket;
    socket.write = ((...args: Parameters<typeof write>) => {
      const sent = String(args[0]);
      client.written.push(sent);
      client.writtenAt.push(performance.now());
      const result = write.apply(socket, args);
      const reply = replyTo?.(sent);
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
    return socket;
  };
  return { clients, connect };
}

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
  const { clients, connect } = watching();
  const probed = await probeAt(terminal.port, { connect });
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
  const { clients, connect } = watching();
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
  // The end of the connection ends the answer, not a pause before it.
  const probed = await probeAt(terminal.port, { gap: 2_000, connect });
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
    const { connect } = watching({ isLate: true });
    const probed = await probeAt(terminal.port, { connect });
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
  const { connect } = watching({
    replyTo: (sent) => /^CZ.*CJ\d{15}$/.test(sent) ? `${IDENTIFIED}\n` : "",
  });
  const probed = await probeAt(terminal.port, { connect });
  const { status, early } = probed.get("in two segments")!;
  assert.deepEqual([status, early], ["answered", `${IDENTIFIED}\n`]);
  for (const [name, one] of probed) {
    if (name !== "in two segments") assert.equal(one.early, undefined, name);
  }
});

slow("probe() tells what came before an answer and after it, and counts neither", async () => {
  const { clients, connect } = watching();
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
  // It comes once the answer is taken as such, and before the next request.
  let sent: Peer | undefined;
  const onMessage: ProbeOptions["onMessage"] = (direction) => {
    if (direction === "received" && sent !== asked) (sent = asked)?.send(late);
  };
  const probed = await probeAt(terminal.port, { onMessage, connect });
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

// ---------------------------------------------------------------- the command

test("readArguments() turns arguments into what is asked of which terminal", () => {
  const standard = { payment: {}, json: false, logLevel: "info", duplicate: false, yes: false };
  assert.deepEqual(readArguments([]), standard);
  const place = ["-d", "::1", "-p", "1", "--timeout", "2", "--gap", "3"];
  assert.deepEqual(readArguments([...place, "--duplicate", "--yes", "--json", "-l", "warn"]), {
    payment: { host: "::1", port: 1, timeout: 2, gap: 3 },
    json: true,
    logLevel: "warn",
    duplicate: true,
    yes: true,
  });
  assert.equal(readArguments(["--version"]), `${VERSION}\n`);
  const help = readArguments(["--help", "-p", "wrong"]);
  assert.ok(typeof help === "string");
  for (const line of help.split("\n")) assert.ok(line.length <= 80, line);
  assert.match(
    help,
    /\(127\.0\.0\.1\)[^]*\(8888\)[^]*\(10\)[^]*\(350\)[^]* --duplicate [^]* --yes /,
  );
  const cases: [args: string[], expected: RegExp][] = [
    [["-p", "0"], /^OptionError: port: expected a whole number from 1 to 65535, got 0$/],
    [["--gap", "x"], /^OptionError: gap: expected a number such as 3 or 0\.5, got "x"$/],
    [["-d", "a/b"], /^OptionError: destination: expected a host alone \(--port is/],
    [["-l", "loud"], /^OptionError: logLevel: expected one of debug, info, warn, error/],
    [["-a", "5"], /Unknown option '-a'/],
    [["extra"], /extra/],
  ];
  for (const [args, expected] of cases) assert.throws(() => readArguments(args), expected);
});

/** The command as a process takes it. */
const PROBE = [
  ...("deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : []),
  fileURLToPath(new URL("probe.ts", import.meta.url)),
];

test("probe.ts prints how a terminal behaves, as text and as JSON", patience, async () => {
  await using terminal = await terminalWith({ outcome: "success,CZ=0301,hangup" });
  await using silent = await terminalWith({ outcome: "silent" });
  await using quiet = await listening(() => {});
  await using garbage = await answering("GET /");
  const closed = await terminalWith();
  await closed.close();
  // Only who answers is given the time to.
  const probed = async ({ port }: { port: number }, ...args: string[]): Promise<Ran> => {
    const timeout = port === quiet.port ? "0.3" : port === silent.port ? "1" : "20";
    const place = ["-p", `${port}`, "--timeout", timeout, "--gap", "20"];
    await using command = new Command([...PROBE, ...place, ...args]);
    return await command.ran();
  };
  const [table, json, partly, never, wrong, nobody, unasked] = await Promise.all([
    probed(terminal, "--yes", "-l", "error"),
    probed(terminal, "--yes", "--json", "--duplicate", "-l", "debug"),
    probed(silent, "--yes", "--json", "-l", "error"),
    probed(quiet, "--yes", "--json"),
    probed(garbage, "--yes", "--json", "-l", "error"),
    probed(closed, "--yes", "--json", "-l", "error"),
    probed(terminal),
  ]);
  assert.equal(table.status, 0);
  assert.match(
    table.stdout,
    /^probe +answer .* connection\nidentification +\d+ ms +10 +none +own 0301 +as sent +CZ CJ CA CD AE +none +1 +closed at \d+ ms\nwith CR LF /,
  );
  assert.equal(table.stderr, "");
  assert.match(never.stderr, /^(sent: CZ.*\n){6}$/); // "again" is not
  assert.ok(never.stderr.startsWith("sent: CZ0040300CJ012012345678901CA00201CD001I\nsent: "));
  const { status, host, port, probed: rows } = JSON.parse(json.stdout);
  assert.deepEqual([json.status, status, host, port], [0, "answered", "127.0.0.1", terminal.port]);
  assert.deepEqual([rows.length, rows[0].own, rows[7].probe], [8, ["CZ"], "duplicate"]);
  assert.match(json.stderr, /sent: .*CD0013\n[^]* action: duplicate[^]*received: .*AE00201/);
  assert.deepEqual([partly.status, JSON.parse(partly.stdout).status], [0, "answered"]); // AF 12
  assert.deepEqual([never.status, JSON.parse(never.stdout).status], [4, "unanswered"]);
  assert.deepEqual([wrong.status, JSON.parse(wrong.stdout).status], [5, "invalid"]);
  assert.deepEqual([nobody.status, JSON.parse(nobody.stdout).probed.length], [3, 1]);
  assert.deepEqual(unasked, {
    status: 2,
    stdout: "",
    stderr: "probe.ts: --yes: expected it, or a keyboard (a TTY) to be asked at, got none " +
      "(--help lists the options)\n",
  });
});

/** Runs a program on a terminal of so many columns, which it can be typed at and looked at. */
const TERMINAL = `
import fcntl, os, pty, select, struct, sys, termios
pid, screen = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(sys.argv[1]), 0, 0))
    os.execvp(sys.argv[2], sys.argv[2:])
while True:
    for source in select.select([screen, 0], [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError: # how Linux tells the end of a terminal
            data = b""
        if not data:
            sys.exit()
        os.write(1 if source == screen else screen, data)
`;

/** Waits as eventually() does, but for a program that starts a runtime first. */
async function started(condition: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`after 30 s: not yet ${what()}`);
    await sleep(3);
  }
}

const hasPty = spawnSync("python3", ["-c", "import pty"], { stdio: "ignore" }).status === 0;
const needsScreen = { ...patience, skip: hasPty ? false : "there is no python3 with pty" };

test("probe.ts asks on the screen before it sends", needsScreen, async () => {
  await using terminal = await terminalWith();
  const cases: [typed: string, expected: RegExp][] = [
    ["oui\r", /\(yes, oui\) oui\s+\p{Cc}\[Ksent: CZ0040300CJ/u],
    ["YES\r", /\(yes, oui\) YES\s+\p{Cc}\[Ksent: CZ0040300CJ/u],
    ["y\r", /\(yes, oui\) y\s+\p{Cc}\[Ksent: CZ0040300CJ/u],
    ["O\r", /\(yes, oui\) O\s+\p{Cc}\[Ksent: CZ0040300CJ/u],
    ["no\r", /probe\.ts: nothing sent\s+status 2\s*$/],
    ["\x04", /probe\.ts: nothing sent\s+status 2\s*$/], // Ctrl-D
  ];
  await Promise.all(cases.map(async ([typed, expected]) => {
    const script = '"$@"; echo "status $?"';
    const sh = ["sh", "-c", script, "sh", process.execPath, ...PROBE, "-p", `${terminal.port}`];
    const python = spawn("python3", ["-c", TERMINAL, "200", ...sh]);
    let printed = "";
    python.stdout.setEncoding("utf8").on("data", (text: string) => printed += text);
    try {
      const question = /without CJ: CZ0040300CA00201CD001I\s+Send this\? \(yes, oui\) $/;
      await started(() => question.test(printed), () => `asked: ${printed}`);
      python.stdin.write(typed);
      await started(() => expected.test(printed), () => `${expected}: ${printed}`);
    } finally {
      python.kill("SIGKILL");
    }
  }));
});
