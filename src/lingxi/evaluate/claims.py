"""What is said of embeddings, as experiments that anyone can repeat: one command, one small report each.

widths      small vectors keep most of the quality: full width to 32, float32, int8 and binary
code        code is found by meaning better than by words, in six languages
segments    vectors of segments find long documents better than words and averaged word vectors do
languages   texts are found across languages, poor ones included, better than by the generation before
reranking   a reranker makes answers right more often, and this is what it costs
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lingxi.collect.archives import opened_tar
from lingxi.errors import InputError
from lingxi.evaluate.dense import Dense, split_form
from lingxi.evaluate.encoders import Own
from lingxi.evaluate.evidence import Difference, difference, pooled, value_of
from lingxi.evaluate.named import system as named_system
from lingxi.evaluate.readers import read_set
from lingxi.evaluate.results import Group, main_of, read_groups
from lingxi.evaluate.run import evaluate
from lingxi.evaluate.suite import SuiteSettings, resolve
from lingxi.evaluate.systems import Texts, top_k
from lingxi.evaluate.tasks import Ranking
from lingxi.languages import is_resourced, normalise

REPORT = "claim.md"
WIDTHS = (1024, 768, 512, 384, 256, 128, 64, 32)
PRECISIONS = ("float32", "int8", "binary")
_TIMED = 20
_RESAMPLES = 1000
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """The models a claim is tried on, where its sets lie, and where the evaluation goes."""

    model: str
    reranker: str
    root: Path | None
    out: Path
    cache: Path
    quick: bool = False
    say: Say = lambda line: None


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence about embeddings, the sets it is tried on, the systems beside each other, and its report."""

    says: str
    suite: str
    sets: tuple[str, ...]
    systems: Callable[[Asked], list[str]]
    report: Callable[[Asked, SuiteSettings, list[Group]], Iterator[str]]


def try_claim(name: str, asked: Asked) -> Path:
    """Measure what a claim needs and write `claim.md`; raises InputError for a name that is none."""
    if name not in CLAIMS:
        raise InputError(f"no claim {name!r}", f"choose one of: {', '.join(CLAIMS)}")
    claim = CLAIMS[name]
    suite = resolve(claim.suite, (), claim.sets, quick=asked.quick)
    systems = [named_system(each, asked.cache / "vectors") for each in claim.systems(asked)]
    # A suite that is built says itself where its sets lie.
    root = None if suite.built else asked.root
    evaluate(suite, root, systems, asked.out, asked.cache, say=asked.say)
    lines = [f"# {claim.says}", "", *claim.report(asked, suite, list(main_of(read_groups(asked.out))))]
    path = asked.out / REPORT
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


# --- systems -------------------------------------------------------------------------------------


def _forms(asked: Asked) -> list[str]:
    from lingxi.embedder import Embedder

    full = Embedder(asked.model).dim
    widths = [width for width in WIDTHS if width <= full]
    return [f"{asked.model}@{width}:{precision}" for precision in PRECISIONS for width in widths]


# --- reports -------------------------------------------------------------------------------------


def _widths(asked: Asked, suite: SuiteSettings, groups: list[Group]) -> Iterator[str]:
    yield "| width | precision | bytes | mean of sets × 100 | 95 % interval | kept |"
    yield "|---:|---|---:|---:|---|---:|"
    best = None
    for system in dict.fromkeys(group.system for group in groups):
        form = split_form(system)[1]
        found = pooled((group for group in groups if group.system == system), _RESAMPLES)
        if found is None:
            continue
        value, low, high = found
        best = best or value
        span = f"{100 * low:.1f} – {100 * high:.1f}"
        kept = f"{100 * value / best:.1f} %" if best else ""
        size = form.bytes(form.dim or 0)
        yield f"| {form.dim} | {form.precision} | {size:,.0f} | {100 * value:.1f} | {span} | {kept} |"


def _beside(asked: Asked, suite: SuiteSettings, groups: list[Group]) -> Iterator[str]:
    """The first system beside each other one, set by set and language by language."""
    first, *others = dict.fromkeys(group.system for group in groups)
    yield f"| set | language | metric | {first} | " + " | ".join(f"{o} | difference" for o in others) + " |"
    yield "|---|---|---|---:|" + "---:|---|" * len(others)
    for group in (group for group in groups if group.system == first):
        cells = [_against(group, groups, other) for other in others]
        value = f"{100 * value_of(group):.1f}"
        head = f"| {group.head.name} | {group.head.language} | {group.metric} | {value} | "
        yield head + " | ".join(cells) + " |"


def _against(group: Group, groups: Sequence[Group], other: str) -> str:
    same = [g for g in groups if (g.system, g.head, g.metric) == (other, group.head, group.metric)]
    if not same:
        return " | "
    return f"{100 * value_of(same[0]):.1f} | {_span(difference(group, same[0], _RESAMPLES))}"


def _span(found: Difference) -> str:
    return f"{100 * found.value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _languages(asked: Asked, suite: SuiteSettings, groups: list[Group]) -> Iterator[str]:
    yield "Languages with few resources (classes 0 to 2 of Joshi et al. 2020) are marked ●."
    yield ""
    first, *others = dict.fromkeys(group.system for group in groups)
    yield "| set | languages | n | " + " | ".join([first, *others]) + f" | gain over {others[0]} |"
    yield "|---|---|---:|" + "---:|" * (len(others) + 1) + "---:|"
    for name in dict.fromkeys(group.head.name for group in groups):
        own = [group for group in groups if group.head.name == name and group.head.language != "en>en"]
        for label, poor in (("all", None), ("well resourced", False), ("low-resource ●", True)):
            part = [g for g in own if poor is None or _is_poor(g.head.language) == poor]
            if part:
                yield _gained(name, label, part, [first, *others])
    yield ""
    yield from _marked(_beside(asked, suite, groups))


def _gained(name: str, label: str, groups: Sequence[Group], systems: Sequence[str]) -> str:
    values = [float(np.mean([value_of(g) for g in groups if g.system == system])) for system in systems]
    count = len({group.head.language for group in groups})
    gain = f"{100 * (values[0] / values[1] - 1):+.0f} %" if values[1] else ""
    return f"| {name} | {label} | {count} | " + " | ".join(f"{100 * v:.1f}" for v in values) + f" | {gain} |"


def _marked(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        language = line.split("|")[2].strip()
        mark = " ●" if number > 1 and _is_poor(language) else ""
        yield line.replace(f"| {language} |", f"| {language}{mark} |", 1)


def _is_poor(language: str) -> bool:
    return not is_resourced(normalise(language.partition(">")[0]))


def _reranking(asked: Asked, suite: SuiteSettings, groups: list[Group]) -> Iterator[str]:
    yield from _beside(asked, suite, groups)
    yield ""
    yield "| set | embedding and searching, ms a query | reranking, ms a query |"
    yield "|---|---:|---:|"
    folder = opened_tar(asked.root, asked.cache / "sources") if asked.root else asked.out
    for settings in suite.sets:
        for task in read_set(settings, suite, folder):
            if isinstance(task, Ranking):
                search, rerank = _timed(asked, task)
                yield f"| {settings.name} | {1000 * search:.1f} | {1000 * rerank:.0f} |"


def _timed(asked: Asked, task: Ranking) -> tuple[float, float]:
    """CPU seconds a query of search and of reranking, the documents embedded before."""
    from lingxi.embedder import Embedder
    from lingxi.reranker import Reranker

    dense = Dense(Own(Embedder(asked.model)), asked.cache / "vectors")
    documents = Texts(task.documents)
    stored = dense.vectors(documents)
    reranker, depth = Reranker(asked.reranker or None), min(_depth(asked), len(task.documents))
    queries = task.queries[:_TIMED]
    began = time.process_time()
    asking = dense.encoder.encode(queries, task.instruction)
    ranked = top_k(iter([asking @ stored.T]), len(queries), depth)
    searched = time.process_time()
    for query, row in zip(queries, ranked.positions, strict=True):
        reranker.predict([(query, task.documents[p]) for p in row], instruction=task.instruction)
    return (searched - began) / len(queries), (time.process_time() - searched) / len(queries)


def _depth(asked: Asked) -> int:
    return 20 if asked.quick else 50


CLAIMS: Mapping[str, Claim] = {
    "widths": Claim(
        "Small vectors keep most of the quality",
        "benchmark",
        ("xquad", "cmrc2018", "squad", "cosqa", "tatoeba", "stsb"),
        _forms,
        _widths,
    ),
    "code": Claim(
        "Code is found by meaning better than by words",
        "code-search",
        ("code-search-en", "code-search-zh"),
        lambda asked: [asked.model, "tfidf", "bm25"],
        _beside,
    ),
    "segments": Claim(
        "Vectors of segments find long documents better than words and averaged word vectors",
        "benchmark",
        ("qmsum-meetings", "qmsum-turns"),
        lambda asked: [asked.model, "tfidf", "bm25", f"averaged:{asked.model}"],
        _beside,
    ),
    "languages": Claim(
        "Texts are found across languages better than by the generation before",
        "benchmark",
        ("xquad", "tatoeba", "sib200-bitext", "lafand"),
        lambda asked: [asked.model, "use-multilingual"],
        _languages,
    ),
    "reranking": Claim(
        "A reranker makes answers right more often",
        "benchmark",
        ("nq-open", "rgb-zh"),
        lambda asked: [f"{asked.model}+{asked.reranker}/{_depth(asked)}", asked.model, "bm25"],
        _reranking,
    ),
}
