"""Where the shipped base models of the world are."""

from importlib.resources import files
from pathlib import Path

from accord.errors import ModelError

#: Objectives for which trained weights are part of the package.
SHIPPED = ("flow", "epsilon")


def base_folder(objective: str = "flow") -> Path:
    """The folder of the shipped base trained with `objective`, ready for `StableDiffusionPipeline.from_pretrained`.

    Raises ModelError if there is none; `accord world train` makes one.
    """
    if objective not in SHIPPED:
        raise ModelError(
            f"no shipped base of the embedded world was trained with {objective!r} (shipped: {', '.join(SHIPPED)}); "
            "train one with `accord world train`"
        )
    return Path(str(files("accord.world").joinpath("weights", objective)))
