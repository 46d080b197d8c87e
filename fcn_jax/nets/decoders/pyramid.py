"""The maps of a trunk as a pyramid."""

from fcn_jax.nn.feature_map import FeatureMap

Maps = dict[str, FeatureMap]


def by_stride(maps: Maps) -> dict[int, FeatureMap]:
    """The deepest map at each stride, in input pixels, from the finest to the coarsest."""
    return {int(x.grid.stride): x for x in maps.values() if x.grid.stride.denominator == 1}


def deepest(maps: Maps, name: str = "") -> FeatureMap:
    """The map of that name, or the last one.

    Raises:
        ValueError: there is no map of that name; the maps are listed.
    """
    if not name:
        return next(reversed(maps.values()))
    if name not in maps:
        raise ValueError(f"the trunk has no map {name!r}; it has {', '.join(maps)}")
    return maps[name]


def at_stride(maps: Maps, stride: int) -> FeatureMap:
    """The deepest map at a stride.

    Raises:
        ValueError: there is none; the strides are listed.
    """
    found = by_stride(maps)
    if stride not in found:
        strides = ", ".join(map(str, found))
        raise ValueError(f"the trunk has no map at stride {stride}; it has some at {strides}")
    return found[stride]
