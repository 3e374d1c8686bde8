"""Every operation that the layers, losses, optimisers and mathematical functions of torch reach has a rule.

A broad set of samples, each run forward and, where it has a gradient, backward. What torch offers beyond it is named
when it is met (`cost.uncounted`), so nothing here is needed for an honest count, only for a complete one.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from hardware.flops_torch import FlopCounter


def normal(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def leaf(*shape):
    return normal(*shape).requires_grad_()


def spd(n):
    a = normal(n, n)
    return (a @ a.T + n * torch.eye(n)).requires_grad_()


def indices(*shape, high=4):
    return torch.arange(torch.Size(shape).numel()).reshape(shape) % high


VECTOR, LINE, IMAGE, VOLUME = (4, 6), (2, 4, 12), (2, 4, 8, 8), (2, 4, 6, 6, 6)

SHAPES = [(1, LINE), (2, IMAGE), (3, VOLUME)]

ACTIVATIONS = """
    ELU Hardshrink Hardsigmoid Hardtanh Hardswish LeakyReLU LogSigmoid PReLU ReLU ReLU6 RReLU SELU CELU GELU Sigmoid
    SiLU Mish Softplus Softshrink Softsign Tanh Tanhshrink Dropout AlphaDropout
"""
DECOMPOSITIONS = """
    cholesky inv det slogdet eigh eigvalsh eig eigvals svd svdvals qr pinv matrix_exp lu lu_factor cond matrix_norm
    vector_norm norm matrix_rank
"""
TRANSFORMS = """
    fft ifft rfft fft2 ifft2 rfft2 fftn rfftn ihfft
"""
REAL_TRANSFORMS = """
    irfft irfft2 irfftn hfft
"""
FUNCTIONS_OF_ONE = """
    abs acos angle asin atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 floor frac i0 lgamma
    log log10 log1p log2 logit neg rad2deg reciprocal round rsqrt sgn sigmoid sign sin sinc sinh sqrt square tan
    tanh trunc nan_to_num isnan signbit positive relu selu celu
"""
SPECIAL = """
    bessel_j0 bessel_j1 entr erfcx i0e i1 i1e log_ndtr ndtri ndtr psi gammaln sinc
"""
FUNCTIONS_OF_TWO = """
    add sub mul div true_divide remainder fmod pow atan2 hypot maximum minimum fmax fmin logaddexp logaddexp2 xlogy
    copysign ldexp float_power dist
"""
WHOLE = """
    sum mean prod amax amin max min var std median nansum nanmean argmax count_nonzero norm trace nanmedian
"""
OF_AN_AXIS = """
    sum mean prod amax amin max min var std median mode cumsum cumprod cummax cummin logcumsumexp logsumexp sort
    argsort var_mean std_mean
"""

# module: shape of its input
LAYERS = {
    **{name: (lambda name=name: getattr(nn, name)(), VECTOR) for name in ACTIVATIONS.split()},
    "Threshold": (lambda: nn.Threshold(0.1, 20), VECTOR),
    "GLU": (lambda: nn.GLU(), VECTOR),
    "GELU tanh": (lambda: nn.GELU(approximate="tanh"), VECTOR),
    "Softmin": (lambda: nn.Softmin(1), VECTOR),
    "Softmax": (lambda: nn.Softmax(1), VECTOR),
    "Softmax2d": (lambda: nn.Softmax2d(), IMAGE),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), VECTOR),
    "AdaptiveLogSoftmaxWithLoss": (
        lambda: lambda x: nn.AdaptiveLogSoftmaxWithLoss(6, 20, [5, 10])(x, indices(4, high=20))[1],
        VECTOR,
    ),
    "Identity": (lambda: nn.Identity(), VECTOR),
    "Linear": (lambda: nn.Linear(6, 3), VECTOR),
    "Linear of a sequence": (lambda: nn.Linear(12, 3), LINE),
    "Bilinear": (lambda: lambda x: nn.Bilinear(6, 6, 3)(x, x), VECTOR),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3), LINE),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), IMAGE),
    "Conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, padding="same"), IMAGE),
    "Conv2d circular": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), IMAGE),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 3), VOLUME),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3), LINE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), IMAGE),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 3), VOLUME),
    "Unfold": (lambda: nn.Unfold(3), IMAGE),
    "Fold": (lambda: nn.Fold((4, 5), (2, 2)), (2, 8, 12)),
    **{
        f"{kind}Pool{d}d": (lambda kind=kind, d=d: getattr(nn, f"{kind}Pool{d}d")(2), shape)
        for kind in ("Max", "Avg")
        for d, shape in SHAPES
    },
    **{
        f"Adaptive{kind}Pool{d}d": (lambda kind=kind, d=d: getattr(nn, f"Adaptive{kind}Pool{d}d")(3), shape)
        for kind in ("Max", "Avg")
        for d, shape in SHAPES
    },
    **{f"LPPool{d}d": (lambda d=d: getattr(nn, f"LPPool{d}d")(2, 2), shape) for d, shape in SHAPES},
    "FractionalMaxPool2d": (lambda: nn.FractionalMaxPool2d(2, output_size=3), IMAGE),
    "FractionalMaxPool3d": (lambda: nn.FractionalMaxPool3d(2, output_size=3), VOLUME),
    "MaxUnpool2d": (lambda: lambda x: nn.MaxUnpool2d(2)(*F.max_pool2d(x, 2, return_indices=True)), IMAGE),
    **{
        f"{kind}Pad{d}d": (lambda kind=kind, d=d: getattr(nn, f"{kind}Pad{d}d")(2), shape)
        for kind in ("Reflection", "Replication", "Zero", "Circular")
        for d, shape in SHAPES
    },
    "ConstantPad2d": (lambda: nn.ConstantPad2d(2, 0.5), IMAGE),
    **{
        f"{kind}Norm{d}d": (lambda kind=kind, d=d: getattr(nn, f"{kind}Norm{d}d")(4), shape)
        for kind in ("Batch", "Instance")
        for d, shape in SHAPES
    },
    "BatchNorm evaluating": (lambda: nn.BatchNorm2d(4).eval(), IMAGE),
    "LayerNorm": (lambda: nn.LayerNorm(6), VECTOR),
    "RMSNorm": (lambda: nn.RMSNorm(6), VECTOR),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(2), IMAGE),
    **{f"Dropout{d}d": (lambda d=d: getattr(nn, f"Dropout{d}d")(), shape) for d, shape in SHAPES},
    "FeatureAlphaDropout": (lambda: nn.FeatureAlphaDropout(), IMAGE),
    **{
        f"Upsample {mode}": (lambda mode=mode: nn.Upsample(scale_factor=2, mode=mode), shape)
        for mode, shape in [
            ("nearest", IMAGE),
            ("nearest-exact", IMAGE),
            ("linear", LINE),
            ("bilinear", IMAGE),
            ("bicubic", IMAGE),
            ("trilinear", VOLUME),
        ]
    },
    "Upsample nearest 1d": (lambda: nn.Upsample(scale_factor=2), LINE),
    "Upsample nearest 3d": (lambda: nn.Upsample(scale_factor=2), VOLUME),
    "bilinear with antialias": (lambda: lambda x: F.interpolate(x, size=5, mode="bilinear", antialias=True), IMAGE),
    "bicubic with antialias": (lambda: lambda x: F.interpolate(x, size=5, mode="bicubic", antialias=True), IMAGE),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "PixelUnshuffle": (lambda: nn.PixelUnshuffle(2), IMAGE),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), IMAGE),
    "grid_sample": (
        lambda: (
            lambda x: F.grid_sample(
                x,
                F.affine_grid(torch.eye(2, 3).expand(2, 2, 3).requires_grad_(), [2, 4, 8, 8], False),
                align_corners=False,
            )
        ),
        IMAGE,
    ),
    "grid_sample 3d": (lambda: lambda x: F.grid_sample(x, leaf(2, 6, 6, 6, 3), align_corners=False), VOLUME),
    "RNN": (lambda: lambda x: nn.RNN(12, 5, 2)(x)[0], LINE),
    "LSTM": (lambda: lambda x: nn.LSTM(12, 5, 2, bidirectional=True)(x)[0], LINE),
    "LSTM projected": (lambda: lambda x: nn.LSTM(12, 5, proj_size=3)(x)[0], LINE),
    "GRU": (lambda: lambda x: nn.GRU(12, 5, 2)(x)[0], LINE),
    "RNNCell": (lambda: nn.RNNCell(6, 5), VECTOR),
    "LSTMCell": (lambda: lambda x: nn.LSTMCell(6, 5)(x)[0], VECTOR),
    "GRUCell": (lambda: nn.GRUCell(6, 5), VECTOR),
    "packed LSTM": (
        lambda: lambda x: nn.LSTM(12, 5)(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 2, 1, 1])))[0].data,
        LINE,
    ),
    "MultiheadAttention": (lambda: lambda x: nn.MultiheadAttention(12, 3, batch_first=True)(x, x, x)[0], LINE),
    "attention without weights": (
        lambda: lambda x: nn.MultiheadAttention(12, 3, batch_first=True)(x, x, x, need_weights=False)[0],
        LINE,
    ),
    "TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(12, 3, 16, batch_first=True), LINE),
    "Transformer": (lambda: lambda x: nn.Transformer(12, 3, 1, 1, 16, batch_first=True)(x, x), LINE),
    "causal attention": (lambda: lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), IMAGE),
    "masked attention": (
        lambda: lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(8, 8).tril().bool()),
        IMAGE,
    ),
    "Embedding": (lambda: lambda x: nn.Embedding(5, 6)(indices(4)) * x, VECTOR),
    **{
        f"EmbeddingBag {mode}": (
            lambda mode=mode: lambda x: nn.EmbeddingBag(5, 6, mode=mode)(indices(4, 3)) * x,
            VECTOR,
        )
        for mode in ("sum", "mean", "max")
    },
    "CosineSimilarity": (lambda: lambda x: nn.CosineSimilarity()(x, x + 1), VECTOR),
    "PairwiseDistance": (lambda: lambda x: nn.PairwiseDistance()(x, x + 1), VECTOR),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)), VECTOR),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)), VECTOR),
    "orthogonal": (lambda: nn.utils.parametrizations.orthogonal(nn.Linear(6, 3)), VECTOR),
}

LOSSES = {
    **{
        name: lambda x, name=name: getattr(nn, name)()(x, normal(4, 6))
        for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "SoftMarginLoss")
    },
    "CrossEntropyLoss": lambda x: nn.CrossEntropyLoss()(x, indices(4)),
    "CrossEntropyLoss smoothed": lambda x: nn.CrossEntropyLoss(label_smoothing=0.1)(x, indices(4)),
    "CrossEntropyLoss of probabilities": lambda x: nn.CrossEntropyLoss()(x, normal(4, 6).softmax(1)),
    "NLLLoss": lambda x: nn.NLLLoss()(x.log_softmax(1), indices(4)),
    "NLLLoss 2d": lambda x: nn.NLLLoss()(x.reshape(2, 3, 2, 2).log_softmax(1), indices(2, 2, 2, high=3)),
    "KLDivLoss": lambda x: nn.KLDivLoss(reduction="batchmean")(x.log_softmax(1), normal(4, 6).softmax(1)),
    "KLDivLoss log": lambda x: nn.KLDivLoss(reduction="batchmean", log_target=True)(
        x.log_softmax(1), normal(4, 6).log_softmax(1)
    ),
    "PoissonNLLLoss": lambda x: nn.PoissonNLLLoss(full=True)(x, normal(4, 6).abs()),
    "GaussianNLLLoss": lambda x: nn.GaussianNLLLoss(full=True)(x, normal(4, 6), x.exp()),
    "BCELoss": lambda x: nn.BCELoss()(x.sigmoid(), normal(4, 6).sigmoid()),
    "BCEWithLogitsLoss": lambda x: nn.BCEWithLogitsLoss(pos_weight=torch.ones(6))(x, normal(4, 6).sigmoid()),
    "HingeEmbeddingLoss": lambda x: nn.HingeEmbeddingLoss()(x, normal(4, 6).sign()),
    "MarginRankingLoss": lambda x: nn.MarginRankingLoss()(x, x + 1, normal(4, 6).sign()),
    "MultiLabelMarginLoss": lambda x: nn.MultiLabelMarginLoss()(x, indices(4, 6)),
    "MultiLabelSoftMarginLoss": lambda x: nn.MultiLabelSoftMarginLoss()(x, normal(4, 6).sigmoid()),
    "MultiMarginLoss": lambda x: nn.MultiMarginLoss()(x, indices(4)),
    "CosineEmbeddingLoss": lambda x: nn.CosineEmbeddingLoss()(x, x + 1, normal(4).sign()),
    "TripletMarginLoss": lambda x: nn.TripletMarginLoss()(x, x + 1, x * 2),
    "CTCLoss": lambda x: nn.CTCLoss()(
        x.reshape(4, 2, 3).log_softmax(2), indices(2, 2, high=2) + 1, torch.tensor([4, 4]), torch.tensor([2, 2])
    ),
}

LINALG = {
    **{name: lambda name=name: getattr(torch.linalg, name)(spd(4)) for name in DECOMPOSITIONS.split()},
    **{
        f"matrix_norm {order}": lambda order=order: torch.linalg.matrix_norm(spd(4), order)
        for order in ("nuc", 2, 1, float("inf"))
    },
    "cholesky_inverse": lambda: torch.cholesky_inverse(torch.linalg.cholesky(spd(4))),
    "cholesky_solve": lambda: torch.cholesky_solve(leaf(4, 2), torch.linalg.cholesky(spd(4))),
    "solve": lambda: torch.linalg.solve(spd(4), leaf(4, 2)),
    "solve_triangular": lambda: torch.linalg.solve_triangular(spd(4), leaf(4, 2), upper=True),
    "lu_solve": lambda: torch.linalg.lu_solve(*torch.linalg.lu_factor(spd(4)), leaf(4, 2)),
    "ldl_solve": lambda: torch.linalg.ldl_solve(*torch.linalg.ldl_factor(spd(4).detach()), normal(4, 2)),
    "lstsq": lambda: torch.linalg.lstsq(leaf(6, 4), leaf(6, 2)).solution,
    "pinv of hermitian": lambda: torch.linalg.pinv(spd(4), hermitian=True),
    "pinv of a tall one": lambda: torch.linalg.pinv(leaf(6, 4)),
    "matrix_power": lambda: torch.linalg.matrix_power(spd(4), 5),
    "matrix_power inverse": lambda: torch.linalg.matrix_power(spd(4), -2),
    "multi_dot": lambda: torch.linalg.multi_dot([leaf(3, 4), leaf(4, 5), leaf(5, 2)]),
    "householder_product": lambda: torch.linalg.householder_product(leaf(5, 3), leaf(3)),
    "ormqr": lambda: torch.ormqr(normal(5, 3), normal(3), normal(5, 2)),
    "tensorsolve": lambda: torch.linalg.tensorsolve(torch.eye(6).reshape(2, 3, 6), leaf(2, 3)),
    "tensorinv": lambda: torch.linalg.tensorinv(torch.eye(6).reshape(2, 3, 2, 3)),
    "cross": lambda: torch.linalg.cross(leaf(5, 3), leaf(5, 3)),
    "vander": lambda: torch.linalg.vander(leaf(5)),
    "vecdot": lambda: torch.linalg.vecdot(leaf(5, 3), leaf(5, 3)),
    "lobpcg": lambda: torch.lobpcg(spd(9).detach(), k=2)[0],
    "svd_lowrank": lambda: torch.svd_lowrank(normal(6, 5), 2)[1],
    "batched solve": lambda: torch.linalg.solve(spd(4).expand(3, 4, 4), leaf(3, 4)),
}

PRODUCTS = {
    "matmul": lambda: leaf(3, 4) @ leaf(4, 5),
    "matmul of batches": lambda: leaf(2, 3, 4) @ leaf(4, 5),
    "mv": lambda: leaf(3, 4) @ leaf(4),
    "dot": lambda: leaf(4) @ leaf(4),
    "complex": lambda: torch.view_as_real(
        normal(3, 3, dtype=torch.complex64).requires_grad_() @ normal(3, 3, dtype=torch.complex64)
    ),
    "vdot": lambda: torch.vdot(leaf(4), leaf(4)),
    "outer": lambda: torch.outer(leaf(3), leaf(4)),
    "addr": lambda: torch.addr(leaf(3, 4), leaf(3), leaf(4)),
    "addbmm": lambda: torch.addbmm(leaf(3, 5), leaf(2, 3, 4), leaf(2, 4, 5)),
    "einsum": lambda: torch.einsum("bi,oij,bj->bo", leaf(3, 4), leaf(2, 4, 4), leaf(3, 4)),
    "tensordot": lambda: torch.tensordot(leaf(3, 4, 5), leaf(4, 5, 6), 2),
    "kron": lambda: torch.kron(leaf(2, 2), leaf(3, 3)),
    "bilinear": lambda: F.bilinear(leaf(3, 4), leaf(3, 5), leaf(2, 4, 5), leaf(2)),
    "cdist 2": lambda: torch.cdist(leaf(5, 3), leaf(4, 3)),
    "cdist by products": lambda: torch.cdist(leaf(30, 3), leaf(30, 3)),
    "cdist 1": lambda: torch.cdist(leaf(5, 3), leaf(4, 3), p=1),
    "cdist 3": lambda: torch.cdist(leaf(5, 3), leaf(4, 3), p=3),
    "pdist": lambda: F.pdist(leaf(5, 3)),
    "sparse mm": lambda: torch.sparse.mm(torch.eye(4).to_sparse().requires_grad_(), leaf(4, 3)),
    "csr matmul": lambda: torch.eye(4).to_sparse_csr() @ normal(4, 3),
    "sparse addmm": lambda: torch.sparse.addmm(leaf(4, 3), torch.eye(4).to_sparse(), leaf(4, 3)),
}

FFT = {
    **{
        name: lambda name=name: torch.view_as_real(getattr(torch.fft, name)(leaf(8, 8)).resolve_conj())
        for name in TRANSFORMS.split()
    },
    **{
        name: lambda name=name: getattr(torch.fft, name)(torch.view_as_complex(leaf(8, 8, 2)))
        for name in REAL_TRANSFORMS.split()
    },
    "fftshift": lambda: torch.fft.fftshift(leaf(8)),
    "fftfreq": lambda: torch.fft.fftfreq(8),
    "stft": lambda: torch.view_as_real(torch.stft(leaf(64), 16, window=torch.hann_window(16), return_complex=True)),
    "istft": lambda: torch.istft(
        torch.stft(leaf(64), 16, window=torch.hann_window(16), return_complex=True), 16, window=torch.hann_window(16)
    ),
}

POINTWISE = {
    **{
        name: lambda name=name: getattr(torch, name)(leaf(5).sigmoid() * 0.8 + 0.1) for name in FUNCTIONS_OF_ONE.split()
    },
    **{
        f"special.{name}": lambda name=name: getattr(torch.special, name)(leaf(5).sigmoid() * 0.8 + 0.1)
        for name in SPECIAL.split()
    },
    **{name: lambda name=name: getattr(torch, name)(leaf(5).exp(), leaf(5).exp()) for name in FUNCTIONS_OF_TWO.split()},
    "acosh": lambda: torch.acosh(leaf(5).exp() + 1),
    "asinh": lambda: torch.asinh(leaf(5)),
    "xlog1py": lambda: torch.special.xlog1py(leaf(5), leaf(5).exp()),
    "multigammaln": lambda: torch.special.multigammaln(leaf(5).exp() + 3, 2),
    "igamma": lambda: torch.igamma(normal(5).exp(), normal(5).exp()),
    "polygamma": lambda: torch.polygamma(1, leaf(5).exp()),
    "zeta": lambda: torch.special.zeta(normal(5).exp() + 2, normal(5).exp()),
    "lerp": lambda: torch.lerp(leaf(5), leaf(5), 0.3),
    "addcmul": lambda: torch.addcmul(leaf(5), leaf(5), leaf(5), value=2),
    "addcdiv": lambda: torch.addcdiv(leaf(5), leaf(5), leaf(5), value=2),
    "clamp": lambda: leaf(5).clamp(-1, 1),
    "where": lambda: torch.where(leaf(5) > 0, leaf(5), 0),
    "complex arithmetic": lambda: torch.view_as_real(
        (torch.complex(leaf(5), leaf(5)) * 2 + 1) / torch.complex(leaf(5), leaf(5))
    ),
    "complex functions": lambda: torch.complex(leaf(5), leaf(5)).exp().abs(),
    "polar": lambda: torch.view_as_real(torch.polar(leaf(5).exp(), leaf(5))),
}

REDUCTIONS = {
    **{name: lambda name=name: getattr(torch, name)(leaf(4, 5)) for name in WHOLE.split()},
    **{f"{name} of an axis": lambda name=name: getattr(torch, name)(leaf(4, 5), 1) for name in OF_AN_AXIS.split()},
    "kthvalue": lambda: torch.kthvalue(leaf(4, 5), 2)[0],
    "topk": lambda: torch.topk(leaf(4, 5), 2)[0],
    "aminmax": lambda: torch.aminmax(leaf(4, 5))[0],
    "diff": lambda: torch.diff(leaf(4, 5)),
    "renorm": lambda: torch.renorm(leaf(4, 5), 2, 0, 1.0),
    "cov": lambda: torch.cov(leaf(4, 5)),
    "corrcoef": lambda: torch.corrcoef(leaf(4, 5)),
    "quantile": lambda: torch.quantile(leaf(4, 5), 0.3),
    "trapezoid": lambda: torch.trapezoid(leaf(4, 5), dx=0.1),
    "cumulative_trapezoid": lambda: torch.cumulative_trapezoid(leaf(4, 5), dx=0.1),
    "gradient": lambda: torch.gradient(leaf(8))[0],
    "histc": lambda: torch.histc(normal(20), 5),
    "histogram": lambda: torch.histogram(normal(20), 5)[0],
    "histogramdd": lambda: torch.histogramdd(normal(20, 2), [3, 3])[0],
    "bincount": lambda: torch.bincount(indices(8), normal(8).abs()),
    "bucketize": lambda: torch.bucketize(normal(8), torch.linspace(-1, 1, 5)),
    "searchsorted": lambda: torch.searchsorted(torch.linspace(-1, 1, 5), normal(8)),
    "unique": lambda: torch.unique(indices(8)),
}

INDEXING = {
    "index": lambda: leaf(4, 5)[indices(3)],
    "masked": lambda: (x := leaf(4, 5))[x > 0],
    "gather": lambda: leaf(4, 5).gather(1, indices(4, 2)),
    "take": lambda: torch.take(leaf(4, 5), indices(3)),
    "scatter_add": lambda: torch.zeros(4, 5).scatter_add(1, indices(4, 2), leaf(4, 2)),
    "scatter_reduce": lambda: leaf(4, 5).scatter_reduce(1, indices(4, 2), leaf(4, 2), "mean"),
    "scatter_reduce amax": lambda: leaf(4, 5).scatter_reduce(1, indices(4, 2), leaf(4, 2), "amax"),
    "index_add": lambda: leaf(4, 5).index_add(0, indices(3), leaf(3, 5)),
    "index_put": lambda: leaf(4, 5).index_put((indices(3),), leaf(3, 5), accumulate=True),
    "index_reduce": lambda: normal(4, 5).index_reduce(0, indices(3), normal(3, 5), "mean"),
    "masked_scatter": lambda: leaf(4, 5).masked_scatter(normal(4, 5) > 0, leaf(4, 5)),
    "put": lambda: leaf(4, 5).put(indices(3), leaf(3), accumulate=True),
    "roll, flip, tril, repeat": lambda: leaf(4, 5).roll(1, 0).flip(1).tril().repeat(2, 2),
    "pad, cat, stack": lambda: F.pad(torch.cat([leaf(4, 5), torch.stack([leaf(5), leaf(5)])]), (1, 2)),
    "meshgrid": lambda: torch.meshgrid(leaf(3), leaf(4), indexing="ij")[0],
    "cartesian_prod": lambda: torch.cartesian_prod(leaf(3), leaf(4)),
    "diag_embed": lambda: torch.diag_embed(leaf(4, 5)),
    "unfold": lambda: leaf(8).unfold(0, 3, 1),
    "slice assignment": lambda: torch.zeros(4, 5).index_fill_(0, indices(2), 1.0)[1:3].mul_(2),
    "convolve with conv1d": lambda: F.conv1d(leaf(1, 1, 8), leaf(1, 1, 3), padding="same"),
}

RANDOM = {
    "normal": lambda: torch.normal(normal(4), normal(4).abs()),
    "Normal.log_prob": lambda: torch.distributions.Normal(leaf(4), leaf(4).exp()).log_prob(normal(4)),
    "Normal.rsample": lambda: torch.distributions.Normal(leaf(4), leaf(4).exp()).rsample(),
    "MultivariateNormal": lambda: torch.distributions.MultivariateNormal(leaf(4), spd(4)).log_prob(normal(4)),
    "Categorical": lambda: torch.distributions.Categorical(logits=leaf(4)).entropy(),
    "Gamma": lambda: torch.distributions.Gamma(leaf(4).exp(), leaf(4).exp()).rsample(),
    "Beta": lambda: torch.distributions.Beta(leaf(4).exp(), leaf(4).exp()).log_prob(normal(4).sigmoid()),
    "Dirichlet": lambda: torch.distributions.Dirichlet(leaf(4).exp()).rsample(),
    "Poisson": lambda: torch.poisson(normal(4).abs()),
    "bernoulli, multinomial": lambda: torch.bernoulli(normal(4).sigmoid()) + torch.multinomial(normal(4).sigmoid(), 1),
}

FUNCTIONS = {**LINALG, **PRODUCTS, **FFT, **POINTWISE, **REDUCTIONS, **INDEXING, **RANDOM}


def uncounted(program):
    with FlopCounter() as counter:
        results = program()
        for out in results if isinstance(results, tuple) else [results]:
            if out.requires_grad:
                (out.abs() if out.is_complex() else out).sum().backward(retain_graph=True)
    return counter.cost.uncounted


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    make, shape = LAYERS[name]
    assert not uncounted(lambda: make()(leaf(*shape)))


# What is left without a rule, and why. A count that meets one of these is a lower bound that names it.
REMAINDER = {
    "CTCLoss": {"_ctc_loss", "_ctc_loss_backward"},  # as long as each target is, which is data
    "MultiLabelMarginLoss": {"multilabel_margin_loss_forward", "multilabel_margin_loss_backward"},  # likewise
    # Not sampled: the orthogonal polynomials of torch.special, quantised and nested tensors, and operations of
    # accelerators alone (grouped and scaled products).
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    assert uncounted(lambda: LOSSES[name](leaf(4, 6))) == REMAINDER.get(name, frozenset())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    assert not uncounted(FUNCTIONS[name])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERS)
def test_layers_without_gradient(name):
    """Inference mode and evaluation take other paths: fused kernels, composite operations left whole."""
    make, shape = LAYERS[name]

    def program():
        with torch.inference_mode():
            layer = make()
            return (layer.eval() if isinstance(layer, nn.Module) else layer)(normal(*shape))

    assert not uncounted(program)
