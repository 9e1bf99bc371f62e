// Watches a hand-over in the dashboard, in headless Chromium. Usage: dashboard_handover.mjs http://127.0.0.1:PORT STEPS SESSIONS
// A connection to the port STEPS begins the hand-over, and a second one lets it end.
import { once } from "node:events";
import { connect } from "node:net";
import { withChromium } from "./chromium.mjs";
import { Dashboard } from "./dashboard_page.mjs";
import { expect, report, step } from "./steps.mjs";

const [base, port, sessions] = process.argv.slice(2);

const ask = async () => {
  const socket = connect(Number(port), "127.0.0.1");
  socket.resume();
  await once(socket, "close");
};

await withChromium(async (browser) => {
  const board = await Dashboard.open(browser, base);

  await step("shows no hand-over before", async () => {
    await board.shows("All is well", "#verdict");
    expect(!(await board.text()).includes("Handing over"), await board.text());
  });

  await step("shows how many sessions are left while it runs", async () => {
    await ask();
    await board.shows("Handing over to process");
    const bar = `Handing over to process \\d+: running, ${sessions} of ${sessions}`;
    await board.until((bar) => [...document.querySelectorAll("svg.bar")].some((one) => new RegExp(bar).test(one.getAttribute("aria-label") ?? "")), bar);
  });

  await step("shows the new process when it is done", async () => {
    await ask();
    await board.shows("Taken over from process");
    await board.shows(`${Number(sessions) + 1} sessions`);
    await board.shows("All is well", "#verdict");
  });
});
report("dashboard, hand-over");
