"""Serves an exported model with MLflow, KServe's own server and MLServer, and measures what a request costs.

    python benchmarks/servers.py [--model FOLDER | --translator] [--rounds N] [--environments FOLDER] [--server NAME]

KServe and MLServer each get a virtual environment of their own (requirements/kserve.txt, mlserver.txt), which is made
if it does not exist. Without `--model`, an untrained network is served, since the cost does not depend on the weights:
a generator of images of 32x32 with classes, or with `--translator` one that translates pictures of 64x64. Every answer
is compared with that of the model in this process. What is printed, for each server and protocol: seconds until it is
ready, and for requests of 1 and of 16 images the median milliseconds and the bytes sent and received; images a second
for 8 clients at once; and the status of wrong requests.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[1]
NAME = "model"
CLIENTS, ROUNDS, READY_SECONDS = 8, 15, 300
DATATYPES = {"int64": "INT64", "float32": "FP32", "float64": "FP64", "uint8": "UINT8", "bool": "BOOL"}
BINARY = "Inference-Header-Content-Length"
# Runs in KServe's environment; reads questions and writes answers in JSON lines.
GRPC = """
import asyncio, json, sys, time
import numpy as np
from kserve import InferInput, InferRequest, InferenceGRPCClient

async def main(port):
    client = InferenceGRPCClient(url=f"127.0.0.1:{port}")
    for line in sys.stdin:
        tensors = []
        for name, (values, datatype) in json.loads(line).items():
            array = np.array(values)
            one = InferInput(name, list(array.shape), datatype)
            if datatype == "BYTES":
                array = np.array([text.encode() for text in values], object)
            else:
                names = {"INT64": "int64", "FP32": "float32", "FP64": "float64", "UINT8": "uint8", "BOOL": "bool"}
                array = array.astype(names[datatype])
            one.set_data_from_numpy(array)
            tensors.append(one)
        start = time.perf_counter()
        try:
            answer = await client.infer(InferRequest(model_name=MODEL, infer_inputs=tensors))
            images = answer.outputs[0].as_numpy()
            made = [one.decode() for one in images] if images.dtype == object else images.tolist()
            status = 200
        except Exception as error:
            made, status = str(error.details()), error.code().name
        print(json.dumps([time.perf_counter() - start, status, made]), flush=True)

asyncio.run(main(sys.argv[1]))
""".replace("MODEL", repr(NAME))


@dataclass(frozen=True)
class Answer:
    """What a server answered: status, images or a message, and bytes of request and answer, None if not counted."""

    status: int | str
    made: object
    sent: int | None = None
    received: int | None = None


def free_port():
    """Returns a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(name, root):
    """Returns the Python of a server's virtual environment, which is made if it does not exist."""
    if name == "mlflow":
        return Path(sys.executable)
    folder = root / name
    if not (folder / "complete").exists():
        print(f"making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", ROOT / "requirements" / f"{name}.txt"], check=True)
        (folder / "complete").touch()
    return folder / "bin" / "python"


@contextlib.contextmanager
def running(name, python, folder):
    """Runs a server of a folder; yields its port, that of gRPC, and the seconds until it was ready."""
    port, grpc, metrics = free_port(), free_port(), free_port()
    variables = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if name == "mlflow":
        command = [python, "-m", "mlflow", "models", "serve", "--model-uri", folder, "--port", port, "--env-manager"]
        command.append("local")
        health = "/ping"
    elif name == "kserve":
        command = [python, ROOT / "docker" / "kserve_server.py", "--model_name", NAME, "--model_dir", folder]
        command += ["--http_port", port, "--grpc_port", grpc]
        health = f"/v2/models/{NAME}/ready"
    else:  # as KServe's runtime for MLflow starts it
        command, health = [python.parent / "mlserver", "start", "."], f"/v2/models/{NAME}/ready"
        ports = {"HTTP_PORT": port, "GRPC_PORT": grpc, "METRICS_PORT": metrics}
        model = {"NAME": NAME, "URI": folder, "IMPLEMENTATION": "mlserver_mlflow.MLflowRuntime"}
        variables |= {f"MLSERVER_{key}": str(value) for key, value in ports.items()}
        variables |= {f"MLSERVER_MODEL_{key}": str(value) for key, value in model.items()}
    with tempfile.TemporaryDirectory() as scratch, Path(scratch, "log.txt").open("w+", encoding="utf-8") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **variables},
            cwd=scratch,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            while not is_ready(port, health):
                if process.poll() is not None or time.perf_counter() - start > READY_SECONDS:
                    log.seek(0)
                    raise RuntimeError(f"{name} did not start:\n{log.read()}")
                time.sleep(0.05)
            yield port, grpc, time.perf_counter() - start
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_ready(port, path):
    """Returns whether the server answers."""
    try:
        return request(port, path, None)[0] == 200
    except OSError:
        return False


def request(port, path, body, headers=None):
    """Sends a request, and returns status, headers and content."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as connection:
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def plain(inputs):
    """Returns arrays as lists."""
    return {name: np.asarray(values).tolist() for name, values in inputs.items()}


def by_columns(path, key):
    """Returns a function that asks MLflow's server, or KServe's protocol v1."""

    def ask(port, inputs):
        body = json.dumps({key: plain(inputs)})
        status, _, content = request(port, path, body)
        answer = json.loads(content)
        return Answer(status, answer.get("predictions", answer), len(body), len(content))

    return ask


def tensors(inputs, *, binary):
    """Returns tensors of protocol v2 and their bytes, which are empty unless they are sent in binary form."""
    described, parts = [], []
    for name, values in inputs.items():
        array = np.asarray(values)
        datatype = DATATYPES.get(array.dtype.name, "BYTES")
        tensor = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if binary:
            texts = [str(value).encode() for value in array.ravel()] if datatype == "BYTES" else []
            part = b"".join(len(text).to_bytes(4, "little") + text for text in texts) if texts else array.tobytes()
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    return described, b"".join(parts)


def by_tensors(port, inputs, *, binary=False):
    """Asks in protocol v2."""
    described, parts = tensors(inputs, binary=binary)
    document = {"inputs": described} | ({"parameters": {"binary_data_output": True}} if binary else {})
    head = json.dumps(document).encode()
    headers_of_binary = {BINARY: str(len(head)), "Content-Type": "application/octet-stream"}
    status, headers, content = request(
        port, f"/v2/models/{NAME}/infer", head + parts, headers_of_binary if binary else None
    )
    size = len(head) + len(parts), len(content)
    length = int(headers.get(BINARY.lower(), len(content)))
    try:
        answer = json.loads(content[:length])
    except ValueError:
        return Answer(status, content.decode(errors="replace"), *size)
    if status != 200:
        return Answer(status, answer, *size)
    output = answer["outputs"][0]
    if output["datatype"] == "BYTES":
        made = output.get("data") or split_texts(content[length:])
    elif "data" in output:
        made = np.reshape(output["data"], output["shape"]).tolist()
    else:
        made = np.frombuffer(content[length:], np.uint8).reshape(output["shape"]).tolist()
    return Answer(status, made, *size)


def split_texts(content):
    """Returns the texts of a binary tensor."""
    texts = []
    while content:
        length = 4 + int.from_bytes(content[:4], "little")
        texts.append(content[4:length].decode())
        content = content[length:]
    return texts


@contextlib.contextmanager
def grpc_client(python, port):
    """Yields a function that asks over gRPC, in a process of KServe's environment; it returns seconds, too."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}  # it logs refusals
    with subprocess.Popen([python, "-c", GRPC, str(port)], **pipes, text=True) as process:

        def ask(inputs):
            arrays = {name: np.asarray(values) for name, values in inputs.items()}
            line = {name: (array.tolist(), DATATYPES.get(array.dtype.name, "BYTES")) for name, array in arrays.items()}
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.flush()
            seconds, status, made = json.loads(process.stdout.readline())
            return seconds, Answer(status, made)

        yield ask
        process.stdin.close()


def questions(model, folder):
    """Returns requests that are answered, by name, a function that gives a request of n images, and wrong requests."""
    limits = json.loads((folder / "inputs.json").read_text())
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    functions = {name: function.structured_input_signature[1] for name, function in signatures.items()}
    if "generate" in functions:
        label = {"label": np.array([1])} if limits.get("classes") else {}
        width = functions["serving_default"]["latent"].shape[1]
        latents = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
        labels = {"label": [limits["classes"][0]] * 3} if label else {}
        good = {
            "seed and count": {"seed": np.array([7]), "count": np.array([3]), **label},
            "latents": {"latent": latents, **labels},
            "png": {"seed": np.array([7]), **label, "format": ["png"]},
        }
        wrong = {
            "name": {"sede": np.array([1])},
            "count": {"seed": np.array([1]), "count": np.array([0]), **label},
            "fraction": {"seed": np.array([7.9]), **label},
            "truth": {"seed": np.array([True]), **label},
            "shape": {"latent": latents[:, 1:], **labels},
        } | ({"label": {"seed": np.array([1]), "label": np.array([999])}} if label else {})
        return good, lambda count: {"seed": np.array([7]), "count": np.array([count]), **label}, wrong
    name = next(name for name in functions if name in ("translate", "restore"))
    sides = limits.get("fixed") or [64, 64]
    shape = (1, *sides, functions[name]["images"].shape[3])
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    good = {"tensors": {"images": images}, "png": {"image": model.predict({"images": images, "format": "png"})}}
    wrong = {"name": {"imgae": ["x"]}, "picture": {"image": ["x"]}, "shape": {"images": images[:, 1:]}}
    return good, lambda count: {"image": good["png"]["image"] * count}, wrong


def untrained(folder, *, translator=False):
    """Exports a generator of images of 32x32 with ten classes, or one that translates, which was not trained."""
    from ganlib.export.mlflow_model import write_mlflow_model
    from ganlib.export.network import save_signatures, signatures
    from ganlib.inference import Inputs
    from ganlib.models import Dcgan, ResnetTranslator
    from ganlib.tasks import Generation, UnpairedTranslation

    if translator:
        shape, classes, task, architecture = (64, 64, 3), (), UnpairedTranslation(), ResnetTranslator()
    else:
        shape, classes, task, architecture = (32, 32, 3), tuple("abcdefghij"), Generation(conditional=True), Dcgan()
    networks = task.generators(architecture, image_shape=shape, classes=len(classes), dtype="float32", seed=None)
    save_signatures(
        networks, signatures(networks, task, image_shape=shape, classes=len(classes)), folder / "saved_model"
    )
    sides = {"multiple_of": architecture.multiple_of, "minimum": architecture.multiple_of} if translator else {}
    Inputs(classes=classes, **sides).write(folder)
    write_mlflow_model(folder, requirements=["tensorflow"])
    return folder


def protocols(name, python, port, grpc, opened):
    """Returns the ways to ask a server: functions from inputs to an answer."""
    if name == "mlflow":
        ways = {"invocations": by_columns("/invocations", "inputs")}
    elif name == "mlserver":
        ways = {"v2": by_tensors, "invocations": by_columns("/invocations", "inputs")}
    else:
        ways = {
            "v1": by_columns(f"/v1/models/{NAME}:predict", "inputs"),
            "v2": by_tensors,
            "v2 binary": lambda port, inputs: by_tensors(port, inputs, binary=True),
        }
    asked = {way: (lambda inputs, ask=ask: ask(port, inputs)) for way, ask in ways.items()}
    if name == "kserve":
        client = opened.enter_context(grpc_client(python, grpc))
        asked["gRPC"] = lambda inputs: client(inputs)[1]
    return asked


def measure(ask, batch, *, several, rounds):
    """Returns the median milliseconds and the bytes of requests for 1 and 16 images, and images a second of clients."""
    measured = {}
    for count in (1, 16):
        durations = []
        for _ in range(rounds):
            start = time.perf_counter()
            answer = ask(batch(count))
            durations.append(1000 * (time.perf_counter() - start))
        measured[count] = round(statistics.median(durations), 1), answer.sent, answer.received
    if several:
        start = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(ask, [batch(1)] * (CLIENTS * rounds)))
        measured["a second"] = round(CLIENTS * rounds / (time.perf_counter() - start), 1)
    return measured


def try_server(name, folder, root, *, rounds=ROUNDS):
    """Serves a folder, checks every answer, and returns what was measured, by protocol.

    Raises:
        RuntimeError: An answer is not that of the model in this process.
    """
    python = environment(name, root)
    model = mlflow.pyfunc.load_model(str(folder))
    good, batch, wrong = questions(model, folder)
    results = {}
    with contextlib.ExitStack() as opened:
        port, grpc, ready = opened.enter_context(running(name, python, folder))
        for way, ask in protocols(name, python, port, grpc, opened).items():
            for what, inputs in good.items():
                answer, expected = ask(inputs), model.predict(inputs)
                if answer.status != 200 or not np.array_equal(answer.made, expected):
                    raise RuntimeError(f"{name}, {way}: another answer to {what}: {str(answer)[:300]}")
            refused = {what: ask(inputs) for what, inputs in wrong.items()}
            statuses = {what: answer.status for what, answer in refused.items()}
            messages = [str(answer.made) for answer in refused.values()]
            results[way] = {"ready": round(ready, 1), **measure(ask, batch, several=way != "gRPC", rounds=rounds)}
            results[way] |= {"wrong": statuses, "messages": messages}
    return results


def main():
    """Prints a line for each server and protocol."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    served = parser.add_mutually_exclusive_group()
    served.add_argument("--model", type=Path, help="an exported folder")
    served.add_argument(
        "--translator", action="store_true", help="an untrained network that translates pictures of 64x64"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="requests of each kind")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv" / "servers")
    parser.add_argument("--server", action="append", choices=["mlflow", "kserve", "mlserver"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.model or untrained(Path(scratch), translator=given.translator)).absolute()
        for name in given.server or ["mlflow", "kserve", "mlserver"]:
            python = environment(name, given.environments.absolute())
            size = sum(path.lstat().st_size for path in python.parents[1].rglob("*")) // 10**6
            print(f"{name}: environment of {size} MB", flush=True)
            for way, found in try_server(name, folder, given.environments.absolute(), rounds=given.rounds).items():
                costs = "; ".join(
                    f"{count} images: {found[count][0]} ms, {found[count][1]} bytes sent, {found[count][2]} received"
                    for count in (1, 16)
                )
                print(f"  {way}: ready in {found['ready']} s; {costs}; {found.get('a second', '?')} images a second")
                print(f"    wrong requests: {found['wrong']}; such as {found['messages'][0]}", flush=True)


if __name__ == "__main__":
    main()
