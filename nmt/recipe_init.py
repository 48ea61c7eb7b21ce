"""How a model's weights begin: the initialisations that the model section of a recipe may name."""

from typing import Annotated, Literal

from pydantic import Field

from nmt.recipe_section import PositiveFloat, Section


class PaperInit(Section):
    """The initialisation that the model's own paper gives."""

    kind: Literal["paper"] = "paper"


class UniformInit(Section):
    """Every weight and bias uniform in [-scale, scale] (Sutskever 2014: 0.08; Luong 2015: 0.1)."""

    kind: Literal["uniform"]
    scale: PositiveFloat = 0.1


class NormalInit(Section):
    """Every weight normal with mean 0 and this standard deviation, biases 0."""

    kind: Literal["normal"]
    std: PositiveFloat = 0.01


class OrthogonalInit(Section):
    """Every matrix orthogonal (Saxe et al. 2014) times gain, embeddings normal with d_embed^-0.5, biases 0."""

    kind: Literal["orthogonal"]
    gain: PositiveFloat = 1.0


class XavierInit(Section):
    """Matrices uniform in Glorot & Bengio's bound (2010) times gain, embeddings normal with d_embed^-0.5, biases 0."""

    kind: Literal["xavier"]
    gain: PositiveFloat = 1.0


Initialization = Annotated[
    PaperInit | UniformInit | NormalInit | OrthogonalInit | XavierInit, Field(discriminator="kind")
]
