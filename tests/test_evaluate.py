"""The figures of `evaluate.py` against values known in closed form, and its command line on real data."""

import json
import os
import shutil
from types import SimpleNamespace

import cgan_mnist
import evaluate
import imageio.v3 as iio
import keras
import numpy as np
import pytest
from helpers import ROOT, assert_one_line, assert_refused, bundled_arrays, contents
from mnist_gan.data.mnist import checksum
from mnist_gan.files import write_json
from mnist_gan.metrics.classifiers import build_classifier, two_sample_accuracy
from mnist_gan.metrics.components import count_components
from mnist_gan.metrics.distances import (frechet_distance, nearest, neighbour_radii, parzen_log_likelihoods,
                                         precision_recall, total_variance)
from mnist_gan.networks import save_network
from mnist_gan.running.settings import compare_data


def features_with(mean, covariance, count=500):
    """Return features (count, d) whose sample mean and covariance are exactly those given."""
    drawn = np.random.default_rng(0).standard_normal((count, len(mean)))
    drawn -= drawn.mean(0)
    whitened = drawn @ np.linalg.inv(np.linalg.cholesky(np.cov(drawn, rowvar=False))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_two_gaussians():
    # For diagonal covariances it is the squared distance of the means plus that of the standard deviations.
    a = features_with([0.0, 1.0, 2.0], np.diag([1.0, 4.0, 9.0]))
    b = features_with([3.0, 1.0, -2.0], np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(9 + 16 + 1 + 0 + 4)


def test_frechet_distance_of_gaussians_with_different_axes():
    cov_a, cov_b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.5]])
    # The trace of the root of a 2 x 2 matrix with positive eigenvalues: (trace + 2 det^(1/2))^(1/2).
    root_trace = np.sqrt(np.trace(cov_a @ cov_b) + 2 * np.sqrt(np.linalg.det(cov_a @ cov_b)))
    a, b = features_with([0.0, 0.0], cov_a), features_with([1.0, 0.0], cov_b)
    assert frechet_distance(a, b) == pytest.approx(1 + np.trace(cov_a + cov_b) - 2 * root_trace)


def test_frechet_distance_of_a_set_to_itself_is_zero_also_when_a_feature_is_dead():
    features = features_with([1.0, 2.0], np.eye(2))
    features = np.column_stack([features, np.zeros(len(features))])
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_of_identical_and_disjoint_sets():
    real = np.random.default_rng(1).standard_normal((1500, 8)).astype(np.float32)  # more than one block
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)


def test_a_generator_that_knows_one_of_two_modes_has_full_precision_and_half_the_recall():
    random = np.random.default_rng(2)
    mode = random.standard_normal((400, 4))
    real = np.concatenate([mode, random.standard_normal((400, 4)) + 100])
    precision, recall = precision_recall(real, mode)
    assert (precision, recall) == (1, 0.5)


def test_neighbour_radii_on_a_line():
    line = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    np.testing.assert_allclose(neighbour_radii(line, k=3), np.square([6, 5, 3, 5, 9]))


def test_total_variance_is_the_trace_of_the_covariance():
    assert total_variance(features_with([5.0, 5.0], np.diag([2.0, 3.0]))) == pytest.approx(5)


def test_parzen_log_likelihood_of_one_and_of_two_windows():
    points, sigma = np.array([[0.3, 0.1], [1.0, 2.0]]), 0.7
    def log_normal(center):
        return -((points - center) ** 2).sum(1) / (2 * sigma**2) - np.log(2 * np.pi * sigma**2)
    first, second = np.zeros(2), np.array([1.0, 1.0])
    np.testing.assert_allclose(parzen_log_likelihoods(points, first[np.newaxis], sigma), log_normal(first))
    np.testing.assert_allclose(parzen_log_likelihoods(points, np.stack([first, second]), sigma),
                               np.log((np.exp(log_normal(first)) + np.exp(log_normal(second))) / 2))


def test_parzen_log_likelihood_far_from_all_windows_stays_finite():
    likelihood = parzen_log_likelihoods(np.full((1, 784), 1.0), np.zeros((5, 784)), 0.1)
    assert likelihood == pytest.approx(-784 / 0.02 - 784 * np.log(0.1 * np.sqrt(2 * np.pi)))


def test_the_chosen_sigma_is_near_the_true_width_of_the_windows():
    random = np.random.default_rng(3)
    centers = random.uniform(size=(200, 50))
    held_out = centers[random.integers(0, 200, 500)] + 0.17 * random.standard_normal((500, 50))
    assert evaluate.choose_sigma(held_out, centers) == pytest.approx(0.17, rel=0.1)


def test_nearest_finds_the_copy_of_a_training_image():
    pixels = cgan_mnist.scale_images(bundled_arrays(450)["x_train"]).numpy().reshape(450, -1)
    distances, indices = nearest(pixels[::-1], pixels)
    assert indices.tolist() == list(range(449, -1, -1))
    np.testing.assert_allclose(distances, 0, atol=0.1)  # a difference of float32 numbers near 700, and its root
    moved = pixels[:1].copy()
    moved[0, :4] += 1.5  # four pixels by 1.5: a distance of 3
    assert nearest(moved, pixels)[0] == pytest.approx(3, rel=1e-3)


def drawn(*rows):
    """Return images (1, 28, 28, 1) in [-1, 1]: black, with the gray values 0 to 1 of `rows` in the upper left."""
    image = np.full((1, 28, 28, 1), -1, np.float32)
    image[0, :len(rows), :len(rows[0]), 0] = np.array(rows) * 2 - 1
    return image


def test_components_are_connected_over_corners_and_end_where_the_ink_is_faint():
    images = np.concatenate([
        drawn([1, 0, 0], [0, 1, 0], [0, 0, 1]),  # one diagonal stroke
        drawn([1, 1, 0.2, 0.5], [0, 0, 0, 0.5]),  # two, since 0.2 is no ink: 2 and 1 of gray
        drawn([1, 0, 1, 0, 0.8], [0, 0, 0, 0, 0]),  # three
        drawn([0.9, 0], [0, 0]),  # one pixel
        drawn([0.25, 0.2])])  # no ink at all
    components, off_component_ink = count_components(images)
    assert components.tolist() == [1, 2, 3, 1, 0]
    np.testing.assert_allclose(off_component_ink, [0, 1 / 3, 1.8 / 2.8, 0, 0], rtol=1e-6)


def test_a_spiral_is_one_component_and_so_is_every_pixel_of_a_lattice():
    spiral = np.zeros((28, 28))
    row, column, step, turn = 0, 0, 27, (0, 1)
    spiral[0, 0] = 1
    for number in range(24):  # lengths 27, 27, 27, 25, 25, 23, 23, ...: the strokes never touch
        for _ in range(step):
            row, column = row + turn[0], column + turn[1]
            spiral[row, column] = 1
        turn = turn[1], -turn[0]
        step -= 2 * (number >= 2 and number % 2 == 0)
    lattice = np.zeros((28, 28))
    lattice[::2, ::2] = 1
    images = np.stack([spiral, lattice])[..., np.newaxis] * 2 - 1
    components, off_component_ink = count_components(images)
    assert components.tolist() == [1, 196]
    np.testing.assert_allclose(off_component_ink, [0, 195 / 196])


def test_the_components_of_real_digits():
    components, off_component_ink = count_components(bundled_arrays(1000)["x_test"][..., np.newaxis] / 127.5 - 1)
    assert 1 < components.mean() < 1.1 and 0 < off_component_ink.mean() < 0.01  # almost all digits are one stroke


def test_two_sample_accuracy_is_half_for_two_samples_of_the_same_and_one_for_different_ones():
    images = cgan_mnist.scale_images(bundled_arrays(1000)["x_train"]).numpy()
    images = np.random.default_rng(0).permutation(images)  # MNIST's order alternates between two groups of writers
    assert two_sample_accuracy(images[::2], images[1::2]) == pytest.approx(0.5, abs=0.08)
    assert two_sample_accuracy(images[::2], -images[1::2]) > 0.98


def test_what_images_are_compared_to_has_ten_equal_parts_and_holds_other_images_back():
    arrays = bundled_arrays(1210)
    chosen = evaluate.choose_indices(arrays["y_train"], arrays["y_test"], 200)
    assert np.bincount(arrays["y_train"][chosen]).tolist() == [20] * 10 and len(np.unique(chosen)) == 200
    assert set(chosen) != set(evaluate.choose_indices(arrays["y_train"], arrays["y_test"], 200, seed=1))
    real = evaluate.prepare_real_images(
        arrays["x_train"], arrays["y_train"], arrays["x_test"][:100], arrays["y_test"][:100],
        build_classifier("classifier"), chosen)
    scaled = arrays["x_train"] / np.float32(127.5) - 1
    np.testing.assert_allclose(real.images[..., 0], scaled[chosen], atol=1e-6)
    assert real.labels.tolist() == arrays["y_train"][chosen].tolist()
    assert real.held_out_pixels.shape == (1000, 784) and real.test_features.shape == (100, 128)
    assert nearest(real.held_out_pixels, evaluate.to_pixels(real.images))[0].min() > 0.5
    differences = scaled.reshape(1210, 784) / 2 - arrays["x_test"][:1].reshape(1, 784) / 255 + 0.5
    assert real.distances[0] == pytest.approx(np.linalg.norm(differences, axis=1).min(), rel=1e-3)


def test_a_score_is_taken_per_digit_against_the_test_images_and_their_own_variance():
    arrays, random = bundled_arrays(400), np.random.default_rng(0)
    images = cgan_mnist.scale_images(arrays["x_test"]).numpy()
    pixels, labels = evaluate.to_pixels(images), np.repeat(np.arange(10), 40)
    centers = 10 * np.eye(10, 128)[labels]
    real = SimpleNamespace(test_pixels=pixels, held_out_pixels=pixels, test_labels=labels,
                           test_features=centers + random.standard_normal((400, 128)))
    # Drawn towards the middle of their digit: all of them near real ones, which are far from them.
    features = centers + (real.test_features - centers) / 4
    seen = np.where(np.arange(400) < 10, 9, labels)  # a quarter of the zeros looks like nines
    figures = evaluate.score(images, labels, features, seen, np.arange(400), real)
    assert (figures["precision"], figures["recall"]) == (1, 0)
    assert figures["variance_per_digit"] == pytest.approx([1 / 16] * 10)
    assert figures["label_accuracy_per_digit"] == [0.75] + [1] * 9
    assert (figures["worst_digit_accuracy"], figures["label_accuracy"]) == (0.75, pytest.approx(0.975))
    assert (figures["nearest_distance_median"], figures["nearest_distance_1st_percentile"]) == (199.5, 3.99)
    assert figures["parzen_log_likelihood"] == pytest.approx(
        parzen_log_likelihoods(pixels, pixels, figures["parzen_sigma"]).mean())


def test_the_confusion_matrix_has_a_row_for_each_digit_asked_for():
    labels = np.repeat(np.arange(10), 4)
    seen = labels + (np.arange(40) % 4 == 0) * (labels < 9)  # a quarter of each digit as the next one, but no 9
    shares = evaluate.draw_confusion(labels, seen).axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, np.diag([75] * 9 + [100]) + np.diag([25] * 9, k=1))


def test_neighbours_lie_below_what_they_are_nearest_to():
    images = cgan_mnist.scale_images(bundled_arrays(30)["x_train"]).numpy()
    real = SimpleNamespace(train_pixels=evaluate.to_pixels(-images[::-1]))
    figure = evaluate.draw_neighbours(images, np.tile(np.arange(10), 3), np.arange(30)[::-1], real)
    shown = figure.axes[0].images[0].get_array().reshape(3, 2, 28, 280)
    for (above, below), digits in zip(shown, images[..., 0].reshape(3, 10, 28, 28), strict=True):
        np.testing.assert_allclose(above, np.concatenate(digits, axis=1), atol=1e-6)
        np.testing.assert_allclose(below, -above, atol=1e-6)


def test_the_walks_go_from_noise_to_noise_and_from_label_to_label():
    generator, steps = cgan_mnist.build_generator(), 11
    start, end = np.random.default_rng(3).standard_normal((2, 100), np.float32)
    def row(noise):
        return generator([np.tile(noise, (10, 1)), np.arange(10)], training=False).numpy()[..., 0]
    noise_walks, label_walks = (axes.images[0].get_array().reshape(10, 28, steps, 28).swapaxes(1, 2)
                                for axes in evaluate.draw_interpolation(generator, 3, steps).axes)
    for shown, expected in ((noise_walks[:, 0], row(start)), (noise_walks[:, -1], row(end)),
                            (label_walks[:, 0], row(start)), (label_walks[:, -1], np.roll(row(start), -1, axis=0))):
        np.testing.assert_allclose(shown, expected, atol=1e-5)
    assert np.ptp(row(start), axis=0).max() > 1e-3 and np.abs(row(end) - row(start)).max() > 1e-3


def test_a_figure_that_is_nan_is_null_in_the_file(tmp_path):
    write_json(tmp_path / "metrics.json", {"real": {"fid": 1.5, "slant": float("nan")}, "seeds": [0, 1]})
    written = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert written == {"real": {"fid": 1.5, "slant": None}, "seeds": [0, 1]}


SCRIPT = str(ROOT / "evaluate.py")
SMALL = ("--data", "small.npz", "--samples", "200")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, run_command):
    """A folder with small real data, an untrained generator, and what `evaluate.py` left there."""
    folder = tmp_path_factory.mktemp("evaluated")
    np.savez(folder / "small.npz", **bundled_arrays(3000))
    (folder / "outputs").mkdir()
    save_network(folder / "outputs" / "generator.keras", cgan_mnist.build_generator())
    noise, label = keras.Input((100,)), keras.Input((), dtype="int32")
    product = keras.layers.Multiply()([noise, keras.layers.Embedding(10, 100)(label)])
    image = keras.layers.Reshape((28, 28, 1))(keras.layers.Dense(784)(product))
    save_network(folder / "foreign.keras", keras.Model([noise, label], image))
    (folder / "stackgan").mkdir()
    (folder / "stackgan" / "stage2_generator.keras").touch()
    status, stdout, stderr = run_command(SMALL, folder, SCRIPT)
    assert (status, stderr) == (0, "")
    return folder, stdout


def test_a_generator_is_not_scored_against_other_data_than_it_was_trained_on(run_command, evaluated, tmp_path):
    shutil.copytree(evaluated[0] / "outputs", tmp_path / "outputs")
    (tmp_path / "outputs" / "settings.json").write_text('{"train_size": 256, "data_crc32": 1, "data": "mine.npz"}')
    before = contents(tmp_path)
    assert_refused(run_command([], tmp_path, SCRIPT), tmp_path, before, "was trained on mine.npz; give --data",
                   script=SCRIPT)


def test_data_that_the_user_gives_is_taken_with_a_line_where_it_is_another(tmp_path, capsys):
    images, labels = (bundled_arrays(20)[name] for name in ("x_train", "y_train"))
    for crc, said in ((checksum(images[:10], labels[:10]), ""), (1, "was trained on other images than the first 10")):
        (tmp_path / "settings.json").write_text(json.dumps({"train_size": 10, "data_crc32": crc, "data": None}))
        compare_data(tmp_path, "own.npz", images, labels)
        assert said in (found := capsys.readouterr().out) and bool(said) == bool(found)


def test_evaluation_leaves_figures_and_pictures(evaluated):
    folder, stdout = evaluated
    metrics = json.loads((folder / "outputs" / "metrics.json").read_text())
    assert metrics["samples"] == 200 and metrics["samples_per_digit"] == 20 and metrics["test_images"] == 3000
    generated, real = metrics["generated"], metrics["real"]
    # Even a classifier of 3,000 images and 200 samples tell digits from what an untrained generator draws.
    assert real["fid"] < generated["fid"] / 5
    assert real["label_accuracy"] > 0.9 and len(real["label_accuracy_per_digit"]) == 10
    assert generated["label_accuracy"] < 0.5
    assert real["recall"] > 0.5 and generated["recall"] < 0.1
    assert real["parzen_log_likelihood"] > generated["parzen_log_likelihood"] + 100
    assert 1 < real["components_per_digit"] < 1.1 and 0 < real["off_component_ink"] < 0.01
    assert 0.12 < real["ink"] < 0.14 and 0.4 < generated["ink"] < 0.6  # white on black, and gray all over
    assert real["two_sample_accuracy"] < 0.8 < generated["two_sample_accuracy"]
    assert real["nearest_distance_median"] < generated["nearest_distance_median"]
    assert metrics["classifier_test_accuracy"] > 0.9
    for name in ("confusion_matrix", "nearest_neighbours", "interpolation"):
        picture = iio.imread(folder / "plots" / f"{name}.png")
        assert min(picture.shape[:2]) > 300 and picture[..., :3].std() > 10
    for words in ("FID", "label accuracy", "precision", "recall", "Parzen", "132 ± 1.8", "225 ± 2", "metrics.json"):
        assert words in stdout


def test_a_second_evaluation_reuses_the_classifier_and_repeats_every_figure(run_command, evaluated):
    folder, first = evaluated
    before = contents(folder)
    status, stdout, stderr = run_command(SMALL, folder, SCRIPT)
    assert (status, stderr) == (0, "")
    assert "Training the classifier" in first and "Training the classifier" not in stdout
    assert contents(folder) == before


def test_several_generators_are_scored_with_their_median(run_command, evaluated, tmp_path):
    folder, _ = evaluated
    os.symlink(folder / "small.npz", tmp_path / "small.npz")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "classifier.keras").write_bytes((folder / "outputs" / "classifier.keras").read_bytes())
    for number in range(3):
        save_network(tmp_path / f"{number}.keras", cgan_mnist.build_generator())
    status, stdout, _ = run_command([*SMALL, "--generator", "0.keras", "1.keras", "2.keras"], tmp_path, SCRIPT)
    assert status == 0 and "median" in stdout
    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    fids = [metrics[f"generator {number}"]["fid"] for number in (1, 2, 3)]
    assert len(set(fids)) == 3 and metrics["median"]["fid"] == sorted(fids)[1]


def test_validation_compares_with_the_last_training_images_and_never_with_the_test_images(
        run_command, evaluated, tmp_path):
    arrays = bundled_arrays(3000)
    held_out = {"x_train": arrays["x_train"][:-600], "y_train": arrays["y_train"][:-600],
                "x_test": arrays["x_train"][-600:], "y_test": arrays["y_train"][-600:]}
    np.savez(tmp_path / "held_out.npz", **held_out)
    generator = str(evaluated[0] / "outputs" / "generator.keras")
    for name, arguments in (("split", ["--data", str(evaluated[0] / "small.npz"), "--validation", "600"]),
                            ("apart", ["--data", "held_out.npz"])):
        arguments += ["--generator", generator, "--samples", "200", "--output-dir", name, "--plots-dir", name]
        if name == "apart":  # whose training images are those of the first classifier, which would be refused otherwise
            (tmp_path / "apart").mkdir()
            shutil.copy(tmp_path / "split" / "classifier.keras", tmp_path / "apart")
        status, stdout, _ = run_command(arguments, tmp_path, SCRIPT)
        assert status == 0 and ("600 validation images" in stdout) == (name == "split")
        assert ("Training the classifier" in stdout) == (name == "split")
    split, apart = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("split", "apart"))
    assert split["generated"] == apart["generated"] and split["real"] == apart["real"]
    assert (split["validation_images"], split["test_images"]) == (600, 600)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--data", "small.npz", "--validation", "3000"], "--validation 3000"),
    (["--samples", "105"], "--samples"),
    (["--samples", "0"], "--samples"),
    (["--seed", "-1"], "--seed"),
    (["--data", "small.npz", "--samples", "10000"], "fewer samples"),
    (["--generator", "missing.keras"], "train first"),
    (["--generator", "small.npz"], "train first"),
    (["--generator", "outputs/classifier.keras"], "train first"),
    (["--generator", "foreign.keras"], "another network"),  # whose layers the walks would look for in vain
    (["--output-dir", "new"], "train first"),
    (["--output-dir", "stackgan"], "holds a StackGAN; use 'python evaluate_stackgan.py --runs stackgan'"),
    (["--runs", "a", "b"], "--runs is now evaluate_stackgan.py --runs"),
    (["--kind", "stackgan"], "evaluate_stackgan.py"),
    (["--data", "missing.npz"], "missing.npz"),
    (["--generator", "outputs/generator.keras", "--output-dir", "small.npz"], "cannot write to the folder small.npz"),
    (["--plots-dir", "/dev/null/plots"], "cannot write to the folder /dev/null/plots"),
])
def test_bad_input_gets_one_line_and_harms_nothing(run_command, evaluated, arguments, words):
    folder, _ = evaluated
    before = contents(folder)
    assert_refused(run_command(arguments, folder, SCRIPT), folder, before, words, script=SCRIPT)
    assert not (folder / "new").exists()


@pytest.mark.parametrize(("rows", "samples", "words"), [
    ({"train": 3000, "test": 3000}, "10000", "fewer samples"),
    ({"train": 3000, "test": 40}, "200", "no test image of the digit")])
def test_too_few_images_are_refused_before_a_classifier_is_trained(
        run_command, evaluated, tmp_path, rows, samples, words):
    arrays = {name: array[:rows[name[2:]]] for name, array in bundled_arrays(3000).items()}
    np.savez(tmp_path / "few.npz", **arrays)
    before = contents(tmp_path)
    generator = str(evaluated[0] / "outputs" / "generator.keras")
    result = run_command(["--data", "few.npz", "--samples", samples, "--generator", generator], tmp_path, SCRIPT)
    assert_refused(result, tmp_path, before, words, script=SCRIPT)
    assert result[1] == "" and not (tmp_path / "outputs").exists()


def test_a_damaged_classifier_is_named_with_the_remedy(run_command, evaluated, tmp_path):
    folder, _ = evaluated
    os.symlink(folder / "small.npz", tmp_path / "small.npz")
    (tmp_path / "classifier.keras").write_bytes((folder / "outputs" / "classifier.keras").read_bytes()[:-1000])
    generator = str(folder / "outputs" / "generator.keras")
    status, _, stderr = run_command([*SMALL, "--generator", generator, "--output-dir", "."], tmp_path, SCRIPT)
    assert status == 2 and "classifier.keras" in stderr and "delete it" in stderr
    assert_one_line(stderr, SCRIPT)
