"""Fitting a detector. With the exporter's graph, the only place that imports torch and timm."""
