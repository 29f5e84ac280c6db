// The presets: named recipes, each with what it is and whose values it has.

import { fill, h, say } from "./dom.js";
import { Field } from "./form_fields.js";

/** A list to choose from, with the chosen one's description below; the field goes into `fields` as any other. */
export function presetField(schemas, given, fields) {
  const { schema } = schemas.plain(given);
  const recipes = schema.oneOf || [];
  const field = new Field(schemas, "preset", { ...given, enum: recipes.map((each) => each.const) });
  fields.set("preset", field);
  const about = h("p.small");
  fill(
    field.control,
    h("option", { value: "" }, "auto: whatever suits the pictures and the machine"),
    recipes.map((each) => h("option", { value: each.const }, each.const)),
  );
  field.suggest = () => {};
  const tell = () => {
    const chosen = recipes.find((each) => each.const === field.control.value);
    say(
      about,
      chosen
        ? `${chosen.title} Values: ${chosen.description}`
        : "Rules choose by how many pictures there are, how large, and what the machine has; the notes tell what and why.",
    );
  };
  field.control.addEventListener("input", tell);
  tell();
  field.element.classList.add("wide");
  field.element.append(about);
  field.help.hidden = true;
  return field.element;
}
