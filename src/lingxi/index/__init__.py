"""Files to passages found by meaning and by words: an embedded index in one folder.

Comes in: folders and files (`walk`), read by `lingxi.parse`. On the way: `segments` cuts, `words` prepares
full text, `build` embeds and commits, `store` keeps (LanceDB), `search` fuses, reranks and marks, `documents`
ranks whole files by their passages, `within` says where to look. Goes out: `Hit`s and `DocumentHit`s.
Beside the passages `media` (`media_files`, `media_work`) keeps pictures, sound and pages; `seeing`: by whom.
Around it: `estimate` says the cost before, `snapshot` keeps a moment, `upgrade` and `generations` move to
another model, `bulk` embeds Parquet.

There are two levels, and they do not stack. The index keeps files, passages, words and vectors in one
table, because one commit must hold them all: vectors in a second database could disagree with the files
after a kill. `stores` is the level of rows a user names: ids, vectors and metadata in LanceDB, faiss,
PostgreSQL, Qdrant or Milvus. `publish` copies an index's passages into any of those, and brings the copy up
to date.
"""

from lingxi.index.build import AddReport
from lingxi.index.documents import DocumentHit
from lingxi.index.index import Index, Stats
from lingxi.index.search import Hit
from lingxi.parse.walk import Skipped

__all__ = ["AddReport", "DocumentHit", "Hit", "Index", "Skipped", "Stats"]
