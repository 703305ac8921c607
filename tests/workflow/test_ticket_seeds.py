"""What tickets, repeats and transfers share by chance, and what they must not."""

import runpy
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from babelscope import jobs
from babelscope.subnetworks import trials

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"


class Asked(Exception):
    pass


@pytest.fixture
def seed_of(monkeypatch):
    """Return a function that tells which seed a script trains with."""

    def ask(*arguments, seed, **options):
        raise Asked(seed)

    monkeypatch.setattr(jobs, "job", lambda _: nullcontext())
    monkeypatch.setattr(trials, "make_trial", ask)

    def run(script, *, variant="ticket", lang="en", task="ner", seed=1):
        wildcards = {"model": "m", "task": task, "lang": lang, "variant": variant, "kept": "40"}
        params = {"task": {"training": {}}, "tickets": {}, "compute": {}, "version": 1}
        snakemake = SimpleNamespace(
            wildcards=SimpleNamespace(seed=str(seed), **wildcards),
            params=SimpleNamespace(**params),
            resources={"logging_steps": 1, "save_steps": 1},
            input=SimpleNamespace(model="folder", scheme=[]),
        )
        with pytest.raises(Asked) as asked:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), {"snakemake": snakemake})
        return asked.value.args[0]

    return run


def test_a_transfer_has_not_the_head_and_order_that_the_own_ticket_was_found_with(seed_of):
    """They would favour it over the tickets of others."""
    found = [seed_of("find_ticket", variant=variant) for variant in ("ticket", "repeat")]
    assert seed_of("transfer_ticket") not in found
    assert seed_of("transfer_ticket") != seed_of("transfer_ticket", seed=2)


def test_variants_are_paired_and_a_repeat_is_another_draw(seed_of):
    """The first round is that of the full model in every variant but the repeat."""
    ticket = seed_of("find_ticket")
    for variant in ("random", "component", "early", "unrewound"):
        assert seed_of("find_ticket", variant=variant) == ticket
    assert seed_of("find_ticket", variant="repeat") != ticket
    assert seed_of("find_ticket", seed=2) != ticket
