"""What is in deploy/: linted by the real linters, and naming only flags, paths and ports that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("yaml")
import yaml

from lingxi.cli import app
from lingxi.serve.operations import OPENABLE

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
FILES = [DEPLOY / "Dockerfile", DEPLOY / "lingxi.service", *MANIFESTS]
[CONTAINER] = yaml.safe_load((DEPLOY / "kubernetes" / "deployment.yaml").read_text())["spec"]["template"][
    "spec"
]["containers"]


def tool(name):
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return found or pytest.skip(f"needs {name}")


def test_the_dockerfile_passes_hadolint():
    done = subprocess.run([tool("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid_for_kubernetes(path):
    validate = pytest.importorskip("kubernetes_validate")
    for version in ("1.30", validate.latest_version()):
        for document in yaml.safe_load_all(path.read_text()):
            try:
                validate.validate(document, version, strict=True)
            except validate.VersionNotSupportedError:
                pytest.skip(f"no schema of {version}")


def test_the_unit_is_understood_and_hardened(tmp_path):
    analyze, unit = tool("systemd-analyze"), tmp_path / "lingxi.service"
    text = (DEPLOY / "lingxi.service").read_text()
    unit.write_text(text.replace("/opt/lingxi/bin/lingxi", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "lingxi.service" not in done.stderr, done.stderr
    safe = [analyze, "security", "--offline=true", "--threshold=20", unit]  # 2.0 of 10
    done = subprocess.run(safe, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_flags_that_are_named_exist(path):
    serve = typer.main.get_command(app).commands["serve"]
    known = {flag for parameter in serve.params for flag in parameter.opts}
    text = path.read_text()
    if path.name == "Dockerfile":
        text = text[text.index("ENTRYPOINT") :]
    elif path.name == "lingxi.service":
        text = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    elif path.name != "deployment.yaml":
        return
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.sub(r"#.*", "", text)))
    assert named and named <= known, named - known


def test_probes_ask_paths_that_are_open():
    opened = {arg.split("=")[1] for arg in CONTAINER["args"] if arg.startswith("--open=")}
    assert opened <= set(OPENABLE)
    probed = {CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probed <= opened and "/metrics" in opened
    docker = (DEPLOY / "Dockerfile").read_text()
    [path] = re.findall(r"127\.0\.0\.1:8080(/\w+)", docker)
    assert f'"--open", "{path}"' in docker


def test_ports_and_keys_agree():
    docker, service = (
        (DEPLOY / "Dockerfile").read_text(),
        (DEPLOY / "kubernetes" / "service.yaml").read_text(),
    )
    assert "EXPOSE 8080" in docker and '"--port", "8080"' in docker
    [port] = CONTAINER["ports"]
    assert port["containerPort"] == 8080 and f"targetPort: {port['name']}" in service
    [keys] = [mount["mountPath"] for mount in CONTAINER["volumeMounts"] if mount["name"] == "keys"]
    assert f"--api-keys={keys}/keys" in CONTAINER["args"]


def test_the_autoscaler_reads_a_metric_that_is_there():
    scaler = yaml.safe_load((DEPLOY / "kubernetes" / "autoscaler.yaml").read_text())
    [metric] = scaler["spec"]["metrics"]
    from lingxi.serve.metrics import Metrics

    assert metric["pods"]["metric"]["name"] in {family.name for family in Metrics((), ()).ledger.families}


def test_containers_are_not_root_and_write_nowhere():
    assert re.search(r"^USER 10001", (DEPLOY / "Dockerfile").read_text(), re.M)
    safe = CONTAINER["securityContext"]
    assert safe["readOnlyRootFilesystem"] and not safe["allowPrivilegeEscalation"]
    assert CONTAINER["resources"]["limits"].keys() == {"cpu", "memory"}
