"""Readers of every kind of file: sound files are read, nearly sound ones often, and damaged files
give one clear error.

The kinds are those of `fuzz_samples.py`, the random damage is that of `benchmarks/fuzz_readers.py`.
"""

import importlib.util
import warnings
from pathlib import Path

import fuzz_samples
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.weights.foreign.pickled import read_pickle
from fcn_jax.weights.foreign.wire import fields

SCRIPT = Path(__file__).parents[1] / "benchmarks/fuzz_readers.py"


def load_script():
    spec = importlib.util.spec_from_file_location("fuzz_readers", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


FUZZ = load_script()
KINDS = fuzz_samples.kinds()

# Of files that differ from a sound one in the lowest bit of one byte, the share that is read: a
# reader that refuses too much leaves these bounds, and one that notices too little. They stand 8 %
# below and above the measured share.
READ_AFTER_ONE_BIT = {
    "caffemodel": (0.55, 0.70),
    "pth archive": (0.32, 0.48),
    "pickle in an archive": (0.02, 0.18),
    "pth stream": (0.29, 0.45),
    "pickle in a stream": (0.02, 0.18),
    "npz": (0.20, 0.36),
    "npy in an npz": (0.07, 0.23),
    "safetensors": (0.13, 0.29),
    "read png": (0.00, 0.14),
    "read jpeg": (0.72, 0.88),
    "read tiff": (0.48, 0.64),
    "read other": (0.80, 0.95),
    "read png, repaired": (0.00, 0.14),
    "read pixels of a png": (0.92, 1.00),
    "size of png": (0.69, 0.85),
    "size of jpeg": (0.85, 1.00),
    "size of tiff": (0.64, 0.80),
    "size of other": (0.80, 0.95),
    "size of png, repaired": (0.69, 0.85),
    "size of pixels of a png": (0.92, 1.00),
    "predict png": (0.00, 0.14),
    "predict jpeg": (0.72, 0.88),
    "predict tiff": (0.48, 0.64),
    "predict other": (0.80, 0.95),
    "predict png, repaired": (0.00, 0.14),
    "predict pixels of a png": (0.92, 1.00),
    "predict --tile png": (0.00, 0.14),
    "predict --tile jpeg": (0.72, 0.88),
    "predict --tile tiff": (0.48, 0.64),
    "predict --tile other": (0.80, 0.95),
    "predict --tile png, repaired": (0.00, 0.14),
    "predict --tile pixels of a png": (0.92, 1.00),
    "label png": (0.00, 0.11),
    "label png, repaired": (0.82, 0.98),
    "depth png": (0.02, 0.18),
    "mat": (0.49, 0.65),
    "mat, field": (0.59, 0.75),
    "mat, unpacked": (0.65, 0.81),
    "mat, unpacked field": (0.51, 0.67),
    "list": (0.92, 1.00),
    "zip": (0.42, 0.58),
    "tar": (0.69, 0.85),
    "tar.gz": (0.00, 0.11),
    "tar in a tar.gz": (0.69, 0.85),
    "recipe.json": (0.22, 0.38),
    "metrics.jsonl": (0.31, 0.47),
}


@pytest.fixture(autouse=True)
def quiet():
    """Pillow and zipfile warn of some damage; that is no error of the reader."""
    with warnings.catch_warnings(action="ignore"):
        yield


def outcome(kind, folder, content):
    fuzz_samples.empty(folder)
    path = folder / kind.name
    path.write_bytes(kind.stored(content))
    return FUZZ.outcome(kind, path)


def test_damaged_files_end_in_one_clear_error_and_little_memory(tmp_path):
    count = 4 * len(KINDS)
    done = list(FUZZ.fuzz(0, count, 1, tmp_path))
    assert [d for d in done if d[1] not in ("read", "refused")] == []
    assert len(done) == count and {name for name, _ in done} == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_sound_files_are_read_and_a_known_share_of_nearly_sound_ones(name, tmp_path):
    kind, results = KINDS[name], []
    for content in kind.contents:
        assert outcome(kind, tmp_path, content) == "read"
        for at in range(0, len(content), 1 + len(content) * len(kind.contents) // 30):
            damaged = bytearray(content)
            damaged[at] ^= 1
            results.append(outcome(kind, tmp_path, bytes(damaged)))
    assert set(results) <= {"read", "refused"}
    least, most = READ_AFTER_ONE_BIT[name]
    assert least <= results.count("read") / len(results) <= most


def test_the_campaign_notices_every_kind_of_failure(tmp_path):
    """Errors that name no file, other errors, too much memory; and where a signal ended a batch."""

    def fails(read):
        return outcome(fuzz_samples.Kind(read, "x", []), tmp_path, b"content")

    def unnamed(path):
        raise ValueError("damaged")

    assert fails(unnamed).startswith("an error that does not name its file")
    assert fails(lambda path: {}[path]).startswith("KeyError")
    assert "MiB" in fails(lambda path: [bytes(FUZZ.MOST_MEMORY + 1)])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data):
    try:
        for number, value in fields(memoryview(data)):
            assert number > 0
            assert isinstance(value, int) or value.nbytes <= len(data)
    except ValueError:
        pass


@given(st.binary(max_size=200))
def test_any_bytes_are_a_pickle_or_an_error(data):
    try:
        assert read_pickle(memoryview(data)).end <= len(data)
    except ValueError:
        pass
