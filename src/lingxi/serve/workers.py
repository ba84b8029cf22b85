"""Several processes at one port: started, watched, started again when they die, drained when told to end.

Workers are spawned, never forked, and share the socket (what would have come to a dead one goes to others),
the pages of mapped weights (packed directories are mapped by the engine), and the memory of counts.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from lingxi.errors import InputError, LingxiError
from lingxi.serve import ledger
from lingxi.serve.ledger import Place, shared
from lingxi.serve.listen import Server, Signs, bound

_log = logging.getLogger("lingxi.serve.workers")
_context = get_context("spawn")
_FAILED = 3


class Listening(Protocol):
    """What is read of a server's settings here."""

    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def drain_s(self) -> float: ...  # noqa: D102


# Makes the server of one worker, in its own process: found by name there, so a function of a module.
Make = Callable[[Any, Place, Signs], Server]


class StartError(LingxiError):
    """Workers do not come up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds before a dead worker is started again (doubled each time, up to `longest`, forgotten after
    `well` seconds of life), seconds without a sign of life before one is killed, and starts that may fail.
    """

    first: float = 0.5
    longest: float = 30.0
    well: float = 60.0
    silent: float = 60.0
    tries: int = 5


@dataclass(slots=True)
class _Worker:
    place: Place
    process: BaseProcess | None = None
    line: Connection | None = None
    ready: bool = False
    born: float = 0.0
    deaths: int = 0
    again: float = 0.0
    said: Any = None


def run(
    settings: Listening,
    make: Make,
    *,
    pace: Pace | None = None,
    started: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve with `settings.workers` processes until SIGTERM or SIGINT; `started` hears the port when all run.

    Raises StartError where workers die before they serve, InputError where the address is taken.
    """
    with bound(settings.host, settings.port) as listener:
        Supervisor(settings, make, listener, pace or Pace(), started).run()


@dataclass(slots=True)
class Supervisor:
    """The parent: holds the socket and the counts, and no model."""

    settings: Listening
    make: Make
    listener: socket.socket
    pace: Pace
    started: Callable[[int], None]
    _workers: list[_Worker] = field(init=False)
    _rows: ledger.Rows = field(init=False)
    _failures: int = 0
    _signals: int = 0
    _told: bool = False

    def __post_init__(self) -> None:
        """Lay out the places."""
        total = self.settings.workers
        memory = shared(_context, total)
        self._workers = [_Worker(Place(number, total, memory)) for number in range(total)]
        self._rows = self._workers[0].place.rows()

    def run(self) -> None:
        """Until a signal; raises StartError."""
        try:
            with self._woken() as wake:
                while not self._signals:
                    self._start_due()
                    self._turn(wake)
                self._drain(wake)
        finally:
            self._kill()

    @contextmanager
    def _woken(self) -> Iterator[socket.socket]:
        """A socket that is readable when a signal came: nothing is polled."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        before = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            ours.close()
            theirs.close()

    def _heard(self, *_: Any) -> None:
        self._signals += 1

    def _start_due(self) -> None:
        for worker in self._workers:
            if worker.process is None and worker.again <= time.monotonic():
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        worker.line, theirs = _context.Pipe(duplex=False)
        worker.process = _context.Process(
            target=serve, args=(self.settings, self.make, worker.place, self.listener, theirs),
            name=f"lingxi-worker-{worker.place.number}",
        )  # fmt: skip
        worker.process.start()
        theirs.close()
        worker.born, worker.ready = time.monotonic(), False
        _log.info(
            "worker started", extra={"fields": {"worker": worker.place.number, "pid": worker.process.pid}}
        )

    def _turn(self, wake: socket.socket) -> None:
        """Wait until a worker speaks or dies, a signal comes, or one is due; then see to it."""
        running = [worker for worker in self._workers if worker.process is not None]
        things: list[Any] = [wake]
        for worker in running:
            things += [worker.process.sentinel] if worker.process else []
            things += [worker.line] if worker.line and not worker.ready else []
        due = [worker.again - time.monotonic() for worker in self._workers if not worker.process]
        found = wait(things, timeout=max(0.0, min([1.0, *due])))
        if wake in found:
            wake.recv(4096)
        for worker in running:
            self._look(worker)

    def _look(self, worker: _Worker) -> None:
        if not worker.ready:
            worker.said = _said(worker) or worker.said
        if worker.said == "ready" and not worker.ready:
            worker.ready, self._failures = True, 0
            self._tell_started()
        assert worker.process is not None
        if not worker.process.is_alive():
            self._buried(worker)
        elif (
            worker.ready
            and time.monotonic() - self._rows[worker.place.number, ledger.BEAT] > self.pace.silent
        ):
            _log.error("worker gives no sign of life", extra={"fields": {"worker": worker.place.number}})
            worker.process.kill()

    def _tell_started(self) -> None:
        if not self._told and all(worker.ready for worker in self._workers):
            self._told = True
            self.started(self.listener.getsockname()[1])

    def _buried(self, worker: _Worker) -> None:
        """A worker is dead: say so, and when the next is started; raises StartError where that is in vain."""
        assert worker.process is not None
        code, lived, said = worker.process.exitcode, time.monotonic() - worker.born, worker.said
        fields = {
            "worker": worker.place.number,
            "code": code,
            "lived": round(lived, 1),
            "served": worker.ready,
        }
        _log.error("worker died", extra={"fields": fields})
        self._rows[worker.place.number, ledger.UP] = 0
        self._rows[worker.place.number, ledger.RESTARTS] += 1
        self._failures += not worker.ready
        _forget(worker)
        if not any(other.ready for other in self._workers):
            self._give_up(said, code)
        worker.deaths = 0 if lived > self.pace.well else worker.deaths + 1
        worker.again = time.monotonic() + min(self.pace.longest, self.pace.first * 2.0 ** (worker.deaths - 1))

    def _give_up(self, said: Any, code: int | None) -> None:
        if isinstance(said, tuple):
            raise StartError(*said)
        if self._failures >= self.pace.tries:
            raise StartError(
                f"{self._failures} workers in a row died before they served, the last with exit code {code}",
                "see the log above for the reason; try --workers 1, or free memory",
            )

    def _drain(self, wake: socket.socket) -> None:
        """Let the workers end what they began; a second signal, or more time than the drain, kills them."""
        end = time.monotonic() + self.settings.drain_s + 5
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        while running and self._signals < 2 and time.monotonic() < end:
            wait([wake, *(process.sentinel for process in running)], timeout=1.0)
            running = [process for process in running if process.is_alive()]

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.kill()
                worker.process.join()
                _forget(worker)


def _said(worker: _Worker) -> Any:
    """What a worker said on its line since: "ready", or the words of its failure; None for nothing."""
    try:
        return worker.line.recv() if worker.line is not None and worker.line.poll() else None
    except (EOFError, OSError):
        return None


def _forget(worker: _Worker) -> None:
    if worker.line is not None:
        worker.line.close()
    worker.process, worker.line, worker.said, worker.ready = None, None, None, False


def serve(settings: Listening, make: Make, place: Place, listener: socket.socket, line: Connection) -> None:
    """The whole life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    row = place.rows()[place.number]

    def alive() -> None:
        row[ledger.UP], row[ledger.BEAT] = 1, time.monotonic()

    try:
        server = make(settings, place, Signs(lambda: line.send("ready"), alive))
    except LingxiError as error:
        line.send((error.reason, error.remedy))
        sys.exit(_FAILED)
    threading.Thread(target=_outlive_not, args=(server,), daemon=True).start()
    server.run([listener])


def _outlive_not(server: Server) -> None:
    """End when the parent is gone, however it went."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        server.should_exit = True


def share_cores(workers: int) -> None:
    """Let the engine compute with this process's share of the cores (fewer where it was told so before)."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // workers)))


def check_workers(workers: int) -> None:
    """Raise InputError for a number of workers this system cannot start."""
    if workers > 1 and sys.platform == "win32":
        raise InputError("several workers share a socket, which Windows cannot", "leave --workers at 1")
