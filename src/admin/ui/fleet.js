// All gateways that follow the same etcd: which is well, what is wrong on each, how many sessions it has. One gateway asks the
// others; those that do not answer are named.

import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { fleetFindings, healthPanel } from "./verdict.js";
import { badge, link, panel, table } from "./view.js";

const FLEET = { scope: "fleet" };

async function load({ api }) {
  const [wrong, status] = await Promise.all([api.get("/v1/findings", FLEET), api.get("/v1/status", FLEET)]);
  return { wrong, status };
}

function render({ status: own, data }) {
  const found = fleetFindings({ ...data.wrong, nodes: data.status.nodes, fault: data.status.fault }, own.node);
  const rows = gateways(own, data, found);
  const sessions = rows.reduce((sum, one) => sum + one.sessions, 0);
  const well = `${plural(sessions, "session")} on ${plural(rows.length, "gateway")}; nothing needs you.`;
  return [healthPanel(found, well), list(rows, own)];
}

// Each gateway with its own answer if it gave one, else with what etcd has of it.
function gateways(own, { status, wrong }, found) {
  const answers = new Map(status.items.map((one) => [one.node, one]));
  const registered = new Map(own.fleet.map((one) => [one.node, one]));
  const faults = new Map([...wrong.nodes, ...status.nodes].map((one) => [one.node, one.fault]));
  const names = [...new Set([...answers.keys(), ...registered.keys(), ...faults.keys()])].sort();
  return names.map((node) => {
    const [answer, entry] = [answers.get(node), registered.get(node)];
    const shown = answer ?? entry ?? {};
    return {
      node,
      own: node === own.node,
      fault: answer ? null : (faults.get(node) ?? "it is not asked"),
      entry,
      phase: shown.phase ?? "unknown",
      sessions: shown.sessions ?? 0,
      generation: shown.generation,
      version: shown.version,
      uptime: answer?.uptime_seconds,
      found: found.filter((one) => one.node === node),
    };
  });
}

function state({ fault, phase, entry }) {
  if (phase === "gone") return badge("bad", "gone");
  if (fault) return [badge("bad", "no answer"), h("small", null, fault)];
  if (entry?.older) return badge("warn", "behind");
  if (entry?.differs || entry?.duplicate) return badge("warn", entry.differs ? "other table" : "same name twice");
  return badge(phase === "ready" ? "ok" : "warn", phase);
}

function wrongs({ found, fault }) {
  if (fault) return badge("off", "not known");
  const of = (tone) => found.filter((one) => one.tone === tone).length;
  const [bad, warn] = [of("bad"), of("warn")];
  if (bad + warn === 0) return badge("ok", "nothing");
  return [bad > 0 && badge("bad", `${bad} critical`), " ", warn > 0 && badge("warn", plural(warn, "warning"))];
}

function list(rows, { fleet, fleet_age_seconds: age }) {
  const most = Math.max(1, ...rows.map((one) => one.sessions));
  const columns = [
    ["Gateway", (one) => h("b", null, one.node, one.own ? " (this)" : "")],
    ["State", state],
    ["Wrong", wrongs],
    ["Sessions", (one) => h("span", { class: "with-bar" }, bar(one.sessions / most, "plain"), count(one.sessions)), "number"],
    ["Generation", (one) => (one.generation === undefined ? "–" : count(one.generation)), "number"],
    ["Version", (one) => one.version ?? "–"],
    ["Up for", (one) => duration(one.uptime), "number"],
  ];
  const about = fleet.length > 0 ? age !== null && `the list was read ${duration(age)} ago` : "This gateway follows no etcd, so it knows of no others.";
  return panel("Gateways", table("Gateways of the fleet", columns, rows, (one) => one.node), about && h("small", null, about), h("p", null, link("overview", {}, "This gateway alone")));
}

export default { id: "fleet", title: "Fleet", load, render };
