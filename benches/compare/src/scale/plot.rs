//! The same as pictures: three plots over the number of streams, in one SVG that reads on light and
//! on dark ground.

use super::report::{Row, thousands};

/// A plot, and its place.
struct Plot<'a> {
    title: &'a str,
    lines: Vec<Line<'a>>,
}

struct Line<'a> {
    name: &'a str,
    class: &'a str,
    points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 56.0;
const STEP: f64 = 340.0;

const STYLE: &str = "<style>\
    text { font: 12px system-ui, sans-serif; fill: #57606a } .title { font-size: 13px; \
    font-weight: 600; fill: #1f2328 } .grid { stroke: #d0d7de } .a { stroke: #0969da; fill: \
    #0969da } .b { stroke: #bc4c00; fill: #bc4c00 } polyline { fill: none !important; \
    stroke-width: 2 } .name { stroke: none !important } .ground { fill: #ffffff } \
    @media (prefers-color-scheme: dark) { text { fill: #9198a1 } .title { fill: #f0f6fc } .grid { \
    stroke: #3d444d } .a { stroke: #4493f8; fill: #4493f8 } .b { stroke: #f0883e; fill: #f0883e } \
    .ground { fill: #0d1117 } }</style>";

pub(super) fn svg(rows: &[Row]) -> String {
    let line = |name, class, value: &dyn Fn(&Row) -> Option<f64>| Line {
        name,
        class,
        points: rows.iter().filter_map(|row| Some((row.streams as f64, value(row)?))).collect(),
    };
    let mib = |kib: f64| kib / 1024.0;
    let plots = [
        Plot {
            title: "Memory, MiB",
            lines: vec![
                line("Longwire", "a", &|row| Some(mib((row.base + row.rss) as f64))),
                line("kernel, its sockets", "b", &|row| {
                    Some(mib(row.kernel_each()? * row.streams as f64))
                }),
            ],
        },
        Plot {
            title: "CPU while all are idle, % of a core",
            lines: vec![line("heartbeats each 15 s", "a", &|row| Some(row.load()))],
        },
        Plot {
            title: "From SIGTERM to the last exit, s",
            lines: vec![
                line("time, of which 5 are grace", "a", &|row| {
                    (row.streams > 0).then_some(row.drain)
                }),
                line("CPU", "b", &|row| Some(row.drain_cpu)),
            ],
        },
    ];
    let most = rows.iter().map(|row| row.streams).max().unwrap_or(1).max(1) as f64;
    let (width, height) = (STEP * plots.len() as f64 + 20.0, TOP + HEIGHT + 52.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>What idle streams \
         cost</title>\n{STYLE}\n<rect class=\"ground\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n"
    );
    for (at, plot) in plots.iter().enumerate() {
        let left = LEFT + STEP * at as f64;
        text += &format!("<g transform=\"translate({left} {TOP})\">\n{}</g>\n", draw(plot, most));
    }
    text + "</svg>\n"
}

/// A plot, in which the bottom left corner is (0, HEIGHT) and `most` streams are WIDTH - 30.
fn draw(plot: &Plot<'_>, most: f64) -> String {
    let points = plot.lines.iter().flat_map(|line| &line.points);
    let step = step(points.map(|(_, value)| *value).fold(0.0, f64::max));
    let top = step * f64::from(STEPS);
    let x = |streams: f64| streams / most * (WIDTH - 30.0);
    let y = |value: f64| HEIGHT - value / top * HEIGHT;
    let mut text = format!("<text class=\"title\" x=\"-36\" y=\"-34\">{}</text>\n", plot.title);
    for at in 0..=STEPS {
        let value = step * f64::from(at);
        let (y, right) = (y(value), x(most));
        text += &format!("<path class=\"grid\" d=\"M0 {y:.1}H{right}\"/>");
        text +=
            &format!("<text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n", y + 4.0);
    }
    for at in 0..=4 {
        let streams = most * f64::from(at) / 4.0;
        text += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            x(streams),
            HEIGHT + 20.0,
            thousands(streams as usize)
        );
    }
    text += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">streams</text>\n",
        x(most / 2.0),
        HEIGHT + 38.0
    );
    let mut legend = -36.0;
    for Line { name, class, points } in &plot.lines {
        let path: Vec<_> =
            points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        text += &format!("<polyline class=\"{class}\" points=\"{}\"/>", path.join(" "));
        for (at, value) in points {
            let (x, y) = (x(*at), y(*value));
            text += &format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>");
        }
        text += &format!("\n<text class=\"{class} name\" x=\"{legend}\" y=\"-16\">{name}</text>\n");
        legend += 24.0 + 6.2 * name.chars().count() as f64;
    }
    text
}

/// Steps of the vertical axis.
const STEPS: u32 = 4;

/// A round number, so that the steps reach this value.
fn step(value: f64) -> f64 {
    let least = (value / f64::from(STEPS)).max(1e-3);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= least);
    // One digit more than the power has: floats would show their tail.
    let digits = 1e4;
    (factor.unwrap_or(10.0) * power * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::row;
    use super::*;

    #[test]
    fn steps_are_round_and_reach_the_top() {
        for (value, expected) in [(0.0, 0.001), (3.9, 1.0), (4.1, 2.0), (9.0, 2.5), (700.0, 200.0)]
        {
            assert_eq!(step(value), expected, "for {value}");
        }
    }

    #[test]
    fn every_row_is_a_point() {
        let text = svg(&[row(0), row(1000), row(10_000)]);
        // Memory, the kernel's of many streams only, load, drains of some streams, and their CPU.
        assert_eq!(text.matches("<circle").count(), 3 + 1 + 3 + 2 + 3);
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
    }
}
