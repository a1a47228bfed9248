"""What no cluster file may hold anywhere: places still to be filled in, and secrets. Knows no kind of file."""

import re
from collections.abc import Iterator, Mapping

from genre_ray.cluster.problem import Problem, inside

PLACEHOLDER = "FILL_IN"
"""Marks the places in the shipped files that only their user can fill in."""

_HINTS = {
    "sg-FILL_IN": "the output SecurityGroupId of cluster/aws-foundation.json",
    "FILL_IN_BUCKET": "the name of your bucket, see cluster/README.md",
    "FILL_IN_SUBNET": "your project, and a subnet whose firewall lets SSH in from your address only",
    "FILL_IN_PROJECT": "the id of your Google Cloud project",
    "FILL_IN_ACCOUNT": "the id of your AWS account",
    "FILL_IN_HEAD": "the address of the head, reachable from here and from the workers",
    "FILL_IN_WORKER": "the address of a worker, reachable from the head",
    "FILL_IN_USER": "your user name on those machines",
    "FILL_IN_IMAGE": "the name of the image built from cluster/Dockerfile, with its tag",
}

_SECRETS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a password in a URL": re.compile(r"://[^/\s:@]+:[^/\s:@$]+@"),
    "a secret in a command": re.compile(
        r"(?i)\b[\w-]*(secret|password|passwd|api_key|access_key|auth_token)[\w-]*=['\"]?(?!['\"]?[$~/.<])[^\s'\"]{6,}"
    ),
}
_SECRET_KEY = re.compile(
    r"(?i)(password|passwd|secret_?access_?key|aws_secret\w*|access_?key_?(id|secret)?|api_?key|auth_?token)$"
)
_SECRET_REMEDY = "take it out of the file: use an instance profile, a Kubernetes Secret, or a file that is copied along"  # noqa: S105


def scan(value: object) -> Iterator[Problem]:
    """Placeholders and secrets in all the text under `value`, in the order of the file.

    What a YAML alias repeats is reported at its first place only.
    """
    yield from _scan(value, "", set())


def holds_placeholder(value: object) -> bool:
    """Whether text still waits to be filled in; its form is not worth a second complaint."""
    return isinstance(value, str) and PLACEHOLDER in value


def _scan(value: object, place: str, seen: set[int]) -> Iterator[Problem]:
    if isinstance(value, Mapping | list):
        if id(value) in seen:
            return
        seen.add(id(value))
    if isinstance(value, Mapping):
        for key, part in value.items():
            here = inside(place, key)
            if _SECRET_KEY.search(str(key)) and isinstance(part, str) and part and not _is_path(key, part):
                yield Problem(field=here, what="looks like a secret", remedy=_SECRET_REMEDY)
            else:
                yield from _scan(part, here, seen)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _scan(part, inside(place, index), seen)
    elif isinstance(value, str):
        yield from _text(value, place)


def _is_path(key: object, value: str) -> bool:
    """A key that is a path itself is a mount, and its value the path of what is mounted."""
    return value.startswith(("~", "/", "$")) or str(key).startswith(("~", "/"))


def _text(text: str, place: str) -> Iterator[Problem]:
    if PLACEHOLDER in text:
        hint = next((said for word, said in _HINTS.items() if word in text), "see cluster/README.md")
        yield Problem(field=place, what="still to be filled in", value=text, remedy=f"write {hint}")
    for what, pattern in _SECRETS.items():
        if pattern.search(text):
            # The value is not repeated: a report may be pasted anywhere.
            yield Problem(field=place, what=f"holds {what}", remedy=_SECRET_REMEDY)
