"""Checkpoints that can be trusted: any path, any damage, any reader beside a run that writes."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.training import checkpoints as module
from fcn_jax.training.checkpoints import Checkpoints, DamagedCheckpointError
from fcn_jax.training.checksums import by_names, checksum

OF_0_1 = Path(__file__).with_name("run_of_0_1") / "checkpoints"


def state(step):
    values = np.random.default_rng(step).normal(size=(50, 40)).astype(np.float32)
    return {
        "learning": {"conv1/kernel": jnp.asarray(values), "half": jnp.ones(7, jnp.bfloat16)},
        "empty": {},
        "opt_state": (jnp.zeros((1, 3)), None, jnp.int32(step), jnp.asarray([True, False])),
    }


def same(found, step):
    expected = by_names(state(step))
    assert by_names(found).keys() == expected.keys()
    for names, array in by_names(found).items():
        assert array.dtype == expected[names].dtype
        np.testing.assert_array_equal(np.asarray(array), np.asarray(expected[names]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("saved")
    for step in (2, 4):
        Checkpoints(folder).save(step, state(step), best=2)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    "name", ["a[1]", "[ab]/c", "what?", "*", "]", "[!x]", "a\\b", "gs:", "{a,b}"]
)
def test_a_path_may_hold_any_character(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, state(step), best=1)
    same(checkpoints.restore(2, state(0)), 2)
    same(checkpoints.restore_as_saved(1), 1)
    assert {path.name for path in folder.iterdir()} == {"1", "2"}


NOISE = random.Random(0)
DAMAGES = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "noise": lambda file: file.write_bytes(NOISE.randbytes(file.stat().st_size)),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_noticed_or_harmless_and_the_one_before_is_taken(folder, tmp_path, kind, capfd):
    files = sorted(file for file in (folder / "4").rglob("*") if file.is_file())
    taken = []
    for file in files:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        DAMAGES[kind](copy / file.relative_to(folder))
        said = []
        found = Checkpoints(copy).restore_newest(state(0), said.append)
        step = int(found["opt_state"][2])
        same(found, step)
        taken.append(step)
        if step == 2:
            (line,) = said
            assert f"{copy / '4'}: this checkpoint is damaged (" in line
            assert "step 2 is taken instead" in line and "\n" not in line
        else:
            assert said == []
        shutil.rmtree(copy)
    assert taken.count(2) >= 5
    assert capfd.readouterr().err == ""


def test_every_flipped_bit_is_noticed_or_harmless(folder):
    files = [file for file in sorted((folder / "4").rglob("*")) if file.is_file()]
    draw = random.Random(1)
    noticed = 0
    for _ in range(60):
        file = draw.choices(files, [file.stat().st_size for file in files])[0]
        sound = file.read_bytes()
        flipped = bytearray(sound)
        flipped[draw.randrange(len(sound))] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        try:
            same(Checkpoints(folder).restore(4, state(0)), 4)
        except DamagedCheckpointError:
            noticed += 1
        file.write_bytes(sound)
    assert noticed > 30


def test_an_array_of_other_values_is_named(folder, tmp_path):
    """The bytes on disk are sound, and are not those that were saved."""
    other = state(4)
    other["learning"]["conv1/kernel"] = other["learning"]["conv1/kernel"].at[3, 5].add(1e-6)
    Checkpoints(tmp_path / "other").save(4, other, None)
    shutil.rmtree(folder / "4" / "state")
    shutil.copytree(tmp_path / "other" / "4" / "state", folder / "4" / "state")
    with pytest.raises(DamagedCheckpointError, match="learning/conv1/kernel is not what was saved"):
        Checkpoints(folder).restore(4, state(0))


def test_where_none_is_sound_there_is_one_error_that_names_all(folder):
    for step in (2, 4):
        (folder / str(step) / "state" / "_METADATA").write_text("")
    with pytest.raises(ValueError, match=r"no sound checkpoint: .*/4: .*; .*/2: "):
        Checkpoints(folder).restore_newest(state(0), print)


def test_a_damaged_checkpoint_does_not_block_a_save_of_its_step(folder):
    (folder / "4" / "state" / "manifest.ocdbt").unlink()
    Checkpoints(folder).save(4, state(4), best=None)
    same(Checkpoints(folder).restore(4, state(0)), 4)
    assert Checkpoints(folder).steps() == [4]


def test_a_save_that_cannot_be_read_back_keeps_the_one_before(folder, monkeypatch):
    monkeypatch.setattr(module, "_stored", lambda folder: iter(()))
    with pytest.raises(DamagedCheckpointError, match=r"/6: .*is missing"):
        Checkpoints(folder).save(6, state(6), best=None)
    monkeypatch.undo()
    same(Checkpoints(folder).restore(4, state(0)), 4)


def test_reading_changes_nothing_on_disk(folder):
    half = folder / "6.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)
    before = sorted(folder.rglob("*"))
    checkpoints = Checkpoints(folder)
    assert checkpoints.latest() == 4
    same(checkpoints.restore_as_saved(4), 4)
    checkpoints.close()
    assert Checkpoints(folder / "absent").steps() == [] and not (folder / "absent").exists()
    assert sorted(folder.rglob("*")) == before


def test_a_reader_goes_on_to_a_checkpoint_that_came_meanwhile(folder, monkeypatch):
    """The run beside it has saved step 6 and deleted the others while it read."""
    read = module._stored

    def slow(path):
        if path.parent.name == "4":
            monkeypatch.setattr(module, "_stored", read)
            Checkpoints(folder).save(6, state(6), best=None)
        return read(path)

    monkeypatch.setattr(module, "_stored", slow)
    said = []
    step, _ = Checkpoints(folder).newest_sound(said.append)
    assert step == 6 and said == []


def test_a_state_of_another_recipe_is_refused_by_name(folder):
    other = state(0)
    other["learning"]["conv1/kernel"] = jnp.zeros((50, 41))
    with pytest.raises(ValueError, match=r"conv1/kernel is float32 \(50, 40\), and this recipe's"):
        Checkpoints(folder).restore(4, other)
    del other["learning"]["conv1/kernel"]
    with pytest.raises(ValueError, match="state has nothing"):
        Checkpoints(folder).restore(4, other)


def test_checkpoints_without_checksums_are_read_as_before(folder):
    found = Checkpoints(OF_0_1).restore_as_saved(2)
    assert int(found["step"]) == 2 and found["learning"]["score_fr/bias"].shape == (7,)
    about = json.loads((folder / "4" / "_CHECKPOINT_METADATA").read_text())
    about["custom_metadata"] = {}
    (folder / "4" / "_CHECKPOINT_METADATA").write_text(json.dumps(about))
    same(Checkpoints(folder).restore(4, state(0)), 4)


def test_a_checksum_knows_kind_shape_order_and_every_bit():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    sums = {
        checksum(other)
        for other in (array, array.T, array.reshape(6), array.view(np.int32), array[::-1], -array)
    }
    assert len(sums) == 6
    assert checksum(jnp.asarray(array)) == checksum(array) == checksum(array.T.copy().T)


DIVIDED = """
import jax, sys
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np
from pathlib import Path
from jax.sharding import NamedSharding, PartitionSpec as P
from fcn_jax.training.checkpoints import Checkpoints
from fcn_jax.training.checksums import checksum
array = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
meshes = [jax.make_mesh((n, 8 // n), ("a", "b")) for n in (8, 2, 1)]
axes = (), ("a",), (None, "b"), ("b", "a")
kinds = [NamedSharding(mesh, P(*names)) for mesh in meshes for names in axes]
for kind in kinds:
    placed = jax.device_put(array, kind)
    assert checksum(placed) == checksum(array)
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(1, {"w": jax.device_put(array, kinds[1])}, None)
for kind in kinds:
    like = {"w": jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=kind)}
    found = checkpoints.restore(1, like)["w"]
    assert found.sharding == kind
    np.testing.assert_array_equal(np.asarray(found), array)
"""


def test_checksums_do_not_depend_on_the_devices(tmp_path):
    command = [sys.executable, "-c", DIVIDED, str(tmp_path / "run[1]")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_step_may_reuse_the_memory_of_a_saved_state(folder):
    first = jax.tree.map(jnp.copy, state(5))
    Checkpoints(folder).save(5, first, None)
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x + x, tree), donate_argnums=0)
    jax.block_until_ready(step(first))
    same(Checkpoints(folder).restore(5, state(0)), 5)
