// SPDX-License-Identifier: GPL-3.0-or-later
// @ts-nocheck: TypeScript knows no text imports
/**
 * The files of this folder that a browser gets, imported as text: so a runtime needs no permission
 * to read them, and a compiled program has them in it. Each import stands here by itself, or a
 * compiler would not find it.
 *
 * @module
 */

/** Imports each file, by its name. They fail where a runtime has no text imports. */
export const FILES: Readonly<Record<string, () => Promise<{ readonly default: string }>>> = {
  "index.html": () => import("./index.html", { with: { type: "text" } }),
  "style.css": () => import("./style.css", { with: { type: "text" } }),
  "terminal.css": () => import("./terminal.css", { with: { type: "text" } }),
  "home.css": () => import("./home.css", { with: { type: "text" } }),
  "detail.css": () => import("./detail.css", { with: { type: "text" } }),
  "exam.css": () => import("./exam.css", { with: { type: "text" } }),
  "app.js": () => import("./app.js", { with: { type: "text" } }),
  "api.js": () => import("./api.js", { with: { type: "text" } }),
  "behaviour.js": () => import("./behaviour.js", { with: { type: "text" } }),
  "data.js": () => import("./data.js", { with: { type: "text" } }),
  "detail.js": () => import("./detail.js", { with: { type: "text" } }),
  "elements.js": () => import("./elements.js", { with: { type: "text" } }),
  "exam.js": () => import("./exam.js", { with: { type: "text" } }),
  "list.js": () => import("./list.js", { with: { type: "text" } }),
  "live.js": () => import("./live.js", { with: { type: "text" } }),
  "meaning.js": () => import("./meaning.js", { with: { type: "text" } }),
  "picture.js": () => import("./picture.js", { with: { type: "text" } }),
  "question.js": () => import("./question.js", { with: { type: "text" } }),
  "state.js": () => import("./state.js", { with: { type: "text" } }),
  "terminal.js": () => import("./terminal.js", { with: { type: "text" } }),
  "told.js": () => import("./told.js", { with: { type: "text" } }),
  "texts.js": () => import("./texts.js", { with: { type: "text" } }),
};
