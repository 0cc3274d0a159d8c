"""Drawing digits with a trained generator, without training."""

import shutil

import imageio.v3 as iio
import numpy as np
import pytest
from helpers import contents, run_script


def read_generated(folder):
    return iio.imread(folder / "outputs" / "generated.png", mode="L")


@pytest.fixture
def trained(finished_run, tmp_path):
    """A folder with nothing but the trained generator where the script looks for it."""
    (tmp_path / "outputs").mkdir()
    shutil.copy(finished_run / "outputs" / "generator.keras", tmp_path / "outputs")
    return tmp_path


def test_generate_writes_one_picture_and_does_not_train(run_command, trained):
    before = contents(trained)
    status, stdout, stderr = run_command(["--generate", "31415", "--samples", "4"], trained)
    assert (status, stderr) == (0, "")
    assert "generated.png" in stdout and "Epoch" not in stdout
    after = contents(trained)
    assert after.pop("outputs/generated.png").startswith(b"\x89PNG")
    assert after == before


def test_a_path_that_the_terminal_cannot_show_is_drawn_to_all_the_same(trained):
    (trained / "outputs").rename(trained / "خروجی")
    status, stdout, stderr = run_script(["--generate", "3", "--output-dir", "خروجی"], trained, PYTHONIOENCODING="ascii")
    assert (status, stderr) == (0, "") and "generated.png" in stdout
    assert (trained / "خروجی" / "generated.png").is_file()


def test_the_picture_has_a_column_per_digit_and_a_row_per_sample(run_command, trained):
    shapes = {}
    for digits, samples in (("31415", 4), ("3141592653", 4), ("31415", 8)):
        assert run_command(["--generate", digits, "--samples", str(samples)], trained)[0] == 0
        shapes[digits, samples] = np.array(read_generated(trained).shape)
    start = shapes["31415", 4]
    assert (start >= (4 * 28, 5 * 28)).all()
    # Five digits more and four rows more take the same pixels each, and nothing in the other direction.
    wider, higher = shapes["3141592653", 4] - start, shapes["31415", 8] - start
    assert wider[0] == 0 and wider[1] >= 5 * 28 and wider[1] % (5 * 28) == 0
    assert higher[1] == 0 and higher[0] >= 4 * 28 and higher[0] % (4 * 28) == 0
    assert wider[1] / 5 == higher[0] / 4


def test_the_same_digits_and_seed_draw_the_same_picture(run_command, trained):
    pictures = []
    for arguments in (["--generate", "31415"], ["--generate", "31415"], ["--generate", "31415", "--seed", "1"],
                      ["--generate", "31416"]):
        status, _, stderr = run_command(arguments, trained)
        assert (status, stderr) == (0, "")
        pictures.append(read_generated(trained))
    first, again, other_seed, other_digits = pictures
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other_seed)
    assert not np.array_equal(first, other_digits)


def test_another_generator_file_and_output_folder_can_be_named(run_command, trained, tmp_path_factory):
    assert run_command(["--generate", "2718"], trained)[0] == 0
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    generator = trained / "outputs" / "generator.keras"
    status, _, stderr = run_command(
        ["--generate", "2718", "--generator", str(generator), "--output-dir", "drawn"], elsewhere)
    assert (status, stderr) == (0, "")
    assert contents(elsewhere).keys() == {"drawn/generated.png"}
    assert (elsewhere / "drawn" / "generated.png").read_bytes() == (
        trained / "outputs" / "generated.png").read_bytes()
