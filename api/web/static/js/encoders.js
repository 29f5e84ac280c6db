// Encoders that there are, and some of them side by side.

import { get } from "./api.js";
import { showComparison } from "./comparison.js";
import { $, $$, fill, h, say } from "./dom.js";
import { ago, bytes, moment, number, shortId } from "./format.js";
import { attempt, toast } from "./toast.js";

const PAGE = 50;
const MOST = 20; // in one comparison
const chosen = new Set((new URLSearchParams(location.search).get("compare") || "").split(",").filter(Boolean));
let after = "";

const percent = (value) => (Number.isFinite(value) ? `${value.toFixed(1)} %` : "–");

function line(encoder) {
  const box = h("input", { type: "checkbox", value: encoder.id, "aria-label": `Compare ${encoder.aliases[0] || shortId(encoder.id)}` });
  box.checked = chosen.has(encoder.id);
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(encoder.id);
    else chosen.delete(encoder.id);
    choice();
  });
  const name = encoder.aliases[0] || shortId(encoder.id);
  const others = encoder.aliases.slice(1);
  return h(
    "tr",
    { dataset: { encoder: encoder.id } },
    h("td", {}, box),
    h("td", {}, h("a", { href: `/ui/encoders/${encoder.id}`, title: encoder.id }, name), others.map((alias) => h("span.tag.plain", {}, alias))),
    h("td", {}, encoder.method),
    h("td", {}, encoder.arch),
    h("td.number", {}, number(encoder.dim)),
    h("td.number", {}, percent(encoder.metrics.knn_top1)),
    h("td.number", {}, percent(encoder.metrics.linear_top1)),
    h("td.number", {}, bytes(encoder.size_bytes)),
    h("td", { title: moment(encoder.created_at) }, ago(encoder.created_at)),
  );
}

async function more() {
  const page = await get(`/encoders?limit=${PAGE}${after ? `&after=${after}` : ""}`);
  after = page.last_id;
  $("#rows").append(...page.data.map(line));
  $("#more").hidden = !page.has_more;
  $("#busy").hidden = true;
  const any = $("#rows").children.length > 0;
  $("#list").hidden = !any;
  $("#none").hidden = any;
}

/** What is chosen, in the address as well, so that a comparison can be sent to somebody. */
function choice() {
  const ids = [...chosen];
  history.replaceState(null, "", ids.length ? `?compare=${ids.join(",")}` : location.pathname);
  const enough = ids.length > 1 && ids.length <= MOST;
  say($("#chosen"), ids.length > MOST ? `At most ${MOST} are compared.` : enough ? "" : "Tick two or more to compare them.");
  $("#compared").hidden = !enough;
  if (enough) compare(ids);
}

async function compare(ids) {
  try {
    const body = await get(`/encoders?compare=${ids.join(",")}`);
    if (ids.join() === [...chosen].join()) showComparison($("#comparison"), body);
  } catch (error) {
    fill($("#comparison"), h("p.wrong", {}, error.message));
  }
}

$("#more").addEventListener("click", (event) => attempt(event.target, more));
more()
  .then(() => {
    choice();
    for (const box of $$("#rows input")) box.checked = chosen.has(box.value);
  })
  .catch(toast);
