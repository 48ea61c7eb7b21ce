"""Several models that write one translation together."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nmt.models.contract import Memory, Seq2Seq, State, Step
from nmt.ops.listed import chosen
from nmt.ops.top import Survey, survey


@dataclass(frozen=True)
class EnsembleMemory(Memory):
    """members: the memory of each model, in their order."""

    members: tuple[Memory, ...]


@dataclass(frozen=True)
class EnsembleState(State):
    """members: the state of each model, in their order."""

    members: tuple[State, ...]


class Ensemble(Seq2Seq):
    """A model of models of any kinds that share their vocabularies; the search cannot tell it from a single one.

    The next word's probability is the mean of what the members give it, (1/M) sum_m p_m(y_t | y_<t, x), the
    ensemble of Sutskever et al. 2014 (arXiv:1409.3215, section 3.6, which does not say which mean); not the mean of
    log-probabilities, in which one member could forbid a word. The mean is taken in float32, of what each member
    computes in its own precision. Attention is the mean of the members that have some, each the mean of its layers and
    heads. Its features are the log-probabilities themselves, so D is V here; it has no projection and is not trained.
    Costs what its members cost together.
    """

    def __init__(self, members: Sequence[Seq2Seq]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def _each(self) -> list[Seq2Seq]:
        return [member for member in self.members if isinstance(member, Seq2Seq)]

    def encode(self, src: Tensor, keep: Tensor) -> EnsembleMemory:
        """The memory of each member."""
        return EnsembleMemory(keep, tuple(member.encode(src, keep) for member in self._each()))

    def start(self, memory: Memory, beam: int, max_len: int) -> EnsembleState:
        """The first state of each member."""
        assert isinstance(memory, EnsembleMemory)
        pairs = zip(self._each(), memory.members, strict=True)
        return EnsembleState(tuple(member.start(its, beam, max_len) for member, its in pairs))

    def step(self, prev: Tensor, memory: Memory, state: State, want_weights: bool = False) -> Step:
        """A step of each member: features (R, V) are log-probabilities in float32, weights (R, 1, 1, S)."""
        assert isinstance(memory, EnsembleMemory)
        assert isinstance(state, EnsembleState)
        members = zip(self._each(), memory.members, state.members, strict=True)
        steps = [(member, member.step(prev, m, s, want_weights)) for member, m, s in members]
        log_probs = [member.project(step.features).float().log_softmax(-1) for member, step in steps]
        weights = [step.weights.float().mean((1, 2), keepdim=True) for _, step in steps if step.weights is not None]
        return Step(
            log_mean_exp(torch.stack(log_probs)),
            EnsembleState(tuple(step.state for _, step in steps)),
            torch.stack(weights).mean(0) if weights else None,
        )

    def project(self, features: Tensor) -> Tensor:
        """The features: they are log-probabilities already."""
        return features

    def project_listed(self, features: Tensor, ids: Tensor, owners: Tensor) -> Tensor:
        """Those that are listed."""
        return chosen(features, ids, owners)

    def survey(self, features: Tensor, n: int) -> Survey:
        """Of the features themselves."""
        return survey(features, min(n, features.shape[1]))

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Every member keeps what it may keep."""
        with ExitStack() as stack:
            for member in self._each():
                stack.enter_context(member.settled())
            yield

    def initialize(self) -> None:
        """Each member as its own paper says."""
        for member in self._each():
            member.initialize()


def log_mean_exp(log_probs: Tensor) -> Tensor:
    """log of the mean over axis 0 of exp(log_probs), without underflow; exact where all are equal."""
    top = log_probs.amax(0).clamp(min=torch.finfo(log_probs.dtype).min)  # where all are -inf: -inf - -inf is no number
    return top + (log_probs - top).exp().mean(0).log()
