"""Another model answers where one is chosen: in questions, links and code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route

from tests.web.conftest import looking
from tests.web.gallery import scene
from tests.web.look import Look, iou, middle
from tests.web.test_sharing import code_of, ran

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]
STAR = scene("stars-and-rings").masks[3]


def with_a_second_model(page: Page) -> None:
    """The server tells of demo-sam2 under another name too, which no request means that names none."""

    def told(route: Route) -> None:
        state = route.fetch().json()
        (own,) = (each for each in state["models"]["models"] if each["key"] == "demo-sam2")
        # One of its names is enough for a request.
        naming = {"model_cfg": own["options"]["model_cfg"]}
        second = {**own, "key": "second-sam2", "license": "CC-BY-NC-4.0", "options": naming}
        state["models"]["models"].append(second)
        route.fulfill(json=state)

    page.route("**/state.json", told)


def without_the_default(page: Page) -> None:
    """The server tells nothing of demo-sam2 by its own name: the key may not use it."""

    def told(route: Route) -> None:
        state = route.fetch().json()
        for each in state["models"]["models"]:
            if each["key"] == "demo-sam2":
                each.update(key="second-sam2", options={"model_cfg": each["options"]["model_cfg"]})
        route.fulfill(json=state)

    page.route("**/state.json", told)


def test_workers_of_several_machines_have_them_in_a_column_and_one_machine_has_none(look: Look) -> None:
    page = look.page
    with page.expect_response("**/state.json") as first:
        page.get_by_role("button", name="Server").click()
    page.get_by_role("columnheader", name="Worker").wait_for()
    assert page.get_by_role("columnheader", name="Machine").count() == 0
    state = first.value.json()
    (worker,) = state["status"]["workers"]
    places = [{**worker, "id": number, "machine": f"10.0.0.{number}"} for number in (1, 2)]
    state["status"]["workers"] = places
    page.route("**/state.json", lambda route: route.fulfill(json=state))
    page.get_by_role("columnheader", name="Machine").wait_for()
    rows = page.get_by_label("Table of Worker").get_by_role("row").all_inner_texts()
    assert [row.split()[:2] for row in rows[1:]] == [["1", "10.0.0.1"], ["2", "10.0.0.2"]]


def test_a_model_can_be_chosen_where_the_default_is_none_of_the_key(look: Look) -> None:
    page = look.page
    without_the_default(page)
    page.reload()
    look.open("stars-and-rings")
    choice = page.get_by_label("Model that answers")
    assert choice.locator("option").all_inner_texts()[0] == "the server's default"
    assert choice.input_value() == ""
    choice.select_option("second-sam2")
    page.wait_for_url("**models=*")
    choice.select_option("")
    page.wait_for_url(lambda url: "models=" not in url)


def test_the_chosen_model_is_asked_and_stands_in_link_and_code(
    look: Look, browser: Browser, tmp_path: Path
) -> None:
    page = look.page
    with_a_second_model(page)
    page.reload()
    look.open("stars-and-rings")
    asked: list[dict[str, Any]] = []

    def noted(request: Request) -> None:
        if request.url.endswith("/prompt_mask"):
            asked.append(json.loads(request.post_data or "{}"))

    look.click(*middle(STAR))
    look.answered()
    page.on("request", noted)
    page.get_by_label("Model that answers").select_option("second-sam2")
    page.get_by_text("Licence: CC-BY-NC-4.0").wait_for()
    look.answered()
    assert iou(look.mask(), STAR) >= 0.85
    assert {each.get("model_cfg") for each in asked} == {"demo-sam2.yaml"}
    page.wait_for_url("**models=*")
    with looking(browser, page.url) as other:
        with other.page.expect_request("**/prompt_mask") as first:
            other.page.reload()
        assert json.loads(first.value.post_data or "")["model_cfg"] == "demo-sam2.yaml"
        other.answered()
    for language, words in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"])):
        code = code_of(look, language)
        assert "demo-sam2.yaml" in code
        assert "iou_predictions" in ran([*words, code], tmp_path)
    page.get_by_label("Model that answers").select_option("demo-sam2")
    page.get_by_text("Licence: Apache-2.0").wait_for()
    assert "demo-sam2.yaml" not in code_of(look, "curl")
