"""The pages that a person reads: one about a fit, one about an evaluation."""

from edgefoundad.report.evaluation import write_evaluation_report
from edgefoundad.report.fit import FitPictures, write_fit_report

__all__ = ["FitPictures", "write_evaluation_report", "write_fit_report"]
