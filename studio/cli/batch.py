"""`loom batch`: many pictures from a suite, by many workers, so that nothing is lost and nothing comes twice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_loom.studio.cli.output import AsJson, Force, plain, print_json

if TYPE_CHECKING:
    from lora_loom.studio.batch.folder import Batch
    from lora_loom.studio.batch.progress import Progress

NOT_SOUND = 1  # exit code: pictures failed, or an audit found something
MAX_SHOWN = 20  # problems of an audit on the screen

group = typer.Typer(help="Draw many pictures with many workers.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a planned batch.")]


@group.command("plan")
def plan(
    suite: Annotated[Path, typer.Argument(metavar="SUITE.toml", help="What to draw: see examples/batch_suite.toml.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the batch.")],
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write down every picture of a suite, with its seed and the hashes of its LoRAs; nothing is drawn yet."""
    from lora_loom.studio.batch.plan import plan_batch
    from lora_loom.studio.batch.suite import read_suite

    batch = plan_batch(read_suite(suite), out, [str(folder) for folder in library or ()], force=force)
    if as_json:
        print_json({"folder": str(out), "id": batch.info.id, **_counts(batch)})
    else:
        seconds = batch.info.picture_seconds * batch.info.pictures
        typer.echo(
            f"{batch.info.pictures} pictures in {batch.info.shards} shards, about {_duration(seconds)} of one worker"
            f" at {batch.info.picture_seconds:g} s each.\nDraw them: loom batch run {out}"
        )


@group.command("run")
def run(
    folder: Folder,
    workers: Annotated[int, typer.Option(min=0, help="Workers (0: one per accelerator, or per core up to 4).")] = 0,
    engine: Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")] = "local",
    batch: Annotated[int, typer.Option(min=0, max=256, help="Pictures drawn at once (0: as planned).")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ... (all accelerators in turn).")] = "",
    attention: Annotated[str, typer.Option(help="What computes attention: sdpa, xformers, eager ...")] = "default",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try pictures again that failed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw what is missing; stop it or kill it at any time and run it again. Several may run in one folder."""
    from lora_loom.studio.batch.folder import open_batch
    from lora_loom.studio.batch.running import forget_failures, run_batch
    from lora_loom.studio.batch.worker import WorkerOptions

    opened = open_batch(folder)
    if retry_failed and (forgotten := forget_failures(opened)):
        typer.echo(f"{forgotten} failed pictures will be tried again.", err=True)
    options = WorkerOptions(
        device=device, batch_size=batch, attention=attention, library=tuple(str(each) for each in library or ())
    )
    with _bar(opened) as show:
        outcome = run_batch(opened, options, show, workers=workers, engine=engine)
    if as_json:
        print_json({"folder": str(folder), **_progress(outcome.progress), "stopped_by_signal": outcome.signal})
    else:
        _say(folder, outcome.progress)
    if outcome.signal:
        raise typer.Exit(128 + outcome.signal)
    if outcome.progress.failed:
        raise typer.Exit(NOT_SOUND)


@group.command("status")
def status(folder: Folder, as_json: AsJson = False) -> None:
    """How far a batch is, from any shell on any machine that sees its folder."""
    from lora_loom.studio.batch.folder import open_batch
    from lora_loom.studio.batch.progress import ProgressReader

    progress = ProgressReader(open_batch(folder)).read()
    if as_json:
        print_json({"folder": str(folder), **_progress(progress)})
        return
    _say(folder, progress)
    for lease in progress.working:
        speed = f", {lease.done / lease.seconds:.2f} pictures/s" if lease.seconds else ""
        typer.echo(f"  {plain(str(lease.process))} draws shard {lease.shard}, lease {lease.epoch}{speed}")


@group.command("audit")
def audit(folder: Folder, as_json: AsJson = False) -> None:
    """Check that every planned picture is there, once, and is what was drawn; exit code 1 if not."""
    from lora_loom.studio.batch.audit import audit as audited
    from lora_loom.studio.batch.folder import open_batch

    found = audited(open_batch(folder))
    if as_json:
        problems = [{"kind": problem.kind, "what": problem.what} for problem in found.problems]
        print_json({"pictures": found.pictures, "sound": found.sound, "passed": found.passed, "problems": problems})
    else:
        typer.echo(f"{found.sound} of {found.pictures} pictures are as they should be.")
        for problem in found.problems[:MAX_SHOWN]:
            typer.echo(f"  {problem.kind}: {plain(problem.what)}")
        if len(found.problems) > MAX_SHOWN:
            typer.echo(f"  and {len(found.problems) - MAX_SHOWN} more")
    if not found.passed:
        raise typer.Exit(NOT_SOUND)


@group.command("export")
def export(
    folder: Folder,
    to: Annotated[str, typer.Option(help="flat: one folder, for FID and KID; geneval: GenEval's layout.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder.")],
    where: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only these, such as method=merge; repeatable.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Also if some are not drawn.")] = False,
    as_json: AsJson = False,
) -> None:
    """Lay the pictures out for another program."""
    from lora_loom.studio.batch.export import export as exported
    from lora_loom.studio.batch.folder import open_batch

    count = exported(open_batch(folder), to, out, where or (), partial=partial)
    if as_json:
        print_json({"folder": str(out), "pictures": count})
    else:
        typer.echo(f"{count} pictures in {out}")


@contextmanager
def _bar(batch: Batch) -> Generator[Callable[[Progress], None]]:
    """A bar on standard error with pictures per second and the time left; not where that is no terminal."""
    from tqdm import tqdm

    with tqdm(total=len(batch.pictures), file=sys.stderr, disable=None, unit="picture", smoothing=0.1) as bar:
        first = True

        def show(progress: Progress) -> None:
            nonlocal first
            if first:  # what was done before must not count as speed
                bar.initial, first = progress.done, False
                bar.n = progress.done
            bar.set_postfix(workers=len(progress.working), failed=progress.failed, refresh=False)
            bar.update(progress.done - bar.n)
            bar.refresh()

        yield show


def _counts(batch: Batch) -> dict[str, Any]:
    return {"pictures": batch.info.pictures, "shards": batch.info.shards, "layout": batch.info.layout}


def _progress(progress: Progress) -> dict[str, Any]:
    return {
        "pictures": progress.pictures,
        "drawn": progress.drawn,
        "failed": progress.failed,
        "shards": progress.shards,
        "sealed": progress.sealed,
        "workers": len(progress.working),
        "pictures_per_second": round(progress.pictures_per_second, 4),
        "eta_seconds": progress.eta_seconds and round(progress.eta_seconds, 1),
    }


def _say(folder: Path, progress: Progress) -> None:
    typer.echo(
        f"{progress.drawn} of {progress.pictures} pictures drawn, {progress.failed} failed,"
        f" {progress.sealed} of {progress.shards} shards sealed"
        + (f", about {_duration(progress.eta_seconds)} to go." if progress.eta_seconds else ".")
    )
    if progress.failed:
        typer.echo(f"Why is in {folder / 'failed.jsonl'}; try again with --retry-failed.")
    if progress.done < progress.pictures and not progress.working:
        typer.echo(f"Go on with: loom batch run {folder}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
