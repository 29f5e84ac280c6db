// Draws the points without a graphics card: discs, written into the pixels by hand. 100,000 take some ten milliseconds.

import { pointSize } from "./map_size.js";

const SLOW = 14; // ms that a frame may take; where it takes longer, only every second, third … point is drawn while it moves
const REST = 140; // ms without a frame, after which all points are drawn

export class PlainPainter {
  kind = "canvas";

  constructor(canvas, points) {
    this.canvas = canvas;
    this.points = points;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.tints = new Uint32Array(points.count);
    this.each = 1;
    this.last = 0;
  }

  colours(tints) {
    this.tints = new Uint32Array(tints.buffer, tints.byteOffset, tints.length / 4);
    this.dim = this.tints.some((tint) => !(tint >>> 31));
  }

  draw(view) {
    const began = performance.now();
    const moving = began - this.last < REST;
    this.last = began;
    const each = moving ? this.each : 1;
    this.paint(view, each);
    const took = performance.now() - began;
    this.each = Math.min(16, Math.max(1, Math.ceil((took * each) / SLOW)));
    clearTimeout(this.resting);
    if (each > 1) this.resting = setTimeout(() => this.paint(view, 1), REST);
  }

  /** What is dim first, and over it the rest. each: draw one in so many. */
  paint(view, each) {
    const { width, height } = this.canvas;
    if (!width || !height) return;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = this.context.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    this.pixels.fill(0);
    for (const bright of this.dim ? [0, 1] : [1]) this.discs(view, each, bright);
    this.context.putImageData(this.image, 0, 0);
  }

  discs(view, each, bright) {
    const { pixels, tints } = this;
    const { x, y, count } = this.points;
    const { width, height } = this.canvas;
    const ratio = width / view.width;
    const scale = view.scale * ratio;
    const side = Math.max(1, Math.round(pointSize(count, view.zoom) * ratio * 0.85));
    const spans = discOf(side);
    const [right, down] = [width / 2 - view.x * scale - side / 2 + 0.5, height / 2 + view.y * scale - side / 2 + 0.5];
    for (let row = 0; row < count; row += each) {
      const tint = tints[row];
      if (tint >>> 31 !== bright) continue;
      const left = (x[row] * scale + right) | 0;
      const top = (down - y[row] * scale) | 0;
      if (left < 1 || top < 1 || left + side >= width || top + side >= height) continue;
      for (let line = 0, begin = top * width + left; line < side; line++, begin += width) {
        for (let at = begin + spans[line], end = begin + side - spans[line]; at < end; at++) pixels[at] = tint;
      }
    }
  }
}

/** Of each line of a disc: how many pixels are left out at either end. */
function discOf(side) {
  const radius = side / 2;
  const inset = (line) => Math.round(radius - Math.sqrt(Math.max(0, radius ** 2 - (line + 0.5 - radius) ** 2)));
  return Array.from({ length: side }, (_, line) => (side < 4 ? 0 : inset(line)));
}
