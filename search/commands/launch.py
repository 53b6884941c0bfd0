"""Verbs that run trials, here or on a cluster, and ``sync-mlflow``, which tells MLflow of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.filesystems.errors import RefusedError
from fusion_search.analysis.records.secrets import printable
from fusion_search.analysis.records.storage import open_storage
from fusion_search.search.commands import launching
from fusion_search.search.commands.driving import follow
from fusion_search.search.commands.options import data_of, storage_of
from fusion_search.search.commands.verbs import DASHBOARD
from fusion_search.search.declaration.configuration import (
    apply_override,
    build_search,
    load_configuration,
    read_requirements,
)
from fusion_search.search.declaration.specification import Resources, SearchSpecification
from fusion_search.search.dispatch.dispatcher import RayDispatcher
from fusion_search.search.dispatch.head_command import (
    ADDRESS_VARIABLE,
    HeadCommand,
    close_token_file,
    head_command,
    storage_here,
    storage_of_head,
    use_token,
)
from fusion_search.search.records.claim import check_not_driven, claimed
from fusion_search.search.records.search_folder import load_outline, strays_sentence
from fusion_search.search.running.interrupts import interrupt
from fusion_search.search.running.run import Environment
from fusion_search.search.running.summary import INCOMPLETE, print_mlflow
from fusion_search.search.running.travelling import Sent, check_inside, folder_files, uses_folder
from fusion_search.search.tasks.named import BUILT_IN
from fusion_search.search.tracking.addresses import TRACKING_OFF, tracking_uri
from fusion_search.search.tracking.syncing import sync
from fusion_search.search.trials.fields import ConfigurationError, typed

_JOB: Final = re.compile(r".+-\d{8}T\d{6}-\d+")


def launch(arguments: argparse.Namespace) -> int:
    """``launch CONFIG``: start a search."""
    address = ray_address(arguments.address)
    search = _declared(arguments)
    if address != "local":
        check_inside(search.task, Path.cwd())
    code = _elsewhere(arguments, search, search.storage, address)
    if code is None:
        code = launching.launch(search, _environment(arguments, address))
    return code


def submit(arguments: argparse.Namespace) -> int:
    """``submit CONFIG``: launch it as a job of a cluster."""
    address = _dashboard(arguments)
    search = _declared(arguments)
    check_inside(search.task, Path.cwd())
    _say_where_data_are(arguments)
    command = head_command(
        arguments, search, storage_of_head(search.storage), _sent(arguments, search, "")
    )
    return _submit(address, command, arguments.detach)


def attach(arguments: argparse.Namespace) -> int:
    """``attach NAME`` follows a search by its folder, ``attach JOB`` shows what a job prints.

    A job is called as ``submit`` calls it, or an address says that one is meant.
    """
    if not arguments.address and not _JOB.fullmatch(arguments.name):
        return follow(arguments.name, storage_of(arguments))
    address = _dashboard(arguments)
    from fusion_search.search.dispatch import jobs  # imports Ray, which takes seconds

    return jobs.attach(address, arguments.name)


def resume(arguments: argparse.Namespace) -> int:
    """``resume NAME`` and ``retry NAME``: go on with a search."""
    address, location = ray_address(arguments.address), storage_of(arguments)
    code = _elsewhere(arguments, None, location, address)
    if code is None:
        failed_too = arguments.verb == "retry"
        environment = _environment(arguments, address)
        code = launching.resume(arguments.name, location, environment, failed_too=failed_too)
    return code


def confirm(arguments: argparse.Namespace) -> int:
    """``confirm NAME``: train the best again."""
    address, location = ray_address(arguments.address), storage_of(arguments)
    code = _elsewhere(arguments, None, location, address)
    if code is None:
        code = launching.confirm(
            arguments.name,
            location,
            _environment(arguments, address),
            top=arguments.top,
            seeds=arguments.seeds,
            overrides=arguments.set or (),
        )
    return code


def sync_mlflow(arguments: argparse.Namespace) -> int:
    """``sync-mlflow NAME``: write a search's runs from its records."""
    name, location = arguments.name, storage_of(arguments)
    search = load_outline(name, location)
    uri = arguments.tracking_uri or tracking_uri(
        open_storage(location), search.mlflow.tracking_uri or None
    )
    if uri is None:
        raise ConfigurationError(TRACKING_OFF)
    storage = open_storage(location).below(name)
    with contextlib.ExitStack() as stack:
        try:
            storage = stack.enter_context(claimed(storage, name, "sync-mlflow", interrupt)).storage
        except RefusedError as error:
            check_not_driven(storage, name)
            print(f"note: nobody is kept from driving the search: {error}", file=sys.stderr)
        counts = sync(storage, uri)
    print(counts.words)
    print_mlflow(uri, counts.page)
    for damage in counts.damaged.values():
        print(f"left out: {printable(damage)}", file=sys.stderr)
    if counts.strays:
        print(f"left out: {printable(strays_sentence(storage, counts.strays))}", file=sys.stderr)
    return INCOMPLETE if counts.damaged else 0


def _declared(arguments: argparse.Namespace) -> SearchSpecification:
    raw = load_configuration(arguments.config, arguments.set, [arguments.verb])
    # As it was given: "/x/run #2" is no YAML.
    given = {**raw, "storage": arguments.storage} if arguments.storage else raw
    return build_search(given, data_of(arguments))


def _environment(arguments: argparse.Namespace, address: str) -> Environment:
    # On a head node, the command was given elsewhere, with the address it came through; the
    # environment, which may have said where Ray is, does not come along with what is pasted.
    through = os.environ.get(ADDRESS_VARIABLE) or (address if address != "local" else None)
    left_out = tuple(arguments.leave_out)
    return Environment(
        data_folder=data_of(arguments),
        dispatcher=RayDispatcher(address, left_out),
        options=RunOptions(arguments.data or "", through or "", left_out),
        changed_code=getattr(arguments, "changed_code", False),
    )


def ray_address(given: str | None) -> str:
    """Where Ray is, as given, or as the environment says, or on this machine; readied for it."""
    close_token_file()
    address = given or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        _use_token()
    return address


def _dashboard(arguments: argparse.Namespace) -> str:
    close_token_file()
    _use_token()
    return arguments.address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD


def _use_token() -> None:
    if "ray" not in sys.modules:  # Ray looks once, when it is imported.
        use_token(os.environ)


def _elsewhere(
    arguments: argparse.Namespace, search: SearchSpecification | None, storage: str, address: str
) -> int | None:
    """Run the verb on the head node, where the address asks for that; None when it is run here."""
    if address.startswith(("http://", "https://")):
        there = storage_of_head(storage)
        _say_where_data_are(arguments)
        command = head_command(arguments, search, there, _sent(arguments, search, there))
        return _submit(address, command, detach=False)
    if address.startswith("ray://"):
        from fusion_search.search.dispatch import client  # imports Ray, which takes seconds

        there = storage_here(storage)
        _say_where_data_are(arguments)
        command = head_command(arguments, search, there, _sent(arguments, search, there))
        return client.run_on_head(address, command)
    return None


def _sent(arguments: argparse.Namespace, search: SearchSpecification | None, storage: str) -> Sent:
    """What goes to the head node with a command.

    Of a search to go on with, this machine may not see the records, and not know what it needs.
    """
    folder = Path.cwd()
    if search is not None:
        return Sent(folder if uses_folder(folder) else None, search.resources.requirements)
    outline = None
    if not storage.startswith("~"):  # the home folder is another there
        with contextlib.suppress(ValueError, OSError):
            outline = load_outline(arguments.name, storage)
    requirements = outline.resources.requirements if outline is not None else ()
    requirements = _overridden(requirements, getattr(arguments, "set", None) or ())
    if outline is not None and outline.task in BUILT_IN:
        return Sent(None, requirements)
    try:
        folder_files(folder)
    except ConfigurationError as error:
        print(f"note: without the folder of this command: {error}", file=sys.stderr)
        return Sent(None, requirements)
    return Sent(folder, requirements)


def _say_where_data_are(arguments: argparse.Namespace) -> None:
    """What is named here is looked for elsewhere."""
    here = os.environ.get("FUSION_SEARCH_DATA")
    if arguments.data:
        print(f"data: the head node reads them, from {printable(arguments.data)} there")
    elif here:
        print(
            f"note: the head node reads the data; FUSION_SEARCH_DATA of this machine "
            f"({printable(here)}) is not looked at, but its own as of its `ray start`, or a folder "
            "there that --data names",
            file=sys.stderr,
        )


def _overridden(declared: Sequence[str], overrides: Sequence[str]) -> tuple[str, ...]:
    """What a confirmation asks of pip: ``--set`` may say otherwise, and name files of this machine.

    Raises:
        ConfigurationError: pip cannot be told so, or there is no such file.
    """
    raw: dict[str, Any] = {"resources": {"requirements": list(declared)}}
    for one in overrides:
        if one.startswith("resources"):
            apply_override(raw, one)
    read_requirements(raw)
    resources: Resources = typed(Resources, raw["resources"], "resources.")
    return resources.requirements


def _submit(address: str, command: HeadCommand, detach: bool) -> int:
    from fusion_search.search.dispatch import jobs  # imports Ray, which takes seconds

    return jobs.submit(address, command, detach=detach)
