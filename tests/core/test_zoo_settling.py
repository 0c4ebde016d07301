"""BatchNorm statistics for untrained networks."""

import torch

from solutions.core.zoo.settling import settle_batch_norms


def test_each_norm_gets_the_statistics_of_what_reaches_it_over_all_batches():
    torch.manual_seed(0)
    shown = [3 + 2 * torch.randn(4, 2, 8, 8), -1 + torch.randn(4, 2, 8, 8)]
    first, second = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2, momentum=0.3)
    with torch.no_grad():
        second.running_mean.fill_(9)  # forgotten

    settle_batch_norms(torch.nn.Sequential(first, second), [(batch,) for batch in shown])

    for statistic, expected in (
        (first.running_mean, torch.stack([batch.mean((0, 2, 3)) for batch in shown]).mean(0)),
        (first.running_var, torch.stack([batch.var((0, 2, 3)) for batch in shown]).mean(0)),
        (second.running_mean, torch.zeros(2)),  # the first one's batch statistics have normalised it
        (second.running_var, torch.ones(2)),
    ):
        torch.testing.assert_close(statistic, expected, rtol=5e-3, atol=1e-4)
    assert (first.momentum, second.momentum) == (0.1, 0.3)
    assert not first.training


def test_dropout_stays_off_and_a_network_without_norms_is_not_run():
    class Refuses(torch.nn.Module):
        def forward(self, _):
            raise AssertionError("it was run")

    assert not settle_batch_norms(Refuses(), [(torch.ones(1),)]).training
    norm = torch.nn.BatchNorm1d(1)
    settle_batch_norms(torch.nn.Sequential(torch.nn.Dropout(0.9), norm), [(torch.full((8, 1), 5.0),)])
    assert norm.running_mean.item() == 5
