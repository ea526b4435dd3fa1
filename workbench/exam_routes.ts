// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The examination over HTTP: the sheets of the cash registers, and what their tills say.
 *
 * @module
 */
import type { URLSearchParams } from "node:url";
import { oneOf } from "../protocol.ts";
import { NAMES } from "./exam_cases.ts";
import { reportOf, reportXml } from "./exam_report.ts";
import { WORDS } from "./exam_verdicts.ts";
import type { Examiner } from "./examiner.ts";
import type { Routes } from "./routes.ts";
import { HttpError, readBody, WEB_BOUNDS } from "./webrequest.ts";

/** The paths of an examination. */
export function examRoutes(examiner: Examiner): Routes {
  /** The cash register that is meant: the one that is named, else the only one there is. */
  const registerOf = (query: URLSearchParams): string | undefined => {
    const named = query.get("register");
    if (named !== null) return named;
    const { registers } = examiner;
    if (registers.length < 2) return registers[0];
    const names = registers.map((name) => name === "" ? "(none)" : name).join(", ");
    throw new HttpError(409, `expected ?register= with one of the cash registers ${names}`);
  };
  const report = (query: URLSearchParams): ReturnType<typeof reportOf> & { register: string } => {
    const register = registerOf(query) ?? "";
    return { register, ...reportOf(examiner.sheet(register)) };
  };
  return [
    [/^\/api\/exam$/, {
      GET: { takes: ["register"], answer: ({ query }) => report(query) },
    }],
    [/^\/api\/exam\.xml$/, {
      GET: {
        takes: ["register"],
        answer({ query, response }) {
          const text = reportXml(report(query));
          response.writeHead(200, { "content-type": "application/xml; charset=utf-8" }).end(text);
        },
      },
    }],
    [/^\/api\/exam\/registers$/, { GET: { answer: () => ({ registers: examiner.registers }) } }],
    [/^\/api\/exam\/[^/]+$/, {
      POST: {
        takes: ["register", "by"],
        async answer({ query, request }) {
          const { url = "" } = request;
          const [, name = ""] = /^\/api\/exam\/([^/?]+)/.exec(url) ?? [];
          if (!NAMES.includes(name)) {
            throw new HttpError(404, `expected a case from ${NAMES.join(", ")}, got ${name}`);
          }
          const by = oneOf("by", ["program", "person"], query.get("by") ?? "program");
          const said = await readBody(request, WEB_BOUNDS);
          if (name === "reset" && said === "") { // a case is called so as well
            examiner.reset(query.get("register") ?? undefined);
            return { registers: examiner.registers };
          }
          const word = oneOf("word", WORDS, typeof said === "string" ? said : String(said));
          const register = registerOf(query);
          const row = examiner.say(register ?? "", name, word, by);
          if (row) return row;
          throw new HttpError(409, `expected a case that was sat, ${name} was not`);
        },
      },
    }],
  ];
}
