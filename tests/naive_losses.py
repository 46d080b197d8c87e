"""Losses written plainly in numpy, in float64, from their formulas; and every loss with its own.

A naive loss takes a list of images, each `(scores, labels)` of its labelled pixels alone, (n, k)
and (n,). So void pixels, and those outside an image, cannot have a part in it.
"""

import functools

import jax
import numpy as np

from fcn_jax.losses import (
    L1,
    OHEM,
    AbsentClasses,
    Dice,
    Focal,
    GeneralizedDice,
    Jaccard,
    Lovasz,
    Normalization,
    SigmoidFocal,
    SiLog,
    Softmax,
    Sum,
    TopK,
    Tversky,
)


def softmax(scores):
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def together(images):
    return np.concatenate([s for s, _ in images]), np.concatenate([t for _, t in images])


def as_units(images, per_image):
    """What has a loss of its own: each image with labelled pixels, or all of them together."""
    units = images if per_image else [together(images)]
    return [(s, t) for s, t in units if len(t)]


def mean(values):
    return sum(values) / len(values) if len(values) else 0.0


def over_classes(loss_of_class, images, absent=False, per_image=False):
    """The mean of a function of p and y (n,) of one class over classes, then over the units."""
    losses = []
    for scores, labels in as_units(images, per_image):
        p = softmax(scores)
        counted = [c for c in range(p.shape[1]) if absent or (labels == c).any()]
        losses.append(mean([loss_of_class(p[:, c], labels == c) for c in counted]))
    return mean(losses)


def dice(p, y, smooth=0.0, power=1):
    return 1 - (2 * (p * y).sum() + smooth) / ((p**power).sum() + y.sum() + smooth)


def jaccard(p, y, smooth=0.0):
    both = (p * y).sum()
    return 1 - (both + smooth) / (p.sum() + y.sum() - both + smooth)


def tversky(p, y, alpha, beta, gamma=1.0, smooth=0.0):
    right, wrong, missed = (p * y).sum(), (p * ~y).sum(), ((1 - p) * y).sum()
    return (1 - (right + smooth) / (right + alpha * wrong + beta * missed + smooth)) ** gamma


def generalized_dice(images, absent=False, per_image=False, smooth=0.0):
    losses = []
    for scores, labels in as_units(images, per_image):
        p, y = softmax(scores), labels[:, None] == np.arange(scores.shape[1])
        areas = y.sum(axis=0)
        weights = np.array([1 / n**2 if n else 0 for n in areas.astype(float)])
        if absent:
            weights[areas == 0] = weights.max()
        above, below = (weights * (p * y).sum(0)).sum(), (weights * (p + y).sum(0)).sum()
        losses.append(1 - (2 * above + smooth) / (below + smooth))
    return mean(losses)


def lovasz(p, y):
    """∫ J({pixels whose error is above t}) dt over t = 0..1: the Lovász extension's definition."""
    errors = np.abs(y - p)
    steps = np.concatenate([[0.0], np.unique(errors)])
    total = 0.0
    for low, high in zip(steps[:-1], steps[1:], strict=True):
        wrong = errors > (low + high) / 2
        union = (y | wrong).sum()  # wrong pixels of the class are missed, other ones are added
        total += (high - low) * wrong.sum() / union
    return total


def cross_entropies(images):
    scores, labels = together(images)
    return -np.log(softmax(scores)[np.arange(len(labels)), labels])


def focal(images, gamma):
    ce = cross_entropies(images)
    return mean((1 - np.exp(-ce)) ** gamma * ce)


def sigmoid_focal(images, gamma, alpha):
    scores, labels = together(images)
    total = 0.0
    for row, label in zip(scores, labels, strict=True):
        for c, s in enumerate(row):
            p = 1 / (1 + np.exp(-s)) if c == label else 1 / (1 + np.exp(s))
            weight = 1 if alpha is None else alpha if c == label else 1 - alpha
            total -= weight * (1 - p) ** gamma * np.log(p)
    return total / max(len(labels), 1)


def hard_pixels(images, count, threshold=0.0):
    """The mean of the `count(n)` largest and of those with p below a threshold."""
    losses = np.sort(cross_entropies(images))[::-1]
    kept = [x for i, x in enumerate(losses) if i < count(len(losses)) or np.exp(-x) < threshold]
    return mean(kept)


def weighted(images, weights=(1, 1, 1), smoothing=0.0, by_weights=True):
    scores, labels = together(images)
    weights, logs = np.asarray(weights, float), np.log(softmax(scores))
    own, n = np.arange(len(labels)), len(labels)
    total = (1 - smoothing) * (weights[labels] * -logs[own, labels]).sum()
    total += smoothing / 3 * (weights * -logs).sum()
    return total / ((weights[labels].sum() if by_weights else n) or 1)


def logarithm(metres, floor):
    return np.where(
        metres < floor, np.log(floor) + metres / floor - 1, np.log(np.maximum(metres, floor))
    )


def l1(images, log=False, floor=0.1):
    found, true = together(images)
    found = found[:, 0]
    return mean(np.abs(logarithm(found, floor) - np.log(true)) if log else np.abs(found - true))


def silog(images, focus, per_image=True, floor=0.1):
    roots = []
    for found, true in as_units(images, per_image):
        d = np.log(true) - logarithm(found[:, 0], floor)
        roots.append(np.sqrt((d**2).mean() - focus * d.mean() ** 2))
    return mean(roots)


# For tests, compiling is most of the time.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

COUNTED, VALID = AbsentClasses.COUNTED, Normalization.VALID
WEIGHTS = (0.2, 1.0, 3.0)
every = functools.partial

CLASSES = {
    "dice": (Dice(), every(over_classes, dice)),
    "dice squared counted": (
        Dice(squared=True, absent=COUNTED, smooth=0.7),
        every(over_classes, every(dice, power=2, smooth=0.7), absent=True),
    ),
    "dice per image": (
        Dice(per_image=True, smooth=0.3),
        every(over_classes, every(dice, smooth=0.3), per_image=True),
    ),
    "dice per image counted": (
        Dice(per_image=True, absent=COUNTED, smooth=0.3),
        every(over_classes, every(dice, smooth=0.3), per_image=True, absent=True),
    ),
    "generalized dice": (GeneralizedDice(), generalized_dice),
    "generalized dice per image counted": (
        GeneralizedDice(absent=COUNTED, smooth=0.1, per_image=True),
        every(generalized_dice, absent=True, smooth=0.1, per_image=True),
    ),
    "jaccard": (Jaccard(), every(over_classes, jaccard)),
    "jaccard counted": (
        Jaccard(absent=COUNTED, smooth=1.0),
        every(over_classes, every(jaccard, smooth=1.0), absent=True),
    ),
    "tversky": (Tversky(), every(over_classes, every(tversky, alpha=0.3, beta=0.7))),
    "focal tversky": (
        Tversky(alpha=0.4, beta=0.9, gamma=0.75, per_image=True),
        every(over_classes, every(tversky, alpha=0.4, beta=0.9, gamma=0.75), per_image=True),
    ),
    "lovasz": (Lovasz(), every(over_classes, lovasz)),
    "lovasz per image all": (
        Lovasz(absent=COUNTED, per_image=True),
        every(over_classes, lovasz, absent=True, per_image=True),
    ),
    "focal": (Focal(), every(focal, gamma=2.0)),
    "focal of a root": (Focal(gamma=0.5), every(focal, gamma=0.5)),
    "sigmoid focal": (SigmoidFocal(), every(sigmoid_focal, gamma=2.0, alpha=0.25)),
    "sigmoid focal unweighted": (
        SigmoidFocal(gamma=0.5, alpha=None),
        every(sigmoid_focal, gamma=0.5, alpha=None),
    ),
    "ohem by threshold": (
        OHEM(threshold=0.3, min_kept=2),
        every(hard_pixels, count=lambda n: 2, threshold=0.3),
    ),
    "ohem by number": (
        OHEM(threshold=0.01, min_kept=9),
        every(hard_pixels, count=lambda n: 9, threshold=0.01),
    ),
    "top k": (TopK(fraction=0.3), every(hard_pixels, count=lambda n: max(round(0.3 * n), 1))),
    "class weights": (
        Softmax(normalization=VALID, class_weights=WEIGHTS),
        every(weighted, weights=WEIGHTS),
    ),
    "class weights by pixels": (
        Softmax(normalization=VALID, class_weights=WEIGHTS, count_weights=False),
        every(weighted, weights=WEIGHTS, by_weights=False),
    ),
    "smoothed": (
        Softmax(normalization=VALID, label_smoothing=0.1),
        every(weighted, smoothing=0.1),
    ),
    "smoothed class weights": (
        Softmax(normalization=VALID, class_weights=WEIGHTS, label_smoothing=0.2),
        every(weighted, weights=WEIGHTS, smoothing=0.2),
    ),
    "sum": (
        Sum((Softmax(normalization=VALID), Dice()), weights=(1.0, 0.5)),
        lambda images: weighted(images) + 0.5 * over_classes(dice, images),
    ),
}
DEPTHS = {
    "l1": (L1(), l1),
    "l1 of logarithms": (L1(log=True), every(l1, log=True)),
    "silog": (SiLog(maximum=80.0), every(silog, focus=0.5)),
    "silog of the batch": (
        SiLog(focus=0.85, per_image=False, floor=0.5),
        every(silog, focus=0.85, per_image=False, floor=0.5),
    ),
}
LOSSES = {**CLASSES, **DEPTHS}


def draw(name, seed=0, shape=(3, 4, 5)):
    """Scores, labels with void pixels, and where these are; depths for losses of depth."""
    rng = np.random.default_rng(seed)
    void = rng.random(shape) < 0.3
    if name in DEPTHS:
        scores = rng.uniform(-0.5, 8, (*shape, 1)).astype(np.float32)
        labels = rng.uniform(0.5, 10, shape).astype(np.float32)
        labels[void] = rng.choice([0.0, np.nan, -1.0, np.inf], void.sum())
    else:
        scores = rng.normal(0, 2, (*shape, 3)).astype(np.float32)
        labels = rng.integers(0, 3, shape)
        labels[0][labels[0] == 2] = 1  # the first image lacks a class
        labels[void] = 255
    return scores, labels, void


def images_of(scores, labels, void, sizes):
    """What a naive loss takes."""
    images = []
    for i, (h, w) in enumerate(sizes):
        kept = ~void[i, :h, :w]
        images.append((scores[i, :h, :w][kept].astype(np.float64), labels[i, :h, :w][kept]))
    return images


def naive_gradient(naive, scores, labels, void, sizes, step=1e-5):
    """By central differences, in float64."""
    scores = scores.astype(np.float64)
    gradient = np.zeros(scores.shape)
    for at in np.ndindex(scores.shape):
        ends = []
        for change in (step, -step):
            moved = scores.copy()
            moved[at] += change
            ends.append(naive(images_of(moved, labels, void, sizes)))
        gradient[at] = (ends[0] - ends[1]) / (2 * step)
    return gradient
