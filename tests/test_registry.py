"""Versions and aliases in a real MLflow: registration, promotion, races, killed processes and rollback."""

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from mlflow_server import Server, client_of

from ganlib import storage, tracking
from ganlib.evaluation import EvaluationConfig, evaluate
from ganlib.export import ExportConfig, export, promotion
from ganlib.export.facts import FACTS, SCORES, digest
from ganlib.export.gate import Today, decide, gate
from ganlib.export.register import register
from ganlib.export.registry import Registry
from ganlib.export.trial import try_server
from ganlib.selection.thresholds import GateConfig
from ganlib.selection.verdict import FILE, PAGE, Verdict
from pipelines.command.main import main

HERE = Path(__file__).parent
FD = "fd_digits_classifier"
ABSOLUTE = {"max_scores": {"fd": 1000.0}}
GATE = {"champion": "better", "max_scores": {"fd": 1000.0}, "max_parity": 1e-4}
CONFIG = ExportConfig(registered_model="digits", gate=GATE)


@pytest.fixture(scope="module")
def evaluation(trained, digits, reference, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluation") / "scores"
    return evaluate(trained, digits, reference, EvaluationConfig(samples=60), output)


@pytest.fixture(scope="module")
def original(trained, evaluation, tmp_path_factory):
    """An exported model, which was made without MLflow."""
    output = tmp_path_factory.mktemp("exported") / "model"
    export(trained, evaluation, CONFIG, output)
    return output


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    tracking.create_store(folder / "mlflow.db", experiment=tracking.DEFAULT_EXPERIMENT, artifacts=folder / "artifacts")
    return folder


@pytest.fixture
def store(tmp_path, empty_store, monkeypatch):
    """A local store without a server."""
    shutil.copytree(empty_store, tmp_path / "store")
    uri = tracking.store_uri(tmp_path / "store" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri


@pytest.fixture
def model(original, tmp_path):
    """Returns the exported model of another training, with another distance; each has a run of its own."""

    def made(name, distance):
        folder = tmp_path / name / "model"
        shutil.copytree(original, folder)
        scores, facts = storage.read_json(folder / SCORES), storage.read_json(folder / FACTS)
        scores["scores"][0] |= {"value": distance, "error": 1.0}
        facts |= {"run": name, "weights_sha256": name, "generator": {**facts["generator"], "sha256": name}}
        storage.write_json(folder / SCORES, scores)
        storage.write_json(folder / FACTS, facts)
        identity = storage.read_json(folder / tracking.IDENTITY)
        relabel(folder)
        storage.write_json(folder / tracking.IDENTITY, {**identity, "key": name, "run_name": name})
        return folder

    return made


def relabel(folder):
    """Makes a changed folder the model that its run records, as its export does."""
    lines = storage.read_lines(folder / tracking.JOURNAL)
    changed = [line | ({"digest": digest(folder)} if line["do"] == "model" else {}) for line in lines]
    storage.write_lines(folder / tracking.JOURNAL, changed)


def judged(folder, config=CONFIG, **options):
    return gate(folder, config, folder.parent / "verdict", **options)


def shipped(folder, config=CONFIG):
    """Takes a model through the gate and into the registry."""
    return register(folder, judged(folder, config), config, folder.parent / "registered")


def aliases():
    return Registry("digits").aliases()


def tags(number):
    return Registry("digits").version(number).tags


def description(number):
    return client_of(os.environ["MLFLOW_TRACKING_URI"]).get_model_version("digits", number).description


def run_command(*words):
    result = CliRunner().invoke(main, words)
    return result.exit_code, result.output


def test_three_versions_have_their_aliases_and_a_rollback_goes_back_each_time(store, model, capsys):
    first, second, worse, third = (model(name, score) for name, score in zip("abcd", (90, 80, 85, 70), strict=True))
    assert shipped(first).summary.startswith("version 1 of digits is the champion now, the first one. PASSED 2 of 2")
    assert aliases() == {"champion": "1", "challenger": "1"}
    assert shipped(second).champion == "2"
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}
    refused = shipped(worse)
    assert not refused.promoted
    assert refused.summary.startswith("version 3 of digits is the challenger: REFUSED, because of comparison with ")
    assert aliases() == {"champion": "2", "challenger": "3", "previous": "1"}
    assert "worse by 5, beyond the combined error of 1.4" in tags("3")["gate.reasons"]
    assert shipped(third).champion == "4"
    repeated = judged(third)  # a later run of the same pipeline: it is not compared with itself
    assert (repeated.decision, repeated.champion) == ("promote", "2")
    capsys.readouterr()
    assert shipped(third).champion == "4"
    assert "register: version 4 of digits is the champion now, instead of version 2." in capsys.readouterr().out

    # The pipelines of former versions run again: nothing moves back.
    older = shipped(second, CONFIG.model_copy(update={"gate": GateConfig(**ABSOLUTE)}))
    assert (older.decision, older.champion, aliases()["challenger"]) == ("refuse", "4", "4")
    assert older.summary.startswith("version 2 of digits is not promoted: it passed, but version 4 has replaced it, so")
    stricter = shipped(third, CONFIG.model_copy(update={"gate": GateConfig(max_scores={"fd": 1.0})}))
    assert (stricter.decision, stricter.promoted) == ("refuse", True)
    assert "version 4 of digits stays the champion, but would not become it today: REFUSED" in stricter.summary
    assert "`gan-pipelines rollback digits` takes it back" in stricter.summary

    # It was fine for a while. A retry of the step neither registers it twice nor takes its place again.
    assert run_command("rollback", "digits", "--dry-run") == (
        0,
        "version 2 of digits would become the champion again, instead of version 4\n",
    )
    assert aliases()["champion"] == "4"
    code, text = run_command("rollback", "digits", "--reason", "blurred")
    assert (code, text) == (0, "version 2 of digits is the champion again, instead of version 4\n")
    assert aliases() == {"champion": "2", "challenger": "4", "previous": "1"}
    assert tags("4")["promotion.rolled_back"].endswith(": blurred")
    again = shipped(third)
    assert (again.version, again.champion, again.decision) == ("4", "2", "refuse")
    assert "was rolled back, so only `gan-pipelines promote` can promote it again" in again.summary

    assert run_command("rollback", "digits")[0] == 0
    assert aliases() == {"champion": "1", "challenger": "4"}
    code, text = run_command("rollback", "digits")
    assert code == 2
    assert "version 1 of digits is the champion, and there was none before it" in text


def test_by_hand_the_same_checks_hold_unless_a_reason_is_given(store, model):
    assert shipped(model("a", 80)).champion == "1"
    assert not shipped(model("b", 95)).promoted
    code, text = run_command("promote", "digits")
    assert code == 1
    assert "error: version 2 of digits is not promoted: REFUSED, because of comparison with the champion" in text
    assert "worse by 15" in text
    assert aliases()["champion"] == "1"
    assert run_command("promote", "digits", "--force")[0] == 2
    assert run_command("promote", "digits", "--reason", "x")[0] == 2
    code, text = run_command("promote", "digits", "--force", "--reason", "nicer by eye", "--dry-run")
    assert code == 0
    assert "version 2 of digits would become the champion of digits, instead of version 1; nothing was changed" in text
    assert aliases()["champion"] == "1"
    code, text = run_command("promote", "digits", "--force", "--reason", "nicer by eye")
    assert code == 0
    assert "version 2 of digits is now the champion of digits, instead of version 1, forced: nicer by eye" in text
    assert aliases() == {"champion": "2", "challenger": "2", "previous": "1"}
    assert tags("2")["promotion.forced"].endswith(": nicer by eye")
    assert tags("2")["gate.verdict"] == "refuse"
    assert "It was promoted by force nevertheless: nicer by eye" in description("2")
    # It is better than the forced one, so there is nothing to force, but the words stay.
    words = ["promote", "digits", "--version", "1", "--force", "--reason", "as before"]
    code, text = run_command(*words)
    assert code == 0
    assert "instead of version 2, which passed without force; recorded: as before" in text
    assert "promotion.forced" not in tags("1")
    assert aliases() == {"champion": "1", "challenger": "2", "previous": "2"}
    last, first = tags("1")["promotion.history"].splitlines()
    assert last.endswith("Z became the champion, before: 2: as before")
    assert first.endswith("Z became the champion, before: none")
    assert "is the champion already; nothing was changed, and the reason is not recorded" in run_command(*words)[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["promote", "nothing"],
            "expected a registered model with a challenger, or --version. Received: name='nothing'",
        ),
        (
            ["promote", "digits", "--version", "7"],
            "expected a version of digits in the registry. Received: version='7'",
        ),
        (
            ["promote", "digits", "--version", "x"],
            "expected a version of digits in the registry. Received: version='x'",
        ),
        (["rollback", "nothing"], "expected a model with a champion. Received: name='nothing', aliases={}"),
        (["promote", "digits", "."], "expected the folder of a finished run. Received: run='.'"),
    ],
)
def test_a_mistake_is_one_line(store, words, line):
    code, text = run_command(*words)
    assert code == 2
    assert text.startswith(f"error: {line}")
    assert text.count("\n") == 1


def test_without_an_address_a_command_says_where_to_look(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    code, text = run_command("rollback", "digits")
    assert code == 2
    assert "expected --uri or the environment variable MLFLOW_TRACKING_URI, or runs/mlflow.db here" in text
    code, text = run_command("rollback", "digits", "--uri", f"sqlite:///{tmp_path}/mistyped.db")
    assert (code, text) == (2, f"error: expected an MLflow store that exists. Received: {tmp_path}/mistyped.db\n")
    assert not (tmp_path / "mistyped.db").exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = tracking.create_store(tmp_path / "runs" / "mlflow.db", experiment=tracking.DEFAULT_EXPERIMENT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    shipped(model("a", 80))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    code, text = run_command("promote", "digits")
    assert (code, "version 1 of digits is the champion already" in text) == (0, True)
    assert "has the same networks" not in text  # as itself


def test_a_version_leads_back_to_its_model_run_and_data(store, trained, original, tmp_path):
    tracking.deliver(trained.folder)
    registered = shipped(Path(shutil.copytree(original, tmp_path / "a" / "model")))
    client = client_of(store)
    version = client.get_model_version("digits", registered.version)
    run = client.get_run(version.run_id)
    assert run.info.run_name == "gan"
    [data] = run.inputs.dataset_inputs
    assert version.tags["data"] == data.dataset.name == "digits"
    assert version.tags["data.sha256"].startswith(data.dataset.digest)
    [output] = run.outputs.model_outputs
    assert version.source == f"models:/{output.model_id}"
    logged = client.get_logged_model(output.model_id)
    assert logged.source_run_id == run.info.run_id
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "digits", "version": "1"}]
    assert logged.params["model.kind"] == "dcgan"
    assert run.data.tags["gate.verdict"] == "promote"
    names = {item.path for item in client.list_artifacts(run.info.run_id, "verdict")}
    assert names == {f"verdict/{FILE}", f"verdict/{PAGE}"}

    got = Path(mlflow.artifacts.download_artifacts("models:/digits@champion", dst_path=str(tmp_path / "got")))
    assert {"saved_model", "generator.keras", "README.md", "samples.png", FACTS, SCORES} <= set(os.listdir(got))
    assert not {tracking.JOURNAL, tracking.IDENTITY} & set(os.listdir(got))
    assert len(version.description) <= 5000  # PostgreSQL takes no more
    assert f"]({Registry('digits').picture('1', 'samples.png')})" in version.description
    assert f"| `{FD}` | " in version.description


def test_over_http_a_version_has_its_scores_and_a_picture_that_the_page_can_show(
    empty_store, tmp_path, monkeypatch, trained, evaluation, original
):
    server = Server(Path(shutil.copytree(empty_store, tmp_path / "server")))
    server.start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        tracking.deliver(trained.folder)
        tracking.deliver(evaluation.folder)
        registered = shipped(Path(shutil.copytree(original, tmp_path / "a" / "model")))
        run = server.client.get_run(registered.run_id)
        [output] = run.outputs.model_outputs
        metrics = server.client.get_logged_model(output.model_id).metrics
        assert {metric.key: metric.value for metric in metrics} == evaluation.values
        assert {metric.dataset_digest for metric in metrics} == {run.inputs.dataset_inputs[0].dataset.digest}
        assert len(server.client.get_metric_history(registered.run_id, FD)) == 1  # the link adds no point
        address = f"{server.uri}/{Registry('digits').picture('1', 'samples.png')}"
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert answer.read() == evaluation.samples.read_bytes()
    finally:
        server.kill()


def test_a_registry_that_cannot_be_reached_is_an_error_and_not_an_empty_one(model, monkeypatch, tmp_path):
    folder = model("a", 80)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"^cannot use the MLflow registry: ") as raised:
        judged(folder)
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert not (tmp_path / "a" / "verdict").exists()


def test_without_an_address_no_store_appears_in_the_working_directory(model, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    folder = model("a", 80)
    with pytest.raises(ValueError, match=r"^a registered model needs MLflow: expected the address of its server in"):
        judged(folder)
    assert os.listdir() == []


@pytest.mark.skipif("GAN_PIPELINES_EVERY_PAIR" not in os.environ, reason="starts servers twice: make every-pair")
def test_a_server_that_answers_passes_and_one_that_dies_refuses(original, store, tmp_path, monkeypatch):
    config = ExportConfig(registered_model="digits", gate={"trial": True}, tolerance=0.01)
    assert shipped(Path(shutil.copytree(original, tmp_path / "a" / "model")), config).promoted
    tolerances = []

    def tried(exported, *, tolerance):
        tolerances.append(tolerance)
        return try_server(exported, tolerance=tolerance)

    monkeypatch.setattr("ganlib.export.gate.try_server", tried)
    assert "trial in the server: passed" in run_command("promote", "digits")[1]
    assert tolerances == [0.01]  # as it was judged by before
    broken = Path(shutil.copytree(original, tmp_path / "broken"))
    (broken / "served.py").write_text("import os\nos._exit(7)\n")
    [reason] = decide(broken, config).failed
    assert reason.check == "trial in the server"
    assert reason.measured.startswith("the server died")


def test_a_verdict_on_another_model_registers_nothing(store, model):
    verdict = judged(model("a", 80))
    with pytest.raises(ValueError, match=r"^expected a verdict on this model, b\. Received: sha256='a'$"):
        register(model("b", 70), verdict, CONFIG, Path("unused"))
    assert aliases() == {}


def test_a_champion_of_another_protocol_is_scored_again(store, trained, digits, reference, evaluation, model, tmp_path):
    old = model("old", 80)
    scores = storage.read_json(old / SCORES)
    scores["protocol"]["versions"] = "gan-pipelines 0.0.1"  # as if it had been scored before an upgrade
    storage.write_json(old / SCORES, scores)
    facts = storage.read_json(old / FACTS)
    storage.write_json(old / FACTS, {**facts, "dataset_sha256": "0" * 64, "dataset": "older digits"})
    relabel(old)
    assert shipped(old).champion == "1"
    new = model("new", 111)
    without = judged(new)
    assert "was scored under the protocol" in without.failed[0].measured
    assert "give the folder of the run" in without.failed[0].measured
    verdict = judged(new, today=Today(trained, digits, reference))
    [reason] = [reason for reason in verdict.reasons if reason.check.startswith("comparison")]
    # The networks are those of `evaluation` itself, so that is what scoring them again has to give.
    assert f"version 1 (scored again under today's protocol): {FD} 111 ± 1 against " in reason.measured
    assert {score.name: score for score in evaluation.scores}[FD].text in reason.measured
    [note] = verdict.notes
    assert note.startswith("It was trained on other images, older digits, which may contain some of those that")


def test_a_champion_for_other_work_cannot_be_scored_again(store, trained, digits, reference, model):
    old = model("old", 80)
    scores, facts = storage.read_json(old / SCORES), storage.read_json(old / FACTS)
    storage.write_json(old / SCORES, {**scores, "protocol": {**scores["protocol"], "versions": "older"}})
    storage.write_json(old / FACTS, {**facts, "image_shape": [32, 32, 3]})
    relabel(old)
    shipped(old)
    verdict = judged(model("new", 70), today=Today(trained, digits, reference))
    assert verdict.decision == "refuse"
    assert (
        "it cannot be scored under today's protocol: expected networks for the same work" in verdict.failed[0].measured
    )
    assert "image_shape=[32, 32, 3] and [16, 16, 1]" in verdict.failed[0].measured


def test_who_finds_another_champion_than_it_was_compared_with_is_compared_again(store, model, capsys, tmp_path):
    shipped(model("a", 90))
    better, worse = model("b", 80), model("c", 85)
    verdicts = judged(better), judged(worse)  # both are better than version 1
    assert register(better, verdicts[0], CONFIG, better.parent / "registered").champion == "2"
    late = register(worse, verdicts[1], CONFIG, worse.parent / "registered")
    assert (late.promoted, late.champion) == (False, "2")
    said = "has changed meanwhile: it was version 1, and now it is version 2"
    assert said in late.summary
    assert said in capsys.readouterr().out
    # Everything that said "passed" a moment ago says what became of it.
    assert (verdicts[1].decision, late.decision) == ("promote", "refuse")
    final = Verdict.open(worse.parent / "registered")
    assert final.decision == tags("3")["gate.verdict"] == "refuse"
    assert description("3").startswith(f"{final.summary}\n\nIt passed before, but the champion of digits {said}")
    assert tags("3")["gate.compared_with"] == "2"
    run = client_of(store).get_run(late.run_id)
    assert run.data.tags["gate.verdict"] == "refuse"
    page = mlflow.artifacts.download_artifacts(f"runs:/{late.run_id}/verdict/{PAGE}", dst_path=str(tmp_path))
    assert said in Path(page).read_text()
    best = model("d", 60)
    verdict = judged(best)
    promotion.rollback(Registry("digits"), reason="test")
    assert register(best, verdict, CONFIG, best.parent / "registered").champion == "4"  # it is better than both
    assert tags("4")["gate.compared_with"] == "1"


def processes(orders):
    command = [sys.executable, "-W", "ignore", str(HERE / "registry_processes.py"), json.dumps(orders)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answers(process):
    output, errors = process.communicate(timeout=120)
    found = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
    assert process.returncode == 0, output + errors
    return found


def order(folder, change=0):
    return ["register", str(folder), str(folder.parent / "verdict"), str(folder.parent / "registered"), change]


def test_of_two_processes_at_once_one_wins_and_the_other_knows(store, model, tmp_path):
    shipped(model("a", 90))
    pair, meeting = (model("b", 80), model("c", 80)), tmp_path / "meeting"
    for folder in pair:
        judged(folder)
    both = [processes([["meet", str(meeting)], order(folder)]) for folder in pair]
    meeting.touch()
    summaries = [text for process in both for _, text, _ in answers(process)]
    [winner] = [text for text in summaries if "is the champion now, instead of version 1" in text]
    [loser] = [text for text in summaries if text != winner]
    assert "is not promoted: REFUSED" in loser
    assert "It passed before, but the champion of digits has changed meanwhile" in loser
    assert aliases()["champion"] == winner.split()[1]
    assert not any("promotion.claim" in tags(number) for number in "123")


def test_whoever_sees_the_claim_of_another_leaves_the_champion_alone(store, model, monkeypatch):
    shipped(model("a", 90))
    registry = Registry("digits")
    for name in "bc":
        assert not shipped(model(name, 95)).promoted
    monkeypatch.setattr(promotion, "PATIENCE", 0.1)
    registry.claim("2")
    busy = "version 2 of digits is being promoted or rolled back at the same time; the champion still is version 1"
    code, text = run_command("promote", "digits", "--force", "--reason", "nicer")
    assert (code, text.count(busy)) == (1, 1)
    assert "by force" not in description("3")
    assert not {"promotion.forced", "promotion.replaced"} & tags("3").keys()
    better = model("better", 50)
    with pytest.raises(RuntimeError, match=busy):  # the step fails, and the model is not refused
        shipped(better)
    registry.point("previous", "3")
    with pytest.raises(RuntimeError, match=busy):
        promotion.rollback(registry, reason="test")
    registry.remove("previous")
    assert aliases()["champion"] == "1"
    assert "promotion.claim" not in tags("3")
    monkeypatch.setattr(promotion, "PATIENCE", 30.0)
    monkeypatch.setattr(promotion, "CLAIM_SECONDS", 1.0)  # the claim is of a process that was killed
    promotion.promote(registry, "3", expected="1")
    assert aliases() == {"champion": "3", "challenger": "4", "previous": "1"}
    assert "promotion.claim" not in tags("2")

    # A rollback was killed before it moved the alias, and another model is promoted: it does not return later.
    registry.tag("3", {"promotion.rolled_back": "killed"})
    promotion.promote(registry, "2", expected="3")
    assert aliases()["previous"] == "3"
    assert promotion.rollback(registry, reason="test") == ("2", "1")


def test_who_is_overtaken_by_the_same_command_leaves_the_work_to_that_one(store, model, monkeypatch):
    for name, score in (("a", 90), ("b", 80), ("c", 85)):
        shipped(model(name, score))
    first, second, third = (Registry("digits") for _ in range(3))
    tag, meanwhile = Registry.tag, []

    def tag_after_others(self, number, new):
        if self is first and {"promotion.replaced", "promotion.rolled_back"} & new.keys():
            while meanwhile:
                meanwhile.pop(0)()
        tag(self, number, new)

    monkeypatch.setattr(Registry, "tag", tag_after_others)
    meanwhile += [lambda: promotion.rollback(second, reason="second")]
    assert promotion.rollback(first, reason="first") == ("2", "1")  # both are one
    assert tags("2")["promotion.history"].count("rolled back") == 1
    meanwhile += [lambda: promotion.promote(second, "2", expected="1")]
    promotion.promote(first, "2", expected="1")
    assert tags("2")["promotion.history"].count("became the champion") == 2  # with the one at first
    assert aliases()["champion"] == "2"
    meanwhile += [
        lambda: promotion.rollback(second, reason="second"),
        lambda: promotion.promote(third, "3", expected="1"),
    ]
    with pytest.raises(promotion.ChampionChanged, match=r"another process has taken over .* champion is version 3"):
        promotion.rollback(first, reason="first")
    assert aliases()["champion"] == "3"
    assert not any("promotion.claim" in tags(number) for number in "123")


def test_who_loses_to_a_hand_that_asks_nobody_is_told(store, model, monkeypatch):
    shipped(model("a", 90))
    shipped(model("b", 95))
    point = Registry.point

    def point_and_lose(self, alias, number):
        point(self, alias, number)
        if alias == "champion":
            point(self, alias, "1")

    monkeypatch.setattr(Registry, "point", point_and_lose)
    with pytest.raises(promotion.ChampionChanged, match="to version 1 by somebody else at the same time, who has won"):
        promotion.promote(Registry("digits"), "2", expected="1", reason="x", forced=True)
    assert not any(name.startswith("promotion.") for name in tags("2"))  # it was not the champion


def test_who_repeats_a_command_completes_what_was_begun_and_nothing_else(store, model):
    shipped(model("a", 90))
    second = model("b", 80)
    shipped(second)
    registry = Registry("digits")
    registry.claim("2")  # as a promotion that was killed before its end
    words = ["promote", "digits", "--force", "--reason", "again"]
    complete = "version 2 of digits is the champion; its promotion was interrupted, and"
    assert f"{complete} would be complete; nothing was changed (--dry-run)" in run_command(*words, "--dry-run")[1]
    assert f"{complete} is complete now" in run_command(*words)[1]
    assert tags("2")["promotion.history"].splitlines()[0].endswith("became the champion (completed later): again")
    assert "promotion.claim" not in tags("2")

    registry.claim("2", target="1")  # as a rollback that was killed before its first change
    promotion.promote(registry, "2", expected="2")
    assert "promotion.claim" in tags("2")  # a promotion does not end it
    kept = shipped(second)
    assert (kept.decision, kept.promoted) == ("refuse", True)
    unfinished = "its rollback is not complete; `gan-pipelines rollback digits` completes it"
    assert f"version 2 of digits stays the champion until then: it passed, but {unfinished}" in kept.summary
    code, text = run_command(*words)
    assert (code, unfinished in text) == (1, True)
    assert run_command("rollback", "digits") == (
        0,
        "version 1 of digits is the champion again, instead of version 2\n",
    )


def test_killed_processes_leave_a_champion_and_repeating_them_completes_what_they_began(store, model):
    shipped(model("a", 90))
    shipped(model("b", 80))
    new = model("c", 60)
    judged(new)
    promotions = [order(new, change) for change in (2, 3, 5, 6, 7, 3)]
    # Each step of a rollback, and each step of one that completes what another began.
    rollbacks = [["rollback", change] for change in (1, 2, 3, 4, 1, 2, 3, 4, 5)]
    found = answers(processes([*promotions, order(new), *rollbacks, ["rollback", 0], ["rollback", 0]]))
    assert [code for code, _, _ in found] == [-9] * len(promotions) + [0] + [-9] * len(rollbacks) + [0, 0]
    states = [(state["champion"], state.get("previous"), state["challenger"]) for _, _, state in found]
    assert states == [
        ("2", "1", "2"),  # before the alias of the challenger
        ("2", "1", "3"),  # before the claim
        ("2", "1", "3"),  # before `previous`
        ("2", "2", "3"),  # before `champion`
        ("3", "2", "3"),  # before the history
        ("3", "2", "3"),  # before the end of the claim
        ("3", "2", "3"),
        *[("3", "2", "3")] * 3,  # before the claim, the tag, `champion`
        *[("2", "2", "3")] * 4,  # before `previous`; then the claim, the tag, `previous` again
        *[("2", "1", "3")] * 2,  # before the history, and the end of the claim
        ("2", "1", "3"),
        ("1", None, "3"),
    ]
    assert "version 3 of digits is the champion now" in found[len(promotions)][1]
    assert len(client_of(store).search_model_versions("name = 'digits'")) == 3
    assert [answer for _, answer, _ in found[-2:]] == ["3 to 2", "2 to 1"]
    assert not any("promotion.claim" in tags(number) for number in "123")


def test_the_champions_networks_exported_otherwise_are_a_version_that_is_judged_as_they_were(store, model):
    shipped(model("a", 90))
    same = model("b", 80)
    assert shipped(same).champion == "2"
    (same / "served.py").write_text("# newer\n")  # as an export with newer software does
    relabel(same)
    facts = storage.read_json(same / FACTS)
    own = digest(same)
    storage.write_json(same / FACTS, {**facts, "run": "another name"})
    assert digest(same) == own
    again = shipped(same)  # not better than version 2, with the same networks, but than version 1
    assert (again.version, again.champion) == ("3", "3")
    assert again.summary.startswith("version 3 of digits is the champion now, instead of version 2. PASSED 3 of 3")
    assert "The champion, version 2, has the same networks, so this model is judged as that one was." in description(
        "3"
    )
    folder = Registry("digits").download("3", same.parent / "got", files=("served.py",))
    assert (folder / "served.py").read_text() == "# newer\n"
    assert shipped(same).version == "3"
    assert aliases() == {"champion": "3", "challenger": "3", "previous": "2"}
    assert tags("3")["gate.compared_with"] == "1"

    # Networks that were replaced do not return because they were exported again.
    assert shipped(model("c", 70)).champion == "4"
    (same / "served.py").write_text("# newest\n")
    relabel(same)
    fifth = shipped(same, CONFIG.model_copy(update={"gate": GateConfig(**ABSOLUTE)}))
    assert (fifth.version, fifth.champion, fifth.decision) == ("5", "4", "refuse")
    assert "version 4 has replaced version 3, which has the same networks, so only" in fifth.summary

    # A rollback leaves the networks, and not only one export of them, and they do not return either.
    assert promotion.rollback(Registry("digits"), reason="grey") == ("4", "3")
    assert aliases()["previous"] == "1"  # not version 2
    assert promotion.rollback(Registry("digits"), reason="dark") == ("3", "1")
    again = shipped(same)
    assert (again.version, again.champion, again.decision) == ("5", "1", "refuse")
    assert "it passed, but was rolled back, so only `gan-pipelines promote` can promote it again" in again.summary
    assert "(as version 3, " in again.summary
    code, text = run_command("promote", "digits")
    assert (code, "it was rolled back, as version 3, " in text) == (1, True)


def test_a_version_that_was_deleted_ends_the_chain(store, model):
    shipped(model("a", 90))
    second = model("b", 80)
    shipped(second)
    client_of(store).delete_model_version("digits", "1")
    again = shipped(second)
    assert again.champion == "2"
    assert "there is no champion to compare with" in again.summary
    shipped(model("c", 70))
    client_of(store).delete_model_version("digits", "2")
    code, text = run_command("rollback", "digits")
    assert code == 2
    assert "there was none before it that still exists" in text
    assert "gan-pipelines promote digits --version N" in text
