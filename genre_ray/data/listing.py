"""The files under a folder, on this machine or in object storage. Knows nothing about music, and opens none of them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from pyarrow import ArrowException
from pyarrow import fs as arrow_fs

from genre_ray.errors import CatalogError
from genre_ray.source import is_uri

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
    """Everything under a root: files sorted by path, folders, and what was passed over: fault, name, what was found."""

    root: str
    files: tuple[File, ...]
    folders: tuple[str, ...]
    passed_over: tuple[tuple[str, str, str], ...] = ()

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


def list_folder(root: str | Path) -> Listing:
    """All files below `root`, a local folder or a URI. Raises CatalogError if it is missing or cannot be listed."""
    return _list_remote(str(root)) if is_uri(str(root)) else _list_local(Path(root).expanduser())


def beside(place: str, path: str) -> str:
    """The URI of a file that lies at `path`, as it is called in the storage, below the folder of URI `place`.

    Characters that a URI cannot have are escaped; options such as `?region=...` are kept.
    """
    folder, mark, options = place.partition("?")
    return f"{folder.rstrip('/')}/{quote(path)}{mark}{options}"


def _list_local(root: Path) -> Listing:
    if not root.is_dir():
        raise CatalogError(
            f"{root}: not a folder" if root.exists() else f"{root}: no such folder",
            expected="a folder of music, GTZAN as Kaggle unpacks, or a manifest (.csv, .parquet)",
            remedy="unpack it, or name the folder it lies in" if root.exists() else "check the path",
        )
    files: list[File] = []
    folders: list[str] = []
    passed_over: list[tuple[str, str, str]] = []
    for folder, names in _walk(root, passed_over):
        place = folder.relative_to(root).as_posix()
        if place != ".":
            folders.append(place)
        for name in names:
            path = folder / name
            try:
                state = path.stat()
            except OSError:  # a dangling link
                state = None
            size, modified = (state.st_size, state.st_mtime) if state else (0, 0.0)
            files.append(File(path.relative_to(root).as_posix(), path, size, modified))
    files.sort(key=lambda file: file.path)
    return Listing(str(root), tuple(files), tuple(sorted(folders)), tuple(passed_over))


def _walk(root: Path, passed_over: list[tuple[str, str, str]]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder once, with the names of its files; a folder by its own name before the links that lead to it.

    What systems leave behind is not there. Links that lead to a folder that was read already (a ring, a second name)
    are added to `passed_over`, and so is what cannot be listed or named.
    """
    seen: dict[tuple[int, int], str] = {}
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        place = folder.relative_to(root).as_posix()
        try:
            state = folder.stat()
            first = seen.setdefault((state.st_dev, state.st_ino), place)
            if first != place:
                passed_over.append(("ignored-link", place, f"leads to {'the whole' if first == '.' else first}"))
                continue
            with os.scandir(folder) as found:
                entries = sorted((entry for entry in found if not _is_noise(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise CatalogError(f"{root}: cannot be listed", found=str(error.strerror)) from error
            passed_over.append(("unreadable-folder", place, str(error.strerror)))
            continue
        names: list[str] = []
        for entry in entries:
            path, is_folder = folder / entry.name, _is_folder(entry)
            if not _is_utf8(entry.name):
                passed_over.append(("unreadable-name", _shown(path, root, is_folder), ""))
            elif is_folder:
                (links if entry.is_symlink() else folders).append(path)
            else:
                names.append(entry.name)
        yield folder, names


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _shown(path: Path, root: Path, is_folder: bool) -> str:
    """A name that is not UTF-8 in letters that can be printed."""
    name = path.relative_to(root).as_posix() + "/" * is_folder
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _list_remote(root: str) -> Listing:
    remedy = "check bucket, prefix and credentials; a space is written %20"
    try:
        filesystem, base = arrow_fs.FileSystem.from_uri(root)
        if filesystem.get_file_info(base).type == arrow_fs.FileType.NotFound:
            raise CatalogError(f"{root}: no such folder", remedy=remedy)
        found = filesystem.get_file_info(arrow_fs.FileSelector(base, recursive=True))
    except (OSError, ValueError, ArrowException) as error:
        expected = "a local folder, or a URI such as s3://bucket/prefix or gs://bucket/prefix"
        raise CatalogError(f"{root}: cannot be listed", found=str(error), expected=expected, remedy=remedy) from error
    files: list[File] = []
    folders: list[str] = []
    for info in found:
        path = info.path[len(base.rstrip("/")) + 1 :]
        if any(_is_noise(part) for part in path.split("/")):
            continue
        if info.type == arrow_fs.FileType.Directory:
            folders.append(path)
        elif info.type == arrow_fs.FileType.File:
            files.append(File(path, beside(root, path), info.size, (info.mtime_ns or 0) / 1e9))
    # Object stores have no folders: those that hold files are implied.
    implied = {str(parent) for file in files for parent in PurePosixPath(file.path).parents} - {"."}
    return Listing(root, tuple(sorted(files, key=lambda f: f.path)), tuple(sorted(implied | set(folders))))


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NOISE


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
