"""The service described: OpenAPI 3.1, and the metadata of the Open Inference Protocol. Knows nothing about Ray."""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

import orjson

from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.serve import documentation
from genre_ray.serve.pages import Asset
from genre_ray.serve.problems import CONTENT_TYPE, TITLES, TYPE_PREFIX
from genre_ray.serve.protocol import AUDIO_OPTIONS, FIGURE_OPTIONS, ITEM_OPTIONS, LIST_OPTIONS
from genre_ray.serve.settings import Limits, ServeArgs

_JSON = "application/json"
_AUDIO_TYPES = ("audio/mpeg", "audio/wav", "audio/flac", "audio/ogg", "audio/mp4", "application/octet-stream")


def assets(args: ServeArgs) -> dict[str, Asset]:
    """The document at /openapi.json, and for people at /docs."""
    described = document(args)
    return {
        "/openapi.json": Asset.of(orjson.dumps(described), _JSON),
        "/docs": Asset.of(documentation.page(described), "text/html; charset=utf-8"),
    }


def document(args: ServeArgs) -> dict[str, Any]:
    """OpenAPI 3.1 of the service that `args` describes."""
    limits = args.limits
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "genre_ray",
            "version": version("genre_ray"),
            "description": "Music genre from a mel spectrogram figure with 57 features, or from a recording.",
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}],
        "paths": _posts(limits) | _gets(args.name),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(limits),
            "responses": {"Problem": _problem_response()},
            "parameters": {parameter["name"]: parameter for parameter in _option_parameters()},
        },
    }


def _posts(limits: Limits) -> dict[str, Any]:
    figure = {
        "multipart/form-data": {
            "schema": _object(
                {
                    "figure": {"type": "string", "format": "binary"},
                    "features": {"$ref": "#/components/schemas/Features"},
                }
            ),
            "encoding": {"figure": {"contentType": "image/png, image/jpeg"}, "features": {"contentType": _JSON}},
        },
        _JSON: {"schema": {"$ref": "#/components/schemas/FigureRequest"}},
    }
    audio: dict[str, Any] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _AUDIO_TYPES}
    audio["multipart/form-data"] = {"schema": _object({"audio": {"type": "string", "format": "binary"}}, ["audio"])}
    audio[_JSON] = {"schema": {"$ref": "#/components/schemas/AudioRequest"}}
    hugging_face = {"type": "array", "items": {"$ref": "#/components/schemas/Label"}}
    return {
        "/v1/predict": _post("A figure and its features", "predict", figure, "Answer", FIGURE_OPTIONS),
        "/v1/predict/audio": _post("A recording", "predictAudio", audio, "Answer", AUDIO_OPTIONS),
        "/v1/predict/batch": _post(
            f"Up to {limits.max_batch_items} figures; one bad item never fails the others",
            "predictBatch",
            {_JSON: {"schema": {"$ref": "#/components/schemas/BatchRequest"}}},
            "BatchAnswer",
            (),
        ),
        "/v1/audio-classification": _post(
            "A recording, answered in the shape that Hugging Face's clients read",
            "audioClassification",
            audio,
            hugging_face,
            LIST_OPTIONS,
        ),
    }


def _post(
    summary: str, operation: str, content: dict[str, Any], answer: str | dict[str, Any], options: Collection[str]
) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{answer}"} if isinstance(answer, str) else answer
    refusals = ("400", "401", "408", "413", "414", "415", "422", "429", "503", "504")
    return {
        "post": {
            "summary": summary,
            "operationId": operation,
            "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in options],
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "The answer", "content": {_JSON: {"schema": schema}}}}
            | {status: {"$ref": "#/components/responses/Problem"} for status in refusals},
        }
    }


def _gets(name: str) -> dict[str, Any]:
    paths = {
        "/v1/model": ("What the model is, and what the service accepts", "model"),
        "/v2": ("Server metadata (Open Inference Protocol)", "serverMetadata"),
        "/v2/health/live": ("Whether the process answers", "live"),
        "/v2/health/ready": ("Whether the model is warm", "ready"),
        f"/v2/models/{name}": ("Model metadata (Open Inference Protocol)", "modelMetadata"),
        f"/v2/models/{name}/ready": ("Whether this model is warm", "modelReady"),
    }
    answer = {"description": "The document", "content": {_JSON: {"schema": {"type": "object"}}}}
    problem = {"$ref": "#/components/responses/Problem"}
    return {
        path: {
            "get": {
                "summary": summary,
                "operationId": operation,
                "responses": {"200": answer, "404": problem, "503": problem},
            }
        }
        for path, (summary, operation) in paths.items()
    }


def _problem_response() -> dict[str, Any]:
    return {
        "description": "Why there is no answer (RFC 9457); 429 and 503 say in Retry-After when to come again",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds"}},
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _option_parameters() -> list[dict[str, Any]]:
    described: dict[str, tuple[str, dict[str, Any]]] = {
        "top_k": ("Only so many of the best labels", {"type": "integer", "minimum": 1, "maximum": 1000}),
        "threshold": ("Only labels of at least this probability", {"type": "number", "minimum": 0, "maximum": 1}),
        "explain": ("What in the spectrogram spoke for the answer", {"type": "boolean"}),
        "over_time": ("The genres' course through the recording", {"type": "boolean"}),
        "clip_s": ("Window in seconds, instead of the model's own", {"type": "number", "minimum": 1, "maximum": 120}),
        "function_to_apply": ("How scores are made; softmax is what is done", {"type": "string", "enum": ["softmax"]}),
    }
    return [
        {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
        for name, (text, schema) in described.items()
    ]


def _schemas(limits: Limits) -> dict[str, Any]:
    number, text = {"type": "number"}, {"type": "string"}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    base64 = {"type": "string", "contentEncoding": "base64"}
    features = {"$ref": "#/components/schemas/Features"}
    figure = {"figure": base64, "features": features}
    ranked = {name: {"$ref": f"#/components/parameters/{name}/schema"} for name in ITEM_OPTIONS}
    label = _object({"label": text, "score": probability}, ["label", "score"])
    model = _object({"name": text, "version": text}, ["name", "version"])
    row = {
        "label": text,
        "score": probability,
        "unsure": {"type": "boolean"},
        "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Label"}},
        "probabilities": {"type": "object", "additionalProperties": probability},
    }
    item = {"id": text, "model": model, "problem": {"$ref": "#/components/schemas/Problem"}}
    required = ["label", "score", "unsure", "predictions", "probabilities"]
    extras = {"over_time": {"type": "object"}, "explanation": {"type": "object"}}
    return {
        "Features": {
            "description": "The numeric columns of GTZAN's features_30_sec.csv, by name or in their order",
            "oneOf": [
                _object({name: number for name in FEATURE_COLUMNS}, list(FEATURE_COLUMNS)),
                {"type": "array", "items": number, "minItems": 57, "maxItems": 57},
            ],
        },
        "Label": label,
        "FigureRequest": _object(figure),
        "AudioRequest": _object({"audio": base64}, ["audio"]),
        "BatchRequest": _object(
            {
                "items": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": limits.max_batch_items,
                    "items": _object({"id": {"type": "string", "maxLength": 128}} | figure | ranked),
                }
            },
            ["items"],
        ),
        "Answer": _object(row | extras | {"model": model, "request_id": text}, [*required, "model", "request_id"]),
        "BatchAnswer": _object(
            {
                "items": {"type": "array", "items": _object(item | row, ["id"])},
                "answered": {"type": "integer"},
                "failed": {"type": "integer"},
                "model": model,
                "request_id": text,
            },
            ["items", "answered", "failed", "model", "request_id"],
        ),
        "Problem": _object(
            {
                "type": {"type": "string", "enum": [TYPE_PREFIX + slug for slug in TITLES]},
                "title": text,
                "status": {"type": "integer"},
                "detail": text,
                "found": text,
                "expected": text,
                "remedy": text,
                "kind": text,
                "instance": text,
                "request_id": text,
            },
            ["type", "title", "status", "detail"],
        ),
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def server_metadata() -> dict[str, Any]:
    """Open Inference Protocol v2: server metadata."""
    return {"name": "genre_ray", "version": version("genre_ray"), "extensions": []}


def model_metadata(name: str, card: dict[str, Any]) -> dict[str, Any]:
    """Open Inference Protocol v2: model metadata; tensors as the network sees them, the versions that answer now."""
    inputs = []
    if card["spectrogram"] is not None:
        shape = [-1, 3, card["size"], card["size"]] if card["spectrogram"] == "figure" else [-1, 1, 128, -1]
        inputs.append({"name": "spectrogram", "datatype": "UINT8", "shape": shape})
    if card["features"]:
        inputs.append({"name": "features", "datatype": "FP64", "shape": [-1, len(FEATURE_COLUMNS)]})
    return {
        "name": name,
        "versions": [card["version"]],
        "platform": "pytorch",
        "inputs": inputs,
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, len(card["labels"])]}],
        "parameters": {"labels": card["labels"]},
    }
