"""Export: files that anybody can load without this project, checked against the trained networks."""

from ganlib.export.config import ExportConfig
from ganlib.export.model import ExportedModel, export

__all__ = ["ExportConfig", "ExportedModel", "export"]
