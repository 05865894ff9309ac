"""RSLAD written plainly from its description: what `robust.py` measures ours against.

The published loop: images cropped and mirrored one at a time, the teacher asked about each batch, the attack by the
gradient of the input, everything eager, in float32, in contiguous memory, batch normalisation unfolded, and nothing on
file. The published code spends more: it draws its batches in other processes, which take the time of the same cores.
"""

import random

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional as F

PADDING = 4


def augmented(image: Image.Image, rng: random.Random) -> Image.Image:
    """Return a random crop of the image with black around it, mirrored every other time."""
    width, height = image.size
    padded = ImageOps.expand(image, border=PADDING, fill=0)
    left, top = rng.randint(0, 2 * PADDING), rng.randint(0, 2 * PADDING)
    image = padded.crop((left, top, left + width, top + height))
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


def batch(images: list[Image.Image], rng: random.Random) -> Tensor:
    """Return crops of the images in [0, 1], one after the other. Shape (b, c, h, w)."""
    arrays = [np.asarray(augmented(image, rng), dtype=np.float32) / 255 for image in images]
    return torch.stack([torch.from_numpy(array.transpose(2, 0, 1).copy()) for array in arrays])


def attack(student: nn.Module, x: Tensor, target: Tensor, *, epsilon: float, step_size: float, steps: int) -> Tensor:
    """Return x' that takes the student away from the target distribution: K steps within epsilon."""
    student.eval()
    x_adv = x + 0.001 * torch.randn_like(x)
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_(True)
        divergence = F.kl_div(F.log_softmax(student(x_adv), dim=1), target, reduction="sum")
        gradient = torch.autograd.grad(divergence, [x_adv])[0]
        x_adv = x_adv.detach() + step_size * torch.sign(gradient.detach())
        x_adv = torch.min(torch.max(x_adv, x - epsilon), x + epsilon)
        x_adv = torch.clamp(x_adv, 0.0, 1.0)
    student.train()
    return x_adv.detach()


def loss(adversarial: Tensor, clean: Tensor, target: Tensor) -> Tensor:
    """Return 5/6 of KL(target ‖ student on x') and 1/6 of KL(target ‖ student on x), means over the batch."""
    first = F.kl_div(F.log_softmax(adversarial, dim=1), target, reduction="batchmean")
    second = F.kl_div(F.log_softmax(clean, dim=1), target, reduction="batchmean")
    return 5 / 6 * first + 1 / 6 * second


def train(
    student: nn.Module,
    teacher: nn.Module,
    images: list[Image.Image],
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> None:
    """Train the student in place."""
    rng, device = random.Random(seed), next(student.parameters()).device
    optimiser = torch.optim.SGD(student.parameters(), lr=learning_rate, momentum=0.9, weight_decay=weight_decay)
    teacher.eval()
    student.train()
    for _ in range(epochs):
        order = list(range(len(images)))
        rng.shuffle(order)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            x = batch([images[index] for index in order[start : start + batch_size]], rng).to(device)
            with torch.no_grad():
                target = F.softmax(teacher(x), dim=1)
            x_adv = attack(student, x, target, epsilon=epsilon, step_size=step_size, steps=steps)
            optimiser.zero_grad()
            loss(student(x_adv), student(x), target).backward()
            optimiser.step()
