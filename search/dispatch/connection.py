"""Reaching a Ray cluster: its address, its token, its resources, and the code on its nodes."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import services
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS  # no proxy, as Ray itself
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from fusion_search.analysis.records.advice import command
from fusion_search.search.declaration.specification import Resources
from fusion_search.search.dispatch.nodes import named_nodes, node_name
from fusion_search.search.dispatch.start import (
    ResourceError,
    check_docstrings,
    check_home,
    check_temporary_folder,
    own_token,
    without_variables,
)
from fusion_search.search.running.interrupts import (
    children_apart,
    hear_signals,
    stopped_as_by_interrupt,
)
from fusion_search.search.running.travelling import NOTHING, Sent, code_to_send, uses_folder
from fusion_search.search.trials.fields import ConfigurationError

CLIENT: Final = "ray://"
# Each trial is a thread of its worker; in arenas of their own, freed memory would pile up.
_ARENAS: Final = "MALLOC_ARENA_MAX"
# What asks for nothing but an answer: of Ray's own port, and of the port for clients.
_QUESTIONS: Final = {
    "": ("/ray.rpc.NodeInfoGcsService/GetClusterId", b""),
    CLIENT: ("/ray.rpc.RayletDriver/ClusterInfo", b"\x08\x06"),  # a ping
}


class _JobConfig(JobConfig):
    """Keeps the current folder out of workers' import paths, where Ray would put it first.

    There its files would hide what is installed; :func:`make_importable` lets it be found last.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # what Ray asks before it adds the folder


@contextmanager
def connect(address: str, resources: Resources, left_out: Sequence[str] = ()) -> Iterator[None]:
    """Connect to Ray, or start it, for as long as the block runs.

    Args:
        address: of a Ray cluster, or "local" to start Ray on this machine.
        resources: what one trial asks for.
        left_out: nodes that run no trial.

    Raises:
        ResourceError: there is no such cluster, it refuses us, or it lacks what a trial needs.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # verbose=0 is silent only in the old output
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A worker that stopped the search has told why.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # Schedulers look at epochs alone: a trial's start and end carry no metric.
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    # Names of data are those of the folder of the command, in workers too.
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    os.environ.setdefault(_ARENAS, "1")
    folder = Path.cwd() if address != "local" and uses_folder(Path.cwd()) else None
    with connection(address, Sent(folder, resources.requirements)):
        # What befalls trials is told by us, without tracebacks.
        for library in ("ray.train", "ray.tune"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        # So are lost nodes, of which Ray hands on the whole C++ stack; its own logs keep it.
        ray._private.worker._worker_logs_enabled = False
        _check_resources(resources, left_out)
        yield


@contextmanager
def connection(address: str, sent: Sent = NOTHING) -> Iterator[None]:
    """Ray itself, with this code on all nodes of a cluster, for as long as the block runs.

    A Ray that this process has started already, as a notebook may have, is used and left running.

    Args:
        address: of a Ray cluster, or "local".
        sent: what else its nodes get; on this machine all is there.

    Raises:
        ResourceError: there is no such cluster, or it refuses us.
    """
    if address == "local" and ray.is_initialized():
        with stopped_as_by_interrupt():
            yield
        return
    if not address.startswith(CLIENT):  # else Ray Tune runs elsewhere
        check_home()
        check_docstrings()
    if address == "local":
        check_temporary_folder()
    with ExitStack() as until_left:
        until_left.enter_context(stopped_as_by_interrupt())
        if address == "local":
            until_left.enter_context(own_token())
            until_left.enter_context(without_variables())
        if not ray.is_initialized():  # else it is somebody's, and this address is refused
            until_left.callback(ray.shutdown)  # also of a Ray that was interrupted as it started
        with children_apart():
            _start_or_join(address, sent)
            hear_signals()
        yield


def _start_or_join(address: str, sent: Sent) -> None:
    options: dict[str, Any] = {"include_dashboard": False}
    try:
        with ExitStack() as until_sent:
            if address != "local":
                address = _reach(address)
                if not address.startswith(CLIENT):
                    _check_is_node(address)
                modules = until_sent.enter_context(code_to_send(sent.folder))
                options = {"runtime_env": runtime_environment(modules, sent.requirements)}
                # A job's own is this code already.
                os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
            if not address.startswith(CLIENT):
                options["job_config"] = _JobConfig()
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ResourceError, ConfigurationError):
        raise
    except Exception as error:  # of Ray's own some are of no other class
        raise ResourceError(_why_not(address, error)) from error


def runtime_environment(modules: Sequence[str], requirements: Sequence[str]) -> dict[str, Any]:
    """What Ray gives to every process on a cluster's nodes.

    Args:
        modules: folders of code, as :func:`code_to_send` makes them.
        requirements: what pip installs beside the node's own packages, once on each node.
    """
    return {
        "py_modules": list(modules),
        "env_vars": {_ARENAS: os.environ.get(_ARENAS, "1")},
        **({"pip": list(requirements)} if requirements else {}),
    }


def _reach(address: str) -> str:
    """The address with host and port, after a first word with it.

    Ray itself would go on trying for minutes where nobody listens or the token is wrong.

    Raises:
        OSError: nobody listens, or somebody else.
        ResourceError: the token is missing or wrong.
    """
    if address == "auto":
        address = services.canonicalize_bootstrap_address_or_die("auto")
    place = address.removeprefix(CLIENT)
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("an address is HOST:PORT, ray://HOST:PORT, http://HOST:PORT or auto")
    reach_port(host, int(port))
    try:
        import grpc
        from ray._private.grpc_utils import init_grpc_channel
    except ImportError:
        if not address.startswith(CLIENT):
            return address  # Ray finds out by itself, in half a minute.
        raise ResourceError(
            f"the Ray client is not installed, which {address!r} needs: "
            "pip install 'fusion-search[cluster]'"
        ) from None
    question = _QUESTIONS[CLIENT if address.startswith(CLIENT) else ""]
    if _answers(grpc, grpc.insecure_channel(place, GLOBAL_GRPC_OPTIONS), question):
        # With a token of another cluster at hand, Ray here would refuse what this one asks.
        os.environ["RAY_AUTH_MODE"] = "disabled"
        warn_open(host, address)
    elif not _answers(grpc, init_grpc_channel(place, GLOBAL_GRPC_OPTIONS), question):
        raise ResourceError(wrong_token(address))
    return address


def _check_is_node(address: str) -> None:
    """Raise :class:`ResourceError` where Ray would look for its own node for a minute, in vain."""
    if services.find_node_ids().isdisjoint(_living_nodes(address)):
        host = address.rpartition(":")[0]
        submit = command("submit", "CONFIG.yaml", "--address", f"http://{host}:8265")
        raise ResourceError(
            f"this machine is no node of the Ray cluster at {address}, which HOST:PORT and auto "
            f"are for; from here give --address ray://{host}:10001, or have the head node run the "
            f"search with `{submit}`"
        )


def _living_nodes(address: str) -> set[str]:
    """Ids of a cluster's nodes that are there."""
    alive = GcsNodeInfo.GcsNodeState.ALIVE
    found = GcsClient(address=address).get_all_node_info(timeout=10, state_filter=alive)
    return {node.hex() for node in found}


def _answers(grpc: Any, channel: Any, question: tuple[str, bytes]) -> bool:
    """Whether Ray talks to us; False when it wants another token."""
    name, content = question
    with channel:
        try:
            channel.unary_unary(name)(content, timeout=10)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise OSError(f"what listens there does not answer as Ray: {error.code()}") from error
    return True


def reach_port(host: str, port: int) -> None:
    """Raise ``OSError`` when nobody listens."""
    socket.create_connection((host.strip("[]"), port), timeout=10).close()


def warn_open(host: str, address: str) -> None:
    """Say that anybody may run code on the cluster, unless only this machine reaches it."""
    if host != "localhost" and not _loopback(host):
        print(
            f"warning: the Ray cluster at {address} asks for no token, so whoever reaches it can "
            "run any code there; start it with RAY_AUTH_MODE=token",
            file=sys.stderr,
        )


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def wrong_token(address: str) -> str:
    """What to do about a token that is missing or wrong."""
    return (
        f"the Ray cluster at {address} refuses the token, or there is none: copy ~/.ray/auth_token "
        "from its head node to this machine, or set RAY_AUTH_TOKEN, and set RAY_AUTH_MODE=token"
    )


def _why_not(address: str, error: Exception) -> str:
    detail = " ".join(str(error).split())
    if address == "local" and "timed out during startup" in detail:
        return (
            "Ray did not start in the time that it allows itself, as on a machine that is busy "
            "with other programs; start again when it is less so: nothing is lost"
        )
    if address == "local":
        return (
            f"Ray cannot be started on this machine ({detail[:300]}); its logs are in "
            f"{get_default_ray_temp_dir()}/session_latest/logs"
        )
    if isinstance(error, ray.exceptions.AuthenticationError):
        return wrong_token(address)
    if "version" in detail.lower():
        return (
            f"this machine and the Ray cluster at {address!r} have different versions of Ray or "
            f"Python; install the same on both ({detail[:300]})"
        )
    return (
        f"there is no Ray cluster at {address!r} ({detail[:200]}); start one or leave out --address"
    )


def _check_resources(resources: Resources, left_out: Sequence[str]) -> None:
    without = named_nodes(left_out)
    there = [node for node in ray.nodes() if node["Alive"]]
    nodes = [node["Resources"] for node in there if node["NodeID"] not in without]
    if not nodes:
        names = ", ".join(sorted(map(node_name, there)))
        raise ResourceError(
            f"--leave-out leaves no node: all that are there are left out ({names}); take one of "
            "them out of --leave-out, or start Ray on more machines first"
        )
    for kind, asked, field in (
        ("GPU", resources.gpus_per_trial, "gpus_per_trial"),
        ("CPU", resources.cpus_per_trial, "cpus_per_trial"),
    ):
        # A trial runs on one node.
        most = max(node.get(kind, 0) for node in nodes)
        if asked > most:
            on_node = " on its largest node" if len(nodes) > 1 else ""
            raise ResourceError(
                f"resources.{field} is {asked:g} but Ray sees {most:g} {kind}s{on_node}; lower it "
                f"with --set resources.{field}={most:g}, or connect to a cluster with --address"
            )
