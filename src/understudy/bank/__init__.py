"""Inputs and answers on file: written once, read many times."""

from understudy.bank._answer_files import answers_folder
from understudy.bank.answers import AnswerBank
from understudy.bank.archive import AnswerArchive
from understudy.bank.attacked import AttackedBank
from understudy.bank.bank import Bank, BankRows
from understudy.bank.prototypes import Prototypes, PrototypeWriter
from understudy.bank.storage import StorageType, decode, encode, rounded
from understudy.bank.writer import BankWriter

__all__ = [
    "AnswerArchive",
    "AnswerBank",
    "AttackedBank",
    "Bank",
    "BankRows",
    "BankWriter",
    "PrototypeWriter",
    "Prototypes",
    "StorageType",
    "answers_folder",
    "decode",
    "encode",
    "rounded",
]
