// Watches the frames of one session, for a minute at most.

import { path } from "./api.js";
import { h } from "./dom.js";
import { bytes, count, plural, time } from "./format.js";
import { badge, button, panel } from "./view.js";

const SECONDS = 60;
const SHOWN = 200;
// Between two drawings: a busy session has thousands of frames in a second.
const DRAWN_EVERY = 200;

// The only tap of this tab.
let tap = null;

export function stopTap() {
  tap?.stop.abort();
}

export async function startTap(app, { id, payload }) {
  stopTap();
  const mine = { id, stop: new AbortController(), frames: [], seen: 0, dropped: 0, ended: null };
  tap = mine;
  let drawn = 0;
  const draw = () => {
    if (tap !== mine || performance.now() - drawn < DRAWN_EVERY) return;
    drawn = performance.now();
    app.draw();
  };
  const onEvent = ({ event, data }) => {
    const value = JSON.parse(data);
    if (event === "dropped") mine.dropped += value.frames;
    else if (event === "end") mine.ended = value.reason;
    else {
      mine.seen += 1;
      mine.frames.push({ ...value, key: mine.seen });
      if (mine.frames.length > SHOWN) mine.frames.shift();
    }
    draw();
  };
  const query = { seconds: SECONDS, payload: payload === "true" ? "true" : null };
  app.draw();
  try {
    await app.api.stream(path`/v1/sessions/${id}/tap`, { kind: "tap", query, signal: mine.stop.signal, onEvent });
    mine.ended ??= "the gateway ended it";
  } catch (problem) {
    mine.ended = problem.name === "AbortError" ? "stopped" : problem.message;
  }
  if (tap === mine) app.draw();
}

export function tapPanel(app, id) {
  const mine = tap?.id === id ? tap : null;
  const runs = mine !== null && mine.ended === null;
  const start = (text, payload, allowed) => button("tap", text, { id, payload }, { allowed });
  return panel(
    "Tap",
    h(
      "p",
      { class: "actions" },
      runs ? button("stop-tap", "Stop") : [start("Watch frames", "false", true), start("Watch with payload", "true", app.operates)],
      runs && badge("busy", "watching"),
      mine && h("small", null, [plural(mine.seen, "frame"), mine.dropped > 0 && `${count(mine.dropped)} not shown`, mine.ended && `ended: ${mine.ended}`].filter(Boolean).join(" · ")),
    ),
    !mine && h("small", null, "Headers of frames, live, for a minute. Payload only where the route has tap_payload; the tap is recorded with your name."),
    mine?.frames.length > 0 && h("ol", { class: "log", "aria-label": "Frames, the newest first", tabindex: 0 }, [...mine.frames].reverse().map(frame)),
  );
}

function frame({ at, from, opcode, fin, reserved, bytes: length, text, base64, withheld, key }) {
  const parts = [opcode, !fin && "more follows", reserved & 4 && "compressed", bytes(length)].filter(Boolean).join(" · ");
  return h(
    "li",
    { "data-key": key, class: from },
    h("span", { class: "when" }, time(at)),
    h("b", null, from === "client" ? "client → " : "backend ← "),
    h("span", { class: "frame" }, parts),
    text !== undefined && h("q", null, text),
    base64 !== undefined && h("code", null, base64),
    withheld && h("i", null, "a credential is withheld"),
  );
}
