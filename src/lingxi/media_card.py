"""The card of a picture and sound encoder, written from what it was trained on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from lingxi.records import read_documents
from lingxi.train.media_run import MediaTrainSettings

_HEAD = """---
license: apache-2.0
base_model: {text}
tags: [image-text-retrieval, speech-text-retrieval]
---
# {name}

Pictures and recordings as unit vectors among those of `{text}`, whose text vectors are unchanged.
Trunks are as they were published ({trunks}); the heads were fitted here by ridge regression, in closed form.

## Trained on

| source | licence | pictures and recordings | captions |
|---|---|---:|---:|
"""


def media_card(name: str, rows: Path, train: MediaTrainSettings) -> str:
    """README.md of a directory: its trunks, and each source with its licence and counts."""
    trunks = [train.picture_trunk, *train.sound_trunk] if train.start is None else [str(train.start)]
    items: dict[tuple[str, str], set[str]] = {}
    captions: Counter[tuple[str, str]] = Counter()
    for row in read_documents(rows):
        key = (row.source or "", row.licence or "")
        items.setdefault(key, set()).add(row.media or "")
        captions[key] += 1
    lines = [
        f"| {source} | {licence} | {len(items[source, licence]):,} | {captions[source, licence]:,} |"
        for source, licence in sorted(items)
    ]
    head = _HEAD.format(text=train.text_model, name=name, trunks=", ".join(filter(None, trunks)))
    return head + "\n".join(lines) + "\n" + _USE


_USE = """
The heads hold sums over these, no picture and no recording; licences are named for whoever counts a fit as
a derived work.

## Use

```python
from pathlib import Path
from lingxi.media import MediaEmbedder

embedder = MediaEmbedder("this-directory")
pictures = embedder.encode([Path("koala.png"), Path("word.wav")])
query = embedder.encode_query(["an elephant"])
```

Drawings and small objects; little is known of photographs, nothing of faces, places or written text.
"""
