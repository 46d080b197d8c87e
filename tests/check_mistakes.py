"""Every mistake that docs/check.md lists, made in a small sound set."""

import numpy as np
from check_sets import image, label, names, relabel, save, smooth
from PIL import Image, ImageFilter

SOME = ("n03", "n07")


def between(label):
    """A label with thin lines of void (value 0) between its areas, which count from 1."""
    edge = np.zeros(label.shape, bool)
    edge[:, 1:] |= label[:, 1:] != label[:, :-1]
    edge[1:] |= label[1:] != label[:-1]
    return np.where(edge, 0, label + 1).astype(np.uint8)


def colours(label):
    return np.array([(0, 0, 0), (128, 64, 128), (70, 70, 70), (220, 20, 60)], np.uint8)[label]


def smoothed(label):
    return Image.fromarray(label * np.uint8(60)).filter(ImageFilter.GaussianBlur(1.2))


def objects(label):
    """1000 times the class and a number, in 16 bits."""
    numbers = np.arange(label.shape[1]) // 20
    return np.where(label > 0, label.astype(int) * 1000 + numbers, 0).astype(np.uint16)


def transparent(label):
    rgba = np.zeros((*label.shape, 4), np.uint8)
    rgba[..., 3] = np.where(label > 0, 255, 0)
    return rgba


def as_files(folder, change, ending):
    for name in names(folder):
        array = np.array(Image.open(label(folder, name)))
        label(folder, name).unlink()
        save(folder, name, None, change(array), ending)


def turned_image(folder):
    """An image that a camera stored lying on its side, and a label of what is stored."""
    exif = Image.Exif()
    exif[274] = 6
    for name in SOME:
        Image.open(image(folder, name)).save(image(folder, name), exif=exif, quality=92)


def swap(folder, part=label):
    first, second = (part(folder, name) for name in SOME)
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)


def one_for_all(folder):
    for name in names(folder)[1:]:
        label(folder, name).write_bytes(label(folder, "n00").read_bytes())


def copies(folder):
    """A copy of each image, smaller and saved again; a tenth of all is held out."""
    for name in names(folder):
        picture, shapes = Image.open(image(folder, name)), Image.open(label(folder, name))
        picture.resize((96, 72), Image.Resampling.LANCZOS).save(image(folder, name + "copy"))
        shapes.resize((96, 72), Image.Resampling.NEAREST).save(label(folder, name + "copy"))


def copy_in_training(folder):
    for k, name in enumerate(("n00", "n01")):
        for part in (image, label):
            part(folder, f"copy{k}").write_bytes(part(folder, name).read_bytes())
    listed = [name for name in names(folder) if name not in ("n04", "n05")]
    (folder / "train.txt").write_text("\n".join(listed))
    (folder / "val.txt").write_text("n04\nn05")


def ranked(folder):
    """Each label numbers its own objects."""

    for k, name in enumerate(names(folder)):
        stripes = 1 + np.arange(128) * (k + 2) // 128
        relabel(folder, lambda a, s=stripes: np.where(a < 9, s, 0).astype(np.uint8), [name])


def own_colours(folder):
    """Each object has a colour of its own, other in each image."""
    for k, name in enumerate(names(folder)):
        palette = np.random.default_rng(k).integers(1, 256, (4, 3)).astype(np.uint8)
        relabel(folder, lambda array, palette=palette: palette[array], [name])


def only_in_validation(folder):
    rest = [name for name in names(folder) if name not in SOME]
    relabel(folder, lambda array: np.where(array == 3, 0, array).astype(np.uint8), rest)
    (folder / "train.txt").write_text("\n".join(rest))
    (folder / "val.txt").write_text("\n".join(SOME))


def swap_folders(folder):
    for old, new in (("images", "x"), ("labels", "images"), ("x", "labels")):
        (folder / old).rename(folder / new)


def photographs(folder):
    for name in names(folder):
        grain = np.random.default_rng(3)
        shades = 128 + 100 * smooth(grain, 96, 128, 7) + grain.normal(0, 9, (96, 128))
        Image.fromarray(shades.clip(0, 255).astype(np.uint8)).save(label(folder, name))


def suffixed(folder):
    for name in names(folder):
        label(folder, name).rename(label(folder, f"{name}_mask"))


def capitals(folder):
    for name in SOME:
        label(folder, name).rename(label(folder, name.upper()))


def transparent_images(folder):
    for name in names(folder):
        picture = Image.open(image(folder, name)).convert("RGBA")
        picture.putalpha(0)
        picture.save(folder / "images" / f"{name}.png")
        image(folder, name).unlink()


def own_palettes(folder):
    """Numbers in order of frequency, as a program gives them that reduces colours."""
    for name in names(folder):
        rgb = Image.fromarray(colours(np.array(Image.open(label(folder, name)))))
        rgb.quantize(dither=Image.Dither.NONE).save(label(folder, name))


def enlarged(array):
    """Half the rows and columns, enlarged with interpolation."""
    small = Image.fromarray(array[::2, ::2])
    return small.resize(array.shape[::-1], Image.Resampling.BILINEAR)


def mask(array, value=1):
    return np.where(array > 0, value, 0).astype(np.uint8 if value < 256 else np.uint16)


def masks_of_two_kinds(folder):
    relabel(folder, mask)
    relabel(folder, lambda a: mask(a, 255), SOME)


def in_sub_folders(folder):
    for name in names(folder):
        path = label(folder, name)
        (path.parent / name[:2]).mkdir(exist_ok=True)
        path.rename(path.parent / name[:2] / path.name)


def without_zeros(folder):
    for name in names(folder):
        label(folder, name).rename(label(folder, f"n{int(name[1:])}"))


def in_one_folder(folder):
    for name in names(folder):
        image(folder, name).rename(folder / f"{name}.jpg")
        label(folder, name).rename(folder / f"{name}_mask.png")
    for part in ("images", "labels"):
        (folder / part).rmdir()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def divided(folder):
    for part, listed in (("train", names(folder)[:9]), ("val", names(folder)[9:])):
        for kind in (image, label):
            (kind(folder, "x").parent / part).mkdir()
            for name in listed:
                path = kind(folder, name)
                path.rename(path.parent / part / path.name)


def elsewhere(folder):
    (folder / "images").rename(folder / "imgs")
    (folder / "labels").rename(folder / "masks")


def speckled(folder):
    def change(array):
        rng = np.random.default_rng(int(array.sum()))
        noise = rng.integers(0, 4, array.shape).astype(np.uint8)
        return np.where(rng.random(array.shape) < 0.08, noise, array).astype(np.uint8)

    relabel(folder, change)


def everywhere(change):
    return lambda folder: relabel(folder, change)


def some(change):
    return lambda folder: relabel(folder, change, SOME)


def void(value):
    """Where the corner of every label is void of that value."""

    def change(array):
        array = array.copy()
        array[:12, :40] = value
        return array

    return change


def one_by_hand(folder):
    """A class with four pixels, in one image."""

    def change(array):
        array = array.copy()
        array[50:52, 50:52] = 4
        return array

    relabel(folder, change, SOME[:1])


LISTS = {"train_list": "train.txt", "validation_list": "val.txt"}
# The mistake, as in docs/check.md: how it is made, options, kind, severity, what mends it.
MISTAKES = {
    "masks drawn with 0 and 255": (
        everywhere(lambda a: (a > 0).astype(np.uint8) * 255), {}, "masks of 0 and 255", "wrong",
    ),
    "classes drawn as gray levels": (everywhere(lambda a: a * 85), {}, "gray levels", "wrong"),
    "gray levels, and 255 is void": (
        everywhere(lambda a: void(255)(a * 60)), {"num_classes": 4}, "gray levels", "wrong",
    ),
    "masks drawn in 16 bits": (
        everywhere(lambda a: mask(a, 65535)), {}, "masks of 0 and 65535", "wrong",
    ),
    "some masks are drawn with 255": (
        masks_of_two_kinds, {"num_classes": 2}, "masks of two kinds", "look",
    ),
    "classes count from 1, 0 is void between them": (
        everywhere(between), {}, "counting from 1", "wrong",
    ),
    "classes count from 1 and are given as 0 to 3": (
        everywhere(lambda a: void(0)(a + 1)), {"num_classes": 4}, "counting from 1", "wrong",
    ),
    "some labels count from 1, others from 0": (
        some(lambda a: a + 1), {"num_classes": 4}, "labels that count in two ways", "wrong",
    ),
    "the background is ignored": (
        everywhere(lambda a: a), {"reduce_zero_label": True}, "much is ignored", "look",
    ),
    "no label is 0": (everywhere(lambda a: a + 1), {}, "counting from 1", "look"),
    "void is another value than 255": (
        everywhere(void(99)), {}, "another value for void", "wrong",
    ),
    "void is 65535 in 16 bits": (
        everywhere(lambda a: void(65535)(a.astype(np.uint16))), {}, "another value for void",
        "wrong",
    ),
    "void is the value after the last class": (
        everywhere(lambda a: np.where(between(a) == 0, 4, a).astype(np.uint8)),
        {"num_classes": 4}, "another value for void", "wrong",
    ),
    "values beyond the classes": (
        everywhere(lambda a: a), {"num_classes": 3}, "values beyond the classes", "wrong",
    ),
    "the background was not counted": (
        everywhere(mask), {"num_classes": 1}, "values beyond the classes", "wrong",
    ),
    "numbers from a longer list": (
        everywhere(lambda a: np.array([7, 11, 21, 26], np.uint8)[a]), {}, "numbers with gaps",
        "look",
    ),
    "colours instead of classes": (everywhere(colours), {}, "colours", "wrong"),
    "a colour for every object": (own_colours, {}, "colours of single objects", "wrong"),
    "classes saved as gray RGB": (
        everywhere(lambda a: np.repeat(a[..., None], 3, -1)), {}, "values as colours", "wrong",
    ),
    "colours in some labels, values in others": (
        some(colours), {}, "labels of two kinds", "wrong",
    ),
    "objects numbered in each image": (ranked, {}, "objects, not classes", "look"),
    "class x 1000 + object, in 16 bits": (everywhere(objects), {}, "numbers of objects", "wrong"),
    "smoothed edges": (everywhere(smoothed), {}, "smoothed edges", "wrong"),
    "labels enlarged with interpolation": (everywhere(enlarged), {}, "smoothed edges", "wrong"),
    "numbers of a palette of their own": (own_palettes, {}, "palettes differ", "look"),
    "JPEG labels": (
        lambda f: as_files(f, lambda a: a * np.uint8(80), "jpg"), {}, "JPEG labels", "wrong",
    ),
    "shapes in the alpha channel": (everywhere(transparent), {}, "labels with alpha", "wrong"),
    "a band for each class": (
        lambda f: as_files(f, lambda a: np.eye(4, dtype=np.uint8)[a], "npy"), {},
        "labels with bands", "wrong",
    ),
    "probabilities": (
        lambda f: as_files(f, lambda a: a / np.float32(3.3), "npy"), {}, "labels with fractions",
        "wrong",
    ),
    "photographs as labels": (photographs, {}, "photographs as labels", "wrong"),
    "images and labels swapped": (swap_folders, {}, "images and labels swapped", "wrong"),
    "speckled labels": (speckled, {}, "speckled labels", "look"),
    "labels of half the size": (everywhere(lambda a: a[::2, ::2]), {}, "sizes differ", "wrong"),
    "transposed labels": (some(lambda a: a.T), {}, "rows and columns swapped", "wrong"),
    "labels of images with an orientation tag": (
        turned_image, {}, "rows and columns swapped", "wrong",
    ),
    "a mirrored label": (some(lambda a: a[:, ::-1]), {}, "label turned", "wrong"),
    "all labels upside down": (everywhere(lambda a: a[::-1]), {}, "labels turned", "wrong"),
    "a shifted label": (some(lambda a: np.roll(a, (9, -12), (0, 1))), {}, "label shifted", "wrong"),
    "all labels shifted": (
        everywhere(lambda a: np.roll(a, (4, 5), (0, 1))), {}, "labels shifted", "wrong",
    ),
    "two labels swapped": (swap, {}, "labels of other images", "wrong"),
    "one label saved for two images": (
        lambda f: label(f, "n03").write_bytes(label(f, "n07").read_bytes()), {},
        "labels of several images", "wrong",
    ),
    "one label saved for all images": (one_for_all, {}, "one label for all", "wrong"),
    "copies in both parts": (copies, {}, "copies in both parts", "wrong"),
    "copies in one part": (copy_in_training, LISTS, "copies in one part", "look"),
    "labels without a labelled pixel": (
        some(lambda a: np.full_like(a, 255)), {}, "nothing labelled", "look",
    ),
    "transparent images": (transparent_images, {}, "nothing labelled", "wrong"),
    "objects on 255": (
        everywhere(lambda a: np.where(a > 0, 1, 255).astype(np.uint8)), {}, "a single class",
        "wrong",
    ),
    "a class with almost no pixels": (one_by_hand, {}, "classes with almost none", "look"),
    "a class only in validation": (
        only_in_validation, LISTS, "classes only in validation", "look",
    ),
    "names with a suffix": (suffixed, {}, "not matched", "wrong"),
    "names that differ in capitals": (capitals, {}, "not matched", "wrong"),
    "a label is missing": (lambda f: label(f, "n03").unlink(), {}, "not matched", "wrong"),
    "labels in other sub-folders": (in_sub_folders, {}, "not matched", "wrong"),
    "numbers with other zeros in front": (without_zeros, {}, "not matched", "wrong"),
    "images and labels in one folder": (in_one_folder, {}, "files missing", "wrong"),
    "folders of other names": (elsewhere, {}, "files missing", "wrong"),
    "parts that are there already": (divided, {}, "parts not used", "look"),
    "an empty label": (
        lambda f: label(f, "n03").write_bytes(b""), {}, "labels unreadable", "wrong",
    ),
    "an image that is cut off": (lambda f: cut(image(f, "n03")), {}, "images unreadable", "wrong"),
}  # fmt: skip
