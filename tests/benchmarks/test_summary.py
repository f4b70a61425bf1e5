import pytest

from field.summary import lead, regret, summary
from field.table import mean_std, table


def row(dataset, encoder, method, image, *, seed=0, pixel=None, **more):
    return {
        "dataset": dataset,
        "fitted_on": [dataset],
        "protocol": "per class",
        "encoder": encoder,
        "method": method,
        "shots": 4,
        "seed": seed,
        "size": 448,
        "image_auroc": image,
        "pixel_auroc": pixel,
        **more,
    }


def choices():
    """Two places; memory is best on the first, subspace on the second and on the mean."""
    return [
        row("nuts", "cnn", "auto", 0.95),
        row("nuts", "cnn", "subspace", 0.94),
        row("nuts", "cnn", "memory", 0.97),
        row("bolts", "cnn", "auto", 0.90),
        row("bolts", "cnn", "subspace", 0.92),
        row("bolts", "cnn", "memory", 0.80),
    ]


def test_auto_is_held_against_the_best_mean_and_against_the_best_of_each_place():
    found = regret(choices(), "image_auroc", ("auto", ""))

    assert found.best == ("subspace", "")
    assert found.places == 2
    assert found.mean == pytest.approx(100 * ((0.95 + 0.90) - (0.94 + 0.92)) / 2)
    # Memory is ahead by 2 on nuts, subspace on bolts.
    assert found.worst == pytest.approx(-2.0)


def test_worst_place_is_measured_against_its_own_best_not_the_best_on_average():
    rows = [r | ({"image_auroc": 0.99} if r["dataset"] == "bolts" else {}) for r in choices()]
    rows[2]["image_auroc"] = 0.9999

    found = regret(rows, "image_auroc", ("auto", ""))

    assert found.worst == pytest.approx(100 * (0.95 - 0.9999))
    assert found.worst_place[0] == "nuts"


def test_a_recipe_that_was_run_on_easy_places_alone_is_not_the_best():
    rows = [*choices(), row("nuts", "cnn", "foundad", 1.0)]

    found = regret(rows, "image_auroc", ("auto", ""))

    assert found.places == 2
    assert ("foundad", "") not in found.compared


def test_a_recipe_with_a_cut_keeps_its_method_on_an_encoder_without_blocks():
    rows = [
        row("nuts", "vit@6", "auto", 0.90),
        row("nuts", "vit@6", "memory", 0.92),
        row("nuts", "vit", "memory", 0.99),
        row("nuts", "vit", "auto", 0.97),
        row("nuts", "cnn", "auto", 0.80),
        row("nuts", "cnn", "memory", 0.81),
    ]

    found = regret(rows, "image_auroc", ("auto", "6"))

    # The best fixed recipe may cut elsewhere than auto does.
    assert found.places == 2
    assert set(found.compared) == {("memory", "6"), ("memory", "")}
    assert found.best == ("memory", "")
    assert found.mean == pytest.approx(100 * ((0.90 + 0.80) - (0.99 + 0.81)) / 2)


def test_lead_is_taken_apart_where_the_peer_is_saturated():
    rows = [
        row("nuts", "cnn", "auto", 0.96),
        row("nuts", "cnn", "patchcore", 0.94),
        row("bolts", "cnn", "auto", 0.95),
        row("bolts", "cnn", "patchcore", 0.979),
        row("pins", "cnn", "auto", 0.99),
        row("pins", "cnn", "patchcore", 0.98),
        row("rings", "cnn", "auto", 0.99),
    ]

    found = lead(rows, ("auto", ""), ("patchcore", ""))

    assert (found.open, found.saturated) == (2, 1)
    assert found.open_mean == pytest.approx((2.0 - 2.9) / 2)
    assert found.open_worst == pytest.approx(-2.9)
    assert found.saturated_mean == pytest.approx(1.0)


def test_other_shots_and_seeds_are_other_places():
    rows = [row("nuts", "cnn", "auto", 0.9, seed=0), row("nuts", "cnn", "patchcore", 0.8, seed=1)]

    assert lead(rows, ("auto", ""), ("patchcore", "")) is None


def test_cells_that_were_not_run_are_left_out_of_the_comparison_and_stay_in_the_table():
    rows = choices()
    idle = row("nuts", "cnn", "foundad", None)
    del idle["image_auroc"], idle["pixel_auroc"]
    rows.append(idle | {"not_run": "did not fit into 60 s"})

    assert regret(rows, "image_auroc", ("auto", "")).places == 2
    full = [r | {"chosen": "x"} for r in rows]
    assert "*not run*: did not fit into 60 s" in table(full)
    assert "subspace" in summary(rows)


def test_table_gives_mean_and_deviation_and_leaves_absent_metrics_open():
    rows = [
        row("nuts", "cnn", "memory", v, seed=s, chosen="memory") for s, v in enumerate((0.9, 1.0))
    ]

    line = next(line for line in table(rows).splitlines() if line.startswith("| nuts"))
    fields = [field.strip() for field in line.strip("|").split("|")]

    assert "95.0 ± 7.1" in fields
    assert fields.count("–") >= 8  # no masks: pixel metrics are absent, not zero
    assert mean_std([50.0]) == "50.0"


def test_a_patched_peer_is_named_by_its_block():
    rows = [
        row("nuts", "dinov2-small@6", "anomalydino", 0.9, chosen="4096 embeddings"),
        row("nuts", "dinov2-small", "anomalydino", 0.9, chosen="4096 embeddings"),
    ]

    page = table(rows)

    assert "AnomalyDINO (block 6, patched)" in page
    assert "AnomalyDINO (last block)" in page
