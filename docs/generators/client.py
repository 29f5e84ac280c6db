"""The page of the Python client: its classes with signatures and docstrings, read from the code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

HEAD = """# The Python client

`from imprint import Client`: the service from Python, over HTTP only. Nothing heavy is imported, and numpy only where there are
vectors. Pictures are paths, the bytes of image files, or PIL images.

```python
from imprint import Client

with Client() as client:
    print(client.ready(), [encoder.id for encoder in client.encoders()])
```
"""


def page() -> str:
    """Client with all that it inherits, the index, the records, the errors."""
    from imprint import client, errors, index, records

    parts = [HEAD, _class(client.Client), _class(index.Index)]
    parts.append("## What it answers with\n")
    parts.append("Frozen dataclasses. `raw` holds the body as it came, with fields that a newer service adds.\n")
    for record in _own_classes(records):
        parts.append(_record(record))
    parts += [
        _record(index.Found),
        "## What can go wrong\n",
        "```text",
        (errors.__doc__ or "").strip().split("\n\n", 1)[1],
        "```\n",
    ]
    return "\n".join(parts).rstrip() + "\n"


def _own_classes(module: Any) -> list[type]:
    return [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__]


def _class(what: type) -> str:
    parts = [f"## {what.__name__}\n", f"{_clean(what)}\n"]
    listed: dict[str, Any] = {}
    for base in reversed(what.__mro__[:-1]):
        listed.update({name: each for name, each in vars(base).items() if not name.startswith("_") or name == "__init__"})
    own = [name for name in vars(what) if name in listed]
    for name in [*own, *(name for name in listed if name not in own)]:
        each = inspect.getattr_static(what, name)
        if inspect.isfunction(each) and name not in ("parse",):
            title = what.__name__ if name == "__init__" else name
            heading = f"{what.__name__}()" if name == "__init__" else f"{what.__name__}.{name}"
            parts.append(f"### {heading}\n\n```py\n{_signature(title, each)}\n```\n\n{_clean(each)}\n")
    return "\n".join(parts)


def _signature(name: str, function: Any) -> str:
    """As it is written, without self; one line, or one for each parameter."""
    signature = inspect.signature(function)
    told = [each for each in signature.parameters.values() if each.name != "self"]
    shown, star = [], False
    for each in told:
        if each.kind is each.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        shown.append(_parameter(each))
    answer = (
        "" if signature.return_annotation in (None, "None", inspect.Signature.empty) else f" -> {signature.return_annotation}"
    )
    line = f"{name}({', '.join(shown)}){answer}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in shown), f"){answer}"])


def _parameter(each: inspect.Parameter) -> str:
    stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
    default = "" if each.default is each.empty else f" = {each.default!r}"
    return f"{stars}{each.name}: {each.annotation}{default}"


def _record(what: type) -> str:
    """A dataclass: fields with their types, and the sentence that stands below a field in the code."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(what))).body[0]
    assert isinstance(tree, ast.ClassDef)
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for here, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            rows.append(f"| `{ast.unparse(here.target)}` | `{_kind(here.annotation)}` | {_one_line(str(said))} |")
        elif isinstance(here, ast.FunctionDef) and any(ast.unparse(each) == "property" for each in here.decorator_list):
            rows.append(f"| `{here.name}` | `{_kind(here.returns)}` | {_one_line(ast.get_docstring(here) or '')} |")
    return f"### {what.__name__}\n\n{_clean(what)}\n\n" + "\n".join(rows) + "\n"


def _kind(annotation: ast.expr | None) -> str:
    return ast.unparse(annotation).replace(" | ", " or ") if annotation else ""


def _clean(what: Any) -> str:
    return inspect.cleandoc(what.__doc__ or "")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
