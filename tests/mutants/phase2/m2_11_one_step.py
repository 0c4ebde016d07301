"""Only nodes that read given constants are folded."""

from __future__ import annotations


def simplify(nodes, outputs, constants, ops):
    needed = set(outputs)
    alive = []
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.reads)
            alive.append(node)
    known, kept = dict(constants), []
    for node in reversed(alive):
        if node.reads and node.op in ops and all(name in constants for name in node.reads):
            known[node.name] = ops[node.op](*(known[name] for name in node.reads))
        else:
            kept.append(node)
    wanted = {*outputs, *(name for node in kept for name in node.reads)}
    return kept, {name: values for name, values in known.items() if name in wanted}
