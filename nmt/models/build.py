"""From a model's section of the recipe to the model: one `match`, one case a kind."""

from nmt.models.bahdanau import Bahdanau
from nmt.models.cho import Cho
from nmt.models.contract import Seq2Seq
from nmt.models.convs2s import ConvS2S
from nmt.models.gnmt import GNMT
from nmt.models.luong import Luong
from nmt.models.modern import Modern
from nmt.models.rnn import RNN
from nmt.models.sutskever import Sutskever
from nmt.models.transformer import Transformer
from nmt.recipe_models import (
    BahdanauConfig,
    ChoConfig,
    Convolutions,
    ConvS2SConfig,
    GNMTConfig,
    LuongConfig,
    ModelConfig,
    ModernConfig,
    RNNConfig,
    SutskeverConfig,
    TransformerConfig,
)


def build_model(config: ModelConfig, n_src: int, n_tgt: int) -> Seq2Seq:
    """The model that a recipe describes, for vocabularies of n_src and n_tgt ids; parameters are not initialised yet.

    On the meta device (`with torch.device("meta")`) it allocates nothing, so that sizes can be checked and counted.
    """
    match config:
        case BahdanauConfig():
            return Bahdanau(
                n_src,
                n_tgt,
                d_embed=config.d_embed,
                d_hidden=config.d_hidden,
                d_align=config.d_align,
                d_maxout=config.d_maxout,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
                reset=config.reset,
            )
        case ChoConfig():
            return Cho(
                n_src,
                n_tgt,
                d_embed=config.d_embed,
                d_hidden=config.d_hidden,
                d_maxout=config.d_maxout,
                reset=config.reset,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case SutskeverConfig():
            return Sutskever(
                n_src,
                n_tgt,
                n_layers=config.n_layers,
                d_embed=config.d_embed,
                d_hidden=config.d_hidden,
                reverse_source=config.reverse_source,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case LuongConfig():
            return Luong(
                n_src,
                n_tgt,
                n_layers=config.n_layers,
                d_embed=config.d_embed,
                d_hidden=config.d_hidden,
                score=config.score,
                reach=config.reach,
                window=config.window,
                d_align=config.d_align,
                max_source=config.max_source,
                input_feeding=config.input_feeding,
                reverse_source=config.reverse_source,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case GNMTConfig():
            return GNMT(
                n_src,
                n_tgt,
                n_layers=config.n_layers,
                d_model=config.d_model,
                d_align=config.d_align,
                attention_from=config.attention_from,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case TransformerConfig():
            return Transformer(
                n_src,
                n_tgt,
                n_layers=config.n_layers,
                n_decoder_layers=config.n_decoder_layers or config.n_layers,
                d_model=config.d_model,
                n_heads=config.n_heads,
                d_ff=config.d_ff,
                norm=config.norm,
                max_positions=config.max_positions if config.positions == "learned" else None,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                activation_dropout=config.activation_dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
                output_bias=config.output_bias,
                activation=config.activation,
            )
        case RNNConfig():
            return RNN(
                n_src,
                n_tgt,
                cell=config.cell,
                attention=config.attention,
                n_layers=config.n_layers,
                d_embed=config.d_embed,
                d_hidden=config.d_hidden,
                d_align=config.d_align,
                score=config.score,
                reach=config.reach,
                window=config.window,
                max_source=config.max_source,
                input_feeding=config.input_feeding,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case ModernConfig():
            return Modern(
                n_src,
                n_tgt,
                n_layers=config.n_layers,
                n_decoder_layers=config.n_decoder_layers,
                d_model=config.d_model,
                n_heads=config.n_heads,
                d_ff=config.d_ff,
                n_kv_heads=config.n_kv_heads,
                qk_norm=config.qk_norm,
                attention=config.attention,
                window=config.window,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )
        case ConvS2SConfig():
            return ConvS2S(
                n_src,
                n_tgt,
                d_embed=config.d_embed,
                d_out=config.d_out,
                encoder=_layers(config.encoder),
                decoder=_layers(config.decoder or config.encoder),
                max_positions=config.max_positions,
                dropout=config.dropout,
                tied_output=config.tied_output,
                tied_embeddings=config.tied_embeddings,
            )


def _layers(blocks: list[Convolutions]) -> list[tuple[int, int]]:
    """(width, kernel) of each layer, from the bottom."""
    return [(block.d_hidden, block.kernel) for block in blocks for _ in range(block.n_layers)]
