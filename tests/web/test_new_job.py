"""From the form to a finished job, as people do it: with the mouse, with the keyboard alone, and wrongly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from support.pages import tab_to, until


def field(page: Any, path: str) -> Any:
    """The control of a value of the body."""
    return page.locator(f"#field-{path.replace('.', '-')}")


def ready(page: Any) -> None:
    """Until the service has said that what is filled in may be started."""
    page.get_by_text("Ready to go.").wait_for()


def fill_tiny(page: Any, epochs: int = 1) -> None:
    """A job of seconds, typed in: what is asked of everybody, and fields that are folded away."""
    field(page, "trainer.max_epochs").fill(str(epochs))
    field(page, "encoder.arch").fill("shufflenet_v2_x0_5")
    field(page, "data.size").fill("16")


@pytest.mark.timeout(600)  # it ends with the job; other work may keep the machine busy
def test_a_job_is_submitted_and_seen_to_finish(browse: Any, web: Any) -> None:
    page = browse("/ui/new?source=digits")
    ready(page)
    assert field(page, "trainer.max_epochs").get_attribute("placeholder").isdigit(), "what would be chosen, in grey"
    field(page, "name").fill("from the <b>form</b>")
    page.locator("#labels").fill("team=web, by=form")
    fill_tiny(page, 2)
    page.locator("details[data-section=trainer] > summary").click()
    field(page, "trainer.log_every_steps").fill("1")
    ready(page)
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_url("**/ui/jobs/job_*")
    page.get_by_role("heading", level=1, name="from the <b>form</b>", exact=True).wait_for()
    page.locator("#tags").get_by_text("succeeded").wait_for(timeout=400_000)
    # What was measured came over the open connection, without a reload.
    loss = page.get_by_role("img", name=re.compile(r"Loss\. .* at step \d+"))
    assert loss.count() == 1 and page.get_by_role("img", name=re.compile("Effective rank")).count() == 1
    made = page.locator("#made")
    encoder = made.locator("code").inner_text()
    where = {each: made.get_by_role("link", name=each).get_attribute("href") for each in ("Try", "Make a map", "Download")}
    assert where == {
        "Try": f"/ui/encoders/{encoder}",
        "Make a map": f"/ui/explore?encoder={encoder}",  # of digits, which are no files: other pictures are chosen there
        "Download": f"/encoders/{encoder}/download",
    }
    job = web.client().job(page.url.rsplit("/", 1)[-1])
    assert job.labels == {"team": "web", "by": "form"} and job.spec["trainer"]["log_every_steps"] == 1
    assert job.spec["encoder"]["arch"] == "shufflenet_v2_x0_5" and job.spec["trainer"]["max_epochs"] == 2
    page.get_by_role("tab", name="Log").click()
    page.get_by_role("tab", name="Views").click()
    sheet = page.locator("img.sheet")
    sheet.wait_for()
    until(lambda: page.evaluate("document.querySelector('img.sheet').naturalWidth") > 100, "the sheet is shown")


def test_what_is_wrong_stands_beside_its_field(browse: Any) -> None:
    page = browse("/ui/new?source=digits")
    ready(page)
    field(page, "trainer.max_epochs").fill("-3")
    wrong = page.locator("[data-path='trainer.max_epochs'] .wrong")
    wrong.get_by_text("greater than or equal to 1").wait_for()
    epochs = page.get_by_label("max epochs")
    assert epochs.get_attribute("aria-invalid") == "true"
    assert wrong.get_attribute("id") in epochs.get_attribute("aria-describedby").split()
    field(page, "encoder.arch").fill("resnet81")
    page.locator("[data-path='encoder.arch'] .wrong").get_by_text("resnet").wait_for()
    page.get_by_text("2 things are not right yet").wait_for()
    page.get_by_role("button", name="Start the job").click()
    page.wait_for_timeout(300)
    assert page.url.endswith("/ui/new?source=digits"), "nothing is started"
    assert page.evaluate("document.activeElement.id") == "field-trainer-max_epochs"
    epochs.fill("1")
    field(page, "encoder.arch").fill("")
    ready(page)
    assert wrong.is_hidden() and epochs.get_attribute("aria-invalid") is None

    page.get_by_role("radio", name="A folder").check()
    page.locator("[data-path='data.path'] .wrong").get_by_text("required").wait_for()
    field(page, "data.path").fill("nowhere")
    page.locator("[data-path='data.path'] .wrong").get_by_text("there is no folder 'nowhere'").wait_for()
    field(page, "data.path").fill("pictures")
    ready(page)
    assert "16 × 16 px" in page.locator("#would").inner_text()


def test_fields_follow_the_method_and_folds_open_where_something_is_wrong(browse: Any) -> None:
    page = browse("/ui/new?source=digits")
    ready(page)
    field(page, "preset").select_option("vicreg")
    page.get_by_text("Values:").wait_for()
    field(page, "method.variance_weight").wait_for(state="attached")
    page.locator("details[data-section=method] > summary").click()
    field(page, "method.name").select_option("byol")
    scale = page.locator("[data-path='method.loss_scale'] input")
    scale.fill("-1")
    page.locator("[data-path='method.loss_scale'] .wrong").get_by_text("greater than 0").wait_for()
    page.locator("details[data-section=method] > summary").click()
    scale.wait_for(state="hidden")
    scale.evaluate("field => { field.value = '-2'; field.dispatchEvent(new Event('input', {bubbles: true})); }")
    scale.wait_for(state="visible")


def test_the_code_beside_it_does_the_same(browse: Any, web: Any, tmp_path: Any) -> None:
    """The curl call and the Python lines are run as they stand; the command's words are read by the command."""
    page = browse("/ui/new?source=digits")
    ready(page)
    field(page, "name").fill('it\'s "quoted" $HOME')
    fill_tiny(page)
    page.locator("#labels").fill("team=code")
    ready(page)
    code = {}
    for name in ("curl", "Python", "CLI"):
        page.get_by_role("tab", name=name).click()
        code[name] = page.get_by_role("tabpanel", name=name).locator("pre").inner_text()
    env = {**web.service.env, "IMPRINT_API_KEY": web.keys["alice"]}

    def run(*command: str) -> str:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    shell = json.loads(run("bash", "-c", code["curl"].replace("/jobs ", "/jobs?validate_only=true -sf ", 1)))["spec"]
    python = code["Python"].replace("client.submit(", "client.validate(").replace("client.wait(job.id)", "import json")
    assert json.loads(run(sys.executable, "-c", python + "\nprint(json.dumps(job.spec))")) == shell
    words = run("bash", "-c", "printf '%s\\n' " + code["CLI"].removeprefix("imprint train")).splitlines()
    assert words[0] == "digits" and 'it\'s "quoted" $HOME' in words and "team=code" in words
    said = json.loads(run(sys.executable, "-m", "imprint", "train", *words, "--validate-only", "--json"))
    assert said["spec"] == shell and shell["data"]["size"] == 16 and shell["encoder"]["arch"] == "shufflenet_v2_x0_5"


def test_a_job_like_another_has_all_its_fields(browse: Any, shelf: Any) -> None:
    page = browse(
        f"/ui/new?like={shelf('alice', 'a model', method={'name': 'byol', 'loss_scale': 1.5}, trainer={'batch_size': 33})}"
    )
    ready(page)
    assert field(page, "trainer.batch_size").input_value() == "33" and field(page, "name").input_value() == "a model"
    assert page.locator("[data-path='method.loss_scale'] input").input_value() == "1.5"
    assert "loss_scale" in page.get_by_role("tabpanel", name="curl").inner_text()


def test_with_the_keyboard_alone(browse: Any, web: Any) -> None:
    """From the list to a submitted job, and to its cancelling: Tab, arrows, Space and Enter; the focus can always be seen."""
    page = browse("/")
    page.get_by_role("heading", name="Jobs", level=1).wait_for()
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip" and page.locator(".skip").is_visible()
    tab_to(page, "New job")
    press("Enter")
    page.wait_for_url("**/ui/new")
    ready(page)
    tab_to(page, where="document.activeElement.type === 'radio'")
    while page.evaluate("document.activeElement.value") != "digits":
        press("ArrowDown")
    tab_to(page, where="document.activeElement.id === 'field-name'")
    page.keyboard.type("by keyboard")
    tab_to(page, where="document.activeElement.id === 'field-trainer-max_epochs'")
    page.keyboard.type("500")
    ready(page)
    press("Enter")
    page.wait_for_url("**/ui/jobs/job_*")
    page.get_by_role("button", name="Cancel by keyboard").wait_for()
    tab_to(page, "Cancel by keyboard")
    press("Enter")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.activeElement.value") == "no", "the harmless answer has the focus"
    press("Shift+Tab")
    press("Enter")
    page.locator("#tags").get_by_text("cancelled").wait_for(timeout=60_000)
    assert page.get_by_role("button", name="Resume by keyboard").is_visible()
    tab_to(page, where="document.activeElement.role === 'tab'")
    press("ArrowRight")
    assert page.get_by_role("tab", name="Spec").get_attribute("aria-selected") == "true"
    assert page.get_by_role("tabpanel", name="Spec").get_by_text("max_epochs").is_visible()
