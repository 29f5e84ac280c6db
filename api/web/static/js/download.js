// Files that have to be made before they can be had: fetched with a word about it, then given to the browser to save.

import { api } from "./api.js";
import { h } from "./dom.js";

/** Ask for a file and save it under the name that the service gives it. Raises ApiError. */
export async function save(method, path, { body, name = "download" } = {}) {
  const answer = await api(method, path, { body, as: "response" });
  const given = /filename="([^"]+)"/.exec(answer.headers.get("content-disposition") || "")?.[1];
  const address = URL.createObjectURL(await answer.blob());
  const link = h("a", { href: address, download: given || name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
