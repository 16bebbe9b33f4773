//! Reads the Prometheus text format, as far as the view and the benchmark need it.

/// Samples of one scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    /// With their braces, as they stand there.
    labels: String,
    value: f64,
}

impl Samples {
    /// Parses a scrape; lines that are not samples are left out.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The sum over all label sets of a metric; `None` if there is none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.sum_where(|found, _| found == name)
    }

    /// The sum over all samples whose name and labels (`{a="b",…}`, as they stand there) are wanted; `None` if there is none.
    pub(crate) fn sum_where(&self, wanted: impl Fn(&str, &str) -> bool) -> Option<f64> {
        self.0
            .iter()
            .filter(|sample| wanted(&sample.name, &sample.labels))
            .map(|sample| sample.value)
            .reduce(|a, b| a + b)
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    // Label values may hold spaces: the name ends at '{' or the first space, the labels at the last '}'.
    let (name, labels, rest) = match line.find('{') {
        Some(open) => {
            let close = line.rfind('}').filter(|close| *close > open)?;
            (&line[..open], &line[open..=close], &line[close + 1..])
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            (name, "", rest)
        }
    };
    Some(Sample {
        name: name.to_owned(),
        labels: labels.to_owned(),
        value: rest.split_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed() {
        let samples = Samples::parse(
            "# TYPE x_total counter\nx_total{reason=\"a b\"} 3\nx_total{reason=\"c}\"} 4\ny 1.5\nbroken\n\nz{ 1\n",
        );
        assert_eq!(samples.sum("x_total"), Some(7.0));
        assert_eq!(samples.sum("y"), Some(1.5));
        assert_eq!(samples.sum("z"), None);
    }
}
