// Encoders side by side: a table of what was measured on the same data in the same way, and a picture of the accuracies.

import { fill, h, svg } from "./dom.js";
import { number, shortId, words } from "./format.js";

const COLOURS = ["--accent", "--warn", "--bad", "--good", "--muted", "--ink"];
const MARKS = ["circle", "square", "diamond"]; // told apart without colours
const ACCURACY = /top\d/;
const NAMES = { knn_top1: "kNN top-1", linear_top1: "linear top-1", top1: "top-1", top5: "top-5" };
const [LEFT, RIGHT, STEP] = [290, 30, 34]; // pixels

const nameOf = (encoder) => encoder.aliases[0] || `${encoder.method} ${shortId(encoder.id)}`;

/** body: GET /encoders?compare=…. */
export function showComparison(place, { encoders, data }) {
  if (!data.length) {
    fill(place, h("p.muted", {}, "Nothing has been measured of these encoders. Jobs of kind linear_probe and finetune do it: imprint measure."));
    return;
  }
  const lines = data.flatMap((each) => Object.entries(each.metrics).map(([metric, figures]) => ({ each, metric, figures })));
  fill(place, plot(encoders, lines.filter(({ metric }) => ACCURACY.test(metric))), table(encoders, lines));
}

function table(encoders, lines) {
  const heads = encoders.map((encoder, at) => h("th", { scope: "col" }, key(at), h("a", { href: `/ui/encoders/${encoder.id}` }, nameOf(encoder))));
  const rows = lines.map(({ each, metric, figures }) => {
    const best = ACCURACY.test(metric) ? Math.max(...figures.map((figure) => figure?.mean ?? -Infinity)) : NaN;
    return h("tr", {}, h("th", { scope: "row" }, title(each, metric)), figures.map((figure) => h("td.number", {}, cell(figure, best))));
  });
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Figures" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Measured"), heads)), h("tbody", {}, rows)));
}

function title(each, metric) {
  const where = each.data?.path ?? each.data?.source ?? "";
  return `${NAMES[metric] || words(metric)}, ${each.kind === "pretrain" ? "while it was trained" : words(each.name)}${where ? ` on ${where}` : ""}`;
}

function cell(figure, best) {
  if (!figure) return "–";
  const text = figure.std === null ? number(figure.mean) : `${number(figure.mean)} ± ${number(figure.std)} (${figure.count})`;
  return figure.mean === best ? h("strong", {}, text) : text;
}

function key(at) {
  return svg("svg", { width: 16, height: 12, "aria-hidden": "true", class: "key" }, mark(at, 7, 6));
}

function mark(at, x, y) {
  const kind = MARKS[Math.floor(at / COLOURS.length) % MARKS.length];
  const shape = kind === "circle" ? svg("circle", { cx: x, cy: y, r: 5 }) : svg("path", { d: kind === "square" ? `M${x - 5} ${y - 5}h10v10h-10z` : `M${x} ${y - 6}l6 6l-6 6l-6 -6z` });
  shape.style.fill = `var(${COLOURS[at % COLOURS.length]})`;
  return shape;
}

/** A line for each accuracy, a mark on it for each encoder, and a bar of one standard deviation to both sides. */
function plot(encoders, lines) {
  if (!lines.length) return null;
  const width = 1000;
  const values = lines.flatMap(({ figures }) => figures.filter(Boolean).flatMap(({ mean, std }) => [mean - (std || 0), mean + (std || 0)]));
  const grain = 5 * Math.max(1, Math.ceil((Math.max(...values) - Math.min(...values) + 4) / 25)); // between two lines
  const low = Math.max(0, Math.floor((Math.min(...values) - 2) / grain) * grain);
  const high = Math.min(100, Math.ceil((Math.max(...values) + 2) / grain) * grain);
  const x = (value) => LEFT + ((value - low) / (high - low || 1)) * (width - LEFT - RIGHT);
  const height = lines.length * STEP + 34;
  const ticks = Array.from({ length: Math.floor((high - low) / grain) + 1 }, (_, at) => low + at * grain);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": "Accuracies of the encoders in percent; the table below has the figures" });
  for (const tick of ticks) {
    drawn.append(svg("path", { d: `M${x(tick)} 6V${height - 24}`, class: "axis" }), svg("text", { x: x(tick), y: height - 8, class: "tick" }, `${number(tick)} %`));
  }
  lines.forEach(({ each, metric, figures }, at) => {
    const y = at * STEP + 22;
    const full = title(each, metric);
    const label = svg("text", { x: 0, y: y + 4, class: "label" }, full.length > 44 ? `${full.slice(0, 43)}…` : full);
    label.append(svg("title", {}, full));
    drawn.append(label);
    figures.forEach((figure, encoder) => {
      if (!figure) return;
      const { mean, std } = figure;
      if (std) drawn.append(svg("path", { d: `M${x(mean - std)} ${y}H${x(mean + std)}`, class: "spread" }));
      const shown = mark(encoder, x(mean), y);
      shown.append(svg("title", {}, `${nameOf(encoders[encoder])}: ${number(mean)} %`));
      drawn.append(shown);
    });
  });
  return h("div.scroll", {}, drawn);
}
