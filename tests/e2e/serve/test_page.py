"""The page in a real Chromium: drops, examples, bad and long files, a microphone, one file after another, a token,
no network, a service that is not ready, keyboard, themes."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytestmark = [pytest.mark.slow]

PICTURES = os.environ.get("GENRE_RAY_PICTURES")
"""A folder for screenshots, for people who want to look; none are kept otherwise."""


def sound(seconds: float) -> bytes:
    time_s = np.arange(int(22050 * seconds)) / 22050
    beat = (np.sin(2 * np.pi * 2 * time_s) > 0) * np.sin(2 * np.pi * 180 * time_s)
    content = io.BytesIO()
    soundfile.write(content, (0.4 * beat).astype(np.float32), 22050, format="WAV")
    return content.getvalue()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    opened.faults = []
    opened.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.on("console", lambda message: opened.faults.append(message.text) if "Security" in message.text else None)
    opened.asked = []
    opened.on("request", lambda request: opened.asked.append(request.url))
    yield opened
    context.close()


def choose(page: Any, name: str, content: bytes, kind: str = "audio/wav") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})


def known(page: Any) -> None:
    page.wait_for_function("() => document.getElementById('model').textContent.includes('genres')")


def keep(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_a_chosen_file_is_answered_drawn_and_explained(page: Any, running: Any) -> None:
    page.goto(running.url)
    choose(page, "beat.wav", sound(25))
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    page.wait_for_selector("#why:not([disabled])", timeout=120_000)
    assert page.locator("#bars li").count() == 10
    assert page.locator("#verdict").inner_text()
    assert page.locator("#course-block").is_visible()
    assert "windows of 10 s" in page.locator("#course-text").inner_text()
    tops = [page.locator(f"#{name}").bounding_box()["y"] for name in ("answer", "sound", "course-block")]
    assert tops == sorted(tops), "what is asked for comes first"
    assert page.locator("#unsure").is_visible() == ("nsure" in page.locator("#status").inner_text())
    assert "visually-hidden" in (page.get_attribute("#status", "class") or ""), "the answer is shown twice"
    page.check("#why")
    assert page.locator("#why-text").inner_text()
    page.click("summary")
    assert "--data-binary @'beat.wav'" in page.locator("#curl").inner_text()
    dark = page.evaluate(
        "() => { const c = document.getElementById('spectrogram'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return new Set(d).size }"
    )
    assert dark > 20, "the spectrogram is one colour"
    keep(page, "answer-desktop-light")
    assert page.faults == []


def test_everything_comes_from_the_service_itself(page: Any, running: Any) -> None:
    page.goto(running.url)
    known(page)
    assert {url.split("/")[2] for url in page.asked if url.startswith("http")} == {running.url.split("/")[2]}
    page.goto(f"{running.url}/docs")
    assert page.locator("#too-large").count() == 1
    keep(page, "docs")
    assert page.faults == []


def test_a_dropped_file_is_taken(page: Any, running: Any) -> None:
    page.goto(running.url)
    transfer = page.evaluate_handle(
        "bytes => { const t = new DataTransfer();"
        " t.items.add(new File([new Uint8Array(bytes)], 'dropped.wav', {type: 'audio/wav'})); return t }",
        list(sound(3)),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    assert "over" in (page.get_attribute("#drop", "class") or "")
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    page.click("summary")
    assert "dropped.wav" in page.locator("#curl").inner_text()


def test_the_example_plays_and_is_answered_on_a_phone_in_the_dark(browser: Any, running: Any) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True, color_scheme="dark"
    )
    page = context.new_page()
    page.goto(running.url)
    keep(page, "start-phone-dark")
    assert "Drop" not in page.locator("#drop-title").inner_text(), "nobody drops on a phone"
    page.tap("#example")
    page.wait_for_selector("#why:not([disabled])", timeout=120_000)
    page.tap("#play")
    page.wait_for_function("() => document.getElementById('seek').value > 0", timeout=20_000)
    page.tap("#play")
    page.check("#why")
    keep(page, "answer-phone-dark")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), "it scrolls sideways"
    context.close()


@pytest.mark.parametrize("name", ["club", "piano", "guitars"])
def test_every_example_sounds_and_is_answered(page: Any, running: Any, name: str) -> None:
    page.goto(running.url)
    page.click(f"[data-example={name}]")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    page.click("summary")
    assert f"{name}.wav" in page.locator("#curl").inner_text()
    assert page.faults == []


def test_a_bad_file_is_refused_in_words(page: Any, running: Any) -> None:
    page.goto(running.url)
    choose(page, "notes.pdf", b"%PDF-1.7 not music", "application/pdf")
    page.wait_for_selector("#problem:not([hidden])", timeout=30_000)
    assert "not a recording" in page.locator("#problem-title").inner_text()
    assert "notes.pdf" in page.locator("#problem-detail").inner_text()
    assert "mp3" in page.locator("#problem-facts").inner_text()
    assert page.locator("#answer").is_hidden()
    keep(page, "bad-file")


def test_a_long_file_is_offered_to_be_cut(page: Any, guarded: Any) -> None:
    page.goto(guarded.url)
    known(page)
    choose(page, "long.wav", sound(130))
    page.wait_for_selector("#shorten:not([hidden])", timeout=60_000)
    assert "too large" in page.locator("#problem-title").inner_text()


def test_a_missing_token_is_asked_for(page: Any, guarded: Any) -> None:
    page.goto(guarded.url)
    choose(page, "short.wav", sound(3))
    page.wait_for_selector("#token-form:not([hidden])", timeout=30_000)
    page.fill("#token", "a token for the page")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert "a token for the page" not in page.content()


def test_without_the_network_it_says_so_and_tries_again(page: Any, running: Any) -> None:
    page.goto(running.url)
    page.context.set_offline(True)
    choose(page, "short.wav", sound(3))
    page.wait_for_selector("#retry:not([hidden])", timeout=30_000)
    assert "cannot be reached" in page.locator("#problem-title").inner_text()
    assert page.locator("#sound").is_visible()
    assert page.locator("#why").is_hidden(), "there is no answer that anything spoke for"
    page.context.set_offline(False)
    page.click("#retry")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)


@pytest.mark.parametrize("status", [503, 429])
def test_a_service_that_is_not_ready_is_asked_again_and_files_are_taken_all_the_same(
    page: Any, running: Any, status: int
) -> None:
    refusals = [json.dumps({"type": "/docs#not-ready", "status": status, "title": "not ready"})] * 2

    def answer(route: Any) -> None:
        if not refusals:
            route.continue_()
            return
        route.fulfill(status=status, body=refusals.pop(), headers={"retry-after": "1"})

    page.route("**/v1/model", answer)
    page.goto(running.url)
    page.wait_for_function("() => document.getElementById('model').textContent.includes('not ready')")
    choose(page, "beat.wav", sound(3))
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    known(page)
    assert refusals == []
    assert page.faults == []


MICROPHONE = """
const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
const waiting = [];
window.streams = [];
window.allow = () => waiting.forEach((go) => go());
navigator.mediaDevices.getUserMedia = async (wish) => {
  await new Promise((go) => waiting.push(go));
  const stream = await open(wish);
  window.streams.push(stream);
  return stream;
};
"""
LIVE = "() => window.streams.flatMap((s) => s.getTracks()).filter((t) => t.readyState === 'live').length"


def test_a_second_press_while_the_browser_asks_opens_no_second_microphone(page: Any, running: Any) -> None:
    page.add_init_script(MICROPHONE)
    page.goto(running.url)
    page.click("#record")
    page.click("#record")
    page.evaluate("() => window.allow()")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(1500)
    page.click("#record")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert page.evaluate("() => window.streams.length") == 1
    assert page.evaluate(LIVE) == 0
    page.click("summary")
    assert "recording.wav" in page.locator("#curl").inner_text()
    assert page.faults == []


def test_a_file_that_is_taken_while_the_microphone_runs_ends_the_recording(page: Any, running: Any) -> None:
    page.add_init_script(MICROPHONE)
    page.goto(running.url)
    page.click("#record")
    page.evaluate("() => window.allow()")
    page.wait_for_selector("#record[aria-pressed=true]")
    choose(page, "beat.wav", sound(3))
    page.wait_for_selector("#why:not([disabled])", timeout=60_000)
    assert page.get_attribute("#record", "aria-pressed") == "false"
    assert page.evaluate(LIVE) == 0
    page.click("summary")
    assert "beat.wav" in page.locator("#curl").inner_text()


def test_a_recording_without_any_sound_in_it_is_refused_in_words(page: Any, running: Any) -> None:
    page.add_init_script(
        "window.MediaRecorder = class extends EventTarget { start() {} stop() {"
        " this.dispatchEvent(Object.assign(new Event('dataavailable'), { data: new Blob([]) }));"
        " this.dispatchEvent(new Event('stop')); } };"
    )
    page.goto(running.url)
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.click("#record")
    page.wait_for_selector("#problem:not([hidden])", timeout=30_000)
    assert "recording" in page.locator("#problem-title").inner_text()
    assert page.locator("#status").inner_text() == ""
    assert page.faults == []


def test_an_old_file_that_fails_late_leaves_the_new_answer_alone(page: Any, running: Any) -> None:
    page.add_init_script(
        "const real = OfflineAudioContext.prototype.decodeAudioData;"
        "OfflineAudioContext.prototype.decodeAudioData = function (bytes) {"
        " if (window.late) return real.call(this, bytes);"
        " return new Promise((_, refuse) => { window.late = () => refuse(new Error('no sound')); }); };"
    )
    page.route("**/v1/model", lambda route: route.fulfill(json={"labels": ["a"], "limits": {"audio_bytes": 200_000}}))
    page.goto(running.url)
    known(page)
    choose(page, "large.wav", b"no sound" * 30_000)
    page.wait_for_function("() => window.late")
    choose(page, "good.wav", sound(3))
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    page.wait_for_selector("#sound:not([hidden])")
    page.evaluate("() => window.late()")
    page.wait_for_timeout(300)
    assert page.locator("#problem").is_hidden()
    assert page.locator("#sound").is_visible()
    assert page.locator("#answer").is_visible()
    assert page.faults == []


def test_a_file_that_goes_away_is_said_to_be_unreadable(page: Any, running: Any) -> None:
    page.add_init_script("Blob.prototype.arrayBuffer = async () => { throw new DOMException('gone'); };")
    page.goto(running.url)
    choose(page, "gone.wav", sound(1))
    page.wait_for_selector("#problem:not([hidden])", timeout=30_000)
    assert "gone.wav" in page.locator("#problem-detail").inner_text()
    assert page.faults == []


def test_addresses_of_recordings_are_given_back(page: Any, running: Any) -> None:
    page.add_init_script(
        "window.held = new Set(); const make = URL.createObjectURL, end = URL.revokeObjectURL;"
        "URL.createObjectURL = (blob) => { const url = make(blob); window.held.add(url); return url; };"
        "URL.revokeObjectURL = (url) => { window.held.delete(url); end(url); };"
    )
    page.goto(running.url)
    for name in ("one", "two", "three"):
        choose(page, f"{name}.wav", sound(2))
        page.wait_for_function(f"() => document.getElementById('curl').textContent.includes('{name}')", timeout=60_000)
    assert page.evaluate("() => window.held.size") == 1


def test_the_keyboard_reaches_everything(page: Any, running: Any) -> None:
    page.goto(running.url)
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id"))
    assert reached == ["file", "record", "example"], "there is no answer yet to skip to"
    page.focus("#example")
    page.keyboard.press("Enter")
    page.wait_for_selector("#answer:not([hidden])", timeout=60_000)
    assert page.locator("#status").get_attribute("role") == "status"
    page.focus("#skip")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "answer"
    names = page.evaluate(
        "() => [...document.querySelectorAll('button, input, canvas')].filter(e => !e.closest('[hidden]'))"
        ".filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map(e => e.id)"
    )
    assert names == [], "controls without a name"
