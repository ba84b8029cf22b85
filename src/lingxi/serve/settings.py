"""What a server is told once, at its start."""

from __future__ import annotations

from dataclasses import dataclass, field

from lingxi.errors import InputError


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server listens and what it takes; tokens are a model's, seconds are wall time.

    `max_batch_tokens` None is the engine's own choice for the device. A batch is made smaller than that
    where it would take longer than `batch_s` and others wait. `max_waiting_tokens` is the room for what
    waits for one model, of which one client holds at most half. `open_paths` are answered without a key
    and whatever the Host; a body has `body_s` seconds (and one more for every 64 KB) to come; `log_texts`
    writes what is sent into the log; `otlp` is where spans go. Pictures and sounds come as `data:` URLs, at
    most `max_pictures` a request; with `fetch_urls` as http URLs of public addresses too.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    # No key in a traceback or a log that shows the settings.
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    origins: tuple[str, ...] = ()
    open_paths: tuple[str, ...] = ()
    workers: int = 1
    max_batch_tokens: int | None = None
    max_waiting_tokens: int = 600_000
    max_request_tokens: int = 300_000
    max_items: int = 2048
    max_body_bytes: int = 32 * 2**20
    deadline_s: float = 60.0
    batch_s: float = 0.5
    drain_s: float = 30.0
    body_s: float = 10.0
    log_texts: bool = False
    otlp: str | None = None
    self_check: bool = True
    fetch_urls: bool = False
    max_pictures: int = 64

    def __post_init__(self) -> None:
        """Raise InputError for numbers that make no server."""
        least = {"max_waiting_tokens": 2 * self.max_request_tokens, "port": 0, "drain_s": 0}
        named = ("workers", "max_request_tokens", "max_items", "max_body_bytes", "max_pictures")
        for name in (*least, *named, "max_batch_tokens"):
            value, bound = getattr(self, name), least.get(name, 1)
            if value is not None and value < bound:
                raise InputError(f"{name} is {value}", f"choose {bound} or more")
        for name in ("deadline_s", "batch_s", "body_s"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}", "choose more than 0 seconds")
        if self.port > 65535:
            raise InputError(f"port is {self.port}", "choose 0 to 65535; 0 takes a free one")
