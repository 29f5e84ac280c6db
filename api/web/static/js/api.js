// The one way to the API: the same routes that a script would use, with the session's cookie.

import { offline, online } from "./connection.js";

const RETRIES = 4; // of a request that only looks, while the service is busy or away
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** What the service answered instead of a success (RFC 9457). `problems`: [{pointer, detail}]. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The service answered ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.problems = body.errors || [];
    this.requestId = body.request_id || "";
  }
}

/** No answer at all: the service is away, or the network. */
export class NoAnswer extends Error {
  constructor() {
    super("The service does not answer.");
    this.name = "NoAnswer";
  }
}

/**
 * The answer's JSON (or text, or with `as: "blob" | "buffer" | "response"` that). Raises ApiError and NoAnswer.
 * What only looks is asked again when the service is busy (429, 503); a session that has ended leads to the login.
 */
export async function api(method, path, { body, headers = {}, signal, as } = {}) {
  const sent = { "X-Imprint-Page": "1", ...headers };
  const isJson = body !== undefined && !(body instanceof Blob) && !(body instanceof FormData);
  if (isJson) sent["Content-Type"] = "application/json";
  const asked = { method, headers: sent, signal, body: isJson ? JSON.stringify(body) : body, credentials: "same-origin" };
  for (let attempt = 0; ; attempt++) {
    const answer = await send(path, asked);
    if (answer.ok) return read(answer, as);
    const wait = Number(answer.headers.get("retry-after")) || 1;
    if (method === "GET" && (answer.status === 429 || answer.status === 503) && attempt < RETRIES && wait <= 10) {
      await sleep(wait * 1000 * (1 + Math.random() / 4));
      continue;
    }
    if (answer.status === 401) toLogin();
    throw new ApiError(answer.status, await answer.json().catch(() => ({})));
  }
}

export const get = (path, options) => api("GET", path, options);
export const post = (path, body, options) => api("POST", path, { body, ...options });

/** Every page of a list, at most `most` entries: for await (const each of list("/encoders")) … */
export async function* list(path, most = 1000) {
  const address = new URL(path, location.origin);
  address.searchParams.set("limit", "100");
  for (let seen = 0; seen < most;) {
    const page = await get(address.pathname + address.search);
    for (const each of page.data) {
      if (seen++ < most) yield each;
    }
    if (!page.has_more || !page.last_id) return;
    address.searchParams.set("after", page.last_id);
  }
}

/** Whether the key that logged in may do what needs this scope: "read" or "submit". */
export const may = (scope) => document.body.dataset.scopes.split(" ").includes(scope);

export function toLogin() {
  location.assign(`/ui/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function send(path, asked) {
  try {
    const answer = await fetch(path, asked);
    online();
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    offline();
    throw new NoAnswer();
  }
}

function read(answer, as) {
  if (as === "response") return answer;
  if (as === "blob") return answer.blob();
  if (as === "buffer") return answer.arrayBuffer();
  if (answer.status === 204) return null;
  return (answer.headers.get("content-type") || "").includes("json") ? answer.json() : answer.text();
}
