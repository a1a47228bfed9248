"""The documentation page at /docs, written from the OpenAPI document: HTML without script. Knows nothing about Ray."""

from html import escape
from typing import Any

from genre_ray.serve.problems import TITLES

_MEANINGS: dict[str, str] = {
    "malformed": "JSON, form or headers are not what they say they are. Correct the request.",
    "unauthorised": "Send Authorization: Bearer with one of the service's tokens.",
    "not-found": "Look at the list of paths on this page.",
    "method": "Every path here takes one method only; Allow names it.",
    "slow-body": "The body was not complete in time. Send it without pauses.",
    "too-large": "Too many bytes, pixels, seconds or items. The limits are in GET /v1/model.",
    "unsupported-media": "What a file is, is read from its first bytes; names and declared types do not count.",
    "invalid": "The request was understood, but cannot be answered; found and expected say why.",
    "unusable-figure": "The picture is damaged, of another size, or no spectrogram.",
    "unusable-audio": "The sound cannot be decoded, is too short, or is silent.",
    "unusable-features": "A value is missing, no number, or not finite; found names its column.",
    "rate-limit": "Come again after Retry-After.",
    "overloaded": "Come again after Retry-After; the request was not begun.",
    "not-ready": "The model is loading or its process is being replaced. Come again after Retry-After.",
    "timeout": "The answer took longer than the service allows.",
    "internal": "Our mistake. The log holds the cause under the request's id.",
}


def page(document: dict[str, Any]) -> bytes:
    """HTML for an OpenAPI document of this service."""
    paths = "".join(
        _operation(path, method.upper(), operation, document)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    problems = "".join(
        f'<tr id="{slug}"><th scope="row">{slug}</th><td>{escape(title)}. {escape(_MEANINGS[slug])}</td></tr>'
        for slug, title in TITLES.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>genre_ray: how to ask</title>
<link rel="icon" href="/favicon.ico" type="image/svg+xml"><link rel="stylesheet" href="/static/style.css"></head>
<body class="docs"><header><h1>How to ask</h1><p class="model"><a href="/">The page</a> ·
<a href="/openapi.json">OpenAPI document</a></p></header><main>
<section><h2>In short</h2><pre>{escape(_EXAMPLES)}</pre>
<p>Every answer carries the model's version and the request's id; send X-Request-Id to choose it yourself.</p></section>
{paths}
<section><h2 id="problems">Problems</h2>
<p>Errors are problem documents (RFC 9457), <code>application/problem+json</code>, with what
was found, what is accepted and what to do. Their <code>type</code> points to this table.</p>
<table><tbody>{problems}</tbody></table></section></main></body></html>
""".encode()


_EXAMPLES = """\
curl -X POST localhost:8000/v1/predict/audio --data-binary @track.mp3
curl -X POST 'localhost:8000/v1/predict/audio?top_k=3&over_time=true' --data-binary @track.wav
curl -X POST localhost:8000/v1/predict -F figure=@track.png -F features=@features.json
curl -X POST localhost:8000/v1/audio-classification --data-binary @track.flac
curl localhost:8000/v2/health/ready"""


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    parameters = [
        document["components"]["parameters"][reference["$ref"].rpartition("/")[2]]
        for reference in operation.get("parameters", [])
    ]
    rows = "".join(
        f"<tr><th scope='row'>{escape(parameter['name'])}</th><td>{escape(parameter['description'])}, "
        f"{escape(_range(parameter['schema']))}</td></tr>"
        for parameter in parameters
    )
    bodies = ", ".join(operation.get("requestBody", {}).get("content", {}))
    accepted = f"<p>Body: {escape(bodies)}</p>" if bodies else ""
    options = f"<table><tbody>{rows}</tbody></table>" if rows else ""
    statuses = ", ".join(operation["responses"])
    return (
        f"<section><h2><span class='verb'>{method}</span> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}.</p>{accepted}{options}<p class='quiet'>Answers: {statuses}</p></section>"
    )


def _range(schema: dict[str, Any]) -> str:
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([schema["type"], *bounds])
