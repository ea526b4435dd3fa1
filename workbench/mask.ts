// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * Hides what a person should not find in a file: numbers of cards, references, addresses, receipts.
 * Whatever leaves a proxy or a played recording is shown by a {@linkcode Mask}: what the record of a
 * request holds by {@linkcode showing}, all else by the mask itself. Lengths stay true. On the wire
 * nothing is ever masked.
 *
 * @module
 */
import {
  BETWEEN,
  cutFields,
  type Deviation,
  deviations,
  type Field,
  fieldText,
  HEAD,
  type Message,
  OptionError,
  printable,
  ProtocolError,
  readable,
  type Received,
  TAGS,
} from "../protocol.ts";
import type { Gone, Listener, Outcome, Request } from "../server.ts";

/** What was read along, and whether it may be the rest of a message that was malformed. */
export type Heard = Received & { readonly isDoubtful?: boolean };

/** How what is secret is shown. */
export interface Mask {
  /** A text that should be a message, or a part of one. */
  raw(text: string): string;
  /** A message that was read, and what is wrong with it. */
  received(received: Heard): Heard;
  /** What the protocol does not want of a request, in words that name nothing secret. */
  deviations(received: Heard): Deviation[];
  /** The tags that an outcome sets. */
  outcome(outcome: Outcome): Outcome;
}

/** Tags whose values a person should not find in a file. */
export const MASKED: ReadonlySet<string> = new Set("AA AB AC AD AM AN BH BI CF CG".split(" "));

/** The head of a field that has to be masked, perhaps inside of another whose length is wrong. */
const SECRET = new RegExp(`(?:${[...MASKED, "AK", "ZT"].join("|")})\\d{3}`, "i");

/** What stands around a message on a serial line. (4) */
const [STX, ETX] = ["\x02", "\x03"];

/** Letters and digits, and whatever is not ASCII, as "*". */
function maskText(text: string): string {
  return text.replace(/[0-9A-Za-z\x80-\uffff]/g, "*");
}

/** Base64, with the line feeds that are in it, of a text that is masked. */
function maskReceipt(value: string): string {
  const base64 = value.replace(/[\r\n=]/g, "");
  if (/[^A-Za-z0-9+/]/.test(base64)) return maskText(value);
  const whole = base64.length % 4 === 1 ? base64.slice(0, -1) : base64; // it may be cut
  const text = atob(whole);
  // It is none where a character is missing: its bits are those of others then.
  const isText = !/(?![\t\n\r])\p{Cc}/u.test(text);
  const masked = [...btoa(isText ? maskText(text) : "*".repeat(text.length)).replace(/=/g, "")];
  return value.replace(/[^\r\n=]/g, () => masked.shift() ?? "A");
}

/** The value of a field; from a secret inside it on, nothing of it is shown. */
export function maskValue(tag: string, value: string): string {
  if (MASKED.has(tag)) return "*".repeat(value.length);
  if (tag === "AK") return maskReceipt(value);
  if (tag === "ZT") return maskRaw(value);
  const secret = SECRET.exec(value);
  if (!secret) return value;
  const end = secret.index + HEAD;
  return value.slice(0, end) + "*".repeat(value.length - end);
}

/** Whether a text is nothing but what may stand between messages. */
export function isBetween(text: string): boolean {
  return BETWEEN.exec(text)?.[0] === text;
}

/** A message as it may be shown, its length unchanged. */
export function maskRaw(raw: string): string {
  const { fields, rest } = cutFields(raw);
  if (!isBetween(rest)) return maskFrame(raw) ?? maskMalformed(raw, raw.length - rest.length);
  return fields.map(({ tag, value }) => fieldText(tag, maskValue(tag, value))).join("") + rest;
}

/** A whole message between STX and ETX, perhaps with the check character behind: without values. */
function maskFrame(raw: string): string | undefined {
  if (!raw.startsWith(STX)) return undefined;
  for (const end of [raw.length - 2, raw.length - 1]) {
    const { fields, rest } = cutFields(raw.slice(1, Math.max(1, end)));
    if (raw[end] !== ETX || rest !== "" || fields.length === 0) continue;
    const hidden = ({ tag, value }: Field): string => fieldText(tag, "*".repeat(value.length));
    return STX + fields.map(hidden).join("") + maskText(raw.slice(end));
  }
  return undefined;
}

/**
 * A message that is malformed behind `end`. A length before that is wrong, perhaps the length of a
 * secret; what is left of the secret may then look like fields. So from the first secret on, values
 * are hidden, and a head is shown only where the protocol has such a field and it came once.
 */
function maskMalformed(raw: string, end: number): string {
  const secret = (SECRET.exec(raw)?.index ?? Infinity) + HEAD;
  const seen = new Set<string>();
  let shown = "";
  for (;;) {
    const [at, start] = [shown.length, shown.length + HEAD];
    const [, tag = "", digits] = /^([A-Z]{2})(\d{3})$/.exec(raw.slice(at, start)) ?? [];
    const next = start + Number(digits);
    const isClear = next <= end && next < secret;
    const isSure = canBe(tag, next - start) && !seen.has(tag);
    if (!isClear && !(isSure && (start >= secret || at === end))) break;
    seen.add(tag);
    const value = raw.slice(start, next);
    const masked = start === secret ? maskValue(tag, value) : maskText(value);
    shown += raw.slice(at, start) + (isClear ? value : masked);
  }
  const clear = Math.max(shown.length, Math.min(secret, end));
  return shown + raw.slice(shown.length, clear) + maskText(raw.slice(clear));
}

/** Whether the protocol has a tag, and values of that size for it. */
function canBe(tag: string, size: number): boolean {
  const known = TAGS.get(tag);
  const [min, max] = known?.size ?? [1, 999];
  return known !== undefined && size >= min && size <= max;
}

/** What is quoted in a remark on a field, or on a message that cannot be read. */
function maskQuoted(text: string, tag?: string): string {
  const mask = (quoted: string): string =>
    tag === undefined ? maskText(quoted) : maskValue(tag, quoted);
  // It is printable, but its escapes are not what is masked.
  const plain = (quoted: string): string =>
    quoted.replace(/\\x([0189][\da-f]|7f)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return text.replace(/"([^]*)"/, (_, quoted: string) => `"${printable(mask(plain(quoted)))}"`);
}

/** What is wrong with a message, which may name only what is shown of it. */
function maskError(
  { message, at }: ProtocolError,
  { raw, fields }: Received,
  shown: string,
): ProtocolError {
  const before = fields.at(-1);
  const end = before ? before.at + HEAD + before.value.length : 0;
  const isShown = (from: number): boolean => shown.startsWith(raw.slice(from, from + HEAD), from);
  const [what = "", ...hints] = message.replace(/^at byte \d+: /, "").split(";");
  const told = isShown(end)
    ? what
    : what.replace(/(".*")|\b[A-Z]{2}\b|\d/g, (all, quoted) => quoted ?? "*".repeat(all.length));
  const kept = !before || isShown(before.at) ? hints : [];
  return new ProtocolError(maskQuoted([told, ...kept].join(";")), at);
}

/** Hides the values of some tags, and the text of receipts. */
export const MASKING: Mask = {
  raw: maskRaw,
  /** Of what is malformed, or follows such, only the fields that are shown as they are. */
  received(received) {
    const raw = received.isDoubtful ? maskText(received.raw) : maskRaw(received.raw);
    const { error, isDoubtful } = received;
    if (!error && !isDoubtful) return { ...received, raw, message: readable(raw) };
    const fields = received.fields.filter(({ tag, value, at }) =>
      raw.startsWith(fieldText(tag, value), at)
    );
    const message = readable(fields.map(({ tag, value }) => fieldText(tag, value)).join(""));
    return { raw, fields, message, ...(error && { error: maskError(error, received, raw) }) };
  },
  deviations(received) {
    const judged = received.error || received.isDoubtful ? MASKING.received(received) : received;
    return deviations(judged).map((deviation) => {
      const { about: _, ...others } = deviation;
      const text = maskQuoted(deviation.text, deviation.tag);
      // The values apart are those of the words: where one had to be masked there, none is told.
      return text === deviation.text ? deviation : { ...others, text };
    });
  },
  outcome(outcome) {
    if (!outcome.tags) return outcome;
    const tags: Message = {};
    for (const [tag, value] of Object.entries(outcome.tags)) tags[tag] = maskValue(tag, value);
    return { ...outcome, tags };
  },
};

const same = <Value>(value: Value): Value => value;
const UNMASKED: Mask = { raw: same, received: same, deviations, outcome: same };

/**
 * The mask for an option `unmasked`.
 *
 * @throws {OptionError} It is neither true nor false.
 */
export function maskFor(unmasked: unknown = false): Mask {
  if (typeof unmasked !== "boolean") throw new OptionError("unmasked", "true or false", unmasked);
  return unmasked ? UNMASKED : MASKING;
}

/**
 * Tells what happens, with the records of requests as they may be shown: journal, log and events get
 * no other.
 */
export function showing(tell: Listener, mask: Mask): Listener {
  const views = new WeakMap<Request, Request>();
  return (happened) => {
    const { event, request } = happened;
    if (!request) return tell(happened);
    let view = views.get(request);
    if (!view) {
      view = viewOf(request, mask);
      views.set(request, view).set(view, view);
    }
    const { gone } = view;
    tell({ ...happened, request: view, ...(event === "gone" && gone && { fields: () => gone }) });
  };
}

/** The record of a request as it may be shown, which follows what becomes of it. */
function viewOf(request: Request, mask: Mask): Request {
  let [whole, shown] = [request.received, mask.received(request.received)];
  const view = Object.create(request, {
    received: {
      get: (): Received => {
        if (whole !== request.received) [whole, shown] = [request.received, mask.received(whole)];
        return shown;
      },
    },
    due: { get: () => mask.raw(request.due) },
    attempt: { get: () => mask.raw(request.attempt) },
    sent: { get: () => mask.raw(request.sent) },
    interim: {
      get: () => request.interim && { ...request.interim, raw: mask.raw(request.interim.raw) },
    },
    gone: {
      get: (): Gone | undefined =>
        request.gone && { ...request.gone, sent: mask.raw(request.gone.sent) },
    },
  });
  return view;
}
