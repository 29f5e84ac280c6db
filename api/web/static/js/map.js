// One map: its parts put together.

import { tabs } from "./copy.js";
import { $, $$, fill, h, say } from "./dom.js";
import { number, shortId } from "./format.js";
import { MapField } from "./map_canvas.js";
import { MODES, groups, tints } from "./map_colours.js";
import { PictureMap } from "./map_data.js";
import { legend } from "./map_legend.js";
import { PictureTable, duplicates, outliers } from "./map_lists.js";
import { Hover, showPicture } from "./map_picture.js";
import { Selection } from "./map_selection.js";
import { finished } from "./map_wait.js";
import { picturesNamed } from "./pictures_of.js";
import { toast } from "./toast.js";

const id = location.pathname.split("/").pop();
const asked = new URLSearchParams(location.search);
const dark = matchMedia("(prefers-color-scheme: dark)");

function fields() {
  const numbers = ["neighbours", "min_dist", "seed"].filter((name) => asked.get(name));
  return Object.fromEntries(numbers.map((name) => [name, Number(asked.get(name))]));
}

async function open() {
  const job = await finished(id, fields());
  const map = await new PictureMap(id).load();
  $("#whole").hidden = false;
  await about(map, job);
  new Page(map);
}

async function about(map, job) {
  const { about: facts } = map;
  const where = await picturesNamed(facts.data);
  say($("h1"), job.name || where || "Map");
  document.title = `${job.name || where || "Map"} · Imprint`;
  const parts = [`${number(facts.count)} pictures`, `${number(facts.clusters)} clusters`];
  if (facts.left_out) parts.push(`${number(facts.left_out)} without a vector`);
  if (facts.landmarks < facts.count) parts.push(`fitted to ${number(facts.landmarks)}`);
  fill($("#about"), `${parts.join(" · ")} · by `, h("a", { href: `/ui/encoders/${facts.encoder}` }, shortId(facts.encoder)));
  $("#arrow").href = facts.links.arrow;
  $("#job").href = `/ui/jobs/${facts.job}`;
}

class Page {
  constructor(map) {
    this.map = map;
    this.mode = MODES[asked.get("colour")] ? asked.get("colour") : map.points.folders.length > 1 ? "folder" : "cluster";
    this.alone = null;
    this.picked = -1;
    this.hover = new Hover($("#hover"), map);
    this.selection = new Selection($("#selection"), map, { changed: () => this.selected(), pick: (row) => this.pick(row, true) });
    this.field = new MapField($("#field"), map.points, {
      thumbnail: (row) => map.thumbnail(row),
      hover: (row, left, top) => this.pointed(row, left, top),
      pick: (row) => this.pick(row),
      lasso: (rows, how) => this.lassoed(rows, how),
    });
    const pick = (row, go) => this.pick(row, go);
    this.table = new PictureTable(map, this.selection, pick);
    const parts = { List: this.table.element, Outliers: outliers(map, this.selection, pick), "Near-duplicates": duplicates(map, this.selection, pick) };
    fill($("#lists"), tabs(parts, "Pictures"));
    this.controls();
    this.recolour();
    this.table.look({});
    dark.addEventListener("change", () => this.recolour());
  }

  controls() {
    for (const radio of $$("input[name=colour]")) {
      radio.checked = radio.value === this.mode;
      radio.addEventListener("change", () => {
        this.mode = radio.value;
        this.alone = null;
        history.replaceState(null, "", `?colour=${this.mode}`);
        this.recolour();
        this.table.look({});
      });
    }
    const tools = { move: $("#move"), lasso: $("#lasso") };
    for (const [tool, button] of Object.entries(tools)) {
      button.addEventListener("click", () => {
        this.field.tool = tool;
        for (const [name, each] of Object.entries(tools)) each.setAttribute("aria-pressed", String(name === tool));
        this.field.canvas.classList.toggle("lasso", tool === "lasso");
      });
    }
    $("#closer").addEventListener("click", () => this.field.zoom(1.6));
    $("#farther").addEventListener("click", () => this.field.zoom(1 / 1.6));
    $("#fit").addEventListener("click", () => {
      this.field.view.fit();
      this.field.draw();
    });
  }

  recolour() {
    const { points } = this.map;
    this.groups = groups(points, this.mode, dark.matches);
    this.paint();
    const told = { alone: (key) => this.lookAt(key), select: (key) => this.selection.change(this.rowsOf(key), "add") };
    legend($("#legend"), points, this.mode, this.groups, this.alone, told, dark.matches);
  }

  /** What is bright: one group alone, or the selection, or all. */
  paint() {
    const { points } = this.map;
    const column = points[this.mode];
    const only = this.alone === null ? null : (row) => column[row] === this.alone;
    const chosen = only || (this.selection.rows.size ? this.selection.has : null);
    this.field.colours(tints(points, this.mode, this.groups, dark.matches, chosen), only);
  }

  rowsOf(key) {
    const column = this.map.points[this.mode];
    return [...column.keys()].filter((row) => column[row] === key);
  }

  lookAt(key) {
    this.alone = key;
    this.recolour();
    const filter = this.mode === "folder" ? { folder: this.map.points.folders[key] } : { cluster: key };
    this.table.look(key === null ? {} : filter);
    $(`.group[data-key="${key ?? ""}"]`)?.focus();
  }

  pointed(row, left, top) {
    this.hover.show(row, left, top);
    if (row !== this.field.marked.hovered) this.field.mark({ hovered: row });
  }

  /** `go`: also bring it into the middle of the map. */
  async pick(row, go = false) {
    this.picked = row;
    this.field.mark({ picked: row, near: [] });
    $("#no-picture").hidden = row >= 0;
    if (row < 0) {
      fill($("#picture"));
      return;
    }
    if (go) this.field.go(row);
    const near = await showPicture($("#picture"), this.map, row, (other) => this.pick(other, true));
    if (this.picked === row) this.field.mark({ near });
  }

  lassoed(rows, how) {
    this.selection.change(rows, how);
    if (!rows.length) toast("No picture lies in there");
  }

  selected() {
    this.paint();
    this.table.mark();
  }
}

open().catch(toast);
