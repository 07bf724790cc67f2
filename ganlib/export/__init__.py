"""Export: a generator that anybody can load without this project, proved to be the trained one."""

from ganlib.export.model import ExportConfig, ExportedModel, export

__all__ = ["ExportConfig", "ExportedModel", "export"]
