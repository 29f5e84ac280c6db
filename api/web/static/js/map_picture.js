// Pictures of a map: small ones to click on, the one under the pointer, and the one that was picked with its nearest others.

import { get } from "./api.js";
import { fill, h, say } from "./dom.js";
import { number } from "./format.js";
import { toast } from "./toast.js";

const WAIT = 70; // ms that the pointer rests before a picture is asked for

/** A thumbnail that says when its file is gone. */
export function image(map, row, path) {
  const shown = h("img", { src: map.thumbnail(row), alt: path, loading: "lazy", decoding: "async", width: "96", height: "96" });
  shown.addEventListener("error", () => shown.replaceWith(h("span.gone", { role: "img", "aria-label": `${path}: the file is gone` }, "gone")));
  return shown;
}

/** A picture as a button, with words below it. */
export function thumb(map, picture, words, pick) {
  const label = words ? `${picture.path}, ${words}` : picture.path;
  return h(
    "button.thumb",
    { type: "button", title: picture.path, "aria-label": label, dataset: { row: picture.row }, onclick: () => pick(picture.row) },
    image(map, picture.row, picture.path),
    words ? h("span.small.number", {}, words) : null,
  );
}

/** What the pointer is over. */
export class Hover {
  constructor(element, map) {
    this.element = element;
    this.map = map;
    this.image = h("img", { alt: "", width: "120", height: "120" });
    this.path = h("span.small");
    fill(element, this.image, this.path);
    this.row = -1;
  }

  show(row, left, top) {
    if (row < 0) {
      this.element.hidden = true;
    } else {
      const field = this.element.parentElement;
      this.element.style.left = `${Math.min(left + 14, field.clientWidth - 150)}px`;
      this.element.style.top = `${Math.max(4, Math.min(top + 14, field.clientHeight - 185))}px`;
    }
    if (row === this.row) {
      if (row >= 0) this.element.hidden = false;
      return;
    }
    this.row = row;
    clearTimeout(this.timer);
    if (row < 0) return;
    this.timer = setTimeout(async () => {
      try {
        const [picture] = await this.map.pictures([row]);
        if (this.row !== row) return;
        this.image.src = this.map.thumbnail(row);
        say(this.path, picture.path);
        this.element.hidden = false;
      } catch {
        this.element.hidden = true; // what is pointed at says why it fails when it is clicked
      }
    }, WAIT);
  }
}

/** The picked picture and its nearest others. `pick(row)` picks another. Gives the rows of the nearest. */
export async function showPicture(panel, map, row, pick) {
  let picture;
  try {
    picture = await get(`${map.here}/points/${row}`);
  } catch (error) {
    toast(error);
    return [];
  }
  const { points } = map;
  const where = points.cluster[row] < 0 ? "in no cluster" : `cluster ${points.cluster[row] + 1}`;
  fill(
    panel,
    h("div.picked", {}, image(map, row, picture.path), h(
      "div",
      {},
      h("p.path", {}, picture.path),
      h("p.muted.small", {}, `${where} · outlier score ${number(picture.outlier)}`),
    )),
    h("h3", {}, "Nearest others"),
    picture.nearest.length
      ? h("div.thumbs", { role: "group", "aria-label": "Nearest others" }, picture.nearest.map((each) => thumb(map, each, each.score.toFixed(3), pick)))
      : h("p.muted.small", {}, "There are none."),
  );
  return picture.nearest.map((each) => each.row);
}
