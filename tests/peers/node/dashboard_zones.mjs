// Opens the dashboard of a gateway in zone `a`, of whose two backends there one is not well, one of the other zone is.
// Usage: dashboard_zones.mjs http://127.0.0.1:PORT
import { withChromium } from "./chromium.mjs";
import { Dashboard } from "./dashboard_page.mjs";
import { expect, report, step } from "./steps.mjs";

const [base] = process.argv.slice(2);
await withChromium(async (browser) => {
  await step("shows the levels and how much spills over", async () => {
    const board = await Dashboard.open(browser, base);
    await board.shows("upstream echo", "#verdict");
    await board.goTo("upstreams");
    await board.shows("of its keys spill over");
    const rows = () => [...document.querySelectorAll("main tbody tr")].map((row) => row.innerText.replace(/\s+/g, " "));
    await board.until(() => document.querySelectorAll("main table").length === 2);
    const shown = await board.page.evaluate(rows);
    expect(shown.some((row) => /^zone a 1 of 2 \S 71 % 0$/.test(row)), shown.join("; "));
    expect(shown.some((row) => /^other zones 1 of 1 \S 100 % 0$/.test(row)), shown.join("; "));
    expect(shown.filter((row) => row.includes("zone a")).length === 3, shown.join("; "));
    expect(board.faults.length === 0, board.faults.join("; "));
    await board.page.close();
  });
});
report("dashboard, zones");
