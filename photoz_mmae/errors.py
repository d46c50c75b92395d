"""The family of errors a user can meet: each says what was wrong, where, and what to do."""


class PhotozError(Exception):
    """Base of the family; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(PhotozError):
    """An option or a configuration key that cannot be used."""

    exit_code = 2


class InputError(PhotozError):
    """Something that was to be read is missing, empty or not what it should be."""

    exit_code = 4


class ModelError(PhotozError):
    """A model is missing, damaged, or made for something else."""

    exit_code = 5


class OutputError(PhotozError):
    """Something that was to be written exists already or cannot be written."""

    exit_code = 6


class LockedError(PhotozError):
    """Another run holds the output."""

    exit_code = 7


class CheckError(PhotozError):
    """Something that was looked through is not as it should be."""

    exit_code = 8


class StoppedError(PhotozError):
    """Stopped on request before the end; the same command goes on from there."""

    exit_code = 75
