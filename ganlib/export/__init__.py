"""Export: files that anybody can load without this project, checked against the trained networks."""

from ganlib.export.config import ExportConfig
from ganlib.export.model import ExportedModel, export
from ganlib.export.trial import Trial, try_server

__all__ = ["ExportConfig", "ExportedModel", "Trial", "export", "try_server"]
