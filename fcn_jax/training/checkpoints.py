"""Checkpoints through Orbax, behind one small class."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax


class Checkpoints:
    """The states of a run on disk: the latest and the best.

    A state is written to a temporary folder, which is renamed when it is complete. So a run that
    is killed during a save resumes from the checkpoint before it. `save` returns when the state is
    written, since the next step overwrites the state's memory.
    """

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(
            create=True, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        # use_replica_parallel makes the first save of replicated arrays many times slower.
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False)
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, item_handlers={"state": handler}
        )

    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Steps of all complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, best: int | None) -> None:
        """Write the state, then delete all other checkpoints except that of step `best`."""
        args = self._ocp.args.Composite(state=self._ocp.args.PyTreeSave(state))
        self._manager.save(step, args=args, force=True)
        self._manager.wait_until_finished()
        for old in self.steps():
            if old not in (step, best):
                self._manager.delete(old)

    def restore(self, step: int, like: Any) -> Any:
        """The state of that step, placed as `like` (arrays or shapes with shardings).

        Raises:
            ValueError: the checkpoint is damaged.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None)),
            like,
        )
        restore_args = self._ocp.checkpoint_utils.construct_restore_args(abstract)
        args = self._ocp.args.Composite(
            state=self._ocp.args.PyTreeRestore(abstract, restore_args=restore_args)
        )
        with self._damage_named(step):
            return self._manager.restore(step, args=args)["state"]

    def restore_as_saved(self, step: int) -> dict[str, Any]:
        """The state of that step as nested dictionaries of numpy arrays, without its classes.

        Raises:
            ValueError: the checkpoint is damaged.
        """
        import numpy as np

        with self._damage_named(step):
            found = self._manager.item_metadata(step)["state"].tree
            tree = jax.tree.map(lambda m: self._ocp.RestoreArgs(restore_type=np.ndarray), found)
            args = self._ocp.args.Composite(state=self._ocp.args.PyTreeRestore(restore_args=tree))
            return self._manager.restore(step, args=args)["state"]

    @contextlib.contextmanager
    def _damage_named(self, step: int) -> Iterator[None]:
        """Turns the errors of reading a damaged checkpoint into one that names its folder."""
        try:
            yield
        except (AttributeError, KeyError, OSError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self._manager.directory / str(step)}: this checkpoint is damaged ({error}). "
                "Delete it to resume from the one before."
            ) from error

    def close(self) -> None:
        """Release the manager's threads."""
        self._manager.close()
