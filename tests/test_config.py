"""Recipes: unknown keys, wrong types, overrides, and every shipped recipe."""

from pathlib import Path

import pytest

from lingxi import config
from lingxi.errors import RecipeError
from lingxi.life import Recipe

# Others are of other kinds: test_compress_distil.py, test_media_life.py, test_late.py.
RECIPES = [
    path
    for path in sorted((Path(__file__).parent.parent / "recipes").glob("*.toml"))
    if not path.stem.startswith(("distil-", "nano-start", "nano-reranker", "nano-vl"))
]


class Inner(config.Settings):
    steps: int = 1
    dims: tuple[int, ...] = (1,)


class Outer(config.Settings):
    name: str
    inner: Inner = Inner()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_overrides_reach_nested_keys(tmp_path):
    path = write(tmp_path / "a.toml", 'name = "x"\n[inner]\nsteps = 3\n')
    found = config.load(path, Outer, ["inner.steps=7", "inner.dims=[2, 4]", "name=run one"])
    assert found == Outer(name="run one", inner=Inner(steps=7, dims=(2, 4)))


@pytest.mark.parametrize(
    ("text", "override", "words"),
    [
        ('name = "x"\nstep = 3\n', None, "unknown key 'step'"),
        ('name = "x"\n[inner]\nstep = 3\n', None, "unknown key 'inner.step'"),
        ('name = "x"\n[inner]\nsteps = "many"\n', None, "inner.steps"),
        ("name = \n", None, "not TOML"),
        ("", None, "name: Field required"),
        ('name = "x"\n', "inner.steps", "not KEY=VALUE"),
        ('name = "x"\n', "name.deep.er=1", "not a table"),
        ('name = "x"\n', "inner.typo=1", "unknown key 'inner.typo'"),
    ],
)
def test_a_recipe_that_does_not_resolve_says_why(tmp_path, text, override, words):
    path = write(tmp_path / "a.toml", text)
    with pytest.raises(RecipeError) as caught:
        config.load(path, Outer, [override] if override else [])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match="no such recipe"):
        config.load(tmp_path / "none.toml", Outer)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_shipped_recipe_resolves(path):
    assert config.load(path, Recipe).name == path.stem
