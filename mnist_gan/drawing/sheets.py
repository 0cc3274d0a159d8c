"""Sheets of pictures of sentences, with these beside them."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from mnist_gan.data import painting
from mnist_gan.data import sentences as grammar
from mnist_gan.data.mnist import SIDE
from mnist_gan.drawing.pictures import tile_images


def draw_sheet(labels, rows, title=None, sides=None, first_apart=False):
    """Draw `rows` of pictures, (n, h, w, 3) each, in [-1, 1], with `labels` at the left, each for equally many rows.

    A Persian label is followed by its English twin. `sides` are labels of the single rows at the right. There is a gap
    behind the first picture of each row if it stands apart.
    """
    mosaic = np.concatenate([tile_images(painting.full_size(row), len(row)) for row in rows])
    if first_apart:
        mosaic = np.insert(mosaic, [SIDE] * 6, 1.0, axis=1)
    height, width = 2 * mosaic.shape[0], 2 * mosaic.shape[1]  # two pixels of the figure, 100 to the inch, for each
    twins = [label if label.isascii() else f"{label}\n({grammar.describe(grammar.read(label))})" for label in labels]
    texts = ["\n".join(line for part in twin.split("\n") for line in textwrap.wrap(part, 38)) for twin in twins]
    left = 20 + 7 * max(len(line) for text in texts for line in text.split("\n"))
    right, bottom = 75 if sides else 20, 20
    top = 30 + 25 * title.count("\n") + 25 if title else 20
    figure = Figure(((left + width + right) / 100, (bottom + height + top) / 100), dpi=100)
    axes = figure.add_axes((left / (left + width + right), bottom / (bottom + height + top),
                            width / (left + width + right), height / (bottom + height + top)))
    axes.imshow((mosaic + 1) / 2, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks((np.arange(len(labels)) + 0.5) * len(mosaic) / len(labels), texts, fontsize=10,
                    parse_math=False)  # a dollar is a dollar
    axes.tick_params(length=0)
    if sides:
        axes = axes.twinx()
        axes.set_ylim(len(mosaic), 0)
        axes.set_yticks((np.arange(len(sides)) + 0.5) * len(mosaic) / len(sides), sides, fontsize=10)
        axes.tick_params(length=0)
    if title:
        figure.suptitle(title, y=1 - 10 / (bottom + height + top), va="top", fontsize=14, parse_math=False)
    return figure
