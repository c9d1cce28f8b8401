"""Errors that users see, and every exit code of ``n2a`` (0, 1, 2, 70, 75, 127, 130) with its meaning.

The message of an error names file, expectation, finding and remedy.
"""

DONE, FAILED, WRONG_OPTION, NOTHING_TO_DO, STOPPED, PACKAGE_MISSING, CTRL_C = 0, 1, 2, 70, 75, 127, 130
EXIT_CODES = {
    FAILED: "A step or a report failed; the table at the end of the log says which.",
    WRONG_OPTION: "The command line is not usable.",
    NOTHING_TO_DO: "Nothing to do, or the dataset is not usable.",
    STOPPED: "Stopped by a signal; the same command resumes.",
    PACKAGE_MISSING: "A Python package is missing.",
    CTRL_C: "Stopped by Ctrl-C; the same command resumes.",
}
"""`n2a_bids.cli.failures` finds the code of an error that breaks a command off, `n2a_bids.app.outcomes` and
`n2a_bids.app.group` that of a run that came to its end."""

OUT_OF_MEMORY = (
    "memory ran out: ask for more memory; n2a needs less with --low-mem, a smaller --mem or fewer --nprocs, "
    "and the same command resumes"
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
