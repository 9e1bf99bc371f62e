// Socket.IO clients, many at once, through whatever balances at the URL: they begin with polling,
// upgrade, and must find the same instance with every request.
// Usage: socketio_client.mjs http://127.0.0.1:PORT COUNT
import { deepStrictEqual as same, ok } from "node:assert";
import { once } from "node:events";
import { io } from "socket.io-client";

const [url, count] = process.argv.slice(2);

/** Node has no cookie jar; a browser has, so this one keeps what the balancer sets. */
async function affinityCookie() {
  const response = await fetch(`${url}/socket.io/?EIO=4&transport=polling`);
  await response.arrayBuffer();
  return response.headers.getSetCookie().map((cookie) => cookie.split(";")[0]).join("; ");
}

async function session(transports) {
  const cookie = await affinityCookie();
  const options = { transports, forceNew: true, reconnection: false, extraHeaders: { cookie } };
  const socket = io(url, options);
  await Promise.race([
    once(socket, "connect"),
    once(socket, "connect_error").then(([error]) => Promise.reject(error)),
  ]);
  const { engine } = socket.io;
  if (transports[0] === "polling" && transports[1] === "websocket" && engine.transport.name !== "websocket") {
    await once(engine, "upgrade");
  }
  const names = new Set();
  for (const payload of ["text", { nested: [1, 2, 3] }, Buffer.alloc(100_000, 7), "grüße"]) {
    const answer = await socket.timeout(10_000).emitWithAck("echo", payload);
    same(answer.payload, payload);
    same(answer.id, socket.id);
    names.add(answer.name);
  }
  same(names.size, 1);
  const transport = engine.transport.name;
  const ended = once(socket, "disconnect");
  socket.emit("close me");
  const [reason] = await ended;
  same(reason, "io server disconnect");
  return { name: [...names][0], transport };
}

const kinds = [["polling", "websocket"], ["polling"], ["websocket"]];
const passed = [];
const failed = {};
for (const transports of kinds) {
  const label = transports.join(" then ");
  try {
    const seen = await Promise.all(Array.from({ length: Number(count) }, () => session(transports)));
    ok(seen.every(({ transport }) => transport === transports.at(-1)));
    passed.push(label);
    passed.push(...new Set(seen.map(({ name }) => `${label} at ${name}`)));
  } catch (error) {
    failed[label] = String(error?.description ?? error?.message ?? error).slice(0, 300);
  }
}
console.log(JSON.stringify({ client: "socket.io", failed, passed }));
process.exit(Object.keys(failed).length > 0 ? 1 : 0);
