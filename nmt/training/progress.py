"""Where a training stands, in a few numbers: what a checkpoint holds beside weights and optimiser."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from nmt.batch import Batch, Indices
from nmt.recipe import Recipe
from nmt.recipe_section import RENAMED
from nmt.training.optim import PlateauState

# Keys that may differ between one start and the next: how long, how often, how to search and to show. All others shape
# the weights, and a resumed run with another value of them would be neither the old training nor the new one.
_CHANGEABLE = frozenset(
    {
        *("train.updates", "train.validate_every", "train.validate_sentences", "train.save_every", "train.keep"),
        *(
            "train.patience",
            "train.average",
            "train.samples",
            "train.max_skipped",
            "compute.threads",
            "compute.timeout_seconds",
            "compute.shard_optimizer",
            "search",
        ),
        *("corpus.folder", "corpus.downloads", "corpus.obtain", "corpus.test"),
    }
)


# Keys that runs of older versions do not name, and what these did.
_ADDED = {"compute.compile": "off", "compute.cuda_graphs": False}


@dataclass(frozen=True)
class Validated:
    """A validation that is remembered: its update, BLEU and loss."""

    update: int
    bleu: float
    loss: float


@dataclass
class Progress:
    """Counts and records; `epoch`, `pool` and `batch` say what comes next, `validated` is in the order it happened."""

    update: int = 0
    epoch: int = 0
    pool: int = 0
    batch: int = 0
    tgt_tokens: int = 0
    skipped_in_a_row: int = 0
    waited: int = 0
    validated: list[Validated] = field(default_factory=list)
    plateau: PlateauState = field(default_factory=PlateauState)

    @property
    def best(self) -> Validated | None:
        """The validation with the highest BLEU, the earliest of equals."""
        return max(self.validated, key=lambda v: (v.bleu, -v.update), default=None)

    def to_state(self) -> dict[str, Any]:
        """As plain values for JSON. An infinite plateau.best becomes None: JSON has no infinity."""
        state = asdict(self)
        if state["plateau"]["best"] == float("inf"):
            state["plateau"]["best"] = None
        return state

    @staticmethod
    def from_state(state: dict[str, Any]) -> "Progress":
        """The inverse of `to_state`."""
        plateau = dict(state["plateau"])
        if plateau["best"] is None:
            plateau["best"] = float("inf")
        validated = [Validated(**v) for v in state["validated"]]
        return Progress(**{**state, "validated": validated, "plateau": PlateauState(**plateau)})


def fixed_keys(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe that a resumed run must not change, by dotted name."""
    return {key: value for key, value in _flat("", recipe.model_dump(mode="json")) if not _changeable(key)}


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """`key: old -> new` for each fixed key that differs; `before` may have been written by an older nmt."""
    before = _ADDED | {RENAMED.get(key, key): value for key, value in before.items()}
    keys = sorted(before.keys() | after.keys())
    return [f"{k}: {before.get(k)} -> {after.get(k)}" for k in keys if before.get(k) != after.get(k)]


def _changeable(key: str) -> bool:
    return any(key == free or key.startswith(free + ".") for free in _CHANGEABLE)


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [item for k, v in value.items() for item in _flat(f"{prefix}.{k}" if prefix else k, v)]
    return [(prefix, value)]


@dataclass(frozen=True)
class Counts:
    """What an update sees: real source and target tokens, and the positions that its batches have for both."""

    src_tokens: int
    tgt_tokens: int
    positions: int

    @staticmethod
    def of(batches: Sequence[Batch]) -> "Counts":
        """The counts of some batches together."""
        return Counts(
            sum(batch.src_tokens for batch in batches),
            sum(batch.tgt_tokens for batch in batches),
            sum(batch.positions for batch in batches),
        )

    def as_list(self) -> list[int]:
        """The three numbers, in their order."""
        return [self.src_tokens, self.tgt_tokens, self.positions]


@dataclass(frozen=True)
class Step:
    """An update as it was taken: its pairs and counts; loss (summed, nats) and gradient norm, still on the device."""

    update: int
    pairs: Indices
    counts: Counts
    nll: Tensor
    norm: Tensor


@dataclass
class Window:
    """Sums since the last logged update."""

    started: float
    updates: int = 0
    nll: float = 0.0
    tgt_tokens: int = 0
    positions: int = 0
    real: int = 0
    grad_norm: float = 0.0

    def add(self, counts: Counts, nll: float, grad_norm: float) -> None:
        """Takes in one update."""
        self.updates += 1
        self.nll += nll
        self.tgt_tokens += counts.tgt_tokens
        self.positions += counts.positions
        self.real += counts.src_tokens + counts.tgt_tokens
        self.grad_norm += grad_norm


def spread(size: int, count: int) -> list[int]:
    """`count` places spread evenly over `size`."""
    return [i * size // count for i in range(min(count, size))] if count else []


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
