// SPDX-License-Identifier: GPL-3.0-or-later
// How server.ts behaves as a command: arguments, output, exit status and signals, also together with
// client.ts. What only the client does is in client_test.ts.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import config from "./deno.json" with { type: "json" };
import manifest from "./package.json" with { type: "json" };
import { encodeText, VERSION } from "./protocol.ts";
import {
  ARGUMENTS,
  BOUNDS,
  readOptions,
  startTerminal,
  type TerminalEvent,
  type TerminalOptions,
  twoLetters,
} from "./server.ts";
import {
  ask,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  patience,
  Peer,
  type Ran,
  run,
  RUNTIME,
  serverCommand,
  table,
  terminalWith,
} from "./test_helpers.ts";

const isDeno = "deno" in process.versions;
const SERVER = fileURLToPath(new URL("server.ts", import.meta.url));

/** The terminal on a free port as a shell has it in "$@". */
const IN_SHELL = [...RUNTIME, SERVER, "-p", "0", "--host", "127.0.0.1"];

/** The options that arguments say. */
function read(args: string[]): TerminalOptions {
  return readOptions(parseArgs({ args: twoLetters(args), options: ARGUMENTS }).values);
}

/** Whether a program can be run and is content. */
function works(program: string, ...args: string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

test("deno.json and package.json have the version of protocol.ts, and the same exports", () => {
  assert.deepEqual([config.version, manifest.version], [VERSION, VERSION]);
  assert.deepEqual(manifest.exports, config.exports);
});

// ---------------------------------------------------------------- both together

test(
  "server.ts and client.ts: payment, refund, cheque, identification, answer at once",
  patience,
  async () => {
    const { command, port } = await serverCommand(
      ...["-d", "0.05", "-pt", "AmexContactless", "-sc", "12345"],
    );
    await using _server = command;
    const cases: [args: string[], expected: RegExp][] = [
      [
        [],
        /^APPROVED 112\.45 EUR, American Express contactless \(American Express sans contact\), card \d{6}######\d{4}, authorisation \d{6}\n$/,
      ],
      [["-a", "-10"], /^APPROVED credit \(crédit\) 10\.00 EUR, American/],
      [["-ck", "-c", "eur"], /^APPROVED 112\.45 EUR, cheque \(chèque\)\n$/],
      [["--action", "identify"], /^APPROVED identification\n$/],
      [["--immediate", "--gap", "20"], /^ACCEPTED 112\.45 EUR: the terminal has taken it into/],
      [["--tag", "CF=a=b", "--tag=BA=", "-l", "error"], /^APPROVED 112\.45 EUR/],
    ];
    await Promise.all(cases.map(async ([args, expected]) => {
      const { status, stdout, stderr } = await run("client.ts", "-p", port, ...args);
      assert.match(stdout, expected);
      assert.equal(status, 0);
      const log = args.includes("error")
        ? /^$/
        : /^sent: CZ0040300[^]*\n {2}CD . +action: [^]*received: CZ0040300[^]*AE 1/;
      assert.match(stderr, log);
    }));
    await command.prints("stderr", /CF003a=b/);
    await command.prints("stderr", /CG 12345 +merchant contract number/);
  },
);

test("server.ts and client.ts: a decline, as text and as JSON", patience, async () => {
  const { command, port } = await serverCommand("-f", "-ft", "Refused", "-d", "0");
  await using _server = command;
  const [person, { status, stdout }] = await Promise.all([
    run("client.ts", "-p", port),
    run("client.ts", "-p", port, "--json", "-a", "5"),
  ]);
  assert.equal(person.stdout, "DECLINED 112.45 EUR: refused (refusée), AF 04\n");
  assert.equal(person.status, 1);
  const { milliseconds, ...result } = JSON.parse(stdout);
  const request = { ...DEBIT_MESSAGE, CB: "500" };
  assert.equal(status, 1);
  assert.equal(typeof milliseconds, "number");
  assert.deepEqual(result, {
    status: "declined",
    failure: { code: "04", label: "refused", french: "refusée", detail: "" },
    request,
    answer: { ...request, AE: "01", AF: "04" },
    amount: "5.00",
    currency: "EUR",
  });
});

// ---------------------------------------------------------------- the arguments of the terminal

test("the arguments are the options of a terminal", () => {
  const cases: [args: string[], terminal: TerminalOptions][] = [
    [[], {}],
    [["-p", "0", "--host", "::1"], { port: 0, host: "::1" }],
    [["-d", "0.5", "-sc", "12345", "--gap", "5"], {
      duration: 0.5,
      sellerContract: "12345",
      gap: 5,
    }],
    [["--strict", "-l", "warn"], { strict: true, logLevel: "warn" }],
    [["-f"], { outcome: { failure: "11" } }],
    [["-f", "-ft", "REFUSED"], { outcome: { failure: "04" } }],
    [["-pt", "CbContactless"], { outcome: { failure: "", card: "cbcontactless" } }],
    [["--outcome", "07,delay=1..5"], { outcome: { failure: "07", delay: [1, 5] } }],
    [["--next", "refused", "--next", "silent"], { next: [{ failure: "04" }, { fault: "silent" }] }],
  ];
  for (const [args, terminal] of cases) {
    const { log, ...others } = read(args);
    assert.equal(typeof log, "function");
    assert.deepEqual(others, { outcome: { failure: "" }, logLevel: "info", ...terminal });
  }
  assert.equal(typeof read(["--json"]).onEvent, "function");
});

table<[args: string[], expected: RegExp]>("an argument is wrong:", {
  "port": [
    ["-p", "65536"],
    /^OptionError: port: expected a whole number from 0 to 65535, got 65536$/,
  ],
  "log level": [
    ["-l", "loud"],
    /: logLevel: expected one of debug, info, warn, error, got "loud"$/,
  ],
  "failure": [
    ["-f", "-ft", "maybe"],
    /: failureType: expected one of abandon, timeout, refused, f/,
  ],
  "card": [["-pt", "visa"], /: paymentType: expected one of cbcontact, .* got "visa"/],
  "contract": [["-sc", "12345678901"], /: sellerContract: expected 1 to 10 characters/],
  "duration": [["-d", "soon"], /: duration: expected a number such as 3 or 0\.5, got "soon"$/],
  "gap": [["--gap", "86400001"], /: gap: expected a number from 0 to 86400000, got 86400001$/],
  "part of a word": [
    ["--outcome", "refusd"],
    /: outcome: got "refusd"; did you mean refused\? \(expected words from success, /,
  ],
  "misspelt": [["--outcome", "sucess,split"], /got "sucess".*did you mean success\?/],
  "declined": [["--outcome", "declined"], /got "declined".*did you mean refused\?/],
  "approved": [["--next", "approved"], /: next: .*got "approved".*did you mean success\?/],
  "not Latin-1": [
    ["--outcome", "CF=€"],
    /^ProtocolError: tag CF: expected characters of Latin-1, got "€"/,
  ],
  "two endings": [["--next", "success,refused"], /: next: expected at most one word of each kind/],
  "both forms": [["--outcome", "refused", "-f"], /: outcome: expected either this or --failure/],
  "unknown": [["--unknown"], /Unknown option '--unknown'/],
  "of the library only": [["--bounds", "5"], /Unknown option '--bounds'/],
  "an earlier name of gap": [["--settle", "5"], /Unknown option '--settle'/],
  "no option": [["extra"], /'extra'/],
  "no value": [["-p"], /--port/],
}, ([args, expected]) =>
  assert.rejects(async () => {
    const terminal = await startTerminal(read(args));
    await terminal.close();
  }, expected));

test(
  "server.ts says in one line what is wrong with an argument, exit status 2",
  patience,
  async () => {
    const cases: [args: string[], expected: RegExp][] = [
      [["-d", "86401"], /^server\.ts: --duration: expected a number from 0 to 86400, got 86401 /],
      [["refused"], /^server\.ts: .*got "refused"; did you mean --outcome refused\?/],
      [["-d", "-1"], /^server\.ts: --duration: expected a value; .* --duration=-1 /],
      [["--outcom", "refused"], /^server\.ts: Unknown option '--outcom'.*did you mean --outcome\?/],
      [
        ["--outcome", "maybe"],
        /^server\.ts: --outcome: .*expected words from success, .*got "maybe"/,
      ],
    ];
    await Promise.all(cases.map(async ([args, expected]) => {
      const { status, stdout, stderr } = await run("server.ts", ...args);
      assert.match(stderr, expected);
      assert.match(stderr, /^[^\n]* \(--help lists the options\)\n$/);
      assert.deepEqual([status, stdout], [2, ""]);
    }));
  },
);

test(
  "server.ts names the command that has an option of the workbench, exit status 2",
  patience,
  async () => {
    const moved = [
      ["--model", "desk5000"],
      ["--when", "*01=refused"],
      ["--exclusive"],
      ["--callback", "8889"],
      ["--interactive"],
      ["-i"],
      ["--web-port", "8080"],
    ];
    await Promise.all(moved.map(async (args) => {
      const { status, stdout, stderr } = await run("server.ts", ...args);
      assert.match(
        stderr,
        /^server\.ts: -[a-z-]+: it is an option of workbench\/web\.ts\n$/,
        `${args[0]}`,
      );
      assert.deepEqual([status, stdout], [2, ""]);
    }));
  },
);

test("server.ts warns that -ft does nothing without -f", patience, async () => {
  const { command } = await serverCommand("-ft", "refused");
  await using _server = command;
  await command.prints(
    "stderr",
    /warn +--failure-type is ignored without --failure\n[^]*success mode/,
  );
});

test(
  "--help has every option with its default, and every word, in 80 columns",
  patience,
  async () => {
    const { status, stdout: help, stderr } = await run("server.ts", "--help");
    assert.deepEqual([status, stderr], [0, ""]);
    assert.deepEqual(await run("server.ts", "-h", "-p", "0"), { status, stdout: help, stderr });
    const version = await run("server.ts", "--version", "-p", "wrong");
    assert.deepEqual(version, { status: 0, stdout: `${config.version}\n`, stderr: "" });
    for (const option of Object.keys(ARGUMENTS)) assert.match(help, new RegExp(`--${option}\\b`));
    for (const line of help.split("\n")) {
      assert.ok(line.length <= 80, line);
      assert.equal(line.trimEnd(), line);
    }
    const text = help.replace(/\s+/g, " ");
    const expected = [
      /-p, --port PORT [^-]* \(8888\)/,
      /--host HOST [^-]* \(every interface\)/,
      // In the order in which they are asked.
      /--next OUTCOME .* --outcome OUTCOME .*others .*\(success\)/,
      /-f, --failure /,
      /-ft, --failure-type TYPE [^(]* \(abandon\)/,
      /-pt, --payment-type CARD [^-]* \(cbcontact\)/,
      /-d, --duration SECONDS [^(]* \(3\)/,
      /-sc, --seller-contract NUM [^-]* \(424242\)/,
      /--strict .*AF 09/,
      /--gap MS [^-]* \(20\)/,
      /--json .*-l, --log-level LEVEL [^-]* \(info\) -h, --help .*--version /,
      /cbcontact, .*, ancv pending .*hangup .*padded .*delay=SECONDS .*TAG=VALUE /,
      /truncate the answer is cut .*split the answer in segments .*dribble the answer byte by byte/,
      /00 unknown .*04 refused .*13 currency not supported/,
    ];
    for (const part of expected) assert.match(text, part);
  },
);

// ---------------------------------------------------------------- the terminal

test("server.ts says in one line that it cannot listen, exit status 1", patience, async () => {
  await using terminal = await terminalWith();
  const { port } = terminal;
  const cases: [host: string, port: number, expected: RegExp][] = [
    [
      "127.0.0.1",
      port,
      /host 127\.0\.0\.1, port \d+: the port is in use by another program: .*-p.*\n$/,
    ],
    ["192.0.2.1", 0, /host 192\.0\.2\.1, port 0: this machine has no such address\n$/],
    ["nohost.invalid", 0, /host nohost\.invalid, port 0: .+\n$/],
  ];
  await Promise.all(cases.map(async ([host, port, expected]) => {
    const { status, stderr } = await run("server.ts", "--host", host, "-p", `${port}`);
    assert.match(stderr, expected);
    assert.match(stderr, /^server\.ts: cannot listen on [^\n]*\n$/);
    assert.equal(status, 1);
  }));
});

test("server.ts says in one line that it may not listen, exit status 1", {
  ...patience,
  skip: isDeno ? false : "only Deno has permissions",
}, async () => {
  const cases: [permission: string[], host: string, why: RegExp][] = [
    [["--allow-net=127.0.0.1"], "localhost", /: not permitted; Deno needs --allow-net for a name/],
    [["--allow-net=localhost"], "localhost", /: Requires net access to "[^"]+:0"/],
    [["--allow-net=[::1]"], "127.0.0.1", /: Requires net access to "127\.0\.0\.1:0"/],
  ];
  await Promise.all(cases.map(async ([permission, host, why]) => {
    await using command = new Command(
      ["run", "--no-prompt", ...permission, SERVER, "--host", host, "-p", "0"],
    );
    const { status, stderr } = await command.ran();
    assert.match(stderr, /^server\.ts: (cannot listen on host [^\n]*, port 0: )?[^\n]*\n$/);
    assert.match(stderr, why);
    assert.equal(status, 1);
  }));
});

test("server.ts stops when it is told to, a payment under way or not", patience, async () => {
  const cases = [["SIGINT", DEBIT], ["SIGTERM", ""], ["SIGHUP", DEBIT]] as const;
  await Promise.all(cases.map(async ([signal, request]) => {
    const { command, port } = await serverCommand("-d", "60");
    await using _server = command;
    await using peer = await Peer.connect(Number(port));
    peer.send(request);
    if (request) await command.prints("stderr", /received: /);
    const started = performance.now();
    process.kill(command.process.pid!, signal);
    assert.equal((await command.ran()).status, 0, signal);
    assert.ok(performance.now() - started < BOUNDS.close); // it waits for no POS
  }));
});

test(
  "server.ts --json prints what happens, one object a line, and the log stays on stderr",
  patience,
  async () => {
    await using command = Command.start(
      "server.ts",
      ...["-p", "0", "--host", "127.0.0.1", "-d", "0", "--json"],
      ...["--next", "refused", "--next", "success,garbage", "--outcome", "silent"],
    );
    const { port } = JSON.parse(await command.prints("stdout", /^{"event":"listening".*\n/));
    const started = performance.now();
    await ask(port, `${DEBIT}XX0011\n`);
    await command.prints("stdout", /"closed","time":[^}]*"connection":1/);
    await using garbage = await Peer.connect(port);
    garbage.send(encodeText({ ...DEBIT_MESSAGE, CB: "101" }));
    await garbage.until(/garbage/);
    garbage.socket.destroy();
    await command.prints("stdout", /"closed","time":[^}]*"connection":2/);
    await ask(port, "CZ0040300CB0x");
    await command.prints("stdout", /"closed","time":[^}]*"connection":3/);
    const events: TerminalEvent[] = command.stdout.trim().split("\n").map((line) =>
      JSON.parse(line)
    );
    for (const { time } of events) assert.equal(new Date(time).toISOString(), time);
    const took = Math.ceil(performance.now() - started);
    for (const event of events) {
      if (event.event === "answer") {
        const { milliseconds = -1 } = event;
        assert.ok(milliseconds >= 0 && milliseconds <= took);
      }
    }
    const anyTime = events.map((event) => {
      const { time: _, ...told } = event;
      return "milliseconds" in told ? { ...told, milliseconds: 0 } : told;
    });
    const address = "127.0.0.1";
    const error = 'at byte 12: expected the length of CB in three digits, got "x"; perhaps the ' +
      "length of CZ before it, 004, is too short";
    assert.deepEqual(anyTime, [
      { event: "listening", host: address, port },
      {
        event: "request",
        connection: 1,
        transaction: 1,
        address,
        raw: `${DEBIT}XX0011`,
        message: { ...DEBIT_MESSAGE, XX: "1" },
        warnings: [{ code: "unknown-tag", tag: "XX", text: "XX: expected a tag of the protocol" }],
      },
      { event: "decided", connection: 1, transaction: 1, outcome: "refused", by: "next" },
      {
        event: "answer",
        connection: 1,
        transaction: 1,
        outcome: "refused",
        raw: `${DEBIT}XX0011AE00201AF00204`,
        message: { ...DEBIT_MESSAGE, XX: "1", AE: "01", AF: "04" },
        milliseconds: 0,
      },
      { event: "closed", connection: 1, by: "pos" },
      {
        event: "request",
        connection: 2,
        transaction: 2,
        address,
        raw: encodeText({ ...DEBIT_MESSAGE, CB: "101" }),
        message: { ...DEBIT_MESSAGE, CB: "101" },
        warnings: [],
      },
      { event: "decided", connection: 2, transaction: 2, outcome: "success,garbage", by: "next" },
      {
        event: "answer",
        connection: 2,
        transaction: 2,
        outcome: "success,garbage",
        raw: "\x00\xff?!garbage\r\n",
        message: {},
        milliseconds: 0,
      },
      { event: "closed", connection: 2, by: "pos" },
      {
        event: "invalid",
        connection: 3,
        transaction: 3,
        address,
        error,
        at: 12,
        raw: "CZ0040300CB0x",
        message: { CZ: "0300" },
        warnings: [{ code: "malformed", text: `malformed ${error}` }],
      },
      {
        event: "answer",
        connection: 3,
        transaction: 3,
        raw: "CZ0040300AE00201AF00209",
        message: { CZ: "0300", AE: "01", AF: "09" },
        milliseconds: 0,
      },
      { event: "closed", connection: 3, by: "terminal" },
    ]);
    await command.prints("stderr", /info +#1 received: /);
  },
);

/** Runs the terminal in a shell, where it is "$@", with more arguments. */
async function shell(script: string, ...args: string[]): Promise<Ran> {
  const sh = spawn("sh", ["-c", script, "sh", ...IN_SHELL, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  sh.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text);
  sh.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text);
  const status = await new Promise<number | null>((resolve) => sh.on("close", resolve));
  return { status, stdout, stderr };
}

test("server.ts ends with 1 and says why where stdout takes nothing", {
  ...patience,
  skip: works("sh", "-c", "test -c /dev/full") ? false : "there is no /dev/full",
}, async () => {
  await Promise.all([["--json"], ["--help"]].map(async (args) => {
    const { status, stderr } = await shell('"$@" >/dev/full', ...args);
    assert.match(
      stderr,
      /^(.* info .*\n)?server\.ts: cannot print on stdout: .*no space left.*\n$/i,
    );
    assert.equal(status, 1);
  }));
});

test(
  "server.ts --json ends with 0 when its reader has gone, without a word",
  patience,
  async () => {
    const atOnce = async (): Promise<void> => {
      const { stdout, stderr } = await shell('{ "$@"; echo "status $?" >&2; } | exit', "--json");
      assert.match(stderr, /^(.* info .*\n)?status 0\n$/);
      assert.equal(stdout, "");
    };
    const later = async (): Promise<void> => {
      await using command = Command.start(
        "server.ts",
        ...["-p", "0", "--host", "127.0.0.1", "-d", "0", "--json"],
      );
      const { port } = JSON.parse(await command.prints("stdout", /^{"event":"listening".*\n/));
      command.process.stdout!.destroy();
      await using peer = await Peer.connect(port);
      peer.send(`${DEBIT}\n`.repeat(3));
      await peer.closed;
      const { status, stderr } = await command.ran();
      assert.equal(status, 0);
      assert.doesNotMatch(stderr, /EPIPE|cannot print|^ +at /m);
    };
    await Promise.all([atOnce(), later()]);
  },
);
