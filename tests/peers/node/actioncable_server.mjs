// A server of ActionCable's protocol (`actioncable-v1-json`): it welcomes, pings, confirms subscriptions and broadcasts what is sent.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((request, response) => {
  response.statusCode = 404;
  response.end();
});
const sockets = new WebSocketServer({ server: http, path: "/cable", handleProtocols: (offered) => offered.has("actioncable-v1-json") && "actioncable-v1-json" });
sockets.on("connection", (connection) => {
  const send = (message) => connection.send(JSON.stringify(message));
  send({ type: "welcome" });
  const pings = setInterval(() => send({ type: "ping", message: Math.floor(Date.now() / 1000) }), 100);
  connection.on("close", () => clearInterval(pings));
  connection.on("message", (text) => {
    const { command, identifier, data } = JSON.parse(text);
    if (command === "subscribe") send({ identifier, type: "confirm_subscription" });
    if (command === "message") send({ identifier, message: JSON.parse(data) });
  });
});
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
