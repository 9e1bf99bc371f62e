// One live session: who, from where, why here, what passes; and what can be done with it.

import { path } from "./api.js";
import { bar } from "./chart.js";
import { ask, toast } from "./dialogs.js";
import { h } from "./dom.js";
import { bytes, count, duration, millis, time, words } from "./format.js";
import { startTap, stopTap, tapPanel } from "./tap.js";
import { entry } from "./history.js";
import { badge, button, facts, link, panel } from "./view.js";

async function load({ api, parameters }) {
  try {
    return { session: await api.get(path`/v1/sessions/${parameters.get("id")}`) };
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    const { items } = await api.get("/v1/sessions/ended", { id: parameters.get("id") });
    return { gone: problem.message, ended: items };
  }
}

function render(app) {
  const { session, gone, ended } = app.data;
  const back = h("p", null, link("sessions", {}, "← all sessions"));
  if (gone) return [back, panel("Ended", h("p", null, gone), h("ol", { class: "timeline" }, ended.map(entry)))];
  return [back, identity(app, session), placement(session), traffic(session), tapPanel(app, session.id)];
}

function identity(app, session) {
  const { id, key } = session;
  const data = { id, of: session.principal ?? session.client };
  const allowed = app.operates && !session.closing;
  return panel(
    data.of,
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
      ["Key", key && [h("b", null, key.key), h("small", null, ` ${key.source ?? "source unknown"}${key.hidden ? ", hidden" : ""}`)]],
      ["Subprotocol", session.subprotocol],
      ["Extensions", session.extensions],
      ["Listener", session.listener],
      ["Request id", h("code", null, session.request_id)],
      ["Began", time(session.started)],
      ["Handshake", millis(session.handshake_ms)],
      ["Age", duration(session.age_seconds)],
      ["Client silent for", duration(session.idle_client_seconds)],
      ["Backend silent for", duration(session.idle_backend_seconds)],
      ["Round trip to client", session.round_trip_client_ms !== null && millis(session.round_trip_client_ms)],
      ["Round trip to backend", session.round_trip_backend_ms !== null && millis(session.round_trip_backend_ms)],
      ["Worker", session.worker],
    ].filter(([, value]) => value !== false)),
    h(
      "p",
      { class: "actions" },
      button("move", "Move…", data, { allowed: allowed && session.movable }),
      button("send", "Send a message…", data, { allowed }),
      button("close", "Close…", data, { allowed, danger: true }),
      !session.movable && h("small", null, "its route does not reconnect, so it cannot move"),
    ),
  );
}

const CHOICES = {
  first_choice: "The first choice of its key.",
  walk: "The first choice took no session; the walk went on.",
  stick: "With a live session of the same key.",
  unknown: "An older process placed it.",
};

// Why it is where it is: the walk at that moment, and its moves since.
function placement({ placement: placed, moved, backend, resumes, messages_lost: lost }) {
  const first = moved[0]?.from ?? backend;
  const passed = placed.passed.map((one) => h("li", null, h("b", null, one.backend), badge("off", words(one.reason))));
  const step = (one) =>
    h("li", null, h("time", { datetime: one.at }, time(one.at)), h("div", { class: "what" }, h("b", null, `${one.from} → ${one.to}`), " ", words(one.reason), one.by && h("small", null, `by ${one.by}`)));
  return panel(
    "Why here",
    h("p", null, CHOICES[placed.choice] ?? words(placed.choice), placed.cookie_issued && " The gateway made its key and set a cookie."),
    h("ol", { class: "walk" }, passed, placed.passed_more > 0 && h("li", null, `and ${placed.passed_more} more`), h("li", { class: "taken" }, h("b", null, resumes > moved.length ? backend : first), badge("ok", "taken"))),
    moved.length > 0 && [h("h3", null, "Moves"), h("ol", { class: "timeline" }, moved.map(step))],
    lost > 0 && h("small", null, `${count(lost)} messages were lost with a backend`),
  );
}

function traffic(session) {
  const { to_backend: up, to_client: down } = session;
  const most = Math.max(1, up.bytes, down.bytes);
  const line = (title, flow, flight) =>
    h(
      "li",
      { "data-key": title },
      h("div", { class: "line" }, h("b", null, title), h("span", null, bytes(flow.bytes))),
      bar(flow.bytes / most, "plain"),
      h("small", null, [...["text", "binary", "ping", "pong", "close"].map((kind) => `${count(flow[kind])} ${kind}`), `in flight: ${bytes(flight.held)} held, ${bytes(flight.queued)} sent`].join(" · ")),
    );
  return panel("Traffic", h("ul", { class: "progress" }, line("From the client", up, session.in_flight_to_backend), line("From the backend", down, session.in_flight_to_client)));
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

async function move(app, { id, of }) {
  const { upstream, backend } = app.data.session;
  const { backends } = await app.api.get(path`/v1/upstreams/${upstream}`);
  const others = backends.filter((one) => one.id !== backend).map((one) => [one.id, `${one.id} (${one.health}, ${one.sessions} sessions)`]);
  const fields = [{ name: "backend", label: "To", options: [["", "the next of its key"], ...others], first: true }];
  const text = "The client's connection stays; another backend goes on with it.";
  const entered = await ask({ title: `Move the session of ${of}?`, text, yes: "Move", fields });
  if (!entered) return;
  await app.api.call("POST", path`/v1/sessions/${id}/move`, { body: entered.backend ? { backend: entered.backend } : {} });
  toast(`the session of ${of} moves`);
  await app.refresh();
}

async function send(app, { id, of }) {
  const fields = [
    { name: "text", label: "Text", rows: 3, first: true },
    { name: "to", label: "To", options: [["client", "the client"], ["backend", "the backend, as if the client had sent it"]], value: "client" },
  ];
  const entered = await ask({ title: `Send into the session of ${of}`, text: "A text message between two others.", yes: "Send", fields });
  if (!entered) return;
  await app.api.call("POST", path`/v1/sessions/${id}/messages`, { body: { text: entered.text, to: entered.to } });
  toast("the message is on its way");
}

const actions = { close: closeSession, move, send, tap: startTap, "stop-tap": stopTap };

export default { id: "session", title: "Session", load, render, actions, close: stopTap };
