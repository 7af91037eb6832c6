"""Measure the pocket base by the judge: `python -m studio.pocket.build.measure_base`.

Writes `docs/results/pocket_base.json` and contact sheets of random samples with prompt and verdict.
"""

import argparse
from pathlib import Path

from PIL import Image

from studio.pocket import base_path
from studio.pocket.build.contact_sheet import contact_sheet
from studio.pocket.build.sampling import draw_prompts, load_pipeline
from studio.pocket.concepts import base_prompts
from studio.pocket.judge import JUDGED, Judge
from studio.results import RESULTS, Row, proportion, write_results

LINES = {"subject": 0.90, "colour": 0.95, "background": 0.95, "style": 0.85}
MAIN = tuple(LINES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument(
        "--count", type=int, default=500, help="prompts of seen combinations; half as many of withheld pairs"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--quick", action="store_true", help="print the figures, write nothing")
    arguments = parser.parse_args()
    pipeline, judge = load_pipeline(arguments.base), Judge.load()
    rows: list[Row] = []
    for split, count in (("seen", arguments.count), ("withheld", arguments.count // 2)):
        asked = base_prompts(count, seed=7, withheld=split == "withheld")
        pictures = draw_prompts(
            pipeline, [p for p, _ in asked], steps=arguments.steps, guidance_scale=arguments.guidance, first_seed=7000
        )
        found = judge.verdicts(pictures)
        right = [{f: v[f] == getattr(scene, f) for f in JUDGED} for v, (_, scene) in zip(found, asked, strict=True)]
        lines = LINES if split == "seen" else {}
        rows += [proportion([r[f] for r in right], split=split, factor=f, line=lines.get(f)) for f in JUDGED]
        joint = 0.75 if split == "seen" else None
        rows.append(
            proportion([all(r[f] for f in MAIN) for r in right], split=split, factor="+".join(MAIN), line=joint)
        )
        rows.append(proportion([all(r.values()) for r in right], split=split, factor="all six", line=None))
        if not arguments.quick:
            shown = range(min(48, count))
            verdicts = [[_label(f, found[i][f], right[i][f]) for f in MAIN] for i in shown]
            images = [Image.fromarray(pictures[i]) for i in shown]
            contact_sheet(images, verdicts, RESULTS / f"pocket_base_{split}.png", text_lines=4)
    if arguments.quick:
        print(*rows, sep="\n")
    else:
        command = f"python -m studio.pocket.build.measure_base --count {arguments.count} --steps {arguments.steps}"
        write_results("pocket_base", command, rows)


def _label(factor: str, found: str, right: bool) -> tuple[str, bool]:
    return f"{factor}: {found}", right


if __name__ == "__main__":
    main()
