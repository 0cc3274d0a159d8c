"""Distances between sets of images, as rows of pixels or of features, from which every figure of merit is made."""

import numpy as np

from mnist_gan.data.mnist import blocks

NEIGHBOURS = 3  # the k of precision and recall


def squared_distances(a, b) -> np.ndarray:
    """Return the squared Euclidean distances (n, m) between the rows of a (n, d) and of b (m, d)."""
    return np.maximum((a * a).sum(1)[:, np.newaxis] + (b * b).sum(1) - 2 * a @ b.T, 0)


def frechet_distance(a, b) -> float:
    """Return the Fréchet distance between Gaussians fitted to the features a (n, d) and b (m, d).

    |mean_a - mean_b|² + trace(cov_a + cov_b - 2 (cov_a cov_b)^(1/2)), at least 0 and 0 for equal
    moments (Heusel et al. 2017, https://arxiv.org/abs/1706.08500, equation 6). The trace of the root
    is the sum of the roots of the eigenvalues of cov_a^(1/2) cov_b cov_a^(1/2), which is symmetric.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(cov_a)
    root_a = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    product = np.linalg.eigvalsh(root_a @ cov_b @ root_a)
    return (((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b)
            - 2 * np.sqrt(np.maximum(product, 0)).sum())


def neighbour_radii(features, k=NEIGHBOURS) -> np.ndarray:
    """Return the squared distance of each of the features (n, d) to its k-th nearest other one, (n,)."""
    return np.concatenate([np.partition(squared_distances(block, features), k, axis=1)[:, k]
                           for block in blocks(features)])  # position 0 is the feature itself


def share_inside(points, centers, radii) -> float:
    """Return the share of `points` (n, d) in at least one ball around `centers` (m, d) with squared `radii` (m,)."""
    return np.concatenate([(squared_distances(block, centers) <= radii).any(1) for block in blocks(points)]).mean()


def precision_recall(real, generated, k=NEIGHBOURS) -> tuple:
    """Return the precision and recall of generated features (m, d) against real ones (n, d), each in [0, 1].

    Precision is the share of generated features within the k-nearest-neighbour balls of the real
    ones (realism), recall the share of real ones within those of the generated ones (coverage);
    Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991, equations 1 and 2, where k = 3.
    """
    return (share_inside(generated, real, neighbour_radii(real, k)),
            share_inside(real, generated, neighbour_radii(generated, k)))


def total_variance(features) -> float:
    """Return the total variance of features (n, d) around their mean: the trace of their covariance."""
    return features.var(axis=0, ddof=1).sum()


def parzen_log_likelihoods(points, centers, sigma) -> np.ndarray:
    """Return the log-likelihood in nats (n,) of `points` (n, d) under Gaussian windows on `centers` (m, d).

    log p(x) = log mean_j exp(-|x - c_j|² / (2 sigma²)) - d log(sigma (2 pi)^(1/2)); the protocol is
    that of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 5, with pixels in [0, 1].
    """
    def log_mean(block):
        exponents = squared_distances(block, centers) / (-2 * sigma**2)
        largest = exponents.max(axis=1)
        return largest + np.log(np.exp(exponents - largest[:, np.newaxis]).mean(axis=1))
    normalizer = centers.shape[1] * np.log(sigma * np.sqrt(2 * np.pi))
    return np.concatenate([log_mean(block) for block in blocks(points)]) - normalizer


def nearest(points, centers) -> tuple:
    """Return (distances (n,), indices (n,)) of the nearest of `centers` (m, d) to each of `points` (n, d)."""
    found = []
    for block in blocks(points, 200):
        distances = squared_distances(block, centers)
        index = distances.argmin(axis=1)
        found.append((np.sqrt(distances[np.arange(len(block)), index]), index))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
