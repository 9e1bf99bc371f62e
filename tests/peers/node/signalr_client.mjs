// Connects several times with the client of SignalR: negotiation and socket have to reach one instance, and together they reach both.
// Usage: signalr_client.mjs http://127.0.0.1:PORT COUNT
import { strictEqual as same } from "node:assert";
import { HubConnectionBuilder, LogLevel } from "@microsoft/signalr";

const [url, count] = process.argv.slice(2);
const instances = new Set();
for (let round = 0; round < Number(count); round += 1) {
  const connection = new HubConnectionBuilder().withUrl(`${url}/hub`).configureLogging(LogLevel.Error).build();
  const greeted = new Promise((resolve) => connection.on("greeting", resolve));
  await connection.start();
  same(await connection.invoke("echo", "hé"), "hé");
  instances.add(await greeted);
  await connection.stop();
}
console.log(JSON.stringify({ instances: [...instances].sort(), passed: ["negotiate", "invoke"] }));
process.exit(0);
