"""The verbs that draw, with their options: ``draw FIGURE`` and ``probe``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion_search.search.commands.options import (
    Parser,
    add_data,
    add_name,
    add_output,
    add_storage,
    count,
    filled,
)

if TYPE_CHECKING:
    from fusion_search.search.commands.options import Verbs


def add_draw(verbs: Verbs) -> None:
    """``draw FIGURE``."""
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
        one.set_defaults(run=f"figures.{file}:{figure.replace('-', '_')}")
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
    timeline = add("timeline", "what a probed network takes and gives, over time")
    _add_trial(timeline)
    timeline.add_argument(
        "--most",
        type=count,
        default=10,
        metavar="N",
        help="figures of the first N probed examples (10)",
    )
    add("replay", "searchers against each other, from a replay").add_argument(
        "--within",
        type=float,
        default=0.005,
        metavar="DIFFERENCE",
        help="a run has arrived when its objective is no further than this from the best (0.005)",
    )
    add("folds", "networks over folds, with tests against one of them", "folds").add_argument(
        "--baseline",
        type=filled,
        metavar="NETWORK",
        help="number or beginning of the name of the network that the others are compared with "
        "(default: the plainest)",
    )
    _add_learning(add("learning", "training curves, with a moving average", "folds"))
    add("xflow", "XFlow's variants beside its paper's tables, and its claims", "folds")
    add("rgbd", "RGB-D records beside the modality gate's paper, and what the gate does", "rgbd")
    add("early-fusion", "the early-fusion paper's claims, held or not, and their figures", "claims")
    _add_noise(add("noise", "one example at every test SNR (takes no search)", "probe"))
    embedding = add("embedding", "vectors of a probe by class, and whether they cluster", "probed")
    _add_array(embedding)
    embedding.add_argument(
        "--over-folds",
        action="store_true",
        help="without a picture: whether they cluster, of who was tested in any fold in which this "
        "trial's network was probed",
    )
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


def _add_several(parser: Parser, option: str, metavar: str, words: str) -> None:
    """An option that may be given again, such as ``--array``, whose values are ``arrays``."""
    name = option.removeprefix("--") + "s"
    parser.add_argument(
        option, dest=name, action="append", type=filled, metavar=metavar, help=words
    )


def _add_learning(parser: Parser) -> None:
    _add_several(
        parser,
        "--network",
        "NETWORK",
        "number or beginning of the name of a network, as `draw folds` prints them; may be "
        "repeated (default: all)",
    )
    parser.add_argument("--fold", type=int, metavar="FOLD", help="one (default: all)")
    parser.add_argument(
        "--window", type=count, default=5, metavar="EPOCHS", help="of the moving average (5)"
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
    parser.add_argument(
        "--trial",
        metavar="TRIAL",
        help="draw one network alone: best (of a confirmation: the one that it confirms), a "
        "candidate's label, or a trial's id or name, or the start of one",
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
    _add_several(
        parser,
        "--array",
        "NAME",
        "array of the probe, or the beginning of its name; may be repeated (default: all that fit)",
    )


def add_probe(verbs: Verbs) -> None:
    """``probe``."""
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
        "--tested",
        type=count,
        metavar="N",
        help="in place of numbers: the first N of the examples that the trial was tested on, in "
        "the order in which its seed draws them",
    )
    parser.add_argument(
        "--split",
        dest="splits",
        action="append",
        choices=["train", "validation", "test", "all"],
        help="of which split the examples are, may be repeated (test)",
    )
    _add_several(
        parser,
        "--array",
        "NAME",
        "keep arrays whose names begin so; may be repeated (default: all)",
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
