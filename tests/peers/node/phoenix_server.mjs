// A server of Phoenix channels (serializer 2.0.0: `[join_ref, ref, topic, event, payload]`), as an endpoint with `socket "/socket"`
// answers. It replies to every push with its payload.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((request, response) => {
  response.statusCode = request.url === "/healthz" ? 200 : 404;
  response.end();
});
const sockets = new WebSocketServer({ noServer: true });
http.on("upgrade", (request, socket, head) => {
  const { pathname, searchParams } = new URL(request.url, "http://localhost");
  if (pathname !== "/socket/websocket" || searchParams.get("vsn") !== "2.0.0") return socket.destroy();
  sockets.handleUpgrade(request, socket, head, (connection) => {
    connection.on("message", (text) => {
      const [join, ref, topic, event, payload] = JSON.parse(text);
      const send = (ref, event, payload) => connection.send(JSON.stringify([join, ref, topic, event, payload]));
      send(ref, "phx_reply", { status: "ok", response: payload });
      if (event === "phx_join") send(null, "greeting", { topic });
    });
  });
});
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
