// Maps that there are, and the form for another.

import { api, get, list, may } from "./api.js";
import { $, fill, h, say } from "./dom.js";
import { ago, duration, number, shortId } from "./format.js";
import { repeat } from "./live.js";
import { attempt } from "./toast.js";
import { countOf, picturesNamed, picturesOf } from "./pictures_of.js";
import { isMoving, nameOf, statusTag } from "./verbs.js";

const form = $("#make");
const given = new URLSearchParams(location.search); // of a link: encoder, and vectors, dataset or path
const FOLDER = ""; // the choice of a folder that is typed in
let moving = true;

const place = (job) => picturesOf(job.spec.data);

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
  await Promise.all(page.data.map((job) => picturesNamed(job.spec.data)));
  const now = JSON.stringify(page.data.map((job) => [job.id, job.status, job.progress, job.requested]));
  moving = page.data.some(isMoving);
  if (now !== look.before) fill($("#maps"), page.data.map(line));
  look.before = now;
  $("#maps").hidden = !page.data.length;
  $("#none").hidden = Boolean(page.data.length);
  $("#busy").hidden = true;
}

/** What can be mapped: vectors that there are, and pictures that are embedded first. */
async function choices() {
  const [vectors, encoders, datasets] = await Promise.all(
    [["/jobs?kind=embed&status=succeeded", 100], ["/encoders", 100], ["/datasets", 200]].map(([path, most]) => all(path, most)),
  );
  await Promise.all(vectors.map((job) => picturesNamed(job.spec.data)));
  const embedded = vectors.map((job) =>
    h("option", { value: job.id }, `${place(job)}: ${number(job.result.images - job.result.errors)} pictures by ${shortId(job.spec.encoder)}, ${ago(job.finished_at)}`),
  );
  const others = datasets.map((each) =>
    h("option", { value: each.id }, `${each.name}: ${number(countOf(each))} pictures`),
  );
  const nameless = (encoder) => [encoder.method, encoder.arch, shortId(encoder.id)].filter(Boolean).join(" · ");
  fill(
    form.elements.vectors,
    embedded.length ? h("optgroup", { label: "Embedded already" }, embedded) : null,
    others.length && encoders.length ? h("optgroup", { label: "Datasets, embedded first" }, others) : null,
    encoders.length ? h("option", { value: FOLDER }, "A folder below the data root…") : null,
  );
  fill(
    form.elements.encoder,
    encoders.map((encoder) => h("option", { value: encoder.id }, [encoder.aliases[0], nameless(encoder)].filter(Boolean).join(" · "))),
  );
  choose(vectors, datasets);
  const none = !encoders.length && !vectors.length;
  $("#no-encoder").hidden = !none;
  form.hidden = none || !may("submit");
  which();
}

/** What a link asked for; pictures that this encoder has embedded already are not embedded again. */
function choose(vectors, datasets) {
  const [encoder, dataset, path] = ["encoder", "dataset", "path"].map((name) => given.get(name));
  if (encoder) form.elements.encoder.value = encoder;
  if (given.get("vectors")) form.elements.vectors.value = given.get("vectors");
  else if (dataset || path) {
    const same = ({ data, encoder: by }) => by === encoder && (dataset ? data.dataset === dataset : !data.dataset && data.path === path);
    form.elements.vectors.value = vectors.find((job) => same(job.spec))?.id ?? dataset ?? FOLDER;
    form.elements.path.value = path || "";
  } else if (encoder) form.elements.vectors.value = datasets[0]?.id ?? FOLDER;
}

async function all(path, most) {
  const found = [];
  for await (const each of list(path, most)) found.push(each);
  return found;
}

const isVectors = (value) => value.startsWith("job_");

function which() {
  const { value } = form.elements.vectors;
  $("#others").hidden = isVectors(value);
  $("#folder").hidden = value !== FOLDER;
  form.elements.path.required = value === FOLDER;
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
    const data = vectors === FOLDER ? { source: "folder", path: form.elements.path.value.trim() } : { source: "dataset", id: vectors };
    const first = !isVectors(vectors);
    const body = first ? { kind: "embed", encoder: form.elements.encoder.value, data, ...named } : { kind: "map", vectors, ...options(), ...named };
    try {
      const job = await api("POST", "/jobs", { body });
      location.assign(`/ui/explore/${job.id}${first ? `?${new URLSearchParams(options())}` : ""}`);
    } catch (error) {
      complain(error);
      if (!error.problems) throw error;
    }
  });
});

repeat(look, () => (moving ? 2000 : 10_000));
attempt(null, choices);
