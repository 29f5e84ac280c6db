"""What tests of the pages have in common: waiting, and looking at what people with poor sight or no mouse need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Gives what is written in too little contrast: [text, ratio]. Half-transparent colours are laid over each other; what is
# disabled or hidden is exempt. A canvas works out any form of colour.
_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("button:disabled, .hidden-visually, option, .skip")) continue;
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
    const [back, front] = [over(["white", ...layers]), over(["white", ...layers, getComputedStyle(element).color])];
    const [a, b] = [light(back), light(front)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([element.textContent.trim().slice(0, 40), Number(ratio.toFixed(2))]);
  }
  return found;
}"""
_OUTLINES = """() => [document.activeElement, document.activeElement.closest("label")]
  .filter(Boolean).map((each) => getComputedStyle(each).outlineStyle)"""
_NAME = "() => document.activeElement.ariaLabel || document.activeElement.textContent.trim()"


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer. (Playwright's own wait_for_function evaluates strings, which the pages' policy forbids.)"""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def tab_to(page: Any, name: str | None = None, where: str = "false") -> None:
    """Press Tab until an element of that name, or one for which the expression `where` is true, has the focus, and shows it."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(_NAME) == name or page.evaluate(where):
            assert {"solid", "auto"} & set(page.evaluate(_OUTLINES)), f"{name or where}: the focus is not seen"
            return
    raise AssertionError(f"Tab does not lead to {name or where}")


def assert_readable(page: Any) -> None:
    """Nothing is wider than the screen, and text has the contrast that WCAG 2 AA asks for."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "wider than the screen"
    poor = page.evaluate(_CONTRAST)
    assert poor == [], poor[:10]
