"""A switch that signals turn: none is lost, and none brings the process to a stand."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from edgefoundad_jetson.switch import Switch

# Signals come as fast as they can, while the main thread waits for the switch and turns it.
STORM = """
import os, signal, subprocess, sys, time
from edgefoundad_jetson.switch import Switch

switch, answered = Switch(), 0

def on(*_):
    global answered
    answered += 1
    switch.set()

for number in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, on)
code = '''
import os, signal, sys, time
ends = time.monotonic() + 3
while time.monotonic() < ends:
    os.kill(int(sys.argv[1]), signal.SIGUSR1)
    os.kill(int(sys.argv[1]), signal.SIGUSR2)
'''
storm = subprocess.Popen([sys.executable, "-c", code, str(os.getpid())])
turns = 0
while storm.poll() is None:
    switch.wait(0.001)
    switch.clear()
    switch.set()
    turns += 1
print(answered > 100, turns > 100)
"""


def test_a_storm_of_signals_does_not_stop_who_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STORM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr


def test_it_wakes_who_waits_and_says_whether_it_is_on() -> None:
    switch = Switch()
    began = time.monotonic()
    assert not switch.wait(0.05)
    assert time.monotonic() - began >= 0.05
    threading.Timer(0.2, switch.set).start()
    assert switch.wait(30)
    assert time.monotonic() - began < 10
    assert switch.is_set()
    switch.clear()
    assert not switch.wait(0)
