"""The FCN papers' data sets as TFDS builders; each reader documents the folder it needs."""

from __future__ import annotations

from pathlib import Path

import tensorflow_datasets as tfds

from fcn_jax.data.nyud import NYUDv2
from fcn_jax.data.pascal_context import PASCALContext
from fcn_jax.data.readers import DataError
from fcn_jax.data.sift_flow import SIFTFlow
from fcn_jax.data.source import FileSource
from fcn_jax.data.voc import SBD, VOC
from fcn_jax.prepare.tfds.segmentation import Segmentation


class VOCSegmentation(Segmentation):
    """PASCAL VOC, configs 2012 and 2011; with the split `seg11valid` if its list is there."""

    name = "voc_segmentation"
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=year, description=f"The masks of VOC {year}.")
        for year in ("2012", "2011")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The folder above VOCdevkit/, as VOC's archive unpacks."
    SPLITS = {"train": "train", "validation": "val", "seg11valid": "seg11valid"}
    OPTIONAL = {"seg11valid": "ImageSets/Segmentation/seg11valid.txt"}
    ABOUT = (
        "PASCAL VOC segmentation. Borders and difficult objects are ignored. seg11valid is VOC "
        "2011's validation set without the images that SBD trains on."
    )
    HOMEPAGE = "http://host.robots.ox.ac.uk/pascal/VOC/"
    CITATION = """@article{everingham2015pascal,
  title = {The {PASCAL} Visual Object Classes Challenge: A Retrospective},
  author = {Everingham, Mark and Eslami, S. M. Ali and Van Gool, Luc and Williams, Christopher K. I.
    and Winn, John and Zisserman, Andrew},
  journal = {International Journal of Computer Vision},
  volume = {111}, number = {1}, pages = {98--136}, year = {2015}
}"""

    def sources(self, split: str) -> dict[str, FileSource]:
        """VOC of the config's year."""
        year = int(self.builder_config_name or 2012)
        return {"segmentation_mask": VOC(year=year, split=split)}  # type: ignore[arg-type]


class SBDSegmentation(Segmentation):
    """The Semantic Boundaries Dataset: VOC's classes, more images."""

    name = "sbd"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The folder above dataset/, as SBD's archive unpacks."
    SPLITS = {"train": "train", "validation": "val"}
    ABOUT = (
        "The Semantic Boundaries Dataset's class masks. Nothing is ignored. Its training set holds "
        "validation images of PASCAL VOC: score on VOC's seg11valid."
    )
    HOMEPAGE = "http://home.bharathh.info/pubs/codes/SBD/download.html"
    CITATION = """@inproceedings{hariharan2011semantic,
  title = {Semantic Contours from Inverse Detectors},
  author = {Hariharan, Bharath and Arbel{\\'a}ez, Pablo and Bourdev, Lubomir and Maji, Subhransu and
    Malik, Jitendra},
  booktitle = {International Conference on Computer Vision (ICCV)}, year = {2011}
}"""

    def sources(self, split: str) -> dict[str, FileSource]:
        """SBD's class masks."""
        return {"segmentation_mask": SBD(split=split)}


class NYUDv2Segmentation(Segmentation):
    """NYU Depth v2 in 40 classes: the photographs and their labels, without depth."""

    name = "nyud_v2_40"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder above nyud/ {data/images/, segmentation/, train.txt, val.txt}."
    )
    SPLITS = {"train": "train", "validation": "val", "test": "test"}
    OPTIONAL = {"test": "test.txt"}
    ABOUT = "NYU Depth v2, cropped to 425 x 560, in the 40 classes of Gupta et al. (CVPR 2013)."
    HOMEPAGE = "https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html"
    CITATION = """@inproceedings{silberman2012indoor,
  title = {Indoor Segmentation and Support Inference from {RGBD} Images},
  author = {Silberman, Nathan and Hoiem, Derek and Kohli, Pushmeet and Fergus, Rob},
  booktitle = {European Conference on Computer Vision (ECCV)}, year = {2012}
}
@inproceedings{gupta2013perceptual,
  title = {Perceptual Organization and Recognition of Indoor Scenes from {RGB-D} Images},
  author = {Gupta, Saurabh and Arbel{\\'a}ez, Pablo and Malik, Jitendra},
  booktitle = {Computer Vision and Pattern Recognition (CVPR)}, year = {2013}
}"""

    def sources(self, split: str) -> dict[str, FileSource]:
        """The 40 classes of the colour images."""
        return {"segmentation_mask": NYUDv2(split=split)}  # type: ignore[arg-type]


class SIFTFlowSegmentation(Segmentation):
    """SIFT Flow, configs semantic and both; the second adds a `geometric_mask`."""

    name = "sift_flow"
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="semantic", description="The 33 semantic classes."),
        tfds.core.BuilderConfig(name="both", description="33 semantic and 3 geometric classes."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder above sift-flow/ {Images/, SemanticLabels/, GeoLabels/, trainval.txt}."
    )
    SPLITS = {"train": "train", "validation": "holdout", "test": "test"}
    OPTIONAL = {"test": "test.txt"}
    ABOUT = (
        "SIFT Flow: outdoor scenes of 256 x 256 pixels. The published training images are "
        "train+validation: validation is the 200 whose names' SHA-256 is smallest."
    )
    HOMEPAGE = "https://people.csail.mit.edu/celiu/LabelTransfer/"
    CITATION = """@article{liu2011nonparametric,
  title = {Nonparametric Scene Parsing via Label Transfer},
  author = {Liu, Ce and Yuen, Jenny and Torralba, Antonio},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {33}, number = {12}, pages = {2368--2382}, year = {2011}
}
@inproceedings{tighe2010superparsing,
  title = {{SuperParsing}: Scalable Nonparametric Image Parsing with Superpixels},
  author = {Tighe, Joseph and Lazebnik, Svetlana},
  booktitle = {European Conference on Computer Vision (ECCV)}, year = {2010}
}"""

    def sources(self, split: str) -> dict[str, FileSource]:
        """The semantic labels; in the config `both` also the geometric ones."""
        masks = {"segmentation_mask": "semantic"}
        if self.builder_config_name == "both":
            masks["geometric_mask"] = "geometric"
        return {
            mask: SIFTFlow(split=split, labels=(labels,))  # type: ignore[arg-type]
            for mask, labels in masks.items()
        }


class PASCALContextSegmentation(Segmentation):
    """PASCAL-Context: 59 classes and the background."""

    name = "pascal_context"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "The folder that holds VOC2010/ and the labels; see fcn_jax.data.PASCALContext."
    )
    SPLITS = {"train": "train", "validation": "val"}
    ABOUT = (
        "PASCAL-Context: the 59 most frequent classes; class 0, everything else, counts as well."
    )
    HOMEPAGE = "https://cs.stanford.edu/~roozbeh/pascal-context/"
    CITATION = """@inproceedings{mottaghi2014role,
  title = {The Role of Context for Object Detection and Semantic Segmentation in the Wild},
  author = {Mottaghi, Roozbeh and Chen, Xianjie and Liu, Xiaobai and Cho, Nam-Gyu and
    Lee, Seong-Whan and Fidler, Sanja and Urtasun, Raquel and Yuille, Alan},
  booktitle = {Computer Vision and Pattern Recognition (CVPR)}, year = {2014}
}"""

    def sources(self, split: str) -> dict[str, FileSource]:
        """59 classes and the background."""
        return {"segmentation_mask": PASCALContext(split=split)}  # type: ignore[arg-type]


BUILDERS = (
    VOCSegmentation,
    SBDSegmentation,
    NYUDv2Segmentation,
    SIFTFlowSegmentation,
    PASCALContextSegmentation,
)
"""Every builder of this package."""


def build(name: str, data: Path | str, data_dir: Path | str | None = None) -> Segmentation:
    """Prepares a data set with one of the builders; does nothing if it is prepared already.

    A preparation that fails does not leave a data set that looks prepared.

    Args:
      name: The builder, with its config if it has several: `voc_segmentation/2011`.
      data: The data folder, as the reader of that data set expects it (TFDS's `manual_dir`).
      data_dir: Folder for prepared data sets; None = TFDS's own (`TFDS_DATA_DIR`, or else
        `~/tensorflow_datasets`).

    Returns:
      The builder, ready for `as_data_source(split)`.

    Raises:
      DataError: There is no such builder, config or folder, or the data set is incomplete or
        damaged.
    """
    data = Path(data).expanduser()
    if not data.is_dir():
        raise DataError(f"{data}: no such folder. Pass the one that holds the data set.")
    full_names = {
        "/".join(filter(None, (cls.name, config))): (cls, config)
        for cls in BUILDERS
        for config in (None, *cls.builder_configs)
    }
    if name not in full_names:
        raise DataError(f"no builder {name!r}; expected one of {', '.join(full_names)}.")
    cls, config = full_names[name]
    prepared = None if data_dir is None else Path(data_dir).expanduser()
    builder = cls(config=config, data_dir=prepared)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=data, try_download_gcs=False)
    )
    return builder
