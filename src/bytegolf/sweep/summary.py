"""What a sweep found: settings by their mean score, how sure that is, and which keys mattered.

All settings have the same seeds, and so the same order of the data: what a seed does to all of them alike cancels
in a comparison. Tests are paired by seed, and the noise of a comparison is what is left when setting and seed are
taken out.

Whoever picks the best of k settings picks luck as well: the smallest of k means of equally good settings lies
below their mean by E_k * sd / sqrt(n), E_k being the expected largest of k standard normals. That is said beside
the winner, and so is the remedy: fresh seeds.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bytegolf.sweep.queue import Row


@dataclass(frozen=True)
class SettingResult:
    """One setting over its seeds. scores by seed; sd: sample standard deviation, None for one seed.

    bytes: the largest packed file. p: of the two-sided t test against the base, paired by seed; p_holm: after
    Holm's correction for all settings that were compared with it. Both None where there is one seed, or no base.
    """

    setting: int
    values: dict[str, Any]
    is_base: bool
    scores: dict[int, float]
    mean: float
    sd: float | None
    bytes: int
    seconds: float
    best_seed: int
    failed: int
    p: float | None = None
    p_holm: float | None = None

    @property
    def n(self) -> int:
        return len(self.scores)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "n": self.n}


@dataclass(frozen=True)
class Selection:
    """What picking the best of `settings` settings does.

    pooled_sd: of a run, over seeds within settings. noise_sd: without what a seed does to all settings alike; the
    pooled one where settings have different seeds. luck: by how much the best of as many equally good settings
    lies below their mean, in bpb. All None where no setting has two seeds. lead: of the winner over the runner-up.
    """

    settings: int
    pooled_sd: float | None
    noise_sd: float | None
    luck: float | None
    lead: float | None


@dataclass(frozen=True)
class KeyEffect:
    """levels: value (as JSON) -> mean score of its settings. spread: the largest level less the smallest.

    share: of the variance between settings that the levels explain, eta squared. rho: Spearman's rank correlation
    of value and score, for numbers with more than two values.
    """

    key: str
    levels: dict[str, float]
    spread: float
    share: float | None
    rho: float | None = None


@dataclass(frozen=True)
class Summary:
    """settings: the best first. counts: trials by state. failures: name -> error."""

    objective: str
    settings: list[SettingResult]
    keys: list[KeyEffect]
    selection: Selection
    counts: dict[str, int]
    failures: dict[str, str]
    seconds: float
    trials: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "settings": [setting.to_json() for setting in self.settings]}


def summarise(rows: Sequence[Row], objective: str, fact: str) -> Summary:
    """fact: under which name a trial's facts have what is compared."""
    by_setting: dict[int, list[Row]] = {}
    for row in rows:
        by_setting.setdefault(row.setting, []).append(row)
    results = [_result(group, fact) for group in by_setting.values() if any(r.state == "done" for r in group)]
    results = sorted(compared_with_base(results), key=lambda result: result.mean)
    return Summary(
        objective,
        results,
        key_effects(results),
        selection(results),
        {
            state: sum(row.state == state for row in rows)
            for state in ("done", "failed", "running", "waiting")
        },
        {row.name: row.error for row in rows if row.state == "failed"},
        sum(row.facts.get("seconds", 0.0) for row in rows),
        [asdict(row) for row in rows],
    )


def _result(rows: Sequence[Row], fact: str) -> SettingResult:
    done = [row for row in rows if row.state == "done"]
    scores = {row.seed: float(row.facts[fact]) for row in done}
    return SettingResult(
        rows[0].setting,
        rows[0].values,
        rows[0].is_base,
        scores,
        statistics.fmean(scores.values()),
        statistics.stdev(scores.values()) if len(scores) > 1 else None,
        max(row.facts["artifact_bytes"] for row in done),
        statistics.fmean(row.facts["seconds"] for row in done),
        min(scores, key=lambda seed: scores[seed]),
        sum(row.state == "failed" for row in rows),
    )


def compared_with_base(results: Sequence[SettingResult]) -> list[SettingResult]:
    """With p and p_holm, of the settings that have two seeds in common with the base."""
    base = next((result for result in results if result.is_base), None)
    if base is None:
        return list(results)
    p: dict[int, float] = {}
    for other in results:
        common = sorted(other.scores.keys() & base.scores.keys())
        if other is not base and len(common) > 1:
            p[other.setting] = paired_p([other.scores[s] for s in common], [base.scores[s] for s in common])
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    return [
        replace(result, p=p[result.setting], p_holm=corrected[result.setting])
        if result.setting in p
        else result
        for result in results
    ]


def paired_p(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p of equal means, Student's t test of the differences.

    Differences without any spread: 1.0 when they are zero, else 0.0.
    """
    from scipy.stats import ttest_rel

    differences = {x - y for x, y in zip(a, b, strict=True)}
    if len(differences) == 1:
        return float(differences == {0.0})
    return float(ttest_rel(a, b).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p values, in the order given: max over j <= i of (m - j + 1) p_(j), at most 1."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def selection(results: Sequence[SettingResult]) -> Selection:
    """`results` sorted, the best first."""
    spread = [(result.n - 1, result.sd**2) for result in results if result.sd is not None]
    freedom = sum(n for n, _ in spread)
    pooled = math.sqrt(sum(n * variance for n, variance in spread) / freedom) if freedom else None
    noise = None if pooled is None else _noise(results, pooled)
    luck = None
    if noise is not None:
        seeds = statistics.harmonic_mean([result.n for result in results])
        luck = expected_largest(len(results)) * noise / math.sqrt(seeds)
    lead = results[1].mean - results[0].mean if len(results) > 1 else None
    return Selection(len(results), pooled, noise, luck, lead)


def _noise(results: Sequence[SettingResult], pooled: float) -> float:
    """sqrt(sum (x_ij - mean_i - mean_j + mean)^2 / ((k - 1) (n - 1))) over k settings and n seeds."""
    seeds = list(results[0].scores)
    if len(results) < 2 or len(seeds) < 2 or any(set(result.scores) != set(seeds) for result in results):
        return pooled
    of_seed = {seed: statistics.fmean(result.scores[seed] for result in results) for seed in seeds}
    centre = statistics.fmean(of_seed.values())
    left = [r.scores[seed] - r.mean - of_seed[seed] + centre for r in results for seed in seeds]
    return math.sqrt(sum(x * x for x in left) / ((len(results) - 1) * (len(seeds) - 1)))


def expected_largest(k: int) -> float:
    """The expected largest of k independent standard normals: the integral of x k phi(x) Phi(x)^(k-1)."""
    from scipy.integrate import quad
    from scipy.stats import norm

    if k < 2:
        return 0.0
    return float(quad(lambda x: x * k * norm.pdf(x) * norm.cdf(x) ** (k - 1), -12.0, 12.0)[0])


def key_effects(results: Sequence[SettingResult]) -> list[KeyEffect]:
    """Of every key that has two values or more among the settings that set it; what mattered most first."""
    keys = dict.fromkeys(key for result in results for key in result.values)
    found = [_effect(key, [result for result in results if key in result.values]) for key in keys]
    return sorted((e for e in found if e is not None), key=lambda e: -abs(e.share or abs(e.rho or 0.0) ** 2))


def _effect(key: str, results: Sequence[SettingResult]) -> KeyEffect | None:
    groups: dict[str, list[float]] = {}
    for result in results:
        groups.setdefault(json.dumps(result.values[key]), []).append(result.mean)
    if len(groups) < 2:
        return None
    levels = {value: statistics.fmean(means) for value, means in sorted(groups.items())}
    return KeyEffect(
        key,
        levels,
        max(levels.values()) - min(levels.values()),
        _share(groups, levels),
        _rank_correlation([(result.values[key], result.mean) for result in results]),
    )


def _share(groups: Mapping[str, Sequence[float]], levels: Mapping[str, float]) -> float | None:
    """Eta squared; None where every setting has a value of its own, as drawn numbers do: nothing is left over."""
    means = [mean for group in groups.values() for mean in group]
    centre = statistics.fmean(means)
    total = sum((mean - centre) ** 2 for mean in means)
    if len(groups) == len(means) or not total:
        return None
    return sum(len(group) * (levels[value] - centre) ** 2 for value, group in groups.items()) / total


def _rank_correlation(pairs: Sequence[tuple[Any, float]]) -> float | None:
    from scipy.stats import spearmanr

    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value, _ in pairs]
    scores = {score for _, score in pairs}
    if not all(numbers) or len({value for value, _ in pairs}) < 3 or len(scores) < 2:
        return None
    return float(spearmanr([value for value, _ in pairs], [score for _, score in pairs]).statistic)
