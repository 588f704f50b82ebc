"""The options of the command line are the parameters of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from featsvc_client.bulk import arguments, options
from featsvc_client.bulk.commands import COMMANDS, Command, question
from featsvc_client.errors import InvalidRequest

from featsvc.v1 import schema

OURS = ("photos", "--out", "out")
NEEDED = {("similarity",): ("--text", "a car")}


def parsed(words: tuple[str, ...], *more: str) -> arguments.CommandLine:
    return arguments.parsed([*words, *OURS, *NEEDED.get(words, ()), *more])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)
def test_every_parameter_is_an_option_with_the_comment_of_the_contract(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        arguments.parsed([*command.words, "--help"])
    shown = capsys.readouterr().out
    fields = dict(options.fields(command))
    assert fields
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')}" in shown
        assert field.description is not None
        assert field.description in shown


def test_values_are_those_that_the_contract_takes() -> None:
    wanted = parsed(
        ("extract", "clip"),
        *("--model-name", "ViT-B-32", "--load-size", "-1", "--no-ret-patches", "--pca-q-min", "0.25"),
        *("--interpolation-mode", "nearest-exact", "--dtype", "float16", "--points", "[]"),
    )
    asked = question(wanted.command, wanted.parameters, wanted.form)
    sent = asked.call(b"a picture").request("")
    assert sent.params.load_size == -1
    assert sent.grid.HasField("ret_patches")
    assert not sent.grid.ret_patches
    assert not sent.features.HasField("ret_pca")
    described = asked.description()["params"]
    assert described["dtype"] == "float16"
    assert described["ret_pca"] is False
    assert schema.ClipExtractFeaturesParams.model_validate(described).pca_q_min == 0.25


def test_null_means_what_the_contract_says() -> None:
    wanted = parsed(("extract", "clip"), "--load-size", "null")
    assert question(wanted.command, wanted.parameters, "npy").call(b"x").request("").params.load_size == -1


def test_texts_are_given_one_after_the_other() -> None:
    wanted = arguments.parsed(
        ["similarity", *OURS, "--text", "a car", "--text", "a road", "--negative-text", "sky"]
    )
    query = question(wanted.command, wanted.parameters, "npy").call(b"x").request("").query
    assert list(query.text) == ["a car", "a road"]
    assert list(query.negative_text) == ["sky"]


@pytest.mark.parametrize(
    "more",
    [
        ("--load-size", "large"),
        ("--facet", "keys"),
        ("--layers", "3"),
        ("--format", "jpg"),
        ("--every", "0"),
        ("--per-file", "5"),
    ],
)
def test_a_word_that_means_nothing_is_refused_by_name(
    more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parsed(("extract", "dino"), *more)
    assert stopped.value.code == 2
    assert more[0] in capsys.readouterr().err


def test_options_that_contradict_each_other_are_refused_as_the_server_would() -> None:
    wanted = parsed(("extract", "clip"), "--pca-q-min", "0.9", "--pca-q-max", "0.1")
    with pytest.raises(InvalidRequest, match="pca_q_max"):
        question(wanted.command, wanted.parameters, "npy").description()


def test_masks_are_asked_for_as_run_lengths_unless_said_otherwise() -> None:
    def sent(*more: str) -> dict[str, object]:
        wanted = parsed(("masks", "auto"), *more)
        return question(wanted.command, wanted.parameters, wanted.form).description()["params"]

    assert sent()["mask_encoding"] == "coco_rle"
    assert sent("--mask-encoding", "png")["mask_encoding"] == "png"
    assert sent("--output-mode", "coco_rle")["mask_encoding"] == "bits"


def test_the_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    assert parsed(("embed",), "--api-key-file", str(tmp_path / "key")).api_key == "secret"
