"""``swirl report``."""


def test_report_is_remade_to_the_byte(debug_run, swirl):
    page = debug_run[0] / "report.html"
    before = page.read_bytes()
    page.unlink()
    code, out, _ = swirl("report", str(debug_run[0]))
    assert (code, out) == (0, f"{page}\n")
    assert page.read_bytes() == before


def test_wrong_input(refused):
    assert refused("report") == "swirl report: missing RUN"
    assert refused("report", "a", "b") == "swirl report: unexpected argument b"
    assert "nowhere/results.json: not found" in refused("report", "nowhere")
