"""ClassScores: any module as logits (N, C) with its own names; what it gives is told by looking."""

import copy

import pytest
import torch
from foreign import CLASSES, FEATURES, Attention, Mlp, ModelOutput, OneDict, Tokens, TwoInputs, WithAux, given
from torch import nn

from safecompress.errors import ModelError, UsageError
from safecompress.networks import ClassScores, as_classifier, count_classes, read_for_training

ROWS = torch.randn(16, FEATURES, generator=torch.Generator().manual_seed(0))


def read(model, num_classes=CLASSES, rows=ROWS):
    return as_classifier(model, rows, num_classes)


def test_a_plain_classifier_is_left_alone():
    model = Mlp()
    assert read(model).network is model and read(model).notes == ()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda scores, x: (scores, x), 0),
        (lambda scores, x: [x, scores], 1),
        (lambda scores, x: {"hidden": x, "scores": scores}, "scores"),
        (lambda scores, x: ModelOutput(logits=scores, aux_logits=2 * scores), "logits"),
    ],
    ids=["tuple", "list", "dict", "two that fit, one called logits"],
)
def test_the_scores_are_picked_by_name_or_place(change, place):
    model = given(change).eval()
    reading = read(model)
    assert torch.equal(reading.network(ROWS), Mlp.forward(model, ROWS))
    assert f"its class scores are {place!r}" in reading.notes[0]


def test_two_parts_that_fit_are_asked_about():
    with pytest.raises(ModelError, match=r"2 of them could be .* 3 classes.*ClassScores\(model, output=0\)"):
        read(given(lambda scores, x: (scores, 2 * scores)))


@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_one_logit_is_that_of_the_second_class(shape):
    """By hand: softmax of (0, z) is (1 - sigmoid(z), sigmoid(z))."""
    reading = read(given(lambda z, x: 3 * z.reshape(shape), 1), 2)
    logits = reading.network(ROWS)
    assert logits.shape == (16, 2) and bool((logits[:, 0] == 0).all())
    assert "second class" in reading.notes[0]


def test_probabilities_are_told_from_logits_and_become_their_logarithms():
    reading = read(given(lambda scores, x: scores.softmax(1)))
    assert "probabilities" in reading.notes[0]
    assert torch.allclose(reading.network(ROWS), Mlp.forward(reading.network.network, ROWS).log_softmax(1), atol=1e-5)


def test_one_probability_a_row():
    """By hand: of 0.25 the logits are log 0.75 and log 0.25."""
    model = ClassScores(given(lambda z, x: torch.full((len(x), 1), 0.25), 1), scores="probability")
    assert model(ROWS)[0].exp().tolist() == pytest.approx([0.75, 0.25])
    assert read(given(lambda z, x: z.sigmoid(), 1), 2).network.scores == "probability"


def test_a_certain_answer_stays_finite():
    model = ClassScores(given(lambda z, x: torch.eye(3)[torch.zeros(len(x)).long()]), scores="probabilities")
    assert bool(model(ROWS).isfinite().all())


def test_logits_that_happen_to_be_small_are_no_probabilities():
    with torch.no_grad():
        model = given(lambda scores, x: scores.abs() / 100)
    assert read(model).network is model


def test_names_and_modules_are_the_networks_own():
    inner = TwoInputs()
    model = ClassScores(inner, inputs={"image": (1, FEATURES - 1), "age": (1,)})
    assert list(model.state_dict()) == list(inner.state_dict())
    assert dict(model.named_parameters()).keys() == dict(inner.named_parameters()).keys()
    assert list(model.modules()) == list(inner.modules())
    assert torch.equal(model(ROWS), inner(ROWS[:, :-1], ROWS[:, -1:]))


def test_training_mode_and_changes_reach_the_network():
    inner = nn.Sequential(nn.Linear(FEATURES, CLASSES), nn.Dropout(0.5))
    model = ClassScores(inner)
    model.eval()
    assert not inner.training and not inner[1].training and not model.training
    model.train()
    assert inner[1].training and model.training
    model.double()
    assert inner[0].weight.dtype is torch.float64
    model.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in inner.state_dict().items()})
    assert not inner[0].weight.any()


def test_a_copy_shares_nothing():
    model = ClassScores(given(lambda scores, x: (scores, x)), output=0)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.body.weight.zero_()
    assert bool(model.network.body.weight.any()) and not twin.network.body.weight.any()
    assert not twin(torch.zeros(1, FEATURES)).equal(torch.ones(1, CLASSES)) and repr(twin) == repr(model)


def test_weights_can_be_swapped_for_one_call():
    """As shadow models that are trained at once, and gradients of single rows, do."""
    model = ClassScores(Mlp(), scores="logits")
    zeros = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    assert not torch.func.functional_call(model, zeros, (ROWS,)).any() and bool(model(ROWS).any())


def test_one_dict_and_positions():
    inputs = {"image": (FEATURES - 1,), "age": (1,)}
    assert ClassScores(OneDict(), inputs=inputs, passing="dict")(ROWS).shape == (16, CLASSES)
    assert ClassScores(TwoInputs(), inputs=inputs, passing="positions")(ROWS).shape == (16, CLASSES)
    with pytest.raises(ModelError, match=r"image 5 \+ age 1 = 6"):
        ClassScores(TwoInputs(), inputs={"image": (5,), "age": (1,)})(ROWS)


def test_texts_become_ids_and_a_mask():
    model = Tokens().eval()
    texts = torch.tensor([[3, 4, -1, -1], [5, 6, 7, 8]], dtype=torch.int32)
    reading = read(model, rows=texts)
    alone = model(torch.tensor([[3, 4]]), torch.ones(1, 2))["logits"]
    assert torch.allclose(reading.network(texts)[:1], alone, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_given_rows_of_their_own(dtype):
    model = read(Mlp().to(dtype)).network
    assert model(ROWS).dtype in (torch.float32, torch.float64) and model.state_dict()["body.weight"].dtype is dtype
    trained = read_for_training(Mlp().to(dtype), ROWS, CLASSES)
    assert {p.dtype for p in trained.network.parameters()} == {torch.float32}
    assert "trained as float32" in trained.notes[0]


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel, torch.compile])
def test_wrappers_are_taken_off(wrap):
    model = Mlp()
    names = list(read(wrap(model)).network.state_dict())
    assert names == list(model.state_dict())


def test_auxiliary_outputs_in_training_are_left_out():
    model = read(WithAux()).network
    assert model.train()(ROWS).shape == model.eval()(ROWS).shape == (16, CLASSES)


def test_the_number_of_classes_is_read_from_the_answer():
    assert count_classes(Mlp(7), ROWS, 3) == 7
    assert count_classes(Mlp(1), ROWS, 2) == 2
    assert count_classes(given(lambda scores, x: (scores, x[:, :2])), ROWS, 3) == 3
    with pytest.raises(ModelError, match="4 classes or more"):
        count_classes(Mlp(3), ROWS, 4)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Mlp(5), "class_names with 5 names"),
        (Mlp(1), "cut into classes first"),
        (nn.Linear(FEATURES + 1, CLASSES), "features of shape \\(12,\\) gave RuntimeError"),
        (TwoInputs(), r"takes 2 arguments.*ClassScores\(model, inputs=\{'image': \(...\), 'age': \(...\)\}\)"),
        (given(lambda scores, x: {"a": x}), "none of them is a tensor of shape \\(16, 3\\)"),
        (given(lambda scores, x: scores.sum(0)), "shape \\(3,\\) for 16 rows"),
    ],
    ids=["more classes", "one number", "another shape", "two inputs", "no scores", "no rows"],
)
def test_what_is_no_classifier_of_these_rows_is_refused_with_the_remedy(model, words):
    with pytest.raises(ModelError, match=words):
        read(model)


def test_unknown_words_and_absent_outputs():
    with pytest.raises(UsageError, match="'logits'"):
        ClassScores(Mlp(), scores="logit_s")
    with pytest.raises(ModelError, match=r"has no 'scores'.*'hidden': \(16, 12\)"):
        ClassScores(given(lambda scores, x: {"hidden": x}), output="scores")(ROWS)


def test_attention_is_plain():
    assert isinstance(read(Attention()).network, Attention)
