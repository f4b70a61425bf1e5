"""Few-shot visual defect detection for factory lines."""

__version__ = "0.1.0"
