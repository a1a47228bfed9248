"""Rows of a CSV or Parquet table as dictionaries. Knows nothing about tracks."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from genre_ray.errors import CatalogError, TrackError
from genre_ray.schema import Source
from genre_ray.source import read_bytes

_MAX_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Table:
    """Column names as they stand in the file, stripped, and the rows; a short row lacks its last columns."""

    origin: str
    columns: tuple[str, ...]
    rows: Sequence[dict[str, object]]

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
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise CatalogError(
            f"{origin}: not valid CSV", found=str(error), remedy="save the table again as CSV"
        ) from error
    lines = [line for line in lines if any(cell.strip() for cell in line)]
    if not lines:
        raise CatalogError(f"{origin}: empty", expected="a header line and rows")
    columns = tuple(name.strip() for name in lines[0])
    return Table(origin, columns, list(_rows(columns, lines[1:])))


def _rows(columns: tuple[str, ...], lines: list[list[str]]) -> Iterator[dict[str, object]]:
    for line in lines:
        yield {column: cell.strip() for column, cell in zip(columns, line, strict=False)}


def _parquet(content: bytes, origin: str) -> Table:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{origin}: not a Parquet file", found=str(error)) from error
    return Table(origin, tuple(table.column_names), table.to_pylist())
