// Who draws the points: WebGL where a graphics card does it, else a plain canvas, which is twice as fast as WebGL without a card.
// Both take the same calls: colours(tints), draw(view).

import { PlainPainter } from "./map_plain.js";
import { GlPainter } from "./map_webgl.js";

const WANTED = { antialias: false, premultipliedAlpha: true, powerPreference: "high-performance", failIfMajorPerformanceCaveat: true };

/** The best painter that there is for a canvas; `wish`: "webgl" or "canvas", whatever is best. points: {x, y, count}. */
export function painter(canvas, points, wish = "") {
  const wanted = { ...WANTED, failIfMajorPerformanceCaveat: wish !== "webgl" };
  const gl = wish === "canvas" ? null : canvas.getContext("webgl2", wanted);
  return gl ? new GlPainter(canvas, gl, points) : new PlainPainter(canvas, points);
}
