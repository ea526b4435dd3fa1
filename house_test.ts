// SPDX-License-Identifier: GPL-3.0-or-later
// The house: which file may import which, and that the files of the port work where they are copied.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { DEBIT, patience } from "./test_helpers.ts";

/** What a program prints that may read and write files, which the tests may not in Deno. */
function printed(code: string): string {
  const asModule = "bun" in process.versions ? ["-e"] : ["--input-type=module", "-e"];
  const how = "deno" in process.versions ? ["eval", "--no-config"] : asModule;
  const options = { encoding: "utf8", timeout: 50_000, maxBuffer: 2 ** 26 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...how, code], options);
  assert.equal(status, 0, stderr);
  return stdout;
}

/** The files of the project, and what each imports. */
function files(): Map<string, { imports: string[]; isCommand: boolean }> {
  const { sources } = JSON.parse(printed(`
    import { readdirSync, readFileSync } from "node:fs";
    const root = new URL(${JSON.stringify(new URL("./", import.meta.url).href)});
    const names = ["", "workbench/", "workbench/page/"].flatMap((folder) =>
      readdirSync(new URL("./" + folder, root)).filter((name) => name.endsWith(".ts"))
        .map((name) => folder + name));
    const read = (name) => readFileSync(new URL(name, root), "utf8");
    console.log(JSON.stringify({ sources: names.map((name) => [name, read(name)]) }));`)) as {
    sources: [name: string, source: string][];
  };
  const pattern =
    /^(?:(?:import|export)\b[^;"=(]*|\} )from "([^"]+)"|^import "([^"]+)"|\bimport\("([^"]+)"/gm;
  return new Map(sources.map(([name, source]) => {
    const code = source.replace(/^ ?\*.*$/gm, ""); // examples are no imports
    const imports = [...code.matchAll(pattern)].map(([, a, b, c]) => a ?? b ?? c ?? "")
      .map((path) =>
        path.startsWith(".") ? new URL(path, `file:///${name}`).pathname.slice(1) : path
      );
    return [name, { imports, isCommand: source.startsWith("#!") }];
  }));
}

test(
  "imports go one way: commands, the rest of the workbench, the port, the protocol",
  patience,
  () => {
    const all = files();
    const isTest = (name: string): boolean => /_(test|helpers)\.ts$|^test_/.test(name);
    const outside = [...all.keys()].filter((name) => !isTest(name));
    for (const name of ["protocol.ts", "server.ts", "client.ts"]) assert.ok(outside.includes(name));
    for (const name of outside) {
      const { imports } = all.get(name)!;
      const own = imports.filter((path) => path.endsWith(".ts"));
      const others = imports.filter((path) => !own.includes(path));
      if (name === "protocol.ts") assert.deepEqual(imports, [], name);
      else if (!name.startsWith("workbench/")) {
        assert.deepEqual(
          own.filter((path) => path !== "protocol.ts"),
          [],
          `${name} imports too much`,
        );
      }
      for (const path of own) {
        assert.ok(!isTest(path), `${name} imports the test ${path}`);
        const isRun = path.startsWith("workbench/") && all.get(path)?.isCommand;
        assert.ok(!isRun, `${name} imports the command ${path}`);
      }
      for (const path of others) {
        assert.match(path, /^node:|^iso4217$|^workbench\/page\//, `${name} imports ${path}`);
      }
    }
  },
);

test("no file imports one that imports it", patience, () => {
  const all = files();
  const seen = new Set<string>();
  const below = (name: string, way: string[]): void => {
    assert.ok(!way.includes(name), `a circle: ${[...way, name].join(" > ")}`);
    if (seen.has(name)) return;
    seen.add(name);
    for (const path of all.get(name)?.imports ?? []) below(path, [...way, name]);
  };
  for (const name of all.keys()) below(name, []);
});

test(
  "protocol.ts and server.ts alone are a whole test kit, and client.ts pays there",
  patience,
  () => {
    const program = `
    import net from "node:net";
    import { startTerminal } from "./server.ts";
    const terminal = await startTerminal({ port: 0, host: "127.0.0.1", duration: 0, outcome: "04" });
    terminal.nextOutcome("success");
    const asked = new Promise((resolve) => {
      const socket = net.connect(terminal.port, "127.0.0.1", () => socket.write("${DEBIT}\\n"));
      socket.once("data", (answer) => {
        resolve(String(answer).includes("AE00210"));
        socket.destroy();
      });
    });
    console.log("two", await asked, (await terminal.waitForTransaction({ timeout: 5000 })).number);
    const { pay } = await import("./client.ts").catch(() => ({}));
    if (pay) {
      const { status } = await pay({ host: "127.0.0.1", port: terminal.port, amount: "1" });
      console.log("three", status);
    }
    terminal.reset();
    await terminal.close();`;
    const deno = "deno" in process.versions ? ["run", "--no-prompt", "--allow-net"] : [];
    const out = printed(`
    import { spawnSync } from "node:child_process";
    import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
    import { tmpdir } from "node:os";
    import { join } from "node:path";
    const folder = mkdtempSync(join(tmpdir(), "port-"));
    const root = new URL(${JSON.stringify(new URL("./", import.meta.url).href)});
    const copy = (name) => copyFileSync(new URL(name, root), join(folder, name));
    const run = () => spawnSync(${JSON.stringify(process.execPath)},
      [...${JSON.stringify(deno)}, join(folder, "till.mjs")], { encoding: "utf8" });
    try {
      writeFileSync(join(folder, "till.mjs"), ${JSON.stringify(program)});
      ["protocol.ts", "server.ts"].forEach(copy);
      const two = run();
      copy("client.ts");
      const three = run();
      console.log(two.stdout + three.stdout + (two.status || three.status ? two.stderr + three.stderr : ""));
    } finally {
      rmSync(folder, { recursive: true });
    }`);
    assert.deepEqual(out.trim().split("\n"), ["two true 1", "two true 1", "three declined"]);
  },
);
