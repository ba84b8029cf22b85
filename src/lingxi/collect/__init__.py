"""From archives and packages to pairs: files of others come in, one `pairs.parquet` goes out.

Nothing is dropped here for its content: `curate` does that, with a reason on every row. A file that no
reader knows is named in the report. `labelled` reads folders of labelled JSONL, `mediawiki` the
translations of MediaWiki.
"""

from lingxi.collect.run import CollectReport, CollectSettings, collect_pairs

__all__ = ["CollectReport", "CollectSettings", "collect_pairs"]
