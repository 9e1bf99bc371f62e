// Uses the dashboard of a gateway as an operator does, in headless Chromium.
// Usage: dashboard.mjs http://127.0.0.1:PORT '{"token","readToken","hostile","pictures","file"}'
// The gateway has the upstreams `chat` (chat-1 to chat-3) and `feed`, a session of the principal `ann` and one
// of the principal `hostile`, whose name is markup. Pictures of the views go into the folder `pictures`; `file` is its configuration.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { withChromium } from "./chromium.mjs";
import { Dashboard, inspect } from "./dashboard_page.mjs";
import { expect, report, step } from "./steps.mjs";
import { count } from "../../../src/admin/ui/format.js";

const [base, given] = process.argv.slice(2);
const { token, readToken, hostile, pictures, file } = JSON.parse(given);
// Of Chromium to one host, for all tabs together.
const CONNECTIONS_MAX = 6;
const VIEWS = ["overview", "upstreams", "sessions", "refusals", "history", "explain", "certificates", "node", "fleet"];

const badgeOf = (backend, word) =>
  [...document.querySelectorAll("main tbody tr")].some((row) => row.querySelector("b")?.innerText === backend && row.innerText.includes(word));

mkdirSync(pictures, { recursive: true });
await withChromium(async (browser) => {
  const board = await Dashboard.open(browser, base);
  const { page } = board;
  const all = [board];

  await step("asks for the token and shows nothing before", async () => {
    await page.waitForSelector("#login[open]", { timeout: 30_000 });
    expect(!(await page.content()).includes("under-test"), "the name of the node is shown");
    await page.keyboard.press("Escape");
    expect(await page.$("#login[open]"), "the dialog closes without a token");
    await board.signIn("not-the-token");
    await board.shows("does not accept this token", "#login");
    expect((await page.$("main .panel")) === null, "something is shown");
    await board.signIn(token);
    await board.shows("chat");
  });

  await step("opens with the picture", async () => {
    await board.shows("All is well", "#verdict");
    await board.until(() => document.querySelectorAll("svg.ring").length === 2);
    await board.shows("operator", "#who");
    await board.until(() => document.querySelectorAll(".tile .spark polyline").length >= 4);
    const tiles = await page.$$eval(".tile h3", (titles) => titles.map((title) => title.innerText));
    expect(tiles.join() === "Sessions,Messages,Bytes,Refusals", tiles.join());
  });

  await step("keeps the token out of addresses and storage that lasts", async () => {
    const urls = [...board.requests.map(({ url }) => url), page.url()];
    expect(urls.every((url) => !url.includes(token) && url.startsWith(base)), urls.join(" "));
    const asked = board.requests.filter(({ url }) => new URL(url).pathname.startsWith("/v1/status"));
    expect(asked.length > 0 && asked.every(({ headers }) => headers.authorization === `Bearer ${token}`), "no token is sent");
    const files = board.requests.filter(({ url }) => new URL(url).pathname.startsWith("/ui/"));
    expect(files.every(({ headers }) => !headers.authorization), "files are asked for with the token");
    const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }, history.state]));
    expect(!kept.includes(token), kept);
    expect(!(await page.content()).includes(token), "the token is in the page");
  });

  await step("searches sessions", async () => {
    await board.goTo("sessions");
    await board.until(() => document.querySelectorAll("main tbody tr").length >= 8);
    await page.keyboard.press("/");
    await page.keyboard.type("ann");
    await page.keyboard.press("Enter");
    await board.at("#sessions?principal=ann");
    await board.until(() => document.querySelectorAll("main tbody tr").length === 1);
    expect((await board.text("main tbody")).includes("feed"), await board.text());
    await board.goTo("upstreams");
    expect((await page.$eval("#upstream-search", (input) => input.value)) === "", "what was typed elsewhere is here");
    await page.goBack();
    await board.until(() => document.querySelector("#filter-principal")?.value === "ann");
  });

  await step("looks into a session", async () => {
    await board.clickFirst("main tbody a");
    await board.shows("From the client");
    const text = await board.text();
    for (const word of ["Authenticator", "users", "ann", "Handshake", "Request id", "Why here", "claim:sub", "The first choice"]) {
      expect(text.includes(word), `${word}: ${text}`);
    }
  });

  await step("closes a session, with words for its client", async () => {
    await board.click("Close…");
    await page.waitForSelector("#confirm[open]");
    await page.keyboard.type("closed by the test");
    await board.click("Close it");
    await board.shows("is closing", "#toasts");
    await board.at("#sessions");
    await board.until(() => !/\bann\b/.test(document.querySelector("main tbody")?.innerText));
  });

  await step("sorts sessions", async () => {
    await board.goTo("sessions");
    await page.select("#filter-sort", "-message_rate");
    await board.at("#sessions?sort=-message_rate");
    await board.until(() => document.querySelector("main thead")?.innerText.includes("Messages/s"));
    const first = await page.$eval("main tbody tr", (row) => row.innerText);
    expect(first.includes("rooms"), `the silent session is first: ${first}`);
    await page.select("#filter-sort", "-idle");
    await board.until((name) => document.querySelector("main tbody tr")?.innerText.includes(name), hostile);
  });

  await step("watches the frames of a session", async () => {
    await board.goTo("sessions");
    await board.search("#filter-route", "rooms");
    await board.at("#sessions?route=rooms");
    await board.until(() => document.querySelector("main tbody tr"));
    await board.clickFirst("main tbody a");
    await board.shows("Why here");
    await board.click("Watch frames");
    await board.until(() => /client → text[^]*backend ← text/.test(document.querySelector(".log")?.innerText.replaceAll("\n", " ")));
    expect(!(await board.text(".log")).includes("a message"), "payload is shown");
    await board.click("Stop");
    await board.shows("ended: stopped");
    await board.click("Watch with payload");
    await board.shows("a message that passes", ".log");
    await board.until(() => document.querySelectorAll(".log li").length > 5);
    await page.$eval("#main", (main) => [...main.querySelectorAll(".panel")].at(-1).scrollIntoView());
    await board.picture(pictures, "tap-light");
    await board.click("Stop");
    await board.shows("ended: stopped");
  });

  await step("moves a session to another backend", async () => {
    await board.click("Move…");
    await page.waitForSelector("#confirm[open]");
    await board.click("Move");
    await board.until(() => [...document.querySelectorAll("main .timeline li")].some((move) => move.innerText.includes("by token")));
  });

  await step("texts of strangers are texts", async () => {
    await board.goTo("sessions");
    await board.shows(hostile);
    await page.evaluate((name) => [...document.querySelectorAll("main tbody a")].find((one) => one.innerText === name).click(), hostile);
    await board.shows("From the client");
    expect((await page.evaluate(() => window.hacked)) === undefined, "markup of a stranger ran");
    expect((await page.$("main img, main script")) === null, "markup of a stranger is in the page");
  });

  await step("a late answer is not read with another view's parameters", async () => {
    expect((await board.hash()).startsWith("#session?id="), await board.hash());
    const { caught } = await board.holdNext("/v1/traffic");
    await page.keyboard.press("r");
    const release = await caught;
    await page.evaluate(() => (location.hash = "#history"));
    await board.shows("Changes, the newest first");
    const before = board.requests.length;
    await release();
    await board.readAgain();
    const asked = board.requests.slice(before).map(({ url }) => new URL(url).pathname);
    expect(!asked.some((path) => path.startsWith("/v1/sessions/")), asked.join(" "));
    await page.goBack();
    await board.shows("From the client");
  });

  await step("sends a message into a session", async () => {
    await board.click("Send a message…");
    await page.waitForSelector("#confirm[open]");
    await page.keyboard.type("a word from the operator");
    await board.click("Send");
    await board.shows("on its way", "#toasts");
  });

  await step("drains a backend and undoes it", async () => {
    await board.goTo("upstreams");
    await board.click("Drain chat-1");
    await page.waitForSelector("#confirm[open]");
    await page.keyboard.press("Escape");
    await board.until(badgeOf, "chat-1", "healthy");
    await board.click("Drain chat-1");
    await page.waitForSelector("#confirm[open]");
    await page.keyboard.type("2/s");
    await board.click("Drain");
    await board.until(badgeOf, "chat-1", "draining");
    await board.shows("Drain of chat-1");
    await board.picture(pictures, "drain-light");
    await board.until(() => /Drain of chat-1\s*\W*\s*done/.test(document.querySelector("main").innerText));
    await board.click("Undo chat-1");
    await board.until(badgeOf, "chat-1", "healthy");
    await board.shows("All is well", "#verdict");
  });

  await step("explains a request", async () => {
    await board.goTo("explain");
    await page.type("#explain-url", "/feed/acme");
    await page.type("#explain-as", "ann");
    await board.click("Explain");
    await board.shows("claim:sub", "#explanation");
    for (const word of ["feed", "ann", "takes the request"]) expect((await board.text("#explanation")).includes(word), word);
    await page.$eval("#explain-as", (input) => (input.value = ""));
    await board.click("Explain");
    await board.shows("401 credential missing", "#explanation");
  });

  await step("counts refusals by reason", async () => {
    await board.goTo("refusals");
    await board.shows("no route");
    await board.click("credential missing");
    await board.at("#refusals?reason=credential_missing");
    await board.until(() => document.querySelectorAll('table[aria-label="Refused requests"] tbody tr').length === 1);
    const refused = await board.text('table[aria-label="Refused requests"]');
    for (const word of ["401", "feed", "/feed/acme"]) expect(refused.includes(word), `${word}: ${refused}`);
  });

  await step("shows what changed, by whom, with the difference", async () => {
    await board.goTo("history");
    await board.shows("by token");
    const text = (await board.text()).replaceAll(/\s+/g, " ");
    for (const word of ["drain chat/chat-1", "configuration changed", "generation 2"]) expect(text.includes(word), `${word}: ${text}`);
    await board.until(() => document.querySelector(".diff .add")?.innerText.includes("limits"));
    await page.select("#history-class", "sessions");
    await board.until(() => document.querySelector("#main").dataset.address.includes("class=sessions"));
    await board.shows("session ended");
    await board.shows("closed by the test");
  });

  await step("shows certificates and sources", async () => {
    await board.goTo("certificates");
    await board.shows("edge.test");
    const { items } = await page.evaluate((token) => fetch("/v1/certificates", { headers: { authorization: `Bearer ${token}` } }).then((answer) => answer.json()), token);
    const days = `${count(Math.floor(items[0].days_left))} days`;
    await board.shows(days, 'table[aria-label="Certificates"]');
    await board.shows("users", 'table[aria-label="Credentials"]');
    await board.shows("admin.read_token", 'table[aria-label="Tokens"]');
    await board.goTo("node");
    await board.shows("current");
    await board.click("Read the files again");
    await board.shows("the files are in force", "#toasts");
  });

  await step("says first what is wrong, where and what to do", async () => {
    const good = readFileSync(file, "utf8");
    await board.goTo("overview");
    writeFileSync(file, `${good}\nnonsense = 1\n`);
    // By another operator, so that the page's console stays empty.
    const reload = await fetch(`${base}/v1/reload`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
    expect(reload.status === 422, reload.status);
    await board.until(() => /^file /.test(document.querySelector("#verdict")?.innerText));
    const [line] = await page.$$eval(".verdict-panel li", (all) => all.map((one) => one.innerText.replaceAll(/\s+/g, " ")));
    for (const word of ["Warning", "gateway.toml", "nonsense", "sessile check"]) expect(line.includes(word), `${word}: ${line}`);
    await page.$$eval("#toasts button", (all) => all.forEach((one) => one.click()));
    await board.picture(pictures, "wrong-light");
    await page.click(".verdict-panel a");
    await board.at("#node");
    await board.shows("The file is refused since");
    writeFileSync(file, good);
    await board.click("Read the files again");
    await board.shows("All is well", "#verdict");
  });

  await step("needs nothing but the keyboard", async () => {
    const keys = await Dashboard.open(browser, base);
    all.push(keys);
    await keys.signIn(token);
    await keys.shows("chat");
    await keys.page.keyboard.press("?");
    await keys.shows("Keyboard shortcuts", "#help");
    await keys.page.keyboard.press("Escape");
    await keys.page.keyboard.press("2");
    await keys.until(badgeOf, "chat-2", "healthy");
    await keys.tabTo("Drain chat-2");
    await keys.page.keyboard.press("Enter");
    await keys.page.waitForSelector("#confirm[open]");
    await keys.page.keyboard.type("100/s");
    await keys.page.keyboard.press("Enter");
    await keys.until(badgeOf, "chat-2", "draining");
    await keys.tabTo("Undo chat-2");
    await keys.page.keyboard.press("Enter");
    await keys.until(badgeOf, "chat-2", "healthy");
    await keys.page.keyboard.press("3");
    await keys.until(() => document.querySelectorAll('table[aria-label="Sessions"] tbody tr').length > 2);
    await keys.page.keyboard.press("j");
    await keys.page.keyboard.press("j");
    await keys.page.keyboard.press("Enter");
    await keys.until(() => location.hash.startsWith("#session?id="));
    await keys.page.close();
  });

  await step("a token that may look changes nothing", async () => {
    const reader = await Dashboard.open(browser, base, { hash: "#upstreams" });
    all.push(reader);
    await reader.signIn(readToken);
    await reader.shows("read only", "#who");
    await reader.until(badgeOf, "chat-1", "healthy");
    const open = await reader.page.$$eval("main button[data-do]", (all) => all.filter((one) => !one.disabled).map((one) => one.innerText));
    expect(open.length === 0, `${open} may be pressed`);
    await reader.page.close();
  });

  await step("stays live in more tabs than a browser has connections", async () => {
    const tabs = [];
    for (let number = 0; number < CONNECTIONS_MAX + 1; number += 1) {
      const tab = await Dashboard.open(browser, base);
      tabs.push(tab);
      all.push(tab);
      await tab.signIn(token);
      await tab.shows("chat");
    }
    await board.goTo("sessions");
    await board.shows(hostile);
    await tabs.at(-1).goTo("certificates");
    await tabs.at(-1).shows("edge.test");
    for (const tab of tabs) await tab.page.close();
  });

  await step("is drawn for the documentation", async () => {
    await board.goTo("overview");
    await board.until(() => document.querySelectorAll(".tile .spark polyline").length >= 4);
    await page.$$eval("#toasts button", (all) => all.forEach((one) => one.click()));
    await board.picture(pictures, "overview-light");
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
    await board.picture(pictures, "overview-dark");
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
    await page.setViewport({ width: 360, height: 740 });
    await board.picture(pictures, "overview-phone");
    await page.setViewport({ width: 1280, height: 900 });
  });

  await step("signs out", async () => {
    await page.click("#who button");
    await page.waitForSelector("#login[open]", { timeout: 30_000 });
    expect(!(await page.content()).includes("chat-1"), "data is left in the page");
    await board.signIn(token);
    await board.shows("All is well");
  });

  for (const [name, theme, width, height] of [
    ["light", "light", 1280, 860],
    ["dark", "dark", 1280, 860],
    ["phone", "light", 360, 740],
  ]) {
    await step(`is whole in ${name}`, async () => {
      const shown = await Dashboard.open(browser, base, { theme, width, height });
      all.push(shown);
      await shown.signIn(token);
      await shown.shows("Overview", "#nav");
      const [back] = await shown.page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g));
      expect(theme === "dark" ? back < 60 : back > 200, `${back} is not ${theme}`);
      const faults = [];
      for (const view of VIEWS) {
        await shown.goTo(view);
        await shown.until(() => document.querySelector("main .panel, main .verdict-panel"));
        faults.push(...(await shown.page.evaluate(inspect)).map((fault) => `${view}: ${fault}`));
        await shown.picture(pictures, `whole-${view}-${name}`);
      }
      expect(faults.length === 0, faults.join("; "));
      await shown.page.close();
    });
  }

  await step("no errors in any console", () => {
    const faults = all.flatMap((one) => one.faults);
    expect(faults.length === 0, faults.join("; "));
  });
});
report("dashboard");
