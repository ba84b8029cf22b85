"""From a model and a benchmark folder to measured rows: sets come in, scores with intervals go out.

`suites` reads the sets and samples them, `systems` puts models and floors behind one face, `run` measures,
`report` writes. Every value says the metric, the number of queries or pairs it stands on, and a 95 %
bootstrap interval.
"""

from lingxi.evaluate.report import Score
from lingxi.evaluate.run import EvaluateReport, EvaluateSettings, evaluate_models

__all__ = ["EvaluateReport", "EvaluateSettings", "Score", "evaluate_models"]
