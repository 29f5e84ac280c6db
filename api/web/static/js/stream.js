// A job's events as they happen. Read with fetch, not EventSource: that only shows events whose names it was told beforehand.
// There is no connection while nobody looks at the page: a browser has six of them for all its pages of a service.

import { toLogin } from "./api.js";
import { isAway, offline, online, onReturn } from "./connection.js";

const PAUSE = 1000; // ms between two connections, so that a service that ends streams at once is not hammered
const SILENCE = 40000; // ms: the service says something every 15 s

/**
 * Follow a job until it rests: `heard(type, data)` for each event, `job` and `metrics` among them. What was missed while the
 * connection was broken is sent when there is one again (Last-Event-ID). Gives {stop}; promises nothing after the event `end`.
 */
export function follow(jobId, { after = 0, afterStep = 0 }, heard) {
  let last = "";
  let stopped = false;
  let ended = false;
  let wake = () => {};
  let aborter = new AbortController();
  onReturn(() => wake());
  const looked = () => (document.hidden ? aborter.abort() : wake());
  document.addEventListener("visibilitychange", looked);

  async function run() {
    while (!stopped && !ended) {
      try {
        if (!document.hidden) await connection();
      } catch (error) {
        if (error instanceof Refused) throw error;
        if (error.name !== "AbortError") offline();
      }
      if (stopped || ended) return;
      await new Promise((done) => {
        wake = done;
        setTimeout(() => isAway() || document.hidden || done(), PAUSE);
      });
    }
  }

  async function connection() {
    aborter = new AbortController();
    const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
    const query = `live=true&after=${after}&after_step=${afterStep}`;
    const answer = await fetch(`/jobs/${jobId}/events?${query}`, { headers, signal: aborter.signal, cache: "no-store" });
    if (answer.status === 401) toLogin();
    if (answer.status >= 400 && answer.status < 500 && answer.status !== 429)
      throw new Refused(`The stream was refused (${answer.status}).`);
    if (!answer.ok) return;
    online();
    for await (const event of events(answer.body)) {
      if (event.id) last = event.id;
      if (event.type === "end") ended = true;
      if (!stopped) heard(event.type, event.data);
    }
  }

  run().catch(() => {});
  return {
    stop() {
      stopped = true;
      document.removeEventListener("visibilitychange", looked);
      aborter.abort();
    },
  };
}

class Refused extends Error {}

/** The events of a stream's bytes: {id, type, data}, data as JSON. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { value, done } = await within(reader, SILENCE);
    if (done) return;
    const blocks = (kept + value).split("\n\n");
    kept = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) yield event;
    }
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  return fields.event && fields.data ? { id: fields.id, type: fields.event, data: JSON.parse(fields.data) } : null;
}

/** The next piece, or an error when a connection has died without saying so. */
async function within(reader, ms) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error("silence")), ms);
  });
  try {
    return await Promise.race([reader.read(), late]);
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
