// Beside the form: what the service would do with it, or what stands in the way.

import { $, fill, h, say } from "./dom.js";
import { bytes, duration, number } from "./format.js";

export class Plan {
  checking() {
    $("#plan").setAttribute("aria-busy", "true");
  }

  /** `answer`: of validate_only, or null; `problems`: all; `rest`: those that no field shows. */
  show(answer, problems, rest) {
    $("#plan").setAttribute("aria-busy", "false");
    $("#submit").disabled = false;
    say(
      $("#verdict"),
      answer
        ? "Ready to go."
        : problems.length === 1
          ? "One thing is not right yet."
          : `${problems.length} things are not right yet.`,
    );
    fill(
      $("#rest"),
      rest.map(({ pointer, detail }) =>
        h("li", {}, pointer ? h("code", {}, pointer.slice(1).replaceAll("/", ".")) : null, ` ${detail}`),
      ),
    );
    $("#preview").disabled = !answer;
    if (!answer) {
      fill($("#would"));
      return;
    }
    const { data, estimate, spec, recipe, notes, warnings } = answer;
    const facts = {
      recipe,
      method: spec.method?.name,
      pictures: data.images ? `${number(data.images)}${data.held_out ? `, and ${number(data.held_out)} held out` : ""}` : null,
      classes: data.classes ? `${number(data.classes)}, to measure with only` : null,
      "typical size": data.typical_size ? `${data.typical_size.join(" × ")} px` : null,
      epochs: spec.trainer?.max_epochs,
      steps: estimate.steps_total,
      memory: estimate.memory_bytes ? `${bytes(estimate.memory_bytes)} for the pictures` : null,
      time: estimate.seconds ? `about ${duration(estimate.seconds)}, as the job before that was like it` : null,
    };
    const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined);
    fill(
      $("#would"),
      warnings.length
        ? h(
            "div.notice.warn.small",
            {},
            warnings.map((each) => h("p", {}, each)),
          )
        : null,
      h(
        "dl.facts.small",
        {},
        known.map(([name, value]) => [
          h("dt", {}, name),
          h("dd.number", {}, typeof value === "number" ? number(value) : String(value)),
        ]),
      ),
      notes.length
        ? h(
            "details.small",
            {},
            h("summary", {}, `${notes.length} choices made for you`),
            h(
              "ul",
              {},
              notes.map((each) => h("li", {}, each)),
            ),
          )
        : null,
    );
  }
}
