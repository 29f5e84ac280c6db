// What can be done to a job in its state, and what its state and health are in words and colours.

import { may, post } from "./api.js";
import { $, fill, h } from "./dom.js";
import { words } from "./format.js";
import { attempt, toast } from "./toast.js";

const ENDS = new Set(["succeeded", "failed", "cancelled"]);
const COLOURS = { queued: "", running: "accent", paused: "warn", succeeded: "good", failed: "bad", cancelled: "" };
const HEALTH = {
  healthy: "good",
  learning: "good",
  plateaued: "warn",
  warning: "warn",
  collapsing: "bad",
  collapsed: "bad",
  diverged: "bad",
};
const POSSIBLE = {
  queued: ["cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  failed: ["resume"],
  cancelled: ["resume"],
};
const DONE = { cancel: "will be cancelled", pause: "will be paused", resume: "is queued again" };

export const isOver = (job) => ENDS.has(job.status);
export const isMoving = (job) => job.status === "running" || job.status === "queued";
export const nameOf = (job) => job.name || `${words(job.kind)} ${job.id.slice(-6)}`;

/** How far it is; without what was said of reading its pictures when that is over and the first step is not there yet. */
export function pace(job) {
  const progress = job.progress || {};
  if (job.phase === "preparing" || !Number.isFinite(progress.images_total)) return progress;
  return { epoch: progress.epoch, step: progress.step };
}

/** The state as a tag: "running", or "pausing" while that was asked for. */
export function statusTag(job) {
  const asked = { cancel: "cancelling", pause: "pausing" }[job.requested];
  return tag(asked || job.status, asked ? "warn" : COLOURS[job.status]);
}

/** The verdict as a tag; nothing where there is none. */
export function healthTag(job) {
  const verdict = job.health?.verdict;
  if (!verdict || verdict === "unknown") return null;
  const made = tag(words(verdict), HEALTH[verdict] || "");
  made.title = (job.health.reasons || []).join("\n");
  return made;
}

export const tag = (text, colour = "") => h(colour ? `span.tag.${colour}` : "span.tag", {}, text);

/** Buttons for what can be done now; `changed(job)` is called with what the service answered. */
export function actions(job, changed) {
  if (!may("submit")) return [];
  const possible = job.requested === "cancel" ? [] : (POSSIBLE[job.status] || []).filter((verb) => verb !== job.requested);
  return possible.map((verb) => {
    const kind = verb === "cancel" ? "button.small.danger" : "button.small";
    const label = `${verb[0].toUpperCase()}${verb.slice(1)}`;
    return h(kind, { type: "button", "aria-label": `${label} ${nameOf(job)}`, dataset: { verb }, onclick: act }, label);

    async function act(event) {
      if (verb === "cancel" && !(await sure(job))) return;
      const now = await attempt(event.target, () => post(`/jobs/${job.id}/${verb}`));
      if (!now) return;
      toast(`${nameOf(job)} ${DONE[verb]}`);
      changed(now);
    }
  });
}

/** Ask before a job is cancelled. */
function sure(job) {
  const text =
    job.status === "running"
      ? "It stops within seconds, and keeps its checkpoint: it can be resumed."
      : "It can be resumed later.";
  return new Promise((done) => {
    const dialog = h("dialog.card.pad", { "aria-labelledby": "sure-title", onclose: () => end() });
    const end = () => {
      done(dialog.returnValue === "yes");
      dialog.remove();
    };
    fill(
      dialog,
      h("h2", { id: "sure-title" }, `Cancel ${nameOf(job)}?`),
      h("p.muted", {}, text),
      h(
        "form.row",
        { method: "dialog" },
        h("button.danger", { value: "yes" }, "Cancel the job"),
        h("button", { value: "no", autofocus: true }, "Let it go on"),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    $("button[value=no]", dialog).focus();
  });
}
