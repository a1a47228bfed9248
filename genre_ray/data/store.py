"""Finished Parquet shards in a folder or bucket: each whole or not there, and each with a list of what it holds.

Knows nothing about clips, predictions or Ray.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from genre_ray.errors import RunError

logger = logging.getLogger(__name__)

_ENTRIES = "genre_ray.entries"
_SUFFIX = ".parquet"
_GROUP_BYTES = 16 * 1024**2
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One track in a shard: rows `first` to `first + rows`, or no rows and the kind and message of its error.

    `key` says what the rows were made from; the same track with another key is another entry.
    """

    track: str
    key: str
    first: int = 0
    rows: int = 0
    kind: str | None = None
    message: str | None = None


class ShardWriter:
    """Gathers tables of one schema into a Parquet file, a row group at a time, so that memory stays bounded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._waiting: list[pa.Table] = []
        self._bytes = 0
        self._parquet: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        """Append the rows of `table`. OSError when they cannot be written."""
        self._waiting.append(table)
        self._bytes += table.nbytes
        self.rows += table.num_rows
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def finish(self, entries: Sequence[Entry], metadata: Mapping[str, str] | None = None) -> None:
        """Write what is left, the list of what the shard holds, and whatever else is to be known about it."""
        if self._parquet is None and not self._waiting:
            self._waiting.append(pa.table({"track": pa.array([], pa.string())}))
        self._flush()
        assert self._parquet is not None
        rows = [list(asdict(entry).values()) for entry in entries]
        self._parquet.add_key_value_metadata({_ENTRIES: json.dumps(rows, separators=(",", ":")), **(metadata or {})})
        self._parquet.close()

    def abandon(self) -> None:
        """Close and remove the file."""
        if self._parquet is not None:
            with suppress(OSError):  # a full disk is what led here
                self._parquet.close()
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).combine_chunks()  # Parquet writes one chunk at twice the speed of many
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(
                self.path,
                table.schema,
                compression="lz4",  # halves pictures at the speed of memory; zstd would halve the reading speed
                use_dictionary=["track", "label"],
                write_statistics=["track"],
                write_page_checksum=True,
            )
        self._parquet.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._bytes = [], 0


@dataclass(frozen=True, slots=True)
class Store:
    """The shards at `location`, a local folder or a URI such as `s3://bucket/prefix`. Small enough to send anywhere."""

    location: str

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine (or one that is mounted here)."""
        return isinstance(_open(self.location)[0], fs.LocalFileSystem)

    def names(self) -> list[str]:
        """Finished shards, sorted; none where the location is not there yet."""
        filesystem, root = _open(self.location)
        found = filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True))
        names = [info.base_name for info in found if info.type == fs.FileType.File]
        return sorted(name for name in names if name.endswith(_SUFFIX) and not name.startswith("."))

    def has(self, name: str) -> bool:
        """Whether the shard is finished."""
        filesystem, root = _open(self.location)
        return bool(filesystem.get_file_info(f"{root}/{name}").type == fs.FileType.File)

    def metadata(self, name: str) -> dict[str, str]:
        """What is to be known about a shard; empty when it cannot be read."""
        try:
            with self._reading(name) as parquet:
                found = parquet.metadata.metadata or {}
        except (pa.ArrowException, OSError):
            return {}
        return {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in found.items()}

    def entries(self, name: str) -> tuple[Entry, ...] | None:
        """What a shard holds; None when it cannot be read as one, so that it is made again."""
        try:
            with self._reading(name) as parquet:
                listed = (parquet.metadata.metadata or {}).get(_ENTRIES.encode())
                return None if listed is None else tuple(Entry(*row) for row in json.loads(listed))
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            logger.warning("shard %s/%s cannot be read and will be made again: %s", self.location, name, error)
            return None

    def schema(self, name: str) -> pa.Schema:
        """Columns and metadata of a shard's rows. RunError when it is damaged."""
        with self._reading_or_refusing(name) as parquet:
            return parquet.schema_arrow

    def groups(self, name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a shard in their order, a row group at a time. RunError when it is damaged."""
        with self._reading_or_refusing(name) as parquet:
            for i in range(parquet.num_row_groups):
                yield parquet.read_row_group(i, columns=columns)

    @contextmanager
    def writing(self, name: str) -> Iterator[ShardWriter]:
        """A writer for the shard `name`, which appears under its name when the block ends well, and never in part."""
        filesystem, root = _open(self.location)
        local = isinstance(filesystem, fs.LocalFileSystem)
        if local:
            Path(root).mkdir(parents=True, exist_ok=True)
        folder = Path(root) if local else Path(tempfile.gettempdir())
        writer = ShardWriter(folder / f".{name}.{uuid4().hex}.tmp")
        try:
            yield writer
            if local:
                writer.path.replace(Path(root) / name)
            else:
                # An object appears when its upload is complete; until then there is none.
                fs.copy_files(str(writer.path), f"{root}/{name}", fs.LocalFileSystem(), filesystem)
        finally:
            writer.abandon()

    def remove(self, name: str) -> None:
        """Remove a shard; nothing happens where there is none."""
        if self.has(name):
            filesystem, root = _open(self.location)
            filesystem.delete_file(f"{root}/{name}")

    def remove_all(self) -> None:
        """Remove the location with all that is in it."""
        filesystem, root = _open(self.location)
        if filesystem.get_file_info(root).type == fs.FileType.Directory:
            filesystem.delete_dir(root)

    def sweep(self) -> None:
        """Remove what runs that were killed more than a day ago left half-written."""
        filesystem, root = _open(self.location)
        if not isinstance(filesystem, fs.LocalFileSystem) or not Path(root).is_dir():
            return
        for path in Path(root).glob(".*.tmp"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)

    def below(self, name: str) -> "Store":
        """The store in a folder below this one."""
        return Store(under(self.location, name))

    @contextmanager
    def _reading(self, name: str) -> Iterator[pq.ParquetFile]:
        filesystem, root = _open(self.location)
        with (
            filesystem.open_input_file(f"{root}/{name}") as stream,
            pq.ParquetFile(stream, page_checksum_verification=True) as parquet,
        ):
            yield parquet

    @contextmanager
    def _reading_or_refusing(self, name: str) -> Iterator[pq.ParquetFile]:
        try:
            with self._reading(name) as parquet:
                yield parquet
        except (pa.ArrowException, OSError) as error:
            raise RunError(
                f"shard {self.location}/{name} is damaged",
                found=str(error),
                expected="a Parquet file that reads to its end",
                remedy="remove the file: what it held is made again",
            ) from error


def under(location: str | Path, name: str) -> str:
    """The place `name` below a folder or URI; what stands behind a `?` in the URI stays behind it."""
    place, mark, options = str(location).partition("?") if "://" in str(location) else (str(location), "", "")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


@lru_cache(maxsize=64)
def _open(location: str) -> tuple[fs.FileSystem, str]:
    """File system and path of a location. RunError when it cannot be one."""
    if "://" not in location:
        return fs.LocalFileSystem(), os.path.abspath(Path(location).expanduser())  # noqa: PTH100 - no resolving of links
    try:
        filesystem, root = fs.FileSystem.from_uri(location)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RunError(
            f"{location} cannot be opened",
            found=str(error),
            expected="a folder, or a URI such as s3://bucket/prefix",
            remedy="check the URI and the credentials",
        ) from error
    return filesystem, root.rstrip("/")
