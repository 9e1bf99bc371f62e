// Questions and short messages.

import { $, h, update } from "./dom.js";

const SHOWN = 8000;

// Shows a message for some seconds; faults stay until they are closed.
export function toast(text, { fault = false } = {}) {
  const close = h("button", { type: "button", class: "icon", "aria-label": "Dismiss" }, "×");
  const item = h("div", { class: fault ? "toast fault" : "toast", role: fault ? "alert" : null }, h("span", null, text), close);
  close.addEventListener("click", () => item.remove());
  const box = $("#toasts");
  box.append(item);
  while (box.children.length > 4) box.firstChild.remove();
  if (!fault) setTimeout(() => item.remove(), SHOWN);
}

// Asks before something is done. `fields` are `{ name, label, value, hint, options }`. Resolves to
// the values that were entered, or to null.
export function ask({ title, text, yes, danger = false, fields = [] }) {
  const dialog = $("#confirm");
  update($("#confirm-title"), title);
  update(
    $("#confirm-body"),
    text && h("p", null, text),
    fields.map((field) => h("div", { class: "field", "data-key": `${title}-${field.name}` }, input(field))),
  );
  const button = $("#confirm-yes");
  update(button, yes);
  button.className = danger ? "primary danger" : "primary";
  for (const { name, value = "" } of fields) dialog.querySelector(`[name="${name}"]`).value = value;
  dialog.returnValue = "";
  dialog.showModal();
  (dialog.querySelector("[data-first]") ?? button).focus();
  return new Promise((resolve) => {
    const closed = () => {
      // The event of the question before may come late, when this one is open already.
      if (dialog.open) return;
      dialog.removeEventListener("close", closed);
      const entered = Object.fromEntries(new FormData(dialog.querySelector("form")));
      resolve(dialog.returnValue === "yes" ? entered : null);
    };
    dialog.addEventListener("close", closed);
  });
}

function input({ name, label, hint, options, first, rows }) {
  const id = `ask-${name}`;
  const shared = { id, name, autocomplete: "off", "data-first": first === true };
  let control = h("input", { ...shared, type: "text", spellcheck: "false" });
  if (options) control = h("select", shared, options.map(([value, text]) => h("option", { value }, text)));
  else if (rows) control = h("textarea", { ...shared, rows });
  return [h("label", { for: id }, label), control, hint && h("small", null, hint)];
}

// Asks for the token; `fault` is why the last one was not accepted.
export function askToken(fault) {
  const dialog = $("#login");
  update($("#login-fault"), fault ?? "");
  $("#token").value = "";
  if (!dialog.open) dialog.showModal();
  $("#token").focus();
  return new Promise((resolve) => {
    const form = dialog.querySelector("form");
    form.addEventListener("submit", () => resolve($("#token").value.trim()), { once: true });
  });
}
