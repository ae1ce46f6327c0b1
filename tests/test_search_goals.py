"""What a search aims at, and what is said where nothing meets its limits."""

import pytest

from footseg.search import goals
from footseg.search.goals import Limit, broken, nearest_miss, parse_limit, shown
from footseg.search.records import Trial


@pytest.mark.parametrize(
    ("text", "expected", "again"),
    [
        ("size<=260kB", Limit("size", 260_000), "size<=260kB"),
        ("size<=0.26MB", Limit("size", 260_000), "size<=260kB"),
        ("size <= 1 MiB", Limit("size", 1_048_576), "size<=1.048576MB"),
        ("size<=260KB", Limit("size", 260_000), "size<=260kB"),
        ("size≤260000", Limit("size", 260_000), "size<=260kB"),
        ("arm<=17.1M", Limit("arm", 17_100_000), "arm<=17.1M"),
        ("latency<=5ms", Limit("latency", 5), "latency<=5ms"),
        (" latency <= 5 ", Limit("latency", 5), "latency<=5ms"),
        ("latency<=500µs", Limit("latency", 0.5), "latency<=0.5ms"),
        ("macs<=60M", Limit("macs", 60_000_000), "macs<=60M"),
        ("macs<=6e7", Limit("macs", 60_000_000), "macs<=60M"),
        ("parameters<200k", Limit("parameters", 200_000, strict=True), "parameters<200k"),
        # As floats 2.3 * 1e6 is 2299999.9999999995, and a network of 2300000 would be refused.
        ("parameters<=2.3M", Limit("parameters", 2_300_000), "parameters<=2.3M"),
    ],
)
def test_limits_as_people_write_them(text: str, expected: Limit, again: str) -> None:
    assert parse_limit(text) == expected
    assert str(parse_limit(text)) == again
    assert parse_limit(again) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sise<=3kB", r"no cost 'sise': did you mean 'size'\?"),
        ("iou<=0.7", "iou is a score, not a cost: costs are parameters, macs, size, arm, latency"),
        (
            "iou>=0.7",
            "'iou>=0.7' is no limit: write COST<=NUMBER, as size<=260kB .*; costs: parameters, macs",
        ),
        ("size", "'size' is no limit"),
        ("size<=", "'size<=' is no limit"),
        ("size<=big", "'size<=big' is no limit"),
        ("latency<=-3", "'latency<=-3' is no limit"),
        ("size<=260 kB or so", "is no limit"),
        ("size<=5ms", "'size<=5ms': size is not given in ms but in B, kB, MB, GB, KiB, MiB, or as a plain"),
        ("latency<=5MB", "latency is not given in MB but in us, µs, ms, s, or as a plain number"),
        ("arm<=5kB", "arm is not given in kB but in k, M, G, or as a plain number"),
        ("size<=0", "no network has size 0: give a number above 0"),
        ("arm<=1e400", "no network has arm 1e400"),
    ],
)
def test_what_is_no_limit(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_limit(text)
    assert "\n" not in str(caught.value)


def test_a_limit_is_met_by_its_own_value_unless_it_is_strict() -> None:
    assert parse_limit("size<=260kB").met(260_000)
    assert not parse_limit("size<=260kB").met(260_001)
    assert not parse_limit("size<260kB").met(260_000)
    assert parse_limit("size<260kB").met(259_999)


def test_broken_limits_say_by_how_much() -> None:
    limits = [parse_limit(text) for text in ("size<=100kB", "arm<=20M", "latency<=5ms")]
    (size,) = broken(limits, {"size": 214_352, "arm": 20_000_000})  # latency: not known, not broken
    assert (size.limit, size.value, size.excess) == (limits[0], 214_352, pytest.approx(1.14352))
    assert str(size) == "size 214.4 kB is 114 % over size<=100kB"
    # As many digits as tell it from the limit: in four it would be 100 kB of 100 kB.
    (close,) = broken(limits, {"size": 100_001})
    assert str(close) == "size 100.001 kB is 0.001 % over size<=100kB"
    (equal,) = broken([parse_limit("parameters<200k")], {"parameters": 200_000})
    assert str(equal) == "parameters 200 k is not below parameters<200k"
    assert broken(limits, {}) == ()


def test_figures_for_people() -> None:
    assert [shown("size", 214_352), shown("size", 950), shown("size", 1_048_576)] == [
        "214.4 kB", "950 B", "1.049 MB",
    ]  # fmt: skip
    assert [shown("arm", 17_103_000), shown("macs", 1_200_000_000), shown("parameters", 12)] == [
        "17.1 M", "1.2 G", "12",
    ]  # fmt: skip
    assert [shown("latency", 5.3149), shown("iou", 0.74319)] == ["5.315 ms", "0.7432"]


def test_costs_come_cheap_ones_first() -> None:
    assert goals.costs_in_order(["latency", "size", "parameters", "size"]) == (
        "parameters",
        "size",
        "latency",
    )
    with pytest.raises(ValueError, match="no cost 'lattency': did you mean 'latency'"):
        goals.costs_in_order(["lattency"])


def test_what_decides_costs() -> None:
    options = {"width": 0.5, "dropout": 0.3, "encoder_weights": "none"}
    values = {"network": "unet", "size": [64, 64], "learning_rate": 1e-3, "network_options": options}
    assert goals.architecture(values) == {"network": "unet", "size": [64, 64], "width": 0.5}


def trial(number: int, width: float, **costs: float) -> Trial:
    values = {"learning_rate": 10.0**-number, "network_options": {"width": width, "dropout": number / 10}}
    return Trial(number, {}, values, status="refused", costs=costs)


def test_the_nearest_miss_of_one_limit() -> None:
    limits = [parse_limit("size<=100kB")]
    trials = [trial(0, 1.0, size=800_000), trial(1, 0.5, size=214_000), trial(2, 0.75, size=450_000)]
    assert nearest_miss(limits, trials) == (
        "size<=100kB: nothing of 3 points drawn meets it; the nearest is trial 0001 with width 0.5: "
        "size 214 kB is 114 % over size<=100kB"
    )
    assert nearest_miss(limits, trials[:1]) == (
        "size<=100kB: the one point drawn does not meet it; the nearest is trial 0000 with width 1: "
        "size 800 kB is 700 % over size<=100kB"
    )
    assert nearest_miss(limits, [*trials, trial(3, 0.25, size=100_000)]) == ""
    assert nearest_miss(limits, [trial(0, 1.0)]) == ""
    assert nearest_miss([], trials) == ""


def test_limits_that_are_met_each_but_never_together() -> None:
    """Small networks that are slow, fast ones that are large."""
    limits = [parse_limit("size<=100kB"), parse_limit("latency<=5ms")]
    trials = [
        trial(0, 0.3, size=90_000, latency=5.5),  # 10 % over
        trial(1, 0.2, size=80_000, latency=9.0),
        trial(2, 0.9, size=120_000, latency=4.0),  # 20 % over
    ]
    assert nearest_miss(limits, trials) == (
        "size<=100kB and latency<=5ms: nothing of 3 points drawn meets them together "
        "(size: met by 2 of 3, latency: met by 1 of 3); the nearest is trial 0000 with width 0.3: "
        "latency 5.5 ms is 10 % over latency<=5ms"
    )


def test_costs_end_with_the_first_broken_limit() -> None:
    """What came through the first limit went further than what missed it by a hair."""
    limits = [parse_limit("parameters<=100k"), parse_limit("arm<=10M")]
    trials = [trial(0, 0.5, parameters=100_100), trial(1, 0.4, parameters=90_000, arm=13_000_000)]
    assert nearest_miss(limits, trials) == (
        "parameters<=100k and arm<=10M: nothing of 2 points drawn meets them together "
        "(parameters: met by 1 of 2, arm: met by 0 of 1); the nearest is trial 0001 with width 0.4: "
        "arm 13 M is 30 % over arm<=10M"
    )
    assert "the nearest is trial 0000" in nearest_miss(limits, trials[:1])


def test_points_that_differ_in_training_only_need_no_options_named() -> None:
    line = nearest_miss([parse_limit("size<=1kB")], [trial(0, 1.0, size=2000), trial(1, 1.0, size=2000)])
    assert line.endswith("the nearest is trial 0000: size 2 kB is 100 % over size<=1kB")
