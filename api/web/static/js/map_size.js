// How large a point is.

/** How large a point is, in pixels of the page: fewer points and a nearer look make it larger. */
export function pointSize(count, zoom) {
  const base = Math.min(9, Math.max(2.4, 620 / Math.sqrt(Math.max(count, 1)) / 1.6));
  return Math.min(14, base * Math.max(0.8, zoom) ** 0.28);
}
