// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-check
/// <reference lib="dom" />
/**
 * The page of one simulated terminal in a browser, seen and steered. It calls the HTTP interface and
 * nothing else, so what it does a script can do too. What a till has sent gets into the page as text
 * only.
 *
 * This file puts the parts together: which of them draw, in which language, and when they begin.
 *
 * @module
 */
import { drawSettings, entitle, speakSettings } from "./behaviour.js";
import { open, route } from "./detail.js";
import { $, input, put } from "./elements.js";
import { drawExam, routeExam } from "./exam.js";
import { drawList } from "./list.js";
import { listen, showLink } from "./live.js";
import { drawQuestion, speakQuestion } from "./question.js";
import { draw, drawsWith, state } from "./state.js";
import { drawTerminal, printAgain } from "./terminal.js";
import { changeLanguage, french, t, textOf } from "./texts.js";

/** Puts the fixed words into the page, in the language that is read. */
function speak() {
  document.documentElement.lang = french ? "fr" : "en";
  for (const node of document.querySelectorAll("[data-t]")) {
    put(node, textOf(node.getAttribute("data-t") ?? ""));
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", textOf(node.getAttribute("data-label") ?? ""));
  }
  input("filter").placeholder = t("filter");
  input("next-register").placeholder = t("register");
  for (const id of /** @type {const} */ (["red", "yellow", "green"])) {
    $(id).setAttribute("aria-label", t(id));
    $(id).title = t(id);
  }
  put($("lang"), french ? "English" : "Français");
  $("lang").lang = french ? "en" : "fr";
  showLink();
  speakSettings();
  speakQuestion();
  printAgain();
  if (state.opened !== undefined) open(true);
  draw();
}

$("lang").addEventListener("click", () => {
  changeLanguage();
  speak();
});
addEventListener("hashchange", () => {
  route();
  routeExam();
  entitle();
});

drawsWith(drawTerminal, drawQuestion, drawSettings, drawList, drawExam);
speak();
route();
routeExam();
listen();
