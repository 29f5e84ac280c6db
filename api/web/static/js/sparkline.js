// A line of a few dozen values, as a word in a sentence.

import { svg } from "./dom.js";

const WIDTH = 120;
const HEIGHT = 28;

/** sparkline([[step, value], …], "train_loss falls from 5.1 to 3.2"): an image with that description. */
export function sparkline(points, label) {
  const known = points.filter(([, value]) => Number.isFinite(value));
  const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sparkline", role: "img", "aria-label": label });
  if (known.length < 2) return image;
  const steps = known.map(([step]) => step);
  const values = known.map(([, value]) => value);
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const at = ([step, value]) => {
    const x = 2 + ((step - first) / (last - first || 1)) * (WIDTH - 6);
    const y = HEIGHT - 4 - ((value - low) / (high - low || 1)) * (HEIGHT - 8);
    return [x.toFixed(1), y.toFixed(1)];
  };
  const path = known.map((point, index) => `${index ? "L" : "M"}${at(point).join(" ")}`).join("");
  const [x, y] = at(known[known.length - 1]);
  image.append(svg("path", { d: path }), svg("circle", { cx: x, cy: y, r: 2.2 }));
  return image;
}
