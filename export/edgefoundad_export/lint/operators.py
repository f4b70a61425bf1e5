"""Which operators TensorRT's ONNX parser knows, by version.

Source: the operator tables that the parser's authors publish (docs/operators.md of onnx-tensorrt),
of TensorRT 9.2 and 10.15, and the change logs of the versions between and after. An operator that
is in the second table, not in the first, and in none of the logs from 10.1 on, counts as known to
10.0 (Gelu, Mish).
"""

from __future__ import annotations

from edgefoundad_export.lint.finding import VERSIONS

OPSETS = {"10.3": (9, 20), "10.16": (9, 24), "11": (9, 24)}
"""First and last opset that a version takes. For 11, the first release's: later ones take 25."""

_ALWAYS = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast
    CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum
    DeformConv DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike
    Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
    LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow QuantizeLinear RNN
    RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize ReverseSequence RoiAlign Round Scatter ScatterElements ScatterND Selu Shape
    Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""

# The windows came with 10.4, STFT with 10.5, attention and what belongs to it with 10.14 and 10.15.
_SINCE_10_16 = """
    Attention BlackmanWindow HammingWindow HannWindow RMSNormalization RotaryEmbedding STFT
    TensorScatter
"""

_SINCE_11 = "Swish"

_REFUSING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_ALWAYS.split(), ()),
    **dict.fromkeys(_SINCE_10_16.split(), VERSIONS[:1]),
    **dict.fromkeys(_SINCE_11.split(), VERSIONS[:2]),
}

DATA_DEPENDENT = frozenset(
    {"Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique"}
)
"""Operators whose output has a shape, or whose execution takes a way, that only a frame decides.

TensorRT knows some of them, but an exported graph's memory is laid out before the first frame."""


def refusing(operator: str) -> tuple[str, ...]:
    """The versions whose parser does not know an operator of ONNX's own domain."""
    return _REFUSING.get(operator, VERSIONS)
