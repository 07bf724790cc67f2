"""Parses compiled pipelines as one version of KFP's backend does: `python tests/backends.py FOLDER FOLDER FILE...`.

The folders hold `kfp-kubernetes` and `kfp-pipeline-spec` of that version, and nothing else; fields that these do not
know are errors, as in the real backend, which then refuses the run.
"""

import json
import sys
import types
from pathlib import Path

import yaml
from google.protobuf import json_format


def messages(*folders):
    """Returns the modules of both packages."""
    # A package of this name that has no code of its own: only the messages of that version can be found in it.
    package = types.ModuleType("kfp")
    package.__path__ = [str(Path(folder) / "kfp") for folder in folders]
    sys.modules["kfp"] = package
    sys.path.insert(0, str(Path(folders[0]) / "kfp" / "kubernetes"))
    import kubernetes_executor_config_pb2 as pods
    from kfp.pipeline_spec import pipeline_spec_pb2 as pipelines

    for module, folder in zip((pods, pipelines), folders, strict=True):
        assert Path(module.__file__).is_relative_to(Path(folder))
    return pods, pipelines


def parsed(file, pods, pipelines):
    """Returns the settings of each step's pods, or what is wrong."""
    spec, *others = yaml.safe_load_all(Path(file).read_text())
    found = {}
    try:
        json_format.ParseDict(spec, pipelines.PipelineSpec())
        json_format.ParseDict(spec["deploymentSpec"], pipelines.PipelineDeploymentConfig())
        for other in others:
            json_format.ParseDict(other, pipelines.PlatformSpec())
            for name, executor in other["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
                message = json_format.ParseDict(executor, pods.KubernetesExecutorConfig())
                found[name] = sorted(descriptor.name for descriptor, _ in message.ListFields())
    except json_format.ParseError as error:
        return str(error)
    return found


if __name__ == "__main__":
    known = messages(*sys.argv[1:3])
    print(json.dumps({Path(file).stem: parsed(file, *known) for file in sys.argv[3:]}))
