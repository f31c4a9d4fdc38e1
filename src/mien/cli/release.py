"""`mien release`: build, verify, push, revoke, and the key that signs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A release: releases/NAME-VERSION.")]
Public = Annotated[
    str | None, typer.Option("--key", metavar="PUB", help="The public key it must be signed with: a .pub file or hex.")
]
Sign = Annotated[Path | None, typer.Option("--sign", metavar="KEY", help="Private key that signs: mien release key.")]


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Small letters, digits, '.', '_', '-'.")],
    version: Annotated[str, typer.Argument(help="Three numbers, like 1.0.0.")],
    trainers: Annotated[
        list[str] | None, typer.Option("--for", metavar="TRAINER", help="A trainer's folder; may be given again.")
    ] = None,
    tables: Annotated[bool, typer.Option("--tables", help="The long tables (Parquet) as well.")] = False,
    licence: Annotated[str, typer.Option("--licence", metavar="SPDX", help="Terms it is handed on under.")] = "",
    use: Annotated[str, typer.Option("--use", help="publish: for everybody; share: for another team.")] = "publish",
    sign: Sign = None,
    date: Annotated[str, typer.Option("--date", help="Date on card and croissant (none: same bytes any day).")] = "",
    after: Annotated[
        Path | None, typer.Option("--after", metavar="FOLDER", help="The release whose place it takes.")
    ] = None,
    split: Annotated[
        bool,
        typer.Option("--split-by-licence", help="One release for each set of recordings whose terms fit together."),
    ] = False,
    revocations: Annotated[
        str, typer.Option("--revocations", metavar="URL|PATH", help="Where its list of revocations will be found.")
    ] = "",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of releases (default: releases/).")] = None,
    as_json: Json = False,
) -> None:
    """Build an immutable folder: payload, card, croissant.json, terms, manifest, signature."""
    from mien.cli.out import _progress
    from mien.cli.out import _project as opened
    from mien.export import release
    from mien.policy.uses import checked

    with errors():
        wanted = tuple(trainers or ())
        order = release.Order(name, version, wanted, tables, licence, checked(use), sign, date, after, revocations)
        with opened() as project, _progress("building", as_json) as progress:
            if split:
                built = release.build_apart(project, order, out, progress=progress)
            else:
                built = (release.build(project, order, out, progress=progress),)
    if as_json:
        give(built if split else built[0])
        return
    for made in built:
        _told(made)


def _told(made: Any) -> None:
    print(made.folder)
    say(f"root {made.root}")
    say(f"signed by {made.signer}" if made.signer else "not signed: mien release key, then --sign KEY")
    say(f"{made.files} files, {made.bytes} bytes")
    for split, told in made.figures["splits"].items():
        say(f"  {split}: {told['clips']} clip(s), {told['seconds']:.1f} s, {told['groups']} group(s)")
    for kept in made.withheld:
        say(f"left out: {kept.what}: {kept.reason} [{kept.code}]")


@app.command()
def verify(folder: Folder, key: Public = None, as_json: Json = False) -> None:
    """Check every file, the root and the signature. Needs only the folder."""
    from mien.export.release import list_findings, public_key
    from mien.store.released import lists_of
    from mien.store.revocation import age_days
    from mien.store.sealing import check

    with errors():
        public = public_key(key) if key else None
        manifest, found = check(folder, public)
        lists = lists_of(folder, manifest) if manifest else []
        gone = next((g for _, r in lists if manifest and (g := r.of(manifest.label, manifest.root))), None)
        wrong = list_findings(folder, public) if gone else []
    root, signer = (manifest.root, manifest.signer) if manifest else (None, None)
    if as_json:
        give(
            {"ok": not found and gone is None, "root": root, "signer": signer, "findings": found, "revoked": gone}
            | {"lists": [{"where": w, "at_utc": r.at_utc} for w, r in lists]}
        )
    elif not found:
        print(root)
        say(f"signed by {signer}" + ("" if key else " (whose that is, only --key says)") if signer else "not signed")
    for finding in () if as_json else found:
        say(f"{finding.path}: {finding.text} [{finding.code}]")
    for where, held in () if as_json else lists:
        days = age_days(held.at_utc)
        say(f"list of revocations {where}: {'of an unknown age' if days is None else f'{max(0, days):.0f} day(s) old'}")
    if gone is not None and not as_json:
        say(f"revoked: {gone.reason} [release.revoked]")
        for text in wrong:
            say(f"the signature of the list of revocations: {text}")
    raise SystemExit(1 if found or gone is not None else 0)


@app.command()
def push(
    folder: Folder,
    to: Annotated[str, typer.Argument(help="A folder, file:///…, hf://ORG/NAME, s3://…, gs://….")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without: only say what would go.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go (the default).")] = False,
    key: Public = None,
    as_json: Json = False,
) -> None:
    """Hand a release on, after all checks. Nothing leaves without --yes."""
    from mien.export import release

    with errors():
        public = release.public_key(key) if key else None
        done = release.push(folder, to, egress=_egress(), key=public, send=yes and not dry_run)
        if done.sent and (project := _project()) is not None:
            release.register_copy(project, done)
            project.close()
    if as_json:
        give(done)
        return
    for path in done.files:
        print(path)
    say(f"{done.label}, root {done.root}: {len(done.files)} files, {done.bytes} bytes")
    say(f"sent to {done.to}" if done.sent else f"nothing was sent; to send it to {done.to}: --yes")


@app.command()
def revoke(
    folder: Folder,
    why: Annotated[str, typer.Option("--why", help="For its readers: what is wrong, and never who.")],
    sign: Sign = None,
    successor: Annotated[str, typer.Option("--successor", metavar="NAME-VERSION", help="What to use instead.")] = "",
    copies: Annotated[
        bool, typer.Option("--copies", help="Also into every copy on this machine that the project knows of.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a release on the list that loaders read. Publish the list where the release went."""
    from mien.export import release

    told: tuple[list[Any], list[Any]] = ([], [])
    with errors():
        listed = release.revoke(folder, why, key=sign, successor=successor)
        if copies and (project := _project()) is not None:
            told = release.into_copies(project, folder)
            project.close()
    if as_json:
        give({"list": listed, "copies": told[0], "by_hand": told[1]})
        return
    print(listed)
    for path in told[0]:
        say(f"also in a copy: {path}")
    for place in told[1]:
        say(f"copy it there by hand: {place}")
    say(f"revoked; copy {listed.name} to wherever the release went")
    say("a successor without what was withdrawn: mien release build NAME VERSION --after FOLDER")


@app.command()
def trained(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="What was trained: a file or a folder.")],
    on: Annotated[Path, typer.Option("--on", metavar="DATA", help="An export, a release, or files of one.")],
    as_json: Json = False,
) -> None:
    """Note that something was trained on an export or a release, so that `mien forget` names it."""
    from mien.core import MienError
    from mien.pipeline.registering import learnt

    with errors():
        project = _project()
        if project is None:
            raise MienError("project.not-found", "there is no project here", "name it: mien -C PROJECT release trained")
        if not adapter.exists() or not on.exists():
            missing = on if adapter.exists() else adapter
            raise MienError("input.no-file", f"there is no {missing}", "name what is there")
        known = learnt(project, adapter, data=on)
        project.close()
    if as_json:
        give({"adapter": adapter, "registered": known})
    elif known:
        say(f"{adapter}: mien forget will name it when somebody in {on} withdraws")
    else:
        say(f"nothing of this project is known to be in {on}: nothing was noted")
    raise SystemExit(0 if known else 1)


@app.command("key")
def key_(
    path: Annotated[Path | None, typer.Argument(help="Where (default: your configuration folder).")] = None,
    as_json: Json = False,
) -> None:
    """Make the key that signs. The private file is yours alone; give readers the .pub file."""
    from mien.export import release

    with errors():
        where = path if path is not None else release.default_key()
        made = release.new_key(where)
    if as_json:
        give({"key": where, "public": made.public.hex(), "fingerprint": made.fingerprint})
        return
    print(where)
    say(f"public key {where.with_suffix('.pub')}, fingerprint {made.fingerprint}")


def _egress() -> Any:
    """The list of endpoints of the project at or above the folder; without a project it is empty."""
    from mien.policy.egress import EgressTerms

    project = _project()
    if project is None:
        return EgressTerms()  # pyright: ignore[reportCallIssue]
    project.close()
    return project.config.egress


def _project() -> Any:
    """The project at or above the folder; None where there is none."""
    from mien.core import MienError
    from mien.pipeline import Project

    try:
        return Project.open(State.folder)
    except MienError as error:
        if error.code != "project.not-found":
            raise
        return None
