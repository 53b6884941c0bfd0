"""Every verb with its options, in groups. Each names the function that runs it.

The functions' files import torch, Ray or matplotlib, which takes seconds: only the one that runs
is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion_search.search.commands.figures.verbs import add_draw, add_probe
from fusion_search.search.commands.options import (
    Parser,
    add_config,
    add_data,
    add_name,
    add_output,
    add_storage,
    count,
    filled,
    positive,
)

if TYPE_CHECKING:
    from fusion_search.search.commands.options import Verbs

DASHBOARD: Final = "http://127.0.0.1:8265"
_ADDRESS: Final = (
    "of a Ray cluster (RAY_ADDRESS): auto, HOST:PORT, ray://HOST:PORT, or http://HOST:8265 for a "
    "job; else Ray starts here"
)


def _space(verbs: Verbs) -> None:
    parser = verbs.add_parser("space", help="print a search's space, its size and ten samples")
    add_config(parser, "search/configs/placement.yaml")
    add_data(parser)
    parser.set_defaults(run="spaces:space")


def _check(verbs: Verbs) -> None:
    parser = verbs.add_parser("check", help="try whether a task keeps the contract of searches")
    parser.add_argument(
        "task",
        metavar="TASK|CONFIG",
        help="my_task:Mine, ./my_task.py:Mine, a built-in one (digits), or a configuration (YAML)",
    )
    parser.add_argument("--set", action="append", metavar="FIELD=VALUE", help="of a configuration")
    add_data(parser)
    parser.set_defaults(run="check:check")


def _new(verbs: Verbs) -> None:
    parser = verbs.add_parser("new", help="write a configuration for a table of examples")
    parser.add_argument(
        "table", nargs="?", type=filled, metavar="TABLE", help="CSV or Parquet, one row an example"
    )
    parser.add_argument(
        "--target", type=filled, metavar="COLUMN", help="to be predicted (else label, target, ...)"
    )
    parser.add_argument(
        "--group",
        type=filled,
        metavar="COLUMN",
        help="whose an example is, never cut by a split (else person, speaker, ...)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (the table's name with .yaml)"
    )
    parser.add_argument(
        "--example",
        type=filled,
        metavar="FOLDER",
        help="write a small table with files of every kind into a new folder instead",
    )
    parser.set_defaults(run="new:new")


def _plan(verbs: Verbs) -> None:
    parser = verbs.add_parser("plan", help="estimate what a search takes, by measured steps")
    add_config(parser, "search/configs/demo.yaml")
    parser.add_argument("--gpus", type=count, help="also estimate the wall time on so many")
    parser.add_argument(
        "--examples-per-second",
        type=positive,
        help="trained on a trial's share of a GPU, measured elsewhere with the slowest network",
    )
    add_data(parser)
    parser.set_defaults(run="plan:plan")


def _data(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "data", help="bring the data of built-in tasks to this machine, and check them"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    fetch = actions.add_parser(
        "fetch", help="download a data set (digits: MNIST and Free Spoken Digits v1.0.9)"
    )
    fetch.set_defaults(run="data:fetch_data")
    check = actions.add_parser("check", help="say what is there, what is missing, and its source")
    check.set_defaults(run="data:check_data")
    checked = ["digits", "avletters", "clips", "washington", "rgbd-folders"]
    for action, datasets in ((fetch, ["digits"]), (check, checked)):
        action.add_argument("dataset", choices=datasets)
        action.add_argument(
            "--folder",
            type=filled,
            help="where the files are (FUSION_SEARCH_DATA, else a cache folder)",
        )


def _add_where(parser: Parser) -> None:
    """Where trials run, and between which folders."""
    parser.add_argument("--address", type=filled, help=_ADDRESS)
    add_data(parser)
    add_storage(parser)
    _add_leave_out(parser)


def _add_leave_out(parser: Parser) -> None:
    parser.add_argument(
        "--leave-out",
        type=filled,
        action="append",
        default=[],
        metavar="HOST",
        help="a node of the cluster that runs no trial, by its host, its address or the name of "
        "its ray start --node-name; may be repeated",
    )


def _add_changed_code(parser: Parser) -> None:
    parser.add_argument(
        "--changed-code",
        action="store_true",
        help="go on though the code of the task has changed; each record tells which code it has",
    )


def _launch(verbs: Verbs) -> None:
    parser = verbs.add_parser("launch", help="start the search that a YAML file declares")
    add_config(parser, "search/configs/demo.yaml")
    _add_where(parser)
    parser.set_defaults(run="launch:launch")


def _add_dashboard(parser: Parser) -> None:
    parser.add_argument(
        "--address",
        type=filled,
        help=f"of the cluster's dashboard (RAY_API_SERVER_ADDRESS, else {DASHBOARD})",
    )


def _submit(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "submit", help="launch as a job of a Ray cluster, which goes on without this machine"
    )
    add_config(parser, "search/configs/paper.yaml")
    parser.add_argument(
        "--detach", "--no-follow", action="store_true", help="do not wait for the job's end"
    )
    _add_dashboard(parser)
    add_data(parser)
    add_storage(parser)
    _add_leave_out(parser)
    parser.set_defaults(run="launch:submit")


def _attach(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "attach", help="follow a search that is driven elsewhere, or show what a job prints"
    )
    parser.add_argument(
        "name", metavar="NAME|JOB", help="the search, or a job as submit printed it"
    )
    _add_dashboard(parser)
    add_storage(parser)
    parser.set_defaults(run="launch:attach")


def _stop(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "stop", help="end a search in order, from any machine that sees its storage"
    )
    add_name(parser)
    parser.add_argument(
        "--wait",
        type=positive,
        default=120.0,
        metavar="SECONDS",
        help="for its end, at most (120)",
    )
    add_storage(parser)
    parser.set_defaults(run="driving:stop")


def _resume(verbs: Verbs) -> None:
    parser = verbs.add_parser("resume", help="run the trials of a search that have not ended")
    add_name(parser)
    _add_where(parser)
    _add_changed_code(parser)
    parser.set_defaults(run="launch:resume")


def _retry(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "retry", help="run the failed trials of a search again, and those that have not ended"
    )
    add_name(parser)
    _add_where(parser)
    _add_changed_code(parser)
    parser.set_defaults(run="launch:resume")


def _confirm(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "confirm", help="train the best of a search again with fresh seeds, and compare"
    )
    add_name(parser)
    parser.add_argument("--top", type=count, help="how many of the best (as declared, else 3)")
    parser.add_argument("--seeds", type=count, help="fresh seeds for each (as declared)")
    parser.add_argument(
        "--set",
        action="append",
        metavar="FIELD=VALUE",
        help="of confirmation or resources, such as confirmation.training.epochs=20",
    )
    _add_where(parser)
    _add_changed_code(parser)
    parser.set_defaults(run="launch:confirm")


def _status(verbs: Verbs) -> None:
    parser = verbs.add_parser("status", help="list searches, or the trials of one")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the search")
    add_storage(parser)
    parser.set_defaults(run="status:status")


def _report(verbs: Verbs) -> None:
    parser = verbs.add_parser("report", help="write one HTML page on a search, with its figures")
    add_name(parser)
    add_storage(parser)
    add_output(parser)
    parser.set_defaults(run="figures.report:report")


def _predictions(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "predictions",
        help="count single predictions, and hold the counts against the recorded grids",
    )
    add_name(parser)
    add_storage(parser)
    add_output(parser)
    parser.set_defaults(run="figures.report:predictions")


def _replay(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "replay", help="run searchers against a search's records, without training"
    )
    add_name(parser)
    parser.add_argument(
        "--searcher",
        dest="searchers",
        action="append",
        metavar="SEARCHER",
        help="may be repeated (default: random, tpe, nsga2, surrogate); random is always run",
    )
    parser.add_argument("--seeds", type=count, default=30, help="runs of each searcher (30)")
    parser.add_argument("--trials", type=count, help="trials of a run (default: all recorded)")
    parser.add_argument("--space", type=Path, help="configuration whose space the records fill")
    add_data(parser)
    add_storage(parser)
    parser.set_defaults(run="spaces:replay")


def _importance(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "importance", help="compute how much every choice of a search mattered"
    )
    add_name(parser)
    add_data(parser)
    add_storage(parser)
    parser.set_defaults(run="spaces:importance")


def _sync_mlflow(verbs: Verbs) -> None:
    parser = verbs.add_parser("sync-mlflow", help="write a search's MLflow runs from its records")
    add_name(parser)
    parser.add_argument(
        "--tracking-uri", type=filled, help="write there instead of where the search logs"
    )
    add_storage(parser)
    parser.set_defaults(run="launch:sync_mlflow")


GROUPS: Final[dict[str, tuple[Callable[[Verbs], None], ...]]] = {
    "before a search": (_new, _check, _space, _plan, _data),
    "run": (_launch, _submit, _attach, _stop, _resume, _retry, _confirm),
    "look": (_status, add_draw, _report, _predictions),
    "after": (add_probe, _replay, _importance, _sync_mlflow),
}
