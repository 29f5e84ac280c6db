// Pictures that were chosen as a folder, put into a ZIP in the browser: stored as they are, since pictures do not get smaller.

const NAMES = 0x0800; // a flag: names are UTF-8
const DAY = (1 << 5) | 1; // 1980-01-01: the form has to have a date, and nobody reads it
const TOGETHER = 32; // files that are read at the same time
const KEPT = 2 ** 28; // bytes that are kept in memory until they are sent
const [FULL16, FULL32] = [0xffff, 0xffffffff];
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});

/** CRC-32 of bytes. */
export function checksum(bytes) {
  let sum = FULL32;
  for (const byte of bytes) sum = TABLE[(sum ^ byte) & 255] ^ (sum >>> 8);
  return (sum ^ FULL32) >>> 0;
}

const read = async ({ file }) => new Uint8Array(await file.arrayBuffer());

/**
 * A Blob that is a ZIP of [{name, file}]. `told(done)`: how many are in. What fits into memory is read once; of more, the
 * files stay on the disk until it is sent. Raises an Error where it would have 4 GiB or more.
 */
export async function zip(entries, told = () => {}, signal = null) {
  const parts = [];
  const directory = [];
  let at = 0;
  const fits = entries.reduce((sum, { file }) => sum + file.size, 0) < KEPT;
  let some = [];
  for (const [number, { name, file }] of entries.entries()) {
    signal?.throwIfAborted();
    if (number % TOGETHER === 0) some = await Promise.all(entries.slice(number, number + TOGETHER).map(read));
    const bytes = some[number % TOGETHER];
    const sum = checksum(bytes);
    const words = new TextEncoder().encode(name);
    if (at + file.size > FULL32 - 1e6) throw new Error("That is 4 GiB or more; put such a folder below the service's data root instead.");
    const shared = [[2, NAMES], [2, 0], [2, 0], [2, DAY], [4, sum], [4, file.size], [4, file.size], [2, words.length], [2, 0]];
    parts.push(packed([4, 0x04034b50], [2, 20], ...shared), words, fits ? bytes : file);
    directory.push(packed([4, 0x02014b50], [2, 20], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), words);
    at += 30 + words.length + file.size;
    told(number + 1);
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  return new Blob([...parts, ...directory, ...end(entries.length, size, at)], { type: "application/zip" });
}

/** What stands at the end; a second form of it says how many there are where two bytes cannot. */
function end(count, size, begin) {
  const short = packed([4, 0x06054b50], [4, 0], ...[count, count].map((each) => [2, Math.min(each, FULL16)]), [4, size], [4, begin], [2, 0]);
  if (count < FULL16) return [short];
  const long = packed([4, 0x06064b50], [8, 44], [2, 45], [2, 45], [8, 0], [8, count], [8, count], [8, size], [8, begin]);
  return [long, packed([4, 0x07064b50], [4, 0], [8, begin + size], [4, 1]), short];
}

/** Numbers of 2, 4 or 8 bytes, little-endian: [bytes, value]. */
function packed(...numbers) {
  const bytes = new DataView(new ArrayBuffer(numbers.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) bytes.setUint16(at, value, true);
    else if (size === 4) bytes.setUint32(at, value, true);
    else bytes.setBigUint64(at, BigInt(value), true);
    at += size;
  }
  return new Uint8Array(bytes.buffer);
}
