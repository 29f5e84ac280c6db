// Code to copy, with a button, and a set of such in tabs.

import { h } from "./dom.js";
import { toast } from "./toast.js";

/** A block of code with a button that copies it. `set(text)` changes it. */
export function code(text, label = "Code") {
  const shown = h("pre", { tabindex: "0", "aria-label": label }, text);
  const button = h("button.small", { type: "button", onclick: () => copy(shown.textContent) }, "Copy");
  const element = h("div.copyable", {}, shown, button);
  element.set = (now) => {
    if (shown.textContent !== now) shown.textContent = now;
  };
  return element;
}

/** Put text on the clipboard; where the browser forbids it (plain http from another machine), by the old way. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied");
}

/** tabs({curl: element, Python: element}): a tab list, moved through with the arrow keys. */
export function tabs(parts, label) {
  const names = Object.keys(parts);
  const base = `tab-${Math.random().toString(36).slice(2, 8)}`;
  const buttons = names.map((name, at) =>
    h(
      "button",
      { type: "button", role: "tab", id: `${base}-${at}`, "aria-controls": `${base}-panel-${at}`, onclick: () => pick(at) },
      name,
    ),
  );
  const panels = names.map((name, at) =>
    h("div", { role: "tabpanel", id: `${base}-panel-${at}`, "aria-labelledby": `${base}-${at}` }, parts[name]),
  );
  function pick(chosen) {
    buttons.forEach((button, at) => {
      button.setAttribute("aria-selected", String(at === chosen));
      button.tabIndex = at === chosen ? 0 : -1;
      panels[at].hidden = at !== chosen;
    });
  }
  function move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (buttons.indexOf(event.target) + step + names.length) % names.length;
    pick(next);
    buttons[next].focus();
  }
  pick(0);
  return h("div", {}, h("div.tabs", { role: "tablist", "aria-label": label, onkeydown: move }, buttons), panels);
}
