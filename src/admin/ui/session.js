// One live session.

import { path } from "./api.js";
import { bar } from "./chart.js";
import { ask, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { bytes, count, duration, millis, time } from "./format.js";
import { badge, button, facts, link, panel } from "./view.js";

async function load({ api, parameters }) {
  try {
    return { session: await api.get(path`/v1/sessions/${parameters.get("id")}`) };
  } catch (problem) {
    if (problem.status !== 404 && problem.status !== 400) throw problem;
    return { gone: problem.message };
  }
}

function render(app) {
  const { session, gone } = app.data;
  const back = h("p", null, link("sessions", {}, "← all sessions"));
  if (gone) return [back, h("section", { class: "panel", "aria-label": "Session" }, h("p", null, gone))];
  const { id } = session;
  const data = { id, of: session.principal ?? session.client };
  return [
    back,
    panel(
      session.principal ?? session.client,
      session.closing && badge("warn", "closing"),
      facts([
        ["Session", h("code", null, id)],
        ["Principal", session.principal],
        ["Authenticator", session.authenticator],
        ["Right expires", session.expires && time(session.expires)],
        ["Client", session.client],
        ["Host", session.host],
        ["Target", h("code", null, session.target)],
        ["Route", session.route],
        ["Upstream", link("upstreams", { name: session.upstream }, session.upstream)],
        ["Backend", session.backend],
        ["Subprotocol", session.subprotocol],
        ["Listener", session.listener],
        ["Request id", h("code", null, session.request_id)],
        ["Began", time(session.started)],
        ["Handshake", millis(session.handshake_ms)],
        ["Age", duration(session.age_seconds)],
        ["Idle", duration(session.idle_seconds)],
        ["Worker", session.worker],
        ["Moves", session.resumes > 0 ? `${session.resumes}, ${session.messages_lost} messages lost` : "none"],
      ]),
      h("p", { class: "actions" }, button("close", "Close…", data, { allowed: app.operates && !session.closing, danger: true })),
    ),
    panel("Traffic", flows(session)),
  ];
}

function flows({ to_backend: up, to_client: down }) {
  const most = Math.max(1, up.bytes, down.bytes);
  const line = (title, flow) =>
    h(
      "li",
      { "data-key": title },
      h("div", { class: "line" }, h("b", null, title), h("span", null, bytes(flow.bytes))),
      bar(flow.bytes / most, "plain"),
      h("small", null, ["text", "binary", "ping", "pong", "close"].map((kind) => `${count(flow[kind])} ${kind}`).join(" · ")),
    );
  return h("ul", { class: "progress" }, line("From the client", up), line("From the backend", down));
}

// Closes a session with a code and words for its client.
export async function closeSession(app, { id, of }) {
  const fields = [
    { name: "reason", label: "Reason for the client", hint: "at most 123 bytes", first: true },
    { name: "code", label: "Code", value: "1008", hint: "1008: clients should not come back by themselves" },
  ];
  const entered = await ask({ title: `Close the session of ${of}?`, text: "Its client gets a close frame. This cannot be undone.", yes: "Close it", danger: true, fields });
  if (!entered) return;
  const query = { code: entered.code.trim(), reason: entered.reason.trim() };
  await app.api.call("DELETE", path`/v1/sessions/${id}`, { query });
  toast(`the session of ${of} is closing`);
  // It is about to be gone.
  if (app.view.id === "session") app.open("sessions");
  else await app.refresh();
}

export default { id: "session", title: "Session", load, render, actions: { close: closeSession } };
