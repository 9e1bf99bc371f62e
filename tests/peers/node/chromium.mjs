// Headless Chromium with a profile of its own, gone when `use` is done, and gone when this process or its parent ends first.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import puppeteer from "puppeteer-core";

// For one answer of the browser; less than any test waits for this program.
const ANSWER_MAX = 60_000;
// Between two looks at whether the parent lives.
const LOOK_EVERY = 500;

export async function withChromium(use) {
  const userDataDir = mkdtempSync(join(tmpdir(), "sessile-chromium-"));
  const clear = () => rmSync(userDataDir, { recursive: true, force: true, maxRetries: 5 });
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    // Chromium ends when this pipe closes, which it does however this process ends.
    pipe: true,
    protocolTimeout: ANSWER_MAX,
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
  const parent = process.ppid;
  const looking = setInterval(() => {
    if (process.ppid === parent) return;
    browser.process()?.kill("SIGKILL");
    clear();
    process.exit(1);
  }, LOOK_EVERY);
  try {
    return await use(browser);
  } finally {
    clearInterval(looking);
    await browser.close();
    clear();
  }
}
