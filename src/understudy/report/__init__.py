"""Run folder to HTML: self-contained pages that open offline, for one run or for several side by side."""

from understudy.report.comparison import write_comparison
from understudy.report.run_report import write_report

__all__ = ["write_comparison", "write_report"]
