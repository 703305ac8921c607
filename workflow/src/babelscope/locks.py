"""Locks on files that the system drops when their last holder dies, however it dies.

They are those of ``flock``; `babelscope.training.checkpoints` says where they hold over the nodes
of a cluster.
"""

import errno
import fcntl
import logging
import time
from pathlib import Path

logger = logging.getLogger(__name__)

# The file system has no locks, or, on NFS, none on what may only be read.
UNKNOWN = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
PAUSE = 0.2  # seconds between two tries


def stand_in(path: str | Path) -> Path:
    """Return the file to lock for one that others remove and make anew, as Snakemake does logs."""
    path = Path(path)
    return path.with_name(f".{path.name}.lock")


def hold(descriptor: int, patience: float, *, shared: bool = False) -> bool:
    """Lock an open file for this process, and for all that inherit the descriptor.

    Parameters
    ----------
    descriptor
        Open for writing.
    patience
        Seconds to wait for another holder; at least as many as :func:`is_held` may take elsewhere.
    shared
        Together with others that share it; then it must be open for reading, too.

    Returns
    -------
    bool
        False if another holds it. Where the file system knows no locks, True with a warning.
    """
    last = time.monotonic() + patience
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= last:
                return False
            time.sleep(PAUSE)
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
            logger.warning("files here cannot be locked (%s): start nothing twice", error.strerror)
            return True
        else:
            return True


def is_held(path: str | Path) -> bool:
    """Return whether some process holds the lock of a file alone, on this machine or another.

    To look takes a share of the lock for a moment: those who look at once do not see each other.
    """
    with Path(path).open("rb") as file:  # NFS shares locks of what is open for reading
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
    return False
