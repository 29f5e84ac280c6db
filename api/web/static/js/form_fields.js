// Fields made from a JSON schema. What is left empty is left out, and shows what the service would choose in its place.

import { h, prose, say } from "./dom.js";
import { words } from "./format.js";

/** One value of the body, at `path` ("trainer.max_epochs"). */
export class Field {
  constructor(schemas, path, given) {
    const { schema, nullable } = schemas.plain(given);
    Object.assign(this, { path, schema, nullable });
    this.name = path.split(".").pop();
    const id = `field-${path.replaceAll(".", "-")}`;
    this.control = control(schema, id);
    this.problem = h("p.wrong.small", { id: `${id}-wrong`, hidden: true });
    this.help = h("p.muted.small", { id: `${id}-help` }, prose([schema.description, bounds(schema)].filter(Boolean).join(" ")));
    this.control.setAttribute("aria-describedby", `${id}-help ${id}-wrong`);
    this.element = h(
      "div.field",
      { dataset: { path } },
      h("label", { for: id }, words(this.name)),
      this.control,
      this.problem,
      this.help,
    );
  }

  get value() {
    return parse(this.control.value, this.schema, this.nullable);
  }

  set value(value) {
    this.control.value = text(value);
  }

  /** What it would be if nothing were said: in grey, where it was typed into. */
  suggest(value) {
    const shown = value === undefined ? "" : text(value);
    if (this.control.tagName === "SELECT") say(this.control.options[0], shown ? `${shown} (chosen)` : "–");
    else this.control.placeholder = shown;
  }

  complain(detail) {
    say(this.problem, detail || "");
    this.problem.hidden = !detail;
    if (detail) this.control.setAttribute("aria-invalid", "true");
    else this.control.removeAttribute("aria-invalid");
  }
}

/** The fields of an object's schema, those of objects in it below headings; `into` collects them by path. */
export function fieldsOf(schemas, schema, path, into, skip = []) {
  const made = [];
  for (const [name, given] of schemas.properties(schema) || []) {
    const here = path ? `${path}.${name}` : name;
    const { schema: plain } = schemas.plain(given);
    if (skip.includes(here) || "const" in plain) continue;
    if (plain.properties) {
      made.push(
        h(
          "details.inner",
          {},
          h("summary", {}, words(name), plain.description ? h("span.muted.small", {}, prose(` ${plain.description}`)) : null),
          h("div.fields", {}, fieldsOf(schemas, given, here, into, skip)),
        ),
      );
      continue;
    }
    const field = new Field(schemas, here, given);
    into.set(here, field);
    made.push(field.element);
  }
  return made;
}

/** Put a value at a path of a body, making the objects on the way. */
export function put(body, path, value) {
  const parts = path.split(".");
  const last = parts.pop();
  const here = parts.reduce((within, part) => (within[part] ??= {}), body);
  here[last] = value;
}

export const at = (body, path) => path.split(".").reduce((within, part) => within?.[part], body);

function control(schema, id) {
  const choices = schema.type === "boolean" ? [true, false] : schema.enum;
  if (choices) {
    const options = choices.map((each) => h("option", { value: text(each) }, words(text(each))));
    return h("select", { id }, h("option", { value: "" }, "–"), options);
  }
  const numeric = schema.type === "number" || schema.type === "integer";
  return h("input", { id, type: "text", autocomplete: "off", spellcheck: "false", inputmode: numeric ? "decimal" : null });
}

function parse(given, schema, nullable) {
  const typed = given.trim();
  if (typed === "") return undefined;
  if (nullable && typed === "null") return null;
  if (schema.type === "string" && !schema.enum) return typed;
  for (const form of [typed, `[${typed}]`]) {
    try {
      const value = JSON.parse(form);
      if (form === typed || schema.type === "array") return value;
    } catch {
      // then it is meant as something else
    }
  }
  return typed;
}

function text(value) {
  if (value === undefined) return "";
  if (Array.isArray(value) && value.every((each) => typeof each === "number"))
    return value.map((each) => Number(each.toPrecision(6))).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function bounds(schema) {
  const { minimum, maximum, exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  const told = [];
  if (minimum !== undefined) told.push(`at least ${minimum}`);
  if (above !== undefined) told.push(`above ${above}`);
  if (maximum !== undefined) told.push(`at most ${maximum}`);
  if (below !== undefined) told.push(`below ${below}`);
  return told.length ? `(${told.join(", ")})` : "";
}
