"""Keeps a few hundred values of each score map: `python tests/goldens/thin.py FOLDER`.

FOLDER holds the whole maps, `NET_61x90_seed0.npz`. The values are those at places drawn from seed
0, every class among them, and the largest absolute score, which the tolerance is relative to.
"""

import sys
from pathlib import Path

import numpy as np

COUNT = 400


def thin(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Flat indices, values and the largest absolute value of one map."""
    places = np.random.default_rng(0).permutation(scores.size)[:COUNT]
    places = np.union1d(places, np.abs(scores).argmax())
    return {
        "places": places.astype(np.int32),
        "values": scores.ravel()[places],
        "largest": np.abs(scores).max(),
    }


def main(folder: Path) -> None:
    """Writes `score_maps.npz` beside this file."""
    kept = {}
    for path in sorted(folder.glob("*_61x90_seed0.npz")):
        net = path.name.split("_")[0]
        with np.load(path) as golden:
            for output in golden.files:
                for name, values in thin(golden[output]).items():
                    kept[f"{net}/{output}/{name}"] = values
    np.savez_compressed(Path(__file__).with_name("score_maps.npz"), **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
