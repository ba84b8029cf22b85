"""Files to passages found by meaning and by words: an embedded index in one folder.

Comes in: folders and files (`walk`), read by `lingxi.parse`. On the way: `segments` cuts, `words` prepares
full text, `build` embeds and commits, `store` keeps (LanceDB), `search` fuses, reranks and marks. Goes out:
`Hit`s.
"""

from lingxi.index.build import AddReport
from lingxi.index.index import Index, Stats
from lingxi.index.search import Hit
from lingxi.parse.walk import Skipped

__all__ = ["AddReport", "Hit", "Index", "Skipped", "Stats"]
