// Counters, gauges and histograms of this process, in Prometheus' text form. Cost: one lock per observation.
internal import OwnerThread

/// The metrics of one process.
public final class Metrics: Sendable {
    private struct Histogram {
        var counts: [Int]
        var sum = 0.0
        var total = 0
    }
    private struct State {
        var values: [String: Double] = [:]
        var histograms: [String: Histogram] = [:]
    }

    private let state: Locked<State>
    private let definitions: [String: MetricDefinition]

    public init(version: String, role: String) {
        definitions = Dictionary(
            MetricsCatalogue.all.map { ($0.name, $0) },
            uniquingKeysWith: { _, _ in preconditionFailure("a metric stands twice in the catalogue") },
        )
        var state = State()
        for definition in MetricsCatalogue.all where definition.kind == .counter { state.values[definition.name] = 0 }
        state.values["build_info{role=\"\(role)\",version=\"\(version)\"}"] = 1
        self.state = Locked(state)
    }

    /// Adds to a counter. A name that is not in the catalogue is not counted: no process ends for a figure, and a tidy
    /// test finds the name.
    public func count(_ name: String, _ amount: Int = 1) {
        guard definitions[name]?.kind == .counter else { return }
        state.withLock { $0.values[name, default: 0] += Double(amount) }
    }

    /// Observes a duration; of the catalogue's histograms only.
    public func observe(_ name: String, seconds: Double) {
        guard definitions[name]?.kind == .histogram else { return }
        let bounds = MetricsCatalogue.latencyBuckets
        state.withLock { state in
            var histogram = state.histograms[name] ?? Histogram(counts: Array(repeating: 0, count: bounds.count))
            if let bucket = bounds.firstIndex(where: { seconds <= $0 }) { histogram.counts[bucket] += 1 }
            histogram.sum += seconds
            histogram.total += 1
            state.histograms[name] = histogram
        }
    }

    /// Everything in Prometheus' text format, in the order of the catalogue.
    public func render() -> String {
        let (values, histograms) = state.withLock { ($0.values, $0.histograms) }
        var text = ""
        for definition in MetricsCatalogue.all {
            let name = MetricsCatalogue.prefix + definition.name
            text += "# HELP \(name) \(definition.help)\n# TYPE \(name) \(definition.kind.rawValue)\n"
            switch definition.kind {
            case .counter, .gauge:
                for (key, value) in values.sorted(by: { $0.key < $1.key })
                where key == definition.name || key.hasPrefix(definition.name + "{") {
                    text += "\(MetricsCatalogue.prefix)\(key) \(Self.number(value))\n"
                }
            case .histogram:
                guard let histogram = histograms[definition.name] else { continue }
                var cumulative = 0
                for (bound, count) in zip(MetricsCatalogue.latencyBuckets, histogram.counts) {
                    cumulative += count
                    text += "\(name)_bucket{le=\"\(Self.number(bound))\"} \(cumulative)\n"
                }
                text += "\(name)_bucket{le=\"+Inf\"} \(histogram.total)\n"
                text += "\(name)_sum \(Self.number(histogram.sum))\n\(name)_count \(histogram.total)\n"
            }
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}
