// The legend: what the colours mean, and a way to look at one group alone, or to select it.

import { fill, h } from "./dom.js";
import { number } from "./format.js";
import { ramp, range } from "./map_colours.js";

const SHOWN = 40; // groups in the list

/** `alone`: the key that is looked at alone, or null. Tells `alone(key or null)` and `select(key)`. */
export function legend(element, points, mode, groups, alone, told, dark) {
  if (mode === "outlier") {
    fill(element, scale(points, dark), h("p.muted.small", {}, "The mean distance (1 − cosine) to the ten nearest others."));
    return;
  }
  const rows = groups.slice(0, SHOWN).map((group) => {
    const dot = h("span.dot", { "aria-hidden": "true" });
    dot.style.backgroundColor = `rgb(${group.colour})`;
    const pressed = alone === group.key;
    return h(
      "li",
      {},
      h(
        "button.quiet.group",
        { type: "button", "aria-pressed": String(pressed), dataset: { key: group.key }, onclick: () => told.alone(pressed ? null : group.key) },
        dot,
        h("span.name", { title: group.label }, group.label),
        h("span.muted.small.number", {}, number(group.count)),
      ),
      h(
        "button.quiet.small",
        { type: "button", "aria-label": `Select ${group.label}`, title: "Select", onclick: () => told.select(group.key) },
        "+",
      ),
    );
  });
  const more = groups.length - SHOWN;
  fill(element, h("ul.groups", {}, rows), more > 0 ? h("p.muted.small", {}, `and ${number(more)} smaller ones`) : null);
}

function scale(points, dark) {
  const canvas = h("canvas.ramp", { width: "128", height: "1", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let at = 0; at < 128; at++) {
    context.fillStyle = `rgb(${ramp(at / 127, dark)})`;
    context.fillRect(at, 0, 1, 1);
  }
  const [low, high] = range(points.outlier);
  return h("div", {}, canvas, h("div.row.between.small.number", {}, h("span", {}, `${number(low)} among others`), h("span", {}, `${number(high)} apart`)));
}
