// Opens the dashboard of a gateway whose admin API is on loopback without a token, and tries what pages of other
// origins may do with it. Usage: dashboard_local.mjs http://127.0.0.1:PORT
import { withChromium } from "./chromium.mjs";
import { Dashboard } from "./dashboard_page.mjs";
import { expect, report, step } from "./steps.mjs";

const [base] = process.argv.slice(2);
await withChromium(async (browser) => {
  await step("opens without a question, from the root", async () => {
    const board = await Dashboard.open(browser, base);
    await board.page.goto(`${base}/`, { timeout: 30_000 });
    await board.shows("local · operator", "#who");
    expect(new URL(board.page.url()).pathname === "/ui/", board.page.url());
    await board.goTo("node");
    await board.click("Read the files again");
    await board.shows("the files are in force", "#toasts");
    expect(board.faults.length === 0, board.faults.join("; "));
    await board.page.close();
  });

  await step("is opened by a link on another page", async () => {
    const page = await browser.newPage();
    await page.goto(`data:text/html,<a href="${base}/ui/%23sessions">the dashboard</a>`);
    await Promise.all([page.waitForNavigation({ timeout: 30_000 }), page.click("a")]);
    const board = new Dashboard(page, base);
    await board.shows("No live session matches");
    await page.close();
  });

  await step("is no use to another page", async () => {
    const page = await browser.newPage();
    await page.goto(`data:text/html,<iframe src="${base}/ui/"></iframe>`);
    const read = (url) => fetch(url).then((answer) => answer.status, () => "blocked");
    expect((await page.evaluate(read, `${base}/v1/status`)) === "blocked", "the API is read");
    expect((await page.evaluate(read, `${base}/ui/`)) === "blocked", "the page is read");
    const load = (source) =>
      new Promise((resolve) => {
        const script = document.createElement("script");
        Object.assign(script, { src: source, onload: () => resolve("loaded"), onerror: () => resolve("blocked") });
        document.head.append(script);
      });
    expect((await page.evaluate(load, `${base}/ui/app.js`)) === "blocked", "the script is loaded");
    for (const frame of page.frames()) {
      if (frame !== page.mainFrame()) expect(!(await frame.content()).includes("Sessile"), "it is framed");
    }
    await page.close();
  });
});
report("dashboard, local");
