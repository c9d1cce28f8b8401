"""Progress of training, in one line per epoch."""

from __future__ import annotations

from n2a_bids.algorithms.realizations import Context


class EpochReport:
    """Tells the context epoch, loss and time left."""

    def __init__(self, phase: str, n_epochs: int, context: Context):
        self._phase, self._n_epochs, self._context = phase, n_epochs, context
        self._started = context.clock()

    def __call__(self, epoch: int, loss: float) -> None:
        """Report one finished epoch."""
        spent = self._context.clock() - self._started
        left = spent / (epoch + 1) * (self._n_epochs - epoch - 1)
        self._context.report(
            f"{self._phase} epoch {epoch + 1}/{self._n_epochs}, loss {loss:.4f}, {left:.0f} s left"
        )
