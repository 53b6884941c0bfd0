"""The report: one file that loads nothing, escapes everything and leaves nothing out."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from descriptions import clips_description, sensors_description
from synthetic_search import DIGITS, NOTE, frame, open_made_up, placement, random_search, row

from fusion_search.analysis.records.advice import RunOptions
from fusion_search.analysis.records.samples import FEWEST_SAMPLES, choosing_objective, rows_of
from fusion_search.analysis.records.selection import Search, identity_columns
from fusion_search.analysis.records.selection.best import BestSample, best_lines
from fusion_search.analysis.records.storage import open_storage
from fusion_search.analysis.records.tables import CANDIDATES_FILE, SPECIFICATION_FILE, STOPPED
from fusion_search.analysis.report import html
from fusion_search.analysis.report.advised import figures_of_sweep
from fusion_search.analysis.report.page import build_report
from fusion_search.search.records.task_code import task_code, write_task_code

_VOID = {"meta", "img", "br", "link", "input", "hr"}
SECTIONS = [
    "Confirmation",
    "Best trials",
    "Course of the search",
    "Trade-offs",
    "Placement",
    "Number of couplings",
    "All choices",
    "Importance of the choices",
    "Searchers replayed",
    "Failed trials",
    "How to reproduce",
]


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags closed in the wrong order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.resources: list[str] = []
        self.headings: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.resources += [
            values[name] or "" for name in ("src", "href", "srcset") if name in values
        ]
        self.ids |= {values["id"] or ""} if "id" in values else set()
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            assert "url(" not in data
            assert "@import" not in data
            return
        self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def confirmation(folder: Path, name: str = "made-up-confirmation") -> Search:
    rows, candidates = [], []
    networks = [
        ("d=1, mmtm1", "top", 1, 0.7),
        ("plain initial-layer fusion", "plain", None, 0.6),
    ]
    for number, (label, role, rank, mean) in enumerate(networks):
        ids = []
        for seed, shift in enumerate((0.0, 0.01, -0.02)):
            value = mean + shift + 0.002 * number * seed
            made = row(
                10 * number + seed,
                value,
                seed=seed,
                split="test",
                worst_accuracy=value - 0.3,
                train_condition_accuracy=value + 0.1,
                sample=None,
            )
            rows.append(made)
            ids.append(made["trial_id"])
        candidates.append(
            {
                "label": label,
                "role": role,
                "rank": rank,
                "search_value": mean,
                "trial_ids": ids,
            }
        )
    trials = frame(rows)
    storage = open_storage(folder).below(name)
    storage.write(json.dumps(candidates).encode(), CANDIDATES_FILE)
    return Search(name, storage, DIGITS, trials, trials[["trial_id", "trial_name"]])


def replayed() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (searcher, seed, trial, 0.5 + 0.01 * trial, 0.5 + 0.01 * trial, 60.0)
            for searcher in ("random", "tpe")
            for seed in range(3)
            for trial in range(1, 5)
        ],
        columns=["searcher", "seed", "trial", "value", "best", "seconds"],
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Page]:
    folder = tmp_path_factory.mktemp("results")
    importance = pd.DataFrame(
        {"parameter": ["coupling_level1", "end"], "importance": [0.6, 0.1], "samples": 12}
    )
    search = open_made_up(folder, random_search())
    report = build_report(search, confirmation(folder), importance, replayed())
    return report, Page(report)


def test_the_page_has_all_sections_and_its_links_lead_somewhere(whole: tuple[str, Page]) -> None:
    _, page = whole
    assert page.headings == SECTIONS
    links = [one for one in page.resources if one.startswith("#")]
    assert len(links) == len(SECTIONS)
    assert {link[1:] for link in links} <= page.ids


def test_importance_of_few_samples_carries_its_warning(whole: tuple[str, Page]) -> None:
    _, page = whole
    assert "Of 12 finished samples for 2 choices: a hint at most" in page.text


def test_the_page_loads_nothing(whole: tuple[str, Page]) -> None:
    _, page = whole
    images = [one for one in page.resources if not one.startswith("#")]
    assert len(images) == 8
    for image in images:
        kind, _, content = image.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content)[:4] == b"\x89PNG"
    assert not {"script", "link", "iframe", "object"} & set(page.tags)


def test_the_page_says_what_was_tried_on_which_data(whole: tuple[str, Page]) -> None:
    _, page = whole
    assert "60 trials ended: 18 finished, 40 stopped early, 2 failed." in page.text
    assert "by tpe (seed 7, 60 samples), scheduler asha, for mean accuracy (maximize)" in page.text
    assert f"Data: {NOTE}" in page.text
    assert "c0ffee" in page.text
    assert "torch 2.11.0" in page.text
    assert "The best network (d=1, mmtm1) reached" in page.text
    assert "the loss became nan" in page.text
    assert "fusion-search launch made-up.yaml" in page.text
    assert "samples: 60" in page.text  # of the whole specification


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "<b>bold</b><script>alert(1)</script>"
    trials = frame(
        [
            row(1, 0.5, trial_name=evil, data_note=evil),
            row(2, None, "failed", trial_name=evil, reason=f"{evil} & more"),
        ]
    )
    search = open_made_up(tmp_path, trials)
    search.storage.write(f"name: '{evil}'\nsearcher: {{}}".encode(), SPECIFICATION_FILE)
    report = build_report(replace(search, name=evil))
    assert "<b>" not in report
    assert "<script" not in report
    page = Page(report)
    assert f"Search {evil}" in page.text
    assert f"{evil} & more" in page.text


def test_three_seeds_tell_nothing_and_the_page_says_how_many_would(
    whole: tuple[str, Page],
) -> None:
    _, page = whole
    text = " ".join(page.text.split())
    assert "it cannot be decided with 3 seeds; 6 would do (difference" in text
    assert re.search(
        "6 seeds could decide by max-T, [^:]+: fusion-search confirm made-up --seeds 6 ", text
    )
    assert "Tested by all 8 sign flips. Holm cannot be decided with 3 seeds; 6 would do." in text
    assert "No grid of the confirmation can be read." in text
    assert "cannot be decided with 3 seeds; 6 would do" in text.partition("median trials")[2]


def test_what_is_missing_is_said_with_its_command(tmp_path: Path) -> None:
    rows = [*samples(FEWEST_SAMPLES), row(9, None, STOPPED)]
    page = Page(build_report(open_made_up(tmp_path, frame(rows))))
    assert page.headings == SECTIONS
    for command in ("confirm", "importance", "replay"):
        assert f"fusion-search {command} made-up" in page.text
    assert "No trial failed." in page.text


def samples(count: int) -> list[dict[str, Any]]:
    """Rows of so many that finished."""
    return [row(number, 0.5 + number / 100) for number in range(1, count + 1)]


def test_importance_is_advised_from_the_fewest_samples_on(tmp_path: Path) -> None:
    few = [*samples(FEWEST_SAMPLES - 1), row(9, None, "failed")]
    text = Page(build_report(open_made_up(tmp_path, frame(few)))).text
    assert "importance of the choices needs 4 finished samples or more; 3 have finished." in text
    assert "fusion-search importance" not in text
    enough = open_made_up(tmp_path / "enough", frame([*few, row(10, 0.9)]))
    assert "fusion-search importance made-up" in Page(build_report(enough)).text


@pytest.mark.parametrize(
    ("declared", "verbs"),
    [
        ({"network": {"levels": [1, 2]}}, {"confirm", "importance", "replay"}),
        ({"network": {"units": {"low": 4, "high": 8}}}, {"confirm", "importance", "replay"}),
        ({"training": {"learning_rate": {"low": 0.001, "high": 0.1}}}, {"confirm", "importance"}),
        (None, set()),
    ],
    ids=["choices", "whole numbers", "numbers", "a sweep"],
)
def test_a_page_advises_only_what_works_on_that_search(
    tmp_path: Path, declared: dict[str, Any] | None, verbs: set[str]
) -> None:
    rows = [{**one, "sample": None} for one in [*samples(4), row(9, None, "failed")]]
    search = open_made_up(tmp_path / "my results", frame(rows))
    storage = str(tmp_path / "my results")
    specification: dict[str, Any] = {"name": "made-up", "storage": "s3://declared/there"}
    if declared is not None:
        specification |= {**declared, "searcher": {"name": "tpe"}}
    search.storage.write(yaml.safe_dump(specification).encode(), SPECIFICATION_FILE)
    page = Page(build_report(search))
    advised = set(re.findall(r"fusion-search (confirm|importance|replay)", page.text))
    assert advised == verbs
    for verb in verbs:
        assert f"fusion-search {verb} made-up --storage '{storage}'" in page.text
        assert f"fusion-search {verb} made-up --storage s3://declared/there" in page.text
    assert f"fusion-search retry made-up --storage '{storage}'" in page.text
    assert "fusion-search launch made-up.yaml\n" in page.text + "\n"


def test_what_runs_trials_is_advised_where_the_search_last_ran(tmp_path: Path) -> None:
    search = open_made_up(tmp_path, frame([*samples(FEWEST_SAMPLES), row(9, None, "failed")]))
    other = confirmation(tmp_path)
    other = replace(other, trials=other.trials.iloc[1:])  # one is left to be run
    RunOptions("my data", "auto", ("node-3",)).write(search.storage)
    RunOptions(address="10.0.0.1:6379").write(other.storage)
    at = f" --storage {tmp_path}"
    options = " --data 'my data' --address auto --leave-out node-3"
    page = Page(build_report(search)).text
    assert f"fusion-search retry made-up{options}{at}" in page
    assert f"fusion-search confirm made-up{options}{at}" in page
    assert f"fusion-search importance made-up --data 'my data'{at}" in page  # runs no trial
    assert f"fusion-search launch made-up.yaml{options}\n" in page
    whole = Page(build_report(search, other)).text
    again = f"fusion-search confirm made-up --address 10.0.0.1:6379{at}"
    assert f"Some of its trials are missing. {again}" in whole
    assert (
        f"fusion-search confirm made-up --address 10.0.0.1:6379{at}"
        in Page(build_report(other)).text
    )
    other.storage.remove(CANDIDATES_FILE)
    lost = f"fusion-search confirm made-up --top 3 --seeds 6 --address 10.0.0.1:6379{at}"
    assert lost in Page(build_report(search, other)).text


def test_what_a_notebook_defined_is_advised_as_a_notebook_goes_on_with_it(tmp_path: Path) -> None:
    description = replace(DIGITS, task="__main__:Loud")
    rows = frame([row(1, None, "failed")])
    search = open_made_up(tmp_path, rows, description=description)
    RunOptions(address="auto").write(search.storage)
    page = Page(build_report(search)).text
    call = f"fusion_search.resume('{tmp_path}/made-up', task=Loud, failed=True, address='auto')"
    assert call in page
    assert not re.findall(r"fusion-search (?:resume|retry|confirm)", page)


def test_without_a_specification_only_a_launch_works(tmp_path: Path) -> None:
    trials = frame([row(1, None, STOPPED), row(2, None, "failed")])
    search = open_made_up(tmp_path, trials)
    search.storage.remove(SPECIFICATION_FILE)
    page = Page(build_report(search))
    assert set(re.findall(r"fusion-search ([a-z-]+)", page.text)) == {"launch"}
    assert f"fusion-search launch made-up.yaml --storage {tmp_path}" in page.text


@pytest.mark.parametrize(
    ("streams", "figures"),
    [([""], ["grids"]), (["audio"], ["unimodal"]), (["", "image"], ["grids", "unimodal"])],
)
def test_a_sweep_is_drawn_by_what_draws_its_streams(
    tmp_path: Path, streams: list[str], figures: list[str]
) -> None:
    rows = [row(n, 0.5, streams=one, sample=None) for n, one in enumerate(streams)]
    search = open_made_up(tmp_path, frame(rows))
    search.storage.write(b"name: made-up\nsweep: []\n", SPECIFICATION_FILE)
    page = Page(build_report(search))
    assert re.findall(r"fusion-search draw (\w+) made-up --storage", page.text) == figures


def test_before_anything_finished_there_is_a_page(tmp_path: Path) -> None:
    planned = frame([row(number, 0.5) for number in range(3)])
    search = open_made_up(tmp_path, planned)
    for ended in (frame([]), frame([row(0, None, STOPPED)])):
        page = Page(build_report(replace(search, trials=ended)))
        assert page.headings == SECTIONS
        assert "No trial has finished yet. fusion-search resume made-up" in page.text
        assert f"{3 - len(ended)} not run yet" in page.text


def test_when_all_trials_failed_the_page_advises_what_runs_them_again(tmp_path: Path) -> None:
    failed = frame([row(number, None, "failed") for number in range(3)])
    search = open_made_up(tmp_path, failed)
    page = Page(build_report(search))
    assert "fusion-search retry made-up" in page.text
    assert "fusion-search resume" not in page.text
    page = Page(build_report(replace(search, trials=failed[:2])))  # one is not run yet
    assert "No trial has finished yet. fusion-search resume made-up" in page.text


def test_a_damaged_confirmation_and_a_lost_specification_are_said(tmp_path: Path) -> None:
    search = open_made_up(tmp_path, frame([row(1, 0.5)]))
    search.storage.remove(SPECIFICATION_FILE)
    other = confirmation(tmp_path)
    other.storage.write(b"[{", CANDIDATES_FILE)
    page = Page(build_report(search, other))
    assert "candidates.json is damaged" in page.text
    assert "specification.yaml is missing" in page.text


@pytest.mark.parametrize(
    ("declared", "waiting", "said", "advised", "repeated"),
    [
        ("", False, "The best are not confirmed with fresh seeds yet. {confirm}", "confirm", 2),
        (
            *("confirmation: {top: 3, seeds: 1}", False),
            "The search confirms its best 3, with 1 fresh seed each, as soon as it has ended. "
            "Where that was interrupted: {confirm}",
            *("confirm", 1),
        ),
        (
            *("confirmation: {top: 3, seeds: 6}", True),
            "When its trials have ended, the search confirms its best 3, with 6 fresh seeds each. "
            "Where it was interrupted: {resume}",
            *("confirm", 0),
        ),
        (
            *("confirmation: {top: lots}", False),
            "The best are not confirmed with fresh seeds yet. {confirm}",
            *("confirm", 2),
        ),
    ],
)
def test_a_declared_confirmation_comes_by_itself(
    declared: str, waiting: bool, said: str, advised: str, repeated: int, tmp_path: Path
) -> None:
    search = open_made_up(tmp_path, frame([row(1, 0.5)]))
    search.storage.write(f"searcher: {{name: tpe}}\n{declared}\n".encode(), SPECIFICATION_FILE)
    if waiting:
        search = replace(search, trials=search.trials.iloc[:0])
    page = Page(build_report(search))
    commands = {
        one: f"fusion-search {one} made-up --storage {tmp_path}" for one in ("confirm", "resume")
    }
    assert said.format(**commands) in page.text
    assert page.text.count(f"fusion-search {advised} made-up") == repeated


def test_a_confirmation_is_made_again_by_confirming(tmp_path: Path) -> None:
    """Launched, its trials would be no confirmation: nobody would compare them."""
    search = confirmation(tmp_path)
    page = Page(build_report(search))
    assert "fusion-search launch" not in page.text
    confirm = f"fusion-search confirm made-up --storage {tmp_path}\n"
    assert confirm in page.text + "\n"
    # Nor is any of them the best: the report of what they confirm compares them.
    assert f"are compared by: fusion-search report made-up --storage {tmp_path}" in page.text
    assert "chosen by" not in page.text
    search.storage.write(b"[]", "specification.yaml")
    page = Page(build_report(search))
    assert "fusion-search launch" not in page.text
    assert confirm in page.text + "\n"


@pytest.mark.parametrize(("searched", "seconds"), [(True, 90.0), (False, 0.5)])
def test_the_page_says_of_modules_and_time_what_was_found(
    searched: bool, seconds: float, tmp_path: Path
) -> None:
    kinds = ["mmtm", "none" if searched else "mmtm"]
    rows = [
        row(
            k,
            0.5 + k / 10,
            fusion_depth=1,
            placement=placement(level1={"coupling": kind}),
            seconds=seconds,
        )
        for k, kind in enumerate(kinds)
    ]
    text = Page(build_report(open_made_up(tmp_path, frame(rows)))).text
    assert ("Where the blue line peaks" in text) == searched
    assert ("All samples have as many modules" in text) != searched
    assert f"{'3m 00s' if searched else '1 s'} of trials, one after another" in text


def sweep_over_folds(folder: Path, **data: tuple[str, str]) -> Search:
    """Two networks in two folds: of the better in validation the tests are the worse.

    Args:
        folder: of all searches.
        data: a setting of the data and its two values, if any.
    """
    ((name, kinds),) = data.items() or [("", ("",))]
    rows, settings = [], []
    for number, (kind, widened, fold) in enumerate(
        itertools.product(kinds, (False, True), range(2))
    ):
        own = {name: kind} if name else {}
        settings.append(json.dumps({**own, "widened": widened, "width": 4}))
        plain = {"network": {"widened": widened}, "data": own, "fold": fold}
        made = row(
            number,
            0.5 - widened / 4 + fold / 100,
            trial_id=f"{number}a5d478a5150",
            trial_name=", ".join(filter(None, [kind, widened and "widened", f"fold {fold}"])),
            specification=json.dumps(plain),
            validation_accuracy=0.25 + widened / 4,
            split="test",
            **{"fold": fold, "sample": None, "objective_values": None},
        )
        rows.append(made)
    search = open_made_up(folder, frame(rows))
    search.storage.write(b"name: made-up\nsweep: []\n", SPECIFICATION_FILE)
    trials = search.trials.assign(varied_settings=settings)
    return replace(search, trials=trials, planned=trials[identity_columns(DIGITS)])


def test_a_sweep_over_folds_tells_its_networks_apart(tmp_path: Path) -> None:
    html = build_report(sweep_over_folds(tmp_path))
    page = Page(html)
    assert "Over folds" in page.headings
    assert f"fusion-search draw folds made-up --storage {tmp_path}" in page.text
    best = html.partition("Best trials")[2].partition("</table>")[0]
    assert re.findall(r"<th[^>]*>fold</th>", best) == ["<th>fold</th>"]
    cells = re.findall("<td[^>]*>([^<]*)</td>", best)
    assert [one for one in cells if "width" in one] == ["widened, width 4", "width 4"]
    assert cells.count("mean of 2") == 2
    # An id that begins with a digit is no number.
    assert "<td>2a5d478a5150</td>" in best


def test_the_best_of_a_sweep_is_what_the_console_says(tmp_path: Path) -> None:
    """Chosen in validation, of whole samples, in each kind of data; no test chooses."""
    search = sweep_over_folds(tmp_path, fold_by=("random", "instance"))
    html = build_report(search)
    page = Page(html)
    best = BestSample(choosing_objective({}, DIGITS), rows_of(search.trials))
    lines = best_lines(best, search.trials)
    assert len(lines) == 2
    for line in lines:
        assert ", widened; chosen by validation accuracy 50.0 %, the mean over its 2" in line
        assert f"B{line[1:]}.".replace(" %", "\N{NO-BREAK SPACE}%") in page.text
    cells = re.findall("<td[^>]*>([^<]*)</td>", html.partition("Best trials")[2])
    assert [one for one in cells if one.endswith("%")] == [
        "50.0 %",
        "25.5 %",
        "25.0 %",
        "50.5 %",
    ] * 2
    assert "mean accuracy on the test split" in html
    # Of a network with a trial left, as the console says it.
    half = replace(search.only(search.trials["trial_id"][::2]), planned=search.planned)
    assert "50.0\N{NO-BREAK SPACE}%, of 1 of its 2 trials" in Page(build_report(half)).text
    assert "Not judged" not in page.text
    less = search.only(search.trials["trial_id"][1:])
    assert Page(build_report(less)).text.count("Not judged: 1 network with fewer finished") == 1


def test_without_validation_nothing_is_called_best(tmp_path: Path) -> None:
    search = sweep_over_folds(tmp_path)
    search = replace(search, trials=search.trials.assign(validation_accuracy=None))
    page = Page(build_report(search))
    assert "No validation accuracy is recorded, by which to choose." in page.text
    assert "chosen by" not in page.text


def test_a_sweep_gets_the_parts_that_make_sense(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"sample": None, "objective_values": None}
    fields["validation_accuracy"] = 0.5
    rows = [row(k, 0.5 + k / 100, fusion_depth=k % 3, **fields) for k in range(4)]
    rows.append(row(9, 0.99, streams="audio", train_visual_snr=float("inf"), **fields))
    search = open_made_up(tmp_path, frame(rows))
    search.storage.write(b"name: made-up\nsweep: []\n", SPECIFICATION_FILE)
    page = Page(build_report(search))
    assert page.headings == ["Best trials", "Accuracy maps", "Failed trials", "How to reproduce"]
    assert "fusion-search draw grids made-up" in page.text
    assert "audio alone" in page.text
    assert "audio 0.5, visual Orig." in page.text


def test_a_regression_without_axes_has_a_page_in_its_own_words(tmp_path: Path) -> None:
    of = sensors_description()
    rows = []
    for number, (kind, error) in enumerate([("gates", 0.25), ("none", 0.5), ("gates", 0.125)]):
        fields = {
            "placement": placement(s1={"coupling": kind} if kind != "none" else {}),
            "sample": json.dumps({"coupling_s1": kind, "width": 4 * number}),
            "streams": "",
            "mean_mean_absolute_error": error,
        }
        rows.append(row(number, None, **fields) | {"status": "finished"})
    search = open_made_up(tmp_path, frame(rows, of), description=of)
    specification = {
        "name": "made-up",
        "network": {"width": [0, 4, 8]},
        "placement": {
            "couplings": ["none", "gates"],
            "connections": {"ecg>heat": {"s1": ["none", "transfer"]}, "heat>ecg": ["none"]},
            "streams": [["ecg", "heat"]],
        },
        "train": {"choose": [[], []]},
        "searcher": {"name": "random"},
    }
    search.storage.write(yaml.safe_dump(specification).encode(), SPECIFICATION_FILE)
    page = Page(build_report(search))
    assert page.headings == SECTIONS
    assert "Best average mean absolute error on the validation split: 0.125 (gates at s1)" in (
        page.text
    )
    assert "for average mean absolute error (minimize)" in page.text
    assert "Searched: width, ecg>heat, couplings, train condition, by random" in page.text
    assert "accuracy" not in page.text.partition("How to reproduce")[0].lower()
    assert "trained at" not in page.text
    table = page.text.split("Best trials")[-1].split("Course of the search")[0]
    assert table.index("0.125") < table.index("0.25") < table.index("0.5")


@pytest.mark.parametrize("kept", [True, False])
def test_how_to_reproduce_names_a_users_files_as_sha256sum_does(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("class Mine: ...\n")
    of = replace(sensors_description(), task="./mine.py:Mine")
    fields: dict[str, Any] = {"sample": None, "objective_values": None, "streams": ""}
    fields["mean_mean_absolute_error"] = 0.5
    fingerprints = ["c0de" * 4, "c0de" * 4, "beef" * 4]
    rows = [row(k, 0.5, code_fingerprint=one, **fields) for k, one in enumerate(fingerprints)]
    search = open_made_up(tmp_path, frame(rows, of), description=of)
    search.storage.write(b"name: made-up\nsweep: []\n", SPECIFICATION_FILE)
    if kept:
        write_task_code(search.storage, task_code("./mine.py:Mine"))
    text = Page(build_report(search)).text.rpartition("How to reproduce")[2]
    assert "The task ./mine.py:Mine is no part of this program" in text
    assert ("which has no code.json" in text) != kept
    if kept:
        assert f"{'c0de' * 4} of 2 trials, {'beef' * 4} of 1 trial" in text
        words = re.search(r"sha256sum mine\.py", text)
        assert words is not None
        done = subprocess.run(words[0].split(), capture_output=True, text=True, check=True)
        assert done.stdout[:16] in text


def test_a_sweep_of_one_axis_shows_curves(tmp_path: Path) -> None:
    of = clips_description()
    fields = {
        "sample": None,
        "train_emg_snr": 20.0,
        "mean_macro_f1": 0.5,
        "validation_macro_f1": 0.5,
    }
    rows = [row(k, None, **fields) | {"status": "finished"} for k in range(2)]
    search = open_made_up(tmp_path, frame(rows, of), description=of)
    search.storage.write(b"name: made-up\n", SPECIFICATION_FILE)
    page = Page(build_report(search))
    assert page.headings[1] == "Macro f1 curves"
    assert "This is a sweep: its results are the macro f1 curves." in page.text
    assert "emg 20" in page.text


def test_a_sweep_names_every_figure_of_its_results_and_says_once_what_it_is(
    tmp_path: Path,
) -> None:
    of = replace(DIGITS, task="rgbd")
    rows = [row(k, 0.5, sample=None, streams=one) for k, one in enumerate(["", "rgb"])]
    search = open_made_up(tmp_path, frame(rows, of), description=of)
    search.storage.write(b"name: made-up\n", SPECIFICATION_FILE)
    assert [one.split()[2] for one in figures_of_sweep(search) if one] == [
        *("rgbd", "grids", "unimodal")
    ]
    text = Page(build_report(search)).text
    assert text.count("This is a sweep") == 1
    assert text.count("Also:") == 2


@pytest.mark.parametrize(
    ("first", "to_the_right"),
    [("< 0.001", True), ("0.03", True), ("-1.0 to +2", True), ("-", True), ("8c0ab12f90de", False)],
)
def test_a_column_of_numbers_is_set_to_the_right_also_where_it_begins_with_a_small_p(
    first: str, to_the_right: bool
) -> None:
    made = html.table(["p"], [[first], ["0.5"]])
    assert ('<th class="number">' in made) == to_the_right
