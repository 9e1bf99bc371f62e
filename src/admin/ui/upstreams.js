// Each upstream as its ring, with its backends beside it: share, load, health, and what can be
// ordered.

import { path } from "./api.js";
import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, duration, millis, percent, plural, words } from "./format.js";
import { orders } from "./orders.js";
import { progress } from "./overview.js";
import { condition, ring } from "./ring.js";
import { badge, button, empty, link, panel, table } from "./view.js";

// Upstreams and backends on one page.
const PAGE = 6;
const BACKENDS = 50;

function chosen({ upstreams, parameters }) {
  const [name, text] = [parameters.get("name"), parameters.get("search")?.toLowerCase() ?? ""];
  return upstreams.filter((one) => (name ? one.name === name : one.name.toLowerCase().includes(text)));
}

async function load(app) {
  const from = Number(app.parameters.get("from") ?? 0);
  const shown = chosen(app).slice(from, from + PAGE);
  return Promise.all(shown.map(({ name }) => app.api.get(path`/v1/upstreams/${name}`)));
}

function render(app) {
  const all = chosen(app);
  const from = Number(app.parameters.get("from") ?? 0);
  const search = app.parameters.get("search") ?? "";
  const form = h(
    "form",
    { class: "filter", "data-form": "search", role: "search" },
    h(
      "div",
      { class: "field" },
      h("label", { for: "upstream-search" }, "Upstream"),
      h("input", { id: "upstream-search", name: "search", type: "search", value: search, autocomplete: "off" }),
    ),
    h("button", null, "Search"),
    (app.parameters.get("name") || search) && link("upstreams", {}, "All upstreams"),
  );
  const turn = (to, text) => link("upstreams", { search, from: String(to) }, text);
  return [
    app.upstreams.length > 1 && form,
    app.data.length === 0 && empty("No upstream of this name."),
    app.data.map((upstream) => card(app, upstream)),
    h("p", { class: "pages" }, from > 0 && turn(Math.max(0, from - PAGE), "← before"), from + PAGE < all.length && turn(from + PAGE, "more →")),
  ];
}

function card(app, upstream) {
  const { name, policy, probe, backends, removed, rebalance, panicking } = upstream;
  const everyone = [...backends, ...removed.map((one) => ({ ...one, share: 0 }))];
  const runs = everyone.filter((one) => one.drain);
  const moving = rebalance && ["running", "waiting", "paused"].includes(rebalance.state);
  return panel(
    name,
    h(
      "p",
      { class: "about" },
      [words(policy), probe ? `probe ${probe}` : "no probe", plural(backends.length, "backend"), upstream.bounded_load && `bounded load ${upstream.bounded_load}`].filter(Boolean).join(" · "),
      " ",
      panicking && badge("bad", "health is ignored"),
    ),
    levels(upstream),
    h(
      "div",
      { class: "upstream" },
      h("figure", null, ring(upstream), h("figcaption", null, "outside: keys, by health · inside: live sessions")),
      table(`Backends of ${name}`, columns(app, upstream, everyone), everyone.slice(0, BACKENDS), (one) => one.id),
    ),
    everyone.length > BACKENDS && h("p", null, `and ${count(everyone.length - BACKENDS)} more`),
    (runs.length > 0 || moving) &&
      h(
        "ul",
        { class: "progress", "aria-live": "off" },
        runs.map(({ id, drain }) => progress(`drain-${id}`, `Drain of ${id}`, drain, drain.total - drain.left, drain.total)),
        moving && progress("rebalance", "Rebalancing", rebalance, rebalance.moved + rebalance.closed, rebalance.moved + rebalance.closed + rebalance.left),
      ),
    h(
      "p",
      { class: "actions" },
      moving
        ? button("stop-rebalance", "End the rebalancing", { upstream: name }, { allowed: app.operates })
        : policy !== "removed" && button("rebalance", "Rebalance…", { upstream: name }, { allowed: app.operates }),
      link("sessions", { upstream: name }, "Sessions"),
    ),
  );
}

// Backends by preference, and how much of its keys each level takes; nothing if there is one level.
function levels({ name, levels, spills }) {
  if (!levels?.length) return null;
  const tone = (one) => (one.takes >= 1 ? "ok" : one.well > 0 ? "warn" : "bad");
  return [
    spills > 0 && h("p", null, badge("warn", `${percent(spills)} of its keys spill over`)),
    table(
      `Levels of ${name}`,
      [
        ["Level", (one) => one.name],
        ["Well", (one) => `${count(one.well)} of ${count(one.members - one.draining)}`, "number"],
        ["Takes", (one) => badge(tone(one), percent(one.takes)), "number"],
        ["Sessions", (one) => count(one.sessions), "number"],
      ],
      levels,
      (one) => one.name,
    ),
  ];
}

const isEligible = (one) => one.state === "active" && one.health !== "unhealthy" && !one.ejected;

const sum = (backends, name) => backends.reduce((total, one) => total + one[name], 0);

function columns(app, upstream, backends) {
  const most = Math.max(1, ...backends.map((one) => one.sessions));
  // Sessions that a backend may have under the bounded load: a multiple of its share among those that
  // are eligible.
  const eligible = upstream.backends.filter(isEligible);
  const crowd = { sessions: sum(eligible, "sessions") + 1, weight: sum(eligible, "weight") };
  const bound = (one) => Math.ceil((upstream.bounded_load * crowd.sessions * one.weight) / crowd.weight - 1e-9);
  const load = (one) => {
    const limit = upstream.bounded_load && isEligible(one) ? bound(one) : null;
    const scale = Math.max(most, limit ?? 0);
    const tone = limit && one.sessions >= limit ? "warn" : "plain";
    const text = limit ? `${count(one.sessions)} of ${count(limit)}` : count(one.sessions);
    return h("span", { class: "with-bar" }, bar(one.sessions / scale, tone, limit ? { mark: limit / scale } : {}), link("sessions", { upstream: upstream.name, backend: one.id }, text, { "aria-label": `${plural(one.sessions, "session")} of ${one.id}` }));
  };
  return [
    ["Backend", (one, index) => h("span", { class: "backend" }, h("span", { class: "index" }, index + 1), h("b", null, one.id), one.address !== one.id && h("small", null, one.address), one.zone && h("small", null, `zone ${one.zone}`), one.priority > 0 && h("small", null, `priority ${one.priority}`))],
    ["Health", health],
    ["Keys", (one) => (one.share > 0 ? percent(one.share) : "–"), "number"],
    ["Sessions", load, "number"],
    ["Probe", (one) => millis(one.probe_ms), "number"],
    ["Orders", (one) => actions(app, upstream, one), "do"],
  ];
}

function health(backend) {
  const [tone, word] = condition(backend);
  const why = backend.reason ?? (backend.ejected && `${words(backend.ejected.reason)}, for ${duration(backend.ejected.seconds_left)}`);
  const ordered = backend.ordered && `ordered by an operator; configured: ${backend.configured}`;
  return [badge(tone, word), why && h("small", null, why), ordered && h("small", null, ordered)];
}

function actions(app, { name }, { id, state, ordered, configured, drain, sessions }) {
  const data = { upstream: name, backend: id, sessions };
  const make = (action, text, danger) => button(action, text, data, { allowed: app.operates, danger, label: `${text.replace("…", "")} ${id}` });
  if (state === "removed") return drain?.state === "running" ? make("pause", "Pause") : drain?.state === "paused" ? make("resume", "Go on") : null;
  return h(
    "span",
    { class: "buttons" },
    ordered && ordered !== configured && make("undo", "Undo"),
    !ordered && configured !== "active" && make("activate", "Activate"),
    drain?.state === "running" && make("pause", "Pause"),
    drain?.state === "paused" && make("resume", "Go on"),
    state !== "draining" && make("drain", "Drain…"),
    state === "active" && make("disable", "Disable…"),
  );
}

const actionsOfView = {
  ...orders,
  search: (app, _, form) => app.open("upstreams", { search: new FormData(form).get("search") }),
};

export default { id: "upstreams", title: "Upstreams", load, render, actions: actionsOfView };
