"""The one exception, and the one warning, that are the user's to mend."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, an option, a folder.

    The message is one sentence that says what is wrong and what to do. The command line prints it without a
    traceback and exits with code 2; every other exception is a programming error and keeps its traceback.
    """


class SharedError(InputError):
    """An InputError that all processes of a group raise alike, so that the first one alone need say it."""


def sentence_of(error: InputError | OSError) -> str:
    """What an error says to the user: of the system's, its reason and its file, without the number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.strerror, error.filename) if part)
    return str(error) or type(error).__name__


class InputWarning(UserWarning):
    """Something the user may want to know or mend, without which the work goes on: a cache that cannot be written.

    The message is one sentence, as an InputError's. The command line prints it as "stylegan: warning: ...".
    """
