// Runs every code block of the README in this folder, which must be a copy: it writes files there.
// A file block is named in its first line, and its command stands before it or here. A command that starts
// the terminal stays until the end of its block. A text block is what the last command printed, digits aside.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import process from "node:process";

const RUNS: Record<string, string> = {
  "till_test.ts": "deno test --allow-net till_test.ts",
  "till.test.ts": "bun test ./till.test.ts",
  "till.test.mjs": "node --test till.test.mjs",
  "till_test.py": "python3 till_test.py",
};

const run = (command: string): string => {
  process.stdout.write(`$ ${command}\n`);
  return execFileSync("bash", ["-c", command], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 120_000,
  });
};

async function listening(port: number): Promise<void> {
  const connects = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => socket.destroy()).on("connect", () =>
        resolve(true));
      socket.on("error", () =>
        resolve(false));
    });
  while (!await connects()) await new Promise((resolve) => setTimeout(resolve, 50));
}

let terminal: ChildProcess | undefined;
let printed = "";
const readme = readFileSync("README.md", "utf8");
const blocks = [...readme.matchAll(/^```(\w+)\n([^]*?)^```$/gm)];
for (const [, kind, body = ""] of blocks) {
  const name = /^(?:\/\/|#) (\S+)\n/.exec(body)?.[1];
  if (kind === "text") {
    const shape = (text: string): string => text.trim().replace(/\d/g, "0");
    assert.equal(shape(printed), shape(body));
  } else if (kind === "sh") {
    for (const command of body.trim().split("\n")) {
      if (/server\.ts$/.test(command) && !/build/.test(command)) {
        process.stdout.write(`$ ${command} &\n`);
        terminal = spawn("bash", ["-c", `exec ${command}`], { stdio: "ignore", detached: true });
        await listening(8888);
      } else if (!/task test$/.test(command)) printed = run(command); // which .ci/run runs itself
    }
  } else {
    assert.ok(name !== undefined && name in RUNS, `a ${kind} block that is not run: ${body}`);
    writeFileSync(name, body);
    assert.ok(
      readme.includes(RUNS[name]!.replace("./", "")) || name.endsWith(".py"),
      `${RUNS[name]} is not in the README`,
    );
    run(RUNS[name]!);
  }
}
if (terminal?.pid) process.kill(-terminal.pid);
// Every flag of the table of what to test is one that the terminal takes.
for (const [, flags = ""] of readme.matchAll(/\| `(--[^|]*)` +\|$/gm)) {
  for (const outcome of flags.matchAll(/(?:--outcome |`, `)([^`]+)/g)) {
    run(
      `bun -e 'import { parseOutcome } from "./server.ts"; parseOutcome(process.argv[1])' '${
        outcome[1]
      }'`,
    );
  }
}
process.stdout.write(`${blocks.length} blocks of the README ran\n`);
