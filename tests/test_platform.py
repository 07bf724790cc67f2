"""The section `platform`, and the files that are compiled from it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import foreign_pipeline
import pytest
import yaml
from platforms import IMAGE, NAMES, SEEDS, VARIANTS

from ganlib.training import TrainConfig
from pipelines import settings
from pipelines.gan_components import COMPONENTS
from pipelines.gan_training import compile_pipeline
from pipelines.kubeflow.vertex import Vertex
from pipelines.settings import SettingsError

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden"
RENEW = "GAN_PIPELINES_RENEW_GOLDEN" in os.environ  # how the golden files are written anew
BACKENDS = Path(os.environ.get("GAN_PIPELINES_BACKENDS", ROOT / ".venv" / "backends"))
SECRET = "word-that-no-file-may-hold"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One compiled file a platform."""
    folder = tmp_path_factory.mktemp("compiled")
    # In a process of its own: KFP looks at the whole stack at every setting, which is slow below pytest and TensorFlow.
    subprocess.run([sys.executable, Path(__file__).with_name("platforms.py"), folder], check=True)
    return {name: folder / f"{name}.yaml" for name in NAMES}


@pytest.fixture(scope="module")
def documents(files):
    """The documents of each."""
    return {name: list(yaml.safe_load_all(path.read_text(encoding="ascii"))) for name, path in files.items()}


def pods(documents, name):
    return documents[name][1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def compiled(tmp_path, *assignments):
    config = settings.resolve(chosen=[], assignments=assignments)
    compile_pipeline(config, tmp_path / "p.yaml", image=IMAGE, platform=config.platform)
    return list(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))


def refusal(*assignments):
    with pytest.raises(SettingsError) as caught:
        settings.resolve(chosen=[], assignments=assignments)
    [line] = str(caught.value).splitlines()
    assert "Received: " in line
    return line


def essence(documents):
    """What of a compiled file depends on the platform: tasks, containers without their programs, and pods."""
    [spec, *rest] = json.loads(json.dumps(documents))
    tasks, executors = spec["root"]["dag"]["tasks"], spec["deploymentSpec"]["executors"]
    for task in tasks.values():
        task.pop("inputs", None)
    for executor in executors.values():
        executor["container"]["command"] = ["..."]
    return yaml.safe_dump_all([{"tasks": tasks, "executors": executors}, *rest], sort_keys=True)


@pytest.mark.parametrize("name", NAMES)
def test_each_platform_gets_the_file_that_was_looked_at_once(name, documents):
    """After a change that is meant: GAN_PIPELINES_RENEW_GOLDEN=1 pytest tests/test_platform.py, and read the diff."""
    path = GOLDEN / f"{name}.yaml"
    if RENEW:
        path.write_text(essence(documents[name]))
    assert path.read_text() == essence(documents[name])


def test_only_kubernetes_with_settings_gets_a_second_document(documents):
    assert {name: len(found) for name, found in documents.items()} == {
        "kubernetes": 1,
        "kubernetes_everything": 2,
        "kubernetes_2.16": 2,
        "kubernetes_2.17": 2,
        "kubernetes_workers": 2,
        "kubernetes_gate": 2,
        "vertex": 1,
        "comparison_kubernetes_everything": 2,
        "comparison_vertex": 1,
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_the_server_demands_of_a_pipeline_holds(name, files, documents):
    text, spec = files[name].read_text(encoding="ascii"), documents[name][0]
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,127}", spec["pipelineInfo"]["name"])
    assert spec["schemaVersion"] == "2.1.0"
    for parameter in spec["root"]["inputDefinitions"]["parameters"].values():
        assert "defaultValue" in parameter
    tasks = spec["root"]["dag"]["tasks"]
    assert not {f"{task}-driver" for task in tasks} & set(tasks)
    assert all(len(task["taskInfo"]["name"]) <= 255 for task in tasks.values())
    for task in tasks.values():
        wanted = spec["components"][task["componentRef"]["name"]]["inputDefinitions"].get("parameters", {})
        item = {task.get("parameterIterator", {}).get("itemInput")} - {None}
        assert set(wanted) - item == set(task["inputs"].get("parameters", {}))
    for executor in spec["deploymentSpec"]["executors"].values():
        words = executor["container"]["command"] + executor["container"]["args"]
        assert all(len(word) < 128 * 1024 for word in words)
    limit = 70_000 if name == "kubernetes_gate" else 60_000  # two steps more
    limit = 130_000 if name.startswith("comparison") else limit  # 40 candidates are 20,000 of them, twice
    assert len(text) < limit, "a run's workflow holds it more than once, and Kubernetes takes 1 MiB"


def test_a_comparison_trains_each_variant_with_each_seed_where_training_runs(documents):
    for name in ("comparison_kubernetes_everything", "comparison_vertex"):
        spec = documents[name][0]
        [loop] = [task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
        assert loop["iteratorPolicy"]["parallelismLimit"] == 4
        [inner] = [
            one["dag"]["tasks"]
            for one in spec["components"].values()
            if "try-candidate" in one.get("dag", {}).get("tasks", {})
        ]
        assert list(inner) == ["try-candidate"]
        items = spec["root"]["inputDefinitions"]["parameters"]["candidates"]["defaultValue"]
        assert len({(item["variant"], item["seed"]) for item in items}) == len(items) == len(VARIANTS) * SEEDS
        homes = {item["training"]["home"] for item in items}
        assert len(homes) == len(items)
        assert all(home.startswith("gs://bucket/checkpoints/eight/") for home in homes)
        assert "accelerator" in spec["deploymentSpec"]["executors"]["exec-try-candidate"]["container"]["resources"]
    found = pods(documents, "comparison_kubernetes_everything")
    assert (
        found["exec-try-candidate"]["nodeSelector"]
        == pods(documents, "kubernetes_everything")["exec-train-gan"]["nodeSelector"]
    )


@pytest.mark.parametrize("backend", ["2.14", "2.15", "2.16", "2.17"])
def test_every_backend_that_a_file_is_made_for_knows_all_its_fields(backend, files):
    pins = [line for line in (ROOT / "requirements" / "backends.txt").read_text().splitlines() if line[0] != "#"]
    folders = [BACKENDS / pin for pin in pins if pin.partition("==")[2].startswith(f"{backend}.")]
    assert [folder.name.partition("==")[0] for folder in folders] == ["kfp-kubernetes", "kfp-pipeline-spec"]
    absent = [folder for folder in folders if not folder.is_dir()]
    assert not absent, f"{absent} are made by `make .venv/dev`, or GAN_PIPELINES_BACKENDS says where they are"

    folder = files["kubernetes"].parent
    foreign = [folder / f"{name}.yaml" for name in foreign_pipeline.PAGES]
    others = [*foreign, *(folder / "components").iterdir()]
    command = [sys.executable, Path(__file__).parent / "backends.py", *folders, *files.values(), *others]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    parsed = json.loads(done.stdout)
    assert len(parsed) == len(NAMES) + len(foreign) + len(COMPONENTS)
    if backend in ("2.14", "2.15"):  # what is made for newer ones they do not know, so the test can tell
        assert all("has no field named" in parsed.pop(f"kubernetes_{version}") for version in ("2.16", "2.17"))
    for name, found in parsed.items():
        steps = {"kubernetes_2.17": 7, "kubernetes_gate": 8, "comparison_kubernetes_everything": 8}.get(name, 6)
        assert len(found) == (steps if "kubernetes_" in name else 0)
        assert all(len(fields) >= 8 for fields in found.values())


def test_a_condition_of_ones_own_takes_the_last_word(files):
    """The pipeline of docs/gate.md; KFP's local runner knows no conditions on outputs with a name."""
    spec = yaml.safe_load((files["kubernetes"].parent / "nightly_promotion.yaml").read_text())
    tasks = spec["root"]["dag"]["tasks"].values()
    [condition] = [task["triggerPolicy"]["condition"] for task in tasks if "triggerPolicy" in task]
    assert condition == "inputs.parameter_values['pipelinechannel--register-model-decision'] == 'promote'"


def test_training_alone_gets_a_gpu_unless_other_steps_are_named(documents, tmp_path):
    def accelerators(spec):
        executors = spec["deploymentSpec"]["executors"].items()
        found = {name: one["container"].get("resources", {}).get("accelerator") for name, one in executors}
        return {name: (one["resourceType"], one["resourceCount"]) for name, one in found.items() if one}

    [spec] = compiled(tmp_path, "platform.gpus=4")
    assert accelerators(spec) == {"exec-train-gan": ("nvidia.com/gpu", "4")}
    assert accelerators(documents["kubernetes_everything"][0]).keys() == {"exec-train-gan", "exec-evaluate-gan"}
    assert accelerators(documents["vertex"][0]) == {"exec-train-gan": ("NVIDIA_L4", "1")}
    label = "cloud.google.com/gke-accelerator"
    found = pods(documents, "kubernetes_everything")
    assert {name for name, pod in found.items() if label in pod["nodeSelector"]["labels"]} == {
        "exec-train-gan",
        "exec-evaluate-gan",
    }


def test_a_value_by_step_lets_others_have_their_own(documents):
    executors = documents["kubernetes_everything"][0]["deploymentSpec"]["executors"]
    cpus = {name: one["container"]["resources"]["resourceCpuLimit"] for name, one in executors.items()}
    assert cpus.pop("exec-train-gan") == "8"
    assert set(cpus.values()) == {"500m"}
    minutes = {
        name: int(pod["activeDeadlineSeconds"]) // 60 for name, pod in pods(documents, "kubernetes_everything").items()
    }
    assert minutes.pop("exec-train-gan") == 600
    assert set(minutes.values()) == {60}


def test_spot_nodes_bring_retries_that_a_long_training_outlives(documents, tmp_path):
    for task in documents["kubernetes_everything"][0]["root"]["dag"]["tasks"].values():
        retry = task["retryPolicy"]
        assert retry["maxRetryCount"] == 3
        # It counts from the first attempt's start: KFP's hour would end a training of a day at its first eviction.
        assert int(retry["backoffMaxDuration"].rstrip("s")) >= 7 * 24 * 3600
    [spec, _] = compiled(tmp_path, "platform.spot=true", "platform.retries=0")
    assert not any("retryPolicy" in task for task in spec["root"]["dag"]["tasks"].values())


def test_the_runs_identifier_reaches_training_without_entering_its_cache_key(documents):
    def job(name):
        return documents[name][0]["root"]["dag"]["tasks"]["train-gan"]["inputs"]["parameters"]["job"]

    constant = {"runtimeValue": {"constant": ""}}
    assert job("kubernetes") == job("kubernetes_everything") == job("kubernetes_2.16") == constant
    assert job("vertex") == {"runtimeValue": {"constant": "{{$.pipeline_job_uuid}}"}}
    variable = [{"name": "GAN_PIPELINES_JOB", "fieldPath": "metadata.labels['pipeline/runid']"}]
    for name in ("kubernetes_everything", "kubernetes_2.16"):
        found = {step: pod.get("fieldPathAsEnv") for step, pod in pods(documents, name).items()}
        assert found.pop("exec-train-gan") == variable
        assert set(found.values()) == {None}


def test_a_place_for_checkpoints_becomes_trainings_home(documents, tmp_path):
    def home(spec):
        return spec["root"]["inputDefinitions"]["parameters"]["training"]["defaultValue"].get("home")

    assert home(documents["kubernetes"][0]) is None
    assert (
        home(documents["vertex"][0]) == home(documents["kubernetes_everything"][0]) == "gs://bucket/checkpoints/{job}"
    )
    assert home(documents["kubernetes_2.16"][0]) == "/checkpoints/{job}"
    mounted = {name: pod.get("pvcMount") for name, pod in pods(documents, "kubernetes_2.16").items()}
    places = {
        name: [(mount["constant"], mount["mountPath"]) for mount in mounts or ()] for name, mounts in mounted.items()
    }
    assert places.pop("exec-train-gan") == [("images", "/data"), ("checkpoints", "/checkpoints")]
    assert places.pop("exec-export-model") == []  # it reads nothing of the user
    assert set(map(tuple, places.values())) == {(("images", "/data"),)}
    [spec, *_] = compiled(tmp_path, "training.home=gs://bucket/mine")
    assert home(spec) == "gs://bucket/mine"


def test_a_volume_for_downloads_reaches_the_steps_that_download(tmp_path):
    documents = compiled(tmp_path, "platform.cache_volume=downloads", "data.shards=2", "evaluation.extractor=inception")
    executors = documents[0]["deploymentSpec"]["executors"]
    mounts = {name: pod.get("pvcMount") for name, pod in pods({"p": documents}, "p").items()}
    mounted = {"exec-check-inputs", "exec-prepare-part", "exec-merge-parts", "exec-measure-reference"}
    assert {name for name, mount in mounts.items() if mount} == mounted
    for name in mounted:
        [mount] = mounts[name]
        assert mount["constant"] == "downloads"
        variables = {one["name"]: one["value"] for one in executors[name]["container"]["env"]}
        assert variables["GAN_PIPELINES_CACHE"] == mount["mountPath"]
    assert "platform.cache_volume" in refusal("platform=vertex", "platform.cache_volume=downloads")
    # No path of this machine is in the step's cache key.
    evaluation = documents[0]["root"]["inputDefinitions"]["parameters"]["evaluation"]["defaultValue"]
    assert evaluation.get("inception_weights") is None


def test_a_job_gets_a_folder_of_its_own_where_trainings_home_says_so(monkeypatch):
    config = TrainConfig(home="gs://bucket/checkpoints/{job}")
    assert config.of_job("1234").home == "gs://bucket/checkpoints/1234"
    assert config.of_job("0123456789").run_name == "gan-01234567"
    for environment in ({}, {"GAN_PIPELINES_JOB": ""}):  # the settings of the pods were dropped, or have no such label
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match=r"identifier of a pipeline job.*Received: none, training\.home="):
            config.of_job("")
    monkeypatch.setenv("GAN_PIPELINES_JOB", "run-of-the-pod")
    assert config.of_job("").home == "gs://bucket/checkpoints/run-of-the-pod"
    assert config.of_job("1234").home == "gs://bucket/checkpoints/1234"
    assert TrainConfig(home="gs://bucket/mine").of_job("1234").home == "gs://bucket/mine"
    assert TrainConfig().of_job("1234") == TrainConfig(run_name="gan-1234")


def test_no_file_holds_a_secret(files, monkeypatch, tmp_path):
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "GAN_PIPELINES_KFP_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:{SECRET}@mlflow")
    compiled(tmp_path, "platform.mlflow_secret=mlflow", "platform.gcs_secret=gcs")
    assert SECRET not in (tmp_path / "p.yaml").read_text()
    line = refusal(f"platform.mlflow_tracking_uri=http://user:{SECRET}@mlflow:5000")
    assert SECRET not in line
    assert line.startswith("platform: expected an address without credentials")


def test_a_secret_that_may_be_absent_says_so_where_the_backend_knows_how(documents, tmp_path):
    [reference] = pods(documents, "kubernetes_everything")["exec-train-gan"]["secretAsEnv"]
    assert "optional" not in reference
    [reference] = pods(documents, "kubernetes_2.16")["exec-train-gan"]["secretAsEnv"]
    assert reference["optional"] is True
    assert [pair["envVar"] for pair in reference["keyToEnv"]] == [
        "GAN_PIPELINES_MLFLOW_TRACKING_USERNAME",
        "GAN_PIPELINES_MLFLOW_TRACKING_PASSWORD",
    ]


@pytest.mark.parametrize(("backend", "optional"), [("2.14", None), ("2.15", False), ("2.17", True)])
def test_s3_is_reached_by_all_steps_with_the_keys_of_a_secret(tmp_path, backend, optional):
    settings = [
        "checkpoints=s3://bucket/checkpoints",
        "s3_secret=mlpipeline-minio-artifact",
        "s3_endpoint=http://minio-service.kubeflow:9000",
        "s3_region=eu-west-1",
        f"backend={backend}",
        f"optional_secrets={bool(optional)}",
    ]
    documents = compiled(tmp_path, *(f"platform.{setting}" for setting in settings))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        variables = {one["name"]: one["value"] for one in executor["container"]["env"]}
        assert variables["GAN_PIPELINES_STEP_AWS_ENDPOINT_URL_S3"] == "http://minio-service.kubeflow:9000"
        assert variables["GAN_PIPELINES_STEP_AWS_REGION"] == "eu-west-1"
    found = pods({"p": documents}, "p")
    assert len(found) == 6
    for pod in found.values():
        [reference] = pod["secretAsEnv"]
        assert reference["secretName"] == "mlpipeline-minio-artifact"
        assert {pair["secretKey"]: pair["envVar"] for pair in reference["keyToEnv"]} == {
            "accesskey": "GAN_PIPELINES_STEP_AWS_ACCESS_KEY_ID",
            "secretkey": "GAN_PIPELINES_STEP_AWS_SECRET_ACCESS_KEY",
        }
        assert reference.get("optional") is optional
    training = documents[0]["root"]["inputDefinitions"]["parameters"]["training"]["defaultValue"]
    assert training["home"] == "s3://bucket/checkpoints/{job}"


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["cpu=four"], "platform.cpu.others: expected a number of processors such as 4, 0.5 or 500m. "),
        (["memory=16GB"], "platform.memory.others: expected an amount with a unit, such as 16Gi or 500Mi. "),
        (["memory={train: 1Gi}"], "platform.memory.train"),
        (["shared_memory=0Gi"], "platform.shared_memory: expected an amount with a unit, such as 16Gi"),
        (["pod_labels={a b: c}"], "platform.pod_labels"),
        (["pod_labels={pipeline/runid: mine}"], "platform: KFP uses this label itself"),
        (["prepare_tasks=0"], "platform.prepare_tasks: Input should be greater than or equal to 1"),
        (
            ["kind=vertex", "mlflow_secrets={PASSWORD: projects/p/secrets/s/versions/1}"],
            "platform.mlflow_secrets.PASSWORD",
        ),
        (
            ["kind=vertex", "mlflow_secrets={MLFLOW_TRACKING_TOKEN: hunter2}"],
            "platform.mlflow_secrets.MLFLOW_TRACKING_TOKEN: expected projects/PROJECT/secrets/SECRET/versions",
        ),
        (["node_selector={a: -b}"], "platform.node_selector.others.a: expected a label value of "),
        (["node_selector={train: {a: b}}"], "platform.node_selector.train"),
        (["node_selector={train_gan: gpus}"], "platform.node_selector: expected labels of all steps, or of each step"),
        (["node_selector={pool: x, others: {a: b}}"], "platform.node_selector: expected labels of all steps, or of "),
        (["data_path=/images"], "platform: data_path needs data_volume"),
        (["data_volume=x", "data_path=images"], "platform: expected an absolute path for data_volume. Received: data"),
        (["data_volume=x", "cache_volume=x"], "platform: expected another name, since volumes of a pod are named by"),
        (["data_volume=x", "gcs_secret=x"], "platform: expected another name, since volumes of a pod are named by"),
        (
            ["data_volume=x", "data_path=/tmp"],
            "platform: expected a path that nothing else has in the pods. Received: d",
        ),
        (
            ["checkpoints_volume=x", "checkpoints=/minio/"],
            "platform: expected a path that nothing else has in the pods. Received: checkpoints=/minio",
        ),
        (
            ["kind=vertex", "mlflow_secrets={MLFLOW_TRACKING_TOKEN: projects/p/secrets/s/versions/1}"],
            "platform: mlflow_secrets needs mlflow_tracking_uri",
        ),
        (["data_volume=scratch"], "platform: expected another name, since volumes of a pod are named by their claims"),
        (
            ["data_volume=x", "checkpoints_volume=y", "checkpoints=/data/"],
            "platform: expected different paths. Received: checkpoints=/data/, data_path=/data",
        ),
        (
            ["mlflow_secret=My_Secret"],
            "platform.mlflow_secret: expected a name of lowercase letters, digits, - and dots",
        ),
        (["gcs_secret=a.b"], "platform.gcs_secret: expected a name of at most 63 lowercase letters"),
        (["mlflow_secret=my.secret"], None),
        (["gpus=1", "gpu_type=NVIDIA_L4"], "platform: expected a value of the node label cloud.google.com/gke-accel"),
        (["kind=vertex", "gpus=1", "gpu_type=nvidia-l4"], "platform: expected a type of GPU of Vertex AI, such as NVI"),
        *(
            ([f"mlflow_tracking_uri={address}"], "platform: expected an http:// or https:// address, ")
            for address in (
                "sqlite:///mlflow.db",
                "http://",
                "https:///path",
                "http://:5000",
                "http://a:b",
                "'http://['",
            )
        ),
        (["mlflow_tracking_uri=http://me:secret@a:b"], "platform: expected an address without credentials"),
        (
            ["checkpoints=here"],
            "platform: expected gs://bucket/prefix or s3://bucket/prefix without checkpoints_volume, or an absolute ",
        ),
        (
            ["checkpoints=gs://"],
            "platform: expected gs://bucket/prefix or s3://bucket/prefix without checkpoints_volume",
        ),
        (
            ["checkpoints=/checkpoints"],
            "platform: expected gs://bucket/prefix or s3://bucket/prefix without checkpoints_volume",
        ),
        (
            ["checkpoints_volume=claim"],
            "platform: expected gs://bucket/prefix or s3://bucket/prefix without checkpoints_volume",
        ),
        (
            ["checkpoints=gs://bucket", "checkpoints_volume=claim"],
            "platform: expected gs://bucket/prefix or s3://bucket/",
        ),
        (["gpu_type=nvidia-l4"], "platform: gpu_type needs gpus of at least 1"),
        (["backend=2.13"], "platform.backend: Input should be '2.14', '2.15', '2.16' or '2.17'"),
        (["run_as_user=0"], "platform: run_as_user needs backend=2.16 or newer"),
        (["run_as_non_root=false", "backend=2.16"], None),
        (["optional_secrets=true"], "platform: optional_secrets needs backend=2.15 or newer"),
        (["optional_secrets=true", "backend=2.15"], None),
        (
            ["tolerations=[{key: a, operator: Equal}]"],
            "platform.tolerations.others.0: expected key and value with operator=",
        ),
        (["workers_by=tfjob"], "platform: workers_by needs workers of at least 2. Received: workers=1, workers_by="),
        (["workers=2"], "several machines need a home that all of them reach: platform.checkpoints, or training.home"),
        (["workers=2", "checkpoints=gs://b/c"], None),
        (["workers=2", "checkpoints=gs://b/c", "image_pull_policy=Always"], "platform: a TrainJob takes image_pull_"),
        (
            ["workers=3", "checkpoints=gs://b/c"],
            "expected a batch size that the replicas share evenly. Received: batch",
        ),
        (["workers=2", "checkpoints=gs://b/c", "gpus=4", "gpu_steps=train_gan"], None),
        (["kind=vertex", "workers=2"], "platform.workers: unknown option"),
        (["kind=vertex", "spot=true"], "platform.spot: unknown option"),
        (["kind=vertex", "gpus=1"], "platform: gpus need gpu_type, such as NVIDIA_L4"),
        (["kind=vertex", "checkpoints=/here"], "platform: expected gs://bucket/prefix on Vertex AI. Received: check"),
        (
            ["kind=vertex", "checkpoints=s3://b/c"],
            "platform: expected gs://bucket/prefix on Vertex AI. Received: check",
        ),
        (["checkpoints=s3://"], "platform: expected gs://bucket/prefix or s3://bucket/prefix without"),
        (["s3_endpoint=minio:9000"], "platform: expected an http:// or https:// address without credentials"),
        (["s3_endpoint=http://me:word@minio:9000"], "platform: expected an http:// or https:// address without cred"),
        (["s3_secret_keys=[a, b]"], "platform: s3_secret_keys needs s3_secret. Received: s3_secret=null, s3_secret_k"),
        (["kind=borg"], "platform: expected one of 'kubernetes', 'vertex'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_reported_with_its_field(assignments, message):
    assignments = [f"platform.{assignment}" for assignment in assignments]
    if message is None:
        settings.resolve(chosen=[], assignments=assignments)
    else:
        assert refusal(*assignments).startswith(message)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.strategy=mirrored", "expected training.strategy=auto. Received: platform.workers=2, training.strat"),
        ("training.replicas=3", "expected the 2 replicas of all machines, or null. Received: platform.workers=2, trai"),
        ("training.compile=true", "several replicas cannot be compiled, expected training.compile=auto or false. "),
        ("training.home=gs://bucket", "several machines need a home that all of them reach: "),
        ("training.home=https://server/home", "several machines need a home that all of them reach: "),
        ("training.precision=float16", "float16 trains on one replica, expected training.precision=auto, float32 or"),
    ],
)
def test_what_several_machines_cannot_do_is_known_before_they_start(assignment, message):
    batch = ["training.batch_size=66"] if "replicas=3" in assignment else []
    machines = ["platform.workers=2", "training.home=gs://bucket/home"]
    assert refusal(*machines, *batch, assignment).startswith(message)


def test_a_platform_can_be_named_by_a_word_and_its_fields_set_beside_it():
    config = settings.resolve(
        chosen=["digits"], assignments=["platform.memory=4Gi", "platform=vertex", "platform.cpu=0.5"]
    )
    assert config.platform == Vertex(memory={"others": "4Gi"}, cpu={"others": "0.5"})
    assert settings.resolve(chosen=[], assignments=["platform.backend=2.17"]).platform.backend == "2.17"


def test_a_run_on_this_machine_does_not_depend_on_the_platform():
    plain = settings.resolve(chosen=["digits"], assignments=[])
    other = settings.resolve(chosen=["digits"], assignments=["platform.gpus=2"])
    assert plain.to_parameters() == other.to_parameters()
    assert "platform" not in plain.to_parameters()
    assert settings.config_hash(plain) == settings.config_hash(other)


def test_the_parts_of_a_preparation_get_what_is_meant_for_it(tmp_path):
    assignments = [
        "data.shards=3",
        "platform.memory={prepare_data: 3Gi, others: 8Gi}",
        "platform.image_pull_policy=Always",
    ]
    spec, platform = compiled(tmp_path, *assignments)
    limits = {
        name: executor["container"]["resources"]["resourceMemoryLimit"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
    }
    assert {name for name, limit in limits.items() if limit == "3Gi"} == {"exec-prepare-part", "exec-merge-parts"}
    assert "exec-prepare-data" not in limits
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == set(limits)
