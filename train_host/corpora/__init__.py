"""Corpora of emotional speech: found by layout, read by one module each, checked, and summed up."""

from train_host.corpora.clip import UNKNOWN_SPEAKER, Clip, Corpus, LeftOut, Problem
from train_host.corpora.find import Found, find_corpora, scan
from train_host.corpora.known import KNOWN, Known
from train_host.corpora.noises import Sound, find_sounds, load_sounds
from train_host.corpora.summary import Summary, summarize, tables
from train_host.corpora.verify import Report, verify

__all__ = [
    "KNOWN",
    "UNKNOWN_SPEAKER",
    "Clip",
    "Corpus",
    "Found",
    "Known",
    "LeftOut",
    "Problem",
    "Report",
    "Sound",
    "Summary",
    "find_corpora",
    "find_sounds",
    "load_sounds",
    "scan",
    "summarize",
    "tables",
    "verify",
]
