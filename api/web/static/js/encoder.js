// One encoder: what it is, its names, its files, how to call it, and a place to try it.

import { api, get, may } from "./api.js";
import { code, tabs } from "./copy.js";
import { $, fill, h, say } from "./dom.js";
import { save } from "./download.js";
import { bytes, moment, number, words } from "./format.js";
import { mapQuery, picturesNamed, picturesOf } from "./pictures_of.js";
import { attempt, toast } from "./toast.js";
import { tryIt } from "./try_picture.js";

const id = location.pathname.split("/").pop();
const percent = (value) => (Number.isFinite(value) ? `${value.toFixed(1)} %` : "–");

function facts(encoder, pictures) {
  const { manifest, metrics } = encoder;
  const { preprocessing, data } = manifest;
  const pairs = [
    ["Method", encoder.method],
    ["Network", encoder.arch],
    ["Numbers a picture", number(encoder.dim)],
    ["kNN top-1", percent(metrics.knn_top1)],
    ["linear top-1", percent(metrics.linear_top1)],
    ["Effective rank", number(metrics.effective_rank)],
    ["Picture size", preprocessing?.size ? `${preprocessing.size} px` : null],
    ["Trained on", data ? [pictures || (data.path ?? data.source), data.images && `${number(data.images)} pictures`].filter(Boolean).join(", ") : null],
    ["Made", moment(encoder.created_at)],
    ["Weights", bytes(encoder.size_bytes)],
    ["SHA-256", h("code.digest", {}, encoder.sha256)],
  ];
  return pairs.filter(([, value]) => value !== null && value !== "–").map(([name, value]) => h("div", {}, h("dt", {}, words(name)), h("dd.number", {}, value)));
}

function calls(name) {
  const here = location.origin;
  const key = $(".who form") ? '  -H "Authorization: Bearer $IMPRINT_API_KEY" \\\n' : "";
  return tabs(
    {
      curl: code(`curl ${here}/embed \\\n${key}  -F encoder=${name} \\\n  -F images=@picture.jpg`, "curl"),
      Python: code(`from imprint import Client\n\nclient = Client("${here}")\nvectors = client.embed(["picture.jpg"], encoder="${name}")`, "Python"),
      "command line": code(`imprint embed ~/Pictures -o vectors.npy --encoder ${name}`, "Command line"),
    },
    "How to call it",
  );
}

const FORMS = { onnx: "ONNX", torchscript: "TorchScript", timm: "timm", hf: "Hugging Face", safetensors: "safetensors alone" };

/** Other forms of the network, where the service makes them. */
function forms({ links }) {
  if (!links.export) return [];
  return Object.entries(FORMS).map(([form, word]) => {
    const button = h("button.small", { type: "button", onclick: () => attempt(button, () => save("GET", `${links.export}?format=${form}`)) }, word);
    return button;
  });
}

function show(encoder, job) {
  const name = encoder.aliases[0] || encoder.id;
  say($("h1"), encoder.aliases[0] || `${encoder.method} · ${encoder.arch}`);
  document.title = `${encoder.aliases[0] || encoder.id} · Imprint`;
  fill($("#id"), h("code", {}, encoder.id), encoder.aliases.map((alias) => h("span.tag.plain.accent", {}, alias)));
  fill($("#facts"), facts(encoder, picturesOf(job?.spec.data)));
  fill($("#calls"), calls(name));
  $("#download").href = encoder.links.download;
  fill($("#forms"), forms(encoder));
  $("#job").href = `/ui/jobs/${encoder.job_id}`;
  $("#map").href = `/ui/explore?${mapQuery(encoder.id, job?.spec.data)}`;
  $("#compare").href = `/ui/encoders?compare=${encoder.id}`;
  $("#whole").hidden = false;
}

/** The job that made it says what its pictures are called; it may be gone, or somebody else's. */
async function look() {
  const encoder = await get(`/encoders/${id}`);
  const job = await get(`/jobs/${encoder.job_id}`).catch(() => null);
  await picturesNamed(job?.spec.data);
  show(encoder, job);
}

$("#naming").hidden = !may("submit");
$("#naming").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("#alias");
  const name = field.value.trim();
  say($("#alias-problem"), "");
  attempt($("#naming button"), async () => {
    try {
      await api("PUT", `/aliases/${encodeURIComponent(name)}`, { body: { encoder: id } });
    } catch (error) {
      say($("#alias-problem"), error.message);
      field.setAttribute("aria-invalid", "true");
      return;
    }
    field.removeAttribute("aria-invalid");
    field.value = "";
    toast(`${name} stands for this encoder now`);
    await look();
  });
});
look()
  .then(() => tryIt($("#try"), id))
  .catch(toast);
