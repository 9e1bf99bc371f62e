// Keyboard shortcuts. They rest while something is typed or a dialog is open.

import { $, h, update } from "./dom.js";

const typing = (target) => target.closest("input, textarea, select, [contenteditable]");

// `views` get the digits 1 to 9 in their order; `commands` are `[key, text, run]`.
export function listen(views, commands) {
  const shortcuts = new Map(commands.map(([key, , run]) => [key, run]));
  views.forEach((view, index) => shortcuts.set(String(index + 1), () => (location.hash = `#${view.id}`)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (typing(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const run = shortcuts.get(event.key);
    if (!run) return;
    event.preventDefault();
    run();
  });
  const rows = [...views.map((view, index) => [index + 1, view.title]), ...commands.map(([key, text]) => [key, text])];
  update($("#keys"), rows.map(([key, text]) => [h("dt", null, h("kbd", null, key)), h("dd", null, text)]));
}

// Moves the focus among the rows of the view.
export function step(by) {
  const rows = [...document.querySelectorAll("main [data-row]")];
  if (rows.length === 0) return;
  const at = rows.indexOf(document.activeElement?.closest("[data-row]"));
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  (next.querySelector("a, button:not([disabled])") ?? next).focus();
}
