"""A model that a saved pipeline names: opened when it is first asked, here or on a server."""

from __future__ import annotations

from typing import Any, ClassVar

from lingxi.bridges.faces import now


class Opened:
    """A model by name (None: the one that ships), that of the server at `url`, or one that is open.

    `token` gives the server's key by `resolve_value()`; `instruction` is the task of a query or a ranking,
    None the model's own.
    """

    opens: ClassVar[Any]

    def __init__(
        self, model: Any = None, url: str | None = None, token: Any = None, instruction: str | None = None
    ) -> None:
        self.model, self.url, self.token, self.instruction = model, url, token, instruction
        self._face = None if model is None or isinstance(model, str) else model

    def warm_up(self) -> None:
        """Open the model, or the client of the server, once."""
        if self._face is not None:
            return
        if self.url is None:
            self._face = self.opens(self.model)
            return
        from lingxi.client import Client

        token = None if self.token is None else self.token.resolve_value()
        self._face = Client(self.url, token=token, model=self.model, reranker=self.model)

    def ask(self, name: str, given: Any, **options: Any) -> Any:
        """What a method of the model answers."""
        self.warm_up()
        return now(getattr(self._face, name)(given, **options))
