"""What TEI's paths take. Left out of a body, `truncate` is on: TEI's `auto_truncate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from lingxi.serve.dialects.bodies import Body, Count
from lingxi.texts import Truncate

TokenId = Annotated[int, Field(ge=0, lt=2**32)]
Input = str | list[TokenId]
# TEI's own enum is written with a capital, its documents and clients say it in small letters.
Direction = Literal["left", "right", "Left", "Right"]


class Cut(Body):
    """How a text that is too long is cut."""

    truncate: bool | None = None
    truncation_direction: Direction = "right"

    @property
    def mode(self) -> Truncate:
        """The same in our words."""
        if self.truncate is False:
            return "none"
        return "start" if self.truncation_direction.lower() == "left" else "end"


class TeiEmbedAll(Cut):
    """Texts, or token ids, and the model's prompt to put before them."""

    inputs: Input | list[Input]
    prompt_name: str | None = None

    @property
    def many(self) -> list[Input]:
        """The inputs as a list: a list of token ids is one input."""
        if isinstance(self.inputs, str):
            return [self.inputs]
        ids = [one for one in self.inputs if isinstance(one, int)]
        return [ids] if ids else [one for one in self.inputs if not isinstance(one, int)]


class TeiEmbed(TeiEmbedAll):
    """What `/embed` takes."""

    normalize: bool = True
    dimensions: Count | None = None


class TeiRerank(Cut):
    """A query and texts to order by it."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Pair(Cut):
    """A pair, or pairs, to judge: a reranker has one label."""

    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False


class Sentences(Body):
    """One sentence and those it is compared with."""

    source_sentence: str
    sentences: list[str]


class Parameters(Cut):
    """How sentences are read."""

    prompt_name: str | None = None


class Similarity(Body):
    """What `/similarity` takes."""

    inputs: Sentences
    parameters: Parameters | None = None


class Tokenize(Body):
    """Texts to cut into tokens."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class Decode(Body):
    """Token ids to write out."""

    ids: list[TokenId] | list[list[TokenId]]
    skip_special_tokens: bool = True


class Root(RootModel[Similarity | TeiRerank | TeiEmbed]):
    """What may be sent to `/`: the kinds of bodies have no field in common that is read otherwise."""
