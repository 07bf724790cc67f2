"""A pipeline of other people, who take components of ours from files.

`python tests/foreign_pipeline.py COMPONENTS compile FILE` compiles it, and
`python tests/foreign_pipeline.py COMPONENTS run FOLDER TRAINED DATASET REFERENCE` runs it on this machine.
"""

import sys
from pathlib import Path

from kfp import compiler, components, dsl, local


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def decide(scores: dsl.Input[dsl.Metrics], measure: str, at_most: float) -> str:
    """Says whether a model is worth a place in the shop."""
    value = scores.metadata[measure]
    print(f"{measure}={value} protocol={scores.metadata['protocol']}")
    return "ship" if value <= at_most else "keep"


def build(folder):
    """Returns the pipeline, with the components that lie in a folder."""
    evaluate_gan, export_model = (
        components.load_component_from_file(str(Path(folder) / f"{name}.yaml"))
        for name in ("evaluate_gan", "export_model")
    )

    @dsl.pipeline(name="shop-window")
    def shop_window(trained: str, dataset: str, reference: str, at_most: float = 1e9):
        imported = dsl.importer(artifact_uri=trained, artifact_class=dsl.Model)
        images = dsl.importer(artifact_uri=dataset, artifact_class=dsl.Dataset)
        measured = dsl.importer(artifact_uri=reference, artifact_class=dsl.Artifact)
        scored = evaluate_gan(
            trained=imported.output, dataset=images.output, reference=measured.output, evaluation={"samples": 60}
        )
        decided = decide(scores=scored.outputs["scores"], measure="fd_random", at_most=at_most)
        with dsl.If(decided.output == "ship"):
            export_model(trained=imported.output, scores=scored.outputs["scores"])

    return shop_window


if __name__ == "__main__":
    folder, verb, place, *inputs = sys.argv[1:]
    pipeline = build(folder)
    if verb == "compile":
        compiler.Compiler().compile(pipeline, place)
    else:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=place)
        pipeline(**dict(zip(("trained", "dataset", "reference"), inputs, strict=True)))
