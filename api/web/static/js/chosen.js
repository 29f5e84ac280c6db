// What was chosen or dropped for an upload: a ZIP as it is; pictures and folders as entries of one.

const PICTURE = /\.(jpe?g|jpe|jfif|png|webp|tiff?|bmp|gif|avif|heic|heif)$/i;
const ZIP = /\.zip$/i;

/** Of an <input>: {name, zip} or {name, entries: [{name, file}]}. Raises an Error where nothing of it can be sent. */
export function ofInput(input) {
  return sorted([...input.files].map((file) => ({ name: file.webkitRelativePath || file.name, file })));
}

/** Of a drop, folders with all that is in them. */
export async function ofDrop(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // before the first await
  const found = [];
  for (const root of roots) await walk(root, "", found);
  return sorted(found);
}

async function walk(entry, path, found) {
  const name = path + entry.name;
  if (entry.isFile) {
    found.push({ name, file: await new Promise((done, fail) => entry.file(done, fail)) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // a hundred at a time, until there are none
    if (!some.length) return;
    for (const each of some) await walk(each, `${name}/`, found);
  }
}

function sorted(files) {
  if (files.length === 1 && ZIP.test(files[0].name)) return { name: files[0].name.replace(ZIP, ""), zip: files[0].file };
  const pictures = files.filter(({ name }) => PICTURE.test(name) && !name.split("/").some((part) => part.startsWith(".")));
  if (!pictures.length) throw new Error("There is no picture in that. JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and HEIC are, or one ZIP of such.");
  // One folder that holds everything names the dataset, and is no class.
  const tops = new Set(pictures.map(({ name }) => (name.includes("/") ? name.slice(0, name.indexOf("/")) : "")));
  const [top] = tops.size === 1 ? tops : [""];
  return { name: top || "pictures", entries: top ? pictures.map(({ name, file }) => ({ name: name.slice(top.length + 1), file })) : pictures };
}
