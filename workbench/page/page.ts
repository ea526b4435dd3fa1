// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The page as a server sends it: the files of this folder, and the data that its scripts read.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { FILES } from "./files.ts";
import { pageData, type TableSource } from "./tables.ts";

/** A file of the page. */
export interface PageFile {
  /** Its content type. */
  readonly type: string;
  /** What is in it. */
  readonly text: string;
}

/** Content types, by the endings of names. */
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
};

/** What is in a file. Node has no text imports yet, and reads it. */
function textOf(name: string, load: typeof FILES[string]): Promise<string> {
  return load().then(
    (module) => module.default,
    () => readFile(new URL(name, import.meta.url), "utf8"),
  );
}

/**
 * All that a browser asks for, by its path: the page is at "/", its other files are beside it under
 * their own names, its data is at "/data.json".
 */
export async function pageFiles(source: TableSource): Promise<ReadonlyMap<string, PageFile>> {
  const files = Object.entries(FILES).map(
    async ([name, load]): Promise<[path: string, file: PageFile]> => {
      const type = TYPES[name.replace(/.*\./, "")] ?? "text/plain";
      return [name === "index.html" ? "/" : `/${name}`, { type, text: await textOf(name, load) }];
    },
  );
  const data: PageFile = { type: "application/json", text: JSON.stringify(pageData(source)) };
  return new Map([...await Promise.all(files), ["/data.json", data]]);
}
