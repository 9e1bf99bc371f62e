// Live sessions: search, sort, look into one, close.

import { h } from "./dom.js";
import { bytes, count, duration, millis, plural, rate } from "./format.js";
import { closeSession } from "./session.js";
import { badge, button, empty, link, table } from "./view.js";

const PAGE = 50;
// Over which rates are measured.
const INTERVAL = "500ms";
const FILTERS = [
  ["principal", "Principal"],
  ["route", "Route"],
  ["upstream", "Upstream"],
  ["backend", "Backend"],
];
const MORE = [
  ["client", "Client or network"],
  ["host", "Host"],
  ["key", "Key"],
  ["request_id", "Request id"],
  ["min_age", "At least this old", "10m"],
  ["min_idle", "Silent for at least", "30s"],
];
const SORTS = [
  ["", "Oldest first"],
  ["age", "Youngest first"],
  ["-message_rate", "Most messages per second"],
  ["-byte_rate", "Most bytes per second"],
  ["-messages", "Most messages"],
  ["-bytes", "Most bytes"],
  ["-idle", "Longest idle"],
  ["-round_trip", "Longest round trip"],
  ["-in_flight", "Most in flight"],
  ["expires", "Right expires first"],
  ["-moves", "Most moves"],
];

const named = ({ parameters }, names) =>
  Object.fromEntries(names.map(([name]) => [name, parameters.get(name) ?? ""]).filter(([, value]) => value));

const filters = (app) => named(app, [...FILTERS, ...MORE, ["sort"]]);

function load(app) {
  const given = filters(app);
  const interval = given.sort?.endsWith("_rate") ? INTERVAL : null;
  return app.api.get("/v1/sessions", { ...given, interval, limit: PAGE, cursor: app.parameters.get("cursor") });
}

const who = (one) => one.principal ?? one.client;
const messages = ({ text, binary }) => text + binary;

// What the list is sorted by, where no other column has it.
const EXTRA = {
  "-message_rate": ["Messages/s", (one) => rate(one.rate?.messages_per_second ?? 0), "number"],
  "-byte_rate": ["Bytes/s", (one) => bytes(one.rate?.bytes_per_second ?? 0), "number"],
  "-round_trip": ["Round trip", (one) => millis(Math.max(one.round_trip_client_ms ?? 0, one.round_trip_backend_ms ?? 0)), "number"],
  "-in_flight": ["In flight", (one) => bytes(one.in_flight_to_client.held + one.in_flight_to_client.queued + one.in_flight_to_backend.held + one.in_flight_to_backend.queued), "number"],
  expires: ["Expires", (one) => (one.expires ? duration((new Date(one.expires) - Date.now()) / 1000) : "never"), "number"],
  "-moves": ["Moves", (one) => one.resumes, "number"],
};

const columns = (app, sort) =>
  [
    ["Session", (one) => link("session", { id: one.id }, h("b", null, who(one)), { "aria-label": `Session ${one.id} of ${who(one)}` })],
    ["Route", (one) => one.route],
    ["Backend", (one) => [one.upstream, h("small", null, one.backend)]],
    ["Client", (one) => one.client],
    EXTRA[sort],
    ["Age", (one) => duration(one.age_seconds), "number"],
    ["Idle", (one) => duration(one.idle_seconds), "number"],
    ["Messages", (one) => `↑ ${count(messages(one.to_backend))} ↓ ${count(messages(one.to_client))}`, "number"],
    ["Bytes", (one) => bytes(one.to_backend.bytes + one.to_client.bytes), "number"],
    ["Orders", (one) => (one.closing ? badge("warn", "closing") : button("close", "Close…", { id: one.id, of: who(one) }, { allowed: app.operates, danger: true, label: `Close the session of ${who(one)}` })), "do"],
  ].filter(Boolean);

function form(given) {
  const field = ([name, label, hint]) =>
    h("div", { class: "field" }, h("label", { for: `filter-${name}` }, label), h("input", { id: `filter-${name}`, name, type: "search", value: given[name] ?? "", placeholder: hint, autocomplete: "off", spellcheck: "false" }));
  const options = SORTS.map(([value, text]) => h("option", { value, selected: (given.sort ?? "") === value }, text));
  return h(
    "form",
    { class: "filter", "data-form": "search", role: "search" },
    FILTERS.map(field),
    h("div", { class: "field" }, h("label", { for: "filter-sort" }, "Order"), h("select", { id: "filter-sort", name: "sort", "data-change": "search" }, options)),
    h("button", { class: "primary" }, "Search"),
    Object.keys(given).length > 0 && link("sessions", {}, "All sessions"),
    h("details", { class: "more", open: MORE.some(([name]) => given[name]) }, h("summary", null, "More filters"), h("div", { class: "filter" }, MORE.map(field))),
  );
}

function render(app) {
  const { items, next, unanswered, matched } = app.data;
  const given = filters(app);
  // Only a sorted list has looked at all that match.
  const all = matched == null ? "" : `${count(matched)} match, `;
  const shown = `${plural(items.length, "session")} on this page, ${all}${count(app.status.sessions)} live`;
  return [
    form(given),
    unanswered?.length > 0 && badge("warn", `workers ${unanswered.join(", ")} did not answer; their sessions are missing`),
    h(
      "section",
      { class: "panel", "aria-label": "Sessions" },
      items.length > 0 ? table("Sessions", columns(app, given.sort), items, (one) => one.id) : empty("No live session matches."),
      h("p", { class: "pages" }, h("small", null, shown), app.parameters.get("cursor") && link("sessions", given, "← first page"), next && link("sessions", { ...given, cursor: next }, "more →")),
    ),
  ];
}

const actions = {
  search: (app, _, element) => {
    const entered = [...new FormData(element.form ?? element)].map(([name, value]) => [name, value.trim()]);
    app.open("sessions", entered.filter(([, value]) => value));
  },
  close: closeSession,
};

export default { id: "sessions", title: "Sessions", load, render, actions };
