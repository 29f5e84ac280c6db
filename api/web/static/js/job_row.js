// One job in the list.

import { get } from "./api.js";
import { fill, h, say } from "./dom.js";
import { ago, duration, moment, number, words } from "./format.js";
import { picturesOf } from "./pictures_of.js";
import { sparkline } from "./sparkline.js";
import { actions, healthTag, isMoving, nameOf, pace, statusTag } from "./verbs.js";

const POINTS = 60;

/** What a job of each kind works on, in a few words; `later()` is called when its dataset's name is known. */
export function about(job, later) {
  const { spec } = job;
  const what = job.kind === "pretrain" ? [spec.method?.name, spec.encoder?.arch] : [words(job.kind)];
  return [...what, picturesOf(spec.data, later)].filter(Boolean).join(" · ");
}

export class JobRow {
  constructor(id, changed) {
    this.changed = changed;
    this.title = h("a", { href: `/ui/jobs/${id}` });
    this.about = h("p.muted.small");
    this.trouble = h("p.small.wrong");
    this.status = h("div.row");
    this.bar = h("progress", { max: "1", "aria-label": "Progress" });
    this.pace = h("p.muted.small.number");
    this.line = h("div.line");
    this.loss = h("p.muted.small.number");
    this.actions = h("div.row.actions");
    this.element = h(
      "li",
      { dataset: { job: id } },
      h("div.who-is", {}, h("h2", {}, this.title), this.about, this.trouble),
      h("div.state", {}, this.status, this.bar, this.pace),
      h("div.curve", {}, this.line, this.loss),
      this.actions,
    );
    this.drawn = "";
    this.shown = "";
  }

  show(job) {
    say(this.title, nameOf(job));
    const tell = () => say(this.about, `${about(job, tell)} · ${ago(job.created_at)}`);
    tell();
    this.about.title = `${job.id}, submitted ${moment(job.created_at)}`;
    const { message, hint } = job.error || {};
    say(this.trouble, message ? `${message}${hint ? `. Try: ${hint}` : ""}` : "");
    this.trouble.hidden = !message;
    const state = JSON.stringify([job.status, job.requested, job.health?.verdict, job.phase]);
    if (state !== this.shown) {
      this.shown = state;
      fill(this.status, statusTag(job), healthTag(job));
      fill(this.actions, actions(job, this.changed));
    }
    this.progress(job);
    this.curve(job).catch(() => {}); // a line that is missing is no trouble: the list says when the service is away
  }

  progress(job) {
    const { fraction, eta_seconds: eta, images_per_second: speed, epoch } = pace(job);
    const moving = job.status === "running" || job.status === "paused";
    this.bar.hidden = !moving;
    if (fraction === null || fraction === undefined) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
    const told = [];
    if (job.status === "running") {
      if (job.phase && job.phase !== "training") told.push(words(job.phase));
      if (eta !== null && eta !== undefined) told.push(`${duration(eta)} left`);
      if (speed) told.push(`${number(Math.round(speed))} images/s`);
    } else if (job.status === "paused" && epoch) told.push(`in epoch ${epoch}`);
    else if (job.finished_at && job.started_at) {
      told.push(`took ${duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000)}`);
    } else if (job.status === "queued") told.push("waits for a worker");
    say(this.pace, told.join(" · "));
  }

  async curve(job) {
    const loss = job.metrics?.train_loss;
    const accuracy = job.metrics?.knn_top1 ?? job.result?.top1;
    const told = [];
    if (Number.isFinite(loss)) told.push(`loss\u00a0${number(loss)}`);
    if (Number.isFinite(accuracy)) told.push(`${job.kind === "pretrain" ? "kNN" : "top-1"}\u00a0${number(accuracy)}\u00a0%`);
    say(this.loss, told.join(" · "));
    const now = `${job.status} ${isMoving(job) ? job.progress?.step : ""} ${loss}`;
    if (!Number.isFinite(loss) || now === this.drawn) return;
    this.drawn = now;
    const { data } = await get(`/jobs/${job.id}/metrics?name=train_loss&points=${POINTS}`);
    const points = data.map((point) => [point.step, point.value]);
    const known = points.filter(([, value]) => Number.isFinite(value));
    if (known.length < 2) return;
    const label = `Loss, from ${number(known[0][1])} to ${number(known[known.length - 1][1])}`;
    fill(this.line, sparkline(points, label));
  }
}
