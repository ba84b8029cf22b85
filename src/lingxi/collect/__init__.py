"""From archives and packages to rows: files come in, `pairs.parquet` and `documents.parquet` go out.

Nothing is dropped here for its content: `curate` does that, with a reason on every row. A file that no
reader knows is named in the report. `labelled` reads folders of labelled JSONL, `mediawiki` the
translations of MediaWiki.
"""

from lingxi.collect.run import CollectReport, CollectSettings, collect_pairs

__all__ = ["CollectReport", "CollectSettings", "collect_pairs"]
