"""Rows of a CSV or Parquet table as dictionaries. Knows nothing about tracks."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from genre_ray.errors import CatalogError, TrackError
from genre_ray.schema import Source
from genre_ray.source import read_bytes

_MAX_BYTES = 4 * 1024**3
_NOTHING = frozenset({"nan", "NaN"})


@dataclass(frozen=True)
class Table:
    """Column names as they stand in the file, stripped, and the rows; a short row lacks its last columns.

    `places` says where each row stands: "line 7" of a CSV file, as an editor counts, or "row 6" of a Parquet file.
    """

    origin: str
    columns: tuple[str, ...]
    rows: Sequence[dict[str, object]]
    places: Sequence[str]

    @property
    def placed(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Each row behind its place."""
        return zip(self.places, self.rows, strict=True)

    def require(self, columns: Sequence[str]) -> None:
        """Raises CatalogError unless all of `columns` are there."""
        absent = [column for column in columns if column not in self.columns]
        if absent:
            raise CatalogError(
                f"{self.origin}: no column {', '.join(absent)}",
                found=f"columns {', '.join(self.columns[:8])}{', ...' * (len(self.columns) > 8)}",
                expected=f"a header line with {', '.join(columns)}, separated by commas",
            )


def read_table(source: Source, origin: str) -> Table:
    """The table at a path or URI; by its suffix Parquet, else CSV in UTF-8 with any line ends.

    Raises CatalogError if it cannot be read. `origin` names it in messages.
    """
    try:
        content = read_bytes(source, limit=_MAX_BYTES)
    except TrackError as error:
        raise CatalogError(
            f"{origin}: cannot be read", found=error.found, expected=error.expected, remedy=error.remedy
        ) from error
    is_parquet = origin.partition("?")[0].lower().endswith(".parquet")
    return _parquet(content, origin) if is_parquet else _csv(content, origin)


def _csv(content: bytes, origin: str) -> Table:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{origin}: not UTF-8", found=str(error), remedy="save the table as CSV in UTF-8") from error
    if "\0" in text:
        raise CatalogError(f"{origin}: not a text file", found="zero bytes", expected="CSV in UTF-8")
    try:
        lines = [(place, cells) for place, cells in _lines(text) if any(cells)]
    except csv.Error as error:
        raise CatalogError(
            f"{origin}: not valid CSV", found=str(error), remedy="save the table again as CSV"
        ) from error
    if not lines:
        raise CatalogError(f"{origin}: empty", expected="a header line and rows")
    columns = tuple(lines[0][1])
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise CatalogError(f"{origin}: two columns are called {twice[0]}", remedy="leave one of them out")
    rows: list[dict[str, object]] = [dict(zip(columns, cells, strict=False)) for _, cells in lines[1:]]
    return Table(origin, columns, rows, [place for place, _ in lines[1:]])


def _lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """Where each line of the table begins, and its cells, stripped; a quoted cell may hold line ends."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    first = 1
    for cells in reader:
        yield f"line {first}", [cell.strip() for cell in cells]
        first = reader.line_num + 1


def _parquet(content: bytes, origin: str) -> Table:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{origin}: not a Parquet file", found=str(error)) from error
    places = [f"row {number}" for number in range(1, table.num_rows + 1)]
    return Table(origin, tuple(table.column_names), table.to_pylist(), places)


def cell_text(value: object) -> str | None:
    """What a cell says; None where it is empty, or the "nan" that pandas writes into an empty one."""
    text = "" if value is None else str(value).strip()
    return text if text and text not in _NOTHING else None
