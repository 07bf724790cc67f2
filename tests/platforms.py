"""Platforms that files are compiled for: `python tests/platforms.py FOLDER` compiles one for each.

Beside them, `components/` and pipelines of other people that take some of them, such as `shop_window.yaml`.
"""

import os
import sys
from pathlib import Path

import foreign_pipeline
import yaml

from pipelines.budgets import Budget
from pipelines.candidates import comparison_group, make_candidates, resolve_variants
from pipelines.gan_comparison import compile_comparison
from pipelines.gan_components import COMPONENTS, compile_component
from pipelines.gan_training import compile_pipeline
from pipelines.kubeflow.config import PipelineConfig
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.kubeflow.vertex import Vertex
from pipelines.variants import parse_variant

IMAGE = "example/gan-pipelines-python@sha256:" + "0" * 64

EVERYTHING = """
gpus: 2
gpu_type: nvidia-l4
gpu_steps: [train_gan, evaluate_gan]
cpu: {train_gan: 8, others: 500m}
memory: 16Gi
checkpoints: gs://bucket/checkpoints
mlflow_tracking_uri: http://mlflow.tracking:5000
mlflow_experiment: digits
spot: true
node_selector: {train_gan: {pool: gan, disk: ssd}, others: {pool: small}}
tolerations:
  train_gan: [{key: nvidia.com/gpu}, {key: dedicated, operator: Equal, value: gan, effect: NoSchedule}]
data_volume: images
shared_memory: 4Gi
scratch: 20Gi
timeout_minutes: {train_gan: 600, others: 60}
image_pull_policy: IfNotPresent
image_pull_secrets: registry
mlflow_secret: mlflow
gcs_secret: gcs
pod_labels: {team: vision}
"""
NEWER = "{backend: 2.16, optional_secrets: true, run_as_user: 10001, run_as_group: 0, run_as_non_root: true}"
NEWEST = """
backend: 2.17
optional_secrets: true
run_as_user: 10001
run_as_non_root: true
prepare_tasks: 4
gpus: 1
node_selector: {train_gan: {pool: gpus}, others: {pool: small}}
tolerations: {train_gan: [{key: nvidia.com/gpu}]}
scratch: 10Gi
cache_volume: downloads
checkpoints: s3://bucket/checkpoints
s3_secret: mlpipeline-minio-artifact
s3_endpoint: http://minio-service.kubeflow:9000
s3_region: us-east-1
data_volume: images
mlflow_plugin: true
mlflow_experiment: digits
image_pull_policy: Always
image_pull_secrets: registry
timeout_minutes: 600
pod_labels: {team: vision}
retries: 3
"""
GATE = {"champion": "better", "max_floor_ratio": 4.0, "trial": True}
CONFIGS = {
    "kubernetes_2.17": {"data": {"shards": 1000}},
    "kubernetes_gate": {"export": {"registered_model": "digits", "gate": GATE}},
}
MADE_FOR = {
    "kubernetes": Kubernetes(),
    "kubernetes_everything": Kubernetes(**yaml.safe_load(EVERYTHING)),
    "kubernetes_2.16": Kubernetes(
        **{**yaml.safe_load(EVERYTHING), **yaml.safe_load(NEWER), "checkpoints": "/checkpoints"},
        checkpoints_volume="checkpoints",
    ),
    "kubernetes_2.17": Kubernetes(**yaml.safe_load(NEWEST)),
    "kubernetes_workers": Kubernetes(**yaml.safe_load(EVERYTHING), workers=4, workers_by="tfjob"),
    "kubernetes_gate": Kubernetes(**yaml.safe_load(EVERYTHING)),
    "vertex": Vertex(
        gpus=1,
        gpu_type="NVIDIA_L4",
        cpu=8,
        memory="32Gi",
        retries=3,
        checkpoints="gs://bucket/checkpoints",
        mlflow_tracking_uri="https://mlflow.example",
        mlflow_secrets={"MLFLOW_TRACKING_TOKEN": "projects/p/secrets/mlflow/versions/latest"},
    ),
}
COMPARED_FOR = {f"comparison_{word}": MADE_FOR[word] for word in ("kubernetes_everything", "vertex")}
NAMES = (*MADE_FOR, *COMPARED_FOR)
VARIANTS = ("dcgan", "sngan", "lsgan", "wgan", "wgan-gp", "r3gan", "conditional", "wide: sngan model.width=96")
SEEDS = 5


def compare(platform, path):
    """Compiles a comparison of eight variants."""
    found = [parse_variant(text) for text in VARIANTS]
    size = ["data.size=32"]
    base, configs = resolve_variants(found, chosen=["digits"], files=(), assignments=size, budget=Budget())
    made = make_candidates(configs, seeds=SEEDS, comparison="eight", home=f"{platform.checkpoints}/eight")
    group = comparison_group("eight", base, place=platform.checkpoints)
    compile_comparison(base, made, group, path, image=IMAGE, platform=platform)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for word, made_for in COMPARED_FOR.items():
        compare(made_for, folder / f"{word}.yaml")
    for word, made_for in MADE_FOR.items():
        config = PipelineConfig.model_validate(CONFIGS.get(word, {}))
        compile_pipeline(config, folder / f"{word}.yaml", image=IMAGE, platform=made_for)
    (folder / "components").mkdir()
    for name in COMPONENTS:
        compile_component(name, folder / "components" / f"{name}.yaml", image=IMAGE)
    os.chdir(folder)
    for name in foreign_pipeline.PAGES:
        foreign_pipeline.build(name)
