"""The stream, as HTTP clients get it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.geometry import Size
from edgefoundad_jetson.live import Preview, Station
from edgefoundad_jetson.live.layout import Layout
from edgefoundad_jetson.live.mjpeg import MOST_VIEWERS
from edgefoundad_jetson.loop import Outcome

SHAPE = (*Layout.around(Size(320, 240)).size[::-1], 3)
"""Of the station's pictures."""


@pytest.fixture
def preview(station: Station) -> Iterator[Preview]:
    opened = Preview(0, station, lambda: {"frames": 7, "ratio": float("nan")})
    yield opened
    opened.close()


@pytest.fixture
def line(preview: Preview, outcome_of: Callable[..., Outcome]) -> Iterator[Callable[[], int]]:
    """Judges 60 frames a second; () → how many so far."""
    outcomes = [outcome_of(number, peak) for number, peak in enumerate((0.2, 0.9, 0.3))]
    count, done = 0, threading.Event()

    def judge() -> None:
        nonlocal count
        while not done.wait(1 / 60):
            preview.watch(outcomes[count % 3])
            count += 1

    thread = threading.Thread(target=judge)
    thread.start()
    yield lambda: count
    done.set()
    thread.join()


def connect(preview: Preview, timeout: float = 10) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", urlsplit(preview.url).port, timeout=timeout)


def get(
    preview: Preview, path: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = connect(preview)
    with closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def stream(preview: Preview, timeout: float = 10) -> tuple[http.client.HTTPConnection, Any]:
    """An open stream; its status is 503 where there are too many."""
    connection = connect(preview, timeout)
    connection.request("GET", "/stream.mjpg")
    return connection, connection.getresponse()


def part(answer: Any) -> bytes:
    """The next part of a multipart stream, by the book: boundary, headers, body."""
    line = answer.readline()
    while line == b"\r\n":
        line = answer.readline()
    assert line == b"--frame\r\n", line
    headers = http.client.parse_headers(answer)
    assert headers["Content-Type"] == "image/jpeg"
    body: bytes = answer.read(int(headers["Content-Length"]))
    assert len(body) == int(headers["Content-Length"])
    return body


def decoded(jpeg: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def eventually(true: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_a_stream_is_pictures_one_after_the_other(
    preview: Preview, line: Callable[[], int]
) -> None:
    connection, answer = stream(preview)
    with closing(connection):
        assert answer.status == 200
        assert answer.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
        parts = [part(answer) for _ in range(6)]
    assert all(decoded(one).shape == SHAPE for one in parts)
    assert len(set(parts)) > 1


def test_pictures_come_at_their_own_rate_however_fast_parts_are_judged(
    preview: Preview, line: Callable[[], int]
) -> None:
    connection, answer = stream(preview)
    with closing(connection):
        part(answer)
        began, judged = time.monotonic(), line()
        for _ in range(15):
            part(answer)
        # 15 a second at most.
        assert time.monotonic() - began > 0.8
        assert line() - judged > 15


def test_a_still_is_fresh(preview: Preview, outcome_of: Callable[..., Outcome]) -> None:
    stills: list[tuple[int, dict[str, str], bytes]] = []
    asking = threading.Thread(target=lambda: stills.append(get(preview, "/frame.jpg")))
    preview.watch(outcome_of(0, 0.2))
    asking.start()
    time.sleep(0.3)
    assert not stills
    while asking.is_alive():
        preview.watch(outcome_of(1, 0.9))
        asking.join(0.05)
    status, headers, body = stills[0]
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert decoded(body).shape == SHAPE
    time.sleep(0.5)
    # Nothing is judged any more: the one before is not passed off as of now.
    status, _, said = get(preview, "/frame.jpg")
    assert status == 503
    assert b"no frame" in said


def test_nothing_is_copied_drawn_or_encoded_while_nobody_looks(
    preview: Preview, outcome_of: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgefoundad_jetson.live.watcher as watcher

    drawn: list[int] = []
    draw = watcher.draw
    monkeypatch.setattr(watcher, "draw", lambda *words: drawn.append(0) or draw(*words))
    outcome = outcome_of()
    for _ in range(30):
        preview.watch(outcome)
        time.sleep(0.01)
    assert not drawn
    connection, answer = stream(preview)
    assert eventually(lambda: preview._broadcast.wanted)
    preview.watch(outcome)
    part(answer)
    connection.close()
    answer.close()
    assert len(drawn) == 1
    assert eventually(lambda: not preview._broadcast.wanted)
    for _ in range(30):
        preview.watch(outcome)
        time.sleep(0.01)
    assert len(drawn) == 1


def test_the_frames_memory_is_let_go_of_at_once(
    preview: Preview, outcome_of: Callable[..., Outcome]
) -> None:
    import weakref

    connection, answer = stream(preview)
    with closing(connection):
        assert eventually(lambda: preview._broadcast.wanted)
        outcome = outcome_of()
        held = weakref.ref(outcome.frame.pixels)
        preview.watch(outcome)
        del outcome
        # A camera's buffer goes back although its picture is still on its way.
        assert held() is None
        part(answer)
        answer.close()


def test_a_picture_is_of_the_frame_that_was_judged(
    preview: Preview, outcome_of: Callable[..., Outcome]
) -> None:
    connection, answer = stream(preview)
    with closing(connection):
        assert eventually(lambda: preview._broadcast.wanted)
        pixels = np.full((240, 320, 3), 200, np.uint8)
        preview.watch(outcome_of(pixels=pixels))
        # The camera writes its next frame there.
        pixels[:] = 0
        picture = decoded(part(answer))
        answer.close()
    assert abs(int(picture[400, 480].mean()) - 200) < 4


def test_who_comes_beyond_eight_is_told_and_gets_in_once_one_has_left(
    preview: Preview, line: Callable[[], int]
) -> None:
    looking = [stream(preview) for _ in range(MOST_VIEWERS)]
    assert [answer.status for _, answer in looking] == [200] * MOST_VIEWERS
    status, _, said = get(preview, "/stream.mjpg")
    assert status == 503
    assert b"8 viewers" in said
    assert get(preview, "/")[0] == 200
    first, answer = looking.pop()
    answer.close()
    first.close()

    def is_let_in() -> bool:
        connection, answer = stream(preview)
        looking.append((connection, answer))
        return bool(answer.status == 200)

    assert eventually(is_let_in, 5)
    for connection, answer in looking:
        answer.close()
        connection.close()


@pytest.mark.parametrize("more", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_viewer_who_leaves_is_noticed_though_no_frame_comes(
    more: bytes, preview: Preview
) -> None:
    one = socket.create_connection(("127.0.0.1", urlsplit(preview.url).port))
    one.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n" + more)
    assert eventually(lambda: preview._broadcast.wanted)
    time.sleep(0.5)
    assert preview._broadcast.wanted
    one.close()
    assert eventually(lambda: not preview._broadcast.wanted, 3)


def test_who_does_not_read_slows_nobody(preview: Preview, line: Callable[[], int]) -> None:
    port = urlsplit(preview.url).port
    asleep = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    for one in asleep:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection, answer = stream(preview)
    with closing(connection):
        for _ in range(10):
            part(answer)
        began, judged = time.monotonic(), line()
        for _ in range(20):
            part(answer)
        passed = time.monotonic() - began
        answer.close()
    assert passed < 6
    assert line() - judged > 20 * passed
    for one in asleep:
        one.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8123", 200),
        ("[::1]:80", 200),
        ("LOCALHOST:1", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.0.7:8123", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_only_this_machines_own_names_are_answered(
    host: str, status: int, preview: Preview
) -> None:
    for path in ("/", "/stats.json"):
        assert get(preview, path, {"Host": host})[0] == status
    if status == 403:
        assert get(preview, "/stream.mjpg", {"Host": host})[0] == 403
        assert get(preview, "/frame.jpg", {"Host": host})[0] == 403
        assert not preview._broadcast.wanted


def test_another_sites_page_gets_no_picture(preview: Preview) -> None:
    for path in ("/stream.mjpg", "/frame.jpg", "/stats.json"):
        assert get(preview, path, {"Sec-Fetch-Site": "cross-site"})[0] == 403
    # But may link here.
    assert get(preview, "/", {"Sec-Fetch-Site": "cross-site"})[0] == 200


def test_counts_are_strict_json_and_a_fault_in_them_is_told(
    preview: Preview, station: Station
) -> None:
    _, headers, body = get(preview, "/stats.json")
    counts = json.loads(body, parse_constant=lambda name: pytest.fail(name))
    assert headers["content-type"] == "application/json"
    assert (counts["frames"], counts["ratio"]) == (7, None)
    assert counts["live"]["seconds_since_frame"] is None

    def broken() -> dict[str, Any]:
        raise RuntimeError("no counts today")

    with closing(Preview(0, station, broken)) as other:
        status, _, said = get(other, "/stats.json")
        assert (status, said) == (500, b"RuntimeError: no counts today\n")
        assert get(other, "/")[0] == 200


@pytest.mark.parametrize(
    "pixels",
    [
        # Five channels, which no graph takes.
        np.zeros((240, 320, 5), np.uint8),
        # More than there is memory for.
        np.broadcast_to(np.zeros(3, np.uint8), (1 << 22, 1 << 22, 3)),
    ],
    ids=["channels", "memory"],
)
def test_a_picture_that_cannot_be_drawn_ends_nothing(
    pixels: NDArray[np.uint8], preview: Preview, outcome_of: Callable[..., Outcome]
) -> None:
    connection, answer = stream(preview)
    with closing(connection):
        assert eventually(lambda: preview._broadcast.wanted)
        for _ in range(4):
            preview.watch(outcome_of(pixels=pixels))
            time.sleep(0.1)

        def fault() -> bool:
            return json.loads(get(preview, "/stats.json")[2])["live"]["fault"] is not None

        assert eventually(fault)
        time.sleep(0.1)
        preview.watch(outcome_of())
        assert decoded(part(answer)).shape == SHAPE
        assert not fault()
        answer.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\x16\x03\x01" * 40 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
    ],
)
def test_garbage_is_refused_without_a_word_on_standard_error(
    garbage: bytes, preview: Preview, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(preview.url).port)) as one:
        one.settimeout(5)
        said = b""
        # It may hang up before everything is sent.
        with suppress(OSError):
            one.sendall(garbage)
            one.shutdown(socket.SHUT_WR)
            said = one.recv(100)
        assert b"200" not in said
    assert get(preview, "/")[0] == 200
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_or_none_is_an_input_error(preview: Preview, station: Station) -> None:
    taken = urlsplit(preview.url).port
    assert taken is not None
    before = threading.active_count()
    for port in (taken, 65536, -1):
        with pytest.raises(InputError, match=rf"on port {port}: .*choose another --preview"):
            Preview(port, station, dict)
    assert threading.active_count() == before


def test_it_listens_on_loopback_alone(preview: Preview) -> None:
    assert preview._server.server_address[0] == "127.0.0.1"
    port = urlsplit(preview.url).port
    # Another address of this machine, also on loopback, but not the one that is listened on.
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), 2):
        pass


def test_it_ends_at_once_with_viewers_and_half_a_request(
    station: Station, outcome_of: Callable[..., Outcome]
) -> None:
    threads = threading.active_count()
    preview = Preview(0, station, dict)
    port = urlsplit(preview.url).port
    viewers = [stream(preview) for _ in range(4)]
    half = socket.create_connection(("127.0.0.1", port))
    half.sendall(b"GET /fr")
    deaf = socket.create_connection(("127.0.0.1", port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert eventually(lambda: preview._broadcast._looking == 5)
    for number in range(20):
        preview.watch(outcome_of(number))
        time.sleep(0.05)
    began = time.monotonic()
    preview.close()
    # Half a second is promised; the rest is for a machine that has other things to do.
    assert time.monotonic() - began < 1.5
    assert eventually(lambda: threading.active_count() == threads, 3)
    preview.close()
    for connection, answer in viewers:
        answer.close()
        connection.close()
    half.close()
    deaf.close()
    # The port is free again at once: a station restarts on the same one.
    assert port is not None
    Preview(port, station, dict).close()


def test_comings_and_goings_leave_nothing_behind(preview: Preview, line: Callable[[], int]) -> None:
    import os

    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    get(preview, "/frame.jpg")
    before = held()
    # The thread that answered ends in its own time, and is none of those that stay.
    time.sleep(0.5)
    while (now := held()) != before:
        before = now
        time.sleep(0.5)
    for number in range(200):
        path = ("/stream.mjpg", "/", "/frame.jpg", "/stats.json")[number % 4]
        one = socket.create_connection(("127.0.0.1", urlsplit(preview.url).port))
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if number % 3:
            one.recv(500)
        one.close()
    assert eventually(lambda: held() == before), (before, held())
    assert not preview._broadcast.wanted


@pytest.mark.alone
def test_it_costs_next_to_nothing_while_nobody_looks(
    preview: Preview, outcome_of: Callable[..., Outcome]
) -> None:
    for outcome in (outcome_of(0, 0.2), outcome_of(1, 0.9)):
        times = []
        for _ in range(5000):
            began = time.perf_counter_ns()
            preview.watch(outcome)
            times.append(time.perf_counter_ns() - began)
        assert float(np.median(times)) < 20_000
