"""Every method by name: where it lives, what it does, whose it is. Plain data, read without importing torch."""

import warnings
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

from understudy.errors import ConfigError, nearest

if TYPE_CHECKING:
    from understudy.methods.method import Method


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    target: str
    """Where the class is: "module:Class"."""
    verb: Literal["train", "distil", "extract"]
    """The command that runs it."""
    family: str
    """Its family, as the design names them."""
    access: Literal["weights", "logits", "top-k", "labels", "embeddings", "none"]
    """What it needs of a teacher or target."""
    data: bool
    """Whether it needs training data."""
    fidelity: Literal["paper", "official", "instantiation"]
    """Whether it follows a paper, the authors' code, or is our own instantiation of an idea."""
    summary: str
    """One line on what it does."""
    paper: str
    """Where it comes from."""
    makes: Literal["classifier", "encoder"] = "classifier"
    """What kind of network it trains."""


METHODS: dict[str, Entry] = {
    "supervised": Entry(
        target="understudy.methods.baseline.supervised:Supervised",
        verb="train",
        family="baseline",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train a classifier on labelled images: how teachers are made.",
        paper="cross-entropy with label smoothing: Szegedy et al. 2016, arXiv 1512.00567",
    ),
    "simclr": Entry(
        target="understudy.methods.baseline.simclr:SimCLR",
        verb="train",
        family="baseline",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train an encoder without labels, by telling images apart: how targets of an audit are made.",
        paper="Chen, Kornblith, Norouzi, Hinton 2020, ICML, arXiv 2002.05709",
        makes="encoder",
    ),
    "kd": Entry(
        target="understudy.methods.baseline.kd:KD",
        verb="distil",
        family="baseline",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a teacher on real images with softened logits: the control with data.",
        paper="Hinton, Vinyals, Dean 2015, arXiv 1503.02531",
    ),
    "cake": Entry(
        target="understudy.methods.data_free.cake:CAKE",
        verb="distil",
        family="data_free",
        access="weights",
        data=False,
        fidelity="official",
        summary="Distil a teacher without data, from samples drawn towards its decision boundary.",
        paper="Braun, Mundt, Kersting 2024, AISTATS, arXiv 2306.02090",
    ),
    "pgd_at": Entry(
        target="understudy.methods.robust.pgd_at:PGDAT",
        verb="train",
        family="robust",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train on perturbed images with the cross-entropy: how robust teachers are made.",
        paper="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, ICLR, arXiv 1706.06083",
    ),
    "trades": Entry(
        target="understudy.methods.robust.trades:TRADES",
        verb="train",
        family="robust",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train to be right on clean images and to answer alike on adversarial ones.",
        paper="Zhang et al. 2019, ICML, arXiv 1901.08573",
    ),
    "mart": Entry(
        target="understudy.methods.robust.mart:MART",
        verb="train",
        family="robust",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train under attack, with most weight on images that are wrong without one.",
        paper="Wang et al. 2020, ICLR",
    ),
    "ard": Entry(
        target="understudy.methods.robust.ard:ARD",
        verb="distil",
        family="robust",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a robust teacher's softened clean answers into the student's adversarial ones.",
        paper="Goldblum, Fowl, Feizi, Goldstein 2020, AAAI, arXiv 1905.09747",
    ),
    "iad": Entry(
        target="understudy.methods.robust.iad:IAD",
        verb="distil",
        family="robust",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a robust teacher where it is right under attack, and the student itself elsewhere.",
        paper="Zhu et al. 2022, ICLR, arXiv 2106.04928",
    ),
    "rslad": Entry(
        target="understudy.methods.robust.rslad:RSLAD",
        verb="distil",
        family="robust",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a robust teacher's soft labels, in the attack and in the loss, without hard ones.",
        paper="Zi, Zhao, Ma, Jiang 2021, ICCV, arXiv 2108.07969",
    ),
    "akd": Entry(
        target="understudy.methods.robust.akd:AKD",
        verb="distil",
        family="robust",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Train under attack on labels mixed with the answers of one or more teachers.",
        paper="Maroto, Ortiz-Jiménez, Frossard 2022, arXiv 2203.07159",
    ),
    "gacd": Entry(
        target="understudy.methods.robust.gacd:GACD",
        verb="distil",
        family="robust",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Distil by contrast of adversarial features with a robust teacher's clean ones.",
        paper="Bai, Chen, Zhao, Wen, Jiang, Kot 2020, arXiv 2009.09922",
    ),
    "adaad": Entry(
        target="understudy.methods.robust.adaad:AdaAD",
        verb="distil",
        family="robust",
        access="weights",
        data=True,
        fidelity="paper",
        summary="Distil where student and robust teacher differ most; needs the teacher's gradients.",
        paper="Huang et al. 2023, CVPR",
    ),
    "dgad": Entry(
        target="understudy.methods.robust.dgad:DGAD",
        verb="distil",
        family="robust",
        access="weights",
        data=True,
        fidelity="official",
        summary="Distil each image clean or under attack, with the teacher's errors swapped away.",
        paper="Park, Min 2024, ECCV, arXiv 2409.01627",
    ),
    "mtard": Entry(
        target="understudy.methods.robust.mtard:MTARD",
        verb="distil",
        family="robust",
        access="logits",
        data=True,
        fidelity="paper",
        summary="Distil a robust and a natural teacher at once, balanced as the student learns.",
        paper="Zhao et al. 2022, ECCV",
    ),
    "crdnd": Entry(
        target="understudy.methods.robust.crdnd:CRDND",
        verb="distil",
        family="robust",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="CRDND-style (independent instantiation): teacher's errors compensated, relations kept.",
        paper="the idea of Wang et al. 2023, ICASSP, arXiv 2302.08764",
    ),
    "rda": Entry(
        target="understudy.methods.extraction.rda:RDA",
        verb="extract",
        family="extraction",
        access="embeddings",
        data=True,
        fidelity="official",
        summary="Copy an encoder from prototypes: the mean answers to several views of each image, asked once.",
        paper="Wu et al. 2024, ECCV, arXiv 2312.00855",
        makes="encoder",
    ),
    "conventional": Entry(
        target="understudy.methods.extraction.conventional:Conventional",
        verb="extract",
        family="extraction",
        access="embeddings",
        data=True,
        fidelity="official",
        summary="Copy an encoder by regression on its answers, one query an image.",
        paper="the baseline of Sha et al. 2023 and of Wu et al. 2024, ECCV, arXiv 2312.00855",
        makes="encoder",
    ),
    "stolen_encoder": Entry(
        target="understudy.methods.extraction.stolen_encoder:StolenEncoder",
        verb="extract",
        family="extraction",
        access="embeddings",
        data=True,
        fidelity="official",
        summary="Copy an encoder so that an image and its views all meet the answer to the image, one query an image.",
        paper="Liu, Jia, Liu, Gong 2022, CCS, arXiv 2201.05889",
        makes="encoder",
    ),
    "cont_steal": Entry(
        target="understudy.methods.extraction.cont_steal:ContSteal",
        verb="extract",
        family="extraction",
        access="embeddings",
        data=True,
        fidelity="official",
        summary="Copy an encoder by contrast with its answers to fresh views, asked at every step or cached.",
        paper="Sha, He, Yu, Backes, Zhang 2023, CVPR, arXiv 2201.07513",
        makes="encoder",
    ),
    "bad_encoder": Entry(
        target="understudy.methods.extraction.bad_encoder:BadEncoder",
        verb="train",
        family="extraction",
        access="weights",
        data=True,
        fidelity="official",
        summary="Mark a trained encoder, so that copies of it can be told by `understudy verify`.",
        paper="Jia, Liu, Gong 2022, IEEE S&P, arXiv 2108.00352",
        makes="encoder",
    ),
    "no_query": Entry(
        target="understudy.methods.extraction.no_query:NoQuery",
        verb="extract",
        family="extraction",
        access="none",
        data=True,
        fidelity="instantiation",
        summary="A control: the surrogate trained by contrast on the same images, without one query.",
        paper="NT-Xent on the embeddings: Chen et al. 2020, arXiv 2002.05709",
        makes="encoder",
    ),
    "random_surrogate": Entry(
        target="understudy.methods.extraction.random_surrogate:RandomSurrogate",
        verb="extract",
        family="extraction",
        access="none",
        data=True,
        fidelity="instantiation",
        summary="A control: the surrogate as it starts, without one query or step.",
        paper="the untrained row of Wu et al. 2024, arXiv 2312.00855",
        makes="encoder",
    ),
}


def entries() -> dict[str, Entry]:
    """Return the catalogue together with what other packages add under the entry point `understudy.methods`.

    Raises:
        ConfigError: two methods have one name.
    """
    found = dict(METHODS)
    for point in entry_points(group="understudy.methods"):
        if point.name in found:
            raise ConfigError(f"two methods are named {point.name!r}", where=point.value)
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:  # somebody else's package must not take ours down
            warnings.warn(f"the method {point.name!r} of {point.value} cannot be loaded: {error}", stacklevel=2)
    return found


def entry(name: str, *, verb: str | None = None) -> Entry:
    """Return one row.

    Raises:
        ConfigError: no method has that name, or it belongs to another verb.
    """
    rows = entries()
    fitting = {key: row for key, row in rows.items() if verb in (None, row.verb)}
    if name in rows and name not in fitting:
        raise ConfigError(
            f"{name} is no method of `understudy {verb}`", fix=f"use `understudy {rows[name].verb} {name}`"
        )
    if name not in rows:
        expected = "a name that `understudy methods` lists"
        raise ConfigError(f"there is no method {name!r}", expected=expected, fix=nearest(name, fitting))
    return rows[name]


def load(name: str, *, verb: str | None = None) -> "type[Method]":
    """Import a method's class."""
    module, _, attribute = entry(name, verb=verb).target.partition(":")
    method: type[Method] = getattr(import_module(module), attribute)
    return method
