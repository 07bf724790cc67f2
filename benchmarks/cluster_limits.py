"""How close a compiled pipeline comes to the limits of a cluster: an argument of a process, and a workflow in etcd.

    python benchmarks/cluster_limits.py [--shards 1 2 32 150 1000 10000] [--address 300] [--tasks 32]

A model, not a measurement: it builds what KFP 2.17 and Argo build, from the compiled file and long addresses of
artifacts. `merge_parts` gets the artifacts of all parts in one argument (`driver.go`, `launcher_v2.go`), which Linux
limits to 128 KiB. Argo keeps a workflow with the state of all its nodes in one object. Above 1 MiB it packs the states,
and fails if that does not suffice (`packer.go`). The Retry button of KFP's page unpacks them (`RetryRun`), and etcd
then takes 1.5 MiB. Each iteration of a loop has six nodes here: the loop's item, its driver, the sub-pipeline, the
task's driver, the task, and its pod. The parameters of a node are those that `argocompiler` gives it.
"""

import argparse
import base64
import gzip
import json
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import yaml

from ganlib.config import RunConfig
from ganlib.selection import Halving
from pipelines.budgets import Budget
from pipelines.candidates import comparison_group, make_candidates, resolve_variants
from pipelines.gan_comparison import compile_comparison
from pipelines.gan_training import compile_pipeline
from pipelines.kubeflow.kubernetes import Kubernetes
from pipelines.variants import parse_variant

ARGUMENT = 128 * 1024  # bytes, Linux: MAX_ARG_STRLEN
PACK_ABOVE = 1024 * 1024  # bytes, Argo: DefaultMaxWorkflowSize
ETCD = 3 * 1024 * 1024 // 2  # bytes, etcd: --max-request-bytes
ADDRESS = 300  # characters of an artifact's address: bucket, namespace, pipeline, run, task and name
SESSION = {  # where an artifact is stored, with Kubeflow's own store: `getDefaultMinioSessionInfo` in KFP's env.go
    "Provider": "minio",
    "Params": {
        "accessKeyKey": "accesskey",
        "disableSSL": "true",
        "endpoint": "minio-service.kubeflow:9000",
        "fromEnv": "false",
        "maxRetries": "5",
        "region": "minio",
        "secretKeyKey": "secretkey",
        "secretName": "mlpipeline-minio-artifact",
    },
}
PART = {"part": 9999, "train": 1_000_000, "test": 100_000, "skipped": 1000, "seconds": 10000.01}
HALVING = Halving(
    fraction=0.25,
    former="a-comparison-of-variants",
    candidates=40,
    correlation=0.8123456789012345,
    low=0.7123456789012345,
    high=0.9123456789012345,
    kept=0.9123456789012345,
    data="0" * 64,
)
IMAGE = "registry.example.com/team/gan@sha256:" + "0" * 64
NODE = {  # what every node has besides its parameters
    "name": "gan-training-abcde.root.for-loop-2(0:0).iteration-iteration-driver.prepare-part",
    "displayName": "prepare-part",
    "type": "Pod",
    "templateName": "system-container-executor",
    "templateScope": "local/gan-training-abcde",
    "phase": "Succeeded",
    "boundaryID": "gan-training-abcde-1234567890",
    "startedAt": "2026-11-28T12:00:00Z",
    "finishedAt": "2026-11-28T12:10:00Z",
    "estimatedDuration": 600,
    "progress": "1/1",
    "resourcesDuration": {"cpu": 600, "memory": 600},
    "hostNodeName": "node-pool-1-12345678-abcd",
    "outputs": {"exitCode": "0"},
}


def sizes(shards: int, *, platform: Kubernetes, address: int = ADDRESS) -> dict[str, int]:
    """Returns the number of parts, and bytes: the longest argument, and the workflow packed and unpacked.

    Args:
        shards: Setting `data.shards`.
        platform: Platform that the pipeline is compiled for.
        address: Number of characters of an artifact's address.
    """
    config = RunConfig.model_validate({"data": {"shards": shards}})
    text = _compiled(lambda path: compile_pipeline(config, path, platform=platform, image=IMAGE))
    parts = min(shards, platform.prepare_tasks)
    settings = {"data": config.to_parameters()["data"] | {"fingerprint": "0" * 64}}
    argument = _argument("parts", settings if parts > 1 else {}, [_artifact(address, PART)] * parts, address)
    return {"parts": parts, "argument": argument, **_workflow(text, {"comp-prepare-part": parts}, settings, address)}


def comparison_sizes(count: int, seeds: int, *, platform: Kubernetes, address: int = ADDRESS) -> dict[str, int]:
    """Returns the same for a comparison, with the number of its candidates, and the argument that a halving adds.

    Args:
        count: Number of variants.
        seeds: Number of seeds of each.
        platform: Platform that the pipeline is compiled for.
        address: Number of characters of an artifact's address.
    """
    found = [parse_variant(f"variant-{width}: r3gan model.width={width}") for width in range(16, 16 + count)]
    base, configs = resolve_variants(
        found, chosen=["digits"], files=(), assignments=["data.size=32"], budget=Budget("images", 500_000)
    )
    home = "s3://bucket-of-a-team/checkpoints-of-comparisons"
    candidates = make_candidates(configs, seeds=seeds, comparison="a-comparison-of-variants", home=home)
    group = comparison_group("a-comparison-of-variants", base, place=home)
    text = _compiled(lambda path: compile_comparison(base, candidates, group, path, platform=platform, image=IMAGE))
    evaluation = base.to_parameters()["evaluation"]
    settings = {"candidate": candidates[0].without_defaults(), "evaluation": evaluation, "comparison": asdict(group)}
    models = [_artifact(address, {"seconds": 10000.01})] * len(candidates)
    argument = _argument("candidates", {"evaluation": evaluation}, models, address)
    whole = len(_dump({"candidates": [one.without_defaults() for one in candidates]}))
    halved = {"candidates": [one.model_copy(update={"halving": HALVING}).without_defaults() for one in candidates]}
    times = {"comp-try-candidate": len(candidates)}
    return {
        "candidates": len(candidates),
        "argument": max(argument, whole),  # the root driver gets all parameters of the run
        "halving": _argument("paused", halved, models, address),  # `halve_candidates` gets both
        **_workflow(text, times, settings, address),
    }


def _compiled(compile_to: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_to(path)
        return path.read_text(encoding="utf-8")


def _argument(name: str, settings: dict, artifacts: list[dict], address: int) -> int:
    """Returns the length of what the task after a loop is told, in bytes."""
    found = {"parameterValues": settings, "artifacts": {name: {"artifacts": artifacts}}}
    return len(_dump({"inputs": found, "outputs": {"artifacts": {"output": _artifact(address, {})}}}))


def _workflow(text: str, times: dict[str, int], settings: dict, address: int) -> dict[str, int]:
    """Returns the bytes of a workflow with the states of all its nodes, unpacked and packed.

    Args:
        text: The compiled file.
        times: How often a loop runs a component.
        settings: Parameters of each task.
        address: Number of characters of an artifact's address.
    """
    spec, *more = yaml.safe_load_all(text)
    pods = more[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if more else {}
    nodes = [
        node
        for name in _tasks(spec)
        for node in _nodes(spec, pods, name, settings, address, loop=name in times) * times.get(name, 1)
    ]
    states = {key: node | {"id": key, "children": [key]} for key, node in zip(_keys(len(nodes)), nodes, strict=True)}
    template = len(text.encode()) * 2  # the spec, and as arguments of the workflow the components and containers again
    packed = base64.b64encode(gzip.compress(_dump(states).encode()))
    return {"workflow": template + len(_dump(states)), "packed": template + len(packed)}


def _keys(count: int) -> list[str]:
    """Returns identifiers of nodes, which end in a hash as Argo's do and so do not pack."""
    return [f"gan-training-abcde-{zlib.crc32(str(number).encode()):010d}" for number in range(count)]


def _tasks(spec: dict) -> list[str]:
    """Returns the components of all tasks, those of a loop too."""
    dags = [spec["root"]["dag"], *(item["dag"] for item in spec["components"].values() if "dag" in item)]
    names = [task["componentRef"]["name"] for dag in dags for task in dag["tasks"].values()]
    return [name for name in names if "dag" not in spec["components"][name]]


def _nodes(spec: dict, pods: dict, name: str, settings: dict, address: int, *, loop: bool) -> list[dict]:
    """Returns the states of the nodes of one task, and of the iteration that it is alone in."""
    component = spec["components"][name]
    label = component["executorLabel"]
    container = spec["deploymentSpec"]["executors"][label]["container"]
    config = pods.get(label, {})
    inputs = {"inputs": {"parameterValues": settings}, "outputs": {"artifacts": {"images": _artifact(address, PART)}}}
    launcher = ["/kfp-launcher/launch", "--executor_input", _dump(inputs), "--component_spec", _dump(component), "--"]
    arguments = [*launcher, *container["command"], *container["args"]]
    patch = _dump({"containers": [{"name": "main", "image": container["image"], "command": arguments}]})
    task = _dump({"componentRef": {"name": name}, "inputs": component.get("inputDefinitions", {})})
    driver = {"component": _dump(component), "task": task, "container": _dump(container), "kubernetes": _dump(config)}
    nodes = [_node(driver, patch=patch), _node({"pod-spec-patch": patch}), _node({"pod-spec-patch": patch})]
    item = {"component": _dump(component), "task": task, "iteration-index": "0"}
    return nodes + ([_node({}), _node(item), _node({})] if loop else [])


def _node(parameters: dict[str, str], *, patch: str | None = None) -> dict:
    entries = [{"name": name, "value": value} for name, value in parameters.items()]
    outputs = [{"name": "pod-spec-patch", "value": patch}] if patch else []
    return NODE | {"inputs": {"parameters": entries}, "outputs": {"parameters": outputs}}


def _artifact(address: int, summary: dict) -> dict:
    """Returns an artifact with the metadata `summary` as the driver describes it to the launcher."""
    return {
        "name": "projects/local/locations/us-central1/metadataStores/default/artifacts/123456789",
        "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
        "uri": "minio://" + "x" * (address - len("minio://")),
        "metadata": {"display_name": "images", "store_session_info": _dump(SESSION), **summary},
    }


def _dump(value: object) -> str:
    return json.dumps(value)


def main() -> None:
    """Prints a row for each number of shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 2, 8, 32, 150, 1000, 10_000])
    parser.add_argument("--address", type=int, default=ADDRESS)
    parser.add_argument("--tasks", type=int, default=Kubernetes().prepare_tasks)
    options = parser.parse_args()
    platform = Kubernetes(prepare_tasks=options.tasks)
    print("shards  parts  argument of 128 KiB  workflow KiB  packed KiB of 1024  retry by the page")
    for shards in options.shards:
        size = sizes(shards, platform=platform, address=options.address)
        share, whole, packed = size["argument"] / ARGUMENT, size["workflow"] / 1024, size["packed"] / 1024
        retry = "yes" if size["workflow"] < ETCD else "no"
        print(f"{shards:6d}  {size['parts']:5d}  {share:19.0%}  {whole:12.0f}  {packed:18.0f}  {retry:>17s}")
    print("\nvariants x seeds  argument of 128 KiB  with a halving  workflow KiB  packed KiB of 1024")
    for count, seeds in ((2, 3), (6, 2), (8, 5), (15, 5), (10, 10)):
        size = comparison_sizes(count, seeds, platform=platform, address=options.address)
        share, whole, packed = size["argument"] / ARGUMENT, size["workflow"] / 1024, size["packed"] / 1024
        halved = size["halving"] / ARGUMENT
        print(f"{count:8d} x {seeds:<5d}  {share:19.0%}  {halved:14.0%}  {whole:12.0f}  {packed:18.0f}")


if __name__ == "__main__":
    main()
