"""What an image needs is known before it is predicted: whole, in tiles, or refused."""

import math
import os
import struct
import subprocess
import sys
import zlib

import every_kind
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fcn_jax import FCN
from fcn_jax.inference.anysize import AnySize
from fcn_jax.inference.folder import predict_files
from fcn_jax.inference.large_files.strips import write_strips
from fcn_jax.inference.memory import SHARE, Memory, host_memory, patch_bytes
from fcn_jax.inference.predictor import Predictor
from fcn_jax.inference.tiling import TiledPredictor
from fcn_jax.nn.layers import GlobalMean

FAST = {"xla_backend_optimization_level": 0}  # to compile, not to run
NET = FCN(every_kind.Trunk(), 5)
GIB = 2**30


class WithMean(every_kind.Trunk):
    """Looks at the whole image."""

    @nn.compact
    def __call__(self, x, *, train):
        maps = super().__call__(x, train=train)
        return {"scene": GlobalMean(name="scene")(maps["conv2"])}


@pytest.fixture(autouse=True)
def compiled_fast(monkeypatch):
    monkeypatch.setattr("fcn_jax.devices.compiling.compiler_options", lambda: FAST)


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory, in bytes; of the address space too, if it is given."""

    def give(used, reserved=math.inf):
        for name in ("anysize.free_memory", "tiling.free_memory", "memory.host_memory"):
            monkeypatch.setattr(
                f"fcn_jax.inference.{name}", lambda *_: Memory(float(used), float(reserved))
            )

    return give


def plain(images, sizes):
    return images.astype(jnp.float32) / 64 - 2


def noise(h, w, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3)).astype(np.uint8)


# --- what is free ---------------------------------------------------------------------------------


def system(root, **files):
    """A folder with the files of `proc` and `sys`; `__` in a name is a slash."""
    base = {"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:    16777216 kB\n"}
    base |= {"proc/self/cgroup": "", "proc/self/statm": "100 9 9 9 0 50 0\n"}
    base |= {"proc/self/limits": "Max data size   unlimited   unlimited   bytes\n"}
    for name, text in {**base, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return host_memory(root)


def test_free_is_what_the_system_calls_available(tmp_path):
    assert system(tmp_path) == (16 * GIB, math.inf)
    found = host_memory()
    assert 1e6 < found.used < 1e15 and found.reserved > 1e6


@pytest.mark.parametrize("limit", ["address space", "data size"])
def test_free_knows_the_limits_of_the_process(tmp_path, limit):
    page = os.sysconf("SC_PAGE_SIZE")
    text = (
        f"Max cpu time  unlimited  unlimited  seconds\nMax {limit}  {4 * GIB}  unlimited  bytes\n"
    )
    found = system(tmp_path, **{"proc/self/limits": text})
    assert found == (16 * GIB, 4 * GIB - page * (100 if limit == "address space" else 50))


def test_free_knows_what_is_promised_already(tmp_path):
    info = "MemAvailable: 999 kB\nCommitLimit: 1000 kB\nCommitted_AS: 300 kB\n"
    files = {"proc/meminfo": info, "proc/sys/vm/overcommit_memory": "2\n"}
    assert system(tmp_path, **files) == (999 * 1024, 700 * 1024)
    assert system(tmp_path, **{**files, "proc/sys/vm/overcommit_memory": "0\n"})[1] == math.inf


GROUPS = {
    "own group": ("0::/a/b\n", {"a/b/memory.max": 3 * GIB, "a/b/memory.current": GIB}),
    "group around it": ("0::/a/b\n", {"a/memory.max": 3 * GIB, "a/memory.current": GIB}),
    "container": ("0::/\n", {"memory.max": 3 * GIB, "memory.current": GIB}),
    "path of the host": ("0::/host/x\n", {"memory.max": 3 * GIB, "memory.current": GIB}),
    "version 1": (
        "7:cpu:/c\n4:memory:/a/b\n0::/\n",
        {"memory/a/memory.limit_in_bytes": 3 * GIB, "memory/a/memory.usage_in_bytes": GIB},
    ),
    "version 1, container": (
        "4:cpu,memory:/docker/x\n",
        {"memory/memory.limit_in_bytes": 3 * GIB, "memory/memory.usage_in_bytes": GIB},
    ),
    "the tightest": (
        "0::/a/b\n",
        {
            **{"a/memory.max": 9 * GIB, "a/memory.current": GIB, "a/b/memory.max": "max"},
            **{"memory.max": 3 * GIB, "memory.current": GIB},
        },
    ),
    "cached files": (
        "0::/a\n",
        {
            **{"a/memory.max": 3 * GIB, "a/memory.current": 2 * GIB},
            "a/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        },
    ),
    "cached files, version 1": (
        "4:memory:/a\n",
        {
            "memory/a/memory.limit_in_bytes": 3 * GIB,
            "memory/a/memory.usage_in_bytes": 2 * GIB,
            "memory/a/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\n",
        },
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_free_knows_the_limits_of_containers(tmp_path, name):
    groups, files = GROUPS[name]
    files = {f"sys/fs/cgroup/{path}": f"{value}\n" for path, value in files.items()}
    assert system(tmp_path, **{"proc/self/cgroup": groups, **files}) == (2 * GIB, math.inf)


def test_free_without_proc_is_the_machines_memory(tmp_path):
    assert host_memory(tmp_path).used >= host_memory().used


# --- what an image needs --------------------------------------------------------------------------


def test_the_patches_of_convolutions_are_counted():
    def two(x, kernel):
        x = jax.lax.conv(x, kernel, (1, 1), "SAME")
        return jax.lax.cond(x.sum() > 0, lambda x: jax.lax.conv(x, kernel, (1, 1), "VALID"), abs, x)

    jaxpr = jax.make_jaxpr(jax.jit(lambda x, k: jax.lax.conv(x, k, (1, 1), "SAME")))(
        jnp.zeros((1, 2, 10, 20)), jnp.zeros((6, 2, 3, 5))
    )
    assert patch_bytes(jaxpr) == 10 * 20 * 3 * 5 * 2 * 4
    assert patch_bytes(jax.make_jaxpr(jnp.sin)(1.0)) == 0


def test_the_bound_for_large_images_is_above_what_they_take(random_variables, monkeypatch):
    monkeypatch.setattr("fcn_jax.inference.predictor.LARGEST_TILE", 128)
    variables = random_variables(NET)
    bound = Predictor(NET, variables, plain)
    monkeypatch.setattr("fcn_jax.inference.predictor.LARGEST_TILE", 4096)
    exact = Predictor(NET, variables, plain)
    for size, scores in (((256, 256), False), ((64, 512), True), ((129, 700), False)):
        pairs = zip(
            bound.memory(size, scores=scores), exact.memory(size, scores=scores), strict=True
        )
        for most, true in pairs:
            assert true <= most * 1.02 and true > size[0] * size[1] * (4 + 20 * scores)


# --- whole, in tiles, or refused ------------------------------------------------------------------


def test_images_are_tiled_where_memory_is_short_and_this_is_said(random_variables, free):
    said = []
    variables = random_variables(NET)
    image = noise(200, 300)
    whole = Predictor(NET, variables, plain)
    predict = AnySize(NET, variables, plain, say=said.append)
    free(1e12)
    np.testing.assert_array_equal(predict(image), whole(image))
    assert not said
    for budget in ({"used": 2e6}, {"used": 1e12, "reserved": 5e6}):
        free(**budget)
        np.testing.assert_array_equal(predict(image), whole(image))
        assert predict(noise(20, 30)).shape == (20, 30)  # small ones stay whole
        (line,) = said
        assert "200x300 pixels at once take about 0.0 GB" in line and "in tiles of" in line
        said.clear()
    scores = predict.scores(image)
    np.testing.assert_allclose(scores, whole.scores(image), rtol=1e-4, atol=1e-4)


def test_what_fits_not_even_in_tiles_is_refused_with_its_size(random_variables, free):
    free(1e5)
    predict = AnySize(NET, random_variables(NET), plain)
    with pytest.raises(ValueError, match=r"200x300 pixels .*GB.* smallest|at least 64 pixels"):
        predict(noise(200, 300))
    net = FCN(WithMean(), 5)
    predict = AnySize(net, random_variables(net), plain)
    with pytest.raises(ValueError, match="200x300 pixels .* looks at the whole image"):
        predict(noise(200, 300))


def test_auto_takes_the_largest_tile_that_fits(random_variables, free, monkeypatch):
    tiled = TiledPredictor(NET, random_variables(NET), plain, tile="auto")
    asked = []

    def memory_of(size, *, scores=False):
        asked.append(size)
        return Memory(10.0 * size[0] * size[1], 0.0)

    monkeypatch.setattr(tiled._predictor, "memory", memory_of)
    monkeypatch.setattr(tiled._predictor, "bytes_of_pixel", lambda **_: 0)
    free(1e12)
    assert tiled.tile == 4096
    free(80e6)
    assert tiled.tile == 1984  # 2000 ** 2 pixels of 10 bytes are half of it
    assert tiled.tile == 1984 and len(asked) == 4  # and stays
    free(4e5)
    assert tiled.tile == 128
    free(1e4)
    with pytest.raises(ValueError, match="at least 64 pixels to a side: free .*, or give tile=64"):
        tiled.tile_for((100, 100))


def test_a_tile_that_does_not_fit_is_refused(random_variables, free):
    tiled = TiledPredictor(NET, random_variables(NET), plain, tile=512)
    free(1e12)
    assert tiled.tile == 512
    free(1e6)
    with pytest.raises(ValueError, match="tiles of 512 pixels: .* at least 64 pixels .*auto"):
        tiled(noise(600, 600))
    assert tiled(noise(30, 20)).shape == (30, 20)  # in less than a tile


def test_wide_images_get_lower_tiles(random_variables, free):
    tiled = TiledPredictor(NET, random_variables(NET), plain, tile="auto")
    free(1e9)
    narrow = tiled.tile_for((5000, 5000))
    assert tiled.tile_for((5000, 500_000)) < narrow
    assert 500_000 * tiled.tile * 4 < SHARE * 1e9


def test_a_short_memory_stops_no_other_image(tmp_path, random_variables, free):
    for name, size in {"a": (20, 30), "b": (900, 900), "c": (30, 20)}.items():
        Image.fromarray(noise(*size)).save(tmp_path / f"{name}.png")
    net = FCN(WithMean(), 5)
    free(6e6)
    predict = AnySize(net, random_variables(net), plain)
    paths = sorted(tmp_path.glob("*.png"))
    written, (failure,) = predict_files(predict, paths, tmp_path / "out")
    assert [path.stem for path in written] == ["a", "c"]
    assert failure.path.stem == "b" and "900x900 pixels" in failure.reason


@pytest.mark.parametrize(
    "error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: x")]
)
def test_an_image_that_runs_out_of_memory_stops_no_other_image(tmp_path, error):
    for name in "ab":
        Image.fromarray(noise(20, 30)).save(tmp_path / f"{name}.png")
    errors = [error]

    def predict(image):
        if errors:
            raise errors.pop()
        return image[..., 0]

    paths = sorted(tmp_path.glob("*.png"))
    written, (failure,) = predict_files(predict, paths, tmp_path / "out")
    assert list(written) == paths[1:] and "memory" in failure.reason and "--tile" in failure.reason


# --- images larger than Pillow opens --------------------------------------------------------------


def test_pillows_limit_is_not_ours(tmp_path, monkeypatch, random_variables, free):
    """What counts is the memory: PNG and TIFF in strips, other formats if memory allows."""
    image = noise(90, 70)
    predict = AnySize(NET, random_variables(NET), plain)
    for name in ("a.png", "a.tif", "a.jpg", "a.bmp"):
        Image.fromarray(image).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr("fcn_jax.inference.large_files.strips.STRIP_BYTES", 600)
    paths = sorted(tmp_path.glob("a.*"))
    free(1e12)
    written, failures = predict_files(predict, paths, tmp_path / "out")
    assert list(written) == paths and not failures
    # The pixels are 19 kB, and 100 kB while they are decoded.
    monkeypatch.setattr("fcn_jax.inference.memory.host_memory", lambda: Memory(1.2e5, 1e12))
    tiled = TiledPredictor(NET, random_variables(NET), plain, tile=64)
    for path in paths:
        if path.suffix in (".png", ".tif"):
            assert tiled.predict_file(path, tmp_path / "label.png").exists()
        else:
            with pytest.raises(ValueError, match="90x70 pixels.*strip by strip.*memory.*PNG"):
                tiled.predict_file(path, tmp_path / "label.png")


def test_a_header_that_claims_much_is_streamed_or_refused(tmp_path, random_variables, free):
    """60,000 x 60,000 pixels of nothing."""
    free(4e9)
    claims = {}
    write_strips(tmp_path / "small.png", (4, 4), [noise(4, 4)])
    small = (tmp_path / "small.png").read_bytes()
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    claims["a.png"] = small[:8] + struct.pack(">I", 13) + header
    claims["a.png"] += struct.pack(">I", zlib.crc32(header)) + small[33:]
    Image.fromarray(noise(4, 4)).save(tmp_path / "b.bmp")
    bitmap = bytearray((tmp_path / "b.bmp").read_bytes())
    bitmap[18:26] = struct.pack("<ii", 60000, 60000)
    claims["b.bmp"] = bytes(bitmap)
    for name, content in claims.items():
        (tmp_path / name).write_bytes(content)
    predict = AnySize(NET, random_variables(NET), plain)
    paths = [tmp_path / name for name in claims]
    _, failures = predict_files(predict, paths, tmp_path / "out")
    streamed, refused = (failure.reason for failure in failures)
    assert "damaged or cut short" in streamed and "60000" in streamed
    assert "60,000x60,000 pixels" in refused and "57.6 GB of memory" in refused


# --- a real limit ---------------------------------------------------------------------------------

LIMITED = """
import re, resource, sys
from pathlib import Path
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import every_kind
from fcn_jax import FCN
from fcn_jax.inference.anysize import AnySize
from fcn_jax.inference.folder import predict_files
from fcn_jax.training.state import initial_variables

net = FCN(every_kind.Trunk(), 5)
variables = initial_variables(net, 0)
predict = AnySize(net, variables, lambda x, sizes: x.astype("float32") / 64 - 2, say=print)
predict(np.zeros((9, 9, 3), np.uint8))
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + 700_000_000, -1))
folder = Path(sys.argv[2])
written, failures = predict_files(predict, sorted(folder.glob("*.png")), folder / "out")
print("written", len(written), "failures", failures)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ulimit -v is Linux's")
def test_a_limit_of_the_address_space_is_kept(tmp_path):
    """Without tiles this ends in std::bad_alloc, and the small image has no label."""
    small = noise(90, 100).repeat(30, 0).repeat(30, 1)  # 2,700 x 3,000
    Image.fromarray(small).save(tmp_path / "a_large.png", compress_level=1)
    Image.fromarray(small[:50, :60]).save(tmp_path / "b_small.png")
    (tmp_path / "run.py").write_text(LIMITED)
    folder = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, str(tmp_path / "run.py"), folder, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "written 2 failures []" in done.stdout and "in tiles of" in done.stdout
    with Image.open(tmp_path / "out" / "a_large.png") as label:
        assert label.size == (3000, 2700)
