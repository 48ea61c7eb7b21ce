import pytest

from nmt.errors import UsageError
from nmt.processes import Place, place, several, speaks


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def started(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_without_torchrun_there_is_one_process_and_it_speaks() -> None:
    assert place() == Place(0, 1, 0, 1)
    assert speaks()
    assert not several()


def test_torchrun_with_one_process_is_like_none(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    assert place() == Place()
    assert not several()


def test_the_place_is_what_torchrun_says_and_one_a_machine_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4")
    assert place() == Place(5, 8, 1, 4)
    assert several()
    assert not speaks()
    started(monkeypatch, RANK="4", LOCAL_RANK="0")
    assert speaks()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "2"}, "the environment variable RANK is missing, so this process does not know its place"),
        ({"WORLD_SIZE": "two"}, "the environment variable WORLD_SIZE is 'two', not a number"),
        ({"WORLD_SIZE": "0"}, "the environment variable WORLD_SIZE is '0', not a number above 0"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "the environment variable RANK is '-1', not a number"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "the environment says RANK 2 of WORLD_SIZE 2"),
        (
            {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
            "the environment says LOCAL_RANK 1 of LOCAL_WORLD_SIZE 1",
        ),
    ],
)
def test_an_environment_that_is_not_torchruns_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    started(monkeypatch, **environment)
    with pytest.raises(UsageError) as caught:
        place()
    assert caught.value.what.startswith(said)
    assert "torchrun --nproc-per-node 2 -m nmt train RECIPE" in caught.value.hint
