import importlib.util
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.weights.foreign.pickled import read_pickle
from fcn_jax.weights.foreign.wire import fields

SCRIPT = Path(__file__).parents[1] / "benchmarks/fuzz_readers.py"


def test_damaged_files_end_in_one_clear_error_and_little_memory(tmp_path):
    spec = importlib.util.spec_from_file_location("fuzz_readers", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    counts = script.fuzz(400, 1, tmp_path)
    assert counts.total() == 400
    for name in script.samples():  # neither everything nor nothing gets past the first bytes
        assert counts[f"{name}: refused"] > 10
    assert sum(n for name, n in counts.items() if name.endswith("read")) > 10


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
