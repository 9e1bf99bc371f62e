// Socket.IO echo server. Its argument is the instance's name, which every answer carries; long
// polling needs all requests of a client at one instance, so a wrong one answers 400 by itself.
import { createServer } from "node:http";
import { Server } from "socket.io";

const name = process.argv[2] ?? "one";
const http = createServer();
const io = new Server(http, { maxHttpBufferSize: 64 * 1024 * 1024, pingInterval: 1_000 });
io.on("connection", (socket) => {
  socket.on("echo", (payload, answer) => answer({ payload, name, id: socket.id }));
  socket.on("close me", () => socket.disconnect(true));
});
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
