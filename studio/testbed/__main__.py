"""PocketCompose from a terminal: `python -m lora_loom.studio.testbed sets|run|report|suite|calibrate`."""

import argparse
import os
from pathlib import Path

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking for a GPU must not open it before processes fork
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from lora_loom.studio.pocket import adapters_path, base_path, forecast_path
from lora_loom.studio.pocket.concepts import CONCEPTS
from lora_loom.studio.testbed import jobs, packing, suite
from lora_loom.studio.testbed import run as runs
from lora_loom.studio.testbed.drawing import Sampling
from lora_loom.studio.testbed.references import REFERENCES
from lora_loom.studio.testbed.sets import SEEDS, SIZES, TEST_SETS, sets_of, write_sets
from lora_loom.studio.testbed.sharing import shared_device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sets", help="draw the list of sets again and freeze it")
    _run_options(commands.add_parser("run", help="draw, judge and pack"))
    _report_options(commands.add_parser("report", help="write docs/results/pocketcompose_methods.json from a run"))
    _calibrate_options(commands.add_parser("calibrate", help="fit the doctor's forecast on runs of both parts"))
    _suite_options(commands.add_parser("suite", help="the same work as rows and a suite for `loom batch`"))
    arguments = parser.parse_args()
    if arguments.command == "sets":
        write_sets()
    elif arguments.command == "run":
        raise SystemExit(_run(arguments))
    elif arguments.command == "report":
        from lora_loom.studio.testbed import (  # needs scipy, which a machine that only draws may lack
            pages,
            report,
        )

        report.write(arguments.rows, arguments.name, arguments.judge, arguments.note, arguments.results)
        if arguments.results is None:
            pages.write(arguments.name)
    elif arguments.command == "calibrate":
        from lora_loom.studio.testbed import calibrate

        calibrate.write(arguments.rows, arguments.judge, arguments.model, arguments.results)
    else:
        suite.write(arguments.out, **{k: v for k, v in vars(arguments).items() if k not in ("command", "out")})


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--methods",
        default="all",
        help="separated by commas; `all` is every method and reference; `name:setting=value;...`, `name@0.8`",
    )
    parser.add_argument("--k", default=",".join(map(str, SIZES)))
    parser.add_argument("--part", default="test", choices=("test", "tuning"))
    parser.add_argument("--sets", type=int, default=26, help=f"of each k, at most {TEST_SETS}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--control-sets", type=int, default=10, help="sets of each k that the controls draw")
    parser.add_argument("--single-scenes", type=int, default=4, help="scenes in which every LoRA is drawn alone")
    parser.add_argument("--shown-sets", type=int, default=6, help="sets of each k with a picture kept")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="float16; on a CPU bfloat16 within the models")
    parser.add_argument("--processes", type=int, default=1, help="0: draw in this one")
    parser.add_argument("--mps", action="store_true", help="share an NVIDIA GPU by the multi-process service")
    parser.add_argument("--start", default="fork", choices=("fork", "spawn"), help="how processes begin")
    parser.add_argument("--seconds", type=float, help="begin no job after so long")
    parser.add_argument("--clock", default="", help="sizes k for which one process alone times every contestant")
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--adapters", type=Path, default=adapters_path())
    parser.add_argument(
        "--go-on-from", type=Path, nargs="*", default=[], metavar="FILE", help=f"{packing.PACKED} of an earlier run"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an interrupted one goes on")


def _run(arguments: argparse.Namespace) -> int:
    from lora_loom.pipelines.registry import methods

    names = arguments.methods.split(",")
    if "all" in names:
        names = [*methods(), *REFERENCES, *(name for name in names if name != "all")]
    jobs.check(names)
    sizes = [int(k) for k in arguments.k.split(",")]
    shipped = {path.stem for path in arguments.adapters.glob("*.safetensors")}
    if lacking := sorted(set(CONCEPTS) - shipped):
        raise SystemExit(f"{arguments.adapters} lacks the LoRAs {', '.join(lacking)}, which the sets are made of")
    sets = sets_of(arguments.part, sizes, arguments.sets)
    todo = jobs.jobs_of(
        names,
        sets,
        seeds=arguments.seeds,
        control_sets=arguments.control_sets,
        single_scenes=arguments.single_scenes,
        shown_sets=arguments.shown_sets,
    )
    from lora_loom.pipelines.families import StableDiffusionFusionPipeline  # noqa: F401 - once, for all processes

    machine = runs.Machine(
        device=arguments.device,
        half=arguments.half,
        processes=arguments.processes,
        seconds=arguments.seconds,
        start=arguments.start,
        base=arguments.base,
        adapters=arguments.adapters,
    )
    sampling = Sampling(arguments.steps, arguments.guidance)
    if arguments.go_on_from:
        packing.claim(arguments.out, runs.kind_of(machine, sampling, {arguments.seeds}))
    for packed in arguments.go_on_from:
        print(f"{packing.unpack(packed, arguments.out)} jobs from {packed}")
    with shared_device(arguments.mps):
        missing = runs.run(todo, machine, sampling, arguments.out)
    if arguments.clock:
        timed = [each for each in sets if str(each.k) in arguments.clock.split(",")]
        runs.clock(names, timed, arguments.seeds, machine, sampling, arguments.out)
    print(packing.pack(arguments.out))
    return 1 if missing else 0


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, nargs="+", help=f"{packing.PACKED} of one or more runs")
    parser.add_argument("--name", default="pocketcompose_methods")
    parser.add_argument("--judge", default="sealed", help="whose verdicts count; the others are reported beside")
    parser.add_argument("--note", default="", help="a remark to keep with the results, such as the device")
    _results_option(parser)


def _calibrate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rows", type=Path, nargs="+", help=f"{packing.PACKED} of runs of tuning sets and of test sets")
    parser.add_argument("--judge", default="sealed", help="whose verdicts count")
    parser.add_argument("--model", type=Path, default=forecast_path(), help="where the coefficients go")
    _results_option(parser)


def _results_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="folder for the results; docs/results of a checkout, if not given"
    )


def _suite_options(parser: argparse.ArgumentParser) -> None:
    """The defaults fill two free cores for about 15 minutes, by 0.6 s for a picture of one pass in one process."""
    parser.add_argument("--out", type=Path, required=True, help="folder for suite.toml and prompts.jsonl")
    parser.add_argument("--methods", default="merge,switch,composite")
    parser.add_argument("--k", default=",".join(map(str, SIZES)))
    parser.add_argument("--sets", type=int, default=10, help="of each k")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--control-seeds", type=int, default=2)
    parser.add_argument("--single-scenes", type=int, default=2)
    parser.add_argument("--picture-seconds", type=float, default=0.6, help="of a picture in one process")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--guidance", type=float, default=3.0)


if __name__ == "__main__":
    main()
