"""Rows of files as others publish them: tables with tabs, JSON lines, and the hub's Parquet."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from babelscope.errors import BabelscopeError
from babelscope.io import read_json, read_jsonl, read_lines

Place = str  # where a row stands, for messages: the file and the line
TABLE = "Correct languages or the row of config/corpora.tsv."


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
    need_columns(path, needed, header)
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise BabelscopeError(
            f"{path} has several columns {', '.join(repeated)}.", "Keep one of them."
        )
    for number, line in enumerate(lines, start=first):
        cells = line.split("\t")
        if len(cells) != len(header):
            raise BabelscopeError(
                f"{path}, line {number}: {len(cells)} cells, but the header has {len(header)}.",
                "Repair that line; cells are separated by one tab and not quoted.",
            )
        yield f"{path}, line {number}", dict(zip(header, cells, strict=True))


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
        return [path / item["filename"] for item in read_json(state)["_data_files"]]
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
            for row in batch.to_pylist():
                yield {key: _named(value, names.get(key), file) for key, value in row.items()}
    except FileNotFoundError as error:
        raise BabelscopeError(f"{file} does not exist.", TABLE) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise BabelscopeError(
            f"{file} is damaged or no such table ({str(error).splitlines()[0]}).", "Fetch it again."
        ) from error


def _label_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the class labels by column, as the hub writes them into a schema."""
    document = json.loads(metadata.get(b"huggingface", b"{}"))
    names = {}
    for column, feature in document.get("info", {}).get("features", {}).items():
        while isinstance(feature, list) or "feature" in feature:  # a list of labels, old or new
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        if feature.get("_type") == "ClassLabel":
            names[column] = feature["names"]
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
