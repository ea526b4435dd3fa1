// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What the HTTP interface refuses and why: its English words, and what a French page says instead.
 * Values stand in braces; the first line that fits is taken, so the last ones are for what is left.
 *
 * @module
 */

import { frenchOf, type Words } from "./warnings.ts";

/** The errors that can be met on the page. */
const ERRORS: readonly Words[] = [
  // Outcomes.
  [
    "{option}: got {got}; did you mean {meant}? (expected words from {words}, an AF code such as 07, delay=SECONDS, delay=FROM..TO, TAG=VALUE)",
    "{got} n'est pas connu. Vouliez-vous dire {meant} ? Mots possibles : {words}, un code AF comme 07, delay=SECONDES, delay=DE..À, CHAMP=VALEUR.",
  ],
  [
    "{option}: expected words from {words}, an AF code such as 07, delay=SECONDS, delay=FROM..TO, TAG=VALUE, got {got}",
    "{got} n'est pas connu. Mots possibles : {words}, un code AF comme 07, delay=SECONDES, delay=DE..À, CHAMP=VALEUR.",
  ],
  [
    "{option}: expected at most {most} outcomes that are queued, got {got}",
    "La file est pleine : {most} résultats au plus, reçu {got}.",
  ],
  [
    "{option}: expected at most one word of each kind ({second} is a second), and \\, in values, got {got}",
    "Un seul mot de chaque sorte (motif, carte, panne), et \\, pour une virgule dans une valeur, reçu {got}.",
  ],
  [
    "{option}: expected a fault, hangup, delay or TAG=VALUE: the real terminal decides the rest, got {got}",
    "Le vrai terminal décide du reste : seuls une panne, hangup, delay=SECONDES ou CHAMP=VALEUR sont possibles, reçu {got}.",
  ],
  [
    "tag {tag}: expected text of 1 to 999 characters, got {got}",
    "Champ {tag} : de 1 à 999 caractères attendus, {got} reçus.",
  ],
  [
    "tag {tag}: expected characters of Latin-1, got {got}",
    "Champ {tag} : des caractères de Latin-1 sont attendus, reçu {got}.",
  ],
  // The other settings.
  [
    "duration: expected a number from {min} to {max}, got {got}",
    "Secondes : un nombre de {min} à {max} est attendu, reçu {got}.",
  ],
  [
    "{option}: expected a number from {min} to {max}, got {got}",
    "Un nombre de {min} à {max} est attendu, reçu {got}.",
  ],
  [
    "{option}: expected a whole number from {min} to {max}, got {got}",
    "Un nombre entier de {min} à {max} est attendu, reçu {got}.",
  ],
  [
    "when: expected minor units such as 1234, or * and last digits, got {got}",
    "Un montant comme 1234 ou 12,34 est attendu, ou * et les derniers chiffres, reçu {got}.",
  ],
  [
    "when: expected each amount once, got {got}",
    "Il y a déjà une règle pour ce montant, {got}.",
  ],
  [
    "register: expected a cash register (CA) such as 01, got {got}",
    "Un numéro de caisse (CA) comme 01 est attendu, reçu {got}.",
  ],
  ["next: expected an outcome a line, got {got}", "Une issue est attendue, comme refused."],
  [
    "{option}: expected none: {who} decides that, got {got}",
    "Ce réglage n'existe pas ici : un autre terminal en décide.",
  ],
  // What is done.
  [
    "expected a transaction that waits for a person, {number} does not",
    "La transaction {number} n'attend plus de décision.",
  ],
  [
    "expected the number of a transaction that is kept, got {number}",
    "La transaction {number} n'est plus gardée.",
  ],
  [
    "expected a simulated terminal, {real} is a real one",
    "Ce n'est possible que sur un terminal simulé : {real} est un vrai terminal.",
  ],
  [
    'expected a terminal that listens: PATCH {"listening": true}',
    "Le terminal est endormi : réveillez-le d'abord.",
  ],
  ["expected at most {most} at once", "C'est trop à la fois : {most} au plus."],
  [
    "cannot listen on {where}: the port is in use by another program: stop it, or take another port (-p)",
    "Le terminal ne peut pas se réveiller : un autre programme a pris son port. Arrêtez-le d'abord.",
  ],
  ["cannot listen on {where}: {why}", "Le terminal ne peut pas écouter sur son port."],
  ["cannot reach the terminal at {where}: {why}", "Le terminal ne peut pas être joint à {where}."],
  ["expected a body of at most {bytes} bytes", "C'est trop long : {bytes} octets au plus."],
  ["expected a case that was sat, {name} was not", "L'épreuve {name} n'a pas été passée."],
  [
    "something went wrong, which is a mistake of this program",
    "Quelque chose a échoué : c'est une erreur de ce programme.",
  ],
  // What is left.
  [
    "{option}: got {got}; did you mean {meant}? (expected {expected})",
    "{got} n'est pas connu. Vouliez-vous dire {meant} ?",
  ],
  ["{option}: expected {expected}, got {got}", "La valeur {got} n'est pas acceptée."],
];

/** Why something was refused, in French, if its English words are known. */
export function errorInFrench(english: string): string | undefined {
  return frenchOf(ERRORS, english);
}
