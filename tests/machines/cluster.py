"""A cluster on machines of its own, set up as ``docs/cluster.md`` says."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rack import HOME, ROOT, Machine, Rack, rack
from s3_server import CREDENTIALS

NAMES: Final = ("head", "one", "two", "s3", "mlflow", "laptop")
LIMIT_SECONDS: Final = 900  # of what takes one minute on a machine of one's own
STARTS: Final = 5  # of Ray on a machine
OBJECTS: Final = "--object-store-memory=100000000"  # bytes; else a third of the memory, each

_ON_A_BUSY_MACHINE: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # no step back behind other programs
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "600",
}
_FEWER_PROCESSES: Final = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass
class Cluster:
    """Head and two workers with a core each, storage, an MLflow server, and a laptop: no node."""

    rack: Rack

    @property
    def client(self) -> str:
        return f"ray://{self.rack['head'].address}:10001"

    @property
    def dashboard(self) -> str:
        return f"http://{self.rack['head'].address}:8265"

    @property
    def tracking(self) -> str:
        return f"http://{self.rack['mlflow'].address}:5000"

    def storage(self, *below: str) -> str:
        options = f"region=us-east-1&scheme=http&endpoint_override={self.rack['s3'].address}:9000"
        return "/".join(["s3://bucket/results", *below]) + f"?{options}"

    def set_up(self) -> None:
        """All services, each on its machine."""
        token = secrets.token_hex(32)
        for name in ("head", "one", "two", "laptop"):
            machine = self.rack[name]
            machine.variables.update(CREDENTIALS, RAY_AUTH_MODE="token", **_ON_A_BUSY_MACHINE)
            file = machine.home / ".ray" / "auth_token"
            file.parent.mkdir()
            file.write_text(token)
            file.chmod(0o600)
        # The code of this checkout is only where searches are launched, whatever is installed.
        self.rack["laptop"].variables["PYTHONPATH"] = f"{ROOT}/.ci/types"
        self._serve_s3()
        self._serve_mlflow()
        self._start_head()
        for name in ("one", "two"):
            self.start_worker(name)

    def _serve_s3(self) -> None:
        machine = self.rack["s3"]
        machine.variables.update(CREDENTIALS, PYTHONPATH=f"{ROOT}/tests/support")
        script = str(Path(__file__).with_name("serve_s3.py"))
        _serve(machine, "python", script, machine.address, "9000")
        self._wait_for_port("s3", 9000, self.rack["laptop"])

    def _serve_mlflow(self) -> None:
        machine = self.rack["mlflow"]
        machine.variables.update(MLFLOW_DISABLE_TELEMETRY="true", **_FEWER_PROCESSES)
        _serve(
            machine,
            *("mlflow", "server", "--host", machine.address, "--port", "5000", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{HOME}/mlflow.db", "--serve-artifacts"),
            *("--artifacts-destination", f"{HOME}/files"),
            *("--allowed-hosts", f"{machine.address}:5000"),
        )
        self._wait_for_port("mlflow", 5000, self.rack["laptop"])

    def _start_head(self) -> None:
        head = self.rack["head"]
        words = ("--head", "--port=6379", f"--dashboard-host={head.address}", "--num-cpus=0")
        self._start_ray("head", *words, ports=(10001, 8265))

    def start_worker(self, name: str) -> None:
        self._start_ray(name, f"--address={self.rack['head'].address}:6379", "--num-cpus=1")

    def _start_ray(self, name: str, *words: str, ports: tuple[int, ...] = ()) -> None:
        """A node that is up, and listens; again where it has given up waiting for itself."""
        machine, log = self.rack[name], self.rack.log
        # Ray's processes wait 15 to 30 s for each other, and end when that is over.
        lives = "grep --quiet '[c]lient.server' /proc/[0-9]*/cmdline 2>/dev/null || exit 1"
        for _ in range(STARTS):
            try:
                machine.run("ray", "start", *words, OBJECTS, seconds=LIMIT_SECONDS)
                for port in ports:
                    self._wait_for_port(name, port, machine, lives)
            except AssertionError as error:
                log.say(name, f"Ray did not start: {' '.join(str(error).split())[-200:]}")
                machine.run("ray", "stop", "--force", seconds=LIMIT_SECONDS)
            else:
                log.say(name, "is a node of the cluster")
                return
        raise AssertionError(f"Ray did not start on {name} in {STARTS} tries")

    def _wait_for_port(self, name: str, port: int, asker: Machine, while_: str = ":") -> None:
        """Until a machine reaches it; fails when the command does that is to hold meanwhile."""
        asked = f"until (: >/dev/tcp/{name}/{port}) 2>/dev/null; do {while_}; sleep 0.2; done"
        asker.run("bash", "-c", asked, seconds=LIMIT_SECONDS)
        self.rack.log.say(name, f"answers at port {port}")


def _serve(machine: Machine, *words: str) -> None:
    with (machine.folder / "log").open("w") as log:
        machine.start(*words, output=log)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """All machines, and what runs on them."""
    with rack(folder, *NAMES) as machines:
        built = Cluster(machines)
        built.set_up()
        yield built
