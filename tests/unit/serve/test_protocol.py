import base64
import io
import zlib
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile
from PIL import Image

from genre_ray.errors import FeatureError, FigureError
from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.serve import protocol
from genre_ray.serve.feature_rows import features_from_json, parse_json
from genre_ray.serve.problems import Refusal, problem_of
from genre_ray.serve.settings import Limits

MULTIPART = "multipart/form-data; boundary=XX"


def form(**parts: bytes) -> bytes:
    return (
        b"".join(
            b'--XX\r\nContent-Disposition: form-data; name="%b"; filename="x"\r\n\r\n%b\r\n' % (name.encode(), content)
            for name, content in parts.items()
        )
        + b"--XX--\r\n"
    )


def test_multipart_and_json_give_the_same_track(figure: bytes, features: dict[str, float]) -> None:
    by_form = protocol.track_from_request(form(figure=figure, features=orjson.dumps(features)), MULTIPART)
    document = {"figure": base64.b64encode(figure).decode(), "features": list(features.values())}
    by_json = protocol.track_from_request(orjson.dumps(document), "application/json; charset=utf-8")
    assert by_form.figure == by_json.figure == figure
    assert by_form.features is not None
    assert by_json.features is not None
    np.testing.assert_array_equal(by_form.features, list(features.values()))
    np.testing.assert_array_equal(by_json.features, by_form.features)


def test_a_row_of_the_csv_is_accepted_with_its_name_length_and_label(features: dict[str, float]) -> None:
    row = {"filename": "blues.00000.wav", "length": 661794, **features, "label": "blues"}
    np.testing.assert_array_equal(features_from_json(row), list(features.values()))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"tempo": None}, "not_numeric"),
        ({"tempo": "120"}, "not_numeric"),
        ({"tempo": True}, "not_numeric"),
        ({"tempo": float("inf")}, "not_finite"),
        ({"tempo": 1e300}, "not_finite"),
        ({"key": 1.0}, "unknown"),
    ],
)
def test_a_bad_value_names_its_column(features: dict[str, float], change: dict[str, Any], kind: str) -> None:
    with pytest.raises(FeatureError) as refused:
        features_from_json(features | change)
    assert refused.value.kind == kind
    assert next(iter(change)) in str(refused.value)


@pytest.mark.parametrize("row", [[], [1.0] * 56, [1.0] * 58, 7, {"tempo": 1.0}])
def test_a_row_of_another_size_is_refused(row: Any) -> None:
    with pytest.raises(FeatureError):
        features_from_json(row)


def test_huge_integers_are_refused_and_not_overflowed(features: dict[str, float]) -> None:
    with pytest.raises(FeatureError):
        features_from_json([10**18, *([0.0] * 56)])


@pytest.mark.parametrize("text", [b"NaN", b"[NaN]", b"{", b"", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_400(text: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        protocol.track_from_request(text, "application/json")
    assert refused.value.status == 400


@pytest.mark.parametrize("depth", [50, 985, 1000, 1015])
@pytest.mark.parametrize("place", [b'{"features": [%b' + b",1" * 56 + b"]}", b'{"features": [1], "top_k": %b}'])
def test_a_value_nested_deeply_is_named_by_its_type_and_never_written_out(place: bytes, depth: int) -> None:
    with pytest.raises((FeatureError, Refusal)) as refused:
        protocol.inquiry_from_request(place % (b"[" * depth + b"]" * depth), "application/json", kind="figure")
    problem = problem_of(refused.value)
    assert problem.status == 422
    assert "a list" in str(problem.found)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"[[[]]],", b"1,", b'"":1,'])
def test_json_of_a_million_pieces_is_refused_before_it_is_parsed(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genre_ray.serve.feature_rows.orjson.loads", lambda _: pytest.fail("parsed"))
    with pytest.raises(Refusal, match="too many") as refused:
        parse_json(b"[" + piece * 2**20 + b"1]")
    assert refused.value.status == 413


def test_a_whole_batch_and_a_song_in_base64_have_few_enough_pieces(features: dict[str, float]) -> None:
    item = {"id": "a", "figure": "A" * 200_000, "features": features}
    assert len(parse_json(orjson.dumps({"items": [item] * 64}))["items"]) == 64
    assert parse_json(orjson.dumps({"audio": "A" * 2**22}))


@pytest.mark.parametrize("document", [b"[]", b"1", b"null", b"{}", b'{"figure": 1}', b'{"figure": "%%%"}', b'{"x": 1}'])
def test_json_of_another_shape_is_422(document: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        protocol.track_from_request(document, "application/json")
    assert refused.value.status == 422


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + ihdr + zlib.crc32(ihdr).to_bytes(4, "big")


def test_a_png_of_179_megapixels_is_refused_by_its_header() -> None:
    with pytest.raises(FigureError, match="too many pixels") as refused:
        protocol.check_figure(png_header(13_400, 13_400), Limits())
    assert problem_of(refused.value).status == 413


@pytest.mark.parametrize("form_name", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_image_formats_are_415_whatever_they_call_themselves(form_name: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (432, 288)).save(content, form_name)
    with pytest.raises(FigureError) as refused:
        protocol.track_from_request(form(figure=content.getvalue()), MULTIPART)
    assert problem_of(refused.value).status == 415


def test_audio_by_raw_body_form_and_base64_is_the_same() -> None:
    content = io.BytesIO()
    soundfile.write(content, np.zeros(2205, np.float32), 22050, format="WAV")
    sound = content.getvalue()
    document = orjson.dumps({"inputs": base64.b64encode(sound).decode(), "parameters": {"top_k": 2}})
    inquiries = [
        protocol.inquiry_from_request(sound, "text/plain", kind="audio"),
        protocol.inquiry_from_request(form(file=sound), MULTIPART, kind="audio"),
        protocol.inquiry_from_request(document, "application/json", kind="audio"),
    ]
    assert {inquiry.track.audio for inquiry in inquiries} == {sound}
    assert inquiries[2].options.top_k == 2


def test_an_executable_is_not_audio() -> None:
    with pytest.raises(Refusal) as refused:
        protocol.inquiry_from_request(b"\x7fELF" + b"\0" * 100, "audio/mpeg", kind="audio")
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "query", ["top_k=0", "top_k=x", "threshold=2", "threshold=nan", "clip_s=inf", "explain=perhaps"]
)
def test_an_option_out_of_range_is_422_and_named(query: str) -> None:
    with pytest.raises(Refusal, match=query.partition("=")[0]) as refused:
        protocol.inquiry_from_request(b"fLaC" + b"\0" * 40, "audio/flac", kind="audio", query=query)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "members",
    [
        {"top_k": True},
        {"threshold": True},
        {"parameters": "nonsense"},
        {"parameters": [1]},
        {"parameters": {"topk": 1}},
        {"clip_s": 5},
        {"over_time": True},
        {"function_to_apply": "softmax"},
        {"audio": "AAAA"},
    ],
)
def test_what_has_no_meaning_for_a_figure_is_422_and_named(members: dict[str, Any], features: dict[str, float]) -> None:
    body = orjson.dumps({"features": features} | members)
    with pytest.raises(Refusal) as refused:
        protocol.inquiry_from_request(body, "application/json", kind="figure", accepted=protocol.FIGURE_OPTIONS)
    assert refused.value.status == 422
    assert next(iter(members)) in str(refused.value) or "topk" in str(refused.value)


def test_a_misspelt_option_of_a_query_is_told_which_are_known() -> None:
    with pytest.raises(Refusal, match=r"topk.*top_k, threshold") as refused:
        protocol.inquiry_from_request(b"fLaC" + bytes(60), "audio/flac", kind="audio", query="topk=3")
    assert refused.value.status == 422


@pytest.mark.parametrize("beside", ["figure", "features"])
def test_a_figure_beside_a_recording_is_refused(beside: str) -> None:
    body = orjson.dumps({"audio": base64.b64encode(b"fLaC" + bytes(60)).decode(), beside: "AAAA"})
    with pytest.raises(Refusal, match=beside):
        protocol.inquiry_from_request(body, "application/json", kind="audio")


def test_fields_of_null_are_fields_that_are_not_there(features: dict[str, float]) -> None:
    body = orjson.dumps({"features": features, "audio": None, "parameters": None, "top_k": None, "clip_s": None})
    inquiry = protocol.inquiry_from_request(body, "application/json", kind="figure", accepted=protocol.FIGURE_OPTIONS)
    assert inquiry.options == protocol.Options()


def test_softmax_is_the_one_function_that_hugging_faces_clients_may_ask_for() -> None:
    def asked(function: str) -> protocol.Inquiry:
        body = {"inputs": base64.b64encode(b"fLaC" + bytes(60)).decode(), "parameters": {"function_to_apply": function}}
        return protocol.inquiry_from_request(
            orjson.dumps(body), "application/json", kind="audio", accepted=protocol.LIST_OPTIONS
        )

    assert asked("softmax").options.function_to_apply == "softmax"
    with pytest.raises(Refusal, match=r"function_to_apply.*sigmoid.*softmax") as refused:
        asked("sigmoid")
    assert refused.value.status == 422


@pytest.mark.parametrize(
    "change", [{"id": 7}, {"id": {"a": 1}}, {"id": "x" * 129}, {"explain": True}, {"over_time": False}, {"audio": "AA"}]
)
def test_an_item_of_a_batch_with_an_unusable_id_or_option_is_its_own_422(
    change: dict[str, Any], features: dict[str, float]
) -> None:
    good = {"id": "good", "features": features, "top_k": 2}
    items, names = protocol.items_from_batch(orjson.dumps([good | change, good]), Limits())
    assert isinstance(items[0], Refusal)
    assert items[0].status == 422
    assert isinstance(items[1], protocol.Inquiry)
    assert names == ["0" if "id" in change else "good", "good"]


@pytest.mark.parametrize(
    ("content_type", "query", "status"),
    [
        ("image/png", "", 415),
        ("", "", 415),
        ("application/json", "top_k=3", 422),
        ("text/json; charset=utf-8", "", 415),
    ],
)
def test_a_batch_is_json_and_has_no_query(content_type: str, query: str, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        protocol.batch_from_request(b'{"items": [{}]}', content_type, query=query, limits=Limits())
    assert refused.value.status == status


def test_members_beside_the_items_of_a_batch_are_named() -> None:
    with pytest.raises(Refusal, match="top_k"):
        protocol.items_from_batch(b'{"items": [{}], "top_k": 3}', Limits())


def test_a_bad_item_of_a_batch_is_an_error_in_its_place(figure: bytes, features: dict[str, float]) -> None:
    good = {"id": "good", "figure": base64.b64encode(figure).decode(), "features": features}
    items, names = protocol.items_from_batch(orjson.dumps({"items": [7, good, {"figure": "!"}]}), Limits())
    assert names == ["0", "good", "2"]
    assert isinstance(items[0], Refusal)
    assert isinstance(items[1], protocol.Inquiry)
    assert isinstance(items[2], Refusal)


def test_a_batch_beyond_its_limit_is_413() -> None:
    with pytest.raises(Refusal) as refused:
        protocol.items_from_batch(orjson.dumps([{}] * 5), Limits(max_batch_items=4))
    assert refused.value.status == 413


def test_feature_columns_are_read_in_their_order_whatever_the_order_sent(features: dict[str, float]) -> None:
    shuffled = dict(sorted(features.items(), reverse=True))
    np.testing.assert_array_equal(features_from_json(shuffled), [features[name] for name in FEATURE_COLUMNS])
