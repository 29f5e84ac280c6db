// The field that the map is drawn in: what hands do on it (drag, pinch, wheel, lasso, keys), and what is drawn over the points.

import { Grid } from "./map_grid.js";
import { Closeups } from "./map_near.js";
import { painter } from "./map_points.js";
import { View } from "./map_view.js";

const NEAR = 10; // pixels within which a point is meant
const STEP = 60; // pixels that an arrow key moves
const CLOSE = 3; // times the whole, from which pictures are shown on the map
const CLICK = 5; // pixels that a hand may tremble

/**
 * told.thumbnail(row): the address of a small picture. Tells: `hover(row, left, top)` (-1: nothing), `pick(row)`, `lasso(rows, how)` with how "replace", "add" or "remove".
 * `tool` is "move" or "lasso".
 */
export class MapField {
  constructor(element, points, told) {
    this.points = points;
    this.told = told;
    this.canvas = element.querySelector("#points");
    this.over = element.querySelector("#over");
    this.canvas.field = this; // who looks at the element finds what it shows
    this.painter = painter(this.canvas, points, new URLSearchParams(location.search).get("painter"));
    this.view = new View(points);
    this.grid = new Grid(points);
    this.closeups = new Closeups(told.thumbnail, () => this.draw());
    this.tool = "move";
    this.shown = () => true;
    this.marked = { picked: -1, near: [], hovered: -1 };
    this.hands = new Map(); // pointers that are down
    this.line = null; // of the lasso, in the map's coordinates
    this.frames = 0;
    new ResizeObserver(() => this.resize()).observe(element);
    this.listen();
    this.resize();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(clientWidth * ratio);
      canvas.height = Math.round(clientHeight * ratio);
    }
    this.ratio = ratio;
    this.view.resize(clientWidth, clientHeight);
    this.draw();
  }

  colours(tints, shown) {
    this.shown = shown || (() => true);
    this.painter.colours(tints);
    this.draw();
  }

  mark(marks) {
    Object.assign(this.marked, marks);
    this.draw();
  }

  /** Once, before the next frame. */
  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = 0;
      this.frames += 1;
      this.painter.draw(this.view);
      this.drawOver();
    });
  }

  drawOver() {
    const context = this.over.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const [ink, accent] = ["--ink", "--accent"].map((name) => style.getPropertyValue(name).trim());
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.view.width, this.view.height);
    const place = (row) => this.view.toScreen(this.points.x[row], this.points.y[row]);
    const ring = (row, size, colour, width) => {
      const [left, top] = place(row);
      context.beginPath();
      context.arc(left, top, size, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.stroke();
    };
    if (this.view.zoom >= CLOSE) this.closeups.draw(context, this.inSight(), place);
    const { picked, near, hovered } = this.marked;
    if (picked >= 0) {
      context.globalAlpha = 0.45;
      for (const row of near) {
        context.beginPath();
        context.moveTo(...place(picked));
        context.lineTo(...place(row));
        context.strokeStyle = ink;
        context.lineWidth = 1;
        context.stroke();
      }
      context.globalAlpha = 1;
      for (const row of near) ring(row, 6, ink, 1.25);
      ring(picked, 9, accent, 3);
    }
    if (hovered >= 0) ring(hovered, 7, ink, 2);
    if (this.line?.length > 1) {
      context.beginPath();
      for (const [x, y] of this.line) context.lineTo(...this.view.toScreen(x, y));
      context.closePath();
      context.fillStyle = accent;
      context.globalAlpha = 0.12;
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = accent;
      context.lineWidth = 1.5;
      context.stroke();
    }
  }

  /** Rows that lie in the field. */
  *inSight() {
    const { width, height } = this.view;
    const [left, top] = this.view.toMap(0, 0);
    const [right, bottom] = this.view.toMap(width, height);
    for (const row of this.grid.around(left, bottom, right, top)) {
      const [x, y] = [this.points.x[row], this.points.y[row]];
      if (x >= left && x <= right && y >= bottom && y <= top && this.shown(row)) yield row;
    }
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event, true));
    canvas.addEventListener("pointerleave", () => this.told.hover(-1));
    canvas.addEventListener("dblclick", (event) => this.zoom(2, event.offsetX, event.offsetY));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
        this.zoom(Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0016)), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
  }

  zoom(factor, left, top) {
    this.view.zoomAt(factor, left, top);
    this.draw();
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.hands.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.begun = [event.offsetX, event.offsetY];
    this.dragged = this.hands.size > 1;
    this.line = this.tool === "lasso" && this.hands.size === 1 ? [this.view.toMap(event.offsetX, event.offsetY)] : null;
    this.told.hover(-1);
  }

  move(event) {
    const [left, top] = [event.offsetX, event.offsetY];
    if (!this.hands.has(event.pointerId)) {
      this.told.hover(this.under(left, top), left, top);
      return;
    }
    if (Math.hypot(left - this.begun[0], top - this.begun[1]) > CLICK) this.dragged = true;
    const before = this.hands.get(event.pointerId);
    if (this.hands.size === 2) {
      const other = [...this.hands].find(([id]) => id !== event.pointerId)[1];
      const spread = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.view.zoomAt(spread([left, top]) / spread(before), (left + other[0]) / 2, (top + other[1]) / 2);
      this.view.pan((left - before[0]) / 2, (top - before[1]) / 2);
    } else if (this.line) {
      this.line.push(this.view.toMap(left, top));
    } else if (this.dragged) {
      this.view.pan(left - before[0], top - before[1]);
    }
    this.hands.set(event.pointerId, [left, top]);
    this.draw();
  }

  up(event, cancelled = false) {
    if (!this.hands.delete(event.pointerId)) return;
    const line = this.line;
    this.line = null;
    if (!cancelled && !this.dragged) this.told.pick(this.under(event.offsetX, event.offsetY));
    else if (!cancelled && line?.length > 2) {
      const rows = this.grid.inside(line).filter(this.shown);
      this.told.lasso(rows, event.shiftKey ? "add" : event.altKey ? "remove" : "replace");
    }
    this.draw();
  }

  under(left, top, far = NEAR) {
    const [x, y] = this.view.toMap(left, top);
    return this.grid.nearest(x, y, far / this.view.scale, this.shown);
  }

  key(event) {
    const steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (steps[event.key]) this.view.pan(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") this.view.zoomAt(1.4);
    else if (event.key === "-") this.view.zoomAt(1 / 1.4);
    else if (event.key === "0") this.view.fit();
    else if (event.key === "Enter") this.told.pick(this.under(this.view.width / 2, this.view.height / 2, this.view.width));
    else if (event.key === "Escape") this.told.pick(-1);
    else return;
    event.preventDefault();
    this.draw();
  }

  /** Show a picture's place. */
  go(row) {
    this.view.go(this.points.x[row], this.points.y[row]);
    this.draw();
  }
}
