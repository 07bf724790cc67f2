"""The step `check_inputs`."""

from kfp import dsl


def check_inputs(
    data: dict,
    task: dict,
    checked_data: dsl.OutputPath(dict),  # type: ignore[valid-type]  # KFP's form of an output parameter
    checked_task: dsl.OutputPath(dict),  # type: ignore[valid-type]
):
    """Finds the images, and adds the checksum of their list to the settings, so that the next steps see changed ones.

    It is never taken from the cache.

    Args:
        data: Section `data` of the config.
        task: Section `task` of the config.

    Returns:
        checked_data: The section `data`, with the checksum of the list of images.
        checked_task: The section `task`, with the checksum of the list of masks, if it has masks of one's own.
    """
    from pathlib import Path

    from ganlib import steps, storage
    from ganlib.data import DataConfig, with_fingerprint
    from ganlib.schema import parse
    from ganlib.tasks import AnyTask

    with steps.step("check_inputs"):
        found = with_fingerprint(DataConfig.model_validate(data))
        storage.write_json(Path(checked_data), found.to_parameter())
        storage.write_json(Path(checked_task), parse(AnyTask, task).pinned().to_parameter())
