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
 * 1. github.com/akretion/caisse-ap-ip, the reference scripts, made with an Ingenico Desk/5000
 *    (CONCERT V3, 8400740115) and an i2200
 * 2. HiPay, "Local API for Nepting", public developer page
 * 3. PayXpert, "Concert V3", public documentation
 * 4. public POS bridges and the fake terminals in their test suites
 * 5. github.com/OCA/l10n-france, module l10n_fr_pos_caisse_ap_ip and its pulls 469, 645, 669, 787
 *    and 798
 * 6. Fidecoin, public notes on CAISSE_AP V3.20, the weakest source taken alone
 * 7. public lists of EMV application identifiers
 * 8. Viva, "AP Concert ECR integration protocol", public developer page
 * 9. HiPay, pages on its Android and smart-terminal connectors, public
 * 10. an installer's guide for an Ingenico AXIUM DX8000 with Nepting, in a public repository
 *
 * @example A message to bytes and back
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, encode } from "./protocol.ts";
 *
 * const bytes = encode({ CZ: "0300", CJ: "012345678901", CA: "01", CD: "I" });
 * assert.equal(String.fromCharCode(...bytes), "CZ0040300CJ012012345678901CA00201CD001I");
 * assert.equal(decode(bytes).CD, "I");
 * ```
 *
 * @module
 */

// ---------------------------------------------------------------- tables

/** A code in words. */
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

/** Why a request was not done: the first two characters of AF. (2)(5) Some terminals send 01 beside AE 10. (1)(2)(3)(5) */
const REASONS: ReadonlyMap<string, Term> = new Map([
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

/** Applications that are called the same in both languages: up to QR code (2)(5), then (9). */
const BRANDS = "003 CB Enseigne|004 Cetelem|005 Cofinoga|006 Diners|007 Pass|008 Franfinance|" +
  "009 JCB|00A Banque Accord|00F DCC|00G QuickPass|00I CPEI|00S Sofinco|00U UnionPay|" +
  "201 quasi-cash|607 QR code|" +
  "301 PLBS|30F PLBS-DCC-GB|401 OPTALION (Crédit Lyonnais)|501 Cash-Agence|" +
  "601 PNF (Crédit Mutuel)|602 P3F|603 OPTALION|604 Préauto-CM|605 PRCME|608 TOP3-3XCB|" +
  "609 PNF-HPS|701 PPFCA (Crédit Agricole)";

/** The values of CC. (2)(5)(9) CB has Visa and Mastercard with it. */
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
  ["101", { label: "card not present", french: "vente à distance" }],
  ...BRANDS.split("|").map((brand): [string, Term] => {
    const label = brand.slice(4);
    return [brand.slice(0, 3), { label, french: label }];
  }),
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

/** A tag of the protocol. */
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
 */
export const TAGS: ReadonlyMap<string, Tag> = new Map<string, Tag>([
  ["CZ", { label: "protocol version", size: [4, 4], digits: true }], // (1)(2)(3)
  ["CJ", { label: "protocol identifier", size: [12, 12] }], // (1)(2)(3)
  ["CA", { label: "cash register number", size: [2, 2] }], // (1)(2)
  ["CB", { label: "amount in minor units", size: [2, 12], digits: true }], // (1)(2)(5)
  ["CC", { label: "payment application", size: [3, 3], codes: APPLICATIONS }], // (1)(2)(5)
  ["CD", { label: "action", size: [1, 1], codes: ACTIONS }], // (1)(2)(3)
  ["CE", { label: "currency, ISO 4217 numeric", size: [3, 3], digits: true }], // (1)(2)
  ["CF", { label: "private data", size: [1, 99] }], // (2)(3)(8)(9)
  ["CG", { label: "merchant contract number", size: [1, 10] }], // (1)(2)
  ["CH", { label: "transaction reference", size: [1, 99] }], // (3)(5)
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
  ["AF", { label: "failure", size: [2, 50], codes: REASONS }], // (1)(2)(3)(5)
  ["AG", { label: "answer of the cheque register (FNCI)" }], // (6)
  ["AH", { label: "cheque guarantee answer" }], // (6)
  ["AI", { label: "AID of the card application", size: [1, 32] }], // (1)(2)(3)
  ["AK", { label: "receipt data, base64", size: [1, 900] }], // (2)(3)(9)
  ["AL", { label: "kind of card number in AA", size: [1, 1] }], // (3)
  ["AM", { label: "customer's phone number as typed" }], // (6)
  ["AN", { label: "customer's e-mail address as typed" }], // (6)
  ["AP", { label: "date of the operation", size: [13, 13] }], // (3)
  ["AQ", { label: "serial number of the terminal", size: [2, 20] }], // (3)
  ["ID", { label: "transaction identifier" }], // (3)
  ["IM", { label: "identifier (ID) of the debit that a credit refers to" }], // (3)
  ["ZT", { label: "receipt: the fields CK and AK", size: [1, 999] }], // (2)(3)
]);

const BASE_TAGS = ["CZ", "CJ", "CA", "CD"] as const;
const MONEY_TAGS = ["CZ", "CJ", "CA", "CB", "CD", "CE"] as const;

/**
 * The tags that a request must hold: six for money (1)(2), four without (3)(4), also with an action
 * (CD) that is not in {@linkcode ACTIONS} (our choice).
 */
export function mandatoryTags(action: string | undefined): readonly string[] {
  return movesMoney(action) ? MONEY_TAGS : BASE_TAGS;
}

/** The tags that a request must hold and does not, or not with a value. */
export function missingTags(request: Readonly<Message>): string[] {
  return mandatoryTags(request["CD"]).filter((tag) => !request[tag]);
}

/** Whether an action, the value of CD, moves money. */
export function movesMoney(action: string | undefined): boolean {
  return action !== undefined && (ACTIONS.get(action)?.money ?? false);
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
  /** Where its tag stands, in bytes from the start of the message. */
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
  /** Why it is no message, if so. */
  error?: ProtocolError;
}

/** Something that is not Caisse-AP, or cannot be sent as such. It says what was expected where. */
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
 * The longest message that is read by default, in bytes (our choice: all known tags at their longest
 * make less than 9,000).
 */
export const MAX_MESSAGE = 131_072;

/** Bytes that a field begins with: its tag and its length. */
export const HEAD = 5;

/**
 * A message to the bytes that go on the wire, CZ first.
 *
 * @throws {ProtocolError} A tag is not two letters A-Z, or its value not 1 to 999 characters of
 * Latin-1. The tag is named.
 */
export function encode(message: Message): Uint8Array {
  return Uint8Array.from(encodeText(message), (character) => character.charCodeAt(0));
}

/**
 * The same as Latin-1 text, as a log shows it and `socket.write(text, "latin1")` sends it.
 *
 * @throws {ProtocolError} As {@linkcode encode}.
 */
export function encodeText(message: Readonly<Message>): string {
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
  const [beyond] = /[\u{100}-\u{10ffff}]/u.exec(value) ?? [];
  if (beyond) {
    throw new ProtocolError(`tag ${tag}: expected characters of Latin-1, got "${beyond}"`);
  }
  return fieldText(tag, value);
}

/** A field as it goes on the wire, unchecked: to put together again what was cut or altered. */
export function fieldText(tag: string, value: string): string {
  return tag + String(1000 + value.length).slice(1) + value;
}

/**
 * Cuts a text into the fields that it begins with, and the rest behind them. Nothing is judged, and
 * line ends are no exception: this is for text that is shown, masked or altered. To read what comes
 * from a peer there is {@linkcode MessageReader}.
 */
export function cutFields(raw: string): { fields: Field[]; rest: string } {
  const fields: Field[] = [];
  for (let at = 0;;) {
    const end = at + HEAD + lengthAt(raw, at);
    if (!(end <= raw.length)) return { fields, rest: raw.slice(at) };
    fields.push({ tag: raw.slice(at, at + 2), value: raw.slice(at + HEAD, end), at });
    at = end;
  }
}

/** What a text says as far as it has fields; of a tag that comes twice, the first (our choice). */
export function readable(raw: string): Message {
  const message: Message = {};
  for (const { tag, value } of cutFields(raw).fields) message[tag] ??= value;
  return message;
}

/**
 * The bytes of one message, or its text as found in a log, to the message. CR and LF around it are
 * skipped. It is lenient: POS send other sizes than those of {@linkcode TAGS} (4). Empty values,
 * unknown tags and every byte of Latin-1 are read too (our choice).
 *
 * @throws {ProtocolError} No message, more than one, or one with a tag twice.
 */
export function decode(bytes: Uint8Array | string): Message {
  const reader = new MessageReader();
  const [first = reader.end(), ...others] = reader.feed(bytes);
  if (first === undefined) throw new ProtocolError("expected a message, got nothing", 0);
  if (first.error) throw first.error;
  const repeated = repeatedField(first);
  if (repeated) throw new ProtocolError(`tag ${repeated.tag} is there twice`, repeated.at);
  if (others.length > 0 || reader.state !== "empty") {
    throw new ProtocolError("expected one message, got more after it");
  }
  return first.message;
}

/** The first field whose tag an earlier one has, if any: a tag appears at most once. (2)(6) */
export function repeatedField({ fields, message }: Received): Field | undefined {
  if (fields.length === Object.keys(message).length) return undefined;
  const seen = new Set<string>();
  return fields.find(({ tag }) => seen.size === seen.add(tag).size);
}

/** Why an answer cannot be used whatever it says, if so: it is malformed, or has a tag twice. */
export function problemOf(answer: Received): string | undefined {
  const repeated = repeatedField(answer);
  return answer.error?.message ?? (repeated && `tag ${repeated.tag} is there twice`);
}

/** Bytes as Latin-1 text, one character each. TextDecoder's "latin1" is Windows-1252. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** Control characters of the serial dialogue. (4) */
const [STX, EOT, ENQ, ACK, CAN] = ["\x02", "\x04", "\x05", "\x06", "\x18"];

/** The high byte of a message's length in binary. */
const HIGH = "[\0-\x03]";

/** How other protocols begin (4)(6), which a wrong port brings here, and their names. */
const FOREIGN: readonly [RegExp, string][] = [
  [
    new RegExp(`^${STX}?\\d{15,16}[ -~]{17,19}`), // 33 or 34 characters
    "Concert V2, the older protocol with fields of fixed width",
  ],
  [new RegExp(`^${STX}`), "serial framing (STX): over IP a message goes without STX, ETX and LRC"],
  [new RegExp(`^${ENQ}`), "the serial dialogue (ENQ): over IP a POS just sends its request"],
  [new RegExp("^[\x15\x16]\x03"), "TLS: Caisse-AP over IP is not encrypted"],
  [
    /^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) |^HTTP\//,
    "HTTP: Caisse-AP is fields over a raw TCP socket",
  ],
  [/^\s*[{[]/, "JSON: a message is fields such as CZ0040300"],
  [/^\s*<[?!A-Za-z]/, "XML: a message is fields such as CZ0040300"],
  [
    new RegExp(`^(?:${HIGH}[^]|[^]${HIGH}|\0\0${HIGH}[^]|[^]${HIGH}\0\0|\\d{2,4})CZ\\d{3}`),
    "a length before the message: nothing stands before CZ",
  ],
];

/** A character of UTF-8 as Latin-1 text; an emoji is one as Python counts, and two as Java does. */
const UTF8 = ["[\\xf0-\\xf4][\\x80-\\xbf]{3}", "[\\x80-\\xbf\\xf0-\\xf4][\\x80-\\xbf]"]
  .map((four) => `[\\0-\\x7f]|[\\xc2-\\xdf][\\x80-\\xbf]|[\\xe0-\\xef][\\x80-\\xbf]{2}|${four}`);

/** Says whether the length of a field, with what comes after it, seems to count characters. */
function countsCharacters({ tag, value }: Field, rest: string): string | undefined {
  const counts = UTF8.some((character) => {
    const field = `^(?:${character}){${value.length}}(?=[A-Z]{2}\\d{3}|[\\r\\n]|$)`;
    return (new RegExp(field).exec(value + rest)?.[0].length ?? 0) > value.length;
  });
  if (!counts) return undefined;
  return `; this looks like a ${tag} in UTF-8 whose length counts characters: it counts bytes`;
}

/** What the bytes are more likely to be than a message, for an error. */
function guess(raw: string, rest: string, before: Field | undefined): string {
  const [, foreign] = FOREIGN.find(([pattern]) => pattern.test(raw)) ?? [];
  if (foreign) return `; this looks like ${foreign}`;
  if (/^[A-Za-z]{2}\d{3}/.test(rest) && !/^[A-Z]{2}/.test(rest)) {
    return "; this looks like a tag in lower-case letters";
  }
  if (!before || /^[A-Z]{2}\d{3}/.test(rest)) return ""; // what is too long is well-formed
  const inUtf8 = countsCharacters(before, rest);
  if (inUtf8) return inUtf8;
  const { tag, value } = before;
  const isField = (text: string): boolean => /^[A-Z]{2}\d{3}/.test(text.slice(0, HEAD));
  const isTooLong = [1, 2, 3, 4].some((more) => isField(value.slice(-more) + rest));
  const length = fieldText(tag, value).slice(2, HEAD);
  const fault = isTooLong ? "long" : "short";
  return `; perhaps the length of ${tag} before it, ${length}, is too ${fault}`;
}

/**
 * What a {@linkcode MessageReader} holds: nothing; a message cut inside a field; whole fields, perhaps
 * the whole message, since nothing marks its end; or bytes that are no message, after which it reads
 * no more.
 */
export type ReaderState = "empty" | "incomplete" | "whole" | "malformed";

/**
 * Cuts a stream of bytes into messages. Feed it chunks of any size, cut anywhere: terminals split
 * an answer over segments, also between two fields (5, pulls 787 and 798). It holds the message in
 * progress only, by default at most {@linkcode MAX_MESSAGE} bytes of it.
 *
 * A message ends at CR or LF, which some POS send after it (2), or at the CZ of the next one, where
 * a connection is kept. Otherwise nothing marks its end: {@linkcode MessageFramer} tells it by the
 * time that nothing came. ACK, EOT and CAN, which POS made for the serial dialogue send between
 * messages (4), are skipped like CR and LF.
 */
export class MessageReader {
  #fields: Field[] = [];
  #message: Message = {};
  #raw = ""; // of #fields
  #rest = ""; // of the stream: a part of the next field
  #needed = 0; // characters of #rest before there is something to read
  #malformed = false;
  readonly #most: number;
  readonly #onControl: ((characters: string) => void) | undefined;

  /** A reader of messages of so many bytes at most; `onControl` receives what it skips. */
  constructor(most: number = MAX_MESSAGE, onControl?: (characters: string) => void) {
    this.#most = most;
    this.#onControl = onControl;
  }

  /** What it holds now. */
  get state(): ReaderState {
    if (this.#malformed) return "malformed";
    if (this.#rest !== "") return "incomplete";
    return this.#fields.length === 0 ? "empty" : "whole";
  }

  /** The whole fields of the message in progress. */
  get message(): Readonly<Message> {
    return this.#message;
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
    // Appended to the field, not to a variable: V8 would flatten the text again for each slice.
    this.#rest += typeof chunk === "string" ? chunk : latin1(chunk);
    if (this.#rest.length < this.#needed) return ended;
    const text = this.#rest;
    this.#rest = "";
    this.#needed = 0;
    let at = 0;
    while (at < text.length) {
      const between = text[at]! < " " ? BETWEEN.exec(text.slice(at))?.[0] : undefined;
      // A CZ that does not come first is no next message: programs write fields in any order.
      const isNext = this.#message["CZ"] !== undefined && text.startsWith("CZ", at);
      if (isNext || (between && this.#fields.length > 0)) ended.push(this.#take());
      if (between) {
        at += between.length;
        if (/[^\r\n]/.test(between)) this.#onControl?.(between);
        continue;
      }
      const start = at + HEAD;
      const end = start + lengthAt(text, at);
      if (!(end <= text.length) || this.#raw.length + end - at > this.#most) {
        this.#rest = text.slice(at);
        const error = this.#headError(this.#rest.slice(0, HEAD));
        if (error) ended.push(this.#fail(error));
        else if (end) this.#needed = end - at;
        return ended;
      }
      const field = text.slice(at, end);
      const tag = field.slice(0, 2);
      const value = field.slice(HEAD);
      this.#fields.push({ tag, value, at: this.#raw.length });
      this.#message[tag] ??= value;
      this.#raw += field;
      at = end;
    }
    return ended;
  }

  /**
   * Takes what is there as a message, if anything is: no more is to come, or nothing came for a
   * while. It has an `error` when it is cut inside a field.
   */
  end(): Received | undefined {
    return this.state === "whole" || this.state === "incomplete" ? this.#take() : undefined;
  }

  #take(): Received {
    const raw = this.#raw + this.#rest;
    const received: Received = { raw, fields: this.#fields, message: this.#message };
    if (this.#rest !== "") {
      const before = this.#fields.at(-1);
      const inUtf8 = (before && countsCharacters(before, this.#rest)) ?? "";
      received.error = new ProtocolError(cutField(this.#rest) + inUtf8, raw.length);
    }
    this.#fields = [];
    this.#message = {};
    this.#raw = this.#rest = "";
    this.#needed = 0;
    return received;
  }

  /** The error in a tag and a length. Undefined while they may still be right. */
  #headError(head: string): ProtocolError | undefined {
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
    const rest = this.#rest;
    const received = this.#take();
    this.#malformed = true;
    error.message += guess(received.raw, rest, received.fields.at(-1));
    return { ...received, error };
  }
}

/**
 * What may stand before, between and after messages: line ends, and ACK, EOT and CAN of the serial
 * dialogue (4). It matches every text; where none of them stands, the match is "".
 */
export const BETWEEN: RegExp = new RegExp(`^[\r\n${EOT}${ACK}${CAN}]*`);

/** The length in a field's head; NaN if that is cut or not well-formed. */
function lengthAt(text: string, at: number): number {
  let length = 0;
  for (let index = 0; index < HEAD; index++) {
    const code = text.charCodeAt(at + index);
    if (index < 2) {
      if (!(code >= 65 && code <= 90)) return NaN; // A-Z
    } else if (!(code >= 48 && code <= 57)) return NaN; // 0-9
    else length = length * 10 + code - 48;
  }
  return length;
}

/** What a field lacks that is cut. */
function cutField(field: string): string {
  const tag = field.slice(0, 2);
  if (tag.length < 2) return `expected the second letter of the tag after "${tag}", got the end`;
  if (field.length < HEAD) return `expected the length of ${tag} in three digits, got the end`;
  const expected = Number(field.slice(2, HEAD));
  return `expected ${expected} characters for ${tag}, got ${field.length - HEAD}`;
}

/** Who feeds a {@linkcode MessageFramer}: knows how long to wait, and receives what came. */
export interface FramerOwner {
  /** Called after a chunk that ends in whole fields: how many milliseconds to wait for more. */
  pause(fields: Readonly<Message>): number;
  /** Receives each message, whole or malformed. */
  onMessage(received: Received): void;
  /** Receives control characters between messages. Default: nobody does. */
  onControl?(characters: string): void;
}

/** Ends each message of a stream at a line end, a second CZ, a pause, or the end of the stream. */
export class MessageFramer {
  readonly #reader: MessageReader;
  readonly #owner: FramerOwner;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** A framer of a stream that is yet to come, of messages of so many bytes at most. */
  constructor(owner: FramerOwner, most?: number) {
    this.#reader = new MessageReader(most, (characters) => owner.onControl?.(characters));
    this.#owner = owner;
  }

  /** What it holds now. */
  get state(): ReaderState {
    return this.#reader.state;
  }

  /** The whole fields of the message in progress. */
  get message(): Readonly<Message> {
    return this.#reader.message;
  }

  /** Takes a chunk of the stream; text stands for Latin-1 bytes. */
  feed(chunk: Uint8Array | string): void {
    this.hold();
    for (const received of this.#reader.feed(chunk)) this.#owner.onMessage(received);
    if (this.#reader.state !== "whole") return;
    const milliseconds = this.#owner.pause(this.#reader.message);
    if (milliseconds <= 0) this.#take();
    else if (milliseconds < Infinity) this.#timer = setTimeout(() => this.#paused(), milliseconds);
  }

  /** Takes the message, but first reads what came if the program was too busy to read. */
  #paused(): void {
    this.#timer = setTimeout(() => this.#take(), 0);
  }

  #take(): void {
    const received = this.end();
    if (received) this.#owner.onMessage(received);
  }

  /** Waits until the next chunk, however long that takes. */
  hold(): void {
    clearTimeout(this.#timer);
  }

  /** Waits no longer, and gives what is left, if anything is. */
  end(): Received | undefined {
    this.hold();
    return this.#reader.end();
  }
}

/** Milliseconds that fields wait for mandatory tags (our choice: a POS may send field by field). */
export const MISSING_TAGS_GAP = 300;

/**
 * The pause after which whole fields are a request, in milliseconds: `gap`, but at least
 * {@linkcode MISSING_TAGS_GAP} while mandatory tags are missing.
 */
export function requestPause(fields: Readonly<Message>, gap: number): number {
  return missingTags(fields).length === 0 ? gap : Math.max(gap, MISSING_TAGS_GAP);
}

/**
 * The pause after which whole fields are the answer to a request, in milliseconds: `gap` if it
 * {@linkcode seemsWhole}, ten times that while it lacks something (our choice), and Infinity
 * without a status, for that is no answer yet.
 */
export function answerPause(request: Message, fields: Message, gap: number): number {
  if (fields["AE"] === undefined) return Infinity;
  return seemsWhole(request, fields) ? gap : 10 * gap;
}

// ---------------------------------------------------------------- conformance

/** A remark on a message, or on what was done with it. */
export interface Warning {
  /** Which one it is, for programs: the words may change, the code stays. */
  code: string;
  /** The words. */
  text: string;
  /** The tag of the field that it is about, if it is about one. */
  tag?: string;
  /** The values in the words, by names, so that another language can tell them. */
  about?: Readonly<Record<string, string | number>>;
}

/** By whom a request that deviates so is refused: every terminal, a strict one, or none. */
export const DEVIATIONS = {
  "malformed": "always", // it cannot be read
  "missing-tags": "always", // (1)(2)(3)(4)
  "not-an-amount": "always", // money must come out true: 112.45 is no amount, nor is -11245 (1)(2)
  "order": "strict", // CZ comes first (2)(6)
  "late": "strict", // fields after the answer belong to no request
  "repeated-tag": "strict", // (2)(6)
  "terminal-tag": "strict", // A* is for the terminal to set (3)
  "empty": "strict", // a field with nothing to say is left out (2)(6)
  "size": "strict", // as in TAGS
  "not-digits": "strict", // as in TAGS
  "not-ascii": "strict", // (1)(2)(3)
  "unknown-value": "strict", // as in TAGS
  "zero-amount": "never", // no source forbids it
  "one-digit-amount": "never", // POS send it (4)
  "private-data": "never", // vendors publish a CF of 183 characters (8), and § in it (9)
  "partial-payment": "never", // BF: only newer Ingenico software fails on it (5, pull 645)
  "unknown-tag": "never", // vendors have tags of their own (3)(4)(9)
  "unknown-application": "never", // the list is hardly all there is (our choice)
  "unknown-action": "never", // it is answered AF 12 (3)
  "more": "never", // what is not listed is not known
} as const;

/** Something in a request that the protocol does not want. */
export type Deviation = Warning & { code: keyof typeof DEVIATIONS };

/** Deviations that are told of one request (our choice: one that is all wrong needs no list). */
const MAX_DEVIATIONS = 20;

/**
 * What a request has that the protocol does not want: every field is held against {@linkcode TAGS}.
 */
export function deviations(request: Received): Deviation[] {
  const found: Deviation[] = [];
  const tell = (code: Deviation["code"], text: string, tag?: string): void => {
    found.push({ code, text, ...(tag && { tag }) });
  };
  const about = (tag: string, code: Deviation["code"], text: string): void =>
    tell(code, `${tag}: ${text}`, tag);
  const { fields, message, error } = request;
  if (error) tell("malformed", `malformed ${error.message}`);
  const first = fields[0]?.tag ?? "CZ";
  if (first !== "CZ") tell("order", `expected CZ to come first, got ${first}`);
  const { tag: twice, at } = repeatedField(request) ?? {};
  if (twice) {
    tell("repeated-tag", `expected a tag at most once, got ${twice} again at byte ${at}`, twice);
  }
  const amount = movesMoney(message["CD"]) ? message["CB"] ?? "" : "";
  if (/\D/.test(amount)) {
    const got = shown(amount);
    about("CB", "not-an-amount", `expected minor units, 11245 for 112.45, got ${got}`);
  } else if (/^0+$/.test(amount)) about("CB", "zero-amount", "expected more than zero");
  for (const { tag, value } of fields) {
    if (found.length >= MAX_DEVIATIONS) {
      tell("more", "there may be more that is not listed here");
      break;
    }
    const known = TAGS.get(tag);
    if (!known) {
      about(tag, "unknown-tag", "expected a tag of the protocol");
      continue;
    }
    const { size: [min, max] = [1, 999], digits, codes, label } = known;
    const own = OWN_CODES[tag] ?? {};
    if (tag.startsWith("A")) about(tag, "terminal-tag", "expected from the terminal only");
    if (tag === "BF") {
      about(tag, "partial-payment", "expected none, newer Ingenico software fails on it");
    }
    if (value === "") about(tag, "empty", "expected the field to be left out, got length 000");
    else if (value.length < min || value.length > max) {
      const size = min === max ? min : `${min} to ${max}`;
      const short = value.length === 1 ? own.short : undefined;
      about(tag, short ?? own.size ?? "size", `expected ${size} characters, got ${value.length}`);
    } else if (codes && !meaning(tag, value)) {
      about(tag, own.value ?? "unknown-value", `expected a known ${label}, got ${shown(value)}`);
    }
    if (digits && /\D/.test(value)) {
      if (tag === "CB" && value === amount) continue; // told above
      about(tag, "not-digits", `expected digits, got ${shown(value)}`);
    } else if (/[^\x20-\x7e]/.test(value)) {
      about(tag, own.ascii ?? "not-ascii", `expected ASCII, got ${shown(value)}`);
    }
  }
  const missing = error ? [] : missingTags(message);
  if (missing.length > 0) {
    tell("missing-tags", `expected the mandatory tags ${missing.join(", ")}`);
  }
  return found;
}

/** Codes for what single tags deviate in, where they are judged otherwise than all others. */
const OWN_CODES: Readonly<
  Record<string, { [Kind in "size" | "short" | "value" | "ascii"]?: Deviation["code"] }>
> = {
  CB: { short: "one-digit-amount" },
  CC: { value: "unknown-application" },
  CD: { value: "unknown-action" },
  CF: { size: "private-data", ascii: "private-data" },
};

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
 * @param wrap After how many characters of AK, and at its end, line feeds stand, as some terminals
 * have it. (2)(3)(9) Default: there are none.
 * @throws {ProtocolError} The text is not 1 to 675 characters of Latin-1: in base64 they are the
 * 900 that AK holds. Line feeds take from them.
 */
export function encodeReceipt({ copy, format, text }: Receipt, wrap = 0): string {
  const kind = `1${copy === "merchant" ? 1 : 0}${format === "html" ? 1 : 0}`;
  const size = text.length && 4 * Math.ceil(text.length / 3);
  if (size + (wrap && Math.ceil(size / wrap)) > 900) {
    throw new ProtocolError(
      `tag AK: expected a receipt of at most 675 characters, got ${text.length}`,
    );
  }
  encodeField("AK", text); // as text too: what btoa() throws of other characters is no ProtocolError
  const base64 = wrap ? btoa(text).replace(new RegExp(`.{1,${wrap}}`, "g"), "$&\n") : btoa(text);
  return encodeField("CK", kind) + encodeField("AK", base64);
}

/**
 * The receipts in the value of ZT; none where it holds none that can be read. Base64 with line
 * feeds in it is read, and a ZT whose length is one off what it holds: terminals send both. (2)(3)(9)
 *
 * @param onUnreadable Receives what is there instead of a receipt.
 */
export function decodeReceipts(zt: string, onUnreadable?: (warning: Warning) => void): Receipt[] {
  const reader = new MessageReader();
  // The line feed ends the message, or stands for the last character that ZT is too short for.
  const [received = reader.end()] = reader.feed(`${zt}\n`);
  const warn = (tag: string, expected: string, value: string): void => {
    const got = printable(value.length > 40 ? `${value.slice(0, 40)}...` : value);
    onUnreadable?.({ code: "receipt", text: `${tag}: expected ${expected}, got "${got}"`, tag });
  };
  const receipts: Receipt[] = [];
  let kind: ReturnType<typeof wantedReceipt>;
  for (const { tag, value } of received?.fields ?? []) {
    if (tag === "CK") kind = wantedReceipt(value);
    if (tag !== "AK") continue;
    const base64 = value.replace(/[\r\n]|=+[\r\n]*$/g, "");
    if (!/^[A-Za-z0-9+/]+$/.test(base64) || base64.length % 4 === 1) warn("AK", "base64", value);
    else {
      const copy = kind?.copy === "merchant" ? "merchant" : "customer";
      receipts.push({ copy, format: kind?.format ?? "text", text: atob(base64) });
    }
  }
  if (!received?.fields.some(({ tag }) => tag === "AK")) warn("ZT", "the fields CK and AK", zt);
  return receipts;
}

// ---------------------------------------------------------------- amounts

/**
 * A decimal amount to minor units, exactly: "112.45" with 2 decimals is "11245", "-10" is "-1000".
 *
 * @param amount Digits, a dot before the decimals, a minus sign before all if negative.
 * @param decimals How many the currency has: 2 for EUR.
 * @throws {RangeError} It is no decimal number, has more decimals than the currency, or more than
 * the 12 digits of CB. (1)
 */
export function toMinorUnits(amount: string, decimals: number): string {
  const wrong = (expected: string) => new RangeError(`expected ${expected}, got ${shown(amount)}`);
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
 */
export function toDecimal(units: string, decimals: number): string {
  const [, sign = "", digits = ""] = /^(-?)0*(\d+)$/.exec(units) ?? [];
  if (digits === "") throw new RangeError(`expected digits, got "${printable(units)}"`);
  const padded = digits.padStart(decimals + 1, "0");
  const whole = padded.slice(0, padded.length - decimals);
  return sign + whole + (decimals > 0 ? "." + padded.slice(-decimals) : "");
}

/** A currency. */
export interface Currency {
  /** ISO 4217 letters, or its number where the letters are not known. */
  name: string;
  /** ISO 4217 numeric, three digits: the value of CE. */
  number: string;
  /** How many decimals an amount has. */
  decimals: number;
}

/** The currencies that texts for people name, by their numbers; ISO 4217 has more. */
export const CURRENCIES: ReadonlyMap<string, Currency> = new Map([
  ["978", { name: "EUR", number: "978", decimals: 2 }],
  ["756", { name: "CHF", number: "756", decimals: 2 }],
  ["826", { name: "GBP", number: "826", decimals: 2 }],
  ["840", { name: "USD", number: "840", decimals: 2 }],
  ["124", { name: "CAD", number: "124", decimals: 2 }],
  ["392", { name: "JPY", number: "392", decimals: 0 }],
  ["953", { name: "XPF", number: "953", decimals: 0 }],
]);

/** The amount of a message for people, if it is one in a currency of {@linkcode CURRENCIES}. */
export function moneyText({ CB = "", CE = "" }: Readonly<Message>): string | undefined {
  const currency = CURRENCIES.get(CE);
  if (!currency || !/^\d+$/.test(CB)) return undefined;
  return `${toDecimal(CB, currency.decimals)} ${currency.name}`;
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
 * After BA 1 both AE 11 (1) and AE 10 (3) only say that the terminal has accepted the request; but
 * AE 10 with an authorisation (AC) or a card number (AA) tells of a payment (our choice). Beside AE
 * 10 only AF 01 has a source; any other reason contradicts it. An approval must fit the request. A
 * decline need not: a payment that a person cancelled comes back with a CB of zeros only. (5)
 */
export function interpret(request: Readonly<Message>, answer: Readonly<Message>): Verdict {
  const { AE: status, AF: reason } = answer;
  if (status === "01") return { status: "declined", failure: readFailure(reason ?? "") };
  if (status === "11") return { status: "accepted" };
  if (status !== "10") {
    const expected = `expected the status AE to be ${[...STATUSES.keys()].join(", ")}`;
    return { status: "invalid", error: `${expected}, got ${shown(status)}` };
  }
  if (reason && !reason.startsWith("01")) {
    return { status: "invalid", error: `expected no AF beside AE 10 but 01, got ${shown(reason)}` };
  }
  const tellsPayment = Boolean(answer["AC"] || answer["AA"]);
  if (request["BA"] === "1" && !tellsPayment) return { status: "accepted" };
  const error = misfit(request, answer);
  return error === undefined ? { status: "approved" } : { status: "invalid", error };
}

function readFailure(value: string): Failure {
  const code = value.slice(0, 2);
  const unlisted = code === ""
    ? { label: "no reason given", french: "motif non précisé" }
    : { label: "undocumented reason", french: "motif non documenté" };
  return { code, ...REASONS.get(code) ?? unlisted, detail: value.slice(2).trim() };
}

/** The tags of a request that an approval has too. */
const ANSWERED_TAGS = ["CA", "CB", "CD", "CE"] as const;

/**
 * Whether an answer is probably whole: a decline has AF; any other has echoed those of CA, CB, CD,
 * CE that the request had (our choice).
 */
export function seemsWhole(request: Readonly<Message>, answer: Readonly<Message>): boolean {
  if (answer["AE"] === "01") return answer["AF"] !== undefined;
  return answer["AE"] !== undefined &&
    ANSWERED_TAGS.every((tag) => request[tag] === undefined || answer[tag] !== undefined);
}

/**
 * Why an approval does not fit the request, if so. CA, CB, CD and CE must be those of the request,
 * as far as it has them (our choice); CZ and CJ are the terminal's own. Leading zeros of CB do not
 * count, and after BF 1 it may be lower. (5)
 */
function misfit(request: Readonly<Message>, answer: Readonly<Message>): string | undefined {
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

/** Text with its control characters escaped: what a peer sent must not forge a line of a log. */
export function printable(text: string): string {
  const escape = (char: string): string => char.charCodeAt(0).toString(16).padStart(2, "0");
  return text.replace(/\p{Cc}/gu, (char) => `\\x${escape(char)}`);
}

/** A value in a message to a person. */
function shown(value: string | undefined): string {
  return value === undefined ? "none" : `"${printable(value)}"`;
}

/** Text of several lines, such as a receipt, each indented and {@linkcode printable}. */
export function printableLines(text: string): string {
  return text.split(/\r\n|\r|\n/).map((line) => `  ${printable(line)}`).join("\n");
}

/** What a value of a tag means, if it is one that has a meaning of its own and is known. */
export function meaning(tag: string, value: string | undefined): Term | undefined {
  if (value === undefined) return undefined;
  return TAGS.get(tag)?.codes?.get(tag === "AF" ? value.slice(0, 2) : value);
}

/** A message for people to read: a line a field, with the meaning of each tag and code. */
export function describe(message: Readonly<Message>): string {
  return Object.entries(message).map(([tag, value]) => {
    const label = TAGS.get(tag)?.label ?? "unknown tag";
    const term = meaning(tag, value);
    const text = tag === "CB" ? moneyText(message) : term && inWords(term);
    const means = text ? `: ${text}` : "";
    return `  ${tag} ${printable(value).padEnd(24)} ${label}${means}`;
  }).join("\n");
}

/** A term in English and French, once where it is the same in both. */
export function inWords({ label, french }: Term): string {
  return label === french ? label : `${label} (${french})`;
}

// ---------------------------------------------------------------- the commands

/** The version of this package. */
export const VERSION = "0.3.0";

/** How much a log tells, from all to little. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@linkcode LOG_LEVELS}. */
export type LogLevel = typeof LOG_LEVELS[number];

/** An option that is not as it must be. The message names it, what was expected and what came. */
export class OptionError extends Error {
  /** @ignore */
  override name = "OptionError";
  /** The option by its name in the library. */
  readonly option: string;
  /** The message without the option. */
  readonly problem: string;

  /** `expected` completes "expected ..."; `meant` is what was perhaps meant. */
  constructor(option: string, expected: string, got: unknown, meant?: string) {
    const other = Object(got) === got ? typeof got : String(got ?? "none");
    const value = typeof got === "string" ? shown(got) : other;
    const first = `got ${value}; did you mean ${meant}? (expected ${expected})`; // a list may be long
    const problem = meant ? first : `expected ${expected}, got ${value}`;
    super(`${option}: ${problem}`);
    this.option = option;
    this.problem = problem;
  }
}

/**
 * The word of a list that was given, in any case.
 *
 * @throws {OptionError} It is none of them.
 */
export function oneOf<W extends string>(option: string, words: readonly W[], got: string): W {
  const word = words.find((word) => typeof got === "string" && word === got.toLowerCase());
  if (word !== undefined) return word;
  throw new OptionError(option, `one of ${words.join(", ")}`, got, nearest(got, words));
}

/** The word that was perhaps meant: it begins so, or is at most two letters away. */
export function nearest(text: unknown, words: Iterable<string>): string | undefined {
  if (typeof text !== "string") return undefined;
  const typed = text.toLowerCase();
  let [best, least]: [string | undefined, number] = [undefined, Math.min(3, typed.length)];
  for (const word of words) {
    const distance = typed.length > 2 && word.startsWith(typed) ? 1 : lettersApart(typed, word);
    if (distance < least) [best, least] = [word, distance];
  }
  return best;
}

/** How many letters must be put in, left out or replaced to get from one word to another. */
function lettersApart(one: string, other: string): number {
  const row = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let index = 0; index < one.length; index++) {
    let corner = row[0]!++;
    for (let at = 1; at < row.length; at++) {
      const least = Math.min(row[at]! + 1, row[at - 1]! + 1);
      const same = corner + (one[index] === other[at - 1] ? 0 : 1);
      [corner, row[at]] = [row[at]!, Math.min(same, least)];
    }
  }
  return row.at(-1) ?? 0;
}

/**
 * A number as it is, or the default where it is undefined; `min` is 0 if not given.
 *
 * @throws {OptionError} It is out of bounds, or not whole where it must be.
 */
export function inRange(
  option: string,
  bounds: { default?: number; min?: number; max?: number; whole?: boolean },
  got: unknown = bounds.default,
): number {
  const { min = 0, max = Infinity, whole = false } = bounds;
  const isKind = typeof got === "number" && (!whole || Number.isInteger(got));
  if (isKind && got >= min && got <= max) return got;
  throw new OptionError(option, `a ${whole ? "whole " : ""}number from ${min} to ${max}`, got);
}

/**
 * What is wrong with the arguments of a command, in one line, if that is what an error is about.
 *
 * @param error What was thrown here, or by parseArgs of node:util.
 * @param names The options as they are on the command line, such as "log-level".
 */
export function argumentError(error: unknown, names: readonly string[]): string | undefined {
  const help = "(--help lists the options)";
  if (error instanceof OptionError) {
    const name = error.option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    return `--${name}: ${error.problem} ${help}`;
  }
  if (error instanceof ProtocolError) return `${error.message} ${help}`;
  const { code, message = "" } = Object(error) as { code?: string; message?: string };
  if (!`${code}`.startsWith("ERR_PARSE_ARGS")) return undefined;
  const [, unknown] = /^Unknown option '--([^']*)'/.exec(message) ?? [];
  const meant = nearest(unknown, names);
  if (meant !== undefined) return `${message.split("\n", 1)[0]}; did you mean --${meant}? ${help}`;
  const [, option] = /VALUE$/.test(`${code}`) ? /(--[\w-]+)/.exec(message) ?? [] : [];
  const dashed = / missing$/.test(message)
    ? "a value, got none"
    : `a value; one that begins with - is written ${option}=-1`;
  const value = / does not take /.test(message) ? "no value" : dashed;
  if (option) return `${option}: expected ${value} ${help}`;
  const [, extra = ""] = /^Unexpected argument '(.*?)'\. /s.exec(message) ?? [];
  const perhaps = names.includes("outcome") ? `; did you mean --outcome ${printable(extra)}?` : "";
  if (extra) return `expected options, which begin with --, got ${shown(extra)}${perhaps} ${help}`;
  return `${message.split("\n", 1)[0]} ${help}`;
}

/** A value as JSON on one line. JSON itself would leave the control characters from U+007F on. */
export function jsonLine(value: unknown): string {
  const escape = (char: string): string => `\\u00${char.charCodeAt(0).toString(16)}`;
  return `${JSON.stringify(value).replace(/\p{Cc}/gu, escape)}\n`;
}

/** Calls a function of the user. What it throws goes to the runtime, and harms no payment. */
export function callBack(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
