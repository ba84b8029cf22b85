"""A vocabulary of chosen languages: the tokenizer rebuilt with the tokens that their texts are written in.

Byte-level BPE: a kept token brings the tokens that it is merged from, so what is kept is still reached by
the merges that are left, in their order; single bytes stay, so any text still has ids. A text whose
tokens are all kept is cut into the same tokens as before: merges are never undone, so those that made them
are all there. WordPiece and Unigram keep single characters in place of bytes. Special tokens,
the tokens of the templates, the normaliser and the pre-tokenizer stay.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from lingxi import prompts
from lingxi.errors import InputError

_READ_AT_A_TIME = 1000
Description = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller tokenizer: its `tokenizer.json`, and for each of its ids the one it had before, rising.

    `met` is how many tokens the texts were written in, `covered` the share of their tokens that is kept.
    """

    description: Description
    ids: tuple[int, ...]
    met: int
    covered: float

    def new_ids(self) -> dict[int, int]:
        """The new id of each old one that is kept."""
        return {old: new for new, old in enumerate(self.ids)}


@dataclass(frozen=True, slots=True)
class Counts:
    """How often each token is met in some texts, and the sum of its shares of them.

    A text of n tokens adds 1/n a token to `shares`: a vector changes by the share of its text that does, so a
    sentence weighs as much as a page.
    """

    times: Mapping[int, int]
    shares: Mapping[int, float]


def count_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> Counts:
    """Count the tokens of texts."""
    times: Counter[int] = Counter()
    shares: dict[int, float] = defaultdict(float)
    left = iter(texts)
    while part := list(islice(left, _READ_AT_A_TIME)):
        for encoding in tokenizer.encode_batch_fast(part, add_special_tokens=False):
            times.update(encoding.ids)
            for i in encoding.ids:
                shares[i] += 1 / len(encoding.ids)
    return Counts(times, shares)


def frame_texts() -> list[str]:
    """The words of the templates, which every model reads."""
    parts = (
        prompts.RERANK_PREFIX,
        prompts.rerank_body("", ""),
        prompts.RERANK_SUFFIX,
        prompts.query_prefix(),
        "yes",
        "no",
        "Query",
        "<Document",
    )
    text = list(parts)
    for special in prompts.SPECIAL_TOKENS:
        text = [part.replace(special, "") for part in text]
    return [*text, "\n".join(text)]


def prune(
    description: Description,
    counts: Counts,
    frame: Iterable[int],
    *,
    size: int | None,
    min_count: int,
    rows: int,
    prior: float = 0.0,
) -> Pruned:
    """Keep the specials, `frame`, what any text needs, and the tokens of the largest weights, up to `size`.

    A token's weight is its share of the texts; with a prior (1 − prior) · share + prior · probability, both
    summing to 1. `rows` is how many ids the network has. Raises InputError where `size` does not hold what
    must stay, for a kind of tokenizer that is not rebuilt, and for a `prior` of one without probabilities.
    """
    model = _Model.of(description)
    weights = _weights(description, counts, min_count, prior)
    kept: set[int] = set()
    for token in description.get("added_tokens", []):
        kept.add(int(token["id"]))
    for i in (*model.needed(), *frame):
        kept |= model.with_parts(i)
    most = rows if size is None else size
    if len(kept) > most:
        raise InputError(
            f"a vocabulary of {most} does not hold the {len(kept)} tokens that any text needs",
            f"choose {len(kept)} or more",
        )
    for i, _ in sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])):
        more = model.with_parts(i) - kept
        # A token whose parts do not fit is left out; a later one may still fit.
        if len(kept) + len(more) <= most:
            kept |= more
    ids = tuple(sorted(i for i in kept if i < rows))
    total = sum(counts.times.values())
    covered = sum(n for i, n in counts.times.items() if i in kept) / max(total, 1)
    return Pruned(_rebuilt(description, model, ids), ids, len(counts.times), covered)


def _weights(description: Description, counts: Counts, min_count: int, prior: float) -> dict[int, float]:
    """What each token is kept by: its share of the texts, and of its own probability."""
    shares = {i: share for i, share in counts.shares.items() if counts.times[i] >= min_count}
    if prior == 0:
        return shares
    own, met = _probabilities(description), sum(shares.values())
    weights = {i: (1 - prior) * share / met for i, share in shares.items()}
    for i, probability in own.items():
        weights[i] = weights.get(i, 0.0) + prior * probability
    return weights


def _probabilities(description: Description) -> dict[int, float]:
    """The probability of each piece by the tokenizer itself; control pieces, whose score is 0, have none."""
    if description["model"].get("type") != "Unigram":
        kind = description["model"].get("type") or "unknown"
        raise InputError(
            f"a tokenizer of the kind {kind} has no probabilities of its tokens",
            "leave out vocabulary.prior, which is for Unigram tokenizers",
        )
    own = {i: math.exp(score) for i, (_, score) in enumerate(description["model"]["vocab"]) if score < 0}
    total = sum(own.values())
    return {i: probability / total for i, probability in own.items()}


@dataclass(frozen=True, slots=True)
class _Model:
    """The parts of a `tokenizer.json` that a vocabulary is made of."""

    kind: str
    vocab: Mapping[str, int]
    names: Mapping[int, str]
    parents: Mapping[str, tuple[str, str]]
    special: frozenset[str]

    @staticmethod
    def of(description: Description) -> _Model:
        model = description["model"]
        kind = model.get("type") or ("BPE" if "merges" in model else "")
        if kind == "Unigram":
            vocab = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
        elif kind in ("BPE", "WordPiece"):
            vocab = dict(model["vocab"])
        else:
            raise InputError(
                f"a tokenizer of the kind {kind or 'unknown'} is not rebuilt", "leave out the vocabulary"
            )
        parents: dict[str, tuple[str, str]] = {}
        for left, right in map(merge_of, model.get("merges", [])):
            # Of several merges that make a token the first is the one that is tried first.
            parents.setdefault(left + right, (left, right))
        special = {model.get("unk_token")} - {None}
        if kind == "Unigram" and model.get("unk_id") is not None:
            special.add(model["vocab"][model["unk_id"]][0])
        names = {i: name for name, i in vocab.items()}
        return _Model(kind, vocab, names, parents, frozenset(special))

    def needed(self) -> list[int]:
        """Ids without which some text has none: bytes, or single characters, and the unknown token."""
        return [i for name, i in self.vocab.items() if self._is_needed(name)]

    def _is_needed(self, name: str) -> bool:
        if name in self.special or (name.startswith("<0x") and name.endswith(">") and len(name) == 6):
            return True
        bare = name.removeprefix("##") if self.kind == "WordPiece" else name
        return len(bare) == 1

    def with_parts(self, i: int) -> set[int]:
        """A token and all that it is merged from."""
        if i not in self.names:
            return {i}
        out: set[int] = set()
        left = [self.names[i]]
        while left:
            name = left.pop()
            if name in self.vocab and self.vocab[name] not in out:
                out.add(self.vocab[name])
                left += self.parents.get(name, ())
        return out


def merge_of(merge: Any) -> tuple[str, str]:
    """A merge as its two parts: written as a list, or (before tokenizers 0.20) as text with a space."""
    left, right = merge if isinstance(merge, Sequence) and not isinstance(merge, str) else merge.split(" ", 1)
    return left, right


def _rebuilt(description: Description, model: _Model, ids: Sequence[int]) -> Description:
    """The description with these ids alone, numbered anew in their order."""
    new = {old: number for number, old in enumerate(ids)}
    out = json.loads(json.dumps(description))
    part = out["model"]
    if model.kind == "Unigram":
        part["vocab"] = [part["vocab"][i] for i in ids]
        part["unk_id"] = None if part.get("unk_id") is None else new[part["unk_id"]]
    else:
        part["vocab"] = {model.names[i]: new[i] for i in ids if i in model.names}
    if "merges" in part:
        part["merges"] = [m for m in part["merges"] if _is_whole(m, part["vocab"])]
    out["added_tokens"] = [{**t, "id": new[t["id"]]} for t in out.get("added_tokens", []) if t["id"] in new]
    if out.get("post_processor"):
        _renumber(out["post_processor"], new)
    return dict(out)


def _is_whole(merge: Any, vocab: Mapping[str, int]) -> bool:
    left, right = merge_of(merge)
    return left in vocab and right in vocab and left + right in vocab


def _renumber(part: Any, new: Mapping[int, int]) -> None:
    """Give the special tokens that a post-processor names by id their new ids."""
    if isinstance(part, list):
        for each in part:
            _renumber(each, new)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "ids" and isinstance(value, list):
                part[key] = [new[i] for i in value]
            elif key in ("sep", "cls") and isinstance(value, list):
                part[key] = [value[0], new[value[1]]]
            else:
                _renumber(value, new)
