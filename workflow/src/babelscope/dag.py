"""The jobs of a configuration, as Snakemake itself would run them; nothing in the folder changes.

`snakemake -n` makes folders, writes a cache and says nothing of jobs that need not run, so the
graph is built here by Snakemake's own classes, from records that are only read. They are no public
interface: this is for the one version of Snakemake that is pinned.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.cli import parse_config
from snakemake.dag import DAG
from snakemake.io import IOCache
from snakemake.persistence.file import FilePersistence
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    RerunTrigger,
    ResourceSettings,
)

from babelscope.errors import BabelscopeError

ROOT = Path(__file__).resolve().parents[3]
UNLIMITED = 10**6  # cores, so that no job's threads are cut to what this machine has
# Environments are not compared: they are solved only where Snakemake is called with --sdm.
TRIGGERS = frozenset(RerunTrigger.all()) - {RerunTrigger.SOFTWARE_ENV}


@dataclass(frozen=True)
class Mark:
    """Snakemake's note that a job was started and has not ended.

    Attributes
    ----------
    time
        When it was made, in seconds since the epoch.
    cluster_id
        What a cluster calls the job; None on one machine, and once it runs.
    """

    time: float
    cluster_id: str | None


@dataclass(frozen=True)
class Job:
    """One job of the graph.

    Attributes
    ----------
    rule, wildcards
        What it makes.
    script, environment
        Names of the rule's script and of its environment in ``envs/``, empty if it has none.
    threads, gpus
        What it asks for.
    params
        Of the rule.
    outputs, log, benchmark
        Its files, below the folder; the last two may be None.
    needed
        Snakemake would run it: something it makes is missing and asked for, or it is outdated.
    changed
        What has changed since it was run, empty if nothing has but what other jobs make.
    mark
        None unless it was started and has not ended.
    """

    rule: str
    wildcards: Mapping[str, str]
    script: str
    environment: str
    threads: int
    gpus: int
    params: Mapping[str, Any]
    outputs: Sequence[str]
    log: str | None
    benchmark: str | None
    needed: bool
    changed: str
    mark: Mark | None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return " ".join([self.rule, *self.wildcards.values()])


@dataclass(frozen=True)
class Graph:
    """All jobs that a configuration's targets take.

    Attributes
    ----------
    folder
        Where they are run.
    config
        The configuration as Snakemake has it, overlays and all.
    jobs
        Those that make something, after those whose outputs they need.
    studies
        By target rule, the places of the jobs that it takes.
    """

    folder: Path
    config: dict[str, Any]
    jobs: list[Job]
    studies: dict[str, list[int]]


class _Records(FilePersistence):
    """What Snakemake has noted in a folder: read, but neither made, locked nor written."""

    def __init__(self, dag: DAG, folder: Path) -> None:
        home = folder / ".snakemake"
        self._path = home
        self.dag = dag
        self.max_checksum_file_size = dag.max_checksum_file_size
        self.conda_env_path = str(home / "conda")
        self._metadata_path = str(home / "metadata")
        self._incomplete_path = str(home / "incomplete")
        self._incomplete_cache = None
        self._max_len = os.pathconf(folder, "PC_NAME_MAX")

    def drop_iocache(self) -> None:
        """Leave the cache of a dry run alone."""

    def mark(self, outputs: Iterable[Any]) -> Mark | None:
        """Return the mark of a job by its outputs."""
        for output in outputs:
            path = Path(self._record_path(self._incomplete_path, self._get_key(output)))
            try:
                found = path.stat().st_mtime, json.loads(path.read_text("utf-8") or "{}")
            except (FileNotFoundError, json.JSONDecodeError):  # it has ended, or begins just now
                continue
            return Mark(found[0], found[1].get("external_jobid"))
        return None


def read_graph(
    targets: Sequence[str] = (),
    *,
    configfiles: Sequence[str | Path] = (),
    config: Sequence[str] = (),
    directory: str | Path = ".",
    snakefile: str | Path,
) -> Graph:
    """Return the jobs that Snakemake would run, or has run, for some targets.

    Parameters
    ----------
    targets
        Rules or files; none for the studies that the configuration names.
    configfiles, config, directory, snakefile
        What Snakemake's options of these names are given; of `config` each entry is ``key=value``.

    Raises
    ------
    BabelscopeError
        If the folder is not there, or Snakemake cannot make the graph: a wrong configuration, an
        input that is missing and nothing makes.
    """
    folder = Path(directory).resolve()
    given = (folder, Path(snakefile), *map(Path, configfiles))
    missing = [path for path in given if not path.exists()]
    if missing:
        raise BabelscopeError(f"{missing[0]} is not there.", "Correct the path.")
    with _told_in_one_line():
        settings = ConfigSettings(
            config=parse_config(list(config)), configfiles=[Path(path) for path in configfiles]
        )
    quiet = OutputSettings(
        enable_file_logging=False, skip_plugin_handlers=True, log_level_override=logging.CRITICAL
    )
    with SnakemakeApi(quiet) as api, _told_in_one_line():
        api_of_folder = api.workflow(
            ResourceSettings(cores=UNLIMITED),
            config_settings=settings,
            snakefile=Path(snakefile).resolve(),
            workdir=folder,
        )
        how = DAGSettings(targets=frozenset(targets), rerun_triggers=TRIGGERS)
        api_of_folder.dag(how)
        workflow: Any = api_of_folder._workflow
        config_found = dict(workflow.globals["config"])
        wanted = list(targets) or config_found.get("studies") or [workflow.default_target]
        workflow.iocache = IOCache(how.max_inventory_wait_time)
        dag = workflow._dag = DAG(
            workflow,
            workflow.rules,
            targetrules=[workflow.get_rule(name) for name in wanted if workflow.is_rule(name)],
            targetfiles={os.path.relpath(name) for name in wanted if not workflow.is_rule(name)},
            ignore_incomplete=True,
        )
        records = workflow._persistence = _Records(dag, folder)
        workflow._build_dag()
        found = [
            job
            for level in dag.toposorted()
            for job in sorted(level, key=lambda job: (job.rule.name, *job.wildcards))
            if not job.is_norun
        ]
        places = {job: place for place, job in enumerate(found)}
        studies = {
            target.rule.name: sorted(
                places[job] for job in dag.bfs(dag.dependencies, target) if job in places
            )
            for target in dag.targetjobs
            if target.is_norun
        }
        jobs = [_job(job, dag, records) for job in found]
        return Graph(folder, config_found, jobs, studies)


def _job(job: Any, dag: DAG, records: _Records) -> Job:
    return Job(
        rule=job.rule.name,
        wildcards=dict(job.wildcards_dict),
        script=Path(str(job.rule.script or "")).stem,
        environment=_environment(job),
        threads=job.threads,
        gpus=job.resources.get("gpu", 0),
        params=dict(job.params.items()),
        outputs=[str(path) for path in job.output],
        log=next(iter(map(str, job.log)), None),
        benchmark=None if job.benchmark is None else str(job.benchmark),
        needed=dag.needrun(job),
        changed=_changed(dag.reason(job)),
        mark=records.mark(job.output),
    )


def _changed(reason: Any) -> str:
    found = {
        "its script": reason.code_changed,
        "its settings": reason.params_changed,
        "which inputs it has": reason.input_changed,
        "an input": reason.updated_input,
    }
    return ", ".join(what for what, is_so in found.items() if is_so)


def _environment(job: Any) -> str:
    spec = job.conda_env_spec
    return Path(str(spec.file.get_path_or_uri(secret_free=True))).stem if spec is not None else ""


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turn whatever ends the making of a graph into one error of ours."""
    try:
        yield
    except BabelscopeError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise BabelscopeError(
            f"Snakemake cannot make the graph of jobs: {text}",
            "`snakemake -n` with the same options says where.",
        ) from None
