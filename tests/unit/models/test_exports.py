"""An exported encoder in `mteb`, unchanged: a local task, scored there and by hand."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from scipy.stats import spearmanr

from babelscope.models.adapters import ParallelAdapter
from babelscope.models.lora import add_lora, merge_lora
from babelscope.models.sentence_encoders import load_encoder, save_encoder

if find_spec("mteb") is None:  # importing it takes seconds and warns
    pytest.skip("mteb is not installed", allow_module_level=True)

# In a process of its own: what mteb imports warns, and it must not see this package.
PROGRAM = """
import json, sys
import mteb
from datasets import Dataset, DatasetDict
from mteb.abstasks import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer

folder, pairs, output = sys.argv[1:]

class LocalSTS(AbsTaskSTS):
    metadata = TaskMetadata(
        name="LocalSTS", description="local", type="STS",
        dataset={"path": "local/none", "revision": "1"}, eval_splits=["test"],
        eval_langs={"es": ["spa-Latn"]}, main_score="cosine_spearman",
        category="t2t", modalities=["text"],
    )
    min_score, max_score = 0, 5

    def load_data(self, num_proc=None, *, timer=None, **options):
        if not self.data_loaded:
            with open(pairs) as file:
                self.dataset = {"es": DatasetDict(test=Dataset.from_dict(json.load(file)))}
            self.data_loaded = True

encoder = SentenceTransformer(folder, device="cpu")
found = mteb.evaluate(encoder, [LocalSTS()], cache=None, co2_tracker=False, show_progress_bar=False)
assert "babelscope" not in sys.modules
with open(output, "w") as file:
    json.dump(found.task_results[0].scores["test"][0]["main_score"], file)
"""


def test_mteb_scores_an_exported_encoder(folder_of, disturb, tmp_path):
    encoder = load_encoder(folder_of("xlm-roberta"), prefix="w1 ")
    encoder.normalize = True
    add_lora(encoder.network, "sentence", rank=2, alpha=4, dropout=0, seed=0)
    disturb([one for one in encoder.network.parameters() if one.requires_grad])
    adapter = ParallelAdapter(encoder.network)
    disturb(adapter.parameters())
    first, second = (
        [
            " ".join(f"w{(number * step + place) % 95}" for place in range(2 + number % 9))
            for number in range(40)
        ]
        for step in (7, 5)
    )
    scores = [(number * 13 % 40) / 8 for number in range(40)]
    vectors = [encoder.encode(side, batch_tokens=200) for side in (first, second)]
    expected = spearmanr((vectors[0] * vectors[1]).sum(1), scores).statistic
    merge_lora(encoder.network)
    adapter.fold()
    save_encoder(encoder, tmp_path / "encoder")
    pairs = {"sentence1": first, "sentence2": second, "score": scores}
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    paths = [tmp_path / name for name in ("encoder", "pairs.json", "score.json")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", PROGRAM, *paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "score.json").read_text()) == pytest.approx(expected, abs=1e-5)
