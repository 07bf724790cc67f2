"""Images: where they come from, how they are prepared, and how they are read back."""

from etils import epy

# Lazy, because the worker processes that open images need few of these and must start fast.
with epy.lazy_api_imports(globals()):
    from ganlib.data.archive import Archive
    from ganlib.data.arrays import Arrays
    from ganlib.data.base import DataSource, Listing
    from ganlib.data.config import AnySource, DataConfig
    from ganlib.data.description import describe, print_description
    from ganlib.data.digits import Digits
    from ganlib.data.image_folder import ImageFolder
    from ganlib.data.images import Images
    from ganlib.data.merging import merge_parts
    from ganlib.data.paired_images import PairedImages
    from ganlib.data.pictures import read_pictures
    from ganlib.data.preparation import prepare, prepare_part, with_fingerprint
    from ganlib.data.records import PreparedDataset
    from ganlib.data.value_survey import survey

__all__ = [
    "AnySource",
    "Archive",
    "Arrays",
    "DataConfig",
    "DataSource",
    "Digits",
    "ImageFolder",
    "Images",
    "Listing",
    "PairedImages",
    "PreparedDataset",
    "describe",
    "merge_parts",
    "prepare",
    "prepare_part",
    "print_description",
    "read_pictures",
    "survey",
    "with_fingerprint",
]
