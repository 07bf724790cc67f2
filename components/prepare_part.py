"""The step `prepare_part`."""

from kfp import dsl


def prepare_part(data: dict, part: int, of: int, images: dsl.Output[dsl.Dataset]):
    """Converts one part of the images to a common size and colour, and writes them as TFRecord shards.

    Args:
        data: Section `data` of the config.
        part: Number of the part, from 0.
        of: Number of parts.

    Returns:
        images: Shards of the part and their description.
    """
    from pathlib import Path

    from ganlib import steps
    from ganlib.data import DataConfig, prepare_part

    with steps.step("prepare_part", images):
        prepared = prepare_part(DataConfig.model_validate(data), Path(images.path), part=part, of=of)
        steps.add_metadata(images, prepared.summary)
