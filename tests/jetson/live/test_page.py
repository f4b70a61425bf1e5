"""The page, in a real browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgefoundad_jetson.live import Preview, Station
from edgefoundad_jetson.live.page import page_of
from edgefoundad_jetson.live.palette import DEFECT
from edgefoundad_jetson.loop import Outcome

SAID = (
    "(getComputedStyle(document.querySelector('#said')).display === 'none' ? '' : "
    "document.querySelector('#said').textContent)"
)
LIVE = "document.querySelector('#state').textContent === 'live'"


@pytest.fixture
def line(outcome_of: Callable[..., Outcome]) -> Iterator[list[Preview]]:
    """Judges anomalous frames for the first preview in this list, if there is one."""
    watching: list[Preview] = []
    done, outcome = threading.Event(), outcome_of(3, 0.9)

    def judge() -> None:
        while not done.wait(1 / 30):
            for preview in watching[:1]:
                preview.watch(outcome)

    thread = threading.Thread(target=judge)
    thread.start()
    yield watching
    done.set()
    thread.join()


def test_it_shows_the_picture_says_when_it_stands_still_and_comes_back(
    browser: Any, line: list[Preview], station: Station
) -> None:
    with closing(Preview(0, station, lambda: {"frames": 12, "copies": {"host": 0}})) as preview:
        port = urlsplit(preview.url).port
        assert port is not None
        browser.open(preview.url)
        browser.until(f"{SAID} === 'waiting for a frame'")
        line.append(preview)
        browser.until(LIVE)
        browser.until(f"{SAID} === ''")
        time.sleep(0.5)
        # The badge of an anomalous frame, which JPEG leaves nearly as it was.
        near = np.abs(browser.screenshot().astype(int) - DEFECT).max(axis=2) < 16
        assert near.sum() > 3000
        browser.ask("document.querySelector('details').open = true")
        counts = "document.querySelector('dl').textContent"
        browser.until(f"/frames12.*copies: host0/.test({counts})")
        line.clear()
        browser.until(f"/^no frame for [2-9] s$/.test({SAID})")
    browser.until(f"/station .*: trying again/.test({SAID})")
    # The station starts again, on the same port.
    with closing(Preview(port, station, dict)) as preview:
        line.append(preview)
        browser.until(f"{LIVE} && {SAID} === ''")
        line.clear()
    # While it was away it could not be reached; nothing else went wrong.
    assert [one for one in browser.console if "ERR_" not in one] == []


def test_a_hidden_page_does_not_look(browser: Any, line: list[Preview], station: Station) -> None:
    with closing(Preview(0, station, dict)) as preview:
        line.append(preview)
        browser.open(preview.url)
        browser.until(LIVE)
        hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true}); "
        changed = "document.dispatchEvent(new Event('visibilitychange')); true"
        browser.ask(hide % "true" + changed)
        end = time.monotonic() + 5
        while preview._broadcast.wanted and time.monotonic() < end:
            time.sleep(0.05)
        assert not preview._broadcast.wanted
        browser.ask(hide % "false" + changed)
        browser.until("true")
        end = time.monotonic() + 5
        while not preview._broadcast.wanted and time.monotonic() < end:
            time.sleep(0.05)
        assert preview._broadcast.wanted


@pytest.mark.parametrize(("width", "height"), [(360, 640), (1920, 1080)])
def test_it_fits_every_screen(
    width: int, height: int, browser: Any, line: list[Preview], station: Station
) -> None:
    with closing(Preview(0, station, dict)) as preview:
        line.append(preview)
        browser.open(preview.url, width, height)
        browser.until(LIVE)
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        assert browser.ask("document.documentElement.scrollHeight <= innerHeight")
        box = browser.ask(
            "(b => [b.width, b.height])(document.querySelector('img').getBoundingClientRect())"
            ".join(' ')"
        )
        shown = [float(side) for side in box.split()]
        assert shown[0] == width
        assert shown[1] > 0.75 * height


def test_nothing_comes_from_elsewhere_and_a_name_is_no_markup() -> None:
    page, policy = page_of("<script>alert(1)</script> & Löffel")
    text = page.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Löffel" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
