"""Frames in a Jetson's own surfaces (NVMM), judged where the camera's converter wrote them."""
