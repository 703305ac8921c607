"""The one exception a user is meant to read."""

LONGEST = 4000  # characters of a message; it may quote what stands in a damaged file


class BabelscopeError(Exception):
    """A problem that the user can repair: bad input, bad configuration, a failed download.

    Parameters
    ----------
    what
        What is wrong, one sentence that names the file, key or line.
    remedy
        What to do about it, one sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        what = " ".join(what.splitlines())
        if len(what) > LONGEST:
            what = f"{what[: LONGEST // 2]} [...] {what[-LONGEST // 4 :]}"
        super().__init__(f"{what} {remedy}")
        self.what = what
        self.remedy = remedy
