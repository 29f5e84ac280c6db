// Elements, made without any HTML in a string: what comes from data can only ever become text.

/**
 * h("a.button", {href: "/", onclick: f, dataset: {id: 1}}, "text", [more], null): an element.
 * Properties that start with "on" are listeners; null and false leave an attribute out; true makes it empty.
 */
export function h(what, properties = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...flat(children));
  return element;
}

/** Set text only where it has changed, so that a selection and a screen reader are left in peace. */
export function say(element, text) {
  const now = String(text ?? "");
  if (element.textContent !== now) element.textContent = now;
  return element;
}

/** Text in which `code` stands between backticks, as children. */
export const prose = (text) => String(text ?? "").split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

const SVG = "http://www.w3.org/2000/svg";

/** An element of SVG: svg("path", {d: "M0 0"}, children…). */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}
