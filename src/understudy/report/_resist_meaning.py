"""What the words of a measurement of resistance mean, and what it does not say."""

from understudy.report._resist_read import ResistanceRecord
from understudy.report._resist_words import regime_label, regime_of, regimes_in_use


def meaning(record: ResistanceRecord) -> list[tuple[str, str]]:
    """Return the words of the page."""
    words = [
        (
            "Teacher",
            "the owner's network. Others may ask it for answers, and it is defended so that these teach little.",
        ),
        ("Student", "the attacker's network: it starts from random weights and learns from the teacher's answers."),
        ("Owner pays", "accuracy that the defence costs the teacher itself, beside the ordinary one."),
        (
            "Plain distillation",
            "the attacker of the text books, with the values that serve best on the ordinary teacher. It does not "
            "know of any defence.",
        ),
        (
            "Best attacker",
            "the one of the suite whose student gets furthest. Each chose its own options on held-out images, never "
            "on the test. This is the number that counts: an attacker picks the attack.",
        ),
        (
            "Student alone",
            "the same student, trained without any teacher, with hard or with smoothed labels, whichever is better. "
            "An attacker who ends below it has wasted the queries.",
        ),
        (
            "Loses",
            "accuracy of the student of the ordinary teacher, less that of the defended one. If the owner loses as "
            "much, this is a worse teacher and no protection.",
        ),
        ("Entropy", "how spread out the answers are, in nats: 0 is one class alone. High temperatures soften answers."),
    ]
    named = [(regime_label(name).capitalize(), regime_of(record, name).words) for name in regimes_in_use(record)]
    return [*words, *((name, said) for name, said in named if said)]


def silent(record: ResistanceRecord) -> list[str]:
    """Return what the measurement does not speak of."""
    said = [
        "Attackers that were not tried. Holding against a list is no proof; a better attack may be found tomorrow.",
        "Other data and larger networks: what a defence costs and what it takes change with both.",
        "An attacker with the weights: brief fine-tuning usually undoes a trained defence.",
    ]
    if "data_free" not in regimes_in_use(record):
        said.append("Attackers without any images of the owner's kind: the data-free regime was not run.")
    return said
