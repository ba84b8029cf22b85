"""Names of languages and what is known of their writing: one code per language, its script, its spaces.

A code is ISO 639-1 where one exists, otherwise 639-3, in lower case, with a script behind a hyphen only
where it is not the usual one (`sr-latn`, `zh-hant`). `normalise` brings MediaWiki (`zh-hans`, `be-tarask`),
FLORES (`zho_Hans`) and Tatoeba (`cmn`) codes to that form.
"""

from __future__ import annotations

import re
from functools import lru_cache


def _table(text: str) -> dict[str, str]:
    """The pairs of `from:to from:to …`."""
    return dict(pair.split(":") for pair in text.split())


# ISO 639-3 (and members of macrolanguages that stand for them in FLORES and Tatoeba) -> our code.
_SHORT = _table(
    """
    aar:aa abk:ab afr:af aka:ak als:sq amh:am ara:ar arb:ar arg:an asm:as ava:av ayr:ay aze:az azj:az
    bak:ba bam:bm bel:be ben:bn bod:bo bos:bs bre:br bul:bg cat:ca ces:cs cha:ch che:ce chv:cv cmn:zh
    cor:kw cos:co cym:cy dan:da deu:de div:dv dzo:dz ekk:et ell:el eng:en epo:eo est:et eus:eu ewe:ee
    fao:fo fas:fa fij:fj fin:fi fra:fr fry:fy fuv:ff gaz:om gla:gd gle:ga glg:gl glv:gv gom:gom grn:gn
    guj:gu hat:ht hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ido:io iii:ii ile:ie ina:ia ind:id
    isl:is ita:it jav:jv jpn:ja kan:kn kas:ks kat:ka kaz:kk khk:mn khm:km kik:ki kin:rw kir:ky kmr:ku
    knc:kr kon:kg kor:ko kua:kj kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lub:lu lug:lg
    lvs:lv mal:ml mar:mr mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nde:nd nep:ne nld:nl nno:nn
    nob:nb nor:nb npi:ne nya:ny oci:oc ori:or orm:om ory:or oss:os pan:pa pbt:ps pes:fa plt:mg pol:pl
    por:pt prs:prs pus:ps que:qu quy:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl
    sme:se smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv
    swh:sw tam:ta tat:tt tel:te tgk:tg tgl:fil tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw
    uig:ug ukr:uk urd:ur uzb:uz uzn:uz ven:ve vie:vi vol:vo wln:wa wol:wo xho:xh ydd:yi yid:yi yor:yo
    zha:za zho:zh zsm:ms zul:zu no:nb tl:fil iw:he in:id ji:yi mo:ro-cyrl dik:din
    """
)

# MediaWiki's own names, and regional or formal variants that are no language of their own here.
_VARIANTS = _table(
    """
    zh-cn:zh zh-sg:zh zh-my:zh zh-tw:zh-hant zh-hk:zh-hant zh-mo:zh-hant zh-yue:yue zh-classical:lzh
    zh-min-nan:nan pt-br:pt en-gb:en en-ca:en de-at:de de-ch:de de-formal:de hu-formal:hu es-formal:es
    es-419:es nl-informal:nl be-tarask:be sr-ec:sr sr-el:sr-latn cbk-zam:cbk map-bms:bms
    roa-tara:nap-tara bat-smg:sgs fiu-vro:vro ko-kp:ko crh-ro:crh nan-latn-pehoeji:nan-latn
    nan-latn-tailo:nan-latn
    """
)

# Esperanto stays: it has speakers and is measured by FLORES and Tatoeba.
CONSTRUCTED = frozenset(("avk", "ia", "ie", "io", "isv", "jbo", "lfn", "nov", "qya", "tlh", "tok", "vo"))

_USUAL_SCRIPT = {
    code: script
    for script, codes in {
        "Latn": """
            aa ace af ak ale aln ami an ang ann ast atj ay az ban bar bcl bew bi bjn bm br bs ca
            ceb ch co crh cs csb cy da dag de din diq dsb dtp ee efi en eo es et eu ext ff fi fil fit fj
            fo fon fr frp frr fur fy ga gaa gcr gd gl gn gor gsw gur guw gv ha haw hil hif hr hsb ht hu
            id ig ilo is it jam jv kaa kab kbp kcg kea kg ki krl ksh ku kw la lad lb lg li lij lld lmo
            ln lt ltg lua lus lv mad mg mi min mos ms mt mwl nah nap nb nds nds-nl nia nl nn nso ny oc
            om pag pam pap pcd pcm pfl pl pms prg pt qu rm rmc rn ro rw sc scn sco se sg sgs sh sk sl
            sli sm smn sms sn so sq srn ss st stq su sv sw szl szy tay tet tk tl tn to tpi tr trv ts tum
            tw ty uz ve vec vep vi vls vmf vo vro wa war wo xh yo yua za zea zu
        """,
        "Cyrl": """
            ab av ba be bg bxr ce cv kbd kjh koi krc kum kv kk ky lbe lez mdf mhr mk mn mns mrj
            myv nog os rsk rue ru sah sr tg tt tyv udm uk xal alt ady inh
        """,
        "Arab": """
            acm acq ajp apc ar ars arz azb bgn bqi ckb fa glk khw ks lki lrc mzn pbt pnb prs
            ps sd sdh skr ug ur bcc aeb arq
        """,
        "Deva": "anp awa bgc bho brx dty hi hne mag mai mr ne new sa gom",
        "Beng": "as bn bpy mni",
        "Grek": "el grc pnt",
        "Hebr": "he yi",
        "Armn": "hy hyw",
        "Geor": "ka xmf",
        "Ethi": "am ti tig",
        "Guru": "pa",
        "Gujr": "gu",
        "Orya": "or",
        "Taml": "ta",
        "Telu": "te",
        "Knda": "kn tcy",
        "Mlym": "ml",
        "Sinh": "si",
        "Thai": "th",
        "Laoo": "lo",
        "Khmr": "km",
        "Mymr": "blk kjp ksw mnw my rki shn",
        "Tibt": "bo dz",
        "Hang": "ko",
        "Jpan": "ja",
        "Hani": "zh zh-hant gan hsn lzh wuu yue",
        "Thaa": "dv",
        "Nkoo": "nqo",
        "Olck": "sat",
        "Tfng": "zgh",
        "Cher": "chr",
    }.items()
    for code in codes.split()
}

# Letters of each script, as the inside of a character class; by number where an editor would compose them.
_LETTERS = {
    "Latn": "A-Za-zÀ-ÖØ-öø-ɏɐ-ʯḀ-ỿ",
    "Cyrl": "Ѐ-ԯᲀ-ᲈꙀ-ꚟ",
    "Arab": "ؠ-ۓەݐ-ݿࢠ-ࣿﭐ-﷿ﹰ-ﻼ",
    "Deva": "ऀ-ॿ",
    "Beng": "ঀ-৾ꯀ-ꯪ",
    "Grek": "Ͱ-Ͽἀ-῾",
    "Hebr": "א-\u05f2\ufb1d-\ufb4f",
    "Armn": "Ա-֏",
    "Geor": "Ⴀ-ჿᲐ-Ჿ",
    "Ethi": "ሀ-᎙",
    "Guru": "ਁ-੶",
    "Gujr": "ઁ-૿",
    "Orya": "ଁ-୷",
    "Taml": "ஂ-௺",
    "Telu": "ఀ-౿",
    "Knda": "ಀ-ೲ",
    "Mlym": "ഀ-ൿ",
    "Sinh": "ං-෴",
    "Thai": "ก-๛",
    "Laoo": "ກ-ໟ",
    "Khmr": "ក-៩",
    "Mymr": "က-႟ꩠ-ꩿꧠ-ꧾ",
    "Tibt": "ༀ-࿚",
    "Hang": "가-힣ᄀ-ᇿ㄰-㆏",
    "Jpan": "぀-ヿ一-鿿㐀-䶿",
    "Hani": "一-鿿㐀-䶿\uf900-\ufaff\U00020000-\U0002fa1f",
    "Thaa": "ހ-ޱ",
    "Nkoo": "߀-߿",
    "Olck": "᱐-᱿",
    "Tfng": "ⴰ-⵿",
    "Cher": "Ꭰ-ᏽꭰ-ꮿ",
}
_ALIASES = {"Hans": "Hani", "Hant": "Hani"}
_CLASSES = {script: re.compile(f"[{letters}]") for script, letters in _LETTERS.items()}
_RUNS = re.compile("|".join(f"(?P<{script}>[{letters}]+)" for script, letters in _LETTERS.items()))
_ANY_LETTER = re.compile(r"[^\W\d_]")
UNSPACED = frozenset(["Thai", "Laoo", "Khmr", "Mymr", "Tibt", "Jpan", "Hani"])
_DENSE = re.compile("[぀-ヿ一-鿿㐀-䶿가-힣𠀀-𪛟]")


@lru_cache(maxsize=4096)
def normalise(code: str) -> str:
    """Our code of a language named by MediaWiki, FLORES, Tatoeba or BCP 47; others pass in lower case."""
    code = code.strip().lower().replace("_", "-")
    language, _, rest = _VARIANTS.get(code, code).partition("-")
    language = _SHORT.get(language, language)
    if (language, rest) == ("zh", "hant"):
        return "zh-hant"
    usual = not rest or rest == "hans" or _script_name(rest) == _USUAL_SCRIPT.get(language)
    return language if usual else f"{language}-{rest}"


def of_locale(name: str) -> str:
    """Our code of a locale such as `de_DE.UTF-8`, `sr@latin` or `en-US`: its region counts for nothing."""
    plain = name.partition(".")[0].replace("@latin", "-latn").replace("@cyrillic", "-cyrl").replace("@", "-")
    return re.sub(r"-([a-z]{2}|\d{3})$", "", normalise(plain))


# Languages of the classes 3 to 5 of Joshi et al. 2020 (arXiv 2004.09095): much text, some of it labelled.
_RESOURCED = re.compile(
    r"(en|es|de|ja|fr|ar|zh|ru|hu|vi|nl|ko|it|sv|tr|fa|pt|pl|cs|hi|fi|hr|sr|ca|eu|id|uk|af|he|th|bn|sk|lt|et"
    r"|lv|da|ro|bg|el|sl|kk|ms|fil|ta|ur|uz|ka|bs|gl|be|ceb|no|nb)(-|$)"
)


def is_resourced(code: str) -> bool:
    """Whether a language (by our code, in any script) has much text and labels to learn from."""
    return _RESOURCED.match(code) is not None


@lru_cache(maxsize=4096)
def script(code: str) -> str | None:
    """The ISO 15924 name of the script a language is written in, or None where it is not known here."""
    code = normalise(code)
    named = _script_name(code.partition("-")[2])
    return named if named in _CLASSES else _USUAL_SCRIPT.get(code)


@lru_cache(maxsize=4096)
def is_spaced(code: str) -> bool:
    """Whether words stand apart by spaces; unknown languages count as spaced."""
    return script(code) not in UNSPACED


DENSE_SCRIPTS = frozenset(("Hani", "Jpan", "Hang"))
"""Scripts that say in one character what others say in 2.5."""


@lru_cache(maxsize=65_536)
def script_share(text: str, name: str) -> float | None:
    """The share, 0 to 1, of a text's letters that belong to a script; None for a text without letters.

    Ideographs, kana and Hangul count 2.5 times: they say as much.
    """
    own = len(_CLASSES[name].findall(text))
    others = max(0, len(_ANY_LETTER.findall(text)) - own)
    weighted = own * (2.5 if name in DENSE_SCRIPTS else 1.0)
    return None if own + others == 0 else weighted / (weighted + others)


def main_script(text: str) -> str | None:
    """The script that most letters of a text belong to; None where none belongs to a script known here.

    Han characters count as Japanese (`Jpan`).
    """
    counts: dict[str, int] = {}
    for run in _RUNS.finditer(text):
        name = str(run.lastgroup)
        counts[name] = counts.get(name, 0) + run.end() - run.start()
    return max(counts, key=lambda name: counts[name], default=None)


@lru_cache(maxsize=65_536)
def weighted_length(text: str) -> float:
    """Length in characters, ideographs, kana and Hangul counted 2.5 times: comparable between languages."""
    return len(text) + (0.0 if text.isascii() else 1.5 * len(_DENSE.findall(text)))


def _script_name(suffix: str) -> str:
    """`cyrl` -> `Cyrl`; the two kinds of Han characters are one script here."""
    return _ALIASES.get(suffix.capitalize(), suffix.capitalize())
