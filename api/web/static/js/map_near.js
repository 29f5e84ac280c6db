// The pictures themselves on the map, where so few are in sight that there is room for them.

const MOST = 48; // in sight
const SIDE = 44; // pixels
const KEPT = 400; // in memory

export class Closeups {
  /** address(row): of a thumbnail. changed(): one has arrived. */
  constructor(address, changed) {
    this.address = address;
    this.changed = changed;
    this.images = new Map(); // row: Image, or null where the file is gone
  }

  /** Draw those of these rows, an iterable, if they are few. place(row): pixels. */
  draw(context, rows, place) {
    const seen = [];
    for (const row of rows) {
      if (seen.push(row) > MOST) return;
    }
    for (const row of seen) {
      const image = this.image(row);
      if (!image?.complete || !image.naturalWidth) continue;
      const [left, top] = place(row);
      const scale = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
      context.drawImage(image, left - width / 2, top - height - 8, width, height);
    }
  }

  image(row) {
    if (!this.images.has(row)) {
      const image = new Image();
      image.onload = this.changed;
      image.onerror = () => this.images.set(row, null);
      image.src = this.address(row);
      this.images.set(row, image);
      if (this.images.size > KEPT) this.images.delete(this.images.keys().next().value);
    }
    return this.images.get(row);
  }
}
