"""The command of the experiments, and their own updates and networks against known answers."""

import json
import math

import experiments
import numpy as np
import pytest
from cgan_mnist import build_training, parse_arguments
from coursework import noise, runs, training
from helpers import ROOT, assert_refused, bundled_arrays, contents
from keras import layers
from mnist_gan.metrics.classifiers import build_classifier, classifier_name
from mnist_gan.running.command_line import readable_time
from mnist_gan.data.mnist import scale_images
from mnist_gan.networks import save_network

SCRIPT = str(ROOT / "experiments.py")
TRAINED = ["--batch-size", str(runs.BATCH_SIZE), "--discriminator-units", "8", *runs.RECIPES["vanilla"]]


def test_the_list_says_what_every_experiment_shows_and_how_long_it_takes(forked_script, tmp_path):
    status, stdout, stderr = forked_script(["--list"], tmp_path, script=SCRIPT)
    assert (status, stderr) == (0, "")
    for name, experiment in experiments.EXPERIMENTS.items():
        line = next(line for line in stdout.splitlines() if line.split()[0] == name)
        assert experiment.__doc__.splitlines()[0] in line
        path = ROOT / "outputs" / "experiments" / f"{name}.json"
        if path.is_file():
            assert line.endswith(f"({readable_time(json.loads(path.read_text())['seconds'])})")


@pytest.mark.parametrize("arguments, words", [
    (["bilinear_gama"], ["bilinear_gama", "bilinear_game"]),
    (["nosuch"], ["no experiment 'nosuch'; --list"]),
    ([], ["--list"]), (["bilinear_game", "--list"], ["--list"]), (["--list", "--update-reports"], ["alone"]),
    (["bilinear_game", "--data", "absent.npz"], ["absent.npz"]),
    (["bilinear_game", "--data", "few.npz"], ["few.npz", "2000"]),
    (["bilinear_game", "--data", "no_seven.npz"], ["no_seven.npz", "5 of every digit"]),
    (["bilinear_game", "--output-dir", ""], ["--output-dir"]),
    (["bilinear_game", "--output-dir", "few.npz"], ["few.npz", "another"]),
])
def test_bad_input_is_refused_in_a_line(forked_script, tmp_path, arguments, words):
    np.savez(tmp_path / "few.npz", **bundled_arrays(100))
    arrays = bundled_arrays(2000)
    arrays["y_train"][arrays["y_train"] == 7] = 1
    np.savez(tmp_path / "no_seven.npz", **arrays)
    before = contents(tmp_path)
    assert_refused(forked_script([*arguments, "--quick"], tmp_path, script=SCRIPT), tmp_path, before, *words,
                   script=SCRIPT)


def test_quick_experiments_write_numbers_and_figures_to_their_own_folder(forked_script, tmp_path):
    status, stdout, stderr = forked_script(["bilinear_game", "objective", "--quick"], tmp_path, script=SCRIPT)
    assert (status, stderr) == (0, "")
    assert "1 of 2 experiments done, next: objective" in stdout
    written = contents(tmp_path)
    assert {"runs/quick/bilinear_game.json", "runs/quick/bilinear_game.png", "runs/quick/objective.json",
            "runs/quick/objective.png", "runs/quick/bare_0.npz"} == set(written)
    game, objective = (json.loads(written[f"runs/quick/{name}.json"]) for name in ("bilinear_game", "objective"))
    assert game["experiment"] == "bilinear_game" and game["settings"]["quick"] and game["seeds"] == [0]
    assert game["command"] == "python experiments.py bilinear_game --quick"
    # Every simultaneous step moves the players away by a factor of (1 + rate²)^(1/2), no alternating one far.
    found = game["results"]
    assert found["simultaneous"]["last_distance"] == pytest.approx((1 + found["rate"] ** 2) ** (found["steps"] / 2))
    assert found["alternating"]["largest_distance"] < 1.1
    # Nobody can tell real images from real images; even the least trained generator's are told from them.
    assert objective["results"]["against_real_images"]["sum_of_losses"]["mean"] == pytest.approx(math.log(4), abs=0.1)
    assert objective["results"]["against_the_bare_generator"]["sum_of_losses"]["mean"] < 1


def test_an_interrupted_experiment_continues_with_its_finished_parts(tmp_path, monkeypatch, capsys):
    calls = []

    def two_parts(options, part):
        """Two parts."""
        def second():
            if calls == ["first"]:
                calls.append("interrupted")
                raise KeyboardInterrupt
            return 2
        results = {"sum": part("first", lambda: calls.append("first") or 1, 1) + part("second", second)}
        return results, runs.Figure()
    monkeypatch.setitem(experiments.EXPERIMENTS, "two_parts", two_parts)
    options = runs.SimpleNamespace(quick=True, seeds=(0,))
    with pytest.raises(KeyboardInterrupt):
        experiments.run_experiment("two_parts", options, {"quick": True}, tmp_path, tmp_path)
    assert set(contents(tmp_path)) == {"two_parts.parts.json"}
    experiments.run_experiment("two_parts", options, {"quick": True}, tmp_path, tmp_path)
    assert calls == ["first", "interrupted"]
    assert json.loads((tmp_path / "two_parts.json").read_text())["results"] == {"sum": 3}
    assert set(contents(tmp_path)) == {"two_parts.json", "two_parts.png"}
    assert "first: 0 s, about 0 s left" in capsys.readouterr().out


def test_parts_that_were_made_with_other_settings_are_not_used(tmp_path):
    part, _ = experiments.open_parts(tmp_path / "parts.json", {"quick": True})
    assert part("a", lambda: 1) == 1
    part, _ = experiments.open_parts(tmp_path / "parts.json", {"quick": True})
    assert part("a", lambda: 2) == 1
    part, _ = experiments.open_parts(tmp_path / "parts.json", {"quick": False})
    assert part("a", lambda: 2) == 2


def test_a_part_that_is_no_number_is_the_same_when_it_is_read_again(tmp_path):
    for _ in range(2):
        part, _ = experiments.open_parts(tmp_path / "parts.json", {"quick": True})
        assert math.isnan(part("a", lambda: math.nan))


@pytest.fixture
def small_options(tmp_path):
    """Options of a quick experiment on few images, whose features are those of an untrained classifier."""
    arrays = bundled_arrays(600)
    data = tuple(arrays[name].astype(np.int32) if name[0] == "y" else arrays[name]
                 for name in ("x_train", "y_train", "x_test", "y_test"))
    save_network(tmp_path / "classifier.keras", build_classifier(classifier_name("classifier", *data[:2])))
    return runs.SimpleNamespace(quick=True, seeds=(0,), data=data, networks=tmp_path, classifiers=tmp_path)


def test_figures_of_images_that_are_the_test_images_and_of_ten_images(small_options):
    x_train, y_train, x_test, y_test = small_options.data
    images = scale_images(x_test).numpy()
    same = runs.score_images(small_options, images, y_test)
    assert same["fid"] == pytest.approx(0, abs=1e-3)
    assert [same[name] for name in ("precision", "recall", "reached")] == [1, 1, 1]
    assert same["total_variance"] == pytest.approx(1, abs=1e-3)
    rows = np.tile([np.flatnonzero(y_train == digit)[0] for digit in range(10)], 20)
    collapsed = runs.score_images(small_options, scale_images(x_train[rows]).numpy(), y_train[rows])
    assert collapsed["reached"] * runs.real_images(small_options).reached == pytest.approx(10)
    assert collapsed["total_variance"] == pytest.approx(0, abs=1e-3)
    assert collapsed["fid"] > same["fid"] and collapsed["recall"] < 0.1


def test_a_recipe_is_trained_once_and_then_taken_from_its_file(small_options):
    first = runs.cached_training(small_options, 0, "vanilla")
    path = small_options.networks / "bare_0.npz"
    content = path.read_bytes()
    again = runs.cached_training(small_options, 0, "vanilla")
    assert path.read_bytes() == content
    assert len(first.history) == 10 and np.array_equal(first.history, again.history)
    for one, other in zip(first.variables, again.variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    small_options.data = tuple(part[:300] for part in small_options.data)
    assert len(runs.cached_training(small_options, 0, "vanilla").history) == 5


def test_the_bare_losses_spelled_out_train_as_the_script_does():
    arrays = bundled_arrays(256)
    settings = parse_arguments(TRAINED)
    histories = []
    for change in (None, training.with_losses(lambda p: -training.log(1 - p), lambda p: -training.log(p))):
        built = build_training(settings, arrays["x_train"], arrays["y_train"].astype(np.int32), jit_compile=False)
        built.jit_compile = False
        if change:
            change(built, settings)
        rows = runs.tf.range(runs.BATCH_SIZE)
        histories.append([built.train_batch(rows, runs.tf.constant(step)).numpy() for step in range(3)])
    np.testing.assert_allclose(*histories, rtol=1e-3)


def test_a_generator_without_noise_draws_one_image_for_every_label():
    generator = noise.networks_with_noise(noise.ops.ones_like)(parse_arguments(TRAINED))[0]
    drawn = runs.generate_images(generator, [3, 5, 3], 0)
    assert np.array_equal(drawn[0], drawn[2]) and not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name, deviation", [("uniform", 1), ("binary", 1), ("Cauchy", None)])
def test_other_noise_has_its_distribution(name, deviation):
    drawn = np.random.default_rng(0).standard_normal(100_000, np.float32)
    values = np.abs(noise.DISTRIBUTIONS[name](drawn))
    if deviation:
        assert values.std() ** 2 + values.mean() ** 2 == pytest.approx(deviation, abs=0.01)
    # The median of what is left of the sign: a half of the range, all of it, and the quartile of Cauchy's.
    assert np.median(values) == pytest.approx({"uniform": math.sqrt(3) / 2, "binary": 1, "Cauchy": 1}[name], abs=0.01)


def test_networks_without_normalization_have_none_and_draw():
    generator, averaged, _ = training.without_normalization(parse_arguments(TRAINED))
    for network in (generator, averaged):
        assert not any(isinstance(layer, layers.BatchNormalization) for layer in network.layers)
        assert runs.generate_images(network, [1, 2], 0).shape == (2, 28, 28, 1)
    assert generator.trainable_variables[0] is not averaged.trainable_variables[0]


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_survive_as_text(channels):
    images = np.linspace(-1, 1, 2 * 784 * channels, dtype=np.float32).reshape(2, 28, 28, channels)
    np.testing.assert_allclose(runs.decode(runs.encode(images), channels), images, atol=1 / 255 + 1e-6)
