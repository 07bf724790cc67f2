"""What KServe's server makes of requests, answers and errors. The package `kserve` is a double here, of what it uses.

`test_servers.py` asks the real one, which needs an environment of its own.
"""

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import mlflow.pyfunc
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

FILE = Path(__file__).parents[1] / "docker" / "kserve_server.py"
TYPES = {"INT64": np.int64, "FP32": np.float32, "BYTES": np.object_, "UINT8": np.uint8}


class NotReadyError(RuntimeError):
    """`ServerNotReady`, which takes no line."""

    def __init__(self):
        pass


class Tensor(SimpleNamespace):
    """A tensor of a request or of an answer."""

    def as_numpy(self):
        return self.decode()

    def set_data_from_numpy(self, values):
        self.values = values


def modules():
    """The modules that the server imports, with what it uses of them."""
    named = {
        "kserve": {
            "Model": type("Model", (), {"__init__": lambda self, name: setattr(self, "name", name)}),
            "InferRequest": type("InferRequest", (SimpleNamespace,), {}),
            "InferOutput": lambda name, shape, datatype: Tensor(name=name, shape=shape, datatype=datatype),
            "InferResponse": lambda number, name, outputs, **options: SimpleNamespace(id=number, outputs=outputs),
        },
        "kserve.errors": {
            "InvalidInput": type("InvalidInput", (ValueError,), {}),
            "ServerNotReady": NotReadyError,
        },
        "kserve.utils": {},
        "kserve.utils.numpy_codec": {
            "to_np_dtype": TYPES.get,
            "from_np_dtype": lambda dtype: next(name for name, known in TYPES.items() if np.dtype(known) == dtype),
        },
        "grpc_interceptor": {},
        "grpc_interceptor.exceptions": {"Internal": type("Internal", (Exception,), {})},
    }
    made = {name: ModuleType(name) for name in named}
    for name, content in named.items():
        vars(made[name]).update(content)
    return made


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules().items():
            patch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("kserve_server", FILE)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def model(server, monkeypatch):
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda folder: Mock())
    return server.ExportedModel("digits", "/mnt/models")


def request_of(server, *tensors):
    return server.kserve.InferRequest(inputs=tensors, id="1", use_binary_outputs=False, request_outputs=None)


def tensor(name, datatype, data, decode=None):
    return Tensor(name=name, shape=[1], datatype=datatype, data=data, decode=decode)


def test_numbers_in_json_reach_the_model_as_they_were_sent_and_binary_ones_decoded(server, model):
    model._model.predict.return_value = np.zeros((1, 2, 2, 1), np.uint8)
    sent = request_of(
        server,
        *(tensor(f"t{place}", "INT64", [value]) for place, value in enumerate((7.9, "7", True))),
        tensor("binary", "INT64", None, lambda: np.array([7])),
    )
    answer = asyncio.run(model.predict(sent))
    [given] = model._model.predict.call_args.args
    assert [one.data for one in given.inputs] == [[7.9], ["7"], [True], np.array([7])]
    assert [one.name for one in given.inputs] == ["t0", "t1", "t2", "binary"]
    [output] = answer.outputs
    assert (answer.id, output.name, output.shape, output.datatype) == ("1", "images", [1, 2, 2, 1], "UINT8")
    model._model.predict.return_value = ["iVBO"]
    [output] = asyncio.run(model.predict(sent)).outputs
    assert (output.shape, output.datatype, list(output.values)) == ([1], "BYTES", [b"iVBO"])


def test_rows_or_columns_of_protocol_v1_reach_the_model_and_nothing_else(server, model):
    model._model.predict.return_value = np.zeros((1, 1), np.uint8)
    for payload in ({"instances": [{"seed": 7}], "inputs": None}, {"inputs": {"seed": [7]}}):
        assert asyncio.run(model.predict(payload)) == {"predictions": [[0]]}
        model._model.predict.assert_called_with(payload["instances"] if "instances" in payload else payload["inputs"])
    for payload, received in {
        "{}": "neither",
        '{"instances": [1], "inputs": [1]}': "['inputs', 'instances']",
        '{"rows": [1]}': "['rows']",
        "[1]": "neither",
    }.items():
        with pytest.raises(server.InvalidInput) as raised:
            asyncio.run(model.predict(json.loads(payload)))
        assert str(raised.value) == f"expected instances or inputs, and nothing else. Received: {received}"


def test_who_is_at_fault_is_told_as_http_and_grpc_need_it(server, model):
    """400 and INVALID_ARGUMENT are for requests; KServe makes INVALID_ARGUMENT of InferenceError, too."""
    good = request_of(server, tensor("seed", "INT64", [7]))

    def told(request=good, **predict):
        model._model.predict = Mock(**predict)
        try:
            return asyncio.run(model.predict(request))
        except Exception as error:  # noqa: BLE001  # whatever the server raises is compared
            return type(error), str(error)

    def fail(error):
        return tensor("seed", "INT64", None, Mock(side_effect=error))

    for code, kind in {
        INVALID_PARAMETER_VALUE: server.InvalidInput,
        TEMPORARILY_UNAVAILABLE: server.BusyError,
        INTERNAL_ERROR: server.FailedError,
    }.items():
        assert told(side_effect=MlflowException("one line", code)) == (kind, "one line")
    assert issubclass(server.BusyError, NotReadyError)
    assert server.BusyError("one line").reason == "one line"  # which gRPC reads
    assert issubclass(server.FailedError, sys.modules["grpc_interceptor.exceptions"].Internal)
    assert told(request_of(server, tensor("seed", "INT65", [7]))) == (
        server.InvalidInput,
        "expected a datatype of protocol v2. Received: datatype='INT65'",
    )
    assert told(request_of(server, fail(ValueError("cannot\nreshape")))) == (server.InvalidInput, "cannot reshape")
    assert told(request_of(server, fail(OverflowError()))) == (server.InvalidInput, "OverflowError")
    assert told(request_of(server, fail(MemoryError()))) == (server.BusyError, "too little memory; send fewer images")
    assert told(side_effect=MemoryError)[0] is server.BusyError
    assert told(return_value=[7])[0] is AttributeError  # an answer that cannot be sent is no fault of the request
    assert told(side_effect=ValueError("of the model"))[0] is ValueError
