"""Replicates in threads are those of trainings alone, to the last bit, and fail and stop one by one."""

import dataclasses
import signal
import threading
import time

import pytest
import torch

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.transformer import TransformerConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.loop import DivergedError, TrainResult, train
from ffprompt.reference.training.replicates import side_by_side, train_together

SMALL = TransformerConfig(layers=2, width=16, heads=2, length=32)


def recipes(count=4, **changes):
    data = Mixture.parse("FFL(0.8)", 32)
    return [Training(data, seed, 10 + seed, **{"steps": 20, "batch": 4, **changes}) for seed in range(count)]


@pytest.mark.parametrize(
    "config",
    [SMALL, dataclasses.replace(SMALL, embedding_dropout=0.3, mlp_dropout=0.2), LSTMConfig(width=8, hidden=12)],
    ids=["transformer", "dropout", "lstm"],
)
def test_replicates_together_are_those_trained_alone_bit_for_bit(config):
    trainings = recipes()
    together = train_together(config, trainings, at_once=4)
    for training, result in zip(trainings, together, strict=True):
        alone = train(config, training)
        assert isinstance(result, TrainResult) and result.training == training
        assert result.losses == alone.losses and not result.model.training
        for name, weight in alone.model.state_dict().items():
            assert torch.equal(weight, result.model.state_dict()[name]), name
    assert len({result.losses for result in together}) == len(together), "seeds differ, so losses do"


def test_torch_is_left_with_its_threads_and_its_generator():
    torch.manual_seed(5)
    before = torch.get_num_threads(), torch.random.get_rng_state()
    train_together(dataclasses.replace(SMALL, mlp_dropout=0.5), recipes(2, steps=2))
    assert torch.get_num_threads() == before[0] and torch.equal(torch.random.get_rng_state(), before[1])


def test_a_replicate_that_diverges_leaves_the_others_alone():
    trainings = recipes(3, steps=5, warmup=0)
    trainings[1] = dataclasses.replace(trainings[1], learning_rate=1e3, weight_decay=1e3)
    found = train_together(SMALL, trainings)
    assert [type(one) for one in found] == [TrainResult, DivergedError, TrainResult]


def test_a_replicate_has_one_core():
    with pytest.raises(ConfigError, match="threads 2: a replicate that is trained with others has 1 core"):
        train_together(SMALL, recipes(2, threads=2))


def test_an_interrupt_ends_those_at_work_and_begins_no_other():
    begun, ended = [], []
    main = threading.main_thread().ident
    both = threading.Barrier(2, action=lambda: signal.pthread_kill(main, signal.SIGINT))

    def piece(name):
        def run(alive):
            begun.append(name)
            both.wait()
            try:
                while True:
                    alive()
                    time.sleep(0.001)
            finally:
                ended.append(name)

        return run

    with pytest.raises(KeyboardInterrupt):
        side_by_side([piece(name) for name in range(5)], at_once=2)
    assert sorted(begun) == sorted(ended) == [0, 1]
