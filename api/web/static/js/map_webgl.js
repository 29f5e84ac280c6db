// Draws the points by WebGL: their places are given to the graphics card once, and a frame is one call.

import { pointSize } from "./map_size.js";

const VERTEX = `#version 300 es
in vec2 place; in vec4 colour;
uniform vec2 centre, scale; uniform float size;
out vec4 tint;
void main() {
  gl_Position = vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = size * (colour.a < 0.5 ? 0.75 : 1.0);
  tint = vec4(colour.rgb * colour.a, colour.a);
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 tint; out vec4 shown;
void main() {
  float away = length(gl_PointCoord - 0.5) * 2.0;
  shown = tint * (1.0 - smoothstep(0.75, 1.0, away));
}`;

export class GlPainter {
  kind = "webgl";

  constructor(canvas, gl, points) {
    this.canvas = canvas;
    this.gl = gl;
    this.points = points;
    this.tints = null;
    this.prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.prepare();
      if (this.tints) this.colours(this.tints);
      if (this.view) this.draw(this.view);
    });
  }

  prepare() {
    const { gl, points } = this;
    this.program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
    }
    gl.linkProgram(this.program);
    gl.useProgram(this.program);
    const places = new Float32Array(points.count * 2);
    for (let row = 0; row < points.count; row++) {
      places[2 * row] = points.x[row];
      places[2 * row + 1] = points.y[row];
    }
    this.attribute("place", 2, gl.FLOAT, false, places);
    this.tint = this.attribute("colour", 4, gl.UNSIGNED_BYTE, true, new Uint8Array(points.count * 4));
    this.where = Object.fromEntries(["centre", "scale", "size"].map((name) => [name, gl.getUniformLocation(this.program, name)]));
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.clearColor(0, 0, 0, 0);
  }

  attribute(name, width, type, scaled, values) {
    const { gl } = this;
    const buffer = gl.createBuffer();
    const at = gl.getAttribLocation(this.program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, scaled, 0, 0);
    return buffer;
  }

  /** tints: Uint8Array, four bytes a point. */
  colours(tints) {
    this.tints = tints;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.tint);
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, 0, tints);
  }

  draw(view) {
    const { gl, canvas, points } = this;
    this.view = view;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.where.centre, view.x, view.y);
    gl.uniform2f(this.where.scale, (2 * view.scale) / view.width, (2 * view.scale) / view.height);
    gl.uniform1f(this.where.size, pointSize(points.count, view.zoom) * (canvas.width / view.width));
    gl.drawArrays(gl.POINTS, 0, points.count);
  }
}
