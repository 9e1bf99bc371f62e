// The parts of the dashboard that decide without a page: what is wrong, how numbers are written, what
// a stream of events is read as. Usage: dashboard_units.mjs
import assert from "node:assert/strict";

globalThis.sessionStorage = { getItem: () => null, setItem() {}, removeItem() {} };
const ui = new URL("../../../src/admin/ui/", import.meta.url);
const { findings, fleetFindings, verdict } = await import(new URL("verdict.js", ui));
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

const finding = (severity, subject, more) => ({ severity, kind: "any", subject, detail: "0 of 3", remedy: "look", sessions: null, ...more });

await test("without a finding all is well, and a notice is nothing wrong", () => {
  assert.deepEqual(findings([]), []);
  assert.deepEqual(verdict([]), ["ok", "All is well"]);
  assert.deepEqual(verdict(findings([finding("notice", "file")])), ["ok", "All is well"]);
});

await test("each finding leads to the view that shows its place", () => {
  const check = (subject, to) => assert.equal(findings([finding("warning", subject)])[0].to, to, subject);
  check("upstream chat", "#upstreams?name=chat");
  check("certificate of edge for a.test", "#certificates");
  check("gateway edge-2", "#fleet");
  check("fleet", "#fleet");
  for (const subject of ["file /etc/gateway.toml", "etcd", "document routes/a", "state directory /s", "hand-over"]) check(subject, "#node");
  check("records", "#overview");
  check("what a later version finds", "#overview");
});

await test("the worst comes first and is the verdict", () => {
  const found = findings([finding("notice", "file"), finding("warning", "etcd"), finding("critical", "upstream chat"), finding("warning", "fleet")]);
  assert.deepEqual(found.map(({ tone }) => tone), ["bad", "warn", "warn", "busy"]);
  assert.deepEqual(verdict(found), ["bad", "upstream chat: 0 of 3 · 2 more"]);
});

await test("the fleet's verdict names the gateway, and first one that does not answer", () => {
  const items = [{ severity: "critical", subject: "upstream chat", detail: "0 of 3", node: "edge-2" }, { severity: "warning", subject: "etcd", detail: "gone", node: "edge-1" }];
  const nodes = [{ node: "edge-1", fault: null }, { node: "edge-2", fault: null }];
  const found = fleetFindings({ items, nodes, fault: null }, "edge-1");
  assert.deepEqual(verdict(found), ["bad", "edge-2 upstream chat: 0 of 3 · 1 more"]);
  assert.deepEqual(found.map((one) => one.to), ["#fleet", "#node"]);
  const partial = fleetFindings({ items, nodes: [...nodes, { node: "edge-3", fault: "no route" }], fault: null }, "edge-1");
  assert.deepEqual(verdict(partial), ["bad", "gateway edge-3 does not answer: no route · 2 more"]);
});

await test("names of strangers do not leave their place in addresses", () => {
  const [found] = findings([finding("critical", "upstream a?b#c&d\n")]);
  assert.equal(found.to, "#upstreams?name=a%3Fb%23c%26d%0A");
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
