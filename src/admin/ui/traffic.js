// Rates out of the totals of the API, and their recent past.

import { sparkline } from "./chart.js";
import { h } from "./dom.js";
import { bytes, count, rate } from "./format.js";

// Samples that are kept: three minutes.
const LENGTH = 90;
// Time that a picture spans at least.
const SPAN_MIN = 20;
const SECONDS_MIN = 1;

export class Traffic {
  samples = [];
  #before = null;
  // The last totals by reason, and what was added since the dashboard was opened.
  refusals = {};
  first = null;

  add(totals) {
    const before = this.#before;
    // Totals start again with the process.
    const seconds = before && totals.uptime_seconds - before.uptime_seconds;
    if (seconds < 0) this.first = null;
    this.refusals = totals.refusals;
    this.first ??= totals.refusals;
    // A rate over a moment is noise.
    if (before && seconds >= 0 && seconds < SECONDS_MIN) return;
    this.#before = totals;
    if (!before || seconds < 0) return;
    const by = (value) => Math.max(0, (value(totals) - value(before)) / seconds);
    this.samples.push({
      sessions: totals.sessions,
      began: by((one) => one.began),
      ended: by((one) => one.ended),
      messagesIn: by((one) => one.to_backend.messages),
      messagesOut: by((one) => one.to_client.messages),
      bytesIn: by((one) => one.to_backend.bytes),
      bytesOut: by((one) => one.to_client.bytes),
      refused: by((one) => one.refused),
    });
    if (this.samples.length > LENGTH) this.samples.shift();
  }

  get now() {
    return this.samples.at(-1);
  }

  series(name) {
    return this.samples.map((sample) => sample[name]);
  }
}

// The four pictures of the live traffic.
export function tiles(traffic, sessions) {
  const { now } = traffic;
  const shown = (value, format) => (now ? format(value) : "–");
  const two = (title, unit, format, names) => {
    const values = names.map((name) => now?.[name] ?? 0);
    const [into, out] = values.map((value) => shown(value, format));
    const note = [h("span", { class: "s0" }, `↑ ${into} to backends`), h("span", { class: "s1" }, `↓ ${out} to clients`)];
    return tile(title, shown(values[0] + values[1], format), unit, note, traffic, names);
  };
  return h(
    "div",
    { class: "tiles" },
    tile("Sessions", count(sessions), "live", [
      h("span", null, `+${shown(now?.began, rate)}/s begin`),
      h("span", null, `−${shown(now?.ended, rate)}/s end`),
    ], traffic, ["sessions"]),
    two("Messages", "per second", rate, ["messagesIn", "messagesOut"]),
    two("Bytes", "per second", bytes, ["bytesIn", "bytesOut"]),
    tile("Refusals", shown(now?.refused, rate), "per second", [h("a", { href: "#refusals" }, "by reason")], traffic, ["refused"]),
  );
}

function tile(title, value, unit, notes, traffic, names) {
  const series = names.map((name) => traffic.series(name));
  const tone = title === "Refusals" && traffic.now?.refused > 0 ? "tile warn" : "tile";
  return h(
    "section",
    { class: tone, "aria-label": `${title}: ${value} ${unit}`, "data-key": title },
    h("h3", null, title),
    h("p", { class: "figure" }, h("b", null, value), " ", h("span", null, unit)),
    sparkline(series, `${title} in the last minutes`, Math.max(SPAN_MIN, traffic.samples.length)),
    h("p", { class: "notes" }, notes),
  );
}
