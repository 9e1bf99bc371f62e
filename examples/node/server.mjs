// An echo backend on `ws`: npm install --no-save --prefix examples/node ws, then
// node examples/node/server.mjs 9101
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2] ?? 9101) });
server.on("listening", () => console.log(`echo on 127.0.0.1:${server.address().port}`));
server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});
