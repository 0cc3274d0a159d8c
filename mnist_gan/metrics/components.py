"""Connected components of a digit's ink: specks and broken strokes, which a person sees and features hardly do."""

import numpy as np

from mnist_gan.data.mnist import PIXELS, SIDE, blocks

INK = 0.25  # the gray, from 0 to 1, above which a pixel counts as ink


def label_components(ink) -> np.ndarray:
    """Return uint16 (n, 28, 28): for each pixel its component's number, 0 where there is no `ink`, bool (n, 28, 28).

    Components are 8-connected; the number of one is the largest position of its pixels, from 1 to 784. Every pixel
    takes the largest number of its neighbours in the component until nothing changes.
    """
    numbers = ink * np.arange(1, PIXELS + 1, dtype=np.uint16).reshape(SIDE, SIDE)
    while True:
        grown = numbers.copy()
        for axis in (1, 2):  # the largest of three in each direction is the largest of nine
            before, after = [slice(None)] * 3, [slice(None)] * 3
            before[axis], after[axis] = slice(None, -1), slice(1, None)
            source = grown.copy()
            for here, there in ((before, after), (after, before)):
                np.maximum(grown[tuple(here)], source[tuple(there)], out=grown[tuple(here)])
        grown *= ink
        if np.array_equal(grown, numbers):
            return numbers
        numbers = grown


def count_components(images) -> tuple:
    """Return (components (n,), off_component_ink (n,)) of images (n, 28, 28, 1) in [-1, 1].

    `components` is how many components of ink, pixels brighter than `INK`, an image has. `off_component_ink` is the
    share of their gray values, each from 0 to 1, outside the component with the largest sum; 0 where there is no ink.
    """
    counted = []
    for block in blocks(images):
        gray = block[..., 0] / 2 + 0.5
        gray[gray <= INK] = 0
        places = label_components(gray > 0).reshape(len(block), -1)
        places = places + np.arange(len(block))[:, np.newaxis] * (PIXELS + 1)
        sums = np.bincount(places.ravel(), gray.ravel(), len(block) * (PIXELS + 1)).reshape(len(block), -1)
        ink = sums.sum(1)
        counted.append([(sums > 0).sum(1), (ink - sums.max(1)) / np.maximum(ink, INK)])
    return tuple(np.concatenate(part) for part in zip(*counted, strict=True))
