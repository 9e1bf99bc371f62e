// Live sessions: search, look into one, close.

import { h } from "./dom.js";
import { bytes, count, duration, plural } from "./format.js";
import { closeSession } from "./session.js";
import { badge, button, empty, link, table } from "./view.js";

const PAGE = 50;
const FILTERS = [
  ["principal", "Principal"],
  ["route", "Route"],
  ["upstream", "Upstream"],
  ["backend", "Backend"],
];

const filters = ({ parameters }) =>
  Object.fromEntries(FILTERS.map(([name]) => [name, parameters.get(name) ?? ""]).filter(([, value]) => value));

const load = (app) => app.api.get("/v1/sessions", { ...filters(app), limit: PAGE, cursor: app.parameters.get("cursor") });

export const messages = ({ text, binary }) => text + binary;

const columns = (app) => [
  ["Session", (one) => link("session", { id: one.id }, h("b", null, one.principal ?? one.client), { "aria-label": `Session ${one.id} of ${one.principal ?? one.client}` })],
  ["Route", (one) => one.route],
  ["Backend", (one) => [one.upstream, h("small", null, one.backend)]],
  ["Client", (one) => one.client],
  ["Age", (one) => duration(one.age_seconds), "number"],
  ["Idle", (one) => duration(one.idle_seconds), "number"],
  ["Messages", (one) => `↑ ${count(messages(one.to_backend))} ↓ ${count(messages(one.to_client))}`, "number"],
  ["Bytes", (one) => bytes(one.to_backend.bytes + one.to_client.bytes), "number"],
  ["Orders", (one) => (one.closing ? badge("warn", "closing") : button("close", "Close…", { id: one.id, of: one.principal ?? one.client }, { allowed: app.operates, danger: true, label: `Close the session of ${one.principal ?? one.client}` })), "do"],
];

function render(app) {
  const { items, next, unanswered } = app.data;
  const given = filters(app);
  const field = ([name, label]) =>
    h("div", { class: "field" }, h("label", { for: `filter-${name}` }, label), h("input", { id: `filter-${name}`, name, type: "search", value: given[name] ?? "", autocomplete: "off", spellcheck: "false" }));
  const form = h("form", { class: "filter", "data-form": "search", role: "search" }, FILTERS.map(field), h("button", { class: "primary" }, "Search"), Object.keys(given).length > 0 && link("sessions", {}, "All sessions"));
  const shown = `${plural(items.length, "session")} on this page, ${count(app.status.sessions)} live`;
  return [
    form,
    unanswered?.length > 0 && badge("warn", `workers ${unanswered.join(", ")} did not answer; their sessions are missing`),
    h(
      "section",
      { class: "panel", "aria-label": "Sessions" },
      items.length > 0 ? table("Sessions", columns(app), items, (one) => one.id) : empty("No live session matches."),
      h("p", { class: "pages" }, h("small", null, shown), app.parameters.get("cursor") && link("sessions", given, "← first page"), next && link("sessions", { ...given, cursor: next }, "more →")),
    ),
  ];
}

const actions = {
  search: (app, _, form) => {
    const entered = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
    app.open("sessions", entered.filter(([, value]) => value));
  },
  close: closeSession,
};

export default { id: "sessions", title: "Sessions", load, render, actions };
