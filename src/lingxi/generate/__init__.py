"""Weak supervision: pairs that nobody labelled, made of what was collected.

Comes in: `documents.parquet` (whole texts in Markdown) and `pairs.parquet` (translations) of collect. Goes
out: one `pairs.parquet` for curate, from the structure of documents (`structure`), from translations that
share their English (`pivot`) and from a language model that asks (`written`, through `llm`). Each row carries
the source, licence and group of what it was made of. `negatives` mines hard negatives for pairs of any stage.
"""

from lingxi.generate.negatives import mine_negatives
from lingxi.generate.run import GenerateReport, generate_pairs
from lingxi.generate.settings import GenerateSettings, NegativeSettings

__all__ = ["GenerateReport", "GenerateSettings", "NegativeSettings", "generate_pairs", "mine_negatives"]
