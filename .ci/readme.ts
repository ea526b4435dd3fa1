// Holds the README against the project, in a folder that must be a copy: it writes files there.
// Every code block and every flag of its tables is run. The first line of a file block names the
// file; a text block is what the last command printed, digits aside; a terminal that is started
// stays until another is started.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { TAGS } from "../protocol.ts";

const FILES: Readonly<Record<string, string>> = {
  "till_test.ts": "deno test --allow-net till_test.ts",
  "till.test.ts": "bun test ./till.test.ts",
  "till.test.mjs": "node --test till.test.mjs",
  "test_till.py": "python3 -m pytest -q test_till.py",
  "till_test.php": "php till_test.php",
};

function run(command: string): string {
  process.stdout.write(`$ ${command}\n`);
  return execFileSync("bash", ["-c", command], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  });
}

/** A terminal that listens, and what it has printed until then. */
async function listening(command: string): Promise<{ terminal: ChildProcess; printed: string }> {
  process.stdout.write(`$ ${command} &\n`);
  const terminal = spawn("bash", ["-c", `exec ${command} 2>&1`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  terminal.stdout.setEncoding("utf8").on("data", (chunk: string) => printed += chunk);
  while (!/listening on .*\n/.test(printed)) {
    const ended = await Promise.race([once(terminal.stdout, "data"), once(terminal, "exit")]);
    assert.ok(typeof ended[0] === "string", `${command} printed ${printed}`);
  }
  return { terminal, printed };
}

async function stop(terminal: ChildProcess): Promise<void> {
  terminal.kill();
  await once(terminal, "exit");
}

const readme = readFileSync("README.md", "utf8");
const shape = (text: string): string => text.trim().replace(/\d/g, "0");
const terminals: ChildProcess[] = [];
let printed = "";

for (const [, kind, body = ""] of readme.matchAll(/^```(\w+)\n([^]*?)^```$/gm)) {
  if (kind === "text") assert.equal(shape(printed), shape(body));
  else if (kind === "sh") {
    for (const command of body.trim().split("\n")) {
      if (/task test$/.test(command)) continue; // which .ci/run runs itself
      if (/^deno run .*(?:server|web)\.ts(?: -d 0)?$/.test(command)) {
        for (const terminal of terminals.splice(0)) await stop(terminal);
        const started = await listening(command);
        terminals.push(started.terminal);
        printed = started.printed;
      } else printed = run(command);
    }
  } else if (kind !== "csharp" && kind !== "yaml") {
    if (kind === "python") { for (const terminal of terminals.splice(0)) await stop(terminal); }
    const [, name = ""] = /^(?:<\?php )?(?:\/\/|#) (\S+)\n/.exec(body) ?? [];
    const command = FILES[name];
    assert.ok(command, `a ${kind} block that nothing runs: ${body}`);
    const isTold = kind === "python" || kind === "php" ||
      readme.includes(command.replace("./", ""));
    assert.ok(isTold, command);
    writeFileSync(name, body);
    run(command);
  }
}

const cells = (row: string): string[] => row.split(/(?<!\\)\|/).map((cell) => cell.trim());
const rows = readme.split("\n").filter((line) => line.startsWith("| ")).map(cells);
const spans = (cell = ""): string[] =>
  [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);

terminals.push((await listening("bun server.ts -l info -d 0")).terminal);
for (const [, , cell = ""] of rows) {
  for (const flags of cell.startsWith("`--") ? spans(cell) : []) {
    if (flags === "--interactive") continue; // which needs a screen
    await stop((await listening(`bun server.ts -p 0 ${flags}`)).terminal);
  }
  for (const flags of cell.startsWith("the till asks") ? spans(cell) : []) {
    run(`bun client.ts -l error ${flags.replace("client.ts", "")}`);
  }
}
for (const terminal of terminals) await stop(terminal);

for (const script of ["server.ts", "client.ts", "web.ts"]) {
  const from = readme.indexOf(`| option of ${script}`);
  const table = readme.slice(from, readme.indexOf("\n\n", from));
  const options = (text: string): string[] => text.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [];
  const help = run(`bun ${script} --help`).replace(/^examples:[^]*/m, "");
  const own = new Set(options(help));
  if (script === "web.ts") options(run("bun server.ts --help")).forEach((name) => own.delete(name));
  assert.deepEqual(new Set(options(table)), own, `the options of ${script}`);
  const helpOf = new Map(
    help.split(/^(?= {2}(?:-\w+, *| {5})--[a-z])/m).map((text) => [options(text)[0], text.trim()]),
  );
  for (const [, flags = "", standard = ""] of table.split("\n").map(cells)) {
    const [option = ""] = options(flags);
    const told = /\(([^()]+)\)$/.exec(helpOf.get(option)?.split("\n\n", 1)[0] ?? "")?.[1];
    assert.equal(/^(|off|---.*|default)$/.test(standard) ? told : standard, told, option);
  }
}

const documented = rows.flatMap(([, tags = "", size = ""]) =>
  /^[A-Z]{2}(, [A-Z]{2})*$/.test(tags)
    ? tags.split(", ").map((tag, index) => [tag, size.split(", ")[index] ?? ""] as const)
    : []
);
assert.deepEqual(
  new Map(documented),
  new Map([...TAGS].map(([tag, { size }]) => [tag, [...new Set(size)].join("-")])),
);
process.stdout.write("the README holds\n");
