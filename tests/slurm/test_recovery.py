"""Snakemake is killed, and its jobs run on in Slurm."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from babelscope.cluster import live_jobs
from babelscope.recovery import main as recover_main

TARGET = "results/text/parallel/demo.parquet"  # from a job of some seconds, by another

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]
