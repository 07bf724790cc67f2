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
from types import SimpleNamespace
from typing import Any

import kserve
import mlflow.pyfunc
import numpy as np
from grpc_interceptor.exceptions import Internal
from kserve.errors import InvalidInput, ServerNotReady
from kserve.utils.numpy_codec import from_np_dtype, to_np_dtype
from mlflow.exceptions import MlflowException


class BusyError(ServerNotReady):  # type: ignore[misc]
    """There is too little memory at the moment: 503 over HTTP, `UNAVAILABLE` over gRPC, which reads `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = self.error_msg = reason


class FailedError(Internal):  # type: ignore[misc]
    """The model failed: 500 over HTTP, `INTERNAL` over gRPC, where KServe's `InferenceError` blames the request."""


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
            BusyError: There is too little memory; the server answers 503.
            FailedError: The model failed; the server answers 500.
        """
        del headers, response_headers
        by_tensors = isinstance(payload, kserve.InferRequest)
        try:
            request = _decode(payload)
            made = await asyncio.to_thread(self._model.predict, request)  # so that the server answers others meanwhile
            return self._to_tensors(payload, made) if by_tensors else _to_predictions(made)
        except MemoryError as error:
            raise BusyError("too little memory; send fewer images") from error
        except MlflowException as error:
            kind = {400: InvalidInput, 503: BusyError}.get(error.get_http_status_code(), FailedError)
            raise kind(error.message) from error

    def _to_tensors(self, payload: Any, made: Any) -> Any:
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


def _to_predictions(made: Any) -> dict[str, Any]:
    return {"predictions": made.tolist() if isinstance(made, np.ndarray) else made}


def _decode(payload: Any) -> Any:
    """Returns a request of either protocol for the model."""
    try:
        return _tensors(payload.inputs) if isinstance(payload, kserve.InferRequest) else _table(payload)
    except (ValueError, TypeError, OverflowError, struct.error) as error:  # KServe could not decode a tensor
        raise InvalidInput(" ".join(str(error).split()) or type(error).__name__) from error


def _tensors(inputs: Any) -> Any:
    """Returns the inputs of protocol v2 for the model, which checks them.

    Values in JSON stay as they were sent: KServe would make the whole number 7 of 7.9, "7" or true.
    """
    tensors = []
    for one in inputs:
        if to_np_dtype(one.datatype) is None:
            raise InvalidInput(f"expected a datatype of protocol v2. Received: datatype={one.datatype[:60]!r}")
        tensors.append(SimpleNamespace(name=one.name, shape=one.shape, data=one.data or one.as_numpy()))
    return SimpleNamespace(inputs=tensors)


def _table(payload: Any) -> Any:
    """Returns the inputs of protocol v1: `instances`, one row each, or `inputs`, columns by name."""
    given = {name: value for name, value in payload.items() if value is not None} if isinstance(payload, dict) else {}
    if len(given) != 1 or not given.keys() <= {"instances", "inputs"}:
        received = repr(sorted(given))[:100] if given else "neither"
        raise InvalidInput(f"expected instances or inputs, and nothing else. Received: {received}")
    return next(iter(given.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[kserve.model_server.parser], conflict_handler="resolve")
    parser.add_argument("--model_name", default="model", help="name in the addresses of requests")
    parser.add_argument("--model_dir", default=os.environ.get("MODEL_DIR", "/mnt/models"), help="the exported folder")
    arguments = parser.parse_args()
    kserve.ModelServer().start([ExportedModel(arguments.model_name, arguments.model_dir)])
