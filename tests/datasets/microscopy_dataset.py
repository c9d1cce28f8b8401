"""Write a small simulated Microscopy-BIDS dataset: exposures of drawn cells, and faults to be named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

SIZE = 128


def cells(size: int = SIZE + 32, seed: int = 0) -> np.ndarray:
    """Drawn cells with membranes, (rows, columns), in expected counts."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((size, size))
    field = ndimage.gaussian_filter(noise, 6, mode="wrap")
    texture = ndimage.gaussian_filter(noise, 2, mode="wrap")
    membrane = np.exp(-((field / field.std() / 0.25) ** 2))
    return 90 - 55 * membrane + 6 * texture / texture.std()


def expose(
    seed: int, shift: tuple[float, float] = (0, 0), dtype: type = np.uint8, scale: float = 1
) -> np.ndarray:
    """One exposure with counting noise, (rows, columns)."""
    moved = ndimage.shift(cells(), shift, order=3)[16:-16, 16:-16]
    counts = np.random.default_rng(seed).poisson(np.maximum(moved, 0)) * scale
    return np.clip(counts, 0, np.iinfo(dtype).max).astype(dtype)


def describe_dataset(root: Path, participants: tuple[str, ...] = ("01",)) -> None:
    """What makes a folder a Microscopy-BIDS dataset."""
    root.mkdir(parents=True, exist_ok=True)
    description = {"Name": "Drawn cells", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Simulated exposures of drawn cells, for tests of the app. " * 4)
    rows = [f"sample-A\tsub-{label}\ttissue" for label in participants]
    (root / "samples.tsv").write_text("\n".join(["sample_id\tparticipant_id\tsample_type", *rows]) + "\n")
    rows = [f"sub-{label}\tmus musculus" for label in participants]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tspecies", *rows]) + "\n")


def micr_path(root: Path, entities: str, suffix: str, extension: str, participant: str = "01") -> Path:
    """Where a micrograph goes; its sidecar is written."""
    folder = root / f"sub-{participant}" / "micr"
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"sub-{participant}_sample-A_{entities}_{suffix}"
    sidecar = {"PixelSize": [4.0, 4.0], "PixelSizeUnits": "nm"}
    (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    return folder / f"{stem}{extension}"


def write_exposures(root: Path) -> None:
    """Two drifted TIFF exposures, two PNG of another chunk, two OME-TIFF of 12 bits, and one alone.

    One TIFF is packed by LZW; there is a pyramid of colours, too, as BigTIFF.
    """
    for run, shift in ((1, (0, 0)), (2, (3.4, -5.2))):
        path = micr_path(root, f"run-{run}", "TEM", ".tif")
        Image.fromarray(expose(run, shift)).save(path, compression="tiff_lzw" if run == 2 else None)
        colours = np.stack([expose(40 + 3 * run + channel) for channel in range(3)], axis=-1)
        path = micr_path(root, f"stain-HE_run-{run}", "BF", ".ome.btf")
        with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
            file.write(colours, subifds=1, tile=(64, 64), photometric="rgb", metadata={"axes": "YXS"})
            file.write(colours[::2, ::2], subfiletype=1, tile=(64, 64), photometric="rgb")
        Image.fromarray(expose(10 + run)).save(micr_path(root, f"run-{run}_chunk-2", "SEM", ".png"))
        metadata = {
            **{"axes": "YX", "SignificantBits": 12, "PhysicalSizeX": 0.004, "PhysicalSizeXUnit": "µm"},
            **{"PhysicalSizeY": 0.004, "PhysicalSizeYUnit": "µm"},
        }
        path = micr_path(root, f"run-{run}", "FLUO", ".ome.tif")
        tifffile.imwrite(path, expose(20 + run, shift, np.uint16, 16), ome=True, metadata=metadata)
    tifffile.imwrite(micr_path(root, "stain-x", "BF", ".tif"), expose(30))
