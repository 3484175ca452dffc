"""report.html: one file with everything in it, no outside address, all text from outside escaped."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from posttrain.evals.table import p_value, percent, points
from posttrain.report.contents import Contents
from posttrain.report.svg import line_chart
from posttrain.report.tables import bounds, money
from posttrain.report.words import brief, duration, steady, tight, tone


def render_html(contents: Contents) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("posttrain.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bounds=bounds,
        brief=brief,
        money=money,
        steady=steady,
        duration=duration,
        p_value=p_value,
        percent=percent,
        points=points,
        tone=tone,
        tight=tight,
    )
    environment.globals["chart"] = line_chart
    css = files("posttrain.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    # The style sheet is ours and holds no text from outside, so it goes in unescaped.
    return environment.get_template("report.html.jinja").render(c=contents, css=Markup(css))
