// The picture first: what is wrong, the traffic, the rings, what is under way, the fleet.

import { bar } from "./chart.js";
import { path } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, duration, percent, plural, secondsSince, time } from "./format.js";
import { entry } from "./history.js";
import { condition, ring } from "./ring.js";
import { tiles } from "./traffic.js";
import { healthPanel } from "./verdict.js";
import { badge, facts, link, panel, table } from "./view.js";

// Rings on the first page; the view of upstreams has all.
const RINGS_MAX = 6;
const LEGEND_MAX = 4;
const CHANGES = 5;

async function load({ api, upstreams }) {
  // Those with most sessions are what people look for.
  const shown = [...upstreams].sort((one, other) => other.sessions - one.sessions).slice(0, RINGS_MAX);
  const rings = await Promise.all(shown.map(({ name }) => api.get(path`/v1/upstreams/${name}`)));
  const [quotas, changes] = await Promise.all([api.get("/v1/quotas"), api.get("/v1/history", { limit: CHANGES })]);
  return { rings, quotas, changes: changes.items };
}

function render(app) {
  const { status, upstreams, data } = app;
  const well = `${plural(status.sessions, "session")} on ${plural(upstreams.length, "upstream")}; nothing needs you.`;
  return [
    healthPanel(app.findings, well),
    tiles(app.traffic, status.sessions),
    panel(
      "Upstreams",
      h("div", { class: "rings" }, data.rings.map(small)),
      upstreams.length > data.rings.length && h("p", null, link("upstreams", {}, `All ${count(upstreams.length)} upstreams`)),
    ),
    underWay(data.rings, status),
    fleet(status),
    panel("Latest changes", h("ol", { class: "timeline" }, data.changes.map(entry)), h("p", null, link("history", {}, "History"))),
    node(status, data.quotas),
  ];
}

function small(upstream) {
  const { name, members, eligible } = upstream;
  const tone = eligible === 0 ? "bad" : eligible < members ? "warn" : "ok";
  return h(
    "a",
    { class: "ring-card", href: `#upstreams?name=${encodeURIComponent(name)}`, "data-key": name },
    ring(upstream, { small: true }),
    h("div", null, h("h3", null, name), badge(tone, `${eligible} of ${members} take sessions`), legend(upstream)),
  );
}

// The backends with most sessions, each with its health and its load.
function legend({ backends }) {
  const most = Math.max(1, ...backends.map((one) => one.sessions));
  const shown = [...backends].sort((one, other) => other.sessions - one.sessions).slice(0, LEGEND_MAX);
  const line = (one) => {
    const [tone, word] = condition(one);
    return h("li", { "data-key": one.id, title: `${one.id}: ${word}` }, h("span", { class: `name ${tone}` }, one.id), bar(one.sessions / most, "plain"), h("span", null, count(one.sessions)));
  };
  return h("ul", { class: "legend" }, shown.map(line), backends.length > shown.length && h("li", null, `and ${backends.length - shown.length} more`));
}

// Drains, rebalancing, hand-over: each with how far it is.
function underWay(rings, status) {
  const lines = [];
  for (const { name, backends, removed, rebalance } of rings) {
    for (const { id, drain } of [...backends, ...removed]) {
      if (drain) lines.push(progress(`drain-${name}-${id}`, `Drain of ${name}/${id}`, drain, drain.total - drain.left, drain.total));
    }
    if (rebalance && rebalance.state !== "rehearsed") {
      const done = rebalance.moved + rebalance.closed;
      lines.push(progress(`rebalance-${name}`, `Rebalancing of ${name}`, rebalance, done, done + rebalance.left));
    }
  }
  const { handing_over: handing, taking_over: taking, taken_over: taken } = status;
  if (handing) {
    const title = `Handing over to process ${handing.to_pid ?? "?"}`;
    // Sessions that began meanwhile may be more than there were.
    const total = Math.max(handing.total, handing.sessions_left);
    lines.push(progress("handover-out", title, { state: "running", started: handing.since }, total - handing.sessions_left, total));
  }
  if (taking) {
    // How many are to come, only the other process could say.
    lines.push(progress("handover", `Taking over from process ${taking.from_pid}`, { state: "running", started: taking.since }, taking.sessions, null));
  }
  if (taken) {
    const staying = Object.values(taken.staying ?? {}).reduce((sum, number) => sum + number, 0);
    const text = `Taken over from process ${taken.from_pid}: ${plural(taken.sessions, "session")}`;
    lines.push(progress("handover", text, { state: "done", started: taken.at }, taken.sessions, taken.sessions + staying));
  }
  return lines.length > 0 && panel("Drains and hand-overs", h("ul", { class: "progress" }, lines));
}

export function progress(key, title, run, done, total) {
  const left = total === null ? 0 : total - done;
  const tone = run.state === "done" ? "ok" : run.state === "paused" ? "off" : "busy";
  const more = [
    total === null ? `${plural(done, "session")} so far` : total > 0 ? `${count(done)} of ${count(total)}` : "no sessions",
    total === null && `for ${duration(secondsSince(run.started))}`,
    run.pace && `pace ${run.pace}`,
    left > 0 && run.seconds_left != null && `about ${duration(run.seconds_left)} left`,
    run.moved !== undefined && `${count(run.moved)} moved, ${count(run.closed)} closed`,
    run.by && `by ${run.by}`,
    run.waits_for && `waits for ${run.waits_for}`,
  ];
  const label = `${title}: ${run.state}, ${more[0]}`;
  return h(
    "li",
    { "data-key": key },
    h("div", { class: "line" }, h("b", null, title), badge(tone, run.state)),
    bar(total > 0 ? done / total : 1, tone, { label }),
    h("small", null, more.filter(Boolean).join(" · ")),
  );
}

function fleet({ fleet: nodes, fleet_age_seconds: age }) {
  if (nodes.length === 0) return null;
  const most = Math.max(1, ...nodes.map((one) => one.sessions));
  const state = (one) => {
    if (one.phase === "gone") return badge("bad", "gone");
    if (one.older) return badge("warn", "behind");
    if (one.differs || one.duplicate) return badge("warn", one.differs ? "other table" : "same name twice");
    return badge(one.phase === "ready" ? "ok" : "warn", one.phase);
  };
  const columns = [
    ["Gateway", (one) => h("b", null, one.node, one.this ? " (this)" : "")],
    ["State", state],
    ["Sessions", (one) => h("span", { class: "with-bar" }, bar(one.sessions / most, "plain"), count(one.sessions)), "number"],
    ["Generation", (one) => count(one.generation), "number"],
    ["Revision", (one) => one.revision ?? "–", "number"],
    ["Version", (one) => one.version],
    ["Heard", (one) => `${duration(one.silent_seconds)} ago`],
  ];
  return panel("Fleet", table("Gateways of the fleet", columns, nodes, (one) => one.node), h("p", { class: "pages" }, link("fleet", {}, "What is wrong on each"), age !== null && h("small", null, `read ${duration(age)} ago`)));
}

function node(status, quotas) {
  const most = Math.max(1, ...status.workers.map((worker) => worker.sessions));
  const limit = (used, max, format) => (max > 0 ? `${format(used)} of ${format(max)} (${percent(used / max)})` : format(used));
  const workers = status.workers.map((worker, index) =>
    h("li", { "data-key": `worker-${index}` }, h("span", null, `worker ${index}`), bar(worker.sessions / most, "plain"), h("span", null, count(worker.sessions))),
  );
  return panel(
    `Node ${status.node}`,
    facts([
      ["State", badge(status.phase === "ready" ? "ok" : "warn", status.phase)],
      ["Up for", duration(status.uptime_seconds)],
      ["Version", status.version],
      ["Table", `generation ${status.generation}`],
      ["Digest", h("code", null, status.digest.slice(0, 12))],
      ["Loaded", time(status.sources.file.loaded)],
      ["Connections", count(status.connections)],
      ["Sessions", limit(quotas.sessions, quotas.sessions_max, count)],
      ["Handshakes", limit(quotas.handshakes, quotas.handshakes_max, count)],
      ["Memory", limit(quotas.memory_bytes, quotas.memory_max, bytes)],
      ["Overloaded", quotas.overloaded.length > 0 ? badge("bad", quotas.overloaded.join(", ")) : null],
    ]),
    h("ul", { class: "workers", "aria-label": "Sessions of each worker" }, workers),
  );
}

export default { id: "overview", title: "Overview", load, render };
