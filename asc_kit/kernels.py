"""What makes training fast on a CPU: three operations of the blocks, bfloat16, and memory that is kept.

The operations' results and gradients equal plain PyTorch's; only the way to the gradients is another.

PyTorch's own are slow here in three places: the backward pass of a strided depthwise convolution is a reference
loop, and the gradients of a mean and of a slice come in another memory layout than channels_last, so that adding
them to what they belong to goes element by element. On CUDA none of this holds, and without gradients there is no
backward pass: plain PyTorch does the work.
"""

import ctypes
import platform
from typing import Any

import torch
from torch import nn

PLAIN = False  # True: PyTorch's own everywhere, which the tests and 11_performance compare with
BATCHED = False  # True: the ways of a GPU on the CPU, too, which the tests hold against its own


def keep_memory() -> None:
    """Let this process keep freed memory for its next step, where its C library is glibc.

    As it stands glibc returns every large tensor to the system, which hands it back page by page, cleared: a third of
    a step's time. The peak grows by about an eighth, and is not given back between steps.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no block gets a mapping of its own
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, bytes


def depthwise(x: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> torch.Tensor:
    """Depthwise convolution: (batch, C, time, mel) with (C, 1, kt, km) to (batch, C, time / stride, mel / stride)."""
    if stride == (1, 1) or plain(x):
        return nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight))
    return _Depthwise.apply(x, weight.to(x.dtype), stride, padding)


def subsample(x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    """Every stride-th frame and mel bin: (batch, C, time, mel) to (batch, C, time / stride, mel / stride).

    A shortcut is sliced so and then convolved 1x1, in place of a strided 1x1 convolution, whose backward pass in
    channels_last corrupted memory ("free(): invalid next size") with torch 2.14.1 on processors with AVX-512; not with
    AVX2. No public issue describes it; pytorch/pytorch#136348 is of the same kind.
    """
    if stride == (1, 1):
        return x
    return x[:, :, :: stride[0], :: stride[1]] if plain(x) else _Subsample.apply(x, stride)


def squeeze_excite(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    """Channels weighted by a gate computed from their means [12].

    Parameters
    ----------
    x : (batch, C, time, mel)
    weights : (R, C) and (R,) that squeeze, (C, R) and (C,) that excite
    """
    if plain(x):
        return x * gate(x.mean((2, 3)), *weights)[:, :, None, None].to(x.dtype)
    return _SqueezeExcite.apply(x, *weights)


def plain(x: torch.Tensor) -> bool:
    """Whether PyTorch's own way is taken."""
    return PLAIN or x.is_cuda or not torch.is_grad_enabled()


def gate(means: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    """The weight of every channel, (batch, C), from the channels' means, (batch, C)."""
    with torch.autocast(means.device.type, enabled=False):  # (batch, C) numbers: 16 bits would save nothing
        squeezed = nn.functional.silu(nn.functional.linear(means.to(weights[0].dtype), *weights[:2]))  # batch, R
        return nn.functional.linear(squeezed, *weights[2:]).sigmoid()  # batch, C


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 for convolutions and products where asked for; everything else stays float32.

    >>> with autocast(torch.device("cpu"), "float32"):
    ...     (torch.ones(2, 3) @ torch.ones(3, 4)).dtype
    torch.float32
    """
    enabled = precision == "bfloat16" and computes_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic; a processor without it takes many times as long.

    >>> isinstance(computes_bfloat16(torch.device("cpu")), bool)
    True
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def batched(device: torch.device) -> bool:
    """Whether a device wants few large operations and no waiting, as a GPU does, and not what fits into a cache."""
    return BATCHED or device.type != "cpu"


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A small tensor on a device, without waiting: a copy from memory that may be paged out would wait for the GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class _Depthwise(torch.autograd.Function):
    """Its gradients are those of the unstrided convolution whose other outputs are left out."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: tuple, padding: tuple) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        whole = _spread(gradient, x, ctx.stride)
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            whole, x, weight, None, (1, 1), ctx.padding, (1, 1), False, (0, 0), len(weight), (True, True, False)
        )
        return of_x, of_weight, None, None


class _Subsample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.stride = stride
        return x[:, :, :: stride[0], :: stride[1]]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _spread(gradient, ctx.saved_tensors[0], ctx.stride), None


class _SqueezeExcite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        means = x.mean((2, 3))  # batch, C
        ctx.save_for_backward(x, means, *weights)
        return x * gate(means, *weights)[:, :, None, None].to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, *small = ctx.saved_tensors
        with torch.enable_grad():  # of the few numbers autograd finds the gradients
            small = [tensor.detach().requires_grad_() for tensor in small]
            weight = gate(*small)
        of_weight = (gradient * x).sum((2, 3))
        of_means, *of_weights = torch.autograd.grad(weight, small, of_weight.to(weight.dtype))
        of_means = of_means[:, :, None, None].to(x.dtype) / (x.shape[2] * x.shape[3])
        return torch.addcmul(of_means, gradient, weight.detach()[:, :, None, None].to(x.dtype)), *of_weights


def _spread(gradient: torch.Tensor, like: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    whole = torch.zeros_like(like)
    whole[:, :, :: stride[0], :: stride[1]] = gradient
    return whole
