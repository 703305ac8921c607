"""Rows of files as others publish them: tables, JSON lines, and the hub's Parquet."""

import csv
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from babelscope.errors import BabelscopeError
from babelscope.io import decode_json, open_text, read_json, read_jsonl, read_lines
from babelscope.seeds import stable_hash

logger = logging.getLogger(__name__)

Place = str  # where a row stands, for messages: the file and the line
TABLE = "Correct languages or the row of config/corpora.tsv."
REPAIR = "Repair that row, or fetch the file again."


def read_tsv(
    path: str | Path, needed: Sequence[str] = (), *, header: Sequence[str] | None = None
) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yield the rows of a table by column: tabs between cells, no quoting.

    Parameters
    ----------
    path
        Plain, ``.xz`` or ``.zst``.
    needed
        Columns that must be there.
    header
        Names of the columns, for a file whose first line is a row like the others.

    Raises
    ------
    BabelscopeError
        If a column is missing or there twice, or a row has more or fewer cells than the header.
    """
    lines = read_lines(path)
    first = 1
    if header is None:
        header, first = next(lines, "").split("\t"), 2
    _check_header(path, needed, header)
    for number, line in enumerate(lines, start=first):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise BabelscopeError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(header)}.",
                "Repair that line; cells are separated by one tab and not quoted.",
            )
        yield f"{path}, line {number}", dict(zip(header, cells, strict=True))


def read_csv(
    path: str | Path,
    needed: Sequence[str] = (),
    *,
    separator: str = ",",
    header: Sequence[str] | None = None,
) -> Iterator[tuple[Place, dict[str, str]]]:
    """Yield the rows of a table by column: cells may be quoted, and then hold line breaks.

    Parameters
    ----------
    path
        Plain or compressed; with or without a byte-order mark; lines end as on Unix or Windows.
    needed
        Columns that must be there. The name of a column may be empty, as that of an index is.
    separator
        What stands between cells: a comma, or a tab in tables that pandas wrote so.
    header
        As in :func:`read_tsv`.

    Yields
    ------
    place, row
        The place is the line in which the row begins. Empty lines are passed over.

    Raises
    ------
    BabelscopeError
        If a column is missing or there twice, a row has more or fewer cells than the header, or
        quotation marks do not pair.
    """
    with open_text(path) as file:
        lines = (
            line.removeprefix("\ufeff") if number == 0 else line for number, line in enumerate(file)
        )
        reader = csv.reader(lines, delimiter=separator, strict=True)
        begins = 1
        try:
            for cells in reader:
                place, begins = f"{path}, line {begins}", reader.line_num + 1
                if not cells:
                    continue
                if header is None:
                    header = cells
                    _check_header(path, needed, header)
                    continue
                if len(cells) != len(header):
                    raise BabelscopeError(
                        f"{place}: {len(cells)} cells, but the header has {len(header)}.",
                        "Repair that row; a cell with a comma, a tab or a line break needs quotes.",
                    )
                yield place, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise BabelscopeError(
                f"{path}, line {begins}: {error}.", "Repair the quotation marks of that row."
            ) from error
        if header is None:
            _check_header(path, needed, [])


def _check_header(path: str | Path, needed: Sequence[str], header: Sequence[str]) -> None:
    need_columns(path, needed, header)
    repeated = sorted(name for name, count in Counter(header).items() if count > 1)
    if repeated:
        raise BabelscopeError(
            f"{path} has several columns {', '.join(repeated)}.", "Keep one of them."
        )


def need_columns(path: str | Path, needed: Sequence[str], present: Sequence[str]) -> None:
    """Refuse a file that lacks a column."""
    for name in needed:
        if name not in present:
            raise BabelscopeError(
                f"{path} has no column {name}; it has {', '.join(present)}.", TABLE
            )


def read_records(path: str | Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the objects of a JSON-lines file."""
    for number, record in enumerate(read_jsonl(path), start=1):
        yield f"{path}, line {number}", record


def normalized(text: str) -> str:
    """Return a text in Unicode NFC, without white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def find_cell(row: Mapping[str, Any], names: Sequence[str], place: Place) -> Any:
    """Return the value of the first of some columns that a row has."""
    for name in names:
        if name in row:
            return row[name]
    raise BabelscopeError(
        f"{place}: no column {' or '.join(names)}; there are {', '.join(row)}.",
        "Rename the column, or correct the row of config/corpora.tsv.",
    )


def find_text(row: Mapping[str, Any], names: Sequence[str], place: Place) -> str:
    """Return the normalized text of the first of some columns; empty where there is none."""
    value = find_cell(row, names, place)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BabelscopeError(f"{place}: {value!r} is not a text.", REPAIR)
    return normalized(value)


def by_place(files: Mapping[str, str]) -> dict[tuple[str, ...], list[str]]:
    """Return files by what their keys say, those that belong together in one list.

    A key is a language, or two of a file across languages, then perhaps the name of a split, and
    last perhaps the number of the file among those that belong together: ``de``, ``de/test``,
    ``zh/en/dev/3``.
    """
    places: dict[tuple[str, ...], list[str]] = {}
    for key, file in files.items():
        parts = key.split("/")
        place = tuple(parts[:-1] if parts[-1].isdigit() else parts)
        places.setdefault(place, []).append(file)
    return places


def need_file(path: str, language: str) -> None:
    """Refuse a language without its file."""
    if not Path(path).is_file():
        raise BabelscopeError(
            f"The corpus has no {language}: {path} does not exist.",
            "Add the file, or say in config/corpora.tsv which languages the corpus has.",
        )


def files_by_pair(files: Mapping[str, str]) -> dict[tuple[str, ...], list[str]]:
    """Return the files that are there, by the one or two languages, and the split, of their keys.

    Corpora across languages have but some pairs of languages, and often in one direction only; so
    a place without a file is left out, which the log says, but no language may be without any.
    """
    present: dict[tuple[str, ...], list[str]] = {}
    absent: dict[tuple[str, ...], str] = {}
    for place, paths in by_place(files).items():
        missing = [path for path in paths if not Path(path).is_file()]
        if not missing:
            present[place] = paths
        elif len(missing) == len(paths):
            absent[place] = missing[0]
        else:
            need_file(missing[0], "/".join(place))
    found = {language for place in present for language in place[:2]}
    for place, path in absent.items():
        for language in place[:2]:
            if language not in found:
                need_file(path, language)
    if absent:
        logger.warning("no files for %s", ", ".join("/".join(place) for place in absent))
    return present


def within(name: str, low: float, high: float) -> bool:
    """Tell whether the hash of a name lies in [low, high), as shares of all hashes."""
    return int(low * 2**64) <= stable_hash("part", name) < int(high * 2**64)


def read_dataset(path: str | Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the rows of one split of a data set in a layout of the hub; nothing of it is run.

    Parameters
    ----------
    path
        A ``.parquet`` file or JSON lines; a folder that ``save_to_disk`` wrote; or a name with
        ``*``, such as ``en/train-*.parquet``: every file that it fits, in the order of their names.

    Yields
    ------
    place, row
        Numbers of a class label are replaced by the names that the file itself gives them, and -1
        by None. Other values stay as they are.

    Raises
    ------
    BabelscopeError
        If there is no such file, it cannot be read, or a number has no name.
    """
    for file in _files_of(Path(path)):
        if file.suffix not in (".parquet", ".arrow"):
            yield from read_records(file)
            continue
        for number, row in enumerate(_read_arrow(file), start=1):
            yield f"{file}, row {number}", row


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        state = path / "state.json"
        if not state.is_file():
            raise BabelscopeError(
                f"{path} is not a folder that save_to_disk wrote for one split.",
                "Name the split's folder, or its files, in config/corpora.tsv.",
            )
        try:
            names = [str(item["filename"]) for item in read_json(state)["_data_files"]]
        except (KeyError, TypeError) as error:
            raise BabelscopeError(
                f"{state} does not list files ({error}).", "Write that folder anew."
            ) from error
        if any(Path(name).name != name for name in names):
            raise BabelscopeError(
                f"{state} lists files outside its folder.", "Write that folder anew."
            )
        return [path / name for name in names]
    files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    if not files:
        raise BabelscopeError(f"{path} fits no file.", TABLE)
    return files


def _read_arrow(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".arrow":
            reader: Any = pa.ipc.open_stream(pa.memory_map(str(file)))
            schema, batches = reader.schema, iter(reader)
        else:
            reader = pq.ParquetFile(file)
            schema, batches = reader.schema_arrow, reader.iter_batches()
        names = _label_names(schema.metadata or {})
        for batch in batches:
            batch.validate(full=True)  # else a damaged one may end this process
            for row in batch.to_pylist():
                yield {key: _named(value, names.get(key), file) for key, value in row.items()}
    except FileNotFoundError as error:
        raise BabelscopeError(f"{file} does not exist.", TABLE) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BabelscopeError(
            f"{file} is damaged or no such table ({reason}).", "Fetch it again."
        ) from error


def _label_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the class labels by column, as the hub writes them into a schema.

    Raises
    ------
    ValueError
        If that is not what stands there.
    """
    names: dict[str, list[str]] = {}
    try:
        document = decode_json(metadata.get(b"huggingface", b"{}").decode())
        for column, feature in document.get("info", {}).get("features", {}).items():
            while isinstance(feature, list) or "feature" in feature:  # a list of labels, old or new
                feature = feature[0] if isinstance(feature, list) else feature["feature"]
            if feature.get("_type") == "ClassLabel":
                names[column] = [str(name) for name in feature["names"]]
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its metadata do not describe columns: {error}") from error
    return names


def _named(value: Any, names: Sequence[str] | None, file: Path) -> Any:
    if isinstance(value, list):
        return [_named(item, names, file) for item in value]
    if names is None or not isinstance(value, int):
        return value
    if not -1 <= value < len(names):
        raise BabelscopeError(
            f"{file}: the label {value} has no name; there are {', '.join(names)}.",
            "Fetch the file again, or correct it.",
        )
    return None if value == -1 else names[value]
