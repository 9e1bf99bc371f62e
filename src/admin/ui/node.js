// Where the configuration comes from, what was refused of it, hand-overs, revoked rights, and the
// holders of most sessions.

import { path } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { count, duration, plural, time, words } from "./format.js";
import { badge, button, empty, facts, panel, table } from "./view.js";

const SHOWN = 20;

async function load({ api }) {
  const [config, quotas, revocations] = await Promise.all([
    api.get("/v1/config"),
    api.get("/v1/quotas"),
    api.get("/v1/revocations", { limit: SHOWN }),
  ]);
  return { config, quotas, revocations };
}

function render(app) {
  const { status, data } = app;
  return [sources(app), faults(data.config), handover(status), holders(data.quotas), revocations(app)];
}

function sources(app) {
  const { status, data, operates } = app;
  const columns = [
    ["Source", (one) => h("b", null, one.source)],
    ["State", (one) => [badge(one.current ? "ok" : "warn", one.current ? "current" : "not current"), one.fault && h("small", null, one.fault)]],
    ["Revision", (one) => one.revision ?? "–", "number"],
    ["Heard", (one) => (one.age_seconds === null ? "–" : `${duration(one.age_seconds)} ago`)],
    ["Documents", (one) => count(one.documents), "number"],
    ["Refused", (one) => (one.refused > 0 ? badge("warn", count(one.refused)) : 0), "number"],
    ["Waiting", (one) => (one.waiting > 0 ? badge("warn", count(one.waiting)) : 0), "number"],
  ];
  return panel(
    "Sources",
    table("Sources of the configuration", columns, status.sources.items, (one) => one.source),
    facts([
      ["File", h("code", null, data.config.file.path)],
      ["Read", time(data.config.file.loaded)],
      ["Waits for a restart", data.config.restart_changes.map(pending).join(", ")],
      ["State for the next start", status.state_dir && [h("code", null, status.state_dir.path), " ", status.state_dir.fault && badge("bad", status.state_dir.fault)]],
    ]),
    h("p", { class: "actions" }, button("reload", "Read the files again", {}, { allowed: operates })),
  );
}

// A setting that waits for a restart; values are not shown where a secret differs.
const pending = ({ key, now, next }) => (now === null && next === null ? `${key} (a secret)` : `${key}: ${now ?? "none"} → ${next ?? "none"}`);

// Faults of the file and of documents, each with its place.
function faults({ refused, documents }) {
  const bad = documents.filter((one) => one.status === "refused" || one.status === "waiting");
  if (!refused && bad.length === 0) return null;
  const line = (one) => h("li", null, h("code", null, [one.file, one.line, one.column].filter(Boolean).join(":")), " ", one.message, one.help && h("small", null, one.help));
  const document = (one) =>
    h("li", { "data-key": `${one.source}/${one.key}` }, h("b", null, one.key), " ", badge("warn", words(one.status)), one.waits_for && h("small", null, `waits for ${one.waits_for}`), h("ul", null, one.diagnostics.slice(0, SHOWN).map(line)));
  return panel(
    "Refused",
    refused && [h("p", null, `The file is refused since ${time(refused.at)}; the last good one serves.`), h("ul", { class: "faults" }, refused.diagnostics.slice(0, SHOWN).map(line))],
    bad.length > 0 && h("ul", { class: "faults" }, bad.slice(0, SHOWN).map(document)),
    bad.length > SHOWN && h("small", null, `and ${bad.length - SHOWN} more`),
  );
}

function handover({ handing_over: handing, taking_over: taking, taken_over: taken }) {
  if (handing) {
    const pairs = [["To process", handing.to_pid], ["Since", time(handing.since)], ["Sessions left", `${count(handing.sessions_left)} of ${count(handing.total)}`]];
    return panel("Hand-over", badge("busy", "running"), facts(pairs));
  }
  if (taking) {
    const pairs = [["From process", taking.from_pid], ["Since", time(taking.since)], ["Sessions so far", count(taking.sessions)]];
    return panel("Hand-over", badge("busy", "running"), facts(pairs));
  }
  if (!taken) return panel("Hand-over", empty("This process took nothing over; it began by itself."));
  const staying = Object.entries(taken.staying ?? {}).filter(([, number]) => number > 0);
  return panel(
    "Hand-over",
    facts([
      ["From process", taken.from_pid],
      ["Done", time(taken.at)],
      ["Sessions taken over", count(taken.sessions)],
      ["Stayed with the old process", staying.map(([why, number]) => `${number} (${words(why)})`).join(", ") || "none"],
    ]),
  );
}

function holders({ largest, holders: all }) {
  if (largest.length === 0) return null;
  const columns = [
    ["Holder", (one) => one.holder],
    ["Live", (one) => count(one.live), "number"],
  ];
  return panel("Largest holders", table("Largest holders", columns, largest.slice(0, SHOWN)), h("small", null, `of ${plural(all, "holder")}`));
}

function revocations(app) {
  const { items, next } = app.data.revocations;
  const columns = [
    ["Revoked", (one) => h("b", null, one.subject ?? one.token_id ?? one.session)],
    ["What", (one) => (one.subject ? "subject" : one.token_id ? "credential" : "session")],
    ["Until", (one) => (one.until ? time(one.until) : "taken back")],
    ["Reason", (one) => one.reason],
    ["Where", (one) => (one.origin === "node" ? "this gateway" : one.origin)],
    ["Orders", (one) => button("unrevoke", "Take back", { id: one.id }, { allowed: app.operates, label: `Take back ${one.id}` }), "do"],
  ];
  return panel(
    "Revoked rights",
    items.length > 0 ? table("Revoked rights", columns, items, (one) => one.id) : empty("None."),
    next && h("small", null, `the first ${SHOWN}`),
    h("p", { class: "actions" }, button("revoke", "Revoke a subject…", {}, { allowed: app.operates })),
  );
}

async function reload(app) {
  await app.api.call("POST", "/v1/reload");
  toast("the files are in force");
  await app.refresh();
}

async function revoke(app) {
  const fields = [
    { name: "subject", label: "Subject", first: true },
    { name: "ttl", label: "For", value: "24h" },
    { name: "reason", label: "Reason" },
  ];
  const text = "Its sessions end on every gateway of the same etcd, and its credentials are refused.";
  const entered = await ask({ title: "Revoke a subject", text, yes: "Revoke", danger: true, fields });
  if (!entered?.subject.trim()) return;
  const body = { subject: entered.subject.trim(), ttl: entered.ttl.trim() || null, reason: entered.reason.trim() || null };
  const done = await app.api.call("POST", "/v1/revocations", { body });
  toast(`revoked; ${plural(done.closed, "session")} of this gateway ended`);
  await app.refresh();
}

async function unrevoke(app, { id }) {
  await app.api.call("DELETE", path`/v1/revocations/${id}`);
  toast("the revocation is taken back");
  await app.refresh();
}

export default { id: "node", title: "Sources", load, render, actions: { reload, revoke, unrevoke } };
