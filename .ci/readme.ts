// Holds the papers against the project, in a folder that must be a copy: it writes files there.
// Every code block and every flag of their tables is run. The first line of a file block names the
// file; a text or json block is what the last command printed, digits aside; a terminal that is
// started stays until another is started, or the paper ends.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { decode, DEVIATIONS, TAGS, VERSION } from "../protocol.ts";
import { CARDS, ENDINGS, FAULTS, FLAGS } from "../server.ts";
import { amountOf, CASES } from "../workbench/exam_cases.ts";
import { MODELS } from "../workbench/models.ts";
import { FRENCH_TAGS, FRENCH_WORDS } from "../workbench/page/french.ts";
import { WARNINGS } from "../workbench/warnings.ts";

const PAPERS = new Map(
  ["README.md", "README.fr.md", "docs/REFERENCE.md", "docs/PROTOCOL.md"].map((
    name,
  ) => [name, readFileSync(name, "utf8")]),
);
const readme = PAPERS.get("README.md") ?? "";
const french = PAPERS.get("README.fr.md") ?? "";
const reference = PAPERS.get("docs/REFERENCE.md") ?? "";
const protocol = PAPERS.get("docs/PROTOCOL.md") ?? "";

/** Blocks that nothing here can run. */
const NOT_RUN = ["csharp", "yaml", "nginx", "caddyfile"];

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
  "naive_till.py": [], // which a command that follows runs
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
  const signal = AbortSignal.timeout(30_000);
  while (!/(?:listening on|pays on port) .*\n/.test(printed)) {
    const ended = await Promise.race([
      once(terminal.stdout, "data", { signal }),
      once(terminal, "exit", { signal }),
    ]);
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

/** Text without its numbers, and without the line breaks that depend on how long they are. */
const shape = (text: string): string => text.trim().replace(/\d+/g, "0").replace(/\s+/g, " ");

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
          /^(deno run .*(?:server|web|exam)\.ts(?: -d 0| -i| --outcome \w+)?)(?: &)?$/.exec(
            command,
          ) ??
            [];
        if (terminal) {
          await stopAll();
          printed = await start(terminal);
        } else if (command === "kill %1") await stopAll();
        else printed = run(command);
      }
    } else if (!NOT_RUN.includes(kind ?? "")) {
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
        await start("bun workbench/web.ts -d 0"); // and does not take another terminal for its own
        run(command);
        await stopAll();
        writeFileSync(name, body.replace('FOLDER = "."', 'FOLDER = "nowhere"')); // then it says why
        const failed = spawnSync("bash", ["-c", command], { encoding: "utf8", timeout: 60_000 });
        assert.notEqual(failed.status, 0, command);
        assert.match(
          failed.stdout + failed.stderr,
          /not found.*nowhere\/workbench\/web\.ts/,
          command,
        );
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

/** The tables of a paper, each with the cells of its first line. */
const tablesOf = (text: string): { head: string[]; rows: string[][] }[] =>
  text.split("\n\n").filter((part) => part.startsWith("| ")).map((part) => {
    const [head = [], ...rows] = rowsOf(part);
    return { head, rows };
  });

const flags = new Map<string, Set<string>>();
for (const { head, rows } of [readme, french].flatMap(tablesOf)) {
  const [, script] = /`((?:workbench\/)?(?:server|web)\.ts)`/.exec(head[2] ?? "") ?? [];
  if (script === undefined) continue;
  for (const [, , cell] of rows) {
    const codes = spans(cell);
    const isClient = codes[0]?.startsWith("client.ts ") ?? false;
    const key = isClient ? "client.ts" : script;
    const known = flags.get(key) ?? new Set<string>();
    for (const code of codes) known.add(code.replace("client.ts ", ""));
    flags.set(key, known);
  }
}
await start("bun workbench/web.ts -l info -d 0");
for (const code of flags.get("client.ts") ?? []) run(`bun client.ts -l error ${code}`);
await stopAll();
for (const script of ["server.ts", "workbench/web.ts"]) {
  const port = script === "server.ts" ? "-p 0" : "-p 0 --web-port 0";
  for (const code of flags.get(script) ?? []) {
    await start(`bun ${script} ${port} ${code}`);
    await stopAll();
  }
}

/** The options that a text names, Deno's permissions aside. */
const options = (text: string): string[] => text.match(/(?<![\w-])--(?!allow-)[a-z][a-z-]*/g) ?? [];

/** The table of the options of a command. */
const tableOf = (title: string): string => {
  const from = readme.indexOf(`| option of ${title} `);
  assert.ok(from >= 0, `README.md: a table "option of ${title}"`);
  return readme.slice(from, readme.indexOf("\n\n", from));
};

for (
  const [script, ...titles] of [
    ["server.ts", "server.ts and web.ts"],
    ["workbench/web.ts", "server.ts and web.ts", "web.ts alone"],
    ["client.ts", "client.ts"],
    ["workbench/proxy.ts", "proxy.ts"],
    ["workbench/probe.ts", "probe.ts"],
    ["workbench/exam.ts", "server.ts and web.ts", "exam.ts"],
  ] as const
) {
  const table = titles.map(tableOf).join("\n");
  const help = run(`bun ${script} --help`).replace(/^examples:[^]*/m, "");
  const own = new Set(options(help));
  // Which the text above the tables tells.
  for (const option of ["--json", "--log-level", "--help", "--version"]) own.delete(option);
  assert.deepEqual(new Set(options(table)), own, `the options of ${script}`);
  const helpOf = new Map(
    help.split(/^(?= {2}(?:-\w+, *| {4,5})--[a-z])/m).map((
      text,
    ) => [options(text)[0], text.trim()]),
  );
  const last = tableOf(titles.at(-1)!); // the others are held against their own command
  for (const [, flags = "", standard = ""] of last.split("\n").map(cells)) {
    const [option = ""] = options(flags);
    const told = /\(([^()]+)\)$/.exec(helpOf.get(option)?.split("\n\n", 1)[0] ?? "")?.[1];
    assert.equal(/^(|off|---.*|default)$/.test(standard) ? told : standard, told, option);
  }
}

assert.deepEqual(
  rowsOf(protocol).filter(([, tag = ""]) => /^[A-Z]{2}$/.test(tag)).map((row) => row.slice(1, 5)),
  [...TAGS].map(([tag, { label, size, digits }]) => {
    const characters = `${[...new Set(size)].join("-")}${digits ? " digits" : ""}`;
    const french = FRENCH_TAGS[tag];
    assert.ok(french !== label || label === "action", `french.ts: the French of ${tag}`);
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
  const isThere = rowsOf(reference).some(([, cell]) => spans(cell).includes(code));
  assert.ok(isThere, `docs/REFERENCE.md: ${code}`);
  const forms = Object.values({ ...WARNINGS }[code] ?? {});
  assert.ok(forms.length > 0, `warnings.ts: the words of ${code}`);
  for (const [english, french] of forms) {
    assert.ok(english && french && english !== french, `warnings.ts: both languages of ${code}`);
  }
}

/** Every word of an outcome stands in a table. README.fr.md has but two of the cards. */
for (const word of Object.keys({ ...ENDINGS, ...FAULTS, ...FLAGS, ...CARDS })) {
  for (const paper of ["docs/REFERENCE.md", "README.fr.md"]) {
    const isThere = rowsOf(PAPERS.get(paper) ?? "").some(([, cell]) => cell?.includes(word));
    assert.ok(isThere || (paper === "README.fr.md" && word in CARDS), `${paper}: ${word}`);
  }
}
for (const word of Object.keys({ ...FAULTS, ...FLAGS })) {
  assert.ok(Object.hasOwn(FRENCH_WORDS, word), `french.ts: ${word}`);
}

const models = Object.keys(MODELS).filter((name) => name !== "reference");
assert.deepEqual(
  [...protocol.matchAll(/^\*\*.*: `--model (\w+)`$/gm)].map(([, name]) => name),
  models,
);
for (const name of models) assert.match(readme, new RegExp(`\\b${name}\\b`), `README.md: ${name}`);

/** The cases of the examination: a row has one, or two that are alike. */
const told = rowsOf(reference).flatMap(([, amounts = "", names = ""]) => {
  const all = amounts.match(/-?\d+\.\d\d/g) ?? [];
  return spans(names).map((name, at) => [name, all[at]]);
});
for (const one of CASES) {
  const isThere = told.some(([name, amount]) => name === one.name && amount === amountOf(one));
  assert.ok(isThere, `docs/REFERENCE.md: the case ${one.name}, ${amountOf(one)}`);
}

// ---------------------------------------------------------------- the papers themselves

const lines = readme.trim().split("\n").length;
assert.ok(lines <= 320, `README.md: expected at most 320 lines, got ${lines}`);

/** The anchors of a paper's headings, as GitHub makes them. */
function anchors(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}
for (const paper of [...PAPERS.keys(), "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md"]) {
  for (
    const [link, file = "", anchor] of readFileSync(paper, "utf8").matchAll(
      /\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g,
    )
  ) {
    const there = file ? path.join(path.dirname(paper), file) : paper;
    assert.ok(existsSync(there), `${paper}: ${link}`);
    const isThere = !anchor || anchors(readFileSync(there, "utf8")).includes(anchor);
    assert.ok(isThere, `${paper}: ${link}`);
  }
}

const [, newest] = /^## \[([^\]]+)\]/m.exec(readFileSync("CHANGELOG.md", "utf8")) ?? [];
assert.equal(newest, VERSION, "the version at the top of CHANGELOG.md");
process.stdout.write("the papers hold\n");
