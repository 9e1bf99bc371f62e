// Echo server on the `ws` library; see ../README.md. Ordinary requests get the browser's test page,
// or an empty one with the query `blank`.
// Usage: server.mjs [server.crt server.key [1.2|1.3]]
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { WebSocketServer } from "ws";

const largest = 64 * 1024 * 1024;
const page = readFileSync(new URL("../browser/page.html", import.meta.url));
const lastClose = { code: null, reason: null };
const closingHere = new WeakSet();

function echo(socket, data, binary, inPieces) {
  if (!inPieces) return socket.send(data, { binary });
  const third = Math.max(1, Math.floor(data.length / 3));
  socket.send(data.subarray(0, third), { binary, fin: false });
  socket.send(data.subarray(third, 2 * third), { binary, fin: false });
  socket.send(data.subarray(2 * third), { binary, fin: true });
}

function session(socket, request) {
  const query = new URL(request.url, "http://server").searchParams;
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "!die") return process.kill(process.pid, "SIGKILL");
    if (!binary && data.toString() === "!restart") {
      closingHere.add(socket);
      return socket.close(1012, "restarting");
    }
    echo(socket, data, binary, query.has("pieces"));
  });
  socket.on("error", (error) => console.error(error.message));
  socket.on("close", (code, reason) => {
    if (!closingHere.has(socket) && code !== 1006) {
      Object.assign(lastClose, { code, reason: reason.toString() });
    }
  });
  if (query.has("info")) {
    const extensions = Object.keys(socket._extensions ?? {});
    const seen = { subprotocol: socket.protocol || null, extensions, headers: request.headers };
    socket.send(JSON.stringify(seen));
  }
  if (query.has("closed")) {
    closingHere.add(socket);
    socket.send(JSON.stringify(lastClose));
    socket.close(1000);
  }
  if (query.has("close")) {
    closingHere.add(socket);
    socket.close(Number(query.get("close")), query.get("reason") ?? "");
  }
  if (query.has("ping")) {
    socket.on("pong", (payload) => socket.send(`pong ${payload}`));
    socket.ping(query.get("ping"));
  }
}

const [cert, key, version = "1.3"] = process.argv.slice(2);
const only = `TLSv${version}`;
const tls = cert && { cert: readFileSync(cert), key: readFileSync(key), minVersion: only, maxVersion: only };
const answer = (request, response) => {
  response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
  response.end(request.url.endsWith("blank") ? "" : page);
};
const http = tls ? createTlsServer(tls, answer) : createServer(answer);
const sockets = new WebSocketServer({
  server: http,
  maxPayload: largest,
  perMessageDeflate: true,
  handleProtocols: (offered) => ["chat.v2", "chat.v1"].find((name) => offered.has(name)) ?? false,
});
sockets.on("connection", session);
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
