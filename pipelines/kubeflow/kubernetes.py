"""The platform `kubernetes`: a cluster with Kubeflow Pipelines."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ganlib.schema import Config, from_single
from ganlib.workers import JobKind
from pipelines.kubeflow.fields import (
    Key,
    LabelKey,
    LabelValue,
    Memory,
    ObjectName,
    Scope,
    SecretName,
    UserId,
    as_text,
    for_all_steps,
    labels_for_all_steps,
    split_address,
)
from pipelines.kubeflow.platform import Platform, names_bucket

Backend = Literal["2.14", "2.15", "2.16", "2.17"]
BACKENDS = ("2.14", "2.15", "2.16", "2.17")
OPTIONAL_SECRETS_SINCE, SECURITY_CONTEXT_SINCE, MLFLOW_PLUGIN_SINCE = "2.15", "2.16", "2.17"
RUN_LABEL = "pipeline/runid"  # KFP sets it on all pods of a run
SPOT_RETRIES = 3
KEY_FOLDER, CACHE_FOLDER = "/var/run/secrets/gcs", "/var/cache/gan-pipelines"  # in the pods
# Where the volumes of a pod are mounted: ours, and those of KFP's launcher.
TAKEN_PATHS = (KEY_FOLDER, CACHE_FOLDER, "/tmp", "/dev/shm", "/gcs", "/s3", "/minio", "/kfp-launcher")  # noqa: S108
SHARED_MEMORY, SCRATCH = EMPTY_VOLUMES = ("shared-memory", "scratch")  # names of volumes that are made for a pod


class Toleration(Config):
    """A toleration: a taint that pods accept on their nodes."""

    key: LabelKey | None = None
    """Key of the taint; null means all taints."""
    operator: Literal["Equal", "Exists"] = "Exists"
    """Equal compares the value with that of the taint; Exists accepts any value."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; null means all effects."""

    @model_validator(mode="after")
    def _check(self) -> Toleration:
        if (self.operator == "Equal") != (self.value is not None) or (self.operator == "Equal" and self.key is None):
            raise ValueError(
                "expected key and value with operator=Equal, and no value with operator=Exists. "
                f"Received: operator={self.operator}, key={self.key}, value={self.value}"
            )
        return self


class Kubernetes(Platform):
    """A Kubernetes cluster with Kubeflow Pipelines."""

    kind: Literal["kubernetes"] = "kubernetes"
    backend: Annotated[Backend, BeforeValidator(as_text)] = "2.14"
    """Version of KFP on the cluster. A server that does not know a setting of the pods refuses the run."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """Resource name of the GPUs."""
    gpu_label: LabelKey = "cloud.google.com/gke-accelerator"
    """Node label for the type of GPU."""
    spot: bool = False
    """Whether pods run on GKE spot nodes, which can be removed at any time."""
    node_selector: Annotated[dict[Scope, dict[LabelKey, LabelValue]], BeforeValidator(labels_for_all_steps)] = Field(
        default={}
    )
    """Labels that the nodes must have: for all steps, or for each step, with others for the rest. So a pool of GPUs can
    be for train_gan alone."""
    tolerations: Annotated[dict[Scope, tuple[Toleration, ...]], BeforeValidator(for_all_steps)] = Field(default={})
    """Tolerations of the pods, a list of {key, operator, value, effect}: for all steps, or for each step, with others
    for the rest."""
    shared_memory: Memory | None = None
    """Size of /dev/shm, which counts as memory; null means 64 MB. Several GPUs need some GB."""
    scratch: Memory | None = None
    """Size of a volume at /tmp, for clusters with read-only root file systems."""
    timeout_minutes: Annotated[dict[Scope, Annotated[int, Field(ge=1)]], BeforeValidator(for_all_steps)] = Field(
        default={}
    )
    """Timeout of each attempt of a step in minutes: one value for all steps, or one for each step, with others for
    the rest."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When nodes pull the image; null means the default of Kubernetes."""
    image_pull_secrets: Annotated[tuple[SecretName, ...], BeforeValidator(from_single)] = ()
    """Secrets for pulling the image."""
    run_as_user: UserId | None = None
    """User id of the steps; needs backend 2.16. Null means that of the image, 10001."""
    run_as_group: UserId | None = None
    """Group id of the steps; needs backend 2.16."""
    run_as_non_root: bool | None = None
    """Whether the cluster must refuse to run the steps as root; needs backend 2.16."""
    mlflow_secret: SecretName | None = None
    """Secret with the credentials for mlflow_tracking_uri; its keys are listed in mlflow_secret_keys."""
    mlflow_secret_keys: Annotated[tuple[Key, ...], BeforeValidator(from_single)] = (
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    )
    """Keys of mlflow_secret; use MLFLOW_TRACKING_TOKEN if the server needs a token."""
    mlflow_plugin: bool | None = None
    """Whether KFP's own MLflow plugin records the run, in mlflow_experiment; needs backend 2.17. Null means only
    without mlflow_tracking_uri, so that no run is recorded twice."""
    optional_secrets: bool = False
    """Whether steps start even if mlflow_secret or one of its keys is missing; needs backend 2.15."""
    gcs_secret: ObjectName | None = None
    """Secret with a key file for Google Cloud Storage; not needed with Workload Identity."""
    gcs_secret_key: Key = "key.json"  # noqa: S105
    """Key of gcs_secret with the file."""
    s3_secret: SecretName | None = None
    """Secret with the access key and the secret key for S3 or MinIO, such as Kubeflow's mlpipeline-minio-artifact; not
    needed where the pods' service account has a role of AWS (IRSA)."""
    s3_secret_keys: Annotated[tuple[Key, ...], Field(min_length=2, max_length=2)] = ("accesskey", "secretkey")
    """Keys of s3_secret: that of the access key, and that of the secret key."""
    s3_endpoint: str | None = None
    """Address of another S3 server than Amazon's for the steps, such as http://minio-service.kubeflow:9000."""
    s3_region: LabelValue | None = None
    """Region of the S3 buckets for the steps, such as eu-west-1."""
    checkpoints_volume: ObjectName | None = None
    """Persistent volume claim that train_gan mounts at the path checkpoints."""
    data_volume: ObjectName | None = None
    """Persistent volume claim with images, masks or weights, which all steps that read them mount at data_path. KFP
    cannot mount it read-only; a claim with the access mode ReadOnlyMany is. Several pods at once, as with data.shards,
    need such a claim or ReadWriteMany."""
    data_path: str = "/data"
    """Where data_volume is mounted in the pods; data.source.path is then below it."""
    cache_volume: ObjectName | None = None
    """Persistent volume claim for downloads of the steps before the training, such as the weights of FID, so that
    all pods and runs share them."""
    pod_labels: dict[LabelKey, LabelValue] = Field(default={})
    """Labels of the pods."""
    workers: int = Field(default=1, ge=1, le=64)
    """Number of machines that train together, each with gpus. From 2, train_gan hands its work to a job."""
    workers_by: JobKind = "trainjob"
    """Kind of that job: trainjob needs Kubeflow Trainer 2.1 on the cluster, tfjob Training Operator 1."""
    workers_runtime: ObjectName = "torch-distributed"
    """TrainingRuntime or ClusterTrainingRuntime that a TrainJob starts from. Image, command and pods are replaced."""
    workers_start_minutes: int = Field(default=60, ge=1)
    """Minutes in which all workers must have started, or the step fails; time in a queue does not count."""

    @model_validator(mode="after")
    def _check_backend(self) -> Kubernetes:
        needed = {
            "optional_secrets": OPTIONAL_SECRETS_SINCE,
            "run_as_user": SECURITY_CONTEXT_SINCE,
            "run_as_group": SECURITY_CONTEXT_SINCE,
            "run_as_non_root": SECURITY_CONTEXT_SINCE,
        }
        for name, since in needed.items():
            value = getattr(self, name)
            if value is not None and value is not False and self.is_older_than(since):
                raise ValueError(
                    f"{name} needs backend={since} or newer: an older one refuses the run. "
                    f"Received: {name}={value}, backend={self.backend}"
                )
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Kubernetes:
        path, claim = self.checkpoints, self.checkpoints_volume
        absolute = path is not None and path.startswith("/") and len(path) > 1 and ":" not in path
        if (claim is None) if (path is None or names_bucket(path, "gs", "s3")) else (absolute and claim is not None):
            return self
        raise ValueError(
            "expected gs://bucket/prefix or s3://bucket/prefix without checkpoints_volume, or an absolute path with "
            "checkpoints_volume. "
            f"Received: checkpoints={path}, checkpoints_volume={claim}"
        )

    @model_validator(mode="after")
    def _check_secrets(self) -> Kubernetes:
        for secret, key in (
            ("mlflow_secret", "mlflow_secret_keys"),
            ("gcs_secret", "gcs_secret_key"),
            ("s3_secret", "s3_secret_keys"),
        ):
            value = getattr(self, key)
            if getattr(self, secret) is None and value != Kubernetes.model_fields[key].default:
                text = value if isinstance(value, str) else f"[{', '.join(value)}]"
                raise ValueError(f"{key} needs {secret}. Received: {secret}=null, {key}={text}")
        return self

    @model_validator(mode="after")
    def _check_mlflow_plugin(self) -> Kubernetes:
        wanted, uri = self.mlflow_plugin, self.mlflow_tracking_uri
        if wanted is not None and self.is_older_than(MLFLOW_PLUGIN_SINCE):
            needs = f"mlflow_plugin needs backend={MLFLOW_PLUGIN_SINCE} or newer: an older one refuses the run"
            raise ValueError(f"{needs}. Received: mlflow_plugin={wanted}, backend={self.backend}")
        if wanted and uri is not None:
            raise ValueError(
                "expected mlflow_plugin=true or mlflow_tracking_uri, since both would record the run. "
                f"Received: mlflow_plugin=true, mlflow_tracking_uri={uri}"
            )
        if self.mlflow_secret and uri is None and not self.is_older_than(MLFLOW_PLUGIN_SINCE):
            raise ValueError(
                "mlflow_secret needs mlflow_tracking_uri, the server that it is for; KFP's MLflow plugin has its own. "
                f"Received: mlflow_secret={self.mlflow_secret}, mlflow_tracking_uri=null"
            )
        return self

    @model_validator(mode="after")
    def _check_s3(self) -> Kubernetes:
        address = self.s3_endpoint
        if address is not None and (split_address(address) is None or "@" in address):
            raise ValueError(
                "expected an http:// or https:// address without credentials, which must not be in a compiled file "
                f"(see s3_secret). Received: s3_endpoint={address.rpartition('@')[2]!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_volumes(self) -> Kubernetes:
        """Refuses names that occur twice, because KFP names the volumes of a pod by their claims and Secrets."""
        path, default = self.data_path, Kubernetes.model_fields["data_path"].default
        if self.data_volume is None and path != default:
            raise ValueError(f"data_path needs data_volume. Received: data_volume=null, data_path={path}")
        if not re.fullmatch(r"(/[^/:]+)+", path):
            raise ValueError(f"expected an absolute path for data_volume. Received: data_path={path}")
        names: dict[str, str] = dict.fromkeys(EMPTY_VOLUMES, "a volume of every pod")
        for field in ("checkpoints_volume", "data_volume", "cache_volume", "gcs_secret"):
            name = getattr(self, field)
            if name in names:
                other = names[name]
                raise ValueError(
                    f"expected another name, since volumes of a pod are named by their claims and Secrets, and {other} "
                    f"has this one. Received: {field}={name}"
                )
            if name is not None:
                names[name] = field
        for field, place in (("data_path", path), ("checkpoints", str(self.checkpoints).rstrip("/"))):
            if place in TAKEN_PATHS:
                raise ValueError(f"expected a path that nothing else has in the pods. Received: {field}={place}")
        if self.checkpoints_volume and self.data_volume and str(self.checkpoints).rstrip("/") == path:
            raise ValueError(f"expected different paths. Received: checkpoints={self.checkpoints}, data_path={path}")
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Kubernetes:
        for name in ("workers_by", "workers_runtime", "workers_start_minutes"):
            value = getattr(self, name)
            if self.workers == 1 and value != Kubernetes.model_fields[name].default:
                raise ValueError(f"{name} needs workers of at least 2. Received: workers=1, {name}={value}")
        if self.workers > 1 and self.workers_by == "trainjob" and self.image_pull_policy:
            raise ValueError(
                "a TrainJob takes image_pull_policy from its runtime alone. "
                f"Received: workers_by=trainjob, image_pull_policy={self.image_pull_policy}"
            )
        return self

    @model_validator(mode="after")
    def _check_gpu_label(self) -> Kubernetes:
        kind, label = self.gpu_type, self.gpu_label
        if kind is not None and label == Kubernetes.model_fields["gpu_label"].default and kind != kind.lower():
            raise ValueError(
                f"expected a value of the node label {label}, such as nvidia-l4 (NVIDIA_L4 is that of Vertex AI). "
                f"Received: gpu_type={kind}"
            )
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> Kubernetes:
        if RUN_LABEL in self.pod_labels:
            raise ValueError(f"KFP uses this label itself. Received: pod_labels={{{RUN_LABEL}: ...}}")
        return self

    @property
    def replicas(self) -> int:
        """The number of replicas that train, on all machines together."""
        return self.workers * (max(1, self.gpus) if "train_gan" in self.gpu_steps else 1)

    def retry_count(self) -> int:
        """Returns the number of retries of a failed step."""
        return self.retries if self.retries is not None else SPOT_RETRIES if self.spot else 0

    def uses_mlflow_plugin(self) -> bool:
        """Returns whether KFP's MLflow plugin may record the run."""
        return self.mlflow_tracking_uri is None if self.mlflow_plugin is None else self.mlflow_plugin

    def is_older_than(self, backend: str) -> bool:
        """Returns whether KFP on the cluster is older than a version."""
        return BACKENDS.index(self.backend) < BACKENDS.index(backend)
