import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genre_ray.serve import multipart
from genre_ray.serve.problems import Refusal

TYPE = "multipart/form-data; boundary=XX"


def body(*parts: tuple[str, bytes]) -> bytes:
    head = b"".join(
        b'--XX\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), content)
        for name, content in parts
    )
    return head + b"--XX--\r\n"


def test_parts_come_back_byte_for_byte() -> None:
    contents = (b"", b"\r\n", b"-XX", b"\r\n--X", bytes(range(256)))
    sent = [(f"part{i}", content) for i, content in enumerate(contents)]
    found = multipart.parse(body(*sent), TYPE, max_parts=9)
    assert [(part.name, part.content) for part in found.values()] == sent


def test_a_file_name_has_no_meaning() -> None:
    disposition = b'Content-Disposition: form-data; name="figure"; filename="../../etc/passwd"'
    sent = b"--XX\r\n" + disposition + b"\r\nContent-Type: image/png\r\n\r\nabc\r\n--XX--"
    assert multipart.parse(sent, TYPE, max_parts=2) == {"figure": multipart.Part("figure", "image/png", b"abc")}


def part(*heads: str) -> bytes:
    return b"--XX\r\n" + b"".join(head.encode() + b"\r\n" for head in heads) + b"\r\nabc\r\n--XX--\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; filename="x; name=figure"; name="features"', "features"),
        ('form-data; filename="a\\"; name=\\"figure"; name="features"', "features"),
        ("form-data; NAME=features;", "features"),
        ('FORM-DATA;filename=a;; name = "features" ', "features"),
        ('form-data; name="fea\\\\tures"', "fea\\tures"),
    ],
)
def test_the_name_of_a_part_is_its_own_and_not_one_inside_another_parameter(disposition: str, name: str) -> None:
    found = multipart.parse(part(f"Content-Disposition: {disposition}"), TYPE, max_parts=1)
    assert [(name, found[name].content) for name in found] == [(name, b"abc")]


@pytest.mark.parametrize(
    "heads",
    [
        ('Content-Disposition: form-data; name="a"', 'Content-Disposition: form-data; name="b"'),
        ('Content-Disposition: attachment; name="a"',),
        ('Content-Disposition: name="a"',),
        ('Content-Disposition: form-data; name="a"; name="b"',),
        ('Content-Disposition: form-data; name="a',),
        ('Content-Disposition: form-data; name="a"b',),
        ("Content-Disposition: form-data; name",),
        (f'Content-Disposition: form-data; name="{"a" * 65}"',),
    ],
)
def test_a_disposition_that_says_two_things_or_none_is_refused(heads: tuple[str, ...]) -> None:
    with pytest.raises(Refusal, match="not valid multipart"):
        multipart.parse(part(*heads), TYPE, max_parts=2)


def test_blanks_may_follow_a_boundary() -> None:
    sent = part('Content-Disposition: form-data; name="a"').replace(b"--XX\r\nC", b"--XX \t \r\nC")
    assert multipart.parse(sent, TYPE, max_parts=1)["a"].content == b"abc"


def test_the_boundary_is_not_one_inside_another_parameter() -> None:
    sent = part('Content-Disposition: form-data; name="a"')
    assert (
        multipart.parse(sent, 'multipart/form-data; x="; boundary=YY"; boundary=XX', max_parts=1)["a"].content == b"abc"
    )


def test_a_quoted_boundary_and_a_preamble_are_accepted() -> None:
    found = multipart.parse(b"to be skipped\r\n" + body(("a", b"1")), 'multipart/form-data; boundary="XX"', max_parts=1)
    assert found["a"].content == b"1"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"--XX",
        b"--YY\r\n",
        b"--XX\r\n\r\n\r\n--XX--",
        b"--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--",
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--XXjunk',
        body(("a", b"1"), ("a", b"2")),
        b"--XX\r\n" + b"A: b\r\n" * 2000 + b"\r\n1\r\n--XX--",
    ],
)
def test_a_malformed_form_is_refused_with_400(sent: bytes) -> None:
    with pytest.raises(Refusal, match="not valid multipart") as refused:
        multipart.parse(sent, TYPE, max_parts=9)
    assert refused.value.status == 400


def test_one_part_too_many_is_refused_with_413() -> None:
    with pytest.raises(Refusal, match="too many parts") as refused:
        multipart.parse(body(*((f"p{i}", b"") for i in range(4))), TYPE, max_parts=3)
    assert refused.value.status == 413


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 120))
def test_mutated_forms_end_in_parts_or_in_a_refusal(noise: bytes, place: int) -> None:
    sent = body(("figure", b"12345"), ("features", b"[1]"))
    try:
        found: object = multipart.parse(sent[:place] + noise + sent[place:], TYPE, max_parts=4)
    except Refusal as refused:
        found = refused
    assert isinstance(found, dict) or (isinstance(found, Refusal) and found.status in (400, 413))
