// One job: what it is, how it goes, what it measures, and everything that it left behind; live while it moves.

import { get } from "./api.js";
import { onReturn } from "./connection.js";
import { $, fill, h } from "./dom.js";
import { choices, Curves } from "./curves.js";
import { Head } from "./job_head.js";
import { More } from "./job_more.js";
import { repeat } from "./live.js";
import { follow } from "./stream.js";
import { toast } from "./toast.js";
import { isMoving, nameOf } from "./verbs.js";

const id = location.pathname.split("/").pop();
const MOST = 5; // jobs laid over this one: there are six colours
const EVERY = 5000; // ms between two looks at one of them
const RESTING = 4000; // ms between two looks at a job that rests
const compared = new Map(); // id → {name, looking}, of the jobs that are laid over
const curves = new Curves($("#curves"), $("#other-curves"));
const head = new Head(changed);
const more = new More(id);
let job = null;
let stream = null;
let begun = false;

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
  const afterStep = await curves.add(id, nameOf(job));
  stream = follow(id, { after: more.lastEvent, afterStep }, (type, data) => {
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
    compared.get(other)?.looking?.stop();
    compared.delete(other);
    curves.drop(other);
  } else if (compared.size >= MOST) {
    toast(`${MOST} other jobs are as many as can be told apart; take one off first.`);
  } else if (!compared.has(other)) {
    const theirs = await get(`/jobs/${other}`);
    const name = nameOf(theirs);
    let step = await curves.add(other, `${name} (${other.slice(-4)})`);
    const look = async () => {
      const { data } = await get(`/jobs/${other}/metrics?after_step=${step}`);
      curves.put(other, data);
      step = data.at(-1)?.step ?? step;
    };
    compared.set(other, { name, looking: isMoving(theirs) ? repeat(look, EVERY) : null });
  }
  const kept = [...compared.keys()].map((each) => `with=${each}`).join("&");
  history.replaceState(null, "", kept ? `?${kept}` : location.pathname);
  fill(
    $("#compared"),
    [...compared].map(([which, { name }]) =>
      h(
        "button.small",
        { type: "button", "aria-label": `Take ${name} off`, onclick: () => compare(which, false) },
        `${name} ×`,
      ),
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
  begun = true;
  repeat(() => isMoving(job) || refresh(), RESTING); // the stream has ended; somebody may resume the job elsewhere
  for (const other of new URLSearchParams(location.search).getAll("with")) await compare(other, true).catch(toast);
  const select = $("#with");
  await choices(select, job);
  select.addEventListener("change", () => {
    if (select.value) compare(select.value, true).catch(toast);
    select.value = "";
  });
}

$("#other-curves")
  .closest("details")
  .addEventListener("toggle", () => curves.draw());
onReturn(() => (begun ? refresh() : begin()).catch(toast));
begin().catch(toast);
