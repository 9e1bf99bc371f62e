// Requests that got no backend's whole answer: how many by reason, and which.

import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, plural, time, words } from "./format.js";
import { badge, empty, link, panel, table } from "./view.js";

const PAGE = 50;
const FILTERS = [
  ["reason", "Reason"],
  ["client", "Client"],
  ["request_id", "Request id"],
  ["route", "Route"],
];

// What to look at, by reason; the others explain themselves.
const ADVICE = {
  no_route: "no route has this host and path: try Explain",
  no_backend: "look at the upstream's backends",
  origin: "the route's origins do not allow the page",
  credential_missing: "the request brings none of the credentials that the route takes",
  credential_expired: "look at the clocks, and at how clients renew",
  forbidden: "the credential is good, a condition of the route is not met",
};

const filters = ({ parameters }) =>
  Object.fromEntries(FILTERS.map(([name]) => [name, parameters.get(name) ?? ""]).filter(([, value]) => value));

const load = (app) => app.api.get("/v1/refusals", { ...filters(app), limit: PAGE, cursor: app.parameters.get("cursor") });

function byReason({ refusals, first }) {
  const reasons = Object.entries(refusals).filter(([, total]) => total > 0);
  reasons.sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...reasons.map(([, total]) => total));
  const columns = [
    ["Reason", ([reason]) => [link("refusals", { reason }, words(reason)), ADVICE[reason] && h("small", null, ADVICE[reason])]],
    ["Since the start", ([, total]) => h("span", { class: "with-bar" }, bar(total / most, "warn"), count(total)), "number"],
    ["Since you look", ([reason, total]) => count(total - (first[reason] ?? 0)), "number"],
  ];
  const all = reasons.reduce((sum, [, total]) => sum + total, 0);
  return panel(
    "By reason",
    reasons.length > 0 ? table("Refusals by reason", columns, reasons, ([reason]) => reason) : empty("Nothing was refused since the start."),
    reasons.length > 0 && h("small", null, plural(all, "refusal")),
  );
}

const columns = [
  ["When", (one) => h("time", { datetime: one.time }, time(one.time))],
  ["Status", (one) => badge(one.status >= 500 ? "bad" : "warn", one.status)],
  ["Why", (one) => [h("b", null, words(one.reason)), h("small", null, one.detail ?? one.text)]],
  ["Route", (one) => [one.route ?? "–", one.authenticator && h("small", null, `by ${one.authenticator}`)]],
  ["Client", (one) => link("refusals", { client: one.client }, one.client)],
  ["Request", (one) => [h("code", null, `${one.host ?? ""}${one.target ?? ""}`), one.request_id && h("small", null, one.request_id)]],
];

function render(app) {
  const { items, next } = app.data;
  const given = filters(app);
  const field = ([name, label]) =>
    h("div", { class: "field" }, h("label", { for: `refusal-${name}` }, label), h("input", { id: `refusal-${name}`, name, type: "search", value: given[name] ?? "", autocomplete: "off", spellcheck: "false" }));
  return [
    byReason(app.traffic),
    h("form", { class: "filter", "data-form": "search", role: "search" }, FILTERS.map(field), h("button", null, "Search"), Object.keys(given).length > 0 && link("refusals", {}, "All refusals")),
    panel(
      "The newest first",
      items.length > 0 ? table("Refused requests", columns, items, (one) => one.id) : empty("None in memory matches."),
      h("p", { class: "pages" }, app.parameters.get("cursor") && link("refusals", given, "← newest"), next && link("refusals", { ...given, cursor: next }, "older →")),
    ),
  ];
}

function search(app, _, form) {
  const entered = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  app.open("refusals", entered.filter(([, value]) => value));
}

export default { id: "refusals", title: "Refusals", load, render, actions: { search } };
