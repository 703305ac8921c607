"""Going on after Snakemake was killed: `python -m babelscope.recovery`, or `make recover`.

Its jobs may still run, on a cluster or as processes that it left behind. To unlock and restart at
once would run them a second time, at the same time. Here they are waited for, or cancelled; what
they finished is told to Snakemake, which could not see it; then the same command is run again, but
for what would make it do again all that is finished.
"""

import argparse
import logging
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from snakemake.api import SnakemakeApi
from snakemake.cli import parse_args, parse_config
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    DeploymentMethod,
    DeploymentSettings,
    ExecutionSettings,
    OutputSettings,
    ResourceSettings,
)

import babelscope
from babelscope import cluster, provenance, running
from babelscope.errors import BabelscopeError

logger = logging.getLogger(__name__)

How = Literal["wait", "cancel", "none-left"]
PAUSE = 5  # seconds between two looks at what still runs
TELL = 60  # seconds between two lines about it


def outlive(executor: str, how: How) -> None:
    """Return when no job is alive any more.

    A job that is cancelled gets SIGTERM, on which a training saves its state.
    """
    asked: set[Any] = set()
    told, last = "", 0.0
    while alive := running.live_jobs(executor):
        if how == "cancel":
            _cancel([job for job in alive if job not in asked])
            asked.update(alive)
        text = f"{'ending' if how == 'cancel' else 'waiting for'} {running.named(alive)}"
        if text != told or time.monotonic() - last > TELL:
            told, last = text, time.monotonic()
            logger.info("%s", text)
        time.sleep(PAUSE)


def _cancel(jobs: Sequence[cluster.ClusterJob | running.LocalJob]) -> None:
    queued = [job for job in jobs if isinstance(job, cluster.ClusterJob)]
    if queued:
        cluster.cancel(queued)
    for job in jobs:
        for number in job.processes if isinstance(job, running.LocalJob) else ():
            try:
                os.kill(number, signal.SIGTERM)
            except ProcessLookupError:
                continue


def adopt(arguments: Sequence[str]) -> list[str]:
    """Unlock this folder and tell Snakemake which jobs were finished without it; return these.

    Snakemake marks a job's outputs when it starts it, and takes the mark away when it has seen the
    end; what is marked it makes again. A job of ours is finished when its records say so, the last
    that it writes: with today's settings, from the inputs that are there, with all outputs as they
    were written. Everything else keeps its mark.

    Raises
    ------
    BabelscopeError
        If they would have Snakemake do finished work again.
    """
    _, given = parse_args(list(arguments))
    if given.force or given.forceall or given.forcerun:
        raise BabelscopeError(
            f"The command would do finished work again: snakemake {shlex.join(arguments)}.",
            "No job of it is alive any more: unlock (snakemake --unlock), and run it yourself"
            " without what forces work (-f, -F, -R, also in a profile).",
        )
    methods = set(given.software_deployment_method)
    methods |= {DeploymentMethod.CONDA} if given.use_conda else set()
    with SnakemakeApi(OutputSettings(log_level_override=logging.ERROR)) as api:
        made = api.workflow(
            ResourceSettings(cores=1),
            config_settings=ConfigSettings(
                config=parse_config(given.config),
                configfiles=given.configfile,
                config_args=given.config,
            ),
            deployment_settings=DeploymentSettings(
                deployment_method=methods, conda_prefix=given.conda_prefix
            ),
            snakefile=given.snakefile,
            workdir=given.directory,
        )
        made.dag(DAGSettings(targets=given.targets)).unlock()
        workflow: Any = made._workflow
        workflow.execution_settings = ExecutionSettings(keep_metadata=not given.drop_metadata)
        workflow._build_dag()
        return workflow.async_run(_adopt(workflow.dag, workflow.persistence))


async def _adopt(dag: Any, persistence: Any) -> list[str]:
    adopted = []
    for job in dag.jobs:
        if await _is_unknown(job, persistence) and provenance.is_finished(
            job.rule.name,
            job.wildcards_dict,
            dict(job.params.items()),
            map(str, job.input),
            map(str, job.output),
            provenance.code_of(Path(str(job.rule.script)).stem),
        ):
            await persistence.finished(job)
            adopted.append(" ".join([job.rule.name, *job.wildcards]))
    return adopted


async def _is_unknown(job: Any, persistence: Any) -> bool:
    """Return whether there are outputs of a job whose end Snakemake has not noted."""
    if not job.output or not all([await file.exists() for file in job.output]):
        return False
    if await persistence.incomplete(job):
        return True
    for file in job.output:
        noted = persistence.metadata(file)
        if noted is None or noted.endtime != (await file.mtime()).local_or_storage():
            return True
    return False


def unforced(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command's arguments without those that do finished work again, and these."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--force", "-f", action="store_true")
    parser.add_argument("--forceall", "-F", action="store_true")
    parser.add_argument("--forcerun", "-R", nargs="*")
    try:
        found, left = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError:  # letters that share one dash, which `adopt` refuses
        return list(arguments), []
    dropped = [f"--{name}" for name, is_so in vars(found).items() if is_so not in (False, None)]
    return left, [*dropped, *(found.forcerun or [])]


def main(words: Sequence[str] | None = None) -> int:
    """Wait for what is left of a killed Snakemake, or cancel it; then run its command again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--how",
        choices=get_args(How),
        default="wait",
        help="wait for its jobs, or cancel them; none-left: wait for those that are seen, having"
        " looked yourself into the queue of an executor that cannot be asked",
    )
    parser.add_argument("--directory", "-d", type=Path, default=Path(), metavar="FOLDER")
    options = parser.parse_args(words)
    try:
        return _go_on(options.directory.resolve(), options.how)
    except BabelscopeError as error:
        logger.error("%s", error)
        return 1


def _go_on(folder: Path, how: How) -> int:
    run = running.last_run(folder)
    if running.is_unreadable(folder):
        raise BabelscopeError(
            f"{folder / running.RECORD} is damaged, so nobody knows what to go on with.",
            "Unlock (snakemake --unlock) and run the same command yourself: it does not begin while"
            " jobs of the last one live on.",
        )
    if run is None:
        raise BabelscopeError(
            f"No Snakemake of this project has begun in {folder}.",
            "Name another folder (--directory), or run snakemake itself; with --unlock once before,"
            " if it was killed before its first job.",
        )
    source = str(Path(babelscope.__file__).parents[1])
    paths = [str(Path(run.python).parent), os.environ.get("PATH", "")]
    environment = os.environ | {"PATH": os.pathsep.join(paths)}
    if run.python != sys.executable:  # which lacks the executor, perhaps
        command = [run.python, "-m", "babelscope.recovery", "--how", how, "-d", str(folder)]
        os.execve(run.python, command, environment | {"PYTHONPATH": source})
    if run.executor == "local" and not run.ended and run.host != socket.gethostname():
        raise BabelscopeError(
            f"The last Snakemake in {folder} ran on {run.host}, and so did its jobs, which cannot"
            " be seen from here.",
            "Recover there; or, if nothing of it can be alive any more, delete"
            f" {folder / running.RECORD}, unlock (snakemake --unlock) and run snakemake itself.",
        )
    if how != "none-left" and (unseen := running.unseen_jobs(run)):
        raise unseen
    os.chdir(folder)
    with running.alone(Path()) as record:
        outlive(run.executor, how)
        os.chdir(run.directory)
        arguments, dropped = unforced(run.arguments)
        try:
            adopted = adopt(arguments)
        except BabelscopeError:
            raise
        except Exception as error:  # whatever Snakemake makes of a configuration changed since
            raise BabelscopeError(
                f"Snakemake cannot make the graph of jobs: {' '.join(str(error).split())}",
                "Put that right and try again; no job of it is alive any more.",
            ) from error
        for name in adopted:
            logger.info("finished in the meantime: %s", name)
        running.note_end(record, run)
    os.chdir(run.directory)
    if dropped:
        logger.info(
            "left out, since it would do finished work again: %s; what it had not done again yet"
            " stays as it was",
            shlex.join(dropped),
        )
    logger.info("snakemake %s", shlex.join(arguments))
    os.execve(run.python, [run.python, "-m", "snakemake", *arguments], environment)


if __name__ == "__main__":
    sys.exit(main())
