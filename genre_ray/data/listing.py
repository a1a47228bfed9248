"""The files under a folder, on this machine or in object storage, and their bytes. Knows nothing about music."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from genre_ray.errors import CatalogError
from genre_ray.schema import Source

_NOISE = {"thumbs.db", "desktop.ini", ".ds_store", "__macosx"}
"""What Windows and macOS leave in folders; never worth a word."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was listed: path below the root in POSIX form, where to read it, bytes, seconds since the epoch."""

    path: str
    source: Path | str
    size: int
    modified: float

    @property
    def suffix(self) -> str:
        """Lower case, with the dot."""
        return PurePosixPath(self.path).suffix.lower()


@dataclass(frozen=True)
class Listing:
    """Everything under a root: files sorted by path, folders, and names that cannot be used."""

    root: str
    files: tuple[File, ...]
    folders: tuple[str, ...]
    unreadable_names: tuple[str, ...] = ()

    def below(self, folder: str) -> "Listing":
        """The part under `folder`, with paths relative to it; "" is the whole."""
        if not folder:
            return self
        head = folder + "/"
        files = tuple(
            File(file.path[len(head) :], file.source, file.size, file.modified)
            for file in self.files
            if file.path.startswith(head)
        )
        return Listing(self.root, files, tuple(f[len(head) :] for f in self.folders if f.startswith(head)))


def is_uri(source: Source) -> bool:
    """Whether `source` names something like `s3://bucket/key` and not a local path."""
    return isinstance(source, str) and "://" in source


def list_folder(root: str | Path) -> Listing:
    """All files below `root`, a local folder or a URI. Raises CatalogError if it is missing or cannot be listed."""
    return _list_remote(str(root)) if is_uri(str(root)) else _list_local(Path(root).expanduser())


def read_bytes(source: Source) -> bytes:
    """The content of a local path or a URI. Raises OSError if it cannot be read."""
    if isinstance(source, bytes):
        return source
    if not is_uri(source):
        return Path(source).read_bytes()
    filesystem, path = _open_filesystem(str(source))
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def _list_local(root: Path) -> Listing:
    if not root.is_dir():
        raise CatalogError(
            f"{root}: no such folder",
            expected="a folder of music, GTZAN as Kaggle packs it, or a manifest",
            remedy="check the path; with no --data at all, the embedded corpus is used",
        )
    files: list[File] = []
    folders: list[str] = []
    unreadable: list[str] = []
    for folder, names in _walk(root):
        place = folder.relative_to(root).as_posix()
        if place != ".":
            folders.append(place)
        for name in names:
            if not _is_utf8(name):
                unreadable.append(os.fsencode(name).decode("utf-8", "backslashreplace"))
                continue
            path = folder / name
            try:
                state = path.stat()
            except OSError:  # a dangling link
                state = None
            size, modified = (state.st_size, state.st_mtime) if state else (0, 0.0)
            files.append(File(path.relative_to(root).as_posix(), path, size, modified))
    return Listing(
        str(root), tuple(sorted(files, key=lambda file: file.path)), tuple(sorted(folders)), tuple(unreadable)
    )


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """os.walk through links, each folder once even where links make a ring, without what systems leave behind."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise CatalogError(f"{error.filename}: cannot be listed", found=str(error.strerror)) from error

    for folder, names_of_folders, names in os.walk(root, followlinks=True, onerror=refuse):
        state = Path(folder).stat()
        if (state.st_dev, state.st_ino) in seen:
            names_of_folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        names_of_folders[:] = sorted(name for name in names_of_folders if not _is_noise(name) and _is_utf8(name))
        yield Path(folder), [name for name in names if not _is_noise(name)]


def _list_remote(root: str) -> Listing:
    filesystem, base = _open_filesystem(root)
    try:
        if filesystem.get_file_info(base).type == arrow_fs.FileType.NotFound:
            raise CatalogError(f"{root}: no such folder", remedy="check bucket, prefix and credentials")
        found = filesystem.get_file_info(arrow_fs.FileSelector(base, recursive=True))
    except (OSError, ArrowException) as error:
        raise CatalogError(
            f"{root}: cannot be listed", found=str(error), remedy="check bucket, prefix and credentials"
        ) from error
    scheme = root.split("://", 1)[0]
    files: list[File] = []
    folders: list[str] = []
    for info in found:
        path = info.path[len(base.rstrip("/")) + 1 :]
        if any(_is_noise(part) for part in path.split("/")):
            continue
        if info.type == arrow_fs.FileType.Directory:
            folders.append(path)
        elif info.type == arrow_fs.FileType.File:
            files.append(File(path, f"{scheme}://{info.path}", info.size, (info.mtime_ns or 0) / 1e9))
    # Object stores have no folders: those that hold files are implied.
    implied = {str(parent) for file in files for parent in PurePosixPath(file.path).parents} - {"."}
    return Listing(root, tuple(sorted(files, key=lambda f: f.path)), tuple(sorted(implied | set(folders))))


def _open_filesystem(uri: str) -> tuple[arrow_fs.FileSystem, str]:
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(uri)
    except (OSError, ValueError, ArrowException) as error:
        raise CatalogError(
            f"{uri}: cannot be opened",
            found=str(error),
            expected="a local folder, or a URI such as s3://bucket/prefix, gs:// or file://",
        ) from error
    return filesystem, path


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NOISE


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
