"""Servers under load: throughput and latency by the number of clients, beside the engine without a server.

    python benchmarks/serve_load.py [--quick] [--model DIRECTORY] [--infinity infinity_emb] [--out FOLDER]

Each system is a process on `--server-cpus` with as many threads, asked by another process on `--client-cpu`;
texts of mixed lengths are sent one a request (or `--together`). `offline` is `Embedder.encode` on the same
texts. The model is lingxi-pico, written out in fp32, so that all compute the same network; our int8
is a system of its own.
Writes load.json, load.md and load.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speed.texts import library_texts

HERE = Path(__file__).parent
LEVELS = (1, 4, 16, 64, 256)
_START_S = 300
_OURS = "from lingxi.cli import main; main()"
_OFFLINE = """
import json, sys, time
from lingxi import Embedder
texts = json.load(open(sys.argv[2]))
embedder = Embedder(sys.argv[1], weights=sys.argv[3])
embedder.encode(texts[:64], show_progress_bar=False)
began = time.perf_counter()
embedder.encode(texts, show_progress_bar=False)
print(json.dumps({"seconds": time.perf_counter() - began, "tokens": sum(embedder.count_tokens(texts))}))
"""


@dataclass(frozen=True)
class System:
    """A server: how it is started ({port} stands for the port), and where it is asked."""

    name: str
    command: tuple[str, ...]
    path: str = "/v1/embeddings"
    served: str = "model"


@dataclass(frozen=True)
class Level:
    """What one number of clients saw: texts a second, and the latency in milliseconds."""

    system: str
    clients: int
    texts_a_second: float
    p50: float
    p99: float
    failures: int
    client_share: float


def main() -> None:
    """Measure all systems and write the report."""
    options = _options()
    levels = [int(n) for n in options.clients.split(",")] if options.clients else list(LEVELS)
    texts = _texts(options.texts, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        model = options.model or _exported(place / "model")
        found: list[Level] = []
        offline = {
            weights: _offline(model, place / "texts.json", weights, options)
            for weights in ("float32", "int8")
        }
        for _ in range(options.rounds):
            for system in _systems(str(model), options):
                found += _measured(system, levels, place / "texts.json", options)
    _report(_middle(found), offline, len(texts), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few texts, three levels")
    parser.add_argument("--model", type=Path, help="a directory that all systems load; default: lingxi-pico")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--clients", help="numbers of clients, as 1,16,256")
    parser.add_argument("--together", type=int, default=1, help="texts of one request")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--server-cpus", default="0")
    parser.add_argument("--client-cpu", default="1")
    parser.add_argument("--systems", help="names of the systems to measure, comma between")
    parser.add_argument("--infinity", help="the program infinity_emb, in an environment of its own")
    parser.add_argument("--out", type=Path, default=Path("load"))
    options = parser.parse_args()
    if options.quick:
        options.texts, options.clients = min(options.texts, 200), options.clients or "1,16,64"
    return options


def _texts(count: int, seed: int) -> list[str]:
    """Short questions and passages of mixed lengths, half and half; no two alike."""
    found = library_texts(count, seed)
    short = [" ".join(text.split()[:12]) if i % 2 else text for i, text in enumerate(found)]
    return [f"{text} {i}" for i, text in enumerate(short)]


def _exported(out: Path) -> Path:
    command = [sys.executable, "-c", _OURS, "models", "export", "lingxi-pico", str(out), "--dtype", "float32"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def _systems(model: str, options: argparse.Namespace) -> list[System]:
    """Ours in fp32 and int8, sentence-transformers behind FastAPI, and infinity where it is named."""
    python = sys.executable
    ours = (
        python,
        "-c",
        _OURS,
        "serve",
        "--embedder",
        f"model={model}",
        "--port",
        "{port}",
        "--deadline",
        "600",
    )
    found = [
        System("lingxi", (*ours, "--weights", "float32")),
        System("lingxi int8", (*ours, "--weights", "int8")),
        System("sentence-transformers", (python, str(HERE / "plain_server.py"), model, "{port}")),
    ]
    if options.infinity:
        flags = ("v2", "--model-id", model, "--port", "{port}", "--device", "cpu", "--engine", "torch")
        more = ("--served-model-name", "model", "--no-bettertransformer", "--dtype", "float32")
        found.append(System("infinity", (options.infinity, *flags, *more), path="/embeddings"))
    wanted = options.systems.split(",") if options.systems else [system.name for system in found]
    return [system for system in found if system.name in wanted]


def _cpus(stated: str) -> set[int]:
    return {int(n) for n in stated.split(",")}


def _pinned(stated: str) -> dict[str, Any]:
    """Arguments of a process on those processors, with a thread each."""
    cpus = _cpus(stated)
    environment = {**os.environ, "OMP_NUM_THREADS": str(len(cpus)), "HF_HUB_OFFLINE": "1"}
    return {"preexec_fn": lambda: os.sched_setaffinity(0, cpus), "env": environment}


def _offline(model: Path, texts: Path, weights: str, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-c", _OFFLINE, str(model), str(texts), weights]
    run = subprocess.run(command, check=True, capture_output=True, text=True, **_pinned(options.server_cpus))
    found: dict[str, float] = json.loads(run.stdout)
    return found


@contextmanager
def _running(system: System, options: argparse.Namespace) -> Iterator[str]:
    """The address of a server that answers, ended when the context ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.format(port=port) if part == "{port}" else part for part in system.command]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet, **_pinned(options.server_cpus))
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url + system.path, system, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, system: System, process: subprocess.Popen[bytes]) -> None:
    body = json.dumps({"model": system.served, "input": ["ready?"]}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    for _ in range(2 * _START_S):
        if process.poll() is not None:
            sys.exit(f"{system.name} ended with {process.returncode}: {' '.join(system.command)}")
        try:
            with urllib.request.urlopen(request, timeout=60):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    sys.exit(f"{system.name} did not answer in {_START_S} s")


def _measured(
    system: System, levels: Sequence[int], texts: Path, options: argparse.Namespace
) -> Iterator[Level]:
    with _running(system, options) as url:
        for clients in levels:
            command = [sys.executable, str(HERE / "load_client.py"), url, str(texts), "--path", system.path]
            command += ["--clients", str(clients), "--model", system.served]
            command += ["--together", str(options.together)]
            pinned = _pinned(options.client_cpu)
            run = subprocess.run(command, check=True, capture_output=True, text=True, **pinned)
            level = _level(system.name, clients, json.loads(run.stdout), options.together)
            print(_line(level), flush=True)
            yield level


def _level(name: str, clients: int, said: dict[str, Any], together: int) -> Level:
    latencies = sorted(said["latencies"])
    p50, p99 = (1000 * latencies[min(len(latencies) - 1, int(q * len(latencies)))] for q in (0.5, 0.99))
    rate = together * (len(latencies) - said["failures"]) / said["seconds"]
    return Level(name, clients, rate, p50, p99, said["failures"], said["cpu"] / said["seconds"])


def _line(level: Level) -> str:
    warn = "  the client is in the way" if level.client_share > 0.8 else ""
    figures = f"{level.texts_a_second:8.1f} texts/s  p50 {level.p50:8.1f} ms  p99 {level.p99:8.1f} ms"
    return f"{level.system:22} {level.clients:4} clients {figures}  {level.failures} failed{warn}"


def _middle(found: Sequence[Level]) -> list[Level]:
    """Of several rounds the median of every figure."""
    out = []
    for key in dict.fromkeys((level.system, level.clients) for level in found):
        same = [level for level in found if (level.system, level.clients) == key]
        figures = {
            name: statistics.median(getattr(level, name) for level in same)
            for name in ("texts_a_second", "p50", "p99", "client_share")
        }
        out.append(Level(*key, failures=sum(level.failures for level in same), **figures))
    return out


def _at_equal_p99(found: Sequence[Level], ours: str) -> Iterator[tuple[str, float, float, float]]:
    """(peer, its best throughput, its p99 there, our throughput at no higher p99)."""
    for peer in dict.fromkeys(level.system for level in found if not level.system.startswith("lingxi")):
        best = max((level for level in found if level.system == peer), key=lambda level: level.texts_a_second)
        own = [level for level in found if level.system == ours and level.p99 <= best.p99]
        yield peer, best.texts_a_second, best.p99, max((o.texts_a_second for o in own), default=0.0)


def _report(
    found: Sequence[Level], offline: dict[str, dict[str, float]], texts: int, options: argparse.Namespace
) -> None:
    values = {"texts": texts, "offline": offline, "levels": [asdict(level) for level in found]}
    (options.out / "load.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    rates = {
        "lingxi": texts / offline["float32"]["seconds"],
        "lingxi int8": texts / offline["int8"]["seconds"],
    }
    lines = [
        "| system | clients | texts/s | of offline | p50 ms | p99 ms | failed |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for level in found:
        share = f"{level.texts_a_second / rates[level.system]:.0%}" if level.system in rates else ""
        lines.append(
            f"| {level.system} | {level.clients} | {level.texts_a_second:.1f} | {share} | {level.p50:.1f} | "
            f"{level.p99:.1f} | {level.failures} |"
        )
    lines += [f"| {name} offline | | {rate:.1f} | 100% | | | |" for name, rate in rates.items()]
    lines += ["", "At a p99 no higher than the peer's at its best throughput:", ""]
    for ours in rates:
        lines += [
            f"- {ours}: {own:.1f} texts/s against {best:.1f} of {peer} (p99 {p99:.0f} ms): {own / best:.2f} ×"
            for peer, best, p99, own in _at_equal_p99(found, ours)
        ]
    (options.out / "load.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    _draw(found, rates, options.out / "load.svg")


def _draw(found: Sequence[Level], rates: dict[str, float], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "lingxi"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    for name in dict.fromkeys(level.system for level in found):
        own = [level for level in found if level.system == name]
        clients = [level.clients for level in own]
        [line] = left.plot(clients, [level.texts_a_second for level in own], marker="o", label=name)
        right.plot(
            clients, [level.p50 for level in own], marker="o", color=line.get_color(), label=f"{name} p50"
        )
        right.plot(clients, [level.p99 for level in own], marker="x", linestyle=":", color=line.get_color())
        if name in rates:
            left.axhline(rates[name], linestyle="--", linewidth=0.8, color=line.get_color())
    left.set(xscale="log", xlabel="clients", ylabel="texts a second (dashed: without a server)")
    right.set(xscale="log", yscale="log", xlabel="clients", ylabel="milliseconds, p50 and p99 (dotted)")
    left.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
