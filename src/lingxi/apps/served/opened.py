"""The applications of one server, opened once and asked by any number of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lingxi.apps.align import Alignment
from lingxi.apps.code import CodeAnswer
from lingxi.apps.served.aligning import Tables, aligned, proved
from lingxi.apps.served.asking import Answered, Asker, Question, open_asker
from lingxi.apps.served.coding import Coder, open_coder
from lingxi.apps.served.desk import Desk
from lingxi.apps.served.settings import AppsSettings
from lingxi.errors import InputError, StoreError
from lingxi.serve.contract import Caller
from lingxi.serve.refusal import Refusal, refused
from lingxi.serve.service import Service


@dataclass(frozen=True, slots=True)
class Apps:
    """What is on; each is asked for a caller, by the models that are served, and raises Refusal."""

    service: Service
    settings: AppsSettings
    desk: Desk
    asker: Asker | None = None
    coder: Coder | None = None

    async def ask(
        self, asked: Question, caller: Caller, show: Callable[[str], None] = lambda text: None
    ) -> Answered:
        """An answer; `show` gets each statement once it is verified."""
        asker = self.asker
        if asker is None:
            raise _off("ask")
        face = self.service.face(caller)
        judge = self.service.judge(caller) if asked.rerank else None
        with _refusing():
            return await self.desk.do(caller, lambda is_over: asker.answer(asked, face, judge, show, is_over))

    async def code(
        self,
        query: str,
        caller: Caller,
        *,
        top_k: int = 10,
        languages: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> CodeAnswer:
        """Functions and types of the repository."""
        coder, app = self.coder, self.settings.code
        if coder is None or app is None:
            raise _off("code")
        face = self.service.face(caller, app.model)
        with _refusing():
            return await self.desk.do(
                caller,
                lambda is_over: coder.found(query, face, top_k=top_k, languages=languages, paths=paths),
            )

    async def align(self, tables: Tables, caller: Caller, *, rerank: bool = False) -> Alignment:
        """The pairs of two tables."""
        app = self.settings.align
        if app is None:
            raise _off("align")
        face = self.service.face(caller)
        judge = self.service.judge(caller) if rerank else None
        with _refusing():
            return await self.desk.do(caller, lambda is_over: aligned(app, tables, face, judge))


def open_apps(settings: AppsSettings, service: Service) -> Apps:
    """Open what the settings turn on; raises InputError, StoreError or MissingExtraError in words."""
    asker = coder = None
    if settings.ask is not None:
        if service.index is None:
            raise InputError("ask is on, and no index is served", "add --index FOLDER")
        asker = open_asker(settings.ask, service.index, dict(service.card(None, "embedder").fingerprint))
    if settings.code is not None:
        coder = open_coder(settings.code, service.embedder(settings.code.model))
    if settings.align is not None:
        proved(service.embedder())
    return Apps(service, settings, Desk(settings.threads, settings.waiting), asker, coder)


def _off(name: str) -> Refusal:
    return Refusal(404, "not_found", f"{name} is not on here", f"start the server with --app {name}")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise refused(error) from None
    except StoreError:
        raise Refusal(503, "unready", "the index cannot be read now", "ask again soon") from None
