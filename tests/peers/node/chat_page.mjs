// Opens the page of a chat twice in headless Chromium; each window says something, and both must
// show both. Usage: chat_page.mjs URL
import { withChromium } from "./chromium.mjs";
import { fail, report, step } from "./steps.mjs";

const [url] = process.argv.slice(2);

// By mutation: a window behind another draws no frames, which is what puppeteer waits for unasked.
const shows = (page, wanted) =>
  page.waitForFunction(
    (wanted) => document.querySelector("pre").textContent.split("\n").includes(wanted),
    { polling: "mutation", timeout: 30_000 },
    wanted,
  );

await withChromium(async (browser) => {
  const windows = [await browser.newPage(), await browser.newPage()];
  for (const page of windows) {
    page.on("pageerror", (error) => fail("script", error.message));
    await page.goto(`${url}?room=kitchen`, { timeout: 30_000 });
  }
  await step("enters", () => Promise.all(windows.map((page) => shows(page, "in kitchen"))));
  for (const [number, page] of windows.entries()) {
    const text = `hello from ${number}`;
    await step(text, async () => {
      await page.bringToFront();
      await page.type("input", text);
      await page.keyboard.press("Enter");
      await Promise.all(windows.map((page) => shows(page, text)));
    });
  }
});
report("chat page");
