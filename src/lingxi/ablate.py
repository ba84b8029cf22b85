"""What each part of a recipe is worth: the run as it is, and without one part at a time, side by side.

    weak only        the model after weakly supervised training
    no weak          trained and merged without that phase
    no merge         the model as the supervised phase left it
    all              the run as it is

The table of Qwen3-Embedding (arXiv 2506.05176, table 5), for one's own recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lingxi import config, life
from lingxi.cards import cell
from lingxi.errors import RecipeError
from lingxi.evaluate.report import Score
from lingxi.life import Recipe

Say = Callable[[str], None]
FOLDER, TABLE = "ablation", "ablation.md"
# Stages whose outcome does not depend on how is trained: the variant uses those of the run.
_SHARED = ("1-collect", "2-generate", "3-curate")


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table: its name, and the directory of its embedder."""

    name: str
    embedder: Path


def ablate(
    recipe_path: Path,
    overrides: Sequence[str] = (),
    *,
    runs: Path = Path("runs"),
    say: Say = lambda line: None,
) -> Path:
    """Run a recipe and its variants, measure them on its suite, and return the file with the table.

    What a run has finished is used, so a second call only measures. Raises RecipeError where the recipe has
    nothing to take away.
    """
    recipe = config.load(recipe_path, Recipe, overrides)
    folder = runs / recipe.name
    if recipe.train is None or recipe.evaluate is None:
        raise RecipeError(f"{recipe_path}: no table [train] or [evaluate]", "an ablation trains and measures")
    life.live(recipe, folder, until="merge" if recipe.merge else "train", say=say)
    variants = [*_within(folder, recipe), *_without_weak(recipe, folder, say), Variant("all", _best(folder))]
    if len(variants) < 2:
        raise RecipeError(
            f"{recipe_path}: nothing can be taken away",
            "add [train.weak] beside [train.supervised], or [merge]",
        )
    return _measured(recipe, variants, folder / FOLDER, say)


def _best(folder: Path) -> Path:
    found = life.model_of(folder, "embedder")
    assert found is not None
    return found


def _within(folder: Path, recipe: Recipe) -> list[Variant]:
    """What the run itself has left on its way."""
    trained = folder / "4-train"
    found = {"weak only": trained / "weak"}
    if recipe.merge is not None:
        found["no merge"] = trained / "embedder"
    return [Variant(name, path) for name, path in found.items() if (path / "config.json").exists()]


def _without_weak(recipe: Recipe, folder: Path, say: Say) -> list[Variant]:
    assert recipe.train is not None
    if recipe.train.weak is None or recipe.train.supervised is None:
        return []
    train = recipe.train.model_copy(update={"weak": None, "reranker": None})
    other = recipe.model_copy(update={"train": train, "evaluate": None})
    there = folder / FOLDER / "no-weak"
    _share(folder, there)
    say("ablation: the run without weakly supervised training")
    life.live(other, there, until="merge" if recipe.merge else "train", say=say)
    return [Variant("no weak", _best(there))]


def _share(folder: Path, there: Path) -> None:
    there.mkdir(parents=True, exist_ok=True)
    for name in _SHARED:
        link = there / name
        if (folder / name).exists() and not link.exists():
            link.symlink_to((folder / name).resolve(), target_is_directory=True)


def _measured(recipe: Recipe, variants: Sequence[Variant], out: Path, say: Say) -> Path:
    from lingxi.embedder import Embedder
    from lingxi.evaluate.dense import Dense
    from lingxi.evaluate.encoders import Own
    from lingxi.evaluate.run import evaluate
    from lingxi.evaluate.suite import resolve

    settings = recipe.evaluate
    assert settings is not None
    cache = settings.cache.expanduser()
    systems = [Dense(Own(Embedder(v.embedder), v.name), cache / "vectors") for v in variants]
    suite = resolve(settings.suite, settings.overrides, settings.sets)
    report = evaluate(suite, settings.root, systems, out / "evaluate", cache, settings.resamples, say)
    path = out / TABLE
    path.write_text(_table([v.name for v in variants], report.scores), encoding="utf-8")
    return path


def _table(names: Sequence[str], scores: Sequence[Score]) -> str:
    """One line a set (its first metric, the mean of its languages), one column a variant, values × 100."""
    main: dict[str, Score] = {}
    for score in scores:
        main.setdefault(score.set, score)
    head = "| set | metric | " + " | ".join(names) + " |\n|---|---|" + "---:|" * len(names) + "\n"
    return head + "".join(_line(first, names, scores) for first in main.values())


def _line(first: Score, names: Sequence[str], scores: Sequence[Score]) -> str:
    same = (first.set, first.language, first.metric)
    found: Mapping[str, Score] = {s.system: s for s in scores if (s.set, s.language, s.metric) == same}
    cells = [cell(found[name]) for name in names]
    return f"| {first.set} ({first.language}) | {first.metric} | " + " | ".join(cells) + " |\n"
