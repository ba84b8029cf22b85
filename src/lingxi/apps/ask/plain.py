"""Passages as plain text: no control characters, no hidden ones, no model's special tokens, no citations."""

from __future__ import annotations

import re
import unicodedata

# Control characters but tab and newline; characters without width, marks of direction, tags, variation
# selectors, private use: what a person does not see and a model reads.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ue000-\uf8ff"
    "\U000e0000-\U000e0fff\U000f0000-\U0010fffd]"
)
_SPECIAL = re.compile(
    r"<\|[^|>\n]{1,40}\|?>|<｜[^｜>\n]{1,40}｜>|</?s>|</?think>|<</?SYS>>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|</?(?:system|user|assistant|tool_call|tool_response|tools)>",
    re.IGNORECASE,
)
_CITED = re.compile(r"\[\s*\^?(\d{1,3}(?:\s*[,-]\s*\d{1,3})*)\s*\]|【\s*(\d{1,3})[^】]*】")
# Letters of Cyrillic and Greek that look like Latin ones.
_ALIKE = str.maketrans("аеорсухіјѕԁһӏЕАОРСУХВМНТКІαοενιρτυκ", "aeopcyxijsdhleaopcyxbmhtkiaoeviptuk")
_SPELT = re.compile(r"(?<!\w)(?:\w[ .\-_*]){4,}\w(?!\w)")


def visible(text: str) -> str:
    """Text without what nobody sees; letters spelt by compatibility characters in their plain form."""
    bare = _UNSEEN.sub("", text.replace("\r\n", "\n"))
    return bare if bare.isascii() else unicodedata.normalize("NFC", _folded_letters(bare))


def quoted(text: str) -> str:
    """What goes into a prompt: special tokens broken by spaces, `[1]` of the passage written `(1)`."""
    bare = _SPECIAL.sub(lambda match: " ".join(_inside(match.group())), visible(text))
    return _CITED.sub(lambda match: f"({match.group(1) or match.group(2)})", bare)


def has_specials(text: str) -> bool:
    """Whether a text holds what some model reads as the mark of a turn."""
    return _SPECIAL.search(visible(text)) is not None


def has_unseen(text: str) -> bool:
    """Whether a text hides something: tags, letters turned around, or marks without width inside a word."""
    return re.search("[\U000e0000-\U000e007f\u202d\u202e]|\\w[\u200b\u2060\ufeff]\\w", text) is not None


def folded(text: str) -> str:
    """A text as rules compare it: plain lower-case letters, look-alikes as Latin, s p e l t words joined."""
    # Joiners belong to the spelling of some languages, so they are shown, and are nothing to the rules.
    plain = unicodedata.normalize("NFKC", re.sub("[\u200c\u200d]", "", visible(text))).casefold()
    if any("a" <= letter <= "z" for letter in plain):
        plain = plain.translate(_ALIKE)
    joined = _SPELT.sub(lambda match: re.sub(r"[ .\-_*]", "", match.group()), plain)
    return " ".join(joined.split())


def _folded_letters(text: str) -> str:
    """Mathematical, circled and wide Latin letters and digits as plain ones; other characters stay."""
    return "".join(
        plain if (plain := unicodedata.normalize("NFKC", letter)).isascii() and plain.isalnum() else letter
        for letter in text
    )


def _inside(token: str) -> list[str]:
    return [part for part in re.split(r"([<>|｜\[\]/]+)", token) if part]
