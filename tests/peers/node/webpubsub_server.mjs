// An application with Azure's own library for event handlers of Web PubSub, on a port of its own.
//
// node webpubsub_server.mjs ACCESS_KEY
//
// Names of clients are stored in the state of their connection; `GET /log` tells what has happened.

import { createHmac } from "node:crypto";

import { WebPubSubEventHandler } from "@azure/web-pubsub-express";
import express from "express";

const [key] = process.argv.slice(2);
const log = [];

function note(kind, request) {
  const { userId, hub, connectionId, signature, states, origin, eventName } = request.context;
  const digest = createHmac("sha256", key).update(connectionId).digest("hex");
  if (!(signature ?? "").split(",").includes(`sha256=${digest}`)) throw new Error("not signed");
  log.push({ kind, userId, hub, connectionId, states, origin, eventName, reason: request.reason });
}

const handler = new WebPubSubEventHandler("chat", {
  path: "/events",
  allowedEndpoints: ["https://gateway.example.com"],
  handleConnect(request, response) {
    note("connect", request);
    const name = request.queries?.name?.[0] ?? request.query?.name?.[0];
    if (name === "intruder") return response.fail(401, "no");
    response.setState("name", name);
    const subprotocol = request.subprotocols.includes("chat.v2") ? "chat.v2" : undefined;
    response.success({ userId: request.claims.sub?.[0] ?? name, groups: ["room-a"], subprotocol });
  },
  onConnected(request) {
    note("connected", request);
  },
  handleUserEvent(request, response) {
    note("message", request);
    if (request.dataType === "binary") return response.success(Buffer.from(request.data).reverse(), "binary");
    if (request.data === "fail") return response.fail(500, "as asked for");
    if (request.data === "quiet") return response.success();
    if (request.data === "count") response.setState("count", (request.context.states.count ?? 0) + 1);
    response.success(`${request.context.states.name}: ${request.data}`, "text");
  },
  onDisconnected(request) {
    note("disconnected", request);
  },
});

const app = express();
let preflights = 0;
app.use((request, _response, next) => {
  if (request.method === "OPTIONS") preflights += 1;
  next();
});
app.get("/log", (_request, response) => response.json(log));
app.get("/preflights", (_request, response) => response.json([preflights]));
app.use(handler.getMiddleware());
const server = app.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));
