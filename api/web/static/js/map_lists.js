// The map without the map: all pictures as a table, what stands apart, and near-duplicates. All that the map does can be done here.

import { get } from "./api.js";
import { fill, h, say } from "./dom.js";
import { number } from "./format.js";
import { image, thumb } from "./map_picture.js";
import { attempt } from "./toast.js";

const PAGE = 25;
const GALLERY = 48;
const GROUPS = 12;

/** A table of pictures, a page at a time. `filter`: {folder?, cluster?} as the map shows them. */
export class PictureTable {
  constructor(map, selection, pick) {
    Object.assign(this, { map, selection, pick, skip: 0, filter: {} });
    this.body = h("tbody");
    this.where = h("p.muted.small", { role: "status" });
    this.back = h("button", { type: "button", onclick: () => this.turn(-PAGE) }, "← Back");
    this.on = h("button", { type: "button", onclick: () => this.turn(PAGE) }, "On →");
    const heads = ["Selected", "Picture", "Path", "Cluster", "Outlier score"].map((head) => h("th", { scope: "col" }, head));
    const table = h("table.pictures", {}, h("thead", {}, h("tr", {}, heads)), this.body);
    this.element = h("div", {}, this.where, h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Pictures" }, table), h("div.pager", {}, this.back, this.on));
  }

  look(filter) {
    this.filter = filter;
    this.skip = 0;
    return this.show();
  }

  turn(by) {
    this.skip = Math.max(0, this.skip + by);
    return this.show();
  }

  async show() {
    const asked = (this.asked = Symbol("asked"));
    const page = await attempt(null, () => this.map.page({ ...this.filter, limit: PAGE, skip: this.skip }));
    if (!page || asked !== this.asked) return;
    fill(this.body, page.data.map((picture) => this.line(picture)));
    const last = this.skip + page.data.length;
    say(this.where, page.count ? `${number(this.skip + 1)} to ${number(last)} of ${number(page.count)}` : "No pictures");
    this.back.disabled = !this.skip;
    this.on.disabled = !page.has_more;
  }

  line(picture) {
    const box = h("input", { type: "checkbox", "aria-label": `Select ${picture.path}`, dataset: { row: picture.row } });
    box.checked = this.selection.has(picture.row);
    box.addEventListener("change", () => this.selection.change([picture.row], box.checked ? "add" : "remove"));
    return h(
      "tr",
      {},
      h("td", {}, box),
      h("td", {}, image(this.map, picture.row, picture.path)),
      h("td", {}, h("button.quiet.path", { type: "button", onclick: () => this.pick(picture.row, true) }, picture.path)),
      h("td.number", {}, picture.cluster < 0 ? "none" : String(picture.cluster + 1)),
      h("td.number", {}, number(picture.outlier)),
    );
  }

  /** The boxes as the selection is now. */
  mark() {
    for (const box of this.body.querySelectorAll("input")) box.checked = this.selection.has(Number(box.dataset.row));
  }
}

/** What stands apart, the farthest first. */
export function outliers(map, selection, pick) {
  const shown = h("div.thumbs.large");
  const more = h("button", { type: "button", onclick: () => attempt(more, load) }, "More");
  const all = h("button", { type: "button", onclick: () => selection.change([...shown.querySelectorAll("[data-row]")].map((each) => Number(each.dataset.row)), "add") }, "Select these");
  let skip = 0;
  async function load() {
    const page = await map.page({ order: "outlier", limit: GALLERY, skip });
    skip += page.data.length;
    shown.append(...page.data.map((picture) => thumb(map, picture, number(picture.outlier), (row) => pick(row, true))));
    more.hidden = !page.has_more;
  }
  attempt(more, load);
  const about = "Pictures unlike any other: broken files, screenshots, rare finds. The score is the mean distance to the ten nearest others.";
  return h("div", {}, h("p.muted", {}, about), shown, h("div.pager", {}, all, more));
}

/** Groups of near-duplicates, with the likeness from which two are near in the reader's hand. */
export function duplicates(map, selection, pick) {
  const shown = h("div");
  const said = h("p", { role: "status" });
  const value = h("output", { for: "likeness" }, "0.95");
  const likeness = h("input", { type: "range", id: "likeness", min: "0.8", max: "1", step: "0.005", value: "0.95" });
  const more = h("button", { type: "button", onclick: () => attempt(more, load) }, "More groups");
  let skip = 0;
  let timer;
  async function load() {
    const page = await get(`${map.here}/duplicates?threshold=${likeness.value}&limit=${GROUPS}&skip=${skip}`);
    if (!skip) fill(shown);
    skip += page.data.length;
    say(said, page.count ? `${number(page.count)} groups; ${number(page.extra)} pictures could go.` : "No two pictures are so alike.");
    shown.append(...page.data.map((group) => card(map, group, selection, pick)));
    more.hidden = !page.has_more;
  }
  likeness.addEventListener("input", () => {
    say(value, Number(likeness.value).toFixed(3));
    clearTimeout(timer);
    timer = setTimeout(() => {
      skip = 0;
      attempt(null, load);
    }, 250);
  });
  attempt(more, load);
  return h("div", {}, h("div.row.likeness", {}, h("label", { for: "likeness" }, "Alike from a cosine of"), likeness, value), said, shown, h("div.pager", {}, more));
}

function card(map, group, selection, pick) {
  map.keep(group.data);
  const extra = group.data.slice(1).map((picture) => picture.row);
  return h(
    "section.card.pad.alike",
    {},
    h("div.row.between", {}, h("h3", {}, `${number(group.size)} pictures, ${group.lowest.toFixed(3)} to ${group.highest.toFixed(3)}`), h("button.small", { type: "button", onclick: () => selection.change(extra, "add") }, "Select all but the first")),
    h("div.thumbs", {}, group.data.slice(0, 24).map((picture) => thumb(map, picture, "", (row) => pick(row, true)))),
  );
}
