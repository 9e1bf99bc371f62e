// Opens a page in headless Chromium, waits for `window.result` and prints it.
// Usage: browser.mjs http://127.0.0.1:PORT/path
import { withChromium } from "./chromium.mjs";

const [url] = process.argv.slice(2);
const result = await withChromium(async (browser) => {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  await page.goto(url, { timeout: 30_000 });
  await page.waitForFunction("window.result", { timeout: 240_000 });
  return page.evaluate("window.result");
});
console.log(JSON.stringify(result));
process.exit(Object.keys(result.failed).length > 0 ? 1 : 0);
