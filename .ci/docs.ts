// Lints the doc comments of the port and of the workbench, and runs their examples.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = ["", "workbench/", "workbench/page/"].flatMap((folder) =>
  readdirSync(`${root}${folder}`)
    .filter((name) => name.endsWith(".ts") && !/_(?:test|helpers)\.ts$/.test(name))
    // TypeScript cannot read the one, and the other is for the scripts of the page alone
    .filter((name) => name !== "files.ts" && name !== "types.ts")
    .map((name) => `${folder}${name}`)
);
for (
  const command of [["doc", "--lint"], ["test", "--no-prompt", "--allow-net", "--doc"]]
) execFileSync("deno", [...command, ...files], { cwd: root, stdio: "inherit" });
