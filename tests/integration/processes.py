"""What runs on this machine, by /proc."""

from pathlib import Path


def parents() -> dict[int, int]:
    """Each process and its parent."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # ended meanwhile
            found[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    return found


def below(ancestor: int) -> list[int]:
    """The children of a process, and theirs."""
    above = parents()

    def is_below(pid: int) -> bool:
        while pid in above and pid != ancestor:
            pid = above[pid]
        return pid == ancestor

    return [pid for pid in above if is_below(pid)]


def title(pid: int) -> str:
    """How a process calls itself; empty when it has ended."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
