// Looks at the fleet in the dashboard of edge-1, in headless Chromium. Usage: dashboard_fleet.mjs http://127.0.0.1:PORT '{"pictures"}'
// edge-2 has three sessions and refuses its file; edge-3 is registered and cannot be asked.
import { mkdirSync } from "node:fs";
import { withChromium } from "./chromium.mjs";
import { Dashboard, inspect } from "./dashboard_page.mjs";
import { expect, report, step } from "./steps.mjs";

const [base, given] = process.argv.slice(2);
const { pictures } = JSON.parse(given);

const rowOf = (node) => [...document.querySelectorAll('table[aria-label="Gateways of the fleet"] tbody tr')].find((row) => row.innerText.includes(node))?.innerText ?? "";

mkdirSync(pictures, { recursive: true });
await withChromium(async (browser) => {
  const board = await Dashboard.open(browser, base);
  const { page } = board;

  await step("names what is worst on any gateway in the head of every page", async () => {
    const verdict = () => document.querySelector("#verdict").innerText;
    await board.until(() => document.querySelector("#verdict").innerText.includes("edge-3 does not answer"));
    expect((await page.evaluate(verdict)).endsWith("1 more"), await page.evaluate(verdict));
  });

  await step("leads from the list of gateways to the fleet", async () => {
    await board.shows("What is wrong on each");
    await board.click("What is wrong on each");
    await board.at("#fleet");
    await board.until(() => document.querySelectorAll('table[aria-label="Gateways of the fleet"] tbody tr').length === 3);
  });

  await step("shows each gateway with its sessions and what is wrong", async () => {
    const rows = await Promise.all(["edge-1", "edge-2", "edge-3"].map((node) => page.evaluate(rowOf, node)));
    for (const [row, words] of [[rows[0], ["(this)", "ready"]], [rows[1], ["ready", "1 warning", "3"]], [rows[2], ["no answer", "not known"]]]) {
      for (const word of words) expect(row.includes(word), `${word}: ${row}`);
    }
  });

  await step("says first what is wrong, where, and what to do", async () => {
    const lines = await page.$$eval(".verdict-panel li", (all) => all.map((line) => line.innerText.replaceAll(/\s+/g, " ")));
    expect(lines[0].includes("Critical gateway edge-3 does not answer"), lines.join("; "));
    const refused = lines.find((line) => line.includes("edge-2 file "));
    expect(refused?.includes("Warning") && /sessile check/.test(refused), lines.join("; "));
  });

  await step("is drawn for the documentation", async () => {
    await board.picture(pictures, "fleet-light");
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
    await board.picture(pictures, "fleet-dark");
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
    await page.setViewport({ width: 360, height: 740 });
    await board.picture(pictures, "fleet-phone");
    const faults = await page.evaluate(inspect);
    expect(faults.length === 0, faults.join("; "));
  });

  await step("no errors in the console", () => expect(board.faults.length === 0, board.faults.join("; ")));
});
report("dashboard, fleet");
