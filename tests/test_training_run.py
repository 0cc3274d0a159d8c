"""What a training run on the command line prints and leaves behind."""

import importlib.metadata
import json
import platform
import re

import cgan_mnist
import imageio.v3 as iio
import keras
import numpy as np
import pytest
from helpers import (BATCHES, EPOCHS, FINISHED_RUN, SMALL_RUN, assert_refused, assert_same_files, bundled_arrays,
                     contents, run_script)
from mnist_gan.data.mnist import scale_images
from mnist_gan.drawing.pictures import draw_grid, save_figure
from mnist_gan.metrics.classifiers import classify
from mnist_gan.metrics.distances import frechet_distance

HEADER = "epoch,batch,d_loss_real,d_loss_fake,d_loss,g_loss,d_probability_real,d_probability_fake"


def read_history(folder):
    return np.loadtxt(folder / "outputs" / "history.csv", delimiter=",", skiprows=1)


def test_a_run_leaves_the_announced_files_and_no_others(finished_run):
    outputs = {path.name for path in (finished_run / "outputs").iterdir()}
    assert outputs == {"epoch_001.png", "epoch_002.png", "epoch_003.png", "cgan.gif", "history.csv", "settings.json",
                       "generator.keras", "checkpoint.npz"}
    plots = {path.name for path in (finished_run / "plots").iterdir()}
    assert plots == {"loss_curves.png", "discriminator_output.png", "generator.png", "discriminator.png"}
    announced = (finished_run / "stdout").read_text().split("What the run left:")[1]
    for name in (outputs | plots) - {"epoch_002.png"}:  # the grids between the first and the last are "..."
        assert name in announced


def test_stderr_stays_empty(finished_run):
    assert (finished_run / "stderr").read_text() == ""


def test_into_a_file_each_epoch_prints_one_line_with_both_losses(finished_run):
    stdout = (finished_run / "stdout").read_text()
    lines = re.findall(r"^Epoch (\d)/3: d_loss (\d\.\d{4}), g_loss (\d\.\d{4}), [\d.]+ s, .* left$", stdout, re.M)
    history = read_history(finished_run).reshape(EPOCHS, BATCHES, -1)
    assert [int(number) for number, _, _ in lines] == [1, 2, 3]
    np.testing.assert_allclose([float(loss) for _, loss, _ in lines], history[:, :, 4].mean(1), atol=1e-4)
    np.testing.assert_allclose([float(loss) for _, _, loss in lines], history[:, :, 5].mean(1), atol=1e-4)
    assert not set("\r\b\x1b") & set(stdout)  # nothing that redraws a line


def test_the_settings_are_printed_before_training(finished_run):
    before = (finished_run / "stdout").read_text().split("Epoch 1/3")[0]
    for name, value in (("epochs", "3"), ("batch size", "64"), ("discriminator embedding mean", "0.2"),
                        ("train size", "256"), ("seed", "0")):
        assert re.search(rf"^ +{name} +{value}$", before, re.M)


def test_the_history_has_one_numbered_row_of_finite_values_per_batch(finished_run):
    assert (finished_run / "outputs" / "history.csv").read_text().splitlines()[0] == HEADER
    history = read_history(finished_run)
    assert history.shape == (EPOCHS * BATCHES, 8)
    assert history[:, 0].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert history[:, 1].tolist() == [1, 2, 3, 4] * 3
    assert np.isfinite(history).all()
    np.testing.assert_allclose(history[:, 4], history[:, 2:4].mean(1), rtol=1e-5)
    assert (history[:, 2:6] > 0).all()
    assert (history[:, 6:] > 0).all() and (history[:, 6:] < 1).all()
    assert (np.ptp(history[:, 2:], axis=0) > 0).all()


def test_the_grids_are_equal_in_size_and_show_something_new_each_epoch(finished_run):
    grids = [iio.imread(finished_run / "outputs" / f"epoch_{epoch:03d}.png", mode="L") for epoch in (1, 2, 3)]
    assert len({grid.shape for grid in grids}) == 1
    height, width = grids[0].shape
    assert width >= 2 * 10 * 28 and height >= 2 * 10 * 28  # ten digits and ten rows, two pixels each
    for grid in grids:
        assert grid.std() > 30 and len(np.unique(grid)) > 50
    assert not np.array_equal(grids[0], grids[1]) and not np.array_equal(grids[1], grids[2])


def test_the_last_grid_shows_what_the_generator_in_the_file_draws(finished_run, tmp_path):
    generator = keras.models.load_model(finished_run / "outputs" / "generator.keras")
    images = cgan_mnist.generate_images(generator, np.tile(np.arange(10), 10), 0)
    save_figure(tmp_path / "grid.png", draw_grid(images, range(10), "Epoch 3"))
    drawn = iio.imread(tmp_path / "grid.png").astype(int)
    shown = iio.imread(finished_run / "outputs" / "epoch_003.png").astype(int)
    assert np.abs(drawn - shown).max() <= 1


def test_the_gif_loops_over_all_grids_and_holds_the_last(finished_run):
    path = finished_run / "outputs" / "cgan.gif"
    frames = iio.imread(path, index=None, mode="L")
    assert len(frames) == EPOCHS
    assert iio.immeta(path)["loop"] == 0  # for ever
    durations = [iio.immeta(path, index=index)["duration"] for index in range(EPOCHS)]
    assert durations[-1] >= 2000 > max(durations[:-1]) and min(durations) >= 100
    assert path.stat().st_size < 3_000_000
    for epoch, frame in enumerate(frames, 1):
        grid = iio.imread(finished_run / "outputs" / f"epoch_{epoch:03d}.png", mode="L").astype(int)
        assert np.abs(frame.astype(int) - grid).max() <= 16  # fewer grays, the same picture


def test_the_plots_are_pictures_of_readable_size(finished_run):
    for path in (finished_run / "plots").iterdir():
        picture = iio.imread(path, mode="L")
        assert picture.shape[0] >= 400 and picture.shape[1] >= 800
        assert 0.5 < (picture > 250).mean() < 0.995  # lines and letters on a white page


def test_the_settings_file_tells_all_that_repeats_the_run(finished_run):
    recorded = json.loads((finished_run / "outputs" / "settings.json").read_text())
    options = vars(cgan_mnist.parse_arguments([*SMALL_RUN, "--epochs", str(EPOCHS)]))
    for name in options.keys() - {"generate", "samples", "generator", "resume", "slurm", "evaluate_every"}:
        assert recorded[name] == options[name]
    for name in ("tensorflow", "keras", "numpy", "matplotlib", "imageio"):
        assert recorded[name] == importlib.metadata.version(name)
    assert recorded["python"] == platform.python_version()
    assert 0 < recorded["wall_time_seconds"] < 600


def test_the_generator_in_the_file_has_the_batch_statistics_of_its_own_activations(finished_run):
    generator = keras.models.load_model(finished_run / "outputs" / "generator.keras")
    normalization = next(layer for layer in generator.layers if isinstance(layer, keras.layers.BatchNormalization))
    noise = np.random.default_rng(1).standard_normal((5000, generator.inputs[0].shape[1]), np.float32)
    activations = keras.Model(generator.inputs, normalization.input)([noise, np.arange(5000) % 10]).numpy()
    # Without being measured they would be 0 and 1, as every BatchNormalization starts.
    assert np.abs(normalization.moving_mean.numpy() - activations.mean(0)).max() < 0.2 * activations.std(0).mean()
    assert np.abs(normalization.moving_variance.numpy() / activations.var(0) - 1).mean() < 0.1


def test_the_generator_file_loads_with_keras_alone_and_draws_images(finished_run):
    generator = keras.models.load_model(finished_run / "outputs" / "generator.keras")
    assert [tensor.name for tensor in generator.inputs] == ["noise", "label"]
    noise = np.random.default_rng(0).standard_normal((10, *generator.inputs[0].shape[1:]), np.float32)
    images = generator([noise, np.arange(10)], training=False).numpy()
    assert images.shape == (10, 28, 28, 1)
    assert -1 <= images.min() < 0 < images.max() <= 1


def test_the_checkpoint_is_plain_arrays_and_agrees_with_the_history(finished_run):
    with np.load(finished_run / "outputs" / "checkpoint.npz", allow_pickle=False) as checkpoint:
        arrays = {name: checkpoint[name] for name in checkpoint.files}
    assert arrays["epoch"] == EPOCHS
    np.testing.assert_allclose(arrays["history"], read_history(finished_run)[:, 2:], rtol=1e-6)
    assert json.loads(str(arrays["settings"]))["batch_size"] == 64


def read_scores(folder):
    return np.loadtxt(folder / "outputs" / "quality.csv", delimiter=",", skiprows=1, ndmin=2)


def test_an_extended_run_that_scores_its_digits_is_the_run_that_was_longer_at_once(finished_run, tmp_path):
    arrays = bundled_arrays(256)
    np.savez(tmp_path / "own.npz", **arrays)  # to train a classifier on 256 images takes seconds
    arguments = [*SMALL_RUN, "--data", "own.npz"]
    status, _, stderr = run_script([*arguments, "--epochs", "2", "--evaluate-every", "2"], tmp_path)
    assert (status, stderr) == (0, "")
    scores = read_scores(tmp_path)
    assert scores[:, 0].tolist() == [2]
    status, stdout, stderr = run_script([*arguments, "--epochs", "3", "--evaluate-every", "3", "--resume"], tmp_path)
    assert (status, stderr) == (0, "") and "quality.csv" in stdout and "quality.png" in stdout
    assert_same_files(tmp_path, finished_run)
    np.testing.assert_array_equal(read_scores(tmp_path)[:1], scores)
    epoch, fid, label_accuracy = read_scores(tmp_path)[1]
    classifier = keras.models.load_model(tmp_path / "outputs" / "classifier.keras")
    labels = np.arange(10_000) % 10
    images = cgan_mnist.generate_images(cgan_mnist.load_generator(tmp_path / "outputs" / "generator.keras"), labels, 0)
    features, seen = classify(classifier, images)
    real_features, _ = classify(classifier, scale_images(arrays["x_test"]).numpy())
    assert (epoch, label_accuracy) == (3, pytest.approx(np.mean(seen == labels), abs=0.002))
    assert fid == pytest.approx(frechet_distance(features, real_features), rel=1e-3)
    assert iio.imread(tmp_path / "plots" / "quality.png").shape[1] == 900


def test_a_damaged_table_of_scores_is_refused(copy_of_finished_run, run_command):
    folder = copy_of_finished_run
    (folder / "outputs" / "quality.csv").write_text("epoch,fid,label_accuracy\n1,two\n")
    before = contents(folder)
    result = run_command([*FINISHED_RUN, "--resume", "--evaluate-every", "1"], folder)
    assert_refused(result, folder, before, "quality.csv")
