// SPDX-License-Identifier: GPL-3.0-or-later
// What is queued over HTTP, and what a body or a query must be.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOutcome } from "../server.ts";
import { ask, patience, table } from "./test_helpers.ts";
import { debitOf, done, JSON_TYPE, refused, webWith } from "./web_helpers.ts";

// ---------------------------------------------------------------- /api/next

table<[body: string, headers: Record<string, string>, expected: string[]]>("POST /api/next", {
  "a word": ["refused", {}, ["refused"]],
  "as curl -d sends it": [
    "refused",
    { "content-type": "application/x-www-form-urlencoded" },
    ["refused"],
  ],
  "as fetch sends it": ["refused", { "content-type": "text/plain;charset=UTF-8" }, ["refused"]],
  "several lines": ["refused\r\n\n 07,delay=1 \nsilent\n", {}, [
    "refused",
    "07,delay=1",
    "success,silent",
  ]],
  "a list of words": ['["abandon","success,hangup"]', JSON_TYPE, ["abandon", "success,hangup"]],
  "a list of objects": ['[{"failure":"08"},{"card":"ancv"}]', JSON_TYPE, [
    "timeout",
    "success,ancv",
  ]],
  "a list of both": ['["refused",{"delay":[1,2]}]', JSON_TYPE, ["refused", "success,delay=1..2"]],
  "one in JSON": ['{"pending":true}', JSON_TYPE, ["success,pending"]],
  "a word in JSON": ['"refused"', { "content-type": "Application/JSON; charset=utf-8" }, [
    "refused",
  ]],
  "a value beyond ASCII, with a comma": ["ZT=é\\,b", {}, ["success,ZT=é\\,b"]],
  "a list in JSON, as curl -d sends it": [
    ' \n["abandon",{"failure":"08"}]\n',
    { "content-type": "application/x-www-form-urlencoded" },
    ["abandon", "timeout"],
  ],
  "one in JSON, as fetch sends a text": [
    '{"pending":true}',
    { "content-type": "text/plain;charset=UTF-8" },
    ["success,pending"],
  ],
  "a word in JSON, of no type": ['"refused"', {}, ["refused"]],
  "JSON after the mark of UTF-8": ['\ufeff"refused"', JSON_TYPE, ["refused"]],
}, async ([body, headers, expected]) => {
  await using web = await webWith({ next: ["05"] });
  const next = [{ outcome: "forbidden" }, ...expected.map((outcome) => ({ outcome }))];
  assert.deepEqual(await done(web, "POST /api/next", body, headers), { next });
  const register = "42";
  const own = expected.map((outcome) => ({ register, outcome }));
  const both = await done(web, "POST /api/next?register=42", body, headers);
  assert.deepEqual(both, { next: [...next, ...own] });
  assert.deepEqual(web.settings.next, both.next);
});

table<[what: string, why: RegExp]>("a query that is wrong is refused", {
  "another name": [
    "POST /api/next?caisse=7",
    /^query: expected names from register, got "caisse"$/,
  ],
  "a misspelt one": [
    "POST /api/next?regster=7",
    /^query: got "regster"; did you mean register\? \(expected names from register\)$/,
  ],
  "a misspelt one, to empty": ["DELETE /api/next?regster=7", /^query: got "regster"; did you mean/],
  "a misspelt one, to reset": ["POST /api/reset?registers=7", /^query: got "registers"; did you/],
  "a misspelt one, to list": ["GET /api/transactions?afer=1", /^query: .*did you mean after\?/],
  "a misspelt one, to wait": [
    "GET /api/transactions/next?time=1",
    /^query: .*did you mean timeout/,
  ],
  "one where there is none": [
    "GET /api/health?register=7",
    /^query: expected no names, got "regis/,
  ],
  "a name of every object": [
    "POST /api/next?__proto__=7",
    /^query: expected names from register, /,
  ],
  "an empty register": [
    "POST /api/next?register=",
    /^register: expected a cash register \(CA\) such as 01, got ""$/,
  ],
  "an empty register, to empty": [
    "DELETE /api/next?register=",
    /^register: expected a cash regist/,
  ],
  "an empty register, to reset": [
    "POST /api/reset?register=",
    /^register: expected a cash registe/,
  ],
  "an empty register, to list": [
    "GET /api/transactions?register",
    /^register: expected a cash reg/,
  ],
  "an empty register, to wait": ["GET /api/transactions/next?register=", /^register: expected a c/],
  "two registers": [
    "POST /api/next?register=1&register=2",
    /^register: expected one value, got "1,/,
  ],
}, async ([what, why]) => {
  await using web = await webWith({ next: ["07"] });
  const isPost = what.startsWith("POST /api/next");
  assert.match(await refused(400, web, what, isPost ? "refused" : undefined), why);
  assert.deepEqual(web.settings.next, [{ outcome: "07" }]);
});

test("what is queued is what payments get, a register's own first", patience, async () => {
  await using web = await webWith();
  await done(web, "POST /api/next", "refused\nabandon");
  await done(web, "POST /api/next?register=07", "05");
  assert.equal((await ask(web.port, debitOf("07")))["AF"], "05");
  assert.equal((await ask(web.port, debitOf("07")))["AF"], "04");
  assert.equal((await ask(web.port, debitOf("08")))["AF"], "11");
  assert.equal((await ask(web.port, debitOf("08")))["AE"], "10");
});

test("DELETE /api/next empties the queue, or that of one register", async () => {
  await using web = await webWith();
  const fill = async (): Promise<void> => {
    await done(web, "POST /api/next", "refused");
    await done(web, "POST /api/next?register=07", "abandon");
    await done(web, "POST /api/next?register=08", "05");
  };
  await fill();
  assert.deepEqual(await done(web, "DELETE /api/next?register=07"), {
    next: [{ outcome: "refused" }, { register: "08", outcome: "forbidden" }],
  });
  await fill();
  assert.deepEqual(await done(web, "DELETE /api/next"), { next: [] });
  assert.deepEqual(web.settings.next, []);
});

table<[body: string, headers?: Record<string, string>]>("POST /api/next, wrong", {
  "nothing": [""],
  "empty lines": ["\n \r\n"],
  "a misspelt word": ["refussed"],
  "one of several": ["refused\nabandom"],
  "two of a kind": ["refused,abandon"],
  "a tag too long": ["ABC=1"],
  "an empty list": ["[]", JSON_TYPE],
  "no JSON": ["refused", JSON_TYPE],
  "no body in JSON": ["", JSON_TYPE],
  "one of a list": ['["refused","abandom"]', JSON_TYPE],
  "one of a list of objects": ['["refused",{"failure":"7"}]', JSON_TYPE],
  "a number": ["7", JSON_TYPE],
  "null": ["null", JSON_TYPE],
  "null in a list": ["[null]", JSON_TYPE],
  "a list in a list": ['[["refused"]]', JSON_TYPE],
  "a delay of a year": ["delay=31536000"],
  "bytes that are no UTF-8 in a value": ["ZT=\ufffd"],
}, async ([body, headers]) => {
  await using web = await webWith();
  for (const what of ["POST /api/next", "POST /api/next?register=07"]) {
    assert.notEqual(await refused(400, web, what, body, headers), "");
    assert.deepEqual(web.settings.next, []);
  }
});

table<[what: string, body: string, headers: Record<string, string>, why: RegExp]>(
  "a body that is wrong is told what was expected",
  {
    "the queue as GET tells it": [
      "POST /api/next",
      '{"next":[{"outcome":"refused"}]}',
      {},
      /^next: expected a list such as \["refused", "success"\], without a name, got object$/,
    ],
    "one of the queue as GET tells it": [
      "POST /api/next",
      '[{"outcome":"refused"}]',
      {},
      /^next: expected the outcome itself, such as "refused" or \{"failure": "04"\}, got object$/,
    ],
    "one of a register, as GET tells it": [
      "POST /api/next",
      '{"outcome":"refused","register":"07"}',
      {},
      /^next: expected the outcome itself, .*, with \?register=07 in the path, got object$/,
    ],
    "a decision in the shape of the settings": [
      "POST /api/transactions/1/outcome",
      '{"outcome":"refused"}',
      {},
      /^outcome: expected the outcome itself, such as "refused" or /,
    ],
    "words, where the type says JSON": [
      "POST /api/next",
      "refused",
      JSON_TYPE,
      /^expected JSON, as the content type says: ./,
    ],
    "nothing, where the type says JSON": [
      "POST /api/next",
      "",
      JSON_TYPE,
      /^expected JSON, as the content type says: ./,
    ],
    "JSON in part, of another type": [
      "POST /api/next",
      '{"failure":"08"',
      {},
      /^expected JSON, as the first character says: ./,
    ],
    "an object a line": [
      "POST /api/transactions/1/outcome",
      '{"failure":"08"}\n{"failure":"08"}',
      { "content-type": "text/plain" },
      /^expected JSON, as the first character says: ./,
    ],
    "a number in JSON": [
      "POST /api/next",
      "7",
      JSON_TYPE,
      /^next: expected an outcome or the words for it, got 7$/,
    ],
    "a form": [
      "PATCH /api/terminal",
      "outcome=refused",
      { "content-type": "application/x-www-form-urlencoded" },
      /^settings: expected an object in JSON such as {"duration": 0}, got "outcome=refused"$/,
    ],
    "nothing to change": [
      "PATCH /api/terminal",
      "",
      {},
      /^settings: expected an object in JSON such as {"duration": 0}, got ""$/,
    ],
  },
  async ([what, body, headers, why]) => {
    await using web = await webWith();
    assert.match(await refused(400, web, what, body, headers), why);
  },
);

test("what is wrong is told in the sentence of the command line", async () => {
  await using web = await webWith();
  const sentence = (text: string, option: string): string => {
    try {
      parseOutcome(text, option);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error("not wrong");
  };
  assert.equal(
    await refused(400, web, "POST /api/next", "refussed"),
    sentence("refussed", "next"),
  );
  const change = { outcome: "refused,abandon" };
  assert.equal(
    await refused(400, web, "PATCH /api/terminal", JSON.stringify(change)),
    sentence("refused,abandon", "outcome"),
  );
});
