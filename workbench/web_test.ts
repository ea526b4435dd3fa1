// SPDX-License-Identifier: GPL-3.0-or-later
// The command web.ts: its options, its errors, what it prints, its end, and a screen of its own.
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { VERSION } from "../protocol.ts";
import { type Ran, RUNTIME } from "../test_helpers.ts";
import { readWhen } from "./cli.ts";
import { modelsText } from "./models.ts";
import { ask, Command, DEBIT, eventually, patience, Peer, run, table } from "./test_helpers.ts";
import { done, exchange, Reader, refused, webPort, webWith } from "./web_helpers.ts";

/** Holds one line on stderr and nothing else against what is expected. */
function assertLine({ status, stdout, stderr }: Ran, expected: number, line: RegExp): void {
  assert.equal(stdout, "");
  assert.match(stderr, line);
  assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.equal(status, expected);
}

/** The command on free ports, and where they are. */
async function started(...args: string[]): Promise<
  { command: Command; port: number; url: string }
> {
  const command = Command.start(
    "workbench/web.ts",
    ...["-p", "0", "--host", "127.0.0.1", "--web-port", "0", "--json"],
    ...args,
  );
  const lines = await command.prints("stdout", /^.*\n.*\n/);
  const [listening, web] = lines.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([listening.event, web.event], ["listening", "web"]);
  return { command, port: listening.port, url: web.url };
}

test("web.ts: --json, a person decides over HTTP without a screen, SIGTERM", patience, async () => {
  await using command = Command.start(
    "workbench/web.ts",
    ...["-p", "0", "--host", "127.0.0.1", "-d", "5", "-i", "--strict", "--json"],
    ...["--web-port", "0", "--web-name", "terminal", "--web-name=till.test"],
  );
  const lines = await command.prints("stdout", /^.*\n.*\n/);
  const [listening, web] = lines.trim().split("\n").map((line) => JSON.parse(line));
  assert.equal(listening.event, "listening");
  const { event, time, host, port, url, ...others } = web;
  assert.deepEqual([event, host, others], ["web", "127.0.0.1", {}]);
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Number.isInteger(port) && port > 0);
  assert.equal(url, `http://127.0.0.1:${port}/`);
  const logged = await command.prints("stderr", /listening[^]*HTTP interface at (\S+)\n/);
  assert.equal(logged, url);
  const terminal = await done(web, "GET /api/terminal");
  assert.deepEqual([terminal.strict, terminal.interactive, terminal.duration], [true, true, 5]);
  for (const [name, status] of [["terminal", 200], ["till.test", 200], ["till", 403]] as const) {
    const got = await exchange(web, ["GET /api/health HTTP/1.1", `Host: ${name}`]);
    assert.equal(got.status, status, name);
  }
  await using peer = await Peer.connect(listening.port);
  const answer = peer.ask(DEBIT);
  await command.prints("stdout", /"event":"waiting"/);
  await done(web, "POST /api/transactions/1/outcome", "refused");
  assert.equal((await answer)["AF"], "04");
  await using _reader = await Reader.open(web);
  const wait = refused(503, web, "GET /api/transactions/next?after=1&timeout=300");
  wait.catch(() => {}); // on Windows a signal ends it at once
  command.signal("SIGTERM");
  assert.equal((await command.ran()).status, 0);
});

test("web.ts prints nothing on stdout without --json", patience, async () => {
  await using command = Command.start(
    "workbench/web.ts",
    ...["-p", "0", "--host", "127.0.0.1", "--web-port", "0"],
  );
  const url = await command.prints("stderr", /HTTP interface at (\S+)\n/);
  await done({ url }, "GET /api/health");
  command.signal("SIGINT");
  const { status, stdout } = await command.ran();
  assert.deepEqual([status, stdout], [0, ""]);
});

test("web.ts: at most warnings, not a word of the start", patience, async () => {
  const { command } = await started("-l", "warn");
  await using _command = command;
  command.signal("SIGTERM");
  const { status, stderr } = await command.ran();
  assert.deepEqual([status, stderr], [0, ""]);
});

test("web.ts: an address of IPv6", patience, async (context) => {
  const probe = net.createServer().listen(0, "::1");
  const hasIPv6 = await once(probe, "listening").then(() => true, () => false);
  probe.close();
  if (!hasIPv6) return context.skip("this machine has no IPv6");
  await using command = Command.start(
    "workbench/web.ts",
    ...["-p", "0", "--host", "::1", "--web-host", "::1", "--web-port", "0", "--json"],
  );
  const line = await command.prints("stdout", /\n(.*)\n/);
  const { host, port, url } = JSON.parse(line);
  assert.deepEqual([host, url], ["::1", `http://[::1]:${port}/`]);
  await done({ url }, "GET /api/health");
});

test("web.ts: every option of a terminal reaches it", patience, async () => {
  const { command, port, url } = await started(
    ...["--model", "hipay", "--when", "5=07", "--when", "*01=CF=a=b", "--next", "silent"],
    ...["--exclusive", "-f", "-ft", "refused", "-d", "0.5", "--callback", "0"],
  );
  await using _command = command;
  const { version, host, port: told, ...settings } = await done({ url }, "GET /api/terminal");
  assert.deepEqual([version, host, told], [VERSION, "127.0.0.1", port]);
  assert.deepEqual(settings, {
    model: "hipay",
    outcome: "refused",
    when: { "5": "07", "*01": "success,CF=a=b" },
    duration: 0.5,
    strict: false,
    exclusive: true,
    interactive: false,
    next: [{ outcome: "success,silent" }],
    waiting: [],
    listening: true,
  });
});

test("web.ts --terminal passes on to another terminal, masked or not", patience, async () => {
  await using real = await webWith({ outcome: "success,cbcontact" });
  for (const unmasked of [false, true]) {
    const more = unmasked ? ["--unmasked"] : [];
    const { command, port, url } = await started("--terminal", `127.0.0.1:${real.port}`, ...more);
    await using _command = command;
    const { terminal, model, outcome } = await done({ url }, "GET /api/terminal");
    assert.deepEqual([terminal, model, outcome], [`127.0.0.1:${real.port}`, undefined, ""]);
    const isReached = async (): Promise<unknown> =>
      (await done({ url }, "GET /api/terminal")).reached;
    assert.equal(await isReached(), undefined); // nothing is asked of it for that
    const { AA = "" } = await ask(port, DEBIT);
    assert.match(AA, /^\d{6}######\d{4}$/);
    const [transaction] = await done({ url }, "GET /api/transactions");
    assert.equal(transaction.answer.message.AA === AA, unmasked);
    assert.equal(await isReached(), true);
    assert.match(await refused(409, { url }, "POST /api/try"), /is a real one$/);
  }
});

test("web.ts --help has every option of server.ts, in lines of 80", patience, async () => {
  const [server, web] = await Promise.all([
    run("server.ts", "--help"),
    run("workbench/web.ts", "--help"),
  ]);
  assert.deepEqual([web.status, web.stderr], [0, ""]);
  for (const line of web.stdout.split("\n")) assert.ok(line.length <= 80, line);
  const options = (help: string): string[] =>
    help.split("\n").filter((line) => /^ {2}(?:-\w+, | +)--/.test(line));
  const names = (help: string): (string | undefined)[] =>
    options(help).map((line) => /--(\S+)/.exec(line)?.[1]);
  assert.ok(options(server.stdout).length > 14);
  const ordered = ["next", "outcome", "duration"]; // whose lines tell of others that decide
  assert.deepEqual(
    options(server.stdout).filter((line) => !options(web.stdout).includes(line))
      .map((line) => /--(\S+)/.exec(line)?.[1]),
    ordered,
  );
  for (const name of ordered) assert.ok(names(web.stdout).includes(name));
  const known = names(server.stdout);
  assert.deepEqual(names(web.stdout).filter((name) => !known.includes(name)), [
    ...["model", "when", "interactive", "callback", "exclusive"],
    ...["web-port", "web-host", "web-name", "terminal", "unmasked"],
  ]);
  assert.match(web.stdout, /--web-port PORT .*\(8889\)/);
  assert.match(web.stdout, /--web-host HOST .*\(127\.0\.0\.1\)/);
  assert.match(web.stdout, /^usage: web\.ts \[options\]$/m);
  assert.match(web.stdout, /^OUTCOME is words/m);
});

test("web.ts --model list and --version", patience, async () => {
  const [list, version] = await Promise.all([
    run("workbench/web.ts", "--model", "list", "-p", "wrong"),
    run("workbench/web.ts", "--version", "-p", "wrong"),
  ]);
  assert.deepEqual(list, { status: 0, stdout: modelsText(), stderr: "" });
  assert.deepEqual(version, { status: 0, stdout: `${VERSION}\n`, stderr: "" });
});

test("web.ts: either port taken, status 1 and one line", patience, async () => {
  await using taken = await webWith();
  const [own, others] = [webPort(taken), taken.port].map(String) as [string, string];
  const quiet = ["--host", "127.0.0.1", "--json"];
  const [one, other] = await Promise.all([
    run("workbench/web.ts", "-p", "0", "--web-port", own, ...quiet),
    run("workbench/web.ts", "-p", others, "--web-port", "0", ...quiet),
  ]);
  const line = (port: string, option: string): RegExp =>
    new RegExp(
      `^web.ts: cannot listen on host 127\\.0\\.0\\.1, port ${port}: the port is in use by ` +
        `another program: stop it, or take another port \\(${option}\\)\n$`,
    );
  assertLine(one, 1, line(own, "--web-port"));
  assertLine(other, 1, line(others, "-p"));
});

test("web.ts: twice the same port, status 2 and one line", patience, async () => {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const ran = await run("workbench/web.ts", "-p", `${port}`, "--web-port", `${port}`, "--json");
  const text =
    `web.ts: --web-port: expected another port than ${port}, on which the terminal listens`;
  assertLine(ran, 2, new RegExp(`^${RegExp.escape?.(text) ?? text}`));
});

test("web.ts: wrong arguments, status 2 and one line", patience, async () => {
  const cases: [args: string[], line: RegExp][] = [
    [
      ["--web-port", "http"],
      /^web\.ts: --web-port: expected a number such as 3 or 0\.5, got "http"/,
    ],
    [["--web-port", "65536"], /^web\.ts: --web-port: expected a whole number from 0 to 65535, got/],
    [["--web-prot", "1"], /^web\.ts: Unknown option '--web-prot'.*; did you mean --web-port\?/],
    [
      ["--web-name", "http://x"],
      /^web\.ts: --web-name: expected a host name alone, .*"http:\/\/x"/,
    ],
    [["--max-body", "1"], /^web\.ts: Unknown option '--max-body'/],
    [
      ["--next", "refussed"],
      /^web\.ts: --next: got "refussed"; did you mean refused\? \(expected w/,
    ],
    [["--model", "desk500"], /^web\.ts: --model: got "desk500"; did you mean desk5000\? /],
    [["--when", "refused"], /^web\.ts: --when: expected AMOUNT=OUTCOME, got "refused"/],
    [["--callback", "-1"], /^web\.ts: --callback: expected a value; one that /],
    [["-d", "-1"], /^web\.ts: --duration: expected a value; .*--duration=-1 /],
    [["--outcome"], /^web\.ts: --outcome: expected a value, got none /],
    [
      ["refused"],
      /^web\.ts: expected options, .* got "refused"; did you mean --outcome refused\? /,
    ],
    [["--unmasked"], /^web\.ts: --unmasked: expected --terminal with it, got none/],
    [["--terminal", "1.2.3.4", "-i"], /^web\.ts: --interactive: expected none: the real terminal /],
    [["--terminal", "1.2.3.4", "--model", "viva"], /^web\.ts: --model: expected none: the real/],
  ];
  await using web = await webWith();
  const problem = (await refused(400, web, "POST /api/next", "refussed")).replace("next: ", "");
  await Promise.all(cases.map(async ([args, line]) => {
    const ran = await run("workbench/web.ts", "-p", "0", "--web-port", "0", ...args);
    assertLine(ran, 2, line);
    if (args[0] === "--next") assert.ok(ran.stderr.includes(problem), ran.stderr);
  }));
});

table<[texts: string[], expected: object]>("readWhen() reads outcomes by amount", {
  "none": [[], {}],
  "two": [["*01=CF=a=b", "5=07"], { "*01": { tags: { CF: "a=b" } }, "5": { failure: "07" } }],
}, ([texts, expected]) => assert.deepEqual(readWhen(texts), expected));

table<[texts: string[], expected: RegExp]>("readWhen() says what is wrong", {
  "no amount": [["refused"], /^OptionError: when: expected AMOUNT=OUTCOME, got "refused"$/],
  "an amount twice": [
    ["5=04", "5=05"],
    /^OptionError: when: expected each amount once, got "5=05"/,
  ],
  "a misspelt outcome": [
    ["5=refussed"],
    /^OptionError: when: got "refussed"; did you mean refused/,
  ],
}, ([texts, expected]) => assert.throws(() => readWhen(texts), expected));

// ---------------------------------------------------------------- a screen of its own

/** Runs a program on a terminal, which it can be typed at and looked at. */
const TERMINAL = `
import os, pty, select, sys
pid, screen = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
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

const hasScreen = spawnSync("python3", ["-c", "import pty"]).status === 0;
const needsScreen = { ...patience, skip: hasScreen ? false : "there is no python3 with pty" };

/** The command on a screen. */
class Screen implements AsyncDisposable {
  /** What was printed. */
  printed = "";
  readonly #python: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor(...args: string[]) {
    const web = fileURLToPath(new URL("web.ts", import.meta.url));
    const script = '"$@"; echo "status $?"; exec cat'; // the screen stays
    const sh = ["sh", "-c", script, "sh", ...RUNTIME, web, ...args];
    this.#python = spawn("python3", ["-c", TERMINAL, ...sh], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#ended = once(this.#python, "close");
    this.#python.stdout!.setEncoding("utf8").on("data", (text: string) => this.printed += text);
  }

  press(keys: string): void {
    this.#python.stdin!.write(keys);
  }

  /** Waits until that was printed. */
  prints(expected: RegExp): Promise<void> {
    return eventually(() => expected.test(this.printed), `${expected}`).catch(() => {
      assert.match(this.printed, expected);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#python.kill("SIGKILL"); // which ends the screen, and with it what runs on it
    await this.#ended;
  }
}

/** Listens on the port of the page, which tests of other runtimes may be doing, too. */
async function takePort(): Promise<net.Server> {
  const end = performance.now() + 30_000;
  for (;;) {
    const server = net.createServer().listen(8889, "127.0.0.1");
    const isTaken = await once(server, "listening").then(() => true, () => false);
    if (isTaken || performance.now() > end) return server; // or another program has it all the time
    await sleep(20);
  }
}

test("web.ts on a screen of its own: an error waits for a key", needsScreen, async () => {
  const taken = await takePort();
  try {
    await using screen = new Screen();
    await screen.prints(/Le terminal ne peut pas démarrer : un autre programme utilise déjà le po/);
    await screen.prints(/port 888[89]: the port is in use[^]*Appuyez sur une touche/);
    assert.doesNotMatch(screen.printed, /status/);
    screen.press("x");
    await screen.prints(/web\.ts: cannot listen on [^]*status 1/);
  } finally {
    taken.close();
  }
});

test("web.ts on a screen of its own: its address, in French", needsScreen, async (context) => {
  const other = net.createServer().listen(8888);
  const isFree = await once(other, "listening").then(() => true, () => false);
  await new Promise((resolve) => other.close(resolve));
  if (!isFree) return context.skip("another program has port 8888");
  for (let attempt = 0;; attempt++) { // the tests of other runtimes take the same ports
    await using screen = new Screen();
    await screen.prints(/Appuyez sur une touche|fermez cette fenêtre/);
    if (/Appuyez/.test(screen.printed) && attempt < 20) continue;
    assert.match(screen.printed, /Le terminal simulé est prêt[^]*http:\/\/127\.0\.0\.1:8889\/\s/);
    assert.match(screen.printed, /La caisse le trouve à l'adresse de cet ordinateur, port 8888\./);
    return;
  }
});

test("web.ts with arguments on a screen is no double click", needsScreen, async () => {
  await using taken = await webWith();
  await using failing = new Screen("-p", "0", "--web-port", `${webPort(taken)}`);
  await failing.prints(/web\.ts: cannot listen on [^]*status 1/);
  await using help = new Screen("--help");
  await help.prints(/status 0/);
  for (const { printed } of [failing, help]) {
    assert.doesNotMatch(printed, /Appuyez|terminal simulé/);
  }
});
