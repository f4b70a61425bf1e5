"""The live picture: what the station sees and says, in a window or in a browser."""

from edgefoundad_jetson.live.preview import Preview
from edgefoundad_jetson.live.scene import Station
from edgefoundad_jetson.live.window import Window

__all__ = ["Preview", "Station", "Window"]
