// The certificates that are shown to clients, the first to end first.

import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, duration, time } from "./format.js";
import { badge, empty, table } from "./view.js";

const DAY = 86_400;
// A bar is full at this many days.
const FULL = 90 * DAY;

// By the gateway's clock, which decides.
const left = ({ days_left: days }) => (days === null ? Infinity : days * DAY);

// How bad it is, the gateway has decided.
const TONES = { critical: "bad", warning: "warn", notice: "busy" };

function state(one) {
  const tone = TONES[one.severity] ?? "ok";
  if (!one.not_after) return [tone, "not ordered yet"];
  if (one.expired) return [tone, "expired"];
  if (one.refused) return [tone, "new file refused"];
  if (one.acme?.fault) return [tone, "order fails"];
  return [tone, tone === "ok" ? "valid" : "ends soon"];
}

const remaining = (one) => {
  if (!one.not_after) return "–";
  const seconds = Math.max(0, left(one));
  const text = seconds > 2 * DAY ? `${count(Math.floor(seconds / DAY))} days` : duration(seconds);
  return h("span", { class: "with-bar" }, bar(seconds / FULL, state(one)[0]), text);
};

const order = ({ acme }) =>
  acme ? ["ACME", h("small", null, `next order ${time(acme.renews)}`), acme.fault && h("small", { class: "fault" }, `${acme.failures} failed: ${acme.fault}`)] : "files";

function render({ status }) {
  const all = [...status.certificates].sort((one, other) => left(one) - left(other));
  if (all.length === 0) return empty("No listener has a certificate: clients connect without TLS here.");
  const columns = [
    ["Names", (one) => h("b", null, one.names.join(", ") || "–")],
    ["Listener", (one) => one.listener],
    ["State", (one) => badge(...state(one))],
    ["Left", remaining, "number"],
    ["Ends", (one) => time(one.not_after)],
    ["Connections", (one) => (one.connections === null ? "–" : count(one.connections)), "number"],
    ["From", order],
  ];
  return h("section", { class: "panel", "aria-label": "Certificates" }, table("Certificates", columns, all));
}

export default { id: "certificates", title: "Certificates", render };
