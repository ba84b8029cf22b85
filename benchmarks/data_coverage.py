"""How far curated data reaches: languages by sentence-like translations, low-resource ones, code by language.

A translation is sentence-like where both sides have 20 characters or more (ideographs count 2.5) and, in a
language with spaces, four words. Prints JSON.

    python benchmarks/data_coverage.py runs/data
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from lingxi import languages

LOW_RESOURCE = """
    sw yo ig zu xh am rw om mg nso ts st ss nr ve tn mos guw kab ku ckb ug tg ps sd tk ky tt ba sah cv dz my
    km si ne mai hne as or qu gn jv su ban ilo hil fil nqo shn ha so wo ti lg ln lo ht mi ay bo
"""
_COLUMNS = ["query", "positives", "task", "query_language", "document_language"]


def main() -> None:
    """Count the kept rows of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    sentences, translations, code = counted(run / "3-curate" / "pairs.parquet")
    many = {language: count for language, count in sentences.most_common() if count >= 5_000}
    low = {
        name: count
        for name, count in sentences.most_common()
        if name in LOW_RESOURCE.split() and count >= 1_000
    }
    report = {
        "translations": sum(translations.values()),
        "sentence-like": sum(sentences.values()),
        "languages": len(translations),
        "languages with 5,000 sentence-like": len(many),
        "low-resource with 1,000 sentence-like": low,
        "code pairs": sum(code.values()),
        "code languages with 1,000": {name: count for name, count in code.most_common() if count >= 1_000},
        "by language": many,
    }
    print(json.dumps(report, indent=1))


def counted(pairs: Path) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Sentence-like translations and all translations by language, and code pairs by code language."""
    sentences: Counter[str] = Counter()
    translations: Counter[str] = Counter()
    code: Counter[str] = Counter()
    with pq.ParquetFile(pairs) as file:
        for batch in file.iter_batches(50_000, columns=_COLUMNS):
            columns = (batch.column(name).to_pylist() for name in _COLUMNS)
            for query, positives, task, asked, answered in zip(*columns, strict=True):
                if task == "code":
                    code[answered] += 1
                elif task == "bitext":
                    language = asked if asked != "en" else answered
                    translations[language] += 1
                    both = ((query, asked), (positives[0]["text"], answered))
                    sentences[language] += all(is_sentence(text, tongue) for text, tongue in both)
    return sentences, translations, code


def is_sentence(text: str, language: str) -> bool:
    """Whether a text is long enough to be a sentence of its language."""
    if languages.weighted_length(text) < 20:
        return False
    return not languages.is_spaced(language) or len(text.split()) >= 4


if __name__ == "__main__":
    main()
