// A new job: a form made from the schema of its kind, checked by the service while one types, and the same as code to copy.

import { ApiError, get, may, NoAnswer, post } from "./api.js";
import { onReturn } from "./connection.js";
import { code, tabs } from "./copy.js";
import { $, fill, h } from "./dom.js";
import { calls } from "./form_code.js";
import { DataPicker } from "./form_data.js";
import { at, put } from "./form_fields.js";
import { build, kindsOf } from "./form_parts.js";
import { Plan } from "./form_plan.js";
import { openapi, Schemas } from "./schema.js";
import { attempt, toast } from "./toast.js";

const PAUSE = 350; // ms after the last key before the service is asked
const given = new URLSearchParams(location.search);
const plan = new Plan();
let form = null; // {fields, folds, method, …} of the kind that is chosen
let picker = null;
let timer = null;
let asking = null;
let idempotency = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
const code_ = { curl: code("", "curl"), Python: code("", "Python"), CLI: code("", "CLI") };

/** What is filled in, as the body of POST /jobs. */
function body() {
  const made = {};
  const kind = $("#kind").value;
  if (kind !== "pretrain") made.kind = kind;
  if (form.hasData) made.data = picker.value;
  for (const [path, field] of form.fields) {
    const value = field.value;
    const alien = path.startsWith("data.") && !form.dataFields().includes(path);
    if (value !== undefined && !alien) put(made, path, value);
  }
  const labels = parseLabels($("#labels")?.value || "");
  if (labels) made.labels = labels;
  return made;
}

function parseLabels(typed) {
  const parts = typed
    .split(",")
    .map((each) => each.trim())
    .filter(Boolean);
  if (!parts.length) return null;
  return Object.fromEntries(
    parts.map((each) => {
      const [key, ...value] = each.split("=");
      return [key.trim(), value.join("=").trim()];
    }),
  );
}

function changed() {
  if (!form) return;
  form.arrange(picker.value);
  form.followMethod();
  showCode();
  clearTimeout(timer);
  timer = setTimeout(() => check().catch(toast), PAUSE);
}

/** Ask the service what it would do; says what is wrong beside the fields. */
async function check() {
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  plan.checking();
  let answer = null;
  let problems = [];
  try {
    answer = await post("/jobs?validate_only=true", body(), { signal: mine.signal });
  } catch (error) {
    if (error.name === "AbortError" || error instanceof NoAnswer) return false;
    if (!(error instanceof ApiError)) throw error;
    problems = error.problems.length ? error.problems : [{ pointer: "", detail: error.message }];
  }
  if (mine !== asking) return false;
  const rest = complain(problems);
  plan.show(answer, problems, rest);
  if (answer) {
    for (const [path, field] of form.fields) field.suggest(at(answer.spec, path));
    if (form.followMethod(answer.spec.method?.name)) changed();
  }
  return Boolean(answer);
}

/** Problems at their fields; gives those that have none. */
function complain(problems) {
  const rest = [];
  for (const field of form.fields.values()) field.complain("");
  for (const { pointer, detail } of problems) {
    const parts = pointer
      .slice(1)
      .split("/")
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    let field = null;
    for (let length = parts.length; length && !field; length--) field = form.fields.get(parts.slice(0, length).join("."));
    if (!field || field.element.closest("[hidden]")) rest.push({ pointer, detail });
    else {
      field.complain(detail);
      for (let fold = field.element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    }
  }
  return rest;
}

function showCode() {
  const made = calls(body(), location.origin, Boolean(document.querySelector(".who form")));
  for (const [name, element] of Object.entries(code_))
    element.set(made[name] || "# The command has no call for jobs of this kind; send the body with curl.");
}

async function submit(event) {
  event.preventDefault();
  if (!(await check())) {
    $("[aria-invalid=true]")?.focus();
    return;
  }
  const job = await attempt($("#submit"), () => post("/jobs", body(), { headers: { "Idempotency-Key": idempotency } }));
  if (job) location.assign(`/ui/jobs/${job.id}`);
  else idempotency = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
}

/** The sheet of views that training would draw. */
async function preview(event) {
  const picture = await attempt(event.target, () => post("/preview?images=6", body(), { as: "blob" }));
  if (!picture) return;
  const address = URL.createObjectURL(picture);
  const sheet = h("img.sheet", { src: address, alt: "Pictures, each beside views that training would draw of them." });
  sheet.addEventListener("load", () => URL.revokeObjectURL(address));
  fill($("#sheet"), sheet);
}

/** The fields of another job, every one, so that it is the same again. */
async function like(id) {
  const job = await get(`/jobs/${id}`);
  $("#kind").value = job.kind;
  choose();
  if (job.spec.data) await picker.refresh(job.spec.data.source); // its fields are those of the source
  form.followMethod(job.spec.method?.name);
  for (const [path, field] of form.fields) {
    const value = at(path === "name" ? job : job.spec, path);
    if (value !== undefined && value !== null) field.value = value;
  }
  changed();
}

let schemas = null;
let kinds = null;

function choose() {
  form = build(schemas, kinds[$("#kind").value], $("#fields"), changed);
  $("#data").hidden = !form.hasData;
  $("#preview").hidden = $("#kind").value !== "pretrain";
  changed();
}

async function begin() {
  const document_ = await openapi();
  schemas = new Schemas(document_);
  kinds = kindsOf(schemas, document_);
  fill(
    $("#kind"),
    Object.entries(kinds).map(([kind, { title }]) => h("option", { value: kind }, title)),
  );
  if (kinds[given.get("kind")]) $("#kind").value = given.get("kind");
  const uploads = Boolean(document_.paths["/datasets"].post.requestBody?.content["application/zip"]);
  const sources = Object.keys(schemas.union(schemas.named("JobCreate").properties.data).forms);
  picker = new DataPicker($("#picker"), sources, uploads, changed);
  choose();
  fill($("#code"), tabs(code_, "Languages"));
  await picker.refresh(given.get("source"));
  if (given.has("like")) await like(given.get("like"));
  $("#kind").addEventListener("change", choose);
  $("#form").addEventListener("input", changed);
  $("#form").addEventListener("submit", submit);
  $("#preview").addEventListener("click", preview);
  $("#form").setAttribute("aria-busy", "false");
}

onReturn(() => (form ? changed() : begin().catch(toast)));
if (may("submit")) begin().catch(toast);
