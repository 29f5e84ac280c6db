// Which part of the map is seen: from its coordinates to pixels of the page and back.

const CLOSEST = 4000; // times the whole
const MARGIN = 0.06; // of the field, around the whole

export class View {
  constructor(points) {
    const [left, right] = ends(points.x);
    const [bottom, top] = ends(points.y);
    this.middle = [(left + right) / 2, (bottom + top) / 2];
    this.extent = [Math.max(right - left, 1e-6), Math.max(top - bottom, 1e-6)];
    this.width = this.height = 1;
    this.x = this.middle[0];
    this.y = this.middle[1];
    this.zoom = 1; // 1: the whole map is seen
  }

  /** Pixels a unit of the map. */
  get scale() {
    const room = 1 - 2 * MARGIN;
    return this.zoom * Math.min((this.width * room) / this.extent[0], (this.height * room) / this.extent[1]);
  }

  resize(width, height) {
    this.width = Math.max(width, 1);
    this.height = Math.max(height, 1);
  }

  toScreen(x, y) {
    const { scale } = this;
    return [(x - this.x) * scale + this.width / 2, this.height / 2 - (y - this.y) * scale];
  }

  toMap(left, top) {
    const { scale } = this;
    return [(left - this.width / 2) / scale + this.x, (this.height / 2 - top) / scale + this.y];
  }

  pan(right, down) {
    const { scale } = this;
    this.x -= right / scale;
    this.y += down / scale;
  }

  /** Nearer by a factor; what lies at these pixels stays there. */
  zoomAt(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toMap(left, top);
    this.zoom = Math.min(CLOSEST, Math.max(0.5, this.zoom * factor));
    const [nowX, nowY] = this.toMap(left, top);
    this.x += x - nowX;
    this.y += y - nowY;
  }

  fit() {
    [this.x, this.y] = this.middle;
    this.zoom = 1;
  }

  /** Bring a point into the middle, near enough to see what is around it. */
  go(x, y, zoom = 6) {
    this.x = x;
    this.y = y;
    this.zoom = Math.max(this.zoom, zoom);
  }
}

/** The least and the largest of them. */
export function ends(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return values.length ? [low, high] : [0, 1];
}
