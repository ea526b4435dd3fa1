// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * What is known of a failure besides its name: who refuses, and who is not at fault. A code that is
 * not here is one of which no source tells more. Words in English and in French.
 *
 * @module
 */

/** Sentences by the two digits of AF; a cheque has one of its own. */
export const REASONS: Readonly<Record<string, readonly [english: string, french: string]>> = {
  "04": [
    "The card or its bank refuses: neither the till nor the network is at fault.",
    "La carte ou sa banque refuse : ni la caisse ni le réseau ne sont en cause.",
  ],
  // (1)
  "cheque": [
    "For a cheque, an Ingenico answers AF 04 whatever the reason.",
    "Pour un chèque, un Ingenico répond AF 04 quel que soit le motif.",
  ],
  // (3)
  "06": [
    "With PayXpert: abandoned by the card holder.",
    "Chez PayXpert : abandonné par le porteur de la carte.",
  ],
  // (3), and our choice
  "07": [
    "With PayXpert: not carried out. This terminal answers AF 07 when it is busy too.",
    "Chez PayXpert : non réalisé. Ce terminal répond aussi AF 07 quand il est occupé.",
  ],
  // (2)
  "08": [
    "The person has not presented the card or typed the code in time.",
    "La personne n'a pas présenté la carte ou saisi son code à temps.",
  ],
  // (2)
  "09": [
    "The request of the till is badly formed, or has a field that the terminal does not take.",
    "La demande de la caisse est mal formée, ou contient un champ que le terminal ne prend pas.",
  ],
  // (5)
  "11": [
    "For example by the red button of the terminal.",
    "Par exemple par la touche rouge du terminal.",
  ],
  // (3)
  "12": [
    "The terminal does not know the action (CD) that the till asks for.",
    "Le terminal ne connaît pas l'action (CD) que la caisse demande.",
  ],
  // (2)(5)
  "13": [
    "The terminal does not take the currency (CE) that the till asks for.",
    "Le terminal ne prend pas la devise (CE) que la caisse demande.",
  ],
};
