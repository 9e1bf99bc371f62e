// A Socket.IO backend: npm install socket.io, then: node server.mjs 9101, and another with 9102.
import { Server } from "socket.io";

const port = Number(process.argv[2] ?? 9101);
const io = new Server(port);
io.on("connection", (socket) => {
  socket.on("say", (text, answer) => answer(`${port} heard: ${text}`));
});
