"""The figures of `evaluate_stackgan.py` against known answers, and its command line on a small run."""

import json
import os
import shutil

import evaluate_stackgan
import imageio.v3 as iio
import numpy as np
import pytest
import stackgan_mnist
from helpers import ROOT, assert_refused, bundled_arrays, contents
from mnist_gan.data.painting import NEVER_SEEN, paint, shape_cuts
from mnist_gan.data.sentences import ATTRIBUTES, COLOURS, UNSAID, read
from mnist_gan.errors import InputError
from mnist_gan.metrics.attributes import (attribute_accuracy, axis_slants, checkerboard_energy, conditional_diversity,
                                          describe_images, digits_alone, distances_to_background, empty_share,
                                          entropy_within_digits, find_attributes, recolour_never_seen, ridge_widths,
                                          unsay, write_sentences)
from mnist_gan.networks import save_network


@pytest.fixture(scope="module")
def painted():
    """Test images, their labels, the cuts of the training images, and descriptions in colours as in training."""
    arrays = bundled_arrays(10_000)
    cuts = shape_cuts(arrays["x_train"])
    digits = arrays["y_test"].astype(np.int32)
    return arrays["x_test"], digits, cuts, describe_images(arrays["x_test"], digits, cuts, np.random.default_rng(0))


def test_real_painted_digits_have_every_attribute_right(painted):
    images, digits, cuts, described = painted
    found, gray = find_attributes(paint(images, described[:, 1], described[:, 2]).numpy(), cuts, lambda _: digits)
    assert set(attribute_accuracy(found, described).values()) == {1.0}
    np.testing.assert_allclose(gray, images / 255, atol=1e-5)


def test_real_painted_digits_in_inks_never_seen_have_every_attribute_right(painted):
    images, digits, cuts, described = painted
    indices, recoloured = recolour_never_seen(described, np.random.default_rng(1))
    assert {(digit, COLOURS[ink]) for digit, ink in recoloured[:, :2].tolist()} == set(NEVER_SEEN)
    assert (recoloured[:, 1] != recoloured[:, 2]).all() and set(recoloured[:, 2]) == set(range(len(COLOURS)))
    assert (recoloured[:, [0, 3, 4]] == described[indices][:, [0, 3, 4]]).all()
    assert not {(digit, COLOURS[ink]) for digit, ink in described[:, :2].tolist()} & set(NEVER_SEEN)
    pictures = paint(images[indices], recoloured[:, 1], recoloured[:, 2]).numpy()
    found, _ = find_attributes(pictures, cuts, lambda _: digits[indices])
    assert set(attribute_accuracy(found, recoloured).values()) == {1.0}


def test_a_generator_that_swaps_ink_and_background_has_none_of_them_right_and_all_else(painted):
    images, digits, cuts, described = painted
    swapped = paint(images[:500], described[:500, 2], described[:500, 1]).numpy()
    shares = attribute_accuracy(find_attributes(swapped, cuts, lambda _: digits[:500])[0], described[:500])
    assert shares == {"digit": 1, "ink": 0, "background": 0, "thickness": 1, "slant": 1, "all_five": 0}


def test_all_five_counts_pictures_with_everything_right():
    asked = np.array([[3, 1, 0, 2, 1], [4, 5, 2, 0, 0]])
    found = np.array([[3, 1, 0, 2, 1], [4, 5, 3, 0, 1]])
    assert attribute_accuracy(found, asked) == {
        "digit": 1, "ink": 1, "background": 0.5, "thickness": 1, "slant": 0.5, "all_five": 0.5}
    asked[1, [2, 3]], asked[:, 1] = UNSAID, UNSAID  # what is not said cannot be wrong
    shares = attribute_accuracy(found, asked)
    assert np.isnan(shares.pop("ink"))
    assert shares == {"digit": 1, "background": 1, "thickness": 1, "slant": 0.5, "all_five": 0.5}


def test_the_digit_is_seen_in_gray_images_of_the_range_that_the_classifier_knows(painted):
    images, digits, cuts, described = painted
    seen = []

    def see_digits(gray):
        seen.append(gray)
        return digits[:20]
    find_attributes(paint(images[:20], described[:20, 1], described[:20, 2]).numpy(), cuts, see_digits)
    np.testing.assert_allclose(seen[0], images[:20, ..., np.newaxis] / 127.5 - 1, atol=1e-5)


def test_entropy_is_that_within_the_digits():
    assert entropy_within_digits(np.array([0, 1, 2, 3]), np.array([7, 7, 7, 7])) == pytest.approx(np.log(4))
    # The digit determines the value: no entropy within, though much over all.
    assert entropy_within_digits(np.array([0, 0, 1, 1]), np.array([3, 3, 5, 5])) == 0
    assert entropy_within_digits(np.array([0, 1, 1, 1]), np.array([3, 3, 5, 5])) == pytest.approx(np.log(2) / 2)


@pytest.mark.parametrize("leave_out", [lambda described: unsay(described, np.random.default_rng(2)), digits_alone])
def test_what_is_unsaid_varies_as_much_as_the_data_or_not_at_all(painted, leave_out):
    described = painted[3]
    asked = leave_out(described)
    assert conditional_diversity(described, asked, described) == dict.fromkeys(ATTRIBUTES[1:], 1.0)
    constant = np.column_stack([described[:, 0], np.tile([2, 3, 1, 1], (len(described), 1))])
    assert conditional_diversity(constant, asked, described) == dict.fromkeys(ATTRIBUTES[1:], 0.0)


def test_what_the_sentences_say_does_not_count_as_diversity():
    real = np.array([[1, 0, 1, 0, 0], [1, 1, 2, 1, 1], [1, 2, 3, 2, 2], [1, 3, 4, 0, 1]])
    asked = np.array([[1, UNSAID, 1, 0, 0], [1, UNSAID, 2, 1, 1], [1, 2, 3, 2, 2], [1, 3, 4, 0, 1]])
    found = real.copy()
    found[:2, 1] = 5
    figures = conditional_diversity(found, asked, real)
    assert figures["ink"] == 0 and np.isnan(figures["slant"])


def test_sentences_leave_out_as_much_as_in_training(painted):
    asked = unsay(painted[3], np.random.default_rng(3))
    unsaid = asked[:, 1:] == UNSAID
    np.testing.assert_allclose(unsaid.mean(0), 1 - 7 / 8 * 3 / 4, atol=0.02)
    assert unsaid.all(1).mean() == pytest.approx(1 / 8 + 7 / 8 / 4**4, abs=0.015)
    assert ((asked == painted[3]) | (asked == UNSAID)).all()


def test_every_sentence_says_what_is_asked_and_a_third_is_persian(painted):
    asked = unsay(painted[3][:900], np.random.default_rng(4))
    sentences = write_sentences(asked, np.random.default_rng(5))
    assert [read(sentence) for sentence in sentences] == [tuple(row) for row in asked.tolist()]
    assert 0.3 < np.mean([not sentence.isascii() for sentence in sentences]) <= 1 / 3
    assert sentences == write_sentences(asked, np.random.default_rng(5))


def test_the_distance_transform_is_that_of_brute_force():
    inked = np.random.default_rng(0).random((3, 9, 7)) < 0.8
    pixels = np.stack(np.mgrid[:9, :7], -1).reshape(-1, 2)
    for plane, distances in zip(inked, distances_to_background(inked), strict=True):
        outside = pixels[~plane.ravel()]
        expected = np.sqrt(np.square(pixels[:, np.newaxis] - outside).sum(-1)).min(1)
        np.testing.assert_allclose(distances.ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_the_ridge_of_a_bar_tells_its_width(width):
    gray = np.zeros((1, 28, 28), np.float32)
    gray[0, 4:24, 10:10 + width] = 1
    assert ridge_widths(gray) == pytest.approx([width], abs=0.15)


def test_the_principal_axis_of_a_line_tells_its_angle():
    gray = np.zeros((2, 28, 28), np.float32)
    gray[0, np.arange(6, 22), 20 - np.arange(16) // 2] = 1  # a pixel to the right for two up
    gray[1] = gray[0, :, ::-1]
    assert axis_slants(gray) == pytest.approx(np.degrees(np.arctan([0.5, -0.5])), abs=0.5)


def test_a_picture_is_empty_where_ink_and_background_are_alike(painted):
    images, _, _, described = painted
    pictures = paint(images[:4], described[:4, 1], described[:4, 2]).numpy()
    pictures[1] = 0.3 + 0.05 * pictures[1]
    assert empty_share(pictures) == 0.25


def test_checkerboard_energy_of_patterns():
    y, x = np.mgrid[:28, :28]
    smooth = np.exp(-((x - 13.5) ** 2 + (y - 13.5) ** 2) / 50)
    board = (x + y) % 2
    stripes, wide = x % 2, x // 2 % 2
    shares = checkerboard_energy(np.stack([board, 0.2 * board + 0.4, stripes, smooth, 0 * x, 0 * x + 0.3, wide])
                                 .astype(np.float32))
    np.testing.assert_allclose(shares, [1, 1, 1, 0, 0, 0, 0], atol=1e-5)


def test_as_many_training_as_test_images_of_every_digit_are_painted():
    arrays = bundled_arrays(3000)
    for samples in (200, 2500):
        train_indices, test_indices = evaluate_stackgan.choose_indices(arrays["y_train"], arrays["y_test"], samples)
        assert len(set(train_indices)) == len(set(test_indices)) == samples
        np.testing.assert_array_equal(np.bincount(arrays["y_train"][train_indices]),
                                      np.bincount(arrays["y_test"][test_indices]))
    assert set(np.bincount(arrays["y_test"][evaluate_stackgan.choose_indices(
        arrays["y_train"], arrays["y_test"], 200)[1]])) == {20}
    for y_train, y_test, samples in ((arrays["y_train"], arrays["y_test"], 3010), (arrays["y_train"][:100],
                                     arrays["y_test"], 200), (arrays["y_train"], arrays["y_test"][:60], 60)):
        with pytest.raises(InputError):
            evaluate_stackgan.choose_indices(y_train, y_test, samples)


SCRIPT = str(ROOT / "evaluate_stackgan.py")
SMALL = ("--data", "small.npz", "--samples", "200")
NETWORKS = ("text_encoder.keras", "stage1_generator.keras", "stage2_generator.keras")


@pytest.fixture(scope="module")
def scored(stackgan_run, run_command, tmp_path_factory):
    """A folder with small real data, a small run, unusable ones, and what `evaluate_stackgan.py` left there."""
    folder = tmp_path_factory.mktemp("scored")
    np.savez(folder / "small.npz", **bundled_arrays(3000))
    run = folder / "outputs" / "stackgan"
    run.mkdir(parents=True)
    for name in NETWORKS:
        shutil.copy(stackgan_run / "outputs" / "stackgan" / name, run)
    for name in ("halved", "damaged", "incomplete"):
        shutil.copytree(run, folder / name)
    (folder / "halved" / NETWORKS[2]).write_bytes((run / NETWORKS[2]).read_bytes()[:-1000])
    (folder / "damaged" / "painted_classifier.keras").write_bytes(b"not a network")
    (folder / "incomplete" / NETWORKS[1]).unlink()
    status, stdout, stderr = run_command(SMALL, folder, SCRIPT)
    assert (status, stderr) == (0, "")
    return folder, stdout


def test_evaluation_leaves_figures_and_pictures(scored):
    folder, stdout = scored
    metrics = json.loads((folder / "outputs" / "stackgan" / "metrics.json").read_text())
    assert (metrics["samples"], metrics["test_images"], metrics["never_seen_samples"]) == (200, 200, 160)
    assert metrics["runs"] == ["outputs/stackgan"] and metrics["seed"] == 0
    stages, halved, real = (metrics["Stage I"], metrics["Stage II"]), metrics["real halved"], metrics["real"]
    for scene in ("seen", "never_seen"):
        assert all(real[f"{scene}_{name}"] == 1 for name in ATTRIBUTES[1:])
        assert real[f"{scene}_digit"] == real[f"{scene}_all_five"] > 0.9
        assert halved[f"{scene}_background"] == 1 and halved[f"{scene}_ink"] > 0.95
        for stage in stages:
            assert stage[f"{scene}_all_five"] < 0.1
    for scene in ("unsaid", "digit_alone"):
        assert all(real[f"{scene}_{name}"] == 1 for name in ATTRIBUTES[1:])
    for stage in stages:  # of a run of two epochs of 256 images
        assert real["fid"] < halved["fid"] < stage["fid"] / 3 and stage["fid_over_floor"] == stage["fid"] / real["fid"]
        assert stage["recall"] < real["recall"] / 2 and real["precision"] > 0.5
    assert real["fid_over_floor"] == 1
    # Repeating every pixel leaves nothing with a period of two pixels.
    assert metrics["Stage I"]["checkerboard_energy"] == pytest.approx(0, abs=1e-9)
    assert 0 < real["checkerboard_energy"] < metrics["Stage II"]["checkerboard_energy"]
    assert metrics["painted_classifier_test_accuracy"]["background"] > 0.8
    for name in ("digit", "thickness", "slant"):  # other measures agree with the sentences about real pictures
        assert real[f"independent_{name}"] > 0.8 > stages[1][f"independent_{name}"]
    assert real["empty"] == 0
    for name in ("attribute_accuracy", "sentences"):
        picture = iio.imread(folder / "plots" / "stackgan" / f"{name}.png")
        assert min(picture.shape[:2]) > 300 and picture[..., :3].std() > 10
    for words in ("Stage I", "Stage II", "real halved", "all said: all five", "never seen: ink", "unsaid: slant",
                  "digit alone: thickness", "FID", "checkerboard", "metrics.json", "attribute_accuracy.png",
                  "sentences.png", "painted_classifier.keras"):
        assert words in stdout
    assert {str(path.relative_to(folder)) for path in folder.glob("*")} == {
        "small.npz", "outputs", "plots", "halved", "damaged", "incomplete"}


def test_a_second_evaluation_reuses_the_classifiers_and_repeats_every_figure(run_command, scored):
    folder, first = scored
    before = contents(folder)
    status, stdout, stderr = run_command(SMALL, folder, SCRIPT)
    assert (status, stderr) == (0, "")
    assert first.count("Training the classifier") == 3 and "Training the classifier" not in stdout
    assert contents(folder) == before


def test_several_runs_are_scored_with_their_median(run_command, scored, tmp_path):
    folder, _ = scored
    os.symlink(folder / "small.npz", tmp_path / "small.npz")
    for name in "ab":
        shutil.copytree(folder / "outputs" / "stackgan", tmp_path / name)
    save_network(tmp_path / "b" / NETWORKS[2], stackgan_mnist.build_stage2_generator())
    before = contents(tmp_path / "b")
    status, stdout, stderr = run_command([*SMALL, "--runs", "a", "b", "--plots-dir", "pictures"], tmp_path, SCRIPT)
    assert (status, stderr) == (0, "") and "median Stage II" in stdout
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["runs"] == ["a", "b"]
    for name in ("fid", "fid_over_floor", "seen_ink", "unsaid_slant"):
        figures = [metrics[f"run {number} Stage II"][name] for number in (1, 2)]
        assert metrics["median Stage II"][name] == pytest.approx(np.mean(figures))
    assert metrics["run 1 Stage II"]["fid"] != metrics["run 2 Stage II"]["fid"]
    assert metrics["run 1 Stage I"] == metrics["run 2 Stage I"] == metrics["median Stage I"]
    assert contents(tmp_path / "b") == before and len(list((tmp_path / "pictures").iterdir())) == 2


@pytest.mark.parametrize(("arguments", "words"), [
    (["--runs", "new"], "new/text_encoder.keras"),
    (["--runs", "incomplete"], "incomplete/stage1_generator.keras"),
    (["--runs", "halved"], "halved/stage2_generator.keras is damaged"),
    (["--runs", "damaged", "--data", "small.npz", "--samples", "200"], "delete it"),
    (["--runs", "outputs/stackgan", "new"], "new/text_encoder.keras"),
    (["--runs", ""], "--runs"),
    (["--validation", "100"], "--validation"),
    (["--data", "missing.npz"], "missing.npz"),
    (["--data", "small.npz"], "fewer samples"),
    (["--samples", "201"], "--samples"),
    (["--plots-dir", "/dev/null/plots"], "cannot write to the folder /dev/null/plots"),
])
def test_bad_input_gets_one_line_and_harms_nothing(run_command, scored, arguments, words):
    folder, _ = scored
    before = contents(folder)
    result = run_command(arguments, folder, SCRIPT)
    assert_refused(result, folder, before, words, script=SCRIPT)
    assert result[1] == "" and not (folder / "new").exists()
