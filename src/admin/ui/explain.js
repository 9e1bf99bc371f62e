// Where a request would go, and why: the routes, the key, the walk along the backends.

import { Problem } from "./api.js";
import { h } from "./dom.js";
import { words } from "./format.js";
import { badge, facts, panel } from "./view.js";

// Routes and backends that are shown beside those that were taken.
const SHOWN = 50;

// What was asked and answered last; it stays while other views are open.
let entered = {};
let answer = null;

function render() {
  const field = (name, label, hint, more = {}) => {
    const shared = { id: `explain-${name}`, name, autocomplete: "off", spellcheck: "false", ...more };
    const value = entered[name] ?? "";
    const control = name === "headers" ? h("textarea", shared, value) : h("input", { ...shared, value });
    return h("div", { class: "field" }, h("label", { for: shared.id }, label), control, hint && h("small", null, hint));
  };
  const form = h(
    "form",
    { class: "explain-form", "data-form": "explain", "aria-label": "A request to explain" },
    field("url", "URL", "wss://chat.example.com/ws/7, or a path", { required: true, placeholder: "/ws/lobby" }),
    field("method", "Method", null, { placeholder: "GET" }),
    field("client", "Client's address", null, { placeholder: "127.0.0.1" }),
    field("as", "As principal", "counts as a valid credential with this subject"),
    field("headers", "Headers", "one per line, such as cookie: sid=1", { rows: 3 }),
    h("button", { class: "primary" }, "Explain"),
  );
  return [
    panel("Request", form),
    h("div", { "aria-live": "polite", id: "explanation", "data-key": "explanation" }, answer && explanation(answer)),
  ];
}

function question(form) {
  entered = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  const asked = entered.url.startsWith("/") ? { path: entered.url } : { url: entered.url };
  if (entered.method) asked.method = entered.method;
  if (entered.client) asked.client = entered.client;
  if (entered.as) asked.claims = { sub: entered.as };
  for (const line of entered.headers.split("\n").filter((line) => line.trim())) {
    const [, name, value] = /^\s*([^:]+?)\s*:\s*(.*)$/.exec(line) ?? [];
    if (!name) throw new Problem(0, `not a header, which is NAME: VALUE: ${line}`);
    const headers = (asked.headers ??= Object.create(null));
    headers[name] = Object.hasOwn(headers, name) ? [headers[name], value].flat() : value;
  }
  return asked;
}

async function explain(app, _, form) {
  answer = await app.api.call("POST", "/v1/resolve", { body: question(form) });
  app.draw();
  document.querySelector("#explanation")?.scrollIntoView({ block: "nearest" });
}

function explanation(found) {
  const { request, route, principal, affinity, choice, refusal, redirect, target } = found;
  const refused = refusal && [badge("bad", `${refusal.status} ${words(refusal.reason)}`), h("small", null, refusal.detail)];
  const stages = [
    ["Request", h("code", null, `${request.method} ${request.host}${request.path}`), request.websocket ? "WebSocket upgrade" : "ordinary HTTP"],
    ["Route", route ? badge("ok", route) : badge("bad", "no route matches")],
    refusal && ["Refused", refused],
    principal && ["Principal", h("b", null, principal)],
    redirect && ["Redirect", `${redirect.status} ${redirect.location ?? ""}`],
    affinity && ["Key", h("b", null, affinity.key), `from ${affinity.source}${affinity.issued ? ", a new cookie" : ""}`],
    choice && ["Backend", choice.backend ? badge("ok", choice.backend) : badge("bad", "none is eligible"), `${words(choice.policy)} of ${choice.upstream}`],
  ].filter(Boolean);
  return panel(
    "Answer",
    h("ol", { class: "stages" }, stages.map(([name, ...what]) => h("li", { "data-key": name }, h("h3", null, name), what.map((one) => h("div", null, one))))),
    choice && walk(choice),
    target && facts([["The backend gets", h("code", null, target)]]),
    h("h3", null, "Routes, the most specific first"),
    h("ol", { class: "considered" }, found.routes.filter((one, index) => one.matched || index < SHOWN).map((one) => h("li", { class: one.matched ? "taken" : "" }, h("b", null, one.route), " ", one.verdict))),
    remarks("Not checked here", found.not_checked),
    remarks("Remarks", found.notes),
  );
}

// The backends in the order of the walk.
function walk({ walk: steps }) {
  const line = (step) =>
    h("li", { class: step.verdict === "taken" ? "taken" : "" }, h("b", null, step.backend), badge(step.verdict === "taken" ? "ok" : "off", words(step.verdict)), h("small", null, step.reason));
  return [h("h3", null, "Walk along the backends"), h("ol", { class: "walk" }, steps.filter((step, index) => step.verdict === "taken" || index < SHOWN).map(line))];
}

const remarks = (title, list) => list.length > 0 && [h("h3", null, title), h("ul", null, list.map((one) => h("li", null, one)))];

export default { id: "explain", title: "Explain", render, actions: { explain } };
