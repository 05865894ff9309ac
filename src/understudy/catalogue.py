"""Every method by name: where it lives, what it does, whose it is. Plain data, read without importing torch."""

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Literal

from understudy.errors import ConfigError, nearest

if TYPE_CHECKING:
    from understudy.methods.method import Method


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue."""

    target: str
    """Where the class is: "module:Class"."""
    verb: Literal["train", "protect", "distil", "extract", "adapt"]
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
    makes: Literal["classifier", "encoder", "text"] = "classifier"
    """What kind of network it trains; "text" is a classifier of sentences."""
    label: str = ""
    """What tables call it, where they do not go by its name."""


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
    "no_teacher": Entry(
        target="understudy.methods.attackers.no_teacher:NoTeacher",
        verb="distil",
        family="attackers",
        access="none",
        data=True,
        fidelity="paper",
        summary="A control: a student alone, on the attacker's own labels, without one query.",
        paper="label smoothing: Szegedy et al. 2016, CVPR, arXiv 1512.00567",
    ),
    "hard_label": Entry(
        target="understudy.methods.attackers.hard_label:HardLabel",
        verb="distil",
        family="attackers",
        access="labels",
        data=True,
        fidelity="instantiation",
        summary="Attack by the teacher's class alone, with or without label smoothing.",
        paper="Tramèr et al. 2016, USENIX Security, arXiv 1609.02943",
    ),
    "uniform_tail": Entry(
        target="understudy.methods.attackers.uniform_tail:UniformTail",
        verb="distil",
        family="attackers",
        access="top-k",
        data=True,
        fidelity="instantiation",
        summary="Attack by the teacher's first class and its confidence, the rest spread evenly.",
        paper="after Yuan, Tay, Li, Wang, Feng 2020, CVPR, arXiv 1909.11723",
    ),
    "centred": Entry(
        target="understudy.methods.attackers.centred:Centred",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Attack on constant decoys: the mean over all queries is taken off the logits.",
        paper="our own; the loss of Hinton, Vinyals, Dean 2015, arXiv 1503.02531",
    ),
    "disagreement": Entry(
        target="understudy.methods.attackers.disagreement:Disagreement",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Attack that believes the teacher where it agrees with the label, and mends it elsewhere.",
        paper="after Wen, Lai, Qian 2019, arXiv 1911.07471",
    ),
    "composition": Entry(
        target="understudy.methods.attackers.composition:Composition",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Attack by labels mixed with answers at a very high temperature.",
        paper="after Jandial et al. 2022, ECCV, arXiv 2210.11728",
    ),
    "skeptical": Entry(
        target="understudy.methods.attackers.skeptical:Skeptical",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Distil into a shallow exit of the student alone, and train the rest of it on labels.",
        paper="Kundu et al. 2021, NeurIPS",
    ),
    "contrastive_sequence": Entry(
        target="understudy.methods.attackers.contrastive_sequence:ContrastiveSequence",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Distil the mean of networks that were pushed away from the teacher, one after the other.",
        paper="after Jandial et al. 2022, ECCV, arXiv 2210.11728",
    ),
    "recovery": Entry(
        target="understudy.methods.attackers.recovery:Recovery",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Learn the way back from defended answers to clean ones, and distil those.",
        paper="Chen et al. 2023, IEEE S&P",
    ),
    "averaging": Entry(
        target="understudy.methods.attackers.averaging:Averaging",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Attack by the mean of the answers to several copies of each image.",
        paper="after Radosavovic et al. 2018, CVPR, arXiv 1712.04440",
    ),
    "regression": Entry(
        target="understudy.methods.attackers.regression:Regression",
        verb="distil",
        family="attackers",
        access="logits",
        data=True,
        fidelity="instantiation",
        summary="Attack by regression on centred logits, and on the order of the largest.",
        paper="after Ba, Caruana 2014, NIPS, arXiv 1312.6184",
    ),
    "adversarial_sparse_teacher": Entry(
        target="understudy.methods.resistance.adversarial_sparse_teacher:AdversarialSparseTeacher",
        verb="protect",
        family="resistance",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train a teacher towards its own sparse answers on adversarial images.",
        paper="Yilmaz, Keles 2024, arXiv 2403.05181",
    ),
    "nasty_teacher": Entry(
        target="understudy.methods.resistance.nasty_teacher:NastyTeacher",
        verb="protect",
        family="resistance",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train a teacher to be right, and to differ from an ordinary teacher as much as it may.",
        paper="Ma et al. 2021, ICLR, arXiv 2105.07381",
    ),
    "stingy_teacher": Entry(
        target="understudy.methods.resistance.stingy_teacher:StingyTeacher",
        verb="protect",
        family="resistance",
        access="none",
        data=True,
        fidelity="paper",
        summary="Hand out the largest few of an ordinary teacher's logits; the weights stay ordinary.",
        paper="Ma et al. 2022, ICLR workshop PAIR2Struct",
    ),
    "cmim": Entry(
        target="understudy.methods.resistance.cmim:CMIM",
        verb="protect",
        family="resistance",
        access="none",
        data=True,
        fidelity="instantiation",
        summary="Train a teacher whose answers say the class and nothing else.",
        paper="the idea of Ye, Hamidi, Yang 2025, arXiv 2507.00012",
    ),
    "misinformer": Entry(
        target="understudy.methods.resistance.misinformer:Misinformer",
        verb="protect",
        family="resistance",
        access="none",
        data=True,
        fidelity="paper",
        summary="Train a network to be wrong, for the serving-time defence of adaptive misinformation.",
        paper="Kariyappa, Qureshi 2020, CVPR, arXiv 1911.07100",
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
    "clean_adapter": Entry(
        target="understudy.methods.adapters.clean_adapter:CleanAdapter",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="paper",
        summary="Train one adapter on sentences as they are: slot 0 of the others, and the control.",
        paper="Hu et al. 2022, ICLR, arXiv 2106.09685",
        makes="text",
        label="Clean adapter",
    ),
    "adpmixup": Entry(
        target="understudy.methods.adapters.adpmixup:AdpMixup",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Mix a clean adapter and one for each known attack, per sentence, by entropy (our formulas).",
        paper="the idea of Nguyen, Le 2024, EMNLP, arXiv 2401.10111",
        makes="text",
        label="AdpMixup",
    ),
    "adversarial_adapter": Entry(
        target="understudy.methods.adapters.adversarial_adapter:AdversarialAdapter",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Train one adapter on what one known attack made of the sentences: a slot of AdpMixup, unmixed.",
        paper="after Nguyen, Le 2024, EMNLP, arXiv 2401.10111",
        makes="text",
        label="Adversarial adapter",
    ),
    "adversarial_training": Entry(
        target="understudy.methods.adapters.adversarial_training:AdversarialTraining",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Train one adapter, or the whole model, on sentences and what known attacks made of them.",
        paper="as in the comparison of Nguyen, Le 2024, EMNLP, arXiv 2401.10111",
        makes="text",
        label="Adversarial training",
    ),
    "adapter_soup": Entry(
        target="understudy.methods.adapters.adapter_soup:AdapterSoup",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Average the adapters of all known attacks once, for all sentences alike.",
        paper="Chronopoulou et al. 2023, EACL Findings, arXiv 2302.07027",
        makes="text",
        label="Adapter soup",
    ),
    "mixkd": Entry(
        target="understudy.methods.adapters.mixkd:MixKD",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Distil a teacher into an adapter on mixed pairs of sentences.",
        paper="Liang et al. 2021, ICLR, arXiv 2011.00593",
        makes="text",
        label="MixKD",
    ),
    "amda": Entry(
        target="understudy.methods.adapters.amda:AMDA",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Train on known attacks and on mixtures of hidden states between sentences (MixADA).",
        paper="Si et al. 2021, ACL Findings, arXiv 2012.15699",
        makes="text",
        label="MixADA",
    ),
    "freelb": Entry(
        target="understudy.methods.adapters.freelb:FreeLB",
        verb="adapt",
        family="adapters",
        access="weights",
        data=True,
        fidelity="instantiation",
        summary="Train on perturbed word embeddings, with all ascent steps in one update.",
        paper="Zhu et al. 2020, ICLR, arXiv 1909.11764",
        makes="text",
        label="FreeLB",
    ),
}


def entries() -> dict[str, Entry]:
    """Return the catalogue together with what other packages add under the entry point `understudy.methods`.

    Raises:
        ConfigError: two methods have one name.
    """
    found = dict(METHODS)
    for point in _installed():
        if point.name in found:
            raise ConfigError(f"two methods are named {point.name!r}", where=point.value)
        try:
            found[point.name] = point.load()
        except (ImportError, AttributeError) as error:  # somebody else's package must not take ours down
            warnings.warn(f"the method {point.name!r} of {point.value} cannot be loaded: {error}", stacklevel=2)
    return found


@cache
def _installed() -> tuple[EntryPoint, ...]:
    """Return what other packages add; read once a process, for it looks into every package there is."""
    return tuple(entry_points(group="understudy.methods"))


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
