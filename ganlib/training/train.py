"""The function `train`, from prepared images and a reference to a trained model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from etils import epy

from ganlib import runtime, storage
from ganlib.environment import escape_output, standard_keras
from ganlib.evaluation import Shortcuts, check_reference
from ganlib.tasks import Sampler
from ganlib.tracking import RunGroup, Tracker, flatten
from ganlib.trained import SAMPLES_FOLDER, TrainedModel
from ganlib.training.callbacks import (
    MeasureScore,
    RecordHistory,
    ReportProgress,
    SaveCheckpoint,
    SaveOnTimer,
    SaveSamples,
    SkippedOnWorker,
    pictures_after,
)
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.config import TrainConfig
from ganlib.training.guard import CheckScores, CheckTerms, Guard, StopAtLimit
from ganlib.training.interruption import Interruption, TrainingInterrupted, TrainingPaused
from ganlib.training.output import write_model
from ganlib.training.run_directory import CHECKPOINTS, RunDirectory, check_owner, identifying_settings, write_settings
from ganlib.training.run_settings import RunSettings, record_settings
from ganlib.training.state import TrainState, build_state
from ganlib.training.strategy import agree, is_chief, report_lost_workers, resolve_strategy
from ganlib.training.trainer import Callback, Trainer

with epy.lazy_imports():
    import tensorflow as tf

if TYPE_CHECKING:
    from ganlib.data import PreparedDataset
    from ganlib.evaluation import Reference
    from ganlib.models import Architecture
    from ganlib.objectives import Objective
    from ganlib.tasks import Task


@escape_output()
@standard_keras()
def train(
    dataset: PreparedDataset,
    reference: Reference,
    *,
    task: Task,
    architecture: Architecture,
    objective: Objective,
    config: TrainConfig,
    output: Path,
    group: RunGroup | None = None,
    tags: Mapping[str, str] | None = None,
    pause_at: int | None = None,
) -> TrainedModel:
    """Trains a GAN, or resumes training where `config.home` holds checkpoints.

    On SIGTERM or Ctrl-C it writes a checkpoint and ends; a second Ctrl-C ends it at once. All workers return the same
    model; only the chief writes `output`.

    Args:
        dataset: Prepared real images.
        reference: What samples are compared with, to choose the best generator.
        task: What the generator is asked to do.
        architecture: The family of networks.
        objective: The losses.
        config: Settings of the training.
        output: Folder to create; it appears whole or not at all.
        group: The MLflow run that this one is nested in, if any.
        tags: Tags of the MLflow run, such as what distinguishes it from others of its group.
        pause_at: Step with a score after which it ends with a checkpoint and without a model. The same call without it
            goes on from there.

    Returns:
        The trained model in `output`.

    Raises:
        ValueError: The settings do not fit the data, the devices, or the run that `config.home` holds.
        TrainingDiverged: Training failed, and `config.health` says to fail.
        TrainingInterrupted: SIGTERM or Ctrl-C was received.
        TrainingPaused: Training has come to `pause_at`.
        RuntimeError: Another worker was lost.
        storage.WriteConflict: Another process has resumed this run.
    """
    architecture.check(dataset.image_shape)
    task.check_architecture(architecture)
    for image_shape in dict.fromkeys((dataset.image_shape, dataset.batch_shape)):
        task.check_data(image_shape=image_shape, classes=dataset.classes, paired=dataset.paired)
    config.check_channels(dataset.image_shape[2])
    notes = task.notes(architecture, classes=len(dataset.classes))
    for name in task.scored:
        notes += check_reference(reference.of(name), task.real(dataset, name))
    objective.check(judges_batches=architecture.judges_batches, has_real_patches=task.has_real_patches)
    strategy = resolve_strategy(config.replicas, config.strategy)
    config.check_shares(strategy.num_replicas_in_sync)
    for note in notes if is_chief(strategy) else []:
        print(f"note: {note}", flush=True)
    with (
        RunDirectory(config.home, output, chief=is_chief(strategy)) as directory,
        runtime.deterministic(enabled=config.deterministic),
        runtime.without_remapper(),
    ):
        run = _Run(
            dataset=dataset,
            reference=reference,
            task=task,
            architecture=architecture,
            objective=objective,
            config=config,
            strategy=strategy,
            directory=directory,
            group=group,
            tags=tags,
            pause_at=pause_at,
        )
        return run.train(output if run.chief else directory.folder / output.name)


@dataclass(frozen=True, kw_only=True)
class _Run(RunSettings):
    """One run: what it was given, the directory that it is stored in, and its group."""

    directory: RunDirectory
    group: RunGroup | None = None
    tags: Mapping[str, str] | None = None
    pause_at: int | None = None

    @property
    def home(self) -> Path:
        """The local folder of the run."""
        return self.directory.folder

    @functools.cached_property
    def chief(self) -> bool:
        """Whether this process scores, records and saves."""
        return is_chief(self.strategy)

    def train(self, output: Path) -> TrainedModel:
        """Trains from the newest checkpoint, or from the beginning, to the last step."""
        settings = flatten({**self.settings, "resolved": self.resolved, **self.origin})
        present = identifying_settings(settings, steps_are_free=self.config.schedule == "constant")
        check_owner(self.home, present)
        keep = self.config.keep_checkpoints if self.chief else 0
        checkpoints = Checkpoints(self.home / CHECKPOINTS, keep=keep)
        state, resumed = self._state(checkpoints)
        write_settings(self.home, present)
        tracker = Tracker(self.home, run_name=self.config.run_name, group=self.group, deliver=self.chief)
        self.directory.begin()  # the id of the MLflow run must be stored before there is one
        with tracker, Interruption() as interruption:
            tracker.rewind(state.clock.looked)
            record_settings(tracker, self.facts, self.dataset, tags=self.tags)
            samplers = self._samplers(state)
            pictures = SaveSamples(list(samplers.values()), tracker, every=self.config.sample_every)
            for picture in pictures_after(self.home, state.clock.looked):
                picture.unlink()
            self._print_passes()
            if resumed:
                print(f"train: resumes from step {state.clock.step}", flush=True)
            else:
                pictures(0, {}, state)  # samples before the first step, for the report and MLflow's slider
                checkpoints.save_best(state)  # what a run without a score rolls back to
            trainer = Trainer(
                state,
                task=self.task,
                objective=self.objective,
                strategy=self.strategy,
                config=self.config,
                stop_requested=lambda: bool(interruption),
            )
            minutes, seconds = self.config.checkpoint_minutes, state.clock.seconds
            timer = SaveOnTimer(checkpoints, self.directory, minutes=minutes, seconds=seconds)
            with report_lost_workers(self.strategy):
                # No branch or loop of a graph depends on a tensor, and AutoGraph takes about a second to find that out.
                ended = tf.autograph.experimental.do_not_convert(trainer.run)(
                    lambda start: self.task.batches(
                        self.dataset, batch_size=self.config.batch_size, seed=self.config.seed, start=start
                    ),
                    steps=self.config.steps,
                    pause_at=self.pause_at,
                    callbacks=self._callbacks(state, samplers, pictures, checkpoints, timer, tracker),
                )
            if self.chief and not ended:
                checkpoints.save(state)
            if state.ending is not None:
                timer.save_before_stop()
                print(f"train: stopped at {state.ending.text}", flush=True)
            tracker.status("FINISHED" if ended else "KILLED")
        if not (ended or interruption):
            raise TrainingPaused(f"paused at step {state.clock.step}")
        if not ended:
            raise TrainingInterrupted(f"interrupted at step {state.clock.step}; the same command resumes from there")
        return write_model(output, state, self.task, dataset=self.dataset, home=self.home, facts=self.facts)

    def _state(self, checkpoints: Checkpoints) -> tuple[TrainState, bool]:
        """Returns the state to start from, and whether it came from a checkpoint."""
        for folder in (checkpoints.folder, self.home / SAMPLES_FOLDER):
            storage.remove_partial_files(folder)
        state = build_state(
            self.strategy,
            task=self.task,
            architecture=self.architecture,
            config=self.config,
            image_shape=self.dataset.batch_shape,
            classes=len(self.dataset.classes),
            dtype=self.resolved["precision"],
        )
        resumed = checkpoints.restore(state)
        if not agree(self.strategy, lambda: (float(state.clock.step), float(state.trained.checksum()))):
            raise ValueError(
                "expected a training.home that all workers can reach; they start from different states. "
                f"Received: training.home={self.config.home}, step={state.clock.step}"
            )
        if state.clock.step > self.config.steps:
            raise ValueError(
                f"the run in {self.home} already made {state.clock.step} steps; expected no fewer, or another name. "
                f"Received: training.steps={self.config.steps}"
            )
        return state, resumed

    def _print_passes(self) -> None:
        """Prints how often training goes through each set of images, if there are several."""
        images = self.config.steps * self.objective.discriminator_steps * self.config.batch_size
        passes = self.task.passes(self.dataset, images=images)
        if len(passes) > 1:
            text = ", ".join(f"{name} {number:.1f} times" for name, number in passes.items())
            print(f"train: {self.config.steps:,} steps go through {text}", flush=True)

    def _samplers(self, state: TrainState) -> dict[str, Sampler]:
        """Returns what draws from the averaged generators that are scored, by name."""
        shipped = self.task.shipped(state.trained.averaged)
        return {
            name: Sampler(
                self.task,
                shipped[name],
                shares=self.facts["class_shares"],
                image_shape=self.dataset.image_shape,
                held_out=self.dataset,
                name=name,
            )
            for name in self.task.scored
        }

    def _callbacks(
        self,
        state: TrainState,
        samplers: Mapping[str, Sampler],
        pictures: SaveSamples,
        checkpoints: Checkpoints,
        timer: SaveOnTimer,
        tracker: Tracker,
    ) -> list[Callback]:
        """Returns the callbacks, in the order of their calls."""
        config, guard = self.config, Guard(self.config.health, checkpoints, tracker, last_step=self.config.steps)
        shortcuts = {
            name: Shortcuts(self.task.held_out(self.dataset, name), self.task.real(self.dataset, name))
            for name in samplers
        }
        score = MeasureScore(
            self.reference,
            samplers,
            shortcuts,
            checkpoints,
            strategy=self.strategy,
            best_measure=self.task.best_measure,
            every=config.score_every,
            count=self.score_count,
            seed=config.seed,
        )
        saves: list[Callback] = [SaveCheckpoint(checkpoints, every=config.checkpoint_every), timer]
        decisions: list[Callback] = [
            CheckTerms(guard),
            StopAtLimit("max_minutes", config),  # before the score, so that the last generator is scored
            score,
            CheckScores(guard, measure=score.measure, every=config.score_every),
            StopAtLimit("target_score", config),
        ]
        records: list[Callback] = [
            pictures,
            RecordHistory(tracker),
            ReportProgress(
                steps=config.steps,
                start=state.clock.step,
                discriminator_steps=self.objective.discriminator_steps,
                measure=score.measure,
                minutes=self.config.max_minutes,
            ),
        ]
        if self.chief:
            return [*saves, *decisions, *records]
        return [*map(SkippedOnWorker, saves), *decisions, *map(SkippedOnWorker, records)]
