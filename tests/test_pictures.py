"""Images as pictures: what lies where, in gray and in colour."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from mnist_gan.drawing.curves import best_answer, draw_discriminator_output
from mnist_gan.drawing.pictures import draw_grid, read_grids, remove_later_grids, save_figure, tile_images, write_gif


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_tiled_row_by_row(channels):
    images = np.arange(6 * 4 * 5 * channels, dtype=np.float32).reshape(6, 4, 5, channels)
    picture = tile_images(images, 3)
    assert picture.shape == ((8, 15) if channels == 1 else (8, 15, channels))
    for number, image in enumerate(images):
        top, left = number // 3 * 4, number % 3 * 5
        np.testing.assert_array_equal(picture[top:top + 4, left:left + 5].reshape(image.shape), image)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_a_grid_shows_every_pixel_of_every_image_in_its_gray_or_colour(tmp_path, channels, mode):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 28, 28, channels)).astype(np.float32)
    save_figure(tmp_path / "grid.png", draw_grid(images, "abc"))
    shown = iio.imread(tmp_path / "grid.png", mode=mode).astype(int)
    assert shown.shape[:2] == (2 * 2 * 28 + 20 + 40, 3 * 2 * 28 + 2 * 20)
    mosaic = shown[40:40 + 2 * 2 * 28, 20:20 + 3 * 2 * 28]
    expected = np.rint((tile_images(images, 3) + 1) * 127.5).astype(int)
    inner = slice(1, -1), slice(1, -1)  # the frame around the grid covers its outermost pixels
    for row, column in np.ndindex(2, 2):
        assert np.abs(mosaic[row::2, column::2][inner] - expected[inner]).max() <= 2


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_grids_are_read_back_for_a_gif_without_those_of_a_longer_run(tmp_path, monkeypatch, channels, mode):
    monkeypatch.chdir(tmp_path)
    folder = Path("~")  # which imageio alone would take for the home folder
    folder.mkdir()
    images = np.random.default_rng(0).uniform(-1, 1, (3, 4, 28, 28, channels)).astype(np.float32)
    for epoch, part in enumerate(images, 1):
        save_figure(folder / f"epoch_{epoch:03d}.png", draw_grid(part, "ab", f"Epoch {epoch}"))
    remove_later_grids(folder, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["epoch_001.png", "epoch_002.png"]
    grids = read_grids(folder, 2, mode)
    assert [path.name for path in grids] == ["epoch_001.png", "epoch_002.png"]
    write_gif(folder / "all.gif", list(grids.values()))
    frames = iio.imread(tmp_path / "~" / "all.gif", index=None, mode=mode).astype(int)
    assert len(frames) == 2 and frames.ndim == (3 if mode == "L" else 4)
    assert np.abs(frames - np.stack(list(grids.values()))).mean() < 20  # fewer colours, the same pictures


@pytest.mark.parametrize(("label_smoothing", "wrong_label_weight"), [(0, 0), (0.1, 0.1), (0.3, 0.5)])
def test_the_dashed_line_is_the_best_answer_to_images_that_could_be_either(label_smoothing, wrong_label_weight):
    figure = draw_discriminator_output(2, np.full(4, 0.5), np.full(4, 0.5),
                                       best_answer(label_smoothing, wrong_label_weight))
    dashed, = (line for line in figure.axes[0].lines if line.get_linestyle() == "--")
    answers = np.linspace(0.001, 0.999, 999)
    losses = (-(1 - label_smoothing) * np.log(answers) - label_smoothing * np.log(1 - answers)
              - (1 - wrong_label_weight) * np.log(1 - answers))
    assert list(dashed.get_ydata()) == pytest.approx([answers[losses.argmin()]] * 2, abs=0.001)
