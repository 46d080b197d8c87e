"""Folders of depth images become folders of HHA images; the command line."""

import os

import numpy as np
import pytest
import tyro
from hha_rooms import SIZE, SMALL, room
from PIL import Image

from fcn_jax.commands.hha import hha as hha_command
from fcn_jax.data.readers import read_depth
from fcn_jax.prepare.hha import hha, write_hha


def write_depth(path, depth, unit=0.001):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(depth / unit).astype(np.uint16)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    depths = {"a": room(5)[0], "b": room(15)[0], "c": np.full(SIZE, 2.0)}
    for name, depth in depths.items():
        write_depth(tmp_path / "depth" / f"{name}.png", depth)
    return tmp_path / "depth"


def pixels(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def test_a_folder_becomes_a_folder_once(folder, tmp_path):
    out = tmp_path / "hha"
    out.mkdir()
    written = write_hha([folder, out / ".." / "depth" / "a.png"], out, camera=SMALL)
    assert [path.name for path in written.made] == ["a.png", "b.png", "c.png"]
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png", "c.png"]
    for path in written.made:
        expected = hha(read_depth(folder / path.name)[..., 0] / 1000, SMALL)
        np.testing.assert_array_equal(pixels(path), expected)
    (folder / ".1.a.png").write_bytes(b"")  # another program is still writing this one
    stamps = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = write_hha([folder], out, camera=SMALL)
    assert not again.made and not again.failures and len(again.kept) == 3
    assert stamps == {path: path.stat().st_mtime_ns for path in out.iterdir()}


def test_a_file_that_is_cut_off_or_of_another_origin_is_made_again(folder, tmp_path):
    out = tmp_path / "hha"
    whole = write_hha([folder], out, camera=SMALL).made[0].read_bytes()
    (out / "a.png").write_bytes(whole[: len(whole) * 2 // 3])
    write_depth(folder / "b.png", room(10)[0])
    written = write_hha([folder], out, camera=SMALL)
    assert [path.name for path in written.made] == ["a.png", "b.png"]
    assert (out / "a.png").read_bytes() == whole
    assert len(write_hha([folder], out, camera=SMALL, unit=0.002).made) == 3
    assert (pixels(out / "c.png")[..., 0] == 78).all()  # 4 m now
    assert len(write_hha([folder], out, camera=SMALL, unit=0.002, raw=folder).made) == 3
    assert len(write_hha([folder], out, camera=SMALL, unit=0.002, raw=folder).kept) == 3
    assert len(write_hha([folder], out, camera=SMALL.cropped(1, 0)).made) == 3
    assert len(write_hha([folder], out, camera=SMALL.cropped(1, 0), overwrite=True).made) == 3


def test_a_file_of_another_program_is_left_alone(folder, tmp_path):
    theirs = tmp_path / "hha" / "a.png"
    theirs.parent.mkdir()
    Image.new("RGB", (80, 60)).save(theirs)
    before = theirs.read_bytes()
    written = write_hha([folder], theirs.parent, camera=SMALL)
    assert [failure.path.name for failure in written.failures] == ["a.png"]
    assert "overwrite" in written.failures[0].reason and theirs.read_bytes() == before
    assert len(write_hha([folder], theirs.parent, camera=SMALL, overwrite=True).made) == 3


def test_each_bad_file_is_named_and_the_others_are_made(folder, tmp_path):
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:150])
    Image.new("L", (80, 60)).save(folder / "eight.png")
    write_depth(folder / "nothing.png", np.zeros(SIZE))
    (tmp_path / "empty").mkdir()
    paths = [folder, tmp_path / "empty", tmp_path / "absent.png"]
    written = write_hha(paths, tmp_path / "hha", camera=SMALL)
    reasons = {failure.path.name: failure.reason for failure in written.failures}
    assert reasons.keys() == {"cut.png", "eight.png", "nothing.png", "empty", "absent.png"}
    assert "cut off" in reasons["cut.png"] and "16-bit" in reasons["eight.png"]
    assert "missing" in reasons["nothing.png"] and "no such file" in reasons["absent.png"]
    assert len(written.made) == 3


def test_raw_depth_says_what_was_measured(folder, tmp_path):
    raw = room(5)[0]
    raw[5:30, 5:30] = 0
    for name in "abc":
        write_depth(tmp_path / "raw" / f"{name}.png", raw if name == "a" else raw[1:])
    written = write_hha([folder], tmp_path / "hha", camera=SMALL, raw=tmp_path / "raw")
    assert len(written.made) == 1 and "size (60, 80)" in written.failures[0].reason
    angles = pixels(written.made[0])[..., 2]
    hole = np.zeros(SIZE, bool)
    hole[7:28, 7:28] = True  # windows with at most one line of pixels
    hole[[7, 7, 27, 27], [7, 27, 7, 27]] = False  # two lines make a plane
    np.testing.assert_array_equal(angles == 218, hole)


def test_colliding_names_and_wrong_arguments_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="replace the depth"):
        write_hha([folder], folder, camera=SMALL)
    write_depth(tmp_path / "other" / "a.png", room()[0])
    with pytest.raises(ValueError, match="both become"):
        write_hha([folder, tmp_path / "other"], tmp_path / "hha", camera=SMALL)
    for wrong in ({"unit": 0.0}, {"workers": 0}):
        with pytest.raises(ValueError, match="positive"):
            write_hha([folder], tmp_path / "hha", camera=SMALL, **wrong)
    with pytest.raises(ValueError, match="at least one"):
        write_hha([], tmp_path / "hha")


def test_two_processes_give_the_same_files(folder, tmp_path):
    one = write_hha([folder], tmp_path / "one", camera=SMALL)
    two = write_hha([folder], tmp_path / "two", camera=SMALL, workers=2)
    assert [p.read_bytes() for p in one.made] == [p.read_bytes() for p in two.made]


def test_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    out = tmp_path / "hha"
    camera = ["--camera", *map(str, (SMALL.fx, SMALL.fy, SMALL.cx, SMALL.cy))]
    with pytest.raises(SystemExit) as end:
        tyro.cli(hha_command, args=[str(folder), "--out", str(out), *camera])
    assert end.value.code == 0 and "3 made and 0 kept" in capsys.readouterr().out
    expected = hha(read_depth(folder / "c.png")[..., 0] / 1000, SMALL)
    np.testing.assert_array_equal(pixels(out / "c.png"), expected)
    with pytest.raises(SystemExit) as end:
        tyro.cli(hha_command, args=[str(folder), "--out", str(tmp_path / "again")])
    assert end.value.code == 1
    assert capsys.readouterr().err.count("expected depth of NYUDv2") == 3
    with pytest.raises(SystemExit) as end:
        tyro.cli(hha_command, args=[str(folder), "--out", str(folder)])
    assert end.value.code == 1 and "error:" in capsys.readouterr().err
