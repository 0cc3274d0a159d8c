"""What the figures of several experiments share: colours, markers, the digits that are shown, images as text."""

import numpy as np
from mnist_gan.data.mnist import DIGITS, SIDE

SHOWN_DIGITS = (*range(DIGITS), 4, 4, 4, 4)  # in a variant's row of pictures
# Paul Tol's muted colours, which the colour-blind tell apart; black is that of what the others are compared with.
COLORS = ("black", "#CC6677", "#332288", "#117733", "#88CCEE", "#999933", "#AA4499", "#44AA99", "#882255")
MARKERS = "os^vDP*Xd"


def images_to_text(images):
    """Return images (n, 28, 28, c) in [-1, 1] as text that JSON can hold, in 256 levels."""
    return np.round((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8).tobytes().hex()


def text_to_images(text, channels=1):
    """Return the images (n, 28, 28, channels) in [-1, 1] that `images_to_text` turned into text."""
    pixels = np.frombuffer(bytes.fromhex(text), np.uint8)
    return pixels.reshape(-1, SIDE, SIDE, channels) / np.float32(127.5) - 1
