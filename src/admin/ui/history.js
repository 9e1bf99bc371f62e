// What changed, when, by whom, with the difference; and the sessions that ended.

import { h } from "./dom.js";
import { time, words } from "./format.js";
import { badge, empty, link, panel } from "./view.js";

const PAGE = 50;
const SPANS = [
  ["10m", "10 minutes"],
  ["1h", "an hour"],
  ["1d", "a day"],
  ["", "all that is in memory"],
];
const CLASSES = [
  ["changes", "Changes"],
  ["sessions", "Sessions"],
];

// Kinds that are not good news, and those that are under way.
const TONES = {
  bad: ["backend_ejected", "configuration_refused", "document_refused", "certificate_failed", "source_lost", "handover_failed", "events_lost"],
  warn: ["certificate_expiring", "drain_stopped", "node_stopping"],
  busy: ["drain_began", "rebalance_began", "handover_began", "order", "session_moved"],
};

function tone(event) {
  if (event.kind === "backend_health") return event.to === "unhealthy" ? "bad" : "ok";
  const [found] = Object.entries(TONES).find(([, kinds]) => kinds.includes(event.kind)) ?? ["ok"];
  return found;
}

const asked = ({ parameters }) => ({
  class: parameters.get("class") ?? "changes",
  since: parameters.get("since") ?? "1h",
  upstream: parameters.get("upstream"),
  principal: parameters.get("principal"),
  session: parameters.get("session"),
  operator: parameters.get("operator"),
  cursor: parameters.get("cursor"),
});

const load = (app) => app.api.get("/v1/history", { ...asked(app), limit: PAGE });

function render(app) {
  const { items, next, memory } = app.data;
  const given = asked(app);
  const choice = (name, label, options) =>
    h(
      "div",
      { class: "field" },
      h("label", { for: `history-${name}` }, label),
      h("select", { id: `history-${name}`, name, "data-change": "filter" }, options.map(([value, text]) => h("option", { value, selected: given[name] === value }, text))),
    );
  const field = (name, label) =>
    h("div", { class: "field" }, h("label", { for: `history-${name}` }, label), h("input", { id: `history-${name}`, name, type: "search", value: given[name] ?? "", autocomplete: "off", spellcheck: "false" }));
  const kept = memory[given.class];
  return [
    h("form", { class: "filter", "data-form": "filter", role: "search" }, choice("class", "What", CLASSES), choice("since", "Of the last", SPANS), field("upstream", "Upstream"), field("principal", "Principal"), field("operator", "By operator"), h("button", null, "Search")),
    panel(
      given.class === "sessions" ? "Sessions, the newest first" : "Changes, the newest first",
      items.length > 0 ? h("ol", { class: "timeline" }, items.map(entry)) : empty("Nothing of that kind happened."),
      h("p", { class: "pages" }, kept?.oldest && h("small", null, `memory reaches back to ${time(kept.oldest)}`), given.cursor && link("history", { ...given, cursor: "" }, "← newest"), next && link("history", { ...given, cursor: next }, "older →")),
    ),
  ];
}

// One event: when, what, by whom, and the difference.
export function entry(event) {
  const who = event.operator ?? event.source;
  const about = [event.upstream && event.backend ? `${event.upstream}/${event.backend}` : event.upstream, event.route, event.principal, event.client].filter(Boolean);
  const number = [event.revision !== undefined && `revision ${event.revision}`, event.generation !== undefined && `generation ${event.generation}`].filter(Boolean);
  return h(
    "li",
    { "data-key": event.id, "data-row": true },
    h("time", { datetime: event.time, title: event.time }, time(event.time)),
    h(
      "div",
      { class: "what" },
      badge(tone(event), words(event.kind)),
      " ",
      event.text,
      h("small", null, [who && `by ${who}`, ...about, ...number].filter(Boolean).map((part, index) => (index > 0 ? ` · ${part}` : part)), event.session && [" · ", link("history", { class: "sessions", since: "1d", session: event.session }, event.session)]),
      (event.documents ?? []).map(difference),
    ),
  );
}

function difference({ key, change, lines = [], more }) {
  const kind = (line) => (line.startsWith("+") ? "add" : line.startsWith("-") ? "cut" : "");
  return h(
    "details",
    { "data-key": `${change}-${key}`, open: lines.length <= 12 },
    h("summary", null, `${change} `, h("b", null, key)),
    h("div", { class: "diff" }, lines.map((line) => h("div", { class: kind(line) }, line)), more && h("div", null, "…")),
  );
}

function filter(app, _, element) {
  const form = element.form ?? element;
  const entered = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  app.open("history", entered.filter(([name, value]) => value || name === "since"));
}

export default { id: "history", title: "History", load, render, actions: { filter } };
