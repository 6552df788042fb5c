"""What must not stand on a tape, and a sentence for each place where it does.

Names alone find little: a token leaks in a header nobody thought of, an address leaks percent-encoded twice. So heads
are held against the lists of what is kept, and every text is searched as it stands, with its JSON escapes resolved,
percent-decoded once and twice, and where it is base64 of a text, as that text.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import getpass
import math
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from resilient_foundry.harness.evidence import COMPLETE, Headers
from resilient_foundry.harness.tapes.normalise import REQUEST_HEADERS, RESPONSE_HEADERS, normalise
from resilient_foundry.harness.tapes.tape import Tape, TapeError

LARGEST_TAPE: Final = 200_000
"""Bytes. What is longer is no evidence that anybody reads."""
LARGEST_FOLDER: Final = 8_000_000
"""Bytes of all tapes together."""
PROVENANCE: Final = ("contract", "day", "platform", "product", "recorder", "version")
"""What every tape says of itself."""

_SECRETS: Final = {
    "a bearer token": r"(?i:\b(?:bearer|basic|token)\s+)(?=[A-Za-z._~+/-]*[0-9=])[A-Za-z0-9._~+/-]{12,}=*",
    "a key of OpenAI's kind": r"\bsk-[A-Za-z0-9_-]{16,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "a token of GitLab, Hugging Face, npm, PyPI or Slack": (
        r"\b(?:glpat-[\w-]{20,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{20,}|xox[abprs]-[\w-]{10,})"
    ),
    "a key of AWS": r"\b(?:AKIA|ASIA|AROA|AIDA)[0-9A-Z]{16}\b",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a password in a URL": r"://[^/\s:@\"']+:[^/\s@\"']+@",
    "a named secret": (
        r"(?i:[\"']?\b(?:api[_-]?key|access[_-]?token|client[_-]?secret|password|passwd|secret)[\"']?\s*[:=]\s*[\"']?)"
        r"(?=[^\s\"',]*[0-9])[^\s\"',&}]{6,}"
    ),
}
_MAIL: Final = r"[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b"
_FOLDERS: Final = (
    r"(?<![\w.])/(?:home|Users)/[\w.-]+|(?<![\w.])/root(?![\w.-])/?|(?i:\b[A-Z]:\\{1,2}Users\\{1,2}[\w.-]+)"
    r"|(?<![\w.])/(?:tmp|var/folders)/[\w.-]+"
)
_ADDRESSES: Final = (
    r"\b(?:https?|wss?)://(?P<named>\[[0-9a-fA-F:]+\]|[\w.-]+)(?::\d+)?"
    r"|(?<![\w.])(?P<address>\d{1,3}(?:\.\d{1,3}){3})(?![\w.])|\b(?P<here>localhost:\d+)"
)
_NOBODY: Final = re.compile(r"(?:.*\.)?(?:invalid|example|test)|(?:.*\.)?example\.(?:com|net|org)|")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_DENSE: Final = re.compile(r"[A-Za-z0-9+/_-]{20,}")
_PACKED_VECTOR: Final = re.compile(r'"embedding"\s*:\s*"[^"]*"')
_HEX: Final = re.compile(r"[0-9a-fA-F]+|[0-9a-fA-F-]{36}")
_HEX_BITS: Final = 3.0  # of 4 a character: thirty-two random digits have more, a padded number has less
_DENSE_BITS: Final = 4.1  # of 6 a character: twenty random letters and digits have more, words have less
_COMMON_NAMES: Final = frozenset(
    [
        "admin",
        "build",
        "debian",
        "docker",
        "localhost",
        "main",
        "maintainer",
        "nobody",
        "root",
        "runner",
        "ubuntu",
        "user",
    ]
)
_SHORTEST_NAME: Final = 4
_SHOWN: Final = 12  # characters of what was found: enough to find it, too little to use it


@dataclass(frozen=True, slots=True)
class Read:
    """A tape that was read: its file, what stands in it, and what that means."""

    path: Path
    written: str
    tape: Tape


Detector = Callable[[Read], Iterator[str]]


def read_from(path: Path) -> Read:
    """The tape in a file; raises `TapeError`, `UnicodeDecodeError` and `OSError`."""
    written = path.read_text("utf-8")
    return Read(path, written, Tape.loads(written))


def problems(path: Path) -> Iterator[str]:
    """A sentence for each thing that is wrong with the tape in this file."""
    try:
        read = read_from(path)
    except (TapeError, UnicodeDecodeError) as error:
        yield f"it can't be read: {error}"
        return
    for detect in DETECTORS:
        yield from detect(read)


def problems_of(folder: Path, largest: int = LARGEST_FOLDER) -> Iterator[str]:
    """A sentence for each thing that is wrong with the tapes of a folder as a whole."""
    total = sum(path.stat().st_size for path in folder.rglob("*.yaml"))
    if total > largest:
        yield f"the tapes in {folder.name} have {total:,} bytes together, and may have {largest:,}"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".yaml":
            yield f"{path.relative_to(folder)} is no tape"


def heads(read: Read) -> Iterator[str]:
    """Heads hold only what is kept of them."""
    for each in read.tape.exchanges:
        answered = each.response.headers if each.response else ()
        for side, headers, kept in (
            ("request", each.request.headers, REQUEST_HEADERS),
            ("answer", answered, RESPONSE_HEADERS),
        ):
            for name, _ in headers:
                if name not in kept:
                    yield f"the head of the {side} to {each.request} holds {name!r}, which no tape keeps"


def normal(read: Read) -> Iterator[str]:
    """Ids, addresses, processes and dates are the plain ones."""
    for before, after in zip(read.tape.exchanges, normalise(read.tape.exchanges), strict=True):
        if before != after:
            yield f"{before.request} is not normalised; record it again"


def secrets(read: Read) -> Iterator[str]:
    """Nothing has the shape of a secret."""
    for what, shape in _SECRETS.items():
        yield from (f"{where} holds {what}: {_hint(found)}" for where, found in _search(read, shape))


def entropy(read: Read) -> Iterator[str]:
    """Nothing looks as if it had been drawn at random."""
    for where, text in _texts(read):
        for view in _views(_PACKED_VECTOR.sub("", text)):
            for match in _DENSE.finditer(view):
                if _is_random(match[0]):
                    yield f"{where} holds what looks drawn at random: {_hint(match[0])}"


def mail(read: Read) -> Iterator[str]:
    """Nobody's mail address."""
    for where, found in _search(read, _MAIL):
        if not _NOBODY.fullmatch(found.rpartition("@")[2]):
            yield f"{where} holds a mail address: {_hint(found)}"


def folders(read: Read) -> Iterator[str]:
    """No folder of a person or of a moment."""
    yield from (f"{where} holds a path of some machine: {_hint(found)}" for where, found in _search(read, _FOLDERS))


def names(read: Read, known: Iterable[str] | None = None) -> Iterator[str]:
    """Neither the user nor the name of this machine, or none of those that are known."""
    for name in _here() if known is None else known:
        shape = rf"(?i:(?<![\w-]){re.escape(name)}(?![\w-]))"
        yield from (f"{where} holds a name of this machine: {_hint(found)}" for where, found in _search(read, shape))


def addresses(read: Read) -> Iterator[str]:
    """No server but those that can't exist (RFC 2606)."""
    for where, text in _texts(read):
        for view in _views(text):
            for match in re.finditer(_ADDRESSES, view):
                host = match["named"] or match["address"] or match["here"] or ""
                if not _NOBODY.fullmatch(host):
                    yield f"{where} holds an address that may be somebody's: {match[0][:40]}"


def size(read: Read, largest: int = LARGEST_TAPE) -> Iterator[str]:
    """It is of a size that a person can read."""
    length = len(read.written.encode())
    if length > largest:
        yield f"it has {length:,} bytes, and may have {largest:,}; a contract can do with a shorter answer"


def text(read: Read) -> Iterator[str]:
    """Answers are text."""
    for each in read.tape.exchanges:
        if each.response is None:
            continue
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            said = decoder.decode(each.response.body, final=each.ended.how == COMPLETE)
        except UnicodeDecodeError as error:
            yield f"the answer to {each.request} is not text: {error}"
        else:
            if any(ord(letter) < ord(" ") and letter not in "\t\n\r" for letter in said):
                yield f"the answer to {each.request} holds control characters"


def order(read: Read) -> Iterator[str]:
    """Writing it again changes no byte: nobody has edited it by hand, and keys are in one order."""
    if read.tape.dumps() != read.written:
        yield "it is not as it was written: writing it again changes it; tapes are recorded, not edited"


def provenance(read: Read) -> Iterator[str]:
    """It says where it comes from, and stands where that belongs."""
    said = read.tape.provenance
    missing = [name for name in PROVENANCE if not str(said.get(name) or "").strip()]
    if missing:
        yield f"it does not say its {', '.join(missing)}"
        return
    place = "/".join(read.path.parts[-3:])
    area, _, function = str(said["contract"]).partition(".")
    wanted = f"{said['product']}-{said['version']}/{area}/{function}.yaml"
    if place != wanted:
        yield f"it stands at {place}, and belongs at {wanted}"
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", str(said["day"])):
        yield f"its day is {said['day']!r}, which is no date"


DETECTORS: Final[tuple[Detector, ...]] = (
    heads,
    normal,
    secrets,
    entropy,
    mail,
    folders,
    names,
    addresses,
    size,
    text,
    order,
    provenance,
)
"""All of them."""


def _texts(read: Read) -> Iterator[tuple[str, str]]:
    """Where a text stands, and the text."""
    for name, value in read.tape.provenance.items():
        yield f"its {name}", str(value)
    for each in read.tape.exchanges:
        yield "the path of a request", each.request.path
        yield f"the head of the request to {each.request.path}", _head(each.request.headers)
        yield f"the body of the request to {each.request.path}", each.request.body.decode("utf-8", "replace")
        if each.response is not None:
            yield f"the head of the answer to {each.request}", _head(each.response.headers)
            yield f"the answer to {each.request}", each.response.body.decode("utf-8", "replace")
        yield f"the end of {each.request}", each.ended.says


def _head(headers: Headers) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers)


@cache
def _views(text: str) -> tuple[str, ...]:
    """A text in every way in which it may be read."""
    views = {text: None}
    views[_without_escapes(text)] = None
    for _ in range(2):
        views |= dict.fromkeys([unquote(view) for view in views if "%" in view])
    for view in list(views):
        views |= dict.fromkeys(_plain(view))
    return tuple(views)


def _without_escapes(text: str) -> str:
    """With the escapes of JSON resolved: .NET writes `@` and `+` as numbers."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text).replace("\\/", "/")


def _plain(text: str) -> Iterator[str]:
    """What is base64 of a text in it."""
    for match in _BASE64.finditer(text):
        written = match[0].rstrip("=").translate(str.maketrans("-_", "+/"))
        try:
            plain = base64.b64decode(written + "=" * (-len(written) % 4), validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if plain.isprintable():
            yield plain


def _search(read: Read, shape: str) -> Iterator[tuple[str, str]]:
    """Where something of this shape stands, and what it is."""
    for where, text in _texts(read):
        found = dict.fromkeys(match[0] for view in _views(text) for match in re.finditer(shape, view))
        yield from ((where, each) for each in found)


def _is_random(word: str) -> bool:
    if _HEX.fullmatch(word):
        return len(word) >= 32 and _bits(word) > _HEX_BITS  # noqa: PLR2004 - hexadecimal digits of 128 bits
    kinds = sum(any(map(kind, word)) for kind in (str.isdigit, str.isupper, str.islower))
    return kinds == 3 and _bits(word) > _DENSE_BITS  # noqa: PLR2004 - all of them


def _bits(word: str) -> float:
    """Shannon's entropy of a word, in bits a character."""
    shares: Iterable[float] = (count / len(word) for count in Counter(word).values())
    return -sum(share * math.log2(share) for share in shares)


@cache
def _here() -> tuple[str, ...]:
    """The names of this machine and of whoever uses it, but for those that half the world bears."""
    host = socket.gethostname()
    found = dict.fromkeys([host, host.partition(".")[0], _user()])
    return tuple(name for name in found if len(name) >= _SHORTEST_NAME and name.lower() not in _COMMON_NAMES)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without users
        return ""


def _hint(found: str) -> str:
    return found if len(found) <= _SHOWN else found[:_SHOWN] + "…"
