"""The errors a user can meet. Floor 0: imports nothing of this package.

Every message is one line that says what is wrong, where, and the remedy, with both values in the sentence.
"""


class LutkitError(Exception):
    """Base of every error that lutkit raises on purpose; the command line prints it as one line and exits with 1."""


class ProgramError(LutkitError):
    """A program, an op or one of their fields is inconsistent."""


class ArtefactError(LutkitError):
    """An artefact file is damaged, hostile, unreadable or from a newer schema."""


class InputError(LutkitError):
    """An image or array handed to a model cannot be processed."""


class BackendError(LutkitError):
    """A backend is unknown or not available on this machine."""


class ImageError(LutkitError):
    """An image file cannot be read or written."""


class DataError(LutkitError):
    """A data set, configuration, checkpoint or run folder cannot be used."""


class FormatError(LutkitError):
    """A foreign file (published tables, networks, colour LUTs) cannot be imported or exported."""
