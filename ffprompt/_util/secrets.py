"""Secrets: what is one, where keys come from, and how none of them is ever shown or written.

A secret is known by its place: a password or a query in a URL, the value of a header or a setting whose name says so.
There it is left out whatever it looks like. What was found in such a place is remembered, and left out wherever else
it turns up: in what a server says, in a traceback, in the command that run.json records.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlsplit

from ffprompt._util.files import read_text
from ffprompt.errors import ModelError

HIDDEN = "[redacted]"
NO_KEY = "no-key"
"""What is sent in place of a key to servers that want none."""

_secrets: set[str] = set()

# A name of a header, a setting, a variable or a part of a query whose text is a secret. Names of tokens of a language
# model (eos_token, tokenizer, max_tokens) are none.
_SECRET_NAME = re.compile(
    r"authorization|cookie|key|secret|passw|passphrase|credential|signature|bearer|^auth$"
    r"|(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)(?<!mask_)(?<!stop_)(?<!end_)(?<!begin_)token(?!s|i[sz])",
    re.IGNORECASE,
)
# Parts of a query that say which version or model answers.
_PLAIN_NAME = re.compile(r"(api[-_])?version|model|deployment|region|location|project", re.IGNORECASE)
_VERSION = re.compile(r"(\d{4}-\d\d-\d\d|v\d+)(-?preview|-?beta)?|preview|latest", re.IGNORECASE)
_USER_OF_A_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/?#@\"']*@", re.IGNORECASE)
# A password may hold what ends a host, and then no port stands where one would.
_ODD_USER = re.compile(
    r"((?:[a-z][a-z0-9+.-]*://)?)((?!\[)[^/?#@]*:(?!\d{1,5}(?:[/?#]|$))(?!//)[^@]*)@(.*)", re.IGNORECASE
)
_LOOKS_LIKE_A_KEY = re.compile(r"\bsk-[\w*.-]{6,}")


def read_key(variable: str, path: str | None = None, default: str | None = None) -> str:
    """A key from a file or else from the environment. Raises ModelError, which never shows what was found there.

    ``default`` stands in where there is none, for servers that want no key.
    """
    where = f"environment variable {variable}"
    key = os.environ.get(variable)
    if path is not None:
        where = "the key file"
        try:
            key = read_text(Path(path).expanduser()).strip()  # files end in a newline
        except ValueError as error:
            raise ModelError(f"{where} cannot be read: {error}") from None
        except OSError:
            # The path is not shown: it may be the key itself, given by mistake.
            raise ModelError(f"{where} cannot be read; give a file's path, or set {variable}") from None
    if key is None and default is not None:
        return default
    if not key:
        raise ModelError(
            f"no API key: {where} is {'empty' if key == '' else 'not set'}; set {variable}, or give a file with "
            "--key-file; a server of your own needs no key: give its address with --base-url"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError(f"the API key in {where} is malformed: a key has no spaces, newlines or non-ASCII characters")
    register_secret(key)
    return key


def register_secret(value: str) -> None:
    """Remember a text that is never to be shown. Of less than four characters there is none: they are in every word."""
    if len(value) >= 4 and value != HIDDEN and value not in _secrets:
        _secrets.add(value)
        _known.cache_clear()


def redact(text: str) -> str:
    """``text`` without any secret that is known, however it is encoded, and without what looks like a key."""
    text = _USER_OF_A_URL.sub(r"\1", text)
    return _LOOKS_LIKE_A_KEY.sub(HIDDEN, _without(text, strong=False))


def redacted(value: Any) -> Any:
    """A plain value without any secret in its strings, for what a model says and for records.

    A secret that is an ordinary word or a number ("EMPTY", "1234") stays there: an answer may be the same.
    """
    if isinstance(value, str):
        return _without(value, strong=True)
    if isinstance(value, Mapping):
        return {key: redacted(one) for key, one in value.items()}
    return [redacted(one) for one in value] if isinstance(value, (list, tuple)) else value


def is_secret_name(name: str) -> bool:
    """Whether what is called so is a secret.

    >>> [is_secret_name(name) for name in ("X-Api-Key", "Cookie", "hf_token", "max_tokens", "tokenizer", "eos_token")]
    [True, True, True, False, False, False]
    """
    return _SECRET_NAME.search(name) is not None


def split_base_url(url: str) -> tuple[str, dict[str, str]]:
    """A base URL without its query, and the query, which has to stand behind the path of every call.

    >>> split_base_url("http://host/v1?api-version=1")
    ('http://host/v1', {'api-version': '1'})

    Raises:
        ModelError: for what is no address of a server.
    """
    parts = _checked(url)
    query: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in query:
            raise ModelError(f"base URL {shown_url(url)}: {name} is in its query twice; leave one of them out")
        query[name] = value
    shown_url(url)  # which remembers the secrets in it
    return parts._replace(query="", fragment="").geturl(), query


def shown_url(url: str) -> str:
    """A URL as it may be shown: without a user and a password, and without the values of its query.

    Of these, an API's version stays. What is left out is remembered as secret.

    >>> shown_url("http://me:pw@host/v1?api-version=2024-10-21&sig=abc")
    'http://host/v1?api-version=2024-10-21&sig=[redacted]'
    """
    if (odd := _ODD_USER.match(url)) is not None:
        _register_user(odd[2])
        url = odd[1] + odd[3]
    head, mark, fragment = url.partition("#")
    head, asked, query = head.partition("?")
    scheme, slashes, rest = head.rpartition("://")
    host, slash, path = rest.partition("/")
    user, at, host = host.rpartition("@")
    if at:
        _register_user(user)
    values = [_shown_part(*part.partition("=")) for part in query.split("&")] if asked else []
    fragment = HIDDEN if fragment else ""
    return f"{scheme}{slashes}{host}{slash}{path}{asked}{'&'.join(values)}{mark}{fragment}"


def shown_headers(headers: Iterable[str]) -> list[str]:
    """Headers, each ``NAME=VALUE``, without the values of those that hold a secret, which are remembered."""
    return [_shown_header(each) for each in headers]


def shown_body(body: Any) -> Any:
    """A plain value, or JSON as text, without the texts under names of secrets at any depth, which are remembered."""
    if isinstance(body, str):
        try:
            return json.dumps(shown_body(json.loads(body)), ensure_ascii=False)
        except (ValueError, RecursionError):  # whatever it is, it is no JSON, and may be anything
            register_secret(body)
            return HIDDEN
    return _shown_value("", body)


def shown_command(words: Sequence[str]) -> list[str]:
    """Words of a command line without the secrets in them, which are remembered."""
    found: list[str] = []
    before = ""
    for word in words:
        flag, mark, value = word.partition("=")
        if before.startswith("--") and (show := _display_of(before)) is not None:
            found.append(show(word))
        elif mark and word.startswith("--") and (show := _display_of(flag)) is not None:
            found.append(f"{flag}={show(value)}")
        else:
            found.append(word)
        before = word
    return [redact(word) for word in found]


def shown_setting(name: str, value: Any) -> Any:
    """A setting of a run as it may be shown."""
    show = _display_of(name)
    if show is None or value is None:
        return redacted(value)
    if show is shown_body:
        return redacted(show(value))
    if isinstance(value, (list, tuple)):
        return [shown_setting(name, one) for one in value]
    return redacted(show(value) if isinstance(value, str) else value)


def register_environment() -> None:
    """Remember the secrets of the environment: keys, tokens and passwords by their names, and those in URLs."""
    for name, value in os.environ.items():
        if (user := re.match(r"[a-z][a-z0-9+.-]*://([^/?#@]*)@", value, re.IGNORECASE)) is not None:
            _register_user(user[1])
        elif is_secret_name(name) and len(value) >= 12 and not re.search(r"\s|^[~/.]", value):
            register_secret(value)


def _checked(url: str) -> SplitResult:
    """The parts of a URL. Raises ModelError unless it is the address of a server."""
    shown = shown_url(url)
    example = "such as http://localhost:8000/v1"
    if not url.isprintable() or " " in url:
        raise ModelError(
            f"base URL {shown!r}: it has spaces or control characters in it; an address is expected, {example}"
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        (host or "").encode("idna")
    except ValueError:  # its text may show a password
        raise ModelError(
            f"base URL {shown}: its host or its port is malformed; an address is expected, {example}"
        ) from None
    if parts.scheme.lower() not in ("http", "https"):
        begun = f"; did you mean http://{shown.lstrip('/')}?" if "://" not in url else ""
        raise ModelError(f"base URL {shown}: it must begin with http:// or https://{begun}")
    if not host or port == 0:
        raise ModelError(f"base URL {shown}: no {'port' if host else 'host'} in it; an address is expected, {example}")
    return parts


def _shown_part(name: str, mark: str, value: str) -> str:
    if not value or (_PLAIN_NAME.fullmatch(name) and _VERSION.fullmatch(value)):
        if not mark:  # a query of one bare word, which may be a key itself
            register_secret(name)
            return HIDDEN if name else ""
        return f"{name}{mark}{value}"
    if not _PLAIN_NAME.fullmatch(unquote(name)):
        register_secret(unquote(value))
        register_secret(value)
    return f"{name}{mark}{HIDDEN}"


def _shown_header(header: str) -> str:
    name, found, value = header.partition("=")
    if not found:
        register_secret(header)
        return HIDDEN
    if not is_secret_name(name):
        return header
    for word in (value.strip(), *value.split()[1:]):  # "Bearer abc": the word behind is one by itself
        register_secret(word)
    return f"{name}{found}{HIDDEN}"


# How to show a setting that may hold a secret, by the last word of its name.
_DISPLAYS: Mapping[str, Callable[[Any], Any]] = {"url": shown_url, "header": _shown_header, "body": shown_body}


def may_hold_secret(setting: str) -> bool:
    """Return whether a setting, by its name, may hold a secret that has to be left out where its value is shown.

    >>> [may_hold_secret(name) for name in ("base_url", "extra_header", "extra_body", "key_file", "timeout")]
    [True, True, True, False, False]
    """
    return _display_of(setting) is not None


def _display_of(name: str) -> Callable[[Any], Any] | None:
    """How to show the value of a setting by its name, or by its flag. None where it is shown as it is."""
    return _DISPLAYS.get(name.replace("-", "_").rpartition("_")[2])


def _shown_value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _shown_value(str(key), one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown_value(name, one) for one in value]
    if isinstance(value, str) and is_secret_name(name):
        register_secret(value)
        return HIDDEN
    return value


def _register_user(user: str) -> None:
    """The name and the password in a URL, and both together as Basic authentication sends them."""
    name, mark, password = user.partition(":")
    register_secret(unquote(password) if mark else unquote(name))
    plain = f"{unquote(name)}:{unquote(password)}"
    register_secret(base64.b64encode(plain.encode(errors="surrogatepass")).decode())
    register_secret(plain)


def _without(text: str, strong: bool) -> str:
    """A text without secrets, of which the longest go first. ``strong``: only those that no text has by chance."""
    known = _known(strong)
    found = sorted((form for form in known if form in text), key=len, reverse=True)
    return re.sub("|".join(known[form] for form in found), HIDDEN, text) if found else text


@lru_cache(maxsize=2)
def _known(strong: bool) -> Mapping[str, str]:
    """Every form of every secret, with the pattern that finds it."""
    forms: dict[str, str] = {}
    for secret in _secrets:
        if strong and not _strong(secret):
            continue
        for form in _forms(secret):
            left, right = (r"(?<!\w)" if form[0].isalnum() else "", r"(?!\w)" if form[-1].isalnum() else "")
            # A short one counts as a word of its own only: others may hold it by chance.
            forms[form] = f"{left}{re.escape(form)}{right}" if len(secret) < 12 else re.escape(form)
    return forms


def _strong(secret: str) -> bool:
    return len(secret) >= 12 or (len(secret) >= 6 and bool(re.search(r"[^\W\d]", secret) and re.search(r"\d", secret)))


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as URLs, JSON, HTML, tracebacks and Base64 write it."""
    data = secret.encode(errors="surrogatepass")
    quoted = {quote(data, safe=""), quote(data), quote_plus(data)}
    coded = {base64.b64encode(data).decode().rstrip("="), base64.urlsafe_b64encode(data).decode().rstrip("=")}
    return {
        secret,
        *quoted,
        *(re.sub(r"%..", lambda code: code[0].lower(), each) for each in quoted),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        *(each for each in coded if len(each) >= 8),
    }
