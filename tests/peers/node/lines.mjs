// Commands on standard input, a line each, and their answers on standard output; see ../README.md.
import { createInterface } from "node:readline";

export async function answerLines(opened, commands) {
  console.log(JSON.stringify({ opened }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...rest] = line.split(" ");
    console.log(JSON.stringify(await commands[word](...rest)));
  }
  process.exit(0);
}
