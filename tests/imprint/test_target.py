"""What `imprint train TARGET` means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imprint import target
from imprint.errors import UsageError
from imprint.running import Running


@pytest.fixture
def stack(tmp_path: Path) -> Running:
    root = tmp_path / "pictures"
    (root / "cats" / "white").mkdir(parents=True)
    return Running(1, "http://127.0.0.1:8000", str(tmp_path / "home"), str(root))


def folder(path: str) -> dict[str, object]:
    return {"data": {"source": "folder", "path": path}}


class TestWords:
    @pytest.mark.parametrize("name", ["digits", "cifar10", "stl10", "imagenet"])
    def test_a_dataset_by_name(self, name: str) -> None:
        assert target.body(name, None) == {"data": {"source": name}}

    def test_a_registered_dataset(self) -> None:
        assert target.body("ds_01K", None) == {"data": {"source": "dataset", "id": "ds_01K"}}

    def test_a_folder_that_is_called_like_a_dataset(self, stack: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        (Path(stack.data_root) / "digits").mkdir()
        monkeypatch.chdir(stack.data_root)
        assert target.body("./digits", stack) == folder("digits")


class TestFolders:
    def test_absolute_below_the_data_root(self, stack: Running) -> None:
        assert target.body(f"{stack.data_root}/cats/white", stack) == folder("cats/white")

    def test_relative_to_where_one_stands(self, stack: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(Path(stack.data_root) / "cats")
        assert target.body("./white", stack) == folder("cats/white")
        assert target.body("../cats", stack) == folder("cats")

    def test_the_data_root_itself(self, stack: Running) -> None:
        assert target.body(stack.data_root, stack) == folder(".")

    def test_relative_to_the_data_root(self, stack: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert target.body("cats", stack) == folder("cats")

    def test_the_data_root_wins_over_a_namesake_that_the_server_cannot_read(
        self, stack: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "cats").mkdir()
        monkeypatch.chdir(tmp_path)
        assert target.body("cats", stack) == folder("cats")

    def test_elsewhere_says_how(self, stack: Running, tmp_path: Path) -> None:
        (tmp_path / "my photos").mkdir()
        with pytest.raises(UsageError, match="not below") as caught:
            target.body(str(tmp_path / "my photos"), stack)
        assert f"imprint up --data '{tmp_path}/my photos'" in caught.value.hint
        assert "IMPRINT_DATA_ROOT=" in caught.value.hint

    def test_a_link_out_of_the_data_root_does_not_pass_for_inside(self, stack: Running, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        link = Path(stack.data_root) / "link"
        link.symlink_to(tmp_path / "outside")
        with pytest.raises(UsageError, match="not below"):
            target.body(str(link), stack)

    def test_nowhere(self, stack: Running) -> None:
        with pytest.raises(UsageError, match="no folder 'dogs'") as caught:
            target.body("dogs", stack)
        assert "digits" in caught.value.hint

    def test_a_distant_server_takes_relative_paths_only(self) -> None:
        assert target.body("photos/cats/", None) == folder("photos/cats")
        for path in ("/photos", "../photos"):
            with pytest.raises(UsageError, match="its own data root"):
                target.body(path, None)

    def test_a_picture_is_not_a_folder(self, stack: Running) -> None:
        picture = Path(stack.data_root) / "a.jpg"
        picture.touch()
        with pytest.raises(UsageError, match="neither a folder"):
            target.body(str(picture), stack)


class TestSpecFiles:
    def test_is_the_body(self, tmp_path: Path) -> None:
        body = {"preset": "byol", "data": {"source": "digits"}}
        (tmp_path / "spec.json").write_text(json.dumps(body))
        assert target.body(str(tmp_path / "spec.json"), None) == body

    @pytest.mark.parametrize(("content", "complaint"), [("{", "not JSON"), ("[1]", "JSON object")])
    def test_a_broken_one_is_named(self, tmp_path: Path, content: str, complaint: str) -> None:
        (tmp_path / "spec.json").write_text(content)
        with pytest.raises(UsageError, match=complaint):
            target.body(str(tmp_path / "spec.json"), None)

    def test_a_missing_one_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the spec file"):
            target.body(str(tmp_path / "spec.json"), None)


class TestFiles:
    def test_below_the_data_root_wherever_one_stands(self, stack: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        place = Path(stack.data_root) / "cats"
        (place / "labels.csv").write_text("path,label")
        monkeypatch.chdir(place)
        assert target.file("labels.csv", stack) == "cats/labels.csv"
        assert target.file(str(place / "labels.csv"), stack) == "cats/labels.csv"

    def test_what_is_no_file_here_is_the_server_s(self, stack: Running, tmp_path: Path) -> None:
        assert target.file("cats/labels.csv", stack) == target.file("cats/labels.csv", None) == "cats/labels.csv"
        (tmp_path / "labels.csv").write_text("path,label")
        with pytest.raises(UsageError, match="is not below the folder that the server reads"):
            target.file(str(tmp_path / "labels.csv"), stack)
