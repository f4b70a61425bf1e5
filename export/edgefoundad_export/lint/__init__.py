"""A static check of a graph against what TensorRT takes, before a device finds out."""

from edgefoundad_export.lint.finding import VERSIONS, Finding
from edgefoundad_export.lint.lint import lint, refuse_unless_clean

__all__ = ["VERSIONS", "Finding", "lint", "refuse_unless_clean"]
