"""Small vision transformer: patches, learned positions, pre-norm encoder blocks.

Dosovitskiy et al.: An Image is Worth 16x16 Words. ICLR 2021, arXiv 2010.11929.
"""

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.errors import ConfigError
from understudy.models.architectures.base import Architecture, Width, image_shape
from understudy.models.architectures.layers import Residual, named

_TOKEN_STD = 0.02  # as in the authors' code


class ViT(Architecture):
    """Patch embedding, `depth` blocks of attention and MLP, LayerNorm, linear head; no dropout."""

    name: ClassVar[str] = "vit"

    patch: Annotated[int, Field(ge=1, le=64)] = 4
    """Side of a patch in px; divides the image's height and width."""
    dim: Width = 64
    """Size of a token; a multiple of `heads`."""
    depth: Annotated[int, Field(ge=1, le=48)] = 3
    """Encoder blocks."""
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    """Attention heads of a block."""
    mlp_ratio: Annotated[float, Field(ge=0.25, le=8.0)] = 4.0
    """Hidden units of a block's MLP over `dim`."""
    pool: Literal["class", "mean"] = "class"
    """What the head sees: a class token, or the mean of the patches' tokens."""

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = image_shape(self, input_shape)
        if height % self.patch or width % self.patch:
            raise ConfigError(
                f"patches of {self.patch} px do not divide images of {height} x {width} px",
                where=f"option 'patch' of {self.name!r}",
                expected="a divisor of height and width",
            )
        if self.dim % self.heads:
            raise ConfigError(
                f"{self.heads} heads do not divide tokens of size {self.dim}",
                where=f"options 'dim' and 'heads' of {self.name!r}",
                expected="dim a multiple of heads",
            )
        patches = (height // self.patch) * (width // self.patch)
        tokens = Tokens(channels, self.dim, self.patch, patches, class_token=self.pool == "class")
        blocks = nn.Sequential(*(self._block() for _ in range(self.depth)))
        pool = Pool(self.pool)
        return named(
            tokens=tokens,
            blocks=blocks,
            norm=nn.LayerNorm(self.dim),
            pool=pool,
            head=nn.Linear(self.dim, classes),
        )

    def _block(self) -> nn.Module:
        hidden = max(1, round(self.dim * self.mlp_ratio))
        mlp = nn.Sequential(nn.Linear(self.dim, hidden), nn.GELU(), nn.Linear(hidden, self.dim))
        return named(
            attention=Residual(nn.Sequential(nn.LayerNorm(self.dim), Attention(self.dim, self.heads))),
            mlp=Residual(nn.Sequential(nn.LayerNorm(self.dim), mlp)),
        )


class Tokens(nn.Module):
    """Cut images into patches, embed them, put a class token before them, add learned positions."""

    def __init__(self, channels: int, dim: int, patch: int, patches: int, *, class_token: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, dim, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if class_token else None
        self.positions = nn.Parameter(torch.empty(1, patches + class_token, dim))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the class token and the positions; the embedding is initialised as any convolution."""
        nn.init.trunc_normal_(self.positions, std=_TOKEN_STD, generator=generator)
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=_TOKEN_STD, generator=generator)

    def forward(self, z: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch tokens dim"]:
        """Return the tokens of normalised images."""
        tokens: Tensor = self.embed(z).flatten(2).transpose(1, 2)  # (batch, patches, dim)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        return tokens + self.positions


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Return each token's mixture of all tokens' values."""
        split = self.query_key_value(tokens).unflatten(-1, (3, self.heads, -1))  # (batch, tokens, 3, heads, d)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, d)
        mixed = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return output


class Pool(nn.Module):
    """Reduce the tokens of an image to one: the first (the class token), or their mean."""

    def __init__(self, kind: Literal["class", "mean"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch dim"]:
        """Return one token an image."""
        return tokens[:, 0] if self.kind == "class" else tokens.mean(dim=1)
