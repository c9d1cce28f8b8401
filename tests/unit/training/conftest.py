"""What tests of training share: nothing is shipped, and runs that are stopped after their first epoch."""

import pytest

from n2a_bids.training import course, session
from n2a_bids.training.session import run_train


@pytest.fixture(autouse=True)
def _nothing_shipped(monkeypatch):
    monkeypatch.setattr(session, "load_weights", lambda name: None)
    monkeypatch.setattr(session, "LEVELS", (1.0,))


@pytest.fixture
def better(monkeypatch):
    """The test finds the trained network better, whatever it is."""
    monkeypatch.setattr(session, "_refuse_worse", lambda *args: None)


@pytest.fixture
def train_interrupted(monkeypatch):
    """Train until the checkpoint of the first epoch is written; nothing but that is there then."""
    save = course.save_course

    def stop_after_first_epoch(*args):
        save(*args)
        raise KeyboardInterrupt

    def train(asked):
        with monkeypatch.context() as stopping:
            stopping.setattr(course, "save_course", stop_after_first_epoch)
            with pytest.raises(KeyboardInterrupt):
                run_train(asked)
        assert not list(asked.out.glob("*"))

    return train
