"""Submission to a fake KFP server, which has the API over HTTP and runs nothing."""

import functools
import ipaddress
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kfp_server_api as api
import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fake_kfp_server import COOKIE, NAMESPACE, TOKEN, run_server
from forward_proxy import LOGIN, NAME, run_proxy

from ganlib.config import RunConfig
from pipelines.command.main import main
from pipelines.gan_training import compile_pipeline
from pipelines.kubeflow import submission
from pipelines.kubeflow.access import Access
from pipelines.kubeflow.config import PipelineConfig
from pipelines.kubeflow.kubernetes import Kubernetes

IMAGE = "example/gan-pipelines@sha256:" + "0" * 64
OTHERS = """
components:
  comp-print:
    executorLabel: exec-print
    inputDefinitions: {parameters: {text: {parameterType: STRING}}}
deploymentSpec: {executors: {exec-print: {container: {image: python, command: [echo]}}}}
pipelineInfo: {name: somebody-elses}
root:
  dag:
    tasks:
      print:
        componentRef: {name: comp-print}
        taskInfo: {name: print}
        inputs: {parameters: {text: {componentInputParameter: text}}}
  inputDefinitions:
    parameters:
      text: {parameterType: STRING}
      count: {parameterType: NUMBER_INTEGER, defaultValue: 1.0}
      share: {parameterType: NUMBER_DOUBLE, isOptional: true}
      names: {parameterType: LIST, isOptional: true}
      loud: {parameterType: BOOLEAN, isOptional: true}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs `submit` in this process, from an empty directory and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GAN_PIPELINES_IMAGE", IMAGE)
    return lambda *words: CliRunner().invoke(main, ["submit", *words])


@pytest.fixture
def submit(kfp, call):
    """The same as a user of the server."""
    return functools.partial(call, "--host", kfp.url, "--token", TOKEN, "--namespace", NAMESPACE)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The pipeline of this project, compiled once."""
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(RunConfig(), path, image=IMAGE)
    return path


@pytest.fixture
def self_signed(tmp_path):
    """A file with a certificate for this machine, signed by nobody else, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kfp")])
    now, here = datetime.now(UTC), [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName(NAME)]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(here), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "server.pem").write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    return tmp_path / "server.pem"


@pytest.fixture
def resubmit(submit, compiled):
    """The same with the compiled file, which is faster than compiling."""
    return functools.partial(submit, "--pipeline", str(compiled))


@pytest.fixture
def refused(kfp, submit, tmp_path):
    """Submits what must be refused before a request is sent."""

    def fail(*words):
        result = submit(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert isinstance(result.exception, SystemExit)
        assert kfp.requests == 0
        return result.stderr.splitlines()

    return fail


@pytest.fixture
def others(tmp_path):
    (tmp_path / "others.yaml").write_text(OTHERS)
    return "--pipeline", "others.yaml"


def test_a_run_is_submitted_with_the_config_as_its_arguments(kfp, submit, tmp_path):
    result = submit("--set", "training.steps=7", "--set", "platform.mlflow_tracking_uri=http://mlflow:5000", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    [run] = kfp.runs
    sections = {name.removesuffix("_settings"): value for name, value in run["runtime_config"]["parameters"].items()}
    assert RunConfig.model_validate(sections).training.steps == 7
    assert kfp.experiments[run["experiment_id"]].display_name == "gan-pipelines"
    assert "service_account" not in run
    assert "pipeline_root" not in run["runtime_config"]
    *lines, last = result.stdout.splitlines()
    url = f"{kfp.url}/#/runs/details/run-1"
    assert lines == [
        f"{run['display_name']}: submitted",
        f"  KFP     {url}",
        "  MLflow  http://mlflow:5000 (experiment gan-pipelines)",
        f"  Follow  gan-pipelines follow run-1 --host {kfp.url} --namespace {NAMESPACE}",
    ]
    assert json.loads(last) == {
        "run": run["display_name"],
        "status": "submitted",
        "run_id": "run-1",
        "url": url,
        "mlflow_tracking_uri": "http://mlflow:5000",
    }
    assert list(tmp_path.iterdir()) == []  # nothing in the user's home


def test_everything_that_the_command_line_says_can_come_from_the_environment(kfp, call, monkeypatch, tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    values = {
        "HOST": kfp.url,
        "NAMESPACE": NAMESPACE,
        "TOKEN_FILE": str(tmp_path / "token"),
        "SERVICE_ACCOUNT": "trainer",
        "EXPERIMENT": "digits",
        "RUN_NAME": "mine",
        "PIPELINE_ROOT": "gs://bucket/root",
        "CACHE": "false",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"GAN_PIPELINES_KFP_{name}", value)
    assert call().exit_code == 0
    [run] = kfp.runs
    assert kfp.experiments[run["experiment_id"]].display_name == "digits"
    assert (run["service_account"], run["display_name"]) == ("trainer", "mine")
    assert run["runtime_config"]["pipeline_root"] == "gs://bucket/root"
    tasks = run["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert [task["cachingOptions"] for task in tasks] == [{}] * len(tasks)


def test_an_experiment_is_made_once(kfp, resubmit):
    assert [resubmit("--experiment", name).exit_code for name in ("a", "b", "a")] == [0, 0, 0]
    assert len(kfp.experiments) == 2
    assert [run["experiment_id"] for run in kfp.runs] == ["exp-0", "exp-1", "exp-0"]


def test_an_archived_experiment_takes_no_run_unless_another_of_its_name_is_there(kfp, resubmit):
    assert resubmit("--experiment", "a").exit_code == 0
    kfp.archive("exp-0")
    result = resubmit("--experiment", "a")
    message = "error: this experiment is archived: restore it or use another. Received: --experiment a\n"
    assert (result.exit_code, result.stderr) == (2, message)
    assert len(kfp.runs) == 1
    kfp.experiments["exp-1"] = api.V2beta1Experiment(experiment_id="exp-1", display_name="a", storage_state="AVAILABLE")
    assert resubmit("--experiment", "a").exit_code == 0
    assert kfp.runs[-1]["experiment_id"] == "exp-1"


def test_settings_of_pods_are_sent_beside_the_pipeline(kfp, submit):
    assert submit("--set", "platform.spot=true", "--set", "platform.shared_memory=2Gi").exit_code == 0
    [run] = kfp.runs
    assert run["pipeline_spec"].keys() == {"pipeline_spec", "platform_spec"}
    executors = run["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(executors) == 6


def test_a_session_of_the_browser_will_do_for_a_token(kfp, call):
    assert call("--host", kfp.url, "--cookies", COOKIE, "--namespace", NAMESPACE).exit_code == 0


def test_a_cron_line_means_what_it_means_elsewhere(kfp, resubmit):
    result = resubmit("--cron", "30 3 * * 1", "--json")
    assert result.exit_code == 0
    [schedule] = kfp.schedules
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 30 3 * * 1"}}
    assert (schedule["no_catchup"], schedule["max_concurrency"], kfp.runs) == (True, "1", [])
    printed = json.loads(result.stdout.splitlines()[-1])
    assert (printed["status"], printed["cron"]) == ("scheduled", "0 30 3 * * 1")
    assert printed["url"] == f"{kfp.url}/#/recurringrun/details/schedule-1"


@pytest.mark.parametrize(("words", "cached"), [([], True), (["--cache"], True), (["--no-cache"], False)])
def test_each_run_of_a_schedule_looks_for_new_images(kfp, resubmit, words, cached):
    result = resubmit("--cron", "30 3 * * 1", *words)
    assert ("note: while images and settings stay the same" in result.stderr) == (not words)
    tasks = scheduled_tasks(kfp)
    assert tasks.pop("check-inputs")["cachingOptions"] == {}
    assert {task["cachingOptions"].get("enableCache", False) for task in tasks.values()} == {cached}


def scheduled_tasks(kfp):
    [schedule] = kfp.schedules
    spec = schedule["pipeline_spec"]
    return dict(spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"])


@pytest.mark.parametrize(("words", "cached"), [([], False), (["--cache"], True)])
def test_a_pipeline_that_does_not_look_for_new_images_is_scheduled_without_the_cache(
    kfp, submit, others, words, cached
):
    """KFP's keys of the cache know the settings and not the images."""
    result = submit(*others, "--argument", "text=a", "--cron", "30 3 * * 1", *words)
    assert result.exit_code == 0, result.output
    assert ("note: without KFP's cache" in result.stderr) == (not words)
    assert scheduled_tasks(kfp)["print"]["cachingOptions"].get("enableCache", False) == cached


STATES = [
    ("PENDING", {}),
    ("RUNNING", {"prepare-data": "RUNNING"}),
    ("RUNNING", {"prepare-data": "SUCCEEDED", "measure-reference": "SKIPPED", "train-gan": "RUNNING"}),
]


def test_a_run_is_followed_with_its_steps_to_its_success(kfp, resubmit):
    kfp.states = [*STATES, ("SUCCEEDED", {"train-gan": "SUCCEEDED"})]
    result = resubmit("--wait", "--poll", "0.1", "--name", "mine")
    assert (result.exit_code, result.stderr) == (0, "")
    reported = [line.split()[1:] for line in result.stdout.splitlines() if line.startswith("  ") and ":" in line[:6]]
    assert reported == [
        ["prepare-data", "running"],
        ["prepare-data", "succeeded"],
        ["measure-reference", "skipped"],
        ["train-gan", "running"],
        ["train-gan", "succeeded"],
    ]
    assert result.stdout.splitlines()[-1] == "mine: succeeded"


def test_tasks_of_one_name_are_counted_and_each_change_is_reported_once(kfp, submit, in_parts):
    """Parts of a loop, and the attempts of a step; the server tells of all of them at every look."""
    kfp.states = [
        ("RUNNING", {"for-loop-2": "RUNNING", "prepare-part": ["RUNNING"]}),
        ("RUNNING", {"for-loop-2": "RUNNING", "prepare-part": ["SUCCEEDED", *["RUNNING"] * 3]}),
        ("RUNNING", {"for-loop-2": "RUNNING", "prepare-part": ["SUCCEEDED", *["RUNNING"] * 3]}),
        ("RUNNING", {"for-loop-2": "SUCCEEDED", "prepare-part": ["SUCCEEDED"] * 4, "train-gan": ["FAILED"]}),
        ("RUNNING", {"train-gan": ["FAILED", "RUNNING"]}),
        ("RUNNING", {"train-gan": ["FAILED", "RUNNING"]}),
        ("SUCCEEDED", {"train-gan": ["FAILED", "SUCCEEDED"]}),
    ]
    result = submit("--pipeline", str(in_parts), "--wait", "--poll", "0.1")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line.split(maxsplit=2)[1:] for line in result.stdout.splitlines() if line[4:5] == ":"]
    assert lines == [
        ["prepare-part", "running"],
        ["prepare-part", "3 running, 1 succeeded"],
        ["prepare-part", "4 succeeded"],
        ["train-gan", "failed"],
        ["train-gan", "1 failed, 1 running"],
        ["train-gan", "1 failed, 1 succeeded"],
    ]


@pytest.mark.parametrize("state", ["FAILED", "CANCELED", "SKIPPED"])
def test_a_run_that_ends_otherwise_ends_the_command_with_a_failure(kfp, resubmit, state):
    kfp.states = [*STATES, ("CANCELING", {}), (state, {"train-gan": state})]
    result = resubmit("--wait", "--poll", "0.1", "--json")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[-1] == f"error: run {state.lower()}: {kfp.url}/#/runs/details/run-1"
    reason = 'pods "digits-x7-system-container-impl-1001" not found (pod digits-x7-system-container-impl-1001)'
    assert lines[:-1] == (
        [
            "error: train-gan: Error (exit code 1)",
            f"error: the log of train-gan cannot be read: BadRequestError: Failed to read logs for run run-1: {reason}",
        ]
        if state == "FAILED"
        else []
    )
    printed = json.loads(result.stdout.splitlines()[-1])
    assert (printed["status"], printed["run_id"]) == (state.lower(), "run-1")


def test_a_short_outage_of_the_server_does_not_end_the_command(kfp, resubmit, monkeypatch):
    monkeypatch.setattr(submission, "FIRST_PAUSE", 0.01)
    kfp.states = [*STATES, ("SUCCEEDED", {})]
    kfp.faults = [None, None, None, None, 503, "reset", 429, 502, None, 500]
    result = resubmit("--wait", "--poll", "0.1")
    assert result.exit_code == 0
    assert kfp.faults == []
    reported = [line.split(maxsplit=2)[2] for line in result.stdout.splitlines() if line.split()[1:2] == ["server"]]
    assert reported == [
        f"unavailable: the KFP server at {kfp.url} fails ({code}): upstream connect error" for code in (503, 500)
    ]


def test_a_long_outage_of_the_server_ends_the_command(kfp, resubmit, monkeypatch):
    monkeypatch.setattr(submission, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(submission, "MAX_OUTAGE", 0.1)
    kfp.faults = [None, None, None, *[503] * 20]
    result = resubmit("--wait", "--poll", "0.1")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"error: the KFP server at {kfp.url} fails (503): upstream connect error",
        f"error: the run may continue: {kfp.url}/#/runs/details/run-1",
        f"error: follow it with: gan-pipelines follow run-1 --host {kfp.url} --namespace {NAMESPACE}",
    ]


def test_a_token_that_expires_during_the_run_ends_the_command(kfp, resubmit):
    kfp.faults = [None, None, None, 401]
    result = resubmit("--wait", "--poll", "0.1")
    assert result.exit_code == 1
    assert "the token has expired" in result.stderr
    assert result.stderr.splitlines()[-2].startswith("error: the run may continue: ")


def test_a_run_that_is_gone_is_reported_and_not_taken_for_a_wrong_address(kfp, resubmit):
    kfp.faults = [None, None, None, 404]
    result = resubmit("--wait", "--poll", "0.1")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not found on the KFP server: ")


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_an_interrupted_command_says_that_the_run_continues(kfp, tmp_path, end):
    kfp.states = STATES
    words = ["submit", "--host", kfp.url, "--token", TOKEN, "--namespace", NAMESPACE, "--image", IMAGE, "--wait"]
    command = [sys.executable, "-m", "pipelines", *words, "--poll", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while kfp.polls < 3:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(end)
        _, message = process.communicate(timeout=30)
    assert process.returncode == 1
    assert message.splitlines() == [
        f"error: interrupted; the run continues: {kfp.url}/#/runs/details/run-1",
        f"error: follow it with: gan-pipelines follow run-1 --host {kfp.url} --namespace {NAMESPACE}",
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--token", "wrong"], 2, "URL does not accept the credentials, or the token has expired: expected --token, "),
        (
            ["--namespace", "others"],
            2,
            "permission denied, expected another --namespace or permissions in it: User ",
        ),
        (
            ["--host", "URL/kfp"],
            2,
            "no KFP at this address (in Kubeflow it ends in /pipeline). Received: ",
        ),
        (
            ["--host", "http://127.0.0.1:9"],
            1,
            "the KFP server at http://127.0.0.1:9 cannot be reached: Connection refused",
        ),
        (["--host", "https://kfp.invalid"], 1, "the KFP server at https://kfp.invalid cannot be reached: "),
        (["--host", "127.0.0.1:9"], 1, "the KFP server at https://127.0.0.1:9 cannot be reached: Connection refused"),
        (["--host", "TLS"], 1, "HTTPS with TLS failed, expected --ca with the CA of its certificate: SSLError "),
        (["--host", "http://["], 2, "expected an address such as https://"),
        (["--host", "http://kfp:99999"], 2, "expected an address such as https://"),
        (["--host", "ftp://kfp"], 2, "expected an address such as https://"),
        (["--host", "http://"], 2, "expected an address such as https://"),
        (["--host", "local host"], 2, "expected an address such as https://"),
        (["--token-file", "absent"], 2, "expected only one of --token, --token-file and --token-command, "),
        (["--token-file", "absent", "--token", ""], 2, "cannot read the token: No such file or directory. Received: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_server_that_cannot_be_used_is_one_line(kfp, resubmit, words, code, message):
    places = {"URL": kfp.url, "TLS": kfp.url.replace("http://", "https://")}

    def placed(text):
        for name, place in places.items():
            text = text.replace(name, place) if name == "URL" or "TLS" in words else text
        return text

    result = resubmit(*map(placed, words), "--json")
    assert result.exit_code == code
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: {placed(message)}")
    assert TOKEN not in result.output
    printed = json.loads(result.stdout.splitlines()[-1])
    assert printed["status"] == "failed"
    assert line == f"error: {printed['error']}"
    assert kfp.runs == []


def test_a_certificate_is_trusted_when_it_is_named(call, compiled, self_signed):
    with run_server(self_signed) as kfp:
        words = ["--host", kfp.url, "--token", TOKEN, "--namespace", NAMESPACE, "--pipeline", str(compiled)]
        result = call(*words)
        assert result.exit_code == 1
        [line] = result.stderr.splitlines()
        assert line.startswith(f"error: HTTPS with {kfp.url} failed, expected --ca with the CA of its certificate: ")
        assert "certificate verify failed: self-signed certificate" in line
        assert call(*words, "--ca", str(self_signed)).exit_code == 0
        assert len(kfp.runs) == 1


def test_the_proxy_of_the_environment_is_used(call, compiled, self_signed, monkeypatch):
    """Also with a login, and not for hosts in NO_PROXY; its password is in no message."""
    with run_server(self_signed) as kfp, run_proxy() as proxy:
        url = kfp.url.replace("127.0.0.1", NAME)
        words = ["--host", url, "--token", TOKEN, "--namespace", NAMESPACE, "--pipeline", str(compiled)]
        words += ["--ca", str(self_signed)]
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.url}")
        assert call(*words).exit_code == 0
        assert set(proxy.targets) == {("CONNECT", url.removeprefix("https://"))}
        asked = len(proxy.targets)
        monkeypatch.setenv("NO_PROXY", NAME)
        assert "cannot be reached" in call(*words).stderr  # only the proxy knows the name
        assert len(proxy.targets) == asked
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:wrong-word@{proxy.url}")
        refused = call(*words)
        assert refused.exit_code == 1
        [line] = refused.stderr.splitlines()
        assert "407" in line
        monkeypatch.setenv("HTTPS_PROXY", "http://me:wrong-word@proxy:port")
        mistaken = call(*words)
        assert mistaken.exit_code == 2
        assert "in the environment variable for proxies. Received: 'proxy:port'" in mistaken.stderr
        assert "wrong-word" not in refused.output + mistaken.output
        assert len(kfp.runs) == 1


def test_a_plain_address_goes_through_its_own_proxy(kfp, submit, compiled, monkeypatch):
    with run_proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", "http://nobody:1")
        monkeypatch.setenv("HTTP_PROXY", f"http://{LOGIN}@{proxy.url}")
        url = kfp.url.replace("127.0.0.1", NAME)
        assert submit("--host", url, "--pipeline", str(compiled)).exit_code == 0
        assert [method for method, _ in proxy.targets] == ["GET", "POST", "POST"]
        assert len(kfp.runs) == 1


def test_a_server_of_one_user_needs_no_namespace(kfp, call, compiled):
    kfp.multi_user = False
    assert call("--host", kfp.url, "--token", TOKEN, "--pipeline", str(compiled)).exit_code == 0


@pytest.mark.parametrize("host", ["https://user:secret-word@kfp", "user:secret-word@kfp/pipeline", "secret-word@kfp"])
@pytest.mark.parametrize("option", ["--json", "--dry-run"])
def test_a_password_in_the_address_is_refused_and_not_shown(call, compiled, host, option):
    result = call("--host", host, "--pipeline", str(compiled), option)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --host must not include a user or password: expected --token, ")
    assert "secret-word" not in result.output


@pytest.mark.parametrize("login", ["page", "redirect"])
def test_a_login_in_the_way_is_reported(kfp, resubmit, login):
    kfp.login = login
    result = resubmit()
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert "login: expected --token, --token-file, --token-command or --cookies of a session" in line


def test_a_request_that_starts_a_run_is_sent_once_even_if_no_answer_comes(kfp, resubmit):
    kfp.faults = [None, None, "reset"]
    result = resubmit()
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: the KFP server at {kfp.url} cannot be reached: ")
    assert kfp.requests == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--argument", "colour={}"], ["expected one of the pipeline's parameters data, ", "Received: colour"]),
        (["--argument", "training=3"], ["training: expected an object. ", "Received: training=3"]),
        (["--argument", "training=[1]"], ["training: expected an object. ", "Received: training=[1]"]),
        (["--argument", "training={"], ["the value is not JSON: ", "Received: --argument 'training={'"]),
        (["--argument", "training"], ["expected name=JSON. ", "Received: --argument 'training'"]),
        (
            ["--argument", 'training={"stps": 5}'],
            ["training.stps: unknown option (did you mean steps?). ", "Received: stps=5"],
        ),
        (["--argument", 'training={"steps": "x"}'], ["training.steps: ", "Received: steps='x'"]),
        (["--set", "training.steps=0"], ["training.steps: ", "Received: steps=0"]),
        (["--set", "platform=vertex"], ["submit does not support Vertex AI. ", "Received: platform=vertex"]),
        (["--cron", "0 3 *"], ["expected five fields ", "Received: --cron '0 3 *'"]),
        (["--cron", "0 3 * * *", "--wait"], ["--wait needs a single run. ", "Received: --cron with --wait"]),
        (["--cron", "0 \u0663 * * *"], ["expected 0 to 23, ", "in --cron '0 \u0663 * * *'"]),
        (["--cron", "0 3 * * 7"], ["expected 0 to 6 or sun to sat, ", "Received: '7' in --cron '0 3 * * 7'"]),
        (["--name", "a/b"], ["expected a name of at most 120 letters", "Received: name='a/b'"]),
        (
            ["--argument", "training={}", "--set", "training.steps=5"],
            ["expected either --set or --argument for a section. ", "Received: both for training"],
        ),
        (
            ["--argument", "training={}", "--argument", "training={}"],
            ["expected one value for a parameter. ", "Received: --argument training=... twice"],
        ),
        (["--ca", __file__], ["expected a PEM file of certificates. ", "test_submission.py"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) and value[0].startswith("--") else "",
)
def test_a_mistake_is_refused_before_anything_is_sent(refused, words, message):
    [line] = refused(*words)
    assert line.startswith(f"error: {message[0]}")
    assert line.endswith(message[1])


SECRETS = {
    "line": ["--token", "secret\nword"],
    "letter": ["--token", "secret-wörd"],
    "cookies": ["--cookies", "a=secret\r\nX: word"],
    "lines": ["--token", "", "--token-file", "lines"],
    "empty": ["--token", "", "--token-file", "empty"],
    "binary": ["--token", "", "--token-file", "binary"],
}


@pytest.mark.parametrize("words", SECRETS.values(), ids=SECRETS)
def test_what_can_be_no_secret_is_refused_and_not_shown(refused, tmp_path, words):
    for name, content in {"lines": b"secret\nword", "empty": b"\n", "binary": b"\xffsecret"}.items():
        (tmp_path / name).write_bytes(content)
    [line] = refused(*words)
    assert line.startswith("error: expected ")
    assert words[-2] in line
    assert "secret" not in line


@pytest.mark.parametrize(
    "host",
    [
        "https://kf.example.com/pipeline",
        "kf.example.com/pipeline/",
        "https://kf.example.com/pipeline/#/runs",
        "https://kf.example.com/_/pipeline/?ns=team#/experiments",
        " https://kf.example.com/pipeline ",
    ],
)
def test_an_address_is_taken_as_the_browser_shows_it(host):
    assert Access(host=host).url == "https://kf.example.com/pipeline"


@pytest.mark.parametrize("answer", [b"", b"null", b"[1, 2]", b"{}", b'{"a":', b"\xff\xfe", b"3"], ids=repr)
def test_another_service_at_the_address_is_not_taken_for_kfp(kfp, resubmit, answer):
    kfp.other_service = answer
    result = resubmit("--json")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, 1)
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: {kfp.url} answers, but not like KFP")


def test_a_file_has_its_image_and_takes_no_other(refused, compiled):
    [line] = refused("--pipeline", str(compiled), "--image", "other")
    assert line.startswith("error: config and image of a compiled pipeline are fixed. Received: --pipeline with ")


def test_all_mistaken_arguments_are_reported_at_once(refused, others):
    words = ["count=1.5", "share=true", "names={}", "loud=1", "more=1"]
    lines = refused(*others, *(part for word in words for part in ("--argument", word)))
    assert lines == [
        "error: expected one of the pipeline's parameters text, count, share, names, loud. Received: more",
        "error: text: this argument must be given. Received: nothing",
        "error: count: expected a whole number. Received: count=1.5",
        "error: share: expected a number. Received: share=true",
        "error: names: expected a list. Received: names={}",
        "error: loud: expected true or false. Received: loud=1",
    ]


def test_a_pipeline_of_somebody_else_can_be_submitted_too(kfp, submit, others):
    assert submit(*others, "--argument", "text=1", "--argument", "count=3", "--argument", "loud=true").exit_code == 0
    [run] = kfp.runs
    assert run["runtime_config"]["parameters"] == {"text": "1", "count": 3, "loud": True}
    assert run["display_name"] == "somebody-elses"


def test_a_file_that_was_compiled_before_is_submitted_with_its_own_defaults(kfp, submit, call, refused):
    runner = CliRunner()
    words = ["compile", "--preset", "sngan", "-o", "p.yaml", "--set", "platform.gpus=1", "--set", "platform.spot=true"]
    words += ["--set", "export.registered_model=digits"]
    assert runner.invoke(main, words).exit_code == 0
    for mistake, message in (
        (["--preset", "dcgan"], "config and image of a compiled pipeline are fixed"),
        (["--set", "platform.gpus=2"], "the platform is fixed in the compiled file"),
        (["--set", "training.stps=2"], "training.stps: unknown option"),
        (["--set", "export.registered_model=null"], "export.registered_model: expected a name, since the compiled "),
        (["--argument", "export_settings={}"], "export.registered_model: expected a name, since the compiled file"),
    ):
        *_, line = refused("--pipeline", "p.yaml", *mistake)  # a note that there is no MLflow server may come first
        assert line.startswith(f"error: {message}")
    result = submit("--pipeline", "p.yaml", "--set", "training.steps=5")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: export.registered_model needs an MLflow server in the pods")
    [run] = kfp.runs
    assert run["runtime_config"]["parameters"].keys() == {"training"}
    documents = list(yaml.safe_load_all(Path("p.yaml").read_text()))
    sent = run["pipeline_spec"]
    assert [sent["pipeline_spec"], sent["platform_spec"]] == documents
    default = documents[0]["root"]["inputDefinitions"]["parameters"]["training"]["defaultValue"]
    assert run["runtime_config"]["parameters"]["training"] == {**default, "steps": 5}
    assert submit("--pipeline", "p.yaml", "--cache").exit_code == 0
    tasks = kfp.runs[-1]["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    never = {name for name, task in tasks.items() if not task["cachingOptions"]}
    assert never == {"check-inputs", "gate-model", "register-model"}  # images and the champion change


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    """The pipeline with four tasks that prepare the images."""
    path = tmp_path_factory.mktemp("compiled") / "in_parts.yaml"
    config = RunConfig.model_validate({"data": {"shards": 4}})
    compile_pipeline(config, path, image=IMAGE, platform=Kubernetes(checkpoints="gs://bucket/checkpoints"))
    return path


@pytest.mark.parametrize(
    ("words", "shards"),
    [(["--set", "data.shards=2"], 2), (["--argument", 'data={"shards": 3}'], 3), (["--argument", "data={}"], 1)],
    ids=str,
)
def test_a_file_takes_no_fewer_shards_than_it_has_tasks(refused, in_parts, words, shards):
    [line] = refused("--pipeline", str(in_parts), *words)
    assert line.startswith("error: data.shards: expected at least 4, one for each task in the compiled file that ")
    assert line.endswith(f"Received: shards={shards}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "training.strategy=mirrored"], "expected training.strategy=auto. Received: platform.workers=4, "),
        (["--set", "training.batch_size=30"], "expected "),
        (["--argument", 'training={"home": null}'], "several machines need a home that all of them reach. Received: "),
        (["--set", "training.replicas=2"], "expected the 4 replicas of all machines, or null. "),
    ],
    ids=lambda words: words[-1] if isinstance(words, list) else "",
)
def test_a_file_for_several_machines_keeps_their_rules(refused, tmp_path, words, message):
    config = PipelineConfig.model_validate(
        {"platform": {"kind": "kubernetes", "workers": 4, "checkpoints": "gs://bucket/c"}}
    )
    compile_pipeline(config, tmp_path / "workers.yaml", image=IMAGE, platform=config.platform)
    [line] = refused("--pipeline", str(tmp_path / "workers.yaml"), *words)
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "export.gate.max_parity=0.001"], "export.gate: the compiled file has no step gate_model"),
        (["--set", "export.registered_model=a"], "export.registered_model: the compiled file has no step register_mo"),
        (["--argument", 'export_settings={"gate": {"trial": true}}'], "export.gate: the compiled file has no step gat"),
    ],
    ids=str,
)
def test_what_a_file_has_no_step_for_is_refused_and_not_ignored(refused, compiled, words, message):
    *_, line = refused("--pipeline", str(compiled), *words)
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("shards", [33, 10_000])
def test_more_shards_than_tasks_are_submitted(kfp, submit, shards):
    assert submit("--set", f"data.shards={shards}").exit_code == 0
    assert kfp.runs[0]["runtime_config"]["parameters"]["data"]["shards"] == shards


def test_a_file_takes_as_many_shards_as_it_has_tasks_or_more(kfp, submit, resubmit, in_parts):
    assert submit("--pipeline", str(in_parts), "--set", "data.shards=9").exit_code == 0
    assert submit("--pipeline", str(in_parts), "--argument", 'data={"shards": 4, "size": 16}').exit_code == 0
    assert submit("--pipeline", str(in_parts), "--set", "data.size=16").exit_code == 0
    assert resubmit("--set", "data.shards=8").exit_code == 0
    assert [run["runtime_config"]["parameters"]["data"]["shards"] for run in kfp.runs] == [9, 4, 4, 8]


@pytest.mark.parametrize(
    ("words", "home"),
    [
        (["--argument", 'training={"steps": 5}'], "gs://bucket/checkpoints/{job}"),
        (["--set", "training={steps: 5}"], "gs://bucket/checkpoints/{job}"),
        (["--argument", 'training={"steps": 5, "home": "gs://mine"}'], "gs://mine"),
        (["--argument", 'training={"steps": 5, "home": null}'], None),
    ],
    ids=str,
)
def test_the_place_of_checkpoints_is_lost_by_no_argument_that_does_not_name_it(kfp, submit, in_parts, words, home):
    assert submit("--pipeline", str(in_parts), *words).exit_code == 0
    [run] = kfp.runs
    training = run["runtime_config"]["parameters"]["training"]
    assert (training["steps"], training["home"]) == (5, home)


@pytest.mark.parametrize("text", ["a: [", "just: this", "", "pipelineInfo: {name: a}\n---\nb: c"])
def test_a_file_that_is_no_pipeline_is_refused(refused, tmp_path, text):
    (tmp_path / "no.yaml").write_text(text)
    [line] = refused("--pipeline", "no.yaml")
    assert "no.yaml" in line


def test_a_dry_run_prints_the_request_without_secrets_and_sends_nothing(kfp, submit):
    result = submit("--dry-run", "--service-account", "trainer", "--cookies", "a=secret")
    assert result.exit_code == 0
    assert kfp.requests == 0
    assert result.stdout.splitlines()[0] == f"# POST {kfp.url}/apis/v2beta1/runs"
    assert TOKEN not in result.stdout
    assert "secret" not in result.stdout
    shown = yaml.safe_load(result.stdout)
    assert submit("--service-account", "trainer").exit_code == 0
    assert {**shown, "experiment_id": "exp-0"} == kfp.runs[0]
    as_json = json.loads(submit("--dry-run", "--json", "--service-account", "trainer").stdout)
    assert (as_json["request"], as_json["status"]) == (shown, "not sent")


def test_without_a_host_or_an_image_the_command_says_what_it_needs(call, monkeypatch):
    assert (
        call().stderr == "error: expected --host or the environment variable GAN_PIPELINES_KFP_HOST. Received: none\n"
    )
    monkeypatch.delenv("GAN_PIPELINES_IMAGE")
    assert call().stderr == "error: expected --image with an image that the cluster can pull. Received: none\n"


def test_a_path_that_may_be_one_of_this_machine_is_noted(kfp, submit):
    result = submit("--preset", "folder", "--set", "data.source.path=/home/me/cats", "--dry-run")
    assert result.exit_code == 0
    note = "data.source.path is a path in the pods; no local files are uploaded. Received: path=/home/me/cats"
    assert result.stderr == f"note: {note}\n"


def test_the_documentation_of_a_run_holds(kfp, call, tmp_path, monkeypatch):
    """The file for --config, the command and its output, except for times, addresses and the hash of the settings."""
    text = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text()
    example = text.partition("```yaml\n# cluster.yaml\n")[2].partition("```")[0]
    (tmp_path / "cluster.yaml").write_text(example)
    shown = text.partition("$ gan-pipelines submit --preset digits --config cluster.yaml --wait\n")[2].splitlines()
    kfp.states = [("SUCCEEDED", {})]
    for name, value in {"HOST": kfp.url, "TOKEN": TOKEN, "NAMESPACE": NAMESPACE}.items():
        monkeypatch.setenv(f"GAN_PIPELINES_KFP_{name}", value)
    result = call("--preset", "digits", "--config", "cluster.yaml", "--wait", "--poll", "0.1")
    printed = result.stdout.replace(kfp.url, "https://$KUBEFLOW/pipeline").splitlines()
    expected = [*shown[:4], *(line for line in shown if line.endswith(": succeeded"))]
    printed, expected = (
        [re.sub(r"^digits-\w{6}:", "digits-HASH:", line) for line in lines] for lines in (printed, expected)
    )
    assert printed == expected
