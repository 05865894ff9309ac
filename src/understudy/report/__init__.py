"""Run folder to HTML: self-contained pages that open offline, for a run, several, an audit, or an evaluation."""

from understudy.report.audit import audit_table, summarise_audit, write_audit
from understudy.report.comparison import write_comparison
from understudy.report.extraction import write_extraction_report
from understudy.report.robustness import summarise_robustness, write_robustness_report
from understudy.report.run_report import write_report

__all__ = [
    "audit_table",
    "summarise_audit",
    "summarise_robustness",
    "write_audit",
    "write_comparison",
    "write_extraction_report",
    "write_report",
    "write_robustness_report",
]
