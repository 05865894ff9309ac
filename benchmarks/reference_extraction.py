"""RDA written plainly from its description: what `extraction.py` measures ours against.

Views by Pillow, one image at a time; a dictionary of prototypes, keyed by the image's number; float32 in contiguous
memory, batch normalisation unfolded; the discriminate term by exp, sum and log; nothing is put on file.
"""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor, nn

BLUR_RADIUS, SOLARISE_THRESHOLD = (0.1, 2.0), 128


def view(image: Image.Image, area: float, rng: random.Random) -> Image.Image:
    """Return one random view: crop of an area, flip, colour jitter, grey, blur, solarise."""
    size = image.size[0]
    side = round(math.sqrt(area) * size)
    left, top = rng.randint(0, size - side), rng.randint(0, size - side)
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    if rng.random() < 0.8:
        image = _jitter(image, rng)
    if rng.random() < 0.2:
        image = image.convert("L").convert("RGB")
    if rng.random() < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR_RADIUS)))
    if rng.random() < 0.1:
        image = ImageOps.solarize(image, SOLARISE_THRESHOLD)
    return image


def _jitter(image: Image.Image, rng: random.Random) -> Image.Image:
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
    rng.shuffle(enhancers)
    for enhancer in enhancers:
        if enhancer is not None:
            image = enhancer(image).enhance(rng.uniform(0.6, 1.4))
        else:
            hue, saturation, value = image.convert("HSV").split()
            turned = (np.asarray(hue).astype(np.int16) + round(rng.uniform(-0.2, 0.2) * 255)) % 256
            hue = Image.fromarray(turned.astype(np.uint8), "L")
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return image


def batch(images: list[Image.Image], views: int, area: float, rng: random.Random) -> Tensor:
    """Return views of the images in [-1, 1], the first of all, then the second of all, and so on."""
    tensors = []
    for _ in range(views):
        for image in images:
            pixels = torch.from_numpy(np.array(view(image, area, rng))).permute(2, 0, 1).contiguous()
            tensors.append((pixels.float() / 255 - 0.5) / 0.5)
    return torch.stack(tensors)


def build_prototypes(
    target: nn.Module, images: list[Image.Image], *, views: int, area: float, batch_size: int, seed: int
) -> dict[int, Tensor]:
    """Return the mean of the unit answers of each image's views, keyed by its number."""
    rng, device = random.Random(seed), next(target.parameters()).device
    target.eval()
    prototypes: dict[int, Tensor] = {}
    for start in range(0, len(images), batch_size):
        some = images[start : start + batch_size]
        x = batch(some, views, area, rng).to(device)
        with torch.no_grad():
            answers = nn.functional.normalize(target(x), dim=1).cpu()
        means = answers.view(views, len(some), -1).mean(dim=0)
        for offset, mean in enumerate(means):
            prototypes[start + offset] = mean
    return prototypes


def loss(x: Tensor, p: Tensor, temperature: float = 0.07) -> Tensor:
    """Return discriminate plus align of unit rows and their prototypes."""
    rows = len(x)
    others = ~torch.eye(rows, dtype=torch.bool, device=x.device)
    matched = (x * p).sum(dim=1) / temperature
    to_prototypes = torch.exp(x @ p.T / temperature)[others].view(rows, rows - 1).sum(dim=1)
    to_embeddings = torch.exp(x @ x.T / temperature)[others].view(rows, rows - 1).sum(dim=1)
    discriminate = (-matched + torch.log(to_prototypes + to_embeddings)).mean()
    amplitude = (x - p).square().sum(dim=1)
    angle = 1 + nn.functional.cosine_similarity(x, p, dim=1)
    return discriminate - torch.log(angle / amplitude).mean()


def train(
    surrogate: nn.Module,
    images: list[Image.Image],
    prototypes: dict[int, Tensor],
    *,
    views: int,
    area: float,
    epochs: int,
    batch_size: int,
    seed: int,
) -> None:
    """Train the surrogate in place."""
    rng, device = random.Random(seed), next(surrogate.parameters()).device
    optimiser = torch.optim.Adam(surrogate.parameters(), lr=1e-3, weight_decay=1e-4)
    surrogate.train()
    for _ in range(epochs):
        order = list(range(len(images)))
        rng.shuffle(order)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            x = batch([images[index] for index in chosen], views, area, rng).to(device)
            p = torch.stack([prototypes[index] for index in chosen]).to(device)
            rows = nn.functional.normalize(surrogate(x), dim=1).view(views, batch_size, -1)
            total = sum((loss(block, p) for block in rows), torch.zeros((), device=device)) / views
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
