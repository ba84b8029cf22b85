"""`lingxi serve` as users start it: a worker killed under load, no file descriptors left, weights shared."""

import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("prometheus_client")

from toys import write_toy

pytestmark = pytest.mark.slow
START = "from lingxi.cli import main\nif __name__ == '__main__':\n    main()"


@contextmanager
def started(*arguments, log):
    """A server of its own process, and the port it says."""
    command = [sys.executable, "-c", START, "serve", "--port", "0", *arguments]
    with (
        Path(log).open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            line = process.stdout.readline()
            assert "http://" in line, Path(log).read_text()
            yield process, int(re.search(r":(\d+) ", line)[1])
        finally:
            process.kill()


def ask(port, path="/embed", body=None, timeout=30):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def children(pid):
    """Worker processes: those of the parent that hold a model."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_worker_killed_under_load_harms_only_what_it_had(tmp_path):
    model = write_toy(tmp_path / "toy")
    with started("--embedder", str(model), "--workers", "2", log=tmp_path / "log") as (process, port):
        wanted, failed, wrong, stop = ask(port, body={"inputs": "hello"})[1], [], [], threading.Event()

        def client():
            while not stop.is_set():
                try:
                    status, said = ask(port, body={"inputs": "hello"})
                    if status != 200 or said != wanted:
                        wrong.append((status, said))
                except (OSError, http.client.HTTPException) as error:
                    failed.append(error)

        clients = [threading.Thread(target=client) for _ in range(8)]
        for one in clients:
            one.start()
        time.sleep(1)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        end = time.monotonic() + 90
        while b"lingxi_workers 2.0" not in ask(port, "/metrics")[1] or len(children(process.pid)) < 2:
            assert time.monotonic() < end
            time.sleep(0.2)
        stop.set()
        for one in clients:
            one.join()
        # Each client has one request under way: no more can have been the killed worker's.
        assert len(failed) <= len(clients) and not wrong
        assert b"lingxi_worker_restarts_total 1.0" in ask(port, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_no_descriptors_left_and_then_some_again(tmp_path):
    model = write_toy(tmp_path / "toy")
    with started("--embedder", str(model), log=tmp_path / "log") as (process, port):
        assert ask(port, body={"inputs": "hello"})[0] == 200
        held = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (held + 8, held + 8))
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
        time.sleep(1)
        with pytest.raises((OSError, http.client.HTTPException)):  # none is left for another
            ask(port, body={"inputs": "hello"}, timeout=1)
        assert process.poll() is None
        for one in crowd:
            one.close()
        end = time.monotonic() + 10
        while not answers(port) and time.monotonic() < end:
            time.sleep(0.1)
        assert answers(port)
        written = (tmp_path / "log").read_text()
        assert len(written.splitlines()) < 200, "a line for every connection that could not be taken"
        assert str(tmp_path) not in written and all(json.loads(line) for line in written.splitlines())


def answers(port):
    try:
        return ask(port, body={"inputs": "hello"})[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_mapped_weights_are_one_in_memory_for_all_workers(tmp_path):
    packed = tmp_path / "packed"
    from lingxi.cli import run

    assert run(["models", "quantize", "lingxi-pico", str(packed), "--packed"]) == 0
    with started("--embedder", str(packed), "--workers", "2", log=tmp_path / "log") as (process, port):
        assert ask(port, body={"inputs": "hello"})[0] == 200
        for child in children(process.pid):
            own = 0
            for block in re.split(r"\n(?=[0-9a-f]+-)", Path(f"/proc/{child}/smaps").read_text()):
                if str(packed) in block.split("\n")[0]:
                    own += int(re.search(r"Private_Dirty:\s+(\d+)", block)[1])
                    assert int(re.search(r"Size:\s+(\d+)", block)[1]) > 1000
            assert str(packed) in Path(f"/proc/{child}/maps").read_text() and own == 0
