"""Inputs and answers on file: written once, read many times."""

from understudy.bank.bank import Bank, BankRows
from understudy.bank.prototypes import Prototypes, PrototypeWriter
from understudy.bank.storage import StorageType, decode, encode, rounded
from understudy.bank.writer import BankWriter

__all__ = [
    "Bank",
    "BankRows",
    "BankWriter",
    "PrototypeWriter",
    "Prototypes",
    "StorageType",
    "decode",
    "encode",
    "rounded",
]
