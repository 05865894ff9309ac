"""Named random streams: a draw depends on (seed, name, rank, step) and on nothing that was drawn before it."""

import hashlib

import torch


def derive_seed(seed: int, name: str, *, rank: int = 0, step: int = 0) -> int:
    """Return a 63-bit seed for one stream; different names, ranks and steps give unrelated streams."""
    key = f"{seed}|{name}|{rank}|{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def stream(
    seed: int, name: str, *, rank: int = 0, step: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator on `device` at the start of the stream named by the arguments."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, name, rank=rank, step=step))
