"""Folders of candidates as trainings leave them, with scores that the test chooses."""

import math
from dataclasses import asdict

import numpy as np
from PIL import Image

from ganlib import storage
from ganlib.evaluation import Score
from ganlib.selection import Outcome

MEASURE = "fd_classifier"
PROTOCOL = {"measure": MEASURE, "extractor_sha256": "abc", "generated_count": 1000, "generator": "best", "seed": 1}
MEANING = "Frechet distance of 1000 images to 9000 real ones; lower is better"
STEPS, IMAGES, LINES = 1000, 64_000, 10


def write_scores(folder, value, *, error=0.2, seed=1, sha256="", name=MEASURE, meaning=MEANING, **protocol):
    """Writes scores.json, in which the measure has a value."""
    folder.mkdir(parents=True, exist_ok=True)
    scores = [asdict(Score(name, value, 0.5, meaning, error)), asdict(Score("seen", 10.0, None, "classes seen"))]
    generator = {"which": "best", "averaged": True, "step": STEPS, "sha256": sha256 or folder.name}
    facts = {"scores": scores, "protocol": {**PROTOCOL, "seed": seed, **protocol}, "notes": []}
    storage.write_json(folder / "scores.json", {**facts, "generator": generator})


def write_history(folder, value, *, start=150.0, until=1.0, speed=20.0, late=2.0, events=()):
    """Writes the history of a training whose score falls to a value, or until the part at which it stops."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(round(1000 * value))
    for place in range(1, round(LINES * until) + 1):
        step, share = STEPS * place // LINES, place / LINES
        score = value * (start / value) ** ((1.0 - share) ** late) * math.exp(0.05 * random.standard_normal())
        row = {"step": step, "time": 1e9 + step / speed, "speed/steps_per_second": speed}
        storage.append_line(folder / "history.jsonl", {**row, f"training/{MEASURE}": score})
    for step, problem, text in events:
        event = {"event": problem, "reaction": "noted", "text": text}
        storage.append_line(folder / "history.jsonl", {"step": step, "time": 1e9, **event})


def write_samples(folder, value, *, size=16, columns=12):
    """Writes a sheet of shapes that are the blurrier, the higher the score."""
    random, rows = np.random.default_rng(0), 6
    y, x = np.mgrid[0:size, 0:size] / size
    tiles = []
    for _ in range(rows * columns):
        left, top, radius = *random.uniform(0.3, 0.7, 2), random.uniform(0.1, 0.3)
        shape = 1.0 / (1.0 + np.exp((np.hypot(x - left, y - top) - radius) * 400.0 / value))
        tiles.append(np.pad(255.0 * shape, ((0, 2), (0, 2)), constant_values=255.0))
    sheet = np.concatenate([np.concatenate(tiles[row::rows], axis=1) for row in range(rows)])
    Image.fromarray(sheet.astype(np.uint8)).resize((sheet.shape[1] * 3, sheet.shape[0] * 3), 0).save(
        folder / "samples.png"
    )


def candidate(root, variant, seed, value=None, *, failure="", seconds=50.0, history=True, changes=None, **facts):
    """Writes the folder of a candidate, and returns its outcome, opened."""
    folder = root / f"{variant}-{seed}"
    folder.mkdir(parents=True)
    known = {"measure": MEASURE, "seconds": seconds, "images": IMAGES, "steps": STEPS, "best_step": STEPS - 100}
    known |= {"parameters": 700_000, "trained": str(folder / "trained")}
    outcome = {"variant": variant, "seed": seed, "changes": changes or {}, "failure": failure}
    Outcome.model_validate(outcome | ({} if failure else known) | facts).write(folder)
    if value is not None and not failure:
        write_scores(folder, value)
    if history:
        write_history(folder, value or 60.0, until=0.6 if failure else 1.0, speed=STEPS / (seconds or 50.0))
    return Outcome.open(folder)
