// The lower part of a job's page, in tabs: the views that it trains on, its spec, what happened, its log, the calls of the API.

import { get } from "./api.js";
import { code, tabs } from "./copy.js";
import { $, fill, h } from "./dom.js";
import { moment, words } from "./format.js";
import { repeat } from "./live.js";
import { showSpec } from "./spec_view.js";
import { isMoving } from "./verbs.js";

const LINES = 300; // of the log
const LOG_EVERY = 3000; // ms
const MOST_EVENTS = 500; // in the list

export class More {
  constructor(id) {
    this.id = id;
    this.lastEvent = 0;
    this.spec = h("div");
    this.views = h("div");
    this.events = h("ol.events", { "aria-label": "Events, newest first" });
    this.log = h("pre.log", { tabindex: "0", "aria-label": "The end of the log" });
    this.calls = h("div");
    this.shown = {};
  }

  /** The tabs, with the events that there are already. */
  async begin(job) {
    this.job = job;
    const parts = { Views: this.views, Spec: this.spec, Events: this.events, Log: this.log, "From a script": this.calls };
    if (job.kind !== "pretrain") delete parts.Views;
    fill($("#more"), tabs(parts, "More of this job"));
    this.showCalls();
    for (let more = true; more;) {
      const page = await get(`/jobs/${this.id}/events?after=${this.lastEvent}&limit=1000`);
      page.data.forEach((event) => this.event(event));
      more = page.has_more;
    }
    this.watchLog();
  }

  show(job) {
    this.job = job;
    const specOf = JSON.stringify([job.spec, job.notes]);
    if (specOf !== this.shown.spec) {
      this.shown.spec = specOf;
      showSpec(this.spec, job).catch(() => {});
    }
    if (job.kind === "pretrain" && !this.shown.views) this.showViews(job);
    if (!isMoving(job)) this.logging?.now();
  }

  /** The sheet that the trainer drew; before that, nothing yet. */
  showViews(job) {
    if (!job.data) {
      fill(
        this.views,
        h("p.muted", {}, "When training begins, some pictures are shown here beside the views that the network sees of them."),
      );
      return;
    }
    this.shown.views = true;
    const sheet = h("img.sheet", {
      src: `/jobs/${this.id}/preview`,
      alt: "Pictures of this job, each beside views that were drawn of it: crops, flips, colours.",
      loading: "lazy",
    });
    sheet.addEventListener("error", () => {
      fill(this.views, h("p.muted", {}, "This job has no sheet of views yet; one is drawn when training begins."));
      // It is drawn a moment after the data are read.
      if (isMoving(this.job)) setTimeout(() => (this.shown.views = false), LOG_EVERY);
    });
    fill(
      this.views,
      h(
        "p.muted.small",
        {},
        "Left: pictures as they are. Right: views, as the network sees them; what it must learn is which belong together.",
      ),
      sheet,
    );
  }

  event(event) {
    if (event.id <= this.lastEvent) return;
    this.lastEvent = event.id;
    this.events.prepend(
      h(
        "li",
        {},
        h("time.muted.small.number", { datetime: event.at }, moment(event.at)),
        h("strong", {}, words(event.type)),
        h("span.small", {}, told(event.data)),
      ),
    );
    while (this.events.children.length > MOST_EVENTS) this.events.lastChild.remove();
  }

  /** The log is asked for while its tab is open. */
  watchLog() {
    if (this.logging) return;
    const open = () => !this.log.closest("[role=tabpanel]").hidden;
    this.logging = repeat(async () => {
      if (!open()) return;
      const text = (await get(`/jobs/${this.id}/logs?tail=${LINES}`)) || "Nothing has been printed yet.";
      if (text === this.log.textContent) return;
      const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 20;
      this.log.textContent = text;
      if (atEnd) this.log.scrollTop = this.log.scrollHeight;
    }, LOG_EVERY);
    $("#more").addEventListener("click", () => this.logging.now());
    $("#more").addEventListener("keyup", () => this.logging.now());
  }

  showCalls() {
    const at = `${location.origin}/jobs/${this.id}`;
    const key = document.querySelector(".who form") ? ' -H "Authorization: Bearer $IMPRINT_API_KEY"' : "";
    const python = [
      "from imprint import Client",
      "",
      `client = Client("${location.origin}")`,
      `job = client.wait("${this.id}")`,
      "print(job.status, job.metrics)",
    ].join("\n");
    fill(
      this.calls,
      tabs(
        {
          curl: code(`curl -s${key} ${at}\ncurl -sN${key} -H 'Accept: text/event-stream' '${at}/events?live=true'`, "curl"),
          Python: code(python, "Python"),
          CLI: code(`imprint job ${this.id}`, "CLI"),
        },
        "Languages",
      ),
    );
  }
}

/** What an event says, in one line. */
function told(data) {
  return Object.entries(data)
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${words(name)}: ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(" · ");
}
