// A client of examples/notifications, which has a notification sent to itself when it is connected.
// Usage: notified.mjs http://127.0.0.1:PORT notify.sh URL-OF-THE-PUBLISHING-API TEXT
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { io } from "socket.io-client";

const [url, script, publishing, text] = process.argv.slice(2);
const socket = io(url, { transports: ["websocket"], reconnection: false });
await Promise.race([
  once(socket, "connect"),
  once(socket, "connect_error").then(([error]) => Promise.reject(error)),
]);
const notified = once(socket, "notification");
const answer = JSON.parse(execFileSync("sh", [script, text, publishing], { encoding: "utf8" }));
const [heard] = await notified;
const echoed = await socket.timeout(10_000).emitWithAck("say", "still here");
socket.disconnect();
const failed = {};
if (heard !== text) failed.heard = heard;
if (answer.delivered !== 1) failed.answer = JSON.stringify(answer);
if (!echoed.endsWith("heard: still here")) failed.echoed = echoed;
console.log(JSON.stringify({ client: "socket.io", failed, passed: [heard] }));
process.exit(Object.keys(failed).length > 0 ? 1 : 0);
