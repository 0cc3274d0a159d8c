"""Images as pictures: grids, one per epoch, and the GIF of them."""

import warnings
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from matplotlib.figure import Figure

from mnist_gan.files import atomic_write


def save_figure(path, figure) -> None:
    """Write a matplotlib figure as a whole PNG, with a box for each letter that no font has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        atomic_write(path, figure.savefig)


def tile_images(images, columns) -> np.ndarray:
    """Lay images (rows * columns, height, width, channels) out row by row in one picture.

    Returns (rows * height, columns * width) for one channel, (rows * height, columns * width, channels) for more.
    """
    _, height, width, channels = images.shape
    rows = images.reshape(-1, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    picture = rows.reshape(-1, columns * width, channels)
    return picture[..., 0] if channels == 1 else picture


def draw_grid(images, columns, title=None) -> Figure:
    """Draw images (rows * len(columns), height, width, 1 or 3) in [-1, 1], row by row, with the labels `columns` above.

    Every image pixel takes exactly 2 x 2 pixels of the figure.
    """
    mosaic = tile_images(images, len(columns))
    height, width = mosaic.shape[:2]
    margin, top = 20, 68 if title else 40  # in pixels of the figure, which has 100 to the inch
    figure_width, figure_height = 2 * width + 2 * margin, 2 * height + margin + top
    figure = Figure((figure_width / 100, figure_height / 100), dpi=100)
    axes = figure.add_axes((margin / figure_width, margin / figure_height,
                            2 * width / figure_width, 2 * height / figure_height))
    if mosaic.ndim == 3:
        mosaic = (mosaic + 1) / 2  # the range that matplotlib expects of colours
    axes.imshow(mosaic, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks((np.arange(len(columns)) + 0.5) * images.shape[2], columns, fontsize=14)
    axes.set_yticks([])
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    if title:
        axes.set_title(title, fontsize=16)
    return figure


def grid_path(outputs, epoch) -> Path:
    """Return the path of the grid after `epoch` finished epochs."""
    return outputs / f"epoch_{epoch:03d}.png"


def read_grids(outputs, epochs, mode="L", first=1) -> dict:
    """Read the grids of epochs `first` to `epochs` as uint8 (height, width) in gray, (height, width, 3) for mode "RGB".

    Returns them by their paths, a dictionary, with None for one that is missing or damaged or has not the size of the
    last.
    """
    grids = {}
    for epoch in range(epochs, first - 1, -1):
        path = grid_path(outputs, epoch)
        try:
            grid = iio.imread(path.absolute(), mode=mode)  # imageio takes a leading ~ for the home folder
        except Exception:  # Pillow fails in many ways on a damaged file
            grid = None
        shapes = {other.shape for other in grids.values() if other is not None}
        grids[path] = None if grid is None or shapes - {grid.shape} else grid
    return dict(reversed(grids.items()))


def remove_later_grids(outputs, epochs) -> None:
    """Remove the grids of epochs after `epochs`, which an earlier, longer run left in this folder."""
    for grid in outputs.glob("epoch_[0-9][0-9][0-9].png"):
        if grid.name > grid_path(outputs, epochs).name:
            grid.unlink()


def write_gif(path, grids) -> None:
    """Write the `grids` as a looping GIF, 0.3 s each and 2.5 s for the last, in 16 levels to keep it small."""
    frames = np.stack(grids) // 16 * 17
    durations = [300] * (len(frames) - 1) + [2500] if len(frames) > 1 else 2500  # Pillow wants no list for one frame
    atomic_write(path, lambda partial: iio.imwrite(partial.absolute(), frames, duration=durations, loop=0))
