// A job's whole spec, field by field; what has its default is quiet, what was chosen for the user says why.

import { fill, h } from "./dom.js";
import { words } from "./format.js";
import { same, Schemas } from "./schema.js";

const NAMES = {
  pretrain: "TrainSpec",
  embed: "EmbedSpec",
  index: "IndexSpec",
  linear_probe: "LinearProbeSpec",
  finetune: "FinetuneSpec",
};

export async function showSpec(place, job) {
  const schemas = await Schemas.load();
  const root = schemas.named(NAMES[job.kind]) || {};
  const why = new Map(); // "trainer.batch_size" → the note's sentence
  for (const note of job.notes) {
    const told = /^([a-z_]+(?:\.[a-z_]+)*) = [^:]*: (.*)$/s.exec(note);
    if (told) why.set(told[1], told[2]);
  }
  const only = h("input", { type: "checkbox", id: "changed-only" });
  const body = h("div.spec");
  const draw = () => fill(body, rows(schemas, root, job.spec, undefined, "", why, only.checked));
  only.addEventListener("change", draw);
  draw();
  fill(
    place,
    h(
      "div.row.between",
      {},
      h("label.small", {}, only, " only what differs from the defaults"),
      h("a", { href: `/jobs/${job.id}` }, "JSON"),
    ),
    body,
    job.notes.length
      ? [
          h("h3", {}, "Notes"),
          h(
            "ul.small",
            {},
            job.notes.map((note) => h("li", {}, note)),
          ),
        ]
      : null,
  );
}

/** A list for the leaves of an object, and a section of its own for each object in it. */
function rows(schemas, schema, value, standard, path, why, changedOnly) {
  const described = new Map(schemas.properties(schema, value) || []);
  const leaves = [];
  const groups = [];
  for (const [name, part] of Object.entries(value)) {
    const field = described.get(name) || {};
    const here = path ? `${path}.${name}` : name;
    const usual = standard && name in standard ? standard[name] : described.has(name) ? schemas.defaultOf(field) : undefined;
    if (part && typeof part === "object" && !Array.isArray(part)) {
      groups.push(
        ...rows(schemas, field, part, usual && typeof usual === "object" ? usual : undefined, here, why, changedOnly),
      );
      continue;
    }
    const isDefault = usual !== undefined && same(usual, part);
    if (!isDefault || !changedOnly)
      leaves.push(row(name, part, isDefault, why.get(here), schemas.plain(field).schema.description));
  }
  if (!leaves.length) return groups;
  return [
    h("section", {}, path.includes(".") ? h("h4", {}, path) : h("h3", {}, words(path || "job")), h("dl", {}, leaves)),
    ...groups,
  ];
}

function row(name, value, isDefault, reason, description) {
  const shown = typeof value === "string" ? value : JSON.stringify(value);
  const because = reason ? h("dd.why.small", {}, reason) : null;
  return h(
    isDefault ? "div.default" : "div",
    {},
    h("dt", { title: description || null }, name),
    h("dd", {}, h("code", {}, shown)),
    because,
  );
}
