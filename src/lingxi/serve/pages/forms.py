"""What a person asked for, out of an address or a form: typed records, or an error that names the field."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from lingxi.errors import InputError
from lingxi.vectors import PRECISIONS

Fields = Sequence[tuple[str, str]]
Source = Literal["texts", "index"]

KINDS = ("text", "markdown", "rst", "code", "html", "pdf")
MOST_PASSAGES = 100
MOST_TEXTS = 50
_QUERY, _PATH, _TEXT = 2000, 1000, 4000
_WIDEST = 65536


class FormError(InputError):
    """A field that cannot be used: `say` is the phrase that says so, `field` and `values` are its values."""

    def __init__(self, say: str, field: str = "", **values: object) -> None:
        self.say, self.field, self.values = say, field, values
        super().__init__(f"{field or 'the form'}: {say}", "correct it and send it again")


@dataclass(frozen=True, slots=True)
class SearchForm:
    """What the search page is asked, by words or `like` something found; without either it shows itself."""

    query: str = ""
    like: str | None = None
    instruction: str | None = None
    path: str | None = None
    kind: str | None = None
    number: int = 10
    rerank: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """How one side of a comparison orders texts: a model (None: the first), a width and a precision."""

    model: str | None = None
    dim: int | None = None
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class CompareForm:
    """What the compare page is asked: a query, the texts or where they come from, two sides."""

    query: str = ""
    instruction: str | None = None
    source: Source = "texts"
    texts: tuple[str, ...] = ()
    a: Side = Side()
    b: Side = Side()


def search_form(fields: Fields, kinds: Collection[str] = KINDS) -> SearchForm:
    """Read a search; raises FormError for an unknown field, one given twice or a value out of range."""
    given = once(fields, {"q", "like", "instruction", "path", "kind", "n", "rerank", "lang"})
    if "q" in given and "like" in given:
        raise FormError("one_query")
    return SearchForm(
        query=text(given, "q", "query", _QUERY) or "",
        like=text(given, "like", "example", 64),
        instruction=text(given, "instruction", "instruction", _QUERY),
        path=text(given, "path", "path", _PATH),
        kind=choice(given, "kind", "kind", kinds),
        number=number(given, "n", "number", 1, MOST_PASSAGES) or 10,
        rerank=choice(given, "rerank", "rerank", ("1", "0")) == "1",
    )


def compare_form(fields: Fields) -> CompareForm:
    """Read a comparison; raises FormError as `search_form` does, and for too many or too few texts."""
    sides = {f"{name}_{part}" for name in "ab" for part in ("model", "dim", "precision")}
    given = once(fields, {"q", "instruction", "source", "texts", "lang", *sides})
    form = CompareForm(
        query=text(given, "q", "query", _QUERY) or "",
        instruction=text(given, "instruction", "instruction", _QUERY),
        source=cast(Source, choice(given, "source", "source", ("texts", "index")) or "texts"),
        texts=_lines(given.get("texts", "")),
        a=_side(given, "a"),
        b=_side(given, "b"),
    )
    if form.texts and not form.query:
        raise FormError("need_query")
    if form.query and form.source == "texts" and len(form.texts) < 2:
        raise FormError("need_texts", most=MOST_TEXTS)
    return form


def _side(given: Mapping[str, str], name: str) -> Side:
    return Side(
        text(given, f"{name}_model", "model", _PATH),
        number(given, f"{name}_dim", "width", 1, _WIDEST),
        choice(given, f"{name}_precision", "precision", PRECISIONS) or "float32",
    )


def _lines(text: str) -> tuple[str, ...]:
    # Lines end where a text area ends them; other separators of Unicode are part of a text.
    lines = tuple(line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip())
    if len(lines) > MOST_TEXTS or len(lines) == 1:
        raise FormError("need_texts", most=MOST_TEXTS)
    if any(len(line) > _TEXT for line in lines):
        raise FormError("too_long", "source_texts", most=_TEXT)
    return lines


def once(fields: Fields, known: Collection[str]) -> dict[str, str]:
    """The fields that are filled in, stripped."""
    given: dict[str, str] = {}
    for name, value in fields:
        if name not in known:
            raise FormError("unknown_field")
        if name in given:
            raise FormError("twice", name)
        given[name] = value.strip()
    return {name: value for name, value in given.items() if value}


def text(given: Mapping[str, str], name: str, field: str, most: int) -> str | None:
    """A text of at most so many characters, None for none."""
    value = given.get(name)
    if value is not None and len(value) > most:
        raise FormError("too_long", field, most=most)
    return value


def choice(given: Mapping[str, str], name: str, field: str, offered: Collection[str]) -> str | None:
    """One of what is offered, None for none."""
    value = given.get(name)
    if value is not None and value not in offered:
        raise FormError("bad_choice", field)
    return value


def number(given: Mapping[str, str], name: str, field: str, low: int, high: int) -> int | None:
    """A whole number in bounds, None for none."""
    value = given.get(name)
    if value is None:
        return None
    # Digits of other scripts are numbers to int(), and thousands of them take long.
    is_plain = value.isascii() and value.isdigit() and len(value) < 9
    if not is_plain or not low <= int(value) <= high:
        raise FormError("bad_number", field, low=low, high=high)
    return int(value)


Say = Callable[..., str]


def told(error: FormError, say: Say) -> str:
    """What a FormError says in a language; a field without a phrase is named as it is."""
    try:
        field = say(error.field) if error.field else ""
    except KeyError:
        field = error.field
    return say(error.say, field=field, **error.values)
