"""How good a CGAN's digits are while it trains: a row of figures for each epoch that is scored."""

import numpy as np

from mnist_gan.data.mnist import DIGITS, load_data, scale_images
from mnist_gan.errors import InputError
from mnist_gan.files import atomic_write
from mnist_gan.metrics.classifiers import classify, load_classifier
from mnist_gan.metrics.distances import frechet_distance
from mnist_gan.running.distribution import is_clustered

COLUMNS = ("epoch", "fid", "label_accuracy")
LABELS = np.arange(10_000) % DIGITS  # of the images that are scored


class QualityLog:
    """FID and label accuracy of a generator over the epochs, as `evaluate.py` measures them, in `quality.csv`.

    `rows` is float64 (n, 3), COLUMNS. It starts with what the file in `folder` says up to `epoch`, from which a run
    continues. `data` is the path of the data, None for MNIST; the classifier is `classifier.keras` in `folder` and is
    trained if there is none.
    Raises InputError if the file is damaged, or on several machines.
    """

    def __init__(self, folder, data, epoch):
        if is_clustered():
            raise InputError("--evaluate-every works on one machine alone; use evaluate.py after the training")
        self.path = folder / "quality.csv"
        self.rows = self.read(epoch) if epoch and self.path.is_file() else np.empty((0, len(COLUMNS)))
        (x_train, y_train), (x_test, _) = load_data(data)
        self.classifier = load_classifier(folder, "classifier", "that scores the digits", x_train, y_train)
        self.test_features, _ = classify(self.classifier, scale_images(x_test).numpy())

    def read(self, epoch):
        """Return the rows of the file up to `epoch`."""
        try:
            rows = np.loadtxt(self.path, delimiter=",", skiprows=1, ndmin=2).reshape(-1, len(COLUMNS))
        except (ValueError, OSError) as error:
            raise InputError(f"{self.path} cannot be read: remove it, and later epochs are scored alone") from error
        return rows[rows[:, 0] <= epoch]

    def add(self, epoch, images):
        """Score `images` (10000, 28, 28, 1) in [-1, 1], drawn for LABELS after `epoch`, and add a row to the file."""
        features, seen = classify(self.classifier, images)
        row = epoch, frechet_distance(features, self.test_features), np.mean(seen == LABELS)
        self.rows = np.concatenate([self.rows, [row]])
        atomic_write(self.path, lambda partial: np.savetxt(
            partial, self.rows, fmt=["%d", "%.7g", "%.7g"], delimiter=",", header=",".join(COLUMNS), comments=""))
