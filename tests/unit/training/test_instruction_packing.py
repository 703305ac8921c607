import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from babelscope.corpus.instructions import make_instruction_pairs
from babelscope.errors import BabelscopeError
from babelscope.io import write_jsonl
from babelscope.training.instructions import (
    Samples,
    Texts,
    instruction_loss,
    pack,
    packed_batch,
    read_samples,
)

FAMILIES = ("gpt2", "xglm", "bloom", "llama")
RECORD = {
    "sent0": "ab",
    "sent1": "ba",
    "clm_text": "ab: ba",
    "clm_prompt_len": 4,
}


def tokenizer_of(merges=(), special=True):
    """Return a BPE tokenizer of letters with the given merges; BOS and EOS around every text."""
    letters = [" ", ":", *"abcdefghij"]
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [*names, *letters, *("".join(pair) for pair in merges)]
    numbers = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.BPE(numbers, list(merges), unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split("|", "isolated")  # nothing is split
    if special:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


@pytest.fixture
def read(tmp_path):
    """Return a function that writes records and reads them as samples."""

    def read(records, tokenizer=None, **options):
        path = tmp_path / "samples.jsonl.zst"
        write_jsonl(path, records)
        return read_samples(
            path, tokenizer or tokenizer_of(), **{"max_tokens": 20, "block": 20} | options
        )

    return read


def labelled(samples, tokenizer, number=0):
    """Return the tokens of an instruction, each with whether it is predicted."""
    place = samples.instructions.place(number)
    tokens = tokenizer.convert_ids_to_tokens(samples.instructions.ids[place].tolist())
    return list(zip(tokens, samples.labels[place].tolist(), strict=True))


# The prompt


def test_a_token_is_predicted_if_it_holds_a_character_of_the_answer(read):
    plain = tokenizer_of()
    wanted = [("<s>", False), *((letter, False) for letter in "ab: ")]
    wanted += [("b", True), ("a", True), ("</s>", False)]
    assert labelled(read([RECORD], plain), plain) == wanted


def test_a_token_that_reaches_over_the_end_of_the_prompt_is_the_answers(read):
    """Tokenizing the prompt alone would count one token too many as the prompt's."""
    merging = tokenizer_of([(" ", "b"), (":", " b")])
    found = labelled(read([RECORD], merging), merging)
    assert found[3:] == [(": b", True), ("a", True), ("</s>", False)]
    alone = merging(RECORD["clm_text"][: RECORD["clm_prompt_len"]], add_special_tokens=False)
    assert len(alone["input_ids"]) == 4 > [answer for _, answer in found[1:]].index(True)


def test_an_answer_that_begins_the_text_has_one_label_less(read):
    plain = tokenizer_of(special=False)
    samples = read([RECORD | {"clm_prompt_len": 0}], plain)
    assert samples.labels.tolist() == [False] + 5 * [True]


def test_a_long_instruction_loses_its_end(read, caplog):
    plain = tokenizer_of()
    records = [RECORD | {"clm_text": "ab: " + "c" * 9}, RECORD, RECORD | {"clm_text": "ab: " * 5}]
    records[2]["clm_prompt_len"] = 18
    samples = read(records, plain, block=7)
    assert labelled(samples, plain) == [
        ("<s>", False),
        *((letter, False) for letter in "ab: "),
        ("c", True),
        ("c", True),
    ]
    assert samples.instructions.lengths.tolist() == [7, 7, 0]
    assert samples.predicted.tolist() == [2, 2, 0]
    assert "3 of 3 instructions are longer" in caplog.text
    assert "2 lose the end of their answer, nothing is learned from 1" in caplog.text


def test_no_room_for_any_answer(read):
    with pytest.raises(BabelscopeError, match="no instruction has a token of its answer"):
        read([RECORD], block=5)


# Pairs


def test_sentences_are_tokenized_once_and_those_that_say_the_same_are_known(read):
    records = [
        {"sent0": "a", "sent1": "b"},
        {"sent0": "a", "sent1": "c", "sent2": "j"},
        {"sent0": "d", "sent1": "e"},
        {"sent0": "f", "sent1": "d"},
        {"sent0": "h", "sent1": "i"},
    ]
    samples = read([RECORD | record for record in records])
    assert samples.pairs.tolist() == [[0, 1, -1], [0, 2, 3], [4, 5, -1], [6, 4, -1], [7, 8, -1]]
    groups = samples.contents[samples.pairs[:, 0]]
    assert (groups[:, None] == groups).tolist() == [
        [True, True, False, False, False],
        [True, True, False, False, False],
        [False, False, True, True, False],
        [False, False, True, True, False],
        [False, False, False, False, True],
    ]
    assert (samples.contents[samples.pairs[:, 0]] == samples.contents[samples.pairs[:, 1]]).all()
    assert samples.contents[3] not in samples.contents[[0, 4, 7]]  # a hard negative says another
    assert len(samples.sentences) == 9


def test_pairs_beside_one_instruction_are_negatives(tmp_path):
    """Repeated, an instruction stands beside pairs of other rows, which do not say the same."""
    files = {code: tmp_path / f"{code}.jsonl.zst" for code in ("en", "de")}
    for code, path in files.items():
        rows = [
            {"id": str(number), "instruction": f"{code} a{number}", "input": "", "output": "b"}
            for number in range(40)
        ]
        write_jsonl(path, rows)
    outputs = {split: str(tmp_path / f"{split}.jsonl.zst") for split in ("train", "valid")}
    make_instruction_pairs(
        {"one": {code: str(path) for code, path in files.items()}},
        {},
        outputs,
        languages={"en": "English", "de": "German"},
        pivot="en",
        cross_probability=0.5,
        change_probability=0.5,
        repeat=3.0,
        valid=0.2,
        weights={},
        seed=1,
    )
    samples = read_samples(outputs["train"], tokenizer_of(), max_tokens=20, block=60)
    assert len(set(samples.contents)) == len(samples) / 3 == len(samples.sentences) / 2


def test_long_sentences_are_cut_and_counted(read, caplog):
    samples = read([RECORD | {"sent0": "a" * 30}], max_tokens=6)
    assert samples.sentences.lengths.tolist() == [6, 4]
    assert "1 of 2 sentences cut to 6 tokens" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sent1": None}, "line 2: the field sent1 is None, expected str"),
        ({"clm_prompt_len": "4"}, "line 2: the field clm_prompt_len is '4', expected int"),
        ({"clm_prompt_len": 6}, "clm_prompt_len is 6 of the 6 characters"),
        ({"clm_prompt_len": -1}, "clm_prompt_len is -1"),
    ],
)
def test_a_field_that_is_wrong(read, change, said):
    with pytest.raises(BabelscopeError, match=said):
        read([RECORD, RECORD | change])


@pytest.mark.parametrize("name", RECORD)
def test_a_field_that_is_missing(read, name):
    record = {key: value for key, value in RECORD.items() if key != name}
    with pytest.raises(BabelscopeError, match=f"line 1: the field {name} is 'missing'"):
        read([record])


def test_a_file_without_samples(tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_text("")
    with pytest.raises(BabelscopeError, match=r"empty.jsonl has no samples"):
        read_samples(path, tokenizer_of(), max_tokens=5, block=5)
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD | {"sent0": ""}) + "\n")
    with pytest.raises(BabelscopeError, match="has no tokens: ''"):
        read_samples(path, tokenizer_of(special=False), max_tokens=5, block=9)


# Packing


def test_texts_share_blocks_whole_and_once():
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 30, 200).tolist()
    blocks = pack(lengths, 32)
    assert sorted(number for row in blocks for number in row) == [
        number for number, length in enumerate(lengths) if length
    ]
    filled = [sum(lengths[number] for number in row) for row in blocks]
    assert max(filled) <= 32
    assert sum(lengths) / (32 * len(blocks)) > 0.9
    assert pack([0, 0], 32) == []


def random_samples(lengths, seed=0, *, unlabelled=()):
    """Return samples whose instructions have these lengths; about half of the tokens are labels."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(4, 99, length) for length in lengths]
    labels = [np.arange(length) >= max(1, length // 2) for length in lengths]
    for number in unlabelled:
        labels[number][:] = False
    nothing = np.zeros((len(lengths), 3), int)
    return Samples(
        sentences=Texts.of([]),
        pairs=nothing,
        contents=np.empty(0, int),
        instructions=Texts.of(texts),
        labels=np.concatenate(labels),
        padding=1,
    )


def losses_and_gradients(model, samples, rows):
    model.zero_grad()
    loss, count = instruction_loss(model, packed_batch(samples, rows))
    (loss / 10).backward()
    gradients = {
        name: value.grad.clone()
        for name, value in model.named_parameters()
        if value.grad is not None
    }
    return loss.item(), int(count), gradients


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_and_unpacked_are_equal(make_model, family):
    """Loss and gradients of texts that share rows are those of texts that stand alone."""
    lengths = [9, 5, 12, 1, 7, 3]
    samples = random_samples(lengths)
    model = make_model(family)
    packed = losses_and_gradients(model, samples, [[2, 3, 4], [0, 1, 5]])
    alone = losses_and_gradients(model, samples, [[number] for number in range(6)])
    by_hand = 0.0
    for number in (0, 1, 2, 4, 5):
        ids = torch.tensor(samples.instructions[number].astype(int))[None]
        labels = ids.clone()
        labels[0, : max(1, lengths[number] // 2)] = -100
        out = model(input_ids=ids, labels=labels)
        by_hand += out.loss.item() * int((labels != -100).sum())
    assert packed[0] == pytest.approx(by_hand, rel=1e-5)
    assert alone[0] == pytest.approx(by_hand, rel=1e-5)
    assert packed[1] == alone[1] == samples.labels.sum()
    assert packed[2].keys() == alone[2].keys()
    for name, value in packed[2].items():
        torch.testing.assert_close(value, alone[2][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_sees_the_text_before_has_another_loss(make_model, family):
    """As published: what the test above would have to find."""
    samples = random_samples([9, 8])
    model = make_model(family)
    right, _ = instruction_loss(model, packed_batch(samples, [[0, 1]]))
    batch = packed_batch(samples, [[0, 1]])
    one = batch | {
        "segments": torch.ones_like(batch["segments"]),
        "position_ids": torch.arange(17)[None],
    }
    wrong, _ = instruction_loss(model, one)
    assert wrong.item() != pytest.approx(right.item(), rel=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputing_activations_changes_nothing(make_model, family):
    samples = random_samples([9, 5, 12, 7])
    found = []
    for recomputed in (False, True):
        model = make_model(family)
        for module in model.modules():
            for key in ("dropout", "attention_dropout", "activation_dropout", "p"):
                if isinstance(getattr(module, key, None), float):
                    setattr(module, key, 0.0)
        if recomputed:
            model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        found.append(losses_and_gradients(model, samples, [[2, 0], [3, 1]]))
    assert found[0][0] == found[1][0]
    for name, value in found[0][2].items():
        torch.testing.assert_close(value, found[1][2][name], rtol=1e-6, atol=1e-7, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_without_labels_or_tokens_have_no_loss_and_no_nan(make_model, family):
    samples = random_samples([6, 4], unlabelled=[0, 1])
    model = make_model(family)
    loss, count, gradients = losses_and_gradients(model, samples, [[0, 1], []])
    assert (loss, count) == (0.0, 0)
    assert all(torch.isfinite(value).all() for value in gradients.values())
    loss, count = instruction_loss(model, packed_batch(samples, [[]]))
    assert (loss.item(), int(count)) == (0.0, 0)


def test_bloom_rounds_no_distance_of_a_later_text(make_model):
    """In bf16 a shift of all distances is no longer harmless; the model is as before afterwards."""
    model = make_model("bloom")
    samples = random_samples([400, 40])
    batch = packed_batch(samples, [[0, 1]])
    alone = packed_batch(samples, [[1]])
    kept = model.base_model.build_alibi_tensor
    seen = []
    hook = model.base_model.h[0].register_forward_pre_hook(
        lambda _, __, options: seen.append(options["alibi"]), with_kwargs=True
    )
    instruction_loss(model, batch)
    instruction_loss(model, alone)
    hook.remove()
    assert torch.equal(seen[0][:, :, 400:], seen[1])
    assert model.base_model.build_alibi_tensor == kept
    assert "build_alibi_tensor" not in vars(model.base_model)
