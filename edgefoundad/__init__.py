"""Few-shot visual defect detection for factory lines."""

import os

__version__ = "0.1.0"

# Nothing phones home. onnxruntime 1.32 notes down what runs, for its makers, unless it is told
# otherwise before it is loaded; this is imported before everything that loads it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
