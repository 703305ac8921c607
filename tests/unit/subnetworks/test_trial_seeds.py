"""What is compared is scored on the same examples, positions and resamples."""

import numpy as np


def test_what_is_scored_does_not_depend_on_the_seed_of_training(make_toy, monkeypatch):
    """Choice of examples, hidden positions and resamples: else two draws could not be compared."""
    asked, scores = [], []
    counts = np.stack([np.arange(40) % 3 == 0, np.ones(40)], axis=1).astype(float)
    reference = np.stack([np.arange(40) % 4 == 0, np.ones(40)], axis=1).astype(float)
    for name, seed in (("one", 1), ("two", 2)):
        made = make_toy(name, seed=seed)
        read, batch = made.toy.read, made.toy.batch
        seeds = []

        def note_read(path, *, examples, seed, read=read, seeds=seeds):
            seeds.append(("read", examples, seed))
            return read(path, examples=examples, seed=seed)

        def note_batch(examples, rows, *, seed, epoch, batch=batch, seeds=seeds):
            seeds.append(("batch", epoch, seed))
            return batch(examples, rows, seed=seed, epoch=epoch)

        monkeypatch.setattr(made.toy, "read", note_read)
        monkeypatch.setattr(made.toy, "batch", note_batch)
        for split in ("train", "valid", "test"):
            examples = made.trial.read(split, made.search.files[split])
        made.trial.count(made.trial.load(), examples)
        asked.append(seeds)
        scores.append(made.trial.score(counts, where="here"))
        scores[-1] |= made.trial.change(counts, reference, where="here")
    assert asked[0] == asked[1]
    assert len({seed for what, _, seed in asked[0] if what == "read"}) == 3
    assert scores[0] == scores[1]
    assert scores[0]["change_low"] < scores[0]["change"] < scores[0]["change_high"]
