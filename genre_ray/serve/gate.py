"""Who may ask, and how often: a bearer token and a rate for each. Knows nothing about HTTP, gRPC or Ray."""

from genre_ray.serve.admission import Rates
from genre_ray.serve.problems import Refusal
from genre_ray.serve.settings import Security
from genre_ray.serve.tokens import Tokens

ANYONE = "anyone"
"""The key of all who ask where no token is required: they share one rate."""


class Gate:
    """Lets a request in by its `Authorization`, whichever way it came."""

    def __init__(self, security: Security, tokens: Tokens | None = None, *, token_required: bool = False) -> None:
        self._tokens = tokens or Tokens(())
        self._token_required = token_required
        self._per_s = security.rate_limit_per_s
        self._rates = None if self._per_s is None else Rates(per_s=self._per_s, burst=security.rate_burst)

    def admit(self, authorization: str) -> str:
        """The key of whoever asks. Refusal 401 without an accepted token, 429 beyond the key's rate."""
        key = self._key_of(authorization) if self._token_required else ANYONE
        if self._rates is not None and (wait_s := self._rates.wait_s(key)) > 0:
            raise Refusal(
                429,
                "rate-limit",
                "too many requests with this key",
                expected=f"{self._per_s:g} requests a second",
                retry_after_s=max(1, round(wait_s + 0.5)),
            )
        return key

    def _key_of(self, authorization: str) -> str:
        key = self._tokens.key_of(authorization)
        if key is None:
            raise Refusal(
                401,
                "unauthorised",
                "this service asks for a bearer token",
                found="another token" if authorization else "no Authorization header",
                expected="Authorization: Bearer <token>",
                headers={"www-authenticate": 'Bearer realm="genre_ray"'},
            )
        return key
