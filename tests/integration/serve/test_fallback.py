"""Without HAProxy the service runs through Serve's Python proxy; with batching as on a GPU, and with a token."""

import base64
import io
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from genre_ray.spectrogram import figure_from_levels

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TOKEN = "a token of enough length"

WITHOUT_HAPROXY = f"""
import logging, os, sys
logging.basicConfig(level=logging.INFO)
os.environ["GENRE_RAY_TOKENS"] = "{TOKEN}"
from genre_ray.serve import guard, run
guard.real_haproxy = lambda: None
run(sys.argv[1], timeout_s=280)
"""


@pytest.fixture(scope="module")
def service(serving: Callable[..., Any]) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["applications"][0]["args"] |= {
            "batching": {"when": "always", "max_batch_size": 4, "wait_s": 0.05},
            "security": {"auth": "token"},
        }

    return serving(change, WITHOUT_HAPROXY)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    content = io.BytesIO()
    figure_from_levels(np.random.default_rng(0).integers(0, 256, (1, 128, 334), dtype=np.uint8)).save(content, "PNG")
    return {"figure": base64.b64encode(content.getvalue()).decode(), "features": [0.5] * 57}


def test_the_slow_way_is_taken_with_a_warning(service: Any) -> None:
    assert any("HAProxy is not installed" in line for line in service.lines)


def test_without_the_token_there_is_no_answer(service: Any, document: dict[str, Any]) -> None:
    with service.client() as client:
        refused = client.post("/v1/predict", json=document)
        assert client.get("/v2/health/ready").status_code == 200
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"


def test_a_bad_item_among_batched_requests_fails_alone(service: Any, document: dict[str, Any]) -> None:
    bad = document | {"features": [0.5] * 56}
    answers: list[tuple[bool, int, Any]] = []

    def ask(question: dict[str, Any]) -> None:
        with service.client(headers={"authorization": f"Bearer {TOKEN}"}) as client:
            response = client.post("/v1/predict", json=question)
            answers.append((question is bad, response.status_code, response.json()))

    threads = [threading.Thread(target=ask, args=(question,)) for question in [document, bad] * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Counter((was_bad, status) for was_bad, status, _ in answers)
    assert counts == {(False, 200): 6, (True, 422): 6}
    probabilities = [answer["probabilities"] for was_bad, _, answer in answers if not was_bad]
    for other in probabilities[1:]:
        assert other == pytest.approx(probabilities[0], abs=1e-5)
