// Which point is where: a grid of cells over the map, so that a look under the pointer does not go through all points.

import { ends } from "./map_view.js";

export class Grid {
  constructor(points) {
    this.points = points;
    const { x, y, count } = points;
    this.side = Math.max(1, Math.ceil(Math.sqrt(count / 4)));
    [this.left, this.right] = ends(x);
    [this.bottom, this.top] = ends(y);
    const cells = new Uint32Array(count);
    this.begins = new Uint32Array(this.side * this.side + 1);
    for (let row = 0; row < count; row++) {
      cells[row] = this.row(y[row]) * this.side + this.column(x[row]);
      this.begins[cells[row] + 1]++;
    }
    for (let cell = 0; cell < this.side * this.side; cell++) this.begins[cell + 1] += this.begins[cell];
    const next = this.begins.slice();
    this.rows = new Uint32Array(count);
    for (let row = 0; row < count; row++) this.rows[next[cells[row]]++] = row;
  }

  column = (x) => this.cell(x, this.left, this.right);
  row = (y) => this.cell(y, this.bottom, this.top);

  cell(value, low, high) {
    const at = Math.floor(((value - low) / (high - low || 1)) * this.side);
    return Math.min(this.side - 1, Math.max(0, at));
  }

  /** Rows in the cells that a rectangle of the map touches: somewhat more than lie in it. */
  *around(left, bottom, right, top) {
    const [first, last] = [this.column(left), this.column(right)];
    for (let row = this.row(bottom); row <= this.row(top); row++) {
      const [begin, end] = [this.begins[row * this.side + first], this.begins[row * this.side + last + 1]];
      for (let at = begin; at < end; at++) yield this.rows[at];
    }
  }

  /** The row nearest to a place, at most so far away, or -1. `shown(row)`: whether it counts. */
  nearest(x, y, far, shown = () => true) {
    let best = -1;
    let least = far * far;
    for (const row of this.around(x - far, y - far, x + far, y + far)) {
      const distance = (this.points.x[row] - x) ** 2 + (this.points.y[row] - y) ** 2;
      if (distance <= least && shown(row)) {
        least = distance;
        best = row;
      }
    }
    return best;
  }

  /** Rows inside a polygon [[x, y], …], in order. */
  inside(polygon) {
    const xs = polygon.map(([x]) => x);
    const ys = polygon.map(([, y]) => y);
    const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const found = [];
    for (const row of this.around(left, bottom, right, top)) {
      const [x, y] = [this.points.x[row], this.points.y[row]];
      if (x >= left && x <= right && y >= bottom && y <= top && within(x, y, xs, ys)) found.push(row);
    }
    return found.sort((one, other) => one - other);
  }
}

/** Whether a ray from the point crosses the polygon an odd number of times. */
function within(x, y, xs, ys) {
  let odd = false;
  for (let at = 0, before = xs.length - 1; at < xs.length; before = at++) {
    if (ys[at] > y !== ys[before] > y && x < ((xs[before] - xs[at]) * (y - ys[at])) / (ys[before] - ys[at]) + xs[at]) odd = !odd;
  }
  return odd;
}
