"""From text to ids: user text is plain text, the template's special tokens are placed by hand.

A document that contains `<|im_end|>` must not close the user's turn, so user text is tokenized
by a tokenizer that knows no added tokens; prompts are split at their special tokens first.
`reference_specials=True` reproduces the reference implementation, which reads them as control
tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lingxi import prompts
from lingxi.errors import ModelError


@dataclass(frozen=True, slots=True)
class Tokens:
    """A model's tokenizer: `user` reads text, `specials` are the ids of the template's control tokens,
    `end` closes a sequence. An embedder's text stands between `before` and `after`; `lead`, text of the
    template that comes before it, is tokenized in one go with it.
    """

    user: Tokenizer
    specials: Mapping[str, int]
    end: int
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    lead: str = ""

    @property
    def frame(self) -> int:
        """How many tokens a sequence has beside those of its text."""
        return len(self.before) + len(self.after)

    def framed(self, ids: list[int], most: int) -> list[int]:
        """A sequence of at most `most` tokens: what is cut is the end of the text; never empty."""
        room = max(most - self.frame, 0)
        return [*self.before, *ids[:room], *self.after] or [self.end]

    def texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text after the lead, without what stands around them."""
        led = [self.lead + text for text in texts]
        return [e.ids for e in self.user.encode_batch_fast(led, add_special_tokens=False)]

    def laid(self, pieces: Sequence[prompts.Piece]) -> list[int]:
        """Ids of a turn's pieces: control tokens and seats as such, the text between them in one go."""
        ids: list[int] = []
        for is_text, group in groupby(pieces, lambda piece: isinstance(piece, str)):
            if is_text:
                ids += self.user.encode("".join(map(str, group)), add_special_tokens=False).ids
                continue
            for piece in group:
                ids += self._placed(piece)
        return ids

    def _placed(self, piece: prompts.Piece) -> list[int]:
        if isinstance(piece, prompts.Seat):
            return [self._control(piece.pad)] * piece.tokens
        return [self._control(piece.name)] if isinstance(piece, prompts.Control) else []

    def _control(self, name: str) -> int:
        if name not in self.specials:
            raise ModelError(
                f"the tokenizer has no {name!r}", "take tokenizer.json and *.safetensors from the same model"
            )
        return self.specials[name]

    def head(self, text: str, most: int) -> str:
        """The beginning of a text that has at most `most` tokens."""
        offsets = self.user.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= most else text[: offsets[most][0]]

    def tail(self, before: str, text: str, most: int) -> str:
        """The end of a text that has, after `before`, at most `most` tokens; empty where none fits."""
        while text:
            offsets = self.user.encode(before + text, add_special_tokens=False).offsets
            extra = len(offsets) - most
            if extra <= 0:
                break
            first = sum(start < len(before) for start, _ in offsets)
            start = offsets[first + extra][0] if first + extra < len(offsets) else len(before + text)
            # Several tokens may be of one character; and what is left may be cut into tokens anew.
            text = text[max(start - len(before), 1) :]
        return text

    def prompt(self, text: str) -> list[int]:
        """Ids of a piece of a template, special tokens read as such, the longest first."""
        names = "|".join(re.escape(name) for name in sorted(self.specials, key=len, reverse=True))
        ids: list[int] = []
        for piece in re.split(f"({names})", text):
            if piece in self.specials:
                ids.append(self.specials[piece])
            else:
                ids += self.user.encode(piece, add_special_tokens=False).ids
        return ids

    def answer(self, word: str) -> int:
        """Id of a one-token answer such as `yes`; raises ModelError where it is more than one token."""
        ids = self.prompt(word)
        if len(ids) != 1:
            raise ModelError(
                f"the tokenizer writes {word!r} in {len(ids)} tokens", "a reranker needs it to be one token"
            )
        return ids[0]


def read_tokens(path: Path, vocab: int, *, reference_specials: bool = False) -> Tokens:
    """Read a Qwen3 `tokenizer.json` for a network of `vocab` rows; the end token closes a sequence.

    Raises ModelError where the file is missing, unreadable, or can emit an id without a row.
    """
    description = read_description(path)
    added = [token for token in description["added_tokens"] if token["id"] < vocab]
    specials = {token["content"]: token["id"] for token in added}
    end = specials.get(prompts.END_OF_TEXT)
    top = max((top_id(description), end if end is not None else vocab))
    if end is None or top >= vocab:
        raise ModelError(
            f"{path}: the tokenizer does not fit the network ({vocab} rows, highest id {top})",
            "take tokenizer.json and *.safetensors from the same model",
        )
    user = build(str(path), description, added if reference_specials else [])
    return Tokens(user=user, specials=specials, end=end, after=(end,))


def read_description(path: Path) -> dict[str, Any]:
    """The content of a `tokenizer.json`; raises ModelError where it is missing or none."""
    try:
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent}: no tokenizer.json", "copy it from the original model") from None
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error})", "copy it again from the original model"
        ) from None
    if not isinstance(description, dict) or not isinstance(description.get("model"), dict):
        raise ModelError(f"{path}: not a tokenizer file", "copy it again from the original model")
    description.setdefault("added_tokens", [])
    return description


def top_id(description: dict[str, Any]) -> int:
    """The highest id that plain text can become."""
    vocabulary = description["model"].get("vocab", {})
    values = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    return max(values, default=0)


# What a twin's tokenizer (`twin`) puts before each text of a pair, where the prompt ends in a space.
PAIR_SPACE = {"type": "Prepend", "prepend": " "}


def _without_space(normalizer: Any) -> Any:
    steps = normalizer.get("normalizers") if isinstance(normalizer, dict) else None
    if not steps or steps[-1] != PAIR_SPACE:
        return normalizer
    return {**normalizer, "normalizers": steps[:-1]}


def build(
    where: str,
    description: dict[str, Any],
    added_tokens: list[dict[str, Any]],
    post_processor: dict[str, Any] | None = None,
) -> Tokenizer:
    """A tokenizer that knows these added tokens alone, and neither cuts nor pads.

    Raises ModelError where the description is none.
    """
    plain = {
        **description,
        "normalizer": _without_space(description.get("normalizer")),
        "added_tokens": added_tokens,
        # The end token, truncation and padding are this package's to place.
        "post_processor": post_processor,
        "truncation": None,
        "padding": None,
    }
    try:
        return Tokenizer.from_str(json.dumps(plain))
    except Exception as error:  # the Rust side raises bare Exception
        raise ModelError(
            f"{where}: not a tokenizer file ({error})", "copy it from the original model"
        ) from None
