// Starts the dashboard: signs in, follows the address, reads the API every two seconds, and draws
// the view that is open.

import { Api, Problem } from "./api.js";
import { askToken, toast } from "./dialogs.js";
import { $, h, update } from "./dom.js";
import { listen, step } from "./keys.js";
import { Traffic } from "./traffic.js";
import { findings, fleetFindings, verdict } from "./verdict.js";
import certificates from "./certificates.js";
import explain from "./explain.js";
import fleet from "./fleet.js";
import history from "./history.js";
import node from "./node.js";
import overview from "./overview.js";
import refusals from "./refusals.js";
import session from "./session.js";
import sessions from "./sessions.js";
import upstreams from "./upstreams.js";

const PERIOD = 2000;
// Between two questions to the whole fleet.
const FLEET_PERIOD = 5000;
// Rest after a reading, as a multiple of the time that it took.
const REST = 4;
// After a change, and before the stream of changes is asked for again.
const SOON = 150;
const RECONNECT = 5000;
const THEME = "sessile-theme";
const VIEWS = [overview, upstreams, sessions, refusals, history, explain, certificates, node, fleet];
const HIDDEN = [session];

const app = {
  api: new Api(),
  me: null,
  view: overview,
  parameters: new URLSearchParams(),
  // What every view needs: the node, what is wrong, its upstreams, the traffic.
  status: null,
  findings: [],
  // The same of all gateways; null where this one knows of no others.
  fleet: null,
  upstreams: [],
  traffic: new Traffic(),
  // What the open view has read, and what a reader has entered in it.
  data: null,
  fault: null,
  get operates() {
    return this.me?.role === "operate";
  },
  draw,
  refresh,
  open: (view, parameters) => {
    const search = new URLSearchParams(parameters).toString();
    location.hash = `#${view}${search ? `?${search}` : ""}`;
  },
};

// Counts addresses, so that a late answer for another one is dropped.
let place = 0;
let timer = 0;
let rest = 0;

async function signIn() {
  let fault;
  for (;;) {
    try {
      const me = await app.api.get("/v1/whoami");
      if (me.role !== "none") {
        app.me = me;
        break;
      }
    } catch (problem) {
      fail(problem);
      await new Promise((wake) => setTimeout(wake, PERIOD));
      continue;
    }
    if (app.api.hasToken) fault = "The gateway does not accept this token.";
    app.api.signOut();
    app.api.signIn(await askToken(fault));
  }
  drawFrame();
  $("#main").focus();
}

function follow() {
  const [id, search] = location.hash.slice(1).split(/\?(.*)/s);
  const view = [...VIEWS, ...HIDDEN].find((one) => one.id === id) ?? overview;
  app.view.close?.(app);
  app.view = view;
  app.parameters = new URLSearchParams(search ?? "");
  app.data = null;
  place += 1;
  document.title = `${view.title} · ${app.me?.node ?? "Sessile"}`;
  drawFrame();
  $("#main").dataset.address = location.hash;
  draw();
  // The address holds the search; what was typed before is dropped.
  for (const form of document.querySelectorAll("main form")) form.reset();
  refresh();
}

// Reads what every view needs, then what this one needs.
async function refresh() {
  clearTimeout(timer);
  const [asked, { view }, began] = [place, app, performance.now()];
  try {
    if (app.me && !document.hidden) {
      const [status, wrong, upstreams, traffic] = await Promise.all([
        app.api.get("/v1/status"),
        app.api.get("/v1/findings"),
        app.api.all("/v1/upstreams"),
        app.api.get("/v1/traffic"),
      ]);
      Object.assign(app, { status, findings: findings(wrong.items), upstreams, fault: null });
      app.traffic.add(traffic);
      // Another view is open meanwhile: this one would be read with the other one's parameters.
      if (asked !== place) return;
      const data = view.load ? await view.load(app) : null;
      if (asked !== place) return;
      app.data = data;
      draw();
    }
  } catch (problem) {
    if (asked !== place) return;
    if (problem.status === 401) {
      app.me = null;
      await signIn();
    } else {
      fail(problem);
    }
  }
  if (asked === place) {
    clearTimeout(timer);
    // What takes the gateway long to answer is asked for less often.
    rest = REST * (performance.now() - began);
    timer = setTimeout(refresh, Math.max(PERIOD, rest));
  }
}

// Asks for what is wrong on all gateways. One that is slow to answer must not hold up the view that is open, so this has a pace of
// its own.
async function watchFleet() {
  for (;;) {
    const asks = app.me && !document.hidden && app.status?.fleet.length > 1;
    try {
      app.fleet = asks ? fleetFindings(await app.api.get("/v1/findings", { scope: "fleet" }), app.status.node) : null;
      if (asks) draw();
    } catch (problem) {
      // The view that is open says what is wrong with this gateway.
      app.fleet = null;
      if (!(problem instanceof Problem)) console.error(problem);
    }
    await new Promise((wake) => setTimeout(wake, asks ? FLEET_PERIOD : PERIOD));
  }
}

// Reads at once when something changed; the stream of changes begins again when it ends. A tab without one, because others have
// all places or the browser has no locks, reads every two seconds like any other.
async function watchChanges() {
  let soon = 0;
  const onEvent = () => {
    clearTimeout(soon);
    soon = setTimeout(refresh, Math.max(SOON, rest));
  };
  for (;;) {
    try {
      if (app.me && navigator.locks) await app.api.stream("/v1/events", { kind: "changes", query: { class: "changes" }, onEvent });
    } catch (problem) {
      if (!(problem instanceof Problem)) console.error(problem);
    }
    await new Promise((wake) => setTimeout(wake, RECONNECT));
  }
}

function fail(problem) {
  if (!(problem instanceof Problem)) console.error(problem);
  app.fault = problem.message;
  draw();
}

function drawFrame() {
  const links = VIEWS.map((view) =>
    h("a", { href: `#${view.id}`, "aria-current": view === app.view ? "page" : null, "data-key": view.id }, view.title),
  );
  update($("#nav"), links);
  const role = app.operates ? "operator" : "read only";
  const out = h("button", { type: "button", "data-do": "sign-out" }, "Sign out");
  update($("#who"), app.me && [h("span", null, `${app.me.operator} · ${role}`), app.api.hasToken && out]);
}

function draw() {
  update($("#node"), app.me?.node ?? "");
  update($("#live"), app.fault ? `not connected: ${app.fault}` : app.status ? "live" : "");
  $("#live").classList.toggle("fault", app.fault !== null);
  if (!app.status) return;
  // Of the whole fleet, so that no page of a gateway that is well hides one that is not.
  const [tone, text] = verdict(app.fleet ?? app.findings);
  $("#verdict").className = `verdict ${tone}`;
  update($("#verdict"), app.fleet ? h("a", { href: "#fleet" }, text) : text);
  const ready = app.data !== null || !app.view.load;
  const body = ready ? app.view.render(app) : app.fault ? null : h("p", { class: "empty" }, "Reading…");
  // By its view, so that nothing that was typed in one appears in another.
  update($("#main"), h("div", { class: "view", "data-key": app.view.id }, h("h1", null, app.view.title), body));
}

const common = {
  help: () => $("#help").showModal(),
  "close-help": () => $("#help").close(),
  cancel: () => $("#confirm").close("no"),
  skip: () => $("#main").focus(),
  theme: changeTheme,
  "sign-out": () => {
    app.api.signOut();
    location.reload();
  },
};

// Runs an action of the open view; a problem is shown.
async function act(name, element, event) {
  const run = common[name] ?? app.view.actions?.[name];
  if (!run) return;
  event.preventDefault();
  try {
    await run(app, element.dataset, element);
  } catch (problem) {
    if (!(problem instanceof Problem)) console.error(problem);
    toast(problem.message, { fault: true });
  }
}

function changeTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem(THEME, next);
}

document.addEventListener("click", (event) => {
  const element = event.target.closest("[data-do]");
  if (element && !element.disabled) act(element.dataset.do, element, event);
});
document.addEventListener("submit", (event) => {
  const { form } = event.target.dataset;
  // Dialogs close by themselves.
  if (event.target.method !== "dialog") act(form, event.target, event);
});
document.addEventListener("change", (event) => {
  const element = event.target.closest("[data-change]");
  if (element) act(element.dataset.change, element, event);
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
addEventListener("hashchange", follow);

const kept = localStorage.getItem(THEME);
if (kept) document.documentElement.dataset.theme = kept;
// Without a token there is nothing behind this dialog.
$("#login").addEventListener("cancel", (event) => event.preventDefault());
listen(VIEWS, [
  ["/", "Search", () => $("main input")?.focus()],
  ["j", "Next row", () => step(1)],
  ["k", "Row before", () => step(-1)],
  ["r", "Read again now", refresh],
  ["t", "Light or dark", changeTheme],
  ["?", "This list", common.help],
]);
await signIn();
follow();
watchFleet();
watchChanges();
