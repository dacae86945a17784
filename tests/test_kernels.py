"""The fast operations equal plain PyTorch: results, gradients, and what a whole network makes of them."""

import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asc_kit import blocks, kernels, network

STRIDES = [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]


def both_ways(monkeypatch, function, *tensors):
    """Outputs and gradients of the kit's operation and of PyTorch's own, from the same inputs."""
    results = []
    for plain in (False, True):
        monkeypatch.setattr(kernels, "PLAIN", plain)
        inputs = [tensor.clone().requires_grad_() for tensor in tensors]
        output = function(*inputs)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
        results.append([output.detach(), *torch.autograd.grad(output, inputs, weights)])
    return results


def assert_equal(mine, plain, tolerance):
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture
def patch():
    with pytest.MonkeyPatch.context() as context:
        yield context


@settings(max_examples=30, deadline=None)
@given(time=st.integers(1, 9), mel=st.integers(1, 9), stride=st.sampled_from(STRIDES), last=st.booleans())
def test_depthwise(time, mel, stride, last):
    x = torch.randn(2, 5, time, mel, dtype=torch.float64, generator=torch.Generator().manual_seed(time * 10 + mel))
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    weight = torch.randn(5, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        mine, plain = both_ways(patch, lambda x, w: kernels.depthwise(x, w, stride, (1, 1)), x, weight)
    assert mine[0].shape[2:] == (-(-time // stride[0]), -(-mel // stride[1]))
    assert_equal(mine, plain, 1e-12)


@pytest.mark.parametrize("stride", STRIDES)
def test_subsample(patch, stride):
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    mine, plain = both_ways(patch, lambda x: kernels.subsample(x, stride), x)
    assert_equal(mine, plain, 0)


def test_squeeze_excite(patch):
    draw = torch.Generator().manual_seed(3)
    shapes = [(4, 8, 6, 5), (2, 8), (2,), (8, 2), (8,)]
    tensors = [torch.randn(shape, dtype=torch.float64, generator=draw) for shape in shapes]
    mine, plain = both_ways(patch, kernels.squeeze_excite, *tensors)
    assert_equal(mine, plain, 1e-12)
    x, squeeze, below, excite, above = tensors
    means = x.mean((2, 3))
    gate = 1 / (1 + torch.exp(-((torch.nn.functional.silu(means @ squeeze.T + below)) @ excite.T + above)))
    torch.testing.assert_close(mine[0], x * gate[:, :, None, None])


@pytest.mark.parametrize("kind", [blocks.MBConv4, blocks.FusedMBConv4])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("outputs", [6, 8])
def test_a_block_learns_the_same(patch, kind, stride, outputs):
    torch.manual_seed(0)
    block, x = kind(6, outputs, stride).double().to(memory_format=torch.channels_last), torch.randn(3, 6, 8, 8).double()
    results = []
    for plain in (False, True):
        patch.setattr(kernels, "PLAIN", plain)
        block.zero_grad()
        inputs = x.clone().requires_grad_()
        block(inputs).square().sum().backward()
        results.append([inputs.grad, *(p.grad.clone() for p in block.parameters())])
    assert_equal(*results, 1e-9)


def gradients(plain, precision, layout):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "PLAIN", plain)
        torch.manual_seed(0)
        net = network.Network(64, 10).to(memory_format=layout)
        x = torch.randn(8, 1, 128, 64, generator=torch.Generator().manual_seed(1))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = net(x)
        nn.functional.cross_entropy(logits.float(), torch.arange(8)).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters()]).double()


def test_the_whole_network_learns_the_same():
    """In float32, as plain PyTorch does."""
    reference = gradients(True, "float32", torch.contiguous_format)
    fast = gradients(False, "float32", torch.channels_last)
    assert (fast - reference).norm() < 1e-3 * reference.norm()


@pytest.mark.skipif(
    not kernels.computes_bfloat16(torch.device("cpu")), reason="this processor has no bfloat16 arithmetic"
)
def test_in_bfloat16_it_is_no_further_from_that_than_plain_bfloat16():
    reference = gradients(True, "float32", torch.contiguous_format)
    fast, plain = (
        gradients(False, "bfloat16", torch.channels_last),
        gradients(True, "bfloat16", torch.contiguous_format),
    )
    assert (fast - reference).norm() < 1.1 * (plain - reference).norm() < 0.3 * reference.norm()


def test_scoring_takes_plain_pytorch(patch):
    """Without gradients nothing of the kit's own stands in the way of an export."""
    for name in ("_Depthwise", "_Subsample", "_SqueezeExcite"):
        patch.delattr(kernels, name)
    net = network.Network(64, 10).eval()
    with torch.no_grad():
        net(torch.randn(1, 1, 64, 64))


STEPS = """
import resource, sys, torch
from asc_kit import kernels, network
torch.set_num_threads(1)
kernels.keep_memory()
net, x = network.Network(64, 10), torch.randn(4, 1, 256, 64)
faults = []
for _ in range(7):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    net(x).sum().backward()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's memory can be kept")
def test_kept_memory_is_not_handed_out_anew():
    """Pages that the system clears in a step: without it some 3,000 of 4 KB, or none where it hands out large ones."""
    run = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True)
    assert int(run.stdout) < 100
