"""Worker processes at one port: killed, hung, drained, given up in words."""

import http.client
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from lingxi.errors import InputError
from lingxi.serve.listen import bound

HERE = Path(__file__).parent


def wait_for(what, seconds=15.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("nothing came")


@contextmanager
def supervised(name, out):
    process = subprocess.Popen([sys.executable, HERE / "working.py", name, str(out)], stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("server")) as found:
        yield found


@contextmanager
def started(folder):
    with supervised("answering", folder / "port") as process:
        yield process, int(wait_for(lambda: (folder / "port").exists() and (folder / "port").read_text()))


def ask(port, path="/", timeout=10):
    """Process that answered, requests of all workers so far, restarts."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("GET", path)
    said = connection.getresponse().read()
    connection.close()
    return tuple(map(int, said.split()))


def test_a_killed_worker_is_started_again_and_others_answer_meanwhile(server):
    _, port = server
    pids = wait_for(lambda: found if len(found := {ask(port)[0] for _ in range(20)}) == 2 else None)
    counted = ask(port)[1]
    victim = pids.pop()
    os.kill(victim, signal.SIGKILL)
    # Not one request fails, from the moment of the kill until the successor answers.
    after = wait_for(lambda: found if len(found := {ask(port)[0] for _ in range(20)}) == 2 else None)
    assert victim not in after and pids < after
    _, total, restarts = ask(port)
    assert total > counted and restarts == 1


def test_connections_are_spread_over_workers(server):
    _, port = server
    with ThreadPoolExecutor(16) as pool:
        answered = [pid for pid, *_ in pool.map(lambda _: ask(port), range(200))]
    assert min(answered.count(pid) for pid in set(answered)) > 20 and len(set(answered)) == 2


def test_sigterm_lets_what_is_under_way_end(tmp_path):
    with started(tmp_path) as (process, port):
        with ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(ask, port, "/slow") for _ in range(4)]
            time.sleep(0.4)
            process.send_signal(signal.SIGTERM)
            assert all(len(one.result()) == 3 for one in slow)
        assert process.wait(10) == 0
    with pytest.raises(OSError):
        ask(port)


@pytest.mark.slow
def test_a_worker_that_gives_no_sign_of_life_is_killed(server):
    _, port = server
    restarts = ask(port)[2]
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(port, "/stop")
    wait_for(lambda: ask(port)[2] == restarts + 1)


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    with started(tmp_path) as (process, port):
        pids = wait_for(lambda: found if len(found := {ask(port)[0] for _ in range(20)}) == 2 else None)
        process.kill()
        process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refusing", "the model is not there; name another"),
        pytest.param("dying", "in a row died before they served", marks=pytest.mark.slow),
    ],
)
def test_workers_that_cannot_start_are_given_up_in_words(tmp_path, name, words):
    with supervised(name, tmp_path / "said") as process:
        assert process.wait(15) == 2
    assert words in (tmp_path / "said").read_text()


def test_an_address_that_is_taken_is_said():
    with bound("127.0.0.1", 0) as first, pytest.raises(InputError, match="address already in use"):
        bound("127.0.0.1", first.getsockname()[1])
    with pytest.raises(InputError, match="cannot listen on no such host"):
        bound("no such host", 0)
