// What a job's pictures are called: by the folder's name, or by that of the dataset, which is asked for once.

import { get } from "./api.js";
import { shortId } from "./format.js";

const known = new Map(); // a dataset's id → its name, once it is there
const asked = new Map(); // → the promise of it

/** `data` of a spec in a word or two, "" where there is none. `later()` is called when a dataset's name has come. */
export function picturesOf(data, later = () => {}) {
  const id = data?.dataset || data?.id;
  if (!id) return data?.path || data?.source || "";
  if (!known.has(id)) nameOf(id).then(later);
  return known.get(id) ?? (data.path && data.path !== "." ? data.path : "");
}

/** The same, when it is known. */
export async function picturesNamed(data) {
  const id = data?.dataset || data?.id;
  if (id) await nameOf(id);
  return picturesOf(data);
}

function nameOf(id) {
  if (!asked.has(id)) {
    const name = get(`/datasets/${id}`).then(
      (dataset) => dataset.name,
      () => shortId(id), // it has been deleted, or is somebody else's
    );
    asked.set(id, name.then((found) => known.set(id, found)));
  }
  return asked.get(id);
}

/** What the form of a new map is asked with: the encoder, and the pictures where it can map them. */
export function mapQuery(encoder, data) {
  const query = new URLSearchParams({ encoder });
  if (data?.dataset) query.set("dataset", data.dataset);
  else if (data?.source === "folder" && data.path) query.set("path", data.path);
  return query;
}

/** How many pictures a dataset has, those held out among them; null where nobody has counted. */
export const countOf = ({ images, held_out: held }) => (images === null || images === undefined ? null : images + (held || 0));
