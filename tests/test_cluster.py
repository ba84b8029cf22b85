"""The application on two Ray nodes of one machine: both answer, with the same vectors."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lingxi
from toys import write_toy

RAY = importlib.util.find_spec("ray") is not None and importlib.util.find_spec("grpc_reflection") is not None
UNSHARE = shutil.which("unshare") is not None and os.geteuid() == 0

# Ray asks the network for its own address, and `ray stop` ends every Ray process it sees: both are kept to
# a network and to process numbers of their own.
SCRIPT = """
set -e
ip link set lo up
export RAY_USAGE_STATS_ENABLED=0
# Proxies have five seconds to come up, which a machine with other work does not always give.
export RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=120 RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S=120
python=$1; ray="$python -m ray.scripts.scripts"
$ray start --head --node-ip-address=127.0.0.1 --port=6399 --num-cpus=1 --include-dashboard=false >/dev/null
$ray start --address=127.0.0.1:6399 --node-ip-address=127.0.0.1 --num-cpus=1 >/dev/null
$python $2 $3
$ray stop --force >/dev/null
"""


@pytest.mark.slow
@pytest.mark.skipif(not (RAY and UNSHARE), reason="needs ray[serve], unshare and root")
def test_two_nodes_answer_with_the_same_vectors(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "toy")
    paths = [
        str(Path(lingxi.__file__).parents[1]),
        str(Path(__file__).parent),
    ]  # workers find the package there
    command = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "bash",
        "-c",
        SCRIPT,
        "test",
    ]
    command += [sys.executable, str(Path(__file__).with_name("clustered.py")), str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "nodes 2" in done.stdout and "answered 2 vectors 1" in done.stdout, done.stdout
    assert "refused (400, {'error'" in done.stdout
