// What a job measures, as charts: the ones that people look for first, then the rest, folded away. Other jobs can be laid over.

import { get } from "./api.js";
import { Chart } from "./chart.js";
import { $, fill, h } from "./dom.js";
import { words } from "./format.js";

const POINTS = 600; // of each value when the page is opened; what comes later is drawn whole
const MOST = 3000; // of each value that are kept
const FIRST = [
  ["Loss", (name) => name === "train_loss", "The scaled loss, of every report"],
  [
    "Parts of the loss",
    (name) => name.startsWith("loss_") && !["loss_at_chance", "loss_over_ln_k"].includes(name),
    "What the loss is the sum of",
  ],
  ["kNN accuracy, %", (name) => name === "knn_top1", "Weighted kNN on frozen features of held-out pictures"],
  ["Linear accuracy, %", (name) => name === "linear_top1", "Logistic regression on the same features"],
  ["Effective rank", (name) => name === "effective_rank", "In how many dimensions the embeddings really vary"],
  ["Embedding std × √d", (name) => name === "embedding_std", "1: evenly spread; 0: collapsed"],
  ["Learning rate", (name) => name === "learning_rate", "The schedule"],
  ["Images per second", (name) => name === "images_per_second", "The speed since the report before"],
];

/** The curves of one job and of those that are compared with it. */
export class Curves {
  constructor(first, rest) {
    this.first = first; // where the charts go
    this.rest = rest;
    this.charts = new Map(); // by title
    this.jobs = new Map(); // id → {label, values: name → Map(step → value)}
    this.waiting = false;
  }

  /** Fetch what there is of a job; gives its last step. */
  async add(id, label) {
    const { data } = await get(`/jobs/${id}/metrics?points=${POINTS}`);
    this.jobs.set(id, { label, values: new Map() });
    this.put(id, data);
    return data.reduce((last, point) => Math.max(last, point.step), 0);
  }

  drop(id) {
    this.jobs.delete(id);
    this.draw();
  }

  /** New values of a job. */
  put(id, points) {
    const values = this.jobs.get(id)?.values;
    if (!values) return;
    for (const { name, step, value } of points) {
      if (!values.has(name)) values.set(name, new Map());
      values.get(name).set(step, value);
    }
    for (const [name, known] of values) {
      if (known.size > MOST) values.set(name, new Map([...known].filter((_, at) => at % 2 || at === known.size - 1)));
    }
    this.draw();
  }

  /** Soon, and once for all that changes meanwhile. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.redraw();
    });
  }

  redraw() {
    const names = [...new Set([...this.jobs.values()].flatMap(({ values }) => [...values.keys()]))].sort();
    const wanted = FIRST.map(([title, is, why]) => ({ title, why, names: names.filter(is), place: this.first })).filter(
      (each) => each.names.length,
    );
    const shown = new Set(wanted.flatMap((each) => each.names));
    for (const name of names) {
      if (!shown.has(name)) wanted.push({ title: words(name), why: name, names: [name], place: this.rest });
    }
    for (const [title, chart] of this.charts) {
      if (!wanted.some((each) => each.title === title)) {
        chart.remove();
        this.charts.delete(title);
      }
    }
    for (const { title, why, names: mine, place } of wanted) {
      if (!this.charts.has(title)) {
        this.charts.set(title, new Chart(title, why));
        place.append(this.charts.get(title).element);
      }
      if (place === this.rest && !place.closest("details").open) continue;
      this.charts.get(title).set(this.lines(mine));
    }
    this.rest.closest("details").hidden = !this.rest.children.length;
    $("#no-curves").hidden = Boolean(names.length);
  }

  /** With one job a line's name is its measure's; with several it is the job's. */
  lines(names) {
    const many = this.jobs.size > 1;
    const lines = [];
    [...this.jobs.values()].forEach(({ label, values }, at) => {
      names.forEach((name, part) => {
        if (!values.has(name)) return;
        const label_ = many ? (names.length > 1 ? `${label}, ${words(name)}` : label) : words(name);
        lines.push({
          label: label_,
          points: values.get(name),
          colour: many ? at : part,
          dash: many && part ? [5, 3] : undefined,
        });
      });
    });
    return lines;
  }
}

/** The list of jobs that can be laid over this one, newest first. */
export async function choices(select, job) {
  const { data } = await get(`/jobs?limit=100&kind=${job.kind}`);
  const others = data.filter((each) => each.id !== job.id && Object.keys(each.metrics).length);
  const options = others.map((each) =>
    h(
      "option",
      { value: each.id },
      `${each.name || each.method || each.spec.method?.name || each.kind} · ${each.id.slice(-6)}`,
    ),
  );
  fill(select, h("option", { value: "" }, others.length ? "Lay another job over…" : "No other job to compare with"), options);
  select.disabled = !others.length;
}
