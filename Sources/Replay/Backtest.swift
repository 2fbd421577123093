// `smartorders backtest`: what would this smart order have done on these prices (INTERFACES.md 4.13)?

internal import JSONText
internal import OrderJSON
internal import SmartOrders
internal import TickFiles

/// A backtest as asked for on a command line.
public struct Backtest: Sendable {
    /// Tick file, `.csv` or `.csv.gz`.
    public var ticks: String
    /// ORDER.json: a draft, with optional `instrument` and `fees`; `-` is standard input.
    public var order: String
    /// `venue:symbol`, where the order does not tell which series of a file is meant.
    public var series: String?
    /// A time (RFC 3339) or a tick number; ticks outside are not looked at. The end is not included.
    public var from: String?
    public var to: String?
    public var asJSON: Bool

    public init(
        ticks: String,
        order: String,
        series: String? = nil,
        from: String? = nil,
        to: String? = nil,
        asJSON: Bool = false,
    ) {
        self.ticks = ticks
        self.order = order
        self.series = series
        self.from = from
        self.to = to
        self.asJSON = asJSON
    }

    /// Runs and reports.
    ///
    /// - Parameters:
    ///   - print: gets the results.
    ///   - complain: gets the one line about input that cannot be used.
    /// - Returns: the exit status: 0, or 2 for input that cannot be used.
    public func run(print: (String) -> Void, complain: (String) -> Void) -> Int32 {
        do {
            let run = try replayed()
            if asJSON { print(BacktestReport.json(run)) } else { BacktestReport.lines(run).forEach(print) }
            return 0
        } catch let error as BacktestError {
            complain("\(order): \(error)")
        } catch let error as TickFileError {
            complain("\(error)")
        } catch {
            complain("\(order): \(error)")
        }
        return 2
    }

    /// The run, for tests and for the report.
    func replayed() throws -> BacktestRun {
        guard let bytes = FileBytes.read(order) else { throw BacktestError("cannot be read") }
        return try replayed(order: bytes, survey: try TickSurvey(path: ticks))
    }

    func replayed(order bytes: [UInt8], survey: TickSurvey) throws -> BacktestRun {
        let input = try BacktestInput(order: bytes, survey: survey, series: series)
        let from = try bound(from, "--from")
        let to = try bound(to, "--to")
        var run: BacktestRun?
        var file = try TickFile.open(ticks)
        var series = -1
        while let row = try file.next() {
            if row.series != series {
                guard file.series[row.series] == input.entry.series else { continue }
                series = row.series
            }
            guard from?.isReached(by: row) ?? true, !(to?.isReached(by: row) ?? false) else { continue }
            guard let units = row.price.units(decimals: input.decimals) else {
                throw BacktestError("row \(row.number): the price does not fit 64 bits in units of the tick size")
            }
            if run == nil {
                run = try BacktestRun(input, number: row.number, time: row.time, units: units)
            } else {
                run?.tick(number: row.number, time: row.time, units: units)
            }
        }
        guard let run else { throw BacktestError("no ticks in the given time") }
        return run
    }

    private enum Bound {
        case time(Int64)
        case tick(Int64)

        func isReached(by row: TickRow) -> Bool {
            switch self {
            case .time(let time): row.time >= time
            case .tick(let tick): row.number >= tick
            }
        }
    }

    private func bound(_ text: String?, _ option: String) throws -> Bound? {
        guard let text else { return nil }
        if let tick = Int64(text) { return .tick(tick) }
        guard let moment = Timestamp(rfc3339: text) else {
            throw BacktestError("\(option) \(text) is neither a time such as 2024-08-08T23:55:00Z nor a tick number")
        }
        return .time(moment.microseconds)
    }
}

/// A run as text.
enum BacktestReport {
    static func json(_ run: BacktestRun) -> String {
        var writer = JSONWriter(reserving: 4096)
        writer.beginObject()
        writer.member("ticks", run.ticks)
        writer.key("changes")
        writer.beginArray()
        for change in run.changes { self.change(change, &writer) }
        writer.endArray()
        writer.key("result")
        let order = run.order
        writer.beginObject()
        writer.member("status", order.status)
        writer.member("closeReason", orNull: order.closeReason)
        writer.member("grossPnl", order.realized.value.rounded(decimals: 12))
        writer.member("fees", order.fees.value.rounded(decimals: 12))
        writer.member("netPnl", (order.realized - order.fees).value.rounded(decimals: 12))
        writer.member("openQty", order.remaining)
        writer.member("progress", progress(order))
        writer.member("avgEntry", orNull: order.averageEntry?.rounded)
        writer.endObject()
        writer.endObject()
        return writer.text
    }

    private static func change(_ change: BacktestRun.Change, _ writer: inout JSONWriter) {
        let order = change.order
        writer.beginObject()
        writer.member("tick", change.tick)
        writer.member("time", change.time)
        writer.member("price", change.price)
        writer.member("version", order.version)
        writer.member("status", order.status)
        writer.member("phase", orNull: order.phase)
        writer.key("stop")
        if let stop = stop(order) {
            writer.beginObject()
            writer.member("price", stop.price)
            writer.member("kind", stop.kind)
            writer.endObject()
        } else {
            writer.null()
        }
        writer.member("waterMark", orNull: order.trailingExtreme ?? order.extreme)
        writer.key("facts")
        writer.facts(change.facts)
        writer.key("fills")
        writer.beginArray()
        for (purpose, fill) in fills(change) {
            writer.beginObject()
            writer.member("purpose", purpose)
            writer.member("qty", fill.quantity)
            writer.member("price", fill.price)
            writer.endObject()
        }
        writer.endArray()
        writer.endObject()
    }

    /// The stop that fired, or the one that binds.
    private static func stop(_ order: SmartOrder) -> EffectiveStop? {
        if let latch = order.latch { return EffectiveStop(price: latch.price, kind: latch.kind) }
        return order.status.isTerminal ? nil : order.effectiveStop
    }

    private static func fills(_ change: BacktestRun.Change) -> [(String, Fill)] {
        change.facts.compactMap { fact in
            guard case .fill(let key, let fill) = fact else { return nil }
            return (key.leg.description, fill)
        }
    }

    private static func progress(_ order: SmartOrder) -> String { "\(order.progress.filled)/\(order.progress.total)" }

    /// One line per change, then the result.
    static func lines(_ run: BacktestRun) -> [String] {
        var lines: [String] = []
        for change in run.changes {
            let order = change.order
            var line = "tick \(change.tick)  \(change.time.rfc3339)  \(change.price)  v\(order.version)  "
            line += order.status.rawValue
            if let phase = order.phase { line += " \(phase.rawValue)" }
            if let stop = stop(order) { line += "  stop \(stop.price) \(stop.kind.rawValue)" }
            for (purpose, fill) in fills(change) { line += "  \(purpose) \(fill.quantity) @ \(fill.price)" }
            lines.append(line)
        }
        let order = run.order
        var result = "\(run.ticks) ticks: \(order.status.rawValue)"
        if let reason = order.closeReason { result += " \(reason.rawValue)" }
        result += ", gross \(order.realized.value.rounded(decimals: 12))"
        result += ", fees \(order.fees.value.rounded(decimals: 12)), open \(order.remaining)"
        if !order.levels.isEmpty { result += ", targets \(progress(order))" }
        lines.append(result)
        return lines
    }
}
