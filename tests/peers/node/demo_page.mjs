// Opens the page of `sessile demo` in two tabs of headless Chromium, talks, asks for a room that is
// none, writes more lines than fit, and stops the demo. Usage: demo_page.mjs URL PID
import { withChromium } from "./chromium.mjs";
import { fail, report, step } from "./steps.mjs";

const [url, pid] = process.argv.slice(2);
// By mutation: a tab behind another draws no frames, which is what puppeteer waits for unasked.
const until = (page, condition, ...wanted) =>
  page.waitForFunction(condition, { polling: "mutation", timeout: 30_000 }, ...wanted);
const shows = (page, text) =>
  until(page, (text) => [...document.querySelectorAll("#log div")].some((line) => line.textContent === text), text);
const state = (page, text) =>
  until(page, (text) => document.querySelector("#state").textContent.includes(text), text);

const say = async (page, field, text) => {
  await page.bringToFront();
  await page.$eval(field, (input) => (input.value = ""));
  await page.type(field, text);
  await page.keyboard.press("Enter");
};

await withChromium(async (browser) => {
  const tabs = [await browser.newPage(), await browser.newPage()];
  for (const page of tabs) {
    page.on("pageerror", (error) => fail("script", error.message));
    page.on("console", (message) => {
      if (message.type() === "error") fail("console", message.text());
    });
    await page.goto(url, { timeout: 30_000 });
  }
  const [one, two] = tabs;
  await step("both join", () => Promise.all(tabs.map((page) => state(page, "connected, in lobby"))));
  await step("they meet", async () => {
    await say(one, "#text", "hello from one");
    await Promise.all(tabs.map((page) => shows(page, "← hello from one")));
    await say(two, "#text", "hello from two");
    await Promise.all(tabs.map((page) => shows(page, "← hello from two")));
  });
  await step("a room that is none is refused", async () => {
    await say(one, "#room", "not a room!");
    const refused = await one.$eval("#room", (input) => input.validity.patternMismatch);
    const lines = await one.$eval("#log", (log) => log.textContent);
    if (!refused || lines.includes("not a room!")) throw new Error(`${refused}: ${lines}`);
    await state(one, "connected, in lobby");
  });
  await step("new lines are seen", async () => {
    for (let line = 0; line < 40; line += 1) await say(one, "#text", `line ${line}`);
    await shows(one, "← line 39");
    const seen = await one.$eval("#log", (log) => {
      const box = log.getBoundingClientRect();
      const line = log.lastElementChild.getBoundingClientRect();
      return { overflows: log.scrollHeight > log.clientHeight, inside: line.bottom <= box.bottom + 1 && line.top >= box.top };
    });
    if (!seen.overflows || !seen.inside) throw new Error(JSON.stringify(seen));
  });
  await step("a stop is shown", async () => {
    process.kill(Number(pid), "SIGINT");
    await Promise.all(tabs.map((page) => state(page, "not connected: 1001")));
  });
});
report("demo page");
