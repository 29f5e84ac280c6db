// What is on a map: its points in one binary answer, its pictures' names when they are needed.

import { get } from "./api.js";

const MOST_NAMED = 200; // rows in one request
const NUMBERS = { float32: Float32Array, int32: Int32Array };

/** The points of GET /jobs/{id}/map/points.bin: {count, folders, x, y, folder, cluster, outlier}. */
export function parsePoints(buffer) {
  const magic = new TextDecoder().decode(new Uint8Array(buffer, 0, 4));
  if (magic !== "IMAP") throw new Error("The map's points are in a form that this page does not know; reload it.");
  const length = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const found = { count: header.count, folders: header.folders };
  for (const { name, type, offset } of header.columns) found[name] = new NUMBERS[type](buffer, 8 + length + offset, header.count);
  return found;
}

/** One map: what it is about, its points, and the pictures that have been asked for by now. */
export class PictureMap {
  constructor(job) {
    this.job = job;
    this.here = `/jobs/${job}/map`;
    this.known = new Map(); // row: {row, path, …}
  }

  async load() {
    const [about, buffer] = await Promise.all([get(this.here), get(`${this.here}/points.bin`, { as: "buffer" })]);
    this.about = about;
    this.points = parsePoints(buffer);
    return this;
  }

  thumbnail(row) {
    return `${this.here}/thumbnails/${row}`;
  }

  /** Pictures by their rows, in this order. */
  async pictures(rows) {
    const missing = [...new Set(rows.filter((row) => !this.known.has(row)))];
    for (let begin = 0; begin < missing.length; begin += MOST_NAMED) {
      const part = missing.slice(begin, begin + MOST_NAMED);
      this.keep((await get(`${this.here}/points?limit=${MOST_NAMED}&rows=${part.join(",")}`)).data);
    }
    return rows.map((row) => this.known.get(row));
  }

  /** A page of GET …/points. */
  async page(query) {
    const page = await get(`${this.here}/points?${new URLSearchParams(query)}`);
    this.keep(page.data);
    return page;
  }

  keep(pictures) {
    for (const each of pictures) this.known.set(each.row, each);
  }
}
