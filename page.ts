// SPDX-License-Identifier: GPL-3.0-or-later
/**
 * The page of web.ts: one simulated terminal in a browser, seen and steered. It calls the HTTP
 * interface and nothing else, so what it does a script can do too.
 *
 * Three resources as text, without a build step. What the script knows of the protocol comes from
 * the tables of protocol.ts and server.ts. What a POS has sent gets into the page as text only.
 *
 * @module
 */
import { ACTIONS, type DEVIATIONS, moneyText, TAGS } from "./protocol.ts";
import type { RelayWarning } from "./proxy.ts";
import {
  CARDS,
  ENDINGS,
  FAULTS,
  FLAGS,
  KEYS,
  type ModelName,
  modelsInWords,
  type Told,
  type WARNINGS,
} from "./server.ts";

// ---------------------------------------------------------------- data

/** What the tags of TAGS are in French: terminals and tills show it, no source has it. */
const FRENCH_TAGS: Readonly<Record<string, string>> = {
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

/** What the words of FAULTS and FLAGS do, in French. */
const FRENCH_WORDS: Readonly<Record<keyof typeof FAULTS | keyof typeof FLAGS, string>> = {
  silent: "pas de réponse, la connexion reste",
  close: "connexion fermée sans réponse",
  reset: "connexion rompue sans réponse",
  truncate: "réponse coupée dans son dernier champ",
  garbage: "des octets qui ne sont pas un message",
  split: "réponse en plusieurs segments",
  emptyamount: "CB vide (longueur 000) dans la réponse",
  dribble: "réponse octet par octet",
  pending: "AE 11 d'abord, la réponse finale ensuite",
  hangup: "connexion fermée après la réponse",
};

/** Of a receipt that cannot be read, and those of proxy.ts. */
type OtherWarning = "receipt" | RelayWarning;

/** What a warning is about, in French, by its code; its own text is in English. */
const FRENCH_WARNINGS: Readonly<
  Record<keyof typeof DEVIATIONS | keyof typeof WARNINGS | OtherWarning, string>
> = {
  "malformed": "message illisible",
  "missing-tags": "champs obligatoires absents",
  "not-an-amount": "ce n'est pas un montant en centimes",
  "order": "CZ doit venir en premier",
  "late": "champs reçus après la réponse",
  "repeated-tag": "champ présent deux fois",
  "terminal-tag": "champ réservé au terminal",
  "empty": "champ vide, à ne pas envoyer",
  "size": "longueur hors norme",
  "not-digits": "chiffres attendus",
  "not-ascii": "caractères hors ASCII",
  "unknown-value": "valeur inconnue",
  "zero-amount": "montant nul",
  "one-digit-amount": "montant d'un seul chiffre",
  "private-data": "données privées hors norme",
  "partial-payment": "BF fait échouer les Ingenico récents",
  "unknown-tag": "champ inconnu",
  "unknown-application": "application inconnue",
  "unknown-action": "action inconnue",
  "more": "d'autres écarts ne sont pas listés",
  "paid-twice": "le client aurait payé deux fois",
  "too-early": "duplicata demandé pendant le paiement : redemandez",
  "overlap": "deux paiements à la fois de cette caisse",
  "impatient": "la caisse a renoncé trop tôt",
  "read-once": "la caisse n'a lu qu'une partie de la réponse",
  "not-read": "la caisse n'a peut-être pas lu la réponse",
  "busy": "terminal occupé",
  "refused-tag": "champ que ce modèle refuse",
  "callback": "rien n'écoute là où va la réponse",
  "application": "autre application que celle demandée",
  "one-receipt": "deux tickets demandés, un seul envoyé",
  "undecided": "personne n'a décidé à temps",
  "no-outcome": "aucune issue n'a pu être décidée",
  "receipt": "ticket illisible",
  "unreachable": "terminal injoignable",
  "unanswered": "le terminal a fermé sans répondre",
  "unasked": "le terminal a envoyé sans qu'on lui demande",
  "not-set": "champ non modifié : réponse illisible",
  "not-recorded": "aucune demande pareille dans l'enregistrement",
};

/** What the models are, in French, where it is not the same in English. */
const FRENCH_MODELS: { readonly [Name in ModelName]?: string } = {
  reference: "les scripts d'akretion/caisse-ap-ip",
  dx8000: "Ingenico AXIUM DX8000 avec Nepting",
  hipay: "HiPay avec Nepting : PAX A920Pro, A80, A50, A35",
  payxpert: "PayXpert : Castles S1F2, S1P, Sunmi P2",
  viva: "Viva sur Android : PAX",
};

/** The notes on the models, in French. */
const FRENCH_NOTES: Readonly<Record<string, string>> = {
  "cheques: AF 04 whatever the reason, and no card data, as the reference":
    "chèques : AF 04 quelle que soit la raison, et pas de données de carte, comme la référence",
  "if set so, it connects to port 20006 of the POS to answer: --callback 20006":
    "s'il est paramétré ainsi, il répond en se connectant au port 20006 de la caisse : --callback 20006",
  "asleep, or without the protocol, it refuses connections: stop the terminal":
    "en veille, ou sans le protocole, il refuse les connexions : arrêtez le terminal",
  "other tags may appear: TAG=VALUE of an outcome":
    "d'autres champs peuvent apparaître : TAG=VALEUR dans une issue",
  "not in the foreground, it answers AE 01 at once: --outcome 07,delay=0":
    "s'il n'est pas au premier plan, il répond AE 01 aussitôt : --outcome 07,delay=0",
  "takes CK 121, as the reference": "accepte CK 121, comme la référence",
  "a duplicate is about the last attempt, as with the reference":
    "un duplicata porte sur la dernière tentative, comme avec la référence",
};

/** How each trait of a model is told in French. */
const FRENCH_TOLD: Told = {
  identity: ({ CZ, CJ }) => `CZ ${CZ} et CJ ${CJ}, qui lui sont propres`,
  copies: (tags) => `ne renvoie que ${tags.join(" ")}`,
  returnsCF: (count) => `renvoie ${count} caractères de CF`,
  takesCF: (count) => `accepte un CF de ${count} caractères`,
  abandon: (code) => `abandon : AF ${code}`,
  dropsCB: () => "abandon : sans CB, ou avec un CB vide (abandon,emptyamount)",
  approvedAF: (code) => `AF ${code} à côté d'AE 10 d'un paiement`,
  refusal: ({ detail }) => `refus : avec AC, et AF 04 suivi de ${detail}`,
  statusFirst: () => "AF 09 : AE et AF avant les champs renvoyés",
  mask: (character) => `AA est masqué par ${character}`,
  AL: (value) => `AL ${value} avec AA`,
  receipt: ({ columns, filled, wrap }) =>
    `tickets de ${columns} colonnes${filled ? ", complétées par des blancs" : ""}, saut de ligne ${
      wrap < 900 ? `tous les ${wrap} caractères et ` : ""
    }à la fin d'AK`,
  atOnce: (AE) => `BA 1 : ${AE === "10" ? "AE 10" : "pas de réponse"}`,
  refuses: (tags) => `AF 09 à ${tags.join(" et ")}`,
  failsOn: (tags) => `échoue sur ${tags.join(" et ")} (AF 09 est notre choix)`,
  lacks: (actions) => `AF 12 à CD ${actions.join(" ")}`,
  vendorTags: () => [
    "AP, AQ et ID dans les réponses",
    "IM d'un crédit reprend l'ID du débit (AF 07 si ce débit est inconnu : notre choix)",
  ],
  status: (action) =>
    `CD ${action} dit comment la dernière transaction a fini (sa forme est notre choix)`,
  port: (port) => `écoute sur le port ${port}`,
  busy: () => "occupé, il ne lit aucune demande avant d'être libre : avec --exclusive",
  screens: ({ failed, none }) => [
    `duplicata d'un échec : son écran affiche ${failed}`,
    `duplicata sans paiement avant : son écran affiche ${none}`,
  ],
  notes: (texts) => texts.map((text) => FRENCH_NOTES[text] ?? text),
};

type Pair = readonly [english: string, french: string];

/** The currencies that moneyText() knows: letters and decimals, read from what it writes. */
function currencies(): Record<string, [letters: string, decimals: number]> {
  const known: Record<string, [string, number]> = {};
  for (let code = 0; code < 1000; code++) {
    const CE = String(code).padStart(3, "0");
    const [amount = "", letters] = moneyText({ CB: "1", CE })?.split(" ") ?? [];
    if (letters) known[CE] = [letters, amount.length > 1 ? amount.length - 2 : 0];
  }
  return known;
}

/** The models: what they are, and in what they differ from the reference. */
function models(): Record<string, { is: Pair; known: { source: number; text: Pair }[] }> {
  const inFrench = modelsInWords(FRENCH_TOLD);
  return Object.fromEntries(
    modelsInWords().map(({ name, is, known }, model) => [name, {
      is: [is, FRENCH_MODELS[name] ?? is],
      known: known.map(({ source, text }, at) => ({
        source,
        text: [text, inFrench[model]?.known[at]?.text ?? text],
      })),
    }]),
  );
}

/** The tables that the script needs. What is in words is an English and a French one. */
function data() {
  const terms = (tag: string): Record<string, Pair> =>
    Object.fromEntries(
      [...TAGS.get(tag)?.codes ?? []].map(([code, { label, french }]) => [code, [label, french]]),
    );
  const words: Record<string, Pair> = {};
  for (const [word, code] of Object.entries(ENDINGS)) {
    words[word] = terms("AF")[code] ?? ["paid", "payé"];
  }
  for (const [word, { CC }] of Object.entries(CARDS)) words[word] = terms("CC")[CC] ?? [CC, CC];
  for (const [word, french] of Object.entries(FRENCH_WORDS)) {
    const help = { ...FAULTS, ...FLAGS }[word as keyof typeof FRENCH_WORDS];
    words[word] = [typeof help === "string" ? help : help.help, french];
  }
  return {
    tags: Object.fromEntries(
      [...TAGS].map(([tag, { label }]) => [tag, [label, FRENCH_TAGS[tag] ?? label]]),
    ),
    codes: Object.fromEntries(
      [...TAGS].filter(([, { codes }]) => codes).map(([tag]) => [tag, terms(tag)]),
    ),
    money: [...ACTIONS].filter(([, { money }]) => money).map(([code]) => code),
    cards: Object.fromEntries(Object.entries(CARDS).map(([card, { CC, CI }]) => [card, [CC, CI]])),
    words,
    changes: [...Object.keys(FAULTS), "hangup"], // the words for the answer of a real terminal
    models: models(),
    warnings: FRENCH_WARNINGS,
    keys: Object.fromEntries(
      [...KEYS].map(([key, [words]]) => [key === "\r" ? "Enter" : key, words]),
    ),
    currencies: currencies(),
  };
}

// ---------------------------------------------------------------- resources

/** The page, without any words: the script puts in those of the language. */
const HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Terminal</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect x='3' y='1' width='10' height='14' rx='2' fill='%234054b2'/%3E%3Crect x='5' y='3' width='6' height='4' fill='%23fff'/%3E%3C/svg%3E">
<link rel="stylesheet" href="page.css">
<script src="page.js" defer></script>
</head>
<body>
<header>
  <a class="name" href="#/"><svg viewBox="0 0 16 16" aria-hidden="true"><rect x="3" y="1"
    width="10" height="14" rx="2"/><path d="M5.5 4h5v3h-5zM5.5 10h1m1.5 0h1m1.5 0h1"/></svg><h1
    id="title"></h1></a>
  <p class="where"><span data-t="port"></span> <code id="port"></code><span id="where-real" hidden>
    · <span data-t="passesOn"></span> <code id="real-name"></code></span><span id="where-model" hidden>
    · <span data-t="model"></span> <code id="model-name"></code></span></p>
  <p id="link" role="status"></p>
  <button id="lang" class="quiet"></button>
</header>
<noscript><p>JavaScript shows this page. The HTTP interface is at <code>/api/</code>.</p></noscript>
<main id="main">
  <section class="stage" id="stage" data-label="terminal">
    <div class="device" id="device">
      <p class="maker" aria-hidden="true"><span>caisse-ap / ip</span><i></i></p>
      <div class="screen" id="screen" lang="fr" role="status" aria-atomic="true">
        <p id="screen-top"></p>
        <p id="screen-main"></p>
        <p id="screen-sub"></p>
        <svg id="glyph" viewBox="0 0 24 24" aria-hidden="true"><path id="glyph-path"/></svg>
      </div>
      <div class="pad" aria-hidden="true"><i>1</i><i>2</i><i>3</i><i>4</i><i>5</i><i>6</i><i>7</i
        ><i>8</i><i>9</i><i>*</i><i>0</i><i>#</i></div>
      <div class="keys">
        <button id="red" class="key red"><svg viewBox="0 0 24 24" aria-hidden="true"><path
          d="M7 7l10 10M17 7L7 17"/></svg></button>
        <button id="yellow" class="key yellow"><svg viewBox="0 0 24 24" aria-hidden="true"><path
          d="M14 6l-6 6 6 6"/></svg></button>
        <button id="green" class="key green"><svg viewBox="0 0 24 24" aria-hidden="true"><circle
          cx="12" cy="12" r="6"/></svg></button>
      </div>
      <div class="slot" aria-hidden="true"></div>
    </div>
    <div class="printer" id="printer" role="region" data-label="receipt" hidden></div>
  </section>
  <div class="side">
    <section class="panel" id="decide" aria-labelledby="decide-title" hidden>
      <h2 id="decide-title" tabindex="-1" data-t="decide"></h2>
      <p id="nobody" class="muted" data-t="nobody"></p>
      <div id="question" hidden>
        <div class="tills" id="tills" role="group" data-label="tills"></div>
        <fieldset class="cards" id="cards"><legend data-t="card"></legend></fieldset>
        <div class="choices" id="choices"></div>
        <form id="answer-form" class="inline">
          <label for="answer-words" data-t="otherOutcome"></label>
          <input id="answer-words" class="words" list="words" autocomplete="off" spellcheck="false"
            autocapitalize="off" placeholder="refused,delay=2,CB=" aria-describedby="answer-error">
          <button data-t="answerSo"></button>
        </form>
        <p id="answer-error" class="error" role="alert"></p>
      </div>
    </section>
    <section id="detail" aria-labelledby="detail-title" hidden></section>
    <div id="home">
      <section class="panel" id="behaviour" aria-labelledby="behaviour-title">
        <div class="bar"><h2 id="behaviour-title" data-t="behaviour"></h2>
          <button id="reset" class="quiet" data-t="reset"></button></div>
        <div class="settings">
          <div>
            <div class="switch simulated" role="radiogroup" data-label="whoDecides">
              <label><input type="radio" name="interactive" id="automatic" checked><span
                data-t="automatic"></span></label>
              <label><input type="radio" name="interactive" id="interactive"><span
                data-t="person"></span></label>
            </div>
            <div class="pair">
              <div><label for="outcome" id="outcome-label"></label>
                <input id="outcome" class="words" list="words" autocomplete="off"
                  spellcheck="false" autocapitalize="off" aria-describedby="outcome-error"></div>
              <div class="short simulated"><label for="duration" data-t="duration"></label>
                <input id="duration" inputmode="decimal" autocomplete="off"
                  aria-describedby="duration-error"></div>
            </div>
            <p id="outcome-error" class="error" role="alert"></p>
            <p id="duration-error" class="error" role="alert"></p>
            <label class="check simulated"><input type="checkbox" id="strict"><span><b
              data-t="strict"></b> <span data-t="strictHelp"></span></span></label>
            <label class="check simulated"><input type="checkbox" id="exclusive"><span><b
              data-t="exclusive"></b> <span data-t="exclusiveHelp"></span></span></label>
            <div class="simulated"><label for="model" data-t="model"></label>
              <select id="model" aria-describedby="model-error"></select></div>
            <p id="model-error" class="error" role="alert"></p>
            <details id="differences"><summary id="difference-count"></summary>
              <p id="model-is"></p><ul id="difference-list"></ul>
              <p class="muted" data-t="sources"></p></details>
          </div>
          <div>
            <h3 data-t="when"></h3>
            <ul id="when" class="rules"></ul>
            <form id="when-form" class="inline">
              <input id="when-amount" class="amount" autocomplete="off" placeholder="*01"
                data-label="whenAmount" aria-describedby="when-error">
              <input id="when-words" class="words" list="words" autocomplete="off"
                spellcheck="false" autocapitalize="off"
                data-label="outcome" aria-describedby="when-error">
              <button data-t="add"></button>
            </form>
            <p id="when-error" class="error" role="alert"></p>
            <div class="bar"><h3 data-t="next"></h3>
              <button id="next-clear" class="quiet" data-t="empty"></button></div>
            <ol id="next" class="rules"></ol>
            <form id="next-form" class="inline">
              <input id="next-register" class="amount" autocomplete="off" maxlength="99"
                data-label="nextRegister" aria-describedby="next-error">
              <input id="next-words" class="words" list="words" autocomplete="off"
                spellcheck="false" autocapitalize="off" placeholder="split"
                data-label="outcome" aria-describedby="next-error">
              <button data-t="add"></button>
            </form>
            <p id="next-error" class="error" role="alert"></p>
          </div>
        </div>
      </section>
      <section class="panel" id="first" aria-labelledby="first-title" hidden>
        <h2 id="first-title" data-t="first"></h2>
        <p data-t="firstText"></p>
        <dl class="facts">
          <dt data-t="address"></dt><dd id="address"></dd>
          <dt data-t="port"></dt><dd><code id="first-port"></code></dd>
        </dl>
        <dl class="facts small" id="find">
          <dt>Windows</dt><dd><code>ipconfig | findstr IPv4</code></dd>
          <dt>macOS</dt><dd><code>ipconfig getifaddr en0</code></dd>
          <dt>Linux</dt><dd><code>hostname -I</code></dd>
        </dl>
        <p class="simulated" data-t="orHere"></p>
        <p class="simulated"><button id="try-first" class="main" data-t="tryHere"></button></p>
      </section>
      <section class="panel" id="log" aria-labelledby="log-title">
        <div class="bar"><h2 id="log-title" data-t="log"></h2>
          <span id="count" class="muted" role="status"></span>
          <button id="try" class="quiet simulated" data-t="tryHere"></button>
          <button id="clear" class="quiet" data-t="clear"></button></div>
        <div class="filter">
          <input id="filter" type="search" autocomplete="off" data-label="filter">
          <label class="check"><input type="checkbox" id="only-warned"><span
            data-t="onlyWarned"></span></label>
        </div>
        <div class="row head" aria-hidden="true"><span data-t="time"></span><span
          data-t="register"></span><span data-t="action"></span><span class="sum"
          data-t="amount"></span><span data-t="ending"></span><span class="took"
          data-t="took"></span><span></span></div>
        <ol id="list" class="list"></ol>
        <p id="none" class="muted" data-t="noMatch" hidden></p>
        <button id="more" class="quiet" data-t="more" hidden></button>
      </section>
      <p id="try-error" class="error" role="alert"></p>
    </div>
  </div>
</main>
<dialog id="ask" aria-labelledby="ask-title">
  <h2 id="ask-title" data-t="askReset"></h2>
  <p data-t="askResetText"></p>
  <p class="choices"><button id="ask-no" data-t="cancel"></button>
    <button id="ask-yes" class="main danger" data-t="reset"></button></p>
</dialog>
<datalist id="words"></datalist>
<p id="said" class="unseen" role="status"></p>
</body>
</html>
`;

/** How it looks. Spaces are multiples of 4 px, colours stand in variables. */
const CSS = `:root {
  color-scheme: light dark;
  --back: #f6f6f4; --panel: #fff; --line: #e3e3de; --edge: #8a8d94; --text: #1b1c1f;
  --muted: #5d6168; --accent: #4054b2; --on-accent: #fff; --tint: #eef0fa;
  --good: #1b7043; --bad: #b3261e; --warn: #855300;
  --body: #2b2d33; --body-edge: #1d1e22; --lcd: #d7e0d3; --lcd-lit: #e6f0e0; --ink: #17221a;
  --mono: ui-monospace, "SF Mono", SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #111214; --panel: #18191c; --line: #2b2d31; --edge: #7b7f88; --text: #e9e9e6;
    --muted: #a1a5ad; --accent: #a3b1ff; --on-accent: #12141d; --tint: #22263a;
    --good: #6fd09b; --bad: #ff9a8f; --warn: #e7b866;
    --body: #33353c; --body-edge: #45474f; --lcd: #c5cfc1; --lcd-lit: #dbe6d5;
  }
}
* { box-sizing: border-box; margin: 0; }
[hidden] { display: none !important; }
body {
  background: var(--back); color: var(--text);
  font: 14px/20px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%;
}
h1, h2, h3 { font-size: 14px; line-height: 20px; font-weight: 600; }
h2 { font-size: 15px; line-height: 24px; }
h3 { font-size: 13px; color: var(--muted); font-weight: 500; }
code, pre, .words, .amount { font-family: var(--mono); font-size: 13px; }
ol, ul { list-style: none; padding: 0; }
a { color: var(--accent); }
.muted { color: var(--muted); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }

header {
  display: flex; align-items: center; gap: 8px 16px; flex-wrap: wrap; padding: 12px 32px;
  border-bottom: 1px solid var(--line); background: var(--panel);
}
.name { display: flex; gap: 8px; align-items: center; color: inherit; text-decoration: none; }
.name svg { width: 20px; height: 20px; fill: var(--accent); }
.name path { fill: none; stroke: var(--on-accent); }
.where { color: var(--muted); margin-right: auto; }
.where code { color: var(--text); }
#link { display: flex; align-items: center; gap: 8px; color: var(--muted); }
#link::before { content: ""; width: 8px; height: 8px; border-radius: 4px; background: var(--good); }
#link.broken { color: var(--bad); }
#link.broken::before { background: var(--bad); }
noscript { display: block; padding: 32px; }
main {
  display: grid; grid-template-columns: 288px minmax(0, 1fr); gap: 32px; align-items: start;
  max-width: 1328px; margin: 0 auto; padding: 32px;
}
.side, #home, #detail { display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); }
.panel {
  background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 16px 24px;
}
.bar { display: flex; align-items: center; gap: 8px; flex-wrap: wrap; }
.bar > :is(h2, h3) { margin-right: auto; }
.bar #count { margin-right: 8px; }

button, input, select {
  font: inherit; color: inherit; background: var(--panel); border: 1px solid var(--edge);
  border-radius: 6px; min-height: 32px; padding: 4px 12px;
}
button { cursor: pointer; border-color: var(--line); font-weight: 500; white-space: nowrap; }
button:hover { border-color: var(--edge); }
button:disabled { cursor: default; opacity: .55; }
input:disabled { color: var(--muted); background: var(--back); border-color: var(--line); }
button.quiet { border-color: transparent; background: none; color: var(--accent); padding: 4px 8px; }
button.quiet:hover { background: var(--tint); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.danger { background: var(--bad); border-color: var(--bad); color: var(--panel); }
input, select { width: 100%; min-width: 0; padding: 4px 8px; }
select { text-overflow: ellipsis; }
input::placeholder { color: var(--muted); opacity: 1; }
:is(input, select)[aria-invalid="true"] { border-color: var(--bad); }
input:is([type="radio"], [type="checkbox"]) {
  width: 16px; height: 16px; min-height: 16px; margin: 2px 0; accent-color: var(--accent);
}
label { display: block; font-size: 13px; color: var(--muted); }
.check { display: flex; gap: 8px; align-items: start; }
.check input { flex: none; }
.check b { color: var(--text); font-weight: 500; }
.inline { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }
.inline .words { flex: 1 1 128px; width: auto; }
.inline .amount { flex: 0 0 80px; width: 80px; }
.error { color: var(--bad); font-size: 13px; overflow-wrap: anywhere; }
.error:empty { display: none; }

/* The terminal: the same object by day and by night, on a stage of its own. */
.stage { position: sticky; top: 24px; }
.device {
  position: relative; z-index: 1; border-radius: 24px 24px 20px 20px; padding: 16px 24px 20px;
  background: var(--body); border: 1px solid var(--body-edge); color: #f3f3f1;
  box-shadow: inset 0 1px 0 #ffffff24, 0 1px 2px #0000001f, 0 16px 32px -16px #00000059;
}
.maker {
  display: flex; justify-content: space-between; align-items: center; margin-bottom: 12px;
  font-size: 11px; line-height: 16px; letter-spacing: .08em; color: #b9bcc4;
}
.maker i { width: 8px; height: 8px; border-radius: 4px; background: #585b64; }
.busy .maker i { background: #7fd8a5; }
.screen {
  position: relative; height: 168px; padding: 12px 16px; border-radius: 6px; overflow: hidden;
  display: flex; flex-direction: column; background: var(--lcd); color: var(--ink);
  box-shadow: inset 0 0 0 1px #0000002e, inset 0 2px 6px #00000029; transition: background .2s;
}
.busy .screen, .done .screen { background: var(--lcd-lit); }
#screen-top { font-size: 12px; line-height: 16px; letter-spacing: .06em; min-height: 16px; }
#screen-main {
  margin-top: 12px; font-size: 26px; line-height: 32px; font-weight: 600; letter-spacing: -.01em;
  overflow-wrap: anywhere;
}
#screen-main.long { font-size: 18px; line-height: 24px; }
#screen-sub {
  margin-top: auto; padding-right: 40px; font-size: 12px; line-height: 16px; font-weight: 500;
  letter-spacing: .06em; overflow-wrap: anywhere;
}
#glyph {
  position: absolute; right: 12px; bottom: 8px; width: 32px; height: 32px; fill: none;
  stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round;
}
.pad { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; margin: 16px 0 8px; }
.pad i {
  font-style: normal; font-size: 13px; line-height: 24px; text-align: center; color: #b9bcc4;
  border-radius: 5px; background: #ffffff12;
}
.keys { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
.key { min-height: 48px; padding: 0; border: 0; border-radius: 8px; color: #fff; }
.key svg {
  width: 24px; height: 24px; display: block; margin: auto; fill: none; stroke: currentColor;
  stroke-width: 2.5; stroke-linecap: round; stroke-linejoin: round;
}
.red { background: #b4352d; } .yellow { background: #e3b23c; color: #2b2106; }
.green { background: #2c7f52; }
.key { box-shadow: inset 0 -3px 0 #00000038; }
.key:hover:not(:disabled) { filter: brightness(1.08); }
.key:active:not(:disabled) { transform: translateY(1px); box-shadow: inset 0 -1px 0 #00000038; }
.key:focus-visible { outline-color: #fff; }
.slot {
  position: absolute; left: 40px; right: 40px; bottom: 4px; height: 4px; border-radius: 2px;
  background: #0d0e10;
}
.printer { overflow: hidden; padding: 0 40px 16px; margin-top: -2px; }
.paper {
  color-scheme: light; background: #fdfcf8; color: #24241f; padding: 16px 12px 20px;
  font: 11px/16px var(--mono); filter: drop-shadow(0 1px 1px #0000002e) drop-shadow(0 0 1px #00000033);
  clip-path: polygon(0 0, 100% 0, 100% calc(100% - 6px), 96% 100%, 92% calc(100% - 6px), 88% 100%,
    84% calc(100% - 6px), 80% 100%, 76% calc(100% - 6px), 72% 100%, 68% calc(100% - 6px), 64% 100%,
    60% calc(100% - 6px), 56% 100%, 52% calc(100% - 6px), 48% 100%, 44% calc(100% - 6px), 40% 100%,
    36% calc(100% - 6px), 32% 100%, 28% calc(100% - 6px), 24% 100%, 20% calc(100% - 6px), 16% 100%,
    12% calc(100% - 6px), 8% 100%, 4% calc(100% - 6px), 0 100%);
}
.paper pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; }
.paper iframe { display: block; width: 100%; height: 320px; border: 0; }
.printer .paper { animation: print 1s steps(14) both; border: solid var(--line); border-width: 0 1px; }
@keyframes print { from { transform: translateY(-100%); } }
.printer button { margin: 8px auto 0; display: block; }

/* A person decides. */
.tills { display: flex; flex-wrap: wrap; gap: 8px; margin: 8px 0 16px; }
.tills button { display: grid; text-align: left; padding: 8px 12px; max-width: 100%; white-space: normal; overflow-wrap: anywhere; }
.tills b { font-weight: 600; }
.tills span { color: var(--muted); font-weight: 400; font-size: 13px; }
.tills [aria-pressed="true"] { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); background: var(--tint); }
.cards { border: 0; padding: 0; display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; min-width: 0; }
.cards legend { font-size: 13px; color: var(--muted); margin-bottom: 8px; }
.cards label { position: relative; color: var(--text); cursor: pointer; }
.cards input { position: absolute; opacity: 0; inset: 0; width: 100%; height: 100%; margin: 0; cursor: pointer; }
.cards span {
  display: flex; flex-direction: column; min-height: 66px; height: 100%; padding: 8px 12px;
  border: 1px solid var(--line); border-radius: 8px; font-size: 12px; line-height: 16px;
}
.cards span b { font-weight: 500; padding-right: 20px; }
.cards span b::first-letter, #detail h2::first-letter { text-transform: uppercase; }
.cards span code { margin-top: auto; font-size: 11px; line-height: 16px; color: var(--muted); }
.cards svg { position: absolute; right: 8px; top: 8px; width: 16px; height: 16px; fill: none; stroke: var(--muted); stroke-width: 1.5; stroke-linecap: round; }
.cards label:hover span { border-color: var(--edge); }
.cards input:checked + span { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); background: var(--tint); }
.cards input:focus-visible + span { outline: 2px solid var(--accent); outline-offset: 2px; }
.choices { display: flex; flex-wrap: wrap; gap: 8px; margin: 16px 0; }
.choices button { display: flex; align-items: center; gap: 8px; }
kbd { font: 11px/16px var(--mono); padding: 0 5px; border: 1px solid currentColor; border-radius: 4px; opacity: .85; }

/* How it behaves. */
.settings { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px 40px; margin-top: 8px; }
.settings > div { display: grid; gap: 12px; align-content: start; }
.switch { display: flex; border: 1px solid var(--edge); border-radius: 6px; overflow: hidden; width: fit-content; max-width: 100%; }
.switch label { position: relative; cursor: pointer; }
.switch input { position: absolute; opacity: 0; inset: 0; width: 100%; height: 100%; margin: 0; cursor: pointer; }
.switch span { display: block; padding: 5px 16px; color: var(--text); font-weight: 500; }
.switch input:checked + span { background: var(--accent); color: var(--on-accent); }
.switch input:focus-visible + span { outline: 2px solid var(--accent); outline-offset: -4px; }
.switch input:checked:focus-visible + span { outline-color: var(--on-accent); }
.pair { display: flex; gap: 8px; }
.pair > div { flex: 1 1 auto; min-width: 0; } .pair .short { flex: 0 0 112px; }
.rules { display: flex; flex-wrap: wrap; gap: 8px; }
.rules:empty { display: none; }
.rules li { display: flex; align-items: center; gap: 8px; padding-left: 8px; border: 1px solid var(--line); border-radius: 6px; max-width: 100%; min-height: 28px; }
.rules li:not(:has(button)) { padding-right: 8px; }
.rules code { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.rules code + code { color: var(--muted); }
.rules button { min-height: 26px; padding: 0 8px; border: 0; background: none; color: var(--muted); }
.rules button:hover { color: var(--bad); }
.real .simulated { display: none; } /* a real terminal decides that */
summary { cursor: pointer; color: var(--accent); font-weight: 500; width: fit-content; }
summary + p { margin-top: 8px; }
details ul { list-style: disc; padding: 8px 0 8px 16px; display: grid; gap: 4px; overflow-wrap: anywhere; }

/* What the tills did. */
.filter { display: flex; gap: 8px 16px; align-items: center; margin: 8px 0; flex-wrap: wrap; }
.filter input[type="search"] { flex: 1 1 192px; width: auto; }
.row {
  display: grid; gap: 0 12px; align-items: baseline; padding: 8px 24px; margin: 0 -24px;
  grid-template-columns: 64px 32px minmax(80px, 144px) minmax(104px, 176px) minmax(96px, 1fr) 56px 40px;
  color: inherit; text-decoration: none; border-top: 1px solid var(--line);
}
.row span, .row time { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row.head { border: 0; padding: 4px 24px; color: var(--muted); font-size: 12px; }
.row.head span { overflow: visible; }
.row time, .took { color: var(--muted); }
.sum, .took { text-align: right; }
.row > :is(.sum, :nth-child(5)) { white-space: normal; overflow-wrap: anywhere; }
.row .sum { font-weight: 500; } .row .sum.warned { font-size: 12px; }
.row.head .sum { font-weight: 400; }
a.row:hover { background: var(--tint); }
a.row:focus-visible { outline-offset: -2px; }
.list { margin-bottom: -16px; overflow: hidden; border-radius: 0 0 8px 8px; }
#more:not([hidden]) { margin-top: 24px; }
#none { padding: 16px 0; }
.good { color: var(--good); } .bad { color: var(--bad); } .warned { color: var(--warn); }
.wait { color: var(--accent); font-weight: 500; }
.row .count { text-align: right; }
.row .count.warned::before { content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 6px; background: var(--warn); clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.facts { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 8px 16px; margin: 16px 0; }
.facts dt { color: var(--muted); } .facts dd { margin: 0; overflow-wrap: anywhere; }
.facts.small { gap: 4px 16px; font-size: 13px; }
#first p + p { margin-top: 8px; }
#first { order: -1; }

/* One transaction. */
#detail h2 { font-size: 20px; line-height: 28px; overflow-wrap: anywhere; }
h2:focus { outline: none; }
#detail h3 { font-size: 14px; color: var(--text); font-weight: 600; margin-bottom: 8px; }
.facts.line { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 8px 0 0; }
.facts.line div { display: flex; gap: 8px; }
#detail .bar { margin-bottom: 8px; }
#detail .bar h3 { margin-bottom: 0; }
.picture { overflow: hidden; }
.picture svg { display: block; margin: 0 auto; font: 12px var(--mono); }
.picture text { fill: var(--text); } .picture .dim { fill: var(--muted); }
.picture .life { stroke: var(--line); stroke-width: 2; }
.picture .work { fill: var(--tint); stroke: var(--accent); }
.picture .arrow { stroke: var(--accent); fill: none; stroke-width: 1.5; }
.picture .lost { stroke-dasharray: 4 4; stroke: var(--bad); }
.picture .mark { stroke: var(--bad); stroke-width: 2; } .picture .shut { stroke: var(--edge); stroke-width: 2; }
.picture .box { fill: var(--panel); stroke: var(--line); }
.raw { display: block; max-height: 240px; overflow: auto; padding: 12px; border-radius: 6px; background: var(--back); border: 1px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.raw b { color: var(--accent); font-weight: 600; } .raw i { color: var(--muted); font-style: normal; } .raw em { color: var(--bad); font-style: normal; }
.scroll { overflow-x: auto; margin-top: 8px; }
table { width: 100%; border-collapse: collapse; table-layout: fixed; }
th:nth-child(1) { width: 56px; } th:nth-child(2) { width: 80px; } th:nth-child(4) { width: 45%; }
th { text-align: left; font-weight: 500; font-size: 12px; color: var(--muted); }
th, td { padding: 6px 16px 6px 0; vertical-align: top; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
td:first-child code { color: var(--accent); font-weight: 600; }
td:nth-child(2) { color: var(--muted); text-align: right; } th:nth-child(2) { text-align: right; }
td:nth-child(3) { overflow-wrap: anywhere; min-width: 96px; }
.note { color: var(--warn); font-size: 13px; overflow-wrap: anywhere; margin-top: 4px; }
.note b { font-weight: 600; } .note + .raw { margin-top: 8px; }
.papers { display: flex; flex-wrap: wrap; gap: 24px; margin-top: 16px; }
.papers figure { width: 216px; }
.papers figcaption { font-size: 12px; color: var(--muted); margin-bottom: 8px; }
.papers .paper { border: 1px solid var(--line); }
dialog { margin: auto; max-width: 400px; padding: 24px; border: 1px solid var(--line); border-radius: 12px; background: var(--panel); color: var(--text); }
dialog::backdrop { background: #00000066; }
dialog .choices { margin: 16px 0 0; justify-content: flex-end; }

@media (max-width: 1000px) {
  .settings { grid-template-columns: minmax(0, 1fr); }
  .cards { grid-template-columns: 1fr 1fr; }
  .row { gap: 0 8px; grid-template-columns: 64px 24px minmax(80px, 1fr) auto 32px; }
  .row.head { display: none; }
  .row > :nth-child(5) { grid-area: 2 / 1 / 2 / 4; } .row > .took { grid-area: 2 / 4; }
  .row > :nth-child(7) { grid-area: 1 / 5; }
}
@media (max-width: 760px) {
  header { padding: 8px 16px; }
  main { grid-template-columns: minmax(0, 1fr); padding: 16px; gap: 16px; }
  .stage { position: static; max-width: 288px; margin: 0 auto; width: 100%; }
  .panel { padding: 12px 16px; }
  .printer .paper { max-height: 144px; }
  #detail h3 { width: 100%; }
  .name { order: -2; }
  #lang { order: -1; margin-left: auto; }
  table :is(th, td):nth-child(2) { display: none; }
  th:nth-child(1) { width: 56px; } th:nth-child(4) { width: 45%; }
  .row { padding: 8px 16px; margin: 0 -16px; gap: 0 4px; grid-template-columns: 60px 20px minmax(32px, 1fr) auto 28px; font-size: 13px; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
`;

/**
 * What it does, after a line that defines DATA. Neither backticks nor dollar-braces in here. In Bun
 * String.raw gives \u00B7 for a dot, which is the same in the strings of a script, and there only.
 */
const SCRIPT = String.raw`"use strict";

// ---------------------------------------------------------------- words

/** What the page says, in English and French. %1 is filled in. */
const TEXT = {
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
  refused: ["Refuse (AF 04)", "Refuser (AF 04)"],
  abandon: ["Abandon", "Abandonner"],
  forbidden: ["Forbid (AF 05)", "Interdire (AF 05)"],
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
  model: ["Model", "Modèle"],
  passesOn: ["passes on to", "relaie vers"],
  difference: ["1 known difference", "1 différence connue"],
  differences: ["%1 known differences", "%1 différences connues"],
  sources: [
    "In what it differs from the reference. In brackets: where it was seen, see PROTOCOL.md.",
    "En quoi il diffère de la référence. Entre parenthèses : la source, voir PROTOCOL.md.",
  ],
  when: ["Rules by amount", "Règles selon le montant"],
  whenAmount: ["Amount in cents, or * and last digits", "Montant en centimes, ou * et la fin"],
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
  wrong: ["", "erreur : "],
  notRead: ["What was before could not be read: ", "Ce qui précède n'a pas pu être lu : "],
  paid: ["approved", "acceptée"],
  waits: ["waits for you", "vous attend"],
  underWay: ["under way", "en cours"],
  unreadable: ["unreadable request", "demande illisible"],
  unreadableAnswer: ["unreadable answer", "réponse illisible"],
  gone: ["till gave up", "la caisse a renoncé"],
  lostAnswer: ["answer lost", "réponse perdue"],
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
  notSent: ["not received", "non reçue"],
  interim: ["AE 11 came first", "AE 11 a précédé"],
  copyNc: ["Copy as printf | nc", "Copier en printf | nc"],
  copyHex: ["Copy hex", "Copier l'hexa"],
  copyJson: ["Copy JSON", "Copier le JSON"],
  copied: ["Copied", "Copié"],
  customer: ["Customer's copy", "Exemplaire client"],
  merchant: ["Merchant's copy", "Exemplaire commerçant"],
};

let french = /^fr/i.test((navigator.languages || [navigator.language])[0] || "");
try {
  const kept = localStorage.getItem("language");
  if (kept) french = kept === "fr";
} catch { /* the browser keeps nothing */ }

const [ENGLISH, FRENCH] = [0, 1];
/** Which of an English and a French text is read. */
const language = () => french ? FRENCH : ENGLISH;
/** The text of a pair that is read; in French no line begins with a colon or the like. */
const pick = (pair) => french ? pair[FRENCH].replace(/ (?=[:;!?])/g, "\u00a0") : pair[ENGLISH];
const t = (key, about) => pick(TEXT[key]).replace("%1", () => about);

// ---------------------------------------------------------------- elements

const $ = (id) => document.getElementById(id);

/** Makes an element. Children are elements or text: text never becomes markup. */
function h(name, about, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(about || {})) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== ""));
  return node;
}

/** Makes an element of SVG. */
function s(name, about, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(about)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Changes a text only if it is another one: a live region says it again otherwise. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Text with its control characters to be seen. */
const visible = (text) =>
  text.replace(
    /[\x00-\x1f\x7f-\x9f]/g,
    (char) => "\\x" + char.charCodeAt(0).toString(16).padStart(2, "0"),
  );

const seconds = (milliseconds) =>
  Math.abs(milliseconds) < 1000
    ? milliseconds + " ms"
    : (milliseconds / 1000).toFixed(1).replace(".", french ? "," : ".") + " s";
const inBytes = (count) => count === 1 ? t("byte") : t("bytes", count);
const clock = (date) => new Date(date).toTimeString().slice(0, 8);

// ---------------------------------------------------------------- the protocol

const term = (tag, value) => {
  const codes = DATA.codes[tag];
  const code = tag === "AF" ? (value || "").slice(0, 2) : value;
  return codes && Object.hasOwn(codes, code) ? codes[code] : undefined;
};

/** Whether what should be an amount is none, such as 112.45. */
const isNoAmount = (CB = "") => /\D/.test(CB);

/** An amount as it is read in a language; as it came, and marked, if it is none. */
function money({ CB = "", CE = "" }, index = language()) {
  if (CB === "") return "";
  if (isNoAmount(CB)) return visible(CB.slice(0, 40)) + " (" + TEXT.noAmount[index] + ")";
  const [letters, decimals] = DATA.currencies[CE] || [];
  if (!letters || CB.length > 15) return visible((CB + " " + CE).trim().slice(0, 40));
  const digits = CB.replace(/^0+(?=\d)/, "").padStart(decimals + 1, "0");
  const at = digits.length - decimals;
  const whole = digits.slice(0, at).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const point = index === FRENCH ? "," : ".";
  return whole + (decimals ? point + digits.slice(at) : "") + "\u00a0" + letters;
}

const movesMoney = ({ CD }) => DATA.money.includes(CD);

/** What the terminal answered, whatever of it the till got. */
const decisionOf = ({ due, answer }) => due || answer;

/** A request with the amount that was paid, where an approval tells one. */
function paidOf(entry) {
  const { AE, CB, CE } = decisionOf(entry)?.message || {};
  return AE === "10" ? { ...entry.message, ...(CB && { CB }), ...(CE && { CE }) } : entry.message;
}

/** The amount that a request is about, if it is about one, and what of it was paid. */
function sumOf(entry) {
  if (!movesMoney(entry.message)) return "";
  const [asked, paid] = [money(entry.message), money(paidOf(entry))];
  return paid === asked || !asked ? paid : t("of", paid) + " " + asked;
}

function actionText({ CD }, index = language()) {
  return (term("CD", CD) || [])[index] || visible(CD || "").slice(0, 40) || "?";
}

/** The fields of a message and what is left of it. */
function fieldsOf(raw) {
  const fields = [];
  let at = 0;
  while (/^[A-Z]{2}\d{3}/.test(raw.slice(at, at + 5))) {
    const end = at + 5 + Number(raw.slice(at + 2, at + 5));
    if (end > raw.length) break;
    fields.push({
      tag: raw.slice(at, at + 2),
      size: raw.slice(at + 2, at + 5),
      value: raw.slice(at + 5, end),
    });
    at = end;
  }
  return { fields, rest: raw.slice(at) };
}

/** The receipts in ZT: CK tells of which kind the AK after it is. */
function receiptsOf(message) {
  const receipts = [];
  let kind = "";
  for (const { tag, value } of fieldsOf(message.ZT || "").fields) {
    if (tag === "CK") kind = value;
    if (tag !== "AK") continue;
    try {
      const text = atob(value.replace(/[\r\n]|=+[\r\n]*$/g, ""));
      receipts.push({ text, html: kind[2] === "1", merchant: kind[1] === "1" });
    } catch { /* no base64 */ }
  }
  return receipts;
}

function paper({ text, html }) {
  if (!html) {
    return h("div", { class: "paper" }, h("pre", {}, text.replace(/[^\n\x20-\x7e\xa0-\xff]/g, "")));
  }
  // Without a word in it the sandbox allows nothing: no script, no form, no way out.
  return h(
    "div",
    { class: "paper" },
    h("iframe", { sandbox: "", title: t("receipt"), srcdoc: text }),
  );
}

// ---------------------------------------------------------------- what is known

const MOST_KEPT = 1000; // transactions, as the terminal keeps them
const MOST_ROWS = 200; // that are shown before somebody asks for more

let settings = { waiting: [], when: {}, next: [] };
const known = new Map(); // transactions by number, in their order
let waiting = [];
let chosen; // of those that wait, if somebody has chosen one
let result; // the last answer, and until when it is on the screen
let opened; // the number of the one that is looked at
let shown = MOST_ROWS; // how many rows
let caught; // events that come while all is being read
let loaded = false; // whether all has been read
let isPart = false; // whether what was before could not be

function entryOf(number, connection, received, { raw, message }, warnings, error) {
  return {
    number,
    connection,
    received: +new Date(received),
    raw,
    message,
    warnings,
    error,
    interims: [],
  };
}

function fromTransaction(one) {
  const entry = entryOf(
    one.number,
    one.connection,
    one.received,
    one.request,
    one.warnings,
    one.error,
  );
  entry.interims = (known.get(one.number) || entry).interims;
  if (one.due) entry.due = one.due;
  if (one.answer) entry.answer = one.answer;
  if (one.answered) entry.took = new Date(one.answered) - new Date(one.received);
  entry.gone = one.gone !== undefined;
  entry.ended = one.ended !== undefined || one.closed !== undefined;
  return entry;
}

/** Takes an event; one that is known already changes nothing. */
function take(event) {
  const entry = known.get(event.transaction);
  if (event.event === "request" || event.event === "invalid") {
    // Numbers begin again after a reset.
    if (entry && entry.received !== +new Date(event.time)) return void sync();
    if (!entry) {
      known.set(
        event.transaction,
        entryOf(
          event.transaction,
          event.connection,
          event.time,
          event,
          event.warnings,
          event.error,
        ),
      );
      for (const [oldest, { node }] of known) {
        if (known.size <= MOST_KEPT) break;
        if (node) node.remove();
        known.delete(oldest);
        waiting = waiting.filter((number) => number !== oldest);
      }
    }
  } else if (event.event === "closed") {
    for (const one of known.values()) {
      if (one.connection !== event.connection) continue;
      if (!one.answer) one.ended = one.changed = true;
      if (one.number === opened) openSoon();
    }
  } else if (!entry) return;
  else if (event.event === "waiting") {
    if (!entry.answer && !waiting.includes(event.transaction)) waiting.push(event.transaction);
  } else if (event.event === "warning") {
    const { code, text, tag } = event;
    if (!entry.warnings.some((one) => one.code === code && one.text === text)) {
      entry.warnings.push({ code, text, ...(tag && { tag }) });
    }
  } else if (event.event === "gone") entry.gone = true;
  else if (event.event === "due" || event.event === "answer") {
    const { raw, message, lost, outcome = "", milliseconds } = event;
    const mayGoOn = settings.terminal || outcome.includes("pending");
    if (message.AE === "11" && entry.message.BA !== "1" && mayGoOn) {
      entry.interims.push({ at: milliseconds, bytes: raw.length });
    } else {
      entry[event.event] = { raw, message, lost };
      if (event.event === "answer") entry.took = milliseconds;
      waiting = waiting.filter((number) => number !== entry.number);
      if (entry.message.CD !== "I") result = { entry, until: performance.now() + 8000 };
      setTimeout(draw, 8050);
    }
  }
  if (entry) entry.changed = true;
  if (event.transaction !== undefined && event.transaction === opened) openSoon();
  refreshSoon();
  draw();
}

/** What an answer says, in words and as a class. */
function told({ message: { AE, AF } }, request) {
  if (AE === "10") return [movesMoney(request) ? t("paid") : pick(term("AE", AE)), "good"];
  if (AE === "01") return [pick(term("AF", AF) || term("AE", AE)), "bad"];
  return AE === "11" ? [pick(term("AE", AE)), "good"] : [t("unreadableAnswer"), "bad"];
}

/** How a transaction ended, in words and as a class. */
function endingOf(entry) {
  const { due, answer, interims, gone, ended, error, message } = entry;
  if (waiting.includes(entry.number)) return [(gone ? t("gone") + " · " : "") + t("waits"), "wait"];
  if (error) return [t("unreadable"), "bad"];
  if (due && (answer?.raw !== due.raw || answer.lost)) {
    const [said] = told(due, message);
    const isOver = answer || gone || ended;
    return isOver ? [t("notWhole", said), "bad"] : [t("notYet", said), "muted"];
  }
  if (!answer) {
    if (gone) return [t("gone"), "bad"];
    if (!ended) return [t("underWay"), "muted"];
    return interims.length > 0 ? [pick(term("AE", "11")), "good"] : [t("unanswered"), "bad"];
  }
  if (answer.lost) {
    const isPaid = answer.message.AE === "10" && movesMoney(message);
    return [(isPaid ? t("paid") + ", " : "") + t("lostAnswer"), "bad"];
  }
  return told(answer, message);
}

// ---------------------------------------------------------------- the interface

async function call(method, path, body) {
  const text = typeof body === "string";
  const response = await fetch("api/" + path, {
    method,
    ...(body !== undefined && {
      headers: { "content-type": text ? "text/plain" : "application/json" },
      body: text ? body : JSON.stringify(body),
    }),
  });
  const value = await response.json();
  if (!response.ok) throw new Error(value.error);
  return value;
}

/** Says what went wrong at the field it is about, or that nothing did. The interface is English. */
function complain(id, text = "", lead = t("wrong")) {
  $(id + "-error").replaceChildren(...(text ? [lead, h("span", { lang: "en" }, text)] : []));
  for (const field of document.querySelectorAll('[aria-describedby="' + id + '-error"]')) {
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }
}

/** Does something that the server may refuse, and says why beside the field. */
async function attempt(id, doing) {
  try {
    await doing();
    complain(id);
    return true;
  } catch (error) {
    complain(id, error.message);
    drawn = ""; // what the controls show is not what is set
    return false;
  } finally {
    refreshSoon();
  }
}

/** Takes what the terminal tells of its settings. */
function use(value) {
  settings = { ...settings, ...value };
  if (value.waiting) {
    const before = waiting;
    waiting = value.waiting.filter((number) => known.has(number));
    for (const number of [...before, ...waiting]) {
      if (known.has(number)) known.get(number).changed = true;
    }
  }
  draw();
}

let refreshing;
/** Reads the settings again, at most four times a second: the queue and who waits have changed. */
function refreshSoon() {
  refreshing ??= setTimeout(async () => {
    refreshing = undefined;
    try {
      use(await call("GET", "terminal"));
    } catch { /* the stream tells */ }
  }, 250);
}

/** Reads everything. Events that come meanwhile are taken after it. */
async function sync() {
  if (caught) return;
  caught = [];
  try {
    const [terminal, transactions] = await Promise.all([
      call("GET", "terminal"),
      // Where they are too much for this browser, it still shows what happens from now on.
      call("GET", "transactions").then((all) => {
        isPart = false;
        complain("try");
        return all;
      }, ({ message }) => {
        isPart = true;
        complain("try", message, t("notRead"));
        return [];
      }),
    ]);
    const entries = transactions.map(fromTransaction);
    for (const { node } of known.values()) if (node) node.remove();
    known.clear();
    for (const entry of entries) known.set(entry.number, entry);
    if (result && known.get(result.entry.number)?.received !== result.entry.received) {
      result = undefined;
    }
    use(terminal);
    loaded = true;
    if (opened !== undefined) openSoon();
  } finally {
    const events = caught;
    caught = undefined;
    events.forEach(take);
  }
}

let stream;
function listen() {
  stream = new EventSource("api/events");
  stream.onopen = () => {
    sync().then(() => broken(false), () => stream.onerror());
  };
  stream.onerror = () => {
    broken(true);
    stream.close();
    setTimeout(listen, 1000);
  };
  for (
    const name of ["request", "invalid", "warning", "waiting", "due", "answer", "gone", "closed"]
  ) {
    stream.addEventListener(name, ({ data }) => {
      const event = JSON.parse(data);
      if (caught) caught.push(event);
      else take(event);
    });
  }
}

function broken(is) {
  $("link").classList.toggle("broken", is);
  put($("link"), t(is ? "broken" : "live"));
}

/** Somebody else may have changed or reset it, which no event tells. */
setInterval(async () => {
  if (document.hidden || caught || $("link").classList.contains("broken")) return;
  refreshSoon();
  const last = [...known.values()].pop();
  if (!last) return;
  try {
    const [same] = await call("GET", "transactions?after=" + (last.number - 1));
    if (!same || +new Date(same.received) !== last.received) await sync();
  } catch { /* the stream tells */ }
}, 5000);

// ---------------------------------------------------------------- the terminal

const GLYPHS = {
  wave: "M6 9a5 5 0 0 1 0 6M10 6a10 10 0 0 1 0 12M14 3a15 15 0 0 1 0 18",
  done: "M4 13l5 5L20 6",
  failed: "M6 6l12 12M18 6L6 18",
};

/** What the screen of a real one would say. */
function screenOf(entry) {
  if (!entry) return { top: "", main: "PRÊT", sub: "" };
  const { message } = entry;
  const answer = decisionOf(entry);
  const top = ("CAISSE " + visible(message.CA || "").slice(0, 12)).trim();
  const action = actionText(message, FRENCH).toUpperCase();
  const moves = movesMoney(message) && !isNoAmount(message.CB);
  if (!result || result.entry !== entry) {
    const sub = !moves ? "PATIENTEZ" : message.CC === "00C" ? "INSÉREZ CHÈQUE" : "PRÉSENTEZ CARTE";
    return {
      top: moves ? top + " · " + action : top,
      main: moves ? money(message, FRENCH) : action,
      sub,
      glyph: moves ? "wave" : "",
    };
  }
  const { AE, AF = "" } = answer.message;
  const sum = moves ? money(paidOf(entry), FRENCH) : "";
  if (answer.lost) return { top, main: "LIAISON PERDUE", sub: "CAISSE ABSENTE", glyph: "failed" };
  if (AE === "10" || AE === "11") {
    const noun = {
      0: "PAIEMENT ACCEPTÉ",
      1: "CRÉDIT ACCEPTÉ",
      2: "ANNULATION ACCEPTÉE",
      7: "PAIEMENT ACCEPTÉ",
    };
    const main = AE === "11" ? "PRISE EN COMPTE" : noun[message.CD] || action + " OK";
    return {
      top: [top, sum].join("  "),
      main,
      sub: answer.message.ZT ? "TICKET EN COURS" : answer.message.CI === "1" ? "RETIREZ CARTE" : "",
      glyph: "done",
    };
  }
  if (AE !== "01") return { top, main: "ERREUR DE LIAISON", sub: "", glyph: "failed" };
  if (message.CD === "3" && AF === "07") {
    return {
      top,
      main: "DERNIERE TRANSACTION NON ABOUTIE",
      sub: "PAS DE DUPLICATA",
      glyph: "failed",
    };
  }
  if (message.CD === "3" && AF === "10") {
    return { top, main: "DUPLICATA IMPOSSIBLE", sub: "", glyph: "failed" };
  }
  const why = (term("AF", AF) || ["", "motif inconnu"])[1].toUpperCase();
  const main = {
    "04": "PAIEMENT REFUSÉ",
    "05": "CARTE INTERDITE",
    "06": "ABANDON",
    "11": "ABANDON",
    "08": "DÉLAI DÉPASSÉ",
  };
  return {
    top: [top, sum].join("  "),
    main: main[AF.slice(0, 2)] || "NON ABOUTI",
    sub: "AF " + visible(AF.slice(0, 2)) + " · " + why,
    glyph: "failed",
  };
}

/** The one that waits and is on the screen: the chosen one, else the oldest. */
function asked() {
  return known.get(waiting.includes(chosen) ? chosen : waiting[0]);
}

let printed;
function drawTerminal() {
  const question = asked();
  const isNew = result && performance.now() < result.until;
  const busy = [...known.values()].slice(-50).find((one) =>
    !one.answer && !one.ended && !one.gone && !one.error
  );
  const entry = question || (isNew ? result.entry : busy);
  const { top, main, sub, glyph } = screenOf(entry);
  put($("screen-top"), top);
  put($("screen-main"), main);
  put($("screen-sub"), sub);
  $("screen-main").classList.toggle("long", main.length > 13);
  $("glyph-path").setAttribute("d", GLYPHS[glyph] || "");
  $("device").classList.toggle("busy", Boolean(entry) && entry !== result?.entry);
  $("device").classList.toggle("done", Boolean(entry) && entry === result?.entry);
  for (const id of ["red", "yellow", "green"]) $(id).disabled = !question;
  const answer = result && decisionOf(result.entry);
  if (printed === answer) return;
  printed = answer;
  const papers = printed ? receiptsOf(printed.message).map(paper) : [];
  $("printer").hidden = papers.length === 0;
  const tear = h("button", { class: "quiet", click: () => $("printer").hidden = true }, t("tear"));
  $("printer").replaceChildren(...papers, tear);
}

// ---------------------------------------------------------------- a person decides

function card() {
  return document.querySelector('[name="card"]:checked')?.value || "";
}

let questioned; // the payment that is shown: what somebody does is about this one
let deciding; // the one that is being decided on here

async function decide(words) {
  const question = questioned;
  if (!question) return;
  deciding = question;
  const withCard = words === "success" && card() && movesMoney(question.message);
  const done = await attempt("answer", async () => {
    await call(
      "POST",
      "transactions/" + question.number + "/outcome",
      withCard ? words + "," + card() : words,
    );
    waiting = waiting.filter((number) => number !== question.number);
    question.changed = true;
  });
  if (!done) deciding = undefined;
  else if (questioned === question) correct();
  draw();
}

function correct() {
  $("card-").checked = true;
  $("answer-words").value = "";
  complain("answer");
}

const tillButtons = new Map();
function drawQuestion() {
  const question = asked();
  const { number, received } = questioned || {};
  if (question?.number !== number || question?.received !== received) {
    const isBegun = questioned !== deciding && (card() || $("answer-words").value);
    questioned = question;
    correct(); // what was meant for one payment is not for another
    if (isBegun && question) $("answer-error").textContent = t("another");
  } else questioned = question;
  const held = $("question").contains(document.activeElement) && document.activeElement;
  $("decide").hidden = !settings.interactive && !question;
  $("nobody").hidden = Boolean(question);
  $("question").hidden = !question;
  if (question) drawTills(question);
  if (held && !held.offsetParent) (tillButtons.get(question?.number) || $("decide-title")).focus();
}

function drawTills(question) {
  for (const [number, node] of tillButtons) {
    if (waiting.includes(number)) continue;
    node.remove();
    tillButtons.delete(number);
  }
  for (const number of waiting.slice(0, 50)) {
    const entry = known.get(number);
    const { message, received, gone } = entry;
    const node = tillButtons.get(number) || h(
      "button",
      {
        type: "button",
        click: () => {
          chosen = number;
          drawQuestion();
          draw();
        },
      },
      h("b"),
      h("span"),
    );
    if (!tillButtons.has(number)) $("tills").append(node);
    tillButtons.set(number, node);
    const what = (actionText(message) + " " + sumOf(entry)).trim();
    put(node.firstChild, t("till", visible(message.CA || "?").slice(0, 12)) + " · " + what);
    const since = Math.max(0, Math.round((Date.now() - received) / 1000));
    put(node.lastChild, since + " s" + (gone ? " · " + t("gone") : ""));
    node.setAttribute("aria-pressed", String(question.number === number));
  }
}
setInterval(() => waiting.length > 0 && draw(), 1000);

// ---------------------------------------------------------------- how it behaves

/** Words that complete what is typed after the last comma. */
function complete({ target }) {
  const [, before, typed] = /^(.*,|)(.*)$/s.exec(target.value);
  const fitting = Object.entries(DATA.words).filter(([word]) =>
    word.startsWith(typed.trim()) && (!settings.terminal || DATA.changes.includes(word))
  );
  $("words").replaceChildren(
    ...fitting.map(([word, help]) =>
      h("option", { value: before + word, label: word + " · " + pick(help) })
    ),
  );
}

function fill(id, value) {
  const field = $(id);
  if (document.activeElement !== field && !field.hasAttribute("aria-invalid")) field.value = value;
}

/** An outcome as it is read: a real terminal decides whether it is a success. */
const inWords = (outcome) => settings.terminal ? outcome.replace(/^success,?/, "") : outcome;

/** Says on the page and in its tab what this is. */
function entitle() {
  if (settings.port === undefined) return;
  put($("title"), t(settings.terminal ? "realTitle" : "title"));
  const where = opened === undefined ? "" : t("transaction", opened) + " · ";
  document.title = where + $("title").textContent;
}

let drawn = "";
function drawSettings() {
  const { outcome, duration, strict, exclusive, interactive, model, when, next, port, host = "" } =
    settings;
  const { terminal: real = "" } = settings;
  if (port === undefined) return;
  const now = JSON.stringify([settings, french]);
  if (now === drawn) return;
  drawn = now;
  entitle();
  put($("outcome-label"), t(real ? "change" : "outcome"));
  fill("outcome", inWords(outcome ?? ""));
  $("outcome").placeholder = outcome === null ? t("byFunction") : real ? t("unchanged") : "";
  $("when-words").placeholder = real ? "truncate" : "refused";
  fill("duration", String(duration));
  const isIdle = interactive && next.length === 0 && Object.keys(when).length === 0;
  $("duration").disabled = isIdle;
  if (isIdle) $("duration").title = t("durationIdle");
  else $("duration").removeAttribute("title");
  $(interactive ? "interactive" : "automatic").checked = true;
  $("strict").checked = strict;
  $("exclusive").checked = exclusive;
  document.body.classList.toggle("real", real !== "");
  $("where-real").hidden = real === "";
  put($("real-name"), real);
  const { is, known } = DATA.models[model] || { is: ["", ""], known: [] }; // a real one has none
  $("model").value = model || "";
  put($("model-name"), model || "");
  $("where-model").hidden = known.length === 0;
  $("differences").hidden = known.length === 0;
  put(
    $("difference-count"),
    known.length === 1 ? t("difference") : t("differences", known.length),
  );
  put($("model-is"), pick(is));
  $("difference-list").replaceChildren(
    ...known.map(({ source, text }) => h("li", {}, pick(text) + " (" + source + ")")),
  );
  $("next-clear").hidden = next.length === 0;
  const rule = (amount, words, remove) =>
    h("li", {}, amount && h("code", {}, amount), h("code", {}, words), remove || "");
  $("when").replaceChildren(
    ...Object.entries(when).map(([amount, words]) => {
      const { [amount]: _, ...others } = when;
      const click = () => change("when", { when: others });
      return rule(
        amount,
        inWords(words),
        h("button", { click, "aria-label": t("remove", amount) }, "×"),
      );
    }),
  );
  $("next").replaceChildren(
    ...next.slice(0, 50).map((one) => rule(one.register || "", inWords(one.outcome))),
  );
  put($("port"), String(port));
  put($("first-port"), String(port));
  const everywhere = host === "::" || host === "0.0.0.0";
  put($("address"), everywhere ? t("addressOf") : host);
  $("find").hidden = !everywhere;
}

function change(id, changes) {
  return attempt(id, async () => use(await call("PATCH", "terminal", changes)));
}

function onSubmit(id, doing) {
  $(id + "-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!await attempt(id, doing)) return;
    for (const field of $(id + "-form").querySelectorAll("input")) field.value = "";
  });
}

onSubmit("when", async () => {
  const when = { ...settings.when, [$("when-amount").value.trim()]: $("when-words").value };
  use(await call("PATCH", "terminal", { when }));
});
onSubmit("next", async () => {
  const register = $("next-register").value.trim();
  const query = register ? "?register=" + encodeURIComponent(register) : "";
  use(await call("POST", "next" + query, $("next-words").value));
});
$("answer-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if ($("answer-words").value.trim()) decide($("answer-words").value);
});
$("outcome").addEventListener("change", () => {
  const words = $("outcome").value;
  change("outcome", { outcome: settings.terminal && !words.trim() ? "success" : words });
});
$("duration").addEventListener("change", () => {
  const text = $("duration").value.trim().replace(",", ".");
  change("duration", { duration: text === "" || isNaN(text) ? text : Number(text) });
});
for (const id of ["outcome", "duration"]) {
  // A change event comes only where the value is another one than before: Enter says it anyway.
  $(id).addEventListener("input", () => complain(id));
}
for (const id of ["strict", "exclusive"]) {
  $(id).addEventListener("change", () => change("outcome", { [id]: $(id).checked }));
}
$("model").addEventListener("change", () => change("model", { model: $("model").value }));
for (const id of ["automatic", "interactive"]) {
  $(id).addEventListener("change", () => change("outcome", { interactive: id === "interactive" }));
}
$("next-clear").addEventListener(
  "click",
  () => attempt("next", async () => use(await call("DELETE", "next"))),
);
for (const id of ["reset", "clear"]) $(id).addEventListener("click", () => $("ask").showModal());
$("ask-no").addEventListener("click", () => $("ask").close());
$("ask-yes").addEventListener("click", () => {
  $("ask").close();
  attempt("outcome", async () => {
    use(await call("POST", "reset"));
    result = undefined;
    await sync();
  });
});
for (const id of ["try", "try-first"]) {
  $(id).addEventListener("click", () => attempt("try", () => call("POST", "try")));
}
for (const field of document.querySelectorAll(".words")) {
  field.addEventListener("input", complete);
  field.addEventListener("focus", complete);
}

// ---------------------------------------------------------------- what the tills did

/** The row of a transaction, made when it is seen for the first time. */
function rowOf(entry) {
  const { message, warnings, took } = entry;
  if (entry.node && !entry.changed && entry.french === french) return entry.node;
  const link = entry.node?.firstChild ||
    h(
      "a",
      { class: "row", href: "#/t/" + entry.number },
      h("time"),
      h("span", {}, h("span", { class: "unseen" }), h("span")),
      h("span"),
      h("span", { class: "sum" }),
      h("span"),
      h("span", { class: "took" }),
      h("span", {}, h("span"), h("span", { class: "unseen" })),
    );
  entry.node ??= h("li", {}, link);
  const [ending, tone] = endingOf(entry);
  const texts = [
    clock(entry.received),
    visible(message.CA || "").slice(0, 40),
    actionText(message),
    sumOf(entry),
    ending,
    took === undefined ? "" : seconds(took),
    warnings.length ? String(warnings.length) : "",
  ];
  const cells = [...link.children];
  texts.forEach((text, at) =>
    put(at === 1 ? cells[1].lastChild : at === 6 ? cells[6].firstChild : cells[at], text)
  );
  cells[3].className = isNoAmount(message.CB) ? "sum warned" : "sum";
  cells[4].className = tone;
  cells[6].className = warnings.length ? "count warned" : "count";
  put(cells[1].firstChild, t("register") + " "); // for who hears it, without the heads of the columns
  const noun = t(warnings.length === 1 ? "warning" : "warnings");
  put(cells[6].lastChild, warnings.length ? " " + noun : "");
  entry.changed = false;
  entry.french = french;
  entry.hay =
    (texts.join(" ") + " " + entry.raw.slice(0, 4096) + warnings.map(({ text }) => text).join(" "))
      .toLowerCase();
  return entry.node;
}

function drawList() {
  if (!loaded) return;
  const needle = $("filter").value.trim().toLowerCase();
  const warned = $("only-warned").checked;
  const rows = [];
  let fitting = 0;
  for (const entry of [...known.values()].reverse()) {
    if (warned && entry.warnings.length === 0) continue;
    if (needle !== "") {
      rowOf(entry); // which tells what is searched
      if (!entry.hay.includes(needle)) continue;
    }
    fitting++;
    if (rows.length < shown) rows.push(rowOf(entry));
  }
  const wanted = new Set(rows);
  const list = $("list");
  for (const node of [...list.children]) if (!wanted.has(node)) node.remove();
  let at = list.firstChild;
  for (const node of rows) {
    if (node === at) at = at.nextSibling;
    else list.insertBefore(node, at);
  }
  $("first").hidden = known.size > 0 || isPart;
  $("log").hidden = known.size === 0;
  $("none").hidden = fitting > 0;
  $("more").hidden = fitting <= shown;
  put($("count"), fitting === known.size ? String(fitting) : fitting + " / " + known.size);
}
$("filter").addEventListener("input", () => draw());
$("only-warned").addEventListener("change", () => draw());
$("more").addEventListener("click", () => {
  shown += MOST_ROWS;
  draw();
});

// ---------------------------------------------------------------- one transaction

/** The conversation in time: pauses in proportion, but never so short that two arrows touch. */
function picture(one, interims, width) {
  const { request, answer, gone, closed, received, answered, ended } = one;
  const segments = (message, at) =>
    message.segments || [{ milliseconds: at, bytes: message.raw.length }];
  const moments = segments(request, 0).map((part) => ({
    at: part.milliseconds,
    bytes: part.bytes,
    from: 0,
  }));
  for (const { at, bytes } of interims) moments.push({ at, bytes, from: 1 });
  const took = new Date(answered) - new Date(received);
  if (answer && answer.raw && answered) {
    for (const part of segments(answer, took)) {
      moments.push({
        at: part.milliseconds,
        bytes: part.bytes,
        from: 1,
        lost: answer.lost === "all",
      });
    }
  }
  if (gone) moments.push({ at: gone.milliseconds, mark: "gone", side: 0 });
  if (closed) {
    moments.push({
      at: closed.milliseconds,
      mark: closed.by === "pos" ? "tillCloses" : "terminalCloses",
      side: closed.by === "pos" ? 0 : 1,
    });
  }
  moments.sort((a, b) => a.at - b.at);
  const floor = moments.length > 30 ? 8 : 32;
  const lasted = Math.max(1, moments.at(-1).at - moments[0].at);
  let y = 72;
  let before = moments[0].at;
  const pauses = [];
  for (const moment of moments) {
    if (moment !== moments[0]) {
      const step = Math.max(floor, (moment.at - before) * 240 / lasted);
      if (step > 56) pauses.push({ y: y + step / 2, text: seconds(moment.at - before) });
      y += step;
    }
    moment.y = y;
    before = moment.at;
  }
  const isOpen = !ended && !closed;
  const bottom = y + (isOpen ? 64 : 32);
  const [left, right] = [width < 480 ? 80 : 120, width - (width < 480 ? 48 : 120)];
  const middle = (left + right) / 2;
  const said = moments.map(({ at, bytes, mark, from }) =>
    at + " ms: " + (mark ? t(mark) : (from ? t("answer") : t("request")) + ", " + inBytes(bytes))
  );
  const drawing = s("svg", {
    width,
    height: bottom + 8,
    viewBox: [0, 0, width, bottom + 8].join(" "),
    role: "img",
    "aria-label": said.slice(0, 40).join("; "),
  });
  const text = (x, y, anchor, text, about) =>
    drawing.append(s("text", { x, y, "text-anchor": anchor, ...about }, text));
  for (const [x, name] of [[left, t("register")], [right, t("terminal")]]) {
    drawing.append(s("line", { x1: x, x2: x, y1: 32, y2: bottom, class: "life" }));
    drawing.append(s("rect", { x: x - 40, y: 8, width: 80, height: 24, rx: 6, class: "box" }));
    text(x, 24, "middle", name);
  }
  const last = moments.filter(({ from, mark }) => from === 1 || mark).at(-1);
  const start = moments.filter(({ from }) => from === 0).at(-1).y;
  const end = isOpen ? bottom : (last || { y: start }).y;
  drawing.append(
    s("rect", {
      x: right - 4,
      y: start,
      width: 8,
      height: Math.max(8, end - start),
      rx: 2,
      class: "work",
    }),
  );
  for (const { y, text: pause } of pauses) text(middle, y + 4, "middle", pause, { class: "dim" });
  let labelled = -Infinity;
  for (const { at, bytes, from, lost, mark, side, y } of moments) {
    const isLabelled = y - labelled >= 16;
    if (isLabelled) {
      labelled = y;
      text(
        left - (width < 480 ? 12 : 16),
        y + 4,
        "end",
        Math.abs(at) < 10000 ? at + " ms" : seconds(at),
        {
          class: "dim",
        },
      );
    }
    if (mark) {
      const x = side ? right : left;
      const kind = mark === "gone" ? "mark" : "shut";
      drawing.append(
        s("path", { d: "M" + (x - 5) + " " + (y - 5) + "l10 10m0-10l-10 10", class: kind }),
      );
      text(side ? x - 16 : x + 16, y + 4, side ? "end" : "start", t(mark));
      continue;
    }
    const [x1, x2] = from ? [right - 6, lost ? middle : left + 2] : [left + 2, right - 6];
    const way = Math.sign(x2 - x1);
    drawing.append(
      s("path", {
        d: "M" + x1 + " " + y + "H" + x2 + "m" + -way * 7 + "-4l" + way * 7 + " 4l" + -way * 7 +
          " 4",
        class: lost ? "arrow lost" : "arrow segment",
      }),
    );
    if (isLabelled) {
      text(middle, y - 6, "middle", inBytes(bytes) + (lost ? " · " + t("notSent") : ""));
    }
  }
  return drawing;
}

function warningNode({ code, text }) {
  return h(
    "p",
    { class: "note" },
    h("b", {}, french && Object.hasOwn(DATA.warnings, code) ? DATA.warnings[code] : code),
    " · ",
    h("span", { lang: "en" }, visible(text)),
  );
}

const MOST_FIELDS = 100; // that are shown one by one

/** A message field by field, each warning at the field it is about. */
function fieldsNode({ raw, message }, warnings) {
  const { fields, rest } = fieldsOf(raw);
  const few = fields.slice(0, MOST_FIELDS);
  const more = raw.slice(
    few.reduce((sum, { value }) => sum + 5 + value.length, 0),
    raw.length - rest.length,
  );
  const text = h("code", { class: "raw", tabindex: "0", role: "group", "aria-label": t("value") });
  for (const { tag, size, value } of few) {
    text.append(h("b", {}, tag), h("i", {}, size), visible(value));
  }
  text.append(visible(more), rest && h("em", {}, visible(rest)));
  const left = new Set(warnings);
  const rows = few.map(({ tag, size, value }) => {
    const label = Object.hasOwn(DATA.tags, tag) ? pick(DATA.tags[tag]) : t("unknownTag");
    const means = tag === "CB" && message.CE
      ? money({ CB: value, CE: message.CE })
      : term(tag, value) && pick(term(tag, value));
    const here = [...left].filter((warning) => warning.tag === tag);
    here.forEach((warning) => left.delete(warning));
    return h(
      "tr",
      {},
      h("td", {}, h("code", {}, tag)),
      h("td", {}, String(Number(size))),
      h("td", {}, h("code", {}, visible(value))),
      h(
        "td",
        {},
        label + (means ? " : ".slice(french ? 0 : 1) + means : ""),
        ...here.map(warningNode),
      ),
    );
  });
  const head = h(
    "tr",
    {},
    ...["tag", "size", "value", "meaning"].map((key) => h("th", { scope: "col" }, t(key))),
  );
  return [
    ...[...left].map(warningNode),
    text,
    rows.length > 0
      ? h(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": t("meaning") },
        h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows)),
      )
      : "",
    fields.length > few.length
      ? h("p", { class: "muted" }, t("rest", fields.length - few.length))
      : "",
  ];
}

/** Bytes as the format of printf, which gives them back in sh and bash. */
function printf(raw) {
  return raw.replace(/%/g, "%%").replace(
    /^-|[^ -~]|['\\]/g,
    (char) => "\\" + char.charCodeAt(0).toString(8).padStart(3, "0"),
  );
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not over plain HTTP from another machine
    const field = h("textarea", { class: "unseen" });
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  $("said").textContent = "";
  requestAnimationFrame(() => $("said").textContent = t("copied"));
}

function copyButton(key, text) {
  const button = h("button", {
    click: async () => {
      await copy(text());
      button.textContent = t("copied");
      setTimeout(() => button.textContent = t(key), 1500);
    },
  }, t(key));
  return button;
}

let pictured; // draws the picture again in another width
function drawDetail(one) {
  const entry = fromTransaction(one);
  const [ending, tone] = endingOf(entry);
  const { message, raw } = one.request;
  const host = location.hostname.replace(/^\[|\]$/g, "");
  const fact = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const drawing = h("div", { class: "picture" });
  pictured = () => {
    const width = Math.min(720, drawing.clientWidth || 720);
    drawing.replaceChildren(picture(one, entry.interims, width));
  };
  const receipts = one.answer ? receiptsOf(one.answer.message) : [];
  const interim = one.outcome?.pending && entry.interims.length === 0
    ? h("p", { class: "muted" }, t("interim"))
    : "";
  const ofAnswer = (warning) =>
    warning.tag && warning.tag in (one.answer?.message || {}) && !(warning.tag in message);
  $("detail").replaceChildren(
    h("p", {}, h("a", { href: "#/" }, "← " + t("back"))),
    h(
      "div",
      { class: "panel" },
      h(
        "h2",
        { id: "detail-title", tabindex: "-1" },
        one.error ? t("unreadable") : (actionText(message) + " " + sumOf(entry)).trim(),
      ),
      h(
        "dl",
        { class: "facts line" },
        fact(t("transaction", one.number), h("span", { class: tone }, ending)),
        fact(t("time"), clock(one.received)),
        fact(t("register"), visible(message.CA || "")),
        fact(t("from"), h("code", {}, one.address.replace("::ffff:", ""))),
        fact(t("connection"), String(one.connection)),
      ),
    ),
    h("section", { class: "panel" }, h("h3", {}, t("timeline")), drawing, interim),
    h(
      "section",
      { class: "panel" },
      h(
        "div",
        { class: "bar" },
        h("h3", {}, t("request")),
        copyButton(
          "copyNc",
          () => "printf '" + printf(raw) + "' | nc " + host + " " + settings.port,
        ),
        copyButton(
          "copyHex",
          () => [...raw].map((char) => char.charCodeAt(0).toString(16).padStart(2, "0")).join(""),
        ),
        copyButton("copyJson", () => JSON.stringify(one, null, 2)),
      ),
      ...fieldsNode(one.request, one.warnings.filter((warning) => !ofAnswer(warning))),
    ),
    one.due
      ? h("section", { class: "panel" }, h("h3", {}, t("due")), ...fieldsNode(one.due, []))
      : "",
    h(
      "section",
      { class: "panel" },
      h("h3", {}, t(one.due ? "sent" : "answer")),
      ...(one.answer
        ? fieldsNode(one.answer, one.warnings.filter(ofAnswer))
        : [h("p", { class: "muted" }, t("noAnswer"))]),
      receipts.length > 0
        ? h(
          "div",
          { class: "papers" },
          ...receipts.map((receipt) =>
            h(
              "figure",
              {},
              h("figcaption", {}, t(receipt.merchant ? "merchant" : "customer")),
              paper(receipt),
            )
          ),
        )
        : "",
    ),
  );
  pictured();
}
addEventListener("resize", () => pictured && opened !== undefined && pictured());

let opening;
/** Reads the open transaction again, when what happens to it has paused. */
function openSoon() {
  opening ??= setTimeout(() => {
    opening = undefined;
    open();
  }, 150);
}

let drawnDetail = "";
/** Reads the open transaction and draws it, if it is another than before. */
async function open(isNew = false) {
  const number = opened;
  if (number === undefined) return;
  const one = await call("GET", "transactions/" + number).catch(() => undefined);
  if (number !== opened || $("link").classList.contains("broken") && !one) return;
  const text = JSON.stringify([one, french, waiting.includes(number)]);
  if (!isNew && text === drawnDetail) return;
  drawnDetail = text;
  const missing = h("h2", { id: "detail-title", tabindex: "-1" }, t("notKept", number));
  if (one) drawDetail(one);
  else $("detail").replaceChildren(h("p", {}, h("a", { href: "#/" }, "← " + t("back"))), missing);
  if (isNew) $("detail-title").focus({ preventScroll: true });
}

function route() {
  const [, number] = /^#\/t\/(\d{1,15})$/.exec(location.hash) || [];
  const before = opened;
  opened = number === undefined ? undefined : Number(number);
  $("detail").hidden = opened === undefined;
  $("home").hidden = opened !== undefined;
  entitle();
  if (opened === undefined) {
    pictured = undefined;
    if (before !== undefined) known.get(before)?.node?.firstChild.focus();
    return;
  }
  open(true);
  // On a narrow page it stands below the terminal.
  if ($("detail").getBoundingClientRect().top > innerHeight || before !== undefined) {
    $("detail").scrollIntoView();
  }
}
addEventListener("hashchange", route);

// ---------------------------------------------------------------- all of it

let isDue = false;
/** Draws what has changed, once a frame however much comes. */
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawTerminal();
    drawQuestion();
    drawSettings();
    drawList();
  });
}

/** Puts the fixed words into the page, in the language that is read. */
function speak() {
  document.documentElement.lang = french ? "fr" : "en";
  for (const node of document.querySelectorAll("[data-t]")) put(node, t(node.dataset.t));
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.id === "filter") node.placeholder = t("filter");
    if (node.id === "next-register") node.placeholder = t("register");
  }
  for (const id of ["red", "yellow", "green"]) {
    $(id).setAttribute("aria-label", t(id));
    $(id).title = t(id);
  }
  put($("lang"), french ? "English" : "Français");
  $("lang").lang = french ? "en" : "fr";
  broken($("link").classList.contains("broken"));
  $("model").replaceChildren(
    ...Object.entries(DATA.models).map(([name, { is }]) =>
      h("option", { value: name }, name + " · " + pick(is))
    ),
  );
  const now = card();
  const option = (name, label, read) => {
    const input = h("input", { type: "radio", name: "card", value: name, id: "card-" + name });
    input.checked = name === now;
    const icon = s(
      "svg",
      { viewBox: "0 0 16 16", "aria-hidden": "true" },
      s("path", {
        d: read === "2"
          ? "M4 6a4 4 0 0 1 0 4M7 4a8 8 0 0 1 0 8M10 2a12 12 0 0 1 0 12"
          : read === "1"
          ? "M2 4h12v8H2zM2 8h4m4 0h4M6 4v8m4-8v8"
          : "",
      }),
    );
    return h(
      "label",
      {},
      input,
      h("span", {}, h("b", {}, label), name && h("code", {}, name), icon),
    );
  };
  $("cards").replaceChildren(
    $("cards").firstElementChild,
    option("", t("anyCard")),
    ...Object.entries(DATA.cards).map(([name, [, read]]) =>
      option(name, pick(DATA.words[name]), read)
    ),
  );
  $("choices").replaceChildren(
    ...Object.entries(DATA.keys).map(([key, words]) =>
      h(
        "button",
        { class: words === "success" ? "main" : "", click: () => decide(words) },
        t(words),
        h("kbd", { "aria-hidden": "true" }, key === "Enter" ? "↵" : key.toUpperCase()),
      )
    ),
  );
  printed = undefined;
  if (opened !== undefined) open(true);
  draw();
}

$("lang").addEventListener("click", () => {
  french = !french;
  try {
    localStorage.setItem("language", french ? "fr" : "en");
  } catch { /* the browser keeps nothing */ }
  speak();
});
$("red").addEventListener("click", () => decide("abandon"));
$("yellow").addEventListener("click", correct);
$("green").addEventListener("click", () => decide("success"));
addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const words = Object.hasOwn(DATA.keys, key) ? DATA.keys[key] : undefined;
  const { target, ctrlKey, metaKey, altKey, repeat } = event;
  if (!words || ctrlKey || metaKey || altKey || repeat || $("ask").open || !questioned) return;
  if (opened !== undefined && opened !== questioned.number) return; // somebody reads of another
  const typed = "select, input:not([type=radio], [type=checkbox]), #list, #detail";
  if (target.closest(typed)) return;
  if (key === "Enter" && target.closest("a, button, summary, [type=checkbox]")) return;
  event.preventDefault();
  decide(words);
});

speak();
route();
listen();
`;

/** The resources of the page, by their paths. */
export const PAGE: Readonly<
  Record<"/" | "/page.css" | "/page.js", { type: string; text: string }>
> = {
  "/": { type: "text/html; charset=utf-8", text: HTML },
  "/page.css": { type: "text/css; charset=utf-8", text: CSS },
  "/page.js": {
    type: "text/javascript; charset=utf-8",
    text: `const DATA = ${JSON.stringify(data())};\n${SCRIPT}`,
  },
};
