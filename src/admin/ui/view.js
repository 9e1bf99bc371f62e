// Parts that several views are made of.

import { h } from "./dom.js";

export const panel = (title, ...body) =>
  h("section", { class: "panel", "aria-label": title, "data-key": `panel-${title}` }, h("h2", null, title), body);

export const empty = (text) => h("p", { class: "empty" }, text);

// A state in words with a shape and a colour: the shape and the word carry it alone.
const SHAPES = { ok: "●", warn: "▲", bad: "■", off: "○", busy: "◆" };
export const badge = (tone, text) =>
  h("span", { class: `badge ${tone}` }, h("i", { "aria-hidden": "true" }, SHAPES[tone] ?? "●"), text);

// A table that turns into cards on a phone. `columns` are `[title, cell, class]`.
export function table(label, columns, rows, keyOf) {
  const head = columns.map(([title, , kind]) => h("th", { scope: "col", class: kind ?? null }, title));
  const line = (row, index) =>
    h(
      "tr",
      { "data-row": true, "data-key": keyOf ? keyOf(row) : null },
      columns.map(([title, cell, kind]) =>
        h("td", { class: kind ?? null, "data-label": typeof title === "string" ? title : title.textContent }, cell(row, index)),
      ),
    );
  return h(
    "table",
    { "aria-label": label },
    h("thead", null, h("tr", null, head)),
    h("tbody", null, rows.map(line)),
  );
}

// A list of names and values; pairs without a value are left out.
export const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => h("div", { "data-key": name }, h("dt", null, name), h("dd", null, value))),
  );

// A button that does something; `data` are the values for its action.
export function button(action, text, data = {}, { allowed = true, danger = false, label } = {}) {
  const values = Object.fromEntries(Object.entries(data).map(([name, value]) => [`data-${name}`, value]));
  const why = allowed ? null : "Your token may look at everything and change nothing";
  const attributes = { type: "button", "data-do": action, class: danger ? "danger" : null, disabled: !allowed, title: why };
  // By its action, so that a button never turns into another one under the pointer.
  return h("button", { ...attributes, "aria-label": label, "data-key": `do-${action}-${text}`, ...values }, text);
}

// A link into a view with these parameters.
export const link = (view, parameters, text, more = {}) => {
  const given = Object.entries(parameters ?? {}).filter(([, value]) => value);
  const search = new URLSearchParams(given).toString();
  return h("a", { href: `#${view}${search ? `?${search}` : ""}`, ...more }, text);
};
