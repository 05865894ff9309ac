"""Run folder to HTML: self-contained pages that open offline, for runs and for every kind of study."""

from understudy.report.adapters import adapters_table, summarise_adapters, write_adapters
from understudy.report.audit import audit_table, summarise_audit, write_audit
from understudy.report.comparison import write_comparison
from understudy.report.extraction import write_extraction_report
from understudy.report.resistance import resistance_table, summarise_resistance, write_resistance
from understudy.report.robustness import summarise_robustness, write_robustness_report
from understudy.report.run_report import write_report

__all__ = [
    "adapters_table",
    "audit_table",
    "resistance_table",
    "summarise_adapters",
    "summarise_audit",
    "summarise_resistance",
    "summarise_robustness",
    "write_adapters",
    "write_audit",
    "write_comparison",
    "write_extraction_report",
    "write_report",
    "write_resistance",
    "write_robustness_report",
]
