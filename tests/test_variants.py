"""Variants of a comparison: what is compared, at which budget, and what is refused."""

import json

import pytest
import yaml

from ganlib.selection import Candidate
from pipelines import candidates, settings, variants
from pipelines.budgets import Budget
from pipelines.candidates import resolve_variants
from pipelines.settings import SettingsError
from pipelines.variants import Variant, parse_variant

CHOSEN = ["digits"]


def resolve(*texts, chosen=(), assignments=(), files=(), budget=Budget()):  # noqa: B008  # frozen
    found = [parse_variant(text) for text in texts]
    return resolve_variants(found, chosen=chosen or CHOSEN, files=files, assignments=assignments, budget=budget)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dcgan", Variant("dcgan", ("dcgan",), ())),
        ("wide: dcgan model.width=96", Variant("wide", ("dcgan",), ("model.width=96",))),
        (
            "dcgan training.generator_optimizer.learning_rate=1e-3",
            Variant("dcgan,learning_rate=1e-3", ("dcgan",), ("training.generator_optimizer.learning_rate=1e-3",)),
        ),
        ("objective=hinge", Variant("objective=hinge", (), ("objective=hinge",))),
        (
            "training.augmentation=[cutout,translation]",
            Variant("augmentation=cutout-translation", (), ("training.augmentation=[cutout,translation]",)),
        ),
    ],
)
def test_a_variant_is_presets_and_fields(text, expected):
    assert parse_variant(text) == expected


@pytest.mark.parametrize("text", ["", "  ", "../up: dcgan", "name:", f"{'n' * 81}: dcgan"])
def test_a_variant_without_content_or_with_a_name_that_is_no_folder_is_refused(text):
    with pytest.raises(SettingsError, match="Received"):
        parse_variant(text)


def test_a_preset_of_a_variant_takes_the_place_of_the_common_one_and_common_fields_count_for_all():
    base, configs = resolve("dcgan", "wgan-gp", chosen=["digits", "sngan"], assignments=["model.width=16"])
    assert base.objective.kind == "hinge"
    assert [config.objective.kind for config in configs.values()] == ["non_saturating", "wgan_gp"]
    assert {config.model.width for config in configs.values()} == {16}


def test_a_file_has_variants_and_a_grid(tmp_path):
    path = tmp_path / "variants.yaml"
    path.write_text(
        "variants: {a: {preset: dcgan}, b: {preset: sngan, set: {model.width: 16}}}\n"
        "grid: {training.ema_decay: [0.9, 0.99], training.augmentation: [[cutout], []]}\n"
    )
    found = variants.read_variants(path)
    assert [one.name for one in found][:2] == [
        "a,ema_decay=0.9,augmentation=cutout",
        "a,ema_decay=0.9,augmentation=none",
    ]
    assert len(found) == 8
    assert found[4].assignments == ("model.width=16", "training.ema_decay=0.9", 'training.augmentation=["cutout"]')
    _, configs = resolve_variants(found, chosen=CHOSEN, files=(), assignments=(), budget=Budget())
    last = configs["b,ema_decay=0.99,augmentation=none"]
    assert (last.training.ema_decay, last.model.width, last.training.augmentation) == (0.99, 16, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "expected variants, a grid, or both"),
        ("varients: {}", "unknown option"),
        ("variants: {a: {presets: dcgan}}", "unknown option"),
        ("grid: {objective.r1: []}", "expected a list of values"),
        ("variants: {'a b': {preset: dcgan}}", "expected a name for a variant"),
        ("variants: {a: {set: {training.run_name: 2026-01-01}}}", "expected text, a number or a list"),
        ("grid: {objective.r1: [.inf]}", "expected text, a number or a list"),
        ("[1]", "expected sections"),
    ],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, text, message):
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        variants.read_variants(path)


def test_a_budget_of_images_counts_each_update_of_the_discriminator():
    base, configs = resolve("dcgan", "wgan-gp", "small: dcgan training.batch_size=32", budget=Budget("images", 64000))
    steps = {name: config.training.steps for name, config in configs.items()}
    assert steps == {"dcgan": 1000, "wgan-gp": 200, "small": 2000}
    looks = {name: -(-config.training.steps // config.training.score_every) for name, config in configs.items()}
    assert set(looks.values()) == {base.training.steps // base.training.score_every}  # the best of as many scores


def test_the_default_budget_is_what_the_common_settings_show():
    base, configs = resolve("dcgan", "wgan-gp")
    images = base.training.steps * base.training.batch_size
    assert configs["dcgan"].training.steps == base.training.steps
    assert configs["wgan-gp"].training.steps == round(images / (5 * 64))


def test_other_budgets_are_steps_and_minutes():
    _, configs = resolve("dcgan", "wgan-gp", budget=Budget("steps", 70))
    assert {config.training.steps for config in configs.values()} == {70}
    _, configs = resolve("dcgan", "wgan-gp", budget=Budget("minutes", 2.5))
    assert {config.training.max_minutes for config in configs.values()} == {2.5}
    with pytest.raises(SettingsError, match=r"training\.schedule=constant"):
        resolve("dcgan", "wgan-gp", assignments=["training.schedule=linear"], budget=Budget("minutes", 2.5))


@pytest.mark.parametrize(
    ("assignment", "budget", "message"),
    [
        ("training.steps=50", Budget("images", 64000), r"training\.steps=50, --images 64000"),
        ("training={steps: 50}", Budget("minutes", 3), r"training\.steps=50, --minutes 3"),
        ("training.max_minutes=5", Budget(), r"as --minutes.*Received: training\.max_minutes=5"),
        ("training.max_minutes=5", Budget("minutes", 3), r"as --minutes.*Received: training\.max_minutes=5"),
        ("training.target_score=5", Budget(), r"whole budget.*Received: training\.target_score=5"),
        ("training.run_name=x", Budget(), r"named by the comparison.*Received: training\.run_name=x"),
    ],
)
def test_a_common_setting_that_the_comparison_would_replace_is_refused(assignment, budget, message):
    with pytest.raises(SettingsError, match=message):
        resolve("dcgan", "sngan", assignments=[assignment], budget=budget)


def test_the_budget_is_said_with_what_it_replaces_and_steps_alone_are_a_budget():
    base, configs = resolve("dcgan", "sngan", budget=Budget("images", 500_000))
    assert Budget("images", 500_000).text(base) == "500,000 images for each training, instead of training.steps=2000"
    base, configs = resolve("dcgan", "sngan", assignments=["training.steps=50"])
    assert Budget().text(base) == "3,200 images for each training"
    assert {config.training.steps for config in configs.values()} == {50}


def test_steps_between_scores_are_parts_of_a_preset_or_what_the_user_says(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("training: {score_every: 50}")
    for expected, own in (
        (40, {}),  # a tenth, as in the preset
        (50, {"assignments": ["training.score_every=50"]}),
        (50, {"files": [path]}),
    ):
        _, configs = resolve("dcgan", "sngan", budget=Budget("steps", 400), **own)
        assert {config.training.score_every for config in configs.values()} == {expected}, own


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("dcgan", "dcgan"), "dcgan twice"),
        (("dcgan", "same: dcgan"), "dcgan and same are the same"),
        (("dcgan", "sngan data.flip=true"), r"variant sngan,flip=true: expected changes of task.*data\.flip=True"),
        (("dcgan", "sngan evaluation.samples=5"), r"evaluation\.samples=5"),
        (("dcgan", "sngan platform.gpus=2"), r"platform\.gpus=2"),
        (("dcgan", "pix2pix data.size=32"), "data"),
        (("dcgan", "sgan"), "variant sgan: expected one of the presets"),
        (("dcgan", "sngan training.stepz=5"), r"variant sngan,stepz=5: training\.stepz: unknown option"),
        (("dcgan", "digits"), "variant digits: expected a preset of a loss"),
        (("dcgan", "long: dcgan training.steps=9"), r"variant long: expected fields.*Received: training\.steps"),
        (("dcgan", 'long: dcgan training={"steps":9}'), r"variant long: expected fields.*Received: training\.steps"),
        (("dcgan", "soon: dcgan training.target_score=9"), r"Received: training\.target_score"),
        (("dcgan", "often: dcgan training.score_every=5"), r"Received: training\.score_every"),
        (("dcgan", "there: dcgan training.home=/x"), r"Received: training\.home"),
    ],
)
def test_variants_that_cannot_be_compared_are_refused(texts, message):
    with pytest.raises(SettingsError, match=message):
        resolve(*texts)


def test_variants_are_scored_on_the_same_damage():
    texts = ("easy: task.damage.sigma=0.1", "hard: task.damage.sigma=0.5")
    with pytest.raises(SettingsError, match="variant easy: expected the same damage"):
        resolve(*texts, chosen=["digits-denoise"])
    resolve(*texts, chosen=["digits-denoise"], assignments=["task.test_damage={kind: noise, sigma: 0.2}"])


def test_a_common_field_that_makes_variants_the_same_is_noticed():
    same = ["task.conditional=false", "model.discriminator_norm=none", "model.dropout=0.0"]
    texts = ("one: objective=hinge", "two: objective=least_squares")
    resolve(*texts, assignments=same)
    with pytest.raises(SettingsError, match="one and two are the same"):
        resolve("one: objective=hinge", "two: model.discriminator_norm=none", assignments=[*same, "objective=hinge"])


def test_variants_share_the_task():
    with pytest.raises(SettingsError, match="variant cyclegan: expected the task of all variants, generation"):
        resolve("dcgan", "cyclegan", assignments=["data.size=32"])


def test_a_report_names_what_distinguishes_the_variants():
    _, configs = resolve("dcgan", "wide: dcgan model.width=96", "sngan model.width=96")
    assert candidates.changes(configs)["wide"]["model.width"] == 96
    assert "training.steps" not in candidates.changes(configs)["wide"]
    assert candidates.changes(configs)["dcgan"]["model.width"] == 32


def test_candidates_take_turns_and_keep_what_they_are_as_json():
    _, configs = resolve("dcgan", "r3gan", assignments=["training.seed=7"])
    made = candidates.make_candidates(configs, seeds=2, comparison="c", home="gs://bucket/c/")
    assert [one.name for one in made] == ["dcgan-seed0", "r3gan-seed0", "dcgan-seed1", "r3gan-seed1"]
    assert [one.training.seed for one in made] == [7, 7, 8, 8]
    assert made[1].training.home == "gs://bucket/c/r3gan-seed0/training"
    assert made[1].training.run_name == "c/r3gan-seed0"
    for one in made:
        short = one.without_defaults()
        assert Candidate.model_validate(json.loads(json.dumps(short))) == one
        assert len(json.dumps(short)) < 1200 < len(json.dumps(one.to_parameter()))  # argument lists have limits


def test_every_preset_can_be_a_candidate():
    for name, text in settings.presets().items():
        if settings.preset_kind(yaml.safe_load(text)) != "loss":
            continue
        config = settings.resolve(chosen=[name], assignments=["data.size=32"])
        made = candidates.make_candidates({name: config}, seeds=1, comparison="c", home=None)[0]
        assert Candidate.model_validate(made.without_defaults()) == made


def test_a_comparison_of_the_same_name_elsewhere_is_another_one():
    base, _ = resolve("dcgan", "sngan")
    one, again, other = (candidates.comparison_group("c", base, place=place) for place in ("/a", "/a", "/b"))
    assert one == again
    assert one.key != other.key
