// What ends: certificates that are shown to clients, tokens of the configuration, rights of sessions.

import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, duration, plural, time } from "./format.js";
import { badge, empty, panel, table } from "./view.js";

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

async function load({ api }) {
  const [tokens, credentials] = await Promise.all([api.get("/v1/credentials/tokens"), api.get("/v1/credentials")]);
  return { tokens: tokens.items, credentials: credentials.items };
}

function certificates(status) {
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
  return table("Certificates", columns, all);
}

const tokenState = ({ days_left: days, severity }) => [TONES[severity] ?? "ok", days <= 0 ? "expired" : severity ? "ends soon" : "valid"];

function tokens(items) {
  if (items.length === 0) return empty("No token of the configuration has an end.");
  const columns = [
    ["Token", (one) => h("b", null, one.name)],
    ["State", (one) => badge(...tokenState(one))],
    ["Left", (one) => duration(Math.max(0, left(one))), "number"],
    ["Ends", (one) => time(one.expires)],
  ];
  return table("Tokens", columns, items, (one) => one.name);
}

const keys = (one) => {
  if (one.keys === null) return "none to read";
  const age = one.keys_age_seconds === null ? "never read" : `read ${duration(one.keys_age_seconds)} ago`;
  return [plural(one.keys, "key"), h("small", { class: one.keys_stale ? "fault" : null }, one.keys_stale ? `${age}: the issuer does not answer` : age)];
};

function credentials(items) {
  if (items.length === 0) return empty("Routes have no authenticators: clients show no credential.");
  const columns = [
    ["Authenticator", (one) => h("b", null, one.authenticator)],
    ["Sessions", (one) => count(one.sessions), "number"],
    ["Their right ends within 30 days", (one) => count(one.expiring), "number"],
    ["First end", (one) => time(one.first_expires)],
    ["Keys of its issuer", keys],
    ["Routes", (one) => one.routes.join(", ") || "–"],
  ];
  return table("Credentials", columns, items, (one) => one.authenticator);
}

function render({ status, data }) {
  return [
    panel("Certificates", certificates(status)),
    panel("Tokens of the configuration", tokens(data.tokens)),
    panel("Rights of sessions", credentials(data.credentials)),
  ];
}

export default { id: "certificates", title: "Certificates", load, render };
