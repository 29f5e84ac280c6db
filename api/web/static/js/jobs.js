// The list of jobs: one request for a page of them, again and again, and rows that are changed rather than made anew.

import { get } from "./api.js";
import { $, fill } from "./dom.js";
import { JobRow } from "./job_row.js";
import { repeat } from "./live.js";
import { isMoving } from "./verbs.js";

const PAGE = 25;
const QUICK = 2000; // ms while something moves
const SLOW = 10000;

const rows = new Map(); // by id
const filters = $("#filters");
const list = $("#jobs");
let moving = true;
let newest = []; // the cursors of the pages before this one
let asked = 0;

const state = new URLSearchParams(location.search);
for (const control of filters.elements) {
  if (control.name && state.has(control.name)) {
    if (control.type === "checkbox") control.checked = true;
    else control.value = state.get(control.name);
  }
}

function query() {
  const wanted = new URLSearchParams({ limit: String(PAGE) });
  for (const name of ["status", "kind", "method"]) {
    const value = filters.elements[name].value;
    if (value) wanted.set(name, value);
  }
  const [key, ...value] = filters.elements.label.value.trim().split("=");
  if (key && value.length) wanted.set(`label.${key}`, value.join("="));
  if (filters.elements.mine.checked) wanted.set("mine", "true");
  const after = newest[newest.length - 1];
  if (after) wanted.set("after", after);
  return wanted;
}

async function look() {
  const mine = ++asked;
  const wanted = query();
  const page = await get(`/jobs?${wanted}`);
  if (mine !== asked) return; // the filters have changed meanwhile
  show(
    page,
    [...wanted.keys()].some((name) => name !== "limit"),
  );
}

function show(page, filtered) {
  const elements = page.data.map((job) => {
    if (!rows.has(job.id)) rows.set(job.id, new JobRow(job.id, looking.now));
    const row = rows.get(job.id);
    row.show(job);
    return row.element;
  });
  if (elements.length !== list.children.length || elements.some((element, at) => list.children[at] !== element))
    fill(list, elements);
  for (const id of rows.keys()) {
    if (!page.data.some((job) => job.id === id)) rows.delete(id);
  }
  moving = page.data.some(isMoving);
  list.hidden = !page.data.length;
  list.setAttribute("aria-busy", "false");
  $("#none").hidden = Boolean(page.data.length) || filtered;
  $("#nothing").hidden = Boolean(page.data.length) || !filtered;
  $("#waiting").hidden = true;
  $("#newer").disabled = !newest.length;
  $("#older").disabled = !page.has_more;
  $("#pager").hidden = !newest.length && !page.has_more;
  $("#older").onclick = () => turn([...newest, page.last_id]);
}

function turn(to) {
  newest = to;
  list.setAttribute("aria-busy", "true");
  looking.now();
  scrollTo({ top: 0 });
}

function refilter() {
  newest = [];
  const kept = new URLSearchParams();
  for (const name of ["status", "kind", "method", "label"]) {
    if (filters.elements[name].value) kept.set(name, filters.elements[name].value);
  }
  if (filters.elements.mine.checked) kept.set("mine", "true");
  history.replaceState(null, "", kept.size ? `?${kept}` : location.pathname);
  turn([]);
}

filters.addEventListener("change", refilter);
filters.addEventListener("submit", (event) => event.preventDefault());
$("#newer").addEventListener("click", () => turn(newest.slice(0, -1)));
$("#show-all").addEventListener("click", () => {
  filters.reset();
  for (const name of ["status", "kind", "method", "label"]) filters.elements[name].value = "";
  refilter();
});
setTimeout(() => {
  if (list.getAttribute("aria-busy") === "true" && !list.children.length) $("#waiting").hidden = false;
}, 400);

const looking = repeat(look, () => (moving ? QUICK : SLOW));
