// A wss client on the `ws` library, driven by lines; see ../README.md.
// Usage: wss.mjs wss://127.0.0.1:PORT/path ca.pem [1.2|1.3] [cipher suite]
import { readFileSync } from "node:fs";
import { once } from "node:events";
import WebSocket from "ws";
import { answerLines } from "./lines.mjs";
import { Conversation } from "./talk.mjs";

const [url, ca, version = "1.3", ciphers] = process.argv.slice(2);
const only = `TLSv${version}`;
const socket = new WebSocket(url, {
  ca: readFileSync(ca),
  minVersion: only,
  maxVersion: only,
  ...(ciphers && { ciphers }),
  perMessageDeflate: false,
});

const conversation = new Conversation((text, number) => {
  const middle = (number * 37) % (text.length + 1);
  const binary = number % 2 === 1;
  socket.send(text.slice(0, middle), { binary, fin: false });
  socket.send(text.slice(middle), { binary, fin: true });
});
socket.on("message", (data) => conversation.arrive(data.toString()));
const ended = once(socket, "close").then(([code, reason]) => ({ ended: [code, reason.toString()] }));
await once(socket, "open");
const tls = socket._socket;

await answerLines([tls.getProtocol(), tls.getCipher().standardName], {
  talk: (count) => conversation.talk(Number(count)),
  close: () => (socket.close(4001, "bye"), ended),
  restart: () => (socket.send("!restart"), ended),
});
