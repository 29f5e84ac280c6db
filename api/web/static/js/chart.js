// Lines over steps, drawn by uPlot in the page's own colours, with the same in words for those who do not see them.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { fill, h } from "./dom.js";
import { number } from "./format.js";

const HEIGHT = 190;
const COLOURS = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6"];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const drawn = new Set(); // to be drawn again when light turns to dark

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((chart) => chart.rebuild()));

/** A figure with a title and lines. `set([{label, points: Map(step → value), colour: 0…5, dash}])` draws them. */
export class Chart {
  constructor(title, explanation = "") {
    this.title = title;
    this.now = h("span.now.number");
    this.canvas = h("div.canvas", { role: "img" });
    this.key = h("ul.key.small");
    this.element = h(
      "figure.chart",
      {},
      h("figcaption", {}, h("span", { title: explanation || null }, title), this.now),
      this.canvas,
      this.key,
    );
    this.lines = [];
    this.shape = "";
    this.size = new ResizeObserver(() => this.plot?.setSize({ width: this.canvas.clientWidth, height: HEIGHT }));
    this.size.observe(this.canvas);
    drawn.add(this);
  }

  set(lines) {
    this.lines = lines;
    const shape = JSON.stringify(lines.map(({ label, colour: which, dash }) => [label, which, dash]));
    this.describe();
    if (!this.plot || shape !== this.shape) {
      this.shape = shape;
      this.rebuild();
    } else this.plot.setData(this.data());
  }

  /** Every step of every line, with null where a line has no value. */
  data() {
    const tables = this.lines.map(({ points }) => {
      const steps = [...points.keys()].sort((a, b) => a - b);
      return [steps, steps.map((step) => points.get(step))];
    });
    return uPlot.join(tables);
  }

  rebuild() {
    this.plot?.destroy();
    if (!this.lines.length || !this.canvas.clientWidth) return;
    const [muted, line] = [colour("--muted"), colour("--line")];
    const axis = {
      stroke: muted,
      grid: { stroke: line, width: 1 },
      ticks: { stroke: line, width: 1, size: 4 },
      font: "11px Inter, sans-serif",
    };
    const series = this.lines.map(({ label, colour: which = 0, dash }) => ({
      label,
      stroke: colour(COLOURS[which % COLOURS.length]),
      width: 1.6,
      dash,
      spanGaps: true,
      points: { show: (_, at) => this.lines[at - 1].points.size < 25, size: 5 },
    }));
    const options = {
      width: this.canvas.clientWidth,
      height: HEIGHT,
      scales: { x: { time: false } },
      axes: [
        { ...axis, size: 26, gap: 3, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? number(tick) : "")) },
        {
          ...axis,
          size: 52,
          gap: 4,
          values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : number(Number(tick.toPrecision(6))))),
        },
      ],
      series: [{}, ...series],
      legend: { show: false },
      hooks: { setCursor: [(plot) => this.point(plot.cursor.idx)] },
      cursor: { sync: { key: "curves", setSeries: false }, points: { size: 7 } },
      padding: [10, 10, 0, 0],
    };
    this.plot = new uPlot(options, this.data(), this.canvas);
    const many = this.lines.length > 1;
    fill(
      this.key,
      many && this.lines.map(({ label, dash }, at) => h(dash ? "li.dashed" : "li", {}, swatch(series[at].stroke), label)),
    );
  }

  /** The values under the pointer; without one, the newest. */
  point(at) {
    const step = this.plot?.data[0][at];
    if (step === undefined) {
      this.describe();
      return;
    }
    const values = this.lines.map(({ points }) => points.get(step)).filter((value) => value !== undefined);
    this.now.textContent = values.length ? `${values.map(number).join(" / ")} at ${number(step)}` : `step ${number(step)}`;
  }

  describe() {
    const told = this.lines.map(({ label, points }) => {
      const known = [...points.entries()].filter(([, value]) => Number.isFinite(value)).sort(([a], [b]) => a - b);
      if (!known.length) return `${label}: no values yet`;
      const [first, last] = [known[0], known[known.length - 1]];
      return `${label}: ${number(first[1])} at step ${first[0]}, ${number(last[1])} at step ${last[0]}`;
    });
    this.canvas.setAttribute("aria-label", `${this.title}. ${told.join("; ")}`);
    const main = this.lines[0]?.points;
    const newest = main?.size ? main.get(Math.max(...main.keys())) : null;
    this.now.textContent = Number.isFinite(newest) ? number(newest) : "";
  }

  remove() {
    drawn.delete(this);
    this.size.disconnect();
    this.plot?.destroy();
    this.element.remove();
  }
}

function swatch(colour_) {
  const made = h("span.swatch");
  made.style.borderColor = colour_;
  return made;
}
