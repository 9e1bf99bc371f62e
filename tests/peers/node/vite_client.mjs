// What the page of Vite does: it reads the client's script, opens its socket, and is told about a
// file that changed.
// Usage: vite_client.mjs http://127.0.0.1:PORT FOLDER
import { deepStrictEqual as same, ok } from "node:assert";
import { appendFileSync } from "node:fs";
import { once } from "node:events";
import WebSocket from "ws";

const [url, folder] = process.argv.slice(2);
const passed = [];

const page = await (await fetch(url)).text();
ok(page.includes("/@vite/client"), page);
const script = await (await fetch(`${url}/@vite/client`)).text();
const [, token] = /wsToken = "([^"]+)"/.exec(script);
await (await fetch(`${url}/main.js`)).text();
passed.push("page");

const socket = new WebSocket(`${url.replace("http", "ws")}/?token=${token}`, "vite-hmr", { origin: url });
const [first] = await once(socket, "message");
same(JSON.parse(first), { type: "connected" });
const told = once(socket, "message");
appendFileSync(`${folder}/main.js`, "\nconsole.log(2);\n");
const [news] = await told;
ok(["update", "full-reload"].includes(JSON.parse(news).type), news.toString());
passed.push("change");
socket.close();
await once(socket, "close");
console.log(JSON.stringify({ passed }));
