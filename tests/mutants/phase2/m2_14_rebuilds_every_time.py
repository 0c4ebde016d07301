"""An engine is built for every wish."""

from __future__ import annotations


def engine_for(wish, stored, build, *, room=8):
    def fits(engine):
        same = all(getattr(engine, part) == getattr(wish, part) for part in ("model", "precision", "device", "version"))
        sizes = zip(engine.least, wish.shape, engine.most, strict=False)
        return same and len(engine.least) == len(wish.shape) and all(low <= size <= high for low, size, high in sizes)

    engine = build(wish)
    if not fits(engine):
        raise ValueError(f"an engine from {engine.least} to {engine.most} does not fit {wish.shape}")
    stored.append(engine)
    del stored[:-room]
    return engine
