// An upstream as its ring. The outer ring has the share of the keys of each backend, coloured by
// its health; the inner ring has its share of the live sessions.

import { h } from "./dom.js";
import { count, percent, plural } from "./format.js";

const SEGMENTS_MAX = 120;
const LABELLED = 0.06;
const SIZE = 200;
const CENTRE = SIZE / 2;

// What a backend is in one word, and its tone.
export function condition(backend) {
  if (backend.state === "removed") return ["off", "removed"];
  if (backend.state === "disabled") return ["off", "disabled"];
  if (backend.health === "unhealthy") return ["bad", "unhealthy"];
  if (backend.ejected) return ["bad", "ejected"];
  if (backend.state === "draining") return ["warn", "draining"];
  if (backend.stale) return ["warn", "lease lost"];
  if (backend.awake < 1) return ["busy", "waking up"];
  return ["ok", backend.health === "unknown" ? "not probed" : "healthy"];
}

function point(radius, turn) {
  const angle = turn * 2 * Math.PI - Math.PI / 2;
  return [CENTRE + radius * Math.cos(angle), CENTRE + radius * Math.sin(angle)];
}

// A piece of a ring from one turn to another, both in 0 to 1.
function piece(inner, outer, from, to) {
  // A full circle has no arc between equal points.
  const end = Math.min(to, from + 0.9999);
  const large = end - from > 0.5 ? 1 : 0;
  const at = (radius, turn) => point(radius, turn).map((value) => value.toFixed(2)).join(" ");
  return [
    `M${at(outer, from)}`,
    `A${outer} ${outer} 0 ${large} 1 ${at(outer, end)}`,
    `L${at(inner, end)}`,
    `A${inner} ${inner} 0 ${large} 0 ${at(inner, from)}`,
    "Z",
  ].join("");
}

// Consecutive pieces for these values; backends beyond what can be seen are one last piece, with the
// state of one that takes no sessions, if there is one.
export function pieces(backends, valueOf) {
  const sum = (some) => some.reduce((total, backend) => total + valueOf(backend), 0);
  const total = sum(backends);
  if (total <= 0) return [];
  const [shown, rest] = [backends.slice(0, SEGMENTS_MAX), backends.slice(SEGMENTS_MAX)];
  const values = shown.map((backend) => [backend, valueOf(backend)]);
  if (rest.length > 0) {
    const typical = rest.find((backend) => condition(backend)[0] !== "ok") ?? rest[0];
    values.push([{ ...typical, id: `${rest.length} more` }, sum(rest)]);
  }
  let turn = 0;
  return values.map(([backend, value], index) => {
    const from = turn;
    turn += value / total;
    return { backend, index, from, to: turn, share: turn - from };
  });
}

export function ring(upstream, { small = false } = {}) {
  const { backends } = upstream;
  const outer = small ? [74, 94] : [76, 94];
  const shares = pieces(backends, (backend) => backend.share);
  const loads = pieces(backends, (backend) => backend.sessions);
  const words = backends.slice(0, 12).map((backend) => `${backend.id} ${percent(backend.share)} ${condition(backend)[1]}`);
  const label = `Ring of ${upstream.name}: ${plural(upstream.sessions, "session")}; ${words.join(", ")}`;
  return h(
    "svg",
    { class: "ring", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": label },
    h("circle", { class: "track", cx: CENTRE, cy: CENTRE, r: 85 }),
    shares.map((one) => segment(one, outer, small)),
    loads.map(({ backend, from, to, index }) =>
      h(
        "path",
        { class: `load tint${index % 2}`, "data-key": `load-${backend.id}`, d: piece(62, 69, from, to) },
        h("title", null, `${backend.id}: ${plural(backend.sessions, "session")}, ${percent(to - from)} of the load`),
      ),
    ),
    h("text", { class: "total", x: CENTRE, y: CENTRE - 2, "text-anchor": "middle" }, count(upstream.sessions)),
    h("text", { class: "unit", x: CENTRE, y: CENTRE + 18, "text-anchor": "middle" }, upstream.sessions === 1 ? "session" : "sessions"),
  );
}

function segment({ backend, index, from, to, share }, [inner, outer], small) {
  const [tone, word] = condition(backend);
  const title = `${index + 1} ${backend.id}: ${percent(share)} of the keys, ${word}`;
  // What takes no sessions is thinner too, so that the colour is not all there is to see.
  const [x, y] = point((inner + outer) / 2, (from + to) / 2);
  return h(
    "g",
    { "data-key": `share-${backend.id}`, class: `segment ${tone} tint${index % 2}` },
    h("path", { d: piece(tone === "bad" || tone === "off" ? inner + 9 : inner, outer, from, to) }, h("title", null, title)),
    !small && share >= LABELLED && h("text", { x: x.toFixed(1), y: (y + 4).toFixed(1), "text-anchor": "middle" }, index + 1),
  );
}
