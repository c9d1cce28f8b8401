"""Any DWI series without a repetition."""

from __future__ import annotations

from n2a_bids.dataset.gradient_tables import Series, encodings
from n2a_bids.dataset.units import DenoisingUnit


def find_single_dwi(series: Series, why: str) -> DenoisingUnit:
    """Unit of one series that is denoised from its own volumes.

    Parameters
    ----------
    series : Series
        With two or more diffusion-weighted volumes.
    why : str
        Why no other way is open, half a sentence.
    """
    return DenoisingUnit(
        kind="dwi-single",
        images=(series.image,),
        entities=dict(series.image.entities),
        reason=f"no repetition, denoised from its own volumes: {why}",
        phase_encoding=encodings((series,)),
        notes=series.notes,
    )
