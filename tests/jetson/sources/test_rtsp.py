"""RTSP, from a real server in a process of its own: colours, refusals, losses, and back again."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.address import redacted
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.sources import kind_of, open_source
from edgefoundad_jetson.sources.source import SourceLostError

GraphFor = Callable[..., GraphRecord]
Serve = Callable[..., contextlib.AbstractContextManager[Any]]

pytestmark = pytest.mark.usefixtures("gstreamer")


def take(where: str, graph: GraphRecord, count: int, **options: str) -> list[Frame]:
    source = open_source(where, graph, options=options)
    try:
        return list(itertools.islice(source, count))
    finally:
        source.close()


def lost(where: str, graph: GraphRecord, **options: str) -> SourceLostError:
    with pytest.raises(SourceLostError) as error:
        take(where, graph, 1_000_000, **options)
    return error.value


@pytest.mark.parametrize(
    ("colour", "rgb"),
    [
        ("0xffff0000", (255, 0, 0)),
        ("0xff00ff00", (0, 255, 0)),
        ("0xff0000ff", (0, 0, 255)),
        ("0xff808080", (128, 128, 128)),
    ],
    ids=["red", "green", "blue", "grey"],
)
def test_colours_reach_every_channel_order(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor, colour: str, rgb: tuple[int, ...]
) -> None:
    red, green, blue = rgb
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = {
        "rgb": [red, green, blue],
        "bgr": [blue, green, red],
        "bgrx": [blue, green, red, 255],
        "rgba": [red, green, blue, 255],
        "gray": [grey],
    }
    where = f"rtsp://127.0.0.1:{free_port}/line"
    with serve_rtsp(free_port, "--colour", colour):
        for channels in CHANNELS:
            (frame,) = take(where, graph_for(320, 240, channels), 1)
            assert frame.pixels is not None
            # H.264 with half the colours' resolution: a few levels.
            assert frame.pixels.mean((0, 1)) == pytest.approx(expected[channels], abs=12)
            assert frame.copies.host_copies == (2 if channels == "gray" else 1)


def test_frames_are_young_and_come_soon(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor
) -> None:
    with serve_rtsp(free_port):
        began = time.monotonic()
        source = open_source(f"rtsp://127.0.0.1:{free_port}/line", graph_for(320, 240))
        ages = []
        for frame in itertools.islice(source, 40):
            ages.append(time.monotonic_ns() - frame.captured_ns)
        source.close()
    # GStreamer's own default would hold every frame back for 2 s.
    assert time.monotonic() - began < 5
    assert 0 <= float(np.median(ages)) < 0.5e9


def test_frames_between_two_whole_pictures_are_left_out_and_counted(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor
) -> None:
    where, graph = f"rtsp://127.0.0.1:{free_port}/line", graph_for(320, 240, "rgb")
    codec = "openh264enc gop-size=60 ! rtph264pay config-interval=1"
    with serve_rtsp(free_port, "--colour", "0xffff0000", "--codec", codec):
        # The first viewer starts the server's encoder; whoever comes later comes in between.
        first = open_source(where, graph)
        next(iter(first))
        time.sleep(0.5)
        later = open_source(where, graph)
        frame = next(iter(later))
        assert frame.pixels is not None
        assert frame.pixels.mean((0, 1)) == pytest.approx([255, 0, 0], abs=12)
        assert later.arrived > 10
        first.close()
        later.close()


def test_a_name_and_a_password_open_a_stream_and_are_never_shown(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor
) -> None:
    host, graph = f"127.0.0.1:{free_port}/line", graph_for(320, 240)
    with serve_rtsp(free_port, "--login", "bob:s3/cr@t:1"):
        (frame,) = take(f"rtsp://bob:s3%2Fcr%40t%3A1@{host}", graph, 1)
        assert frame.source == f"rtsp://{host}"
        with pytest.raises(InputError) as other_size:
            take(f"rtsp://bob:s3%2Fcr%40t%3A1@{host}", graph_for(64, 48), 1)
        errors = [
            str(other_size.value),
            str(lost(f"rtsp://bob:wr0ng@{host}", graph)),
            str(lost(f"rtsp://{host}", graph)),
        ]
    assert "frames of 320x240" in errors[0]
    assert all("Unauthorized" in error and "password" in error for error in errors[1:])
    refused = lost(f"rtsp://bob:s3cret@{host}", graph)  # Nobody listens any more.
    assert refused.cause == "refused"
    for error in (*errors, str(refused)):
        for secret in ("bob", "s3", "wr0ng"):
            assert secret not in error, error


@pytest.mark.parametrize(
    "where",
    [
        "rtsp://bob:s3cret@host/line",
        "rtsp://bob:s3cret@with@ats@host/line",
        "rtsp://bob:s3cret/with/slashes@host/line",
        "rtsps://bob:s3cret@host:8554/a@b",
        "rtsp://bob:s3cret@[fe80::1]:554/line",
        "gst:rtspsrc location=rtsp://bob:s3cret@host/line ! decodebin",
        'gst:rtspsrc location="rtsp://bob:s3cret@host/line" user-id=x ! decodebin',
        'gst:rtspsrc user-pw=s3cret location=rtsp://host/line user-id="bob"',
        "gst:souphttpsrc user-pw='s3cret' user-id=bob location=http://host/line ! decodebin",
    ],
)
def test_addresses_are_shown_without_what_is_secret(where: str) -> None:
    shown = redacted(where)
    assert "s3cret" not in shown
    assert "bob" not in shown
    # Of two places where the secret may end the later one is taken, and more is hidden then.
    assert any(word in shown for word in ("host", "fe80", "rtsps://b"))


@pytest.mark.parametrize(
    "where", ["rtsp://host:8554/line", "rtsp://host/cam@1", "rtsp://host:554/cam@1", "usb://0"]
)
def test_addresses_without_secrets_are_shown_as_they_are(where: str) -> None:
    assert redacted(where) == where


def test_a_wrong_scheme_hints_at_the_right_one_and_keeps_the_secret() -> None:
    with pytest.raises(InputError, match="did you mean rtsp://") as refused:
        kind_of("rstp://bob:s3cret@host/line")
    assert "s3cret" not in str(refused.value)


def test_a_path_that_is_not_served_and_a_port_that_nobody_listens_on_are_losses(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor
) -> None:
    with serve_rtsp(free_port):
        assert "404" in str(lost(f"rtsp://127.0.0.1:{free_port}/elsewhere", graph_for(320, 240)))
    assert lost(f"rtsp://127.0.0.1:{free_port}/line", graph_for(320, 240)).cause == "refused"


@contextlib.contextmanager
def talking(answer: bytes) -> Iterator[int]:
    """A server that says the same to whatever it hears; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def talk() -> None:
            heard: list[socket.socket] = []
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    heard.append(connection)
                    connection.settimeout(1)
                    connection.recv(4096)
                    connection.sendall(answer)
            for connection in heard:
                connection.close()

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\xfe nonsense \r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4294967295\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n" + b"A: " + b"x" * 100_000,
        b"$\x00\xff\xff" + b"z" * 70_000,
    ],
    ids=["silence", "noise", "http", "endless", "long line", "frames"],
)
def test_a_server_that_talks_nonsense_is_a_loss_in_time(graph_for: GraphFor, answer: bytes) -> None:
    with talking(answer) as port:
        began = time.monotonic()
        error = lost(
            f"rtsp://127.0.0.1:{port}/line", graph_for(), first_frame_ms="1000", stall_ms="1000"
        )
        took = time.monotonic() - began
    assert error.cause in {"unplugged", "refused", "stalled", "decoder", "memory"}
    assert took < 4
    assert "\n" not in str(error)


def test_a_server_that_dies_or_freezes_is_noticed_and_comes_back(
    serve_rtsp: Serve, free_port: int, graph_for: GraphFor
) -> None:
    where, graph = f"rtsp://127.0.0.1:{free_port}/line", graph_for(320, 240)

    def until_lost(process: Any, number: int) -> SourceLostError:
        source = open_source(where, graph, options={"stall_ms": "700"})
        try:
            for index, frame in enumerate(source):
                assert frame.pixels is not None
                if index == 10:
                    process.send_signal(number)
        except SourceLostError as error:
            return error
        finally:
            source.close()
        raise AssertionError("the stream went on, or ended as if that were right")

    with serve_rtsp(free_port) as process:
        assert until_lost(process, signal.SIGKILL).cause in {"ended", "unplugged"}
    assert lost(where, graph).cause == "refused"
    with serve_rtsp(free_port) as process:
        assert until_lost(process, signal.SIGSTOP).cause == "stalled"
    with serve_rtsp(free_port, "--size", "640x480"):
        (frame,) = take(where, graph_for(640, 480), 1)
        assert frame.pixels is not None


def test_udp_may_be_asked_for(serve_rtsp: Serve, free_port: int, graph_for: GraphFor) -> None:
    with serve_rtsp(free_port):
        where = f"rtsp://127.0.0.1:{free_port}/line"
        assert len(take(where, graph_for(320, 240), 5, protocol="udp")) == 5
