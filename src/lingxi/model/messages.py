"""Inputs of a VL model to what its network reads: turns as ids, pictures as views in their seats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lingxi import prompts
from lingxi.errors import InputError
from lingxi.inputs import OPEN, Access, Mixed, Video, opened
from lingxi.model.files import read_config
from lingxi.model.seen import Seen, View, clip_view, picture_view
from lingxi.model.tokens import Tokens
from lingxi.model.vision_size import BUDGET, Budget, VisionSize, frame_seconds, vision_size
from lingxi.texts import Truncate

Item = str | Mixed


@dataclass(frozen=True, slots=True)
class Looked:
    """An item with its pictures made ready: what its turn says, and the views that sit in it."""

    content: prompts.Content
    views: tuple[View, ...] = ()


@dataclass(frozen=True, slots=True)
class Messages:
    """How a VL model's inputs are laid out: the size of its tower, its pixels, and where pictures may lie."""

    size: VisionSize
    budget: Budget = BUDGET
    access: Access = OPEN

    def looked(self, item: Item) -> Looked:
        """Open the pictures of an item; raises InputError in words."""
        if isinstance(item, str):
            return Looked(prompts.Content(texts=_said((item,))))
        clips = [(video, self._clip(video)) for video in item.videos]
        pictures = [
            picture_view(opened(source, self.access), self.size, self.budget) for source in item.images
        ]
        content = prompts.Content(
            tuple(self._timed(video, view) for video, view in clips),
            tuple(view.seats for view in pictures),
            _said(item.texts),
        )
        return Looked(content, (*(view for _, view in clips), *pictures))

    def _clip(self, video: Video) -> View:
        return clip_view([opened(frame, self.access) for frame in video.frames], self.size, self.budget)

    def _timed(self, video: Video, view: View) -> prompts.Clip:
        # As the reference: seconds are counted over the frames that are seen.
        seconds = frame_seconds(len(view.pixels), video.rate, self.size.frames)
        return prompts.Clip(view.seats, seconds)

    def embedding(
        self, tokens: Tokens, item: Item, instruction: str, most: int, truncate: Truncate = "end"
    ) -> tuple[list[int] | Seen, bool]:
        """The embedder's sequence of an item, of at most `most` tokens, and whether its text was cut."""
        looked = self.looked(item)
        ids, cut = _fitted(
            tokens,
            lambda content: [*tokens.laid(prompts.vl_embedding(content, instruction)), tokens.end],
            looked.content,
            most,
            truncate,
        )
        return _with_views(tokens, ids, looked.views), cut

    def pair(
        self,
        tokens: Tokens,
        asked: Looked,
        document: Item,
        task: str,
        most: int,
        truncate: Truncate = "end",
    ) -> tuple[list[int] | Seen, bool]:
        """The reranker's sequence of a query looked at and a document, and whether the document was cut."""
        judged = self.looked(document)
        ids, cut = _fitted(
            tokens,
            lambda content: tokens.laid(prompts.vl_rerank(asked.content, content, task)),
            judged.content,
            most,
            truncate,
        )
        return _with_views(tokens, ids, (*asked.views, *judged.views)), cut


def read_messages(directory: Path, access: Access = OPEN) -> Messages | None:
    """How the inputs of a VL directory are laid out, None for a model of texts; raises ModelError."""
    size = vision_size(read_config(directory), str(directory))
    return Messages(size, access=access) if size else None


def framed(tokens: Tokens, instruction: str) -> Tokens:
    """The tokenizer with the embedder's turns around a text that stands alone in them."""
    before = tokens.laid(prompts.vl_head(instruction))
    after = [*tokens.laid(prompts.VL_TAIL), tokens.end]
    return replace(tokens, before=tuple(before), after=tuple(after), lead=prompts.VL_LEAD)


def _said(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _fitted(
    tokens: Tokens,
    build: Callable[[prompts.Content], list[int]],
    content: prompts.Content,
    most: int,
    truncate: Truncate,
) -> tuple[list[int], bool]:
    """The ids of a content, its text cut to fit; raises InputError where that is unwanted, or too little."""
    ids = build(content)
    if len(ids) <= most:
        return ids, False
    if truncate == "none":
        raise InputError(f"an input has more than {most} tokens", "shorten it, or let it be cut")
    if truncate == "start":
        bare = len(build(replace(content, texts=(".",)))) - 1
        text = tokens.tail("", "".join(content.texts), max(most - bare, 0))
        ids = build(replace(content, texts=_said((text,))))
    return _cut(tokens, ids, most), True


def _cut(tokens: Tokens, ids: list[int], most: int) -> list[int]:
    """Ids without the end of the last text, so that what closes the turn stays."""
    tail = len(tokens.laid(prompts.VL_TAIL)) + (ids[-1] == tokens.end)
    stop, controls = len(ids) - tail, set(tokens.specials.values())
    first = 1 + max(i for i in range(stop) if ids[i] in controls)
    if most - tail < first:
        raise InputError(
            f"the pictures of an input take {first + tail} tokens, more than {most}",
            "send fewer or smaller ones, or raise the limit",
        )
    return [*ids[: most - tail], *ids[stop:]] if len(ids) > most else ids


def _with_views(tokens: Tokens, ids: list[int], views: tuple[View, ...]) -> list[int] | Seen:
    if not views:
        return ids
    pads = {tokens.specials[name] for name in (prompts.IMAGE_PAD, prompts.VIDEO_PAD)}
    seats = sum(view.grid[0] * view.seats for view in views)
    if sum(i in pads for i in ids) != seats:
        raise InputError("a text beside pictures holds their placeholder token", "take it out")
    return Seen(ids, views)
