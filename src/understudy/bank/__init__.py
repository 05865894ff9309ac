"""Inputs and answers on file: written once, read many times."""

from understudy.bank.bank import Bank, BankRows
from understudy.bank.storage import StorageType, decode, encode, rounded
from understudy.bank.writer import BankWriter

__all__ = ["Bank", "BankRows", "BankWriter", "StorageType", "decode", "encode", "rounded"]
