"""The parts of the synthetic street; `solutions.core.vision.scenes` is its face."""
