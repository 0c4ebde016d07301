"""What each runtime wants of a QDQ graph: one file does not serve them all.

ONNX Runtime on CPU is fastest with unsigned activations and needs the bias in int32; OpenVINO and TensorRT want signed
codes around zero and the bias in float. OpenVINO computes SiLU and its like inside the convolution: a code between the
two takes them apart, and YOLOX-nano a quarter longer. TensorRT decides itself where a layer's output is coded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QdqScheme:
    """The types one runtime wants.

    Attributes:
        activation: code type of activations.
        symmetric: activations with zero point in the middle.
        reduce_range: 7-bit weights, for x86 processors without VNNI.
        per_channel: one scale per output channel of a weight.
        code_bias: bias as int32 with scale = input's x weight's; otherwise it stays float.
        code_outputs: code what workers give, too; otherwise only what they read (TensorRT's placement).
        guard_float: put a barrier in front of layers that stay in float, see `_Writer.guard`.
        fused_activations: the runtime computes an activation behind a layer in float before it codes, see `plan_qdq`.
        fuse_saturation: let the saturation of the output replace Relu and Clip; runtimes that fuse them want them kept.
    """

    activation: str = "uint8"
    symmetric: bool = False
    reduce_range: bool = False
    per_channel: bool = True
    code_bias: bool = True
    code_outputs: bool = True
    guard_float: bool = False
    fused_activations: bool = False
    fuse_saturation: bool = True


SCHEMES: Mapping[str, QdqScheme] = {
    "onnxruntime": QdqScheme(guard_float=True),
    "openvino": QdqScheme("int8", symmetric=True, code_bias=False, fused_activations=True, fuse_saturation=False),
    "tensorrt": QdqScheme("int8", symmetric=True, code_bias=False, code_outputs=False, fuse_saturation=False),
}
