// SPDX-License-Identifier: GPL-3.0-or-later
// How server.ts and client.ts behave as commands: arguments, output, exit status, signals, and the
// screen of --interactive. What only the client does is in client_test.ts.
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import config from "./deno.json" with { type: "json" };
import manifest from "./package.json" with { type: "json" };
import { encodeText, printable, VERSION } from "./protocol.ts";
import {
  CLOSE_TIMEOUT,
  readArguments,
  type TerminalEvent,
  type TerminalOptions,
} from "./server.ts";
import {
  answering,
  ask,
  BASE,
  Command,
  DEBIT,
  DEBIT_MESSAGE,
  eventually,
  listening,
  patience,
  Peer,
  type Ran,
  run,
  serverCommand,
  table,
  terminalWith,
} from "./test_helpers.ts";

const isDeno = "deno" in process.versions;
const SERVER = fileURLToPath(new URL("server.ts", import.meta.url));

/** The terminal on a free port as a shell has it in "$@". */
const IN_SHELL = [
  process.execPath,
  ...(isDeno ? ["run", "--no-prompt", "--allow-net"] : []),
  SERVER,
  ...["-p", "0", "--host", "127.0.0.1"],
];

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

// ---------------------------------------------------------------- the client

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
    await using terminal = await terminalWith();
    const args = ["-p", `${terminal.port}`, "--receipt", "-l", "error"];
    const [{ stdout }, json] = await Promise.all([
      run("client.ts", ...args),
      run("client.ts", ...args, "--json"),
    ]);
    assert.match(
      stdout,
      /^ {2}SIMULATION SANS VALEUR\n[^]*\n {2}TICKET CLIENT\nAPPROVED 112\.45 EUR, .*\n$/,
    );
    assert.match(JSON.parse(json.stdout).receipts[0].text, /^SIMULATION SANS VALEUR\n/);
  },
);

test("client.ts --decode explains a message, of an argument or of stdin", patience, async () => {
  const answer = encodeText({ ...BASE, CD: "0", CB: "500", CE: "978", AE: "01", AF: "04" });
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
  const piped = async (input: string | Uint8Array, ...args: string[]): Promise<Ran> => {
    await using command = Command.start("client.ts", "--decode", "-", ...args);
    command.process.stdin!.end(input);
    return await command.ran();
  };
  const latin1 = Uint8Array.from("CZ0040300CF001\xe9CD001I", (char) => char.charCodeAt(0));
  const [argument, log, bytes, json, none, nothing, code, tag, unknown, ...others] = await Promise
    .all([
      run("client.ts", "--decode", answer),
      piped(`é: ${DEBIT}\né: ${answer}\n`),
      piped(latin1),
      piped(`${DEBIT}AE00210`, "--json"),
      run("client.ts", "--decode", "CZ0040300CB003112x"),
      piped("", "--json"),
      run("client.ts", "--decode", "AF11"),
      run("client.ts", "--decode", "AE", "--json"),
      run("client.ts", "--decode", "CC 99"),
      ...["OK", "ae", "AF99", "CA00", "AF \n"].map((text) => run("client.ts", "--decode", text)),
      ...["OK\n", "AF\n", "AF 04"].map((text) => piped(text)),
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
    /^client.ts: --decode: expected for CC one of 000, 001, .* got "99"/,
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

test("client.ts --probe prints how a terminal behaves, as text and as JSON", patience, async () => {
  await using terminal = await terminalWith({ outcome: "success,CZ=0301,hangup" });
  await using silent = await terminalWith({ outcome: "silent" });
  await using quiet = await listening(() => {});
  await using garbage = await answering("GET /");
  const closed = await terminalWith();
  await closed.close();
  // Only who answers is given the time to.
  const probed = ({ port }: { port: number }, ...args: string[]): Promise<Ran> => {
    const timeout = port === quiet.port ? "0.3" : port === silent.port ? "1" : "20";
    return run(
      "client.ts",
      "--probe",
      "-p",
      `${port}`,
      "--timeout",
      timeout,
      "--gap",
      "20",
      ...args,
    );
  };
  const [table, json, partly, never, wrong, nobody, unasked] = await Promise.all([
    probed(terminal, "--yes", "-l", "error"),
    probed(terminal, "--yes", "--json", "--probe-duplicate", "-l", "debug"),
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
    stderr: "client.ts: --probe: expected --yes, or a keyboard (a TTY) to be asked at, got none " +
      "(--help lists the options)\n",
  });
});

// ---------------------------------------------------------------- the arguments of the terminal

test("readArguments() turns arguments into the options of a terminal", () => {
  const cases: [args: string[], terminal: TerminalOptions][] = [
    [[], {}],
    [["-p", "0", "--host", "::1"], { port: 0, host: "::1" }],
    [["-d", "0.5", "-sc", "12345", "--gap", "5"], {
      duration: 0.5,
      sellerContract: "12345",
      gap: 5,
    }],
    [["--exclusive", "--strict", "-l", "warn"], {
      exclusive: true,
      strict: true,
      logLevel: "warn",
    }],
    [["-f"], { outcome: { failure: "11" } }],
    [["-f", "-ft", "REFUSED"], { outcome: { failure: "04" } }],
    [["-pt", "CbContactless"], { outcome: { failure: "", card: "cbcontactless" } }],
    [["--outcome", "07,delay=1..5"], { outcome: { failure: "07", delay: [1, 5] } }],
    [["--next", "refused", "--next", "silent"], { next: [{ failure: "04" }, { fault: "silent" }] }],
    [["--when", "*01=CF=a=b", "--when", "5=07"], {
      when: { "*01": { tags: { CF: "a=b" } }, "5": { failure: "07" } },
    }],
  ];
  for (const [args, { when, ...terminal }] of cases) {
    assert.deepEqual(readArguments(args), {
      terminal: {
        outcome: { failure: "" },
        ...terminal,
        ...(when && { when: Object.assign(Object.create(null), when) }),
      },
      interactive: false,
      json: false,
      warnings: [],
    });
  }
  assert.deepEqual(readArguments(["-i", "--json", "-ft", "refused"]), {
    terminal: { outcome: { failure: "" } },
    interactive: true,
    json: true,
    warnings: ["--failure-type is ignored without --failure"],
  });
  assert.equal(readArguments(["--version", "-p", "wrong"]), `${config.version}\n`);
});

table<[args: string[], expected: RegExp]>("readArguments() says what is wrong", {
  "port": [
    ["-p", "65536"],
    /^OptionError: port: expected a whole number from 0 to 65535, got 65536$/,
  ],
  "log level": [
    ["-l", "loud"],
    /: logLevel: expected one of debug, info, warn, error, got "loud"$/,
  ],
  "failure": [["-ft", "maybe"], /: failureType: expected one of abandon, timeout, refused, forb/],
  "card": [["-pt", "visa"], /: paymentType: expected one of cbcontact, .* got "visa"/],
  "contract": [["-sc", "12345678901"], /: sellerContract: expected 1 to 10 characters/],
  "duration": [["-d", "soon"], /: duration: expected a number such as 3 or 0\.5, got "soon"$/],
  "gap": [["--gap", "86400001"], /: gap: expected a number from 0 to 86400000, got 86400001$/],
  "part of a word": [
    ["--outcome", "refuse"],
    /: outcome: expected words from success, .* got "refuse"; did you mean refused\?$/,
  ],
  "misspelt": [["--outcome", "succes,split"], /got "succes"; did you mean success\?$/],
  "declined": [["--outcome", "declined"], /got "declined"; did you mean refused\?$/],
  "approved": [["--next", "approved"], /: next: .* got "approved"; did you mean success\?$/],
  "not Latin-1": [
    ["--outcome", "CF=€"],
    /^ProtocolError: tag CF: expected characters of Latin-1, got "€"/,
  ],
  "two endings": [["--next", "success,refused"], /: next: expected at most one word of each kind/],
  "no amount": [["--when", "refused"], /: when: expected AMOUNT=OUTCOME, got "refused"$/],
  "major units": [["--when", "1.5=refused"], /: when: expected minor units such as 1234/],
  "amount twice": [["--when", "5=04", "--when", "5=05"], /: when: expected each amount once/],
  "the same amount": [["--when", "5=04", "--when", "05=05"], /: when: expected each amount once/],
  "both forms": [["--outcome", "refused", "-f"], /: outcome: expected either this or --failure/],
  "unknown": [["--unknown"], /Unknown option '--unknown'/],
  "of the library only": [["--idle-timeout", "5"], /Unknown option '--idle-timeout'/],
  "the old name of gap": [["--settle", "5"], /Unknown option '--settle'/],
  "no option": [["extra"], /'extra'/],
  "no value": [["-p"], /--port/],
}, ([args, expected]) => assert.throws(() => readArguments(args), expected));

test(
  "server.ts says in one line what is wrong with an argument, exit status 2",
  patience,
  async () => {
    const proxy = await run("proxy.ts", "--failur"); // it has no --failure to suggest
    assert.match(proxy.stderr, /^proxy\.ts: Unknown option '--failur'[^;]*\n$/);
    const cases: [args: string[], expected: RegExp][] = [
      [["-d", "86401"], /^server\.ts: --duration: expected a number from 0 to 86400, got 86401 /],
      [["--outcom", "refused"], /^server\.ts: Unknown option '--outcom'; did you mean --outcome\?/],
      [["-i"], /^server\.ts: --interactive: expected a screen and a keyboard \(a TTY\), got none/],
    ];
    await Promise.all(cases.map(async ([args, expected]) => {
      const { status, stdout, stderr } = await run("server.ts", ...args);
      assert.match(stderr, expected);
      assert.match(stderr, /^[^\n]* \(--help lists the options\)\n$/);
      assert.deepEqual([status, stdout], [2, ""]);
    }));
  },
);

test("server.ts warns that -ft does nothing without -f", patience, async () => {
  const { command } = await serverCommand("-ft", "refused");
  await using _server = command;
  await command.prints(
    "stderr",
    /warn +--failure-type is ignored without --failure\n.*success mode/,
  );
});

test(
  "--help has every option with its default, and every word, in 80 columns",
  patience,
  async () => {
    const { status, stdout: help, stderr } = await run("server.ts", "--help");
    assert.deepEqual([status, stderr, readArguments(["-h"])], [0, "", help]);
    for (const line of help.split("\n")) {
      assert.ok(line.length <= 80, line);
      assert.equal(line.trimEnd(), line);
    }
    const text = help.replace(/\s+/g, " ");
    const expected = [
      /-p, --port PORT [^-]* \(8888\)/,
      /--host HOST [^-]* \(every interface\)/,
      // In the order in which they are asked.
      /--when AMOUNT=OUTCOME 1\. .* --next OUTCOME 2\. .* -i, --interactive 3\. .* --outcome OUTCOME 4\. for all others \(success\)/,
      /-f, --failure /,
      /-ft, --failure-type TYPE [^(]* \(abandon\)/,
      /-pt, --payment-type CARD [^-]* \(cbcontact\)/,
      /-d, --duration SECONDS [^(]* \(3\)/,
      /-sc, --seller-contract NUMBER [^-]* \(424242\)/,
      /--exclusive .*--strict /,
      /--gap MS [^-]* \(20\)/,
      /--json .*-l, --log-level LEVEL [^-]* \(info\) -h, --help .*--version /,
      /cbcontact, .*, ancv .*delay=SECONDS .*pending .*hangup .*TAG=VALUE /,
      /truncate the answer is cut .*split the answer in segments, .*dribble the answer byte by byte/,
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
    ["127.0.0.1", port, /host 127\.0\.0\.1, port \d+: the port is in use by another program\n$/],
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
    assert.match(stderr, /^server\.ts: cannot listen on host [^\n]*, port 0: [^\n]*\n$/);
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
    assert.ok(performance.now() - started < CLOSE_TIMEOUT); // it waits for no POS
  }));
});

test(
  "server.ts --json prints what happens, one object a line, and the log stays on stderr",
  patience,
  async () => {
    await using command = Command.start(
      "server.ts",
      ...["-p", "0", "--host", "127.0.0.1", "-d", "0", "--json"],
      ...["--when", "*01=success,garbage", "--next", "refused", "--outcome", "silent"],
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
        assert.ok(event.milliseconds >= 0 && event.milliseconds <= took);
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

// ---------------------------------------------------------------- the screen of a person

/** Waits as eventually() does, but for a program that starts a runtime first. */
async function started(condition: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`after 30 s: not yet ${what()}`);
    await sleep(3);
  }
}

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

/** The terminal command on a screen. */
class Screen implements AsyncDisposable {
  /** What was printed. */
  printed = "";
  readonly #columns: number;
  readonly #python: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(columns: number, ...args: string[]) {
    this.#columns = columns;
    const script = '"$@"; echo "status $?"; stty -a'; // which tells how the screen was left
    this.#python = spawn(
      "python3",
      ["-c", TERMINAL, `${columns}`, "sh", "-c", script, "sh", ...IN_SHELL, "-i", ...args],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    this.#ended = new Promise((resolve) => this.#python.on("close", resolve));
    this.#python.stdout!.setEncoding("utf8").on("data", (text: string) => this.printed += text);
  }

  press(keys: string): void {
    this.#python.stdin!.write(keys);
  }

  /** What a person sees, line by line: with lines that are too long broken, and what is erased gone. */
  get lines(): string[] {
    let lines = [""];
    const whole = this.printed.replace(/(\r|\x1b(\[\d*)?)$/, ""); // the rest of it is to come
    const pieces = whole.match(/\r?\n|\x1b\[\d*[A-Za-z]|[^\x1b\n\r]|[^]/g) ?? [];
    for (const piece of pieces) {
      const [, up] = /^\x1b\[(\d+)A$/.exec(piece) ?? [];
      if (/^\x1b\[(J|\d+m|0G|2K)$/.test(piece)) continue; // Deno clears a line before it starts
      if (up) lines = [...lines.slice(0, -1 - Number(up)), ""];
      else if (piece === "\r\n") lines.push("");
      else if (/^[^\x00-\x1f]$/.test(piece)) {
        if (lines.at(-1)?.length === (this.#columns || 80)) lines.push("");
        lines[lines.length - 1] += piece;
      } else assert.fail(`${printable(piece)} on the screen`);
    }
    return lines;
  }

  /** What is below the log. */
  get box(): string {
    const { lines } = this;
    return lines.slice(lines.findIndex((line) => /^-+$/.test(line))).join("\n").trimEnd();
  }

  /** Waits until that is below the log. */
  async shows(expected: string): Promise<void> {
    await eventually(() => this.box === expected, "on the screen").catch(() => {});
    assert.equal(this.box, expected);
  }

  /** Waits until that was printed. */
  async prints(expected: RegExp): Promise<string> {
    await started(() => expected.test(this.printed), () => `${expected}: ${this.printed}`);
    return expected.exec(this.printed)![1] ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#python.kill("SIGKILL"); // which ends the screen, and with it what runs on it
    await this.#ended;
  }
}

/** What the screen shows at each width: at none it is taken for 80. */
const WIDE = {
  ready: `
------------------------------------------------------------
| PRÊT / READY                                             |
------------------------------------------------------------
Ctrl-C: stop (arrêter)`,
  debit: `
------------------------------------------------------------
| DÉBIT / DEBIT                                 112,45 EUR |
| CAISSE / POS 01                                          |
| EN ATTENTE / WAITING: 1                                  |
------------------------------------------------------------`,
  gone: `
------------------------------------------------------------
| DÉBIT DIFFÉRÉ / DEFERRED DEBIT                  5,00 EUR |
| CAISSE / POS 02                            PARTIE / GONE |
------------------------------------------------------------`,
  wire: `
CZ0040300CJ012012345678901CA00201CE003978BA0010CD0010CB00511
245`,
  keys: `
Enter: success (accepter)  a: abandon  r: refused (refuser)
f: forbidden (interdire)  t: timeout (délai)
s: silent (silence)  w: raw request (trame)`,
};
const NARROW = {
  ready: `
-----------------------------
| PRÊT / READY              |
-----------------------------
Ctrl-C: stop (arrêter)`,
  debit: `
-----------------------------
| DÉBIT / DEBIT  112,45 EUR |
| CAISSE / POS 01           |
| EN ATTENTE / WAITING: 1   |
-----------------------------`,
  gone: `
-----------------------------
| DÉBIT DIFFÉRÉ / DEFERRED  |
| DEBIT            5,00 EUR |
| CAISSE / POS 02           |
|             PARTIE / GONE |
-----------------------------`,
  wire: `
CZ0040300CJ012012345678901CA0
0201CE003978BA0010CD0010CB005
11245`,
  keys: `
Enter: success (accepter)
a: abandon
r: refused (refuser)
f: forbidden (interdire)
t: timeout (délai)
s: silent (silence)
w: raw request (trame)`,
};

const needsScreen = {
  ...patience,
  skip: works("python3", "-c", "import pty") ? false : "there is no python3 with pty",
};

test(
  "server.ts -i fits the screen, shows what waits, and leaves the screen as it was",
  needsScreen,
  async () => {
    const cases: [columns: number, expected: typeof WIDE][] = [[80, WIDE], [30, NARROW], [0, WIDE]];
    await Promise.all(cases.map(async ([columns, { ready, debit, gone, wire, keys }]) => {
      await using screen = new Screen(columns);
      const port = Number(await screen.prints(/listening on 127\.0\.0\.1 port (\d+)/));
      await screen.shows(ready.trim());
      await using first = await Peer.connect(port);
      first.send(`${DEBIT}\n`);
      await screen.prints(/#1 received/);
      const second = await Peer.connect(port);
      second.send(`${encodeText({ ...DEBIT_MESSAGE, CA: "02", CD: "7", CB: "500" })}\n`);
      await screen.shows((debit + keys).trim());
      screen.press("w");
      await screen.shows((debit + wire + keys).trim());
      screen.press("\x1b[A\x1bOR\x1brx"); // up, F3, Alt-R and a letter that decides nothing
      screen.press("w");
      await screen.shows((debit + keys).trim());
      assert.equal(first.text, "");
      screen.press("wr");
      await first.until(/AF00204$/);
      await using _gone = second;
      second.reset();
      await screen.shows((gone + keys).trim());
      screen.press("\r");
      await screen.shows(ready.trim());
      for (
        const told of [
          /debit 112\.45 EUR of 01: refused/,
          /deferred debit 5\.00 EUR of 02: success/,
        ]
      ) {
        const log = () => screen.lines.join(columns === 30 ? "" : "\n");
        await eventually(() => new RegExp(`info +${told.source}`).test(log()), `${told}: ${log()}`);
      }
      screen.press("\x03");
      const left = await screen.prints(/status 0\s+(speed [^]* echo [^]*)/);
      assert.match(left, / icanon/);
      assert.doesNotMatch(screen.lines.join("\n"), /PRÊT/);
    }));
  },
);

test(
  "server.ts -i: each key is an outcome, two at once are two, and nothing a POS sends moves the screen",
  needsScreen,
  async () => {
    await using screen = new Screen(80, "-l", "error", "-p", "0", "--json");
    const port = Number(await screen.prints(/"port":(\d+)/));
    await using peer = await Peer.connect(port);
    const register = "\x1b[2J";
    const keys: [key: string, ending: RegExp][] = [
      ["A", /AF00211$/],
      ["f", /AF00205$/],
      ["t", /AF00208$/],
      ["\n", /AE00210/],
    ];
    for (const [key, ending] of keys) {
      const before = peer.text.length;
      peer.send(`${encodeText({ ...DEBIT_MESSAGE, CA: register })}\n`);
      await eventually(() => screen.box.includes(`CAISSE / POS ${printable(register)} `), "asked");
      screen.press(key);
      await peer.until(ending);
      await eventually(() => peer.text.length > before && screen.box.includes("PRÊT"), "answered");
    }
    await using other = await Peer.connect(port);
    for (const pos of [other, peer]) {
      pos.send(`${DEBIT}\n`);
      await eventually(() => screen.box.includes("CAISSE / POS 01"), "asked");
    }
    await eventually(() => screen.box.includes("WAITING: 1"), "waiting");
    screen.press("rs");
    await other.until(/AF00204$/);
    await screen.prints(/of 01: silent/);
    await screen.shows(WIDE.ready.trim()); // and nothing else below the log and the events
    assert.ok(!screen.printed.includes(register));
    // An identification is answered without anybody.
    assert.equal((await ask(port, `${encodeText({ ...BASE, CD: "I" })}\n`))["AE"], "10");
  },
);

test(
  "server.ts -i shows what was not read while it was busy, fields without a value, and actions of a model",
  needsScreen,
  async () => {
    await using screen = new Screen(80, "-p", "0", "--exclusive", "--model", "desk5000");
    const port = Number(await screen.prints(/port (\d+)/));
    await using first = await Peer.connect(port);
    first.send(`${DEBIT}\n`);
    await eventually(() => screen.box.includes("CAISSE / POS 01"), "asked");
    await using second = await Peer.connect(port);
    second.send(`${encodeText({ ...DEBIT_MESSAGE, CA: "02" })}CF000\n`);
    await screen.prints(/(CA00202)/);
    await using third = await Peer.connect(port);
    third.send(`${encodeText({ ...DEBIT_MESSAGE, CA: "03" })}\n`);
    await screen.prints(/(CA00203)/);
    screen.press("r");
    await eventually(() => screen.box.includes("CAISSE / POS 02"), "asked");
    screen.press("w");
    await eventually(() => screen.box.includes("CF000"), "raw");
    screen.press("r");
    await second.until(/AF00204$/);
    await eventually(() => screen.box.includes("CAISSE / POS 03"), "asked");
    screen.press("r");
    await third.until(/AF00204$/);
    await using other = new Screen(80, "-p", "0", "--model", "payxpert");
    await using peer = await Peer.connect(Number(await other.prints(/port (\d+)/)));
    peer.send(`${encodeText({ ...BASE, CD: "T" })}\n`);
    await peer.until(/AF00210$/); // there is no transaction yet, and nobody is asked
  },
);

test("client.ts --probe asks on the screen before it sends", needsScreen, async () => {
  const client = fileURLToPath(new URL("client.ts", import.meta.url));
  const deno = isDeno ? ["run", "--no-prompt", "--allow-net"] : [];
  await using terminal = await terminalWith();
  const args = ["--probe", "-p", `${terminal.port}`];
  const cases: [typed: string, expected: RegExp][] = [
    ["oui\r", /\(yes, oui\) oui\s+\x1b\[Ksent: CZ0040300CJ/],
    ["YES\r", /\(yes, oui\) YES\s+\x1b\[Ksent: CZ0040300CJ/],
    ["y\r", /\(yes, oui\) y\s+\x1b\[Ksent: CZ0040300CJ/],
    ["O\r", /\(yes, oui\) O\s+\x1b\[Ksent: CZ0040300CJ/],
    ["no\r", /client.ts: nothing sent\s+status 2\s*$/],
    ["\x04", /client.ts: nothing sent\s+status 2\s*$/], // Ctrl-D
  ];
  await Promise.all(cases.map(async ([typed, expected]) => {
    const script = '"$@"; echo "status $?"';
    const sh = ["sh", "-c", script, "sh", process.execPath, ...deno, client, ...args];
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
