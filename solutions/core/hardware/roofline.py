"""An estimate of a model's latency on a device that is not at hand, by the roofline.

A node can be no faster than its operations at the device's peak, nor than its bytes at the memory's bandwidth
(Williams, Waterman and Patterson, 2009). Real nodes stay below both roofs and cost a launch, so the estimate is a
range. It tells a model that fits from one that does not; it never replaces a measurement.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from solutions.core.hardware.catalogue import find_device
from solutions.core.hardware.device import Device, Precision
from solutions.core.hardware.model_cost import ModelCost, NodeCost, model_cost
from solutions.core.hardware.op_costs import MAC_RULES, MOVES, VIEWS

__all__ = ["Estimate", "ModelCost", "NodeBound", "NodeCost", "estimate", "model_cost"]

Bound = Literal["compute", "memory", "overhead"]

BANDWIDTH_ACHIEVED = (0.4, 0.85)  # fraction of the stated bandwidth that inference reaches: our assumption
_ELEMENT_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class NodeBound:
    """Estimated milliseconds of one node, at best and at worst, and what holds it back at best."""

    name: str
    op: str
    low_ms: float
    high_ms: float
    bound: Bound


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated latency, in milliseconds; never measured. `str()` says so and how it was made.

    `latency_low_ms` is the best case: the optimistic share of the peaks, element-wise nodes fused into the node before
    them. `latency_high_ms` is the pessimistic share, nothing fused, every node launched by itself. `transfer_ms` (part
    of both) is what crosses the link to the device. `compute_share` is the part of `latency_low_ms` spent in
    compute-bound nodes. `missing` names what the estimate leaves out.
    """

    device: str
    precision: Precision
    latency_low_ms: float
    latency_high_ms: float
    transfer_ms: float
    compute_share: float
    nodes: tuple[NodeBound, ...]
    missing: tuple[str, ...]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, marked as an estimate, ready for JSON."""
        return {"kind": "estimate", **asdict(self)}

    def __str__(self) -> str:
        return self.text


def estimate(cost: ModelCost, device: Device | str, precision: Precision) -> Estimate:
    """The latency of one inference on `device`, as a range.

    Per node: max(operations / (peak x achieved), bytes / (bandwidth x achieved)) + launch, summed over the nodes, plus
    inputs, outputs and weights that do not fit on the chip over the link. Caches that hold activations, overlap of
    nodes and clocks under heat are not modelled.

    Args:
        cost: from `model_cost`.
        device: from the catalogue, or its name.
        precision: computed in; bytes are scaled from the file's to it, unless the file is quantised already.

    Raises:
        ConfigError: an unknown device, or one that does not compute in that precision.
    """
    if isinstance(device, str):
        device = find_device(device)
    peak = device.peak(precision)
    scale = 1.0 if cost.quantized else _ELEMENT_BYTES[precision] / cost.float_bytes
    nodes = tuple(_bound(node, device, peak, scale) for node in cost.nodes)

    crossing = (cost.input_bytes + cost.output_bytes) * scale
    weights = cost.weight_bytes * scale
    if device.weight_cache_bytes:
        crossing += max(0.0, weights - device.weight_cache_bytes)
    transfer_ms = crossing / device.link * 1e3 if device.link else 0.0
    low = sum(node.low_ms for node in nodes) + transfer_ms
    high = sum(node.high_ms for node in nodes) + transfer_ms
    compute = sum(node.low_ms for node in nodes if node.bound == "compute")

    missing = []
    if device.bandwidth is None:
        missing.append("memory traffic on the device (its bandwidth is not published)")
    if cost.unknown:
        missing.append(f"operations of {len(cost.unknown)} nodes of unknown type or shape")
    if not device.weight_cache_bytes and weights > device.memory_bytes:
        missing.append(f"{weights / 1e9:.1f} GB of weights do not fit its memory")
    share = compute / low if low else 0.0
    return Estimate(
        device=device.name,
        precision=precision,
        latency_low_ms=low,
        latency_high_ms=high,
        transfer_ms=transfer_ms,
        compute_share=share,
        nodes=nodes,
        missing=tuple(missing),
        text=_text(cost, device, precision, low, high, share, missing),
    )


def _bound(node: NodeCost, device: Device, peak: float, scale: float) -> NodeBound:
    def seconds(side: int) -> tuple[float, float]:
        compute = node.flops / (peak * device.achieved[side])
        moved = node.bytes * scale
        return compute, moved / (device.bandwidth * BANDWIDTH_ACHIEVED[side]) if device.bandwidth else 0.0

    launch = 0.0 if node.op in VIEWS or not (node.flops or node.bytes) else device.node_overhead_s
    fused = node.op not in MAC_RULES and node.op not in MOVES and node.macs == 0
    compute, memory = seconds(1)
    bound: Bound = "compute" if compute >= memory else "memory"
    if launch > max(compute, memory):
        bound = "overhead"
    low = 0.0 if fused else max(compute, memory) + launch
    return NodeBound(node.name, node.op, low * 1e3, (max(seconds(0)) + launch) * 1e3, bound)


def _text(
    cost: ModelCost, device: Device, precision: str, low: float, high: float, share: float, missing: list[str]
) -> str:
    low_share, high_share = device.achieved
    left_out = f" Left out: {'; '.join(missing)}." if missing else ""
    return (
        f"estimate, not measured: {_ms(low)} to {_ms(high)} ms on {device.title} in {precision}. Roofline over "
        f"{len(cost.nodes)} nodes ({cost.macs / 1e9:.3g} GMAC) at {low_share:.0%} to {high_share:.0%} of "
        f"{device.peak(precision) / 1e12:.3g} T operations/s (datasheet, dense) plus launches and transfers; "
        f"{share:.0%} of the best case is compute-bound.{left_out}"
    )


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
