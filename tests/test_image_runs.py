"""Tasks from images to images by the command line: the whole pipeline, and `apply` with the model that it exports."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ganlib import storage
from ganlib.evaluation import Evaluation, compare
from ganlib.tasks.damage import own_masks
from pipelines.command.main import main
from pipelines.local import session
from pipelines.settings import resolve

TINY = [
    "data.size=16",
    "model.width=4",
    "model.discriminator_width=4",
    "training.steps=4",
    "training.batch_size=16",
    "training.score_every=2",
    "training.sample_every=2",
    "training.checkpoint_every=4",
    "training.score_samples=20",
    "training.precision=float32",
    "evaluation.samples=60",
    "export.onnx=false",
    "evaluation.extractor=random",
]
MASKS = "task.damage={kind: mask, shape: file, masks: masks}"
GAN_PIPELINES = str(Path(sys.executable).with_name("gan-pipelines"))
# What `apply` does not need, whatever else this project needs. (Keras imports pandas and scikit-learn where they are.)
HEAVY = {"kfp", "mlflow", "google.cloud", "torch"}
APPLY = """
import sys
from pipelines.command.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print("imported:", *sorted({"google.cloud" if name.startswith("google.cloud.") else name.partition(".")[0]
                            for name in sys.modules}))
"""


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "GAN_PIPELINES_"))}


def run(place, preset, *changes):
    """Runs a preset with tiny settings, and returns the JSON of the last line with the whole output as `text`."""
    words = [GAN_PIPELINES, "run", "--json", "--name", "tiny", "--root", "runs", "--preset", preset]
    words += [word for change in [*TINY, *changes] for word in ("--set", change)]
    done = subprocess.run(words, cwd=place, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) | {"text": done.stdout}


def write_masks(folder, *, side=16):
    """Writes masks with a box each, at different places."""
    folder.mkdir(exist_ok=True)
    for number in range(3):
        mask = np.zeros((side, side), np.uint8)
        mask[2 + number : 8 + number, 4 : 4 + 2 * (number + 1)] = 255
        Image.fromarray(mask).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def inpainted(tmp_path_factory):
    """Digits, repaired with masks of one's own in a folder beside the user, as a relative path."""
    place = tmp_path_factory.mktemp("inpainted")
    write_masks(place / "masks")
    return place, run(place, "digits-inpaint", MASKS)


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    place = tmp_path_factory.mktemp("translated")
    return place, run(place, "digits-translate", "model.blocks=1")


def output(place, step):
    """Returns the folder that a step of the first run left."""
    return min((place / "runs" / "tiny" / "steps").glob(f"**/{step}"))


def test_a_repairing_run_scores_holes_and_names_the_damage_in_the_protocol(inpainted):
    place, _ = inpainted
    evaluation = Evaluation.open(output(place, "scores"))
    scores = {score.name: score for score in evaluation.scores}
    assert {"l1_hole", "psnr_hole", "ssim_hole"} <= scores.keys()
    assert scores["l1_hole"].baseline > scores["l1"].baseline > 0  # what doing nothing scores
    saved = storage.read_json(evaluation.folder / "scores.json")
    assert saved["by_hole"]
    assert {row["name"].removesuffix("_hole").partition("_")[0] for row in saved["by_hole"]} >= {"l1", "psnr"}
    assert set(json.loads(evaluation.protocol["damage"])) == {"kind", "sha256"}  # not the place of the masks
    assert len(evaluation.protocol["inputs_sha256"]) == 64
    page = evaluation.report.read_text(encoding="utf-8")
    for words in ("the best by psnr_hole", "the worst by psnr_hole", "Mean absolute difference to the true images"):
        assert words in page, words
    assert "truth/l1_hole" in page
    assert "chosen by the distance to real images" in page
    assert "doing nothing" in page


def test_a_run_whose_masks_have_changed_asks_for_another_name(inpainted, tmp_path, monkeypatch):
    """And one whose masks were only touched goes on from its checkpoints, since their pixels count."""
    place, _ = inpainted
    monkeypatch.chdir(place)
    home = f"training.home={place / 'runs' / 'tiny' / 'training'}"
    words = ["train", "--preset", "digits-inpaint"]
    words += [f"--{step}={output(place, step)}" for step in ("dataset", "reference")]
    words += [word for change in [*TINY, MASKS, home] for word in ("--set", change)]
    os.utime(place / "masks" / "1.png", (2, 2))
    again = CliRunner().invoke(main, [*words, f"--output={tmp_path / 'again'}"])
    assert again.exit_code == 0, again.output
    assert "train: resumes from step 4" in again.output
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(place / "masks" / "1.png")
    own_masks.load.cache_clear()  # as in another process
    refused = CliRunner().invoke(main, [*words, f"--output={tmp_path / 'refused'}"])
    assert refused.exit_code == 2
    assert "the masks changed since this run began. Take another run name. Received: " in refused.stderr


def test_scores_of_another_damage_are_not_compared(inpainted):
    place, _ = inpainted
    mine = Evaluation.open(output(place, "scores"))
    other = Evaluation.open(output(place, "scores"))
    other.protocol["damage"] = other.protocol["damage"].replace("mask", "noise")
    with pytest.raises(ValueError, match=r"expected scores of one protocol. Received: damage='.*mask.* and '.*noise"):
        compare(mine, other)


def test_own_masks_of_a_run_are_found_mounted_and_watched(inpainted, monkeypatch):
    """Whatever names what is read has an absolute path for the steps; what changed is noticed."""
    place, _ = inpainted
    monkeypatch.chdir(place)
    (place / "w.h5").touch()
    config = resolve(
        chosen=["digits-inpaint"], assignments=[MASKS, "evaluation.extractor={kind: squeezenet, weights: w.h5}"]
    )
    first = session.complete_config(config, name="a", home=place)
    assert first.locations == {
        "task.damage.masks": str(place / "masks"),
        "evaluation.extractor.weights": str(place / "w.h5"),
    }
    assert session._input_files(first) == [place / "masks", place / "w.h5"]
    assert first.task.damage.masks_fingerprint
    both = "task.test_damage={kind: mask, shape: file, masks: masks#test}"
    config_of_both = resolve(chosen=["digits-inpaint"], assignments=[MASKS, both])
    assert session._input_files(config_of_both) == [Path("masks")]  # once, as Docker wants it
    missing = resolve(chosen=["digits-inpaint"], assignments=[MASKS.replace("masks: masks", "masks: nowhere")])
    with pytest.raises(ValueError, match=r"^task\.damage\.masks: no such file or folder. Received: masks='nowhere'$"):
        session.complete_config(missing, name="a", home=place)
    assert session.complete_config(config, name="a", home=place).task == first.task
    os.utime(place / "masks" / "0.png", (1, 1))
    assert session.complete_config(config, name="a", home=place).task.damage.masks_fingerprint not in (
        None,
        first.task.damage.masks_fingerprint,
    )


def apply(place, *words):
    model = output(place, "exported")
    command = [sys.executable, "-c", APPLY, "apply", str(model), *map(str, words)]
    done = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    *lines, imported = done.stdout.splitlines()
    assert not HEAVY & set(imported.split())
    return lines


def test_the_model_of_a_run_repairs_pictures_of_any_size_by_tiles(inpainted, tmp_path):
    """Known pixels are those of the picture, in tiles and in one piece."""
    place, _ = inpainted
    picture = (np.add.outer(np.arange(300), np.arange(420)) * 255 // 718).astype(np.uint8)
    mask = np.zeros_like(picture)
    mask[40:60, 30:400] = mask[100:280, 200:212] = 255
    for name, pixels in (("pictures", picture), ("holes", mask)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "ramp.png")
    results = {}
    for tile in (96, 512):
        out = tmp_path / f"out-{tile}"
        lines = apply(place, tmp_path / "pictures", "-o", out, "--masks", tmp_path / "holes", "--tile", tile)
        assert any("1/1 pictures" in line for line in lines)  # progress
        with Image.open(out / "ramp.png") as made:
            results[tile] = np.asarray(made)
        np.testing.assert_array_equal(results[tile][mask == 0], picture[mask == 0])
    assert (results[512][mask > 0] != picture[mask > 0]).any()


def test_a_translating_run_says_how_often_it_shows_each_domain_and_its_model_translates(translated, tmp_path):
    place, _ = translated
    log = (place / "runs" / "tiny" / "log.txt").read_text(encoding="utf-8")
    assert re.search(r"^ *train: 4 steps go through .+ 0\.\d times, .+ 0\.\d times$", log, re.MULTILINE)
    evaluation = Evaluation.open(output(place, "scores"))
    assert {"inputs_sha256", "backward/inputs_sha256"} <= evaluation.protocol.keys()
    assert evaluation.protocol["inputs_sha256"] != evaluation.protocol["backward/inputs_sha256"]
    page = evaluation.report.read_text(encoding="utf-8")
    assert "the best by" in page
    Image.fromarray(np.full((40, 24), 200, np.uint8)).save(tmp_path / "x.png")
    apply(place, tmp_path / "x.png", "-o", tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as picture:
        assert picture.size == (24, 40)
