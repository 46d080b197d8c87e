"""Whole data sets: downloaded, unpacked and laid out as the readers expect."""

import re
from pathlib import Path

import numpy as np
import pytest
from download_server import names, quiet, serving
from download_sets import CONTENTS, LABEL, SCENES, readers, small

from fcn_jax.data import DataError
from fcn_jax.prepare.download import install as install_module
from fcn_jax.prepare.download.install import install
from fcn_jax.prepare.download.table import SETS


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


@pytest.fixture
def said():
    return quiet()


@pytest.mark.parametrize("name", [s.name for s in SETS])
def test_the_readers_read_what_was_installed(server, said, tmp_path, name):
    install(small(server, name), tmp_path / "new" / "data", report=said)
    for source in readers(name, tmp_path / "new" / "data"):
        assert len(source) > 0
        for i in range(len(source)):
            example = source[i]
            assert np.asarray(example.image).shape[:2] == (6, 8)
            expected = LABEL - np.uint8(1) if name in ("siftflow", "nyudv2") else LABEL
            assert np.array_equal(example.label, expected)
    assert said.text().count(f"{name}, terms of use: ") == 1


def test_a_complete_set_is_left_alone(server, said, tmp_path):
    chosen = small(server, "pascal_context")
    install(chosen, tmp_path, report=said)
    before = len(server.requests)
    for path in (tmp_path / "downloads").iterdir():
        path.unlink()
    (tmp_path / "downloads").rmdir()
    install(chosen, tmp_path, report=said)
    assert len(server.requests) == before and not (tmp_path / "downloads").exists()
    assert said.text().count("complete, left alone") == 2


def test_a_data_set_moved_to_another_place_is_recognised(server, said, tmp_path):
    chosen = small(server, "voc2012")
    install(chosen, tmp_path, report=said)
    (tmp_path / "VOCdevkit" / "VOC2012").rename(tmp_path / "VOC2012")
    before = len(server.requests)
    install(chosen, tmp_path, report=said)
    assert len(server.requests) == before and names(tmp_path / "VOCdevkit") == []


def test_a_data_set_without_its_lists_gets_only_these(server, said, tmp_path):
    chosen = small(server, "nyudv2")
    install(chosen, tmp_path, report=said)
    (tmp_path / "nyud" / "val.txt").write_text("mine\n")
    (tmp_path / "nyud" / "test.txt").unlink()
    server.requests.clear()
    (tmp_path / "downloads" / "nyud-test.txt").unlink()
    install(chosen, tmp_path, report=said)
    assert [path for path, _ in server.requests] == ["/nyud-test.txt"]
    assert (tmp_path / "nyud" / "test.txt").read_text() == "5003\n"
    assert (tmp_path / "nyud" / "val.txt").read_text() == "mine\n"


def test_an_incomplete_folder_is_not_touched(server, said, tmp_path):
    mine = tmp_path / "sift-flow" / "SemanticLabels" / SCENES / "mine.mat"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"SemanticLabels/\*/\*.mat: 1 of 3.*Move .*sift-flow away"):
        install(small(server, "siftflow"), tmp_path, report=said)
    assert mine.read_bytes() == b"mine"


def test_all_files_to_fetch_by_hand_are_named_at_once(server, said, tmp_path):
    chosen = small(server, "siftflow")
    del server.files["/sift-flow-test.txt"], server.files["/SiftFlowDataset.zip"]
    with pytest.raises(DataError, match="404 Not Found") as raised:
        install(chosen, tmp_path, report=said)
    (note,) = raised.value.__notes__
    assert note.splitlines() == [
        "siftflow still needs",
        f"  {tmp_path}/downloads/sift-flow-test.txt from {server.url}/sift-flow-test.txt",
        f"  {tmp_path}/downloads/SiftFlowDataset.zip from {server.url}/SiftFlowDataset.zip",
    ]
    for file in ("sift-flow-test.txt", "SiftFlowDataset.zip"):
        (tmp_path / "downloads" / file).write_bytes(CONTENTS[file])
    install(chosen, tmp_path, report=said)
    assert readers("siftflow", tmp_path)[0].ids == ("a", "b")


def test_the_table_is_consistent_and_documented():
    files, document = [], (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for data_set in SETS:
        assert f"`{data_set.name}`" in document
        for folder in data_set.folders:
            assert f"`{folder.places[0]}`" in document
            assert folder.holds[0][1] > 0 and folder.unpacked > 0 and folder.members > 0
            files += [folder.archive, *(file for _, file in folder.lists)]
    assert len({s.name for s in SETS}) == len(SETS) == 6
    for file in files:
        assert all(re.fullmatch(r"https?://\S+", url) for url in file.urls) and file.bytes > 0
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|", file.checksum or "")
        same = [other for other in files if other.name == file.name]
        assert all(other == file for other in same)


def test_the_command_knows_every_data_set(monkeypatch, tmp_path):
    import tyro

    from fcn_jax.commands import download as command

    installed = []
    monkeypatch.setattr(install_module, "install", lambda s, data: installed.append((s.name, data)))
    for name in [s.name for s in SETS] + ["all"]:
        tyro.cli(command.download, args=[name, "--data", str(tmp_path)])
    assert [name for name, _ in installed] == 2 * [s.name for s in SETS]
    assert {data for _, data in installed} == {tmp_path}

    def refuse(data_set, data):
        raise DataError("cannot be fetched")

    monkeypatch.setattr(install_module, "install", refuse)
    with pytest.raises(SystemExit) as stopped:
        command.download("sbd")
    assert stopped.value.code == 1
