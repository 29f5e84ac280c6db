// The upper part of a job's page: name, state, what went wrong and what to try, how far it is, whether it learns.

import { may } from "./api.js";
import { $, fill, h, say } from "./dom.js";
import { ago, bytes, duration, moment, number, words } from "./format.js";
import { about } from "./job_row.js";
import { mapQuery } from "./pictures_of.js";
import { actions, healthTag, isOver, nameOf, pace, statusTag, tag } from "./verbs.js";

export class Head {
  constructor(changed) {
    this.changed = changed;
    this.state = "";
  }

  show(job) {
    say($("#name"), nameOf(job));
    const state = JSON.stringify([
      job.status,
      job.requested,
      job.health,
      job.error,
      job.phase,
      job.encoder,
      job.result,
      job.shared,
    ]);
    if (state !== this.state) {
      this.state = state;
      fill($("#tags"), statusTag(job), healthTag(job), job.shared ? tag("shared", "plain") : null);
      fill($("#actions"), actions(job, this.changed), isOver(job) && may("submit") ? again(job) : null);
      this.about(job);
      this.trouble(job);
      this.health(job);
      this.made(job);
    }
    this.progress(job);
  }

  about(job) {
    const what = about(job, () => this.about(job));
    const when = ` · submitted ${moment(job.created_at)}${job.owner ? ` by ${job.owner}` : ""}`;
    fill($("#about"), `${what} · `, h("code", {}, job.id), when);
  }

  trouble(job) {
    const box = $("#trouble");
    box.hidden = !job.error;
    if (!job.error) return;
    const { message, hint, code } = job.error;
    fill(
      box,
      h("p", {}, h("strong", {}, job.status === "failed" ? "It failed: " : "The attempt before failed: "), `${message}.`),
      hint ? h("p", {}, h("strong", {}, "What to try: "), `${hint}.`) : null,
      h(
        "p.small",
        {},
        `Code ${code}; the log below has the rest.${job.status === "failed" ? " Resume goes on from the last checkpoint." : ""}`,
      ),
    );
  }

  health(job) {
    const { verdict, reasons = [], suggestions = [] } = job.health || {};
    const box = $("#health");
    box.hidden = !verdict || verdict === "unknown";
    const list = (items) =>
      items.length
        ? h(
            "ul.small",
            {},
            items.map((item) => h("li", {}, item)),
          )
        : null;
    fill(
      box,
      h("h2", {}, "Does it learn?"),
      h("p.row", {}, healthTag(job)),
      list(reasons),
      suggestions.length ? [h("h3", {}, "What to try"), list(suggestions)] : null,
    );
  }

  made(job) {
    const box = $("#made");
    const result = Object.entries(job.result || {}).filter(([, value]) => typeof value !== "object");
    box.hidden = !job.encoder && !result.length;
    const facts = result.map(([name, value]) => [h("dt", {}, words(name)), h("dd.number", {}, fact(name, value))]);
    fill(
      box,
      h("h2", {}, job.encoder ? "The encoder" : "What came of it"),
      job.encoder ? h("p", {}, h("a", { href: `/ui/encoders/${job.encoder}` }, h("code", {}, job.encoder))) : null,
      facts.length ? h("dl.facts.small", {}, facts) : null,
      h(
        "p.row",
        {},
        onward(job).map(([address, does], at) => h(at ? "a.button.small" : "a.button.small.primary", { href: address }, does)),
      ),
    );
  }

  progress(job) {
    const {
      fraction,
      epoch,
      step,
      steps_total: total,
      eta_seconds: eta,
      images_per_second: speed,
      images_prepared: read,
      images_total: all,
    } = pace(job);
    const bar = $("#bar");
    if (job.status === "queued" || fraction === null || fraction === undefined) bar.removeAttribute("value");
    if (Number.isFinite(fraction)) bar.value = fraction;
    else if (isOver(job)) bar.value = job.status === "succeeded" ? 1 : 0;
    $("#bar").hidden = job.status === "queued";
    const begun = Date.parse(job.started_at);
    const until = job.finished_at ? Date.parse(job.finished_at) : Date.now();
    const running = job.status === "running";
    const facts = {
      phase: running ? words(job.phase) : null,
      "pictures read": running && all ? `${number(read)} of ${number(all)}` : null,
      epoch:
        epoch === null || epoch === undefined
          ? null
          : `${number(epoch)}${job.spec.trainer?.max_epochs ? ` of ${number(job.spec.trainer.max_epochs)}` : ""}`,
      step: step === null || step === undefined ? null : `${number(step)}${total ? ` of ${number(total)}` : ""}`,
      "time left": running && Number.isFinite(eta) ? duration(eta) : null,
      speed: running && speed ? `${number(Math.round(speed))} images/s` : null,
      "time taken": begun ? duration((until - begun) / 1000) : null,
      waiting: job.status === "queued" ? `for a worker, since ${ago(job.created_at)}` : null,
      attempt: job.attempt > 1 ? String(job.attempt) : null,
      pictures: job.data?.images
        ? `${number(job.data.images)}${job.data.held_out ? `, and ${number(job.data.held_out)} held out` : ""}`
        : null,
      unreadable: job.data?.unreadable ? number(job.data.unreadable) : null,
    };
    const known = Object.entries(facts).filter(([, value]) => value);
    fill(
      $("#facts"),
      known.map(([name, value]) => [h("dt", {}, name), h("dd.number", {}, value)]),
    );
    say(
      $("#announce"),
      `${words(job.status)}${Number.isFinite(fraction) && running ? `, ${Math.floor(fraction * 10) * 10} percent` : ""}`,
    );
  }
}

/** What people do next with what a job has made: [[address, words], …], the likeliest first. */
function onward({ id, kind, encoder, status, spec }) {
  if (encoder) {
    const links = [[`/ui/encoders/${encoder}`, "Try the encoder"]];
    if (may("submit")) links.push([`/ui/explore?${mapQuery(encoder, spec.data)}`, "Make a map"]);
    return [...links, [`/encoders/${encoder}/download`, "Download"]];
  }
  if (status !== "succeeded") return [];
  if (kind === "embed" && may("submit")) return [[`/ui/explore?vectors=${id}`, "Make a map"]];
  if (kind === "map") return [[`/ui/explore/${id}`, "Open the map"]];
  return spec.encoder?.startsWith?.("enc_") ? [[`/ui/encoders/${spec.encoder}`, "Its encoder"]] : [];
}

/** A new job with this one's spec to begin with. */
const again = (job) => h("a.button.small", { href: `/ui/new?like=${job.id}` }, "New job like this");

function fact(name, value) {
  if (name.endsWith("_bytes")) return bytes(value);
  if (name === "seconds") return duration(value);
  return typeof value === "number" ? number(value) : String(value);
}
