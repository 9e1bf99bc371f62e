// The dashboard in a tab of Chromium, as a test uses it: everything that goes wrong there is noted.

export const PATIENCE = 30_000;

export class Dashboard {
  constructor(page, base) {
    this.page = page;
    this.base = base;
    this.faults = [];
    this.requests = [];
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warn") this.faults.push(`${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.faults.push(error.message));
    page.on("request", (request) => this.requests.push({ url: request.url(), headers: request.headers() }));
  }

  static async open(browser, base, { hash = "", width = 1280, height = 900, theme = "light" } = {}) {
    const page = await browser.newPage();
    await page.setViewport({ width, height, isMobile: width < 500, hasTouch: width < 500 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
    const dashboard = new Dashboard(page, base);
    await page.goto(`${base}/ui/${hash}`, { timeout: PATIENCE });
    return dashboard;
  }

  // The dialog for the token, by keyboard.
  async signIn(token) {
    await this.page.waitForSelector("#login[open]", { timeout: PATIENCE });
    await this.page.bringToFront();
    await this.page.keyboard.type(token);
    await this.page.keyboard.press("Enter");
  }

  // Waits until a function of the page and of `values` is true. By a timer: a tab behind another one
  // draws no frames.
  async until(condition, ...values) {
    try {
      await this.page.waitForFunction(condition, { polling: 100, timeout: PATIENCE }, ...values);
    } catch (error) {
      const shown = await this.page.evaluate(() => `${location.hash} ${document.body.innerText}`);
      throw new Error(`${error.message}: ${condition} of ${JSON.stringify(values)} in ${shown}`);
    }
  }

  hash() {
    return this.page.evaluate(() => location.hash);
  }

  // Holds the next request of this path. `caught` ends with what lets it go on, once it was made.
  async holdNext(path) {
    await this.page.setRequestInterception(true);
    const caught = new Promise((resolve) => {
      let waits = true;
      const onRequest = (request) => {
        if (!waits || new URL(request.url()).pathname !== path) return request.continue();
        waits = false;
        resolve(async () => {
          const answered = this.page.waitForResponse((response) => response.request() === request, { timeout: PATIENCE });
          await request.continue();
          await answered;
          this.page.off("request", onRequest);
          await this.page.setRequestInterception(false);
        });
      };
      this.page.on("request", onRequest);
    });
    return { caught };
  }

  // Waits until the API is read anew.
  readAgain() {
    return this.page.waitForRequest((request) => request.url().endsWith("/v1/traffic"), { timeout: PATIENCE });
  }

  shows(text, selector = "main") {
    const has = (selector, text) => [...document.querySelectorAll(selector)].some((one) => one.innerText.includes(text));
    return this.until(has, selector, text);
  }

  async goTo(id) {
    await this.page.bringToFront();
    await this.page.click(`#nav a[href="#${id}"]`);
    await this.at(`#${id}`);
  }

  // Waits until the view of this address is drawn. The address alone changes before the view does, which would be the one before.
  at(address) {
    const drawn = (address) => {
      const main = document.querySelector("#main");
      return main.dataset.address === address && !main.innerText.includes("Reading…");
    };
    return this.until(drawn, address);
  }

  // Fills in a form's field and sends it, in one step: views are drawn again all the time.
  async search(selector, text) {
    const fill = (selector, text) => {
      const input = document.querySelector(selector);
      if (input) input.value = text;
      input?.form.requestSubmit();
      return input !== null;
    };
    await this.until(fill, selector, text);
  }

  // Clicks the control of the dialog, or of the view, with this accessible name. Views are drawn again all the time, so the element
  // is looked up and clicked in one step.
  async click(name) {
    const click = (name) => {
      const all = document.querySelector("dialog[open]") ?? document.querySelector("main");
      const visible = [...all.querySelectorAll("button, a")].filter((one) => one.offsetParent && (one.getAttribute("aria-label") ?? one.innerText).trim() === name);
      visible[0]?.click();
      return visible.length > 0 && !visible[0].disabled;
    };
    await this.until(click, name);
  }

  // Clicks the first element of a selector, looked up and clicked in one step for the same reason.
  async clickFirst(selector) {
    const click = (selector) => {
      const first = document.querySelector(selector);
      first?.click();
      return first !== null;
    };
    await this.until(click, selector);
  }

  // Presses Tab until the control with this accessible name has the focus, and sees that it shows.
  async tabTo(name) {
    for (let press = 0; press < 150; press += 1) {
      await this.page.keyboard.press("Tab");
      const focus = await this.page.evaluate(() => {
        const one = document.activeElement;
        return { name: (one.getAttribute("aria-label") ?? one.innerText ?? "").trim(), outline: getComputedStyle(one).outlineStyle };
      });
      if (focus.name !== name) continue;
      if (focus.outline === "none") throw new Error(`the focus on ${name} cannot be seen`);
      return;
    }
    throw new Error(`Tab does not reach ${name}`);
  }

  picture(folder, name) {
    return this.page.screenshot({ path: `${folder}/${name}.png` });
  }

  text(selector = "main") {
    return this.page.$eval(selector, (element) => element.innerText);
  }
}

// Looks at what is drawn: labels, names, landmarks, and nothing beyond the edge of the screen.
export function inspect() {
  const faults = [];
  const visible = (one) => one.offsetParent !== null;
  for (const landmark of ["header", "nav", "main", "h1"]) {
    if (!document.querySelector(landmark)) faults.push(`no ${landmark}`);
  }
  for (const one of document.querySelectorAll("input, select, textarea")) {
    if (visible(one) && !document.querySelector(`label[for="${one.id}"]`)) faults.push(`no label for ${one.name}`);
  }
  for (const one of document.querySelectorAll("button, a")) {
    if (visible(one) && !(one.getAttribute("aria-label") ?? one.innerText).trim()) faults.push(`no name: ${one.outerHTML}`);
  }
  for (const one of document.querySelectorAll("svg")) {
    const named = one.getAttribute("aria-hidden") === "true" || (one.getAttribute("role") === "img" && one.getAttribute("aria-label"));
    if (!named) faults.push("a picture without words");
  }
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) faults.push(`${scrollWidth} wide on ${clientWidth}`);
  return faults;
}
