// A wss client in headless Chromium, driven by lines; see ../README.md. Usage: wss_page.mjs wss://127.0.0.1:PORT/path
import { readFileSync } from "node:fs";
import { answerLines } from "./lines.mjs";
import { withChromium } from "./chromium.mjs";

const [url] = process.argv.slice(2);
const talk = readFileSync(new URL("talk.mjs", import.meta.url), "utf8");

/** In the page: opens the session as `window.session`. */
async function open(url, talk) {
  const { Conversation } = await import(`data:text/javascript,${encodeURIComponent(talk)}`);
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const conversation = new Conversation((text, number) =>
    socket.send(number % 2 === 1 ? new TextEncoder().encode(text) : text),
  );
  socket.onmessage = ({ data }) =>
    conversation.arrive(typeof data === "string" ? data : new TextDecoder().decode(data));
  const ended = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve({ ended: [code, reason], clean: wasClean });
  });
  window.session = { socket, conversation, ended };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("did not open"));
  });
}

await withChromium(async (browser) => {
  const page = await browser.newPage();
  // The page comes through the gateway too, so that the certificate is accepted once.
  const blank = `${url.replace("wss", "https")}${url.includes("?") ? "&" : "?"}blank`;
  const response = await page.goto(blank, { timeout: 30_000 });
  await page.evaluate(open, url, talk);
  await answerLines([response.securityDetails().protocol(), "browser"], {
    talk: (count) => page.evaluate((count) => session.conversation.talk(count), Number(count)),
    close: () => page.evaluate(() => (session.socket.close(4001, "bye"), session.ended)),
    restart: () => page.evaluate(() => (session.socket.send("!restart"), session.ended)),
  });
});
