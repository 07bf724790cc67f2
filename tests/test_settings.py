"""From preset, file and options to a config, which reports all mistakes."""

import pytest

from pipelines import settings
from pipelines.kubeflow.config import PipelineConfig
from pipelines.settings import SettingsError, resolve

DATA = ["digits", "digits-denoise", "digits-inpaint", "digits-translate", "fashion_mnist", "folder", "pairs"]
LOSSES = ["conditional", "dcgan", "gan", "lsgan", "r3gan", "sngan", "wgan", "wgan-gp"]
FROM_IMAGES = {  # with data for each
    "cut": "folder",
    "cyclegan": "folder",
    "denoise": "folder",
    "fastcut": "folder",
    "inpaint": "folder",
    "pix2pix": "pairs",
}
KINDS = {"cyclegan": "unpaired_translation", "pix2pix": "paired_translation"} | dict.fromkeys(
    ("cut", "fastcut"), "contrastive_translation"
)
SCORES = ["fid"]
PLACE = {name: ["data.source.path=/data/images"] for name in ("fashion_mnist", "folder", "pairs")}
PRESETS = sorted([*DATA, *LOSSES, *FROM_IMAGES, *SCORES])
NAMES = {"digits-denoise": "digits", "digits-inpaint": "digits", "digits-translate": "digits_striped"}  # of the data


def config_of(*assignments, preset=None, file=None):
    return resolve(
        chosen=[preset] if isinstance(preset, str) else preset or [],
        files=[file] if file else [],
        assignments=assignments,
    )


def refusal(*assignments, preset=None, file=None):
    with pytest.raises(SettingsError) as caught:
        config_of(*assignments, preset=preset, file=file)
    return str(caught.value).splitlines()


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return written


def test_nothing_chosen_means_the_defaults():
    assert config_of() == PipelineConfig()


@pytest.mark.parametrize("name", list(settings.presets()))
def test_every_preset_is_a_valid_config_and_says_what_it_is(name):
    assert settings.presets()[name].startswith("# ")
    below = FROM_IMAGES.get(name)
    config = config_of(*PLACE.get(below or name, []), preset=[*filter(None, [below]), name])
    assert config != PipelineConfig()
    assert config.data.name == (below or NAMES.get(name) or (name if name in DATA else "digits"))


@pytest.mark.parametrize("name", list(PLACE))
def test_a_preset_for_images_of_ones_own_asks_for_their_place(name):
    assert refusal(preset=name) == ["data.source.path: this option is required. Received: nothing"]


def test_the_presets_are_those_that_the_readme_promises():
    assert sorted(settings.presets()) == PRESETS
    assert config_of(*PLACE["folder"], preset="folder").data.image_shape == (64, 64, 3)
    assert config_of(*PLACE["fashion_mnist"], preset="fashion_mnist").data.image_shape == (28, 28, 1)
    assert config_of(preset="digits").data.source.kind == "digits"


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_preset_gives_the_same_objective_over_any_data(name):
    """Also the same condition, networks (except for their width) and learning rates."""
    alone = config_of(preset=name)
    assert alone.data == config_of(preset="digits").data
    below = config_of(*PLACE["folder"], preset=["folder", name])
    assert below.data.name == "folder"
    assert alone.objective == below.objective
    assert alone.task.conditional == below.task.conditional == (name == "conditional")
    assert alone.training.generator_optimizer == below.training.generator_optimizer
    assert alone.training.discriminator_optimizer == below.training.discriminator_optimizer
    width = {"width", "max_width"}
    assert alone.model.model_dump(exclude=width) == below.model.model_dump(exclude=width)
    assert below.training.steps == config_of(*PLACE["folder"], preset="folder").training.steps


@pytest.mark.parametrize("data", ["folder", "pairs"])
@pytest.mark.parametrize("name", list(FROM_IMAGES))
def test_a_preset_from_images_to_images_chooses_task_networks_and_optimizers_and_leaves_the_data(name, data):
    below, config = config_of(*PLACE[data], preset=data), config_of(*PLACE[data], preset=[data, name])
    assert (config.data, config.evaluation) == (below.data, below.evaluation)
    assert config.training.steps == below.training.steps
    assert config.task.kind == KINDS.get(name, "restoration")
    other = "pairs" if data == "folder" else "folder"
    elsewhere = config_of(*PLACE[other], preset=[other, name])
    assert (config.task, config.model, config.objective) == (elsewhere.task, elsewhere.model, elsewhere.objective)


@pytest.mark.parametrize("side", [64, 128, 256])
@pytest.mark.parametrize("name", list(FROM_IMAGES))
def test_presets_from_images_to_images_take_the_sizes_that_they_promise(name, side):
    config = config_of(*PLACE["folder"], f"data.size={side}", preset=["folder", name])
    assert config.data.image_shape == (side, side, 3)


def test_the_weights_are_those_of_the_papers_in_the_scales_used_here():
    """The papers' adversarial term is twice `least_squares`; LaMa's pixels are in 0..1, and its R1 is not halved."""
    translate = config_of(*PLACE["folder"], preset=["folder", "cyclegan"]).task
    assert (2 * translate.cycle_weight, translate.identity_weight, translate.pool_size) == (10.0, 0.5, 50)
    for name, weights in {"cut": (1.0, 1.0), "fastcut": (10.0, 0.0)}.items():
        contrastive = config_of(*PLACE["folder"], preset=["folder", name])
        assert contrastive.objective.kind == "least_squares"
        assert (2 * contrastive.task.nce_weight, 2 * contrastive.task.identity_nce_weight) == weights
    paired = config_of(*PLACE["pairs"], preset=["pairs", "pix2pix"]).task
    assert (paired.l1_weight, paired.adversarial_weight) == (100.0, 1.0)
    inpaint = config_of(*PLACE["folder"], preset=["folder", "inpaint"])
    task = inpaint.task
    assert (2 * task.l1_weight, task.adversarial_weight, task.feature_weight) == (10.0, 10.0, 100.0)
    assert inpaint.objective.r1 / 2 / 2**2 == pytest.approx(0.001)


def test_the_first_run_asks_for_digits_by_their_class():
    first = config_of(preset="digits")
    assert first.task.conditional
    assert config_of("task.conditional=false", preset="digits").task.conditional is False
    assert config_of("objective=minimax", preset="digits").objective.kind == "minimax"


def test_order_does_not_matter_and_two_of_a_kind_are_refused():
    assert config_of(preset=["sngan", "digits"]) == config_of(preset=["digits", "sngan"]) == config_of(preset="sngan")
    for named in (["digits", "sngan", "wgan"], ["digits", "folder"], ["fid", "digits", "fid"]):
        [line] = refusal(*PLACE["folder"], preset=named)
        assert line.startswith("expected at most one preset of each kind: data, loss ")
        assert line.endswith(f"Received: preset={', '.join(named)}")


@pytest.mark.parametrize("below", [["digits"], ["conditional"], ["folder", "sngan"], []], ids="-".join)
def test_fid_lies_over_any_other_preset_and_changes_the_feature_space_alone(below):
    place = PLACE["folder"] if "folder" in below else []
    under, over = config_of(*place, preset=below or "digits"), config_of(*place, preset=["fid", *below])
    assert over.evaluation.extractor.to_parameter() == {"kind": "inception", "resize_mode": "legacy"}
    assert (over.evaluation.inception_weights, over.evaluation.samples) == (None, 10_000)
    kept = {"extractor", "samples"}
    assert over.evaluation.model_dump(exclude=kept) == under.evaluation.model_dump(exclude=kept)
    assert over.model_dump(exclude={"evaluation"}) == under.model_dump(exclude={"evaluation"})
    more = config_of(
        *place, "evaluation.samples=50000", "evaluation.extractor.resize_mode=clean", preset=[*below, "fid"]
    )
    assert (more.evaluation.samples, more.evaluation.extractor.resize_mode) == (50_000, "clean")


@pytest.mark.parametrize("word", ["inception", "{kind: inception}"])
def test_the_fields_of_the_space_before_do_not_stay(word, write):
    mine = write("evaluation: {extractor: {kind: classifier, network: {epochs: 3}}}\n")
    config = config_of(f"evaluation.extractor={word}", preset="digits", file=mine)
    assert config.evaluation.extractor.to_parameter() == {"kind": "inception", "resize_mode": "legacy"}


def test_a_game_over_a_file_takes_the_files_data(write):
    config = config_of(preset="sngan", file=write("data: {size: 32, name: mine}\n"))
    assert (config.data.size, config.data.name, config.objective.kind) == (32, "mine", "hinge")


def test_an_optimizer_of_another_kind_leaves_no_field_behind():
    config = config_of("training.generator_optimizer.rho=0.8", "training.generator_optimizer=rmsprop", preset="dcgan")
    assert config.training.generator_optimizer.to_parameter() == {"kind": "rmsprop", "learning_rate": 2e-4, "rho": 0.8}
    assert config_of("training.augmentation=[cutout]").training.augmentation == ("cutout",)


def test_rules_across_sections_are_reported_before_anything_runs():
    assert refusal("objective=wgan_gp", "model.discriminator_norm=batch") == [
        (
            "a gradient penalty needs a discriminator whose logit for an image does not depend on the rest of "
            "the batch: set model.discriminator_norm=none or spectral. "
            "Received: objective=wgan_gp, model.discriminator_norm=batch"
        )
    ]
    assert refusal("training.home=here", "platform.checkpoints=gs://bucket/place") == [
        (
            "expected one location for checkpoints: platform.checkpoints (a folder for each run) or training.home. "
            "Received: platform.checkpoints=gs://bucket/place, training.home=here"
        )
    ]
    assert refusal("data.train_images=20") == [
        "expected at least one batch of training images. Received: data.train_images=20, training.batch_size=64"
    ]


def test_a_file_lies_over_the_preset_and_options_over_the_file(write):
    file = write("training: {steps: 7, seed: 3}\n")
    config = config_of("training.seed=4", "training.seed=5", preset="digits", file=file)
    preset = config_of(preset="digits")
    assert (config.training.steps, config.training.seed) == (7, 5)
    assert config.training.score_every == preset.training.score_every
    assert config.data == preset.data


def test_values_are_read_as_yaml():
    config = config_of("training.deterministic=false", "training.replicas=2", "training.generator_optimizer.beta_1=0")
    assert config.training.deterministic is False
    assert config.training.replicas == 2
    assert config.training.generator_optimizer.beta_1 == 0.0
    assert config.training.generator_optimizer.beta_2 == 0.999
    assert (
        config_of("training.generator_optimizer.learning_rate=1e-4").training.generator_optimizer.learning_rate == 1e-4
    )
    assert config_of("training.replicas=2", "training.replicas=null").training.replicas is None
    assert config_of("data={size: 32, name: small}").data.size == 32


def test_a_value_may_hold_an_equals_sign():
    config = config_of("data.source.kind=image_folder", "data.source.path=/a=b")
    assert config.data.source.path == "/a=b"


def test_a_bare_word_chooses_a_variant_and_its_fields_can_be_set_beside_it(write):
    assert config_of("objective=minimax").objective.kind == "minimax"
    assert config_of("objective=minimax", "objective.discriminator_steps=3").objective.discriminator_steps == 3
    config = config_of("evaluation.extractor.network.epochs=2", file=write("evaluation: {extractor: rotation}"))
    assert config.evaluation.extractor.kind == "rotation"
    assert config.evaluation.extractor.network.epochs == 2


def test_a_field_of_the_default_variant_can_be_set_by_itself():
    config = config_of("objective.discriminator_steps=2", "task.latent_dim=16", "model.width=8", preset="digits")
    assert (config.objective.kind, config.objective.discriminator_steps) == ("hinge", 2)
    assert (config.task.latent_dim, config.model.width) == (16, 8)


def test_another_kind_replaces_what_was_set_for_the_one_below(write):
    file = write("data: {source: {kind: image_folder, path: here, test_fraction: 0.5}}")
    config = config_of("data.source.kind=arrays", "data.source.path=there.npz", file=file)
    assert (config.data.source.kind, config.data.source.path) == ("arrays", "there.npz")
    assert config.data.source.test_fraction == 0.1
    kept = config_of("data.source.path=there", file=file)
    assert (kept.data.source.kind, kept.data.source.path, kept.data.source.test_fraction) == (
        "image_folder",
        "there",
        0.5,
    )


@pytest.mark.parametrize("choice", ["platform=vertex", "platform.kind=vertex"])
def test_another_platform_keeps_what_a_file_says_or_refuses_it(write, choice):
    both = write("platform: {gpus: 2, gpu_type: NVIDIA_L4, cpu: 4, checkpoints: gs://bucket/place}")
    platform = config_of(choice, file=both).platform
    assert (platform.kind, platform.gpus, platform.cpu) == ("vertex", 2, {"others": "4"})
    assert platform.checkpoints == "gs://bucket/place"
    assert refusal(choice, file=write("platform: {gpus: 2, gpu_type: nvidia-l4, spot: true}")) == [
        "platform.spot: unknown option. Received: spot=True"
    ]


def test_all_mistakes_are_reported_at_once(write):
    lines = refusal(
        "objective=unknown",
        "training.steps=many",
        "model.width=2",
        file=write("nonsense: 1\ntraining: {colour: red}\n"),
    )
    assert len(lines) == 5
    assert any(
        line.startswith("objective: expected one of 'minimax', 'non_saturating', 'least_squares', ") for line in lines
    )
    assert any(line.startswith("training.steps: ") and line.endswith("Received: steps='many'") for line in lines)
    assert any(line.startswith("model.width: ") and line.endswith("Received: width=2") for line in lines)
    assert "nonsense: unknown option. Received: nonsense=1" in lines
    assert "training.colour: unknown option. Received: colour='red'" in lines


@pytest.mark.parametrize("assignment", ["training.steps", "=1", "training..steps=1", ".steps=1", "training.=1"])
def test_an_option_that_sets_nothing_is_one_line(assignment):
    assert refusal(assignment) == [f"expected section.field=value. Received: --set {assignment!r}"]


def test_a_value_that_is_not_yaml_is_reported_with_its_option():
    assert refusal("training.steps={") == ["the value is not YAML. Received: --set 'training.steps={'"]


def test_a_field_below_a_plain_value_is_refused():
    [line] = refusal("training.steps.more=1")
    assert line.startswith("training.steps: Input should be a valid integer")
    assert line.endswith("Received: steps={'more': 1}")


def test_an_unknown_preset_is_reported_with_those_that_there_are():
    assert refusal(preset="cats") == [f"expected one of the presets {', '.join(PRESETS)}. Received: preset='cats'"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: [", "is not YAML: while parsing"),
        ("a: b: c", "is not YAML: mapping values are not allowed"),
        ("- 1\n- 2\n", "expected sections such as 'training:'. Received: a list"),
        ("", "expected sections such as 'training:'. Received: nothing"),
        ("just words", "expected sections such as 'training:'. Received: text"),
        ("training:\n  steps: 5\n  batch: 8\n  steps: 6\n", "is not YAML: duplicate key 'steps' in "),
        ("? {a: 1}\n: 2", "is not YAML: "),
    ],
)
def test_a_file_that_holds_no_sections_is_one_line_with_its_name(write, text, message):
    file = write(text)
    [line] = refusal(file=file)
    assert str(file) in line
    assert message in line


def test_a_tag_that_would_run_code_is_not_yaml_here(write):
    [line] = refusal(file=write("training: !!python/object/apply:os.getcwd []"))
    assert "is not YAML: could not determine a constructor" in line


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    file = tmp_path / "picture.yaml"
    file.write_bytes(b"\x89PNG\xff\xfe")
    [line] = refusal(file=file)
    assert line.startswith("expected YAML text in UTF-8, ")
    assert line.endswith(f"Received: config={str(file)!r}")


def test_an_empty_section_and_a_section_that_is_none_are_reported(write):
    [line] = refusal(file=write("training:\n"))
    assert line.startswith("training: ")
    assert line.endswith("Received: training=None")
    [line] = refusal("data=5")
    assert line.endswith("Received: data=5")


def test_the_digest_tells_configs_apart_and_is_short():
    first, second = config_of(preset="digits"), config_of("training.steps=9", preset="digits")
    assert settings.config_hash(first) != settings.config_hash(second)
    assert settings.config_hash(first) == settings.config_hash(config_of(preset="digits"))
    assert len(settings.config_hash(first)) == settings.HASH_DIGITS


def test_a_later_file_lies_over_an_earlier_one(tmp_path):
    mine, cluster = tmp_path / "mine.yaml", tmp_path / "cluster.yaml"
    mine.write_text("training: {steps: 7, seed: 3}\nplatform: {gpus: 1}\n")
    cluster.write_text("training: {steps: 9}\nplatform: {gpus: 2, spot: true}\n")
    config = resolve(chosen=["digits"], files=[mine, cluster], assignments=[])
    assert (config.training.steps, config.training.seed) == (9, 3)
    assert (config.platform.gpus, config.platform.spot) == (2, True)
