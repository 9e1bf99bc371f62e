// The parts of the dashboard that decide without a page: what is wrong, how numbers are written, what
// a stream of events is read as. Usage: dashboard_units.mjs
import assert from "node:assert/strict";

globalThis.sessionStorage = { getItem: () => null, setItem() {}, removeItem() {} };
const ui = new URL("../../../src/admin/ui/", import.meta.url);
const { findings, verdict } = await import(new URL("verdict.js", ui));
const { bytes, count, duration, percent, plural, rate } = await import(new URL("format.js", ui));
const { condition, pieces } = await import(new URL("ring.js", ui));
const { Traffic } = await import(new URL("traffic.js", ui));
const { Api, Problem, path } = await import(new URL("api.js", ui));

const passed = [];
const failed = {};
async function test(name, run) {
  try {
    await run();
    passed.push(name);
  } catch (error) {
    failed[name] = error.message;
  }
}

const DAY = 86_400_000;
const inDays = (days) => new Date(Date.now() + days * DAY + 60_000).toISOString();

// A gateway without a fault; `change` makes one.
function gateway(change) {
  const status = {
    phase: "ready",
    certificates: [{ listener: "edge", names: ["a.test"], not_after: inDays(60), expired: false, acme: null }],
    sources: { file: { refused: null }, etcd: { doubted: [] }, items: [{ source: "file" }, { source: "etcd", current: true, refused: 0, waiting: 0 }] },
    state_dir: { path: "/s", fault: null },
    restart_pending: [],
    fleet: [{ node: "one", phase: "ready" }],
    fleet_fault: null,
  };
  const upstreams = [{ name: "chat", policy: "maglev", members: 3, eligible: 3, panicking: false, sessions: 7 }];
  change?.(status, upstreams[0]);
  return { status, upstreams };
}

await test("a healthy gateway has no finding", () => {
  assert.deepEqual(findings(gateway()), []);
  assert.deepEqual(verdict([]), ["ok", "All is well"]);
});

await test("each fault is found, with its weight", () => {
  const check = (tone, words, change) => {
    const found = findings(gateway(change));
    assert.equal(found.length, 1, `${words}: ${JSON.stringify(found)}`);
    assert.equal(found[0].tone, tone, words);
    assert.match(found[0].text, words);
    assert.match(found[0].to, /^#[a-z]+/);
    assert.ok(found[0].advice.length > 0);
  };
  check("warn", /is stopping/, (status) => (status.phase = "stopping"));
  check("bad", /has no backends/, (_, chat) => Object.assign(chat, { members: 0, eligible: 0 }));
  check("bad", /none of 3 backends/, (_, chat) => (chat.eligible = 0));
  check("bad", /health is ignored/, (_, chat) => Object.assign(chat, { eligible: 1, panicking: true }));
  check("warn", /2 of 3 backends/, (_, chat) => (chat.eligible = 2));
  check("busy", /is removed, 7 sessions/, (_, chat) => Object.assign(chat, { policy: "removed", members: 0, eligible: 0 }));
  check("warn", /file is refused/, (status) => (status.sources.file.refused = inDays(-1)));
  check("warn", /etcd is not followed: no route/, (status) => Object.assign(status.sources.items[1], { current: false, fault: "no route" }));
  check("warn", /1 document refused/, (status) => (status.sources.items[1].refused = 1));
  check("warn", /2 documents wait/, (status) => (status.sources.items[1].waiting = 2));
  check("warn", /etcd lacks 1 document/, (status) => status.sources.etcd.doubted.push("routes/a"));
  check("bad", /a.test of edge has expired/, ({ certificates: [one] }) => Object.assign(one, { not_after: inDays(-1), expired: true }));
  check("bad", /ends in 1d/, ({ certificates: [one] }) => (one.not_after = inDays(1)));
  check("warn", /ends in 20d/, ({ certificates: [one] }) => (one.not_after = inDays(20)));
  check("warn", /cannot be ordered: 403/, ({ certificates: [one] }) => (one.acme = { fault: "403" }));
  check("bad", /state cannot be written: full/, (status) => (status.state_dir.fault = "full"));
  check("warn", /1 setting waits? for a restart|1 setting wait/, (status) => status.restart_pending.push("node.workers"));
  check("warn", /fleet cannot be read: gone/, (status) => (status.fleet_fault = "gone"));
  check("bad", /gateway one is gone/, ({ fleet: [one] }) => (one.phase = "gone"));
  check("warn", /two gateways are called one/, ({ fleet: [one] }) => (one.duplicate = true));
  check("warn", /gateway one is behind/, ({ fleet: [one] }) => (one.older = true));
  check("warn", /another table/, ({ fleet: [one] }) => (one.differs = true));
});

await test("a gateway that renews a certificate itself has time until the last days", () => {
  const renewing = ({ certificates: [one] }) => Object.assign(one, { not_after: inDays(20), acme: { fault: null } });
  assert.deepEqual(findings(gateway(renewing)), []);
});

await test("the worst comes first and is the verdict", () => {
  const both = gateway((status, chat) => {
    status.restart_pending.push("log");
    status.phase = "starting";
    chat.eligible = 0;
  });
  const found = findings(both);
  assert.deepEqual(found.map(({ tone }) => tone), ["bad", "warn", "warn"]);
  const [tone, text] = verdict(found);
  assert.equal(tone, "bad");
  assert.match(text, /none of 3 backends.* · 2 more/);
});

await test("names of strangers do not leave their place in addresses", () => {
  const [found] = findings(gateway((_, chat) => Object.assign(chat, { name: "a?b#c&d", eligible: 0 })));
  assert.equal(found.to, "#upstreams?name=a%3Fb%23c%26d");
  assert.equal(path`/v1/upstreams/${"../config?x"}/backends/${"a/b"}`, "/v1/upstreams/..%2Fconfig%3Fx/backends/a%2Fb");
});

await test("numbers are written for people", () => {
  const check = (found, expected) => assert.equal(found, expected);
  check(count(99_999), "99,999");
  check(count(1_234_567), "1.2M");
  check(rate(0), "0");
  check(rate(0.25), "0.3");
  check(rate(1234), "1,234");
  check(bytes(999), "999 B");
  check(bytes(1000), "1.0 kB");
  check(bytes(123_456_789), "123 MB");
  check(percent(0.034), "3.4 %");
  check(percent(1), "100 %");
  check(duration(0), "0s");
  check(duration(59.4), "59s");
  check(duration(3661), "1h 1m");
  check(duration(90_000), "1d 1h");
  check(duration(null), "–");
  check(plural(1, "session"), "1 session");
  check(plural(2, "session"), "2 sessions");
});

const backend = (more) => ({ id: "b", state: "active", health: "healthy", ejected: null, stale: false, awake: 1, share: 1, sessions: 1, ...more });

await test("a backend has one condition, the worst", () => {
  const check = (expected, more) => assert.deepEqual(condition(backend(more)), expected);
  check(["ok", "healthy"], {});
  check(["ok", "not probed"], { health: "unknown" });
  check(["busy", "waking up"], { awake: 0.4 });
  check(["warn", "lease lost"], { stale: true });
  check(["warn", "draining"], { state: "draining", stale: true });
  check(["bad", "ejected"], { ejected: { reason: "timed_out" } });
  check(["bad", "unhealthy"], { health: "unhealthy", state: "draining" });
  check(["off", "disabled"], { state: "disabled", health: "unhealthy" });
  check(["off", "removed"], { state: "removed" });
});

await test("the pieces of a ring are shares and fill it", () => {
  const share = (one) => one.share;
  const three = pieces([backend({ share: 1 }), backend({ share: 2 }), backend({ share: 1 })], share);
  assert.deepEqual(three.map(({ from, to }) => [from, to]), [[0, 0.25], [0.25, 0.75], [0.75, 1]]);
  assert.deepEqual(pieces([], share), []);
  assert.deepEqual(pieces([backend({ share: 0 })], share), []);
  const many = Array.from({ length: 1000 }, (_, index) => backend({ health: index === 900 ? "unhealthy" : "healthy" }));
  const drawn = pieces(many, share);
  assert.ok(drawn.length < 150, drawn.length);
  assert.ok(Math.abs(drawn.at(-1).to - 1) < 1e-9);
  assert.deepEqual([drawn.at(-1).backend.id, drawn.at(-1).backend.health], ["880 more", "unhealthy"]);
});

await test("rates are differences of totals", () => {
  const flow = (messages, bytes) => ({ messages, bytes });
  const totals = (seconds, more) => ({ uptime_seconds: seconds, sessions: 3, began: 0, ended: 0, to_backend: flow(0, 0), to_client: flow(0, 0), refused: 0, refusals: {}, ...more });
  const traffic = new Traffic();
  traffic.add(totals(10, { refusals: { origin: 2 } }));
  assert.equal(traffic.now, undefined);
  traffic.add(totals(10.5, { began: 100 }));
  assert.equal(traffic.now, undefined, "half a second is too short");
  traffic.add(totals(12, { began: 4, to_backend: flow(20, 400), refused: 1 }));
  const { began, messagesIn, bytesIn, messagesOut, refused } = traffic.now;
  assert.deepEqual([began, messagesIn, bytesIn, messagesOut, refused], [2, 10, 200, 0, 0.5]);
  assert.deepEqual(traffic.first, { origin: 2 });
  traffic.add(totals(1, { refusals: {} }));
  assert.equal(traffic.samples.length, 1, "a new process counts anew");
  assert.deepEqual(traffic.first, {});
  for (let second = 2; second < 400; second += 2) traffic.add(totals(second));
  assert.ok(traffic.samples.length <= 90, traffic.samples.length);
});

// A stream that arrives in these pieces.
async function events(...pieces) {
  const encoder = new TextEncoder();
  globalThis.fetch = async () => new Response(ReadableStream.from(pieces.map((piece) => encoder.encode(piece))));
  const seen = [];
  await new Api().stream("/v1/events", { onEvent: (event) => seen.push(event) });
  return seen;
}

await test("a stream is the same however it is cut", async () => {
  const text = 'retry: 2000\n: alive\n\nid: 1\nevent: frame\ndata: {"a":1}\n\ndata: one\r\ndata: two\r\n\r\nevent: cut\ndata: never';
  const expected = [{ event: "frame", id: "1", data: '{"a":1}' }, { event: "message", data: "one\ntwo" }];
  assert.deepEqual(await events(text), expected);
  assert.deepEqual(await events(...text), expected);
  for (let cut = 0; cut < text.length; cut += 1) assert.deepEqual(await events(text.slice(0, cut), text.slice(cut)), expected, cut);
});

await test("an event without an end is refused", async () => {
  const endless = Array.from({ length: 40 }, () => "x".repeat(32 * 1024));
  await assert.rejects(events(...endless), Problem);
});

await test("a problem has the words of the gateway", async () => {
  globalThis.fetch = async () => Response.json({ detail: "no upstream `x`", status: 404 }, { status: 404 });
  await assert.rejects(new Api().get("/v1/upstreams/x"), { status: 404, message: "no upstream `x`" });
  globalThis.fetch = async () => Promise.reject(new TypeError("failed"));
  await assert.rejects(new Api().get("/v1/status"), { status: 0, message: "the gateway does not answer" });
});

console.log(JSON.stringify({ client: "dashboard units", failed, passed }));
process.exit(Object.keys(failed).length > 0 ? 1 : 0);
