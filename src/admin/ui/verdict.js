// What is wrong, the worst first: where it is and what to do about it.

import { duration, plural, words } from "./format.js";

const DAY = 86_400;
const EXPIRES_SOON = 30 * DAY;
const EXPIRES_NOW = 3 * DAY;

const RANK = { bad: 0, warn: 1, busy: 2 };

// Findings as `{ tone, text, to, advice }`.
export function findings({ status, upstreams }) {
  const found = [];
  const add = (tone, text, to, advice) => found.push({ tone, text, to, advice });
  if (status.phase !== "ready") add("warn", `this gateway is ${status.phase}`, "#node", "wait, or start another");
  for (const upstream of upstreams) ofUpstream(upstream, add);
  ofSources(status, add);
  for (const one of status.certificates) ofCertificate(one, add);
  if (status.state_dir?.fault) add("bad", `state cannot be written: ${status.state_dir.fault}`, "#node", "give the directory space and rights");
  if (status.restart_pending.length > 0) {
    add("warn", `${plural(status.restart_pending.length, "setting")} wait for a restart`, "#node", "restart with --take-over, which ends no session");
  }
  ofFleet(status, add);
  return found.sort((one, other) => RANK[one.tone] - RANK[other.tone]);
}

function ofUpstream({ name, policy, members, eligible, panicking, sessions }, add) {
  const to = `#upstreams?name=${encodeURIComponent(name)}`;
  if (policy === "removed") {
    add("busy", `upstream ${name} is removed, ${plural(sessions, "session")} live on it`, to, "they leave at the pace of its drain");
  } else if (members === 0) {
    add("bad", `upstream ${name} has no backends`, to, "add backends, or register them in etcd");
  } else if (eligible === 0) {
    add("bad", `upstream ${name}: none of ${plural(members, "backend")} takes sessions`, to, "look at their health");
  } else if (panicking) {
    add("bad", `upstream ${name}: so few backends are well that health is ignored`, to, "look at their health");
  } else if (eligible < members) {
    add("warn", `upstream ${name}: ${eligible} of ${plural(members, "backend")} take sessions`, to, "look at the others");
  }
}

function ofSources({ sources }, add) {
  if (sources.file.refused) {
    add("warn", `the file is refused since ${duration((Date.now() - new Date(sources.file.refused)) / 1000)}`, "#node", "mend it; the last good one serves");
  }
  for (const source of sources.items) {
    if (source.source === "file") continue;
    if (!source.current) add("warn", `${source.source} is not followed: ${source.fault ?? "no watch runs"}`, "#node", "sessions go on; changes do not arrive");
    if (source.refused > 0) add("warn", `${source.source}: ${plural(source.refused, "document")} refused`, "#node", "mend them; the last good ones serve");
    if (source.waiting > 0) add("warn", `${source.source}: ${plural(source.waiting, "document")} wait for something missing`, "#node", "write what they name");
  }
  if (sources.etcd?.doubted.length > 0) {
    add("warn", `etcd lacks ${plural(sources.etcd.doubted.length, "document")} that stay in force`, "#node", "sessile etcd accept, if they are to go");
  }
}

function ofCertificate({ listener, names, not_after: end, expired, acme }, add) {
  const what = `certificate ${names[0] ?? ""} of ${listener}`;
  if (acme?.fault) add("warn", `${what} cannot be ordered: ${acme.fault}`, "#certificates", "mend it before the end of the one in use");
  if (!end) return;
  const left = (new Date(end).getTime() - Date.now()) / 1000;
  if (expired) add("bad", `${what} has expired`, "#certificates", "replace its files; they are read again by themselves");
  else if (left < EXPIRES_NOW) add("bad", `${what} ends in ${duration(left)}`, "#certificates", "replace its files");
  else if (left < EXPIRES_SOON && !acme) add("warn", `${what} ends in ${duration(left)}`, "#certificates", "replace its files");
}

function ofFleet({ fleet, fleet_fault: fault }, add) {
  if (fault) add("warn", `the fleet cannot be read: ${fault}`, "#overview", "look at etcd");
  for (const node of fleet) {
    if (node.phase === "gone") add("bad", `gateway ${node.node} is gone`, "#overview", "look at its machine");
    else if (node.duplicate) add("warn", `two gateways are called ${node.node}`, "#overview", "give each its own node.name");
    else if (node.older) add("warn", `gateway ${node.node} is behind etcd`, "#overview", "look at its connection to etcd");
    else if (node.differs) add("warn", `gateway ${node.node} has another table`, "#overview", "compare the files");
  }
}

// All of it in a few words.
export function verdict(found) {
  const of = (tone) => found.filter((one) => one.tone === tone);
  const [bad, warn] = [of("bad"), of("warn")];
  const more = bad.length + warn.length - 1;
  const worst = bad[0] ?? warn[0];
  if (!worst) return ["ok", "All is well"];
  return [worst.tone, `${words(worst.text)}${more > 0 ? ` · ${more} more` : ""}`];
}
