"""Hosts, ports, URIs and import paths as text in a file: what is wrong with their form. Asks no network.

Each function says what is wrong, with the remedy, or None.
"""

import difflib
import importlib
import ipaddress
import re
from collections.abc import Iterable

PACKAGE = "genre_ray"
LAST_PORT = 65535

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*{_LABEL}")
_ROUTE = re.compile(r"/|(/[\w.~-]+)+")
_IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*[:.][A-Za-z_]\w*")
_BROKEN = re.compile(r"(?<![\w/.:-])(s3a?|gs|gcs|abfss?|hdfs|https?)(:/(?!/)|/{2,}|/:)", re.IGNORECASE)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


def host_fault(value: object) -> str | None:
    """A host to listen on or to reach: an IP address, or a name that is not an address misspelt."""
    if not isinstance(value, str):
        return "not text; give an IP address or a host name"
    try:
        ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        if re.match(r"\d+\.", value) or not _HOST.fullmatch(value):
            return "no address; give an IP address or a host name, without a port"
    return None


def port_fault(value: object) -> str | None:
    """A port number, 1 to 65535."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LAST_PORT:
        return f"no port; give a whole number from 1 to {LAST_PORT}"
    return None


def route_fault(value: object) -> str | None:
    """A path of a URL, begun with a slash and not ended with one."""
    if not isinstance(value, str) or not _ROUTE.fullmatch(value):
        return "no path; begin it with /, end it without, and use letters, digits, -, _, . and ~ between"
    return None


def uri_fault(text: object, schemes: Iterable[str] = ()) -> str | None:
    """A URI anywhere in a text with a slash too few, a bucket that cannot be, or a scheme outside `schemes`, if any."""
    if not isinstance(text, str):
        return None
    if broken := _BROKEN.search(text):
        return f"two slashes belong after {broken[1]}: ; write {broken[1]}://..."
    allowed = tuple(schemes)
    for scheme, bucket in re.findall(r"\b(s3a?|gs|gcs)://([^/\s'\"]*)", text):
        if allowed and scheme not in allowed:
            return f"{scheme}:// cannot be reached with the identity of these machines; write {allowed[0]}://..."
        if not _BUCKET.fullmatch(bucket) and not re.search(r"FILL_IN|\$", bucket):
            return f"{bucket!r} is no bucket; use small letters, digits and -, at least 3"
    return None


def import_fault(path: object) -> str | None:
    """A function that a file names, `module:name` or `module.name`. Only what is of this package is imported."""
    if not isinstance(path, str) or not _IMPORT.fullmatch(path):
        return "no import path; write module:name"
    module, name = path.split(":") if ":" in path else path.rsplit(".", 1)
    top = module.split(".")[0]
    if top != PACKAGE:
        near = difflib.SequenceMatcher(None, top, PACKAGE).ratio() > 0.8
        return f"cannot be imported; did you mean {PACKAGE}{module.removeprefix(top)}?" if near else None
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        return f"cannot be imported: {error}; write module:name"
    if hasattr(found, name):
        return None
    return f"{module} has no {name}; {nearest(name, [word for word in vars(found) if not word.startswith('_')])}"


def nearest(word: object, known: Iterable[str]) -> str:
    """The nearest of the known words as a remedy, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known there: {', '.join(names[:30])}"


def with_value(fault: str, value: object) -> str:
    """A fault with the value that has it, before the remedy."""
    what, _, remedy = fault.partition("; ")
    return f"{what} (value {value!r:.80}); {remedy}"
