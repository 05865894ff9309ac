import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import ConfigError
from understudy.models import format_spec, parse_spec
from understudy.models.architectures import (
    ARCHITECTURES,
    CNN,
    MLP,
    Architecture,
    MobileNetV2,
    ResNet,
    ResNet18,
    ResNet34,
    ViT,
    WideResNet,
)

WIDTH = st.integers(1, 4096)
WIDTHS = st.lists(WIDTH, min_size=1, max_size=12).map(tuple)
EVERY = st.one_of(
    st.builds(
        CNN,
        widths=WIDTHS,
        norm=st.sampled_from(["batch", "group", "none"]),
        pool=st.sampled_from(["global", "flatten"]),
    ),
    st.builds(MLP, widths=WIDTHS, norm=st.sampled_from(["batch", "none"])),
    st.builds(ResNet18, width=WIDTH),
    st.builds(ResNet34, width=WIDTH),
    st.builds(ResNet, depth=st.integers(1, 200).map(lambda n: 6 * n + 2), width=WIDTH),
    st.builds(WideResNet, depth=st.integers(1, 166).map(lambda n: 6 * n + 4), widen=st.integers(1, 64)),
    st.builds(MobileNetV2, width=st.floats(0.1, 4.0)),
    st.builds(
        ViT,
        patch=st.integers(1, 64),
        dim=WIDTH,
        depth=st.integers(1, 48),
        heads=st.integers(1, 64),
        mlp_ratio=st.floats(0.25, 8.0),
        pool=st.sampled_from(["class", "mean"]),
    ),
)


@settings(deadline=None)  # the test machines are slow at times
@given(EVERY)
def test_the_canonical_spec_gives_the_architecture_back(architecture: Architecture) -> None:
    assert parse_spec(format_spec(architecture)) == architecture


@settings(deadline=None)  # the test machines are slow at times
@given(EVERY)
def test_options_may_come_in_any_order_and_with_their_defaults(architecture: Architecture) -> None:
    pairs = [f"{key}={'-'.join(map(str, value)) if isinstance(value, tuple) else value}" for key, value in architecture]
    assert parse_spec(f"{architecture.name}:{','.join(reversed(pairs))}") == architecture


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("cnn", "cnn"),
        ("cnn:pool=global,widths=16-32", "cnn:widths=16-32"),
        (" resnet18 : width = 16 ".replace(" : ", ":"), "resnet18:width=16"),
        ("resnet:depth=20,width=16", "resnet:depth=20"),
        ("wide_resnet16_2", "wide_resnet:depth=16,widen=2"),
        ("wrn-34-10", "wide_resnet:depth=34,widen=10"),
        ("wide_resnet:widen=2,depth=16", "wide_resnet:depth=16,widen=2"),
        ("mobilenet_v2:width=.50", "mobilenet_v2:width=0.5"),
        ("vit:heads=2,dim=32,patch=2", "vit:patch=2,dim=32,heads=2"),
    ],
)
def test_equal_networks_have_equal_specs(spec: str, canonical: str) -> None:
    assert format_spec(parse_spec(spec)) == canonical


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet19", "no architecture is called 'resnet19'"),
        ("resnet19", "did you mean 'resnet18'"),
        ("zzz", "known: cnn, mlp, mobilenet_v2"),
        ("", "no architecture is called ''"),
        ("cnn:width=3", "'cnn' has no option 'width'"),
        ("cnn:width=3", "did you mean 'widths'"),
        ("cnn:widths=3,widths=4", "'widths' is given twice"),
        ("wrn-16-2:depth=22", "'depth' is given twice"),
        ("cnn:", "cannot read '' as an option"),
        ("cnn:widths", "cannot read 'widths' as an option"),
        ("cnn:widths=", "cannot read 'widths=' as an option"),
        ("cnn:widths=3,", "cannot read '' as an option"),
        ("cnn:widths=3--4", "'widths' of 'cnn' cannot be ''"),
        ("cnn:widths=three", "'widths' of 'cnn' cannot be 'three'"),
        ("cnn:widths=0", "greater than or equal to 1"),
        ("cnn:widths=" + "-".join("4" * 13), "at most 12 items"),
        ("cnn:norm=layer", "'batch', 'group' or 'none'"),
        ("resnet18:width=1.5", "valid integer"),
        ("resnet18:width=5000", "less than or equal to 4096"),
        ("resnet", "option 'depth' of 'resnet' is missing"),
        ("resnet:depth=18", "6n + 2"),
        ("wrn-18-2", "6n + 4"),
        ("wrn-16", "no architecture is called 'wrn-16'"),
        ("mobilenet_v2:width=nan", "finite number"),
        ("mobilenet_v2:width=0", "greater than or equal to 0.1"),
        ("vit:heads=-1", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_used_is_refused_in_plain_words(spec: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_spec(spec)
    assert message in str(caught.value)


@settings(deadline=None)  # the test machines are slow at times
@given(st.text(max_size=40) | st.builds("{}:{}".format, st.sampled_from(sorted(ARCHITECTURES)), st.text()))
def test_any_text_is_a_spec_or_a_config_error(text: str) -> None:
    try:
        architecture = parse_spec(text)
    except ConfigError:
        return
    assert parse_spec(format_spec(architecture)) == architecture


def test_every_option_has_a_line_of_help() -> None:
    for architecture in ARCHITECTURES.values():
        for key, field in architecture.model_fields.items():
            assert field.description, f"{architecture.name}:{key}"
