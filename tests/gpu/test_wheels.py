"""What is brought to a machine that has torch and no network."""

from __future__ import annotations

from tests.gpu.wheels import SOURCES, missing

ROOMY = {"torch", "torchvision", "triton", "numpy", "scipy", "opencv-python-headless"}


def test_what_a_bare_machine_lacks_is_named_with_its_version_and_torch_is_not() -> None:
    versions = dict(each.split("==") for each in missing())
    assert {*SOURCES, "grpcio", "open_clip_torch", "pydantic", "pytest-asyncio", "timm", "uvicorn"} <= set(
        versions
    )
    assert not ROOMY & set(versions)
    assert {each for each in versions if each.startswith(("nvidia", "cuda", "featsvc"))} == {"nvidia-ml-py"}
