"""The verdicts of the benchmark that compares graph optimisers."""

from benchmarks.compare_graph_optimizers import failures


def result(*, nodes=10, low=0.9, overhead=1.0):
    """What `compare` gives of one model, for one tool that is installed and one that is not."""
    ratio = {"ratio": low + 0.01, "low": low, "high": low + 0.02}
    return {
        "model": "net",
        "nodes": {"original": 12, "ours": nodes, "onnxsim": 10},
        "ours_over": {"onnxsim": ratio, "itself": {"ratio": 1.02, "low": 1.01, "high": 1.03}},
        "plan": {"overhead": overhead},
    }


def test_as_few_nodes_as_fast_and_as_tight_as_asked_is_no_failure():
    assert failures(result()) == []
    assert failures(result(low=1.0, overhead=1.1)) == []


def test_each_bar_that_is_missed_is_a_sentence():
    assert failures(result(nodes=11)) == ["net: more nodes than onnxsim"]
    assert failures(result(overhead=1.11)) == ["net: arena 1.11 times the bound"]
    (slower,) = failures(result(low=1.001))
    assert slower == (
        "net: slower than onnxsim, 1.011 [1.001, 1.021]; a second session of ours takes 1.020 [1.010, 1.030]"
    )
