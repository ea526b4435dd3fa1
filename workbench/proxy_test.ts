// SPDX-License-Identifier: GPL-3.0-or-later
// The command, and web.ts with a proxy.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { encodeText } from "../protocol.ts";
import { startWeb } from "./http.ts";
import { exchanged, withStdin } from "./proxy_helpers.ts";
import { startProxy } from "./relay.ts";
import { BASE, Command, DEBIT, patience, payAt, run, table, terminalWith } from "./test_helpers.ts";

test("web.ts shows and steers a proxy", patience, async () => {
  await using real = await terminalWith();
  const place = `127.0.0.1:${real.port}`;
  await using proxy = await startProxy({ port: 0, host: "127.0.0.1", terminal: place });
  await using web = await startWeb(proxy, { port: 0, real: place });
  const call = async (path: string, init: RequestInit = {}): Promise<[number, unknown]> => {
    const response = await fetch(new URL(path, web.url), {
      ...init,
      signal: AbortSignal.timeout(10_000),
    });
    return [response.status, await response.json()];
  };
  assert.equal((await call("/api/next", { method: "POST", body: "truncate" }))[0], 200);
  const [status, refused] = await call("/api/next", { method: "POST", body: "refused" });
  assert.equal(status, 400);
  assert.match(JSON.stringify(refused), /the real terminal decides the rest/);
  await assert.rejects(payAt(proxy.port));
  const [, told] = await call("/api/transactions/next");
  const { due, answer } = told as { due: { raw: string }; answer: { raw: string } };
  assert.equal(due.raw.length - 1, answer.raw.length);
  assert.match(due.raw, /AC006\*{6}/);
  const [, about] = await call("/api/terminal");
  assert.equal((about as { terminal: string }).terminal, `127.0.0.1:${real.port}`);
  assert.equal("model" in (about as object), false);
  const outcomes = [(about as { outcome: string }).outcome];
  for (const outcome of ["CC=003,split", ""]) {
    const body = JSON.stringify({ outcome });
    const headers = { "content-type": "application/json" };
    const [, changed] = await call("/api/terminal", { method: "PATCH", body, headers });
    outcomes.push((changed as { outcome: string }).outcome);
  }
  const [, again] = await call("/api/reset", { method: "POST" });
  outcomes.push((again as { outcome: string }).outcome);
  assert.deepEqual(outcomes, ["", "split,CC=003", "", ""]); // success is for the terminal to decide
  assert.deepEqual(await call("/api/try", { method: "POST" }), [409, {
    error: `expected a simulated terminal, 127.0.0.1:${real.port} is a real one`,
  }]);
  assert.equal(real.transactions.length, 1);
});

/** A proxy as a command on a free port, once it listens. */
async function proxyCommand(...args: string[]): Promise<{ command: Command; port: number }> {
  const command = Command.start("workbench/proxy.ts", "-p", "0", "--host", "127.0.0.1", ...args);
  return {
    command,
    port: Number(await command.prints("stderr", /listening on 127\.0\.0\.1 port (\d+)/)),
  };
}

test("proxy.ts records, plays and compares", patience, async () => {
  await using real = await terminalWith();
  const { command, port } = await proxyCommand("--terminal", `127.0.0.1:${real.port}`, "--json");
  await using _proxy = command;
  assert.equal((await payAt(port)).status, "approved");
  await command.prints("stdout", /"closed"/);
  command.signal("SIGTERM");
  const { status, stdout } = await command.ran();
  // As if it had taken seconds, which the simulated terminal then takes too: however late a busy
  // machine is, that is no difference.
  const recording = stdout.replace(/(?<="milliseconds":)\d+/g, "1500");
  assert.equal(status, 0);
  assert.equal(recording.split("\n").length, 5);

  const [same, other, asJson] = await Promise.all([
    withStdin(recording, "--compare"),
    withStdin(recording.replaceAll("AE00210", "AE00211"), "--compare"),
    withStdin(recording.replaceAll("AE00210", "AE00211"), "--compare", "--json"),
  ]);
  assert.deepEqual([same.status, same.stderr], [0, ""]);
  assert.equal(
    same.stdout,
    "line 2: debit 112.45 EUR of 01, simulated as success,cbcontact,delay=1: no difference\n0 of 1 differ\n",
  );
  assert.deepEqual([other.status, other.stderr], [1, ""]);
  assert.match(other.stdout, /^line 2: .*\n {2}AE: recorded 11, simulated 10\n1 of 1 differ\n$/);
  const { differences } = JSON.parse(asJson.stdout);
  assert.deepEqual(differences, [{ what: "value", tag: "AE", recorded: "11", simulated: "10" }]);

  await using player = Command.start(
    "workbench/proxy.ts",
    "-p",
    "0",
    "--host",
    "127.0.0.1",
    "--replay",
  );
  player.process.stdin!.end(recording);
  const playing = await player.prints("stderr", /port (\d+), playing 1 kinds? of requests?/);
  assert.equal((await payAt(Number(playing), { amount: "5" })).amount, "5.00");
});

test("proxy.ts whose terminal could never be reached ends with status 3", patience, async () => {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port: free } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  const { command, port } = await proxyCommand("--terminal", `127.0.0.1:${free}`);
  await using _proxy = command;
  await assert.rejects(payAt(port));
  await command.prints("stderr", /error #1 cannot reach the terminal at .*: nothing listens there/);
  command.signal("SIGTERM");
  assert.equal((await command.ran()).status, 3);
});

test("proxy.ts says what is wrong with its arguments", patience, async () => {
  const cases: [string[], RegExp][] = [
    [
      [],
      /^proxy\.ts: --terminal: expected one of --terminal HOST, --replay and --compare, got none /,
    ],
    [["--replay", "--compare"], /: expected one of .* got "--replay, --compare"/],
    [["--terminal", "x", "--replay"], /: expected one of .* got "--terminal, --replay"/],
    [["--terminal", "a b"], /: --terminal: expected an address or a name, /],
    [
      ["--terminal", "x", "--outcome", "refused"],
      /: --outcome: expected a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest, got "refused"/,
    ],
    [["--terminal", "x", "-f"], /: --outcome: .* got "abandon"/],
    [
      ["--terminal", "x", "-d", "3"],
      /: --duration: expected none: the real terminal decides that, got 3/,
    ],
    [["--terminal", "x", "--strict"], /: --strict: expected none: the real terminal decides that/],
    [["--terminal", "x", "-i"], /: --interactive: expected none: the real terminal decides that/],
    [["--terminal", "x", "--model", "y"], /: --model: expected --compare, got "--terminal"/],
    [
      ["--compare", "--unmasked"],
      /: --unmasked: expected --terminal or --replay, got "--compare"/,
    ],
    [["--replay", "--next", "split"], /: --next: expected none: the recording decides that/],
    [["--compare", "-p", "1"], /: --port: expected none with --compare, got 1/],
    [["--compare", "--next", "split"], /: --next: expected none with --compare, got /],
    [["--compare", "--outcome", "split"], /: --outcome: expected none: the recording decides that/],
    [["--terminl", "x"], /: Unknown option '--terminl'.*; did you mean --terminal\?/],
  ];
  await Promise.all(cases.map(async ([args, pattern]) => {
    const { status, stdout, stderr } = await withStdin("", ...args);
    assert.deepEqual([status, stdout], [2, ""], stderr);
    assert.match(stderr, pattern);
    assert.equal(stderr.split("\n").length, 2, stderr);
  }));
  const bad = await withStdin("hello", "--compare");
  assert.equal(bad.status, 2);
  assert.match(bad.stderr, /--compare: expected the event of a recording on line 1, got "hello"/);
  for (const mode of ["--replay", "--compare"]) {
    const empty = await withStdin("", mode);
    assert.deepEqual([empty.status, empty.stdout], [2, ""]);
    assert.match(
      empty.stderr,
      new RegExp(`: ${mode}: expected the lines that proxy.ts --json has `),
    );
  }
  const { status, stdout } = await run("workbench/proxy.ts", "--help");
  assert.equal(status, 0);
  assert.match(stdout, /--terminal HOST .*--replay .*--compare .*hangup .*truncate /s);
  assert.doesNotMatch(stdout, /--duration|--strict|pending|refused|AF codes/);
  assert.ok(stdout.split("\n").every((line) => line.length <= 80), "at most 80 columns");
});

test("a long report is printed to its end for one who reads late", patience, async () => {
  const value = (letter: string): string =>
    encodeText({ ...BASE, CD: "I", XX: letter.repeat(999) });
  const recording = Array.from(
    { length: 80 },
    (_, at) =>
      exchanged(value("x"), { raw: `${value("y")}AE00210` }).replaceAll(":1,", `:${at + 1},`),
  ).join("");
  const script = fileURLToPath(new URL("proxy.ts", import.meta.url));
  const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
  const reading = spawn(
    "sh",
    ["-c", '"$@" --compare | { sleep 6; wc -c; }', "sh", process.execPath, ...deno, script],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  let stdout = "";
  reading.stdout.setEncoding("utf8").on("data", (chunk: string) => stdout += chunk);
  reading.stdin.end(recording);
  await once(reading, "close");
  assert.ok(Number(stdout) > 160_000, stdout);
});

table(
  "one signal ends what is under way",
  {
    "--compare, before it has read": ["--compare", "", "SIGTERM"],
    "--compare, while it compares": ["--compare", "slow", "SIGINT"],
    "--replay, before it has read": ["--replay", "", "SIGINT"],
  } satisfies Record<string, [string, string, "SIGINT" | "SIGTERM"]>,
  async ([mode, input, name]) => {
    await using command = Command.start("workbench/proxy.ts", mode);
    const stdin = command.process.stdin!.on("error", () => {});
    const started = performance.now();
    if (input) {
      const late = exchanged(DEBIT, { raw: `${DEBIT}AE00210`, milliseconds: 5_000 });
      stdin.end(late.repeat(100));
    }
    // Whenever it comes: also before anything has started.
    await sleep(input ? 1_500 : 300);
    command.signal(name);
    const { stdout } = await command.ran();
    assert.equal(stdout, "");
    assert.ok(performance.now() - started < 20_000);
  },
);
