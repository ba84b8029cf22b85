"""THE MAIN FLOW: the life of a model, one call a stage, each reading the manifest before it.

    collect → generate → curate → train → merge → evaluate

A recipe is one life. Stop anywhere and run it again: finished stages whose inputs, settings and
code are unchanged are skipped, a stage that was stopped goes on from its checkpoint. Under torchrun
the first process does every stage and the others join it in training. The stages that a later version
adds (compress, index, serve) keep their numbers free.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, model_validator

from lingxi import config, manifest
from lingxi.collect import CollectSettings, collect_pairs
from lingxi.collect.sources import own_state
from lingxi.config import Settings
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.errors import InputError, RecipeError
from lingxi.evaluate.codesearch import read_packages
from lingxi.evaluate.settings import EvaluateSettings
from lingxi.generate import GenerateSettings, generate_pairs
from lingxi.manifest import Manifest
from lingxi.merge.settings import MergeSettings
from lingxi.model.layout import Kind
from lingxi.train.parallel import ALONE, Ranks
from lingxi.train.settings import TrainSettings

Work = Callable[[Path], Mapping[str, Any]]
Say = Callable[[str], None]

Record = TypeVar("Record", bound=Settings)

LAST = "evaluate"
# The stage that all processes of a torchrun share.
_SHARED = "train"
_TRAINED, _MERGED = "4-train", "5-merge"
_KINDS: tuple[Kind, ...] = ("embedder", "reranker")
_FOLDERS = {"collect": "1-collect", "generate": "2-generate"}
_PIECES = frozenset({"parts", "rows", "teacher"})
_FLOOR = ("records", "prompts", "languages", "model", "engine")


class Recipe(Settings):
    """One life: a name for its run folder and a table for each stage."""

    name: str
    collect: CollectSettings
    generate: GenerateSettings | None = None
    curate: CurateSettings
    train: TrainSettings | None = None
    merge: MergeSettings | None = None
    evaluate: EvaluateSettings | None = None

    @model_validator(mode="after")
    def _checked(self) -> Recipe:
        for name in ("merge", "evaluate"):
            if getattr(self, name) is not None and self.train is None:
                raise ValueError(f"[{name}] works on what [train] made; add a table [train]")
        if self.merge is not None and self.train is not None:
            _check_merge(self.merge, self.train)
        return self


def _check_merge(merge: MergeSettings, train: TrainSettings) -> None:
    """Raise ValueError now for what would stop the merge only after the training."""
    kept = {kind: count for kind, count in train.kept().items() if count > 1}
    if not kept:
        raise ValueError("[merge] needs checkpoints: set keep = 2 or more in [train.supervised]")
    if merge.search is not None and not train.held_out:
        raise ValueError("[merge.search] scores merges on held-out pairs: set train.held_out above 0")
    for kind, count in kept.items():
        if merge.weights is not None and len(merge.weights) != count:
            raise ValueError(f"merge.weights has {len(merge.weights)} numbers, {kind}s kept are {count}")


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run: where it writes, what decides whether it is current, what it does."""

    folder: Path
    name: str
    key: str
    inputs: dict[str, str]
    settings: dict[str, Any]
    work: Work


@dataclass(frozen=True, slots=True)
class Life:
    """What a stage is made from: the recipe, the run's folder, the manifests so far, and whom to tell."""

    recipe: Recipe
    folder: Path
    done: Mapping[str, Manifest]
    say: Say
    ranks: Ranks


def run(
    recipe_path: Path,
    overrides: Sequence[str] = (),
    *,
    runs: Path = Path("runs"),
    until: str = LAST,
    dry_run: bool = False,
    say: Say = lambda line: None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Run a recipe, or with `dry_run` only resolve it; returns the resolved recipe and each stage's counts.

    A stage without a table in the recipe is left out; `until` names the last one. `say` is told one line a
    stage. Raises RecipeError for a recipe that does not resolve.
    """
    recipe = config.load(recipe_path, Recipe, overrides)
    resolved = config.to_json(recipe)
    if until != LAST and getattr(recipe, until) is None:
        raise RecipeError(f"{recipe_path}: no table [{until}]", "add it, or name another stage")
    if dry_run:
        return {"recipe": resolved}
    folder = runs / recipe.name
    done = live(recipe, folder, until=until, say=say, ranks=ranks)
    return {"recipe": resolved, "folder": str(folder), "stages": {n: m.counts for n, m in done.items()}}


def live(
    recipe: Recipe,
    folder: Path,
    *,
    until: str = LAST,
    say: Say = lambda line: None,
    ranks: Ranks = ALONE,
) -> dict[str, Manifest]:
    """The stages of a resolved recipe in a folder, up to `until`; returns their manifests."""
    done: dict[str, Manifest] = {}
    for name, stage in STAGES.items():
        if getattr(recipe, name) is not None:
            done[name] = perform(stage(Life(recipe, folder, done, say, ranks)), say, ranks)
        if name == until:
            break
    return done


def _collect(life: Life) -> Stage:
    settings = life.recipe.collect
    inputs = {"mediawiki": settings.mediawiki}
    if settings.labelled is not None and settings.labelled.exists():
        inputs["labelled"] = manifest.hash_file(settings.labelled)
    for path in (path.expanduser() for source in settings.sources for path in source.paths):
        inputs[str(path)] = own_state(path)

    def work(out: Path) -> Mapping[str, Any]:
        """Collect, and say what did not come."""
        report = collect_pairs(settings, out, _barred())
        if report.skipped:
            kept = out / manifest.FILE
            life.say(
                f"collect: left out {len(report.skipped)} (named in {kept}; delete it to try them again)"
            )
        return plain(report)

    return staged(
        life.folder / "1-collect",
        "collect",
        inputs,
        settings,
        ("collect", "parse", "lines", "tables"),
        work,
    )


def _generate(life: Life) -> Stage:
    settings, collected = _set(life.recipe.generate), life.folder / "1-collect"
    return staged(
        life.folder / "2-generate",
        "generate",
        {"collect": life.done["collect"].key},
        settings,
        ("generate", "collect", "parse", "asking"),
        lambda out: plain(generate_pairs(settings, collected, out)),
    )


def _curate(life: Life) -> Stage:
    settings = life.recipe.curate
    before = [name for name in ("collect", "generate") if name in life.done]
    pairs = [life.folder / _FOLDERS[name] for name in before]
    barred = _barred()
    inputs = {**{name: life.done[name].key for name in before}, "barred": " ".join(barred)}
    for name in ("benchmark", "feedback"):
        path = getattr(settings, name)
        if path is not None and path.expanduser().exists():
            inputs[name] = manifest.hash_file(path.expanduser())
    return staged(
        life.folder / "3-curate",
        "curate",
        inputs,
        settings,
        ("curate",),
        lambda out: plain(curate_pairs(settings, pairs, out, barred)),
    )


def _barred() -> list[str]:
    """Packages that the code-search set is built from: never read, and dropped where a row comes from one."""
    return sorted(package.name for package in read_packages())


def _train(life: Life) -> Stage:
    settings, curated = _set(life.recipe.train), life.done["curate"]
    begun: dict[str, str | None] = {"start": settings.start}
    if settings.reranker:
        begun |= {"reranker": settings.reranker.start, "miner": settings.reranker.miner}
    ledgers = _ledgers(life)
    inputs = {"curate": curated.key, **_hashed(begun)}
    inputs |= {f"pairs {n}": ledger.key for n, ledger in enumerate(ledgers[1:])}

    def work(out: Path) -> Mapping[str, Any]:
        """Learn the models, with cards that say of what."""
        from lingxi import cards
        from lingxi.check import make_golden
        from lingxi.train.running import Card
        from lingxi.train.stages import train_models

        pairs = life.folder / "3-curate" / "pairs.parquet"
        name = life.recipe.name
        card = Card(*(cards.card(kind, name, ledgers, settings) for kind in _KINDS))
        return train_models(pairs, settings, out, card, make_golden, life.ranks)

    return staged(
        life.folder / _TRAINED, "train", inputs, settings, ("train", "generate", "embedder", "encoding"), work
    )


def _ledgers(life: Life) -> list[Manifest]:
    """The manifests of all pairs that are trained on: this run's own, then those of other runs."""
    return [life.done["curate"], *(_curated(path.expanduser()) for path in _set(life.recipe.train).pairs)]


def _curated(pairs: Path) -> Manifest:
    """The manifest beside another run's pairs, without which nobody knows their sources and licences."""
    found = manifest.read(pairs.parent)
    if found is None or not pairs.exists():
        raise InputError(
            f"{pairs}: no pairs of a finished curate stage", "run `lingxi curate` of that recipe"
        )
    return found


def _hashed(models: Mapping[str, str | None]) -> dict[str, str]:
    """Hashes of those models that are directories: one that changes makes the stage run again."""
    folders = {name: Path(model).expanduser() for name, model in models.items() if model}
    return {name: manifest.hash_file(folder) for name, folder in folders.items() if folder.is_dir()}


def _merge(life: Life) -> Stage:
    settings = _set(life.recipe.merge)
    inputs = {"train": life.done["train"].key, **_hashed({"base": settings.base})}

    def work(out: Path) -> Mapping[str, Any]:
        """Merge the checkpoints that training kept, of each kind that has two or more."""
        from lingxi import cards
        from lingxi.check import make_golden
        from lingxi.merge.run import merge_models

        kept = life.folder / _TRAINED / "kept"
        found = {kind: sorted(kept.glob(f"{kind}-*")) for kind in _KINDS}
        held = life.folder / _TRAINED / "held-out" / "held-out.parquet"
        dev = held if settings.search is not None else None
        ledgers, train = _ledgers(life), _set(life.recipe.train)
        merged = {
            kind: merge_models(
                settings,
                models,
                out / kind,
                make_golden,
                dev=dev,
                card=cards.card(kind, life.recipe.name, ledgers, train),
            )
            for kind, models in found.items()
            if len(models) > 1
        }
        return {kind: {"models": len(found[kind]), "weights": list(m.weights)} for kind, m in merged.items()}

    return staged(life.folder / _MERGED, "merge", inputs, settings, ("merge",), work)


def model_of(folder: Path, kind: str) -> Path | None:
    """The finished model of a run's folder: merged where it was, else as trained; None without one."""
    places = (folder / _MERGED / kind, folder / _TRAINED / kind)
    return next((place for place in places if (place / "config.json").exists()), None)


def _evaluate(life: Life) -> Stage:
    settings = _set(life.recipe.evaluate)

    def work(out: Path) -> Mapping[str, Any]:
        """Measure the models, and write the numbers into their cards."""
        from lingxi import cards
        from lingxi.evaluate.run import evaluate_models

        models = {kind: model_of(life.folder, kind) for kind in _KINDS}
        report = evaluate_models(
            settings, life.recipe.name, models["embedder"], models["reranker"], out, life.say
        )
        for kind, model in models.items():
            if model is not None:
                text = (model / "README.md").read_text(encoding="utf-8")
                told = cards.measured(text, report.scores, settings.card_languages)
                (out / f"{kind}.md").write_text(told, encoding="utf-8")
        # The scores themselves stand in scores.json.
        return {"scores": len(report.scores), "seconds": report.seconds}

    before = "merge" if "merge" in life.done else "train"
    inputs = {before: life.done[before].key}
    return staged(
        life.folder / "6-evaluate", "evaluate", inputs, settings, ("evaluate", "metrics", "asking"), work
    )


# In the order of the life; each reads what the one before it wrote.
STAGES: Mapping[str, Callable[[Life], Stage]] = {
    "collect": _collect,
    "generate": _generate,
    "curate": _curate,
    "train": _train,
    "merge": _merge,
    "evaluate": _evaluate,
}


def _set(settings: Record | None) -> Record:
    """The settings of a stage that is only asked for where its table is set."""
    assert settings is not None
    return settings


def staged(
    folder: Path, name: str, inputs: dict[str, str], settings: BaseModel, rooms: tuple[str, ...], work: Work
) -> Stage:
    """A stage whose key is of its inputs, settings and the code of these rooms."""
    values = config.to_json(settings)
    key = manifest.key_of(name, inputs, values, manifest.hash_code(*_FLOOR, *rooms))
    return Stage(folder, name, key, inputs, values, work)


def perform(stage: Stage, say: Say, ranks: Ranks = ALONE) -> Manifest:
    """The manifest of a stage: as it is where it is current, else after its work."""
    done = manifest.read(stage.folder)
    current = done is not None and manifest.is_current(stage.folder, stage.key)
    # All have looked before the first begins to write.
    ranks.wait()
    if done is not None and current:
        if ranks.first:
            say(f"{stage.name}: unchanged, skipped")
        return done
    if not ranks.first:
        if stage.name == _SHARED:
            ranks.wait()
            stage.work(stage.folder)
        ranks.wait()
        return _finished(stage)
    made = _make(stage, say, ranks)
    ranks.wait()
    return made


def _finished(stage: Stage) -> Manifest:
    found = manifest.read(stage.folder)
    assert found is not None
    return found


def _make(stage: Stage, say: Say, ranks: Ranks) -> Manifest:
    say(f"{stage.name}: running, in {stage.folder}")
    _own(stage)
    if stage.name == _SHARED:
        ranks.wait()
    started = time.perf_counter()
    counts = dict(stage.work(stage.folder))
    outputs = {p.name: manifest.hash_file(p) for p in sorted(stage.folder.iterdir()) if not _internal(p)}
    seconds = round(time.perf_counter() - started, 1)
    finished = Manifest(
        stage.name,
        stage.key,
        stage.inputs,
        stage.settings,
        outputs,
        counts,
        seconds,
        manifest.peak_megabytes(),
    )
    manifest.write(stage.folder, finished)
    say(f"{stage.name}: done in {seconds:.0f} s")
    return finished


def _own(stage: Stage) -> None:
    """Start in a clean folder, unless what lies there was begun with the same key and can go on."""
    marker = stage.folder / "started"
    if stage.folder.exists() and not (marker.exists() and marker.read_text() == stage.key):
        _clear(stage.folder)
    stage.folder.mkdir(parents=True, exist_ok=True)
    (stage.folder / manifest.FILE).unlink(missing_ok=True)
    marker.write_text(stage.key)


def _clear(folder: Path) -> None:
    import shutil

    for path in folder.iterdir():
        # Pieces and a teacher's vectors are named by what they were made of: they serve other runs too.
        if path.name in _PIECES:
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _internal(path: Path) -> bool:
    """What serves resuming only and is no output."""
    names = {manifest.FILE, "started", *_PIECES}
    return path.name in names or path.name.startswith(("store", "miner", "mined"))


def plain(report: Any) -> dict[str, Any]:
    """A stage's report as plain JSON values."""
    values = asdict(report) if is_dataclass(report) and not isinstance(report, type) else dict(report)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
