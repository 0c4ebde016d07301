"""The shape is not looked at."""

from __future__ import annotations


def engine_for(wish, stored, build, *, room=8):
    def fits(engine):
        same = all(getattr(engine, part) == getattr(wish, part) for part in ("model", "precision", "device", "version"))
        return same

    engine = next((one for one in reversed(stored) if fits(one)), None)
    if engine is None:
        engine = build(wish)
        if not fits(engine):
            raise ValueError(f"an engine from {engine.least} to {engine.most} does not fit {wish.shape}")
    else:
        stored.remove(engine)
    stored.append(engine)
    del stored[:-room]
    return engine
