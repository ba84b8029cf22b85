"""Dictionaries of dictd: words with translations, definitions, sentences; broken ones refused by name."""

import gzip
from pathlib import Path

import pytest

from lingxi.collect import bilingual, definitions
from lingxi.collect.dictionary import read_dictionary, spans
from lingxi.collect.origin import Origin, licence_of
from lingxi.errors import InputError
from lingxi.records import Pair

ORIGIN = Origin("source", "GPL-2+")
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

KISWAHILI = [
    "paka /pˈaka/ <n> [sg=pl]\n\ncat\n",
    "ona /ˈona/ <v>\n1.\nsee\n2.\nfeel, be aware (of)\n",
    "pambo /pˈambo/ <n> (pl: {mapambo})\n\nornament, decoration\n   See also: {nakshi}\n\n",
    "panga /pˈaŋɡa/ <n>\n\n Plural of {upanga}: side, direction\n\n",
    'soma /sˈoma/ <v>\nread <v>, study\n       "Mtoto anasoma kitabu."  - The child reads a book.\n',
]


def number(value: int) -> str:
    digits = ""
    while value or not digits:
        value, rest = divmod(value, 64)
        digits = DIGITS[rest] + digits
    return digits


def dictionary(folder: Path, name: str, entries: list[str], about: str = "A dictionary.\n") -> Path:
    """A database of dictd, as `dictfmt` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, body = [], b""
    for word, text in [("00databaseinfo", about), *((text.split()[0], text) for text in entries)]:
        data = text.encode()
        lines.append(f"{word}\t{number(len(body))}\t{number(len(data))}\n")
        body += data
    (folder / f"{name}.dict.dz").write_bytes(gzip.compress(body))
    index = folder / f"{name}.index"
    index.write_text("".join(lines), "utf-8")
    return index


def said(rows: list[Pair]) -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        found.setdefault(row.query, []).append(tuple(item.text for item in row.positives))
    return found


def test_translations_are_rows_by_meaning_and_sentences_are_parallel(tmp_path: Path) -> None:
    dictionary(tmp_path / "usr/share/dictd", "freedict-swh-eng", KISWAHILI)
    rows = list(read_dictionary(tmp_path, ORIGIN))
    assert said(rows) == {
        "paka": [("cat",)],
        "ona": [("see",), ("feel", "be aware")],
        "pambo": [("ornament", "decoration")],
        "soma": [("read", "study")],
        "Mtoto anasoma kitabu.": [("The child reads a book.",)],
    }
    assert {(row.query_language, row.document_language) for row in rows} == {("sw", "en")}
    assert {row.task for row in rows if " " not in row.query} == {"retrieval"}
    assert [row.task for row in rows if " " in row.query] == ["bitext"]
    assert len({row.group for row in rows if row.query == "ona"}) == 1
    assert len({row.id for row in rows}) == len(rows) == 6


def test_wiktionary_gives_definitions_that_no_number_confuses(tmp_path: Path) -> None:
    entries = [
        "Achromasie /akʁomaˈziː/ <n, fem>\n1. achromie\nMedizin: Fehlen von Pigmenten in der Haut\n"
        "2. abc\n1. kurz\n",
        "Absender /ˈap/ <n>\navsändare 2.\nPerson, die etwas sendet\n 3.\nName und Anschrift einer Sendung\n",
    ]
    index = dictionary(tmp_path, "freedict-deu-swe", entries, "Deutsch FreeDict+WikDict dictionary")
    rows = list(read_dictionary(index, ORIGIN))
    assert said([row for row in rows if row.document_language == "sv"]) == {
        "Achromasie": [("achromie",), ("abc",)],
        "Absender": [("avsändare",)],
    }
    assert said([row for row in rows if row.document_language == "de"]) == {
        "Achromasie": [("Medizin: Fehlen von Pigmenten in der Haut",)],
        "Absender": [("Person, die etwas sendet",), ("Name und Anschrift einer Sendung",)],
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("Etiketten <pl>, Schilder <pl> [ornith.]", ["Etiketten", "Schilder"]),
        ("line of code <n>LOC,  /lˈoːk/", ["line of code", "LOC"]),
        ("(f) Form, (3) (f) Substanz; Word", ["Form", "Substanz"]),
        ("साज~सामान, sich ~", ["साज सामान"]),
        ("destheqê / kesa/ê", ["destheqê", "kesa/ê"]),
        ("Пи́рова побе́да", ["Пирова победа"]),
        ("esas nakarat.  burden of a song bir nakarat.", ["esas nakarat"]),
        ("UnitedStatesofAmerica, [[Valko]] maa 2.", ["Valko maa"]),
        ("apocryphe n, gestionnaire n m, ४?लोप", ["apocryphe", "gestionnaire"]),
        ("(adverb (fukushi))", []),
        ("x, ..., lachen über...", []),
    ],
)
def test_a_line_of_translations(line: str, words: list[str]) -> None:
    assert bilingual.translations(line, "word") == words


def test_a_sentence_is_not_cut_at_its_commas() -> None:
    assert bilingual.translations("Sie versucht, mich zu bekehren.", "She tries to convert me.") == [
        "Sie versucht, mich zu bekehren"
    ]
    assert bilingual.headword("-ben /bɛn/") is None
    assert not definitions.is_defining("eräs lintulaji () tai sen yksilö", "eeni")


def test_japanese_headwords_and_notes_that_stick_to_the_translation() -> None:
    text = (
        " [ichi1]  [nf14]  応接 /(en)tʃˈaɪ/,  [ichi1] おうせつ /ˌo̞ɯᵝ/\n(noun (common) (futsuumeishi))\n"
        " (suffix)\n"
        "reception\n"
    )
    assert [(item.query, item.answers) for item in bilingual.found(text, False)] == [("応接", ("reception",))]
    note = "ぎょっと /ɡʲ/\n1. (adverb)\n\n         Note: onomatopoeic or mimetic wordbeing startled\n"
    assert [item.answers for item in bilingual.found(note, False)] == [("being startled",)]


def test_a_language_in_another_script_says_so(tmp_path: Path) -> None:
    dictionary(tmp_path, "freedict-ckb-kmr", ["delalane\nnavbeynkar / berger\n"])
    (row,) = read_dictionary(tmp_path, ORIGIN)
    assert (row.query_language, row.document_language) == ("ckb-latn", "ku")


WORDNET = """spigot
    n 1: a plug for a bunghole in a cask; "the spigot was
         wet" [syn: {spigot}, {tap(a)}]
    2: a regulator for controlling the flow of a liquid [syn:
       {faucet}, {spigot}]
    v 1: see
"""
GCIDE = """Abate \\A*bate"\\ ([.a]*b[=a]t"), v. t. [imp. & p. p. {Abated}; OF.
   abatre [x] to beat.] (Law)
   1. To beat down; to cut down, as a
      wall. See {Abatement}, 4. [Obs.]
      [1913 Webster]

            The King of Scots abated the walls. --Edw. Hall.
      [1913 Webster]

   {To abate a tax}, to remit it either wholly or in part.

   Syn: To subside; decrease; intermit.
"""
FOLDOC = """AARP probe packets
AARPs

   <networking> {AARP} {packets} sent out on a {network} to find
   nodes.

   {(ftp://wilma.cs.brown.edu/pub/aard.tar.Z)}.

   More is said here.

   (1997-05-03)
"""
DEVIL = "CAT, n.  A soft, indestructible automaton provided by nature.\n\n    This is a dog,\n"
ELEMENT = "zinc\nSymbol: Zn\nAtomic number: 30\nBlue-white metallic element,\nfound with {lead}.\n"


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        (
            "wn",
            WORDNET,
            [
                ("a plug for a bunghole in a cask", ("spigot", "tap")),
                (
                    "spigot (noun)",
                    (
                        'a plug for a bunghole in a cask; "the spigot was wet"',
                        "a regulator for controlling the flow of a liquid",
                    ),
                ),
            ],
        ),
        ("gcide", GCIDE, [("Abate", ("To beat down; to cut down, as a wall.",))]),
        (
            "foldoc",
            FOLDOC,
            [
                (
                    "AARP probe packets",
                    ("AARP packets sent out on a network to find nodes.\n\nMore is said here.",),
                )
            ],
        ),
        (
            "jargon",
            "hose\n\n  1. vt. To make slow, or degrade it. “So.” See {hosed}.\n\n  2. n. A narrow channel.\n",
            [("hose", ("To make slow, or degrade it. “So.”", "A narrow channel."))],
        ),
        ("devil", DEVIL, [("cat", ("A soft, indestructible automaton provided by nature.",))]),
        (
            "elements",
            ELEMENT,
            [("zinc", ("Symbol: Zn\nAtomic number: 30\nBlue-white metallic element, found with lead.",))],
        ),
    ],
)
def test_english_dictionaries(name: str, text: str, rows: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(item.query, item.answers) for item in definitions.LAYOUTS[name](text)] == rows


def test_a_cap_leaves_words_of_all_letters(tmp_path: Path) -> None:
    entries = [f"w{number:04d}\nparola {number}\n" for number in range(320)]
    index = dictionary(tmp_path, "freedict-eng-ita", entries)
    first = [row.query for row, _ in zip(read_dictionary(index, ORIGIN), range(20), strict=False)]
    assert first == [f"w{number:04d}" for number in range(0, 320, 16)]


def test_broken_dictionaries_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    torn = dictionary(tmp_path, "a-swh-eng", KISWAHILI)
    torn.with_suffix(".dict.dz").write_bytes(torn.with_suffix(".dict.dz").read_bytes()[:40])
    dictionary(tmp_path, "b-swh-eng", KISWAHILI[:1])
    (tmp_path / "c-swh-eng.index").write_text("word\tB\n")
    (tmp_path / "d-swh-eng.index").write_text("word\tB\tC\n")
    dictionary(tmp_path, "unknown", ["word\nwhat it says\n"])
    origin = Origin("source", "MIT")
    assert [row.query for row in read_dictionary(tmp_path, origin)] == ["paka"]
    reasons = "\n".join(origin.left_out)
    for name in ("a-swh-eng", "c-swh-eng", "d-swh-eng", "unknown"):
        assert name in reasons
    assert len(origin.left_out) == 4
    with pytest.raises(InputError, match="languages"):
        list(read_dictionary(tmp_path / "unknown.index", origin))


def test_entries_out_of_bounds_or_no_text_are_left_out(tmp_path: Path) -> None:
    index = dictionary(tmp_path, "freedict-swh-eng", KISWAHILI[:1])
    with index.open("a") as file:
        file.write(f"far\t{number(10**6)}\t{number(20)}\nlong\tA\t{number(10**9)}\n")
    assert [row.query for row in read_dictionary(index, ORIGIN)] == ["paka"]
    index.write_text("paka\tA\t*\n")
    with pytest.raises(InputError, match="base 64"):
        spans(index)


def test_a_binary_package_has_the_licence_of_its_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "usr/share/doc/dict-freedict-deu-fra/copyright"
    path.parent.mkdir(parents=True)
    path.write_text(
        "Files: debian/*\nLicense: GPL-3+\n\nFiles: swh-eng/*\nLicense: GPL-2+\n\n"
        "Files: deu-fra/*\nCopyright: x\nLicense: CC-BY-SA-3.0\n"
    )
    assert licence_of(tmp_path, "?") == "CC-BY-SA-3.0"
