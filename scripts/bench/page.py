"""What was measured, kept as docs/benchmarks/NAME.json, and shown by tables that README.md there has made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from measure import Bench, Rounds

Saved = dict[str, Any]


def save(path: Path, bench: Bench, rounds: Rounds, facts: Saved) -> None:
    """Round by round, with what is quoted of it beside it, for those who read the file without us."""
    contenders: dict[str, dict[str, object]] = {}
    for name in rounds.names:
        contenders[name] = {}
        for column in bench.columns:
            if not rounds.has(name, column.metric):
                continue
            values = rounds.values(name, column.metric)
            found: dict[str, object] = {
                "median": round(median(values), 3),
                "least": round(min(values), 3),
                "rounds": [round(value, 3) for value in values],
            }
            base = column.base(name) if column.base else ""
            if base and rounds.has(base, column.metric):
                ratios = rounds.ratios(name, base, column.metric)
                found |= {"comparedWith": base, "ratios": [round(ratio, 3) for ratio in ratios]}
            contenders[name][column.metric] = found
    stalled = [round(value, 1) for value in rounds.stalled_percent]
    saved = {**facts, "seed": rounds.seed, "stalledPercent": stalled, "contenders": contenders}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> tuple[Rounds, Saved]:
    saved: Saved = json.loads(path.read_text())
    contenders = saved["contenders"]
    figures = [
        {
            name: {metric: found["rounds"][number] for metric, found in metrics.items()}
            for name, metrics in contenders.items()
        }
        for number in range(len(saved["stalledPercent"]))
    ]
    return Rounds(
        seed=saved["seed"], names=list(contenders), figures=figures, stalled_percent=saved["stalledPercent"]
    ), saved


def rendered(text: str, folder: Path, benches: Mapping[str, Bench]) -> str:
    """The page with the tables of all benches, between their marks, made anew of the files in `folder`."""
    for name, bench in benches.items():
        begin, end = f"<!-- tables of {name} -->", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"the page has no place for {name}: it wants the lines {begin} and {end}")
        above, _, rest = text.partition(begin)
        below = rest.partition(end)[2]
        text = f"{above}{begin}\n\n{_block(name, bench, folder / f'{name}.json')}\n\n{end}{below}"
    return text


def _block(name: str, bench: Bench, path: Path) -> str:
    if not path.exists():
        return f"Not measured yet: `./scripts/bench/run {name} --save`."
    rounds, saved = load(path)
    return f"{bench.tables(rounds)}\n\n{about(rounds, saved)}"


def about(rounds: Rounds, saved: Saved) -> str:
    """In one paragraph, when, where and with what it was measured, and what was not."""
    versions = saved["versions"]
    here = ", ".join(f"{name} {value}" for name, value in versions.items() if value != "none")
    absent = ", ".join(name for name, value in versions.items() if value == "none")
    machine = ", ".join(f"{name} {value}" for name, value in saved["machine"].items())
    sentences = [f"{saved['date']}, rounds: {len(rounds.figures)}, {saved['scheduling']}. Versions: {here}."]
    if saved["isQuick"]:
        sentences.insert(0, "**A quick run: it shows that the bench works, and not how fast anything is.**")
    if absent:
        sentences.append(f"Not here, so not compared: {absent}.")
    sentences.append(f"Machine: {machine}.")
    if saved["stalledPercentBefore"] is not None:
        during, before = median(rounds.stalled_percent), saved["stalledPercentBefore"]
        sentences.append(
            f"Some process waited for a CPU in {before:.0f} % of the minute before, {during:.0f} % of a round."
        )
    return " ".join(sentences)
