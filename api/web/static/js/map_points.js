// Who draws the points: WebGL where a graphics card does it, else a plain canvas, which is twice as fast as WebGL without a card.
// Both take the same calls: colours(tints), draw(view).

import { PlainPainter } from "./map_plain.js";
import { GlPainter } from "./map_webgl.js";

const WANTED = { antialias: false, premultipliedAlpha: true, powerPreference: "high-performance" };
const SOFTWARE = /swiftshader|llvmpipe|software|basic render/i;

/** The best painter that there is for a canvas; `wish`: "webgl" or "canvas", whatever is best. points: {x, y, count}. */
export function painter(canvas, points, wish = "") {
  const gl = (wish || (accelerated() ? "webgl" : "canvas")) === "webgl" ? canvas.getContext("webgl2", WANTED) : null;
  return gl ? new GlPainter(canvas, gl, points) : new PlainPainter(canvas, points);
}

/** Whether a card draws, and no program that pretends to be one. Asked of a canvas of its own: one has one context for life. */
function accelerated() {
  const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  if (!gl) return false;
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  const name = String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !SOFTWARE.test(name);
}
