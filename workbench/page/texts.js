// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * What the page says, in English and in French, and which of them is read.
 *
 * @module
 */

// ---------------------------------------------------------------- the language

/** Whether French is read, as the browser asks for, or as somebody has chosen. */
export let french = /^fr/i.test((navigator.languages || [navigator.language])[0] || "");
try {
  const kept = localStorage.getItem("language");
  if (kept) french = kept === "fr";
} catch { /* the browser keeps nothing */ }

/** Changes to the other language, which the browser keeps. */
export function changeLanguage() {
  french = !french;
  try {
    localStorage.setItem("language", french ? "fr" : "en");
  } catch { /* the browser keeps nothing */ }
}

/** Places in a pair of texts. */
export const [ENGLISH, FRENCH] = /** @type {const} */ ([0, 1]);

/** Which of an English and a French text is read. */
export const language = () => french ? FRENCH : ENGLISH;

/**
 * The text of a pair that is read; in French no line begins with a colon or the like.
 *
 * @param {import("./tables.ts").Pair} pair
 */
export const pick = (pair) => french ? spaced(pair[FRENCH]) : pair[ENGLISH];

/**
 * French with spaces at which no line ends.
 *
 * @param {string} text
 */
export const spaced = (text) => text.replace(/ (?=[:;!?])/g, "\u00a0");

/**
 * A text of the page.
 *
 * @param {TextKey} key
 * @param {string | number} [about]
 */
export const t = (key, about = "") => pick(TEXT[key]).replace("%1", () => String(about));

/**
 * The text of a key that an attribute of index.html has.
 *
 * @param {string} [key]
 */
export function textOf(key = "") {
  if (!Object.hasOwn(TEXT, key)) throw new Error(`expected a key of texts.js, got ${key}`);
  return t(/** @type {TextKey} */ (key));
}

// ---------------------------------------------------------------- the texts

/** @typedef {keyof typeof TEXT} TextKey */

/**
 * What the page says, in English and French. %1 is filled in.
 *
 * @satisfies {Record<string, import("./tables.ts").Pair>}
 */
export const TEXT = {
  title: ["Simulated terminal", "Terminal simulé"],
  realTitle: ["Real terminal", "Terminal réel"],
  terminal: ["Terminal", "Terminal"],
  port: ["Port", "Port"],
  live: ["live", "en direct"],
  broken: ["connection lost, trying again", "connexion perdue, nouvel essai"],
  receipt: ["Receipt", "Ticket"],
  tear: ["Tear off", "Détacher"],
  red: ["Abandon (red key)", "Abandonner (touche rouge)"],
  yellow: [
    "Correct: card and words as before",
    "Corriger : revenir à la carte et aux mots d'avant",
  ],
  green: ["Accept (green key)", "Accepter (touche verte)"],
  decide: ["You decide", "À vous de décider"],
  nobody: ["No till is waiting.", "Aucune caisse n'attend."],
  tills: ["Tills that wait", "Caisses en attente"],
  till: ["Till %1", "Caisse %1"],
  card: ["Card that pays", "Carte qui paie"],
  anyCard: ["As the till asks", "Celle que demande la caisse"],
  success: ["Accept", "Accepter"],
  refused: ["Refuse (AF 04)", "Refuser (AF\u00a004)"],
  abandon: ["Abandon", "Abandonner"],
  forbidden: ["Forbid (AF 05)", "Interdire (AF\u00a005)"],
  timeout: ["Time out", "Délai dépassé"],
  silent: ["Say nothing", "Silence"],
  otherOutcome: ["Another outcome", "Autre issue"],
  answerSo: ["Answer", "Répondre"],
  another: [
    "That payment does not wait any more. This is another one.",
    "Ce paiement n'attend plus. En voici un autre.",
  ],
  behaviour: ["How it behaves", "Comportement"],
  reset: ["Reset", "Réinitialiser"],
  whoDecides: ["Who decides", "Qui décide"],
  automatic: ["Automatic", "Automatique"],
  person: ["A person decides", "Une personne décide"],
  outcome: ["Outcome", "Issue"],
  change: ["Change to each answer", "Changement à chaque réponse"],
  unchanged: ["unchanged", "aucun"],
  byFunction: ["a function decides", "une fonction décide"],
  duration: ["Seconds", "Secondes"],
  durationIdle: [
    "What a person decides is answered at once. Seconds count for rules and the queue.",
    "Ce qu'une personne décide part aussitôt. Les secondes valent pour les règles et la file.",
  ],
  strict: ["Strict", "Strict"],
  strictHelp: ["refuses what deviates from the protocol", "refuse ce qui s'écarte du protocole"],
  exclusive: ["One at a time", "Un à la fois"],
  exclusiveHelp: ["refuses others while busy", "refuse les autres pendant un paiement"],
  asleep: ["Asleep", "Endormi"],
  asleepHelp: ["refuses connections, as on standby", "refuse les connexions, comme en veille"],
  model: ["Model", "Modèle"],
  passesOn: ["passes on to", "relaie vers"],
  difference: ["1 known difference", "1 différence connue"],
  differences: ["%1 known differences", "%1 différences connues"],
  sources: [
    "In what it differs from the reference. In brackets: where it was seen, see PROTOCOL.md.",
    "En quoi il diffère de la référence. Entre parenthèses : la source, voir PROTOCOL.md.",
  ],
  when: ["Rules by amount", "Règles selon le montant"],
  whenAmount: [
    "Amount such as 12.34, or * and last digits",
    "Montant comme 12,34, ou * et les derniers chiffres",
  ],
  next: ["Queue for the next ones", "File d'attente : prochains paiements"],
  nextRegister: ["Cash register, any if empty", "Numéro de caisse, toutes si vide"],
  add: ["Add", "Ajouter"],
  empty: ["Empty", "Vider"],
  remove: ["Remove %1", "Retirer %1"],
  first: ["No till has called yet", "Aucune caisse n'a encore appelé"],
  firstText: [
    "Set your till to Caisse-AP over IP (Concert V3) with this address and port:",
    "Réglez la caisse sur Caisse-AP sur IP (Concert V3), avec cette adresse et ce port :",
  ],
  address: ["Address", "Adresse"],
  addressOf: [
    "that of this machine; how to find it:",
    "celle de cette machine ; pour la trouver :",
  ],
  orHere: ["Or see one payment without a till:", "Ou voyez un paiement sans caisse :"],
  tryHere: ["Pay 12.34 here", "Payer 12,34 ici"],
  log: ["What the tills did", "Ce que les caisses ont fait"],
  clear: ["Clear", "Effacer"],
  filter: ["Filter", "Filtrer"],
  onlyWarned: ["with warnings", "avec avertissements"],
  time: ["Time", "Heure"],
  register: ["Till", "Caisse"],
  action: ["Action", "Action"],
  amount: ["Amount", "Montant"],
  noAmount: ["no amount", "pas un montant"],
  of: ["%1 of", "%1 sur"],
  ending: ["Ended", "Issue"],
  took: ["Took", "Durée"],
  noMatch: ["Nothing fits the filter.", "Rien ne correspond au filtre."],
  more: ["Show more", "Voir plus"],
  askReset: ["Put everything back?", "Tout remettre au départ ?"],
  askResetText: [
    "Transactions, queue and settings go back to how the terminal was started. What is under way ends.",
    "Transactions, file et réglages reviennent à l'état de départ. Ce qui est en cours s'arrête.",
  ],
  cancel: ["Cancel", "Annuler"],
  noServer: ["the terminal's program does not answer", "Le programme du terminal ne répond pas."],
  notTaken: ["that was not accepted", "Cela n'a pas été accepté."],
  notRead: ["What was before could not be read: ", "Ce qui précède n'a pas pu être lu. "],
  paid: ["approved", "acceptée"],
  waits: ["waits for you", "vous attend"],
  underWay: ["under way", "en cours"],
  unreadable: ["unreadable request", "demande illisible"],
  unreadableAnswer: ["unreadable answer", "réponse illisible"],
  gone: ["till gave up", "la caisse a renoncé"],
  lostAnswer: ["answer lost", "réponse perdue"],
  lostAfter: ["%1, answer lost", "%1, réponse perdue"],
  decided: ["Decided by", "Décidé par"],
  byNext: ["queue", "file d'attente"],
  byPerson: ["person", "personne"],
  byOutcome: ["standard outcome", "issue générale"],
  byRule: ["rule %1", "règle %1"],
  masked: [
    "Masked: to see it, start the proxy with --unmasked.",
    "Masqué : pour le voir, lancez le proxy avec --unmasked.",
  ],
  unanswered: ["no answer", "sans réponse"],
  notYet: [
    "terminal: %1, the till has no answer yet",
    "terminal : %1, la caisse n'a pas encore de réponse",
  ],
  notWhole: [
    "terminal: %1, the till did not get that answer whole",
    "terminal : %1, la caisse n'a pas reçu cette réponse entière",
  ],
  warning: ["warning", "avertissement"],
  warnings: ["warnings", "avertissements"],
  back: ["All transactions", "Toutes les transactions"],
  notKept: ["Transaction %1 is not kept any more.", "La transaction %1 n'est plus gardée."],
  transaction: ["Transaction %1", "Transaction %1"],
  from: ["From", "De"],
  connection: ["Connection", "Connexion"],
  timeline: ["Conversation", "Conversation"],
  request: ["Request", "Demande"],
  answer: ["Answer", "Réponse"],
  due: ["What the terminal answered", "Ce que le terminal a répondu"],
  sent: ["What the till was sent", "Ce qui a été envoyé à la caisse"],
  noAnswer: ["Nothing was sent.", "Rien n'a été envoyé."],
  tag: ["Tag", "Champ"],
  size: ["Length", "Longueur"],
  value: ["Value", "Valeur"],
  meaning: ["Meaning", "Signification"],
  unknownTag: ["unknown tag", "champ inconnu"],
  rest: ["%1 more fields in the raw text", "%1 autres champs dans le texte brut"],
  bytes: ["%1 bytes", "%1 octets"],
  byte: ["1 byte", "1 octet"],
  tillCloses: ["till closes", "la caisse ferme"],
  terminalCloses: ["terminal closes", "le terminal ferme"],
  proxyCloses: ["proxy closes", "le proxy ferme"],
  notSent: ["not received", "non reçue"],
  notDelivered: ["not delivered", "non remise"],
  interim: ["AE 11 came first", "AE 11 a précédé"],
  copyNc: ["Copy as printf | nc", "Copier en printf | nc"],
  copyHex: ["Copy hex", "Copier l'hexa"],
  copyJson: ["Copy JSON", "Copier le JSON"],
  copied: ["Copied", "Copié"],
  exam: ["Examination", "Examen"],
  examText: [
    "Pay these amounts with your till, in any order: each is a case. Then say what your till says.",
    "Payez ces montants avec votre caisse, dans n'importe quel ordre : chacun est une épreuve. Dites ensuite ce que dit votre caisse.",
  ],
  startAnew: ["Start anew", "Recommencer"],
  report: ["The report as", "Le rapport en"],
  tillSays: ["The till says", "La caisse dit"],
  saysPaid: ["paid", "payé"],
  saysNotPaid: ["not paid", "non payé"],
  saysCheck: ["to be checked", "à vérifier"],
  saysCrashed: ["crashed", "plantée"],
  passed: ["%1 passed", "%1 réussies"],
  failed: ["%1 failed", "%1 échouées"],
  remarks: ["%1 with a remark", "%1 avec remarque"],
  notSat: ["%1 not sat", "%1 non passées"],
  customer: ["Customer's copy", "Exemplaire client"],
  merchant: ["Merchant's copy", "Exemplaire commerçant"],
};
