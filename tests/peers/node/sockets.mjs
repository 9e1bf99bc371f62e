// Opens WebSockets from a page in headless Chromium, one after the other, and prints what a script
// there saw of each. Usage: sockets.mjs http://127.0.0.1:PORT/page '[{"url","protocols","mint","token"}]'
// With `mint` the page first POSTs to that path or URL, with `token` as its credential if there is one,
// and puts the ticket it gets behind the URL.
import { withChromium } from "./chromium.mjs";

const [from, list] = process.argv.slice(2);

async function attempt({ url, protocols, mint, token }) {
  if (mint) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await fetch(mint, { method: "POST", headers }).catch(() => undefined);
    // The browser keeps answers to pages of other origins from the script.
    if (!answer) return { minted: "blocked" };
    if (!answer.ok) return { minted: answer.status };
    const { ticket, parameter } = await answer.json();
    url += `?${parameter}=${ticket}`;
  }
  const open = () =>
    new Promise((resolve) => {
      const seen = { opened: false };
      const socket = new WebSocket(url, protocols ?? []);
      socket.onopen = () => {
        seen.opened = true;
        seen.protocol = socket.protocol;
        socket.send("grüße");
      };
      socket.onmessage = ({ data }) => {
        seen.echoed = data;
        socket.close(1000);
      };
      socket.onclose = ({ code, reason, wasClean }) => resolve({ ...seen, code, reason, wasClean });
    });
  const seen = await open();
  if (mint) seen.again = await open();
  return seen;
}

const sockets = await withChromium(async (browser) => {
  const page = await browser.newPage();
  await page.goto(from, { timeout: 30_000 });
  const seen = [];
  for (const wanted of JSON.parse(list)) {
    if (wanted.cookie) await page.evaluate((cookie) => (document.cookie = cookie), wanted.cookie);
    seen.push(await page.evaluate(attempt, wanted));
  }
  return seen;
});
console.log(JSON.stringify({ client: "chromium", failed: {}, passed: ["opened"], sockets }));
process.exit(0);
