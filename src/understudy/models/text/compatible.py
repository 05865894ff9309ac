"""Which adapters fit a backbone and one another."""

from collections.abc import Sequence

from understudy.errors import ConfigError
from understudy.models.text.adapter import Adapter, LoraMix
from understudy.models.text.backbone import Backbone


def check_compatible(adapters: Sequence[Adapter], backbone: Backbone, *, lora_mix: LoraMix = "factor") -> None:
    """Refuse adapters that do not fit the backbone or one another.

    Args:
        adapters: at least one.
        backbone: what they are laid over.
        lora_mix: factor mixing needs equal ranks and scales; product mixing does not.

    Raises:
        ConfigError: another backbone, kind, rank, scale, set of modules, head or set of classes; it says which.
    """
    if not adapters:
        raise ConfigError("no adapter given", expected="one or more")
    shapes = {name: tuple(backbone.model.get_parameter(name).shape) for name in backbone.head_names}
    for index, adapter in enumerate(adapters):
        where = f"adapter {index}"
        _same("backbone (SHA-256 of the encoder)", adapter.backbone_sha256, backbone.sha256, where)
        _same("classes", adapter.labels, backbone.labels, where)
        _same("head", {name: tuple(value.shape) for name, value in adapter.head.items()}, shapes, where)
        first, config = adapters[0].config, adapter.config
        _same("kind", config.kind, first.kind, where)
        _same("set of adapted modules", set(adapter.modules), set(adapters[0].modules), where)
        if config.kind != "lora":
            _same("bottleneck", (config.reduction, config.activation), (first.reduction, first.activation), where)
        elif lora_mix == "factor":
            fix = "mix products instead (lora_mix='product')"
            _same("rank", config.rank, first.rank, where, fix=fix)
            _same("scale (alpha / rank)", config.scale, first.scale, where, fix=fix)
        _check_shapes(adapter, backbone, where)


def _check_shapes(adapter: Adapter, backbone: Backbone, where: str) -> None:
    config = adapter.config
    width = max(1, backbone.hidden_size // config.reduction)
    for name in adapter.modules:
        try:
            part = backbone.model.get_submodule(name)
            into, out = int(part.in_features), int(part.out_features)
        except AttributeError:
            raise ConfigError(f"the backbone has no linear map {name!r}", where=where) from None
        shapes = (
            {"lora_A.weight": (config.rank, into), "lora_B.weight": (out, config.rank)}
            if config.kind == "lora"
            else {
                "down.weight": (width, out),
                "down.bias": (width,),
                "up.weight": (out, width),
                "up.bias": (out,),
            }
        )
        found = {
            key.removeprefix(f"{name}."): tuple(value.shape)
            for key, value in adapter.tensors.items()
            if key.rsplit(".", 2)[0] == name
        }
        _same(f"shapes in {name}", found, shapes, where)


def _same(what: str, found: object, wanted: object, where: str, *, fix: str = "") -> None:
    if found != wanted:
        raise ConfigError(
            f"another {what}: {found}",
            where=where,
            expected=str(wanted),
            fix=fix or "take adapters that were trained together, over this backbone",
        )
