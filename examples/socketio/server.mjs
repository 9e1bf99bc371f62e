// A Socket.IO backend: npm install --no-save --prefix examples/socketio socket.io, then
// node examples/socketio/server.mjs 9101, and another with 9102.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http);
io.on("connection", (socket) => {
  socket.on("say", (text, answer) => answer(`${http.address().port} heard: ${text}`));
});
http.listen(Number(process.argv[2] ?? 9101), "127.0.0.1", () => {
  console.log(`Socket.IO on 127.0.0.1:${http.address().port}`);
});
