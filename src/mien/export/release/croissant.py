"""`croissant.json`: the release as Croissant 1.1 with the RAI vocabulary, made from the record.

Sources: the Croissant 1.1 specification and the RAI vocabulary 1.0 (MLCommons, 2024 and 2026); provenance as PROV-O.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mien.core import VERSION
from mien.store.released import EXAMPLES
from mien.store.sealing import Sealed

NAME = "croissant.json"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "prov": "http://www.w3.org/ns/prov#",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
FIELDS = {
    "id": ("sc:Text", "the clip"),
    "source": ("sc:Text", "sha256 of the recording"),
    "kind": ("sc:Text", "video, audio or image"),
    "start_us": ("sc:Integer", "start on the recording's clock, microseconds"),
    "end_us": ("sc:Integer", "end, exclusive"),
    "split": ("sc:Text", "train, validation or test"),
    "group": ("sc:Text", "examples of one group are never in two splits"),
    "context": ("sc:Text", "what it was recorded for"),
    "consent": ("sc:Text", "whether agreement to this use is recorded"),
}
_TYPES = {
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".mp4": "video/mp4",
    ".wav": "audio/wav",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".svg": "image/svg+xml",
    ".tar": "application/x-tar",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".toml": "application/toml",
    ".safetensors": "application/octet-stream",
}


def croissant(about: dict[str, Any], words: dict[str, Any], examples: Sealed, others: Sequence[str]) -> dict[str, Any]:
    """The document.

    Args:
        about: what the manifest tells: name, version, licence, date, models, trainers.
        words: texts of the card: `description`, `biases`, `limitations`, `uses`, `misuse`, `personal`, `collection`.
        examples: the file of examples; it is listed with its digest.
        others: the folders of the payload; each is a set of files, whose digests are in the manifest.
    """
    dated = {"datePublished": about["date"], "dateCreated": about["date"]} if about.get("date") else {}
    licence = {"license": licence_url(about["licence"])} if about["licence"] else {}
    conditions = "; ".join(about["conditions"]) or "none beyond the licence"
    named = about["name"].split("/")[-1]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": named,
        "version": about["version"],
        "description": words["description"],
        "citeAs": f"{named} {about['version']}, made with mien {VERSION}",
        "url": f"urn:mien:release:{named}:{about['version']}",
        "isLiveDataset": False,
        **licence,
        **dated,
        "usageInfo": f"Conditions: {conditions}. Not meant for: {' '.join(words['misuse'])} See LICENCES.txt.",
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "@id": f"urn:sha256:{about['record_sha256']}",
            "prov:wasAssociatedWith": [f"mien {VERSION}", *(_model(m) for m in about["models"])],
        },
        "prov:wasDerivedFrom": f"{about['figures']['sources']} recording(s), listed by sha256 in {EXAMPLES}",
        "rai:dataCollection": words["collection"],
        "rai:dataCollectionType": ["Others"],
        "rai:dataBiases": words["biases"],
        "rai:dataLimitations": words["limitations"],
        "rai:dataUseCases": words["uses"],
        "rai:dataSocialImpact": " ".join(words["misuse"]),
        "rai:personalSensitiveInformation": words["personal"],
        "rai:dataAnnotationProtocol": words["annotations"],
        "rai:machineAnnotationTools": [_model(m) for m in about["models"]],
        "rai:dataPreprocessingProtocol": words["preprocessing"],
        "rai:dataReleaseMaintenancePlan": words["maintenance"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": EXAMPLES,
                "name": EXAMPLES,
                "contentUrl": EXAMPLES,
                "encodingFormat": "application/jsonlines",
                "contentSize": f"{examples.bytes} B",
                "sha256": examples.sha256,
            },
            *(_folder(path) for path in others),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "examples",
                "name": "examples",
                "description": "one clip each; posteriors, labels and sentences stand in the same line",
                "key": {"@id": "examples/id"},
                "field": [_field(name, *says) for name, says in FIELDS.items()],
            }
        ],
    }


def folders(paths: Sequence[str]) -> list[str]:
    """The sets of files of a payload: `FOLDER/**/*.ext`, sorted."""
    kinds = {(p.partition("/")[0], "." + p.rsplit(".", 1)[-1]) for p in paths if "/" in p and "." in p}
    return sorted(f"{folder}/**/*{kind}" for folder, kind in kinds if kind in _TYPES)


def licence_url(licence: str) -> str:
    """The address of an SPDX licence; names of one's own stay as they are."""
    return licence if " " in licence or ":" in licence else f"https://spdx.org/licenses/{licence}"


def _folder(pattern: str) -> dict[str, Any]:
    name = pattern.replace("/**/*", "")
    kind = _TYPES["." + pattern.rsplit(".", 1)[-1]]
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": kind, "includes": pattern}


def _field(name: str, kind: str, says: str) -> dict[str, Any]:
    source = {"fileObject": {"@id": EXAMPLES}, "extract": {"column": name}}
    made = {"@type": "cr:Field", "@id": f"examples/{name}", "name": name, "description": says}
    return {**made, "dataType": kind, "source": source}


def _model(model: dict[str, str]) -> str:
    sha = model["weights_sha256"]
    return f"{model['name']} ({model['slot']}{', weights sha256 ' + sha[:12] if sha else ''})"
