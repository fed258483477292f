from swirl_lightning.report import gain_table


def cells(table, label):
    """The last three cells of the first row that has the label."""
    return next(line for line in table.splitlines() if label in line).split()[-3:]


def test_values_signs_and_path(results):
    table = gain_table(results)
    assert cells(table, "before") == ["before", "after"]
    assert cells(table, "difference") == ["warmup", "elbo-1", "difference"]
    assert cells(table, "FWM exact match") == ["0.346", "0.611", "+0.265"]
    assert cells(table, "log-prob, nats/token") == ["-0.500", "-0.750", "-0.250"]
    assert cells(table, "IDM exact match") == ["0.300", "0.300", "+0.000"]
    assert table.endswith("300 updates in 20 s: warmup > vim-1 > elbo-1")


def test_a_tiny_loss_is_never_minus_zero(results):
    results["stages"][-1]["metrics"]["fwm/exact_match"] = 0.346 - 1e-5
    assert cells(gain_table(results), "FWM exact match")[2] == "+0.000"


def test_what_was_not_measured_is_a_dash(results):
    results["stages"][1]["metrics"]["fwm/logp"] = float("nan")
    results["stages"][3]["metrics"]["idm/exact_match"] = None
    results["stages"][3]["metrics"]["fwm/code_accuracy"] = 0.9
    table = gain_table(results)
    assert cells(table, "log-prob") == ["-", "-0.750", "-"]
    assert cells(table, "IDM exact match") == ["0.300", "-", "-"]
    assert cells(table, "code accuracy") == ["-", "0.900", "-"]


def test_unfinished_runs(results):
    assert gain_table({"stages": results["stages"][:1]}) == "No stage has been measured yet."
    table = gain_table({"stages": results["stages"][:2]})
    assert cells(table, "FWM exact match") == ["0.346", "-", "-"]
    assert "Only warmup has been measured" in table


def test_it_fits_80_columns(results):
    names = [f"a-very-long-stage-name-number-{i}" for i in range(9)]
    results["stages"] = [{"stage": name, "metrics": {"fwm/exact_match": 0.1, "fwm/logp": -3.0}} for name in names]
    table = gain_table(results)
    assert max(map(len, table.splitlines())) <= 80
    assert cells(table, "FWM exact match") == ["0.100", "0.100", "+0.000"]


def test_environments_stand_by_themselves_and_rollouts_by_their_ends(results):
    for stage, value in ((results["stages"][1], 0.25), (results["stages"][-1], 0.5)):
        stage["metrics"] |= {"web/fwm/exact_match": value, "tool/idm/tool": value}
        stage["metrics"] |= {
            f"fwm/open_loop_{k}/{m}": value / k for k in (1, 2, 3) for m in ("exact_match", "token_f1")
        }
    table = gain_table(results)
    heads = [" ".join(line.split()[:-3]) for line in table.splitlines()]
    assert {"FWM exact match", "WEB FWM exact match", "TOOL IDM tool"} <= set(heads)
    assert heads.index("WEB FWM exact match") > heads.index("IDM exact match")
    assert [head for head in heads if "step" in head] == ["exact match, step 1", "exact match, step 3"]


def test_a_stage_that_was_thrown_away_is_marked(results):
    """Its metrics are those of the weights that are held."""
    results["stages"][-1] |= {"metrics": results["stages"][-2]["metrics"], "discarded": {"test": {"fwm/logp": -9.0}}}
    assert gain_table(results).endswith("warmup > vim-1 > elbo-1 (not kept)")
    assert "-9.0" not in gain_table(results)
