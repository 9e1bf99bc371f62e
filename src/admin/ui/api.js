// The admin API, with the token of this tab. The token is in this tab's session storage and in the
// `Authorization` field, never in an address.

const STORED = "sessile-token";
const PATIENCE = 15_000;
const EVENT_CHARS_MAX = 1 << 20;
// Browsers open six connections to one address, for all of their tabs together, and a stream keeps one. Without a bound, six tabs
// would leave none for requests, and all of them would stop. So tabs share this many places for each kind of stream.
const PLACES = 2;

// An answer that is a problem (RFC 9457), or none at all (`status` 0).
export class Problem extends Error {
  constructor(status, detail, more = {}) {
    super(detail);
    this.status = status;
    this.more = more;
  }
}

// A path out of texts that may hold anything: path`/v1/sessions/${id}`.
export const path = (parts, ...values) =>
  parts.reduce((built, part, index) => built + encodeURIComponent(values[index - 1]) + part);

export class Api {
  #token = sessionStorage.getItem(STORED);

  get hasToken() {
    return this.#token !== null;
  }

  signIn(token) {
    this.#token = token;
    sessionStorage.setItem(STORED, token);
  }

  signOut() {
    this.#token = null;
    sessionStorage.removeItem(STORED);
  }

  get(target, query) {
    return this.call("GET", target, { query });
  }

  // Every page of a list.
  async all(target) {
    const items = [];
    let cursor;
    do {
      const page = await this.get(target, { cursor });
      items.push(...page.items);
      cursor = page.next;
    } while (cursor);
    return items;
  }

  async call(method, target, { query, body } = {}) {
    const answer = await this.#send(method, target, { query, body, signal: AbortSignal.timeout(PATIENCE) });
    const text = await answer.text();
    try {
      return text ? JSON.parse(text) : null;
    } catch {
      throw new Problem(answer.status, `${target} is not JSON`);
    }
  }

  // Server-sent events, each as `{ id, event, data }`, until the stream ends or `signal` aborts. Other tabs of this browser may
  // hold all places for streams of this `kind`: then there is a problem and no stream.
  async stream(target, { kind, ...options }) {
    const { locks } = globalThis.navigator ?? {};
    // Browsers give locks to pages that came over TLS or from their own machine.
    if (!locks) return this.#read(target, options);
    for (let place = 0; place < PLACES; place += 1) {
      let free = false;
      await locks.request(`sessile-${kind}-${place}`, { ifAvailable: true }, (lock) => {
        free = lock !== null;
        return free ? this.#read(target, options) : null;
      });
      if (free) return;
    }
    throw new Problem(0, `${PLACES} other tabs of this browser have such a stream open, and more would leave no connections for requests`);
  }

  async #read(target, { query, signal, onEvent }) {
    const answer = await this.#send("GET", target, { query, signal });
    const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await lines.read();
      if (done) return;
      text += value;
      const blocks = text.split(/\r?\n\r?\n/);
      text = blocks.pop();
      if (text.length > EVENT_CHARS_MAX) throw new Problem(0, "an event is too long");
      for (const block of blocks) {
        const event = parseEvent(block);
        if (event.data) onEvent(event);
      }
    }
  }

  async #send(method, target, { query, body, signal }) {
    const given = Object.entries(query ?? {}).filter(([, value]) => value !== "" && value != null);
    const search = new URLSearchParams(given).toString();
    const headers = { accept: "application/json" };
    if (this.#token !== null) headers.authorization = `Bearer ${this.#token}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    let answer;
    try {
      answer = await fetch(search ? `${target}?${search}` : target, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal,
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "the gateway does not answer");
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, problem.detail ?? `${answer.status} ${answer.statusText}`, problem);
  }
}

function parseEvent(block) {
  const event = { event: "message", data: "" };
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
    if (name === "data") event.data += event.data ? `\n${value}` : value;
    else if (name) event[name] = value;
  }
  return event;
}
