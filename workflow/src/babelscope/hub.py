"""Files of a repository on the Hugging Face hub at a fixed commit; nothing of it is run."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from babelscope.corpus.servers import TRANSIENT, Patience, TransientError, persist, said
from babelscope.corpus.verification import check_space
from babelscope.errors import BabelscopeError

TABLES = {"model": "config/models.tsv", "dataset": "config/corpora.tsv"}
PATIENCE = Patience(attempts=3)  # the hub's own client is patient, too


def download_files(
    repository: str,
    revision: str,
    folder: str | Path,
    patterns: Sequence[str],
    *,
    kind: Literal["model", "dataset"],
    endpoint: str | None = None,
    patience: Patience = PATIENCE,
) -> None:
    """Bring the files that fit some patterns into a folder, going on from what is there.

    Parameters
    ----------
    repository
        Its name, ``owner/name``.
    revision
        Commit of the repository, 40 hexadecimal digits.
    folder
        Where the files go, under their paths in the repository. What else is there, of another
        commit, is removed.
    patterns
        Of paths, with ``*``.
    kind
        What the repository is, for its address and for messages.
    endpoint
        Address of the hub; by default the usual one, or the variable ``HF_ENDPOINT``.
    patience
        How long a failing hub is waited for.

    Raises
    ------
    BabelscopeError
        If the repository or commit does not exist, or cannot be reached; or a file is not the one
        that the commit holds, by its checksum.
    """
    folder = Path(folder)
    name = f"The {kind} {repository} on the hub"

    def attempt() -> dict[str, Any]:
        from huggingface_hub import snapshot_download

        with _explained(name, revision, TABLES[kind]):
            listed = _list(repository, revision, patterns, kind, endpoint)
            _prepare(folder, listed)
            snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                local_dir=folder,
                allow_patterns=list(patterns),
                endpoint=endpoint,
            )
            return listed

    remedy = (
        "Check the network and run the same command again, which goes on from finished files; or"
        f" name a folder with the {kind} in {TABLES[kind]}."
    )
    for path, file in persist(name, attempt, patience, remedy).items():
        _verify(folder / path, file, name)


@contextmanager
def _explained(name: str, revision: str, table: str) -> Iterator[None]:
    """Tell what may pass by itself from what somebody must correct."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,  # pyright: ignore[reportPrivateImportUsage]
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
        return
    except GatedRepoError:
        problem = "asks for its terms to be accepted"
        remedy = "Accept them on the hub, then set HF_TOKEN."
    except RevisionNotFoundError:
        problem, remedy = f"has no commit {revision}", f"Correct the revision in {table}."
    except RepositoryNotFoundError:
        problem, remedy = "does not exist", f"Correct the location in {table}."
    except HFValidationError:
        problem, remedy = "has no name of the form owner/name", f"Correct it in {table}."
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        problem = f"answers with something else than a list of files ({said(error)})"
        remedy = "A proxy or a login page may be between: open its address in a browser."
    except (HTTPError, OSError) as error:
        cause: BaseException = error
        if isinstance(error, LocalEntryNotFoundError):  # what the client says of any failure
            cause = error.__cause__ or error
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
        problem, remedy = f"could not be fetched ({said(cause)})", f"Check its row in {table}."
        if not 400 <= status < 500 or status in TRANSIENT:
            raise TransientError(problem) from error
    raise BabelscopeError(f"{name} {problem}.", remedy)


def _list(
    repository: str, revision: str, patterns: Sequence[str], kind: str, endpoint: str | None
) -> dict[str, Any]:
    """Return size and checksum of the files that fit, by path."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint)
    tree = api.list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
    listed = {
        file.path: file
        for file in tree
        if isinstance(file, RepoFile) and any(fnmatch(file.path, one) for one in patterns)
    }
    for path in listed:
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path} would be outside the folder")
    return listed


def _prepare(folder: Path, listed: dict[str, Any]) -> None:
    """Remove what another commit left in the folder, and refuse to begin what cannot fit."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        if file.is_file() and path.parts[0] != ".cache" and path.as_posix() not in listed:
            file.unlink()
    missing = [file.size for path, file in listed.items() if not (folder / path).is_file()]
    check_space(folder, sum(missing))


def _verify(path: Path, file: Any, name: str) -> None:
    """Refuse a file whose checksum is not that in the commit: SHA-256, or git's of small files."""
    kind, wanted = ("sha256", file.lfs.sha256) if file.lfs else ("sha1", file.blob_id)
    start = b"" if file.lfs else b"blob %d\0" % path.stat().st_size
    with path.open("rb") as content:
        found = hashlib.file_digest(content, lambda: hashlib.new(kind, start)).hexdigest()
    if found != wanted:
        bad = path.with_name(f"{path.name}.bad")
        path.replace(bad)
        raise BabelscopeError(
            f"{name}: {file.path} has the {kind} {found} instead of {wanted}; it is kept as {bad}.",
            "Run the same command again; if it stays, something between here and the hub changes"
            " files.",
        )
