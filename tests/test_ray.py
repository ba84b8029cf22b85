"""Collected and curated on two Ray nodes of one machine, a worker killed midway: the same rows."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lingxi.collect import CollectSettings, collect_pairs
from lingxi.curate import CurateSettings, curate_pairs
from lingxi.records import read_pairs

RAY = importlib.util.find_spec("ray") is not None
UNSHARE = shutil.which("unshare") is not None and os.geteuid() == 0
FUNCTION = '''
def {name}(numbers):
    """Add all the numbers of the list called {name} and return the sum."""
    result = 0
    for number in numbers:
        result += number
    return result
'''

# Ray asks the network for its own address: in a network of its own there is none but loopback.
SCRIPT = """
set -e
ip link set lo up
export RAY_USAGE_STATS_ENABLED=0
ray=$1; python=$2; job=$3
$ray start --head --node-ip-address=127.0.0.1 --port=6399 --num-cpus=1 --include-dashboard=false >/dev/null
$ray start --address=127.0.0.1:6399 --node-ip-address=127.0.0.1 --num-cpus=1 >/dev/null
( for i in $(seq 1500); do [ $(ls $4/ray/parts 2>/dev/null | wc -l) -ge 6 ] && break; sleep 0.1; done
  worker=$(ps -eo pid,args | awk '$2 ~ /^ray::InMemoryScan/ {print $1; exit}')
  kill -9 $worker && echo killed one ) &
RAY_ADDRESS=127.0.0.1:6399 $python $job $4
$ray stop --force >/dev/null
"""

JOB = """
import json, sys
from pathlib import Path
from lingxi.collect import CollectSettings, collect_pairs
from lingxi.curate import CurateSettings, curate_pairs
import ray
ray.init(address="127.0.0.1:6399", log_to_driver=False)
print("nodes", sum(node["Alive"] for node in ray.nodes()))
settings = CollectSettings.model_validate(json.loads((Path(sys.argv[1]) / "settings.json").read_text()))
report = collect_pairs(settings, Path(sys.argv[1]) / "ray")
print("rows", report.rows)
settings = CurateSettings(runner="ray", processes=2)
kept = curate_pairs(settings, Path(sys.argv[1]) / "ray", Path(sys.argv[1]) / "ray-kept")
print("kept", kept.total.kept)
"""


@pytest.mark.slow
@pytest.mark.skipif(not (RAY and UNSHARE), reason="needs ray, unshare and root")
def test_two_nodes_make_the_same_rows(tmp_path: Path) -> None:
    folders = []
    for i in range(24):
        folder = tmp_path / f"package{i:02}"
        folder.mkdir()
        functions = (FUNCTION.format(name=f"f{i}_{j}") for j in range(200))
        (folder / "sums.py").write_text("\n".join(functions))
        folders.append(str(folder))
    values = {
        "mediawiki": "none",
        "cache": str(tmp_path / "cache"),
        "sources": [{"reader": "code", "paths": folders, "licence": "MIT"}],
    }
    here = collect_pairs(CollectSettings.model_validate(values), tmp_path / "here")
    kept = curate_pairs(CurateSettings(), tmp_path / "here", tmp_path / "here-kept").total.kept
    (tmp_path / "settings.json").write_text(json.dumps({**values, "runner": "ray", "processes": 2}))
    (tmp_path / "job.py").write_text(JOB)
    ray = Path(sys.executable).with_name("ray")
    command = ["unshare", "-n", "bash", "-c", SCRIPT, "test", str(ray), sys.executable]
    command += [str(tmp_path / "job.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "killed one" in done.stdout, done.stderr[-3000:]
    assert "nodes 2" in done.stdout and f"rows {here.rows}" in done.stdout and f"kept {kept}" in done.stdout
    for one, other in (("here", "ray"), ("here-kept", "ray-kept")):
        rows = [list(read_pairs(tmp_path / name / "pairs.parquet")) for name in (one, other)]
        assert rows[0] == rows[1] and len(rows[0]) > 1_000
