// Joins a channel with the client of Phoenix, pushes, and gets a reply and a broadcast. Usage: phoenix_client.mjs ws://127.0.0.1:PORT
import { deepStrictEqual as same } from "node:assert";
import { Socket } from "phoenix";
import WebSocket from "ws";

const [url] = process.argv.slice(2);
const passed = [];
const socket = new Socket(`${url}/socket`, { transport: WebSocket, params: { vsn: "2.0.0" } });
const answered = (push) => new Promise((ok, fail) => push.receive("ok", ok).receive("error", fail).receive("timeout", () => fail(new Error("no reply"))));

socket.connect();
const channel = socket.channel("room:lobby", {});
const greeting = new Promise((resolve) => channel.on("greeting", resolve));
await answered(channel.join());
same(await greeting, { topic: "room:lobby" });
passed.push("join");
same(await answered(channel.push("shout", { body: "hé" })), { body: "hé" });
passed.push("push");
await new Promise((resolve) => socket.ping(resolve));
passed.push("heartbeat");
await new Promise((resolve) => socket.disconnect(resolve));
console.log(JSON.stringify({ passed }));
process.exit(0);
