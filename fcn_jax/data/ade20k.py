"""ADE20K as SceneParse150 publishes it: scenes, 150 classes."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Literal

from fcn_jax.data.chosen_classes import ChosenClasses, check_labelled
from fcn_jax.data.errors import DataError, legible
from fcn_jax.data.label_values import LabelValues
from fcn_jax.data.walk import find_folder, image_endings, walk

CLASSES = tuple(
    name.strip()
    for name in """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet,
    sidewalk, person, earth, door, table, mountain, plant, curtain, chair, car, water, painting,
    sofa, shelf, house, sea, mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp,
    bathtub, railing, cushion, base, box, column, signboard, chest of drawers, counter, sand, sink,
    skyscraper, fireplace, refrigerator, grandstand, path, stairs, runway, case, pool table, pillow,
    screen door, stairway, river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill,
    bench, countertop, stove, palm, kitchen island, computer, swivel chair, boat, bar,
    arcade machine, hovel, bus, towel, light, truck, tower, chandelier, awning, streetlight, booth,
    television receiver, airplane, dirt track, apparel, pole, land, bannister, escalator, ottoman,
    bottle, buffet, poster, stage, van, ship, fountain, conveyer belt, canopy, washer, plaything,
    swimming pool, stool, barrel, basket, waterfall, tent, bag, minibike, cradle, oven, ball, food,
    step, tank, trade name, microwave, pot, animal, bicycle, lake, dishwasher, screen, blanket,
    sculpture, hood, sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag""".split(",")
)
"""The first name of each class, stored as 1 to 150. Source: `objectInfo150.txt` of the set."""
FROM_ONE = LabelValues(reduce_zero=True)
"""0 is other or unlabelled; 255 stays ignored. Source: SceneParse150's readme."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ADE20K(ChosenClasses):
    """ADE20K, SceneParse150: 20,210 and 2,000 images.

    Layout: `ADEChallengeData2016/images/SPLIT/ID.jpg` and `annotations/SPLIT/ID.png`.

    Attributes:
      split: Which part.
      class_names: A name for each class.
      label_values: The class of each stored value.
      root: The data folder: `ADEChallengeData2016`, or the one that holds it.

    Raises:
      DataError: On first use, if a folder or a file is missing.
    """

    split: Literal["training", "validation"]
    class_names: tuple[str, ...] = CLASSES
    label_values: LabelValues = FROM_ONE

    def _find(self, root: Path) -> Path:
        return find_folder(
            root,
            (".", "ADEChallengeData2016"),
            marker=f"annotations/{self.split}",
            layout="ADEChallengeData2016/{images/SPLIT/ID.jpg, annotations/SPLIT/ID.png}, as "
            "the archive unpacks",
        )

    def _read_ids(self) -> tuple[str, ...]:
        return check_labelled(self, list(self._images))

    @functools.cached_property
    def _images(self) -> dict[str, Path]:
        """The images by their names."""
        found: dict[str, Path] = {}
        for path in walk(self.folder / "images" / self.split, image_endings()).files:
            if (first := found.setdefault(legible(path.stem), path)) != path:
                raise DataError(f"{first} and {path} have one name. Remove one, or rename it.")
        return found

    def image_path(self, name: str) -> Path:
        """`images/SPLIT/NAME.jpg`, or with another ending that Pillow decodes."""
        return self._images[name]

    def label_path(self, name: str) -> Path:
        """`annotations/SPLIT/NAME.png`."""
        return self.folder / "annotations" / self.split / f"{name}.png"
