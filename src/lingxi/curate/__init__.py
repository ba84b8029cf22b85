"""From collected pairs to pairs worth training on: every row is kept or dropped with a reason.

Comes in: `pairs.parquet` of `collect`. Goes out: `pairs.parquet` (kept), `dropped.parquet` (the reason in
`dropped`) and `ledger.json`. Where is a pair dropped, and why? `rules` looks at one row, `leaks` at the
benchmark, `duplicates` at all rows, `agreement` at what the sides mean; `run` asks them in that order and
the first reason stands. `review` lets people read a sample and takes back what they say, `select` (of rows
that `pool` reads) keeps the rows that cover the rest best, `pack` makes a copy to carry.
"""

from lingxi.curate.files import KEPT_FILE
from lingxi.curate.ledger import CurateReport
from lingxi.curate.run import CurateSettings, curate_pairs

__all__ = ["KEPT_FILE", "CurateReport", "CurateSettings", "curate_pairs"]
