"""Training that a step hands over to a job on several machines.

The API server and the operators are doubles (see `fake_kubernetes.py`); the step, the workers and MLflow's store are
real, and so is their work, where a test says so. Elsewhere a shell stands in for a worker.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_kubernetes
import pytest
import yaml
from fake_kubernetes import CLUSTER_RUNTIMES, EVENTS, PODS, RUNTIMES, TFJOBS, TRAINJOBS

from ganlib import storage, tracking
from ganlib.data import PreparedDataset
from ganlib.tracking.plugin import choose_server
from ganlib.training import TrainedModel
from ganlib.training.config import JOB_VARIABLE
from ganlib.workers import WORKERS_VARIABLE, Workers, api, follow, hand_over, worker
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.workers import step_of_workers, workers_of

RUN = "0f6c1f2e-run-of-kfp"
SECTIONS = {
    "task": {"kind": "generation", "latent_dim": 8},
    "model": {"kind": "dcgan", "width": 4},
    "objective": {"kind": "non_saturating"},
    "training": {
        "steps": 24,
        "batch_size": 8,
        "steps_per_loop": 2,
        "score_every": 12,
        "sample_every": 12,
        "checkpoint_every": 4,
        "score_samples": 50,
        "precision": "float32",
    },
}
STEP = """
import json, sys
from pathlib import Path
from ganlib.workers import api, follow
from components.train_on_workers import train_on_workers
api.ACCOUNT, follow.POLL_SECONDS = Path(sys.argv[1]), 0.1
class Artifact:
    def __init__(self, path): self.path, self.metadata = path, {}
dataset, reference, output, samples = map(Artifact, sys.argv[2:6])
train_on_workers(dataset=dataset, reference=reference, **json.loads(sys.argv[6]), job="", trained=output,
                 samples=samples)
print("metadata", json.dumps(output.metadata))
"""


@pytest.fixture
def cluster(trusted, tmp_path):
    with fake_kubernetes.cluster(trusted, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def reference_folder(reference, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference_folder") / "reference"
    reference.save(folder)
    return folder


def settings(**changes):
    platform = Kubernetes(workers=2, checkpoints="gs://b/c", **{"workers_by": "tfjob", **changes})
    return json.dumps(workers_of("image", platform).to_parameter())


@pytest.fixture
def in_a_step(cluster, monkeypatch, digits, reference_folder, tmp_path):
    """Hands over in this process, as the step of a run does; the workers are shells that copy a trained model."""
    monkeypatch.setattr(api, "ACCOUNT", cluster.account)
    monkeypatch.setattr(api, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)
    home = tmp_path / "home" / "{job}"
    for name, value in {**cluster.environment, WORKERS_VARIABLE: settings(), JOB_VARIABLE: RUN}.items():
        monkeypatch.setenv(name, value)

    def begin(**training):
        sections = {**SECTIONS, "training": {**SECTIONS["training"], "home": str(home), **training}}
        return hand_over(
            sections, job="", dataset=digits.folder, reference=reference_folder, output=tmp_path / "trained"
        )

    return begin


def shells(*scripts):
    """Workers that run a script each; `$LOG` is their termination log and `$PLACE` the place of the hand-over."""

    def run(cluster, index, container, log):
        place = container["command"][-1]
        head = f"LOG={shlex.quote(str(log))} PLACE={shlex.quote(place)}\n"
        return ["sh", "-c", head + scripts[min(index, len(scripts) - 1)]]

    return run


def succeeding(model):
    return shells(
        f'echo "train: 6 steps"; sleep 0.1; echo "train: done"; cp -r {shlex.quote(str(model))} "$PLACE/trained"',
        "sleep 0.1",
    )


def failing(code, message):
    report = shlex.quote(json.dumps({"step": "train_gan", "message": message, "code": code}))
    return f'printf %s {report} > "$LOG"; exit {code}'


def wait_for(condition, *, process=None, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "the process ended early"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_step_that_is_killed_and_a_worker_that_is_lost_cost_nothing_but_time(
    cluster, digits, reference_folder, tmp_path
):
    """Everything is real here, except for the cluster."""
    from mlflow import MlflowClient

    uri = tracking.create_store(tmp_path / "mlflow.db", experiment="gan-pipelines", artifacts=tmp_path / "artifacts")
    home = tmp_path / "home" / RUN
    training = {**SECTIONS["training"], "home": str(tmp_path / "home" / "{job}")}
    words = [str(path) for path in (cluster.account, digits.folder, reference_folder)]
    words += [str(tmp_path / "trained"), str(tmp_path / "samples.html"), json.dumps({**SECTIONS, "training": training})]
    platform = {"workers_by": "trainjob", "retries": 1, "mlflow_secret": "mlflow", "backend": "2.15"}
    environment = {
        WORKERS_VARIABLE: settings(**platform, optional_secrets=True),
        JOB_VARIABLE: RUN,
        "MLFLOW_TRACKING_URI": uri,
    }
    cluster.secrets = {("mlflow", f"MLFLOW_TRACKING_{name}"): "secret-of-mlflow" for name in ("USERNAME", "PASSWORD")}
    environment = {**os.environ, **cluster.environment, **environment, "PYTHONUNBUFFERED": "1"}

    def start(number):
        with (tmp_path / f"step-{number}.log").open("w") as log:
            return subprocess.Popen([sys.executable, "-c", STEP, *words], env=environment, stdout=log, stderr=log)

    def printed(number):
        return (tmp_path / f"step-{number}.log").read_text()

    first = start(1)
    wait_for(lambda: len(storage.read_lines(home / "history.jsonl")) >= 3, process=first)
    first.kill()
    first.wait()
    for process in cluster.processes.values():  # so that they do not finish before
        process.send_signal(signal.SIGSTOP)
    second = start(2)
    wait_for(lambda: "goes on following it" in printed(2), process=second)
    assert len(cluster.jobs()) == 1
    (lost,) = [name for name in cluster.pods() if "-node-0-1-" in name]
    chief = next(process for name, process in cluster.processes.items() if name != lost)
    cluster.processes[lost].kill()
    chief.send_signal(signal.SIGCONT)
    assert second.wait(120) == 0, printed(2)
    text = printed(2)
    assert "Another job resumes from the last checkpoint" in text
    (resumed,) = re.findall(r"^worker 0: train: resumes from step (\d+)$", text, re.MULTILINE)
    assert int(resumed) >= 4
    assert "worker 0: train: waits for the other workers that TF_CONFIG names" in text
    model = TrainedModel.open(tmp_path / "trained")
    assert [row["step"] for row in model.history if "event" not in row] == list(range(2, 25, 2))
    assert model.facts["replicas"] == 2
    assert json.loads(text.rpartition("metadata ")[2])["last_step"] == 24
    assert (tmp_path / "samples.html").exists()
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("gan-pipelines").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"gan-{RUN[:8]}")
    assert tracking.run_id(model.folder) == run.info.run_id
    (job,) = cluster.jobs().values()
    assert "secret-of-mlflow" not in json.dumps([job, *cluster.logs.values()])
    assert job["metadata"]["annotations"]["gan-pipelines/attempt"] == "1"


def test_a_tfjob_that_succeeds_gives_its_model_and_belongs_to_the_pod_of_the_step(
    in_a_step, cluster, trained, capsys, monkeypatch
):
    cluster.run = succeeding(trained.folder)
    monkeypatch.setenv("MLFLOW_RUN_ID", "run-of-the-plugin")
    model = in_a_step()
    assert model.facts == trained.facts
    ((path, job),) = cluster.jobs().items()
    assert path.startswith(TFJOBS)
    (owner,) = job["metadata"]["ownerReferences"]
    assert owner["uid"] == cluster.objects[f"{PODS}/{fake_kubernetes.STEP_POD}"]["metadata"]["uid"]
    spec = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]
    assert spec["serviceAccountName"] == fake_kubernetes.ACCOUNT_NAME
    assert {"name": "MLFLOW_RUN_ID", "value": "run-of-the-plugin"} in spec["containers"][0]["env"]
    place = Path(spec["containers"][0]["command"][-1])
    assert sorted(item.name for item in place.iterdir()) == ["dataset", "reference", "sections.json", "trained"]
    sections = storage.read_json(place / "sections.json")
    assert sections["training"]["home"] == str(place).removesuffix(".workers")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "worker 0" in line] == ["worker 0: train: 6 steps", "worker 0: train: done"]
    assert lines[-1] == f"workers: TFJob {job['metadata']['name']}: succeeded"
    assert len(lines) == len(set(lines))  # one for each change


def test_what_a_worker_calls_a_mistake_is_one_of_the_step_and_is_not_tried_again(in_a_step, cluster, monkeypatch):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(retries=3))
    lost = failing(1, "another worker was lost; start all workers again")
    cluster.run = shells(f"sleep 0.1; {lost}", failing(2, "expected a batch size that the replicas share evenly"))
    with pytest.raises(ValueError, match=r"^worker 1: expected a batch size"):
        in_a_step()
    assert [path for method, path in cluster.requests if method == "POST" and path == TFJOBS] == [TFJOBS]


def test_a_job_that_fails_is_followed_by_others_until_the_retries_are_used_up(in_a_step, cluster, monkeypatch, capsys):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(retries=1))
    cluster.run = shells(failing(1, "another worker was lost"), failing(1, "the disk is full"))
    with pytest.raises(RuntimeError, match=r"worker \d: .*\(TFJob gan-[0-9a-f]{16}, 1 of 1 retries\)"):
        in_a_step()
    assert cluster.requests.count(("POST", TFJOBS)) == 2
    assert "Another job resumes from the last checkpoint" in capsys.readouterr().out
    # A step that KFP retries finds the failed job, whose owner is still there, and does not train again.
    with pytest.raises(RuntimeError, match=r"1 of 1 retries"):
        in_a_step()
    assert cluster.requests.count(("POST", TFJOBS)) == 2


def test_a_run_that_a_user_retries_starts_anew(in_a_step, cluster, trained, monkeypatch):
    cluster.run = shells(failing(1, "the disk is full"))
    with pytest.raises(RuntimeError, match="the disk is full"):
        in_a_step()
    del cluster.objects[f"{PODS}/{fake_kubernetes.STEP_POD}"]  # as KFP does
    cluster.add_step_pod("another")
    monkeypatch.setenv("KFP_POD_NAME", "another")
    cluster.run = succeeding(trained.folder)
    assert in_a_step().facts == trained.facts


def test_a_process_that_is_killed_is_told_with_what_kubernetes_knows(in_a_step, cluster):
    cluster.run = shells("kill -9 $$", "exec sleep 5")
    with pytest.raises(RuntimeError, match="worker 0: Error, exit code 137"):
        in_a_step()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("scheduling", "Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
        ("image", "ImagePullBackOff: Back-off pulling image"),
        ("quota", "FailedCreate: exceeded quota: gpus"),
        ("operator", "it has no pods; does Training Operator 1.9 run?"),
    ],
)
def test_workers_that_never_start_end_the_step_with_the_reason(in_a_step, cluster, monkeypatch, given, reason, capsys):
    monkeypatch.setattr(follow.Follower, "__init__", within(0.1))
    status = {"phase": "Pending", "conditions": [], "containerStatuses": []}
    if given == "scheduling":
        about = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        status["conditions"].append({**about, "message": reason.partition(": ")[2]})
    if given == "image":
        waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
        status["containerStatuses"].append({"state": {"waiting": waiting}})

    def operate(path, job):
        if given in ("scheduling", "image"):
            labels = {"gan-pipelines/job": job["metadata"]["name"]}
            cluster.put(f"{PODS}/worker-0", {"metadata": {"name": "worker-0", "labels": labels}, "status": status})
        if given == "quota":
            about = {"name": f"{job['metadata']['name']}-node-0"}
            event = {"reason": "FailedCreate", "message": "exceeded quota: gpus", "involvedObject": about}
            cluster.put(f"{EVENTS}/one", {"metadata": {}, **event})

    cluster.operate = operate
    with pytest.raises(RuntimeError, match=re.escape(reason)) as error:
        in_a_step()
    assert "platform.workers_start_minutes=60" in str(error.value)
    assert not cluster.jobs()
    assert "0 of 2 workers have started" in capsys.readouterr().out


def within(seconds):
    init = follow.Follower.__init__

    def begin(self, server, kind, name, *, count, start_minutes):
        init(self, server, kind, name, count=count, start_minutes=seconds / 60)

    return begin


def test_time_in_a_queue_does_not_count(in_a_step, cluster, monkeypatch, trained, capsys):
    monkeypatch.setattr(follow.Follower, "__init__", within(0.8))
    operate = cluster.operate

    def queue(path, job):
        cluster.condition(path, "Suspended")

        def admit():
            cluster.objects[path]["status"]["conditions"].clear()
            operate(path, job)

        threading.Timer(1.2, admit).start()  # longer than the time to start

    cluster.operate, cluster.run = queue, succeeding(trained.folder)
    assert in_a_step().facts == trained.facts
    assert "is suspended, perhaps in a queue" in capsys.readouterr().out


def test_a_step_that_is_asked_to_end_deletes_its_job(in_a_step, cluster):
    cluster.run = shells("exec sleep 30")
    threading.Thread(target=lambda: (wait_for(cluster.pods), os.kill(os.getpid(), signal.SIGTERM))).start()
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match=r"interrupted; TFJob gan-\w+ is deleted"):
        in_a_step()
    assert not cluster.jobs()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_job_that_someone_deletes_ends_the_step(in_a_step, cluster):
    cluster.run = shells("exec sleep 30")
    threading.Thread(target=lambda: (wait_for(cluster.pods), cluster.remove(*cluster.jobs()))).start()
    with pytest.raises(RuntimeError, match="was deleted; a retried step starts another"):
        in_a_step()


def test_an_outage_of_the_api_server_is_waited_for(in_a_step, cluster, trained, capsys):
    cluster.failures = [
        (503, "etcd is away"),
        (429, "too many requests"),
        (500, "no leader"),
        (409, "the object has been modified", "Conflict"),
    ]
    cluster.run = succeeding(trained.folder)
    assert in_a_step().facts == trained.facts
    printed = capsys.readouterr().out
    assert "the API server does not answer; trying again: 503 etcd is away" in printed
    assert "the API server answers again" in printed


def test_an_api_server_that_stays_away_ends_the_step_but_not_the_job(in_a_step, cluster, monkeypatch):
    monkeypatch.setattr(api, "PATIENCE", 0.1)
    cluster.run = shells("exec sleep 30")
    operate = cluster.operate

    def leave(path, job):
        operate(path, job)
        cluster.failures = [(503, "etcd is away")] * 1000

    cluster.operate = leave
    with pytest.raises(
        OSError, match=r"has not answered for .*: 503 etcd is away.*\. The workers go on, and a retried"
    ):
        in_a_step()
    assert cluster.jobs()


def test_an_api_server_that_was_never_there_does_not_promise_workers(in_a_step, monkeypatch):
    monkeypatch.setattr(api, "PATIENCE", 0.1)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(OSError, match=r"has not answered for .*NewConnectionError") as error:
        in_a_step()
    assert "go on" not in str(error.value)


def test_a_chief_whose_node_is_lost_costs_its_lines_only_and_another_job_follows(
    in_a_step, cluster, trained, monkeypatch, capsys
):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(retries=1))
    monkeypatch.setattr(api, "PATIENCE", 1)
    cluster.run = shells("echo unseen; sleep 0.2; kill -9 $$", "exec sleep 5")
    operate = cluster.operate

    def lose(path, job):
        chief = f"{job['metadata']['name']}-worker-0"
        if job["metadata"]["annotations"]["gan-pipelines/attempt"] == "0":
            cluster.unreachable.add(chief)
        else:
            cluster.unreachable.remove(chief)
            cluster.run = succeeding(trained.folder)
        operate(path, job)

    cluster.operate = lose
    assert in_a_step().facts == trained.facts
    printed = capsys.readouterr().out
    assert "worker 0: Error, exit code 137. Another job resumes from the last checkpoint" in printed
    assert "does not answer" not in printed
    assert "unseen" not in printed


def test_what_is_left_of_a_job_that_cannot_be_removed_is_named(in_a_step, cluster, monkeypatch):
    cluster.run = shells(failing(1, "the disk is full"))
    with pytest.raises(RuntimeError, match="the disk is full"):
        in_a_step()
    cluster.add_step_pod("another")
    monkeypatch.setenv("KFP_POD_NAME", "another")
    del cluster.objects[f"{PODS}/{fake_kubernetes.STEP_POD}"]
    monkeypatch.setattr(sys.modules["ganlib.workers.hand_over"], "GONE_SECONDS", 0.05)
    cluster.remove = lambda path: cluster.objects.pop(path, None)  # but its pods stay
    with pytest.raises(RuntimeError, match=r"Still there: pod (gan-\w+)-worker-0, pod \1-worker-1$"):
        in_a_step()


def test_rights_are_checked_before_any_work(in_a_step, cluster, monkeypatch, tmp_path):
    cluster.forbidden = {("create", "tfjobs"), ("get", "pods/log")}
    with pytest.raises(ValueError, match=r"Expected: create tfjobs\.kubeflow\.org, get pods/log") as error:
        in_a_step()
    assert "lacks rights in namespace team" in str(error.value)
    assert not (tmp_path / "home").exists()
    monkeypatch.setenv(WORKERS_VARIABLE, settings(workers_by="trainjob"))
    cluster.forbidden = {("list", "trainingruntimes")}
    with pytest.raises(ValueError, match=r"Expected: list trainingruntimes\.trainer\.kubeflow\.org$"):
        in_a_step()


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda cluster: cluster.absent.add("trainjobs"), "expected Kubeflow Trainer 2.1 or newer on the cluster"),
        (
            lambda cluster: cluster.objects.pop(f"{CLUSTER_RUNTIMES}/torch-distributed"),
            "expected one of the cluster's runtimes: it has none. Received: platform.workers_runtime=torch-distributed",
        ),
        (lambda cluster: (cluster.account / "token").write_text("old"), r"Unauthorized \(401\)"),
        (
            lambda cluster: cluster.fields.update(trainjobs={("spec",): {"runtimeRef", "trainer", "podSpecOverrides"}}),
            "expected Kubeflow Trainer 2.1 or newer on the cluster. Received: platform.workers_by=trainjob",
        ),
    ],
)
def test_a_cluster_that_lacks_something_is_told_in_one_line_before_anything_is_copied(
    in_a_step, cluster, monkeypatch, breaks, message, tmp_path
):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(workers_by="trainjob"))
    breaks(cluster)
    with pytest.raises(ValueError, match=message) as error:
        in_a_step()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "home").exists()


def test_trainer_2_1_which_is_part_of_kubeflow_26_03_gets_the_same_pods(in_a_step, cluster, trained, monkeypatch):
    monkeypatch.setenv(
        WORKERS_VARIABLE, settings(workers_by="trainjob", gcs_secret="gcs", pod_labels={"team": "vision"})
    )
    jobs = []
    for fields in (fake_kubernetes.FIELDS["trainjobs"], fake_kubernetes.TRAINER_21):
        cluster.fields["trainjobs"], cluster.run = fields, succeeding(trained.folder)
        assert in_a_step().facts == trained.facts
        ((path, job),) = cluster.jobs().items()
        jobs.append(job)
        cluster.remove(path)
    new, old = jobs
    (pod,) = old["spec"]["podTemplateOverrides"]
    assert pod.pop("targetJobs") == [{"name": "node"}]
    (patch,) = new["spec"]["runtimePatches"]
    assert pod == fake_kubernetes.inside(patch, (*fake_kubernetes.PATCH_PLACE, *fake_kubernetes.PATCHED_POD))
    assert pod["metadata"]["labels"]["team"] == "vision"
    assert pod["spec"]["containers"][0]["volumeMounts"]
    assert old["spec"]["trainer"] == new["spec"]["trainer"]


def test_what_trainer_2_1_cannot_set_is_refused_before_anything_is_copied(in_a_step, cluster, monkeypatch, tmp_path):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(workers_by="trainjob", run_as_user=1000, backend="2.16"))
    cluster.fields["trainjobs"] = fake_kubernetes.TRAINER_21
    with pytest.raises(ValueError, match=r"Kubeflow Trainer 2\.1, which cannot set the user .*workers_by=tfjob"):
        in_a_step()
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("own", [False, True])
def test_credentials_of_kfps_mlflow_plugin_go_to_the_workers_by_reference_with_its_server_only(
    in_a_step, cluster, trained, monkeypatch, own
):
    monkeypatch.setenv("KFP_MLFLOW_CONFIG", json.dumps({"endpoint": "https://mlflow.plugin"}))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.plugin")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-of-the-plugin")
    if own:
        monkeypatch.setenv("GAN_PIPELINES_MLFLOW_TRACKING_URI", "https://mlflow.user")
    reference = {"secretKeyRef": {"name": "kfp-mlflow-credentials", "key": "token"}}
    token = {"name": "MLFLOW_TRACKING_TOKEN", "valueFrom": reference}
    (_, container) = cluster.objects[f"{PODS}/{fake_kubernetes.STEP_POD}"]["spec"]["containers"]
    container["env"] = [token, {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "other", "key": "other"}}}]
    cluster.secrets["kfp-mlflow-credentials", "token"] = "secret-of-the-plugin"
    cluster.run = succeeding(trained.folder)
    choose_server()  # as a step does
    in_a_step()
    (job,) = cluster.jobs().values()
    variables = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["env"]
    given = {item["name"]: item for item in variables}
    assert given["MLFLOW_TRACKING_URI"]["value"] == f"https://mlflow.{'user' if own else 'plugin'}"
    assert ("KFP_MLFLOW_CONFIG" in given) is not own
    assert given.get("MLFLOW_TRACKING_TOKEN") == (None if own else token)
    assert "OTHER" not in given
    assert "secret-of-the-plugin" not in json.dumps(job)


def test_a_runtime_of_the_namespace_comes_before_one_of_the_cluster(in_a_step, cluster, trained, monkeypatch):
    monkeypatch.setenv(WORKERS_VARIABLE, settings(workers_by="trainjob", workers_runtime="own"))
    own = json.loads(json.dumps(fake_kubernetes.RUNTIME))
    own["spec"]["template"]["spec"]["network"] = {"subdomain": "training"}
    cluster.put(f"{RUNTIMES}/own", own)
    cluster.run = succeeding(trained.folder)
    in_a_step()
    ((path, job),) = cluster.jobs().items()
    assert path.startswith(TRAINJOBS)
    assert job["spec"]["runtimeRef"] == {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "own"}
    variables = {item["name"]: item["value"] for item in job["spec"]["trainer"]["env"]}
    name = job["metadata"]["name"]
    assert json.loads(variables["GAN_PIPELINES_WORKERS_ADDRESSES"]) == [
        f"{name}-node-0-{index}.training:2222" for index in range(2)
    ]


def test_the_runtime_of_the_docs_can_be_used(in_a_step, cluster, trained, monkeypatch):
    runtime = yaml.safe_load((Path(__file__).parent.parent / "docs" / "trainingruntime.yaml").read_text())
    monkeypatch.setenv(WORKERS_VARIABLE, settings(workers_by="trainjob", workers_runtime=runtime["metadata"]["name"]))
    cluster.put(f"{RUNTIMES}/{runtime['metadata']['name']}", runtime)
    cluster.run = succeeding(trained.folder)
    assert in_a_step().facts == trained.facts


def test_a_home_in_a_bucket_takes_the_inputs_to_the_workers_and_the_model_back(
    in_a_step, cluster, trained, digits, bucket, monkeypatch, tmp_path
):
    monkeypatch.setenv("GAN_PIPELINES_CACHE", str(tmp_path / "cache"))
    place = f"{bucket}/homes/{RUN}.workers"
    storage.publish(trained.folder, f"{place}/trained")  # as the chief does
    cluster.run = shells("true")
    assert in_a_step(home=f"{bucket}/homes/{{job}}").facts == trained.facts
    (job,) = cluster.jobs().values()
    assert job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]["command"][-1] == place
    assert PreparedDataset.open(storage.fetch(f"{place}/dataset")).checksum == digits.checksum
    assert storage.read_json(storage.fetch(f"{place}/sections.json"))["task"] == SECTIONS["task"]


def test_a_step_without_settings_or_a_pod_says_what_it_expected(in_a_step, monkeypatch):
    with pytest.raises(ValueError, match="expected a home that all machines reach"):
        in_a_step(home=None)
    with pytest.raises(ValueError, match=r"such as gs://bucket/home\. Received: training\.home=gs://bucket$"):
        in_a_step(home="gs://bucket")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    with pytest.raises(ValueError, match="expected a pod with the token of a service account"):
        in_a_step()
    monkeypatch.delenv(WORKERS_VARIABLE)
    with pytest.raises(ValueError, match=f"expected JSON in the variable {WORKERS_VARIABLE}"):
        in_a_step()


def test_a_job_whose_step_has_ended_is_deleted_by_its_workers(in_a_step, cluster, monkeypatch, capsys):
    monkeypatch.setattr(worker, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.1)
    path = f"{TFJOBS}/one"
    cluster.put(path, {"metadata": {"name": "one", "annotations": {"gan-pipelines/follower": "step"}}})
    pod = cluster.add_step_pod("step")
    monkeypatch.setenv("GAN_PIPELINES_WORKERS_JOB", path)
    watch = threading.Thread(target=worker._delete_when_abandoned)
    watch.start()
    time.sleep(0.4)
    assert path in cluster.objects
    pod["status"]["phase"] = "Failed"  # the run was canceled
    watch.join(10)
    assert path not in cluster.objects
    assert "the step that followed this job has ended" in capsys.readouterr().out


def test_a_job_that_a_retried_step_takes_over_at_the_last_moment_stays(cluster, monkeypatch):
    monkeypatch.setattr(api, "ACCOUNT", cluster.account)
    monkeypatch.setattr(worker, "WATCH_SECONDS", 0.02)
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.01)
    path, is_followed, seen = f"{TFJOBS}/one", worker._is_followed, []
    cluster.put(path, {"metadata": {"name": "one", "annotations": {"gan-pipelines/follower": "gone"}}})
    retried = cluster.add_step_pod("retried")

    def take_over_after_the_look(server, job):
        seen.append(is_followed(server, job))
        server.merge(path, {"metadata": {"annotations": {"gan-pipelines/follower": "retried"}}})
        return seen[-1]

    monkeypatch.setattr(worker, "_is_followed", take_over_after_the_look)
    for name, value in {**cluster.environment, "GAN_PIPELINES_WORKERS_JOB": path}.items():
        monkeypatch.setenv(name, value)
    watch = threading.Thread(target=worker._delete_when_abandoned)
    watch.start()
    wait_for(lambda: len(seen) > 3, seconds=5)
    assert seen[:3] == [False, True, True]
    assert path in cluster.objects
    monkeypatch.setattr(worker, "_is_followed", is_followed)
    retried["status"]["phase"] = "Failed"  # ends the thread
    watch.join(10)
    assert not watch.is_alive()


def test_the_pods_of_workers_are_what_training_gets_on_one_machine_and_the_step_waits_without_gpus():
    platform = Kubernetes(
        workers=4,
        workers_by="tfjob",
        backend="2.16",
        gpus=2,
        gpu_type="nvidia-l4",
        cpu={"train_gan": 8, "others": 1},
        memory={"train_gan": "32Gi"},
        spot=True,
        node_selector={"train_gan": {"pool": "gpus"}, "others": {"pool": "small"}},
        tolerations={"train_gan": [{"key": "nvidia.com/gpu"}]},
        shared_memory="4Gi",
        scratch="20Gi",
        checkpoints="/checkpoints",
        checkpoints_volume="claim",
        gcs_secret="gcs",
        image_pull_policy="Always",
        image_pull_secrets="registry",
        mlflow_secret="mlflow",
        mlflow_secret_keys="MLFLOW_TRACKING_TOKEN",
        optional_secrets=True,
        run_as_user=10001,
        run_as_non_root=True,
        timeout_minutes=60,
        pod_labels={"team": "vision"},
    )
    resources = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "2"}
    key = "/var/run/secrets/gcs/key.json"
    token = {"secretKeyRef": {"name": "mlflow", "key": "MLFLOW_TRACKING_TOKEN", "optional": True}}
    assert workers_of("image", platform) == Workers(
        by="tfjob",
        count=4,
        replicas=8,
        runtime="torch-distributed",
        start_minutes=60,
        retries=3,
        pod={
            "metadata": {"labels": {"team": "vision"}},
            "spec": {
                "containers": [
                    {
                        "image": "image",
                        "env": [
                            {"name": "HOME", "value": "/tmp"},
                            {"name": "GAN_PIPELINES_STEP_GOOGLE_APPLICATION_CREDENTIALS", "value": key},
                            {"name": "GAN_PIPELINES_MLFLOW_TRACKING_TOKEN", "valueFrom": token},
                        ],
                        "resources": {"limits": resources, "requests": resources},
                        "volumeMounts": [
                            {"name": "claim", "mountPath": "/checkpoints"},
                            {"name": "gcs", "mountPath": "/var/run/secrets/gcs"},
                            {"name": "shared-memory", "mountPath": "/dev/shm"},
                            {"name": "scratch", "mountPath": "/tmp"},
                        ],
                        "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
                        "imagePullPolicy": "Always",
                    }
                ],
                "volumes": [
                    {"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "gcs", "secret": {"secretName": "gcs"}},
                    {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}},
                    {"name": "scratch", "emptyDir": {"sizeLimit": "20Gi"}},
                ],
                "nodeSelector": {
                    "cloud.google.com/gke-accelerator": "nvidia-l4",
                    "cloud.google.com/gke-spot": "true",
                    "pool": "gpus",
                },
                "tolerations": [
                    {
                        "key": "cloud.google.com/gke-spot",
                        "value": "true",
                        "operator": "Equal",
                        "effect": "NoSchedule",
                    },
                    {"key": "nvidia.com/gpu", "operator": "Exists"},
                ],
                "imagePullSecrets": [{"name": "registry"}],
            },
        },
    )
    step = step_of_workers(platform)
    assert (step.gpus, step.spot, step.shared_memory, step.retry_count()) == (0, False, None, 3)
    assert (step.cpu, step.memory, step.node_selector, step.tolerations) == (
        {"others": "1"},
        {},
        {"others": {"pool": "small"}},
        {},
    )
