// A map that is not there yet: how far its job is; and the step from vectors that are finished to their map.

import { api, get } from "./api.js";
import { $, fill, h, say } from "./dom.js";
import { duration } from "./format.js";
import { repeat } from "./live.js";
import { actions, nameOf, statusTag } from "./verbs.js";

const WORDS = {
  preparing: "Looking at the pictures",
  embedding: "Embedding the pictures",
  reading: "Reading the vectors",
  indexing: "Finding neighbours: building the graph",
  neighbours: "Finding neighbours: ten of each picture",
  landmarks: "Finding neighbours among the landmarks",
  compiling: "Getting ready to lay it out; this takes some 10 to 20 seconds",
  layout: "Laying it out",
  placing: "Placing the other pictures",
  clusters: "Finding clusters",
  saving: "Saving",
};

/** Wait for a job of kind map, or embed and then map. Resolves with the finished map job. */
export function finished(id, fields) {
  const box = $("#waiting");
  return new Promise((done) => {
    let posted = false;
    const looking = repeat(async () => {
      const job = await get(`/jobs/${id}`);
      if (job.kind === "map" && job.status === "succeeded") {
        box.hidden = true;
        looking.stop();
        done(job);
      } else if (job.kind === "embed" && job.status === "succeeded" && !posted) {
        posted = true;
        const body = { kind: "map", vectors: id, ...fields, ...(job.name ? { name: job.name } : {}) };
        try {
          const made = await api("POST", "/jobs", { body, headers: { "Idempotency-Key": `map-of-${id}` } });
          location.replace(`/ui/explore/${made.id}`);
        } catch (error) {
          looking.stop();
          fill(box, h("p.wrong", { role: "alert" }, error.message), h("a.button", { href: "/ui/explore" }, "All maps"));
          box.hidden = false;
        }
      } else if (job.kind !== "map" && job.kind !== "embed") {
        looking.stop();
        fill(box, h("p", {}, `${nameOf(job)} is of kind ${job.kind} and has no map.`), h("a.button", { href: "/ui/explore" }, "All maps"));
        box.hidden = false;
      } else {
        show(box, job, looking);
      }
    }, 1000);
  });
}

function show(box, job, looking) {
  box.hidden = false;
  if (!box.children.length) {
    const parts = [h("div.row", { id: "state" }), h("p", { id: "doing", role: "status" }), h("progress", { max: "1", "aria-label": "Progress" })];
    fill(box, parts, h("p.muted.small.number", { id: "left" }), h("div.row", { id: "acts" }));
  }
  fill($("#state", box), statusTag(job), h("span.muted.small", {}, job.kind === "embed" ? "first the vectors, then the map" : ""));
  const { fraction, eta_seconds: eta } = job.progress || {};
  const { message, hint } = job.error || {};
  const waits = job.status === "queued" ? "Waits for a worker." : job.status;
  say($("#doing", box), message ? `${message}${hint ? ` Try: ${hint}` : ""}` : job.status === "running" ? WORDS[job.phase] || "Starting" : waits);
  const bar = $("progress", box);
  bar.hidden = job.status !== "running";
  if (fraction === undefined || fraction === null) bar.removeAttribute("value");
  else bar.value = fraction;
  say($("#left", box), job.status === "running" && eta ? `about ${duration(eta)} left` : "");
  const state = `${job.status} ${job.requested}`;
  if (box.dataset.state === state) return;
  box.dataset.state = state;
  fill($("#acts", box), actions(job, looking.now), h("a.button.small", { href: `/ui/jobs/${job.id}` }, "Look at the job"), h("a.button.small", { href: "/ui/explore" }, "All maps"));
}
