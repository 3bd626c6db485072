"""Models that are not what they should be: logits that are no numbers, tokens outside the matrix, damaged files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ffprompt.backends.base import Failure, Reply, Request, Scores
from ffprompt.backends.local.candidate_scores import NOT_FINITE
from ffprompt.backends.local.tokenization import Encoder
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.weight_files import check_adapter, check_folder
from ffprompt.backends.local.weights import locate
from ffprompt.errors import ModelError
from tests.backends.local.test_transformers import requests
from tests.support.tiny import make

PROMPTS = (
    "Alice turns the light",
    "Bob eats",
    "Carol closes the door. Dan turns the radio up. At this point the door is",
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("llama") / "model", "llama")


@pytest.fixture
def model(llama: Path) -> TransformersBackend:
    return TransformersBackend(str(llama), device="cpu")


def written(backend: TransformersBackend, asked: Sequence[Request]) -> list[Reply | Failure]:
    return list(asyncio.run(backend.complete(asked)))


def ask(*texts: str, tokens: int = 5) -> list[Request]:
    return [Request(f"k{n}", text, max_tokens=tokens) for n, text in enumerate(texts)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_without_a_number_are_an_error_in_every_elicitation(model: TransformersBackend, value: float) -> None:
    model.model.model.norm.weight.data[3] = value
    assert written(model, ask(*PROMPTS)) == [Failure(NOT_FINITE)] * 3
    assert asyncio.run(model.score(requests(model))) == [Failure(NOT_FINITE)] * 3


def test_one_bad_row_spoils_no_other(model: TransformersBackend) -> None:
    whole = written(model, ask(*PROMPTS))
    embeddings = model.model.get_input_embeddings().weight.data
    bad = (set(model.encoder.encode(PROMPTS[1])) - set(model.encoder.encode(PROMPTS[0] + PROMPTS[2]))).pop()
    embeddings[bad] = float("nan")
    # Token 0 stands in no prompt; padding must not bring it in.
    embeddings[0] = float("nan")
    embeddings[1] = float("nan")
    found = written(model, ask(*PROMPTS))
    assert found == [whole[0], Failure(NOT_FINITE), whole[2]]
    embeddings[bad] = 0.0
    scored = requests(model, length=[8, 40], trials=2)
    assert all(isinstance(one, Scores) for one in asyncio.run(model.score(scored)))


def test_a_step_behind_the_end_of_a_reply_does_not_count(model: TransformersBackend) -> None:
    steps = 0

    def fifth(_module: Any, _given: Any, logits: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return logits * float("nan") if steps == 5 else logits

    model.model.lm_head.register_forward_hook(fifth)
    both = [Request("short", PROMPTS[0], max_tokens=4), Request("long", PROMPTS[0], max_tokens=5)]
    short, long = written(model, both)
    assert isinstance(short, Reply) and long == Failure(NOT_FINITE)


def test_logits_that_are_all_equal_are_an_answer(model: TransformersBackend) -> None:
    model.model.lm_head.weight.data.zero_()
    assert all(isinstance(one, Reply) for one in written(model, ask(*PROMPTS)))
    assert all(isinstance(one, Scores) for one in asyncio.run(model.score(requests(model))))


def test_a_model_of_its_own_generation_settings_hides_no_nan(model: TransformersBackend) -> None:
    model.model.generation_config.remove_invalid_values = True
    model.model.model.norm.weight.data[3] = float("nan")
    assert written(model, ask(PROMPTS[0])) == [Failure(NOT_FINITE)]


@pytest.mark.parametrize("kind", ["pad_token", "eos_token"])
def test_special_tokens_beyond_the_matrix_are_never_fed_to_the_model(llama: Path, kind: str) -> None:
    backend = TransformersBackend(str(llama), device="cpu")
    wanted = written(backend, ask(*PROMPTS))
    backend.encoder.tokenizer.add_special_tokens({kind: "<|beyond|>"})
    odd = backend.encoder.tokenizer
    assert getattr(odd, f"{kind}_id") >= backend.model.get_input_embeddings().weight.shape[0]
    assert written(backend, ask(*PROMPTS)) == wanted
    # Where one reply ends before the others, the rest of its row is filled up.
    first = wanted[0]
    assert isinstance(first, Reply)
    backend.model.generation_config.eos_token_id = None
    asked = [Request("k0", PROMPTS[0], max_tokens=5, stop=(first.text[0],)), *ask(*PROMPTS)[1:]]
    short, *others = written(backend, asked)
    assert isinstance(short, Reply) and short.ended == "stop_string" and others == wanted[1:]


@pytest.mark.parametrize("pad", [" light", "0", "</s>"])
def test_a_padding_token_that_means_something_does_not_matter(llama: Path, pad: str) -> None:
    backend = TransformersBackend(str(llama), device="cpu")
    wanted = written(backend, ask(*PROMPTS))
    backend.encoder.tokenizer.pad_token = pad
    backend.encoder = Encoder(backend.encoder.tokenizer, "m", None, 2048)
    assert written(backend, ask(*PROMPTS)) == wanted
    alone = [written(backend, [one])[0] for one in ask(*PROMPTS)]
    assert alone == wanted


def test_without_any_end_token_a_reply_ends_at_its_stop_text(llama: Path) -> None:
    backend = TransformersBackend(str(llama), device="cpu")
    (whole,) = written(backend, ask(PROMPTS[0], tokens=20))
    assert isinstance(whole, Reply) and whole.ended == "length"
    mark = next(letter for letter in whole.text[4:] if letter.isascii() and letter.strip())
    backend.encoder.tokenizer.eos_token = None
    backend.model.generation_config.eos_token_id = None
    asked = [Request("a", PROMPTS[0], max_tokens=20, stop=(mark,)), Request("b", PROMPTS[1], max_tokens=20)]
    first = written(backend, asked)[0]
    assert isinstance(first, Reply)
    assert (first.text, first.stop, first.ended) == (whole.text[: whole.text.index(mark)], "stop", "stop_string")


def test_a_reply_that_its_model_ends_says_so(model: TransformersBackend) -> None:
    model.model.lm_head.weight.data.zero_()
    model.model.generation_config.eos_token_id = [0]  # the first of equals
    (reply,) = written(model, ask(PROMPTS[0]))
    assert reply == Reply("", "stop", prompt_tokens=len(model.encoder.encode(PROMPTS[0])), reply_tokens=1, ended="eos")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1234\n"


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def alter(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return alter


def shards(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def nested(folder: Path) -> None:
    inner = folder / "snapshots" / "1f0c"
    inner.mkdir(parents=True)
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(inner / path.name)


def linked(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "nowhere")


def adapter_only(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def a_folder(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()


W, C, T = "model.safetensors", "config.json", "tokenizer.json"
FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    **{
        f"pointer in place of {name}": (rewritten(name, lambda _: POINTER), f": {name} is a Git LFS pointer.*lfs pull$")
        for name in (C, T, W, "tokenizer_config.json")
    },
    "annex": (rewritten(W, lambda _: b"/annex/objects/SHA256E-s3\n"), "git annex get"),
    "web page": (rewritten(C, lambda _: b"<!DOCTYPE html><html>Sign in"), "config.json is a web page"),
    "BOM": (rewritten(C, lambda old: b"\xef\xbb\xbf" + old), "config.json begins with a byte order mark; save"),
    "BOM, tokenizer": (rewritten(T, lambda old: b"\xef\xbb\xbf" + old), "tokenizer.json begins with a byte"),
    "UTF-16": (rewritten(C, lambda old: old.decode().encode("utf-16")), "config.json is saved as UTF-16; save"),
    "UTF-16, no mark": (rewritten("tokenizer_config.json", lambda old: old.decode().encode("utf-16-le")), "as UTF-16"),
    "UTF-32": (rewritten(C, lambda old: old.decode().encode("utf-32")), "UTF-32"),
    "not UTF-8": (rewritten(C, lambda old: old[:-2] + b',"x":"\xe9"}'), r"config.json is not UTF-8 \(byte \d"),
    "cut JSON": (rewritten(C, lambda old: old[:-20]), r"config.json is not JSON, line \d+: "),
    "a list": (rewritten(C, lambda _: b"[]"), "config.json holds list, and an object was expected"),
    "empty config": (rewritten(C, lambda _: b""), "config.json is empty"),
    "empty weights": (rewritten(W, lambda _: b""), "model.safetensors is empty"),
    "cut weights": (rewritten(W, lambda old: old[:-1000]), r"is cut off after [\d,]+ of [\d,]+ bytes; download it"),
    "cut in the header": (rewritten(W, lambda old: old[:100]), "model.safetensors is cut off after 100 of"),
    "cut in the length": (rewritten(W, lambda old: old[:5]), "model.safetensors is cut off after 5 bytes"),
    "too long": (rewritten(W, lambda old: old + b"\0" * 7), "7 too many"),
    "no header": (rewritten(W, lambda _: b"\x00" * 100), "no safetensors file"),
    "pickle": (rewritten(W, lambda _: b"PK\x03\x04" + b"x" * 200), "no safetensors file"),
    "a shard is missing": (shards, "index.json names model-00002-of-00002.safetensors, which is not in this folder"),
    "a broken link": (linked, "model.safetensors is a link to a file that is not there"),
    "one folder too high": (nested, r"no config.json in this folder, but in one further down: --model .*/1f0c$"),
    "an adapter": (adapter_only, "it is a LoRA adapter: give its base as --model"),
    "a folder": (a_folder, "tokenizer.json is a folder, and a file was expected"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_file_is_named_before_anything_is_loaded(llama: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    alter, said = FAULTS[fault]
    alter(folder)
    with pytest.raises(ModelError, match=said) as error:
        locate(str(folder))
    assert "\n" not in str(error.value) and str(error.value).startswith(f"model {folder}: ")


def test_files_that_are_not_read_may_be_pointers(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "tf_model.h5", "training.json"):
        (folder / name).write_bytes(POINTER)
    check_folder(folder, "model m")
    (folder / "model.safetensors").write_bytes(POINTER)
    check_folder(folder, "model m", weights=False)


def test_a_chat_template_with_a_byte_order_mark_is_named(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "chat_template.jinja").write_bytes(b"\xef\xbb\xbf{{ messages }}")
    with pytest.raises(ModelError, match=r"chat_template.jinja begins with a byte order mark"):
        locate(str(folder))


@pytest.mark.parametrize(
    "content", [POINTER, b"", b"GGUF\x03\x00", b"MZ" * 600], ids=["pointer", "empty", "cut", "other"]
)
def test_a_gguf_file_that_is_none_is_named(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFPROMPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"^model small.gguf: small.gguf is (a Git|empty|cut off|no GGUF)") as error:
        locate(str(path))
    assert "\n" not in str(error.value)


def test_a_part_of_a_gguf_file_says_how_to_join_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFPROMPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "big-00001-of-00003.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="is one of 3 parts; join them"):
        locate(str(path))


def test_an_adapters_files_are_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_bytes(b'{"r": 4}')
    (tmp_path / "adapter_model.safetensors").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"^--lora x: adapter_model.safetensors is a Git LFS pointer"):
        check_adapter(tmp_path, "--lora x")


def test_a_file_that_may_not_be_read_is_one_line(llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama, folder)
    (folder / "tokenizer.json").chmod(0)
    if os.access(folder / "tokenizer.json", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ModelError, match=r"tokenizer.json cannot be read"):
        locate(str(folder))
