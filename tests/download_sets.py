"""The data sets of the download table with three images each, packed as published."""

import dataclasses
import hashlib
import io

import numpy as np
import scipy.io
from download_server import Served, tar_of, zip_of
from PIL import Image

from fcn_jax.data import SBD, VOC, SIFTFlow, pascal_context
from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.prepare.download.table import SETS

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"


def encoded(image, kind):
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def mat(contents):
    stream = io.BytesIO()
    scipy.io.savemat(stream, contents)
    return stream.getvalue()


def indexed(names, first):
    return "".join(f"{i}: {name}\n" for i, name in names.items() if i >= first).encode()


PHOTO = encoded(Image.new("RGB", (8, 6), (10, 20, 30)), "JPEG")

LABEL = np.tile(np.arange(6, dtype=np.uint8)[:, None], (1, 8))

PNG = encoded(Image.fromarray(LABEL), "PNG")

DEPTH = encoded(Image.fromarray(np.arange(48, dtype=np.uint16).reshape(6, 8)), "PNG")

CONTEXT_CLASSES = dict(enumerate(pascal_context.CLASSES))

CONTEXT_459 = CONTEXT_CLASSES | {11: "table", 28: "cloth", 52: "bedclothes", 60: "accordion"}

SBD_LABEL = np.zeros((1, 1), [("Segmentation", object), ("Boundaries", object)])

SBD_LABEL[0, 0] = (LABEL, LABEL)


def voc_members(year):
    top = f"TrainVal/VOCdevkit/VOC{year}" if year == 2011 else f"VOCdevkit/VOC{year}"
    yield from ((f"{top}/JPEGImages/{i}.jpg", PHOTO) for i in "abc")
    yield from ((f"{top}/SegmentationClass/{i}.png", PNG) for i in "abc")
    lists = {"train": "a\n", "val": "b\nc\n", "trainval": "a\nb\nc\n"}
    yield from ((f"{top}/ImageSets/Segmentation/{k}.txt", v.encode()) for k, v in lists.items())


CONTENTS = {
    "VOCtrainval_25-May-2011.tar": tar_of(*voc_members(2011), compress=False),
    "VOCtrainval_11-May-2012.tar": tar_of(*voc_members(2012), compress=False),
    "benchmark.tgz": tar_of(
        *((f"benchmark_RELEASE/dataset/img/{i}.jpg", PHOTO) for i in "abc"),
        *((f"benchmark_RELEASE/dataset/cls/{i}.mat", mat({"GTcls": SBD_LABEL})) for i in "abc"),
        ("benchmark_RELEASE/dataset/train.txt", b"a\nb\n"),
        ("benchmark_RELEASE/dataset/val.txt", b"c\n"),
    ),
    "SiftFlowDataset.zip": zip_of(
        *((f"Images/{SCENES}/{i}.jpg", PHOTO) for i in "abc"),
        *((f"SemanticLabels/{SCENES}/{i}.mat", mat({"S": LABEL})) for i in "abc"),
        *((f"GeoLabels/{SCENES}/{i}.mat", mat({"S": LABEL // 2})) for i in "abc"),
    ),
    "nyud.tar.gz": tar_of(
        *((f"nyud/data/images/img_{i}.png", PNG) for i in (5001, 5002, 5003)),
        *((f"nyud/data/depth/img_{i}.png", DEPTH) for i in (5001, 5002, 5003)),
        *(
            (f"nyud/segmentation/img_{i}.mat", mat({"segmentation": LABEL}))
            for i in (5001, 5002, 5003)
        ),
    ),
    "VOCtrainval_03-May-2010.tar": tar_of(
        *((f"VOCdevkit/VOC2010/JPEGImages/{i}.jpg", PHOTO) for i in "abc"),
        *(
            (f"VOCdevkit/VOC2010/ImageSets/Main/{k}.txt", v)
            for k, v in {"train": b"a\n", "val": b"b\nc\n", "trainval": b"a\nb\nc\n"}.items()
        ),
        compress=False,
    ),
    "pascal-context-trainval.tar.gz": tar_of(
        *((f"trainval/{i}.mat", mat({"LabelMap": LABEL.astype(np.uint16)})) for i in "abc"),
        ("59_labels.txt", b"11: table\n"),
    ),
    "pascal-seg11valid.txt": b"b\n",
    "sift-flow-trainval.txt": b"a\nb\n",
    "sift-flow-test.txt": b"c\n",
    "nyud-train.txt": b"5001\n",
    "nyud-val.txt": b"5002\n",
    "nyud-test.txt": b"5003\n",
    "pascal-context-classes-400.txt": indexed(CONTEXT_459, 1),
    "pascal-context-classes-59.txt": indexed(CONTEXT_CLASSES, 0),
}


def small(server, name):
    """A data set of the table with three images, on the local server."""

    def served(file):
        content = CONTENTS[file.name]
        server.files.setdefault(f"/{file.name}", Served(content))
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}" if file.checksum else None
        urls = (f"{server.url}/{file.name}",)
        return dataclasses.replace(file, urls=urls, checksum=checksum, bytes=10**6)

    def reduced(folder):
        return dataclasses.replace(
            folder,
            archive=served(folder.archive),
            unpacked=10**6,
            holds=tuple((pattern, min(count, 3)) for pattern, count in folder.holds),
            lists=tuple((path, served(file)) for path, file in folder.lists),
        )

    found = next(s for s in SETS if s.name == name)
    return dataclasses.replace(found, folders=tuple(map(reduced, found.folders)))


def readers(name, data):
    sources = {
        "voc2011": (VOC(year=2011, split="trainval"), VOC(year=2011, split="seg11valid")),
        "voc2012": (VOC(split="trainval"), VOC(split="seg11valid")),
        "sbd": (SBD(split="train"), SBD(split="val")),
        "siftflow": (SIFTFlow(split="trainval"), SIFTFlow(split="test")),
        "nyudv2": (NYUDv2(split="trainval"), NYUDv2(split="test", inputs=("depth",))),
        "pascal_context": (PASCALContext(split="train"), PASCALContext(split="val")),
    }
    return [source.at(data) for source in sources[name]]
