"""Proof that a runtime equals the model: `lingxi check`.

In: a model directory with its golden file. Out: a `Report`, one row for each way of computing.

`subject.py` the model under check · `contract.py` its rows · `limits.py`, `precisions.py` more of them ·
`padded.py` the plain network they are judged by · `report.py` how it is said.
"""

from lingxi.check.contract import check_model
from lingxi.check.report import EXACT, LOSSY, Report, Row, Skipped, Tolerance, report_lines, report_values
from lingxi.check.subject import make_golden

__all__ = [
    "EXACT",
    "LOSSY",
    "Report",
    "Row",
    "Skipped",
    "Tolerance",
    "check_model",
    "make_golden",
    "report_lines",
    "report_values",
]
