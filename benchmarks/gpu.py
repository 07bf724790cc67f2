"""Training on a GPU: that it computes what the CPU computes, and how fast it is beside the tutorial's loop.

    python benchmarks/gpu.py [--gpu] [--minutes 4] [--only speed] [--output FOLDER]
    python benchmarks/gpu.py --check FOLDER

Every section prints its RESULT lines when it has them, and one that fails does not stop the others. Without a GPU the
same code runs on the CPU with small numbers, to try the script. `--gpu` ends with exit code 3 where TensorFlow sees no
GPU. The section `model` leaves a trained model in the output folder; `--check` loads it, on any machine, compares its
images with those that training made, and exports it.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where the project is not installed

import numpy as np

TRACE_STEPS = 5
BEGAN = time.perf_counter()


class Bench:
    """What the sections share.

    Attributes:
        folder: For data sets.
        output: For results.
        gpu: Whether there is a GPU.
        minutes: After which no further measurement begins.
    """

    def __init__(self, folder: Path, output: Path, *, gpu: bool, minutes: float) -> None:
        self.folder, self.output, self.gpu, self.minutes = folder, output, gpu, minutes
        self.results: dict[str, object] = {}
        self._child: subprocess.Popen[str] | None = None

    def dataset(self, size: int):
        """Returns the digits at a size."""
        from ganlib.data import DataConfig, PreparedDataset, prepare

        folder = self.folder / f"digits{size}"
        return PreparedDataset.open(folder) if folder.exists() else prepare(DataConfig(size=size), folder)

    def result(self, key: str, text: str, value: object) -> None:
        """Prints a result and keeps it."""
        print(f"RESULT {key}: {text}", flush=True)
        self.results[key] = value
        (self.output / "results.json").write_text(json.dumps(self.results, indent=1, default=str), encoding="utf-8")

    def late(self, what: str) -> bool:
        """Returns whether the time is over, and says what is left out for it."""
        over = time.perf_counter() - BEGAN > 60.0 * self.minutes
        if over:
            print(f"RESULT {what}: left out, the time is over", flush=True)
        return over

    def begin_cpu_trace(self) -> None:
        """Begins the CPU's steps for `equality` in a process that sees no GPU."""
        command = [sys.executable, __file__, "--trace", str(self.folder / "cpu.npz"), "--output", str(self.folder)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
        self._child = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def cpu_trace(self) -> dict[str, np.ndarray]:
        """Returns the CPU's arrays."""
        if self._child is None:
            self.begin_cpu_trace()
        output, _ = self._child.communicate(timeout=240)
        if self._child.returncode:
            raise RuntimeError(f"the CPU's process failed: {output[-2000:]}")
        with np.load(self.folder / "cpu.npz") as file:
            return dict(file)


class Loop:
    """The library's loop on some networks, without callbacks.

    Args:
        dataset: Prepared images.
        architecture: Which networks.
        objective: Which game.
        batch: Images in a step.
        precision: The setting `training.precision`.
        ahead: Whether batches are copied to the GPU ahead.
        settings: Further settings of `training`.
    """

    def __init__(
        self,
        dataset,
        architecture,
        objective,
        *,
        batch: int,
        precision: str = "float32",
        ahead: bool = False,
        **settings,
    ) -> None:
        import tensorflow as tf

        from ganlib.tasks import Generation
        from ganlib.training import TrainConfig
        from ganlib.training.state import build_state
        from ganlib.training.strategy import resolve_precision, resolve_strategy
        from ganlib.training.trainer import Trainer

        class CopyAhead(Trainer):
            def _batches(self, make_batches):
                return super()._batches(make_batches).apply(tf.data.experimental.prefetch_to_device("/GPU:0", 2))

        common = {"batch_size": batch, "steps_per_loop": 100, "deterministic": False, "updates": "simultaneous"}
        self.config = TrainConfig(**{**common, "precision": precision, **settings})
        self._dataset, self._task, strategy = dataset, Generation(), resolve_strategy(1)
        self.state = build_state(
            strategy,
            task=self._task,
            architecture=architecture,
            config=self.config,
            image_shape=dataset.image_shape,
            classes=0,
            dtype=resolve_precision(precision),
        )
        self._trainer = (CopyAhead if ahead else Trainer)(
            self.state, task=self._task, objective=objective, strategy=strategy, config=self.config
        )

    def run(self, steps: int) -> float:
        """Makes at most 100 steps; returns the seconds of one."""
        from ganlib import runtime

        def batches(start: int):
            return self._task.batches(self._dataset, batch_size=self.config.batch_size, seed=0, start=start)

        with runtime.deterministic(enabled=self.config.deterministic), runtime.without_remapper():
            self._trainer.run(batches, steps=self.state.clock.step + steps, callbacks=[])
        return 1.0 / self.state.clock.speed

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all variables by name, and the terms of the last steps."""
        named = {name: variable.numpy() for name, variable in self.state.trained.variables().items()}
        return {**named, **{f"terms/{n}": v for n, v in zip(self.state.recent.names, self._terms(), strict=True)}}

    def terms(self) -> dict[str, float]:
        """Returns the means of the terms over the last 100 steps."""
        return self.state.recent.means()

    def _terms(self) -> np.ndarray:
        return self.state.recent.values.T


def trace(bench: Bench, **settings) -> dict[str, np.ndarray]:
    """Returns what some first steps in true float32 leave behind, of two networks."""
    import tensorflow as tf

    from ganlib.models import Dcgan, R3gan
    from ganlib.objectives import NonSaturating, Relativistic

    tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    found = {}
    for name, size, architecture, objective in (
        ("dcgan", 28, Dcgan(width=16), NonSaturating()),
        ("r3gan", 32, R3gan(width=8, max_width=32), Relativistic()),
    ):
        loop = Loop(
            bench.dataset(size),
            architecture,
            objective,
            batch=16,
            updates="alternating",
            deterministic=True,
            **settings,
        )
        found |= {f"{name}/start/{key}": value for key, value in loop.arrays().items()}
        loop.run(TRACE_STEPS)
        found |= {f"{name}/end/{key}": value for key, value in loop.arrays().items()}
    tf.config.experimental.enable_tensor_float_32_execution(enabled=True)
    return found


def versions(bench: Bench) -> None:
    """Says what computes."""
    import keras
    import tensorflow as tf

    from ganlib.training.strategy import resolve_precision

    devices = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    build = tf.sysconfig.get_build_info()
    facts = {
        "devices": devices or f"CPU with {os.cpu_count()} cores",
        "python": sys.version.split()[0],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "built for": {name: build.get(name) for name in ("cuda_version", "cudnn_version", "cuda_compute_capabilities")},
        "auto precision": resolve_precision("auto"),
        "absent": [name for name in ("kfp", "mlflow", "google.cloud") if name not in sys.modules],
    }
    bench.result("versions", json.dumps(facts, default=str), facts)


def equality(bench: Bench) -> None:
    """Compares the first steps with the CPU's, without TensorFloat-32, as TensorFlow runs them and as XLA does."""
    own = {"plain": trace(bench, compile=False), "XLA": trace(bench, compile=True)}
    expected = bench.cpu_trace()
    for kind, found in own.items():
        for network in ("dcgan", "r3gan"):
            worst = {
                "start": _worst(found, expected, f"{network}/start/"),
                "terms": _worst(found, expected, f"{network}/end/terms/"),
                "generator": _worst(found, expected, f"{network}/end/generator/"),
                "discriminator": _worst(found, expected, f"{network}/end/discriminator/"),
                "averages": _worst(found, expected, f"{network}/end/averaged/"),
            }
            text = ", ".join(f"{part} {value:.1e} ({name})" for part, (value, name) in worst.items())
            key = f"equality {network} {kind}"
            bench.result(key, f"largest relative difference from the CPU after {TRACE_STEPS} steps: {text}", worst)


def _worst(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], prefix: str) -> tuple[float, str]:
    """Returns the largest |a - b| / |b| of the arrays under a prefix, and whose it is."""
    names = [name for name in expected if name.startswith(prefix)]
    if not names or any(name not in found for name in names):
        raise RuntimeError(f"expected the same arrays under {prefix}")
    differences = [
        (
            float(np.linalg.norm(found[name].astype("f8") - expected[name])
                  / max(np.linalg.norm(expected[name].astype("f8")), 1e-6)),
            name.removeprefix(prefix),
        )
        for name in names
    ]  # fmt: skip
    return max(differences)


def speed(bench: Bench, groups: list[tuple[str, int, int]]) -> None:
    """Measures images per second of some (network, size, batch), interleaved with the tutorial's loop."""
    from ganlib.training.strategy import resolve_precision

    steps, rounds = (50, 5) if bench.gpu else (2, 2)
    for network, size, batch in groups:
        key = f"speed {network} {size} px batch {batch}"
        if bench.late(key):
            continue
        candidates, first = _candidates(bench, network, size, batch, key)
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, run in candidates.items():
                times[name].append(run(steps))
        for name, seconds in times.items():
            ratio = statistics.median(base / own for base, own in zip(times["tutorial"], seconds, strict=True))
            step = statistics.median(seconds)
            shown = name.replace("auto", f"auto ({resolve_precision('auto')})")
            text = f"{batch / step:8.0f} images/s, {step * 1e3:7.2f} ms a step, {ratio:.2f} times the tutorial's loop"
            spread = f"{min(seconds) * 1e3:.2f} to {max(seconds) * 1e3:.2f} ms"
            bench.result(
                f"{key} {shown}",
                f"{text} ({spread}; first two steps {first[name]:.1f} s)",
                {"images_per_second": batch / step, "ratio": ratio, "seconds": seconds, "first": first[name]},
            )


def _candidates(
    bench: Bench, network: str, size: int, batch: int, key: str
) -> tuple[dict[str, Callable[[int], float]], dict[str, float]]:
    """Returns what makes some steps and returns the seconds of one, and the seconds that the first two steps took."""
    from tutorial import Tutorial

    from ganlib.models import Dcgan, R3gan
    from ganlib.objectives import NonSaturating, Relativistic

    dataset = bench.dataset(size)
    architecture = {"dcgan": Dcgan, "r3gan": R3gan}[network](**({} if bench.gpu else {"width": 4, "max_width": 8}))
    textbook = bench.gpu and network == "dcgan" and size == 28
    networks = None if textbook else _plain_networks(architecture, dataset.image_shape)
    tutorial = Tutorial(dataset.load("train")[0], seed=0, batch=batch, networks=networks)
    candidates: dict[str, Callable[[int], float]] = {
        "tutorial": lambda count: _seconds(lambda: tutorial.train(count)) / count
    }
    first = {"tutorial": _seconds(lambda: tutorial.train(2))}
    makers = {
        f"{precision}{' XLA' if compiled else ''}": (NonSaturating(), precision, compiled)
        for compiled in (False, True)
        for precision in ("float32", "auto")
    }
    if network == "r3gan":
        makers["auto XLA, its own game"] = (Relativistic(), "auto", True)
    for name, (objective, precision, compiled) in makers.items():
        if bench.late(f"{key} {name}"):
            continue
        try:
            loop = Loop(dataset, architecture, objective, batch=batch, precision=precision, compile=compiled)
            first[name] = _seconds(functools.partial(loop.run, 2))
            candidates[name] = loop.run
        except Exception as error:  # noqa: BLE001  # what fails on this machine is a result too
            bench.result(f"{key} {name}", f"FAILED {type(error).__name__}: {str(error)[:300]}", "failed")
    return candidates, first


def _plain_networks(architecture, image_shape):
    """Returns the networks of an architecture in float32, as the tutorial's loop calls its own."""
    import keras

    from ganlib.tasks import Generation

    common = {"image_shape": image_shape, "classes": 0, "dtype": "float32"}
    generator = next(iter(Generation().generators(architecture, **common).values()))
    discriminator = next(iter(Generation().discriminators(architecture, **common, seed=0).values()))
    latent, images = keras.Input((100,)), keras.Input(image_shape)
    return (
        keras.Model(latent, generator({"latent": latent})),
        keras.Model(images, discriminator({"images": images})),
    )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def prefetch(bench: Bench) -> None:
    """Measures what it would bring to copy batches to the GPU ahead."""
    from ganlib.models import Dcgan
    from ganlib.objectives import NonSaturating

    if not bench.gpu:
        print("RESULT prefetch: no GPU", flush=True)
        return
    dataset = bench.dataset(64)
    settings = {"batch": 256, "precision": "auto", "compile": True}
    loops = {
        name: Loop(dataset, Dcgan(), NonSaturating(), ahead=name == "ahead", **settings) for name in ("now", "ahead")
    }
    for loop in loops.values():
        loop.run(2)
    times = {name: [] for name in loops}
    for _ in range(5):
        for name, loop in loops.items():
            times[name].append(loop.run(50))
    now, ahead = (statistics.median(times[name]) * 1e3 for name in ("now", "ahead"))
    text = f"dcgan 64 px batch 256: {now:.2f} ms a step, {ahead:.2f} ms with batches copied to the GPU ahead"
    bench.result("prefetch", text, times)


def determinism(bench: Bench) -> None:
    """Compares two runs with deterministic=True bit for bit, and says what determinism costs."""
    from ganlib.models import Dcgan
    from ganlib.objectives import NonSaturating

    dataset, steps = bench.dataset(28), 50 if bench.gpu else 5
    architecture = Dcgan() if bench.gpu else Dcgan(width=4)
    for precision in ("float32", "auto"):
        for compiled in (False, True):
            key = f"determinism {precision}{' XLA' if compiled else ''}"
            if bench.late(key):
                continue
            common = {"batch": 64, "precision": precision, "compile": compiled}
            loops = [Loop(dataset, architecture, NonSaturating(), **common, deterministic=True) for _ in range(2)]
            for loop in loops:
                loop.run(steps)
            first, second = (loop.arrays() for loop in loops)
            unlike = [name for name in first if first[name].tobytes() != second[name].tobytes()]
            seconds = statistics.median(loops[1].run(steps) for _ in range(3))
            text = f"{len(unlike)} of {len(first)} arrays differ after {steps} steps {unlike[:3]}"
            bench.result(key, f"{text}; {seconds * 1e3:.2f} ms a step", {"unlike": unlike, "seconds": seconds})


def float16(bench: Bench) -> None:
    """Trains in each precision from the same start: float16 with loss scaling must end where the others do."""
    from ganlib.models import Dcgan
    from ganlib.objectives import NonSaturating

    dataset, steps = bench.dataset(28), 100 if bench.gpu else 10
    for precision in ("float32", "bfloat16", "float16"):
        loop = Loop(dataset, Dcgan(width=16), NonSaturating(), batch=64, precision=precision)
        for _ in range(3):
            loop.run(steps)
        terms = loop.terms()
        kept = {name: value for name, value in terms.items() if not name.startswith(("learning_rate", "ema"))}
        text = ", ".join(f"{name} {value:.4g}" for name, value in kept.items())
        finite = "finite" if all(np.isfinite(value) for value in terms.values()) else "NOT FINITE"
        bench.result(f"precision {precision}", f"{finite} after {3 * steps} steps: {text}", terms)


def model(bench: Bench) -> None:
    """Trains by the verb `train`, as users do, and leaves the model and its images in the output folder."""
    from ganlib.evaluation import EvaluationConfig, measure_reference
    from ganlib.models import Dcgan
    from ganlib.objectives import NonSaturating
    from ganlib.tasks import Generation
    from ganlib.training import TrainConfig, train

    dataset, folder = bench.dataset(28), bench.folder / "made"
    folder.mkdir(exist_ok=True)
    shutil.copytree(dataset.folder, folder / "dataset")
    reference = measure_reference(dataset, EvaluationConfig(extractor={"kind": "random"}), bench.folder / "reference")
    steps = 300 if bench.gpu else 10
    began = time.perf_counter()
    trained = train(
        dataset,
        reference,
        task=Generation(),
        architecture=Dcgan(width=16),
        objective=NonSaturating(),
        config=TrainConfig(steps=steps, score_every=steps // 2, sample_every=steps, score_samples=200),
        output=bench.folder / "model",
    )
    facts = {name: trained.facts[name] for name in ("precision", "compiled", "replicas", "best_score", "best_step")}
    bench.result("model", f"{steps} steps in {time.perf_counter() - began:.0f} s: {facts}", facts)
    shutil.copytree(trained.folder, folder / "model")  # without the checkpoints beside it
    shutil.make_archive(str(bench.output / "model"), "zip", folder)
    print(f"model: {(bench.output / 'model.zip').stat().st_size / 2**20:.1f} MiB", flush=True)


def check(folder: Path) -> None:
    """Loads what `model` left, compares its images with those that training made, and exports it."""
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import EvaluationConfig, evaluate, measure_reference
    from ganlib.export import ExportConfig, export
    from ganlib.trained import TrainedModel

    trained, dataset = TrainedModel.open(folder / "model"), PreparedDataset.open(folder / "dataset")
    for which in ("best", "last"):
        inputs, expected = trained.witness(which)
        found = np.asarray(trained.network(which)(inputs, training=False))
        print(f"RESULT check {which}: images differ by at most {np.abs(found - expected).max():.1e} of -1..1")
    with tempfile.TemporaryDirectory() as temporary:
        config = EvaluationConfig(extractor={"kind": "random"}, generator="last", samples=200)
        reference = measure_reference(dataset, config, Path(temporary) / "reference")
        evaluation = evaluate(trained, dataset, reference, config, Path(temporary) / "evaluation")
        exported = export(trained, evaluation, ExportConfig(), Path(temporary) / "exported")
        print(f"RESULT check export: {exported.summary}, {exported.parity}")


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "versions": versions,
    "speed": lambda bench: speed(bench, [("dcgan", 28, 256)] if bench.gpu else [("dcgan", 28, 8)]),
    "equality": equality,
    "float16": float16,
    "model": model,
    "speed64": lambda bench: speed(
        bench, [("r3gan", 64, 256), ("dcgan", 64, 256)] if bench.gpu else [("r3gan", 64, 8)]
    ),
    "determinism": determinism,
    "prefetch": prefetch,
    "batch64": lambda bench: speed(bench, [("dcgan", 28, 64), ("r3gan", 64, 64), ("dcgan", 64, 64)] * bench.gpu),
}


def main() -> None:
    """Runs the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="fail at once without a GPU")
    parser.add_argument("--minutes", type=float, default=4.0, help="time after which no measurement begins")
    parser.add_argument("--only", help="names of sections, with commas between them")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="folder for results")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="check the unpacked model.zip of another machine")
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.check:
        check(options.check)
        return
    import tensorflow as tf

    import ganlib  # noqa: F401  # first: it sets what TensorFlow reads when it is imported

    gpus = tf.config.list_physical_devices("GPU")
    if options.gpu and not gpus:
        sys.exit(3)
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)  # noqa: FBT003  # TensorFlow's own signature
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.output, gpu=bool(gpus), minutes=options.minutes)
        if options.trace:
            np.savez(options.trace, **trace(bench, compile=False))
            return
        chosen = options.only.split(",") if options.only else list(SECTIONS)
        if "equality" in chosen and gpus:
            bench.begin_cpu_trace()  # beside the others, for it needs the CPU alone
        for name in chosen:
            if bench.late(name):
                continue
            began = time.perf_counter()
            try:
                SECTIONS[name](bench)
            except Exception as error:  # noqa: BLE001  # one section does not stop the rest
                traceback.print_exc()
                bench.result(name, f"FAILED {type(error).__name__}: {str(error)[:500]}", "failed")
            print(
                f"{name}: {time.perf_counter() - began:.0f} s, {time.perf_counter() - BEGAN:.0f} s in all", flush=True
            )


if __name__ == "__main__":
    main()
