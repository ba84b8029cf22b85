"""Tokenizers of every family but Qwen3: texts stand in the frame of the tokenizer's own post-processor.

`[CLS] … [SEP]` of BERT, `<s> … </s>` of XLM-R, `<bos> …` of Gemma: read off the file, never written
here. User text is plain text in these families too; tokens that a tokenizer adds and does not call
special (runs of spaces, say) stay, because texts are meant to hold them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer, Tokenizer

from lingxi import prompts
from lingxi.errors import ModelError
from lingxi.model.tokens import Tokens, build, read_description, top_id

# transformers writes a limit that is none as 10^30.
_NO_LIMIT = 10**9


def read_framed_tokens(directory: Path, vocab: int, *, reference_specials: bool = False) -> Tokens:
    """Read `tokenizer.json`, or BERT's `vocab.txt`, for a network of `vocab` rows.

    Raises ModelError where both are missing, one is unreadable, or an id would have no row.
    """
    path = directory / "tokenizer.json"
    bare = not path.exists() and (directory / "vocab.txt").exists()
    description = _from_vocabulary(directory) if bare else read_description(path)
    return framed_tokens(
        description, vocab, str(path), _end_name(directory), reference_specials=reference_specials
    )


def framed_tokens(
    description: dict[str, Any],
    vocab: int,
    where: str,
    end_name: str | None = None,
    *,
    reference_specials: bool = False,
) -> Tokens:
    """Tokens of a `tokenizer.json` already read; `end_name` is the end token of one that frames nothing."""
    added = [token for token in description["added_tokens"] if token["id"] < vocab]
    specials = {token["content"]: token["id"] for token in added if token.get("special")}
    frame = description.get("post_processor")
    before, after = _frame(build(where, description, added, post_processor=frame))
    end = [specials.get(end_name or prompts.END_OF_TEXT), *before, *after][-1]
    top = max(top_id(description), *before, *after, end or 0)
    if end is None or top >= vocab:
        raise ModelError(
            f"{where}: the tokenizer does not fit the network ({vocab} rows, highest id {top})"
            if end is not None
            else f"{where}: the tokenizer has no end token",
            "take the tokenizer and *.safetensors from the same model",
        )
    kept = added if reference_specials else [token for token in added if not token.get("special")]
    plain = description if reference_specials else _unsayable(description, specials)
    return Tokens(build(where, plain, kept), specials, end, before, after)


def read_token_limit(directory: Path) -> int | None:
    """`model_max_length` of `tokenizer_config.json`; None where it is absent, or the huge number for none."""
    found = _config(directory).get("model_max_length")
    return int(found) if found and found < _NO_LIMIT else None


def _frame(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that the post-processor puts before and after a text."""
    found = tokenizer.encode("a")
    marked = list(zip(found.ids, found.special_tokens_mask, strict=True))
    before = tuple(i for i, special in takewhile(lambda pair: pair[1], marked))
    after = tuple(i for i, special in takewhile(lambda pair: pair[1], reversed(marked)))
    return before, after[::-1]


def _unsayable(description: dict[str, Any], specials: Mapping[str, int]) -> dict[str, Any]:
    """A Unigram model whose special pieces no text can spell: a piece with a space in it never matches.

    The other models build their words from smaller pieces, and none of those rules makes a special token.
    """
    model = description["model"]
    if model.get("type") != "Unigram":
        return description
    pieces = [[f" {piece}" if piece in specials else piece, score] for piece, score in model["vocab"]]
    return {**description, "model": {**model, "vocab": pieces}}


def _end_name(directory: Path) -> str | None:
    """The end token that `tokenizer_config.json` names."""
    found = _config(directory).get("eos_token")
    return found.get("content") if isinstance(found, dict) else found


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot be read ({error})", "copy it again from the original model"
        ) from None
    return found if isinstance(found, dict) else {}


def _from_vocabulary(directory: Path) -> dict[str, Any]:
    """The description that BERT's `vocab.txt` and `tokenizer_config.json` amount to."""
    config = _config(directory)
    try:
        made = BertWordPieceTokenizer(
            str(directory / "vocab.txt"),
            lowercase=bool(config.get("do_lower_case", True)),
            strip_accents=config.get("strip_accents"),
            handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
        )
    except Exception as error:  # the Rust side raises bare Exception
        raise ModelError(
            f"{directory / 'vocab.txt'}: not a vocabulary ({error})", "copy it from the original model"
        ) from None
    found: dict[str, Any] = json.loads(made.to_str())
    return found
