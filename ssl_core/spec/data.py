"""Where the pictures come from. Paths are relative to the data root; nothing outside of it can be named."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.base import Config

Statistics = tuple[float, ...]
DATASET_ID = r"^ds_[0-9A-HJKMNP-TV-Z]{26}$"


class _DataBase(Config):
    """What every source has in common."""

    size: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="Side of the square the network sees, in pixels. Default: by source (a folder: by its images).",
    )
    mean: Statistics | None = Field(None, description="Per channel, of values in [0, 1]. Default: the source's own statistics.")
    std: Statistics | None = Field(None, description="Per channel, of values in [0, 1]. Default: the source's own statistics.")
    in_memory: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto: a folder is decoded once into the cache on the disk and mapped into memory; without room there it is "
        "streamed from its files. always: the decoded images are read into memory. never: stream.",
    )
    workers: Annotated[int, Field(ge=0, le=256)] | Literal["auto"] = Field(
        "auto", description="Processes that decode files when the images are streamed."
    )
    drop_last: bool = Field(
        True, description="Leave out the last, smaller batch of a training epoch (validation always keeps it)."
    )

    @field_validator("mean", "std")
    @classmethod
    def _channels(cls, value: Statistics | None) -> Statistics | None:
        if value is not None and len(value) not in (1, 3):
            raise PydanticCustomError("channels", "{n} values; give one per channel (3), or 1 for all", {"n": len(value)})
        return value

    @field_validator("std")
    @classmethod
    def _positive(cls, value: Statistics | None) -> Statistics | None:
        if value is not None and min(value) <= 0:
            raise PydanticCustomError("std", "must be above 0 in every channel", {})
        return value


class _FilesData(_DataBase):
    """What sources of many files have in common."""

    max_unreadable: float = Field(
        0.05, ge=0, le=1, description="Share of the files to train on that may be unreadable; with more the job fails."
    )
    dataset: str | None = Field(
        None,
        pattern=DATASET_ID,
        description="The registered or uploaded dataset that this is; the service puts it here, and `path` belongs to it.",
    )


def relative(path: str) -> str:
    """Refuse, already in the text, what leads out of the data root (symbolic links are checked where the folder is read)."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path or not path.strip():
        raise PydanticCustomError("path", "'{path}' must be a relative path below the data root, without '..'", {"path": path})
    return path


class DigitsData(_DataBase):
    """The 1,797 handwritten digits that come with scikit-learn, scaled up from 8×8 (Alpaydin & Kaynak, 1998)."""

    source: Literal["digits"] = "digits"
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of the images kept out of training, for evaluation.")


class _DownloadableData(_DataBase):
    path: str = Field(
        ".", max_length=1000, description="Folder below the data root that holds the files in torchvision's layout."
    )
    download: bool = Field(False, description="Fetch the files if they are missing. Never done unless asked for.")

    _check_path = field_validator("path")(relative)


class Cifar10Data(_DownloadableData):
    """CIFAR-10: 50,000 training and 10,000 test images of 32×32 px (cifar-10-batches-py)."""

    source: Literal["cifar10"] = "cifar10"


class Stl10Data(_DownloadableData):
    """STL-10: trains on train+unlabeled (105,000 images of 96×96 px), evaluates on test (stl10_binary)."""

    source: Literal["stl10"] = "stl10"


class ImageNetData(_FilesData):
    """ImageNet in class folders: <path>/train and <path>/val."""

    source: Literal["imagenet"] = "imagenet"
    path: str = Field(
        "imagenet", max_length=1000, description="Folder below the data root with train/ and val/ in class folders."
    )

    _check_path = field_validator("path")(relative)


class FolderData(_FilesData):
    """Any folder of images, nested or flat. Class subfolders, if there are any, are labels for evaluation only."""

    source: Literal["folder"] = "folder"
    path: str = Field(max_length=1000, description="Folder below the data root.", examples=["photos"])
    held_out: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share kept out of training for evaluation, chosen by a hash of the file's path; "
        "train/ and test/ (or val/) subfolders are used as they are.",
    )
    labels: Literal["auto", "folders", "none"] = Field(
        "auto",
        description="auto: the first level of subfolders are classes if there are at least two and every image lies in one.",
    )

    _check_path = field_validator("path")(relative)


class DatasetData(_DataBase):
    """A dataset registered with the service (POST /datasets)."""

    source: Literal["dataset"] = "dataset"
    id: str = Field(pattern=DATASET_ID, description="As POST /datasets answered.")


DataConfig = Annotated[
    DigitsData | Cifar10Data | Stl10Data | ImageNetData | FolderData | DatasetData, Field(discriminator="source")
]

SOURCES = ("digits", "cifar10", "stl10", "imagenet", "folder", "dataset")
