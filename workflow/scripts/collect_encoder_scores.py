"""Adapter for the rule collect_encoder_scores: scores of all methods in, the study's tables out."""

import pandas as pd

from babelscope.evaluation import encoder_summaries as summaries
from babelscope.evaluation.comparisons import compare_methods
from babelscope.evaluation.tables import gather, require_finite, wide, write_both
from babelscope.jobs import job

with job(snakemake):
    out, methods = snakemake.output, snakemake.params.methods
    labels = [{"model": snakemake.wildcards.model, **row} for row in snakemake.params.labels]
    scores = require_finite(gather(snakemake.input.scores, labels))
    index = ["seed", "task", "corpus", "setting", "metric", "language1", "language2"]
    write_both(out.scores, scores, wide(scores, index, ["method"]))

    examples = gather(snakemake.input.examples, labels)
    draws = {"resamples": snakemake.params.settings["bootstrap"]}
    draws |= {"seed": snakemake.params.settings["seed"]}
    found = compare_methods(examples, summaries.compared(methods), **draws)
    comparisons = pd.concat([found.means, found.pairs], ignore_index=True)
    write_both(out.comparisons, comparisons)

    main = summaries.method_table(scores, comparisons, methods=methods, reference=summaries.SOURCE)
    write_both(out.main, main, summaries.main_readers(main))
    by_language = summaries.per_language(scores, comparisons)
    readers = wide(by_language, ["method", "language"], ["measure"])
    write_both(out.per_language, by_language, readers)

    points = summaries.transfer_points(scores)
    write_both(out.points, points)
    write_both(out.correlations, summaries.transfer_correlations(points))
