"""A training whose processes are spread over the nodes of a cluster."""

import subprocess

import numpy as np
import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]


def test_two_nodes_are_one_process_with_the_same_batch(finetuning):
    """Cancelled in the middle, too: then all processes stop at one step, and nothing is lost."""
    two = finetuning("two", dropout=0.0, max_steps=300)
    two.start([1], processes=2, nodes=2)
    job = two.training(1)
    assert job["nodes"] == "c[1-2]"
    assert job["cpus"] == 2
    step = subprocess.run(
        ["scontrol", "--oneliner", "show", "step", f"{job['id']}.0"], capture_output=True, text=True
    ).stdout
    assert "NodeList=c[1-2]" in step
    assert "Tasks=2" in step
    subprocess.run(["scancel", str(job["id"])], check=True)
    two.finish()
    assert [job["state"] for job in two.jobs(1)] == ["CANCELLED", "COMPLETED"]
    stopped = two.resumed(1)
    assert 20 <= stopped < 300
    assert stopped % 10 == 0  # the step that all agreed on
    weights, history = two.result(1)
    alone, expected = two.undisturbed(1, batch_size=8)
    for column in ("step", "epoch", "split", "language", "tokens"):
        assert history[column].equals(expected[column])
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-3)
    assert difference(weights, alone) < 1e-4
    assert not two.checkpoints(1).exists()


def difference(one, two):
    """Return how far weights are apart, relative to their size.

    The keys' biases are left out: attention does not depend on them, so rounding alone moves them.
    """
    names = [name for name in one if not name.endswith("key.bias")]
    apart = sum(np.square(one[name] - two[name]).sum() for name in names)
    return np.sqrt(apart / sum(np.square(two[name]).sum() for name in names))
