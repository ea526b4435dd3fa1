// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Caisse-AP over IP ("Concert V3"): the language that a point of sale (POS) and a card payment
 * terminal speak in France. No input or output here, and nothing imported: bytes come in as chunks,
 * messages come out, and back.
 *
 * A message is fields one after another, with nothing around or between them. A field is a tag of
 * two letters, a length of three digits, and the value:
 *
 * ```text
 * CZ0040300 CJ012012345678901 CA00201 CB00511245 CD0010 CE003978   (without the blanks)
 * ```
 *
 * The association's own document is given only on request. A number in brackets behind a fact names
 * where it was seen:
 *
 * 1. github.com/akretion/caisse-ap-ip, made with Ingenico Desk/5000 and i2200
 * 2. HiPay, "Local API for Nepting", public developer page
 * 3. PayXpert, "Concert V3", public documentation
 * 4. public POS bridges and the fake terminals in their test suites
 * 5. github.com/OCA/l10n-france, module l10n_fr_pos_caisse_ap_ip and its pulls
 * 6. Fidecoin, public notes on CAISSE_AP V3.20, the weakest source taken alone
 * 7. public lists of EMV application identifiers
 *
 * @example A message to bytes and back
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, encode } from "./protocol.ts";
 *
 * const bytes = encode({ CZ: "0300", CJ: "012345678901", CA: "01", CD: "I" });
 * const message = decode(bytes);
 * assert.equal(message.CD, "I");
 * ```
 *
 * @module
 */

// ---------------------------------------------------------------- tables

/** What a code means. */
export interface Term {
  /** In English. */
  label: string;
  /** In French, as terminals show it. The sources give none: its wording is our choice. */
  french: string;
}

/** What a POS asks for, the value of CD. */
export interface Action extends Term {
  /** Whether it moves money, and so needs CB and CE. (1)(2) */
  money: boolean;
}

/**
 * The values of CD. One vendor does not implement 2 (2); T, R and C exist with single vendors only
 * (3) and are left out.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { ACTIONS } from "./protocol.ts";
 *
 * assert.equal(ACTIONS.get("1")?.label, "credit");
 * ```
 */
export const ACTIONS: ReadonlyMap<string, Action> = new Map([
  ["0", { label: "debit", french: "débit", money: true }], // (1)(2)(3)
  ["1", { label: "credit", french: "crédit", money: true }], // (1)(2)(3)
  ["2", { label: "cancellation", french: "annulation", money: true }], // (2)(3)
  ["3", { label: "duplicate", french: "duplicata", money: false }], // (3)
  ["7", { label: "deferred debit", french: "débit différé", money: true }], // (3)
  ["I", { label: "identification", french: "identification", money: false }], // (3)(4)
  ["P", { label: "print", french: "impression", money: false }], // (3)
  ["B", { label: "end-of-day collection", french: "télécollecte", money: false }], // (3)
]);

/** The values of AE. (1)(2)(3) Some terminals send 11 first and the final answer later. (4) */
const STATUSES: ReadonlyMap<string, Term> = new Map([
  ["01", { label: "not done", french: "non effectuée" }],
  ["10", { label: "done", french: "effectuée" }],
  ["11", { label: "taken into account", french: "prise en compte" }],
]);

/** The first two characters of AF. (2)(5) Some terminals send 01 beside AE 10. (1)(2)(3)(5) */
const FAILURES: ReadonlyMap<string, Term> = new Map([
  ["00", { label: "unknown", french: "inconnu" }],
  ["01", { label: "authorised", french: "autorisée" }],
  ["02", { label: "call the bank", french: "appel à la banque" }],
  ["03", { label: "forced", french: "forcée" }],
  ["04", { label: "refused", french: "refusée" }],
  ["05", { label: "forbidden", french: "interdite" }],
  ["06", { label: "abandoned", french: "abandon" }],
  ["07", { label: "not completed", french: "non aboutie" }],
  ["08", { label: "timeout of the person's entry", french: "délai de saisie dépassé" }],
  ["09", { label: "message format error", french: "erreur de format" }],
  ["10", { label: "selection error", french: "erreur de sélection" }],
  ["11", { label: "abandoned by the operator", french: "abandon opérateur" }],
  ["12", { label: "unknown action", french: "action inconnue" }],
  ["13", { label: "currency not supported", french: "devise non supportée" }],
]);

/** The values of CC. (2)(5) CB has Visa and Mastercard with it. */
const APPLICATIONS: ReadonlyMap<string, Term> = new Map([
  ["000", { label: "any", french: "indifférent" }],
  ["001", { label: "CB contact", french: "CB contact" }],
  ["00B", { label: "CB contactless", french: "CB sans contact" }],
  ["002", { label: "American Express contact", french: "American Express contact" }],
  ["00D", { label: "American Express contactless", french: "American Express sans contact" }],
  ["00C", { label: "cheque", french: "chèque" }],
  ["00E", { label: "CONECS meal voucher contact", french: "titre-restaurant CONECS contact" }],
  ["10E", {
    label: "CONECS meal voucher contactless",
    french: "titre-restaurant CONECS sans contact",
  }],
  ["00V", { label: "ANCV holiday voucher", french: "chèque-vacances ANCV" }],
  ["003", { label: "CB Enseigne", french: "CB Enseigne" }],
  ["004", { label: "Cetelem", french: "Cetelem" }],
  ["005", { label: "Cofinoga", french: "Cofinoga" }],
  ["006", { label: "Diners", french: "Diners" }],
  ["007", { label: "Pass", french: "Pass" }],
  ["008", { label: "Franfinance", french: "Franfinance" }],
  ["009", { label: "JCB", french: "JCB" }],
  ["00A", { label: "Banque Accord", french: "Banque Accord" }],
  ["00F", { label: "DCC", french: "DCC" }],
  ["00G", { label: "QuickPass", french: "QuickPass" }],
  ["00I", { label: "CPEI", french: "CPEI" }],
  ["00S", { label: "Sofinco", french: "Sofinco" }],
  ["00U", { label: "UnionPay", french: "UnionPay" }],
  ["101", { label: "card not present", french: "vente à distance" }],
  ["201", { label: "quasi-cash", french: "quasi-cash" }],
  ["607", { label: "QR code", french: "QR code" }],
]);

/** The values of CI. (1)(3)(5) */
const READ_MODES: ReadonlyMap<string, Term> = new Map([
  ["0", { label: "any", french: "indifférent" }],
  ["1", { label: "contact", french: "contact" }],
  ["2", { label: "contactless", french: "sans contact" }],
  ["3", { label: "magnetic stripe", french: "piste magnétique" }],
  ["4", { label: "manual entry", french: "saisie manuelle" }],
]);

const NO_OR_YES: ReadonlyMap<string, Term> = new Map([
  ["0", { label: "no", french: "non" }],
  ["1", { label: "yes", french: "oui" }],
]);

/** What a tag is. */
export interface Tag {
  /** What its value means. */
  label: string;
  /** Fewest and most characters, if a source tells. POS send others too. (4) */
  size?: readonly [min: number, max: number];
  /** Whether it takes decimal digits only. */
  digits?: true;
  /** Its values, if there is a list of them. For AF they are its first two characters. */
  codes?: ReadonlyMap<string, Term>;
}

/**
 * The tags, by their two letters: A* are set by the terminal, B* by the POS, C* by both, Z* are
 * built of others. (3)
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { TAGS } from "./protocol.ts";
 *
 * assert.equal(TAGS.get("CB")?.label, "amount in minor units");
 * ```
 */
export const TAGS: ReadonlyMap<string, Tag> = new Map<string, Tag>([
  ["CZ", { label: "protocol version", size: [4, 4], digits: true }], // (1)(2)(3)
  ["CJ", { label: "protocol identifier", size: [12, 12] }], // (1)(2)(3)
  ["CA", { label: "cash register number", size: [2, 2] }], // (1)(2)
  ["CB", { label: "amount in minor units", size: [2, 12], digits: true }], // (1)(2)(5)
  ["CC", { label: "payment application", size: [3, 3], codes: APPLICATIONS }], // (1)(2)(5)
  ["CD", { label: "action", size: [1, 1], codes: ACTIONS }], // (1)(2)(3)
  ["CE", { label: "currency, ISO 4217 numeric", size: [3, 3], digits: true }], // (1)(2)
  ["CF", { label: "private data", size: [1, 99] }], // (2)(3)
  ["CG", { label: "merchant contract number", size: [1, 10] }], // (1)(2)
  ["CH", { label: "transaction reference" }], // (5)
  ["CI", { label: "read mode", size: [1, 1], codes: READ_MODES }], // (1)(3)(5)
  ["CK", { label: "receipt wanted", size: [3, 3], digits: true }], // (2)(3)
  ["BA", { label: "answer at once", size: [1, 1], codes: NO_OR_YES }], // (1)(3)
  ["BB", { label: "force the authorisation request", size: [1, 1], codes: NO_OR_YES }], // (2)
  ["BF", { label: "partial payment accepted", size: [1, 1], codes: NO_OR_YES }], // (5)
  ["BH", { label: "customer's phone number", size: [8, 20] }], // (2)
  ["BI", { label: "customer's e-mail address", size: [6, 256] }], // (2)
  ["AA", { label: "card number, masked", size: [1, 64] }], // (1)(3)
  ["AB", { label: "card expiry, YYMM", size: [4, 4], digits: true }], // (1)(3)
  ["AC", { label: "authorisation number", size: [1, 10] }], // (1)(2)(3)
  ["AD", { label: "CMC7 line of a cheque" }], // (6)
  ["AE", { label: "status", size: [2, 2], codes: STATUSES }], // (1)(2)(3)
  ["AF", { label: "failure", size: [2, 50], codes: FAILURES }], // (1)(2)(3)(5)
  ["AG", { label: "answer of the cheque register (FNCI)" }], // (6)
  ["AH", { label: "cheque guarantee answer" }], // (6)
  ["AI", { label: "AID of the card application", size: [1, 32] }], // (1)(2)(3)
  ["AK", { label: "receipt data, base64", size: [1, 900] }], // (2)(3)
  ["AL", { label: "kind of card number in AA", size: [1, 1] }], // (3)
  ["AM", { label: "customer's phone number as typed" }], // (6)
  ["AN", { label: "customer's e-mail address as typed" }], // (6)
  ["ZT", { label: "receipt: the fields CK and AK", size: [1, 999] }], // (2)(3)
]);

const BASE_TAGS = ["CZ", "CJ", "CA", "CD"] as const;
const MONEY_TAGS = ["CZ", "CJ", "CA", "CB", "CD", "CE"] as const;

/**
 * The tags that a request must hold: six for money (1)(2), four without (3)(4).
 *
 * @param action The value of CD. One that is not in {@linkcode ACTIONS} needs the four (our
 * choice).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { mandatoryTags } from "./protocol.ts";
 *
 * assert.deepEqual(mandatoryTags("I"), ["CZ", "CJ", "CA", "CD"]);
 * ```
 */
export function mandatoryTags(action: string | undefined): readonly string[] {
  return action !== undefined && ACTIONS.get(action)?.money ? MONEY_TAGS : BASE_TAGS;
}

/**
 * The tags that a request must hold and does not, or not with a value.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MessageReader, missingTags } from "./protocol.ts";
 *
 * const reader = new MessageReader();
 * reader.feed("CZ0040300CA00201CD001I");
 * assert.deepEqual(missingTags(reader.fields), ["CJ"]);
 * ```
 */
export function missingTags(fields: readonly Field[]): string[] {
  return mandatoryTags(valueOf(fields, "CD")).filter((tag) => !valueOf(fields, tag));
}

function valueOf(fields: readonly Field[], wanted: string): string | undefined {
  return fields.find(({ tag }) => tag === wanted)?.value;
}

// ---------------------------------------------------------------- messages

/** A message: from tag to value. The keys stand in the order on the wire, but CZ is sent first. */
export type Message = Record<string, string>;

/** One field of a message. */
export interface Field {
  /** Two letters A-Z. */
  tag: string;
  /** 0 to 999 characters of Latin-1. */
  value: string;
  /** Where its tag stands: bytes from the start of the message, counted from 0. */
  at: number;
}

/** A message as it came, whole or as far as it could be read. */
export interface Received {
  /** Its bytes as Latin-1 text, without CR and LF around it, unreadable ones included. */
  raw: string;
  /** Every field, in the order received. */
  fields: readonly Field[];
  /** The same as an object. Of a tag that came more than once, the first (our choice). */
  message: Message;
  /** The first field whose tag an earlier one has, if any: a tag appears at most once. (2)(6) */
  repeated?: Field;
  /** Why it is no message, if so. */
  error?: ProtocolError;
}

/**
 * Something that is not Caisse-AP, or cannot be sent as such. The message says what stands where,
 * and what was expected.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, ProtocolError } from "./protocol.ts";
 *
 * assert.throws(() => decode("CZ00x0300"), (error) => error instanceof ProtocolError && error.at === 4);
 * ```
 */
export class ProtocolError extends Error {
  /** @ignore */
  override name = "ProtocolError";
  /** Where it went wrong in what was received: bytes from the start of the message, from 0. */
  readonly at: number | undefined;

  /** An error, at a byte of what was received. */
  constructor(message: string, at?: number) {
    super(at === undefined ? message : `at byte ${at}: ${message}`);
    this.at = at;
  }
}

/**
 * The longest message that is read, in bytes (our choice: all known tags at their longest make less
 * than 9,000, and an answer to the longest request that the terminal takes by default, which gives
 * it back, must be readable).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { MAX_MESSAGE, MessageReader } from "./protocol.ts";
 *
 * assert.equal(new MessageReader(MAX_MESSAGE).state, "empty");
 * ```
 */
export const MAX_MESSAGE = 131_072;

const HEAD = 5; // bytes of a tag and a length

/**
 * A message to the bytes that go on the wire, CZ first.
 *
 * @throws {ProtocolError} A tag is not two letters A-Z, or its value not 1 to 999 characters of
 * Latin-1. The tag is named.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encode } from "./protocol.ts";
 *
 * const bytes = encode({ CB: "11245", CZ: "0300" });
 * assert.equal(String.fromCharCode(...bytes), "CZ0040300CB00511245");
 * ```
 */
export function encode(message: Message): Uint8Array {
  const text = encodeText(message);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/**
 * The same as Latin-1 text, as a log shows it and `socket.write(text, "latin1")` sends it.
 *
 * @throws {ProtocolError} As {@linkcode encode}.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeText } from "./protocol.ts";
 *
 * assert.equal(encodeText({ CB: "50", CZ: "0300" }), "CZ0040300CB00250");
 * ```
 */
export function encodeText(message: Message): string {
  let text = "CZ" in message ? encodeField("CZ", message["CZ"]) : "";
  for (const tag in message) if (tag !== "CZ") text += encodeField(tag, message[tag]);
  return text;
}

/** One field as Latin-1 text. */
function encodeField(tag: string, value: unknown): string {
  if (!/^[A-Z]{2}$/.test(tag)) {
    throw new ProtocolError(`tag ${JSON.stringify(tag)}: expected two letters A-Z`);
  }
  if (typeof value !== "string" || value.length < 1 || value.length > 999) {
    const got = typeof value === "string" ? `${value.length}` : `a value of type ${typeof value}`;
    throw new ProtocolError(`tag ${tag}: expected text of 1 to 999 characters, got ${got}`);
  }
  const [beyond] = /[^\x00-\xff]/u.exec(value) ?? [];
  if (beyond) {
    throw new ProtocolError(`tag ${tag}: expected characters of Latin-1, got "${beyond}"`);
  }
  return tag + String(1000 + value.length).slice(1) + value;
}

/**
 * The bytes of one message, or its text as found in a log, to the message. CR and LF around it are
 * skipped.
 *
 * It is lenient: other sizes than in {@linkcode TAGS} (4) and empty values, length 000 (5), occur
 * in the field. Unknown tags and every byte of Latin-1 are read too (our choice: the sources know
 * ASCII only).
 *
 * @throws {ProtocolError} No message, more than one, or one with a tag twice.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode } from "./protocol.ts";
 *
 * const { AE, AF } = decode("CZ0040320CJ012999999999999AE00201AF00204");
 * assert.equal(AE, "01");
 * assert.equal(AF, "04");
 * ```
 */
export function decode(bytes: Uint8Array | string): Message {
  const reader = new MessageReader();
  const received = reader.feed(bytes);
  if (reader.state !== "empty" && reader.state !== "malformed") received.push(reader.take());
  const [first, second] = received;
  if (first === undefined) throw new ProtocolError("expected a message, got nothing", 0);
  if (first.error) throw first.error;
  const { repeated } = first;
  if (repeated) throw new ProtocolError(`tag ${repeated.tag} is there twice`, repeated.at);
  if (second) throw new ProtocolError("expected one message, got more after it");
  return first.message;
}

/** Bytes as Latin-1 text, one character each. TextDecoder's "latin1" is Windows-1252. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096) as unknown as number[]);
  }
  return text;
}

/** How something begins that is not Caisse-AP but may come from a wrong port, or to this one. */
const FOREIGN: readonly [RegExp, string][] = [
  [/^\x02/, "serial framing (STX): over IP a message goes without STX, ETX and LRC"], // (4)
  [/^[\x15\x16]\x03/, "TLS: Caisse-AP over IP is not encrypted"], // (6)
  [
    /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |^HTTP\//,
    "HTTP: Caisse-AP is fields over a raw TCP socket",
  ],
];

/**
 * What a {@linkcode MessageReader} holds: nothing; a message cut inside a field; whole fields only,
 * which may be all or not, since nothing marks the end; or bytes that are no message, after which
 * it reads no more.
 */
export type ReaderState = "empty" | "incomplete" | "whole" | "malformed";

/**
 * Cuts a stream of bytes into messages. Feed it chunks of any size, cut anywhere: terminals split
 * an answer over segments, also between two fields (5, pulls 787 and 798). It holds the message in
 * progress only, by default at most {@linkcode MAX_MESSAGE} bytes of it.
 *
 * A message ends at CR or LF, which some POS send after it (2), or at the CZ of the next one, where
 * a connection is kept. Otherwise nothing marks its end: who feeds the reader must tell by the time
 * that nothing came, or by the end of the connection.
 *
 * @example Reading until the sender pauses
 * ```ts
 * import assert from "node:assert/strict";
 * import { MessageReader } from "./protocol.ts";
 *
 * const reader = new MessageReader();
 * reader.feed("CZ0040300AE");
 * reader.feed("00210");
 * assert.equal(reader.state, "whole");
 * const { message } = reader.take(); // nothing came for a while: that was all
 * assert.equal(message.AE, "10");
 * ```
 */
export class MessageReader {
  #fields: Field[] = [];
  #raw = ""; // of #fields
  #rest = ""; // of the stream: a part of the next field
  #malformed = false;
  readonly #most: number;

  /** A reader of messages of so many bytes at most. */
  constructor(most: number = MAX_MESSAGE) {
    this.#most = most;
  }

  /** What it holds now. */
  get state(): ReaderState {
    if (this.#malformed) return "malformed";
    if (this.#rest !== "") return "incomplete";
    return this.#fields.length === 0 ? "empty" : "whole";
  }

  /** The fields of the message in progress that are whole. */
  get fields(): readonly Field[] {
    return this.#fields;
  }

  /**
   * Takes a chunk of the stream; text stands for Latin-1 bytes.
   *
   * @returns The messages that ended in it. The last has an `error` when it is malformed;
   * everything after that is ignored.
   */
  feed(chunk: Uint8Array | string): Received[] {
    const ended: Received[] = [];
    if (this.#malformed) return ended;
    const text = this.#rest + (typeof chunk === "string" ? chunk : latin1(chunk));
    this.#rest = "";
    let at = 0;
    while (at < text.length) {
      const lineEnd = text[at] === "\r" || text[at] === "\n";
      if ((lineEnd || text.startsWith("CZ", at)) && this.#fields.length > 0) {
        ended.push(this.take());
      }
      if (lineEnd) {
        at++;
        continue;
      }
      const head = text.slice(at, at + HEAD);
      const end = at + HEAD + Number(head.slice(2));
      const error = this.#wrongHead(head);
      if (error || head.length < HEAD || end > text.length) {
        this.#rest = text.slice(at);
        if (error) ended.push(this.#fail(error));
        return ended;
      }
      this.#fields.push({
        tag: head.slice(0, 2),
        value: text.slice(at + HEAD, end),
        at: this.#raw.length,
      });
      this.#raw += text.slice(at, end);
      at = end;
    }
    return ended;
  }

  /** Takes what is there as a message. It has an `error` when it is cut inside a field. */
  take(): Received {
    const message: Message = {};
    const raw = this.#raw + this.#rest;
    const received: Received = { raw, fields: this.#fields, message };
    for (const field of this.#fields) {
      if (field.tag in message) received.repeated ??= field;
      else message[field.tag] = field.value;
    }
    if (this.#rest !== "") received.error = new ProtocolError(missing(this.#rest), raw.length);
    this.#fields = [];
    this.#raw = this.#rest = "";
    return received;
  }

  /** What is wrong with a tag and length, as far as they came. */
  #wrongHead(head: string): ProtocolError | undefined {
    const most = this.#most;
    if (/^(?:[A-Z]{2}\d{0,3}|[A-Z])$/.test(head)) {
      const end = this.#raw.length + HEAD + Number(head.slice(2));
      if (head.length < HEAD || end <= most) return undefined;
      const expected = `expected the end of the message, which has at most ${most} bytes`;
      return new ProtocolError(expected, this.#raw.length + HEAD);
    }
    const good = head.match(/^(?:[A-Z]{2}\d*|[A-Z]?)/)?.[0].length ?? 0;
    const expected = good < 2
      ? "a tag of two letters A-Z"
      : `the length of ${head.slice(0, 2)} in three digits`;
    const got = printable(head.charAt(good));
    return new ProtocolError(`expected ${expected}, got "${got}"`, this.#raw.length + good);
  }

  #fail(error: ProtocolError): Received {
    this.#malformed = true;
    const received = this.take();
    const other = FOREIGN.find(([pattern]) => pattern.test(received.raw))?.[1];
    if (other) error.message += `; this looks like ${other}`;
    return { ...received, error };
  }
}

/** What a field lacks that is cut. */
function missing(field: string): string {
  const tag = field.slice(0, 2);
  if (tag.length < 2) return `expected the second letter of the tag after "${tag}", got the end`;
  if (field.length < HEAD) return `expected the length of ${tag} in three digits, got the end`;
  const expected = Number(field.slice(2, HEAD));
  return `expected ${expected} characters for ${tag}, got ${field.length - HEAD}`;
}

// ---------------------------------------------------------------- conformance

/** Deviations that are told of one request (our choice: one that is all wrong needs no list). */
const MAX_DEVIATIONS = 20;

/** Something in a request that the protocol does not want. */
export interface Deviation {
  /** What is there, and what the protocol wants. */
  message: string;
  /** Whether a strict terminal serves the request all the same (our choice). */
  tolerated: boolean;
}

/**
 * What a request has that the protocol does not want: every field is held against {@linkcode TAGS}.
 * Mandatory tags that are missing are another matter, see {@linkcode missingTags}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, deviations, MessageReader } from "./protocol.ts";
 *
 * const reader = new MessageReader();
 * reader.feed("CZ0040300CB0015");
 * const [deviation] = deviations(reader.take());
 * assert.equal(deviation?.message, "CB: expected 2 to 12 characters, got 1");
 * ```
 */
export function deviations(request: Received): Deviation[] {
  const found: Deviation[] = [];
  const add = (message: string, tolerated = false): unknown => found.push({ message, tolerated });
  const { fields, repeated, error } = request;
  if (error) add(`malformed ${error.message}`);
  const first = fields[0]?.tag;
  if (first !== undefined && first !== "CZ") add(`expected CZ to come first, got ${first}`); // (2)(6)
  if (repeated) {
    add(`expected a tag at most once, got ${repeated.tag} again at byte ${repeated.at}`); // (2)(6)
  }
  for (const { tag, value } of fields) {
    if (found.length >= MAX_DEVIATIONS) {
      add("there may be more that is not listed here", found.every(({ tolerated }) => tolerated));
      break;
    }
    const known = TAGS.get(tag);
    if (!known) {
      add(`${tag}: expected a tag of the protocol`, true);
      continue;
    }
    const { size: [min, max] = [1, 999], digits, codes, label } = known;
    if (tag.startsWith("A")) add(`${tag}: expected from the terminal only`); // (3)
    if (tag === "BF") add("BF: expected none, newer Ingenico software fails on it", true); // (5, pull 645)
    if (value === "") add(`${tag}: expected the field to be left out, got length 000`); // (2)(6)
    else if (value.length < min || value.length > max) {
      add(
        `${tag}: expected ${
          min === max ? min : `${min} to ${max}`
        } characters, got ${value.length}`,
      );
    } else if (codes && !meaning(tag, value)) {
      const open = tag === "CC" || tag === "CD"; // CD: single vendors have others (3); CC: our choice
      add(`${tag}: expected a known ${label}, got "${printable(value)}"`, open);
    }
    if (digits && /\D/.test(value)) add(`${tag}: expected digits, got "${printable(value)}"`);
    else if (/[^\x20-\x7e]/.test(value)) add(`${tag}: expected ASCII, got "${printable(value)}"`);
  }
  return found;
}

// ---------------------------------------------------------------- receipts

/** A receipt, as it travels in ZT: its kind in CK, its text in AK as base64 of Latin-1. (2)(3) */
export interface Receipt {
  /** Whose copy it is. */
  copy: "customer" | "merchant";
  /** Plain text of about 24 columns, or HTML. */
  format: "text" | "html";
  /** What is on it. */
  text: string;
}

/**
 * What CK asks for: "1" and whose copy (0 customer, 1 merchant, 2 both) and the format (0 text, 1
 * HTML). (2)(3)
 *
 * @returns Undefined when no receipt is wanted. Digits that are missing count as 0 (our choice).
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { wantedReceipt } from "./protocol.ts";
 *
 * assert.equal(wantedReceipt("110")?.copy, "merchant");
 * ```
 */
export function wantedReceipt(
  ck: string,
): { copy: Receipt["copy"] | "both"; format: Receipt["format"] } | undefined {
  if (ck[0] !== "1") return undefined;
  const copy = ck[1] === "2" ? "both" : ck[1] === "1" ? "merchant" : "customer";
  return { copy, format: ck[2] === "1" ? "html" : "text" };
}

/**
 * A receipt to the value of ZT.
 *
 * @throws {ProtocolError} The text is not 1 to 675 characters of Latin-1: in base64 they are the
 * 900 that AK holds.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { encodeReceipt } from "./protocol.ts";
 *
 * const zt = encodeReceipt({ copy: "customer", format: "text", text: "DEBIT" });
 * assert.equal(zt, "CK003100AK008REVCSVQ=");
 * ```
 */
export function encodeReceipt({ copy, format, text }: Receipt): string {
  const kind = `1${copy === "merchant" ? 1 : 0}${format === "html" ? 1 : 0}`;
  if (text.length > 675) {
    throw new ProtocolError(
      `tag AK: expected a receipt of at most 675 characters, got ${text.length}`,
    );
  }
  encodeField("AK", text); // as text too: what btoa() throws of other characters is no ProtocolError
  return encodeField("CK", kind) + encodeField("AK", btoa(text));
}

/**
 * The receipts in the value of ZT; none where it holds none that can be read.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decodeReceipts, encodeReceipt } from "./protocol.ts";
 *
 * const [receipt] = decodeReceipts(encodeReceipt({ copy: "customer", format: "text", text: "DEBIT" }));
 * assert.equal(receipt?.text, "DEBIT");
 * ```
 */
export function decodeReceipts(zt: string): Receipt[] {
  const reader = new MessageReader();
  const [{ fields } = reader.take()] = reader.feed(zt);
  let kind: ReturnType<typeof wantedReceipt>;
  return fields.flatMap(({ tag, value }): Receipt[] => {
    if (tag === "CK") kind = wantedReceipt(value);
    if (tag !== "AK" || !/^[A-Za-z0-9+/]+={0,2}$/.test(value) || value.length % 4 !== 0) return [];
    const copy = kind?.copy === "merchant" ? "merchant" : "customer";
    return [{ copy, format: kind?.format ?? "text", text: atob(value) }];
  });
}

// ---------------------------------------------------------------- amounts

/**
 * A decimal amount to minor units, exactly: "112.45" with 2 decimals is "11245", "-10" is "-1000".
 *
 * @param amount Digits, a dot before the decimals, a minus sign before all if negative.
 * @param decimals How many the currency has: 2 for EUR.
 * @throws {OptionError} It is no decimal number, has more decimals than the currency, or more than
 * the 12 digits of CB. (1)
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { toMinorUnits } from "./protocol.ts";
 *
 * assert.equal(toMinorUnits("112.45", 2), "11245");
 * ```
 */
export function toMinorUnits(amount: string, decimals: number): string {
  const wrong = (expected: string) => new OptionError("amount", expected, amount);
  const [, sign = "", whole = "", fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(amount) ?? [];
  if (whole === "") throw wrong("a decimal number with a dot, such as 112.45");
  if (fraction.length > decimals) {
    throw wrong(decimals === 0 ? "no decimals" : `at most ${decimals} decimals`);
  }
  const digits = (whole + fraction.padEnd(decimals, "0")).replace(/^0+(?=\d)/, "");
  if (digits.length > 12) throw wrong("at most 12 digits with the decimals");
  return (digits === "0" ? "" : sign) + digits;
}

/**
 * Minor units to a decimal amount: "11245" with 2 decimals is "112.45", "-5" is "-0.05".
 *
 * @param units Digits, leading zeros allowed, as in CB; a minus sign before them if negative.
 * @param decimals How many the currency has: 2 for EUR.
 * @throws {RangeError} It is not digits.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { toDecimal } from "./protocol.ts";
 *
 * assert.equal(toDecimal("0011245", 2), "112.45");
 * ```
 */
export function toDecimal(units: string, decimals: number): string {
  const [, sign = "", digits = ""] = /^(-?)0*(\d+)$/.exec(units) ?? [];
  if (digits === "") throw new RangeError(`expected digits, got "${printable(units)}"`);
  const padded = digits.padStart(decimals + 1, "0");
  const whole = padded.slice(0, padded.length - decimals);
  return sign + whole + (decimals > 0 ? "." + padded.slice(-decimals) : "");
}

/** Letters and decimals of the currencies that texts for people name; ISO 4217 has more. */
const CURRENCIES: ReadonlyMap<string, [letters: string, decimals: number]> = new Map([
  ["978", ["EUR", 2]],
  ["756", ["CHF", 2]],
  ["826", ["GBP", 2]],
  ["840", ["USD", 2]],
  ["124", ["CAD", 2]],
  ["392", ["JPY", 0]],
  ["953", ["XPF", 0]],
]);

/**
 * The amount of a message for people, if it is one in a currency that is common in France.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { moneyText } from "./protocol.ts";
 *
 * assert.equal(moneyText({ CB: "11245", CE: "978" }), "112.45 EUR");
 * ```
 */
export function moneyText({ CB = "", CE = "" }: Readonly<Message>): string | undefined {
  const [letters, decimals] = CURRENCIES.get(CE) ?? [];
  if (letters === undefined || decimals === undefined || !/^\d+$/.test(CB)) return undefined;
  return `${toDecimal(CB, decimals)} ${letters}`;
}

// ---------------------------------------------------------------- answers

/** Why a terminal did not do what was asked, read from AF. */
export interface Failure extends Term {
  /** The first two characters of AF; "" when the answer has no AF. */
  code: string;
  /** The rest of AF, trimmed: for cards an authorisation response and a text. (2) */
  detail: string;
}

/**
 * What an answer means for the request it answers: approved (AE 10), declined (AE 01), accepted
 * (the outcome is not known yet) or not understandable.
 */
export type Verdict =
  | { status: "approved" | "accepted" }
  | { status: "declined"; failure: Failure }
  | { status: "invalid"; error: string };

/**
 * Tells what an answer means.
 *
 * After BA 1 both AE 11 (1) and AE 10 (3) only say that the terminal has accepted the request. An
 * approval must fit the request; a decline need not: a payment that a person cancelled comes back
 * without its amount. (5)
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, interpret } from "./protocol.ts";
 *
 * const request = decode("CZ0040300CJ012247300123456CA00201CB00512345CD0010CE003978");
 * const verdict = interpret(request, { ...request, AE: "01", AF: "04" });
 * assert.ok(verdict.status === "declined");
 * assert.equal(verdict.failure.label, "refused");
 * ```
 */
export function interpret(request: Message, answer: Message): Verdict {
  const status = answer["AE"];
  if (status === "01") return { status: "declined", failure: readFailure(answer["AF"] ?? "") };
  if (status === "11" || (status === "10" && request["BA"] === "1")) return { status: "accepted" };
  if (status === "10") {
    const error = misfit(request, answer);
    return error === undefined ? { status: "approved" } : { status: "invalid", error };
  }
  const expected = `expected the status AE to be ${[...STATUSES.keys()].join(", ")}`;
  return { status: "invalid", error: `${expected}, got ${shown(status)}` };
}

function readFailure(value: string): Failure {
  const code = value.slice(0, 2);
  const term = FAILURES.get(code) ?? (code === "" ? NO_REASON : UNDOCUMENTED_REASON);
  return { code, ...term, detail: value.slice(2).trim() };
}

const NO_REASON: Term = { label: "no reason given", french: "motif non précisé" };
const UNDOCUMENTED_REASON: Term = { label: "undocumented reason", french: "motif non documenté" };

/** The tags of a request that an approval has too. */
const ANSWERED_TAGS = ["CA", "CB", "CD", "CE"] as const;

/**
 * Whether fields have all that an answer needs, so that more of it is hardly yet to come: AE 01 a
 * failure, other statuses the tags of the request that are checked (our choice).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { isComplete, MessageReader } from "./protocol.ts";
 *
 * const reader = new MessageReader();
 * reader.feed("CZ0040300AE00210");
 * assert.equal(isComplete({ CA: "01", CD: "I" }, reader.fields), false);
 * ```
 */
export function isComplete(request: Message, fields: readonly Field[]): boolean {
  const status = valueOf(fields, "AE");
  const needed = status === "01"
    ? ["AF"]
    : ANSWERED_TAGS.filter((tag) => request[tag] !== undefined);
  return status !== undefined && needed.every((tag) => valueOf(fields, tag) !== undefined);
}

/**
 * Why an approval does not fit the request, if so. CA, CB, CD and CE must be those of the request,
 * as far as it has them (our choice); CZ and CJ are the terminal's own. Leading zeros of CB do not
 * count, and after BF 1 it may be lower. (5)
 */
function misfit(request: Message, answer: Message): string | undefined {
  for (const tag of ANSWERED_TAGS) {
    const asked = request[tag];
    const got = answer[tag];
    if (asked === undefined || asked === got) continue;
    if (tag === "CB" && got !== undefined && fitsAmount(asked, got, request["BF"] === "1")) {
      continue;
    }
    return `expected ${tag} to be ${shown(asked)} as in the request, got ${shown(got)}`;
  }
  return undefined;
}

function fitsAmount(asked: string, got: string, partly: boolean): boolean {
  if (!/^\d+$/.test(asked) || !/^\d+$/.test(got)) return false;
  const [wanted, paid] = [BigInt(asked), BigInt(got)];
  return paid === wanted || (partly && paid > 0n && paid < wanted);
}

// ---------------------------------------------------------------- for people

/**
 * Text with its control characters escaped, so that what a peer sent cannot move a cursor or forge
 * a line of a log.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { printable } from "./protocol.ts";
 *
 * assert.equal(printable("\x1b[2J"), "\\x1b[2J");
 * ```
 */
export function printable(text: string): string {
  return text.replace(
    /[\x00-\x1f\x7f-\x9f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

/** A value in a message to a person. */
function shown(value: string | undefined): string {
  return value === undefined ? "none" : `"${printable(value)}"`;
}

/**
 * A value as JSON on one line, with every control character escaped: JSON itself leaves U+007F to
 * U+009F as they are.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { jsonLine } from "./protocol.ts";
 *
 * assert.equal(jsonLine({ CF: "\x9b2J" }), '{"CF":"\\u009b2J"}\n');
 * ```
 */
export function jsonLine(value: unknown): string {
  const escape = (char: string): string => `\\u00${char.charCodeAt(0).toString(16)}`;
  return `${JSON.stringify(value).replace(/[\x7f-\x9f]/g, escape)}\n`;
}

/**
 * Text of several lines, such as a receipt, each indented and {@linkcode printable}.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { printableLines } from "./protocol.ts";
 *
 * assert.equal(printableLines("one\ntwo"), "  one\n  two");
 * ```
 */
export function printableLines(text: string): string {
  return text.split(/\r\n|\r|\n/).map((line) => `  ${printable(line)}`).join("\n");
}

/**
 * What a value of a tag means, if it is one that has a meaning of its own and is known.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { meaning } from "./protocol.ts";
 *
 * assert.equal(meaning("AF", "0451")?.french, "refusée");
 * ```
 */
export function meaning(tag: string, value: string | undefined): Term | undefined {
  if (value === undefined) return undefined;
  return TAGS.get(tag)?.codes?.get(tag === "AF" ? value.slice(0, 2) : value);
}

/**
 * A message for people to read: a line a field, with the meaning of each tag and code.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { describe } from "./protocol.ts";
 *
 * assert.match(describe({ CD: "1" }), /action: credit \(crédit\)$/);
 * ```
 */
export function describe(message: Message): string {
  return Object.entries(message).map(([tag, value]) => {
    const label = TAGS.get(tag)?.label ?? "unknown tag";
    const term = meaning(tag, value);
    const text = tag === "CB" ? moneyText(message) : term && inWords(term);
    const means = text ? `: ${text}` : "";
    return `  ${tag} ${printable(value).padEnd(24)} ${label}${means}`;
  }).join("\n");
}

/**
 * A term in English and French, once where it is the same in both.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inWords } from "./protocol.ts";
 *
 * assert.equal(inWords({ label: "refused", french: "refusée" }), "refused (refusée)");
 * ```
 */
export function inWords({ label, french }: Term): string {
  return label === french ? label : `${label} (${french})`;
}

// ---------------------------------------------------------------- what both sides need

/**
 * An option of a command or a function that is not as it must be. The message names it, what was
 * expected and what came.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { OptionError } from "./protocol.ts";
 *
 * const { message } = new OptionError("port", "a number", "x");
 * assert.equal(message, 'port: expected a number, got "x"');
 * ```
 */
export class OptionError extends Error {
  /** @ignore */
  override name = "OptionError";
  /** The option: logLevel in the library, log-level in a command. */
  readonly option: string;
  /** The message without the option. */
  readonly problem: string;

  /** `expected` completes "expected ..."; the nearest of `words` is suggested. */
  constructor(option: string, expected: string, got: unknown, words: Iterable<string> = []) {
    const simple = got === null || typeof got !== "object" && typeof got !== "function";
    const value = typeof got === "string"
      ? shown(got)
      : simple
      ? String(got ?? "none")
      : typeof got;
    const meant = typeof got === "string" ? nearest(got, words) : undefined;
    const problem = `expected ${expected}, got ${value}${meant ? `; did you mean ${meant}?` : ""}`;
    super(`${option}: ${problem}`);
    this.option = option;
    this.problem = problem;
  }
}

/**
 * The word of a list that was given, in any case.
 *
 * @throws {OptionError} It is none of them. The nearest is suggested.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { oneOf } from "./protocol.ts";
 *
 * assert.equal(oneOf("card", ["visa", "amex"], "Visa"), "visa");
 * ```
 */
export function oneOf<Word extends string>(
  option: string,
  words: readonly Word[],
  got: string,
): Word {
  const word = words.find((word) => word === got.toLowerCase());
  if (word !== undefined) return word;
  throw new OptionError(option, `one of ${words.join(", ")}`, got, words);
}

/** The word that was perhaps meant: it begins so, or is at most two letters away. */
function nearest(text: string, words: Iterable<string>): string | undefined {
  const typed = text.toLowerCase();
  let [best, least]: [string | undefined, number] = [undefined, Math.min(3, typed.length)];
  for (const word of words) {
    const distance = typed.length > 2 && word.startsWith(typed) ? 1 : lettersApart(typed, word);
    if (distance < least) [best, least] = [word, distance];
  }
  return best;
}

/** How many letters must be put in, left out or replaced between two words (Levenshtein). */
function lettersApart(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (const [index, letter] of [...one].entries()) {
    const next = [index + 1];
    for (let at = 1; at <= other.length; at++) {
      const same = row[at - 1]! + (letter === other[at - 1] ? 0 : 1);
      next.push(Math.min(same, row[at]! + 1, next[at - 1]! + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/**
 * How much a log tells, from all to little.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { LOG_LEVELS } from "./protocol.ts";
 *
 * assert.ok(LOG_LEVELS.indexOf("warn") > LOG_LEVELS.indexOf("info"));
 * ```
 */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = typeof LOG_LEVELS[number];

/**
 * A number within bounds, as it is.
 *
 * @throws {OptionError} It is out of them, or not whole where it must be.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { inRange } from "./protocol.ts";
 *
 * assert.equal(inRange("port", 8888, 1, 65535), 8888);
 * ```
 */
export function inRange(
  option: string,
  got: number,
  min: number,
  max: number,
  kind: "a number" | "a whole number" = "a number",
): number {
  if (
    typeof got !== "number" || !(got >= min && got <= max) ||
    (kind === "a whole number" && !Number.isInteger(got))
  ) {
    throw new OptionError(option, `${kind} from ${min} to ${max}`, got);
  }
  return got;
}

/**
 * A number written in decimal digits, with or without a dot and decimals.
 *
 * @throws {OptionError} It is written otherwise.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseNumber } from "./protocol.ts";
 *
 * assert.equal(parseNumber("duration", "0.5"), 0.5);
 * ```
 */
export function parseNumber(option: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new OptionError(option, "a number such as 3 or 0.5", text);
  return Number(text);
}

/**
 * What is wrong with the arguments of a command, in one line, if that is what an error is about.
 *
 * @param options The long options that the command has, without their dashes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { argumentError, OptionError } from "./protocol.ts";
 *
 * const text = argumentError(new OptionError("logLevel", "a level", "x"), []);
 * assert.match(text ?? "", /^--log-level: expected a level, got "x"/);
 * ```
 */
export function argumentError(error: unknown, options: readonly string[]): string | undefined {
  const help = "(--help lists the options)";
  if (error instanceof OptionError) {
    const option = error.option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return `--${option}: ${error.problem} ${help}`;
  }
  if (error instanceof ProtocolError) return `${error.message} ${help}`;
  const { code, message = "" } = error as { code?: string; message?: string };
  if (!code?.startsWith("ERR_PARSE_ARGS")) return undefined; // else from node:util parseArgs
  const [, unknown] = /^Unknown option '--([^']*)'/.exec(message) ?? [];
  const meant = unknown === undefined ? undefined : nearest(unknown, options);
  return `${message.split("\n", 1)[0]}${meant ? `; did you mean --${meant}?` : ""} ${help}`;
}

/**
 * Calls a function of the user. What it throws goes to the runtime as uncaught, and does no harm to
 * the payment that it is told of.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { callBack } from "./protocol.ts";
 *
 * let calls = 0;
 * callBack(() => calls++);
 * assert.equal(calls, 1);
 * ```
 */
export function callBack(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/**
 * The version of this package.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { VERSION } from "./protocol.ts";
 *
 * assert.match(VERSION, /^\d+\.\d+\.\d+$/);
 * ```
 */
export const VERSION = "0.1.0";
