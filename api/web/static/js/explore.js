// Maps that there are, and the form for another.

import { api, get, list, may } from "./api.js";
import { $, fill, h, say } from "./dom.js";
import { ago, duration, number, shortId } from "./format.js";
import { repeat } from "./live.js";
import { attempt } from "./toast.js";
import { isMoving, nameOf, statusTag } from "./verbs.js";

const form = $("#make");
const OTHER = ""; // the choice to embed other pictures first
let moving = true;

function place(job) {
  return job.spec.data?.path ?? job.spec.data?.source ?? "";
}

function line(job) {
  const { result } = job;
  const facts = result
    ? `${number(result.count)} pictures · ${number(result.clusters)} clusters · took ${duration(result.seconds)}`
    : job.error?.message || (job.progress?.eta_seconds ? `about ${duration(job.progress.eta_seconds)} left` : "");
  return h(
    "li",
    { dataset: { job: job.id } },
    h("div", {}, h("h3", {}, h("a", { href: `/ui/explore/${job.id}` }, job.name || place(job) || nameOf(job))), h("p.muted.small", {}, `${place(job)} by ${shortId(job.spec.encoder)} · ${ago(job.created_at)}`)),
    h("p.small.number", {}, facts),
    h("div.row", {}, statusTag(job)),
  );
}

async function look() {
  const page = await get("/jobs?kind=map&limit=50");
  const now = JSON.stringify(page.data.map((job) => [job.id, job.status, job.progress, job.requested]));
  moving = page.data.some(isMoving);
  if (now !== look.before) fill($("#maps"), page.data.map(line));
  look.before = now;
  $("#maps").hidden = !page.data.length;
  $("#none").hidden = Boolean(page.data.length);
  $("#busy").hidden = true;
}

async function choices() {
  const vectors = [];
  for await (const job of list("/jobs?kind=embed&status=succeeded", 100)) {
    const count = job.result.images - job.result.errors;
    vectors.push(h("option", { value: job.id }, `${place(job)}: ${number(count)} pictures by ${shortId(job.spec.encoder)}, ${ago(job.finished_at)}`));
  }
  const encoders = [];
  for await (const encoder of list("/encoders", 100)) {
    encoders.push(h("option", { value: encoder.id }, [encoder.aliases[0], encoder.method, encoder.arch, shortId(encoder.id)].filter(Boolean).join(" · ")));
  }
  const datasets = [];
  for await (const each of list("/datasets", 200)) datasets.push(h("option", { value: each.path }, each.name));
  fill(form.elements.vectors, vectors, encoders.length ? h("option", { value: OTHER }, "Embed other pictures first…") : null);
  fill(form.elements.encoder, encoders);
  fill($("#datasets"), datasets);
  const none = !encoders.length;
  $("#no-encoder").hidden = !none;
  form.hidden = none || !may("submit");
  which();
}

function which() {
  $("#others").hidden = form.elements.vectors.value !== OTHER;
  form.elements.path.required = form.elements.vectors.value === OTHER;
}

function options() {
  const wanted = {};
  for (const name of ["neighbours", "min_dist", "seed"]) if (form.elements[name].value !== "") wanted[name] = Number(form.elements[name].value);
  return wanted;
}

/** What is wrong, beside its field. */
function complain(error) {
  for (const place of form.querySelectorAll("[data-problem]")) say(place, "");
  for (const each of form.elements) each.removeAttribute("aria-invalid");
  const rest = [];
  for (const { pointer, detail } of error?.problems || []) {
    const name = pointer.split("/").filter(Boolean).pop();
    const place = form.querySelector(`[data-problem="${CSS.escape(name || "")}"]`);
    if (place) {
      say(place, detail);
      form.elements[name]?.setAttribute("aria-invalid", "true");
    } else rest.push(detail);
  }
  if (error && !error.problems?.length) rest.push(error.message);
  say($("#problem"), rest.join(" "));
}

form.addEventListener("change", which);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  complain(null);
  const vectors = form.elements.vectors.value;
  const name = form.elements.name.value.trim();
  const named = name ? { name } : {};
  attempt($("#go"), async () => {
    const embed = { kind: "embed", encoder: form.elements.encoder.value, data: { source: "folder", path: form.elements.path.value.trim() }, ...named };
    const body = vectors === OTHER ? embed : { kind: "map", vectors, ...options(), ...named };
    try {
      const job = await api("POST", "/jobs", { body });
      location.assign(`/ui/explore/${job.id}${vectors === OTHER ? `?${new URLSearchParams(options())}` : ""}`);
    } catch (error) {
      complain(error);
      if (!error.problems) throw error;
    }
  });
});

repeat(look, () => (moving ? 2000 : 10_000));
attempt(null, choices);
