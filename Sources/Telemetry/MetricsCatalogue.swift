// Every metric there is. What is not in this table cannot be counted: a misspelt name stops the process in a test, not
// a dashboard at night. Names without the prefix `smartorders_`; units and labels as INTERFACES.md 4.7.

/// One row of the catalogue.
public struct MetricDefinition: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable { case counter, gauge, histogram }
    public let name: String
    public let kind: Kind
    public let help: String
}

public enum MetricsCatalogue {
    public static let prefix = "smartorders_"

    /// Upper bounds of latency histograms, in seconds.
    public static let latencyBuckets: [Double] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
    ]

    public static let all: [MetricDefinition] = [
        counter("ticks_published_total", "Ticks that the feed published."),
        counter("ticks_restored_total", "Ticks that the feed appended again because the stream had lost them."),
        counter("feed_backfilled_total", "Trades that the feed read from the venue's history after a gap."),
        counter(
            "price_feed_gaps_total",
            "Stretches of a second or more whose prices were not heard when they happened.",
        ),
        counter("feed_backfill_errors_total", "Questions to the venue's history that failed."),
        counter("ticklog_errors_total", "Requests to the tick streams that failed."),
        counter("crossings_offered_total", "Trigger events that the evaluator offered to the queue."),
        counter("offers_failed_total", "Trigger events that neither queue nor outbox took; they are offered again."),
        counter("evaluator_errors_total", "Messages that the evaluator could not handle."),
        counter("orders_armed_later_total", "Orders that could not be armed at once; they are armed later."),
        counter("orders_unarmable_total", "Orders that cannot be armed: their row or their watches are not usable."),
        counter("shards_lost_while_loading_total", "Shards that went to another worker while they were loaded."),
        counter("heartbeat_errors_total", "Heartbeats of the worker lease that failed."),
        counter("store_clock_steps_total", "Jumps of the database's clock that this process noticed."),
        counter("unreadable_rows_total", "Rows that could not be read and were left out."),
        counter("queue_errors_total", "Requests to the queue that failed."),
        counter("queue_refusals_total", "Times that Redis began to take no jobs in: it is full, or may evict them."),
        counter("store_errors_total", "Requests to PostgreSQL that failed."),
        counter("venue_stream_errors_total", "Private venue streams that ended with an error."),
        counter("lost_placements_found_total", "Placements of a lost history that the venue still knew."),
        counter("reconcile_runs_total", "Comparisons of all positions of an account with its venue."),
        counter("jobs_handled_total", "Jobs that workers handled."),
        counter("outbox_relayed_total", "Outbox rows that the leader offered to the queue."),
        counter("sweep_jobs_total", "Jobs that the leader's sweep found due."),
        counter("engine_notify_failed_total", "Change notices that could not be sent; evaluators poll as well."),
        counter("http_requests_total", "HTTP requests answered."),
        counter("log_events_total", "Log events of level warning and above."),
        histogram("trigger_to_venue_ack_seconds", "From the tick that crossed to the venue's answer."),
        histogram("placement_duration_seconds", "From the decision to the venue's answer."),
        histogram("job_batch_duration_seconds", "One batch of jobs, from take to acknowledgement."),
        gauge("build_info", "1, with the version as label."),
    ]

    private static func counter(_ name: String, _ help: String) -> MetricDefinition {
        MetricDefinition(name: name, kind: .counter, help: help)
    }
    private static func gauge(_ name: String, _ help: String) -> MetricDefinition {
        MetricDefinition(name: name, kind: .gauge, help: help)
    }
    private static func histogram(_ name: String, _ help: String) -> MetricDefinition {
        MetricDefinition(name: name, kind: .histogram, help: help)
    }
}
