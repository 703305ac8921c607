"""Adapter for the rule collect_ticket_scores: scores of all trainings in, their tables out."""

from babelscope.evaluation.tables import gather, require_finite, wide, write_both
from babelscope.evaluation.ticket_tables import task_counts
from babelscope.io import read_table
from babelscope.jobs import job
from babelscope.tokenization.packing import read_chunks

with job(snakemake):
    tasks = zip(snakemake.params.tasks, snakemake.input.counts, strict=True)
    chunks = zip(snakemake.params.chunks, snakemake.input.chunks, strict=True)
    counts = task_counts(
        {task: read_table(path) for task, path in tasks},
        {(place["lang"], place["split"]): len(read_chunks(path)) for place, path in chunks},
    )
    readers = wide(counts, ["task", "dataset", "language", "split"], ["item"], "count")
    write_both(snakemake.output.corpus, counts, readers)

    scores = require_finite(gather(snakemake.input.scores))
    index = ["seed", "task", "language", "variant", "metric", "stage", "split"]
    columns = scores.assign(percent="kept_" + scores["kept"].astype(str))
    write_both(snakemake.output.scores, scores, wide(columns, index, ["percent"]))
    transfer = gather(snakemake.input.transfer, snakemake.params.transfer)
    write_both(snakemake.output.transfer, require_finite(transfer))
