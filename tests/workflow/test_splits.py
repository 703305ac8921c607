"""Masks are found on validation text; what is reported is scored on test text."""

import re
from pathlib import Path

RULES = Path(__file__).resolve().parents[2] / "workflow" / "rules"


def splits_read_by(rule: str) -> set[str]:
    for file in RULES.glob("*.smk"):
        found = re.search(rf"^rule {rule}:\n(.*?)^    output:", file.read_text(), re.M | re.S)
        if found:
            return set(re.findall(r"/(train|valid|test)\.arrow", found[1]))
    raise AssertionError(f"no rule {rule}")


def test_no_split_finds_and_scores_a_mask():
    assert splits_read_by("rank_heads") == {"valid"}
    for rule in ("select_head_mask", "derive_control_masks", "compute_mask_overlap"):
        assert splits_read_by(rule) == set()
    for rule in ("evaluate_perplexity", "remove_heads", "measure_attention_entropy"):
        assert splits_read_by(rule) == {"test"}
    assert splits_read_by("evaluate_unigram") == {"train", "test"}
    assert splits_read_by("finetune_mlm") == {"train", "valid"}
