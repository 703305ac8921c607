"""A model that is built learns from context, which nothing of the smallest study would show."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCORES = Path("results", "scores")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.usefixtures("prefork")]


def test_a_built_model_reads_more_than_frequencies(tmp_path):
    """Before its positions and its bias began as they do, this took several times the steps."""
    unigram = SCORES / "unigram" / "demo-xlmr.parquet"
    network = SCORES / "perplexity" / "demo-xlmr" / "base" / "s1" / "full.parquet"
    command = [
        *(Path(sys.executable).with_name("snakemake"), "--snakefile", ROOT / "Snakefile"),
        *("--workflow-profile", ROOT / "profiles" / "default", "--directory", tmp_path),
        *("--configfile", ROOT / "tests" / "learning.yaml", "--cores", "2", unigram, network),
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-6000:]
    table = pd.read_parquet(tmp_path / network).merge(
        pd.read_parquet(tmp_path / unigram), on="language", suffixes=("", "_unigram")
    )
    assert len(table) == 3
    assert (table["high"] < table["low_unigram"] / 2).all(), table
