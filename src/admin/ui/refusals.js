// Requests that the gateway answered itself, by reason.

import { bar } from "./chart.js";
import { h } from "./dom.js";
import { count, plural, words } from "./format.js";
import { tiles } from "./traffic.js";
import { empty, panel, table } from "./view.js";

// What to look at, by reason; the others explain themselves.
const ADVICE = {
  no_route: "no route has this host and path: try Explain",
  no_backend: "look at the upstream's backends",
  origin: "the route's origins do not allow the page",
  unauthenticated: "the credential is missing or not accepted",
  forbidden: "the credential is good, a condition of the route is not met",
};

function render(app) {
  const { refusals, first } = app.traffic;
  const reasons = Object.entries(refusals).filter(([, total]) => total > 0);
  reasons.sort(([, one], [, other]) => other - one);
  const most = Math.max(1, ...reasons.map(([, total]) => total));
  const columns = [
    ["Reason", ([reason]) => [h("b", null, words(reason)), ADVICE[reason] && h("small", null, ADVICE[reason])]],
    ["Since the start", ([, total]) => h("span", { class: "with-bar" }, bar(total / most, "warn"), count(total)), "number"],
    ["Since you look", ([reason, total]) => count(total - (first[reason] ?? 0)), "number"],
  ];
  const all = reasons.reduce((sum, [, total]) => sum + total, 0);
  return [
    panel(
      "By reason",
      reasons.length > 0 ? table("Refusals by reason", columns, reasons, ([reason]) => reason) : empty("Nothing was refused since the start."),
      reasons.length > 0 && h("small", null, plural(all, "refusal")),
    ),
  ];
}

export default { id: "refusals", title: "Refusals", render };
