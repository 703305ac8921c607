"""Adapter for the rule build_demo: dumps, parallel sentences and the data of tasks of the demo."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from babelscope.demo import build_demo
from babelscope.io import atomic
from babelscope.jobs import job

with job(snakemake), ExitStack() as stack:
    made = [stack.enter_context(atomic(output)) for output in snakemake.output]
    scratch = Path(stack.enter_context(TemporaryDirectory(dir=made[0].parent)))
    build_demo(
        scratch,
        languages=snakemake.params.languages,
        date=snakemake.params.date,
        **snakemake.params.settings,
    )
    for path in made:
        (scratch / path.name).replace(path)
