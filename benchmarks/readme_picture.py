"""Make the picture that opens the README, from an exported bundle and rendered defects.

edgefoundad demo && python benchmarks/readme_picture.py edgefoundad-demo docs/heatmap.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from edgefoundad.bundle import Bundle
from edgefoundad.decision import decide
from edgefoundad.heatmap import draw_regions, overlay
from edgefoundad.images import read_image, to_channels
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend

SHOWN = ("good/003.png", "scratch/000.png", "foreign_body/001.png", "stain/001.png")


def main() -> None:
    """Write the picture: frames above, heat maps with their regions below."""
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", type=Path, help="what `edgefoundad demo` made")
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    bundle = Bundle.open(arguments.demo / "flange")
    backend, threshold = OnnxRuntimeBackend(bundle), bundle.manifest.threshold
    geometry = backend.graph.frame
    above, below = [], []
    for name in SHOWN:
        frame = read_image(arguments.demo / "parts" / "test" / name)
        difference, score = backend.infer(to_channels(frame, backend.graph.channels))
        verdict = decide(score, difference, threshold, geometry)
        heated = draw_regions(overlay(frame, difference, threshold.map, geometry), verdict.regions)
        crop = np.s_[20:460, 90:550]
        above.append(frame[crop])
        below.append(heated[crop])
        print(f"{name}: {score / threshold.score:.2f} x threshold")
    picture = np.vstack([np.hstack(above), np.hstack(below)])
    small = cv2.resize(picture, (1280, 1280 * picture.shape[0] // picture.shape[1]), None, 0, 0, 3)
    cv2.imwrite(str(arguments.picture), small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
