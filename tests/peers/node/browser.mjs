// Opens a page in headless Chromium, waits for `window.result` and prints it.
// Usage: browser.mjs http://127.0.0.1:PORT/path
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

const [url] = process.argv.slice(2);
const userDataDir = mkdtempSync(join(tmpdir(), "sessile-chromium-"));
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  userDataDir,
  acceptInsecureCerts: true,
  args: [
    "--no-sandbox", // root has no sandbox, and the page is ours
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
  ],
});
let result;
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  await page.goto(url, { timeout: 30_000 });
  await page.waitForFunction("window.result", { timeout: 240_000 });
  result = await page.evaluate("window.result");
} finally {
  await browser.close();
  rmSync(userDataDir, { recursive: true, force: true });
}
console.log(JSON.stringify(result));
process.exit(Object.keys(result.failed).length > 0 ? 1 : 0);
