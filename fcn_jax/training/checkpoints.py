"""Checkpoints, behind one small class: Orbax writes them, TensorStore reads them."""

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from fcn_jax.atomic import AnyPath
from fcn_jax.devices.processes import is_leader
from fcn_jax.training.checksums import Names, by_names, checksum
from fcn_jax.training.write_errors import write_errors_of_orbax

Arrays = dict[Names, np.ndarray]

_READERS = 2
"""Arrays that are decompressed at a time: 0.9 s instead of 1.5 for VGG16 with momentum, two cores.
Each is in memory as a whole."""


class DamagedCheckpointError(ValueError):
    """A checkpoint cannot be read, or does not hold what was saved."""


class Checkpoints:
    """The states of a run on disk: the latest and the best.

    A state is written to a temporary folder, which is renamed when it is complete. So a run that
    is killed during a save resumes from the checkpoint before it. A checkpoint holds a checksum of
    every array. `save` returns when the state is written, since the next step overwrites the
    state's memory. Listing and reading change nothing on disk.
    """

    def __init__(self, folder: AnyPath):
        self._folder = Path(folder).absolute()

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        if not self._folder.is_dir():
            return []
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))

    def save(self, step: int, state: Any, best: int | None) -> None:
        """Write the state and read it back; then delete all others except that of step `best`.

        Raises:
            DamagedCheckpointError: what is there differs from the state; the others stay.
            OSError: the disk is full, for example; the others stay.
        """
        import orbax.checkpoint as ocp

        sums = {"/".join(names): checksum(array) for names, array in by_names(state).items()}
        # use_replica_parallel makes the first save of replicated arrays many times slower.
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False)
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(state))
        self._folder.mkdir(parents=True, exist_ok=True)
        with (
            write_errors_of_orbax(self._folder),
            _plainly_named(self._folder) as folder,
            ocp.Checkpointer(ocp.CompositeCheckpointHandler(state=handler)) as writer,
        ):
            about = {"checksums": sums}
            writer.save(folder / str(step), args=args, force=True, custom_metadata=about)
        if is_leader():
            self._arrays(step, keep=False)
        self.keep_only(step, best)

    def keep_only(self, *kept: int | None) -> None:
        """Delete the checkpoints of all other steps."""
        if is_leader():
            for old in set(self.steps()) - set(kept):
                shutil.rmtree(self._folder / str(old))

    def restore(self, step: int, like: Any) -> Any:
        """The state of that step, placed as `like` (arrays or shapes with shardings).

        Raises:
            DamagedCheckpointError: the checkpoint is damaged.
            ValueError: it holds other arrays than `like`.
        """
        return self._placed(step, self._arrays(step), like)

    def restore_as_saved(self, step: int) -> dict[str, Any]:
        """The state of that step as nested dictionaries of numpy arrays, without its classes.

        Raises:
            DamagedCheckpointError: the checkpoint is damaged.
        """
        return nested(self._arrays(step))

    def restore_newest(self, like: Any, say: Callable[[str], None]) -> Any:
        """The newest sound state, placed as `like`; None if there is no checkpoint.

        Of several processes, the first chooses the step.

        Raises:
            ValueError: there are checkpoints, but none is sound; or one of another state.
        """
        step, arrays = -1, None
        if is_leader() and self.steps():
            step, arrays = self.newest_sound(say)
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step < 0:
            return None
        return self._placed(step, arrays or self._arrays(step), like)

    def newest_sound(
        self, say: Callable[[str], None], first: int | None = None
    ) -> tuple[int, Arrays]:
        """The step and the arrays of the newest sound checkpoint.

        Args:
            say: told in one line what is wrong with those that are passed over.
            first: a step to prefer, if it is there.

        Raises:
            ValueError: none is sound.
        """
        wrong: dict[int, str] = {}
        while left := [step for step in self.steps() if step not in wrong]:
            step = first if first in left else left[-1]
            try:
                arrays = self._arrays(step)
            except DamagedCheckpointError as error:
                # A run that is training may have deleted it since.
                wrong[step] = str(error) if (self._folder / str(step)).exists() else ""
                continue
            if reasons := "; ".join(filter(None, wrong.values())):
                say(f"{reasons}. The checkpoint of step {step} is taken instead.")
            return step, arrays
        reasons = "; ".join(filter(None, wrong.values()))
        raise ValueError(f"{self._folder} has no sound checkpoint: {reasons or 'it is empty'}")

    def remove_leftovers(self) -> None:
        """Remove what killed processes left unfinished; for the one run that has the folder."""
        for path in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(path)

    def close(self) -> None:
        """Nothing stays open between calls; for `contextlib.closing`."""

    def _arrays(self, step: int, *, keep: bool = True) -> Arrays:
        """The arrays of a checkpoint, compared with their checksums; none are kept if not asked."""
        try:
            with _plainly_named(self._folder) as plain, ThreadPoolExecutor(_READERS) as pool:
                folder = plain / str(step)
                about = json.loads((folder / "_CHECKPOINT_METADATA").read_bytes())
                sums = about["custom_metadata"].get("checksums")  # none before version 0.2

                def checked(stored: tuple[Names, dict[str, Any]]) -> tuple[Names, Any]:
                    names, spec = stored
                    array, name = _read(spec), "/".join(names)
                    if sums is not None and sums[name] != checksum(array):
                        raise ValueError(f"{name} is not what was saved")
                    return names, array if keep else None

                arrays = dict(pool.map(checked, _stored(folder / "state")))
            if missing := set(sums or ()) - {"/".join(names) for names in arrays}:
                raise ValueError(f"{min(missing)} is missing")
            return arrays if keep else {}
        except Exception as error:  # a damaged file makes its readers raise anything
            text = str(error) if isinstance(error, ValueError | OSError) else repr(error)
            reason = " ".join(text.split(" [tensorstore_spec")[0].split())[:300]
            raise DamagedCheckpointError(
                f"{self._folder / str(step)}: this checkpoint is damaged ({reason})"
            ) from error

    def _placed(self, step: int, found: Arrays, like: Any) -> Any:
        """The arrays as the tree `like`, on its devices; `found` is emptied."""
        wanted = by_names(like)
        for names in dict.fromkeys([*wanted, *found]):
            here, there = _kind(wanted.get(names)), _kind(found.get(names))
            if here != there:
                raise ValueError(
                    f"{self._folder / str(step)}: {'/'.join(names)} is {there}, and this recipe's "
                    f"state has {here}. It was saved by another recipe, or by another version of "
                    "optax or fcn_jax"
                )
        leaves = [_place(found.pop(names), leaf) for names, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def nested(arrays: Arrays) -> dict[str, Any]:
    """The arrays as dictionaries in dictionaries; empty ones are left out."""
    tree: dict[str, Any] = {}
    for (*way, last), array in arrays.items():
        branch = tree
        for name in way:
            branch = branch.setdefault(name, {})
        branch[last] = array
    return tree


def _kind(array: Any) -> str:
    return "nothing" if array is None else f"{array.dtype} {tuple(array.shape)}"


def _place(array: np.ndarray, like: Any) -> jax.Array:
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        return jax.numpy.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _stored(folder: Path) -> Iterator[tuple[Names, dict[str, Any]]]:
    """What Orbax wrote: the names of each array, and where TensorStore finds it.

    Orbax's own reader misses files below a folder such as `a[1]`, and prints a hundred lines of
    its event loop's threads where one file is damaged.
    """
    base = {"driver": "file", "path": f"{folder}/"}
    for entry in json.loads((folder / "_METADATA").read_bytes())["tree_metadata"].values():
        if entry["value_metadata"]["skip_deserialize"]:
            continue  # an empty part of the tree
        names = tuple(str(part["key"]) for part in entry["key_metadata"])
        store = {"driver": "ocdbt", "base": base, "path": ".".join(names) + "/"}
        yield names, {"driver": "zarr", "kvstore": store}


def _read(stored: dict[str, Any]) -> np.ndarray:
    import tensorstore as ts

    return np.asarray(ts.open(stored, read=True).result().read().result())


@contextlib.contextmanager
def _plainly_named(folder: Path) -> Iterator[Path]:
    """The folder by a name that nothing reads as a pattern or an address.

    Orbax takes a path for a pattern (`[`, `*`), and then misses what it wrote itself.
    """
    plain = re.compile(r"[\w/.,+=@ -]*")
    if plain.fullmatch(str(folder)):
        yield folder
        return
    where = None if plain.fullmatch(tempfile.gettempdir()) else "/tmp"
    with tempfile.TemporaryDirectory(dir=where) as other:
        link = Path(other) / "checkpoints"
        link.symlink_to(folder)
        yield link
