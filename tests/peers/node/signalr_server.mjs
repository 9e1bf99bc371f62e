// A hub of SignalR's JSON protocol: negotiation, handshake, pings, invocations. A connection id is known to this process only, as with
// ASP.NET: a wrong one is refused. Its argument is the instance's name.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const name = process.argv[2] ?? "one";
const END = "\u001e";
const known = new Set();

const http = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname === "/healthz") return response.end();
  if (request.method !== "POST" || pathname !== "/hub/negotiate" || searchParams.get("negotiateVersion") !== "1") {
    response.statusCode = 404;
    return response.end();
  }
  const [connectionId, connectionToken] = [randomUUID(), randomUUID()];
  known.add(connectionToken);
  response.setHeader("content-type", "application/json");
  const availableTransports = [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }];
  response.end(JSON.stringify({ negotiateVersion: 1, connectionId, connectionToken, availableTransports }));
});
const sockets = new WebSocketServer({ noServer: true });
http.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname !== "/hub" || !known.has(searchParams.get("id"))) {
    socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (connection) => {
    const send = (message) => connection.send(JSON.stringify(message) + END);
    connection.on("message", (text) => {
      for (const record of text.toString().split(END).filter(Boolean)) {
        const message = JSON.parse(record);
        if (message.protocol) send({});
        if (message.type === 6) send({ type: 6 });
        if (message.type !== 1) continue;
        send({ type: 1, target: "greeting", arguments: [name] });
        send({ type: 3, invocationId: message.invocationId, result: message.arguments[0] });
      }
    });
  });
});
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
