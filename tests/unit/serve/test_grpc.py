import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genre_ray.serve.engine import Engine
from genre_ray.serve.gate import Gate
from genre_ray.serve.grpc_api import messages as module
from genre_ray.serve.grpc_api.servicing import Servicing
from genre_ray.serve.local import LocalBackend
from genre_ray.serve.tokens import Tokens

PROTO = Path(module.__file__).with_name("genre.proto")


class Context:
    def __init__(self, **metadata: str) -> None:
        self.metadata = metadata
        self.code: Any = None
        self.details = ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return list(self.metadata.items())

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


@pytest.fixture
def servicing(engine: Engine) -> Servicing:
    return Servicing(LocalBackend(engine), engine.args, Gate(engine.args.security))


def test_the_messages_are_those_of_the_proto_file(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc", reason="needs grpcio-tools")
    from google.protobuf import descriptor_pb2

    out = tmp_path / "set"
    root = PROTO.parents[3]
    assert protoc.main(["protoc", f"-I{root}", f"--descriptor_set_out={out}", str(PROTO)]) == 0
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    assert module.file_descriptor() == compiled


def test_a_figure_is_answered(servicing: Servicing, figure: bytes, features: dict[str, float], engine: Engine) -> None:
    request = module.messages().PredictRequest(figure=figure, features=list(features.values()), top_k=2)
    reply = asyncio.run(servicing.predict(request, Context()))
    again = type(reply).FromString(reply.SerializeToString())
    assert again.version == engine.version
    assert len(again.predictions) == 2
    assert again.predictions[0].label == again.label
    assert np.isclose(again.predictions[0].score, again.score, atol=1e-5)


def test_a_refusal_is_a_status_code_with_its_reason(servicing: Servicing, figure: bytes) -> None:
    context = Context()
    request = module.messages().PredictRequest(figure=b"GIF89a", features=[0.5] * 57)
    with pytest.raises(Exception, match="not an image"):
        asyncio.run(servicing.predict(request, context))
    assert context.code.name == "INVALID_ARGUMENT"
    assert "PNG or JPEG" in context.details


def test_without_a_token_the_call_is_unauthenticated(engine: Engine, figure: bytes, features: dict[str, float]) -> None:
    gate = Gate(engine.args.security, Tokens(["a token of length"]), token_required=True)
    guarded = Servicing(LocalBackend(engine), engine.args, gate)
    request = module.messages().PredictRequest(figure=figure, features=list(features.values()))
    context = Context()
    with pytest.raises(Exception, match="token"):
        asyncio.run(guarded.predict(request, context))
    assert context.code.name == "UNAUTHENTICATED"
    assert asyncio.run(guarded.predict(request, Context(authorization="Bearer a token of length"))).label
