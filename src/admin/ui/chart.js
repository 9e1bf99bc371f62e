// Small pictures: a line over time, and a bar.

import { h } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 48;

// Areas of one or two series, the newest value at the right; `seconds` is the time they span.
export function sparkline(series, label, length) {
  const top = Math.max(1e-9, ...series.flat());
  const x = (index, values) => WIDTH - ((values.length - 1 - index) * WIDTH) / Math.max(1, length - 1);
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 6);
  const round = (value) => value.toFixed(1);
  const shapes = series.map((values, place) => {
    if (values.length < 2) return null;
    const points = values.map((value, index) => `${round(x(index, values))},${round(y(value))}`);
    const area = `${round(x(0, values))},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}`;
    return h(
      "g",
      { class: `series s${place}` },
      h("polygon", { class: "area", points: area }),
      h("polyline", { class: "stroke", points: points.join(" ") }),
    );
  });
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "spark" };
  return h("svg", { ...box, "aria-label": label }, shapes);
}

// A bar of `fraction` of its width, with a mark at `mark`.
export function bar(fraction, tone = "ok", { mark, label } = {}) {
  const part = (value) => (Math.min(1, Math.max(0, value || 0)) * 100).toFixed(2);
  const role = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return h(
    "svg",
    { class: `bar ${tone}`, viewBox: "0 0 100 8", preserveAspectRatio: "none", ...role },
    h("rect", { class: "track", width: 100, height: 8 }),
    h("rect", { class: "fill", width: part(fraction), height: 8 }),
    mark !== undefined && h("rect", { class: "mark", x: Math.max(0, part(mark) - 0.4), width: 0.8, height: 8 }),
  );
}
