"""One walker of folders: for training, prediction and checks (docs/images.md)."""

import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import DataError, Folders, check_labels
from fcn_jax.data.lists import read_list
from fcn_jax.data.walk import image_endings, walk
from fcn_jax.inference.folder import predict_files

NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5), value, np.uint8)).save(path)
    return path


def pair(root, name, end=".png"):
    """An image and its label."""
    save(root / "images" / f"{name}{end}")
    save(root / "labels" / f"{name}.png", 1)


def source(root, **options):
    return Folders(num_classes=2, **options).at(root)


def predict(paths, out, **options):
    return predict_files(lambda i: i[..., 0] // 255, paths, out, overlay=False, **options)


def below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_hidden_parts_are_left_out_and_counted(tmp_path):
    pair(tmp_path, "x")
    for name in (".ipynb_checkpoints/x", ".thumbnails/normal/y", "deep/.cache/z", "._x", ".w"):
        save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "images" / "notes.txt").write_text("")
    (tmp_path / "images" / "README").write_text("")
    own = source(tmp_path)
    assert own.ids == ("x",)
    (line,) = own.left_out
    assert str(tmp_path / "images") in line
    assert "5 hidden" in line and "1 ending in .txt" in line and "1 without an ending" in line
    said = []
    written, failures = predict([tmp_path / "images"], tmp_path / "out", say=said.append)
    assert [path.name for path in written] == ["x.png"] and not failures and said == [line]


def test_the_given_folder_may_be_hidden_itself(tmp_path):
    pair(tmp_path / ".data", "x")
    assert source(tmp_path / ".data").ids == ("x",)
    assert len(predict([tmp_path / ".data" / "images"], tmp_path / "out").written) == 1


def test_links_are_followed_without_looping(tmp_path):
    pair(tmp_path / "pool", "a")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "sub").symlink_to(tmp_path / "pool" / folder)
        (tmp_path / "pool" / folder / "up").symlink_to(tmp_path / folder)  # a loop of two
        (tmp_path / folder / "self").symlink_to(tmp_path / folder / "self")
        (tmp_path / folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    save(tmp_path / "one.png")
    (tmp_path / "images" / "b.png").symlink_to(tmp_path / "one.png")
    save(tmp_path / "labels" / "b.png", 1)
    own = source(tmp_path)
    assert own.ids == ("b", "sub/a")
    assert all("1 links to a folder that they lie in" in line for line in own.left_out)
    assert all("2 broken links" in line for line in own.left_out)
    written, _ = predict([tmp_path / "images"], tmp_path / "out")
    assert below(tmp_path / "out") == ["b.png", "predictions.csv", "sub/a.png"]
    assert len(written) == 2


def test_a_pipe_is_left_out_or_refused_and_never_waited_for(tmp_path):
    pair(tmp_path, "x")
    pipe = tmp_path / "images" / "pipe.png"
    os.mkfifo(pipe)
    own = source(tmp_path)
    assert own.ids == ("x",) and "1 neither files nor folders" in own.left_out[0]
    written, failures = predict([tmp_path / "images", pipe], tmp_path / "out")
    assert len(written) == 1
    (failure,) = failures
    assert failure.path == pipe and "found a folder, pipe or device" in failure.reason
    with pytest.raises(DataError, match=r"pipe\.png: expected a file"):
        read_list(pipe)


def test_every_ending_that_pillow_decodes_is_read(tmp_path):
    ends = (".jfif", ".jpe", ".avif", ".jp2", ".j2k", ".gif", ".tga", ".pgm", ".ppm", ".JPEG")
    ends += (".qoi", ".dib", ".pcx", ".sgi")
    kinds = Image.registered_extensions()  # older Pillows do not write AVIF and QOI
    ends = [end for end in ends if kinds.get(end.lower()) in Image.SAVE]
    assert len(ends) > 10
    for n, end in enumerate(ends):
        picture = Image.fromarray(np.full((8, 8, 3), 9 * n, np.uint8))
        (tmp_path / "images").mkdir(exist_ok=True)
        picture.save(tmp_path / "images" / f"x{n}{end}")
        (tmp_path / "labels").mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / "labels" / f"x{n}.png")
    own = source(tmp_path)
    assert len(own) == len(ends) and not own.left_out
    assert len(check_labels(own, decode_images=True).sizes) == len(ends)
    written, failures = predict([tmp_path / "images"], tmp_path / "out")
    assert len(written) == len(ends) and not failures
    # Not what Pillow opens by another program or not at all.
    assert not image_endings() & {".h5", ".grib", ".eps", ".mpg", ".pdf", ".txt", ".json", ".npy"}


def test_the_walk_is_sorted_whatever_the_disk_gives(tmp_path):
    names = ["b/a.png", "a.png", "b.png", "B/z.png", "a/c/d.png"]
    for name in names:
        save(tmp_path / name)
    found = walk(tmp_path, {".png"}).files
    assert found == sorted(tmp_path / name for name in names)


# --- output of predict ---------------------------------------------------------------------------


def test_a_flat_folder_keeps_its_names_and_subfolders_are_mirrored(tmp_path):
    for name in ("a", "b", "day/a", "day/night/a"):
        save(tmp_path / "in" / f"{name}.png")
    predict([tmp_path / "in"], tmp_path / "out")
    assert below(tmp_path / "out") == [
        *("a.png", "b.png", "day/a.png", "day/night/a.png", "predictions.csv")
    ]


def test_several_folders_get_a_subfolder_each_where_names_clash(tmp_path):
    for camera, value in (("cam1", 0), ("cam2", 255), ("other/cam1", 255)):
        save(tmp_path / camera / "0001.png", value)
        save(tmp_path / camera / "sub" / "0002.png", value)
    cameras = [tmp_path / name for name in ("cam1", "cam2", "other/cam1")]
    written, failures = predict(cameras, tmp_path / "out")
    assert not failures and len(set(written.values())) == len(written) == 6
    assert below(tmp_path / "out") == [
        *("cam1/0001.png", "cam1/sub/0002.png", "cam1_2/0001.png", "cam1_2/sub/0002.png"),
        *("cam2/0001.png", "cam2/sub/0002.png", "predictions.csv"),
    ]
    for image, label in written.items():
        with Image.open(image) as stored, Image.open(label) as found:
            assert (np.asarray(found) == np.asarray(stored) // 255).all(), image
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert lines[0] == "image,label" and len(lines) == 7
    assert f"{tmp_path / 'cam2' / '0001.png'},cam2/0001.png" in lines


def test_folders_without_equal_names_share_the_output(tmp_path):
    save(tmp_path / "cam1" / "1.png")
    save(tmp_path / "cam2" / "2.png")
    save(tmp_path / "3.png")
    predict([tmp_path / "cam1", tmp_path / "cam2", tmp_path / "3.png"], tmp_path / "out")
    assert below(tmp_path / "out") == ["1.png", "2.png", "3.png", "predictions.csv"]


def test_files_of_one_name_get_different_labels(tmp_path):
    files = [save(tmp_path / name) for name in ("a/x.png", "b/x.png", "c/x.bmp", "c/X.gif")]
    written, _ = predict([*files, files[0]], tmp_path / "out")
    names = [label.name for label in written.values()]
    assert names == ["x.png", "x_png.png", "x_bmp.png", "X_gif.png"]


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image", "label"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_names_in_other_unicode_spelling_match(tmp_path, image, label):
    save(tmp_path / "images" / "a" / f"{image}.png")
    save(tmp_path / "labels" / "a" / f"{label}.png", 1)
    own = source(tmp_path)
    assert own.ids == (f"a/{image}",) and (own[0].label == 1).all()
    for spelled in (NFC, NFD):
        (tmp_path / "list.txt").write_text(f"a/{spelled}\n", "utf-8")
        assert source(tmp_path, split="list.txt").ids == own.ids


def test_names_that_are_not_utf_8_match_or_are_named_legibly(tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9")
    for n in ("a", "b", name):
        pair(tmp_path, n)
    own = source(tmp_path)
    assert own.ids == ("a", "b", r"caf\xe9")
    assert (own[2].label == 1).all()
    parts = [source(tmp_path, held_out=held).ids for held in (True, False)]
    assert sorted(parts[0] + parts[1]) == list(own.ids)
    written, _ = predict([tmp_path / "images"], tmp_path / "out")
    assert (tmp_path / "out" / f"{name}.png") in written.values()
    assert r"caf\xe9.png" in (tmp_path / "out" / "predictions.csv").read_text("utf-8")
    (tmp_path / "list.txt").write_bytes(b"caf\xe9\na\n")
    assert source(tmp_path, split="list.txt").ids == (r"caf\xe9", "a")
    (tmp_path / "labels" / f"{name}.png").unlink()
    with pytest.raises(DataError, match=r"1 with no label.*caf\\xe9"):
        len(source(tmp_path))
    (tmp_path / "images" / f"{name}.png").write_bytes(b"")
    (failure,) = predict([tmp_path / "images"], tmp_path / "out").failures
    failure.reason.encode("utf-8")


def test_an_exact_name_comes_before_another_spelling(tmp_path):
    for value, name in enumerate((NFC, NFD)):
        save(tmp_path / "images" / f"{name}.png", value)
        save(tmp_path / "labels" / f"{name}.png", value)
    if len(os.listdir(tmp_path / "images")) == 1:
        pytest.skip("this disk takes both spellings for one name")
    own = source(tmp_path)
    assert sorted(own.ids) == sorted((NFC, NFD))
    assert all((e.label == e.image[..., 0]).all() for e in own)


# --- lists ---------------------------------------------------------------------------------------

LISTS = {
    "utf-8": b"a\nb.c\nd/e\n",
    "utf-8 with a mark": "\ufeffa\nb.c\nd/e\n".encode(),
    "utf-16": "a\nb.c\nd/e\n".encode("utf-16"),
    "utf-16, big end first": b"\xfe\xff" + "a\nb.c\nd/e\n".encode("utf-16-be"),
    "utf-16 without a mark": "a\r\nb.c\r\nd/e".encode("utf-16-le"),
    "crlf and blank lines": b"\r\na\r\n\r\n  b.c \r\nd/e\r\n\r\n",
    "old Mac": b"a\rb.c\rd/e",
    "endings": b"a.png\nb.c.PNG\nd/e.jpg\n",
    "dots": b"./a\n./b.c.png\nd/./e.jpg\n",
    "below the data folder": b"images/a.png\nimages/b.c.PNG\n./images/d/e\n",
}


@pytest.fixture
def listed(tmp_path):
    pair(tmp_path, "a")
    save(tmp_path / "images" / "b.c.PNG")
    save(tmp_path / "labels" / "b.c.png", 1)
    pair(tmp_path, "d/e", ".jpg")
    return tmp_path


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_many_editors_are_read(listed, kind):
    (listed / "list.txt").write_bytes(LISTS[kind])
    assert source(listed, split="list.txt").ids == ("a", "b.c", "d/e")


def test_lists_may_hold_whole_paths(listed):
    files = [listed / "images" / name for name in ("a.png", "b.c.PNG", "d/e.jpg")]
    (listed / "list.txt").write_text("\n".join(map(str, files)))
    assert source(listed, split="list.txt").ids == ("a", "b.c", "d/e")
    (listed / "link").symlink_to(listed)
    assert source(listed / "link", split="list.txt").ids == ("a", "b.c", "d/e")


@pytest.mark.parametrize("line", ["x", "a.jpg.bak", "a 1", "a,labels/a.png", "/a.png", "b"])
def test_a_line_that_names_nothing_is_named(listed, line):
    (listed / "list.txt").write_text(f"\na\n{line}\nb.c\n")
    with pytest.raises(DataError, match=r"list\.txt, line 3: .*names no image") as error:
        len(source(listed, split="list.txt"))
    assert repr(line) in str(error.value)


def test_an_image_that_is_listed_twice_is_named(listed):
    (listed / "list.txt").write_text("a\n./a.png\n")
    with pytest.raises(DataError, match=r"list\.txt: names a more than once"):
        len(source(listed, split="list.txt"))


@pytest.mark.parametrize("content", [b"", b"\r\n \r\n", b"\xff\xfea"])
def test_a_list_that_is_empty_or_no_text_is_refused(listed, content):
    (listed / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"list\.txt: (the list is empty|cannot be read)"):
        len(source(listed, split="list.txt"))
