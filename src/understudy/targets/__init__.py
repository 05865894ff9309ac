"""What can be asked: targets behind an endpoint, with their owner's defences and a ledger of every query."""

from understudy.targets._records import Account, Counts, Grant
from understudy.targets.access import Access
from understudy.targets.endpoint import Endpoint
from understudy.targets.ledger import Ledger
from understudy.targets.module import ModuleTarget
from understudy.targets.onnx import OnnxTarget
from understudy.targets.resolve import resolve_target
from understudy.targets.stored import StoredTarget, store_answers
from understudy.targets.target import Target, check_access

__all__ = [
    "Access",
    "Account",
    "Counts",
    "Endpoint",
    "Grant",
    "Ledger",
    "ModuleTarget",
    "OnnxTarget",
    "StoredTarget",
    "Target",
    "check_access",
    "resolve_target",
    "store_answers",
]
