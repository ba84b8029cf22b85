"""A row as a reviewer sees it, and the stratum it stands for: source, languages and band of the margin."""

from __future__ import annotations

from dataclasses import dataclass

from lingxi.records import Pair, digest

MOST_TEXT = 1500
"""Characters of a side that a reviewer sees; verdicts remember what they saw, so it is not to change."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as a reviewer sees it, its stratum, and how many rows of the run that stratum has.

    `again`: the row is there for a verdict on it in other files; it is no fresh draw of these. `media` is the
    file of the picture or sound that the answer is of.
    """

    id: str
    stratum: str
    instruction: str
    query: str
    answer: str
    query_language: str
    document_language: str
    source: str
    dropped: str | None
    margin: float | None = None
    rows: int = 1
    again: bool = False
    media: str | None = None

    @property
    def seen(self) -> str:
        """The digest of the answer, by which a verdict knows what it was given on."""
        return digest(self.answer)


def group_of(row: Pair | Shown) -> str:
    """Source and languages: what the strata of one kind of row have in common."""
    return group_name(row.source, row.query_language, row.document_language)


def group_name(source: str, query_language: str, document_language: str) -> str:
    """As `group_of`, of the values."""
    return f"{source} {query_language}>{document_language}"


def band_of(margin: float | None) -> str:
    """The band of a margin score."""
    return "unscored" if margin is None else "low" if margin < 1.1 else "high"


# A duplicate that was dropped has the id of the row that stayed.
GONE = "~"
"""What stands behind the id of a row that a rule dropped."""


def shown_id(row: Pair) -> str:
    """The id of a row in a sample; one that a rule dropped is marked."""
    return f"{row.id}{GONE}" if row.dropped else row.id


def shown_of(row: Pair, stratum: str, rows: int, again: bool) -> Shown:
    """The row as a reviewer sees it, where its stratum has so many rows."""
    return Shown(
        shown_id(row),
        stratum,
        row.instruction,
        row.query[:MOST_TEXT],
        row.positives[0].text[:MOST_TEXT] if row.positives else "",
        row.query_language,
        row.document_language,
        row.source,
        row.dropped,
        row.scores.get("margin"),
        rows,
        again,
        row.positives[0].media if row.positives else None,
    )
