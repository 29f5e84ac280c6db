"""A multipart form with one file and a few short fields, whose file goes where it belongs while it arrives.

Starlette's own parser would first put all of it into the system's temporary folder, which may be small, or memory.
"""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import invalid

MOST_FIELDS, LONGEST_FIELD = 10, 4096


class ZipForm:
    """`feed` what arrives; it gives the bytes of the file. `fields` has the others."""

    def __init__(self, content_type: str) -> None:
        """Raises Problem 422 for a form without a boundary."""
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise invalid([("", "the form names no boundary in its Content-Type")])
        self.fields: dict[str, str] = {}
        self.files = 0
        self.whole = False
        self._header = self._value = self._text = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None  # the name of a field that is no file
        self._file: list[bytes] = []
        callbacks: Any = {
            "on_part_begin": self._part,
            "on_header_field": lambda data, start, end: self._add("_header", data[start:end]),
            "on_header_value": lambda data, start, end: self._add("_value", data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._body,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._ends,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> bytes:
        """Bytes of the file that were in `data`. Raises Problem 422."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise invalid([("", f"the form cannot be read: {error}")]) from None
        found = b"".join(self._file)
        self._file.clear()
        return found

    def finish(self) -> None:
        """Whether all of it was there, with one file. Raises Problem 422."""
        if not self.whole:
            raise invalid([("", "the form is cut off")])
        if self.files != 1:
            raise invalid([("/file", f"{self.files} files were sent; send one, a ZIP, in the field 'file'")])

    def _add(self, what: str, data: bytes) -> None:
        grown = getattr(self, what) + data
        if len(grown) > LONGEST_FIELD:
            raise invalid([("", f"a field of the form, or its head, has more than {LONGEST_FIELD} bytes")])
        setattr(self, what, grown)

    def _part(self) -> None:
        self._header = self._value = self._text = b""
        self._headers = {}

    def _header_ends(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _body(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._field = None if b"filename" in options else name
        if self._field is None:
            self.files += 1
            if name != "file" or self.files > 1:
                raise invalid([(f"/{name}", "is a file; send one, a ZIP, in the field 'file'")])
        elif len(self.fields) >= MOST_FIELDS:
            raise invalid([("", f"the form has more than {MOST_FIELDS} fields")])

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._file.append(data[start:end])
        else:
            self._add("_text", data[start:end])

    def _part_ends(self) -> None:
        if self._field is not None:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _ends(self) -> None:
        self.whole = True
