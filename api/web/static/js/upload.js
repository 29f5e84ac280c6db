// A ZIP of pictures, sent with its progress; when it has been checked it is a dataset.

import { ApiError, NoAnswer } from "./api.js";
import { h, say } from "./dom.js";
import { bytes, duration } from "./format.js";
import { toast } from "./toast.js";

export class Upload {
  constructor(done) {
    this.done = done;
    this.input = h("input", {
      type: "file",
      accept: ".zip,application/zip",
      id: "upload",
      onchange: () => this.begin(this.input.files[0]),
    });
    this.bar = h("progress", { max: "1", hidden: true, "aria-label": "Upload" });
    this.said = h("p.small.muted", { role: "status" }, "A ZIP of pictures; folders in it are classes, if there are any.");
    this.stop = h("button.small", { type: "button", hidden: true, onclick: () => this.request?.abort() }, "Stop");
    this.element = h(
      "div.upload",
      {},
      h("label", { for: "upload" }, "Upload pictures"),
      h("div.row", {}, this.input, this.stop),
      this.bar,
      this.said,
    );
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.begin(event.dataTransfer.files[0]);
    });
  }

  async begin(file) {
    if (!file || this.request) return;
    this.bar.hidden = this.stop.hidden = false;
    this.input.disabled = true;
    try {
      const dataset = await this.send(file);
      say(this.said, `${dataset.name} is ready: ${dataset.images} pictures.`);
      toast(`${dataset.name} is uploaded`);
      this.done(dataset);
    } catch (error) {
      say(this.said, error.message);
      toast(error);
    } finally {
      this.request = null;
      this.bar.hidden = this.stop.hidden = true;
      this.input.disabled = false;
      this.input.value = "";
    }
  }

  /** By XMLHttpRequest, since fetch does not tell how much has been sent. */
  send(file) {
    const name = file.name.replace(/\.zip$/i, "").slice(0, 200) || "upload";
    const began = Date.now();
    const request = new XMLHttpRequest();
    this.request = request;
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
      request.onabort = () => fail(new Error("The upload was stopped; nothing of it is kept."));
      request.send(file);
    });
  }
}
