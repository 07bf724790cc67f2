"""At home in a cluster: defaults of a pod, registered pipelines, runs that are followed again, and why they failed.

Against the fake KFP server, which has the API over HTTP and runs nothing.
"""

import base64
import functools
import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from fake_kfp_server import NAMESPACE, TOKEN, argo_workflow
from forward_proxy import LOGIN as PROXY_LOGIN
from forward_proxy import run_proxy

from ganlib.config import RunConfig
from ganlib.tracking.plugin import choose_server
from pipelines.command.access import make_access
from pipelines.command.main import main
from pipelines.gan_training import compile_pipeline
from pipelines.kubeflow import incluster
from pipelines.kubeflow.access import Access
from pipelines.kubeflow.config import PipelineConfig
from pipelines.kubeflow.failures import MAX_TEXT, clean, find_failures
from pipelines.kubeflow.kubernetes import Kubernetes

IMAGE = "example/gan-pipelines@sha256:" + "0" * 64
POD = "digits-x7-system-container-impl-1001"  # of the first task of the double
LOG = "I0701 step started\nerror: train_gan: the loss is nan. Received: loss=nan\nF0701 main.go:57] exit status 1\n"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command in this process, from an empty directory and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GAN_PIPELINES_IMAGE", IMAGE)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def user(kfp, monkeypatch):
    """Address and credentials as environment variables."""
    for name, value in {"HOST": kfp.url, "TOKEN": TOKEN, "NAMESPACE": NAMESPACE}.items():
        monkeypatch.setenv(f"GAN_PIPELINES_KFP_{name}", value)


@pytest.fixture(scope="module")
def compile_file(tmp_path_factory):
    """Compiles the pipeline for a platform, once for each."""

    @functools.cache
    def build(**platform):
        path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
        compile_pipeline(RunConfig(), path, image=IMAGE, platform=Kubernetes(**platform))
        return path

    return build


@pytest.fixture
def submit(call, user, compile_file):
    return functools.partial(call, "submit", "--pipeline", compile_file())


@pytest.fixture
def in_cluster(kfp, monkeypatch, tmp_path):
    """What a notebook has: the service, the namespace of its account, and a projected token."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(incluster, "SERVICE", kfp.url)
    (tmp_path / "namespace").write_text(NAMESPACE)
    monkeypatch.setattr(incluster, "NAMESPACE_FILE", tmp_path / "namespace")
    (tmp_path / "projected").write_text(TOKEN)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "projected"))
    return tmp_path


def test_a_notebook_in_the_cluster_needs_no_options(kfp, call, compile_file, in_cluster):
    result = call("submit", "--pipeline", compile_file())
    assert result.exit_code == 0
    found = (
        f"{kfp.url} (the service in the cluster), namespace team (the service account), token {in_cluster}/projected"
    )
    assert result.stderr == f"note: found {found}\n"
    assert len(kfp.runs) == 1


def test_options_variables_and_the_context_of_kfp_win_in_this_order(kfp, call, compile_file, in_cluster, monkeypatch):
    (in_cluster / "namespace").write_text("others")
    (in_cluster / "projected").write_text("wrong")
    words = ["submit", "--pipeline", compile_file()]
    denied = call(*words, "--token", TOKEN)
    assert denied.exit_code == 2
    assert "namespace: others" in denied.stderr
    context = in_cluster / ".config" / "kfp"
    context.mkdir(parents=True)
    (context / "context.json").write_text(json.dumps({"namespace": NAMESPACE}))
    monkeypatch.setattr(incluster, "SERVICE", "http://127.0.0.1:9")
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp.url)
    result = call(*words, "--token", TOKEN)
    found = f"{kfp.url} (KF_PIPELINES_ENDPOINT), namespace {NAMESPACE} (~/.config/kfp/context.json)"
    assert (result.exit_code, result.stderr) == (0, f"note: found {found}\n")
    explicit = call(*words, "--host", kfp.url, "--token", TOKEN, "--namespace", NAMESPACE)
    assert (explicit.exit_code, explicit.stderr) == (0, "")


def test_a_host_inside_is_reached_without_the_proxy(kfp, call, compile_file, in_cluster, monkeypatch):
    """The token of the pod would be readable for the proxy."""
    with run_proxy() as proxy:
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{PROXY_LOGIN}@{proxy.url}")
        assert call("submit", "--pipeline", compile_file()).exit_code == 0
        assert proxy.targets == []
        for host in (
            incluster.SERVICE,
            "http://ml-pipeline.kubeflow.svc.cluster.local:8888",
            "http://ml-pipeline:8888",
        ):
            assert Access(host=host).proxy() == (None, None)
        assert Access(host="http://kfp.example.com").proxy()[0] == f"http://{proxy.url}"


def test_the_line_after_follow_has_all_typed_options_but_secrets(kfp, call, compile_file, tmp_path):
    (tmp_path / "a token").write_text(TOKEN)
    access = ["--host", kfp.url, "--namespace", NAMESPACE]
    words = ["submit", "--pipeline", compile_file(), *access]
    found = [line for line in call(*words, "--token-file", "a token").stdout.splitlines() if "Follow" in line]
    assert found == [f"  Follow  gan-pipelines follow run-1 --host {kfp.url} --namespace team --token-file 'a token'"]
    command = shlex.split(found[0])[1:]
    assert call(*command[1:]).exit_code == 0
    shown = call(*words, "--token-command", f"echo {TOKEN}").stdout
    assert "--namespace team --token-command 'echo ...'\n" in shown
    assert TOKEN not in shown + call(*words, "--token", TOKEN).stdout


def test_a_workflow_that_argo_has_packed_says_why_it_failed(kfp, submit):
    kfp.packed, kfp.states, kfp.logs[POD] = True, [("FAILED", {"train-gan": "FAILED"})], LOG
    result = submit("--wait")
    assert result.stderr.splitlines()[0] == "error: train_gan: the loss is nan. Received: loss=nan"
    assert "train-gan" not in result.stdout  # KFP has no states of its tasks


def packed(text):
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


@pytest.mark.parametrize(
    "nodes",
    ["?", packed(b"{"), packed(b"[]"), packed(b" " * 2**16 + b"{}"), packed(b"{}")[:20], 3],
    ids=["no base64", "no JSON", "a list", "too long", "cut", "a number"],
)
def test_packed_nodes_that_are_not_understood_leave_the_state_of_the_run(kfp, submit, monkeypatch, nodes):
    monkeypatch.setattr("pipelines.kubeflow.failures.MAX_NODES", 2**16)
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    manifest = json.dumps({"status": {"compressedNodes": nodes}})
    monkeypatch.setattr(type(kfp), "runtime", lambda *_: {"pipeline_runtime": {"workflow_manifest": manifest}})
    result = submit("--wait")
    assert (result.exit_code, result.stderr) == (1, f"error: run failed: {kfp.url}/#/runs/details/run-1\n")


def test_two_first_submissions_of_one_name_share_the_pipeline(kfp, submit):
    kfp.pipelines.rival = "cats"
    assert submit("--register", "cats").exit_code == 0
    assert kfp.pipelines.names == {"pipeline-0": "cats"}
    assert kfp.runs[0]["pipeline_version_reference"]["pipeline_id"] == "pipeline-0"


@pytest.mark.parametrize("host", ["https://kfp.example.com", "http://10.0.0.7", "http://kfp.example.com:8888"])
def test_a_projected_token_goes_to_no_host_outside(in_cluster, host, capsys):
    access = make_access({"host": host})
    assert access.bearer() is None
    assert "token" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "noted"),
    [
        ("http://kfp.example.com", True),
        ("http://10.64.140.43.nip.io/pipeline", True),
        ("https://kfp.example.com", False),
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost:8080", False),
        ("http://ml-pipeline.kubeflow.svc:8888", False),
        ("http://ml-pipeline.kubeflow.svc.cluster.local:8888", False),
    ],
)
@pytest.mark.parametrize("secret", [{"token": "word"}, {"cookies": "a=word"}], ids=str)
def test_a_secret_is_not_sent_readable_without_a_word(host, noted, secret, capsys):
    make_access({"host": host, "namespace": "team", **secret})
    printed = capsys.readouterr().err
    assert printed.startswith("note: without https, others can read the token or cookies") == noted
    assert "word" not in printed


def test_a_command_can_print_the_token(kfp, call, compile_file, tmp_path):
    script = f"import pathlib; pathlib.Path('calls').open('a').write('x'); print({TOKEN!r})"
    command = shlex.join([sys.executable, "-c", script])
    words = ["--host", kfp.url, "--namespace", NAMESPACE, "--token-command", command]
    assert call("submit", "--pipeline", compile_file(), *words).exit_code == 0
    assert (tmp_path / "calls").read_text() == "x"  # not for each of three requests


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise SystemExit(3)", "error: cannot get a token: the exit code is 3. "),
        ("pass", "error: expected a command that prints a token. "),
        ("print('hidden\\nword')", "error: expected one line of printable ASCII. "),
    ],
)
def test_a_command_without_a_token_is_a_mistake_and_is_not_shown(kfp, call, compile_file, script, message):
    command = shlex.join([sys.executable, "-c", script, "hidden"])
    words = ["--host", kfp.url, "--namespace", NAMESPACE, "--token-command", command]
    result = call("submit", "--pipeline", compile_file(), *words)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert "hidden" not in result.output
    assert kfp.runs == []


def test_a_command_that_does_not_exist_is_a_mistake():
    with pytest.raises(
        ValueError, match=r"cannot get a token: No such file or directory\. Received: --token-command ab"
    ):
        Access(host="https://kfp", token_command="absent-command --secret").bearer()


def test_the_same_content_is_one_version_and_its_runs_refer_to_it(kfp, submit, call, user, compile_file):
    file = compile_file(spot=True)
    first = call("submit", "--pipeline", file, "--register")
    again = call("submit", "--pipeline", file, "--register", "--json")
    other = call("submit", "--pipeline", file, "--register", "digits", "--no-cache")
    assert [result.exit_code for result in (first, again, other)] == [0, 0, 0]
    assert list(kfp.pipelines.names.values()) == ["gan-training", "digits"]
    names = [version["name"] for version in kfp.pipelines.versions]
    assert len(set(names)) == 2
    assert f"  Version gan-training, {names[0]}" in first.stdout.splitlines()
    references = [run["pipeline_version_reference"] for run in kfp.runs]
    assert references[0] == references[1] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "version-0"}
    assert references[2] == {"pipeline_id": "pipeline-1", "pipeline_version_id": "version-1"}
    assert all("pipeline_spec" not in run for run in kfp.runs)
    body = kfp.pipelines.versions[0]["body"]
    assert [body["pipeline_spec"], body["platform_spec"]] == list(yaml.safe_load_all(file.read_text()))
    printed = json.loads(again.stdout.splitlines()[-1])
    assert (printed["version"], printed["pipeline_version_id"]) == (names[0], "version-0")


def test_a_dry_run_registers_nothing(kfp, submit):
    result = submit("--register", "--dry-run")
    assert result.exit_code == 0
    assert kfp.requests == 0
    assert "# pipeline: gan-training, version sha256-" in result.stdout
    request = yaml.safe_load(result.stdout)
    assert request["pipeline_version_reference"] == {"pipeline_id": "...", "pipeline_version_id": "..."}


def test_a_schedule_of_a_config_leaves_all_defaults_to_newer_versions(kfp, call, user):
    assert call("submit", "--register", "--cron", "0 3 * * *", "--latest").exit_code == 0
    assert kfp.schedules[0]["runtime_config"]["parameters"] == {}


def test_a_schedule_can_follow_the_newest_version(kfp, submit):
    words = ["--register", "--cron", "0 3 * * *"]
    assert submit(*words).exit_code == 0
    assert submit(*words, "--latest", "--set", "training.steps=5").exit_code == 0
    pinned, following = kfp.schedules
    assert pinned["pipeline_version_reference"] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "version-0"}
    assert following["pipeline_version_reference"] == {"pipeline_id": "pipeline-0"}
    parameters = following["runtime_config"]["parameters"]
    assert list(parameters) == ["training"]  # a newer version has its own defaults for the others
    assert parameters["training"]["steps"] == 5
    assert submit("--register", "--no-cache").exit_code == 0
    older = submit(*words, "--latest")
    names = [version["name"] for version in kfp.pipelines.versions]
    note = f"note: the newest version of gan-training is {names[1]}, and not this one, {names[0]}"
    assert note in older.stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latest"], "--latest needs --cron and --register. "),
        (["--latest", "--cron", "0 3 * * *"], "--latest needs --cron and --register. "),
        (["--register", "My Pipeline"], "expected a name of at most 63 lowercase letters, digits and -. "),
        (["--check", "--wait"], "--check submits nothing. "),
        (["--check", "--dry-run"], "--check submits nothing. "),
    ],
    ids=" ".join,
)
def test_options_that_do_not_fit_are_refused(kfp, submit, words, message):
    result = submit(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {message}")
    assert kfp.requests == 0


@pytest.mark.parametrize("register", [[], ["--register"]], ids=["inline", "registered"])
def test_a_run_is_followed_again_with_the_same_output_and_exit_code(kfp, submit, call, register):
    started = submit("--name", "mine", *register)
    command = next(line for line in started.stdout.splitlines() if line.startswith("  Follow  gan-pipelines "))
    words = command.split()[2:]
    assert words == ["follow", "run-1"]
    kfp.states = [
        ("RUNNING", {}),  # seen when the command asks for the name of the run
        ("RUNNING", {"for-loop-1": "RUNNING", "train-gan": "RUNNING"}),
        ("SUCCEEDED", {"train-gan": "SUCCEEDED"}),
    ]
    result = call(*words, "--poll", "0.1", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    *lines, last = result.stdout.splitlines()
    url = f"{kfp.url}/#/runs/details/run-1"
    assert lines[:2] == ["mine: followed", f"  KFP     {url}"]
    assert [line.split()[1:] for line in lines[2:-1]] == [["train-gan", "running"], ["train-gan", "succeeded"]]
    assert lines[-1] == "mine: succeeded"
    assert json.loads(last) == {"run": "mine", "status": "succeeded", "run_id": "run-1", "url": url}
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    assert call(*words).exit_code == 1
    assert call("follow", "run-9").exit_code == 2


def test_the_check_creates_nothing_and_says_what_it_cannot_know(kfp, call, user):
    result = call("submit", "--check", "--set", "platform.backend=2.15")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"  server       ok       {kfp.url} answers for several users",
        "  version      ok       KFP 2.16.1, and platform.backend=2.15; platform.backend=2.16 is possible",
        "  credentials  ok       accepted, and runs can be seen with namespace team",
        "  experiment   ok       gan-pipelines would be created",
        "  may create   unknown  KFP's API cannot be asked without creating something",
    ]
    assert (kfp.runs, kfp.experiments, kfp.pipelines.names) == ([], {}, {})


@pytest.mark.parametrize(
    ("words", "code", "verdicts", "text"),
    [
        (["--token", "wrong"], 2, "ok ok failed", "the token has expired"),
        (["--namespace", "others"], 2, "ok ok failed", "permission denied, expected another --namespace"),
        (["--host", "http://127.0.0.1:9"], 1, "failed", "cannot be reached: Connection refused"),
        (["--host", "URL/kfp"], 2, "failed", "no KFP at this address"),
        (
            ["--set", "platform.backend=2.17"],
            2,
            "ok failed ok ok unknown",
            "KFP 2.16.1 is older than platform.backend=",
        ),
        (["--experiment", "old"], 2, "ok ok ok failed", "this experiment is archived"),
    ],
    ids=str,
)
@pytest.mark.parametrize("page", [False, True], ids=["api server", "page"])
def test_each_failed_check_is_a_line_and_an_exit_code(kfp, call, user, words, code, verdicts, text, page):
    kfp.page = page
    call("submit", "--experiment", "old")
    kfp.archive("exp-0")
    result = call("submit", "--check", *(word.replace("URL", kfp.url) for word in words), "--json")
    assert result.exit_code == code
    printed = json.loads(result.stdout.splitlines()[-1])
    assert [check["verdict"] for check in printed["checks"]] == verdicts.split()
    assert text in next(check["text"] for check in printed["checks"] if check["verdict"] == "failed")
    assert result.stderr.startswith("error: not ready for a run: ")
    assert len(kfp.runs) == 1


@pytest.mark.parametrize("page", [False, True], ids=["api server", "page"])
def test_a_failed_run_says_the_steps_own_line_and_the_place_of_its_log(kfp, submit, page):
    kfp.page = page
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.logs[POD] = LOG
    result = submit("--wait")
    assert result.exit_code == 1
    place = f"/k8s/pod/logs?podname={POD}&runid=run-1&podnamespace=team&createdat=2026-07-01"
    place = place if page else f"/apis/v1alpha1/runs/run-1/nodes/{POD}/log"
    assert result.stderr.splitlines() == [
        "error: train_gan: the loss is nan. Received: loss=nan",
        f"error: log of train-gan: {kfp.url}{place}",
        f"error: run failed: {kfp.url}/#/runs/details/run-1",
    ]


@pytest.mark.parametrize("page", [False, True], ids=["api server", "page"])
def test_without_a_log_the_reason_and_argos_message_are_said(kfp, submit, page):
    kfp.page = page
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.errors["train-gan"] = "OOMKilled (exit code 137)"
    first, second, _ = submit("--wait").stderr.splitlines()
    assert first == "error: train-gan: OOMKilled (exit code 137)"
    reason = "/apis/v1alpha1/runs/run-1" if page else "BadRequestError: Failed to read logs for run run-1: pods "
    assert second.startswith(f"error: the log of train-gan cannot be read: {reason}")
    assert second.endswith(f"(pod {POD})")


def test_a_log_without_a_line_of_the_step_leaves_argos_message(kfp, submit):
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.errors["train-gan"] = "OOMKilled (exit code 137)"
    kfp.logs[POD] = "step 1\nstep 2\n"
    first, second, _ = submit("--wait").stderr.splitlines()
    assert first == "error: train-gan: OOMKilled (exit code 137)"
    assert second.startswith("error: log of train-gan: ")


def test_parts_of_a_loop_are_one_line_with_their_count(kfp, call, user):
    states = ["SUCCEEDED", "FAILED", "FAILED"]
    kfp.states = [("FAILED", {"prepare-part": states, "train-gan": "OMITTED"})]
    kfp.logs["digits-x7-system-container-impl-1003"] = "error: prepare_part: the disk is full\n"
    result = call("submit", "--set", "data.shards=3", "--wait")
    assert result.stderr.splitlines()[0] == "error: prepare_part: the disk is full (the first of 2 tasks that failed)"


def test_text_of_the_cluster_is_one_short_printable_line_without_passwords(kfp, submit):
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    evil = "\x1b[2J\x1b]0;title\x07\u202eerror\x00: http://me:secret-word@host/ " + "x" * 2000
    kfp.logs[POD] = f"\x1b[31merror: train_gan: {evil}\n"
    result = submit("--wait")
    first = result.stderr.splitlines()[0]
    assert first.startswith("error: train_gan: ")
    assert first.isprintable()
    assert len(first) <= len("error: ") + MAX_TEXT
    assert "secret-word" not in result.output
    assert "title" not in first


def test_a_long_log_is_read_to_its_end_and_a_longer_one_is_not(kfp, submit, monkeypatch):
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.logs[POD] = "step\n" * 300_000 + LOG
    assert submit("--wait").stderr.startswith("error: train_gan: the loss is nan")
    monkeypatch.setattr("pipelines.kubeflow.server.MAX_BYTES", 2**20)
    assert "the log of train-gan cannot be read: it is longer than 1 MB" in submit("--wait").stderr


def test_a_cached_artifact_without_files_says_what_to_do(kfp, submit, tmp_path):
    """The step's real words, from a real process."""
    script = (
        "import sys, types; from pathlib import Path; from ganlib import files, steps\n"
        "with steps.step('train_gan', types.SimpleNamespace(metadata={})):\n"
        "    files.read_json(Path(sys.argv[1]) / 'manifest.json')\n"
    )
    step = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False)
    assert step.returncode == 2
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.logs[POD] = f"{step.stdout}{step.stderr}F0701 main.go:57] exit status 2\n"
    first = submit("--wait").stderr.splitlines()[0]
    assert first.startswith("error: train_gan: ")
    assert "--no-cache" in first


def node(name, phase, *, kind="Pod", start=0, template="system-container-impl", message=None):
    time = f"2026-07-01T10:00:{start:02}Z"
    return {"id": f"wf-{abs(hash(name))}", "name": name, "type": kind, "phase": phase, "templateName": template} | {
        "startedAt": time,
        "finishedAt": time,
        **({"message": message} if message else {}),
    }


def workflow(*nodes, **metadata):
    return {"metadata": {"name": "wf", **metadata}, "status": {"nodes": {item["id"]: item for item in nodes}}}


def test_only_the_last_attempt_of_a_step_counts_and_none_if_it_recovered():
    """Retries of KFP are below a node `executor`; since 2.17 Argo also retries every node by default."""
    failed = find_failures(
        workflow(
            node("wf.root.a(0).executor(0)", "Failed", start=1, message="first"),
            node("wf.root.a(0).executor(1)", "Failed", start=2, message="second"),
            node("wf.root.b.executor", "Succeeded", kind="Retry"),
            node("wf.root.b.executor(0)", "Error", start=3),
            node("wf.root.c", "Succeeded", kind="Retry"),
            node("wf.root.c(0).executor", "Failed", start=4),
            node("wf.root.d-driver", "Error", start=0, template="system-container-driver", message="no access"),
        )
    )
    assert [(failure.step, failure.message, failure.count) for failure in failed] == [
        ("d-driver", "no access", 1),
        ("a", "second", 1),
    ]


def test_a_pod_has_the_name_that_argo_gave_it():
    one = node("wf.root.a.executor", "Failed", template="retry-system-container-impl")
    [failure] = find_failures(workflow(one))
    assert failure.pod == f"wf-retry-system-container-impl-{one['id'].removeprefix('wf-')}"
    [failure] = find_failures(workflow(one, annotations={"workflows.argoproj.io/pod-name-format": "v1"}))
    assert failure.pod == one["id"]


@pytest.mark.parametrize("manifest", ["", "[]", "{", '{"status": {"nodes": {"a": {}}}}', '{"status": 3}'])
def test_a_workflow_that_is_not_understood_leaves_the_state_of_the_run(kfp, submit, monkeypatch, manifest):
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    monkeypatch.setattr(type(kfp), "runtime", lambda *_: {"pipeline_runtime": {"workflow_manifest": manifest}})
    result = submit("--wait")
    assert (result.exit_code, result.stderr) == (1, f"error: run failed: {kfp.url}/#/runs/details/run-1\n")


def test_a_reason_that_cannot_be_asked_for_hides_no_failure(kfp, submit):
    kfp.states = [("FAILED", {"train-gan": "FAILED"})]
    kfp.faults = [None, None, None, None, 503]
    result = submit("--wait")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the reason cannot be read: the KFP server at ")
    assert result.stderr.splitlines()[-1] == f"error: run failed: {kfp.url}/#/runs/details/run-1"


def test_clean_keeps_letters_of_all_alphabets():
    assert clean("Größe 图像\tpx\x1b[0m") == "Größe 图像 px"


PLUGIN_ON, OWN = {"backend": "2.17"}, {"backend": "2.17", "mlflow_tracking_uri": "http://mlflow:5000"}


@pytest.mark.parametrize(
    ("platform", "sent"),
    [
        (PLUGIN_ON, None),
        ({**PLUGIN_ON, "mlflow_experiment": "cats"}, {"mlflow": {"experiment_name": "cats"}}),
        ({**PLUGIN_ON, "mlflow_plugin": False}, {"mlflow": {"disabled": True}}),
        (OWN, {"mlflow": {"disabled": True}}),
        ({"backend": "2.16", "mlflow_tracking_uri": "http://mlflow:5000"}, None),
    ],
    ids=str,
)
def test_the_plugin_is_told_the_experiment_or_that_it_is_not_wanted(kfp, call, user, compile_file, platform, sent):
    kfp.version, kfp.plugin = (platform["backend"] + ".0", "KFP-Default")
    kfp.plugin = None if kfp.version < "2.17" else kfp.plugin
    file = compile_file(**platform)
    result = call("submit", "--pipeline", file)
    assert result.exit_code == 0
    assert kfp.runs[0].get("plugins_input") == sent
    if "mlflow_tracking_uri" in platform:
        line = "  MLflow  http://mlflow:5000 (experiment gan-pipelines)"
    elif platform.get("mlflow_plugin") is False:
        line = None
    else:
        experiment = platform.get("mlflow_experiment", "KFP-Default")
        line = f"  MLflow  http://mlflow.kubeflow/#/experiments/1/runs/2?workspace=team (experiment {experiment})"
    assert [text for text in result.stdout.splitlines() if "MLflow" in text] == ([line] if line else [])


def test_a_plugin_that_fails_is_said(kfp, call, user, compile_file):
    kfp.version, kfp.plugin, kfp.plugin_problem = "2.17.0", "KFP-Default", "cannot reach \x1b[31mMLflow"
    result = call("submit", "--pipeline", compile_file(**PLUGIN_ON))
    assert result.stderr == "note: KFP's MLflow plugin does not record this run: cannot reach MLflow\n"
    assert "MLflow  " not in result.stdout


def test_only_a_schedule_that_follows_the_newest_version_has_input_for_plugins(kfp, call, user, compile_file):
    """The server would drop the parameters of another (NewGenericScheduledWorkflow), for which no hooks run."""
    kfp.version = "2.17.0"
    words = ["submit", "--pipeline", compile_file(**OWN), "--cron", "0 3 * * *"]
    for more in ([], ["--register"], ["--register", "--latest"]):
        assert call(*words, *more).exit_code == 0
    inputs = [schedule.get("plugins_input") for schedule in kfp.schedules]
    assert inputs == [None, None, {"mlflow": {"disabled": True}}]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlflow_plugin": True}, r"mlflow_plugin needs backend=2\.17 or newer"),
        ({**OWN, "mlflow_plugin": True}, r"expected mlflow_plugin=true or mlflow_tracking_uri"),
        ({"backend": "2.17", "mlflow_secret": "m"}, r"mlflow_secret needs mlflow_tracking_uri"),
    ],
    ids=str,
)
def test_settings_that_would_record_a_run_twice_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PipelineConfig.model_validate({"platform": {"kind": "kubernetes", **settings}})


INJECTED = {
    "KFP_MLFLOW_CONFIG": '{"endpoint": "http://theirs"}',
    "MLFLOW_TRACKING_URI": "http://theirs",
    "MLFLOW_RUN_ID": "their-run",
    "MLFLOW_EXPERIMENT_ID": "1",
    "MLFLOW_WORKSPACE": "team",
    "MLFLOW_TRACKING_AUTH": "kubernetes",
    "MLFLOW_TRACKING_TOKEN": "their-token",
}
MINE = {
    "GAN_PIPELINES_MLFLOW_TRACKING_URI": "http://mine",
    "GAN_PIPELINES_MLFLOW_TRACKING_USERNAME": "me",
    "GAN_PIPELINES_MLFLOW_TRACKING_PASSWORD": "my-word",
}
LOGIN = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "my-word"}
WITHOUT_ADDRESS = {name: INJECTED[name] for name in ("KFP_MLFLOW_CONFIG", "MLFLOW_TRACKING_TOKEN")}
THEIRS = {name: value for name, value in INJECTED.items() if name.startswith("MLFLOW_")}


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        (MINE, {"MLFLOW_TRACKING_URI": "http://mine", **LOGIN}, False),
        ({**MINE, **INJECTED}, {"MLFLOW_TRACKING_URI": "http://mine", **LOGIN}, True),
        (INJECTED, THEIRS, False),
        ({**INJECTED, "GAN_PIPELINES_MLFLOW_PLUGIN": "on"}, THEIRS, False),
        ({**INJECTED, "GAN_PIPELINES_MLFLOW_PLUGIN": "off"}, {}, True),
        # a secret without a server of its own, on a server that is newer than platform.backend
        ({**INJECTED, "GAN_PIPELINES_MLFLOW_TRACKING_PASSWORD": "my-word"}, THEIRS, False),
        # the image names the server
        (
            {"MLFLOW_TRACKING_URI": "http://image", **dict(list(MINE.items())[1:])},
            {"MLFLOW_TRACKING_URI": "http://image", **LOGIN},
            False,
        ),
        # it does so beside a plugin that injects no address, and the run is the user's
        (
            {**WITHOUT_ADDRESS, "MLFLOW_TRACKING_URI": "http://image", "MLFLOW_RUN_ID": "my-run"},
            {"MLFLOW_TRACKING_URI": "http://image", "MLFLOW_RUN_ID": "my-run"},
            True,
        ),
        (
            {**WITHOUT_ADDRESS, "MLFLOW_TRACKING_URI": "http://image", **dict(list(MINE.items())[1:])},
            {"MLFLOW_TRACKING_URI": "http://image", **LOGIN},
            True,
        ),
        (
            {**WITHOUT_ADDRESS, "MLFLOW_TRACKING_URI": "http://theirs/"},
            {"MLFLOW_TRACKING_URI": "http://theirs/", "MLFLOW_TRACKING_TOKEN": "their-token"},
            False,
        ),
        ({"MLFLOW_TRACKING_TOKEN": "token\n"}, {"MLFLOW_TRACKING_TOKEN": "token"}, False),
        (
            {**MINE, "GAN_PIPELINES_MLFLOW_TRACKING_PASSWORD": "my-word\r\n"},
            {"MLFLOW_TRACKING_URI": "http://mine", **LOGIN},
            False,
        ),
        ({}, {}, False),
    ],
    ids=[
        "mine",
        "both",
        "theirs",
        "on",
        "off",
        "secret-alone",
        "image",
        "image-both",
        "image-login",
        "same-server",
        "line",
        "crlf",
        "none",
    ],
)
def test_credentials_go_to_the_server_that_they_belong_to(given, expected, said, monkeypatch, capsys):
    """The variables of the plugin: RetrieveUserContainerEnvVars in backend/src/v2/common/plugins/mlflow/handler.go."""
    for name in {*INJECTED, *MINE, *LOGIN, "GAN_PIPELINES_MLFLOW_PLUGIN"}:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in LOGIN:  # so that what is set below is undone
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    choose_server()
    assert {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")} == expected
    printed = capsys.readouterr().out
    assert ("tracking: KFP's MLflow plugin records this run, too" in printed) == said
    dropped = "MLFLOW_TRACKING_TOKEN" in given and expected.get("MLFLOW_TRACKING_URI") == "http://image"
    assert printed.startswith("tracking: MLFLOW_TRACKING_TOKEN may be of KFP's MLflow plugin and not of ") == dropped


def test_the_doubles_workflow_is_read_like_a_real_one():
    [failure] = find_failures(argo_workflow({"train-gan": "FAILED", "export-model": "OMITTED"}, {}))
    assert (failure.step, failure.pod) == ("train-gan", POD)


def test_the_documentation_of_the_check_and_of_a_failure_holds(kfp, call, user, tmp_path):
    """Except for times, the address, and the hash in the name of the run."""
    text = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    (tmp_path / "cluster.yaml").write_text(text.partition("```yaml\n# cluster.yaml\n")[2].partition("```")[0])
    kfp.page = True

    def masked(lines):
        plain = [re.sub(r"^digits-\w{6}", "digits-HASH", line) for line in lines]
        return [re.sub(r"^( *)\d\d:\d\d:\d\d", r"\g<1>TIME", line) for line in plain]

    def shown(command):
        return masked(text.partition(f"$ {command}\n")[2].partition("```")[0].splitlines())

    def printed(command):
        result = call(*command.split()[1:])
        return masked((result.stdout + result.stderr).replace(kfp.url, "https://$KUBEFLOW/pipeline").splitlines())

    check, again = "gan-pipelines submit --check --config cluster.yaml", "gan-pipelines follow run-1"
    assert printed(check) == shown(check)
    call("submit", "--preset", "digits", "--config", "cluster.yaml")
    kfp.states = [("FAILED", {"prepare-data": "SUCCEEDED", "train-gan": "FAILED"})]
    message = "error: train_gan: the loss is not finite in steps [40, 60]. Received: loss=nan\n"
    kfp.logs["digits-x7-system-container-impl-1003"] = message
    assert printed(again) == shown(again)
