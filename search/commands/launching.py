"""Beginning a search, going on with it, confirming what it found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from fusion_search.analysis.confirmation import (
    DECIDING,
    budget_words,
    compute_confirmation,
    confirmation_sentence,
    deciding_command,
    measure_of,
    read_candidates,
)
from fusion_search.analysis.confirmation_grid import compute_confirmation_grid, grid_lines
from fusion_search.analysis.records.advice import command, confirmed_search
from fusion_search.analysis.records.columns import COLUMNS
from fusion_search.analysis.records.filesystems.errors import StorageError
from fusion_search.analysis.records.samples import objectives_of
from fusion_search.analysis.records.secrets import printable, shown_name
from fusion_search.analysis.records.selection import count_label, open_search, read_specification
from fusion_search.analysis.records.storage import Storage, open_storage
from fusion_search.analysis.records.tables import (
    CHECKPOINTS,
    CONFIRMATION_SUFFIX,
    SPECIFICATION_FILE,
)
from fusion_search.search.declaration.configuration import (
    apply_override,
    build_search,
    read_requirements,
    to_plain,
    to_yaml,
)
from fusion_search.search.declaration.specification import (
    Resources,
    SearchOutline,
    SearchSpecification,
)
from fusion_search.search.records.claim import check_not_driven, claimed, tell_doing
from fusion_search.search.records.identity import (
    IDENTITY_FILE,
    kept_identity,
    write_identity,
)
from fusion_search.search.records.lease import LeaseLostError
from fusion_search.search.records.saved_states import RUNNING
from fusion_search.search.records.search_folder import (
    load_outline,
    load_search,
)
from fusion_search.search.records.task_code import CHANGED_CODE, check_task_code
from fusion_search.search.running.confirmation import (
    Candidate,
    NothingToConfirmError,
    check_confirmation,
    choose_candidates,
    confirmation_search,
    write_candidates,
)
from fusion_search.search.running.interrupts import interrupt
from fusion_search.search.running.listed_trials import run_listed
from fusion_search.search.running.recorded_trial import SearchStoppedError
from fusion_search.search.running.run import Environment
from fusion_search.search.running.space_search import run_space
from fusion_search.search.running.summary import SOME_FAILED, go_on_command
from fusion_search.search.tasks.base import Task
from fusion_search.search.trials.fields import ConfigurationError


def launch(search: SearchSpecification, environment: Environment) -> int:
    """Start a search. Returns the exit code.

    Raises:
        ValueError: the search exists already, or its data or resources cannot be had.
    """
    storage = open_storage(search.storage).below(search.name)
    check_not_driven(storage, search.name)
    _check_new(search, storage, environment)
    with claimed(storage, search.name, "launch", interrupt) as lease:
        _check_new(search, storage, environment)  # another may have begun and ended it meanwhile
        lease.storage.remove(IDENTITY_FILE)  # of a search that was deleted, in part
        return _go_on(search, lease.storage, environment, begin=True, failed_too=False)


def resume(
    name: str,
    location: str,
    environment: Environment,
    *,
    failed_too: bool,
    task: Task | None = None,
) -> int:
    """Run the trials of a search that have not ended (or failed, when asked).

    Raises:
        ValueError: there is no such search, it is being run, or its data or code have changed.
    """
    verb = "retry" if failed_too else "resume"
    outline = load_outline(name, location)
    storage = open_storage(location).below(name)
    check_not_driven(storage, name)
    if outline.confirmation.top:  # which it would run at its end: what cannot be done is said now
        own = name + CONFIRMATION_SUFFIX
        check_not_driven(storage.parent.below(own), own)
    _check_code(outline, verb, environment)
    search = load_search(name, location, environment.data_folder, task)
    with claimed(storage, name, verb, interrupt) as lease:
        if search.confirmation.top:
            check_confirmation(search, kept_identity(lease.storage).search_id)
        code = _go_on(search, lease.storage, environment, begin=False, failed_too=failed_too)
    confirmed = confirmed_search(name, location)
    if confirmed is not None and code in (0, SOME_FAILED):
        say_confirmed(storage.parent, confirmed)
    return code


_OF_CONFIRMATION: Final = ("confirmation", "resources")
"""Of a configuration, what a confirmation may have of its own."""


def confirm(
    name: str,
    location: str,
    environment: Environment,
    *,
    top: int | None = None,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Train the best of a search again with fresh seeds, and say what came out.

    Args:
        name, location: of the search, and of the folder of all.
        environment: of the command line.
        top, seeds: other numbers than were declared.
        overrides: as given to ``--set``, of ``confirmation`` and ``resources``.

    Raises:
        ValueError: there is no such search, it has no space, nothing in it finished, or an override
            is off.
    """
    _check_code(load_outline(name, location), "confirm", environment)
    search = load_search(name, location, environment.data_folder)
    if search.space is None:
        raise ConfigurationError(_not_confirmed(name, location))
    changed = {one.partition("=")[0].partition(".")[0] for one in overrides}
    search = _overridden(search, overrides, changed, environment)
    declared = search.confirmation
    settings = replace(declared, top=top or declared.top or 3, seeds=seeds or declared.seeds)
    anew = top is not None or seeds is not None or "confirmation" in changed
    # Whoever would go on with the search meanwhile would change what is chosen from.
    with claimed(open_storage(search.storage).below(name), name, "confirm", interrupt):
        return _confirm(
            replace(search, confirmation=settings),
            environment,
            anew=anew,
            resources=search.resources if "resources" in changed else None,
        )


def _not_confirmed(name: str, location: str) -> str:
    """Why there is nothing to confirm of a search without a space, and what there is instead."""
    confirmed = confirmed_search(name, location)
    if confirmed is not None:
        again = command("confirm", confirmed, storage=location)
        return f"search {name!r} is itself the confirmation of {confirmed!r}; go on: `{again}`"
    return (
        f"search {name!r} is a sweep, which trains all its networks with the seeds that it "
        "declares, and chooses none to be confirmed; see them side by side in "
        f"`{command('report', name, storage=location)}`, or launch a configuration with a "
        "`searcher` and a `confirmation` under another name"
    )


def _overridden(
    search: SearchSpecification,
    overrides: Sequence[str],
    changed: Collection[str],
    environment: Environment,
) -> SearchSpecification:
    for one in changed:
        if one not in _OF_CONFIRMATION:
            raise ConfigurationError(
                f"--set {shown_name(one)} is not of a confirmation; allowed: confirmation.* and "
                "resources.*, for the rest is what the search found, and another is another search"
            )
    if not changed:
        return search
    raw = to_plain(search)
    for override in overrides:
        apply_override(raw, override)
    read_requirements(raw)
    return build_search(raw, environment.data_folder, search.definition)


def _check_code(search: SearchOutline, verb: str, environment: Environment) -> None:
    """Refuse code of a task that the search did not have, unless ``--changed-code`` was given."""
    for name in (search.name, search.name + CONFIRMATION_SUFFIX):
        check_task_code(
            open_storage(search.storage).below(name),
            search.task,
            go_on_command(verb, search, environment.options, CHANGED_CODE),
            changed=environment.changed_code,
        )


def _check_new(search: SearchSpecification, storage: Storage, environment: Environment) -> None:
    if storage.exists(SPECIFICATION_FILE):
        raise ConfigurationError(
            f"search {search.name!r} exists in {search.storage}; go on with "
            f"`{go_on_command('resume', search, environment.options)}`, or choose another "
            "name with --set name=..."
        )
    if search.confirmation.top:
        check_confirmation(search, None)


def _go_on(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    failed_too: bool,
) -> int:
    storage.remove_leftovers(*COLUMNS, CHECKPOINTS, RUNNING)
    storage = storage.patient(search.resources.storage_wait_seconds)
    try:
        if search.space is None:
            return run_listed(search, storage, environment, begin=begin, failed_too=failed_too)
        code = run_space(search, storage, environment, begin=begin, failed_too=failed_too)
        if code in (0, SOME_FAILED) and search.confirmation.top:
            return _confirm(search, environment) or code
    except NothingToConfirmError as error:  # of samples of several trials, each lacks one
        print(f"no confirmation: {error}")
    except LeaseLostError:
        raise
    except StorageError as error:
        if not _has_begun(storage, begin=begin):
            raise
        resume = go_on_command("resume", search, environment.options)
        raise SearchStoppedError(f"{error}; when that is repaired, go on with: {resume}") from error
    except KeyboardInterrupt as error:  # a second one, while the end of the search is told
        if error.args or not _has_begun(storage, begin=begin):
            raise
        resume = go_on_command("resume", search, environment.options)
        raise KeyboardInterrupt(f"go on with: {resume}") from error
    return code


def _has_begun(storage: Storage, *, begin: bool) -> bool:
    """Whether there is a search to go on with; so it may be where storage does not say."""
    try:
        return not begin or storage.patient(0).exists(SPECIFICATION_FILE)
    except StorageError:
        return True


def _confirm(
    search: SearchSpecification,
    environment: Environment,
    *,
    anew: bool = False,
    resources: Resources | None = None,
) -> int:
    """Run what is left of a search's confirmation, and print its sentence.

    ``anew`` chooses again what is confirmed; trials that have a record are not repeated.
    ``resources`` are in place of those that a confirmation began with.
    """
    _check_code(search, "confirm", environment)  # it may have changed while the search ran
    name = search.name + CONFIRMATION_SUFFIX
    storage = open_storage(search.storage).below(name)
    search_id = kept_identity(open_storage(search.storage).below(search.name)).search_id
    tell_doing(storage.parent.below(search.name), f"running its confirmation, {name}")
    with claimed(storage, name, "confirm", interrupt) as lease:
        storage = lease.storage
        begin = not storage.exists(SPECIFICATION_FILE)
        check_confirmation(search, search_id)
        storage.remove_leftovers(*COLUMNS, CHECKPOINTS, RUNNING)
        storage = storage.patient(search.resources.storage_wait_seconds)
        confirming = _confirming(
            search, storage, environment, begin=begin, anew=anew, resources=resources
        )
        if begin:
            write_identity(storage, confirms=search_id)
        try:
            code = run_listed(confirming, storage, environment, begin=begin, failed_too=False)
        except KeyboardInterrupt as error:  # as of _go_on
            if not storage.exists(SPECIFICATION_FILE):
                raise
            confirm = go_on_command("confirm", search, environment.options)
            raise KeyboardInterrupt(f"go on with: {confirm}") from error
    if code in (0, SOME_FAILED):
        say_confirmed(storage.parent, search.name)
    return code


def _confirming(
    search: SearchSpecification,
    storage: Storage,
    environment: Environment,
    *,
    begin: bool,
    anew: bool,
    resources: Resources | None,
) -> SearchSpecification:
    """The search that confirms another, as it was or chosen now."""
    if not (begin or anew):
        name = search.name + CONFIRMATION_SUFFIX
        found = load_search(name, search.storage, environment.data_folder, search.definition)
        if resources is not None:
            found = replace(found, resources=resources)
            storage.write(to_yaml(found).encode(), SPECIFICATION_FILE)
        return found
    candidates = choose_candidates(search, open_storage(search.storage).below(search.name))
    confirming = confirmation_search(search, candidates)
    print(f"\n{_confirming_words(candidates, search.confirmation.seeds, len(confirming.listed))}")
    write_candidates(storage, candidates)
    if not begin:
        storage.write(to_yaml(confirming).encode(), SPECIFICATION_FILE)
    return confirming


def _confirming_words(candidates: Sequence[Candidate], seeds: int, trials: int) -> str:
    """What is trained again; the best may be a plain network itself, and is trained once."""
    top = sum(one.role == "top" for one in candidates)
    best = "the best network" if top == 1 else f"the best {top} networks"
    again = len(candidates) - len({one.trials for one in candidates})
    same = ""
    if again:
        another = "is the same network as another" if again == 1 else "are the same as others"
        same = f" ({again} of these {len(candidates)} {another})"
    return (
        f"confirmation: {best} and {count_label(len(candidates) - top, 'plain network')}{same}, "
        f"each with {count_label(seeds, 'fresh seed')}: {count_label(trials, 'trial')}"
    )


def say_confirmed(folder: Storage, name: str) -> None:
    """The sentence on what the search optimised, and what the regions of the grid say."""
    search = open_search(folder, name, _say_left_out)
    objective = objectives_of(read_specification(search), search.description)[0]
    confirmed = open_search(folder, name + CONFIRMATION_SUFFIX)  # as the report reads it
    trials, description, storage = confirmed.trials, confirmed.description, confirmed.storage
    candidates = read_candidates(storage)
    measure = measure_of(objective, description)
    table, comparisons = compute_confirmation(trials, candidates, measure)
    print(f"\n{printable(confirmation_sentence(table, comparisons, measure))}")
    if decides := deciding_command(comparisons, search, confirmed):
        print(f"{DECIDING}: {decides}")
    budget = budget_words(trials, search.trials)
    if budget:
        print(budget)
    grid = confirmed.read_grids(on_damage=_say_left_out)
    if grid.empty or not description.axes:
        return
    tables = compute_confirmation_grid(trials, grid, candidates, description)
    for line in grid_lines(*tables, candidates, description.metric):
        print(printable(line))


def _say_left_out(_: str, damage: str) -> None:
    print(f"left out: {damage}")
