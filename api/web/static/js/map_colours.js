// What each point's colour says: its folder, its cluster, or how far it stands apart; and the legend to it.

export const MODES = { folder: "Folder", cluster: "Cluster", outlier: "Outlier score" };
const NAMED = 24; // groups with a colour of their own; the rest is grey
const DIM = 38; // of 255: what is not chosen

/** Groups of a mode: [{key, label, count, colour [r, g, b]}], the largest first; [] for outlier. */
export function groups(points, mode, dark) {
  if (mode === "outlier") return [];
  const counts = new Map();
  for (const code of points[mode]) counts.set(code, (counts.get(code) || 0) + 1);
  const order = [...counts].sort((one, other) => other[1] - one[1]);
  if (mode === "folder") order.sort((one, other) => (order.length <= NAMED ? one[0] - other[0] : 0));
  else order.sort((one, other) => (one[0] < 0) - (other[0] < 0) || one[0] - other[0]);
  return order.map(([key, count], at) => ({ key, count, label: label(points, mode, key), colour: colour(at, key, mode, order.length, dark) }));
}

function label(points, mode, key) {
  if (mode === "folder") return points.folders[key] || "(top folder)";
  return key < 0 ? "in no cluster" : `cluster ${key + 1}`;
}

function colour(at, key, mode, many, dark) {
  if (at >= NAMED || (mode === "cluster" && key < 0)) return dark ? [96, 102, 99] : [176, 178, 174];
  // Neighbours in the list get hues far apart; three rounds of lightness tell 24 of them apart.
  const round = Math.floor(at / 8);
  const hue = (((at % 8) * 5) % 8) * 45 + round * 15 + 160;
  const light = (dark ? [68, 56, 78] : [42, 56, 32])[round];
  return fromHsl(hue % 360, many === 1 ? 45 : [62, 52, 70][round], light);
}

/** From calm to alarming: grey-green to the colour of a warning. share: 0 to 1. */
export function ramp(share, dark) {
  const stops = dark ? [[70, 84, 80], [95, 209, 184], [255, 196, 96], [255, 120, 104]] : [[205, 212, 208], [64, 150, 132], [214, 140, 20], [179, 38, 30]];
  const at = Math.min(0.9999, Math.max(0, share)) * (stops.length - 1);
  const [one, other] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return one.map((value, channel) => Math.round(value + (other[channel] - value) * (at % 1)));
}

/** The values between which the ramp runs: all but the farthest one in a hundred. */
export function range(values) {
  const sorted = Float32Array.from(values).sort();
  return [sorted[0] ?? 0, sorted[Math.floor((sorted.length - 1) * 0.99)] ?? 1];
}

/**
 * Four bytes a point. `chosen(row)`: whether it is bright; null: all are.
 */
export function tints(points, mode, made, dark, chosen) {
  const found = new Uint8Array(points.count * 4);
  const byKey = new Map(made.map((each) => [each.key, each.colour]));
  const [low, high] = mode === "outlier" ? range(points.outlier) : [0, 1];
  for (let row = 0; row < points.count; row++) {
    const rgb = mode === "outlier" ? ramp((points.outlier[row] - low) / (high - low || 1), dark) : byKey.get(points[mode][row]);
    found[4 * row] = rgb[0];
    found[4 * row + 1] = rgb[1];
    found[4 * row + 2] = rgb[2];
    found[4 * row + 3] = !chosen || chosen(row) ? 235 : DIM;
  }
  return found;
}

function fromHsl(hue, saturation, lightness) {
  const [s, l] = [saturation / 100, lightness / 100];
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [channel(0), channel(8), channel(4)];
}
