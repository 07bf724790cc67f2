"""Export: a generator that anybody can load without this project, proved to be the trained one."""

from ganlib.export.config import ExportConfig
from ganlib.export.model import ExportedModel, export

__all__ = ["ExportConfig", "ExportedModel", "export"]
