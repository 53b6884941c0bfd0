"""The files in search/cluster, checked as far as that goes without a cloud."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray_heads import clean_environment, free_ports

FOLDER = Path(__file__).parents[3] / "search" / "cluster"
ROOT = Path(__file__).parents[3]


def load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.mark.parametrize("name", ["aws.yaml", "on-premise.yaml"])
def test_ray_up_accepts_the_file_and_every_node_asks_for_the_token(name: str) -> None:
    config = prepare_config(load(name))
    validate_config(config)
    assert any(path.endswith(".ray/auth_token") for path in config["file_mounts"])
    starts = {
        kind: [line for line in config[f"{kind}_start_ray_commands"] if "ray start" in line]
        for kind in ("head", "worker")
    }
    assert all(len(lines) == 1 for lines in starts.values())
    for (line,) in starts.values():
        assert re.search(r"RAY_AUTH_MODE=token\s+ray start", line)
    assert "--dashboard-host=127.0.0.1" in starts["head"][0]
    assert "fusion-search[cluster]" in config["setup_commands"][-1]


# Of KubeRay's RayJob, version ray.io/v1: fields and whether they are needed.
JOB = {
    "entrypoint": True,
    "shutdownAfterJobFinishes": False,
    "ttlSecondsAfterFinished": False,
    "backoffLimit": False,
    "submissionMode": False,
    "rayClusterSpec": True,
}
CLUSTER = {
    "rayVersion": True,  # authOptions asks for it
    "authOptions": True,
    "headGroupSpec": True,
    "workerGroupSpecs": True,
}
HEAD = {"serviceType": False, "rayStartParams": True, "template": True}
WORKERS = {
    "groupName": True,
    "replicas": True,
    "minReplicas": True,
    "maxReplicas": True,
    "rayStartParams": True,
    "template": True,
}


def check_fields(given: dict[str, Any], known: dict[str, bool]) -> None:
    assert set(given) <= set(known)
    assert {name for name, needed in known.items() if needed} <= set(given)


def test_the_rayjob_has_the_fields_of_a_rayjob() -> None:
    job = load("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check_fields(job["spec"], JOB)
    assert job["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "SidecarMode")
    cluster = job["spec"]["rayClusterSpec"]
    check_fields(cluster, CLUSTER)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    check_fields(cluster["headGroupSpec"], HEAD)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in cluster["workerGroupSpecs"]:
        check_fields(group, WORKERS)
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {one["name"] for one in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert container["image"] == groups[0]["template"]["spec"]["containers"][0]["image"]
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"])
            assert resources["requests"] == resources["limits"]
            assert {one["name"] for one in container.get("volumeMounts", [])} <= volumes


def test_the_rayjobs_command_and_ray_are_ours() -> None:
    from importlib.metadata import version

    from fusion_search.search.commands.command_line import parser

    spec = load("rayjob.yaml")["spec"]
    words = spec["entrypoint"].split()
    assert words[0] == "fusion-search"
    assert (ROOT / parser().parse_args(words[1:]).config).is_file()
    assert spec["rayClusterSpec"]["rayVersion"] == version("ray")
    assert f":{version('ray')}-" in load("aws.yaml")["docker"]["image"]


def test_the_slurm_script_is_sound_shell() -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([checker, FOLDER / "slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


STAND_INS = {
    # Slurm's, which run everything here and write down what they were asked for.
    "srun": """
        echo "srun $* token=$RAY_AUTH_TOKEN mode=$RAY_AUTH_MODE" >>"$CALLS"
        while [[ $1 == --* ]]; do shift; done
        exec "$@" """,
    "scontrol": "printf '127.0.0.1\\nanother\\nthird\\n'",
    # Ray's, whose head listens at its port until it is ended.
    "ray": """
        [[ "$*" == *--head* ]] || exec sleep 60
        port=$(sed 's/.*--port=\\([0-9]*\\).*/\\1/' <<<"$*")
        exec "$REAL_PYTHON" -c "
        import signal, socket, sys
        with socket.create_server(('127.0.0.1', int(sys.argv[1]))):
            signal.pause()" "$port" """,
    "python": """
        case "$1" in
          -c) exec "$REAL_PYTHON" "$@" ;;
          *) echo "nodes $*" >>"$CALLS" ;;
        esac""",
    "fusion-search": """
        echo "search $*" >>"$CALLS"
        trap 'echo stopped >>"$CALLS"; exit 130' TERM
        [[ -n ${SIGNAL_BATCH:-} ]] && kill -TERM "$PPID"
        for _ in $(seq 100); do [[ -n ${SIGNAL_BATCH:-} ]] || break; sleep 0.1; done
        exit 7 """,
}


def run_batch(folder: Path, **variables: str) -> tuple[int, list[str]]:
    tools = folder / "bin"
    tools.mkdir()
    for name, text in STAND_INS.items():
        lines = [line.removeprefix("        ") for line in text.strip().splitlines()]
        (tools / name).write_text("\n".join(["#!/bin/bash", *lines, ""]))
        (tools / name).chmod(0o755)
    calls = folder / "calls"
    environment = clean_environment(
        PATH=f"{tools}:/usr/bin:/bin",
        CALLS=str(calls),
        REAL_PYTHON=sys.executable,
        # Ports follow from the job's number.
        SLURM_JOB_ID=str(free_ports(1)[0]),
        SLURM_JOB_NODELIST="three",
        SLURM_CPUS_PER_TASK="3",
        **variables,
    )
    done = subprocess.run(
        ["bash", str(FOLDER / "slurm.sh"), "launch", "a b.yaml"], env=environment, timeout=60
    )
    return done.returncode, calls.read_text().splitlines()


def test_slurm_starts_a_head_then_workers_then_the_search_with_one_token(tmp_path: Path) -> None:
    code, calls = run_batch(tmp_path)
    assert code == 7
    head = next(line for line in calls if "--head" in line)
    workers = next(line for line in calls if "--address=" in line)
    assert len(calls) == 4
    token = re.search(r"token=([0-9a-f]{64}) mode=token", head)
    assert token
    assert token.group(0) in workers
    assert "--nodelist=127.0.0.1" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=3" in head
    assert "--nodes=2 --ntasks=2 --exclude=127.0.0.1" in workers
    assert "--num-cpus=3" in workers
    address = re.search(r"--address=(\S+)", workers)
    assert address
    nodes = next(line for line in calls if line.startswith("nodes"))
    assert nodes.startswith(f"nodes - {address.group(1)} 3 ")
    search = calls.index(f"search launch a b.yaml --address {address.group(1)}")
    # The workers start beside the search; Slurm answers when it will.
    assert calls.index(head) < calls.index(nodes) < search


def test_slurms_signal_stops_the_search_in_the_orderly_way(tmp_path: Path) -> None:
    code, calls = run_batch(tmp_path, SIGNAL_BATCH="yes")
    (search,) = [line for line in calls if line.startswith("search ")]
    assert calls.index(search) < calls.index("stopped")
    assert code == 130
