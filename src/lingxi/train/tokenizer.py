"""Train a byte-level BPE with Qwen's pre-tokenizer, normaliser and special tokens.

The special tokens keep Qwen's names, so every template reads the same; their ids are our own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from lingxi import prompts
from lingxi.train.settings import TokenizerSettings

# Qwen3's pattern: letters with at most one leading sign, single digits, runs of signs, white space.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Read this often, the words of the templates become whole tokens, whatever else the texts hold.
_FRAME_REPEATS = 1000


def train_tokenizer(texts: Iterable[tuple[str, str]], settings: TokenizerSettings) -> str:
    """Train on (language, text) rows and return the text of `tokenizer.json`.

    At most `characters_per_language` characters are read of each language (or what `characters` says of it),
    in the order given.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = (*prompts.SPECIAL_TOKENS, *prompts.INFILL_TOKENS)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab,
        min_frequency=2,
        special_tokens=[AddedToken(s, special=True, normalized=False) for s in specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_balanced(texts, settings), trainer)
    text: str = tokenizer.to_str()
    return text


def _balanced(texts: Iterable[tuple[str, str]], settings: TokenizerSettings) -> Iterator[str]:
    read: Counter[str] = Counter()
    yield _frame() * _FRAME_REPEATS
    for language, text in texts:
        if read[language] < settings.characters.get(language, settings.characters_per_language):
            read[language] += len(text)
            yield text


def _frame() -> str:
    """Every template without its special tokens, and the reranker's answers."""
    parts = (
        prompts.RERANK_PREFIX,
        prompts.rerank_body("", ""),
        prompts.RERANK_SUFFIX,
        prompts.query_prefix(),
    )
    text = "\n".join((*parts, "yes", "no", ""))
    for special in prompts.SPECIAL_TOKENS:
        text = text.replace(special, "")
    return text
