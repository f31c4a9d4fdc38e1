"""COCO: boxes in px of the upright frame, frames as references, empty frames too; a strict schema and pycocotools."""

import json

import pytest
from planted import VIDEO, project

from mien.export.tables import export_tables
from mien.export.tables.coco import FACE_POINTS


@pytest.fixture
def document(tmp_path):
    planted = project(tmp_path / "p", source={"licence": "CC-BY-4.0"})
    export_tables(planted, "coco", tmp_path / "out")
    planted.close()
    return json.loads((tmp_path / "out" / "coco.json").read_text(encoding="utf-8"))


def test_boxes_are_scaled_to_the_sources_frame_and_cut_to_it(document):
    first = document["annotations"][0]
    assert first["bbox"] == [320.0, 180.0, 960.0, 360.0], "640x360 analysed, 1280x720 upright; 700 px is out of view"
    assert first["area"] == 960 * 360
    assert first["keypoints"] == [400, 400, 2, 402, 402, 2, 404, 404, 2, 406, 406, 2, 0, 0, 0]
    assert first["num_keypoints"] == 4
    assert first["track_id"].startswith("track-")
    assert [a["measured"] for a in document["annotations"][:3]] == [True, False, True], "the second was interpolated"


def test_images_are_references_to_all_analysed_frames(document):
    images = document["images"]
    assert [i["t_us"] for i in images] == [n * 1_000_000 for n in range(8)]
    assert {(i["width"], i["height"], i["source_sha256"]) for i in images} == {(1280, 720, VIDEO)}
    assert [i["file_name"] for i in images[:2]] == ["talk, one.mp4#t=0", "talk, one.mp4#t=1"]
    assert {a["image_id"] for a in document["annotations"]} == {1, 2, 3, 5, 6, 7}, "nothing was found in the others"
    assert document["licenses"] == [{"id": 1, "name": "CC-BY-4.0", "url": ""}]


def test_the_document_keeps_the_schema(document):
    assert list(document) == ["info", "licenses", "categories", "images", "annotations"]
    ids = {c["id"]: c for c in document["categories"]}
    images = {i["id"]: i for i in document["images"]}
    for name in ("images", "annotations", "categories"):
        numbers = [row["id"] for row in document[name]]
        assert numbers == list(range(1, len(numbers) + 1))
    for a in document["annotations"]:
        image = images[a["image_id"]]
        x, y, w, h = a["bbox"]
        assert min(x, y) >= 0
        assert x + w <= image["width"]
        assert y + h <= image["height"]
        assert w > 0
        assert h > 0
        assert a["iscrowd"] == 0
        assert 0 <= a["score"] <= 1
        assert ids[a["category_id"]]["name"] == "face"
        assert len(a["keypoints"]) == 3 * len(FACE_POINTS) == 3 * len(ids[a["category_id"]]["keypoints"])


def test_pycocotools_reads_it(document, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    read = coco.COCO(str(path))
    face = read.getCatIds(catNms=["face"])
    assert len(read.getAnnIds(catIds=face)) == 6
    assert len(read.getImgIds(catIds=face)) == 6
