"""The step `prepare_data`."""

from kfp import dsl


def prepare_data(data: dict, dataset: dsl.Output[dsl.Dataset], preview: dsl.Output[dsl.HTML]):
    """Converts images to a common size and colour, and writes them as TFRecord shards.

    Args:
        data: Section `data` of the config.

    Returns:
        dataset: Shards, manifest and preview image.
        preview: HTML page with the preview image.
    """
    from pathlib import Path

    from ganlib import pixels, steps
    from ganlib.data import DataConfig, prepare

    with steps.step("prepare_data", dataset):
        prepared = prepare(DataConfig.model_validate(data), Path(dataset.path))
        steps.add_metadata(dataset, prepared.summary)
        picture = pixels.as_html(prepared.folder / "preview.png", caption=f"{prepared.name}: prepared images")
        Path(preview.path).write_text(picture, encoding="utf-8")
