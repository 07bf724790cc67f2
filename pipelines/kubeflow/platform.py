"""The section `platform`: where the steps of a compiled pipeline run and with what. It is no parameter of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from ganlib.config import RunConfig
from ganlib.schema import Config, from_single, from_word

Step = Literal["prepare_data", "measure_reference", "train_gan", "evaluate_gan", "export_model"]
Scope = Literal["prepare_data", "measure_reference", "train_gan", "evaluate_gan", "export_model", "others"]
Backend = Literal["2.14", "2.15", "2.16", "2.17"]
BACKENDS = ("2.14", "2.15", "2.16", "2.17")
OPTIONAL_SECRETS_SINCE, SECURITY_CONTEXT_SINCE = "2.15", "2.16"
RUN_LABEL = "pipeline/runid"  # which KFP's server gives every pod of a run
SPOT_RETRIES = 3


def _as_text(value: object) -> object:
    """Lets a number of YAML be a quantity: `platform.cpu=4`."""
    return format(value, "g") if isinstance(value, int | float) and not isinstance(value, bool) else value


def _for_others(value: object) -> object:
    """Lets one value be that of all steps: `platform.cpu=4` reads as `{"others": 4}`."""
    return value if isinstance(value, dict) else {"others": value}


@dataclass(frozen=True)
class _Like:
    """Refuses text of another form, in words: a pattern tells people little. The schema has the pattern."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.words}")
        return value


NAME, PREFIX = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?"
CPU, MEMORY = r"[1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9]|[1-9][0-9]*m", r"[1-9][0-9]*([EPTGM]i?|Ki)"
Cpu = Annotated[str, BeforeValidator(_as_text), _Like(CPU, "processors such as 4, 0.5 or 500m")]
Memory = Annotated[str, BeforeValidator(_as_text), _Like(MEMORY, "an amount with its unit, such as 16Gi or 500Mi")]
LabelKey = Annotated[str, _Like(f"{PREFIX}{NAME}", "a label's key, such as team or example.com/team")]
LabelValue = Annotated[str, BeforeValidator(_as_text), _Like(f"({NAME})?", "a label's value: letters, digits, - _ .")]
# Names of what is mounted become names of volumes, which have no dots.
OBJECT = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
ObjectName = Annotated[str, _Like(OBJECT, "a name of small letters, digits and -, at most 63")]
Key = Annotated[str, _Like(r"[-._A-Za-z0-9]{1,253}", "a key of letters, digits, - _ .")]
UserId = Annotated[int, Field(ge=0, lt=2**31)]


class Toleration(Config):
    """A taint of nodes that pods put up with."""

    key: LabelKey | None = None
    """Key of the taint; null means every taint."""
    operator: Literal["Equal", "Exists"] = "Exists"
    """Equal: the value must be that of the taint; Exists: whatever value it has."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; null means every effect."""

    @model_validator(mode="after")
    def _check(self) -> Toleration:
        if (self.operator == "Equal") != (self.value is not None) or (self.operator == "Equal" and self.key is None):
            raise ValueError(
                "expected key and value with operator=Equal, and no value with operator=Exists. "
                f"Received: operator={self.operator}, key={self.key}, value={self.value}"
            )
        return self


class Platform(Config):
    """What every platform has: processors, memory, retries, a place for checkpoints, and an MLflow server."""

    gpus: int = Field(default=0, ge=0, le=16)
    """GPUs of each step in gpu_steps."""
    gpu_type: LabelValue | None = None
    """Kind of GPU, such as nvidia-l4 (value of the nodes' label gpu_label) or, on Vertex, NVIDIA_L4."""
    gpu_steps: Annotated[tuple[Step, ...], BeforeValidator(from_single)] = ("train_gan",)
    """Steps that get GPUs; measure_reference and evaluate_gan gain by them too."""
    cpu: Annotated[dict[Scope, Cpu], BeforeValidator(_for_others)] = Field(default={})
    """Processors, such as 4 or 500m: of all steps, or by step with others for the rest."""
    memory: Annotated[dict[Scope, Memory], BeforeValidator(_for_others)] = Field(default={})
    """Memory, such as 16Gi: of all steps, or by step with others for the rest."""
    retries: int | None = Field(default=None, ge=0, le=50)
    """Times that a failed step is started again; null means 3 on spot nodes and 0 elsewhere."""
    retry_seconds: int = Field(default=60, ge=0)
    """Seconds before the first of these starts, doubled with each."""
    checkpoints: str | None = None
    """Where training keeps its checkpoints: gs://bucket/prefix, or a path in checkpoints_volume; a folder a run."""
    mlflow_tracking_uri: str | None = None
    """Address of the MLflow server as pods reach it, without credentials."""
    mlflow_experiment: str | None = Field(default=None, min_length=1)
    """MLflow experiment of the runs."""

    @model_validator(mode="after")
    def _check_tracking(self) -> Platform:
        uri = self.mlflow_tracking_uri
        if uri is None:
            return self
        try:
            parts = urlsplit(uri)
            server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, or brackets that do not match
            server = False
        shown = uri.rpartition("@")[2]
        if "@" in uri.partition("://")[2].partition("/")[0]:
            raise ValueError(
                "credentials do not belong into a compiled file, expected an address without them (see mlflow_secret). "
                f"Received: mlflow_tracking_uri=...@{shown}"
            )
        if not server:
            raise ValueError(
                f"expected an http:// or https:// address with a host, since every pod has its own disk. "
                f"Received: mlflow_tracking_uri={shown!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_gpu(self) -> Platform:
        if self.gpus and not self.gpu_steps:
            raise ValueError(f"expected a step that gets the GPUs. Received: gpus={self.gpus}, gpu_steps=[]")
        if self.gpu_type is not None and not self.gpus:
            raise ValueError(f"expected gpus of at least 1. Received: gpus=0, gpu_type={self.gpu_type}")
        return self

    def attempts(self) -> int:
        """Returns how often a failed step is started again."""
        return self.retries or 0


class Kubernetes(Platform):
    """A Kubernetes cluster with Kubeflow Pipelines."""

    kind: Literal["kubernetes"] = "kubernetes"
    backend: Annotated[Backend, BeforeValidator(_as_text)] = "2.14"
    """Version of the cluster's KFP; one that does not know a setting would drop them all without a word."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    """Name of the resource that GPUs are."""
    gpu_label: LabelKey = "cloud.google.com/gke-accelerator"
    """Label of nodes that tells their kind of GPU."""
    spot: bool = False
    """Whether pods go to GKE's spot nodes, which may vanish at any time."""
    node_selector: dict[LabelKey, LabelValue] = Field(default={})
    """Labels that nodes must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of nodes that pods put up with, as a list of {key, operator, value, effect}."""
    shared_memory: Memory | None = None
    """Size of /dev/shm, taken from the memory; null means the cluster's 64 MB. Several GPUs want some GB."""
    scratch: Memory | None = None
    """Size of a volume at /tmp, for clusters that make root file systems read-only."""
    timeout_minutes: Annotated[dict[Scope, Annotated[int, Field(ge=1)]], BeforeValidator(_for_others)] = Field(
        default={}
    )
    """Minutes after which an attempt of a step is ended: of all steps, or by step with others for the rest."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When nodes fetch the image; null means Kubernetes' own choice."""
    image_pull_secrets: Annotated[tuple[ObjectName, ...], BeforeValidator(from_single)] = ()
    """Secrets that the image is fetched with."""
    run_as_user: UserId | None = None
    """User id of the steps; needs backend 2.16. Null means the image's, 10001."""
    run_as_group: UserId | None = None
    """Group id of the steps; needs backend 2.16."""
    run_as_non_root: bool | None = None
    """Whether the cluster shall refuse to run the steps as root; needs backend 2.16."""
    mlflow_secret: ObjectName | None = None
    """Secret whose keys, mlflow_secret_keys, become environment variables of their name."""
    mlflow_secret_keys: Annotated[tuple[Key, ...], BeforeValidator(from_single)] = (
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
    )
    """Its keys; MLFLOW_TRACKING_TOKEN where the server wants a token."""
    optional_secrets: bool = False
    """Whether steps start although mlflow_secret or a key of it is absent; needs backend 2.15."""
    gcs_secret: ObjectName | None = None
    """Secret with a key file for Google Cloud Storage; not needed with Workload Identity."""
    gcs_secret_key: Key = "key.json"  # noqa: S105
    """Key of that Secret that holds the file."""
    checkpoints_volume: ObjectName | None = None
    """Persistent volume claim that is mounted at checkpoints into train_gan."""
    cache_volume: ObjectName | None = None
    """Persistent volume claim with what prepare_data and measure_reference download, such as FID's weights: once for
    all pods and runs."""
    pod_labels: dict[LabelKey, LabelValue] = Field(default={})
    """Labels of the pods."""

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
            if value is not None and value is not False and self.before(since):
                raise ValueError(
                    f"{name} needs backend={since} or newer: an older one would drop all settings of the pods. "
                    f"Received: {name}={value}, backend={self.backend}"
                )
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Kubernetes:
        place, claim = self.checkpoints, self.checkpoints_volume
        mounted = place is not None and place.startswith("/") and len(place) > 1 and ":" not in place
        if (claim is None) if (place is None or _is_bucket(place)) else (mounted and claim is not None):
            return self
        raise ValueError(
            "expected gs://bucket/prefix alone, or an absolute path with checkpoints_volume, the claim that is mounted "
            f"there. Received: checkpoints={place}, checkpoints_volume={claim}"
        )

    @model_validator(mode="after")
    def _check_secrets(self) -> Kubernetes:
        for secret, key in (("mlflow_secret", "mlflow_secret_keys"), ("gcs_secret", "gcs_secret_key")):
            value = getattr(self, key)
            if getattr(self, secret) is None and value != Kubernetes.model_fields[key].default:
                shown = value if isinstance(value, str) else f"[{', '.join(value)}]"
                raise ValueError(f"{key} is of no use without {secret}. Received: {secret}=null, {key}={shown}")
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> Kubernetes:
        if RUN_LABEL in self.pod_labels:
            raise ValueError(f"this label is KFP's own. Received: pod_labels={{{RUN_LABEL}: ...}}")
        return self

    def attempts(self) -> int:
        """Returns how often a failed step is started again."""
        return self.retries if self.retries is not None else SPOT_RETRIES if self.spot else 0

    def before(self, backend: str) -> bool:
        """Says whether the cluster's KFP is older than a version of it."""
        return BACKENDS.index(self.backend) < BACKENDS.index(backend)


class Vertex(Platform):
    """Vertex AI Pipelines, which choose machines by processors, memory and GPUs."""

    kind: Literal["vertex"] = "vertex"

    @model_validator(mode="after")
    def _check(self) -> Vertex:
        if self.checkpoints is not None and not _is_bucket(self.checkpoints):
            raise ValueError(f"expected gs://bucket/prefix. Received: checkpoints={self.checkpoints!r}")
        if self.gpus and self.gpu_type is None:
            raise ValueError(f"expected gpu_type, such as NVIDIA_L4. Received: gpus={self.gpus}, gpu_type=null")
        return self


AnyPlatform = Annotated[Kubernetes | Vertex, Field(discriminator="kind"), BeforeValidator(from_word)]


class PipelineConfig(RunConfig):
    """A run, and the platform that its pipeline is compiled for."""

    platform: AnyPlatform = Kubernetes()
    """Where the compiled pipeline runs, and with what; `run` does not look at it."""

    @model_validator(mode="after")
    def _check_home(self) -> PipelineConfig:
        if self.platform.checkpoints and self.training.home:
            raise ValueError(
                "expected one place for checkpoints: platform.checkpoints, a folder a run, or training.home. "
                f"Received: platform.checkpoints={self.platform.checkpoints}, training.home={self.training.home}"
            )
        return self

    def to_sections(self) -> dict[str, dict[str, Any]]:
        """Returns one dict a section, the platform's included, which is no parameter of the pipeline."""
        return {**self.to_parameters(), "platform": self.platform.to_parameter()}


def _is_bucket(place: str) -> bool:
    return place.startswith("gs://") and bool(place.removeprefix("gs://").strip("/"))


__all__ = ["AnyPlatform", "Kubernetes", "PipelineConfig", "Platform", "Toleration", "Vertex"]
