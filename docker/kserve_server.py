"""Serves an exported folder with KServe's own server: its protocols v1 and v2 over HTTP, and v2 over gRPC.

Unlike KServe's runtime for MLflow, it takes and gives tensors in binary form. It needs `kserve` and what the folder's
`requirements.txt` names, and nothing of this project: `python kserve_server.py --model_name NAME --model_dir FOLDER`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import uuid
from typing import Any

import kserve
import mlflow.pyfunc
import numpy as np
from kserve.errors import InferenceError, InvalidInput
from kserve.utils.numpy_codec import from_np_dtype
from mlflow.exceptions import MlflowException


class ExportedModel(kserve.Model):
    """An exported model.

    Args:
        name: Its name in the addresses of requests.
        folder: Where it is.
    """

    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self._model = mlflow.pyfunc.load_model(folder)
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answers a request of either protocol.

        Raises:
            InvalidInput: The request is wrong; the server answers 400.
            InferenceError: The model failed.
        """
        del headers, response_headers
        by_tensors = isinstance(payload, kserve.InferRequest)
        try:
            request = _tensors(payload.inputs) if by_tensors else _table(payload)
            made = await asyncio.to_thread(self._model.predict, request)  # so that the server answers others meanwhile
        except (ValueError, TypeError, OverflowError, struct.error) as error:  # KServe could not decode a tensor
            raise InvalidInput(str(error)) from error
        except MlflowException as error:
            raise (InvalidInput if error.get_http_status_code() == 400 else InferenceError)(error.message) from error
        if not by_tensors:
            return {"predictions": made.tolist() if isinstance(made, np.ndarray) else made}
        images = made if isinstance(made, np.ndarray) else np.array([text.encode() for text in made], object)
        output = kserve.InferOutput("images", list(images.shape), from_np_dtype(images.dtype))
        output.set_data_from_numpy(images)
        return kserve.InferResponse(
            payload.id or str(uuid.uuid4()),
            self.name,
            [output],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


def _tensors(inputs: Any) -> dict[str, Any]:
    """Returns the inputs of protocol v2 by name."""
    names = [one.name for one in inputs]
    if len(set(names)) < len(names):
        raise InvalidInput(f"expected one input of each name. Received: {', '.join(names)}")
    return {one.name: one.as_numpy() for one in inputs}


def _table(payload: Any) -> Any:
    """Returns the inputs of protocol v1: `instances`, one row each, or `inputs`, columns by name."""
    given = {name: value for name, value in payload.items() if value is not None} if isinstance(payload, dict) else {}
    if len(given) != 1 or not given.keys() <= {"instances", "inputs"}:
        received = ", ".join(given) or "neither"
        raise InvalidInput(f"expected instances or inputs, and nothing else. Received: {received}")
    return next(iter(given.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser], conflict_handler="resolve")
    parser.add_argument("--model_name", default="model", help="name in the addresses of requests")
    parser.add_argument("--model_dir", default=os.environ.get("MODEL_DIR", "/mnt/models"), help="the exported folder")
    arguments = parser.parse_args()
    kserve.ModelServer().start([ExportedModel(arguments.model_name, arguments.model_dir)])
