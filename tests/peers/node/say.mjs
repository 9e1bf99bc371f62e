// Clients of examples/socketio, many at once, as a browser's would be: long polling first, then a
// socket, cookies kept. Usage: say.mjs http://127.0.0.1:PORT COUNT
import { once } from "node:events";
import { io } from "socket.io-client";

const [url, count] = process.argv.slice(2);
const passed = [];
const failed = {};

async function client(number) {
  const socket = io(url, { forceNew: true, reconnection: false, withCredentials: true });
  await Promise.race([
    once(socket, "connect"),
    once(socket, "connect_error").then(([error]) => Promise.reject(error)),
  ]);
  const { engine } = socket.io;
  const upgraded = engine.transport.name === "polling" ? once(engine, "upgrade") : undefined;
  const polled = await socket.timeout(10_000).emitWithAck("say", `hello ${number}`);
  await upgraded;
  const answer = await socket.timeout(10_000).emitWithAck("say", `hello ${number}`);
  if (answer !== polled) throw new Error(`first ${polled}, then ${answer}`);
  if (engine.transport.name !== "websocket") throw new Error(`still ${engine.transport.name}`);
  const [port, text] = answer.split(" heard: ");
  if (text !== `hello ${number}`) throw new Error(answer);
  socket.disconnect();
  return port;
}

const all = await Promise.allSettled(Array.from({ length: Number(count) }, (_, number) => client(number)));
for (const [number, { value, reason }] of all.entries()) {
  if (reason) failed[number] = String(reason.description ?? reason.message ?? reason).slice(0, 300);
  else passed.push(value);
}
console.log(JSON.stringify({ client: "socket.io", failed, passed: [...new Set(passed)] }));
process.exit(Object.keys(failed).length > 0 ? 1 : 0);
