// The same job from a shell and from Python.

/** {curl, Python, CLI}: the call that sends this body; without CLI where the command has no words for the kind. */
export function calls(body, origin, withKey) {
  const json = JSON.stringify(body, null, 2);
  const key = withKey ? ' -H "Authorization: Bearer $IMPRINT_API_KEY"' : "";
  const made = {
    curl: `curl ${origin}/jobs${key} -H 'Content-Type: application/json' -d ${quoted(json)}`,
    Python: python(body, origin),
  };
  const words_ = { pretrain: training, linear_probe: measuring, finetune: measuring, embed: embedding }[
    body.kind || "pretrain"
  ];
  if (words_) made.CLI = [...words_(body), `--server ${word(origin)}`].join(" \\\n  ");
  return made;
}

function python(body, origin) {
  const fields = Object.entries(body)
    .map(([name, value]) => `    ${name}=${literal(value)},\n`)
    .join("");
  return `from imprint import Client\n\nclient = Client("${origin}")\njob = client.submit(\n${fields})\nclient.wait(job.id)`;
}

/** A value as Python writes it. */
function literal(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, part]) => `${JSON.stringify(name)}: ${literal(part)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

function training({ data = {}, preset, name, labels = {}, kind, ...rest }) {
  const { source, id, path, ...more } = data;
  const words = [`imprint train ${target(data)}`];
  if (path !== undefined && source !== "folder") words.push(`--set data.path=${word(path)}`);
  if (preset) words.push(`--preset ${word(preset)}`);
  if (name) words.push(`--name ${word(name)}`);
  for (const [key, value] of Object.entries(labels)) words.push(`--label ${word(`${key}=${value}`)}`);
  return [...words, ...settings({ data: more, ...rest })];
}

function measuring({ data = {}, encoder, kind, ...rest }) {
  const { source, id, path, ...more } = data;
  const words = [`imprint measure ${target(data)}`, `--encoder ${word(encoder || "latest")}`];
  if (kind === "finetune") words.push("--finetune");
  return [...words, ...settings({ data: more, ...rest })];
}

function embedding({ data = {}, encoder, normalize, dimensions }) {
  const words = [`imprint embed ${target(data)}`, `--encoder ${word(encoder || "latest")}`, "-o vectors.parquet"];
  if (normalize) words.push("--normalize");
  if (dimensions) words.push(`--dimensions ${dimensions}`);
  return words;
}

const target = ({ source, id, path }) =>
  word(source === "dataset" ? id || "ds_…" : source === "folder" ? path || "FOLDER" : source || "digits");
const settings = (body) => leaves(body, "").map(([where, value]) => `--set ${word(`${where}=${setting(value)}`)}`);

/** As --set reads it: JSON, or the text itself where that is no JSON. */
function setting(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  try {
    JSON.parse(value);
    return JSON.stringify(value);
  } catch {
    return value;
  }
}

function leaves(value, path) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [[path, value]];
  return Object.entries(value).flatMap(([name, part]) => leaves(part, path ? `${path}.${name}` : name));
}

const word = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : quoted(text));
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
