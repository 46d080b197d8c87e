from pathlib import Path

import foreign_files
import numpy as np
import pytest

from fcn_jax.weights.foreign.caffemodel import read_caffemodel

REAL = Path(__file__).parents[2] / "shared/data/caffemodels"


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("v1", [True, False])
def test_every_way_of_writing_a_blob_is_read(v1, packed, double, tmp_path):
    rng = np.random.default_rng(0)
    blobs = {"conv1": [rng.normal(size=(4, 3, 5, 5)), rng.normal(size=4)], "ip": [np.ones((2, 7))]}
    blobs = {name: [a.astype(np.float32) for a in arrays] for name, arrays in blobs.items()}
    content = foreign_files.caffemodel(blobs, v1=v1, packed=packed, double=double)
    got = read_caffemodel(write(tmp_path / "a.caffemodel", content))
    assert list(got) == ["conv1", "ip"]
    for name, arrays in blobs.items():
        for mine, theirs in zip(got[name], arrays, strict=True):
            assert mine.dtype == np.float32
            assert mine.shape == ((1,) * (4 - theirs.ndim) if v1 else ()) + theirs.shape
            np.testing.assert_array_equal(mine.reshape(theirs.shape), theirs)


def test_numbers_of_one_blob_may_come_in_pieces(tmp_path):
    shape = foreign_files.field(7, foreign_files.field(1, foreign_files.varint(200)))
    numbers = np.arange(200, dtype="<f4")
    tag = foreign_files.varint(5 << 3 | 5)
    single = b"".join(tag + n.tobytes() for n in numbers[3:180])
    pieces = foreign_files.field(5, numbers[:3].tobytes()) + single
    pieces += foreign_files.field(5, numbers[180:].tobytes())
    layer = foreign_files.field(1, b"a") + foreign_files.field(7, shape + pieces)
    path = write(tmp_path / "a.caffemodel", foreign_files.field(100, layer))
    np.testing.assert_array_equal(read_caffemodel(path)["a"][0], numbers)


def protobuf_net():
    """NetParameter as protobuf's own library knows it, from the numbers in caffe.proto."""
    protobuf = pytest.importorskip("google.protobuf", reason="compares with protobuf's reader")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    del protobuf
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="c", syntax="proto2")

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for label, number, kind, repeated in fields:
            one = made.field.add(name=label, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                one.type, one.type_name = 11, f".c.{kind}"
            else:
                one.type = kind
            one.options.packed = repeated and kind in (1, 2, 3)

    message("Shape", ("dim", 1, 3, True))
    old = [(name, i, 5, False) for i, name in enumerate(("n", "c", "h", "w"), 1)]
    message("Blob", *old, ("data", 5, 2, True), ("shape", 7, "Shape", False))
    message("Old", ("name", 4, 9, False), ("blobs", 6, "Blob", True))
    message("New", ("name", 1, 9, False), ("blobs", 7, "Blob", True))
    message("Net", ("layers", 2, "Old", True), ("layer", 100, "New", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("c.Net"))


@pytest.mark.parametrize(
    ("name", "layers", "numbers"),
    [
        ("V1_cifar10_quick_iter_5000", 5, 145_578),
        ("V1_lenet_iter_10000", 4, 431_080),
        ("V2_enet_deconvolution", 244, 375_441),
        ("V2_lenet_iter_10000", 4, 431_080),
    ],
)
def test_real_files_hold_what_protobuf_reads(name, layers, numbers):
    path = REAL / f"{name}.caffemodel"
    if not path.exists():
        pytest.skip("the trained Caffe networks are not here")
    got = read_caffemodel(path)
    assert (len(got), sum(a.size for arrays in got.values() for a in arrays)) == (layers, numbers)
    net = protobuf_net().FromString(path.read_bytes())
    want = {x.name: x.blobs for x in [*net.layers, *net.layer] if x.blobs}
    assert list(got) == list(want)
    for layer, blobs in want.items():
        for mine, theirs in zip(got[layer], blobs, strict=True):
            old = (theirs.n, theirs.c, theirs.h, theirs.w)
            assert mine.shape == (tuple(theirs.shape.dim) or old)
            np.testing.assert_array_equal(mine.ravel(), np.array(theirs.data, np.float32))


def test_a_trained_lenet_is_the_same_in_both_containers():
    paths = [REAL / f"V{v}_lenet_iter_10000.caffemodel" for v in (1, 2)]
    if not all(path.exists() for path in paths):
        pytest.skip("the trained Caffe networks are not here")
    first, second = map(read_caffemodel, paths)
    assert list(first) == list(second)
    assert {k: [a.size for a in v] for k, v in first.items()} == {
        k: [a.size for a in v] for k, v in second.items()
    }


def test_a_file_costs_no_memory_until_a_blob_is_used(tmp_path):
    kernel = np.zeros((1 << 23,), np.float32)  # 32 MiB
    path = write(tmp_path / "a.caffemodel", foreign_files.caffemodel({"big": [kernel]}))
    del kernel
    with foreign_files.little_memory():
        assert read_caffemodel(path)["big"][0].sum() == 0


def test_damaged_files(tmp_path):
    rng = np.random.default_rng(0)
    whole = foreign_files.caffemodel({"a": [rng.normal(size=(2, 3))], "b": [np.ones(4)]})
    path = tmp_path / "net.caffemodel"
    cuts = 0
    for length in range(len(whole)):
        write(path, whole[:length])
        try:  # a cut between two layers leaves a sound file of fewer layers
            assert list(read_caffemodel(path)) == ["a"]
            cuts += 1
        except ValueError as error:
            assert "net.caffemodel" in str(error)
    assert cuts == 1
    f, v = foreign_files.field, foreign_files.varint
    layer, shape = f(1, b"a"), f(7, f(1, v(2) + v(3)))
    four = np.ones(4, "<f4").tobytes()
    huge = v(100 << 3 | 2) + v(1 << 32) + b"x" * 90
    for content, message in (
        (b"", "empty file"),
        (b"hello, I am a text\n", "cannot be read as a .caffemodel"),
        (b"layer { name: 'conv1_1' }", "cannot be read as a .caffemodel"),
        (huge, "4294967296 bytes announced at byte 0, 90 left"),
        (f(100, layer + f(7, f(7, f(1, v(1 << 62))) + f(5, four))), "blob 0 of layer 'a': 1 axes"),
        (f(100, layer + f(7, shape + f(5, four))), "2 axes .2, 3., and 4 numbers"),
        (f(100, layer + f(7, shape)), "2 axes .2, 3., and 0 numbers"),
        (f(100, layer + f(7, shape + f(5, four[:-1]))), "buffer size must be a multiple"),
        (f(100, layer + f(7, f(7, f(1, v(1) * 33)) + f(5, four[:4]))), "33 axes"),
        (f(100, f(1, b"a") + f(7, 3)), "a number where a name"),
        (f(100, f(1, b"\xff") + f(7, f(5, four))), "can't decode"),
        (f(100, layer + f(7, f(5, four[:4]))) * 2, "two layers are called a"),
        (f(2, f(1, b"x") + f(4, b"a")), "layers of 2013's format"),
        (f(100, layer), "holds no layer with arrays"),
        (v(100 << 3 | 3), "unknown kind 3 at byte 0"),
        (b"\x80" * 11, "more than 64 bits"),
        (b"\x02\x00", "a field without a number"),
    ):
        write(path, content)
        with foreign_files.little_memory(), pytest.raises(ValueError, match=message) as caught:
            read_caffemodel(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match="absent.caffemodel: there is no such"):
        read_caffemodel(tmp_path / "absent.caffemodel")
