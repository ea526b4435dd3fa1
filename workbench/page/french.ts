// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What the page says in French of words that the port has in English: tags and outcomes.
 *
 * Terminals and tills in France show most of the tags so; no source has a list of them.
 *
 * @module
 */

/** Texts by a tag, a word or a code. */
export type Texts = Readonly<Record<string, string>>;

/** What the tags are. */
export const FRENCH_TAGS: Texts = {
  CZ: "version du protocole",
  CJ: "identifiant de protocole",
  CA: "numéro de caisse",
  CB: "montant en centimes",
  CC: "application de paiement",
  CD: "action",
  CE: "devise, ISO 4217 numérique",
  CF: "données privées",
  CG: "numéro de contrat commerçant",
  CH: "référence de la transaction",
  CI: "mode de lecture",
  CK: "ticket demandé",
  BA: "réponse immédiate",
  BB: "forcer la demande d'autorisation",
  BF: "paiement partiel accepté",
  BH: "téléphone du client",
  BI: "e-mail du client",
  AA: "numéro de carte, masqué",
  AB: "fin de validité, AAMM",
  AC: "numéro d'autorisation",
  AD: "ligne CMC7 du chèque",
  AE: "statut",
  AF: "motif d'échec",
  AG: "réponse du FNCI",
  AH: "réponse de garantie du chèque",
  AI: "AID de l'application carte",
  AK: "données du ticket, base64",
  AL: "nature du numéro dans AA",
  AM: "téléphone saisi par le client",
  AN: "e-mail saisi par le client",
  AP: "date de l'opération",
  AQ: "numéro de série du terminal",
  ID: "identifiant de la transaction",
  IM: "identifiant (ID) du débit remboursé",
  ZT: "ticket : les champs CK et AK",
};

/** What the words of an outcome do that are no ending and no card. */
export const FRENCH_WORDS: Texts = {
  silent: "pas de réponse, la connexion reste",
  close: "connexion fermée sans réponse",
  reset: "connexion rompue sans réponse",
  truncate: "réponse coupée dans son dernier champ",
  garbage: "des octets qui ne sont pas un message",
  split: "réponse en plusieurs segments",
  dribble: "réponse octet par octet",
  pending: "AE 11 d'abord, la réponse finale ensuite",
  padded: "CB de 12 chiffres, complété par des zéros",
  hangup: "connexion fermée après la réponse",
};
