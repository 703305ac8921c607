"""Files of a repository on the Hugging Face hub at a fixed commit; nothing of it is run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from babelscope.errors import BabelscopeError

TABLES = {"model": "config/models.tsv", "dataset": "config/corpora.tsv"}


def download_files(
    repository: str,
    revision: str,
    folder: str | Path,
    patterns: Sequence[str],
    *,
    kind: Literal["model", "dataset"],
    endpoint: str | None = None,
) -> None:
    """Bring the files that fit some patterns into a folder, going on from what is there.

    Parameters
    ----------
    repository
        Its name, ``owner/name``.
    revision
        Commit of the repository, 40 hexadecimal digits.
    folder
        Where the files go, under their paths in the repository.
    patterns
        Of paths, with ``*``.
    kind
        What the repository is, for its address and for messages.
    endpoint
        Address of the hub; by default the usual one, or the variable ``HF_ENDPOINT``.

    Raises
    ------
    BabelscopeError
        If the repository or commit does not exist, or cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    table = TABLES[kind]
    try:
        snapshot_download(
            repository,
            repo_type=kind,
            revision=revision,
            local_dir=folder,
            allow_patterns=list(patterns),
            endpoint=endpoint,
        )
    except GatedRepoError:
        problem = "asks for its terms to be accepted"
        remedy = "Accept them on the hub, then set HF_TOKEN."
    except RevisionNotFoundError:
        problem, remedy = f"has no commit {revision}", f"Correct the revision in {table}."
    except RepositoryNotFoundError:
        problem, remedy = "does not exist", f"Correct the location in {table}."
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        problem = f"could not be fetched ({str(error).splitlines()[0]})"
        remedy = (
            "Check the network and run the same command again, which goes on from finished files;"
            f" or name a folder with the {kind} in {table}."
        )
    else:
        return
    raise BabelscopeError(f"The {kind} {repository} on the hub {problem}.", remedy)
