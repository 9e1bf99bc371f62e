// Subscribes with the client of ActionCable and gets back what it performs. Usage: actioncable_client.mjs http://127.0.0.1:PORT
import { deepStrictEqual as same } from "node:assert";
import WebSocket from "ws";

const [url] = process.argv.slice(2);
const passed = [];
// The client is written for pages: their origin, and events that it listens for.
const nothing = () => {};
Object.assign(globalThis, {
  addEventListener: nothing,
  removeEventListener: nothing,
  document: { addEventListener: nothing, removeEventListener: nothing, visibilityState: "visible" },
  WebSocket: class extends WebSocket {
    constructor(address, protocols) {
      super(address, protocols, { origin: url });
    }
  },
});
const { adapters, createConsumer } = await import("@rails/actioncable");
adapters.WebSocket = globalThis.WebSocket;
const consumer = createConsumer(`${url.replace("http", "ws")}/cable`);
const received = [];
let wake = nothing;
const subscription = await new Promise((resolve, reject) => {
  const created = consumer.subscriptions.create({ channel: "ChatChannel", room: "lobby" }, {
    connected: () => resolve(created),
    rejected: () => reject(new Error("rejected")),
    received: (message) => {
      received.push(message);
      wake();
    },
  });
});
passed.push("subscribe");
const message = new Promise((resolve) => (wake = resolve));
subscription.perform("speak", { body: "hé" });
await message;
same(received, [{ action: "speak", body: "hé" }]);
passed.push("perform");
consumer.disconnect();
console.log(JSON.stringify({ passed }));
process.exit(0);
