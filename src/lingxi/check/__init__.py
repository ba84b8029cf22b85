"""Proof that a runtime equals the model: `lingxi check`.

In: a model directory with its golden file, and for a comparison anything else that computes the same model
(transformers, sentence-transformers, an ONNX file, another directory, a server). Out: a `Report`, one row for
each way of computing, with the causes of what is off in words.

`subject.py` the model under check · `contract.py`, `limits.py`, `precisions.py` its rows alone ·
`padded.py` the plain network they are judged by · `vl.py`, `pictured.py` VL models and their pictures ·
`against.py` rows against another runtime · `references.py`, `onnx.py`, `server.py`, `dialects.py` those
runtimes · `variants.py`, `diagnosis.py` what went wrong · `report.py` how it is said.
"""

from lingxi.check.against import check_against
from lingxi.check.contract import check_model
from lingxi.check.report import EXACT, LOSSY, Report, Row, Skipped, Tolerance, report_lines, report_values
from lingxi.check.server import Asking
from lingxi.check.subject import make_golden

__all__ = [
    "EXACT",
    "LOSSY",
    "Asking",
    "Report",
    "Row",
    "Skipped",
    "Tolerance",
    "check_against",
    "check_model",
    "make_golden",
    "report_lines",
    "report_values",
]
