// Client on the `ws` library that tries every case against a server of ../README.md.
// Usage: client.mjs ws://127.0.0.1:PORT/path [ca.pem]
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { once } from "node:events";
import { deepStrictEqual as same } from "node:assert";
import WebSocket from "ws";

const [url, caFile] = process.argv.slice(2);
const ca = caFile && readFileSync(caFile);

/** A socket whose messages can be awaited one by one, in order. */
class Session {
  #arrived = [];
  #waiting = [];

  constructor(query = "", { subprotocols = [], deflate = false } = {}) {
    const options = { ca, perMessageDeflate: deflate, maxPayload: 64 * 1024 * 1024 };
    this.socket = new WebSocket(`${url}?${query}`, subprotocols, options);
    this.socket.on("message", (data, binary) => {
      const message = binary ? data : data.toString();
      const waiter = this.#waiting.shift();
      waiter ? waiter(message) : this.#arrived.push(message);
    });
    this.ended = new Promise((resolve) => {
      this.socket.on("close", (code, reason) => resolve([code, reason.toString()]));
    });
    this.failed = new Promise((_, reject) => this.socket.on("error", reject));
    this.failed.catch(() => {});
  }

  async open() {
    await Promise.race([once(this.socket, "open"), this.failed]);
    return this;
  }

  receive() {
    if (this.#arrived.length > 0) return this.#arrived.shift();
    const ended = this.ended.then(([code]) => Promise.reject(new Error(`closed with ${code}`)));
    ended.catch(() => {});
    return Promise.race([new Promise((resolve) => this.#waiting.push(resolve)), ended, this.failed]);
  }

  async close(code = 1000, reason = "") {
    this.socket.close(code, reason);
    return await this.ended;
  }
}

async function echoes(message, query) {
  const session = await new Session(query).open();
  session.socket.send(message);
  same(await session.receive(), message);
  same((await session.close())[0], 1000);
}

const cases = {
  async text() {
    await echoes("grüße, 世界 😀");
    await echoes("");
  },
  async binary() {
    await echoes(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
  },
  async fragments() {
    const session = await new Session().open();
    for (const [part, fin] of [["one ", false], ["two ", false], ["", false], ["three", true]]) {
      session.socket.send(part, { fin });
    }
    same(await session.receive(), "one two three");
    await session.close();
    await echoes("in three pieces, please", "pieces");
  },
  async sixteen_mebibytes() {
    await echoes(randomBytes(16 * 1024 * 1024));
  },
  async many() {
    const session = await new Session().open();
    for (let number = 0; number < 500; number++) session.socket.send(`message ${number}`);
    for (let number = 0; number < 500; number++) same(await session.receive(), `message ${number}`);
    await session.close();
  },
  async ping_from_client() {
    const session = await new Session().open();
    session.socket.ping("from client");
    const [payload] = await once(session.socket, "pong");
    same(payload.toString(), "from client");
    await session.close();
  },
  async ping_from_server() {
    const session = await new Session("ping=from-server").open();
    same(await session.receive(), "pong from-server");
    await session.close();
  },
  async ping_between_fragments() {
    const session = await new Session().open();
    session.socket.send("before ", { fin: false });
    session.socket.ping("between");
    await once(session.socket, "pong");
    session.socket.send("after", { fin: true });
    same(await session.receive(), "before after");
    await session.close();
  },
  async subprotocol() {
    const session = await new Session("info", { subprotocols: ["chat.v0", "chat.v2"] }).open();
    same(session.socket.protocol, "chat.v2");
    same(JSON.parse(await session.receive()).subprotocol, "chat.v2");
    await session.close();
  },
  async no_subprotocol() {
    const session = await new Session("info").open();
    same(session.socket.protocol, "");
    same(JSON.parse(await session.receive()).subprotocol, null);
    await session.close();
  },
  async deflate() {
    const session = await new Session("info", { deflate: true }).open();
    same(JSON.parse(await session.receive()).extensions, ["permessage-deflate"]);
    same(session.socket.extensions.split(";")[0], "permessage-deflate");
    for (const message of ["compress me ".repeat(10_000), Buffer.alloc(1_000_000), "again ".repeat(9_999)]) {
      session.socket.send(message);
      same(await session.receive(), message);
    }
    await session.close();
  },
  async close_from_client() {
    const session = await new Session().open();
    same(await session.close(4002, "client says bye"), [4002, "client says bye"]);
    const after = await new Session("closed").open();
    same(JSON.parse(await after.receive()), { code: 4002, reason: "client says bye" });
    await after.ended;
  },
  async close_from_server() {
    for (const [code, reason] of [[1000, ""], [1001, "away"], [1012, "später"], [4001, "x".repeat(123)]]) {
      const session = await new Session(`close=${code}&reason=${encodeURIComponent(reason)}`).open();
      same(await session.ended, [code, reason]);
    }
  },
};

const passed = [];
const failed = {};
for (const [name, run] of Object.entries(cases)) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("took longer than 30 s")), 30_000);
  });
  try {
    await Promise.race([run(), late]);
    passed.push(name);
  } catch (error) {
    failed[name] = String(error.message).slice(0, 300);
  }
  clearTimeout(timer);
}
console.log(JSON.stringify({ client: "node", failed, passed }));
process.exit(Object.keys(failed).length > 0 ? 1 : 0);
