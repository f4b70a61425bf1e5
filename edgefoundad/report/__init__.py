"""The pages that a person reads: about a fit, about an evaluation, about two detectors."""

from edgefoundad.report.comparison import compared_facts, write_comparison_report
from edgefoundad.report.evaluation import write_evaluation_report
from edgefoundad.report.fit import FitPictures, write_fit_report

__all__ = [
    "FitPictures",
    "compared_facts",
    "write_comparison_report",
    "write_evaluation_report",
    "write_fit_report",
]
