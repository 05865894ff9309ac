"""What the red flags of an evaluation under attack mean, in words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """What a check looks for, in words.

    Args:
        what: the fault, in a few words.
        expected: what a network without it shows.
        meaning: what it does to the numbers.
        to_do: what to do about it.
    """

    what: str
    expected: str
    meaning: str
    to_do: str


FLAGS: dict[str, About] = {
    "random_outputs": About(
        "answers change at random",
        "the same logits each time the same image is asked",
        "An attack climbs one draw and is judged by another, so robustness looks higher than it is.",
        "switch the randomness off, or fix its seed in every forward pass, and evaluate again",
    ),
    "probabilities": About(
        "answers are probabilities, not logits",
        "logits: numbers of any sign that do not sum to 1",
        "The softmax is taken twice, gradients all but vanish, and attacks fail for that reason alone.",
        "evaluate the network without its softmax layer",
    ),
    "zero_gradients": About(
        "gradients are exactly zero",
        "a gradient other than zero at every image",
        "Attacks that climb the gradient cannot move there, whatever the network's robustness.",
        "replace rounding, thresholds and other steps by something that can be differentiated, and add autoattack, "
        "whose Square Attack needs no gradient",
    ),
    "batch_dependent": About(
        "answers depend on the other images of the batch",
        "the same logits for an image alone and among others",
        "An attack looks at one batch and is judged in another; a verdict for a single image means nothing.",
        "put BatchNorm and the like into eval mode, and evaluate again",
    ),
    "normalisation": About(
        "the network expects images that were normalised outside of it",
        "a network that takes images in [0, 1] and normalises them itself",
        "It is asked about images unlike those it was trained on, and a radius in pixels would mean another one.",
        "put the normalisation inside the network, as its first layer",
    ),
    "chance": About(
        "no better than guessing without any attack",
        "clean accuracy above that of always naming the most frequent class",
        "The images do not reach the network as it was trained on them, or it has learned nothing.",
        "put the normalisation inside the network, so that it takes images in [0, 1]; check the order of the classes",
    ),
    "order": About(
        "a stronger attack breaks less than a weaker one",
        "AutoAttack <= CW <= PGD <= FGSM in robust accuracy",
        "Either its smaller steps come less far on this network, or its gradients mislead; its own number is too high.",
        "add autoattack, and look for what hides the gradient",
    ),
    "square": About(
        "Square Attack wins where attacks with gradients failed",
        "nothing left for an attack without gradients to break",
        "The gradients mislead; a longer search without them would break still more.",
        "treat the number as too high; attack the network with something made for it",
    ),
    "loss_scale": About(
        "the attack depends on the scale of the logits",
        "as many images broken with the logits as they are as with smaller ones",
        "The logits are so large that the cross-entropy has no gradient left in float32, and PGD fails for that alone.",
        "divide the logits by a constant in the network's last layer, and evaluate again; or rely on cw and autoattack "
        "and acknowledge this flag",
    ),
    "sweep": About(
        "some images stand however far they may be changed",
        "0 % where every image may be made into any other",
        "An attack that fails even there fails at smaller radii as well.",
        "look for what hides the gradient; add cw and autoattack",
    ),
    "transfer": About(
        "attacks on the teacher break more than attacks on the network itself",
        "an attack that sees the network's own weights breaks at least as much",
        "The network hides its gradient: its own attack number is too high.",
        "treat the number as too high; add autoattack",
    ),
    "bound": About(
        "perturbed images left the radius or the box",
        "every perturbed image within epsilon of its own and in [0, 1]",
        "Those images were not counted as broken, so the number may be too high.",
        "report this as a fault of the attack",
    ),
}
"""Every flag by name, with what it means."""
