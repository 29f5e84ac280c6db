// One job: what it is, how it goes, what it measures, and everything that it left behind; live while it moves.

import { get } from "./api.js";
import { onReturn } from "./connection.js";
import { $, fill, h } from "./dom.js";
import { choices, Curves } from "./curves.js";
import { Head } from "./job_head.js";
import { More } from "./job_more.js";
import { follow } from "./stream.js";
import { toast } from "./toast.js";
import { isMoving, nameOf } from "./verbs.js";

const id = location.pathname.split("/").pop();
const compared = new Map(); // id → stream, of the jobs that are laid over
const curves = new Curves($("#curves"), $("#other-curves"));
const head = new Head(changed);
const more = new More(id);
let job = null;
let stream = null;
let lastStep = 0;

function changed(now) {
  const before = job;
  job = now;
  document.title = `${nameOf(job)} · Imprint`;
  head.show(job);
  more.show(job);
  if (before && !isMoving(before) && isMoving(job)) watch(); // resumed: the stream had ended
}

/** Follow the job for as long as it moves. */
async function watch() {
  stream?.stop();
  lastStep = await curves.add(id, nameOf(job));
  stream = follow(id, { after: more.lastEvent, afterStep: lastStep }, (type, data) => {
    if (type === "job") changed(data);
    else if (type === "metrics") curves.put(id, data.data);
    else if (type === "end") refresh().catch(() => {});
    else more.event(data);
  });
}

async function refresh() {
  changed(await get(`/jobs/${id}`));
}

/** Lay another job over this one, or take it off again. */
async function compare(other, wanted) {
  if (!wanted) {
    compared.get(other)?.stop();
    compared.delete(other);
    curves.drop(other);
  } else if (!compared.has(other)) {
    const theirs = await get(`/jobs/${other}`);
    const step = await curves.add(other, `${nameOf(theirs)} (${other.slice(-4)})`);
    const live = isMoving(theirs) ? follow(other, { after: 1e14, afterStep: step }, (type, data) => type === "metrics" && curves.put(other, data.data)) : null;
    compared.set(other, { name: nameOf(theirs), stop: () => live?.stop() });
  }
  const kept = [...compared.keys()].map((each) => `with=${each}`).join("&");
  history.replaceState(null, "", kept ? `?${kept}` : location.pathname);
  fill(
    $("#compared"),
    [...compared].map(([which, { name }]) =>
      h("button.small", { type: "button", "aria-label": `Take ${name} off`, onclick: () => compare(which, false) }, `${name} ×`),
    ),
  );
}

async function begin() {
  try {
    job = await get(`/jobs/${id}`);
  } catch (error) {
    if (error.status !== 404 && error.status !== 403) throw error;
    $("#job").hidden = true;
    $("#absent").hidden = false;
    return;
  }
  $("#job").hidden = false;
  changed(job);
  await more.begin(job);
  await watch();
  for (const other of new URLSearchParams(location.search).getAll("with")) await compare(other, true).catch(toast);
  const select = $("#with");
  await choices(select, job);
  select.addEventListener("change", () => {
    if (select.value) compare(select.value, true).catch(toast);
    select.value = "";
  });
}

$("#other-curves").closest("details").addEventListener("toggle", () => curves.draw());
onReturn(() => (job ? refresh().catch(() => {}) : begin().catch(toast)));
begin().catch(toast);
