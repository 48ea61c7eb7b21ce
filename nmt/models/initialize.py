"""The first values of a model's parameters."""

import torch
from torch import nn

from nmt.layers.weight_norm import WeightNormLinear
from nmt.models.contract import Seq2Seq
from nmt.recipe_init import Initialization, NormalInit, OrthogonalInit, PaperInit, UniformInit, XavierInit


@torch.no_grad()
def initialize(model: Seq2Seq, how: Initialization) -> None:
    """Fills every parameter, drawing from torch's generator in the order of the parameters' names.

    Embeddings are the weights of nn.Embedding modules; the scales of layer normalisation start at 1; any other
    parameter of one axis is a bias or a vector like v_a and starts at zero, except under `uniform`, where the papers
    that use it draw everything. Under weight normalisation the law is that of W = v, and g follows from it.
    """
    if isinstance(how, PaperInit):
        model.initialize()
        return
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    scales = {id(m.weight) for m in model.modules() if isinstance(m, nn.LayerNorm | nn.RMSNorm)}
    for _, parameter in sorted(model.named_parameters()):
        match how:
            case _ if id(parameter) in scales:
                parameter.fill_(1.0)
            case UniformInit(scale=scale):
                parameter.uniform_(-scale, scale)
            case _ if parameter.dim() < 2:
                parameter.zero_()
            case NormalInit(std=std):
                parameter.normal_(0.0, std)
            case _ if id(parameter) in embeddings:
                parameter.normal_(0.0, parameter.shape[1] ** -0.5)
            case OrthogonalInit(gain=gain):
                # A stack of square blocks, as the gates of a recurrent layer are, is orthogonal block by block.
                stacked = parameter.shape[0] % parameter.shape[1] == 0
                for block in parameter.split(parameter.shape[1]) if stacked else (parameter,):
                    nn.init.orthogonal_(block, gain)
            case XavierInit(gain=gain):
                nn.init.xavier_uniform_(parameter, gain)
    for module in model.modules():
        if isinstance(module, WeightNormLinear):
            module.follow_v()
