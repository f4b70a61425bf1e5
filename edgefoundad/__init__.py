"""Few-shot visual defect detection for factory lines."""

from edgefoundad import telemetry

__version__ = "0.1.0"

# Here and not where a session is made: it comes before every import of a library that reports.
telemetry.turn_off()
