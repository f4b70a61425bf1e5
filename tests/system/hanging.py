"""Put into a station's own Python by a test: has onnxruntime hang as a driver would, when told to.

The station itself has no such switch. A process hangs at its next frame, and for good, once its
number is in a file.
"""

import ctypes
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from pathlib import Path

TOLD = Path("/srv/hang-backend-of")


class Finder(MetaPathFinder):
    """Waits for onnxruntime to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "onnxruntime":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_change(module):
            execute(module)
            change(module.InferenceSession)

        spec.loader.exec_module = execute_and_change
        return spec


def change(session):
    run = session.run_with_iobinding

    def run_or_hang(self, *words):
        while told():
            # In C and without Python's lock: the other threads go on, as they do with a driver.
            ctypes.CDLL(None).sleep(3600)
        return run(self, *words)

    session.run_with_iobinding = run_or_hang


def told():
    try:
        return TOLD.read_text().strip() == str(os.getpid())
    except OSError:
        return False


sys.meta_path.insert(0, Finder())
