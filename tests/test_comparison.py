"""A comparison on this machine, with tiny settings: what it leaves behind, and what a second command adds."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from ganlib import storage, tracking
from ganlib.evaluation import Evaluation, EvaluationConfig
from ganlib.selection import Outcome, Places, candidate, try_candidate
from ganlib.selection.failures import RETRIES, RETRY_SECONDS, Failure, failure_of, try_repeatedly
from ganlib.tracking import RunGroup, Tracker
from ganlib.training.run_directory import RunDirectory
from pipelines.budgets import Budget
from pipelines.candidates import make_candidates, resolve_variants
from pipelines.command.main import main
from pipelines.variants import parse_variant

TINY = [
    "training.score_samples=50",
    "training.precision=float32",
    "evaluation.samples=50",
    "evaluation.extractor.network.epochs=1",
    "model.width=8",
    "export.onnx=false",
]
DIVERGES = "bad: sngan training.generator_optimizer.learning_rate=1e18 training.health.non_finite=fail"
LOST = "lost: dcgan"
SCORE = "fd_digits_classifier"


def environment(**further):
    ours = ("MLFLOW_", "GAN_PIPELINES_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | further


def command(root, *words):
    options = [word for assignment in TINY for word in ("--set", assignment)]
    own = [str(Path(sys.executable).with_name("gan-pipelines")), "compare-variants", "--json", "--steps", "6"]
    return [*own, "--root", str(root), "--name", "c", "--seeds", "1", *options, *words]


def blocked(root):
    """The folder of checkpoints of the candidate that cannot write there."""
    return root / "c" / "candidates" / "lost-seed0" / "training"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison") / "runs"


@pytest.fixture(scope="module")
def first(root):
    """Three variants, one of which diverges, and one that cannot write its checkpoints."""
    words = ["--variant", "sngan", "--variant", DIVERGES, "--variant", LOST]
    blocked(root).parent.mkdir(parents=True)
    blocked(root).touch()
    settings = environment(GAN_PIPELINES_RETRIES="1")
    done = subprocess.run(command(root, *words), env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def outcome_folder(root, name=""):
    """Outcomes of the newest comparison, or that of one candidate."""
    return max(root.glob("c/steps/*/choose-candidate/outcomes"), key=lambda path: path.stat().st_mtime) / name


def outcomes(root):
    """Outcomes of the newest comparison by name of the candidate."""
    return {path.name: storage.read_json(path / "outcome.json") for path in outcome_folder(root).iterdir()}


def test_a_candidate_that_diverges_is_a_row_and_the_others_are_compared(root, first):
    said = json.loads(first.stdout.splitlines()[-1])
    assert said["status"] == "succeeded"
    found = outcomes(root)
    assert set(found) == {"sngan-seed0", "bad-seed0", "lost-seed0"}
    assert "became infinite or NaN" in found["bad-seed0"]["failure"]
    assert not found["sngan-seed0"]["failure"]
    assert found["sngan-seed0"]["images"] == 6 * 64
    assert "candidate: bad-seed0 failed: step" in first.stdout
    assert storage.read_lines(outcome_folder(root, "bad-seed0") / "history.jsonl")


def test_a_failure_that_may_pass_is_tried_again_and_its_traceback_is_in_the_log(root, first):
    assert outcomes(root)["lost-seed0"]["failure"].endswith("(in 2 attempts)")
    log = (root / "c" / "log.txt").read_text()
    for attempt in (1, 2):
        assert f"candidate: lost-seed0 failed: [Errno {errno.EEXIST}]" in log, attempt
    assert log.count("attempt 2 of 2 follows") == 1  # not of the one that diverged
    assert log.count("FileExistsError: [Errno") >= 2


def test_the_winner_is_scored_again_with_other_samples_and_exported(root, first):
    fresh = Evaluation.open(root / "c" / "scores")
    assert fresh.protocol["seed"] == 2
    chosen = min(
        Evaluation.open(path.parent).values[SCORE]
        for path in root.glob("c/steps/*/choose-candidate/outcomes/*/scores.json")
    )
    assert fresh.values[SCORE] != chosen
    assert (root / "c" / "model" / "saved_model").is_dir()
    assert (root / "c" / "report.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_candidates_are_nested_in_the_run_of_the_comparison(root, first):
    client = MlflowClient(tracking.store_uri(root / "mlflow.db"))
    [experiment] = [one for one in client.search_experiments() if one.name == "gan-pipelines"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("c")
    assert parent.info.status == "FINISHED"
    assert set(parent.data.metrics) == {"mean/sngan"}
    assert set(runs) == {"c/sngan-seed0", "c/bad-seed0"}  # the third one failed before it had one
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert [(run.data.tags["variant"], run.data.tags["seed"]) for _, run in sorted(runs.items())] == [
        ("bad", "0"),
        ("sngan", "0"),
    ]
    assert runs["c/bad-seed0"].info.status == "FAILED"


def test_only_what_failed_otherwise_and_what_is_new_is_trained_and_sigterm_ends_it(root, first):
    words = ["--variant", "sngan", "--variant", DIVERGES, "--variant", LOST, "--variant", "lsgan"]
    blocked(root).unlink()
    kept = storage.sha256(root / "c" / "report.html")
    with subprocess.Popen(command(root, *words), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("train: 6 steps"):
                process.send_signal(signal.SIGTERM)
    text = "".join(lines)
    assert process.returncode == 1
    assert "2 of 4 done" in text
    assert [line for line in lines if line.startswith("candidate: ")] == ["candidate: lost, seed 0\n"]
    assert "failed" not in json.loads(lines[-1])["error"]
    assert "interrupted" in json.loads(lines[-1])["error"]
    assert storage.sha256(root / "c" / "report.html") == kept


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--variant", "sngan"], "expected --variant twice or more"),
        (["--variant", "sngan", "--variant", "dcgann"], "did you mean dcgan?"),
        (["--variant", "sngan", "--variant", "lsgan", "--minutes", "3"], "expected one budget"),
        (["--variant", "sngan", "--variant", "lsgan", "--image", "x/y"], "--image needs --runner docker"),
        (["--variant", "sngan", "--variant", "big: lsgan training.batch_size=2000"], "variant big: expected at least"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, words, expected):
    done = CliRunner().invoke(main, command(tmp_path / "runs", *words)[1:])
    assert done.exit_code == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert expected in line


CHILD = """
import os, signal, sys, time
from ganlib.selection.child import run_in_child
from ganlib.selection.failures import Failure
from ganlib.training import OtherRunError, TrainingInterrupted
def wait():
    print("working", flush=True)
    time.sleep(60)
    return Failure("slept", may_pass=False)
def training():
    from ganlib.training.interruption import Interruption
    with Interruption() as asked:
        print("working", flush=True)
        while not asked:
            time.sleep(0.01)
    raise TrainingInterrupted("interrupted at step 3")
def other():
    raise OtherRunError("holds another run")
work = {"returns": lambda: Failure("text", may_pass=False), "nothing": lambda: None,
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL), "exits": lambda: os._exit(3),
        "waits": wait, "trains": training, "other": other}
try:
    failure = run_in_child(work[sys.argv[1]])
    print("said:", *(failure[:2] if failure else ["nothing"]))
except TrainingInterrupted as error:
    print("interrupted:", error)
except OtherRunError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("word", "number", "expected"),
    [
        ("returns", None, "said: text False"),
        ("nothing", None, "said: nothing"),
        ("killed", None, "said: the process was ended by SIGKILL, which the system sends where memory runs out True"),
        ("exits", None, "said: the process ended with exit code 3, and said nothing True"),
        ("other", None, "refused: holds another run"),
        ("waits", signal.SIGTERM, "interrupted: interrupted; the same command resumes"),
        ("trains", signal.SIGTERM, "interrupted: interrupted at step 3"),
        ("trains", signal.SIGINT, "interrupted: interrupted at step 3"),
    ],
)
def test_whatever_ends_a_child_is_told(word, number, expected):
    command = [sys.executable, "-c", CHILD, word]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        if number is not None:
            assert process.stdout.readline() == "working\n"
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)
        *_, last = process.communicate(timeout=60)[0].splitlines()
    assert last == expected


def raised(error=None):
    """Returns an error that this test raises or, without one, that a `raise` of the package does."""
    try:
        storage.fetch("/no/such/file") if error is None else (_ for _ in ()).throw(error)
    except Exception as caught:  # noqa: BLE001  # which one is up to the caller
        return caught


@pytest.mark.parametrize(
    ("error", "may_pass", "traced"),
    [
        (raised(OSError(errno.ENOSPC, "No space left on device")), True, True),
        (raised(ConnectionResetError("lost")), True, True),
        (raised(MemoryError()), True, True),
        (raised(KeyError("a bug")), True, True),
        (raised(ValueError("a library refuses it")), False, True),
        (raised(storage.WriteConflict("another process goes on with it")), False, True),
        (raised(), False, False),  # one of ours, for people
    ],
    ids=repr,
)
def test_a_failure_says_whether_it_may_pass_and_shows_where_it_came_from(error, may_pass, traced, capsys):
    assert failure_of(error).may_pass == may_pass
    assert ("Traceback" in capsys.readouterr().err) == traced


def test_attempts_are_as_many_as_are_set_and_end_with_success(monkeypatch, capsys):
    passing, final, waits = Failure("lost", may_pass=True), Failure("diverged", may_pass=False), []
    monkeypatch.setenv(RETRY_SECONDS, "5")
    monkeypatch.setattr(time, "sleep", waits.append)
    for retries, answers, expected in (
        (0, [passing], passing),
        (2, [passing, None], None),
        (2, [passing, final], final),
        (2, [passing] * 3, Failure("lost (in 3 attempts)", may_pass=True)),
    ):
        monkeypatch.setenv(RETRIES, str(retries))
        left = iter(answers)
        assert try_repeatedly(lambda left=left: next(left), name="a-seed0") == expected
        assert next(left, "none") == "none"
    assert "a-seed0 failed: lost; attempt 3 of 3 follows" in capsys.readouterr().out
    assert waits == [5.0, 5.0, 5.0, 10.0]


@pytest.mark.parametrize("home", ["gs://bucket/home", None])
def test_a_failed_candidate_has_its_history_also_where_checkpoints_are_in_a_bucket(tmp_path, monkeypatch, home):
    _, configs = resolve_variants(
        [parse_variant("dcgan"), parse_variant("sngan")], chosen=["digits"], files=(), assignments=(), budget=Budget()
    )
    [tried, _] = make_candidates(configs, seeds=1, comparison="c", home=home)
    places = Places(tmp_path / "dataset", tmp_path / "reference", tmp_path / "trained", tmp_path / "scores")

    def fail(_):
        """The double of a child that fails after its first row."""
        folder = RunDirectory(tried.training.home, places.trained, chief=True).folder
        folder.mkdir()
        storage.append_line(folder / "history.jsonl", {"step": 1, "training/fd": 2.0})
        return Failure("lost", may_pass=False)

    monkeypatch.setattr(candidate, "run_in_child", fail)
    assert try_candidate(tried, EvaluationConfig(), places, group=RunGroup("c", "0" * 32)).failure == "lost"
    assert [row["step"] for row in Outcome.open(places.outcome).history] == [1]


def test_a_child_does_not_outlive_a_parent_that_is_killed():
    command = [sys.executable, "-c", CHILD, "waits"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "working\n"
        process.kill()
        assert process.stdout.read() == ""  # the child has the other end open until it ends
        assert process.wait(30) == -signal.SIGKILL


def test_members_that_start_at_once_share_the_run_of_their_group(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.create_store(tmp_path / "mlflow.db", experiment="e"))
    group = RunGroup("comparison", "0" * 32)
    script = (
        "import sys; from pathlib import Path; from ganlib.tracking import *\n"
        "with Tracker(Path(sys.argv[1]), run_name=sys.argv[2], group=RunGroup('comparison', '0' * 32)) as tracker:\n"
        "    tracker.status('FINISHED')\n"
    )
    members = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / f"m{number}"), f"m{number}"])
        for number in range(2)
    ]
    assert [member.wait(120) for member in members] == [0, 0]
    with Tracker(tmp_path / "lead", run_name=group.name, group=group, leads=True) as tracker:
        tracker.status("FINISHED")
    client = MlflowClient()
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    leads = [run for run in runs if run.info.run_name == "comparison"]
    assert len(leads) == 1
    assert len(runs) == 3
    assert {run.data.tags.get("mlflow.parentRunId") for run in runs} == {None, leads[0].info.run_id}


def test_a_run_that_is_given_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "a" * 32)
    Tracker(tmp_path / "x", group=RunGroup("comparison", "0" * 32))
    identity = storage.read_json(tmp_path / "x" / "tracking.json")
    assert identity["run_id"] == "a" * 32
    assert "group" not in identity
