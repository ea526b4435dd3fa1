// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What a till does wrong, and what is done otherwise than it asks, in English and in French: one table
 * for the warnings of the workbench and of the port.
 *
 * @module
 */
import {
  ACTIONS,
  type Message,
  moneyText,
  movesMoney,
  printable,
  readable,
  wantedReceipt,
  type Warning,
} from "../protocol.ts";
import { askedFor, type Listener, requestText } from "../server.ts";

/** The words of a warning, with its values in braces. */
export type Words = readonly [english: string, french: string];

/** The values in the words of a warning, by their names. */
export type About = Readonly<Record<string, string | number>>;

const TWICE: Words = [
  "on a real terminal the customer has now paid twice. Ask for the duplicate (CD 3) first",
  "sur un vrai terminal, le client a maintenant payé deux fois. Demandez d'abord le duplicata (CD 3)",
];

/** A warning that a payment may have been made twice. */
function twice(english: string, french: string): Words {
  return [
    `{what} again, although ${english}: ${TWICE[0]}`,
    `{what} de nouveau, alors que ${french} : ${TWICE[1]}`,
  ];
}

/** A warning that a terminal cannot be reached. */
function unreachable(english: string, french: string): Words {
  const advice = "vérifiez son adresse, le port (8888 le plus souvent) et qu'il est réglé sur " +
    "Caisse-AP sur IP";
  return [
    `cannot reach the terminal at {where}: ${english}; check {advice}`,
    `terminal injoignable à {where} : ${french} ; ${advice}`,
  ];
}

/** What a message that cannot be read is perhaps: the port says it behind what is wrong. */
const GUESSES: readonly Words[] = [
  [
    "this looks like Concert V2, {why}",
    "cela ressemble à Concert V2, l'ancien protocole aux champs de largeur fixe",
  ],
  [
    "this looks like serial framing (STX): {why}",
    "cela ressemble à la trame série (STX) : sur IP, un message va sans STX, ETX ni LRC",
  ],
  [
    "this looks like the serial dialogue (ENQ): {why}",
    "cela ressemble au dialogue série (ENQ) : sur IP, la caisse envoie seulement sa demande",
  ],
  ["this looks like TLS: {why}", "cela ressemble à TLS : Caisse-AP sur IP n'est pas chiffré"],
  [
    "this looks like HTTP: {why}",
    "cela ressemble à HTTP : Caisse-AP, ce sont des champs sur une simple connexion TCP",
  ],
  [
    "this looks like JSON: {why}",
    "cela ressemble à du JSON : un message, ce sont des champs comme CZ0040300",
  ],
  [
    "this looks like XML: {why}",
    "cela ressemble à du XML : un message, ce sont des champs comme CZ0040300",
  ],
  [
    "this looks like a length before the message: {why}",
    "cela ressemble à une longueur avant le message : rien ne vient avant CZ",
  ],
  ["this looks like a tag in lower-case letters", "cela ressemble à un champ en minuscules"],
  [
    "this looks like a {tag} in UTF-8 whose length counts characters: it counts bytes",
    "cela ressemble à un {tag} en UTF-8 dont la longueur compte des caractères : elle compte des octets",
  ],
  [
    "perhaps the length of {tag} before it, {size}, is too long",
    "peut-être la longueur de {tag}, juste avant, {size}, est-elle trop grande",
  ],
  [
    "perhaps the length of {tag} before it, {size}, is too short",
    "peut-être la longueur de {tag}, juste avant, {size}, est-elle trop petite",
  ],
];

/** The codes that the workbench itself warns with, and the forms of each. */
export type Forms = {
  // Lost is the answer to the last attempt, or to one before it.
  "paid-twice": "lost" | "perhaps" | "earlier" | "earlierPerhaps";
  "overlap": "";
  "too-early": "";
  "nothing-to-cancel": "none" | "again";
  // It is answered, or not read until the terminal is free.
  "busy": "refused" | "unread";
  "refused-tag": "";
  "callback": "absent" | "silent" | "closed";
  "application": "";
  "one-receipt": "";
};

/**
 * The words of the warnings by their codes, and by a name where a code has several forms. What the
 * workbench warns of is told from here; what the port and the relay warn of in English is found here
 * in French, by its English words.
 */
export const WARNINGS:
  & { readonly [Code in keyof Forms]: Readonly<Record<Forms[Code], Words>> }
  & Readonly<Record<string, Readonly<Record<string, Words>>>> = {
    "paid-twice": {
      lost: twice(
        "the last attempt was approved and its answer got lost",
        "la dernière tentative a été acceptée et que sa réponse s'est perdue",
      ),
      perhaps: twice(
        "the last attempt was approved and its answer perhaps got lost",
        "la dernière tentative a été acceptée et que sa réponse s'est peut-être perdue",
      ),
      earlier: twice(
        "an earlier attempt was approved and its answer got lost",
        "une tentative précédente a été acceptée et que sa réponse s'est perdue",
      ),
      earlierPerhaps: twice(
        "an earlier attempt was approved and its answer perhaps got lost",
        "une tentative précédente a été acceptée et que sa réponse s'est peut-être perdue",
      ),
    },
    "overlap": {
      "": [
        "a second payment of this cash register while its first is under way: if both are approved, the customer pays twice",
        "un deuxième paiement de cette caisse pendant que le premier est en cours : si les deux sont acceptés, le client paie deux fois",
      ],
    },
    "too-early": {
      "": [
        "the payment of this cash register that it asks about is under way, answered AF 07: ask again",
        "le paiement de cette caisse sur lequel elle interroge est en cours, réponse AF 07 : redemandez",
      ],
    },
    "nothing-to-cancel": {
      none: [
        "no debit of {amount} of this cash register was approved: a real terminal has nothing to cancel",
        "aucun débit de {amount} de cette caisse n'a été accepté : un vrai terminal n'a rien à annuler",
      ],
      again: [
        "the debit of {amount} of this cash register has been cancelled already: a real terminal has nothing to cancel",
        "le débit de {amount} de cette caisse est déjà annulé : un vrai terminal n'a rien à annuler",
      ],
    },
    "busy": {
      refused: [
        "the terminal is busy with another transaction, answered AF 07",
        "le terminal est occupé par une autre transaction, réponse AF 07",
      ],
      unread: [
        "the terminal is busy with another transaction, read when it is free",
        "le terminal est occupé par une autre transaction, demande lue quand il sera libre",
      ],
    },
    "refused-tag": {
      "": ["{tag}: {model} answers AF 09 to it", "{tag} : {model} y répond AF 09"],
    },
    "callback": {
      absent: [
        "the answer cannot go to {host} port {port}: nothing listens there",
        "la réponse ne peut pas aller à {host}, port {port} : rien n'y écoute",
      ],
      silent: [
        "the answer cannot go to {host} port {port}: nothing has answered there",
        "la réponse ne peut pas aller à {host}, port {port} : rien n'y a répondu",
      ],
      closed: [
        "the answer cannot go to {host} port {port}: the POS has closed that connection",
        "la réponse ne peut pas aller à {host}, port {port} : la caisse a fermé cette connexion",
      ],
    },
    "application": {
      "": [
        "{tag}: {asked} was asked for, {paid} paid, as the outcome says",
        "{tag} : {asked} demandé, {paid} payé, comme le veut l'issue choisie",
      ],
    },
    "one-receipt": {
      "": [
        "{tag}: both receipts are asked for, only the customer's is sent",
        "{tag} : les deux tickets sont demandés, seul celui du client est envoyé",
      ],
    },
    // What the port warns of.
    "undecided": {
      "": [
        "nobody decided within {seconds} s, answered AF 08",
        "personne n'a décidé en {seconds} s, réponse AF 08",
      ],
    },
    "no-outcome": {
      "": [
        "the function that decides failed, answered AF 07: {why}",
        "la fonction qui décide a échoué, réponse AF 07 : {why}",
      ],
    },
    "impatient": {
      "": [
        "the POS gave up after {seconds} s: a person needs 10 to 60 s to pay",
        "la caisse a renoncé au bout de {seconds} s : il faut 10 à 60 s à une personne pour payer",
      ],
    },
    "took-interim": {
      "": [
        "the POS left {milliseconds} ms after AE 11: AE 11 is not the result: read on until AE 10 or AE 01",
        "la caisse est partie {milliseconds} ms après AE 11 : AE 11 n'est pas le résultat, il faut lire jusqu'à AE 10 ou AE 01",
      ],
    },
    "read-once": {
      "": [
        "the POS left after {bytes} bytes of the answer were sent: it must read on until the answer is whole",
        "la caisse est partie après l'envoi de {bytes} octets de la réponse : il faut lire jusqu'à ce qu'elle soit entière",
      ],
    },
    "not-read": {
      "": [
        "the POS reset the connection: it has perhaps not read the answer",
        "la caisse a rompu la connexion : elle n'a peut-être pas lu la réponse",
      ],
    },
    "receipt": {
      "": ["{tag}: expected {expected}, got {got}", "{tag} : attendu {expected}, reçu {got}"],
    },
    // What a request has that the protocol does not want.
    "malformed": {
      tag: [
        "malformed at byte {at}: expected a tag of two letters A-Z, got {got}",
        "message illisible à l'octet {at} : un champ de deux lettres A-Z est attendu, reçu {got}",
      ],
      length: [
        "malformed at byte {at}: expected the length of {tag} in three digits, got {got}",
        "message illisible à l'octet {at} : la longueur de {tag} en trois chiffres est attendue, reçu {got}",
      ],
      value: [
        "malformed at byte {at}: expected {size} characters for {tag}, got {got}",
        "message illisible à l'octet {at} : {size} caractères attendus pour {tag}, {got} reçus",
      ],
      letter: [
        "malformed at byte {at}: expected the second letter of the tag after {got}, got the end",
        "message illisible à l'octet {at} : il s'arrête après la première lettre d'un champ, {got}",
      ],
      most: [
        "malformed at byte {at}: expected the end of the message, which has at most {most} bytes",
        "message illisible à l'octet {at} : un message a {most} octets au plus",
      ],
      "": ["malformed {why}", "message illisible"],
    },
    "missing-tags": {
      "": ["expected the mandatory tags {tags}", "il manque les champs obligatoires {tags}"],
    },
    "not-an-amount": {
      "": [
        "{tag}: expected minor units, 11245 for 112.45, got {got}",
        "{tag} : un montant en centimes est attendu, 11245 pour 112,45, reçu {got}",
      ],
    },
    "order": {
      "": ["expected CZ to come first, got {got}", "CZ doit venir en premier, reçu {got}"],
    },
    "late": {
      "": [
        "expected no more fields after the answer",
        "des champs sont arrivés après la réponse, ils ne sont d'aucune demande",
      ],
      relayed: [
        "expected the whole request at once, these fields came later",
        "la demande entière est attendue d'un coup, ces champs sont venus plus tard",
      ],
    },
    "repeated-tag": {
      "": [
        "expected a tag at most once, got {tag} again at byte {at}",
        "un champ ne vient qu'une fois, {tag} revient à l'octet {at}",
      ],
    },
    "terminal-tag": {
      "": ["{tag}: expected from the terminal only", "{tag} : réservé au terminal"],
    },
    "empty": {
      "": [
        "{tag}: expected the field to be left out, got length 000",
        "{tag} : un champ vide ne s'envoie pas, reçu la longueur 000",
      ],
    },
    "size": {
      range: [
        "{tag}: expected {min} to {max} characters, got {got}",
        "{tag} : de {min} à {max} caractères attendus, {got} reçus",
      ],
      exact: [
        "{tag}: expected {size} characters, got {got}",
        "{tag} : {size} caractères attendus, {got} reçus",
      ],
    },
    "not-digits": {
      "": ["{tag}: expected digits, got {got}", "{tag} : des chiffres sont attendus, reçu {got}"],
    },
    "not-ascii": {
      "": ["{tag}: expected ASCII, got {got}", "{tag} : de l'ASCII est attendu, reçu {got}"],
    },
    "unknown-value": {
      "": ["{tag}: expected a known {what}, got {got}", "{tag} : valeur inconnue, reçu {got}"],
    },
    "zero-amount": {
      "": ["{tag}: expected more than zero", "{tag} : un montant de plus de zéro est attendu"],
    },
    "one-digit-amount": {
      "": [
        "{tag}: expected {min} to {max} characters, got {got}",
        "{tag} : de {min} à {max} caractères attendus, {got} reçu",
      ],
    },
    "private-data": {
      size: [
        "{tag}: expected {min} to {max} characters, got {got}",
        "{tag} : de {min} à {max} caractères attendus, {got} reçus",
      ],
      ascii: ["{tag}: expected ASCII, got {got}", "{tag} : de l'ASCII est attendu, reçu {got}"],
    },
    "partial-payment": {
      "": [
        "{tag}: expected none, newer Ingenico software fails on it",
        "{tag} : à ne pas envoyer, les Ingenico récents échouent dessus",
      ],
    },
    "unknown-tag": {
      "": ["{tag}: expected a tag of the protocol", "{tag} : champ inconnu du protocole"],
    },
    "unknown-application": {
      "": ["{tag}: expected a known {what}, got {got}", "{tag} : application inconnue, reçu {got}"],
      size: [
        "{tag}: expected {size} characters, got {got}",
        "{tag} : {size} caractères attendus, {got} reçus",
      ],
    },
    "unknown-action": {
      "": ["{tag}: expected a known {what}, got {got}", "{tag} : action inconnue, reçu {got}"],
    },
    "more": {
      "": [
        "there may be more that is not listed here",
        "il y en a peut-être d'autres, qui ne sont pas listés ici",
      ],
      unasked: [
        "the terminal sends on without being asked, which is told no more",
        "le terminal continue d'envoyer sans qu'on lui demande, ce n'est plus signalé",
      ],
    },
    // What the relay warns of, and a recording that is played.
    "unreachable": {
      refused: unreachable("nothing listens there", "rien n'y écoute"),
      name: unreachable("there is no host of that name", "aucune machine ne porte ce nom"),
      lookup: unreachable("the name cannot be looked up", "ce nom ne peut pas être résolu"),
      host: unreachable("there is no way to that host", "aucun chemin ne mène à cette machine"),
      network: unreachable("there is no way to that network", "aucun chemin ne mène à ce réseau"),
      silent: unreachable("it does not respond", "il ne répond pas"),
      "": ["cannot reach the terminal at {where}: {why}", "terminal injoignable à {where}"],
    },
    "early": {
      "": [
        "the terminal sent before it was asked: {what}",
        "le terminal a envoyé avant qu'on lui demande : {what}",
      ],
    },
    "unanswered": {
      closed: [
        "the terminal closed the connection without an answer",
        "le terminal a fermé la connexion sans réponse",
      ],
      reset: [
        "the terminal reset the connection without an answer",
        "le terminal a rompu la connexion sans réponse",
      ],
    },
    "unasked": {
      "": [
        "the terminal sent without being asked: {what}",
        "le terminal a envoyé sans qu'on lui demande : {what}",
      ],
    },
    "not-set": {
      "": [
        "{tags} not set: expected an answer that is well-formed",
        "{tags} non modifié : une réponse bien formée est attendue",
      ],
    },
    "not-recorded": {
      "": [
        "the recording has no request with {key}",
        "l'enregistrement n'a pas de demande avec {key}",
      ],
    },
  };

/** A warning in English, with its values. One of them that is called `tag` is the field's. */
export function warning<Code extends keyof Forms>(
  code: Code,
  form: Forms[Code],
  about: About = {},
): Warning {
  const [english] =
    (WARNINGS as Readonly<Record<string, Readonly<Record<string, Words>>>>)[code]![form]!;
  const { tag } = about;
  return {
    code,
    text: filled(english, about),
    ...(tag !== undefined && { tag: String(tag) }),
    ...(Object.keys(about).length > 0 && { about }),
  };
}

/** Words with their values. */
function filled(words: string, about: About): string {
  return words.replace(
    /\{(\w+)\}/g,
    (braces, name) => Object.hasOwn(about, name) ? String(about[name]) : braces,
  );
}

/**
 * A warning in French, if its English words are known: it may be one of the port, of the relay or of
 * a recording, which does not have its values apart.
 */
export function inFrench({ code, text, about }: Readonly<Warning>): string | undefined {
  if (!Object.hasOwn(WARNINGS, code)) return undefined;
  const forms = Object.values(WARNINGS[code] ?? {});
  if (code !== "malformed") return frenchOf(forms, text, about);
  const [wrong = "", guess] = text.split(/; (?=this looks like |perhaps the length of )/);
  const parts = [frenchOf(forms, wrong), guess !== undefined && frenchOf(GUESSES, guess)];
  return parts.filter(Boolean).join(" ; ");
}

/** The French of what was told in English in one of some forms. */
export function frenchOf(
  forms: readonly Words[],
  text: string,
  about?: About,
): string | undefined {
  for (const [english, words] of forms) {
    const found = patternOf(english).exec(text);
    if (found) return filled(words, frenchValues({ ...found.groups, ...about }));
  }
  return undefined;
}

/** What matches English words, whatever their values are. */
function patternOf(english: string): RegExp {
  const plain = english.replace(/[.*+?()[\]^$|\\]|\{(?!\w+\})/g, "\\$&");
  return new RegExp(`^${plain.replace(/\{(\w+)\}/g, "(?<$1>.*)")}$`, "s");
}

/** Values as French writes them: a decimal comma, and what was asked for in its words. */
function frenchValues(about: About): About {
  const { action, amount, seconds, register, paid } = about;
  const comma = (value: string | number): string => String(value).replace(/(\d)\.(\d)/g, "$1,$2");
  const money = amount !== undefined && comma(amount);
  const asked = action !== undefined && [
    ACTIONS.get(String(action))?.french ?? `action ${action}`,
    ...(money ? [`de ${money}`] : []),
    ...(register ? [`de la caisse ${register}`] : []),
  ];
  return {
    ...about,
    ...(asked && { what: asked.join(" ") }),
    ...(money && { amount: money === "that amount" ? "ce montant" : money }),
    ...(seconds !== undefined && { seconds: comma(seconds) }),
    ...(paid === "none" && { paid: "rien n'est" }),
  };
}

/** What a warning tells of a request for money. */
export function aboutPayment(request: Readonly<Message>): About {
  const { CA, CD = "none" } = request;
  const amount = moneyText(request);
  return {
    what: requestText(request),
    action: printable(CD),
    ...(amount && { amount }),
    ...(CA && { register: printable(CA) }),
  };
}

/** Warns of what is done otherwise than a request asks, once it is known what is answered. */
export const warnOfOthers: Listener = ({ event, request }) => {
  if (event !== "due" || !request?.outcome) return;
  const { message, action } = request;
  const asked = askedFor(message);
  const answer = readable(request.due);
  if (asked !== undefined && movesMoney(action) && answer["AE"] === "10") {
    const paid = answer["CC"] ?? "none";
    if (paid !== asked) {
      const about = { tag: "CC", asked: printable(asked), paid: printable(paid) };
      request.warn(warning("application", "", about));
    }
  }
  if (wantedReceipt(message["CK"] ?? "")?.copy === "both") {
    request.warn(warning("one-receipt", "", { tag: "CK" }));
  }
};
