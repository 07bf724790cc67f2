"""The step `merge_parts`."""

from kfp import dsl


def merge_parts(
    data: dict, parts: dsl.Input[list[dsl.Dataset]], dataset: dsl.Output[dsl.Dataset], preview: dsl.Output[dsl.HTML]
):
    """Merges all parts into one dataset, which is the same that prepare_data would write.

    Args:
        data: Section `data` of the config.
        parts: Outputs of the tasks prepare_part.

    Returns:
        dataset: Shards, manifest and preview image.
        preview: HTML page with the preview image.
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
    # Parts are prepared in parallel, so the slowest one counts.
    dataset.metadata["seconds"] += max(part.metadata.get("seconds", 0.0) for part in parts)
