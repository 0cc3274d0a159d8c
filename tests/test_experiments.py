"""The command of the experiments, what is cached of them, and their own updates and networks against known answers."""

import json
import math
import shutil

import experiments
import numpy as np
import pytest
import tensorflow as tf
from cgan_mnist import CGAN, build_networks, generate_images, parse_arguments
from coursework import figures, labels, ring, stacked, trainings, variants
from coursework.cache import Cache, code_checksum
from coursework.context import Context
from coursework.trainings import RECIPES, Variant
from coursework.variants import OtherGeneratedLoss, OtherGeneratorLoss, log, probabilities
from helpers import ROOT, assert_refused, bundled_arrays, contents
from keras import layers, ops
from matplotlib.figure import Figure
from mnist_gan.data.mnist import scale_images
from mnist_gan.metrics.classifiers import build_classifier, classifier_name
from mnist_gan.networks import save_network
from mnist_gan.running.command_line import readable_time

SCRIPT = str(ROOT / "experiments.py")
BATCH_SIZE = 64
TRAINED = ["--batch-size", str(BATCH_SIZE), "--discriminator-units", "8", "--label-smoothing", "0",
           "--wrong-label-weight", "0", "--mode-seeking-weight", "0"]


@pytest.fixture
def run_main(tmp_path, monkeypatch, capsys):
    """A function that runs the command line in `tmp_path` and returns (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            status = experiments.main(list(arguments))
        except SystemExit as ended:
            status = ended.code
        return status, *capsys.readouterr()
    return run


def test_the_list_says_what_every_experiment_shows_and_how_long_it_takes(run_main):
    status, stdout, stderr = run_main("--list")
    assert (status, stderr) == (0, "")
    for name, experiment in experiments.EXPERIMENTS.items():
        line = next(line for line in stdout.splitlines() if line.split()[0] == name)
        assert experiment.__doc__.splitlines()[0] in line
        path = experiments.COMMITTED / "experiments" / f"{name}.json"
        if path.is_file():
            assert line.endswith(f"({readable_time(json.loads(path.read_text())['seconds'])})")


@pytest.mark.parametrize("arguments, words", [
    (["bilinear_gama"], ["bilinear_gama", "bilinear_game"]),
    (["nosuch"], ["no experiment 'nosuch'; --list"]),
    ([], ["--list"]), (["bilinear_game", "--list"], ["--list"]), (["--list", "--report"], ["alone"]),
    (["bilinear_game", "--data", "absent.npz"], ["absent.npz"]),
    (["bilinear_game", "--data", "few.npz"], ["few.npz", "2000"]),
    (["bilinear_game", "--data", "no_seven.npz"], ["no_seven.npz", "5 of every digit"]),
    (["bilinear_game", "--output-dir", ""], ["--output-dir"]),
    (["bilinear_game", "--output-dir", "few.npz"], ["few.npz", "another"]),
])
def test_bad_input_is_refused_in_a_line(run_main, tmp_path, arguments, words):
    np.savez(tmp_path / "few.npz", **bundled_arrays(100))
    arrays = bundled_arrays(2000)
    arrays["y_train"][arrays["y_train"] == 7] = 1
    np.savez(tmp_path / "no_seven.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(run_main(*arguments, "--quick"), tmp_path, before, *words, script=SCRIPT)


def test_quick_experiments_write_numbers_and_figures_to_their_own_folder(run_main, tmp_path):
    status, stdout, stderr = run_main("bilinear_game", "objective", "--quick")
    assert (status, stderr) == (0, "")
    assert "1 of 2 experiments done, next: objective" in stdout
    written = contents(tmp_path)
    assert {"runs/quick/bilinear_game.json", "runs/quick/bilinear_game.png", "runs/quick/objective.json",
            "runs/quick/objective.png"} == set(written)
    game, objective = (json.loads(written[f"runs/quick/{name}.json"]) for name in ("bilinear_game", "objective"))
    assert game["experiment"] == "bilinear_game" and game["settings"]["quick"] and game["seeds"] == [0]
    assert game["command"] == "python experiments.py bilinear_game --quick"
    # Every simultaneous step moves the players away by a factor of (1 + rate²)^(1/2), no alternating one far.
    found = game["results"]
    assert found["simultaneous"]["last_distance"] == pytest.approx((1 + found["rate"] ** 2) ** (found["steps"] / 2))
    assert found["alternating"]["largest_distance"] < 1.1
    # Nobody can tell real images from real images; the committed run's generated ones are told from them.
    assert objective["results"]["against_real_images"]["sum_of_losses"]["mean"] == pytest.approx(math.log(4), abs=0.1)
    assert objective["results"]["committed"]["last_epoch"]["mean"] < objective["results"]["committed"]["best"]


# --------------------------------------------------------------------------------- what is cached


@pytest.fixture
def small_context(tmp_path):
    """A function that returns the context of a quick experiment on `count` images, by code with the checksum `code`.

    The features of images are those of an untrained classifier.
    """
    def build(count=600, code=0):
        arrays = bundled_arrays(count)
        data = [(arrays[f"x_{part}"], arrays[f"y_{part}"].astype(np.int32)) for part in ("train", "test")]
        save_network(tmp_path / "classifier.keras", build_classifier(classifier_name("classifier", *data[0])))
        return Context(data, True, tmp_path, code=code)
    return build


def test_an_interrupted_experiment_continues_after_its_finished_parts(small_context, tmp_path, monkeypatch, capsys):
    calls = []

    def second():
        if calls == ["first"]:
            calls.append("interrupted")
            raise KeyboardInterrupt
        return 2

    def two_parts(context):
        """Two parts."""
        first = context.cached("first", lambda: calls.append("first") or 1, 1)
        return {"sum": first + context.cached("second", second)}, Figure()
    monkeypatch.setitem(experiments.EXPERIMENTS, "two_parts", two_parts)
    context = small_context()
    (tmp_path / "classifier.keras").unlink()
    with pytest.raises(KeyboardInterrupt):
        experiments.run_experiment("two_parts", context, {"quick": True}, tmp_path)
    assert set(contents(tmp_path)) == {"two_parts.cached.json"}
    experiments.run_experiment("two_parts", context, {"quick": True}, tmp_path)
    assert calls == ["first", "interrupted"]
    assert json.loads((tmp_path / "two_parts.json").read_text())["results"] == {"sum": 3}
    assert set(contents(tmp_path)) == {"two_parts.json", "two_parts.png"}
    assert "first: 0 s, about 0 s left" in capsys.readouterr().out


@pytest.mark.parametrize("settings, code, expected", [({"quick": True}, 0, 1), ({"quick": False}, 0, 2),
                                                      ({"quick": True}, 1, 2)])
def test_parts_of_other_settings_or_other_code_are_not_used(small_context, settings, code, expected):
    context = small_context()
    context.open_cache("game", {"quick": True})
    assert context.cached("a", lambda: 1) == 1
    context = small_context(code=code)
    context.open_cache("game", settings)
    assert context.cached("a", lambda: 2) == expected


def test_a_part_that_is_no_number_is_the_same_when_it_is_read_again(tmp_path):
    for _ in range(2):
        assert math.isnan(Cache(tmp_path / "game.cached.json", {}).get("a", lambda: math.nan))


@pytest.mark.parametrize("name, counts", [
    ("cgan_mnist.py", True), ("stackgan_mnist.py", True), ("mnist_gan/running/ema.py", True),
    ("coursework/noise.py", True), ("benchmark.py", False)])
def test_the_checksum_of_the_code_changes_with_what_decides_the_results(tmp_path, name, counts):
    for source in ("cgan_mnist.py", "stackgan_mnist.py", "benchmark.py"):
        shutil.copy(ROOT / source, tmp_path)
    for package in ("mnist_gan", "coursework"):
        shutil.copytree(ROOT / package, tmp_path / package)
    assert code_checksum(tmp_path) == code_checksum(ROOT)
    (tmp_path / name).write_text((tmp_path / name).read_text() + "\n")
    assert (code_checksum(tmp_path) != code_checksum(ROOT)) == counts


def test_a_variant_is_trained_once_and_then_taken_from_its_file(small_context, monkeypatch):
    variant, context = RECIPES["coursework"], small_context(1000)
    gan, numbers = trainings.train(context, variant, 0)
    assert numbers["scores"][-1]["batches"] == 8 and len(numbers["losses"]) == 1
    kept = trainings.trained(context, "coursework", 0, variant)
    assert {name: kept[name] for name in numbers} == numbers

    def train(*_):
        raise AssertionError("trained again")
    monkeypatch.setattr(trainings, "train", train)
    assert trainings.trained(small_context(1000), "coursework", 0, variant) == kept
    again = trainings.load_trained(small_context(1000), "coursework", 0, variant)
    for name in ("ema_generator", "discriminator"):
        for weight, same in zip(getattr(gan, name).get_weights(), getattr(again, name).get_weights(), strict=True):
            assert np.array_equal(weight, same)
    monkeypatch.setattr(trainings, "CODE", ("evaluate.py",))
    with pytest.raises(AssertionError, match="trained again"):
        trainings.trained(context, "coursework", 0, variant)
    monkeypatch.undo()
    monkeypatch.setattr(trainings, "train", train)
    for other, changed in ((small_context(900), variant), (context, variant._replace(arguments=("--dropout", "0")))):
        with pytest.raises(AssertionError, match="trained again"):
            trainings.trained(other, "coursework", 0, changed)


def test_a_variants_own_code_counts_where_it_has_some(tmp_path):
    (tmp_path / "coursework").mkdir()
    plain, changed = Variant("coursework", ("--dropout", "0")), Variant(model=variants.SaturatingLoss)
    for path in (tmp_path / "cgan_mnist.py", tmp_path / "coursework/variants.py"):
        path.write_text("1")
    before = [trainings.checksum(tmp_path, variant) for variant in (plain, changed)]
    (tmp_path / "coursework/variants.py").write_text("2")
    after = [trainings.checksum(tmp_path, variant) for variant in (plain, changed)]
    assert after[0] == before[0] and after[1] != before[1]
    (tmp_path / "cgan_mnist.py").write_text("2")
    assert trainings.checksum(tmp_path, plain) != before[0]


# ---------------------------------------------------------------------- metrics, updates, networks


def test_metrics_of_images_that_are_the_test_images_and_of_ten_images(small_context):
    context = small_context()
    same = trainings.score_images(context, scale_images(context.x_test).numpy(), context.y_test)
    assert same["fid"] == pytest.approx(0, abs=1e-3) and same["variance"] == pytest.approx(1, abs=1e-3)
    assert [same[name] for name in ("precision", "recall")] == [1, 1]
    ten = np.tile([np.flatnonzero(context.y_train == digit)[0] for digit in range(10)], 20)
    collapsed = trainings.score_images(context, scale_images(context.x_train[ten]).numpy(), context.y_train[ten])
    assert collapsed["variance"] == pytest.approx(0, abs=1e-3)
    assert collapsed["fid"] > same["fid"] and collapsed["recall"] < 0.1


def test_modes_of_a_ring_are_those_that_points_are_near():
    points = np.repeat(ring.CENTRES[:3], (500, 490, 10), axis=0) + ring.DEVIATION
    assert ring.count_modes(points) == (3, 1.0)
    points[-1] = 0  # the third mode has less than a hundredth of the points left
    assert ring.count_modes(points) == (2, 0.999)


@pytest.mark.parametrize("remedy", ring.REMEDIES)
def test_games_on_the_ring_move_both_networks(remedy):
    game = ring.Game(0, **ring.REMEDIES[remedy])
    before = [[variable.numpy() for variable in network] for network in (game.generator, game.discriminator)]
    game.train_step(tf.constant(0))
    for network, starts in zip((game.generator, game.discriminator), before, strict=True):
        for matrix, start in list(zip(network, starts, strict=True))[::2]:
            assert np.isfinite(matrix.numpy()).all() and not np.array_equal(matrix.numpy(), start)
    assert np.isfinite(game.gradient()) and game.draw(10).shape == (10, 2)


def test_the_gradient_penalty_of_the_ring_is_half_the_mean_squared_slope():
    real, generated = (tf.constant(np.random.default_rng(seed).standard_normal((ring.BATCH, 2)), tf.float32)
                       for seed in (0, 1))
    vanilla, penalized = ring.Game(0), ring.Game(0, r1=3.0)
    def logit(point):
        return float(vanilla.judge(tf.constant(point[np.newaxis], tf.float32))[0, 0])
    slopes = np.array([[(logit(point + step) - logit(point - step)) / 2e-3 for step in 1e-3 * np.eye(2)]
                       for point in real.numpy()])
    added = float(penalized.discriminator_loss(real, generated, 0) - vanilla.discriminator_loss(real, generated, 0))
    assert added == pytest.approx(1.5 * np.square(slopes).sum(1).mean(), rel=0.02)


def test_stacked_pictures_hold_three_digits_and_their_modes_are_counted():
    arrays = bundled_arrays(30)
    game = stacked.StackedGame(arrays["x_train"], 0)
    real = stacked.split_channels(game.real(tf.constant(5)).numpy())
    assert real.shape == (3 * game.batch, 28, 28, 1)
    known = {image.tobytes() for image in scale_images(arrays["x_train"]).numpy()}
    assert {image.tobytes() for image in real} <= known
    assert np.abs(game.draw(4)).max() <= 1 and game.draw(4).shape == (4, 3 * 784)
    each = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=1)
    assert stacked.count_modes(each) == (1000, pytest.approx(0, abs=1e-9))
    assert stacked.count_modes(np.tile([[1, 2, 3]], (50, 1))) == (1, pytest.approx(math.log(1000)))


def test_spectral_normalization_divides_by_the_largest_singular_value():
    matrix = np.random.default_rng(0).standard_normal((16, 12)).astype(np.float32)
    bias = tf.ones(12)
    normalized = ring.normalized([tf.constant(matrix), bias])
    assert np.linalg.svd(normalized[0].numpy(), compute_uv=False)[0] == pytest.approx(1, abs=0.05)
    assert normalized[1] is bias


def build_small(model, networks=build_networks):
    """Return a CGAN of the class `model` on a few images, as always from the same start."""
    arrays = bundled_arrays(256)
    return model(parse_arguments(TRAINED), arrays["x_train"], arrays["y_train"].astype(np.int32), networks, False)


class SpelledOut(OtherGeneratedLoss, OtherGeneratorLoss):
    """The losses of the vanilla recipe, spelled out."""

    def generated_loss(self, probability):
        return -log(1 - probability)

    def generator_loss(self, probability):
        return -log(probability)


def test_the_vanilla_losses_spelled_out_train_as_the_script_does():
    histories, indices = [], tf.range(BATCH_SIZE)
    for model in (CGAN, SpelledOut):
        gan = build_small(model)
        histories.append([gan.train_step(indices, tf.constant(step)).numpy() for step in range(3)])
    np.testing.assert_allclose(*histories, rtol=1e-3)


def test_decayed_weights_shrink_by_the_learning_rate():
    after = []
    for model in (CGAN, variants.DecayedWeights):
        gan = build_small(model)
        before = [weight.numpy() for weight in gan.discriminator.trainable_variables]
        gan.train_on_real(tf.range(BATCH_SIZE))
        after.append([weight.numpy() for weight in gan.discriminator.trainable_variables])
    for start, usual, decayed in zip(before, *after, strict=True):
        np.testing.assert_allclose(usual - decayed, gan.settings.discriminator_learning_rate * start, atol=1e-6)


def test_an_auxiliary_classifier_says_the_digit_without_being_told_and_teaches_it_to_the_generator():
    gan = build_small(variants.AuxiliaryClassifier, labels.MERGINGS["auxiliary classifier"].networks)
    images, digits = gan.real_batch(tf.range(256))
    for _ in range(20):
        gan.train_on_real(tf.range(256))
    logits = gan.discriminator([images, digits], training=False).numpy()
    np.testing.assert_array_equal(logits, gan.discriminator([images, 0 * digits], training=False))
    assert (logits[:, 1:].argmax(1) == digits.numpy()).mean() > 0.5

    def digit_loss():
        noise, wanted = gan.sample(tf.constant(0), 2)
        drawn = gan.generator([noise, wanted], training=True)
        return float(gan.both_losses(1.0, wanted, gan.discriminator([drawn, wanted], training=False))[1])
    before = digit_loss()
    for step in range(80):
        gan.train_generator(tf.constant(step))
    assert digit_loss() < 0.85 * before


def test_a_generator_without_noise_draws_one_image_for_every_label():
    generator = variants.other_noise(ops.ones_like)(parse_arguments(TRAINED))[0]
    drawn = generate_images(generator, [3, 5, 3], 0)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name, deviation", [("uniform", 1), ("Cauchy", None)])
def test_other_noise_has_its_distribution(name, deviation):
    drawn = np.random.default_rng(0).standard_normal(100_000, np.float32)
    values = np.abs(variants.DISTRIBUTIONS[name](drawn))
    if deviation:
        assert values.std() ** 2 + values.mean() ** 2 == pytest.approx(deviation, abs=0.01)
    # The median of what is left of the sign: a half of the range, all of it, and the quartile of Cauchy's.
    assert np.median(values) == pytest.approx({"uniform": math.sqrt(3) / 2, "Cauchy": 1}[name], abs=0.01)


def test_networks_without_normalization_have_none_and_draw():
    generator, ema_generator, _ = variants.without_normalization(parse_arguments(TRAINED))
    for network in (generator, ema_generator):
        assert not any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
        assert generate_images(network, [1, 2], 0).shape == (2, 28, 28, 1)
    assert generator.trainable_variables[0] is not ema_generator.trainable_variables[0]


@pytest.mark.parametrize("build", [variants.build_dcgan,
                                   *(variant.networks for name, variant in labels.MERGINGS.items()
                                     if name != "default")])
def test_other_discriminators_output_logits(build):
    discriminator = build(parse_arguments([*TRAINED, "--gray-stretch", "0"]))[2]
    images, digits = 1000 * scale_images(bundled_arrays(50)["x_test"]), tf.range(50) % 10
    assert discriminator.layers[-1].name == "logit"
    logits = discriminator([images, digits], training=False).numpy()
    assert np.abs(logits).max() > 1
    np.testing.assert_allclose(probabilities(discriminator, images, digits), tf.sigmoid(logits[:, :1]), rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_survive_as_text(channels):
    images = np.linspace(-1, 1, 2 * 784 * channels, dtype=np.float32).reshape(2, 28, 28, channels)
    restored = figures.text_to_images(figures.images_to_text(images), channels)
    np.testing.assert_allclose(restored, images, atol=1 / 255 + 1e-6)
