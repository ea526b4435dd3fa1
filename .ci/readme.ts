// Holds the papers against the project, in a folder that must be a copy: it writes files there.
// Every code block and every flag of their tables is run. The first line of a file block names the
// file; a text or json block is what the last command printed, digits aside; a terminal that is
// started stays until another is started, or the paper ends.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { PAGE } from "../page.ts";
import { decode, DEVIATIONS, TAGS, VERSION } from "../protocol.ts";
import { CARDS, ENDINGS, FAULTS, FLAGS, MODELS, WARNINGS } from "../server.ts";

const PAPERS = new Map(
  ["README.md", "README.fr.md", "REFERENCE.md", "PROTOCOL.md"].map((
    name,
  ) => [name, readFileSync(name, "utf8")]),
);
const readme = PAPERS.get("README.md") ?? "";
const french = PAPERS.get("README.fr.md") ?? "";
const protocol = PAPERS.get("PROTOCOL.md") ?? "";

/** How the files of the blocks are run, each as the paper says. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  "till_test.ts": [
    "deno test --allow-net till_test.ts",
    "bun test ./till_test.ts",
    "node --test till_test.ts",
  ],
  "till.spec.ts": ["npx vitest run till.spec.ts"],
  "test_till.py": ["python3 -m pytest -q test_till.py"],
  "till_test.php": ["php till_test.php"],
};

function run(command: string): string {
  process.stdout.write(`$ ${command}\n`);
  try {
    return execFileSync("bash", ["-c", command], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      timeout: 120_000,
    });
  } catch (error) {
    process.stdout.write((error as { stdout: string }).stdout);
    throw error;
  }
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

const terminals: ChildProcess[] = [];

async function start(command: string): Promise<string> {
  const { terminal, printed } = await listening(command);
  terminals.push(terminal);
  return printed;
}

async function stopAll(): Promise<void> {
  for (const terminal of terminals.splice(0)) {
    terminal.kill();
    await once(terminal, "exit");
  }
}

/** Text without its digits. */
const shape = (text: string): string => text.trim().replace(/\d/g, "0");

/** A transaction without its numbers; whether its connection is closed yet is a matter of time. */
function shapeOfJson(text: string): unknown {
  const { closed: _closed, ...value } = JSON.parse(text);
  return JSON.parse(JSON.stringify(value).replace(/\d+/g, "0"));
}

// ---------------------------------------------------------------- code blocks

for (const [paper, text] of PAPERS) {
  process.stdout.write(`== ${paper}\n`);
  let printed = "";
  for (const [, kind, body = ""] of text.matchAll(/^```([\w-]+)\n([^]*?)^```$/gm)) {
    if (kind === "text") assert.equal(shape(printed), shape(body));
    else if (kind === "json") assert.deepEqual(shapeOfJson(printed), shapeOfJson(body));
    else if (kind === "caisse-ap") body.trim().split("\n").forEach(decode);
    else if (kind === "sh") {
      for (const command of body.trim().split("\n")) {
        const [, terminal] =
          /^(deno run .*(?:server|web)\.ts(?: -d 0| -i| --outcome \w+)?)(?: &)?$/.exec(command) ??
            [];
        if (terminal) {
          await stopAll();
          printed = await start(terminal);
        } else if (command === "kill %1") await stopAll();
        else printed = run(command);
      }
    } else if (kind !== "csharp" && kind !== "yaml") {
      await stopAll();
      const [, name = ""] = /^(?:<\?php )?(?:\/\/|#) (\S+)\n/.exec(body) ?? [];
      const commands = FILES[name];
      assert.ok(commands, `a ${kind} block that nothing runs: ${body}`);
      writeFileSync(name, body);
      for (const command of commands) {
        const isOther = kind === "python" || kind === "php";
        assert.ok(isOther || text.includes(command), `${paper} does not tell ${command}`);
        run(command.replace("npx vitest", "npx --yes vitest@5.1.1"));
        if (!isOther) continue;
        await start("bun web.ts -d 0"); // and does not take another terminal for its own
        assert.notEqual(spawnSync("bash", ["-c", command], { timeout: 60_000 }).status, 0, command);
        await stopAll();
      }
    }
  }
  await stopAll();
}

// ---------------------------------------------------------------- tables

const cells = (row: string): string[] => row.split(/(?<!\\)\|/).map((cell) => cell.trim());
const rowsOf = (text: string): string[][] =>
  text.split("\n").filter((line) => line.startsWith("| ")).map(cells);
const spans = (cell = ""): string[] =>
  [...cell.matchAll(/`([^`]+)`/g)].map(([, code = ""]) => code);

const flags = { server: new Set<string>(), client: new Set<string>() };
for (const [, , cell = ""] of [readme, french].flatMap(rowsOf)) {
  const codes = spans(cell);
  if (codes.some((code) => code.startsWith("client.ts "))) {
    for (const code of codes) flags.client.add(code.replace("client.ts ", ""));
  } else if (cell.startsWith("`--")) { for (const code of codes) flags.server.add(code); }
}
flags.server.delete("--interactive"); // which needs a screen
await start("bun server.ts -l info -d 0");
for (const code of flags.client) run(`bun client.ts -l error ${code}`);
await stopAll();
for (const code of flags.server) {
  await start(`bun server.ts -p 0 ${code}`);
  await stopAll();
}

// web.ts has the options of server.ts, and more.
for (
  const [name, script] of [
    ["server.ts", "web.ts"],
    ["client.ts", "client.ts"],
    ["proxy.ts", "proxy.ts"],
  ]
) {
  const from = readme.indexOf(`| option of ${name}`);
  const table = readme.slice(from, readme.indexOf("\n\n", from));
  const options = (text: string): string[] => text.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? [];
  const help = run(`bun ${script} --help`).replace(/^examples:[^]*/m, "");
  const own = new Set(options(help));
  // Which the text above the tables tells.
  for (const option of ["--json", "--log-level", "--help", "--version"]) own.delete(option);
  assert.deepEqual(new Set(options(table)), own, `the options of ${name}`);
  const helpOf = new Map(
    help.split(/^(?= {2}(?:-\w+, *| {5})--[a-z])/m).map((text) => [options(text)[0], text.trim()]),
  );
  for (const [, flags = "", standard = ""] of table.split("\n").map(cells)) {
    const [option = ""] = options(flags);
    const told = /\(([^()]+)\)$/.exec(helpOf.get(option)?.split("\n\n", 1)[0] ?? "")?.[1];
    assert.equal(/^(|off|---.*|default)$/.test(standard) ? told : standard, told, option);
  }
}

/** What the page calls the tags in French. */
const [, data = "{}"] = /^const DATA = (.*);$/m.exec(PAGE["/page.js"].text) ?? [];
const frenchTags: Record<string, [label: string, french: string]> = JSON.parse(data).tags;

assert.deepEqual(
  rowsOf(protocol).filter(([, tag = ""]) => /^[A-Z]{2}$/.test(tag)).map((row) => row.slice(1, 5)),
  [...TAGS].map(([tag, { label, size, digits }]) => {
    const characters = `${[...new Set(size)].join("-")}${digits ? " digits" : ""}`;
    const [, french] = frenchTags[tag] ?? [];
    assert.ok(french !== label || label === "action", `page.ts: the French of ${tag}`);
    return [tag, characters, label, french];
  }),
);

/** The codes in a paper's tables and those there are, as "AF 04", each with words. */
const isCode = ([, code = ""]: string[]): boolean => /^[A-Z]{2} \w+$/.test(code);
const codes = [...TAGS].flatMap(([tag, { codes }]) =>
  [...codes ?? []].map(([code, { label, french }]) => [`${tag} ${code}`, label, french])
);
assert.deepEqual(
  rowsOf(protocol).filter(isCode).map((row) => row.slice(1, 4)).sort(),
  codes.toSorted(),
);
assert.deepEqual(
  rowsOf(french).filter(isCode).map((row) => row.slice(1, 3)),
  codes.filter(([code]) => code?.startsWith("AF ")).map(([code, , french]) => [code, french]),
);

for (const code of Object.keys({ ...DEVIATIONS, ...WARNINGS })) {
  const rows = rowsOf(PAPERS.get("REFERENCE.md") ?? "");
  const isThere = rows.some(([, cell]) => spans(cell).includes(code));
  assert.ok(isThere, `REFERENCE.md: ${code}`);
}

/** Every word of an outcome stands in a table. README.fr.md has but two of the cards. */
for (const word of Object.keys({ ...ENDINGS, ...FAULTS, ...FLAGS, ...CARDS })) {
  for (const paper of ["REFERENCE.md", "README.fr.md"]) {
    const isThere = rowsOf(PAPERS.get(paper) ?? "").some(([, cell]) => cell?.includes(word));
    assert.ok(isThere || (paper === "README.fr.md" && word in CARDS), `${paper}: ${word}`);
  }
}

const models = Object.keys(MODELS).filter((name) => name !== "reference");
assert.deepEqual(
  [...protocol.matchAll(/^\*\*.*: `--model (\w+)`$/gm)].map(([, name]) => name),
  models,
);

// ---------------------------------------------------------------- the papers themselves

const lines = readme.trim().split("\n").length;
assert.ok(lines <= 250, `README.md: expected at most 250 lines, got ${lines}`);

/** The anchors of a paper's headings, as GitHub makes them. */
function anchors(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}
for (const [paper, text] of PAPERS) {
  for (
    const [link, file = "", anchor] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)
  ) {
    const there = file || paper;
    assert.ok(existsSync(there), `${paper}: ${link}`);
    const isThere = !anchor || anchors(readFileSync(there, "utf8")).includes(anchor);
    assert.ok(isThere, `${paper}: ${link}`);
  }
}

const [, newest] = /^## \[([^\]]+)\]/m.exec(readFileSync("CHANGELOG.md", "utf8")) ?? [];
assert.equal(newest, VERSION, "the version at the top of CHANGELOG.md");
process.stdout.write("the papers hold\n");
