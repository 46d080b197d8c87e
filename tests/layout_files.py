"""Small data sets in the layouts in which they are downloaded."""

import base64
import io
import json

import numpy as np
from PIL import Image

H, W = 6, 8


def label_of(number, values):
    """A label (6, 8) in which all values occur."""
    return (
        np.random.default_rng(number)
        .permutation(np.resize(np.asarray(values), H * W))
        .reshape(H, W)
    )


def save_image(path, number=0, size=(H, W)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def save_label(path, label, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.asarray(label).astype(dtype)
    np.save(path, label) if path.suffix == ".npy" else Image.fromarray(label).save(path)
    return label


def camvid(root, train=4, val=2, values=range(12)):
    for split, count in (("train", train), ("val", val), ("test", 1)):
        for n in range(count):
            name = f"0001TP_{6690 + 30 * n:06d}.png"
            save_image(root / split / name, n)
            save_label(root / f"{split}annot" / name, label_of(n, values))
    return root


def cityscapes(root, values=(0, 7, 8, 33, 255)):
    for split, cities in (("train", ("aachen", "bochum")), ("val", ("lindau",))):
        for city in cities:
            for n in range(2):
                name = f"{split}/{city}/{city}_{n:06d}_000019"
                save_image(root / "leftImg8bit" / f"{name}_leftImg8bit.png", n)
                for kind, offset in (("labelIds", 0), ("instanceIds", 1)):
                    path = root / "gtFine" / f"{name}_gtFine_{kind}.png"
                    save_label(path, label_of(n, values) + 0 * offset)
                save_image(root / "gtFine" / f"{name}_gtFine_color.png")
                (root / "gtFine" / f"{name}_gtFine_polygons.json").write_text("{}")
    return root


def ade20k(root, values=(0, 1, 150, 255)):
    folder = root / "ADEChallengeData2016"
    for split, short in (("training", "train"), ("validation", "val")):
        for n in (1, 2):
            name = f"ADE_{short}_{n:08d}"
            save_image(folder / "images" / split / f"{name}.jpg", n)
            save_label(folder / "annotations" / split / f"{name}.png", label_of(n, values))
    (folder / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    return root


SQUARE = [1, 1, 5, 1, 5, 4, 1, 4]  # covers columns 1 to 4, rows 1 to 3
CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def instances(annotations, count=2):
    return {
        "images": [
            {"id": 10 + n, "file_name": f"{139 + n:012d}.jpg", "height": H, "width": W}
            for n in range(count)
        ],
        "annotations": annotations,
        "categories": CATEGORIES,
    }


def annotation(number, segmentation, category=1, image=10, crowd=0):
    fields = {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd}
    return {**fields, "segmentation": segmentation, "bbox": [0, 0, 1, 1], "area": 1}


def coco(root, annotations=None, splits=("train2017", "val2017")):
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    content = instances([annotation(1, [SQUARE])] if annotations is None else annotations)
    for split in splits:
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for n, image in enumerate(content["images"]):
            save_image(root / split / image["file_name"], n)
    return root


def segment_colours(ids):
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def panoptic(root, ids, segments, splits=("train2017", "val2017")):
    for split in splits:
        file = f"panoptic_{split}"
        save_image(root / split / "000000000139.jpg")
        save_label(root / "annotations" / file / "000000000139.png", segment_colours(ids))
        content = {
            "images": [{"id": 139, "file_name": "000000000139.jpg", "height": H, "width": W}],
            "annotations": [
                {
                    "image_id": 139,
                    "file_name": "000000000139.png",
                    "segments_info": [
                        {"id": number, "category_id": category, "iscrowd": 0}
                        for number, category in segments.items()
                    ],
                }
            ],
            "categories": [{"id": 200, "name": "rug", "isthing": 0}, *CATEGORIES],
        }
        (root / "annotations" / f"{file}.json").write_text(json.dumps(content))
    return root


def encoded(array):
    """An array as a PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def labelme(root, shapes_by_name, *, folder="", inside=()):
    """`inside` names the images that are in their JSON alone."""
    root.mkdir(parents=True, exist_ok=True)
    for n, (name, shapes) in enumerate(shapes_by_name.items()):
        pixels = save_image(root / f"{name}.jpg", n)
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{folder}{name}.jpg",
            "imageData": encoded(pixels) if name in inside else None,
            "imageHeight": H,
            "imageWidth": W,
        }
        if name in inside:
            (root / f"{name}.jpg").unlink()
        (root / f"{name}.json").write_text(json.dumps(content))
    return root
