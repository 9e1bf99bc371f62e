// Orders for backends and upstreams. Each is confirmed first, and each can be taken back.

import { path } from "./api.js";
import { ask, toast } from "./dialogs.js";
import { plural } from "./format.js";

const target = (data) => path`/v1/upstreams/${data.upstream}/backends/${data.backend}`;

async function order(app, data, change, done) {
  await app.api.call("PATCH", target(data), { body: change });
  toast(done);
  await app.refresh();
}

async function drain(app, data) {
  const entered = await ask({
    title: `Drain ${data.upstream}/${data.backend}?`,
    text: `It gets no new sessions. ${plural(Number(data.sessions), "session")} leave: those on routes that reconnect move, others are closed with 1012. You can undo it.`,
    yes: "Drain",
    fields: [{ name: "pace", label: "Pace", hint: "such as 50/s; empty: as configured", first: true }],
  });
  if (!entered) return;
  const pace = entered.pace.trim();
  await order(app, data, pace ? { state: "draining", pace } : { state: "draining" }, `${data.backend} is draining`);
}

async function disable(app, data) {
  const text = `It gets no new sessions; ${plural(Number(data.sessions), "session")} stay where they are. You can undo it.`;
  if (await ask({ title: `Disable ${data.upstream}/${data.backend}?`, text, yes: "Disable" })) {
    await order(app, data, { state: "disabled" }, `${data.backend} is disabled`);
  }
}

// Takes back what was ordered: the configured state applies again.
const undo = (app, data) => order(app, data, { state: "configured" }, `${data.backend} is as configured again`);
const activate = (app, data) => order(app, data, { state: "active" }, `${data.backend} takes sessions`);
const pause = (app, data) => order(app, data, { paused: true }, `the drain of ${data.backend} is paused`);
const resume = (app, data) => order(app, data, { paused: false }, `the drain of ${data.backend} goes on`);

async function rebalance(app, { upstream }) {
  const home = path`/v1/upstreams/${upstream}/rebalance`;
  const trial = await app.api.call("POST", home, { body: { dry_run: true } });
  const closed = trial.flows.reduce((sum, flow) => sum + flow.closed, 0);
  const entered = await ask({
    title: `Rebalance ${upstream}?`,
    text: `${plural(trial.left, "session")} of ${trial.sessions ?? 0} would go to the backend that their key belongs to; ${closed} of them would be closed, since they cannot move.`,
    yes: "Rebalance",
    fields: [{ name: "pace", label: "Pace", hint: `such as 10/s; empty: ${trial.pace}`, first: true }],
  });
  if (!entered) return;
  const pace = entered.pace.trim();
  await app.api.call("POST", home, { body: pace ? { pace } : {} });
  toast(`${upstream} is rebalanced`);
  await app.refresh();
}

async function stopRebalance(app, { upstream }) {
  await app.api.call("DELETE", path`/v1/upstreams/${upstream}/rebalance`);
  toast(`the rebalancing of ${upstream} ended; sessions that moved stay`);
  await app.refresh();
}

export const orders = { drain, disable, undo, activate, pause, resume, rebalance, "stop-rebalance": stopRebalance };
