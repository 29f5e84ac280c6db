// The OpenAPI document's schemas: what a field is, what it may hold, what it holds when nothing is said.

import { get } from "./api.js";

let loaded = null;

/** The document, fetched once. */
export function openapi() {
  loaded ??= get("/openapi.json");
  return loaded;
}

/** Schemas with references followed. */
export class Schemas {
  constructor(document) {
    this.all = document.components.schemas;
  }

  static async load() {
    return new Schemas(await openapi());
  }

  named(name) {
    return this.all[name];
  }

  /** The schema itself, a reference followed; what is said beside the reference (description, default) wins. */
  follow(schema) {
    const given = schema?.$ref ?? (schema?.allOf?.length === 1 ? schema.allOf[0].$ref : undefined);
    if (!given) return schema;
    const { $ref = given, allOf, ...beside } = schema;
    return { ...this.all[$ref.split("/").pop()], ...beside };
  }

  /** Without null, of a field that may be null: {schema, nullable}. */
  plain(given) {
    const schema = this.follow(given);
    const forms = schema.anyOf?.map((each) => this.follow(each));
    if (!forms) return { schema, nullable: false };
    const rest = forms.filter((each) => each.type !== "null");
    const nullable = rest.length < forms.length;
    if (rest.length !== 1) return { schema: { ...schema, anyOf: rest }, nullable };
    const { anyOf, ...beside } = schema;
    return { schema: { ...rest[0], ...beside }, nullable };
  }

  /** Of a union told apart by a field: {field, forms: {value: schema}}; null for others. */
  union(given) {
    const { schema } = this.plain(given);
    if (!schema.discriminator) return null;
    const forms = Object.entries(schema.discriminator.mapping).map(([value, $ref]) => [value, this.follow({ $ref })]);
    return { field: schema.discriminator.propertyName, forms: Object.fromEntries(forms) };
  }

  /** The properties of an object's schema, that of the union's form that a value has: [[name, schema], …]; null for a leaf. */
  properties(given, value) {
    const union = this.union(given);
    const schema = union ? union.forms[value?.[union.field]] : this.plain(given).schema;
    return schema?.properties ? Object.entries(schema.properties) : null;
  }

  defaultOf(given) {
    const schema = this.follow(given);
    return "default" in schema ? schema.default : schema.const;
  }
}

/** Whether two values of JSON are the same. */
export function same(one, other) {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  const [a, b] = [Object.keys(one), Object.keys(other)];
  return a.length === b.length && a.every((key) => same(one[key], other[key]));
}
