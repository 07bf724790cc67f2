"""The update as XLA compiles it, and in float16 with scaled losses."""

import numpy as np
import pytest
import tensorflow as tf
from loop import arrays, begun, stepped

from ganlib.models.layers import _key_and_counter
from ganlib.objectives import NonSaturating, Wasserstein
from ganlib.training import strategy
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.strategy import resolve_compilation, resolve_precision

SCALE = "discriminator_optimizer/003"  # the loss scale among the variables of Keras' optimizer


@pytest.mark.parametrize("objective", [NonSaturating(r1=1.0), Wasserstein(discriminator_steps=2)])
def test_compiled_updates_compute_the_same(digits, objective):
    """Dropout, batch norm, a penalty's second gradient, clipping, several updates of the discriminator, averages."""
    settings = {"objective": objective, "steps": 2, "steps_per_loop": 2}
    plain, plain_rows = stepped(digits, compile=False, **settings)
    compiled, rows = stepped(digits, compile=True, **settings)
    others = arrays(compiled)
    for name, array in arrays(plain).items():
        np.testing.assert_allclose(others[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, value in plain_rows[-1].items():
        assert name.startswith("speed/") or rows[-1][name] == pytest.approx(value, rel=1e-4), name


def test_one_replica_is_compiled_where_it_is_asked_for_and_several_are_refused():
    assert [resolve_compilation(value, 1) for value in (True, False, "auto")] == [True, False, False]
    assert not resolve_compilation("auto", 2)
    with pytest.raises(ValueError, match=r"expected training\.compile=auto or false\. Received: .*replicas=2"):
        resolve_compilation(True, 2)


@pytest.mark.parametrize("seed", [[5, 7], [-(2**62) + 5, 2**40]])
def test_a_key_is_tensorflows_own(seed):
    seed = tf.constant(seed, tf.int64)
    for expected, found in zip(tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed), _key_and_counter(seed), strict=True):
        assert (expected.numpy() == found.numpy()).all()


def test_float16_trains_as_float32_does_and_skips_what_overflows(digits, tmp_path):
    common = {"objective": NonSaturating(), "steps": 3, "steps_per_loop": 3}
    _, [expected] = stepped(digits, **common)
    state, [row] = stepped(digits, precision="float16", **common)
    for name in ("discriminator/loss", "generator/non_saturating", "gradient/discriminator"):
        assert row[name] == pytest.approx(expected[name], rel=0.02), name
    assert row["skipped/discriminator"] == row["skipped/generator"] == 0.0
    assert row["loss_scale/discriminator"] == state.trained.variables()[SCALE].numpy() == 2.0**15

    state.trained.variables()[SCALE].assign(2.0**60)
    before = arrays(state)
    Checkpoints(tmp_path, keep=1).save(state)
    _, _, other = begun(digits, precision="float16")
    assert Checkpoints(tmp_path, keep=1).restore(other)
    assert other.trained.variables()[SCALE].numpy() == 2.0**60
    [row] = continued(digits, other)
    after = arrays(other)
    assert row["skipped/discriminator"] == 1.0
    assert row["skipped/generator"] == 0.0
    assert all(np.isfinite(value) for value in row.values())
    assert after[SCALE] == 2.0**59
    weights = [name for name, array in before.items() if name.startswith("discriminator/") and array.dtype == "float32"]
    assert weights
    assert all((after[name] == before[name]).all() for name in weights)


def continued(digits, state):
    """The row of one more step."""
    from ganlib import runtime
    from ganlib.tasks import Generation
    from ganlib.training import TrainConfig
    from ganlib.training.strategy import resolve_strategy
    from ganlib.training.trainer import Trainer

    config = TrainConfig(batch_size=8, precision="float16", seed=3, steps_per_loop=1)
    parts = {"task": Generation(latent_dim=8), "objective": NonSaturating(), "strategy": resolve_strategy(1)}
    state.clock.looked = state.clock.step
    with runtime.deterministic(enabled=True), runtime.without_remapper():
        Trainer(state, config=config, **parts).run(
            lambda start: digits.batches(batch_size=8, seed=3, start=start), steps=state.clock.step + 1, callbacks=[]
        )
    return [state.recent.means()]


@pytest.mark.parametrize(
    ("capability", "replicas", "expected"),
    [
        ((9, 0), 1, "mixed_bfloat16"),
        ((7, 5), 1, "mixed_float16"),
        ((7, 5), 2, "float32"),
        ((6, 1), 1, "float32"),
    ],
)
def test_auto_precision_is_what_the_gpu_has_units_for(monkeypatch, capability, replicas, expected):
    """A stand-in, for no GPU is here."""
    monkeypatch.setattr(strategy, "_least_capability", lambda: capability)
    monkeypatch.setattr(strategy, "_computes_bfloat16", lambda: capability >= strategy.NATIVE_BFLOAT16_GPU)
    assert resolve_precision("auto", replicas) == expected


def test_float16_of_several_replicas_is_refused():
    with pytest.raises(ValueError, match=r"Received: training\.precision=float16, replicas=2"):
        resolve_precision("float16", 2)
