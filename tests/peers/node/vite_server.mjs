// The development server of Vite over a folder.
// Usage: vite_server.mjs FOLDER
import { createServer } from "vite";

const [root] = process.argv.slice(2);
const server = await createServer({
  root,
  configFile: false,
  logLevel: "silent",
  server: { host: "127.0.0.1", port: 0 },
});
await server.listen();
console.log(JSON.stringify({ port: server.httpServer.address().port }));
