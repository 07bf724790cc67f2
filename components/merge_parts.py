"""The step `merge_parts`."""

from kfp import dsl


def merge_parts(
    data: dict, parts: dsl.Input[list[dsl.Dataset]], dataset: dsl.Output[dsl.Dataset], preview: dsl.Output[dsl.HTML]
):
    """Makes one dataset of all parts, the same that prepare_data writes.

    Args:
        data: Section data of the config.
        parts: What the tasks prepare_part left behind.
        dataset: Shards, manifest and preview picture.
        preview: Page with the preview picture.
    """
    from pathlib import Path

    from ganlib import pixels, steps
    from ganlib.data import DataConfig, merge_parts

    with steps.step("merge_parts", dataset):
        folders = [Path(part.path) for part in parts]
        merged = merge_parts(DataConfig.model_validate(data), folders, Path(dataset.path))
        steps.add_metadata(dataset, merged.summary)
        picture = pixels.as_html(merged.folder / "preview.png", caption=f"{merged.name}: prepared images")
        Path(preview.path).write_text(picture, encoding="utf-8")
    # The parts are made side by side.
    dataset.metadata["seconds"] += max(part.metadata.get("seconds", 0.0) for part in parts)
