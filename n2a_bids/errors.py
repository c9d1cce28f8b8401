"""The errors that users see; each message names file, expectation, finding and remedy."""

OUT_OF_MEMORY = (
    "memory ran out: ask for more memory, or give --low-mem, a smaller --mem or fewer --nprocs; the same "
    "command resumes"
)
"""What Python's own error, which mostly comes without a word, should have said."""


class BIDSDataError(Exception):
    """The input dataset, or one of its files, cannot be used as it is."""


class ConfigError(Exception):
    """An option, or a combination of options, cannot be honoured."""


class DenoisingError(Exception):
    """The denoising itself cannot give a trustworthy result."""


class Interrupted(BaseException):
    """SIGTERM or SIGHUP arrived: stop at once, keep everything that is done.

    Not an `Exception`, so that no part that survives the failure of a node survives this.
    """
