// Numbers, times and names for people.

const numbers = new Intl.NumberFormat("en");

/** 1,437; 0.0823; 3.41e-7: about four figures. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return numbers.format(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return numbers.format(Number(value.toPrecision(size >= 1000 ? 6 : 4)));
}

/** "3 min 20 s", "2 h 5 min", "4 d 3 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([size]) => whole >= size);
  const [size, unit] = parts[first];
  const [nextSize, nextUnit] = parts[first + 1] || [1, ""];
  const rest = Math.floor((whole % size) / nextSize);
  return `${Math.floor(whole / size)} ${unit}${rest && nextUnit ? ` ${rest} ${nextUnit}` : ""}`;
}

/** "just now", "4 min ago", or the day. */
export function ago(time, now = Date.now()) {
  if (!time) return "–";
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 7 * 86400) return `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
  return new Date(time).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
}

/** A moment, exactly, in the reader's own time zone. */
export const moment = (time) =>
  time ? new Date(time).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" }) : "–";

/** 44.7 MB. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${at === 0 ? count : count.toPrecision(3)} ${units[at]}`;
}

/** warming_up → warming up. */
export const words = (name) => String(name ?? "").replaceAll("_", " ");

/** The end of an id, for where its beginning says nothing: job_…8E1F0G. */
export const shortId = (id) => `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-6)}`;
