// The parts of the form of one kind: what is asked of everybody first, everything else folded away, section by section.

import { list } from "./api.js";
import { $, fill, h, prose } from "./dom.js";
import { Field, fieldsOf } from "./form_fields.js";
import { words } from "./format.js";
import { presetField } from "./form_presets.js";

// Of pretraining, what people change most.
const QUICK = ["trainer.max_epochs", "trainer.batch_size", "encoder.arch", "data.size"];
const TITLES = {
  pretrain: "Pretrain an encoder",
  embed: "Embed a folder",
  index: "Index vectors for search",
  linear_probe: "Measure an encoder: linear probe",
  finetune: "Measure an encoder: finetune",
};
const NAMED = {
  // fields that name something there is already
  encoder: async () => ["latest", ...(await names("/encoders", (each) => [each.id, each.aliases[0] || each.method]))],
  vectors: () => names("/jobs?kind=embed&status=succeeded", (each) => [each.id, each.name || each.spec.data?.path || ""]),
};

/** {kind: {title, schema}} of every body that POST /jobs takes. */
export function kindsOf(schemas, document_) {
  const forms = document_.paths["/jobs"].post.requestBody.content["application/json"].schema.anyOf.map((each) =>
    schemas.follow(each),
  );
  return Object.fromEntries(
    forms.map((schema) => {
      const { const: only, default: usual } = schema.properties.kind;
      const kind = only ?? usual;
      return [kind, { title: TITLES[kind] || words(kind), schema, kind }];
    }),
  );
}

/** Fill `place` with the fields of a kind. Gives {fields: path → Field, hasData, arrange, followMethod, dataFields}. */
export function build(schemas, { schema, kind }, place, changed) {
  const fields = new Map();
  const quick = [];
  const folds = [];
  const unions = {}; // section → {union, body, shown}
  const { data, kind: _, labels, shared, preset, ...sections } = schema.properties;

  const single = (path, given) => {
    const field = new Field(schemas, path, given);
    fields.set(path, field);
    if (NAMED[path]) suggestions(field, NAMED[path]);
    return field.element;
  };
  const fold = (name, title, about, inner) =>
    folds.push(
      h(
        "details.fold.card",
        { dataset: { section: name } },
        h("summary", {}, h("strong", {}, title), about ? h("span.muted.small", {}, prose(about)) : null),
        h("div.fields", {}, inner),
      ),
    );
  const sectionOf = (name, given, title) => {
    const union = schemas.union(given);
    const about = (schemas.follow(given).description || "").split(" Every field is optional")[0];
    if (union) {
      const body = h("div.fields");
      unions[name] = { union, body, shown: null };
      const tag =
        name === "method"
          ? single("method.name", { enum: Object.keys(union.forms), description: "Default: the preset's." })
          : null;
      fold(name, title, about, [tag, body]);
    } else fold(name, title, about, fieldsOf(schemas, given, name, fields, QUICK));
  };

  if (preset) quick.push(presetField(schemas, preset, fields));
  for (const [name, given] of Object.entries(sections)) {
    if (!isSection(schemas, given)) (name === "name" ? quick.unshift.bind(quick) : quick.push.bind(quick))(single(name, given));
  }
  if (kind === "pretrain") {
    for (const path of QUICK) {
      const [section, name] = path.split(".");
      const owner = section === "data" ? schemas.named("FolderData") : schemas.follow(sections[section]);
      quick.push(single(path, owner.properties[name]));
    }
  }
  if (data) sectionOf("data", data, "More about the pictures");
  for (const [name, given] of Object.entries(sections)) if (isSection(schemas, given)) sectionOf(name, given, words(name));
  const first = h("div.fields.quick", {}, quick);
  if (labels) {
    first.append(
      h(
        "div.field",
        {},
        h("label", { for: "labels" }, "labels"),
        h("input", { id: "labels", type: "text", placeholder: "team=a, project=birds", autocomplete: "off" }),
        h("p.muted.small", {}, prose(labels.description)),
      ),
    );
  }
  if (shared) fold("shared", "Sharing", "", [single("shared", shared)]);
  fill(
    place,
    first,
    h("h3", {}, "Everything else"),
    h(
      "p.muted.small",
      {},
      "Left empty, a field follows the preset, the pictures and the machine; what that comes to stands in it in grey.",
    ),
    folds,
  );

  /** Show the fields of a union's form, keeping what was typed into fields of the same name. */
  function show(section, form) {
    const part = unions[section];
    if (!part || part.shown === form || !part.union.forms[form]) return false;
    part.shown = form;
    const typed = new Map();
    for (const [path, field] of fields) {
      if (!path.startsWith(`${section}.`) || path === "method.name" || QUICK.includes(path)) continue;
      if (field.value !== undefined) typed.set(path, field.value);
      fields.delete(path);
    }
    const skip = [`${section}.${part.union.field}`, "data.id", "data.path", ...QUICK];
    fill(
      part.body,
      fieldsOf(
        schemas,
        part.union.forms[form],
        section,
        fields,
        section === "data" ? skip : skip.filter((path) => path !== "data.path"),
      ),
    );
    for (const [path, value] of typed) if (fields.has(path)) fields.get(path).value = value;
    if (section === "data") place_path(schemas, part.union.forms[form], fields);
    return true;
  }

  return {
    fields,
    hasData: Boolean(data),
    dataFields: () =>
      [...Object.keys(unions.data?.union.forms[unions.data.shown]?.properties || {})].map((name) => `data.${name}`),
    arrange: (source) => data && show("data", source.source),
    followMethod: (name) => show("method", fields.get("method.name")?.value || name),
  };
}

/** The folder's name belongs to the picker, where it is looked for. */
function place_path(schemas, form, fields) {
  const place = $("#path");
  fill(place);
  const given = form.properties.path;
  if (!given) return;
  const field = new Field(schemas, "data.path", given);
  fields.set("data.path", field);
  fill(place, field.element);
}

const isSection = (schemas, given) => Boolean(schemas.union(given) || schemas.plain(given).schema.properties);

async function names(path, each) {
  const found = [];
  for await (const one of list(path, 200)) found.push(each(one));
  return found;
}

/** What there is, to choose from while typing. */
async function suggestions(field, ask) {
  const id = `${field.control.id}-list`;
  field.control.setAttribute("list", id);
  const known = await ask().catch(() => []);
  field.element.append(
    h(
      "datalist",
      { id },
      known.map((each) => (Array.isArray(each) ? h("option", { value: each[0] }, each[1]) : h("option", { value: each }))),
    ),
  );
}
