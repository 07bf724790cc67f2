"""Shared fixtures: a clean environment, two logical devices, and small real data that is prepared once."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import contextlib
import gc
import shutil
import signal
import warnings
from pathlib import Path

import bucket_proxy
import buckets
import fake_kfp_server
import forked_processes
import hypothesis
import pytest
import s3_buckets
import web_server
from google.cloud import storage as google_storage

from ganlib import remote, steps
from ganlib.data import DataConfig, PreparedDataset, prepare
from ganlib.evaluation import EvaluationConfig, Reference, measure_reference
from ganlib.models import Dcgan
from ganlib.objectives import NonSaturating
from ganlib.tasks import Generation
from ganlib.training import TrainConfig, TrainedModel, train

REPOSITORY = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("GAN_PIPELINES_DATA", REPOSITORY.parent / "shared" / "data"))
# The same examples in every run, so that a failure comes from the change; no deadline, since CI is noisy.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("repeatable")

SLOWEST = [
    "test_restoration",
    "test_translation",
    "test_image_runs",
    "test_survival",
    "test_export",
    "test_workers",
    "test_resume",
    "test_comparison",
    "test_contrastive",
    "test_registry",
    "test_family",
    "test_tracking",
    "test_local",
    "test_trial",
    "test_onnx",
    "test_buckets",
    "test_gan_components",
    "test_plain_install",
    "test_served",
    "test_gate",
    "test_demo",
    "test_seam",
    "test_task_contract",
    "test_network_scores",
    "test_shortcuts",
    "test_health",
    "test_train_step",
    "test_environment",
    "test_runtime",
    "test_store",
    "test_training",
]
OURS = ("MLFLOW_", "GAN_PIPELINES_", "KFP_", "TF_CONFIG", "AWS_")


def pytest_configure(config):
    """Sets up two logical CPU devices before anything touches TensorFlow's runtime."""
    import tensorflow as tf

    gc.set_threshold(*steps.COLLECTION_THRESHOLDS)
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # the case for processes that a shell starts in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    """Puts files with long tests first, so that no process ends minutes after the other."""
    items.sort(key=lambda item: SLOWEST.index(item.path.stem) if item.path.stem in SLOWEST else len(SLOWEST))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    """Isolates tests from settings of the machine and of other tests."""
    for name in list(os.environ):
        if name.startswith(OURS) and name != "GAN_PIPELINES_DATA":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture(scope="session", autouse=True)
def fresh(tmp_path_factory):
    """Runs programs that know nothing of this project, see `forked_processes`; so do exports in this process."""
    with (
        pytest.MonkeyPatch.context() as patch,
        forked_processes.forking(tmp_path_factory.mktemp("fresh"), patch) as template,
    ):
        yield template.run


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> PreparedDataset:
    """The built-in digits at 16x16."""
    return prepare(DataConfig(size=16), tmp_path_factory.mktemp("digits") / "dataset")


@pytest.fixture(scope="session")
def pairs(tmp_path_factory) -> PreparedDataset:
    """Digits and their striped negatives."""
    source = {"kind": "digits", "target": "striped_negative"}
    return prepare(DataConfig(source=source, size=16), tmp_path_factory.mktemp("pairs") / "dataset")


@pytest.fixture(scope="session")
def reference(digits, tmp_path_factory) -> Reference:
    """A reference of the digits, with a small classifier."""
    config = EvaluationConfig(
        extractor={"kind": "classifier", "network": {"width": 8, "feature_dim": 16, "epochs": 15}}
    )
    return measure_reference(digits, config, tmp_path_factory.mktemp("reference") / "reference")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data sets beside the repository. Tests that need them are skipped if they do not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real data sets: GAN_PIPELINES_DATA={SHARED_DATA} is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def fashion_mnist(shared_data) -> Path:
    """Folder of the four Fashion-MNIST files."""
    folder = shared_data / "fashion_mnist"
    if not folder.is_dir():
        pytest.skip(f"needs Fashion-MNIST in {folder}")
    return folder


@pytest.fixture
def copy(tmp_path):
    """Copies a folder, so that a test may damage it."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def trained(digits, reference, tmp_path_factory) -> TrainedModel:
    """A GAN after a few training steps on the digits."""
    config = TrainConfig(
        steps=6, batch_size=8, score_every=3, sample_every=3, checkpoint_every=6, score_samples=50, precision="float32"
    )
    return train(
        digits,
        reference,
        task=Generation(latent_dim=8),
        architecture=Dcgan(width=4),
        objective=NonSaturating(),
        config=config,
        output=tmp_path_factory.mktemp("trained") / "model",
    )


@pytest.fixture(scope="module")
def engine():
    """A client of a container engine that has the base image. Tests that need it are skipped if there is none."""
    import docker

    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        pytest.skip(f"needs a container engine: nothing answers at DOCKER_HOST={host}")
    client = docker.from_env()
    if not client.images.list(base := "python:3.11-slim"):
        client.close()
        pytest.skip(f"needs the image {base}")
    yield client
    client.close()


@pytest.fixture
def kfp():
    """The double of a KFP server."""
    with fake_kfp_server.run_server() as server:
        yield server


@pytest.fixture(scope="session")
def emulator():
    """Port of an emulator of Google Cloud Storage, which is a separate process."""
    with buckets.emulator() as port:
        yield port


@pytest.fixture(scope="session")
def s3_emulator():
    """Port of a server of S3, which is a separate process."""
    with s3_buckets.emulator() as port:
        yield port


@pytest.fixture
def left_connections():
    """Ignores open connections: Google's library leaves those of failed downloads to the garbage collector.

    They are collected here, so that no later test gets the warnings. The filter ends with the test, like all of pytest.
    """
    warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
    gc.freeze()  # existing objects are not scanned again after every test
    yield
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def scheme():
    """The storage of a test. Tests that hold for all kinds of storage replace this by `gs` and `s3`."""
    return "gs"


@pytest.fixture
def traffic(left_connections, scheme, request, monkeypatch):
    """Requests between this process and the storage, where faults can be added. The bucket `bucket` is empty."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote.bucket, "FIRST_PAUSE", 0.02)
    kind, made = {"gs": (buckets.GoogleProxy, buckets), "s3": (s3_buckets.S3Proxy, s3_buckets)}[scheme]
    port = request.getfixturevalue({"gs": "emulator", "s3": "s3_emulator"}[scheme])
    made.create(port, "bucket")
    with bucket_proxy.proxy(port, kind) as (address, traffic):
        variables = {"gs": {"STORAGE_EMULATOR_HOST": address}, "s3": {"AWS_ENDPOINT_URL_S3": address}}
        for name, value in (variables[scheme] | s3_buckets.CREDENTIALS).items():
            monkeypatch.setenv(name, value)
        tested = {(address, "bucket", in_parts) for in_parts in (False, True)}
        monkeypatch.setattr(remote.s3_conditions, "HONOURING", tested)  # so that the server is not tested each time
        yield traffic


@pytest.fixture
def bucket(traffic, scheme):
    """Address of the empty bucket."""
    return f"{scheme}://bucket"


@pytest.fixture
def objects(bucket, scheme, request):
    """The same bucket, accessed with the storage's own client."""
    if scheme == "s3":
        opened = s3_buckets.Objects(request.getfixturevalue("s3_emulator"), "bucket")
        with contextlib.closing(opened):
            yield opened
        return
    with contextlib.closing(google_storage.Client(project="test")) as client:
        yield client.bucket("bucket")


@pytest.fixture(scope="session")
def trusted(tmp_path_factory):
    """A file with a certificate for `localhost` and its key."""
    return web_server.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(trusted, monkeypatch):
    """A web server that this process and its children trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    with web_server.serving(trusted) as running:
        yield running
