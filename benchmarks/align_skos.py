"""Align two SKOS vocabularies of different languages: countries and their parts, after Debian's iso-codes.

    python benchmarks/align_skos.py SHARE --languages de uk [--model NAME] [--keep FOLDER] [--out FILE]

SHARE is `usr/share` of the package iso-codes (LGPL-2.1+), with iso-codes/json and locale. Of each language a
Turtle file is written: a concept for every country (ISO 3166-1) and every part of one (ISO 3166-2) whose name
is translated into both languages, under an IRI that says nothing, with skos:prefLabel, skos:altLabel (the
official name) and skos:broader (the country, or the part it lies in). The code says which two are the same;
it stands in neither file. Names are measured alone, and with skos:broader.
"""

from __future__ import annotations

import argparse
import gettext
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from align import SETTINGS, Kept, Links, figures, one_to_one, ranks
from lingxi import Embedder
from lingxi.apps.align import Graph, align, read_graph

CORE = "@prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n"
Concept = dict[str, str]


def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as spare:
        graphs, links = vocabularies(options.share, options.languages, options.keep or Path(spare))
    found = []
    for model in options.model or ["lingxi-pico"]:
        embedder = Kept(Embedder(model))
        for way in ("embedder", "names", "structure"):
            said = align(*graphs, embedder, settings=SETTINGS.get(way))
            row = {"model": model, "languages": options.languages, "way": way}
            found.append({**row, **figures(ranks(said, links)), **one_to_one(said, links)})
            print(json.dumps(found[-1], ensure_ascii=False), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("share", type=Path)
    parser.add_argument("--languages", nargs=2, required=True, metavar="LANGUAGE")
    parser.add_argument("--model", action="append", help="may be given several times")
    parser.add_argument("--keep", type=Path, help="folder for the two Turtle files")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def vocabularies(share: Path, languages: list[str], folder: Path) -> tuple[tuple[Graph, Graph], Links]:
    """Both vocabularies, written and read again, and which concepts are the same."""
    said = [translations(share, language) for language in languages]
    concepts = [c for c in read_concepts(share) if all(c["name"] in names for names in said)]
    folder.mkdir(parents=True, exist_ok=True)
    files, iris = [], []
    for side, (language, names) in enumerate(zip(languages, said, strict=True)):
        order = [concept["code"] for concept in concepts]
        random.Random(side).shuffle(order)
        iris.append({code: f"http://example.org/{language}/{n}" for n, code in enumerate(order)})
        files.append(folder / f"{language}.ttl")
        text = "".join(turtle(c, iris[side], names, language) for c in concepts)
        files[side].write_text(CORE + text, encoding="utf-8")
    graphs = read_graph(files[0], languages[0]), read_graph(files[1], languages[1])
    return graphs, [(iris[0][c["code"]], iris[1][c["code"]]) for c in concepts]


def translations(share: Path, language: str) -> dict[str, str]:
    """Names of countries and their parts in a language, by the names that iso-codes has."""
    found: dict[str, str] = {}
    for domain in ("iso_3166-2", "iso_3166-1"):
        read = gettext.translation(domain, share / "locale", [language])
        catalog: dict[Any, str] = read._catalog  # type: ignore[attr-defined]
        found |= {key: text for key, text in catalog.items() if isinstance(key, str) and key and text}
    return found


def read_concepts(share: Path) -> list[Concept]:
    read = {
        part: json.loads((share / "iso-codes" / "json" / f"iso_{part}.json").read_text(encoding="utf-8"))[
            part
        ]
        for part in ("3166-1", "3166-2")
    }
    countries = [
        {"code": c["alpha_2"], "name": c["name"], "other": c.get("official_name", "")} for c in read["3166-1"]
    ]
    parts = []
    for c in read["3166-2"]:
        country = c["code"].partition("-")[0]
        above = f"{country}-{c['parent']}" if c.get("parent") else country
        parts.append({"code": c["code"], "name": c["name"], "other": "", "above": above, "country": country})
    return [*countries, *parts]


def turtle(concept: Concept, iris: dict[str, str], names: dict[str, str], language: str) -> str:
    tag = language.replace("_", "-")
    said = [f"a skos:Concept ; skos:prefLabel {json.dumps(names[concept['name']], ensure_ascii=False)}@{tag}"]
    if names.get(concept["other"]):
        said.append(f"skos:altLabel {json.dumps(names[concept['other']], ensure_ascii=False)}@{tag}")
    above = iris.get(concept.get("above", "")) or iris.get(concept.get("country", ""))
    if above:
        said.append(f"skos:broader <{above}>")
    return f"<{iris[concept['code']]}> {' ; '.join(said)} .\n"


if __name__ == "__main__":
    main()
