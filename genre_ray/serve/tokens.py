"""Bearer tokens: where they come from, and comparison in constant time. Knows nothing about HTTP servers or Ray."""

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from genre_ray.errors import ConfigError

TOKENS = "GENRE_RAY_TOKENS"
"""Environment: one or more tokens, separated by commas."""

TOKENS_FILE = "GENRE_RAY_TOKENS_FILE"
"""Environment: a file with one token a line; empty lines and lines that begin with # do not count."""

_SHORTEST = 16


class Tokens:
    """The accepted tokens, kept as digests only."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def key_of(self, authorization: str) -> str | None:
        """A short name for the token of an `Authorization` header, or None when it is not an accepted one.

        Every token is compared, whether or not one matched before: the time tells nothing.
        """
        scheme, _, given = authorization.partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        matched = False
        for known in self._digests:
            matched |= hmac.compare_digest(known, digest)
        return digest.hex()[:12] if matched and scheme.lower() == "bearer" else None


def tokens_from_environment() -> Tokens:
    """The tokens of TOKENS and TOKENS_FILE; ConfigError for an unreadable file or a token that is too short."""
    found = [token.strip() for token in os.environ.get(TOKENS, "").split(",")]
    path = os.environ.get(TOKENS_FILE)
    if path:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{TOKENS_FILE}: cannot be read", found=str(error)) from error
        found += [line.strip() for line in lines if not line.lstrip().startswith("#")]
    tokens = [token for token in found if token]
    if any(len(token) < _SHORTEST for token in tokens):
        raise ConfigError(
            "a bearer token is too short",
            expected=f"at least {_SHORTEST} characters",
            remedy="make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return Tokens(tokens)


def is_loopback(host: str | None) -> bool:
    """Whether a service bound to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_token_beyond_loopback(auth: str, host: str | None, tokens: Tokens) -> bool:
    """Whether requests must carry a token; ConfigError when they must and no token is configured."""
    required = auth == "token" or (auth == "loopback" and (bool(tokens) or not is_loopback(host)))
    if required and not tokens:
        raise ConfigError(
            "the service can be reached from other machines, and no token is configured",
            found=f"http_options.host {host}, security.auth {auth}",
            expected=f"a token in {TOKENS} or {TOKENS_FILE}, or http_options.host 127.0.0.1",
            remedy=f"export {TOKENS}=$(python -c 'import secrets; print(secrets.token_urlsafe(32))'), "
            "or set args.security.auth: off where a gateway in front asks for one",
        )
    return required
