// What is selected: how many, some of them to look at, a name, a file; and selections that are kept in this browser.

import { $, fill, h, say } from "./dom.js";
import { save } from "./download.js";
import { number } from "./format.js";
import { thumb } from "./map_picture.js";
import { attempt, toast } from "./toast.js";

const SHOWN = 48; // pictures of a selection

export class Selection {
  /** Tells `changed()` and `pick(row)`. */
  constructor(panel, map, told) {
    this.map = map;
    this.told = told;
    this.panel = panel;
    this.rows = new Set();
    this.count = $("#count", panel);
    this.thumbs = $("#selected", panel);
    this.name = $("#selection-name", panel);
    this.actions = $("#selection-actions", panel);
    this.kept = $("#kept", panel);
    $("#csv", panel).addEventListener("click", (event) => this.download(event.target, "csv"));
    $("#parquet", panel).addEventListener("click", (event) => this.download(event.target, "parquet"));
    $("#keep", panel).addEventListener("click", () => this.keep());
    $("#clear", panel).addEventListener("click", () => this.change([], "replace"));
    this.show();
  }

  get key() {
    return `imprint-selections-${this.map.job}`;
  }

  /** how: "replace", "add", "remove", or "toggle". */
  change(rows, how) {
    if (how === "replace") this.rows = new Set(rows);
    else if (how === "add") for (const row of rows) this.rows.add(row);
    else for (const row of rows) if (!this.rows.delete(row) && how === "toggle") this.rows.add(row);
    this.show();
    this.told.changed();
  }

  has = (row) => this.rows.has(row);

  get sorted() {
    return [...this.rows].sort((one, other) => one - other);
  }

  async show() {
    const { size } = this.rows;
    say(this.count, size ? `${number(size)} ${size === 1 ? "picture" : "pictures"} selected` : "Nothing is selected");
    this.actions.hidden = !size;
    $("#selection-hint", this.panel).hidden = Boolean(size);
    this.showKept();
    const rows = this.sorted.slice(0, SHOWN);
    const asked = (this.asked = Symbol("asked"));
    const pictures = await attempt(null, () => this.map.pictures(rows));
    if (asked !== this.asked || !pictures) return;
    fill(this.thumbs, pictures.map((picture) => thumb(this.map, picture, "", this.told.pick)));
    if (size > SHOWN) this.thumbs.append(h("p.muted.small", {}, `and ${number(size - SHOWN)} more`));
  }

  async download(button, format) {
    const name = this.name.value.trim();
    const body = { rows: this.sorted, format, ...(name ? { name } : {}) };
    await attempt(button, () => save("POST", `${this.map.here}/export`, { body, name: `selection.${format}` }));
  }

  read() {
    try {
      const found = JSON.parse(localStorage.getItem(this.key) || "{}");
      return found && typeof found === "object" ? found : {};
    } catch {
      return {};
    }
  }

  write(kept) {
    try {
      localStorage.setItem(this.key, JSON.stringify(kept));
    } catch {
      toast(new Error("The browser has no room to keep this selection; export it instead."));
    }
    this.showKept();
  }

  keep() {
    const name = this.name.value.trim();
    if (!name) {
      this.name.focus();
      toast("Give the selection a name first");
      return;
    }
    this.write({ ...this.read(), [name]: this.sorted });
    toast(`Kept in this browser as ${name}`);
  }

  showKept() {
    const kept = this.read();
    const names = Object.keys(kept).sort();
    $("#kept-part", this.panel).hidden = !names.length;
    fill(
      this.kept,
      names.map((name) =>
        h(
          "li.row.between",
          {},
          h("button.quiet", { type: "button", onclick: () => this.open(name, kept[name]) }, name, h("span.muted.small", {}, number(kept[name].length))),
          h("button.quiet.small", { type: "button", "aria-label": `Forget ${name}`, onclick: () => this.forget(name) }, "×"),
        ),
      ),
    );
  }

  open(name, rows) {
    this.name.value = name;
    this.change(rows.filter((row) => Number.isInteger(row) && row >= 0 && row < this.map.points.count), "replace");
  }

  forget(name) {
    const { [name]: _, ...rest } = this.read();
    this.write(rest);
  }
}
