"""Uses exported models without the code that trained them: applies them to pictures, and generates images."""

from ganlib.inference.apply import Applied, apply
from ganlib.inference.functions import ExportedFunctions, FunctionError, RefusedError
from ganlib.inference.generate import Generated, generate
from ganlib.inference.inputs import Inputs

__all__ = ["Applied", "ExportedFunctions", "FunctionError", "Generated", "Inputs", "RefusedError", "apply", "generate"]
