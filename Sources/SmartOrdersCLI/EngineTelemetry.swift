import Logging
import OrderEngine
import Telemetry

/// Turns what the engine tells into log lines and metrics.
struct EngineTelemetry: EngineObserver {
    let logger: Logger
    let metrics: Metrics

    func note(_ level: EngineNoteLevel, _ message: StaticString, _ metadata: [(String, String)]) {
        let level: Logger.Level =
            switch level {
            case .debug: .debug
            case .info: .info
            case .warning: .warning
            case .error: .error
            }
        if level >= .warning { metrics.count("log_events_total") }
        logger.log(
            level: level,
            "\(message)",
            metadata: Dictionary(metadata.map { ($0.0, .string($0.1)) }, uniquingKeysWith: { first, _ in first }),
        )
    }

    func count(_ name: StaticString, _ amount: Int) {
        metrics.count("\(name)", amount)
    }

    func measure(_ name: StaticString, milliseconds: Double) {
        metrics.observe("\(name)", seconds: milliseconds / 1_000)
    }
}
