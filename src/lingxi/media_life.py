"""The life of a picture and sound encoder: one recipe, four stages, each with its manifest.

    collect → curate → train → evaluate

The stages are performed as `life` performs its own: one that is finished and unchanged is skipped, one that
was stopped goes on (features that are there are not computed again).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lingxi import config, manifest
from lingxi.collect.media import ROWS, MediaCollectSettings, collect_media
from lingxi.config import Settings
from lingxi.curate.media import HELD_OUT, TRAIN, MediaCurateSettings, curate_media
from lingxi.evaluate.media_settings import MediaEvaluateSettings
from lingxi.life import Say, Stage, perform, plain, staged
from lingxi.manifest import Manifest
from lingxi.train.media_run import MODEL, MediaTrainSettings, train_media

_COLLECT, _CURATE, _TRAIN, _EVALUATE = "1-collect", "2-curate", "3-train", "4-evaluate"


class MediaRecipe(Settings):
    """One life: a name for its run's folder, and a table for each stage."""

    name: str
    collect: MediaCollectSettings
    curate: MediaCurateSettings = MediaCurateSettings()
    train: MediaTrainSettings
    evaluate: MediaEvaluateSettings | None = None


def run(
    recipe_path: Path,
    overrides: Sequence[str] = (),
    *,
    runs: Path = Path("runs"),
    dry_run: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Run a media recipe, or with `dry_run` only resolve it; returns the recipe and each stage's counts.

    Raises RecipeError for a recipe that does not resolve, and the errors of the stages.
    """
    recipe = config.load(recipe_path, MediaRecipe, overrides)
    resolved = config.to_json(recipe)
    if dry_run:
        return {"recipe": resolved}
    done = live(recipe, runs / recipe.name, say)
    return {
        "recipe": resolved,
        "folder": str(runs / recipe.name),
        "model": str(runs / recipe.name / _TRAIN / MODEL),
        "stages": {name: found.counts for name, found in done.items()},
    }


def live(recipe: MediaRecipe, folder: Path, say: Say = lambda line: None) -> dict[str, Manifest]:
    """The stages of a resolved recipe in a folder; returns their manifests."""
    done: dict[str, Manifest] = {}
    for name, stage in _STAGES.items():
        if getattr(recipe, name) is not None:
            done[name] = perform(stage(recipe, folder, done), say)
    return done


def _collect(recipe: MediaRecipe, folder: Path, done: Mapping[str, Manifest]) -> Stage:
    inputs = {
        str(path): manifest.state_of(path.expanduser())
        for source in recipe.collect.sources
        for path in source.paths
        if path.expanduser().exists()
    }

    def work(out: Path) -> Mapping[str, Any]:
        """Read all sources; what was left out is counted, the first reasons stand in the manifest."""
        counts = plain(collect_media(recipe.collect, out))
        reasons = counts.pop("left_out")
        return {**counts, "left_out": len(reasons), "reasons": reasons[:20]}

    return staged(folder / _COLLECT, "collect", inputs, recipe.collect, ("collect",), work)


def _curate(recipe: MediaRecipe, folder: Path, done: Mapping[str, Manifest]) -> Stage:
    rows = folder / _COLLECT / ROWS
    inputs = {"collect": done["collect"].key}
    return staged(
        folder / _CURATE,
        "curate",
        inputs,
        recipe.curate,
        ("curate", "media", "pictures"),
        lambda out: plain(curate_media(recipe.curate, rows, out)),
    )


def _train(recipe: MediaRecipe, folder: Path, done: Mapping[str, Manifest]) -> Stage:
    inputs = {"curate": done["curate"].key}
    if recipe.train.start is not None and recipe.train.start.expanduser().is_dir():
        inputs["start"] = manifest.hash_file(recipe.train.start.expanduser())

    def work(out: Path) -> Mapping[str, Any]:
        """Fit the heads, with a card that says of what."""
        from lingxi.media_card import media_card

        card = media_card(recipe.name, folder / _CURATE / TRAIN, recipe.train)
        return plain(train_media(recipe.train, folder / _CURATE, out, card))

    return staged(folder / _TRAIN, "train", inputs, recipe.train, ("train", "media", "pictures"), work)


def _evaluate(recipe: MediaRecipe, folder: Path, done: Mapping[str, Manifest]) -> Stage:
    settings = recipe.evaluate
    assert settings is not None

    def work(out: Path) -> Mapping[str, Any]:
        """Measure what was held out, and write the figures into the card."""
        from lingxi.evaluate.media_run import evaluate_files

        model = folder / _TRAIN / MODEL
        sides = (folder / _CURATE / TRAIN, folder / _CURATE / HELD_OUT)
        report = evaluate_files(settings, model, sides, out)
        told = (model / "README.md").read_text("utf-8") + "\n## Measured\n\n" + report.summary + "\n"
        (out / "README.md").write_text(told, "utf-8")
        return {"directions": len(report.found), "cpu_seconds": report.cpu_seconds}

    inputs = {"train": done["train"].key}
    return staged(folder / _EVALUATE, "evaluate", inputs, settings, ("evaluate", "metrics", "media"), work)


_STAGES: Mapping[str, Callable[[MediaRecipe, Path, Mapping[str, Manifest]], Stage]] = {
    "collect": _collect,
    "curate": _curate,
    "train": _train,
    "evaluate": _evaluate,
}
