"""A model for tests that computes what it is told to, and remembers how it was called."""

from solutions.core.tensors import TensorSpec


class StubModel:
    """A `Model` whose answer is a function of its feeds.

    It checks shapes and dtypes as the real runtimes do, and keeps the batch sizes of its calls.
    """

    name = "stub"
    format = "stub"
    device = "cpu"

    def __init__(self, inputs, outputs, answer=None, metadata=None, quantization=None):
        self.inputs = tuple(TensorSpec(*spec) for spec in inputs)
        self.outputs = tuple(TensorSpec(*spec) for spec in outputs)
        self.metadata = metadata or {}
        self.quantization = quantization or {}
        self.batches = []
        self._answer = answer

    def predict(self, feeds):
        assert set(feeds) == {spec.name for spec in self.inputs}
        for spec in self.inputs:
            spec.check(feeds[spec.name])
        self.batches.append(len(feeds[self.inputs[0].name]))
        return self._answer(feeds)

    def close(self):
        pass
