// What the wss clients in Node and in Chromium have in common; see ../README.md. It runs in a page as well: no imports.

const sizes = [0, 1, 17, 125, 126, 127, 1000, 16383, 16384, 16385, 65535, 65536, 300_000, 1 << 20];

/** The text of message `number`. */
function numbered(number) {
  const size = sizes[number % sizes.length];
  return `${number}:`.padEnd(size, "0123456789").slice(0, size);
}

/** Numbered messages over any WebSocket that sends by `send(text, number)` and fills `arrived`. */
export class Conversation {
  sent = 0;
  #arrived = [];
  #wake = () => {};

  constructor(send) {
    this.send = send;
  }

  arrive(text) {
    this.#arrived.push(text);
    this.#wake();
  }

  async #receive(wanted) {
    while (this.#arrived.length === 0) await new Promise((resolve) => (this.#wake = resolve));
    const came = this.#arrived.shift();
    if (came !== wanted) throw new Error(`${came.slice(0, 20)} instead of ${wanted.slice(0, 20)}`);
  }

  async talk(count) {
    let expected = [];
    for (let left = count; left > 0; left--) {
      const text = numbered(this.sent);
      this.send(text, this.sent);
      this.sent += 1;
      expected.push(text);
      if (text.length > 1000 || expected.length === 5 || left === 1) {
        for (const wanted of expected) await this.#receive(wanted);
        expected = [];
      }
    }
    return { talked: this.sent };
  }
}
