// Pictures of one's own, sent with their progress; when they have been checked they are a dataset.

import { ApiError, NoAnswer } from "./api.js";
import { ofDrop, ofInput } from "./chosen.js";
import { h, say } from "./dom.js";
import { bytes, duration, number } from "./format.js";
import { countOf } from "./pictures_of.js";
import { toast } from "./toast.js";
import { zip } from "./zip.js";

const STOPPED = "The upload was stopped; nothing of it is kept.";

export class Upload {
  constructor(done) {
    this.done = done;
    this.bar = h("progress", { max: "1", hidden: true, "aria-label": "Upload" });
    this.said = h(
      "p.small.muted",
      { role: "status" },
      "They are copied to the service. Subfolders are classes, if there are any, which serve to measure with.",
    );
    this.stop = h("button.small", { type: "button", hidden: true, onclick: () => this.stopping?.abort() }, "Stop");
    this.inputs = [
      this.choose("upload-folder", "Choose a folder", { webkitdirectory: true }),
      this.choose("upload", "Choose pictures or a ZIP", { multiple: true, accept: "image/*,.zip,application/zip" }),
    ];
    this.element = h(
      "div.upload",
      { role: "group", "aria-label": "Upload pictures" },
      h("div.row", {}, h("strong", {}, "Upload your own"), this.inputs, h("span.small.muted", {}, "or drop them here"), this.stop),
      this.bar,
      this.said,
    );
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.begin(ofDrop(event.dataTransfer));
    });
  }

  /** A file field that looks like a button. */
  choose(id, words, attributes) {
    const input = h("input.hidden-visually", { type: "file", id, ...attributes });
    input.addEventListener("change", () => {
      if (input.files.length) this.begin(Promise.resolve().then(() => ofInput(input)));
    });
    return h("label.button.small", { for: id }, input, words);
  }

  async begin(choosing) {
    if (this.stopping) return;
    this.stopping = new AbortController();
    this.bar.hidden = this.stop.hidden = false;
    for (const label of this.inputs) label.firstChild.disabled = true;
    try {
      const { name, zip: ready, entries } = await choosing;
      const dataset = await this.send(name, ready || (await this.pack(entries)));
      const all = number(countOf(dataset));
      const left = dataset.archive?.left_out ? `, without ${number(dataset.archive.left_out)} files that are none` : "";
      say(this.said, `${dataset.name} is ready: ${all} pictures${left}.`);
      toast(`${dataset.name} is uploaded`);
      this.done(dataset);
    } catch (error) {
      const stopped = this.stopping.signal.aborted;
      say(this.said, stopped ? STOPPED : error.message);
      toast(stopped ? STOPPED : error);
    } finally {
      this.stopping = null;
      this.bar.hidden = this.stop.hidden = true;
      for (const label of this.inputs) {
        label.firstChild.disabled = false;
        label.firstChild.value = "";
      }
    }
  }

  pack(entries) {
    return zip(
      entries,
      (done) => {
        this.bar.value = done / entries.length;
        say(this.said, `${number(done)} of ${number(entries.length)} pictures are packed…`);
      },
      this.stopping.signal,
    );
  }

  /** By XMLHttpRequest, since fetch does not tell how much has been sent. */
  send(given, body) {
    const name = given.slice(0, 200) || "upload";
    const began = Date.now();
    const request = new XMLHttpRequest();
    this.stopping.signal.throwIfAborted();
    this.stopping.signal.addEventListener("abort", () => request.abort());
    request.open("POST", `/datasets?name=${encodeURIComponent(name)}`);
    request.setRequestHeader("Content-Type", "application/zip");
    request.setRequestHeader("X-Imprint-Page", "1");
    request.setRequestHeader("Idempotency-Key", crypto.getRandomValues(new Uint32Array(4)).join("-"));
    request.upload.onprogress = ({ loaded, total }) => {
      this.bar.value = loaded / total;
      const left = ((Date.now() - began) / 1000) * (total / loaded - 1);
      say(
        this.said,
        loaded < total
          ? `${bytes(loaded)} of ${bytes(total)}, ${duration(left)} left`
          : "All is sent; its pictures are being checked…",
      );
      if (loaded >= total) this.bar.removeAttribute("value");
    };
    return new Promise((done, fail) => {
      request.onload = () => {
        let answer = {};
        try {
          answer = JSON.parse(request.responseText);
        } catch {
          // not an answer of ours
        }
        if (request.status >= 200 && request.status < 300) done(answer);
        else fail(new ApiError(request.status, answer));
      };
      request.onerror = () => fail(new NoAnswer());
      request.onabort = () => fail(new Error(STOPPED));
      request.send(body);
    });
  }
}
