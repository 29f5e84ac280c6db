"""What scripts print, taken apart."""

from __future__ import annotations


def tables(printed: str) -> list[list[list[str]]]:
    """The cells of each Markdown table that was printed, header first."""
    found: list[list[list[str]]] = [[]]
    for line in printed.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.split("|")[1:-1]])
        elif found[-1]:
            found.append([])
    return [[row for row in rows if set("".join(row)) - set("-")] for rows in found if rows]
