// What is wrong, as the gateway lists it (`/v1/findings`): here each finding gets its colour, and the view that shows its place.

import { h } from "./dom.js";
import { count, plural } from "./format.js";
import { badge } from "./view.js";

const TONES = { critical: "bad", warning: "warn", notice: "busy" };
const LEVELS = { bad: "Critical", warn: "Warning", busy: "Notice" };
const RANK = { bad: 0, warn: 1, busy: 2 };
const SHOWN_MAX = 30;

// Where what a finding is about is shown, by the first words of its subject.
const PLACES = [
  [/^upstream (.+)$/s, ([, name]) => `#upstreams?name=${encodeURIComponent(name)}`],
  [/^certificate/, () => "#certificates"],
  [/^(gateway|fleet)/, () => "#fleet"],
  [/^(file|etcd|dns|consul|kubernetes|document|state|source|hand-over|broker|authenticator|events)/, () => "#node"],
  [/^sessions/, () => "#sessions?sort=expires"],
  [/^(records|node)/, () => "#overview"],
];

// Findings of the API as `{ tone, text, to, advice, sessions, node }`, the worst first.
export function findings(items) {
  const found = items.map(({ severity, subject, detail, remedy, sessions, node }) => {
    const [pattern, place] = PLACES.find(([pattern]) => pattern.test(subject)) ?? [];
    return {
      tone: TONES[severity] ?? "warn",
      text: `${subject}: ${detail}`,
      to: pattern ? place(pattern.exec(subject)) : "#overview",
      advice: remedy,
      sessions: sessions ?? 0,
      node,
    };
  });
  return found.sort((one, other) => RANK[one.tone] - RANK[other.tone]);
}

// Findings of all gateways, from the page of one of them. Those that do not answer are the first thing to know: what is wrong there
// is not in the list. Views show this gateway only, so what is wrong elsewhere leads to the fleet.
export function fleetFindings({ items, nodes, fault }, own) {
  const finding = (text) => ({ tone: "bad", text, to: "#fleet", advice: null, sessions: 0 });
  const quiet = nodes.filter((one) => one.fault !== null).map((one) => finding(`gateway ${one.node} does not answer: ${one.fault}`));
  const found = findings(items).map((one) => (one.node === own ? one : { ...one, to: "#fleet" }));
  return [...quiet, ...(fault ? [finding(fault)] : []), ...found];
}

// All of it in a few words.
export function verdict(found) {
  const wrong = found.filter(({ tone }) => tone !== "busy");
  if (wrong.length === 0) return ["ok", "All is well"];
  const more = wrong.length - 1;
  const [{ tone, node, text }] = wrong;
  return [tone, `${node ? `${node} ` : ""}${text}${more > 0 ? ` · ${more} more` : ""}`];
}

// What is wrong, where, and what to do; `well` is the text for nothing.
export function healthPanel(found, well) {
  if (found.length === 0) {
    return h("section", { class: "verdict-panel ok", "aria-label": "Health" }, badge("ok", "All is well"), h("p", null, well));
  }
  const more = found.length - SHOWN_MAX;
  return h(
    "section",
    { class: `verdict-panel ${found[0].tone}`, "aria-label": "Health" },
    h("ul", null, found.slice(0, SHOWN_MAX).map(line)),
    more > 0 && h("p", null, `and ${count(more)} more`),
  );
}

function line({ tone, text, to, advice, sessions, node }) {
  return h(
    "li",
    { class: tone, "data-key": `${node ?? ""} ${text}`, "data-row": true },
    badge(tone, LEVELS[tone]),
    h("a", { href: to }, node ? [h("b", null, node), " "] : null, commands(text)),
    h("span", { class: "advice" }, advice ? commands(advice) : null, sessions > 0 && h("small", null, plural(sessions, "live session"))),
  );
}

// A text whose commands stand between backticks.
const commands = (text) => text.split("`").map((part, index) => (index % 2 === 1 ? h("code", null, part) : part));
