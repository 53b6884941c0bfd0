"""Every verb with its options, in groups. Each names the function that runs it.

The functions' files import torch, Ray or matplotlib, which takes seconds: only the one that runs
is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
    for action, datasets in ((fetch, ["digits"]), (check, ["digits", "avletters", "clips"])):
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
    parser.set_defaults(run="launch:submit")


def _attach(verbs: Verbs) -> None:
    parser = verbs.add_parser("attach", help="show what a job prints, from its beginning")
    parser.add_argument("job", metavar="JOB", help="as submit printed it")
    _add_dashboard(parser)
    parser.set_defaults(run="launch:attach")


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
    _add_where(parser)
    _add_changed_code(parser)
    parser.set_defaults(run="launch:confirm")


def _status(verbs: Verbs) -> None:
    parser = verbs.add_parser("status", help="list searches, or the trials of one")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the search")
    add_storage(parser)
    parser.set_defaults(run="status:status")


def _draw(verbs: Verbs) -> None:
    parser = verbs.add_parser("draw", help="draw figures (PNG, SVG) and their tables (CSV)")
    figures = parser.add_subparsers(metavar="FIGURE", required=True, parser_class=Parser)

    def add(figure: str, words: str, file: str = "draw") -> Parser:
        one = figures.add_parser(figure, help=words)
        add_output(one)
        if figure != "noise":
            add_name(one)
            add_storage(one)
        if figure == "noise":
            add_data(one)
        one.set_defaults(run=f"figures.{file}:{figure}")
        return one

    _add_grids(
        add("grids", "maps of two axes, one per train condition; curves of one, else intervals")
    )
    _add_train(
        add(
            "fusion",
            "maps of two axes by fusion depth, where networks have one, and their differences",
        )
    )
    add("unimodal", "networks of some of the streams")
    _add_trial(add("timeline", "what a probed network takes and gives, over time"))
    add("replay", "searchers against each other, from a replay").add_argument(
        "--within",
        type=float,
        default=0.005,
        metavar="DIFFERENCE",
        help="a run has arrived when its objective is no further than this from the best (0.005)",
    )
    _add_noise(add("noise", "one example at every test SNR (takes no search)", "probe"))
    _add_array(add("embedding", "vectors of a probe by class, and whether they cluster", "probed"))
    changes = add(
        "changes", "how far arrays of a probe and their inputs change over time", "probed"
    )
    _add_array(changes)
    changes.add_argument(
        "--against",
        type=filled,
        metavar="INPUT",
        help="array that the changes are held against, or the beginning of its name (default: the "
        "input of the stream that a connection reads)",
    )
    maps = add("maps", "maps of a probe as pictures", "probed")
    _add_array(maps)
    maps.add_argument(
        "--place", type=int, default=0, metavar="N", help="which of the probed examples (0)"
    )
    maps.add_argument(
        "--transposed",
        action="store_true",
        help="the first axis of a picture runs from left to right, as in AVletters",
    )


def _add_train(parser: Parser) -> None:
    parser.add_argument(
        "--train",
        action="append",
        nargs="+",
        metavar="SNR",
        help="train condition to draw, an SNR per axis, may be repeated (default: all)",
    )


def _add_grids(parser: Parser) -> None:
    _add_train(parser)
    parser.add_argument(
        "--fusion-depth",
        dest="depths",
        action="append",
        type=int,
        metavar="DEPTH",
        help="fusion depth to draw, of networks that have one; may be repeated (default: all)",
    )


def _add_trial(parser: Parser) -> None:
    parser.add_argument(
        "--trial",
        default=None,
        metavar="ID",
        help="trial id or name, or the start of one (default: the best)",
    )


def _add_array(parser: Parser) -> None:
    _add_trial(parser)
    parser.add_argument(
        "--array",
        dest="arrays",
        action="append",
        type=filled,
        metavar="NAME",
        help="array of the probe, or the beginning of its name; may be repeated (default: all "
        "that fit)",
    )


def _probe(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "probe",
        help="run a trained network on examples, for draw timeline, embedding, changes and maps",
    )
    add_name(parser)
    add_storage(parser)
    _add_trial(parser)
    parser.add_argument(
        "--example",
        dest="examples",
        action="append",
        type=int,
        metavar="N",
        help="number of an example in its split, may be repeated (0)",
    )
    parser.add_argument(
        "--per-class",
        type=count,
        metavar="N",
        help="in place of numbers: the first N examples of every class, and of every person (or "
        "other group) where the data say whose each is",
    )
    parser.add_argument(
        "--split",
        dest="splits",
        action="append",
        choices=["train", "validation", "test", "all"],
        help="of which split the examples are, may be repeated (test)",
    )
    parser.add_argument(
        "--array",
        dest="arrays",
        action="append",
        type=filled,
        metavar="NAME",
        help="keep arrays whose names begin so; may be repeated (default: all)",
    )
    parser.add_argument(
        "--condition",
        dest="conditions",
        action="append",
        nargs="+",
        metavar="SNR",
        help="an SNR per axis, or original or absent; may be repeated (default: original, the "
        "train condition, each input alone at its lowest SNR; with --per-class original alone)",
    )
    add_data(parser)
    parser.set_defaults(run="figures.probe:probe_trial")


def _add_noise(parser: Parser) -> None:
    parser.add_argument(
        "--task", default="digits", metavar="TASK", help="my_task:Mine or a built-in one (digits)"
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="SETTING=VALUE",
        help="of the task's data settings (of digits: source=builtin); may be repeated",
    )
    parser.add_argument("--example", type=int, default=0, metavar="N", help="test example (0)")


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
    add_storage(parser)
    parser.set_defaults(run="spaces:replay")


def _importance(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "importance", help="compute how much every choice of a search mattered"
    )
    add_name(parser)
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
    "run": (_launch, _submit, _attach, _resume, _retry, _confirm),
    "look": (_status, _draw, _report, _predictions),
    "after": (_probe, _replay, _importance, _sync_mlflow),
}
