"""The messages of `genre.proto`, built when they are asked for.

Code that protoc generates is tied to one version of protobuf. A test compares this table with the file.
Knows nothing about Ray.
"""

import functools
from types import SimpleNamespace
from typing import Any

PACKAGE = "genre_ray.v1"
SERVICE = f"{PACKAGE}.GenreService"
METHODS: dict[str, tuple[str, str]] = {
    "Predict": ("PredictRequest", "PredictReply"),
    "PredictAudio": ("PredictAudioRequest", "PredictReply"),
    "Model": ("ModelRequest", "ModelReply"),
}
"""Method to request and reply."""

_MESSAGES: dict[str, list[str]] = {
    "PredictRequest": ["bytes figure", "repeated double features", "uint32 top_k"],
    "PredictAudioRequest": ["bytes audio", "uint32 top_k", "double clip_s"],
    "LabelScore": ["string label", "double score"],
    "PredictReply": [
        "string label",
        "double score",
        "bool unsure",
        "repeated LabelScore predictions",
        "string model",
        "string version",
        "string request_id",
    ],
    "ModelRequest": [],
    "ModelReply": ["string name", "string version", "repeated string labels"],
}
"""Fields in the order of their numbers, from 1."""


@functools.cache
def messages() -> Any:
    """The message classes as attributes."""
    from google.protobuf import descriptor_pool, message_factory  # type: ignore[import-untyped]  # no stubs here

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file_descriptor())
    made = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }
    return SimpleNamespace(**made)


def file_descriptor() -> Any:
    """The FileDescriptorProto of `genre.proto`."""
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(name="genre_ray/serve/grpc_api/genre.proto", package=PACKAGE)
    file.syntax = "proto3"
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, start=1):
            _add_field(message, field, number)
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for method, (request, reply) in METHODS.items():
        service.method.add(name=method, input_type=f".{PACKAGE}.{request}", output_type=f".{PACKAGE}.{reply}")
    return file


def _add_field(message: Any, field: str, number: int) -> None:
    kind, name = field.split()[-2:]
    added = message.field.add(name=name, number=number, json_name=_camel(name))
    added.label = added.LABEL_REPEATED if field.startswith("repeated ") else added.LABEL_OPTIONAL
    if kind in _MESSAGES:
        added.type, added.type_name = added.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        added.type = getattr(added, f"TYPE_{kind.upper()}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
