// A picture that is dropped here: its embedding, and what is nearest to it in the encoder's index.

import { ApiError, api, get, list, may, post } from "./api.js";
import { $, fill, h, say, svg } from "./dom.js";
import { ago, number } from "./format.js";
import { picturesNamed, picturesOf } from "./pictures_of.js";
import { attempt } from "./toast.js";

const NEAREST = 12;
const AGAIN = 1000; // ms between looks at an index that is built

export function tryIt(place, encoder) {
  const [drop, input, shown] = ["#drop", "#file", "#tried"].map((name) => $(name, place));
  let last = null;
  input.addEventListener("change", () => take(input.files[0]));
  for (const kind of ["dragover", "dragenter"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files || [])].find((each) => each.type.startsWith("image/"));
    if (file) take(file);
  });

  async function take(file) {
    if (!file) return;
    last = file;
    input.value = "";
    const picture = h("img.own", { src: URL.createObjectURL(file), alt: file.name, width: "120", height: "120" });
    const [vector, near] = [h("div", { role: "status" }, "Embedding it…"), h("div")];
    fill(shown, h("div.tried", {}, h("figure", {}, picture, h("figcaption.small.muted", {}, file.name)), vector), near);
    await Promise.all([embed(file, vector), search(file, near)]);
  }

  async function embed(file, into) {
    const form = new FormData();
    form.append("encoder", encoder);
    form.append("images", file);
    try {
      const body = await api("POST", "/embed", { body: form });
      fill(into, vectorPicture(body.data[0].embedding));
    } catch (error) {
      fill(into, h("p.wrong", {}, error.message));
    }
  }

  async function search(file, into) {
    const form = new FormData();
    form.append("image", file);
    form.append("k", String(NEAREST));
    form.append("thumbnails", "true");
    try {
      const body = await api("POST", `/encoders/${encoder}/search`, { body: form });
      fill(into, h("h3", {}, `Nearest of ${number(body.index.count)} pictures`), neighbours(body.data));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) await offer(into);
      else if (!(error instanceof ApiError && error.status === 422)) fill(into, h("p.wrong", {}, error.message)); // else /embed has said it
    }
  }

  /** No index: from which vectors one can be built. */
  async function offer(into) {
    const made = [];
    for await (const job of list("/jobs?kind=embed&status=succeeded", 200)) if (job.spec.encoder === encoder) made.push(job);
    await Promise.all(made.map((job) => picturesNamed(job.spec.data)));
    if (!made.length || !may("submit")) {
      fill(into, h("p.muted", {}, "To find pictures like it, embed a folder with this encoder, for example by making a map of it: "), h("a.button.small", { href: `/ui/explore?encoder=${encoder}` }, "Make a map"));
      return;
    }
    const choice = h("select", { id: "vectors" }, made.map((job) => h("option", { value: job.id }, `${picturesOf(job.spec.data)}: ${number(job.result.images)} pictures, ${ago(job.finished_at)}`)));
    const button = h("button.small.primary", { type: "button", onclick: () => attempt(button, () => build(choice.value, into)) }, "Index them");
    fill(into, h("p", {}, "To find pictures like it, these have to be indexed once:"), h("div.row", {}, h("label.hidden-visually", { for: "vectors" }, "Vectors"), choice, button));
  }

  async function build(vectors, into) {
    await post(`/encoders/${encoder}/index`, { vectors });
    const said = h("p.muted", { role: "status" });
    fill(into, said);
    for (;;) {
      const { status, job } = await get(`/encoders/${encoder}/index`);
      if (status !== "building") break;
      const done = job?.progress?.fraction;
      say(said, job?.status === "queued" ? "Waits for a worker…" : `Indexing${done ? `: ${Math.round(100 * done)} %` : "…"}`);
      await new Promise((go) => setTimeout(go, AGAIN));
    }
    if (last) await search(last, into);
  }
}

function neighbours(found) {
  return h(
    "ol.near",
    {},
    found.map(({ path, score, thumbnail }) =>
      h(
        "li",
        { title: path },
        thumbnail ? h("img", { src: thumbnail, alt: "", width: "120", height: "120" }) : h("span.gone", {}, "gone"),
        h("span.small.number", {}, score.toFixed(3)),
        h("span.small.muted.path", {}, path),
      ),
    ),
  );
}

/** The numbers of an embedding as bars: up for above zero, down for below. */
export function vectorPicture(values) {
  const [width, height] = [600, 90];
  const size = Math.max(...values.map(Math.abs), 1e-12);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const room = (height - 4) / Math.max(high - low, 1e-12);
  const zero = 2 + high * room; // at the bottom where nothing is below zero
  const step = width / values.length;
  const bars = values.map((value, at) => `M${((at + 0.5) * step).toFixed(2)} ${zero.toFixed(2)}v${(-value * room).toFixed(2)}`);
  const length = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  const path = svg("path", { d: bars.join("") });
  path.style.strokeWidth = String(Math.max(0.4, step * 0.75));
  const label = `Embedding of ${values.length} numbers, from ${number(Math.min(...values))} to ${number(Math.max(...values))}`;
  return h(
    "figure.vector",
    {},
    svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, svg("path", { d: `M0 ${zero.toFixed(2)}h${width}`, class: "zero" }), path),
    h("figcaption.small.muted.number", {}, `${number(values.length)} numbers · length ${number(length)} · largest ${number(size)}`),
  );
}
