// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The models of terminals: what single ones are known to do. Nothing is known of one but what its
 * row says, by the numbers of the sources in docs/PROTOCOL.md. What a trait does and how it is told
 * stands in traits.ts.
 *
 * @module
 */
import { type Deviation, deviations, type Message, oneOf, type Received } from "../protocol.ts";
import { type Answer, notServed, setTags } from "../server.ts";
import { withReceipt } from "./receipts.ts";
import { isTold, type Pair, type Trait, TRAITS, type Traits } from "./traits.ts";

export type { Pair, Traits } from "./traits.ts";

/** The name of a model. */
export type ModelName =
  | ("reference" | "desk5000" | "dx8000" | "hipay" | "payxpert")
  | ("viva" | "v240m");

/** What is known of a terminal that exists. */
export interface ModelRow {
  /** What it is. */
  readonly is: Pair;
  /** In what it differs from the reference, by the sources that say so. */
  readonly known: Readonly<Record<string, Traits>>;
}

/** The models, the reference first. */
export const MODELS: Readonly<Record<ModelName, ModelRow>> = {
  reference: {
    is: ["the scripts of akretion/caisse-ap-ip", "les scripts d'akretion/caisse-ap-ip"],
    known: {},
  },
  desk5000: {
    is: ["Ingenico Desk/5000, Concert V3", "Ingenico Desk/5000, Concert V3"],
    known: {
      "5": {
        identity: { CZ: "0301", CJ: "330538600404" },
        zeros: true,
        failsOn: ["BF"],
        busy: "unread",
      },
      "1": {
        notes: [[
          "cheques: AF 04 whatever the reason, and no card data, as the reference",
          "chèques : AF 04 quelle que soit la raison, et pas de données de carte, comme la référence",
        ]],
      },
    },
  },
  dx8000: {
    is: ["Ingenico AXIUM DX8000 with Nepting", "Ingenico AXIUM DX8000 avec Nepting"],
    known: {
      "10": {
        port: 20_002,
        notes: [
          [
            "if set so, it connects to port 20006 of the POS to answer: --callback 20006",
            "s'il est paramétré ainsi, il répond en se connectant au port 20006 de la caisse : --callback 20006",
          ],
          [
            "asleep, or without the protocol, it refuses connections: let the terminal sleep",
            "en veille, ou sans le protocole, il refuse les connexions : mettez le terminal en veille",
          ],
        ],
      },
    },
  },
  hipay: {
    is: [
      "HiPay with Nepting: PAX A920Pro, A80, A50, A35",
      "HiPay avec Nepting : PAX A920Pro, A80, A50, A35",
    ],
    known: {
      "2": {
        identity: { CZ: "0320", CJ: "999999999999" },
        refusal: "904148HOLDER INVALID",
        published: {
          approval: ["CZ", "CJ", "CA", "CB", "CC", "CD", "CE", "AC", "AE", "CF", "CG", "ZT"],
          refusal: ["CZ", "CJ", "CA", "CB", "CD", "CE", "AC", "AE", "AF", "CF", "ZT"],
          formatError: ["CZ", "CJ", "AE", "AF", "CA", "CB", "CD", "CE"],
        },
        contract: 7,
        receipt: { columns: 28, wrap: 900 }, // one line feed, at the end
        lacks: ["2"],
      },
      "9": {
        returnsCF: 32,
        notes: [[
          "other tags may appear: TAG=VALUE of an outcome",
          "d'autres champs peuvent apparaître : TAG=VALEUR dans une issue",
        ]],
      },
    },
  },
  payxpert: {
    is: ["PayXpert: Castles S1F2, S1P, Sunmi P2", "PayXpert : Castles S1F2, S1P, Sunmi P2"],
    known: {
      "3": {
        copies: ["CZ", "CJ", "CA", "CB", "CD", "CE", "CF", "CH", "IM"], // the last three: our choice
        takesCA: 1, // it publishes CA0011
        omits: ["CG"],
        abandon: "06",
        approvedAF: "01",
        mask: "*",
        AL: "1",
        receipt: { columns: 50, filled: true, wrap: 76 },
        atOnce: "10",
        vendorTags: true,
        credits: true,
        cancels: true,
        status: "T",
        notes: [[
          "not in the foreground, it answers AE 01 at once: --outcome 07,delay=0",
          "s'il n'est pas au premier plan, il répond AE 01 aussitôt : --outcome 07,delay=0",
        ]],
      },
    },
  },
  viva: {
    is: ["Viva on Android: PAX", "Viva sur Android : PAX"],
    known: {
      "8": {
        takesCF: 183,
        notes: [["takes CK 121, as the reference", "accepte CK 121, comme la référence"]],
      },
    },
  },
  v240m: {
    is: ["Verifone V240m", "Verifone V240m"],
    known: {
      "9": {
        screens: {
          failed: "DERNIERE TRANSACTION NON ABOUTIE PAS DE DUPLICATA",
          none: "DUPLICATA IMPOSSIBLE",
        },
        notes: [[
          "a duplicate is about the last attempt, as with the reference",
          "un duplicata porte sur la dernière tentative, comme avec la référence",
        ]],
      },
    },
  },
};

/** The names of the models, the reference first. */
export const MODEL_NAMES: readonly ModelName[] = Object.keys(MODELS) as ModelName[];

// ---------------------------------------------------------------- what a terminal does as one

/** A model at work. It has a memory of its own, so each terminal needs its own. */
export interface Model {
  /** Its name. */
  readonly name: ModelName;
  /** All that is known of it: the facts that others read are in here. */
  readonly traits: Traits;
  /** The port that it listens on by default, if that is not the protocol's. */
  readonly port?: number;
  /** What it answers, receipts included, around what the reference does. */
  answer(next: Answer): Answer;
  /** What it answers to a request that is not served, for whatever reason. */
  unserved(request: Readonly<Message>, AF: string): Message;
  /** The AF that it refuses a request with that the reference serves, whatever the outcome. */
  refusal(request: Readonly<Message>): "09" | "12" | undefined;
  /** The tag that it refuses a request for, with AF 09. */
  refusedTag(request: Readonly<Message>): string | undefined;
  /** What neither the protocol nor the model wants of a request. */
  judge(received: Received): Deviation[];
  /** Forgets what it remembers of a cash register, or of all. */
  forget(register?: string): void;
}

/** Debits that a model remembers (our choice: as many as a terminal keeps transactions). */
const MAX_DEBITS = 1_000;

/**
 * A model at work.
 *
 * @throws {OptionError} There is no such model.
 */
export function modelOf(name: string): Model {
  const known = oneOf("model", MODEL_NAMES, name);
  const traits: Traits = Object.assign({}, ...Object.values(MODELS[known].known));
  const debits = new Map<string, string>();
  const parts = partsOf(traits);
  const deeds = parts.flatMap(([{ deed }, value]) => deed ? [deed(value, { debits })] : []);
  const forms = parts.flatMap(([{ form }, value]) => form ? [form(value)] : []);

  const formed = (answer: Message, request: Readonly<Message>): Message =>
    forms.reduce((before, form) => form(before, request), answer);

  /** Remembers a debit that was approved, for a credit that names it. */
  const remember = ({ CD = "", CA = "" }: Readonly<Message>, { AE, ID }: Message): void => {
    if (!traits.credits || AE !== "10" || ID === undefined || !"07".includes(CD)) return;
    debits.set(ID, CA);
    const [oldest] = debits.keys();
    if (debits.size > MAX_DEBITS && oldest !== undefined) debits.delete(oldest);
  };

  const refusedTag = (request: Readonly<Message>): string | undefined =>
    traits.lacks?.includes(request["CD"] ?? "")
      ? undefined
      : traits.failsOn?.find((tag) => tag in request);

  const { takesCF = 0, takesCA, status, port } = traits;
  /** Whether it wants a request just so, unlike the protocol. */
  const isTaken = ({ code, tag }: Deviation, { CA = "", CD, CF = "" }: Message): boolean =>
    code === "private-data"
      ? CF.length <= takesCF && !/[^\x20-\x7e]/.test(CF)
      : code === "unknown-action"
      ? CD === status
      : code === "size" && tag === "CA" && CA.length === takesCA;

  return {
    name: known,
    traits,
    ...(port !== undefined && { port }),
    answer(next) {
      if (deeds.length === 0 && forms.length === 0) return withReceipt(next, traits.receipt);
      const bare: Answer = (request, { tags: _, ...outcome }, context) =>
        next(request, outcome, context);
      const does = deeds.reduce((before, deed) => deed(before), bare);
      // Tags are set before the receipt is printed, which has them too, and in the end.
      const printed = withReceipt(
        (request, outcome, context) => setTags(does(request, outcome, context), outcome.tags),
        traits.receipt,
      );
      return (request, outcome, context) => {
        const answer = formed(printed(request, outcome, context), request);
        setTags(answer, outcome.tags);
        if (isTold(request, context)) remember(request, answer);
        return answer;
      };
    },
    unserved: (request, AF) => formed(notServed(request, AF), request),
    refusal(request) {
      if (traits.lacks?.includes(request["CD"] ?? "")) return "12";
      return refusedTag(request) === undefined ? undefined : "09";
    },
    refusedTag,
    judge: (received) => deviations(received).filter((one) => !isTaken(one, received.message)),
    forget(register) {
      for (const [id, CA] of debits) if (CA === (register ?? CA)) debits.delete(id);
    },
  };
}

/** What a model has of the traits, in the order of their table, and their values. */
function partsOf(traits: Traits): [trait: Trait<never>, value: never][] {
  const all: readonly [name: string, trait: Trait<never>][] = Object.entries(TRAITS);
  return all.flatMap(([name, trait]) => {
    const value = traits[name as keyof Traits];
    return value === undefined ? [] : [[trait, value as never]];
  });
}

// ---------------------------------------------------------------- models in words

/** A model for people, in both languages. */
export interface ModelInWords {
  /** Its name. */
  readonly name: ModelName;
  /** What it is. */
  readonly is: Pair;
  /** In what it differs from the reference; the number of a source is as in docs/PROTOCOL.md. */
  readonly known: readonly { readonly source: number; readonly text: Pair }[];
  /** What its screen shows for a duplicate of a failure, and of nothing, where that is known. */
  readonly screens?: { readonly failed: string; readonly none: string };
}

/** The models for people, the reference first. */
export function modelsInWords(): ModelInWords[] {
  return MODEL_NAMES.map((name) => {
    const { is, known } = MODELS[name];
    const { screens } = modelOf(name).traits;
    const texts = Object.entries(known).flatMap(([source, traits]) =>
      Object.entries(traits).flatMap(([trait, value]) => {
        const { words }: Trait<never> = TRAITS[trait as keyof Traits];
        return words(value as never).map((text) => ({ source: Number(source), text }));
      })
    );
    return { name, is, known: texts, ...(screens && { screens }) };
  });
}

/** What `--model list` prints: all of them in English, in lines of at most 80 characters. */
export function modelsText(): string {
  const texts = modelsInWords().map(({ name, is, known }) => {
    const lines = known.flatMap(({ source, text: [english] }) =>
      wrap(`(${source}) ${english}`, 66).map((line, at) => (at ? "    " : "") + line)
    );
    return [`${name.padEnd(11)}${is[0]}`, ...lines.map((line) => `           ${line}`)].join("\n");
  });
  return `${texts.join("\n\n")}\n
Listed: in what each is known to differ from the reference.
In brackets: where it was seen, see docs/PROTOCOL.md.\n`;
}

/** A text in lines of so many columns at most, where its words allow it. */
function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.pop();
    if (line === undefined) lines.push(word);
    else if (line.length + 1 + word.length > columns) lines.push(line, word);
    else lines.push(`${line} ${word}`);
  }
  return lines;
}
