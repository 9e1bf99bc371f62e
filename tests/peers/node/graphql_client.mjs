// Queries by POST and a subscription over graphql-transport-ws.
// Usage: graphql_client.mjs http://127.0.0.1:PORT/graphql
import { deepStrictEqual as same, ok } from "node:assert";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url] = process.argv.slice(2);
const passed = [];

const response = await fetch(url, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ query: "{ name }" }),
});
const { data } = await response.json();
ok(["one", "two"].includes(data.name));
passed.push("query");

const client = createClient({ url: url.replace("http", "ws"), webSocketImpl: WebSocket, retryAttempts: 0 });
const seen = [];
for await (const { data } of client.iterate({ query: "subscription { countdown(from: 3) }" })) {
  seen.push(data.countdown);
}
same(seen, [3, 2, 1, 0]);
passed.push("subscription");
await client.dispose();
console.log(JSON.stringify({ passed }));
