"""Babelscope: how multilingual language models share computation across languages.

`snakemake --cores 2` builds the studies named in the configuration; `snakemake --cores 2 heads`
builds one. Rules live in `workflow/rules`, one file per stage; the work is done by the library in
`workflow/src/babelscope`.
"""

import os
import signal
import sys

from snakemake.utils import min_version

min_version("9.19")
sys.path.insert(0, f"{workflow.basedir}/workflow/src")
# Slurm sends a warning before a time limit to all processes of a job. Trainings save their state; Snakemake
# would die of it and take the training with it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
# Threads that wait for each other sleep instead of spinning. Measured on layers of the demo's size, two
# threads: four times as fast where another process shares the cores, 6 % slower where none does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Bars of the libraries that jobs use, of what takes long alone, and at most two lines a minute of a log.
for key in ("DELAY", "MININTERVAL", "MAXINTERVAL"):
    os.environ.setdefault(f"TQDM_{key}", "30")


configfile: f"{workflow.basedir}/config/config.yaml"


pathvars:
    logs="<results>/logs",
    benchmarks="<results>/benchmarks",


include: "workflow/rules/common.smk"
include: "workflow/rules/retrieve.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/heads.smk"
include: "workflow/rules/tickets.smk"
include: "workflow/rules/encode.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/ticket_figures.smk"
include: "workflow/rules/encoders.smk"
include: "workflow/rules/encoder_figures.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/alignment_figures.smk"


if workflow.is_main_process and (known := running.advice()):
    logger.warning(known)


onstart:
    # Refuse to ask mirrors in nobody's name, and to work beside another Snakemake, or beside what one that was
    # killed has left running.
    try:
        check_contact(settings)
        running.begin(workflow.executor_plugin.name)
    except BabelscopeError as error:
        raise WorkflowError(str(error)) from None


rule all:
    """The studies that the configuration names."""
    default_target: True
    input:
        study_targets,


rule heads:
    """Every table and figure of the study of attention-head subnetworks."""
    input:
        heads_targets,


rule tickets:
    """Every table and figure of the study of lottery tickets."""
    input:
        tickets_targets,


rule encoders:
    """Every table and figure of the study of sentence encoders, and the encoders themselves."""
    input:
        encoders_targets,


rule alignment:
    """Every table and figure of the study of aligned generative models, and these models."""
    input:
        alignment_targets,


rule figures:
    """Every figure of the studies that the configuration names."""
    input:
        study_figures,


# Who submits a job repeats it, with more memory and time. The Snakemakes inside it, two of them, would each
# do so as well, in what it has: ten attempts in all of what fails each time.
if workflow.remote_exec:
    for named in workflow.rules:
        named.restart_times = 0
