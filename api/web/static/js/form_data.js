// Where the pictures come from: what comes along, what is registered, with some of its pictures, a folder, or an upload.

import { get, list, may } from "./api.js";
import { fill, h } from "./dom.js";
import { number } from "./format.js";
import { countOf } from "./pictures_of.js";
import { Upload } from "./upload.js";

const SHOWN = 24; // datasets with pictures; the others are named in a list
const PICTURES = 4;
const BUILT_IN = {
  digits: ["Digits", "1,797 handwritten digits that come along: a first try in minutes"],
  folder: ["A folder", "on the service's own disk, below its data root"],
  cifar10: ["CIFAR-10", "its binary files, below the data root"],
  stl10: ["STL-10", "its binary files, below the data root"],
  imagenet: ["ImageNet", "its folders, below the data root"],
};

/** The picker. `changed()` is called when another source is chosen; `value` is {source, id?} of it. */
export class DataPicker {
  constructor(place, sources, uploads, changed) {
    this.changed = changed;
    this.sources = Object.keys(BUILT_IN).filter((name) => sources.includes(name));
    this.cards = h("div.sources", { role: "radiogroup", "aria-label": "Pictures" });
    this.upload = uploads && may("submit") ? new Upload((dataset) => this.refresh(dataset.id)) : null;
    this.choice = "digits";
    fill(place, this.upload?.element, this.cards);
    this.cards.addEventListener("change", (event) => {
      this.choice = event.target.value;
      changed();
    });
  }

  get value() {
    return this.choice.startsWith("ds_") ? { source: "dataset", id: this.choice } : { source: this.choice };
  }

  /** Fetch the datasets; `chosen`: what is picked then, by default the newest dataset, or the digits. */
  async refresh(chosen) {
    const datasets = [];
    for await (const each of list("/datasets", 500)) datasets.push(each);
    this.choice = chosen || datasets[0]?.id || "digits";
    const many = datasets.slice(SHOWN);
    fill(
      this.cards,
      datasets.slice(0, SHOWN).map((each) => this.dataset(each)),
      this.sources.map((name) => this.card(name, ...BUILT_IN[name])),
      many.length ? this.others(many) : null,
    );
    this.changed();
  }

  card(value, title, about, more = null) {
    const input = h("input", { type: "radio", name: "source", value, checked: value === this.choice });
    return h("label.source", {}, input, h("span.words", {}, h("strong", {}, title), h("span.muted.small", {}, about)), more);
  }

  dataset(each) {
    const strip = h("span.strip", { "aria-hidden": "true" });
    const classes = each.classes ? `, ${number(each.classes)} classes` : "";
    const card = this.card(each.id, each.name, `${number(countOf(each))} pictures${classes}`, strip);
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      pictures(each.id, strip).catch(() => strip.remove()); // pictures are an extra: the job says what is wrong with a dataset
    }).observe(card);
    return card;
  }

  others(datasets) {
    const select = h(
      "select",
      { "aria-label": "Older datasets" },
      h("option", { value: "" }, `${datasets.length} older datasets…`),
      datasets.map((each) => h("option", { value: each.id }, each.name)),
    );
    select.addEventListener("change", (event) => {
      event.stopPropagation();
      if (!select.value) return;
      this.choice = select.value;
      for (const input of this.cards.querySelectorAll("input")) input.checked = false;
      this.changed();
    });
    return select;
  }
}

async function pictures(id, strip) {
  const { data } = await get(`/datasets/${id}/samples?limit=${PICTURES}`);
  fill(
    strip,
    data.filter((each) => each.thumbnail).map((each) => h("img", { src: each.thumbnail, alt: "", title: each.path })),
  );
}
