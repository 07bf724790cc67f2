"""Compares the speed of training from images to images with a plain loop in TensorFlow and one in PyTorch.

    pip install torch==2.13.0
    python benchmarks/image_to_image_speed.py [--rounds 7] [--steps 3] [--size 64] [--batch-size 8] [--width 64]

All train paired translation with `ResnetTranslator` and with `Unet`: one update of the discriminator and one of the
generator in a step, Adam, cross-entropy and L1, on one batch that is in memory. The loop in TensorFlow has our networks
and no average of the weights; PyTorch's networks have the same layers (`benchmarks/torch_translators.py`) in the memory
format channels last. Candidates take turns. Without PyTorch its rows are left out; bfloat16 is measured if the CPU
supports it natively.

Prints medians over the rounds, and ratios of the rounds: to the faster loop in float32 and to the faster one of the
same precision. The share of the peak is that of this machine's float32 matrix product.

Expected: at least 0.97 of the faster loop in float32, and at least 1.3 times its speed in bfloat16.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from ganlib import runtime  # before TensorFlow is imported, because it sets variables for it
from ganlib.models import Architecture, ResnetTranslator, Unet
from ganlib.objectives import NonSaturating
from ganlib.tasks import PairedTranslation
from ganlib.training import TrainConfig
from ganlib.training.state import TrainState, build_state
from ganlib.training.strategy import resolve_precision, resolve_strategy
from ganlib.training.trainer import Trainer

import keras  # isort: skip
import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip

try:
    import torch
    import torch_translators
except ImportError as error:
    torch = None
    print(f"PyTorch is left out; pip install torch==2.13.0 ({error})")

ARCHITECTURES = {"resnet_translator": ResnetTranslator(blocks=6), "unet": Unet()}
TASK = PairedTranslation()
L1_WEIGHT, RATE, BETA = 100.0, 2e-4, 0.5
PEAK_SIDE, PEAK_REPEATS = 2048, 4

Run = Callable[[int], float]


def main() -> None:
    """Measures each network and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    parser.add_argument("--steps", type=int, default=3, help="steps of each candidate in a round")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=8, help="images in a step")
    parser.add_argument("--width", type=int, default=64, help="channels of the networks at the size of the image")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES), help="networks")
    options = parser.parse_args()
    dtypes = {"float32": "float32"}
    if resolve_precision("auto") == "mixed_bfloat16":
        dtypes["bfloat16"] = "mixed_bfloat16"
    else:
        print("bfloat16 is not measured: this CPU does not support it")
    for name in options.only:
        widths = {"width": options.width, "discriminator_width": options.width}
        measure(ARCHITECTURES[name].model_copy(update=widths), dtypes, options)


def measure(architecture: Architecture, dtypes: dict[str, str], options: argparse.Namespace) -> None:
    """Measures one network in each precision, and prints a table."""
    random = np.random.default_rng(0)
    shape = (options.batch_size, options.size, options.size, 3)
    batch = {name: random.integers(0, 256, shape, np.uint8) for name in ("images", "targets")}
    candidates: dict[tuple[str, str], Run] = {}
    for name, dtype in dtypes.items():
        state = build(architecture, dtype, batch)
        candidates["TensorFlow loop", name] = tensorflow_loop(state, batch)
        if torch is not None:
            candidates["PyTorch loop", name] = torch_loop(architecture, state, batch, bfloat16=name == "bfloat16")
    for name, dtype in dtypes.items():  # after the others, since our loop changes options of the graph optimiser
        candidates["ours", name] = ours(build(architecture, dtype, batch), batch)
    for run in candidates.values():
        run(2)  # traces the graph and warms up
    times: dict[tuple[str, str], list[float]] = {candidate: [] for candidate in candidates}
    peaks = []
    for _ in range(options.rounds):
        peaks.append(matrix_peak())
        for candidate, run in candidates.items():
            times[candidate].append(run(options.steps))
    flops, peak = flops_per_image(state, shape), statistics.median(peaks)
    sides = f"{options.size}x{options.size}, batch of {options.batch_size}"
    print(f"\n{architecture.kind}, {sides}: {flops / 1e9:.2f} GFLOP per image, peak {peak / 1e9:.0f} GFLOP/s")
    print("| loop | precision | images/s | of the peak | to the faster loop in float32 | to the faster loop |")
    print("|---|---|---|---|---|---|")
    for (name, precision), seconds in times.items():
        rate = options.batch_size / statistics.median(seconds)
        ratios = [ratio(times, seconds, wanted) for wanted in ("float32", precision)]
        print(f"| {name} | {precision} | {rate:.2f} | {rate * flops / peak:.0%} | {' | '.join(ratios)} |", flush=True)


def ratio(times: dict[tuple[str, str], list[float]], seconds: list[float], precision: str) -> str:
    """Returns the median and the range of the speed relative to the loop of others that is faster in the median."""
    others = [each for (name, which), each in times.items() if which == precision and name != "ours"]
    fastest = min(others, key=statistics.median)
    ratios = sorted(base / own for base, own in zip(fastest, seconds, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def config(batch: dict[str, np.ndarray]) -> TrainConfig:
    """Returns the training settings. Not deterministic, like the other loops."""
    return TrainConfig(batch_size=len(batch["images"]), deterministic=False, steps_per_loop=100)


def build(architecture: Architecture, dtype: str, batch: dict[str, np.ndarray]) -> TrainState:
    """Builds networks and optimizers."""
    return build_state(
        resolve_strategy(1),
        task=TASK,
        architecture=architecture,
        config=config(batch),
        image_shape=batch["images"].shape[1:],
        classes=0,
        dtype=dtype,
    )


def ours(state: TrainState, batch: dict[str, np.ndarray]) -> Run:
    """Returns a function that runs steps of our loop and returns the seconds per step."""
    settings = config(batch)
    trainer = Trainer(state, task=TASK, objective=NonSaturating(), strategy=resolve_strategy(1), config=settings)
    seconds = []

    class Clock:
        every = None

        def __call__(self, step, row, state) -> None:
            seconds.append(1.0 / row["speed/steps_per_second"])

    def run(count: int) -> float:
        def batches(_: int) -> tf.data.Dataset:
            return tf.data.Dataset.from_tensors(batch).repeat()

        with runtime.without_remapper():
            trainer.run(batches, steps=state.clock.step + count, callbacks=[Clock()])
        return seconds[-1]

    return run


def tensorflow_loop(state: TrainState, batch: dict[str, np.ndarray]) -> Run:
    """Returns the same for a plain loop around the same networks."""
    [generator] = state.trained.networks.generators.values()
    [discriminator] = state.trained.networks.discriminators.values()
    optimizers = [keras.optimizers.Adam(RATE, beta_1=BETA) for _ in range(2)]
    cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function(autograph=False)
    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        images, targets = (tf.cast(values, tf.float32) / 127.5 - 1.0 for values in (images, targets))

        def judge(candidates: tf.Tensor) -> tf.Tensor:
            return discriminator({"images": candidates, "condition": images}, training=True)

        with tf.GradientTape() as generator_tape:
            fakes = generator({"image": images}, training=True)
            with generator_tape.stop_recording(), tf.GradientTape() as tape:
                real, fake = judge(targets), judge(tf.stop_gradient(fakes))
                loss = cross_entropy(tf.ones_like(real), real) + cross_entropy(tf.zeros_like(fake), fake)
            with generator_tape.stop_recording():
                weights = discriminator.trainable_variables
                optimizers[1].apply(tape.gradient(loss, weights), weights)
            fake = judge(fakes)
            loss = cross_entropy(tf.ones_like(fake), fake) + L1_WEIGHT * tf.reduce_mean(tf.abs(fakes - targets))
        weights = generator.trainable_variables
        optimizers[0].apply(generator_tape.gradient(loss, weights), weights)
        return loss

    iterator = iter(tf.data.Dataset.from_tensors(batch).repeat().prefetch(tf.data.AUTOTUNE))
    for optimizer, network in zip(optimizers, (generator, discriminator), strict=True):
        optimizer.build(network.trainable_variables)

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            loss = step(**next(iterator))
        loss.numpy()  # waits for the last step
        return (time.perf_counter() - began) / count

    return run


def torch_loop(architecture: Architecture, state: TrainState, batch: dict[str, np.ndarray], *, bfloat16: bool) -> Run:
    """Returns the same for a plain loop in PyTorch."""
    if isinstance(architecture, Unet):
        generator = torch_translators.TorchUnet(architecture, size=batch["images"].shape[1], channels=3)
    else:
        generator = torch_translators.resnet_translator(architecture, channels=3)
    discriminator = torch_translators.patch_discriminator(architecture, channels=6)
    networks = state.trained.networks
    for theirs, same in ((generator, networks.generators), (discriminator, networks.discriminators)):
        [network] = same.values()
        counts = [
            sum(weights.numel() for weights in theirs.parameters()),
            sum(int(np.prod(weights.shape)) for weights in network.trainable_variables),
        ]
        if counts[0] != counts[1]:
            raise ValueError(f"expected networks with the same number of weights. Received: {counts}")
    tensors = [torch.from_numpy(batch[name]).permute(0, 3, 1, 2).float() / 127.5 - 1 for name in ("images", "targets")]
    step = torch_translators.training_step(generator, discriminator, *tensors, bfloat16=bfloat16)

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - began) / count

    return run


def matrix_peak() -> float:
    """Returns the floating-point operations per second of a large float32 matrix product."""
    matrix = tf.random.normal([PEAK_SIDE, PEAK_SIDE])
    product = tf.function(lambda value: tf.reduce_sum(value @ value))
    product(matrix).numpy()
    began = time.perf_counter()
    for _ in range(PEAK_REPEATS):
        product(matrix).numpy()
    return 2 * PEAK_SIDE**3 * PEAK_REPEATS / (time.perf_counter() - began)


def flops_per_image(state: TrainState, shape: tuple[int, ...]) -> float:
    """Returns the operations of a step per image: two for each multiplication in convolutions.

    The generator has one forward pass, and backward passes for weights and activations: three times its products. The
    discriminator has the same for real and fake images, and a forward and a backward pass for activations in the
    generator's update: eight times its products.
    """
    networks = state.trained.networks
    [generator], [discriminator] = networks.generators.values(), networks.discriminators.values()
    image = np.zeros((1, *shape[1:]), np.float32)
    return 3 * _products(generator, {"image": image}) + 8 * _products(
        discriminator, {"images": image, "condition": image}
    )


def _products(network: keras.Model, inputs: dict[str, np.ndarray]) -> float:
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    maps = keras.Model(network.inputs, [layer.output for layer in layers])(list(inputs.values()))
    places = [int(np.prod(values.shape[1:3])) for values in maps]
    return sum(2.0 * np.prod(layer.kernel.shape) * count for layer, count in zip(layers, places, strict=True))


if __name__ == "__main__":
    main()
