"""Small applications that `lingxi.serve.workers` starts in processes of their own, found there by name."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lingxi.errors import InputError
from lingxi.serve.ledger import Ledger
from lingxi.serve.listen import Server, config
from lingxi.serve.workers import Pace, StartError, run


@dataclass(frozen=True)
class Told:
    """What the supervisor reads of settings."""

    host: str = "127.0.0.1"
    port: int = 0
    workers: int = 2
    drain_s: float = 5.0


def answering(settings, place, signs):
    """Says its process, counts requests of all workers; /slow takes a second, /stop blocks the event loop."""
    book = Ledger(place)
    count = book.counter("c", "requests")

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["path"] == "/slow":
            await asyncio.sleep(1)
        if scope["path"] == "/stop":
            time.sleep(60)
        book.add(count)
        [metric] = book.collect()
        said = f"{os.getpid()} {int(metric.samples[0].value)} {book.restarts()}".encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(said))],
            }
        )
        await send({"type": "http.response.body", "body": said})

    return Server(config(app, drain_s=settings.drain_s), signs)


def refusing(settings, place, signs):
    """Cannot be started, and says why."""
    raise InputError("the model is not there", "name another")


def dying(settings, place, signs):
    """Dies while it starts."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(name, out):
    """Run one of them; the port, or the error, is written to a file."""

    def started(port):
        Path(out + ".part").write_text(str(port))
        Path(out + ".part").rename(out)

    pace = Pace(first=0.05, silent=2.0, tries=3)
    try:
        run(Told(), globals()[name], pace=pace, started=started)
    except StartError as error:
        Path(out).write_text(f"{error.reason}; {error.remedy}")
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
