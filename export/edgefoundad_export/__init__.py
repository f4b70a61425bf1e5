"""Detector → one fused ONNX graph, verified before it is written."""
