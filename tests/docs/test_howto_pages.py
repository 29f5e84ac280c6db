"""What docs/howto/pages.md calls a button, a field or a heading is called so by the pages."""

from __future__ import annotations

import re

from support.doc_pages import ROOT

WEB = ROOT / "api" / "web"


def test_every_word_in_bold_is_on_the_pages() -> None:
    said = set(re.findall(r"\*\*(.+?)\*\*", (ROOT / "docs" / "howto" / "pages.md").read_text(encoding="utf-8")))
    files = [*WEB.glob("templates/*.html"), *WEB.glob("static/js/*.js"), WEB / "shell.py"]
    shown = "\n".join(path.read_text(encoding="utf-8") for path in files)
    assert len(said) > 10
    assert {words for words in said if words not in shown} == set()
